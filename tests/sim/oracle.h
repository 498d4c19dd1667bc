/* oracle.h - what really happened on the way: counts retransmissions and says which were spurious.
 *
 * It watches what devices transmit and what links lose. A data segment with bytes that were sent before is a retransmission; it is
 * spurious when no byte of it had been lost by then, which only somebody outside of the protocol can know. One thread.
 */
#ifndef GZ_SIM_ORACLE_H
#define GZ_SIM_ORACLE_H

#include "testenv.h"

struct stream { /* one direction of one connection */
	uint32_t saddr;
	uint16_t sport_be, dport_be;
	uint32_t base;	/* sequence number that counts as 0 */
	uint64_t max;	/* highest byte sent */
	uint64_t segs, rexmit, spurious, bytes, lost, marked;
	uint64_t spurious_last_us, rexmit_last_us;
	struct {
		uint64_t from, to;
	} *hole; /* lost and not sent again, ascending */
	uint32_t nb_holes, cap_holes;
};

/* Watches the hosts of testenv from now on. */
void oracle_open(void);
void oracle_close(void);
/* The stream that leaves `saddr` from port sport; NULL: none was seen. */
struct stream *oracle_stream(uint32_t saddr_be, uint16_t sport_be, uint16_t dport_be);
/* Sum over all streams. */
struct stream oracle_sum(void);

#endif

/* hystart.h - HyStart++ (RFC 9406): leaves slow start when the round trip grows, before the queue overflows; see hystart.c. State of the
 * algorithms that use it (cc_cubic.c, cc_newreno.c, cc_dctcp.c). Owner of the stack. */
#ifndef GZ_TCP_HYSTART_H
#define GZ_TCP_HYSTART_H

#include "tcp/cc.h"

struct hystart {
	uint32_t window_end;	 /* SND.NXT when the round began: it ends when this is acknowledged */
	uint32_t last_min_us;	 /* lowest round trip of the round before; 0: unknown */
	uint32_t this_min_us;	 /* of this round */
	uint32_t baseline_us;	 /* this_min_us when conservative slow start began; 0: ordinary slow start */
	uint8_t samples;	 /* of this round */
	uint8_t css_rounds;	 /* begun in conservative slow start, the first, partial one included */
	uint8_t frac;		 /* bytes of growth left over by the divisor */
	bool off;		 /* the first slow start is over */
};

/* cwnd < ssthresh, acked bytes were acknowledged: grows cwnd. Returns the acked bytes left for congestion avoidance. */
uint32_t hystart_on_ack(struct tcb *t, struct hystart *h, uint32_t acked, const struct tcp_rate_sample *rs);
void hystart_init(const struct tcb *t, struct hystart *h);

#endif

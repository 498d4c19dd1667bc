/* igmp.h - group membership reports: what ip4_input.c and ip4_output.c call. Owner of the stack only. */
#ifndef GZ_IP_IGMP_H
#define GZ_IP_IGMP_H

#include "ip/ip4.h"

#define IGMP_LEFT_MAX 8u

struct igmp {
	struct wheel_timer timer;	/* answer to a query, or repetition of a change */
	bool report_all;		/* what the timer sends: all groups ... */
	uint32_t left_be[IGMP_LEFT_MAX]; /* ... and the groups that were left lately */
	uint8_t nb_left;
	uint8_t version;		/* of the querier: 1, 2; 3 when none older was heard of late (RFC 3376 §7.2.1) */
	uint64_t older_until_us;
	uint32_t random;
};

void igmp_init(struct stack *st, struct igmp *g);
void igmp_fini(struct stack *st, struct igmp *g);
/* m->data at the IGMP header, m->l3_len bytes of IP header in front. Takes m. */
void igmp_input(struct stack *st, struct rte_mbuf *m, uint32_t dst_be, uint8_t ttl);
/* The first membership of a group was made, the last one ended. */
void igmp_on_join(struct stack *st, uint32_t group_be);
void igmp_on_leave(struct stack *st, uint32_t group_be);

#endif

/* rtt.c - round-trip time and retransmission timeout (RFC 6298), microseconds. Called by ack.c and conn.c; owner of the stack.
 *
 * One sample per round trip feeds the estimator (ack.c sees to that), so the gains of RFC 6298 hold as they are and need not be
 * divided by the number of samples in flight (RFC 7323 Appendix G).
 */
#include "tcp/tcp_int.h"

#define RTO_GRANULARITY_US 1000u /* G of RFC 6298: our timestamp clock */

void tcp_rtt_sample(struct stack *st, struct tcb *t, uint64_t rtt_us)
{
	uint32_t r = (uint32_t)MIN(rtt_us, TCP_RTO_MAX_US);
	uint64_t rto;

	(void)st;
	if (r == 0)
		r = 1;
	if (t->srtt_us == 0) {
		/* §2.2 */
		t->srtt_us = r;
		t->rttvar_us = r / 2;
		if (!t->min_rtt_us) /* the handshake's */
			t->min_rtt_us = r;
	} else {
		/* §2.3, beta 1/4, alpha 1/8 */
		uint32_t err = r > t->srtt_us ? r - t->srtt_us : t->srtt_us - r;

		t->rttvar_us = t->rttvar_us - t->rttvar_us / 4 + err / 4;
		t->srtt_us = t->srtt_us - t->srtt_us / 8 + r / 8;
		if (t->srtt_us == 0)
			t->srtt_us = 1;
	}
	/* the floor is one of the variance's part, as Linux's: on a long steady path 4 RTTVAR would leave nothing for one late ACK */
	rto = (uint64_t)t->srtt_us + MAX(MAX(RTO_GRANULARITY_US, t->rto_min_us), 4 * (uint64_t)t->rttvar_us);
	t->rto_us = (uint32_t)MIN(rto, TCP_RTO_MAX_US);
	tcp_pto_update(t);
}

/* RFC 8985 §7.2: two round trips, and time for a delayed ACK as there is one segment only (with more the peer acknowledges at once); never
 * later than the timeout. Peers without SACK get no probe. */
void tcp_pto_update(struct tcb *t)
{
	uint64_t pto = t->srtt_us ? 2 * (uint64_t)t->srtt_us + t->rto_min_us : TCP_RTO_INIT_US;

	t->pto_us = t->opts & TCP_OPT_SACK ? (uint32_t)MIN(pto, t->rto_us) : t->rto_us;
}

/* §5.5, and until there is a sample again: doubled per timeout, up to the maximum of §2.5 */
uint32_t tcp_rto_backed_off(const struct tcb *t)
{
	uint64_t rto = (uint64_t)t->rto_us << MIN(t->backoff, 16);

	return (uint32_t)MIN(rto, TCP_RTO_MAX_US);
}

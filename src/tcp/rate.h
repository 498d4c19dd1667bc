/* rate.h - delivery-rate samples (draft-cheng-iccrg-delivery-rate-estimation): how fast the network took what was sent.
 *
 * Each mbuf remembers, from when it was last sent, what had been delivered by then (`delivered`, `delivered_us`) and when the flight began
 * whose delivery it will end (`first_tx_us`). When it is delivered, all that was delivered meanwhile makes a sample:
 *
 *   rate = delivered / max(send interval, ACK interval)
 *
 * The longer interval counts, so that neither ACKs that were compressed on their way nor a burst that left at the speed of the device pass for
 * the speed of the path. A sample during which the sender had nothing to send is marked; one shorter than the lowest round trip is none.
 *
 * Called by output.c (sent), ack.c and sack.c (delivered), conn.c (application limited); inline, since each is a handful of stores. An ACK that
 * only moves SND.UNA over segments sent once delivers them in the order in which they were sent, so its last mbuf alone makes the sample.
 * Owner of the stack.
 */
#ifndef GZ_TCP_RATE_H
#define GZ_TCP_RATE_H

#include "tcp/tcp_int.h"

/* §3.2 "upon sending": before the first frame of a flight. */
static force_inline void tcp_rate_flight_begins(const struct stack *st, struct tcb *t)
{
	t->delivered_us = st->now_us;
	t->first_tx_us = (uint32_t)st->now_us;
}

/* m leaves now; flags: what pkt_tx(m)->flags shall hold. */
static force_inline void tcp_rate_sent(const struct stack *st, const struct tcb *t, struct rte_mbuf *m, unsigned flags)
{
	struct pkt_tx *x = pkt_tx(m);

	x->flags = (uint8_t)(flags | (t->app_limited ? PKT_TX_APP_LIMITED : 0));
	x->delivered = t->delivered;
	x->delivered_us = t->delivered_us;
	x->first_tx_us = t->first_tx_us;
	x->delivered_ce = t->delivered_ce;
	pkt_meta(m)->time_us = st->now_us;
}

/* §3.3: a segment with these marks was delivered. The one sent last makes the sample of this ACK. */
static force_inline void tcp_rate_delivered(struct tcb *t, struct tcp_ack *a, const struct pkt_tx *x, uint64_t sent_us)
{
	if (!x->delivered_us)
		return;
	if (a->rate_prior_us && (int32_t)((uint32_t)sent_us - t->first_tx_us) < 0)
		return;
	a->rate_prior_us = x->delivered_us;
	a->rate_sent_us = sent_us;
	a->rs.prior_delivered = x->delivered;
	a->rs.prior_delivered_ce = x->delivered_ce;
	a->rs.snd_interval_us = (uint32_t)sent_us - x->first_tx_us;
	a->rs.is_app_limited = (x->flags & PKT_TX_APP_LIMITED) != 0;
	a->rs.is_retrans = (x->flags & PKT_TX_EVER_REXMIT) != 0;
	t->first_tx_us = (uint32_t)sent_us;
}

/* The sample is kept for TCP_INFO. */
void tcp_rate_keep(struct tcb *t, const struct tcp_rate_sample *rs);

/* The ACK is done with: its sample. a->acked_data, a->sacked and the counters of the TCB are final. */
static force_inline void tcp_rate_gen(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	struct tcp_rate_sample *rs = &a->rs;

	if (t->app_limited && (int32_t)((uint32_t)t->delivered - t->app_limited) > 0)
		t->app_limited = 0;
	rs->acked_sacked = (uint32_t)(t->delivered - a->prior_delivered);
	if (rs->acked_sacked)
		t->delivered_us = st->now_us;
	if (unlikely(!a->rate_prior_us))
		return;
	rs->interval_us = MAX(st->now_us - a->rate_prior_us, (uint64_t)rs->snd_interval_us);
	/* shorter than any round trip: a segment that was taken for lost, sent again, and then acknowledged by its first copy */
	if (unlikely(rs->interval_us < t->min_rtt_us)) {
		rs->interval_us = 0;
		return;
	}
	rs->delivered = (uint32_t)(t->delivered - rs->prior_delivered);
	/* A single small message at a time says nothing about the path's rate, and is not worth a cache line per ACK. */
	if (!rs->is_app_limited || rs->delivered > t->mss)
		tcp_rate_keep(t, rs);
}

/* §3.4: nothing is ready to send, cwnd has room, and all that was lost was sent again. Called before data is queued: the pipe may run dry
 * until then. 1: what is delivered may be 0 in the low half. */
static force_inline void tcp_rate_check_app_limited(struct tcb *t)
{
	if (t->snd_end - t->snd_nxt < t->mss && t->lost_out <= t->rexmit_out) {
		uint32_t pipe = tcp_pipe(t), until = (uint32_t)t->delivered + pipe;

		if (pipe < t->cwnd)
			t->app_limited = until ? until : 1;
	}
}

#endif

/* rack.c - which segments are lost, by time (RFC 8985 §6): one that left before the one delivered last, and is out for longer than that one's round trip and a
 * reordering window, is lost; so is a retransmission. In place of IsLost() of RFC 6675 §4. Called by sack.c and ack.c for what an ACK delivers, by recovery.c to mark, by timer.c when the
 * reordering timer fires. Owner of the stack. Only for connections with SACK.
 *
 * What the predicted path frees is not looked at: nothing that was delivered in order makes anything lost that left after it, and the SACK that
 * leads off that path brings a segment that left later. Segments that left once lie in the queue in the order in which they left;
 * retransmissions are on rexq in theirs. So both walks end at the first that is too young.
 */
#include "tcp/tcp_int.h"

#define REO_PERSIST 16u	  /* recoveries (RFC 8985 §6.2 step 4) */
#define RACK_LOOK_MAX 64u /* segments looked at for the exact time of the timer */

/* RFC 8985 §6.2 steps 1 and 2. m is newly acknowledged or SACKed, its marks are still what they were. */
void tcp_rack_delivered(struct stack *st, struct tcb *t, struct rte_mbuf *m)
{
	uint64_t sent = pkt_meta(m)->time_us, rtt = st->now_us - sent;
	uint32_t end = tcp_mbuf_end(m);

	/* so soon after a retransmission it is the original that arrived */
	if ((pkt_tx(m)->flags & PKT_TX_EVER_REXMIT) && rtt < t->min_rtt_us)
		return;
	t->rack_advanced = 1;
	t->rack_rtt_us = (uint32_t)MIN(MAX(rtt, 1u), UINT32_MAX);
	if (sent > t->rack_us || (sent == t->rack_us && seq_gt(end, t->rack_end))) {
		t->rack_us = sent;
		t->rack_end = end;
	}
}

/* §6.2 step 4: D-SACKs widen the window, once per round trip; it falls back after some recoveries without. */
void tcp_rack_adapt(struct tcb *t, const struct tcp_ack *a)
{
	if (a->dsack && !(t->tlp_out && t->tlp_end == a->dsack_end))
		t->reo_dsack = 1;
	if (!a->rs.prior_delivered)
		return;
	if ((int32_t)((uint32_t)a->rs.prior_delivered - t->reo_delivered) < 0)
		t->reo_dsack = 0;
	if (t->reo_dsack) {
		t->reo_steps += t->reo_steps < 255;
		t->reo_dsack = 0;
		t->reo_delivered = (uint32_t)t->delivered;
		t->reo_persist = REO_PERSIST;
	} else if (!t->reo_persist) {
		t->reo_steps = 1;
	}
}

static uint32_t reo_wnd_us(const struct tcb *t)
{
	if (!t->reord_seen) {
		/* no reordering so far: eager in recovery, and to begin one by the old threshold (in bytes, and small segments since SND.UNA moved) */
		if (t->ca_state >= TCP_CA_RECOVERY || t->sacked_out > (uint32_t)(t->reordering - 1) * t->mss ||
		    t->dupacks >= t->reordering)
			return 0;
	}
	return (uint32_t)MIN((uint64_t)(t->min_rtt_us / 4) * t->reo_steps, t->srtt_us);
}

static bool left_before_rack(const struct tcb *t, struct rte_mbuf *m)
{
	uint64_t sent = pkt_meta(m)->time_us;

	return sent < t->rack_us || (sent == t->rack_us && seq_lt(tcp_mbuf_end(m), t->rack_end));
}

/* §6.2 step 5. Returns the bytes newly marked; *wait_us: until the last of the others that could be lost, 0: there is none. */
static uint32_t detect(struct stack *st, struct tcb *t, uint64_t *wait_us)
{
	uint64_t most = (uint64_t)t->rack_rtt_us + reo_wnd_us(t), young_us = st->now_us > most ? st->now_us - most : 0, wait = 0;
	struct rte_mbuf *m = t->lost_hint ? t->lost_hint : t->sq_head;
	unsigned look = RACK_LOOK_MAX;
	struct list *n, *tmp;
	bool passed = true;
	uint32_t lost = 0;

	/* what left at young_us or before is lost */
	ring_for_each_safe(n, tmp, t->rexq) {
		struct rte_mbuf *x = pkt_of_tx(container_of(n, struct pkt_tx, node));

		if (!left_before_rack(t, x))
			break;
		if (pkt_meta(x)->time_us <= young_us) {
			lost += tcp_scoreboard_mark_lost(t, x);
			continue;
		}
		wait = MAX(wait, pkt_meta(x)->time_us - young_us);
		if (--look == 0)
			break;
	}
	for (; m && m != t->sq_next && look; m = tcp_sendq_next(m)) {
		uint8_t f = pkt_tx(m)->flags;

		if (passed)
			t->lost_hint = m;
		else
			look--;
		if (f & (PKT_TX_SACKED | PKT_TX_LOST))
			continue;
		if (!left_before_rack(t, m)) {
			/* nothing older follows one that left once; it may follow one that was repeated */
			passed = false;
			if (!(f & PKT_TX_EVER_REXMIT))
				break;
		} else if (pkt_meta(m)->time_us <= young_us) {
			lost += tcp_scoreboard_mark_lost(t, m);
		} else {
			passed = false;
			wait = MAX(wait, pkt_meta(m)->time_us - young_us);
		}
	}
	if (passed && m)
		t->lost_hint = m;
	/* too many to look at: none of them left later than the one delivered last */
	if (look == 0 && t->rack_us > young_us)
		wait = t->rack_us - young_us;
	*wait_us = wait;
	return lost;
}

uint32_t tcp_rack_mark_lost(struct stack *st, struct tcb *t)
{
	uint64_t wait;
	uint32_t lost;

	if (!t->rack_advanced)
		return 0;
	t->rack_advanced = 0;
	lost = detect(st, t, &wait);
	if (wait) {
		tcp_rexmit_timer_restart(st, t, wait);
		t->reo_armed = 1;
	}
	return lost;
}

void tcp_rack_on_timeout(struct stack *st, struct tcb *t)
{
	uint64_t wait;
	uint32_t lost;

	t->reo_armed = 0;
	lost = detect(st, t, &wait);
	if (lost)
		tcp_recovery_on_reo_timeout(st, t, lost);
	if (wait) {
		tcp_rexmit_timer_restart(st, t, wait);
		t->reo_armed = 1;
	} else {
		tcp_rexmit_timer_rearm(st, t);
	}
	/* without losses the hints that were set may not outlive what they point at */
	tcp_slow_loss_update(t);
	tcp_mark_output(st, t, TCP_OUT_DATA);
}

/* On a timeout only what is out for longer than a round trip counts as lost (§6.3); the first segment always does. */
uint64_t tcp_rack_lost_since(const struct stack *st, const struct tcb *t)
{
	uint32_t rtt = t->rack_rtt_us ? t->rack_rtt_us : t->srtt_us;

	return t->opts & TCP_OPT_SACK ? st->now_us - rtt : UINT64_MAX;
}

/* recovery.c - when segments count as lost and what the window does meanwhile: fast retransmit and recovery with SACK (RFC 6675) and
 * without (RFC 5681 §3.2, RFC 6582), retransmission timeout (RFC 5681 §3.1, RFC 6675 §5.1). Called by ack.c and timer.c;
 * marks go to sack.c, sending is output.c's. Owner of the stack.
 *
 * One retransmission machinery serves all: what is marked LOST and has no retransmission in flight is sent again as far as
 * pipe < cwnd. Recovery by duplicate ACKs, recovery by SACK and slow start after a timeout differ only in what they mark and in cwnd.
 */
#include "tcp/tcp_int.h"

void tcp_slow_loss_update(struct tcb *t)
{
	if (t->ca_state != TCP_CA_OPEN || t->sacked_out || t->lost_out || t->dupacks || t->fin_lost) {
		t->slow |= TCP_SLOW_LOSS;
	} else if (t->slow & TCP_SLOW_LOSS) {
		t->slow &= ~TCP_SLOW_LOSS;
		/* the predicted path frees mbufs without a look at hints: none may be left */
		tcp_scoreboard_reset_hints(t);
	}
}

static void set_state(struct stack *st, struct tcb *t, uint8_t state)
{
	if (t->cc->on_state && state != t->ca_state)
		t->cc->on_state(st, t, state);
	t->ca_state = state;
}

static void reduce(struct stack *st, struct tcb *t)
{
	t->prior_cwnd = t->cwnd;
	t->prior_ssthresh = t->ssthresh;
	t->ssthresh = MAX(t->cc->ssthresh(st, t), TCP_CWND_MIN_SEGS * t->mss);
	t->undo_seq = t->snd_una;
	t->undo_rexmit = 0;
	t->rexmit_ts = 0;
	tcp_ecn_reduced(t);
}

void tcp_cwr_enter(struct stack *st, struct tcb *t)
{
	if (t->ca_state != TCP_CA_OPEN || seq_lt(t->snd_una, t->recover))
		return;
	reduce(st, t);
	t->recover = t->snd_nxt;
	if (!t->cc->owns_cwnd)
		t->cwnd = t->ssthresh;
	t->prior_cwnd = 0; /* nothing to undo */
}

static void enter_recovery(struct stack *st, struct tcb *t)
{
	if (unlikely(t->mtu_probe) && tcp_mtu_probe_lost(st, t))
		return;
	/* flight as RFC 5681 means it, before anything is retransmitted */
	reduce(st, t);
	t->recover = t->snd_nxt;
	set_state(st, t, TCP_CA_RECOVERY);
	/* RFC 6675 §5 (4.2); without SACK the duplicate ACKs already shrink the pipe, which is what inflating cwnd does (RFC 5681 §3.2 step 3) */
	if (!t->cc->owns_cwnd)
		t->cwnd = t->ssthresh;
	/* (4.3): the first retransmission leaves whatever pipe says */
	tcp_mark_output(st, t, TCP_OUT_REXMIT);
	st->mib.tcp_fast_retrans++;
	if (t->opts & TCP_OPT_SACK)
		st->mib.tcp_sack_recovery++;
}

static void leave_recovery(struct stack *st, struct tcb *t)
{
	uint32_t flight = t->snd_nxt - t->snd_una;

	if (t->ca_state == TCP_CA_RECOVERY && !t->cc->owns_cwnd) {
		t->cwnd = t->ssthresh;
		/* RFC 6582 §3.2 step 3 option 1: no burst after the window jumped forward */
		if (!(t->opts & TCP_OPT_SACK))
			t->cwnd = MIN(t->ssthresh, MAX(flight, t->mss) + t->mss);
	}
	set_state(st, t, TCP_CA_OPEN);
	t->dupacks = 0;
	t->undo_rexmit = 0;
	if (!(t->opts & TCP_OPT_SACK))
		t->sacked_out = 0;
	if (!t->sacked_out && !t->lost_out)
		tcp_scoreboard_reset_hints(t);
}

/* The reduction was a mistake: the segments had only been late (RFC 4015, RFC 2883). */
static void undo(struct stack *st, struct tcb *t)
{
	if (!t->cc->owns_cwnd)
		t->cwnd = MAX(t->cwnd, t->prior_cwnd);
	t->ssthresh = MAX(t->ssthresh, t->prior_ssthresh);
	if (t->cc->on_undo)
		t->cc->on_undo(st, t);
	t->prior_cwnd = 0;
	t->undo_rexmit = 0;
	t->marks &= (uint8_t)~TCP_MARK_CWR;
	st->mib.tcp_spurious_rto += t->ca_state == TCP_CA_LOSS;
	/* nothing that was marked is known to be lost */
	for (struct rte_mbuf *m = t->sq_head; m && m != t->sq_next; m = tcp_sendq_next(m)) {
		struct pkt_tx *x = pkt_tx(m);

		x->flags &= (uint8_t)~(PKT_TX_LOST | PKT_TX_REXMIT);
	}
	t->lost_out = t->rexmit_out = 0;
	t->rexmit_hint = t->lost_hint = NULL;
	t->lost_below = 0;
	t->lost_seq = t->snd_una;
	t->fin_lost = 0;
	set_state(st, t, TCP_CA_OPEN);
}

/* The segment at seq was late, not lost: the duplicate threshold follows (RFC 4653's purpose). */
static void reordered_past(struct tcb *t, uint32_t seq)
{
	if ((t->opts & TCP_OPT_SACK) && t->mss && seq_gt(t->sack_high, seq))
		t->reordering = (uint8_t)MAX(t->reordering, MIN((t->sack_high - seq) / t->mss + 1, 127u));
}

/* Without SACK each duplicate ACK says that one segment left the network; no more than all but the missing one. */
static void count_dup_reno(struct tcb *t)
{
	uint32_t flight = t->snd_nxt - t->snd_una;

	if (t->sacked_out + 2 * t->mss <= flight)
		t->sacked_out += t->mss;
}

static void open_on_ack(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	bool lost = false;

	if (a->acked)
		t->dupacks = 0;
	if (t->opts & TCP_OPT_SACK) {
		if (a->sacked && !a->acked)
			t->dupacks++;
		if (t->sacked_out) {
			a->rs.lost += tcp_sack_mark_lost(st, t);
			lost = t->lost_out > 0;
			/* RFC 6675 §5 (2): small segments may not fill the byte threshold */
			if (!lost && t->dupacks >= t->reordering && t->sq_head && t->sq_head != t->sq_next &&
			    !(pkt_tx(t->sq_head)->flags & PKT_TX_SACKED)) {
				tcp_scoreboard_head_lost(st, t);
				lost = true;
			}
		} else {
			t->dupacks = 0;
		}
	} else if (a->dup) {
		t->dupacks++;
		count_dup_reno(t);
		/* RFC 6582 §3.2 step 1: ACKs that only cover the last episode start no new one */
		if (t->dupacks >= t->reordering && seq_ge(t->snd_una, t->recover) && t->sq_head != t->sq_next) {
			tcp_scoreboard_head_lost(st, t);
			lost = true;
		}
	} else if (a->acked) {
		t->sacked_out = 0;
	}
	if (lost)
		enter_recovery(st, t);
	else if (unlikely(a->ece))
		tcp_cwr_enter(st, t);
}

static void recovery_on_ack(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	if (seq_ge(t->snd_una, t->recover)) {
		leave_recovery(st, t);
		return;
	}
	if (t->opts & TCP_OPT_SACK) {
		a->rs.lost += tcp_sack_mark_lost(st, t);
		return;
	}
	if (a->acked) {
		/* RFC 6582 §3.2 step 3, partial ACK: the next hole goes at once; one segment filled the old hole, the rest had been
		 * counted by duplicate ACKs */
		uint32_t counted = a->acked_data > t->mss ? a->acked_data - t->mss : 0;

		t->sacked_out -= MIN(t->sacked_out, counted);
		if (t->sq_head && t->sq_head != t->sq_next) {
			tcp_scoreboard_head_lost(st, t);
			tcp_mark_output(st, t, TCP_OUT_REXMIT);
		}
	} else if (a->dup) {
		count_dup_reno(t);
	}
}

void tcp_recovery_on_ack(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	/* a hole that filled by itself: reordering reaches that far, the threshold follows (RFC 4653's purpose, Linux's way) */
	if (unlikely(a->reordered) && t->mss) {
		uint32_t segs = (a->prior_high - a->reorder_seq) / t->mss + 1;

		t->reordering = (uint8_t)MAX(t->reordering, MIN(segs, 127u));
	}
	/* RFC 3522, RFC 4015: the first ACK past the retransmitted segment echoes a timestamp from before the retransmission: the original
	 * arrived */
	if (unlikely(t->rexmit_ts) && a->rexmit_acked && a->prior_una == t->undo_seq) {
		if (a->tsecr && seq_lt(a->tsecr, t->rexmit_ts) && t->ca_state != TCP_CA_OPEN && t->prior_cwnd) {
			if (t->ca_state == TCP_CA_RECOVERY)
				reordered_past(t, t->undo_seq);
			undo(st, t);
		}
		t->rexmit_ts = 0;
	}
	/* RFC 2883: every retransmission of this episode turned out to be a duplicate */
	if (unlikely(a->dsack) && t->undo_rexmit && t->prior_cwnd && --t->undo_rexmit == 0) {
		reordered_past(t, t->undo_seq);
		undo(st, t);
	}
	switch (t->ca_state) {
	case TCP_CA_OPEN:
		open_on_ack(st, t, a);
		break;
	case TCP_CA_RECOVERY:
		recovery_on_ack(st, t, a);
		break;
	case TCP_CA_LOSS:
		if (seq_ge(t->snd_una, t->recover))
			leave_recovery(st, t);
		break;
	}
}

void tcp_recovery_on_rto(struct stack *st, struct tcb *t)
{
	/* RFC 5681 §3.1: once per window, not again for the same data */
	if (t->ca_state == TCP_CA_OPEN || seq_ge(t->snd_una, t->recover))
		reduce(st, t);
	set_state(st, t, TCP_CA_LOSS);
	t->cwnd = t->mss;
	t->recover = t->snd_nxt;
	t->dupacks = 0;
	/* RFC 6675 §5.1 keeps SACK information; RFC 2018 §8: a SACKed segment at the left edge means that the peer reneged */
	if (!(t->opts & TCP_OPT_SACK))
		t->sacked_out = 0;
	else if (t->sq_head && t->sq_head != t->sq_next && (pkt_tx(t->sq_head)->flags & PKT_TX_SACKED))
		tcp_scoreboard_clear_sacks(t);
	tcp_scoreboard_all_lost(t);
	t->fin_lost = t->fin_sent && !tcp_fin_acked(t);
	tcp_slow_loss_update(t);
	tcp_mark_output(st, t, TCP_OUT_REXMIT);
	st->mib.tcp_timeouts++;
}

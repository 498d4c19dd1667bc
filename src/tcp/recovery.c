/* recovery.c - what the sender believes about the network, and what follows from it. Called by ack.c for every ACK that says something new, by timer.c; marks by
 * rack.c (with SACK: RFC 8985 §4) or by counting duplicate ACKs (without: RFC 5681 §3.2, RFC 6582), the window by prr.c, spurious timeouts by frto.c;
 * sending is output.c's. Owner of the stack.
 *
 *   OPEN      all is well
 *   DISORDER  something is missing at the peer, or was repeated and is not acknowledged; perhaps it is only late
 *   REDUCED   (Linux: CWR) the window falls because the network asked (ECN) or a probe repaired a loss; nothing is repeated
 *   RECOVERY  something was lost: repeated as the window allows, the window falls; until `recover` is acknowledged
 *   LOSS      a timeout: slow start from one segment, until `recover` is acknowledged
 *
 * One retransmission machinery serves all: what is marked LOST and has no retransmission in flight is sent again as far as pipe < cwnd.
 *
 * A reduction is undone when it turns out that nothing was lost (undo_ok): every retransmission is reported as a duplicate (RFC 2883,
 * undo_rexmit), or what was repeated is acknowledged with a timestamp from before the first repetition (RFC 3522, RFC 4015).
 */
#include "tcp/tcp_int.h"

#define REORDERING_MAX 300u

void tcp_slow_loss_update(struct tcb *t)
{
	if (t->ca_state != TCP_CA_OPEN || t->sacked_out || t->lost_out || t->dupacks || t->fin_lost || t->tlp_out || t->rexmit_out ||
	    t->reo_armed || t->backoff) {
		t->slow |= TCP_SLOW_LOSS;
	} else if ((t->slow & TCP_SLOW_LOSS) || t->lost_hint) {
		t->slow &= ~TCP_SLOW_LOSS;
		/* the predicted path frees mbufs without a look at hints: none may be left */
		tcp_scoreboard_reset_hints(t);
	}
}

void tcp_ca_set_state(struct stack *st, struct tcb *t, uint8_t state)
{
	if (t->cc->on_state && state != t->ca_state)
		t->cc->on_state(st, t, state);
	if (tcp_reduces(t->ca_state) && !tcp_reduces(state)) { /* the fields were prr.c's */
		t->use_seq = t->snd_una;
		t->use_max = 0;
	}
	t->ca_state = state;
}

static bool head_was_repeated(const struct tcb *t)
{
	return t->sq_head && t->sq_head != t->sq_next && (pkt_tx(t->sq_head)->flags & PKT_TX_EVER_REXMIT);
}

void tcp_recovery_keep_open(struct stack *st, struct tcb *t)
{
	uint8_t state = t->sacked_out || t->lost_out || t->rexmit_out || head_was_repeated(t) ? TCP_CA_DISORDER : TCP_CA_OPEN;

	if (t->ca_state != state) {
		tcp_ca_set_state(st, t, state);
		t->recover = t->snd_nxt;
	}
	if (!t->rexmit_out && !head_was_repeated(t))
		t->rexmit_ts = 0;
}

/* The threshold that a reduction would start from: what it is now in the middle of one, and not far below the window else. */
static uint32_t current_ssthresh(const struct tcb *t)
{
	if (tcp_reduces(t->ca_state))
		return t->ssthresh;
	return MAX(t->ssthresh, (t->cwnd >> 1) + (t->cwnd >> 2));
}

static void init_undo(struct tcb *t)
{
	uint32_t segs = tcp_segs(t->rexmit_out, t->mss) + (t->tlp_out == TCP_TLP_REPEAT);

	t->undo_ok = 1;
	t->undo_seq = t->snd_una;
	/* what is in flight already may be reported as well */
	t->undo_rexmit = segs ? (int32_t)segs : -1;
}

static void enter_recovery(struct stack *st, struct tcb *t, const struct tcp_ack *a)
{
	if (unlikely(t->mtu_probe) && tcp_mtu_probe_lost(st, t))
		return;
	init_undo(t);
	if (t->ca_state != TCP_CA_REDUCED && t->ca_state != TCP_CA_RECOVERY) {
		t->prior_ssthresh = a && a->ece ? 0 : current_ssthresh(t);
		tcp_prr_begin(st, t);
	} else {
		/* already paid for: the window goes on falling to where it was falling to */
		t->prior_ssthresh = 0;
	}
	t->recover = t->snd_nxt;
	tcp_ca_set_state(st, t, TCP_CA_RECOVERY);
	st->mib.tcp_fast_retrans++;
	if (t->opts & TCP_OPT_SACK)
		st->mib.tcp_sack_recovery++;
}

/* The reduction was a mistake. unmark: nothing that is marked is known to be lost either. */
static void undo(struct stack *st, struct tcb *t, bool unmark)
{
	if (unmark) {
		tcp_scoreboard_none_lost(t);
		t->fin_lost = 0;
	}
	if (t->prior_ssthresh) {
		if (!t->cc->owns_cwnd)
			t->cwnd = MAX(t->cwnd, t->prior_cwnd);
		t->ssthresh = MAX(t->ssthresh, t->prior_ssthresh);
		t->marks &= (uint8_t)~TCP_MARK_CWR;
		if (t->cc->on_undo)
			t->cc->on_undo(st, t);
	}
	t->undo_ok = 0;
	t->rack_advanced = 1; /* losses that are left are found again */
}

/* The original of what was repeated at the left edge has arrived (RFC 3522 §3.2). */
static bool originals_arrived(const struct tcb *t, const struct tcp_ack *a)
{
	return t->rexmit_ts && a->tsecr && a->head_repeated && seq_lt(a->tsecr, t->rexmit_ts);
}

static bool may_undo(const struct tcb *t, const struct tcp_ack *a)
{
	return t->undo_ok && (!t->undo_rexmit || originals_arrived(t, a));
}

/* A segment that left before the highest that arrived was late: how far decides about the threshold for duplicate ACKs. */
static void reordering_seen(struct tcb *t, uint32_t seq, uint32_t high)
{
	if (!seq_lt(seq, high) || !t->mss)
		return;
	if (high - seq > (uint32_t)t->reordering * t->mss)
		t->reordering = (uint16_t)MIN((high - seq + t->mss - 1) / t->mss, REORDERING_MAX);
	t->reord_seen += t->reord_seen < UINT16_MAX;
}

/* --- peers without SACK: a duplicate ACK says that one segment left the network --- */

static void count_dup(struct tcb *t)
{
	uint32_t flight = t->snd_nxt - t->snd_una, hole = MAX(t->lost_out, (uint32_t)t->mss);

	if (t->sacked_out + hole + t->mss > flight) {
		/* more than there are: reordering reaches that far */
		t->reordering = (uint16_t)MIN(MAX(flight / t->mss, t->reordering), REORDERING_MAX);
		t->reord_seen += t->reord_seen < UINT16_MAX;
		return;
	}
	t->sacked_out += t->mss;
	t->delivered += t->mss;
}

/* SND.UNA moved: one segment filled the hole, the others had been counted. */
static void uncount_dups(struct tcb *t, const struct tcp_ack *a)
{
	uint32_t counted = a->acked_data > t->mss ? a->acked_data - t->mss : 0;

	counted = MIN(counted, t->sacked_out);
	t->sacked_out -= counted;
	t->delivered -= counted;
}

/* RFC 6582 §3.2: duplicate ACKs for what was sent before `recover` are no sign of loss, so the state is kept until more than that is acknowledged. */
static bool keep_until_more(struct tcb *t)
{
	if ((t->opts & TCP_OPT_SACK) || t->snd_una != t->recover)
		return false;
	if (!t->rexmit_out && !head_was_repeated(t))
		t->rexmit_ts = 0;
	return true;
}

/* --- */

/* Marks what is lost now. */
static void find_losses(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	if (t->opts & TCP_OPT_SACK) {
		uint32_t before = t->rexmit_out, lost = tcp_rack_mark_lost(st, t);

		a->rexmit_lost |= before > t->rexmit_out && lost;
	} else if ((t->ca_state < TCP_CA_RECOVERY && t->sacked_out >= (uint32_t)t->reordering * t->mss) ||
		   (t->ca_state == TCP_CA_RECOVERY && a->acked)) {
		if (t->sq_head != t->sq_next)
			tcp_scoreboard_head_lost(st, t);
	}
}

/* Everything up to `recover` is acknowledged. true: the state stays nevertheless. */
static bool end_recovery(struct stack *st, struct tcb *t, const struct tcp_ack *a)
{
	if (may_undo(t, a))
		undo(st, t, false);
	else if (t->reo_persist)
		t->reo_persist--;
	if (keep_until_more(t))
		return true;
	if (t->ca_state == TCP_CA_RECOVERY)
		tcp_prr_end(t);
	tcp_ca_set_state(st, t, TCP_CA_OPEN);
	t->dupacks = 0;
	return false;
}

/* A timeout that turns out to be spurious. */
static bool undo_loss(struct stack *st, struct tcb *t, const struct tcp_ack *a, bool by_frto)
{
	if (!by_frto && !may_undo(t, a))
		return false;
	undo(st, t, true);
	tcp_rto_run_over(st, t);
	st->mib.tcp_spurious_rto++;
	if (keep_until_more(t))
		return true;
	if (by_frto || (t->opts & TCP_OPT_SACK))
		tcp_ca_set_state(st, t, TCP_CA_OPEN);
	return true;
}

static void loss_on_ack(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	bool recovered = seq_ge(t->snd_una, t->recover);

	if (a->acked && undo_loss(st, t, a, false))
		return;
	if (t->frto) {
		switch (tcp_frto_on_ack(t, a, recovered)) {
		case TCP_FRTO_SPURIOUS:
			if (undo_loss(st, t, a, true))
				return;
			break;
		case TCP_FRTO_TRY_NEW:
			t->hold = TCP_HOLD_TRY_NEW;
			return;
		default:
			break;
		}
	}
	if (recovered) {
		end_recovery(st, t, a);
		return;
	}
	if (!(t->opts & TCP_OPT_SACK)) {
		if (seq_gt(t->snd_nxt, t->recover) && a->dup)
			count_dup(t);
		else if (a->acked)
			t->sacked_out = 0;
	}
}

/* true: what was repeated had only been late, and other retransmissions are still out: they will show what else was. Nothing more is repeated meanwhile. */
static bool undo_partial(struct stack *st, struct tcb *t, const struct tcp_ack *a)
{
	if (!t->undo_ok || !originals_arrived(t, a))
		return false;
	reordering_seen(t, a->prior_una, t->sacked_out ? t->sack_high : t->snd_una);
	if (t->rexmit_out) {
		t->hold = TCP_HOLD_OLD;
		return true;
	}
	undo(st, t, true);
	st->mib.tcp_spurious_recovery++;
	tcp_recovery_keep_open(st, t);
	return false;
}

/* Every retransmission turned out to be a duplicate (RFC 2883, RFC 3708). */
static bool undo_by_dsack(struct stack *st, struct tcb *t)
{
	if (!t->undo_ok || t->undo_rexmit)
		return false;
	t->reo_persist += t->reo_persist < 16;
	undo(st, t, false);
	st->mib.tcp_spurious_recovery++;
	return true;
}

static void count_dsack(struct tcb *t, const struct tcp_ack *a)
{
	uint32_t segs = MAX((a->dsack_end - a->dsack_start + t->mss - 1) / t->mss, 1u);

	if (!t->undo_ok || t->undo_rexmit <= 0 || !seq_gt(a->dsack_end, t->undo_seq))
		return;
	t->undo_rexmit = MAX(t->undo_rexmit - (int32_t)MIN(segs, 1000u), 0);
}

static void open_on_ack(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	if (!(t->opts & TCP_OPT_SACK)) {
		if (a->acked)
			t->sacked_out = 0;
		if (a->dup)
			count_dup(t);
	}
	if (t->ca_state <= TCP_CA_DISORDER)
		undo_by_dsack(st, t);
	find_losses(st, t, a);
	if (t->lost_out) {
		enter_recovery(st, t, a);
		return;
	}
	if (a->ece)
		tcp_cwr_enter(st, t);
	if (t->ca_state != TCP_CA_REDUCED)
		tcp_recovery_keep_open(st, t);
}

void tcp_recovery_on_ack(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	t->hold = 0;
	if (a->acked)
		t->dupacks = 0;
	else if (a->dup || a->sacked) /* merged ACKs and SACKs tell of several at once */
		t->dupacks = (uint16_t)MIN(t->dupacks + MAX(a->sacked_segs, 1u), UINT16_MAX);
	if (!(t->opts & TCP_OPT_SACK) && a->acked && t->sacked_out)
		uncount_dups(t, a);
	if (unlikely(a->reordered) && (t->ca_state != TCP_CA_LOSS || t->undo_ok))
		reordering_seen(t, a->reorder_seq, a->prior_high);
	if (unlikely(a->dsack))
		count_dsack(t, a);
	/* the network is congested whatever was late */
	if (unlikely(a->ece))
		t->prior_ssthresh = 0;
	if (t->ca_state == TCP_CA_OPEN) {
		t->rexmit_ts = 0;
	} else if (seq_ge(t->snd_una, t->recover)) {
		if (t->ca_state == TCP_CA_REDUCED && t->snd_una != t->recover) {
			/* held until something above is acknowledged, so that the CWR bit has arrived */
			tcp_prr_end(t);
			tcp_ca_set_state(st, t, TCP_CA_OPEN);
		} else if (t->ca_state == TCP_CA_RECOVERY) {
			if (!(t->opts & TCP_OPT_SACK))
				t->sacked_out = 0;
			if (end_recovery(st, t, a))
				return;
		}
	}
	switch (t->ca_state) {
	case TCP_CA_RECOVERY:
		if (!a->acked) {
			if (!(t->opts & TCP_OPT_SACK) && a->dup)
				count_dup(t);
		} else if (undo_partial(st, t, a)) {
			return;
		}
		if (undo_by_dsack(st, t))
			tcp_recovery_keep_open(st, t);
		find_losses(st, t, a);
		/* undone, but something is lost nevertheless */
		if (t->ca_state != TCP_CA_RECOVERY && t->lost_out)
			enter_recovery(st, t, a);
		break;
	case TCP_CA_LOSS:
		loss_on_ack(st, t, a);
		find_losses(st, t, a);
		if (t->ca_state != TCP_CA_OPEN && !a->rexmit_lost)
			break;
		__attribute__((fallthrough));
	default:
		open_on_ack(st, t, a);
		break;
	}
}

/* The reordering timer found losses. */
void tcp_recovery_on_reo_timeout(struct stack *st, struct tcb *t, uint32_t lost)
{
	if (t->ca_state != TCP_CA_RECOVERY) {
		enter_recovery(st, t, NULL);
		if (!t->cc->owns_cwnd)
			tcp_prr_on_ack(t, t->mss, lost, false);
	}
	tcp_slow_loss_update(t);
}

/* The acknowledged edge reached what had been SACKed, and did not move on: the peer gave it up (RFC 2018 §8), or will say more in a moment. */
bool tcp_recovery_reneged(struct stack *st, struct tcb *t)
{
	if (!t->sq_head || t->sq_head == t->sq_next || !(pkt_tx(t->sq_head)->flags & PKT_TX_SACKED))
		return false;
	t->reo_armed = 0;
	tcp_rexmit_timer_restart(st, t, MAX(t->srtt_us / 2, TCP_RENEGE_WAIT_US));
	return true;
}

void tcp_recovery_on_rto(struct stack *st, struct tcb *t)
{
	bool repeated = t->rexmits > 0, fresh = t->ca_state < TCP_CA_RECOVERY;

	/* SACK information is kept (RFC 6675 §5.1); a SACKed segment at the left edge means that the peer reneged (RFC 2018 §8) */
	if (!(t->opts & TCP_OPT_SACK))
		t->sacked_out = 0;
	else if (t->sq_head && t->sq_head != t->sq_next && (pkt_tx(t->sq_head)->flags & PKT_TX_SACKED))
		tcp_scoreboard_clear_sacks(t);
	/* RFC 5681 §3.1: once per window, not again for the same data */
	if (t->ca_state <= TCP_CA_DISORDER || seq_ge(t->snd_una, t->recover) || (t->ca_state == TCP_CA_LOSS && !repeated)) {
		t->prior_ssthresh = current_ssthresh(t);
		t->prior_cwnd = t->cwnd;
		t->ssthresh = MAX(t->cc->ssthresh(st, t), TCP_CWND_MIN_SEGS * t->mss);
		init_undo(t);
		tcp_ecn_reduced(t);
	}
	/* so much SACKed, and yet no recovery: the degree of reordering was over-estimated */
	if (t->ca_state <= TCP_CA_DISORDER && t->sacked_out >= 3u * t->mss)
		t->reordering = MIN(t->reordering, 3);
	tcp_scoreboard_lost_since(t, tcp_rack_lost_since(st, t));
	tcp_ca_set_state(st, t, TCP_CA_LOSS);
	t->cwnd = tcp_pipe(t) + t->mss;
	t->recover = t->snd_nxt;
	t->dupacks = 0;
	t->tlp_out = 0;
	t->reo_armed = 0;
	t->hold = 0;
	tcp_frto_start(t, fresh || repeated);
	t->fin_lost = t->fin_sent && !tcp_fin_acked(t);
	tcp_slow_loss_update(t);
	tcp_mark_output(st, t, TCP_OUT_REXMIT);
	st->mib.tcp_timeouts++;
}

/* Segments were too big for the path, which says nothing about congestion: what the caller marked goes again, the window stays (as Linux). */
void tcp_recovery_too_big(struct stack *st, struct tcb *t)
{
	if (!(t->opts & TCP_OPT_SACK)) {
		t->sacked_out = 0;
		t->dupacks = 0;
	}
	if (t->ca_state != TCP_CA_LOSS) {
		t->ssthresh = MAX(current_ssthresh(t), TCP_CWND_MIN_SEGS * t->mss);
		t->recover = t->snd_nxt;
		t->prior_ssthresh = 0;
		t->undo_ok = 0;
		t->frto = 0;
		tcp_ca_set_state(st, t, TCP_CA_LOSS);
	}
	t->tlp_out = 0;
	t->hold = 0;
	if (t->reo_armed)
		tcp_rexmit_timer_rearm(st, t);
	tcp_slow_loss_update(t);
	tcp_mark_output(st, t, TCP_OUT_REXMIT);
}

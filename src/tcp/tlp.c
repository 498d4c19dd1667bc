/* tlp.c - tail loss probes (RFC 8985 §7): when nothing is heard for two round trips the last segment goes again, or a new one, so that the ACK for it shows
 * what is missing. Called by timer.c (fires), output.c (sends), ack.c (judges). Owner of the stack.
 *
 * The probe shares the deadline of the retransmission timer: while tcp_tlp_allowed() that is the time of the probe, and
 * of the timeout else. pto_us is that time with one segment in flight, when the peer may be delaying its ACK (rtt.c).
 */
#include "tcp/tcp_int.h"

bool tcp_tlp_allowed(const struct tcb *t)
{
	return (t->opts & TCP_OPT_SACK) && (t->ca_state == TCP_CA_OPEN || t->ca_state == TCP_CA_REDUCED) && !t->tlp_out &&
	       t->state >= TCPS_ESTABLISHED && !t->rexmits;
}

/* Time until something must happen for what is in flight, when marks of the scoreboard or a state other than OPEN are around. */
uint64_t tcp_xmit_timer_slow_us(const struct tcb *t)
{
	if (!tcp_tlp_allowed(t))
		return tcp_rto_backed_off(t);
	return t->snd_nxt - t->snd_una > t->mss ? MIN(t->pto_us, 2 * (uint64_t)t->srtt_us + TCP_PTO_SLACK_US) : t->pto_us;
}

/* When the timeout of the first segment is, which another timer stood in for (RFC 6298 §5.1: from when it left). */
void tcp_rexmit_timer_rearm(struct stack *st, struct tcb *t)
{
	uint64_t sent = t->sq_head && t->sq_head != t->sq_next ? pkt_meta(t->sq_head)->time_us : t->last_snd_us;
	uint64_t at = sent + tcp_rto_backed_off(t);

	tcp_rexmit_timer_restart(st, t, at > st->now_us ? at - st->now_us : 1);
	t->reo_armed = 0;
}

/* New data left behind other data: the probe waits for it, but not longer than the timeout of what left before (§7.2). */
void tcp_tlp_on_new_data(struct stack *st, struct tcb *t)
{
	uint64_t at;

	if (t->reo_armed || t->persist || !tcp_tlp_allowed(t) || !t->sq_head)
		return;
	at = pkt_meta(t->sq_head)->time_us + t->rto_us;
	at = MIN(at, st->now_us + tcp_xmit_timer_slow_us(t));
	tcp_deadline_set(st, t, TCP_AT_REXMIT, MAX(at, st->now_us + 1));
}

void tcp_tlp_on_timeout(struct stack *st, struct tcb *t)
{
	/* should it not be possible to send one, this is the timeout */
	tcp_rexmit_timer_rearm(st, t);
	tcp_mark_output(st, t, TCP_OUT_TLP);
}

/* §7.4: at the ACK that covers the probe. */
void tcp_tlp_on_ack(struct stack *st, struct tcb *t, uint32_t ack, const struct tcp_ack *a)
{
	if (seq_lt(ack, t->tlp_end))
		return;
	if (t->tlp_out == TCP_TLP_NEW || (a->dsack && a->dsack_end == t->tlp_end)) {
		/* new data, or both the segment and its repetition arrived: nothing was lost */
		t->tlp_out = 0;
	} else if (seq_gt(ack, t->tlp_end)) {
		/* no D-SACK came: the probe repaired a loss, which the window has not paid for */
		st->mib.tcp_tlp_recovery++;
		t->tlp_out = 0;
		tcp_prr_begin(st, t);
		tcp_ca_set_state(st, t, TCP_CA_REDUCED);
		tcp_prr_end(t);
		tcp_recovery_keep_open(st, t);
	} else if (a->dup && !a->sacked) {
		t->tlp_out = 0;
	}
}

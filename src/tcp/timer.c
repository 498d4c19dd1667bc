/* timer.c - everything that a connection does because time passed: retransmission (RFC 6298 §5.4-5.7; loss probe and reordering
 * timer, which share its deadline, RFC 8985 §8: tlp.c, rack.c), persist (RFC 9293 §3.8.6.1),
 * delayed ACK (RFC 1122 §4.2.3.2), keep-alive (RFC 1122 §4.2.3.6), FIN_WAIT_2 and linger limits, give-up times (RFC 1122 §4.2.3.5, RFC
 * 5482). Called by the wheel; owner of the stack.
 *
 * A TCB has several deadlines and one timer, armed for the earliest or before: pushing a deadline out, which every ACK does, costs a store. When the
 * timer fires, the real deadlines decide.
 */
#include "tcp/pace.h"
#include "tcp/tcp_int.h"

/* true: the connection is over (the TCB is no longer ours) */
static bool gave_up(struct stack *st, struct tcb *t, unsigned tries, uint64_t limit_us, int err)
{
	uint64_t user_us = (uint64_t)sock_of_tcb(t)->opt.user_timeout_ms * 1000;

	if (user_us)
		limit_us = user_us;
	else if (tries < TCP_R1_REXMITS)
		/* RFC 1122 §4.2.3.5: R2 is beyond R1, and R1 at least three retransmissions at the current RTO, however long that is */
		return false;
	if (st->now_us - t->rexmit_since_us < limit_us)
		return false;
	st->mib.tcp_free_pcb_in_maxrtx++;
	st->mib.tcp_abort_on_timeout++;
	/* RFC 1122 §4.2.3.9: what the network said meanwhile is the better reason */
	if (t->soft_err && t->soft_err_una == t->snd_una)
		err = t->soft_err;
	tcp_conn_gone(st, t, err);
	return true;
}

static bool on_syn_timeout(struct stack *st, struct tcb *t)
{
	const struct sock_opts *o = &sock_of_tcb(t)->opt;
	unsigned max = o->syncnt ? o->syncnt : st->tcp->conf.syn_retries;
	bool over = o->user_timeout_ms && st->now_us - t->rexmit_since_us >= (uint64_t)o->user_timeout_ms * 1000;

	if (t->syn_retrans >= max || over) {
		st->mib.tcp_free_pcb_in_syn_maxrtx++;
		st->mib.tcp_abort_on_timeout++;
		st->mib.tcp_attempt_fail++;
		tcp_conn_gone(st, t, ETIMEDOUT);
		return true;
	}
	t->syn_retrans++;
	tcp_rto_counted(t);
	t->backoff++;
	st->mib.tcp_syn_retrans++;
	tcp_mark_output(st, t, TCP_OUT_SYN);
	/* output starts it again; should it fail to run, this stands */
	tcp_deadline_set(st, t, TCP_AT_REXMIT, st->now_us + tcp_rto_backed_off(t));
	return false;
}

static bool on_persist(struct stack *st, struct tcb *t)
{
	if (!t->sq_next) {
		t->persist = 0;
		tcp_deadline_clear(t, TCP_AT_REXMIT);
		return false;
	}
	if (seq_gt(t->snd_una + t->snd_wnd, t->snd_nxt)) {
		/* corked, or the override timeout of SWS avoidance (RFC 9293 §3.8.6.2.1): what fits goes */
		pkt_tx(t->sq_next)->push |= PKT_PUSH_END;
		tcp_mark_output(st, t, TCP_OUT_DATA | TCP_OUT_PUSH);
		tcp_deadline_set(st, t, TCP_AT_REXMIT, st->now_us + MAX(tcp_rto_backed_off(t), t->rto_min_us));
		return false;
	}
	if (!t->rexmit_since_us)
		t->rexmit_since_us = st->now_us;
	else if (gave_up(st, t, t->backoff, t->app_closed ? TCP_ORPHAN_R2_US : TCP_R2_US, ETIMEDOUT))
		return true;
	/* An orphan whose peer answers but never opens its window: data of nobody must not stay for ever (RFC 1122 §4.2.3.4 speaks of
	 * connections that somebody waits for; Linux: back-off at its end and its 8 retries) */
	if (t->app_closed && t->backoff >= TCP_ORPHAN_PROBES && tcp_rto_backed_off(t) >= TCP_RTO_MAX_US) {
		st->mib.tcp_free_pcb_in_maxrtx++;
		tcp_reply_rst_conn(st, t, t->snd_nxt);
		tcp_conn_gone(st, t, ETIMEDOUT);
		return true;
	}
	if (t->backoff < 16)
		t->backoff++;
	tcp_slow_loss_update(t);
	st->mib.tcp_persist_probe++;
	tcp_deadline_set(st, t, TCP_AT_REXMIT, st->now_us + tcp_rto_backed_off(t));
	tcp_mark_output(st, t, TCP_OUT_PROBE);
	return false;
}

static bool on_rexmit(struct stack *st, struct tcb *t)
{
	if (t->state == TCPS_SYN_SENT || t->state == TCPS_SYN_RECEIVED)
		return on_syn_timeout(st, t);
	if (t->persist)
		return on_persist(st, t);
	if (!tcp_in_flight(t)) {
		tcp_deadline_clear(t, TCP_AT_REXMIT);
		t->reo_armed = 0;
		return false;
	}
	if (t->reo_armed) {
		tcp_rack_on_timeout(st, t);
		return false;
	}
	if (tcp_tlp_allowed(t)) {
		tcp_tlp_on_timeout(st, t);
		return false;
	}
	if (!t->rexmit_since_us)
		/* R2 counts the present run of timeouts: from when this timer was started, which was the last progress. When something was
		 * last sent says nothing: a long recovery may have moved SND.UNA by retransmissions alone. */
		t->rexmit_since_us = st->now_us - MIN(tcp_rto_backed_off(t), st->now_us - 1);
	if (gave_up(st, t, t->rexmits, t->app_closed ? TCP_ORPHAN_R2_US : TCP_R2_US, ETIMEDOUT))
		return true;
	tcp_pmtu_on_rto(st, t);
	tcp_recovery_on_rto(st, t);
	tcp_rto_counted(t);
	if (t->backoff < 16)
		t->backoff++;
	tcp_rexmit_timer_restart(st, t, tcp_rto_backed_off(t));
	return false;
}

static void on_delack(struct stack *st, struct tcb *t)
{
	tcp_deadline_clear(t, TCP_AT_DELACK);
	if (t->last_ack_sent == t->rcv_nxt)
		return;
	/* nothing rode on data: this is no request-response traffic now */
	t->pingpong = 0;
	st->mib.tcp_delay_ack_cnt++;
	tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
}

uint64_t tcp_keep_idle_us(const struct sock_opts *o)
{
	return (uint64_t)(o->keep_idle_s ? o->keep_idle_s : TCP_KEEP_IDLE_S) * US_PER_S;
}

void tcp_keepalive_restart(struct stack *st, struct tcb *t)
{
	const struct sock_opts *o = &sock_of_tcb(t)->opt;

	if (o->keepalive && t->state >= TCPS_ESTABLISHED)
		tcp_deadline_set(st, t, TCP_AT_KEEP, st->now_us + tcp_keep_idle_us(o));
	else
		tcp_deadline_clear(t, TCP_AT_KEEP);
}

static bool on_keepalive(struct stack *st, struct tcb *t)
{
	const struct sock_opts *o = &sock_of_tcb(t)->opt;
	uint64_t idle_us = (uint64_t)(uint32_t)(tcp_now_ms(st) - t->last_rcv_ms) * 1000, want = tcp_keep_idle_us(o);
	uint64_t intvl = (uint64_t)(o->keep_intvl_s ? o->keep_intvl_s : TCP_KEEP_INTVL_S) * US_PER_S;
	uint32_t cnt = o->keep_cnt ? o->keep_cnt : TCP_KEEP_CNT;
	bool over;

	tcp_deadline_clear(t, TCP_AT_KEEP);
	if (!o->keepalive)
		return false;
	/* data in flight is watched by the retransmission timer */
	if (idle_us < want || tcp_in_flight(t) || t->sq_next) {
		if (idle_us < want)
			t->probes = 0;
		tcp_deadline_set(st, t, TCP_AT_KEEP, st->now_us + (idle_us < want ? want - idle_us : want));
		return false;
	}
	over = o->user_timeout_ms ? t->probes && idle_us >= (uint64_t)o->user_timeout_ms * 1000 : t->probes >= cnt;
	if (over) {
		st->mib.tcp_rst_in_keepalive_timeout++;
		st->mib.tcp_abort_on_timeout++;
		tcp_reply_rst_conn(st, t, t->snd_nxt);
		tcp_conn_gone(st, t, ETIMEDOUT);
		return true;
	}
	t->probes++;
	st->mib.tcp_keepalive_probe++;
	tcp_mark_output(st, t, TCP_OUT_PROBE);
	tcp_deadline_set(st, t, TCP_AT_KEEP, st->now_us + intvl);
	return false;
}

static bool on_misc(struct stack *st, struct tcb *t)
{
	tcp_deadline_clear(t, TCP_AT_MISC);
	if (t->app_closed && t->state == TCPS_FIN_WAIT_2) {
		/* an orphan whose peer never closes */
		tcp_conn_gone(st, t, 0);
		return true;
	}
	return false;
}

void tcp_on_timer(struct stack *st, struct wheel_timer *w)
{
	struct tcb *t = container_of(w, struct tcb, timer);
	uint64_t now = st->now_us, next = TCP_NEVER;

	if (t->deadline[TCP_AT_DELACK] <= now)
		on_delack(st, t);
	if (t->deadline[TCP_AT_REXMIT] <= now && on_rexmit(st, t))
		return;
	if (t->deadline[TCP_AT_KEEP] <= now && on_keepalive(st, t))
		return;
	if (t->deadline[TCP_AT_MISC] <= now && on_misc(st, t))
		return;
	for (unsigned i = 0; i < TCP_AT_COUNT; i++)
		next = MIN(next, t->deadline[i]);
	if (unlikely(t->pace_wait)) {
		if (tcp_pace_at_us(t) <= now) {
			t->pace_wait = 0;
			tcp_mark_output(st, t, TCP_OUT_DATA);
		} else {
			next = MIN(next, tcp_pace_at_us(t));
		}
	}
	if (next < TCP_UNSETTLED)
		wheel_arm(&st->wheel, &t->timer, next);
}

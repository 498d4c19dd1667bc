/* ack.c - acknowledgements: what leaves the retransmission queue, the peer's window, RTT samples, and whom to tell (RFC 9293
 * §3.10.7.4, RFC 5681, RFC 6298, RFC 7323 §4). Called by input.c (predicted) and slow.c; calls sack, recovery, the congestion
 * control and sock. Owner of the stack.
 */
#include "tcp/pace.h"
#include "tcp/rate.h"
#include "tcp/tcp_int.h"

/* m, neither SACKed before nor on the predicted path, is covered by the ACK. */
static void delivered_slow(struct stack *st, struct tcb *t, struct rte_mbuf *m, struct tcp_ack *a)
{
	tcp_rack_delivered(st, t, m);
	if (pkt_tx(m)->flags & PKT_TX_EVER_REXMIT)
		return;
	a->orig_arrived |= seq_le(tcp_mbuf_end(m), t->recover);
	/* RFC 8985 §6.2 step 3 */
	if (seq_lt(tcp_mbuf_seq(m), a->prior_high))
		tcp_ack_saw_reordering(a, tcp_mbuf_seq(m));
}

/* Frees what `ack` covers. simple: no mbuf carries marks of the scoreboard and no hint is set, so that they were delivered as they were sent. */
static force_inline void clean_queue(struct stack *st, struct tcb *t, uint32_t ack, struct tcp_ack *a, bool simple)
{
	struct rte_mbuf *m = t->sq_head;
	struct pkt_tx last = { .delivered_us = 0 };
	uint64_t last_us = 0;

	if (unlikely(!m)) /* a FIN alone */
		return;
	while (m && m != t->sq_next) {
		struct pkt_meta *p = pkt_meta(m);
		struct pkt_tx *x = pkt_tx(m);
		struct rte_mbuf *next;

		if (unlikely(seq_gt(p->seq + p->len, ack))) {
			uint32_t part = ack - p->seq;

			if (seq_gt(ack, p->seq)) {
				if (!simple)
					tcp_scoreboard_trim(t, m, part);
				tcp_mbuf_trim(m, part);
				t->delivered += part;
				/* a sample all the same: with large buffers most ACKs end inside one */
				if (!(x->flags & (PKT_TX_EVER_REXMIT | PKT_TX_SACKED))) {
					a->sent_us = a->sent_us ? a->sent_us : p->time_us;
					a->last_sent_us = p->time_us;
				}
				if (!simple && (x->flags & PKT_TX_EVER_REXMIT))
					a->head_repeated |= m == t->sq_head;
				else if (!simple && !(x->flags & PKT_TX_SACKED))
					a->orig_arrived |= seq_le(ack, t->recover);
			}
			break;
		}
		next = tcp_sendq_next(m);
		if (likely(next != NULL))
			prefetch(pkt_meta(next));
		if (unlikely(x->flags & PKT_TX_EVER_REXMIT)) {
			a->rexmit_acked = true;
			if (!simple && m == t->sq_head)
				a->head_repeated = true;
			tcp_rate_delivered(t, a, x, p->time_us);
		} else if (simple || !(x->flags & PKT_TX_SACKED)) {
			if (!a->sent_us)
				a->sent_us = p->time_us;
			a->last_sent_us = p->time_us;
			if (!simple)
				tcp_rate_delivered(t, a, x, p->time_us);
		}
		if (!simple && !(x->flags & PKT_TX_SACKED))
			delivered_slow(st, t, m, a);
		if (simple || !(x->flags & PKT_TX_SACKED))
			t->delivered += p->len;
		if (simple) {
			last.delivered = x->delivered;
			last.delivered_us = x->delivered_us;
			last.delivered_ce = x->delivered_ce;
			last.first_tx_us = x->first_tx_us;
			last.flags = x->flags;
			last_us = p->time_us;
		}
		if (!simple)
			tcp_scoreboard_forget(t, m);
		rte_pktmbuf_free_seg(m);
		m = next;
	}
	if (simple)
		tcp_rate_delivered(t, a, &last, last_us);
	t->sq_head = m;
	if (!m)
		tcp_busy_ends(st, t);
}

/* RFC 6298 §3, §4, once per round trip; Karn's rule: never from a retransmitted segment, unless timestamps tell (RFC 7323 §4.1). */
static force_inline void take_rtt(struct stack *st, struct tcb *t, struct tcp_ack *a, uint32_t ack, uint32_t tsecr, bool simple)
{
	uint64_t rtt;

	if (likely(a->sent_us && !a->rexmit_acked)) {
		rtt = MAX(st->now_us - a->sent_us, 1u);
		a->rs.rtt_us = (uint32_t)MIN(MAX(st->now_us - a->last_sent_us, 1u), UINT32_MAX);
	} else if (tsecr && (t->opts & TCP_OPT_TS) && a->acked_data && seq_diff(tcp_ts_now(st, t), tsecr) >= 0) {
		rtt = MAX((uint64_t)(tcp_ts_now(st, t) - tsecr) * 1000, 1000u);
		a->rs.rtt_us = (uint32_t)rtt;
	} else {
		return;
	}
	if (!simple) /* RFC 6298 §5: a valid sample ends the back-off */
		t->backoff = 0;
	if (seq_ge(ack, t->rtt_seq)) {
		tcp_rtt_sample(st, t, rtt);
		t->rtt_seq = t->snd_nxt;
		ip4_confirm(st, &t->route);
		if (unlikely(t->route.pmtu_watch))
			tcp_pmtu_watch(st, t);
	}
}

/* What is SACKed has made its round trip as well. */
static void take_sack_rtt(struct stack *st, struct tcb *t, const struct tcp_ack *a)
{
	uint64_t rtt = MAX(st->now_us - a->sack_sent_us, 1u);

	t->min_rtt_us = (uint32_t)MIN(rtt, t->min_rtt_us ? t->min_rtt_us : UINT32_MAX);
	t->backoff = 0;
	if (seq_gt(t->sack_high, t->rtt_seq)) {
		tcp_rtt_sample(st, t, rtt);
		t->rtt_seq = t->snd_nxt;
	}
}

/* snd_una moves to ack. */
static force_inline void advance(struct stack *st, struct tcb *t, uint32_t ack, struct tcp_ack *a, uint32_t tsecr, bool simple)
{
	a->acked = ack - t->snd_una;
	a->acked_data = a->acked - (t->fin_sent && ack == t->snd_end + 1);
	clean_queue(st, t, ack, a, simple);
	t->snd_una = ack;
	take_rtt(st, t, a, ack, tsecr, simple);
	/* the predicted path has nothing to do here: TCP_SLOW_LOSS is set after a timeout, and while the RTO is backed off */
	if (!simple)
		tcp_rto_run_over(st, t);
	t->probes = 0;
	/* RFC 6298 §5.2, §5.3 */
	if (t->snd_nxt == ack)
		tcp_deadline_clear(t, TCP_AT_REXMIT);
	else if (simple)
		tcp_rexmit_timer_restart(st, t, tcp_xmit_timer_us(t));
	/* else settle_timer(), when the state is known */
	if (a->acked_data)
		sock_up_acked(st, sock_of_tcb(t), a->acked_data);
}

/* RFC 7661 in spirit, as Linux's tcp_cwnd_validate(): cwnd grows only while it is what limits the sender, within the window at hand or the one before: being
 * full once counts until that window is acknowledged, and slow start goes to twice what was in flight. */
static force_inline bool cwnd_was_limit(struct tcb *t, const struct tcp_ack *a)
{
	if (t->cwnd_limited == TCP_LIMITED_CWND || a->rs.prior_pipe + t->mss > t->cwnd) {
		t->use_max = TCP_USE_FULL;
		t->use_seq = t->snd_nxt;
	} else if (seq_ge(t->snd_una - a->acked_data, t->use_seq) || a->rs.prior_pipe > t->use_max) {
		t->use_max = a->rs.prior_pipe;
		t->use_seq = t->snd_nxt;
	}
	return t->use_max == TCP_USE_FULL || (t->cwnd < t->ssthresh && t->cwnd < 2 * t->use_max);
}

/* Algorithms that model the path see every ACK. */
static cold_path void tell_rate(struct stack *st, struct tcb *t, struct tcp_ack *a)
{
	struct tcp_rate_sample *rs = &a->rs;

	rs->acked = a->acked_data;
	rs->sacked = a->sacked;
	rs->lost = t->lost_bytes - a->prior_lost;
	/* Linux's guess: nothing but this less than a segment was delivered since it was sent */
	rs->is_ack_delayed = rs->acked && rs->acked < t->mss && rs->delivered == rs->acked && !a->sacked && t->ca_state == TCP_CA_OPEN &&
			     !t->sacked_out;
	t->cc->on_rate(st, t, rs);
	if (t->cc->owns_cwnd)
		tcp_sndbuf_tune(st, t);
}

/* delivered: bytes that this ACK says have arrived. now: the state behind it. fell: a reduction was under way and was not undone: the ACK that ends it
 * sets cwnd, no growth on top (RFC 5681 §3.2 step 6). A path that reorders much would not grow in DISORDER, where it is nearly always: there what is
 * SACKed counts too. */
static force_inline void congestion(struct stack *st, struct tcb *t, struct tcp_ack *a, uint32_t delivered, uint8_t now,
				    bool fell)
{
	uint32_t rtt = a->rs.rtt_us;

	if (likely(rtt) && (rtt < t->min_rtt_us || !t->min_rtt_us))
		t->min_rtt_us = rtt;
	tcp_rate_gen(st, t, a);
	if (unlikely(t->cc->on_rate))
		tell_rate(st, t, a);
	if (unlikely(tcp_reduces(now))) {
		if (!t->cc->owns_cwnd)
			tcp_prr_on_ack(t, delivered, t->lost_bytes - a->prior_lost, a->acked);
	} else if ((a->acked_data || (unlikely(t->reordering > 3) && delivered)) && !fell && cwnd_was_limit(t, a)) {
		if (likely(t->cc->on_ack != NULL))
			t->cc->on_ack(st, t, delivered, &a->rs);
		tcp_sndbuf_tune(st, t);
	}
	if (unlikely(t->paced))
		tcp_pace_update(t);
}

/* MSG_MORE holds a tail until more is written or an ACK comes, as on Linux. */
static force_inline void data_may_go(struct stack *st, struct tcb *t)
{
	t->more = 0;
	tcp_mark_output(st, t, TCP_OUT_DATA);
}

void tcp_ack_fast(struct stack *st, struct tcb *t, uint32_t ack, uint32_t tsecr)
{
	struct tcp_ack a;

	/* in pieces that the compiler clears by whole vectors: a third of the instructions */
	memset(&a, 0, 64);
	memset((char *)&a + 64, 0, 64);
	memset((char *)&a + 128, 0, sizeof(a) - 128);
	_Static_assert(sizeof(a) > 128 && sizeof(a) <= 192, "three pieces");
	a.rs.prior_pipe = tcp_pipe(t);
	a.prior_delivered = t->delivered;
	a.prior_lost = t->lost_bytes;
	advance(st, t, ack, &a, tsecr, true);
	congestion(st, t, &a, a.acked_data, TCP_CA_OPEN, false);
	if (t->sq_next)
		data_may_go(st, t);
}

void tcp_wnd_update(struct stack *st, struct tcb *t, uint32_t seq, uint32_t ack, uint32_t wnd)
{
	/* Linux's form of SND.WL1/WL2: a new ACK, a newer segment, or the same with a larger window, or with none: a receiver that is out
	 * of memory says so with nothing new to acknowledge */
	if (seq_gt(ack, t->snd_una) || seq_gt(seq, t->snd_wl1) || (seq == t->snd_wl1 && (wnd > t->snd_wnd || wnd == 0))) {
		t->snd_wl1 = seq;
		if (wnd != t->snd_wnd) {
			t->snd_wnd = wnd;
			if (wnd > tcp_max_snd_wnd(t))
				atomic_store_explicit(&t->max_snd_wnd, wnd, memory_order_relaxed);
			if (t->sq_next)
				data_may_go(st, t);
		}
	}
}

/* The timer of what is still in flight, after an ACK off the predicted path. reo: the reordering timer was running; probe: a loss probe was allowed
 * before. */
static void settle_timer(struct stack *st, struct tcb *t, const struct tcp_ack *a, uint8_t reo, bool probe)
{
	if (!tcp_in_flight(t) || t->persist || t->reo_armed)
		return;
	/* Progress restarts it, and so do SACKs of what left before the first segment last did: later ones would put the timeout off for ever. */
	if (a->acked || (a->sack_sent_us && t->sq_head && a->sack_sent_us < pkt_meta(t->sq_head)->time_us)) {
		tcp_rexmit_timer_restart(st, t, tcp_xmit_timer_slow_us(t));
		return;
	}
	t->reo_armed = reo;
	/* the time of the probe is no timeout */
	if (!reo && probe && !tcp_tlp_allowed(t))
		tcp_rexmit_timer_rearm(st, t);
}

bool tcp_ack_input(struct stack *st, struct tcb *t, const struct tcp_seg *g)
{
	struct tcp_ack a = {
		.prior_una = t->snd_una,
		.prior_delivered = t->delivered,
		.prior_lost = t->lost_bytes,
		.rs.prior_pipe = tcp_pipe(t),
	};
	bool probe = tcp_tlp_allowed(t);
	uint32_t wnd = (uint32_t)g->wnd << t->snd_wscale, tsecr = g->o.has & TCP_OPT_TS ? g->o.tsecr : 0;
	uint32_t old_wnd = t->snd_wnd;
	uint8_t reo = t->reo_armed;
	bool fell = tcp_reduces(t->ca_state), undoable = t->undo_ok;

	a.prior_high = t->sacked_out ? t->sack_high : t->snd_una;
	/* RFC 5961 §5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, all else is challenged */
	if (unlikely(seq_gt(g->ack, t->snd_nxt) || seq_lt(g->ack, t->snd_una - tcp_max_snd_wnd(t)))) {
		tcp_challenge_ack(st, t);
		return false;
	}
	/* the peer lives: probes are answered */
	t->probes = 0;
	if (seq_lt(g->ack, t->snd_una)) {
		/* one that was overtaken: its window and timestamp are old, but it may tell of what arrived, once or twice */
		if (g->o.nsack && (t->opts & TCP_OPT_SACK) && tcp_in_flight(t))
			goto sacks;
		return true;
	}
	tcp_wnd_update(st, t, g->seq, g->ack, wnd);
	if (t->persist && t->snd_wnd > 0) {
		t->backoff = 0;
		t->rexmit_since_us = 0;
	} else if (t->persist) {
		/* RFC 9293 §3.8.6.1: a peer that answers probes may keep its window shut for ever */
		t->rexmit_since_us = 0;
	}
	/* RFC 5681 §2: all five conditions */
	a.dup = g->ack == t->snd_una && g->len == 0 && !(g->flags & (TCP_SYN | TCP_FIN)) && wnd == old_wnd &&
		tcp_in_flight(t);
	/* Our duplicate made the peer send this: it echoes an older segment's timestamp (RFC 7323 §4.3 keeps TS.Recent), and the time since
	 * then is that of lost ACKs and of our own time-outs. */
	if (unlikely(g->o.nsack) && (t->opts & TCP_OPT_SACK) && tcp_is_dsack(&g->o, g->ack))
		tsecr = 0;
	a.tsecr = tsecr;
	a.ece = (g->flags & TCP_ECE) && (t->marks & TCP_MARK_ECN);
	if (seq_gt(g->ack, t->snd_una))
		advance(st, t, g->ack, &a, tsecr, false);
	if (unlikely(t->mtu_probe))
		tcp_mtu_probe_acked(st, t);
	/* without SACK what was never repeated may have been there for long */
	if (!(t->opts & TCP_OPT_SACK) && a.rexmit_acked)
		a.orig_arrived = false;
sacks:
	t->reo_armed = 0;
	if (unlikely(g->o.nsack) && (t->opts & TCP_OPT_SACK))
		tcp_sack_input(st, t, &g->o, g->ack, &a);
	if (a.sack_last_us)
		a.rs.rtt_us = (uint32_t)MIN(MAX(st->now_us - a.sack_last_us, 1u), UINT32_MAX);
	if (unlikely(t->marks & TCP_MARK_URG) && seq_ge(t->snd_una, t->snd_up))
		t->marks &= (uint8_t)~TCP_MARK_URG;
	if (a.sack_sent_us && !a.acked)
		take_sack_rtt(st, t, &a);
	if (t->opts & TCP_OPT_SACK) {
		tcp_rack_adapt(t, &a);
		if (t->tlp_out)
			tcp_tlp_on_ack(st, t, g->ack, &a);
	}
	if (unlikely(a.acked && t->sacked_out) && (t->opts & TCP_OPT_SACK) && tcp_recovery_reneged(st, t)) {
		tcp_slow_loss_update(t);
		return true;
	}
	if (a.acked || a.sacked || a.dup || a.dsack || a.ece)
		tcp_recovery_on_ack(st, t, &a);
	if (undoable && !t->undo_ok)
		fell = false;
	if (unlikely(a.ece)) {
		/* as Linux counts: ECE stands for all that this ACK delivered, which for DCTCP's receivers is exact */
		a.rs.ece = true;
		a.rs.delivered_ce = (uint32_t)(t->delivered - a.prior_delivered);
		t->delivered_ce += a.rs.delivered_ce;
	}
	congestion(st, t, &a, (uint32_t)(t->delivered - a.prior_delivered), t->ca_state, fell);
	settle_timer(st, t, &a, reo, probe);
	tcp_slow_loss_update(t);
	if (t->sq_next || t->lost_out || t->fin_lost)
		data_may_go(st, t);
	return true;
}

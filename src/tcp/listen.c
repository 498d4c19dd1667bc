/* listen.c - passive opens (RFC 9293 §3.10.7.2, RFC 4987 §3.4): a SYN makes a small record, not a connection; the final ACK makes the socket. Called by
 * input.c for segments without a connection and by the wheel; calls ports (listeners), syncookie, reply, timewait, slow. Owner of the stack
 * where the SYN arrived, which is where the child will live.
 *
 * A listener has as many records as its backlog says, as on Linux. Beyond that, and when memory for records is used up, the SYN-ACK is a cookie
 * (syncookie.c) and nothing is kept: what is half open stays, new connections get in, and memory stays what it was.
 */
#include "tcp/tcp_int.h"

#include "sock/ports.h"

const uint32_t tcp_syn_rec_bytes = sizeof(struct tcp_syn);

#define SYNACK_RETRIES_FULL 2u /* of a SYN-ACK, while the queue is more than half full: 7 seconds */

/* Type-stable memory: is it still the listener that took the SYN? */
static struct sock *listener_of(const struct tcp_syn *r)
{
	struct sock *l = r->listener;

	if (atomic_load_explicit(&l->slab.gen, memory_order_acquire) != r->listener_gen ||
	    !(sock_status(l) & SOCK_LISTENING))
		return NULL;
	return l;
}

void tcp_syn_free(struct stack *st, struct tcp_syn *r)
{
	struct sock *l = r->listener;

	if (atomic_load_explicit(&l->slab.gen, memory_order_relaxed) == r->listener_gen) {
		atomic_fetch_sub_explicit(&l->tcb.syn_qlen, 1, memory_order_relaxed);
		if (unlikely(r->tfo))
			atomic_fetch_sub_explicit(&l->tcb.tfo_qlen, 1, memory_order_relaxed);
	}
	wheel_cancel(&st->wheel, &r->timer);
	tcp_table_remove(&st->tcp->syns, &r->key);
	list_del(&r->node);
	slab_free(&gz->syn_recs, r);
}

/* fo: a Fast Open cookie to grant, or NULL; fo_exp: asked for by the experimental option */
static void send_synack(struct stack *st, const struct tcp_syn *r, uint32_t tsval, const uint8_t *fo, bool fo_exp)
{
	struct tcp_syn_opts o = {
		.mss = r->mss_offered,
		.has = r->opts,
		.wscale = r->rcv_wscale,
		.tsval = tsval,
		.tsecr = r->ts_recent,
		.fo = fo,
		.fo_len = TCP_FO_COOKIE,
		.fo_exp = fo_exp,
	};
	struct tcp_reply p = {
		.laddr = &r->key.laddr,
		.raddr = &r->key.raddr,
		.lport_be = r->key.lport_be,
		.rport_be = r->key.rport_be,
		.seq = r->iss,
		.ack = r->irs + 1 + r->syn_len,
		.wnd = r->rcv_wnd,
		.flags = (uint8_t)(TCP_SYN | TCP_ACK | (r->opts & TCP_OPT_ECN ? TCP_ECE : 0)),
		.tos = r->tos,
	};

	p.opt_len = (uint8_t)tcp_opts_write_syn(p.opt, &o);
	tcp_reply(st, &p);
}

static uint32_t ts_now(const struct stack *st, const struct tcp_syn *r) { return tcp_now_ms(st) + r->ts_off; }

/* Twice a second a half-open connection may be made to answer, as Linux's tcp_invalid_ratelimit: whoever knows its numbers shall not use it
 * up against others, nor us against it. */
static bool may_answer(const struct stack *st, struct tcp_syn *r)
{
	uint32_t now = tcp_now_ms(st);

	if (r->oow_ms && now - r->oow_ms < TCP_OOW_ACK_US / 1000)
		return false;
	r->oow_ms = now + !now;
	return true;
}

static void send_ack(struct stack *st, struct tcp_syn *r)
{
	struct tcp_reply p = {
		.laddr = &r->key.laddr,
		.raddr = &r->key.raddr,
		.lport_be = r->key.lport_be,
		.rport_be = r->key.rport_be,
		.seq = r->iss + 1,
		.ack = r->irs + 1,
		.wnd = r->rcv_wnd,
		.flags = TCP_ACK,
		.tos = r->tos,
	};

	if (!may_answer(st, r) || !tcp_challenge_allowed(st))
		return;
	st->mib.tcp_challenge_ack++;
	if (r->opts & TCP_OPT_TS) {
		p.opt_len = TCP_TS_BYTES;
		tcp_opts_write_ts(p.opt, ts_now(st, r), r->ts_recent);
	}
	tcp_reply(st, &p);
}

void tcp_synack_again(struct stack *st, struct tcp_syn *r)
{
	send_synack(st, r, ts_now(st, r), NULL, false);
}

static uint64_t synack_rto(const struct stack *st, const struct tcp_syn *r)
{
	return MIN((uint64_t)st->tcp->conf.rto_init_us << r->retries, TCP_RTO_MAX_US);
}

void tcp_syn_on_timer(struct stack *st, struct wheel_timer *w)
{
	struct tcp_syn *r = container_of(w, struct tcp_syn, timer);
	struct sock *l = listener_of(r);
	unsigned max = l && l->opt.syncnt ? l->opt.syncnt : st->tcp->conf.synack_retries;

	/* half of the queue is for those that had no time to answer yet: the rest is not asked as often, about as Linux prunes */
	if (l && 2 * atomic_load_explicit(&l->tcb.syn_qlen, memory_order_relaxed) >
			 MAX(atomic_load_explicit(&l->backlog, memory_order_relaxed), 8u))
		max = MIN(max, SYNACK_RETRIES_FULL);
	if (unlikely(r->tfo)) {
		struct tcp_key *k = tcp_table_find(&st->tcp->conns, r->key.hash, &r->key.laddr, &r->key.raddr, r->key.lport_be, r->key.rport_be);

		if (k && r->retries >= max) {
			st->mib.tcp_attempt_fail++;
			tcp_conn_gone(st, container_of(k, struct tcb, key), ETIMEDOUT); /* and the record with it */
			return;
		}
	} else
	if (!l || r->retries >= max) {
		st->mib.tcp_attempt_fail++;
		tcp_syn_free(st, r);
		return;
	}
	r->retries++;
	st->mib.tcp_syn_retrans++;
	send_synack(st, r, ts_now(st, r), NULL, false);
	wheel_arm(&st->wheel, &r->timer, st->now_us + synack_rto(st, r));
}

/* r as SYN g for listener l makes it, but for what makes it a record. */
static void syn_fill(struct stack *st, const struct sock *l, const struct tcp_seg *g, struct tcp_syn *r)
{
	const struct tcp_conf *conf = &st->tcp->conf;

	r->key.laddr = *g->dst;
	r->key.raddr = *g->src;
	r->key.lport_be = g->dport_be;
	r->key.rport_be = g->sport_be;
	r->key.hash = g->hash;
	r->irs = g->seq;
	r->opts = g->o.has & ((conf->timestamps ? TCP_OPT_TS : 0) | (conf->sack ? TCP_OPT_SACK : 0) | (conf->wscale ? TCP_OPT_WS : 0));
	if (tcp_ecn_accepts(st, l, g))
		r->opts |= TCP_OPT_ECN;
	r->snd_wscale = r->opts & TCP_OPT_WS ? g->o.wscale : 0;
	r->ts_recent = g->o.tsval;
	r->mss_peer = g->o.mss ? MAX(g->o.mss, TCP_MSS_FLOOR) : TCP_MSS_DEFAULT;
	r->tos = l->opt.tos;
}

/* What we offer, by the listener's options: known when the SYN comes and again when a cookie does. */
static void syn_offer(struct stack *st, const struct sock *l, struct tcp_syn *r)
{
	struct ip_route route = { 0 };

	r->rcv_wscale = r->opts & TCP_OPT_WS ? tcp_choose_wscale(st, l) : 0;
	r->mss_offered = tcp_mss_to_offer(st, l, &route);
	r->rcv_wnd = (uint16_t)tcp_initial_window(l, r->mss_offered);
	r->ts_off = r->opts & TCP_OPT_TS ? tcp_ts_offset(st, &r->key) : 0;
	r->retries = 0;
	r->acked = 0;
	r->tfo = 0;
	r->syn_len = 0;
	r->oow_ms = 0;
}

/* Nothing is kept. */
static cold_path void answer_by_cookie(struct stack *st, struct sock *l, const struct tcp_seg *g)
{
	struct tcp_syn r;
	uint32_t tsval;

	if (!st->tcp->conf.syncookies || !tcp_cookie_may_answer(st, g)) {
		st->mib.tcp_listen_drops++;
		st->drops[DROP_TCP_SYN_RATE]++;
		return;
	}
	syn_fill(st, l, g, &r);
	syn_offer(st, l, &r);
	tsval = tcp_cookie_make(st, l, &r);
	send_synack(st, &r, tsval, NULL, false);
}

static struct tcb *make_child(struct stack *st, const struct tcp_syn *r, struct sock *l, const struct tcp_seg *g);

/* Fast Open: the connection is made of the SYN, whose data the application may read at once (RFC 7413 §4.2.2). It fails as if there had been no cookie. */
static cold_path void open_at_once(struct stack *st, struct sock *l, struct tcp_syn *r, struct tcp_seg *g)
{
	uint32_t len = MIN(g->len, r->rcv_wnd);
	struct tcb *t = make_child(st, r, l, g);

	if (!t)
		return;
	tcp_snd_wnd_first(t, g->wnd); /* not scaled on a SYN */
	if (!sock_up_accept(st, l, sock_of_tcb(t))) {
		tcp_conn_gone(st, t, ECONNABORTED);
		return;
	}
	r->tfo = 1;
	r->syn_len = len;
	atomic_fetch_add_explicit(&l->tcb.tfo_qlen, 1, memory_order_relaxed);
	t->slow |= TCP_SLOW_TFO;
	st->mib.tcp_fastopen_passive++;
	if (!len)
		return;
	t->opts |= TCP_OPT_FO;
	if (len < g->len)
		mbuf_cut(g->m, len);
	t->rcv_nxt += len;
	t->last_ack_sent = t->rcv_nxt; /* by the SYN-ACK */
	t->data_segs_in++;
	sock_up_data(st, sock_of_tcb(t), g->m);
	g->m = NULL;
}

/* A SYN for listener l; takes g->m when it uses the data. reuse: of a 4-tuple that waits in TIME_WAIT; the ISN must then be above isn_floor, and a cookie's is anywhere. */
static void syn_input(struct stack *st, struct sock *l, struct tcp_seg *g, uint32_t isn_floor, bool reuse)
{
	uint32_t backlog = atomic_load_explicit(&l->backlog, memory_order_relaxed);
	uint32_t qlen = atomic_load_explicit(&l->tcb.syn_qlen, memory_order_relaxed);
	struct tcp_state *ts = st->tcp;
	uint8_t fresh[TCP_FO_COOKIE];
	struct tcp_syn *r;
	enum tcp_fo fo;

	/* as Linux: a full accept queue takes no new SYN */
	if (sock_up_backlog_full(l)) {
		st->mib.tcp_listen_drops++;
		st->drops[DROP_TCP_BACKLOG]++;
		return;
	}
	/* what is left is for those that are there already */
	if (unlikely(st->mem_level >= MEM_SHORT)) {
		st->mib.tcp_listen_drops++;
		st->drops[DROP_TCP_NO_MEMORY]++;
		return;
	}
	if (unlikely((qlen > backlog || ts->conf.syncookies == 2) && !reuse)) {
		answer_by_cookie(st, l, g);
		return;
	}
	r = slab_alloc(&gz->syn_recs);
	if (unlikely(!r)) {
		answer_by_cookie(st, l, g);
		return;
	}
	syn_fill(st, l, g, r);
	syn_offer(st, l, r);
	r->listener = l;
	r->listener_gen = atomic_load_explicit(&l->slab.gen, memory_order_relaxed);
	r->iss = tcp_isn(st, &r->key);
	if (reuse && seq_lt(r->iss, isn_floor))
		r->iss = isn_floor;
	r->sent_us = st->now_us;
	atomic_fetch_add_explicit(&l->tcb.syn_qlen, 1, memory_order_relaxed);
	list_init(&r->node);
	list_push_back(&ts->syn_list, &r->node);
	tcp_table_insert(&ts->syns, &r->key);
	wheel_timer_init(&r->timer, TIMER_TCP_SYN);
	wheel_arm(&st->wheel, &r->timer, st->now_us + synack_rto(st, r));
	fo = tcp_fastopen_syn(st, l, g, fresh);
	if (unlikely(fo >= TCP_FO_VALID))
		open_at_once(st, l, r, g);
	send_synack(st, r, ts_now(st, r), fo == TCP_FO_GRANT || fo == TCP_FO_VALID_OLD ? fresh : NULL, g->o.fo_exp);
}

/* The final ACK: the record becomes a socket. NULL: no memory. */
static struct tcb *make_child(struct stack *st, const struct tcp_syn *r, struct sock *l, const struct tcp_seg *g)
{
	struct sock *s = sock_up_new_child(st, l);
	struct tcb *t;

	if (!s) {
		st->mib.tcp_alloc_pcb_fails++;
		return NULL;
	}
	t = &s->tcb;
	tcp_tcb_init(st, t);
	t->laddr = r->key.laddr;
	t->raddr = r->key.raddr;
	t->lport_be = r->key.lport_be;
	t->rport_be = r->key.rport_be;
	t->iss = r->iss;
	t->irs = r->irs;
	t->snd_una = t->snd_nxt = t->snd_end = r->iss + 1;
	t->snd_sml = t->snd_up = t->snd_una;
	t->rcv_nxt = t->last_ack_sent = r->irs + 1;
	t->rcv_adv = t->rcv_nxt + r->rcv_wnd;
	t->opts = r->opts;
	t->snd_wscale = r->snd_wscale;
	t->rcv_wscale = r->rcv_wscale;
	t->mss_peer = r->mss_peer;
	t->mss_offered = r->mss_offered;
	t->ts_recent = r->ts_recent;
	t->ts_recent_us = r->sent_us;
	t->ts_off = r->ts_off;
	tcp_snd_wnd_first(t, (uint32_t)g->wnd << t->snd_wscale);
	t->snd_wl1 = g->seq;
	t->syn_retrans = r->retries;
	t->segs_in = !(g->flags & TCP_SYN); /* the SYN; that of a Fast Open counts when it is processed */
	t->rexmit_since_us = r->sent_us; /* the first SYN-ACK left then, see syn_was_lost() */
	if (g->flags & TCP_SYN)
		; /* Fast Open: nothing was measured yet */
	else if (unlikely(!r->sent_us)) /* a cookie: its TSval was not the time */
		t->ts_recent_us = st->now_us;
	else if (r->retries == 0)
		tcp_rtt_sample(st, t, MAX(st->now_us - r->sent_us, 1u));
	else if ((t->opts & TCP_OPT_TS) && seq_ge(tcp_ts_now(st, t), g->o.tsecr))
		tcp_rtt_sample(st, t, MAX((uint64_t)(tcp_ts_now(st, t) - g->o.tsecr) * 1000, 1000u));
	tcp_tcb_insert(st, t);
	tcp_established(st, t);
	st->mib.tcp_passive_open++;
	return t;
}

/* The child's first segment: data and FIN on the final ACK; the window is taken already. Takes g->m. */
static void hand_over(struct stack *st, struct sock *l, struct tcb *t, struct tcp_seg *g)
{
	if (!sock_up_accept(st, l, sock_of_tcb(t))) {
		tcp_reply_rst(st, g);
		tcp_conn_gone(st, t, ECONNABORTED);
		drop(st, g->m, DROP_TCP_NO_CONN);
		return;
	}
	tcp_slow_input(st, t, g);
}

/* An ACK that brings a cookie back: r says what the SYN was. Takes g->m. */
static cold_path void cookie_input(struct stack *st, struct sock *l, struct tcp_syn *r, struct tcp_seg *g)
{
	struct tcb *t;

	if (sock_up_backlog_full(l)) {
		/* the peer's data, or its keep-alive, brings the cookie again */
		st->mib.tcp_acceptmbox_full++;
		st->mib.tcp_listen_drops++;
		drop(st, g->m, DROP_TCP_BACKLOG);
		return;
	}
	r->tos = l->opt.tos;
	r->sent_us = 0;
	syn_offer(st, l, r);
	t = make_child(st, r, l, g);
	if (t)
		hand_over(st, l, t, g);
	else
		drop(st, g->m, DROP_TCP_NO_MEMORY);
}

/* A segment for a SYN record. Takes g->m. */
static void record_input(struct stack *st, struct tcp_syn *r, struct tcp_seg *g)
{
	struct sock *l = listener_of(r);
	uint32_t rcv_nxt = r->irs + 1;
	struct tcb *t;

	if (unlikely(!l)) {
		tcp_reply_rst(st, g);
		tcp_syn_free(st, r);
		drop(st, g->m, DROP_TCP_NO_CONN);
		return;
	}
	/* the same SYN again: our answer was lost (a new one is the timer's business if this came too soon after it) */
	if ((g->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && g->seq == r->irs) {
		/* RFC 7323 §4.3: what is echoed is the latest, so that the peer measures from its last SYN */
		if ((r->opts & TCP_OPT_TS) && (g->o.has & TCP_OPT_TS) && seq_gt(g->o.tsval, r->ts_recent))
			r->ts_recent = g->o.tsval;
		if (may_answer(st, r))
			send_synack(st, r, ts_now(st, r), NULL, false);
		rte_pktmbuf_free(g->m);
		return;
	}
	/* RFC 9293 §3.10.7.4 in its order */
	if ((r->opts & TCP_OPT_TS) && (g->o.has & TCP_OPT_TS) && !(g->flags & TCP_RST) &&
	    seq_lt(g->o.tsval, r->ts_recent)) {
		st->mib.tcp_paws_reject++;
		send_ack(st, r);
		drop(st, g->m, DROP_TCP_PAWS);
		return;
	}
	if (!(seq_ge(g->seq, rcv_nxt) && seq_le(g->seq, rcv_nxt + r->rcv_wnd))) {
		if (!(g->flags & TCP_RST))
			send_ack(st, r);
		drop(st, g->m, DROP_TCP_OUT_OF_WINDOW);
		return;
	}
	if (g->flags & TCP_RST) {
		/* RFC 5961 §3.2 */
		if (g->seq == rcv_nxt) {
			st->mib.tcp_attempt_fail++;
			tcp_syn_free(st, r);
			rte_pktmbuf_free(g->m);
			return;
		}
		send_ack(st, r);
		drop(st, g->m, DROP_TCP_RST_INVALID);
		return;
	}
	if (g->flags & TCP_SYN) {
		send_ack(st, r);
		drop(st, g->m, DROP_TCP_SYN_INVALID);
		return;
	}
	if (!(g->flags & TCP_ACK)) {
		drop(st, g->m, DROP_TCP_NO_ACK);
		return;
	}
	if (g->ack != r->iss + 1) {
		st->mib.tcp_rst_wrong_ack_in_syn_rcvd++;
		tcp_reply_rst(st, g);
		drop(st, g->m, DROP_TCP_ACK_INVALID);
		return;
	}
	/* TCP_DEFER_ACCEPT: a bare ACK makes no connection yet; after the time given the next repetition of the SYN-ACK does */
	if (l->opt.defer_accept && g->len == 0 && !(g->flags & TCP_FIN) && r->retries < st->tcp->conf.synack_retries &&
	    st->now_us - r->sent_us < (uint64_t)l->opt.defer_accept * US_PER_S) {
		r->acked = 1;
		rte_pktmbuf_free(g->m);
		return;
	}
	/* accept queue full: the record stays, the ACK counts as lost; client data or our SYN-ACK brings it again, as on Linux */
	if (sock_up_backlog_full(l)) {
		r->acked = 1;
		st->mib.tcp_acceptmbox_full++;
		st->mib.tcp_listen_drops++;
		drop(st, g->m, DROP_TCP_BACKLOG);
		return;
	}
	t = make_child(st, r, l, g);
	if (!t) {
		drop(st, g->m, DROP_TCP_NO_MEMORY);
		return;
	}
	tcp_syn_free(st, r);
	hand_over(st, l, t, g);
}

void tcp_listen_input(struct stack *st, struct tcp_seg *g)
{
	struct tcp_state *ts = st->tcp;
	struct tcp_key *k;
	uint32_t isn_floor = 0;
	bool reuse = false;
	struct sock *l;

	k = tcp_table_find(&ts->syns, g->hash, g->dst, g->src, g->dport_be, g->sport_be);
	if (k) {
		record_input(st, container_of(k, struct tcp_syn, key), g);
		return;
	}
	k = tcp_table_find(&ts->tws, g->hash, g->dst, g->src, g->dport_be, g->sport_be);
	if (k) {
		reuse = tcp_tw_input(st, container_of(k, struct tcp_tw, key), g, &isn_floor);
		if (!reuse) {
			drop(st, g->m, DROP_TCP_TIME_WAIT);
			return;
		}
	}
	l = ports_listener(g->dst, g->dport_be, g->hash);
	if (l && (g->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK) {
		struct tcp_syn r;

		if (tcp_cookie_check(st, l, g, &r)) {
			cookie_input(st, l, &r, g);
			return;
		}
	}
	/* RFC 9293 §3.10.7.1, §3.10.7.2: RST is ignored, ACK is answered by RST */
	if (!l || (g->flags & (TCP_RST | TCP_ACK)) || !(g->flags & TCP_SYN)) {
		if (!l || (g->flags & TCP_ACK))
			tcp_reply_rst(st, g);
		drop(st, g->m, DROP_TCP_NO_CONN);
		return;
	}
	if (g->flags & TCP_FIN) {
		/* no peer sends this; scanners do */
		drop(st, g->m, DROP_TCP_BAD_FLAGS);
		return;
	}
	syn_input(st, l, g, isn_floor, reuse);
	if (g->m)
		rte_pktmbuf_free(g->m);
}

void tcp_listen_stop(struct stack *st, struct sock *listener)
{
	struct list *n, *tmp;

	list_for_each_safe(n, tmp, &st->tcp->syn_list) {
		struct tcp_syn *r = container_of(n, struct tcp_syn, node);

		if (r->listener == listener)
			tcp_syn_free(st, r);
	}
}

/* conn.c - the life of a connection apart from segments: tables, opening, closing, options, the down-calls of tcp.h. Called by sock (commands
 * turned into calls) and by the other files here; owner of the stack. RFC 9293 §3.10.1-3.10.6, §3.6.
 */
#include "sock/ports.h"
#include "tcp/pace.h"
#include "tcp/rate.h"
#include "tcp/tcp_int.h"

#include <netinet/tcp.h>
#include <stdlib.h>

struct tcp_state *tcp_state_create(struct stack *st)
{
	struct tcp_state *ts = calloc(1, sizeof(*ts));

	if (!ts)
		return NULL;
	if (tcp_table_init(&ts->conns, &gz->socks, offsetof(struct sock, tcb.key)) ||
	    tcp_table_init(&ts->syns, &gz->syn_recs, offsetof(struct tcp_syn, key)) ||
	    tcp_table_init(&ts->tws, &gz->tw_recs, offsetof(struct tcp_tw, key))) {
		free(ts);
		return NULL;
	}
	/* touched in a flood only */
	ts->syn_seen = st->nd->syn_answers_per_s ? calloc(TCP_SYN_SEEN, sizeof(*ts->syn_seen)) : NULL;
	if (st->nd->syn_answers_per_s && !ts->syn_seen) {
		free(ts);
		return NULL;
	}
	list_init(&ts->syn_list);
	list_init(&ts->tw_list);
	list_init(&ts->ooo_list);
	wheel_timer_init(&ts->tw_timer, TIMER_TCP_TW);
	ts->conf = (struct tcp_conf){
		.rto_min_us = TCP_RTO_MIN_US,
		.rto_init_us = TCP_RTO_INIT_US,
		.delack_us = TCP_DELACK_US,
		.time_wait_us = TCP_TIME_WAIT_US,
		.fin_timeout_us = TCP_FIN_TIMEOUT_US,
		.rcvbuf_max = TCP_RCVBUF_MAX,
		.sndbuf_max = TCP_SNDBUF_MAX,
		.syn_retries = TCP_SYN_RETRIES,
		.synack_retries = TCP_SYNACK_RETRIES,
		.syncookies = 1,
		.ecn = 2,
		.iw_segs = TCP_IW_SEGS,
		.min_tso_segs = 2,
		.cc = &tcp_cc_cubic,
		.mtu_probing = 1,
		.base_mss = TCP_BASE_MSS,
		.slow_start_after_idle = 1,
		.timestamps = true,
		.sack = true,
		.wscale = true,
	};
	ts->challenge_left = TCP_CHALLENGE_PER_S;
	ts->challenge_from_us = st->now_us;
	return ts;
}

struct tcp_conf *tcp_conf_of(struct stack *st)
{
	return &st->tcp->conf;
}

void tcp_configure(struct stack *st, const struct tcp_settings *c)
{
	st->tcp->conf.ecn = c->ecn;
	st->tcp->conf.syncookies = c->syncookies;
	st->tcp->conf.fastopen = c->fastopen;
	st->tcp->conf.fo_keys = c->fo_keys;
	st->tcp->conf.mtu_probing = c->mtu_probing;
	st->tcp->conf.base_mss = c->base_mss;
	st->tcp->conf.slow_start_after_idle = c->slow_start_after_idle;
	st->tcp->conf.rcvbuf_max = c->rcvbuf_max;
	st->tcp->conf.sndbuf_max = c->sndbuf_max;
}

/* Frees what the engine holds; sockets that are still open stay the socket layer's, without a connection. */
void tcp_state_destroy(struct stack *st)
{
	struct tcp_state *ts = st->tcp;

	if (!ts)
		return;
	while (!list_empty(&ts->syn_list))
		tcp_syn_free(st, container_of(ts->syn_list.next, struct tcp_syn, node));
	while (!list_empty(&ts->tw_list))
		tcp_tw_free(st, container_of(ts->tw_list.next, struct tcp_tw, node));
	wheel_cancel(&st->wheel, &ts->tw_timer);
	for (uint32_t b = 0; b < ts->conns.level + ts->conns.split; b++) {
		while (ts->conns.heads[b])
			tcp_conn_gone(st, container_of(tcp_table_at(&ts->conns, ts->conns.heads[b] - 1), struct tcb, key),
				      ECONNABORTED);
	}
	free(ts->fo_dests);
	free(ts->syn_seen);
	free(ts);
	st->tcp = NULL;
}

static const struct tcp_cc_ops *cc_of(const struct stack *st, const struct sock *s)
{
	const struct tcp_cc_ops *cc = s->opt.congestion[0] ? tcp_cc_find(s->opt.congestion) : NULL;

	return cc ? cc : st->tcp->conf.cc;
}

void tcp_tcb_init(struct stack *st, struct tcb *t)
{
	memset(t, 0, sizeof(*t));
	t->stack_id = (uint8_t)st->id;
	list_init(&t->out_node);
	list_init(&t->ooo_node);
	wheel_timer_init(&t->timer, TIMER_TCP);
	for (unsigned i = 0; i < TCP_AT_COUNT; i++)
		t->deadline[i] = TCP_NEVER;
	t->slow = TCP_SLOW_STATE;
	t->rto_us = t->pto_us = st->tcp->conf.rto_init_us;
	t->rto_min_us = st->tcp->conf.rto_min_us;
	t->mss = t->rcv_mss = t->mss_peer = TCP_MSS_DEFAULT;
	t->reordering = 3;
	t->reo_steps = 1;
	t->ssthresh = TCP_SSTHRESH_INF;
	t->last_rcv_ms = tcp_now_ms(st);
	t->cc = cc_of(st, sock_of_tcb(t));
}

void tcp_tcb_insert(struct stack *st, struct tcb *t)
{
	t->hash = tcp_key_hash(st->secret, &t->laddr, &t->raddr, t->lport_be, t->rport_be);
	tcp_table_insert(&st->tcp->conns, &t->key);
	t->port_held = ports_conn_hold(sock_of_tcb(t), t->lport_be);
}

void tcp_set_state(struct tcb *t, uint8_t state)
{
	t->state = state;
	if (state == TCPS_ESTABLISHED)
		t->slow &= ~TCP_SLOW_STATE;
	else
		t->slow |= TCP_SLOW_STATE;
}

/* RFC 6691: the MSS option counts no options; RFC 1191 §3.1: nor does it say what our own path is like. */
uint16_t tcp_mss_to_offer(struct stack *st, const struct sock *s, struct ip_route *route)
{
	uint32_t mtu = ip4_link_mtu(st, route), mss = mtu > 40 + TCP_MSS_FLOOR ? mtu - 40 : TCP_MSS_FLOOR;

	if (s->opt.maxseg)
		mss = MIN(mss, MAX(s->opt.maxseg, TCP_MSS_FLOOR));
	return (uint16_t)MIN(mss, 65495u);
}

/* A SYN or SYN-ACK was lost, more than once: one may be chance (Linux). Not if the answer echoes the first one's timestamp, that is if the round trip began
 * before the first repetition (RFC 4015's purpose). */
static bool syn_was_lost(const struct stack *st, const struct tcb *t)
{
	if (t->syn_retrans < 2)
		return false;
	return !t->srtt_us || st->now_us - t->srtt_us >= t->rexmit_since_us + st->tcp->conf.rto_init_us;
}

void tcp_established(struct stack *st, struct tcb *t)
{
	bool lost = syn_was_lost(st, t);

	tcp_deadline_clear(t, TCP_AT_REXMIT);
	tcp_rto_run_over(st, t);
	t->backoff = 0;
	tcp_pmtu_init(st, t);
	t->cwnd = tcp_initial_cwnd(st, t); /* RFC 6928 §2 */
	/* RFC 6298 §5.7: without a sample be careful */
	if (t->syn_retrans && !t->srtt_us)
		t->rto_us = TCP_RTO_FALLBACK_US;
	/* DEVIATION(RFC 5681 §3.1): one lost SYN does not shrink the initial window, as on Linux; two do */
	if (lost)
		t->cwnd = t->mss;
	t->min_rtt_us = t->srtt_us; /* so far */
	t->ssthresh = TCP_SSTHRESH_INF;
	t->recover = t->snd_una;
	tcp_scoreboard_reset_hints(t);
	tcp_pto_update(t);
	t->rtt_seq = t->snd_una;
	t->delivered_us = st->now_us;
	t->last_rcv_ms = t->last_data_ms = tcp_now_ms(st);
	t->last_snd_us = st->now_us;
	t->rcv_mss = (uint16_t)MIN(TCP_MSS_DEFAULT, t->mss_offered);
	t->quick = TCP_QUICK_MAX;
	if (t->cc->init)
		t->cc->init(st, t);
	tcp_pace_init(st, t);
	/* shut down for sending while the handshake was under way */
	tcp_set_state(t, t->fin_queued ? TCPS_FIN_WAIT_1 : TCPS_ESTABLISHED);
	if (t->opts & TCP_OPT_ECN)
		tcp_ecn_established(t);
	tcp_drs_init(st, t);
	tcp_sndbuf_tune(st, t);
	tcp_keepalive_restart(st, t);
}

void tcp_conn_gone(struct stack *st, struct tcb *t, int err)
{
	struct sock *s = sock_of_tcb(t);

	if (unlikely(t->slow & TCP_SLOW_TFO))
		tcp_fastopen_gone(st, t);
	tcp_table_remove(&st->tcp->conns, &t->key);
	if (t->port_held) {
		ports_conn_release(t->lport_be, t->port_held);
		t->port_held = 0;
	}
	wheel_cancel(&st->wheel, &t->timer);
	tcp_deadline_clear(t, TCP_AT_DELACK);
	tcp_forget_unacked(st, t);
	list_del(&t->out_node);
	t->out_flags = 0;
	tcp_clocks_stop(st, t);
	tcp_sendq_purge(t);
	tcp_reass_purge(t);
	tcp_set_state(t, TCPS_CLOSED);
	if (err)
		sock_up_error(st, s, err, false);
	sock_up_closed(st, s);
}

void tcp_fin_wait_2_entered(struct stack *st, struct tcb *t)
{
	const struct sock_opts *o = &sock_of_tcb(t)->opt;
	uint64_t limit = st->tcp->conf.fin_timeout_us;

	if (!t->app_closed)
		return;
	/* TCP_LINGER2 */
	if (o->linger2_s < 0)
		limit = 0;
	else if (o->linger2_s > 0)
		limit = MIN((uint64_t)o->linger2_s * US_PER_S, limit);
	tcp_deadline_set(st, t, TCP_AT_MISC, st->now_us + limit);
}

/* --- down-calls --- */

bool tcp_tuple_is_free(struct stack *st, const struct ip_addr *laddr, uint16_t lport_be, const struct ip_addr *raddr,
		       uint16_t rport_be)
{
	struct tcp_state *ts = st->tcp;
	uint32_t hash = tcp_key_hash(st->secret, laddr, raddr, lport_be, rport_be);
	struct tcp_key *k;
	struct tcp_tw *w;

	if (tcp_table_find(&ts->conns, hash, laddr, raddr, lport_be, rport_be) ||
	    tcp_table_find(&ts->syns, hash, laddr, raddr, lport_be, rport_be))
		return false;
	k = tcp_table_find(&ts->tws, hash, laddr, raddr, lport_be, rport_be);
	if (!k)
		return true;
	/* RFC 6191 from the other side: our timestamps continue above the old connection's, a second later strictly */
	w = container_of(k, struct tcp_tw, key);
	return (w->opts & TCP_OPT_TS) && st->now_us + st->tcp->conf.time_wait_us - w->expires_us > US_PER_S;
}

int tcp_connect(struct stack *st, struct tcb *t, bool fastopen)
{
	struct sock *s = sock_of_tcb(t);
	struct tcp_state *ts = st->tcp;
	struct tcp_key *k;
	uint32_t hash = tcp_key_hash(st->secret, &t->laddr, &t->raddr, t->lport_be, t->rport_be);

	memset(t->cc_priv, 0, sizeof(t->cc_priv)); /* a listener's keys may have been there */
	if (!tcp_tuple_is_free(st, &t->laddr, t->lport_be, &t->raddr, t->rport_be))
		return -EADDRNOTAVAIL;
	t->iss = tcp_isn(st, &t->key);
	t->ts_off = tcp_ts_offset(st, &t->key);
	k = tcp_table_find(&ts->tws, hash, &t->laddr, &t->raddr, t->lport_be, t->rport_be);
	if (k) {
		struct tcp_tw *w = container_of(k, struct tcp_tw, key);

		t->iss = seq_max(t->iss, w->snd_nxt + 65535 + 2);
		tcp_tw_free(st, w);
		st->mib.tcp_timewait_recycled++;
	}
	t->active = 1;
	t->snd_una = t->iss;
	t->snd_nxt = t->snd_end = t->iss + 1;
	t->snd_sml = t->snd_up = t->iss + 1;
	t->opts = (uint8_t)((ts->conf.timestamps ? TCP_OPT_TS : 0) | (ts->conf.sack ? TCP_OPT_SACK : 0) |
			    (ts->conf.wscale ? TCP_OPT_WS : 0));
	if (tcp_ecn_wanted(st, t))
		t->opts |= TCP_OPT_ECN;
	t->rcv_wscale = t->opts & TCP_OPT_WS ? tcp_choose_wscale(st, s) : 0;
	t->mss_offered = tcp_mss_to_offer(st, s, &t->route);
	t->mss = t->mss_offered;
	tcp_pmtu_df(st, t);
	tcp_set_state(t, TCPS_SYN_SENT);
	t->rexmit_since_us = st->now_us;
	tcp_tcb_insert(st, t);
	st->mib.tcp_act_open++;
	if (unlikely(fastopen))
		tcp_fastopen_connect(st, t);
	if (likely(!t->fo_waits))
		tcp_mark_output(st, t, TCP_OUT_SYN);
	return 0;
}

void tcp_send(struct stack *st, struct tcb *t, struct inbox_node *first)
{
	if (unlikely(t->state == TCPS_CLOSED || t->state == TCPS_LISTEN || t->fin_queued)) {
		/* the connection ended while the data was on its way here */
		while (first) {
			struct rte_mbuf *m = pkt_of_node(first);

			first = first->next;
			rte_pktmbuf_free_seg(m);
		}
		return;
	}
	tcp_rate_check_app_limited(t);
	tcp_sendq_append(st, t, first);
	if (t->state >= TCPS_ESTABLISHED)
		tcp_mark_output(st, t, TCP_OUT_DATA);
}

void tcp_send_urgent(struct stack *st, struct tcb *t)
{
	t->snd_up = t->snd_end;
	t->marks |= TCP_MARK_URG;
	if (t->state >= TCPS_ESTABLISHED)
		tcp_mark_output(st, t, TCP_OUT_DATA);
}

void tcp_shutdown_send(struct stack *st, struct tcb *t)
{
	if (t->fin_queued)
		return;
	switch (t->state) {
	case TCPS_SYN_SENT:
	case TCPS_SYN_RECEIVED:
		/* after the handshake */
		t->fin_queued = 1;
		return;
	case TCPS_ESTABLISHED:
		tcp_set_state(t, TCPS_FIN_WAIT_1);
		break;
	case TCPS_CLOSE_WAIT:
		tcp_set_state(t, TCPS_LAST_ACK);
		break;
	default:
		return;
	}
	t->fin_queued = 1;
	tcp_mark_output(st, t, TCP_OUT_DATA | TCP_OUT_PUSH);
}

void tcp_abort(struct stack *st, struct tcb *t)
{
	if (t->state == TCPS_CLOSED) {
		if (!sock_of_tcb(t)->engine_done)
			sock_up_closed(st, sock_of_tcb(t));
		return;
	}
	if (t->state == TCPS_LISTEN) {
		tcp_listen_stop(st, sock_of_tcb(t));
		tcp_set_state(t, TCPS_CLOSED);
		sock_up_closed(st, sock_of_tcb(t));
		return;
	}
	/* RFC 9293 §3.10.5: in SYN_SENT there is nobody to tell, after our FIN was acknowledged nothing to abort but the peer's half */
	if (t->state != TCPS_SYN_SENT) {
		tcp_reply_rst_conn(st, t, t->snd_nxt);
		st->mib.tcp_estab_rst += t->state == TCPS_ESTABLISHED || t->state == TCPS_CLOSE_WAIT;
	}
	tcp_conn_gone(st, t, 0);
}

void tcp_close(struct stack *st, struct tcb *t, bool unread, uint64_t linger_us)
{
	t->app_closed = 1;
	t->slow |= TCP_SLOW_CLOSED;
	if (t->state <= TCPS_SYN_SENT || linger_us == 0 || unread) {
		if (t->state > TCPS_SYN_SENT && unread)
			st->mib.tcp_abort_on_close++;
		else if (t->state > TCPS_SYN_SENT)
			st->mib.tcp_abort_on_data++;
		/* nothing to finish, or nobody who would read it (RFC 1122 §4.2.2.13) */
		tcp_abort(st, t);
		return;
	}
	tcp_shutdown_send(st, t);
	if (t->state == TCPS_FIN_WAIT_2)
		tcp_fin_wait_2_entered(st, t);
	/* a finite linger bounds how long the application waits, not the connection (as Linux) */
}

void tcp_on_option(struct stack *st, struct tcb *t, int optname)
{
	const struct sock_opts *o = &sock_of_tcb(t)->opt;
	const struct tcp_cc_ops *cc = cc_of(st, sock_of_tcb(t));

	if (optname == TCP_QUICKACK) {
		/* as Linux: not for ever, but as at the start of a connection */
		t->quick = o->quickack ? TCP_QUICK_MAX : 0;
		t->pingpong = !o->quickack;
	}
	if (t->state < TCPS_ESTABLISHED) {
		t->cc = cc; /* init comes with the end of the handshake */
		return;
	}
	if (cc != t->cc) {
		t->cc = cc;
		memset(t->cc_priv, 0, sizeof(t->cc_priv));
		if (cc->init)
			cc->init(st, t);
	}
	tcp_pace_init(st, t);
	if (o->maxseg && o->maxseg < t->mss)
		tcp_set_mss(st, t);
	tcp_pmtu_df(st, t);
	tcp_keepalive_restart(st, t);
	if (t->state == TCPS_FIN_WAIT_2)
		tcp_fin_wait_2_entered(st, t);
	if (o->quickack && t->last_ack_sent != t->rcv_nxt)
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
	/* The end of TCP_CORK releases what was held; so does TCP_NODELAY what is there already, in spite of TCP_CORK and MSG_MORE (Linux) */
	if (t->sq_next)
		tcp_mark_output(st, t, (uint8_t)(TCP_OUT_DATA | (o->nodelay && (optname == TCP_NODELAY || !o->cork) ? TCP_OUT_PUSH : 0)));
}

/* timewait.c - TIME_WAIT in small records (RFC 9293 §3.6.1, §3.10.7.4, RFC 1337, RFC 6191). A closed connection costs 128 bytes for 2 MSL; records are
 * kept in order of expiry with one timer for the oldest, and the oldest is recycled when the slab is full. Called by slow, listen,
 * conn and the wheel; owner of the stack.
 */
#include "sock/ports.h"
#include "tcp/tcp_int.h"

const uint32_t tcp_tw_rec_bytes = sizeof(struct tcp_tw);

static struct tcp_tw *first(struct tcp_state *ts)
{
	return list_empty(&ts->tw_list) ? NULL : container_of(ts->tw_list.next, struct tcp_tw, node);
}

static void arm(struct stack *st)
{
	struct tcp_tw *w = first(st->tcp);

	if (w && !wheel_is_armed(&st->tcp->tw_timer))
		wheel_arm(&st->wheel, &st->tcp->tw_timer, w->expires_us);
}

void tcp_tw_free(struct stack *st, struct tcp_tw *w)
{
	tcp_table_remove(&st->tcp->tws, &w->key);
	list_del(&w->node);
	ports_conn_release(w->key.lport_be, w->port_held);
	slab_free(&gz->tw_recs, w);
}

void tcp_tw_on_timer(struct stack *st, struct wheel_timer *timer)
{
	struct tcp_tw *w;
	unsigned budget = 1024; /* a stay is bounded; the rest goes in the next round */

	(void)timer;
	while ((w = first(st->tcp)) && w->expires_us <= st->now_us && budget--)
		tcp_tw_free(st, w);
	arm(st);
}

static void restart(struct stack *st, struct tcp_tw *w)
{
	w->expires_us = st->now_us + st->tcp->conf.time_wait_us;
	list_del(&w->node);
	list_push_back(&st->tcp->tw_list, &w->node);
}

static void send_ack(struct stack *st, struct tcp_tw *w)
{
	struct tcp_reply r = {
		.laddr = &w->key.laddr,
		.raddr = &w->key.raddr,
		.lport_be = w->key.lport_be,
		.rport_be = w->key.rport_be,
		.seq = w->snd_nxt,
		.ack = w->rcv_nxt,
		.wnd = w->wnd,
		.flags = TCP_ACK,
	};

	if (w->opts & TCP_OPT_TS) {
		r.opt_len = TCP_TS_BYTES;
		tcp_opts_write_ts(r.opt, tcp_now_ms(st) + w->ts_off, w->ts_recent);
	}
	tcp_reply(st, &r);
}

void tcp_tw_enter(struct stack *st, struct tcb *t)
{
	struct tcp_tw *w = slab_alloc(&gz->tw_recs);

	st->mib.tcp_timewait++;
	if (!w && first(st->tcp)) {
		/* bounded: the oldest goes */
		tcp_tw_free(st, first(st->tcp));
		st->mib.tcp_timewait_recycled++;
		w = slab_alloc(&gz->tw_recs);
	}
	if (w) {
		w->key = t->key;
		w->opts = t->opts;
		w->port_held = t->port_held; /* the port stays occupied */
		t->port_held = 0;
		w->rcv_wscale = t->rcv_wscale;
		w->wnd = (uint16_t)MIN(tcp_rcv_wnd(t) >> t->rcv_wscale, 0xffffu);
		w->rcv_nxt = t->rcv_nxt;
		w->snd_nxt = t->snd_nxt;
		w->ts_recent = t->ts_recent;
		w->ts_recent_us = t->ts_recent_us;
		w->ts_off = t->ts_off;
		w->ack_us = 0;
		w->expires_us = st->now_us + st->tcp->conf.time_wait_us;
		list_init(&w->node);
		list_push_back(&st->tcp->tw_list, &w->node);
		tcp_table_insert(&st->tcp->tws, &w->key);
		arm(st);
		/* the ACK that is owed for the peer's FIN: the TCB will not be there to send it */
		if (t->out_flags & TCP_OUT_ACK_NOW)
			send_ack(st, w);
	}
	tcp_conn_gone(st, t, 0);
}

bool tcp_tw_input(struct stack *st, struct tcp_tw *w, const struct tcp_seg *g, uint32_t *isn_floor)
{
	bool ts = (w->opts & TCP_OPT_TS) && (g->o.has & TCP_OPT_TS);
	bool old_ts = ts && seq_lt(g->o.tsval, w->ts_recent) && st->now_us - w->ts_recent_us < TCP_PAWS_IDLE_US;
	uint32_t end = tcp_seg_end(g);

	/* RFC 1337: a stray RST must not end the quarantine */
	if (g->flags & TCP_RST)
		return false;
	if ((g->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		/* RFC 6191 §2: newer by timestamp, or by sequence number as RFC 9293 MAY-2 */
		if (!old_ts && (seq_gt(g->seq, w->rcv_nxt) || (ts && seq_gt(g->o.tsval, w->ts_recent)))) {
			*isn_floor = w->snd_nxt + 65535 + 2;
			tcp_tw_free(st, w);
			st->mib.tcp_timewait_recycled++;
			return true;
		}
		st->mib.tcp_rst_wrong_syn_in_timewait++;
	}
	/* the peer repeats its FIN: our ACK was lost; 2 MSL begin again (RFC 9293 §3.10.7.4 eighth) */
	if (!old_ts && (g->flags & TCP_FIN) && end == w->rcv_nxt) {
		restart(st, w);
		send_ack(st, w);
		return false;
	}
	/* anything that is not the bare ACK that we expect is answered, at a bounded rate */
	if (g->len || g->seq != w->rcv_nxt || (g->flags & (TCP_SYN | TCP_FIN))) {
		if (!w->ack_us || st->now_us - w->ack_us >= TCP_OOW_ACK_US) {
			w->ack_us = st->now_us;
			send_ack(st, w);
		}
	}
	return false;
}

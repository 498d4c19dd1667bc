/* info.c - what a connection tells about itself: tcp_info as Linux fills it, field by field and in its units, and the clocks and counters that
 * serve nothing else. Called by sock (TCP_INFO) in the owner of the stack, by ctl in any thread, and by the engine where a clock starts or stops.
 */
#include "tcp/info.h"
#include "tcp/pace.h"
#include "tcp/tcp_int.h"

#include <linux/tcp.h>

#define SAME(f) (offsetof(struct gz_tcp_info, f) == offsetof(struct tcp_info, f))
_Static_assert(SAME(tcpi_rto) && SAME(tcpi_unacked) && SAME(tcpi_pmtu) && SAME(tcpi_total_retrans) && SAME(tcpi_pacing_rate) &&
		       SAME(tcpi_segs_out) && SAME(tcpi_delivery_rate) && SAME(tcpi_delivered) && SAME(tcpi_bytes_sent) && SAME(tcpi_snd_wnd),
	       "the kernel's layout");
_Static_assert(GZ_TCPI_OPT_TIMESTAMPS == TCPI_OPT_TIMESTAMPS && GZ_TCPI_OPT_SACK == TCPI_OPT_SACK && GZ_TCPI_OPT_WSCALE == TCPI_OPT_WSCALE &&
		       GZ_TCPI_OPT_ECN == TCPI_OPT_ECN && GZ_TCPI_OPT_ECN_SEEN == TCPI_OPT_ECN_SEEN &&
		       GZ_TCPI_OPT_SYN_DATA == TCPI_OPT_SYN_DATA && sizeof(struct gz_tcp_info) == 248,
	       "the kernel's numbers");

#define QUEUE_LOOK 4096u /* mbufs of a send queue looked at to count segments; what lies beyond is estimated */

static const char *const state_names[] = {
	[TCPS_CLOSED] = "CLOSED",
	[TCPS_LISTEN] = "LISTEN",
	[TCPS_SYN_SENT] = "SYN_SENT",
	[TCPS_SYN_RECEIVED] = "SYN_RCVD",
	[TCPS_ESTABLISHED] = "ESTABLISHED",
	[TCPS_FIN_WAIT_1] = "FIN_WAIT_1",
	[TCPS_FIN_WAIT_2] = "FIN_WAIT_2",
	[TCPS_CLOSE_WAIT] = "CLOSE_WAIT",
	[TCPS_CLOSING] = "CLOSING",
	[TCPS_LAST_ACK] = "LAST_ACK",
	[TCPS_TIME_WAIT] = "TIME_WAIT",
};
_Static_assert(ARRAY_SIZE(state_names) == TCPS_TIME_WAIT + 1, "a name for every state");

const char *tcp_state_name(uint8_t state)
{
	return state < ARRAY_SIZE(state_names) ? state_names[state] : "?";
}

/* TCP_ESTABLISHED ... of Linux */
static const uint8_t linux_state[] = {
	[TCPS_CLOSED] = 7,	[TCPS_LISTEN] = 10,    [TCPS_SYN_SENT] = 2,   [TCPS_SYN_RECEIVED] = 3,
	[TCPS_ESTABLISHED] = 1, [TCPS_FIN_WAIT_1] = 4, [TCPS_FIN_WAIT_2] = 5, [TCPS_CLOSE_WAIT] = 8,
	[TCPS_CLOSING] = 11,	[TCPS_LAST_ACK] = 9,   [TCPS_TIME_WAIT] = 6,
};
_Static_assert(ARRAY_SIZE(linux_state) == TCPS_TIME_WAIT + 1, "a number for every state");

/* --- clocks --- */

/* A clock that runs is `total` less the time when it was started, so that starting and stopping are one addition each. */
static uint64_t clock_now(uint64_t total, bool runs, uint64_t now_us)
{
	return runs ? total + now_us : total;
}

void tcp_limited_changed(struct stack *st, struct tcb *t, uint8_t from, uint8_t to)
{
	if (from == to)
		return;
	if (from >= TCP_LIMITED_RWND)
		t->limited_us[from - TCP_LIMITED_RWND] += st->now_us;
	if (to >= TCP_LIMITED_RWND)
		t->limited_us[to - TCP_LIMITED_RWND] -= st->now_us;
}

void tcp_on_room(struct stack *st, struct tcb *t)
{
	if (t->cwnd_limited != TCP_LIMITED_SNDBUF)
		return;
	tcp_limited_changed(st, t, TCP_LIMITED_SNDBUF, TCP_LIMITED_NOT);
	t->cwnd_limited = TCP_LIMITED_NOT;
}

/* Milliseconds since the first timeout of the run, which came an RTO after its timer was started. */
static uint32_t rto_run_ms(const struct stack *st, const struct tcb *t)
{
	/* the sample that the SYN's answer gave has changed the RTO by now */
	uint64_t first = t->rexmit_since_us + (t->state < TCPS_ESTABLISHED ? st->tcp->conf.rto_init_us : t->rto_us), now_us = st->now_us;

	return t->rexmit_since_us && now_us > first ? (uint32_t)((now_us - first) / 1000) : 0;
}

void tcp_clocks_stop(struct stack *st, struct tcb *t)
{
	tcp_limited_changed(st, t, t->cwnd_limited, TCP_LIMITED_NOT);
	t->cwnd_limited = TCP_LIMITED_NOT;
	if (t->sq_head)
		t->busy_us += st->now_us;
	/* how often the timer fired in vain can still be read */
	if (t->rexmits)
		t->rto_ms += rto_run_ms(st, t);
	t->rexmit_since_us = 0;
	t->backoff = 0;
}

/* --- timeouts --- */

void tcp_rto_counted(struct tcb *t)
{
	t->total_rto += t->total_rto < UINT16_MAX;
	if (!t->rexmits)
		t->total_rto_runs += t->total_rto_runs < UINT16_MAX;
	t->rexmits += t->rexmits < 255;
}

void tcp_rto_run_over(struct stack *st, struct tcb *t)
{
	if (t->rexmits)
		t->rto_ms += rto_run_ms(st, t);
	t->rexmits = 0;
	t->rexmit_since_us = 0;
}

/* --- tcp_info --- */

/* Segments of the queue by what is known of them. */
struct counted {
	uint32_t unacked, sacked, lost, retrans;
};

/* Bytes of one segment, or of one frame of them, that share their marks. */
static void count_part(struct counted *c, uint32_t bytes, uint8_t flags, uint32_t mss)
{
	uint32_t n = tcp_segs(bytes, mss);

	c->unacked += n;
	c->sacked += flags & PKT_TX_SACKED ? n : 0;
	c->lost += flags & PKT_TX_LOST ? n : 0;
	c->retrans += flags & PKT_TX_REXMIT ? n : 0;
}

static void count_queue(const struct tcb *t, uint32_t mss, struct counted *c)
{
	const uint8_t marks = PKT_TX_SACKED | PKT_TX_LOST | PKT_TX_REXMIT;
	struct rte_mbuf *m = t->sq_head;
	uint32_t part = 0, look = 0;
	uint8_t flags = 0;

	for (; m && m != t->sq_next && look < QUEUE_LOOK; m = tcp_sendq_next(m), look++) {
		uint8_t f = pkt_tx(m)->flags;

		if (part && (f & PKT_TX_HEAD || (f & marks) != flags)) {
			count_part(c, part, flags, mss);
			part = 0;
		}
		flags = f & marks;
		part += pkt_meta(m)->len;
	}
	if (m && m != t->sq_next)
		part += tcp_snd_data_nxt(t) - tcp_mbuf_seq(m);
	if (part)
		count_part(c, part, flags, mss);
}

static void count_bytes(const struct tcb *t, uint32_t mss, struct counted *c)
{
	uint32_t flight = t->snd_nxt - t->snd_una;

	c->unacked = tcp_segs(flight, mss);
	c->sacked = tcp_segs(t->sacked_out, mss);
	c->lost = tcp_segs(t->lost_out, mss);
	c->retrans = tcp_segs(t->rexmit_out, mss);
}

static uint8_t probes(const struct stack *st, const struct tcb *t, const struct sock *s)
{
	uint64_t idle_us = (uint64_t)(uint32_t)(tcp_now_ms(st) - t->last_rcv_ms) * 1000;

	/* the predicted path leaves the count of keep-alive probes to the next keep-alive timer */
	return t->persist || idle_us >= tcp_keep_idle_us(&s->opt) ? t->probes : 0;
}

void tcp_get_info(const struct stack *st, const struct tcb *t, const struct sock *s, bool queue, struct gz_tcp_info *out)
{
	uint32_t mss = t->mss ? t->mss : 1, now_ms = tcp_now_ms(st);
	uint64_t acked = atomic_load_explicit(&s->tx_acked, memory_order_relaxed), now = st->now_us;
	bool synced = t->state >= TCPS_ESTABLISHED || t->state == TCPS_CLOSED;
	struct counted c = { 0 };

	memset(out, 0, sizeof(*out));
	/* one that Fast Open made of a SYN is in SYN_RECV until its SYN-ACK is acknowledged, on Linux */
	out->tcpi_state = t->slow & TCP_SLOW_TFO && t->state == TCPS_ESTABLISHED ? linux_state[TCPS_SYN_RECEIVED] : linux_state[t->state];
	out->tcpi_max_pacing_rate = s->opt.max_pacing_rate;
	out->tcpi_pacing_rate = synced ? tcp_pacing_rate(t) : UINT64_MAX;
	out->tcpi_reordering = t->reordering;
	out->tcpi_snd_cwnd = t->cwnd ? MAX(t->cwnd / mss, 1u) : TCP_IW_SEGS;
	if (t->state == TCPS_LISTEN) {
		out->tcpi_unacked = vcount_get(&s->acc_len, memory_order_relaxed);
		out->tcpi_sacked = atomic_load_explicit(&s->backlog, memory_order_relaxed);
		return;
	}
	if (queue)
		count_queue(t, mss, &c);
	else
		count_bytes(t, mss, &c);
	/* SYN and FIN are segments too */
	if (queue && tcp_in_flight(t) && (!t->sq_head || t->sq_head == t->sq_next))
		c.unacked++;
	/* what a SYN brought in vain has left a second time, though no loss is thought of */
	if (queue && t->sq_head && t->sq_head != t->sq_next && pkt_tx(t->sq_head)->push & PKT_PUSH_SYN &&
	    !(pkt_tx(t->sq_head)->flags & PKT_TX_REXMIT))
		c.retrans++;
	out->tcpi_ca_state = t->ca_state & 7;
	out->tcpi_retransmits = t->rexmits;
	out->tcpi_probes = probes(st, t, s);
	out->tcpi_backoff = t->backoff;
	out->tcpi_options = (uint8_t)((t->opts & TCP_OPT_TS ? TCPI_OPT_TIMESTAMPS : 0) | (t->opts & TCP_OPT_SACK ? TCPI_OPT_SACK : 0) |
				      (t->opts & TCP_OPT_WS ? TCPI_OPT_WSCALE : 0) | (t->marks & TCP_MARK_ECN ? TCPI_OPT_ECN : 0) |
				      (t->marks & TCP_MARK_SEEN ? TCPI_OPT_ECN_SEEN : 0) | (t->opts & TCP_OPT_FO ? TCPI_OPT_SYN_DATA : 0));
	out->tcpi_fastopen_client_fail = t->fo_fail & 3;
	if (t->opts & TCP_OPT_WS) {
		out->tcpi_snd_wscale = t->snd_wscale & 15;
		out->tcpi_rcv_wscale = t->rcv_wscale & 15;
	}
	/* a window probe's back-off is not that of the RTO */
	out->tcpi_rto = t->persist ? t->rto_us : tcp_rto_backed_off(t);
	out->tcpi_ato = t->data_segs_in ? st->tcp->conf.delack_us : 0;
	out->tcpi_snd_mss = t->mss;
	out->tcpi_rcv_mss = t->rcv_mss;
	out->tcpi_unacked = c.unacked;
	out->tcpi_sacked = c.sacked;
	out->tcpi_lost = c.lost;
	out->tcpi_retrans = c.retrans;
	/* tcpi_fackets and tcpi_last_ack_sent are 0 on Linux as well */
	out->tcpi_last_data_sent = (uint32_t)((now - t->last_snd_us) / 1000);
	out->tcpi_last_data_recv = now_ms - t->last_data_ms;
	out->tcpi_last_ack_recv = now_ms - t->last_rcv_ms;
	out->tcpi_pmtu = ip4_mtu(st, &t->route);
	out->tcpi_rcv_ssthresh = atomic_load_explicit(&s->rcvbuf, memory_order_relaxed) / 2;
	if (s->opt.window_clamp)
		out->tcpi_rcv_ssthresh = MIN(out->tcpi_rcv_ssthresh, s->opt.window_clamp);
	out->tcpi_rtt = t->srtt_us;
	out->tcpi_rttvar = t->rttvar_us;
	out->tcpi_snd_ssthresh = t->ssthresh >= TCP_SSTHRESH_INF ? TCP_SSTHRESH_INF : t->ssthresh / mss;
	out->tcpi_advmss = t->mss_offered - (synced && t->opts & TCP_OPT_TS ? TCP_TS_BYTES : 0);
	out->tcpi_rcv_rtt = t->drs_rtt_us;
	out->tcpi_rcv_space = t->drs_space;
	out->tcpi_total_retrans = t->total_rexmit + t->syn_retrans;
	/* Linux counts sequence numbers: the SYN of an active open, and FINs */
	out->tcpi_bytes_acked = acked + (t->active && synced) + tcp_fin_acked(t);
	out->tcpi_bytes_received = atomic_load_explicit(&s->rx_written, memory_order_relaxed) + ((sock_status(s) & SOCK_RCV_EOF) != 0);
	out->tcpi_delivery_rate = tcp_delivery_rate(t);
	out->tcpi_delivery_rate_app_limited = t->rate_app_limited;
	out->tcpi_segs_out = t->segs_out;
	out->tcpi_segs_in = t->segs_in;
	out->tcpi_notsent_bytes = t->state >= TCPS_ESTABLISHED ? t->snd_end - tcp_snd_data_nxt(t) : 0;
	out->tcpi_min_rtt = t->min_rtt_us ? t->min_rtt_us : UINT32_MAX;
	out->tcpi_data_segs_in = t->data_segs_in;
	out->tcpi_data_segs_out = t->data_segs_out;
	out->tcpi_busy_time = clock_now(t->busy_us, t->sq_head != NULL, now);
	out->tcpi_rwnd_limited = clock_now(t->limited_us[0], t->cwnd_limited == TCP_LIMITED_RWND, now);
	out->tcpi_sndbuf_limited = clock_now(t->limited_us[1], t->cwnd_limited == TCP_LIMITED_SNDBUF, now);
	/* what left and is neither unacknowledged nor a repetition; the SYN; a FIN, which mostly goes alone */
	if (synced && t->data_segs_out >= t->total_rexmit + c.unacked - MIN(c.sacked, c.unacked))
		out->tcpi_delivered = t->data_segs_out - t->total_rexmit - (c.unacked - MIN(c.sacked, c.unacked)) + 1 + tcp_fin_acked(t) -
				      (t->active && t->opts & TCP_OPT_FO); /* a SYN with its data is one */
	out->tcpi_bytes_sent = t->bytes_sent + t->bytes_rexmit;
	out->tcpi_bytes_retrans = t->bytes_rexmit;
	out->tcpi_dsack_dups = t->dsack_in;
	out->tcpi_reord_seen = t->reord_seen;
	out->tcpi_rcv_ooopack = t->ooo_in;
	out->tcpi_snd_wnd = t->snd_wnd;
	out->tcpi_rcv_wnd = t->rcv_adv - t->last_ack_sent;
	out->tcpi_total_rto = t->total_rto;
	out->tcpi_total_rto_recoveries = t->total_rto_runs;
	out->tcpi_total_rto_time = t->rto_ms + (t->rexmits ? rto_run_ms(st, t) : 0);
}

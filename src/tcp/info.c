/* info.c - what a connection tells about itself: tcp_info as Linux fills it, names of states. Called by sock and ctl through calls; owner of
 * the stack. */
#include "tcp/pace.h"
#include "tcp/tcp_int.h"

#include <linux/tcp.h>

const uint32_t tcp_info_bytes = sizeof(struct tcp_info);

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

static uint32_t segs(uint32_t bytes, uint32_t mss)
{
	return (bytes + mss - 1) / mss;
}

void tcp_get_info(struct stack *st, const struct tcb *t, struct tcp_info *out)
{
	const struct sock *s = sock_of_tcb(t);
	uint32_t mss = t->mss ? t->mss : 1, now_ms = tcp_now_ms(st);

	memset(out, 0, sizeof(*out));
	out->tcpi_state = linux_state[t->state];
	out->tcpi_ca_state = t->ca_state == TCP_CA_OPEN ? (t->sacked_out || t->dupacks ? 1 : 0) :
			     t->ca_state == TCP_CA_RECOVERY ? 3 :
							      4;
	out->tcpi_retransmits = t->persist ? 0 : t->backoff;
	out->tcpi_probes = t->probes;
	out->tcpi_backoff = t->backoff;
	out->tcpi_options = (uint8_t)((t->opts & TCP_OPT_TS ? TCPI_OPT_TIMESTAMPS : 0) | (t->opts & TCP_OPT_SACK ? TCPI_OPT_SACK : 0) |
				      (t->opts & TCP_OPT_WS ? TCPI_OPT_WSCALE : 0) | (t->marks & TCP_MARK_ECN ? TCPI_OPT_ECN : 0) |
				      (t->marks & TCP_MARK_SEEN ? TCPI_OPT_ECN_SEEN : 0) | (t->opts & TCP_OPT_FO ? TCPI_OPT_SYN_DATA : 0));
	out->tcpi_snd_wscale = t->snd_wscale & 15;
	out->tcpi_rcv_wscale = t->rcv_wscale & 15;
	out->tcpi_rto = tcp_rto_backed_off(t);
	out->tcpi_ato = st->tcp->conf.delack_us;
	out->tcpi_snd_mss = t->mss;
	out->tcpi_rcv_mss = t->rcv_mss;
	if (t->state == TCPS_LISTEN) {
		out->tcpi_unacked = vcount_get(&s->acc_len, memory_order_relaxed);
		out->tcpi_sacked = atomic_load_explicit(&s->backlog, memory_order_relaxed);
		return;
	}
	out->tcpi_unacked = segs(t->snd_nxt - t->snd_una, mss);
	out->tcpi_sacked = segs(t->sacked_out, mss);
	out->tcpi_lost = segs(t->lost_out, mss);
	out->tcpi_retrans = segs(t->rexmit_out, mss);
	out->tcpi_last_data_sent = (uint32_t)((st->now_us - t->last_snd_us) / 1000);
	out->tcpi_last_data_recv = now_ms - t->last_data_ms;
	out->tcpi_last_ack_recv = now_ms - t->last_rcv_ms;
	out->tcpi_pmtu = ip4_mtu(st, &t->route);
	out->tcpi_rcv_ssthresh = tcp_rcv_wnd(t);
	out->tcpi_rtt = t->srtt_us;
	out->tcpi_rttvar = t->rttvar_us;
	out->tcpi_snd_ssthresh = t->ssthresh >= TCP_SSTHRESH_INF ? TCP_SSTHRESH_INF : segs(t->ssthresh, mss);
	out->tcpi_snd_cwnd = segs(t->cwnd, mss);
	out->tcpi_advmss = t->mss_offered;
	out->tcpi_reordering = t->reordering;
	out->tcpi_rcv_rtt = t->drs_rtt_us;
	out->tcpi_rcv_space = t->drs_space;
	out->tcpi_total_retrans = t->total_rexmit;
	out->tcpi_max_pacing_rate = s->opt.max_pacing_rate;
	out->tcpi_pacing_rate = tcp_pacing_rate(t);
	out->tcpi_delivery_rate = tcp_delivery_rate(t);
	out->tcpi_delivery_rate_app_limited = t->rate_app_limited;
	out->tcpi_bytes_acked = atomic_load_explicit(&s->tx_acked, memory_order_relaxed);
	out->tcpi_bytes_received = atomic_load_explicit(&s->rx_written, memory_order_relaxed);
	out->tcpi_segs_out = t->segs_out;
	out->tcpi_segs_in = t->segs_in;
	out->tcpi_notsent_bytes = t->snd_end - tcp_snd_data_nxt(t);
	out->tcpi_min_rtt = t->min_rtt_us;
	out->tcpi_data_segs_in = t->data_segs_in;
	out->tcpi_data_segs_out = t->data_segs_out;
	out->tcpi_bytes_sent = t->bytes_sent + t->bytes_rexmit;
	out->tcpi_bytes_retrans = t->bytes_rexmit;
	out->tcpi_dsack_dups = t->dsack_in;
	out->tcpi_reord_seen = t->reordering > 3;
	out->tcpi_rcv_ooopack = t->ooo_in;
	out->tcpi_snd_wnd = t->snd_wnd;
}

/* pmtu.c - how large a segment the path takes: what ICMP says (RFC 1191, RFC 5927), what expires, and the search of TCP's own where ICMP says nothing
 * (RFC 4821, as Linux's tcp_mtu_probing). Called by icmp.c, conn.c, ack.c (once a round trip), recovery.c, timer.c, output.c. Owner of the stack.
 *
 * t->mss follows ip4_mtu(&t->route), which is the device's MTU or what the destination's entry in ip's table says; the entry expires, and the
 * next round trip then goes back to the device's (RFC 1191 §6.3). While the search is on, mtu_low bounds it too: the largest packet that is known to
 * arrive, between which and mtu_high one segment of t->mtu_probe bytes is tried, data like any. It passes: mtu_low rises. It alone is lost:
 * mtu_high falls, and cwnd does not. t->slow has TCP_SLOW_MTU while there is something to try, so that the predicted path knows nothing of this.
 */
#include "tcp/tcp_int.h"

#include <netinet/in.h>

#define SEARCH_STEP 8u	    /* packets that differ by less are the same (Linux's tcp_probe_threshold) */
#define SEARCH_CWND_SEGS 11u /* a smaller window has nothing to gain, and no duplicate ACKs to spare */
#define SEARCH_AGAIN_MS 600000u
#define BLACK_HOLE_US 3000000u /* time-outs for so long, Linux's tcp_retries1 */

static uint32_t overhead(const struct tcb *t)
{
	return IP4_HDR_BYTES + TCP_HDR_MIN + (t->opts & TCP_OPT_TS ? TCP_TS_BYTES : 0);
}

static uint32_t mtu_of(const struct tcb *t, uint32_t payload) { return payload + overhead(t); }

void tcp_set_mss(struct stack *st, struct tcb *t)
{
	struct sock *s = sock_of_tcb(t);
	uint32_t mtu = ip4_mtu(st, &t->route), most = t->mss_peer, mss;

	if (t->mtu_low)
		mtu = MIN(mtu, t->mtu_low);
	if (s->opt.maxseg)
		most = MIN(most, MAX(s->opt.maxseg, TCP_MSS_FLOOR));
	mss = mtu > IP4_HDR_BYTES + TCP_HDR_MIN + TCP_MSS_FLOOR ? mtu - IP4_HDR_BYTES - TCP_HDR_MIN : TCP_MSS_FLOOR;
	mss = MIN(MIN(mss, most), 65495u);
	/* RFC 9293 §3.7.1: Eff.snd.MSS takes the options of every segment off */
	if (t->opts & TCP_OPT_TS)
		mss -= TCP_TS_BYTES;
	if (mss != t->mss) /* they are filled with whole segments */
		tcp_large_buffers_off(t);
	t->mss = (uint16_t)mss;
	s->tx_mss = mss;
}

/* Does the path need fragments, or does the application (ip(7), IP_MTU_DISCOVER)? */
void tcp_pmtu_df(struct stack *st, struct tcb *t)
{
	uint8_t how = sock_of_tcb(t)->opt.mtu_discover;

	t->route.no_df = !(how == IP_PMTUDISC_DO || (how == IP_PMTUDISC_WANT && ip4_dst_df(st, ip_addr_get_v4(&t->raddr))));
}

/* What the table says about the way to the peer is what counts. */
static void follow_table(struct stack *st, struct tcb *t)
{
	uint32_t mtu = ip4_dst_mtu(st, ip_addr_get_v4(&t->raddr));

	if (ip4_link_mtu(st, &t->route) <= mtu || sock_of_tcb(t)->opt.mtu_discover == IP_PMTUDISC_DONT)
		mtu = 0;
	t->route.pmtu_bytes = (uint16_t)mtu;
	if (mtu && t->mtu_low) {
		t->mtu_high = (uint16_t)MIN(t->mtu_high, mtu);
		t->mtu_low = (uint16_t)MIN(t->mtu_low, mtu);
	}
	t->route.pmtu_watch = mtu || t->mtu_low;
	tcp_pmtu_df(st, t);
	tcp_set_mss(st, t);
}

static void search_begin(struct stack *st, struct tcb *t, uint32_t low)
{
	uint32_t high = MIN(ip4_mtu(st, &t->route), (uint32_t)t->mss_peer + IP4_HDR_BYTES + TCP_HDR_MIN);

	t->mtu_high = (uint16_t)high;
	t->mtu_low = (uint16_t)MIN(low, high);
	t->mtu_probe = 0;
	t->mtu_probe_ms = tcp_now_ms(st);
	t->route.pmtu_watch = 1;
	t->slow |= TCP_SLOW_MTU;
	tcp_set_mss(st, t);
}

void tcp_pmtu_init(struct stack *st, struct tcb *t)
{
	t->mtu_low = t->mtu_high = t->mtu_probe = 0;
	follow_table(st, t);
	if (st->tcp->conf.mtu_probing > 1)
		search_begin(st, t, mtu_of(t, st->tcp->conf.base_mss));
}

/* --- segments that were too big --- */

/* Segments in flight that are larger than t->mss are lost: they go again in its size, at once and without a word to the congestion control
 * (RFC 1191 §6.5; Linux's tcp_simple_retransmit()). Segments begin where PKT_TX_HEAD says; frames of several, left to the device to
 * cut, were cut at old_mss. probe: payload of the probe under way, 0 none. */
static void resend_oversized(struct stack *st, struct tcb *t, uint32_t old_mss, uint32_t probe)
{
	struct rte_mbuf *m = t->sq_head;
	bool any = false;

	while (m && m != t->sq_next) {
		struct rte_mbuf *first = m;
		uint32_t total = 0, bad;
		bool whole = probe && tcp_mbuf_seq(m) == t->mtu_probe_seq;

		do {
			total += pkt_meta(m)->len;
			m = tcp_sendq_next(m);
		} while (m && m != t->sq_next && !(pkt_tx(m)->flags & PKT_TX_HEAD));
		if ((whole ? total : MIN(total, old_mss)) <= t->mss)
			continue;
		bad = total;
		if (!whole && total > old_mss && total % old_mss <= t->mss)
			bad -= total % old_mss;
		any = true;
		while (bad) {
			uint32_t len = pkt_meta(first)->len;

			if (len > bad) {
				if (!tcp_sendq_split(st, t, first, bad))
					pkt_tx(tcp_sendq_next(first))->flags |= PKT_TX_HEAD;
				len = bad;
			}
			tcp_scoreboard_mark_lost(t, first); /* its retransmission, if it had one */
			bad -= len;
			first = tcp_sendq_next(first);
		}
	}
	if (!any)
		return;
	tcp_recovery_too_big(st, t);
}

/* The MSS fell: cwnd stays as many segments as it was, as on Linux, where it counts segments. */
static void in_smaller_units(struct tcb *t, uint32_t old_mss)
{
	t->cwnd = MAX((uint32_t)((uint64_t)t->cwnd * t->mss / old_mss), (uint32_t)t->mss);
	if (t->ssthresh < TCP_SSTHRESH_INF)
		t->ssthresh = MAX((uint32_t)((uint64_t)t->ssthresh * t->mss / old_mss), TCP_CWND_MIN_SEGS * t->mss);
}

void tcp_pmtu_told(struct stack *st, struct tcb *t, uint32_t mtu)
{
	uint8_t how = sock_of_tcb(t)->opt.mtu_discover;
	uint32_t old_mss = t->mss, probe = t->mtu_probe;

	if (how >= IP_PMTUDISC_INTERFACE || mtu >= ip4_mtu(st, &t->route))
		return;
	ip4_learn_pmtu(st, ip_addr_get_v4(&t->raddr), mtu);
	if (how != IP_PMTUDISC_DONT)
		tcp_fastopen_too_large(st, t, mtu);
	if (how == IP_PMTUDISC_DONT || t->state < TCPS_ESTABLISHED)
		return;
	st->mib.tcp_pmtu_lowered++;
	t->mtu_probe = 0;
	follow_table(st, t);
	if (t->mss >= old_mss)
		return;
	in_smaller_units(t, old_mss);
	resend_oversized(st, t, old_mss, probe);
}

/* --- once a round trip --- */

void tcp_pmtu_watch(struct stack *st, struct tcb *t)
{
	if (t->route.pmtu_bytes)
		follow_table(st, t);
	if (t->mtu_low && !(t->slow & TCP_SLOW_MTU) && tcp_now_ms(st) - t->mtu_probe_ms >= SEARCH_AGAIN_MS)
		search_begin(st, t, mtu_of(t, t->mss));
}

/* --- the search --- */

static bool search_is_over(const struct tcb *t)
{
	return t->mtu_high < t->mtu_low + SEARCH_STEP;
}

static void search_rest(struct stack *st, struct tcb *t)
{
	t->slow &= ~TCP_SLOW_MTU;
	t->mtu_probe_ms = tcp_now_ms(st);
}

bool tcp_mtu_probe(struct stack *st, struct tcb *t)
{
	uint32_t size, need, pipe = tcp_pipe(t);
	int32_t wnd = seq_diff(t->snd_una + t->snd_wnd, t->snd_nxt);

	if (t->mtu_probe || t->ca_state != TCP_CA_OPEN || t->sacked_out || t->rcv_sack_n)
		return false;
	if (search_is_over(t)) {
		search_rest(st, t);
		return false;
	}
	if (t->cwnd < SEARCH_CWND_SEGS * t->mss)
		return false;
	size = (uint32_t)(t->mtu_low + t->mtu_high) / 2 - overhead(t);
	/* what follows the probe must bring the duplicate ACKs that tell of its loss */
	need = size + (t->reordering + 1u) * t->mss;
	if (size <= t->mss || t->snd_end - t->snd_nxt < need || t->snd_wnd < need)
		return false;
	/* it goes alone and first: new data waits until there is room for it */
	if (wnd < (int32_t)need || pipe + 2u * t->mss > t->cwnd)
		return pipe > 0;
	t->mtu_probe_seq = t->snd_nxt;
	if (!tcp_output_probe(st, t, size))
		return false;
	t->mtu_probe = (uint16_t)size;
	st->mib.tcp_mtu_probe++;
	return false;
}

void tcp_mtu_probe_acked(struct stack *st, struct tcb *t)
{
	if (seq_lt(t->snd_una, t->mtu_probe_seq + t->mtu_probe))
		return;
	t->mtu_low = (uint16_t)mtu_of(t, t->mtu_probe);
	t->mtu_probe = 0;
	st->mib.tcp_mtu_probe_ok++;
	tcp_set_mss(st, t); /* cwnd counts bytes */
	if (search_is_over(t))
		search_rest(st, t);
}

bool tcp_mtu_probe_lost(struct stack *st, struct tcb *t)
{
	uint32_t size = t->mtu_probe;

	if (t->snd_una != t->mtu_probe_seq)
		return false;
	/* RFC 4821 §7.5: the loss of a probe alone says nothing about congestion */
	t->mtu_high = (uint16_t)(mtu_of(t, size) - 1);
	t->mtu_probe = 0;
	resend_oversized(st, t, t->mss, size);
	if (search_is_over(t))
		search_rest(st, t);
	return true;
}

/* A timeout. What was being tried is inconclusive; a run of them may be a black hole (RFC 4821 §7.7, RFC 2923 §2.1). */
void tcp_pmtu_on_rto(struct stack *st, struct tcb *t)
{
	const struct tcp_conf *c = &st->tcp->conf;
	uint32_t floor = st->ip4.min_pmtu ? st->ip4.min_pmtu : IP4_PMTU_FLOOR, old_mss = t->mss, low;

	t->mtu_probe = 0;
	if (t->route.pmtu_watch)
		tcp_pmtu_watch(st, t);
	if (!c->mtu_probing || st->now_us - t->rexmit_since_us < t->rto_us + BLACK_HOLE_US || t->rexmits == 0)
		return;
	if (!t->mtu_low) {
		low = mtu_of(t, c->base_mss);
	} else {
		low = mtu_of(t, MIN((uint32_t)t->mss / 2, c->base_mss));
		low = MAX(low, floor);
	}
	low = MIN(low, mtu_of(t, t->mss));
	st->mib.tcp_mtu_black_hole += t->mtu_low == 0;
	search_begin(st, t, low);
	if (t->mss < old_mss)
		in_smaller_units(t, old_mss);
}

/* input.c - a segment comes in: checks, look-up, and the predicted path; everything else leaves through one door to slow.c or listen.c. Called by
 * ip; never transmits. RFC 9293 §3.10.7, header prediction after Van Jacobson. Owner of the stack.
 */
#include "tcp/tcp_int.h"

#define FIN_ACK_US 1000u

struct tcb *tcp_find(struct stack *st, const struct ip_addr *laddr, const struct ip_addr *raddr, uint16_t lport_be,
		     uint16_t rport_be, uint32_t hash)
{
	struct tcp_key *k = tcp_table_find(&st->tcp->conns, hash, laddr, raddr, lport_be, rport_be);

	return k ? container_of(k, struct tcb, key) : NULL;
}

/* Most data is answered before the next round, and the answer acknowledges: only what was not gets a timer then (tcp_settle_acks()). */
static force_inline void ack_later(struct stack *st, struct tcb *t)
{
	struct tcp_state *ts = st->tcp;

	if (unlikely(ts->nb_unacked == TCP_UNACKED_MAX)) {
		tcp_deadline_set(st, t, TCP_AT_DELACK, st->now_us + ts->conf.delack_us);
		return;
	}
	if (ts->nb_unacked == 0)
		st->settle_by_us = st->now_us + ts->conf.delack_us;
	ts->unacked[ts->nb_unacked++] = t;
	t->deadline[TCP_AT_DELACK] = TCP_UNSETTLED;
}

void tcp_settle_acks(struct stack *st)
{
	struct tcp_state *ts = st->tcp;

	for (unsigned i = 0; i < ts->nb_unacked; i++) {
		struct tcb *t = ts->unacked[i];

		/* NULL: gone. Answered meanwhile, or here twice: then it is not unsettled. */
		if (t && unlikely(t->deadline[TCP_AT_DELACK] == TCP_UNSETTLED))
			tcp_deadline_set(st, t, TCP_AT_DELACK, st->settle_by_us);
	}
	ts->nb_unacked = 0;
	st->settle_by_us = UINT64_MAX;
}

void tcp_forget_unacked(struct stack *st, const struct tcb *t)
{
	struct tcp_state *ts = st->tcp;

	for (unsigned i = 0; i < ts->nb_unacked; i++)
		if (ts->unacked[i] == t)
			ts->unacked[i] = NULL;
}

/* The peer sent beyond the window, and it was taken. */
static force_inline bool overran(const struct tcb *t) { return seq_gt(t->rcv_nxt, t->rcv_adv); }

/* In-order data was handed up and rcv_nxt moved by len: when to acknowledge (RFC 1122 §4.2.3.2, RFC 5681 §4.2). */
static force_inline void ack_policy(struct stack *st, struct tcb *t, uint32_t len)
{
	uint16_t seen = (uint16_t)MIN(len, t->mss_offered);

	t->last_data_ms = tcp_now_ms(st);
	if (unlikely(seen > t->rcv_mss))
		t->rcv_mss = (uint16_t)MIN(len, t->mss_offered - (t->opts & TCP_OPT_TS ? TCP_TS_BYTES : 0));
	/* More than one full segment waits: the second is here. Input only marks, so a burst gets one ACK. What overran the window waits for a reader (Linux). */
	if ((t->rcv_nxt - t->last_ack_sent > t->rcv_mss || (t->quick && !t->pingpong)) && likely(!overran(t)))
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
	else if (t->deadline[TCP_AT_DELACK] == TCP_NEVER)
		ack_later(st, t);
	tcp_drs_on_data(st, t);
}

void tcp_data_arrived(struct stack *st, struct tcb *t, uint32_t len)
{
	ack_policy(st, t, len);
}

/* A FIN came in order, and ours may answer: it waits like data, or a moment where there never was any (Linux). */
void tcp_fin_arrived(struct stack *st, struct tcb *t)
{
	t->pingpong = 1;
	if (t->rcv_nxt - t->last_ack_sent > t->rcv_mss || overran(t))
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
	else if (t->data_segs_in == (t->opts & TCP_OPT_FO && !t->active)) /* what a SYN brought is none */
		tcp_deadline_set(st, t, TCP_AT_DELACK, st->now_us + FIN_ACK_US);
	else if (t->deadline[TCP_AT_DELACK] == TCP_NEVER)
		ack_later(st, t);
}

/* What the device or gro.c joined counts as the segments that came; one is counted. */
cold_path void tcp_count_joined(struct stack *st, struct tcb *t, const struct rte_mbuf *m, uint32_t len)
{
	uint32_t more = tcp_joined_more(m, len);

	t->segs_in += more;
	t->data_segs_in += more;
	st->mib.tcp_in_seg += more;
}

/* Not predicted: the whole story, header in host order. */
static cold_path void input_slow(struct stack *st, struct tcb *t, struct rte_mbuf *m, const struct ip_addr *src,
				 const struct ip_addr *dst, uint32_t hash, uint8_t tos)
{
	const struct tcp_hdr *h = rte_pktmbuf_mtod(m, const struct tcp_hdr *);
	unsigned hlen = (unsigned)(h->off >> 4) * 4;
	struct tcp_seg g = {
		.m = m,
		.src = src,
		.dst = dst,
		.sport_be = h->sport_be,
		.dport_be = h->dport_be,
		.hash = hash,
		.seq = ntohl(h->seq_be),
		.ack = ntohl(h->ack_be),
		.len = m->pkt_len - hlen,
		.wnd = ntohs(h->wnd_be),
		.urg = ntohs(h->urg_be),
		.flags = h->flags,
		.tos = tos,
	};

	tcp_opts_parse((const uint8_t *)(h + 1), hlen - TCP_HDR_MIN, h->flags & TCP_SYN, &g.o);
	mbuf_skip(m, hlen);
	if (t)
		tcp_slow_input(st, t, &g);
	else
		tcp_listen_input(st, &g);
}

static cold_path void bad(struct stack *st, struct rte_mbuf *m, enum drop_reason why)
{
	st->mib.tcp_in_err++;
	drop(st, m, why);
}

void tcp_input(struct stack *st, struct rte_mbuf *m, const struct ip_addr *src, const struct ip_addr *dst, uint8_t tos)
{
	const struct tcp_hdr *h;
	uint64_t l4 = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	uint32_t hash, seq, ack, len, wnd, tsecr = 0, hlen;
	struct tcb *t;

	st->mib.tcp_in_seg++;
	if (unlikely(m->data_len < TCP_HDR_MAX)) {
		/* headers may be split over segments; the tail of a short packet is no header */
		struct rte_mbuf *p = m->pkt_len < TCP_HDR_MIN ? NULL :
								mbuf_pull(m, MIN(m->pkt_len, TCP_HDR_MAX), st->pool);

		if (!p) {
			bad(st, m, DROP_TCP_SHORT);
			return;
		}
		m = p;
	}
	h = rte_pktmbuf_mtod(m, const struct tcp_hdr *);
	hlen = (uint32_t)(h->off >> 4) * 4;
	if (unlikely(hlen < TCP_HDR_MIN || hlen > m->pkt_len)) {
		bad(st, m, DROP_TCP_SHORT);
		return;
	}
	/* a device that found the sum bad is believed; UNKNOWN is verified; GOOD and NONE (virtio: not filled in) are right */
	if (unlikely(l4 == RTE_MBUF_F_RX_L4_CKSUM_BAD ||
		     (l4 == RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN &&
		      csum_fold(csum_mbuf(m, 0, m->pkt_len, tcp_pseudo_sum(src, dst, m->pkt_len))) != 0xffff))) {
		bad(st, m, DROP_TCP_CHECKSUM);
		return;
	}

	hash = tcp_key_hash(st->secret, dst, src, h->dport_be, h->sport_be);
	t = tcp_find(st, dst, src, h->dport_be, h->sport_be, hash);
	/* nothing but ACK, and PSH; no congestion mark: (tos & 3) != 3 */
	if (unlikely(!t || t->slow || (h->flags & (uint8_t)~TCP_PSH) != TCP_ACK || !((tos + 1u) & 3)))
		goto slow;
	seq = ntohl(h->seq_be);
	ack = ntohl(h->ack_be);
	len = m->pkt_len - hlen;
	wnd = (uint32_t)ntohs(h->wnd_be) << t->snd_wscale;
	if (unlikely(seq != t->rcv_nxt || len > tcp_rcv_wnd(t) || ack - t->snd_una > t->snd_nxt - t->snd_una))
		goto slow;
	if (likely(t->opts & TCP_OPT_TS)) {
		const uint8_t *o = (const uint8_t *)(h + 1);
		uint32_t tsval;

		if (unlikely(hlen != TCP_HDR_MIN + TCP_TS_BYTES || get_be32(o) != TCP_TS_WORD))
			goto slow;
		tsval = get_be32(o + 4);
		tsecr = get_be32(o + 8);
		if (unlikely(seq_lt(tsval, t->ts_recent)))
			goto slow;
		/* RFC 7323 §4.3: only from the segment that a delayed ACK will be measured by */
		if (seq == t->last_ack_sent) {
			t->ts_recent = tsval;
			t->ts_recent_us = st->now_us;
		}
	} else if (unlikely(hlen != TCP_HDR_MIN)) {
		goto slow;
	}
	if (ack == t->snd_una) {
		/* nothing new and nothing in it while data is in flight: a duplicate ACK */
		if (unlikely(len == 0 && wnd == t->snd_wnd && tcp_in_flight(t)))
			goto slow;
	}
	if (unlikely(t->persist | (st->mem_level == MEM_CRITICAL)))
		goto slow;

	st->mib.tcp_predicted++;
	t->segs_in++;
	if (unlikely(m->ol_flags & RTE_MBUF_F_RX_LRO))
		tcp_count_joined(st, t, m, len);
	t->last_rcv_ms = tcp_now_ms(st);
	if (wnd != t->snd_wnd)
		tcp_wnd_update(st, t, seq, ack, wnd);
	else
		t->snd_wl1 = seq;
	if (ack != t->snd_una)
		tcp_ack_fast(st, t, ack, tsecr);
	if (len) {
		m->data_off = (uint16_t)(m->data_off + hlen);
		m->data_len = (uint16_t)(m->data_len - hlen);
		m->pkt_len = len;
		t->rcv_nxt += len;
		t->data_segs_in++;
		sock_up_data(st, sock_of_tcb(t), m);
		ack_policy(st, t, len);
	} else {
		st->mib.tcp_in_empty_acks++;
		rte_pktmbuf_free(m);
	}
	return;
slow:
	input_slow(st, t, m, src, dst, hash, tos);
}

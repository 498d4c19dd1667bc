/* output.c - what may leave now, and building segments. Called by the loop once a round for every TCB that input, timers and commands
 * marked; calls ip. RFC 9293 §3.8.6 (window, SWS avoidance, Nagle), RFC 5681, RFC 6675 §5, RFC 6691. Owner of the stack.
 *
 * Headers are written in front of the data in its own mbuf when nobody else holds it (refcnt 1); then the queue keeps one reference and
 * the device gets another. Otherwise, and when a segment is made of several mbufs that the device cannot chain, it is copied.
 */
#include "tcp/pace.h"
#include "tcp/rate.h"
#include "tcp/tcp_int.h"

#define TTL_DEFAULT 64u

/* A buffer beyond this is not cut for a frame that has half of what it may hold. */
#define COPY_TO_CUT_MAX 4096u

/* ecn: the IP header's two bits */
static force_inline void send_ip(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint8_t ecn)
{
	const struct sock_opts *o = &sock_of_tcb(t)->opt;
	struct ip4_tx tx = {
		.src_be = ip_addr_get_v4(&t->laddr),
		.dst_be = ip_addr_get_v4(&t->raddr),
		.proto = TCP_PROTO,
		.ttl = o->ttl ? o->ttl : TTL_DEFAULT,
		.tos = (uint8_t)(o->tos | ecn),
		.df = !t->route.no_df,
	};

	t->segs_out++;
	st->mib.tcp_out_seg++;
	/* a failure is a lost packet: the timer repeats it */
	(void)ip4_output(st, m, &tx, &t->route);
}

/* Blocks for a segment that has room bytes for options beyond timestamps; 0: none. */
static unsigned sack_blocks(const struct tcb *t, unsigned room, struct tcp_sack_block *b)
{
	unsigned max = t->opts & TCP_OPT_TS ? 3 : 4, n = 0;

	if (likely(!(t->rcv_sack_n | t->dsack_pending)) || !(t->opts & TCP_OPT_SACK))
		return 0;
	if (room < 12)
		return 0;
	while (max > 1 && 4 + 8 * max > room)
		max--;
	if (t->dsack_pending)
		b[n++] = t->dsack; /* RFC 2883 §4 */
	for (unsigned i = 0; i < t->rcv_sack_n && n < max; i++)
		b[n++] = t->rcv_sack[i];
	return n;
}

#define EMIT_TSO 1u   /* the device cuts it */
#define EMIT_FRESH 2u /* was never sent before */

/* What few connections have: urgent data, congestion marks. Returns flags, the IP header's ECN field << 8, the urgent pointer << 16. */
static cold_path uint32_t emit_marks(struct tcb *t, uint32_t seq, uint32_t len, bool fresh)
{
	uint32_t w = t->marks & TCP_MARK_ECN ? tcp_ecn_mark(t, len, fresh) : 0;

	if ((t->marks & TCP_MARK_URG) && seq_gt(t->snd_up, seq))
		w |= TCP_URG | MIN(t->snd_up - seq, 0xffffu) << 16;
	return w;
}

/* Writes the TCP header in front of m's payload of len bytes (first segment's data_off at it, data_len of it, pkt_len = len) and passes m on. */
static void emit(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint32_t seq, uint32_t len, uint8_t flags, unsigned how)
{
	struct tcp_sack_block b[4];
	unsigned nsack = sack_blocks(t, len >= t->mss ? 0 : MIN(t->mss - len, 40u), b);
	unsigned hlen = TCP_HDR_MIN + (t->opts & TCP_OPT_TS ? TCP_TS_BYTES : 0) + (nsack ? 4 + 8 * nsack : 0);
	bool tso = how & EMIT_TSO;
	uint8_t ecn = 0;
	uint16_t urg_be = 0;
	uint32_t sum_len = hlen + len, tail;
	uint64_t w;
	char *h;

	m->data_off = (uint16_t)(m->data_off - hlen);
	m->data_len = (uint16_t)(m->data_len + hlen);
	m->pkt_len = sum_len;
	h = rte_pktmbuf_mtod(m, char *);
	if (unlikely(t->marks)) {
		uint32_t marks = emit_marks(t, seq, len, how & EMIT_FRESH);

		flags |= (uint8_t)marks;
		ecn = (uint8_t)(marks >> 8);
		urg_be = htons((uint16_t)(marks >> 16));
	}
	if (tso)
		sum_len = 0; /* DPDK's convention: the device adds each segment's own length */
	/* struct tcp_hdr, by words of eight bytes */
	w = mem_pair32(mem_pair16(t->lport_be, t->rport_be), htonl(seq));
	memcpy(h, &w, 8);
	w = mem_pair32(htonl(t->rcv_nxt),
		       mem_pair16(mem_pair8((uint8_t)(hlen / 4 << 4), flags), htons(tcp_window_to_send(st, t))));
	memcpy(h + 8, &w, 8);
	tail = mem_pair16(csum_fold(tcp_pseudo_sum(&t->laddr, &t->raddr, sum_len)), urg_be);
	if (likely(t->opts & TCP_OPT_TS)) {
		w = mem_pair32(tail, htonl(TCP_TS_WORD));
		memcpy(h + 16, &w, 8);
		w = mem_pair32(htonl(tcp_ts_now(st, t)), htonl(t->ts_recent));
		memcpy(h + 24, &w, 8);
	} else {
		memcpy(h + 16, &tail, 4);
	}
	if (unlikely(nsack)) {
		tcp_opts_write_sack((uint8_t *)h + TCP_HDR_MIN + (t->opts & TCP_OPT_TS ? TCP_TS_BYTES : 0), b, nsack);
		st->mib.tcp_dsack_sent += t->dsack_pending;
		t->dsack_pending = 0;
	}
	m->tx_offload = rte_mbuf_tx_offload(0, 0, hlen, tso ? t->mss : 0, 0, 0, 0);
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
	if (tso)
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;

	t->data_segs_out += len != 0;
	/* every segment acknowledges; one without its SACK blocks does not settle what the receiver owes */
	t->last_ack_sent = t->rcv_nxt;
	if (likely(nsack || !t->rcv_sack_n))
		t->out_flags &= (uint8_t)~TCP_OUT_ACK_NOW;
	tcp_deadline_clear(t, TCP_AT_DELACK);
	send_ip(st, t, m, ecn);
}

static struct rte_mbuf *alloc(struct stack *st)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(st->pool);

	if (unlikely(!m))
		st->drops[DROP_NO_MBUF]++;
	return m;
}

static void send_pure(struct stack *st, struct tcb *t, uint32_t seq, uint8_t flags)
{
	struct rte_mbuf *m = alloc(st);

	if (unlikely(!m)) {
		/* the peer's retransmission or our timer asks again */
		tcp_deadline_set(st, t, TCP_AT_DELACK, st->now_us + st->tcp->conf.delack_us);
		return;
	}
	m->data_off = PKT_HEADROOM;
	if (t->quick)
		t->quick--;
	emit(st, t, m, seq, 0, flags, 0);
}

static void send_syn(struct stack *st, struct tcb *t)
{
	struct sock *s = sock_of_tcb(t);
	struct rte_mbuf *m = alloc(st);
	struct tcp_syn_opts o = { .mss = t->mss_offered, .has = t->opts, .wscale = t->rcv_wscale };
	struct tcp_hdr *h;
	unsigned hlen;
	uint32_t wnd = tcp_initial_window(s, t->mss_offered), len = 0;
	bool synack = t->state == TCPS_SYN_RECEIVED, first;

	tcp_rexmit_timer_restart(st, t, tcp_rto_backed_off(t));
	if (!m)
		return;
	if (o.has & TCP_OPT_TS) {
		o.tsval = tcp_ts_now(st, t);
		o.tsecr = synack ? t->ts_recent : 0;
	}
	first = unlikely(t->fo_syn) && !synack && !t->syn_retrans;
	if (first)
		tcp_fastopen_syn_opts(st, t, &o);
	m->data_off = PKT_HEADROOM - TCP_HDR_MAX;
	h = rte_pktmbuf_mtod(m, struct tcp_hdr *);
	hlen = TCP_HDR_MIN + tcp_opts_write_syn((uint8_t *)(h + 1), &o);
	m->data_len = (uint16_t)hlen;
	m->pkt_len = hlen;
	if (first)
		len = tcp_fastopen_syn_data(t, m);
	h->sport_be = t->lport_be;
	h->dport_be = t->rport_be;
	h->seq_be = htonl(t->iss);
	h->ack_be = synack ? htonl(t->rcv_nxt) : 0;
	h->off = (uint8_t)(hlen / 4 << 4);
	h->flags = synack ? TCP_SYN | TCP_ACK : TCP_SYN;
	if (unlikely(o.has & TCP_OPT_ECN)) {
		if (synack)
			h->flags |= TCP_ECE;
		else if (!t->syn_retrans) /* RFC 3168 §6.1.1.1: a SYN that was lost may have been lost for its flags */
			h->flags |= TCP_ECE | TCP_CWR;
	}
	h->wnd_be = htons((uint16_t)MIN(wnd, 0xffffu)); /* never scaled on a SYN, RFC 7323 §2.2 */
	h->urg_be = 0;
	m->tx_offload = 0;
	m->l4_len = hlen;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
	h->csum = csum_fold(tcp_pseudo_sum(&t->laddr, &t->raddr, hlen + len));
	if (synack) {
		t->last_ack_sent = t->rcv_nxt;
		t->rcv_adv = seq_max(t->rcv_adv, t->rcv_nxt + MIN(wnd, 0xffffu));
	}
	t->last_snd_us = st->now_us;
	send_ip(st, t, m, 0);
}

/* A frame of `count` queued mbufs from `first`, total payload bytes, in place when nobody else holds them, else copied. NULL: no mbuf. */
static struct rte_mbuf *frame_of(struct stack *st, struct rte_mbuf *first, unsigned count, uint32_t total)
{
	struct rte_mbuf *m = first, *out, *to;
	unsigned i;

	/* a frame that fits no single mbuf (jumbo frames, our own address) is chained whatever the device takes: netdev linearises */
	if (likely(count <= st->nd->tx_max_segs || total + PKT_HEADROOM > first->buf_len)) {
		for (i = 0; i < count; i++, m = tcp_sendq_next(m)) {
			if (!mbuf_writable(m))
				break;
		}
		if (likely(i == count && pkt_meta(first)->off >= PKT_HEADROOM)) {
			m = first;
			for (i = 0; i < count; i++) {
				struct rte_mbuf *next = i + 1 < count ? tcp_sendq_next(m) : NULL;

				m->data_off = pkt_meta(m)->off;
				m->data_len = pkt_meta(m)->len;
				m->next = next;
				m->nb_segs = 1;
				m->ol_flags = 0;
				rte_mbuf_refcnt_update(m, 1);
				m = next;
			}
			first->nb_segs = (uint16_t)count;
			first->pkt_len = total;
			return first;
		}
	}
	out = to = alloc(st);
	if (!out)
		return NULL;
	to->data_off = PKT_HEADROOM;
	m = first;
	for (i = 0; i < count; i++, m = tcp_sendq_next(m)) {
		const struct pkt_meta *p = pkt_meta(m);
		uint32_t done = 0;

		while (done < p->len) {
			uint32_t n = MIN((uint32_t)p->len - done, rte_pktmbuf_tailroom(to));

			if (n == 0) {
				/* more than one mbuf's room: jumbo frames over small buffers */
				struct rte_mbuf *more = alloc(st);

				if (!more) {
					rte_pktmbuf_free(out);
					return NULL;
				}
				more->data_off = 0;
				to->next = more;
				out->nb_segs++;
				to = more;
				continue;
			}
			memcpy(rte_pktmbuf_mtod_offset(to, char *, to->data_len), (char *)m->buf_addr + p->off + done, n);
			to->data_len = (uint16_t)(to->data_len + n);
			done += n;
		}
	}
	out->pkt_len = total;
	return out;
}

static void retransmit_timer_if_idle(struct stack *st, struct tcb *t)
{
	if (t->deadline[TCP_AT_REXMIT] == TCP_NEVER || t->persist)
		tcp_rexmit_timer_restart(st, t, tcp_xmit_timer_us(t));
}

/* Which bytes the next frame holds: whole mbufs from `first`, at most `limit` bytes, those for which `again` is right; splits the last if it must. What goes
 * again ends where it ended before, unless that was less than a segment.
 * Returns the bytes, *count the mbufs; 0: no memory for the split. */
static uint32_t gather(struct stack *st, struct tcb *t, struct rte_mbuf *first, uint32_t limit, unsigned max_mbufs, bool again,
		       unsigned *count)
{
	struct rte_mbuf *m = first;
	uint32_t total = 0;
	unsigned n = 0;

	while (m && n < max_mbufs && total < limit) {
		uint32_t len = pkt_meta(m)->len;

		if (again && (m == t->sq_next || (pkt_tx(m)->flags & (PKT_TX_LOST | PKT_TX_REXMIT)) != PKT_TX_LOST ||
			      (total >= t->mss && pkt_tx(m)->flags & PKT_TX_HEAD)))
			break;
		if (total + len > limit) {
			/* half a frame of whole segments is better than a copy of much of a large buffer; not for what is to be of one size */
			if (len > COPY_TO_CUT_MAX && total && total >= limit / 2 && total % t->mss == 0 && !again && max_mbufs != UINT32_MAX)
				break;
			if (tcp_sendq_split(st, t, m, limit - total))
				break;
			len = limit - total;
		}
		total += len;
		n++;
		if (unlikely(pkt_tx(m)->push & PKT_PUSH_EOR))
			break;
		m = tcp_sendq_next(m);
	}
	*count = n;
	return total;
}

/* A frame that the device cuts counts as the segments that it becomes; one is counted. */
static void count_cut(struct stack *st, struct tcb *t, uint32_t total)
{
	uint32_t more = tcp_segs(total, t->mss) - 1;

	t->segs_out += more;
	t->data_segs_out += more;
	st->mib.tcp_out_seg += more;
}

/* An mbuf of the queue leaves once more. */
static void note_repeated(struct stack *st, struct tcb *t, struct rte_mbuf *m, bool head)
{
	struct pkt_tx *x = pkt_tx(m);

	tcp_rate_sent(st, t, m, (x->flags & ~(PKT_TX_APP_LIMITED | PKT_TX_HEAD)) | (head ? PKT_TX_HEAD : 0));
}

/* ... as a segment of total bytes at seq, which is in f. */
static void emit_repeated(struct stack *st, struct tcb *t, struct rte_mbuf *f, uint32_t seq, uint32_t total, bool push)
{
	uint8_t flags = TCP_ACK | (push || total > t->mss ? TCP_PSH : 0);
	uint32_t segs = tcp_segs(total, t->mss);

	if (seq + total == t->snd_end && t->fin_sent) {
		flags |= TCP_FIN;
		t->fin_lost = 0;
	}
	t->total_rexmit += segs;
	t->bytes_rexmit += total;
	st->mib.tcp_retran_seg += segs;
	t->last_snd_us = st->now_us;
	emit(st, t, f, seq, total, flags, segs > 1 ? EMIT_TSO : 0);
	tcp_pace_sent(st, t, total);
	if (segs > 1)
		count_cut(st, t, total);
}

/* What one frame may carry: a segment, or as many as the device cuts. */
static force_inline uint32_t frame_most(const struct stack *st, const struct tcb *t)
{
	uint32_t most = MIN(st->nd->tso_max_bytes, NETDEV_TSO_MAX);

	/* the device would copy one urgent pointer, one CWR into all segments */
	if (unlikely(t->marks & (TCP_MARK_URG | TCP_MARK_CWR)))
		return t->mss;
	if (unlikely(t->paced))
		most = MIN(most, t->pace_left);
	if (unlikely(t->min_rtt_us >> TCP_BURST_RTT_SHIFT))
		most = MIN(most, tcp_pace_frame(st, t));
	return MAX(most, t->mss);
}

/* RFC 6675 §5 (C): lost segments while the pipe has room; `force`: the first goes in any case. */
static void send_lost(struct stack *st, struct tcb *t, bool force)
{
	struct rte_mbuf *m;

	while ((m = tcp_scoreboard_next_rexmit(t))) {
		uint32_t pipe = tcp_pipe(t), seq = tcp_mbuf_seq(m), limit = t->mss, total;
		int32_t wnd = seq_diff(t->snd_una + t->snd_wnd, seq);
		struct rte_mbuf *f, *first = m;
		bool push = false;
		unsigned count;

		if (!force && pipe + MIN(t->mss, pkt_meta(m)->len) > t->cwnd) {
			t->cwnd_limited = TCP_LIMITED_CWND;
			return;
		}
		/* a window that shrank holds back all but the first, and cuts it while there is some of it */
		if (wnd <= 0 && seq != t->snd_una)
			return;
		if (!force && !tcp_pace_may_send(st, t))
			return;
		/* lost together, it goes again together, as far as the pipe has room (Linux) */
		if (!force && t->cwnd > pipe && t->cwnd - pipe >= 2 * t->mss)
			limit = MIN(t->cwnd - pipe, frame_most(st, t)) / t->mss * t->mss;
		if (wnd > 0)
			limit = MIN(limit, (uint32_t)wnd);
		force = false;
		total = gather(st, t, m, limit, limit > t->mss ? st->nd->tx_max_segs : UINT32_MAX, true, &count);
		if (!total)
			return;
		f = frame_of(st, m, count, total);
		if (!f)
			return;
		for (unsigned i = 0; i < count; i++) {
			push = push || pkt_tx(m)->push;
			note_repeated(st, t, m, i == 0);
			tcp_scoreboard_sent_again(t, m);
			m = tcp_sendq_next(m);
		}
		t->undo_rexmit = MAX(t->undo_rexmit, 0) + (int32_t)tcp_segs(total, t->mss);
		if (!t->rexmit_ts && (t->opts & TCP_OPT_TS)) {
			/* 0 stands for none; the instant before errs on the safe side */
			t->rexmit_ts = tcp_ts_now(st, t);
			t->rexmit_ts -= t->rexmit_ts == 0;
		}
		if (tcp_reduces(t->ca_state))
			t->prr_out += total;
		emit_repeated(st, t, f, seq, total, push);
		/* the timeout counts from when the first segment last left */
		if (first == t->sq_head && !t->reo_armed)
			tcp_rexmit_timer_restart(st, t, tcp_rto_backed_off(t));
		else
			retransmit_timer_if_idle(st, t);
	}
}

/* May a segment of len < mss bytes leave? RFC 9293 §3.8.6.2.1, Nagle in Minshall's form: one small segment in flight at a time. */
static bool partial_may_go(struct tcb *t, const struct sock_opts *o, uint32_t len, uint32_t avail, bool push)
{
	if (push)
		return true;
	if (len < avail) /* cut by the window: silly unless at least half of the largest window ever offered */
		return len >= tcp_max_snd_wnd(t) / 2;
	if (t->fin_queued)
		return true;
	if (o->cork || t->more)
		return false;
	if (o->nodelay || (t->marks & TCP_MARK_URG))
		return true;
	return !(tcp_in_flight(t) && seq_gt(t->snd_sml, t->snd_una));
}

/* MSG_EOR: does a record end before the last of what waits? It has nothing to wait for (Linux asks Nagle about the last alone). */
static bool record_waits(struct rte_mbuf *m)
{
	for (; m && tcp_sendq_next(m); m = tcp_sendq_next(m))
		if (pkt_tx(m)->push & PKT_PUSH_EOR)
			return true;
	return false;
}

/* probe: 0, or the payload of the one segment to be sent, larger than the MSS (pmtu.c). */
static force_inline void send_new_data(struct stack *st, struct tcb *t, bool push, const uint32_t probe)
{
	const struct sock_opts *o = &sock_of_tcb(t)->opt;
	const struct netdev *nd = st->nd;
	uint32_t from = t->snd_nxt;
	uint8_t was = t->cwnd_limited;

	t->cwnd_limited = TCP_LIMITED_NOT;
	while (t->sq_next) {
		struct rte_mbuf *first = t->sq_next, *m, *f;
		uint32_t avail = t->snd_end - t->snd_nxt, pipe = tcp_pipe(t);
		uint32_t room = t->cwnd > pipe ? t->cwnd - pipe : 0;
		int32_t wnd = seq_diff(t->snd_una + t->snd_wnd, t->snd_nxt);
		uint32_t limit, total, mss = probe ? probe : t->mss, seq = t->snd_nxt;
		unsigned count, max_mbufs = UINT32_MAX;
		uint8_t flags = TCP_ACK, pushed = 0;

		if (wnd <= 0) {
			t->cwnd_limited = TCP_LIMITED_RWND;
			break;
		}
		limit = MIN(avail, (uint32_t)wnd);
		if (room < MIN(limit, mss) && pipe) {
			t->cwnd_limited = TCP_LIMITED_CWND;
			break;
		}
		if (unlikely(!tcp_pace_may_send(st, t)))
			break;
		if (limit >= mss) {
			/* at least two frames in flight, so that ACKs keep coming (Linux) */
			limit = MIN(limit, MAX(MIN(room, t->cwnd / 2), mss));
			if (limit > mss)
				limit = probe ? mss : MIN(limit, frame_most(st, t));
			if (limit > mss) {
				uint32_t tail = limit % mss;

				/* a tail that Nagle or the window would hold back alone waits for the next frame */
				if (tail && !(limit == avail && partial_may_go(t, o, tail, tail, push)))
					limit -= tail;
				max_mbufs = nd->tx_max_segs;
			}
		} else if (!partial_may_go(t, o, limit, avail, push) && !(limit == avail && record_waits(first))) {
			if (limit < avail)
				t->cwnd_limited = TCP_LIMITED_RWND;
			break;
		}
		total = gather(st, t, first, limit, max_mbufs, false, &count);
		if (unlikely(!total))
			break;
		f = frame_of(st, first, count, total);
		if (unlikely(!f))
			break;
		if (!tcp_in_flight(t)) {
			tcp_rate_flight_begins(st, t);
			t->rtt_seq = seq; /* the next ACK of new data is a sample */
		}
		m = first;
		for (unsigned i = 0; i < count; i++) {
			pushed |= pkt_tx(m)->push;
			tcp_rate_sent(st, t, m, PKT_TX_SENT);
			m = tcp_sendq_next(m);
		}
		pkt_tx(first)->flags |= PKT_TX_HEAD;
		t->sq_next = m;
		t->snd_nxt += total;
		if ((total < mss || total % mss) && !(pushed & PKT_PUSH_SYN))
			t->snd_sml = t->snd_nxt;
		/* As Linux: PSH where a write ended, and on every frame of several segments, which receivers join only so far */
		if (pushed || total > mss)
			flags |= TCP_PSH;
		if (!m && t->fin_queued) {
			flags |= TCP_FIN;
			t->fin_sent = 1;
			t->snd_nxt++;
		}
		t->bytes_sent += total;
		/* data soon after data: request and response, ACKs will ride (Linux's ping-pong) */
		if (t->data_segs_in && tcp_now_ms(st) - t->last_data_ms < TCP_DELACK_US / 1000) {
			t->pingpong = 1;
			t->quick = 0;
		}
		t->last_snd_us = st->now_us;
		emit(st, t, f, seq, total, flags, EMIT_FRESH | (total > mss ? EMIT_TSO : 0));
		tcp_pace_sent(st, t, total);
		if (total > mss) {
			count_cut(st, t, total);
			tcp_large_buffers_note(st, t, total, avail);
		}
		if (probe)
			break;
	}
	if (!t->sq_next && unlikely(sock_waits_for_room(sock_of_tcb(t))) && !t->cwnd_limited)
		t->cwnd_limited = TCP_LIMITED_SNDBUF;
	if (unlikely(MAX(was, t->cwnd_limited) >= TCP_LIMITED_RWND))
		tcp_limited_changed(st, t, was, t->cwnd_limited);
	if (t->snd_nxt == from)
		return;
	if (unlikely(atomic_load_explicit(&sock_of_tcb(t)->tx_large, memory_order_relaxed)))
		tcp_large_buffers_align(t);
	if (unlikely(t->slow & TCP_SLOW_LOSS) && tcp_reduces(t->ca_state))
		t->prr_out += t->snd_nxt - from;
	if (t->deadline[TCP_AT_REXMIT] == TCP_NEVER || t->persist)
		tcp_rexmit_timer_restart(st, t, tcp_xmit_timer_us(t));
	else if (t->deadline[TCP_AT_REXMIT] != st->now_us + tcp_xmit_timer_us(t))
		/* no ACK that let this out has just restarted it */
		tcp_tlp_on_new_data(st, t);
}

static void send_new(struct stack *st, struct tcb *t, bool push)
{
	send_new_data(st, t, push, 0);
}

cold_path bool tcp_output_probe(struct stack *st, struct tcb *t, uint32_t bytes)
{
	uint32_t before = t->snd_nxt;

	send_new_data(st, t, false, bytes);
	return t->snd_nxt - before == bytes;
}

static void send_fin(struct stack *st, struct tcb *t)
{
	struct rte_mbuf *m = alloc(st);

	if (!m) {
		retransmit_timer_if_idle(st, t);
		return;
	}
	if (!t->fin_sent) {
		t->fin_sent = t->fin_alone = 1;
		t->snd_nxt = t->snd_end + 1;
	}
	t->fin_lost = 0;
	m->data_off = PKT_HEADROOM;
	t->last_snd_us = st->now_us;
	emit(st, t, m, t->snd_end, 0, TCP_FIN | TCP_ACK, 0);
	retransmit_timer_if_idle(st, t);
}

/* The first mbuf of the last segment that was sent, cut off if need be. NULL: no memory. A frame of several segments is of full ones but for the last. */
static struct rte_mbuf *last_segment(struct stack *st, struct tcb *t, unsigned *count, uint32_t *len)
{
	struct rte_mbuf *first = t->sq_head, *m;
	uint32_t cut;

	for (m = first; m && m != t->sq_next; m = tcp_sendq_next(m))
		if (pkt_tx(m)->flags & PKT_TX_HEAD)
			first = m;
	*len = (tcp_snd_data_nxt(t) - tcp_mbuf_seq(first) - 1) % t->mss + 1;
	cut = tcp_snd_data_nxt(t) - *len;
	while (seq_le(tcp_mbuf_end(first), cut))
		first = tcp_sendq_next(first);
	if (tcp_mbuf_seq(first) != cut) {
		if (tcp_sendq_split(st, t, first, cut - tcp_mbuf_seq(first)))
			return NULL;
		first = tcp_sendq_next(first);
	}
	*count = 0;
	for (m = first; m && m != t->sq_next; m = tcp_sendq_next(m))
		++*count;
	return first;
}

/* RFC 8985 §7.3: a new segment if there is one and the peer has room for it, whatever cwnd says; else the last one again. */
static cold_path void send_probe(struct stack *st, struct tcb *t)
{
	uint32_t nxt = t->snd_nxt;
	bool repeated = false;

	if (!tcp_in_flight(t) || !tcp_tlp_allowed(t))
		return;
	/* one attempt: should it fail, the timeout is next */
	t->tlp_out = TCP_TLP_NEW;
	t->tlp_end = nxt;
	tcp_slow_loss_update(t);
	if (t->sq_next && seq_diff(t->snd_una + t->snd_wnd, nxt) >= (int32_t)MIN(t->snd_end - nxt, t->mss)) {
		uint32_t cwnd = t->cwnd;

		t->cwnd = tcp_pipe(t) + t->mss;
		send_new(st, t, true);
		t->cwnd = cwnd;
		if (t->snd_nxt == nxt)
			return;
	} else if (t->fin_alone || !t->sq_head || t->sq_head == t->sq_next) {
		send_fin(st, t);
		repeated = true;
	} else {
		bool push = false;
		unsigned count;
		uint32_t len;
		struct rte_mbuf *m = last_segment(st, t, &count, &len), *f;
		uint32_t seq = m ? tcp_mbuf_seq(m) : 0;
		int32_t wnd = seq_diff(t->snd_una + t->snd_wnd, seq);

		/* a window that shrank holds it back, or cuts it */
		if (!m || (wnd <= 0 && seq != t->snd_una))
			return;
		if (wnd > 0 && (uint32_t)wnd < len)
			len = gather(st, t, m, (uint32_t)wnd, UINT32_MAX, false, &count);
		f = len ? frame_of(st, m, count, len) : NULL;
		if (!f)
			return;
		for (unsigned i = 0; i < count; i++, m = tcp_sendq_next(m)) {
			push = push || pkt_tx(m)->push;
			note_repeated(st, t, m, i == 0);
			pkt_tx(m)->flags |= PKT_TX_EVER_REXMIT;
		}
		emit_repeated(st, t, f, seq, len, push);
		repeated = true;
	}
	if (repeated)
		t->tlp_out = TCP_TLP_REPEAT;
	t->tlp_end = t->snd_nxt;
	st->mib.tcp_tlp_probe++;
	tcp_rexmit_timer_restart(st, t, tcp_rto_backed_off(t));
}

/* Data waits, nothing is in flight, so no ACK will ever call again: the persist timer must. It probes a window (RFC 9293 §3.8.6.1), ends a cork as on
 * Linux, where tcp(7) calls it 200 ms, or tries again when there was no mbuf. */
static void arm_for_held_data(struct stack *st, struct tcb *t)
{
	if (t->deadline[TCP_AT_REXMIT] != TCP_NEVER)
		return;
	t->persist = 1;
	tcp_deadline_set(st, t, TCP_AT_REXMIT, st->now_us + MAX(tcp_rto_backed_off(t), t->rto_min_us));
}

/* Idle longer than the RTO: the window says nothing about the path any more (RFC 5681 §4.1, RFC 7661; halved per RTO as Linux does). */
static cold_path void restart_after_idle(struct stack *st, struct tcb *t)
{
	uint64_t idle = st->now_us - t->last_snd_us;
	uint32_t restart = MIN(tcp_initial_cwnd(st, t), t->cwnd);

	if (t->cc->on_tx_start)
		t->cc->on_tx_start(st, t, idle);
	if (t->cc->owns_cwnd || idle <= t->rto_us || !st->tcp->conf.slow_start_after_idle)
		return;
	t->ssthresh = MAX(t->ssthresh, (t->cwnd >> 1) + (t->cwnd >> 2));
	while (idle > t->rto_us && t->cwnd > restart) {
		t->cwnd = MAX(t->cwnd >> 1, restart);
		idle -= t->rto_us;
	}
}

/* true: new data stays back for now. */
static cold_path bool output_slow(struct stack *st, struct tcb *t, uint8_t flags)
{
	if (t->hold == TCP_HOLD_TRY_NEW) {
		/* RFC 5682 §2.1 step 2.b; without new data recovery goes on as usual */
		send_new(st, t, true);
		if (!seq_gt(t->snd_nxt, t->recover))
			t->hold = t->frto = 0;
	}
	if (t->lost_out > t->rexmit_out && !t->hold)
		send_lost(st, t, flags & TCP_OUT_REXMIT);
	if (flags & TCP_OUT_TLP)
		send_probe(st, t);
	if (flags & TCP_OUT_PROBE) {
		/* below the window: any peer answers with an ACK (RFC 1122 §4.2.3.6, Linux's form of the window probe as well) */
		send_pure(st, t, t->snd_una - 1, TCP_ACK);
		t->out_flags &= (uint8_t)~TCP_OUT_ACK_NOW;
	}
	if (t->fin_lost && t->lost_out <= t->rexmit_out && !tcp_fin_acked(t))
		send_fin(st, t);
	return (t->slow & TCP_SLOW_MTU) && t->sq_next && tcp_mtu_probe(st, t);
}

void tcp_output(struct stack *st, struct tcb *t)
{
	uint8_t flags = t->out_flags;
	bool held = false;

	if (unlikely(t->state < TCPS_ESTABLISHED)) {
		t->out_flags = 0;
		if ((t->state == TCPS_SYN_SENT || t->state == TCPS_SYN_RECEIVED) && (flags & TCP_OUT_SYN))
			send_syn(st, t);
		else if (t->state == TCPS_SYN_RECEIVED && (flags & TCP_OUT_ACK_NOW))
			send_pure(st, t, t->snd_nxt, TCP_ACK);
		return;
	}
	t->out_flags = flags & TCP_OUT_ACK_NOW;
	if (unlikely((t->slow & (TCP_SLOW_LOSS | TCP_SLOW_MTU)) || (flags & (TCP_OUT_PROBE | TCP_OUT_REXMIT | TCP_OUT_TLP))))
		held = output_slow(st, t, flags);
	if (t->sq_next && likely(!held)) {
		if (unlikely(!tcp_in_flight(t) && (st->now_us - t->last_snd_us > t->pto_us || t->cc->on_rate)) &&
		    seq_gt(t->snd_una + t->snd_wnd, t->snd_nxt))
			restart_after_idle(st, t);
		/* lost data goes first */
		if (likely(t->lost_out <= t->rexmit_out) || t->hold)
			send_new(st, t, flags & TCP_OUT_PUSH);
		/* what has left makes room for those who limit what waits */
		if (unlikely(sock_of_tcb(t)->opt.notsent_lowat))
			sock_up_acked(st, sock_of_tcb(t), 0);
		if (unlikely(t->sq_next && !tcp_in_flight(t) && !t->pace_wait))
			arm_for_held_data(st, t);
	}
	if (unlikely(t->fin_queued && !t->fin_sent && !t->sq_next))
		send_fin(st, t);
	if (t->out_flags & TCP_OUT_ACK_NOW) {
		uint32_t seq = t->snd_nxt, edge = t->snd_una + t->snd_wnd;

		/* the peer takes nothing beyond its window, should that have shrunk below what was sent */
		send_pure(st, t, unlikely(seq_gt(seq, edge)) ? edge : seq, TCP_ACK);
	}
	t->out_flags = 0;
}

void tcp_output_all(struct stack *st)
{
	struct list round;

	/* what output itself marks is for the next round: a round ends */
	if (list_empty(&st->tcp_out))
		return;
	list_init(&round);
	list_insert_between(&round, st->tcp_out.prev, &st->tcp_out);
	list_del(&st->tcp_out);
	while (!list_empty(&round)) {
		struct list *n = list_pop_front(&round);

		tcp_output(st, container_of(n, struct tcb, out_node));
	}
}

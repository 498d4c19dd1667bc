/* slow.c - RFC 9293 §3.10.7.3 and §3.10.7.4 in their order, for every segment that prediction did not take. Called by input.c and, for the ACK that
 * ends a handshake, by listen.c; calls ack, reass, timewait, conn, sock. PAWS as RFC 7323 §5, blind attacks as RFC 5961. Owner of the stack.
 */
#include "tcp/tcp_int.h"

bool tcp_challenge_allowed(struct stack *st)
{
	struct tcp_state *ts = st->tcp;

	/* RFC 5961 §7: a bound for the whole stack; a new second begins at a time that an outsider does not see */
	if (st->now_us - ts->challenge_from_us >= (uint64_t)US_PER_S) {
		ts->challenge_from_us = st->now_us;
		/* half of it for certain, the rest by chance: whoever counts what is left learns nothing of others' (CVE-2016-5696) */
		ts->challenge_left = TCP_CHALLENGE_PER_S / 2 +
				     (uint32_t)(tcp_mix(st->now_us ^ st->secret[0], st->secret[1] | 1) % TCP_CHALLENGE_PER_S);
	}
	if (!ts->challenge_left)
		return false;
	ts->challenge_left--;
	return true;
}

void tcp_challenge_ack(struct stack *st, struct tcb *t)
{
	/* per connection first: one that is attacked shall not use up the others' share (CVE-2016-5696) */
	if (t->oow_ack_us && st->now_us - t->oow_ack_us < TCP_OOW_ACK_US)
		return;
	if (!tcp_challenge_allowed(st))
		return;
	t->oow_ack_us = st->now_us;
	st->mib.tcp_challenge_ack++;
	tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
}

/* An ACK for a segment outside the window: at once for data, since a sender waits for it; limited for the rest, lest two
 * confused ends answer each other for ever. */
static void ack_unacceptable(struct stack *st, struct tcb *t, const struct tcp_seg *g)
{
	if (g->len || (g->flags & TCP_FIN)) {
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
		return;
	}
	/* keep-alive probes come without data: one answer per interval is plenty, the first is never withheld */
	if (t->oow_ack_us && st->now_us - t->oow_ack_us < TCP_OOW_ACK_US)
		return;
	t->oow_ack_us = st->now_us;
	tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
}

static void drop_seg(struct stack *st, struct tcp_seg *g, enum drop_reason why)
{
	if (g->m)
		drop(st, g->m, why);
	g->m = NULL;
}

/* --- SYN_SENT --- */

static void syn_sent_input(struct stack *st, struct tcb *t, struct tcp_seg *g)
{
	struct sock *s = sock_of_tcb(t);

	if (unlikely(t->fo_waits)) {
		/* nothing was sent yet that this could answer */
		drop_seg(st, g, DROP_TCP_ACK_INVALID);
		return;
	}
	/* first, the ACK, of the SYN or also of data in it (RFC 7413 §4.2.1) */
	if ((g->flags & TCP_ACK) && g->ack - t->snd_nxt > t->fo_bytes) {
		tcp_reply_rst(st, g);
		drop_seg(st, g, DROP_TCP_ACK_INVALID);
		return;
	}
	/* second, RST: only one that acknowledges our SYN */
	if (g->flags & TCP_RST) {
		if (g->flags & TCP_ACK) {
			st->mib.tcp_attempt_fail++;
			st->mib.tcp_refused_cnt++;
			tcp_conn_gone(st, t, ECONNREFUSED);
			rte_pktmbuf_free(g->m);
			g->m = NULL;
			return;
		}
		drop_seg(st, g, DROP_TCP_RST_INVALID);
		return;
	}
	/* fourth, SYN */
	if (!(g->flags & TCP_SYN)) {
		drop_seg(st, g, DROP_TCP_BAD_FLAGS);
		return;
	}
	t->irs = g->seq;
	t->rcv_nxt = t->last_ack_sent = g->seq + 1;
	t->rcv_adv = t->rcv_nxt + tcp_initial_window(s, t->mss_offered);
	t->opts &= g->o.has | TCP_OPT_ECN;
	tcp_ecn_answered(t, g);
	if (!(t->opts & TCP_OPT_WS))
		t->rcv_wscale = 0;
	t->snd_wscale = t->opts & TCP_OPT_WS ? g->o.wscale : 0;
	t->mss_peer = g->o.mss ? MAX(g->o.mss, TCP_MSS_FLOOR) : TCP_MSS_DEFAULT;
	if (t->opts & TCP_OPT_TS) {
		t->ts_recent = g->o.tsval;
		t->ts_recent_us = st->now_us;
	}
	tcp_snd_wnd_first(t, g->wnd); /* not scaled on a SYN */
	t->snd_wl1 = g->seq;
	if (g->flags & TCP_ACK) {
		uint32_t early = unlikely(t->fo_syn) ? tcp_fastopen_answered(st, t, g) : 0;

		t->snd_una = g->ack;
		if (!t->syn_retrans)
			tcp_rtt_sample(st, t, MAX(st->now_us - t->last_snd_us, 1u));
		else if ((t->opts & TCP_OPT_TS) && g->o.tsecr)
			tcp_rtt_sample(st, t, MAX((uint64_t)(tcp_ts_now(st, t) - g->o.tsecr) * 1000, 1000u));
		t->segs_in++;
		tcp_established(st, t);
		sock_up_connected(st, s);
		if (unlikely(early))
			sock_up_acked(st, s, early);
		/* data may wait already; if not, the ACK goes alone, unless a writer waits (Linux) */
		if (unlikely(t->fo_more)) /* so it began with a request */
			t->pingpong = 1;
		if (unlikely(t->fo_more) && !t->sq_next)
			tcp_deadline_set(st, t, TCP_AT_DELACK, st->now_us + st->tcp->conf.delack_us);
		else
			tcp_mark_output(st, t, TCP_OUT_ACK_NOW | TCP_OUT_DATA);
		if (g->len || (g->flags & TCP_FIN)) {
			/* RFC 9293: the rest of the segment is processed from the sixth step */
			g->seq++;
			g->flags &= (uint8_t)~TCP_SYN;
			tcp_slow_input(st, t, g);
			return;
		}
	} else {
		/* simultaneous open: data in our SYN comes again */
		t->fo_bytes = 0;
		tcp_set_state(t, TCPS_SYN_RECEIVED);
		t->syn_retrans = 0;
		t->backoff = 0;
		t->rexmits = 0;
		tcp_mark_output(st, t, TCP_OUT_SYN);
	}
	/* text on a bare SYN comes again */
	if (g->m)
		rte_pktmbuf_free(g->m);
}

/* --- synchronised states --- */

/* RFC 7323 §5.2, §5.3 R1. true: drop. */
static bool paws_rejects(struct stack *st, struct tcb *t, const struct tcp_seg *g)
{
	/* DEVIATION(RFC 7323 §3.2): a segment without the option that was agreed is taken, as by Linux: there are middleboxes and peers that leave it out */
	if (!(t->opts & g->o.has & TCP_OPT_TS) || (g->flags & TCP_RST))
		return false;
	if (!seq_lt(g->o.tsval, t->ts_recent) || st->now_us - t->ts_recent_us > TCP_PAWS_IDLE_US)
		return false;
	st->mib.tcp_paws_reject++;
	ack_unacceptable(st, t, g);
	return true;
}

/* Some part of the segment lies between what was last acknowledged and the right edge of the window. The left edge is last_ack_sent and not
 * rcv_nxt, so that an ACK overtaken by data is still used (as Linux); text is trimmed exactly afterwards. */
static bool acceptable(const struct tcb *t, const struct tcp_seg *g)
{
	return seq_ge(tcp_seg_end(g), t->last_ack_sent) && seq_le(g->seq, seq_max(t->rcv_adv, t->rcv_nxt));
}

/* A peer that has sent more than arrived resets at its SND.NXT, which is where the highest SACK block ends (Linux). */
static bool at_sacked_edge(const struct tcb *t, uint32_t seq)
{
	uint32_t edge = t->rcv_nxt;

	for (unsigned i = 0; i < t->rcv_sack_n; i++)
		edge = seq_max(edge, t->rcv_sack[i].end);
	return seq == edge;
}

/* The number of the FIN that was taken: some reset so behind it, macOS for one (Linux believes it as well). */
static bool is_number_of_fin(const struct tcb *t, uint32_t seq)
{
	return seq == t->rcv_nxt - 1 && (t->state == TCPS_CLOSE_WAIT || t->state == TCPS_LAST_ACK || t->state == TCPS_CLOSING);
}

/* RFC 5961 §3.2. true: the segment is done with. */
static bool rst_input(struct stack *st, struct tcb *t, struct tcp_seg *g)
{
	int err;

	if (g->seq != t->rcv_nxt && !at_sacked_edge(t, g->seq) && !is_number_of_fin(t, g->seq)) {
		if (seq_in(g->seq, t->rcv_nxt, seq_max(t->rcv_adv, t->rcv_nxt + 1)))
			tcp_challenge_ack(st, t);
		drop_seg(st, g, DROP_TCP_RST_INVALID);
		return true;
	}
	err = t->state == TCPS_SYN_RECEIVED ? ECONNREFUSED : t->state == TCPS_CLOSE_WAIT ? EPIPE : ECONNRESET;
	if (t->state == TCPS_ESTABLISHED || t->state == TCPS_CLOSE_WAIT)
		st->mib.tcp_estab_rst++;
	else
		st->mib.tcp_attempt_fail += t->state == TCPS_SYN_RECEIVED;
	tcp_conn_gone(st, t, err);
	rte_pktmbuf_free(g->m);
	g->m = NULL;
	return true;
}

/* RFC 9293 §3.8.5; RFC 6093: the pointer is one past the urgent byte. */
static void urg_input(struct stack *st, struct tcb *t, const struct tcp_seg *g)
{
	uint32_t up = g->seq + g->urg - 1;

	if (!g->urg || seq_lt(up, t->rcv_nxt) || (t->urg_in && seq_le(up, t->rcv_up)))
		return;
	t->rcv_up = up;
	t->urg_in = 1;
	t->slow |= TCP_SLOW_URG;
	sock_up_urgent(st, sock_of_tcb(t));
}

/* Cuts the segment to what is new and inside the window. One that begins inside while nothing waits to be read is taken whole, as by Linux: a peer that sends
 * segments larger than the window would not get on otherwise, and it is one segment. */
static void trim(struct stack *st, struct tcb *t, struct tcp_seg *g)
{
	uint32_t right = seq_max(t->rcv_adv, t->rcv_nxt);

	if (seq_lt(g->seq, t->rcv_nxt)) {
		uint32_t old = t->rcv_nxt - g->seq, end = tcp_seg_end(g);

		/* RFC 2883: the first block of the next ACK says what came twice, a FIN too. A FIN that is new ends that (Linux): nothing more will come. */
		if (end != g->seq && !((g->flags & TCP_FIN) && seq_gt(end, t->rcv_nxt))) {
			t->dsack.start = g->seq;
			t->dsack.end = seq_min(end, t->rcv_nxt);
			t->dsack_pending = 1;
			tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
		}
		if (old > g->len) {
			/* a FIN before rcv_nxt was taken before */
			if (g->flags & TCP_FIN)
				tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
			g->flags &= (uint8_t)~TCP_FIN;
			old = g->len;
		}
		mbuf_skip(g->m, old);
		g->seq = t->rcv_nxt;
		g->len -= old;
	}
	/* Nothing is left to keep it in, and it will be sent again. What a reader waits for gets through, else nothing would ever be freed. */
	if (unlikely(st->mem_level == MEM_CRITICAL) && g->len && (g->seq != t->rcv_nxt || sock_rx_bytes(sock_of_tcb(t)))) {
		st->drops[DROP_TCP_NO_MEMORY]++;
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
		g->len = 0;
		g->flags &= (uint8_t)~TCP_FIN;
		return;
	}
	if (seq_gt(g->seq + g->len, right) && (seq_ge(g->seq, right) || sock_rx_bytes(sock_of_tcb(t)))) {
		uint32_t fits = seq_gt(right, g->seq) ? right - g->seq : 0;

		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
		if (fits && fits < g->len)
			mbuf_cut(g->m, fits);
		g->len = fits;
		g->flags &= (uint8_t)~TCP_FIN;
	}
}

/* Our FIN and all before it have arrived at the peer. */
static void fin_acked(struct stack *st, struct tcb *t)
{
	st->mib.tcp_fin_ack_cnt++;
	if (t->state == TCPS_FIN_WAIT_1) {
		tcp_set_state(t, TCPS_FIN_WAIT_2);
		tcp_fin_wait_2_entered(st, t);
	}
}

/* The FIN is in order. true: t is gone. */
static bool fin_input(struct stack *st, struct tcb *t)
{
	t->rcv_nxt++;
	tcp_rcv_sack_trim(t);
	sock_up_eof(st, sock_of_tcb(t));
	switch (t->state) {
	case TCPS_SYN_RECEIVED:
	case TCPS_ESTABLISHED:
		tcp_set_state(t, TCPS_CLOSE_WAIT);
		tcp_fin_arrived(st, t);
		return false;
	case TCPS_FIN_WAIT_1:
		/* our FIN is not acknowledged yet, else the state were FIN_WAIT_2 */
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
		tcp_set_state(t, TCPS_CLOSING);
		return false;
	case TCPS_FIN_WAIT_2:
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
		tcp_tw_enter(st, t);
		return true;
	default:
		return false;
	}
}

/* Seventh and eighth: text and FIN. true: t is gone. Takes g->m. */
static bool text_input(struct stack *st, struct tcb *t, struct tcp_seg *g)
{
	if (g->len) {
		uint32_t len = g->len;
		struct rte_mbuf *m = g->m;

		g->m = NULL;
		if (g->seq == t->rcv_nxt) {
			/* a hole is filled, wholly or in part: the sender is waiting to hear of it (RFC 5681 §4.2) */
			if (t->ooo_head)
				tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
			t->rcv_nxt += len;
			sock_up_data(st, sock_of_tcb(t), m);
			if (t->ooo_head)
				tcp_reass_drain(st, t);
			if (t->urg_in && seq_gt(t->rcv_nxt, t->rcv_up)) {
				t->urg_in = 0;
				t->slow &= ~TCP_SLOW_URG;
			}
			tcp_data_arrived(st, t, len);
		} else {
			tcp_reass_insert(st, t, m, g->seq, len);
			tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
		}
	}
	if (unlikely(t->rcv_fin && t->rcv_fin_seq == t->rcv_nxt)) {
		t->rcv_fin = 0;
		if (!t->ooo_head)
			t->slow &= ~TCP_SLOW_OOO;
		return fin_input(st, t);
	}
	return false;
}

/* Data for an application that has gone: it will never be read (RFC 1122 §4.2.2.13, RFC 2525 §2.17). */
static bool data_after_close(struct stack *st, struct tcb *t, struct tcp_seg *g)
{
	if (!t->app_closed || g->len == 0)
		return false;
	st->mib.tcp_abort_on_data++;
	tcp_reply_rst(st, g);
	tcp_conn_gone(st, t, 0);
	drop_seg(st, g, DROP_TCP_AFTER_CLOSE);
	return true;
}

/* It is taken when all before it is here. */
static void note_fin(struct stack *st, struct tcb *t, const struct tcp_seg *g)
{
	uint32_t seq = g->seq + g->len;

	if (!t->rcv_fin) {
		t->rcv_fin = 1;
		t->rcv_fin_seq = seq;
		t->slow |= TCP_SLOW_OOO;
	} else if (!g->len && seq == t->rcv_fin_seq) {
		t->dsack.start = seq;
		t->dsack.end = seq + 1;
		t->dsack_pending = 1;
	}
	if (g->seq == t->rcv_nxt)
		return;
	if (!g->len)
		tcp_reass_fin(t);
	tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
}

static bool receives_text(const struct tcb *t)
{
	return t->state == TCPS_ESTABLISHED || t->state == TCPS_FIN_WAIT_1 || t->state == TCPS_FIN_WAIT_2;
}

void tcp_slow_input(struct stack *st, struct tcb *t, struct tcp_seg *g)
{
	if (unlikely(t->state == TCPS_SYN_SENT)) {
		syn_sent_input(st, t, g);
		return;
	}
	t->segs_in++;
	t->data_segs_in += g->len != 0;
	if (g->len && (g->m->ol_flags & RTE_MBUF_F_RX_LRO))
		tcp_count_joined(st, t, g->m, g->len);
	/* a simultaneous open's SYN-ACK: the SYN is known, what follows counts (RFC 9293: segments are trimmed to what is new) */
	if (t->state == TCPS_SYN_RECEIVED && (g->flags & TCP_SYN) && g->seq == t->irs) {
		g->flags &= (uint8_t)~TCP_SYN;
		g->seq++;
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
	}
	if (unlikely(t->slow & TCP_SLOW_TFO) && (g->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && g->seq == t->irs) {
		tcp_fastopen_syn_again(st, t);
		drop_seg(st, g, DROP_TCP_OLD_DUP);
		return;
	}
	/* first, the sequence number */
	if (unlikely(paws_rejects(st, t, g))) {
		drop_seg(st, g, DROP_TCP_PAWS);
		return;
	}
	if (unlikely(!acceptable(t, g))) {
		if (g->flags & TCP_RST) {
			if (is_number_of_fin(t, g->seq))
				rst_input(st, t, g);
			else
				drop_seg(st, g, DROP_TCP_RST_INVALID);
			return;
		}
		/* a SYN here is challenged like any (RFC 5961 §4.2) */
		if (g->flags & TCP_SYN) {
			tcp_challenge_ack(st, t);
			drop_seg(st, g, DROP_TCP_SYN_INVALID);
			return;
		}
		if (g->len && seq_lt(g->seq, t->rcv_nxt)) {
			t->dsack.start = g->seq;
			t->dsack.end = seq_min(g->seq + g->len, t->rcv_nxt);
			t->dsack_pending = 1;
		}
		ack_unacceptable(st, t, g);
		drop_seg(st, g, seq_lt(g->seq, t->rcv_nxt) ? DROP_TCP_OLD_DUP : DROP_TCP_OUT_OF_WINDOW);
		return;
	}
	/* second, RST */
	if (unlikely(g->flags & TCP_RST)) {
		rst_input(st, t, g);
		return;
	}
	/* fourth, SYN: RFC 5961 §4.2, whatever its sequence number */
	if (unlikely(g->flags & TCP_SYN)) {
		tcp_challenge_ack(st, t);
		drop_seg(st, g, DROP_TCP_SYN_INVALID);
		return;
	}
	/* fifth, ACK */
	if (unlikely(!(g->flags & TCP_ACK))) {
		drop_seg(st, g, DROP_TCP_NO_ACK);
		return;
	}
	t->last_rcv_ms = tcp_now_ms(st);
	/* RFC 7323 §4.3 (2) */
	if ((t->opts & g->o.has & TCP_OPT_TS) && seq_ge(g->o.tsval, t->ts_recent) && seq_le(g->seq, t->last_ack_sent)) {
		t->ts_recent = g->o.tsval;
		t->ts_recent_us = st->now_us;
	}
	if (t->state == TCPS_SYN_RECEIVED) {
		if (g->ack != t->iss + 1) {
			st->mib.tcp_rst_wrong_ack_in_syn_rcvd++;
			tcp_reply_rst(st, g);
			drop_seg(st, g, DROP_TCP_ACK_INVALID);
			return;
		}
		t->snd_una = g->ack;
		tcp_snd_wnd_first(t, (uint32_t)g->wnd << t->snd_wscale);
		t->snd_wl1 = g->seq;
		tcp_established(st, t);
		sock_up_connected(st, sock_of_tcb(t));
		tcp_mark_output(st, t, TCP_OUT_DATA);
	} else if (unlikely(!tcp_ack_input(st, t, g))) {
		drop_seg(st, g, DROP_TCP_ACK_INVALID);
		return;
	}
	if (unlikely(t->slow & TCP_SLOW_TFO))
		tcp_fastopen_acked(st, t);
	if (unlikely(tcp_fin_acked(t))) {
		if (t->state == TCPS_LAST_ACK) {
			tcp_conn_gone(st, t, 0);
			rte_pktmbuf_free(g->m);
			return;
		}
		if (t->state == TCPS_CLOSING) {
			tcp_tw_enter(st, t);
			rte_pktmbuf_free(g->m);
			return;
		}
		if (t->state == TCPS_FIN_WAIT_1)
			fin_acked(st, t);
	}
	if (unlikely(t->marks & TCP_MARK_ECN))
		tcp_ecn_segment(st, t, g);
	/* sixth, URG */
	if (unlikely(g->flags & TCP_URG) && receives_text(t))
		urg_input(st, t, g);
	/* seventh, text; eighth, FIN */
	if (g->len || (g->flags & TCP_FIN)) {
		uint32_t len = g->len;
		bool old = seq_lt(g->seq, t->rcv_nxt);

		trim(st, t, g);
		if (unlikely(len && !g->len))
			st->drops[old ? DROP_TCP_OLD_DUP : DROP_TCP_RCVBUF]++;
		else if (unlikely(len && !receives_text(t)))
			st->drops[DROP_TCP_AFTER_FIN]++;
		if (receives_text(t)) {
			if (unlikely(data_after_close(st, t, g)))
				return;
			if (g->flags & TCP_FIN)
				note_fin(st, t, g);
			if (text_input(st, t, g)) {
				if (g->m)
					rte_pktmbuf_free(g->m);
				return;
			}
		}
	} else {
		st->mib.tcp_in_empty_acks++;
	}
	if (g->m)
		rte_pktmbuf_free(g->m);
}

/* ecn.c - explicit congestion notification (RFC 3168), and the receiver's half of DCTCP (RFC 8257 §3.2). Called by listen.c and slow.c (handshake, segments
 * off the predicted path), ack.c (echoes), output.c (what leaves), recovery.c (the window fell). Owner of the stack.
 *
 * Agreed in the handshake: SYN with ECE and CWR, SYN-ACK with ECE alone. Then new data is sent as ECT(0), and nothing else is: no
 * retransmission (§6.1.5), no probe (§6.1.6), no bare ACK (§6.1.4), unless the algorithm needs it (DCTCP's ACKs and retransmissions are ECT, as Linux's).
 *
 * Receiving, a mark on data makes every ACK carry ECE until CWR comes. For DCTCP, ECE says whether the data that is acknowledged was marked, so a
 * delayed ACK may not span a change: what was waiting is acknowledged first, by a ready packet.
 * Sending, an ECE makes the window fall once per round trip (recovery.c), and the next new segment carries CWR, alone in its
 * frame: a device that cuts segments would copy the flag to each.
 *
 * Prediction takes no segment with CE, ECE or CWR, and none at all while TCP_SLOW_ECN is set: then the first segments are looked at for ECT, and DCTCP's
 * unmarked ones after marked ones. A connection without ECN pays nothing.
 *
 * DEVIATION(RFC 8511): the window falls by ECE as far as by a loss, as Linux's does; the RFC is experimental.
 */
#include "tcp/tcp_int.h"

#define ECN_CE 3u
#define ECN_ECT0 2u
#define ECN_BITS 3u
#define ECN_SETUP (TCP_ECE | TCP_CWR)
#define QUICK_AFTER_CE 2u
#define LOOK_SEGS 8u /* bare ACKs after which nobody looks for ECT any more */

static bool cc_needs(const struct stack *st, const char *name)
{
	const struct tcp_cc_ops *cc = name[0] ? tcp_cc_find(name) : st->tcp->conf.cc;

	return cc && cc->needs_ecn;
}

bool tcp_ecn_wanted(const struct stack *st, const struct tcb *t)
{
	return st->tcp->conf.ecn == 1 || t->cc->needs_ecn;
}

bool tcp_ecn_accepts(const struct stack *st, const struct sock *l, const struct tcp_seg *g)
{
	if ((g->flags & ECN_SETUP) != ECN_SETUP)
		return false;
	/* RFC 3168 §6.1.1: a SYN is not ECT; one that is comes from a peer or over a path that does not know what it does */
	return (st->tcp->conf.ecn && !(g->tos & ECN_BITS)) || cc_needs(st, l->opt.congestion);
}

void tcp_ecn_answered(struct tcb *t, const struct tcp_seg *g)
{
	uint8_t want = g->flags & TCP_ACK ? TCP_ECE : ECN_SETUP;

	if ((g->flags & ECN_SETUP) != want)
		t->opts &= (uint8_t)~TCP_OPT_ECN;
}

void tcp_ecn_established(struct tcb *t)
{
	t->marks |= TCP_MARK_ECN;
	t->slow |= TCP_SLOW_ECN;
}

/* What is owed is acknowledged before the state changes (RFC 8257 §3.2). */
static void ack_before_change(struct stack *st, struct tcb *t)
{
	struct tcp_reply r = {
		.laddr = &t->laddr,
		.raddr = &t->raddr,
		.lport_be = t->lport_be,
		.rport_be = t->rport_be,
		.seq = t->snd_nxt,
		.ack = t->rcv_nxt,
		.wnd = (uint16_t)MIN(tcp_rcv_wnd(t) >> t->rcv_wscale, 0xffffu),
		.flags = (uint8_t)(TCP_ACK | (t->marks & TCP_MARK_ECE ? TCP_ECE : 0)),
		.tos = sock_of_tcb(t)->opt.tos,
	};

	if (t->last_ack_sent == t->rcv_nxt)
		return;
	if (t->opts & TCP_OPT_TS) {
		r.opt_len = TCP_TS_BYTES;
		tcp_opts_write_ts(r.opt, tcp_ts_now(st, t), t->ts_recent);
	}
	t->last_ack_sent = t->rcv_nxt;
	tcp_reply(st, &r);
}

void tcp_ecn_segment(struct stack *st, struct tcb *t, const struct tcp_seg *g)
{
	bool ce = (g->tos & ECN_BITS) == ECN_CE;

	if (!g->len) {
		/* marks on segments without data mean nothing: RFC 3168 §6.1.4 */
		if (t->segs_in >= LOOK_SEGS && !(t->marks & TCP_MARK_CE))
			t->slow &= ~TCP_SLOW_ECN;
		return;
	}
	if (g->flags & TCP_CWR) {
		t->marks &= (uint8_t)~TCP_MARK_ECE;
		/* its window may be a single segment: it waits for this ACK (Linux) */
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
	}
	if (g->tos & ECN_BITS)
		t->marks |= TCP_MARK_SEEN;
	if (!t->cc->needs_ecn) {
		t->slow &= ~TCP_SLOW_ECN;
		if (!ce)
			return;
		if (!(t->marks & TCP_MARK_ECE)) {
			t->quick = MAX(t->quick, QUICK_AFTER_CE);
			t->pingpong = 0;
		}
		t->marks |= TCP_MARK_ECE;
		return;
	}
	if (ce != !!(t->marks & TCP_MARK_CE)) {
		ack_before_change(st, t);
		t->marks ^= TCP_MARK_CE;
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
	}
	if (ce) {
		t->marks |= TCP_MARK_ECE;
		t->slow |= TCP_SLOW_ECN;
	} else {
		t->marks &= (uint8_t)~TCP_MARK_ECE;
		t->slow &= ~TCP_SLOW_ECN;
	}
}

uint32_t tcp_ecn_mark(struct tcb *t, uint32_t len, bool fresh)
{
	uint32_t flags = t->marks & TCP_MARK_ECE ? TCP_ECE : 0;

	if (!fresh || !len)
		return flags | (t->cc->needs_ecn ? ECN_ECT0 << 8 : 0);
	if (t->marks & TCP_MARK_CWR) {
		t->marks &= (uint8_t)~TCP_MARK_CWR;
		flags |= TCP_CWR;
	}
	return flags | ECN_ECT0 << 8;
}

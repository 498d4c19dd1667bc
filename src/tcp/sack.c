/* sack.c - the sender's scoreboard (RFC 2018 §5, RFC 6675 §4). Called by ack.c, recovery.c, output.c; owner of the stack.
 *
 * Marks live in pkt_tx(m)->flags of the queued mbufs, so the scoreboard is bounded by the send buffer. Counters in the TCB are kept in step:
 *   sacked_out  bytes SACKed, lost_out  bytes marked lost, rexmit_out  bytes retransmitted and not yet acknowledged;
 *   an mbuf is never SACKED and LOST at once; REXMIT only together with LOST.
 * Hints make the work of an ACK proportional to what is new in it, not to the window:
 *   sack_hint   where the last walk ended,
 *   lost_hint   everything before it has been judged by tcp_sack_mark_lost(); lost_below SACKed bytes lie before it,
 *   rexmit_hint nothing before it waits for retransmission; NULL: nothing does.
 * Without losses all hints are NULL, so that the common ACK need not look at them.
 */
#include "tcp/rate.h"
#include "tcp/tcp_int.h"

void tcp_scoreboard_reset_hints(struct tcb *t)
{
	t->sack_hint = NULL;
	t->lost_hint = NULL;
	t->lost_seq = t->snd_una;
	t->lost_below = 0;
	t->rexmit_hint = NULL;
	t->sack_cuts = 0;
	memset(t->sack_seen, 0, sizeof(t->sack_seen));
}

/* m leaves the head of the queue, acknowledged. */
void tcp_scoreboard_forget(struct tcb *t, struct rte_mbuf *m)
{
	uint32_t len = pkt_meta(m)->len;
	uint8_t f = pkt_tx(m)->flags;

	if (f & PKT_TX_SACKED) {
		t->sacked_out -= len;
		if (seq_lt(tcp_mbuf_seq(m), t->lost_seq))
			t->lost_below -= len;
	}
	if (f & PKT_TX_LOST)
		t->lost_out -= len;
	if (f & PKT_TX_REXMIT)
		t->rexmit_out -= len;
	if (t->sack_hint == m)
		t->sack_hint = NULL;
	if (t->rexmit_hint == m)
		t->rexmit_hint = tcp_sendq_next(m);
	if (t->lost_hint == m) {
		t->lost_hint = tcp_sendq_next(m);
		t->lost_seq = tcp_mbuf_end(m);
	}
}

/* The first bytes of m, the head of the queue, are acknowledged. */
void tcp_scoreboard_trim(struct tcb *t, struct rte_mbuf *m, uint32_t bytes)
{
	uint8_t f = pkt_tx(m)->flags;

	if (f & PKT_TX_SACKED) {
		t->sacked_out -= bytes;
		if (seq_lt(tcp_mbuf_seq(m), t->lost_seq))
			t->lost_below -= bytes;
	}
	if (f & PKT_TX_LOST)
		t->lost_out -= bytes;
	if (f & PKT_TX_REXMIT)
		t->rexmit_out -= bytes;
	if (t->lost_hint == m)
		t->lost_seq = tcp_mbuf_seq(m) + bytes;
}

void tcp_scoreboard_mark_lost(struct tcb *t, struct rte_mbuf *m)
{
	struct pkt_tx *x = pkt_tx(m);

	if (x->flags & (PKT_TX_SACKED | PKT_TX_LOST))
		return;
	x->flags |= PKT_TX_LOST;
	t->lost_out += pkt_meta(m)->len;
	t->lost_bytes += pkt_meta(m)->len;
	if (!t->rexmit_hint || seq_lt(tcp_mbuf_seq(m), tcp_mbuf_seq(t->rexmit_hint)))
		t->rexmit_hint = m;
}

/* The first segment in flight, one MSS of it, is lost. */
void tcp_scoreboard_head_lost(struct stack *st, struct tcb *t)
{
	struct rte_mbuf *m = t->sq_head;
	uint32_t total = 0;

	while (m && m != t->sq_next && total < t->mss) {
		uint32_t room = t->mss - total;

		if (pkt_meta(m)->len > room)
			(void)tcp_sendq_split(st, t, m, room);
		tcp_scoreboard_mark_lost(t, m);
		total += pkt_meta(m)->len;
		m = tcp_sendq_next(m);
	}
}

static void mark_sacked(struct stack *st, struct tcb *t, struct rte_mbuf *m, struct tcp_ack *a)
{
	struct pkt_tx *x = pkt_tx(m);
	uint32_t len = pkt_meta(m)->len;

	if (x->flags & PKT_TX_SACKED)
		return;
	if (x->flags & PKT_TX_LOST)
		t->lost_out -= len;
	if (x->flags & PKT_TX_REXMIT)
		t->rexmit_out -= len;
	tcp_rate_delivered(t, a, x, pkt_meta(m)->time_us);
	x->delivered_us = 0;
	if (!(x->flags & PKT_TX_EVER_REXMIT)) {
		if (!a->sack_sent_us)
			a->sack_sent_us = pkt_meta(m)->time_us;
		a->sack_last_us = pkt_meta(m)->time_us;
		/* a hole below the highest SACK filled without our help: it was reordered, not lost */
		if (seq_lt(tcp_mbuf_seq(m), a->prior_high) &&
		    (!a->reordered || seq_lt(tcp_mbuf_seq(m), a->reorder_seq))) {
			a->reordered = true;
			a->reorder_seq = tcp_mbuf_seq(m);
		}
	}
	x->flags = (uint8_t)((x->flags & ~(PKT_TX_LOST | PKT_TX_REXMIT)) | PKT_TX_SACKED);
	t->sacked_out += len;
	a->sacked += len;
	t->delivered += len;
	if (seq_lt(tcp_mbuf_seq(m), t->lost_seq))
		t->lost_below += len;
}

/* Mbufs filled for TSO hold more than a segment, so that a report may cover one in part: cut at the edge. A peer that reports crumbs shall not
 * turn the queue into single bytes: no more cuts than twice the segments in flight. What stays uncut counts as not arrived, which is harmless. */
static bool cut_at(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint32_t at)
{
	uint32_t most = 2 * ((t->snd_nxt - t->snd_una) / MAX(t->mss, 1u)) + 8;

	if (t->sack_cuts >= most || tcp_sendq_split(st, t, m, at - tcp_mbuf_seq(m)))
		return false;
	t->sack_cuts++;
	return true;
}

/* Marks what was sent inside [start, end). */
static void sack_block(struct stack *st, struct tcb *t, uint32_t start, uint32_t end, struct tcp_ack *a)
{
	struct rte_mbuf *m = t->sq_head;

	if (t->sack_hint && seq_le(tcp_mbuf_seq(t->sack_hint), start))
		m = t->sack_hint;
	while (m && m != t->sq_next && seq_lt(tcp_mbuf_seq(m), end)) {
		if (!(pkt_tx(m)->flags & PKT_TX_SACKED)) {
			if (unlikely(seq_lt(tcp_mbuf_seq(m), start) && seq_gt(tcp_mbuf_end(m), start))) {
				if (cut_at(st, t, m, start)) {
					m = tcp_sendq_next(m);
					continue;
				}
			} else if (unlikely(seq_gt(tcp_mbuf_end(m), end))) {
				cut_at(st, t, m, end);
			}
		}
		if (seq_ge(tcp_mbuf_seq(m), start) && seq_le(tcp_mbuf_end(m), end))
			mark_sacked(st, t, m, a);
		t->sack_hint = m;
		m = tcp_sendq_next(m);
	}
}

/* RFC 2883 §4: a first block below the cumulative ACK, or inside the second block, reports a duplicate. */
bool tcp_is_dsack(const struct tcp_opts *o, uint32_t ack)
{
	const struct tcp_sack_block *b = &o->sack[0];

	if (seq_lt(b->start, ack))
		return seq_le(b->end, ack);
	return o->nsack > 1 && seq_ge(b->start, o->sack[1].start) && seq_le(b->end, o->sack[1].end);
}

void tcp_sack_input(struct stack *st, struct tcb *t, const struct tcp_opts *o, uint32_t ack, struct tcp_ack *a)
{
	struct tcp_sack_block b[4];
	unsigned n = 0, first = 0;
	uint32_t nxt = tcp_snd_data_nxt(t);

	if (t->sacked_out == 0)
		t->sack_high = t->snd_una;
	a->prior_high = t->sack_high;
	if (tcp_is_dsack(o, ack)) {
		a->dsack = true;
		t->dsack_in++;
		st->mib.tcp_dsack_recv++;
		first = 1;
	}
	for (unsigned i = first; i < o->nsack; i++) {
		uint32_t s = o->sack[i].start, e = o->sack[i].end;
		bool seen = false;

		/* only what was sent and not yet acknowledged can be reported; anything else is garbage or an attack */
		if (!seq_lt(s, e) || seq_le(e, t->snd_una) || seq_gt(e, nxt) || seq_lt(s, t->snd_una))
			continue;
		for (unsigned j = 0; j < 4; j++)
			seen |= t->sack_seen[j].start == s && t->sack_seen[j].end == e;
		b[n++] = (struct tcp_sack_block){ s, e };
		if (seen)
			continue;
		/* the part that an earlier report covered need not be walked again */
		for (unsigned j = 0; j < 4; j++) {
			const struct tcp_sack_block *p = &t->sack_seen[j];

			if (seq_lt(p->start, p->end) && seq_ge(s, p->start) && seq_lt(s, p->end) && seq_lt(p->end, e)) {
				/* from the last mbuf that ended inside it: a partly covered one may be complete now */
				if (t->sack_hint && seq_ge(tcp_mbuf_seq(t->sack_hint), s) &&
				    seq_le(tcp_mbuf_seq(t->sack_hint), p->end))
					s = tcp_mbuf_seq(t->sack_hint);
			}
		}
		sack_block(st, t, s, e, a);
		t->sack_high = seq_max(t->sack_high, e);
	}
	memset(t->sack_seen, 0, sizeof(t->sack_seen));
	memcpy(t->sack_seen, b, n * sizeof(b[0]));
}

/* RFC 6675 §4 IsLost(): more than (DupThresh - 1) * SMSS bytes, or DupThresh separate ranges, are SACKed above. Bytes above an mbuf fall
 * as one goes up the queue, so the walk goes on from lost_hint until the condition fails first. */
uint32_t tcp_sack_mark_lost(struct stack *st, struct tcb *t)
{
	uint32_t thresh = (uint32_t)(t->reordering - 1) * t->mss, before = t->lost_out;
	struct rte_mbuf *m = t->lost_hint;

	(void)st;
	if (!m) {
		m = t->sq_head;
		t->lost_below = 0;
		t->lost_seq = t->snd_una;
	}
	while (m && m != t->sq_next) {
		uint32_t above = t->sacked_out - t->lost_below;

		if (pkt_tx(m)->flags & PKT_TX_SACKED) {
			if (above <= thresh)
				break;
			t->lost_below += pkt_meta(m)->len;
		} else {
			if (above <= thresh)
				break;
			tcp_scoreboard_mark_lost(t, m);
		}
		t->lost_seq = tcp_mbuf_end(m);
		m = tcp_sendq_next(m);
	}
	t->lost_hint = m;
	return t->lost_out - before;
}

void tcp_scoreboard_all_lost(struct tcb *t)
{
	for (struct rte_mbuf *m = t->sq_head; m && m != t->sq_next; m = tcp_sendq_next(m)) {
		struct pkt_tx *x = pkt_tx(m);

		x->flags &= (uint8_t)~PKT_TX_REXMIT;
		if (!(x->flags & (PKT_TX_SACKED | PKT_TX_LOST))) {
			x->flags |= PKT_TX_LOST;
			t->lost_out += pkt_meta(m)->len;
			t->lost_bytes += pkt_meta(m)->len;
		}
	}
	t->rexmit_out = 0;
	t->rexmit_hint = t->sq_head;
}

/* The peer may have dropped what it SACKed (RFC 2018 §8), or recovery by duplicate ACKs ends. */
void tcp_scoreboard_clear_sacks(struct tcb *t)
{
	for (struct rte_mbuf *m = t->sq_head; m && m != t->sq_next; m = tcp_sendq_next(m))
		pkt_tx(m)->flags &= (uint8_t)~PKT_TX_SACKED;
	t->sacked_out = 0;
	tcp_scoreboard_reset_hints(t);
}

struct rte_mbuf *tcp_scoreboard_next_rexmit(struct tcb *t)
{
	struct rte_mbuf *m = t->rexmit_hint;

	if (t->lost_out <= t->rexmit_out)
		return NULL;
	while (m && m != t->sq_next) {
		if ((pkt_tx(m)->flags & (PKT_TX_LOST | PKT_TX_REXMIT)) == PKT_TX_LOST) {
			t->rexmit_hint = m;
			return m;
		}
		m = tcp_sendq_next(m);
	}
	t->rexmit_hint = m;
	return NULL;
}

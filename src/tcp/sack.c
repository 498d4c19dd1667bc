/* sack.c - the sender's scoreboard (RFC 2018 §5, RFC 6675 §3). Called by ack.c, recovery.c, rack.c, output.c; owner of the stack.
 *
 * Marks live in pkt_tx(m)->flags of the queued mbufs, so the scoreboard is bounded by the send buffer. Counters in the TCB are kept in step:
 *   sacked_out  bytes SACKed, lost_out  bytes marked lost, rexmit_out  bytes retransmitted and not yet acknowledged;
 *   an mbuf is never SACKED and LOST at once; REXMIT only together with LOST.
 * Two rings go through pkt_tx(m)->node: rexq holds what has REXMIT, in the order in which it left; relost holds what has RELOST: a retransmission
 * that was lost too. It is sent next, so that rexmit_hint never has to go back for it.
 * Hints make the work of an ACK proportional to what is new in it, not to the window:
 *   sack_seen[].at  where walks ended; a walk starts at the nearest and jumps over blocks that were marked before,
 *   lost_hint   everything before it is SACKed or lost (rack.c goes on from there),
 *   rexmit_hint nothing before it waits for its first retransmission; NULL: nothing does.
 * What an ACK tells of far away from all of these is looked for in steps: no ACK costs more than SACK_LOOK_MAX mbufs that it does not
 * change, and the next one goes on from there. Without losses all hints are NULL, so that the common ACK need not look at them.
 */
#include "tcp/rate.h"
#include "tcp/tcp_int.h"

#define SACK_LOOK_MAX 512u

void tcp_scoreboard_reset_hints(struct tcb *t)
{
	t->lost_hint = NULL;
	t->rexmit_hint = NULL;
	t->sack_cuts = 0;
	t->rack_rtt_us = 0;
	t->rack_advanced = 0;
	memset(t->sack_seen, 0, sizeof(t->sack_seen));
}

static void leave_ring(struct tcb *t, struct pkt_tx *x)
{
	if (x->flags & PKT_TX_REXMIT)
		ring_del(&t->rexq, &x->node);
	else if (x->flags & PKT_TX_RELOST)
		ring_del(&t->relost, &x->node);
}

/* m leaves the head of the queue, acknowledged. */
void tcp_scoreboard_forget(struct tcb *t, struct rte_mbuf *m)
{
	uint32_t len = pkt_meta(m)->len;
	uint8_t f = pkt_tx(m)->flags;

	if (f & PKT_TX_SACKED)
		t->sacked_out -= len;
	if (f & PKT_TX_LOST)
		t->lost_out -= len;
	if (f & PKT_TX_REXMIT)
		t->rexmit_out -= len;
	leave_ring(t, pkt_tx(m));
	if (t->rexmit_hint == m)
		t->rexmit_hint = tcp_sendq_next(m);
	if (t->lost_hint == m)
		t->lost_hint = tcp_sendq_next(m);
	for (unsigned i = 0; i < ARRAY_SIZE(t->sack_seen); i++)
		if (t->sack_seen[i].at == m)
			t->sack_seen[i].at = NULL;
}

/* The first bytes of m, the head of the queue, are acknowledged. */
void tcp_scoreboard_trim(struct tcb *t, struct rte_mbuf *m, uint32_t bytes)
{
	uint8_t f = pkt_tx(m)->flags;

	if (f & PKT_TX_SACKED)
		t->sacked_out -= bytes;
	if (f & PKT_TX_LOST)
		t->lost_out -= bytes;
	if (f & PKT_TX_REXMIT)
		t->rexmit_out -= bytes;
}

/* A copy of m follows it: tcp_sendq_split(). */
void tcp_scoreboard_split(struct rte_mbuf *m, struct rte_mbuf *n)
{
	struct list *at = &pkt_tx(m)->node;

	if (pkt_tx(n)->flags & (PKT_TX_REXMIT | PKT_TX_RELOST))
		list_insert_between(&pkt_tx(n)->node, at, at->next);
}

void tcp_scoreboard_sent_again(struct tcb *t, struct rte_mbuf *m)
{
	struct pkt_tx *x = pkt_tx(m);

	leave_ring(t, x);
	x->flags = (uint8_t)((x->flags & ~PKT_TX_RELOST) | PKT_TX_REXMIT | PKT_TX_EVER_REXMIT);
	ring_push_back(&t->rexq, &x->node);
	t->rexmit_out += pkt_meta(m)->len;
}

/* Returns the bytes that count as lost now and did not before. */
uint32_t tcp_scoreboard_mark_lost(struct tcb *t, struct rte_mbuf *m)
{
	struct pkt_tx *x = pkt_tx(m);
	uint32_t len = pkt_meta(m)->len;

	if (x->flags & PKT_TX_SACKED)
		return 0;
	if (x->flags & PKT_TX_LOST) {
		if (!(x->flags & PKT_TX_REXMIT))
			return 0;
		/* the retransmission was lost as well */
		ring_del(&t->rexq, &x->node);
		ring_push_back(&t->relost, &x->node);
		x->flags = (uint8_t)((x->flags & ~PKT_TX_REXMIT) | PKT_TX_RELOST);
		t->rexmit_out -= len;
		t->lost_bytes += len;
		return len;
	}
	x->flags |= PKT_TX_LOST;
	t->lost_out += len;
	t->lost_bytes += len;
	if (!t->rexmit_hint || seq_lt(tcp_mbuf_seq(m), tcp_mbuf_seq(t->rexmit_hint)))
		t->rexmit_hint = m;
	return len;
}

/* The first segment in flight, one MSS of it, is lost. */
uint32_t tcp_scoreboard_head_lost(struct stack *st, struct tcb *t)
{
	struct rte_mbuf *m = t->sq_head;
	uint32_t total = 0, lost = 0;

	while (m && m != t->sq_next && total < t->mss) {
		uint32_t room = t->mss - total;

		if (pkt_meta(m)->len > room)
			(void)tcp_sendq_split(st, t, m, room);
		if (!(pkt_tx(m)->flags & PKT_TX_LOST))
			lost += tcp_scoreboard_mark_lost(t, m);
		total += pkt_meta(m)->len;
		m = tcp_sendq_next(m);
	}
	return lost;
}

static void mark_sacked(struct stack *st, struct tcb *t, struct rte_mbuf *m, struct tcp_ack *a)
{
	struct pkt_tx *x = pkt_tx(m);
	uint32_t len = pkt_meta(m)->len;

	tcp_rack_delivered(st, t, m);
	if (x->flags & PKT_TX_LOST)
		t->lost_out -= len;
	if (x->flags & PKT_TX_REXMIT)
		t->rexmit_out -= len;
	tcp_rate_delivered(t, a, x, pkt_meta(m)->time_us);
	x->delivered_us = 0;
	leave_ring(t, x);
	if (!(x->flags & PKT_TX_EVER_REXMIT)) {
		if (!a->sack_sent_us)
			a->sack_sent_us = pkt_meta(m)->time_us;
		a->sack_last_us = pkt_meta(m)->time_us;
		a->orig_arrived |= seq_le(tcp_mbuf_end(m), t->recover);
		/* RFC 8985 §6.2 step 3: a hole below the highest SACK filled without our help: it was reordered, not lost */
		if (seq_lt(tcp_mbuf_seq(m), a->prior_high))
			tcp_ack_saw_reordering(a, tcp_mbuf_seq(m));
	}
	x->flags = (uint8_t)((x->flags & ~(PKT_TX_LOST | PKT_TX_REXMIT | PKT_TX_RELOST)) | PKT_TX_SACKED);
	t->sacked_out += len;
	a->sacked += len;
	a->sacked_segs += (len + (x->flags & PKT_TX_HEAD ? t->mss - 1u : 0)) / t->mss;
	t->delivered += len;
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

/* Where to begin for [start, end): the last mbuf at or before start of those that are remembered, or the end of what was done of this very block. */
static struct rte_mbuf *walk_from(struct tcb *t, uint32_t start)
{
	struct rte_mbuf *m = t->sq_head;

	for (unsigned i = 0; i < ARRAY_SIZE(t->sack_seen); i++) {
		const struct tcp_sack_seen *p = &t->sack_seen[i];
		uint32_t at;

		if (!p->at)
			continue;
		at = tcp_mbuf_seq(p->at);
		if (seq_ge(start, p->start) && seq_lt(start, p->end) && seq_ge(at, p->start))
			return p->at;
		if (seq_le(at, start) && seq_gt(at, tcp_mbuf_seq(m)))
			m = p->at;
	}
	return m;
}

/* m is SACKed: the last mbuf of the block around it that was marked before, else m. */
static struct rte_mbuf *jump(const struct tcb *t, struct rte_mbuf *m)
{
	for (unsigned i = 0; i < ARRAY_SIZE(t->sack_seen); i++) {
		const struct tcp_sack_seen *p = &t->sack_seen[i];

		if (p->at && seq_ge(tcp_mbuf_seq(m), p->start) && seq_lt(tcp_mbuf_seq(m), tcp_mbuf_seq(p->at)))
			return p->at;
	}
	return m;
}

/* Marks what was sent inside [b->start, b->end), notes how far it came. */
static void sack_block(struct stack *st, struct tcb *t, struct tcp_sack_seen *b, unsigned *look, struct tcp_ack *a)
{
	struct rte_mbuf *m = walk_from(t, b->start);
	uint32_t start = b->start, end = b->end;

	while (m && m != t->sq_next && seq_lt(tcp_mbuf_seq(m), end)) {
		bool news = false;

		if (!(pkt_tx(m)->flags & PKT_TX_SACKED)) {
			if (unlikely(seq_lt(tcp_mbuf_seq(m), start) && seq_gt(tcp_mbuf_end(m), start))) {
				if (cut_at(st, t, m, start)) {
					m = tcp_sendq_next(m);
					continue;
				}
			} else if (unlikely(seq_gt(tcp_mbuf_end(m), end)) && seq_ge(tcp_mbuf_seq(m), start)) {
				cut_at(st, t, m, end);
			}
			if (seq_ge(tcp_mbuf_seq(m), start) && seq_le(tcp_mbuf_end(m), end)) {
				mark_sacked(st, t, m, a);
				news = true;
			}
		} else {
			struct rte_mbuf *to = jump(t, m);

			/* cut off by that block's end then, perhaps not by this one's */
			if (to != m && !(pkt_tx(to)->flags & PKT_TX_SACKED)) {
				m = to;
				continue;
			}
			m = to;
		}
		b->at = m;
		if (!news && --*look == 0)
			return;
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

/* RFC 2883 §4: a segment arrived twice. More such reports than retransmissions: the network, or the peer, makes them up. */
static void dsack(struct stack *st, struct tcb *t, const struct tcp_sack_block *b, struct tcp_ack *a)
{
	st->mib.tcp_dsack_recv++;
	if (++t->dsack_in > t->total_rexmit)
		return;
	a->dsack = true;
	/* a repetition that was not needed has arrived as well */
	t->delivered += MIN(b->end - b->start, (uint32_t)t->mss);
	a->dsack_start = b->start;
	a->dsack_end = b->end;
}

void tcp_sack_input(struct stack *st, struct tcb *t, const struct tcp_opts *o, uint32_t ack, struct tcp_ack *a)
{
	struct tcp_sack_seen b[4];
	unsigned n = 0, first = 0, look = SACK_LOOK_MAX;
	uint32_t nxt = tcp_snd_data_nxt(t);

	if (t->sacked_out == 0)
		t->sack_high = t->snd_una;
	if (tcp_is_dsack(o, ack)) {
		dsack(st, t, &o->sack[0], a);
		first = 1;
	}
	for (unsigned i = first; i < o->nsack; i++) {
		uint32_t s = o->sack[i].start, e = o->sack[i].end;
		bool done = false;

		/* our FIN is no byte of the queue */
		if (t->fin_sent && e == t->snd_nxt)
			e = nxt;
		/* only what was sent and not yet acknowledged can be reported; anything else is garbage or an attack */
		if (!seq_lt(s, e) || seq_le(e, t->snd_una) || seq_gt(e, nxt) || seq_lt(s, t->snd_una))
			continue;
		b[n] = (struct tcp_sack_seen){ s, e, NULL };
		for (unsigned j = 0; j < ARRAY_SIZE(t->sack_seen); j++) {
			const struct tcp_sack_seen *p = &t->sack_seen[j];

			if (p->start == s && p->end == e && p->at) {
				b[n].at = p->at;
				done = seq_ge(tcp_mbuf_end(p->at), e);
			}
		}
		t->sack_high = seq_max(t->sack_high, e);
		if (!done && look)
			sack_block(st, t, &b[n], &look, a);
		n++;
	}
	memset(t->sack_seen, 0, sizeof(t->sack_seen));
	memcpy(t->sack_seen, b, MIN(n, (unsigned)TCP_SACK_SEEN) * sizeof(b[0]));
}

void tcp_scoreboard_lost_since(struct tcb *t, uint64_t since_us)
{
	struct list *n, *tmp;

	while (t->relost)
		ring_del(&t->relost, t->relost);
	ring_for_each_safe(n, tmp, t->rexq) {
		struct pkt_tx *x = container_of(n, struct pkt_tx, node);
		struct rte_mbuf *m = pkt_of_tx(x);

		if (pkt_meta(m)->time_us > since_us && m != t->sq_head)
			continue;
		ring_del(&t->rexq, n);
		x->flags &= (uint8_t)~PKT_TX_REXMIT;
		t->rexmit_out -= pkt_meta(m)->len;
		t->lost_bytes += pkt_meta(m)->len;
	}
	for (struct rte_mbuf *m = t->sq_head; m && m != t->sq_next; m = tcp_sendq_next(m)) {
		struct pkt_tx *x = pkt_tx(m);

		x->flags &= (uint8_t)~PKT_TX_RELOST;
		if (!(x->flags & (PKT_TX_SACKED | PKT_TX_LOST)) && (pkt_meta(m)->time_us <= since_us || m == t->sq_head)) {
			x->flags |= PKT_TX_LOST;
			t->lost_out += pkt_meta(m)->len;
			t->lost_bytes += pkt_meta(m)->len;
		}
	}
	t->rexmit_hint = t->sq_head;
	t->lost_hint = NULL;
}

void tcp_scoreboard_none_lost(struct tcb *t)
{
	for (struct rte_mbuf *m = t->sq_head; m && m != t->sq_next; m = tcp_sendq_next(m)) {
		struct pkt_tx *x = pkt_tx(m);

		leave_ring(t, x);
		x->flags &= (uint8_t)~(PKT_TX_LOST | PKT_TX_REXMIT | PKT_TX_RELOST);
	}
	t->lost_out = t->rexmit_out = 0;
	t->rexmit_hint = t->lost_hint = NULL;
}

/* The peer may have dropped what it SACKed (RFC 2018 §8), or recovery by duplicate ACKs ends. */
void tcp_scoreboard_clear_sacks(struct tcb *t)
{
	for (struct rte_mbuf *m = t->sq_head; m && m != t->sq_next; m = tcp_sendq_next(m))
		pkt_tx(m)->flags &= (uint8_t)~PKT_TX_SACKED;
	t->sacked_out = 0;
	t->lost_hint = NULL;
	memset(t->sack_seen, 0, sizeof(t->sack_seen));
}

struct rte_mbuf *tcp_scoreboard_next_rexmit(struct tcb *t)
{
	struct rte_mbuf *m = t->rexmit_hint;

	if (t->lost_out <= t->rexmit_out)
		return NULL;
	if (t->relost)
		return pkt_of_tx(container_of(t->relost, struct pkt_tx, node));
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

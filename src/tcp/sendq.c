/* sendq.c - the send queue: mbufs linked through pkt_meta(m)->q, each with the sequence number, place and length of its payload.
 *
 * sq_head .. is the retransmission queue up to sq_next, the first mbuf never sent; an mbuf is either wholly sent or wholly unsent, so that
 * marks of the scoreboard are exact: what is cut by a window or an MSS is split first. The queue holds one reference of each mbuf; a device that
 * still transmits holds another, and then neither the mbuf's header room nor its fields may be touched (runtime.md, "Memory").
 * Owner of the stack.
 */
#include "tcp/tcp_int.h"

/* Smaller than this and fitting behind the unsent tail: copied there, so that one byte does not pin two kilobytes. */
#define MERGE_MAX 512u

static bool try_merge(struct tcb *t, struct rte_mbuf *m)
{
	struct rte_mbuf *tail = t->sq_tail;
	struct pkt_meta *to, *from = pkt_meta(m);

	/* never past what has been sent: sq_next set means the tail is unsent */
	if (!t->sq_next || from->len > MERGE_MAX || m->next || (pkt_tx(tail)->push & PKT_PUSH_EOR))
		return false;
	to = pkt_meta(tail);
	if ((uint32_t)to->len + from->len > t->mss || (uint32_t)to->off + to->len + from->len > tail->buf_len ||
	    !mbuf_writable(tail))
		return false;
	memcpy((char *)tail->buf_addr + to->off + to->len, (char *)m->buf_addr + from->off, from->len);
	to->len = (uint16_t)(to->len + from->len);
	pkt_tx(tail)->push |= pkt_tx(m)->push;
	return true;
}

void tcp_sendq_append(struct stack *st, struct tcb *t, struct inbox_node *first)
{
	while (first) {
		struct rte_mbuf *m = pkt_of_node(first);
		struct pkt_meta *p = pkt_meta(m);

		first = p->q.next;
		if (unlikely(p->len == 0)) {
			rte_pktmbuf_free_seg(m);
			continue;
		}
		if (try_merge(t, m)) {
			t->snd_end += p->len;
			st->stats.sock_tx_merge++;
			rte_pktmbuf_free_seg(m);
			continue;
		}
		p->q.next = NULL;
		p->seq = t->snd_end;
		t->snd_end += p->len;
		pkt_tx(m)->flags = 0;
		if (t->sq_tail)
			pkt_meta(t->sq_tail)->q.next = &p->q;
		else
			tcp_busy_begins(st, t, m);
		t->sq_tail = m;
		if (!t->sq_next)
			t->sq_next = m;
	}
	if (likely(!t->more) && likely(t->sq_tail))
		pkt_tx(t->sq_tail)->push |= PKT_PUSH_END;
}

/* m keeps its first `bytes`; the rest fits a usual mbuf. */
static int cut_off(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint32_t bytes)
{
	struct pkt_meta *p = pkt_meta(m), *q;
	struct rte_mbuf *n = rte_pktmbuf_alloc(st->pool);
	uint32_t rest = p->len - bytes;

	if (!n) {
		st->drops[DROP_NO_MBUF]++;
		return -ENOBUFS;
	}
	q = pkt_meta(n);
	q->off = PKT_HEADROOM;
	q->len = (uint16_t)rest;
	q->seq = p->seq + bytes;
	q->time_us = p->time_us;
	memcpy((char *)n->buf_addr + q->off, (char *)m->buf_addr + p->off + bytes, rest);
	*pkt_tx(n) = *pkt_tx(m);
	pkt_tx(n)->flags &= (uint8_t)~PKT_TX_HEAD;
	pkt_tx(m)->push = 0;
	tcp_scoreboard_split(m, n);
	/* the bytes at the old place stay: a device may still be sending them */
	p->len = (uint16_t)bytes;
	q->q.next = p->q.next;
	p->q.next = &q->q;
	if (t->sq_tail == m)
		t->sq_tail = n;
	return 0;
}

/* Large buffers are for connections that send large frames: one whose window opens by a few segments at a time would have each of its
 * buffers cut, and copied. So large frames count for them, frames that the window or the pace cut short and buffers that were cut count against. */
#define LARGE_FRAME_BYTES 32768u
#define LARGE_FROM 8u
#define LARGE_MOST 16u
#define LARGE_COST 4u

static void large_buffers_less(struct tcb *t)
{
	if (t->large_score > LARGE_COST)
		t->large_score -= LARGE_COST;
	else
		tcp_large_buffers_off(t);
}

int tcp_sendq_split(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint32_t bytes)
{
	const struct pkt_meta *p = pkt_meta(m);
	uint32_t room = (uint32_t)rte_pktmbuf_data_room_size(st->pool) - PKT_HEADROOM, piece = room < t->mss ? room : room - room % t->mss;

	gz_assert(bytes > 0 && bytes < p->len);
	if (unlikely(p->len - bytes > room)) { /* a large one: from its end, whole segments at a time */
		large_buffers_less(t);
		while (p->len - bytes > room) {
			uint32_t rest = p->len - bytes, last = (rest - 1) % piece + 1;

			if (cut_off(st, t, m, p->len - last))
				return -ENOBUFS;
		}
	}
	return cut_off(st, t, m, bytes);
}

void tcp_large_buffers_note(struct stack *st, struct tcb *t, uint32_t total, uint32_t avail)
{
	if (total < LARGE_FRAME_BYTES) {
		if (t->large_score && total + t->mss <= avail)
			large_buffers_less(t);
		return;
	}
	t->large_score += t->large_score < LARGE_MOST;
	/* from now on kept by who sends */
	if (t->large_score == LARGE_FROM && st->large && t->mss <= PKT_LARGE_DATA)
		tcp_large_buffers_align(t);
}

/* The first buffer of the next write makes up for the piece of a segment that waits, so that the others end where segments do. */
void tcp_large_buffers_align(struct tcb *t)
{
	uint32_t waits = (t->snd_end - tcp_snd_data_nxt(t)) % t->mss;

	atomic_store_explicit(&sock_of_tcb(t)->tx_large, PKT_LARGE_DATA / t->mss * t->mss - waits, memory_order_relaxed);
}

void tcp_large_buffers_off(struct tcb *t)
{
	t->large_score = 0;
	atomic_store_explicit(&sock_of_tcb(t)->tx_large, 0, memory_order_relaxed);
}

void tcp_sendq_purge(struct tcb *t)
{
	struct rte_mbuf *m = t->sq_head;

	while (m) {
		struct rte_mbuf *next = tcp_sendq_next(m);

		rte_pktmbuf_free_seg(m);
		m = next;
	}
	t->sq_head = t->sq_next = t->sq_tail = NULL;
	tcp_scoreboard_reset_hints(t);
	t->rexq = t->relost = NULL;
	t->sacked_out = t->lost_out = t->rexmit_out = 0;
}

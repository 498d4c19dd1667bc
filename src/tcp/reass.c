/* reass.c - data that arrived ahead of a hole, and the SACK blocks that say so (RFC 9293 §3.10.7.4 "seventh", RFC 2018 §4, RFC 2883).
 * Called by slow.c; hands up to sock. Owner of the stack.
 *
 * The queue is a list of *runs*: stretches of contiguous sequence space, disjoint, ascending, with a hole before each. A run is a list of
 * mbuf packets linked through pkt_meta(m)->q; its description lies in the private area of its first packet, which a received TCP segment
 * does not use otherwise. Runs are exactly the SACK blocks. Work per segment is bounded by the number of runs, which is bounded, and so is the
 * memory, counted by true size. What was SACKed is thrown away only when buffers are short (pressure.c).
 */
#include "tcp/tcp_int.h"

struct run {
	struct rte_mbuf *tail;	   /* last packet of the run */
	struct rte_mbuf *next_run; /* first packet of the next */
	uint32_t seq, end;
};
_Static_assert(sizeof(struct run) <= PKT_PRIV_BYTES, "fits the private area");

static struct run *run_of(struct rte_mbuf *head)
{
	return (struct run *)(void *)(head + 1);
}

static uint32_t true_bytes(const struct rte_mbuf *m)
{
	uint32_t n = 0;

	for (; m; m = m->next)
		n += m->buf_len + (uint32_t)sizeof(*m) + PKT_PRIV_BYTES;
	return n;
}

static void free_run(struct tcb *t, struct rte_mbuf *head)
{
	struct rte_mbuf *m = head, *last = run_of(head)->tail;

	for (;;) {
		struct rte_mbuf *next = m == last ? NULL : pkt_of_node(pkt_meta(m)->q.next);

		t->ooo_true_bytes -= true_bytes(m);
		rte_pktmbuf_free(m);
		if (!next)
			break;
		m = next;
	}
	t->ooo_runs--;
}

/* b follows a without a hole: one run. */
static void join(struct tcb *t, struct rte_mbuf *a, struct rte_mbuf *b)
{
	struct run *ra = run_of(a), *rb = run_of(b);

	pkt_meta(ra->tail)->q.next = &pkt_meta(b)->q;
	ra->tail = rb->tail;
	ra->end = rb->end;
	ra->next_run = rb->next_run;
	t->ooo_runs--;
}

/* A small segment behind a run whose last packet has room: copied there, so that it does not pin a whole buffer. */
static bool merge_small(struct rte_mbuf *tail, struct rte_mbuf *m)
{
	if (m->next || tail->next || m->data_len > rte_pktmbuf_tailroom(tail) || !mbuf_writable(tail))
		return false;
	memcpy(rte_pktmbuf_mtod_offset(tail, char *, tail->data_len), rte_pktmbuf_mtod(m, char *), m->data_len);
	tail->data_len = (uint16_t)(tail->data_len + m->data_len);
	tail->pkt_len = tail->data_len;
	rte_pktmbuf_free(m);
	return true;
}

/* Came twice: the first such piece is told, with what adjoins it (Linux). */
static void set_dsack(struct tcb *t, uint32_t start, uint32_t end)
{
	if (!t->dsack_pending) {
		t->dsack = (struct tcp_sack_block){ start, end };
		t->dsack_pending = 1;
	} else if (seq_le(start, t->dsack.end) && seq_le(t->dsack.start, end)) {
		t->dsack = (struct tcp_sack_block){ seq_min(start, t->dsack.start), seq_max(end, t->dsack.end) };
	}
}

void tcp_reass_insert(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint32_t seq, uint32_t len)
{
	struct sock *s = sock_of_tcb(t);
	uint32_t end = seq + len, size = true_bytes(m);
	uint32_t limit = 2 * atomic_load_explicit(&s->rcvbuf, memory_order_relaxed);
	struct rte_mbuf *prev = NULL, *cur = t->ooo_head;
	struct run *r;

	gz_assert(len > 0 && seq_gt(seq, t->rcv_nxt));
	st->mib.tcp_out_of_seq++;
	t->ooo_in += 1 + tcp_joined_more(m, len);
	/* past the runs that end before the segment begins */
	while (cur && seq_lt(run_of(cur)->end, seq)) {
		prev = cur;
		cur = run_of(cur)->next_run;
	}
	/* cur: first run that ends at or behind seq */
	if (cur && seq_le(run_of(cur)->seq, seq)) {
		if (seq_ge(run_of(cur)->end, end)) {
			/* all of it is here already */
			set_dsack(t, seq, end);
			tcp_rcv_sack_new(t, run_of(cur)->seq, run_of(cur)->end);
			drop(st, m, DROP_TCP_OLD_DUP);
			return;
		}
		if (seq_gt(run_of(cur)->end, seq)) {
			uint32_t cut = run_of(cur)->end - seq;

			set_dsack(t, seq, run_of(cur)->end);
			mbuf_skip(m, cut);
			seq += cut;
			len -= cut;
		}
		prev = cur;
		cur = run_of(cur)->next_run;
	}
	/* now prev ends at or before seq, and cur, if any, begins behind seq */
	if (unlikely(t->ooo_true_bytes + size > limit || st->mem_level == MEM_CRITICAL ||
		     (t->ooo_runs >= TCP_OOO_RUNS_MAX && !(prev && run_of(prev)->end == seq) &&
		      !(cur && seq_le(run_of(cur)->seq, end))))) {
		st->mib.tcp_ooseq_data_drop++;
		drop(st, m, DROP_TCP_OOO_MEMORY);
		return;
	}
	/* runs that the segment covers wholly give way to it: one segment is better than pieces */
	while (cur && seq_ge(end, run_of(cur)->end)) {
		struct rte_mbuf *next = run_of(cur)->next_run;

		set_dsack(t, run_of(cur)->seq, run_of(cur)->end);
		free_run(t, cur);
		cur = next;
		if (prev)
			run_of(prev)->next_run = cur;
		else
			t->ooo_head = cur;
	}
	if (cur && seq_gt(end, run_of(cur)->seq)) {
		uint32_t cut = end - run_of(cur)->seq;

		set_dsack(t, run_of(cur)->seq, end);
		mbuf_cut(m, len - cut);
		len -= cut;
		end -= cut;
	}

	if (prev && run_of(prev)->end == seq) {
		r = run_of(prev);
		r->end = end;
		if (!merge_small(r->tail, m)) {
			t->ooo_true_bytes += true_bytes(m);
			pkt_meta(m)->seq = seq;
			pkt_meta(m)->q.next = NULL;
			pkt_meta(r->tail)->q.next = &pkt_meta(m)->q;
			r->tail = m;
		}
		m = prev;
	} else {
		t->ooo_true_bytes += true_bytes(m);
		pkt_meta(m)->seq = seq;
		pkt_meta(m)->q.next = NULL;
		r = run_of(m);
		r->tail = m;
		r->seq = seq;
		r->end = end;
		r->next_run = cur;
		if (prev)
			run_of(prev)->next_run = m;
		else
			t->ooo_head = m;
		t->ooo_runs++;
	}
	if (cur && run_of(cur)->seq == run_of(m)->end)
		join(t, m, cur);
	t->slow |= TCP_SLOW_OOO;
	if (!list_linked(&t->ooo_node))
		list_push_back(&st->tcp->ooo_list, &t->ooo_node);
	tcp_rcv_sack_new(t, run_of(m)->seq, run_of(m)->end);
}

void tcp_reass_prune(struct stack *st, struct tcb *t)
{
	struct rte_mbuf *head[TCP_OOO_RUNS_MAX], *m = t->ooo_head;
	uint32_t goal = t->ooo_true_bytes / 2;
	unsigned n = 0;

	for (; m && n < ARRAY_SIZE(head); m = run_of(m)->next_run)
		head[n++] = m;
	/* from the far end: what is near the hole is needed first */
	while (n && t->ooo_true_bytes > goal) {
		free_run(t, head[--n]);
		if (n)
			run_of(head[n - 1])->next_run = NULL;
		else
			t->ooo_head = NULL;
		st->mib.tcp_ofo_pruned++;
	}
	/* RFC 2018 §8 allows it; the sender finds out by a time-out. What is left is told again when more comes, as on Linux. */
	t->rcv_sack_n = 0;
	t->dsack_pending = 0;
	if (!t->ooo_head) {
		list_del(&t->ooo_node);
		if (!(t->rcv_fin && seq_gt(t->rcv_fin_seq, t->rcv_nxt)))
			t->slow &= ~TCP_SLOW_OOO;
	}
}

void tcp_reass_drain(struct stack *st, struct tcb *t)
{
	struct sock *s = sock_of_tcb(t);

	while (t->ooo_head && seq_le(run_of(t->ooo_head)->seq, t->rcv_nxt)) {
		struct rte_mbuf *m = t->ooo_head, *last;
		struct run r = *run_of(m);
		uint32_t skip = t->rcv_nxt - r.seq;

		t->ooo_head = r.next_run;
		last = r.tail;
		if (seq_le(r.end, t->rcv_nxt)) {
			/* in-order data covered all of the run */
			set_dsack(t, r.seq, r.end);
			free_run(t, m);
			continue;
		}
		if (skip)
			set_dsack(t, r.seq, t->rcv_nxt);
		t->ooo_runs--;
		for (;;) {
			struct rte_mbuf *next = m == last ? NULL : pkt_of_node(pkt_meta(m)->q.next);
			uint32_t len = m->pkt_len;

			t->ooo_true_bytes -= true_bytes(m);
			if (skip >= len) {
				skip -= len;
				rte_pktmbuf_free(m);
			} else {
				if (skip)
					mbuf_skip(m, skip);
				t->rcv_nxt += len - skip;
				skip = 0;
				sock_up_data(st, s, m);
			}
			if (!next)
				break;
			m = next;
		}
	}
	tcp_rcv_sack_trim(t);
	if (!t->ooo_head)
		list_del(&t->ooo_node);
	if (!t->ooo_head && !(t->rcv_fin && seq_gt(t->rcv_fin_seq, t->rcv_nxt)))
		t->slow &= ~TCP_SLOW_OOO;
}

void tcp_reass_purge(struct tcb *t)
{
	while (t->ooo_head) {
		struct rte_mbuf *m = t->ooo_head;

		t->ooo_head = run_of(m)->next_run;
		free_run(t, m);
	}
	list_del(&t->ooo_node);
	t->rcv_sack_n = 0;
	t->dsack_pending = 0;
}

/* RFC 2018 §4: the block with the newest segment first, then those reported before; blocks inside the new one are part of it. */
void tcp_rcv_sack_new(struct tcb *t, uint32_t start, uint32_t end)
{
	struct tcp_sack_block keep[4];
	unsigned n = 0;

	/* a FIN has its place in the sequence space too */
	end += t->rcv_fin && end == t->rcv_fin_seq;
	for (unsigned i = 0; i < t->rcv_sack_n; i++) {
		const struct tcp_sack_block *b = &t->rcv_sack[i];

		if (n < 3 && !(seq_ge(b->start, start) && seq_le(b->end, end)))
			keep[n++] = *b;
	}
	t->rcv_sack[0].start = start;
	t->rcv_sack[0].end = end;
	memcpy(&t->rcv_sack[1], keep, n * sizeof(keep[0]));
	t->rcv_sack_n = (uint8_t)(n + 1);
}

/* A FIN alone, at rcv_fin_seq beyond a hole. */
void tcp_reass_fin(struct tcb *t)
{
	uint32_t start = t->rcv_fin_seq;

	for (struct rte_mbuf *m = t->ooo_head; m; m = run_of(m)->next_run)
		if (run_of(m)->end == t->rcv_fin_seq)
			start = run_of(m)->seq;
	tcp_rcv_sack_new(t, start, t->rcv_fin_seq);
}

/* What rcv_nxt has passed is acknowledged by the ACK field. */
void tcp_rcv_sack_trim(struct tcb *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->rcv_sack_n; i++) {
		if (seq_gt(t->rcv_sack[i].start, t->rcv_nxt))
			t->rcv_sack[n++] = t->rcv_sack[i];
	}
	t->rcv_sack_n = (uint8_t)n;
}

/* sock_buf.c - buffers of application threads: a magazine per thread over the stack's lock-free pool (runtime.md,
 * "Memory"). Called by send and receive; threads of any process, owning no stack. A client's magazine is filled and emptied by the home, and every buffer
 * in a client's hands says whose they are (pkt_tx.holder), from the filling until an owner takes it from a socket or the home takes it
 * back: what a killed client had is found by that (sweep.c). The pool's reserve stays with the stack, so that
 * receiving and acknowledging go on when applications hold the rest. */
#include "sock/sock_int.h"

#include <rte_mempool.h>

#define REFILL_MAX 32u
/* One part in eight of a pool is not given to senders. */
#define RESERVE_SHIFT 3

enum { BUFFERS_GET, BUFFERS_PUT, BUFFERS_FREE };

/* Is this the thread of a forked process? What the home does for it cannot be cut short by its death. */
static bool ask_home(const struct thread_rec *self)
{
	return unlikely(thread_is_client(self)) && self->pid == stack_my_pid;
}

static int64_t ask(struct thread_rec *self, uint64_t what, uint64_t arg)
{
	self->call.arg[0] = what;
	self->call.arg[1] = arg;
	return stack_call(&gz->stacks[0], SOCK_OP_BUFFERS, NULL, self);
}

static bool mag_refill(struct rte_mempool *mp, struct magazine *mag)
{
	unsigned want = MIN(REFILL_MAX, MAX(mag->size / 2u, 1u)), have;

	have = rte_mempool_get_ops(mp->ops_index)->get_count(mp);
	if (unlikely(have < (mp->size >> RESERVE_SHIFT) + want))
		return false;
	/* No cache: the caches belong to stacks. */
	if (unlikely(rte_mempool_generic_get(mp, (void **)mag->m, want, NULL) < 0))
		return false;
	mag->count = (uint16_t)want;
	return true;
}

struct rte_mbuf *buf_get_slow(struct stack *st, struct thread_rec *self)
{
	struct magazine *mag = &self->mag;

	if (ask_home(self) ? ask(self, BUFFERS_GET, st->id) < 0 : !mag_refill(st->pool, mag))
		return NULL;
	return mag->m[--mag->count];
}

/* The last `give` buffers of the magazine go back to their pool. */
static void mag_give(struct magazine *mag, unsigned give)
{
	mag->count = (uint16_t)(mag->count - give);
	for (unsigned i = 0; i < give; i++)
		buf_untag_seg(mag->m[mag->count + i]);
	rte_mempool_generic_put(mag->m[mag->count]->pool, (void **)&mag->m[mag->count], give, NULL);
}

int64_t sock_op_buffers(struct stack *st, struct stack_call *call)
{
	struct thread_rec *t = container_of(call, struct thread_rec, call);
	struct magazine *mag = &t->mag;

	(void)st;
	switch (call->arg[0]) {
	case BUFFERS_GET:
		if (!mag_refill(gz->stacks[call->arg[1]].pool, mag))
			return -ENOBUFS;
		for (unsigned i = 0; i < mag->count; i++)
			buf_tag_seg(mag->m[i], t);
		return 0;
	case BUFFERS_PUT:
		if (mag->count)
			mag_give(mag, (unsigned)MIN(call->arg[1], mag->count));
		return 0;
	default: {
		struct rte_mbuf *m = (struct rte_mbuf *)(uintptr_t)call->arg[1];

		buf_untag(m);
		rte_pktmbuf_free(m);
		return 0;
	}
	}
}

void buf_put_slow(struct rte_mbuf *m, struct thread_rec *self)
{
	struct magazine *mag = &self->mag;
	unsigned give = mag->count - mag->size / 2u;

	if (self->owned) { /* the stack's own cache is at hand */
		rte_mbuf_raw_free(m);
		return;
	}
	if (!mag_fits(mag, m)) {
		if (ask_home(self))
			(void)ask(self, BUFFERS_FREE, (uintptr_t)m);
		else
			rte_mempool_generic_put(m->pool, (void **)&m, 1, NULL);
		return;
	}
	if (ask_home(self))
		(void)ask(self, BUFFERS_PUT, give);
	else
		mag_give(mag, give);
	mag->m[mag->count] = m;
	atomic_signal_fence(memory_order_seq_cst);
	mag->count++;
}

void buf_put_client(struct rte_mbuf *m, struct thread_rec *self)
{
	struct magazine *mag = &self->mag;

	/* One that somebody else refers to: the count must not be left in the middle. */
	if (!RTE_MBUF_DIRECT(m) || rte_mbuf_refcnt_read(m) != 1) {
		m->next = NULL;
		m->nb_segs = 1;
		(void)ask(self, BUFFERS_FREE, (uintptr_t)m);
		return;
	}
	m = rte_pktmbuf_prefree_seg(m);
	if (mag->count >= mag->size || !mag_fits(mag, m)) {
		buf_put_slow(m, self);
		return;
	}
	mag->m[mag->count] = m;
	mag->count++;
}

void sock_magazine_flush(struct thread_rec *self)
{
	struct magazine *mag = &self->mag;

	if (!mag->count)
		return;
	if (ask_home(self))
		(void)ask(self, BUFFERS_PUT, mag->count);
	else
		mag_give(mag, mag->count);
	mag->count = 0;
}

/* sock_buf.c - buffers of application threads: a magazine per thread over the stack's lock-free pool (runtime.md,
 * "Memory"). Called by send and receive; threads of any process, owning no stack. The pool's reserve stays with the stack, so that
 * receiving and acknowledging go on when applications hold the rest. */
#include "sock/sock_int.h"

#include <rte_mempool.h>

#define REFILL_MAX 32u
/* One part in eight of a pool is not given to senders. */
#define RESERVE_SHIFT 3

struct rte_mbuf *buf_get_slow(struct stack *st, struct thread_rec *self)
{
	struct rte_mempool *mp = st->pool;
	struct magazine *mag = &self->mag;
	unsigned want = MIN(REFILL_MAX, MAX(mag->size / 2u, 1u)), have;

	have = rte_mempool_get_ops(mp->ops_index)->get_count(mp);
	if (unlikely(have < (mp->size >> RESERVE_SHIFT) + want))
		return NULL;
	/* No cache: the caches belong to stacks. The lock-free pool leaves nothing half-done when this thread is killed. */
	if (unlikely(rte_mempool_generic_get(mp, (void **)mag->m, want, NULL) < 0))
		return NULL;
	mag->count = (uint16_t)want;
	return mag->m[--mag->count];
}

void buf_put_slow(struct rte_mbuf *m, struct thread_rec *self)
{
	struct magazine *mag = &self->mag;
	unsigned give;

	if (self->owned) { /* the stack's own cache is at hand */
		rte_mbuf_raw_free(m);
		return;
	}
	if (mag->count && mag->m[0]->pool != m->pool) { /* a magazine holds buffers of one pool */
		rte_mempool_generic_put(m->pool, (void **)&m, 1, NULL);
		return;
	}
	give = mag->count - mag->size / 2u;
	mag->count = (uint16_t)(mag->count - give);
	rte_mempool_generic_put(m->pool, (void **)&mag->m[mag->count], give, NULL);
	mag->m[mag->count] = m;
	atomic_signal_fence(memory_order_seq_cst);
	mag->count++;
}

void sock_magazine_flush(struct thread_rec *self)
{
	struct magazine *mag = &self->mag;

	if (mag->count)
		rte_mempool_generic_put(mag->m[0]->pool, (void **)mag->m, mag->count, NULL);
	mag->count = 0;
}

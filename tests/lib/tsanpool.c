/* tsanpool.c - wraps the operations of every mempool driver: what is put into a pool happened before it is taken out. See tsanpool.h. */
#include "tsanpool.h"

#ifdef __SANITIZE_THREAD__
#include <rte_mempool.h>
#include <sanitizer/tsan_interface.h>

static struct rte_mempool_ops real[RTE_MEMPOOL_MAX_OPS_IDX];

static int enqueue(struct rte_mempool *mp, void *const *obj, unsigned n)
{
	__tsan_release(mp);
	return real[mp->ops_index].enqueue(mp, obj, n);
}

static int dequeue(struct rte_mempool *mp, void **obj, unsigned n)
{
	int r = real[mp->ops_index].dequeue(mp, obj, n);

	__tsan_acquire(mp);
	return r;
}

void tsan_pools(void)
{
	for (uint32_t i = 0; i < rte_mempool_ops_table.num_ops; i++) {
		real[i] = rte_mempool_ops_table.ops[i];
		rte_mempool_ops_table.ops[i].enqueue = enqueue;
		rte_mempool_ops_table.ops[i].dequeue = dequeue;
	}
}
#endif

/* pkt.c - the packet type: registers the dynamic mbuf field and makes mbuf pools.
 *
 * Called by boot (and by tests) in the home process after EAL, before any thread of the stack runs.
 */
#include "netdev/pkt.h"
#include "base/log.h"

#include <rte_errno.h>
#include <rte_mbuf_dyn.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#include <string.h>

_Static_assert(sizeof(struct pkt_meta) <= 24, "leaves room for a driver's dynamic fields");

/* A stack takes and returns mbufs in bursts of NETDEV_BURST frames of up to 32 mbufs: a cache of this many keeps the
 * common case of both modes off the shared pool. */
#define POOL_CACHE_MAX 512
/* Pools smaller than this have no use for big caches: all buffers would sit in them. */
#define POOL_CACHE_SHARE 8

int pkt_meta_offset = -1;
unsigned pkt_pool_fallbacks;

int pkt_init(void)
{
	static const struct rte_mbuf_dynfield field = {
		.name = "gz_pkt_meta",
		.size = sizeof(struct pkt_meta),
		.align = _Alignof(struct pkt_meta),
	};
	int off;

	if (pkt_meta_offset >= 0)
		return 0;
	off = rte_mbuf_dynfield_register(&field);
	if (off < 0)
		return -rte_errno;
	pkt_meta_offset = off;
	return 0;
}

static unsigned pool_cache_size(uint32_t count)
{
	unsigned cache = count / POOL_CACHE_SHARE;

	if (cache > POOL_CACHE_MAX)
		cache = POOL_CACHE_MAX;
	if (cache > RTE_MEMPOOL_CACHE_MAX_SIZE)
		cache = RTE_MEMPOOL_CACHE_MAX_SIZE;
	return cache & ~31u;
}

static void buffer_init(struct rte_mempool *mp, void *arg, void *m, unsigned index)
{
	(void)mp;
	(void)arg;
	(void)index;
	memset(pkt_tx(m), 0, sizeof(struct pkt_tx));
}

static struct rte_mempool *pool_create(const char *name, uint32_t count, unsigned cache, uint16_t data_bytes, int socket_id)
{
	struct rte_mempool *mp;
	uint16_t room;

	if (data_bytes > UINT16_MAX - PKT_HEADROOM) {
		rte_errno = EINVAL;
		return NULL;
	}
	room = (uint16_t)(data_bytes + PKT_HEADROOM);
	mp = rte_pktmbuf_pool_create_by_ops(name, count, cache, PKT_PRIV_BYTES, room, socket_id,
					    "lf_stack");
	if (mp || (rte_errno != EINVAL && rte_errno != ENOTSUP && rte_errno != ENOENT))
		return mp;
	/* The lock-free stack is a plug-in (librte_mempool_stack); without it the default ring serves,
	 * which a process killed in the middle of an operation can wedge (runtime.md, "Memory"). */
	mp = rte_pktmbuf_pool_create(name, count, cache, PKT_PRIV_BYTES, room, socket_id);
	if (!mp)
		return NULL;
	if (pkt_pool_fallbacks++ == 0)
		log_info("mbuf pool '%s': DPDK's mempool plug-in \"lf_stack\" is not installed (the default "
			 "\"%s\" is used): a forked child that is killed while it handles buffers may block "
			 "the others; install librte_mempool_stack", name, rte_mbuf_best_mempool_ops());
	return mp;
}

static struct rte_mempool *pool_of(const char *name, uint32_t count, unsigned cache, uint16_t data_bytes, int socket_id)
{
	struct rte_mempool *mp = pool_create(name, count, cache, data_bytes, socket_id);

	if (mp)
		rte_mempool_obj_iter(mp, buffer_init, NULL);
	return mp;
}

struct rte_mempool *mbuf_pool_create(const char *name, uint32_t count, uint16_t data_bytes, int socket_id)
{
	return pool_of(name, count, pool_cache_size(count), data_bytes, socket_id);
}

struct rte_mempool *mbuf_large_pool_create(const char *name, uint32_t count, int socket_id)
{
	return pool_of(name, count, 0, PKT_LARGE_DATA, socket_id);
}

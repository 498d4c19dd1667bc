/* port_xdp.c - a kernel interface through AF_XDP: makes DPDK's net_af_xdp device for it.
 *
 * Called by netdev_open() when kernel_interface is "xdp". Needs CAP_NET_ADMIN and CAP_BPF besides CAP_NET_RAW, and loads an
 * XDP program on the interface (removed at close; after a kill: ip link set IF xdp off).
 */
#include "base/log.h"
#include "netdev/ifinfo.h"
#include "netdev/port.h"

#include <rte_bus_vdev.h>
#include <rte_errno.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <stdio.h>
#include <string.h>

/* The driver maps the pool as one piece of count x object size. In truth no object crosses a page, so that without huge pages two fifths of
 * a usual pool lie beyond what was mapped, and frames for them are dropped unseen. Objects of exactly one page make both true. */
#define XDP_OBJECT_BYTES 4096u
#define XDP_POOL_MOST 16384u
#define XDP_POOL_LEAST 4096u

static struct rte_mempool *xdp_pool(const char *name, uint32_t count, int socket_id)
{
	uint32_t elt = XDP_OBJECT_BYTES - RTE_CACHE_LINE_SIZE; /* struct rte_mempool_objhdr, padded */
	struct rte_pktmbuf_pool_private priv = {
		.mbuf_data_room_size = (uint16_t)(elt - sizeof(struct rte_mbuf) - PKT_PRIV_BYTES),
		.mbuf_priv_size = PKT_PRIV_BYTES,
	};
	struct rte_mempool *mp;

	_Static_assert(sizeof(struct rte_mempool_objhdr) <= RTE_CACHE_LINE_SIZE, "header of an object");
	mp = rte_mempool_create_empty(name, count, elt, 256, sizeof(priv), socket_id, RTE_MEMPOOL_F_NO_SPREAD);
	if (!mp)
		return NULL;
	if (rte_mempool_set_ops_byname(mp, "lf_stack", NULL))
		rte_mempool_set_ops_byname(mp, rte_mbuf_best_mempool_ops(), NULL);
	rte_pktmbuf_pool_init(mp, &priv);
	if (rte_mempool_populate_default(mp) < 0) {
		rte_mempool_free(mp);
		return NULL;
	}
	rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
	return mp;
}

void xdp_remove(const char *vdev)
{
	rte_vdev_uninit(vdev);
}

int xdp_open(struct netdev *nd, const struct netdev_request *req, const struct if_info *info, char *err,
	     size_t err_bytes)
{
	char name[32], args[128];
	struct rte_mempool *pool = NULL;
	uint16_t port_id;
	int r;

	snprintf(name, sizeof(name), "net_af_xdp_%d", info->ifindex);
	/* Busy polling of the socket by the driver costs more than it gains in copy mode (measured, doc/netdev.md). */
	snprintf(args, sizeof(args), "iface=%s,start_queue=0,queue_count=1,busy_budget=0", info->name);
	r = rte_vdev_init(name, args);
	if (r) {
		snprintf(err, err_bytes, "interface %s: no AF_XDP socket: %s: needs root (CAP_NET_ADMIN, CAP_BPF, CAP_NET_RAW), "
			 "DPDK's net_af_xdp driver, and no other XDP program (ip link set %s xdp off); or set "
			 "kernel_interface = \"packet\"", info->name, rte_strerror(-r), info->name);
		return r;
	}
	r = rte_eth_dev_get_port_by_name(name, &port_id);
	snprintf(args, sizeof(args), "gz_xdp_%d", info->ifindex);
	for (uint32_t n = MIN(req->pools[0]->size, XDP_POOL_MOST); !pool && n >= XDP_POOL_LEAST / 2; n /= 2)
		pool = xdp_pool(args, MAX(n, XDP_POOL_LEAST), SOCKET_ID_ANY);
	if (!pool) {
		snprintf(err, err_bytes, "interface %s: no memory for AF_XDP's frames: %s (%u KB, the least that serves): give "
			 "EAL more memory (-m)", info->name, rte_strerror(rte_errno), XDP_POOL_LEAST * XDP_OBJECT_BYTES >> 10);
		rte_vdev_uninit(name);
		return -ENOMEM;
	}
	nd->queues[0].pool = pool;
	if (r == 0)
		r = port_open(nd, req, port_id, err, err_bytes);
	else
		snprintf(err, err_bytes, "interface %s: AF_XDP device has no port", info->name);
	if (r) {
		snprintf(err, err_bytes, "interface %s: AF_XDP cannot be used: %s: needs root (CAP_NET_ADMIN, CAP_BPF, CAP_NET_RAW, "
			 "CAP_IPC_LOCK or a locked-memory limit of %u MB) and no other XDP program (ip link set %s xdp off); or set "
			 "kernel_interface = \"packet\"", info->name, rte_strerror(-r),
			 pool->populated_size / ((1u << 20) / XDP_OBJECT_BYTES), info->name);
		rte_vdev_uninit(name);
		rte_mempool_free(pool);
		return r;
	}
	((struct port *)nd->priv)->xdp_pool = pool;
	snprintf(((struct port *)nd->priv)->vdev, sizeof(((struct port *)nd->priv)->vdev), "%s", name);
	return 0;
}

/* port_open.c - opens a DPDK port for the stack: each capability is asked for by itself, and what is missing is named.
 *
 * Called by netdev_open() at boot, in the home process, after EAL.
 */
#include "base/log.h"
#include "base/sys.h"
#include "netdev/ifinfo.h"
#include "netdev/port.h"

#include <rte_errno.h>
#include <rte_mempool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT_SEGS_MAX 64u
#define SIGSET_BYTES 8 /* of the kernel; libc's set is longer */

/* Drivers talk to their peers over sockets, without MSG_NOSIGNAL: closing a virtio-user port whose peer is gone raises SIGPIPE, which
 * would kill the program. The mask of this thread is put back as it was, and a SIGPIPE that was not there before is taken off. */
static bool sigpipe_block(sigset_t *before)
{
	sigset_t pipe_only, pending;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigemptyset(&pending);
	SYS(rt_sigpending, &pending, SIGSET_BYTES);
	SYS(rt_sigprocmask, SIG_BLOCK, &pipe_only, before, SIGSET_BYTES);
	return sigismember(&pending, SIGPIPE) != 1;
}

static void sigpipe_restore(const sigset_t *before, bool ours)
{
	struct timespec now = { 0 };
	sigset_t pipe_only;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	if (ours)
		SYS(rt_sigtimedwait, &pipe_only, NULL, &now, SIGSET_BYTES);
	SYS(rt_sigprocmask, SIG_SETMASK, before, NULL, SIGSET_BYTES);
}

static void port_close(struct netdev *nd)
{
	struct port *p = nd->priv;
	sigset_t before;
	bool ours = sigpipe_block(&before);

	port_link_stop(nd);
	if (p->started)
		rte_eth_dev_stop(nd->port_id);
	/* virtio_user (22.11) handles a peer that went away in EAL's interrupt thread, by alarms of its own; closing the device leaves that
	 * thread with freed memory (SIGSEGV, about one time in six). The process is about to end: the device stays as it is, stopped. */
	if (strcmp(p->driver, "net_virtio_user") != 0)
		rte_eth_dev_close(nd->port_id);
	if (p->vdev[0])
		xdp_remove(p->vdev);
	if (p->xdp_pool && rte_mempool_full(p->xdp_pool))
		rte_mempool_free(p->xdp_pool);
	sigpipe_restore(&before, ours);
	free(p->xnames);
	free(p->xvalues);
	free(p);
	nd->priv = NULL;
}

static const struct netdev_ops port_ops = {
	.kind = "port",
	.rx_burst = port_rx_burst,
	.tx_burst = port_tx_burst,
	.rx_pending = port_rx_pending,
	.wait_fd = port_wait_fd,
	.irq_enable = port_irq_enable,
	.irq_ack = port_irq_ack,
	.xstat = port_xstat,
	.housekeeping = port_housekeeping,
	.close = port_close,
};

/* For drivers that cannot say whether a frame waits (they answer -ENOTSUP): an idle stack receives to find out. */
static const struct netdev_ops port_blind_ops = {
	.kind = "port",
	.rx_burst = port_rx_burst,
	.tx_burst = port_tx_burst,
	.wait_fd = port_wait_fd,
	.irq_enable = port_irq_enable,
	.irq_ack = port_irq_ack,
	.xstat = port_xstat,
	.housekeeping = port_housekeeping,
	.close = port_close,
};

/* What the stack can use, and what serves instead. */
static const struct {
	uint64_t bit;
	bool rx;
	const char *without;
} wanted[] = {
	{ RTE_ETH_RX_OFFLOAD_IPV4_CKSUM, true, "IPv4 header checksums are verified in software" },
	{ RTE_ETH_RX_OFFLOAD_TCP_CKSUM, true, "TCP checksums are verified in software" },
	{ RTE_ETH_RX_OFFLOAD_UDP_CKSUM, true, "UDP checksums are verified in software" },
	{ RTE_ETH_RX_OFFLOAD_TCP_LRO, true, NULL },
	{ RTE_ETH_RX_OFFLOAD_SCATTER, true, NULL },
	{ RTE_ETH_RX_OFFLOAD_RSS_HASH, true, NULL },
	{ RTE_ETH_TX_OFFLOAD_IPV4_CKSUM, false, "IPv4 header checksums are computed in software" },
	{ RTE_ETH_TX_OFFLOAD_TCP_CKSUM, false, "TCP checksums are computed in software" },
	{ RTE_ETH_TX_OFFLOAD_UDP_CKSUM, false, "UDP checksums are computed in software" },
	{ RTE_ETH_TX_OFFLOAD_TCP_TSO, false, "segments leave one by one (no TSO)" },
	{ RTE_ETH_TX_OFFLOAD_MULTI_SEGS, false, "frames are copied into one piece" },
	{ RTE_ETH_TX_OFFLOAD_VLAN_INSERT, false, "VLAN tags are inserted in software" },
};

static void negotiate(struct netdev *nd, const struct rte_eth_dev_info *info)
{
	char list[512] = "";
	size_t used = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++) {
		uint64_t capa = wanted[i].rx ? info->rx_offload_capa : info->tx_offload_capa;

		if (capa & wanted[i].bit) {
			*(wanted[i].rx ? &nd->rx_offloads : &nd->tx_offloads) |= wanted[i].bit;
		} else if (wanted[i].without && used < sizeof(list)) {
			int n = snprintf(list + used, sizeof(list) - used, "%s%s", used ? "; " : "", wanted[i].without);

			used += n > 0 ? (size_t)n : 0;
		}
	}
	/* net_tap offers these and does them in software, one write() a segment: the stack's own way is no slower and proven */
	if (!strcmp(info->driver_name, "net_tap"))
		nd->tx_offloads &= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	/* a frame to segment is longer than a buffer, and its checksums are the device's */
	if (!(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) || !(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM))
		nd->tx_offloads &= ~RTE_ETH_TX_OFFLOAD_TCP_TSO;
	if (used)
		log_info("device %s (%s) lacks offloads: %s", nd->name, info->driver_name, list);
}

static void limits(struct netdev *nd, const struct rte_eth_dev_info *info)
{
	uint16_t room = (uint16_t)(rte_pktmbuf_data_room_size(nd->queues[0].pool) - RTE_PKTMBUF_HEADROOM);
	uint16_t segs = info->tx_desc_lim.nb_seg_max ? info->tx_desc_lim.nb_seg_max : PORT_SEGS_MAX;

	nd->tx_max_segs = 1;
	if (nd->tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
		nd->tx_max_segs = (uint16_t)MIN(segs, PORT_SEGS_MAX);
	if (nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) {
		/* one piece for headers; payload pieces may be partly filled: count on half */
		uint32_t fit = (uint32_t)(nd->tx_max_segs - 1) * room / 2;

		nd->tso_max_bytes = MIN(NETDEV_TSO_MAX, fit);
	}
}

static void read_rss(struct netdev *nd, const struct rte_eth_dev_info *info)
{
	struct port *p = nd->priv;
	struct rte_eth_rss_conf conf = { .rss_key = p->rss.key, .rss_key_len = sizeof(p->rss.key) };
	struct rte_eth_rss_reta_entry64 reta[NETDEV_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];

	if (info->hash_key_size == 0 || info->hash_key_size > sizeof(p->rss.key) || info->reta_size == 0 ||
	    info->reta_size > NETDEV_RETA_MAX)
		return;
	conf.rss_key_len = info->hash_key_size;
	if (rte_eth_dev_rss_hash_conf_get(nd->port_id, &conf))
		return;
	memset(reta, 0, sizeof(reta));
	for (unsigned i = 0; i < ARRAY_SIZE(reta); i++)
		reta[i].mask = UINT64_MAX;
	if (rte_eth_dev_rss_reta_query(nd->port_id, reta, info->reta_size))
		return;
	for (unsigned i = 0; i < info->reta_size; i++)
		p->rss.reta[i] = reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
	p->rss.reta_size = info->reta_size;
	p->rss.key_len = info->hash_key_size;
	p->rss.hash_types = conf.rss_hf;
	p->rss.valid = conf.rss_hf != 0;
}

static int configure(struct netdev *nd, struct rte_eth_dev_info *info, bool irq, char *err, size_t err_bytes)
{
	const uint64_t flows = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |
			       RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
	struct port *p = nd->priv;
	struct rte_eth_conf conf = { 0 };
	uint16_t mtu = 0;
	int r;

	if (rte_eth_dev_get_mtu(nd->port_id, &mtu) || mtu < 68)
		mtu = RTE_ETHER_MTU;
	if (info->max_mtu && mtu > info->max_mtu)
		mtu = info->max_mtu;
	conf.rxmode.mtu = mtu;
	conf.rxmode.offloads = nd->rx_offloads;
	if (nd->rx_offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO)
		conf.rxmode.max_lro_pkt_size = info->max_lro_pkt_size;
	conf.txmode.offloads = nd->tx_offloads;
	if (nd->nb_queues > 1 && (info->flow_type_rss_offloads & flows)) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & flows;
	}
	conf.intr_conf.lsc = p->lsc;
	conf.intr_conf.rxq = irq;
	r = rte_eth_dev_configure(nd->port_id, nd->nb_queues, nd->nb_queues, &conf);
	p->irq = irq && r == 0;
	if (r && irq) {
		conf.intr_conf.rxq = 0;
		r = rte_eth_dev_configure(nd->port_id, nd->nb_queues, nd->nb_queues, &conf);
	}
	if (r) {
		snprintf(err, err_bytes, "device %s (%s): configuring %u queues failed: %s: see the driver's messages above "
			 "(EAL option --log-level=pmd:debug)", nd->name, info->driver_name, nd->nb_queues,
			 rte_strerror(-r));
		return r;
	}
	atomic_store_explicit(&nd->mtu, mtu, memory_order_relaxed);
	return 0;
}

static int queues_setup(struct netdev *nd, const struct netdev_request *req, struct rte_eth_dev_info *info, char *err,
			size_t err_bytes)
{
	uint16_t nb_rx = req->rx_desc ? req->rx_desc : 1024, nb_tx = req->tx_desc ? req->tx_desc : 1024;
	uint16_t most = (uint16_t)MIN(UINT16_MAX, nd->queues[0].pool->size / 2);
	struct rte_eth_rxconf rxc = info->default_rxconf;
	struct rte_eth_txconf txc = info->default_txconf;
	int r;

	/* filled descriptors hold buffers: a ring larger than half the pool would starve everybody else */
	while (nb_rx > most && nb_rx > 64)
		nb_rx /= 2;
	while (nb_tx > most && nb_tx > 64)
		nb_tx /= 2;
	r = rte_eth_dev_adjust_nb_rx_tx_desc(nd->port_id, &nb_rx, &nb_tx);
	if (r) {
		snprintf(err, err_bytes, "device %s: descriptor counts: %s", nd->name, rte_strerror(-r));
		return r;
	}
	if ((req->rx_desc && nb_rx != req->rx_desc) || (req->tx_desc && nb_tx != req->tx_desc))
		log_info("device %s: %u receive and %u transmit descriptors (%u and %u asked for; limited by the device or "
			 "the number of buffers)", nd->name, nb_rx, nb_tx, req->rx_desc, req->tx_desc);
	rxc.offloads = nd->rx_offloads & info->rx_queue_offload_capa;
	txc.offloads = nd->tx_offloads & info->tx_queue_offload_capa;
	for (uint16_t q = 0; q < nd->nb_queues; q++) {
		int socket = rte_eth_dev_socket_id(nd->port_id);
		unsigned on = socket < 0 ? (unsigned)SOCKET_ID_ANY : (unsigned)socket;

		r = rte_eth_rx_queue_setup(nd->port_id, q, nb_rx, on, &rxc, nd->queues[q].pool);
		if (r == 0)
			r = rte_eth_tx_queue_setup(nd->port_id, q, nb_tx, on, &txc);
		if (r) {
			snprintf(err, err_bytes, "device %s: queue %u (%u/%u descriptors): %s: give more memory (-m, huge "
				 "pages) or lower nic_rxqueue_size, nic_txqueue_size", nd->name, q, nb_rx, nb_tx,
				 rte_strerror(-r));
			return r;
		}
	}
	return 0;
}

/* Only frames for our address, broadcast and multicast are wanted; devices that can filter nothing pass everything. */
static void filters(struct netdev *nd)
{
	int r = rte_eth_promiscuous_disable(nd->port_id);

	if (r && r != -ENOTSUP)
		log_info("device %s: stays promiscuous: %s", nd->name, rte_strerror(-r));
	r = rte_eth_allmulticast_disable(nd->port_id);
	if (r && r != -ENOTSUP)
		log_debug("device %s: receives all multicast: %s", nd->name, rte_strerror(-r));
}

int port_open(struct netdev *nd, const struct netdev_request *req, uint16_t port_id, char *err, size_t err_bytes)
{
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	struct port *p;
	int r;

	p = calloc(1, sizeof(*p));
	if (!p) {
		snprintf(err, err_bytes, "device: out of memory");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < NETDEV_MAX_QUEUES; i++)
		p->q[i].fd = -1;
	nd->priv = p;
	nd->ops = &port_ops;
	nd->port_id = port_id;
	if (rte_eth_dev_get_name_by_port(port_id, nd->name))
		snprintf(nd->name, sizeof(nd->name), "port %u", port_id);
	r = rte_eth_dev_info_get(port_id, &info);
	if (r == 0)
		r = rte_eth_macaddr_get(port_id, &mac);
	if (r) {
		snprintf(err, err_bytes, "device %s: does not describe itself: %s", nd->name, rte_strerror(-r));
		goto out;
	}
	snprintf(p->driver, sizeof(p->driver), "%s", info.driver_name ? info.driver_name : "?");
	memcpy(nd->mac, mac.addr_bytes, 6);
	nd->numa_node = rte_eth_dev_socket_id(port_id);
	nd->kernel_ifindex = (int)info.if_index;
	nd->nb_queues = (uint16_t)MIN(req->nb_queues, MIN(info.max_rx_queues, info.max_tx_queues));
	if (nd->nb_queues == 0) {
		snprintf(err, err_bytes, "device %s (%s): has %u receive and %u transmit queues (1 and 1 needed): check its "
			 "--vdev arguments", nd->name, p->driver, info.max_rx_queues, info.max_tx_queues);
		r = -ENODEV;
		goto out;
	}
	if (nd->nb_queues < req->nb_queues)
		log_info("device %s has %u queue%s for %u stacks: the others are fed in software", nd->name,
			 nd->nb_queues, nd->nb_queues == 1 ? "" : "s", req->nb_queues);
	p->lsc = info.dev_flags && (*info.dev_flags & RTE_ETH_DEV_INTR_LSC);
	negotiate(nd, &info);
	limits(nd, &info);
	p->tx_prepare = nd->tx_offloads & (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
					   RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO |
					   RTE_ETH_TX_OFFLOAD_VLAN_INSERT);
	/* asked for even if the run-time mode polls: the same queue may have to sleep later (low power) */
	r = configure(nd, &info, true, err, err_bytes);
	if (r == 0)
		r = queues_setup(nd, req, &info, err, err_bytes);
	if (r)
		goto out;
	r = rte_eth_dev_start(port_id);
	if (r && p->irq) {
		/* interrupts may fail only now: no vectors, no event descriptors */
		log_info("device %s: no receive interrupts: %s: idle stacks look at it every millisecond", nd->name,
			 rte_strerror(-r));
		p->irq = false;
		rte_eth_dev_stop(port_id);
		r = configure(nd, &info, false, err, err_bytes);
		if (r == 0)
			r = queues_setup(nd, req, &info, err, err_bytes);
		if (r)
			goto out;
		r = rte_eth_dev_start(port_id);
	}
	if (r) {
		snprintf(err, err_bytes, "device %s (%s): start failed: %s: see the driver's messages above", nd->name,
			 p->driver, rte_strerror(-r));
		goto out;
	}
	p->started = true;
	filters(nd);
	if (nd->nb_queues > 1)
		read_rss(nd, &info);
	if (p->irq && port_wait_fd(nd, 0) < 0 && strcmp(p->driver, "net_vhost"))
		p->irq = false;
	if (rte_eth_rx_queue_count(port_id, 0) < 0)
		nd->ops = &port_blind_ops;
	port_link_start(nd);
	if (!strcmp(p->driver, "net_af_packet") || !strcmp(p->driver, "net_af_xdp"))
		log_info("device %s (%s): frames that this machine's kernel sends arrive with unfinished checksums and are "
			 "dropped, unless its end runs `ethtool -K IF tx off tso off gso off`; naming the interface itself in "
			 "\"devices\" needs none of this", nd->name, p->driver);
	log_info("device %s: DPDK port %u, driver %s, %u queue%s, %s", nd->name, port_id, p->driver, nd->nb_queues,
		 nd->nb_queues == 1 ? "" : "s", p->irq ? "receive interrupts" : "no receive interrupt");
	return 0;
out:
	free(p);
	nd->priv = NULL;
	return r;
}

bool netdev_get_rss(const struct netdev *nd, struct netdev_rss *out)
{
	const struct port *p = nd->priv;

	if ((nd->ops != &port_ops && nd->ops != &port_blind_ops) || !p->rss.valid)
		return false;
	*out = p->rss;
	return true;
}

/* netdev.h - a network device as the stack sees it: queues of frames behind an ops table.
 *
 * The only users of rte_eth_* are the files of src/netdev. Backends: port_*.c (any DPDK port),
 * kif_*.c (a kernel interface by packet rings), tests/lib/memdev.c (in memory, for tests).
 * Everything here is called by the owner of the stack that the queue belongs to, in the home process;
 * open/close by boot.
 *
 * Offload convention, so that the engine need not know the device:
 * out: the engine sets RTE_MBUF_F_TX_IPV4|IP_CKSUM|TCP_CKSUM|UDP_CKSUM|TCP_SEG, l2_len l3_len l4_len tso_segsz, and
 *      writes the pseudo-header sum into the L4 checksum field; netdev_tx() hands it to the device, or
 *      computes in software what the device cannot (checksums; TSO is never asked of a device whose tso_max_bytes is 0).
 * in:  after netdev_rx(), ol_flags says RTE_MBUF_F_RX_{IP,L4}_CKSUM_GOOD or _BAD where the device (or a
 *      trusted peer: virtio "needs csum") settled it, else UNKNOWN and the engine verifies.
 */
#ifndef GZ_NETDEV_NETDEV_H
#define GZ_NETDEV_NETDEV_H

#include "base/compiler.h"
#include "netdev/pkt.h"

#define NETDEV_BURST 64
/* TCP payload of a frame to segment: 65,535, which IPv4 can say, less the longest IPv4 and TCP headers that we write. */
#define NETDEV_TSO_MAX 65455u
#define NETDEV_MAX_QUEUES 16

struct netdev;

struct netdev_ops {
	const char *kind; /* "port", "packet", "xdp", "mem" */
	/* Receives at most n frames; mbufs become the caller's. */
	uint16_t (*rx_burst)(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n);
	/* Sends; takes the first `result` mbufs, the rest stay the caller's. */
	uint16_t (*tx_burst)(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n);
	/* A frame waits on the queue (a hint may be wrong in the safe direction: true). NULL: unknown. */
	bool (*rx_pending)(struct netdev *nd, uint16_t queue);
	/* Descriptor to poll for POLLIN while idle; -1: none (timed back-off instead). */
	int (*wait_fd)(struct netdev *nd, uint16_t queue);
	/* Enables the receive interrupt before sleeping, disables it after. NULL where the descriptor needs none. 0 or -errno. */
	int (*irq_enable)(struct netdev *nd, uint16_t queue, bool on);
	/* After poll() said POLLIN: empties an event descriptor. NULL where not needed. */
	void (*irq_ack)(struct netdev *nd, uint16_t queue);
	/* Name and value of the i-th driver counter; false past the end. ctl thread; NULL: none. */
	bool (*xstat)(struct netdev *nd, unsigned i, const char **name, uint64_t *value);
	/* Once a second from the keeper: link state, MTU, device events (netlink, polling). Not on the packet path. NULL: none. */
	void (*housekeeping)(struct netdev *nd);
	void (*close)(struct netdev *nd);
};

struct netdev_queue_stats { /* [stack that owns the queue] */
	uint64_t rx_pkts, rx_bytes, rx_drop, rx_allocmbuf_fail;
	uint64_t rx_merged; /* of rx_pkts: went on as part of the one before */
	uint64_t tx_pkts, tx_bytes, tx_drop, tx_full;
};

struct netdev_queue {
	struct rte_mbuf *txq[2 * NETDEV_BURST]; /* frames queued in this round, sent by netdev_flush() */
	uint16_t txq_len;
	struct rte_mempool *pool; /* receive buffers come from here */
	void *priv;		  /* the backend's */
	struct netdev_queue_stats stats;
} cache_aligned;

struct netdev {
	const struct netdev_ops *ops; /* [const] */
	void *priv;
	char name[64];
	uint8_t mac[6];
	uint16_t nb_queues;
	uint16_t port_id;	   /* DPDK's, UINT16_MAX for others */
	int kernel_ifindex;	   /* kernel interface behind it, 0: none */
	int numa_node;
	_Atomic uint32_t mtu;	   /* IP packet size in bytes */
	uint64_t tx_offloads;	   /* RTE_ETH_TX_OFFLOAD_* in effect: CKSUMs, TCP_TSO, MULTI_SEGS, VLAN_INSERT */
	uint64_t rx_offloads;
	uint32_t tso_max_bytes;	   /* largest TSO payload per frame, 0: no TSO */
	uint16_t tx_max_segs;	   /* mbufs per frame, 1: linear only */
	bool tso_sum_has_len;	   /* frames to segment leave with the length in the pseudo-header sum (kernel, virtio) */
	uint64_t tx_fix;	   /* RTE_MBUF_F_TX_* that netdev_tx() takes care of in software */
	bool rx_merge;		   /* netdev_rx() joins consecutive TCP segments (gro.c) */
	uint32_t syn_answers_per_s; /* per queue: what flood protection may send, see tcp/syncookie.c; 0: as many as are asked for */
	_Atomic bool link_up;
	_Atomic uint32_t link_changes;
	struct netdev_queue queues[NETDEV_MAX_QUEUES];
};

/* Receives a burst, normalises offload results, and joins TCP segments of one flow that came together (nd->rx_merge). Frames become
 * the caller's. */
uint16_t netdev_rx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n);
/* Queues one complete Ethernet frame for sending; takes m (also when it must drop it: counted tx_drop). */
void netdev_tx(struct netdev *nd, uint16_t queue, struct rte_mbuf *m);
/* Hands queued frames to the device; leftovers are kept for the next call, never spun on. Returns frames still queued. */
uint16_t netdev_flush(struct netdev *nd, uint16_t queue);
/* Frames that can be queued before drops. */
static force_inline uint16_t netdev_tx_room(const struct netdev *nd, uint16_t queue)
{
	return (uint16_t)(2 * NETDEV_BURST - nd->queues[queue].txq_len);
}

/* May a frame to segment be a chain of mbufs? */
static force_inline bool netdev_chains_segments(const struct netdev *nd)
{
	return nd->tso_max_bytes && nd->tx_max_segs > 1;
}

/* Does the device put in m->vlan_tci when RTE_MBUF_F_TX_VLAN is set? (bit 0: RTE_ETH_TX_OFFLOAD_VLAN_INSERT) */
static force_inline bool netdev_inserts_vlan(const struct netdev *nd)
{
	return nd->tx_offloads & 1;
}

/* What boot asks for; filled from the configuration. */
struct netdev_request {
	const char *device;	   /* "devices" key: MAC, PCI address, kernel interface, vdev name; NULL: the only port */
	const char *kernel_interface; /* "auto" | "packet" | "xdp" */
	uint16_t nb_queues;	   /* wanted */
	uint16_t rx_desc, tx_desc;
	bool want_irq;
	struct rte_mempool *pools[NETDEV_MAX_QUEUES]; /* per queue */
	int netns_hint;
	uint32_t host_be; /* the stack's IPv4 address: a shared interface then passes on what may concern it only; 0: everything */
};

/* Opens the device for the request: decides by itself between DPDK port and kernel interface. On failure writes "what
 * failed: why: what to do" to err. 0 or -errno. After EAL. */
int netdev_open(struct netdev **out, const struct netdev_request *req, char *err, size_t err_bytes);
void netdev_close(struct netdev *nd);

/* Receive-side scaling as the device does it, read back from it. */
#define NETDEV_RETA_MAX 512
struct netdev_rss {
	bool valid;
	uint8_t key[64];
	uint8_t key_len;
	uint16_t reta_size;
	uint16_t reta[NETDEV_RETA_MAX]; /* hash % reta_size -> queue */
	uint64_t hash_types;		/* RTE_ETH_RSS_* in effect */
};
/* False: the device does not say (one queue, kernel fanout, no RSS). */
bool netdev_get_rss(const struct netdev *nd, struct netdev_rss *out);
/* True if `device` names an interface that the kernel drives (so EAL needs no PCI port for it). Before EAL. */
bool netdev_is_kernel_interface(const char *device, char *ifname, size_t ifname_bytes);

#endif

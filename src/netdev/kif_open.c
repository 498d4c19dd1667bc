/* kif_open.c - opens a kernel interface for the stack: sockets, rings, fanout; and the backend's table of operations.
 *
 * Called by netdev_open() at boot. Needs CAP_NET_RAW in the network namespace's user namespace, nothing else; changes
 * nothing on the interface. The kernel's own stack sees every frame too (and drops what is not for its addresses), so the
 * stack's address must not be one of the kernel's.
 */
#include "base/log.h"
#include "base/ownfd.h"
#include "base/sys.h"
#include "netdev/backend.h"
#include "netdev/ifinfo.h"
#include "netdev/kif.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <inttypes.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A slot holds the ring's header (with room for the virtio-net header and alignment) and one frame. Its size is no
 * multiple of a page: else the headers of all slots would compete for one set of the L1 cache. */
#define SLOT_OVERHEAD 192u
#define SLOT_BYTES (ROUND_UP(KIF_FRAME_MAX + SLOT_OVERHEAD, 128u) | 64u)
#define BLOCK_BYTES (1u << 20)
#define RING_SLOTS_MAX 256u /* 18 MB */
#define RING_SLOTS_MIN 32u
#define SOCKET_BUFFER (8 << 20)

static int kif_wait_fd(struct netdev *nd, uint16_t queue)
{
	return ((struct kif_queue *)nd->queues[queue].priv)->fd;
}

static bool kif_xstat(struct netdev *nd, unsigned i, const char **name, uint64_t *value)
{
	static const char *const names[] = {
		"ring_frames", "ring_drops",	 "rx_truncated", "rx_gso_frames", "rx_split_datagrams", "rx_unfinished_checksums",
		"tx_calls", "tx_gso_frames", "tx_again", "tx_errors",
	};
	struct kif *k = nd->priv;
	uint64_t sum = 0;

	if (i == ARRAY_SIZE(names)) {
		*name = "interface_returns";
		*value = atomic_load_explicit(&k->rebinds, memory_order_relaxed);
		return true;
	}
	if (i > ARRAY_SIZE(names))
		return false;
	for (uint16_t q = 0; q < nd->nb_queues; q++) {
		struct kif_queue *kq = k->q[q];
		const uint64_t v[] = {
			atomic_load_explicit(&kq->ring_frames, memory_order_relaxed),
			atomic_load_explicit(&kq->ring_drops, memory_order_relaxed),
			kq->rx_truncated, kq->rx_gso, kq->rx_split, kq->rx_partial_csum,
			kq->tx_calls, kq->tx_gso, kq->tx_again, kq->tx_errors,
		};

		_Static_assert(ARRAY_SIZE(v) == ARRAY_SIZE(names), "a name for each value");
		sum += v[i];
	}
	*name = names[i];
	*value = sum;
	return true;
}

static void queue_close(struct kif_queue *kq)
{
	if (!kq)
		return;
	if (kq->ring)
		munmap(kq->ring, kq->ring_bytes);
	if (kq->fd >= 0)
		own_fd_close(kq->fd);
	free(kq->slots);
	free(kq);
}

static void kif_close(struct netdev *nd)
{
	struct kif *k = nd->priv;

	for (uint16_t q = 0; q < NETDEV_MAX_QUEUES; q++)
		queue_close(k->q[q]);
	if (k->nl_fd >= 0)
		own_fd_close(k->nl_fd);
	free(k);
	nd->priv = NULL;
}

static const struct netdev_ops kif_ops = {
	.kind = "packet",
	.rx_burst = kif_rx_burst,
	.tx_burst = kif_tx_burst,
	.rx_pending = kif_rx_pending,
	.wait_fd = kif_wait_fd,
	.irq_ack = kif_irq_ack,
	.xstat = kif_xstat,
	.housekeeping = kif_housekeeping,
	.close = kif_close,
};

static int set_opt(int fd, int opt, int value)
{
	return (int)SYS(setsockopt, fd, SOL_PACKET, opt, &value, sizeof(value));
}

/* Ring of as many slots as memory allows, halved until it fits. */
static int ring_create(struct netdev *nd, struct kif_queue *kq, uint32_t want, char *err, size_t err_bytes)
{
	const uint32_t slot_bytes = SLOT_BYTES, per_block = BLOCK_BYTES / slot_bytes;
	uint32_t slots = want;
	long r, at;

	for (;;) {
		struct tpacket_req req = { .tp_block_size = BLOCK_BYTES, .tp_frame_size = slot_bytes };

		req.tp_block_nr = (slots + per_block - 1) / per_block;
		req.tp_frame_nr = req.tp_block_nr * per_block;
		r = SYS(setsockopt, kq->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req));
		if (r == 0) {
			kq->ring_bytes = (size_t)req.tp_block_nr * BLOCK_BYTES;
			at = SYS(mmap, NULL, kq->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
				 kq->fd, 0);
			if (at >= 0 || at < -4095) {
				kq->ring = (void *)at;
				kq->nb_slots = req.tp_frame_nr;
				break;
			}
			r = at;
			memset(&req, 0, sizeof(req));
			SYS(setsockopt, kq->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req));
		}
		if (slots <= RING_SLOTS_MIN || (r != -ENOMEM && r != -EAGAIN && r != -ENOBUFS)) {
			snprintf(err, err_bytes, "interface %s: no receive ring: %s (%u slots of %u KB, the least "
				 "that serves): free memory, or raise the container's limits", nd->name,
				 strerror((int)-r), slots, slot_bytes >> 10);
			return (int)r;
		}
		slots /= 2;
	}
	if (slots < want)
		log_info("interface %s: receive ring of %u slots instead of %u: not enough memory: bursts may be "
			 "lost", nd->name, kq->nb_slots, want);
	kq->slots = calloc(kq->nb_slots, sizeof(*kq->slots));
	if (!kq->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < kq->nb_slots; i++)
		kq->slots[i] = (uint8_t *)kq->ring + (size_t)(i / per_block) * BLOCK_BYTES +
			       (size_t)(i % per_block) * slot_bytes;
	return 0;
}

/* The kernel's own traffic on the interface would cost a copy a frame: only ARP, IPv4 to the stack's address, and IPv4 to a
 * group or everybody come through. */
static int filter_attach(int fd, uint32_t host_be)
{
	struct sock_filter prog[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), /* EtherType; a VLAN tag was taken out before */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ETH_HLEN + 16), /* destination */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(host_be), 2, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), /* group bit of the Ethernet destination */
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog fp = { .len = ARRAY_SIZE(prog), .filter = prog };

	return (int)SYS(setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, &fp, sizeof(fp));
}

static int queue_open(struct netdev *nd, uint16_t q, const struct netdev_request *req, char *err, size_t err_bytes)
{
	struct kif *k = nd->priv;
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = nd->kernel_ifindex };
	struct kif_queue *kq = aligned_alloc(CACHE_LINE, ROUND_UP(sizeof(*kq), (size_t)CACHE_LINE));
	uint32_t slots = req->rx_desc ? MIN(req->rx_desc, RING_SLOTS_MAX) : RING_SLOTS_MAX;
	int fd, r, size = SOCKET_BUFFER;

	if (!kq)
		return -ENOMEM;
	memset(kq, 0, sizeof(*kq));
	kq->fd = -1;
	k->q[q] = kq;
	nd->queues[q].priv = kq;
	/* protocol 0: nothing arrives before bind() below, when everything is set up */
	fd = (int)SYS(socket, AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		if (fd == -EPERM || fd == -EACCES)
			snprintf(err, err_bytes, "interface %s: packet socket refused: %s (capability CAP_NET_RAW "
				 "needed): run as root, with ambient CAP_NET_RAW, or in a user and network "
				 "namespace of your own", nd->name, strerror(-fd));
		else
			snprintf(err, err_bytes, "interface %s: no packet socket: %s: the kernel needs CONFIG_PACKET",
				 nd->name, strerror(-fd));
		return fd;
	}
	kq->fd = own_fd_adopt(fd);
	if (kq->fd < 0) {
		r = kq->fd;
		kq->fd = -1;
		sys_close(fd);
		snprintf(err, err_bytes, "interface %s: no descriptor for queue %u: %s: raise the limit of open files",
			 nd->name, q, strerror(-r));
		return r;
	}
	/* in this order: the kernel refuses to change either once rings exist */
	r = set_opt(kq->fd, PACKET_VERSION, TPACKET_V2);
	if (r == 0)
		r = set_opt(kq->fd, PACKET_VNET_HDR, 1);
	if (r < 0) {
		snprintf(err, err_bytes, "interface %s: packet rings with virtio-net headers refused: %s (Linux 4.6 or "
			 "later needed): use a DPDK device, e.g. --vdev=net_af_packet0,iface=%s", nd->name,
			 strerror(-r), nd->name);
		return r;
	}
	if (set_opt(kq->fd, PACKET_IGNORE_OUTGOING, 1) < 0)
		log_info("interface %s: kernel older than 4.20 shows us our own frames: slower", nd->name);
	if (SYS(setsockopt, kq->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		SYS(setsockopt, kq->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = ring_create(nd, kq, slots, err, err_bytes);
	if (r)
		return r;
	if (req->host_be && filter_attach(kq->fd, req->host_be) < 0)
		log_info("interface %s: no socket filter: the kernel's own traffic is seen as well: slower", nd->name);
	r = (int)SYS(bind, kq->fd, &sa, sizeof(sa));
	if (r < 0)
		snprintf(err, err_bytes, "interface %s: cannot be bound to: %s", nd->name, strerror(-r));
	return r;
}

/* Several queues: the kernel spreads flows over the sockets by its own hash. Which socket a flow lands on cannot be told
 * in advance; the stacks pass misplaced frames on between themselves. */
static int fanout_join(struct netdev *nd, char *err, size_t err_bytes)
{
	struct kif *k = nd->priv;
	int arg = PACKET_FANOUT_HASH << 16 | PACKET_FANOUT_FLAG_UNIQUEID << 16, r;
	socklen_t n = sizeof(arg);

	for (uint16_t q = 0; q < nd->nb_queues; q++) {
		r = set_opt(k->q[q]->fd, PACKET_FANOUT, arg);
		if (r < 0) {
			snprintf(err, err_bytes, "interface %s: queues cannot share it: PACKET_FANOUT: %s: use one queue "
				 "(num_cpus)", nd->name, strerror(-r));
			return r;
		}
		if (q == 0) { /* the number that the kernel chose */
			r = (int)SYS(getsockopt, k->q[0]->fd, SOL_PACKET, PACKET_FANOUT, &arg, &n);
			if (r < 0)
				return r;
			arg = (arg & 0xffff) | PACKET_FANOUT_HASH << 16;
		}
	}
	return 0;
}

int kif_open(struct netdev *nd, const struct netdev_request *req, const struct if_info *info, char *err,
	     size_t err_bytes)
{
	struct kif *k;
	struct if_info now;
	int r;

	if (info->loopback || !info->ethernet || !info->has_mac) {
		snprintf(err, err_bytes, "interface %s: is no Ethernet interface%s: name another in \"devices\"", info->name,
			 info->loopback ? " (loopback)" : "");
		return -EOPNOTSUPP;
	}
	k = calloc(1, sizeof(*k));
	if (!k) {
		snprintf(err, err_bytes, "interface %s: out of memory", info->name);
		return -ENOMEM;
	}
	k->nl_fd = -1;
	snprintf(k->ifname, sizeof(k->ifname), "%s", info->name);
	nd->priv = k;
	nd->ops = &kif_ops;
	snprintf(nd->name, sizeof(nd->name), "%s", info->name);
	nd->kernel_ifindex = info->ifindex;
	nd->port_id = UINT16_MAX;
	nd->numa_node = -1;
	nd->nb_queues = req->nb_queues;
	nd->tx_offloads = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
			  RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	nd->rx_offloads = RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_LRO |
			  RTE_ETH_RX_OFFLOAD_SCATTER;
	nd->tso_max_bytes = NETDEV_TSO_MAX;
	nd->tx_max_segs = KIF_MAX_SEGS;
	nd->syn_answers_per_s = KIF_SYN_ANSWERS;
	nd->tso_sum_has_len = true;
	memcpy(nd->mac, info->mac, 6);
	atomic_init(&nd->mtu, info->mtu);
	atomic_init(&nd->link_up, ifinfo_link_up(info));

	err[0] = '\0';
	r = kif_link_open(nd, err, err_bytes);
	for (uint16_t q = 0; r == 0 && q < nd->nb_queues; q++)
		r = queue_open(nd, q, req, err, err_bytes);
	if (r == 0 && nd->nb_queues > 1)
		r = fanout_join(nd, err, err_bytes);
	if (r) {
		if (!err[0])
			snprintf(err, err_bytes, "interface %s: %s", nd->name, strerror(-r));
		kif_close(nd);
		return r;
	}
	/* what changed between the look-up and the watch */
	if (ifinfo_by_index(nd->kernel_ifindex, &now) == 0) {
		atomic_store_explicit(&nd->mtu, now.mtu, memory_order_relaxed);
		atomic_store_explicit(&nd->link_up, ifinfo_link_up(&now), memory_order_relaxed);
	}
	log_info("device %s: kernel interface by packet rings, %u queue%s of %u slots (checksum, TSO and large receive "
		 "in the kernel's hands; nothing to prepare)", nd->name, nd->nb_queues,
		 nd->nb_queues == 1 ? "" : "s", k->q[0]->nb_slots);
	if (!atomic_load_explicit(&nd->link_up, memory_order_relaxed))
		log_info("interface %s: %s: nothing is received until then: ip link set %s up", nd->name,
			 info->flags & IFF_UP ? "has no carrier" : "is down", nd->name);
	return 0;
}

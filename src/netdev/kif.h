/* kif.h - private to the kernel-interface backend (kif_open.c, kif_rx.c, kif_tx.c, kif_link.c).
 *
 * A kernel interface is served by one packet socket per queue, with virtio-net headers (checksum and segmentation state of
 * every frame) and a TPACKET_V2 receive ring: a slot is visible the moment the kernel has filled it, where V3 hands over
 * whole blocks by a millisecond timer. doc/netdev.md has the measurements behind each choice.
 */
#ifndef GZ_NETDEV_KIF_H
#define GZ_NETDEV_KIF_H

#include "netdev/netdev.h"

#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define KIF_FRAME_MAX (65535u + 18u)	/* largest GSO frame with Ethernet and VLAN header */
#define KIF_MAX_SEGS 256u		/* mbufs per frame that we send: small writes make small pieces */
#define KIF_SYN_ANSWERS 5000u /* a second: a frame costs the kernel microseconds, 50,000 answers to a flood took half of everybody's goodput */
#define KIF_IOV (NETDEV_BURST * 4 + KIF_MAX_SEGS + 1)

struct kif_queue {
	/* receive ring [stack] */
	uint8_t **slots; /* [const] address of each slot */
	uint32_t nb_slots, head;
	uint32_t split_at; /* next datagram of a slot that holds several, 0: none begun */
	int fd;
	/* transmit [stack] */
	struct mmsghdr msgs[NETDEV_BURST];
	struct iovec iov[KIF_IOV];
	struct virtio_net_hdr vhdr[NETDEV_BURST];
	/* counters [stack] */
	uint64_t rx_truncated, rx_gso, rx_split, rx_partial_csum, tx_gso, tx_calls, tx_again, tx_errors;
	/* [keeper] */
	_Atomic uint64_t ring_frames, ring_drops;
	void *ring;
	size_t ring_bytes;
};

struct kif {
	char ifname[IF_NAMESIZE];
	int nl_fd; /* route netlink: link changes */
	_Atomic bool gone;
	_Atomic uint32_t rebinds;
	struct kif_queue *q[NETDEV_MAX_QUEUES];
};

/* kif_rx.c */
uint16_t kif_rx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n);
bool kif_rx_pending(struct netdev *nd, uint16_t queue);
/* kif_tx.c */
uint16_t kif_tx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n);
/* kif_link.c */
int kif_link_open(struct netdev *nd, char *err, size_t err_bytes);
void kif_housekeeping(struct netdev *nd);
void kif_irq_ack(struct netdev *nd, uint16_t queue);

#endif

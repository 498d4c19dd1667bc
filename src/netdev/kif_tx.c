/* kif_tx.c - frames to a kernel interface: one sendmmsg() for a burst, gathered straight from the mbufs.
 *
 * Called by netdev_flush(), by the owner of the queue's stack. The virtio-net header in front of each frame asks the kernel
 * to finish the checksum and to segment (or to pass the large frame on whole, as over a virtual link). The kernel has
 * copied the bytes when the call returns, so mbufs are free at once.
 */
#include "base/sys.h"
#include "netdev/kif.h"

#include <netinet/tcp.h>
#include <string.h>

#define TCP_CSUM_OFFSET 16
#define UDP_CSUM_OFFSET 6

static force_inline void fill_vhdr(struct virtio_net_hdr *vh, const struct rte_mbuf *m)
{
	uint64_t flags = m->ol_flags;

	memset(vh, 0, sizeof(*vh));
	if (!(flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG)))
		return;
	vh->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vh->csum_start = (uint16_t)(m->l2_len + m->l3_len);
	vh->csum_offset = (flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM ? UDP_CSUM_OFFSET
										     : TCP_CSUM_OFFSET;
	if (flags & RTE_MBUF_F_TX_TCP_SEG) {
		vh->csum_offset = TCP_CSUM_OFFSET;
		vh->hdr_len = (uint16_t)(m->l2_len + m->l3_len + m->l4_len);
		vh->gso_size = m->tso_segsz;
		vh->gso_type = flags & RTE_MBUF_F_TX_IPV6 ? VIRTIO_NET_HDR_GSO_TCPV6
							  : VIRTIO_NET_HDR_GSO_TCPV4;
	}
}

/* Describes m by iov entries; returns how many, 0 if they do not fit. */
static force_inline uint32_t fill_iov(struct iovec *iov, uint32_t room, struct rte_mbuf *m,
				      struct virtio_net_hdr *spare)
{
	struct virtio_net_hdr *vh = spare;
	uint32_t n = 0;

	if (unlikely((uint32_t)m->nb_segs + 1 > room))
		return 0;
	/* One piece instead of two where the header fits in front of the frame; the headroom of an indirect
	 * mbuf is somebody else's data. */
	if (likely(RTE_MBUF_DIRECT(m) && rte_pktmbuf_headroom(m) >= sizeof(*vh))) {
		vh = (struct virtio_net_hdr *)(void *)(rte_pktmbuf_mtod(m, uint8_t *) - sizeof(*vh));
		iov[0].iov_base = vh;
		iov[0].iov_len = sizeof(*vh) + m->data_len;
		n = 1;
	} else {
		iov[0].iov_base = vh;
		iov[0].iov_len = sizeof(*vh);
		iov[1].iov_base = rte_pktmbuf_mtod(m, void *);
		iov[1].iov_len = m->data_len;
		n = 2;
	}
	fill_vhdr(vh, m);
	for (m = m->next; m; m = m->next) {
		iov[n].iov_base = rte_pktmbuf_mtod(m, void *);
		iov[n++].iov_len = m->data_len;
	}
	return n;
}

/* The first frame of a burst was refused: true when it will never be accepted (or is lost already). */
static cold_path bool tx_refused(struct kif_queue *kq, long err)
{
	switch (err) {
	case -EAGAIN: /* socket's send buffer full: later */
	case -EINTR:
	case -ENOMEM:
		kq->tx_again++;
		return false;
	default:
		/* ENOBUFS: the queueing discipline dropped it. ENETDOWN, ENXIO: interface down or gone.
		 * EMSGSIZE: larger than the interface's MTU now. */
		kq->tx_errors++;
		return true;
	}
}

uint16_t kif_tx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct netdev_queue *nq = &nd->queues[queue];
	struct kif_queue *kq = nq->priv;
	uint16_t done = 0;

	while (done < n) {
		uint32_t used = 0;
		uint16_t batch = 0;
		long sent;

		while (batch < NETDEV_BURST && done + batch < n) {
			struct msghdr *h = &kq->msgs[batch].msg_hdr;
			uint32_t k = fill_iov(kq->iov + used, KIF_IOV - used, m[done + batch],
					      &kq->vhdr[batch]);

			if (!k)
				break;
			h->msg_iov = kq->iov + used;
			h->msg_iovlen = k;
			used += k;
			batch++;
		}
		if (unlikely(batch == 0)) { /* more pieces than netdev_tx() lets through */
			rte_pktmbuf_free(m[done++]);
			nq->stats.tx_drop++;
			continue;
		}
		kq->tx_calls++;
		sent = batch == 1 ? SYS(sendmsg, kq->fd, &kq->msgs[0].msg_hdr, MSG_DONTWAIT) :
				    SYS(sendmmsg, kq->fd, kq->msgs, batch, MSG_DONTWAIT);
		if (unlikely(sent < 0)) {
			if (!tx_refused(kq, sent))
				break;
			sent = 1;
			nq->stats.tx_drop++;
			nq->stats.tx_pkts--; /* netdev_flush() counts it as taken */
		} else if (batch == 1) {
			sent = 1;
		}
		for (uint16_t i = 0; i < sent; i++)
			kq->tx_gso += !!(m[done + i]->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
		rte_pktmbuf_free_bulk(m + done, (unsigned)sent);
		done = (uint16_t)(done + sent);
	}
	return done;
}

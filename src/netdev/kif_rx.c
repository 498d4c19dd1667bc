/* kif_rx.c - frames from a kernel interface: TPACKET_V2 slots into mbuf chains.
 *
 * Called by netdev_rx(), by the owner of the queue's stack. Frames up to 64 KB arrive whole when the sender (or GRO) left
 * them unsegmented; the virtio-net header in front says so, and whether the checksum is still unfinished.
 */
#include "base/csum.h"
#include "netdev/kif.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#define VLAN_BYTES 4u
#define MAX_CHAIN 64u
#define GSO_UDP_L4 5 /* VIRTIO_NET_HDR_GSO_UDP_L4, Linux 6.2 */

static force_inline _Atomic uint32_t *slot_status(uint8_t *slot)
{
	return (_Atomic uint32_t *)(void *)&((struct tpacket2_hdr *)(void *)slot)->tp_status;
}

/* What the kernel knows about the frame, in DPDK's words.
 * A frame with NEEDS_CSUM comes from this machine and was never on a wire: its checksum field holds the pseudo-header sum
 * only, and the data is as good as memory is. */
static force_inline void set_offload(struct kif_queue *kq, struct rte_mbuf *m, const struct virtio_net_hdr *vh,
				     uint32_t status)
{
	uint64_t flags = 0;

	if (vh->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
		kq->rx_partial_csum++;
	} else if ((vh->flags & VIRTIO_NET_HDR_F_DATA_VALID) || (status & TP_STATUS_CSUM_VALID)) {
		flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	}
	if (vh->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		flags |= RTE_MBUF_F_RX_LRO;
		m->tso_segsz = vh->gso_size;
		kq->rx_gso++;
	}
	m->ol_flags |= flags;
}

/* Copies len bytes behind what the chain's first mbuf already holds into a chain over seg[0..n). */
static void fill_chain(struct rte_mbuf **seg, uint32_t n, const uint8_t *data, uint32_t len)
{
	struct rte_mbuf *head = seg[0];

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = seg[i];
		uint32_t take = MIN(len, (uint32_t)rte_pktmbuf_tailroom(m));

		memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, m->data_len), data, take);
		m->data_len = (uint16_t)(m->data_len + take);
		data += take;
		len -= take;
		m->next = i + 1 < n ? seg[i + 1] : NULL;
	}
	head->nb_segs = (uint16_t)n;
}

/* A sender on this machine may hand over many datagrams as one frame (UDP_SEGMENT, udp(7)); to the receiver they are datagrams.
 * Copies the next one out of the slot; *last when it was the last. NULL as in take_slot(). UDP over IPv4 or IPv6 without extension
 * headers: the only form in which Linux makes such frames. */
static cold_path struct rte_mbuf *take_datagram(struct netdev_queue *nq, struct kif_queue *kq, const uint8_t *data,
						uint32_t len, const struct virtio_net_hdr *vh, bool *bad, bool *last)
{
	uint32_t l4 = vh->csum_start, l3 = ETH_HLEN, hdr = l4 + 8u, at, take;
	bool is_ip4;
	struct rte_mbuf *m;
	uint8_t *p;
	uint16_t be;

	*last = true;
	*bad = true;
	if (len >= ETH_HLEN + VLAN_BYTES && data[12] == 0x81 && data[13] == 0x00)
		l3 += VLAN_BYTES;
	if (vh->gso_size == 0 || l4 < l3 + 20 || hdr >= len)
		goto malformed;
	is_ip4 = data[l3] >> 4 == 4;
	if (!is_ip4 && l4 != l3 + 40)
		goto malformed;
	at = kq->split_at ? kq->split_at : hdr;
	take = MIN((uint32_t)vh->gso_size, len - at);
	if (hdr + take > (uint32_t)rte_pktmbuf_data_room_size(nq->pool) - RTE_PKTMBUF_HEADROOM)
		goto malformed;
	m = rte_pktmbuf_alloc(nq->pool);
	*bad = false;
	if (!m)
		return NULL;
	p = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(hdr + take));
	memcpy(p, data, hdr);
	memcpy(p + hdr, data + at, take);
	be = htons((uint16_t)(8 + take));
	memcpy(p + l4 + 4, &be, 2);
	if (is_ip4) {
		uint16_t id, sum;

		be = htons((uint16_t)(hdr - l3 + take));
		memcpy(p + l3 + 2, &be, 2);
		memcpy(&id, p + l3 + 4, 2);
		id = htons((uint16_t)(ntohs(id) + (at - hdr) / vh->gso_size));
		memcpy(p + l3 + 4, &id, 2);
		memset(p + l3 + 10, 0, 2);
		sum = csum_flat(p + l3, (l4 - l3));
		memcpy(p + l3 + 10, &sum, 2);
	} else {
		memcpy(p + l3 + 4, &be, 2);
	}
	/* the checksum was never computed: memory on this machine vouches for the bytes */
	m->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	kq->rx_split++;
	*last = at + take == len;
	kq->split_at = *last ? 0 : at + take;
	return m;
malformed:
	kq->rx_truncated++;
	kq->split_at = 0;
	return NULL;
}

/* One slot into mbufs; NULL: no buffers (the slot stays) or, with *bad set, a frame that must be skipped. *last: the slot is done. */
static force_inline struct rte_mbuf *take_slot(struct netdev_queue *nq, struct kif_queue *kq, uint8_t *slot,
					       uint32_t status, bool *bad, bool *last)
{
	const struct tpacket2_hdr *h = (const struct tpacket2_hdr *)(void *)slot;
	const uint8_t *data = slot + h->tp_mac;
	struct virtio_net_hdr vh;
	struct rte_mbuf *seg[MAX_CHAIN];
	uint32_t len = h->tp_snaplen, room, n, extra;

	if (unlikely(h->tp_len != len || len < ETH_HLEN)) {
		kq->rx_truncated++;
		*bad = true;
		return NULL;
	}
	/* the header stands right before the frame, whatever its alignment */
	memcpy(&vh, data - sizeof(vh), sizeof(vh));
	if (unlikely(vh.gso_type == GSO_UDP_L4)) {
		seg[0] = take_datagram(nq, kq, data, len, &vh, bad, last);
		if (seg[0] && (status & TP_STATUS_VLAN_VALID)) { /* netdev_rx() puts it back */
			seg[0]->vlan_tci = h->tp_vlan_tci;
			seg[0]->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
		}
		return seg[0];
	}
	extra = status & TP_STATUS_VLAN_VALID ? VLAN_BYTES : 0;
	room = (uint32_t)rte_pktmbuf_data_room_size(nq->pool) - RTE_PKTMBUF_HEADROOM;
	if (likely(len + extra <= room)) {
		seg[0] = rte_pktmbuf_alloc(nq->pool);
		if (unlikely(!seg[0]))
			return NULL;
		n = 1;
	} else {
		n = 0;
		for (uint32_t have = 0; have < len + extra; have += room)
			n++;
		if (unlikely(n > MAX_CHAIN)) {
			kq->rx_truncated++;
			*bad = true;
			return NULL;
		}
		if (unlikely(rte_pktmbuf_alloc_bulk(nq->pool, seg, n)))
			return NULL;
	}
	if (unlikely(extra)) {
		/* the kernel took the tag out of the frame: put it back where it was */
		uint8_t *to = rte_pktmbuf_mtod(seg[0], uint8_t *);
		uint16_t tpid = status & TP_STATUS_VLAN_TPID_VALID ? h->tp_vlan_tpid : ETH_P_8021Q;

		memcpy(to, data, 12);
		to[12] = (uint8_t)(tpid >> 8);
		to[13] = (uint8_t)tpid;
		to[14] = (uint8_t)(h->tp_vlan_tci >> 8);
		to[15] = (uint8_t)h->tp_vlan_tci;
		seg[0]->data_len = 16;
		data += 12;
		len -= 12;
		seg[0]->pkt_len = 16 + len;
	} else {
		seg[0]->pkt_len = len;
	}
	set_offload(kq, seg[0], &vh, status);
	if (likely(n == 1)) {
		memcpy(rte_pktmbuf_mtod_offset(seg[0], uint8_t *, seg[0]->data_len), data, len);
		seg[0]->data_len = (uint16_t)(seg[0]->data_len + len);
	} else {
		fill_chain(seg, n, data, len);
	}
	return seg[0];
}

uint16_t kif_rx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct netdev_queue *nq = &nd->queues[queue];
	struct kif_queue *kq = nq->priv;
	uint16_t got = 0, seen = 0;

	while (seen < n) {
		uint8_t *slot = kq->slots[kq->head];
		/* pairs with the kernel's write barrier before it sets TP_STATUS_USER */
		uint32_t status = atomic_load_explicit(slot_status(slot), memory_order_acquire);
		uint32_t next = kq->head + 1 == kq->nb_slots ? 0 : kq->head + 1;
		bool bad = false, last = true;

		if (!(status & TP_STATUS_USER))
			break;
		prefetch(kq->slots[next]);
		prefetch(kq->slots[next] + CACHE_LINE);
		m[got] = take_slot(nq, kq, slot, status, &bad, &last);
		if (likely(m[got] != NULL)) {
			got++;
		} else if (bad) {
			nq->stats.rx_drop++;
		} else {
			/* The frame stays in its slot: buffers that come back serve it later; meanwhile the
			 * ring fills and the kernel drops and counts. */
			nq->stats.rx_allocmbuf_fail++;
			break;
		}
		seen++;
		if (unlikely(!last))
			continue;
		atomic_store_explicit(slot_status(slot), TP_STATUS_KERNEL, memory_order_release);
		kq->head = next;
	}
	return got;
}

bool kif_rx_pending(struct netdev *nd, uint16_t queue)
{
	struct kif_queue *kq = nd->queues[queue].priv;

	return atomic_load_explicit(slot_status(kq->slots[kq->head]), memory_order_acquire) & TP_STATUS_USER;
}

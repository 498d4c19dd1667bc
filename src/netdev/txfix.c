/* txfix.c - what a device cannot do is done here: checksums, VLAN tags, and frames of fewer pieces.
 *
 * Called by netdev_tx() for frames that need it (nd->tx_fix), once per frame, before it is queued; owner of the stack.
 * Headers may be written: a frame's first mbuf holds headers of our own (runtime.md, "Memory"). Payload is never written.
 */
#include "base/csum.h"
#include "netdev/backend.h"

#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>

#include <netinet/in.h>
#include <stdio.h>

#define TCP_CSUM_OFFSET 16
#define UDP_CSUM_OFFSET 6

uint64_t tx_fixup_mask(const struct netdev *nd)
{
	uint64_t mask = 0;

	if (!(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM))
		mask |= RTE_MBUF_F_TX_IP_CKSUM;
	/* a field of two bits: TCP is 01, UDP is 11 */
	if (!(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) || !(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM))
		mask |= RTE_MBUF_F_TX_L4_MASK;
	if (!(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) || nd->tso_sum_has_len)
		mask |= RTE_MBUF_F_TX_TCP_SEG;
	if (!(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT))
		mask |= RTE_MBUF_F_TX_VLAN;
	return mask;
}

/* The bytes of the frame's headers lie in the first mbuf? (they do; a frame that breaks the rule is dropped, not trusted) */
static force_inline bool headers_present(const struct rte_mbuf *m, uint32_t need)
{
	return m->l2_len >= RTE_ETHER_HDR_LEN && m->l3_len >= 20 && m->data_len >= need;
}

/* Finishes the L4 checksum whose field holds the pseudo-header sum. */
static void l4_checksum(struct rte_mbuf *m, uint32_t l4, uint32_t field)
{
	uint32_t hlen = m->l4_len % 4 == 0 && l4 + m->l4_len <= m->data_len ? m->l4_len : 0;
	uint64_t head = csum_words(rte_pktmbuf_mtod_offset(m, const char *, l4), hlen);
	uint16_t sum = (uint16_t)~csum_fold(csum_mbuf(m, l4 + hlen, m->pkt_len - l4 - hlen, head));

	/* RFC 768: an all-zero UDP sum is sent as all ones; for TCP both mean the same */
	if (sum == 0 && (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM)
		sum = 0xffff;
	memcpy(rte_pktmbuf_mtod_offset(m, uint8_t *, l4 + field), &sum, sizeof(sum));
}

/* The kernel (virtio, "virtio_net_hdr": like a checksum without segmentation) wants the length in the pseudo-header sum of a frame
 * to be segmented; the engine follows DPDK, where it is left out. */
static void tso_add_length(struct rte_mbuf *m, uint32_t l4)
{
	uint8_t *field = rte_pktmbuf_mtod_offset(m, uint8_t *, l4 + TCP_CSUM_OFFSET);
	uint16_t sum;

	memcpy(&sum, field, sizeof(sum));
	sum = csum_fold((uint64_t)sum + htons((uint16_t)(m->pkt_len - l4)));
	memcpy(field, &sum, sizeof(sum));
}

static bool checksums(struct netdev *nd, struct rte_mbuf *m)
{
	uint64_t flags = m->ol_flags, l4_kind = flags & RTE_MBUF_F_TX_L4_MASK;
	uint32_t l3 = m->l2_len, l4 = (uint32_t)m->l2_len + m->l3_len;

	if (!headers_present(m, l4))
		return false;
	if ((flags & RTE_MBUF_F_TX_IP_CKSUM) && !(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM)) {
		uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, l3);
		uint16_t sum;

		if (likely(m->l3_len == 20)) {
			sum = csum_ip4_fill(ip);
		} else {
			memset(ip + 10, 0, 2);
			sum = csum_flat(ip, m->l3_len);
		}
		memcpy(ip + 10, &sum, sizeof(sum));
		m->ol_flags &= ~RTE_MBUF_F_TX_IP_CKSUM;
	}
	if (flags & RTE_MBUF_F_TX_TCP_SEG) {
		if (!(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) || m->data_len < l4 + 20)
			return false;
		if (nd->tso_sum_has_len)
			tso_add_length(m, l4);
	} else if (l4_kind == RTE_MBUF_F_TX_TCP_CKSUM && !(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM)) {
		if (m->data_len < l4 + 20)
			return false;
		l4_checksum(m, l4, TCP_CSUM_OFFSET);
		m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
	} else if (l4_kind == RTE_MBUF_F_TX_UDP_CKSUM && !(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM)) {
		if (m->data_len < l4 + 8)
			return false;
		l4_checksum(m, l4, UDP_CSUM_OFFSET);
		m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
	}
	return true;
}

/* Writes the tag of mbuf->vlan_tci into the frame. */
static bool vlan_insert(struct rte_mbuf *m)
{
	uint8_t *p;

	if (m->data_len < RTE_ETHER_HDR_LEN || rte_pktmbuf_headroom(m) < RTE_VLAN_HLEN)
		return false;
	p = (uint8_t *)rte_pktmbuf_prepend(m, RTE_VLAN_HLEN);
	memmove(p, p + RTE_VLAN_HLEN, 2 * RTE_ETHER_ADDR_LEN);
	p[12] = 0x81;
	p[13] = 0x00;
	p[14] = (uint8_t)(m->vlan_tci >> 8);
	p[15] = (uint8_t)m->vlan_tci;
	m->ol_flags &= ~RTE_MBUF_F_TX_VLAN;
	if (m->l2_len)
		m->l2_len += RTE_VLAN_HLEN;
	return true;
}

bool rx_vlan_reinsert(struct rte_mbuf *m)
{
	if (!vlan_insert(m))
		return false;
	m->ol_flags &= ~(RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED);
	m->l2_len = 0;
	return true;
}

/* A copy of m in as few mbufs as its bytes need; takes m. NULL: no buffers, or still too many. */
static struct rte_mbuf *repack(struct netdev *nd, uint16_t queue, struct rte_mbuf *m)
{
	struct rte_mempool *pool = nd->queues[queue].pool;
	uint32_t left = m->pkt_len, off = 0;
	struct rte_mbuf *head = NULL, *tail = NULL;
	uint16_t segs = 0;

	while (left) {
		struct rte_mbuf *s = rte_pktmbuf_alloc(pool);
		uint32_t take;

		if (!s || ++segs > nd->tx_max_segs) {
			rte_pktmbuf_free(s);
			rte_pktmbuf_free(head);
			rte_pktmbuf_free(m);
			return NULL;
		}
		if (tail) /* headroom is for headers: the rest may use it all */
			s->data_off = 0;
		take = MIN(left, (uint32_t)rte_pktmbuf_tailroom(s));
		/* rte_pktmbuf_read copies to the given place when the range spans mbufs, else points into m */
		const void *src = rte_pktmbuf_read(m, off, take, rte_pktmbuf_mtod(s, void *));

		if (src != rte_pktmbuf_mtod(s, void *))
			memcpy(rte_pktmbuf_mtod(s, void *), src, take);
		s->data_len = (uint16_t)take;
		if (tail)
			tail->next = s;
		else
			head = s;
		tail = s;
		off += take;
		left -= take;
	}
	head->pkt_len = m->pkt_len;
	head->nb_segs = segs;
	head->ol_flags |= m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK;
	head->tx_offload = m->tx_offload;
	head->vlan_tci = m->vlan_tci;
	rte_pktmbuf_free(m);
	return head;
}

struct rte_mbuf *tx_fixup(struct netdev *nd, uint16_t queue, struct rte_mbuf *m)
{
	uint64_t need = m->ol_flags & nd->tx_fix;

	if ((need & RTE_MBUF_F_TX_VLAN) && unlikely(!vlan_insert(m)))
		goto bad;
	if ((need & ~RTE_MBUF_F_TX_VLAN) && unlikely(!checksums(nd, m)))
		goto bad;
	if (unlikely(m->nb_segs > nd->tx_max_segs)) {
		m = repack(nd, queue, m);
		if (!m)
			nd->queues[queue].stats.tx_drop++;
	}
	return m;
bad:
	rte_pktmbuf_free(m);
	nd->queues[queue].stats.tx_drop++;
	return NULL;
}

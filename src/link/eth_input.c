/* eth_input.c - received frames: whose they are, VLAN, EtherType (walk in, step 3). Called by the loop with a burst; on to
 * arp.c or ip4_input(). Owner of the stack only. IEEE 802.3, 802.1Q. */
#include "base/mbufs.h"
#include "ip/ip4.h"
#include "link/neigh.h"

#include <rte_ether.h>

/* Is a frame to dst for us? Also says whether it was sent to a group. */
static force_inline bool eth_dst_ok(const struct neigh_table *t, const uint8_t dst[6], bool *group)
{
	*group = false;
	if (likely(memcmp(dst, t->mac, 6) == 0))
		return true;
	*group = true;
	if ((dst[0] & dst[1] & dst[2] & dst[3] & dst[4] & dst[5]) == 0xff)
		return true;
	/* IPv4 groups (RFC 1112 §6.4); which of them we joined, ip4_input knows by the whole address */
	return dst[0] == 0x01 && dst[1] == 0x00 && dst[2] == 0x5e && !(dst[3] & 0x80);
}

/* Tags, whether the device took them off or not; *l2_len grows by the tag. A configured id must be there; without one, only
 * priority tags (id 0) are read through. */
static cold_path bool eth_vlan(const struct neigh_table *t, const struct rte_mbuf *m, uint16_t *type_be, uint32_t *l2_len)
{
	int id = -1;

	if (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) {
		id = m->vlan_tci & 0xfff;
	} else if (*type_be == htons(RTE_ETHER_TYPE_VLAN)) {
		uint16_t tag[2];

		if (m->pkt_len < ETH_HDR_BYTES + VLAN_HDR_BYTES)
			return false;
		mbuf_read(m, ETH_HDR_BYTES, VLAN_HDR_BYTES, tag);
		id = ntohs(tag[0]) & 0xfff;
		*type_be = tag[1];
		*l2_len += VLAN_HDR_BYTES;
	}
	if (t->vlan_id > 0)
		return id == t->vlan_id;
	return id <= 0;
}

static force_inline void eth_input(struct stack *st, struct neigh_table *t, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eh;
	uint32_t l2_len = ETH_HDR_BYTES;
	uint8_t src[6];
	uint16_t type_be;
	bool group;

	if (unlikely(m->data_len < ETH_HDR_BYTES)) {
		struct rte_mbuf *head = mbuf_pull(m, ETH_HDR_BYTES, st->pool);

		if (!head) {
			drop(st, m, DROP_ETH_SHORT);
			return;
		}
		m = head;
	}
	eh = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	if (unlikely(!eth_dst_ok(t, eh->dst_addr.addr_bytes, &group))) {
		drop(st, m, DROP_ETH_DST);
		return;
	}
	if (unlikely(eh->src_addr.addr_bytes[0] & 1 || rte_is_zero_ether_addr(&eh->src_addr))) {
		drop(st, m, DROP_ETH_SRC);
		return;
	}
	type_be = eh->ether_type;
	if (unlikely(t->vlan_id > 0 || type_be == htons(RTE_ETHER_TYPE_VLAN) ||
		     (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED))) {
		if (!eth_vlan(t, m, &type_be, &l2_len)) {
			drop(st, m, DROP_ETH_VLAN);
			return;
		}
	}
	m->packet_type = group ? IP4_RX_GROUP : 0;
	if (likely(type_be == htons(RTE_ETHER_TYPE_IPV4))) {
		mbuf_skip(m, l2_len);
		ip4_input(st, m);
		return;
	}
	if (type_be == htons(RTE_ETHER_TYPE_ARP)) {
		memcpy(src, eh->src_addr.addr_bytes, 6);
		mbuf_skip(m, l2_len);
		arp_input(st, m, src);
		return;
	}
	drop(st, m, DROP_ETH_TYPE);
}

void eth_input_burst(struct stack *st, struct rte_mbuf **m, uint16_t n)
{
	struct neigh_table *t = st->neigh;

	if (unlikely(atomic_load_explicit(&t->board->news, memory_order_acquire) != t->news_seen))
		neigh_sync(st);
	for (uint16_t i = 0; i < MIN(n, 4); i++)
		prefetch(rte_pktmbuf_mtod(m[i], void *));
	for (uint16_t i = 0; i < n; i++) {
		if (i + 4 < n)
			prefetch(rte_pktmbuf_mtod(m[i + 4], void *));
		eth_input(st, t, m[i]);
	}
}

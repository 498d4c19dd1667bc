/* frag.c - cutting a datagram that is larger than the MTU (RFC 791 §3.2). Called by ip4_output.c; on to link_output(). Owner of the
 * stack only.
 *
 * The pieces are copied, not attached: a fragment then is one linear mbuf that every device takes, and the original is
 * free at once; large datagrams are copied once more, which costs less than two descriptors and two mbufs per piece. */
#include "base/csum.h"
#include "base/mbufs.h"
#include "ip/ip4_state.h"
#include "link/link.h"

/* The device will not see the whole L4 packet: what was left to it is done here. The pseudo-header's sum is in the field. */
static void finish_l4_csum(struct rte_mbuf *m)
{
	uint64_t kind = m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
	uint32_t at = m->l3_len, field;
	uint16_t sum;

	if (kind == RTE_MBUF_F_TX_UDP_CKSUM)
		field = at + 6;
	else if (kind == RTE_MBUF_F_TX_TCP_CKSUM)
		field = at + 16;
	else
		return;
	if (m->data_len < field + 2)
		return; /* cannot be: L4 headers are built contiguous */
	sum = (uint16_t)~csum_fold(csum_mbuf(m, at, m->pkt_len - at, 0));
	if (sum == 0 && kind == RTE_MBUF_F_TX_UDP_CKSUM)
		sum = 0xffff;
	memcpy(rte_pktmbuf_mtod_offset(m, char *, field), &sum, 2);
	m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
}

/* One fragment: header and len bytes at off of the chain; more mbufs when the MTU exceeds the data room. */
static struct rte_mbuf *make_fragment(struct stack *st, const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(st->pool), *seg = head;

	if (!head)
		return NULL;
	memcpy(rte_pktmbuf_append(head, IP4_HDR_BYTES), rte_pktmbuf_mtod(m, const char *), IP4_HDR_BYTES);
	while (len) {
		uint32_t n = MIN(len, (uint32_t)rte_pktmbuf_tailroom(seg));

		if (n == 0) {
			seg->next = rte_pktmbuf_alloc(st->pool);
			if (!seg->next) {
				rte_pktmbuf_free(head);
				return NULL;
			}
			seg = seg->next;
			seg->data_off = 0; /* no header goes in front */
			head->nb_segs++;
			continue;
		}
		mbuf_read(m, off, n, rte_pktmbuf_mtod_offset(seg, char *, seg->data_len));
		seg->data_len = (uint16_t)(seg->data_len + n);
		off += n;
		len -= n;
	}
	head->pkt_len = 0;
	for (seg = head; seg; seg = seg->next)
		head->pkt_len += seg->data_len;
	return head;
}

static void free_fragments(struct rte_mbuf **frag, uint32_t n)
{
	while (n--)
		rte_pktmbuf_free(frag[n]);
}

/* Fragments are sent in batches, so that the table fits the stack. 65,535 bytes at the smallest legal MTU of 68 are 1,365. */
#define FRAG_BATCH NETDEV_BURST

int ip4_fragment(struct stack *st, struct rte_mbuf *m, uint32_t mtu, uint32_t next_hop_be, uint32_t *hint)
{
	uint32_t payload = m->pkt_len - IP4_HDR_BYTES, step = (mtu - IP4_HDR_BYTES) & ~7u, off = 0;
	uint32_t count = mtu >= 68 ? (payload + step - 1) / step : UINT32_MAX;
	struct rte_mbuf *frag[FRAG_BATCH];

	/* All or nothing: a datagram that cannot go out whole is not worth its first half (RFC 1122 §3.3.3) */
	if (mtu < 68 || rte_mempool_avail_count(st->pool) < count * (mtu / 1024 + 1)) {
		st->mib.ip_frag_fail++;
		drop(st, m, DROP_NO_MBUF);
		return -ENOBUFS;
	}
	finish_l4_csum(m);
	while (off < payload) {
		uint32_t n = 0, from = off;

		while (n < FRAG_BATCH && off < payload) {
			uint32_t len = MIN(step, payload - off);
			struct rte_ipv4_hdr *ip;

			frag[n] = make_fragment(st, m, IP4_HDR_BYTES + off, len);
			if (!frag[n]) {
				free_fragments(frag, n);
				st->mib.ip_frag_fail++;
				drop(st, m, DROP_NO_MBUF);
				return -ENOBUFS;
			}
			ip = rte_pktmbuf_mtod(frag[n], struct rte_ipv4_hdr *);
			ip->total_length = htons((uint16_t)(IP4_HDR_BYTES + len));
			ip->fragment_offset = htons((uint16_t)(off / 8 | (off + len < payload ? IP4_MF : 0)));
			ip->hdr_checksum = 0;
			frag[n]->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
			frag[n]->l3_len = IP4_HDR_BYTES;
			off += len;
			n++;
		}
		if (netdev_tx_room(st->nd, st->queue) < n)
			netdev_flush(st->nd, st->queue);
		if (from == 0 && netdev_tx_room(st->nd, st->queue) < MIN(n, NETDEV_BURST)) {
			free_fragments(frag, n);
			st->mib.ip_frag_fail++;
			drop(st, m, DROP_TX_FULL);
			return -ENOBUFS;
		}
		for (uint32_t i = 0; i < n; i++)
			link_output(st, frag[i], next_hop_be, hint);
		st->mib.ip_frag_create += n;
	}
	st->mib.ip_frag_ok++;
	rte_pktmbuf_free(m);
	return 0;
}

/* gro.c - joins consecutive segments of a TCP flow within one received burst, for devices that do not ("generic receive offload").
 *
 * Called by netdev_rx(); owner of the stack. Nothing is held back: what is joined was received together, and goes on in the same
 * call. Per flow the order stays; a segment that cannot be joined closes its flow, so that nothing overtakes it.
 *
 * Joined is only what the receiver could not tell apart afterwards: the same link, IP and TCP header but for length, IP
 * identification (meaningless where DF is set, RFC 6864 §4.1), sequence number and checksum. So acknowledgement, window, timestamps and
 * all other options, TOS with its ECN bits (RFC 3168 §5.3) and TTL are equal; flags are ACK alone, or with PSH, which ends the joined segment as
 * it ended the sender's write. A segment shorter than the first ends it too, so that tso_segsz tells the true sizes.
 *
 * Checksums: only segments whose TCP sum the device (or a peer on the same machine) vouches for are joined, so the whole is GOOD
 * because every part was; the IP header's is verified here and written anew. Verifying TCP's sums here for devices that do not
 * was tried and is 5 % dearer per segment than leaving the segments alone.
 */
#include "base/csum.h"
#include "netdev/backend.h"

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include <netinet/in.h>

/* Flows open at a time: a burst that interleaves more is no bulk transfer. */
#define GRO_FLOWS 8
/* Largest IP packet made: the length field's limit. */
#define GRO_MAX_BYTES 65535u
#define FRAG_DF 0x4000u
#define FRAG_PART 0x3fffu /* more fragments, or an offset */

/* A received segment, taken apart. */
struct gro_seg {
	uint32_t src_be, dst_be, ports, seq;
	uint32_t len;  /* payload bytes */
	uint16_t l2_len, hlen; /* bytes in front of the IP header and in front of the payload */
	bool joinable, push;
};

/* A segment that more may be joined to. */
struct gro_flow {
	struct rte_mbuf *head, *tail;
	uint32_t src_be, dst_be, ports, next_seq;
	uint16_t l2_len, hlen, seg_bytes, joined;
};

enum gro_kind { GRO_OTHER, GRO_TCP, GRO_TCP_ODD };

/* GRO_OTHER: no TCP, none of our business; GRO_TCP_ODD: TCP of some flow, but not in the plain form (fragment, IP options). */
static force_inline enum gro_kind gro_parse(const struct rte_mbuf *m, struct gro_seg *s)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	const struct rte_ipv4_hdr *ip;
	const struct rte_tcp_hdr *th;
	uint32_t l2_len = RTE_ETHER_HDR_LEN, total, thl;
	uint16_t type, frag;

	if (m->data_len < RTE_ETHER_HDR_LEN + 20 + 20)
		return GRO_OTHER;
	memcpy(&type, p + 12, 2);
	if (type == htons(RTE_ETHER_TYPE_VLAN)) {
		memcpy(&type, p + 16, 2);
		l2_len += RTE_VLAN_HLEN;
	}
	ip = (const struct rte_ipv4_hdr *)(const void *)(p + l2_len);
	if (type != htons(RTE_ETHER_TYPE_IPV4) || ip->next_proto_id != IPPROTO_TCP)
		return GRO_OTHER;
	frag = ntohs(ip->fragment_offset);
	if (ip->version_ihl != 0x45 || (frag & FRAG_PART) || m->data_len < l2_len + 20 + 20)
		return GRO_TCP_ODD;
	th = (const struct rte_tcp_hdr *)(const void *)(ip + 1);
	thl = (uint32_t)(th->data_off >> 4) * 4;
	total = ntohs(ip->total_length);
	s->src_be = ip->src_addr;
	s->dst_be = ip->dst_addr;
	memcpy(&s->ports, th, 4);
	s->seq = ntohl(th->sent_seq);
	s->push = th->tcp_flags & RTE_TCP_PSH_FLAG;
	s->l2_len = (uint16_t)l2_len;
	s->hlen = (uint16_t)(l2_len + 20 + thl);
	s->len = total - 20 - thl;
	/* Ethernet padding (a frame longer than its packet), empty segments, what the device joined already and what it did not verify
	 * stay as they are. */
	s->joinable = (th->tcp_flags & (uint8_t)~RTE_TCP_PSH_FLAG) == RTE_TCP_ACK_FLAG && thl >= 20 && total > 20 + thl &&
		      l2_len + total == m->pkt_len && s->hlen <= m->data_len && (frag & FRAG_DF) &&
		      (m->ol_flags & (RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_LRO)) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	return GRO_TCP;
}

static force_inline struct gro_flow *gro_find(struct gro_flow *flows, unsigned n, const struct gro_seg *s)
{
	for (unsigned i = 0; i < n; i++)
		if (flows[i].ports == s->ports && flows[i].src_be == s->src_be && flows[i].dst_be == s->dst_be)
			return &flows[i];
	return NULL;
}

static force_inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static force_inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Differences between headers whose addresses, ports and lengths agree. By words, since this runs for every segment. */
static force_inline uint64_t gro_header_differs(const uint8_t *a, const uint8_t *b, uint32_t l2_len, uint32_t hlen)
{
	/* of a TCP header's bytes 12 to 19: offset, window and urgent pointer, not flags and checksum */
	static const union {
		uint8_t bytes[8];
		uint64_t word;
	} mask = { { 0xff, 0, 0xff, 0xff, 0, 0, 0xff, 0xff } };
	uint64_t diff = (load64(a) ^ load64(b)) | (load64(a + 6) ^ load64(b + 6)) | (load32(a + l2_len - 4) ^ load32(b + l2_len - 4));

	a += l2_len;
	b += l2_len;
	diff |= (uint64_t)(a[1] ^ b[1]) | (uint64_t)(load32(a + 6) ^ load32(b + 6)); /* TOS with ECN; DF, TTL, protocol */
	diff |= (uint64_t)(load32(a + 28) ^ load32(b + 28)) | ((load64(a + 32) ^ load64(b + 32)) & mask.word);
	for (uint32_t at = 40; at < hlen - l2_len; at += 4) /* options */
		diff |= (uint64_t)(load32(a + at) ^ load32(b + at));
	return diff;
}

/* Is m, which is s, what comes next in f, with the same headers? */
static force_inline bool gro_continues(const struct gro_flow *f, const struct rte_mbuf *m, const struct gro_seg *s)
{
	return s->joinable && s->seq == f->next_seq && s->hlen == f->hlen && s->l2_len == f->l2_len && s->len <= f->seg_bytes &&
	       f->head->pkt_len - f->l2_len + s->len <= GRO_MAX_BYTES &&
	       gro_header_differs(rte_pktmbuf_mtod(f->head, const uint8_t *), rte_pktmbuf_mtod(m, const uint8_t *), f->l2_len,
				  f->hlen) == 0;
}

/* Is the IP header's sum right? Computed where the device did not; what is found is noted, so that nobody computes it again. */
static force_inline bool gro_ip_sum_good(struct rte_mbuf *m, uint32_t l2_len)
{
	if ((m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN)
		m->ol_flags |= csum_ip4_20(rte_pktmbuf_mtod_offset(m, const uint8_t *, l2_len)) == 0 ?
				       RTE_MBUF_F_RX_IP_CKSUM_GOOD :
				       RTE_MBUF_F_RX_IP_CKSUM_BAD;
	return (m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
}

/* m becomes one that others may be joined to; false: its header is damaged. */
static force_inline bool gro_open(struct gro_flow *f, struct rte_mbuf *m, const struct gro_seg *s)
{
	if (!gro_ip_sum_good(m, s->l2_len))
		return false;
	*f = (struct gro_flow){
		.head = m,
		.tail = rte_pktmbuf_lastseg(m),
		.src_be = s->src_be,
		.dst_be = s->dst_be,
		.ports = s->ports,
		.next_seq = s->seq + s->len,
		.l2_len = s->l2_len,
		.hlen = s->hlen,
		.seg_bytes = (uint16_t)s->len,
	};
	return true;
}

static force_inline void gro_join(struct gro_flow *f, struct rte_mbuf *m, const struct gro_seg *s)
{
	struct rte_mbuf *last = rte_pktmbuf_lastseg(m);

	m->data_off = (uint16_t)(m->data_off + s->hlen);
	m->data_len = (uint16_t)(m->data_len - s->hlen);
	f->tail->next = m;
	f->tail = last;
	f->head->nb_segs = (uint16_t)(f->head->nb_segs + m->nb_segs);
	f->head->pkt_len += s->len;
	f->next_seq += s->len;
	f->joined++;
	if (s->push)
		rte_pktmbuf_mtod_offset(f->head, uint8_t *, f->l2_len + 20)[13] |= RTE_TCP_PSH_FLAG;
}

/* Writes what the joined parts make together. */
static force_inline void gro_close(struct gro_flow *f)
{
	struct rte_ipv4_hdr *ip;

	if (!f->joined)
		return;
	ip = rte_pktmbuf_mtod_offset(f->head, struct rte_ipv4_hdr *, f->l2_len);
	ip->total_length = htons((uint16_t)(f->head->pkt_len - f->l2_len));
	ip->hdr_checksum = csum_ip4_fill(ip);
	f->head->ol_flags |= RTE_MBUF_F_RX_LRO;
	f->head->tso_segsz = f->seg_bytes;
}

uint16_t gro_merge(struct rte_mbuf **m, uint16_t n)
{
	struct gro_flow flows[GRO_FLOWS], *f;
	unsigned open = 0, oldest = 0;
	uint16_t out = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct gro_seg s;
		enum gro_kind kind = gro_parse(m[i], &s);

		if (i + 2 < n)
			prefetch(rte_pktmbuf_mtod(m[i + 2], void *));
		if (unlikely(kind != GRO_TCP)) {
			if (kind == GRO_TCP_ODD) { /* whose it is takes a closer look: it overtakes nobody */
				while (open)
					gro_close(&flows[--open]);
			}
			m[out++] = m[i];
			continue;
		}
		f = gro_find(flows, open, &s);
		if (f) {
			if (gro_continues(f, m[i], &s) && gro_ip_sum_good(m[i], s.l2_len)) {
				gro_join(f, m[i], &s);
				if (!s.push && s.len == f->seg_bytes)
					continue;
				m[i] = NULL;
			}
			gro_close(f);
			*f = flows[--open];
			if (!m[i])
				continue;
		}
		m[out++] = m[i];
		if (!s.joinable || s.push || i + 1 == n)
			continue;
		if (open == GRO_FLOWS) {
			f = &flows[oldest++ % GRO_FLOWS];
			gro_close(f);
			*f = flows[--open];
		}
		if (gro_open(&flows[open], m[i], &s))
			open++;
	}
	while (open)
		gro_close(&flows[--open]);
	return out;
}

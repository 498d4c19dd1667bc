/* mbufs.h - operations on mbuf chains that the protocols need and DPDK lacks: headers that may be split over
 * segments, trimming across segments. Called by link, ip, udp, tcp; owner of the stack. No allocation but
 * where a pool is passed. */
#ifndef GZ_BASE_MBUFS_H
#define GZ_BASE_MBUFS_H

#include "base/compiler.h"

#include <rte_mbuf.h>
#include <string.h>

/* May the bytes and room of this segment be written? Not when somebody else holds a reference or it is attached. */
static force_inline bool mbuf_writable(const struct rte_mbuf *m)
{
	return RTE_MBUF_DIRECT(m) && rte_mbuf_refcnt_read(m) == 1;
}

/* The flags that describe the buffer, not the packet: they survive when a packet's flags are set anew. */
static force_inline uint64_t mbuf_kept_flags(const struct rte_mbuf *m)
{
	return m->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
}

/* Lengths of headers, for the device. Set as parts of the whole word, so that the device's load of it need not wait for bytes. */
static force_inline void mbuf_set_hdr_len(struct rte_mbuf *m, unsigned shift, unsigned bits, uint64_t len)
{
	m->tx_offload = (m->tx_offload & ~(((1ULL << bits) - 1) << shift)) | len << shift;
}
static force_inline void mbuf_set_l2_len(struct rte_mbuf *m, uint64_t len)
{
	mbuf_set_hdr_len(m, RTE_MBUF_L2_LEN_OFS, RTE_MBUF_L2_LEN_BITS, len);
}
static force_inline void mbuf_set_l3_len(struct rte_mbuf *m, uint64_t len)
{
	mbuf_set_hdr_len(m, RTE_MBUF_L3_LEN_OFS, RTE_MBUF_L3_LEN_BITS, len);
}

/* Whole chain writable, its mbufs held by nobody else? */
static inline bool mbuf_chain_writable(const struct rte_mbuf *m)
{
	for (; m; m = m->next) {
		if (!mbuf_writable(m))
			return false;
	}
	return true;
}

/* Slow half of mbuf_pull(). The first n bytes are collected in the tailroom of the first segment. Without such
 * room they move to a fresh mbuf in front, which then is the packet's head (offload fields go along). */
static cold_path gz_unused struct rte_mbuf *mbuf_pull_slow(struct rte_mbuf *m, uint32_t n, struct rte_mempool *pool)
{
	struct rte_mbuf *to = m, *seg;
	uint32_t have, left;

	if (m->pkt_len < n)
		return NULL;
	if (!mbuf_writable(m) || (uint32_t)rte_pktmbuf_tailroom(m) < n - m->data_len) {
		to = rte_pktmbuf_alloc(pool);
		if (!to)
			return NULL;
		if (n > rte_pktmbuf_tailroom(to)) {
			rte_pktmbuf_free(to);
			return NULL;
		}
		to->ol_flags = m->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
		to->packet_type = m->packet_type;
		to->vlan_tci = m->vlan_tci;
		to->tx_offload = m->tx_offload;
		to->hash = m->hash;
		to->port = m->port;
		to->pkt_len = m->pkt_len;
		to->nb_segs = (uint16_t)(m->nb_segs + 1);
		to->next = m;
		seg = m;
	} else {
		seg = m->next;
	}
	have = to->data_len;
	left = n - have;
	while (left) {
		uint32_t part = MIN(left, seg->data_len);
		struct rte_mbuf *gone = seg;

		memcpy(rte_pktmbuf_mtod_offset(to, char *, have), rte_pktmbuf_mtod(seg, char *), part);
		have += part;
		left -= part;
		seg->data_off = (uint16_t)(seg->data_off + part);
		seg->data_len = (uint16_t)(seg->data_len - part);
		seg = seg->next;
		if (gone->data_len == 0) {
			to->next = seg;
			to->nb_segs--;
			gone->next = NULL;
			gone->nb_segs = 1;
			rte_pktmbuf_free_seg(gone);
		}
	}
	to->data_len = (uint16_t)n;
	return to;
}

/* Makes the first n bytes contiguous; returns the head, which may be another mbuf than m, or NULL when the packet is
 * shorter than n or memory ran out: then m is untouched and still the caller's. */
static force_inline struct rte_mbuf *mbuf_pull(struct rte_mbuf *m, uint32_t n, struct rte_mempool *pool)
{
	return likely(m->data_len >= n) ? m : mbuf_pull_slow(m, n, pool);
}

/* Cuts the packet to len bytes (len <= pkt_len, len > 0), freeing segments behind. */
static inline void mbuf_cut(struct rte_mbuf *m, uint32_t len)
{
	struct rte_mbuf *seg = m, *gone;
	uint32_t left = len;

	if (likely(m->nb_segs == 1)) {
		m->data_len = (uint16_t)len;
		m->pkt_len = len;
		return;
	}
	m->pkt_len = len;
	while (left > seg->data_len) {
		left -= seg->data_len;
		seg = seg->next;
	}
	seg->data_len = (uint16_t)left;
	gone = seg->next;
	seg->next = NULL;
	while (gone) {
		struct rte_mbuf *next = gone->next;

		gone->next = NULL;
		gone->nb_segs = 1;
		rte_pktmbuf_free_seg(gone);
		m->nb_segs--;
		gone = next;
	}
}

/* Drops n bytes (n <= pkt_len) in front, over segments; the head stays the head, possibly with an empty first
 * segment. */
static inline void mbuf_skip(struct rte_mbuf *m, uint32_t n)
{
	struct rte_mbuf *seg = m;

	m->pkt_len -= n;
	if (likely(n <= m->data_len)) {
		m->data_off = (uint16_t)(m->data_off + n);
		m->data_len = (uint16_t)(m->data_len - n);
		return;
	}
	while (n) {
		uint32_t part = MIN(n, seg->data_len);

		seg->data_off = (uint16_t)(seg->data_off + part);
		seg->data_len = (uint16_t)(seg->data_len - part);
		n -= part;
		seg = seg->next;
	}
}

/* Copies len bytes at off of a chain (within pkt_len) to flat memory. */
static inline void mbuf_read(const struct rte_mbuf *m, uint32_t off, uint32_t len, void *to)
{
	while (off >= m->data_len) {
		off -= m->data_len;
		m = m->next;
	}
	while (len) {
		uint32_t part = MIN(len, m->data_len - off);

		memcpy(to, rte_pktmbuf_mtod_offset(m, const char *, off), part);
		to = (char *)to + part;
		len -= part;
		off = 0;
		m = m->next;
	}
}

#endif

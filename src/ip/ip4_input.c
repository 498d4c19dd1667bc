/* ip4_input.c - received IPv4 packets: validation of every field, options, local delivery (walk in, step 4). Called by link
 * and by ip4_loopback_run(); on to reass.c, tcp, udp, icmp. Owner of the stack only. RFC 791, RFC 1122 §3.2.1. */
#include "base/csum.h"
#include "base/mbufs.h"
#include "ip/ip4_state.h"
#include "tcp/tcp.h"
#include "udp/udp.h"

#define OPT_END 0
#define OPT_NOP 1
#define OPT_LSRR 131
#define OPT_SSRR 137

/* Addresses that no packet from the wire can come from (RFC 1122 §3.2.1.3): this network, loopback, groups, broadcast, ourselves. */
static force_inline bool src_is_martian(const struct stack *st, uint32_t src_be)
{
	uint32_t s = ntohl(src_be);

	return s >> 24 == 0 || s >> 24 == 127 || s >> 28 == 0xe || src_be == st->ip4.addr_be || ip4_is_broadcast(st, src_be);
}

/* Options are skipped, but malformed ones and source routes are not accepted: we do not forward for others, and
 * a recorded route back would be spoofable (RFC 1122 §3.2.1.8 lets a host refuse). */
static bool options_ok(const uint8_t *p, uint32_t len)
{
	while (len) {
		uint32_t n;

		if (p[0] == OPT_END)
			return true;
		if (p[0] == OPT_NOP) {
			p++;
			len--;
			continue;
		}
		if (len < 2 || p[1] < 2 || p[1] > len)
			return false;
		if (p[0] == OPT_LSRR || p[0] == OPT_SSRR)
			return false;
		n = p[1];
		p += n;
		len -= n;
	}
	return true;
}

struct rte_mbuf *ip4_contiguous(struct stack *st, struct rte_mbuf *m, uint32_t hlen)
{
	uint32_t want = MIN(m->pkt_len, hlen + 60);
	struct rte_mbuf *head;

	if (likely(m->data_len >= want))
		return m;
	head = mbuf_pull(m, want, st->pool);
	if (!head)
		drop(st, m, DROP_NO_MBUF);
	return head;
}

static cold_path void ip4_unknown_proto(struct stack *st, struct rte_mbuf *m)
{
	st->mib.ip_inunknownprot++;
	m->data_off = (uint16_t)(m->data_off - m->l3_len);
	m->data_len = (uint16_t)(m->data_len + m->l3_len);
	m->pkt_len += m->l3_len;
	icmp_send_error(st, m, 3, 2, 0); /* protocol unreachable (RFC 1122 §3.2.2.1) */
	drop(st, m, DROP_IP4_PROTO);
}

void ip4_deliver(struct stack *st, struct rte_mbuf *m, uint32_t hlen)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod(m, const struct rte_ipv4_hdr *);
	uint32_t src_be = ip->src_addr, dst_be = ip->dst_addr;
	uint8_t tos = ip->type_of_service, ttl = ip->time_to_live, proto = ip->next_proto_id;

	m->data_off = (uint16_t)(m->data_off + hlen);
	m->data_len = (uint16_t)(m->data_len - hlen);
	m->pkt_len -= hlen;
	m->l3_len = hlen & 0x1ff;
	st->mib.ip_in_deliver++;
	if (likely(proto == IPPROTO_TCP)) {
		struct ip_addr src = ip_addr_v4(src_be), dst = ip_addr_v4(dst_be);

		/* RFC 9293 §3.9.2.3 (MUST-57): a SYN to a group is discarded; so is all else */
		if (unlikely(m->packet_type & (IP4_RX_GROUP | IP4_RX_NOT_UNICAST))) {
			drop(st, m, DROP_IP4_GROUP);
			return;
		}
		tcp_input(st, m, &src, &dst, tos);
		return;
	}
	switch (proto) {
	case IPPROTO_UDP:
		udp_input(st, m, src_be, dst_be);
		return;
	case IPPROTO_ICMP:
		icmp_input(st, m, src_be, dst_be, ttl);
		return;
	case IPPROTO_IGMP:
		igmp_input(st, m, dst_be, ttl);
		return;
	default:
		ip4_unknown_proto(st, m);
		return;
	}
}

/* Is it for us, other than by our address? Marks group destinations. */
static cold_path bool dst_is_group(struct stack *st, struct rte_mbuf *m, uint32_t dst_be)
{
	if (ip4_is_broadcast(st, dst_be) || (ip4_is_multicast(dst_be) && ip4_group_joined(st, dst_be))) {
		m->packet_type |= IP4_RX_NOT_UNICAST;
		return true;
	}
	return false;
}

static cold_path void ip4_bad(struct stack *st, struct rte_mbuf *m, enum drop_reason why)
{
	if (why == DROP_IP4_NOT_LOCAL || why == DROP_IP4_MARTIAN_SRC)
		st->mib.ip_inaddr_err++;
	else
		st->mib.ip_inhdr_err++;
	drop(st, m, why);
}

void ip4_input(struct stack *st, struct rte_mbuf *m)
{
	const struct rte_ipv4_hdr *ip;
	uint32_t hlen = IP4_HDR_BYTES, total, want;

	st->mib.ip_in_recv++;
	/* The header and what TCP, UDP and ICMP want to see behind it, contiguous. Split only on devices with small buffers. */
	want = MIN(m->pkt_len, 120u);
	if (unlikely(m->data_len < want)) {
		struct rte_mbuf *head = mbuf_pull(m, want, st->pool);

		if (!head) {
			drop(st, m, DROP_NO_MBUF);
			return;
		}
		m = head;
	}
	if (unlikely(m->data_len < IP4_HDR_BYTES)) {
		ip4_bad(st, m, DROP_IP4_SHORT);
		return;
	}
	ip = rte_pktmbuf_mtod(m, const struct rte_ipv4_hdr *);
	if (unlikely(ip->version_ihl != 0x45)) {
		if (ip->version_ihl >> 4 != 4) {
			ip4_bad(st, m, DROP_IP4_VERSION);
			return;
		}
		hlen = (ip->version_ihl & 15u) * 4;
		if (hlen < IP4_HDR_BYTES || hlen > m->data_len) {
			ip4_bad(st, m, DROP_IP4_HDRLEN);
			return;
		}
	}
	total = ntohs(ip->total_length);
	if (unlikely(total < hlen || total > m->pkt_len)) {
		ip4_bad(st, m, DROP_IP4_SHORT);
		return;
	}
	if (unlikely((m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) != RTE_MBUF_F_RX_IP_CKSUM_GOOD)) {
		if ((m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD ||
		    (hlen == IP4_HDR_BYTES ? csum_ip4_20(ip) : csum_flat(ip, hlen)) != 0) {
			ip4_bad(st, m, DROP_IP4_CHECKSUM);
			return;
		}
	}
	if (unlikely(hlen > IP4_HDR_BYTES) && !options_ok((const uint8_t *)(ip + 1), hlen - IP4_HDR_BYTES)) {
		ip4_bad(st, m, DROP_IP4_OPTIONS);
		return;
	}
	if (unlikely(total < m->pkt_len))
		mbuf_cut(m, total); /* Ethernet padding */

	if (unlikely(src_is_martian(st, ip->src_addr) && !(m->packet_type & IP4_RX_LOOPED))) {
		ip4_bad(st, m, DROP_IP4_MARTIAN_SRC);
		return;
	}
	if (unlikely(ip->dst_addr != st->ip4.addr_be)) {
		if (!dst_is_group(st, m, ip->dst_addr)) {
			ip4_bad(st, m, DROP_IP4_NOT_LOCAL);
			return;
		}
	} else if (unlikely(m->packet_type & IP4_RX_GROUP)) {
		/* to our address in a broadcast frame (RFC 1122 §3.3.6) */
		ip4_bad(st, m, DROP_IP4_GROUP);
		return;
	}
	if (unlikely(ip->fragment_offset & htons(IP4_MF | IP4_OFFSET))) {
		m = reass_input(st, m, hlen);
		if (!m)
			return;
		hlen = (rte_pktmbuf_mtod(m, const struct rte_ipv4_hdr *)->version_ihl & 15u) * 4;
		m = ip4_contiguous(st, m, hlen);
		if (!m)
			return;
	}
	ip4_deliver(st, m, hlen);
}

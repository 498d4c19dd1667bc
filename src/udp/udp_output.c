/* udp_output.c - one datagram out: header, checksum, what may be fragmented. Called by sock (commands); on to ip4_output(). Owner of the
 * stack only. RFC 768, RFC 1122 §4.1, RFC 8085 §3.2. */
#include "base/csum.h"
#include "base/mbufs.h"
#include "sock/sock.h"
#include "udp/udp.h"

#include <netinet/in.h>
#include <rte_udp.h>

#define UDP_HDR_BYTES 8u
#define UDP_PAYLOAD_MAX 65507u

static int udp_fail(struct stack *st, struct rte_mbuf *m, int err)
{
	st->mib.ip_out_discard++;
	rte_pktmbuf_free(m);
	return err;
}

/* Larger than the path takes, and not to be cut: the socket's error queue says how large it may be (ip(7)). */
static cold_path int udp_too_big(struct stack *st, struct sock *s, struct rte_mbuf *m, const struct ip_addr *dst, uint32_t mtu)
{
	const struct icmp_what w = { .info = mtu };

	if (s->opt.recverr)
		udp_tell_error(st, s, dst, pkt_tx(m)->port_be, EMSGSIZE, SO_EE_ORIGIN_LOCAL, &w);
	return udp_fail(st, m, -EMSGSIZE);
}

int udp_output(struct stack *st, struct sock *s, struct rte_mbuf *m)
{
	const struct pkt_tx *to = pkt_tx(m);
	struct ip_addr dst;
	struct ip4_tx tx;
	struct rte_udp_hdr *uh;
	uint32_t len = m->pkt_len + UDP_HDR_BYTES, mtu;
	uint16_t dport_be = to->port_be;
	bool group, whole;
	int err;

	memcpy(&dst, to->addr, sizeof(dst));
	if (unlikely(m->pkt_len > UDP_PAYLOAD_MAX))
		return udp_fail(st, m, -EMSGSIZE);
	if (unlikely(!ip_addr_is_v4(&dst)))
		return udp_fail(st, m, -ENETUNREACH);
	if (unlikely(!dport_be))
		return udp_fail(st, m, -EINVAL);
	/* also from a socket that is bound to a group or broadcast address: it only receives there (RFC 1122 §3.2.1.3) */
	tx.src_be = st->ip4.addr_be;
	tx.dst_be = ip_addr_get_v4(&dst);
	tx.proto = IPPROTO_UDP;
	tx.tos = to->tos;
	tx.ttl = to->ttl;
	tx.loop = false;
	group = ip4_is_multicast(tx.dst_be) || ip4_is_broadcast(st, tx.dst_be);
	if (unlikely(group)) {
		if (!ip4_is_multicast(tx.dst_be) && !s->opt.broadcast)
			return udp_fail(st, m, -EACCES);
		tx.loop = ip4_is_multicast(tx.dst_be) ? s->opt.mc_loop : true;
	}
	/* IP_MTU_DISCOVER as Linux: DO forbids fragments, WANT (the default) sets DF on what fits, PROBE ignores what was learned; INTERFACE and
	 * OMIT never set DF and do not believe what is told, INTERFACE refuses what the link does not take whole */
	mtu = s->opt.mtu_discover >= IP_PMTUDISC_PROBE ? ip4_link_mtu(st, NULL) : ip4_dst_mtu(st, tx.dst_be);
	whole = ip4_is_local(st, tx.dst_be) || len + IP4_HDR_BYTES <= mtu;
	switch (s->opt.mtu_discover) {
	case IP_PMTUDISC_DO:
	case IP_PMTUDISC_PROBE:
		if (unlikely(!whole))
			return udp_too_big(st, s, m, &dst, mtu);
		tx.df = true;
		break;
	case IP_PMTUDISC_WANT:
		tx.df = whole && ip4_dst_df(st, tx.dst_be);
		break;
	case IP_PMTUDISC_INTERFACE:
		if (unlikely(!whole))
			return udp_too_big(st, s, m, &dst, mtu);
		tx.df = false;
		break;
	default:
		tx.df = false;
		break;
	}

	gz_assert(rte_pktmbuf_headroom(m) >= UDP_HDR_BYTES + IP4_HDR_BYTES + 18);
	m->data_off = (uint16_t)(m->data_off - UDP_HDR_BYTES);
	m->data_len = (uint16_t)(m->data_len + UDP_HDR_BYTES);
	m->pkt_len = len;
	uh = rte_pktmbuf_mtod(m, struct rte_udp_hdr *);
	uh->src_port = s->bound_port_be;
	uh->dst_port = dport_be;
	uh->dgram_len = htons((uint16_t)len);
	uh->dgram_cksum = 0;
	m->ol_flags = mbuf_kept_flags(m);
	m->tx_offload = 0;
	if (likely(!s->opt.no_check)) {
		uint64_t pseudo = csum_pseudo4(tx.src_be, tx.dst_be, IPPROTO_UDP, (uint16_t)len);

		if (likely(whole) && !group) {
			/* netdev.h: the pseudo-header's sum in the field, the rest is the device's */
			uh->dgram_cksum = csum_fold(pseudo);
			m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
			m->l4_len = UDP_HDR_BYTES;
		} else {
			uint16_t sum = (uint16_t)~csum_fold(csum_mbuf(m, 0, len, pseudo));

			uh->dgram_cksum = sum ? sum : 0xffff;
		}
	}
	err = ip4_output(st, m, &tx, NULL);
	if (likely(err == 0))
		st->mib.udp_out_datagrams++;
	return err;
}

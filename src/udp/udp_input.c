/* udp_input.c - received datagrams: length, checksum, socket (walk in, step 5). Called by ip; on to sock_up_datagram(). Owner of the stack
 * only. RFC 768, RFC 1122 §4.1. */
#include "base/csum.h"
#include "base/mbufs.h"
#include "sock/ports.h"
#include "sock/sock_up.h"
#include "stack/steer.h"
#include "udp/udp.h"

#include <netinet/in.h>
#include <rte_ip.h>
#include <rte_udp.h>

#define UDP_HDR_BYTES 8u

/* For the socket: who sent it, to which of our addresses, how; then only the payload is left. */
static force_inline void datagram_prepare(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint32_t dst_be, uint16_t sport_be)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, const struct rte_ipv4_hdr *, -(int)m->l3_len);
	struct pkt_tx *info = pkt_tx(m);
	struct ip_addr from = ip_addr_v4(src_be);

	memcpy(info->addr, &from, sizeof(from));
	info->port_be = sport_be;
	info->tos = ip->type_of_service;
	info->ttl = ip->time_to_live;
	info->ifindex = (uint32_t)st->nd->kernel_ifindex;
	info->local_be = dst_be;
	m->data_off = (uint16_t)(m->data_off + UDP_HDR_BYTES);
	m->data_len = (uint16_t)(m->data_len - UDP_HDR_BYTES);
	m->pkt_len -= UDP_HDR_BYTES;
}

/* Broadcast and multicast: every socket that wants it gets one; copies, since each reader consumes its own. */
static cold_path void udp_input_group(struct stack *st, struct rte_mbuf *m, const struct ip_addr *dst, uint16_t dport_be,
				      const struct ip_addr *src, uint16_t sport_be, uint32_t src_be, uint32_t dst_be)
{
	struct sock *s = ports_udp_next(NULL, dst, dport_be, src, sport_be);

	if (!s) {
		st->mib.udp_no_ports++;
		drop(st, m, DROP_UDP_NO_PORT);
		return;
	}
	datagram_prepare(st, m, src_be, dst_be, sport_be);
	while (s) {
		struct sock *next = ports_udp_next(s, dst, dport_be, src, sport_be);
		struct rte_mbuf *give = m;

		if (next) {
			give = rte_pktmbuf_copy(m, st->pool, 0, UINT32_MAX);
			if (give)
				memcpy(pkt_tx(give), pkt_tx(m), sizeof(struct pkt_tx));
			else
				st->drops[DROP_NO_MBUF]++;
		}
		if (give) {
			st->mib.udp_in_datagrams++;
			sock_up_datagram(st, s, give);
		}
		s = next;
	}
}

static cold_path void udp_no_socket(struct stack *st, struct rte_mbuf *m)
{
	st->mib.udp_no_ports++;
	m->data_off = (uint16_t)(m->data_off - m->l3_len);
	m->data_len = (uint16_t)(m->data_len + m->l3_len);
	m->pkt_len += m->l3_len;
	icmp_send_error(st, m, 3, 3, 0); /* port unreachable (RFC 1122 §4.1.3.1) */
	drop(st, m, DROP_UDP_NO_PORT);
}

static cold_path void udp_bad(struct stack *st, struct rte_mbuf *m, enum drop_reason why)
{
	st->mib.udp_in_errors++;
	drop(st, m, why);
}

void udp_input(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint32_t dst_be)
{
	const struct rte_udp_hdr *uh;
	struct ip_addr src = ip_addr_v4(src_be), dst = ip_addr_v4(dst_be);
	uint16_t sport_be, dport_be;
	struct sock *s;
	uint32_t len;

	if (unlikely(m->data_len < UDP_HDR_BYTES)) {
		udp_bad(st, m, DROP_UDP_SHORT);
		return;
	}
	uh = rte_pktmbuf_mtod(m, const struct rte_udp_hdr *);
	len = ntohs(uh->dgram_len);
	if (unlikely(len < UDP_HDR_BYTES || len > m->pkt_len)) {
		udp_bad(st, m, DROP_UDP_SHORT);
		return;
	}
	if (unlikely(len < m->pkt_len))
		mbuf_cut(m, len);
	/* 0: the sender made none (RFC 768) */
	if (uh->dgram_cksum && (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_GOOD) {
		uint64_t sum = csum_pseudo4(src_be, dst_be, IPPROTO_UDP, (uint16_t)len);

		if ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD ||
		    !csum_ok(csum_mbuf(m, 0, len, sum))) {
			udp_bad(st, m, DROP_UDP_CHECKSUM);
			return;
		}
	}
	sport_be = uh->src_port;
	dport_be = uh->dst_port;
	if (unlikely(m->packet_type & IP4_RX_NOT_UNICAST)) {
		udp_input_group(st, m, &dst, dport_be, &src, sport_be, src_be, dst_be);
		return;
	}
	s = ports_udp(&dst, dport_be, &src, sport_be, steer_hash(&src, sport_be, &dst, dport_be));
	if (unlikely(!s)) {
		udp_no_socket(st, m);
		return;
	}
	datagram_prepare(st, m, src_be, dst_be, sport_be);
	st->mib.udp_in_datagrams++;
	sock_up_datagram(st, s, m);
}

void udp_tell_error(struct stack *st, struct sock *s, const struct ip_addr *to, uint16_t port_be, int err, uint8_t origin,
		    const struct icmp_what *w)
{
	struct udp_error e = { .ee = { .ee_errno = (uint32_t)err, .ee_origin = origin, .ee_type = w->type, .ee_code = w->code,
				       .ee_info = w->info },
			       .offender_be = w->offender_be };
	struct rte_mbuf *m = rte_pktmbuf_alloc(st->pool);
	uint32_t len;
	char *p;

	if (!m) {
		st->drops[DROP_NO_MBUF]++;
		return;
	}
	len = MIN(w->rest_len, (uint32_t)rte_pktmbuf_tailroom(m) - (uint32_t)sizeof(e));
	p = rte_pktmbuf_append(m, (uint16_t)(sizeof(e) + len));
	memcpy(p, &e, sizeof(e));
	if (len)
		memcpy(p + sizeof(e), w->rest, len);
	memcpy(pkt_tx(m)->addr, to, sizeof(*to));
	pkt_tx(m)->port_be = port_be;
	sock_up_dgram_error(st, s, m);
}

bool udp_on_icmp_error(struct stack *st, uint32_t src_be, uint32_t dst_be, uint16_t sport_be, uint16_t dport_be, int err, bool hard,
		       const struct icmp_what *w)
{
	struct ip_addr local = ip_addr_v4(src_be), remote = ip_addr_v4(dst_be);
	struct sock *s = ports_udp(&local, sport_be, &remote, dport_be, 0);
	bool connected;

	if (!s)
		return false;
	connected = sock_status(s) & SOCK_CONNECTED;
	if (err == EMSGSIZE) {
		/* "fragmentation needed" is an error only to who asked for it (Linux: IP_MTU_DISCOVER) */
		hard = true;
		if (s->opt.mtu_discover == IP_PMTUDISC_DONT)
			return true;
	}
	/* As Linux: only connected sockets learn of hard errors, unless IP_RECVERR asks for all (RFC 1122 §4.1.3.3) */
	if (s->opt.recverr)
		udp_tell_error(st, s, &remote, dport_be, err, SO_EE_ORIGIN_ICMP, w);
	if (s->opt.recverr || (hard && connected))
		sock_up_error(st, s, err, true);
	/* ip(7): INTERFACE and OMIT do not believe what the path says */
	return s->opt.mtu_discover < IP_PMTUDISC_INTERFACE;
}

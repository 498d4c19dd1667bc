/* udp.h - UDP between ip and the sockets. Owner of the stack only. */
#ifndef GZ_UDP_UDP_H
#define GZ_UDP_UDP_H

#include "ip/ip4.h"

#include <linux/errqueue.h>

struct sock;

/* One entry of a socket's error queue (ip(7), IP_RECVERR): at the data of an mbuf, the quoted payload behind it; pkt_tx(m)->addr and
 * port_be say where the datagram was sent. */
struct udp_error {
	struct sock_extended_err ee;
	uint32_t offender_be;
};
/* Makes one for s, which asked for them. */
void udp_tell_error(struct stack *st, struct sock *s, const struct ip_addr *to, uint16_t port_be, int err, uint8_t origin,
		    const struct icmp_what *w);

/* m->data at the UDP header (contiguous), m->l3_len bytes of IP header in front of it. Takes m. */
void udp_input(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint32_t dst_be);
/* Sends one datagram: m holds the payload (a chain if long; PKT_HEADROOM in front of the first segment), pkt_tx(m)->addr/port_be/tos/ttl
 * say where and how; s is bound to a port. From the stack's address. Takes m. 0, -EMSGSIZE (over 65,507 bytes,
 * or over the path's MTU with IP_MTU_DISCOVER), -EACCES (broadcast without SO_BROADCAST), -ENETUNREACH, -EINVAL (port 0), -ENOBUFS. */
int udp_output(struct stack *st, struct sock *s, struct rte_mbuf *m);
/* An ICMP error about a datagram we sent; addresses and ports of its own header, ours is the source. Returns whether a socket of
 * ours sends there (else the error is not believed). */
bool udp_on_icmp_error(struct stack *st, uint32_t src_be, uint32_t dst_be, uint16_t sport_be, uint16_t dport_be, int err, bool hard,
		       const struct icmp_what *w);

#endif

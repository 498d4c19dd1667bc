/* udp.h - UDP between ip and the sockets. Owner of the stack only. */
#ifndef GZ_UDP_UDP_H
#define GZ_UDP_UDP_H

#include "ip/ip4.h"

struct sock;

/* m->data at the UDP header, m->l3_len bytes of IP header in front of it. Takes m. */
void udp_input(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint32_t dst_be);
/* Sends one datagram: m holds the payload, pkt_tx(m)->addr/port_be/tos/ttl say where and how. Takes m. 0 or -errno. */
int udp_output(struct stack *st, struct sock *s, struct rte_mbuf *m);
/* An ICMP error about a datagram we sent; quoted: the UDP header it quotes. */
void udp_on_icmp_error(struct stack *st, uint32_t src_be, uint32_t dst_be, uint16_t sport_be, uint16_t dport_be, int err);

#endif

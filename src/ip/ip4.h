/* ip4.h - IPv4 and ICMP: what link, tcp, udp and loop call. Owner of the stack only. */
#ifndef GZ_IP_IP4_H
#define GZ_IP_IP4_H

#include "ip/addr.h"
#include "stack/stack.h"

/* What a connection caches about its way out; zero-initialised. */
struct ip_route {
	uint32_t next_hop_be; /* 0: not looked up yet */
	uint32_t neigh_hint;  /* link.h */
	uint32_t pmtu_bytes;  /* 0: the device's MTU */
};

struct ip4_state *ip4_state_create(struct stack *st);
void ip4_state_destroy(struct stack *st);

/* Ethernet payload: m->data at the IPv4 header. Validation, reassembly, local delivery to tcp/udp/icmp. Takes m. */
void ip4_input(struct stack *st, struct rte_mbuf *m);

/* Header description for output */
struct ip4_tx {
	uint32_t src_be, dst_be;
	uint8_t proto, ttl, tos;
	bool df; /* don't fragment: too big is an error, else fragments are made */
};

/* Prepends the IPv4 header to m (m->data at the L4 header, headroom guaranteed by the caller; l3_len and
 * offload flags are set here, l4 ones by the caller) and passes it to link_output(); fragments when larger than the MTU
 * and !df (TSO frames excepted). Takes m. route may be NULL. 0, -ENETUNREACH (no route), -EMSGSIZE, -ENOBUFS. Local
 * destinations loop back through the stack's own input by st's loopback queue (bounded). */
int ip4_output(struct stack *st, struct rte_mbuf *m, const struct ip4_tx *tx, struct ip_route *route);

/* Sends a packet from the reply list: IP header already complete. Takes m. */
void ip4_output_reply(struct stack *st, struct rte_mbuf *m);

/* Delivers packets that were sent to the stack's own address in this round; returns how many. Called by the loop. */
unsigned ip4_loopback_run(struct stack *st);

/* Is addr one of the stack's own? */
static force_inline bool ip4_is_local(const struct stack *st, uint32_t addr_be)
{
	return addr_be == st->ip4.addr_be;
}
/* Next hop for dst: itself on-link, the gateway, or 0 when there is no route. */
uint32_t ip4_next_hop(const struct stack *st, uint32_t dst_be);
/* Largest IP packet on the way to dst. */
uint32_t ip4_mtu(const struct stack *st, const struct ip_route *route);
void ip4_reass_on_timer(struct stack *st, struct wheel_timer *t);

/* icmp.c. icmp_input: m->data at the ICMP header, ip header before it in the same mbuf. Takes m. */
void icmp_input(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint32_t dst_be, uint8_t ttl);
/* Quotes the offending packet (m borrowed, data at its IPv4 header) in an ICMP error; rate limited; never about an error,
 * a fragment but the first, broadcast or multicast (RFC 1122 §3.2.2). */
void icmp_send_error(struct stack *st, struct rte_mbuf *m, uint8_t type, uint8_t code, uint32_t info_be);

#endif

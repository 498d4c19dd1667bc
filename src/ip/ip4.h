/* ip4.h - IPv4 and ICMP: what link, tcp, udp and loop call. Owner of the stack only. */
#ifndef GZ_IP_IP4_H
#define GZ_IP_IP4_H

#include "ip/addr.h"
#include "stack/stack.h"

/* What a connection caches about its way out; zero-initialised. */
struct ip_route {
	uint32_t next_hop_be; /* 0: not looked up yet */
	uint32_t neigh_hint;  /* link.h */
	uint16_t pmtu_bytes;  /* 0: the device's MTU */
	uint8_t no_df;	      /* TCP: packets leave without DF: the application wants it, or the path is below the floor */
	uint8_t pmtu_watch;   /* TCP: once per round trip something about the MTU is to be looked at (pmtu.c) */
};

#define IP4_HDR_BYTES 20u /* without options */
#define IP4_TTL_DEFAULT 64
#define IP4_PMTU_FLOOR 552u /* as Linux: a forged error must not make us send crumbs */

/* m->packet_type of a received packet, set by eth_input and ip4_input (the device's classification is not used) */
#define IP4_RX_GROUP 0x1u	/* came in a broadcast or multicast frame */
#define IP4_RX_NOT_UNICAST 0x2u /* IP destination is broadcast or multicast */
#define IP4_RX_LOOPED 0x4u	/* from this host itself */

struct ip4_state *ip4_state_create(struct stack *st);
void ip4_state_destroy(struct stack *st);

/* Ethernet payload: m->data at the IPv4 header. Validation, reassembly, local delivery to tcp/udp/icmp. Takes m.
 * What they get: m->data at the L4 header, m->l3_len bytes of IP header in front of it in the same segment, and the first
 * min(60, pkt_len) bytes of L4 in the same segment too; ol_flags RX_L4_CKSUM_* as netdev left it (unknown after reassembly). */
void ip4_input(struct stack *st, struct rte_mbuf *m);

/* Header description for output */
struct ip4_tx {
	uint32_t src_be, dst_be;
	uint8_t ttl; /* not beside proto: compilers would load both at once, just after they were stored one by one */
	bool df;     /* don't fragment: too big is an error, else fragments are made */
	uint8_t proto, tos;
	bool loop; /* group destinations: a copy for this host's own sockets */
};

/* Prepends the IPv4 header to m (m->data at the L4 header, headroom guaranteed by the caller; l3_len and
 * offload flags are set here, l4 ones by the caller) and passes it to link_output(); fragments when larger than the MTU
 * and !df (TSO frames excepted). Takes m. route may be NULL. 0, -ENETUNREACH (no route), -EMSGSIZE, -ENOBUFS. Local
 * destinations loop back through the stack's own input by st's loopback queue (bounded). */
int ip4_output(struct stack *st, struct rte_mbuf *m, const struct ip4_tx *tx, struct ip_route *route);

/* The peer acknowledged new data: the neighbour on the way is reachable (RFC 4861 §7.3.1). */
void ip4_confirm(struct stack *st, const struct ip_route *route);

/* Sends a packet from the reply list: IP header already complete. Takes m. */
void ip4_output_reply(struct stack *st, struct rte_mbuf *m);

/* Delivers packets that were sent to the stack's own address in this round; returns how many. Called by the loop. */
unsigned ip4_loopback_run(struct stack *st);

/* Is addr one of the stack's own? */
static force_inline bool ip4_is_local(const struct stack *st, uint32_t addr_be)
{
	return addr_be == st->ip4.addr_be;
}
/* Limited broadcast, or that of our network (none in a /31 or /32, RFC 3021). */
static force_inline bool ip4_is_broadcast(const struct stack *st, uint32_t addr_be)
{
	uint32_t host = ~st->ip4.mask_be;

	return addr_be == INADDR_BROADCAST || (((addr_be ^ st->ip4.addr_be) & st->ip4.mask_be) == 0 &&
					       (addr_be & host) == host && ntohl(host) > 1);
}
/* Next hop for dst: itself on-link, the gateway, or 0 when there is no route. */
uint32_t ip4_next_hop(const struct stack *st, uint32_t dst_be);
/* Is addr a group that a socket of this stack has joined? Counted memberships; 0, -ENOBUFS (table full), -EADDRNOTAVAIL
 * (leave without join), -EINVAL (no group). Owner. The host's own group 224.0.0.1 is always joined. */
int ip4_group_join(struct stack *st, uint32_t group_be);
int ip4_group_leave(struct stack *st, uint32_t group_be);
bool ip4_group_joined(const struct stack *st, uint32_t group_be);
/* Largest IP packet that the link takes; to ourselves any. */
uint32_t ip4_link_mtu(const struct stack *st, const struct ip_route *route);
/* Largest IP packet on the way of route (looked up by ip4_output() before, else the device's). */
uint32_t ip4_mtu(const struct stack *st, const struct ip_route *route);
/* The same by destination, by what ICMP told us about it. */
uint32_t ip4_dst_mtu(const struct stack *st, uint32_t dst_be);
/* May packets to dst be forbidden to be cut? Not where the path claims to be below the floor. */
bool ip4_dst_df(const struct stack *st, uint32_t dst_be);
/* A path MTU that was told by a validated ICMP error: believed for some minutes, never below the floor, only downwards. */
void ip4_learn_pmtu(struct stack *st, uint32_t dst_be, uint32_t mtu);
/* A packet that this host was about to send (borrowed, data at its IPv4 header) found no neighbour: tells the sender EHOSTUNREACH. */
void ip4_on_unreachable(struct stack *st, struct rte_mbuf *m);
void ip4_reass_on_timer(struct stack *st, struct wheel_timer *t);
void igmp_on_timer(struct stack *st, struct wheel_timer *t);

/* What an ICMP error said beside the packet that it is about. */
struct icmp_what {
	uint8_t type, code;
	uint32_t info;	      /* next-hop MTU, pointer */
	uint32_t offender_be; /* who sent it */
	const uint8_t *rest;  /* of the quoted packet, behind the first eight bytes of its payload */
	uint32_t rest_len;
};

/* icmp.c. icmp_input: m->data at the ICMP header, ip header before it in the same mbuf. Takes m. */
void icmp_input(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint32_t dst_be, uint8_t ttl);
/* Quotes the offending packet (m borrowed, data at its IPv4 header) in an ICMP error; rate limited; never about an error,
 * a fragment but the first, broadcast or multicast (RFC 1122 §3.2.2). */
/* The ICMP error of RFC 1122 §3.2.2. info_be: second word of the ICMP header (next-hop MTU, pointer). */
void icmp_send_error(struct stack *st, struct rte_mbuf *m, uint8_t type, uint8_t code, uint32_t info_be);

#endif

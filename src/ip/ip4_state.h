/* ip4_state.h - inside of the ip room: what IPv4 and ICMP keep per stack. Owner of the stack only, but for struct ip4_groups. */
#ifndef GZ_IP_IP4_STATE_H
#define GZ_IP_IP4_STATE_H

#include "ip/igmp.h"
#include "ip/ip4.h"

#include <netinet/in.h>
#include <rte_ip.h>

#define IP4_DF 0x4000u
#define IP4_MF 0x2000u
#define IP4_OFFSET 0x1fffu

#define LOOPBACK_MAX 1024u /* packets to our own address per round */
#define IDENT_SLOTS 1024u
#define GROUPS_MAX 256u
#define PMTU_SLOTS 256u
#define PMTU_LIFE_US (600 * 1000000ULL) /* RFC 1191 §6.3: 10 minutes */

/* Joined groups, shared by the stacks of a device: group << 32 | memberships, 0 = free. [any owner, compare-and-swap] */
struct ip4_groups {
	_Atomic uint32_t refs; /* stacks */
	_Atomic uint32_t used; /* slots ever used: 0 spares the look-up */
	_Atomic uint64_t slot[GROUPS_MAX];
};

struct icmp_bucket {
	uint64_t last_us;
	uint32_t tokens;
};
#define ICMP_TARGETS 256u

struct pmtu_entry {
	uint32_t addr_be;
	uint16_t mtu;
	bool locked; /* less was claimed than we go down to: routers must cut */
	uint64_t until_us;
};

struct reass;

struct ip4_state {
	struct rte_mbuf *loop[LOOPBACK_MAX];
	uint32_t loop_first, loop_len;
	uint16_t ident[IDENT_SLOTS]; /* RFC 6864: next identification per (source, destination, protocol) class */
	struct ip4_groups *groups;
	uint32_t pmtu_used;
	struct pmtu_entry pmtu[PMTU_SLOTS];
	/* icmp.c: errors are limited altogether and per target (RFC 1812 §4.3.2.8) */
	struct icmp_bucket icmp_all;
	struct icmp_bucket icmp_target[ICMP_TARGETS];
	struct reass *reass;
	struct igmp igmp;
};

/* Identification for a datagram that may be fragmented. */
uint16_t ip4_ident(struct stack *st, uint32_t src_be, uint32_t dst_be, uint8_t proto);
/* Writes a header of 20 bytes without options; checksum left to the device (flags are the caller's). id as it is. */
static force_inline void ip4_hdr_write(struct rte_ipv4_hdr *ip, const struct ip4_tx *tx, uint16_t total, uint16_t id_be, bool df)
{
	const uint64_t w[2] = {
		mem_pair32(mem_pair16(mem_pair8(0x45, tx->tos), htons(total)), mem_pair16(id_be, df ? htons(IP4_DF) : 0)),
		mem_pair32(mem_pair16(mem_pair8(tx->ttl, tx->proto), 0), tx->src_be),
	};

	memcpy(ip, &w[0], 8);
	memcpy((char *)ip + 8, &w[1], 8);
	memcpy(&ip->dst_addr, &tx->dst_be, 4);
}
/* Local delivery: m->data at the header of hlen bytes, complete datagram. Takes m. */
void ip4_deliver(struct stack *st, struct rte_mbuf *m, uint32_t hlen);
/* Makes the IP header and up to 60 bytes behind it contiguous; NULL: dropped. */
struct rte_mbuf *ip4_contiguous(struct stack *st, struct rte_mbuf *m, uint32_t hlen);

/* frag.c: cuts m (complete header of 20 bytes at m->data) into packets of at most mtu bytes and passes them to link_output(). Takes m.
 * 0 or -ENOBUFS: then none was sent. */
int ip4_fragment(struct stack *st, struct rte_mbuf *m, uint32_t mtu, uint32_t next_hop_be, uint32_t *hint);

/* reass.c. Takes m, a fragment with a validated header of hlen bytes at m->data, cut to its total length. Returns the whole datagram
 * (header at m->data) when this was the last piece, else NULL. */
struct rte_mbuf *reass_input(struct stack *st, struct rte_mbuf *m, uint32_t hlen);
struct reass *reass_create(struct stack *st);
void reass_destroy(struct stack *st, struct reass *r);

/* icmp.c: an error about a packet of ours, whose IPv4 header is at q with n bytes. w: rest is filled in here. */
void icmp_report(struct stack *st, const uint8_t *q, uint32_t n, int err, bool hard, struct icmp_what *w);

#endif

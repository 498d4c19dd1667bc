/* ip4_output.c - IPv4 packets on their way out: header, route, loop back, fragments (walk out, step 5); the state of the room.
 * Called by tcp, udp, the loop (replies); on to link_output(). Owner of the stack only. RFC 791, RFC 1122 §3.3, RFC 6864. */
#include "base/csum.h"
#include "base/mbufs.h"
#include "base/siphash.h"
#include "ip/ip4_state.h"
#include "link/link.h"

#include <rte_malloc.h>

/* --- state --- */

static struct ip4_groups *groups_get(struct stack *st)
{
	struct ip4_groups *g;

	if (gz) {
		for (uint32_t i = 0; i < STACK_MAX; i++) {
			struct stack *other = &gz->stacks[i];

			if (other != st && other->ip && other->nd == st->nd) {
				g = other->ip->groups;
				atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
				return g;
			}
		}
	}
	g = rte_zmalloc("ip4_groups", sizeof(*g), CACHE_LINE);
	if (g)
		atomic_init(&g->refs, 1);
	return g;
}

static void groups_put(struct ip4_groups *g)
{
	if (g && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
		rte_free(g);
}

struct ip4_state *ip4_state_create(struct stack *st)
{
	struct ip4_state *s = rte_zmalloc("ip4_state", sizeof(*s), CACHE_LINE);
	uint64_t seed[2] = { st->secret[0], st->secret[1] };

	if (!s)
		return NULL;
	s->reass = reass_create(st);
	s->groups = groups_get(st);
	if (!s->reass || !s->groups) {
		reass_destroy(st, s->reass);
		groups_put(s->groups);
		rte_free(s);
		return NULL;
	}
	igmp_init(st, &s->igmp);
	for (uint32_t i = 0; i < IDENT_SLOTS; i++)
		s->ident[i] = (uint16_t)siphash24(seed, &i, sizeof(i));
	return s;
}

void ip4_state_destroy(struct stack *st)
{
	struct ip4_state *s = st->ip;

	if (!s)
		return;
	while (s->loop_len) {
		rte_pktmbuf_free(s->loop[s->loop_first]);
		s->loop_first = (s->loop_first + 1) % LOOPBACK_MAX;
		s->loop_len--;
	}
	igmp_fini(st, &s->igmp);
	reass_destroy(st, s->reass);
	groups_put(s->groups);
	rte_free(s);
}

/* RFC 6864 §4.3: unique within the time a fragment may live, for each (source, destination, protocol). One counter
 * for all would tell an outsider how much we send to others, so a class of destinations has its own, at a keyed start. */
uint16_t ip4_ident(struct stack *st, uint32_t src_be, uint32_t dst_be, uint8_t proto)
{
	uint32_t key[3] = { src_be, dst_be, proto };
	uint64_t h = siphash24(st->secret, key, sizeof(key));

	return (uint16_t)((h >> 32) + st->ip->ident[h & (IDENT_SLOTS - 1)]++);
}

/* --- groups --- */

int ip4_group_join(struct stack *st, uint32_t group_be)
{
	struct ip4_groups *g = st->ip->groups;
	_Atomic uint64_t *hole = NULL;

	if (!ip4_is_multicast(group_be))
		return -EINVAL;
	for (uint32_t i = 0; i < GROUPS_MAX; i++) {
		uint64_t v = atomic_load_explicit(&g->slot[i], memory_order_relaxed);

		while (v && (uint32_t)(v >> 32) == group_be) {
			if (atomic_compare_exchange_weak_explicit(&g->slot[i], &v, v + 1, memory_order_acq_rel,
								  memory_order_relaxed))
				return 0;
		}
		if (!v && !hole)
			hole = &g->slot[i];
	}
	/* Two stacks that join the same group at once may make two slots of it: each is left as it was joined, both count. */
	while (hole && hole < &g->slot[GROUPS_MAX]) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong_explicit(hole, &none, (uint64_t)group_be << 32 | 1, memory_order_acq_rel,
							    memory_order_relaxed)) {
			atomic_fetch_add_explicit(&g->used, 1, memory_order_release);
			igmp_on_join(st, group_be);
			return 0;
		}
		hole++;
	}
	return -ENOBUFS;
}

int ip4_group_leave(struct stack *st, uint32_t group_be)
{
	struct ip4_groups *g = st->ip->groups;

	for (uint32_t i = 0; i < GROUPS_MAX; i++) {
		uint64_t v = atomic_load_explicit(&g->slot[i], memory_order_relaxed);

		while (v && (uint32_t)(v >> 32) == group_be) {
			bool last = (uint32_t)v == 1;

			if (!atomic_compare_exchange_weak_explicit(&g->slot[i], &v, last ? 0 : v - 1, memory_order_acq_rel,
								   memory_order_relaxed))
				continue;
			if (last) {
				atomic_fetch_sub_explicit(&g->used, 1, memory_order_release);
				if (!ip4_group_joined(st, group_be))
					igmp_on_leave(st, group_be);
			}
			return 0;
		}
	}
	return -EADDRNOTAVAIL;
}

bool ip4_group_joined(const struct stack *st, uint32_t group_be)
{
	struct ip4_groups *g = st->ip->groups;

	if (group_be == htonl(INADDR_ALLHOSTS_GROUP)) /* RFC 1112 §4: permanent */
		return true;
	if (atomic_load_explicit(&g->used, memory_order_acquire) == 0)
		return false;
	for (uint32_t i = 0; i < GROUPS_MAX; i++) {
		if (atomic_load_explicit(&g->slot[i], memory_order_relaxed) >> 32 == group_be)
			return true;
	}
	return false;
}

/* --- route and path MTU --- */

uint32_t ip4_next_hop(const struct stack *st, uint32_t dst_be)
{
	if (unlikely(ip4_is_loopback_net(dst_be) || dst_be == 0))
		return 0; /* RFC 1122 §3.2.1.3(g): never on a wire */
	if (likely(((dst_be ^ st->ip4.addr_be) & st->ip4.mask_be) == 0))
		return dst_be;
	if (dst_be == INADDR_BROADCAST || ip4_is_multicast(dst_be))
		return dst_be;
	return st->ip4.gateway_be;
}

static force_inline uint32_t device_mtu(const struct stack *st)
{
	return atomic_load_explicit(&st->nd->mtu, memory_order_relaxed);
}

uint32_t ip4_link_mtu(const struct stack *st, const struct ip_route *route)
{
	if (route && route->next_hop_be == st->ip4.addr_be && route->next_hop_be)
		return 65535;
	return device_mtu(st);
}

uint32_t ip4_mtu(const struct stack *st, const struct ip_route *route)
{
	uint32_t mtu = ip4_link_mtu(st, route);

	return route && route->pmtu_bytes ? MIN(mtu, route->pmtu_bytes) : mtu;
}

static force_inline uint32_t pmtu_slot(uint32_t dst_be)
{
	return (uint32_t)((dst_be * 0x9e3779b97f4a7c15ULL) >> 40) % PMTU_SLOTS;
}

static const struct pmtu_entry *pmtu_find(const struct stack *st, uint32_t dst_be)
{
	const struct pmtu_entry *p;

	if (likely(st->ip->pmtu_used == 0))
		return NULL;
	p = &st->ip->pmtu[pmtu_slot(dst_be)];
	return p->addr_be == dst_be && p->until_us > st->now_us ? p : NULL;
}

uint32_t ip4_dst_mtu(const struct stack *st, uint32_t dst_be)
{
	const struct pmtu_entry *p = pmtu_find(st, dst_be);
	uint32_t mtu = device_mtu(st);

	return unlikely(p != NULL) ? MIN(mtu, p->mtu) : mtu;
}

bool ip4_dst_df(const struct stack *st, uint32_t dst_be)
{
	const struct pmtu_entry *p = pmtu_find(st, dst_be);

	return likely(!p) || !p->locked;
}

void ip4_learn_pmtu(struct stack *st, uint32_t dst_be, uint32_t mtu)
{
	struct pmtu_entry *p = &st->ip->pmtu[pmtu_slot(dst_be)];
	uint32_t floor = st->ip4.min_pmtu ? st->ip4.min_pmtu : IP4_PMTU_FLOOR;

	/* what is larger than what we use says nothing new */
	if (mtu > ip4_dst_mtu(st, dst_be))
		return;
	st->ip->pmtu_used = 1;
	p->addr_be = dst_be;
	p->locked = mtu < floor;
	p->mtu = (uint16_t)MIN(MAX(mtu, floor), 65535u);
	p->until_us = st->now_us + (st->ip4.pmtu_life_s ? st->ip4.pmtu_life_s * (uint64_t)US_PER_S : PMTU_LIFE_US);
}

/* --- loop back --- */

/* A packet to our own address. What the sender still holds (TCP until it is acknowledged) is copied, since the receiver will
 * move its data pointers and link it. Checksums need no filling in. */
static cold_path int loopback_put(struct stack *st, struct rte_mbuf *m, uint32_t rx_type)
{
	struct ip4_state *s = st->ip;

	if (s->loop_len == LOOPBACK_MAX) {
		st->mib.ip_out_discard++;
		drop(st, m, DROP_LOOPBACK_FULL);
		return -ENOBUFS;
	}
	if (!mbuf_chain_writable(m)) {
		struct rte_mbuf *copy = rte_pktmbuf_copy(m, st->pool, 0, UINT32_MAX);

		rte_pktmbuf_free(m);
		if (!copy) {
			st->drops[DROP_NO_MBUF]++;
			st->mib.ip_out_discard++;
			return -ENOBUFS;
		}
		m = copy;
	}
	m->ol_flags = mbuf_kept_flags(m) | RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	m->packet_type = rx_type;
	m->tx_offload = 0;
	m->vlan_tci = 0;
	pkt_meta(m)->time_us = st->now_us;
	s->loop[(s->loop_first + s->loop_len++) % LOOPBACK_MAX] = m;
	return 0;
}

unsigned ip4_loopback_run(struct stack *st)
{
	struct ip4_state *s = st->ip;
	uint32_t n = s->loop_len; /* what the answers add waits for the next call */

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = s->loop[s->loop_first];

		s->loop_first = (s->loop_first + 1) % LOOPBACK_MAX;
		s->loop_len--;
		ip4_input(st, m);
	}
	return n;
}

/* --- output --- */

static cold_path int ip4_no_route(struct stack *st, struct rte_mbuf *m)
{
	st->mib.ip_outnort++;
	drop(st, m, DROP_IP4_NO_ROUTE);
	return -ENETUNREACH;
}

static cold_path int ip4_too_big(struct stack *st, struct rte_mbuf *m)
{
	st->mib.ip_frag_fail++;
	drop(st, m, DROP_IP4_TOO_BIG);
	return -EMSGSIZE;
}

/* Broadcast and multicast: a copy for our own sockets if they want it (RFC 1112 §6.1), ttl 0 stays at home. */
static cold_path bool ip4_output_group(struct stack *st, struct rte_mbuf *m, const struct ip4_tx *tx)
{
	if (tx->loop && (!ip4_is_multicast(tx->dst_be) || ip4_group_joined(st, tx->dst_be))) {
		struct rte_mbuf *copy = rte_pktmbuf_copy(m, st->pool, 0, UINT32_MAX);

		if (copy)
			loopback_put(st, copy, IP4_RX_LOOPED | IP4_RX_GROUP);
		else
			st->drops[DROP_NO_MBUF]++;
	}
	if (tx->ttl)
		return true;
	rte_pktmbuf_free(m);
	return false;
}

int ip4_output(struct stack *st, struct rte_mbuf *m, const struct ip4_tx *tx, struct ip_route *route)
{
	uint32_t len = m->pkt_len + IP4_HDR_BYTES, next_hop_be, mtu;
	uint32_t *hint = NULL;
	struct rte_ipv4_hdr *ip;

	st->mib.ip_out_req++;
	if (likely(route && route->next_hop_be)) {
		next_hop_be = route->next_hop_be;
		hint = &route->neigh_hint;
	} else {
		next_hop_be = ip4_next_hop(st, tx->dst_be);
		if (unlikely(!next_hop_be))
			return ip4_no_route(st, m);
		if (route) {
			route->next_hop_be = next_hop_be;
			hint = &route->neigh_hint;
		}
	}
	if (unlikely(len > 65535))
		return ip4_too_big(st, m);

	gz_assert(rte_pktmbuf_headroom(m) >= IP4_HDR_BYTES);
	m->data_off = (uint16_t)(m->data_off - IP4_HDR_BYTES);
	m->data_len = (uint16_t)(m->data_len + IP4_HDR_BYTES);
	m->pkt_len = len;
	ip = rte_pktmbuf_mtod(m, struct rte_ipv4_hdr *);
	/* An atomic datagram needs no identification (RFC 6864 §4.1) */
	ip4_hdr_write(ip, tx, (uint16_t)len, tx->df ? 0 : htons(ip4_ident(st, tx->src_be, tx->dst_be, tx->proto)), tx->df);
	m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
	mbuf_set_l3_len(m, IP4_HDR_BYTES);

	if (unlikely(next_hop_be == st->ip4.addr_be))
		return loopback_put(st, m, IP4_RX_LOOPED);
	if (unlikely(ip4_is_multicast(next_hop_be) || ip4_is_broadcast(st, next_hop_be)) && !ip4_output_group(st, m, tx))
		return 0;
	mtu = route ? ip4_mtu(st, route) : ip4_dst_mtu(st, tx->dst_be);
	if (unlikely(len > mtu) && !(m->ol_flags & RTE_MBUF_F_TX_TCP_SEG)) {
		if (tx->df)
			return ip4_too_big(st, m);
		return ip4_fragment(st, m, mtu, next_hop_be, hint);
	}
	link_output(st, m, next_hop_be, hint);
	return 0;
}

void ip4_output_reply(struct stack *st, struct rte_mbuf *m)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod(m, const struct rte_ipv4_hdr *);
	uint32_t next_hop_be = ip4_next_hop(st, ip->dst_addr), mtu;

	st->mib.ip_out_req++;
	if (unlikely(!next_hop_be)) {
		ip4_no_route(st, m);
		return;
	}
	if (next_hop_be == st->ip4.addr_be) {
		loopback_put(st, m, IP4_RX_LOOPED);
		return;
	}
	mtu = ip4_dst_mtu(st, ip->dst_addr);
	if (unlikely(m->pkt_len > mtu)) {
		if (ip->fragment_offset & htons(IP4_DF))
			ip4_too_big(st, m);
		else
			ip4_fragment(st, m, mtu, next_hop_be, NULL);
		return;
	}
	link_output(st, m, next_hop_be, NULL);
}

void ip4_confirm(struct stack *st, const struct ip_route *route)
{
	if (route->neigh_hint)
		neigh_confirm(st, route->neigh_hint);
}

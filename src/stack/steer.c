/* steer.c - passing frames to the stack that owns their flow (walk in, step 2). Called by loop.c, owner of the stack.
 *
 * What carries no ports here (ARP, ICMP, fragments but the first) stays where it arrived, except that fragments of one
 * datagram go to one stack by addresses and identification, so that reassembly sees them all; that stack passes the
 * whole datagram's socket upcall across (UDP) - TCP never fragments here (DF).
 */
#include "stack/steer.h"
#include "stack/own.h"

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_ring.h>

#define STEER_RING_SIZE 1024

/* The owner of a frame, or `self` when it may stay. */
static uint32_t steer_target(const struct rte_mbuf *m, uint32_t self)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t len = rte_pktmbuf_data_len(m), off = sizeof(struct rte_ether_hdr), ihl;
	struct ip_addr src, dst;
	uint16_t type, frag, sport, dport;
	uint32_t src_be, dst_be;

	if (len < off + 20)
		return self;
	memcpy(&type, p + 12, 2);
	if (type == htons(RTE_ETHER_TYPE_VLAN)) {
		memcpy(&type, p + 16, 2);
		off += 4;
	}
	/* a last fragment may carry a single byte, so only the IP header is asked for */
	if (type != htons(RTE_ETHER_TYPE_IPV4) || len < off + 20 || (p[off] >> 4) != 4)
		return self;
	ihl = (uint32_t)(p[off] & 15) * 4;
	memcpy(&frag, p + off + 6, 2);
	memcpy(&src_be, p + off + 12, 4);
	memcpy(&dst_be, p + off + 16, 4);
	src = ip_addr_v4(src_be);
	dst = ip_addr_v4(dst_be);
	if (frag & htons(0x3fff)) { /* more fragments, or an offset */
		uint16_t id;

		memcpy(&id, p + off + 4, 2);
		return steer_stack(&src, id, &dst, 0);
	}
	if ((p[off + 9] != IPPROTO_TCP && p[off + 9] != IPPROTO_UDP) || len < off + ihl + 4)
		return self;
	memcpy(&sport, p + off + ihl, 2);
	memcpy(&dport, p + off + ihl + 2, 2);
	return steer_stack(&src, sport, &dst, dport);
}

uint16_t steer_burst(struct stack *st, struct rte_mbuf **m, uint16_t n)
{
	uint16_t kept = 0;
	uint64_t rung = 0;

	for (uint16_t i = 0; i < n; i++) {
		uint32_t to = steer_target(m[i], st->id);
		struct stack *other;

		if (to == st->id) {
			m[kept++] = m[i];
			continue;
		}
		other = &gz->stacks[to];
		if (rte_ring_sp_enqueue(other->steer[st->id], m[i]) != 0)
			drop(st, m[i], DROP_STEER_FULL);
		else
			rung |= 1ULL << to;
	}
	while (unlikely(rung)) {
		unsigned to = (unsigned)__builtin_ctzll(rung);
		struct thread_rec *self = thread_self();

		rung &= rung - 1;
		if (self && gz->mode == RUN_TO_COMPLETION)
			self->kick_mask |= 1ULL << to; /* run it after leaving this one */
		atomic_thread_fence(memory_order_seq_cst);
		stack_ring(&gz->stacks[to]);
	}
	return kept;
}

uint16_t steer_take(struct stack *st, struct rte_mbuf **m, uint16_t n)
{
	uint16_t got = 0;

	for (uint32_t i = 0; i < gz->nb_stacks && got < n; i++)
		if (st->steer[i])
			got = (uint16_t)(got + rte_ring_sc_dequeue_burst(st->steer[i], (void **)&m[got],
									(unsigned)(n - got), NULL));
	return got;
}

bool steer_waits(const struct stack *st)
{
	for (uint32_t i = 0; i < gz->nb_stacks; i++)
		if ((st->steer[i] && !rte_ring_empty(st->steer[i])) || (st->via[i] && !rte_ring_empty(st->via[i])))
			return true;
	return false;
}

int steer_create(void)
{
	for (uint32_t to = 0; to < gz->nb_stacks; to++)
		for (uint32_t from = 0; from < gz->nb_stacks; from++) {
			char name[32];

			if (to == from)
				continue;
			snprintf(name, sizeof(name), "gz_steer_%u_%u", from, to);
			gz->stacks[to].steer[from] = rte_ring_create(name, STEER_RING_SIZE, SOCKET_ID_ANY,
								     RING_F_SP_ENQ | RING_F_SC_DEQ);
			if (!gz->stacks[to].steer[from])
				return -ENOMEM;
		}
	return 0;
}

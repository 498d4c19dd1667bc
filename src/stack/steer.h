/* steer.h - which stack a flow belongs to: hash(4-tuple) % stacks (architecture.md, "Steering"). Symmetric in the two ends, so
 * that a connection within the process is handled by one stack. Any thread. */
#ifndef GZ_STACK_STEER_H
#define GZ_STACK_STEER_H

#include "ip/addr.h"
#include "stack/stack.h"

static force_inline uint32_t steer_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	return (uint32_t)x;
}

/* Hash of a flow, the same in both directions. */
static force_inline uint32_t steer_hash(const struct ip_addr *a, uint16_t aport_be, const struct ip_addr *b, uint16_t bport_be)
{
	uint64_t addrs = (a->d[0] ^ b->d[0]) * 0x9e3779b97f4a7c15ULL + (a->d[1] ^ b->d[1]);
	uint64_t ports = (uint64_t)(aport_be ^ bport_be) << 32 | (uint32_t)((uint32_t)aport_be + bport_be);

	return steer_mix(addrs * 0x9e3779b97f4a7c15ULL ^ ports);
}

static force_inline uint32_t steer_stack(const struct ip_addr *a, uint16_t aport_be, const struct ip_addr *b, uint16_t bport_be)
{
	/* Multiply-shift instead of a division by a variable. */
	return (uint32_t)((uint64_t)steer_hash(a, aport_be, b, bport_be) * gz->nb_stacks >> 32);
}

/* Frames of a received burst that belong to other stacks go to their rings; returns how many remain in m (in order).
 * Only called with more than one stack. Owner. */
uint16_t steer_burst(struct stack *st, struct rte_mbuf **m, uint16_t n);
/* Takes frames that other stacks passed to st; at most n. Owner. */
uint16_t steer_take(struct stack *st, struct rte_mbuf **m, uint16_t n);
/* Does a frame wait in st's rings? Any thread. */
bool steer_waits(const struct stack *st);
/* Rings between all pairs of stacks; boot. 0 or -ENOMEM. */
int steer_create(void);

#endif

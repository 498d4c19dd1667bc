/* table.h - hash table of 4-tuples that grows in place: linear hashing (Litwin) of 32-bit heads with chains through the objects.
 *
 * The heads are carved sparse for the largest number of objects, so growing never moves or allocates: each insertion beyond load 1/2 splits
 * two buckets. O(1) at a million entries without a pause for rehashing. Objects live in a slab; a link is index + 1. Owner only.
 */
#ifndef GZ_TCP_TABLE_H
#define GZ_TCP_TABLE_H

#include "base/region.h"
#include "tcp/tcb.h"

struct tcp_table {
	uint32_t *heads;   /* [const] carved; index + 1 of the first object */
	struct slab *slab; /* [const] */
	char *base;	   /* [const] slab->base + offset of the key in an object */
	uint32_t obj_bytes;
	uint32_t level;	  /* power of two: buckets before this round of splitting */
	uint32_t split;	  /* next bucket to split, < level */
	uint32_t capacity; /* buckets carved, a power of two */
	uint32_t count;
};

/* 0 or -ENOMEM. key_off: of struct tcp_key in the slab's objects. */
int tcp_table_init(struct tcp_table *t, struct slab *slab, uint32_t key_off);
/* k->hash is set by the caller (tcp_key_hash); k is in no table. */
void tcp_table_insert(struct tcp_table *t, struct tcp_key *k);
/* Harmless when k is not in the table. */
void tcp_table_remove(struct tcp_table *t, struct tcp_key *k);

static force_inline struct tcp_key *tcp_table_at(const struct tcp_table *t, uint32_t index)
{
	return (struct tcp_key *)(void *)(t->base + (size_t)index * t->obj_bytes);
}

static force_inline uint32_t tcp_table_bucket(const struct tcp_table *t, uint32_t hash)
{
	uint32_t b = hash & (2 * t->level - 1);

	return b < t->level + t->split ? b : b & (t->level - 1);
}

static force_inline uint64_t tcp_mix(uint64_t a, uint64_t b)
{
	__uint128_t p = (__uint128_t)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Keyed by the stack's secret so that nobody outside can aim at a bucket: folded 64x64 multiplications. */
static force_inline uint32_t tcp_key_hash(const uint64_t secret[2], const struct ip_addr *laddr,
					  const struct ip_addr *raddr, uint16_t lport_be, uint16_t rport_be)
{
	uint64_t ports = (uint64_t)lport_be << 16 | rport_be;
	uint64_t h = tcp_mix(raddr->d[1] ^ secret[0], laddr->d[1] ^ secret[1] ^ ports * 0x9e3779b97f4a7c15ULL);

	if (unlikely(raddr->d[0] | laddr->d[0]))
		h = tcp_mix(h ^ raddr->d[0], secret[0] ^ laddr->d[0]);
	h = tcp_mix(h ^ ports ^ secret[1], secret[0] | 1);
	return (uint32_t)(h ^ h >> 32);
}

static force_inline bool tcp_key_is(const struct tcp_key *k, const struct ip_addr *laddr, const struct ip_addr *raddr,
				    uint16_t lport_be, uint16_t rport_be)
{
	return ((k->laddr.d[0] ^ laddr->d[0]) | (k->laddr.d[1] ^ laddr->d[1]) | (k->raddr.d[0] ^ raddr->d[0]) |
		(k->raddr.d[1] ^ raddr->d[1]) | (uint64_t)(k->lport_be ^ lport_be) |
		(uint64_t)(k->rport_be ^ rport_be)) == 0;
}

static force_inline struct tcp_key *tcp_table_find(const struct tcp_table *t, uint32_t hash, const struct ip_addr *laddr,
						   const struct ip_addr *raddr, uint16_t lport_be, uint16_t rport_be)
{
	uint32_t i = t->heads[tcp_table_bucket(t, hash)];

	while (i) {
		struct tcp_key *k = tcp_table_at(t, i - 1);

		if (likely(k->hash == hash && tcp_key_is(k, laddr, raddr, lport_be, rport_be)))
			return k;
		i = k->hash_next;
	}
	return NULL;
}

#endif

/* table.c - see table.h. Called by conn, listen and timewait; owner of the stack. */
#include "tcp/table.h"

#include <errno.h>

#define LEVEL_FIRST 64u

int tcp_table_init(struct tcp_table *t, struct slab *slab, uint32_t key_off)
{
	uint32_t cap = LEVEL_FIRST * 2;

	while (cap < 2 * (uint64_t)slab->capacity && cap < 1u << 30)
		cap *= 2;
	memset(t, 0, sizeof(*t));
	t->heads = region_carve((size_t)cap * sizeof(uint32_t), CACHE_LINE);
	if (!t->heads)
		return -ENOMEM;
	t->slab = slab;
	t->base = slab->base + key_off;
	t->obj_bytes = slab->obj_bytes;
	t->level = LEVEL_FIRST;
	t->capacity = cap;
	return 0;
}

/* Objects of bucket b go to b or b + level, by the next bit of their hash. */
static void split_one(struct tcp_table *t)
{
	uint32_t b = t->split, i = t->heads[b];
	uint32_t low = 0, high = 0;

	while (i) {
		struct tcp_key *k = tcp_table_at(t, i - 1);
		uint32_t next = k->hash_next;
		uint32_t *to = k->hash & t->level ? &high : &low;

		k->hash_next = *to;
		*to = i;
		i = next;
	}
	t->heads[b] = low;
	t->heads[b + t->level] = high;
	if (++t->split == t->level) {
		t->level *= 2;
		t->split = 0;
	}
}

void tcp_table_insert(struct tcp_table *t, struct tcp_key *k)
{
	uint32_t index = (uint32_t)((size_t)((char *)k - t->base) / t->obj_bytes);
	uint32_t *head;

	/* At most half as many objects as buckets: each further one in a chain is a cache miss. The top level is never split: 2 * level would
	 * pass what was carved. One insertion needs up to two buckets more. */
	for (unsigned i = 0; i < 2 && 2 * t->count >= t->level + t->split && t->level + t->split < t->capacity; i++)
		split_one(t);
	head = &t->heads[tcp_table_bucket(t, k->hash)];
	k->hash_next = *head;
	*head = index + 1;
	t->count++;
}

void tcp_table_remove(struct tcp_table *t, struct tcp_key *k)
{
	uint32_t *link = &t->heads[tcp_table_bucket(t, k->hash)];

	while (*link) {
		struct tcp_key *at = tcp_table_at(t, *link - 1);

		if (at == k) {
			*link = k->hash_next;
			k->hash_next = 0;
			t->count--;
			return;
		}
		link = &at->hash_next;
	}
}

/* inbox.h - lock-free hand-over of linked nodes: many producers push, a taker takes everything.
 *
 * push: one compare-and-swap on the head (LIFO). take: one exchange with NULL; the taker reverses the
 * chain to arrival order. There is no pop of a single node, so there is no ABA problem, and a producer
 * killed anywhere leaves either nothing or a complete push (runtime.md, "Between processes").
 * Nodes live in the shared region or in mbufs and are never unmapped.
 *
 * Memory order: push is a release (the taker sees the node's content) and sequentially consistent (a
 * producer that pushes and then looks at the ownership word, and an owner that clears the word and then
 * looks at the inbox, cannot both miss; see stack/own.h). take is an acquire.
 */
#ifndef GZ_BASE_INBOX_H
#define GZ_BASE_INBOX_H

#include "base/compiler.h"

struct inbox_node {
	struct inbox_node *next;
};

struct inbox {
	_Atomic(struct inbox_node *) head;
};

static force_inline void inbox_init(struct inbox *b)
{
	atomic_init(&b->head, NULL);
}

/* Pushes n; returns true if the inbox was empty before (the first one rings the bell). Any thread. */
static force_inline bool inbox_push(struct inbox *b, struct inbox_node *n)
{
	struct inbox_node *old = atomic_load_explicit(&b->head, memory_order_relaxed);

	do {
		n->next = old;
	} while (!atomic_compare_exchange_weak_explicit(&b->head, &old, n, memory_order_seq_cst,
							memory_order_relaxed));
	return old == NULL;
}

/* True when nothing waits. Sequentially consistent: used in the check after publishing "I leave". */
static force_inline bool inbox_empty(const struct inbox *b)
{
	return atomic_load_explicit(&b->head, memory_order_seq_cst) == NULL;
}

/* A cheap look that may be stale. */
static force_inline bool inbox_maybe_empty(const struct inbox *b)
{
	return atomic_load_explicit(&b->head, memory_order_relaxed) == NULL;
}

/* Takes all nodes, oldest first; NULL when there are none. One taker at a time. */
static force_inline struct inbox_node *inbox_take(struct inbox *b)
{
	struct inbox_node *n, *rev = NULL;

	if (inbox_maybe_empty(b))
		return NULL;
	n = atomic_exchange_explicit(&b->head, NULL, memory_order_acq_rel);
	while (n) {
		struct inbox_node *next = n->next;

		n->next = rev;
		rev = n;
		n = next;
	}
	return rev;
}

#endif

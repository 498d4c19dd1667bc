/* list.h - intrusive doubly linked list. One owner: whoever owns the object that holds the head.
 * An unlinked node points at itself, so that list_linked() and a repeated list_del() are safe. */
#ifndef GZ_BASE_LIST_H
#define GZ_BASE_LIST_H

#include "base/compiler.h"

struct list {
	struct list *next, *prev;
};

static force_inline void list_init(struct list *l) { l->next = l->prev = l; }
static force_inline bool list_empty(const struct list *l) { return l->next == l; }
static force_inline bool list_linked(const struct list *n) { return n->next != n; }

static force_inline void list_insert_between(struct list *n, struct list *before, struct list *after)
{
	n->prev = before;
	n->next = after;
	before->next = n;
	after->prev = n;
}

static force_inline void list_push_back(struct list *head, struct list *n)
{
	list_insert_between(n, head->prev, head);
}

static force_inline void list_push_front(struct list *head, struct list *n)
{
	list_insert_between(n, head, head->next);
}

static force_inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* Removes and returns the first node, or NULL. */
static force_inline struct list *list_pop_front(struct list *head)
{
	struct list *n = head->next;

	if (n == head)
		return NULL;
	list_del(n);
	return n;
}

#define list_for_each(pos, head) for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)
/* safe against removal of pos */
#define list_for_each_safe(pos, tmp, head)                                                   \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head); (pos) = (tmp), (tmp) = (pos)->next)

/* --- rings: no head of their own, only a pointer to the first node; NULL: empty --- */
static force_inline void ring_push_back(struct list **first, struct list *n)
{
	if (*first) {
		list_push_back(*first, n);
	} else {
		list_init(n);
		*first = n;
	}
}

/* n is in this ring, or in none (then nothing happens). */
static force_inline void ring_del(struct list **first, struct list *n)
{
	if (*first == n)
		*first = list_linked(n) ? n->next : NULL;
	list_del(n);
}

#define ring_for_each(pos, first) for ((pos) = (first); (pos); (pos) = (pos)->next == (first) ? NULL : (pos)->next)
/* safe against removal of pos */
#define ring_for_each_safe(pos, tmp, first) \
	for ((pos) = (first); (pos) && ((tmp) = (pos)->next == (first) ? NULL : (pos)->next, true); (pos) = (tmp))

#endif

/* wheel.c - hierarchical timer wheel; see wheel.h. Owner of the stack only.
 *
 * A timer lies on the level whose slot width is the coarsest in which its deadline and "now" still differ: level l holds
 * deadlines that differ from now first in bit group l (6 bits each). When now enters a slot of level l > 0, its timers are put
 * in again (cascade) and land lower. Only occupied slots are looked at (bitmaps), so an idle hour costs nothing.
 */
#include "stack/wheel.h"

#define SLOT_MASK (WHEEL_SLOTS - 1)
_Static_assert(WHEEL_LEVELS * WHEEL_SLOT_BITS >= 64, "every deadline has a slot");

void wheel_init(struct wheel *w, uint64_t now_us)
{
	w->now_us = now_us;
	w->armed = 0;
	w->levels = 0;
	for (unsigned l = 0; l < WHEEL_LEVELS; l++) {
		w->bitmap[l] = 0;
		for (unsigned s = 0; s < WHEEL_SLOTS; s++)
			list_init(&w->slots[l][s]);
	}
}

void wheel_timer_init(struct wheel_timer *t, uint8_t kind)
{
	list_init(&t->node);
	t->expires_us = 0;
	t->level = t->slot = 0;
	t->kind = kind;
}

static force_inline void slot_filled(struct wheel *w, unsigned level, unsigned slot)
{
	w->bitmap[level] |= 1ULL << slot;
	w->levels |= 1u << level;
}

static force_inline void slot_emptied(struct wheel *w, unsigned level, unsigned slot)
{
	w->bitmap[level] &= ~(1ULL << slot);
	if (!w->bitmap[level])
		w->levels &= ~(1u << level);
}

static void wheel_place(struct wheel *w, struct wheel_timer *t)
{
	uint64_t at = MAX(t->expires_us, w->now_us + 1);
	uint64_t differs = at ^ w->now_us;
	unsigned level = (63u - (unsigned)__builtin_clzll(differs)) / WHEEL_SLOT_BITS;

	t->level = (uint8_t)level;
	t->slot = (uint8_t)(at >> (level * WHEEL_SLOT_BITS) & SLOT_MASK);
	list_push_back(&w->slots[level][t->slot], &t->node);
	slot_filled(w, level, t->slot);
}

static void wheel_unlink(struct wheel *w, struct wheel_timer *t)
{
	list_del(&t->node);
	if (list_empty(&w->slots[t->level][t->slot]))
		slot_emptied(w, t->level, t->slot);
}

void wheel_arm(struct wheel *w, struct wheel_timer *t, uint64_t expires_us)
{
	if (list_linked(&t->node))
		wheel_unlink(w, t);
	else
		w->armed++;
	t->expires_us = expires_us;
	wheel_place(w, t);
}

void wheel_cancel(struct wheel *w, struct wheel_timer *t)
{
	if (!list_linked(&t->node))
		return;
	wheel_unlink(w, t);
	w->armed--;
}

/* The earliest moment at which a slot must be looked at. Slots of level l before now's own index belong to the next turn of
 * that level, which is a slot of level l + 1: they are empty by construction. */
uint64_t wheel_next_us(const struct wheel *w)
{
	unsigned l, shift;
	uint64_t slot, above;

	if (unlikely(!w->levels))
		return UINT64_MAX;
	l = (unsigned)__builtin_ctz(w->levels);
	shift = l * WHEEL_SLOT_BITS;
	slot = (uint64_t)__builtin_ctzll(w->bitmap[l]);
	above = shift + WHEEL_SLOT_BITS >= 64 ? 0 : w->now_us >> (shift + WHEEL_SLOT_BITS) << (shift + WHEEL_SLOT_BITS);
	return above | slot << shift;
}

static void wheel_cascade(struct wheel *w, unsigned level, unsigned slot)
{
	struct list *head = &w->slots[level][slot];
	struct list moved;

	if (list_empty(head))
		return;
	/* Detach the whole slot first: what is placed again goes to lower levels. */
	moved = *head;
	moved.next->prev = &moved;
	moved.prev->next = &moved;
	list_init(head);
	slot_emptied(w, level, slot);
	for (struct list *n; (n = list_pop_front(&moved)) != NULL;) {
		struct wheel_timer *t = container_of(n, struct wheel_timer, node);

		if (t->expires_us <= w->now_us) { /* due at the very moment of the cascade */
			t->level = 0;
			t->slot = (uint8_t)(w->now_us & SLOT_MASK);
			list_push_back(&w->slots[0][t->slot], &t->node);
			slot_filled(w, 0, t->slot);
		} else {
			wheel_place(w, t);
		}
	}
}

unsigned wheel_advance(struct wheel *w, struct stack *st, uint64_t now_us, unsigned budget, const wheel_fire_fn *fire)
{
	unsigned fired = 0;

	for (;;) {
		uint64_t at = wheel_next_us(w);
		uint64_t entered;
		unsigned slot;
		struct list *head;

		if (at > now_us) {
			/* Nothing until then: no occupied slot begins in between, so time may jump. */
			if (now_us > w->now_us)
				w->now_us = now_us;
			return fired;
		}
		if (at > w->now_us) {
			entered = at ^ w->now_us;
			w->now_us = at;
			for (unsigned l = WHEEL_LEVELS - 1; l > 0; l--)
				if (entered >> (l * WHEEL_SLOT_BITS))
					wheel_cascade(w, l, (unsigned)(at >> (l * WHEEL_SLOT_BITS) & SLOT_MASK));
		}
		slot = (unsigned)(w->now_us & SLOT_MASK);
		head = &w->slots[0][slot];
		while (!list_empty(head)) {
			struct wheel_timer *t;

			if (fired == budget)
				return fired;
			t = container_of(head->next, struct wheel_timer, node);
			wheel_unlink(w, t);
			w->armed--;
			fired++;
			fire[t->kind](st, t);
		}
	}
}

/* wheel.c - hierarchical timer wheel; see wheel.h. Owner of the stack only.
 *
 * A timer lies on the lowest level on which its slot is less than a turn ahead of now's: slots of level l are 64^l microseconds wide, and
 * no timer lies in the slot of a level above 0 that now is in. When now enters a slot, what is in it moves on: it fires, or goes in again
 * further down. Only the beginnings of occupied slots are stopped at, so an idle hour costs nothing.
 */
#include "stack/wheel.h"

#define SLOT_MASK (WHEEL_SLOTS - 1)
_Static_assert(WHEEL_LEVELS * WHEEL_SLOT_BITS >= 64, "every deadline has a slot");
_Static_assert(WHEEL_COARSE_US >> WHEEL_COARSE_BITS >= 16, "late by a sixteenth of the delay at most");

void wheel_init(struct wheel *w, uint64_t now_us)
{
	w->now_us = now_us;
	w->next_us = UINT64_MAX;
	w->armed = 0;
	w->levels = 0;
	list_init(&w->moving);
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

static force_inline unsigned shift_of(unsigned level) { return level * WHEEL_SLOT_BITS; }

/* When now will enter the slot, which is not the one it is in. */
static force_inline uint64_t begins_at(const struct wheel *w, unsigned level, unsigned slot)
{
	uint64_t at = w->now_us >> shift_of(level);

	return (at + ((slot - at) & SLOT_MASK)) << shift_of(level);
}

static uint64_t find_next(const struct wheel *w)
{
	uint64_t next = UINT64_MAX;

	if (unlikely(!list_empty(&w->moving)))
		return w->now_us;
	for (uint32_t levels = w->levels; levels; levels &= levels - 1) {
		unsigned l = (unsigned)__builtin_ctz(levels), after = (unsigned)(w->now_us >> shift_of(l)) + 1;
		uint64_t ahead = w->bitmap[l] >> (after & SLOT_MASK) | w->bitmap[l] << (-after & SLOT_MASK);

		next = MIN(next, begins_at(w, l, (after + (unsigned)__builtin_ctzll(ahead)) & SLOT_MASK));
	}
	return next;
}

static void wheel_place(struct wheel *w, struct wheel_timer *t)
{
	uint64_t at = MAX(t->expires_us, w->now_us + 1), begins;
	unsigned level;

	if (w->armed >= WHEEL_COARSE_FROM && at - w->now_us >= WHEEL_COARSE_US && at < UINT64_MAX - (1u << WHEEL_COARSE_BITS))
		at = (((at - 1) >> WHEEL_COARSE_BITS) + 1) << WHEEL_COARSE_BITS;
	level = (63u - (unsigned)__builtin_clzll(at - w->now_us)) / WHEEL_SLOT_BITS;
	level += (at >> shift_of(level)) - (w->now_us >> shift_of(level)) > SLOT_MASK;
	t->level = (uint8_t)level;
	t->slot = (uint8_t)(at >> shift_of(level) & SLOT_MASK);
	list_push_back(&w->slots[level][t->slot], &t->node);
	w->bitmap[level] |= 1ULL << t->slot;
	w->levels |= 1u << level;
	begins = at >> shift_of(level) << shift_of(level);
	w->next_us = MIN(w->next_us, begins);
}

static void slot_emptied(struct wheel *w, unsigned level, unsigned slot)
{
	w->bitmap[level] &= ~(1ULL << slot);
	if (!w->bitmap[level])
		w->levels &= ~(1u << level);
}

static void wheel_unlink(struct wheel *w, struct wheel_timer *t)
{
	list_del(&t->node);
	/* One on moving still says where it was, which is a slot that now is in: empty, and nothing is lost by looking. */
	if (!list_empty(&w->slots[t->level][t->slot]))
		return;
	slot_emptied(w, t->level, t->slot);
	if (begins_at(w, t->level, t->slot) <= w->next_us)
		w->next_us = find_next(w);
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

/* now is at the beginning of slots: what is in them moves on, the lowest first. */
static void enter(struct wheel *w)
{
	for (uint32_t levels = w->levels; levels; levels &= levels - 1) {
		unsigned l = (unsigned)__builtin_ctz(levels), slot = (unsigned)(w->now_us >> shift_of(l)) & SLOT_MASK;
		struct list *head = &w->slots[l][slot];

		if (w->now_us & ((1ULL << shift_of(l)) - 1))
			break;
		if (list_empty(head))
			continue;
		head->next->prev = w->moving.prev;
		w->moving.prev->next = head->next;
		head->prev->next = &w->moving;
		w->moving.prev = head->prev;
		list_init(head);
		slot_emptied(w, l, slot);
	}
}

unsigned wheel_advance(struct wheel *w, struct stack *st, uint64_t now_us, unsigned budget, const wheel_fire_fn *fire)
{
	unsigned fired = 0;

	for (;;) {
		while (!list_empty(&w->moving)) {
			struct list *n = w->moving.next;
			struct wheel_timer *t = container_of(n, struct wheel_timer, node);

			/* the next, and what its owner has in front of it */
			prefetch(n->next);
			prefetch((const char *)n->next - CACHE_LINE);
			if (t->expires_us > w->now_us) {
				list_del(n);
				wheel_place(w, t);
				continue;
			}
			if (fired == budget) {
				w->next_us = w->now_us;
				return fired;
			}
			list_del(n);
			w->armed--;
			fired++;
			fire[t->kind](st, t);
		}
		w->next_us = find_next(w);
		if (w->next_us > now_us) {
			/* Nothing until then: no occupied slot begins in between, so time may jump. */
			w->now_us = MAX(w->now_us, now_us);
			return fired;
		}
		w->now_us = w->next_us;
		enter(w);
	}
}

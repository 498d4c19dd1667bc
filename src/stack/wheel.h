/* wheel.h - hierarchical timer wheel, one per stack, ticks of one microsecond.
 *
 * Eleven levels of 64 slots, a bitmap per level: arm and cancel are O(1), advancing costs per expired or cascaded timer, the next deadline is
 * kept. Owner of the stack only. A timer fires at or after its deadline, never before; callbacks may arm and cancel any timer, their own
 * included.
 *
 * With more than WHEEL_COARSE_FROM timers armed, those that are due in WHEEL_COARSE_US or later may fire up to 4.1 ms late: they are put where
 * they are due at the beginning of a slot, and touched once instead of at each level. Of many connections each touch is a cache miss. (Linux's
 * timers are of this kind: late by an eighth of the delay at most, in ticks of 1 to 10 ms.)
 */
#ifndef GZ_STACK_WHEEL_H
#define GZ_STACK_WHEEL_H

#include "base/list.h"

#define WHEEL_LEVELS 11
#define WHEEL_SLOT_BITS 6
#define WHEEL_SLOTS (1u << WHEEL_SLOT_BITS)
#define WHEEL_COARSE_FROM 1024u
#define WHEEL_COARSE_US 65536u
#define WHEEL_COARSE_BITS (2 * WHEEL_SLOT_BITS)

struct wheel_timer {
	struct list node; /* linked while armed */
	uint64_t expires_us;
	uint8_t level, slot; /* where it is linked, or was before it came to w->moving */
	uint8_t kind;	     /* the owner's: which callback (enum wheel_kind) */
};

struct wheel {
	uint64_t now_us; /* everything before or at this has fired, but for what is on moving */
	uint64_t next_us; /* see wheel_next_us() */
	uint64_t bitmap[WHEEL_LEVELS];
	uint32_t levels; /* bit l: bitmap[l] is not 0 */
	uint32_t armed; /* number of armed timers */
	struct list moving; /* out of slots that were entered: to be fired or put in again */
	struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

struct stack;
typedef void (*wheel_fire_fn)(struct stack *st, struct wheel_timer *t);

void wheel_init(struct wheel *w, uint64_t now_us);
void wheel_timer_init(struct wheel_timer *t, uint8_t kind);

/* Arms (or re-arms) t for expires_us; a deadline in the past fires at the next advance. O(1). */
void wheel_arm(struct wheel *w, struct wheel_timer *t, uint64_t expires_us);
/* Cancels; harmless when not armed. O(1). */
void wheel_cancel(struct wheel *w, struct wheel_timer *t);
static force_inline bool wheel_is_armed(const struct wheel_timer *t) { return list_linked(&t->node); }
/* Fires what is due at now_us, at most budget timers; returns how many fired. fire[kind] is called with the timer unlinked. */
unsigned wheel_advance(struct wheel *w, struct stack *st, uint64_t now_us, unsigned budget,
		       const wheel_fire_fn *fire);
/* A lower bound of the next deadline, exact to the slot; UINT64_MAX when none is armed. */
static force_inline uint64_t wheel_next_us(const struct wheel *w) { return w->next_us; }

#endif

/* wheel.h - hierarchical timer wheel, one per stack, ticks of one microsecond.
 *
 * Eleven levels of 64 slots (all of 64 bits), a bitmap per level: arm and cancel are O(1),
 * advancing costs per expired or cascaded timer, finding the next deadline looks at one word of one level.
 * Owner of the stack only. A timer fires at or after its deadline, never before. Callbacks may arm and
 * cancel any timer, their own included.
 */
#ifndef GZ_STACK_WHEEL_H
#define GZ_STACK_WHEEL_H

#include "base/list.h"

#define WHEEL_LEVELS 11
#define WHEEL_SLOT_BITS 6
#define WHEEL_SLOTS (1u << WHEEL_SLOT_BITS)

struct wheel_timer {
	struct list node; /* linked while armed */
	uint64_t expires_us;
	uint8_t level, slot; /* where it is linked */
	uint8_t kind;	     /* the owner's: which callback (enum wheel_kind) */
};

struct wheel {
	uint64_t now_us; /* everything before or at this has fired */
	uint64_t bitmap[WHEEL_LEVELS];
	uint32_t levels; /* bit l: bitmap[l] is not 0 */
	uint32_t armed; /* number of armed timers */
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
uint64_t wheel_next_us(const struct wheel *w);

#endif

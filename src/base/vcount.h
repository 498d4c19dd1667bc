/* vcount.h - a counter that tells whether it was touched: the count in the low 20 bits, the number of changes in the high 12. Somebody who compares
 * the count with what he finds elsewhere knows that nothing was counted meanwhile when the whole word is the same (sock/sweep.c). Costs what a
 * plain counter costs. */
#ifndef GZ_BASE_VCOUNT_H
#define GZ_BASE_VCOUNT_H

#include "base/compiler.h"

#define VCOUNT_BITS 20
#define VCOUNT_MASK ((1u << VCOUNT_BITS) - 1)
#define VCOUNT_CHANGE (1u << VCOUNT_BITS)

typedef _Atomic uint32_t vcount;

static force_inline uint32_t vcount_of(uint32_t word) { return word & VCOUNT_MASK; }
static force_inline uint32_t vcount_get(const vcount *c, memory_order mo) { return vcount_of(atomic_load_explicit(c, mo)); }
/* One writer at this moment (a new object). */
static force_inline void vcount_set(vcount *c, uint32_t n, memory_order mo)
{
	atomic_store_explicit(c, ((atomic_load_explicit(c, memory_order_relaxed) & ~VCOUNT_MASK) + VCOUNT_CHANGE) | n, mo);
}
static force_inline void vcount_inc(vcount *c, memory_order mo) { atomic_fetch_add_explicit(c, VCOUNT_CHANGE + 1, mo); }
/* The count before. */
static force_inline uint32_t vcount_dec(vcount *c, memory_order mo)
{
	return vcount_of(atomic_fetch_add_explicit(c, VCOUNT_CHANGE - 1, mo));
}
/* False when it was 0. */
static force_inline bool vcount_inc_live(vcount *c)
{
	uint32_t w = atomic_load_explicit(c, memory_order_relaxed);

	do {
		if (vcount_of(w) == 0)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(c, &w, w + VCOUNT_CHANGE + 1, memory_order_acquire, memory_order_relaxed));
	return true;
}

#endif

/* rlock.c - the contended half of rlock.h. */
#include "base/rlock.h"

#include <time.h>

#define RLOCK_SPINS 500
#define RLOCK_NAP_NS 50000
/* Naps double every RLOCK_NAPS_EACH, up to 1.6 ms; then nobody spins any more. One lock is held for as long as EAL takes to start: a
 * hundred threads that spin meanwhile would take the CPU from the one that they wait for. */
#define RLOCK_NAPS_EACH 8
#define RLOCK_NAP_SHIFT_MAX 5
/* A waiter looks after the holder's life after so many naps (some 12 ms), and then every time. */
#define RLOCK_NAPS_BEFORE_CHECK 40

static bool holder_is_dead(uint32_t tid)
{
	/* tkill reaches any thread of the system by its id; EPERM means that it lives. */
	return tid != 0 && SYS(tkill, (int)tid, 0) == -ESRCH;
}

enum rlock_result rlock_lock_slow(struct rlock *l, uint32_t self_tid)
{
	for (unsigned naps = 0;; naps++) {
		unsigned shift = MIN(naps / RLOCK_NAPS_EACH, RLOCK_NAP_SHIFT_MAX);
		struct timespec nap = { .tv_nsec = RLOCK_NAP_NS << shift };
		uint32_t seen;

		for (unsigned spin = shift ? 1 : RLOCK_SPINS; spin > 0; spin--) {
			if (atomic_load_explicit(&l->word, memory_order_relaxed) == 0 && rlock_trylock(l, self_tid))
				return RLOCK_OK;
			cpu_relax();
		}
		SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
		seen = atomic_load_explicit(&l->word, memory_order_relaxed);
		if (naps >= RLOCK_NAPS_BEFORE_CHECK && holder_is_dead(seen) &&
		    atomic_compare_exchange_strong_explicit(&l->word, &seen, self_tid, memory_order_acquire,
							    memory_order_relaxed))
			return RLOCK_TAKEN_OVER;
	}
}

/* rlock.c - the contended half of rlock.h. */
#include "base/rlock.h"

#include <signal.h>

#define RLOCK_SPINS 200
/* A sleeper looks after the holder's life this often. */
#define RLOCK_CHECK_MS 10

static bool holder_is_dead(uint32_t tid)
{
	/* tkill reaches any thread of the system by its id; EPERM means that it lives. */
	return tid != 0 && SYS(tkill, (int)tid, 0) == -ESRCH;
}

enum rlock_result rlock_lock_slow(struct rlock *l, uint32_t self_tid)
{
	const struct timespec check = { .tv_nsec = RLOCK_CHECK_MS * 1000000L };

	for (unsigned spin = 0; spin < RLOCK_SPINS; spin++) {
		if (rlock_trylock(l, self_tid))
			return RLOCK_OK;
		cpu_relax();
	}
	for (;;) {
		uint32_t seen = atomic_load_explicit(&l->word, memory_order_relaxed);

		if (seen == 0) {
			/* With the flag set: others may still sleep, and the wake-up of one must go on. */
			if (atomic_compare_exchange_strong_explicit(&l->word, &seen, self_tid | RLOCK_WAITERS,
								    memory_order_acquire, memory_order_relaxed))
				return RLOCK_OK;
			continue;
		}
		if (!(seen & RLOCK_WAITERS)) {
			if (!atomic_compare_exchange_strong_explicit(&l->word, &seen, seen | RLOCK_WAITERS,
								     memory_order_relaxed, memory_order_relaxed))
				continue;
			seen |= RLOCK_WAITERS;
		}
		if (sys_futex_wait(&l->word, seen, &check) == -ETIMEDOUT && holder_is_dead(seen & ~RLOCK_WAITERS) &&
		    atomic_compare_exchange_strong_explicit(&l->word, &seen, self_tid | RLOCK_WAITERS,
							    memory_order_acquire, memory_order_relaxed))
			return RLOCK_TAKEN_OVER;
	}
}

void rlock_unlock_slow(struct rlock *l)
{
	sys_futex_wake(&l->word, 1);
}

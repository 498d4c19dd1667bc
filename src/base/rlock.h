/* rlock.h - a short lock that survives its holder: the word holds the holder's pid and tid.
 *
 * For consumer-side state of one object between application threads, possibly of several processes
 * (the private part of a socket's receive queue, an epoll instance's ready list). Never taken by a stack
 * owner while it owns, so the packet path never waits for an application thread.
 * Spins a little, then sleeps on the word; a waiter that finds the holder dead takes the lock over and
 * is told so (RLOCK_TAKEN_OVER): it must repair what the lock guards. Not recursive: application signal
 * handlers are deferred while a thread is inside the library, so none can interrupt a holder.
 */
#ifndef GZ_BASE_RLOCK_H
#define GZ_BASE_RLOCK_H

#include "base/compiler.h"
#include "base/sys.h"

struct rlock {
	/* 0 free; else tid (unique system-wide), RLOCK_WAITERS set when someone sleeps. [any] */
	_Atomic uint32_t word;
};

#define RLOCK_WAITERS 0x80000000u

enum rlock_result { RLOCK_OK, RLOCK_TAKEN_OVER };

static force_inline void rlock_init(struct rlock *l)
{
	atomic_init(&l->word, 0);
}

/* Slow path: contended. */
enum rlock_result rlock_lock_slow(struct rlock *l, uint32_t self_tid);
void rlock_unlock_slow(struct rlock *l);

static force_inline bool rlock_trylock(struct rlock *l, uint32_t self_tid)
{
	uint32_t expect = 0;

	return atomic_compare_exchange_strong_explicit(&l->word, &expect, self_tid,
						       memory_order_acquire, memory_order_relaxed);
}

static force_inline enum rlock_result rlock_lock(struct rlock *l, uint32_t self_tid)
{
	if (likely(rlock_trylock(l, self_tid)))
		return RLOCK_OK;
	return rlock_lock_slow(l, self_tid);
}

static force_inline void rlock_unlock(struct rlock *l)
{
	uint32_t old = atomic_exchange_explicit(&l->word, 0, memory_order_release);

	if (unlikely(old & RLOCK_WAITERS))
		rlock_unlock_slow(l);
}

#endif

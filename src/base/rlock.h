/* rlock.h - a short lock that survives its holder: the word holds the holder's thread id.
 *
 * For consumer-side state of one object between application threads, possibly of several processes
 * (the private part of a socket's receive queue, an epoll instance's ready list). Never taken by a stack
 * owner while it owns, so the packet path never waits for an application thread.
 *
 * Contention means that two threads read (or write) one socket at the same moment: rare, and the holder is done within
 * a microsecond. So release is one plain store, without a look for sleepers (an exchange there would cost every request three
 * times): who waits spins a little, then naps and looks again. A waiter that finds the holder dead takes the lock over
 * and is told so (RLOCK_TAKEN_OVER): it must repair what the lock guards. Not recursive: application signal
 * handlers are deferred while a thread is inside the library, so none can interrupt a holder.
 */
#ifndef GZ_BASE_RLOCK_H
#define GZ_BASE_RLOCK_H

#include "base/compiler.h"
#include "base/sys.h"

struct rlock {
	_Atomic uint32_t word; /* 0 free; else the holder's tid (unique system-wide) [any] */
};

enum rlock_result { RLOCK_OK, RLOCK_TAKEN_OVER };

static force_inline void rlock_init(struct rlock *l)
{
	atomic_init(&l->word, 0);
}

/* Slow path: contended. */
enum rlock_result rlock_lock_slow(struct rlock *l, uint32_t self_tid);

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
	atomic_store_explicit(&l->word, 0, memory_order_release);
}

#endif

/* crit.h - "this thread is in the middle of something": a word in the thread's record, odd while it changes shared structures in several steps
 * (takes an object off a list and has not noted it yet, counts a reference and has not written the entry, marks a command and has not pushed
 * it). Who is killed with an even word has left nothing half-done; who is killed with an odd one is the reason for a sweep (sock/sweep.c), which
 * waits until every living thread has left the section in which it was seen.
 *
 * Sections are short, never sleep but for a lock, and end before a stack is run inline. Two plain stores to a line of the thread's own.
 * x86: stores are seen in order and a read-modify-write is a fence, so that the word is seen before the section's first step; elsewhere
 * the fence says so. */
#ifndef GZ_BASE_CRIT_H
#define GZ_BASE_CRIT_H

#include "base/compiler.h"

struct crit {
	_Atomic uint32_t seq;
	uint32_t depth; /* sections nest */
};

extern __thread struct crit *crit_self; /* NULL: a thread without a record (tests, boot) */

/* The word before the section's first step. (TSan does not know fences.) */
#if defined(__x86_64__) || defined(__SANITIZE_THREAD__)
static force_inline void crit_fence(void) { atomic_signal_fence(memory_order_seq_cst); }
#else
static force_inline void crit_fence(void) { atomic_thread_fence(memory_order_seq_cst); }
#endif

static force_inline void crit_enter(void)
{
	struct crit *c = crit_self;

	if (unlikely(!c) || c->depth++)
		return;
	atomic_store_explicit(&c->seq, atomic_load_explicit(&c->seq, memory_order_relaxed) + 1, memory_order_relaxed);
	crit_fence();
}

static force_inline void crit_exit(void)
{
	struct crit *c = crit_self;

	if (unlikely(!c) || --c->depth)
		return;
	atomic_store_explicit(&c->seq, atomic_load_explicit(&c->seq, memory_order_relaxed) + 1, memory_order_release);
}

static force_inline bool crit_is_in(const struct crit *c)
{
	return atomic_load_explicit(&c->seq, memory_order_acquire) & 1;
}

#endif

/* sigdefer.h - application signal handlers are deferred while a thread is inside the library (runtime.md).
 * gz_enter()/gz_leave() bracket every interposed call that touches a stack; `depth` in TLS. Implemented in posix/signals.c; a
 * no-op pair is linked in tests without posix. */
#ifndef GZ_POSIX_SIGDEFER_H
#define GZ_POSIX_SIGDEFER_H

#include "base/compiler.h"

extern __thread uint32_t gz_depth;	      /* > 0: inside */
extern __thread _Atomic uint32_t gz_sig_pending; /* signals recorded meanwhile; a sleeper returns -EINTR when it sees one */

static force_inline void gz_enter(void) { gz_depth++; atomic_signal_fence(memory_order_seq_cst); }
void gz_leave_slow(void); /* runs what was recorded */
static force_inline void gz_leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	if (likely(--gz_depth == 0) && unlikely(atomic_load_explicit(&gz_sig_pending, memory_order_relaxed)))
		gz_leave_slow();
}
/* For sleepers: did a handler arrive that must interrupt the call? */
static force_inline bool gz_interrupted(void)
{
	return atomic_load_explicit(&gz_sig_pending, memory_order_relaxed) != 0;
}

#endif

/* sigstub.c - what posix/signals.c provides, for programs that link the engine without posix/: nothing is ever deferred. */
#include "posix/sigdefer.h"

__thread uint32_t gz_depth;
__thread _Atomic uint32_t gz_sig_pending;

void gz_leave_slow(void)
{
	atomic_store(&gz_sig_pending, 0);
}

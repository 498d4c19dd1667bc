/* sigmask.h - the signal mask argument of ppoll, pselect, epoll_pwait. The handlers that ran up meanwhile run under the temporary
 * mask, as on Linux: sigmask_end() comes after gz_leave(). */
#ifndef GZ_POSIX_SIGMASK_H
#define GZ_POSIX_SIGMASK_H

#include "base/sys.h"

#include <signal.h>

struct sigmask_swap {
	uint64_t old;
};

static inline void sigmask_begin(struct sigmask_swap *w, const sigset_t *mask, size_t bytes)
{
	(void)bytes;
	SYS(rt_sigprocmask, SIG_SETMASK, mask, &w->old, sizeof(w->old));
}

static inline void sigmask_end(const struct sigmask_swap *w)
{
	SYS(rt_sigprocmask, SIG_SETMASK, &w->old, NULL, sizeof(w->old));
}

#endif

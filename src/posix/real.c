/* real.c - libc's originals; see real.h. */
#include "posix/real.h"

#include <dlfcn.h>
#include <errno.h>

_Atomic(void *) real_fns[REAL_COUNT];

static const char *const real_names[REAL_COUNT] = {
#define SYM(name) #name,
#define ALIAS(name)
#include "posix/symbols.def"
#undef SYM
#undef ALIAS
};

/* A libc that lacks the function (epoll_pwait2 before 2.35): what calling it would mean there. */
static long real_missing(void)
{
	errno = ENOSYS;
	return -1;
}

cold_path void *real_resolve(enum real_id id)
{
	int saved = errno;
	void *p = dlsym(RTLD_NEXT, real_names[id]);

	if (!p)
		p = __extension__(void *)real_missing;
	atomic_store_explicit(&real_fns[id], p, memory_order_relaxed);
	errno = saved;
	return p;
}

void real_resolve_all(void)
{
	for (unsigned id = 0; id < REAL_COUNT; id++)
		if (!atomic_load_explicit(&real_fns[id], memory_order_relaxed))
			real_resolve((enum real_id)id);
}

/* real.h - libc's own functions behind the names that the library takes over.
 * Resolved by dlsym(RTLD_NEXT) all at once by the constructor; a call that comes before (another library's constructor, a malloc
 * that reads a file) resolves its own on the way. Any thread; async-signal-safe once the constructor has run. */
#ifndef GZ_POSIX_REAL_H
#define GZ_POSIX_REAL_H

#include "base/compiler.h"

enum real_id {
#define SYM(name) REAL_##name,
#define ALIAS(name)
#include "posix/symbols.def"
#undef SYM
#undef ALIAS
	REAL_COUNT
};

extern _Atomic(void *) real_fns[REAL_COUNT];
void *real_resolve(enum real_id id);
void real_resolve_all(void);

static force_inline void *real_fn(enum real_id id)
{
	void *p = atomic_load_explicit(&real_fns[id], memory_order_relaxed);

	return likely(p != NULL) ? p : real_resolve(id);
}

/* REAL(read)(fd, buf, n) */
#define REAL(name) ((__typeof__(&name))real_fn(REAL_##name))

#endif

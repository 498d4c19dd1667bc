/* threads.c - threads that the library's own code starts: the EAL's interrupt thread, control threads of vhost, memif and tap, keeper.
 *
 * They run outside the interposition for all their life: their descriptors are the library's, which wrappers would answer as closed
 * numbers (EAL panics when its epoll descriptor is "not there"; vhost's control thread waits for ever). Whoever is inside the library
 * (depth > 0) and creates a thread creates one of ours; application threads pass straight through. */
#include "posix/posix.h"

#include <pthread.h>
#include <stdlib.h>

struct start {
	void *(*fn)(void *);
	void *arg;
};

static void *own_thread(void *p)
{
	struct start s = *(struct start *)p;

	free(p);
	gz_depth++; /* never leaves */
	return s.fn(s.arg);
}

gz_export int pthread_create(pthread_t *th, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	struct start *s;
	int err;

	if (likely(!gz_depth))
		return REAL(pthread_create)(th, attr, fn, arg);
	s = malloc(sizeof(*s));
	if (!s)
		return EAGAIN;
	*s = (struct start){ .fn = fn, .arg = arg };
	err = REAL(pthread_create)(th, attr, own_thread, s);
	if (err)
		free(s);
	return err;
}
TWIN(pthread_create)

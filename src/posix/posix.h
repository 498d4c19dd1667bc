/* posix.h - what every file of the interposition shares. Include it first: it makes libc's headers declare the plain functions
 * (no fortified inlines, no renaming to the 64-bit variants), since these files define them.
 *
 * A wrapper is: peek into the descriptor table; a kernel number goes straight to libc's original (no lock, no errno touched,
 * async-signal-safe); a stack number pins the description, enters the library (signals deferred), calls sock_*(), leaves, and turns
 * -errno into errno. Conversion to errno happens here and nowhere else. */
#ifndef GZ_POSIX_POSIX_H
#define GZ_POSIX_POSIX_H

#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS

#include "base/compiler.h"
#include "base/sys.h"
#include "posix/fdtable.h"
#include "posix/real.h"
#include "posix/sigdefer.h"
#include "sock/sock.h"

/* gcc wants an alias to carry its target's attributes (nothrow, leaf, ...); clang does not know how to say so, nor does it ask. */
#if defined(__has_attribute) && __has_attribute(copy)
#define LIKE(name) __attribute__((copy(name)))
#else
#define LIKE(name)
#endif
/* The second name that a program linked with -Wl,--wrap=name calls, and other names of libc's for the same function. */
#define TWIN(name) ALIAS_OF(__wrap_##name, name)
#define ALIAS_OF(other, name) extern __typeof__(name) other LIKE(name) __attribute__((alias(#name), visibility("default")));

/* The process uses the stack: set by activate.c when configuration and name say so. */
extern bool posix_active;

/* thread_self(), noting the thread for pthread_cancel() when its record is new. */
struct thread_rec *posix_self_slow(void);
static force_inline struct thread_rec *posix_self(void)
{
	struct thread_rec *t = thread_self_tls;

	return likely(t != NULL) ? t : posix_self_slow();
}

static force_inline ssize_t posix_ret(ssize_t r)
{
	if (unlikely(r < 0)) {
		errno = (int)-r;
		return -1;
	}
	return r;
}

/* One interposed call on a stack socket. */
struct call {
	struct thread_rec *self;
	struct sock *s;
	bool held; /* a reference is held for the time of the call: it may block */
};

/* Pins fd's socket and enters the library. 0; -EBADF (closed meanwhile, parked, not a socket), -ENOMEM. */
static force_inline int call_begin(struct call *c, int fd)
{
	c->held = false;
	gz_enter();
	c->self = posix_self();
	if (unlikely(!c->self)) {
		gz_leave();
		return -ENOMEM;
	}
	c->s = fd_pin_sock(c->self, fd, 0);
	if (unlikely(!c->s)) {
		gz_leave();
		return -EBADF;
	}
	return 0;
}

/* The call may sleep: hold a reference, so that close() in another thread does not close the connection under it (Linux holds the
 * file for the time of the call). */
static force_inline void call_hold(struct call *c)
{
	c->held = sock_hold(c->s, 0, c->self) == 0;
}

static force_inline void call_end(struct call *c)
{
	struct sock *s = c->s;

	fd_unpin(c->self, 0);
	if (c->held)
		sock_unhold(s, 0, c->self);
	gz_leave();
}

static force_inline bool sock_is_nonblock(const struct sock *s)
{
	return atomic_load_explicit(&s->fl_flags, memory_order_relaxed) & 04000; /* O_NONBLOCK */
}

/* --- signals.c --- */
/* After call_end() of a call that returned -EINTR: shall it be started again? Every handler that ran had SA_RESTART, or it was
 * only a cancellation request that did not act. Acts on a cancellation request. */
bool sig_restart(void);
/* The same for calls that Linux never restarts (poll, epoll_wait, select): only a cancellation request that did not act. */
bool sig_only_cancel(void);
/* Cancellation point at entry of a blocking call; free unless the program ever cancelled a thread. */
extern _Atomic bool sig_cancel_used;
void sig_testcancel(void);
static force_inline void cancel_point(void)
{
	if (unlikely(atomic_load_explicit(&sig_cancel_used, memory_order_relaxed)))
		sig_testcancel();
}
void sig_init(void);

#endif

/* fcntl.c - what works on numbers: close, dup*, fcntl, ioctl, close_range, closefrom. Any thread; for kernel descriptors also in
 * signal handlers. The library's own descriptors behave as closed numbers. */
#include "posix/posix.h"

#include "base/ownfd.h"
#include "posix/epollfd.h"
#include "posix/und.h"
#include "sock/epoll.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* --- close --- */

/* Closes a number of ours. 0 or -EBADF. */
static int close_ours(int fd)
{
	struct thread_rec *self;
	uintptr_t d;
	bool kernel;
	int err = 0;

	if (fd_kind(fd_peek(fd)) == FD_PARKED)
		return -EBADF;
	und_on_close(fd);
	gz_enter();
	self = posix_self();
	if (!self) {
		gz_leave();
		return -ENOMEM;
	}
	/* Two threads close the same number: one of them gets the entry. */
	d = fd_take_noted(fd, self); /* in no table, and system calls before it is dropped */
	switch (fd_kind(d)) {
	case FD_SOCK:
		kernel = sock_status(fd_ptr(d)) & SOCK_HAS_KERNEL;
		if (kernel || fd_get_flag(fd, FDF_KERN_OPEN))
			err = sys_close(fd);
		else
			fd_number_put(fd, self);
		fd_drop(d, self);
		break;
	case FD_EPOLL:
		epollfd_on_close(fd);
		fd_drop(d, self);
		err = sys_close(fd);
		break;
	default:
		err = -EBADF;
	}
	gz_leave();
	return err;
}

gz_export int close(int fd)
{
	uintptr_t d = fd_peek(fd);

	if (likely(!d)) {
		if (unlikely(posix_active) && !gz_depth) {
			if (unlikely(own_fd_is(fd)))
				return (int)posix_ret(-EBADF);
			und_on_close(fd);
			epollfd_on_close(fd);
		}
		return REAL(close)(fd);
	}
	if (gz_depth)
		return REAL(close)(fd);
	cancel_point();
	return (int)posix_ret(close_ours(fd));
}
TWIN(close)
ALIAS_OF(__close, close)

/* --- duplicates --- */

/* The number `to` has just become a duplicate of fd in the kernel: now in our tables. Takes back `to` on failure. */
static int dup_tables(int fd, int to, bool cloexec)
{
	struct thread_rec *self;
	uintptr_t d;
	int err = 0;

	gz_enter();
	fd_forget_stale(to);
	if (und_of(to))
		und_on_close(to);
	epollfd_on_dup(fd, to);
	self = posix_self();
	d = fd_peek(fd);
	if (self && (fd_kind(d) == FD_SOCK || fd_kind(d) == FD_EPOLL)) {
		void *p = fd_pin(self, fd, fd_kind(d), 0);

		if (p) {
			d = (uintptr_t)p | fd_kind(d);
			fd_ref(d, self);
			err = fd_install(to, p, fd_kind(d), cloexec, self);
			if (err)
				fd_drop(d, self);
			fd_unpin(self, 0);
		}
	}
	if (!err && und_of(fd)) {
		und_lock();
		(void)und_dup(fd, to);
		und_unlock();
	}
	if (err)
		sys_close(to);
	gz_leave();
	return err;
}

/* Is there anything about fd that a duplicate must share? */
static bool dup_matters(int fd)
{
	return fd_peek(fd) || und_of(fd);
}

/* F_DUPFD and F_DUPFD_CLOEXEC of any descriptor, from number `low` on. */
static int dup_from(int fd, int low, bool cloexec)
{
	uintptr_t d = fd_peek(fd);
	int to, err;

	if (fd_kind(d) == FD_PARKED || own_fd_is(fd))
		return -EBADF;
	fd_parked_release();
	/* A stack socket's number is close-on-exec in the kernel always; what the program asked for stands in the table. */
	to = (int)SYS(fcntl, fd, cloexec || fd_kind(d) == FD_SOCK ? F_DUPFD_CLOEXEC : F_DUPFD, low);
	if (to < 0)
		return to;
	err = dup_tables(fd, to, cloexec);
	return err ? err : to;
}

gz_export int dup(int fd)
{
	int to;

	if (!posix_active || gz_depth)
		return REAL(dup)(fd);
	to = dup_from(fd, 0, false);
	/* dup says EMFILE as F_DUPFD does */
	return (int)posix_ret(to);
}
TWIN(dup)

/* dup3 with its flags checked; the target's old meaning goes. */
static int dup_over(int fd, int to, int flags)
{
	uintptr_t old = 0, d = fd_peek(fd);
	struct thread_rec *self = NULL;
	long r;

	if (fd_kind(d) == FD_PARKED || own_fd_is(fd))
		return -EBADF;
	if (own_fd_is(to))
		return -EBADF; /* above what the program can know */
	fd_parked_release();
	/* The target first: whoever looks meanwhile finds a closed number. Its kernel side is replaced by dup3 itself. */
	r = SYS(fcntl, fd, F_GETFD);
	if (r < 0)
		return (int)r;
	if (unlikely(fd_peek(to) != 0)) {
		gz_enter();
		self = posix_self();
		old = self ? fd_take_noted(to, self) : fd_take(to);
		gz_leave();
	}
	if (und_of(to))
		und_on_close(to);
	r = SYS(dup3, fd, to, fd_kind(d) == FD_SOCK ? O_CLOEXEC : flags & O_CLOEXEC);
	if (old && self) {
		gz_enter();
		fd_drop(old, self);
		gz_leave();
	}
	if (r < 0)
		return (int)r;
	if (dup_matters(fd) || epollfd_is(fd) || epollfd_is(to)) {
		int err = dup_tables(fd, to, flags & O_CLOEXEC);

		if (err)
			return err;
	}
	return to;
}

gz_export int dup2(int fd, int to)
{
	if (!posix_active || gz_depth)
		return REAL(dup2)(fd, to);
	if (fd == to) {
		if (fd_kind(fd_peek(fd)) == FD_PARKED || own_fd_is(fd))
			return (int)posix_ret(-EBADF);
		return REAL(dup2)(fd, to);
	}
	return (int)posix_ret(dup_over(fd, to, 0));
}
TWIN(dup2)
ALIAS_OF(__dup2, dup2)

gz_export int dup3(int fd, int to, int flags)
{
	if (!posix_active || gz_depth)
		return REAL(dup3)(fd, to, flags);
	if (fd == to || (flags & ~O_CLOEXEC))
		return (int)posix_ret(-EINVAL);
	return (int)posix_ret(dup_over(fd, to, flags));
}
TWIN(dup3)

/* --- fcntl --- */

/* The status flags that F_SETFL changes (Linux: SETFL_MASK). */
#define SETFL_BITS (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)

static int setfl(struct call *c, int fd, int arg)
{
	uint32_t old, next;

	if (arg & O_DIRECT)
		return -EINVAL; /* sockets have none */
	old = atomic_load_explicit(&c->s->fl_flags, memory_order_relaxed);
	do {
		next = (old & ~(uint32_t)SETFL_BITS) | ((uint32_t)arg & SETFL_BITS);
	} while (!atomic_compare_exchange_weak(&c->s->fl_flags, &old, next));
	/* The kernel's half of a listener never blocks; a datagram socket's is asked with MSG_DONTWAIT. */
	return 0;
}

static int fcntl_stack(int fd, int cmd, long arg)
{
	struct call c;
	int r;

	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return dup_from(fd, (int)arg, cmd == F_DUPFD_CLOEXEC);
	default:
		break;
	}
	r = call_begin(&c, fd);
	if (r)
		return r;
	switch (cmd) {
	case F_GETFD:
		r = fd_get_flag(fd, FDF_CLOEXEC) ? FD_CLOEXEC : 0;
		break;
	case F_SETFD:
		fd_set_flag(fd, FDF_CLOEXEC, arg & FD_CLOEXEC);
		break;
	case F_GETFL:
		r = O_RDWR | (int)(atomic_load_explicit(&c.s->fl_flags, memory_order_relaxed) & SETFL_BITS);
		break;
	case F_SETFL:
		r = setfl(&c, fd, (int)arg);
		break;
	case F_SETOWN:
	case F_GETOWN:
	case F_SETSIG:
	case F_GETSIG:
	case F_SETOWN_EX:
	case F_GETOWN_EX:
		/* kept by the inert socket; nothing raises SIGIO there */
		r = (int)SYS(fcntl, fd, cmd, arg);
		break;
	case F_SETLK:
	case F_SETLKW:
	case F_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
	case F_OFD_GETLK:
		r = (int)SYS(fcntl, fd, cmd, arg); /* Linux lets sockets be locked */
		break;
	default:
		r = (int)SYS(fcntl, fd, cmd, arg);
	}
	call_end(&c);
	return r;
}

static int fcntl_any(int fd, int cmd, long arg)
{
	uintptr_t d;

	if (!posix_active || gz_depth)
		return REAL(fcntl64)(fd, cmd, arg);
	d = fd_peek(fd);
	if (unlikely(fd_kind(d) == FD_PARKED || own_fd_is(fd)))
		return (int)posix_ret(-EBADF);
	if (fd_kind(d) == FD_SOCK)
		return (int)posix_ret(fcntl_stack(fd, cmd, arg));
	if ((cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) && !gz_depth)
		return (int)posix_ret(dup_from(fd, (int)arg, cmd == F_DUPFD_CLOEXEC));
	return REAL(fcntl64)(fd, cmd, arg);
}

gz_export int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return fcntl_any(fd, cmd, arg);
}
TWIN(fcntl)
ALIAS_OF(__fcntl, fcntl)

gz_export int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return fcntl_any(fd, cmd, arg);
}
TWIN(fcntl64)

/* --- ioctl --- */

static int ioctl_stack(int fd, unsigned long req, void *arg)
{
	struct call c;
	int r;

	switch (req) {
	case FIOCLEX:
	case FIONCLEX:
		fd_set_flag(fd, FDF_CLOEXEC, req == FIOCLEX);
		return 0;
	default:
		break;
	}
	r = call_begin(&c, fd);
	if (r)
		return r;
	switch (req) {
	case FIONREAD: /* SIOCINQ */
	case SIOCOUTQ:
	case SIOCOUTQNSD:
	case SIOCATMARK:
	case FIONBIO:
		r = arg ? sock_ioctl(c.s, req, arg, c.self) : -EFAULT;
		break;
	case FIOASYNC:
		r = arg ? *(int *)arg ? -EINVAL : 0 : -EFAULT; /* no SIGIO */
		break;
	default:
		/* Interfaces, routes, ARP: questions to the kernel that any socket may ask. */
		r = (int)SYS(ioctl, fd, req, arg);
	}
	call_end(&c);
	return r;
}

gz_export int ioctl(int fd, unsigned long req, ...)
{
	uintptr_t d = fd_peek(fd);
	va_list ap;
	void *arg;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (likely(!fd_is_ours(d)) || gz_depth) {
		if (unlikely(posix_active && !gz_depth && own_fd_is(fd)))
			return (int)posix_ret(-EBADF);
		return REAL(ioctl)(fd, req, arg);
	}
	return (int)posix_ret(ioctl_stack(fd, req, arg));
}
TWIN(ioctl)

/* --- the limit on numbers: a program that lowers it counts on exact numbers --- */

static void limit_was_set(int resource, const void *lim)
{
	if (posix_active && !gz_depth && resource == RLIMIT_NOFILE && lim)
		fd_parked_disable();
}

#define SETRLIMIT(name, limit)                                               \
	gz_export int name(__rlimit_resource_t resource, const struct limit *lim) \
	{                                                                    \
		int r = REAL(name)(resource, lim);                           \
		if (r == 0)                                                  \
			limit_was_set((int)resource, lim);                   \
		return r;                                                    \
	}                                                                    \
	TWIN(name)

#define PRLIMIT(name, limit)                                                                          \
	gz_export int name(pid_t pid, __rlimit_resource_t resource, const struct limit *lim, struct limit *old) \
	{                                                                                             \
		int r = REAL(name)(pid, resource, lim, old);                                          \
		if (r == 0)                                                                           \
			limit_was_set((int)resource, lim);                                            \
		return r;                                                                             \
	}                                                                                             \
	TWIN(name)

SETRLIMIT(setrlimit, rlimit)
SETRLIMIT(setrlimit64, rlimit64)
PRLIMIT(prlimit, rlimit)
PRLIMIT(prlimit64, rlimit64)

/* --- ranges --- */

static void close_one(int fd, uintptr_t d, void *arg)
{
	struct thread_rec *self;

	und_on_close(fd);
	gz_enter();
	self = posix_self();
	d = self ? fd_take_noted(fd, self) : 0;
	if (d)
		fd_drop(d, self); /* the kernel's side goes with the range */
	gz_leave();
}

static void cloexec_one(int fd, uintptr_t d, void *arg)
{
	fd_set_flag(fd, FDF_CLOEXEC, true);
}

/* close_range in the kernel, around the library's own descriptors. */
static long close_range_around(unsigned first, unsigned last, unsigned flags)
{
	unsigned from = first, fd, end = MIN(last, (unsigned)FD_LIMIT - 1);
	long r = 0;

	for (fd = first < (unsigned)own_fd_floor() ? MIN((unsigned)own_fd_floor(), end) : first; fd <= end && r >= 0; fd++) {
		if (likely(!own_fd_is((int)fd)))
			continue;
		if (fd > from)
			r = SYS(close_range, from, fd - 1, flags);
		from = fd + 1;
	}
	if (r >= 0 && from <= last)
		r = SYS(close_range, from, last, flags);
	return r;
}

static int close_range_any(unsigned first, unsigned last, unsigned flags)
{
	if (first > last || (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
		return -EINVAL;
	fd_parked_release();
	if (first < (unsigned)FD_LIMIT) {
		int to = (int)MIN(last, (unsigned)FD_LIMIT - 1);

		if (flags & CLOSE_RANGE_CLOEXEC) {
			fd_for_each((int)first, to, cloexec_one, NULL);
		} else {
			fd_for_each((int)first, to, close_one, NULL);
			und_close_range((int)first, to);
		}
	}
	return (int)close_range_around(first, last, flags);
}

gz_export int close_range(unsigned first, unsigned last, int flags)
{
	if (!posix_active || gz_depth)
		return REAL(close_range)(first, last, flags);
	return (int)posix_ret(close_range_any(first, last, (unsigned)flags));
}
TWIN(close_range)

gz_export void closefrom(int low)
{
	if (!posix_active || gz_depth) {
		REAL(closefrom)(low);
		return;
	}
	(void)close_range_any(low < 0 ? 0 : (unsigned)low, ~0u, 0);
}
TWIN(closefrom)

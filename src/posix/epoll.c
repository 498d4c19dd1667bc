/* epoll.c - epoll descriptors. Application threads.
 *
 * The program's epoll descriptor is a kernel epoll and holds the kernel descriptors that the program registers: as long as there
 * is no stack socket among them, every call goes straight to the kernel. The first stack socket makes the number an *instance* as well
 * (sock/epoll.h); from then on epoll_wait looks at both, and at the kernel's side only if something was ever registered there.
 * A stack socket that has a kernel half too (bound to ANY) is registered on both sides, there for arrivals only.
 *
 * When the kernel must see whether a stack socket is ready (the descriptor is inside another epoll, or in poll), the instance is
 * exposed: an eventfd of ours is registered in the kernel epoll under a tag of ours and filtered out of what epoll_wait returns.
 */
#include "posix/posix.h"

#include "base/clock.h"
#include "base/ownfd.h"
#include "posix/epollfd.h"
#include "posix/sigmask.h"
#include "posix/und.h"
#include "sock/epoll.h"

#include <limits.h>
#include <string.h>
#include <sys/eventfd.h>

/* Private view of an instance, by its index in gz->epolls. */
#define INSTANCES_MAX 16384
static struct epoll_view {
	_Atomic uint32_t kern; /* something of the kernel's was registered (sticky) */
	_Atomic uint32_t dual; /* sockets with a kernel half are registered: their events are merged */
	_Atomic uint32_t fds;  /* numbers that refer to it in this process */
	_Atomic int event_fd;  /* -1: not exposed */
} views[INSTANCES_MAX];

/* Facts about epoll descriptors that are no instances (yet), one bit a number. */
static _Atomic uint64_t bit_epoll[FD_LIMIT / 64];   /* made by epoll_create() */
static _Atomic uint64_t bit_kernel[FD_LIMIT / 64];  /* something of the kernel's is registered */
static _Atomic uint64_t bit_watched[FD_LIMIT / 64]; /* it is registered in another epoll */

/* Its address is the tag: no program's data. */
static char expose_tag;
#define EPOLL_EXPOSE_TAG ((uint64_t)(uintptr_t)&expose_tag)

static struct rlock lock; /* making instances, exposing */

/* Instances that the kernel watches. Their eventfd must fall when the program has read the last byte, which nobody else notices. */
#define EXPOSED_MAX 256
static _Atomic(struct epoll *) exposed[EXPOSED_MAX];
_Atomic uint32_t epollfd_exposed;

static void exposed_set(struct epoll *from, struct epoll *to)
{
	for (unsigned i = 0; i < EXPOSED_MAX; i++) {
		struct epoll *expect = from;

		if (atomic_compare_exchange_strong(&exposed[i], &expect, to)) {
			atomic_fetch_add(&epollfd_exposed, to ? 1 : -1u);
			return;
		}
	}
}

void epollfd_refresh_slow(struct thread_rec *self)
{
	for (unsigned i = 0; i < EXPOSED_MAX; i++) {
		struct epoll *ep = atomic_load_explicit(&exposed[i], memory_order_acquire);

		if (!ep)
			continue;
		atomic_store_explicit(&self->pins[1], ep, memory_order_seq_cst);
		if (atomic_load_explicit(&exposed[i], memory_order_seq_cst) == ep)
			(void)epoll_instance_ready(ep, self);
		fd_unpin(self, 1);
	}
}

static bool bit_get(_Atomic uint64_t *map, int fd)
{
	return (unsigned)fd < (unsigned)FD_LIMIT && (atomic_load_explicit(&map[fd / 64], memory_order_relaxed) >> (fd % 64) & 1);
}

static void bit_set(_Atomic uint64_t *map, int fd, bool on)
{
	if ((unsigned)fd >= (unsigned)FD_LIMIT || bit_get(map, fd) == on)
		return;
	if (on)
		atomic_fetch_or(&map[fd / 64], 1ULL << (fd % 64));
	else
		atomic_fetch_and(&map[fd / 64], ~(1ULL << (fd % 64)));
}

static struct epoll_view *view_of(const struct epoll *ep)
{
	return &views[slab_index(&gz->epolls, ep) % INSTANCES_MAX];
}

void epollfd_on_create(int epfd)
{
	bit_set(bit_epoll, epfd, true);
	bit_set(bit_kernel, epfd, false);
	bit_set(bit_watched, epfd, false);
}

void epollfd_on_close(int epfd)
{
	bit_set(bit_epoll, epfd, false);
}

bool epollfd_is(int epfd)
{
	return bit_get(bit_epoll, epfd);
}

void epollfd_on_dup(int epfd, int to)
{
	bit_set(bit_epoll, to, bit_get(bit_epoll, epfd));
	bit_set(bit_kernel, to, bit_get(bit_kernel, epfd));
	bit_set(bit_watched, to, bit_get(bit_watched, epfd));
}

/* A number of an instance was taken from the table. */
void epollfd_view_unref(struct epoll *ep)
{
	struct epoll_view *v = view_of(ep);

	if (atomic_fetch_sub(&v->fds, 1) == 1) {
		int fd = atomic_exchange(&v->event_fd, -1);

		if (fd >= 0) {
			exposed_set(ep, NULL);
			epoll_instance_expose(ep, -1);
			own_fd_close(fd);
		}
	}
}

void epollfd_view_ref(struct epoll *ep)
{
	atomic_fetch_add(&view_of(ep)->fds, 1);
}

static int expose_locked(int epfd, struct epoll *ep)
{
	struct epoll_view *v = view_of(ep);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = EPOLL_EXPOSE_TAG };
	int fd, high;
	long r;

	if (atomic_load(&v->event_fd) >= 0)
		return 0;
	fd = (int)SYS(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return fd;
	high = own_fd_adopt(fd);
	if (high < 0) {
		sys_close(fd);
		return high;
	}
	r = SYS(epoll_ctl, epfd, EPOLL_CTL_ADD, high, &ev);
	if (r < 0) {
		own_fd_close(high);
		return (int)r;
	}
	atomic_store(&v->event_fd, high);
	exposed_set(NULL, ep);
	epoll_instance_expose(ep, high);
	return 0;
}

void epollfd_expose(int epfd)
{
	struct thread_rec *self;
	struct epoll *ep;

	bit_set(bit_watched, epfd, true);
	if (fd_kind(fd_peek(epfd)) != FD_EPOLL)
		return;
	self = posix_self();
	if (!self)
		return;
	rlock_lock(&lock, self->tid);
	ep = fd_pin(self, epfd, FD_EPOLL, 1);
	if (ep)
		(void)expose_locked(epfd, ep);
	fd_unpin(self, 1);
	rlock_unlock(&lock);
}

/* Makes epfd an instance. 0 or -errno. */
static int instance_make(int epfd, int some_fd, struct thread_rec *self)
{
	struct epoll_view *v;
	struct epoll *ep;
	int err;

	/* Is it an epoll at all? Asking for the removal of something that is not registered changes nothing. A descriptor of ours is
	 * not registered anywhere but in our own kernel epolls. */
	err = (int)SYS(epoll_ctl, epfd, EPOLL_CTL_DEL, fd_inert(), NULL);
	if (err != -ENOENT)
		return err == -EBADF ? -EBADF : -EINVAL;
	rlock_lock(&lock, self->tid);
	if (fd_kind(fd_peek(epfd)) == FD_EPOLL) {
		rlock_unlock(&lock);
		return 0;
	}
	ep = epoll_instance_create(self);
	if (!ep) {
		rlock_unlock(&lock);
		return -ENOMEM;
	}
	v = view_of(ep);
	/* Made elsewhere (inherited, or before the library was active): who knows what is in it. */
	atomic_store(&v->kern, bit_get(bit_kernel, epfd) || !bit_get(bit_epoll, epfd));
	atomic_store(&v->dual, 0);
	atomic_store(&v->fds, 1);
	atomic_store(&v->event_fd, -1);
	err = fd_install(epfd, ep, FD_EPOLL, false, self);
	if (err)
		epoll_instance_unref(ep, self);
	else if (bit_get(bit_watched, epfd))
		err = expose_locked(epfd, ep);
	rlock_unlock(&lock);
	return err;
}

int epollfd_ctl_stack(int epfd, int op, int fd, const struct epoll_event *ev, struct thread_rec *self)
{
	struct epoll *ep;
	struct sock *s;
	int err;

	for (;;) {
		ep = fd_pin(self, epfd, FD_EPOLL, 1);
		if (ep)
			break;
		if (op != EPOLL_CTL_ADD) {
			err = (int)SYS(epoll_ctl, epfd, EPOLL_CTL_DEL, fd_inert(), NULL);
			return err;
		}
		err = instance_make(epfd, fd, self);
		if (err)
			return err;
	}
	s = fd_pin_sock(self, fd, 0);
	err = s ? epoll_instance_ctl(ep, op, fd, s, ev, self) : -EBADF;
	fd_unpin(self, 0);
	fd_unpin(self, 1);
	return err;
}

void epollfd_note_kernel(int epfd)
{
	struct fd_entry *e;
	uintptr_t d;

	bit_set(bit_kernel, epfd, true);
	e = fd_entry(epfd);
	d = e ? atomic_load_explicit(&e->desc, memory_order_acquire) : 0;
	if (fd_kind(d) == FD_EPOLL)
		atomic_store_explicit(&view_of(fd_ptr(d))->kern, 1, memory_order_relaxed);
}

#define DUAL_KERN_EVENTS (EPOLLIN | EPOLLRDNORM | EPOLLPRI | EPOLLRDBAND)

static int ctl_stack(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct thread_rec *self;
	struct und *u;
	struct sock *s;
	bool dual = false;
	int err;

	if (fd_kind(fd_peek(fd)) == FD_PARKED)
		return -EBADF;
	if (fd_is_ours(fd_peek(epfd)))
		return fd_kind(fd_peek(epfd)) == FD_PARKED ? -EBADF : -EINVAL;
	if (op != EPOLL_CTL_ADD && op != EPOLL_CTL_MOD && op != EPOLL_CTL_DEL)
		return -EINVAL;
	if (op != EPOLL_CTL_DEL && !ev)
		return -EFAULT;
	gz_enter();
	self = posix_self();
	if (!self) {
		gz_leave();
		return -ENOMEM;
	}
	err = epollfd_ctl_stack(epfd, op, fd, ev, self);
	if (!err) {
		s = fd_pin_sock(self, fd, 0);
		/* both sides, and the kernel's has something to say */
		dual = s && (sock_status(s) & SOCK_HAS_KERNEL) &&
		       (s->type == SOCK_DGRAM || (sock_status(s) & SOCK_LISTENING));
		fd_unpin(self, 0);
	}
	if (dual) {
		struct epoll_event kev = { 0 };

		if (op != EPOLL_CTL_DEL) {
			kev = *ev;
			kev.events &= DUAL_KERN_EVENTS | EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE;
			epollfd_note_kernel(epfd);
			atomic_store_explicit(&view_of(fd_ptr(fd_peek(epfd)))->dual, 1, memory_order_relaxed);
		}
		if (SYS(epoll_ctl, epfd, op, fd, &kev) == -ENOENT && op == EPOLL_CTL_MOD)
			(void)SYS(epoll_ctl, epfd, EPOLL_CTL_ADD, fd, &kev);
	}
	if (!err && und_of(fd)) {
		und_lock();
		u = und_of(fd);
		if (u)
			und_log_reg(u, op, epfd, fd, ev);
		und_unlock();
	}
	gz_leave();
	return err;
}

gz_export int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct und *u;
	int r;

	if (!posix_active || gz_depth)
		return REAL(epoll_ctl)(epfd, op, fd, ev);
	if (likely(fd_is_ours(fd_peek(fd))))
		return (int)posix_ret(ctl_stack(epfd, op, fd, ev));
	if (fd_is_ours(fd_peek(epfd)))
		return (int)posix_ret(fd_kind(fd_peek(epfd)) == FD_PARKED ? -EBADF : -EINVAL);
	if (own_fd_is(fd) || own_fd_is(epfd))
		return (int)posix_ret(-EBADF);
	if (op == EPOLL_CTL_ADD && bit_get(bit_epoll, fd)) {
		gz_enter();
		epollfd_expose(fd);
		gz_leave();
	}
	r = REAL(epoll_ctl)(epfd, op, fd, ev);
	if (r < 0)
		return r;
	if (op == EPOLL_CTL_ADD)
		epollfd_note_kernel(epfd);
	if (und_of(fd)) {
		gz_enter();
		und_lock();
		u = und_of(fd);
		if (u)
			und_log_reg(u, op, epfd, fd, ev);
		und_unlock();
		gz_leave();
	}
	return r;
}
TWIN(epoll_ctl)

gz_export int epoll_create1(int flags)
{
	int fd = REAL(epoll_create1)(flags);

	if (fd >= 0 && posix_active && !gz_depth) {
		fd_forget_stale(fd);
		und_on_close(fd);
		epollfd_on_create(fd);
	}
	return fd;
}
TWIN(epoll_create1)

gz_export int epoll_create(int size)
{
	int fd = REAL(epoll_create)(size);

	if (fd >= 0 && posix_active && !gz_depth) {
		fd_forget_stale(fd);
		und_on_close(fd);
		epollfd_on_create(fd);
	}
	return fd;
}
TWIN(epoll_create)

/* Takes our tag out; merges two events of one registration (both halves of a socket bound to ANY). Returns how many are left. */
static int tidy(struct epoll_event *ev, int n, bool dual)
{
	int out = 0;

	for (int i = 0; i < n; i++) {
		int k = out;

		if (ev[i].data.u64 == EPOLL_EXPOSE_TAG)
			continue;
		if (dual)
			for (k = 0; k < out && ev[k].data.u64 != ev[i].data.u64; k++)
				;
		if (k < out)
			ev[k].events |= ev[i].events;
		else
			ev[out++] = ev[i];
	}
	return out;
}

static int wait_stack(int epfd, struct epoll_event *out, int max, uint64_t timeout_us, const sigset_t *mask, size_t mask_bytes)
{
	uint64_t deadline = 0;
	struct epoll_view *v;
	struct thread_rec *self;
	struct sigmask_swap swap;
	struct epoll *ep;
	bool again;
	int n;

	if (max <= 0 || max > (int)(INT_MAX / sizeof(*out)))
		return -EINVAL;
	cancel_point();
	if (timeout_us != 0 && timeout_us != UINT64_MAX)
		deadline = clock_now_us() + timeout_us;
	do {
		gz_enter();
		self = posix_self();
		ep = self ? fd_pin(self, epfd, FD_EPOLL, 0) : NULL;
		if (unlikely(!ep)) {
			gz_leave();
			return self ? -EBADF : -ENOMEM;
		}
		v = view_of(ep);
		if (unlikely(mask != NULL))
			sigmask_begin(&swap, mask, mask_bytes);
		do {
			again = false;
			n = epoll_instance_wait(ep, out, max, timeout_us,
						atomic_load_explicit(&v->kern, memory_order_relaxed) ||
								atomic_load_explicit(&v->event_fd, memory_order_relaxed) >= 0 ?
							epfd : -1,
						self);
			if (n > 0 && unlikely(atomic_load_explicit(&v->event_fd, memory_order_relaxed) >= 0 ||
					      atomic_load_explicit(&v->dual, memory_order_relaxed))) {
				n = tidy(out, n, atomic_load_explicit(&v->dual, memory_order_relaxed));
				again = n == 0 && timeout_us != 0;
			}
			if (again && timeout_us != UINT64_MAX) {
				uint64_t now = clock_now_us();

				timeout_us = deadline > now ? deadline - now : 0;
			}
		} while (unlikely(again));
		fd_unpin(self, 0);
		gz_leave();
		if (unlikely(mask != NULL))
			sigmask_end(&swap);
	} while (unlikely(n == -EINTR) && sig_only_cancel());
	return n;
}

/* Not an instance: closed in the program's eyes, a stack socket, or the kernel's business (result 1). */
static int wait_elsewhere(int epfd)
{
	uintptr_t d = fd_peek(epfd);

	if (fd_kind(d) == FD_PARKED || own_fd_is(epfd))
		return -EBADF;
	return fd_kind(d) == FD_SOCK ? -EINVAL : 1;
}

gz_export int epoll_wait(int epfd, struct epoll_event *out, int max, int timeout_ms)
{
	int r;

	if (likely(fd_kind(fd_peek(epfd)) == FD_EPOLL) && !gz_depth)
		return (int)posix_ret(wait_stack(epfd, out, max, timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000, NULL, 0));
	r = gz_depth ? 1 : wait_elsewhere(epfd);
	return r < 0 ? (int)posix_ret(r) : REAL(epoll_wait)(epfd, out, max, timeout_ms);
}
TWIN(epoll_wait)

gz_export int epoll_pwait(int epfd, struct epoll_event *out, int max, int timeout_ms, const sigset_t *mask)
{
	int r;

	if (likely(fd_kind(fd_peek(epfd)) == FD_EPOLL) && !gz_depth)
		return (int)posix_ret(wait_stack(epfd, out, max, timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000, mask,
						 sizeof(uint64_t)));
	r = gz_depth ? 1 : wait_elsewhere(epfd);
	return r < 0 ? (int)posix_ret(r) : REAL(epoll_pwait)(epfd, out, max, timeout_ms, mask);
}
TWIN(epoll_pwait)

gz_export int epoll_pwait2(int epfd, struct epoll_event *out, int max, const struct timespec *ts, const sigset_t *mask)
{
	uint64_t us = UINT64_MAX;
	int r;

	if (likely(fd_kind(fd_peek(epfd)) == FD_EPOLL) && !gz_depth) {
		if (ts && (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= 1000000000L))
			return (int)posix_ret(-EINVAL);
		if (ts)
			us = (uint64_t)ts->tv_sec * 1000000 + ((uint64_t)ts->tv_nsec + 999) / 1000;
		return (int)posix_ret(wait_stack(epfd, out, max, us, mask, sizeof(uint64_t)));
	}
	r = gz_depth ? 1 : wait_elsewhere(epfd);
	return r < 0 ? (int)posix_ret(r) : REAL(epoll_pwait2)(epfd, out, max, ts, mask);
}
TWIN(epoll_pwait2)

void epoll_after_fork_child(void)
{
	rlock_init(&lock);
}

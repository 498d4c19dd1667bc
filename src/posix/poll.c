/* poll.c - poll, ppoll, select, pselect. Application threads.
 * Without a stack socket in the set (and nothing of ours to hide) the call goes straight to libc. Otherwise the set is split: stack
 * sockets and kernel descriptors wait together in sock_wait(). */
#include "posix/posix.h"

#include "base/clock.h"
#include "base/ownfd.h"
#include "posix/epollfd.h"
#include "posix/sigmask.h"
#include "sock/epoll.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>

/* Up to this many descriptors the split set lies on the stack. */
#define INLINE_FDS 64

struct split {
	struct wait_sock *w;
	struct pollfd *k;
	unsigned nw, nk;
	int *w_at, *k_at; /* index in the caller's set */
	bool dual;	  /* some k entries are halves of stack sockets */
	int closed;	  /* entries that look closed */
	size_t map_bytes;
	void *map;
	struct wait_sock w_in[INLINE_FDS];
	struct pollfd k_in[INLINE_FDS];
	int at_in[2 * INLINE_FDS];
};

static int split_alloc(struct split *sp, unsigned n)
{
	long p;

	sp->nw = sp->nk = 0;
	sp->dual = false;
	sp->closed = 0;
	sp->map = NULL;
	sp->w = sp->w_in;
	sp->k = sp->k_in;
	sp->w_at = sp->at_in;
	sp->k_at = sp->at_in + INLINE_FDS;
	if (n <= INLINE_FDS)
		return 0;
	/* Not malloc: poll may be called from a signal handler. */
	sp->map_bytes = n * (sizeof(*sp->w) + sizeof(*sp->k) + 2 * sizeof(int));
	p = SYS(mmap, NULL, sp->map_bytes, 3 /* read, write */, 0x22 /* private, anonymous */, -1, 0L);
	if (p < 0)
		return -ENOMEM;
	sp->map = (void *)p;
	sp->w = sp->map;
	sp->k = (void *)(sp->w + n);
	sp->w_at = (void *)(sp->k + n);
	sp->k_at = sp->w_at + n;
	return 0;
}

static void split_free(struct split *sp, struct thread_rec *self)
{
	for (unsigned i = 0; i < sp->nw; i++)
		sock_unhold(sp->w[i].s, i, self);
	sock_hold_end(self);
	if (sp->map)
		SYS(munmap, sp->map, sp->map_bytes);
}

/* Adds one descriptor of the caller's set. events: poll bits. False: it is closed (POLLNVAL). */
static bool split_add(struct split *sp, int fd, int at, short events, struct thread_rec *self)
{
	uintptr_t d = fd_peek(fd);
	struct sock *s;

	if (fd_kind(d) == FD_SOCK) {
		s = fd_pin_sock(self, fd, 0);
		/* a reference: the pins are too few for a set, and Linux holds the files for the time of the call too */
		if (!s || sock_hold(s, sp->nw, self)) {
			fd_unpin(self, 0);
			return false;
		}
		fd_unpin(self, 0);
		sp->w[sp->nw] = (struct wait_sock){ .s = s, .events = (uint32_t)(unsigned short)events | POLLERR | POLLHUP };
		sp->w_at[sp->nw++] = at;
		if (!(sock_status(s) & SOCK_HAS_KERNEL) || (s->type == SOCK_STREAM && !(sock_status(s) & SOCK_LISTENING)))
			return true;
		/* both sides: of the kernel's half only arrivals count */
		events &= POLLIN | POLLRDNORM | POLLPRI | POLLRDBAND;
		sp->dual = true;
	} else if (fd_kind(d) == FD_PARKED || own_fd_is(fd)) {
		return false;
	} else if (fd_kind(d) == FD_EPOLL) {
		epollfd_expose(fd);
	}
	sp->k[sp->nk] = (struct pollfd){ .fd = fd, .events = events };
	sp->k_at[sp->nk++] = at;
	return true;
}

/* Is there anything in the set that libc must not see? */
static bool poll_concerns_us(struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (p[i].fd >= 0 && (fd_peek(p[i].fd) || unlikely(own_fd_is(p[i].fd))))
			return true;
	return false;
}

/* Waits; fills revents. timeout_us UINT64_MAX: for ever. >= 0: how many are ready, or -errno. */
static int poll_stack(struct pollfd *p, nfds_t n, uint64_t timeout_us, const sigset_t *mask)
{
	uint64_t deadline = timeout_us == UINT64_MAX ? UINT64_MAX : 0;
	struct rlimit rl = { .rlim_cur = 1024 };
	struct sigmask_swap swap;
	struct thread_rec *self;
	struct split sp;
	int r, count;

	if (n > INLINE_FDS) {
		SYS(prlimit64, 0, RLIMIT_NOFILE, NULL, &rl);
		if (n > rl.rlim_cur)
			return -EINVAL;
	}
	cancel_point();
	if (timeout_us != UINT64_MAX)
		deadline = timeout_us ? clock_now_us() + timeout_us : 0;
	do {
		gz_enter();
		self = posix_self();
		r = self ? split_alloc(&sp, (unsigned)n) : -ENOMEM;
		if (r) {
			gz_leave();
			return r;
		}
		for (nfds_t i = 0; i < n; i++) {
			p[i].revents = 0;
			if (p[i].fd >= 0 && !split_add(&sp, p[i].fd, (int)i, p[i].events, self)) {
				p[i].revents = POLLNVAL;
				sp.closed++;
			}
		}
		if (mask)
			sigmask_begin(&swap, mask, sizeof(uint64_t));
		r = sock_wait(sp.w, sp.nw, sp.k, sp.nk, sp.closed ? 0 : deadline, self);
		if (r >= 0) {
			bool kernel_seen = false;

			for (unsigned i = 0; i < sp.nk; i++)
				kernel_seen |= sp.k[i].revents != 0;
			/* A stack socket was ready first: the kernel's descriptors are looked at as well, as poll would. */
			if (sp.nk && !kernel_seen && r > 0) {
				struct timespec zero = { 0 };

				(void)SYS(ppoll, sp.k, sp.nk, &zero, NULL, 0);
			}
			for (unsigned i = 0; i < sp.nw; i++)
				p[sp.w_at[i]].revents = (short)(sp.w[i].revents & (sp.w[i].events | POLLERR | POLLHUP));
			for (unsigned i = 0; i < sp.nk; i++)
				p[sp.k_at[i]].revents |= sp.k[i].revents;
			count = 0;
			for (nfds_t i = 0; i < n; i++)
				count += p[i].revents != 0;
			r = count;
		}
		split_free(&sp, self);
		gz_leave();
		if (mask)
			sigmask_end(&swap);
	} while (unlikely(r == -EINTR) && sig_only_cancel());
	return r;
}

gz_export int poll(struct pollfd *p, nfds_t n, int timeout_ms)
{
	if (!posix_active || gz_depth || likely(!poll_concerns_us(p, n)))
		return REAL(poll)(p, n, timeout_ms);
	return (int)posix_ret(poll_stack(p, n, timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000, NULL));
}
TWIN(poll)
ALIAS_OF(__poll, poll)

/* -EINVAL for what Linux refuses. */
static int timespec_us(const struct timespec *ts, uint64_t *us)
{
	*us = UINT64_MAX;
	if (!ts)
		return 0;
	if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= 1000000000L)
		return -EINVAL;
	*us = (uint64_t)ts->tv_sec * 1000000 + ((uint64_t)ts->tv_nsec + 999) / 1000;
	return 0;
}

gz_export int ppoll(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	uint64_t us;
	int err;

	if (!posix_active || gz_depth || likely(!poll_concerns_us(p, n)))
		return REAL(ppoll)(p, n, ts, mask);
	err = timespec_us(ts, &us);
	return (int)posix_ret(err ? err : poll_stack(p, n, us, mask));
}
TWIN(ppoll)

/* --- select --- */

/* Linux's fs/select.c: which poll bits make a descriptor readable, writable, exceptional. */
#define SEL_IN (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SEL_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SEL_EX POLLPRI

typedef unsigned long fd_word;
#define WORD_BITS (8 * (int)sizeof(fd_word))

static bool set_has(const fd_word *set, int fd)
{
	return set && (set[fd / WORD_BITS] >> (fd % WORD_BITS) & 1);
}

static bool select_concerns_us(int n, const fd_word *in, const fd_word *out, const fd_word *ex)
{
	for (int w = 0; w * WORD_BITS < n; w++) {
		fd_word bits = (in ? in[w] : 0) | (out ? out[w] : 0) | (ex ? ex[w] : 0);

		while (bits) {
			int fd = w * WORD_BITS + __builtin_ctzl(bits);

			bits &= bits - 1;
			if (fd < n && (fd_peek(fd) || unlikely(own_fd_is(fd))))
				return true;
		}
	}
	return false;
}

/* The set as an array for poll; its answers back into the bit sets. */
static int select_stack(int n, fd_word *in, fd_word *out, fd_word *ex, uint64_t timeout_us, const sigset_t *mask)
{
	struct pollfd small[INLINE_FDS], *p = small;
	size_t bytes = 0;
	unsigned count = 0, k = 0;
	int r, bits = 0;
	long map;

	for (int fd = 0; fd < n; fd++)
		count += set_has(in, fd) || set_has(out, fd) || set_has(ex, fd);
	if (count > INLINE_FDS) {
		bytes = count * sizeof(*p);
		map = SYS(mmap, NULL, bytes, 3, 0x22, -1, 0L);
		if (map < 0)
			return -ENOMEM;
		p = (struct pollfd *)map;
	}
	for (int fd = 0; fd < n; fd++) {
		short ev = (short)((set_has(in, fd) ? POLLIN | POLLRDNORM | POLLRDBAND : 0) |
				   (set_has(out, fd) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0) | (set_has(ex, fd) ? POLLPRI : 0));

		if (ev)
			p[k++] = (struct pollfd){ .fd = fd, .events = ev };
	}
	r = poll_stack(p, count, timeout_us, mask);
	for (k = 0; r >= 0 && k < count; k++)
		if (p[k].revents & POLLNVAL)
			r = -EBADF;
	if (r >= 0) {
		size_t set_bytes = (size_t)ROUND_UP(n, WORD_BITS) / 8;
		fd_word *sets[3] = { in, out, ex };
		const short want[3] = { POLLIN, POLLOUT, POLLPRI }, means[3] = { SEL_IN, SEL_OUT, SEL_EX };

		for (int i = 0; i < 3; i++)
			if (sets[i])
				memset(sets[i], 0, set_bytes);
		for (k = 0; k < count; k++)
			for (int i = 0; i < 3; i++)
				if (sets[i] && (p[k].events & want[i]) && (p[k].revents & means[i])) {
					sets[i][p[k].fd / WORD_BITS] |= 1UL << (p[k].fd % WORD_BITS);
					bits++;
				}
		r = bits;
	}
	if (bytes)
		SYS(munmap, p, bytes);
	return r;
}

gz_export int select(int n, fd_set *in, fd_set *out, fd_set *ex, struct timeval *tv)
{
	uint64_t start, us = UINT64_MAX, spent;
	int r;

	if (!posix_active || gz_depth || n < 0 || likely(!select_concerns_us(n, (void *)in, (void *)out, (void *)ex)))
		return REAL(select)(n, in, out, ex, tv);
	if (tv) {
		if (tv->tv_sec < 0 || tv->tv_usec < 0)
			return (int)posix_ret(-EINVAL);
		us = (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
	}
	start = clock_now_us();
	r = select_stack(n, (void *)in, (void *)out, (void *)ex, us, NULL);
	if (tv) {
		/* Linux says how much time is left. */
		spent = clock_now_us() - start;
		us = us > spent ? us - spent : 0;
		tv->tv_sec = (time_t)(us / 1000000);
		tv->tv_usec = (suseconds_t)(us % 1000000);
	}
	return (int)posix_ret(r);
}
TWIN(select)
ALIAS_OF(__select, select)

gz_export int pselect(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *ts, const sigset_t *mask)
{
	uint64_t us;
	int err;

	if (!posix_active || gz_depth || n < 0 || likely(!select_concerns_us(n, (void *)in, (void *)out, (void *)ex)))
		return REAL(pselect)(n, in, out, ex, ts, mask);
	err = timespec_us(ts, &us);
	return (int)posix_ret(err ? err : select_stack(n, (void *)in, (void *)out, (void *)ex, us, mask));
}
TWIN(pselect)

/* --- entry points of fortified programs --- */

void __chk_fail(void) __attribute__((noreturn));
int __poll_chk(struct pollfd *p, nfds_t n, int timeout, size_t room);
int __ppoll_chk(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t room);
long __fdelt_chk(long d);

gz_export int __poll_chk(struct pollfd *p, nfds_t n, int timeout, size_t room)
{
	if (unlikely(room / sizeof(*p) < n))
		__chk_fail();
	return poll(p, n, timeout);
}

gz_export int __ppoll_chk(struct pollfd *p, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t room)
{
	if (unlikely(room / sizeof(*p) < n))
		__chk_fail();
	return ppoll(p, n, ts, mask);
}

/* The index of a descriptor's word in fd_set; a number that does not fit ends the program, as in libc. */
gz_export long __fdelt_chk(long d)
{
	if (unlikely(d < 0 || d >= FD_SETSIZE))
		__chk_fail();
	return d / __NFDBITS;
}

/* socket.c - socket, bind, listen, accept, connect, names, options; and the decision kernel-or-stack of a socket (und.h, policy.h).
 * Any application thread. A decision runs under the lock of the undecided records; what may sleep runs after it, on the pinned
 * description. */
#include "posix/posix.h"

#include "base/ownfd.h"
#include "posix/epollfd.h"
#include "posix/policy.h"
#include "posix/socket.h"
#include "posix/und.h"
#include "stack/boot.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* --- moving a candidate between the sides; under und_lock() --- */

static struct sock *und_sock(const struct und *u)
{
	uintptr_t d = fd_peek(u->fds[0]);

	return fd_kind(d) == FD_SOCK ? fd_ptr(d) : NULL;
}

static bool sock_has_kernel(const struct sock *s)
{
	return sock_status(s) & SOCK_HAS_KERNEL;
}

static void sock_set_kernel(struct sock *s, bool on)
{
	if (on)
		atomic_fetch_or_explicit(&s->status, SOCK_HAS_KERNEL, memory_order_acq_rel);
	else
		atomic_fetch_and_explicit(&s->status, ~SOCK_HAS_KERNEL, memory_order_acq_rel);
}

/* Brings every epoll registration of u to where the socket is now. kern_events: bits that the kernel's side is to watch; 0: none. */
static void regs_apply(struct und *u, bool stack, uint32_t kern_events, struct thread_rec *self)
{
	for (struct und_reg *r = u->regs; r; r = r->next) {
		struct epoll_event ev = r->ev;

		if (stack)
			(void)epollfd_ctl_stack(r->epfd, EPOLL_CTL_ADD, r->fd, &r->ev, self);
		else
			(void)epollfd_ctl_stack(r->epfd, EPOLL_CTL_DEL, r->fd, NULL, self);
		ev.events = (ev.events & kern_events) | (ev.events & (EPOLLET | EPOLLONESHOT));
		if (!kern_events)
			(void)SYS(epoll_ctl, r->epfd, EPOLL_CTL_DEL, r->fd, NULL);
		else if (SYS(epoll_ctl, r->epfd, EPOLL_CTL_ADD, r->fd, &ev) == -EEXIST)
			(void)SYS(epoll_ctl, r->epfd, EPOLL_CTL_MOD, r->fd, &ev);
		if (kern_events)
			epollfd_note_kernel(r->epfd);
	}
}

union sa_any {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static uint16_t *sa_port(union sa_any *a)
{
	return a->sa.sa_family == AF_INET6 ? &a->in6.sin6_port : &a->in.sin_port;
}

/* What the kernel's half of a socket with both sides is watched for: arrivals. Errors and hang-ups come by themselves. */
#define DUAL_KERN_EVENTS (EPOLLIN | EPOLLRDNORM | EPOLLPRI | EPOLLRDBAND)
#define ALL_KERN_EVENTS (~0u)

/* Gives u a struct sock under all its numbers; the kernel socket stays below it. The stack is started if need be. */
static int ensure_sock(struct und *u, struct thread_rec **self, struct sock **out)
{
	struct sock *s = und_sock(u);
	long fl, fdfl;
	int err;

	*out = s;
	if (s) {
		*self = posix_self();
		return *self ? 0 : -ENOMEM;
	}
	err = boot_start();
	if (!err)
		err = fdtable_start();
	if (err)
		return err;
	*self = posix_self();
	if (!*self)
		return -ENOMEM;
	fl = SYS(fcntl, u->fds[0], F_GETFL);
	s = sock_create(u->family, u->type, fl > 0 && (fl & O_NONBLOCK), *self);
	if (!s)
		return -ENOBUFS;
	for (struct und_opt *o = u->opts; o; o = o->next)
		(void)sock_setopt(s, o->level, o->name, o->val, o->len, *self);
	sock_set_kernel(s, true);
	for (unsigned i = 0; i < u->nb_fds; i++) {
		fdfl = SYS(fcntl, u->fds[i], F_GETFD);
		if (i > 0) /* the first number takes the reference of creation */
			fd_ref((uintptr_t)s | FD_SOCK, *self);
		err = fd_install(u->fds[i], s, FD_SOCK, fdfl > 0 && (fdfl & FD_CLOEXEC), *self);
		if (err) {
			sock_unref(s, *self);
			break;
		}
	}
	if (err)
		for (unsigned i = 0; i < u->nb_fds; i++)
			fd_drop(fd_take_noted(u->fds[i], *self), *self);
	*out = err ? NULL : s;
	return err;
}

/* The kernel socket below a struct sock goes: the inert socket takes its place. */
static int drop_kernel(struct und *u, struct sock *s)
{
	int err;

	if (!sock_has_kernel(s))
		return 0;
	for (unsigned i = 0; i < u->nb_fds; i++) {
		err = fd_place_inert(u->fds[i]);
		if (err)
			return err;
	}
	sock_set_kernel(s, false);
	return 0;
}

static int make_kernel_socket(const struct und *u)
{
	int fd = (int)SYS(socket, u->family, u->type | SOCK_CLOEXEC, 0);

	for (struct und_opt *o = u->opts; fd >= 0 && o; o = o->next)
		(void)SYS(setsockopt, fd, o->level, o->name, o->val, o->len);
	return fd;
}

/* Puts a fresh kernel socket, with the options so far, under the numbers of u. */
static int renew_kernel(struct und *u, struct sock *s)
{
	int fd = make_kernel_socket(u);
	long r = 0;

	if (fd < 0)
		return fd;
	if (atomic_load_explicit(&s->fl_flags, memory_order_relaxed) & O_NONBLOCK)
		(void)SYS(fcntl, fd, F_SETFL, O_RDWR | O_NONBLOCK);
	for (unsigned i = 0; i < u->nb_fds && r >= 0; i++)
		r = SYS(dup3, fd, u->fds[i], O_CLOEXEC);
	sys_close(fd);
	if (r < 0)
		return (int)r;
	sock_set_kernel(s, true);
	return 0;
}

static int ensure_kernel(struct und *u, struct sock *s)
{
	return sock_has_kernel(s) ? 0 : renew_kernel(u, s);
}

/* The struct sock above the kernel socket goes. */
static void drop_sock(struct und *u, struct thread_rec *self)
{
	for (unsigned i = 0; i < u->nb_fds; i++) {
		bool cloexec = fd_get_flag(u->fds[i], FDF_CLOEXEC);
		uintptr_t d = fd_take_noted(u->fds[i], self);

		(void)SYS(fcntl, u->fds[i], F_SETFD, cloexec ? FD_CLOEXEC : 0);
		if (d)
			fd_drop(d, self);
	}
}

/* The fresh kernel socket takes the port that bind() gave the stack's half. */
static int bind_kernel_like_stack(const struct und *u, const struct sock *s)
{
	union sa_any a = { .sa.sa_family = (sa_family_t)u->family };

	if (!(sock_status(s) & SOCK_BOUND))
		return 0;
	*sa_port(&a) = s->bound_port_be;
	return (int)SYS(bind, u->fds[0], &a, u->family == AF_INET6 ? sizeof(a.in6) : sizeof(a.in));
}

/* The socket lives on the kernel's side alone from now on. */
static int move_to_kernel(struct und *u)
{
	struct sock *s = und_sock(u);
	struct thread_rec *self;
	bool fresh;
	int err;

	if (!s)
		return 0;
	self = posix_self();
	if (!self)
		return -ENOMEM;
	fresh = !sock_has_kernel(s);
	err = ensure_kernel(u, s);
	if (!err && fresh) {
		err = bind_kernel_like_stack(u, s);
		if (err)
			(void)drop_kernel(u, s);
	}
	if (err)
		return err;
	regs_apply(u, false, ALL_KERN_EVENTS, self);
	drop_sock(u, self);
	u->bound_both = false;
	return 0;
}

/* ... on the stack's side alone. */
static int move_to_stack(struct und *u, struct thread_rec **self, struct sock **s)
{
	int err = ensure_sock(u, self, s);

	if (err)
		return err;
	if (sock_has_kernel(*s)) {
		regs_apply(u, true, 0, *self);
		err = drop_kernel(u, *s);
	}
	u->bound_both = u->kern_bound = false;
	return err;
}

/* --- bind --- */

struct bind_both {
	struct und *u;
	struct sock *s;
	union sa_any addr;
	socklen_t len;
	bool tried;
	int err;
};

/* ports_bind() asks about a port that is free on the stack: it is ours if the kernel lets us bind it too. */
static bool kernel_port_taken(uint16_t port_be, void *arg)
{
	struct bind_both *b = arg;

	/* A second call: what we bound for the first was not used after all. */
	if (b->tried && renew_kernel(b->u, b->s) < 0)
		return true;
	b->tried = false;
	*sa_port(&b->addr) = port_be;
	b->err = (int)SYS(bind, b->u->fds[0], &b->addr, b->len);
	b->tried = b->err == 0;
	return b->err != 0;
}

/* Binds both sides to ANY and one port. sa NULL: port 0. */
static int bind_both(struct und *u, const struct sockaddr *sa, socklen_t len, struct thread_rec **self)
{
	struct bind_both b = { .u = u, .len = len };
	bool was_kernel = !und_sock(u);
	int err;

	if (sa) {
		memcpy(&b.addr, sa, MIN((size_t)len, sizeof(b.addr)));
	} else {
		b.addr.sa.sa_family = (sa_family_t)u->family;
		b.len = u->family == AF_INET6 ? sizeof(b.addr.in6) : sizeof(b.addr.in);
	}
	err = ensure_sock(u, self, &b.s);
	if (err)
		return err;
	err = ensure_kernel(u, b.s);
	if (err)
		return err;
	if (*sa_port(&b.addr) == 0) {
		err = sock_bind(b.s, &b.addr.sa, b.len, kernel_port_taken, &b, *self);
		if (err && b.tried)
			(void)renew_kernel(u, b.s);
	} else {
		err = (int)SYS(bind, u->fds[0], &b.addr, b.len);
		if (!err) {
			err = sock_bind(b.s, &b.addr.sa, b.len, NULL, NULL, *self);
			if (err)
				(void)renew_kernel(u, b.s);
		}
	}
	if (err) {
		if (was_kernel)
			drop_sock(u, *self);
		return err;
	}
	u->bound_both = true;
	/* A bound TCP socket that does not listen is hung up in the kernel's eyes; its half is watched from listen() on. */
	regs_apply(u, true, u->type == SOCK_DGRAM ? DUAL_KERN_EVENTS : 0, *self);
	return 0;
}

/* The datagram socket has been bound by what went over its kernel half: the stack's half takes the same port, if it can. False: it has not. */
static bool bind_stack_like_kernel(struct und *u, struct thread_rec **self, int *err)
{
	union sa_any a;
	socklen_t len = sizeof(a);
	struct sock *s;

	memset(&a, 0, sizeof(a));
	if ((und_sock(u) && !sock_has_kernel(und_sock(u))) || SYS(getsockname, u->fds[0], &a, &len) < 0 || !*sa_port(&a))
		return false;
	*err = ensure_sock(u, self, &s);
	if (*err)
		return true;
	if (a.sa.sa_family == AF_INET)
		a.in.sin_addr.s_addr = htonl(INADDR_ANY);
	else
		a.in6.sin6_addr = in6addr_any;
	*err = sock_bind(s, &a.sa, len, NULL, NULL, *self);
	if (!*err)
		u->bound_both = true;
	return true;
}

/* Before a datagram leaves by the stack. */
static int bind_for_datagram(struct und *u, struct thread_rec **self)
{
	int err;

	if (und_sock(u) && (sock_status(und_sock(u)) & SOCK_BOUND))
		return 0;
	if (!bind_stack_like_kernel(u, self, &err))
		return bind_both(u, NULL, 0, self);
	if (und_sock(u))
		regs_apply(u, true, DUAL_KERN_EVENTS, *self);
	return err;
}

gz_export int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct thread_rec *self = NULL;
	struct call c;
	struct sock *s;
	struct und *u;
	int err;

	if (gz_depth || (!und_of(fd) && !fd_is_ours(fd_peek(fd))))
		return REAL(bind)(fd, sa, len);
	gz_enter();
	und_lock();
	u = und_of(fd);
	if (u && !u->bound_both) {
		enum side side = policy_side(POLICY_BIND, u->family, sa, len, u->v6only);

		/* A member of a multicast group on another interface may bind the group on the kernel's side; both is right. */
		err = -EHOSTDOWN;
		if (side == SIDE_BOTH) {
			err = bind_both(u, sa, len, &self);
		} else if (side == SIDE_STACK) {
			err = ensure_sock(u, &self, &s);
			if (!err) {
				bool was_kernel = sock_has_kernel(s);

				err = sock_bind(s, sa, len, NULL, NULL, self);
				if (!err)
					err = move_to_stack(u, &self, &s);
				else if (was_kernel)
					drop_sock(u, self);
				if (!err && u->type == SOCK_STREAM)
					und_decided(u);
			}
		}
		if (side == SIDE_KERNEL || (err && !boot_started())) {
			err = move_to_kernel(u);
			if (!err)
				err = (int)SYS(bind, fd, sa, len);
			if (!err)
				und_decided(u);
		}
		und_unlock();
		gz_leave();
		return (int)posix_ret(err);
	}
	und_unlock();
	gz_leave();
	err = call_begin(&c, fd);
	if (err)
		return (int)posix_ret(err);
	/* bound already, or bound to a stack address: the socket says EINVAL */
	err = sock_bind(c.s, sa, len, NULL, NULL, c.self);
	call_end(&c);
	return (int)posix_ret(err);
}
TWIN(bind)

/* --- listen, accept --- */

gz_export int listen(int fd, int backlog)
{
	struct thread_rec *self = NULL;
	struct call c;
	struct und *u;
	int err = 0;

	if (gz_depth || (!und_of(fd) && !fd_is_ours(fd_peek(fd))))
		return REAL(listen)(fd, backlog);
	gz_enter();
	und_lock();
	u = und_of(fd);
	if (u && u->type == SOCK_STREAM) {
		if (!u->bound_both)
			err = u->v6only ? -EAFNOSUPPORT : bind_both(u, NULL, 0, &self);
		if (err && (!boot_started() || u->v6only)) {
			err = move_to_kernel(u);
			if (!err)
				err = (int)SYS(listen, fd, backlog);
			if (!err)
				und_decided(u);
			und_unlock();
			gz_leave();
			return (int)posix_ret(err);
		}
		if (!err) {
			/* The kernel's half never blocks: accept takes from it only what is there. */
			long fl = SYS(fcntl, fd, F_GETFL);

			(void)SYS(fcntl, fd, F_SETFL, fl | O_NONBLOCK);
			err = (int)SYS(listen, fd, backlog);
		}
		if (!err) {
			self = posix_self();
			err = self ? sock_listen(und_sock(u), backlog, self) : -ENOMEM;
		}
		if (!err) {
			regs_apply(u, true, DUAL_KERN_EVENTS, self);
			und_decided(u);
		}
		und_unlock();
		gz_leave();
		return (int)posix_ret(err);
	}
	und_unlock();
	gz_leave();
	if (!fd_is_ours(fd_peek(fd)))
		return REAL(listen)(fd, backlog);
	err = call_begin(&c, fd);
	if (err)
		return (int)posix_ret(err);
	err = sock_listen(c.s, backlog, c.self);
	if (!err && sock_has_kernel(c.s))
		err = (int)SYS(listen, fd, backlog);
	call_end(&c);
	return (int)posix_ret(err);
}
TWIN(listen)

/* A connection of the kernel's half of a listener. */
static int accept_kernel(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	long r = SYS(accept4, fd, sa, len, flags);

	if (r == -EMFILE) {
		fd_parked_release();
		r = SYS(accept4, fd, sa, len, flags);
	}
	return (int)r;
}

static int accept_stack(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct sock *child;
	struct call c;
	bool nonblock;
	int num, err;

	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	cancel_point();
	do {
		err = call_begin(&c, fd);
		if (err)
			return err;
		if (!(sock_status(c.s) & SOCK_LISTENING)) {
			err = c.s->type == SOCK_STREAM ? -EINVAL : -EOPNOTSUPP;
			call_end(&c);
			return err;
		}
		nonblock = sock_is_nonblock(c.s);
		/* The number first, as Linux does: with none left, the connection stays in the queue. */
		num = fd_number_get(c.self);
		if (num < 0) {
			call_end(&c);
			return num;
		}
		if (!nonblock)
			call_hold(&c);
		for (;;) {
			child = NULL;
			err = sock_accept(c.s, &child, nonblock, sock_has_kernel(c.s) ? fd : -1, c.self);
			if (err || child)
				break;
			/* The kernel's turn. Its number replaces ours. */
			err = accept_kernel(fd, sa, len, flags);
			if (err != -EAGAIN || nonblock)
				break;
		}
		if (child) {
			if (flags & SOCK_NONBLOCK)
				atomic_fetch_or_explicit(&child->fl_flags, O_NONBLOCK, memory_order_relaxed);
			if (sa)
				err = sock_accepted_name(child, sa, len);
			if (!err)
				err = fd_install(num, child, FD_SOCK, flags & SOCK_CLOEXEC, c.self);
			if (err)
				sock_unref(child, c.self);
			else
				err = num;
		}
		if (err != num)
			fd_number_put(num, c.self);
		epollfd_refresh(c.self);
		call_end(&c);
	} while (unlikely(err == -EINTR) && sig_restart());
	return err;
}

gz_export int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	if (likely(fd_is_ours(fd_peek(fd))) && !gz_depth)
		return (int)posix_ret(accept_stack(fd, sa, len, flags));
	fd = REAL(accept4)(fd, sa, len, flags);
	if (fd >= 0 && !gz_depth)
		fd_forget_stale(fd);
	return fd;
}
TWIN(accept4)

gz_export int accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	if (likely(fd_is_ours(fd_peek(fd))) && !gz_depth)
		return (int)posix_ret(accept_stack(fd, sa, len, 0));
	fd = REAL(accept)(fd, sa, len);
	if (fd >= 0 && !gz_depth)
		fd_forget_stale(fd);
	return fd;
}
TWIN(accept)

/* --- connect --- */

/* A datagram socket that bind() tied to an address of the stack stays there, whatever address it connects to: the peer waits for datagrams of
 * that address. Except loopback, which no wire carries: nothing else is received from then on, so the kernel may have it. */
static bool tied_to_stack(const struct und *u, const struct sockaddr *sa, socklen_t len)
{
	const struct sock *s = und_sock(u);

	return s && !sock_has_kernel(s) && (sock_status(s) & SOCK_BOUND) && !ip_addr_is_any(&s->bound_addr) && !policy_is_loopback(sa, len);
}

bool socket_connect_decide(int fd, const struct sockaddr *sa, socklen_t len, int *err)
{
	struct thread_rec *self = NULL;
	enum side side;
	struct sock *s;
	struct und *u;
	bool kernel;

	*err = 0;
	gz_enter();
	und_lock();
	u = und_of(fd);
	if (u) {
		/* Dissolving an association (AF_UNSPEC) is for the side where it is. */
		side = sa && len >= sizeof(sa->sa_family) && sa->sa_family == AF_UNSPEC ?
			       (und_sock(u) ? SIDE_STACK : SIDE_KERNEL) :
			       policy_side(POLICY_CONNECT, u->family, sa, len, u->v6only);
		if (side == SIDE_KERNEL && tied_to_stack(u, sa, len))
			side = SIDE_STACK;
		if (side == SIDE_STACK) {
			/* a port that is taken on the stack is no reason to refuse: bind() has not named it there */
			if (u->type == SOCK_DGRAM && !und_sock(u))
				(void)bind_stack_like_kernel(u, &self, err);
			*err = move_to_stack(u, &self, &s);
		}
		if (side == SIDE_KERNEL || (*err && !boot_started()))
			*err = move_to_kernel(u);
	}
	kernel = !fd_is_ours(fd_peek(fd));
	und_unlock();
	gz_leave();
	return kernel;
}

void socket_connect_decided(int fd, int err)
{
	struct und *u;

	if (!und_of(fd) || (err && err != -EINPROGRESS))
		return;
	gz_enter();
	und_lock();
	u = und_of(fd);
	if (u && u->type == SOCK_STREAM)
		und_decided(u);
	und_unlock();
	gz_leave();
}

gz_export int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct call c;
	int err;

	if (gz_depth || (!und_of(fd) && !fd_is_ours(fd_peek(fd))))
		return REAL(connect)(fd, sa, len);
	if (und_of(fd)) {
		bool kernel = socket_connect_decide(fd, sa, len, &err);

		if (err)
			return (int)posix_ret(err);
		if (kernel) {
			err = REAL(connect)(fd, sa, len);
			socket_connect_decided(fd, err < 0 ? -errno : 0);
			return err;
		}
	}
	cancel_point();
	do {
		err = call_begin(&c, fd);
		if (err)
			return (int)posix_ret(err);
		if (!sock_is_nonblock(c.s))
			call_hold(&c);
		err = sock_connect(c.s, sa, len, c.self);
		call_end(&c);
	} while (unlikely(err == -EINTR) && sig_restart());
	socket_connect_decided(fd, err);
	return (int)posix_ret(err);
}
TWIN(connect)
ALIAS_OF(__connect, connect)

enum side socket_dgram_side(int fd, const struct sockaddr *sa, socklen_t len, int *err)
{
	struct thread_rec *self = NULL;
	enum side side = SIDE_KERNEL;
	struct sock *s;
	struct und *u;

	*err = 0;
	gz_enter();
	und_lock();
	u = und_of(fd);
	if (u) {
		side = policy_side(POLICY_CONNECT, u->family, sa, len, u->v6only);
		s = und_sock(u);
		if (side == SIDE_STACK) {
			*err = bind_for_datagram(u, &self);
			if (*err && !boot_started())
				side = SIDE_KERNEL, *err = 0;
		} else if (s && !sock_has_kernel(s)) {
			if (sock_status(s) & SOCK_BOUND) {
				/* bound on the stack alone: a datagram leaves there */
				side = SIDE_STACK;
			} else {
				*err = move_to_kernel(u);
			}
		}
	} else if (fd_is_ours(fd_peek(fd))) {
		side = SIDE_STACK;
	}
	und_unlock();
	gz_leave();
	return side;
}

/* --- socket --- */

static bool is_candidate(int family, int type, int protocol)
{
	const struct config *conf = boot_config();

	if (family != AF_INET && family != AF_INET6)
		return false;
	switch (type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) {
	case SOCK_STREAM:
		return protocol == 0 || protocol == IPPROTO_TCP;
	case SOCK_DGRAM:
		return (protocol == 0 || protocol == IPPROTO_UDP) && conf && conf->udp_enable;
	default:
		return false;
	}
}

/* After start: a stack socket over the inert number, without a kernel socket of its own. -errno: let the kernel make one. */
static int socket_inert(int family, int type)
{
	bool nonblock = type & SOCK_NONBLOCK, cloexec = type & SOCK_CLOEXEC;
	struct thread_rec *self;
	struct sock *s;
	int fd, err;

	gz_enter();
	self = fdtable_start() == 0 ? posix_self() : NULL;
	if (!self) {
		gz_leave();
		return -ENOMEM;
	}
	type &= ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
	fd = fd_number_get(self);
	if (fd < 0)
		goto out;
	s = sock_create(family, type, nonblock, self);
	err = s ? fd_install(fd, s, FD_SOCK, cloexec, self) : -ENOBUFS;
	if (!err) {
		und_lock();
		err = und_create(fd, family, type) ? 0 : -ENOBUFS;
		und_unlock();
		if (err)
			s = fd_ptr(fd_take_noted(fd, self));
	}
	if (err) {
		if (s)
			sock_unref(s, self);
		fd_number_put(fd, self);
		fd = err;
	}
out:
	gz_leave();
	return fd;
}

gz_export int socket(int family, int type, int protocol)
{
	int fd;
	bool candidate = posix_active && !gz_depth && is_candidate(family, type, protocol) && policy_thread_selected() &&
			 !socket_caller_is_dpdk(__builtin_return_address(0));

	if (candidate && boot_started()) {
		fd = socket_inert(family, type);
		if (likely(fd >= 0))
			return fd;
		if (fd == -EMFILE || fd == -ENFILE)
			return (int)posix_ret(fd);
	}
	fd = REAL(socket)(family, type, protocol);
	if (unlikely(fd < 0 && errno == EMFILE)) {
		fd_parked_release();
		fd = REAL(socket)(family, type, protocol);
	}
	if (fd < 0 || !posix_active || gz_depth)
		return fd;
	fd_forget_stale(fd);
	und_on_close(fd);
	if (candidate) {
		gz_enter();
		und_lock();
		(void)und_create(fd, family, type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)); /* no memory: it stays a kernel socket */
		und_unlock();
		gz_leave();
	}
	return fd;
}
TWIN(socket)

gz_export int socketpair(int family, int type, int protocol, int fds[2])
{
	int r = REAL(socketpair)(family, type, protocol, fds);

	if (r == 0 && posix_active && !gz_depth)
		for (int i = 0; i < 2; i++) {
			fd_forget_stale(fds[i]);
			und_on_close(fds[i]);
		}
	return r;
}
TWIN(socketpair)

/* --- names, shutdown, options --- */

static int name_stack(int fd, struct sockaddr *sa, socklen_t *len, bool peer)
{
	struct call c;
	int err = call_begin(&c, fd);

	if (err)
		return err;
	err = sock_getname(c.s, sa, len, peer);
	call_end(&c);
	return err;
}

gz_export int getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	if (!fd_is_ours(fd_peek(fd)) || gz_depth)
		return REAL(getsockname)(fd, sa, len);
	return (int)posix_ret(name_stack(fd, sa, len, false));
}
TWIN(getsockname)

gz_export int getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	if (!fd_is_ours(fd_peek(fd)) || gz_depth)
		return REAL(getpeername)(fd, sa, len);
	return (int)posix_ret(name_stack(fd, sa, len, true));
}
TWIN(getpeername)

gz_export int shutdown(int fd, int how)
{
	struct call c;
	int err;

	if (!fd_is_ours(fd_peek(fd)) || gz_depth)
		return REAL(shutdown)(fd, how);
	err = call_begin(&c, fd);
	if (err)
		return (int)posix_ret(err);
	err = sock_shutdown(c.s, how, c.self);
	if (!err && sock_has_kernel(c.s) && (how == SHUT_RD || how == SHUT_WR || how == SHUT_RDWR))
		(void)SYS(shutdown, fd, how); /* a listener's other half; ENOTCONN on a datagram socket is no news */
	call_end(&c);
	return (int)posix_ret(err);
}
TWIN(shutdown)

gz_export int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	struct call c;
	int err;

	if (!fd_is_ours(fd_peek(fd)) || gz_depth)
		return REAL(getsockopt)(fd, level, name, val, len);
	err = call_begin(&c, fd);
	if (err)
		return (int)posix_ret(err);
	err = sock_getopt(c.s, level, name, val, len, c.self);
	call_end(&c);
	return (int)posix_ret(err);
}
TWIN(getsockopt)

gz_export int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct und *u;
	struct call c;
	int err;

	if (gz_depth || (!und_of(fd) && !fd_is_ours(fd_peek(fd))))
		return REAL(setsockopt)(fd, level, name, val, len);
	if (fd_is_ours(fd_peek(fd))) {
		err = call_begin(&c, fd);
		if (err)
			return (int)posix_ret(err);
		err = sock_setopt(c.s, level, name, val, len, c.self);
		/* both sides, or none: what only one of them knows is refused by it */
		if (!err && sock_has_kernel(c.s) && !(level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)))
			(void)SYS(setsockopt, fd, level, name, val, len);
		call_end(&c);
		if (err)
			return (int)posix_ret(err);
	} else if (REAL(setsockopt)(fd, level, name, val, len) < 0) {
		return -1;
	}
	if (!und_of(fd))
		return 0;
	gz_enter();
	und_lock();
	u = und_of(fd);
	if (u) {
		und_log_opt(u, level, name, val, len);
		if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && len >= sizeof(int))
			u->v6only = *(const int *)val != 0;
	}
	und_unlock();
	gz_leave();
	return 0;
}
TWIN(setsockopt)

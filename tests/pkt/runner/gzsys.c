/* gzsys.c - system calls on the stack in process: see gzsys.h. Called by sut_gz.c and the plug-in; calls sock/ through testenv. */
#include "gzsys.h"
#include "gzsys_int.h"
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define PIPE_BYTES 65536

struct gzpipe {
	uint8_t bytes[PIPE_BYTES];
	uint64_t in, out;
	int ends; /* open descriptors */
	bool no_writer, no_reader;
};

struct gzfd {
	struct sock *s;
	struct epoll *ep;
	struct gzpipe *pipe;
	bool pipe_write;
	uint32_t fl; /* file status flags */
};

static struct gzfd fds[GZSYS_FDS];
static int first_fd;
static int (*fd_alloc)(void);
static void (*fd_release)(int fd);

void gzsys_open(int first, int (*alloc)(void), void (*release)(int fd))
{
	memset(fds, 0, sizeof(fds));
	first_fd = first;
	fd_alloc = alloc;
	fd_release = release;
}

static bool in_use(const struct gzfd *f)
{
	return f->s || f->ep || f->pipe;
}

static struct gzfd *at(int fd)
{
	return fd >= 0 && fd < GZSYS_FDS && in_use(&fds[fd]) ? &fds[fd] : NULL;
}

static int new_fd(void)
{
	int fd = first_fd;

	if (fd_alloc) {
		fd = fd_alloc();
		if (fd >= GZSYS_FDS) {
			fd_release(fd);
			return -EMFILE;
		}
		return fd < 0 ? -EMFILE : fd;
	}
	while (fd < GZSYS_FDS && in_use(&fds[fd]))
		fd++;
	return fd < GZSYS_FDS ? fd : -EMFILE;
}

static void drop_fd(int fd)
{
	memset(&fds[fd], 0, sizeof(fds[fd]));
	if (fd_release)
		fd_release(fd);
}

bool gzsys_is_open(int fd)
{
	return at(fd) != NULL;
}

struct sock *gzsys_sock(int fd)
{
	struct gzfd *f = at(fd);

	return f ? f->s : NULL;
}

static int sock_of(int fd, struct sock **s)
{
	struct gzfd *f = at(fd);

	if (!f)
		return -EBADF;
	*s = f->s;
	return f->s ? 0 : -ENOTSOCK;
}

int gzsys_socket(int domain, int type, int protocol)
{
	int kind = type & 0xf, fd;
	struct sock *s;

	if (domain != AF_INET)
		return -EAFNOSUPPORT;
	if (kind != SOCK_STREAM && kind != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol && protocol != (kind == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))
		return -EPROTONOSUPPORT;
	fd = new_fd();
	if (fd < 0)
		return fd;
	s = sock_create(AF_INET, kind, true, tenv.self); /* inside nothing ever waits */
	if (!s)
		return -ENOMEM;
	fds[fd] = (struct gzfd){ .s = s, .fl = type & SOCK_NONBLOCK ? O_NONBLOCK : 0 };
	if (kind == SOCK_STREAM)
		gzsys_new_socket(s);
	return fd;
}

int gzsys_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sock *s;
	int r = sock_of(fd, &s);

	return r ? r : sock_bind(s, sa, len, NULL, NULL, tenv.self);
}

int gzsys_listen(int fd, int backlog)
{
	struct sock *s;
	int r = sock_of(fd, &s);

	return r ? r : sock_listen(s, backlog, tenv.self);
}

int gzsys_accept(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct sock *s, *child = NULL;
	int r = sock_of(fd, &s), nfd;

	if (r)
		return r;
	nfd = new_fd();
	if (nfd < 0)
		return nfd;
	r = sock_accept(s, &child, true, -1, tenv.self);
	if (r < 0) {
		if (fd_release)
			fd_release(nfd);
		return r;
	}
	/* a child does not inherit O_NONBLOCK (as Linux); nothing may sleep in virtual time */
	atomic_fetch_or_explicit(&child->fl_flags, O_NONBLOCK, memory_order_relaxed);
	fds[nfd] = (struct gzfd){ .s = child, .fl = flags & SOCK_NONBLOCK ? O_NONBLOCK : 0 };
	if (sa && len)
		sock_accepted_name(child, sa, len);
	return nfd;
}

int gzsys_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sock *s;
	int r = sock_of(fd, &s);

	return r ? r : sock_connect(s, sa, len, tenv.self);
}

static ssize_t pipe_read(struct gzpipe *p, uint8_t *buf, size_t n)
{
	size_t have = (size_t)(p->in - p->out);

	if (!have)
		return p->no_writer ? 0 : -EAGAIN;
	n = MIN(n, have);
	for (size_t i = 0; i < n; i++)
		buf[i] = p->bytes[(p->out + i) % PIPE_BYTES];
	p->out += n;
	return (ssize_t)n;
}

static ssize_t pipe_write(struct gzpipe *p, const uint8_t *buf, size_t n)
{
	size_t room = PIPE_BYTES - (size_t)(p->in - p->out);

	if (p->no_reader)
		return -EPIPE;
	if (!room)
		return -EAGAIN;
	n = MIN(n, room);
	for (size_t i = 0; i < n; i++)
		p->bytes[(p->in + i) % PIPE_BYTES] = buf[i];
	p->in += n;
	return (ssize_t)n;
}

static ssize_t pipe_iov(struct gzfd *f, const struct iovec *iov, size_t count, bool writing)
{
	ssize_t sum = 0, r = 0;

	if (writing != f->pipe_write)
		return -EBADF;
	for (size_t i = 0; i < count; i++) {
		r = writing ? pipe_write(f->pipe, iov[i].iov_base, iov[i].iov_len) : pipe_read(f->pipe, iov[i].iov_base, iov[i].iov_len);
		if (r < 0)
			break;
		sum += r;
		if ((size_t)r < iov[i].iov_len)
			break;
	}
	return sum ? sum : r;
}

ssize_t gzsys_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct gzfd *f = at(fd);

	if (!f)
		return -EBADF;
	if (f->pipe)
		return pipe_iov(f, msg->msg_iov, msg->msg_iovlen, false);
	if (!f->s)
		return -EINVAL;
	/* as posix/io.c: the straight way where there is nothing but bytes */
	if (f->s->type == SOCK_STREAM && msg->msg_iovlen == 1 && !msg->msg_control && !msg->msg_name) {
		msg->msg_flags = 0;
		return sock_recv(f->s, msg->msg_iov[0].iov_base, msg->msg_iov[0].iov_len, flags, tenv.self);
	}
	return sock_recvmsg(f->s, msg, flags, -1, tenv.self);
}

ssize_t gzsys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct gzfd *f = at(fd);

	if (!f)
		return -EBADF;
	if (f->pipe)
		return pipe_iov(f, msg->msg_iov, msg->msg_iovlen, true);
	if (!f->s)
		return -EINVAL;
	if (f->s->type == SOCK_STREAM && msg->msg_iovlen == 1 && !msg->msg_controllen && !msg->msg_name)
		return sock_send(f->s, msg->msg_iov[0].iov_base, msg->msg_iov[0].iov_len, flags | MSG_NOSIGNAL, tenv.self);
	return sock_sendmsg(f->s, msg, flags | MSG_NOSIGNAL, tenv.self);
}

int gzsys_fcntl(int fd, int cmd, long arg)
{
	struct gzfd *f = at(fd);

	if (!f)
		return -EBADF;
	switch (cmd) {
	case F_GETFL:
		return (int)(f->fl | (f->pipe ? (f->pipe_write ? O_WRONLY : O_RDONLY) : O_RDWR));
	case F_SETFL:
		f->fl = (uint32_t)arg & (O_NONBLOCK | O_APPEND);
		return 0;
	case F_GETFD:
	case F_SETFD:
		return 0;
	default:
		return -EINVAL;
	}
}

int gzsys_ioctl(int fd, unsigned long req, void *arg)
{
	struct gzfd *f = at(fd);

	if (!f)
		return -EBADF;
	if (f->pipe && req == FIONREAD) {
		*(int *)arg = (int)(f->pipe->in - f->pipe->out);
		return 0;
	}
	if (req == FIONBIO) {
		f->fl = *(int *)arg ? f->fl | O_NONBLOCK : f->fl & ~(uint32_t)O_NONBLOCK;
		return 0;
	}
	return f->s ? sock_ioctl(f->s, req, arg, tenv.self) : -ENOTTY;
}

int gzsys_close(int fd)
{
	struct gzfd *f = at(fd);

	if (!f)
		return -EBADF;
	if (f->s)
		sock_unref(f->s, tenv.self);
	if (f->ep)
		epoll_instance_unref(f->ep, tenv.self);
	if (f->pipe) {
		*(f->pipe_write ? &f->pipe->no_writer : &f->pipe->no_reader) = true;
		if (--f->pipe->ends == 0)
			free(f->pipe);
	}
	drop_fd(fd);
	return 0;
}

void gzsys_close_all(void)
{
	for (int i = 0; i < GZSYS_FDS; i++)
		if (in_use(&fds[i]))
			gzsys_close(i);
}

int gzsys_shutdown(int fd, int how)
{
	struct sock *s;
	int r = sock_of(fd, &s);

	return r ? r : sock_shutdown(s, how, tenv.self);
}

int gzsys_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	struct sock *s;
	int r = sock_of(fd, &s);

	return r ? r : sock_getopt(s, level, name, val, len, tenv.self);
}

int gzsys_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct sock *s;
	int r = sock_of(fd, &s);

	return r ? r : sock_setopt(s, level, name, val, len, tenv.self);
}

static uint32_t pipe_ready(const struct gzfd *f)
{
	const struct gzpipe *p = f->pipe;

	if (f->pipe_write)
		return (p->in - p->out < PIPE_BYTES ? EPOLLOUT | EPOLLWRNORM : 0u) | (p->no_reader ? EPOLLERR : 0u);
	return (p->in != p->out ? EPOLLIN | EPOLLRDNORM : 0u) | (p->no_writer ? EPOLLHUP : 0u);
}

int gzsys_poll(struct pollfd *p, nfds_t n)
{
	int ready = 0;

	for (nfds_t i = 0; i < n; i++) {
		struct gzfd *f = at(p[i].fd);
		uint32_t got;

		p[i].revents = 0;
		if (p[i].fd < 0)
			continue;
		if (!f)
			got = POLLNVAL;
		else
			got = f->s ? sock_readiness(f->s) : f->pipe ? pipe_ready(f) :
			      epoll_instance_ready(f->ep, tenv.self) ? POLLIN | POLLRDNORM : 0u;
		p[i].revents = (short)(got & ((uint16_t)p[i].events | POLLERR | POLLHUP | POLLNVAL));
		ready += p[i].revents != 0;
	}
	return ready;
}

int gzsys_epoll_create(int flags)
{
	int fd = new_fd();

	(void)flags;
	if (fd < 0)
		return fd;
	fds[fd] = (struct gzfd){ .ep = epoll_instance_create(tenv.self) };
	return fds[fd].ep ? fd : -ENOMEM;
}

int gzsys_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	struct gzfd *e = at(ep), *f = at(fd);

	if (!e || !f)
		return -EBADF;
	if (!e->ep || f->ep)
		return -EINVAL;
	if (!f->s)
		return -EPERM; /* pipes in epoll: not here */
	return epoll_instance_ctl(e->ep, op, fd, f->s, ev, tenv.self);
}

int gzsys_epoll_wait(int ep, struct epoll_event *ev, int max)
{
	struct gzfd *e = at(ep);

	if (!e)
		return -EBADF;
	if (!e->ep || max <= 0)
		return -EINVAL;
	return epoll_instance_wait(e->ep, ev, max, 0, -1, tenv.self);
}

int gzsys_pipe(int out[2], int flags)
{
	struct gzpipe *p = calloc(1, sizeof(*p));
	int a, b;

	if (!p)
		return -ENOMEM;
	a = new_fd();
	if (a < 0) {
		free(p);
		return a;
	}
	p->ends = 2;
	fds[a] = (struct gzfd){ .pipe = p, .fl = flags & O_NONBLOCK };
	b = new_fd();
	if (b < 0) {
		p->ends = 1;
		gzsys_close(a);
		return b;
	}
	fds[b] = (struct gzfd){ .pipe = p, .pipe_write = true, .fl = flags & O_NONBLOCK };
	out[0] = a;
	out[1] = b;
	return 0;
}

/* Bytes are copied: there are no pages to give away. */
ssize_t gzsys_splice(int in, int64_t *in_off, int out, int64_t *out_off, size_t n, unsigned flags)
{
	struct gzfd *a = at(in), *b = at(out);
	static uint8_t buf[PIPE_BYTES];
	ssize_t r;

	if (!a || !b)
		return -EBADF;
	if ((!a->pipe && !b->pipe) || a->ep || b->ep)
		return -EINVAL;
	if (in_off || out_off)
		return -ESPIPE;
	n = MIN(n, sizeof(buf));
	if (a->pipe) {
		struct gzpipe peek = *a->pipe; /* what the socket does not take stays */

		if (a->pipe_write)
			return -EBADF;
		r = pipe_read(&peek, buf, n);
		if (r <= 0)
			return r;
		r = b->s ? sock_send(b->s, buf, (size_t)r, MSG_NOSIGNAL | (flags & 4 ? MSG_MORE : 0), tenv.self) :
			   pipe_write(b->pipe, buf, (size_t)r);
		if (r > 0)
			a->pipe->out += (uint64_t)r;
		return r;
	}
	if (!b->pipe_write)
		return -EBADF;
	if (b->pipe->no_reader)
		return -EPIPE;
	n = MIN(n, PIPE_BYTES - (size_t)(b->pipe->in - b->pipe->out));
	if (!n)
		return -EAGAIN;
	r = sock_recv(a->s, buf, n, 0, tenv.self);
	return r > 0 ? pipe_write(b->pipe, buf, (size_t)r) : r;
}

bool gzsys_blocks(int fd, bool sending, int flags, uint64_t now_us, uint64_t *deadline_us)
{
	struct gzfd *f = at(fd);
	uint64_t us;

	*deadline_us = UINT64_MAX;
	if (!f || f->fl & O_NONBLOCK || flags & MSG_DONTWAIT)
		return false;
	if (f->s) {
		us = atomic_load_explicit(sending ? &f->s->sndtimeo_us : &f->s->rcvtimeo_us, memory_order_relaxed);
		if (us)
			*deadline_us = now_us + us;
	}
	return true;
}

bool gzsys_is_opening(int fd, bool more)
{
	struct gzfd *f = at(fd);

	if (!f || !f->s || f->s->type != SOCK_STREAM || !(sock_status(f->s) & SOCK_CONNECTING))
		return false;
	if (f->s->tcb.fo_syn) /* what send_early() says for a writer that waits */
		f->s->tcb.fo_more = more;
	return true;
}

size_t gzsys_recv_target(int fd, int flags, size_t n)
{
	struct gzfd *f = at(fd);
	size_t low = 1;

	if (!f || !f->s || f->s->type != SOCK_STREAM || flags & (MSG_PEEK | MSG_OOB))
		return 1;
	low = atomic_load_explicit(&f->s->rcvlowat, memory_order_relaxed);
	return flags & MSG_WAITALL ? n : MIN(low ? low : 1, n);
}

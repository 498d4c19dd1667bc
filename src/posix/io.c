/* io.c - the read/write, recv/send and sendfile families. Any application thread.
 *
 * The straight way of a stream socket is: peek, pin, sock_recv() or sock_send(), unpin. Everything with addresses, control data or several
 * buffers goes through struct msghdr. A datagram socket that has both sides receives from both; each datagram with an address
 * is sent by the side that the policy names. */
#include "posix/posix.h"

#include "posix/epollfd.h"
#include "posix/socket.h"
#include "posix/und.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* EPIPE comes with SIGPIPE unless the caller asked for none; only streams are so. */
static cold_path ssize_t broken_pipe(ssize_t r, bool stream, int flags)
{
	if (stream && !(flags & MSG_NOSIGNAL))
		(void)SYS(tgkill, sys_getpid(), sys_gettid(), SIGPIPE);
	return r;
}

static bool recv_may_restart(const struct sock *s)
{
	return atomic_load_explicit(&s->rcvtimeo_us, memory_order_relaxed) == 0;
}

static bool send_may_restart(const struct sock *s)
{
	return atomic_load_explicit(&s->sndtimeo_us, memory_order_relaxed) == 0;
}

static force_inline bool may_block(const struct sock *s, int flags)
{
	return !sock_is_nonblock(s) && !(flags & MSG_DONTWAIT);
}

/* --- receive --- */

static ssize_t recvmsg_stack(int fd, struct msghdr *msg, int flags)
{
	socklen_t namelen = msg->msg_namelen;
	size_t controllen = msg->msg_controllen;
	bool restart, kernel;
	struct call c;
	ssize_t r;

	cancel_point();
	do {
		r = call_begin(&c, fd);
		if (unlikely(r < 0))
			return r;
		if (may_block(c.s, flags))
			call_hold(&c);
		restart = recv_may_restart(c.s);
		for (;;) {
			kernel = sock_status(c.s) & SOCK_HAS_KERNEL;
			r = sock_recvmsg(c.s, msg, flags, kernel ? fd : -1, c.self);
			if (likely(r != -EREMOTE))
				break;
			msg->msg_namelen = namelen;
			msg->msg_controllen = controllen;
			r = SYS(recvmsg, fd, msg, flags | MSG_DONTWAIT);
			if (r != -EAGAIN || c.held == false)
				break;
		}
		epollfd_refresh(c.self);
		call_end(&c);
	} while (unlikely(r == -EINTR) && sig_restart() && restart);
	return r;
}

static ssize_t recv_stack(int fd, void *buf, size_t n, int flags)
{
	struct call c;
	bool restart;
	ssize_t r;

	cancel_point();
	do {
		r = call_begin(&c, fd);
		if (unlikely(r < 0))
			return r;
		if (unlikely(c.s->type != SOCK_STREAM)) {
			struct iovec iov = { .iov_base = buf, .iov_len = n };
			struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

			call_end(&c);
			return recvmsg_stack(fd, &msg, flags);
		}
		if (may_block(c.s, flags))
			call_hold(&c);
		restart = recv_may_restart(c.s);
		r = sock_recv(c.s, buf, n, flags, c.self);
		epollfd_refresh(c.self);
		call_end(&c);
	} while (unlikely(r == -EINTR) && sig_restart() && restart);
	return r;
}

gz_export ssize_t read(int fd, void *buf, size_t n)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(read)(fd, buf, n);
	return posix_ret(recv_stack(fd, buf, n, 0));
}
TWIN(read)
ALIAS_OF(__read, read)

gz_export ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(recv)(fd, buf, n, flags);
	return posix_ret(recv_stack(fd, buf, n, flags));
}
TWIN(recv)

gz_export ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(recvmsg)(fd, msg, flags);
	return posix_ret(recvmsg_stack(fd, msg, flags));
}
TWIN(recvmsg)

gz_export ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *sa, socklen_t *len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_name = sa };
	ssize_t r;

	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(recvfrom)(fd, buf, n, flags, sa, len);
	if (!sa)
		return posix_ret(recv_stack(fd, buf, n, flags));
	if (!len)
		return posix_ret(-EFAULT);
	if ((int)*len < 0)
		return posix_ret(-EINVAL);
	msg.msg_namelen = *len;
	r = recvmsg_stack(fd, &msg, flags);
	if (r >= 0)
		*len = msg.msg_namelen; /* 0 on a stream, as Linux */
	return posix_ret(r);
}
TWIN(recvfrom)

/* Sums up and checks a vector as Linux does. -EINVAL: too many, or more than SSIZE_MAX. */
static int iov_check(const struct iovec *iov, int count)
{
	size_t sum = 0;

	if (count < 0 || count > IOV_MAX)
		return -EINVAL;
	for (int i = 0; i < count; i++) {
		if ((ssize_t)iov[i].iov_len < 0 || sum + iov[i].iov_len > SSIZE_MAX)
			return -EINVAL;
		sum += iov[i].iov_len;
	}
	return 0;
}

static ssize_t readv_stack(int fd, const struct iovec *iov, int count)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };
	int err = iov_check(iov, count);

	if (err)
		return err;
	return count == 1 ? recv_stack(fd, iov->iov_base, iov->iov_len, 0) : recvmsg_stack(fd, &msg, 0);
}

gz_export ssize_t readv(int fd, const struct iovec *iov, int count)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(readv)(fd, iov, count);
	return posix_ret(readv_stack(fd, iov, count));
}
TWIN(readv)

gz_export int recvmmsg(int fd, struct mmsghdr *vec, unsigned n, int flags, struct timespec *timeout)
{
	uint64_t deadline = UINT64_MAX;
	struct timespec now;
	unsigned done = 0;
	ssize_t r = 0;

	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(recvmmsg)(fd, vec, n, flags, timeout);
	if (timeout) {
		if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000L)
			return (int)posix_ret(-EINVAL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		deadline = (uint64_t)(now.tv_sec + timeout->tv_sec) * 1000000000ULL + (uint64_t)(now.tv_nsec + timeout->tv_nsec);
	}
	while (done < n) {
		r = recvmsg_stack(fd, &vec[done].msg_hdr, flags & ~MSG_WAITFORONE);
		if (r < 0)
			break;
		vec[done++].msg_len = (unsigned)r;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		/* Linux looks at the time after each datagram, no sooner. */
		if (timeout) {
			uint64_t t;

			clock_gettime(CLOCK_MONOTONIC, &now);
			t = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
			timeout->tv_sec = t < deadline ? (time_t)((deadline - t) / 1000000000ULL) : 0;
			timeout->tv_nsec = t < deadline ? (long)((deadline - t) % 1000000000ULL) : 0;
			if (t >= deadline)
				break;
		}
	}
	return done ? (int)done : (int)posix_ret(r);
}
TWIN(recvmmsg)

/* --- send --- */

static ssize_t sendmsg_stack(int fd, const struct msghdr *msg, int flags)
{
	bool restart, stream;
	struct call c;
	ssize_t r;

	cancel_point();
	do {
		r = call_begin(&c, fd);
		if (unlikely(r < 0))
			return r;
		stream = c.s->type == SOCK_STREAM;
		if (may_block(c.s, flags))
			call_hold(&c);
		restart = send_may_restart(c.s);
		r = sock_sendmsg(c.s, msg, flags, c.self);
		epollfd_refresh(c.self);
		call_end(&c);
	} while (unlikely(r == -EINTR) && sig_restart() && restart);
	return unlikely(r == -EPIPE) ? broken_pipe(r, stream, flags) : r;
}

static ssize_t send_stack(int fd, const void *buf, size_t n, int flags)
{
	struct call c;
	bool restart;
	ssize_t r;

	cancel_point();
	do {
		r = call_begin(&c, fd);
		if (unlikely(r < 0))
			return r;
		if (unlikely(c.s->type != SOCK_STREAM)) {
			struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = n };
			struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

			call_end(&c);
			return sendmsg_stack(fd, &msg, flags);
		}
		if (may_block(c.s, flags))
			call_hold(&c);
		restart = send_may_restart(c.s);
		r = sock_send(c.s, buf, n, flags, c.self);
		epollfd_refresh(c.self);
		call_end(&c);
	} while (unlikely(r == -EINTR) && sig_restart() && restart);
	return unlikely(r == -EPIPE) ? broken_pipe(r, true, flags) : r;
}

/* connect() and write in one, on a socket whose side is not decided yet. */
cold_path static ssize_t sendmsg_fastopen(int fd, const struct msghdr *msg, int flags)
{
	bool kernel;
	ssize_t r;
	int err;

	kernel = socket_connect_decide(fd, msg->msg_name, msg->msg_namelen, &err);
	if (err)
		return err;
	if (kernel) {
		r = REAL(sendmsg)(fd, msg, flags);
		r = r < 0 ? -errno : r;
	} else {
		r = sendmsg_stack(fd, msg, flags);
	}
	socket_connect_decided(fd, r < 0 ? (int)r : 0);
	return r;
}

/* A message, perhaps with an address, on a socket that may have two sides. 1: libc shall do it. */
static ssize_t sendmsg_route(int fd, const struct msghdr *msg, int flags, bool *kernel)
{
	struct und *u = und_of(fd);
	enum side side;
	int err;

	*kernel = false;
	if (unlikely(u && u->type == SOCK_DGRAM && msg->msg_name && msg->msg_namelen)) {
		side = socket_dgram_side(fd, msg->msg_name, msg->msg_namelen, &err);
		if (err)
			return err;
		if (side == SIDE_KERNEL) {
			*kernel = true;
			return 0;
		}
	}
	if (unlikely(u && u->type == SOCK_STREAM && flags & MSG_FASTOPEN && msg->msg_name))
		return sendmsg_fastopen(fd, msg, flags);
	if (!fd_is_ours(fd_peek(fd))) {
		*kernel = true;
		return 0;
	}
	return sendmsg_stack(fd, msg, flags);
}

gz_export ssize_t write(int fd, const void *buf, size_t n)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(write)(fd, buf, n);
	return posix_ret(send_stack(fd, buf, n, 0));
}
TWIN(write)
ALIAS_OF(__write, write)

gz_export ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(send)(fd, buf, n, flags);
	return posix_ret(send_stack(fd, buf, n, flags));
}
TWIN(send)
ALIAS_OF(__send, send)

/* Nothing for us: neither a stack socket nor one that may become one. */
static force_inline bool send_is_kernels(int fd)
{
	return (likely(!fd_is_ours(fd_peek(fd))) && likely(!und_of(fd))) || gz_depth;
}

gz_export ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	bool kernel;
	ssize_t r;

	if (send_is_kernels(fd))
		return REAL(sendmsg)(fd, msg, flags);
	r = sendmsg_route(fd, msg, flags, &kernel);
	return kernel ? REAL(sendmsg)(fd, msg, flags) : posix_ret(r);
}
TWIN(sendmsg)

gz_export ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *sa, socklen_t len)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_name = (void *)(uintptr_t)sa, .msg_namelen = sa ? len : 0 };
	bool kernel;
	ssize_t r;

	if (send_is_kernels(fd))
		return REAL(sendto)(fd, buf, n, flags, sa, len);
	if (!sa && fd_is_ours(fd_peek(fd)))
		return posix_ret(send_stack(fd, buf, n, flags));
	r = sendmsg_route(fd, &msg, flags, &kernel);
	return kernel ? REAL(sendto)(fd, buf, n, flags, sa, len) : posix_ret(r);
}
TWIN(sendto)

static ssize_t writev_stack(int fd, const struct iovec *iov, int count)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };
	int err = iov_check(iov, count);

	if (err)
		return err;
	return count == 1 ? send_stack(fd, iov->iov_base, iov->iov_len, 0) : sendmsg_stack(fd, &msg, 0);
}

gz_export ssize_t writev(int fd, const struct iovec *iov, int count)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(writev)(fd, iov, count);
	return posix_ret(writev_stack(fd, iov, count));
}
TWIN(writev)

gz_export int sendmmsg(int fd, struct mmsghdr *vec, unsigned n, int flags)
{
	unsigned done = 0;
	bool kernel;
	ssize_t r = 0;

	if (send_is_kernels(fd))
		return REAL(sendmmsg)(fd, vec, n, flags);
	while (done < n) {
		r = sendmsg_route(fd, &vec[done].msg_hdr, flags, &kernel);
		if (kernel)
			r = SYS(sendmsg, fd, &vec[done].msg_hdr, flags);
		if (r < 0)
			break;
		vec[done++].msg_len = (unsigned)r;
	}
	return done || !n ? (int)done : (int)posix_ret(r);
}
TWIN(sendmmsg)

/* --- positions: a socket has none --- */

#define NO_POSITION(ret, name, params, args)                                       \
	gz_export ret name params                                                  \
	{                                                                          \
		uintptr_t d = fd_peek(fd);                                         \
		if (likely(!fd_is_ours(d)) || gz_depth)                            \
			return REAL(name) args;                                    \
		return posix_ret(fd_kind(d) == FD_PARKED ? -EBADF : -ESPIPE);      \
	}                                                                          \
	TWIN(name)

NO_POSITION(ssize_t, pread, (int fd, void *buf, size_t n, off_t off), (fd, buf, n, off))
NO_POSITION(ssize_t, pread64, (int fd, void *buf, size_t n, off64_t off), (fd, buf, n, off))
NO_POSITION(ssize_t, preadv, (int fd, const struct iovec *iov, int cnt, off_t off), (fd, iov, cnt, off))
NO_POSITION(ssize_t, preadv64, (int fd, const struct iovec *iov, int cnt, off64_t off), (fd, iov, cnt, off))
NO_POSITION(ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t off), (fd, buf, n, off))
NO_POSITION(ssize_t, pwrite64, (int fd, const void *buf, size_t n, off64_t off), (fd, buf, n, off))
NO_POSITION(ssize_t, pwritev, (int fd, const struct iovec *iov, int cnt, off_t off), (fd, iov, cnt, off))
NO_POSITION(ssize_t, pwritev64, (int fd, const struct iovec *iov, int cnt, off64_t off), (fd, iov, cnt, off))
ALIAS_OF(__pread64, pread64)
ALIAS_OF(__pwrite64, pwrite64)

/* Offset -1 means the current position, so these are readv and writev on a socket; RWF_NOWAIT: do not wait. */
static ssize_t preadv2_stack(int fd, const struct iovec *iov, int cnt, off64_t off, int flags)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)cnt };
	int err = iov_check(iov, cnt);

	if (off != -1)
		return -ESPIPE;
	if (flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT))
		return -EOPNOTSUPP;
	return err ? err : recvmsg_stack(fd, &msg, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

static ssize_t pwritev2_stack(int fd, const struct iovec *iov, int cnt, off64_t off, int flags)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)cnt };
	int err = iov_check(iov, cnt);

	if (off != -1)
		return -ESPIPE;
	if (flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT))
		return -EOPNOTSUPP;
	return err ? err : sendmsg_stack(fd, &msg, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

#define VECTOR2(name, impl, offtype)                                                                   \
	gz_export ssize_t name(int fd, const struct iovec *iov, int cnt, offtype off, int flags)       \
	{                                                                                              \
		if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)                                      \
			return REAL(name)(fd, iov, cnt, off, flags);                                   \
		return posix_ret(impl(fd, iov, cnt, off, flags));                                      \
	}                                                                                              \
	TWIN(name)

VECTOR2(preadv2, preadv2_stack, off_t)
VECTOR2(preadv64v2, preadv2_stack, off64_t)
VECTOR2(pwritev2, pwritev2_stack, off_t)
VECTOR2(pwritev64v2, pwritev2_stack, off64_t)

/* --- file to socket --- */

/* On the caller's stack: small enough for a thread with little of it. */
#define COPY_BYTES 16384

/* Waits until a non-stack descriptor can take data, if its owner asked for blocking. */
static int wait_kernel_fd(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	long fl = SYS(fcntl, fd, F_GETFL);

	if (fl < 0 || (fl & O_NONBLOCK))
		return -EAGAIN;
	return (int)SYS(ppoll, &p, 1, NULL, NULL, 0);
}

static ssize_t write_any(int fd, const char *buf, size_t n, int flags)
{
	ssize_t r;

	if (fd_is_ours(fd_peek(fd)))
		return send_stack(fd, buf, n, flags);
	for (;;) {
		r = sys_write(fd, buf, n);
		if (r != -EAGAIN || wait_kernel_fd(fd, POLLOUT) < 0)
			return r;
	}
}

static ssize_t sendfile_stack(int out, int in, off64_t *off, size_t count)
{
	off64_t pos = off ? *off : -1;
	char buf[COPY_BYTES];
	ssize_t got, put = 0, total = 0;
	long fl;

	if (fd_is_ours(fd_peek(in)))
		return fd_kind(fd_peek(in)) == FD_PARKED ? -EBADF : off ? -ESPIPE : -EINVAL; /* Linux: the input must be a file */
	if (off && pos < 0)
		return -EINVAL;
	fl = SYS(fcntl, in, F_GETFL);
	if (fl < 0)
		return fl;
	if ((fl & O_ACCMODE) == O_WRONLY)
		return -EBADF;
	if (!off) {
		/* Not a seekable file: bytes taken could not be put back, and Linux takes pipes only to pipes. */
		pos = SYS(lseek, in, 0, SEEK_CUR);
		if (pos < 0)
			return -EINVAL;
	}
	while (count > 0) {
		got = SYS(pread64, in, buf, MIN(count, (size_t)COPY_BYTES), pos);
		if (got <= 0) {
			put = got;
			break;
		}
		put = write_any(out, buf, (size_t)got, (size_t)got < count ? MSG_MORE : 0);
		if (put <= 0)
			break;
		pos += put;
		total += put;
		count -= (size_t)put;
		if (put < got)
			break;
	}
	if (off)
		*off = pos;
	else
		(void)SYS(lseek, in, pos, SEEK_SET);
	return total ? total : put;
}

gz_export ssize_t sendfile64(int out, int in, off64_t *off, size_t count)
{
	if ((likely(!fd_is_ours(fd_peek(out))) && likely(!fd_is_ours(fd_peek(in)))) || gz_depth)
		return REAL(sendfile64)(out, in, off, count);
	return posix_ret(sendfile_stack(out, in, off, count));
}
TWIN(sendfile64)

gz_export ssize_t sendfile(int out, int in, off_t *off, size_t count)
{
	if ((likely(!fd_is_ours(fd_peek(out))) && likely(!fd_is_ours(fd_peek(in)))) || gz_depth)
		return REAL(sendfile)(out, in, off, count);
	return posix_ret(sendfile_stack(out, in, off, count));
}
TWIN(sendfile)

/* A pipe on one end, a stack socket on the other. What was taken from the pipe must go out, so no more is taken than the socket takes at once; and
 * what was received must fit into the pipe, so no more is received than it has room for. */
static ssize_t splice_to_socket(int in, int out, size_t len, unsigned flags)
{
	char buf[COPY_BYTES];
	ssize_t got, put, done = 0;

	got = SYS(fcntl, in, F_GETPIPE_SZ);
	if (got < 0)
		return -EINVAL;
	if ((flags & SPLICE_F_NONBLOCK)) {
		struct pollfd p = { .fd = in, .events = POLLIN };
		struct timespec zero = { 0 };

		if (SYS(ppoll, &p, 1, &zero, NULL, 0) <= 0)
			return -EAGAIN;
	}
	got = sys_read(in, buf, MIN(len, (size_t)COPY_BYTES));
	while (done < got) {
		put = send_stack(out, buf + done, (size_t)(got - done), flags & SPLICE_F_MORE ? MSG_MORE : 0);
		if (put == -EAGAIN) {
			struct pollfd p = { .fd = out, .events = POLLOUT };

			/* The pipe's bytes are in our hands: they must go. */
			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return done ? done : -errno;
			continue;
		}
		if (put < 0)
			return done ? done : put;
		done += put;
	}
	return got < 0 ? got : done;
}

static ssize_t splice_from_socket(int in, int out, size_t len, unsigned flags)
{
	char buf[COPY_BYTES];
	ssize_t got, put, done = 0;
	int room = 0;

	got = SYS(fcntl, out, F_GETPIPE_SZ);
	if (got < 0)
		return -EINVAL;
	if (SYS(ioctl, out, 0x541B /* FIONREAD */, &room) >= 0)
		room = (int)got - room;
	if (room <= 0) {
		if (flags & SPLICE_F_NONBLOCK)
			return -EAGAIN;
		got = wait_kernel_fd(out, POLLOUT);
		if (got < 0)
			return got;
		room = 4096; /* writable means a page at least */
	}
	got = recv_stack(in, buf, MIN(len, (size_t)MIN(room, COPY_BYTES)), 0); /* SPLICE_F_NONBLOCK is about the pipe */
	while (done < got) {
		put = write_any(out, buf + done, (size_t)(got - done), 0);
		if (put == -EAGAIN) {
			struct pollfd p = { .fd = out, .events = POLLOUT };

			(void)SYS(ppoll, &p, 1, NULL, NULL, 0);
			continue;
		}
		if (put < 0)
			return done ? done : put == -EPIPE ? broken_pipe(put, true, 0) : put;
		done += put;
	}
	return got < 0 ? got : done;
}

gz_export ssize_t splice(int in, off64_t *off_in, int out, off64_t *off_out, size_t len, unsigned flags)
{
	bool from = fd_is_ours(fd_peek(in)), to = fd_is_ours(fd_peek(out));

	if ((likely(!from) && likely(!to)) || gz_depth)
		return REAL(splice)(in, off_in, out, off_out, len, flags);
	if ((from && fd_kind(fd_peek(in)) == FD_PARKED) || (to && fd_kind(fd_peek(out)) == FD_PARKED))
		return posix_ret(len ? -EBADF : 0);
	if (!len)
		return 0;
	if (from && to)
		return posix_ret(-EINVAL); /* one end must be a pipe */
	if ((from && off_out) || (to && off_in))
		return posix_ret(-ESPIPE); /* the pipe's */
	if (off_in || off_out)
		return posix_ret(-EINVAL); /* the socket's */
	return posix_ret(to ? splice_to_socket(in, out, len, flags) : splice_from_socket(in, out, len, flags));
}
TWIN(splice)

gz_export ssize_t tee(int in, int out, size_t len, unsigned flags)
{
	if ((likely(!fd_is_ours(fd_peek(in))) && likely(!fd_is_ours(fd_peek(out)))) || gz_depth)
		return REAL(tee)(in, out, len, flags);
	return posix_ret(-EINVAL); /* pipes only */
}
TWIN(tee)

gz_export ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(vmsplice)(fd, iov, count, flags);
	return posix_ret(-EBADF); /* pipes only; Linux says EBADF */
}
TWIN(vmsplice)

gz_export ssize_t copy_file_range(int in, off64_t *off_in, int out, off64_t *off_out, size_t len, unsigned flags)
{
	if ((likely(!fd_is_ours(fd_peek(in))) && likely(!fd_is_ours(fd_peek(out)))) || gz_depth)
		return REAL(copy_file_range)(in, off_in, out, off_out, len, flags);
	return posix_ret(-EINVAL); /* regular files only */
}
TWIN(copy_file_range)

/* --- entry points of fortified programs --- */

void __chk_fail(void) __attribute__((noreturn));
ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *sa, socklen_t *len);
ssize_t __pread_chk(int fd, void *buf, size_t n, off_t off, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t off, size_t room);

gz_export ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	if (unlikely(n > room))
		__chk_fail();
	return read(fd, buf, n);
}

gz_export ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	if (unlikely(n > room))
		__chk_fail();
	return recv(fd, buf, n, flags);
}

gz_export ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *sa, socklen_t *len)
{
	if (unlikely(n > room))
		__chk_fail();
	return recvfrom(fd, buf, n, flags, sa, len);
}

gz_export ssize_t __pread_chk(int fd, void *buf, size_t n, off_t off, size_t room)
{
	if (unlikely(n > room))
		__chk_fail();
	return pread(fd, buf, n, off);
}

gz_export ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t off, size_t room)
{
	if (unlikely(n > room))
		__chk_fail();
	return pread64(fd, buf, n, off);
}

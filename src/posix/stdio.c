/* stdio.c - stdio over stack sockets. libc's stdio calls none of the exported read, write and close, so fdopen makes a stream of
 * functions that do (fopencookie); fileno knows the number; a number that was closed and used again behind the stream's back is
 * told by its generation. */
#include "posix/posix.h"

#include "posix/activate.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct stream {
	struct stream *next;
	FILE *file;
	int fd;
	uint32_t gen;
};

static struct stream *streams;
static _Atomic uint32_t stream_count; /* none: fileno is libc's alone */
static struct rlock lock;

static bool stream_ok(const struct stream *st)
{
	return fd_is_ours(fd_peek(st->fd)) && fd_gen(st->fd) == st->gen;
}

static ssize_t stream_read(void *cookie, char *buf, size_t n)
{
	struct stream *st = cookie;

	if (!stream_ok(st)) {
		errno = EBADF;
		return -1;
	}
	return read(st->fd, buf, n);
}

static ssize_t stream_write(void *cookie, const char *buf, size_t n)
{
	struct stream *st = cookie;
	ssize_t r;

	if (!stream_ok(st)) {
		errno = EBADF;
		return 0; /* fopencookie's way of saying it failed */
	}
	r = write(st->fd, buf, n);
	return r < 0 ? 0 : r;
}

static int stream_close(void *cookie)
{
	struct stream *st = cookie, **at;
	bool ok = stream_ok(st);
	int fd = st->fd;

	gz_enter();
	rlock_lock(&lock, (uint32_t)sys_gettid());
	for (at = &streams; *at && *at != st; at = &(*at)->next)
		;
	if (*at)
		*at = st->next;
	atomic_fetch_sub(&stream_count, 1);
	rlock_unlock(&lock);
	gz_leave();
	free(st);
	if (!ok) {
		errno = EBADF;
		return -1;
	}
	return close(fd);
}

gz_export FILE *fdopen(int fd, const char *mode)
{
	static const cookie_io_functions_t io = { .read = stream_read, .write = stream_write, .close = stream_close };
	struct stream *st;
	int fl;

	if (!fd_is_ours(fd_peek(fd)) || gz_depth)
		return REAL(fdopen)(fd, mode);
	if (fd_kind(fd_peek(fd)) == FD_PARKED) {
		errno = EBADF;
		return NULL;
	}
	if (mode[0] != 'r' && mode[0] != 'w' && mode[0] != 'a') {
		errno = EINVAL;
		return NULL;
	}
	st = calloc(1, sizeof(*st));
	if (!st)
		return NULL;
	st->fd = fd;
	st->gen = fd_gen(fd);
	st->file = fopencookie(st, mode, io);
	if (!st->file) {
		free(st);
		return NULL;
	}
	if (strchr(mode, 'e')) {
		fl = fcntl(fd, F_GETFD);
		if (fl >= 0)
			(void)fcntl(fd, F_SETFD, fl | FD_CLOEXEC);
	}
	gz_enter();
	rlock_lock(&lock, (uint32_t)sys_gettid());
	st->next = streams;
	streams = st;
	atomic_fetch_add(&stream_count, 1);
	rlock_unlock(&lock);
	gz_leave();
	return st->file;
}
TWIN(fdopen)

/* The number of a stream of ours, or -1. */
static int stream_fd(FILE *f)
{
	int fd = -1;

	if (likely(!atomic_load_explicit(&stream_count, memory_order_relaxed)) || gz_depth)
		return -1;
	gz_enter();
	rlock_lock(&lock, (uint32_t)sys_gettid());
	for (struct stream *st = streams; st && fd < 0; st = st->next)
		if (st->file == f)
			fd = st->fd;
	rlock_unlock(&lock);
	gz_leave();
	return fd;
}

gz_export int fileno(FILE *f)
{
	int fd = stream_fd(f);

	return fd >= 0 ? fd : REAL(fileno)(f);
}
TWIN(fileno)

gz_export int fileno_unlocked(FILE *f)
{
	int fd = stream_fd(f);

	return fd >= 0 ? fd : REAL(fileno_unlocked)(f);
}
TWIN(fileno_unlocked)

gz_export int vdprintf(int fd, const char *fmt, va_list ap)
{
	char *text;
	int n, done = 0;

	if (likely(!fd_is_ours(fd_peek(fd))) || gz_depth)
		return REAL(vdprintf)(fd, fmt, ap);
	n = vasprintf(&text, fmt, ap);
	if (n < 0)
		return -1;
	while (done < n) {
		ssize_t r = write(fd, text + done, (size_t)(n - done));

		if (r < 0) {
			free(text);
			return -1;
		}
		done += (int)r;
	}
	free(text);
	return n;
}
TWIN(vdprintf)

gz_export int dprintf(int fd, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vdprintf(fd, fmt, ap);
	va_end(ap);
	return n;
}
TWIN(dprintf)

int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap);
int __dprintf_chk(int fd, int flag, const char *fmt, ...);

gz_export int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap)
{
	return vdprintf(fd, fmt, ap);
}

gz_export int __dprintf_chk(int fd, int flag, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vdprintf(fd, fmt, ap);
	va_end(ap);
	return n;
}

void stdio_after_fork_child(void)
{
	rlock_init(&lock);
}

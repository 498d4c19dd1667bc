/* sys.h - raw system calls. The library never calls the libc names that it interposes, and these are
 * no cancellation points and leave errno alone. Result: >= 0 or -errno. Any thread. */
#ifndef GZ_BASE_SYS_H
#define GZ_BASE_SYS_H

#include "base/compiler.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Result of a raw system call, -errno on failure; errno is preserved. */
static inline long sys_result(long r, int saved_errno)
{
	if (r == -1)
		r = -errno;
	errno = saved_errno;
	return r;
}

#define SYS(nr, ...)                                                       \
	({                                                                 \
		int sys_saved_ = errno;                                    \
		sys_result(syscall(SYS_##nr, ##__VA_ARGS__), sys_saved_);  \
	})

static inline int sys_close(int fd) { return (int)SYS(close, fd); }
static inline long sys_read(int fd, void *p, size_t n) { return SYS(read, fd, p, n); }
static inline long sys_write(int fd, const void *p, size_t n) { return SYS(write, fd, p, n); }
static inline int sys_getpid(void) { return (int)SYS(getpid); }
static inline int sys_gettid(void) { return (int)SYS(gettid); }

/* The beginning of a small file (of /proc or /sys) as a string, at most bytes - 1 of it; empty when it cannot be read. Its length, or -errno. */
static inline long sys_read_file(const char *path, char *buf, size_t bytes)
{
	long n, fd = SYS(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

	buf[0] = '\0';
	if (fd < 0)
		return fd;
	n = sys_read((int)fd, buf, bytes - 1);
	sys_close((int)fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

/* Sleeps while *word == expect; timeout relative, NULL = for ever. 0 woken, -EAGAIN word differs,
 * -ETIMEDOUT, -EINTR. The word may be in memory shared with other processes. */
static inline int sys_futex_wait(_Atomic uint32_t *word, uint32_t expect, const struct timespec *timeout)
{
	return (int)SYS(futex, word, FUTEX_WAIT, expect, timeout, NULL, 0);
}

/* Wakes at most n sleepers; returns how many. */
static inline int sys_futex_wake(_Atomic uint32_t *word, int n)
{
	return (int)SYS(futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

#endif

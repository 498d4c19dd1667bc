/* t.h - helpers of the socket programs. Each program prints what it observes: return values, errno names, event bits, bytes; the runner
 * compares the output of a run on the kernel with that of runs under the library. Nothing that may differ between two runs on the
 * kernel (ports, times, numbers beyond what is meant) is printed. */
#ifndef GZ_TESTS_POSIX_T_H
#define GZ_TESTS_POSIX_T_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The address under test: the kernel's in one run, the stack's in the other. */
static inline const char *t_addr(void)
{
	const char *a = getenv("GZT_ADDR");

	return a ? a : "127.0.0.1";
}

static inline const char *t_err(int e)
{
	const char *s = strerrorname_np(e);

	return s ? s : "?";
}

/* name: result, with errno's name when it is -1 */
#define R(name, expr)                                                                      \
	({                                                                                 \
		errno = 0;                                                                 \
		long r_ = (long)(expr);                                                    \
		int e_ = errno;                                                            \
		if (r_ == -1)                                                              \
			printf("%s: -1 %s\n", name, t_err(e_));                            \
		else                                                                       \
			printf("%s: %ld\n", name, r_);                                     \
		fflush(stdout);                                                            \
		errno = e_;                                                                \
		r_;                                                                        \
	})
/* only whether it worked */
#define OK(name, expr)                                                                     \
	({                                                                                 \
		errno = 0;                                                                 \
		long r_ = (long)(expr);                                                    \
		int e_ = errno;                                                            \
		printf("%s: %s\n", name, r_ >= 0 ? "ok" : t_err(e_));                      \
		fflush(stdout);                                                            \
		r_;                                                                        \
	})
#define SAY(...) (printf(__VA_ARGS__), fflush(stdout))
#define SECTION(s) SAY("== %s\n", s)
#define MUST(expr)                                                                         \
	({                                                                                 \
		long r_ = (long)(expr);                                                    \
		if (r_ < 0) {                                                              \
			SAY("MUST failed: %s:%d %s: %s\n", __FILE__, __LINE__, #expr, t_err(errno)); \
			exit(1);                                                           \
		}                                                                          \
		r_;                                                                        \
	})

static inline struct sockaddr_in t_sa(const char *addr, int port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	inet_pton(AF_INET, addr, &sa.sin_addr);
	return sa;
}

static inline int t_port(int fd)
{
	struct sockaddr_in6 sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return -1;
	return ntohs(sa.sin6_port);
}

/* A listener on the address under test; its port in *port. */
static inline int t_listener(int backlog, int *port)
{
	struct sockaddr_in sa = t_sa(t_addr(), 0);
	int one = 1, fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	MUST(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	MUST(listen(fd, backlog));
	*port = t_port(fd);
	return fd;
}

static inline int t_connect(int port)
{
	struct sockaddr_in sa = t_sa(t_addr(), port);
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

	MUST(connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
	return fd;
}

/* A connected pair: c[0] the client's, c[1] the server's end. */
static inline void t_pair(int c[2])
{
	int port, l = t_listener(8, &port);

	c[0] = t_connect(port);
	c[1] = (int)MUST(accept(l, NULL, NULL));
	close(l);
}

static inline void t_nonblock(int fd, bool on)
{
	int fl = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK);
}

static inline void t_ms(int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static inline uint64_t t_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Waits for bits on fd, so that what follows does not depend on how fast a segment walks. */
static inline int t_wait(int fd, short ev)
{
	struct pollfd p = { .fd = fd, .events = ev };

	if (poll(&p, 1, 3000) <= 0)
		return -1;
	return p.revents;
}

static inline void t_bits(const char *name, uint32_t ev)
{
	static const struct { uint32_t bit; const char *name; } bits[] = {
		{ POLLIN, "IN" }, { POLLPRI, "PRI" }, { POLLOUT, "OUT" }, { POLLERR, "ERR" }, { POLLHUP, "HUP" },
		{ POLLNVAL, "NVAL" }, { POLLRDNORM, "RDNORM" }, { POLLRDBAND, "RDBAND" }, { POLLWRNORM, "WRNORM" },
		{ POLLWRBAND, "WRBAND" }, { POLLRDHUP, "RDHUP" },
	};

	printf("%s:", name);
	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		if (ev & bits[i].bit)
			printf(" %s", bits[i].name);
	printf("\n");
	fflush(stdout);
}

static inline int t_poll(const char *name, int fd, short ev, int ms)
{
	struct pollfd p = { .fd = fd, .events = ev };
	int r = poll(&p, 1, ms);

	if (r < 0)
		SAY("%s: -1 %s\n", name, t_err(errno));
	else
		t_bits(name, (uint32_t)(unsigned short)p.revents);
	return r;
}

static inline int t_so_error(int fd)
{
	int e = -1;
	socklen_t len = sizeof(e);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len);
	return e;
}

/* Ends the program if it hangs: the runner would wait in vain. */
static inline void t_watchdog(unsigned s)
{
	signal(SIGALRM, SIG_DFL);
	alarm(s);
}

#endif

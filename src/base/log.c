/* log.c - messages to syslog, a log file and, during start, standard error.
 *
 * Called by every room off the packet path, from any thread; calls only the kernel (raw system calls: the libc names are interposed) and
 * ownfd.c. libc's syslog() is not used: it would put a descriptor of its own among the program's low numbers, and openlog() is the
 * program's. The datagram is that of RFC 3164 without the time stamp, which every local syslog daemon adds.
 */
#include "base/log.h"
#include "base/ownfd.h"
#include "base/sys.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#define LOG_PREFIX "LSTACK: "
#define LOG_LINE_MAX 1000
/* after start: a burst, then so many a second */
#define LOG_BURST 50
#define LOG_PER_SECOND 10
#define LOG_FACILITY_DAEMON (3 << 3)

#define LOG_LEVEL_UNSET 0xff

static _Atomic uint8_t level_now = LOG_LEVEL_UNSET;
static _Atomic bool started; /* log_start_done() was called */
static _Atomic int file_fd = -1;
static _Atomic int syslog_fd = -1;
static _Atomic uint64_t suppressed;
/* token bucket: tokens << 32 | second it was last filled */
static _Atomic uint64_t bucket;

static const char *const level_names[] = { "error", "info", "debug" };
static const int level_priority[] = { 3 /* LOG_ERR */, 6 /* LOG_INFO */, 7 /* LOG_DEBUG */ };

int log_level_parse(const char *word, enum log_level *level)
{
	for (unsigned i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (!strcmp(word, level_names[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	return (unsigned)level < ARRAY_SIZE(level_names) ? level_names[level] : "?";
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_now, (uint8_t)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	uint8_t l = atomic_load_explicit(&level_now, memory_order_relaxed);

	if (unlikely(l == LOG_LEVEL_UNSET)) {
		enum log_level parsed = LOG_LEVEL_INFO;
		const char *env = getenv("GAZELLE_LOG");

		if (env)
			(void)log_level_parse(env, &parsed);
		log_set_level(parsed);
		return parsed;
	}
	return (enum log_level)l;
}

uint64_t log_suppressed(void)
{
	return atomic_load_explicit(&suppressed, memory_order_relaxed);
}

/* True when one more message may leave. */
static bool rate_take(void)
{
	struct timespec ts;
	uint64_t old, new;
	uint32_t now_s;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now_s = (uint32_t)ts.tv_sec;
	old = atomic_load_explicit(&bucket, memory_order_relaxed);
	do {
		uint64_t tokens = old >> 32;
		uint32_t since = now_s - (uint32_t)old;

		if (old == 0 || since > LOG_BURST)
			tokens = LOG_BURST;
		else
			tokens = MIN(tokens + (uint64_t)since * LOG_PER_SECOND, (uint64_t)LOG_BURST);
		if (tokens == 0) {
			atomic_fetch_add_explicit(&suppressed, 1, memory_order_relaxed);
			return false;
		}
		new = (tokens - 1) << 32 | now_s;
	} while (!atomic_compare_exchange_weak_explicit(&bucket, &old, new, memory_order_relaxed, memory_order_relaxed));
	return true;
}

/* Writes to a descriptor that may be a broken pipe or a file at its size limit: neither SIGPIPE nor SIGXFSZ may reach the program. */
static void write_quietly(int fd, struct iovec *iov, int n)
{
	uint64_t block = 1ULL << (SIGPIPE - 1) | 1ULL << (SIGXFSZ - 1), old = 0, pending = 0;
	long r;

	SYS(rt_sigpending, &pending, sizeof(pending));
	SYS(rt_sigprocmask, SIG_BLOCK, &block, &old, sizeof(old));
	r = SYS(writev, fd, iov, n);
	if (r == -EPIPE || r == -EFBIG) {
		uint64_t ours = (r == -EPIPE ? 1ULL << (SIGPIPE - 1) : 1ULL << (SIGXFSZ - 1)) & ~pending;
		struct timespec zero = { 0, 0 };

		if (ours)
			SYS(rt_sigtimedwait, &ours, NULL, &zero, sizeof(ours));
	}
	SYS(rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old));
}

/* Connects to the local syslog daemon; the descriptor or -1. Racing callers end with one descriptor. */
static int syslog_open(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	int fd, expect = -1;

	fd = (int)SYS(socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (SYS(connect, fd, &un, sizeof(un)) < 0) {
		sys_close(fd);
		return -1;
	}
	{
		int high = own_fd_adopt(fd);

		if (high < 0) {
			sys_close(fd);
			return -1;
		}
		fd = high;
	}
	if (!atomic_compare_exchange_strong(&syslog_fd, &expect, fd)) {
		own_fd_close(fd);
		return expect;
	}
	return fd;
}

static void to_syslog(enum log_level level, const char *line, size_t len)
{
	char head[96];
	int n = snprintf(head, sizeof(head), "<%d>%.40s[%d]: " LOG_PREFIX, LOG_FACILITY_DAEMON | level_priority[level],
			 program_invocation_short_name, sys_getpid());
	struct iovec iov[2] = { { head, (size_t)n }, { (void *)(uintptr_t)line, len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	int fd = atomic_load_explicit(&syslog_fd, memory_order_acquire);

	for (int attempt = 0; attempt < 2; attempt++) {
		long r;

		if (fd < 0)
			fd = syslog_open();
		if (fd < 0)
			return;
		r = SYS(sendmsg, fd, &mh, MSG_NOSIGNAL);
		if (r >= 0 || r == -EAGAIN)
			return;
		/* the daemon was restarted: a new connection, once */
		if (atomic_compare_exchange_strong(&syslog_fd, &fd, -1))
			own_fd_close(fd);
		fd = -1;
	}
}

static void to_file(int fd, enum log_level level, const char *line, size_t len)
{
	struct timespec ts;
	char head[96];
	struct tm tm = { 0 };
	int n;
	struct iovec iov[3];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = snprintf(head, sizeof(head), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ [%d] %s " LOG_PREFIX, tm.tm_year + 1900, tm.tm_mon + 1,
		     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000, sys_getpid(), log_level_name(level));
	iov[0] = (struct iovec){ head, (size_t)n };
	iov[1] = (struct iovec){ (void *)(uintptr_t)line, len };
	iov[2] = (struct iovec){ (void *)(uintptr_t) "\n", 1 };
	write_quietly(fd, iov, 3);
}

static void to_stderr(const char *line, size_t len)
{
	struct iovec iov[3] = {
		{ (void *)(uintptr_t)LOG_PREFIX, sizeof(LOG_PREFIX) - 1 },
		{ (void *)(uintptr_t)line, len },
		{ (void *)(uintptr_t) "\n", 1 },
	};

	if (SYS(fcntl, 2, F_GETFD) >= 0)
		write_quietly(2, iov, 3);
}

static void emit(enum log_level level, const char *line, size_t len)
{
	int fd = atomic_load_explicit(&file_fd, memory_order_acquire);

	if (!atomic_load_explicit(&started, memory_order_acquire))
		to_stderr(line, len);
	if (fd >= 0)
		to_file(fd, level, line, len);
	else
		to_syslog(level, line, len);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX + 1];
	int saved = errno;
	va_list ap;
	int n;

	if (level > log_get_level())
		return;
	if (atomic_load_explicit(&started, memory_order_relaxed)) {
		uint64_t before = atomic_load_explicit(&suppressed, memory_order_relaxed);

		if (!rate_take())
			return;
		if (before && atomic_compare_exchange_strong(&suppressed, &before, 0)) {
			n = snprintf(line, sizeof(line), "%llu messages were withheld by the rate limit", (unsigned long long)before);
			emit(LOG_LEVEL_INFO, line, (size_t)n);
		}
	}
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n > 0) {
		size_t len = MIN((size_t)n, sizeof(line) - 1);

		while (len && line[len - 1] == '\n')
			len--;
		/* one message is one line: nothing in it may forge another */
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)line[i] < ' ' && line[i] != '\t')
				line[i] = ' ';
		emit(level, line, len);
	}
	errno = saved;
}

int log_start_done(const char *path)
{
	int rc = 0;

	if (path && path[0]) {
		int fd = (int)SYS(openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);

		if (fd >= 0) {
			int high = own_fd_adopt(fd), old;

			if (high >= 0)
				fd = high;
			else
				own_fd_register(fd);
			old = atomic_exchange(&file_fd, fd);
			if (old >= 0)
				own_fd_close(old);
		} else {
			rc = fd;
			log_error("log_file %s: cannot be opened (%s): messages go to syslog", path, strerror(-rc));
		}
	}
	atomic_store_explicit(&started, true, memory_order_release);
	return rc;
}

/* --- what EAL says --- */

#define CAPTURE_LINES 16
#define CAPTURE_BYTES 200

static struct {
	FILE *stream;
	char line[CAPTURE_LINES][CAPTURE_BYTES];
	unsigned next; /* lines kept so far */
	char part[CAPTURE_BYTES];
	size_t part_len;
} capture;

static void capture_line(void)
{
	if (!capture.part_len)
		return;
	capture.part[capture.part_len] = '\0';
	memcpy(capture.line[capture.next % CAPTURE_LINES], capture.part, capture.part_len + 1);
	capture.next++;
	log_debug("%s", capture.part);
	capture.part_len = 0;
}

static ssize_t capture_write(void *cookie, const char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (buf[i] == '\n')
			capture_line();
		else if (capture.part_len < CAPTURE_BYTES - 1)
			capture.part[capture.part_len++] = buf[i];
	}
	return (ssize_t)n;
}

FILE *log_capture_stream(void)
{
	cookie_io_functions_t io = { .write = capture_write };

	if (!capture.stream) {
		capture.stream = fopencookie(NULL, "w", io);
		if (capture.stream)
			setvbuf(capture.stream, NULL, _IOLBF, 512);
	}
	return capture.stream;
}

static bool looks_wrong(const char *line)
{
	static const char *const words[] = { "annot", "ailed", "rror", "nvalid", "o free", "nable", "not ", "nknown", "denied" };

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(line, words[i]))
			return true;
	return false;
}

void log_capture_tail(char *buf, size_t bytes)
{
	unsigned first = capture.next > CAPTURE_LINES ? capture.next - CAPTURE_LINES : 0;
	size_t used = 0;

	if (!bytes)
		return;
	buf[0] = '\0';
	for (unsigned i = first; i < capture.next; i++) {
		const char *line = capture.line[i % CAPTURE_LINES];
		int n;

		if (!looks_wrong(line) && !(i + 1 == capture.next && used == 0))
			continue;
		n = snprintf(buf + used, bytes - used, "%s%s", used ? "; " : "", line);
		if (n < 0 || (size_t)n >= bytes - used) {
			buf[used] = '\0';
			break;
		}
		used += (size_t)n;
	}
}

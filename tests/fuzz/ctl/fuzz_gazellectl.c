/* fuzz_gazellectl.c - any command line, and any bytes as the answers of the process that gazellectl
 * asks. Input: number of arguments (the upper bits: a second process, silence), the arguments, each
 * ended by a NUL, then what the process writes; the argument @ is a program whose file is that.
 * System calls that would reach outside are replaced; what is printed is thrown away. Properties:
 * it ends, with one of its exit codes, and leaks nothing.
 */
#include "base/compiler.h"

#include <errno.h>
#include <glob.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *sent;
static size_t sent_bytes;
static bool silent, another; /* a stopped process; another one that answers as well */
static FILE *nowhere;
static const char *program = "/proc/self/exe";

static ssize_t process_recv(int fd, void *buf, size_t n, int flags)
{
	size_t got = MIN(n, sent_bytes);

	(void)fd, (void)flags;
	if (!got) {
		errno = EAGAIN;
		return silent ? -1 : 0;
	}
	memcpy(buf, sent, got);
	sent += got;
	sent_bytes -= got;
	return (ssize_t)got;
}

static int printed(const char *fmt, ...) printf_like(1, 2);
static int printed(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(nowhere, fmt, ap);
	va_end(ap);
	return 0;
}

static int process_pause(const struct timespec *t, void *left)
{
	(void)t, (void)left;
	return sent_bytes ? 0 : -1;
}

static int process_connect(const struct sockaddr *sa)
{
	const struct sockaddr_un *un = (const void *)sa;

	if (!strstr(un->sun_path, ".9.sock") || another)
		return 0;
	errno = silent ? EAGAIN : ECONNREFUSED;
	return -1;
}

static int process_exec(const char *file, char *const *argv)
{
	(void)file, (void)argv;
	errno = ENOEXEC;
	return -1;
}

#define main			  gazellectl_main
#define recv			  process_recv
#define send(fd, buf, n, flags)	  ((void)(buf), (ssize_t)(n))
#define connect(fd, sa, len)	  process_connect(sa)
#define nanosleep		  process_pause
#define execvp			  process_exec
#define sigaction(sig, sa, old)	  ((void)(sa))
#define setenv(name, value, over) ((void)(value))
#define printf(...)		  printed(__VA_ARGS__)
#define puts(s)			  fputs(s, nowhere)
#undef stderr
#undef stdout
#define stderr nowhere
#define stdout nowhere

int gazellectl_main(int argc, char **argv);

#include "../../../tools/gazellectl/client.c"
#include "../../../tools/gazellectl/completion.c"
#include "../../../tools/gazellectl/main.c"
#include "../../../tools/gazellectl/show.c"
#define header conns_header
#define wanted conns_wanted
#include "../../../tools/gazellectl/show_conns.c"
#undef header
#undef wanted
#define parse run_parse
#include "../../../tools/gazellectl/run.c"
#undef setenv
#undef stderr

static char dir[64];

static void leave(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/lstack_cmd.sock", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lstack_cmd.9.sock", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/program", dir);
	unlink(path);
	rmdir(dir);
}

/* A run directory with two sockets in it, whose processes are the input. */
static void enter(void)
{
	char path[128];
	int fd;

	nowhere = fopen("/dev/null", "w");
	snprintf(dir, sizeof(dir), "/tmp/gz-fuzz-XXXXXX");
	if (!nowhere || !mkdtemp(dir))
		abort();
	atexit(leave);
	setenv("GAZELLE_RUN_DIR", dir, 1);
	setenv("GAZELLE_LIBRARY", program, 1);
	snprintf(path, sizeof(path), "%s/lstack_cmd.sock", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	snprintf(path, sizeof(path), "%s/lstack_cmd.9.sock", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
}

/* A program whose file is the rest of the input. */
static char *program_file(void)
{
	static char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/program", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0700);
	if (fd < 0 || write(fd, sent, sent_bytes) != (ssize_t)sent_bytes)
		abort();
	close(fd);
	return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[12] = { (char *)(uintptr_t) "gazellectl" }, *copy[12];
	int argc = 1, want, rc;

	if (!nowhere)
		enter();
	if (!size || size > 65536)
		return 0;
	want = 1 + (data[0] & 63) % 10;
	another = data[0] & 64;
	silent = data[0] & 128;
	data++;
	size--;
	while (argc < want && size) {
		size_t n = strnlen((const char *)data, size);

		copy[argc] = argv[argc] = strndup((const char *)data, n);
		argc++;
		n += n < size;
		data += n;
		size -= n;
	}
	argv[argc] = NULL;
	want = argc;
	sent = data;
	sent_bytes = size;
	interrupted = 0;
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "@"))
			argv[i] = program_file();
	rc = gazellectl_main(argc, argv);
	if (rc != EXIT_OK && rc != EXIT_FAILED && rc != EXIT_USAGE)
		abort();
	for (int i = 1; i < want; i++)
		free(copy[i]);
	return 0;
}

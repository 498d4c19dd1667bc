/* fork.c - fork, vfork, daemon, posix_spawn, exec: what happens to descriptors (runtime.md, "Descriptors").
 *
 * The child gets its own process record with a copy of the table and a reference for every entry, made before the fork by the
 * prepare handler (so that forks inside libc are covered too). It is a client: it never runs a stack. vfork's child shares our
 * memory and would change our table, so vfork forks, and waits until the child execs or ends, as vfork does. */
#include "posix/posix.h"

#include "base/log.h"
#include "base/ownfd.h"
#include "posix/activate.h"
#include "posix/epollfd.h"
#include "posix/und.h"
#include "stack/boot.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

static void prepare(void)
{
	gz_enter();
	und_lock();
	/* A failure is a fork inside libc, which cannot be refused here: the child's numbers of ours are closed ones. */
	(void)fdtable_fork_prepare();
}

static void parent(void)
{
	/* Whether the fork succeeded is not told here; fork() below corrects. */
	fdtable_fork_parent_unlock();
	und_unlock();
	gz_leave();
}

static void child(void)
{
	boot_after_fork_child();
	und_after_fork_child();
	epoll_after_fork_child();
	sig_after_fork_child();
	stdio_after_fork_child();
	fdtable_fork_child();
	gz_leave();
}

void fork_init(void)
{
	(void)pthread_atfork(prepare, parent, child);
}

gz_export pid_t fork(void)
{
	pid_t r;

	if (!posix_active || gz_depth)
		return REAL(fork)();
	r = fdtable_fork_reserve();
	if (r < 0)
		return (pid_t)posix_ret(r);
	r = REAL(fork)();
	if (r != 0) {
		int saved = errno;

		fdtable_fork_result(r < 0 ? 0 : (uint32_t)r);
		errno = saved;
	}
	return r;
}
TWIN(fork)
ALIAS_OF(__fork, fork)

/* The child of vfork runs alone until it execs or ends: the parent waits for the close of a pipe that only the child holds. The pipe is
 * one of the library's own descriptors, so a child that closes everything keeps it. */
gz_export pid_t vfork(void)
{
	int p[2] = { -1, -1 }, w;
	pid_t r;
	char c;

	if (!posix_active || gz_depth)
		return fork();
	if (SYS(pipe2, p, O_CLOEXEC) < 0)
		return fork();
	w = own_fd_adopt(p[1]);
	r = fork();
	if (r == 0) {
		sys_close(p[0]);
		return 0;
	}
	if (w >= 0)
		own_fd_close(w);
	else
		sys_close(p[1]);
	if (r > 0) {
		int saved = errno;

		/* vfork cannot be interrupted either */
		while (sys_read(p[0], &c, 1) == -EINTR)
			;
		errno = saved;
	}
	sys_close(p[0]);
	return r;
}
TWIN(vfork)
ALIAS_OF(__vfork, vfork)

gz_export int daemon(int nochdir, int noclose)
{
	int fd;

	if (!posix_active || gz_depth)
		return REAL(daemon)(nochdir, noclose);
	switch (fork()) {
	case -1:
		return -1;
	case 0:
		break;
	default:
		_exit(0);
	}
	if (setsid() == -1)
		return -1;
	if (!nochdir && chdir("/") < 0) {
		/* glibc does not mind either */
	}
	if (!noclose) {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return -1;
		(void)dup2(fd, 0);
		(void)dup2(fd, 1);
		(void)dup2(fd, 2);
		if (fd > 2)
			(void)close(fd);
	}
	return 0;
}
TWIN(daemon)

/* --- exec: the numbers that are not close-on-exec in the program's eyes stay open across it --- */

struct kept {
	unsigned n;
	int first;
};

static void keep_one(int fd, uintptr_t d, void *arg)
{
	struct kept *kept = arg;
	int blank;

	if (fd_kind(d) != FD_SOCK || fd_get_flag(fd, FDF_CLOEXEC))
		return;
	/* The new program finds a socket that is not connected: inheriting the connection needs the stack in another process. A fresh stream
	 * socket says so at every call; a read of the inert one would wait for ever. What has a kernel half is inherited with it. */
	if (!(sock_status(fd_ptr(d)) & SOCK_HAS_KERNEL) && !fd_get_flag(fd, FDF_KERN_OPEN)) {
		blank = (int)SYS(socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (blank >= 0) {
			(void)SYS(dup3, blank, fd, O_CLOEXEC);
			sys_close(blank);
		}
	}
	(void)SYS(fcntl, fd, F_SETFD, 0);
	fd_set_flag(fd, FDF_KERN_OPEN, true);
	if (kept->n++ == 0)
		kept->first = fd;
}

static void before_exec(const char *what)
{
	struct kept kept = { 0 };

	if (!posix_active || gz_depth)
		return;
	fd_parked_release();
	fd_for_each(0, FD_LIMIT - 1, keep_one, &kept);
	if (!kept.n)
		return;
	gz_enter();
	log_info("exec of %s: %u stack socket%s without close-on-exec (the first is descriptor %d): a program started by exec cannot go on with "
		 "%s, and finds a socket that is not connected: set FD_CLOEXEC, or fork without exec",
		 what ? what : "a program", kept.n, kept.n > 1 ? "s" : "", kept.first, kept.n > 1 ? "them" : "it");
	gz_leave();
}

gz_export int execve(const char *path, char *const argv[], char *const envp[])
{
	before_exec(path);
	return REAL(execve)(path, argv, envp);
}
TWIN(execve)

gz_export int execv(const char *path, char *const argv[])
{
	before_exec(path);
	return REAL(execv)(path, argv);
}
TWIN(execv)

gz_export int execvp(const char *file, char *const argv[])
{
	before_exec(file);
	return REAL(execvp)(file, argv);
}
TWIN(execvp)

gz_export int execvpe(const char *file, char *const argv[], char *const envp[])
{
	before_exec(file);
	return REAL(execvpe)(file, argv, envp);
}
TWIN(execvpe)

gz_export int fexecve(int fd, char *const argv[], char *const envp[])
{
	before_exec(NULL);
	return REAL(fexecve)(fd, argv, envp);
}
TWIN(fexecve)

gz_export int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	before_exec(path);
	return REAL(execveat)(dir, path, argv, envp, flags);
}
TWIN(execveat)

/* Collects the variadic arguments up to NULL (which is counted). At least one. */
static size_t count_args(va_list ap)
{
	size_t n = 2;

	while (va_arg(ap, const char *))
		n++;
	return n;
}

static void fill_args(const char **argv, size_t n, const char *first, va_list ap)
{
	argv[0] = first;
	for (size_t i = 1; i < n; i++)
		argv[i] = va_arg(ap, const char *);
}

/* No allocation: these are called between vfork and exec. libc's own variants put the vector on the stack as well. */
#define ARGV_ON_STACK(first, envp)                                             \
	va_list ap;                                                            \
	size_t n;                                                              \
	va_start(ap, first);                                                   \
	n = count_args(ap);                                                    \
	va_end(ap);                                                            \
	const char **argv = __builtin_alloca((n + 1) * sizeof(*argv));         \
	va_start(ap, first);                                                   \
	fill_args(argv, n, first, ap);                                         \
	envp;                                                                  \
	va_end(ap)

gz_export int execl(const char *path, const char *arg, ...)
{
	ARGV_ON_STACK(arg, (void)0);
	return execv(path, (char *const *)(uintptr_t)argv);
}
TWIN(execl)

gz_export int execlp(const char *file, const char *arg, ...)
{
	ARGV_ON_STACK(arg, (void)0);
	return execvp(file, (char *const *)(uintptr_t)argv);
}
TWIN(execlp)

gz_export int execle(const char *path, const char *arg, ...)
{
	char *const *envp;

	ARGV_ON_STACK(arg, envp = va_arg(ap, char *const *));
	return execve(path, (char *const *)(uintptr_t)argv, envp);
}
TWIN(execle)

/* libc's posix_spawn uses a clone of its own, which shares our memory until the exec: the table is not touched there, since its file
 * actions are raw system calls. Numbers that stay open must be so in the kernel before. */
gz_export int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *at,
			  char *const argv[], char *const envp[])
{
	before_exec(path);
	return REAL(posix_spawn)(pid, path, fa, at, argv, envp);
}
TWIN(posix_spawn)

gz_export int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *fa, const posix_spawnattr_t *at,
			   char *const argv[], char *const envp[])
{
	before_exec(file);
	return REAL(posix_spawnp)(pid, file, fa, at, argv, envp);
}
TWIN(posix_spawnp)

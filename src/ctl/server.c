/* server.c - the control thread: accepts, checks who asks, reads requests, writes answers.
 *
 * One thread with poll() over non-blocking descriptors; raw system calls, since the library interposes the libc names. Nothing a peer sends
 * or omits can hold it: requests and answers are bounded, each peer has a deadline, and there are at most CLIENTS of them. It never waits for a
 * stack but in views that say so (neighbours, by stack_call()).
 */
#include "ctl/ctl.h"
#include "ctl/paths.h"
#include "ctl/proto.h"
#include "ctl/views.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/ownfd.h"
#include "base/sys.h"
#include "posix/sigdefer.h"
#include "stack/stack.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define CLIENTS 16
#define LOCK_ATTEMPTS 5
#define SWEEP_MAX 1000 /* directory entries looked at when the socket is made */
#define REQUEST_TIMEOUT_US (5 * (uint64_t)US_PER_S)	/* from the first byte of a request to the last of its answer */
#define IDLE_TIMEOUT_US (120 * (uint64_t)US_PER_S) /* between requests */

struct client {
	int fd; /* -1: free */
	uint64_t deadline_us;
	uint8_t *in; /* CTL_HEAD + request */
	size_t in_len;
	uint8_t *out;
	size_t out_len, out_off;
};

static struct {
	const struct config *conf;
	pthread_t thread;
	bool running;
	int pid; /* of the process that started it */
	int listen_fd, stop_fd;
	int spare_fd[2]; /* given up to accept when the program has used up its descriptors: that is when people look */
	char path[CTL_SOCK_MAX];
	struct client clients[CLIENTS];
	int lock_fd;
	char lock_path[CTL_PATH_MAX + 192];
} ctl = { .listen_fd = -1, .stop_fd = -1, .spare_fd = { -1, -1 }, .lock_fd = -1 };

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * US_PER_S + (uint64_t)ts.tv_nsec / 1000;
}

static int adopt(int fd)
{
	int high;

	if (fd < 0)
		return fd;
	high = own_fd_adopt(fd);
	if (high < 0)
		sys_close(fd);
	return high;
}

/* --- answering --- */

static char *answer_text(struct json_object *o, size_t *len)
{
	const char *text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, len);
	char *copy = NULL;

	if (text && *len <= CTL_REPLY_MAX) {
		copy = malloc(*len + 1);
		if (copy)
			memcpy(copy, text, *len + 1);
	}
	return copy;
}

char *ctl_answer(const struct config *conf, const char *request, size_t n, size_t *len)
{
	struct json_tokener *tok = json_tokener_new_ex(8);
	struct ctl_request rq = { .conf = conf };
	struct json_object *out = json_object_new_object();
	const char *cmd, *error = NULL;
	char *text = NULL;

	if (!tok || !out)
		goto done;
	rq.args = json_tokener_parse_ex(tok, request, (int)MIN(n, (size_t)CTL_REQUEST_MAX));
	cmd = get_str(&rq, "cmd");
	if (json_tokener_get_error(tok) != json_tokener_success || !json_object_is_type(rq.args, json_type_object) || !cmd) {
		error = "request: not understood: an object with \"cmd\" is needed";
	} else {
		error = "request: unknown command: this process runs another version of the library";
		for (unsigned i = 0; i < ctl_view_count; i++)
			if (!strcmp(cmd, ctl_views[i].cmd)) {
				error = ctl_views[i].answer(&rq, out);
				break;
			}
	}
	json_object_object_add(out, "ok", json_object_new_boolean(error == NULL));
	if (error)
		put_str(out, "error", error);
	text = answer_text(out, len);
done:
	if (tok)
		json_tokener_free(tok);
	json_object_put(rq.args);
	json_object_put(out);
	return text;
}

/* --- clients --- */

static void spares_close(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ctl.spare_fd); i++) {
		if (ctl.spare_fd[i] >= 0)
			own_fd_close(ctl.spare_fd[i]);
		ctl.spare_fd[i] = -1;
	}
}

/* Straight to a high number: moving them there would need a third one. */
static void spares_open(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ctl.spare_fd); i++) {
		if (ctl.spare_fd[i] >= 0)
			continue;
		ctl.spare_fd[i] = (int)SYS(fcntl, ctl.stop_fd, F_DUPFD_CLOEXEC, own_fd_floor());
		if (ctl.spare_fd[i] >= 0)
			own_fd_register(ctl.spare_fd[i]);
	}
}

static void client_close(struct client *c)
{
	own_fd_close(c->fd);
	spares_open();
	free(c->in);
	free(c->out);
	*c = (struct client){ .fd = -1 };
}

/* Is uid what this user namespace shows for users that it does not know? Outside of namespaces there are none. */
static bool is_unknown_user(uid_t uid)
{
	char buf[256];
	unsigned long inside, outside, count;

	if (sys_read_file("/proc/self/uid_map", buf, sizeof(buf)) <= 0 || sscanf(buf, "%lu %lu %lu", &inside, &outside, &count) != 3 ||
	    count == UINT32_MAX)
		return false;
	return sys_read_file("/proc/sys/kernel/overflowuid", buf, sizeof(buf)) > 0 && uid == (uid_t)strtoul(buf, NULL, 10);
}

/* Same user, or root; in a user namespace also whom it does not know: the run directory lets nobody pass but its owner and the host's root,
 * and the host's root is unknown there. */
static bool peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (SYS(getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == 0 || cred.uid == (uid_t)SYS(geteuid) || is_unknown_user(cred.uid);
}

static void client_accept(void)
{
	int fd = (int)SYS(accept4, ctl.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd == -EMFILE) {
		spares_close(); /* two: one to accept, one while it is moved */
		fd = (int)SYS(accept4, ctl.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	if (fd < 0)
		return;
	if (!peer_allowed(fd)) {
		sys_close(fd);
		return;
	}
	fd = adopt(fd);
	for (unsigned i = 0; fd >= 0 && i < CLIENTS; i++) {
		if (ctl.clients[i].fd >= 0)
			continue;
		ctl.clients[i] = (struct client){ .fd = fd, .deadline_us = now_us() + REQUEST_TIMEOUT_US };
		return;
	}
	if (fd >= 0)
		own_fd_close(fd);
}

/* Writes what is left of the answer; false: the peer is gone. */
static bool client_write(struct client *c)
{
	while (c->out_off < c->out_len) {
		long n = SYS(sendto, c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);

		if (n == -EAGAIN || n == -EINTR)
			return true;
		if (n <= 0)
			return false;
		c->out_off += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_off = 0;
	c->deadline_us = now_us() + IDLE_TIMEOUT_US;
	return true;
}

/* A whole request is in c->in. */
static bool client_answer(struct client *c)
{
	size_t len = 0;
	char *text = ctl_answer(ctl.conf, (const char *)c->in + CTL_HEAD, c->in_len - CTL_HEAD, &len);

	c->in_len = 0;
	free(c->in);
	c->in = NULL;
	if (!text)
		return false;
	c->out = malloc(CTL_HEAD + len);
	if (c->out) {
		ctl_put_length(c->out, (uint32_t)len);
		memcpy(c->out + CTL_HEAD, text, len);
		c->out_len = CTL_HEAD + len;
		c->out_off = 0;
	}
	free(text);
	return c->out && client_write(c);
}

/* Reads what there is; one request at a time. false: close. */
static bool client_read(struct client *c)
{
	size_t want = CTL_HEAD;

	for (;;) {
		long n;

		if (c->in_len >= CTL_HEAD) {
			uint32_t len = ctl_get_length(c->in);

			if (len == 0 || len > CTL_REQUEST_MAX)
				return false;
			want = CTL_HEAD + len;
			if (c->in_len == want)
				return client_answer(c);
		}
		if (!c->in)
			c->in = malloc(CTL_HEAD + CTL_REQUEST_MAX);
		if (!c->in)
			return false;
		n = SYS(recvfrom, c->fd, c->in + c->in_len, want - c->in_len, MSG_DONTWAIT, NULL, NULL);
		if (n == -EAGAIN || n == -EINTR)
			return true;
		if (n <= 0)
			return false;
		if (c->in_len == 0)
			c->deadline_us = now_us() + REQUEST_TIMEOUT_US;
		c->in_len += (size_t)n;
	}
}

static void *ctl_thread(void *arg)
{
	(void)arg;
	gz_depth++; /* never leaves: interposed calls of this thread go straight to libc */
	for (;;) {
		struct pollfd p[CLIENTS + 2];
		struct timespec tick = { 1, 0 };
		uint64_t now;
		bool any = false;

		p[0] = (struct pollfd){ .fd = ctl.stop_fd, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = ctl.listen_fd, .events = POLLIN };
		for (unsigned i = 0; i < CLIENTS; i++) {
			const struct client *c = &ctl.clients[i];

			p[2 + i] = (struct pollfd){ .fd = c->fd, .events = c->out ? POLLOUT : POLLIN };
			any |= c->fd >= 0;
		}
		/* nobody connected: sleeps without a tick */
		SYS(ppoll, p, CLIENTS + 2, any ? &tick : NULL, NULL, 0);
		if (p[0].revents)
			break;
		now = now_us();
		for (unsigned i = 0; i < CLIENTS; i++) {
			struct client *c = &ctl.clients[i];
			bool keep = true;

			if (c->fd < 0)
				continue;
			if (p[2 + i].revents)
				keep = c->out ? client_write(c) : client_read(c);
			if (!keep || now > c->deadline_us)
				client_close(c);
		}
		if (p[1].revents)
			client_accept();
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		if (ctl.clients[i].fd >= 0)
			client_close(&ctl.clients[i]);
	return NULL;
}

/* --- the socket --- */

/* Somebody answers at path: 1; nobody (no file, or a file that nobody listens on): 0. */
static bool socket_is_live(const struct sockaddr_un *un)
{
	int fd = (int)SYS(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	long r;

	if (fd < 0)
		return false;
	r = SYS(connect, fd, un, sizeof(*un));
	sys_close(fd);
	return r == 0 || r == -EAGAIN || r == -EINPROGRESS;
}

static int bind_at(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;
	long r;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (socket_is_live(&un))
		return -EADDRINUSE;
	SYS(unlinkat, AT_FDCWD, path, 0);
	fd = (int)SYS(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	/* 0600 from the first moment: the mode of a socket file is that of the socket's inode, which bind() creates from the umask */
	SYS(fchmod, fd, 0600);
	r = SYS(bind, fd, &un, sizeof(un));
	if (r >= 0)
		r = SYS(fchmodat, AT_FDCWD, path, 0600);
	if (r >= 0)
		r = SYS(listen, fd, CLIENTS);
	if (r < 0) {
		sys_close(fd);
		return (int)r;
	}
	return adopt(fd);
}

/* POSIX record locks, not flock(): a forked child must not go on holding the lock when its parent is gone. They are dropped when this process
 * closes any descriptor of the file, so nothing here opens ctl.lock_path a second time. */
static long lock_take(int fd)
{
	struct flock64 fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return SYS(fcntl, fd, F_SETLK, &fl);
}

/* Is fd (locked by us) still the file at path? Another process may have removed it between our open and our lock. */
static bool same_file(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* Removes what killed processes left: sockets that nobody listens on, lock files that nobody holds. Under the directory's lock, so that a
 * socket between bind and listen is not taken for dead. */
static void sweep(const char *dir, int dir_fd)
{
	char path[CTL_PATH_MAX + 256];
	int fd = (int)SYS(openat, dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!d && fd >= 0)
		sys_close(fd);
	for (unsigned looked = 0; d && looked < SWEEP_MAX && (e = readdir(d)); looked++) {
		size_t n = strlen(e->d_name);

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (ctl_is_socket_name(e->d_name) && strlen(path) < CTL_SOCK_MAX) {
			struct sockaddr_un un = { .sun_family = AF_UNIX };

			memcpy(un.sun_path, path, strlen(path) + 1);
			if (!socket_is_live(&un))
				SYS(unlinkat, AT_FDCWD, path, 0);
		} else if (n > 5 && !strcmp(e->d_name + n - 5, ".lock") && strcmp(path, ctl.lock_path)) {
			int lock = (int)SYS(openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

			if (lock < 0)
				continue;
			if (lock_take(lock) == 0 && same_file(lock, path))
				SYS(unlinkat, AT_FDCWD, path, 0);
			sys_close(lock);
		}
	}
	if (d)
		closedir(d);
}

/* Under the directory's lock: two processes that start together must not both find the name free. */
static int open_socket(const char *dir, const struct config *conf)
{
	int dir_fd = (int)SYS(openat, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;

	if (dir_fd < 0)
		return dir_fd;
	SYS(flock, dir_fd, LOCK_EX);
	sweep(dir, dir_fd);
	fd = ctl_socket_name(dir, conf->unix_prefix, 0, ctl.path, sizeof(ctl.path));
	if (!fd)
		fd = bind_at(ctl.path);
	if (fd == -EADDRINUSE) {
		char taken[CTL_SOCK_MAX];

		memcpy(taken, ctl.path, sizeof(taken));
		fd = ctl_socket_name(dir, conf->unix_prefix, sys_getpid(), ctl.path, sizeof(ctl.path));
		if (!fd)
			fd = bind_at(ctl.path);
		if (fd >= 0)
			log_info("control socket %s belongs to another process: this one's is %s", taken, ctl.path);
	}
	SYS(flock, dir_fd, LOCK_UN);
	sys_close(dir_fd);
	if (fd < 0)
		ctl.path[0] = '\0';
	return fd;
}

int ctl_start_in(const struct config *conf, const char *run_dir)
{
	sigset_t all, old;
	int err;

	ctl.conf = conf;
	ctl.pid = sys_getpid();
	for (unsigned i = 0; i < CLIENTS; i++)
		ctl.clients[i].fd = -1;
	ctl.stop_fd = adopt((int)SYS(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (ctl.stop_fd < 0)
		return ctl.stop_fd;
	spares_open();
	ctl.listen_fd = open_socket(run_dir, conf);
	if (ctl.listen_fd < 0) {
		err = ctl.listen_fd;
		goto no_socket;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&ctl.thread, NULL, ctl_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		goto no_thread;
	pthread_setname_np(ctl.thread, "gz-ctl");
	ctl.running = true;
	return 0;
no_thread:
	SYS(unlinkat, AT_FDCWD, ctl.path, 0);
	own_fd_close(ctl.listen_fd);
	ctl.listen_fd = -1;
no_socket:
	spares_close();
	own_fd_close(ctl.stop_fd);
	ctl.stop_fd = -1;
	return err;
}

int ctl_start(const struct config *conf)
{
	char dir[CTL_PATH_MAX];
	int err = ctl_run_dir_get(dir, sizeof(dir));

	if (err) {
		log_info("run directory %s: %s: set XDG_RUNTIME_DIR to a directory of yours", dir, strerror(-err));
		return err;
	}
	return ctl_start_in(conf, dir);
}

void ctl_stop(void)
{
	uint64_t one = 1;

	if (ctl.pid != sys_getpid())
		return;
	if (ctl.running) {
		ctl.running = false;
		(void)sys_write(ctl.stop_fd, &one, sizeof(one));
		pthread_join(ctl.thread, NULL);
		SYS(unlinkat, AT_FDCWD, ctl.path, 0);
		ctl.path[0] = '\0';
		spares_close();
		own_fd_close(ctl.listen_fd);
		own_fd_close(ctl.stop_fd);
		ctl.listen_fd = ctl.stop_fd = -1;
	}
	if (ctl.lock_fd >= 0) {
		SYS(unlinkat, AT_FDCWD, ctl.lock_path, 0); /* while it is held: see same_file() */
		own_fd_close(ctl.lock_fd);
		ctl.lock_path[0] = '\0';
	}
	ctl.lock_fd = -1;
}

const char *ctl_socket_path(void)
{
	return ctl.path;
}

/* --- one process per device and address --- */

int ctl_device_lock(const struct config *conf, int *owner_pid)
{
	char dir[CTL_PATH_MAX], path[CTL_PATH_MAX + 192], ip[INET_ADDRSTRLEN], device[64], pid[16];
	const struct timespec nap = { .tv_nsec = 2000000 };
	struct stat ns = { 0 };
	int fd, err = ctl_run_dir_get(dir, sizeof(dir));
	long n;

	*owner_pid = 0;
	if (err)
		return err;
	/* device names and addresses repeat in other network namespaces */
	(void)stat("/proc/self/ns/net", &ns);
	inet_ntop(AF_INET, &conf->host_addr_be, ip, sizeof(ip));
	snprintf(device, sizeof(device), "%s", conf->device_ifname[0] ? conf->device_ifname : conf->devices[0] ? conf->devices : "port");
	for (char *p = device; *p; p++)
		if (*p == '/' || *p == ' ')
			*p = '_';
	snprintf(path, sizeof(path), "%s/%s-%s-%llu.lock", dir, device, ip, (unsigned long long)ns.st_ino);
	for (unsigned attempt = 0;; attempt++) {
		fd = (int)SYS(openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return fd;
		/* before it is locked: moving it closes the old number, and that drops the lock */
		fd = adopt(fd);
		if (fd < 0)
			return fd;
		n = lock_take(fd);
		if (n == 0 && same_file(fd, path))
			break;
		/* removed by somebody's sweep between open and lock, or being looked at by it: once more */
		if (attempt == LOCK_ATTEMPTS || (n < 0 && n != -EAGAIN && n != -EACCES)) {
			long r = SYS(pread64, fd, pid, sizeof(pid) - 1, 0);

			pid[r > 0 ? r : 0] = '\0';
			*owner_pid = atoi(pid);
			own_fd_close(fd);
			return n == -EAGAIN || n == -EACCES || n == 0 ? -EBUSY : (int)n;
		}
		own_fd_close(fd);
		SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
	}
	n = snprintf(pid, sizeof(pid), "%d\n", sys_getpid());
	SYS(ftruncate, fd, 0);
	(void)sys_write(fd, pid, (size_t)n);
	ctl.lock_fd = fd;
	ctl.pid = sys_getpid();
	memcpy(ctl.lock_path, path, sizeof(path));
	return 0;
}

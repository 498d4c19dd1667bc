/* client.c - finding running instances and asking them over their control sockets. Waits at most TIMEOUT_S for an answer. */
#include "gazellectl.h"

#include "ctl/paths.h"
#include "ctl/proto.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_S 10
#define HELLO_TIMEOUT_S 1 /* a stopped process must not hold up the search for another */
#define INSTANCES 256

int failed(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("gazellectl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_FAILED;
}

/* --- messages --- */

static bool read_all(int fd, void *buf, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = recv(fd, (char *)buf + got, n - got, 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			if (r == 0)
				errno = ECONNRESET;
			return false;
		}
		got += (size_t)r;
	}
	return true;
}

static bool write_all(int fd, const void *buf, size_t n)
{
	for (size_t put = 0; put < n;) {
		ssize_t r = send(fd, (const char *)buf + put, n - put, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		put += (size_t)r;
	}
	return true;
}

/* The answer, or NULL with errno. */
static struct json_object *exchange(int fd, struct json_object *request)
{
	size_t n;
	const char *text = json_object_to_json_string_length(request, JSON_C_TO_STRING_PLAIN, &n);
	struct json_object *answer = NULL;
	uint8_t head[CTL_HEAD];
	struct json_tokener *tok;
	uint32_t len;
	char *buf;

	ctl_put_length(head, (uint32_t)n);
	if (!write_all(fd, head, sizeof(head)) || !write_all(fd, text, n) || !read_all(fd, head, sizeof(head)))
		return NULL;
	len = ctl_get_length(head);
	errno = EPROTO;
	if (len == 0 || len > CTL_REPLY_MAX)
		return NULL;
	buf = malloc(len);
	if (!buf || !read_all(fd, buf, len)) {
		free(buf);
		return NULL;
	}
	tok = json_tokener_new();
	if (tok) {
		answer = json_tokener_parse_ex(tok, buf, (int)len);
		if (json_tokener_get_error(tok) != json_tokener_success) {
			json_object_put(answer);
			answer = NULL;
			errno = EPROTO;
		}
		json_tokener_free(tok);
	}
	free(buf);
	return answer;
}

struct json_object *ask(struct instance *in, struct json_object *request)
{
	struct json_object *answer = exchange(in->fd, request), *ok;

	json_object_put(request);
	if (!answer) {
		failed("%s: no answer: %s: is the process stopped or gone?", in->path,
		       errno == EAGAIN ? "nothing came in 10 seconds" : strerror(errno));
		return NULL;
	}
	if (!json_object_object_get_ex(answer, "ok", &ok) || !json_object_get_boolean(ok)) {
		failed("%s", str_of(answer, "error"));
		json_object_put(answer);
		return NULL;
	}
	return answer;
}

struct json_object *ask_cmd(struct instance *in, const char *cmd)
{
	struct json_object *request = json_object_new_object();

	json_object_object_add(request, "cmd", json_object_new_string(cmd));
	return ask(in, request);
}

/* --- instances --- */

static void set_timeout(int fd, int seconds)
{
	const struct timeval tv = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int connect_to(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	set_timeout(fd, HELLO_TIMEOUT_S); /* of connect() as well: a full backlog */
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		if (errno == EAGAIN)
			failed("%s: its process does not answer", path);
		close(fd);
		return -1;
	}
	return fd;
}

static void add_instance(struct instance *all, unsigned *count, const char *path, const char *prefix)
{
	struct instance *in = &all[*count];
	struct json_object *request;

	if (*count == INSTANCES || strlen(path) >= sizeof(in->path) || strlen(path) >= CTL_SOCK_MAX)
		return;
	/* the same directory by two names, or /run and /var/run */
	for (unsigned i = 0; i < *count; i++) {
		struct stat a, b;

		if (!stat(all[i].path, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return;
	}
	in->fd = connect_to(path);
	if (in->fd < 0)
		return; /* nobody listens: a stale socket, removed at the next start */
	snprintf(in->path, sizeof(in->path), "%s", path);
	request = json_object_new_object();
	json_object_object_add(request, "cmd", json_object_new_string("hello"));
	in->hello = exchange(in->fd, request);
	json_object_put(request);
	if (!in->hello && errno == EAGAIN) {
		struct ucred cred = { 0 };
		socklen_t len = sizeof(cred);

		getsockopt(in->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
		failed("%s: process %d does not answer: is it stopped?", path, (int)cred.pid);
	}
	set_timeout(in->fd, TIMEOUT_S);
	if (!json_object_is_type(in->hello, json_type_object) || (prefix && strcmp(str_of(in->hello, "unix_prefix"), prefix))) {
		json_object_put(in->hello);
		close(in->fd);
		return;
	}
	(*count)++;
}

/* Is path the name of a control socket with this prefix, with or without a pid? The others are not even connected to. */
static bool has_prefix(const char *dir, const char *path, const char *prefix)
{
	char name[CTL_PATH_MAX];
	size_t n;

	if (ctl_socket_name(dir, prefix, 0, name, sizeof(name)))
		return false;
	n = strlen(name) - strlen(".sock");
	return !strncmp(path, name, n) && path[n] == '.';
}

static void scan_dir(struct instance *all, unsigned *count, const char *dir, const char *prefix)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[CTL_PATH_MAX + 256];

	while (d && (e = readdir(d))) {
		if (!ctl_is_socket_name(e->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (prefix && !has_prefix(dir, path, prefix))
			continue;
		add_instance(all, count, path, prefix);
	}
	if (d)
		closedir(d);
}

struct instance *instances_find(const char *prefix, unsigned *count)
{
	static const char *const others[] = { "/run/user/*/gazelle", "/tmp/gazelle-*" };
	struct instance *all = calloc(INSTANCES, sizeof(*all));
	char dir[CTL_PATH_MAX];

	*count = 0;
	if (!all)
		return NULL;
	for (unsigned i = 0; ctl_run_dir_nth(i, geteuid(), dir, sizeof(dir)); i++)
		scan_dir(all, count, dir, prefix);
	/* root sees everybody's, others what the permissions let them see: their own */
	for (unsigned i = 0; !getenv("GAZELLE_RUN_DIR") && i < ARRAY_SIZE(others); i++) {
		glob_t g;

		if (glob(others[i], GLOB_NOSORT, NULL, &g) == 0)
			for (size_t k = 0; k < g.gl_pathc; k++)
				scan_dir(all, count, g.gl_pathv[k], prefix);
		globfree(&g);
	}
	return all;
}

void instances_free(struct instance *all, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		json_object_put(all[i].hello);
		close(all[i].fd);
	}
	free(all);
}

static bool is_pid(const char *who)
{
	return who[0] && strspn(who, "0123456789") == strlen(who);
}

static void list_briefly(const struct instance *all, unsigned count, char *buf, size_t bytes)
{
	size_t used = 0;

	snprintf(buf, bytes, "none");
	for (unsigned i = 0; i < count && used < bytes; i++)
		used += (size_t)snprintf(buf + used, bytes - used, "%s%llu (%s, %s)", i ? ", " : "", (unsigned long long)u64_of(all[i].hello, "pid"),
					 str_of(all[i].hello, "comm"), str_of(all[i].hello, "addr"));
}

int instance_select(struct instance *all, unsigned count, const char *who)
{
	char running[512];
	int found = -1;

	list_briefly(all, count, running, sizeof(running));
	if (!who) {
		if (count == 1)
			return 0;
		if (count)
			failed("which instance: %u are running: name one by pid or address: %s", count, running);
		else
			failed("no instance is running");
		return -1;
	}
	for (unsigned i = 0; i < count; i++) {
		bool match = is_pid(who) ? strtoull(who, NULL, 10) == u64_of(all[i].hello, "pid") : !strcmp(who, str_of(all[i].hello, "addr"));

		if (!match)
			continue;
		if (found >= 0) {
			failed("%s: more than one instance has this address: name it by pid: %s", who, running);
			return -1;
		}
		found = (int)i;
	}
	if (found < 0)
		failed("%s: no running instance has this %s: running: %s", who, is_pid(who) ? "pid" : "address", running);
	return found;
}

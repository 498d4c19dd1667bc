/* test_ctl.c - the control socket: names, ownership, framing against peers of all kinds, and the views of a stack with connections. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "ctl/ctl.h"
#include "ctl/paths.h"
#include "ctl/proto.h"
#include "testenv.h"

static struct config conf;
static char dir[64];

static void start(void)
{
	assert_int_equal(ctl_start_in(&conf, dir), 0);
}

static int dial(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct timeval tv = { .tv_sec = 10 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static void put(int fd, const char *json)
{
	uint8_t head[CTL_HEAD];

	ctl_put_length(head, (uint32_t)strlen(json));
	assert_int_equal(send(fd, head, sizeof(head), MSG_NOSIGNAL), sizeof(head));
	assert_int_equal(send(fd, json, strlen(json), MSG_NOSIGNAL), strlen(json));
}

/* The next answer; NULL: the peer closed. */
static struct json_object *get(int fd)
{
	uint8_t head[CTL_HEAD];
	struct json_object *o;
	uint32_t len;
	char *buf;

	if (recv(fd, head, sizeof(head), MSG_WAITALL) != sizeof(head))
		return NULL;
	len = ctl_get_length(head);
	assert_true(len > 0 && len <= CTL_REPLY_MAX);
	buf = calloc(1, len + 1);
	assert_int_equal(recv(fd, buf, len, MSG_WAITALL), len);
	o = json_tokener_parse(buf);
	assert_non_null(o);
	free(buf);
	return o;
}

static struct json_object *ask(int fd, const char *json)
{
	put(fd, json);
	return get(fd);
}

static bool ok(struct json_object *o)
{
	return json_object_get_boolean(json_object_object_get(o, "ok"));
}

static const char *str(struct json_object *o, const char *key)
{
	return json_object_get_string(json_object_object_get(o, key));
}

static uint64_t num(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v))
		fail_msg("no member %s", key);
	return json_object_get_uint64(v);
}

static void hello_and_configuration_without_a_running_stack(void **state)
{
	struct json_object *o;
	struct stat st;
	int fd;

	start();
	assert_int_equal(stat(ctl_socket_path(), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	fd = dial(ctl_socket_path());
	assert_true(fd >= 0);
	o = ask(fd, "{\"cmd\":\"hello\"}");
	assert_true(ok(o));
	assert_int_equal(num(o, "pid"), getpid());
	assert_string_equal(str(o, "addr"), "10.0.0.1");
	assert_int_equal(num(o, "addr_len"), 24);
	json_object_put(o);
	o = ask(fd, "{\"cmd\":\"config\"}");
	assert_true(ok(o));
	assert_true(json_object_array_length(json_object_object_get(o, "keys")) > 30);
	json_object_put(o);
	/* several requests on one connection, a view that needs the stack */
	o = ask(fd, "{\"cmd\":\"stats\"}");
	assert_false(ok(o));
	assert_non_null(strstr(str(o, "error"), "not started"));
	json_object_put(o);
	close(fd);
	ctl_stop();
	assert_int_equal(access(dir, F_OK), 0);
	assert_int_not_equal(dial("") >= 0, 1);
}

static void what_is_not_a_request_is_answered_or_closed(void **state)
{
	static const char *const bad[] = { "x", "[]", "{}", "\"cmd\"", "{\"cmd\":5}", "{\"cmd\":\"nonsense\"}", "{\"cmd\":\"hello\"", "null",
					   "{\"cmd\":\"set\"}", "{\"cmd\":\"set\",\"lowpower\":7}", "{\"cmd\":\"set\",\"loglevel\":\"loud\"}",
					   "{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{}}}}}}}}}}" };
	uint8_t head[CTL_HEAD];
	struct json_object *o;
	int fd;

	start();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		fd = dial(ctl_socket_path());
		o = ask(fd, bad[i]);
		if (!o || ok(o))
			fail_msg("%s", bad[i]);
		assert_true(strlen(str(o, "error")) > 5);
		json_object_put(o);
		close(fd);
	}
	/* lengths that nothing may have */
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t lengths[] = { 0, CTL_REQUEST_MAX + 1, UINT32_MAX };

		fd = dial(ctl_socket_path());
		ctl_put_length(head, lengths[i]);
		assert_int_equal(send(fd, head, sizeof(head), MSG_NOSIGNAL), sizeof(head));
		assert_null(get(fd));
		close(fd);
	}
	/* byte by byte */
	fd = dial(ctl_socket_path());
	{
		static const char text[] = "{\"cmd\":\"hello\"}";

		ctl_put_length(head, sizeof(text) - 1);
		for (unsigned i = 0; i < sizeof(head); i++)
			assert_int_equal(send(fd, head + i, 1, MSG_NOSIGNAL), 1);
		for (unsigned i = 0; i < sizeof(text) - 1; i++) {
			assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
			usleep(100);
		}
	}
	o = get(fd);
	assert_true(ok(o));
	json_object_put(o);
	close(fd);
	/* a NUL inside */
	fd = dial(ctl_socket_path());
	ctl_put_length(head, 4);
	send(fd, head, sizeof(head), MSG_NOSIGNAL);
	send(fd, "{}\0{", 4, MSG_NOSIGNAL);
	o = get(fd);
	assert_true(o && !ok(o));
	json_object_put(o);
	close(fd);
	/* gone in the middle of a request, and without reading the answer */
	for (unsigned i = 0; i < 50; i++) {
		fd = dial(ctl_socket_path());
		if (fd < 0)
			continue;
		ctl_put_length(head, 1000);
		send(fd, head, i % 5, MSG_NOSIGNAL);
		close(fd);
		fd = dial(ctl_socket_path());
		if (fd < 0)
			continue;
		put(fd, "{\"cmd\":\"config\"}");
		close(fd);
	}
	fd = dial(ctl_socket_path());
	o = ask(fd, "{\"cmd\":\"hello\"}");
	assert_true(o && ok(o));
	json_object_put(o);
	close(fd);
	ctl_stop();
}

static void silent_peers_do_not_lock_others_out_for_long(void **state)
{
	int silent[40], fd;
	struct json_object *o = NULL;

	start();
	for (unsigned i = 0; i < ARRAY_SIZE(silent); i++)
		silent[i] = dial(ctl_socket_path());
	/* the silent ones are closed after five seconds */
	for (unsigned i = 0; i < 100 && !o; i++) {
		fd = dial(ctl_socket_path());
		if (fd >= 0) {
			uint8_t head[CTL_HEAD] = { 0, 0, 0, 15 };

			if (send(fd, head, 4, MSG_NOSIGNAL) == 4 && send(fd, "{\"cmd\":\"hello\"}", 15, MSG_NOSIGNAL) == 15)
				o = get(fd);
			close(fd);
		}
		if (!o)
			usleep(100000);
	}
	assert_non_null(o);
	json_object_put(o);
	for (unsigned i = 0; i < ARRAY_SIZE(silent); i++)
		if (silent[i] >= 0)
			close(silent[i]);
	ctl_stop();
}

/* Runs a process that starts a control socket like ours, and says its path. */
static pid_t other_process(int *stop, char *path, size_t bytes)
{
	int to_child[2], from_child[2];
	pid_t pid;
	ssize_t n;

	assert_int_equal(pipe(to_child) | pipe(from_child), 0);
	pid = fork();
	if (pid == 0) {
		char c;

		alarm(20);
		close(to_child[1]);
		if (ctl_start_in(&conf, dir) == 0)
			n = write(from_child[1], ctl_socket_path(), strlen(ctl_socket_path()));
		else
			n = write(from_child[1], "failed", 6);
		if (read(to_child[0], &c, 1) >= 0 && n > 0)
			ctl_stop();
		_exit(0);
	}
	close(to_child[0]);
	close(from_child[1]);
	n = read(from_child[0], path, bytes - 1);
	close(from_child[0]);
	path[n > 0 ? n : 0] = '\0';
	*stop = to_child[1];
	return pid;
}

static void a_live_owner_is_never_displaced_and_a_dead_one_is(void **state)
{
	char first[128], second[128], want[256];
	int stop1, stop2, fd, status;
	pid_t one = other_process(&stop1, first, sizeof(first)), two = other_process(&stop2, second, sizeof(second));

	assert_int_equal(ctl_socket_name(dir, "", 0, want, sizeof(want)), 0);
	assert_string_equal(first, want);
	assert_int_equal(ctl_socket_name(dir, "", two, want, sizeof(want)), 0);
	assert_string_equal(second, want);
	fd = dial(first);
	assert_true(fd >= 0);
	close(fd);
	/* killed: its socket stays behind and is taken over */
	kill(one, SIGKILL);
	waitpid(one, &status, 0);
	close(stop1);
	assert_int_equal(access(first, F_OK), 0);
	assert_int_equal(dial(first), -1);
	start();
	assert_string_equal(ctl_socket_path(), first);
	fd = dial(second);
	assert_true(fd >= 0); /* the other one was left alone */
	close(fd);
	close(stop2);
	waitpid(two, &status, 0);
	ctl_stop();
	assert_int_equal(access(first, F_OK), -1);
	assert_int_equal(access(second, F_OK), -1);
}

static void one_process_per_device_and_address(void **state)
{
	int pid = -1, status, fds[2];
	char c;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		int owner;

		alarm(20);
		c = ctl_device_lock(&conf, &owner) == 0 ? 'y' : 'n';
		if (write(fds[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(fds[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(ctl_device_lock(&conf, &pid), -EBUSY);
	assert_int_equal(pid, child);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	assert_int_equal(ctl_device_lock(&conf, &pid), 0);
	/* a child of ours does not keep it */
	child = fork();
	if (child == 0) {
		alarm(20);
		pause();
		_exit(0);
	}
	ctl_stop();
	assert_int_equal(ctl_device_lock(&conf, &pid), 0);
	ctl_stop();
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(fds[0]);
	close(fds[1]);
}

static void run_directories_of_others_are_not_used(void **state)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/made", dir);
	assert_int_equal(ctl_run_dir_prepare(path), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	chmod(path, 0777);
	assert_int_equal(ctl_run_dir_prepare(path), 0);
	stat(path, &st);
	assert_int_equal(st.st_mode & 0777, 0700);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 12345), 0);
		assert_int_equal(ctl_run_dir_prepare(path), -EPERM);
	}
	rmdir(path);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_equal(ctl_run_dir_prepare(path), -ENOTDIR);
	unlink(path);
}

static void names_fit_a_socket_address(void **state)
{
	char prefix[129], a[256], b[256], c[256];

	memset(prefix, 'p', 128);
	prefix[128] = '\0';
	assert_int_equal(ctl_socket_name("/var/run/gazelle", prefix, 0, a, sizeof(a)), 0);
	assert_true(strlen(a) < CTL_SOCK_MAX);
	assert_int_equal(ctl_socket_name("/var/run/gazelle", prefix, 4194304, b, sizeof(b)), 0);
	assert_true(strlen(b) < CTL_SOCK_MAX);
	prefix[127] = 'q';
	assert_int_equal(ctl_socket_name("/var/run/gazelle", prefix, 0, c, sizeof(c)), 0);
	assert_string_not_equal(a, c);
	assert_int_equal(ctl_socket_name("/var/run/gazelle", "x_", 0, a, sizeof(a)), 0);
	assert_string_equal(a, "/var/run/gazelle/x_lstack_cmd.sock");
	assert_int_equal(ctl_socket_name("/var/run/gazelle", "", 77, a, sizeof(a)), 0);
	assert_string_equal(a, "/var/run/gazelle/lstack_cmd.77.sock");
	memset(prefix, 'd', 120);
	assert_int_equal(ctl_socket_name(prefix, "", 0, a, sizeof(a)), -ENAMETOOLONG);
	assert_true(ctl_is_socket_name("lstack_cmd.sock"));
	assert_true(ctl_is_socket_name("alstack_cmdlstack_cmd.12.sock"));
	assert_false(ctl_is_socket_name("lstack_cmd.sock.x"));
	assert_false(ctl_is_socket_name("lstack_cmd.x.sock"));
	assert_false(ctl_is_socket_name("lstack_cmd..sock"));
	assert_false(ctl_is_socket_name("run.12.conf"));
}

/* --- with a stack --- */

static struct json_object *answer(const char *request)
{
	struct json_object *o;
	size_t len;
	char *text = ctl_answer(&conf, request, strlen(request), &len);

	assert_non_null(text);
	o = json_tokener_parse(text);
	assert_non_null(o);
	if (!ok(o))
		fail_msg("%s: %s", request, str(o, "error"));
	free(text);
	return o;
}

static struct json_object *first_stack(struct json_object *o)
{
	return json_object_array_get_idx(json_object_object_get(o, "stacks"), 0);
}

static void views_of_a_stack_with_connections(void **state)
{
	struct sock *l, *c[20];
	struct json_object *o, *rows, *e;
	unsigned established = 0, listening = 0;

	testenv_open(&(struct testenv_conf){ .nb_hosts = 2, .wired = true, .seed = 1 });
	atomic_store(&gz->running, 1);
	l = testenv_listener(1, 80, 64);
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		c[i] = testenv_connect(0, 1, 80);
	testenv_run_for(200000);

	o = answer("{\"cmd\":\"stats\"}");
	e = first_stack(o);
	assert_true(num(e, "rx_pkts") >= 20);
	assert_true(num(e, "tx_pkts") >= 20);
	assert_int_equal(num(e, "conn_num"), ARRAY_SIZE(c));
	assert_true(num(e, "mbuf_pool_freecnt") > 0);
	json_object_put(o);

	o = answer("{\"cmd\":\"snmp\"}");
	e = json_object_object_get(first_stack(o), "mib");
	assert_int_equal(num(e, "tcp_act_open"), ARRAY_SIZE(c));
	assert_true(num(e, "tcp_in_seg") >= ARRAY_SIZE(c));
	json_object_put(o);

	o = answer("{\"cmd\":\"conns\"}");
	rows = json_object_object_get(o, "conns");
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		e = json_object_array_get_idx(rows, i);
		if (!strcmp(str(e, "state"), "ESTABLISHED")) {
			established++;
			assert_int_equal(num(e, "rport"), 80);
			assert_string_equal(str(e, "laddr"), "10.0.0.1");
			assert_true(num(e, "cwnd") > 0);
			assert_true(num(e, "rcv_wnd") > 0);
		}
		listening += !strcmp(str(e, "state"), "LISTEN");
	}
	/* the second host's stack is not counted by gz->nb_stacks */
	assert_int_equal(established, ARRAY_SIZE(c));
	assert_null(json_object_object_get(o, "next"));
	json_object_put(o);

	o = answer("{\"cmd\":\"features\"}");
	assert_non_null(json_object_object_get(o, "features"));
	json_object_put(o);
	o = answer("{\"cmd\":\"xstats\"}");
	json_object_put(o);
	o = answer("{\"cmd\":\"set\",\"lowpower\":1}");
	json_object_put(o);
	o = answer("{\"cmd\":\"stats\"}");
	assert_int_equal(num(json_object_object_get(o, "low_power"), "on"), 1);
	json_object_put(o);
	o = answer("{\"cmd\":\"set\",\"lowpower\":0,\"loglevel\":\"error\"}");
	json_object_put(o);
	o = answer("{\"cmd\":\"stats\"}");
	assert_string_equal(str(o, "loglevel"), "error");
	json_object_put(o);

	for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
		testenv_close_sock(c[i]);
	testenv_close_sock(l);
	testenv_run_for(200000);
	atomic_store(&gz->running, 0);
	testenv_close();
	(void)listening;
}

static void a_large_table_is_read_in_bounded_steps(void **state)
{
	static struct sock *s[3500];
	struct json_object *o;
	uint64_t cursor = 0;
	unsigned steps = 0, rows = 0;
	bool more = true;

	testenv_open(&(struct testenv_conf){ .nb_hosts = 1, .conn_hint = 5000 });
	atomic_store(&gz->running, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = testenv_listener(0, (uint16_t)(2000 + i), 1);
	while (more) {
		struct json_object *next;
		char request[128];

		snprintf(request, sizeof(request), "{\"cmd\":\"conns\",\"stack\":0,\"cursor\":%llu}", (unsigned long long)cursor);
		o = answer(request);
		assert_true(json_object_array_length(json_object_object_get(o, "conns")) <= 1000);
		rows += (unsigned)json_object_array_length(json_object_object_get(o, "conns"));
		more = json_object_object_get_ex(o, "next", &next);
		assert_true(!more || json_object_get_uint64(next) > cursor);
		cursor = more ? json_object_get_uint64(next) : 0;
		json_object_put(o);
		steps++;
	}
	assert_int_equal(rows, ARRAY_SIZE(s));
	assert_true(steps >= 4);
	/* cursors from elsewhere lead nowhere */
	for (unsigned i = 0; i < 4; i++) {
		static const char *const odd[] = { "-1", "9223372036854775807", "4294967295", "12884901888" };
		char request[128];

		snprintf(request, sizeof(request), "{\"cmd\":\"conns\",\"cursor\":%s}", odd[i]);
		o = answer(request);
		json_object_put(o);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		testenv_close_sock(s[i]);
	testenv_run_for(1000);
	atomic_store(&gz->running, 0);
	testenv_close();
}

static int set_up(void **state)
{
	struct conf_report rep;

	snprintf(dir, sizeof(dir), "/tmp/gz-ctl-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	setenv("GAZELLE_RUN_DIR", dir, 1);
	setenv("GAZELLE_LOG", "error", 1);
	conf_report_init(&rep);
	if (conf_init(&conf) || conf_load_text(&conf, "test.conf", "host_addr=\"10.0.0.1\"\nmask_addr=\"255.255.255.0\"\n", &rep))
		return -1;
	conf_report_free(&rep);
	return 0;
}

static int tear_down(void **state)
{
	conf_fini(&conf);
	return rmdir(dir); /* fails if anything was left in it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_and_configuration_without_a_running_stack),
		cmocka_unit_test(what_is_not_a_request_is_answered_or_closed),
		cmocka_unit_test(silent_peers_do_not_lock_others_out_for_long),
		cmocka_unit_test(a_live_owner_is_never_displaced_and_a_dead_one_is),
		cmocka_unit_test(one_process_per_device_and_address),
		cmocka_unit_test(run_directories_of_others_are_not_used),
		cmocka_unit_test(names_fit_a_socket_address),
		cmocka_unit_test(views_of_a_stack_with_connections),
		cmocka_unit_test(a_large_table_is_read_in_bounded_steps),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

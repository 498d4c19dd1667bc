/* fuzz_ctl.c - any bytes on the control socket of a process whose stack has connections in many
 * states. An input that begins with \1 is what a client writes, headers and all; any other is one
 * request. Properties: every whole request gets an answer, every answer is JSON with "ok", a
 * refusal says why, nothing is read beyond the request.
 */
#include "fuzz_common.h"

/* the functions that read from clients are static */
#include "../../../src/ctl/server.c"

#include "stack/proc.h"

#include <sanitizer/lsan_interface.h>

static struct config config;

/* A listener, connections, one half open, one quarantined, datagram sockets. */
static void make_stack(void)
{
	struct conf_report rep;
	struct seg syn = { .kind = SEG_TCP,
			   .saddr = htonl(0x0a00004d),
			   .daddr = testenv_ip(0),
			   .sport = 5,
			   .dport = 81,
			   .flags = TH_SYN };
	struct sock *l, *u, *a, *b;
	struct fd_chunk *numbers;
	struct proc_rec *home;

	conf_report_init(&rep);
	log_set_level(LOG_LEVEL_ERROR);
	if (conf_init(&config) ||
	    conf_load_text(&config, "fuzz.conf",
			   "host_addr=\"10.0.0.1\"\nmask_addr=\"255.255.255.0\"\n", &rep))
		abort();
	conf_report_free(&rep);
	testenv_open(&(struct testenv_conf){
		.nb_hosts = 2, .wired = true, .seed = 1, .conn_hint = 64, .mbufs = 4096 });
	l = testenv_listener(1, 80, 4);
	for (unsigned i = 0; i < 3; i++)
		testenv_connect(0, 1, 80);
	testenv_run_for(200000);
	if (sock_accept(l, &a, true, -1, tenv.self))
		abort();
	sock_unref(a, tenv.self);
	testenv_run_for(200000);
	testenv_connect_addr(testenv_socket(0, SOCK_STREAM), htonl(0x0a0000c8), 9);
	u = testenv_socket(0, SOCK_DGRAM);
	testenv_bind_addr(u, testenv_ip(0), 53);
	u = testenv_socket(0, SOCK_DGRAM);
	testenv_connect_addr(u, testenv_ip(1), 53);
	/* one that closes first, so that its record stays */
	l = testenv_listener(0, 81, 4);
	a = testenv_connect(1, 0, 81);
	testenv_run_for(100000);
	if (sock_accept(l, &b, true, -1, tenv.self))
		abort();
	sock_unref(a, tenv.self);
	testenv_run_for(100000);
	sock_unref(b, tenv.self);
	testenv_run_for(100000);
	memcpy(syn.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(syn.smac, (uint8_t[6]){ 2, 9, 9, 9, 9, 9 }, 6);
	memdev_push(&tenv.host[0].dev, seg_build(&syn));
	testenv_settle();
	/* the numbers by which the program knows them */
	home = slab_alloc(&gz->procs);
	numbers = slab_alloc(&gz->fdchunks);
	if (!home || !numbers || !slab_in_use(&gz->tw_recs) || !slab_in_use(&gz->syn_recs))
		abort();
	atomic_store(&home->pid, gz->home_pid);
	atomic_store(&home->chunk[0], slab_index(&gz->fdchunks, numbers) + 1);
	atomic_store(&numbers->e[7].desc, (uintptr_t)l | 1);
	gz->nb_stacks = 2;
	atomic_store(&gz->running, 1);
}

static uint64_t number_in(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int))
		abort();
	return json_object_get_uint64(v);
}

/* Rows of the table of connections are whole, and what TCP_INFO tells agrees with them. */
static void check_rows(struct json_object *rows)
{
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i), *info, *cc;

		if (number_in(row, "stack") >= 2 || number_in(row, "lport") > 65535)
			abort();
		if (!json_object_object_get_ex(row, "info", &info))
			continue;
		if (!json_object_object_get_ex(row, "congestion", &cc) ||
		    !json_object_get_string_len(cc) || number_in(info, "tcpi_state") < 1 ||
		    number_in(info, "tcpi_state") > 11 || number_in(info, "tcpi_ca_state") > 4 ||
		    number_in(info, "tcpi_bytes_sent") != number_in(row, "bytes_sent") ||
		    number_in(info, "tcpi_total_retrans") != number_in(row, "retrans"))
			abort();
	}
}

static void check_answer(const char *text, size_t len)
{
	struct json_object *o, *ok, *error, *rows;
	struct json_tokener *tok = json_tokener_new();

	o = json_tokener_parse_ex(tok, text, (int)len);
	if (json_tokener_get_error(tok) != json_tokener_success ||
	    !json_object_object_get_ex(o, "ok", &ok))
		abort();
	if (!json_object_get_boolean(ok) &&
	    (!json_object_object_get_ex(o, "error", &error) || !json_object_get_string_len(error)))
		abort();
	if (json_object_object_get_ex(o, "conns", &rows))
		check_rows(rows);
	json_object_put(o);
	json_tokener_free(tok);
}

/* Reads what the server wrote; answers may come in pieces. */
static void drain(int fd, unsigned *answers)
{
	static uint8_t buf[CTL_REPLY_MAX / 16];
	static size_t have;
	ssize_t n;

	if (!answers) {
		have = 0;
		return;
	}
	while ((n = recv(fd, buf + have, sizeof(buf) - have, MSG_DONTWAIT)) > 0) {
		have += (size_t)n;
		while (have >= CTL_HEAD && have - CTL_HEAD >= ctl_get_length(buf)) {
			size_t len = ctl_get_length(buf);

			check_answer((char *)buf + CTL_HEAD, len);
			++*answers;
			have -= CTL_HEAD + len;
			memmove(buf, buf + CTL_HEAD + len, have);
		}
	}
}

static void conversation(const uint8_t *data, size_t size)
{
	struct client *c = &ctl.clients[0];
	unsigned answers = 0, whole = 0;
	size_t at = 0;
	bool open = true;
	int fd[2];

	/* requests in it, by hand */
	while (size - at > CTL_HEAD) {
		uint32_t len = ctl_get_length(data + at);

		if (len == 0 || len > CTL_REQUEST_MAX || len > size - at - CTL_HEAD)
			break;
		whole++;
		at += CTL_HEAD + len;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		abort();
	*c = (struct client){ .fd = own_fd_adopt(fd[0]) };
	ctl.conf = &config;
	drain(fd[1], NULL);
	for (at = 0; open && at < size;) {
		size_t n = MIN(size - at, at % 3 ? (size_t)1000 : 3);

		if (send(fd[1], data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			abort();
		at += n;
		/* as the thread does, until nothing moves */
		for (unsigned i = 0; open && i < 100; i++) {
			open = c->out ? client_write(c) : client_read(c);
			drain(fd[1], &answers);
		}
	}
	if (answers != whole)
		abort();
	client_close(c);
	spares_close();
	close(fd[1]);
}

static void request(const uint8_t *data, size_t size)
{
	/* of the exact size: reading past the end shows */
	char *copy = malloc(size ? size : 1), *text;
	size_t len = 0;

	memcpy(copy, data, size);
	text = ctl_answer(&config, copy, size, &len);
	if (!text || !len)
		abort();
	check_answer(text, len);
	free(text);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!config.path) {
		/* once; much of it hangs in the shared region, where the leak checker does not look
		 */
		__lsan_disable();
		make_stack();
		__lsan_enable();
	}
	if (size > 65536)
		return 0;
	if (size && data[0] == 1)
		conversation(data + 1, size - 1);
	else
		request(data, size);
	return 0;
}

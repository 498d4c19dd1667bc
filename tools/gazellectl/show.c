/* show.c - the views in the shapes that scripts know: field names, their order and widths are an interface (also the misspelt ones). */
#include "gazellectl.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

/* --- JSON --- */

struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	if (json_object_is_type(o, json_type_object))
		json_object_object_get_ex(o, key, &v);
	return v;
}

const char *str_of(struct json_object *o, const char *key)
{
	struct json_object *v = member(o, key);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

struct json_object *array_of(struct json_object *o, const char *key)
{
	static struct json_object *none;
	struct json_object *v = member(o, key);

	if (json_object_is_type(v, json_type_array))
		return v;
	if (!none)
		none = json_object_new_array();
	return none;
}

struct json_object *object_of(struct json_object *o, const char *key)
{
	static struct json_object *none;
	struct json_object *v = member(o, key);

	if (json_object_is_type(v, json_type_object))
		return v;
	if (!none)
		none = json_object_new_object();
	return none;
}

uint64_t u64_of(struct json_object *o, const char *key)
{
	return json_object_get_uint64(member(o, key));
}

int64_t i64_of(struct json_object *o, const char *key)
{
	return json_object_get_int64(member(o, key));
}

int print_json(struct json_object *o)
{
	json_object_object_del(o, "ok");
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return EXIT_OK;
}

#define for_each_stack(i, st, answer)                                                                                     \
	for (size_t i = 0; i < json_object_array_length(array_of(answer, "stacks")) &&                                      \
			   ((st) = json_object_array_get_idx(array_of(answer, "stacks"), i), true); i++)

/* Asks and, with --json, prints. *done: nothing is left to do, return the result. */
static struct json_object *view(struct instance *in, const struct options *o, const char *cmd, int *rc)
{
	struct json_object *answer = ask_cmd(in, cmd);

	*rc = EXIT_FAILED;
	if (answer && o->json) {
		*rc = print_json(answer);
		answer = NULL;
	}
	return answer;
}

/* --- (no option) --- */

static const struct field {
	const char *key;
	int width;
	const char *after;
} stats_fields[] = {
	{ "rx_pkts", 20, " " },		  { "rx_drop", 20, " " },	  { "rx_allocmbuf_fail", 10, "\n" },
	{ "tx_pkts", 20, " " },		  { "tx_drop", 20, " " },	  { "tx_allocmbuf_fail", 10, "\n" },
	{ "mbuf_pool_freecnt", 10, " " }, { "conn_num", 19, " " },	  { "wakeup_events", 14, " \n" },
	{ "rpc_pool_cnt", 15, " " },	  { "call_alloc_fail", 12, " " }, { "call_msg", 19, " \n" },
	{ "kernel_events", 14, " " },	  { "app_events", 17, " \n" },	  { "app_read", 19, " " },
	{ "app_write", 18, " " },	  { "read_null", 18, " \n" },	  { "sock_rx_drop", 15, " " },
	{ "sock_tx_merge", 14, " " },	  { "accpet_fail", 16, " \n" },
};

int show_stats(struct instance *in, const struct options *o)
{
	int rc;
	struct json_object *a = view(in, o, "stats", &rc), *low, *st;

	if (!a)
		return rc;
	low = member(a, "low_power");
	if (u64_of(low, "on"))
		printf("low_power_mode: ON, rx_pkts: %" PRIu64 ", detect_ms: %" PRIu64 "ms, pkts_in_detect: %" PRIu64 "\n", u64_of(low, "rx_pkts"),
		       u64_of(low, "detect_ms"), u64_of(low, "pkts_in_detect"));
	else
		printf("low_power_mode: OFF\n");
	printf("loglevel: %s\n", str_of(a, "loglevel"));
	for_each_stack (i, st, a) {
		printf("\n------ stack tid: %6" PRIu64 " ------\n", u64_of(st, "tid"));
		for (unsigned f = 0; f < ARRAY_SIZE(stats_fields); f++)
			printf("%s: %-*" PRIu64 "%s", stats_fields[f].key, stats_fields[f].width, u64_of(st, stats_fields[f].key), stats_fields[f].after);
	}
	json_object_put(a);
	return EXIT_OK;
}

/* --- -r --- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

const char *rate_text(double bytes_per_second, char *buf, size_t bytes)
{
	static const char *const units[] = { "b/s", "Kb/s", "Mb/s" };
	double v = bytes_per_second * 8;
	unsigned u = 0;

	while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	snprintf(buf, bytes, "%7.2f%s", v, units[u]);
	return buf;
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A counter's increase per second; a counter that went back (the process was replaced) counts as none. */
static double per_second(struct json_object *now, struct json_object *before, const char *key, double dt)
{
	uint64_t a = u64_of(now, key), b = u64_of(before, key);

	return a > b ? (double)(a - b) / dt : 0;
}

static void rate_line(struct json_object *now, struct json_object *before, double dt, const char *dir)
{
	char key[16], rate[32];

	snprintf(key, sizeof(key), "%s_pkts", dir);
	printf("%s: %-15" PRIu64 " ", key, (uint64_t)(per_second(now, before, key, dt) + 0.5));
	snprintf(key, sizeof(key), "%s_bytes", dir);
	printf("%s: %s  ", key, rate_text(per_second(now, before, key, dt), rate, sizeof(rate)));
	snprintf(key, sizeof(key), "%s_drop", dir);
	printf("%s: %-15" PRIu64 "\n", key, (uint64_t)(per_second(now, before, key, dt) + 0.5));
}

static void rate_json(struct json_object *now, struct json_object *before, double dt)
{
	static const char *const keys[] = { "rx_pkts", "rx_bytes", "rx_drop", "tx_pkts", "tx_bytes", "tx_drop" };
	struct json_object *o = json_object_new_object(), *a = json_object_new_array(), *st;

	json_object_object_add(o, "seconds", json_object_new_double(dt));
	json_object_object_add(o, "stacks", a);
	for_each_stack (i, st, now) {
		struct json_object *old = json_object_array_get_idx(array_of(before, "stacks"), i), *e = json_object_new_object();

		json_object_object_add(e, "tid", json_object_new_uint64(u64_of(st, "tid")));
		for (unsigned k = 0; k < ARRAY_SIZE(keys); k++)
			json_object_object_add(e, keys[k], json_object_new_double(per_second(st, old, keys[k], dt)));
		json_object_array_add(a, e);
	}
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
}

int show_rate(struct instance *in, const struct options *o)
{
	struct json_object *before = ask_cmd(in, "stats"), *now, *st;
	struct sigaction sa = { .sa_handler = on_interrupt };
	double t0 = seconds_now();

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	for (unsigned round = 0; before && !interrupted && (!o->rounds || round < o->rounds); round++) {
		const struct timespec second = { .tv_sec = 1 };
		double t1;

		if (nanosleep(&second, NULL) < 0)
			break;
		now = ask_cmd(in, "stats");
		if (!now) {
			json_object_put(before);
			return EXIT_FAILED;
		}
		t1 = seconds_now();
		if (o->json)
			rate_json(now, before, t1 - t0);
		else
			for_each_stack (i, st, now) {
				struct json_object *old = json_object_array_get_idx(array_of(before, "stacks"), i);

				printf("------ Statistics of lstack rate   stack tid: %6" PRIu64 " ------\n", u64_of(st, "tid"));
				rate_line(st, old, t1 - t0, "rx");
				rate_line(st, old, t1 - t0, "tx");
			}
		fflush(stdout);
		json_object_put(before);
		before = now;
		t0 = t1;
	}
	if (!before)
		return EXIT_FAILED;
	json_object_put(before);
	return EXIT_OK;
}

/* --- -s --- */

int show_snmp(struct instance *in, const struct options *o)
{
	int rc;
	struct json_object *a = view(in, o, "snmp", &rc), *st;

	if (!a)
		return rc;
	printf("Statistics of lstack snmp:\n");
	for_each_stack (i, st, a) {
		struct json_object *mib = object_of(st, "mib");

		printf("\n------ stack tid: %6" PRIu64 " ------\n", u64_of(st, "tid"));
		json_object_object_foreach (mib, key, value)
			printf("%s: %" PRIu64 "\n", key, json_object_get_uint64(value));
	}
	json_object_put(a);
	return EXIT_OK;
}

int show_drops(struct instance *in, const struct options *o)
{
	int rc;
	struct json_object *a = view(in, o, "snmp", &rc), *st;

	if (!a)
		return rc;
	printf("Packets dropped by the stack, by reason:\n");
	for_each_stack (i, st, a) {
		struct json_object *drops = object_of(st, "drops");
		unsigned any = 0;

		printf("\n------ stack tid: %6" PRIu64 " ------\n", u64_of(st, "tid"));
		json_object_object_foreach (drops, key, value) {
			if (!json_object_get_uint64(value))
				continue;
			printf("%s: %" PRIu64 "\n", key, json_object_get_uint64(value));
			any++;
		}
		if (!any)
			printf("none\n");
	}
	json_object_put(a);
	return EXIT_OK;
}

/* --- -x, -k --- */

static const char hashes[] = "####################################################"; /* 52 */

int show_xstats(struct instance *in, const struct options *o)
{
	int rc;
	struct json_object *a = view(in, o, "xstats", &rc), *x;

	if (!a)
		return rc;
	x = array_of(a, "xstats");
	printf("###### NIC extended statistics for port %-2" PRIu64 " #########\n", u64_of(a, "port"));
	for (size_t i = 0; i < json_object_array_length(x); i++) {
		struct json_object *e = json_object_array_get_idx(x, i);

		printf("%s: %" PRIu64 "\n", str_of(e, "name"), u64_of(e, "value"));
	}
	printf("%s\n", hashes);
	json_object_put(a);
	return EXIT_OK;
}

int show_features(struct instance *in, const struct options *o)
{
	int rc;
	struct json_object *a = view(in, o, "features", &rc), *f;

	if (!a)
		return rc;
	f = object_of(a, "features");
	printf("###### NIC offload and other features for port %-2" PRIu64 " #########\n", u64_of(a, "port"));
	json_object_object_foreach (f, key, value)
		printf("%s: %s\n", key, json_object_get_boolean(value) ? "on" : "off");
	json_object_put(a);
	return EXIT_OK;
}

/* --- ours --- */

int show_neigh(struct instance *in, const struct options *o)
{
	static const char *const states[] = { "FREE", "INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED" };
	int rc;
	struct json_object *a = view(in, o, "neigh", &rc), *st;

	if (!a)
		return rc;
	for_each_stack (i, st, a) {
		struct json_object *n = array_of(st, "neighbours");

		printf("------ stack tid: %6" PRIu64 " ------\n", u64_of(st, "tid"));
		for (size_t k = 0; k < json_object_array_length(n); k++) {
			struct json_object *e = json_object_array_get_idx(n, k);
			uint64_t state = u64_of(e, "state");

			printf("%-15s lladdr %s %s", str_of(e, "addr"), str_of(e, "mac"), state < ARRAY_SIZE(states) ? states[state] : "?");
			if (u64_of(e, "held"))
				printf(" held %" PRIu64, u64_of(e, "held"));
			printf("\n");
		}
	}
	json_object_put(a);
	return EXIT_OK;
}

int show_intr(struct instance *in, const struct options *o)
{
	static const char *const keys[] = { "nic_event_cnt", "virtio_user_event_cnt", "local_event_cnt", "remote_event_cnt", "timeout_event_cnt" };
	int rc;
	struct json_object *a = view(in, o, "stats", &rc), *st;

	if (!a)
		return rc;
	printf("Statistics of lstack interrupt:\n");
	for_each_stack (i, st, a) {
		printf("\n------ stack tid: %6" PRIu64 " ------\n", u64_of(st, "tid"));
		for (unsigned k = 0; k < ARRAY_SIZE(keys); k++)
			printf("%s: %" PRIu64 "\n", keys[k], u64_of(st, keys[k]));
	}
	json_object_put(a);
	return EXIT_OK;
}

/* Which of the stack's counters stand for the fields of -p; a field starting with '-' is a sum of drops whose names begin so; NULL: not
 * counted by this stack, shown as 0. */
#define PROTO_FIELDS 10
static const char *const proto_fields[PROTO_FIELDS] = { "tx_in",  "tx_out", "rx_in",  "rx_out", "fw",
							"drop", "chkerr", "lenerr", "memerr", "rterr" };
static const struct proto {
	const char *name;
	const char *source[PROTO_FIELDS];
} protos[] = {
	{ "UDP", { "udp_out_datagrams", "udp_out_datagrams", "udp_in_datagrams", NULL, NULL, "-udp_", "-udp_checksum", "-udp_short", "-udp_rcvbuf", NULL } },
	{ "TCP", { "tcp_out_seg", "tcp_out_seg", "tcp_in_seg", NULL, NULL, "-tcp_", "-tcp_checksum", "-tcp_short", "-tcp_no_memory", NULL } },
	{ "ICMP", { "icmp_out_msgs", "icmp_out_msgs", "icmp_in_msgs", NULL, NULL, "-icmp_", "-icmp_checksum", "-icmp_short", NULL, NULL } },
	{ "IP", { "ip_out_req", "ip_out_req", "ip_in_recv", "ip_in_deliver", "ip_fw_dgm", "-ip4_", "-ip4_checksum", "-ip4_short", "-reass_memory", "ip_outnort" } },
	{ "ETHARP", { "arp_out", "arp_out", "arp_in", NULL, NULL, "-arp_", NULL, "-arp_malformed", "-neigh_table_full", "-neigh_failed" } },
};

bool protocol_known(const char *word)
{
	for (unsigned i = 0; i < ARRAY_SIZE(protos); i++)
		if (!strcmp(word, protos[i].name))
			return true;
	return false;
}

static uint64_t proto_value(struct json_object *st, const char *source)
{
	uint64_t sum = 0;
	size_t n;

	if (!source)
		return 0;
	if (source[0] != '-')
		return u64_of(member(st, "mib"), source);
	n = strlen(++source);
	json_object_object_foreach (object_of(st, "drops"), key, value)
		if (!strncmp(key, source, n))
			sum += json_object_get_uint64(value);
	return sum;
}

int show_protocol(struct instance *in, const struct options *o)
{
	struct json_object *a = ask_cmd(in, "snmp"), *out = json_object_new_object(), *list = json_object_new_array(), *st;
	const struct proto *p = protos;

	json_object_object_add(out, "stacks", list);
	if (!a) {
		json_object_put(out);
		return EXIT_FAILED;
	}
	while (strcmp(o->argument, p->name))
		p++;
	if (!o->json)
		printf("Statistics of lstack proto:\n");
	for_each_stack (i, st, a) {
		struct json_object *e = json_object_new_object();

		json_object_object_add(e, "tid", json_object_new_uint64(u64_of(st, "tid")));
		if (!o->json)
			printf("\n------ stack tid: %6" PRIu64 " ------\n", u64_of(st, "tid"));
		for (unsigned f = 0; f < PROTO_FIELDS; f++) {
			uint64_t v = proto_value(st, p->source[f]);

			json_object_object_add(e, proto_fields[f], json_object_new_uint64(v));
			if (!o->json)
				printf("%s: %" PRIu64 "\n", proto_fields[f], v);
		}
		json_object_array_add(list, e);
	}
	json_object_put(a);
	if (o->json)
		return print_json(out);
	json_object_put(out);
	return EXIT_OK;
}

int show_config(struct instance *in, const struct options *o)
{
	int rc;
	struct json_object *a = view(in, o, "config", &rc), *keys;

	if (!a)
		return rc;
	printf("# effective configuration; file: %s\n", str_of(a, "file"));
	keys = array_of(a, "keys");
	for (size_t i = 0; i < json_object_array_length(keys); i++) {
		struct json_object *k = json_object_array_get_idx(keys, i);
		const char *note = str_of(k, "note");
		char text[512];

		snprintf(text, sizeof(text), "%s = %s", str_of(k, "key"), str_of(k, "value"));
		printf("%-48s # %s", text, str_of(k, "origin"));
		if (u64_of(k, "line"))
			printf(", line %" PRIu64, u64_of(k, "line"));
		printf("%s%s\n", note[0] ? ": " : "", note);
	}
	json_object_put(a);
	return EXIT_OK;
}

int show_dump(struct instance *in, const struct options *o)
{
	static const char *const all[] = { "hello", "config", "stats", "snmp", "xstats", "features", "neigh", "conns" };
	struct json_object *out = json_object_new_object();

	(void)o;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		struct json_object *a = ask_cmd(in, all[i]);

		if (!a)
			continue;
		json_object_object_del(a, "ok");
		json_object_object_add(out, all[i], a);
	}
	return print_json(out);
}

int show_list(struct instance *all, unsigned count, const struct options *o)
{
	struct json_object *out;

	if (o->json) {
		struct json_object *a = json_object_new_array();

		out = json_object_new_object();
		json_object_object_add(out, "instances", a);
		for (unsigned i = 0; i < count; i++) {
			struct json_object *h = json_object_get(all[i].hello);

			json_object_object_del(h, "ok");
			json_object_object_add(h, "socket", json_object_new_string(all[i].path));
			json_object_array_add(a, h);
		}
		return print_json(out);
	}
	printf("%-8s %-15s %-18s %-16s %-17s %-6s %s\n", "PID", "NAME", "ADDRESS", "DEVICE", "MODE", "STACKS", "SOCKET");
	for (unsigned i = 0; i < count; i++) {
		struct json_object *h = all[i].hello;
		bool running = json_object_get_boolean(member(h, "running"));
		char addr[64];

		snprintf(addr, sizeof(addr), "%s/%" PRIu64, str_of(h, "addr"), u64_of(h, "addr_len"));
		printf("%-8" PRIu64 " %-15s %-18s %-16s %-17s %-6" PRIu64 " %s\n", u64_of(h, "pid"), str_of(h, "comm"), addr,
		       running ? str_of(h, "device") : "(not started)", str_of(h, "mode"), u64_of(h, "stacks"), all[i].path);
	}
	return EXIT_OK;
}

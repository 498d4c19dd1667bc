/* main.c - gazellectl: the command table, the grammar, help. One process, one answer, no state. */
#include "gazellectl.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MAX_S 1800

static const char later[] = "not in this version of gazellectl";

const struct view views[] = {
	{ 0, { NULL }, NULL, "all statistics", show_stats },
	{ 'r', { "rate" }, NULL, "rates per second, repeats until interrupted", show_rate },
	{ 's', { "snmp" }, NULL, "MIB counters", show_snmp },
	{ 'c', { "connect", "connetct" }, NULL, "connections; then -e for all that TCP_INFO tells; filters: state STATE, port PORT, addr ADDRESS", show_conns },
	{ 'l', { "latency" }, NULL, "latency, measured for [time] seconds", NULL },
	{ 'x', { "xstats" }, NULL, "NIC extended statistics", show_xstats },
	{ 'k', { "nic-features" }, NULL, "offloads on and off", show_features },
	{ 'a', { "aggregatin", "aggragate", "aggregate", "aggregation" }, NULL, "send and receive size histogram for [time] seconds", NULL },
	{ 'p', { "protocol" }, "UDP|TCP|ICMP|IP|ETHARP", "per-protocol counters", show_protocol },
	{ 'I', { "intr" }, NULL, "wake-up causes", show_intr },
	{ 'v', { "virtio" }, NULL, "kernel-path queues", NULL },
	{ 'd', { "drops" }, NULL, "dropped packets by reason", show_drops },
	{ 'n', { "neigh" }, NULL, "neighbours", show_neigh },
};
const unsigned view_count = ARRAY_SIZE(views);

const struct command commands[] = {
	{ "lstack show", "{ip | pid} [LSTACK_OPTIONS] [time] [-u UNIX_PREFIX] [--json]", "statistics of a running stack" },
	{ "lstack set", "{ip | pid} {loglevel {error|info|debug} | lowpower {0|1}} [-u UNIX_PREFIX]", "change a running stack" },
	{ "lstack list", "[-u UNIX_PREFIX] [--json]", "running stacks" },
	{ "lstack config", "[ip | pid] [-u UNIX_PREFIX] [--json]", "effective configuration and where each value came from" },
	{ "lstack dump", "[ip | pid] [-u UNIX_PREFIX]", "everything at once as JSON, for a report" },
	{ "run", "[-i IFACE -a ADDR/LEN [-g GATEWAY] [-m wakeup|completion] | -c CONF] -- PROGRAM ARGS...", "run a program on the stack" },
	{ "help", "", "this text" },
};
const unsigned command_count = ARRAY_SIZE(commands);

void usage(FILE *f)
{
	fprintf(f, "Usage: gazellectl [-h | help]\n");
	for (unsigned i = 0; i < command_count; i++)
		if (commands[i].args[0])
			fprintf(f, "  or:  gazellectl %s %s\n", commands[i].words, commands[i].args);
	fprintf(f, "\n");
	for (unsigned i = 0; i < command_count; i++)
		fprintf(f, "  %-14s %s\n", commands[i].words, commands[i].help);
	fprintf(f, "\n  where LSTACK_OPTIONS :=\n");
	for (unsigned i = 0; i < view_count; i++) {
		char words[96];
		size_t used = 0;

		words[0] = '\0';
		if (views[i].letter)
			used = (size_t)snprintf(words, sizeof(words), "-%c", views[i].letter);
		for (unsigned w = 0; w < ARRAY_SIZE(views[i].words) && views[i].words[w]; w++)
			used += (size_t)snprintf(words + used, sizeof(words) - used, ", %s", views[i].words[w]);
		if (views[i].arg)
			snprintf(words + used, sizeof(words) - used, " {%s}", views[i].arg);
		fprintf(f, "  %-26s %s%s\n", words[0] ? words : "(none)", views[i].help, views[i].show ? "" : " (not in this version)");
	}
	fprintf(f, "\n  [time]   seconds of a measurement, 1 unless given, at most %d\n"
		   "  -u       the instance's unix_prefix; may stand anywhere\n"
		   "  --json   the same as JSON, for every view\n"
		   "\nExit status: 0 done, 1 failed, 2 not understood.\n",
		TIME_MAX_S);
}

static int misused(const char *why, const char *word)
{
	fprintf(stderr, "gazellectl: %s%s%s: see gazellectl help\n", why, word ? ": " : "", word ? word : "");
	return EXIT_USAGE;
}

/* --- words --- */

static const struct view *view_of(const char *word)
{
	for (unsigned i = 0; i < view_count; i++) {
		if (views[i].letter && word[0] == '-' && word[1] == views[i].letter && !word[2])
			return &views[i];
		for (unsigned w = 0; w < ARRAY_SIZE(views[i].words) && views[i].words[w]; w++)
			if (!strcmp(word, views[i].words[w]))
				return &views[i];
	}
	return NULL;
}

static bool is_number(const char *s)
{
	return *s && strspn(s, "0123456789") == strlen(s) && strlen(s) < 10;
}

/* An instance's name: a pid or an address. */
static bool is_who(const char *s)
{
	uint8_t a[16];

	return is_number(s) || inet_pton(AF_INET, s, a) == 1 || inet_pton(AF_INET6, s, a) == 1;
}

/* Takes -u X and --json out of the arguments, wherever they stand before a "--". 0 or EXIT_USAGE. */
static int take_common(int *argc, char **argv, struct options *o)
{
	int n = 1, i = 1;

	for (; i < *argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "-u")) {
			if (i + 1 == *argc)
				return misused("-u needs a prefix", NULL);
			o->prefix = argv[++i];
		} else if (!strcmp(argv[i], "--json")) {
			o->json = true;
		} else {
			argv[n++] = argv[i];
		}
	}
	for (; i < *argc; i++)
		argv[n++] = argv[i];
	argv[n] = NULL;
	*argc = n;
	return 0;
}

/* --- commands --- */

/* Finds instances and the one wanted; rc of what f does with it. */
static int with_instance(const struct options *o, int (*f)(struct instance *in, const struct options *o))
{
	unsigned count;
	struct instance *all = instances_find(o->prefix, &count);
	int i = all ? instance_select(all, count, o->who) : -1, rc = EXIT_FAILED;

	if (i >= 0)
		rc = f(&all[i], o);
	instances_free(all, count);
	return rc;
}

static int take_filter(char **argv, int argc, int *i, struct options *o)
{
	const char *word = argv[*i], *value = *i + 1 < argc ? argv[*i + 1] : NULL;

	if (!strcmp(word, "-e") || !strcmp(word, "--extended")) {
		o->extended = true;
		return 0;
	}
	if (strcmp(word, "state") && strcmp(word, "port") && strcmp(word, "addr"))
		return -1;
	if (!value)
		return misused("a filter needs a value", word);
	if (!strcmp(word, "state"))
		o->state = value;
	else if (!strcmp(word, "addr"))
		o->address = value;
	else if (is_number(value) && atoi(value) > 0 && atoi(value) < 65536)
		o->port = atoi(value);
	else
		return misused("not a port", value);
	++*i;
	return 0;
}

static int show(int argc, char **argv, struct options *o)
{
	const struct view *v = NULL;

	if (argc < 1 || !is_who(argv[0]))
		return misused("lstack show needs an instance: a pid or an address of the stack", argc ? argv[0] : NULL);
	o->who = argv[0];
	for (int i = 1; i < argc; i++) {
		const struct view *this = view_of(argv[i]);
		int rc;

		if (this) {
			if (v)
				return misused("one view at a time", argv[i]);
			v = this;
			if (v->arg && ++i == argc)
				return misused("this option needs a protocol", argv[i - 1]);
			if (v->arg) {
				o->argument = argv[i];
				if (!protocol_known(argv[i]))
					return misused("the protocol is UDP, TCP, ICMP, IP or ETHARP", argv[i]);
			}
			continue;
		}
		if (is_number(argv[i]) && !o->seconds) {
			o->seconds = (unsigned)atoi(argv[i]);
			if (o->seconds > TIME_MAX_S) {
				fprintf(stderr, "gazellectl: time %u: at most %d: %d is taken\n", o->seconds, TIME_MAX_S, TIME_MAX_S);
				o->seconds = TIME_MAX_S;
			}
			continue;
		}
		rc = v && v->show == show_conns ? take_filter(argv, argc, &i, o) : -1;
		if (rc > 0)
			return rc;
		if (rc < 0)
			return misused("unknown option", argv[i]);
	}
	if (!v)
		v = &views[0];
	if (!v->show)
		return failed("lstack show %s: %s: see gazellectl help for what is", v->words[0], later);
	if (v->show == show_rate)
		o->rounds = o->seconds;
	return with_instance(o, v->show);
}

static const char *set_key, *set_value;

static int set_answer(struct instance *in, const struct options *o)
{
	struct json_object *rq = json_object_new_object(), *a;
	bool low = !strcmp(set_key, "lowpower");

	json_object_object_add(rq, "cmd", json_object_new_string("set"));
	json_object_object_add(rq, set_key, low ? json_object_new_int(atoi(set_value)) : json_object_new_string(set_value));
	a = ask(in, rq);
	if (!a)
		return EXIT_FAILED;
	if (o->json)
		return print_json(a);
	if (low) {
		printf("Lstack low power mode: %s\n", u64_of(a, "lowpower") ? "ON" : "OFF");
		if (u64_of(a, "lowpower"))
			printf("Low power param: rx_pkts:%llu, detect_ms:%llums, pkts_in_detect:%llu\n", (unsigned long long)u64_of(a, "rx_pkts"),
			       (unsigned long long)u64_of(a, "detect_ms"), (unsigned long long)u64_of(a, "pkts_in_detect"));
	}
	json_object_put(a);
	return EXIT_OK;
}

static int set(int argc, char **argv, struct options *o)
{
	if (argc < 1 || !is_who(argv[0]))
		return misused("lstack set needs an instance: a pid or an address of the stack", argc ? argv[0] : NULL);
	if (argc != 3)
		return misused("lstack set needs loglevel {error|info|debug} or lowpower {0|1}", NULL);
	o->who = argv[0];
	set_key = argv[1];
	set_value = argv[2];
	if (!strcmp(set_key, "loglevel")) {
		if (strcmp(set_value, "error") && strcmp(set_value, "info") && strcmp(set_value, "debug"))
			return misused("loglevel is error, info or debug", set_value);
	} else if (!strcmp(set_key, "lowpower")) {
		if (strcmp(set_value, "0") && strcmp(set_value, "1"))
			return misused("lowpower is 0 or 1", set_value);
	} else {
		return misused("lstack set knows loglevel and lowpower", set_key);
	}
	return with_instance(o, set_answer);
}

static int list(int argc, char **argv, struct options *o)
{
	unsigned count;
	struct instance *all;
	int rc;

	if (argc)
		return misused("lstack list takes no arguments", argv[0]);
	all = instances_find(o->prefix, &count);
	rc = all ? show_list(all, count, o) : failed("out of memory");
	instances_free(all, count);
	return rc;
}

/* Commands whose instance may be left out when only one runs. */
static int maybe_who(int argc, char **argv, struct options *o, int (*f)(struct instance *in, const struct options *o))
{
	if (argc > 1 || (argc == 1 && !is_who(argv[0])))
		return misused("an instance is a pid or an address of the stack", argv[argc - 1]);
	o->who = argc ? argv[0] : NULL;
	return with_instance(o, f);
}

static int lstack(int argc, char **argv, struct options *o)
{
	const char *word = argc ? argv[0] : "";

	if (!strcmp(word, "show"))
		return show(argc - 1, argv + 1, o);
	if (!strcmp(word, "set"))
		return set(argc - 1, argv + 1, o);
	if (!strcmp(word, "list"))
		return list(argc - 1, argv + 1, o);
	if (!strcmp(word, "config"))
		return maybe_who(argc - 1, argv + 1, o, show_config);
	if (!strcmp(word, "dump"))
		return maybe_who(argc - 1, argv + 1, o, show_dump);
	return misused(argc ? "unknown word after lstack" : "lstack needs show, set, list, config or dump", argc ? word : NULL);
}

int main(int argc, char **argv)
{
	struct options o = { 0 };
	int rc = take_common(&argc, argv, &o);

	if (rc)
		return rc;
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "run"))
		return run_command(argc - 1, argv + 1);
	if (!strcmp(argv[1], "lstack"))
		return lstack(argc - 2, argv + 2, &o);
	if (!strcmp(argv[1], "ltran"))
		return failed("ltran: this stack has no ltran process: use lstack");
	if (!strcmp(argv[1], "--generate") && argc == 3)
		return generate(argv[2]);
	return misused("unknown command", argv[1]);
}

/* gazellectl.h - the parts of gazellectl: grammar (main.c), connection (client.c), output (show.c, show_conns.c), run (run.c), completion (completion.c). */
#ifndef GAZELLECTL_H
#define GAZELLECTL_H

#include "base/compiler.h"

#include <json-c/json.h>
#include <stdio.h>

/* exit codes */
#define EXIT_OK 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* What the command line said. */
struct options {
	const char *prefix; /* -u, or NULL */
	bool json;
	const char *who; /* {ip|pid}, or NULL */
	const char *argument; /* of an option that takes one (-p P) */
	unsigned seconds;     /* [time], 0: not given */
	bool extended; /* -c -e: what TCP_INFO tells, as ss -ti */
	/* filters of -c, as ss has them */
	const char *state, *address;
	int port; /* 0: any */
	unsigned rounds; /* of -r: 0 until interrupted */
};

/* One running process with a stack. */
struct instance {
	int fd; /* connected, or -1 */
	char path[256];
	struct json_object *hello;
};

/* Prints "gazellectl: what failed: why: what to do" to standard error; returns EXIT_FAILED. */
int failed(const char *fmt, ...) printf_like(1, 2);

/* --- client.c --- */
/* Finds the running instances (of prefix, or all when NULL) in every run directory this user may look into. */
struct instance *instances_find(const char *prefix, unsigned *count);
void instances_free(struct instance *all, unsigned count);
/* The one that who names (a pid, or an address of the stack; NULL: the only one). On failure says why and returns -1. */
int instance_select(struct instance *all, unsigned count, const char *who);
/* Sends a request (taken), returns the answer, or NULL after saying what went wrong; "ok": false is such a failure. */
struct json_object *ask(struct instance *in, struct json_object *request);
struct json_object *ask_cmd(struct instance *in, const char *cmd);

/* --- show.c: each prints a view; exit code --- */
int show_stats(struct instance *in, const struct options *o);
int show_rate(struct instance *in, const struct options *o);
int show_snmp(struct instance *in, const struct options *o);
int show_xstats(struct instance *in, const struct options *o);
int show_features(struct instance *in, const struct options *o);
int show_neigh(struct instance *in, const struct options *o);
int show_drops(struct instance *in, const struct options *o);
int show_intr(struct instance *in, const struct options *o);
int show_protocol(struct instance *in, const struct options *o); /* o->argument */
bool protocol_known(const char *word);
int show_config(struct instance *in, const struct options *o);
int show_dump(struct instance *in, const struct options *o);
int show_list(struct instance *all, unsigned count, const struct options *o);
/* show_conns.c */
int show_conns(struct instance *in, const struct options *o);

/* Prints o as JSON and drops it. */
int print_json(struct json_object *o);
const char *str_of(struct json_object *o, const char *key);
uint64_t u64_of(struct json_object *o, const char *key);
int64_t i64_of(struct json_object *o, const char *key);
struct json_object *member(struct json_object *o, const char *key);
/* The member if it is an array, an object; else an empty one: a process with another version of the library may answer in another shape, and json-c
 * ends the program when an array is not one. Borrowed. */
struct json_object *array_of(struct json_object *o, const char *key);
struct json_object *object_of(struct json_object *o, const char *key);
/* Bits per second in steps of 1,024, as "  84.31Mb/s". */
const char *rate_text(double bytes_per_second, char *buf, size_t bytes);

/* --- run.c --- */
int run_command(int argc, char **argv);

/* --- the command table (main.c), for help and completion --- */
struct view {
	char letter;		/* -s, or 0 */
	const char *words[5];	/* accepted instead */
	const char *arg;	/* name of its argument, NULL: none */
	const char *help;
	int (*show)(struct instance *in, const struct options *o); /* NULL: not in this version */
};
extern const struct view views[];
extern const unsigned view_count;

struct command {
	const char *words;	/* "lstack show" */
	const char *args;	/* as in the usage */
	const char *help;
};
extern const struct command commands[];
extern const unsigned command_count;

/* Writes "bash" or "zsh" completion, or the manual page's generated part ("man"). */
int generate(const char *what);
void usage(FILE *f);

#endif

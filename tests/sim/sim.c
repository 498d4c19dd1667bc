/* sim.c - simulations of stacks over links in virtual time: sim TABLE [--check FILE | --update FILE], 
 * sim random [--connections N] [--seed S] [--verbose 1].
 *
 * Tables are deterministic (seeded chance, no clock) and compared with committed snapshots, so that a change of an algorithm shows
 * as a change of numbers. `random` looks for violations of properties: no stall, no byte lost, added or changed, no mbuf or
 * socket leaked; each run prints its seed when it fails.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdlib.h>

static FILE *out;
int failures;

void emit(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(out, fmt, ap);
	va_end(ap);
}

void judge(const char *what, const struct flow *f, bool finished)
{
	if (finished && !f->problem[0])
		return;
	failures++;
	fprintf(stderr, "FAIL %s: %s (sent %llu/%llu, received %llu/%llu, errors %d/%d)\n", what,
		f->problem[0] ? f->problem : "did not finish", (unsigned long long)f->end[0].sent,
		(unsigned long long)f->end[1].sent, (unsigned long long)f->end[0].received,
		(unsigned long long)f->end[1].received, f->end[0].error, f->end[1].error);
}

static int compare(const char *seen, const char *path)
{
	FILE *f = fopen(path, "r");
	char want[512];
	const char *p = seen;
	int line = 0, diffs = 0;

	if (!f) {
		fprintf(stderr, "sim: cannot read %s\n", path);
		return 1;
	}
	while (fgets(want, sizeof(want), f)) {
		size_t n = strcspn(p, "\n"), w = strcspn(want, "\n");

		line++;
		if (n != w || memcmp(p, want, n)) {
			fprintf(stderr, "%s:%d:\n  expected: %.*s\n  seen:     %.*s\n", path, line, (int)w, want, (int)n, p);
			diffs++;
		}
		p += n + (p[n] == '\n');
	}
	fclose(f);
	if (*p) {
		fprintf(stderr, "%s: lines are missing there: %s\n", path, p);
		diffs++;
	}
	if (diffs)
		fprintf(stderr, "%d lines differ; if that is meant: sim TABLE --update %s\n", diffs, path);
	return diffs != 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tables[] = { { "goodput", table_goodput }, { "close", table_close }, { "fairness", table_fairness },
		       { "matrix", table_matrix },   { "short", table_short },
		       { "long", table_long } };
	const char *check = NULL, *update = NULL;
	uint64_t seed = 1;
	uint64_t connections = 1000;
	bool verbose = false;
	unsigned t = 0;
	char *text = NULL;
	size_t bytes = 0;

	for (int i = 2; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--check"))
			check = argv[i + 1];
		else if (!strcmp(argv[i], "--update"))
			update = argv[i + 1];
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--connections"))
			connections = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--verbose"))
			verbose = strtoul(argv[i + 1], NULL, 0);
	}
	if (argc > 1 && !strcmp(argv[1], "random"))
		return random_runs(seed, connections, verbose);
	while (t < ARRAY_SIZE(tables) && (argc < 2 || strcmp(argv[1], tables[t].name)))
		t++;
	if (t == ARRAY_SIZE(tables)) {
		fprintf(stderr, "usage: sim goodput|close|fairness|matrix|short|long [--check FILE | --update FILE]\n"
				"       (GZ_SIM_ONLY=plan,plan,wire,seed: one case of close; GZ_SIM_ONLY=n: the nth condition of goodput)\n"
				"       sim random [--connections N] [--seed S] [--verbose 1]\n");
		return 2;
	}
	out = open_memstream(&text, &bytes);
	if (!out)
		return 2;
	tables[t].run();
	fclose(out);
	if (update) {
		FILE *f = fopen(update, "w");

		if (!f || fwrite(text, 1, bytes, f) != bytes || fclose(f))
			return fprintf(stderr, "sim: cannot write %s\n", update), 2;
	} else if (!check) {
		fputs(text, stdout);
	}
	t = check ? (unsigned)compare(text, check) : 0;
	free(text);
	if (failures)
		fprintf(stderr, "%d failures\n", failures);
	return failures || t;
}

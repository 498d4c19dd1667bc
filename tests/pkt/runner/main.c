/* main.c - runs packet scripts: pktrun [options] FILE-OR-DIRECTORY...
 *
 * Without options each file runs against the stack, on a plain device (checksums in software, one mbuf per frame) and on one with every
 * offload (TSO, checksums, received frames in pieces). With --kernel it runs against this machine's kernel instead: the ground truth.
 * Files listed in known-differences.txt are expected to fail, with the reason that stands there; one that passes fails the run, so that the
 * list only shrinks. Prints each failure and, last, "N passed, N failed".
 */
#include "run.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KERNEL_LIMIT_S 300 /* a script that hangs in a system call */

static char *files[8192];
static unsigned nb_files;
static char now_running[400];
static char *known_text;
static const char *known_path;
static unsigned passed, failed, expected;

static int found(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	size_t n = strlen(path);

	if (kind == FTW_F && n > 4 && !strcmp(path + n - 4, ".pkt") && nb_files < ARRAY_SIZE(files))
		files[nb_files++] = strdup(path);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void crashed(int sig)
{
	static const char text[] = "\nFAIL (crash) while running ";

	if (write(2, text, sizeof(text) - 1) < 0 || write(2, now_running, strlen(now_running)) < 0 || write(2, "\n", 1) < 0)
		_exit(3);
	signal(sig, SIG_DFL);
	raise(sig);
}

static char *slurp(const char *path, size_t *n)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t cap = 0;

	*n = 0;
	if (!f)
		return NULL;
	do {
		cap += 65536;
		text = realloc(text, cap + 1);
		if (!text)
			abort();
		*n += fread(text + *n, 1, cap - *n, f);
	} while (*n == cap);
	text[*n] = 0;
	fclose(f);
	return text;
}

/* "topic/name.pkt: reason" for this file; NULL: none. The reason ends at its line's end. */
static const char *known_difference(const char *path)
{
	for (const char *line = known_text; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t name = strcspn(line, ":\n"), n = strlen(path);

		if (*line == '#' || !name || line[name] != ':')
			continue;
		if (n > name && !strncmp(path + n - name, line, name) && path[n - name - 1] == '/')
			return line + name + 1;
	}
	return NULL;
}

static const char *const result_names[] = { "PASS", "FAIL", "SKIP" };

/* 0: as it should be. */
static enum run_result run_one(const char *file, const struct sut *sut, const struct script *sc, const struct run_opts *opts, bool quiet)
{
	char why[2048];
	enum run_result r;

	snprintf(now_running, sizeof(now_running), "%s (%s)", file, sut->name);
	if (opts->verbose)
		printf("RUN %s\n", now_running);
	r = script_run(sc, sut, opts, why, sizeof(why));
	if (r != RUN_PASSED && !quiet)
		printf("%s %s\n%s\n", result_names[r], now_running, why);
	return r;
}

static void run_on_stack(const char *file, const struct script *sc, const struct run_opts *opts)
{
	const struct sut *const suts[] = { &sut_plain, &sut_offload };
	const char *known = known_difference(file);
	bool differs = false;

	for (unsigned i = opts->public ? 1 : 0; i < ARRAY_SIZE(suts); i++) { /* the public tool joins segments and knows no chunks */
		enum run_result r;

		if ((sc->plain_only && i == 1) || (sc->offload_only && i == 0))
			continue;
		r = run_one(file, suts[i], sc, opts, known && !opts->verbose);
		if (known)
			differs |= r != RUN_PASSED;
		else if (r == RUN_PASSED)
			passed++;
		else
			failed++; /* also one that cannot run: it must be listed */
	}
	if (known && differs) {
		expected++;
	} else if (known) {
		printf("FAIL %s: passes, but %s says it does not:%.*s\n", file, known_path, (int)strcspn(known, "\n"), known);
		failed++;
	}
}

/* --- the kernel: a process each, some at once --- */

struct child {
	pid_t pid;
	FILE *out;
	const char *file;
};

static void reap(struct child *c, unsigned n)
{
	int status;
	pid_t pid = wait(&status);
	char line[1024];

	for (unsigned i = 0; i < n; i++) {
		if (c[i].pid != pid)
			continue;
		c[i].pid = 0;
		rewind(c[i].out);
		while (fgets(line, sizeof(line), c[i].out))
			fputs(line, stdout);
		fclose(c[i].out);
		if (WIFSIGNALED(status))
			printf("FAIL %s: ended by signal %d\n", c[i].file, WTERMSIG(status));
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			passed++;
		else
			failed++;
	}
}

static void run_on_kernel(const char *file, const struct script *sc, const struct run_opts *opts, struct child *c, unsigned jobs)
{
	unsigned at = 0;

	while (at < jobs && c[at].pid)
		if (++at == jobs) {
			reap(c, jobs);
			at = 0;
		}
	fflush(stdout);
	c[at].file = file;
	c[at].out = tmpfile();
	if (!c[at].out)
		abort();
	c[at].pid = fork();
	if (c[at].pid < 0)
		abort();
	if (c[at].pid == 0) {
		dup2(fileno(c[at].out), 1);
		dup2(fileno(c[at].out), 2);
		for (int s = 0; s < 3; s++)
			signal((int[]){ SIGSEGV, SIGABRT, SIGBUS }[s], SIG_DFL);
		signal(SIGPIPE, SIG_IGN);
		alarm(KERNEL_LIMIT_S);
		at = run_one(file, &sut_kernel, sc, opts, false);
		fflush(stdout);
		_exit((int)at);
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: pktrun [-v] [-n] [-e] [-x KNOWN-DIFFERENCES] [-k [-j JOBS] [-t USECS]] FILE-OR-DIRECTORY...\n"
			"  -v  a trace    -n  only parse\n"
			"  -e  as the public tool judges: PSH is compared, packets after the last one of a script are no failure\n"
			"  -x  files that are expected to fail\n"
			"  -k, --kernel  against this machine's kernel, in network namespaces (root); -j so many at once, -t added to tolerances\n"
			"  -r, --record  write the script with the packets and results that are seen\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "kernel", no_argument, NULL, 'k' }, { "record", no_argument, NULL, 'r' }, { NULL, 0, NULL, 0 } };
	struct run_opts opts = { 0 };
	bool only_parse = false, kernel = false;
	struct child children[64] = { { 0, NULL, NULL } };
	unsigned jobs = 4;
	size_t n;
	int o;

	while ((o = getopt_long(argc, argv, "vnkrej:t:x:", longs, NULL)) != -1) {
		switch (o) {
		case 'v':
			opts.verbose = true;
			break;
		case 'n':
			only_parse = true;
			break;
		case 'k':
			kernel = true;
			break;
		case 'r':
			opts.record = true;
			break;
		case 'j':
			jobs = (unsigned)MIN(MAX(atoi(optarg), 1), (int)ARRAY_SIZE(children));
			break;
		case 't':
			opts.slack_us = atoll(optarg);
			break;
		case 'e':
			opts.public = true;
			break;
		case 'x':
			known_path = optarg;
			known_text = slurp(optarg, &n);
			if (!known_text) {
				fprintf(stderr, "cannot read %s\n", optarg);
				return 2;
			}
			break;
		default:
			return usage();
		}
	}
	for (int i = optind; i < argc; i++)
		if (nftw(argv[i], found, 16, FTW_PHYS)) {
			fprintf(stderr, "cannot read %s\n", argv[i]);
			return 2;
		}
	if (!nb_files)
		return usage();
	qsort(files, nb_files, sizeof(files[0]), by_name);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int s = 0; s < 3; s++)
		signal((int[]){ SIGSEGV, SIGABRT, SIGBUS }[s], crashed);
	for (unsigned i = 0; i < nb_files; i++) {
		struct script sc;
		char *text = slurp(files[i], &n);
		int r = text ? script_parse(&sc, files[i], text, n) : -1;

		if (r) {
			printf("FAIL %s\n%s\n", files[i], text ? sc.error : "cannot read");
			failed++;
		} else if (only_parse) {
			passed++;
		} else if (kernel) {
			run_on_kernel(files[i], &sc, &opts, children, jobs);
		} else {
			run_on_stack(files[i], &sc, &opts);
		}
		if (text)
			script_free(&sc);
		free(text);
	}
	for (unsigned i = 0; i < jobs; i++)
		while (children[i].pid)
			reap(children, jobs);
	if (expected)
		printf("%u expected to fail (%s)\n", expected, known_path);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}

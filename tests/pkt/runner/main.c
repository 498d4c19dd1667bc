/* main.c - runs packet scripts: pktrun [-v] FILE-OR-DIRECTORY... Each file runs on a plain device (checksums in software, one
 * mbuf per frame) and on one with every offload (TSO, checksums, received frames in pieces). Prints each failure
 * and, last, "N passed, N failed". */
#include "run.h"
#include "testenv.h"

#include <ftw.h>
#include <signal.h>
#include <stdlib.h>

static char *files[4096];
static unsigned nb_files;
static char now_running[400];

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
		text = realloc(text, cap);
		if (!text)
			abort();
		*n += fread(text + *n, 1, cap - *n, f);
	} while (*n == cap);
	fclose(f);
	return text;
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0;
	bool verbose = false, only_parse = false;
	char why[2048];

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-v"))
			verbose = true;
		else if (!strcmp(argv[i], "-n"))
			only_parse = true;
		else if (nftw(argv[i], found, 16, FTW_PHYS)) {
			fprintf(stderr, "cannot read %s\n", argv[i]);
			return 2;
		}
	}
	if (!nb_files) {
		fprintf(stderr, "usage: pktrun [-v] [-n] FILE-OR-DIRECTORY...   (-v: trace, -n: only parse)\n");
		return 2;
	}
	qsort(files, nb_files, sizeof(files[0]), by_name);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int s = 0; s < 3; s++)
		signal((int[]){ SIGSEGV, SIGABRT, SIGBUS }[s], crashed);
	for (unsigned i = 0; i < nb_files; i++) {
		struct script sc;
		size_t n;
		char *text = slurp(files[i], &n);
		int r = text ? script_parse(&sc, files[i], text, n) : -1;

		if (r) {
			printf("FAIL %s\n%s\n", files[i], text ? sc.error : "cannot read");
			failed++;
		}
		for (int mode = 0; !r && !only_parse && mode < RUN_MODES; mode++) {
			if ((sc.plain_only && mode == RUN_OFFLOAD) || (sc.offload_only && mode == RUN_PLAIN))
				continue;
			snprintf(now_running, sizeof(now_running), "%s (%s)", files[i], run_mode_names[mode]);
			if (verbose)
				printf("RUN %s\n", now_running);
			if (script_run(&sc, (enum run_mode)mode, verbose, why, sizeof(why))) {
				printf("FAIL %s\n%s\n", now_running, why);
				failed++;
			} else {
				passed++;
			}
		}
		passed += !r && only_parse;
		if (text)
			script_free(&sc);
		free(text);
		free(files[i]);
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}

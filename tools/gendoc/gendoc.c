/* gendoc.c - documents made from the schema table: the example lstack.conf, and the keys and environment of its manual page.
 *
 *	gendoc check SOURCE_DIR		compare what is there with the table (a test); exit status 1 and the name of the file if they differ
 *	gendoc update SOURCE_DIR	write them
 *
 * conf/lstack.conf is made whole; in doc/man/lstack.conf.5 the lines between `.\" BEGIN name` and `.\" END name` are.
 */
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints text in lines of at most width characters, each with the prefix. */
static void wrapped(FILE *f, const char *prefix, const char *text, size_t width)
{
	while (*text) {
		size_t n = strlen(text);

		if (n > width) {
			n = width;
			while (n && text[n] != ' ')
				n--;
			if (!n)
				n = strcspn(text, " ");
		}
		fprintf(f, "%s%.*s\n", prefix, (int)n, text);
		text += n;
		text += *text == ' ';
	}
}

static const char *range_of(const struct conf_key *k, char *buf, size_t bytes)
{
	if (k->values)
		return k->values;
	if (k->type != CONF_INT)
		return "";
	if (k->max == INT32_MAX)
		snprintf(buf, bytes, "at least %lld", (long long)k->min);
	else if (k->min == 0 && k->max == 1)
		snprintf(buf, bytes, "0 or 1");
	else
		snprintf(buf, bytes, "%lld..%lld", (long long)k->min, (long long)k->max);
	return buf;
}

/* --- conf/lstack.conf --- */

static void example(FILE *f)
{
	char buf[64];

	fprintf(f, "# lstack.conf - configuration of Gazelle (libconfig syntax); see lstack.conf(5).\n"
		   "# Made from the table of keys. Lines that start with # and a key show its default.\n"
		   "# Path: $LSTACK_CONF_PATH, else " CONF_DEFAULT_PATH "\n");
	for (unsigned i = 0; i < conf_key_count; i++) {
		const struct conf_key *k = &conf_keys[i];
		const char *range = range_of(k, buf, sizeof(buf));

		if (!k->in_example)
			continue;
		fprintf(f, "\n");
		wrapped(f, "# ", k->help, 90);
		if (range[0])
			fprintf(f, "# Values: %s\n", range);
		if (k->example)
			fprintf(f, "%s%s = \"%s\"\n", k->example[0] == '#' ? "#" : "", k->name, k->example + (k->example[0] == '#'));
		else if (k->type == CONF_INT)
			fprintf(f, "#%s = %d\n", k->name, k->def);
		else if (k->type == CONF_STRING)
			fprintf(f, "#%s = \"%s\"\n", k->name, k->def_str);
		else
			fprintf(f, "#%s = []\n", k->name);
	}
}

/* --- doc/man/lstack.conf.5 --- */

/* Text as roff: a minus that is not a hyphen, backslashes, a leading dot. */
static void roff(FILE *f, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", f);
	for (; *text; text++) {
		if (*text == '-')
			fputs("\\-", f);
		else if (*text == '\\')
			fputs("\\e", f);
		else
			fputc(*text, f);
	}
}

static void man_group(FILE *f, enum conf_status status)
{
	char buf[64];

	for (unsigned i = 0; i < conf_key_count; i++) {
		const struct conf_key *k = &conf_keys[i];
		const char *range = range_of(k, buf, sizeof(buf));

		if (k->status != status)
			continue;
		fprintf(f, ".TP\n.B ");
		roff(f, k->name);
		fprintf(f, "\n");
		if (k->type == CONF_ANY) {
			roff(f, k->note);
			fprintf(f, ".\n");
			continue;
		}
		fprintf(f, ".RI ( ");
		fprintf(f, "%s", k->type == CONF_INT ? "integer" : k->type == CONF_STRING ? "string" : "array");
		if (k->type == CONF_INT)
			fprintf(f, " \", default %d\"", k->def);
		else if (k->type == CONF_STRING && k->def_str[0])
			fprintf(f, " \", default \\(dq%s\\(dq\"", k->def_str);
		fprintf(f, "%s )\n", k->ours ? " \"; not in the original\"" : "");
		roff(f, k->help);
		fprintf(f, "\n");
		if (range[0]) {
			fprintf(f, "Values: ");
			roff(f, range);
			fprintf(f, ".\n");
		}
		if (k->note) {
			fprintf(f, ".br\n");
			roff(f, k->note);
			fprintf(f, ".\n");
		}
	}
}

static void man_env(FILE *f)
{
	for (unsigned i = 0; i < conf_env_var_count; i++) {
		fprintf(f, ".TP\n.B ");
		roff(f, conf_env_vars[i].name);
		fprintf(f, "\n");
		roff(f, conf_env_vars[i].help);
		fprintf(f, "\n");
	}
}

static void man_works(FILE *f) { man_group(f, CONF_WORKS); }
static void man_always(FILE *f) { man_group(f, CONF_ALWAYS_ON); }
static void man_not_built(FILE *f)
{
	man_group(f, CONF_NOT_BUILT);
	man_group(f, CONF_WARNED);
}
static void man_retired(FILE *f) { man_group(f, CONF_RETIRED); }

static const struct part {
	const char *name;
	void (*write)(FILE *f);
} parts[] = {
	{ "KEYS", man_works }, { "ALWAYS", man_always }, { "LATER", man_not_built }, { "RETIRED", man_retired }, { "ENVIRONMENT", man_env },
};

/* --- files --- */

static char *file_text(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t n = 0;

	if (!f)
		return NULL;
	if (getdelim(&text, &n, '\0', f) < 0) {
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

static char *made(void (*write)(FILE *f))
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		exit(1);
	write(f);
	fclose(f);
	return text;
}

/* The page with its generated parts made anew; NULL: a marker is missing. */
static char *new_page(const char *old)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		return NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		char begin[64], end[64];
		const char *b, *e;

		snprintf(begin, sizeof(begin), ".\\\" BEGIN %s\n", parts[i].name);
		snprintf(end, sizeof(end), ".\\\" END %s\n", parts[i].name);
		b = strstr(old, begin);
		e = b ? strstr(b, end) : NULL;
		if (!e) {
			fprintf(stderr, "gendoc: marker %s", begin);
			fclose(f);
			free(text);
			return NULL;
		}
		b += strlen(begin);
		fwrite(old, 1, (size_t)(b - old), f);
		parts[i].write(f);
		old = e;
	}
	fputs(old, f);
	fclose(f);
	return text;
}

static int settle(const char *path, const char *have, const char *want, bool update)
{
	FILE *f;

	if (have && want && !strcmp(have, want))
		return 0;
	if (!update || !want) {
		fprintf(stderr, "gendoc: %s does not agree with the table of keys: run gendoc update\n", path);
		return 1;
	}
	f = fopen(path, "we");
	if (!f || fputs(want, f) < 0 || fclose(f) != 0) {
		perror(path);
		return 1;
	}
	printf("%s\n", path);
	return 0;
}

int main(int argc, char **argv)
{
	char path[4096], *have, *want;
	bool update;
	int bad = 0;

	if (argc != 3 || (strcmp(argv[1], "check") && strcmp(argv[1], "update"))) {
		fprintf(stderr, "usage: gendoc check|update SOURCE_DIR\n");
		return 2;
	}
	update = !strcmp(argv[1], "update");
	snprintf(path, sizeof(path), "%s/conf/lstack.conf", argv[2]);
	have = file_text(path);
	want = made(example);
	bad |= settle(path, have, want, update);
	free(have);
	free(want);
	snprintf(path, sizeof(path), "%s/doc/man/lstack.conf.5", argv[2]);
	have = file_text(path);
	want = have ? new_page(have) : NULL;
	bad |= settle(path, have, want, update);
	free(have);
	free(want);
	return bad;
}

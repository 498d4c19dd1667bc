/* util.h - loading configuration text in tests. */
#ifndef TEST_CONFIG_UTIL_H
#define TEST_CONFIG_UTIL_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"

#define BASE "host_addr=\"192.168.1.10\"\nmask_addr=\"255.255.255.0\"\n"

struct loaded {
	struct config c;
	struct conf_report rep;
	int rc;
};

static inline struct loaded *load(const char *text)
{
	struct loaded *l = calloc(1, sizeof(*l));

	assert_int_equal(conf_init(&l->c), 0);
	conf_report_init(&l->rep);
	l->rc = conf_load_text(&l->c, "test.conf", text, &l->rep);
	assert_int_equal(l->rc == 0, l->rep.errors == 0);
	return l;
}

static inline void unload(struct loaded *l)
{
	conf_report_free(&l->rep);
	conf_fini(&l->c);
	free(l);
}

/* Number of lines of the level (-1: any) that contain all of a and b (b may be NULL). */
static inline unsigned lines_with(const struct conf_report *rep, int level, const char *a, const char *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < rep->count; i++)
		n += (level < 0 || rep->lines[i].level == (enum log_level)level) && strstr(rep->lines[i].text, a) &&
		     (!b || strstr(rep->lines[i].text, b));
	return n;
}

static inline void show(const struct conf_report *rep)
{
	for (unsigned i = 0; i < rep->count; i++)
		print_message("  [%s] %s\n", log_level_name(rep->lines[i].level), rep->lines[i].text);
}

#define assert_line(rep, level, a, b)                                   \
	do {                                                            \
		if (!lines_with(rep, level, a, b)) {                    \
			show(rep);                                      \
			fail_msg("no line with \"%s\" \"%s\"", (const char *)(a), (const char *)(b) ? (const char *)(b) : ""); \
		}                                                       \
	} while (0)

/* The text after BASE is taken without a word. */
static inline void takes(const char *text)
{
	char all[4096];
	struct loaded *l;

	snprintf(all, sizeof(all), BASE "%s\n", text);
	l = load(all);
	if (l->rc) {
		show(&l->rep);
		fail_msg("refused: %s", text);
	}
	unload(l);
}

/* The text (third line of the file) is refused with a line that names file, line and `word`. */
static inline void refuses(const char *text, const char *word)
{
	char all[4096];
	struct loaded *l;

	snprintf(all, sizeof(all), BASE "%s\n", text);
	l = load(all);
	if (!l->rc)
		fail_msg("taken: %s", text);
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:3: ", word);
	unload(l);
}

#endif

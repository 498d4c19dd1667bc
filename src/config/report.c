/* report.c - the lines that checking a configuration produces: collected, so that all errors are shown in one go. */
#include "config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void conf_report_init(struct conf_report *rep)
{
	memset(rep, 0, sizeof(*rep));
}

void conf_report_free(struct conf_report *rep)
{
	for (unsigned i = 0; i < rep->count; i++)
		free(rep->lines[i].text);
	free(rep->lines);
	conf_report_init(rep);
}

void conf_report_add(struct conf_report *rep, enum log_level level, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	/* counted first: an error stays an error when there is no memory for its text */
	if (level == LOG_LEVEL_ERROR)
		rep->errors++;
	if (rep->count == rep->capacity) {
		unsigned want = rep->capacity ? rep->capacity * 2 : 16;
		struct conf_line *more = realloc(rep->lines, want * sizeof(*more));

		if (!more)
			return;
		rep->lines = more;
		rep->capacity = want;
	}
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (!text)
		return;
	rep->lines[rep->count++] = (struct conf_line){ .level = level, .text = text };
}

void conf_report_print(const struct conf_report *rep)
{
	for (unsigned i = 0; i < rep->count; i++)
		log_msg(rep->lines[i].level, "%s", rep->lines[i].text);
}

/* cpulist.c - CPU lists as people write them: "2,4-6,0x8". Pure functions. */
#include "config/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void conf_cpus_add(struct conf_cpus *s, unsigned cpu)
{
	if (cpu >= CONF_CPU_MAX || conf_cpus_has(s, cpu))
		return;
	s->bits[cpu / 64] |= 1ULL << (cpu % 64);
	if (s->count < CONF_STACK_MAX)
		s->list[s->count] = (uint16_t)cpu;
	s->count++;
}

static const char *skip_blank(const char *p)
{
	while (isblank((unsigned char)*p))
		p++;
	return p;
}

/* One id, decimal or 0x-hexadecimal; NULL: none here, or beyond CONF_CPU_MAX (*value says which). */
static const char *parse_id(const char *p, unsigned long *value)
{
	bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	char *end;

	*value = 0;
	p += hex ? 2 : 0;
	if (hex ? !isxdigit((unsigned char)*p) : !isdigit((unsigned char)*p))
		return NULL;
	*value = strtoul(p, &end, hex ? 16 : 10); /* saturates: beyond the limit in any case */
	return *value < CONF_CPU_MAX ? end : NULL;
}

int conf_cpus_parse(const char *text, struct conf_cpus *out, char *err, size_t err_bytes)
{
	const char *p = skip_blank(text);

	memset(out, 0, sizeof(*out));
	if (!*p) {
		snprintf(err, err_bytes, "empty list");
		return -EINVAL;
	}
	for (;;) {
		unsigned long first, last;
		const char *from = p;

		p = parse_id(p, &first);
		if (!p) {
			if (first)
				snprintf(err, err_bytes, "CPU id at \"%.12s\" is above %d", from, CONF_CPU_MAX - 1);
			else
				snprintf(err, err_bytes, "a CPU id is missing at \"%.12s\"", from);
			return -EINVAL;
		}
		last = first;
		p = skip_blank(p);
		if (*p == '-') {
			p = skip_blank(p + 1);
			from = p;
			p = parse_id(p, &last);
			if (!p) {
				snprintf(err, err_bytes, "the range's end at \"%.12s\" is no CPU id below %d", from, CONF_CPU_MAX);
				return -EINVAL;
			}
			if (last < first) {
				snprintf(err, err_bytes, "range %lu-%lu runs backwards", first, last);
				return -EINVAL;
			}
			p = skip_blank(p);
		}
		for (unsigned long id = first; id <= last; id++)
			conf_cpus_add(out, (unsigned)id);
		if (!*p)
			return 0;
		if (*p != ',') {
			snprintf(err, err_bytes, "unexpected \"%.12s\"", p);
			return -EINVAL;
		}
		p = skip_blank(p + 1);
	}
}

const char *conf_cpus_text(const struct conf_cpus *s, char *buf, size_t bytes)
{
	size_t used = 0;

	if (bytes)
		buf[0] = '\0';
	for (unsigned i = 0; i < CONF_CPU_MAX;) {
		unsigned j;
		int n;

		if (!conf_cpus_has(s, i)) {
			i++;
			continue;
		}
		for (j = i; conf_cpus_has(s, j + 1); j++)
			;
		if (j == i)
			n = snprintf(buf + used, bytes - used, "%s%u", used ? "," : "", i);
		else
			n = snprintf(buf + used, bytes - used, "%s%u%c%u", used ? "," : "", i, j == i + 1 ? ',' : '-', j);
		if (n < 0 || (size_t)n >= bytes - used)
			break;
		used += (size_t)n;
		i = j + 1;
	}
	return buf;
}

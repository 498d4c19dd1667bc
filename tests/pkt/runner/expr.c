/* expr.c - assertions in packet scripts: recursive descent over integers, the part of Python's grammar that assertions
 * about tcp_info need. Bounded recursion. Called by exec.c and a fuzz target. */
#include "expr.h"
#include "script.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct expr {
	const char *p;
	expr_name_fn name;
	void *arg;
	unsigned depth;
	const char *error;
	char seen[160]; /* "name = value" of names met */
};

static int64_t or_expr(struct expr *x);

static void blanks(struct expr *x)
{
	while (*x->p == ' ' || *x->p == '\t' || *x->p == '\r')
		x->p++;
}

static bool take(struct expr *x, const char *t)
{
	size_t n = strlen(t);

	blanks(x);
	if (strncmp(x->p, t, n))
		return false;
	if (isalpha((unsigned char)t[0]) && (isalnum((unsigned char)x->p[n]) || x->p[n] == '_'))
		return false;
	x->p += n;
	return true;
}

static int64_t primary(struct expr *x)
{
	int64_t v = 0;
	size_t n = 0;

	blanks(x);
	if (x->error)
		return 0;
	if (++x->depth > 64) {
		x->error = "nested too deeply";
		return 0;
	}
	if (take(x, "(")) {
		v = or_expr(x);
		if (!take(x, ")"))
			x->error = "expected )";
	} else if (take(x, "-")) {
		v = (int64_t)(0 - (uint64_t)primary(x));
	} else if (take(x, "not")) {
		v = !primary(x);
	} else if (isdigit((unsigned char)*x->p)) {
		char *end;

		v = (int64_t)strtoull(x->p, &end, 0);
		x->p = end;
	} else {
		while (isalnum((unsigned char)x->p[n]) || x->p[n] == '_')
			n++;
		if (!n || (!x->name(x->arg, x->p, n, &v) && !script_constant(x->p, n, &v))) {
			x->error = "unknown name or missing operand";
		} else {
			size_t k = strlen(x->seen);

			snprintf(x->seen + k, sizeof(x->seen) - k, " %.*s=%lld", (int)MIN(n, 40u), x->p, (long long)v);
		}
		x->p += n;
	}
	x->depth--;
	return v;
}

static int64_t product(struct expr *x)
{
	int64_t v = primary(x), w;

	for (;;) {
		if (take(x, "*")) {
			v = (int64_t)((uint64_t)v * (uint64_t)primary(x));
		} else if (take(x, "//") || take(x, "/") || take(x, "%")) {
			bool mod = x->p[-1] == '%';

			w = primary(x);
			if (w == 0 || w == -1)
				w = 1;
			v = mod ? v % w : v / w;
		} else {
			return v;
		}
	}
}

static int64_t sum(struct expr *x)
{
	int64_t v = product(x);

	for (;;) {
		if (take(x, "+"))
			v = (int64_t)((uint64_t)v + (uint64_t)product(x));
		else if (take(x, "-"))
			v = (int64_t)((uint64_t)v - (uint64_t)product(x));
		else if (take(x, "&"))
			v &= product(x);
		else
			return v;
	}
}

static int64_t comparison(struct expr *x)
{
	static const char *const ops[] = { "==", "!=", "<=", ">=", "<", ">" };
	int64_t v = sum(x);
	bool holds = true, compared = false;

	/* a <= b <= c */
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		int64_t w;

		if (!take(x, ops[i]))
			continue;
		w = sum(x);
		holds = holds && (i == 0 ? v == w : i == 1 ? v != w : i == 2 ? v <= w : i == 3 ? v >= w : i == 4 ? v < w : v > w);
		compared = true;
		v = w;
		i = UINT_MAX; /* the next */
	}
	return compared ? holds : v;
}

static int64_t and_expr(struct expr *x)
{
	int64_t v = comparison(x);

	while (take(x, "and")) {
		int64_t w = comparison(x);

		v = v && w;
	}
	return v;
}

static int64_t or_expr(struct expr *x)
{
	int64_t v;

	if (++x->depth > 64) {
		x->error = "nested too deeply";
		return 0;
	}
	v = and_expr(x);
	while (take(x, "or")) {
		int64_t w = and_expr(x);

		v = v || w;
	}
	x->depth--;
	return v;
}

int expr_run(const char *code, expr_name_fn name, void *arg, char *why, size_t why_bytes)
{
	struct expr x = { .p = code, .name = name, .arg = arg };

	for (;;) {
		const char *start;
		int64_t v;
		int len;

		while (isspace((unsigned char)*x.p) || *x.p == ';' || (*x.p == '\\' && x.p[1] == '\n'))
			x.p++;
		if (!*x.p)
			return 0;
		start = x.p;
		len = (int)strcspn(start, "\n;");
		if (*x.p == '#') {
			x.p += len;
			continue;
		}
		if (!take(&x, "assert")) {
			snprintf(why, why_bytes, "only \"assert EXPRESSION\" is known here: %.*s", len, start);
			return -1;
		}
		x.seen[0] = 0;
		v = or_expr(&x);
		blanks(&x);
		if (!x.error && *x.p != ',' && *x.p != '\n' && *x.p != ';' && *x.p != '#' && *x.p)
			x.error = "unexpected text";
		if (x.error || !v) {
			snprintf(why, why_bytes, "%s: %.*s (%s )", x.error ? x.error : "assertion is false", len, start,
				 x.seen);
			return -1;
		}
		x.p += strcspn(x.p, "\n;");
	}
}

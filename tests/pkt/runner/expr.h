/* expr.h - the code blocks of packet scripts: "assert a == b and c < 10, 'text'", one per line. */
#ifndef GZ_PKT_EXPR_H
#define GZ_PKT_EXPR_H

#include "base/compiler.h"

/* Value of a name; false: unknown. */
typedef bool (*expr_name_fn)(void *arg, const char *name, size_t len, int64_t *out);
/* Runs all assertions. 0; -1: one is false or malformed, why says which with the values on both sides. */
int expr_run(const char *code, expr_name_fn name, void *arg, char *why, size_t why_bytes);

#endif

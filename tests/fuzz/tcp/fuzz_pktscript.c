/* fuzz_pktscript.c - any bytes as a packet script: the parser of tests/pkt and its assertions. */
#include "expr.h"
#include "script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool some_name(void *arg, const char *name, size_t len, int64_t *out)
{
	*out = (int64_t)len;
	return len > 4 && name[0] == 't';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script sc;
	char why[200];

	if (script_parse(&sc, "fuzz", (const char *)data, size) == 0)
		for (struct event *e = sc.first; e; e = e->next) {
			if (e->code)
				expr_run(e->code, some_name, NULL, why, sizeof(why));
		}
	script_free(&sc);
	return 0;
}

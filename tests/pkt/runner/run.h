/* run.h - executes a parsed packet script on host 0 of a fresh test environment. */
#ifndef GZ_PKT_RUN_H
#define GZ_PKT_RUN_H

#include "script.h"

enum run_mode { RUN_PLAIN, RUN_OFFLOAD, RUN_MODES };
extern const char *const run_mode_names[RUN_MODES];

/* 0: everything went as written; -1: why says file:line, what was expected and what was seen. verbose: a trace on stdout. */
int script_run(const struct script *sc, enum run_mode mode, bool verbose, char *why, size_t why_bytes);

#endif

/* run.h - plays a parsed packet script against a system under test. */
#ifndef GZ_PKT_RUN_H
#define GZ_PKT_RUN_H

#include "script.h"
#include "sut.h"

enum run_result { RUN_PASSED, RUN_FAILED, RUN_SKIPPED };

struct run_opts {
	bool verbose;	  /* a trace on stdout */
	bool record;	  /* write down what the system does instead of judging it: the script on stdout, with packets and results filled in */
	bool public;	  /* as the public tool judges: PSH is compared, packets after the last one of a script are no failure */
	int64_t slack_us; /* added to every tolerance: real time on a busy machine */
};

/* RUN_FAILED: why says file:line, what was expected and what was seen. RUN_SKIPPED: the script asks for something (a setting) that the system does
 * not have; why says what. */
enum run_result script_run(const struct script *sc, const struct sut *sut, const struct run_opts *opts, char *why, size_t why_bytes);

#endif

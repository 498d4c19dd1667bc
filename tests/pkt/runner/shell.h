/* shell.h - see shell.c */
#ifndef GZ_PKT_SHELL_H
#define GZ_PKT_SHELL_H

#include "base/compiler.h"

/* The shell text of a script (its path: a defaults.sh is sought beside it; NULL: nothing is), command by command. sysctl(arg, "tcp_sack", "0") for each assignment below net.ipv4; false from it: stop.
 * 0; -1: why says which command means something that is not known here. */
int shell_run(const char *script, const char *text, bool (*sysctl)(void *arg, const char *name, const char *value, char *why, size_t why_bytes), void *arg,
	      char *why, size_t why_bytes);

#endif

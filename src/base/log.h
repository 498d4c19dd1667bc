/* log.h - messages for people. "what failed: why (seen, needed): what to do".
 *
 * During start they go to syslog and, if it is open, standard error; after log_start_done() to syslog or
 * log_file only, never to descriptor 2 (it may be a client's socket by then). Prefix "LSTACK:". Rate
 * limited after start. Never called on the packet path. Any thread; not async-signal-safe. */
#ifndef GZ_BASE_LOG_H
#define GZ_BASE_LOG_H

#include "base/compiler.h"

#include <stdio.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* One line (a newline at the end is not needed); longer than 1,000 bytes is cut. errno is preserved. */
void log_msg(enum log_level level, const char *fmt, ...) printf_like(2, 3);
#define log_error(...) log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_info(...) log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* The level is "info" unless GAZELLE_LOG says otherwise. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Parses "error" | "info" | "debug"; 0 or -EINVAL. */
int log_level_parse(const char *word, enum log_level *level);
const char *log_level_name(enum log_level level);
/* After start: nothing goes to standard error any more. path: file to append to, or NULL for syslog.
 * 0 or -errno (the file cannot be opened; syslog is used then). The descriptor is moved high (base/ownfd.h). */
int log_start_done(const char *path);
/* Messages withheld by the rate limit and not yet reported. */
uint64_t log_suppressed(void);

/* A stream for another library's messages (rte_openlog_stream() around EAL start): each line becomes a debug message, and the
 * last ones are kept for log_capture_tail(). Made once; NULL: no memory. */
FILE *log_capture_stream(void);
/* The kept lines that look like what went wrong (else the last line), joined by "; ": to quote when EAL fails. */
void log_capture_tail(char *buf, size_t bytes);

#endif

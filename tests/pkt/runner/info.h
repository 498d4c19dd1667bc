/* info.h - see info.c */
#ifndef GZ_PKT_INFO_H
#define GZ_PKT_INFO_H

#include "base/compiler.h"

#define INFO_BYTES 512
#define INFO_OPTION 11 /* TCP_INFO */

/* An expr_name_fn: arg is the tcp_info, aligned for it. */
bool info_name(void *arg, const char *name, size_t len, int64_t *out);

#endif

/* gzsys_int.h - what gzsys.c and sysctl.c share. */
#ifndef GZ_PKT_GZSYS_INT_H
#define GZ_PKT_GZSYS_INT_H

#include "base/compiler.h"

struct sock;

/* What sysctls give a new stream socket. */
void gzsys_new_socket(struct sock *s);

#endif

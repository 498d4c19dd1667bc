/* fuzz_common.h - see fuzz_common.c */
#ifndef GZ_FUZZ_COMMON_H
#define GZ_FUZZ_COMMON_H

#include "bytes.h"
#include "testenv.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A fresh stack; how: bits that choose offloads. */
void fuzz_open(uint8_t how);
/* Throws away what the stack sent. */
void fuzz_drop_sent(void);
/* The peer resets every connection that the stack still has, then the time of quarantines and
 * timers passes: nothing may be left. */
void fuzz_reset_all(void);
/* Ends it; aborts when a frame broke a rule or an mbuf leaked. */
void fuzz_close(void);

#endif

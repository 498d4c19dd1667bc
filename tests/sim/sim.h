/* sim.h - what the parts of the program `sim` share: the table being written, failures, conditions. */
#ifndef GZ_SIM_SIM_H
#define GZ_SIM_SIM_H

#include "world.h"

/* Writes to the table. */
void emit(const char *fmt, ...) printf_like(1, 2);
/* Counts a failure and tells about it unless the flow finished without a problem. */
void judge(const char *what, const struct flow *f, bool finished);
extern int failures;

/* Tables: one function each, in sim.c's list. */
void table_goodput(void);
void table_close(void);
void table_fairness(void);
void table_matrix(void);
void table_short(void);
void table_long(void);

/* random.c: worlds from `seed` on until there were so many connections; returns the exit code. verbose: tells about each. */
int random_runs(uint64_t seed, uint64_t connections, bool verbose);

#endif

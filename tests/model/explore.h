/* explore.h - explores every interleaving of a few small threads over a shared memory with store buffers (x86-TSO: a plain
 * store becomes visible later; an atomic read-modify-write or a fence waits until the own buffer is empty).
 *
 * A model is a set of programs, each a function that executes one atomic instruction of thread t and says what happened. The
 * explorer runs a depth-first search over all states (kept in a hash set) and reports the first violated property with
 * the path that led there. Used by the models of ownership, sleeping, watch, readiness and pins.
 */
#ifndef TESTS_MODEL_EXPLORE_H
#define TESTS_MODEL_EXPLORE_H

#include "base/compiler.h"

#define MX_THREADS 4
#define MX_VARS 20
#define MX_REGS 4
#define MX_BUFFER 4

struct mx_state {
	uint8_t mem[MX_VARS];
	uint8_t pc[MX_THREADS];
	uint8_t reg[MX_THREADS][MX_REGS];
	uint8_t sb_len[MX_THREADS];
	uint8_t sb_var[MX_THREADS][MX_BUFFER], sb_val[MX_THREADS][MX_BUFFER];
	uint8_t parked[MX_THREADS]; /* sleeping in the kernel on variable parked - 1 */
	uint8_t bad;		    /* a property was violated in this step */
};

/* What one instruction did. MX_BLOCKED: it cannot run now. */
enum mx_result { MX_BLOCKED, MX_STEP, MX_DONE };
#define MX_END 255 /* pc of a finished thread */

struct mx_model {
	const char *name;
	unsigned threads;
	enum mx_result (*step)(struct mx_state *s, unsigned t, unsigned fault);
	void (*init)(struct mx_state *s);
	/* Called in states where nobody can move: true if the property holds there. */
	bool (*final_ok)(const struct mx_state *s);
	unsigned faults; /* planted faults 1..faults; 0 is the real protocol */
	const char *const *fault_names;
	unsigned not_here; /* bit f: fault f cannot show in this model */
};

/* Explores everything; returns true if no property is violated. states: how many were visited. path: human-readable path to the violation. */
bool mx_explore(const struct mx_model *m, unsigned fault, uint64_t *states, char *path, size_t path_bytes);

/* --- instructions --- */
uint8_t mx_load(const struct mx_state *s, unsigned t, unsigned var);
/* A plain store: into the buffer; false: buffer full (the instruction is blocked until something drained). */
bool mx_store(struct mx_state *s, unsigned t, unsigned var, uint8_t val);
/* May a read-modify-write or fence run? (own buffer empty) */
static inline bool mx_fenced(const struct mx_state *s, unsigned t) { return s->sb_len[t] == 0; }
/* futex: sleeps if mem[var] == val, atomically */
void mx_park_if(struct mx_state *s, unsigned t, unsigned var, uint8_t val);
/* wakes everyone (or one) that sleeps on var */
void mx_wake(struct mx_state *s, unsigned var);

/* Straight-line helpers for step functions: `NEXT` moves on, `GOTO` jumps. */
#define MX_NEXT(s, t) ((s)->pc[t]++, MX_STEP)
#define MX_GOTO(s, t, to) ((s)->pc[t] = (to), MX_STEP)

#endif

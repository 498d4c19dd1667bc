/* idle.h - waiting: running stacks inline, the watch, sleeping, the keeper (runtime.md, "Sleeping").
 *
 * A thread that waits for something in the library (1) runs the stacks it can own (run-to-completion), (2) spins for
 * gz->spin_us, (3) sleeps by idle_sleep(). Of the threads of the home that sleep, one per idle stack holds the *watch*: it sleeps on
 * the device's descriptor, the stack's doorbell and the next timer as well, and so stands for all. In run-to-wakeup the stack's own
 * thread is the watcher. Lost wake-ups are excluded by: publish (sleeping / watch, seq_cst), then check everything again.
 */
#ifndef GZ_STACK_IDLE_H
#define GZ_STACK_IDLE_H

#include "stack/own.h"

#include <sched.h>

struct pollfd;

/* Run-to-completion in the home: tries to own each stack once and runs one round of it; returns the sum of stack_poll_once()
 * (0: nothing happened). Elsewhere: 0 at once. */
unsigned idle_run_stacks(struct thread_rec *self);

/* Sleeps until thread_wake(self), one of the n kernel descriptors is ready (revents are set), the deadline (clock_now_us;
 * UINT64_MAX none), or a deferred signal. `ready(arg)` is evaluated after the sleep was published; true: returns at once.
 * As watcher it runs its stack(s) inline whenever device, doorbell or timer say so, and returns after each such round so that the caller looks
 * at its condition. 0: look again; -ETIMEDOUT; -EINTR (gz_interrupted()). Any thread, any process. */
int idle_sleep(struct thread_rec *self, struct pollfd *pfds, unsigned n, uint64_t deadline_us,
	       bool (*ready)(void *arg), void *arg);
/* The caller leaves the library wait with work in hand: gives the watch, if it holds it, to another sleeper or the keeper. Cheap when it does
 * not hold it. */
void idle_leave(struct thread_rec *self);

/* CPUs to which threads that wait are bound at their first sleep (app_bind_numa); boot, before threads. */
void idle_set_app_cpus(const cpu_set_t *cpus);

/* Threads of the home, started by boot. */
int keeper_start(void);
void keeper_stop(void);
/* Wakes the keeper if it sleeps. Any thread. */
void keeper_poke(void);
/* Called once a second by the keeper (reaping dead clients); set by boot before keeper_start(). */
extern void (*idle_housekeeping_hook)(void);
int stack_thread_start(struct stack *st); /* run-to-wakeup */
void stack_thread_stop(struct stack *st);

#endif

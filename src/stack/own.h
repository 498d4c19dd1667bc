/* own.h - the ownership word, commands, and calls (runtime.md, "Ownership word and commands").
 *
 * Invariant: after stack_post() returned, some thread will run the command: the producer pushes (seq_cst), then tries
 * the word; if that fails the owner, on leaving, exchanges the word with 0 (seq_cst) and looks at the inbox again.
 * Sections that own contain no cancellation points and run with application signals deferred.
 */
#ifndef GZ_STACK_OWN_H
#define GZ_STACK_OWN_H

#include "base/clock.h"
#include "stack/stack.h"

/* Takes ownership if free; home threads that own nothing else. Sets the thread's lcore id. */
bool stack_try_own(struct stack *st, struct thread_rec *self);
/* Drains, runs output, releases; re-checks the inbox and goes round while commands are left and the word is free. */
void stack_leave(struct stack *st, struct thread_rec *self);

/* The owner's time, which never steps back: threads take turns, and one's clock may be a hair behind the other's. */
static force_inline void stack_set_time(struct stack *st, uint64_t now_us) { st->now_us = MAX(st->now_us, now_us); }
static force_inline void stack_look_at_clock(struct stack *st) { stack_set_time(st, clock_now_us()); }

static force_inline bool stack_owned_by(const struct stack *st, const struct thread_rec *self)
{
	return self->owned == st;
}

/* Leaves cmd for st (idempotence is the caller's: a node must not be on an inbox already) and sees to it that it is run:
 * inline when run-to-completion and the word is free, else by the owner, ringing the doorbell if it sleeps. Any thread. */
void stack_post(struct stack *st, struct cmd *cmd, struct thread_rec *self);

/* The same for a command that was marked as queued in a critical section, which ends when it is pushed: from then on it is run whoever dies. */
void stack_post_marked(struct stack *st, struct cmd *cmd, struct thread_rec *self);

/* Runs op on st and waits for the answer: inline when ownership can be had, else by command. Any thread, any process.
 * Returns the operation's result (>= 0 or -errno). The arguments are in self->call. */
int64_t stack_call(struct stack *st, uint16_t op, struct sock *s, struct thread_rec *self);

/* Runs at most st->cmd_budget commands; returns how many. Owner. */
unsigned stack_run_commands(struct stack *st);

/* Something is on the inbox or due that a sleeper must see: rings the doorbell if the watcher sleeps. Any thread. */
void stack_ring(struct stack *st);

#endif

/* models.c - the protocols of runtime.md in small, each with planted faults that the exploration must catch.
 *
 * Every model names the code that it stands for. Keep them in step: an instruction here is an atomic access there.
 * Fault 0 is the protocol as built and must hold in every interleaving; every other fault must be found, or the model proves nothing.
 */
#include "explore.h"

#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------------------
 * Ownership and commands: stack_post(), stack_try_own(), stack_leave() in stack/own.c. Two application threads each post one
 * command. Property: when nobody can move, both commands have run and the word is free.
 */
enum { O_WORD, O_INBOX, O_RUN };

static void own_init(struct mx_state *s) { memset(s, 0, sizeof(*s)); }
static bool own_final(const struct mx_state *s) { return s->mem[O_RUN] == 2 && s->mem[O_WORD] == 0 && s->mem[O_INBOX] == 0; }

static enum mx_result own_step(struct mx_state *s, unsigned t, unsigned fault)
{
	switch (s->pc[t]) {
	case 0: /* inbox_push(), seq_cst; fault 3: after the attempt (pc 9) */
		if (fault == 3)
			return MX_GOTO(s, t, 1);
		if (fault == 4) { /* a plain store: the owner's look at the inbox may come too early */
			if (!mx_store(s, t, O_INBOX, (uint8_t)(mx_load(s, t, O_INBOX) + 1)))
				return MX_BLOCKED;
			return MX_GOTO(s, t, 1);
		}
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[O_INBOX]++;
		return MX_GOTO(s, t, 1);
	case 1: /* stack_try_own(): look, then exchange */
		if (mx_load(s, t, O_WORD))
			return MX_GOTO(s, t, fault == 3 ? 9 : MX_END);
		return MX_GOTO(s, t, 2);
	case 2:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		if (s->mem[O_WORD])
			return MX_GOTO(s, t, fault == 3 ? 9 : MX_END);
		s->mem[O_WORD] = (uint8_t)(t + 1);
		if (fault == 3 && s->reg[t][1] == 0) { /* own command pushed only now */
			s->reg[t][1] = 1;
			s->mem[O_INBOX]++;
		}
		return MX_GOTO(s, t, 3);
	case 3: /* inbox_take(): all at once */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->reg[t][0] = s->mem[O_INBOX];
		s->mem[O_INBOX] = 0;
		return MX_GOTO(s, t, 4);
	case 4: /* run them */
		s->mem[O_RUN] = (uint8_t)(s->mem[O_RUN] + s->reg[t][0]);
		s->reg[t][0] = 0;
		return MX_GOTO(s, t, 5);
	case 5: /* release */
		if (fault == 1) { /* a plain store instead of the exchange */
			if (!mx_store(s, t, O_WORD, 0))
				return MX_BLOCKED;
			return MX_GOTO(s, t, 6);
		}
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[O_WORD] = 0;
		return fault == 2 ? MX_DONE : MX_GOTO(s, t, 6); /* fault 2: no second look */
	case 6:
		return mx_load(s, t, O_INBOX) ? MX_GOTO(s, t, 1) : MX_DONE;
	case 9: /* fault 3: tried first, pushes now and goes */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		if (s->reg[t][1] == 0)
			s->mem[O_INBOX]++;
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static const char *const own_faults[] = { "release by a plain store", "no second look after the release", "try before push",
					  "push by a plain store" };

/* ---------------------------------------------------------------------------------------------------------------
 * Wake object: thread_sleep_begin(), thread_sleep(), thread_wake() in stack/thread.c, once with the futex (W_BELL stays 0), once with
 * the eventfd of idle_sleep(). One sleeper waits for a condition that the other thread sets. Property: the sleeper gets through.
 */
enum { W_READY, W_SEQ, W_SLEEPING, W_BELL, W_BY_FD };

static void wake_init(struct mx_state *s) { memset(s, 0, sizeof(*s)); }
static void wake_fd_init(struct mx_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mem[W_BY_FD] = 1;
}
static bool wake_final(const struct mx_state *s) { return s->pc[0] == MX_END; }

static enum mx_result wake_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 0) {
		switch (s->pc[t]) {
		case 0: /* fault 1: condition looked at before the sequence and "sleeping", not after */
			if (fault == 1 && mx_load(s, t, W_READY))
				return MX_DONE;
			return MX_NEXT(s, t);
		case 1:
			s->reg[t][0] = mx_load(s, t, W_SEQ);
			return MX_NEXT(s, t);
		case 2:
			if (fault == 2 && s->mem[W_BY_FD]) { /* published by a plain store */
				if (!mx_store(s, t, W_SLEEPING, 1))
					return MX_BLOCKED;
				return MX_NEXT(s, t);
			}
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->mem[W_SLEEPING] = 1;
			return MX_NEXT(s, t);
		case 3:
			if (fault != 1 && mx_load(s, t, W_READY))
				return MX_DONE;
			return MX_NEXT(s, t);
		case 4: /* fault 4: the sequence is read only here, a wake-up in between is missed */
			if (fault == 4)
				s->reg[t][0] = mx_load(s, t, W_SEQ);
			return MX_GOTO(s, t, s->mem[W_BY_FD] ? 6 : 5);
		case 5: /* futex: the kernel flushes the buffer before it compares */
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->pc[t] = 8;
			mx_park_if(s, t, W_SEQ, s->reg[t][0]);
			return MX_STEP;
		case 6: /* idle_sleep(): the sequence once more, then ppoll() on the eventfd */
			return MX_GOTO(s, t, mx_load(s, t, W_SEQ) == s->reg[t][0] ? 7 : 8);
		case 7:
			if (!mx_fenced(s, t) || !s->mem[W_BELL])
				return MX_BLOCKED;
			s->mem[W_BELL] = 0;
			return MX_NEXT(s, t);
		case 8:
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->mem[W_SLEEPING] = 0;
			return MX_GOTO(s, t, 0);
		}
		return MX_BLOCKED;
	}
	switch (s->pc[t]) {
	case 0: /* fault 3: looks for a sleeper before it sets the condition */
		if (fault == 3) {
			s->reg[t][0] = mx_load(s, t, W_SLEEPING);
			s->pc[t]++;
			return MX_STEP;
		}
		return MX_NEXT(s, t);
	case 1:
		if (!mx_store(s, t, W_READY, 1))
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 2:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[W_SEQ]++;
		return MX_NEXT(s, t);
	case 3:
		if (fault != 3)
			s->reg[t][0] = mx_load(s, t, W_SLEEPING);
		return MX_NEXT(s, t);
	case 4:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		if (s->reg[t][0]) {
			mx_wake(s, W_SEQ);
			s->mem[W_BELL] = s->mem[W_BY_FD];
		}
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static const char *const wake_faults[] = { "condition checked before publishing", "sleeping published by a plain store",
					   "waker looks before it sets", "sequence read after the check" };
/* With the futex the kernel's comparison covers for a late "sleeping"; with the eventfd the bell rings on. */
#define WAKE_FUTEX_SKIPS 2u

/* ---------------------------------------------------------------------------------------------------------------
 * Watcher, doorbell and timers: watch_arm() in stack/idle.c against stack_leave()/stack_tell_sleepers() and a client's
 * stack_post()/stack_ring() in own.c. Thread 0 goes to sleep as watcher; thread 1 owns, arms an earlier timer and leaves; thread 2
 * (another process) leaves a command; once only the owner moves, once only the client, once both. Property: when all rest, the
 * watcher does not sleep past the timer nor over a command.
 */
enum { T_NEXT, T_UNTIL, T_ASLEEP, T_BELL, T_INBOX, T_LISTENING };
#define FAR 9
#define NEAR 3

static void watch_init(struct mx_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mem[T_NEXT] = FAR;
}

static void watch_owner_init(struct mx_state *s)
{
	watch_init(s);
	s->pc[2] = MX_END;
}

static void watch_client_init(struct mx_state *s)
{
	watch_init(s);
	s->pc[1] = MX_END;
}

static bool watch_final(const struct mx_state *s)
{
	/* Asleep with the bell silent: fine only if the time-out is early enough and no command waits. */
	if (s->pc[0] == MX_END)
		return true;
	return s->mem[T_BELL] != 0 || (s->reg[0][0] <= s->mem[T_NEXT] && s->mem[T_INBOX] == 0);
}

static enum mx_result watch_step(struct mx_state *s, unsigned t, unsigned fault)
{
	switch (t * 16 + s->pc[t]) {
	/* the watcher */
	case 0:
		s->reg[t][0] = mx_load(s, t, T_NEXT);
		return MX_NEXT(s, t);
	case 1:
		if (!mx_store(s, t, T_UNTIL, s->reg[t][0]))
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 2:
		if (fault == 1) {
			if (!mx_store(s, t, T_ASLEEP, 1))
				return MX_BLOCKED;
			return MX_NEXT(s, t);
		}
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[T_ASLEEP] = 1;
		return MX_NEXT(s, t);
	case 3: /* the timer again: fault 2 leaves that out */
		if (fault != 2)
			s->reg[t][0] = MIN(s->reg[t][0], mx_load(s, t, T_NEXT));
		return MX_NEXT(s, t);
	case 4: /* stack_has_work(): fault 3 leaves that out */
		if (fault != 3 && mx_load(s, t, T_INBOX))
			return MX_DONE;
		return MX_NEXT(s, t);
	case 5: /* ppoll: sleeps until the bell; the time-out itself is the property */
		if (!mx_fenced(s, t) || s->mem[T_BELL] == 0)
			return MX_BLOCKED;
		return MX_DONE;

	/* the owner that leaves */
	case 16:
		if (fault == 4) /* publishes the timer only after the release */
			return MX_NEXT(s, t);
		if (!mx_store(s, t, T_NEXT, NEAR))
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 17: /* exchange of the ownership word */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 18:
		s->reg[t][0] = mx_load(s, t, T_ASLEEP);
		return MX_NEXT(s, t);
	case 19:
		if (!s->reg[t][0] || mx_load(s, t, T_UNTIL) <= NEAR)
			return fault == 4 ? MX_GOTO(s, t, 5) : MX_DONE;
		return fault == 5 ? MX_DONE : MX_GOTO(s, t, 4); /* fault 5: tells nobody */
	case 20: /* stack_ring() */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		if (s->mem[T_ASLEEP]) {
			s->mem[T_ASLEEP] = 0;
			s->mem[T_BELL] = 1;
		}
		return fault == 4 ? MX_GOTO(s, t, 5) : MX_DONE;
	case 21:
		if (!mx_store(s, t, T_NEXT, NEAR))
			return MX_BLOCKED;
		return MX_DONE;

	/* the client */
	case 32: /* fault 6: looks at asleep before the push */
		if (fault == 6)
			s->reg[t][0] = mx_load(s, t, T_ASLEEP);
		return MX_NEXT(s, t);
	case 33:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[T_INBOX] = 1;
		return MX_NEXT(s, t);
	case 34:
		if (fault != 6)
			s->reg[t][0] = mx_load(s, t, T_ASLEEP);
		return s->reg[t][0] ? MX_NEXT(s, t) : MX_DONE;
	case 35:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		if (s->mem[T_ASLEEP]) {
			s->mem[T_ASLEEP] = 0;
			s->mem[T_BELL] = 1;
		}
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static const char *const watch_faults[] = { "asleep published by a plain store", "timer not looked at again",
					    "inbox not looked at again", "timer published after the release",
					    "leaving owner tells nobody", "client looks before it pushes" };

/* ---------------------------------------------------------------------------------------------------------------
 * Hand-over of the watch: idle_sleep()/idle_leave() in stack/idle.c. Thread 0 holds the watch and leaves; thread 1 goes to sleep.
 * Property: when thread 1 sleeps, it holds the watch (nobody else is left to hold it).
 */
enum { H_WATCH, H_MARK, H_SEQ, H_SLEEPING };

static void hand_init(struct mx_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mem[H_WATCH] = 1; /* thread 0 */
}

static bool hand_final(const struct mx_state *s)
{
	return s->mem[H_WATCH] == 2;
}

static enum mx_result hand_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 0) {
		switch (s->pc[t]) {
		case 0: /* watch_drop(); fault 1: looks for an heir first */
			if (fault == 1)
				s->reg[t][0] = mx_load(s, t, H_MARK);
			return MX_NEXT(s, t);
		case 1:
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->mem[H_WATCH] = 0;
			return MX_NEXT(s, t);
		case 2: /* waiting_find() */
			if (fault != 1)
				s->reg[t][0] = mx_load(s, t, H_MARK);
			return s->reg[t][0] && fault != 2 ? MX_NEXT(s, t) : MX_DONE; /* fault 2: wakes nobody */
		case 3: /* thread_wake() */
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->mem[H_SEQ]++;
			return MX_NEXT(s, t);
		case 4:
			if (mx_load(s, t, H_SLEEPING))
				mx_wake(s, H_SEQ);
			return MX_DONE;
		}
		return MX_BLOCKED;
	}
	switch (s->pc[t]) {
	case 0: /* watch_take_free() */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		if (s->mem[H_WATCH] == 0 || s->mem[H_WATCH] == 2) {
			s->mem[H_WATCH] = 2;
			return MX_DONE; /* sleeps as the watcher: what follows is the model above */
		}
		return MX_NEXT(s, t);
	case 1:
		s->reg[t][0] = mx_load(s, t, H_SEQ);
		return MX_NEXT(s, t);
	case 2:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[H_SLEEPING] = 1;
		return MX_NEXT(s, t);
	case 3: /* waiting_mark() */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[H_MARK] = 1;
		return MX_NEXT(s, t);
	case 4: /* watch_is_free(): fault 3 leaves that out */
		if (fault != 3 && mx_load(s, t, H_WATCH) == 0)
			return MX_GOTO(s, t, 6);
		return MX_NEXT(s, t);
	case 5:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->pc[t]++;
		mx_park_if(s, t, H_SEQ, s->reg[t][0]);
		return MX_STEP;
	case 6:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[H_SLEEPING] = s->mem[H_MARK] = 0;
		return MX_GOTO(s, t, 0);
	}
	return MX_BLOCKED;
}

static const char *const hand_faults[] = { "heir looked for before the watch is free", "heir not woken",
					   "watch not looked at again after the mark" };

/* ---------------------------------------------------------------------------------------------------------------
 * Readiness and an instance's ready list: sock_up_data()/sock_up_notify() against the waiter in sock/epoll.c. The stack adds
 * data twice; the application takes an item, reads all there is, and waits when the list is empty. Property: at rest, no data is
 * unread while the item is not listed.
 */
enum { R_WRITTEN, R_READ, R_QUEUED, R_LIST, R_SEQ };

static void ready_init(struct mx_state *s) { memset(s, 0, sizeof(*s)); }
static bool ready_final(const struct mx_state *s) { return s->mem[R_WRITTEN] == s->mem[R_READ] && s->mem[R_WRITTEN] == 2; }

static enum mx_result ready_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 0) { /* the stack */
		switch (s->pc[t]) {
		case 0:
		case 5:
			if (!mx_store(s, t, R_WRITTEN, (uint8_t)(mx_load(s, t, R_WRITTEN) + 1)))
				return MX_BLOCKED;
			return MX_NEXT(s, t);
		case 1:
		case 6: /* queued: exchange 1; fault 3: a plain load that may pass the store before it */
			if (fault == 3) {
				if (mx_load(s, t, R_QUEUED))
					return MX_GOTO(s, t, s->pc[t] + 3);
				return MX_NEXT(s, t);
			}
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->reg[t][0] = s->mem[R_QUEUED];
			s->mem[R_QUEUED] = 1;
			return s->reg[t][0] ? MX_GOTO(s, t, s->pc[t] + 3) : MX_NEXT(s, t);
		case 2:
		case 7:
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			if (fault == 3)
				s->mem[R_QUEUED] = 1;
			s->mem[R_LIST] = 1;
			return MX_NEXT(s, t);
		case 3:
		case 8: /* wake, as in the model above */
			s->mem[R_SEQ]++;
			mx_wake(s, R_SEQ);
			return MX_NEXT(s, t);
		case 4:
			return MX_NEXT(s, t);
		case 9:
			return MX_DONE;
		}
		return MX_BLOCKED;
	}
	switch (s->pc[t]) { /* the application */
	case 0:
		if (s->mem[R_READ] == 2)
			return MX_DONE;
		s->reg[t][0] = s->mem[R_SEQ];
		return MX_NEXT(s, t);
	case 1:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		if (!s->mem[R_LIST]) {
			s->pc[t] = 0;
			mx_park_if(s, t, R_SEQ, s->reg[t][0]);
			return MX_STEP;
		}
		s->mem[R_LIST] = 0;
		return fault == 1 ? MX_GOTO(s, t, 3) : MX_NEXT(s, t);
	case 2: /* clear queued, then compute readiness; fault 1 the other way round; fault 2 by a plain store */
		if (fault == 2) {
			if (!mx_store(s, t, R_QUEUED, 0))
				return MX_BLOCKED;
			return MX_NEXT(s, t);
		}
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[R_QUEUED] = 0;
		return fault == 1 ? MX_GOTO(s, t, 4) : MX_NEXT(s, t);
	case 3:
		s->reg[t][1] = mx_load(s, t, R_WRITTEN);
		return fault == 1 ? MX_GOTO(s, t, 2) : MX_NEXT(s, t);
	case 4: /* edge-triggered reader: takes what it saw */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[R_READ] = s->reg[t][1];
		return MX_GOTO(s, t, 0);
	}
	return MX_BLOCKED;
}

static const char *const ready_faults[] = { "readiness computed before the item is unlisted",
					    "item unlisted by a plain store", "setter only looks whether it is listed" };

/* ---------------------------------------------------------------------------------------------------------------
 * Pins: posix/fdtable.c (look up, pin, look again) against the end of a socket in sock/sock.c (clear the entry, scan the pins, free).
 * Property: nobody uses a freed socket.
 */
enum { P_ENTRY, P_PIN, P_FREED };

static void pin_init(struct mx_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mem[P_ENTRY] = 1;
}
static bool pin_final(const struct mx_state *s) { return !s->bad; }

static enum mx_result pin_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 0) {
		switch (s->pc[t]) {
		case 0:
			if (!mx_load(s, t, P_ENTRY))
				return MX_DONE;
			return MX_NEXT(s, t);
		case 1:
			if (fault == 1) { /* pinned by a plain store */
				if (!mx_store(s, t, P_PIN, 1))
					return MX_BLOCKED;
				return MX_NEXT(s, t);
			}
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->mem[P_PIN] = 1;
			return MX_NEXT(s, t);
		case 2: /* the entry again: fault 2 leaves that out */
			if (fault != 2 && !mx_load(s, t, P_ENTRY))
				return MX_GOTO(s, t, 4);
			return MX_NEXT(s, t);
		case 3:
			if (s->mem[P_FREED])
				s->bad = 1;
			return MX_NEXT(s, t);
		case 4:
			if (!mx_store(s, t, P_PIN, 0))
				return MX_BLOCKED;
			return MX_DONE;
		}
		return MX_BLOCKED;
	}
	switch (s->pc[t]) {
	case 0: /* fault 3: scans before the entry is cleared */
		if (fault == 3 && mx_load(s, t, P_PIN))
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 1: /* exchange of the entry */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[P_ENTRY] = 0;
		return MX_NEXT(s, t);
	case 2: /* scan: a pinned one waits as a zombie */
		if (fault != 3 && mx_load(s, t, P_PIN))
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 3:
		s->mem[P_FREED] = 1;
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static const char *const pin_faults[] = { "pinned by a plain store", "entry not looked at again", "pins scanned too early" };

/* ---------------------------------------------------------------------------------------------------------------
 * One readiness wakes one waiter, and a waiter that leaves without using it passes it on: sock/epoll.c. Threads 0 and 1 wait on one
 * instance; thread 0 may time out at any moment; thread 2 adds one item and wakes one waiter. Property: at rest the item was taken.
 */
enum { E_LIST, E_TAKEN, E_SLEEP0, E_SLEEP1, E_BELL0, E_BELL1 };

static void pass_init(struct mx_state *s) { memset(s, 0, sizeof(*s)); }
static bool pass_final(const struct mx_state *s) { return s->mem[E_TAKEN] == 1; }

/* Wakes one sleeper, thread 0 first; false: there was none. */
static bool pass_wake_one(struct mx_state *s)
{
	for (unsigned w = 0; w < 2; w++)
		if (s->mem[E_SLEEP0 + w]) {
			s->mem[E_SLEEP0 + w] = 0;
			s->mem[E_BELL0 + w] = 1;
			return true;
		}
	return false;
}

static enum mx_result pass_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 2) {
		switch (s->pc[t]) {
		case 0:
			s->mem[E_LIST] = 1;
			return MX_NEXT(s, t);
		case 1:
			pass_wake_one(s);
			return MX_DONE;
		}
		return MX_BLOCKED;
	}
	switch (s->pc[t]) {
	case 0: /* publish */
		s->mem[E_SLEEP0 + t] = 1;
		return MX_NEXT(s, t);
	case 1: /* look again (fault 2 leaves that out) */
		if (fault != 2 && s->mem[E_LIST])
			return MX_GOTO(s, t, 3);
		return MX_NEXT(s, t);
	case 2: /* asleep: woken, or (thread 0) the time is over */
		if (s->mem[E_BELL0 + t])
			return MX_GOTO(s, t, 3);
		if (t == 0)
			return MX_GOTO(s, t, 5);
		return MX_BLOCKED;
	case 3:
		s->mem[E_SLEEP0 + t] = s->mem[E_BELL0 + t] = 0;
		if (!s->mem[E_LIST])
			return s->mem[E_TAKEN] ? MX_DONE : MX_GOTO(s, t, 0);
		s->mem[E_LIST] = 0;
		s->mem[E_TAKEN] = 1;
		return MX_DONE;
	case 5: /* leaves; a wake-up may have been spent on it just before */
		s->mem[E_SLEEP0] = 0;
		return MX_NEXT(s, t);
	case 6: /* passes it on while anything is listed; fault 1 does not */
		if (fault != 1 && s->mem[E_LIST])
			pass_wake_one(s);
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static bool pass_final_ok(const struct mx_state *s)
{
	/* Thread 1 waits for ever unless it took the item; taken by thread 0 is fine. */
	return pass_final(s);
}

static const char *const pass_faults[] = { "wake-up not passed on", "list not looked at again after publishing" };

/* ---------------------------------------------------------------------------------------------------------------
 * Killed clients: sock/reclaim.c, sock/sweep.c, base/region.c. Thread 0 is a client, thread 3 kills it before any of its steps, thread 1 lives and does the
 * same as the client to the same object, thread 2 is the keeper, who comes when the client is gone. CRIT words are odd inside a critical
 * section; the keeper sweeps only when the client died inside, and waits for the living.
 */
static bool client_gone(const struct mx_state *s) { return s->pc[0] == MX_END && mx_fenced(s, 0); }

/* crit_enter(), crit_exit(): a plain store */
static enum mx_result crit_step(struct mx_state *s, unsigned t, unsigned var)
{
	if (!mx_store(s, t, var, (uint8_t)(mx_load(s, t, var) + 1)))
		return MX_BLOCKED;
	return MX_NEXT(s, t);
}

/* References: counted, then written into the entry; crossed out, then dropped. Property: at rest the count is what is written down, and it was
 * never less. K_WORD holds the count in its low four bits and the number of changes above (base/vcount.h). */
enum { K_WORD, K_ENTRY0, K_ENTRY1, K_CRIT0, K_CRIT1, K_DEAD };
#define K_COUNT(w) ((w) & 15)

static void refs_init(struct mx_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mem[K_WORD] = 1; /* somebody else's, for good */
}

static bool refs_final(const struct mx_state *s)
{
	return K_COUNT(s->mem[K_WORD]) == 1u + s->mem[K_ENTRY0] + s->mem[K_ENTRY1] && s->pc[2] == MX_END;
}

static void refs_add(struct mx_state *s, int by)
{
	s->mem[K_WORD] = (uint8_t)(((s->mem[K_WORD] & 0xf0) + 0x10) | ((K_COUNT(s->mem[K_WORD]) + by) & 15));
	if (K_COUNT(s->mem[K_WORD]) < 1u + s->mem[K_ENTRY0] + s->mem[K_ENTRY1] || K_COUNT(s->mem[K_WORD]) > 8)
		s->bad = 1;
}

static enum mx_result refs_user(struct mx_state *s, unsigned t, unsigned fault)
{
	unsigned entry = K_ENTRY0 + t, crit = K_CRIT0 + t;

	switch (s->pc[t]) {
	case 0: case 3: case 4: case 8:
		return crit_step(s, t, crit);
	case 9: /* the living one does it twice */
		s->reg[t][0]++;
		return t == 0 || s->reg[t][0] == 2 ? MX_DONE : MX_GOTO(s, t, 0);
	case 1: /* fault 1: written down first */
		if (fault == 1 && !mx_store(s, t, entry, 1))
			return MX_BLOCKED;
		if (fault != 1) {
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			refs_add(s, 1);
		}
		return MX_NEXT(s, t);
	case 2:
		if (fault != 1 && !mx_store(s, t, entry, 1))
			return MX_BLOCKED;
		if (fault == 1) {
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			refs_add(s, 1);
		}
		return MX_NEXT(s, t);
	case 5: /* fd_take() */
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		s->mem[entry] = 0;
		return MX_NEXT(s, t);
	case 6: /* fault 2: the section ends here */
		return fault == 2 ? crit_step(s, t, crit) : MX_NEXT(s, t);
	case 7:
		if (!mx_fenced(s, t))
			return MX_BLOCKED;
		refs_add(s, -1);
		return fault == 2 ? MX_GOTO(s, t, 9) : MX_NEXT(s, t);
	}
	return MX_BLOCKED;
}

static enum mx_result refs_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 3) {
		s->mem[K_DEAD] = 1;
		return MX_DONE;
	}
	if (t == 0 && s->mem[K_DEAD])
		return MX_DONE;
	if (t < 2)
		return refs_user(s, t, fault);
	switch (s->pc[t]) { /* the keeper */
	case 0: /* proc_drop_refs(): what is written down */
		if (!client_gone(s))
			return MX_BLOCKED;
		if (s->mem[K_ENTRY0]) {
			s->mem[K_ENTRY0] = 0;
			refs_add(s, -1);
		}
		return s->mem[K_CRIT0] & 1 ? MX_NEXT(s, t) : MX_DONE;
	case 1:
		s->reg[t][0] = s->mem[K_WORD];
		return MX_NEXT(s, t);
	case 2:
		s->reg[t][1] = (uint8_t)(1 + s->mem[K_ENTRY1]);
		s->reg[t][2] = 0;
		return fault == 4 ? MX_GOTO(s, t, 8) : MX_NEXT(s, t); /* fault 4: one look is enough */
	case 3: /* sweep_rest(); fault 3 does not wait */
		s->reg[t][2] = s->mem[K_CRIT1];
		return MX_NEXT(s, t);
	case 4:
		if (fault != 3 && s->reg[t][2] & 1 && s->mem[K_CRIT1] == s->reg[t][2])
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 5:
		s->reg[t][3] = (uint8_t)(1 + s->mem[K_ENTRY1]);
		return MX_NEXT(s, t);
	case 6: /* fault 6 does not wait again */
		s->reg[t][2] = s->mem[K_CRIT1];
		return MX_NEXT(s, t);
	case 7:
		if (fault != 6 && s->reg[t][2] & 1 && s->mem[K_CRIT1] == s->reg[t][2])
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 8: /* the same twice, and not touched: fault 5 does not compare the number of changes */
		if ((fault != 4 && s->reg[t][1] != s->reg[t][3]) ||
		    (fault == 5 ? K_COUNT(s->mem[K_WORD]) != K_COUNT(s->reg[t][0]) : s->mem[K_WORD] != s->reg[t][0]))
			return MX_GOTO(s, t, 1); /* the next look */
		if (K_COUNT(s->reg[t][0]) <= s->reg[t][1])
			return MX_DONE;
		refs_add(s, s->reg[t][1] - K_COUNT(s->reg[t][0]));
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static const char *const refs_faults[] = { "written down before it is counted", "section ends before the last step", "the living are not waited for",
					   "one look", "number of changes not compared", "no wait after the second look" };

/* Commands: marked by one read-modify-write, pushed by whose mark it was. The owner, when the client is gone, looks for one that is marked and not
 * listed. Property: what was marked is run, and nothing is pushed that is listed. */
enum { C_MARK, C_LISTED, C_CRIT0, C_CRIT1, C_DEAD };

static void lost_init(struct mx_state *s) { memset(s, 0, sizeof(*s)); }
static bool lost_final(const struct mx_state *s) { return !s->mem[C_MARK] && !s->mem[C_LISTED] && s->pc[2] == MX_END; }

static void lost_push(struct mx_state *s)
{
	s->bad |= s->mem[C_LISTED];
	s->mem[C_LISTED] = 1;
}

static enum mx_result lost_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 3) {
		s->mem[C_DEAD] = 1;
		return MX_DONE;
	}
	if (t == 0 && s->mem[C_DEAD])
		return MX_DONE;
	if (t < 2) {
		switch (s->pc[t]) {
		case 0: case 5:
			return crit_step(s, t, C_CRIT0 + t);
		case 1: /* fault 4: a look and a store instead of one step */
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->reg[t][0] = s->mem[C_MARK];
			if (fault != 4)
				s->mem[C_MARK] = 1;
			return MX_NEXT(s, t);
		case 2:
			if (fault == 4)
				s->mem[C_MARK] = 1;
			return s->reg[t][0] ? MX_GOTO(s, t, 5) : MX_NEXT(s, t);
		case 3: /* fault 3: the section ends before the push */
			return fault == 3 ? crit_step(s, t, C_CRIT0 + t) : MX_NEXT(s, t);
		case 4:
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			lost_push(s);
			return fault == 3 ? MX_DONE : MX_NEXT(s, t);
		case 6:
			return MX_DONE;
		}
		return MX_BLOCKED;
	}
	switch (s->pc[t]) { /* the owner */
	case 0:
		if (s->mem[C_LISTED]) {
			s->mem[C_LISTED] = 0;
			return MX_NEXT(s, t);
		}
		return client_gone(s) ? MX_GOTO(s, t, 2) : MX_BLOCKED;
	case 1:
		s->mem[C_MARK] = 0;
		return MX_GOTO(s, t, 0);
	case 2: /* op_commands() */
		return s->mem[C_CRIT0] & 1 && s->mem[C_MARK] && !s->mem[C_LISTED] ? MX_NEXT(s, t) : MX_GOTO(s, t, 7);
	case 3: /* fault 1: nobody is waited for */
		s->reg[t][0] = s->mem[C_CRIT1];
		return fault == 1 ? MX_GOTO(s, t, 5) : MX_NEXT(s, t);
	case 4:
		if (s->reg[t][0] & 1 && s->mem[C_CRIT1] == s->reg[t][0])
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 5: /* fault 2: not looked at again */
		return fault != 2 && s->mem[C_LISTED] ? MX_GOTO(s, t, 7) : MX_NEXT(s, t);
	case 6:
		lost_push(s);
		return MX_NEXT(s, t);
	case 7:
		if (s->mem[C_LISTED]) {
			s->mem[C_LISTED] = 0;
			return MX_NEXT(s, t);
		}
		return s->pc[1] == MX_END ? MX_DONE : MX_BLOCKED;
	case 8:
		s->mem[C_MARK] = 0;
		return MX_GOTO(s, t, 7);
	}
	return MX_BLOCKED;
}

static const char *const lost_faults[] = { "the living are not waited for", "list not looked at again after the wait",
					   "section ends before the push", "marked by a look and a store" };

/* Slab objects: slab_alloc() and slab_free() against slab_reclaim_lost(). Two objects, both free. Property: an object that is listed is not in use,
 * nothing is listed twice, and at rest both are listed. */
enum { S_LIST, S_GEN0, S_GEN1, S_CRIT0, S_CRIT1, S_DEAD, S_KEPT0, S_KEPT1, S_OLD, S_SUSPECT };

static void slab_model_init(struct mx_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mem[S_LIST] = 3;
}

static bool slab_model_final(const struct mx_state *s)
{
	/* what the dead had in use is not this protocol's */
	return s->pc[2] == MX_END && (s->mem[S_LIST] | (s->mem[S_GEN0] & 1) | (s->mem[S_GEN1] & 1) << 1) == 3;
}

static void slab_model_push(struct mx_state *s, uint8_t set)
{
	if (s->mem[S_LIST] & set || (set & 1 && s->mem[S_GEN0] & 1) || (set & 2 && s->mem[S_GEN1] & 1))
		s->bad = 1;
	s->mem[S_LIST] |= set;
}

static enum mx_result slab_model_step(struct mx_state *s, unsigned t, unsigned fault)
{
	if (t == 3) {
		s->mem[S_DEAD] = 1;
		return MX_DONE;
	}
	if (t == 0 && s->mem[S_DEAD])
		return MX_DONE;
	if (t < 2) {
		switch (s->pc[t]) {
		case 0: case 3: case 4: case 7:
			/* fault 4: the release's section ends before the push */
			return s->pc[t] == 7 && fault == 4 ? MX_NEXT(s, t) : crit_step(s, t, S_CRIT0 + t);
		case 1: /* slab_pop(): one compare-and-swap */
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			if (!s->mem[S_LIST]) /* a fresh one */
				return MX_GOTO(s, t, 7);
			s->reg[t][0] = s->mem[S_LIST] & 1 ? 0 : 1;
			s->mem[S_LIST] &= (uint8_t)~(1u << s->reg[t][0]);
			return MX_NEXT(s, t);
		case 2: case 5:
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			s->mem[S_GEN0 + s->reg[t][0]]++;
			if (s->pc[t] == 5 && fault == 4) {
				if (crit_step(s, t, S_CRIT0 + t) == MX_BLOCKED)
					return MX_BLOCKED;
				return MX_STEP;
			}
			return MX_NEXT(s, t);
		case 6:
			if (!mx_fenced(s, t))
				return MX_BLOCKED;
			slab_model_push(s, (uint8_t)(1u << s->reg[t][0]));
			return MX_NEXT(s, t);
		case 8: /* the living one does it twice */
			s->reg[t][1]++;
			return t == 0 || s->reg[t][1] == 2 ? MX_DONE : MX_GOTO(s, t, 0);
		}
		return MX_BLOCKED;
	}
	switch (s->pc[t]) {
	case 0:
		if (!client_gone(s))
			return MX_BLOCKED;
		return s->mem[S_CRIT0] & 1 ? MX_NEXT(s, t) : MX_DONE;
	case 1:
		s->mem[S_OLD] = s->mem[S_LIST];
		s->mem[S_LIST] = 0;
		return MX_NEXT(s, t);
	case 2: case 3: { /* free, and not on the list */
		unsigned i = s->pc[t] - 2u;

		s->mem[S_KEPT0 + i] = s->mem[S_GEN0 + i];
		if (!(s->mem[S_KEPT0 + i] & 1) && !(s->mem[S_OLD] >> i & 1))
			s->mem[S_SUSPECT] |= (uint8_t)(1u << i);
		return MX_NEXT(s, t);
	}
	case 4: case 7: /* fault 1: no first wait; fault 2: no second */
		s->reg[t][0] = s->mem[S_CRIT1];
		if ((s->pc[t] == 4 && fault == 1) || (s->pc[t] == 7 && fault == 2))
			s->reg[t][0] = 0;
		return MX_NEXT(s, t);
	case 5: case 8:
		if (s->reg[t][0] & 1 && s->mem[S_CRIT1] == s->reg[t][0])
			return MX_BLOCKED;
		return MX_NEXT(s, t);
	case 6:
		s->reg[t][1] = s->mem[S_LIST];
		s->mem[S_LIST] = 0;
		return MX_NEXT(s, t);
	case 9: case 10: { /* fault 3: the generation is not compared */
		unsigned i = s->pc[t] - 9u;

		if (s->mem[S_SUSPECT] >> i & 1 && !(s->reg[t][1] >> i & 1) &&
		    (fault == 3 || s->mem[S_GEN0 + i] == s->mem[S_KEPT0 + i]))
			slab_model_push(s, (uint8_t)(1u << i));
		return MX_NEXT(s, t);
	}
	case 11:
		slab_model_push(s, s->reg[t][1]);
		return MX_NEXT(s, t);
	case 12:
		slab_model_push(s, s->mem[S_OLD]);
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static const char *const slab_faults[] = { "list taken again without a wait", "compared without a second wait", "generation not compared",
					   "section ends before the push" };

/* A receive queue: rx_pull_client() and rx_settle() in sock/sock_recv.c. The client moves the older of two nodes to the private list; the stack pushes the
 * younger one meanwhile. Property: afterwards each node is on one list. */
enum { Q_IN, Q_PRIVATE, Q_DEAD };

static void queue_init(struct mx_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mem[Q_IN] = 1;
}
static bool queue_final(const struct mx_state *s)
{
	return (s->mem[Q_IN] | s->mem[Q_PRIVATE]) == 3 && !(s->mem[Q_IN] & s->mem[Q_PRIVATE]) && s->pc[2] == MX_END;
}

static enum mx_result queue_step(struct mx_state *s, unsigned t, unsigned fault)
{
	switch (t * 16 + s->pc[t]) {
	case 48:
		s->mem[Q_DEAD] = 1;
		return MX_DONE;
	case 0: case 2: /* appended; fault 1: taken off first */
		if (s->mem[Q_DEAD] || !(s->mem[Q_IN] | (fault == 1 && s->pc[t] == 1)))
			return MX_DONE;
		s->reg[t][0] = s->mem[Q_IN] & 1 ? 1 : 2; /* the older */
		if (fault == 1)
			s->mem[Q_IN] &= (uint8_t)~s->reg[t][0];
		else
			s->mem[Q_PRIVATE] |= s->reg[t][0];
		return MX_NEXT(s, t);
	case 1: case 3:
		if (s->mem[Q_DEAD])
			return MX_DONE;
		if (fault == 1)
			s->mem[Q_PRIVATE] |= s->reg[t][0];
		else
			s->mem[Q_IN] &= (uint8_t)~s->reg[t][0];
		return s->pc[t] == 3 ? MX_DONE : MX_NEXT(s, t);
	case 16: /* the stack */
		s->mem[Q_IN] |= 2;
		return MX_DONE;
	case 32: /* whoever takes the lock over: the oldest of the inbox is the last of the private list? fault 2: does not look */
		if (s->pc[0] != MX_END)
			return MX_BLOCKED;
		if (fault != 2) {
			uint8_t oldest = s->mem[Q_IN] & 1 ? 1 : s->mem[Q_IN] & 2;

			s->mem[Q_IN] &= (uint8_t) ~(oldest & s->mem[Q_PRIVATE]);
		}
		return MX_DONE;
	}
	return MX_BLOCKED;
}

static const char *const queue_faults[] = { "taken off before it is linked", "lists not compared" };

/* --------------------------------------------------------------------------------------------------------------- */

static const struct mx_model models[] = {
	{ "ownership_and_commands", 2, own_step, own_init, own_final, ARRAY_SIZE(own_faults), own_faults, 0 },
	{ "wake_object_futex", 2, wake_step, wake_init, wake_final, ARRAY_SIZE(wake_faults), wake_faults, 1u << WAKE_FUTEX_SKIPS },
	{ "wake_object_eventfd", 2, wake_step, wake_fd_init, wake_final, ARRAY_SIZE(wake_faults), wake_faults, 1u << 4 },
	{ "watcher_and_owner", 3, watch_step, watch_owner_init, watch_final, ARRAY_SIZE(watch_faults), watch_faults, 1u << 3 | 1u << 6 },
	{ "watcher_and_client", 3, watch_step, watch_client_init, watch_final, ARRAY_SIZE(watch_faults), watch_faults,
	  1u << 2 | 1u << 4 | 1u << 5 },
	{ "watcher_owner_and_client", 3, watch_step, watch_init, watch_final, 0, watch_faults, 0 },
	{ "watch_hand_over", 2, hand_step, hand_init, hand_final, ARRAY_SIZE(hand_faults), hand_faults, 0 },
	{ "readiness_and_list", 2, ready_step, ready_init, ready_final, ARRAY_SIZE(ready_faults), ready_faults, 0 },
	{ "pins", 2, pin_step, pin_init, pin_final, ARRAY_SIZE(pin_faults), pin_faults, 0 },
	{ "killed_client_references", 4, refs_step, refs_init, refs_final, ARRAY_SIZE(refs_faults), refs_faults, 0 },
	{ "killed_client_commands", 4, lost_step, lost_init, lost_final, ARRAY_SIZE(lost_faults), lost_faults, 0 },
	{ "killed_client_slab_objects", 4, slab_model_step, slab_model_init, slab_model_final, ARRAY_SIZE(slab_faults), slab_faults, 0 },
	{ "killed_client_receive_queue", 4, queue_step, queue_init, queue_final, ARRAY_SIZE(queue_faults), queue_faults, 0 },
	{ "wake_up_passed_on", 3, pass_step, pass_init, pass_final_ok, ARRAY_SIZE(pass_faults), pass_faults, 0 },
};

int main(void)
{
	unsigned passed = 0, failed = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		const struct mx_model *m = &models[i];

		for (unsigned fault = 0; fault <= m->faults; fault++) {
			if (m->not_here >> fault & 1)
				continue; /* a fault of the other threads, caught in the sister model */
			const char *what = fault ? m->fault_names[fault - 1] : "as built";
			char path[1024] = "";
			uint64_t states;
			bool holds = mx_explore(m, fault, &states, path, sizeof(path));
			bool ok = holds == (fault == 0);

			printf("%s %s: %s: %s in %llu states%s%s\n", ok ? "ok  " : "FAIL", m->name, what,
			       holds ? "holds" : "violated", (unsigned long long)states, path[0] ? ": " : "", path);
			ok ? passed++ : failed++;
		}
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}

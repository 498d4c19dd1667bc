/* own.c - taking and leaving a stack, commands, calls; see own.h. Any thread. */
#include "stack/own.h"
#include "base/clock.h"
#include "sock/epoll.h"
#include "sock/sock.h"
#include "stack/idle.h"

#include <rte_lcore.h>

/* Rounds of draining on the way out before the rest is left to the next poller. */
#define LEAVE_ROUNDS 8
/* When frames that wait for company are somebody's business: the keeper's tick. */
#define HELD_DUE_US 1000
/* Looks at an answer before sleeping for it: about 20 us. */
#define CALL_SPINS 4000

enum { CALL_PENDING, CALL_DONE, CALL_SLEEPING };

uint32_t stack_my_pid;

bool stack_try_own(struct stack *st, struct thread_rec *self)
{
	uint64_t free_word = 0;

	gz_assert(stack_is_home());
	if (self->owned || atomic_load_explicit(&st->owner, memory_order_relaxed) != 0)
		return false;
	/* acquire: what the last owner wrote; pairs with the exchange in stack_leave() */
	if (!atomic_compare_exchange_strong_explicit(&st->owner, &free_word, (uint64_t)self->pid << 32 | self->tid,
						     memory_order_seq_cst, memory_order_relaxed))
		return false;
	self->owned = st;
	st->output_due = true; /* until a round has run: what is done inline marks output */
	self->saved_lcore = RTE_PER_LCORE(_lcore_id);
	RTE_PER_LCORE(_lcore_id) = st->lcore_id;
	return true;
}

static void stack_run_call(struct stack *st, struct stack_call *call)
{
	call->result = sock_on_call(st, call);
	if (atomic_exchange_explicit(&call->done, CALL_DONE, memory_order_acq_rel) == CALL_SLEEPING)
		sys_futex_wake(&call->done, 1);
}

unsigned stack_run_commands(struct stack *st)
{
	unsigned n = 0;

	while (n < st->cmd_budget) {
		struct inbox_node *node = st->cmd_backlog;
		struct cmd *cmd;

		if (!node) {
			node = inbox_take(&st->cmds);
			if (!node)
				break;
		}
		st->cmd_backlog = node->next; /* before it runs: the node may be posted again at once */
		cmd = container_of(node, struct cmd, node);
		switch ((enum cmd_kind)cmd->kind) {
		case CMD_SOCK:
			sock_on_command(st, container_of(cmd, struct sock, cmd));
			break;
		case CMD_ITEM:
			item_on_command(st, item_of_cmd(cmd));
			break;
		case CMD_CALL:
			stack_run_call(st, container_of(cmd, struct stack_call, cmd));
			break;
		}
		n++;
	}
	st->stats.call_msg += n;
	return n;
}

/* Released, and a sleeper may have based its time-out on an older timer: see idle.c. */
static void stack_tell_sleepers(struct stack *st, uint64_t next_us)
{
	if (atomic_load_explicit(&st->asleep, memory_order_seq_cst)) {
		if (next_us < atomic_load_explicit(&st->sleep_until_us, memory_order_relaxed))
			stack_ring(st);
	} else if (atomic_load_explicit(&gz->keeper_asleep, memory_order_seq_cst) &&
		   next_us < atomic_load_explicit(&gz->keeper_until_us, memory_order_relaxed)) {
		keeper_poke();
	}
}

/* Stacks that were left work while this thread owned another one. They may kick each other in turn: a bounded number of rounds, then
 * whoever polls or sleeps next takes over. */
static cold_path void stack_run_kicked(struct thread_rec *self)
{
	unsigned rounds = 2 * gz->nb_stacks;

	self->kicking = true; /* stack_leave() below must not come back here */
	while (self->kick_mask && rounds--) {
		struct stack *st = &gz->stacks[__builtin_ctzll(self->kick_mask)];

		self->kick_mask &= self->kick_mask - 1;
		if (stack_try_own(st, self)) {
			stack_poll_once(st);
			stack_leave(st, self);
		}
	}
	self->kicking = false;
	for (; self->kick_mask; self->kick_mask &= self->kick_mask - 1)
		stack_ring(&gz->stacks[__builtin_ctzll(self->kick_mask)]);
}

void stack_leave(struct stack *st, struct thread_rec *self)
{
	unsigned rounds = 0;
	uint64_t next_us;

	gz_assert(self->owned == st);
	for (;;) {
		if (unlikely(!inbox_maybe_empty(&st->cmds) || st->cmd_backlog)) {
			stack_run_commands(st);
			st->output_due = true;
		}
		if (unlikely(self->hold_tx)) {
			self->hold_tx = false;
			self->holds_tx |= stack_output_holding(st);
		} else if (st->output_due) {
			stack_output(st);
		}
		next_us = st->work_left || st->cmd_backlog ? 0 : MIN(wheel_next_us(&st->wheel), st->settle_by_us);
		if (unlikely(!list_empty(&st->zombies)))
			next_us = MIN(next_us, st->now_us + ZOMBIE_LOOK_US);
		if (unlikely(st->held_since_us))
			next_us = MIN(next_us, st->held_since_us + HELD_DUE_US);
		atomic_store_explicit(&st->next_timer_us, next_us, memory_order_relaxed);
		RTE_PER_LCORE(_lcore_id) = self->saved_lcore;
		self->owned = NULL;
		/* seq_cst exchange, then look: pairs with push-then-try in stack_post() (runtime.md). */
		atomic_exchange_explicit(&st->owner, 0, memory_order_seq_cst);
		if (likely(inbox_empty(&st->cmds)))
			break;
		if (++rounds == LEAVE_ROUNDS) {
			next_us = 0; /* whoever sleeps must look */
			break;
		}
		if (!stack_try_own(st, self))
			return; /* the new owner will drain, and tell the sleepers */
		stack_look_at_clock(st);
	}
	stack_tell_sleepers(st, next_us);
	if (unlikely(self->kick_mask) && !self->kicking)
		stack_run_kicked(self);
}

void stack_ring(struct stack *st)
{
	uint64_t one = 1;

	if (atomic_load_explicit(&st->asleep, memory_order_seq_cst)) {
		if (atomic_exchange_explicit(&st->asleep, 0, memory_order_seq_cst))
			sys_write(st->doorbell_fd, &one, sizeof(one));
	} else if (gz->mode == RUN_TO_COMPLETION && atomic_load_explicit(&gz->keeper_asleep, memory_order_seq_cst)) {
		keeper_poke();
	}
}

/* After the push: somebody has to run it. */
static force_inline void stack_posted(struct stack *st, struct thread_rec *self)
{
	if (self->owned == st)
		return; /* drained on leaving */
	if (gz->mode == RUN_TO_COMPLETION && stack_is_home()) {
		if (self->owned) {
			self->kick_mask |= 1ULL << st->id;
			return;
		}
		if (stack_try_own(st, self)) {
			stack_look_at_clock(st);
			stack_leave(st, self);
		}
		return; /* else the owner looks again after it has left */
	}
	stack_ring(st);
}

void stack_post(struct stack *st, struct cmd *cmd, struct thread_rec *self)
{
	inbox_push(&st->cmds, &cmd->node);
	stack_posted(st, self);
}

void stack_post_marked(struct stack *st, struct cmd *cmd, struct thread_rec *self)
{
	inbox_push(&st->cmds, &cmd->node);
	crit_exit();
	if (unlikely(self->crit.depth)) /* inside a larger section: no stack is run there, the keeper's tick or a waiter comes to it */
		stack_ring(st);
	else
		stack_posted(st, self);
}

int64_t stack_call(struct stack *st, uint16_t op, struct sock *s, struct thread_rec *self)
{
	struct stack_call *call = &self->call;
	uint32_t pending = CALL_PENDING;

	call->op = op;
	call->s = s;
	if (self->owned == st)
		return sock_on_call(st, call);
	if (gz->mode == RUN_TO_COMPLETION && stack_is_home() && stack_try_own(st, self)) {
		int64_t result;

		stack_look_at_clock(st);
		result = sock_on_call(st, call);
		stack_leave(st, self);
		return result;
	}
	atomic_store_explicit(&call->done, CALL_PENDING, memory_order_relaxed);
	stack_post(st, &call->cmd, self);
	for (unsigned i = 0; i < CALL_SPINS; i++) {
		if (atomic_load_explicit(&call->done, memory_order_acquire) == CALL_DONE)
			return call->result;
		cpu_relax();
	}
	if (atomic_compare_exchange_strong_explicit(&call->done, &pending, CALL_SLEEPING, memory_order_acq_rel,
						    memory_order_acquire))
		while (atomic_load_explicit(&call->done, memory_order_acquire) == CALL_SLEEPING)
			sys_futex_wait(&call->done, CALL_SLEEPING, NULL);
	return call->result;
}

/* reclaim.c - what threads of killed processes left behind (runtime.md, "Home and clients"). Called by the home's keeper, owning no stack,
 * when the process is known to be gone: nobody writes its records any more. What was between two instructions at the moment of death (taken off
 * one list and not yet noted) is lost, never given back twice. */
#include "sock/sock_int.h"
#include "stack/idle.h"

/* Looks at a command that living threads are busy with: their pushing serves it as well. */
#define REPOST_TRIES 10

static void reclaim_ref(_Atomic(struct sock *) *slot, struct thread_rec *self)
{
	struct sock *s = atomic_exchange_explicit(slot, NULL, memory_order_acquire);

	if (!s)
		return;
	/* It may have been woken for something that it did not take. */
	sock_post(s, SOCK_CMD_NOTIFY, self);
	sock_unref(s, self);
}

static bool cmd_is_queued(struct cmd *cmd)
{
	if (cmd->kind == CMD_SOCK)
		return atomic_load_explicit(&container_of(cmd, struct sock, cmd)->cmd_bits, memory_order_acquire) & SOCK_CMD_QUEUED;
	return atomic_load_explicit(&item_of_cmd(cmd)->word, memory_order_acquire) & ITEM_CMD;
}

/* Does a thread say at this moment that it is about to mark and push cmd, or to drop the last reference of s? */
static bool somebody_is_at(const struct cmd *cmd, const struct sock *s)
{
	uint32_t n = atomic_load_explicit(&gz->threads.fresh, memory_order_acquire);

	for (uint32_t i = 0; i < n; i++) {
		const struct thread_rec *t = slab_at(&gz->threads, i);

		if ((cmd && atomic_load_explicit(&t->posting, memory_order_seq_cst) == cmd) ||
		    (s && atomic_load_explicit(&t->closing, memory_order_seq_cst) == s))
			return true;
	}
	return false;
}

static bool is_half_closed(const struct sock *s)
{
	return atomic_load_explicit(&s->slab.gen, memory_order_acquire) & 1 &&
	       atomic_load_explicit(&s->refs, memory_order_acquire) == 0 && !(sock_status(s) & SOCK_ORPHAN);
}

/* Its last reference went, and the owner was not told. A living thread that does so at this moment says so before, and until the owner
 * is told: half closed, nobody at it, still half closed is the work of the dead. */
static void reclaim_close(struct thread_rec *t, struct thread_rec *self)
{
	struct sock *s = atomic_exchange_explicit(&t->closing, NULL, memory_order_seq_cst);
	uint32_t gen;

	if (!s)
		return;
	gen = atomic_load_explicit(&s->slab.gen, memory_order_acquire);
	if (is_half_closed(s) && !somebody_is_at(NULL, s) && is_half_closed(s) &&
	    atomic_load_explicit(&s->slab.gen, memory_order_acquire) == gen)
		sock_last_unref(s, self);
}

static struct stack *cmd_stack(struct cmd *cmd)
{
	return sock_stack(cmd->kind == CMD_SOCK ? container_of(cmd, struct sock, cmd) : item_of_cmd(cmd)->s);
}

static bool chain_holds(const struct inbox_node *n, const struct cmd *cmd)
{
	for (; n; n = n->next)
		if (n == &cmd->node)
			return true;
	return false;
}

/* On the owner, so that nothing is taken off the inbox meanwhile. Marked first; then nobody is between marking and pushing; then it is not on
 * the inbox: so it was marked by one who is dead. Whoever else had marked it would have said so, or pushed it by then. A command must
 * never be pushed twice. */
int64_t sock_op_repost(struct stack *st, struct cmd *cmd)
{
	if (!cmd_is_queued(cmd) || cmd_stack(cmd) != st)
		return 0;
	if (somebody_is_at(cmd, NULL))
		return -EAGAIN;
	if (cmd->kind == CMD_ITEM && item_of_cmd(cmd)->ep && somebody_is_at(&item_of_cmd(cmd)->ep->reap.cmd, NULL))
		return -EAGAIN; /* its instance is being destroyed: all items are marked, then pushed one by one */
	if (cmd_is_queued(cmd) && !chain_holds(st->cmd_backlog, cmd) &&
	    !chain_holds(atomic_load_explicit(&st->cmds.head, memory_order_seq_cst), cmd))
		inbox_push(&st->cmds, &cmd->node);
	return 0;
}

void sock_reclaim_command(struct thread_rec *t, struct thread_rec *self)
{
	struct cmd *cmd = atomic_exchange_explicit(&t->posting, NULL, memory_order_seq_cst);
	const struct timespec pause = { .tv_nsec = 200000 };

	reclaim_close(t, self);
	for (unsigned i = 0; cmd && cmd_is_queued(cmd) && i < REPOST_TRIES; i++) {
		self->call.arg[0] = (uintptr_t)cmd;
		if (stack_call(cmd_stack(cmd), SOCK_OP_REPOST, NULL, self) != -EAGAIN)
			return;
		SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL); /* a living thread is at it, and will push */
	}
}

void sock_reclaim_thread(struct thread_rec *t, struct thread_rec *self)
{
	buf_free_list(atomic_exchange_explicit(&t->filling, NULL, memory_order_acquire));
	reclaim_ref(&t->taken, self);
	for (unsigned i = 0; i < THREAD_HELD; i++)
		reclaim_ref(&t->held[i], self);
	for (unsigned i = 0; i < THREAD_PINS; i++)
		atomic_store_explicit(&t->pins[i], NULL, memory_order_release);
}

static void reclaim_item(struct item *it, struct thread_rec *self)
{
	/* Pinned while it counts the item, the socket cannot go: see sock_maybe_free(). */
	atomic_store_explicit(&self->pins[0], it->s, memory_order_seq_cst);
	if (atomic_load_explicit(&it->word, memory_order_seq_cst) & ITEM_LINKED)
		sock_post(it->s, SOCK_CMD_NOTIFY, self);
	wait_item_drop(it, self);
	atomic_store_explicit(&self->pins[0], NULL, memory_order_release);
}

static void reclaim_instance(struct epoll *ep, bool (*dead)(const struct thread_rec *t))
{
	bool gone = false;

	for (unsigned w = 0; w < EPOLL_WAIT_WORDS; w++) {
		uint64_t map = atomic_load_explicit(&ep->wait_map[w], memory_order_relaxed);

		for (; map; map &= map - 1) {
			unsigned b = (unsigned)__builtin_ctzll(map);

			if (!dead(slab_at(&gz->threads, w * 64 + b)))
				continue;
			atomic_fetch_and_explicit(&ep->wait_map[w], ~(1ULL << b), memory_order_acq_rel);
			gone = true;
		}
	}
	/* Its bit may be gone already: woken, and killed before it took anything. */
	if (gone || !inbox_empty(&ep->ready_in) || atomic_load_explicit(&ep->fifo_len, memory_order_relaxed))
		epoll_wake_one(ep);
}

void sock_reclaim_waits(bool (*dead)(const struct thread_rec *t), struct thread_rec *self)
{
	uint32_t n = atomic_load_explicit(&gz->items.fresh, memory_order_acquire);

	for (uint32_t i = 0; i < n; i++) {
		struct item *it = slab_at(&gz->items, i);

		/* A freed item has no holds; only its thread takes TABLE away, and that thread is dead. */
		if (atomic_load_explicit(&it->word, memory_order_acquire) & ITEM_TABLE && it->kind == ITEM_THREAD &&
		    dead(slab_at(&gz->threads, it->thread)))
			reclaim_item(it, self);
	}
	n = atomic_load_explicit(&gz->epolls.fresh, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++) {
		struct epoll *ep = slab_at(&gz->epolls, i);

		if (atomic_load_explicit(&ep->slab.gen, memory_order_acquire) & 1 && atomic_load_explicit(&ep->refs, memory_order_relaxed))
			reclaim_instance(ep, dead);
	}
}

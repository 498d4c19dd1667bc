/* sweep.c - finds what a process that was killed inside a critical section (base/crit.h) left half-done, by counting everything anew. The rest of
 * its legacy is reclaim.c's. Called by the home's keeper after reclaim.c, owning no stack; the owner's part runs as a call.
 *
 * Everything here follows one pattern, because the living go on meanwhile: look at all, wait until every living thread has left the section that it was
 * in (sweep_rest()), look again, wait once more. What is wrong both times, in the same way, and was not touched until after the second wait, no living
 * thread was in the middle of:
 *   - a reference is counted before it is written down and crossed out before it is dropped, so the living make the count larger than what is
 *     found, never smaller. Counts carry their number of changes (base/vcount.h): the same word means that nothing was counted in between. What was
 *     being written down at the first look is written down at the second; what was crossed out at the second is dropped, and so
 *     counted, after the second wait. What moves (queue -> noted -> table) is looked for in
 *     that order and is seen at least once.
 *   - a command is marked by one thread alone, who pushes it: marked, on no list of the owner's, and still so after the wait while the owner does
 *     nothing else, it was marked by the dead.
 *   - objects that are free and on no list: slab_reclaim_lost(). Objects in use that nothing refers to: by the same two looks.
 * A dead thread that is not known to be dead yet makes the wait fail, and so does a stopped process: then the next look, a second later, tries again. */
#include "sock/sock_int.h"
#include "stack/proc.h"

#include <rte_mempool.h>
#include <stdlib.h>
#include <string.h>

/* How long everybody is waited for: some milliseconds; less by an owner. */
#define REST_NAPS 50
#define REST_NAPS_OWNER 10
#define REST_SPINS 2000
#define REST_NAP_NS 100000
/* What a sweep gives back may bring to light more. */
#define SWEEP_ROUNDS 6
#define COMMANDS_MAX 1024u

/* Keeper only. */
static bool (*is_dead)(const struct thread_rec *t);

static force_inline bool in_use(const struct slab_hdr *h)
{
	return atomic_load_explicit(&h->gen, memory_order_acquire) & 1;
}

static uint32_t top(const struct slab *s) { return atomic_load_explicit(&s->fresh, memory_order_acquire); }

/* Threads that are making a record at this moment have none to say so in. */
static bool nobody_makes_records(void)
{
	uint32_t n = top(&gz->procs);

	if (atomic_load_explicit(thread_making, memory_order_seq_cst))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const struct proc_rec *p = slab_at(&gz->procs, i);

		if (in_use(&p->slab) && p->looks < 2 && atomic_load_explicit(&p->making, memory_order_seq_cst))
			return false;
	}
	return true;
}

/* Waits until every living thread that is in a critical section now has left it. */
static bool rest(unsigned naps)
{
	const struct timespec nap = { .tv_nsec = REST_NAP_NS };
	unsigned spins = 0;
	uint32_t n;

	full_fence();
	n = top(&gz->threads);
	for (uint32_t i = 0; i < n; i++) {
		struct thread_rec *t = slab_at(&gz->threads, i);
		uint32_t seq = atomic_load_explicit(&t->crit.seq, memory_order_acquire);

		if (!(seq & 1) || !in_use(&t->slab) || is_dead(t) || t == thread_self_tls)
			continue;
		while (atomic_load_explicit(&t->crit.seq, memory_order_acquire) == seq && in_use(&t->slab)) {
			cpu_relax();
			if (++spins < REST_SPINS)
				continue;
			if (naps-- == 0)
				return false;
			SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
		}
	}
	full_fence();
	return true;
}

static bool sweep_rest(void)
{
	return rest(REST_NAPS);
}

/* --- commands --- */

struct lost_commands {
	struct cmd *cmd[COMMANDS_MAX];
	uint32_t n;
	uint32_t pushed;
};

static bool cmd_is_queued(struct cmd *cmd)
{
	if (cmd->kind == CMD_SOCK)
		return atomic_load_explicit(&container_of(cmd, struct sock, cmd)->cmd_bits, memory_order_acquire) & SOCK_CMD_QUEUED;
	return atomic_load_explicit(&item_of_cmd(cmd)->word, memory_order_acquire) & ITEM_CMD;
}

static struct stack *cmd_stack(struct cmd *cmd)
{
	if (cmd->kind == CMD_SOCK)
		return sock_stack(container_of(cmd, struct sock, cmd));
	return item_of_cmd(cmd)->kind == ITEM_REAP ? &gz->stacks[0] : sock_stack(item_of_cmd(cmd)->s);
}

/* An instance that waits for pins to go. Owner. */
static bool cmd_waits(struct cmd *cmd)
{
	return cmd->kind == CMD_ITEM && item_of_cmd(cmd)->kind == ITEM_REAP && list_linked(&item_of_cmd(cmd)->sock_node);
}

static bool chain_holds(const struct inbox_node *n, const struct cmd *cmd)
{
	for (; n; n = n->next)
		if (n == &cmd->node)
			return true;
	return false;
}

static bool cmd_is_alive(struct cmd *cmd)
{
	if (cmd->kind == CMD_SOCK)
		return in_use(&container_of(cmd, struct sock, cmd)->slab);
	return in_use(item_of_cmd(cmd)->kind == ITEM_REAP ? &item_of_cmd(cmd)->ep->slab : &item_of_cmd(cmd)->slab);
}

static void drop_those_listed(struct stack *st, struct lost_commands *l)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		struct cmd *cmd = l->cmd[i];

		if (cmd_is_alive(cmd) && cmd_is_queued(cmd) && cmd_stack(cmd) == st && !cmd_waits(cmd) && !chain_holds(st->cmd_backlog, cmd) &&
		    !chain_holds(atomic_load_explicit(&st->cmds.head, memory_order_seq_cst), cmd))
			l->cmd[kept++] = cmd;
	}
	l->n = kept;
}

/* On the owner: nothing is taken off the inbox meanwhile, and who marked one of these and lives pushes it during the wait. */
static int64_t op_commands(struct stack *st, struct lost_commands *l)
{
	drop_those_listed(st, l);
	if (!l->n)
		return 0;
	if (!rest(REST_NAPS_OWNER))
		return -EAGAIN;
	drop_those_listed(st, l);
	for (uint32_t i = 0; i < l->n; i++)
		inbox_push(&st->cmds, &l->cmd[i]->node);
	l->pushed += l->n;
	return 0;
}

static void suspect(struct lost_commands *l, struct stack *st, struct cmd *cmd)
{
	if (l->n < COMMANDS_MAX && cmd_is_queued(cmd) && cmd_stack(cmd) == st)
		l->cmd[l->n++] = cmd;
}

static int sweep_commands(struct thread_rec *self)
{
	struct lost_commands *l = calloc(1, sizeof(*l));
	int err = 0;

	if (!l)
		return -ENOMEM;
	for (uint32_t k = 0; k < gz->nb_stacks && !err; k++) {
		struct stack *st = &gz->stacks[k];

		l->n = 0;
		for (uint32_t i = 0; i < top(&gz->socks); i++) {
			struct sock *s = slab_at(&gz->socks, i);

			if (in_use(&s->slab))
				suspect(l, st, &s->cmd);
		}
		for (uint32_t i = 0; i < top(&gz->items); i++) {
			struct item *it = slab_at(&gz->items, i);

			if (in_use(&it->slab) && it->s)
				suspect(l, st, &it->cmd);
		}
		for (uint32_t i = 0; i < top(&gz->epolls); i++) {
			struct epoll *ep = slab_at(&gz->epolls, i);

			if (in_use(&ep->slab) && ep->reap.ep)
				suspect(l, st, &ep->reap.cmd);
		}
		if (!l->n)
			continue;
		self->call.arg[0] = RECLAIM_COMMANDS;
		self->call.arg[1] = (uintptr_t)l;
		err = (int)stack_call(st, SOCK_OP_RECLAIM, NULL, self);
	}
	if (!err)
		err = (int)l->pushed;
	free(l);
	return err;
}

/* --- one look at everything --- */

struct look {
	uint32_t socks, items, epolls, chunks, fdchunks, threads, procs; /* how many objects */
	uint32_t *ref_word, *sock_gen, *refs, *item_word, *linked, *acc_word, *queued; /* per socket: as read, and what was found */
	uint32_t *ep_gen, *ep_ref_word, *ep_refs, *ep_items;		 /* per instance */
	uint64_t *lives_word;
	uint8_t *chunk_used, *fdchunk_used; /* somebody refers to it */
	uint32_t *chunk_gen, *fdchunk_gen, *item_gen, *thread_gen, *proc_gen;
	uint8_t *item_state; /* ITEM_* below */
	bool whole;	     /* nobody was making records */
};

#define SEEN_TABLE 1u	/* in its instance's table */
#define SEEN_FREE 2u	/* nothing holds it */
#define SEEN_ASTRAY 4u	/* says that a table holds it, and none does */

static void *numbers(uint32_t n, size_t bytes, bool *ok)
{
	void *p = calloc((size_t)n + 1, bytes);

	*ok &= p != NULL;
	return p;
}

static void look_free(struct look *k)
{
	void *all[] = { k->acc_word, k->queued, k->ref_word, k->sock_gen, k->refs, k->item_word, k->linked, k->ep_gen, k->ep_ref_word, k->ep_refs, k->ep_items,
			k->lives_word, k->chunk_used, k->fdchunk_used, k->chunk_gen, k->fdchunk_gen, k->item_gen, k->thread_gen,
			k->proc_gen, k->item_state };

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		free(all[i]);
}

static bool look_alloc(struct look *k)
{
	bool ok = true;

	memset(k, 0, sizeof(*k));
	k->socks = top(&gz->socks);
	k->items = top(&gz->items);
	k->epolls = top(&gz->epolls);
	k->chunks = top(&gz->epoll_chunks);
	k->fdchunks = top(&gz->fdchunks);
	k->threads = top(&gz->threads);
	k->procs = top(&gz->procs);
	k->ref_word = numbers(k->socks, 4, &ok);
	k->sock_gen = numbers(k->socks, 4, &ok);
	k->refs = numbers(k->socks, 4, &ok);
	k->item_word = numbers(k->socks, 4, &ok);
	k->linked = numbers(k->socks, 4, &ok);
	k->acc_word = numbers(k->socks, 4, &ok);
	k->queued = numbers(k->socks, 4, &ok);
	k->ep_gen = numbers(k->epolls, 4, &ok);
	k->ep_ref_word = numbers(k->epolls, 4, &ok);
	k->ep_refs = numbers(k->epolls, 4, &ok);
	k->ep_items = numbers(k->epolls, 4, &ok);
	k->lives_word = numbers(k->epolls, 8, &ok);
	k->chunk_used = numbers(k->chunks, 1, &ok);
	k->chunk_gen = numbers(k->chunks, 4, &ok);
	k->fdchunk_used = numbers(k->fdchunks, 1, &ok);
	k->fdchunk_gen = numbers(k->fdchunks, 4, &ok);
	k->item_gen = numbers(k->items, 4, &ok);
	k->item_state = numbers(k->items, 1, &ok);
	k->thread_gen = numbers(k->threads, 4, &ok);
	k->proc_gen = numbers(k->procs, 4, &ok);
	if (!ok)
		look_free(k);
	return ok;
}

static void count_sock(struct look *k, const struct sock *s)
{
	uint32_t i = slab_index(&gz->socks, s);

	if (s && i < k->socks)
		k->refs[i]++;
}

static void count_epoll(struct look *k, const struct epoll *ep)
{
	uint32_t i = slab_index(&gz->epolls, ep);

	if (ep && i < k->epolls)
		k->ep_refs[i]++;
}

/* Connections that wait to be accepted. */
static void look_queue(struct look *k, struct sock *l, struct thread_rec *self)
{
	uint32_t i = slab_index(&gz->socks, l);
	struct inbox_node *n;

	sock_rlock(l, self);
	k->acc_word[i] = atomic_load_explicit(&l->acc_len, memory_order_acquire);
	for (n = atomic_load_explicit(&l->acc_in.head, memory_order_acquire); n; n = n->next, k->queued[i]++)
		count_sock(k, container_of(n, struct sock, acc_node));
	for (n = l->acc_head; n; n = n->next, k->queued[i]++)
		count_sock(k, container_of(n, struct sock, acc_node));
	rlock_unlock(&l->rlock);
}

static void look_thread(struct look *k, struct thread_rec *t)
{
	uint32_t at;

	count_sock(k, atomic_load_explicit(&t->taken, memory_order_acquire));
	count_epoll(k, atomic_load_explicit(&t->taken_ep, memory_order_acquire));
	for (unsigned i = 0; i < THREAD_HELD; i++)
		count_sock(k, atomic_load_explicit(&t->held[i], memory_order_acquire));
	for (at = atomic_load_explicit(&t->held_more, memory_order_acquire); at && at - 1 < k->chunks;) {
		struct hold_chunk *c = slab_at(&gz->epoll_chunks, at - 1);

		k->chunk_used[at - 1] = 1;
		for (unsigned i = 0; i < HOLD_CHUNK; i++) {
			uint32_t s = atomic_load_explicit(&c->sock[i], memory_order_acquire);

			if (s && s - 1 < k->socks)
				k->refs[s - 1]++;
		}
		at = atomic_load_explicit(&c->next, memory_order_acquire);
	}
}

static void look_table(struct look *k, const struct proc_rec *p)
{
	for (unsigned i = 0; i < FD_DIR_LEN; i++) {
		uint32_t at = atomic_load_explicit(&p->chunk[i], memory_order_acquire);
		const struct fd_chunk *c;

		if (!at || at - 1 >= k->fdchunks)
			continue;
		k->fdchunk_used[at - 1] = 1;
		c = slab_at(&gz->fdchunks, at - 1);
		for (unsigned e = 0; e < FD_CHUNK_LEN; e++) {
			uintptr_t d = atomic_load_explicit(&c->e[e].desc, memory_order_acquire);

			if ((d & FD_DESC_KIND) == FD_DESC_SOCK)
				count_sock(k, (const struct sock *)(d & ~FD_DESC_KIND));
			else if ((d & FD_DESC_KIND) == FD_DESC_EPOLL)
				count_epoll(k, (const struct epoll *)(d & ~FD_DESC_KIND));
		}
	}
}

static void seen_in_table(struct item *it, void *arg)
{
	struct look *k = arg;
	uint32_t i = slab_index(&gz->items, it);

	if (i < k->items)
		k->item_state[i] |= SEEN_TABLE;
}

static void look_items(struct look *k)
{
	for (uint32_t i = 0; i < k->items; i++) {
		const struct item *it = slab_at(&gz->items, i);
		uint64_t w = atomic_load_explicit(&it->word, memory_order_acquire);

		k->item_gen[i] = atomic_load_explicit(&it->slab.gen, memory_order_acquire);
		if (!(k->item_gen[i] & 1))
			continue;
		if (!(w & ITEM_HOLDS)) {
			k->item_state[i] |= SEEN_FREE;
			continue;
		}
		if (w & ITEM_LINKED && slab_index(&gz->socks, it->s) < k->socks)
			k->linked[slab_index(&gz->socks, it->s)]++;
		if (it->kind != ITEM_EPOLL)
			continue;
		if (slab_index(&gz->epolls, it->ep) < k->epolls)
			k->ep_items[slab_index(&gz->epolls, it->ep)]++;
		if (w & ITEM_TABLE && !(k->item_state[i] & SEEN_TABLE))
			k->item_state[i] |= SEEN_ASTRAY;
	}
}

static void look_all(struct look *k, struct thread_rec *self)
{
	k->whole = nobody_makes_records();
	for (uint32_t i = 0; i < k->socks; i++) {
		const struct sock *s = slab_at(&gz->socks, i);

		k->sock_gen[i] = atomic_load_explicit(&s->slab.gen, memory_order_acquire);
		k->ref_word[i] = atomic_load_explicit(&s->refs, memory_order_acquire);
		k->item_word[i] = atomic_load_explicit(&s->item_count, memory_order_acquire);
	}
	for (uint32_t i = 0; i < k->epolls; i++) {
		const struct epoll *ep = slab_at(&gz->epolls, i);

		k->ep_gen[i] = atomic_load_explicit(&ep->slab.gen, memory_order_acquire);
		k->ep_ref_word[i] = atomic_load_explicit(&ep->refs, memory_order_acquire);
		k->lives_word[i] = atomic_load_explicit(&ep->lives, memory_order_acquire);
	}
	full_fence();
	for (uint32_t i = 0; i < k->socks; i++) {
		struct sock *s = slab_at(&gz->socks, i);

		if (k->sock_gen[i] & 1 && sock_status(s) & SOCK_LISTENING)
			look_queue(k, s, self);
	}
	for (uint32_t i = 0; i < k->threads; i++) {
		struct thread_rec *t = slab_at(&gz->threads, i);

		k->thread_gen[i] = atomic_load_explicit(&t->slab.gen, memory_order_acquire);
		if (k->thread_gen[i] & 1) /* a dead one too: what it noted is its reference until reclaim.c has given it back */
			look_thread(k, t);
		if (atomic_load_explicit(&t->pid, memory_order_acquire))
			k->thread_gen[i] = 0; /* somebody's */
	}
	for (uint32_t i = 0; i < k->procs; i++) {
		const struct proc_rec *p = slab_at(&gz->procs, i);

		k->proc_gen[i] = atomic_load_explicit(&p->slab.gen, memory_order_acquire);
		if (k->proc_gen[i] & 1)
			look_table(k, p);
		if (atomic_load_explicit(&p->parent, memory_order_acquire))
			k->proc_gen[i] = 0;
	}
	for (uint32_t i = 0; i < k->epolls; i++) {
		struct epoll *ep = slab_at(&gz->epolls, i);

		if (!(k->ep_gen[i] & 1) || !ep->reap.ep)
			continue;
		epoll_lock(ep, self);
		epoll_for_each(ep, seen_in_table, k);
		for (unsigned c = 0; c < EPOLL_CHUNKS; c++)
			if (ep->chunk[c] && ep->chunk[c] - 1 < k->chunks)
				k->chunk_used[ep->chunk[c] - 1] = 1;
		rlock_unlock(&ep->lock);
	}
	look_items(k);
	for (uint32_t i = 0; i < k->chunks; i++)
		k->chunk_gen[i] = atomic_load_explicit(&((struct slab_hdr *)slab_at(&gz->epoll_chunks, i))->gen, memory_order_acquire);
	for (uint32_t i = 0; i < k->fdchunks; i++)
		k->fdchunk_gen[i] = atomic_load_explicit(&((struct slab_hdr *)slab_at(&gz->fdchunks, i))->gen, memory_order_acquire);
}

/* How many too many, both times the same; 0. */
static uint32_t excess(uint64_t count_a, uint32_t found_a, uint32_t found_b)
{
	return found_a == found_b && count_a > found_a ? (uint32_t)count_a - found_a : 0;
}

/* --- putting in order; what was wrong in both looks --- */

static int mend_items(const struct look *a, const struct look *b, struct thread_rec *self)
{
	int n = 0;

	for (uint32_t i = 0; i < a->items; i++) {
		struct item *it = slab_at(&gz->items, i);
		uint8_t both = a->item_state[i] & b->item_state[i];

		if (a->item_gen[i] != b->item_gen[i] || !(both & (SEEN_FREE | SEEN_ASTRAY)) ||
		    atomic_load_explicit(&it->slab.gen, memory_order_acquire) != a->item_gen[i])
			continue;
		if (both & SEEN_ASTRAY && !(atomic_load_explicit(&it->word, memory_order_acquire) & ITEM_TABLE))
			continue;
		n++;
		if (both & SEEN_FREE)
			slab_free(&gz->items, it); /* what it counted as is found by the next round */
		else
			epoll_item_lost(it, self);
	}
	return n;
}

static int mend_socks(const struct look *a, const struct look *b, struct thread_rec *self)
{
	int n = 0;

	for (uint32_t i = 0; i < a->socks; i++) {
		struct sock *s = slab_at(&gz->socks, i);
		uint32_t status = sock_status(s), refs = vcount_of(a->ref_word[i]), more;

		if (a->sock_gen[i] != b->sock_gen[i] || !(a->sock_gen[i] & 1) ||
		    atomic_load_explicit(&s->slab.gen, memory_order_acquire) != a->sock_gen[i])
			continue;
		if (a->item_word[i] == b->item_word[i] &&
		    atomic_load_explicit(&s->item_count, memory_order_acquire) == a->item_word[i]) {
			more = excess(vcount_of(a->item_word[i]), a->linked[i], b->linked[i]);
			for (n += more != 0; more; more--)
				if (vcount_dec(&s->item_count, memory_order_acq_rel) == 1)
					sock_post(s, SOCK_CMD_NOTIFY, self); /* may be the last that kept it */
		}
		if (a->acc_word[i] == b->acc_word[i] && atomic_load_explicit(&s->acc_len, memory_order_acquire) == a->acc_word[i]) {
			more = excess(vcount_of(a->acc_word[i]), a->queued[i], b->queued[i]);
			for (n += more != 0; more; more--) /* else it looks readable for ever */
				vcount_dec(&s->acc_len, memory_order_acq_rel);
		}
		if (a->ref_word[i] != b->ref_word[i] || atomic_load_explicit(&s->refs, memory_order_acquire) != a->ref_word[i])
			continue;
		more = excess(refs, a->refs[i], b->refs[i]);
		if (more) {
			for (n++; more; more--)
				sock_unref(s, self);
		} else if (refs == 0 && !(status & SOCK_CLOSED) && !s->listener &&
			   !(atomic_load_explicit(&s->cmd_bits, memory_order_acquire) & SOCK_CMD_CLOSE)) {
			self->call.arg[0] = RECLAIM_CLOSE;
			self->call.arg[1] = a->sock_gen[i];
			n += stack_call(sock_stack(s), SOCK_OP_RECLAIM, s, self) > 0;
		}
	}
	return n;
}

static int mend_epolls(const struct look *a, const struct look *b, struct thread_rec *self)
{
	int n = 0;

	for (uint32_t i = 0; i < a->epolls; i++) {
		struct epoll *ep = slab_at(&gz->epolls, i);
		uint32_t refs = vcount_of(a->ep_ref_word[i]), more, own;

		if (a->ep_gen[i] != b->ep_gen[i] || !(a->ep_gen[i] & 1) || a->ep_ref_word[i] != b->ep_ref_word[i] ||
		    atomic_load_explicit(&ep->slab.gen, memory_order_acquire) != a->ep_gen[i] ||
		    atomic_load_explicit(&ep->refs, memory_order_acquire) != a->ep_ref_word[i])
			continue;
		more = excess(refs, a->ep_refs[i], b->ep_refs[i]);
		if (more) {
			for (n++; more; more--)
				epoll_instance_unref(ep, self);
			continue;
		}
		if (refs == 0 && !atomic_load_explicit(&ep->ended, memory_order_acquire)) {
			crit_enter();
			epoll_destroy(ep, self);
			n++;
			continue;
		}
		if (a->lives_word[i] != b->lives_word[i] || atomic_load_explicit(&ep->lives, memory_order_acquire) != a->lives_word[i])
			continue;
		own = atomic_load_explicit(&ep->ended, memory_order_acquire) ? 0 : 1;
		more = excess((uint32_t)a->lives_word[i], a->ep_items[i] + own, b->ep_items[i] + own);
		if (more || ((uint32_t)a->lives_word[i] == 0 &&
			     !(atomic_load_explicit(&ep->reap.word, memory_order_acquire) & ITEM_CMD))) {
			epoll_lives_sub(ep, more, self);
			n++;
		}
	}
	return n;
}

/* In use, both times and now, and the same object. */
static bool same(const struct slab *s, uint32_t i, uint32_t gen_a, uint32_t gen_b)
{
	return gen_a & 1 && gen_a == gen_b && atomic_load_explicit(&((struct slab_hdr *)slab_at(s, i))->gen, memory_order_acquire) == gen_a;
}

static int mend_objects(const struct look *a, const struct look *b)
{
	bool whole = a->whole && b->whole && nobody_makes_records();
	int n = 0;

	for (uint32_t i = 0; i < a->chunks; i++)
		if (same(&gz->epoll_chunks, i, a->chunk_gen[i], b->chunk_gen[i]) && !a->chunk_used[i] && !b->chunk_used[i]) {
			slab_free(&gz->epoll_chunks, slab_at(&gz->epoll_chunks, i));
			n++;
		}
	for (uint32_t i = 0; i < a->fdchunks; i++)
		if (same(&gz->fdchunks, i, a->fdchunk_gen[i], b->fdchunk_gen[i]) && !a->fdchunk_used[i] && !b->fdchunk_used[i]) {
			slab_free(&gz->fdchunks, slab_at(&gz->fdchunks, i));
			n++;
		}
	for (uint32_t i = 0; i < a->procs; i++)
		if (same(&gz->procs, i, a->proc_gen[i], b->proc_gen[i])) {
			slab_free(&gz->procs, slab_at(&gz->procs, i));
			n++;
		}
	for (uint32_t i = 0; i < a->threads && whole; i++)
		if (same(&gz->threads, i, a->thread_gen[i], b->thread_gen[i])) {
			struct thread_rec *t = slab_at(&gz->threads, i);

			t->mag.count = 0; /* as it was given back */
			slab_free(&gz->threads, t);
			n++;
		}
	return n;
}

/* One round; how many things were put in order, or -errno. */
static int sweep_counts(struct thread_rec *self)
{
	struct look a, b;
	int n = -ENOMEM;

	if (!look_alloc(&a))
		return -ENOMEM;
	look_all(&a, self);
	if (!look_alloc(&b))
		goto out;
	n = -EAGAIN;
	if (sweep_rest()) {
		look_all(&b, self);
		if (!sweep_rest())
			goto out_b;
		n = mend_objects(&a, &b);
		n += mend_items(&a, &b, self);
		n += mend_epolls(&a, &b, self);
		n += mend_socks(&a, &b, self);
		if (!a.whole || !b.whole)
			n = n ? n : -EAGAIN;
	}
out_b:
	look_free(&b);
out:
	look_free(&a);
	return n;
}

static bool sweep_threads_rest(void)
{
	return sweep_rest() && nobody_makes_records();
}

static int sweep_slabs(void)
{
	struct slab *all[] = { &gz->socks, &gz->items, &gz->epolls, &gz->epoll_chunks, &gz->fdchunks, &gz->procs };
	int n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		int r = slab_reclaim_lost(all[i], sweep_rest);

		if (r < 0)
			return r;
		n += r;
	}
	/* A record is taken by a thread that has none. */
	if (nobody_makes_records()) {
		int r = slab_reclaim_lost(&gz->threads, sweep_threads_rest);

		return r < 0 ? r : n + r;
	}
	return -EAGAIN;
}

/* --- buffers --- */

struct sweep_buffers {
	struct rte_mbuf **m; /* ascending */
	uint8_t *sent;	     /* lies in a socket's inbox: the owner's */
	size_t n, room;
	const uint8_t *of;   /* by index of thread record */
	bool failed;
};

static void buffer_look(struct rte_mempool *mp, void *arg, void *obj, unsigned index)
{
	struct sweep_buffers *w = arg;
	uint32_t holder = pkt_tx(obj)->holder;

	(void)mp;
	(void)index;
	if (!holder || holder > gz->threads.capacity || !w->of[holder - 1] || w->failed)
		return;
	if (w->n == w->room) {
		struct rte_mbuf **m = realloc(w->m, (w->room * 2 + 256) * sizeof(*m));

		if (!m) {
			w->failed = true;
			return;
		}
		w->m = m;
		w->room = w->room * 2 + 256;
	}
	w->m[w->n++] = obj;
}

static int by_address(const void *x, const void *y)
{
	uintptr_t a = (uintptr_t)*(struct rte_mbuf *const *)x, b = (uintptr_t)*(struct rte_mbuf *const *)y;

	return a < b ? -1 : a > b;
}

/* On the owner, who alone takes from these inboxes and unmarks what it takes. */
static int64_t op_sent(struct stack *st, struct sweep_buffers *w)
{
	for (uint32_t i = 0; i < top(&gz->socks); i++) {
		struct sock *s = slab_at(&gz->socks, i);

		if (s->stack_id != st->id || !in_use(&s->slab))
			continue;
		for (struct inbox_node *n = atomic_load_explicit(&s->tx_in.head, memory_order_acquire); n; n = n->next)
			for (struct rte_mbuf *m = pkt_of_node(n); m; m = m->next) {
				struct rte_mbuf **at = bsearch(&m, w->m, w->n, sizeof(m), by_address);

				if (at)
					w->sent[at - w->m] = 1;
			}
	}
	return 0;
}

static int sweep_buffers_of(bool (*dead)(const struct thread_rec *t), struct thread_rec *self)
{
	uint32_t n = top(&gz->threads);
	struct sweep_buffers w = { 0 };
	uint8_t *of = calloc(gz->threads.capacity, 1);
	bool any = false;
	int err = 0;

	is_dead = dead;
	if (!of)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		struct thread_rec *t = slab_at(&gz->threads, i);

		if (is_dead(t) && atomic_load_explicit(&t->buffers_out, memory_order_acquire))
			of[i] = any = true;
	}
	w.of = of;
	for (uint32_t k = 0; any && k < gz->nb_stacks; k++)
		if (k == 0 || gz->stacks[k].pool != gz->stacks[0].pool)
			rte_mempool_obj_iter(gz->stacks[k].pool, buffer_look, &w);
	if (any && gz->stacks[0].large)
		rte_mempool_obj_iter(gz->stacks[0].large, buffer_look, &w);
	if (w.n)
		qsort(w.m, w.n, sizeof(*w.m), by_address);
	w.sent = w.n ? calloc(w.n, 1) : NULL;
	if (w.failed || (w.n && !w.sent)) {
		err = -ENOMEM;
		goto out;
	}
	for (uint32_t k = 0; w.n && k < gz->nb_stacks; k++) {
		self->call.arg[0] = RECLAIM_SENT;
		self->call.arg[1] = (uintptr_t)&w;
		(void)stack_call(&gz->stacks[k], SOCK_OP_RECLAIM, NULL, self);
	}
	for (size_t i = 0; i < w.n; i++) {
		uint32_t holder = pkt_tx(w.m[i])->holder;

		if (w.sent[i] || !holder || !of[holder - 1]) /* an owner has it, or took it since */
			continue;
		buf_untag_seg(w.m[i]);
		rte_pktmbuf_free_seg(w.m[i]);
	}
	for (uint32_t i = 0; i < n && any; i++)
		if (of[i]) {
			struct thread_rec *t = slab_at(&gz->threads, i);

			t->mag.count = 0;
			atomic_store_explicit(&t->buffers_out, 0, memory_order_relaxed);
		}
out:
	free(of);
	free(w.m);
	free(w.sent);
	return err;
}

/* --- */

int64_t sock_op_reclaim(struct stack *st, struct stack_call *call)
{
	struct sock *s = call->s;

	switch ((enum reclaim_what)call->arg[0]) {
	case RECLAIM_COMMANDS:
		return op_commands(st, (struct lost_commands *)(uintptr_t)call->arg[1]);
	case RECLAIM_SENT:
		return op_sent(st, (struct sweep_buffers *)(uintptr_t)call->arg[1]);
	case RECLAIM_CLOSE:
		if (s->stack_id != st->id || atomic_load_explicit(&s->slab.gen, memory_order_acquire) != call->arg[1] || sock_refs(s) ||
		    sock_status(s) & SOCK_CLOSED || s->listener ||
		    atomic_load_explicit(&s->cmd_bits, memory_order_acquire) & SOCK_CMD_CLOSE)
			return 0; /* told meanwhile, or freed */
		sock_close(st, s);
		return 1;
	}
	return -EINVAL;
}

static bool died_inside(void)
{
	uint32_t n = top(&gz->threads);

	for (uint32_t i = 0; i < n; i++) {
		const struct thread_rec *t = slab_at(&gz->threads, i);

		if (is_dead(t) && (crit_is_in(&t->crit) || atomic_load_explicit(&t->unfinished, memory_order_acquire)))
			return true;
	}
	n = top(&gz->procs);
	for (uint32_t i = 0; i < n; i++) {
		const struct proc_rec *p = slab_at(&gz->procs, i);

		if (in_use(&p->slab) && p->looks > 1 && atomic_load_explicit(&p->making, memory_order_acquire))
			return true;
	}
	return false;
}

int sock_sweep(bool (*dead)(const struct thread_rec *t), struct thread_rec *self)
{
	int n = sweep_buffers_of(dead, self);

	if (n || !died_inside())
		return n;
	n = 1;
	for (unsigned i = 0; i < SWEEP_ROUNDS && n; i++) {
		int r;

		n = sweep_commands(self);
		r = n < 0 ? n : sweep_counts(self);
		if (r < 0)
			return r;
		n += r;
		r = sweep_slabs();
		if (r < 0)
			return r;
		n += r;
	}
	return n;
}

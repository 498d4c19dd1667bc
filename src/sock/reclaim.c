/* reclaim.c - what killed processes left behind (runtime.md, "Home and clients"). Called by the home's keeper, owning no stack, when the
 * process is known to be gone: nobody writes its records any more.
 *
 * Only forked processes (clients) can die while the rest lives on; what the home's threads do is never cut short. So that nothing is lost,
 * whatever the moment:
 *   references    are written down: a client's by its descriptor table (posix/fdtable.c), those of a call by held[], one that is on its way from
 *                 or to a table by taken and taken_ep. A note is made after the reference was counted and taken back before it is dropped.
 *   places among waiters  are found: waiting items name their thread, bits of instances its record.
 *   locks         name their holder. Whoever takes one over puts in order what it guards; the keeper does so for all locks of the dead at once,
 *                 since owners only try locks and would go round for ever.
 *   buffers       come from and go to the pool by the home's hand (sock_buf.c), and carry their holder's tag meanwhile. Received ones change
 *                 lists one by one, each step a single store (rx_pull_client()). buffers_out says that the tags are to be looked at;
 *                 when it is not set the magazine is exact.
 *   everything between two instructions (counted and not yet written down, off one list and not yet on the other, a command marked and not yet
 *                 pushed) happens inside a critical section (base/crit.h). A thread that died outside has left nothing half-done, and what is above
 *                 is exact. For one that died inside (some of a hundred kills) everything is counted anew: sweep.c.
 * tests/model/models.c kills at every step of these protocols. */
#include "sock/sock_int.h"
#include "stack/idle.h"

static void reclaim_ref(_Atomic(struct sock *) *slot, struct thread_rec *self)
{
	struct sock *s = atomic_exchange_explicit(slot, NULL, memory_order_acquire);

	if (!s)
		return;
	/* It may have been woken for something that it did not take. */
	sock_post(s, SOCK_CMD_NOTIFY, self);
	sock_unref(s, self);
}

static void reclaim_held_more(struct thread_rec *t, struct thread_rec *self)
{
	uint32_t at = atomic_exchange_explicit(&t->held_more, 0, memory_order_acquire);

	while (at) {
		struct hold_chunk *c = slab_at(&gz->epoll_chunks, at - 1);

		for (unsigned i = 0; i < HOLD_CHUNK; i++) {
			uint32_t s = atomic_exchange_explicit(&c->sock[i], 0, memory_order_acquire);

			if (s) {
				sock_post(slab_at(&gz->socks, s - 1), SOCK_CMD_NOTIFY, self);
				sock_unref(slab_at(&gz->socks, s - 1), self);
			}
		}
		at = atomic_load_explicit(&c->next, memory_order_relaxed);
		slab_free(&gz->epoll_chunks, c);
	}
}

void sock_reclaim_thread(struct thread_rec *t, struct thread_rec *self)
{
	struct epoll *ep = atomic_exchange_explicit(&t->taken_ep, NULL, memory_order_acquire);

	if (ep)
		epoll_instance_unref(ep, self);
	reclaim_ref(&t->taken, self);
	for (unsigned i = 0; i < THREAD_HELD; i++)
		reclaim_ref(&t->held[i], self);
	reclaim_held_more(t, self);
	for (unsigned i = 0; i < THREAD_PINS; i++)
		atomic_store_explicit(&t->pins[i], NULL, memory_order_release);
}

/* --- locks --- */

struct tids {
	uint32_t n, tid[256];
};

static bool take_over(struct rlock *l, const struct tids *dead, struct thread_rec *self)
{
	uint32_t word = atomic_load_explicit(&l->word, memory_order_relaxed);

	for (uint32_t i = 0; word && i < dead->n; i++)
		if (dead->tid[i] == word)
			return atomic_compare_exchange_strong_explicit(&l->word, &word, self->tid, memory_order_acquire,
								       memory_order_relaxed);
	return false;
}

static void take_over_all(const struct tids *dead, struct thread_rec *self)
{
	uint32_t n = atomic_load_explicit(&gz->socks.fresh, memory_order_acquire);

	for (uint32_t i = 0; i < n; i++) {
		struct sock *s = slab_at(&gz->socks, i);

		if (!(atomic_load_explicit(&s->slab.gen, memory_order_acquire) & 1))
			continue;
		if (unlikely(take_over(&s->rlock, dead, self)))
			sock_rlock_inherit(s);
		if (unlikely(take_over(&s->wlock, dead, self))) {
			/* It may have counted bytes that it did not hand over. */
			if (s->type == SOCK_STREAM)
				(void)stack_call(sock_stack(s), SOCK_OP_TX_REPAIR, s, self);
			rlock_unlock(&s->wlock);
		}
	}
	n = atomic_load_explicit(&gz->epolls.fresh, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++) {
		struct epoll *ep = slab_at(&gz->epolls, i);

		if (atomic_load_explicit(&ep->slab.gen, memory_order_acquire) & 1 && take_over(&ep->lock, dead, self)) {
			epoll_repair(ep);
			rlock_unlock(&ep->lock);
		}
	}
}

void sock_reclaim_locks(bool (*dead)(const struct thread_rec *t), struct thread_rec *self)
{
	uint32_t n = atomic_load_explicit(&gz->threads.fresh, memory_order_acquire);
	struct tids tids = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		const struct thread_rec *t = slab_at(&gz->threads, i);

		if (!dead(t) || !t->tid)
			continue;
		tids.tid[tids.n++] = t->tid;
		if (tids.n == ARRAY_SIZE(tids.tid)) {
			take_over_all(&tids, self);
			tids.n = 0;
		}
	}
	if (tids.n)
		take_over_all(&tids, self);
}

/* --- waits --- */

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

		if (atomic_load_explicit(&ep->slab.gen, memory_order_acquire) & 1 && vcount_get(&ep->refs, memory_order_relaxed))
			reclaim_instance(ep, dead);
	}
}

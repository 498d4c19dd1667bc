/* epoll.c - epoll instances over stack sockets: registration, the ready list, waiting. Called by posix/epoll.c (any thread of any process)
 * and, for the few functions marked so, by the owner's side.
 *
 * Life of an item. It is held by: the instance's table (ITEM_TABLE), the ready inbox or list (ITEM_QUEUED), its socket's owner
 * (ITEM_LINKED, from creation until the owner has taken it off s->items), and the command inbox (ITEM_CMD). Each holder clears its own bit
 * in one atomic step; whoever clears the last frees the item. So nobody waits for anybody:
 *   epoll_ctl(DEL): out of the table, DEAD, and a command to the owner, who unlinks.
 *   close(socket):  the owner unlinks, DEAD, and queues the item, so that whoever looks at the instance next takes it out of the table.
 *   close(epoll):   as DEL for all; the instance itself goes when its last item has gone (ep->lives).
 *
 * Ready list. A stack sets QUEUED and pushes the item on ep->ready_in; waiters, under ep->lock, move that to the FIFO and evaluate
 * item by item. A queued item is a hint: readiness is computed when it is looked at. A level-triggered item that is ready goes to the tail and
 * stays QUEUED; one that is not ready has QUEUED cleared first and is evaluated once more after, so that an event between the two is
 * either seen or queued anew. Edge-triggered and one-shot items have QUEUED cleared before they are evaluated.
 *
 * Waiters. A thread that is about to sleep sets its bit in ep->wait_map (seq_cst), then looks at the ready list; a stack that queued an
 * item looks at the map after. Waking takes the bit: one event wakes one waiter. A waiter that was woken and leaves with nothing, or
 * leaves ready items behind, wakes the next. */
#include "base/clock.h"
#include "sock/sock_int.h"
#include "stack/idle.h"

#include <string.h>

const uint32_t epoll_obj_bytes = sizeof(struct epoll);
const uint32_t epoll_chunk_bytes = sizeof(struct epoll_chunk);
const uint32_t item_obj_bytes = sizeof(struct item);

/* A busy program looks at the kernel's descriptors at least this often. */
#define KERNEL_LOOK_US 50
/* After this many waits that returned at once the stacks are run first: a program that always finds something must not starve them. */
#define READY_STREAK 8
/* A waiter without a place in the map looks again this often. */
#define NO_PLACE_US 1000

/* Flags of epoll_event.events that are not events. */
#define EP_PRIVATE (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EP_EXCLUSIVE_OK (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDNORM | EPOLLWRNORM | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

/* The instance that this thread is looking at: events for it that the thread itself brings in need no wake-up. */
static __thread struct epoll *looking_at;
static __thread uint32_t ready_streak;

static force_inline struct item *item_at(uint32_t index1) { return slab_at(&gz->items, index1 - 1); }
static force_inline uint32_t item_index1(const struct item *it) { return slab_index(&gz->items, it) + 1; }

struct item *item_of_cmd(struct cmd *cmd) { return container_of(cmd, struct item, cmd); }

/* --- life --- */

#define LIFE_CHANGE (1ULL << 32)

static force_inline void ep_get_life(struct epoll *ep)
{
	atomic_fetch_add_explicit(&ep->lives, LIFE_CHANGE + 1, memory_order_acq_rel);
}

/* Inside a critical section, which ends here. */
static void ep_put_lives(struct epoll *ep, uint32_t n)
{
	if ((uint32_t)atomic_fetch_add_explicit(&ep->lives, LIFE_CHANGE - n, memory_order_acq_rel) != n) {
		crit_exit();
		return;
	}
	/* Freed by the owner of stack 0, who can wait for pins. Marked as every command is. */
	if (atomic_fetch_or_explicit(&ep->reap.word, ITEM_CMD, memory_order_acq_rel) & ITEM_CMD)
		crit_exit();
	else
		stack_post_marked(&gz->stacks[0], &ep->reap.cmd, thread_self());
}

void epoll_lives_sub(struct epoll *ep, uint32_t n, struct thread_rec *self)
{
	(void)self;
	crit_enter();
	ep_put_lives(ep, n);
}

void item_free(struct item *it)
{
	struct epoll *ep = it->kind == ITEM_EPOLL ? it->ep : NULL;

	slab_free(&gz->items, it);
	if (ep)
		ep_put_lives(ep, 1);
	else
		crit_exit();
}

void item_release(struct item *it, uint64_t holds)
{
	crit_enter();
	if (holds) {
		uint64_t w = atomic_fetch_and_explicit(&it->word, ~holds, memory_order_acq_rel);

		if (!(w & holds) || (w & ~holds & ITEM_HOLDS)) {
			crit_exit();
			return;
		}
	}
	item_free(it);
}

void epoll_drain_dead(struct epoll *ep)
{
	struct inbox_node *n;

	if (inbox_empty(&ep->ready_in)) /* seq_cst: whoever pushed looked at ep->dead after */
		return;
	crit_enter();
	n = inbox_take(&ep->ready_in);
	while (n) {
		struct item *it = container_of(n, struct item, ready_node);

		n = n->next;
		item_release(it, ITEM_QUEUED);
	}
	crit_exit();
}

void epoll_reap(struct stack *st, struct epoll *ep)
{
	/* Pinned: a thread is still inside a wait on it. On a list of this stack as waiting to be woken: its turn comes first. */
	if (pinned_by_any(ep) || atomic_load_explicit(&ep->noted_by, memory_order_acquire)) {
		list_init(&ep->reap.sock_node);
		list_push_back(&st->zombies, &ep->reap.sock_node);
		return;
	}
	for (unsigned i = 0; i < EPOLL_CHUNKS; i++)
		if (ep->chunk[i]) {
			slab_free(&gz->epoll_chunks, slab_at(&gz->epoll_chunks, ep->chunk[i] - 1));
			ep->chunk[i] = 0;
		}
	crit_enter();
	atomic_store_explicit(&ep->reap.word, 0, memory_order_relaxed);
	slab_free(&gz->epolls, ep);
	crit_exit();
}

struct epoll *epoll_instance_create(struct thread_rec *self)
{
	struct epoll *ep;

	crit_enter();
	ep = slab_alloc(&gz->epolls);
	if (!ep) {
		crit_exit();
		return NULL;
	}
	memset((char *)ep + sizeof(ep->slab), 0, sizeof(*ep) - sizeof(ep->slab));
	ep_get_life(ep);
	atomic_store_explicit(&ep->event_fd, -1, memory_order_relaxed);
	list_init(&ep->wake_node);
	ep->reap.kind = ITEM_REAP;
	ep->reap.cmd.kind = CMD_ITEM;
	ep->reap.ep = ep;
	list_init(&ep->reap.sock_node);
	vcount_set(&ep->refs, 1, memory_order_release);
	atomic_store_explicit(&self->taken_ep, ep, memory_order_relaxed);
	crit_exit();
	return ep;
}

void epoll_instance_ref(struct epoll *ep)
{
	vcount_inc(&ep->refs, memory_order_relaxed);
}

/* --- table; under ep->lock --- */

static uint32_t *table_slot(struct epoll *ep, int fd, bool make)
{
	uint32_t c = (uint32_t)fd / EPOLL_CHUNK_FDS;
	struct epoll_chunk *chunk;

	if (unlikely(c >= EPOLL_CHUNKS))
		return &ep->over;
	if (unlikely(!ep->chunk[c])) {
		if (!make)
			return NULL;
		chunk = slab_alloc(&gz->epoll_chunks);
		if (!chunk)
			return NULL;
		memset((char *)chunk + sizeof(chunk->slab), 0, sizeof(*chunk) - sizeof(chunk->slab));
		ep->chunk[c] = slab_index(&gz->epoll_chunks, chunk) + 1;
	}
	chunk = slab_at(&gz->epoll_chunks, ep->chunk[c] - 1);
	return &chunk->first[(uint32_t)fd % EPOLL_CHUNK_FDS];
}

static struct item *table_find(struct epoll *ep, int fd, const struct sock *s)
{
	uint32_t *slot = table_slot(ep, fd, false);

	for (uint32_t i = slot ? *slot : 0; i; i = item_at(i)->fd_next) {
		struct item *it = item_at(i);

		if (it->s == s && it->fd == fd && !(atomic_load_explicit(&it->word, memory_order_relaxed) & ITEM_DEAD))
			return it;
	}
	return NULL;
}

static void table_remove(struct epoll *ep, struct item *it)
{
	uint32_t *link = table_slot(ep, it->fd, false), index = item_index1(it);

	while (link && *link && *link != index)
		link = &item_at(*link)->fd_next;
	if (link && *link)
		*link = it->fd_next;
}

/* --- ready list; under ep->lock --- */

static force_inline void fifo_push(struct epoll *ep, struct item *it)
{
	uint32_t index = item_index1(it);

	it->fifo_next = 0;
	it->in_fifo = 1;
	if (ep->fifo_tail)
		item_at(ep->fifo_tail)->fifo_next = index;
	else
		ep->fifo_head = index;
	ep->fifo_tail = index;
	atomic_store_explicit(&ep->fifo_len, atomic_load_explicit(&ep->fifo_len, memory_order_relaxed) + 1, memory_order_release);
}

static force_inline struct item *fifo_pop(struct epoll *ep)
{
	struct item *it = item_at(ep->fifo_head);

	ep->fifo_head = it->fifo_next;
	if (!ep->fifo_head)
		ep->fifo_tail = 0;
	it->in_fifo = 0;
	atomic_store_explicit(&ep->fifo_len, atomic_load_explicit(&ep->fifo_len, memory_order_relaxed) - 1, memory_order_relaxed);
	return it;
}

static force_inline void ep_pull(struct epoll *ep)
{
	struct inbox_node *n = inbox_take(&ep->ready_in);

	while (n) {
		struct item *it = container_of(n, struct item, ready_node);

		n = n->next;
		if (likely(!it->in_fifo))
			fifo_push(ep, it);
	}
}

static force_inline bool ep_may_be_ready(const struct epoll *ep)
{
	return !inbox_maybe_empty(&ep->ready_in) || atomic_load_explicit(&ep->fifo_len, memory_order_relaxed) != 0;
}

/* The holder of the lock was killed. The table says which items exist; the ready list is made anew with all of them, for a hint too many
 * does no harm. */
cold_path void epoll_repair(struct epoll *ep)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint32_t n;

	/* A stack between setting QUEUED and pushing is through by then. */
	SYS(nanosleep, &pause, NULL);
	(void)inbox_take(&ep->ready_in);
	/* Listed, and in no table any more: only the list held them. */
	n = atomic_load_explicit(&gz->items.fresh, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++) {
		struct item *it = slab_at(&gz->items, i);
		uint64_t w = atomic_load_explicit(&it->word, memory_order_acquire);

		if (w & ITEM_QUEUED && !(w & ITEM_TABLE) && it->kind == ITEM_EPOLL && it->ep == ep)
			item_release(it, ITEM_QUEUED);
	}
	ep->fifo_head = ep->fifo_tail = 0;
	atomic_store_explicit(&ep->fifo_len, 0, memory_order_relaxed);
	for (unsigned c = 0; c <= EPOLL_CHUNKS; c++) {
		struct epoll_chunk *chunk = c < EPOLL_CHUNKS && ep->chunk[c] ? slab_at(&gz->epoll_chunks, ep->chunk[c] - 1) : NULL;
		unsigned slots = c == EPOLL_CHUNKS ? 1 : chunk ? EPOLL_CHUNK_FDS : 0;

		for (unsigned i = 0; i < slots; i++)
			for (uint32_t x = chunk ? chunk->first[i] : ep->over; x; x = item_at(x)->fd_next) {
				atomic_fetch_or_explicit(&item_at(x)->word, ITEM_QUEUED, memory_order_acq_rel);
				fifo_push(ep, item_at(x));
			}
	}
}

static force_inline void ep_lock(struct epoll *ep, struct thread_rec *self)
{
	if (unlikely(rlock_lock(&ep->lock, self->tid) == RLOCK_TAKEN_OVER))
		epoll_repair(ep);
}

void epoll_lock(struct epoll *ep, struct thread_rec *self) { ep_lock(ep, self); }

/* --- waking --- */

cold_path static void wake_one_slow(struct epoll *ep)
{
	struct thread_rec *self = thread_self_tls;
	uint32_t mine = self ? slab_index(&gz->threads, self) : UINT32_MAX;

	/* A watcher that sleeps on this very instance runs the stack itself: it is awake, nobody else is needed. */
	if (mine < 64 * EPOLL_WAIT_WORDS &&
	    atomic_load_explicit(&ep->wait_map[mine / 64], memory_order_relaxed) & (1ULL << (mine % 64))) {
		atomic_fetch_and_explicit(&ep->wait_map[mine / 64], ~(1ULL << (mine % 64)), memory_order_acq_rel);
		return;
	}
	for (;;) {
		uint64_t top = atomic_load_explicit(&ep->wait_top, memory_order_seq_cst), word;
		unsigned i, b;

		if (!top)
			return;
		i = (unsigned)__builtin_ctzll(top);
		word = atomic_load_explicit(&ep->wait_map[i], memory_order_seq_cst);
		if (!word) {
			/* Cleared, then looked at again: a thread sets its bit first and the summary after. */
			atomic_fetch_and_explicit(&ep->wait_top, ~(1ULL << i), memory_order_seq_cst);
			if (atomic_load_explicit(&ep->wait_map[i], memory_order_seq_cst))
				atomic_fetch_or_explicit(&ep->wait_top, 1ULL << i, memory_order_seq_cst);
			continue;
		}
		b = (unsigned)__builtin_ctzll(word);
		if (atomic_fetch_and_explicit(&ep->wait_map[i], ~(1ULL << b), memory_order_acq_rel) & (1ULL << b)) {
			thread_wake(slab_at(&gz->threads, i * 64 + b));
			return;
		}
	}
}

void epoll_wake_one(struct epoll *ep)
{
	if (looking_at == ep)
		return; /* this thread takes what is there, and wakes the next if it leaves something */
	if (likely(atomic_load_explicit(&ep->wait_top, memory_order_seq_cst) == 0))
		return;
	wake_one_slow(ep);
}

cold_path static void event_raise_slow(struct epoll *ep, int fd)
{
	uint64_t one = 1;

	if (atomic_exchange_explicit(&ep->event_set, 1, memory_order_seq_cst) == 0)
		sys_write(fd, &one, sizeof(one));
}

void epoll_event_raise(struct epoll *ep)
{
	int fd = atomic_load_explicit(&ep->event_fd, memory_order_seq_cst);

	if (unlikely(fd >= 0))
		event_raise_slow(ep, fd);
}

/* Nothing is ready: the eventfd says so. Under ep->lock. */
cold_path static void event_clear(struct epoll *ep, int fd)
{
	uint64_t v;

	if (atomic_exchange_explicit(&ep->event_set, 0, memory_order_seq_cst))
		sys_read(fd, &v, sizeof(v));
	if (!inbox_empty(&ep->ready_in)) /* queued meanwhile; its raising may have come before the clearing */
		event_raise_slow(ep, fd);
}

/* Sets this thread's bit; false: no place. */
static bool wait_mark(struct epoll *ep, uint32_t index)
{
	if (index >= 64 * EPOLL_WAIT_WORDS)
		return false;
	atomic_fetch_or_explicit(&ep->wait_map[index / 64], 1ULL << (index % 64), memory_order_seq_cst);
	atomic_fetch_or_explicit(&ep->wait_top, 1ULL << (index / 64), memory_order_seq_cst);
	return true;
}

static void wait_unmark(struct epoll *ep, uint32_t index)
{
	uint64_t bit = 1ULL << (index % 64);

	if (!(atomic_fetch_and_explicit(&ep->wait_map[index / 64], ~bit, memory_order_seq_cst) & bit))
		return; /* a waker took it */
	if (atomic_load_explicit(&ep->wait_map[index / 64], memory_order_seq_cst) == 0) {
		atomic_fetch_and_explicit(&ep->wait_top, ~(1ULL << (index / 64)), memory_order_seq_cst);
		if (atomic_load_explicit(&ep->wait_map[index / 64], memory_order_seq_cst))
			atomic_fetch_or_explicit(&ep->wait_top, 1ULL << (index / 64), memory_order_seq_cst);
	}
}

/* --- taking events --- */

/* Found dead in the ready list: the table forgets it, the list lets go. */
cold_path static void item_bury(struct epoll *ep, struct item *it, uint64_t w)
{
	if (w & ITEM_TABLE)
		table_remove(ep, it);
	item_release(it, ITEM_QUEUED | ITEM_TABLE);
}

/* Clears QUEUED, so that an event from now on queues it anew. false: its socket was closed in this moment; it is gone. */
static force_inline bool item_unqueue(struct epoll *ep, struct item *it, uint64_t *word)
{
	uint64_t w = atomic_fetch_and_explicit(&it->word, ~ITEM_QUEUED, memory_order_acq_rel) & ~ITEM_QUEUED;

	*word = w;
	if (likely(!(w & ITEM_DEAD)))
		return true;
	/* The owner found it QUEUED and left it to us; the table still holds it. */
	table_remove(ep, it);
	item_release(it, ITEM_TABLE);
	return false;
}

static force_inline uint32_t item_ready(const struct item *it, uint64_t w)
{
	const struct sock *s = it->s;

	/* Between the last close() and the owner's unlinking the socket is closed for everybody. */
	if (unlikely(sock_refs(s) == 0))
		return 0;
	return sock_ready_events(s, ITEM_EVENTS(w)) & (ITEM_EVENTS(w) | EPOLLERR | EPOLLHUP) & ~EP_PRIVATE;
}

/* Evaluates at most what is queued now; returns events written. Under ep->lock. *left: ready items may remain unreported. */
static int ep_take_locked(struct epoll *ep, struct epoll_event *out, int max, bool *left)
{
	uint32_t budget;
	int n = 0;

	ep_pull(ep);
	budget = atomic_load_explicit(&ep->fifo_len, memory_order_relaxed);
	while (budget && n < max) {
		struct item *it = fifo_pop(ep);
		uint64_t w = atomic_load_explicit(&it->word, memory_order_acquire);
		uint32_t rev;

		budget--;
		if (likely(ep->fifo_head != 0))
			prefetch(item_at(ep->fifo_head)->s);
		if (unlikely(w & ITEM_DEAD)) {
			item_bury(ep, it, w);
			continue;
		}
		if (unlikely(ITEM_EVENTS(w) & (EPOLLET | EPOLLONESHOT))) {
			if (!item_unqueue(ep, it, &w) || !(ITEM_EVENTS(w) & ~EP_PRIVATE)) /* one-shot, spent */
				continue;
			rev = item_ready(it, w);
			if (!rev)
				continue;
			if (ITEM_EVENTS(w) & EPOLLONESHOT)
				atomic_fetch_and_explicit(&it->word, ~((uint64_t)(uint32_t)~EP_PRIVATE << 32), memory_order_acq_rel);
		} else {
			rev = item_ready(it, w);
			if (rev) {
				fifo_push(ep, it); /* to the tail: the others come first next time */
			} else {
				if (!item_unqueue(ep, it, &w))
					continue;
				rev = item_ready(it, w);
				if (likely(!rev))
					continue;
				if (!(atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_acq_rel) & ITEM_QUEUED))
					fifo_push(ep, it);
			}
		}
		out[n].events = rev;
		out[n].data.u64 = it->data;
		n++;
	}
	*left = budget != 0;
	if (unlikely(atomic_load_explicit(&ep->untold, memory_order_relaxed) != *left))
		atomic_store_explicit(&ep->untold, *left, memory_order_relaxed);
	return n;
}

static int ep_take(struct epoll *ep, struct epoll_event *out, int max, bool *left, struct thread_rec *self)
{
	int n, fd;

	*left = false;
	ep_lock(ep, self);
	n = ep_take_locked(ep, out, max, left);
	fd = atomic_load_explicit(&ep->event_fd, memory_order_relaxed);
	if (unlikely(fd >= 0) && atomic_load_explicit(&ep->fifo_len, memory_order_relaxed) == 0)
		event_clear(ep, fd);
	rlock_unlock(&ep->lock);
	return n;
}

/* Is a queued item really ready? Drops those that are not. Under ep->lock. */
static bool ep_ready_locked(struct epoll *ep)
{
	uint32_t budget;

	ep_pull(ep);
	budget = atomic_load_explicit(&ep->fifo_len, memory_order_relaxed);
	while (budget--) {
		struct item *it = fifo_pop(ep);
		uint64_t w = atomic_load_explicit(&it->word, memory_order_acquire);

		if (w & ITEM_DEAD) {
			item_bury(ep, it, w);
			continue;
		}
		if (ITEM_EVENTS(w) & ~EP_PRIVATE && item_ready(it, w)) {
			/* back to where it was: nothing was reported */
			it->fifo_next = ep->fifo_head;
			it->in_fifo = 1;
			ep->fifo_head = item_index1(it);
			if (!ep->fifo_tail)
				ep->fifo_tail = ep->fifo_head;
			atomic_store_explicit(&ep->fifo_len, atomic_load_explicit(&ep->fifo_len, memory_order_relaxed) + 1,
					      memory_order_relaxed);
			return true;
		}
		if (item_unqueue(ep, it, &w) && ITEM_EVENTS(w) & ~EP_PRIVATE && item_ready(it, w) &&
		    !(atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_acq_rel) & ITEM_QUEUED)) {
			fifo_push(ep, it);
			return true;
		}
	}
	return false;
}

bool epoll_instance_ready(struct epoll *ep, struct thread_rec *self)
{
	bool ready;
	int fd;

	if (!ep_may_be_ready(ep)) {
		idle_run_stacks(self);
		if (!ep_may_be_ready(ep))
			return false;
	}
	ep_lock(ep, self);
	ready = ep_ready_locked(ep);
	fd = atomic_load_explicit(&ep->event_fd, memory_order_relaxed);
	if (!ready && fd >= 0)
		event_clear(ep, fd);
	rlock_unlock(&ep->lock);
	return ready;
}

void epoll_instance_expose(struct epoll *ep, int event_fd)
{
	atomic_store_explicit(&ep->event_fd, event_fd, memory_order_seq_cst);
	if (event_fd < 0)
		return;
	atomic_store_explicit(&ep->event_set, 0, memory_order_seq_cst);
	if (!inbox_empty(&ep->ready_in) || atomic_load_explicit(&ep->fifo_len, memory_order_seq_cst))
		event_raise_slow(ep, event_fd);
}

/* --- registration --- */

/* Evaluates an item after it was added or changed, and queues it. Under ep->lock; true: a waiter may have to be woken. */
static bool item_look(struct epoll *ep, struct item *it)
{
	uint64_t w = atomic_load_explicit(&it->word, memory_order_seq_cst);

	if (!(ITEM_EVENTS(w) & ~EP_PRIVATE) || !item_ready(it, w))
		return false;
	if (!(atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_acq_rel) & ITEM_QUEUED))
		fifo_push(ep, it);
	return true;
}

static struct item *item_create(struct epoll *ep, int fd, struct sock *s, const struct epoll_event *ev, uint32_t *slot)
{
	struct item *it = slab_alloc(&gz->items);

	if (!it)
		return NULL;
	it->cmd.kind = CMD_ITEM;
	it->s = s;
	it->ep = ep;
	it->kind = ITEM_EPOLL;
	it->fd = fd;
	it->data = ev->data.u64;
	it->in_fifo = 0;
	it->fifo_next = 0;
	list_init(&it->sock_node);
	it->add_written = atomic_load_explicit(&s->rx_written, memory_order_acquire);
	it->add_seen = 0;
	/* Counted while the caller pins s: see sock_maybe_free(). Before it counts as one: see sweep.c. */
	vcount_inc(&s->item_count, memory_order_acq_rel);
	ep_get_life(ep);
	atomic_store_explicit(&it->word,
			      ITEM_TABLE | ITEM_LINKED | ITEM_CMD | (uint64_t)(ev->events & ~EPOLLWAKEUP) << 32, memory_order_release);
	it->fd_next = *slot;
	*slot = item_index1(it);
	return it;
}

static int ctl_add(struct epoll *ep, int fd, struct sock *s, const struct epoll_event *ev, struct item **post, bool *wake)
{
	uint32_t *slot;
	struct item *it;

	if (ev->events & EPOLLEXCLUSIVE && ev->events & ~(uint32_t)EP_EXCLUSIVE_OK)
		return -EINVAL;
	if (table_find(ep, fd, s))
		return -EEXIST;
	slot = table_slot(ep, fd, true);
	if (!slot)
		return -ENOMEM;
	it = item_create(ep, fd, s, ev, slot);
	if (!it)
		return -ENOMEM;
	*wake = item_look(ep, it);
	if (*wake)
		it->add_seen = sock_readiness(s);
	*post = it;
	return 0;
}

static int ctl_mod(struct epoll *ep, int fd, struct sock *s, const struct epoll_event *ev, bool *wake)
{
	struct item *it = table_find(ep, fd, s);
	uint64_t w, want;

	if (!it)
		return -ENOENT;
	w = atomic_load_explicit(&it->word, memory_order_relaxed);
	if ((ev->events | ITEM_EVENTS(w)) & EPOLLEXCLUSIVE)
		return -EINVAL;
	it->data = ev->data.u64;
	do {
		want = (uint32_t)w | (uint64_t)(ev->events & ~EPOLLWAKEUP) << 32;
	} while (!atomic_compare_exchange_weak_explicit(&it->word, &w, want, memory_order_seq_cst, memory_order_relaxed));
	/* The events are changed, now look: pairs with the fence in note_items(). */
	full_fence();
	*wake = item_look(ep, it);
	return 0;
}

/* Out of the table, inside a critical section. True: it->cmd is to be posted; false: the section has ended. */
static bool item_unregister(struct item *it)
{
	uint64_t w = atomic_load_explicit(&it->word, memory_order_relaxed), want;
	bool post;

	do {
		post = w & ITEM_LINKED && !(w & ITEM_CMD);
		want = (w | ITEM_DEAD | (post ? ITEM_CMD : 0)) & ~ITEM_TABLE;
	} while (!atomic_compare_exchange_weak_explicit(&it->word, &w, want, memory_order_acq_rel, memory_order_relaxed));
	if (!(want & ITEM_HOLDS))
		item_free(it);
	else if (!post)
		crit_exit();
	return post;
}

int epoll_instance_ctl(struct epoll *ep, int op, int fd, struct sock *s, const struct epoll_event *ev, struct thread_rec *self)
{
	struct item *it = NULL;
	struct stack *st = sock_stack(s);
	bool wake = false;
	int err;

	ep_lock(ep, self);
	switch (op) {
	case EPOLL_CTL_ADD:
		crit_enter(); /* until the item's command is pushed */
		err = ctl_add(ep, fd, s, ev, &it, &wake);
		if (!it)
			crit_exit();
		break;
	case EPOLL_CTL_MOD:
		err = ctl_mod(ep, fd, s, ev, &wake);
		break;
	case EPOLL_CTL_DEL:
		it = table_find(ep, fd, s);
		err = it ? 0 : -ENOENT;
		if (it) {
			crit_enter();
			table_remove(ep, it);
			if (!item_unregister(it))
				it = NULL;
		}
		break;
	default:
		err = -EINVAL;
	}
	rlock_unlock(&ep->lock);
	/* Posted after unlocking: it may run the stack here and now. The item cannot go before, ITEM_CMD holds it. */
	if (it)
		stack_post_marked(st, &it->cmd, self);
	if (wake) {
		epoll_wake_one(ep);
		epoll_event_raise(ep);
	}
	return err;
}

void epoll_for_each(struct epoll *ep, void (*fn)(struct item *it, void *arg), void *arg)
{
	for (unsigned c = 0; c <= EPOLL_CHUNKS; c++) {
		struct epoll_chunk *chunk = c < EPOLL_CHUNKS && ep->chunk[c] ? slab_at(&gz->epoll_chunks, ep->chunk[c] - 1) : NULL;
		unsigned slots = c == EPOLL_CHUNKS ? 1 : chunk ? EPOLL_CHUNK_FDS : 0;

		for (unsigned i = 0; i < slots; i++)
			for (uint32_t x = chunk ? chunk->first[i] : ep->over; x; x = item_at(x)->fd_next)
				fn(item_at(x), arg);
	}
}

void epoll_item_lost(struct item *it, struct thread_rec *self)
{
	struct stack *st = sock_stack(it->s);

	crit_enter();
	if (item_unregister(it))
		stack_post_marked(st, &it->cmd, self);
}

/* All items of the table, as DEL. A command may run the stack here and now: without the lock. */
static void unregister_all(struct epoll *ep, struct thread_rec *self)
{
	ep_lock(ep, self);
	for (unsigned c = 0; c <= EPOLL_CHUNKS; c++) {
		struct epoll_chunk *chunk = c < EPOLL_CHUNKS && ep->chunk[c] ? slab_at(&gz->epoll_chunks, ep->chunk[c] - 1) : NULL;
		unsigned slots = c == EPOLL_CHUNKS ? 1 : chunk ? EPOLL_CHUNK_FDS : 0;

		for (unsigned i = 0; i < slots; i++) {
			uint32_t *slot = chunk ? &chunk->first[i] : &ep->over;

			while (*slot) {
				struct item *it = item_at(*slot);
				struct stack *st;

				crit_enter();
				*slot = it->fd_next;
				if (!item_unregister(it))
					continue;
				st = sock_stack(it->s); /* ITEM_LINKED: s is there */
				rlock_unlock(&ep->lock);
				stack_post_marked(st, &it->cmd, self);
				ep_lock(ep, self);
			}
		}
	}
	while (ep->fifo_head)
		item_release(fifo_pop(ep), ITEM_QUEUED);
	rlock_unlock(&ep->lock);
}

void epoll_destroy(struct epoll *ep, struct thread_rec *self)
{
	uint32_t ended = 0;

	atomic_store_explicit(&self->unfinished, 1, memory_order_relaxed);
	atomic_store_explicit(&ep->event_fd, -1, memory_order_seq_cst);
	/* Before the items are marked: a stack that pushes one after this is followed by the item's command, which drains. */
	atomic_store_explicit(&ep->dead, 1, memory_order_seq_cst);
	crit_exit();
	unregister_all(ep, self);
	epoll_drain_dead(ep);
	crit_enter();
	atomic_store_explicit(&self->unfinished, 0, memory_order_relaxed);
	if (atomic_compare_exchange_strong(&ep->ended, &ended, 1))
		ep_put_lives(ep, 1);
	else
		crit_exit();
}

void epoll_instance_unref(struct epoll *ep, struct thread_rec *self)
{
	crit_enter();
	if (unlikely(atomic_load_explicit(&self->taken_ep, memory_order_relaxed) == ep))
		atomic_store_explicit(&self->taken_ep, NULL, memory_order_relaxed);
	if (vcount_dec(&ep->refs, memory_order_acq_rel) == 1)
		epoll_destroy(ep, self);
	else
		crit_exit();
}

/* --- waiting --- */

static bool ep_look(void *arg)
{
	const struct epoll *ep = arg;

	return !inbox_empty(&ep->ready_in) || atomic_load_explicit(&ep->fifo_len, memory_order_seq_cst) != 0;
}

static int kernel_take(struct epoll *ep, int kernel_epfd, struct epoll_event *out, int max, uint64_t now_us)
{
	int n = (int)SYS(epoll_pwait, kernel_epfd, out, max, 0, NULL, 8);

	atomic_store_explicit(&ep->kernel_look_us, now_us, memory_order_relaxed);
	return n > 0 ? n : 0;
}

/* Nothing was ready at once: run the stacks, spin, sleep. */
static int ep_wait_slow(struct epoll *ep, struct epoll_event *out, int max, uint64_t timeout_us, int kernel_epfd,
			struct thread_rec *self)
{
	struct pollfd pfd = { .fd = kernel_epfd, .events = POLLIN };
	uint32_t index = slab_index(&gz->threads, self);
	uint64_t start_us = 0, deadline_us = UINT64_MAX, look_us = 0, now_us;
	bool left = false, slept = false, marked = false, last = false, took = false;
	bool spun = false, spinning = false;
	int n = 0, r;

	looking_at = ep;
	for (;;) {
		if (idle_run_stacks(self) || ep_may_be_ready(ep)) {
			if (ep_may_be_ready(ep)) {
				n = ep_take(ep, out, max, &left, self);
				took = n > 0;
				if (n)
					break;
			}
		}
		if (unlikely(gz_interrupted())) {
			n = -EINTR;
			break;
		}
		now_us = clock_now_us();
		if (!start_us) {
			start_us = now_us;
			if (timeout_us != UINT64_MAX)
				deadline_us = now_us + timeout_us;
			look_us = atomic_load_explicit(&ep->kernel_look_us, memory_order_relaxed);
		}
		last = now_us >= deadline_us;
		if (kernel_epfd >= 0 && (last || slept || now_us - look_us >= KERNEL_LOOK_US)) {
			look_us = now_us;
			n = kernel_take(ep, kernel_epfd, out, max, now_us);
			if (n)
				break;
		}
		if (last)
			break;
		if (!spun) {
			spun = true;
			spinning = wait_spin_begin();
		}
		if (spinning) {
			if (now_us - start_us < gz->spin_us) {
				cpu_relax();
				continue;
			}
			spinning = false;
			wait_spin_end();
		}
		/* Sleeping now: events that others bring in must wake somebody, this thread included. */
		looking_at = NULL;
		slept = true;
		marked = wait_mark(ep, index);
		r = idle_sleep(self, &pfd, kernel_epfd >= 0, marked ? deadline_us : MIN(deadline_us, now_us + NO_PLACE_US), ep_look, ep);
		if (marked)
			wait_unmark(ep, index);
		looking_at = ep;
		if (r == -EINTR) {
			n = ep_may_be_ready(ep) ? ep_take(ep, out, max, &left, self) : 0;
			took = n > 0;
			if (!n)
				n = -EINTR;
			break;
		}
	}
	looking_at = NULL;
	if (spinning)
		wait_spin_end();
	if (slept)
		idle_leave(self);
	/* What was not taken is the next waiter's: this thread may have had the wake-up for it. */
	if (unlikely(left || (!took && ep_look(ep))))
		epoll_wake_one(ep);
	return n;
}

/* Run-to-completion: with several events told, several replies are likely before the next poll; all but the last may wait for it. */
static force_inline int told(struct thread_rec *self, int n)
{
	self->defer_sends = n > 1 ? (uint16_t)(n - 1) : 0;
	return n;
}

int epoll_instance_wait(struct epoll *ep, struct epoll_event *out, int maxevents, uint64_t timeout_us, int kernel_epfd,
			struct thread_rec *self)
{
	bool left = false;
	int n;

	if (unlikely(maxevents <= 0))
		return -EINVAL;
	if (ep_may_be_ready(ep)) {
		/* What is in the list was told before and kept because it is level-triggered: most likely it has been dealt with since, and
		 * the next event is on the device. Running the stacks first saves evaluating everything twice. */
		bool stale = inbox_maybe_empty(&ep->ready_in) && !atomic_load_explicit(&ep->untold, memory_order_relaxed);

		if (stale || self->holds_tx || unlikely(++ready_streak >= READY_STREAK)) {
			ready_streak = 0;
			looking_at = ep;
			idle_run_stacks(self);
			looking_at = NULL;
		}
		n = 0;
		if (kernel_epfd >= 0) {
			uint64_t now_us = clock_now_us();

			/* A streak of stack events does not starve the kernel's, nor the other way round: now and then the
			 * kernel's come first, with half of the places. */
			if (now_us - atomic_load_explicit(&ep->kernel_look_us, memory_order_relaxed) >= KERNEL_LOOK_US)
				n = kernel_take(ep, kernel_epfd, out, MAX(maxevents / 2, 1), now_us);
		}
		if (n < maxevents)
			n += ep_take(ep, out + n, maxevents - n, &left, self);
		if (n) {
			if (unlikely(left))
				epoll_wake_one(ep);
			return told(self, n);
		}
	}
	ready_streak = 0;
	return told(self, ep_wait_slow(ep, out, maxevents, timeout_us, kernel_epfd, self));
}

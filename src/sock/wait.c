/* wait.c - how a thread waits for sockets outside epoll: poll, select and the blocking calls. Called by posix/ and the other files of sock;
 * any thread of any process, owning no stack. Look; run the stacks and look; spin; only then link items, publish, look again, sleep. */
#include "base/clock.h"
#include "sock/sock_int.h"
#include "stack/idle.h"

static _Atomic uint32_t spinners; /* of this process */

bool wait_spin_begin(void)
{
	/* Run-to-completion: one thread that polls a stack polls for all, more would only take its CPU. Run-to-wakeup: two look at memory. */
	uint32_t limit = gz->mode == RUN_TO_COMPLETION && stack_is_home() ? gz->nb_stacks : 2;

	if (gz->spin_us == 0 || atomic_load_explicit(&gz->low_power, memory_order_relaxed))
		return false;
	if (atomic_fetch_add_explicit(&spinners, 1, memory_order_relaxed) < limit)
		return true;
	wait_spin_end();
	return false;
}

void wait_spin_end(void)
{
	atomic_fetch_sub_explicit(&spinners, 1, memory_order_relaxed);
}

struct item *wait_item_create(struct sock *s, uint32_t events, struct thread_rec *self)
{
	struct item *it;

	crit_enter();
	it = slab_alloc(&gz->items);
	if (!it) {
		crit_exit();
		return NULL;
	}
	it->cmd.kind = CMD_ITEM;
	it->s = s;
	it->ep = NULL;
	it->kind = ITEM_THREAD;
	it->thread = slab_index(&gz->threads, self);
	it->in_fifo = 0;
	list_init(&it->sock_node);
	list_init(&it->wake_node);
	/* Counted while the caller pins s: see sock_maybe_free(). */
	vcount_inc(&s->item_count, memory_order_acq_rel);
	/* release: what sock_reclaim_waits() reads first */
	atomic_store_explicit(&it->word, ITEM_TABLE | ITEM_LINKED | ITEM_CMD | (uint64_t)events << 32, memory_order_release);
	stack_post_marked(sock_stack(s), &it->cmd, self);
	return it;
}

void wait_item_drop(struct item *it, struct thread_rec *self)
{
	uint64_t w = atomic_load_explicit(&it->word, memory_order_relaxed), want;
	struct sock *s = it->s;
	bool post;

	crit_enter();
	do {
		post = w & ITEM_LINKED && !(w & ITEM_CMD);
		want = (w | ITEM_DEAD | (post ? ITEM_CMD : 0)) & ~ITEM_TABLE;
	} while (!atomic_compare_exchange_weak_explicit(&it->word, &w, want, memory_order_acq_rel, memory_order_relaxed));
	if (post)
		stack_post_marked(sock_stack(s), &it->cmd, self);
	else if (!(want & ITEM_HOLDS))
		item_free(it);
	else
		crit_exit();
}

struct wait_set {
	struct wait_sock *w;
	unsigned n;
	int ready;
	/* wait_one: */
	bool (*cond)(struct sock *s, void *arg);
	void *arg;
};

static bool set_look(void *arg)
{
	struct wait_set *set = arg;

	set->ready = 0;
	for (unsigned i = 0; i < set->n; i++) {
		struct wait_sock *w = &set->w[i];

		if (set->cond) {
			set->ready += set->cond(w->s, set->arg);
			continue;
		}
		w->revents = sock_ready_events(w->s, w->events) & (w->events | EPOLLERR | EPOLLHUP);
		set->ready += w->revents != 0;
	}
	return set->ready != 0;
}

static int kernel_look(struct pollfd *pfds, unsigned nk)
{
	struct timespec zero = { 0, 0 };
	int n;

	if (nk == 0)
		return 0;
	n = (int)SYS(ppoll, pfds, nk, &zero, NULL, 0);
	return n > 0 ? n : 0;
}

static void set_unlink(struct wait_set *set, struct thread_rec *self)
{
	for (unsigned i = 0; i < set->n; i++) {
		if (set->w[i].item)
			wait_item_drop(set->w[i].item, self);
		set->w[i].item = NULL;
	}
}

/* false: no memory for items; the caller then looks again every millisecond. */
static bool set_link(struct wait_set *set, struct thread_rec *self)
{
	bool all = true;

	for (unsigned i = 0; i < set->n; i++) {
		set->w[i].item = wait_item_create(set->w[i].s, set->w[i].events, self);
		all &= set->w[i].item != NULL;
	}
	return all;
}

static int set_wait(struct wait_set *set, struct pollfd *pfds, unsigned nk, uint64_t deadline_us, struct thread_rec *self)
{
	uint64_t start_us = 0, look_us = 0;
	bool linked = false, complete = true, slept = false, spun = false, spinning = false;
	int nready = 0, r = 0;

	if (unlikely(self->holds_tx)) /* replies that wait for company go before this thread may return or sleep */
		(void)idle_run_stacks(self);

	for (unsigned i = 0; i < set->n; i++)
		set->w[i].item = NULL;
	for (;;) {
		uint64_t now_us;

		if (set_look(set)) {
			nready = kernel_look(pfds, nk);
			break;
		}
		if (gz_interrupted()) {
			r = -EINTR;
			break;
		}
		if (idle_run_stacks(self) && set_look(set)) {
			nready = kernel_look(pfds, nk);
			break;
		}
		now_us = clock_now_us();
		if (!start_us)
			start_us = now_us;
		if (nk && (now_us - look_us >= 50 || slept || now_us >= deadline_us)) {
			look_us = now_us;
			nready = kernel_look(pfds, nk);
			if (nready)
				break;
		}
		if (now_us >= deadline_us)
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
		if (!linked) {
			linked = true;
			complete = set_link(set, self);
			continue; /* an item linked inline may have run the stack */
		}
		slept = true;
		r = idle_sleep(self, pfds, nk, complete ? deadline_us : MIN(deadline_us, now_us + US_PER_MS), set_look, set);
		if (r == -EINTR) {
			/* Something may have come with the signal: it counts, as in the kernel's poll. */
			if (set_look(set))
				r = 0;
			break;
		}
		r = 0;
	}
	if (spinning)
		wait_spin_end();
	if (linked)
		set_unlink(set, self);
	if (slept)
		idle_leave(self);
	if (r)
		return r;
	return set->ready + nready;
}

int sock_wait(struct wait_sock *w, unsigned n, struct pollfd *kernel_pfds, unsigned nk, uint64_t deadline_us, struct thread_rec *self)
{
	struct wait_set set = { .w = w, .n = n };

	return set_wait(&set, kernel_pfds, nk, deadline_us, self);
}

static bool wait_never(struct sock *s, void *arg)
{
	(void)s;
	(void)arg;
	return false;
}

int sock_wait_one(struct sock *s, uint32_t events, bool (*cond)(struct sock *s, void *arg), void *arg, uint64_t deadline_us,
		  struct thread_rec *self)
{
	struct wait_sock w = { .s = s, .events = events };
	struct wait_set set = { .w = &w, .n = 1, .cond = cond ? cond : wait_never, .arg = arg };
	int r;

	/* Closed by another thread while we sleep, the socket lives until the call returns: posix holds a reference for the call, as
	 * Linux holds the file. */
	r = set_wait(&set, NULL, 0, deadline_us, self);
	if (r < 0)
		return r;
	return r == 0 ? -ETIMEDOUT : 0;
}

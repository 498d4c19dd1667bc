/* idle.c - waiting, the watch, the keeper, pinned stack threads; see idle.h and runtime.md "Sleeping".
 *
 * Who covers an idle stack in run-to-completion, at any moment:
 *   a thread polls it (in a library wait)          -> that thread
 *   the last waiter sleeps                         -> it holds st->watch: {device, doorbell, next timer}
 *   the watcher left to work, others still sleep   -> the watch was handed to one of them (idle_leave)
 *   nobody is in the library                       -> the keeper: ticking (1 ms) while the stack is active, else
 *                                                     asleep on {every device, its own eventfd, the next timer}
 * The idle keeper listens on the devices even while a watcher does, so that a watcher may leave without telling it: the
 * first packet after a pause wakes both, and the keeper finds the stack polled and goes to ticking.
 *
 * Every sleeper does: publish (seq_cst) -> look again -> sleep. Every waker: change -> (seq_cst) -> look for sleepers.
 * Timers: the owner, leaving, compares the next deadline with the published time-out of whoever sleeps (own.c).
 */
#include "stack/idle.h"
#include "stack/steer.h"
#include "base/clock.h"
#include "base/ownfd.h"
#include "posix/sigdefer.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TICK_US 1000
#define KEEPER_NAP_US 50	/* shortest pause between two looks of the ticking keeper */
#define IDLE_TICKS 20		/* quiet ticks before the keeper sleeps for real */
#define HOUSEKEEPING_US 1000000
#define NO_FD_SLEEP_US 1000	/* longest sleep on a device without a descriptor, or while one is missing */
#define NO_FD_NAP_US 20		/* shortest */
#define CLIENT_FD_SLEEP_US 1000 /* a client's eventfd cannot be written by the home: it looks this often */
#define SLEEP_FDS 24		/* own descriptors of a sleep, beside the caller's */

static bool rtc_home(void)
{
	return gz->mode == RUN_TO_COMPLETION && stack_is_home();
}

static cpu_set_t app_cpus;
static bool app_cpus_set;

void idle_set_app_cpus(const cpu_set_t *cpus)
{
	app_cpus = *cpus;
	app_cpus_set = CPU_COUNT(cpus) > 0;
}

/* app_bind_numa: a thread that waits for the network belongs near the stack's memory. Once per thread. */
static cold_path void app_thread_place(struct thread_rec *self)
{
	self->placed = true;
	if (app_cpus_set && stack_is_home())
		SYS(sched_setaffinity, 0, sizeof(app_cpus), &app_cpus);
}

unsigned idle_run_stacks(struct thread_rec *self)
{
	unsigned done = 0;

	self->holds_tx = false;
	if (!rtc_home())
		return 0;
	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		struct stack *st = &gz->stacks[i];

		if (stack_try_own(st, self)) {
			done += stack_poll_once(st);
			stack_leave(st, self);
		}
	}
	return done;
}

static uint64_t self_word(const struct thread_rec *self)
{
	return (uint64_t)self->pid << 32 | self->tid;
}

static int stack_wait_fd(const struct stack *st)
{
	return st->nd->ops->wait_fd ? st->nd->ops->wait_fd(st->nd, st->queue) : -1;
}

/* Anything that a poll would find now. The owner's fields are read only in their published form. */
static bool stack_has_work(struct stack *st, uint64_t now_us)
{
	if (!inbox_empty(&st->cmds) || atomic_load_explicit(&st->next_timer_us, memory_order_seq_cst) <= now_us)
		return true;
	if (gz->nb_stacks > 1 && steer_waits(st))
		return true;
	return st->nd->ops->rx_pending && st->nd->ops->rx_pending(st->nd, st->queue);
}

/* Switches the device's receive interrupt; the device belongs to the owner, so only as one. false: somebody else owns it. */
static bool stack_irq(struct stack *st, struct thread_rec *self, bool on)
{
	if (!st->nd->ops->irq_enable)
		return true;
	if (self->owned != st) {
		if (!stack_try_own(st, self))
			return false;
		st->nd->ops->irq_enable(st->nd, st->queue, on);
		stack_leave(st, self);
		return true;
	}
	st->nd->ops->irq_enable(st->nd, st->queue, on);
	return true;
}

static void watch_drop(struct stack *st, struct thread_rec *self)
{
	uint64_t mine = self_word(self);

	self->held_watches &= ~(1ULL << st->id);
	atomic_compare_exchange_strong_explicit(&st->watch, &mine, 0, memory_order_seq_cst, memory_order_relaxed);
}

/* Takes every watch that is free; forgets those that somebody took over. */
static void watch_take_free(struct thread_rec *self)
{
	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		uint64_t holder = atomic_load_explicit(&gz->stacks[i].watch, memory_order_relaxed);

		if (holder == self_word(self) ||
		    (holder == 0 && atomic_compare_exchange_strong_explicit(&gz->stacks[i].watch, &holder, self_word(self),
									    memory_order_seq_cst, memory_order_relaxed)))
			self->held_watches |= 1ULL << i;
		else
			self->held_watches &= ~(1ULL << i);
	}
}

/* A watch that nobody holds. Looked at again after waiting_mark(): a watcher that left before it saw our mark leaves it free. */
static bool watch_is_free(void)
{
	for (uint32_t i = 0; i < gz->nb_stacks; i++)
		if (atomic_load_explicit(&gz->stacks[i].watch, memory_order_seq_cst) == 0)
			return true;
	return false;
}

static void waiting_mark(struct thread_rec *self, bool on)
{
	uint32_t index = slab_index(&gz->threads, self);
	struct stack *st = &gz->stacks[0]; /* one map serves all stacks: every sleeper can watch any */

	if (index >= 32 * ARRAY_SIZE(st->waiting_map))
		return; /* such a thread is never handed the watch; the keeper covers */
	if (on)
		atomic_fetch_or_explicit(&st->waiting_map[index / 32], 1u << (index % 32), memory_order_seq_cst);
	else
		atomic_fetch_and_explicit(&st->waiting_map[index / 32], ~(1u << (index % 32)), memory_order_relaxed);
}

/* Some other thread that sleeps in the library, NULL if none. */
static struct thread_rec *waiting_find(const struct thread_rec *self)
{
	struct stack *st = &gz->stacks[0];

	for (unsigned w = 0; w < ARRAY_SIZE(st->waiting_map); w++) {
		uint32_t map = atomic_load_explicit(&st->waiting_map[w], memory_order_seq_cst);

		while (map) {
			struct thread_rec *t = slab_at(&gz->threads, w * 32 + (unsigned)__builtin_ctz(map));

			map &= map - 1;
			if (t != self && t->pid == stack_my_pid && t->tid)
				return t;
		}
	}
	return NULL;
}

void idle_leave(struct thread_rec *self)
{
	while (unlikely(self->held_watches)) {
		struct stack *st = &gz->stacks[__builtin_ctzll(self->held_watches)];
		struct thread_rec *heir;

		watch_drop(st, self);
		heir = waiting_find(self);
		if (heir)
			thread_wake(heir); /* it takes every free watch before it sleeps again */
	}
}

/* What one sleep listens to. */
struct sleep_set {
	struct pollfd fds[SLEEP_FDS + 64];
	struct stack *of[SLEEP_FDS + 64]; /* stack whose device or doorbell it is */
	unsigned n;
	uint64_t until_us;
};

static void sleep_add(struct sleep_set *set, int fd, struct stack *st)
{
	if (fd < 0 || set->n == ARRAY_SIZE(set->fds))
		return;
	set->fds[set->n] = (struct pollfd){ .fd = fd, .events = POLLIN };
	set->of[set->n++] = st;
}

static void sleep_add_device(struct sleep_set *set, struct stack *st, uint64_t now_us)
{
	int fd = stack_wait_fd(st);

	if (fd < 0) {
		/* No longer than it has been quiet: a frame that comes a little after the spinning waits about as long again, not a
		 * millisecond; and a device that stays quiet soon costs one look a millisecond. */
		uint64_t busy_us = atomic_load_explicit(&st->busy_us, memory_order_relaxed);
		uint64_t quiet_us = now_us > busy_us ? now_us - busy_us : 0;
		uint64_t most_us = MIN(quiet_us, (uint64_t)NO_FD_SLEEP_US);

		set->until_us = MIN(set->until_us, now_us + MAX(most_us, (uint64_t)NO_FD_NAP_US));
	}
	sleep_add(set, fd, st);
}

/* ppoll() that applies no signal mask; -EINTR, 0 = time over, > 0. */
static int sleep_poll(struct pollfd *fds, unsigned n, uint64_t now_us, uint64_t until_us)
{
	struct timespec ts = clock_us_to_timespec(until_us > now_us ? until_us - now_us : 0);

	return (int)SYS(ppoll, fds, n, until_us == UINT64_MAX ? NULL : &ts, NULL, 0);
}

static void eventfd_drain(int fd)
{
	uint64_t v;

	sys_read(fd, &v, sizeof(v));
}

/* After the poll: empties event descriptors of ours. */
static void sleep_collect(struct sleep_set *set, unsigned from)
{
	for (unsigned i = from; i < set->n; i++) {
		struct stack *st = set->of[i];

		if (!set->fds[i].revents)
			continue;
		if (!st || set->fds[i].fd == st->doorbell_fd)
			eventfd_drain(set->fds[i].fd);
		else if (st->nd->ops->irq_ack)
			st->nd->ops->irq_ack(st->nd, st->queue);
	}
}

/* Publishes "asleep" for every watch held and looks again; false: there is work, do not sleep. */
static bool watch_arm(struct thread_rec *self, struct sleep_set *set, uint64_t now_us)
{
	bool quiet = true;

	for (uint64_t w = self->held_watches; w; w &= w - 1) {
		struct stack *st = &gz->stacks[__builtin_ctzll(w)];
		uint64_t until;

		sleep_add_device(set, st, now_us);
		sleep_add(set, st->doorbell_fd, st);
		quiet &= stack_irq(st, self, true);
		until = MIN(set->until_us, atomic_load_explicit(&st->next_timer_us, memory_order_relaxed));
		atomic_store_explicit(&st->sleep_until_us, until, memory_order_relaxed);
		atomic_exchange_explicit(&st->asleep, 1, memory_order_seq_cst);
		/* An owner that leaves from here on sees asleep and rings if its timer is earlier than `until`. */
		until = MIN(until, atomic_load_explicit(&st->next_timer_us, memory_order_seq_cst));
		set->until_us = MIN(set->until_us, until);
		quiet &= !stack_has_work(st, now_us);
	}
	return quiet;
}

static void watch_disarm(struct thread_rec *self)
{
	for (uint64_t w = self->held_watches; w; w &= w - 1) {
		struct stack *st = &gz->stacks[__builtin_ctzll(w)];

		atomic_store_explicit(&st->asleep, 0, memory_order_seq_cst);
		(void)stack_irq(st, self, false);
	}
}

int idle_sleep(struct thread_rec *self, struct pollfd *pfds, unsigned n, uint64_t deadline_us, bool (*ready)(void *arg),
	       void *arg)
{
	struct sleep_set set;
	uint64_t now_us = clock_now_us();
	bool home = rtc_home(), fds;
	uint32_t seq;
	int err = 0, wake_fd = -1;

	if (now_us >= deadline_us)
		return -ETIMEDOUT;
	gz_assert(!self->owned);
	/* The process is ending and its device is being closed: a thread that still waits (a daemon thread) waits for the end. */
	while (unlikely(atomic_load_explicit(&gz->stopping, memory_order_acquire))) {
		const struct timespec nap = { .tv_sec = 1 };

		SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
	}
	if (unlikely(!self->placed))
		app_thread_place(self);
	set.n = 0;
	set.until_us = deadline_us;
	if (home)
		watch_take_free(self);
	fds = n > 0 || self->held_watches;
	if (fds) {
		wake_fd = thread_wake_fd(self);
		if (wake_fd < 0 || n > ARRAY_SIZE(set.fds) - SLEEP_FDS) {
			/* No descriptor left, or more than fit: look again every millisecond instead. */
			set.until_us = MIN(set.until_us, now_us + NO_FD_SLEEP_US);
		}
		if (gz->home_pid != self->pid)
			set.until_us = MIN(set.until_us, now_us + CLIENT_FD_SLEEP_US);
	}
	seq = thread_sleep_begin(self, fds && wake_fd >= 0 ? SLEEP_FD : SLEEP_FUTEX);
	if (home)
		waiting_mark(self, true);

	if ((home && watch_is_free()) || (self->held_watches && !watch_arm(self, &set, now_us)) || ready(arg) ||
	    gz_interrupted()) {
		thread_sleep_cancel(self);
	} else if (!fds) {
		err = thread_sleep(self, seq, set.until_us == UINT64_MAX ? UINT64_MAX : set.until_us - now_us);
	} else {
		unsigned own, use = MIN(n, (unsigned)(ARRAY_SIZE(set.fds) - SLEEP_FDS));

		sleep_add(&set, wake_fd, NULL);
		own = set.n;
		for (unsigned i = 0; i < use; i++) {
			set.fds[set.n] = pfds[i];
			set.of[set.n++] = NULL;
		}
		/* A wake-up between thread_sleep_begin() and here has written wake_fd or bumped wake_seq. */
		if (atomic_load_explicit(&self->wake_seq, memory_order_seq_cst) == seq)
			err = sleep_poll(set.fds, set.n, now_us, set.until_us);
		thread_sleep_cancel(self);
		set.n = own;
		if (err > 0)
			sleep_collect(&set, 0);
		for (unsigned i = 0; i < use; i++)
			pfds[i].revents = err > 0 ? set.fds[own + i].revents : 0;
	}
	if (home)
		waiting_mark(self, false);
	watch_disarm(self);
	if (err == -EINTR || gz_interrupted())
		return gz_interrupted() ? -EINTR : 0;
	return clock_now_us() >= deadline_us ? -ETIMEDOUT : 0;
}

/* --- the keeper --- */

static struct {
	pthread_t thread;
	bool running;
} keeper;

void keeper_poke(void)
{
	uint64_t one = 1;

	if (atomic_exchange_explicit(&gz->keeper_asleep, 0, memory_order_seq_cst))
		sys_write(gz->keeper_fd, &one, sizeof(one));
}

/* Runs every stack that nobody has polled since the last look. Returns true if any stack is in use. */
static bool keeper_tick(struct thread_rec *self, uint32_t *seen)
{
	bool active = false;

	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		struct stack *st = &gz->stacks[i];
		uint32_t polled = atomic_load_explicit(&st->polled, memory_order_relaxed);

		if (polled != seen[i]) {
			active = true;
		} else if (stack_try_own(st, self)) {
			active |= stack_poll_once(st) > 0;
			stack_leave(st, self);
			polled = atomic_load_explicit(&st->polled, memory_order_relaxed);
		}
		seen[i] = polled;
	}
	return active;
}

/* The tick, or the next timer of a stack, when that comes sooner: frames of a paced connection are less than a millisecond apart. */
static uint64_t keeper_next_look(uint64_t now_us)
{
	uint64_t next = now_us + TICK_US;

	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		uint64_t timer = atomic_load_explicit(&gz->stacks[i].next_timer_us, memory_order_relaxed);

		next = MIN(next, timer);
	}
	return MAX(next, now_us + KEEPER_NAP_US);
}

static void keeper_sleep(struct thread_rec *self)
{
	struct sleep_set set = { .n = 0 };
	uint64_t now_us = clock_now_us();
	bool work = false;

	set.until_us = now_us + HOUSEKEEPING_US;
	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		sleep_add_device(&set, &gz->stacks[i], now_us);
		work |= !stack_irq(&gz->stacks[i], self, true);
		set.until_us = MIN(set.until_us, atomic_load_explicit(&gz->stacks[i].next_timer_us, memory_order_relaxed));
	}
	sleep_add(&set, gz->keeper_fd, NULL);
	atomic_store_explicit(&gz->keeper_until_us, set.until_us, memory_order_relaxed);
	atomic_exchange_explicit(&gz->keeper_asleep, 1, memory_order_seq_cst);
	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		set.until_us = MIN(set.until_us, atomic_load_explicit(&gz->stacks[i].next_timer_us, memory_order_seq_cst));
		work |= stack_has_work(&gz->stacks[i], now_us);
	}
	if (!work && !atomic_load_explicit(&gz->stopping, memory_order_seq_cst) &&
	    sleep_poll(set.fds, set.n, now_us, set.until_us) > 0)
		sleep_collect(&set, 0);
	atomic_store_explicit(&gz->keeper_asleep, 0, memory_order_seq_cst);
}

void (*idle_housekeeping_hook)(void);

static void keeper_housekeeping(uint64_t now_us, uint64_t *last_us)
{
	if (now_us - *last_us < HOUSEKEEPING_US)
		return;
	*last_us = now_us;
	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		struct netdev *nd = gz->stacks[i].nd;

		if (nd->ops->housekeeping && (i == 0 || nd != gz->stacks[0].nd))
			nd->ops->housekeeping(nd);
	}
	if (idle_housekeeping_hook)
		idle_housekeeping_hook();
}

static void *keeper_main(void *arg)
{
	uint32_t seen[STACK_MAX] = { 0 };
	uint64_t last_us = clock_now_us();
	unsigned quiet = 0;
	struct thread_rec *self;
	struct pollfd poke = { .fd = gz->keeper_fd, .events = POLLIN };

	(void)arg;
	gz_depth++; /* the library's own thread: its calls go to the kernel */
	self = thread_self();
	if (!self)
		return NULL;
	self->placed = true;
	while (!atomic_load_explicit(&gz->stopping, memory_order_acquire)) {
		uint64_t now_us = clock_now_us();

		keeper_housekeeping(now_us, &last_us);
		if (gz->mode == RUN_TO_WAKEUP) {
			if (sleep_poll(&poke, 1, now_us, now_us + HOUSEKEEPING_US) > 0)
				eventfd_drain(gz->keeper_fd);
			continue;
		}
		quiet = keeper_tick(self, seen) ? 0 : quiet + 1;
		if (quiet < IDLE_TICKS) {
			if (sleep_poll(&poke, 1, now_us, keeper_next_look(now_us)) > 0)
				eventfd_drain(gz->keeper_fd);
		} else {
			keeper_sleep(self);
			quiet = IDLE_TICKS - 1; /* one more look, then sleep again unless there was work */
		}
	}
	return NULL;
}

/* Starts a named thread with every signal blocked. */
static int thread_start(pthread_t *th, const char *name, void *(*fn)(void *), void *arg, int cpu)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(th, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err == 0)
		pthread_setname_np(*th, name);
	return -err;
}

int keeper_start(void)
{
	int err = thread_start(&keeper.thread, "gz-keeper", keeper_main, NULL, -1);

	keeper.running = err == 0;
	return err;
}

void keeper_stop(void)
{
	uint64_t one = 1;

	if (!keeper.running)
		return;
	atomic_store_explicit(&gz->stopping, 1, memory_order_seq_cst);
	sys_write(gz->keeper_fd, &one, sizeof(one));
	pthread_join(keeper.thread, NULL);
	keeper.running = false;
}

/* --- pinned stack threads (run-to-wakeup) --- */

static pthread_t stack_threads[STACK_MAX];

/* The stack's own thread is its watcher. It owns the stack all the time; `asleep` and the doorbell tell commands from work. */
static void stack_thread_sleep(struct stack *st)
{
	struct sleep_set set = { .n = 0, .until_us = UINT64_MAX };
	uint64_t now_us = clock_now_us();

	set.until_us = MIN(MIN(wheel_next_us(&st->wheel), st->settle_by_us), now_us + HOUSEKEEPING_US);
	if (!list_empty(&st->zombies))
		set.until_us = MIN(set.until_us, now_us + ZOMBIE_LOOK_US);
	sleep_add_device(&set, st, now_us);
	sleep_add(&set, st->doorbell_fd, st);
	if (st->nd->ops->irq_enable)
		st->nd->ops->irq_enable(st->nd, st->queue, true);
	atomic_exchange_explicit(&st->asleep, 1, memory_order_seq_cst);
	if (inbox_empty(&st->cmds) && !st->work_left && !atomic_load(&gz->stopping) &&
	    !(gz->nb_stacks > 1 && steer_waits(st)) &&
	    !(st->nd->ops->rx_pending && st->nd->ops->rx_pending(st->nd, st->queue))) {
		st->stats.sleeps++;
		if (sleep_poll(set.fds, set.n, now_us, set.until_us) > 0)
			sleep_collect(&set, 0);
	}
	atomic_store_explicit(&st->asleep, 0, memory_order_seq_cst);
	if (st->nd->ops->irq_enable)
		st->nd->ops->irq_enable(st->nd, st->queue, false);
}

static void *stack_thread_main(void *arg)
{
	struct stack *st = arg;
	struct thread_rec *self;
	uint64_t busy_us = clock_now_us();

	gz_depth++;
	self = thread_self();
	if (!self || !stack_try_own(st, self))
		return NULL;
	st->tid = self->tid;
	while (!atomic_load_explicit(&gz->stopping, memory_order_relaxed)) {
		if (stack_poll_once(st)) {
			busy_us = st->now_us;
			continue;
		}
		if ((gz->stack_sleeps || atomic_load_explicit(&gz->low_power, memory_order_relaxed)) &&
		    st->now_us - busy_us > gz->spin_us)
			stack_thread_sleep(st);
		else
			cpu_relax();
	}
	stack_leave(st, self);
	return NULL;
}

int stack_thread_start(struct stack *st)
{
	char name[16];

	snprintf(name, sizeof(name), "gz-stack%u", st->id);
	return thread_start(&stack_threads[st->id], name, stack_thread_main, st, st->cpu);
}

void stack_thread_stop(struct stack *st)
{
	uint64_t one = 1;

	atomic_store_explicit(&gz->stopping, 1, memory_order_seq_cst);
	sys_write(st->doorbell_fd, &one, sizeof(one));
	pthread_join(stack_threads[st->id], NULL);
}

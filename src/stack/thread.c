/* thread.c - thread records and wake objects; see thread.h. Any thread. */
#include "stack/thread.h"
#include "base/clock.h"
#include "base/ownfd.h"
#include "stack/stack.h"

#include <pthread.h>
#include <sys/eventfd.h>

__thread struct thread_rec *thread_self_tls;

static pthread_key_t thread_key;
static pthread_once_t thread_key_once = PTHREAD_ONCE_INIT;

static void thread_at_exit(void *arg)
{
	struct thread_rec *t = arg;

	if (!t || t != thread_self_tls)
		return; /* inherited value in a forked child */
	thread_self_tls = NULL;
	thread_release(t);
}

static void thread_make_key(void)
{
	(void)pthread_key_create(&thread_key, thread_at_exit);
}

static _Atomic uint32_t making_here;
_Atomic uint32_t *thread_making = &making_here;
void (*thread_flush_hook)(struct thread_rec *t);
uint32_t (*thread_proc_hook)(void);

void thread_release(struct thread_rec *t)
{
	if (thread_flush_hook)
		thread_flush_hook(t);
	for (unsigned i = 0; i < THREAD_PINS; i++)
		atomic_store_explicit(&t->pins[i], NULL, memory_order_release);
	if (t->wake_fd >= 0 && t->pid == stack_my_pid)
		own_fd_close(t->wake_fd);
	t->wake_fd = -1;
	if (crit_self == &t->crit)
		crit_self = NULL;
	atomic_fetch_add_explicit(thread_making, 1, memory_order_seq_cst);
	t->tid = t->pid = t->proc = 0;
	slab_free(&gz->threads, t);
	atomic_fetch_sub_explicit(thread_making, 1, memory_order_release);
}

struct thread_rec *thread_self_slow(void)
{
	struct thread_rec *t;

	if (!gz)
		return NULL;
	pthread_once(&thread_key_once, thread_make_key);
	atomic_fetch_add_explicit(thread_making, 1, memory_order_seq_cst);
	t = slab_alloc(&gz->threads);
	if (t) {
		t->tid = (uint32_t)sys_gettid();
		t->pid = (uint32_t)sys_getpid();
		t->proc = thread_proc_hook ? thread_proc_hook() : 0;
	}
	atomic_fetch_sub_explicit(thread_making, 1, memory_order_release);
	if (!t)
		return NULL;
	t->crit.depth = 0;
	/* even, whatever the last user died in */
	atomic_store_explicit(&t->crit.seq, (atomic_load_explicit(&t->crit.seq, memory_order_relaxed) | 1) + 1, memory_order_relaxed);
	atomic_store_explicit(&t->buffers_out, 0, memory_order_relaxed);
	t->owned = NULL;
	t->kick_mask = 0;
	t->kicking = false;
	t->defer_sends = 0;
	t->hold_tx = t->holds_tx = false;
	t->held_watches = 0;
	t->placed = false;
	t->wake_fd = -1;
	t->mag.count = 0;
	t->mag.size = (uint16_t)MIN(gz->mem_cache_num ? gz->mem_cache_num : 32, MAGAZINE_MAX);
	t->call.cmd.kind = CMD_CALL;
	atomic_store_explicit(&t->call.done, 1, memory_order_relaxed);
	atomic_store_explicit(&t->sleeping, AWAKE, memory_order_relaxed);
	for (unsigned i = 0; i < THREAD_PINS; i++)
		atomic_store_explicit(&t->pins[i], NULL, memory_order_relaxed);
	for (unsigned i = 0; i < THREAD_HELD; i++)
		atomic_store_explicit(&t->held[i], NULL, memory_order_relaxed);
	atomic_store_explicit(&t->taken, NULL, memory_order_relaxed);
	atomic_store_explicit(&t->taken_ep, NULL, memory_order_relaxed);
	atomic_store_explicit(&t->unfinished, 0, memory_order_relaxed);
	atomic_store_explicit(&t->held_more, 0, memory_order_relaxed);
	crit_self = &t->crit;
	pthread_setspecific(thread_key, t);
	thread_self_tls = t;
	return t;
}

void thread_after_fork_child(void)
{
	/* The record stays the parent's; ours is made at the next call. The magazine in it is the parent's too. */
	thread_self_tls = NULL;
	crit_self = NULL;
	atomic_store_explicit(&making_here, 0, memory_order_relaxed);
	thread_making = &making_here;
}

void thread_wake(struct thread_rec *t)
{
	uint32_t how;

	atomic_fetch_add_explicit(&t->wake_seq, 1, memory_order_seq_cst);
	how = atomic_load_explicit(&t->sleeping, memory_order_seq_cst);
	if (how == AWAKE)
		return;
	if (how == SLEEP_FUTEX) {
		sys_futex_wake(&t->wake_seq, 1);
	} else if (t->pid == stack_my_pid) {
		uint64_t one = 1;

		sys_write(t->wake_fd, &one, sizeof(one));
	}
	/* A thread of another process that sleeps on descriptors looks every millisecond (idle.c): its eventfd is not ours. */
}

uint32_t thread_sleep_begin(struct thread_rec *t, enum thread_sleep how)
{
	uint32_t seq = atomic_load_explicit(&t->wake_seq, memory_order_relaxed);

	/* seq_cst: pairs with thread_wake(): the waker's increment or our check of the condition comes first. */
	atomic_exchange_explicit(&t->sleeping, (uint32_t)how, memory_order_seq_cst);
	return seq;
}

int thread_sleep(struct thread_rec *t, uint32_t seq, uint64_t timeout_us)
{
	struct timespec ts = clock_us_to_timespec(timeout_us);
	int err = sys_futex_wait(&t->wake_seq, seq, timeout_us == UINT64_MAX ? NULL : &ts);

	atomic_store_explicit(&t->sleeping, AWAKE, memory_order_relaxed);
	return err == -EAGAIN ? 0 : err;
}

int thread_wake_fd(struct thread_rec *t)
{
	int fd, high;

	if (t->wake_fd >= 0)
		return t->wake_fd;
	fd = (int)SYS(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return fd;
	high = own_fd_adopt(fd);
	if (high < 0) {
		sys_close(fd);
		return high;
	}
	t->wake_fd = high;
	return high;
}

/* thread.h - the record of one thread that uses the library, in the shared region.
 *
 * Made at the thread's first stack call after start, given back at thread exit (or by the home when the process was
 * killed). Holds what others need to reach the thread: its wake object, its call node, its pins, its buffer magazine.
 */
#ifndef GZ_STACK_THREAD_H
#define GZ_STACK_THREAD_H

#include "base/crit.h"
#include "base/inbox.h"
#include "base/region.h"
#include "base/sys.h"

struct epoll;
struct rte_mbuf;
struct sock;
struct stack;

#define THREAD_PINS 4
#define THREAD_HELD 16
#define MAGAZINE_MAX 1024

/* A node on a stack's command inbox; embedded in what it is about. */
enum cmd_kind { CMD_SOCK, CMD_ITEM, CMD_CALL };

struct cmd {
	struct inbox_node node;
	uint8_t kind; /* [const] enum cmd_kind */
};

/* A request that wants an answer, run by the owner of the stack. `fn` is an index into stack_calls[] (not a
 * pointer: a client process may be another program later). */
struct stack_call {
	struct cmd cmd;
	uint16_t op;
	struct sock *s;
	uint64_t arg[4];	/* values or pointers into the shared region */
	int64_t result;
	_Atomic uint32_t done;	/* futex: 0 pending, 1 done */
	_Alignas(16) uint8_t buf[512]; /* arguments and results that do not fit (addresses, tcp_info, option values) */
};

enum thread_sleep { AWAKE, SLEEP_FUTEX, SLEEP_FD };

/* Buffers of an application thread, so that it need not touch the common pool for each packet. [thread] */
struct magazine {
	uint16_t count, size;
	struct rte_mbuf *m[MAGAZINE_MAX];
};

struct thread_rec {
	struct slab_hdr slab;
	_Atomic uint32_t tid, pid;    /* [thread]; others read them when they wake it */
	uint32_t proc;		      /* index + 1 of the process record; 0: a thread of the library itself */
	struct stack *owned;	      /* the stack this thread owns now, NULL: none. Never two. [thread] */
	uint64_t kick_mask;	      /* stacks to try after leaving the owned one [thread] */
	bool kicking;		      /* stack_run_kicked() is under way [thread] */
	uint64_t held_watches;	      /* stacks whose watch this thread took, see idle.c [thread] */
	/* Sends that may wait for company: epoll_wait() reported several events, so several replies are likely before the thread comes back
	 * and polls. Their frames leave together then, or when enough are there, or after TX_HOLD_US, or with the keeper's tick. */
	uint16_t defer_sends;
	bool hold_tx;		      /* the stay that ends now need not flush */
	bool holds_tx;		      /* frames were left unsent: polls before it returns to the program without sleeping */
	bool placed;		      /* app_bind_numa was applied [thread] */
	uint32_t saved_lcore;	      /* DPDK lcore id outside ownership [thread] */
	/* hazard pointers: sockets and epoll instances in use by a call now; a freed one is not reused while pinned */
	_Atomic(void *) pins[THREAD_PINS] cache_aligned;
	/* What the home gives back when the thread's process was killed: references for the time of a call (noted after they were taken,
	 * cleared before they are dropped), a socket that has no number yet. [thread] */
	_Atomic(struct sock *) taken;
	_Atomic(struct sock *) held[THREAD_HELD];
	_Atomic(struct epoll *) taken_ep;
	_Atomic uint32_t unfinished;  /* longer than a critical section: an instance is being destroyed */
	_Atomic uint32_t held_more; /* index + 1 of a chunk with those beyond THREAD_HELD (sock.c) */
	struct crit crit;
	_Atomic uint32_t buffers_out; /* a client has buffers outside its magazine, or is changing it: their tags tell which (sweep.c) */
	/* wake object */
	_Atomic uint32_t wake_seq cache_aligned; /* futex; +1 at every wake */
	_Atomic uint32_t sleeping;		 /* enum thread_sleep, published before the last check */
	_Atomic int wake_fd;			 /* eventfd for SLEEP_FD, -1 until needed; valid in pid only */
	struct stack_call call cache_aligned;
	struct magazine mag;
};

/* Gives the buffers of a thread's magazine back; index + 1 of this process's record, 0 in the home. Set by sock and posix; NULL without them. */
extern void (*thread_flush_hook)(struct thread_rec *t);
extern uint32_t (*thread_proc_hook)(void);

/* The calling thread's record, made when it has none; NULL when records are exhausted or there is no region.
 * Not async-signal-safe. */
struct thread_rec *thread_self_slow(void);
extern __thread struct thread_rec *thread_self_tls;

static force_inline struct thread_rec *thread_self(void)
{
	struct thread_rec *t = thread_self_tls;

	return likely(t != NULL) ? t : thread_self_slow();
}

/* Threads of this process that are making a record at this moment (they have none to say so in); a client's lies in its process record. */
extern _Atomic uint32_t *thread_making;

/* A forked process's thread: it may be killed while the rest lives on. */
static force_inline bool thread_is_client(const struct thread_rec *t)
{
	return t->proc != 0;
}

/* A client's handling of buffers, begin and end. */
static force_inline void thread_buffers_out(struct thread_rec *self, bool out)
{
	if (unlikely(thread_is_client(self))) {
		atomic_store_explicit(&self->buffers_out, out, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	}
}

/* Gives a record back: by its own thread at exit, or by the home for a thread of a dead process. */
void thread_release(struct thread_rec *t);

/* Called in a forked child: the parent's record is not ours. */
void thread_after_fork_child(void);

/* Wakes thread t if it sleeps; a system call only then. Any thread, any process (eventfd only within t's own). */
void thread_wake(struct thread_rec *t);

/* Publishes "about to sleep"; returns the wake sequence to pass to thread_sleep(). The caller then re-checks its
 * condition (seq_cst both sides), and either calls thread_sleep() or thread_sleep_cancel(). */
uint32_t thread_sleep_begin(struct thread_rec *t, enum thread_sleep how);
static force_inline void thread_sleep_cancel(struct thread_rec *t)
{
	atomic_store_explicit(&t->sleeping, AWAKE, memory_order_relaxed);
}
/* Sleeps until woken or timeout_us passed (UINT64_MAX: for ever), only for SLEEP_FUTEX. 0, -ETIMEDOUT, -EINTR. */
int thread_sleep(struct thread_rec *t, uint32_t seq, uint64_t timeout_us);
/* The thread's eventfd, made on demand (high number, close-on-exec); -errno. */
int thread_wake_fd(struct thread_rec *t);

#endif

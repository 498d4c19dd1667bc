/* sock_int.h - what the files of src/sock share among themselves: items, instances, buffers of application threads, helpers.
 * Nobody outside includes it. */
#ifndef GZ_SOCK_SOCK_INT_H
#define GZ_SOCK_SOCK_INT_H

#include "base/list.h"
#include "netdev/pkt.h"
#include "posix/sigdefer.h"
#include "sock/epoll.h"
#include "sock/sock.h"

#include <netinet/in.h>
#include <poll.h>

/* thread_rec.pins: 0 and 1 are posix's. */
#define PIN_STACK 2 /* a socket found by a look-up, used by the owner of another stack */

#define LOWAT_DEFAULT 1
#define SOCK_RCVBUF_DEFAULT 131072u
#define SOCK_RCVBUF_MIN 2304u
#define SOCK_RCVBUF_MAX (212992u * 2)	/* SO_RCVBUF: rmem_max, doubled as Linux does */
#define SOCK_SNDBUF_DEFAULT 524288u
#define SOCK_SNDBUF_MIN 4608u
#define SOCK_SNDBUF_MAX (212992u * 2)
#define SOCK_UDPBUF_DEFAULT 212992u
#define SOCK_SOMAXCONN 4096u

/* Between "I changed this" and "now look at that", both sides. TSan does not know fences, but knows read-modify-writes. */
#if defined(__SANITIZE_THREAD__)
static force_inline void full_fence(void)
{
	static _Atomic uint32_t word;

	atomic_fetch_add_explicit(&word, 1, memory_order_seq_cst);
}
#else
static force_inline void full_fence(void) { atomic_thread_fence(memory_order_seq_cst); }
#endif

/* --- items (life: see epoll.c) --- */

/* it->word, low half. An item is freed by whoever clears the last of the four holds. */
#define ITEM_TABLE 0x01ULL   /* hold: in the instance's table; waiting thread: held by it */
#define ITEM_QUEUED 0x02ULL  /* hold: on the ready inbox or list; waiting thread: on st->wake_threads */
#define ITEM_LINKED 0x04ULL  /* hold: the socket's owner has it, or the command that links it is under way */
#define ITEM_CMD 0x08ULL     /* hold: it->cmd is on an inbox */
#define ITEM_HOLDS (ITEM_TABLE | ITEM_QUEUED | ITEM_LINKED | ITEM_CMD)
#define ITEM_DEAD 0x10ULL    /* unregistered, or its socket is gone */
/* high half: events asked for, as given to epoll_ctl() */
#define ITEM_EVENTS(w) ((uint32_t)((w) >> 32))

enum item_kind { ITEM_EPOLL, ITEM_THREAD, ITEM_REAP };

struct item {
	struct slab_hdr slab;
	struct cmd cmd;
	_Atomic uint64_t word;
	struct sock *s;			/* [const]; valid while ITEM_LINKED */
	struct epoll *ep;		/* [const] ITEM_EPOLL */
	struct inbox_node ready_node;	/* on ep->ready_in */
	struct list sock_node;		/* on s->items [stack] */
	union {
		struct list wake_node;	/* ITEM_THREAD: on st->wake_threads [stack] */
		struct {		/* ITEM_EPOLL: what epoll_ctl(ADD) saw, for the linker; before the command is posted */
			uint64_t add_written;
			uint32_t add_seen;
		};
	};
	uint64_t data;			/* [ep->lock] */
	int32_t fd;			/* [const] */
	uint32_t fd_next;		/* index + 1 of the next item of the same number [ep->lock] */
	uint32_t fifo_next;		/* index + 1 of the next ready item [ep->lock] */
	uint32_t thread;		/* ITEM_THREAD: index of its record [const] */
	uint8_t kind;			/* enum item_kind [const] */
	uint8_t in_fifo;		/* [ep->lock] */
};
_Static_assert(sizeof(struct item) <= 128, "two cache lines per registration");

#define EPOLL_CHUNK_FDS 1024u
#define EPOLL_CHUNKS 1024u /* descriptors up to 2^20; those beyond share one chain */
#define EPOLL_WAIT_WORDS 64u

struct epoll_chunk {
	struct slab_hdr slab;
	uint32_t used;
	uint32_t pad;
	uint32_t first[EPOLL_CHUNK_FDS]; /* index + 1 of an item; chain by fd_next */
};

/* References of a call to more sockets than fit its thread's record; an object of the same slab. */
#define HOLD_CHUNK 512u
struct hold_chunk {
	struct slab_hdr slab;
	_Atomic uint32_t next; /* index + 1 */
	_Atomic uint32_t sock[HOLD_CHUNK]; /* index + 1 */
};
_Static_assert(sizeof(struct hold_chunk) <= sizeof(struct epoll_chunk), "objects of one slab");

struct epoll {
	struct slab_hdr slab;
	vcount refs;		/* descriptors of all processes */
	_Atomic uint32_t ended; /* epoll_destroy() is through: the instance's own life in `lives` is gone or about to go */
	_Atomic uint64_t lives; /* items that exist + 1 until destroyed; at 0 the object goes to the reaper. Changes counted above bit 32 */
	struct inbox ready_in;	/* items, pushed by stacks (any number), taken under lock */
	struct list wake_node;	/* on the st->wake_eps of stack noted_by - 1 */
	_Atomic uint32_t noted_by;
	_Atomic uint32_t dead;
	/* --- consumers --- */
	struct rlock lock cache_aligned;
	_Atomic uint32_t fifo_len;
	uint32_t fifo_head, fifo_tail; /* index + 1 [lock] */
	_Atomic uint64_t kernel_look_us; /* when the kernel's side was last looked at */
	_Atomic int32_t event_fd;	 /* exposed: the eventfd, else -1 */
	_Atomic uint32_t event_set;	 /* it is readable */
	_Atomic uint32_t untold;	 /* the last taker left ready items that nobody was told of (a hint) */
	uint32_t over;			 /* chain of items whose fd is beyond the table */
	/* threads that sleep here: bit per record index, with a summary */
	_Atomic uint64_t wait_top cache_aligned;
	_Atomic uint64_t wait_map[EPOLL_WAIT_WORDS];
	struct item reap; /* command that frees the instance */
	uint32_t chunk[EPOLL_CHUNKS]; /* index + 1 [lock] */
};

/* --- readiness.c --- */
bool sock_writable(const struct sock *s);
/* The same; if not, the next acknowledgement that makes room wakes those who wait. Any thread that is about to wait. */
bool sock_writable_or_note(const struct sock *s);
/* Events that a readiness change may concern, as Linux passes them to its wait queues. */
#define NOTE_IN (EPOLLIN | EPOLLRDNORM)
#define NOTE_OUT (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND)
#define NOTE_ALL 0xffffffffu

/* sock_up.c: queues the waiters of s that asked for any of `key` (ERR and HUP concern everybody). Owner of s's stack. */
void sock_note(struct stack *st, struct sock *s, uint32_t key);
/* The same for one item of an instance. */
void sock_note_item(struct stack *st, struct item *it);

/* --- epoll.c --- */
/* Lets go of one or more holds; frees the item when none is left. */
void item_release(struct item *it, uint64_t holds);
/* Nothing holds it. Inside a critical section, which ends here. */
void item_free(struct item *it);
/* Wakes one thread that sleeps on ep; prefers the caller itself. */
void epoll_wake_one(struct epoll *ep);
/* Tells the kernel's side of an exposed instance. */
void epoll_event_raise(struct epoll *ep);
void epoll_reap(struct stack *st, struct epoll *ep);
/* Lets go of what was pushed to an instance that is destroyed. The caller holds one of its items. */
void epoll_drain_dead(struct epoll *ep);

/* --- wait.c --- */
/* May this thread spin before it sleeps? true: wait_spin_end() ends it. */
bool wait_spin_begin(void);
void wait_spin_end(void);
/* One socket, one condition: returns 0 when cond(s, arg) may hold, -ETIMEDOUT, -EINTR. */
int sock_wait_one(struct sock *s, uint32_t events, bool (*cond)(struct sock *s, void *arg), void *arg, uint64_t deadline_us,
		  struct thread_rec *self);
struct item *wait_item_create(struct sock *s, uint32_t events, struct thread_rec *self);
void wait_item_drop(struct item *it, struct thread_rec *self);
uint64_t sock_deadline(uint64_t timeo_us); /* 0: never */

/* --- sock.c --- */
/* Frees s if nothing holds it any more; else it waits on st->zombies when only pins are in the way. Owner. */
void sock_maybe_free(struct stack *st, struct sock *s);
bool pinned_by_any(const void *p);
int sockaddr_get(const struct sock *s, const struct sockaddr *sa, socklen_t len, struct ip_addr *addr, uint16_t *port_be);
void sockaddr_put(const struct sock *s, const struct ip_addr *addr, uint16_t port_be, struct sockaddr *sa, socklen_t *len);
void sock_init(struct sock *s, int family, int type, uint8_t stack_id);
/* Takes every item off a socket that is closed; the instances forget them when they next look. Owner. */
void sock_items_drop(struct stack *st, struct sock *s);
void sock_rlock(struct sock *s, struct thread_rec *self);
/* s->rlock was taken over from a dead holder: puts in order what it guards, and unlocks. */
void sock_rlock_inherit(struct sock *s);
/* sock_opts.c, called on the owner */
int64_t sock_opt_call(struct stack *st, struct stack_call *call);
/* Group memberships of a socket, all dropped at its end. */
void sock_mcast_drop(struct sock *s);
/* Does s, which has memberships, want group datagrams from src? (source filters, RFC 3678) */
bool sock_mcast_wants(const struct sock *s, uint32_t group_be, uint32_t src_be);
/* Nonzero, cleared by taking it: the error a call must report. */
static force_inline int sock_take_error(struct sock *s)
{
	if (likely(atomic_load_explicit(&s->so_error, memory_order_relaxed) == 0))
		return 0;
	return atomic_exchange_explicit(&s->so_error, 0, memory_order_acq_rel);
}
static force_inline void status_set(struct sock *s, uint32_t bits)
{
	atomic_fetch_or_explicit(&s->status, bits, memory_order_acq_rel);
}
static force_inline void status_clear(struct sock *s, uint32_t bits)
{
	atomic_fetch_and_explicit(&s->status, ~bits, memory_order_acq_rel);
}
static force_inline bool sock_nonblock(const struct sock *s)
{
	return atomic_load_explicit(&s->fl_flags, memory_order_relaxed) & 00004000 /* O_NONBLOCK */;
}

/* --- sweep.c --- */
enum reclaim_what { RECLAIM_COMMANDS, RECLAIM_CLOSE, RECLAIM_SENT };
/* The owner's part of a sweep, call->arg[0] is enum reclaim_what. */
int64_t sock_op_reclaim(struct stack *st, struct stack_call *call);

/* --- epoll.c, for sweep.c --- */
/* What the last reference's end does; may be called again when it was cut short. Inside a critical section, which ends here. */
void epoll_destroy(struct epoll *ep, struct thread_rec *self);
void epoll_lock(struct epoll *ep, struct thread_rec *self);
/* The lock's holder is dead, and the caller has it now. */
void epoll_repair(struct epoll *ep);
/* Calls fn for each item of the table. Under ep->lock. */
void epoll_for_each(struct epoll *ep, void (*fn)(struct item *it, void *arg), void *arg);
/* An item that is in no table and says it is; posts what is to be posted. */
void epoll_item_lost(struct item *it, struct thread_rec *self);
/* n of the lives counted belong to nobody. */
void epoll_lives_sub(struct epoll *ep, uint32_t n, struct thread_rec *self);

/* --- sock_cmd.c --- */
struct connect_args { /* in stack_call.buf */
	struct ip_addr raddr;
	uint16_t rport_be;
	bool fastopen; /* the SYN may wait for data */
};
/* connect(), the address not being AF_UNSPEC; sa NULL: an attempt must be under way (-EINVAL). fastopen: 0 with SOCK_EARLY set means that the SYN waits for sock_send*(). */
int sock_open(struct sock *s, const struct sockaddr *sa, socklen_t len, bool fastopen, bool nonblock, struct thread_rec *self);
/* Waits for the end of what sock_open() began: 0, the error, -EINPROGRESS after SO_SNDTIMEO. */
int sock_opened(struct sock *s, struct thread_rec *self);
/* The last reference is gone. May free s. Owner. */
void sock_close(struct stack *st, struct sock *s);
/* Takes what senders queued and passes it to the protocol. Owner. */
void sock_tx_run(struct stack *st, struct sock *s);
/* Frees it instead. */
void tx_drop(struct sock *s);
/* Closes what waits in a listener's accept queue. Owner of the listener's stack; false: an accept call is in progress, try again. */
bool sock_accept_purge(struct stack *st, struct sock *l);

/* sock_recv.c. The same, one step at a time, so that nothing is lost with a process that is killed. */
void rx_pull_client(struct sock *s);
/* Puts a list in order whose reader was killed. Under rlock, or nobody refers to s any more. */
void rx_settle(struct sock *s);

/* Appends what stacks have pushed to the private list. Under rlock. */
static force_inline void rx_pull(struct sock *s)
{
	struct inbox_node *newest, *n, *rev = NULL;

	if (inbox_maybe_empty(&s->rx_in))
		return;
	if (unlikely(!stack_is_home())) { /* may be killed between the exchange and the linking */
		rx_pull_client(s);
		return;
	}
	newest = atomic_exchange_explicit(&s->rx_in.head, NULL, memory_order_acq_rel);
	for (n = newest; n;) {
		struct inbox_node *next = n->next;

		n->next = rev;
		rev = n;
		n = next;
	}
	if (s->rx_tail)
		s->rx_tail->next = rev;
	else
		s->rx_head = rev;
	s->rx_tail = newest;
}

/* --- sock_buf.c: buffers of application threads --- */
static force_inline void buf_tag_seg(struct rte_mbuf *m, const struct thread_rec *t)
{
	pkt_tx(m)->holder = (uint16_t)(slab_index(&gz->threads, t) + 1);
}
static force_inline void buf_untag_seg(struct rte_mbuf *m) { pkt_tx(m)->holder = 0; }
/* All segments. */
static inline void buf_tag(struct rte_mbuf *m, const struct thread_rec *t)
{
	for (; m; m = m->next)
		buf_tag_seg(m, t);
}
static inline void buf_untag(struct rte_mbuf *m)
{
	for (; m; m = m->next)
		buf_untag_seg(m);
}
/* What clients ask the home for: see sock_buf.c. Owner. */
int64_t sock_op_buffers(struct stack *st, struct stack_call *call);
/* One empty mbuf for payload of st's sockets; NULL when only the reserve is left. Thread that owns no stack. */
struct rte_mbuf *buf_get_slow(struct stack *st, struct thread_rec *self);
static force_inline struct rte_mbuf *buf_get(struct stack *st, struct thread_rec *self)
{
	struct magazine *mag = &self->mag;
	struct rte_mbuf *m;

	if (unlikely(mag->count == 0))
		return buf_get_slow(st, self);
	m = mag->m[--mag->count];
	atomic_signal_fence(memory_order_seq_cst); /* no longer the magazine's, should this process be killed */
	if (likely(mag->count))
		prefetch(&mag->m[mag->count - 1]->buf_addr);
	return m;
}
/* One for a large write; NULL when there is none. Home threads. */
static force_inline struct rte_mbuf *buf_get_large(struct stack *st)
{
	void *m;

	return rte_mempool_generic_get(st->large, &m, 1, NULL) ? NULL : m;
}
/* A magazine holds usual buffers of one pool. */
static force_inline bool mag_fits(const struct magazine *mag, const struct rte_mbuf *m)
{
	return (!mag->count || mag->m[0]->pool == m->pool) && !pkt_is_large(m);
}
void buf_put_slow(struct rte_mbuf *m, struct thread_rec *self);
void buf_put_client(struct rte_mbuf *m, struct thread_rec *self);
/* Frees one segment of a received mbuf through the thread's magazine. */
static force_inline void buf_put_seg(struct rte_mbuf *m, struct thread_rec *self)
{
	struct magazine *mag = &self->mag;

	if (unlikely(thread_is_client(self))) {
		buf_put_client(m, self);
		return;
	}
	m = rte_pktmbuf_prefree_seg(m);
	if (unlikely(!m))
		return;
	if (unlikely(mag->count >= mag->size || self->owned || !mag_fits(mag, m))) {
		buf_put_slow(m, self);
		return;
	}
	mag->m[mag->count] = m;
	atomic_signal_fence(memory_order_seq_cst); /* counted when it is there */
	mag->count++;
}
static inline void buf_put(struct rte_mbuf *m, struct thread_rec *self)
{
	while (m) {
		struct rte_mbuf *next = m->next;

		buf_put_seg(m, self);
		m = next;
	}
}
/* Frees packets that are linked through pkt_meta(m)->q, all their segments. Any thread. */
static inline void buf_free_list(struct inbox_node *n)
{
	while (n) {
		struct inbox_node *next = n->next;

		rte_pktmbuf_free(pkt_of_node(n));
		n = next;
	}
}
/* What an mbuf chain costs: Linux's truesize. */
static force_inline uint32_t buf_true_bytes(const struct rte_mbuf *m)
{
	uint32_t n = 0;

	for (; m; m = m->next)
		n += (uint32_t)sizeof(*m) + PKT_PRIV_BYTES + m->buf_len;
	return n;
}

/* Pushes a chain that is linked newest to oldest in one step; see inbox.h. */
static force_inline bool inbox_push_chain(struct inbox *b, struct inbox_node *newest, struct inbox_node *oldest)
{
	struct inbox_node *old = atomic_load_explicit(&b->head, memory_order_relaxed);

	do {
		oldest->next = old;
	} while (!atomic_compare_exchange_weak_explicit(&b->head, &old, newest, memory_order_seq_cst,
							memory_order_relaxed));
	return old == NULL;
}

#endif

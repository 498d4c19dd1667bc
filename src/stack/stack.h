/* stack.h - one stack: a queue pair, pools, tables, timers, connections; run by one thread at a time.
 *
 * stack_poll_once(): time -> commands -> receive burst -> timers due -> output list -> transmit -> wake
 * applications. Everything marked [owner] is touched only by the thread that holds st->owner (own.h).
 * struct shared is the root of the shared region; struct stack lies in it so that client processes reach cmds and doorbell.
 */
#ifndef GZ_STACK_STACK_H
#define GZ_STACK_STACK_H

#include "base/inbox.h"
#include "base/list.h"
#include "base/region.h"
#include "netdev/netdev.h"
#include "stack/thread.h"
#include "stack/wheel.h"

#define STACK_MAX 64
#define STACK_REPLY_MAX 256 /* replies without a connection per round */
#define ZOMBIE_LOOK_US 10000 /* while sockets wait for a call to let go of them, an idle stack looks again this often */

/* Free buffers of the pool, as a share of what was free when nothing was going on; each level is left at twice its bound, or half
 * as much again (loop.c). Applications get no buffer to send from below an eighth of the pool (sock_buf.c), so what is under that is for what comes
 * in and for acknowledgements. */
enum mem_level {
	MEM_OK,
	MEM_LOW,      /* below 1/4: windows and send buffers stop growing, small segments share buffers, the greediest give up what is out of order */
	MEM_SHORT,    /* below 3/16: no new connections, no fragments */
	MEM_CRITICAL, /* below 1/16: data that nobody has acknowledged yet is not kept, but for what a reader waits for */
};

enum stack_mode { RUN_TO_WAKEUP, RUN_TO_COMPLETION };

enum drop_reason {
#define DROP(name, text, what) DROP_##name,
#include "stack/drop_reasons.def"
#undef DROP
	DROP_REASON_COUNT
};
extern const char *const drop_reason_names[DROP_REASON_COUNT];
extern const char *const drop_reason_help[DROP_REASON_COUNT];

struct mib {
#define MIB(name) uint64_t name;
#include "stack/counters.def"
#undef MIB
};

/* what `gazellectl lstack show` prints besides */
struct stack_stats {
	uint64_t wakeup_events, call_msg, call_alloc_fail, kernel_events, app_events, app_read, app_write, read_null,
		sock_rx_drop, sock_tx_merge, accept_fail;
	uint64_t polls, polls_empty, sleeps;
	uint64_t nic_event_cnt, local_event_cnt, remote_event_cnt, timeout_event_cnt;
};

/* Kinds of timers on the wheel; the callback table is in stack/loop.c. */
enum wheel_kind { TIMER_TCP, TIMER_TCP_SYN, TIMER_TCP_TW, TIMER_NEIGH, TIMER_REASS, TIMER_ARP_ANNOUNCE, TIMER_IGMP, TIMER_HOUSEKEEPING, TIMER_TEST, TIMER_KIND_COUNT };

/* Addresses of the stack's one interface; copied to every stack at boot. [const] */
struct ip4_conf {
	uint32_t addr_be, mask_be, gateway_be; /* gateway 0: on-link only */
	uint16_t min_pmtu;		       /* no ICMP error makes packets smaller than this; 0: 552 */
	uint32_t pmtu_life_s;		       /* a learned path MTU is believed for so long; 0: ten minutes (RFC 1191 §6.3) */
};

struct neigh_table; /* link/neigh.h */
struct ip4_state;   /* ip/ip4.h: reassembly, identification, ICMP rate limit */
struct tcp_state;   /* tcp/tcp.h: connection table, SYN and TIME_WAIT records, secrets */
struct udp_state;

struct stack {
	/* --- [owner], hot --- */
	uint64_t now_us;
	struct netdev *nd;
	uint16_t queue;	   /* of nd */
	uint16_t id;	   /* index in shared->stacks */
	uint16_t nic_read; /* frames per round */
	uint16_t cmd_budget;
	struct inbox_node *cmd_backlog; /* taken from cmds, not run yet (the budget of a round) */
	bool work_left;			/* the last output left something for the next round */
	uint64_t settle_by_us;		/* a round must run by then: data was received and is not acknowledged yet; UINT64_MAX none */
	uint64_t held_since_us;		/* frames wait in the device's queue for company since then; 0: none do */
	bool output_due;		/* something may have been marked since the last stack_output() */
	uint8_t mem_level;		/* enum mem_level: how short buffers are, looked at every few rounds */
	uint32_t mem_top;		/* most free buffers ever seen: what the device keeps for itself is not ours to spend */
	struct rte_mempool *pool;
	struct rte_mempool *large; /* buffers for large writes, of all stacks together; NULL: none */
	struct list tcp_out; /* TCBs whose output must run (tcb->out_node) */
	struct list wake_eps;	  /* epoll instances and ... */
	struct list wake_threads; /* ... waiters to wake at the end of the round: see sock/wait.c */
	struct list zombies;	  /* sockets closed but still pinned by a call */
	struct rte_mbuf *reply[STACK_REPLY_MAX]; /* IP packets without a connection, ip headers complete */
	uint16_t reply_len;
	struct wheel wheel;
	struct ip4_conf ip4;
	struct neigh_table *neigh;
	struct ip4_state *ip;
	struct tcp_state *tcp;
	struct udp_state *udp;
	struct mib mib;
	struct stack_stats stats;
	uint64_t drops[DROP_REASON_COUNT];
	uint64_t secret[2]; /* SipHash key of this boot, the same on all stacks */

	/* --- any thread --- */
	_Atomic uint64_t owner cache_aligned; /* 0 free, else pid << 32 | tid */
	struct inbox cmds cache_aligned;      /* struct cmd; pushed by anyone, taken by the owner */
	_Atomic uint32_t polled;	      /* +1 per round: lets the keeper see that somebody polls */
	_Atomic uint64_t busy_us;	      /* the last round that found something to do; written by the owner */
	_Atomic uint64_t watch cache_aligned; /* who sleeps on the device: 0 nobody, else pid << 32 | tid */
	_Atomic uint32_t asleep;	      /* 1: the watcher (or the pinned thread) sleeps; ring the doorbell */
	_Atomic uint64_t sleep_until_us;      /* published with asleep: when it will wake by itself */
	int doorbell_fd;		      /* eventfd made before any fork: wakes the watcher */
	_Atomic uint64_t next_timer_us;	      /* published when the owner leaves */
	_Atomic uint32_t waiting_map[32];     /* thread records (by index) that sleep and could take the watch */
	/* --- home only --- */
	uint32_t lcore_id;  /* DPDK lcore id that goes with ownership */
	int cpu;	    /* pinned CPU in run-to-wakeup, -1 */
	uint32_t tid;	    /* stack thread, or 0 */
	struct rte_ring *steer[STACK_MAX]; /* received frames from stack i to this one; NULL where not needed */
	struct rte_ring *via[STACK_MAX];   /* frames that stack i, which has no device queue, wants this one to send */
} cache_aligned;

struct ports; /* sock/ports.h: bind name space and listener tables, shared by all stacks */

/* Root of the shared region. */
struct shared {
	uint32_t home_pid;
	uint32_t nb_stacks;
	enum stack_mode mode;
	uint32_t spin_us;	/* how long a waiter polls before it sleeps */
	uint32_t mem_cache_num; /* buffers an application thread may keep */
	uint32_t notsent_lowat; /* of sockets that did not set TCP_NOTSENT_LOWAT; 0: no limit */
	bool stack_sleeps;	/* run-to-wakeup: pinned threads sleep when idle (stack_interrupt, low_power_mode) */
	_Atomic uint32_t low_power;
	struct slab socks, items, epolls, epoll_chunks, threads, procs, fdchunks, mcasts, syn_recs, tw_recs;
	struct ports *ports;
	struct ip4_conf ip4;
	_Atomic uint32_t running; /* boot is complete */
	_Atomic uint32_t stopping;
	/* the keeper (idle.c) */
	_Atomic uint32_t keeper_asleep;	   /* 1: idle, sleeping until keeper_until_us; poke it */
	_Atomic uint64_t keeper_until_us;
	int keeper_fd;			   /* eventfd made before any fork */
	struct stack stacks[STACK_MAX];
};
extern struct shared *gz; /* NULL until boot */

/* Process-private view */
static inline bool stack_is_home(void);
extern uint32_t stack_my_pid; /* kept up to date across fork */
static inline bool stack_is_home(void) { return gz && gz->home_pid == stack_my_pid; }

/* The first half of a round: time, commands, what the device has, timers. What it lets out leaves with stack_output(), which is due then; so a
 * caller that is about to queue data has it leave together. Owner only. Returns what stack_poll_at() does. */
unsigned stack_take_in(struct stack *st, uint64_t now_us);
/* One round at time now_us. Owner only. Returns frames received + commands run + timers fired (0: nothing to do). */
unsigned stack_poll_at(struct stack *st, uint64_t now_us);
/* The same at the current time. */
unsigned stack_poll_once(struct stack *st);
/* Output list, replies, transmit, wake-ups: the second half of a round, used alone after a command was run inline. Owner only. */
void stack_output(struct stack *st);
/* The same, but frames may wait for others to leave with, see thread_rec.defer_sends. true: some do. Owner only. */
bool stack_output_holding(struct stack *st);

/* How many buffers are left, and what follows from it; part of every few rounds. Owner. */
void stack_look_at_memory(struct stack *st);

/* Initialises the engine part of a stack (wheel, lists, neigh, ip, tcp, udp state) for device queue nd/queue. Tests and boot.
 * 0 or -errno. */
int stack_engine_init(struct stack *st, uint16_t id, struct netdev *nd, uint16_t queue, const struct ip4_conf *ip4,
		      uint64_t now_us);
void stack_engine_fini(struct stack *st);

/* Creates region, root and slabs. max_socks: upper bound of sockets (memory is committed as they are used). 0 or -errno.
 * Tests and boot. */
int shared_create(uint32_t nb_stacks, uint32_t max_socks, bool huge);
void shared_destroy(void);

/* A bad or unwanted packet: counted under its reason and freed. Owner. */
static force_inline void drop(struct stack *st, struct rte_mbuf *m, enum drop_reason why)
{
	st->drops[why]++;
	rte_pktmbuf_free(m);
}

/* Queues a complete IP packet (headers written, route not yet resolved) on the bounded reply list; takes m. Owner. */
static force_inline void stack_reply(struct stack *st, struct rte_mbuf *m)
{
	if (unlikely(st->reply_len == STACK_REPLY_MAX)) {
		drop(st, m, DROP_REPLY_FULL);
		return;
	}
	st->reply[st->reply_len++] = m;
}

#endif

/* loop.c - one round of a stack: time -> commands -> receive -> timers -> output -> transmit -> wake (walks, step 1).
 * Called by whoever owns the stack: pinned threads, waiting application threads, the keeper (idle.c), tests. */
#include "stack/stack.h"
#include "base/clock.h"
#include "ip/ip4.h"
#include "link/link.h"
#include "sock/sock_up.h"
#include "stack/own.h"
#include "stack/steer.h"
#include "stack/via.h"
#include "tcp/tcp.h"

#include <rte_malloc.h>

/* Timers fired per round, and rounds of delivery within the process per output: both bound a stay. */
#define TIMER_BUDGET 256
#define LOOPBACK_ROUNDS 16
#define ZOMBIE_EVERY 64
/* Longest that a frame waits for company while its thread keeps sending. */
#define TX_HOLD_US 50

const char *const drop_reason_names[DROP_REASON_COUNT] = {
#define DROP(name, text, what) [DROP_##name] = text,
#include "stack/drop_reasons.def"
#undef DROP
};
const char *const drop_reason_help[DROP_REASON_COUNT] = {
#define DROP(name, text, what) [DROP_##name] = what,
#include "stack/drop_reasons.def"
#undef DROP
};

/* A test may hang a callback of its own on TIMER_TEST. */
static void no_timer(struct stack *st, struct wheel_timer *t)
{
	(void)st;
	(void)t;
}

static const wheel_fire_fn timer_fire[TIMER_KIND_COUNT] = {
	[TIMER_TCP] = tcp_on_timer,
	[TIMER_TCP_SYN] = tcp_syn_on_timer,
	[TIMER_TCP_TW] = tcp_tw_on_timer,
	[TIMER_NEIGH] = neigh_on_timer,
	[TIMER_REASS] = ip4_reass_on_timer,
	[TIMER_ARP_ANNOUNCE] = arp_on_announce_timer,
	[TIMER_IGMP] = igmp_on_timer,
	[TIMER_HOUSEKEEPING] = no_timer,
	[TIMER_TEST] = no_timer,
};

/* Looked at again after so many rounds, at most 2,000 frames. */
#define MEM_EVERY 16

static enum mem_level mem_level_of(uint32_t have, uint32_t top, enum mem_level was)
{
	/* in sixteenths: {falls below, rises above} */
	static const uint8_t bound[][2] = { [MEM_LOW] = { 4, 6 }, [MEM_SHORT] = { 3, 4 }, [MEM_CRITICAL] = { 1, 2 } };
	enum mem_level level = MEM_OK;

	for (enum mem_level l = MEM_LOW; l <= MEM_CRITICAL; l++)
		if ((uint64_t)have * 16 < (uint64_t)top * bound[l][l <= was])
			level = l;
	return level;
}

void stack_look_at_memory(struct stack *st)
{
	struct rte_mempool *mp = st->pool;
	uint32_t have = rte_mempool_get_ops(mp->ops_index)->get_count(mp); /* without the caches, which nobody else may use */
	enum mem_level level;

	st->mem_top = MAX(st->mem_top, have);
	level = mem_level_of(have, st->mem_top, st->mem_level);
	st->mib.mem_pressure += level > st->mem_level;
	st->mem_level = (uint8_t)level;
	if (unlikely(level != MEM_OK))
		tcp_on_pressure(st);
}

static unsigned stack_receive(struct stack *st)
{
	struct rte_mbuf *m[NETDEV_BURST];
	unsigned total = 0, left = st->nic_read;
	uint16_t n;

	do {
		uint16_t want = (uint16_t)MIN(left, NETDEV_BURST);

		n = netdev_rx(st->nd, st->queue, m, want);
		if (n == 0)
			break;
		total += n;
		left -= n;
		if (gz->nb_stacks > 1)
			n = steer_burst(st, m, n);
		tcp_prefetch_burst(st, m, n);
		eth_input_burst(st, m, n);
	} while (n == NETDEV_BURST && left);

	if (gz->nb_stacks > 1) {
		n = steer_take(st, m, NETDEV_BURST);
		if (n) {
			tcp_prefetch_burst(st, m, n);
			eth_input_burst(st, m, n);
		}
		total += n + via_carry(st);
	}
	return total;
}

/* Everything but handing frames to the device. */
static force_inline void stack_emit(struct stack *st)
{
	unsigned rounds = 0;

	st->work_left = false;
	st->output_due = false;
	for (;;) {
		if (!list_empty(&st->tcp_out))
			tcp_output_all(st);
		for (uint16_t i = 0; i < st->reply_len; i++)
			ip4_output_reply(st, st->reply[i]);
		st->reply_len = 0;
		if (likely(ip4_loopback_run(st) == 0))
			break;
		if (++rounds == LOOPBACK_ROUNDS) {
			st->work_left = true;
			break;
		}
	}
}

/* Most rounds have something for one of the two at most: asked here, a round without pays no call. */
static force_inline void tell_waiters(struct stack *st)
{
	if (!list_empty(&st->wake_eps) || unlikely(!list_empty(&st->wake_threads)))
		sock_up_flush(st);
}

void stack_output(struct stack *st)
{
	stack_emit(st);
	if (st->nd->queues[st->queue].txq_len && netdev_flush(st->nd, st->queue))
		st->work_left = true;
	st->held_since_us = 0;
	tell_waiters(st);
}

bool stack_output_holding(struct stack *st)
{
	stack_emit(st);
	if (!st->held_since_us)
		st->held_since_us = st->now_us;
	if (netdev_tx_room(st->nd, st->queue) < NETDEV_BURST || st->now_us - st->held_since_us >= TX_HOLD_US) {
		if (netdev_flush(st->nd, st->queue))
			st->work_left = true;
		st->held_since_us = 0;
	}
	tell_waiters(st);
	return st->held_since_us != 0;
}

unsigned stack_take_in(struct stack *st, uint64_t now_us)
{
	unsigned done;

	stack_set_time(st, now_us);
	now_us = st->now_us;
	atomic_store_explicit(&st->polled, atomic_load_explicit(&st->polled, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	tcp_settle_acks(st);
	if (unlikely(st->stats.polls % MEM_EVERY == 0))
		stack_look_at_memory(st);
	done = stack_run_commands(st);
	done += stack_receive(st);
	if (unlikely(wheel_next_us(&st->wheel) <= now_us))
		done += wheel_advance(&st->wheel, st, now_us, TIMER_BUDGET, timer_fire);
	else
		st->wheel.now_us = now_us;
	done += st->work_left;
	st->output_due = true;
	st->stats.polls++;
	if (done)
		atomic_store_explicit(&st->busy_us, now_us, memory_order_relaxed);
	else
		st->stats.polls_empty++;
	return done;
}

unsigned stack_poll_at(struct stack *st, uint64_t now_us)
{
	unsigned done = stack_take_in(st, now_us);

	stack_output(st);
	if (unlikely(!list_empty(&st->zombies)) && (!done || (st->stats.polls % ZOMBIE_EVERY) == 0))
		sock_reap_zombies(st);
	return done;
}

unsigned stack_poll_once(struct stack *st)
{
	return stack_poll_at(st, clock_now_us());
}

int stack_engine_init(struct stack *st, uint16_t id, struct netdev *nd, uint16_t queue, const struct ip4_conf *ip4,
		      uint64_t now_us)
{
	st->id = id;
	st->nd = nd;
	st->queue = queue;
	st->ip4 = *ip4;
	st->now_us = now_us;
	st->settle_by_us = UINT64_MAX;
	if (!st->nic_read)
		st->nic_read = 128;
	if (!st->cmd_budget)
		st->cmd_budget = 256;
	if (!st->pool)
		st->pool = nd->queues[queue].pool;
	list_init(&st->tcp_out);
	list_init(&st->wake_eps);
	list_init(&st->wake_threads);
	list_init(&st->zombies);
	inbox_init(&st->cmds);
	wheel_init(&st->wheel, now_us);
	st->neigh = neigh_table_create(st, 4096);
	st->ip = ip4_state_create(st);
	st->tcp = tcp_state_create(st);
	if (!st->neigh || !st->ip || !st->tcp) {
		stack_engine_fini(st);
		return -ENOMEM;
	}
	return 0;
}

void stack_engine_fini(struct stack *st)
{
	for (uint16_t i = 0; i < st->reply_len; i++)
		rte_pktmbuf_free(st->reply[i]);
	st->reply_len = 0;
	if (st->tcp)
		tcp_state_destroy(st);
	if (st->ip)
		ip4_state_destroy(st);
	if (st->neigh)
		neigh_table_destroy(st, st->neigh);
	st->tcp = NULL;
	st->ip = NULL;
	st->neigh = NULL;
}

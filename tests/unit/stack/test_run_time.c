/* Ownership, calls, sleeping and the watch with real threads on a stack whose device is a pair of counters. What several threads
 * must not touch at once is plain memory here, so that TSan sees it; a lost wake-up shows as a time-out. */
#include "tsanpool.h"

#include "base/clock.h"
#include "netdev/netdev.h"
#include "posix/sigdefer.h"
#include "sock/sock.h"
#include "stack/idle.h"

#include <poll.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#define THREADS 4
#define CALLS 20000
#define PAIRS 2
#define TURNS 3000
#define STUCK_US (5 * 1000000ULL)

static struct netdev dev;
static int dev_fd = -1;
static unsigned long rx_calls; /* plain: only the owner may call the device */

static uint16_t fake_rx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	rx_calls++;
	return 0;
}

static uint16_t fake_tx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++)
		rte_pktmbuf_free(m[i]);
	return n;
}

static bool fake_pending(struct netdev *nd, uint16_t queue) { return false; }
static int fake_fd(struct netdev *nd, uint16_t queue) { return dev_fd; }

static const struct netdev_ops fake_ops = {
	.kind = "mem", .rx_burst = fake_rx, .tx_burst = fake_tx, .rx_pending = fake_pending, .wait_fd = fake_fd,
};

static struct stack *st;

static int start(void **state)
{
	static char *args[] = { "test", "--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=error", NULL };
	const struct ip4_conf ip4 = { .addr_be = htonl(0x0a000001), .mask_be = htonl(0xffffff00) };

	(void)state;
	if (rte_eal_init(ARRAY_SIZE(args) - 1, args) < 0 || pkt_init() != 0)
		return -1;
	tsan_pools();
	RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
	dev.ops = &fake_ops;
	dev.nb_queues = 1;
	dev.tx_max_segs = 1;
	atomic_store(&dev.mtu, 1500);
	dev.queues[0].pool = mbuf_pool_create("pool", 1023, 2048, SOCKET_ID_ANY);
	dev_fd = eventfd(0, EFD_NONBLOCK);
	if (!dev.queues[0].pool || shared_create(1, 1024, false) != 0)
		return -1;
	gz->spin_us = 0;
	gz->keeper_fd = eventfd(0, EFD_NONBLOCK);
	st = &gz->stacks[0];
	st->lcore_id = 5;
	st->doorbell_fd = eventfd(0, EFD_NONBLOCK);
	return stack_engine_init(st, 0, &dev, 0, &ip4, clock_now_us());
}

static int finish(void **state)
{
	(void)state;
	stack_engine_fini(st);
	shared_destroy();
	return 0;
}

static void *call_often(void *arg)
{
	struct thread_rec *self = thread_self();
	uintptr_t bad = 0;

	(void)arg;
	for (unsigned i = 0; i < CALLS; i++) {
		bad += stack_call(st, SOCK_OP_NOP, NULL, self) != 0;
		if (i % 16 == 0)
			idle_run_stacks(self);
	}
	return (void *)bad;
}

static void run_threads(unsigned n, void *(*fn)(void *))
{
	pthread_t th[16];

	for (uintptr_t i = 0; i < n; i++)
		assert_int_equal(pthread_create(&th[i], NULL, fn, (void *)i), 0);
	for (unsigned i = 0; i < n; i++) {
		void *bad;

		pthread_join(th[i], &bad);
		assert_null(bad);
	}
}

static void every_call_is_answered_and_one_thread_owns(void **state)
{
	(void)state;
	run_threads(THREADS, call_often);
	assert_true(rx_calls > 0);
	assert_int_equal(atomic_load(&st->owner), 0);
	assert_true(inbox_empty(&st->cmds));
}

/* Two threads of a pair pass a turn to and fro, each asleep in between. */
static struct {
	_Atomic unsigned turn;
	_Atomic(struct thread_rec *) rec[2];
} pair[PAIRS];

static bool my_turn(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;

	return atomic_load(&pair[i / 2].turn) % 2 == i % 2;
}

static void *take_turns(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;
	struct thread_rec *self = thread_self();
	struct pollfd none = { .fd = -1 };
	uintptr_t bad = 0;

	atomic_store(&pair[i / 2].rec[i % 2], self);
	while (!atomic_load(&pair[i / 2].rec[1 - i % 2]))
		usleep(100);
	while (atomic_load(&pair[i / 2].turn) < TURNS && !bad) {
		if (!my_turn(arg)) {
			uint64_t until = clock_now_us() + STUCK_US;

			idle_run_stacks(self);
			/* every other pair also sleeps on descriptors of its own */
			bad = idle_sleep(self, &none, i / 2 % 2, until, my_turn, arg) == -ETIMEDOUT;
			continue;
		}
		idle_leave(self);
		atomic_fetch_add(&pair[i / 2].turn, 1);
		thread_wake(atomic_load(&pair[i / 2].rec[1 - i % 2]));
	}
	idle_leave(self);
	thread_wake(atomic_load(&pair[i / 2].rec[1 - i % 2]));
	return (void *)bad;
}

static void no_wake_up_is_lost_between_sleepers(void **state)
{
	(void)state;
	run_threads(2 * PAIRS, take_turns);
	for (unsigned i = 0; i < PAIRS; i++)
		assert_true(atomic_load(&pair[i].turn) >= TURNS);
}

static bool never(void *arg) { return false; }

static void watcher_wakes_for_the_device_and_for_its_deadline(void **state)
{
	struct thread_rec *self = thread_self();
	uint64_t one = 1, t0;

	(void)state;
	idle_run_stacks(self);
	assert_int_equal(write(dev_fd, &one, 8), 8); /* a frame waits */
	t0 = clock_now_us();
	assert_int_equal(idle_sleep(self, NULL, 0, t0 + STUCK_US, never, NULL), 0);
	assert_true(clock_now_us() - t0 < STUCK_US);
	assert_int_equal(read(dev_fd, &one, 8), 8);
	t0 = clock_now_us();
	while (idle_sleep(self, NULL, 0, t0 + 20000, never, NULL) != -ETIMEDOUT)
		idle_run_stacks(self);
	assert_true(clock_now_us() - t0 >= 20000);
	idle_leave(self);
	assert_int_equal(atomic_load(&st->watch), 0);
}

static void keeper_runs_the_stack_when_nobody_else_does(void **state)
{
	unsigned long before;

	(void)state;
	assert_int_equal(keeper_start(), 0);
	before = atomic_load(&st->polled);
	for (unsigned i = 0; i < 1000 && atomic_load(&st->polled) == before; i++)
		usleep(1000);
	assert_true(atomic_load(&st->polled) != before);
	for (unsigned i = 0; i < 3000 && !atomic_load(&gz->keeper_asleep); i++)
		usleep(1000);
	assert_int_equal(atomic_load(&gz->keeper_asleep), 1); /* quiet: no ticking */
	run_threads(2 * PAIRS, take_turns);
	keeper_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_is_answered_and_one_thread_owns),
		cmocka_unit_test(watcher_wakes_for_the_device_and_for_its_deadline),
		cmocka_unit_test(no_wake_up_is_lost_between_sleepers),
		cmocka_unit_test(keeper_runs_the_stack_when_nobody_else_does),
	};

	return cmocka_run_group_tests(tests, start, finish);
}

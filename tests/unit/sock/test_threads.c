/* test_threads.c - many threads on one stack, for real: echo servers that share an epoll instance, blocking clients, sockets and instances closed
 * under load, both modes. Connections run within the process, by the stack's loopback; the device is a hole. What is checked: every byte arrives
 * in order, nobody sleeps for ever (the watchdog), nothing is left behind. Run under TSan too. */
#include "tsanpool.h"

#include "base/clock.h"
#include "netdev/pkt.h"
#include "sock/epoll.h"
#include "sock/sock_int.h"
#include "stack/idle.h"

#include <errno.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define ADDR htonl(0x0a000001)
#define PORT 80

#if defined(__SANITIZE_THREAD__)
#define SLOWER 8
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLOWER 8
#endif
#endif
#ifndef SLOWER
#define SLOWER 1
#endif

static struct netdev hole;
static struct rte_mempool *pool;
static struct stack *st;
static const char *now_running = "test_threads";

static uint16_t hole_rx(struct netdev *nd, uint16_t q, struct rte_mbuf **m, uint16_t n) { return 0; }
static uint16_t hole_tx(struct netdev *nd, uint16_t q, struct rte_mbuf **m, uint16_t n)
{
	rte_pktmbuf_free_bulk(m, n);
	return n;
}
static bool hole_pending(struct netdev *nd, uint16_t q) { return false; }
static int hole_fd(struct netdev *nd, uint16_t q) { return *(int *)nd->priv; }
static void hole_close(struct netdev *nd) {}
static const struct netdev_ops hole_ops = { .kind = "hole", .rx_burst = hole_rx, .tx_burst = hole_tx, .rx_pending = hole_pending,
					    .wait_fd = hole_fd, .close = hole_close };

static void open_stack(enum stack_mode mode, uint32_t spin_us)
{
	static int never_readable = -1;
	struct ip4_conf ip = { .addr_be = ADDR, .mask_be = htonl(0xffffff00u) };

	if (never_readable < 0)
		never_readable = eventfd(0, EFD_CLOEXEC);
	memset(&hole, 0, sizeof(hole));
	hole.ops = &hole_ops;
	hole.priv = &never_readable;
	hole.nb_queues = 1;
	hole.port_id = UINT16_MAX;
	hole.tx_max_segs = 8;
	memcpy(hole.mac, (uint8_t[6]){ 2, 0, 0, 0, 0, 1 }, 6);
	atomic_store(&hole.mtu, 1500);
	atomic_store(&hole.link_up, true);
	hole.queues[0].pool = pool;
	assert_int_equal(shared_create(1, 10000, false), 0);
	gz->mode = mode;
	gz->spin_us = spin_us;
	gz->mem_cache_num = 64;
	gz->stack_sleeps = true;
	gz->ip4 = ip;
	gz->keeper_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	st = &gz->stacks[0];
	st->pool = pool;
	st->lcore_id = 1;
	st->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(stack_engine_init(st, 0, &hole, 0, &ip, clock_now_us()), 0);
	atomic_store(&st->next_timer_us, UINT64_MAX);
	if (mode == RUN_TO_WAKEUP)
		assert_int_equal(stack_thread_start(st), 0);
	else
		assert_int_equal(keeper_start(), 0);
}

/* Waits until closed sockets are gone (not TIME_WAIT records), then compares. */
static void close_stack(unsigned mbufs_before)
{
	struct thread_rec *self = thread_self();
	enum stack_mode mode = gz->mode;

	for (int i = 0; i < 5000 && (slab_in_use(&gz->socks) || slab_in_use(&gz->items) || slab_in_use(&gz->epolls)); i++) {
		idle_run_stacks(self);
		usleep(1000);
	}
	assert_int_equal(slab_in_use(&gz->socks), 0);
	assert_int_equal(slab_in_use(&gz->items), 0);
	assert_int_equal(slab_in_use(&gz->epolls), 0);
	assert_int_equal(slab_in_use(&gz->epoll_chunks), 0);
	if (mode == RUN_TO_WAKEUP)
		stack_thread_stop(st);
	else
		keeper_stop();
	assert_true(stack_try_own(st, self));
	st->now_us = clock_now_us();
	stack_engine_fini(st);
	RTE_PER_LCORE(_lcore_id) = self->saved_lcore;
	self->owned = NULL;
	sock_magazine_flush(self);
	assert_int_equal(rte_mempool_in_use_count(pool), mbufs_before);
	close(st->doorbell_fd);
	close(gz->keeper_fd);
	shared_destroy();
}

static struct sock *listener(struct thread_rec *self, int backlog)
{
	struct sock *l = sock_create(AF_INET, SOCK_STREAM, true, self);
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = ADDR };
	int one = 1;

	assert_non_null(l);
	sock_setopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one), self);
	assert_int_equal(sock_bind(l, (struct sockaddr *)&sa, sizeof(sa), NULL, NULL, self), 0);
	assert_int_equal(sock_listen(l, backlog, self), 0);
	return l;
}

static struct sock *connected(struct thread_rec *self)
{
	struct sock *c = sock_create(AF_INET, SOCK_STREAM, false, self);
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = ADDR };
	int r;

	if (!c)
		return NULL;
	r = sock_connect(c, (struct sockaddr *)&sa, sizeof(sa), self);
	if (r) {
		fprintf(stderr, "connect: %s\n", strerror(-r));
		abort();
	}
	return c;
}

/* --- an echo server of several threads on one instance --- */

struct server {
	struct epoll *ep;
	struct sock *l;
	uint32_t style; /* EPOLLET, EPOLLONESHOT or 0 (then one thread) */
	_Atomic bool stop;
	_Atomic uint32_t open;
	_Atomic uint64_t events;
};

#define LISTENER_DATA 1ULL

static void server_accept(struct server *sv, struct thread_rec *self)
{
	struct sock *a;

	while (sock_accept(sv->l, &a, true, -1, self) == 0) {
		struct epoll_event ev = { .events = EPOLLIN | sv->style, .data.ptr = a };

		atomic_store(&a->fl_flags, 00004000u);
		atomic_fetch_add(&sv->open, 1);
		if (epoll_instance_ctl(sv->ep, EPOLL_CTL_ADD, (int)slab_index(&gz->socks, a), a, &ev, self))
			abort();
	}
}

/* Returns false when the connection has ended. */
static bool server_echo(struct sock *s, struct thread_rec *self)
{
	char buf[8192];

	for (;;) {
		ssize_t n = sock_recv(s, buf, sizeof(buf), 0, self), off = 0;

		if (n == -EAGAIN)
			return true;
		if (n <= 0)
			return false;
		while (off < n) {
			ssize_t w = sock_send(s, buf + off, (size_t)(n - off), 0, self);

			if (w == -EAGAIN) { /* the client reads all the time: soon */
				struct wait_sock ws = { .s = s, .events = EPOLLOUT };

				sock_wait(&ws, 1, NULL, 0, clock_now_us() + 100000, self);
				continue;
			}
			if (w < 0)
				return false;
			off += w;
		}
	}
}

static void *server_main(void *arg)
{
	struct server *sv = arg;
	struct thread_rec *self = thread_self();
	struct epoll_event ev[4];

	while (!atomic_load(&sv->stop)) {
		int n = epoll_instance_wait(sv->ep, ev, 4, 100000, -1, self);

		atomic_fetch_add(&sv->events, (uint64_t)MAX(n, 0));
		for (int i = 0; i < n; i++) {
			struct sock *s = ev[i].data.ptr;

			if (ev[i].data.u64 == LISTENER_DATA) {
				server_accept(sv, self);
				continue;
			}
			if (server_echo(s, self)) {
				if (sv->style & EPOLLONESHOT) {
					struct epoll_event again = { .events = EPOLLIN | sv->style, .data.ptr = s };

					if (epoll_instance_ctl(sv->ep, EPOLL_CTL_MOD, (int)slab_index(&gz->socks, s), s, &again,
							       self))
						abort();
				}
			} else {
				atomic_fetch_sub(&sv->open, 1);
				sock_unref(s, self); /* still registered: close() takes it out */
			}
		}
	}
	return NULL;
}

/* --- clients: blocking, several connections one after the other --- */

struct client {
	pthread_t th;
	unsigned rounds, messages, id;
};

static void *client_main(void *arg)
{
	struct client *c = arg;
	struct thread_rec *self = thread_self();
	uint32_t rnd = c->id * 2654435761u + 1;
	static const unsigned max = 20000;
	char *out = malloc(max), *in = malloc(max);

	for (unsigned r = 0; r < c->rounds; r++) {
		struct sock *s = connected(self);

		for (unsigned m = 0; m < c->messages; m++) {
			size_t n, off = 0;

			rnd = rnd * 1664525 + 1013904223;
			n = m % 10 == 9 ? rnd % max + 1 : rnd % 100 + 1;
			for (size_t i = 0; i < n; i++)
				out[i] = (char)(rnd + i * 7);
			if (sock_send(s, out, n, 0, self) != (ssize_t)n)
				abort();
			while (off < n) {
				ssize_t got = sock_recv(s, in + off, n - off, 0, self);

				if (got <= 0) {
					fprintf(stderr, "client %u: recv %zd after %zu of %zu\n", c->id, got, off, n);
					abort();
				}
				off += (size_t)got;
			}
			if (memcmp(in, out, n)) {
				fprintf(stderr, "client %u: other bytes came back\n", c->id);
				abort();
			}
		}
		sock_unref(s, self);
	}
	free(out);
	free(in);
	return NULL;
}

static void echo_load(enum stack_mode mode, uint32_t spin_us, uint32_t style, unsigned servers, unsigned clients)
{
	unsigned before = rte_mempool_in_use_count(pool);
	struct server sv;
	struct client cl[16];
	pthread_t th[8];
	struct epoll_event ev = { .events = EPOLLIN | (style & EPOLLET), .data.u64 = LISTENER_DATA };
	struct thread_rec *self;

	memset(&sv, 0, sizeof(sv));
	open_stack(mode, spin_us);
	self = thread_self();
	sv.ep = epoll_instance_create(self);
	sv.l = listener(self, 128);
	sv.style = style;
	assert_int_equal(epoll_instance_ctl(sv.ep, EPOLL_CTL_ADD, 3, sv.l, &ev, self), 0);
	for (unsigned i = 0; i < servers; i++)
		assert_int_equal(pthread_create(&th[i], NULL, server_main, &sv), 0);
	for (unsigned i = 0; i < clients; i++) {
		cl[i] = (struct client){ .rounds = MAX(20 / SLOWER, 2), .messages = 40, .id = i };
		assert_int_equal(pthread_create(&cl[i].th, NULL, client_main, &cl[i]), 0);
	}
	for (unsigned i = 0; i < clients; i++)
		pthread_join(cl[i].th, NULL);
	for (int i = 0; i < 5000 && atomic_load(&sv.open); i++)
		usleep(1000);
	assert_int_equal(atomic_load(&sv.open), 0);
	atomic_store(&sv.stop, true);
	for (unsigned i = 0; i < servers; i++)
		pthread_join(th[i], NULL);
	assert_true(atomic_load(&sv.events) > clients * 10);
	sock_unref(sv.l, self);
	epoll_instance_unref(sv.ep, self);
	close_stack(before);
}

static void rtc_one_server_level(void **state) { echo_load(RUN_TO_COMPLETION, 0, 0, 1, 4); }
static void rtc_one_server_level_spinning(void **state) { echo_load(RUN_TO_COMPLETION, 50, 0, 1, 4); }
static void rtc_three_servers_one_shot(void **state) { echo_load(RUN_TO_COMPLETION, 0, EPOLLONESHOT, 3, 6); }
static void rtc_three_servers_edge_one_shot(void **state) { echo_load(RUN_TO_COMPLETION, 20, EPOLLET | EPOLLONESHOT, 3, 6); }
static void wakeup_one_server_level(void **state) { echo_load(RUN_TO_WAKEUP, 0, 0, 1, 4); }
static void wakeup_three_servers_one_shot(void **state) { echo_load(RUN_TO_WAKEUP, 20, EPOLLONESHOT, 3, 6); }

/* --- two readers of one stream, two writers into it: nothing is lost or read twice --- */

struct shared_stream {
	struct sock *tx, *rx;
	_Atomic uint64_t sum_in, sum_out, bytes_in;
};

static void *stream_writer(void *arg)
{
	struct shared_stream *ss = arg;
	struct thread_rec *self = thread_self();
	unsigned char buf[1000];

	for (unsigned i = 0; i < 3000 / SLOWER; i++) {
		size_t n = i % sizeof(buf) + 1;
		uint64_t sum = 0;

		for (size_t k = 0; k < n; k++) {
			buf[k] = (unsigned char)(i * 13 + k);
			sum += buf[k];
		}
		if (sock_send(ss->tx, buf, n, 0, self) != (ssize_t)n)
			abort();
		atomic_fetch_add(&ss->sum_out, sum);
	}
	return NULL;
}

static void *stream_reader(void *arg)
{
	struct shared_stream *ss = arg;
	struct thread_rec *self = thread_self();
	unsigned char buf[700];
	ssize_t n;

	while ((n = sock_recv(ss->rx, buf, sizeof(buf), 0, self)) > 0) {
		uint64_t sum = 0;

		for (ssize_t k = 0; k < n; k++)
			sum += buf[k];
		atomic_fetch_add(&ss->sum_in, sum);
		atomic_fetch_add(&ss->bytes_in, (uint64_t)n);
	}
	if (n < 0)
		abort();
	return NULL;
}

static void shared_stream(enum stack_mode mode)
{
	unsigned before = rte_mempool_in_use_count(pool);
	struct shared_stream ss;
	struct thread_rec *self;
	struct sock *l;
	pthread_t w[2], r[2];

	memset(&ss, 0, sizeof(ss));
	open_stack(mode, 10);
	self = thread_self();
	l = listener(self, 8);
	ss.tx = connected(self);
	while (sock_accept(l, &ss.rx, true, -1, self))
		usleep(100);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&w[i], NULL, stream_writer, &ss), 0);
		assert_int_equal(pthread_create(&r[i], NULL, stream_reader, &ss), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(w[i], NULL);
	assert_int_equal(sock_shutdown(ss.tx, SHUT_WR, self), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(r[i], NULL);
	assert_int_equal(atomic_load(&ss.sum_in), atomic_load(&ss.sum_out));
	assert_int_equal(atomic_load(&ss.bytes_in), atomic_load(&ss.tx->tx_written) + atomic_load(&ss.tx->tx_inline));
	sock_unref(ss.tx, self);
	sock_unref(ss.rx, self);
	sock_unref(l, self);
	close_stack(before);
}

static void rtc_two_readers_two_writers(void **state) { shared_stream(RUN_TO_COMPLETION); }
static void wakeup_two_readers_two_writers(void **state) { shared_stream(RUN_TO_WAKEUP); }

/* --- a thread blocked in recv is woken by shutdown from another --- */

static void *blocked_reader(void *arg)
{
	char b;

	return (void *)(intptr_t)sock_recv(arg, &b, 1, 0, thread_self());
}

static void shutdown_wakes(enum stack_mode mode)
{
	unsigned before = rte_mempool_in_use_count(pool);
	struct thread_rec *self;
	struct sock *l, *c, *a;
	pthread_t th;
	void *ret;

	open_stack(mode, 0);
	self = thread_self();
	l = listener(self, 8);
	c = connected(self);
	while (sock_accept(l, &a, true, -1, self))
		usleep(100);
	assert_int_equal(pthread_create(&th, NULL, blocked_reader, a), 0);
	usleep(20000);
	assert_int_equal(sock_shutdown(a, SHUT_RD, self), 0);
	pthread_join(th, &ret);
	assert_int_equal((intptr_t)ret, 0);
	sock_unref(c, self);
	sock_unref(a, self);
	sock_unref(l, self);
	close_stack(before);
}

static void rtc_shutdown_wakes_a_reader(void **state) { shutdown_wakes(RUN_TO_COMPLETION); }
static void wakeup_shutdown_wakes_a_reader(void **state) { shutdown_wakes(RUN_TO_WAKEUP); }

/* --- instances and registrations that come and go under events --- */

struct churn {
	struct sock *rx[8], *tx[8];
	_Atomic bool stop;
};

static void *churn_instances(void *arg)
{
	struct churn *ch = arg;
	struct thread_rec *self = thread_self();
	unsigned rnd = (unsigned)(uintptr_t)&rnd;

	while (!atomic_load(&ch->stop)) {
		struct epoll *ep = epoll_instance_create(self);
		struct epoll_event ev[8];

		if (!ep)
			abort();
		for (int i = 0; i < 8; i++) {
			rnd = rnd * 1664525 + 1013904223;
			ev[0].events = EPOLLIN | (rnd >> 28 & 1 ? EPOLLET : 0);
			ev[0].data.u64 = (uint64_t)i;
			if (epoll_instance_ctl(ep, EPOLL_CTL_ADD, i * 300, ch->rx[i], &ev[0], self))
				abort();
		}
		for (int k = 0; k < 5; k++) {
			int n = epoll_instance_wait(ep, ev, 8, 200, -1, self);

			for (int i = 0; i < n; i++) {
				char buf[64];

				(void)sock_recv(ch->rx[ev[i].data.u64], buf, sizeof(buf), MSG_DONTWAIT, self);
			}
			rnd = rnd * 1664525 + 1013904223;
			if (rnd >> 30 == 0)
				(void)epoll_instance_ctl(ep, EPOLL_CTL_DEL, (int)(rnd >> 8 & 7) * 300, ch->rx[rnd >> 8 & 7], NULL, self);
		}
		epoll_instance_unref(ep, self);
	}
	return NULL;
}

static void *churn_traffic(void *arg)
{
	struct churn *ch = arg;
	struct thread_rec *self = thread_self();

	for (unsigned i = 0; !atomic_load(&ch->stop); i++)
		(void)sock_send(ch->tx[i & 7], "event", 5, MSG_DONTWAIT, self);
	return NULL;
}

static void churn(enum stack_mode mode)
{
	unsigned before = rte_mempool_in_use_count(pool);
	struct thread_rec *self;
	struct churn ch;
	struct sock *l;
	pthread_t th[4];

	memset(&ch, 0, sizeof(ch));
	open_stack(mode, 5);
	self = thread_self();
	l = listener(self, 8);
	for (int i = 0; i < 8; i++) {
		ch.tx[i] = connected(self);
		while (sock_accept(l, &ch.rx[i], true, -1, self))
			usleep(100);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&th[i], NULL, churn_instances, &ch), 0);
	assert_int_equal(pthread_create(&th[3], NULL, churn_traffic, &ch), 0);
	usleep(1000000);
	atomic_store(&ch.stop, true);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	for (int i = 0; i < 8; i++) {
		struct linger lg = { 1, 0 };

		sock_setopt(ch.tx[i], SOL_SOCKET, SO_LINGER, &lg, sizeof(lg), self);
		sock_unref(ch.tx[i], self);
		sock_unref(ch.rx[i], self);
	}
	sock_unref(l, self);
	close_stack(before);
}

static void rtc_instances_come_and_go(void **state) { churn(RUN_TO_COMPLETION); }
static void wakeup_instances_come_and_go(void **state) { churn(RUN_TO_WAKEUP); }

/* One event wakes one of several sleepers of an instance, and no event is left lying. */
struct herd {
	struct epoll *ep;
	struct sock *rx;
	_Atomic bool stop;
	_Atomic uint32_t returned, got;
};

static void *herd_main(void *arg)
{
	struct herd *h = arg;
	struct thread_rec *self = thread_self();
	struct epoll_event ev;

	while (!atomic_load(&h->stop)) {
		char b[16];
		ssize_t n;

		if (epoll_instance_wait(h->ep, &ev, 1, 300000, -1, self) <= 0)
			continue;
		atomic_fetch_add(&h->returned, 1);
		while ((n = sock_recv(h->rx, b, sizeof(b), MSG_DONTWAIT, self)) > 0)
			atomic_fetch_add(&h->got, (uint32_t)n);
	}
	return NULL;
}

static void herd(enum stack_mode mode)
{
	unsigned before = rte_mempool_in_use_count(pool);
	struct thread_rec *self;
	struct herd h;
	struct sock *l, *c;
	pthread_t th[8];
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	const unsigned rounds = 100;

	memset(&h, 0, sizeof(h));
	open_stack(mode, 0);
	self = thread_self();
	l = listener(self, 8);
	c = connected(self);
	while (sock_accept(l, &h.rx, true, -1, self))
		usleep(100);
	h.ep = epoll_instance_create(self);
	assert_int_equal(epoll_instance_ctl(h.ep, EPOLL_CTL_ADD, 5, h.rx, &ev, self), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&th[i], NULL, herd_main, &h), 0);
	for (unsigned i = 1; i <= rounds; i++) {
		usleep(2000);
		assert_int_equal(sock_send(c, "e", 1, 0, self), 1);
		for (int k = 0; k < 5000 && atomic_load(&h.got) < i; k++)
			usleep(200);
		assert_int_equal(atomic_load(&h.got), i);
	}
	atomic_store(&h.stop, true);
	for (int i = 0; i < 8; i++)
		pthread_join(th[i], NULL);
	/* 8 sleepers: a wake-up of all would return eight times as often */
	assert_true(atomic_load(&h.returned) <= rounds + rounds / 5);
	sock_unref(c, self);
	sock_unref(h.rx, self);
	sock_unref(l, self);
	epoll_instance_unref(h.ep, self);
	close_stack(before);
}

static void rtc_one_event_wakes_one(void **state) { herd(RUN_TO_COMPLETION); }
static void wakeup_one_event_wakes_one(void **state) { herd(RUN_TO_WAKEUP); }

static void eal(void)
{
	char core[8] = "0";
	char *argv[] = { (char *)"test", (char *)"--no-huge", (char *)"-m", (char *)"256", (char *)"--no-shconf", (char *)"--no-pci",
			 (char *)"--no-telemetry", (char *)"-l", core, (char *)"--log-level=error", NULL };
	cpu_set_t cpus;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	for (int c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &cpus)) {
			snprintf(core, sizeof(core), "%d", c);
			break;
		}
	if (rte_eal_init(10, argv) < 0 || pkt_init())
		abort();
	tsan_pools();
	sched_setaffinity(0, sizeof(cpus), &cpus);
	RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
	pool = mbuf_pool_create("threads", 32768, 2048, -1);
	if (!pool)
		abort();
}

/* A lost wake-up shows as a test that never ends. */
static void *watchdog(void *arg)
{
	for (int i = 0; i < 100; i++)
		sleep(1);
	fprintf(stderr, "%s: no end within 100 s: somebody sleeps for ever\n", now_running);
	abort();
}

#define T(f) cmocka_unit_test(f)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(rtc_shutdown_wakes_a_reader),
		T(wakeup_shutdown_wakes_a_reader),
		T(rtc_one_server_level),
		T(rtc_one_server_level_spinning),
		T(rtc_three_servers_one_shot),
		T(rtc_three_servers_edge_one_shot),
		T(wakeup_one_server_level),
		T(wakeup_three_servers_one_shot),
		T(rtc_two_readers_two_writers),
		T(wakeup_two_readers_two_writers),
		T(rtc_instances_come_and_go),
		T(wakeup_instances_come_and_go),
		T(rtc_one_event_wakes_one),
		T(wakeup_one_event_wakes_one),
	};
	pthread_t th;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	eal();
	pthread_create(&th, NULL, watchdog, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

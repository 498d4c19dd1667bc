/* testenv.c - hosts in one process, in virtual time: see testenv.h. Called by test programs; calls stack/, sock/. One thread. */
#include "testenv.h"
#include "tsanpool.h"

#include "sock/ports.h"
#include "tcp/tcp.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <sched.h>
#include <stdlib.h>

struct testenv tenv;

static void fail(const char *what, int err)
{
	fprintf(stderr, "testenv: %s failed: %s\n", what, strerror(err < 0 ? -err : err));
	abort();
}

void testenv_eal(void)
{
	static bool done;
	const char *mem = getenv("GZ_TEST_EAL_MB");
	char *argv[] = { (char *)"test",	  (char *)"--no-huge", (char *)"-m",	       (char *)(mem ? mem : "512"),
			 (char *)"--no-shconf",	  (char *)"--no-pci",  (char *)"--no-telemetry", (char *)"-l",
			 (char *)"0",		  (char *)"--log-level=error", NULL };
	cpu_set_t cpus;
	int r;

	if (done)
		return;
	done = true;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	CPU_ZERO(&cpus); /* -l must name a CPU that we may use */
	sched_getaffinity(0, sizeof(cpus), &cpus);
	for (int c = 0; c < CPU_SETSIZE; c++) {
		static char core[8];

		if (CPU_ISSET(c, &cpus)) {
			snprintf(core, sizeof(core), "%d", c);
			argv[8] = core;
			break;
		}
	}
	r = rte_eal_init((int)ARRAY_SIZE(argv) - 1, argv);
	if (r < 0)
		fail("rte_eal_init", rte_errno);
	tsan_pools();
	sched_setaffinity(0, sizeof(cpus), &cpus);
	RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY; /* an application thread; ownership sets the stack's */
	r = pkt_init();
	if (r)
		fail("pkt_init", r);
}

struct rte_mempool *testenv_pool(uint32_t mbufs, uint16_t mbuf_bytes)
{
	static struct rte_mempool *pool;

	if (!pool) {
		testenv_eal();
		pool = mbuf_pool_create("test", mbufs ? mbufs : 32768, mbuf_bytes ? mbuf_bytes : 2048, -1);
		if (!pool)
			fail("mbuf_pool_create", rte_errno);
	}
	return pool;
}

static struct rte_mempool *large_pool(void)
{
	static struct rte_mempool *pool;

	if (!pool) {
		pool = mbuf_large_pool_create("large", 1024, -1);
		if (!pool)
			fail("mbuf_large_pool_create", rte_errno);
	}
	return pool;
}

static void open_host(unsigned i, const struct testenv_conf *conf)
{
	struct thost *h = &tenv.host[i];
	struct memdev_conf dc = conf->devs ? conf->devs[i] : conf->dev;
	struct ip4_conf ip = { .addr_be = testenv_ip(i), .mask_be = htonl(0xffffff00u),
			       .gateway_be = htonl(0x0a0000feu) };
	int r;

	if (i == 0 && conf->addr_be)
		ip = (struct ip4_conf){ .addr_be = conf->addr_be, .mask_be = conf->mask_be, .gateway_be = conf->gateway_be };
	memcpy(dc.mac, (uint8_t[6]){ 2, 0, 10, 0, 0, (uint8_t)(i + 1) }, 6);
	h->ip_be = ip.addr_be;
	memdev_init(&h->dev, &dc, tenv.pool);
	h->dev.own_ip_be = ip.addr_be;
	h->dev.auto_arp = !conf->wired;
	if (conf->wired)
		wire_attach(&tenv.wire, &h->dev);
	if (tenv.pcap)
		memdev_pcap(&h->dev, tenv.pcap);
	h->st = &gz->stacks[i];
	h->st->pool = tenv.pool;
	h->st->lcore_id = i + 1; /* before init: it may allocate */
	r = stack_engine_init(h->st, (uint16_t)i, &h->dev.nd, 0, &ip, vclock_us);
	if (r)
		fail("stack_engine_init", r);
	/* as Linux's default: scripts that are played against the kernel as well, and snapshots of heavy loss, which is no black hole */
	tcp_conf_of(h->st)->mtu_probing = 0;
	h->st->lcore_id = i + 1;
	h->st->pool = tenv.pool;
	h->st->large = tenv.large;
}

void testenv_open(const struct testenv_conf *conf)
{
	const char *pcap = getenv("GZ_TEST_PCAP");
	struct prng secret;
	int r;

	tenv.pool = testenv_pool(conf->mbufs, conf->mbuf_bytes);
	tenv.large = large_pool();
	tenv.nb_hosts = conf->nb_hosts ? conf->nb_hosts : 1;
	tenv.wired = conf->wired;
	tenv.rounds = 0;
	wire_init(&tenv.wire, conf->seed);
	stack_my_pid = (uint32_t)sys_getpid();
	r = shared_create(tenv.nb_hosts, conf->conn_hint ? conf->conn_hint : 1000, false);
	if (r)
		fail("shared_create", r);
	/* the same run again must be the same run: sequence numbers, ports and random delays come from the secret */
	prng_seed(&secret, conf->seed);
	for (uint32_t i = 0; i < STACK_MAX; i++) {
		gz->stacks[i].secret[0] = i ? gz->stacks[0].secret[0] : prng_u64(&secret);
		gz->stacks[i].secret[1] = i ? gz->stacks[0].secret[1] : prng_u64(&secret);
	}
	gz->mode = RUN_TO_COMPLETION;
	gz->spin_us = 0;
	gz->home_pid = stack_my_pid;
	gz->nb_stacks = 1; /* hosts are no stacks of one device: nothing is steered between them */
	gz->ip4 = (struct ip4_conf){ .addr_be = testenv_ip(0), .mask_be = htonl(0xffffff00u),
				     .gateway_be = htonl(0x0a0000feu) };
	if (conf->addr_be)
		gz->ip4 = (struct ip4_conf){ .addr_be = conf->addr_be, .mask_be = conf->mask_be, .gateway_be = conf->gateway_be };
	if (!gz->ports && !(gz->ports = ports_create()))
		fail("ports_create", ENOMEM);
	tenv.self = thread_self();
	if (!tenv.self)
		fail("thread_self", ENOMEM);
	if (pcap && !tenv.pcap)
		tenv.pcap = fopen(pcap, "w");
	tenv.host = calloc(tenv.nb_hosts, sizeof(*tenv.host));
	tenv.mbufs_before = testenv_mbufs_used();
	for (unsigned i = 0; i < tenv.nb_hosts; i++)
		open_host(i, conf);
	testenv_settle();
	if (!conf->wired) /* the start's gratuitous ARP is nobody's business */
		for (unsigned i = 0; i < tenv.nb_hosts; i++)
			for (struct frame *f; (f = memdev_pop(&tenv.host[i].dev)); free(f))
				;
}

static void end_hosts(void)
{
	for (unsigned i = 0; i < tenv.nb_hosts; i++) {
		stack_engine_fini(tenv.host[i].st);
		memdev_fini(&tenv.host[i].dev);
	}
	wire_fini(&tenv.wire);
	free(tenv.host);
	tenv.host = NULL;
	while (tenv.self->mag.count)
		rte_pktmbuf_free(tenv.self->mag.m[--tenv.self->mag.count]);
	if (tenv.pcap)
		fflush(tenv.pcap);
}

static void end_shared(void)
{
	shared_destroy();
	thread_self_tls = NULL;
	crit_self = NULL;
	tenv.self = NULL;
}

static int complain(bool quiet, const char *what, uint64_t n)
{
	if (n && !quiet)
		fprintf(stderr, "testenv: leak: %llu %s\n", (unsigned long long)n, what);
	return n != 0;
}

int testenv_leaks(bool quiet)
{
	int bad = 0;
	uint32_t queued = 0;

	bad += complain(quiet, "sockets", slab_in_use(&gz->socks));
	bad += complain(quiet, "items", slab_in_use(&gz->items));
	bad += complain(quiet, "epoll instances", slab_in_use(&gz->epolls));
	bad += complain(quiet, "SYN records", slab_in_use(&gz->syn_recs));
	bad += complain(quiet, "TIME_WAIT records", slab_in_use(&gz->tw_recs));
	for (unsigned i = 0; i < tenv.nb_hosts; i++) {
		memdev_release_held(&tenv.host[i].dev); /* frames may be chains: no count says how many mbufs */
		queued += tenv.host[i].dev.nd.queues[0].txq_len;
	}
	bad += complain(quiet, "mbufs", testenv_mbufs_used() - tenv.mbufs_before - queued);
	return bad;
}

int testenv_close(void)
{
	int bad = testenv_leaks(false);

	for (unsigned i = 0; i < tenv.nb_hosts; i++)
		bad += complain(false, "bad frames transmitted (see above)", tenv.host[i].dev.bad_frames);
	end_hosts();
	/* what fini gave back is all there was */
	if (rte_mempool_in_use_count(tenv.pool))
		bad += complain(false, "mbufs after the stacks were ended", rte_mempool_in_use_count(tenv.pool));
	end_shared();
	return bad;
}

void testenv_abandon(void)
{
	end_hosts();
	end_shared();
}

unsigned testenv_poll(unsigned i)
{
	struct stack *st = tenv.host[i].st;
	unsigned n;

	if (!stack_try_own(st, tenv.self)) {
		fprintf(stderr, "testenv: stack %u is owned by somebody: %llx\n", i,
			(unsigned long long)atomic_load(&st->owner));
		abort();
	}
	n = stack_poll_at(st, vclock_us);
	stack_leave(st, tenv.self);
	tenv.rounds++;
	return n;
}

void testenv_settle(void)
{
	for (unsigned round = 0; round < 100000; round++) {
		unsigned moved = 0;

		if (tenv.wired)
			moved += wire_run(&tenv.wire, vclock_us);
		for (unsigned i = 0; i < tenv.nb_hosts; i++) {
			moved += testenv_poll(i);
			moved += tenv.host[i].dev.rx.n + tenv.host[i].dev.nd.queues[0].txq_len;
		}
		if (!moved && (!tenv.wired || wire_next_us(&tenv.wire) > vclock_us))
			return;
	}
	fprintf(stderr, "testenv: a hundred thousand rounds without rest at one moment\n");
	abort();
}

static bool due(unsigned i)
{
	const struct stack *st = tenv.host[i].st;

	return tenv.host[i].dev.rx.n || tenv.host[i].dev.nd.queues[0].txq_len || !inbox_maybe_empty(&st->cmds) || st->cmd_backlog ||
	       st->work_left || st->reply_len || !list_empty(&st->tcp_out) || !list_empty(&st->zombies) ||
	       MIN(wheel_next_us(&st->wheel), st->settle_by_us) <= vclock_us;
}

uint32_t testenv_settle_due(void)
{
	uint32_t ran = 0;

	for (unsigned round = 0; round < 100000; round++) {
		unsigned moved = tenv.wired ? wire_run(&tenv.wire, vclock_us) : 0;

		for (unsigned i = 0; i < tenv.nb_hosts; i++) {
			if (!due(i))
				continue;
			testenv_poll(i);
			ran |= 1u << i;
			moved++;
		}
		if (!moved)
			return ran;
	}
	fprintf(stderr, "testenv: a hundred thousand rounds without rest at one moment\n");
	abort();
}

uint64_t testenv_next_us(void)
{
	uint64_t next = tenv.wired ? wire_next_us(&tenv.wire) : UINT64_MAX;

	for (unsigned i = 0; i < tenv.nb_hosts; i++) {
		const struct stack *st = tenv.host[i].st;

		next = MIN(next, MIN(wheel_next_us(&st->wheel), st->settle_by_us));
	}
	return next;
}

void testenv_run_until(uint64_t until_us)
{
	testenv_settle();
	while (vclock_us < until_us) {
		uint64_t next = testenv_next_us();

		next = MAX(next, vclock_us + 1);
		vclock_us = MIN(next, until_us);
		testenv_settle();
	}
}

void testenv_run_for(uint64_t us)
{
	testenv_run_until(vclock_us + us);
}

bool testenv_run_cond(bool (*cond)(void *arg), void *arg, uint64_t limit_us)
{
	uint64_t until = vclock_us + limit_us;

	testenv_settle();
	while (!cond(arg)) {
		uint64_t next = testenv_next_us();

		if (vclock_us >= until)
			return false;
		next = MAX(next, vclock_us + 1);
		vclock_us = MIN(next, until);
		testenv_settle();
	}
	return true;
}

struct sock *testenv_socket(unsigned i, int type)
{
	struct sock *s = sock_create(AF_INET, type, true, tenv.self);

	if (s)
		s->stack_id = (uint8_t)i;
	return s;
}

int testenv_bind_addr(struct sock *s, uint32_t addr_be, uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = addr_be };

	return sock_bind(s, (const struct sockaddr *)&sa, sizeof(sa), NULL, NULL, tenv.self);
}

int testenv_connect_addr(struct sock *s, uint32_t addr_be, uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = addr_be };

	return sock_connect(s, (const struct sockaddr *)&sa, sizeof(sa), tenv.self);
}

struct sock *testenv_listener(unsigned i, uint16_t port, int backlog)
{
	struct sock *s = testenv_socket(i, SOCK_STREAM);
	int one = 1, r;

	if (!s)
		fail("sock_create", ENOMEM);
	r = sock_setopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one), tenv.self);
	if (r)
		fail("SO_REUSEADDR", r);
	r = testenv_bind_addr(s, testenv_ip(i), port);
	if (r)
		fail("bind", r);
	r = sock_listen(s, backlog, tenv.self);
	if (r)
		fail("listen", r);
	return s;
}

struct sock *testenv_connect(unsigned i, unsigned j, uint16_t port)
{
	struct sock *s = testenv_socket(i, SOCK_STREAM);
	int r;

	if (!s)
		fail("sock_create", ENOMEM);
	r = testenv_connect_addr(s, testenv_ip(j), port);
	if (r && r != -EINPROGRESS)
		fail("connect", r);
	return s;
}

void testenv_close_sock(struct sock *s)
{
	sock_unref(s, tenv.self);
}

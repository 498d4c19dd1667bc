/* inproc.c - what the stack costs by itself: a scripted client on an in-memory device in the same process, run to completion.
 *
 * Timed is the server's part alone, in TSC cycles: segments in -> epoll_wait -> read -> write -> segments out, through
 * the socket layer as the interposed calls use it. The client's work (client.c) lies outside. The device hands over a copy in a fresh
 * mbuf, as a driver does after DMA, and frees what was sent, as a driver does after completion: both are inside.
 * Checksums are computed in software unless -o (a device with offloads). Prints one line of JSON; bench/part_a drives it.
 */
#include "client.h"
#include "measure.h"

#include "base/clock.h"
#include "netdev/backend.h"
#include "netdev/netdev.h"
#include "sock/epoll.h"
#include "sock/ports.h"
#include "sock/sock.h"
#include "stack/own.h"
#include "stack/stack.h"

#include <fcntl.h>
#include <getopt.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mempool.h>
#include <sched.h>

#define BURST_MAX 64
#define OUT_MAX 8192
#define WARM 2000

/* --- the device --- */

static struct netdev dev;
static struct frame {
	uint32_t len;
	uint8_t data[CLIENT_FRAME_MAX];
} in[BURST_MAX], out[OUT_MAX];
static uint32_t in_n, in_at, out_n;
static bool offloads;

static uint16_t dev_rx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	uint16_t k = (uint16_t)MIN((uint32_t)n, in_n - in_at);

	if (k == 0 || rte_pktmbuf_alloc_bulk(nd->queues[queue].pool, m, k))
		return 0;
	for (uint16_t i = 0; i < k; i++) {
		const struct frame *f = &in[in_at++];

		m[i]->data_len = (uint16_t)f->len;
		m[i]->pkt_len = f->len;
		memcpy(rte_pktmbuf_mtod(m[i], void *), f->data, f->len);
		if (offloads)
			m[i]->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	}
	return k;
}

static uint16_t dev_tx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		uint32_t at = 0;

		if (out_n < OUT_MAX) {
			/* of a frame that a device would cut the client wants the headers */
			for (struct rte_mbuf *s = m[i]; s && at < CLIENT_FRAME_MAX; s = s->next) {
				uint32_t part = MIN(s->data_len, CLIENT_FRAME_MAX - at);

				memcpy(out[out_n].data + at, rte_pktmbuf_mtod(s, void *), part);
				at += part;
			}
			out[out_n++].len = at;
		}
		rte_pktmbuf_free(m[i]);
	}
	return n;
}

static bool dev_pending(struct netdev *nd, uint16_t queue)
{
	return in_at < in_n;
}

static int dev_fd(struct netdev *nd, uint16_t queue)
{
	return -1;
}

static const struct netdev_ops dev_ops = { .kind = "bench", .rx_burst = dev_rx, .tx_burst = dev_tx,
					   .rx_pending = dev_pending, .wait_fd = dev_fd };

static void fail(const char *what, int err)
{
	fprintf(stderr, "bench_inproc: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static void eal_start(bool huge, const char *mem)
{
	char *argv[] = { (char *)"bench", (char *)"-m", (char *)mem, (char *)"--no-shconf", (char *)"--no-pci",
			 (char *)"--no-telemetry", (char *)"-l", NULL, (char *)"--log-level=error", (char *)"--no-huge", NULL };
	static char core[8];
	cpu_set_t cpus;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	snprintf(core, sizeof(core), "%d", sched_getcpu());
	argv[7] = core;
	if (huge) {
		argv[9] = NULL;
		argv[3] = (char *)"--in-memory";
	}
	if (rte_eal_init(huge ? 9 : 10, argv) < 0)
		fail("EAL", rte_errno);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
	if (pkt_init())
		fail("pkt_init", ENOMEM);
}

/* --- the server --- */

static struct thread_rec *self;
static struct epoll *ep;
static struct sock *listener, **conn; /* conn[i] by number, which stands for the descriptor */
static uint32_t nb_conn;
static bool sink;
static uint64_t served, received, closed, errors;
static uint32_t *free_numbers, nb_free;

static void serve_listener(void)
{
	struct sock *s;

	while (sock_accept(listener, &s, true, -1, self) == 0) {
		struct epoll_event ev = { .events = EPOLLIN };
		uint32_t i = nb_free ? free_numbers[--nb_free] : nb_conn++;
		int one = 1;

		atomic_fetch_or(&s->fl_flags, O_NONBLOCK);
		conn[i] = s;
		ev.data.u64 = i + 1;
		sock_setopt(s, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one), self);
		if (epoll_instance_ctl(ep, EPOLL_CTL_ADD, (int)i + 10, s, &ev, self))
			errors++;
	}
}

static char buf[65536];
static uint32_t reply_bytes = 64;

static void serve(uint64_t number)
{
	struct sock *s = conn[number - 1];
	ssize_t n = sock_recv(s, buf, sizeof(buf), 0, self);

	if (n > 0) {
		received += (uint64_t)n;
		if (!sink && sock_send(s, buf, reply_bytes, 0, self) != (ssize_t)reply_bytes)
			errors++;
		served++;
	} else if (n == 0 || n != -EAGAIN) {
		struct epoll_event none = { 0 };

		epoll_instance_ctl(ep, EPOLL_CTL_DEL, (int)number + 9, s, &none, self);
		sock_unref(s, self);
		conn[number - 1] = NULL;
		free_numbers[nb_free++] = (uint32_t)number - 1;
		closed++;
	}
}

/* One turn of the server's loop. */
static int turn(void)
{
	struct epoll_event ev[BURST_MAX];
	int n = epoll_instance_wait(ep, ev, BURST_MAX, 0, -1, self);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == 0)
			serve_listener();
		else
			serve(ev[i].data.u64);
	}
	return n;
}

/* --- the script --- */

static struct client cl;

/* What the server sent goes to the client; ARP answers go back. Not timed. */
static void drain(void)
{
	uint32_t answers;

	do {
		answers = 0;
		for (uint32_t i = 0; i < out_n; i++) {
			uint32_t len;

			client_on_frame(&cl, out[i].data, out[i].len, in[0].data, &len);
			if (len) {
				in[0].len = len;
				answers = 1;
			}
		}
		out_n = 0;
		in_n = answers;
		in_at = 0;
		if (answers)
			turn();
	} while (answers);
}

/* Hands n frames to the server and runs it until it has taken them and has nothing to report; returns cycles. */
static __attribute__((noinline)) uint64_t push(uint32_t n) /* a function of its own: callgrind counts inside it */
{
	uint64_t t;

	in_n = n;
	in_at = 0;
	t = cycles_now();
	while (turn() > 0 && in_at < in_n)
		;
	return cycles_now() - t;
}

static uint64_t open_one(uint32_t i)
{
	uint64_t t;

	in[0].len = client_syn(&cl, i, in[0].data);
	t = push(1);
	drain();
	in[0].len = client_ack(&cl, i, in[0].data);
	t += push(1);
	drain();
	return t;
}

static uint64_t close_one(uint32_t i)
{
	uint64_t t;

	in[0].len = client_fin(&cl, i, in[0].data);
	t = push(1);
	drain();
	in[0].len = client_ack(&cl, i, in[0].data);
	t += push(1);
	drain();
	return t;
}

static uint64_t rnd_state = 88172645463325252ULL;
static uint32_t rnd(uint32_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (uint32_t)((rnd_state >> 33) * n >> 31);
}

/* With many connections the next request on one comes late: as a real client, this one acknowledges the reply before the server's
 * retransmission timer, ACK_LAG requests later, when the connection has left the caches again. Not timed. */
#define ACK_LAG 2048

static void run_requests(uint32_t conns, uint32_t burst, uint32_t requests, struct measure *m, uint32_t overhead)
{
	uint32_t warm = MAX((uint32_t)WARM, conns); /* every connection is past its first exchanges */
	uint32_t *asked = conns > ACK_LAG ? calloc(ACK_LAG, sizeof(*asked)) : NULL, at = 0;

	for (uint32_t done = 0, next = 0; done < warm + requests; done += burst) {
		uint32_t ack[BURST_MAX];
		uint64_t t;

		for (uint32_t i = 0; i < burst; i++) {
			/* distinct connections within a burst */
			if (done + burst <= conns)
				next = done + i;
			else if (i == 0 || burst == 1)
				next = rnd(conns);
			else
				next = (next + 1 + rnd(conns / burst)) % conns;
			in[i].len = client_data(&cl, next, 64, in[i].data);
			if (asked) { /* the oldest reply gets its delayed ACK below */
				uint32_t old = asked[at % ACK_LAG];

				asked[at++ % ACK_LAG] = next;
				ack[i] = old;
			}
		}
		t = push(burst);
		if (done >= warm)
			measure_add(m, t, overhead, burst);
		drain();
		for (uint32_t i = 0; asked && at > ACK_LAG + burst && i < burst; i++)
			in[i].len = client_ack(&cl, ack[i], in[i].data);
		if (asked && at > ACK_LAG + burst) {
			push(burst);
			drain();
		}
		if (done % 256 == 0)
			cl.now_ms = (uint32_t)(clock_now_us() / 1000);
	}
	free(asked);
}

static void run_bulk(uint32_t segments, struct measure *m, uint32_t overhead)
{
	uint64_t want = received;

	sink = true;
	for (uint32_t done = 0; done < segments; done += 16) {
		uint64_t t;

		for (uint32_t i = 0; i < 16; i++) {
			in[i].len = client_data(&cl, 0, 1400, in[i].data);
			want += 1400;
		}
		t = push(16);
		measure_add(m, t, overhead, 16);
		drain();
	}
	sink = false;
	if (received != want)
		fprintf(stderr, "bench_inproc: bulk: %llu bytes of %llu arrived\n", (unsigned long long)received,
			(unsigned long long)want);
}

static void server_start(uint32_t conns)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(CLIENT_SERVER_PORT),
				  .sin_addr.s_addr = htonl(CLIENT_SERVER_IP) };
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 0 };
	int r;

	self = thread_self();
	if (!self)
		fail("thread record", ENOMEM);
	listener = sock_create(AF_INET, SOCK_STREAM, true, self);
	ep = epoll_instance_create(self);
	if (!listener || !ep)
		fail("sockets", ENOMEM);
	if ((r = sock_bind(listener, (struct sockaddr *)&sa, sizeof(sa), NULL, NULL, self)) ||
	    (r = sock_listen(listener, 1024, self)) ||
	    (r = epoll_instance_ctl(ep, EPOLL_CTL_ADD, 3, listener, &ev, self)))
		fail("listen", r);
	conn = calloc(conns + 16, sizeof(*conn));
	free_numbers = calloc(conns + 16, sizeof(*free_numbers));
	if (!conn || !free_numbers)
		fail("memory", ENOMEM);
	for (uint32_t i = 0; i < conns + 16; i++) { /* touch: not counted as the stack's */
		((volatile struct sock **)conn)[i] = NULL;
		((volatile uint32_t *)free_numbers)[i] = 0;
	}
}

static void stack_start(uint32_t conns, bool huge)
{
	struct ip4_conf ip = { .addr_be = htonl(CLIENT_SERVER_IP), .mask_be = htonl(0xffffff00u),
			       .gateway_be = htonl(CLIENT_GATEWAY_IP) };
	struct rte_mempool *pool;
	struct stack *st;
	int r;

	clock_init();
	/* every connection keeps its last reply until the next request acknowledges it */
	pool = mbuf_pool_create("bench", 16384 + conns + conns / 8, 2048, -1);
	if (!pool)
		fail("mbuf pool", rte_errno);
	stack_my_pid = (uint32_t)sys_getpid();
	if ((r = shared_create(1, conns + conns / 8 + 256, huge)))
		fail("shared region", r);
	gz->mode = RUN_TO_COMPLETION;
	gz->home_pid = stack_my_pid;
	gz->nb_stacks = 1;
	gz->spin_us = 0;
	gz->mem_cache_num = 128;
	gz->ip4 = ip;
	if (!gz->ports && !(gz->ports = ports_create()))
		fail("ports", ENOMEM);
	dev.ops = &dev_ops;
	dev.nb_queues = 1;
	dev.port_id = UINT16_MAX;
	dev.numa_node = -1;
	memcpy(dev.mac, (uint8_t[6]){ 2, 0, 0, 0, 0, 1 }, 6);
	dev.queues[0].pool = pool;
	dev.tx_max_segs = 40;
	dev.tx_offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (offloads) {
		dev.tx_offloads |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
				   RTE_ETH_TX_OFFLOAD_TCP_TSO;
		dev.tso_max_bytes = NETDEV_TSO_MAX;
	}
	dev.tx_fix = tx_fixup_mask(&dev);
	atomic_store(&dev.mtu, 1500);
	atomic_store(&dev.link_up, true);
	st = &gz->stacks[0];
	if (offloads && !(st->large = mbuf_large_pool_create("large", 1024, -1)))
		fail("large mbuf pool", rte_errno);
	st->pool = pool;
	st->lcore_id = 1;
	r = stack_engine_init(st, 0, &dev, 0, &ip, clock_now_us());
	if (r)
		fail("stack", r);
	st->lcore_id = 1;
}

int main(int argc, char **argv)
{
	uint32_t conns = 1, requests = 200000, burst = 1, overhead;
	struct measure rr, seg, op, cl_;
	bool huge = false, no_ts = false, no_close = false, no_bulk = false;
	uint64_t base, mem;
	char mem_mb[16];
	int o;

	while ((o = getopt(argc, argv, "c:n:b:w:oHTCRM")) != -1) {
		if (o == 'c')
			conns = (uint32_t)atoi(optarg);
		else if (o == 'n')
			requests = (uint32_t)atoi(optarg);
		else if (o == 'b')
			burst = (uint32_t)atoi(optarg);
		else if (o == 'w')
			reply_bytes = (uint32_t)atoi(optarg);
		else if (o == 'o')
			offloads = true;
		else if (o == 'H')
			huge = true;
		else if (o == 'T')
			no_ts = true;
		else if (o == 'C')
			no_close = true;
		else if (o == 'R')
			no_bulk = true;
		else if (o == 'M')
			return printf("{\"memory_cycles\":%.0f}\n", measure_memory()) < 0;
		else
			conns = 0;
	}
	if (!conns || !burst || burst > BURST_MAX || burst > conns || !reply_bytes || reply_bytes > sizeof(buf)) {
		fprintf(stderr, "usage: bench_inproc -c CONNECTIONS -n REQUESTS -b BURST [-w BYTES a reply] [-o offloads] [-H huge pages]\n"
				"       [-T no timestamps] [-C leave connections open] [-R requests alone] [-M the memory alone]\n");
		return 2;
	}
	snprintf(mem_mb, sizeof(mem_mb), "%u", 128 + (16384 + conns + conns / 8) / 250);
	eal_start(huge, mem_mb);
	stack_start(conns, huge);
	server_start(conns);
	client_init(&cl, conns, dev.mac, !no_ts);
	measure_init(&rr, requests / burst + 1);
	measure_init(&seg, requests / 64 + 1);
	measure_init(&op, conns);
	measure_init(&cl_, conns);
	memset(in, 1, sizeof(in));
	memset(out, 1, sizeof(out));
	overhead = cycles_overhead();
	turn();
	drain();

	base = resident_bytes();
	for (uint32_t i = 0; i < conns; i++)
		measure_add(&op, open_one(i), 2 * overhead, 1);
	mem = resident_bytes() - base;
	if (nb_conn != conns || errors)
		return fprintf(stderr, "bench_inproc: %u of %u connections opened, %llu SYN-ACKs, %llu resets, %llu errors\n", nb_conn,
			       conns, (unsigned long long)cl.syn_acks, (unsigned long long)cl.resets,
			       (unsigned long long)errors), 1;

	run_requests(conns, burst, requests, &rr, overhead);
	if (served < requests || cl.replies < requests || cl.resets || errors)
		return fprintf(stderr, "bench_inproc: %llu served, %llu replies, %llu resets, %llu errors\n",
			       (unsigned long long)served, (unsigned long long)cl.replies, (unsigned long long)cl.resets,
			       (unsigned long long)errors), 1;
	if (!no_bulk)
		run_bulk(requests / 4, &seg, overhead);
	for (uint32_t i = 0; i < conns && !no_close; i++)
		measure_add(&cl_, close_one(i), 2 * overhead, 1);
	for (int i = 0; i < 200 && !no_close && slab_in_use(&gz->socks) > 1; i++)
		turn();
	measure_sort(&rr);
	measure_sort(&seg);
	measure_sort(&op);
	measure_sort(&cl_);
	printf("{\"stack\":\"gazelle\",\"connections\":%u,\"burst\":%u,\"offloads\":%s,\"huge\":%s,\"timestamps\":%s,\"requests\":%llu,"
	       "\"rr_mean\":%.0f,\"rr_p50\":%u,\"rr_p99\":%u,\"segment_mean\":%.0f,\"open_mean\":%.0f,\"close_mean\":%.0f,"
	       "\"bytes_per_connection\":%.0f,\"overhead\":%u,\"pure_acks\":%llu,\"others\":%llu,\"closed\":%llu,"
	       "\"sockets_left\":%u,\"mbufs_left\":%u}\n",
	       conns, burst, offloads ? "true" : "false", huge ? "true" : "false", no_ts ? "false" : "true",
	       (unsigned long long)rr.n * burst, measure_trimmed_mean(&rr), measure_percentile(&rr, .5),
	       measure_percentile(&rr, .99), measure_trimmed_mean(&seg), measure_trimmed_mean(&op), measure_trimmed_mean(&cl_),
	       conns > 1 ? (double)mem / conns : 0.0, overhead, (unsigned long long)cl.pure_acks, (unsigned long long)cl.others,
	       (unsigned long long)closed, slab_in_use(&gz->socks) - 1,
	       rte_mempool_in_use_count(dev.queues[0].pool) - self->mag.count);
	if (!no_close && (closed != conns || slab_in_use(&gz->socks) != 1))
		return fprintf(stderr, "bench_inproc: %llu of %u connections closed, %u sockets left\n", (unsigned long long)closed,
			       conns, slab_in_use(&gz->socks) - 1), 1;
	return 0;
}

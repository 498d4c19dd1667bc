/* netdev_pair.c - what a pair of devices can carry, below any protocol: the limit for everything above.
 *
 * Two threads, each pinned to a CPU, drive the two ends through netdev_rx()/netdev_tx(): round trip of one small frame,
 * small frames per second, and Gbit/s of large (TSO) and of full-size frames. With --veth it makes a virtual link between
 * two network namespaces of its own (gone with the process) and runs over the kernel-interface backend; else the two
 * devices named are used (names of --vdev, interfaces). Prints a table and one JSON line.
 *
 *   netdev_pair [EAL options] -- --veth [--xdp] [--seconds S]
 *   netdev_pair [EAL options] -- DEVICE_A DEVICE_B [--seconds S]
 *
 * A device may be given with arguments ("net_virtio_user0,path=..."): it is made then, after the first end is open.
 */
#include "base/clock.h"
#include "base/csum.h"
#include "netdev/netdev.h"

#include <errno.h>
#include <pthread.h>
#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_BUFFERS 32768
#define ROOM 2048

enum phase { SETUP, RTT, SMALL, FULL, BIG, DONE };

struct end {
	const char *device;
	int cpu;
	unsigned lcore;
	struct netdev *nd;
	struct rte_mempool *pool;
	pthread_t thread;
	_Atomic int tid;
	_Atomic int ready;
	char err[512];
};

static struct end ends[2];
static _Atomic int phase = SETUP;
static _Atomic int link_made;
static _Atomic uint64_t got_frames, got_bytes;
/* receive cost per frame, one sample per call that returned frames; median, so that preemption does not count */
#define RX_SAMPLES (1u << 16)
static uint32_t rx_cost[RX_SAMPLES];
static _Atomic uint32_t rx_costs;
static bool veth;
static const char *kernel_interface = "packet";
static double seconds = 2;
static uint8_t header[54];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_time_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct rte_mbuf *frame(struct end *e, uint32_t payload, bool tso)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(e->pool), *last = m;
	uint32_t left = payload;
	uint8_t *p;
	uint16_t tot = (uint16_t)(40 + payload), be = htons(tot);

	if (!m)
		return NULL;
	p = (uint8_t *)rte_pktmbuf_append(m, 54);
	memcpy(p, header, 54);
	memcpy(p, ends[e == &ends[0]].nd->mac, 6);
	memcpy(p + 6, e->nd->mac, 6);
	memcpy(p + 16, &be, 2);
	while (left) {
		uint16_t take = (uint16_t)MIN(left, (uint32_t)rte_pktmbuf_tailroom(last));

		if (!take) {
			struct rte_mbuf *s = rte_pktmbuf_alloc(e->pool);

			if (!s) {
				rte_pktmbuf_free(m);
				return NULL;
			}
			last->next = s;
			last = s;
			m->nb_segs++;
			continue;
		}
		last->data_len = (uint16_t)(last->data_len + take);
		m->pkt_len += take;
		left -= take;
	}
	m->l2_len = 14;
	m->l3_len = 20;
	m->l4_len = 20;
	m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM;
	{
		uint32_t src, dst;
		uint16_t sum;

		memcpy(&src, p + 26, 4);
		memcpy(&dst, p + 30, 4);
		sum = csum_fold(csum_pseudo4(src, dst, 6, tso ? 0 : (uint16_t)(20 + payload)));
		memcpy(p + 50, &sum, 2);
	}
	if (tso) {
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		m->tso_segsz = 1448;
	}
	return m;
}

static bool ours(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);

	return m->data_len >= 54 && p[12] == 0x08 && p[13] == 0x00 && memcmp(p + 26, header + 26, 8) == 0;
}

static void make_veth(void)
{
	char cmd[256];

	while (!ends[1].tid)
		usleep(1000);
	snprintf(cmd, sizeof(cmd), "ip link add gzpa type veth peer name gzpb && ip link set gzpb netns %d && "
		 "ip link set lo up && ip link set gzpa up && nsenter -t %d -n ip link set gzpb up", ends[1].tid, ends[1].tid);
	if (system(cmd)) {
		fprintf(stderr, "virtual link cannot be made: `ip link` failed (root, or a user namespace, needed)\n");
		exit(1);
	}
	link_made = 1;
}

static void *end_main(void *arg)
{
	struct end *e = arg;
	struct netdev_request req = { .device = e->device, .kernel_interface = kernel_interface, .nb_queues = 1,
				      .rx_desc = 1024, .tx_desc = 1024, .pools = { e->pool } };
	struct rte_mbuf *m[NETDEV_BURST];
	cpu_set_t set;
	int r;

	CPU_ZERO(&set);
	CPU_SET((size_t)e->cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	RTE_PER_LCORE(_lcore_id) = e->lcore; /* so that the pool's per-core cache is used */
	if (veth && unshare(CLONE_NEWNET)) {
		perror("unshare(CLONE_NEWNET)");
		exit(1);
	}
	e->tid = (int)syscall(SYS_gettid);
	if (veth && e == &ends[0])
		make_veth();
	while (veth && !link_made)
		usleep(1000);
	if (e->device && strchr(e->device, ',')) {
		char *args = strchr(strdup(e->device), ','), *dev = args - (strchr(e->device, ',') - e->device);

		while (e == &ends[1] && !ends[0].ready) /* the first end's socket exists then */
			usleep(1000);
		*args++ = '\0';
		r = rte_vdev_init(dev, args);
		if (r) {
			fprintf(stderr, "device %s(%s): %s\n", dev, args, rte_strerror(-r));
			exit(1);
		}
		req.device = dev;
	}
	r = netdev_open(&e->nd, &req, e->err, sizeof(e->err));
	if (r) {
		fprintf(stderr, "%s\n", e->err);
		exit(1);
	}
	e->ready = 1;
	if (e == &ends[0])
		return NULL;
	/* the far end: echoes in RTT, counts otherwise */
	while (phase != DONE) {
		int ph = phase;
		uint64_t frames = 0, bytes = 0, t0 = now_ns();
		uint16_t n = netdev_rx(e->nd, 0, m, NETDEV_BURST);

		if (n) {
			uint32_t at = rx_costs;

			rx_cost[at % RX_SAMPLES] = (uint32_t)((now_ns() - t0) / n);
			rx_costs = at + 1;
		}

		for (uint16_t i = 0; i < n; i++) {
			if (!ours(m[i])) {
				rte_pktmbuf_free(m[i]);
				continue;
			}
			frames++;
			bytes += m[i]->pkt_len;
			if (ph == RTT) {
				uint8_t *p = rte_pktmbuf_mtod(m[i], uint8_t *);

				memcpy(p, p + 6, 6);
				memcpy(p + 6, e->nd->mac, 6);
				m[i]->ol_flags = 0;
				netdev_tx(e->nd, 0, m[i]);
			} else {
				rte_pktmbuf_free(m[i]);
			}
		}
		netdev_flush(e->nd, 0);
		if (frames) {
			got_frames += frames;
			got_bytes += bytes;
		}
	}
	return NULL;
}

static int cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int cmp32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t rx_median(void)
{
	uint32_t n = MIN(rx_costs, RX_SAMPLES);

	qsort(rx_cost, n, sizeof(rx_cost[0]), cmp32);
	rx_costs = 0;
	return n ? rx_cost[n / 2] : 0;
}

static void run_rtt(struct end *e, double *p50, double *p99)
{
	uint64_t stop = now_ns() + (uint64_t)(seconds * 1e9), *t = calloc(4000000, sizeof(*t));
	struct rte_mbuf *m[NETDEV_BURST];
	size_t n = 0;

	while (now_ns() < stop && n < 4000000) {
		struct rte_mbuf *f = frame(e, 64, false);
		uint64_t t0 = now_ns();
		bool back = false;

		if (!f)
			break;
		netdev_tx(e->nd, 0, f);
		netdev_flush(e->nd, 0);
		while (!back && now_ns() - t0 < 10000000) {
			uint16_t k = netdev_rx(e->nd, 0, m, NETDEV_BURST);

			for (uint16_t i = 0; i < k; i++)
				back |= ours(m[i]);
			rte_pktmbuf_free_bulk(m, k);
		}
		if (back)
			t[n++] = now_ns() - t0;
	}
	qsort(t, n, sizeof(*t), cmp);
	*p50 = n ? (double)t[n / 2] / 1000 : 0;
	*p99 = n ? (double)t[n * 99 / 100] / 1000 : 0;
	free(t);
}

/* cpu_ns: the sender's CPU time per frame, system calls included: comparable even on a machine that has other work */
static void run_send(struct end *e, uint32_t payload, bool tso, double *mpps, double *gbps, double *loss, double *cpu_ns)
{
	uint64_t f0, b0, t0 = now_ns(), stop = t0 + (uint64_t)(seconds * 1e9), sent = 0, t1, tx0;
	struct rte_mbuf *m[NETDEV_BURST];

	uint64_t c0 = cpu_time_ns();

	rx_costs = 0;
	f0 = got_frames;
	b0 = got_bytes;
	tx0 = e->nd->queues[0].stats.tx_pkts;
	while (now_ns() < stop) {
		unsigned want = tso ? 4 : 32;

		if (netdev_tx_room(e->nd, 0) >= want)
			while (want--) {
				struct rte_mbuf *f = frame(e, payload, tso);

				if (f)
					netdev_tx(e->nd, 0, f);
			}
		netdev_flush(e->nd, 0);
		rte_pktmbuf_free_bulk(m, netdev_rx(e->nd, 0, m, NETDEV_BURST));
	}
	t1 = now_ns();
	c0 = cpu_time_ns() - c0;
	usleep(50000);
	sent = e->nd->queues[0].stats.tx_pkts - tx0;
	*mpps = (double)(got_frames - f0) * 1000 / (double)(t1 - t0);
	*gbps = (double)(got_bytes - b0) * 8 / (double)(t1 - t0);
	*cpu_ns = sent ? (double)c0 / (double)sent : 0;
	*loss = sent ? 1 - (double)(got_frames - f0) / (double)sent : 0;
}

int main(int argc, char **argv)
{
	static const uint8_t hdr[54] = { [12] = 0x08, [14] = 0x45, [22] = 64, [23] = 6, [26] = 10, 99, 0, 1, 10, 99, 0, 2,
					 [34] = 0x30, 0x39, 0x00, 0x50, [46] = 0x50, 0x10, 0xff, 0xff };
	double p50, p99, mpps[3], gbps[3], loss[3], cpu[3];
	const char *name;
	uint64_t v;
	int used = rte_eal_init(argc, argv), n = 0;

	signal(SIGPIPE, SIG_IGN); /* a driver whose peer was closed first writes to its socket */
	if (used < 0) {
		fprintf(stderr, "EAL cannot start: see its messages (try --no-huge -m 256 --no-pci)\n");
		return 1;
	}
	for (int i = used + 1; i < argc; i++) {
		if (!strcmp(argv[i], "--veth"))
			veth = true;
		else if (!strcmp(argv[i], "--xdp"))
			kernel_interface = "xdp";
		else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
			seconds = atof(argv[++i]);
		else if (n < 2)
			ends[n++].device = argv[i];
	}
	if (veth) {
		ends[0].device = "gzpa";
		ends[1].device = "gzpb";
	} else if (n != 2) {
		fprintf(stderr, "usage: %s [EAL options] -- --veth | DEVICE_A DEVICE_B  [--xdp] [--seconds S]\n", argv[0]);
		return 2;
	}
	memcpy(header, hdr, sizeof(header));
	if (pkt_init())
		return 1;
	for (int i = 0; i < 2; i++) {
		char pool[16];

		snprintf(pool, sizeof(pool), "end%d", i);
		ends[i].pool = mbuf_pool_create(pool, POOL_BUFFERS, ROOM, SOCKET_ID_ANY);
		ends[i].cpu = i % (int)sysconf(_SC_NPROCESSORS_ONLN);
		ends[i].lcore = (unsigned)(RTE_MAX_LCORE - 2 + i);
		if (!ends[i].pool) {
			fprintf(stderr, "pool of %d buffers: %s: give EAL more memory (-m 256)\n", POOL_BUFFERS,
				rte_strerror(rte_errno));
			return 1;
		}
	}
	for (int i = 1; i >= 0; i--)
		if (pthread_create(&ends[i].thread, NULL, end_main, &ends[i]))
			return 1;
	while (!ends[0].ready || !ends[1].ready)
		usleep(1000);
	pthread_join(ends[0].thread, NULL);
	{
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)ends[0].cpu, &set);
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
		RTE_PER_LCORE(_lcore_id) = ends[0].lcore;
	}
	for (int i = 0; i < 100 && !(ends[0].nd->link_up && ends[1].nd->link_up); i++) {
		usleep(30000);
		for (int k = 0; k < 2; k++)
			if (ends[k].nd->ops->housekeeping)
				ends[k].nd->ops->housekeeping(ends[k].nd);
	}
	usleep(300000);
	printf("device %s (%s) - %s, TSO %u bytes, %u segments\n", ends[0].nd->name, ends[0].nd->ops->kind,
	       ends[1].nd->name, ends[0].nd->tso_max_bytes, ends[0].nd->tx_max_segs);
	phase = RTT;
	run_rtt(&ends[0], &p50, &p99);
	printf("round trip of 118 bytes: p50 %.1f us, p99 %.1f us\n", p50, p99);
	phase = SMALL;
	run_send(&ends[0], 10, false, &mpps[0], &gbps[0], &loss[0], &cpu[0]);
	printf("64 byte frames:   %6.3f M/s, lost %.1f %%, tx %.0f ns, rx %u ns each\n", mpps[0], loss[0] * 100, cpu[0], rx_median());
	phase = FULL;
	run_send(&ends[0], 1446, false, &mpps[1], &gbps[1], &loss[1], &cpu[1]);
	printf("1500 byte frames: %6.3f M/s, %6.2f Gbit/s, lost %.1f %%, tx %.0f ns, rx %u ns each\n", mpps[1], gbps[1], loss[1] * 100, cpu[1], rx_median());
	phase = BIG;
	mpps[2] = gbps[2] = loss[2] = 0;
	if (ends[0].nd->tso_max_bytes) {
		run_send(&ends[0], MIN(ends[0].nd->tso_max_bytes, 60000u), true, &mpps[2], &gbps[2], &loss[2], &cpu[2]);
		printf("large frames:     %6.3f M/s, %6.2f Gbit/s, lost %.1f %%, tx %.0f ns, rx %u ns each\n", mpps[2], gbps[2], loss[2] * 100, cpu[2], rx_median());
	}
	printf("{\"device\":\"%s\",\"kind\":\"%s\",\"rtt_p50_us\":%.2f,\"rtt_p99_us\":%.2f,\"small_mpps\":%.4f,"
	       "\"full_gbps\":%.3f,\"large_gbps\":%.3f,\"small_tx_cpu_ns\":%.0f,\"full_tx_cpu_ns\":%.0f,"
	       "\"large_tx_cpu_ns\":%.0f}\n", ends[0].nd->name, ends[0].nd->ops->kind, p50, p99, mpps[0], gbps[1], gbps[2],
	       cpu[0], cpu[1], cpu[2]);
	phase = DONE;
	pthread_join(ends[1].thread, NULL);
	for (int i = 0; i < 2; i++) {
		if (ends[i].nd->ops->housekeeping)
			ends[i].nd->ops->housekeeping(ends[i].nd);
		for (unsigned k = 0; ends[i].nd->ops->xstat && ends[i].nd->ops->xstat(ends[i].nd, k, &name, &v); k++)
			if (v)
				printf("  %s: %s %lu\n", ends[i].nd->name, name, (unsigned long)v);
		netdev_close(ends[i].nd);
	}
	rte_eal_cleanup();
	return 0;
}

/* test_dpdk_ports.c - DPDK's virtual devices behind the netdev interface, each opened as boot opens it.
 *
 * Two processes over vhost/virtio-user (the second is this program again), a memif pair, a ring and null device in one,
 * and net_tap with the kernel as peer (own network namespace; that test is skipped where it may not be made). Every frame's
 * bytes and checksum results are verified by code that knows nothing of the devices.
 */
#include "base/csum.h"
#include "netdev/netdev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define POOL 8191
#define PEER_FACTOR 14u
#define PEER_TSO (1460u * PEER_FACTOR)

static struct rte_mempool *pool;
static char dir[64];
static char **self_argv;
static int peer_pid;
static bool have_tap;

static uint8_t pattern(uint32_t at, uint32_t seed)
{
	return (uint8_t)(((at + 1) * 2654435761u + seed * 40503u) >> 13);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct netdev *open_device(const char *name)
{
	struct netdev_request req = { .device = name, .nb_queues = 1, .rx_desc = 512, .tx_desc = 512, .want_irq = true,
				      .pools = { pool } };
	struct netdev *nd = NULL;
	char err[512] = "";

	if (netdev_open(&nd, &req, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		return NULL;
	}
	return nd;
}

/* An Ethernet+IPv4+TCP frame as the engine makes it, payload by pattern; TSO when longer than a packet. */
static struct rte_mbuf *make_frame(struct netdev *nd, uint32_t payload, uint32_t seed, bool reply)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool), *last = m;
	bool tso = payload > 1460;
	uint32_t src = htonl(0x0a630001u + reply), dst = htonl(0x0a630002u - reply);
	uint8_t *p;
	uint16_t sum;

	if (!m)
		return NULL;
	p = rte_pktmbuf_mtod(m, uint8_t *);
	m->data_len = 54;
	m->pkt_len = 54;
	memset(p, 0, 54);
	memset(p, 0xff, 6);
	p[6] = 2;
	p[12] = 8;
	p[14] = 0x45;
	p[16] = (uint8_t)((payload + 40) >> 8);
	p[17] = (uint8_t)(payload + 40);
	memcpy(p + 18, &(uint16_t){ (uint16_t)seed }, 2);
	p[22] = 64;
	p[23] = 6;
	memcpy(p + 26, &src, 4);
	memcpy(p + 30, &dst, 4);
	memcpy(p + 38, &seed, 4);
	p[46] = 0x50;
	p[47] = 0x10;
	m->l2_len = 14;
	m->l3_len = 20;
	m->l4_len = 20;
	m->ol_flags |= RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM;
	if (tso) {
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
		m->tso_segsz = 1448;
	}
	sum = csum_fold(csum_pseudo4(src, dst, 6, tso ? 0 : (uint16_t)(20 + payload)));
	memcpy(p + 50, &sum, 2);
	for (uint32_t at = 0; at < payload;) {
		uint32_t n = MIN(payload - at, (uint32_t)rte_pktmbuf_tailroom(last));

		n = MIN(n, 1100u); /* pieces as a send queue has them */
		if (n == 0 || (last != m && last->data_len)) {
			struct rte_mbuf *s = rte_pktmbuf_alloc(pool);

			if (!s) {
				rte_pktmbuf_free(m);
				return NULL;
			}
			last->next = s;
			last = s;
			m->nb_segs++;
			continue;
		}
		uint8_t *d = rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len);

		for (uint32_t i = 0; i < n; i++)
			d[i] = pattern(at + i, seed);
		last->data_len = (uint16_t)(last->data_len + n);
		m->pkt_len += n;
		at += n;
		if (last == m)
			n = 0;
		if (at < payload && last == m) {
			struct rte_mbuf *s = rte_pktmbuf_alloc(pool);

			if (!s) {
				rte_pktmbuf_free(m);
				return NULL;
			}
			last->next = s;
			last = s;
			m->nb_segs++;
		}
	}
	return m;
}

/* The payload's length if the frame is one of make_frame(), whole and vouched for; UINT32_MAX: not one of ours; UINT32_MAX - 1: damaged. */
static uint32_t check_frame(struct rte_mbuf *m, uint32_t *seed)
{
	static uint8_t flat[70000];
	const uint8_t *p = rte_pktmbuf_read(m, 0, m->pkt_len, flat);
	uint32_t payload, src, dst;

	if (!p || m->pkt_len < 54 || p[12] != 8 || p[13] != 0 || p[23] != 6 || p[26] != 10 || p[27] != 99)
		return UINT32_MAX;
	payload = ((uint32_t)p[16] << 8 | p[17]) - 40;
	memcpy(seed, p + 38, 4);
	if (m->pkt_len < 54 + payload)
		return UINT32_MAX - 1;
	for (uint32_t i = 0; i < payload; i++)
		if (p[54 + i] != pattern(i, *seed))
			return UINT32_MAX - 1;
	/* the header's sum: by flag or by sum */
	if (!(m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_GOOD) && csum_flat(p + 14, 20) != 0)
		return UINT32_MAX - 1;
	if ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_BAD)
		return UINT32_MAX - 1;
	memcpy(&src, p + 26, 4);
	memcpy(&dst, p + 30, 4);
	if (!(m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_GOOD) &&
	    csum_fold(csum_mbuf(m, 34, payload + 20, csum_pseudo4(src, dst, 6, (uint16_t)(payload + 20)))) != 0xffff)
		return UINT32_MAX - 1;
	return payload;
}

/* As an idle stack sleeps: arm, look again, sleep, acknowledge. False: time ran out. */
static bool sleep_on(struct netdev *nd, int ms)
{
	struct pollfd p = { .fd = nd->ops->wait_fd(nd, 0), .events = POLLIN };
	bool woken = true;

	assert_true(p.fd >= 0);
	nd->ops->irq_enable(nd, 0, true);
	if (!nd->ops->rx_pending || !nd->ops->rx_pending(nd, 0)) {
		woken = poll(&p, 1, ms) > 0;
		if (woken)
			nd->ops->irq_ack(nd, 0);
	}
	nd->ops->irq_enable(nd, 0, false);
	return woken;
}

static uint32_t same(uint32_t size)
{
	return size;
}

/* What the peer behind virtio-user answers: it may leave segmentation to the device, which to this process means frames whole. */
static uint32_t enlarged(uint32_t size)
{
	return size < 1000 ? size : size * PEER_FACTOR;
}

/* Sends frames of many sizes on a and takes each on b (which may be a, looped or echoed by a peer). */
static void exchange(struct netdev *a, struct netdev *b, uint32_t largest, uint32_t (*reply)(uint32_t), bool sleepy)
{
	struct rte_mbuf *m[NETDEV_BURST];
	uint32_t seed = 0, size = 1, missed = 0;

	while (size <= largest) {
		struct rte_mbuf *f = make_frame(a, size, ++seed, false);
		uint64_t until = now_ms() + 3000;
		bool back = false;

		assert_non_null(f);
		netdev_tx(a, 0, f);
		while (!back && now_ms() < until) {
			uint16_t n;

			netdev_flush(a, 0);
			n = netdev_rx(b, 0, m, NETDEV_BURST);
			if (n == 0 && sleepy) {
				missed += !sleep_on(b, 1000);
				n = netdev_rx(b, 0, m, NETDEV_BURST);
			}
			for (uint16_t i = 0; i < n; i++) {
				uint32_t s = 0, got = check_frame(m[i], &s);

				if (got == UINT32_MAX)
					continue;
				assert_int_not_equal(got, UINT32_MAX - 1);
				assert_int_equal(got, reply(size));
				assert_int_equal(s, seed);
				back = true;
			}
			rte_pktmbuf_free_bulk(m, n);
		}
		if (!back)
			fail_msg("frame of %u bytes did not come back", size);
		/* a wake-up that never comes shows as a wait of a second */
		assert_true(missed < 3);
		size = size < 40 ? size + 1 : size < 1400 ? size + 37 : size < 1460 ? size + 1 : size + 997;
	}
}

static void ring_device_loops_frames(void **state)
{
	struct netdev *nd = open_device("net_ring0");

	assert_non_null(nd);
	assert_int_equal(nd->ops->wait_fd(nd, 0), -1);
	assert_int_equal(nd->tso_max_bytes, 0);
	exchange(nd, nd, 1460, same, false);
	netdev_close(nd);
}

static void null_device_takes_and_gives(void **state)
{
	struct netdev *nd = open_device("net_null0");
	struct rte_mbuf *m[NETDEV_BURST];
	uint16_t n;

	assert_non_null(nd);
	n = netdev_rx(nd, 0, m, NETDEV_BURST);
	assert_true(n > 0);
	for (uint16_t i = 0; i < n; i++)
		netdev_tx(nd, 0, m[i]);
	assert_int_equal(netdev_flush(nd, 0), 0);
	assert_int_equal(nd->queues[0].stats.tx_pkts, n);
	netdev_close(nd);
}

static bool wait_link(struct netdev *nd, bool up, int ms)
{
	uint64_t until = now_ms() + (uint64_t)ms;

	while (now_ms() < until) {
		struct rte_mbuf *m[NETDEV_BURST];

		nd->ops->housekeeping(nd);
		rte_pktmbuf_free_bulk(m, netdev_rx(nd, 0, m, NETDEV_BURST));
		if (nd->link_up == up)
			return true;
		usleep(10000);
	}
	return false;
}

static void memif_pair_carries_frames(void **state)
{
	struct netdev *a = open_device("net_memif0"), *b = open_device("net_memif1");

	assert_non_null(a);
	assert_non_null(b);
	assert_true(wait_link(a, true, 5000));
	assert_true(wait_link(b, true, 5000));
	exchange(a, b, 1460, same, false);
	exchange(b, a, 1460, same, false);
	netdev_close(b);
	/* the peer is gone: link down, frames lost instead of kept */
	assert_true(wait_link(a, false, 5000));
	for (unsigned i = 0; i < 300; i++)
		netdev_tx(a, 0, make_frame(a, 100, i, false));
	assert_int_equal(netdev_flush(a, 0), 0);
	assert_int_equal(a->queues[0].stats.tx_drop, 300);
	netdev_close(a);
}

/* The other process: echoes every frame of ours, made anew, for as long as the parent lives. */
static int peer_main(const char *path, const char *mode)
{
	char vdev[200], *args[] = { "peer", "--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry",
				    "--log-level=error", "--vdev", vdev };
	struct netdev *nd;
	bool sleepy = !strcmp(mode, "sleep");

	alarm(60);
	snprintf(vdev, sizeof(vdev), "net_virtio_user0,path=%s,queues=1,queue_size=512", path);
	if (rte_eal_init(ARRAY_SIZE(args), args) < 0 || pkt_init())
		return 1;
	pool = mbuf_pool_create("peer", POOL, 2048, SOCKET_ID_ANY);
	nd = pool ? open_device("net_virtio_user0") : NULL;
	if (!nd)
		return 2;
	if (nd->tso_max_bytes < PEER_TSO || !(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM))
		return 3;
	while (getppid() != 1) {
		struct rte_mbuf *m[NETDEV_BURST];
		uint16_t n = netdev_rx(nd, 0, m, NETDEV_BURST);

		if (n == 0 && sleepy) {
			sleep_on(nd, 2000);
			continue;
		}
		for (uint16_t i = 0; i < n; i++) {
			uint32_t seed, len = check_frame(m[i], &seed);

			if (len == UINT32_MAX - 1)
				return 5;
			if (len != UINT32_MAX) {
				struct rte_mbuf *f = make_frame(nd, enlarged(len), seed, true);

				if (f)
					netdev_tx(nd, 0, f);
			}
			rte_pktmbuf_free(m[i]);
		}
		netdev_flush(nd, 0);
	}
	return 0;
}

static void start_peer(const char *mode)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/vhost", dir);
	peer_pid = fork();
	if (peer_pid == 0) {
		execl("/proc/self/exe", self_argv[0], "--peer", path, mode, (char *)NULL);
		_exit(127);
	}
}

static void stop_peer(void)
{
	kill(peer_pid, SIGKILL);
	waitpid(peer_pid, NULL, 0);
}

static void vhost_pair_of_processes_negotiates_checksum_and_segmentation(void **state)
{
	struct netdev *nd = open_device("net_vhost0");
	int st;

	assert_non_null(nd);
	assert_true(nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM);
	start_peer("poll");
	assert_true(wait_link(nd, true, 10000));
	usleep(200000);
	exchange(nd, nd, 1460, enlarged, false);
	assert_int_equal(waitpid(peer_pid, &st, WNOHANG), 0);
	/* killed in the middle: link down, no frame kept for ever; a new peer connects */
	stop_peer();
	assert_true(wait_link(nd, false, 5000));
	for (unsigned i = 0; i < 300; i++)
		netdev_tx(nd, 0, make_frame(nd, 100, i, false));
	assert_int_equal(netdev_flush(nd, 0), 0);
	start_peer("sleep");
	assert_true(wait_link(nd, true, 10000));
	usleep(200000);
	exchange(nd, nd, 1460, enlarged, true);
	stop_peer();
	netdev_close(nd);
}

/* DPDK writes to the peer's socket while it closes: the program must not die of SIGPIPE. */
static unsigned kept; /* receive buffers of a port that is stopped but not closed (port_open.c says why) */

static void port_whose_peer_is_gone_closes_without_a_signal(void **state)
{
	unsigned before = rte_mempool_avail_count(pool);
	char args[160];
	struct netdev *a, *b;
	sigset_t pending;

	snprintf(args, sizeof(args), "iface=%s/vhost1,queues=1", dir);
	assert_int_equal(rte_vdev_init("net_vhost1", args), 0);
	a = open_device("net_vhost1");
	assert_non_null(a);
	snprintf(args, sizeof(args), "path=%s/vhost1,queues=1", dir);
	assert_int_equal(rte_vdev_init("net_virtio_user1", args), 0);
	b = open_device("net_virtio_user1");
	assert_non_null(b);
	assert_true(wait_link(a, true, 5000));
	netdev_close(a);
	netdev_close(b);
	kept = before - rte_mempool_avail_count(pool);
	sigpending(&pending);
	assert_false(sigismember(&pending, SIGPIPE));
}

static void tap_exchanges_frames_with_the_kernel(void **state)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct rte_mbuf *m[NETDEV_BURST], *f;
	struct timeval limit = { .tv_sec = 2 };
	static uint8_t buf[2000];
	struct netdev *nd;
	bool seen = false;
	int s, fd;

	if (!have_tap)
		skip();
	nd = open_device("net_tap0");
	assert_non_null(nd);
	assert_true(nd->kernel_ifindex != 0);
	assert_true(wait_link(nd, true, 3000));
	s = socket(AF_PACKET, SOCK_RAW, 0);
	a.sll_ifindex = nd->kernel_ifindex;
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	/* out: the kernel sees the frame with a finished checksum */
	netdev_tx(nd, 0, make_frame(nd, 1000, 7, false));
	netdev_flush(nd, 0);
	while (!seen) {
		ssize_t n = recv(s, buf, sizeof(buf), 0);

		assert_true(n > 0);
		f = rte_pktmbuf_alloc(pool);
		memcpy(rte_pktmbuf_append(f, (uint16_t)n), buf, (size_t)n);
		uint32_t seed, len = check_frame(f, &seed);

		rte_pktmbuf_free(f);
		assert_int_not_equal(len, UINT32_MAX - 1);
		seen = len == 1000 && seed == 7;
	}
	/* in: sleeps on the descriptor, and looking at it takes no frame away */
	fd = nd->ops->wait_fd(nd, 0);
	assert_true(fd >= 0);
	while (netdev_rx(nd, 0, m, NETDEV_BURST))
		;
	assert_int_equal(send(s, buf, 1054, 0), 1054);
	seen = false;
	for (int i = 0; i < 100 && !seen; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint16_t n;

		nd->ops->irq_enable(nd, 0, true);
		if (poll(&p, 1, 1000) > 0)
			nd->ops->irq_ack(nd, 0);
		nd->ops->irq_enable(nd, 0, false);
		n = netdev_rx(nd, 0, m, NETDEV_BURST);
		for (uint16_t k = 0; k < n; k++) {
			uint32_t seed, len = check_frame(m[k], &seed);

			seen |= len == 1000 && seed == 7;
			rte_pktmbuf_free(m[k]);
		}
	}
	assert_true(seen);
	close(s);
	netdev_close(nd);
}

static void unknown_device_is_explained(void **state)
{
	struct netdev_request req = { .nb_queues = 1, .pools = { pool } };
	struct netdev *nd = NULL;
	char err[512] = "";

	assert_int_not_equal(netdev_open(&nd, &req, err, sizeof(err)), 0); /* several ports, none named */
	assert_non_null(strstr(err, "devices"));
	req.nb_queues = 0;
	req.device = "net_ring0";
	assert_int_equal(netdev_open(&nd, &req, err, sizeof(err)), -EINVAL);
}

static void every_buffer_came_back(void **state)
{
	assert_int_equal(rte_mempool_avail_count(pool) + kept, POOL);
}

int main(int argc, char **argv)
{
	static char vhost[120];
	char *args[32] = { "test", "--no-huge", "-m", "128", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=error",
			   "--vdev", "net_ring0", "--vdev", "net_null0", "--vdev", NULL,
			   "--vdev", NULL, "--vdev", vhost };
	static char memif[2][200];
	int n = 18, r;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_device_is_explained),
		cmocka_unit_test(ring_device_loops_frames),
		cmocka_unit_test(null_device_takes_and_gives),
		cmocka_unit_test(memif_pair_carries_frames),
		cmocka_unit_test(vhost_pair_of_processes_negotiates_checksum_and_segmentation),
		cmocka_unit_test(port_whose_peer_is_gone_closes_without_a_signal),
		cmocka_unit_test(tap_exchanges_frames_with_the_kernel),
		cmocka_unit_test(every_buffer_came_back),
	};

	self_argv = argv;
	if (argc == 4 && !strcmp(argv[1], "--peer"))
		return peer_main(argv[2], argv[3]);
	alarm(120);
	snprintf(dir, sizeof(dir), "%s/gz-ports-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(dir))
		return 1;
	snprintf(vhost, sizeof(vhost), "net_vhost0,iface=%s/vhost,queues=1,tso=1", dir);
	for (int i = 0; i < 2; i++) {
		snprintf(memif[i], sizeof(memif[i]), "net_memif%d,role=%s,id=0,socket=%s/memif,socket-abstract=no", i,
			 i ? "client" : "server", dir);
		args[13 + 2 * i] = memif[i];
	}
	have_tap = access("/dev/net/tun", R_OK | W_OK) == 0 && unshare(CLONE_NEWNET) == 0;
	if (have_tap) {
		args[n++] = "--vdev";
		args[n++] = "net_tap0,iface=gztap0";
	}
	if (rte_eal_init(n, args) < 0 || pkt_init())
		return 1;
	pool = mbuf_pool_create("t", POOL, 2048, SOCKET_ID_ANY);
	if (!pool)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		char path[100];

		snprintf(path, sizeof(path), "%s/%s", dir, i ? "vhost" : "memif");
		unlink(path);
	}
	rmdir(dir);
	return r;
}

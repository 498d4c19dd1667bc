/* test_kernel_interface.c - the kernel-interface backend with Linux as the peer.
 *
 * In namespaces of its own (root, or a user namespace; exits 77 where neither is allowed):
 *
 *	client (kernel) ka ==== pa [this process] pb ==== kb server (kernel)
 *
 * The process relays every frame between pa and pb through netdev_rx()/netdev_tx() as an engine would send it: large
 * frames by TSO, checksums left to the device. So Linux's own TCP and UDP, at both ends and with default offloads,
 * judge what the backend does to frames in either direction.
 */
#include "base/csum.h"
#include "netdev/ifinfo.h"
#include "netdev/netdev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udp.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
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

#define SKIP 77
#define CLIENT_IP "10.77.0.1"
#define SERVER_IP "10.77.0.2"
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static struct rte_mempool *pool;
static struct netdev *dev[2]; /* pa, pb */
static int client_pid, server_pid; /* sleepers that hold the namespaces open */
static _Atomic bool relay_stop;
static uint32_t longest[2];
static uint64_t tso_frames[2], odd_frames;
static unsigned nb_queues = 1;

static int sh(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Turns a received frame into one to be sent, as the engine would have made it. */
static bool as_output(struct rte_mbuf *m, unsigned from)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *), *ip = p + 14, *l4;
	uint32_t ihl, l4_len, src, dst;
	uint64_t rx = m->ol_flags;
	uint16_t sum;

	longest[from] = MAX(longest[from], m->pkt_len);
	m->ol_flags = 0;
	if (m->data_len < 34 || get16(p + 12) != 0x0800)
		return true;
	ihl = (ip[0] & 15) * 4u;
	if (get16(ip + 2) + 14u > m->pkt_len || get16(ip + 6) & 0x3fff)
		return true; /* fragments: as they are */
	if ((ip[9] != 6 && ip[9] != 17) || m->data_len < 14 + ihl + (ip[9] == 6 ? 20 : 8))
		return true;
	l4 = ip + ihl;
	l4_len = get16(ip + 2) - ihl;
	memcpy(&src, ip + 12, 4);
	memcpy(&dst, ip + 16, 4);
	if (!(rx & RTE_MBUF_F_RX_L4_CKSUM_GOOD)) {
		/* not vouched for: must be right as it is */
		if (csum_fold(csum_mbuf(m, 14 + ihl, l4_len, csum_pseudo4(src, dst, ip[9], (uint16_t)l4_len))) != 0xffff)
			odd_frames++;
		return true;
	}
	m->l2_len = 14;
	m->l3_len = ihl & 0x1ff;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
	if (ip[9] == 6) {
		bool tso = rx & RTE_MBUF_F_RX_LRO;

		m->l4_len = (l4[12] >> 4) * 4u;
		m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
		if (tso) {
			m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
			tso_frames[from]++;
		}
		sum = csum_fold(csum_pseudo4(src, dst, 6, tso ? 0 : (uint16_t)l4_len));
		memcpy(l4 + 16, &sum, 2);
	} else {
		m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
		sum = csum_fold(csum_pseudo4(src, dst, 17, (uint16_t)l4_len));
		memcpy(l4 + 6, &sum, 2);
	}
	return true;
}

static unsigned relay_once(void)
{
	struct rte_mbuf *m[NETDEV_BURST];
	unsigned work = 0;

	for (unsigned d = 0; d < 2; d++)
		for (uint16_t q = 0; q < dev[d]->nb_queues; q++) {
			uint16_t room = netdev_tx_room(dev[!d], 0), n;

			n = netdev_rx(dev[d], q, m, (uint16_t)MIN(room, NETDEV_BURST));
			work += n;
			for (uint16_t i = 0; i < n; i++)
				if (as_output(m[i], d))
					netdev_tx(dev[!d], 0, m[i]);
			netdev_flush(dev[!d], 0);
		}
	return work;
}

static void *relay_main(void *arg)
{
	struct pollfd fds[2 * NETDEV_MAX_QUEUES];

	while (!relay_stop) {
		unsigned n = 0, idle = 0;

		while (!relay_stop && idle < 200)
			idle = relay_once() ? 0 : idle + 1;
		/* sleeping on the descriptors, as an idle stack does */
		for (unsigned d = 0; d < 2; d++)
			for (uint16_t q = 0; q < dev[d]->nb_queues; q++)
				fds[n++] = (struct pollfd){ .fd = dev[d]->ops->wait_fd(dev[d], q), .events = POLLIN };
		if (poll(fds, n, 20) > 0)
			for (unsigned i = 0; i < n; i++)
				if (fds[i].revents)
					dev[i / dev[0]->nb_queues]->ops->irq_ack(dev[i / dev[0]->nb_queues],
										  (uint16_t)(i % dev[0]->nb_queues));
	}
	return NULL;
}

/* --- the programs at both ends: the kernel's sockets --- */

static void enter_ns(int pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		_exit(10);
	close(fd);
	alarm(60);
}

static uint8_t pattern(uint64_t at, uint32_t seed)
{
	at = (at + seed) * 0x9e3779b97f4a7c15u;
	return (uint8_t)(at >> 40);
}

static struct sockaddr_in addr(const char *ip, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

static int connected(const char *ip, uint16_t port)
{
	struct sockaddr_in a = addr(ip, port);

	for (int i = 0; i < 200; i++) {
		int s = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(s, (struct sockaddr *)&a, sizeof(a)) == 0)
			return s;
		close(s);
		usleep(20000);
	}
	_exit(11);
}

static int accepted(uint16_t port)
{
	struct sockaddr_in a = addr("0.0.0.0", port);
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 5))
		_exit(12);
	return accept(s, NULL, NULL);
}

static void send_stream(int s, uint64_t total, uint32_t seed)
{
	static uint8_t buf[200000];
	uint64_t at = 0;

	while (at < total) {
		/* writes of every size, so that frames of every size leave */
		size_t n = 1 + (at * 2654435761u >> 7) % sizeof(buf), done = 0;

		n = MIN(n, total - at);
		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(at + i, seed);
		while (done < n) {
			ssize_t r = write(s, buf + done, n - done);

			if (r <= 0)
				_exit(13);
			done += (size_t)r;
		}
		at += n;
	}
	shutdown(s, SHUT_WR);
}

static void check_stream(int s, uint64_t total, uint32_t seed)
{
	static uint8_t buf[200000];
	uint64_t at = 0;

	for (;;) {
		ssize_t r = read(s, buf, sizeof(buf));

		if (r < 0)
			_exit(14);
		if (r == 0)
			break;
		for (ssize_t i = 0; i < r; i++)
			if (buf[i] != pattern(at + (uint64_t)i, seed))
				_exit(15);
		at += (uint64_t)r;
	}
	if (at != total)
		_exit(16);
}

static int start(int ns_pid, void (*run)(void))
{
	int pid = fork();

	if (pid == 0) {
		enter_ns(ns_pid);
		run();
		_exit(0);
	}
	return pid;
}

static int result(int pid)
{
	int st;

	if (waitpid(pid, &st, 0) != pid)
		return -1;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

static void run_pair(void (*server)(void), void (*client)(void))
{
	pthread_t t;
	int s, c, rs, rc;

	relay_stop = false;
	assert_int_equal(pthread_create(&t, NULL, relay_main, NULL), 0);
	s = start(server_pid, server);
	usleep(100000);
	c = start(client_pid, client);
	rc = result(c);
	if (rc)
		kill(s, SIGKILL);
	rs = result(s);
	relay_stop = true;
	pthread_join(t, NULL);
	assert_int_equal(rc, 0);
	assert_int_equal(rs, 0);
}

#define STREAM_BYTES (60u << 20)

static void tcp_server(void)
{
	int s = accepted(5001);

	check_stream(s, STREAM_BYTES, 1);
	send_stream(s, STREAM_BYTES, 2);
}

static void tcp_client(void)
{
	int s = connected(SERVER_IP, 5001);

	send_stream(s, STREAM_BYTES, 1);
	check_stream(s, STREAM_BYTES, 2);
}

static void tcp_streams_pass_unharmed_both_ways_in_large_frames(void **state)
{
	memset(longest, 0, sizeof(longest));
	memset(tso_frames, 0, sizeof(tso_frames));
	run_pair(tcp_server, tcp_client);
	for (int d = 0; d < 2; d++) {
		assert_true(tso_frames[d] > 100);
		assert_true(longest[d] > 40000); /* whole, not cut into segments */
	}
	assert_int_equal(odd_frames, 0);
}

static void udp_echo_server(void)
{
	static uint8_t buf[70000];
	struct sockaddr_in a = addr("0.0.0.0", 5002), from;
	int s = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;

	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(s, (struct sockaddr *)&a, sizeof(a)))
		_exit(20);
	for (;;) {
		socklen_t n = sizeof(from);
		ssize_t r = recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &n);

		if (r < 0)
			_exit(21);
		if (sendto(s, buf, (size_t)r, 0, (struct sockaddr *)&from, n) != r)
			_exit(22);
		if (r == 3 && !memcmp(buf, "end", 3))
			_exit(0);
	}
}

/* Every length up to a full frame, and fragments up to the largest datagram. */
static void udp_client(void)
{
	static uint8_t out[70000], in[70000];
	struct sockaddr_in a = addr(SERVER_IP, 5002);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct timeval limit = { .tv_sec = 5 };

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(s, (struct sockaddr *)&a, sizeof(a)))
		_exit(23);
	for (uint32_t n = 0; n <= 65507; n += n < 1600 ? 1 : n < 64000 ? 4001 : 1507) {
		if (n > 64000 && n < 65507)
			n = 65507;
		for (uint32_t i = 0; i < n; i++)
			out[i] = pattern(i, n);
		if (n == 3)
			continue;
		if (send(s, out, n, 0) != (ssize_t)n)
			_exit(24);
		if (recv(s, in, sizeof(in), 0) != (ssize_t)n || memcmp(in, out, n))
			_exit(25);
	}
	send(s, "end", 3, 0);
	recv(s, in, sizeof(in), 0);
}

static void datagrams_of_all_sizes_pass_unharmed_both_ways(void **state)
{
	run_pair(udp_echo_server, udp_client);
	assert_int_equal(odd_frames, 0);
}

#define JOINED 40
#define JOINED_SIZE 1001

static void joined_server(void)
{
	uint8_t buf[2000];
	struct sockaddr_in a = addr("0.0.0.0", 5003), from;
	socklen_t n = sizeof(from);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct timeval limit = { .tv_sec = 10 };

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (bind(s, (struct sockaddr *)&a, sizeof(a)))
		_exit(30);
	for (unsigned k = 0; k < JOINED; k++) {
		size_t want = k == JOINED - 1 ? 17 : JOINED_SIZE;

		if (recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &n) != (ssize_t)want)
			_exit(31);
		for (size_t i = 0; i < want; i++)
			if (buf[i] != pattern(k * JOINED_SIZE + i, 9))
				_exit(32);
	}
	sendto(s, "ok", 2, 0, (struct sockaddr *)&from, n);
}

static void joined_client(void)
{
	static uint8_t buf[(JOINED - 1) * JOINED_SIZE + 17];
	struct sockaddr_in a = addr(SERVER_IP, 5003);
	int s = socket(AF_INET, SOCK_DGRAM, 0), size = JOINED_SIZE;
	struct timeval limit = { .tv_sec = 10 };

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (setsockopt(s, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)))
		_exit(33);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = pattern(i, 9);
	if (connect(s, (struct sockaddr *)&a, sizeof(a)) || send(s, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf))
		_exit(34);
	if (recv(s, buf, 10, 0) != 2)
		_exit(35);
}

static uint64_t counter(struct netdev *nd, const char *wanted)
{
	const char *name;
	uint64_t v;

	for (unsigned i = 0; nd->ops->xstat(nd, i, &name, &v); i++)
		if (!strcmp(name, wanted))
			return v;
	fail_msg("no counter %s", wanted);
	return 0;
}

static void joined_datagrams_arrive_one_by_one(void **state)
{
	uint64_t before = counter(dev[0], "rx_split_datagrams");

	run_pair(joined_server, joined_client);
	assert_int_equal(counter(dev[0], "rx_split_datagrams") - before, JOINED);
}

/* A burst of ARP frames. */
static void arp_sender(void)
{
	uint8_t f[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x08, 0x06 };
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("ka") };
	int s = socket(AF_PACKET, SOCK_RAW, 0);

	for (int i = 0; i < 100; i++)
		if (sendto(s, f, sizeof(f), 0, (struct sockaddr *)&a, sizeof(a)) != sizeof(f))
			_exit(41);
}

/* A tagged frame; the receiving kernel takes the tag out before anybody sees it. */
static void tagged_sender(void)
{
	uint8_t f[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x81, 0, 0, 5, 0x08, 0x06 };
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("ka") };
	int s = socket(AF_PACKET, SOCK_RAW, 0);

	if (sendto(s, f, sizeof(f), 0, (struct sockaddr *)&a, sizeof(a)) != sizeof(f))
		_exit(40);
}

static void tag_that_the_kernel_took_out_is_in_the_frame_again(void **state)
{
	struct rte_mbuf *m[NETDEV_BURST];
	bool seen = false;

	assert_int_equal(result(start(client_pid, tagged_sender)), 0);
	for (int i = 0; i < 100 && !seen; i++) {
		uint16_t n = netdev_rx(dev[0], 0, m, NETDEV_BURST);

		for (uint16_t k = 0; k < n; k++) {
			const uint8_t *p = rte_pktmbuf_mtod(m[k], const uint8_t *);

			if (get16(p + 12) == 0x8100 && get16(p + 14) == 5 && get16(p + 16) == 0x0806)
				seen = true;
		}
		rte_pktmbuf_free_bulk(m, n);
		usleep(1000);
	}
	assert_true(seen);
}

static bool wait_for(bool (*cond)(void))
{
	for (int i = 0; i < 300; i++) {
		dev[0]->ops->housekeeping(dev[0]);
		if (cond())
			return true;
		usleep(10000);
	}
	return false;
}

static bool link_is_down(void) { return !dev[0]->link_up; }
static bool link_is_up(void) { return dev[0]->link_up; }
static bool mtu_is_1400(void) { return dev[0]->mtu == 1400; }

static void send_some(void)
{
	uint8_t f[60];

	memset(f, 0xff, sizeof(f));
	for (int i = 0; i < 200; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		memcpy(rte_pktmbuf_append(m, sizeof(f)), f, sizeof(f));
		netdev_tx(dev[0], 0, m);
		netdev_flush(dev[0], 0);
	}
}

static int poll_device(int timeout_ms)
{
	struct pollfd p = { .fd = dev[0]->ops->wait_fd(dev[0], 0), .events = POLLIN };
	int r = poll(&p, 1, timeout_ms);

	if (r > 0)
		dev[0]->ops->irq_ack(dev[0], 0);
	return r;
}

static void drain(void)
{
	struct rte_mbuf *m[NETDEV_BURST];
	uint16_t n;

	for (int i = 0; i < 50; i++) {
		while ((n = netdev_rx(dev[0], 0, m, NETDEV_BURST)))
			rte_pktmbuf_free_bulk(m, n);
		usleep(1000);
	}
}

static void link_and_mtu_changes_are_seen(void **state)
{
	uint32_t changes = dev[0]->link_changes;

	assert_true(dev[0]->link_up);
	/* the far end: carrier */
	sh("nsenter -t %d -n ip link set ka down", client_pid);
	assert_true(wait_for(link_is_down));
	sh("nsenter -t %d -n ip link set ka up", client_pid);
	assert_true(wait_for(link_is_up));
	/* this end: administratively */
	sh("ip link set pa down");
	assert_true(wait_for(link_is_down));
	send_some();
	assert_int_equal(dev[0]->queues[0].txq_len, 0); /* lost, not kept for ever */
	drain();
	/* the socket's error does not make the sleeper spin */
	poll_device(0);
	assert_int_equal(poll_device(30), 0);
	sh("ip link set pa up");
	assert_true(wait_for(link_is_up));
	assert_true(dev[0]->link_changes >= changes + 4);
	sh("ip link set pa mtu 1400");
	assert_true(wait_for(mtu_is_1400));
	sh("ip link set pa mtu 1500");
	/* and traffic flows again */
	run_pair(udp_echo_server, udp_client);
}

static bool is_back(void) { return counter(dev[0], "interface_returns") == 1 && dev[0]->link_up; }

static void removal_while_running_is_survived_and_return_noticed(void **state)
{
	uint64_t drops = dev[0]->queues[0].stats.tx_drop;

	sh("ip link del pa");
	send_some();
	drain();
	assert_true(wait_for(link_is_down));
	send_some();
	assert_true(dev[0]->queues[0].stats.tx_drop >= drops + 300);
	assert_int_equal(dev[0]->queues[0].txq_len, 0);
	poll_device(0);
	assert_int_equal(poll_device(30), 0);
	/* the same name again: taken up where it was left */
	assert_int_equal(sh("ip link add pa type veth peer name ka netns %d && ip link set pa up && nsenter -t %d -n sh -c "
			    "'ip addr add " CLIENT_IP "/24 dev ka && ip link set ka up'", client_pid, client_pid), 0);
	assert_true(wait_for(is_back));
	run_pair(udp_echo_server, udp_client);
}

static void open_pair(unsigned queues)
{
	char err[512] = "";
	struct netdev_request req = { .kernel_interface = "auto", .nb_queues = (uint16_t)queues, .rx_desc = 4096 };

	nb_queues = queues;
	for (unsigned q = 0; q < queues; q++)
		req.pools[q] = pool;
	for (int i = 0; i < 2; i++) {
		req.device = i ? "pb" : "pa";
		if (netdev_open(&dev[i], &req, err, sizeof(err)))
			fail_msg("%s", err);
		assert_int_equal(dev[i]->nb_queues, queues);
		assert_string_equal(dev[i]->ops->kind, "packet");
	}
}

static void several_queues_share_the_frames(void **state)
{
	uint64_t second = 0;

	netdev_close(dev[0]);
	netdev_close(dev[1]);
	open_pair(4);
	run_pair(tcp_server, tcp_client);
	for (int i = 0; i < 20 && !second; i++) {
		run_pair(udp_echo_server, udp_client); /* another source port: perhaps another queue */
		for (unsigned q = 1; q < 4; q++)
			second += dev[0]->queues[q].stats.rx_pkts;
	}
	assert_true(second > 0);
}

static void devices_are_found_by_name_and_by_address(void **state)
{
	char name[IF_NAMESIZE], mac[20], err[512] = "";
	struct netdev_request req = { .nb_queues = 1, .pools = { pool } };
	struct netdev *nd = NULL;

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", dev[0]->mac[0], dev[0]->mac[1], dev[0]->mac[2],
		 dev[0]->mac[3], dev[0]->mac[4], dev[0]->mac[5]);
	assert_true(netdev_is_kernel_interface("pa", name, sizeof(name)));
	assert_true(netdev_is_kernel_interface(mac, name, sizeof(name)));
	assert_string_equal(name, "pa");
	assert_false(netdev_is_kernel_interface("ff:ff:ff:00:00:01", name, sizeof(name)));
	assert_false(netdev_is_kernel_interface("nosuch0", name, sizeof(name)));
	assert_false(netdev_is_kernel_interface("0000:ff:1f.7", name, sizeof(name)));
	req.device = mac;
	assert_int_equal(netdev_open(&nd, &req, err, sizeof(err)), 0);
	assert_string_equal(nd->name, "pa");
	netdev_close(nd);
	/* errors say what failed, why, and what to do */
	req.device = "nosuch0";
	assert_int_equal(netdev_open(&nd, &req, err, sizeof(err)), -ENODEV);
	assert_non_null(strstr(err, "nosuch0"));
	req.device = "lo";
	assert_int_not_equal(netdev_open(&nd, &req, err, sizeof(err)), 0);
	assert_non_null(strstr(err, "loopback"));
	req.device = NULL;
	assert_int_equal(netdev_open(&nd, &req, err, sizeof(err)), -ENODEV);
	assert_non_null(strstr(err, "devices"));
	req.device = "02:00:00:00:00:01";
	assert_int_equal(netdev_open(&nd, &req, err, sizeof(err)), -ENODEV);
	req.device = "0000:ff:1f.7";
	assert_int_equal(netdev_open(&nd, &req, err, sizeof(err)), -ENODEV);
}

/* A shared interface: only what may concern the stack's address reaches it. */
static void frames_for_other_hosts_are_left_to_the_kernel(void **state)
{
	struct netdev_request req = { .device = "pa", .nb_queues = 1, .pools = { pool }, .host_be = inet_addr("10.77.0.9") };
	struct rte_mbuf *m[NETDEV_BURST];
	unsigned arp = 0, mine = 0, group = 0, others = 0;
	struct netdev *nd = NULL;
	char err[512];

	assert_int_equal(netdev_open(&nd, &req, err, sizeof(err)), 0);
	sh("nsenter -t %d -n sh -c 'ip neigh replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev ka; "
	   "ip neigh replace 10.77.0.8 lladdr 02:00:00:00:00:08 dev ka; "
	   "ping -c2 -i0.2 -W1 10.77.0.9; ping -c2 -i0.2 -W1 10.77.0.8; ping -c1 -W1 10.77.0.7; ping -b -c1 -W1 10.77.0.255' "
	   ">/dev/null 2>&1", client_pid);
	for (int i = 0; i < 20; i++) {
		uint16_t n = netdev_rx(nd, 0, m, NETDEV_BURST);

		for (uint16_t k = 0; k < n; k++) {
			const uint8_t *p = rte_pktmbuf_mtod(m[k], const uint8_t *);

			if (get16(p + 12) == 0x0806)
				arp++;
			else if (get16(p + 12) == 0x0800 && p[33] == 9)
				mine++;
			else if (get16(p + 12) == 0x0800 && (p[0] & 1))
				group++;
			else
				others++;
		}
		rte_pktmbuf_free_bulk(m, n);
		usleep(1000);
	}
	netdev_close(nd);
	assert_int_equal(mine, 2);
	assert_true(arp > 0);
	assert_true(group > 0);
	assert_int_equal(others, 0);
}

/* kernel_interface = "xdp": every frame of a count larger than half the pool arrives (objects beyond what the driver maps would not). */
static void af_xdp_receives_with_many_frames_held(void **state)
{
	struct netdev_request req = { .device = "pa", .kernel_interface = "xdp", .nb_queues = 1, .rx_desc = 512, .tx_desc = 512,
				      .pools = { pool } };
	struct rte_mbuf *m[NETDEV_BURST], *held[3000];
	unsigned arps = 0, n_held = 0;
	struct netdev *nd = NULL;
	char err[512];

	if (netdev_open(&nd, &req, err, sizeof(err))) {
		assert_non_null(strstr(err, "AF_XDP"));
		assert_non_null(strstr(err, "packet"));
		skip();
	}
	assert_int_equal(nd->tso_max_bytes, 0);
	for (int round = 0; round < 300 && arps < 2500; round++) {
		assert_int_equal(result(start(client_pid, arp_sender)), 0);
		for (int i = 0; i < 10; i++) {
			uint16_t n = netdev_rx(nd, 0, m, NETDEV_BURST);

			for (uint16_t k = 0; k < n; k++) {
				const uint8_t *p = rte_pktmbuf_mtod(m[k], const uint8_t *);

				arps += get16(p + 12) == 0x0806;
				if (n_held < ARRAY_SIZE(held))
					held[n_held++] = m[k];
				else
					rte_pktmbuf_free(m[k]);
			}
		}
	}
	assert_true(arps >= 2500);
	rte_pktmbuf_free_bulk(held, n_held);
	netdev_close(nd);
	sh("ip link set pa xdp off 2>/dev/null");
}

static void nothing_is_left_behind(void **state)
{
	netdev_close(dev[0]);
	netdev_close(dev[1]);
	assert_int_equal(rte_mempool_avail_count(pool), 16383);
}

/* A process that does nothing but hold a network namespace open. */
static int holder(void)
{
	int go[2], pid;
	char c;

	if (pipe(go))
		return -1;
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET))
			_exit(1);
		if (write(go[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(go[1]);
	if (read(go[0], &c, 1) != 1)
		pid = -1;
	close(go[0]);
	return pid;
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool namespaces(void)
{
	if (geteuid() != 0) {
		char map[64];
		unsigned uid = geteuid(), gid = getegid();

		if (unshare(CLONE_NEWUSER))
			return false;
		put("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "0 %u 1", uid);
		if (!put("/proc/self/uid_map", map))
			return false;
		snprintf(map, sizeof(map), "0 %u 1", gid);
		put("/proc/self/gid_map", map);
	}
	return unshare(CLONE_NEWNET) == 0;
}

static bool topology(void)
{
	client_pid = holder();
	server_pid = holder();
	return client_pid > 0 && server_pid > 0 &&
	       sh("ip link add pa type veth peer name ka netns %d && ip link add pb type veth peer name kb netns %d && "
		  "ip link set pa up && ip link set pb up && "
		  "nsenter -t %d -n sh -c 'ip link set lo up; ip addr add " CLIENT_IP "/24 dev ka && ip link set ka up' && "
		  "nsenter -t %d -n sh -c 'ip link set lo up; ip addr add " SERVER_IP "/24 dev kb && ip link set kb up'",
		  client_pid, server_pid, client_pid, server_pid) == 0;
}

int main(void)
{
	char *args[] = { "test", "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=error" };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_streams_pass_unharmed_both_ways_in_large_frames),
		cmocka_unit_test(datagrams_of_all_sizes_pass_unharmed_both_ways),
		cmocka_unit_test(joined_datagrams_arrive_one_by_one),
		cmocka_unit_test(tag_that_the_kernel_took_out_is_in_the_frame_again),
		cmocka_unit_test(link_and_mtu_changes_are_seen),
		cmocka_unit_test(removal_while_running_is_survived_and_return_noticed),
		cmocka_unit_test(several_queues_share_the_frames),
		cmocka_unit_test(devices_are_found_by_name_and_by_address),
		cmocka_unit_test(frames_for_other_hosts_are_left_to_the_kernel),
		cmocka_unit_test(af_xdp_receives_with_many_frames_held),
		cmocka_unit_test(nothing_is_left_behind),
	};
	int r;

	if (!namespaces() || !topology()) {
		fprintf(stderr, "skipped: network namespaces are not permitted here (root or user namespaces needed)\n");
		return SKIP;
	}
	alarm(240);
	signal(SIGPIPE, SIG_IGN);
	if (rte_eal_init(ARRAY_SIZE(args), args) < 0 || pkt_init())
		return 1;
	pool = mbuf_pool_create("t", 16383, 2048, SOCKET_ID_ANY);
	if (!pool)
		return 1;
	open_pair(1);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	kill(client_pid, SIGKILL);
	kill(server_pid, SIGKILL);
	return r;
}

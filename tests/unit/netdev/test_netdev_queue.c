/* test_netdev_queue.c - netdev_tx/flush/rx over a device made up here: software fallbacks against naive reference code on random
 * chains, leftovers of a full device, normalised receive flags. */
#include "netdev/backend.h"
#include "netdev/ifinfo.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct rte_mempool *pool;
static struct netdev *nd;
static struct rte_mbuf *taken[4096];
static unsigned nb_taken, device_takes, nb_tx_calls;
static struct rte_mbuf *to_receive[NETDEV_BURST];
static unsigned nb_to_receive;
static uint64_t rng = 0x9e3779b97f4a7c15u;

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % below;
}

static uint16_t fake_rx(struct netdev *d, uint16_t q, struct rte_mbuf **m, uint16_t n)
{
	uint16_t k = (uint16_t)MIN((unsigned)n, nb_to_receive);

	memcpy(m, to_receive, k * sizeof(*m));
	nb_to_receive -= k;
	return k;
}

static uint16_t fake_tx(struct netdev *d, uint16_t q, struct rte_mbuf **m, uint16_t n)
{
	uint16_t k = (uint16_t)MIN((unsigned)n, device_takes);

	nb_tx_calls++;
	for (uint16_t i = 0; i < k; i++)
		taken[nb_taken++] = m[i];
	device_takes -= k;
	return k;
}

static void fake_close(struct netdev *d)
{
}

static const struct netdev_ops fake_ops = { .kind = "fake", .rx_burst = fake_rx, .tx_burst = fake_tx, .close = fake_close };

static void device(uint64_t offloads, uint16_t max_segs)
{
	nd = aligned_alloc(CACHE_LINE, ROUND_UP(sizeof(*nd), (size_t)CACHE_LINE));
	memset(nd, 0, sizeof(*nd));
	nd->ops = &fake_ops;
	nd->nb_queues = 1;
	nd->tx_offloads = offloads;
	nd->tx_max_segs = max_segs;
	nd->queues[0].pool = pool;
	nd->tx_fix = tx_fixup_mask(nd);
	nb_taken = nb_tx_calls = 0;
	device_takes = 4096;
}

static void free_taken(void)
{
	rte_pktmbuf_free_bulk(taken, nb_taken);
	nb_taken = 0;
}

/* A chain of random pieces (some empty, some odd) that holds len bytes; the first holds at least first bytes. */
static struct rte_mbuf *chain(const uint8_t *bytes, uint32_t len, uint32_t first)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(pool), *tail = head;
	uint32_t want = first + rnd(200), at = MIN(len, want); /* MIN evaluates twice */

	assert_non_null(head);
	memcpy(rte_pktmbuf_append(head, (uint16_t)at), bytes, at);
	while (at < len) {
		struct rte_mbuf *s = rte_pktmbuf_alloc(pool);
		uint32_t most = rnd(4) ? rnd(700) : rnd(3), n = MIN(len - at, most);

		assert_non_null(s);
		s->data_off = (uint16_t)rnd(64);
		memcpy(rte_pktmbuf_mtod(s, void *), bytes + at, n);
		s->data_len = (uint16_t)n;
		tail->next = s;
		tail = s;
		head->nb_segs++;
		at += n;
	}
	head->pkt_len = len;
	return head;
}

static uint16_t naive_sum(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint32_t naive_pseudo(const uint8_t *ip, uint32_t l4_len)
{
	return naive_sum(ip + 12, 8, 0) + ip[9] + (l4_len & 0xffff);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Ethernet + IPv4 (with options now and then) + TCP or UDP + payload as the engine hands it over: pseudo-header sum filled in. */
static uint32_t build(uint8_t *f, bool tcp, uint32_t payload, uint32_t *l3_len)
{
	uint32_t l3 = 20 + 4 * (rnd(4) ? 0 : rnd(10)), l4_len = (tcp ? 20 : 8) + payload;
	uint8_t *ip = f + 14, *l4 = ip + l3;

	for (uint32_t i = 0; i < 14 + l3 + l4_len; i++)
		f[i] = (uint8_t)rnd(256);
	put16(f + 12, 0x0800);
	ip[0] = (uint8_t)(0x40 | l3 / 4);
	put16(ip + 2, l3 + l4_len);
	ip[9] = tcp ? 6 : 17;
	if (tcp)
		l4[12] = 0x50;
	else
		put16(l4 + 4, l4_len);
	put16(l4 + (tcp ? 16 : 6), naive_sum(NULL, 0, naive_pseudo(ip, l4_len)));
	*l3_len = l3;
	return 14 + l3 + l4_len;
}

static void software_checksums_equal_naive_ones_on_random_chains(void **state)
{
	uint8_t f[9100], out[9100];

	device(RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 64);
	for (int round = 0; round < 3000; round++) {
		bool tcp = rnd(2);
		uint32_t l3, len = build(f, tcp, rnd(rnd(10) ? 1460 : 8900), &l3), l4_len = len - 14 - l3;
		struct rte_mbuf *m = chain(f, len, 14 + l3 + 20);
		uint8_t *ip = out + 14, *l4 = out + 14 + l3;

		m->l2_len = 14;
		m->l3_len = l3 & 0x1ff;
		m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM |
			      (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
		netdev_tx(nd, 0, m);
		assert_int_equal(netdev_flush(nd, 0), 0);
		assert_int_equal(nb_taken, 1);
		m = taken[0];
		assert_int_equal(m->pkt_len, len);
		assert_true(m->nb_segs <= 64);
		assert_int_equal(m->ol_flags & (RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK), 0);
		const void *p = rte_pktmbuf_read(m, 0, len, out);
		if (p != out)
			memcpy(out, p, len);
		assert_int_equal(naive_sum(ip, l3, 0), 0xffff);
		assert_int_equal(naive_sum(l4, l4_len, naive_pseudo(ip, l4_len)), 0xffff);
		if (!tcp)
			assert_int_not_equal(get16(l4 + 6), 0);
		/* nothing else was touched */
		put16(ip + 10, get16(f + 14 + 10));
		put16(l4 + (tcp ? 16 : 6), get16(f + 14 + l3 + (tcp ? 16 : 6)));
		assert_memory_equal(out, f, len);
		free_taken();
	}
	free(nd);
}

static void udp_sum_of_zero_is_sent_as_all_ones(void **state)
{
	uint8_t f[64] = { 0 };
	struct rte_mbuf *m;

	/* 0.0.0.0 -> 0.0.0.0 with ports chosen so that the sum becomes 0xffff */
	put16(f + 12, 0x0800);
	f[14] = 0x45;
	put16(f + 16, 28);
	f[23] = 17;
	put16(f + 38, 8);
	put16(f + 40, 17 + 8);
	put16(f + 34, 0xffff - (17 + 8 + 8));
	device(0, 1);
	m = chain(f, 42, 42);
	m->l2_len = 14;
	m->l3_len = 20;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_UDP_CKSUM;
	netdev_tx(nd, 0, m);
	netdev_flush(nd, 0);
	assert_int_equal(get16(rte_pktmbuf_mtod_offset(taken[0], uint8_t *, 40)), 0xffff);
	free_taken();
	free(nd);
}

static void device_that_computes_gets_frames_untouched(void **state)
{
	uint8_t f[2000];
	uint32_t l3, len = build(f, true, 1000, &l3);
	struct rte_mbuf *m = chain(f, len, 100);
	uint64_t flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM;

	device(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
	       RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 64);
	m->l2_len = 14;
	m->l3_len = l3 & 0x1ff;
	m->ol_flags = flags;
	netdev_tx(nd, 0, m);
	netdev_flush(nd, 0);
	assert_ptr_equal(taken[0], m);
	assert_true((m->ol_flags & flags) == flags);
	assert_int_equal(get16(rte_pktmbuf_mtod_offset(m, uint8_t *, 24)), get16(f + 24));
	free_taken();
	free(nd);
}

static void segmentation_sum_gains_the_length_for_the_kernel(void **state)
{
	uint8_t f[9100];
	uint32_t l3, len = build(f, true, 8000, &l3), l4_len = len - 14 - l3;
	struct rte_mbuf *m;
	uint8_t *ip = f + 14;

	device(RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 64);
	nd->tso_sum_has_len = true;
	nd->tx_fix = tx_fixup_mask(nd);
	put16(f + 14 + l3 + 16, naive_sum(NULL, 0, naive_pseudo(ip, 0))); /* DPDK: without length */
	m = chain(f, len, 100);
	m->l2_len = 14;
	m->l3_len = l3 & 0x1ff;
	m->l4_len = 20;
	m->tso_segsz = 1448;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG;
	netdev_tx(nd, 0, m);
	netdev_flush(nd, 0);
	assert_int_equal(get16(rte_pktmbuf_mtod_offset(taken[0], uint8_t *, 14 + l3 + 16)),
			 naive_sum(NULL, 0, naive_pseudo(ip, l4_len)));
	assert_true(taken[0]->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
	free_taken();
	free(nd);
}

static void vlan_tag_is_inserted_in_software(void **state)
{
	uint8_t f[200], *p;
	uint32_t l3, len = build(f, false, 100, &l3);
	struct rte_mbuf *m = chain(f, len, 60);

	device(RTE_ETH_TX_OFFLOAD_UDP_CKSUM, 64);
	m->l2_len = 14;
	m->l3_len = l3 & 0x1ff;
	m->vlan_tci = 0x2123;
	m->ol_flags = RTE_MBUF_F_TX_VLAN | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_UDP_CKSUM;
	netdev_tx(nd, 0, m);
	netdev_flush(nd, 0);
	p = rte_pktmbuf_mtod(taken[0], uint8_t *);
	assert_memory_equal(p, f, 12);
	assert_int_equal(get16(p + 12), 0x8100);
	assert_int_equal(get16(p + 14), 0x2123);
	assert_int_equal(get16(p + 16), 0x0800);
	assert_int_equal(taken[0]->pkt_len, len + 4);
	assert_int_equal(taken[0]->l2_len, 18);
	assert_false(taken[0]->ol_flags & RTE_MBUF_F_TX_VLAN);
	free_taken();
	free(nd);
}

static void chain_longer_than_the_device_takes_is_packed(void **state)
{
	uint8_t f[9000], out[9000];

	for (int round = 0; round < 500; round++) {
		uint32_t len = 100 + rnd(rnd(2) ? 1400 : 8800), want = 1;
		struct rte_mbuf *m;

		for (uint32_t i = 0; i < len; i++)
			f[i] = (uint8_t)rnd(256);
		m = chain(f, len, 60);
		if (len > 2048)
			want = 5;
		device(0, (uint16_t)want);
		netdev_tx(nd, 0, m);
		netdev_flush(nd, 0);
		assert_int_equal(nb_taken, 1);
		assert_true(taken[0]->nb_segs <= want);
		assert_int_equal(taken[0]->pkt_len, len);
		const char *why = "";

		if (rte_mbuf_check(taken[0], 1, &why))
			fail_msg("%s: pkt %u data %u segs %u", why, taken[0]->pkt_len, taken[0]->data_len, taken[0]->nb_segs);
		const void *p = rte_pktmbuf_read(taken[0], 0, len, out);
		assert_memory_equal(p, f, len);
		free_taken();
		free(nd);
	}
	/* what cannot fit is dropped and counted */
	device(0, 1);
	netdev_tx(nd, 0, chain(f, 5000, 60));
	assert_int_equal(nd->queues[0].stats.tx_drop, 1);
	assert_int_equal(nd->queues[0].txq_len, 0);
	free(nd);
}

static void frames_that_lie_about_their_headers_are_dropped(void **state)
{
	uint8_t f[64] = { 0 };
	struct rte_mbuf *m;

	device(RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 64);
	m = chain(f, 30, 30); /* headers cut off */
	m->l2_len = 14;
	m->l3_len = 20;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
	netdev_tx(nd, 0, m);
	m = chain(f, 60, 60); /* segmentation asked of a device without it */
	m->l2_len = 14;
	m->l3_len = 20;
	m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_SEG;
	netdev_tx(nd, 0, m);
	assert_int_equal(nd->queues[0].stats.tx_drop, 2);
	assert_int_equal(netdev_flush(nd, 0), 0);
	assert_int_equal(nb_taken, 0);
	free(nd);
}

static void leftovers_stay_in_order_and_nothing_is_lost(void **state)
{
	uint32_t sent = 0, seen = 0;
	uint8_t f[60] = { 0 };

	device(0, 1);
	device_takes = 0;
	for (int round = 0; round < 300; round++) {
		uint32_t n = rnd(40);

		while (n-- && netdev_tx_room(nd, 0)) {
			memcpy(f, &sent, 4);
			sent++;
			netdev_tx(nd, 0, chain(f, 60, 60));
		}
		device_takes = rnd(40);
		netdev_flush(nd, 0);
		for (unsigned i = 0; i < nb_taken; i++) {
			uint32_t id;

			memcpy(&id, rte_pktmbuf_mtod(taken[i], void *), 4);
			assert_int_equal(id, seen);
			seen++;
		}
		free_taken();
	}
	assert_int_equal(seen + nd->queues[0].txq_len, sent);
	assert_int_equal(nd->queues[0].stats.tx_drop, 0);
	assert_true(nd->queues[0].stats.tx_full > 0);
	/* beyond the room: one attempt to send, then dropped and counted */
	device_takes = 0;
	while (netdev_tx_room(nd, 0))
		netdev_tx(nd, 0, chain(f, 60, 60));
	nb_tx_calls = 0;
	netdev_tx(nd, 0, chain(f, 60, 60));
	assert_int_equal(nb_tx_calls, 1);
	assert_int_equal(nd->queues[0].stats.tx_drop, 1);
	device_takes = 4096;
	netdev_close(nd); /* sends what is left */
	assert_int_equal(nb_taken, 2 * NETDEV_BURST);
	free_taken();
}

static void received_flags_become_good_bad_or_unknown(void **state)
{
	static const struct {
		uint64_t in, out;
	} t[] = {
		{ 0, 0 },
		{ RTE_MBUF_F_RX_L4_CKSUM_GOOD, RTE_MBUF_F_RX_L4_CKSUM_GOOD },
		{ RTE_MBUF_F_RX_L4_CKSUM_BAD, RTE_MBUF_F_RX_L4_CKSUM_BAD },
		{ RTE_MBUF_F_RX_L4_CKSUM_NONE, RTE_MBUF_F_RX_L4_CKSUM_GOOD },
		{ RTE_MBUF_F_RX_IP_CKSUM_NONE, RTE_MBUF_F_RX_IP_CKSUM_GOOD },
		{ RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_NONE,
		  RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_GOOD },
	};
	struct rte_mbuf *m[NETDEV_BURST];
	uint8_t f[60] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0, 42 };

	device(0, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		to_receive[0] = chain(f, 60, 60);
		to_receive[0]->ol_flags = t[i].in;
		nb_to_receive = 1;
		assert_int_equal(netdev_rx(nd, 0, m, NETDEV_BURST), 1);
		assert_true(m[0]->ol_flags == t[i].out);
		rte_pktmbuf_free(m[0]);
	}
	/* a tag that the device took out is put back */
	to_receive[0] = chain(f, 60, 60);
	to_receive[0]->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	to_receive[0]->vlan_tci = 7;
	nb_to_receive = 1;
	assert_int_equal(netdev_rx(nd, 0, m, NETDEV_BURST), 1);
	assert_int_equal(m[0]->pkt_len, 64);
	assert_int_equal(get16(rte_pktmbuf_mtod_offset(m[0], uint8_t *, 12)), 0x8100);
	assert_int_equal(get16(rte_pktmbuf_mtod_offset(m[0], uint8_t *, 14)), 7);
	assert_int_equal(get16(rte_pktmbuf_mtod_offset(m[0], uint8_t *, 16)), 0x0800);
	assert_int_equal(rte_pktmbuf_mtod_offset(m[0], uint8_t *, 18)[0], 42);
	assert_true(m[0]->ol_flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD);
	rte_pktmbuf_free(m[0]);
	assert_int_equal(nd->queues[0].stats.rx_pkts, ARRAY_SIZE(t) + 1);
	free(nd);
}

static void device_names_are_told_apart(void **state)
{
	uint8_t mac[6];
	char pci[13];

	assert_true(ifinfo_parse_mac("aa:bb:cc:00:11:2f", mac));
	assert_int_equal(mac[5], 0x2f);
	assert_true(ifinfo_parse_mac("AA-BB-CC-00-11-2f", mac));
	assert_false(ifinfo_parse_mac("aa:bb:cc:00:11", mac));
	assert_false(ifinfo_parse_mac("aa:bb:cc:00:11:2f:00", mac));
	assert_false(ifinfo_parse_mac("a:bb:cc:00:11:2f", mac));
	assert_false(ifinfo_parse_mac("", mac));
	assert_true(ifinfo_parse_pci("0000:3b:00.1", pci));
	assert_string_equal(pci, "0000:3b:00.1");
	assert_true(ifinfo_parse_pci("3b:00.0", pci));
	assert_string_equal(pci, "0000:3b:00.0");
	assert_false(ifinfo_parse_pci("eth0", pci));
	assert_false(ifinfo_parse_pci("3b:00.9", pci));
	assert_false(ifinfo_parse_pci("3b:00.0x", pci));
}

/* Every prefix and every one-byte damage of a link message: no read beyond it (run under ASan), no endless loop. */
static void damaged_link_messages_are_survived(void **state)
{
	struct {
		struct nlmsghdr nh;
		struct ifinfomsg ifi;
		char attrs[96];
	} msg;
	struct rtattr *a = (struct rtattr *)(void *)msg.attrs;
	struct if_info i;

	memset(&msg, 0, sizeof(msg));
	msg.nh.nlmsg_type = RTM_NEWLINK;
	msg.nh.nlmsg_len = sizeof(msg);
	msg.ifi.ifi_index = 5;
	a->rta_type = IFLA_IFNAME;
	a->rta_len = RTA_LENGTH(5);
	memcpy(RTA_DATA(a), "veth", 5);
	a = (struct rtattr *)(void *)((char *)a + RTA_SPACE(5));
	a->rta_type = IFLA_MTU;
	a->rta_len = RTA_LENGTH(4);
	memcpy(RTA_DATA(a), &(uint32_t){ 9000 }, 4);
	a = (struct rtattr *)(void *)((char *)a + RTA_SPACE(4));
	a->rta_type = IFLA_TXQLEN;
	a->rta_len = (unsigned short)(msg.attrs + sizeof(msg.attrs) - (char *)a);
	assert_true(ifinfo_parse(&msg.nh, sizeof(msg), &i));
	assert_string_equal(i.name, "veth");
	assert_int_equal(i.mtu, 9000);
	for (size_t n = 0; n <= sizeof(msg); n++) {
		char *copy = malloc(n ? n : 1);

		memcpy(copy, &msg, n);
		if (n >= 4)
			((struct nlmsghdr *)(void *)copy)->nlmsg_len = (uint32_t)n;
		ifinfo_parse((struct nlmsghdr *)(void *)copy, n, &i);
		free(copy);
	}
	for (size_t at = 0; at < sizeof(msg); at++)
		for (unsigned v = 0; v < 256; v++) {
			char *copy = malloc(sizeof(msg));

			memcpy(copy, &msg, sizeof(msg));
			copy[at] = (char)v;
			ifinfo_parse((struct nlmsghdr *)(void *)copy, sizeof(msg), &i);
			free(copy);
		}
}

static void every_buffer_came_back(void **state)
{
	assert_int_equal(rte_mempool_avail_count(pool), 2047);
}

int main(void)
{
	char *args[] = { "test", "--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=error" };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(software_checksums_equal_naive_ones_on_random_chains),
		cmocka_unit_test(udp_sum_of_zero_is_sent_as_all_ones),
		cmocka_unit_test(device_that_computes_gets_frames_untouched),
		cmocka_unit_test(segmentation_sum_gains_the_length_for_the_kernel),
		cmocka_unit_test(vlan_tag_is_inserted_in_software),
		cmocka_unit_test(chain_longer_than_the_device_takes_is_packed),
		cmocka_unit_test(frames_that_lie_about_their_headers_are_dropped),
		cmocka_unit_test(leftovers_stay_in_order_and_nothing_is_lost),
		cmocka_unit_test(received_flags_become_good_bad_or_unknown),
		cmocka_unit_test(device_names_are_told_apart),
		cmocka_unit_test(damaged_link_messages_are_survived),
		cmocka_unit_test(every_buffer_came_back),
	};

	if (rte_eal_init(ARRAY_SIZE(args), args) < 0 || pkt_init())
		return 1;
	pool = mbuf_pool_create("t", 2047, 2048, SOCKET_ID_ANY);
	if (!pool)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

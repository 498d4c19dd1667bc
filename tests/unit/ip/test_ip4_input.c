/* Validation of received IPv4 packets: what is wrong is dropped under its reason, what is right is delivered, whatever the shape of
 * the mbufs. */
#include "nethost.h"
#include "sock/ports.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PEER IP(10, 0, 0, 77)

static uint8_t f[2000];

/* A frame with n bytes of TCP; returns its length. */
static uint32_t frame(const struct net_ip *ip, uint32_t n, const uint8_t *dmac)
{
	uint32_t at = put_eth(f, dmac, MAC_PEER(1), 0x0800);

	at += put_ip4(f + at, ip, n);
	for (uint32_t i = 0; i < n; i++)
		f[at + i] = (uint8_t)i;
	return at + n;
}

static void fix_csum(void)
{
	uint16_t sum;

	f[24] = f[25] = 0;
	sum = naive_csum(f + 14, (f[14] & 15) * 4u, 0);
	memcpy(f + 24, &sum, 2);
}

struct bad {
	const char *what;
	enum drop_reason why;
	void (*spoil)(struct net_ip *ip);
	void (*spoil_bytes)(void);
	bool fix;
};

static void src_zero(struct net_ip *ip) { ip->src_be = IP(0, 1, 2, 3); }
static void src_loop(struct net_ip *ip) { ip->src_be = IP(127, 0, 0, 1); }
static void src_group(struct net_ip *ip) { ip->src_be = IP(224, 0, 0, 5); }
static void src_bcast(struct net_ip *ip) { ip->src_be = INADDR_BROADCAST; }
static void src_netcast(struct net_ip *ip) { ip->src_be = IP(10, 0, 0, 255); }
static void src_own(struct net_ip *ip) { ip->src_be = IP(10, 0, 0, 1); }
static void dst_other(struct net_ip *ip) { ip->dst_be = IP(10, 0, 0, 9); }
static void dst_loop(struct net_ip *ip) { ip->dst_be = IP(127, 0, 0, 1); }
static void dst_group(struct net_ip *ip) { ip->dst_be = IP(239, 1, 1, 1); }
static void dst_bcast(struct net_ip *ip) { ip->dst_be = IP(10, 0, 0, 255); }
static void opt_lsrr(struct net_ip *ip) { memcpy(ip->opts, "\x83\x07\x04\x0a\x00\x00\x09\x00", 8); ip->opts_len = 8; }
static void opt_ssrr(struct net_ip *ip) { memcpy(ip->opts, "\x01\x89\x07\x04\x0a\x00\x00\x09", 8); ip->opts_len = 8; }
static void opt_len0(struct net_ip *ip) { memcpy(ip->opts, "\x07\x00\x00\x00", 4); ip->opts_len = 4; }
static void opt_len1(struct net_ip *ip) { memcpy(ip->opts, "\x07\x01\x00\x00", 4); ip->opts_len = 4; }
static void opt_over(struct net_ip *ip) { memcpy(ip->opts, "\x07\x05\x00\x00", 4); ip->opts_len = 4; }
static void opt_cut(struct net_ip *ip) { memcpy(ip->opts, "\x01\x01\x01\x07", 4); ip->opts_len = 4; }
static void proto(struct net_ip *ip) { ip->proto = 99; }
static void version6(void) { f[14] = 0x65; }
static void ihl4(void) { f[14] = 0x44; }
static void ihl15(void) { f[14] = 0x4f; }
static void csum(void) { f[24] ^= 1; }
static void total_long(void) { f[17]++; }
static void total_short(void) { f[16] = 0; f[17] = 19; }

static const struct bad bad[] = {
	{ "version 6", DROP_IP4_VERSION, NULL, version6, true },
	{ "header of 16 bytes", DROP_IP4_HDRLEN, NULL, ihl4, true },
	{ "header longer than the packet", DROP_IP4_HDRLEN, NULL, ihl15, false },
	{ "checksum", DROP_IP4_CHECKSUM, NULL, csum, false },
	{ "longer than the frame", DROP_IP4_SHORT, NULL, total_long, true },
	{ "total below the header", DROP_IP4_SHORT, NULL, total_short, true },
	{ "source 0/8", DROP_IP4_MARTIAN_SRC, src_zero, NULL, false },
	{ "source 127/8", DROP_IP4_MARTIAN_SRC, src_loop, NULL, false },
	{ "source multicast", DROP_IP4_MARTIAN_SRC, src_group, NULL, false },
	{ "source limited broadcast", DROP_IP4_MARTIAN_SRC, src_bcast, NULL, false },
	{ "source our network's broadcast", DROP_IP4_MARTIAN_SRC, src_netcast, NULL, false },
	{ "source ourselves", DROP_IP4_MARTIAN_SRC, src_own, NULL, false },
	{ "another host", DROP_IP4_NOT_LOCAL, dst_other, NULL, false },
	{ "destination 127/8", DROP_IP4_NOT_LOCAL, dst_loop, NULL, false },
	{ "group not joined", DROP_IP4_NOT_LOCAL, dst_group, NULL, false },
	{ "TCP to broadcast", DROP_IP4_GROUP, dst_bcast, NULL, false },
	{ "loose source route", DROP_IP4_OPTIONS, opt_lsrr, NULL, false },
	{ "strict source route", DROP_IP4_OPTIONS, opt_ssrr, NULL, false },
	{ "option of length 0", DROP_IP4_OPTIONS, opt_len0, NULL, false },
	{ "option of length 1", DROP_IP4_OPTIONS, opt_len1, NULL, false },
	{ "option beyond the header", DROP_IP4_OPTIONS, opt_over, NULL, false },
	{ "option without length", DROP_IP4_OPTIONS, opt_cut, NULL, false },
	{ "unknown protocol", DROP_IP4_PROTO, proto, NULL, false },
};

static void bad_packets_are_dropped_under_their_reason(void **state)
{
	static const uint32_t segs[] = { 0, 7, 14, 15, 40 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(segs); k++) {
			struct net_ip ip = { .src_be = PEER, .dst_be = IP(10, 0, 0, 1), .proto = 6 };
			uint64_t total = 0;
			uint32_t n;

			nethost_open(1, false);
			if (bad[i].spoil)
				bad[i].spoil(&ip);
			n = frame(&ip, 21, MAC_HOST(0));
			if (bad[i].spoil_bytes)
				bad[i].spoil_bytes();
			if (bad[i].fix)
				fix_csum();
			nethost_push(0, f, n, segs[k]);
			for (int r = 0; r < DROP_REASON_COUNT; r++)
				total += nethost[0].st->drops[r];
			if (nethost[0].st->drops[bad[i].why] != 1 || total != 1 || up.tcp_segs)
				fail_msg("%s (segments of %u): not dropped as it should be", bad[i].what, segs[k]);
			assert_int_equal(nethost_close(), 0);
		}
	}
}

static void every_truncation_is_survived(void **state)
{
	(void)state;
	for (uint32_t seg = 0; seg < 30; seg += 5) {
		struct net_ip ip = { .src_be = PEER, .dst_be = IP(10, 0, 0, 1), .proto = 6, .opts = { 1, 1, 1, 0 }, .opts_len = 4 };
		uint32_t n;

		nethost_open(1, false);
		n = frame(&ip, 30, MAC_HOST(0));
		for (uint32_t len = 1; len < n; len++)
			nethost_push(0, f, len, seg);
		assert_int_equal(up.tcp_segs, 0);
		nethost_push(0, f, n, seg);
		assert_int_equal(up.tcp_segs, 1);
		assert_int_equal(up.tcp_len, 30);
		assert_int_equal(nethost_close(), 0);
	}
}

static void padding_is_cut_and_options_are_skipped(void **state)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = IP(10, 0, 0, 1), .proto = 6, .tos = 0x2b };

	(void)state;
	for (uint8_t opts = 0; opts <= 40; opts += 4) {
		for (uint32_t seg = 0; seg <= 100; seg += 25) {
			uint32_t n, pad = 60;

			memset(ip.opts, 1, 40);
			ip.opts_len = opts;
			nethost_open(1, false);
			n = frame(&ip, 33, MAC_HOST(0));
			memset(f + n, 0xee, pad);
			nethost_push(0, f, n + pad, seg);
			assert_int_equal(up.tcp_segs, 1);
			assert_int_equal(up.tcp_len, 33);
			assert_int_equal(up.tcp_tos, 0x2b);
			for (uint8_t i = 0; i < 33; i++)
				assert_int_equal(up.tcp_data[i], i);
			assert_int_equal(nethost_close(), 0);
		}
	}
}

static void device_verdict_on_the_checksum_counts(void **state)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = IP(10, 0, 0, 1), .proto = 6 };
	struct rte_mbuf *m;
	uint32_t n;

	(void)state;
	nethost_open(1, false);
	n = frame(&ip, 30, MAC_HOST(0));
	csum();
	m = nethost_chain(f, n, 0);
	m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	eth_input_burst(nethost[0].st, &m, 1);
	assert_int_equal(up.tcp_segs, 1);
	csum();
	m = nethost_chain(f, n, 0);
	m->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_BAD;
	eth_input_burst(nethost[0].st, &m, 1);
	assert_int_equal(up.tcp_segs, 1);
	assert_int_equal(nethost[0].st->drops[DROP_IP4_CHECKSUM], 1);
	assert_int_equal(nethost_close(), 0);
}

/* RFC 1122 §3.3.6: to our address, in a broadcast frame */
static void unicast_in_a_broadcast_frame_is_dropped(void **state)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = IP(10, 0, 0, 1), .proto = 17 };

	(void)state;
	nethost_open(1, false);
	nethost_push(0, f, frame(&ip, 30, (const uint8_t[6]){ 255, 255, 255, 255, 255, 255 }), 0);
	assert_int_equal(nethost[0].st->drops[DROP_IP4_GROUP], 1);
	assert_int_equal(nethost_close(), 0);
}

static void groups_are_counted_memberships(void **state)
{
	struct stack *st;

	(void)state;
	nethost_open(1, false);
	st = nethost[0].st;
	assert_true(ip4_group_joined(st, IP(224, 0, 0, 1)));
	assert_false(ip4_group_joined(st, IP(239, 1, 1, 1)));
	assert_int_equal(ip4_group_join(st, IP(10, 0, 0, 1)), -EINVAL);
	assert_int_equal(ip4_group_join(st, IP(239, 1, 1, 1)), 0);
	assert_int_equal(ip4_group_join(st, IP(239, 1, 1, 1)), 0);
	assert_int_equal(ip4_group_leave(st, IP(239, 1, 1, 1)), 0);
	assert_true(ip4_group_joined(st, IP(239, 1, 1, 1)));
	assert_int_equal(ip4_group_leave(st, IP(239, 1, 1, 1)), 0);
	assert_false(ip4_group_joined(st, IP(239, 1, 1, 1)));
	assert_int_equal(ip4_group_leave(st, IP(239, 1, 1, 1)), -EADDRNOTAVAIL);
	for (uint32_t i = 0; i < 256; i++)
		assert_int_equal(ip4_group_join(st, IP(239, 2, 0, i)), 0);
	assert_int_equal(ip4_group_join(st, IP(239, 2, 1, 0)), -ENOBUFS);
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_packets_are_dropped_under_their_reason),
		cmocka_unit_test(every_truncation_is_survived),
		cmocka_unit_test(padding_is_cut_and_options_are_skipped),
		cmocka_unit_test(device_verdict_on_the_checksum_counts),
		cmocka_unit_test(unicast_in_a_broadcast_frame_is_dropped),
		cmocka_unit_test(groups_are_counted_memberships),
	};

	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

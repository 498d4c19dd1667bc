/* Which frames are ours: addresses, VLAN tags, types, lengths; and what tags our own frames carry. */
#include "nethost.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PEER IP(10, 0, 0, 77)
#define ANY_DROP 255

static uint8_t f[200];

static uint32_t frame(const uint8_t *dst, const uint8_t *src, int tag, uint16_t type)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = IP(10, 0, 0, 1), .proto = 6 };
	uint32_t n = put_eth(f, dst, src, tag >= 0 ? 0x8100 : type);

	if (tag >= 0) {
		f[n++] = (uint8_t)(tag >> 8);
		f[n++] = (uint8_t)tag;
		f[n++] = (uint8_t)(type >> 8);
		f[n++] = (uint8_t)type;
	}
	n += put_ip4(f + n, &ip, 20);
	memset(f + n, 0, 20);
	return n + 20;
}

static void address_filter(void **state)
{
	static const struct {
		uint8_t dst[6], src[6];
		int why; /* -1: passes the filter */
	} t[] = {
		{ { 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 1, 1 }, -1 },
		{ { 2, 0, 0, 0, 0, 2 }, { 2, 0, 0, 0, 1, 1 }, DROP_ETH_DST },
		{ { 1, 0, 0x5e, 1, 2, 3 }, { 2, 0, 0, 0, 1, 1 }, -1 },
		{ { 1, 0, 0x5e, 0x81, 2, 3 }, { 2, 0, 0, 0, 1, 1 }, DROP_ETH_DST },
		{ { 0x33, 0x33, 0, 0, 0, 1 }, { 2, 0, 0, 0, 1, 1 }, DROP_ETH_DST },
		{ { 1, 0x80, 0xc2, 0, 0, 0 }, { 2, 0, 0, 0, 1, 1 }, DROP_ETH_DST },
		{ { 255, 255, 255, 255, 255, 255 }, { 2, 0, 0, 0, 1, 1 }, -1 },
		{ { 2, 0, 0, 0, 0, 1 }, { 3, 0, 0, 0, 1, 1 }, DROP_ETH_SRC },
		{ { 2, 0, 0, 0, 0, 1 }, { 0, 0, 0, 0, 0, 0 }, DROP_ETH_SRC },
		{ { 2, 0, 0, 0, 0, 1 }, { 255, 255, 255, 255, 255, 255 }, DROP_ETH_SRC },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		nethost_open(1, false);
		nethost_push(0, f, frame(t[i].dst, t[i].src, -1, 0x0800), 0);
		if (t[i].why < 0)
			assert_int_equal(nethost[0].st->mib.ip_in_recv, 1);
		else
			assert_int_equal(nethost[0].st->drops[t[i].why], 1);
		assert_int_equal(nethost_close(), 0);
	}
}

static void vlan_filter(void **state)
{
	static const struct {
		int configured, tag;
		bool stripped, accepted;
	} t[] = {
		{ -1, -1, false, true },   { -1, 0, false, true },   { -1, 0xe000, false, true }, { -1, 5, false, false },
		{ 5, 5, false, true },	   { 5, 0x6005, false, true }, { 5, 6, false, false },    { 5, 0, false, false },
		{ 5, -1, false, false },   { 5, 5, true, true },     { 5, 6, true, false },       { -1, 5, true, false },
		{ -1, 0, true, true },	   { 4095, -1, false, true }, { 0, -1, false, true },      { 4094, 4094, false, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct rte_mbuf *m;
		uint32_t n;

		nethost_open(1, false);
		link_set_vlan(nethost[0].st, t[i].configured);
		n = frame(MAC_HOST(0), MAC_PEER(1), t[i].stripped ? -1 : t[i].tag, 0x0800);
		m = nethost_chain(f, n, i % 2 ? 15 : 0);
		if (t[i].stripped) {
			m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
			m->vlan_tci = (uint16_t)t[i].tag;
		}
		eth_input_burst(nethost[0].st, &m, 1);
		if (up.tcp_segs != t[i].accepted || nethost[0].st->drops[DROP_ETH_VLAN] != !t[i].accepted)
			fail_msg("VLAN case %zu", i);
		assert_int_equal(nethost_close(), 0);
	}
}

static void short_frames_and_other_types_are_dropped(void **state)
{
	(void)state;
	nethost_open(1, false);
	for (uint32_t n = 1; n < 14; n++) {
		frame(MAC_HOST(0), MAC_PEER(1), -1, 0x0800);
		nethost_push(0, f, n, 5);
	}
	assert_int_equal(nethost[0].st->drops[DROP_ETH_SHORT], 13);
	frame(MAC_HOST(0), MAC_PEER(1), 1, 0x0800);
	nethost_push(0, f, 17, 0); /* a tag cut off */
	assert_int_equal(nethost[0].st->drops[DROP_ETH_VLAN], 1);
	nethost_push(0, f, frame(MAC_HOST(0), MAC_PEER(1), -1, 0x86dd), 0);
	nethost_push(0, f, frame(MAC_HOST(0), MAC_PEER(1), -1, 60), 0);
	nethost_push(0, f, frame(MAC_HOST(0), MAC_PEER(1), 0, 0x8100), 0);
	assert_int_equal(nethost[0].st->drops[DROP_ETH_TYPE], 3);
	assert_int_equal(nethost_close(), 0);
}

static void sent_frames_carry_the_configured_tag(void **state)
{
	const struct nethost_frame *o;

	(void)state;
	for (int hw = 0; hw < 2; hw++) {
		struct ip4_tx tx = { .src_be = IP(10, 0, 0, 1), .dst_be = IP(10, 0, 0, 255), .proto = 99, .ttl = 1, .df = true };

		nethost_open(1, false);
		nethost[0].nd.tx_offloads = hw;
		link_set_vlan(nethost[0].st, 7);
		assert_int_equal(ip4_output(nethost[0].st, nethost_chain("abc", 3, 0), &tx, NULL), 0);
		o = nethost_pop(0);
		if (hw) {
			assert_int_equal(o->len, (7u << 20) + 37);
			assert_memory_equal(o->data, "\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\0\x45", 15);
		} else {
			assert_int_equal(o->len, 41);
			assert_memory_equal(o->data, "\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x81\0\0\x07\x08\0\x45", 19);
			assert_int_equal(naive_csum(o->data + 18, 20, 0), 0);
		}
		assert_int_equal(nethost_close(), 0);
	}
}

static void groups_are_mapped_to_their_addresses(void **state)
{
	static const struct {
		uint32_t dst_be;
		uint8_t mac[6];
	} t[] = {
		{ IP(224, 0, 0, 1), { 1, 0, 0x5e, 0, 0, 1 } },
		{ IP(239, 129, 2, 3), { 1, 0, 0x5e, 1, 2, 3 } },
		{ IP(255, 255, 255, 255), { 255, 255, 255, 255, 255, 255 } },
		{ IP(10, 0, 0, 255), { 255, 255, 255, 255, 255, 255 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct ip4_tx tx = { .src_be = IP(10, 0, 0, 1), .dst_be = t[i].dst_be, .proto = 99, .ttl = 1, .df = true };
		const struct nethost_frame *o;

		nethost_open(1, false);
		assert_int_equal(ip4_output(nethost[0].st, nethost_chain("abc", 3, 0), &tx, NULL), 0);
		o = nethost_pop(0);
		assert_memory_equal(o->data, t[i].mac, 6);
		assert_null(nethost_pop(0));
		assert_int_equal(nethost_close(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_filter),
		cmocka_unit_test(vlan_filter),
		cmocka_unit_test(short_frames_and_other_types_are_dropped),
		cmocka_unit_test(sent_frames_carry_the_configured_tag),
		cmocka_unit_test(groups_are_mapped_to_their_addresses),
	};

	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

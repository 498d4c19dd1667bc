/* Memberships are reported: on joining and leaving, and to queriers of all three versions. */
#include "nethost.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define GROUP IP(239, 1, 2, 3)
#define GROUP2 IP(239, 9, 9, 9)
#define V3_ROUTERS IP(224, 0, 0, 22)
#define ALL_HOSTS IP(224, 0, 0, 1)
#define SECOND 1000000ULL

/* The next frame: an IGMP message of the type to dst; its bytes from the IGMP header on. */
static const uint8_t *expect(uint8_t type, uint32_t dst, uint32_t len)
{
	const struct nethost_frame *o = nethost_pop(0);

	assert_non_null(o);
	assert_int_equal(o->data[0], 1);
	assert_int_equal(o->data[14], 0x46);
	assert_int_equal(o->data[22], 1); /* TTL */
	assert_int_equal(o->data[23], 2);
	assert_memory_equal(o->data + 30, &dst, 4);
	assert_memory_equal(o->data + 34, "\x94\x04\0\0", 4); /* router alert */
	assert_int_equal(naive_csum(o->data + 14, 24, 0), 0);
	assert_int_equal(o->len, 38 + len);
	assert_int_equal(naive_csum(o->data + 38, len, 0), 0);
	assert_int_equal(o->data[38], type);
	return o->data + 38;
}

static void expect_record(uint8_t record, uint32_t group)
{
	const uint8_t *p = expect(0x22, V3_ROUTERS, 16);

	assert_memory_equal(p + 4, "\0\0\0\x01", 4);
	assert_int_equal(p[8], record);
	assert_memory_equal(p + 12, &group, 4);
}

static void query(uint8_t code, uint32_t group, uint32_t len, uint8_t ttl, bool spoil)
{
	struct net_ip ip = { .src_be = IP(10, 0, 0, 77), .dst_be = group ? group : ALL_HOSTS, .proto = 2, .ttl = ttl };
	const uint8_t mac[6] = { 1, 0, 0x5e, group ? 1 : 0, group ? 2 : 0, group ? 3 : 1 };
	uint8_t f[64], q[16] = { 0x11, code };
	uint32_t n = put_eth(f, mac, MAC_PEER(1), 0x0800);
	uint16_t sum;

	memcpy(q + 4, &group, 4);
	sum = naive_csum(q, len, 0);
	memcpy(q + 2, &sum, 2);
	q[2] ^= spoil;
	n += put_ip4(f + n, &ip, len);
	memcpy(f + n, q, len);
	nethost_push(0, f, n + len, 0);
}

static void joins_and_leaves_are_reported_twice(void **state)
{
	(void)state;
	nethost_open(1, false);
	assert_int_equal(ip4_group_join(nethost[0].st, GROUP), 0);
	assert_int_equal(ip4_group_join(nethost[0].st, GROUP), 0);
	nethost_run(0, 0);
	expect_record(4, GROUP); /* to exclude mode: all sources */
	assert_null(nethost_pop(0));
	nethost_run(0, SECOND);
	expect_record(2, GROUP);
	nethost_run(0, 10 * SECOND);
	assert_null(nethost_pop(0));
	assert_int_equal(ip4_group_leave(nethost[0].st, GROUP), 0);
	nethost_run(0, SECOND);
	assert_null(nethost_pop(0));
	assert_int_equal(ip4_group_leave(nethost[0].st, GROUP), 0);
	nethost_run(0, 0);
	expect_record(3, GROUP);
	nethost_run(0, SECOND);
	expect_record(3, GROUP);
	nethost_run(0, 10 * SECOND);
	assert_null(nethost_pop(0));
	assert_int_equal(nethost_close(), 0);
}

static void queries_are_answered_within_their_time(void **state)
{
	const uint8_t *p;

	(void)state;
	nethost_open(1, false);
	ip4_group_join(nethost[0].st, GROUP);
	ip4_group_join(nethost[0].st, GROUP2);
	nethost_run(0, 2 * SECOND);
	nethost_discard(0);
	query(100, 0, 12, 1, false);
	assert_null(nethost_pop(0));
	nethost_run(0, 10 * SECOND);
	p = expect(0x22, V3_ROUTERS, 24);
	assert_memory_equal(p + 4, "\0\0\0\x02", 4);
	assert_null(nethost_pop(0));
	query(10, GROUP, 12, 1, false);
	nethost_run(0, SECOND);
	expect(0x22, V3_ROUTERS, 24);
	/* what is no query for us is not answered */
	query(10, IP(239, 1, 2, 4), 12, 1, false);
	query(10, 0, 12, 2, false);
	query(10, 0, 12, 1, true);
	query(10, 0, 7, 1, false);
	query(10, 0, 10, 1, false);
	nethost_run(0, 20 * SECOND);
	assert_null(nethost_pop(0));
	assert_int_equal(nethost_close(), 0);
}

static void older_queriers_get_reports_of_their_version(void **state)
{
	(void)state;
	nethost_open(1, false);
	ip4_group_join(nethost[0].st, GROUP);
	nethost_run(0, 2 * SECOND);
	nethost_discard(0);
	query(50, 0, 8, 1, false);
	nethost_run(0, 5 * SECOND);
	expect(0x16, GROUP, 8);
	ip4_group_leave(nethost[0].st, GROUP);
	nethost_run(0, 0);
	expect(0x17, IP(224, 0, 0, 2), 8);
	nethost_run(0, 2 * SECOND);
	nethost_discard(0);
	ip4_group_join(nethost[0].st, GROUP);
	nethost_run(0, 0);
	expect(0x16, GROUP, 8);
	nethost_run(0, 2 * SECOND);
	nethost_discard(0);
	query(0, 0, 8, 1, false); /* version 1 */
	nethost_run(0, 10 * SECOND);
	expect(0x12, GROUP, 8);
	/* 400 s without an older one: version 3 again */
	nethost_run(0, 400 * SECOND);
	query(10, 0, 12, 1, false);
	nethost_run(0, SECOND);
	expect_record(2, GROUP);
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(joins_and_leaves_are_reported_twice),
		cmocka_unit_test(queries_are_answered_within_their_time),
		cmocka_unit_test(older_queriers_get_reports_of_their_version),
	};

	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_tcp_pmtu.c - a path that is narrower than both links: with a router that says so, with one that does not, and with the search always on; and
 * links that take jumbo frames. Two stacks and a wire with a narrow place, in virtual time; every byte is compared. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* The narrow place: what host 0 sends and is larger does not pass. */
static struct {
	uint32_t mtu;
	bool silent; /* no ICMP */
	uint32_t refused, told, cut, largest; /* cut: larger ones without DF, which a router may fragment; here they pass */
} narrow;

static uint16_t ip_len(const struct frame *f) { return (uint16_t)(f->data[16] << 8 | f->data[17]); }

static bool pass(void *arg, const struct frame *f, uint64_t nth)
{
	struct seg s = { .kind = SEG_ICMP, .icmp_type = 3, .icmp_code = 4, .icmp_rest = narrow.mtu };
	struct thost *h = &tenv.host[0];

	(void)arg;
	(void)nth;
	if (f->data[12] != 8 || f->data[13] != 0)
		return true;
	if (ip_len(f) <= narrow.mtu) {
		narrow.largest = MAX(narrow.largest, ip_len(f));
		return true;
	}
	if (!(f->data[20] & 0x40)) {
		narrow.cut++;
		return true;
	}
	narrow.refused++;
	if (!narrow.silent) {
		narrow.told++;
		s.saddr = htonl(0x0a0000fe);
		s.daddr = h->ip_be;
		memcpy(s.dmac, h->dev.nd.mac, 6);
		memcpy(s.smac, tenv.host[1].dev.nd.mac, 6);
		s.data = f->data + SEG_ETH_BYTES;
		s.len = 28;
		memdev_push(&h->dev, seg_build(&s));
	}
	return false;
}

static uint8_t byte_at(uint64_t i) { return (uint8_t)(i * 13 + (i >> 9)); }

struct transfer {
	struct sock *c, *a;
	uint64_t sent, got, bytes;
};

static bool step(void *arg)
{
	struct transfer *x = arg;
	static uint8_t buf[65536];

	while (x->sent < x->bytes) {
		size_t n = MIN(sizeof(buf), x->bytes - x->sent);
		ssize_t r;

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(x->sent + i);
		r = sock_send(x->c, buf, n, MSG_DONTWAIT, tenv.self);
		if (r <= 0)
			break;
		x->sent += (uint64_t)r;
	}
	for (;;) {
		ssize_t r = sock_recv(x->a, buf, sizeof(buf), MSG_DONTWAIT, tenv.self);

		if (r <= 0)
			break;
		for (ssize_t i = 0; i < r; i++)
			assert_int_equal(buf[i], byte_at(x->got + (uint64_t)i));
		x->got += (uint64_t)r;
	}
	return x->got == x->bytes;
}

static void setup(const struct memdev_conf *dev, uint32_t mtu, bool silent, uint8_t probing, struct transfer *x)
{
	struct sock *l;

	testenv_open(&(struct testenv_conf){ .nb_hosts = 2, .wired = true, .seed = 5, .dev = *dev });
	memset(&narrow, 0, sizeof(narrow));
	narrow.mtu = mtu;
	narrow.silent = silent;
	for (unsigned i = 0; i < 2; i++) {
		tenv.wire.link[i].conf.delay_us = 2000;
		tcp_conf_of(tenv.host[i].st)->mtu_probing = probing;
	}
	tenv.wire.link[0].conf.filter = pass;
	l = testenv_listener(1, 80, 16);
	memset(x, 0, sizeof(*x));
	x->c = testenv_connect(0, 1, 80);
	testenv_run_for(20000);
	assert_int_equal(sock_accept(l, &x->a, true, -1, tenv.self), 0);
	testenv_close_sock(l);
}

static void carry(struct transfer *x, uint64_t bytes, uint64_t limit_us)
{
	x->bytes += bytes;
	assert_true(testenv_run_cond(step, x, limit_us));
}

static void teardown(struct transfer *x)
{
	testenv_close_sock(x->c);
	testenv_close_sock(x->a);
	testenv_run_for(200000000);
	assert_int_equal(testenv_close(), 0);
}

static const struct memdev_conf plain = { 0 }, tso = { .tx_csum = true, .tso_max_bytes = 61440, .rx_csum = true };

static void router_tells_and_nothing_slows_down(void **state)
{
	const struct memdev_conf *dev[] = { &plain, &tso };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(dev); i++) {
		struct transfer x;
		struct stack *st;

		setup(dev[i], 1200, false, 1, &x);
		st = tenv.host[0].st;
		carry(&x, 2000000, 10000000);
		assert_int_equal(x.c->tcb.mss, 1200 - 52);
		assert_int_equal(narrow.largest, 1200);
		/* the first window was on its way; nothing since */
		assert_true(narrow.refused >= 1 && narrow.refused <= 10);
		assert_int_equal(st->mib.tcp_timeouts, 0);
		assert_int_equal(st->mib.tcp_pmtu_lowered, 1);
		assert_true(x.c->tcb.ssthresh >= TCP_SSTHRESH_INF || x.c->tcb.ssthresh >= 10 * 1148);
		assert_int_equal(x.c->tcb.ca_state, TCP_CA_OPEN);
		teardown(&x);
	}
}

static void path_below_the_floor_is_left_to_the_routers(void **state)
{
	struct transfer x;

	(void)state;
	setup(&plain, 400, false, 1, &x);
	carry(&x, 100000, 10000000);
	assert_int_equal(x.c->tcb.mss, 552 - 52);
	assert_true(narrow.cut > 100);
	assert_true(narrow.refused <= 10);
	assert_int_equal(tenv.host[0].st->mib.tcp_timeouts, 0);
	teardown(&x);
}

static void silent_black_hole_is_found_and_searched(void **state)
{
	struct transfer x;
	struct stack *st;

	(void)state;
	setup(&plain, 1300, true, 1, &x);
	st = tenv.host[0].st;
	carry(&x, 4000000, 60000000);
	assert_int_equal(st->mib.tcp_mtu_black_hole, 1);
	assert_true(st->mib.tcp_mtu_probe_ok >= 2);
	/* between the largest that passes and the step of the search below it */
	assert_in_range(x.c->tcb.mss + 52, 1300 - 7, 1300);
	assert_false(x.c->tcb.slow & TCP_SLOW_MTU);
	teardown(&x);
}

static void search_that_is_always_on_loses_only_probes(void **state)
{
	struct transfer x;
	struct stack *st;

	(void)state;
	setup(&plain, 1300, true, 2, &x);
	st = tenv.host[0].st;
	assert_int_equal(x.c->tcb.mss, 1024);
	carry(&x, 4000000, 20000000);
	assert_in_range(x.c->tcb.mss + 52, 1300 - 7, 1300);
	assert_true(st->mib.tcp_mtu_probe >= 4);
	/* each refused packet was a probe, none was a time-out, and none was taken for congestion */
	assert_int_equal(narrow.refused, st->mib.tcp_mtu_probe - st->mib.tcp_mtu_probe_ok);
	assert_int_equal(st->mib.tcp_timeouts, 0);
	assert_int_equal(st->mib.tcp_fast_retrans, 0);
	assert_int_equal(x.c->tcb.total_rexmit, 2 * narrow.refused);

	/* the path grows; ten minutes later it is searched again */
	narrow.mtu = 1500;
	testenv_run_for(601000000);
	carry(&x, 4000000, 20000000);
	assert_in_range(x.c->tcb.mss + 52, 1500 - 7, 1500);
	teardown(&x);
}

static void probing_off_does_not_look(void **state)
{
	struct transfer x;

	(void)state;
	setup(&plain, 1300, true, 0, &x);
	x.bytes = 1460;
	assert_false(testenv_run_cond(step, &x, 60000000));
	assert_int_equal(x.c->tcb.mss, 1448);
	assert_int_equal(tenv.host[0].st->mib.tcp_mtu_black_hole, 0);
	testenv_close_sock(x.c);
	testenv_close_sock(x.a);
	testenv_run_for(1200000000);
	assert_int_equal(testenv_close(), 0);
}

static void learned_mtu_is_forgotten(void **state)
{
	struct transfer x;

	(void)state;
	setup(&plain, 1200, false, 1, &x);
	carry(&x, 100000, 10000000);
	assert_int_equal(x.c->tcb.mss, 1148);
	narrow.mtu = 1500;
	testenv_run_for(599000000);
	carry(&x, 100000, 10000000);
	assert_int_equal(x.c->tcb.mss, 1148);
	testenv_run_for(2000000);
	carry(&x, 100000, 10000000);
	assert_int_equal(x.c->tcb.mss, 1448);
	assert_int_equal(narrow.largest, 1500);
	/* and learned anew */
	narrow.mtu = 1400;
	carry(&x, 100000, 10000000);
	assert_int_equal(x.c->tcb.mss, 1348);
	teardown(&x);
}

/* A frame takes five mbufs: chained on the way out, received whole or in pieces, held by the device. */
static void jumbo_frames_both_ways(void **state)
{
	static const struct memdev_conf dev[] = {
		{ .mtu = 9000 },
		{ .mtu = 9000, .rx_seg_bytes = 1024, .tx_hold = 7 },
		{ .mtu = 9000, .tx_csum = true, .tso_max_bytes = 61440, .rx_csum = true, .rx_merge = true },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(dev); i++) {
		struct transfer x;

		setup(&dev[i], 9000, true, 1, &x);
		assert_int_equal(x.c->tcb.mss_offered, 8960);
		assert_int_equal(x.c->tcb.mss, 8960 - 12);
		carry(&x, 5000000, 10000000);
		assert_int_equal(narrow.largest, 9000);
		assert_int_equal(tenv.host[0].st->mib.tcp_retran_seg, 0);
		teardown(&x);
	}
}

static void jumbo_link_and_narrow_path(void **state)
{
	struct transfer x;

	(void)state;
	setup(&(struct memdev_conf){ .mtu = 9000 }, 1500, false, 1, &x);
	carry(&x, 2000000, 10000000);
	assert_int_equal(x.c->tcb.mss, 1448);
	assert_int_equal(tenv.host[0].st->mib.tcp_timeouts, 0);
	teardown(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(router_tells_and_nothing_slows_down),
		cmocka_unit_test(path_below_the_floor_is_left_to_the_routers),
		cmocka_unit_test(silent_black_hole_is_found_and_searched),
		cmocka_unit_test(search_that_is_always_on_loses_only_probes),
		cmocka_unit_test(probing_off_does_not_look),
		cmocka_unit_test(learned_mtu_is_forgotten),
		cmocka_unit_test(jumbo_frames_both_ways),
		cmocka_unit_test(jumbo_link_and_narrow_path),
	};

	return cmocka_run_group_tests_name("tcp_pmtu", tests, NULL, NULL);
}

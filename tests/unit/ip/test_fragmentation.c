/* What one host cuts, another puts together: datagrams of all sizes, from chains of all shapes, at several MTUs. */
#include "nethost.h"
#include "sock/ports.h"
#include "../../lib/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct prng rng;
static uint8_t payload[66000];

static int send_to(struct sock *s, uint32_t dst_be, uint32_t len, uint32_t seg)
{
	struct rte_mbuf *m = nethost_chain(payload, len, seg);
	struct ip_addr a = ip_addr_v4(dst_be);

	assert_non_null(m);
	memcpy(pkt_tx(m)->addr, &a, 16);
	pkt_tx(m)->port_be = htons(2000);
	pkt_tx(m)->ttl = 64;
	pkt_tx(m)->tos = 0;
	return udp_output(nethost[0].st, s, m);
}

static struct sock *bound(uint16_t port)
{
	struct sock *s = nethost_sock(AF_INET, SOCK_DGRAM);
	struct ip_addr any = ip_addr_any();
	uint16_t be = htons(port);

	assert_int_equal(ports_bind(PORT_UDP, s, &any, &be, NULL, NULL), 0);
	return s;
}

static void open_pair(uint32_t mtu)
{
	nethost_open(2, false);
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&nethost[i].nd.mtu, mtu);
		nethost_know(i, IP(10, 0, 0, 2 - i), MAC_HOST(1 - i));
	}
}

static void check_size(struct sock *s, uint32_t mtu, uint32_t len, uint32_t seg)
{
	const struct nethost_frame *f;
	unsigned frames = 0, before = up.dgrams;
	uint32_t step = (mtu - 20) & ~7u, want = len + 28 <= mtu ? 1 : (len + 8 + step - 1) / step;
	struct nethost_dgram *d;

	assert_int_equal(send_to(s, IP(10, 0, 0, 2), len, seg), 0);
	while ((f = nethost_pop(0)) != NULL) {
		assert_true(f->len <= mtu + 14);
		assert_int_equal(naive_csum(f->data + 14, 20, 0), 0);
		nethost_push(1, f->data, f->len, frames % 5 == 4 ? 100 : 0);
		frames++;
	}
	netdev_flush(&nethost[0].nd, 0);
	assert_int_equal(frames, want);
	assert_int_equal(up.dgrams, before + 1);
	d = &up.dgram[before % NETHOST_DGRAMS];
	assert_int_equal(d->len, len);
	assert_memory_equal(d->data, payload, len);
	assert_int_equal(d->info.port_be, htons(2000));
	assert_int_equal(d->info.local_be, IP(10, 0, 0, 2));
}

static void datagrams_of_all_sizes_survive_the_round_trip(void **state)
{
	static const uint32_t mtus[] = { 1500, 576, 9000, 1501, 1283 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(mtus); i++) {
		struct sock *s;

		open_pair(mtus[i]);
		s = bound(2000);
		for (uint32_t len = 0; len <= 65507; len += len < 3100 ? 1 : 61 + (uint32_t)prng_below(&rng, 700))
			check_size(s, mtus[i], len, len / 500 + 1 + (uint32_t)prng_below(&rng, 1700));
		check_size(s, mtus[i], 65506, 0);
		check_size(s, mtus[i], 65507, 999);
		assert_int_equal(send_to(s, IP(10, 0, 0, 2), 65508, 0), -EMSGSIZE);
		assert_int_equal(nethost_close(), 0);
	}
}

static void smallest_mtu_takes_the_largest_datagram(void **state)
{
	struct sock *s;

	(void)state;
	open_pair(68);
	s = bound(2000);
	check_size(s, 68, 65507, 0);
	assert_true(nethost[0].st->mib.ip_frag_create > 1300);
	assert_int_equal(nethost_close(), 0);
}

static void df_refuses_what_does_not_fit(void **state)
{
	struct sock *s;

	(void)state;
	open_pair(1500);
	s = bound(2000);
	s->opt.mtu_discover = IP_PMTUDISC_DO;
	assert_int_equal(send_to(s, IP(10, 0, 0, 2), 1473, 0), -EMSGSIZE);
	check_size(s, 1500, 1472, 0);
	assert_int_equal(nethost_close(), 0);
}

/* All fragments go out or none: half a datagram only costs the other side its buffers. */
static void full_device_sends_no_half_datagram(void **state)
{
	struct sock *s;

	(void)state;
	open_pair(1500);
	s = bound(2000);
	nethost[0].tx_stuck = true;
	nethost[0].nd.queues[0].txq_len = 2 * NETDEV_BURST - 10;
	assert_int_equal(send_to(s, IP(10, 0, 0, 2), 60000, 0), -ENOBUFS);
	assert_null(nethost_pop(0));
	assert_int_equal(nethost[0].st->drops[DROP_TX_FULL], 1);
	assert_int_equal(nethost_close(), 0);
}

/* RFC 6864: never the same identification twice in a short time where fragments are possible; none needed with DF. */
static void identifications_do_not_repeat(void **state)
{
	static uint8_t used[65536];
	const struct nethost_frame *f;
	struct sock *s;

	(void)state;
	open_pair(1500);
	s = bound(2000);
	s->opt.mtu_discover = IP_PMTUDISC_DONT;
	for (int i = 0; i < 65536; i++) {
		uint16_t id;

		assert_int_equal(send_to(s, IP(10, 0, 0, 2), 10, 0), 0);
		netdev_flush(&nethost[0].nd, 0);
		f = nethost_pop(0);
		assert_non_null(f);
		memcpy(&id, f->data + 18, 2);
		assert_int_equal(used[id], 0);
		used[id] = 1;
	}
	s->opt.mtu_discover = IP_PMTUDISC_WANT;
	assert_int_equal(send_to(s, IP(10, 0, 0, 2), 10, 0), 0);
	f = nethost_pop(0);
	assert_int_equal(f->data[18] | f->data[19], 0);
	assert_int_equal(f->data[20], 0x40);
	assert_int_equal(nethost_close(), 0);
}

static void own_address_loops_back_whole(void **state)
{
	struct sock *s;

	(void)state;
	open_pair(1500);
	s = bound(2000);
	for (uint32_t len = 0; len <= 65507; len += 4999) {
		unsigned before = up.dgrams;

		assert_int_equal(send_to(s, IP(10, 0, 0, 1), len, 1300), 0);
		nethost_run(0, 0);
		assert_int_equal(up.dgrams, before + 1);
		assert_int_equal(up.dgram[before].len, len);
		assert_memory_equal(up.dgram[before].data, payload, len);
	}
	assert_null(nethost_pop(0)); /* nothing on the wire */
	assert_int_equal(nethost_close(), 0);
}

static void loopback_copies_what_the_sender_still_holds(void **state)
{
	struct ip4_tx tx = { .src_be = IP(10, 0, 0, 1), .dst_be = IP(10, 0, 0, 1), .proto = 6, .ttl = 64, .df = true };
	struct ip_route route = { 0 };
	struct rte_mbuf *m;

	(void)state;
	open_pair(1500);
	m = nethost_chain(payload, 3000, 1500);
	rte_mbuf_refcnt_update(m, 1); /* the retransmission queue's */
	assert_int_equal(ip4_output(nethost[0].st, m, &tx, &route), 0);
	nethost_run(0, 0);
	assert_int_equal(up.tcp_segs, 1);
	assert_int_equal(up.tcp_len, 3000);
	assert_int_equal(rte_mbuf_refcnt_read(m), 1);
	assert_int_equal(ip4_mtu(nethost[0].st, &route), 65535);
	rte_pktmbuf_free(m);
	assert_int_equal(nethost_close(), 0);
}

static void loopback_queue_is_bounded(void **state)
{
	struct sock *s;
	int full = 0;

	(void)state;
	open_pair(1500);
	s = bound(2000);
	for (int i = 0; i < 1500; i++)
		full += send_to(s, IP(10, 0, 0, 1), 1, 0) == -ENOBUFS;
	assert_int_equal(full, 1500 - 1024);
	assert_int_equal(nethost_close(), 0);
}

static void routes(void **state)
{
	struct stack *st;

	(void)state;
	nethost_open(1, false);
	st = nethost[0].st;
	assert_int_equal(ip4_next_hop(st, IP(10, 0, 0, 9)), IP(10, 0, 0, 9));
	assert_int_equal(ip4_next_hop(st, IP(192, 0, 2, 1)), IP(10, 0, 0, 254));
	assert_int_equal(ip4_next_hop(st, IP(127, 0, 0, 1)), 0);
	assert_int_equal(ip4_next_hop(st, 0), 0);
	assert_int_equal(ip4_next_hop(st, INADDR_BROADCAST), INADDR_BROADCAST);
	assert_int_equal(ip4_next_hop(st, IP(10, 0, 0, 255)), IP(10, 0, 0, 255));
	assert_int_equal(ip4_next_hop(st, IP(239, 1, 2, 3)), IP(239, 1, 2, 3));
	st->ip4.gateway_be = 0;
	assert_int_equal(ip4_next_hop(st, IP(192, 0, 2, 1)), 0);
	assert_int_equal(send_to(bound(2000), IP(192, 0, 2, 1), 5, 0), -ENETUNREACH);
	assert_int_equal(st->mib.ip_outnort, 1);
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_of_all_sizes_survive_the_round_trip),
		cmocka_unit_test(smallest_mtu_takes_the_largest_datagram),
		cmocka_unit_test(df_refuses_what_does_not_fit),
		cmocka_unit_test(full_device_sends_no_half_datagram),
		cmocka_unit_test(identifications_do_not_repeat),
		cmocka_unit_test(own_address_loops_back_whole),
		cmocka_unit_test(loopback_copies_what_the_sender_still_holds),
		cmocka_unit_test(loopback_queue_is_bounded),
		cmocka_unit_test(routes),
	};

	prng_seed(&rng, 5);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)prng_u64(&rng);
	nethost_eal(8192);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

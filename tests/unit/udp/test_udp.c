/* UDP: lengths and checksums, which socket gets what, broadcast and multicast, what leaves and with which source and flags. */
#include "nethost.h"
#include "sock/ports.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define OWN IP(10, 0, 0, 1)
#define PEER IP(10, 0, 0, 77)

static uint8_t f[3000];

static uint32_t datagram(uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, const char *text)
{
	struct net_ip ip = { .src_be = src, .dst_be = dst, .proto = 17, .tos = 0x10, .ttl = 9 };
	const uint8_t bcast[6] = { 255, 255, 255, 255, 255, 255 }, mcast[6] = { 1, 0, 0x5e, 1, 1, 1 };
	uint8_t body[2000];
	uint32_t n = put_udp(body, src, dst, sport, dport, text, (uint32_t)strlen(text)), at;

	at = put_eth(f, dst == OWN ? MAC_HOST(0) : ip4_is_multicast(dst) ? mcast : bcast, MAC_PEER(1), 0x0800);
	at += put_ip4(f + at, &ip, n);
	memcpy(f + at, body, n);
	return at + n;
}

static struct sock *bound_to(uint32_t addr, uint16_t port, bool reuse)
{
	struct sock *s = nethost_sock(AF_INET, SOCK_DGRAM);
	struct ip_addr a = addr ? ip_addr_v4(addr) : ip_addr_any();
	uint16_t be = htons(port);

	s->opt.reuseaddr = reuse;
	assert_int_equal(ports_bind(PORT_UDP, s, &a, &be, NULL, NULL), 0);
	return s;
}

static void connect_to(struct sock *s, uint32_t addr, uint16_t port)
{
	s->tcb.raddr = ip_addr_v4(addr);
	s->tcb.rport_be = htons(port);
	atomic_fetch_or(&s->status, SOCK_CONNECTED);
}

static void expect_at(struct sock *s, const char *text)
{
	assert_int_equal(up.dgrams, 1);
	assert_ptr_equal(up.dgram[0].s, s);
	assert_int_equal(up.dgram[0].len, strlen(text));
	assert_memory_equal(up.dgram[0].data, text, strlen(text));
	up.dgrams = 0;
}

static void delivery_matrix(void **state)
{
	struct sock *any, *exact, *connected, *other;
	struct ip_addr peer = ip_addr_v4(PEER);

	(void)state;
	nethost_open(1, false);
	any = bound_to(0, 1000, true);
	exact = bound_to(OWN, 1000, true);
	connected = bound_to(OWN, 1000, true);
	other = bound_to(0, 1001, false);
	connect_to(connected, PEER, 5);

	nethost_push(0, f, datagram(PEER, OWN, 5, 1000, "connected"), 0);
	expect_at(connected, "connected");
	nethost_push(0, f, datagram(PEER, OWN, 6, 1000, "exact"), 0);
	expect_at(exact, "exact");
	nethost_push(0, f, datagram(IP(10, 0, 0, 78), OWN, 5, 1000, "exact"), 0);
	expect_at(exact, "exact");
	ports_unbind(PORT_UDP, exact);
	nethost_push(0, f, datagram(PEER, OWN, 6, 1000, "any"), 17);
	expect_at(any, "any");
	nethost_push(0, f, datagram(PEER, OWN, 6, 1001, "other"), 0);
	expect_at(other, "other");
	assert_int_equal(up.dgram[0].info.port_be, htons(6));
	assert_int_equal(up.dgram[0].info.tos, 0x10);
	assert_int_equal(up.dgram[0].info.ttl, 9);
	assert_int_equal(up.dgram[0].info.local_be, OWN);
	assert_memory_equal(up.dgram[0].info.addr, &peer, 16);
	/* a connected socket takes nothing from others: nobody is there for them */
	ports_unbind(PORT_UDP, any);
	nethost_push(0, f, datagram(PEER, OWN, 6, 1000, "nobody"), 0);
	assert_int_equal(up.dgrams, 0);
	assert_int_equal(nethost[0].st->mib.udp_no_ports, 1);
	assert_int_equal(nethost_close(), 0);
}

static void six_sockets_serve_four(void **state)
{
	struct sock *s, *only6;
	struct ip_addr any = ip_addr_any();
	uint16_t port = htons(53);

	(void)state;
	nethost_open(1, false);
	s = nethost_sock(AF_INET6, SOCK_DGRAM);
	only6 = nethost_sock(AF_INET6, SOCK_DGRAM);
	only6->opt.v6only = 1;
	assert_int_equal(ports_bind(PORT_UDP, only6, &any, &port, NULL, NULL), 0);
	nethost_push(0, f, datagram(PEER, OWN, 6, 53, "x"), 0);
	assert_int_equal(up.dgrams, 0);
	ports_unbind(PORT_UDP, only6);
	assert_int_equal(ports_bind(PORT_UDP, s, &any, &port, NULL, NULL), 0);
	nethost_push(0, f, datagram(PEER, OWN, 6, 53, "x"), 0);
	expect_at(s, "x");
	assert_int_equal(nethost_close(), 0);
}

static void bad_lengths_and_checksums_are_dropped(void **state)
{
	struct stack *st;
	uint32_t n;
	struct sock *s;

	(void)state;
	nethost_open(1, false);
	st = nethost[0].st;
	s = bound_to(0, 1000, false);
	n = datagram(PEER, OWN, 5, 1000, "hello");
	f[38] = 0;
	f[39] = 7; /* shorter than its header */
	nethost_push(0, f, n, 0);
	f[39] = 14; /* longer than the packet */
	nethost_push(0, f, n, 0);
	assert_int_equal(st->drops[DROP_UDP_SHORT], 2);
	n = datagram(PEER, OWN, 5, 1000, "hello");
	f[n - 1] ^= 4;
	nethost_push(0, f, n, 0);
	nethost_push(0, f, n, 9);
	assert_int_equal(st->drops[DROP_UDP_CHECKSUM], 2);
	f[40] = f[41] = 0; /* no checksum: not checked (RFC 768) */
	nethost_push(0, f, n, 0);
	expect_at(s, "hellk");
	/* bytes behind the datagram are no part of it */
	n = datagram(PEER, OWN, 5, 1000, "hello");
	f[17] = (uint8_t)(f[17] + 4);
	f[24] = f[25] = 0;
	memcpy(f + 24, &(uint16_t){ naive_csum(f + 14, 20, 0) }, 2);
	nethost_push(0, f, n + 4, 0);
	expect_at(s, "hello");
	/* every truncation */
	for (uint32_t len = 0; len < 8; len++) {
		struct net_ip ip = { .src_be = PEER, .dst_be = OWN, .proto = 17 };

		put_ip4(f + 14, &ip, len);
		nethost_push(0, f, 34 + len, len % 2 ? 5 : 0);
	}
	assert_int_equal(st->drops[DROP_UDP_SHORT], 10);
	assert_int_equal(st->mib.udp_in_errors, 12);
	assert_int_equal(up.dgrams, 0);
	assert_int_equal(nethost_close(), 0);
}

static void groups_reach_every_socket_that_wants_them(void **state)
{
	struct sock *a, *b, *c, *d, *e;
	unsigned seen = 0;

	(void)state;
	nethost_open(1, false);
	a = bound_to(0, 1000, true);
	b = bound_to(0, 1000, true);
	c = bound_to(IP(239, 1, 1, 1), 1000, true);
	d = bound_to(OWN, 1000, true); /* bound to our address: no groups */
	e = bound_to(0, 1000, true);
	connect_to(e, IP(10, 0, 0, 5), 5);
	nethost_push(0, f, datagram(PEER, IP(239, 1, 1, 1), 5, 1000, "group"), 0);
	assert_int_equal(up.dgrams, 0); /* not joined */
	assert_int_equal(ip4_group_join(nethost[0].st, IP(239, 1, 1, 1)), 0);
	nethost_run(0, 0); /* the membership report leaves */
	nethost_push(0, f, datagram(PEER, IP(239, 1, 1, 1), 5, 1000, "group"), 0);
	assert_int_equal(up.dgrams, 3);
	for (int i = 0; i < 3; i++) {
		struct sock *s = up.dgram[i].s;

		seen |= s == a ? 1 : s == b ? 2 : s == c ? 4 : 8;
		assert_memory_equal(up.dgram[i].data, "group", 5);
		assert_int_equal(up.dgram[i].info.local_be, IP(239, 1, 1, 1));
	}
	assert_int_equal(seen, 7);
	(void)d;
	up.dgrams = 0;
	nethost_push(0, f, datagram(PEER, IP(10, 0, 0, 255), 5, 1000, "all"), 0);
	assert_int_equal(up.dgrams, 2);
	up.dgrams = 0;
	nethost_push(0, f, datagram(PEER, INADDR_BROADCAST, 5, 1000, "all"), 20);
	assert_int_equal(up.dgrams, 2);
	/* nobody there: no ICMP error about a group */
	nethost_push(0, f, datagram(PEER, INADDR_BROADCAST, 5, 1001, "all"), 0);
	assert_int_equal(nethost[0].st->reply_len, 0);
	assert_int_equal(nethost_close(), 0);
}

static int out(struct sock *s, uint32_t dst, uint16_t port, const char *text)
{
	struct rte_mbuf *m = nethost_chain(text, (uint32_t)strlen(text), 0);
	struct ip_addr a = ip_addr_v4(dst);

	memcpy(pkt_tx(m)->addr, &a, 16);
	pkt_tx(m)->port_be = htons(port);
	pkt_tx(m)->ttl = 33;
	pkt_tx(m)->tos = 0x20;
	return udp_output(nethost[0].st, s, m);
}

static void sent_datagrams_are_right(void **state)
{
	const struct nethost_frame *o;
	struct sock *s;
	uint32_t pseudo;

	(void)state;
	nethost_open(1, false);
	nethost_know(0, PEER, MAC_PEER(1));
	s = bound_to(0, 1000, false);
	for (int len = 0; len < 40; len++) {
		char text[41] = { 0 };

		memset(text, 'a' + len, (size_t)len);
		assert_int_equal(out(s, PEER, 2000, text), 0);
		o = nethost_pop(0);
		assert_int_equal(o->len, 42 + len);
		assert_int_equal(o->data[22], 33);
		assert_int_equal(o->data[15], 0x20);
		assert_memory_equal(o->data + 26, &(uint32_t){ OWN }, 4);
		assert_memory_equal(o->data + 34, "\x03\xe8\x07\xd0\0", 5);
		pseudo = 0x0a00 + 0x0001 + 0x0a00 + 77 + 17 + 8 + (uint32_t)len;
		assert_int_equal(naive_csum(o->data + 34, o->len - 34, pseudo), 0);
	}
	s->opt.no_check = 1;
	assert_int_equal(out(s, PEER, 2000, "x"), 0);
	o = nethost_pop(0);
	assert_int_equal(o->data[40] | o->data[41], 0);
	s->opt.no_check = 0;
	assert_int_equal(out(s, PEER, 0, "x"), -EINVAL);
	assert_int_equal(out(s, IP(127, 0, 0, 1), 9, "x"), -ENETUNREACH);
	assert_int_equal(out(s, IP(10, 0, 0, 255), 9, "x"), -EACCES);
	s->opt.broadcast = 1;
	assert_int_equal(out(s, IP(10, 0, 0, 255), 9, "x"), 0);
	assert_non_null(nethost_pop(0));
	assert_int_equal(nethost_close(), 0);
}

static void own_groups_hear_us_as_multicast_loop_says(void **state)
{
	struct sock *s, *r;

	(void)state;
	nethost_open(1, false);
	s = bound_to(0, 1000, false);
	r = bound_to(0, 2000, false);
	assert_int_equal(out(s, IP(239, 1, 1, 1), 2000, "m"), 0);
	nethost_run(0, 0);
	assert_int_equal(up.dgrams, 0); /* nobody joined */
	assert_int_equal(ip4_group_join(nethost[0].st, IP(239, 1, 1, 1)), 0);
	assert_int_equal(out(s, IP(239, 1, 1, 1), 2000, "m"), 0);
	nethost_run(0, 0);
	expect_at(r, "m");
	s->opt.mc_loop = 0;
	assert_int_equal(out(s, IP(239, 1, 1, 1), 2000, "m"), 0);
	nethost_run(0, 0);
	assert_int_equal(up.dgrams, 0);
	s->opt.broadcast = 1;
	assert_int_equal(out(s, INADDR_BROADCAST, 2000, "b"), 0);
	nethost_run(0, 0);
	expect_at(r, "b");
	nethost_discard(0);
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delivery_matrix),
		cmocka_unit_test(six_sockets_serve_four),
		cmocka_unit_test(bad_lengths_and_checksums_are_dropped),
		cmocka_unit_test(groups_reach_every_socket_that_wants_them),
		cmocka_unit_test(sent_datagrams_are_right),
		cmocka_unit_test(own_groups_hear_us_as_multicast_loop_says),
	};

	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

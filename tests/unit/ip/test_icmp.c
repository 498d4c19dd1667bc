/* Echo of all sizes, errors made (and those that must not be), errors believed (and those that must not be). */
#include "nethost.h"
#include "sock/ports.h"
#include "../../lib/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PEER IP(10, 0, 0, 2)
#define OWN IP(10, 0, 0, 1)

static struct prng rng;
static uint8_t f[70000], payload[66000], got[70000];

/* Pushes an IP packet to host 0, cut into fragments at mtu. */
static void push_ip(const struct net_ip *ip0, const uint8_t *body, uint32_t len, uint32_t mtu)
{
	struct net_ip ip = *ip0;
	uint32_t step = (mtu - 20) & ~7u;

	for (uint32_t off = 0; off < len || off == 0; off += step) {
		uint32_t n = MIN(step, len - off), at = put_eth(f, MAC_HOST(0), MAC_HOST(1), 0x0800);

		if (len + 20 <= mtu)
			n = len;
		else
			ip.frag = (uint16_t)(off / 8 | (off + n < len ? 0x2000 : 0));
		at += put_ip4(f + at, &ip, n);
		memcpy(f + at, body + off, n);
		nethost_push(0, f, at + n, 0);
		if (n == len)
			break;
	}
}

/* Puts together what host 0 sent as one IP packet (in order); returns the payload's length. */
static uint32_t collect(struct net_ip *ip)
{
	const struct nethost_frame *o;
	uint32_t len = 0;

	while ((o = nethost_pop(0)) != NULL) {
		uint32_t n = o->len - 34;

		assert_int_equal(naive_csum(o->data + 14, 20, 0), 0);
		assert_int_equal(((uint32_t)o->data[20] << 8 | o->data[21]) % 0x2000 * 8, len);
		memcpy(got + len, o->data + 34, n);
		len += n;
		ip->proto = o->data[23];
		memcpy(&ip->src_be, o->data + 26, 4);
		memcpy(&ip->dst_be, o->data + 30, 4);
	}
	return len;
}

static void echo_of_all_sizes_is_answered(void **state)
{
	static uint8_t body[66000];
	struct net_ip ip = { .src_be = PEER, .dst_be = OWN, .proto = 1 }, r = { 0 };

	(void)state;
	nethost_open(1, false);
	nethost_know(0, PEER, MAC_HOST(1));
	for (uint32_t len = 0; len <= 65507; len += len < 3200 ? 1 : 1 + (uint32_t)prng_below(&rng, 900)) {
		uint32_t n;

		if (len > 65300)
			len = 65507;
		n = put_icmp(body, 8, 0, len, payload, len);
		ip.id++;
		push_ip(&ip, body, n, len % 3 ? 1500 : 576);
		nethost_run(0, 0);
		assert_int_equal(collect(&r), n);
		assert_int_equal(r.src_be, OWN);
		assert_int_equal(r.dst_be, PEER);
		assert_int_equal(got[0], 0);
		assert_int_equal(naive_csum(got, n, 0), 0);
		assert_memory_equal(got + 4, body + 4, n - 4);
	}
	assert_int_equal(nethost_close(), 0);
}

static void bad_or_group_echo_is_not_answered(void **state)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = OWN, .proto = 1 };
	uint8_t body[64];
	uint32_t n = put_icmp(body, 8, 0, 1, payload, 32), at;

	(void)state;
	nethost_open(1, false);
	nethost_know(0, PEER, MAC_HOST(1));
	body[20] ^= 1;
	push_ip(&ip, body, n, 1500);
	body[20] ^= 1;
	assert_int_equal(nethost[0].st->drops[DROP_ICMP_CHECKSUM], 1);
	push_ip(&ip, body, 7, 1500);
	assert_int_equal(nethost[0].st->drops[DROP_ICMP_SHORT], 1);
	ip.dst_be = IP(10, 0, 0, 255);
	at = put_eth(f, (const uint8_t[6]){ 255, 255, 255, 255, 255, 255 }, MAC_HOST(1), 0x0800);
	at += put_ip4(f + at, &ip, n);
	memcpy(f + at, body, n);
	nethost_push(0, f, at + n, 0);
	assert_int_equal(nethost[0].st->drops[DROP_ICMP_GROUP], 1);
	nethost_run(0, 0);
	assert_null(nethost_pop(0));
	assert_int_equal(nethost_close(), 0);
}

static void closed_port_is_answered_with_the_quoted_header(void **state)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = OWN, .proto = 17, .id = 77, .opts = { 1, 1, 1, 1 }, .opts_len = 4 }, r = { 0 };
	uint8_t body[1500], sent[1500];
	uint32_t n, len;

	(void)state;
	for (uint32_t size = 0; size < 1400; size += 100) {
		nethost_open(1, false);
		nethost_know(0, PEER, MAC_HOST(1));
		n = put_udp(body, PEER, OWN, 5000, 6000, payload, size);
		push_ip(&ip, body, n, 1500);
		memcpy(sent, f + 14, 24 + n);
		nethost_run(0, 0);
		len = collect(&r);
		assert_int_equal(len, 8 + MIN(24 + n, 548u));
		assert_int_equal(got[0], 3);
		assert_int_equal(got[1], 3);
		assert_int_equal(r.dst_be, PEER);
		assert_int_equal(naive_csum(got, len, 0), 0);
		assert_memory_equal(got + 8, sent, len - 8);
		assert_int_equal(nethost[0].st->mib.udp_no_ports, 1);
		assert_int_equal(nethost_close(), 0);
	}
}

/* RFC 1122 §3.2.2 */
static void errors_are_never_answered_with_errors(void **state)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = OWN, .proto = 99 };
	struct stack *st;
	uint8_t pkt[200];
	uint32_t n;
	struct rte_mbuf *m;
	static const struct {
		uint32_t src_be;
		uint8_t proto, icmp_type;
		uint16_t frag;
		uint32_t rx;
		bool answered;
	} t[] = {
		{ PEER, 99, 0, 0, 0, true },
		{ PEER, 99, 0, 0x2000, 0, true },
		{ PEER, 99, 0, 1, 0, false },
		{ PEER, 99, 0, 0, IP4_RX_GROUP, false },
		{ PEER, 99, 0, 0, IP4_RX_NOT_UNICAST, false },
		{ 0, 99, 0, 0, 0, false },
		{ 0xffffffff, 99, 0, 0, 0, false },
		{ PEER, 1, 3, 0, 0, false },
		{ PEER, 1, 11, 0, 0, false },
		{ PEER, 1, 12, 0, 0, false },
		{ PEER, 1, 5, 0, 0, false },
		{ PEER, 1, 8, 0, 0, true },
		{ PEER, 1, 200, 0, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		nethost_open(1, false);
		st = nethost[0].st;
		ip.src_be = t[i].src_be;
		ip.proto = t[i].proto;
		ip.frag = t[i].frag;
		n = put_ip4(pkt, &ip, 40);
		memset(pkt + n, t[i].icmp_type, 40);
		m = nethost_chain(pkt, n + 40, 0);
		m->packet_type = t[i].rx;
		icmp_send_error(st, m, 3, 2, 0);
		if ((st->reply_len == 1) != t[i].answered)
			fail_msg("case %zu: %s", i, t[i].answered ? "not answered" : "answered");
		rte_pktmbuf_free(m);
		assert_int_equal(nethost_close(), 0);
	}
}

static void errors_are_rate_limited(void **state)
{
	struct stack *st;
	uint8_t pkt[64];
	unsigned one, many = 0;

	(void)state;
	nethost_open(1, false);
	st = nethost[0].st;
	for (unsigned i = 0; i < 200; i++) { /* to one target */
		struct net_ip ip = { .src_be = PEER, .dst_be = OWN, .proto = 99 };
		struct rte_mbuf *m = nethost_chain(pkt, put_ip4(pkt, &ip, 8) + 8, 0);

		icmp_send_error(st, m, 3, 2, 0);
		rte_pktmbuf_free(m);
	}
	one = st->reply_len;
	assert_int_equal(one, 6);
	for (unsigned i = 0; i < 200; i++) { /* altogether */
		struct net_ip ip = { .src_be = IP(10, 0, 1 + i / 200, i), .dst_be = OWN, .proto = 99 };
		struct rte_mbuf *m;

		if (!i)
			continue;
		m = nethost_chain(pkt, put_ip4(pkt, &ip, 8) + 8, 0);
		icmp_send_error(st, m, 3, 2, 0);
		rte_pktmbuf_free(m);
	}
	many = st->reply_len;
	assert_int_equal(many, 50);
	assert_int_equal(st->drops[DROP_ICMP_RATE], 399 - 50);
	st->now_us += 10 * 1000;
	for (unsigned i = 1; i < 200; i++) {
		struct net_ip ip = { .src_be = IP(10, 0, 2, i), .dst_be = OWN, .proto = 99 };
		struct rte_mbuf *m = nethost_chain(pkt, put_ip4(pkt, &ip, 8) + 8, 0);

		icmp_send_error(st, m, 3, 2, 0);
		rte_pktmbuf_free(m);
	}
	assert_int_equal(st->reply_len, 60); /* ten more milliseconds, ten more messages */
	assert_int_equal(nethost_close(), 0);
}

/* An error that quotes a packet of 1,500 bytes from src to dst. */
static void push_error(uint8_t type, uint8_t code, uint32_t rest, const struct net_ip *inner, const void *l4, uint32_t l4_len)
{
	struct net_ip ip = { .src_be = IP(192, 0, 2, 1), .dst_be = OWN, .proto = 1 };
	uint8_t quote[128], body[256];
	uint32_t n = put_ip4(quote, inner, 1480);

	memcpy(quote + n, l4, l4_len);
	push_ip(&ip, body, put_icmp(body, type, code, rest, quote, n + l4_len), 1500);
}

static void tcp_errors_arrive_with_sequence_and_mtu(void **state)
{
	struct net_ip inner = { .src_be = OWN, .dst_be = PEER, .proto = 6 };
	const uint8_t l4[8] = { 0x12, 0x34, 0, 80, 1, 2, 3, 4 };

	(void)state;
	nethost_open(1, false);
	push_error(3, 4, 1280, &inner, l4, 8);
	assert_int_equal(up.tcp_errors, 1);
	assert_int_equal(up.tcp_err, EMSGSIZE);
	assert_int_equal(up.tcp_mtu, 1280);
	assert_int_equal(up.tcp_seq, 0x01020304);
	assert_int_equal(up.tcp_lport_be, htons(0x1234));
	push_error(3, 4, 0, &inner, l4, 8); /* an old router: the next plateau below 1,500 */
	assert_int_equal(up.tcp_mtu, 1492);
	push_error(3, 4, 1500, &inner, l4, 8); /* it would have fitted: nonsense (RFC 5927 7.2) */
	push_error(3, 4, 60, &inner, l4, 8);   /* no link is as narrow (RFC 791) */
	assert_int_equal(up.tcp_errors, 2);
	push_error(3, 3, 0, &inner, l4, 8);
	assert_int_equal(up.tcp_err, ECONNREFUSED);
	assert_true(up.tcp_hard);
	push_error(3, 1, 0, &inner, l4, 8);
	assert_int_equal(up.tcp_err, EHOSTUNREACH);
	assert_false(up.tcp_hard);
	push_error(11, 0, 0, &inner, l4, 8);
	assert_int_equal(up.tcp_errors, 5);
	assert_int_equal(nethost_close(), 0);
}

static void errors_that_are_not_ours_are_ignored(void **state)
{
	struct net_ip inner = { .src_be = IP(10, 0, 0, 9), .dst_be = PEER, .proto = 6 };
	const uint8_t l4[8] = { 0 };

	(void)state;
	nethost_open(1, false);
	push_error(3, 1, 0, &inner, l4, 8); /* not from our address */
	inner.src_be = OWN;
	push_error(3, 1, 0, &inner, l4, 7); /* too short for ports and sequence number */
	inner.frag = 5;
	push_error(3, 1, 0, &inner, l4, 8); /* not a first fragment */
	inner.frag = 0;
	push_error(5, 1, 0, &inner, l4, 8); /* redirect */
	push_error(4, 0, 0, &inner, l4, 8); /* source quench */
	assert_int_equal(up.tcp_errors, 0);
	assert_int_equal(nethost_close(), 0);
}

static void udp_errors_reach_connected_sockets_as_in_linux(void **state)
{
	struct net_ip inner = { .src_be = OWN, .dst_be = PEER, .proto = 17 };
	const uint8_t l4[8] = { 0, 99, 0, 53, 0, 8, 0, 0 };
	struct ip_addr any = ip_addr_any();
	uint16_t port = htons(99);
	struct sock *s;

	(void)state;
	nethost_open(1, false);
	s = nethost_sock(AF_INET, SOCK_DGRAM);
	assert_int_equal(ports_bind(PORT_UDP, s, &any, &port, NULL, NULL), 0);
	push_error(3, 3, 0, &inner, l4, 8);
	assert_int_equal(up.sock_errors, 0); /* not connected */
	s->opt.recverr = 1;
	push_error(3, 1, 0, &inner, l4, 8);
	assert_int_equal(up.sock_errors, 1);
	assert_int_equal(up.sock_err, EHOSTUNREACH);
	/* and an entry on the error queue says what the message said */
	assert_int_equal(up.sock_err_entries, 1);
	assert_int_equal(up.sock_err_entry.ee.ee_errno, EHOSTUNREACH);
	assert_int_equal(up.sock_err_entry.ee.ee_origin, SO_EE_ORIGIN_ICMP);
	assert_int_equal(up.sock_err_entry.ee.ee_type, 3);
	assert_int_equal(up.sock_err_entry.ee.ee_code, 1);
	assert_int_equal(up.sock_err_entry.offender_be, IP(192, 0, 2, 1));
	push_error(3, 4, 1300, &inner, l4, 8);
	assert_int_equal(up.sock_err_entry.ee.ee_info, 1300);
	assert_int_equal(up.sock_errors, 2);
	nethost[0].st->now_us += 601 * 1000000ULL;
	up.sock_errors = 1;
	s->opt.recverr = 0;
	s->tcb.raddr = ip_addr_v4(PEER);
	s->tcb.rport_be = htons(53);
	atomic_store(&s->status, SOCK_CONNECTED);
	push_error(3, 1, 0, &inner, l4, 8); /* soft */
	assert_int_equal(up.sock_errors, 1);
	push_error(3, 3, 0, &inner, l4, 8);
	assert_int_equal(up.sock_errors, 2);
	assert_int_equal(up.sock_err, ECONNREFUSED);
	assert_ptr_equal(up.sock_err_on, s);
	/* fragmentation needed: remembered for the path, and only when a socket of ours sends there */
	assert_int_equal(ip4_dst_mtu(nethost[0].st, PEER), 1500);
	push_error(3, 4, 1000, &inner, l4, 8);
	assert_int_equal(ip4_dst_mtu(nethost[0].st, PEER), 1000);
	push_error(3, 4, 68, &inner, l4, 8);
	assert_int_equal(ip4_dst_mtu(nethost[0].st, PEER), 552);
	inner.dst_be = IP(10, 0, 0, 3);
	push_error(3, 4, 1000, &inner, l4, 8);
	assert_int_equal(ip4_dst_mtu(nethost[0].st, IP(10, 0, 0, 3)), 1500);
	nethost[0].st->now_us += 601 * 1000000ULL;
	assert_int_equal(ip4_dst_mtu(nethost[0].st, PEER), 1500);
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(echo_of_all_sizes_is_answered),
		cmocka_unit_test(bad_or_group_echo_is_not_answered),
		cmocka_unit_test(closed_port_is_answered_with_the_quoted_header),
		cmocka_unit_test(errors_are_never_answered_with_errors),
		cmocka_unit_test(errors_are_rate_limited),
		cmocka_unit_test(tcp_errors_arrive_with_sequence_and_mtu),
		cmocka_unit_test(errors_that_are_not_ours_are_ignored),
		cmocka_unit_test(udp_errors_reach_connected_sockets_as_in_linux),
	};

	prng_seed(&rng, 11);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)prng_u64(&rng);
	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

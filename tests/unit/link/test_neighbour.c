/* The neighbour cache in virtual time: states, bounds, hold queues, what ARP may and may not change, conflicts, several stacks. */
#include "nethost.h"
#include "link/neigh.h"

#include <rte_mempool.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define OWN IP(10, 0, 0, 1)
#define PEER IP(10, 0, 0, 77)
#define SECOND 1000000ULL

static const uint8_t bcast[6] = { 255, 255, 255, 255, 255, 255 };

static void arp(unsigned h, uint16_t op, const uint8_t *sha, uint32_t spa, uint32_t tpa, const uint8_t *dmac)
{
	uint8_t f[64];
	uint32_t n = put_eth(f, dmac, sha, 0x0806);

	n += put_arp(f + n, op, sha, spa, MAC_HOST(h), tpa);
	memset(f + n, 0, 18); /* padding to 60 */
	nethost_push(h, f, n + 18, 0);
}

static void answer(unsigned h, const uint8_t *mac)
{
	arp(h, 2, mac, PEER, nethost[h].st->ip4.addr_be, nethost[h].st->nd->mac);
}

static void send_packet(unsigned h, uint32_t dst, uint32_t *hint, uint8_t mark)
{
	struct ip4_tx tx = { .src_be = nethost[h].st->ip4.addr_be, .dst_be = dst, .proto = 99, .ttl = 64, .df = true };
	struct ip_route r = { .neigh_hint = hint ? *hint : 0 };

	assert_int_equal(ip4_output(nethost[h].st, nethost_chain(&mark, 1, 0), &tx, &r), 0);
	if (hint)
		*hint = r.neigh_hint;
}

/* The next frame must be an ARP request of ours for target, to `to`. */
static void expect_request(unsigned h, uint32_t target, const uint8_t *to)
{
	const struct nethost_frame *o = nethost_pop(h);

	assert_non_null(o);
	assert_int_equal(o->len, 42);
	assert_memory_equal(o->data, to, 6);
	assert_memory_equal(o->data + 12, "\x08\x06\0\x01\x08\0\x06\x04\0\x01", 10);
	assert_memory_equal(o->data + 22, nethost[h].st->nd->mac, 6);
	assert_memory_equal(o->data + 28, &nethost[h].st->ip4.addr_be, 4);
	assert_memory_equal(o->data + 38, &target, 4);
}

static void expect_packet(unsigned h, const uint8_t *to, uint8_t mark)
{
	const struct nethost_frame *o = nethost_pop(h);

	assert_non_null(o);
	assert_memory_equal(o->data, to, 6);
	assert_memory_equal(o->data + 12, "\x08\0", 2);
	assert_int_equal(o->data[34], mark);
}

static unsigned state_of(unsigned h, uint32_t addr)
{
	struct neigh_info info[64];
	unsigned n = neigh_dump(nethost[h].st, info, 64);

	while (n--) {
		if (info[n].addr_be == addr)
			return info[n].state;
	}
	return NEIGH_FREE;
}

static void life_of_an_entry(void **state)
{
	uint32_t hint = 0;

	(void)state;
	nethost_open(1, false);
	send_packet(0, PEER, &hint, 1);
	send_packet(0, PEER, &hint, 2);
	expect_request(0, PEER, bcast);
	assert_null(nethost_pop(0));
	assert_int_equal(state_of(0, PEER), NEIGH_INCOMPLETE);
	answer(0, MAC_PEER(1));
	assert_int_equal(state_of(0, PEER), NEIGH_REACHABLE);
	expect_packet(0, MAC_PEER(1), 1); /* in order */
	expect_packet(0, MAC_PEER(1), 2);
	send_packet(0, PEER, &hint, 3);
	expect_packet(0, MAC_PEER(1), 3);
	assert_null(nethost_pop(0));

	/* 15 to 45 s later it is stale; the next packet goes out, and five seconds later we ask it alone */
	nethost_run(0, 14 * SECOND);
	assert_int_equal(state_of(0, PEER), NEIGH_REACHABLE);
	nethost_run(0, 32 * SECOND);
	assert_int_equal(state_of(0, PEER), NEIGH_STALE);
	assert_null(nethost_pop(0));
	send_packet(0, PEER, &hint, 4);
	expect_packet(0, MAC_PEER(1), 4);
	assert_int_equal(state_of(0, PEER), NEIGH_DELAY);
	nethost_run(0, 5 * SECOND);
	assert_int_equal(state_of(0, PEER), NEIGH_PROBE);
	expect_request(0, PEER, MAC_PEER(1));
	answer(0, MAC_PEER(1));
	assert_int_equal(state_of(0, PEER), NEIGH_REACHABLE);

	/* nobody answers the probes any more: failed, and the next packet starts again */
	nethost_run(0, 46 * SECOND);
	send_packet(0, PEER, &hint, 5);
	expect_packet(0, MAC_PEER(1), 5);
	nethost_run(0, 5 * SECOND);
	for (int i = 0; i < 3; i++) {
		expect_request(0, PEER, MAC_PEER(1));
		assert_null(nethost_pop(0));
		nethost_run(0, SECOND);
	}
	assert_int_equal(state_of(0, PEER), NEIGH_FAILED);
	send_packet(0, PEER, &hint, 6);
	expect_request(0, PEER, bcast);
	answer(0, MAC_PEER(2));
	expect_packet(0, MAC_PEER(2), 6);
	assert_int_equal(nethost_close(), 0);
}

static void unanswered_requests_fail_and_tell_the_sender(void **state)
{
	struct ip4_tx tx = { .src_be = OWN, .dst_be = PEER, .proto = 6, .ttl = 64, .df = true };
	const uint8_t seg[20] = { 0x30, 0x39, 0, 80, 9, 9, 9, 9 };

	(void)state;
	nethost_open(1, false);
	assert_int_equal(ip4_output(nethost[0].st, nethost_chain(seg, 20, 0), &tx, NULL), 0);
	for (int i = 0; i < 3; i++) {
		expect_request(0, PEER, bcast);
		assert_null(nethost_pop(0));
		assert_int_equal(up.tcp_errors, 0);
		nethost_run(0, SECOND);
	}
	assert_null(nethost_pop(0));
	assert_int_equal(up.tcp_errors, 1);
	assert_int_equal(up.tcp_err, EHOSTUNREACH);
	assert_int_equal(up.tcp_lport_be, htons(12345));
	assert_int_equal(up.tcp_seq, 0x09090909);
	assert_int_equal(nethost[0].st->drops[DROP_NEIGH_FAILED], 1);
	/* a failed entry is forgotten after a while, and a hint to it is harmless */
	nethost_run(0, 61 * SECOND);
	assert_int_equal(state_of(0, PEER), NEIGH_FREE);
	assert_int_equal(nethost_close(), 0);
}

static void progress_of_the_connection_confirms(void **state)
{
	uint32_t hint = 0;

	(void)state;
	nethost_open(1, false);
	send_packet(0, PEER, &hint, 1);
	answer(0, MAC_PEER(1));
	nethost_discard(0);
	for (int i = 0; i < 300; i++) { /* five minutes of traffic: never a probe */
		nethost_run(0, SECOND);
		neigh_confirm(nethost[0].st, hint);
		assert_int_equal(state_of(0, PEER), NEIGH_REACHABLE);
	}
	assert_null(nethost_pop(0));
	nethost_run(0, 50 * SECOND);
	assert_int_equal(state_of(0, PEER), NEIGH_STALE);
	neigh_confirm(nethost[0].st, hint);
	assert_int_equal(state_of(0, PEER), NEIGH_REACHABLE);
	/* the entry is given away: a confirmation by the old hint changes nothing */
	neigh_confirm(nethost[0].st, hint + (1u << 16));
	neigh_confirm(nethost[0].st, 0);
	neigh_confirm(nethost[0].st, 0xffffffff);
	assert_int_equal(nethost_close(), 0);
}

static void hold_queue_keeps_the_newest(void **state)
{
	unsigned got = 0;
	const struct nethost_frame *o;

	(void)state;
	nethost_open(1, false);
	for (unsigned i = 0; i < 100; i++)
		send_packet(0, PEER, NULL, (uint8_t)i);
	expect_request(0, PEER, bcast);
	assert_int_equal(nethost[0].st->drops[DROP_NEIGH_QUEUE_FULL], 100 - NEIGH_HOLD_MAX);
	answer(0, MAC_PEER(1));
	while ((o = nethost_pop(0)) != NULL)
		assert_int_equal(o->data[34], 100 - NEIGH_HOLD_MAX + got++);
	assert_int_equal(got, NEIGH_HOLD_MAX);
	assert_int_equal(nethost_close(), 0);
}

static unsigned state_of_all(unsigned wanted)
{
	static struct neigh_info info[1024];
	unsigned n = neigh_dump(nethost[0].st, info, 1024), count = 0;

	for (unsigned i = 0; i < n; i++)
		count += info[i].state == wanted;
	return count;
}

/* A scan of the network: entries and held packets are bounded, and a neighbour in use survives. */
static void scan_is_bounded(void **state)
{
	const struct nethost_frame *o;
	struct rte_mempool *pool;
	unsigned before;
	uint32_t hint = 0;

	(void)state;
	nethost_open(1, false);
	nethost[0].st->ip4.mask_be = IP(255, 0, 0, 0);
	pool = nethost[0].st->pool;
	send_packet(0, PEER, &hint, 1);
	answer(0, MAC_PEER(1));
	before = rte_mempool_avail_count(pool);
	for (uint32_t i = 1; i < 3000; i++) {
		send_packet(0, IP(10, 9, i / 256, i), NULL, 0);
		if (i % 100 == 0)
			nethost_run(0, SECOND / 10);
	}
	assert_true(before - rte_mempool_avail_count(pool) <= NEIGH_HOLD_QUEUES);
	assert_true(nethost[0].st->neigh->used <= 512);
	assert_int_equal(state_of_all(NEIGH_INCOMPLETE) + state_of_all(NEIGH_FAILED), 511);
	netdev_flush(&nethost[0].nd, 0);
	nethost_discard(0);
	send_packet(0, PEER, &hint, 2);
	expect_packet(0, MAC_PEER(1), 2);
	/* in the middle of it, a real neighbour can be reached */
	send_packet(0, IP(10, 8, 0, 1), NULL, 0);
	expect_request(0, IP(10, 8, 0, 1), bcast);
	arp(0, 2, MAC_PEER(3), IP(10, 8, 0, 1), OWN, MAC_HOST(0));
	send_packet(0, IP(10, 8, 0, 1), NULL, 4);
	do {
		o = nethost_pop(0);
		assert_non_null(o);
	} while (o->data[13] != 0 || o->data[34] != 4);
	assert_memory_equal(o->data, MAC_PEER(3), 6);
	assert_int_equal(nethost_close(), 0);
}

static void arp_never_creates_entries(void **state)
{
	(void)state;
	nethost_open(1, false);
	answer(0, MAC_PEER(1));				      /* unasked */
	arp(0, 1, MAC_PEER(1), PEER, PEER, bcast);	      /* gratuitous */
	arp(0, 2, MAC_PEER(1), PEER, PEER, bcast);
	arp(0, 1, MAC_PEER(1), PEER, IP(10, 0, 0, 5), bcast); /* somebody else's question */
	assert_int_equal(nethost[0].st->drops[DROP_ARP_UNSOLICITED], 4);
	arp(0, 1, MAC_PEER(1), PEER, OWN, bcast); /* a question to us is answered, and no more */
	assert_int_equal(state_of(0, PEER), NEIGH_FREE);
	assert_int_equal(nethost_close(), 0);
}

static void requests_are_answered(void **state)
{
	const struct nethost_frame *o;

	(void)state;
	nethost_open(1, false);
	arp(0, 1, MAC_PEER(1), PEER, OWN, bcast);
	o = nethost_pop(0);
	assert_non_null(o);
	assert_memory_equal(o->data, MAC_PEER(1), 6);
	assert_memory_equal(o->data + 6, MAC_HOST(0), 6);
	assert_memory_equal(o->data + 20, "\0\x02", 2);
	assert_memory_equal(o->data + 22, MAC_HOST(0), 6);
	assert_memory_equal(o->data + 28, &(uint32_t){ OWN }, 4);
	assert_memory_equal(o->data + 32, MAC_PEER(1), 6);
	assert_memory_equal(o->data + 38, &(uint32_t){ PEER }, 4);
	arp(0, 1, MAC_PEER(1), 0, OWN, bcast); /* a probe (RFC 5227 §2.1.1) */
	o = nethost_pop(0);
	assert_non_null(o);
	assert_memory_equal(o->data + 38, &(uint32_t){ 0 }, 4);
	arp(0, 1, MAC_PEER(1), PEER, IP(10, 0, 0, 2), bcast);
	assert_null(nethost_pop(0));
	assert_int_equal(nethost_close(), 0);
}

/* One forged frame does not redirect traffic; a real move is followed within a round trip. */
static void changed_address_is_verified(void **state)
{
	uint32_t hint = 0;

	(void)state;
	nethost_open(1, false);
	send_packet(0, PEER, &hint, 1);
	answer(0, MAC_PEER(1));
	nethost_discard(0);
	arp(0, 2, MAC_PEER(9), PEER, PEER, bcast);
	expect_request(0, PEER, bcast);
	send_packet(0, PEER, &hint, 2);
	expect_packet(0, MAC_PEER(1), 2); /* still the old place */
	answer(0, MAC_PEER(1));
	send_packet(0, PEER, &hint, 3);
	expect_packet(0, MAC_PEER(1), 3);
	arp(0, 2, MAC_PEER(9), PEER, PEER, bcast); /* again at once: not asked again within a second */
	answer(0, MAC_PEER(9));
	assert_null(nethost_pop(0));
	send_packet(0, PEER, &hint, 4);
	expect_packet(0, MAC_PEER(1), 4);
	nethost_run(0, 2 * SECOND);
	arp(0, 1, MAC_PEER(2), PEER, PEER, bcast); /* fail-over */
	expect_request(0, PEER, bcast);
	answer(0, MAC_PEER(2));
	send_packet(0, PEER, &hint, 5);
	expect_packet(0, MAC_PEER(2), 5);
	assert_int_equal(nethost_close(), 0);
}

static void malformed_arp_is_dropped(void **state)
{
	uint8_t f[64], g[64];
	uint32_t n = put_eth(f, bcast, MAC_PEER(1), 0x0806);
	static const struct {
		unsigned at;
		uint8_t v;
	} t[] = { { 15, 6 }, { 16, 9 }, { 18, 8 }, { 19, 16 }, { 21, 3 }, { 21, 0 }, { 22, 1 }, { 28, 127 }, { 28, 224 } };

	(void)state;
	nethost_open(1, false);
	n += put_arp(f + n, 1, MAC_PEER(1), PEER, bcast, OWN);
	for (uint32_t len = 14; len < n; len++)
		nethost_push(0, f, len, len % 2 ? 9 : 0);
	assert_int_equal(nethost[0].st->drops[DROP_ARP_MALFORMED], 28);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		memcpy(g, f, n);
		g[t[i].at] = t[i].v;
		nethost_push(0, g, n, 0);
		if (nethost[0].st->drops[DROP_ARP_MALFORMED] != 29 + i)
			fail_msg("byte %u = %u accepted", t[i].at, t[i].v);
	}
	assert_null(nethost_pop(0));
	nethost_push(0, f, n, 13); /* the same, right, in pieces */
	assert_non_null(nethost_pop(0));
	assert_int_equal(nethost_close(), 0);
}

/* RFC 5227 §2.3, §2.4(b) */
static void address_is_announced_and_defended(void **state)
{
	(void)state;
	nethost_open(1, false);
	arp_announce(nethost[0].st);
	expect_request(0, OWN, bcast);
	nethost_run(0, 2 * SECOND);
	expect_request(0, OWN, bcast);
	nethost_run(0, 20 * SECOND);
	assert_null(nethost_pop(0));

	arp(0, 1, MAC_PEER(6), OWN, PEER, bcast);
	assert_null(nethost_pop(0)); /* input does not transmit */
	nethost_run(0, 1);
	expect_request(0, OWN, bcast);
	assert_int_equal(up.logs, 1);
	for (int i = 0; i < 9; i++) { /* at most every ten seconds, and one message only */
		arp(0, 2, MAC_PEER(6), OWN, PEER, bcast);
		nethost_run(0, SECOND);
		assert_null(nethost_pop(0));
	}
	nethost_run(0, 2 * SECOND);
	arp(0, 2, MAC_PEER(6), OWN, PEER, bcast);
	nethost_run(0, 1);
	expect_request(0, OWN, bcast);
	assert_int_equal(up.logs, 1);
	arp(0, 1, MAC_HOST(0), OWN, OWN, bcast); /* our own frame, come back */
	nethost_run(0, 20 * SECOND);
	assert_null(nethost_pop(0));
	assert_int_equal(nethost_close(), 0);
}

/* Two stacks of one device: the answer arrives at the other one. */
static void stacks_of_a_device_share_what_they_learn(void **state)
{
	uint32_t h0 = 0, h1 = 0;

	(void)state;
	nethost_open(2, true);
	send_packet(1, PEER, &h1, 7);
	expect_request(0, PEER, bcast);
	answer(0, MAC_PEER(1)); /* stack 0 gets it */
	assert_int_equal(state_of(0, PEER), NEIGH_FREE);
	nethost_run(1, 1000); /* within a millisecond stack 1 has it too */
	expect_packet(0, MAC_PEER(1), 7);
	assert_int_equal(state_of(1, PEER), NEIGH_REACHABLE);
	nethost_run(0, 1000);
	send_packet(0, PEER, &h0, 8); /* and stack 0 need not ask at all */
	expect_packet(0, MAC_PEER(1), 8);
	assert_null(nethost_pop(0));

	/* nobody asked: what is claimed does not get onto the board */
	nethost_run(0, 2 * SECOND);
	nethost_run(1, 2 * SECOND);
	arp(0, 2, MAC_PEER(9), IP(10, 0, 0, 50), OWN, MAC_HOST(0));
	send_packet(1, IP(10, 0, 0, 50), NULL, 9);
	expect_request(0, IP(10, 0, 0, 50), bcast);
	nethost_discard(0);

	/* a move that stack 0 verified reaches stack 1 with the next burst */
	arp(0, 1, MAC_PEER(2), PEER, PEER, bcast);
	answer(0, MAC_PEER(2));
	nethost_discard(0);
	eth_input_burst(nethost[1].st, NULL, 0);
	send_packet(1, PEER, &h1, 10);
	expect_packet(0, MAC_PEER(2), 10);
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(life_of_an_entry),
		cmocka_unit_test(unanswered_requests_fail_and_tell_the_sender),
		cmocka_unit_test(progress_of_the_connection_confirms),
		cmocka_unit_test(hold_queue_keeps_the_newest),
		cmocka_unit_test(scan_is_bounded),
		cmocka_unit_test(arp_never_creates_entries),
		cmocka_unit_test(requests_are_answered),
		cmocka_unit_test(changed_address_is_verified),
		cmocka_unit_test(malformed_arp_is_dropped),
		cmocka_unit_test(address_is_announced_and_defended),
		cmocka_unit_test(stacks_of_a_device_share_what_they_learn),
	};

	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_tcp_floods.c - segments made to cost: what they are answered with, and the buffers and records that they hold, is counted in virtual time
 * against a bound. Each flood is one that an outsider, or a hostile peer, can send; the connection must survive those of an outsider. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define PER_FLOOD 10000u
#define STEP_US 100u		 /* ten thousand segments a second */
#define TWICE_A_SECOND 3u	 /* at 0, 0.5 and 1 s */
#define PEER_ISN 5000u
#define RCVBUF 131072u /* of a new socket */

static struct sock *listener, *child;
static uint32_t snd; /* host 0's next sequence number */
static uint16_t sport;

static struct seg base(uint8_t flags)
{
	struct thost *h = &tenv.host[0];
	struct seg s = { .kind = SEG_TCP, .saddr = htonl(0x0a00000a), .daddr = h->ip_be, .sport = sport, .dport = 80, .seq = PEER_ISN + 1,
			 .ack = snd, .win = 65000, .flags = flags };

	memcpy(s.dmac, h->dev.nd.mac, 6);
	memcpy(s.smac, h->dev.peer_mac, 6);
	return s;
}

static void push(const struct seg *s)
{
	memdev_push(&tenv.host[0].dev, seg_build(s));
	testenv_settle();
}

/* Segments sent since the last call that have one of `flags`; 0: all. */
static unsigned sent(uint8_t flags, struct seg *last)
{
	struct frame *f;
	unsigned n = 0;

	while ((f = memdev_pop(&tenv.host[0].dev))) {
		struct seg s;

		if (seg_parse(f, &s, NULL) && s.kind == SEG_TCP && (!flags || (s.flags & flags))) {
			n++;
			if (last)
				*last = s;
		}
		free(f);
	}
	return n;
}

static void half_open(void)
{
	struct seg s, a = { 0 };

	testenv_open(&(struct testenv_conf){ .nb_hosts = 1 });
	listener = testenv_listener(0, 80, 16);
	sport = 2000;
	s = base(TH_SYN);
	s.seq = PEER_ISN;
	s.ack = 0;
	push(&s);
	assert_int_equal(sent(TH_SYN, &a), 1);
	snd = a.seq + 1;
}

static void established(void)
{
	struct seg s;

	half_open();
	s = base(TH_ACK);
	push(&s);
	assert_int_equal(sock_accept(listener, &child, true, -1, tenv.self), 0);
	sent(0, NULL);
}

static void end(void)
{
	if (child) {
		assert_int_equal(child->tcb.state, TCPS_ESTABLISHED);
		testenv_close_sock(child);
	}
	child = NULL;
	testenv_close_sock(listener);
	testenv_run_for(400000000);
	sent(0, NULL);
	assert_int_equal(testenv_close(), 0);
}

/* The same segment again and again for a second; returns how many answers there were. */
static unsigned flood(const struct seg *s)
{
	for (unsigned i = 0; i < PER_FLOOD; i++) {
		push(s);
		testenv_run_for(STEP_US);
	}
	return sent(0, NULL);
}

static void acks_outside_the_window_are_answered_twice_a_second(void **state)
{
	struct seg s;

	(void)state;
	established();
	s = base(TH_ACK);
	s.seq += 10000000;
	assert_in_range(flood(&s), 1, TWICE_A_SECOND);
	end();
}

static void keepalive_probes_are_answered_twice_a_second(void **state)
{
	struct seg s;

	(void)state;
	established();
	s = base(TH_ACK);
	s.seq--;
	assert_in_range(flood(&s), 1, TWICE_A_SECOND);
	end();
}

static void acks_of_the_future_are_challenged_twice_a_second(void **state)
{
	struct seg s;

	(void)state;
	established();
	s = base(TH_ACK);
	s.ack += 1000;
	assert_in_range(flood(&s), 1, TWICE_A_SECOND);
	end();
}

static void resets_in_the_window_are_challenged_twice_a_second(void **state)
{
	struct seg s;

	(void)state;
	established();
	s = base(TH_RST);
	s.seq += 100;
	assert_in_range(flood(&s), 1, TWICE_A_SECOND);
	/* outside: not at all */
	s.seq += 10000000;
	assert_int_equal(flood(&s), 0);
	end();
}

static void syns_in_a_connection_are_challenged_twice_a_second(void **state)
{
	struct seg s;

	(void)state;
	established();
	s = base(TH_SYN);
	assert_in_range(flood(&s), 1, TWICE_A_SECOND);
	end();
}

static void half_open_connections_answer_twice_a_second(void **state)
{
	struct seg s;

	(void)state;
	half_open();
	s = base(TH_ACK);
	s.seq += 10000000;
	assert_in_range(flood(&s), 1, TWICE_A_SECOND + 1); /* the SYN-ACK is repeated after a second */
	/* the others' share was not touched */
	assert_true(tenv.host[0].st->tcp->challenge_left >= TCP_CHALLENGE_PER_S / 2 - TWICE_A_SECOND);
	/* the SYN itself again */
	s = base(TH_SYN);
	s.seq = PEER_ISN;
	s.ack = 0;
	testenv_run_for(1000000);
	sent(0, NULL);
	assert_in_range(flood(&s), 1, TWICE_A_SECOND + 1);
	end();
}

/* What is left of a second's challenge ACKs tells an outsider nothing: it differs from second to second. */
static void challenges_have_a_bound_that_cannot_be_predicted(void **state)
{
	unsigned seen[16], different = 0;
	struct stack *st;

	(void)state;
	half_open();
	st = tenv.host[0].st;
	for (unsigned i = 0; i < ARRAY_SIZE(seen); i++) {
		testenv_run_for(1000000);
		for (seen[i] = 0; tcp_challenge_allowed(st); seen[i]++)
			;
		if (i)
			assert_in_range(seen[i], TCP_CHALLENGE_PER_S / 2, TCP_CHALLENGE_PER_S * 3 / 2);
		different += i > 1 && (seen[i] > seen[i - 1] + 64 || seen[i] + 64 < seen[i - 1]);
	}
	assert_true(different > ARRAY_SIZE(seen) / 2);
	end();
}

static void segments_for_nobody_share_one_short_list(void **state)
{
	struct seg s;
	unsigned n;

	(void)state;
	half_open();
	s = base(TH_ACK);
	s.dport = 81;
	for (unsigned i = 0; i < 2000; i++) {
		s.sport = (uint16_t)(3000 + i);
		memdev_push(&tenv.host[0].dev, seg_build(&s));
	}
	tenv.host[0].st->nic_read = 2000;
	testenv_poll(0);
	n = sent(TH_RST, NULL);
	assert_in_range(n, 1, STACK_REPLY_MAX);
	assert_int_equal(tenv.host[0].st->drops[DROP_REPLY_FULL], 2000 - n);
	end();
}

static void in_order_bytes_share_buffers(void **state)
{
	unsigned before, most = 0;
	struct seg s;

	(void)state;
	established();
	before = testenv_mbufs_used();
	s = base(TH_ACK);
	s.data = (const uint8_t *)"x";
	s.len = 1;
	for (unsigned i = 0; i < 60000; i++, s.seq++) {
		push(&s);
		most = MAX(most, testenv_mbufs_used() - before);
		sent(0, NULL);
	}
	/* a quarter of the receive buffer is filled as it comes; behind that every buffer is filled up */
	assert_true(sock_rx_bytes(child) > 50000);
	assert_in_range(most, 1, RCVBUF / 4 / 2048 + 60000 / 2048 + 2);
	end();
}

static void out_of_order_bytes_share_buffers(void **state)
{
	unsigned before, most = 0;
	struct seg s;

	(void)state;
	established();
	before = testenv_mbufs_used();
	s = base(TH_ACK);
	s.seq += 10; /* the hole */
	s.data = (const uint8_t *)"x";
	s.len = 1;
	for (unsigned i = 0; i < 30000; i++, s.seq++) {
		push(&s);
		most = MAX(most, testenv_mbufs_used() - before);
		sent(0, NULL);
	}
	assert_int_equal(child->tcb.ooo_runs, 1);
	assert_in_range(most, 1, 30000 / 2048 + 3);
	end();
}

static void bytes_between_holes_are_few(void **state)
{
	unsigned before, most = 0;
	struct seg s;

	(void)state;
	established();
	before = testenv_mbufs_used();
	s = base(TH_ACK);
	s.data = (const uint8_t *)"x";
	s.len = 1;
	for (unsigned i = 0; i < 20000; i++) {
		s.seq = PEER_ISN + 11 + 2 * (i * 7919 % 20000);
		push(&s);
		most = MAX(most, testenv_mbufs_used() - before);
		sent(0, NULL);
	}
	assert_in_range(child->tcb.ooo_runs, 1, TCP_OOO_RUNS_MAX);
	assert_in_range(most, 1, TCP_OOO_RUNS_MAX + 1);
	end();
}

static void overlapping_segments_are_kept_once(void **state)
{
	static const uint8_t text[1400];
	unsigned before, most = 0;
	struct prng rng;
	struct seg s;

	(void)state;
	established();
	prng_seed(&rng, 77);
	before = testenv_mbufs_used();
	s = base(TH_ACK);
	s.data = text;
	for (unsigned i = 0; i < 20000; i++) {
		s.seq = PEER_ISN + 100 + (uint32_t)prng_below(&rng, 50000);
		s.len = 1 + (uint32_t)prng_below(&rng, sizeof(text));
		push(&s);
		most = MAX(most, testenv_mbufs_used() - before);
		sent(0, NULL);
	}
	/* twice the receive buffer by true size, whatever comes */
	assert_in_range(most, 1, 2 * RCVBUF / 2048);
	assert_in_range(child->tcb.ooo_runs, 1, TCP_OOO_RUNS_MAX);
	end();
}

/* A window that opens by a byte and closes, ten thousand times: no byte is sent for it, and no timer runs faster. */
static void window_that_flaps_moves_nothing(void **state)
{
	static const uint8_t text[20000];
	unsigned before_bytes, n;
	struct seg s;

	(void)state;
	established();
	s = base(TH_ACK);
	s.win = 0;
	push(&s);
	assert_int_equal(sock_send(child, text, sizeof(text), MSG_DONTWAIT, tenv.self), sizeof(text));
	testenv_settle();
	before_bytes = (unsigned)child->tcb.bytes_sent;
	sent(0, NULL);
	for (unsigned i = 0; i < PER_FLOOD; i++) {
		s.win = i & 1;
		push(&s);
		testenv_run_for(STEP_US);
	}
	n = sent(0, NULL);
	assert_in_range(n, 0, 8); /* probes of the persist timer */
	assert_in_range(child->tcb.bytes_sent - before_bytes, 0, 8);
	s.win = 65000;
	s.ack = child->tcb.snd_nxt;
	push(&s);
	end();
}

/* The application is gone, its data is not, and the peer answers every probe with a window of zero. */
static void orphan_before_a_closed_window_ends(void **state)
{
	static const uint8_t text[20000];
	struct stack *st;
	struct seg s;
	bool gone = false;

	(void)state;
	established();
	st = tenv.host[0].st;
	s = base(TH_ACK);
	s.win = 0;
	push(&s);
	assert_int_equal(sock_send(child, text, sizeof(text), MSG_DONTWAIT, tenv.self), sizeof(text));
	testenv_close_sock(child);
	child = NULL;
	for (unsigned i = 0; i < 1200 && !gone; i++) {
		testenv_run_for(1000000);
		if (sent(TH_ACK, NULL))
			push(&s);
		gone = st->tcp->conns.count == 0;
		/* not at once: the peer may be slow */
		assert_true(i > 60 || !gone);
	}
	assert_true(gone);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acks_outside_the_window_are_answered_twice_a_second),
		cmocka_unit_test(keepalive_probes_are_answered_twice_a_second),
		cmocka_unit_test(acks_of_the_future_are_challenged_twice_a_second),
		cmocka_unit_test(resets_in_the_window_are_challenged_twice_a_second),
		cmocka_unit_test(syns_in_a_connection_are_challenged_twice_a_second),
		cmocka_unit_test(half_open_connections_answer_twice_a_second),
		cmocka_unit_test(challenges_have_a_bound_that_cannot_be_predicted),
		cmocka_unit_test(segments_for_nobody_share_one_short_list),
		cmocka_unit_test(in_order_bytes_share_buffers),
		cmocka_unit_test(out_of_order_bytes_share_buffers),
		cmocka_unit_test(bytes_between_holes_are_few),
		cmocka_unit_test(overlapping_segments_are_kept_once),
		cmocka_unit_test(window_that_flaps_moves_nothing),
		cmocka_unit_test(orphan_before_a_closed_window_ends),
	};

	return cmocka_run_group_tests_name("tcp_floods", tests, NULL, NULL);
}

/* test_tcp_pressure.c - buffers run short: what gives way, in which order, that existing connections go on, and that all is as before when buffers
 * are back (stack.h, enum mem_level). The test takes the buffers away itself, and runs in virtual time. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define POOL 8192u
#define PEER_ISN 5000u

static struct rte_mbuf *taken[POOL];
static unsigned nb_taken;
static struct sock *listener;

static uint32_t pool_free(void)
{
	return rte_mempool_get_ops(tenv.pool->ops_index)->get_count(tenv.pool);
}

/* Leaves a share of what was free at the start, in sixteenths; the stack has looked when this returns. */
static void leave(unsigned sixteenths)
{
	struct stack *st = tenv.host[0].st;
	uint32_t want = st->mem_top / 16 * sixteenths;

	while (pool_free() > want) {
		assert_int_equal(rte_mempool_generic_get(tenv.pool, (void **)&taken[nb_taken], 1, NULL), 0);
		nb_taken++;
	}
	while (nb_taken && pool_free() < want)
		rte_mempool_generic_put(tenv.pool, (void **)&taken[--nb_taken], 1, NULL);
	stack_look_at_memory(st);
}

static void give_back(void)
{
	while (nb_taken)
		rte_mempool_generic_put(tenv.pool, (void **)&taken[--nb_taken], 1, NULL);
	stack_look_at_memory(tenv.host[0].st);
}

static struct seg base(uint16_t sport, uint8_t flags)
{
	struct thost *h = &tenv.host[0];
	struct seg s = { .kind = SEG_TCP, .saddr = htonl(0x0a00000a), .daddr = h->ip_be, .sport = sport, .dport = 80, .seq = PEER_ISN + 1,
			 .win = 65000, .flags = flags };

	memcpy(s.dmac, h->dev.nd.mac, 6);
	memcpy(s.smac, h->dev.peer_mac, 6);
	return s;
}

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

static void push(const struct seg *s)
{
	memdev_push(&tenv.host[0].dev, seg_build(s));
	testenv_settle();
}

static unsigned syn(uint16_t sport, struct seg *a)
{
	struct seg s = base(sport, TH_SYN);

	s.seq = PEER_ISN;
	push(&s);
	return sent(TH_SYN, a);
}

static struct sock *established(uint16_t sport, uint32_t *snd)
{
	struct sock *s;
	struct seg a = { 0 }, ack = base(sport, TH_ACK);

	assert_int_equal(syn(sport, &a), 1);
	*snd = ack.ack = a.seq + 1;
	push(&ack);
	assert_int_equal(sock_accept(listener, &s, true, -1, tenv.self), 0);
	sent(0, NULL);
	return s;
}

static void begin(void)
{
	testenv_open(&(struct testenv_conf){ .nb_hosts = 1, .mbufs = POOL });
	listener = testenv_listener(0, 80, 64);
	stack_look_at_memory(tenv.host[0].st);
	assert_int_equal(tenv.host[0].st->mem_level, MEM_OK);
}

static void end(void)
{
	give_back();
	assert_int_equal(tenv.host[0].st->mem_level, MEM_OK);
	testenv_close_sock(listener);
	testenv_run_for(400000000);
	sent(0, NULL);
	assert_int_equal(testenv_close(), 0);
}

static void levels_fall_and_rise_with_a_gap(void **state)
{
	struct stack *st;

	(void)state;
	begin();
	st = tenv.host[0].st;
	leave(5);
	assert_int_equal(st->mem_level, MEM_OK);
	leave(3);
	leave(5); /* better, but not good */
	assert_int_equal(st->mem_level, MEM_LOW);
	leave(7);
	assert_int_equal(st->mem_level, MEM_OK);
	leave(2);
	assert_int_equal(st->mem_level, MEM_SHORT);
	leave(0);
	assert_int_equal(st->mem_level, MEM_CRITICAL);
	leave(1);
	assert_int_equal(st->mem_level, MEM_CRITICAL);
	leave(3);
	assert_int_equal(st->mem_level, MEM_SHORT);
	end();
}

static void new_connections_are_refused_before_old_ones_suffer(void **state)
{
	struct seg s, a = { 0 };
	struct sock *old;
	char buf[200];
	uint32_t snd;

	(void)state;
	begin();
	old = established(2000, &snd);
	leave(2);
	assert_int_equal(syn(2001, NULL), 0);
	assert_int_equal(tenv.host[0].st->drops[DROP_TCP_NO_MEMORY], 1);
	/* the old one is served, both ways */
	s = base(2000, TH_ACK | TH_PSH);
	s.ack = snd;
	s.data = (const uint8_t *)"question";
	s.len = 8;
	push(&s);
	assert_int_equal(sock_recv(old, buf, sizeof(buf), MSG_DONTWAIT, tenv.self), 8);
	assert_int_equal(sock_send(old, "answer", 6, MSG_DONTWAIT, tenv.self), 6);
	testenv_settle();
	assert_int_equal(sent(TH_PSH, &a), 1);
	assert_int_equal(a.len, 6);
	assert_int_equal(a.ack, PEER_ISN + 9);
	give_back();
	assert_int_equal(syn(2001, NULL), 1);
	testenv_close_sock(old);
	end();
}

static void windows_stop_growing_and_never_shrink(void **state)
{
	uint32_t snd, edge, seq = PEER_ISN + 1;
	static const uint8_t text[1000];
	struct seg s, a = { 0 };
	struct sock *c;

	(void)state;
	begin();
	c = established(2000, &snd);
	edge = c->tcb.rcv_adv;
	assert_true(edge - c->tcb.rcv_nxt > 8 * 1460);
	leave(3);
	leave(5);
	assert_int_equal(tenv.host[0].st->mem_level, MEM_LOW);
	for (unsigned i = 0; i < 80; i++) {
		char buf[1000];

		s = base(2000, TH_ACK);
		s.seq = seq;
		s.ack = snd;
		s.data = text;
		s.len = sizeof(text);
		push(&s);
		seq += s.len;
		assert_int_equal(sock_recv(c, buf, sizeof(buf), MSG_DONTWAIT, tenv.self), sizeof(buf));
		assert_true(seq_ge(c->tcb.rcv_adv, edge));
		edge = c->tcb.rcv_adv;
	}
	/* what had been offered was used up, and four segments are offered since */
	assert_in_range(edge - c->tcb.rcv_nxt, 1460, 4 * 1460);
	give_back();
	s.seq = seq;
	push(&s);
	testenv_run_for(100000);
	sent(TH_ACK, &a);
	assert_true(c->tcb.rcv_adv - c->tcb.rcv_nxt > 8 * 1460);
	testenv_close_sock(c);
	end();
}

static void greediest_give_up_what_is_out_of_order(void **state)
{
	static const uint8_t text[1400];
	uint32_t snd[2];
	struct sock *c[2];
	struct seg s, a = { 0 };
	uint32_t had;

	(void)state;
	begin();
	for (unsigned i = 0; i < 2; i++) {
		c[i] = established((uint16_t)(2000 + i), &snd[i]);
		s = base((uint16_t)(2000 + i), TH_ACK);
		s.ack = snd[i];
		s.data = text;
		s.len = sizeof(text);
		/* every other segment; the second connection has three only */
		for (unsigned k = 0; k < (i ? 3 : 20); k++) {
			s.seq = PEER_ISN + 1 + (2 * k + 1) * sizeof(text);
			push(&s);
		}
	}
	had = c[0]->tcb.ooo_true_bytes;
	assert_int_equal(c[0]->tcb.ooo_runs, 20);
	sent(0, NULL);
	leave(3);
	assert_true(c[0]->tcb.ooo_true_bytes <= had / 2);
	assert_int_equal(c[1]->tcb.ooo_runs, 3);
	/* nothing is claimed that is not there; the rest is intact, and the stream goes on when all comes again */
	assert_int_equal(c[0]->tcb.rcv_sack_n, 0);
	s = base(2000, TH_ACK);
	s.ack = snd[0];
	s.data = text;
	s.len = sizeof(text);
	for (unsigned k = 0; k < 40; k++) {
		char buf[4096];

		s.seq = PEER_ISN + 1 + k * sizeof(text);
		push(&s);
		while (sock_recv(c[0], buf, sizeof(buf), MSG_DONTWAIT, tenv.self) > 0)
			;
	}
	sent(0, &a);
	assert_int_equal(c[0]->tcb.rcv_nxt, PEER_ISN + 1 + 40 * sizeof(text));
	assert_null(c[0]->tcb.ooo_head);
	testenv_close_sock(c[0]);
	testenv_close_sock(c[1]);
	end();
}

static void at_the_end_data_waits_outside_but_acknowledgements_count(void **state)
{
	static const uint8_t text[100];
	struct seg s, a = { 0 };
	struct sock *c;
	char buf[1000];
	uint32_t snd;

	(void)state;
	begin();
	c = established(2000, &snd);
	assert_int_equal(sock_send(c, text, sizeof(text), MSG_DONTWAIT, tenv.self), sizeof(text));
	testenv_settle();
	sent(0, NULL);
	leave(0);
	assert_int_equal(tenv.host[0].st->mem_level, MEM_CRITICAL);
	/* what a reader waits for gets through, and acknowledges; the next does not */
	for (unsigned i = 0; i < 3; i++) {
		s = base(2000, TH_ACK);
		s.seq += i * sizeof(text);
		s.ack = snd + sizeof(text);
		s.data = text;
		s.len = sizeof(text);
		push(&s);
	}
	assert_int_equal(c->tcb.snd_una, snd + sizeof(text));
	assert_int_equal(sock_rx_bytes(c), sizeof(text));
	sent(TH_ACK, &a);
	assert_int_equal(a.ack, PEER_ISN + 1 + sizeof(text));
	/* out of order: not at all */
	s.seq = PEER_ISN + 1 + 5 * sizeof(text);
	push(&s);
	assert_null(c->tcb.ooo_head);
	/* read, it goes on even so; then all of it */
	assert_int_equal(sock_recv(c, buf, sizeof(buf), MSG_DONTWAIT, tenv.self), sizeof(text));
	s.seq = PEER_ISN + 1 + sizeof(text);
	push(&s);
	assert_int_equal(sock_recv(c, buf, sizeof(buf), MSG_DONTWAIT, tenv.self), sizeof(text));
	testenv_close_sock(c);
	end();
}

static void small_segments_share_buffers_at_once(void **state)
{
	struct sock *c;
	uint32_t snd;
	unsigned before;
	struct seg s;

	(void)state;
	begin();
	c = established(2000, &snd);
	leave(3);
	before = testenv_mbufs_used();
	s = base(2000, TH_ACK);
	s.ack = snd;
	s.data = (const uint8_t *)"x";
	s.len = 1;
	for (unsigned i = 0; i < 1000; i++, s.seq++) {
		push(&s);
		sent(0, NULL);
	}
	assert_int_equal(sock_rx_bytes(c), 1000);
	assert_in_range(testenv_mbufs_used() - before, 1, 2);
	testenv_close_sock(c);
	end();
}

static void notsent_lowat_limits_what_waits(void **state)
{
	static const uint8_t text[200000];
	struct sock *c;
	uint32_t snd, opt = 4096;
	struct seg s;
	ssize_t n, all = 0;

	(void)state;
	begin();
	c = established(2000, &snd);
	assert_int_equal(sock_setopt(c, IPPROTO_TCP, 25 /* TCP_NOTSENT_LOWAT */, &opt, sizeof(opt), tenv.self), 0);
	s = base(2000, TH_ACK);
	for (unsigned round = 0; round < 20; round++) {
		while ((n = sock_send(c, text, sizeof(text), MSG_DONTWAIT, tenv.self)) > 0) {
			all += n;
			/* never more than the limit or a chunk waits: half of the peer's largest window */
			assert_true(sock_tx_unsent(c) <= MAX(opt, tcp_max_snd_wnd(&c->tcb) / 2));
		}
		assert_int_equal(n, -EAGAIN);
		assert_true(sock_tx_unsent(c) >= opt);
		assert_false(sock_readiness(c) & EPOLLOUT);
		/* less than half of the limit waits: not writable before */
		for (unsigned acks = 0; sock_tx_unsent(c) * 2 >= opt; acks++) {
			assert_true(acks < 100);
			assert_false(sock_readiness(c) & EPOLLOUT);
			s.ack = c->tcb.snd_nxt;
			push(&s);
			testenv_settle();
			sent(0, NULL);
		}
		assert_true(sock_readiness(c) & EPOLLOUT);
	}
	assert_true(all > 100000);
	/* without a limit the send buffer is one */
	opt = 0;
	assert_int_equal(sock_setopt(c, IPPROTO_TCP, 25, &opt, sizeof(opt), tenv.self), 0);
	assert_int_equal(sock_send(c, text, sizeof(text), MSG_DONTWAIT, tenv.self), sizeof(text));
	s = base(2000, TH_RST);
	s.ack = 0;
	push(&s);
	testenv_close_sock(c);
	end();
}

static void fixed_receive_buffer_and_clamp_hold(void **state)
{
	static const uint8_t text[1460];
	struct seg s, a = { 0 };
	struct sock *c;
	char buf[1460];
	uint32_t snd, seq = PEER_ISN + 1, grown;
	int opt;

	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		begin();
		seq = PEER_ISN + 1;
		if (kind == 1) {
			opt = 40000;
			assert_int_equal(sock_setopt(listener, SOL_SOCKET, SO_RCVBUF, &opt, sizeof(opt), tenv.self), 0);
		}
		c = established(2000, &snd);
		if (kind == 2) {
			opt = 20000;
			assert_int_equal(sock_setopt(c, IPPROTO_TCP, 10 /* TCP_WINDOW_CLAMP */, &opt, sizeof(opt), tenv.self), 0);
		}
		/* ten segments a round trip of 10 ms, then 20, ...: the application reads all */
		for (unsigned rtt = 1; rtt < 12; rtt++) {
			for (unsigned i = 0; i < 10 * rtt; i++) {
				s = base(2000, TH_ACK);
				s.seq = seq;
				s.ack = snd;
				s.data = text;
				s.len = sizeof(text);
				if (!seq_le(seq + s.len, c->tcb.rcv_adv))
					break;
				push(&s);
				seq += s.len;
				assert_int_equal(sock_recv(c, buf, sizeof(buf), MSG_DONTWAIT, tenv.self), sizeof(buf));
			}
			testenv_run_for(10000);
			sent(TH_ACK, &a);
		}
		grown = atomic_load(&c->rcvbuf);
		if (kind == 0)
			assert_true(grown > 131072);
		else if (kind == 1)
			assert_int_equal(grown, 80000);
		else
			assert_in_range(c->tcb.rcv_adv - c->tcb.rcv_nxt, 1460, 20000 + 128);
		testenv_close_sock(c);
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_fall_and_rise_with_a_gap),
		cmocka_unit_test(new_connections_are_refused_before_old_ones_suffer),
		cmocka_unit_test(windows_stop_growing_and_never_shrink),
		cmocka_unit_test(greediest_give_up_what_is_out_of_order),
		cmocka_unit_test(at_the_end_data_waits_outside_but_acknowledgements_count),
		cmocka_unit_test(small_segments_share_buffers_at_once),
		cmocka_unit_test(notsent_lowat_limits_what_waits),
		cmocka_unit_test(fixed_receive_buffer_and_clamp_hold),
	};

	return cmocka_run_group_tests_name("tcp_pressure", tests, NULL, NULL);
}

/* test_tcp_stream.c - whole connections in virtual time: reassembly against a naive model, transfers over wires that lose, reorder and duplicate, in both
 * directions, closes in all orders; every byte is compared, every mbuf counted. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t rng;

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 11) % below);
}

static uint8_t byte_at(uint64_t off, unsigned salt)
{
	return (uint8_t)(off * 31 + (off >> 8) * 7 + (off >> 16) + salt);
}

/* --- reassembly --- */

static void inject(struct stack *st, uint32_t seq, uint32_t ack, uint8_t flags, uint64_t off, uint32_t len)
{
	struct ip_addr src = ip_addr_v4(testenv_ip(8)), dst = ip_addr_v4(testenv_ip(0));
	struct rte_mbuf *m = rte_pktmbuf_alloc(tenv.pool);
	struct tcp_hdr *h = (struct tcp_hdr *)rte_pktmbuf_append(m, TCP_HDR_MIN);
	struct rte_mbuf *seg = m;

	assert_non_null(m);
	*h = (struct tcp_hdr){ .sport_be = htons(1000), .dport_be = htons(80), .seq_be = htonl(seq), .ack_be = htonl(ack),
			       .off = 0x50, .flags = flags, .wnd_be = htons(65535) };
	/* payload in pieces: received frames may be chains */
	for (uint32_t i = 0; i < len;) {
		uint32_t n = 1 + rnd(900); /* not inside MIN(): it evaluates twice */
		uint8_t *p;

		n = MIN(n, len - i);

		if (rnd(2) || rte_pktmbuf_tailroom(seg) < n) {
			struct rte_mbuf *more = rte_pktmbuf_alloc(tenv.pool);

			seg->next = more;
			m->nb_segs++;
			seg = more;
		}
		p = rte_pktmbuf_mtod_offset(seg, uint8_t *, seg->data_len);
		for (uint32_t j = 0; j < n; j++)
			p[j] = byte_at(off + i + j, 0);
		seg->data_len = (uint16_t)(seg->data_len + n);
		m->pkt_len += n;
		i += n;
	}
	m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	tcp_input(st, m, &src, &dst, 0);
}

/* A connection from an imaginary peer whose first data byte is seq `first`. */
static struct sock *peer_connects(struct sock *l, uint32_t first)
{
	struct stack *st = tenv.host[0].st;
	struct tcp_syn *r;
	struct sock *s = NULL;

	inject(st, first - 1, 0, TCP_SYN, 0, 0);
	assert_false(list_empty(&st->tcp->syn_list));
	r = container_of(st->tcp->syn_list.prev, struct tcp_syn, node);
	/* no options in this SYN: no SACK; the engine keeps the runs all the same */
	inject(st, first, r->iss + 1, TCP_ACK, 0, 0);
	assert_true(list_empty(&st->tcp->syn_list));
	assert_int_equal(sock_accept(l, &s, true, -1, tenv.self), 0);
	atomic_fetch_or(&s->fl_flags, O_NONBLOCK);
	return s;
}

static void eat_frames(void)
{
	struct frame *f;

	testenv_settle();
	while ((f = memdev_pop(&tenv.host[0].dev)))
		free(f);
}

static void random_segments_are_reassembled_like_the_naive_model(void **state)
{
	enum { TOTAL = 120000 };
	static bool have[TOTAL + 70000];
	struct stack *st;
	struct sock *l;

	(void)state;
	testenv_open(&(struct testenv_conf){ .seed = 1 });
	st = tenv.host[0].st;
	l = testenv_listener(0, 80, 16);
	for (uint64_t seed = 1; seed <= 40; seed++) {
		uint32_t first = 0xffff0000u + (uint32_t)seed * 1777, nxt = 0, snd;
		uint64_t read = 0;
		struct sock *s;
		struct tcb *t;
		uint8_t buf[4096];

		rng = seed * 0x9e3779b97f4a7c15ULL;
		s = peer_connects(l, first);
		t = &s->tcb;
		snd = t->snd_nxt;
		memset(have, 0, sizeof(have));
		while (nxt < TOTAL) {
			uint32_t back = MIN(nxt, 3000u), a = nxt - back + rnd(back + 20000), len = 1 + rnd(rnd(8) ? 3000 : 20000);
			uint32_t right = t->rcv_adv - first, end;
			uint64_t drops = st->drops[DROP_TCP_OOO_MEMORY];
			ssize_t n;

			if (rnd(4) == 0)
				a = nxt;
			if (a + len > TOTAL)
				len = TOTAL - a;
			if (a >= TOTAL || len == 0)
				continue;
			end = MIN(a + len, right);
			st->now_us += 10;
			inject(st, first + a, snd, TCP_ACK | (rnd(2) ? TCP_PSH : 0), a, len);
			if (st->drops[DROP_TCP_OOO_MEMORY] == drops) {
				for (uint32_t i = a; i < end; i++)
					have[i] = true;
			}
			while (have[nxt])
				nxt++;
			assert_int_equal(t->rcv_nxt, first + nxt);
			/* the blocks are maximal stretches of what the model has */
			for (unsigned i = 0; i < t->rcv_sack_n; i++) {
				uint32_t bs = t->rcv_sack[i].start - first, be = t->rcv_sack[i].end - first;

				assert_true(bs > nxt && be > bs && be <= TOTAL);
				assert_false(have[bs - 1]);
				assert_false(be < TOTAL && have[be]);
				for (uint32_t j = bs; j < be; j++) {
					if (!have[j])
						fail_msg("seed %lu: block %u..%u, %u never came (segment %u..%u, edge %u)",
							 (unsigned long)seed, bs, be, j, a, a + len, right);
				}
				for (unsigned j = 0; j < i; j++)
					assert_true(t->rcv_sack[j].start != t->rcv_sack[i].start);
			}
			if ((st->now_us / 10) % 64 == 0)
				eat_frames();
			while ((n = sock_recv(s, buf, 1 + rnd(sizeof(buf)), 0, tenv.self)) > 0) {
				for (ssize_t i = 0; i < n; i++)
					assert_int_equal(buf[i], byte_at(read + (uint64_t)i, 0));
				read += (uint64_t)n;
			}
			assert_int_equal(n, -EAGAIN);
			assert_int_equal(read, nxt);
		}
		assert_int_equal(t->ooo_true_bytes, 0);
		assert_int_equal(t->ooo_runs, 0);
		assert_null(t->ooo_head);
		assert_int_equal(t->slow, 0);
		eat_frames();
		/* the peer resets; nothing is left */
		inject(st, t->rcv_nxt, snd, TCP_RST, 0, 0);
		testenv_close_sock(s);
		eat_frames();
	}
	testenv_close_sock(l);
	eat_frames();
	testenv_run_for(1000000);
	assert_int_equal(testenv_close(), 0);
}

/* Its memory may be another stack's connection by the next round, which must not get this one's timer. */
static void a_connection_that_ends_owes_no_acknowledgement(void **state)
{
	struct sock *l, *s;
	struct stack *st;
	struct tcb *t;
	uint32_t snd;

	(void)state;
	rng = 1;
	testenv_open(&(struct testenv_conf){ .seed = 1 });
	st = tenv.host[0].st;
	l = testenv_listener(0, 80, 16);
	s = peer_connects(l, 5000);
	t = &s->tcb;
	snd = t->snd_nxt;
	eat_frames(); /* a fresh connection acknowledges at once; the answer below ends that */
	inject(st, 5000, snd, TCP_ACK | TCP_PSH, 0, 10);
	assert_int_equal(sock_send(s, "answer", 6, 0, tenv.self), 6);
	eat_frames();
	inject(st, 5010, snd + 6, TCP_ACK | TCP_PSH, 10, 10);
	assert_int_equal(st->tcp->nb_unacked, 1);
	assert_ptr_equal(st->tcp->unacked[0], t);
	inject(st, 5020, 0, TCP_RST, 0, 0);
	assert_int_equal(t->state, TCPS_CLOSED);
	assert_null(st->tcp->unacked[0]);
	/* as if it were in use again, elsewhere */
	t->deadline[TCP_AT_DELACK] = TCP_UNSETTLED;
	tcp_settle_acks(st);
	assert_int_equal(t->deadline[TCP_AT_DELACK], TCP_UNSETTLED);
	tcp_deadline_clear(t, TCP_AT_DELACK);
	testenv_close_sock(s);
	testenv_close_sock(l);
	eat_frames();
	assert_int_equal(testenv_close(), 0);
}

static void an_out_of_order_queue_is_bounded(void **state)
{
	struct stack *st;
	struct sock *l, *s;
	unsigned used;

	(void)state;
	rng = 42;
	testenv_open(&(struct testenv_conf){ .seed = 1 });
	st = tenv.host[0].st;
	l = testenv_listener(0, 80, 16);
	s = peer_connects(l, 5000);
	used = testenv_mbufs_used();
	/* single bytes with holes between them */
	for (uint32_t i = 1; i < 30000; i += 2)
		inject(st, 5000 + i, s->tcb.snd_nxt, TCP_ACK, i, 1);
	assert_true(s->tcb.ooo_runs <= TCP_OOO_RUNS_MAX);
	assert_true(testenv_mbufs_used() - used <= 2 * TCP_OOO_RUNS_MAX + 8);
	/* adjacent single bytes do not pin a buffer each */
	for (uint32_t i = 40000; i < 44000; i++)
		inject(st, 5000 + i, s->tcb.snd_nxt, TCP_ACK, i, 1);
	assert_true(s->tcb.ooo_true_bytes <= 2 * atomic_load(&s->rcvbuf));
	eat_frames();
	inject(st, 5000, 0, TCP_RST, 0, 0);
	testenv_close_sock(s);
	testenv_close_sock(l);
	eat_frames();
	assert_int_equal(testenv_close(), 0);
}

/* --- transfers --- */

struct dir {
	struct sock *from, *to;
	uint64_t sent, got, total;
	unsigned salt;
	bool shut, eof;
};

static void pump(struct dir *d)
{
	static uint8_t buf[70000];
	ssize_t n;

	while (d->sent < d->total) {
		size_t want = 1 + rnd(rnd(3) ? 3000 : sizeof(buf));

		want = MIN(want, d->total - d->sent);
		for (size_t i = 0; i < want; i++)
			buf[i] = byte_at(d->sent + i, d->salt);
		n = sock_send(d->from, buf, want, MSG_NOSIGNAL, tenv.self);
		if (n <= 0)
			break;
		d->sent += (uint64_t)n;
	}
	if (d->sent == d->total && !d->shut) {
		assert_int_equal(sock_shutdown(d->from, SHUT_WR, tenv.self), 0);
		d->shut = true;
	}
	while (!d->eof && (n = sock_recv(d->to, buf, 1 + rnd(sizeof(buf)), 0, tenv.self)) >= 0) {
		if (n == 0) {
			d->eof = true;
			break;
		}
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] != byte_at(d->got + (uint64_t)i, d->salt))
				fail_msg("byte %lu differs", (unsigned long)(d->got + (uint64_t)i));
		}
		d->got += (uint64_t)n;
	}
}

static unsigned large_most; /* large buffers in use at a time, in the last transfer */

static bool both_done(void *arg)
{
	struct dir *d = arg;

	pump(&d[0]);
	pump(&d[1]);
	large_most = MAX(large_most, rte_mempool_in_use_count(tenv.large));
	return d[0].eof && d[1].eof;
}

static void dump(const char *name, struct sock *s)
{
	struct tcb *t = &s->tcb;

	print_message("%s: %s una %u nxt %u end %u wnd %u cwnd %u pipe %u ssthresh %u sacked %u lost %u rexmit %u ca %u dup %u persist %u "
		      "fin %u%u%u backoff %u rto %u at %ld now %lu mss %u slow %x ooo %u rcv_nxt %u adv %u\n", name, tcp_state_name(t->state),
		      t->snd_una, t->snd_nxt, t->snd_end, t->snd_wnd, t->cwnd, tcp_pipe(t), t->ssthresh, t->sacked_out, t->lost_out,
		      t->rexmit_out, t->ca_state, t->dupacks, t->persist, t->fin_queued, t->fin_sent, t->fin_lost, t->backoff, t->rto_us,
		      (long)t->deadline[TCP_AT_REXMIT], (unsigned long)sock_stack(s)->now_us, t->mss, t->slow, t->ooo_runs, t->rcv_nxt,
		      t->rcv_adv);
}

static void transfer(const struct wire_conf *w, const struct memdev_conf *dev, uint64_t bytes, uint64_t limit_us, uint64_t seed)
{
	struct dir d[2];
	struct sock *l, *c, *a = NULL;
	bool done;

	rng = seed * 0x9e3779b97f4a7c15ULL;
	large_most = 0;
	testenv_open(&(struct testenv_conf){ .nb_hosts = 2, .wired = true, .seed = seed, .dev = *dev });
	tenv.wire.link[0].conf = *w;
	tenv.wire.link[1].conf = *w;
	l = testenv_listener(1, 80, 16);
	c = testenv_connect(0, 1, 80);
	for (int i = 0; i < 400 && !a; i++) {
		testenv_run_for(100000);
		sock_accept(l, &a, true, -1, tenv.self);
	}
	assert_non_null(a);
	atomic_fetch_or(&a->fl_flags, O_NONBLOCK);
	d[0] = (struct dir){ .from = c, .to = a, .total = bytes, .salt = 1 };
	d[1] = (struct dir){ .from = a, .to = c, .total = bytes / 2, .salt = 2 };
	done = testenv_run_cond(both_done, d, limit_us);
	if (!done)
		print_message("seed %lu: %lu/%lu of %lu, %lu/%lu of %lu\n", (unsigned long)seed, (unsigned long)d[0].got,
			      (unsigned long)d[0].sent, (unsigned long)d[0].total, (unsigned long)d[1].got,
			      (unsigned long)d[1].sent, (unsigned long)d[1].total);
	if (!done) {
		dump("client", c);
		dump("server", a);
	}
	assert_true(done);
	assert_int_equal(d[0].got, d[0].total);
	assert_int_equal(d[1].got, d[1].total);
	testenv_close_sock(c);
	testenv_close_sock(a);
	testenv_close_sock(l);
	testenv_run_for(400000000);
	assert_int_equal(testenv_close(), 0);
}

static const struct memdev_conf plain, tso = { .tx_csum = true, .rx_csum = true, .tso_max_bytes = 60000, .tso_carry = true, .tx_hold = 20 },
			       cut = { .tx_csum = true, .tso_max_bytes = 20000, .linear_only = false, .rx_seg_bytes = 200, .tx_hold = 64 },
			       linear = { .linear_only = true };

static void a_clean_wire_carries_both_directions(void **state)
{
	const struct wire_conf w = { .delay_us = 1000, .rate_bps = 1000000000 };

	(void)state;
	transfer(&w, &plain, 8000000, 20000000, 1);
	transfer(&w, &tso, 8000000, 20000000, 2);
	transfer(&w, &cut, 4000000, 20000000, 3);
	transfer(&w, &linear, 4000000, 20000000, 4);
}

static void loss_reordering_and_duplication_harm_nothing(void **state)
{
	const struct memdev_conf *devs[] = { &plain, &tso, &cut, &linear };

	(void)state;
	for (uint64_t seed = 10; seed < 34; seed++) {
		struct wire_conf w = { .delay_us = 5000, .chance.loss_ppm = 10000 * (uint32_t)(seed % 4), .chance.reorder_ppm = 20000,
				       .reorder_us = 3000, .chance.dup_ppm = 10000, .chance.corrupt_ppm = 2000 };

		if (seed % 3 == 0)
			w.jitter_us = 4000;
		transfer(&w, devs[seed % 4], 600000, 600000000, seed);
	}
}

/* --- large buffers --- */

static const struct memdev_conf whole = { .tx_csum = true, .rx_csum = true, .tso_max_bytes = NETDEV_TSO_MAX, .tso_carry = true },
			       segmented = { .tx_csum = true, .rx_csum = true, .tso_max_bytes = NETDEV_TSO_MAX, .tx_hold = 20 };

static void large_frames_leave_in_large_buffers(void **state)
{
	const struct wire_conf w = { .delay_us = 200 };

	(void)state;
	transfer(&w, &whole, 20000000, 600000000, 60);
	/* nearly all of what is on its way at the end, when windows are at their largest */
	assert_true(large_most > 100);
}

static void a_connection_of_small_frames_has_no_large_buffers(void **state)
{
	const struct wire_conf w = { .delay_us = 20000, .rate_bps = 10000000, .queue_frames = 30 };

	(void)state;
	transfer(&w, &segmented, 4000000, 600000000, 61);
	assert_int_equal(large_most, 0);
}

/* Single segments of frames made of large buffers are lost: they are cut where the reports say, and the connection goes over to small ones. */
static void losses_inside_large_buffers_are_repaired(void **state)
{
	static const uint32_t nth[] = { 2000, 2001, 2009, 2400, 2403, 2500, 5000, 5001, 5002, 5003, 5004, 5005, 6001 };
	unsigned used = 0;

	(void)state;
	for (uint64_t seed = 62; seed < 68; seed++) {
		struct wire_conf w = { .delay_us = 200, .chance.loss_ppm = seed < 64 ? 0 : 200 };

		for (unsigned i = 0; i < ARRAY_SIZE(nth); i++)
			w.drop_nth[i] = nth[i] + (uint32_t)seed;
		transfer(&w, &segmented, 20000000, 600000000, seed);
		used += large_most;
	}
	assert_true(used > 0);
}

static void heavy_loss_ends_in_time(void **state)
{
	const struct wire_conf w = { .delay_us = 2000, .chance.loss_ppm = 200000 };

	(void)state;
	for (uint64_t seed = 50; seed < 56; seed++)
		transfer(&w, seed & 1 ? &plain : &tso, 60000, 3000000000ULL, seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_segments_are_reassembled_like_the_naive_model),
		cmocka_unit_test(a_connection_that_ends_owes_no_acknowledgement),
		cmocka_unit_test(an_out_of_order_queue_is_bounded),
		cmocka_unit_test(a_clean_wire_carries_both_directions),
		cmocka_unit_test(loss_reordering_and_duplication_harm_nothing),
		cmocka_unit_test(large_frames_leave_in_large_buffers),
		cmocka_unit_test(a_connection_of_small_frames_has_no_large_buffers),
		cmocka_unit_test(losses_inside_large_buffers_are_repaired),
		cmocka_unit_test(heavy_loss_ends_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

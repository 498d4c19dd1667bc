/* test_tcp_scoreboard.c - the sender's scoreboard against a byte-for-byte model: random SACKs, ACKs, timeouts and retransmissions, sequence numbers that
 * wrap. Seeds are printed on failure. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define LEN_MAX 60000u
#define HOSTILE_ACKS 3000u

static uint64_t rng;

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 11) % below);
}

static struct tcb *sender(uint32_t first_seq, unsigned mbufs, uint32_t mbuf_most, uint8_t opts)
{
	struct stack *st = tenv.host[0].st;
	struct sock *s = testenv_socket(0, SOCK_STREAM);
	struct tcb *t = &s->tcb;
	uint32_t total = 0;

	tcp_tcb_init(st, t);
	t->laddr = ip_addr_v4(testenv_ip(0));
	t->raddr = ip_addr_v4(testenv_ip(8));
	t->lport_be = 1;
	t->rport_be = 2;
	t->opts = opts;
	t->iss = first_seq - 1;
	t->snd_una = t->snd_nxt = t->snd_end = t->snd_sml = first_seq;
	t->mss_peer = 1000;
	t->mss_offered = 1000;
	tcp_tcb_insert(st, t);
	tcp_established(st, t);
	tcp_snd_wnd_first(t, 1 << 20);
	t->cwnd = 1 << 20;
	for (unsigned i = 0; i < mbufs; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(tenv.pool);
		struct pkt_meta *p = pkt_meta(m);

		p->off = PKT_HEADROOM;
		p->len = (uint16_t)(1 + rnd(mbuf_most));
		p->q.next = NULL;
		pkt_tx(m)->push = 0;
		total += p->len;
		memset((char *)m->buf_addr + p->off, (int)i, p->len);
		tcp_sendq_append(st, t, &p->q);
	}
	assert_true(total <= LEN_MAX);
	atomic_store(&s->tx_written, total);
	tcp_mark_output(st, t, TCP_OUT_DATA | TCP_OUT_PUSH);
	tcp_output_all(st);
	return t;
}

static void eat_frames(void)
{
	struct frame *f;

	netdev_flush(tenv.host[0].st->nd, 0);
	while ((f = memdev_pop(&tenv.host[0].dev)))
		free(f);
	/* addresses are resolved by the device itself */
	testenv_settle();
	while ((f = memdev_pop(&tenv.host[0].dev)))
		free(f);
}

/* Everything that must hold of the queue and its counters at any time. */
static void check_counters(struct tcb *t)
{
	uint32_t sacked = 0, lost = 0, rexmit = 0, seq = t->snd_una;
	struct rte_mbuf *m;
	bool past_next = false;
	unsigned again = 0, relost = 0;
	struct list *n;

	for (m = t->sq_head; m; m = tcp_sendq_next(m)) {
		uint8_t f = pkt_tx(m)->flags;
		uint32_t len = pkt_meta(m)->len;

		if (m == t->sq_next)
			past_next = true;
		assert_int_equal(tcp_mbuf_seq(m), seq);
		assert_true(len > 0);
		seq += len;
		assert_true(!(f & PKT_TX_SACKED) || !(f & (PKT_TX_LOST | PKT_TX_REXMIT)));
		assert_true(!(f & PKT_TX_REXMIT) || (f & PKT_TX_LOST));
		assert_true(!past_next || f == 0);
		assert_true(!(f & PKT_TX_RELOST) || (f & (PKT_TX_LOST | PKT_TX_REXMIT)) == PKT_TX_LOST);
		again += !!(f & PKT_TX_REXMIT);
		relost += !!(f & PKT_TX_RELOST);
		sacked += f & PKT_TX_SACKED ? len : 0;
		lost += f & PKT_TX_LOST ? len : 0;
		rexmit += f & PKT_TX_REXMIT ? len : 0;
		if (!tcp_sendq_next(m))
			assert_ptr_equal(t->sq_tail, m);
	}
	assert_int_equal(seq, t->snd_end);
	if (t->opts & TCP_OPT_SACK)
		assert_int_equal(t->sacked_out, sacked);
	assert_int_equal(t->lost_out, lost);
	assert_int_equal(t->rexmit_out, rexmit);
	ring_for_each(n, t->rexq)
	{
		assert_true(container_of(n, struct pkt_tx, node)->flags & PKT_TX_REXMIT);
		assert_true(again-- > 0);
	}
	ring_for_each(n, t->relost)
	{
		assert_true(container_of(n, struct pkt_tx, node)->flags & PKT_TX_RELOST);
		assert_true(relost-- > 0);
	}
	assert_int_equal(again + relost, 0);
	/* without marks the predicted path takes over, which looks at none of this */
	assert_true((t->slow & TCP_SLOW_LOSS) || !(sacked | lost | rexmit));
	assert_true(tcp_pipe(t) <= t->snd_nxt - t->snd_una + t->rexmit_out);
	/* a segment waits for retransmission: the hint finds it */
	if (lost > rexmit)
		assert_non_null(tcp_scoreboard_next_rexmit(t));
}

static void gone(struct tcb *t)
{
	struct stack *st = tenv.host[0].st;
	struct sock *s = sock_of_tcb(t);

	tcp_conn_gone(st, t, 0);
	eat_frames();
	testenv_close_sock(s);
}

static void random_sacks_agree_with_a_byte_model(void **state)
{
	static bool got[LEN_MAX + 1];
	struct stack *st = tenv.host[0].st;

	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		uint32_t first = seed & 1 ? 0xffffff00u : (uint32_t)seed * 977, acked = 0;
		struct tcb *t;
		uint32_t total;

		rng = seed * 0x9e3779b97f4a7c15ULL;
		t = sender(first, 30, 1900, TCP_OPT_SACK);
		total = t->snd_end - first;
		assert_int_equal(t->snd_nxt, t->snd_end);
		check_counters(t);
		memset(got, 0, sizeof(got));
		for (int step = 0; step < 200 && acked < total; step++) {
			struct tcp_seg g = { .flags = TCP_ACK, .seq = t->rcv_nxt, .wnd = 65535 };

			st->now_us += rnd(3000);
			/* the receiver gets a piece */
			if (rnd(3)) {
				uint32_t a = acked + rnd(total - acked), b = a + 1 + rnd(2500);

				for (uint32_t i = a; i < MIN(b, total); i++)
					got[i] = true;
			}
			while (acked < total && got[acked])
				acked++;
			g.ack = first + acked;
			/* it reports up to four of its ranges, sometimes nonsense */
			for (uint32_t i = acked, n = 1 + rnd(4); i < total && g.o.nsack < n; i++) {
				uint32_t e = i;

				while (e < total && got[e])
					e++;
				if (e > i && rnd(2))
					g.o.sack[g.o.nsack++] = (struct tcp_sack_block){ first + i, first + e };
				i = e;
			}
			if (g.o.nsack && rnd(10) == 0)
				g.o.sack[rnd(g.o.nsack)].end += 100000;
			if (g.o.nsack && rnd(10) == 0)
				g.o.sack[rnd(g.o.nsack)].start = (uint32_t)rng;
			assert_true(tcp_ack_input(st, t, &g));
			assert_int_equal(t->snd_una, first + acked);
			check_counters(t);
			/* what is marked has been received */
			for (struct rte_mbuf *m = t->sq_head; m; m = tcp_sendq_next(m)) {
				if (!(pkt_tx(m)->flags & PKT_TX_SACKED))
					continue;
				for (uint32_t i = tcp_mbuf_seq(m); i != tcp_mbuf_end(m); i++)
					assert_true(got[i - first]);
			}
			if (rnd(20) == 0)
				tcp_recovery_on_rto(st, t);
			check_counters(t);
			tcp_output_all(st);
			check_counters(t);
			eat_frames();
		}
		gone(t);
	}
}

static void a_report_of_everything_marks_everything(void **state)
{
	struct stack *st = tenv.host[0].st;

	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct tcb *t;
		struct tcp_seg g = { .flags = TCP_ACK, .wnd = 65535 };
		uint32_t cut;

		rng = seed * 77777;
		t = sender(0xfffff000u, 20, 1900, TCP_OPT_SACK);
		cut = 1 + rnd(t->snd_nxt - t->snd_una - 1);
		g.ack = t->snd_una;
		g.o.nsack = 1;
		g.o.sack[0] = (struct tcp_sack_block){ t->snd_una + cut, t->snd_nxt };
		assert_true(tcp_ack_input(st, t, &g));
		/* to the byte: mbufs are cut at the edge */
		assert_int_equal(t->sacked_out, t->snd_nxt - t->snd_una - cut);
		check_counters(t);
		gone(t);
	}
}

static void crumbs_of_sacks_do_not_multiply_mbufs(void **state)
{
	struct stack *st = tenv.host[0].st;
	struct tcb *t;
	unsigned n = 0;

	(void)state;
	rng = 4711;
	t = sender(5000, 30, 1900, TCP_OPT_SACK);
	for (uint32_t i = 1; i < 20000; i += 2) {
		struct tcp_seg g = { .flags = TCP_ACK, .wnd = 65535, .ack = t->snd_una };

		g.o.nsack = 1;
		g.o.sack[0] = (struct tcp_sack_block){ t->snd_una + i, t->snd_una + i + 1 };
		assert_true(tcp_ack_input(st, t, &g));
	}
	check_counters(t);
	for (struct rte_mbuf *m = t->sq_head; m; m = tcp_sendq_next(m))
		n++;
	assert_true(n < 30 + 2 * 60 + 8);
	gone(t);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Nanoseconds for HOSTILE_ACKS ACKs about a queue of so many mbufs of one byte: tiny blocks anywhere, in an order that no hint foresees, and now and then one
 * over many that exist already. The best of some tries, since others use the processor too. */
static uint64_t hostile(unsigned mbufs, bool rising)
{
	struct stack *st = tenv.host[0].st;
	uint64_t best = UINT64_MAX;

	for (unsigned again = 0; again < 3; again++) {
		struct tcb *t = sender(1000, mbufs, 1, TCP_OPT_SACK);
		uint64_t from, ns;

		eat_frames();
		st->now_us += 1000;
		from = cpu_ns();
		for (unsigned i = 0; i < HOSTILE_ACKS; i++) {
			struct tcp_seg g = { .flags = TCP_ACK, .wnd = 65535, .ack = t->snd_una };
			uint32_t len = t->snd_nxt - t->snd_una;

			g.o.nsack = 3;
			for (unsigned k = 0; k < 3; k++) {
				uint32_t at = 1 + (rising ? (i * 7 + k * len / 3) % (len - 2) : rnd(len - 2));

				g.o.sack[k] = (struct tcp_sack_block){ g.ack + at, g.ack + at + 1 };
			}
			/* a first block inside the second would be a D-SACK */
			if (i % 50 == 49)
				g.o.sack[2] = (struct tcp_sack_block){ g.ack + 1 + rnd(len / 2), g.ack + len };
			st->now_us++;
			assert_true(tcp_ack_input(st, t, &g));
		}
		ns = cpu_ns() - from;
		best = MIN(best, ns);
		check_counters(t);
		gone(t);
	}
	return best;
}

/* Ten times the queue, and an ACK costs no more than before, but for caches. Walks from the head would make it ten times. */
static void a_hostile_stream_of_sacks_costs_no_more_with_a_longer_queue(void **state)
{
	(void)state;
	for (int rising = 0; rising < 2; rising++) {
		uint64_t one, ten;

		rng = 31337;
		one = hostile(2000, rising);
		ten = hostile(20000, rising);
		print_message("%u ACKs: %llu us with 2,000 mbufs, %llu us with 20,000\n", HOSTILE_ACKS, (unsigned long long)one / 1000,
			      (unsigned long long)ten / 1000);
		assert_true(ten < 5 * one);
	}
}

/* RFC 8985 §6.2: what left before the one delivered last is lost at once when more than two segments' worth is SACKed, and else after a quarter of the
 * round trip. */
static void lost_means_sent_before_what_arrived(void **state)
{
	struct stack *st = tenv.host[0].st;

	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct tcb *t;
		struct tcp_seg g = { .flags = TCP_ACK, .wnd = 65535 };
		uint32_t high;
		bool missing = false, three;

		rng = seed * 1234567;
		t = sender(0xffffff80u, 25, 1000, TCP_OPT_SACK);
		st->now_us += 1000;
		g.ack = high = t->snd_una;
		g.o.nsack = (uint8_t)(1 + rnd(3));
		for (unsigned i = 0; i < g.o.nsack; i++) {
			uint32_t len = t->snd_nxt - t->snd_una, a = 1 + rnd(len - 2);

			g.o.sack[i].start = t->snd_una + a;
			g.o.sack[i].end = t->snd_una + a + 1 + (seed & 1 ? rnd(len - a - 1) : rnd(MIN(len - a - 1, 900u)));
		}
		/* the first two shall not look like a D-SACK: order them by rising sequence number, newest first does not matter here */
		if (g.o.nsack > 1 && seq_ge(g.o.sack[0].start, g.o.sack[1].start) && seq_le(g.o.sack[0].end, g.o.sack[1].end))
			g.o.nsack = 1;
		assert_true(tcp_ack_input(st, t, &g));
		/* three segments' worth, or three segments that were small */
		three = t->sacked_out > 2000 || t->dupacks >= 3;
		for (struct rte_mbuf *m = t->sq_head; m; m = tcp_sendq_next(m))
			if (pkt_tx(m)->flags & PKT_TX_SACKED)
				high = tcp_mbuf_end(m);
		for (struct rte_mbuf *m = t->sq_head; m; m = tcp_sendq_next(m)) {
			if (pkt_tx(m)->flags & PKT_TX_SACKED)
				continue;
			missing |= seq_lt(tcp_mbuf_seq(m), high);
			assert_int_equal(!!(pkt_tx(m)->flags & PKT_TX_LOST), seq_lt(tcp_mbuf_seq(m), high) && three);
		}
		assert_int_equal(t->reo_armed, missing && !three);
		check_counters(t);
		if (t->reo_armed) {
			assert_int_equal(t->deadline[TCP_AT_REXMIT], st->now_us + 250);
			st->now_us += 250;
			tcp_rack_on_timeout(st, t);
			for (struct rte_mbuf *m = t->sq_head; m && seq_lt(tcp_mbuf_seq(m), high); m = tcp_sendq_next(m))
				assert_true(pkt_tx(m)->flags & (PKT_TX_LOST | PKT_TX_SACKED));
			assert_int_equal(t->ca_state, TCP_CA_RECOVERY);
			check_counters(t);
		}
		gone(t);
	}
}

static void a_peer_that_reneged_gets_everything_again(void **state)
{
	struct stack *st = tenv.host[0].st;
	struct tcp_seg g = { .flags = TCP_ACK, .wnd = 65535 };
	struct tcb *t;
	uint32_t head;

	(void)state;
	rng = 99;
	t = sender(1000, 10, 1000, TCP_OPT_SACK);
	st->now_us += 1000;
	head = pkt_meta(t->sq_head)->len;
	g.ack = t->snd_una;
	g.o.nsack = 1;
	g.o.sack[0] = (struct tcp_sack_block){ t->snd_una + head, t->snd_nxt };
	assert_true(tcp_ack_input(st, t, &g));
	/* the hole is filled, but what was SACKed is not acknowledged with it */
	g.ack = t->snd_una + head;
	g.o.nsack = 0;
	assert_true(tcp_ack_input(st, t, &g));
	assert_true(pkt_tx(t->sq_head)->flags & PKT_TX_SACKED);
	st->now_us += 2000;
	tcp_recovery_on_rto(st, t);
	assert_int_equal(t->sacked_out, 0);
	assert_int_equal(t->lost_out, t->snd_nxt - t->snd_una);
	check_counters(t);
	gone(t);
}

/* RFC 8985 §6.3: what has been out for less than a round trip is not lost yet; the first segment is. */
static void a_timeout_spares_what_left_just_now(void **state)
{
	struct stack *st = tenv.host[0].st;
	struct rte_mbuf *m, *extra = rte_pktmbuf_alloc(tenv.pool);
	struct pkt_meta *p = pkt_meta(extra);
	struct tcb *t;
	uint32_t old;

	(void)state;
	rng = 5;
	t = sender(1000, 10, 1000, TCP_OPT_SACK);
	tcp_rtt_sample(st, t, 50000);
	old = t->snd_nxt;
	st->now_us += 300000;
	p->off = PKT_HEADROOM;
	p->len = 100;
	p->q.next = NULL;
	pkt_tx(extra)->push = 0;
	tcp_sendq_append(st, t, &p->q);
	tcp_mark_output(st, t, TCP_OUT_DATA | TCP_OUT_PUSH);
	tcp_output_all(st);
	assert_int_equal(t->snd_nxt, old + 100);
	st->now_us += 49999;
	tcp_recovery_on_rto(st, t);
	for (m = t->sq_head; m; m = tcp_sendq_next(m))
		assert_int_equal(!!(pkt_tx(m)->flags & PKT_TX_LOST), seq_lt(tcp_mbuf_seq(m), old));
	assert_int_equal(t->cwnd, tcp_pipe(t) + t->mss);
	check_counters(t);
	/* what was young is lost with the next one */
	st->now_us += 600000;
	t->rexmits = 1;
	tcp_recovery_on_rto(st, t);
	assert_int_equal(t->lost_out, t->snd_nxt - t->snd_una);
	check_counters(t);
	gone(t);
}

static int setup(void **state)
{
	(void)state;
	testenv_open(&(struct testenv_conf){ .seed = 1 });
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	testenv_run_for(2000000);
	eat_frames();
	return testenv_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sacks_agree_with_a_byte_model),
		cmocka_unit_test(a_report_of_everything_marks_everything),
		cmocka_unit_test(crumbs_of_sacks_do_not_multiply_mbufs),
		cmocka_unit_test(a_hostile_stream_of_sacks_costs_no_more_with_a_longer_queue),
		cmocka_unit_test(lost_means_sent_before_what_arrived),
		cmocka_unit_test(a_peer_that_reneged_gets_everything_again),
		cmocka_unit_test(a_timeout_spares_what_left_just_now),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

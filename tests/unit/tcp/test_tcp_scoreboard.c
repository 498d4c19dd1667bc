/* test_tcp_scoreboard.c - the sender's scoreboard against a byte-for-byte model: random SACKs, ACKs, timeouts and retransmissions, sequence numbers that
 * wrap. Seeds are printed on failure. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LEN_MAX 60000u

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
	t->snd_wnd = t->max_snd_wnd = 1 << 20;
	t->cwnd = 1 << 20;
	for (unsigned i = 0; i < mbufs; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(tenv.pool);
		struct pkt_meta *p = pkt_meta(m);

		p->off = PKT_HEADROOM;
		p->len = (uint16_t)(1 + rnd(mbuf_most));
		p->q.next = NULL;
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

/* RFC 6675 §4 IsLost(): more than two segments' worth SACKed above. */
static void lost_means_more_than_two_segments_sacked_above(void **state)
{
	struct stack *st = tenv.host[0].st;

	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct tcb *t;
		struct tcp_seg g = { .flags = TCP_ACK, .wnd = 65535 };
		uint32_t above = 0;

		rng = seed * 1234567;
		t = sender(0xffffff80u, 25, 1000, TCP_OPT_SACK);
		g.ack = t->snd_una;
		g.o.nsack = (uint8_t)(1 + rnd(3));
		for (unsigned i = 0; i < g.o.nsack; i++) {
			uint32_t len = t->snd_nxt - t->snd_una, a = 1 + rnd(len - 2);

			g.o.sack[i].start = t->snd_una + a;
			g.o.sack[i].end = t->snd_una + a + 1 + rnd(len - a - 1);
		}
		/* the first two shall not look like a D-SACK: order them by rising sequence number, newest first does not matter here */
		if (g.o.nsack > 1 && seq_ge(g.o.sack[0].start, g.o.sack[1].start) && seq_le(g.o.sack[0].end, g.o.sack[1].end))
			g.o.nsack = 1;
		assert_true(tcp_ack_input(st, t, &g));
		/* from the top: what is above decides */
		for (uint32_t seq = t->snd_nxt; seq != t->snd_una;) {
			struct rte_mbuf *m = t->sq_head;

			while (tcp_mbuf_end(m) != seq)
				m = tcp_sendq_next(m);
			if (pkt_tx(m)->flags & PKT_TX_SACKED) {
				above += pkt_meta(m)->len;
			} else if (t->dupacks < 3) {
				assert_int_equal(!!(pkt_tx(m)->flags & PKT_TX_LOST), above > 2000);
			}
			seq = tcp_mbuf_seq(m);
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
	tcp_recovery_on_rto(st, t);
	assert_int_equal(t->sacked_out, 0);
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
		cmocka_unit_test(lost_means_more_than_two_segments_sacked_above),
		cmocka_unit_test(a_peer_that_reneged_gets_everything_again),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

/* test_tcp_cc.c - congestion control on synthetic samples: delivery rates, pacing, HyStart++, BBR's states, DCTCP's alpha, each against
 * numbers computed here. */
#include "testenv.h"

#include "tcp/hystart.h"
#include "tcp/pace.h"
#include "tcp/rate.h"

#include <linux/inet_diag.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka after the others */
#include <cmocka.h>

#define MSS 1000u
#define RTT_US 20000u

static struct sock *s;
static struct tcb *t;
static struct stack *st;

/* A connection that is established as far as congestion control sees it; nobody sends on it. */
static void conn(const char *cc)
{
	st = tenv.host[0].st;
	st->now_us = (st->now_us / 1000000 + 1) * 1000000;
	s = testenv_socket(0, SOCK_STREAM);
	t = &s->tcb;
	tcp_tcb_init(st, t);
	t->cc = tcp_cc_find(cc);
	assert_non_null(t->cc);
	t->mss = MSS;
	t->cwnd = 10 * MSS;
	t->snd_una = t->snd_nxt = t->snd_end = 1000;
	t->delivered_us = st->now_us;
	t->bytes_sent = 100 * MSS; /* past what is never paced */
	t->cc->init(st, t);
	tcp_pace_init(st, t);
}

static void conn_end(void)
{
	wheel_cancel(&st->wheel, &t->timer);
	t->state = TCPS_CLOSED;
	testenv_close_sock(s);
}

static bool near(double seen, double want, double part) { return fabs(seen - want) <= part * want; }

/* --- rate.h --- */

static struct tcp_ack ack_of(void)
{
	return (struct tcp_ack){ .prior_delivered = t->delivered, .prior_lost = t->lost_bytes };
}

/* What a segment remembers that leaves now. */
static struct pkt_tx sent(struct rte_mbuf *m, uint64_t *at_us)
{
	tcp_rate_sent(st, t, m, PKT_TX_SENT);
	*at_us = pkt_meta(m)->time_us;
	return *pkt_tx(m);
}

static void rate_is_what_was_delivered_over_the_longer_interval(void **state)
{
	struct rte_mbuf *m;
	struct pkt_tx x[4];
	uint64_t at[4], first_us, before_us;
	struct tcp_ack a;

	(void)state;
	conn("cubic");
	m = rte_pktmbuf_alloc(st->pool);
	tcp_rate_flight_begins(st, t);
	/* four segments a millisecond apart */
	for (unsigned i = 0; i < 4; i++) {
		x[i] = sent(m, &at[i]);
		st->now_us += 1000;
	}
	/* ACKs 10 ms after the first, 4 ms apart: the ACK interval is the longer one */
	st->now_us = at[0] + 10000;
	for (unsigned i = 0; i < 4; i++) {
		a = ack_of();
		t->delivered += MSS;
		tcp_rate_delivered(t, &a, &x[i], at[i]);
		tcp_rate_gen(st, t, &a);
		assert_int_equal(a.rs.delivered, (i + 1) * MSS);
		assert_int_equal(a.rs.interval_us, 10000 + i * 4000);
		assert_int_equal(a.rs.acked_sacked, MSS);
		assert_false(a.rs.is_app_limited);
		st->now_us += 4000;
	}
	assert_int_equal(tcp_delivery_rate(t), 4 * MSS * 1000000ull / 22000);
	first_us = at[3];
	before_us = t->delivered_us;
	/* the next four leave slowly and are acknowledged in one burst: now the send interval counts */
	for (unsigned i = 0; i < 4; i++) {
		x[i] = sent(m, &at[i]);
		st->now_us += 50000;
	}
	a = ack_of();
	t->delivered += 4 * MSS;
	for (unsigned i = 0; i < 4; i++)
		tcp_rate_delivered(t, &a, &x[i], at[i]);
	tcp_rate_gen(st, t, &a);
	assert_int_equal(a.rs.delivered, 4 * MSS);
	/* since the last segment that was delivered before left */
	assert_int_equal(a.rs.interval_us, MAX(a.rs.snd_interval_us, st->now_us - before_us));
	assert_int_equal(a.rs.snd_interval_us, at[3] - first_us);
	rte_pktmbuf_free(m);
	conn_end();
}

static void rate_sample_shorter_than_a_round_trip_is_none(void **state)
{
	struct rte_mbuf *m;
	struct pkt_tx x;
	uint64_t at;
	struct tcp_ack a;

	(void)state;
	conn("cubic");
	t->min_rtt_us = RTT_US;
	m = rte_pktmbuf_alloc(st->pool);
	tcp_rate_flight_begins(st, t);
	x = sent(m, &at);
	st->now_us += RTT_US - 1;
	a = ack_of();
	t->delivered += MSS;
	tcp_rate_delivered(t, &a, &x, at);
	tcp_rate_gen(st, t, &a);
	assert_int_equal(a.rs.interval_us, 0);
	assert_int_equal(t->rate_interval_us, 0);
	/* delivered once: SACKed segments do not count again when they are acknowledged */
	a = ack_of();
	x.delivered_us = 0;
	tcp_rate_delivered(t, &a, &x, at);
	tcp_rate_gen(st, t, &a);
	assert_int_equal(a.rs.acked_sacked, 0);
	assert_int_equal(a.rs.interval_us, 0);
	rte_pktmbuf_free(m);
	conn_end();
}

static void rate_marks_what_the_application_limited(void **state)
{
	struct rte_mbuf *m;
	struct pkt_tx x;
	uint64_t at;
	struct tcp_ack a;

	(void)state;
	conn("cubic");
	m = rte_pktmbuf_alloc(st->pool);
	/* two segments in flight, nothing queued, room in the window */
	t->snd_nxt = t->snd_end = t->snd_una + 2 * MSS;
	tcp_rate_check_app_limited(t);
	assert_int_equal(t->app_limited, 2 * MSS);
	x = sent(m, &at);
	assert_true(x.flags & PKT_TX_APP_LIMITED);
	/* ends when what was in flight then is delivered */
	st->now_us += RTT_US;
	a = ack_of();
	t->delivered += 2 * MSS;
	tcp_rate_gen(st, t, &a);
	assert_int_not_equal(t->app_limited, 0);
	a = ack_of();
	t->delivered += 2 * MSS;
	tcp_rate_delivered(t, &a, &x, at);
	tcp_rate_gen(st, t, &a);
	assert_int_equal(t->app_limited, 0);
	assert_true(a.rs.is_app_limited);
	assert_int_equal(t->rate_app_limited, 1);
	/* a full window, or data that waits, or losses to repeat: not the application */
	t->cwnd = 2 * MSS;
	tcp_rate_check_app_limited(t);
	assert_int_equal(t->app_limited, 0);
	t->cwnd = 10 * MSS;
	t->snd_end += MSS;
	tcp_rate_check_app_limited(t);
	assert_int_equal(t->app_limited, 0);
	t->snd_end -= MSS;
	t->lost_out = MSS;
	tcp_rate_check_app_limited(t);
	assert_int_equal(t->app_limited, 0);
	t->lost_out = 0;
	rte_pktmbuf_free(m);
	conn_end();
}

/* --- pace.c --- */

static void pacing_spaces_frames_by_the_rate(void **state)
{
	uint64_t begin;

	(void)state;
	conn("cubic");
	assert_false(t->paced);
	assert_true(tcp_pace_may_send(st, t));
	s->opt.max_pacing_rate = 1000000; /* a segment a millisecond */
	tcp_pace_init(st, t);
	assert_true(t->paced);
	assert_int_equal(t->pacing_rate, 1000000);
	t->min_rtt_us = 1000000; /* no longer bursts for a short path */
	assert_int_equal(tcp_pace_burst(st, t), 2 * MSS);
	/* after idle time the first burst does not wait, and half of its time is forgiven as lateness */
	begin = st->now_us;
	assert_true(tcp_pace_may_send(st, t));
	tcp_pace_sent(st, t, MSS);
	assert_int_equal(tcp_pace_at_us(t), begin + 500);
	assert_true(tcp_pace_may_send(st, t)); /* the same burst */
	tcp_pace_sent(st, t, MSS);
	assert_int_equal(tcp_pace_at_us(t), begin + 1500);
	assert_false(tcp_pace_may_send(st, t));
	assert_true(t->pace_wait);
	assert_true(wheel_is_armed(&t->timer));
	assert_int_equal(t->timer.expires_us, begin + 1500);
	/* on time: no credit */
	st->now_us = begin + 1500;
	for (unsigned i = 0; i < 100; i++) {
		assert_true(tcp_pace_may_send(st, t));
		assert_false(t->pace_wait);
		tcp_pace_sent(st, t, 2 * MSS);
		assert_false(tcp_pace_may_send(st, t));
		st->now_us += 2000;
	}
	assert_int_equal(tcp_pace_at_us(t), begin + 1500 + 100 * 2000);
	/* 300 us late each time: made up for, the rate holds */
	begin = st->now_us;
	for (unsigned i = 0; i < 100; i++) {
		assert_true(tcp_pace_may_send(st, t));
		tcp_pace_sent(st, t, 2 * MSS);
		st->now_us = tcp_pace_at_us(t) + 300;
	}
	assert_in_range(st->now_us - begin, 200000, 200600);
	/* no limit any more: still paced, by the window */
	s->opt.max_pacing_rate = UINT64_MAX;
	t->srtt_us = 10000;
	t->ssthresh = 10 * MSS;
	tcp_pace_init(st, t);
	assert_true(t->paced);
	assert_int_equal(t->pacing_rate, 10 * MSS * 100 * 120 / 100); /* congestion avoidance: 1.2 windows a round trip */
	t->ssthresh = 21 * MSS;
	tcp_pace_update(t);
	assert_int_equal(t->pacing_rate, 10 * MSS * 100 * 2);
	conn_end();
}

static void first_segments_are_not_paced(void **state)
{
	(void)state;
	conn("cubic");
	s->opt.max_pacing_rate = 1000;
	tcp_pace_init(st, t);
	t->bytes_sent = 10 * MSS;
	assert_true(tcp_pace_may_send(st, t));
	tcp_pace_sent(st, t, 10 * MSS);
	assert_true(tcp_pace_may_send(st, t));
	t->bytes_sent += MSS;
	tcp_pace_sent(st, t, MSS);
	assert_false(tcp_pace_may_send(st, t) && t->pace_left == 0);
	conn_end();
}

/* --- HyStart++ --- */

/* A round of slow start, acknowledged segment by segment, each with this round trip: until the algorithm begins the next, or a window where it is off.
 * Returns by what cwnd grew, in ACKs of a segment when it doubles. */
static uint32_t acks;

static uint32_t slow_start_round(struct hystart *h, uint32_t rtt_us)
{
	uint32_t before = t->cwnd, end = h->window_end, most = 2 * t->cwnd / MSS;

	for (acks = 0; acks < most && h->window_end == end && t->cwnd < t->ssthresh; acks++) {
		struct tcp_rate_sample rs = { .rtt_us = rtt_us };

		t->snd_una += MSS;
		hystart_on_ack(t, h, MSS, &rs);
		/* what the ACK released is sent after it */
		t->snd_nxt = t->snd_una + t->cwnd;
	}
	return t->cwnd - before;
}

static void hystart_begin(struct hystart *h)
{
	conn("cubic");
	t->snd_nxt = t->snd_una + t->cwnd;
	hystart_init(t, h);
}

static void hystart_doubles_while_the_round_trip_is_steady(void **state)
{
	struct hystart h;

	(void)state;
	hystart_begin(&h);
	for (unsigned i = 0; i < 8; i++) {
		/* under the threshold of an eighth, which is 12.5 ms here */
		uint32_t grown = slow_start_round(&h, 100000 + (i % 2) * 12400);

		assert_int_equal(grown, acks * MSS);
		assert_true(acks >= 10);
	}
	assert_int_equal(t->ssthresh, TCP_SSTHRESH_INF);
	conn_end();
}

static void hystart_slows_down_when_the_round_trip_grows_and_ends_after_five_rounds(void **state)
{
	struct hystart h;
	uint32_t grown;

	(void)state;
	hystart_begin(&h);
	slow_start_round(&h, 100000);
	slow_start_round(&h, 100000);
	/* seven ACKs of the round double, the eighth sample decides; from there on a quarter */
	grown = slow_start_round(&h, 112500);
	assert_int_equal(grown, 7 * MSS + (acks - 7) * MSS / 4);
	assert_int_equal(t->ssthresh, TCP_SSTHRESH_INF);
	/* the partial round was the first of five */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(t->ssthresh, TCP_SSTHRESH_INF);
		slow_start_round(&h, 120000);
	}
	assert_int_equal(t->ssthresh, t->cwnd);
	conn_end();
}

static void hystart_resumes_when_the_round_trip_falls_again(void **state)
{
	struct hystart h;
	uint32_t grown;

	(void)state;
	hystart_begin(&h);
	slow_start_round(&h, 100000);
	slow_start_round(&h, 100000);
	grown = slow_start_round(&h, 120000);
	assert_true(grown < acks * MSS);
	grown = slow_start_round(&h, 110000); /* below the baseline of 120 ms: the eighth sample tells */
	assert_int_equal(grown, 7 * MSS / 4 + (acks - 7) * MSS);
	grown = slow_start_round(&h, 110000);
	assert_int_equal(grown, acks * MSS);
	assert_int_equal(t->ssthresh, TCP_SSTHRESH_INF);
	conn_end();
}

static void hystart_thresholds_are_bounded(void **state)
{
	static const struct {
		uint32_t rtt, more;
		bool leaves;
	} c[] = {
		{ 1000, 3999, false }, { 1000, 4000, true },	   /* an eighth would be 125 us: 4 ms at least */
		{ 400000, 15999, false }, { 400000, 16000, true }, /* an eighth would be 50 ms: 16 ms at most */
		{ 80000, 9999, false }, { 80000, 10000, true },
	};
	struct hystart h;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		uint32_t grown;

		hystart_begin(&h);
		slow_start_round(&h, c[i].rtt);
		grown = slow_start_round(&h, c[i].rtt + c[i].more);
		assert_int_equal(grown < acks * MSS, c[i].leaves);
		conn_end();
	}
}

static void hystart_only_in_the_first_slow_start(void **state)
{
	struct hystart h;
	uint32_t grown;

	(void)state;
	conn("cubic");
	t->snd_nxt = t->snd_una + t->cwnd;
	t->ssthresh = 1000 * MSS;
	hystart_init(t, &h);
	slow_start_round(&h, 100000);
	grown = slow_start_round(&h, 200000);
	assert_true(acks >= 10);
	assert_int_equal(grown, acks * MSS);
	conn_end();
}

/* --- DCTCP --- */

static void dctcp_follows_rfc_8257(void **state)
{
	double alpha = 1.0;
	union tcp_cc_info info;

	(void)state;
	conn("dctcp");
	assert_true(t->cc->needs_ecn);
	for (unsigned i = 0; i < 200; i++) {
		static const double part[] = { 0, 0.3, 1, 0, 0.05 };
		uint32_t window = 100 * MSS, ce = (uint32_t)(part[i / 40] * window);
		struct tcp_rate_sample rs = { .rtt_us = RTT_US };

		t->snd_una += window;
		t->snd_nxt = t->snd_una + window;
		t->delivered += window;
		t->delivered_ce += ce;
		t->cc->on_rate(st, t, &rs);
		alpha = alpha * (1 - 1.0 / 16) + part[i / 40] / 16;
		t->cwnd = window;
		assert_true(fabs(t->cc->ssthresh(st, t) - window * (1 - alpha / 2)) < 0.01 * window);
		t->marks |= TCP_MARK_ECN;
		assert_int_equal(tcp_get_cc_info(t, &info), sizeof(info.dctcp));
		assert_true(info.dctcp.dctcp_enabled && fabs(info.dctcp.dctcp_alpha / 1024.0 - alpha) < 0.01);
	}
	/* within the window of observation nothing moves */
	{
		struct tcp_rate_sample rs = { 0 };
		uint32_t was = t->cc->ssthresh(st, t);

		t->snd_una = t->snd_nxt - 1;
		t->delivered_ce += 50 * MSS;
		t->cc->on_rate(st, t, &rs);
		assert_int_equal(t->cc->ssthresh(st, t), was);
	}
	/* without marks alpha comes down to nothing, and a loss halves all the same */
	for (unsigned i = 0; i < 200; i++) {
		struct tcp_rate_sample rs = { 0 };

		t->snd_una = t->snd_nxt;
		t->snd_nxt += 10 * MSS;
		t->delivered += 10 * MSS;
		t->cc->on_rate(st, t, &rs);
	}
	assert_int_equal(t->cc->ssthresh(st, t), t->cwnd);
	t->cc->on_state(st, t, TCP_CA_RECOVERY);
	assert_int_equal(t->ssthresh, t->cwnd / 2);
	conn_end();
}

/* --- BBR --- */

struct path {
	double bytes_per_s;
	uint32_t rtt_us;
	uint32_t lost_part; /* in 256 */
};

/* One ACK: bytes delivered in us, of what was in flight; a round long. */
static void bbr_ack(uint32_t bytes, uint32_t interval_us, uint32_t rtt_us, uint32_t prior_pipe, uint32_t pipe, uint32_t lost, bool app)
{
	struct tcp_rate_sample rs = {
		.prior_delivered = t->delivered,
		.delivered = bytes,
		.interval_us = interval_us,
		.snd_interval_us = interval_us,
		.rtt_us = rtt_us,
		.acked = bytes,
		.acked_sacked = bytes,
		.prior_pipe = prior_pipe,
		.lost = lost,
		.is_app_limited = app,
	};

	st->now_us += interval_us;
	t->delivered += bytes;
	t->delivered_us = st->now_us;
	t->lost_bytes += lost;
	if (rtt_us && (!t->min_rtt_us || rtt_us < t->min_rtt_us))
		t->min_rtt_us = rtt_us;
	t->srtt_us = rtt_us ? rtt_us : t->srtt_us;
	t->snd_una += bytes;
	t->snd_nxt = t->snd_una + pipe;
	t->cc->on_rate(st, t, &rs);
}

/* A round trip at full rate with so much in flight. */
static void bbr_round(const struct path *p, uint32_t pipe)
{
	bbr_ack((uint32_t)(p->bytes_per_s * p->rtt_us / 1e6), p->rtt_us, p->rtt_us, pipe, pipe,
		(uint32_t)(p->bytes_per_s * p->rtt_us / 1e6 * p->lost_part / 256), false);
}

#define HIGH 2.885
static double gain(double bytes_per_s) { return (double)t->pacing_rate / (bytes_per_s * 0.99); }

/* Brings the connection into PROBE_BW. */
static void bbr_probing(const struct path *p)
{
	uint32_t bdp = (uint32_t)(p->bytes_per_s * p->rtt_us / 1e6);

	conn("bbr");
	assert_true(t->paced);
	for (unsigned i = 0; i < 5; i++)
		bbr_round(p, 3 * bdp);
	bbr_round(p, bdp / 2);
}

static void bbr_startup_drains_and_probes(void **state)
{
	struct path p = { .rtt_us = RTT_US };
	double bw = 1e6, bdp;
	bool seen[8] = { false };
	unsigned highs = 0, lows = 0;

	(void)state;
	conn("bbr");
	/* before the first sample: the initial window per millisecond, times the gain */
	assert_true(near(gain(10 * MSS * 1000.0), HIGH, 0.01));
	assert_int_equal(t->ssthresh, TCP_SSTHRESH_INF);
	/* the rate doubles: so does the pacing, at the high gain */
	for (unsigned i = 0; i < 6; i++, bw *= 2) {
		p.bytes_per_s = bw;
		bbr_round(&p, (uint32_t)(3 * bw * RTT_US / 1e6));
		if (i > 3)
			assert_true(near(gain(bw), HIGH, 0.01));
	}
	bw /= 2;
	bdp = bw * RTT_US / 1e6;
	assert_true(t->cwnd > bdp);
	/* three rounds without a quarter more: full; the queue is drained at the inverse gain */
	bbr_round(&p, (uint32_t)(3 * bdp));
	bbr_round(&p, (uint32_t)(3 * bdp));
	assert_true(near(gain(bw), HIGH, 0.01));
	bbr_round(&p, (uint32_t)(3 * bdp));
	assert_true(near(gain(bw), 1 / HIGH, 0.01));
	bbr_round(&p, (uint32_t)(2 * bdp));
	assert_true(near(gain(bw), 1 / HIGH, 0.01));
	/* what is in flight fits: PROBE_BW, with a window of two bandwidth-delay products and three bursts */
	bbr_round(&p, (uint32_t)bdp);
	assert_true(gain(bw) > 0.7 && gain(bw) < 1.3);
	for (unsigned i = 0; i < 3; i++)
		bbr_round(&p, (uint32_t)bdp);
	/* ... and, since a whole round's ACKs come at once here, what came more than the rate explains: a third product at most */
	assert_true(t->cwnd >= 2 * bdp + 3 * tcp_pace_burst(st, t));
	assert_true(t->cwnd <= 3.1 * bdp + 3 * tcp_pace_burst(st, t) + 2 * MSS);
	/* eight phases; 1.25 lasts until the queue shows, which is at once here */
	for (unsigned i = 0; i < 64; i++) {
		double g = gain(bw);

		bbr_ack((uint32_t)(bdp * 1.01), RTT_US + 200, RTT_US, (uint32_t)(bdp * 1.5), (uint32_t)bdp, 0, false);
		highs += near(g, 1.25, 0.01);
		lows += near(g, 0.75, 0.01);
		assert_true(near(g, 1.25, 0.02) || near(g, 0.75, 0.02) || near(g, 1, 0.02));
		seen[0] |= near(g, 1.25, 0.02);
		seen[1] |= near(g, 0.75, 0.02);
		seen[2] |= near(g, 1, 0.02);
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	assert_in_range(highs, 7, 9);
	assert_in_range(lows, 7, 9);
	conn_end();
}

static void bbr_forgets_a_rate_after_ten_rounds(void **state)
{
	struct path p = { .bytes_per_s = 10e6, .rtt_us = RTT_US };
	unsigned n = 0;

	(void)state;
	bbr_probing(&p);
	p.bytes_per_s = 4e6;
	while (t->pacing_rate > 7e6 && n < 30) {
		bbr_round(&p, 200000);
		n++;
	}
	assert_in_range(n, 9, 12);
	/* samples that the application limited say nothing against a rate, only for a higher one */
	p.bytes_per_s = 1e6;
	for (unsigned i = 0; i < 30; i++)
		bbr_ack(20000, RTT_US, RTT_US, 20000, 20000, 0, true);
	assert_true(t->pacing_rate > 4e6 * 0.7);
	bbr_ack(160000, RTT_US, RTT_US, 160000, 160000, 0, true);
	assert_true(t->pacing_rate >= 8e6 * 0.7);
	conn_end();
}

static void bbr_probes_the_round_trip_every_ten_seconds(void **state)
{
	struct path p = { .bytes_per_s = 10e6, .rtt_us = RTT_US };
	uint64_t begin, entered = 0, left = 0;

	(void)state;
	bbr_probing(&p);
	for (unsigned i = 0; i < 4; i++)
		bbr_round(&p, 200000);
	begin = st->now_us;
	p.rtt_us = RTT_US + 1000; /* never as low again */
	while (!left && st->now_us < begin + 15000000) {
		bbr_round(&p, entered ? 4 * MSS : 200000);
		if (!entered && t->cwnd == 4 * MSS)
			entered = st->now_us;
		else if (entered && t->cwnd > 4 * MSS)
			left = st->now_us;
	}
	assert_in_range(entered - begin, 9800000, 10100000);
	assert_in_range(left - entered, 200000, 280000);
	assert_true(t->cwnd >= 2 * 200000); /* at once what it had been, two products at least */
	/* samples taken meanwhile were marked */
	assert_int_not_equal(t->app_limited, 0);
	conn_end();
}

static void bbr_conserves_packets_in_the_first_round_of_recovery(void **state)
{
	struct path p = { .bytes_per_s = 10e6, .rtt_us = RTT_US };
	uint32_t cwnd;
	union tcp_cc_info info;
	double rate;

	(void)state;
	bbr_probing(&p);
	assert_int_equal(tcp_get_cc_info(t, &info), sizeof(info.bbr));
	rate = info.bbr.bbr_bw_lo + 4294967296.0 * info.bbr.bbr_bw_hi;
	assert_true(fabs(rate - p.bytes_per_s) < 0.05 * p.bytes_per_s);
	assert_int_equal(info.bbr.bbr_min_rtt, RTT_US);
	assert_int_equal(info.bbr.bbr_cwnd_gain, 512);
	for (unsigned i = 0; i < 6; i++)
		bbr_round(&p, 200000);
	cwnd = t->cwnd;
	assert_int_equal(t->cc->ssthresh(st, t), t->ssthresh);
	t->cc->on_state(st, t, TCP_CA_RECOVERY);
	t->ca_state = TCP_CA_RECOVERY;
	/* a small ACK inside the round: what is in flight and what was delivered, no more */
	{
		struct tcp_rate_sample rs = { .prior_delivered = t->delivered - 100000, .delivered = 100000, .interval_us = RTT_US,
					      .rtt_us = RTT_US, .acked = MSS, .acked_sacked = MSS, .prior_pipe = 150000, .lost = MSS };

		t->delivered += MSS;
		t->snd_una += MSS;
		t->snd_nxt = t->snd_una + 150000;
		t->cc->on_rate(st, t, &rs);
		assert_int_equal(t->cwnd, 150000 + MSS);
	}
	/* the round is over: it may grow again, and the end of the recovery restores */
	bbr_round(&p, 150000);
	t->cc->on_state(st, t, TCP_CA_OPEN);
	t->ca_state = TCP_CA_OPEN;
	bbr_round(&p, 150000);
	assert_true(t->cwnd >= cwnd - cwnd / 20);
	conn_end();
}

static void bbr_finds_a_policer(void **state)
{
	struct path p = { .bytes_per_s = 10e6, .rtt_us = RTT_US };

	(void)state;
	bbr_probing(&p);
	/* bursts at ten megabytes a second, a token bucket of four: more than a fifth is lost, steadily */
	p.bytes_per_s = 4e6;
	p.lost_part = 128;
	for (unsigned i = 0; i < 12; i++)
		bbr_round(&p, 200000);
	/* two intervals agreed: the rate of the bucket, without probing above it, though the maximum still is ten */
	for (unsigned i = 0; i < 16; i++) {
		bbr_round(&p, 200000);
		assert_true(near(gain(4e6), 1, 0.03));
	}
	/* after 48 rounds the policer may be gone */
	p.lost_part = 0;
	p.bytes_per_s = 10e6;
	for (unsigned i = 0; i < 40; i++)
		bbr_round(&p, 200000);
	assert_true(gain(10e6) > 0.7);
	conn_end();
}

static void bbr_restarts_from_idle_at_the_rate_of_the_path(void **state)
{
	struct path p = { .bytes_per_s = 10e6, .rtt_us = RTT_US };
	unsigned n = 0;

	(void)state;
	bbr_probing(&p);
	while (!near(gain(10e6), 1.25, 0.02) && n++ < 40)
		bbr_round(&p, 200000);
	assert_true(near(gain(10e6), 1.25, 0.02));
	t->app_limited = 1;
	t->cc->on_tx_start(st, t, 5000000);
	assert_true(near(gain(10e6), 1, 0.02));
	conn_end();
}

static void bbr_obeys_the_largest_rate_of_the_application(void **state)
{
	struct path p = { .bytes_per_s = 10e6, .rtt_us = RTT_US };

	(void)state;
	bbr_probing(&p);
	s->opt.max_pacing_rate = 3000000;
	tcp_pace_init(st, t);
	for (unsigned i = 0; i < 20; i++) {
		bbr_round(&p, 200000);
		assert_true(t->pacing_rate <= 3000000);
	}
	conn_end();
}

static void algorithms_change_in_mid_flight(void **state)
{
	struct path p = { .bytes_per_s = 10e6, .rtt_us = RTT_US };
	struct tcp_rate_sample rs = { .rtt_us = RTT_US };
	uint32_t cwnd;

	(void)state;
	bbr_probing(&p);
	t->ssthresh = 100 * MSS;
	for (unsigned i = 0; tcp_cc_name(i); i++) {
		cwnd = t->cwnd;
		t->cc = tcp_cc_find(tcp_cc_name(i));
		memset(t->cc_priv, 0, sizeof(t->cc_priv));
		t->cc->init(st, t);
		assert_int_equal(t->cwnd, cwnd);
		if (t->cc->on_ack)
			for (unsigned k = 0; k < 1000; k++)
				t->cc->on_ack(st, t, MSS, &rs);
		else
			for (unsigned k = 0; k < 30; k++)
				bbr_round(&p, 200000);
		assert_true(t->cwnd > cwnd / 4);
		assert_true(t->cc->ssthresh(st, t) >= 2 * MSS);
	}
	conn_end();
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
	testenv_run_for(1000000);
	return testenv_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rate_is_what_was_delivered_over_the_longer_interval),
		cmocka_unit_test(rate_sample_shorter_than_a_round_trip_is_none),
		cmocka_unit_test(rate_marks_what_the_application_limited),
		cmocka_unit_test(pacing_spaces_frames_by_the_rate),
		cmocka_unit_test(first_segments_are_not_paced),
		cmocka_unit_test(hystart_doubles_while_the_round_trip_is_steady),
		cmocka_unit_test(hystart_slows_down_when_the_round_trip_grows_and_ends_after_five_rounds),
		cmocka_unit_test(hystart_resumes_when_the_round_trip_falls_again),
		cmocka_unit_test(hystart_thresholds_are_bounded),
		cmocka_unit_test(hystart_only_in_the_first_slow_start),
		cmocka_unit_test(dctcp_follows_rfc_8257),
		cmocka_unit_test(bbr_startup_drains_and_probes),
		cmocka_unit_test(bbr_forgets_a_rate_after_ten_rounds),
		cmocka_unit_test(bbr_probes_the_round_trip_every_ten_seconds),
		cmocka_unit_test(bbr_conserves_packets_in_the_first_round_of_recovery),
		cmocka_unit_test(bbr_finds_a_policer),
		cmocka_unit_test(bbr_restarts_from_idle_at_the_rate_of_the_path),
		cmocka_unit_test(bbr_obeys_the_largest_rate_of_the_application),
		cmocka_unit_test(algorithms_change_in_mid_flight),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

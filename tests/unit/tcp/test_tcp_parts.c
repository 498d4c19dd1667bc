/* test_tcp_parts.c - pure parts of TCP: options, connection table, RTO, CUBIC, window scale, sequence of ISNs. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka after the others */
#include <cmocka.h>

static uint64_t rng = 88172645463325252ULL;

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 11) % below);
}

/* --- options --- */

static void options_of_a_linux_syn_are_read(void **state)
{
	static const uint8_t p[] = { 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7 };
	struct tcp_opts o;

	(void)state;
	tcp_opts_parse(p, sizeof(p), true, &o);
	assert_int_equal(o.has, TCP_OPT_TS | TCP_OPT_WS | TCP_OPT_SACK);
	assert_int_equal(o.mss, 1460);
	assert_int_equal(o.wscale, 7);
	assert_int_equal(o.tsval, 1);
	assert_int_equal(o.tsecr, 0);
	/* the same on a segment that is no SYN: only timestamps count */
	tcp_opts_parse(p, sizeof(p), false, &o);
	assert_int_equal(o.has, TCP_OPT_TS);
	assert_int_equal(o.mss, 0);
}

static void window_scale_above_14_counts_as_14(void **state)
{
	static const uint8_t p[] = { 3, 3, 200, 0 };
	struct tcp_opts o;

	(void)state;
	tcp_opts_parse(p, sizeof(p), true, &o);
	assert_int_equal(o.wscale, 14);
}

static void malformed_options_end_the_parsing(void **state)
{
	static const struct {
		uint8_t p[8];
		uint8_t len, has;
		uint16_t mss;
	} c[] = {
		{ { 2 }, 1, 0, 0 },			    /* no length */
		{ { 2, 0, 5, 5 }, 4, 0, 0 },		    /* length 0 would loop */
		{ { 2, 1, 5, 5 }, 4, 0, 0 },		    /* length 1 */
		{ { 2, 5, 5, 5 }, 4, 0, 0 },		    /* beyond the end */
		{ { 2, 3, 5, 4, 2 }, 5, TCP_OPT_SACK, 0 },  /* MSS of a wrong length is skipped */
		{ { 99, 2, 4, 2 }, 4, TCP_OPT_SACK, 0 },    /* unknown is skipped */
		{ { 0, 4, 2, 0 }, 4, 0, 0 },		    /* after the end nothing counts */
		{ { 4, 2, 8, 10, 1 }, 5, TCP_OPT_SACK, 0 }, /* what came before counts */
		{ { 3, 4, 7, 7 }, 4, 0, 0 },
	};
	struct tcp_opts o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		tcp_opts_parse(c[i].p, c[i].len, true, &o);
		assert_int_equal(o.has, c[i].has);
		assert_int_equal(o.mss, c[i].mss);
	}
}

/* RFC 7413 §4.1.1, §7; RFC 6994: the experimental option is Fast Open's by the number that follows */
static void fast_open_options(void **state)
{
	static const struct {
		uint8_t p[24], len;
		bool there, exp;
		uint8_t cookie;
	} c[] = {
		{ { 34, 2 }, 2, true, false, 0 },
		{ { 34, 6, 1, 2, 3, 4 }, 6, true, false, 4 },
		{ { 34, 5, 1, 2, 3 }, 5, false, false, 0 },
		{ { 34, 4, 1, 2 }, 4, false, false, 0 }, /* shorter than any cookie */
		{ { 34, 20 }, 20, false, false, 0 },	 /* longer than any */
		{ { 254, 4, 0xf9, 0x89 }, 4, true, true, 0 },
		{ { 254, 8, 0xf9, 0x89, 1, 2, 3, 4 }, 8, true, true, 4 },
		{ { 254, 20, 0xf9, 0x89 }, 20, true, true, 16 },
		{ { 254, 7, 0xf9, 0x89, 1, 2, 3 }, 7, false, false, 0 },
		{ { 254, 22, 0xf9, 0x89 }, 22, false, false, 0 },
		{ { 254, 4, 0x89, 0xf9 }, 4, false, false, 0 }, /* somebody else's */
		{ { 254, 3, 0xf9 }, 3, false, false, 0 },
		{ { 254, 2 }, 2, false, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		uint8_t *p = malloc(c[i].len), out[40];
		struct tcp_syn_opts w = { .mss = 1460, .fo = c[i].p + (c[i].exp ? 4 : 2), .fo_len = c[i].cookie, .fo_exp = c[i].exp };
		struct tcp_opts o;

		memcpy(p, c[i].p, c[i].len);
		tcp_opts_parse(p, c[i].len, true, &o);
		assert_int_equal(o.has, c[i].there ? TCP_OPT_FO : 0);
		assert_int_equal(o.fo_exp, c[i].exp);
		assert_int_equal(o.fo_len, c[i].cookie);
		tcp_opts_parse(p, c[i].len, false, &o); /* of a SYN only */
		assert_int_equal(o.has, 0);
		if (c[i].there) { /* written, it is what was read */
			unsigned n = tcp_opts_write_syn(out, &w);

			assert_memory_equal(out + 4, p, c[i].len);
			assert_int_equal(n, (4 + c[i].len + 3) / 4 * 4);
		}
		free(p);
	}
}

static void sack_blocks_are_read_and_bounded(void **state)
{
	uint8_t p[40];
	struct tcp_sack_block b[4] = { { 1, 2 }, { 10, 20 }, { 0xfffffff0u, 5 }, { 7, 8 } };
	struct tcp_opts o;

	(void)state;
	for (unsigned n = 1; n <= 4; n++) {
		unsigned len = tcp_opts_write_sack(p, b, n);

		assert_int_equal(len, 4 + 8 * n);
		tcp_opts_parse(p, len, false, &o);
		assert_int_equal(o.nsack, n);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(o.sack[i].start, b[i].start);
			assert_int_equal(o.sack[i].end, b[i].end);
		}
	}
	p[3] = 9; /* no multiple of eight */
	tcp_opts_parse(p, 12, false, &o);
	assert_int_equal(o.nsack, 0);
}

static void written_syn_options_are_read_back(void **state)
{
	(void)state;
	for (unsigned has = 0; has < 8; has++) {
		struct tcp_syn_opts w = { .mss = 1234, .has = (uint8_t)has, .wscale = 9, .tsval = 77, .tsecr = 88 };
		uint8_t p[40];
		unsigned len = tcp_opts_write_syn(p, &w);
		struct tcp_opts o;

		assert_int_equal(len % 4, 0);
		tcp_opts_parse(p, len, true, &o);
		assert_int_equal(o.has, has);
		assert_int_equal(o.mss, 1234);
		if (has & TCP_OPT_WS)
			assert_int_equal(o.wscale, 9);
		if (has & TCP_OPT_TS) {
			assert_int_equal(o.tsval, 77);
			assert_int_equal(o.tsecr, 88);
		}
	}
}

static void random_options_terminate_inside_their_bytes(void **state)
{
	(void)state;
	for (int i = 0; i < 200000; i++) {
		unsigned len = rnd(41);
		/* on the heap, exactly as long: a sanitizer sees one byte too many */
		uint8_t *p = malloc(len ? len : 1);
		struct tcp_opts o;

		for (unsigned j = 0; j < len; j++)
			p[j] = (uint8_t)(rnd(3) ? rnd(12) : rnd(256));
		tcp_opts_parse(p, len, i & 1, &o);
		assert_true(o.nsack <= 4 && o.wscale <= 14);
		free(p);
	}
}

/* --- table --- */

static struct tcp_key *key_of(struct tcp_tw *w)
{
	return &w->key;
}

static void table_agrees_with_a_naive_model_while_it_grows(void **state)
{
	enum { N = 20000 };
	static struct tcp_tw *in[N];
	struct tcp_table t;
	const uint64_t secret[2] = { 1, 2 };
	uint32_t live = 0;

	(void)state;
	assert_int_equal(tcp_table_init(&t, &gz->tw_recs, offsetof(struct tcp_tw, key)), 0);
	for (int step = 0; step < 6 * N; step++) {
		uint32_t i = rnd(N);
		struct ip_addr l = ip_addr_v4(htonl(0x0a000001)), r = ip_addr_v4(htonl(0x0a000100u + i / 1000));
		uint16_t rport = htons((uint16_t)(1024 + i % 1000));
		uint32_t hash = tcp_key_hash(secret, &l, &r, 80, rport);
		struct tcp_key *k = tcp_table_find(&t, hash, &l, &r, 80, rport);

		assert_ptr_equal(k, in[i] ? key_of(in[i]) : NULL);
		if (in[i] && (step < 3 * N ? rnd(4) == 0 : rnd(2) == 0)) {
			tcp_table_remove(&t, k);
			assert_null(tcp_table_find(&t, hash, &l, &r, 80, rport));
			slab_free(&gz->tw_recs, in[i]);
			in[i] = NULL;
			live--;
		} else if (!in[i]) {
			struct tcp_tw *w = slab_alloc(&gz->tw_recs);

			assert_non_null(w);
			w->key.laddr = l;
			w->key.raddr = r;
			w->key.lport_be = 80;
			w->key.rport_be = rport;
			w->key.hash = hash;
			tcp_table_insert(&t, &w->key);
			in[i] = w;
			live++;
		}
		assert_int_equal(t.count, live);
	}
	/* it grew with its content: load about one */
	assert_true(t.level + t.split >= t.count / 2);
	for (uint32_t i = 0; i < N; i++) {
		if (in[i]) {
			tcp_table_remove(&t, &in[i]->key);
			slab_free(&gz->tw_recs, in[i]);
			in[i] = NULL;
		}
	}
	assert_int_equal(t.count, 0);
}

static void hash_spreads_ports_and_addresses(void **state)
{
	enum { BUCKETS = 4096, N = 8 * BUCKETS };
	static unsigned hits[BUCKETS];
	const uint64_t secret[2] = { 0x1234567890abcdefULL, 0xfedcba0987654321ULL };
	unsigned most = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		struct ip_addr l = ip_addr_v4(htonl(0x0a000001)), r = ip_addr_v4(htonl(0x0a000002u + i / 16384));
		unsigned b = tcp_key_hash(secret, &l, &r, htons(80), htons((uint16_t)(i % 16384 + 32768))) % BUCKETS;

		if (++hits[b] > most)
			most = hits[b];
	}
	/* Poisson with mean 8: 30 in one of 4096 buckets has a probability below 1e-6 */
	assert_true(most < 30);
}

/* --- RTO --- */

static void rto_follows_rfc_6298(void **state)
{
	struct stack *st = tenv.host[0].st;
	struct sock *s = testenv_socket(0, SOCK_STREAM);
	struct tcb *t = &s->tcb;
	double srtt = 0, rttvar = 0;

	(void)state;
	tcp_tcb_init(st, t);
	assert_int_equal(t->rto_us, 1000000); /* §2.1 */
	for (int i = 0; i < 1000; i++) {
		uint32_t r = 1000 + rnd(800000);
		double rto;

		tcp_rtt_sample(st, t, r);
		if (i == 0) {
			srtt = r;
			rttvar = r / 2.0;
		} else {
			rttvar = 0.75 * rttvar + 0.25 * fabs(srtt - r);
			srtt = 0.875 * srtt + 0.125 * r;
		}
		rto = srtt + fmax(200000, 4 * rttvar);
		assert_true(fabs(t->srtt_us - srtt) < 20);
		assert_true(fabs(t->rto_us - rto) < 200);
	}
	/* a short path: the floor holds */
	for (int i = 0; i < 200; i++)
		tcp_rtt_sample(st, t, 50);
	assert_int_equal(t->rto_us, 200000 + t->srtt_us);
	for (t->backoff = 0; t->backoff < 12; t->backoff++)
		assert_int_equal(tcp_rto_backed_off(t), MIN(t->rto_us << t->backoff, 120000000u));
	t->backoff = 0;
	testenv_close_sock(s);
}

/* --- CUBIC --- */

/* RFC 9438 in floating point, straight from the text, in segments and seconds. */
struct model {
	double w_max, k, w_est, cwnd, cwnd_prior, epoch;
};

static void model_start(struct model *m, double now)
{
	m->epoch = now;
	m->w_est = m->cwnd;
	m->k = m->w_max > m->cwnd ? cbrt((m->w_max - m->cwnd) / 0.4) : 0;
	if (m->w_max <= m->cwnd)
		m->w_max = m->cwnd;
}

static void model_ack(struct model *m, double now, double rtt)
{
	double t = now - m->epoch, alpha = m->w_est >= m->cwnd_prior ? 1.0 : 3 * 0.3 / 1.7;
	double w = 0.4 * pow(t - m->k, 3) + m->w_max, target;

	m->w_est += alpha / m->cwnd;
	if (w < m->w_est) {
		m->cwnd = fmax(m->cwnd, m->w_est);
		return;
	}
	target = 0.4 * pow(t + rtt - m->k, 3) + m->w_max;
	target = fmin(fmax(target, m->cwnd), 1.5 * m->cwnd);
	m->cwnd += (target - m->cwnd) / m->cwnd;
}

static void cubic_follows_rfc_9438(void **state)
{
	static const double rtts[] = { 0.005, 0.05, 0.2 };
	struct stack *st = tenv.host[0].st;

	(void)state;
	for (size_t r = 0; r < ARRAY_SIZE(rtts); r++) {
		struct sock *s = testenv_socket(0, SOCK_STREAM);
		struct tcb *t = &s->tcb;
		struct model m = { 0 };
		struct tcp_rate_sample rs = { 0 };
		double now = (double)st->now_us * 1e-6, begin = now;
		uint64_t saved = st->now_us;

		tcp_tcb_init(st, t);
		t->cc = tcp_cc_find("cubic");
		assert_non_null(t->cc);
		t->mss = 1448;
		t->srtt_us = (uint32_t)(rtts[r] * 1e6);
		t->cc->init(st, t);
		/* a loss at 200 segments, all in flight */
		t->cwnd = 200 * t->mss;
		t->snd_una = 0;
		t->snd_nxt = t->cwnd;
		t->ssthresh = t->cc->ssthresh(st, t);
		assert_true(fabs(t->ssthresh / (double)t->mss - 140) < 0.01);
		t->cwnd = t->ssthresh;
		m.w_max = 200;
		m.cwnd_prior = 200;
		m.cwnd = 140;
		model_start(&m, now);
		while (now < begin + 20) {
			double gap = rtts[r] / m.cwnd;

			t->cc->on_ack(st, t, t->mss, &rs);
			model_ack(&m, (double)st->now_us * 1e-6, rtts[r]);
			assert_true(fabs(t->cwnd / (double)t->mss - m.cwnd) < 0.02 * m.cwnd + 1.0);
			now += gap;
			st->now_us = (uint64_t)(now * 1e6);
		}
		/* long after K the window has passed the old maximum */
		assert_true(t->cwnd > 220u * t->mss);
		st->now_us = saved;
		t->state = TCPS_CLOSED;
		testenv_close_sock(s);
	}
}

static void cubic_converges_fast_when_the_window_shrinks(void **state)
{
	struct stack *st = tenv.host[0].st;
	struct sock *s = testenv_socket(0, SOCK_STREAM);
	struct tcb *t = &s->tcb;
	double w_max;

	(void)state;
	tcp_tcb_init(st, t);
	t->mss = 1000;
	t->cc->init(st, t);
	t->cwnd = 100000;
	t->snd_nxt = t->cwnd;
	t->cc->ssthresh(st, t);
	memcpy(&w_max, t->cc_priv, sizeof(w_max));
	assert_true(fabs(w_max - 100000) < 1);
	t->cwnd = 80000;
	t->snd_nxt = t->cwnd;
	t->cc->ssthresh(st, t);
	memcpy(&w_max, t->cc_priv, sizeof(w_max));
	assert_true(fabs(w_max - 80000 * 1.7 / 2) < 1); /* §4.7 */
	testenv_close_sock(s);
}

static void congestion_controls_are_found_by_name(void **state)
{
	(void)state;
	assert_null(tcp_cc_find(""));
	assert_ptr_equal(tcp_cc_find("cubic"), &tcp_cc_cubic);
	assert_ptr_equal(tcp_cc_find("reno"), &tcp_cc_newreno);
	assert_null(tcp_cc_find("vegas"));
	assert_string_equal(tcp_cc_name(0), "cubic");
}

/* --- numbers --- */

static void isn_differs_by_tuple_and_rises_with_time(void **state)
{
	struct stack *st = tenv.host[0].st;
	struct tcp_key k = { .laddr = ip_addr_v4(1), .raddr = ip_addr_v4(2), .lport_be = 3, .rport_be = 4 };
	uint32_t a = tcp_isn(st, &k), b, off = tcp_ts_offset(st, &k);
	uint64_t saved = st->now_us;

	(void)state;
	st->now_us += 4000000;
	b = tcp_isn(st, &k);
	assert_int_equal(b - a, 1000000); /* RFC 6528: the clock ticks every 4 us */
	assert_int_equal(tcp_ts_offset(st, &k), off);
	k.rport_be = 5;
	assert_int_not_equal(tcp_isn(st, &k) - b, 0);
	assert_int_not_equal(tcp_ts_offset(st, &k), off);
	st->now_us = saved;
}

/* --- Fast Open --- */

/* Cookies that the kernel's own packet scripts name for these keys and addresses: servers of both kinds may stand behind one address. */
static void cookies_of_a_key_are_linuxs(void **state)
{
	static const uint8_t key[16] = { 0xa1, 0xa1, 0xa1, 0xa1, 0xb2, 0xb2, 0xb2, 0xb2, 0xc3, 0xc3, 0xc3, 0xc3, 0xd4, 0xd4, 0xd4, 0xd4 };
	static const uint8_t of_key[8] = { 0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb };
	static const uint8_t of_zero[8] = { 0xb7, 0xc1, 0x23, 0x50, 0xa9, 0x0d, 0xc8, 0xf5 };
	struct stack *st = tenv.host[0].st;
	struct ip_addr client = ip_addr_v4(inet_addr("192.0.2.1")), server = ip_addr_v4(inet_addr("192.168.0.1"));
	struct tcp_seg g = { .src = &client, .dst = &server, .o.has = TCP_OPT_FO };
	uint8_t keys[32] = { 0 }, fresh[TCP_FO_COOKIE], back[32];
	struct sock *l = testenv_socket(0, SOCK_STREAM);
	socklen_t len = sizeof(back);

	(void)state;
	assert_non_null(l);
	tcp_conf_of(st)->fastopen = TCP_FO_SERVER;
	l->opt.fastopen_qlen = 5;
	/* of the hour */
	assert_int_equal(tcp_fastopen_syn(st, l, &g, fresh), TCP_FO_GRANT);
	assert_memory_not_equal(fresh, of_key, 8);
	assert_int_equal(sock_getopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, back, &len, tenv.self), 0);
	assert_int_equal(len, 32);
	/* the configuration's */
	tcp_conf_of(st)->fo_keys.n = 1;
	assert_int_equal(tcp_fastopen_syn(st, l, &g, fresh), TCP_FO_GRANT);
	assert_memory_equal(fresh, of_zero, 8);
	/* the listener's */
	assert_int_equal(sock_setopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 15, tenv.self), -EINVAL);
	assert_int_equal(sock_setopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 16, tenv.self), 0);
	assert_int_equal(tcp_fastopen_syn(st, l, &g, fresh), TCP_FO_GRANT);
	assert_memory_equal(fresh, of_key, 8);
	len = sizeof(back);
	assert_int_equal(sock_getopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, back, &len, tenv.self), 0);
	assert_int_equal(len, 16);
	assert_memory_equal(back, key, 16);
	/* a second key is good and makes none */
	memcpy(keys + 16, key, 16);
	assert_int_equal(sock_setopt(l, IPPROTO_TCP, TCP_FASTOPEN_KEY, keys, 32, tenv.self), 0);
	memcpy(g.o.fo, of_key, 8);
	g.o.fo_len = 8;
	assert_int_equal(tcp_fastopen_syn(st, l, &g, fresh), TCP_FO_VALID_OLD);
	assert_memory_equal(fresh, of_zero, 8);
	memcpy(g.o.fo, of_zero, 8);
	assert_int_equal(tcp_fastopen_syn(st, l, &g, fresh), TCP_FO_VALID);
	tcp_conf_of(st)->fo_keys.n = 0;
	tcp_conf_of(st)->fastopen = 0;
	testenv_close_sock(l);
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
		cmocka_unit_test(options_of_a_linux_syn_are_read),
		cmocka_unit_test(window_scale_above_14_counts_as_14),
		cmocka_unit_test(malformed_options_end_the_parsing),
		cmocka_unit_test(fast_open_options),
		cmocka_unit_test(sack_blocks_are_read_and_bounded),
		cmocka_unit_test(written_syn_options_are_read_back),
		cmocka_unit_test(random_options_terminate_inside_their_bytes),
		cmocka_unit_test(table_agrees_with_a_naive_model_while_it_grows),
		cmocka_unit_test(hash_spreads_ports_and_addresses),
		cmocka_unit_test(rto_follows_rfc_6298),
		cmocka_unit_test(cubic_follows_rfc_9438),
		cmocka_unit_test(cubic_converges_fast_when_the_window_shrinks),
		cmocka_unit_test(congestion_controls_are_found_by_name),
		cmocka_unit_test(isn_differs_by_tuple_and_rises_with_time),
		cmocka_unit_test(cookies_of_a_key_are_linuxs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

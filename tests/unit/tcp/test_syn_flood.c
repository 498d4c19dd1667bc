/* test_syn_flood.c - more SYNs than may be half-open: what waits for its peer keeps its place, everything else is answered by cookies, so that
 * new connections get in at their first try, with their options, and memory does not grow. Virtual time. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define FLOOD_PPS 50000u
#define FLOOD_S 20u
#define BACKLOG 128
#define CLIENT_EVERY_US 2500u
#define CLIENT_RTT_US 80000u
#define CLIENTS 8192u /* under way at a time, more than come in a round trip */

/* Everybody comes through a gateway, which is resolved: hundreds of neighbours are not what is tested. */
static struct stack *open_stack(void)
{
	struct stack *st;

	testenv_open(&(struct testenv_conf){ .nb_hosts = 1 });
	st = tenv.host[0].st;
	st->ip4.mask_be = htonl(0xfffffffe);
	st->ip4.gateway_be = htonl(0x0a000000);
	return st;
}

static uint32_t host_ip(uint32_t host) { return htonl(0x0a00000au + host); }

static struct seg to_us(uint32_t host, uint16_t sport, uint8_t flags, uint32_t seq)
{
	struct thost *h = &tenv.host[0];
	struct seg s = { .kind = SEG_TCP, .saddr = host_ip(host), .daddr = h->ip_be, .sport = sport, .dport = 80, .seq = seq, .win = 64240,
			 .flags = flags };

	memcpy(s.dmac, h->dev.nd.mac, 6);
	memcpy(s.smac, h->dev.peer_mac, 6);
	return s;
}

static void push(const struct seg *s)
{
	memdev_push(&tenv.host[0].dev, seg_build(s));
}

/* --- clients beside the flood --- */

struct client {
	uint64_t due_us; /* when the SYN-ACK's answer arrives; 0: free, 1: SYN sent */
	uint32_t host, isn, seq_ack, ts_val;
	uint16_t sport;
	uint8_t form; /* with which options */
};

struct clients {
	struct client c[CLIENTS];
	unsigned started, answered, sent_data, wrong;
};

/* The options of real peers: all, none but MSS, no SACK, no scale. */
static void client_options(struct client *c, struct seg_opts *o, uint64_t now_us)
{
	o->has_mss = true;
	o->mss = (uint16_t)(c->form & 1 ? 1460 : 1370);
	if (c->form == 1)
		return;
	o->has_ts = true;
	o->tsval = (uint32_t)(now_us / 1000) + c->isn;
	o->has_sackok = c->form != 2;
	o->has_ws = c->form != 3;
	o->ws = 9;
}

static void client_start(struct clients *all)
{
	unsigned n = all->started++;
	struct client *c = &all->c[n % CLIENTS];
	struct seg s;

	assert_int_equal(c->due_us, 0);
	*c = (struct client){ .due_us = 1, .host = 300 + n % 500, .sport = (uint16_t)(1024 + n / 500), .isn = n * 2654435761u,
			      .form = n % 4 };
	s = to_us(c->host, c->sport, TH_SYN, c->isn);
	client_options(c, &s.opt, vclock_us);
	push(&s);
}

static struct client *client_of(struct clients *all, const struct seg *s)
{
	uint32_t host = ntohl(s->daddr) - 0x0a00000au;
	unsigned n;

	if (host < 300 || host >= 800 || s->dport < 1024)
		return NULL;
	n = (s->dport - 1024u) * 500 + host - 300;
	return n < all->started ? &all->c[n % CLIENTS] : NULL;
}

/* A SYN-ACK for a client: its options agree with the SYN's; the final ACK with data comes a round trip later. */
static void client_synack(struct clients *all, struct client *c, const struct seg *s)
{
	bool ts = c->form != 1;

	if (c->due_us != 1)
		return;
	all->answered++;
	if (s->ack != c->isn + 1 || s->opt.has_ts != ts || s->opt.has_sackok != (ts && c->form != 2) ||
	    s->opt.has_ws != (ts && c->form != 3) || !s->opt.has_mss)
		all->wrong++;
	if (ts && s->opt.tsval - ((uint32_t)(vclock_us / 1000) + tcp_ts_offset(tenv.host[0].st, &(struct tcp_key){
				.laddr = ip_addr_v4(s->saddr), .raddr = ip_addr_v4(s->daddr), .lport_be = htons(80),
				.rport_be = htons(s->dport) })) + 127 > 127) /* up to 64 + 63 ms older, never newer */
		all->wrong++;
	c->seq_ack = s->seq + 1;
	c->ts_val = s->opt.tsval;
	c->due_us = vclock_us + CLIENT_RTT_US;
}

static void client_ack(struct clients *all, struct client *c)
{
	static const uint8_t data[100] = { 1 };
	struct seg s = to_us(c->host, c->sport, TH_ACK | TH_PSH, c->isn + 1);

	s.ack = c->seq_ack;
	s.win = 1000;
	s.data = data;
	s.len = sizeof(data);
	if (c->form != 1) {
		s.opt.has_ts = true;
		s.opt.tsval = (uint32_t)(vclock_us / 1000) + c->isn;
		s.opt.tsecr = c->ts_val;
	}
	push(&s);
	all->sent_data++;
	c->due_us = 0;
}

/* What the stack sent: SYN-ACKs to clients are taken note of. Returns the number of SYN-ACKs. */
static unsigned sent(struct clients *all)
{
	struct frame *f;
	unsigned n = 0;

	while ((f = memdev_pop(&tenv.host[0].dev))) {
		struct seg s;

		if (seg_parse(f, &s, NULL) && s.kind == SEG_TCP && s.flags == (TH_SYN | TH_ACK)) {
			struct client *c = all ? client_of(all, &s) : NULL;

			n++;
			if (c)
				client_synack(all, c, &s);
		}
		free(f);
	}
	return n;
}

static void flood_syn(uint32_t n)
{
	struct seg s = to_us(1000 + n % 200, (uint16_t)(1024 + n / 200 % 64000), TH_SYN, n * 40503u);

	s.opt.has_mss = s.opt.has_ts = s.opt.has_sackok = s.opt.has_ws = true;
	s.opt.mss = 1460;
	s.opt.tsval = n;
	s.opt.ws = 7;
	push(&s);
}

/* Accepts what waits; every child must be as the client's SYN said. */
static unsigned accept_all(struct sock *l, struct clients *all)
{
	struct sock *s;
	unsigned n = 0;
	char buf[200];

	while (sock_accept(l, &s, true, -1, tenv.self) == 0) {
		const struct tcb *t = &s->tcb;
		uint32_t host = ntohl(ip_addr_get_v4(&t->raddr)) - 0x0a00000au;
		unsigned form = ((ntohs(t->rport_be) - 1024u) * 500 + host - 300) % 4;
		bool ts = form != 1;
		uint16_t mss = form & 1 ? 1460 : 1370;

		n++;
		/* the MSS comes out of a table when the record was a cookie */
		if (!!(t->opts & TCP_OPT_TS) != ts || !!(t->opts & TCP_OPT_SACK) != (ts && form != 2) ||
		    !!(t->opts & TCP_OPT_WS) != (ts && form != 3) || t->snd_wscale != (ts && form != 3 ? 9 : 0) ||
		    t->snd_wnd != 1000u << t->snd_wscale || t->mss_peer > mss || t->mss_peer < mss - 40 ||
		    t->mss != t->mss_peer - (ts ? 12 : 0) || t->cwnd != 10u * t->mss || t->rto_us > 2 * US_PER_S)
			all->wrong++;
		if (sock_recv(s, buf, sizeof(buf), MSG_DONTWAIT, tenv.self) != 100)
			all->wrong++;
		s->opt.linger_on = 1; /* ends by a reset: 16,000 TIME_WAIT records are another test */
		s->opt.linger_s = 0;
		testenv_close_sock(s);
	}
	return n;
}

static void long_flood_and_every_handshake_completes(void **state)
{
	struct clients *all = calloc(1, sizeof(*all));
	uint32_t flood = 0, accepted = 0, answers = 0, mbufs = 0;
	struct stack *st;
	struct sock *l;

	(void)state;
	assert_non_null(all);
	st = open_stack();
	l = testenv_listener(0, 80, BACKLOG);
	for (uint64_t ms = 0; ms < FLOOD_S * 1000 + 200; ms++) {
		for (unsigned i = 0; i < FLOOD_PPS / 1000 && ms < FLOOD_S * 1000; i++)
			flood_syn(flood++);
		if (ms * 1000 % CLIENT_EVERY_US < 1000 && ms < FLOOD_S * 1000)
			client_start(all);
		for (unsigned i = 0; i < CLIENTS; i++)
			if (all->c[i].due_us > 1 && all->c[i].due_us <= vclock_us)
				client_ack(all, &all->c[i]);
		testenv_run_for(1000);
		answers += sent(all);
		accepted += accept_all(l, all);
		answers += sent(all);
		assert_true(st->tcp->syns.count <= BACKLOG + 1);
		if (ms == 1000)
			mbufs = testenv_mbufs_used();
		else if (ms > 1000)
			assert_true(testenv_mbufs_used() <= mbufs + 1024);
	}
	assert_int_equal(all->started, FLOOD_S * 1000000 / CLIENT_EVERY_US);
	assert_int_equal(all->answered, all->started);
	assert_int_equal(all->sent_data, all->started);
	assert_int_equal(accepted, all->started);
	assert_int_equal(all->wrong, 0);
	assert_true(answers >= flood);
	assert_true(st->mib.tcp_syncookies_sent >= flood - 10 * BACKLOG);
	assert_true(st->mib.tcp_syncookies_recv > all->started / 2);
	assert_int_equal(st->mib.tcp_syncookies_failed, 0);
	assert_int_equal(st->mib.tcp_listen_drops, 0);
	testenv_close_sock(l);
	testenv_run_for(1000);
	sent(NULL);
	assert_int_equal(testenv_close(), 0);
	free(all);
}

/* --- what an ACK must be to pass for a cookie --- */

static struct seg synack_of(struct sock *l, uint32_t host, uint16_t sport, uint32_t seq, bool ts)
{
	struct seg s = to_us(host, sport, TH_SYN, seq), a = { 0 };
	struct frame *f;

	(void)l;
	s.opt.has_mss = true;
	s.opt.mss = 1460;
	s.opt.has_ts = ts;
	s.opt.tsval = 77;
	push(&s);
	testenv_settle();
	f = memdev_pop(&tenv.host[0].dev);
	assert_non_null(f);
	assert_true(seg_parse(f, &a, NULL));
	assert_int_equal(a.flags, TH_SYN | TH_ACK);
	free(f);
	return a;
}

/* Sends ACK `ack`; true: a connection came of it. */
static bool ack_accepted(struct sock *l, uint32_t host, uint16_t sport, uint32_t seq, uint32_t ack, const struct seg_opts *o)
{
	struct seg s = to_us(host, sport, TH_ACK, seq);
	struct sock *c;

	s.ack = ack;
	if (o)
		s.opt = *o;
	push(&s);
	testenv_settle();
	sent(NULL);
	if (sock_accept(l, &c, true, -1, tenv.self))
		return false;
	c->opt.linger_on = 1;
	testenv_close_sock(c);
	testenv_settle();
	sent(NULL);
	return true;
}

static void cookies_are_checked(void **state)
{
	struct seg_opts ts = { .has_ts = true, .tsval = 78 };
	struct stack *st;
	struct sock *l;
	struct seg a;

	(void)state;
	st = open_stack();
	l = testenv_listener(0, 80, 16);
	/* no cookie was ever sent: no ACK is looked at */
	assert_false(ack_accepted(l, 1, 2000, 1001, 12345, NULL));
	assert_int_equal(st->mib.tcp_syncookies_failed, 0);
	st->tcp->conf.syncookies = 2;

	a = synack_of(l, 1, 2000, 1000, false);
	assert_int_equal(st->tcp->syns.count, 0);
	assert_false(ack_accepted(l, 1, 2000, 1001, a.seq + 2, NULL)); /* another number */
	assert_false(ack_accepted(l, 1, 2000, 1002, a.seq + 1, NULL)); /* another sequence */
	assert_false(ack_accepted(l, 1, 2001, 1001, a.seq + 1, NULL)); /* another port */
	assert_false(ack_accepted(l, 2, 2000, 1001, a.seq + 1, NULL)); /* another host */
	assert_false(ack_accepted(l, 1, 2000, 1001, (a.seq ^ 0x10000000) + 1, NULL)); /* another MSS */
	assert_false(ack_accepted(l, 1, 2000, 1001, (a.seq ^ 0x80000000) + 1, NULL)); /* another time */
	assert_int_equal(st->mib.tcp_syncookies_failed, 6);
	assert_true(ack_accepted(l, 1, 2000, 1001, a.seq + 1, NULL));
	assert_int_equal(st->mib.tcp_syncookies_recv, 1);

	/* the bits in the timestamp cannot be changed: no peer grants itself a scale */
	a = synack_of(l, 1, 2002, 1000, true);
	ts.tsecr = a.opt.tsval ^ 1;
	assert_false(ack_accepted(l, 1, 2002, 1001, a.seq + 1, &ts));
	ts.tsecr = a.opt.tsval ^ 0x10;
	assert_false(ack_accepted(l, 1, 2002, 1001, a.seq + 1, &ts));
	assert_false(ack_accepted(l, 1, 2002, 1001, a.seq + 1, NULL));
	ts.tsecr = a.opt.tsval;
	assert_true(ack_accepted(l, 1, 2002, 1001, a.seq + 1, &ts));

	/* age: the present 64-second slot and the one before */
	testenv_run_for(64 * 1000000 - vclock_us % (64 * 1000000));
	a = synack_of(l, 1, 2003, 1000, false);
	testenv_run_for(127 * 1000000);
	assert_true(ack_accepted(l, 1, 2003, 1001, a.seq + 1, NULL));
	a = synack_of(l, 1, 2004, 1000, false);
	testenv_run_for(1 * 1000000);
	(void)synack_of(l, 1, 2005, 1000, false);
	testenv_run_for(64 * 1000000);
	assert_false(ack_accepted(l, 1, 2004, 1001, a.seq + 1, NULL));

	/* and nothing two minutes after the last one was sent */
	testenv_run_for(64 * 1000000 - vclock_us % (64 * 1000000));
	a = synack_of(l, 1, 2006, 1000, false);
	st->tcp->conf.syncookies = 1;
	{
		uint64_t failed = st->mib.tcp_syncookies_failed;

		testenv_run_for(130 * 1000000);
		assert_false(ack_accepted(l, 1, 2006, 1001, a.seq + 1, NULL));
		assert_int_equal(st->mib.tcp_syncookies_failed, failed);
	}
	/* switched off, a full queue drops */
	st->tcp->conf.syncookies = 0;
	for (uint16_t i = 0; i < 17; i++)
		(void)synack_of(l, 3, (uint16_t)(3000 + i), 1, true);
	{
		struct seg s = to_us(3, 4000, TH_SYN, 1);

		push(&s);
	}
	testenv_settle();
	assert_int_equal(sent(NULL), 0);
	assert_int_equal(st->drops[DROP_TCP_SYN_RATE], 1);
	assert_int_equal(st->mib.tcp_listen_drops, 1);
	testenv_close_sock(l);
	testenv_settle();
	sent(NULL);
	assert_int_equal(testenv_close(), 0);
}

/* A full queue: its connections keep their place, and complete, whatever comes. */
static void half_open_connections_keep_their_place(void **state)
{
	struct seg first[17];
	struct stack *st;
	struct sock *l;

	(void)state;
	st = open_stack();
	l = testenv_listener(0, 80, 16);
	for (uint16_t i = 0; i < 17; i++)
		first[i] = synack_of(l, 1, (uint16_t)(2000 + i), 1000, true);
	assert_int_equal(st->mib.tcp_syncookies_sent, 0);
	for (uint32_t i = 0; i < 500; i++)
		flood_syn(i);
	testenv_run_for(100000);
	assert_int_equal(sent(NULL), 500);
	assert_int_equal(st->mib.tcp_syncookies_sent, 500);
	assert_int_equal(st->tcp->syns.count, 17);
	for (uint16_t i = 0; i < 17; i++) {
		struct seg_opts ts = { .has_ts = true, .tsval = 78, .tsecr = first[i].opt.tsval };

		assert_true(ack_accepted(l, 1, (uint16_t)(2000 + i), 1001, first[i].seq + 1, &ts));
	}
	assert_int_equal(st->mib.tcp_syncookies_recv, 0);
	assert_int_equal(st->tcp->syns.count, 0);
	testenv_close_sock(l);
	testenv_settle();
	sent(NULL);
	assert_int_equal(testenv_close(), 0);
}

/* While more than half of the queue waits, a peer that does not answer is asked three times, not six. */
static void a_crowded_queue_is_asked_less_often(void **state)
{
	struct stack *st;
	struct sock *l;
	unsigned n;

	(void)state;
	st = open_stack();
	l = testenv_listener(0, 80, 32);
	for (n = 0; n < 4; n++)
		flood_syn(n);
	testenv_run_for(130 * 1000000);
	assert_int_equal(sent(NULL), 4 * (1 + TCP_SYNACK_RETRIES));
	assert_int_equal(st->tcp->syns.count, 0);
	for (; n < 34; n++)
		flood_syn(n);
	testenv_run_for(8 * 1000000);
	/* the last 16 of them are less than half */
	assert_int_equal(st->tcp->syns.count, 16);
	testenv_run_for(130 * 1000000);
	assert_int_equal(sent(NULL), 14 * 3 + 16 * (1 + TCP_SYNACK_RETRIES));
	testenv_close_sock(l);
	testenv_settle();
	sent(NULL);
	assert_int_equal(testenv_close(), 0);
}

/* A device on which answers are dear: no more than its number a second, and a client's second SYN goes before the flood's first ones. */
static void bounded_answers_prefer_second_tries(void **state)
{
	enum { RATE = 5000, CLIENTS_N = 400 };
	static struct { uint64_t next_us; unsigned tries; bool answered; } c[CLIENTS_N];
	unsigned answers = 0, late = 0, first = 0, second = 0, missed = 0;
	uint32_t flood = 0;
	struct stack *st;
	struct sock *l;

	(void)state;
	memset(c, 0, sizeof(c));
	testenv_open(&(struct testenv_conf){ .nb_hosts = 1, .dev.syn_answers_per_s = RATE });
	st = tenv.host[0].st;
	st->ip4.mask_be = htonl(0xfffffffe);
	st->ip4.gateway_be = htonl(0x0a000000);
	l = testenv_listener(0, 80, BACKLOG);
	for (unsigned ms = 0; ms < 10000; ms++) {
		struct frame *f;

		for (unsigned i = 0; i < CLIENTS_N; i++) {
			struct seg s = to_us(300 + i, 2000, TH_SYN, i * 7919);

			if (c[i].answered || c[i].tries == 3 || ms < 2000 + 7 * i || (c[i].tries && vclock_us < c[i].next_us))
				continue;
			c[i].next_us = vclock_us + (US_PER_S << c[i].tries++); /* as every peer repeats it: after 1, 2, 4 s */
			push(&s);
		}
		for (unsigned i = 0; i < FLOOD_PPS / 1000; i++)
			flood_syn(flood++);
		testenv_run_for(1000);
		while ((f = memdev_pop(&tenv.host[0].dev))) {
			struct seg s;
			uint32_t host;

			if (seg_parse(f, &s, NULL) && s.kind == SEG_TCP) {
				host = ntohl(s.daddr) - 0x0a00000au;
				answers++;
				late += ms >= 2000; /* the queue's own are answered, and repeated, beside */
				if (host >= 300 && host < 300 + CLIENTS_N)
					c[host - 300].answered = true;
			}
			free(f);
		}
	}
	for (unsigned i = 0; i < CLIENTS_N; i++) {
		first += c[i].answered && c[i].tries == 1;
		second += c[i].answered && c[i].tries == 2;
		missed += !c[i].answered;
	}
	print_message("%u at the first try, %u at the second, %u not at all; %u answers\n", first, second, missed, answers);
	assert_true(first >= CLIENTS_N / 20);
	assert_true(first + second >= CLIENTS_N * 85 / 100);
	assert_true(missed <= CLIENTS_N / 100);
	assert_true(late <= 8 * RATE + 8 * BACKLOG && late >= 8 * RATE * 9 / 10);
	assert_int_equal(st->drops[DROP_TCP_SYN_RATE], st->mib.tcp_listen_drops);
	assert_true(st->drops[DROP_TCP_SYN_RATE] > flood / 2);
	testenv_close_sock(l);
	testenv_settle();
	sent(NULL);
	assert_int_equal(testenv_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(half_open_connections_keep_their_place), cmocka_unit_test(cookies_are_checked),
					    cmocka_unit_test(a_crowded_queue_is_asked_less_often),
					    cmocka_unit_test(bounded_answers_prefer_second_tries),
					    cmocka_unit_test(long_flood_and_every_handshake_completes) };

	return cmocka_run_group_tests_name("syn_flood", tests, NULL, NULL);
}

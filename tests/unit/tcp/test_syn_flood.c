/* test_syn_flood.c - more SYNs than may be half-open: those that wait for their peer keep their place for a while, the rest is dropped at once. */
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define QUEUE 1024u /* half-open connections of a listener with a small backlog */

static void syn(uint32_t host, uint16_t sport)
{
	struct thost *h = &tenv.host[0];
	struct seg s = { .kind = SEG_TCP, .saddr = htonl(0x0a00000au + host), .daddr = h->ip_be, .sport = sport, .dport = 80, .seq = 1000,
			 .win = 64240, .flags = TH_SYN };

	memcpy(s.dmac, h->dev.nd.mac, 6);
	memcpy(s.smac, h->dev.peer_mac, 6);
	memdev_push(&h->dev, seg_build(&s));
	testenv_settle();
}

/* SYN-ACKs that were sent since the last call. */
static unsigned answers(void)
{
	struct frame *f;
	unsigned n = 0;

	while ((f = memdev_pop(&tenv.host[0].dev))) {
		struct seg s;

		n += seg_parse(f, &s, NULL) && s.kind == SEG_TCP && s.flags == (TH_SYN | TH_ACK);
		free(f);
	}
	return n;
}

static void half_open_connections_keep_their_place_for_a_while(void **state)
{
	struct stack *st;
	struct sock *l;

	(void)state;
	testenv_open(&(struct testenv_conf){ .nb_hosts = 1 });
	st = tenv.host[0].st;
	l = testenv_listener(0, 80, 16);
	for (uint32_t i = 0; i < QUEUE; i++)
		syn(i % 200 + 1, (uint16_t)(2000 + i));
	assert_int_equal(answers(), QUEUE);
	assert_int_equal(st->drops[DROP_TCP_SYN_RATE], 0);

	/* full, and all are young: what comes now is not answered, and displaces nobody */
	testenv_run_for(50000);
	for (uint32_t i = 0; i < 500; i++)
		syn(i % 200 + 1, (uint16_t)(10000 + i));
	assert_int_equal(answers(), 0);
	assert_int_equal(st->drops[DROP_TCP_SYN_RATE], 500);
	assert_int_equal(st->mib.tcp_listen_drops, 500);
	assert_int_equal(st->tcp->syns.count, QUEUE);

	/* when they are a fifth of a second old the oldest make room, one for one */
	testenv_run_for(151000);
	for (uint32_t i = 0; i < 10; i++)
		syn(i + 1, (uint16_t)(20000 + i));
	assert_int_equal(answers(), 10);
	assert_int_equal(st->drops[DROP_TCP_SYN_RATE], 510);
	assert_int_equal(st->tcp->syns.count, QUEUE);
	testenv_close_sock(l);
	assert_int_equal(testenv_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(half_open_connections_keep_their_place_for_a_while) };

	return cmocka_run_group_tests_name("syn_flood", tests, NULL, NULL);
}

/* Look-ups without a lock beside threads that bind and unbind: what stays bound is found every time; what is found is on the port. */
#include "nethost.h"
#include "sock/ports.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ROUNDS 20000

static atomic_bool stop;
static struct sock *churn[2][16], *steady;
static _Atomic unsigned failures;

/* Moves its sockets between the port that is looked up and another one. */
static void *binder(void *arg)
{
	struct sock **s = arg;
	struct ip_addr any = ip_addr_any();

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint16_t port = htons(i % 3 ? 80 : 81);

		ports_unbind(PORT_UDP, s[i % 16]);
		if (ports_bind(PORT_UDP, s[i % 16], &any, &port, NULL, NULL) != 0)
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

static void *looker(void *arg)
{
	struct ip_addr own = ip_addr_v4(IP(10, 0, 0, 1)), peer = ip_addr_v4(IP(10, 0, 0, 2));
	uintptr_t found = 0;

	(void)arg;
	while (!atomic_load(&stop)) {
		/* bound to the address itself: before any of the others */
		if (ports_udp(&own, htons(80), &peer, 1, 0) != steady)
			atomic_fetch_add(&failures, 1);
		found++;
	}
	return (void *)found;
}

static void steady_socket_is_always_found(void **state)
{
	pthread_t b[2], l[2];
	struct ip_addr own = ip_addr_v4(IP(10, 0, 0, 1));
	uint16_t port = htons(80);
	void *found;

	(void)state;
	nethost_open(1, false);
	steady = nethost_sock(AF_INET, SOCK_DGRAM);
	steady->opt.reuseaddr = 1;
	assert_int_equal(ports_bind(PORT_UDP, steady, &own, &port, NULL, NULL), 0);
	for (int i = 0; i < 32; i++) {
		churn[i / 16][i % 16] = nethost_sock(AF_INET, SOCK_DGRAM);
		churn[i / 16][i % 16]->opt.reuseaddr = 1;
	}
	for (int i = 0; i < 2; i++) {
		pthread_create(&l[i], NULL, looker, NULL);
		pthread_create(&b[i], NULL, binder, churn[i]);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(b[i], NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++) {
		pthread_join(l[i], &found);
		assert_true((uintptr_t)found > 100);
	}
	assert_int_equal(atomic_load(&failures), 0);
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(steady_socket_is_always_found) };

	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

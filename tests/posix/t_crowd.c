/* t_crowd.c - a thousand threads alive at once under load: each makes sockets, connects, exchanges, waits and ends; twice, so that what the
 * first thousand had is given back. */
#include "t.h"

#define THREADS 1000

static int listener, port;
static pthread_barrier_t all;

static void *serve(void *arg)
{
	char b[512];
	int s;

	(void)arg;
	while ((s = accept(listener, NULL, NULL)) >= 0) {
		ssize_t n;

		while ((n = recv(s, b, sizeof(b), 0)) > 0 && send(s, b, (size_t)n, MSG_NOSIGNAL) == n)
			;
		close(s);
	}
	return NULL;
}

static bool exchange(int c, int seed)
{
	char out[200], in[200];
	ssize_t got = 0, n;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(seed + (int)i);
	if (send(c, out, sizeof(out), MSG_NOSIGNAL) != sizeof(out))
		return false;
	while (got < (ssize_t)sizeof(in) && (n = recv(c, in + got, sizeof(in) - (size_t)got, 0)) > 0)
		got += n;
	return got == sizeof(in) && !memcmp(in, out, sizeof(in));
}

static void *one(void *arg)
{
	struct sockaddr_in sa = t_sa(t_addr(), port);
	long ok = 0;

	pthread_barrier_wait(&all); /* all of them are there */
	for (int i = 0; i < 3; i++) {
		struct pollfd p = { .events = POLLOUT };
		int c = socket(AF_INET, SOCK_STREAM, 0), spare = socket(AF_INET, SOCK_DGRAM, 0);

		if (c >= 0 && connect(c, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
			p.fd = c;
			ok += poll(&p, 1, 5000) == 1 && exchange(c, (int)(long)arg + i);
		}
		close(spare);
		close(c);
	}
	return (void *)ok;
}

int main(void)
{
	static pthread_t th[THREADS], srv[40];
	pthread_attr_t at;

	t_watchdog(110);
	pthread_attr_init(&at);
	pthread_attr_setstacksize(&at, 128 << 10);
	listener = t_listener(2048, &port);
	for (int i = 0; i < 40; i++)
		MUST(-pthread_create(&srv[i], &at, serve, NULL));
	for (int round = 0; round < 2; round++) {
		long ok = 0;

		pthread_barrier_init(&all, NULL, THREADS);
		for (long i = 0; i < THREADS; i++)
			MUST(-pthread_create(&th[i], &at, one, (void *)i));
		for (int i = 0; i < THREADS; i++) {
			void *r;

			pthread_join(th[i], &r);
			ok += (long)r;
		}
		pthread_barrier_destroy(&all);
		SAY("exchanges %ld\n", ok);
	}
	shutdown(listener, SHUT_RDWR);
	for (int i = 0; i < 40; i++)
		pthread_join(srv[i], NULL);
	close(listener);
	return 0;
}

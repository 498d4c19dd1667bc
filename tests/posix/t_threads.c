/* t_threads.c - any thread may use any socket: several creators, readers, writers, acceptors; close during recv; many threads. */
#include "t.h"

static int listener, port;

static void *client(void *arg)
{
	long id = (long)arg;
	char out[64], in[64];
	long bad = 0;

	for (int i = 0; i < 20; i++) {
		int c = t_connect(port), n = snprintf(out, sizeof(out), "client %ld round %d", id, i);
		ssize_t got = 0, r;

		if (write(c, out, (size_t)n) != n)
			bad++;
		while (got < n && (r = read(c, in + got, sizeof(in) - (size_t)got)) > 0)
			got += r;
		bad += got != n || memcmp(in, out, (size_t)n) != 0;
		close(c);
	}
	return (void *)bad;
}

static void *server(void *arg)
{
	char buf[64];
	long served = 0;
	int s;

	(void)arg;
	while ((s = accept(listener, NULL, NULL)) >= 0) {
		ssize_t n = read(s, buf, sizeof(buf));

		if (n > 0 && write(s, buf, (size_t)n) == n)
			served++;
		read(s, buf, 1);
		close(s);
	}
	return (void *)served;
}

static void creators(void)
{
	pthread_t c[8], s[4];
	long bad = 0, served = 0;
	void *r;

	SECTION("eight clients, four acceptors");
	listener = t_listener(64, &port);
	for (long i = 0; i < 4; i++)
		pthread_create(&s[i], NULL, server, NULL);
	for (long i = 0; i < 8; i++)
		pthread_create(&c[i], NULL, client, (void *)i);
	for (int i = 0; i < 8; i++) {
		pthread_join(c[i], &r);
		bad += (long)r;
	}
	shutdown(listener, SHUT_RDWR);
	for (int i = 0; i < 4; i++) {
		pthread_join(s[i], &r);
		served += (long)r;
	}
	SAY("bad %ld served %ld\n", bad, served);
	close(listener);
}

struct half {
	int fd;
	size_t bytes;
	uint64_t sum;
};

static void *pump_out(void *arg)
{
	struct half *h = arg;
	uint8_t buf[5000];
	size_t left = h->bytes;

	memset(buf, 1, sizeof(buf));
	while (left) {
		ssize_t n = write(h->fd, buf, left < sizeof(buf) ? left : sizeof(buf));

		if (n <= 0)
			break;
		left -= (size_t)n;
	}
	h->bytes -= left;
	return NULL;
}

static void *pump_in(void *arg)
{
	struct half *h = arg;
	uint8_t buf[3000];
	ssize_t n;

	h->bytes = 0;
	while ((n = read(h->fd, buf, sizeof(buf))) > 0) {
		h->bytes += (size_t)n;
		for (ssize_t i = 0; i < n; i++)
			h->sum += buf[i];
	}
	return NULL;
}

static void sharing(void)
{
	struct half w[2], r[2];
	pthread_t tw[2], tr[2];
	int p[2];

	SECTION("two writers and two readers of one connection");
	t_pair(p);
	for (int i = 0; i < 2; i++) {
		w[i] = (struct half){ p[0], 1000000, 0 };
		r[i] = (struct half){ p[1], 0, 0 };
		pthread_create(&tr[i], NULL, pump_in, &r[i]);
		pthread_create(&tw[i], NULL, pump_out, &w[i]);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(tw[i], NULL);
	shutdown(p[0], SHUT_WR);
	for (int i = 0; i < 2; i++)
		pthread_join(tr[i], NULL);
	SAY("written %zu read %zu sum %llu\n", w[0].bytes + w[1].bytes, r[0].bytes + r[1].bytes,
	    (unsigned long long)(r[0].sum + r[1].sum));
	close(p[0]);
	close(p[1]);
}

static void *recv_run(void *arg)
{
	char buf[8];
	long n = recv(*(int *)arg, buf, 8, 0);

	return (void *)n;
}

static void close_during(void)
{
	pthread_t th;
	void *r;
	int p[2], fd;

	SECTION("close during recv");
	t_pair(p);
	fd = p[0];
	pthread_create(&th, NULL, recv_run, &fd);
	t_ms(60);
	R("close", close(p[0]));
	/* Linux: the sleeper keeps the file; data that comes still reaches it */
	R("peer writes", write(p[1], "late", 4));
	pthread_join(th, &r);
	SAY("recv got %ld\n", (long)r);
	t_wait(p[1], POLLIN);
	R("now closed", read(p[1], &fd, 4));
	close(p[1]);
}

static void *one_shot(void *arg)
{
	int p[2] = { -1, -1 };
	char buf[4];
	long ok;

	(void)arg;
	p[0] = t_connect(port);
	ok = read(p[0], buf, 4) == 2;
	close(p[0]);
	return (void *)ok;
}

static void *greeter(void *arg)
{
	int s;

	(void)arg;
	while ((s = accept(listener, NULL, NULL)) >= 0) {
		(void)!write(s, "hi", 2);
		close(s);
	}
	return NULL;
}

static void crowd(void)
{
	static pthread_t th[300];
	pthread_attr_t at;
	pthread_t g;
	long ok = 0;
	void *r;

	SECTION("three hundred threads that come and go");
	pthread_attr_init(&at);
	pthread_attr_setstacksize(&at, 128 << 10);
	listener = t_listener(512, &port);
	pthread_create(&g, NULL, greeter, NULL);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 300; i++)
			MUST(-pthread_create(&th[i], &at, one_shot, NULL));
		for (int i = 0; i < 300; i++) {
			pthread_join(th[i], &r);
			ok += (long)r;
		}
	}
	SAY("greeted %ld\n", ok);
	shutdown(listener, SHUT_RDWR);
	pthread_join(g, NULL);
	close(listener);
}

int main(void)
{
	t_watchdog(90);
	creators();
	sharing();
	close_during();
	crowd();
	return 0;
}

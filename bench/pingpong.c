/* pingpong.c - how long a small message takes there and back, with percentiles; plain sockets, no knowledge of the stack.
 *
 * usage: pingpong serve ADDRESS PORT
 *        pingpong ping ADDRESS PORT [-n rounds] [-s bytes] [-c connections] [-w warm-up rounds] [-t seconds]
 * One connection: one message in flight, blocking calls. More: each has one in flight, epoll.
 * Prints one JSON line: rounds, connections, bytes, seconds, rounds per second, min p50 p90 p99 p999 max in microseconds.
 * Every answer is compared with what was sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_BYTES 65536
#define MAX_CONNS 10000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "pingpong: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in address(const char *ip, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) {
		fprintf(stderr, "pingpong: %s: not an IPv4 address\n", ip);
		exit(2);
	}
	return a;
}

static void nodelay(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY");
}

static void serve(const char *ip, const char *port)
{
	static char buf[MAX_BYTES];
	struct sockaddr_in a = address(ip, port);
	struct epoll_event ev = { .events = EPOLLIN }, evs[128];
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);

	if (s < 0 || ep < 0)
		die("socket");
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 4096))
		die("bind, listen");
	ev.data.fd = s;
	if (epoll_ctl(ep, EPOLL_CTL_ADD, s, &ev))
		die("epoll_ctl");
	puts("listening");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, evs, 128, -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			int fd = evs[i].data.fd;

			if (fd == s) {
				int c = accept(s, NULL, NULL);

				if (c < 0)
					continue;
				nodelay(c);
				ev.data.fd = c;
				if (epoll_ctl(ep, EPOLL_CTL_ADD, c, &ev))
					die("epoll_ctl");
				continue;
			}
			ssize_t k = read(fd, buf, sizeof(buf)), done = 0;

			if (k <= 0) {
				close(fd);
				continue;
			}
			while (done < k) {
				ssize_t w = write(fd, buf + done, (size_t)(k - done));

				if (w <= 0) {
					close(fd);
					break;
				}
				done += w;
			}
		}
	}
}

static int by_value(const void *x, const void *y)
{
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;

	return a < b ? -1 : a > b;
}

struct conn {
	int fd;
	uint32_t got;
	uint64_t sent_at;
	uint8_t mark; /* first byte of the message in flight */
};

static void fire(struct conn *c, char *msg, size_t bytes)
{
	c->mark++;
	c->got = 0;
	memset(msg, c->mark, bytes);
	c->sent_at = now_ns();
	if (write(c->fd, msg, bytes) != (ssize_t)bytes)
		die("write");
}

/* Reads what came for c; true when the message is complete. */
static int collect(struct conn *c, char *buf, size_t bytes)
{
	ssize_t k = read(c->fd, buf, bytes - c->got);

	if (k <= 0) {
		errno = k ? errno : ECONNRESET;
		die("read");
	}
	for (ssize_t i = 0; i < k; i++)
		if ((uint8_t)buf[i] != c->mark) {
			fprintf(stderr, "pingpong: another byte came back than was sent\n");
			exit(1);
		}
	c->got += (uint32_t)k;
	return c->got == bytes;
}

static void ping(const char *ip, const char *port, uint64_t rounds, size_t bytes, int conns, uint64_t warm, double limit)
{
	static char msg[MAX_BYTES], buf[MAX_BYTES];
	struct sockaddr_in a = address(ip, port);
	struct conn *c = calloc((size_t)conns, sizeof(*c));
	uint32_t *t = malloc(rounds * sizeof(*t));
	struct epoll_event ev = { .events = EPOLLIN }, evs[256];
	uint64_t n = 0, begin = 0, end = 0, stop = 0;
	int ep = epoll_create1(0);

	if (!c || !t || ep < 0)
		die("memory");
	for (int i = 0; i < conns; i++) {
		c[i].fd = socket(AF_INET, SOCK_STREAM, 0);
		if (c[i].fd < 0 || connect(c[i].fd, (struct sockaddr *)&a, sizeof(a)))
			die("connect");
		nodelay(c[i].fd);
		ev.data.u32 = (uint32_t)i;
		if (conns > 1 && epoll_ctl(ep, EPOLL_CTL_ADD, c[i].fd, &ev))
			die("epoll_ctl");
	}
	for (int i = 0; i < conns; i++)
		fire(&c[i], msg, bytes);
	while (n < warm + rounds) {
		int k = 1;

		evs[0].data.u32 = 0;
		if (conns > 1) {
			k = epoll_wait(ep, evs, 256, -1);
			if (k < 0 && errno != EINTR)
				die("epoll_wait");
		}
		for (int i = 0; i < k && n < warm + rounds; i++) {
			struct conn *x = &c[evs[i].data.u32];

			if (!collect(x, buf, bytes))
				continue;
			end = now_ns();
			if (n >= warm)
				t[n - warm] = (uint32_t)(end - x->sent_at);
			if (++n == warm) {
				begin = end;
				stop = limit > 0 ? end + (uint64_t)(limit * 1e9) : UINT64_MAX;
			}
			if (n > warm && end > stop) {
				rounds = n - warm;
				break;
			}
			fire(x, msg, bytes);
		}
	}
	qsort(t, rounds, sizeof(*t), by_value);
	double s = (double)(end - begin) / 1e9;

#define AT(p) (t[(size_t)((double)(rounds - 1) * (p))] / 1e3)
	printf("{\"rounds\": %lu, \"connections\": %d, \"bytes\": %zu, \"seconds\": %.3f, \"per_second\": %.0f, \"min\": %.1f, "
	       "\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}\n",
	       (unsigned long)rounds, conns, bytes, s, (double)rounds / s, AT(0.0), AT(0.5), AT(0.9), AT(0.99), AT(0.999),
	       AT(1.0));
	for (int i = 0; i < conns; i++)
		close(c[i].fd);
	free(c);
	free(t);
}

int main(int argc, char **argv)
{
	uint64_t rounds = 100000, warm = 500;
	size_t bytes = 64;
	int conns = 1, opt;
	double limit = 0;

	if (argc >= 4 && !strcmp(argv[1], "serve")) {
		serve(argv[2], argv[3]);
	} else if (argc >= 4 && !strcmp(argv[1], "ping")) {
		optind = 4;
		while ((opt = getopt(argc, argv, "n:s:c:w:t:")) != -1) {
			switch (opt) {
			case 'n':
				rounds = strtoull(optarg, NULL, 10);
				break;
			case 's':
				bytes = strtoul(optarg, NULL, 10);
				break;
			case 'c':
				conns = atoi(optarg);
				break;
			case 'w':
				warm = strtoull(optarg, NULL, 10);
				break;
			case 't':
				limit = atof(optarg);
				break;
			default:
				return 2;
			}
		}
		if (rounds < 1 || warm < 1 || bytes < 1 || bytes > MAX_BYTES || conns < 1 || conns > MAX_CONNS) {
			fprintf(stderr, "pingpong: a number is out of its range\n");
			return 2;
		}
		ping(argv[2], argv[3], rounds, bytes, conns, warm, limit);
		return 0;
	}
	fprintf(stderr, "usage: pingpong serve|ping ADDRESS PORT [-n rounds] [-s bytes] [-c connections] [-w warm-up] [-t seconds]\n");
	return 2;
}

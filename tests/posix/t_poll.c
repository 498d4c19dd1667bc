/* t_poll.c - poll, ppoll, select, pselect: bits, timeouts, mixtures with kernel descriptors. */
#include "t.h"

#include <sys/eventfd.h>
#include <sys/select.h>

#define ALL (POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLRDBAND | POLLWRBAND)

static void *write_later(void *arg)
{
	t_ms(60);
	(void)!write(*(int *)arg, "12345678", 8);
	return NULL;
}

static void polls(void)
{
	struct pollfd f[4];
	pthread_t th;
	char buf[16];
	int p[2], ev, port, l;
	uint64_t t0;

	SECTION("poll");
	t_pair(p);
	t_poll("idle", p[0], ALL, 0);
	t_poll("idle, IN only", p[0], POLLIN, 0);
	t_poll("nothing asked", p[0], 0, 0);
	MUST(write(p[1], "x", 1));
	t_wait(p[0], POLLIN);
	t_poll("data", p[0], ALL, 0);
	t_poll("data, OUT asked", p[0], POLLOUT, 0);
	shutdown(p[1], SHUT_WR);
	t_wait(p[0], POLLRDHUP);
	t_poll("peer shut", p[0], ALL, 0);
	t_poll("peer shut, RDHUP", p[0], POLLRDHUP, 0);
	read(p[0], buf, 16);
	t_poll("eof", p[0], ALL, 0);
	shutdown(p[0], SHUT_WR);
	t_wait(p[0], POLLHUP);
	t_poll("both shut", p[0], ALL, 0);
	t_poll("both shut, nothing asked", p[0], 0, 0);
	t_wait(p[1], POLLHUP);
	t_poll("the other end", p[1], ALL, 100);
	close(p[1]);
	close(p[0]);
	t_pair(p);
	shutdown(p[0], SHUT_RD);
	t_poll("own SHUT_RD", p[0], ALL, 0);
	R("read", read(p[0], buf, 1));
	close(p[0]);
	close(p[1]);

	l = t_listener(3, &port);
	t_poll("listener idle", l, ALL, 0);
	p[0] = t_connect(port);
	t_wait(l, POLLIN);
	t_poll("listener ready", l, ALL, 0);
	p[1] = accept(l, NULL, NULL);
	t_poll("listener empty", l, ALL, 0);
	close(l);
	t_poll("closed", l, ALL, 0);

	SECTION("mixed");
	ev = eventfd(0, 0);
	f[0] = (struct pollfd){ p[0], POLLIN, 0x7f };
	f[1] = (struct pollfd){ ev, POLLIN, 0x7f };
	f[2] = (struct pollfd){ -1, POLLIN, 0x7f };
	f[3] = (struct pollfd){ p[1], POLLOUT, 0 };
	R("one writable", poll(f, 4, 1000));
	for (int i = 0; i < 4; i++)
		t_bits("revents", (uint32_t)(unsigned short)f[i].revents);
	f[3].events = POLLIN;
	t0 = t_now_ms();
	R("nothing", poll(f, 4, 50));
	SAY("waited %d\n", t_now_ms() - t0 >= 45);
	pthread_create(&th, NULL, write_later, &ev);
	R("the kernel's comes", poll(f, 4, 2000));
	for (int i = 0; i < 4; i++)
		t_bits("revents", (uint32_t)(unsigned short)f[i].revents);
	pthread_join(th, NULL);
	read(ev, buf, 8);
	pthread_create(&th, NULL, write_later, &p[1]);
	R("the stack's comes", poll(f, 4, 2000));
	for (int i = 0; i < 4; i++)
		t_bits("revents", (uint32_t)(unsigned short)f[i].revents);
	pthread_join(th, NULL);
	MUST(write(ev, "12345678", 8));
	R("both", poll(f, 4, 2000));
	f[2].fd = 1000000;
	f[1].fd = 900;
	R("with closed ones", poll(f, 4, -1));
	for (int i = 0; i < 4; i++)
		t_bits("revents", (uint32_t)(unsigned short)f[i].revents);
	/* the same socket twice */
	f[1] = f[0];
	f[1].events = POLLOUT;
	R("twice", poll(f, 2, 0));
	t_bits("a", (uint32_t)(unsigned short)f[0].revents);
	t_bits("b", (uint32_t)(unsigned short)f[1].revents);
	R("none", poll(NULL, 0, 10));
	R("ppoll", ppoll(f, 1, &(struct timespec){ 0, 1000 }, NULL));
	R("ppoll bad time", ppoll(f, 1, &(struct timespec){ 0, 1000000000 }, NULL));
	close(p[0]);
	close(p[1]);
	close(ev);
}

static void selects(void)
{
	struct timeval tv;
	fd_set in, out, ex;
	pthread_t th;
	char buf[16];
	int p[2], pp[2], r;

	SECTION("select");
	t_pair(p);
	MUST(pipe(pp));
#define FILL()                                                                                  \
	do {                                                                                    \
		FD_ZERO(&in);                                                                   \
		FD_ZERO(&out);                                                                  \
		FD_ZERO(&ex);                                                                   \
		FD_SET(p[0], &in);                                                              \
		FD_SET(pp[0], &in);                                                             \
		FD_SET(p[1], &out);                                                             \
		FD_SET(pp[1], &out);                                                            \
		FD_SET(p[0], &ex);                                                              \
	} while (0)
#define SHOW() SAY("in %d %d out %d %d ex %d\n", !!FD_ISSET(p[0], &in), !!FD_ISSET(pp[0], &in), !!FD_ISSET(p[1], &out), \
		   !!FD_ISSET(pp[1], &out), !!FD_ISSET(p[0], &ex))
	FILL();
	tv = (struct timeval){ 1, 0 };
	R("writable", select(64, &in, &out, &ex, &tv));
	SHOW();
	SAY("time left %s\n", tv.tv_sec == 0 && tv.tv_usec > 500000 ? "nearly all" : tv.tv_sec == 1 ? "nearly all" : "little");
	FILL();
	FD_ZERO(&out);
	tv = (struct timeval){ 0, 40000 };
	R("timeout", select(64, &in, &out, NULL, &tv));
	SHOW();
	SAY("left %ld %ld\n", (long)tv.tv_sec, (long)tv.tv_usec);
	pthread_create(&th, NULL, write_later, &p[1]);
	FILL();
	R("readable", select(64, &in, NULL, NULL, NULL));
	SAY("in %d\n", !!FD_ISSET(p[0], &in));
	pthread_join(th, NULL);
	read(p[0], buf, 16);
	shutdown(p[1], SHUT_WR);
	FILL();
	R("eof is readable", select(64, &in, NULL, NULL, NULL));
	r = p[1];
	close(p[1]);
	FD_ZERO(&in);
	FD_SET(p[0], &in);
	FD_SET(r, &in);
	R("closed in set", select(64, &in, NULL, NULL, NULL));
	R("bad n", select(-1, NULL, NULL, NULL, NULL));
	R("pselect", pselect(0, NULL, NULL, NULL, &(struct timespec){ 0, 1000 }, NULL));
	close(p[0]);
	close(pp[0]);
	close(pp[1]);
}

/* More descriptors than fit on the library's own stack frame. */
static void many(void)
{
	static struct pollfd f[400];
	int port, l = t_listener(256, &port), n = 0;

	SECTION("many");
	for (int i = 0; i < 150; i++) {
		f[n].fd = t_connect(port);
		f[n++].events = POLLIN;
		f[n].fd = accept(l, NULL, NULL);
		f[n++].events = POLLIN;
	}
	R("quiet", poll(f, (nfds_t)n, 20));
	for (int i = 0; i < 300; i += 60)
		MUST(write(f[i].fd, "x", 1));
	t_wait(f[241].fd, POLLIN);
	R("five", poll(f, (nfds_t)n, 1000));
	for (int i = 0; i < n; i++)
		if (f[i].revents)
			SAY("%d %x\n", i, (unsigned)f[i].revents);
	for (int i = 0; i < n; i++)
		close(f[i].fd);
	close(l);
}

int main(void)
{
	t_watchdog(60);
	polls();
	selects();
	many();
	return 0;
}

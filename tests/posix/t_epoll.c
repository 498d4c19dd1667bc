/* t_epoll.c - epoll: level, edge, one-shot, exclusive; errors; kernel descriptors beside stack sockets; nesting; several threads. */
#include "t.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>

static int ctl(int ep, int op, int fd, uint32_t ev, uint32_t data)
{
	struct epoll_event e = { .events = ev, .data.u32 = data };

	return epoll_ctl(ep, op, fd, &e);
}

static void show(const char *name, int ep, int ms)
{
	struct epoll_event e[8];
	int n = epoll_wait(ep, e, 8, ms);

	if (n < 0) {
		SAY("%s: %s\n", name, t_err(errno));
		return;
	}
	SAY("%s: %d\n", name, n);
	/* the order among several is not promised: by data */
	for (uint32_t d = 0; d < 100; d++)
		for (int i = 0; i < n; i++)
			if (e[i].data.u32 == d) {
				char t[32];

				snprintf(t, sizeof(t), "  %u", d);
				t_bits(t, e[i].events);
			}
}

/* Level-triggered events of kernel and stack descriptors may come by turns: the union of several looks. */
static void gather(const char *name, int ep, int ms)
{
	struct epoll_event e[8];
	uint32_t got[100] = { 0 };
	int kinds = 0;

	for (int look = 0; look < 8; look++) {
		int n = epoll_wait(ep, e, 8, look ? 1 : ms);

		t_ms(1);
		for (int i = 0; i < n; i++) {
			kinds += !got[e[i].data.u32];
			got[e[i].data.u32] |= e[i].events;
		}
	}
	SAY("%s: %d\n", name, kinds);
	for (uint32_t d = 0; d < 100; d++)
		if (got[d]) {
			char t[32];

			snprintf(t, sizeof(t), "  %u", d);
			t_bits(t, got[d]);
		}
}

static void levels(void)
{
	char buf[16];
	int p[2], ep = epoll_create1(EPOLL_CLOEXEC);

	SECTION("level");
	t_pair(p);
	R("add", ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	show("idle", ep, 0);
	MUST(write(p[1], "ab", 2));
	show("data", ep, 1000);
	show("still", ep, 0);
	read(p[0], buf, 1);
	show("half read", ep, 0);
	read(p[0], buf, 1);
	show("all read", ep, 0);
	R("mod", ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 2));
	show("out", ep, 0);
	shutdown(p[1], SHUT_WR);
	t_wait(p[0], POLLRDHUP);
	show("rdhup", ep, 1000);
	R("mod none", ctl(ep, EPOLL_CTL_MOD, p[0], 0, 3));
	show("nothing asked", ep, 0);
	shutdown(p[0], SHUT_WR);
	t_wait(p[0], POLLHUP);
	show("hup always", ep, 1000);
	R("del", ctl(ep, EPOLL_CTL_DEL, p[0], 0, 0));
	show("gone", ep, 0);
	close(p[0]);
	close(p[1]);
	close(ep);

	SECTION("edge");
	ep = epoll_create(1);
	t_pair(p);
	R("add", ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLOUT | EPOLLET, 1));
	show("first edge", ep, 0);
	show("no second", ep, 0);
	MUST(write(p[1], "ab", 2));
	show("data", ep, 1000);
	show("not again", ep, 0);
	read(p[0], buf, 1);
	show("not after a part", ep, 0);
	MUST(write(p[1], "cd", 2));
	t_ms(30);
	show("new data", ep, 1000);
	R("mod rearms", ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 2));
	show("rearmed", ep, 1000);
	show("once", ep, 0);
	close(p[0]);
	close(p[1]);
	close(ep);

	SECTION("oneshot");
	ep = epoll_create1(0);
	t_pair(p);
	R("add", ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLONESHOT, 1));
	MUST(write(p[1], "ab", 2));
	show("once", ep, 1000);
	show("no more", ep, 0);
	MUST(write(p[1], "ab", 2));
	t_ms(30);
	show("still no more", ep, 0);
	R("mod", ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 2));
	show("again", ep, 1000);
	close(p[0]);
	close(p[1]);
	close(ep);
}

static void errors(void)
{
	struct epoll_event e = { 0 };
	int p[2], ep = epoll_create1(0), ep2 = epoll_create1(0), fd;

	SECTION("errors");
	t_pair(p);
	R("create 0", epoll_create(0));
	R("create1 bad", epoll_create1(0x1234));
	R("add", ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R("add twice", ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R("mod absent", ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN, 1));
	R("del absent", ctl(ep, EPOLL_CTL_DEL, p[1], EPOLLIN, 1));
	R("del absent in empty", ctl(ep2, EPOLL_CTL_DEL, p[1], EPOLLIN, 1));
	R("bad op", ctl(ep, 77, p[0], EPOLLIN, 1));
	R("not an epoll", ctl(p[1], EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R("not an epoll (pipe)", ctl(1, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R("closed epoll", ctl(1000, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R("closed fd", ctl(ep, EPOLL_CTL_ADD, 1000, EPOLLIN, 1));
	R("itself", ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN, 1));
	fd = open("/etc/passwd", O_RDONLY);
	R("regular file", ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN, 1));
	close(fd);
	R("exclusive with oneshot", ctl(ep, EPOLL_CTL_ADD, p[1], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
	R("exclusive", ctl(ep, EPOLL_CTL_ADD, p[1], EPOLLIN | EPOLLEXCLUSIVE, 1));
	R("mod of exclusive", ctl(ep, EPOLL_CTL_MOD, p[1], EPOLLIN, 1));
	R("mod to exclusive", ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLEXCLUSIVE, 1));
	R("maxevents 0", epoll_wait(ep, &e, 0, 0));
	R("maxevents -1", epoll_wait(ep, &e, -1, 0));
	R("wait on a socket", epoll_wait(p[0], &e, 1, 0));
	R("wait on closed", epoll_wait(1000, &e, 1, 0));
	fd = p[0];
	close(p[0]);
	R("del closed", ctl(ep, EPOLL_CTL_DEL, fd, 0, 0));
	R("read an epoll", read(ep, &e, sizeof(e)));
	SECTION("closing a registered one");
	show("close of the peer", ep, 200);
	close(p[1]);
	show("nothing left", ep, 0);
	t_pair(p);
	MUST(write(p[1], "x", 1));
	R("add", ctl(ep2, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	fd = dup(p[0]);
	close(p[0]);
	t_wait(fd, POLLIN);
	show("a duplicate keeps it registered", ep2, 1000);
	close(fd);
	show("gone with the last", ep2, 0);
	close(p[1]);
	close(ep);
	close(ep2);
}

static void mixed(void)
{
	struct itimerspec it = { .it_value = { 0, 30000000 } };
	uint64_t one = 1;
	char buf[16];
	int p[2], pp[2], ep = epoll_create1(0), ep2 = epoll_create1(0), outer = epoll_create1(0), ev = eventfd(0, EFD_NONBLOCK),
		tfd = timerfd_create(CLOCK_MONOTONIC, 0);

	SECTION("kernel descriptors beside");
	t_pair(p);
	MUST(pipe(pp));
	R("pipe", ctl(ep, EPOLL_CTL_ADD, pp[0], EPOLLIN, 10));
	R("socket", ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
	R("eventfd", ctl(ep, EPOLL_CTL_ADD, ev, EPOLLIN, 11));
	R("timer", ctl(ep, EPOLL_CTL_ADD, tfd, EPOLLIN, 12));
	show("idle", ep, 0);
	MUST(write(pp[1], "x", 1));
	show("pipe", ep, 1000);
	MUST(write(p[1], "y", 1));
	t_wait(p[0], POLLIN);
	gather("pipe and socket", ep, 1000);
	MUST(write(ev, &one, 8));
	gather("three", ep, 1000);
	read(pp[0], buf, 1);
	read(p[0], buf, 1);
	read(ev, buf, 8);
	timerfd_settime(tfd, 0, &it, NULL);
	show("timer", ep, 2000);
	read(tfd, buf, 8);
	show("idle", ep, 0);

	SECTION("two instances and poll");
	R("add", ctl(ep2, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET, 5));
	MUST(write(p[1], "y", 1));
	show("one", ep, 1000);
	show("other", ep2, 1000);
	t_poll("poll", p[0], POLLIN, 0);
	show("one again", ep, 0);
	show("edge not again", ep2, 0);

	SECTION("nested");
	t_poll("poll an epoll", ep, POLLIN, 100);
	R("nest", ctl(outer, EPOLL_CTL_ADD, ep, EPOLLIN, 20));
	show("outer", outer, 1000);
	read(p[0], buf, 1);
	show("outer quiet", outer, 0);
	t_poll("poll quiet", ep, POLLIN, 0);
	MUST(write(p[1], "z", 1));
	show("outer again", outer, 1000);
	show("inner", ep, 1000);
	MUST(write(pp[1], "x", 1));
	read(p[0], buf, 1);
	show("outer by pipe", outer, 1000);
	show("inner by pipe", ep, 1000);
	R("loop", ctl(ep, EPOLL_CTL_ADD, outer, EPOLLIN, 1));
	close(p[0]);
	close(p[1]);
	close(ep);
	close(ep2);
	close(outer);
	close(ev);
	close(tfd);
	close(pp[0]);
	close(pp[1]);
}

struct waiter {
	int ep, got;
	pthread_t th;
};

static void *wait_run(void *arg)
{
	struct waiter *w = arg;
	struct epoll_event e;

	w->got = epoll_wait(w->ep, &e, 1, 400);
	return NULL;
}

static void *write_later(void *arg)
{
	t_ms(60);
	(void)!write(*(int *)arg, "1", 1);
	return NULL;
}

static void threads(void)
{
	struct waiter w[6];
	struct epoll_event e;
	pthread_t th;
	sigset_t set;
	uint64_t t0;
	int p[2], woken = 0, ep = epoll_create1(0);

	SECTION("threads");
	t_pair(p);
	ctl(ep, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET, 1);
	for (int i = 0; i < 6; i++) {
		w[i] = (struct waiter){ .ep = ep, .got = -2 };
		pthread_create(&w[i].th, NULL, wait_run, &w[i]);
	}
	t_ms(80);
	MUST(write(p[1], "x", 1));
	for (int i = 0; i < 6; i++) {
		pthread_join(w[i].th, NULL);
		woken += w[i].got == 1;
	}
	SAY("one event wakes %d\n", woken);
	SECTION("sleep and wake");
	ctl(ep, EPOLL_CTL_MOD, p[0], EPOLLIN, 1);
	read(p[0], &e, 1);
	pthread_create(&th, NULL, write_later, &p[1]);
	t0 = t_now_ms();
	R("wait", epoll_wait(ep, &e, 1, -1));
	t0 = t_now_ms() - t0;
	SAY("%s\n", t0 >= 50 && t0 < 400 ? "in time" : "not in time");
	pthread_join(th, NULL);
	sigemptyset(&set);
	R("pwait", epoll_pwait(ep, &e, 1, 10, &set));
	R("pwait2", epoll_pwait2(ep, &e, 1, &(struct timespec){ 0, 10000000 }, &set));
	read(p[0], &e, 1);
	t0 = t_now_ms();
	R("pwait2 timeout", epoll_pwait2(ep, &e, 1, &(struct timespec){ 0, 30000000 }, NULL));
	SAY("waited %d\n", t_now_ms() - t0 >= 29);
	R("pwait2 bad time", epoll_pwait2(ep, &e, 1, &(struct timespec){ 0, -1 }, NULL));
	close(p[0]);
	close(p[1]);
	close(ep);
}

/* Registered before it is anything: event libraries do that. */
static void early(void)
{
	struct sockaddr_in sa = t_sa(t_addr(), 0);
	int ep = epoll_create1(0), l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), s;
	char buf[4];

	SECTION("registered before bind and connect");
	R("add l", ctl(ep, EPOLL_CTL_ADD, l, EPOLLIN, 1));
	R("add c", ctl(ep, EPOLL_CTL_ADD, c, EPOLLIN | EPOLLOUT | EPOLLET, 2));
	show("fresh", ep, 0);
	MUST(bind(l, (struct sockaddr *)&sa, sizeof(sa)));
	MUST(listen(l, 4));
	sa = t_sa(t_addr(), t_port(l));
	(void)connect(c, (struct sockaddr *)&sa, sizeof(sa));
	t_wait(c, POLLOUT);
	t_wait(l, POLLIN);
	show("both", ep, 1000);
	s = accept(l, NULL, NULL);
	show("client edge only", ep, 0);
	MUST(write(s, "x", 1));
	t_wait(c, POLLIN);
	show("client", ep, 1000);
	R("read", read(c, buf, 4));
	close(l);
	close(s);
	close(c);
	close(ep);
}

int main(void)
{
	t_watchdog(60);
	levels();
	errors();
	mixed();
	threads();
	early();
	return 0;
}

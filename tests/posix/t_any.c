/* t_any.c - listeners on ANY and on ::, reached by the address under test and by loopback; ports on both sides. */
#include "t.h"

static void serve(int l, const char *to, int port, int ep)
{
	struct sockaddr_in sa = t_sa(to, port), me;
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer), mlen = sizeof(me);
	struct epoll_event e;
	char buf[16], name[64];
	int c, s;

	SAY("-- %s\n", to);
	c = socket(AF_INET, SOCK_STREAM, 0);
	R("connect", connect(c, (struct sockaddr *)&sa, sizeof(sa)));
	R("getsockname", getsockname(c, (struct sockaddr *)&me, &mlen));
	SAY("from %s\n", inet_ntoa(me.sin_addr));
	if (ep >= 0) {
		R("epoll", epoll_wait(ep, &e, 1, 2000));
		t_bits("events", e.events);
	}
	t_poll("poll", l, POLLIN, 2000);
	s = accept4(l, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK);
	OK("accept", s);
	if (peer.ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&peer)->sin6_addr, name, sizeof(name));
	else
		inet_ntop(AF_INET, &((struct sockaddr_in *)&peer)->sin_addr, name, sizeof(name));
	SAY("peer %s len %u nonblock %d\n", name, len, !!(fcntl(s, F_GETFL) & O_NONBLOCK));
	R("write", write(c, "hello", 5));
	t_wait(s, POLLIN);
	R("read", read(s, buf, 16));
	R("back", write(s, "olleh", 5));
	R("read", read(c, buf, 16));
	close(c);
	t_wait(s, POLLIN);
	R("eof", read(s, buf, 16));
	close(s);
	t_nonblock(l, true);
	R("nothing more", accept(l, NULL, NULL));
	t_nonblock(l, false);
}

struct later {
	const char *to;
	int port;
};

static void *connect_later(void *arg)
{
	struct later *l = arg;
	struct sockaddr_in sa = t_sa(l->to, l->port);
	int c = socket(AF_INET, SOCK_STREAM, 0);

	t_ms(80);
	connect(c, (struct sockaddr *)&sa, sizeof(sa));
	t_ms(50);
	close(c);
	return NULL;
}

static void any(int family)
{
	const char *to[2] = { t_addr(), "127.0.0.1" };
	struct sockaddr_in sa = { .sin_family = AF_INET };
	struct sockaddr_in6 sa6 = { .sin6_family = AF_INET6 };
	struct later la;
	pthread_t th;
	int one = 1, l = (int)MUST(socket(family, SOCK_STREAM, 0)), port, ep = epoll_create1(0), fd, s;

	SECTION(family == AF_INET ? "ANY" : "::");
	R("add early", epoll_ctl(ep, EPOLL_CTL_ADD, l, &(struct epoll_event){ .events = EPOLLIN }));
	MUST(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	if (family == AF_INET)
		R("bind", bind(l, (struct sockaddr *)&sa, sizeof(sa)));
	else
		R("bind", bind(l, (struct sockaddr *)&sa6, sizeof(sa6)));
	R("listen", listen(l, 8));
	port = t_port(l);
	SAY("port %d\n", port > 0);
	for (int i = 0; i < 4; i++)
		serve(l, to[i & 1], port, i < 2 ? ep : -1);
	/* a sleeping accept is woken from both sides */
	for (int i = 0; i < 2; i++) {
		la = (struct later){ to[i], port };
		pthread_create(&th, NULL, connect_later, &la);
		OK("blocking accept", s = accept(l, NULL, NULL));
		close(s);
		pthread_join(th, NULL);
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	sa = t_sa(t_addr(), port);
	R("same port on the address", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	sa = t_sa("127.0.0.1", port);
	R("same port on loopback", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	close(fd);
	R("shutdown", shutdown(l, SHUT_RD));
	close(l);
	close(ep);
	for (int i = 0; i < 2; i++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		sa = t_sa(to[i], port);
		R("connect after close", connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
		close(fd);
	}
}

/* A datagram socket keeps its port wherever it is connected to. */
static void datagrams(void)
{
	struct sockaddr_in to[2] = { t_sa(t_addr(), 9), t_sa("127.0.0.1", 0) }, any = { .sin_family = AF_INET }, from;
	socklen_t len = sizeof(from);
	int a = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), r = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), port;
	char buf[8];

	SECTION("datagrams both ways");
	MUST(bind(r, (struct sockaddr *)&to[1], sizeof(to[1])));
	to[1].sin_port = htons((uint16_t)t_port(r));
	MUST(bind(a, (struct sockaddr *)&any, sizeof(any)));
	port = t_port(a);
	for (int i = 0; i < 5; i++) {
		R("connect", connect(a, (struct sockaddr *)&to[i & 1], sizeof(to[0])));
		SAY("same port %d\n", t_port(a) == port);
		if (i & 1) {
			R("send", send(a, "hi", 2, 0));
			R("received", recvfrom(r, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len));
			SAY("from that port %d\n", ntohs(from.sin_port) == port);
			R("back", sendto(r, "there", 5, 0, (struct sockaddr *)&from, sizeof(from)));
			R("received", recv(a, buf, sizeof(buf), 0));
		}
	}
	close(a);
	close(r);
}

static void odd(void)
{
	struct sockaddr_in6 sa6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in sa;
	int one = 1, fd, l;
	socklen_t len = sizeof(sa);

	SECTION("listen without bind");
	l = socket(AF_INET, SOCK_STREAM, 0);
	R("listen", listen(l, 2));
	R("getsockname", getsockname(l, (struct sockaddr *)&sa, &len));
	SAY("any %d port %d\n", sa.sin_addr.s_addr == 0, sa.sin_port != 0);
	fd = t_connect(t_port(l));
	close(fd);
	close(l);
	SECTION("v6only");
	l = socket(AF_INET6, SOCK_STREAM, 0);
	R("v6only", setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)));
	R("bind", bind(l, (struct sockaddr *)&sa6, sizeof(sa6)));
	R("listen", listen(l, 2));
	sa = t_sa("127.0.0.1", t_port(l));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	R("not by IPv4", connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
	close(fd);
	close(l);
	SECTION("mapped");
	l = socket(AF_INET6, SOCK_STREAM, 0);
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &sa6.sin6_addr);
	sa6.sin6_port = htons(1);
	R("connect mapped refused", connect(l, (struct sockaddr *)&sa6, sizeof(sa6)));
	close(l);
	{
		char text[64];
		int port, s, c;

		l = t_listener(2, &port);
		c = socket(AF_INET6, SOCK_STREAM, 0);
		snprintf(text, sizeof(text), "::ffff:%s", t_addr());
		inet_pton(AF_INET6, text, &sa6.sin6_addr);
		sa6.sin6_port = htons((uint16_t)port);
		R("connect mapped", connect(c, (struct sockaddr *)&sa6, sizeof(sa6)));
		len = sizeof(sa6);
		R("getpeername", getpeername(c, (struct sockaddr *)&sa6, &len));
		SAY("%s len %u\n", inet_ntop(AF_INET6, &sa6.sin6_addr, text, sizeof(text)), len);
		s = accept(l, NULL, NULL);
		R("write", write(c, "six", 3));
		R("read", read(s, text, 8));
		close(c);
		close(s);
		close(l);
	}
	SECTION("one socket tried on both sides");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	sa = t_sa(t_addr(), 1);
	R("refused there", connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
	sa = t_sa("127.0.0.1", 1);
	R("refused here", connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
	close(fd);
}

int main(void)
{
	t_watchdog(60);
	any(AF_INET);
	any(AF_INET6);
	datagrams();
	odd();
	return 0;
}

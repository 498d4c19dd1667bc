/* t_fastopen.c - TCP Fast Open as a client: MSG_FASTOPEN and TCP_FASTOPEN_CONNECT, blocking and not, with a cookie and without, more than a SYN holds,
 * and ends before anything was written. The server sends back what it gets. */
#include "t.h"

#ifndef TCP_FASTOPEN_NO_COOKIE
#define TCP_FASTOPEN_NO_COOKIE 34
#endif
#define PORT 7413
#define BIG 300000

static int listener;
static char big[BIG], back[BIG];

static void *echo(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static __thread char buf[65536];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t off = 0, w; off < n; off += w)
			if ((w = write(fd, buf + off, n - off)) <= 0)
				goto out;
out:
	close(fd);
	return NULL;
}

static void *serve(void *arg)
{
	pthread_t th;
	int fd;

	(void)arg;
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		pthread_create(&th, NULL, echo, (void *)(intptr_t)fd);
		pthread_detach(th);
	}
	return NULL;
}

static int tcp(int flags) { return MUST(socket(AF_INET, SOCK_STREAM | flags, 0)); }

static void one(int fd, int opt) { R("setsockopt", setsockopt(fd, IPPROTO_TCP, opt, &(int){ 1 }, sizeof(int))); }

static ssize_t read_all(int fd, char *p, size_t n)
{
	size_t got = 0;
	ssize_t r;

	while (got < n && (r = read(fd, p + got, n - got)) > 0)
		got += r;
	return got;
}

static void syn_data(int fd)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);

	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	SAY("data in the SYN: %s\n", ti.tcpi_options & 32 /* TCPI_OPT_SYN_DATA */ ? "yes" : "no");
}

static void polled(int fd)
{
	struct pollfd p = { fd, POLLIN | POLLOUT };

	R("poll", poll(&p, 1, 0));
	SAY("revents: %#x\n", p.revents);
}

static void established(int fd)
{
	struct pollfd p = { fd, POLLOUT };

	MUST(poll(&p, 1, 5000));
	SAY("SO_ERROR: %d\n", t_so_error(fd));
}

int main(void)
{
	struct sockaddr_in sa = t_sa(t_addr(), PORT), nobody = t_sa(t_addr(), PORT + 1), none = { .sin_family = AF_UNSPEC };
	const struct sockaddr *to = (void *)&sa;
	socklen_t len = sizeof(sa);
	char buf[64] = { 0 };
	struct iovec iov[3];
	struct msghdr msg;
	pthread_t th;
	int fd;

	for (int i = 0; i < BIG; i++)
		big[i] = (char)(i * 31 + (i >> 8));
	listener = tcp(0);
	MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)));
	MUST(bind(listener, to, len));
	MUST(setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &(int){ 16 }, sizeof(int)));
	MUST(listen(listener, 16));
	pthread_create(&th, NULL, serve, NULL);

	SECTION("without a cookie, not blocking");
	fd = tcp(SOCK_NONBLOCK);
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, to, len));
	established(fd);
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, to, len));
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, to, len));
	syn_data(fd);
	close(fd);

	SECTION("with a cookie, blocking");
	fd = tcp(0);
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, to, len));
	R("read", read_all(fd, buf, 5));
	SAY("%.5s\n", buf);
	syn_data(fd);
	R("sendto", sendto(fd, "again", 5, MSG_FASTOPEN, to, len));
	close(fd);

	SECTION("not blocking");
	fd = tcp(0);
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN | MSG_DONTWAIT, to, len));
	R("read", read_all(fd, buf, 5));
	syn_data(fd);
	close(fd);

	SECTION("more than a SYN holds");
	fd = tcp(0);
	R("sendto", sendto(fd, big, BIG, MSG_FASTOPEN, to, len));
	R("read", read_all(fd, back, BIG));
	SAY("%s\n", memcmp(big, back, BIG) ? "differs" : "the same");
	syn_data(fd);
	close(fd);

	SECTION("from several places");
	memset(back, 0, BIG);
	iov[0] = (struct iovec){ big, 7 };
	iov[1] = (struct iovec){ big + 7, 0 };
	iov[2] = (struct iovec){ big + 7, BIG - 7 };
	msg = (struct msghdr){ .msg_name = &sa, .msg_namelen = len, .msg_iov = iov, .msg_iovlen = 3 };
	fd = tcp(0);
	R("sendmsg", sendmsg(fd, &msg, MSG_FASTOPEN));
	R("read", read_all(fd, back, BIG));
	SAY("%s\n", memcmp(big, back, BIG) ? "differs" : "the same");
	close(fd);

	SECTION("TCP_FASTOPEN_CONNECT");
	fd = tcp(SOCK_NONBLOCK);
	one(fd, TCP_FASTOPEN_CONNECT);
	R("connect", connect(fd, to, len));
	R("connect", connect(fd, to, len));
	polled(fd);
	len = sizeof(sa);
	R("getpeername", getpeername(fd, (void *)&(struct sockaddr_in){ 0 }, &len));
	len = sizeof(sa);
	R("read", read(fd, buf, sizeof(buf)));
	R("write", write(fd, "hello", 5));
	established(fd);
	fcntl(fd, F_SETFL, 0);
	R("read", read_all(fd, buf, 5));
	syn_data(fd);
	one(fd, TCP_FASTOPEN_CONNECT);
	close(fd);

	SECTION("blocking");
	memset(back, 0, BIG);
	fd = tcp(0);
	one(fd, TCP_FASTOPEN_CONNECT);
	R("connect", connect(fd, to, len));
	R("writev", writev(fd, iov, 3));
	R("read", read_all(fd, back, BIG));
	SAY("%s\n", memcmp(big, back, BIG) ? "differs" : "the same");
	syn_data(fd);
	close(fd);

	SECTION("epoll");
	fd = tcp(SOCK_NONBLOCK);
	one(fd, TCP_FASTOPEN_CONNECT);
	{
		int ep = MUST(epoll_create1(0));
		struct epoll_event ev = { .events = EPOLLOUT | EPOLLET, .data.fd = fd };

		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
		R("epoll_wait", epoll_wait(ep, &ev, 1, 0));
		R("connect", connect(fd, to, len));
		R("write", write(fd, "x", 1));
		R("epoll_wait", epoll_wait(ep, &ev, 1, 5000));
		SAY("events: %#x\n", ev.events);
		established(fd);
		close(ep);
	}
	close(fd);

	SECTION("never written");
	fd = tcp(0);
	one(fd, TCP_FASTOPEN_CONNECT);
	R("connect", connect(fd, to, len));
	R("close", close(fd));
	fd = tcp(0);
	one(fd, TCP_FASTOPEN_CONNECT);
	R("connect", connect(fd, to, len));
	R("connect to nobody", connect(fd, (void *)&none, sizeof(none)));
	R("write", send(fd, "x", 1, MSG_NOSIGNAL));
	close(fd);

	SECTION("nobody there");
	fd = tcp(0);
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, (void *)&nobody, len));
	close(fd);
	fd = tcp(0);
	one(fd, TCP_FASTOPEN_CONNECT);
	R("connect", connect(fd, (void *)&nobody, len));
	R("write", send(fd, "x", 1, MSG_NOSIGNAL));
	R("write", send(fd, "x", 1, MSG_NOSIGNAL));
	close(fd);

	SECTION("the kernel's address");
	{
		struct sockaddr_in lo = t_sa("127.0.0.1", PORT);
		int l = tcp(0), c;

		MUST(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)));
		MUST(bind(l, (void *)&lo, sizeof(lo)));
		MUST(listen(l, 1));
		fd = tcp(0);
		R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, (void *)&lo, len));
		c = MUST(accept(l, NULL, NULL));
		R("read", read_all(c, buf, 5));
		R("write", write(c, "there", 5));
		R("read", read_all(fd, buf, 5));
		R("connect", connect(fd, to, len));
		close(c);
		close(fd);
		close(l);
	}

	SECTION("without an address");
	fd = tcp(SOCK_NONBLOCK);
	R("connect", connect(fd, to, len));
	R("send", send(fd, "hello", 5, MSG_FASTOPEN));
	established(fd);
	R("send", send(fd, "hello", 5, MSG_FASTOPEN));
	R("send", send(fd, "hello", 5, MSG_FASTOPEN));
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, to, 1));
	R("connect", connect(fd, to, 0));
	close(fd);
	R("on a listener", send(listener, "hello", 5, MSG_FASTOPEN));

	SECTION("wrong");
	fd = tcp(0);
	R("send", send(fd, "hello", 5, MSG_FASTOPEN));
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, (void *)&none, sizeof(none)));
	R("sendto", sendto(fd, "hello", 5, MSG_FASTOPEN, to, 4));
	R("connect option 2", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){ 2 }, sizeof(int)));
	R("connect option -1", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){ -1 }, sizeof(int)));
	one(fd, TCP_FASTOPEN_NO_COOKIE);
	close(fd);
	R("on a listener", sendto(listener, "hello", 5, MSG_FASTOPEN, to, len));
	R("option of a listener", setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){ 1 }, sizeof(int)));
	shutdown(listener, SHUT_RDWR);
	pthread_join(th, NULL);
	return 0;
}

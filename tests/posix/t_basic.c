/* t_basic.c - one connection from socket() to close(), names, half-close, end of stream behind unread data. */
#include "t.h"

static void walk(void)
{
	struct sockaddr_in sa, peer;
	socklen_t len;
	char buf[64];
	int port, l = t_listener(4, &port), c, s, v;

	SECTION("walk");
	SAY("port %s\n", port > 0 ? "chosen" : "none");
	len = sizeof(v);
	R("acceptconn", getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &v, &len));
	SAY("listening %d\n", v);
	c = t_connect(port);
	len = sizeof(peer);
	s = accept(l, (struct sockaddr *)&peer, &len);
	OK("accept", s);
	SAY("peer family %d len %u addr %s\n", peer.sin_family, len, inet_ntoa(peer.sin_addr));
	SAY("peer port is the client's: %d\n", ntohs(peer.sin_port) == t_port(c));
	len = sizeof(sa);
	R("getpeername", getpeername(c, (struct sockaddr *)&sa, &len));
	SAY("name %s port right %d\n", inet_ntoa(sa.sin_addr), ntohs(sa.sin_port) == port);
	len = sizeof(sa);
	R("getsockname", getsockname(s, (struct sockaddr *)&sa, &len));
	SAY("name %s port right %d\n", inet_ntoa(sa.sin_addr), ntohs(sa.sin_port) == port);
	len = 3;
	memset(&sa, 0x55, sizeof(sa));
	R("getsockname short", getsockname(s, (struct sockaddr *)&sa, &len));
	SAY("len %u family %d\n", len, sa.sin_family);
	R("write", write(c, "hello", 5));
	R("read", read(s, buf, sizeof(buf)));
	R("zero write", write(c, "", 0));
	R("zero read", read(s, buf, 0));
	R("send", send(s, "world!", 6, 0));
	R("recv 3", recv(c, buf, 3, 0));
	R("recv rest", recv(c, buf, sizeof(buf), 0));
	R("shutdown wr", shutdown(c, SHUT_WR));
	R("read eof", read(s, buf, sizeof(buf)));
	R("read eof again", read(s, buf, sizeof(buf)));
	R("half open write", write(s, "tail", 4));
	t_wait(c, POLLIN);
	R("read tail", read(c, buf, sizeof(buf)));
	R("close s", close(s));
	R("read after close", read(c, buf, sizeof(buf)));
	R("close c", close(c));
	R("close again", close(c));
	R("close l", close(l));
	R("read closed", read(c, buf, 1));
}

/* What the original loses: the end of a stream behind unread data; FIN together with data. */
static void stream_end(void)
{
	char buf[100000];
	size_t total = 0;
	ssize_t n;
	int p[2];

	SECTION("end of stream behind unread data");
	t_pair(p);
	memset(buf, 'x', sizeof(buf));
	for (int i = 0; i < 3; i++)
		R("write", write(p[0], buf, 10000));
	R("close", close(p[0]));
	t_ms(50);
	while ((n = read(p[1], buf, 7777)) > 0)
		total += (size_t)n;
	SAY("read %zu then %zd\n", total, n);
	t_poll("poll", p[1], POLLIN | POLLOUT | POLLRDHUP, 0);
	close(p[1]);

	t_pair(p);
	MUST(write(p[0], "data", 4));
	shutdown(p[0], SHUT_WR);
	t_wait(p[1], POLLRDHUP);
	t_poll("data and fin", p[1], POLLIN | POLLRDHUP, 1000);
	R("read", read(p[1], buf, sizeof(buf)));
	R("eof", read(p[1], buf, sizeof(buf)));
	close(p[0]);
	close(p[1]);
}

static void vectors(void)
{
	char a[4], b[3], c[16];
	struct iovec iov[3] = { { "one", 3 }, { "", 0 }, { "three", 5 } };
	struct iovec in[3] = { { a, 4 }, { b, 3 }, { c, 16 } };
	void *volatile nowhere = NULL;
	int p[2];

	SECTION("vectors");
	t_pair(p);
	R("writev", writev(p[0], iov, 3));
	t_ms(30);
	R("readv", readv(p[1], in, 3));
	SAY("%.4s|%.3s|%.1s\n", a, b, c);
	/* an empty vector may point nowhere; one with bytes may not */
	iov[0] = (struct iovec){ NULL, 0 };
	in[0] = (struct iovec){ nowhere, 0 };
	R("writev empty first", writev(p[0], iov, 3));
	t_ms(30);
	R("read NULL", read(p[1], nowhere, 3));
	R("readv empty first", readv(p[1], in, 3));
	R("write NULL", write(p[0], nowhere, 3));
	iov[0].iov_len = 2;
	R("writev NULL", writev(p[0], iov, 3));
	iov[0] = (struct iovec){ "one", 3 };
	R("writev 0", writev(p[0], iov, 0));
	R("writev -1", writev(p[0], iov, -1));
	R("writev 1025", writev(p[0], iov, 1025));
	R("pread", pread(p[1], a, 1, 0));
	R("pwrite", pwrite(p[1], a, 1, 0));
	R("lseek", lseek(p[1], 0, SEEK_SET));
	close(p[0]);
	close(p[1]);
}

static void errors(void)
{
	struct sockaddr_in sa = t_sa(t_addr(), 0);
	char buf[8];
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0), l, port, p[2];

	SECTION("errors");
	R("read unconnected", read(fd, buf, 1));
	R("getpeername unconnected", getpeername(fd, (struct sockaddr *)&sa, &len));
	R("shutdown unconnected", shutdown(fd, SHUT_RD));
	R("accept not listening", accept(fd, NULL, NULL));
	R("send unconnected", send(fd, "x", 1, MSG_NOSIGNAL));
	t_poll("poll fresh", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	close(fd);
	l = t_listener(1, &port);
	R("read listener", read(l, buf, 1));
	R("write listener", send(l, "x", 1, MSG_NOSIGNAL));
	R("connect listener", connect(l, (struct sockaddr *)&sa, sizeof(sa)));
	R("bind again", bind(l, (struct sockaddr *)&sa, sizeof(sa)));
	R("listen again", listen(l, 5));
	t_poll("poll listener", l, POLLIN | POLLOUT, 0);
	close(l);
	t_pair(p);
	sa = t_sa(t_addr(), 9);
	R("connect connected", connect(p[0], (struct sockaddr *)&sa, sizeof(sa)));
	R("listen connected", listen(p[0], 5));
	R("shutdown bad how", shutdown(p[0], 7));
	R("accept connected", accept(p[0], NULL, NULL));
	R("accept4 bad flags", accept4(p[0], NULL, NULL, 0x40000001));
	close(p[0]);
	close(p[1]);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	sa = t_sa("192.0.2.77", 0);
	R("bind elsewhere", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	sa.sin_family = 99;
	R("bind family", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	sa.sin_family = AF_INET;
	R("bind short", bind(fd, (struct sockaddr *)&sa, 4));
	R("connect short", connect(fd, (struct sockaddr *)&sa, 4));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	sa = t_sa(t_addr(), 1);
	R("refused", connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
	R("refused again", connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
	close(fd);
	R("socket bad type", socket(AF_INET, 77, 0));
	R("socket bad proto", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
}

int main(void)
{
	t_watchdog(60);
	walk();
	stream_end();
	vectors();
	errors();
	return 0;
}

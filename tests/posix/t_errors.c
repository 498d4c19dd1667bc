/* t_errors.c - each error when Linux gives it: broken pipes, resets, SO_ERROR, addresses in use, no numbers left. */
#include "t.h"

#include <sys/resource.h>

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void broken(void)
{
	char buf[8];
	int p[2];

	SECTION("broken pipe");
	signal(SIGPIPE, on_pipe);
	t_pair(p);
	shutdown(p[0], SHUT_WR);
	R("write after shutdown", write(p[0], "x", 1));
	SAY("SIGPIPE %d\n", pipes);
	R("send nosignal", send(p[0], "x", 1, MSG_NOSIGNAL));
	SAY("SIGPIPE %d\n", pipes);
	close(p[0]);
	close(p[1]);

	SECTION("reset by unread data");
	t_pair(p);
	MUST(write(p[0], "unread", 6));
	t_wait(p[1], POLLIN);
	close(p[1]);
	t_wait(p[0], POLLERR);
	t_poll("poll", p[0], POLLIN | POLLOUT | POLLRDHUP, 0);
	SAY("so_error %s\n", t_err(t_so_error(p[0])));
	SAY("so_error %d\n", t_so_error(p[0]));
	R("read", read(p[0], buf, 8));
	pipes = 0;
	R("write", write(p[0], "x", 1));
	SAY("SIGPIPE %d\n", pipes);
	close(p[0]);

	SECTION("reset read by recv");
	t_pair(p);
	MUST(write(p[0], "unread", 6));
	t_wait(p[1], POLLIN);
	close(p[1]);
	t_wait(p[0], POLLERR);
	R("read", read(p[0], buf, 8));
	R("read", read(p[0], buf, 8));
	SAY("so_error %d\n", t_so_error(p[0]));
	close(p[0]);
}

/* Who it was that came and went is told all the same. */
static void accepted_late(void)
{
	struct linger l = { 1, 0 };
	struct sockaddr_in me, sa;
	socklen_t len = sizeof(me);
	int port, listener = t_listener(5, &port), c = t_connect(port), s;

	SECTION("accept of a connection that was reset");
	R("getsockname", getsockname(c, (struct sockaddr *)&me, &len));
	R("linger", setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	close(c);
	t_ms(100);
	memset(&sa, 0, sizeof(sa));
	len = sizeof(sa);
	s = accept(listener, (struct sockaddr *)&sa, &len);
	SAY("accepted %d, %u bytes, the peer %d\n", s >= 0, len, !memcmp(&me, &sa, sizeof(sa)));
	R("getpeername", getpeername(s, (struct sockaddr *)&sa, &len));
	SAY("so_error %d\n", t_so_error(s));
	close(s);
	close(listener);
}

static void linger(void)
{
	struct linger l = { 1, 0 };
	char buf[8];
	uint64_t t0;
	int p[2];

	SECTION("linger 0 resets");
	t_pair(p);
	R("linger", setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	close(p[0]);
	t_wait(p[1], POLLERR);
	R("read", read(p[1], buf, 8));
	close(p[1]);
	SECTION("linger waits for the peer to take it");
	t_pair(p);
	l.l_linger = 2;
	R("linger", setsockopt(p[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	MUST(write(p[0], "bye", 3));
	t0 = t_now_ms();
	R("close", close(p[0]));
	SAY("fast: %d\n", t_now_ms() - t0 < 1000);
	R("read", read(p[1], buf, 8));
	R("eof", read(p[1], buf, 8));
	close(p[1]);
}

static void in_use(void)
{
	struct sockaddr_in sa;
	int port, l = t_listener(2, &port), fd, one = 1, p[2];

	SECTION("address in use");
	sa = t_sa(t_addr(), port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	R("bind", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	R("reuseaddr over a listener", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	sa.sin_addr.s_addr = htonl(INADDR_ANY);
	R("any over a listener", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	close(fd);
	close(l);
	SECTION("reuseport");
	l = socket(AF_INET, SOCK_STREAM, 0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	sa = t_sa(t_addr(), 0);
	setsockopt(l, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	MUST(bind(l, (struct sockaddr *)&sa, sizeof(sa)));
	sa = t_sa(t_addr(), t_port(l));
	R("without", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	R("with", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	R("listen 1", listen(l, 2));
	R("listen 2", listen(fd, 2));
	close(l);
	close(fd);
	SECTION("time wait");
	l = t_listener(2, &port);
	p[0] = t_connect(port);
	p[1] = accept(l, NULL, NULL);
	close(l);
	close(p[1]); /* the server's side closes first: its port is in TIME_WAIT */
	t_wait(p[0], POLLIN);
	close(p[0]);
	t_ms(30);
	sa = t_sa(t_addr(), port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	R("bind", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	R("bind reuse", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	R("listen", listen(fd, 1));
	close(fd);
}

static void numbers(void)
{
	struct rlimit rl;
	int fds[64], n = 0, port, l, c;

	SECTION("no numbers left");
	l = t_listener(8, &port);
	c = t_connect(port);
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = (rlim_t)c + 8;
	R("setrlimit", setrlimit(RLIMIT_NOFILE, &rl));
	while (n < 60 && (fds[n] = socket(AF_INET, SOCK_STREAM, 0)) >= 0)
		n++;
	SAY("made %d: %s\n", n, t_err(errno));
	R("accept", accept(l, NULL, NULL));
	R("dup", dup(l));
	close(fds[--n]);
	OK("accept with one", c = accept(l, NULL, NULL));
	R("socket", socket(AF_INET, SOCK_STREAM, 0));
	rl.rlim_cur = 1024;
	setrlimit(RLIMIT_NOFILE, &rl);
}

static void backlog(void)
{
	int port, l = t_listener(1, &port), c[6], made = 0;
	struct sockaddr_in sa = t_sa(t_addr(), port);

	SECTION("backlog");
	for (int i = 0; i < 6; i++) {
		c[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(c[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	t_ms(100);
	t_nonblock(l, true);
	for (int i = 0; i < 2; i++) {
		int s = accept(l, NULL, NULL);

		made += s >= 0;
		close(s);
	}
	SAY("accepted %d at once\n", made);
	for (int i = 0; i < 6; i++)
		close(c[i]);
	close(l);
}

/* Nobody connects to many at once. */
static void groups(void)
{
	static const char *const to[] = { "224.0.0.1", "239.1.2.3", "255.255.255.255", "198.18.0.255" };

	SECTION("connect to groups");
	for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
		struct sockaddr_in sa = t_sa(to[i], 80);
		int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

		R(to[i], connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
		close(fd);
	}
}

/* connect() to AF_UNSPEC ends a connection; the socket serves again. */
static void dissolved(void)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int port, l = t_listener(8, &port), c[2];
	struct sockaddr_in sa = t_sa(t_addr(), port);
	struct pollfd p;
	char b[4];

	SECTION("connect to AF_UNSPEC");
	c[0] = t_connect(port);
	c[1] = (int)MUST(accept(l, NULL, NULL));
	R("connect", connect(c[0], &none, sizeof(none)));
	p = (struct pollfd){ c[0], POLLIN | POLLOUT };
	R("poll", poll(&p, 1, 0));
	SAY("revents %#x\n", p.revents);
	SAY("SO_ERROR %s\n", t_err(t_so_error(c[0])));
	SAY("SO_ERROR %d\n", t_so_error(c[0]));
	R("write", send(c[0], "x", 1, MSG_NOSIGNAL));
	R("the peer reads", read(c[1], b, 4));
	close(c[1]);
	R("connect", connect(c[0], (struct sockaddr *)&sa, sizeof(sa)));
	c[1] = (int)MUST(accept(l, NULL, NULL));
	R("connect", connect(c[0], &none, sizeof(none)));
	R("read", read(c[0], b, 4));
	R("read", read(c[0], b, 4));
	close(c[0]);
	close(c[1]);
	/* an end that the peer has closed, and one that it has seen closed */
	c[0] = t_connect(port);
	c[1] = (int)MUST(accept(l, NULL, NULL));
	close(c[1]);
	R("end", read(c[0], b, 4));
	R("connect", connect(c[0], &none, sizeof(none)));
	SAY("SO_ERROR %s\n", t_err(t_so_error(c[0])));
	close(c[0]);
	close(l);
}

int main(void)
{
	t_watchdog(60);
	groups();
	dissolved();
	broken();
	linger();
	accepted_late();
	in_use();
	numbers();
	backlog();
	return 0;
}

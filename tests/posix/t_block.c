/* t_block.c - blocking, non-blocking, timeouts, EINTR and SA_RESTART, a sleeper woken by shutdown. */
#include "t.h"

static volatile sig_atomic_t hits;

static void on_usr1(int sig)
{
	(void)sig;
	hits++;
}

static void catch_usr1(int flags)
{
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = flags };

	sigaction(SIGUSR1, &sa, NULL);
	hits = 0;
}

struct later {
	int ms, fd, what;
	pthread_t target;
};

static void *later_run(void *arg)
{
	struct later *l = arg;

	t_ms(l->ms);
	switch (l->what) {
	case 0:
		pthread_kill(l->target, SIGUSR1);
		break;
	case 1:
		shutdown(l->fd, SHUT_RD);
		break;
	case 2:
		(void)!write(l->fd, "late", 4);
		break;
	case 3:
		pthread_kill(l->target, SIGUSR1);
		t_ms(l->ms);
		(void)!write(l->fd, "late", 4);
		break;
	case 4:
		shutdown(l->fd, SHUT_RDWR);
		break;
	}
	return NULL;
}

static pthread_t later(struct later *l, int ms, int what, int fd)
{
	pthread_t th;

	*l = (struct later){ ms, fd, what, pthread_self() };
	pthread_create(&th, NULL, later_run, l);
	return th;
}

static void set_timeo(int fd, int which, int ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	R("set timeout", setsockopt(fd, SOL_SOCKET, which, &tv, sizeof(tv)));
}

static void nonblocking(void)
{
	struct sockaddr_in sa;
	char buf[8];
	int p[2], port, l, c, s;
	socklen_t len;

	SECTION("nonblocking");
	t_pair(p);
	t_nonblock(p[0], true);
	R("recv", recv(p[0], buf, 8, 0));
	R("dontwait", recv(p[1], buf, 8, MSG_DONTWAIT));
	close(p[0]);
	close(p[1]);
	l = t_listener(4, &port);
	t_nonblock(l, true);
	R("accept", accept(l, NULL, NULL));
	sa = t_sa(t_addr(), port);
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	errno = 0;
	len = connect(c, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS;
	SAY("connect %s\n", len ? t_err(errno) : "in progress or done");
	t_wait(c, POLLOUT);
	SAY("so_error %s\n", t_err(t_so_error(c)));
	R("connect again", connect(c, (struct sockaddr *)&sa, sizeof(sa)));
	R("and again", connect(c, (struct sockaddr *)&sa, sizeof(sa)));
	t_wait(l, POLLIN);
	s = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	OK("accept4", s);
	SAY("nonblock %d cloexec %d\n", !!(fcntl(s, F_GETFL) & O_NONBLOCK), fcntl(s, F_GETFD));
	close(s);
	close(c);
	c = t_connect(port);
	t_wait(l, POLLIN);
	s = accept(l, NULL, NULL);
	SAY("not inherited: nonblock %d cloexec %d\n", !!(fcntl(s, F_GETFL) & O_NONBLOCK), fcntl(s, F_GETFD));
	close(s);
	close(c);
	close(l);
	/* refused without waiting */
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	sa = t_sa(t_addr(), 1);
	errno = 0;
	connect(c, (struct sockaddr *)&sa, sizeof(sa));
	SAY("connect to closed port: %s\n", errno == ECONNREFUSED || errno == EINPROGRESS ? "as expected" : t_err(errno));
	t_wait(c, POLLOUT);
	t_poll("refused poll", c, POLLIN | POLLOUT | POLLRDHUP, 1000);
	close(c);
}

static void timeouts(void)
{
	struct timeval tv;
	socklen_t len = sizeof(tv);
	uint64_t t0;
	char *big = malloc(1 << 20);
	char buf[8];
	ssize_t n;
	int p[2], port, l;

	SECTION("timeouts");
	memset(big, 'b', 1 << 20);
	t_pair(p);
	set_timeo(p[0], SO_RCVTIMEO, 120);
	getsockopt(p[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len);
	SAY("get %ld.%06ld len %u\n", (long)tv.tv_sec, (long)tv.tv_usec, len);
	t0 = t_now_ms();
	R("recv", recv(p[0], buf, 8, 0));
	t0 = t_now_ms() - t0;
	SAY("waited %s\n", t0 >= 110 && t0 < 600 ? "about right" : "wrong");
	set_timeo(p[0], SO_SNDTIMEO, 150);
	t0 = t_now_ms();
	do {
		n = send(p[0], big, 1 << 20, 0);
	} while (n > 0 && t_now_ms() - t0 < 5000);
	SAY("send ended with %s\n", n < 0 ? t_err(errno) : "0");
	close(p[0]);
	close(p[1]);
	l = t_listener(4, &port);
	set_timeo(l, SO_RCVTIMEO, 100);
	t0 = t_now_ms();
	R("accept", accept(l, NULL, NULL));
	t0 = t_now_ms() - t0;
	SAY("waited %s\n", t0 >= 90 && t0 < 600 ? "about right" : "wrong");
	tv = (struct timeval){ 0, 2000000 };
	R("bad timeout", setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	close(l);
	free(big);
}

static void interrupted(void)
{
	struct later la;
	pthread_t th;
	char buf[8];
	int p[2], port, l, r;
	struct pollfd pf;

	SECTION("EINTR");
	catch_usr1(0);
	t_pair(p);
	th = later(&la, 60, 0, -1);
	R("recv", recv(p[0], buf, 8, 0));
	pthread_join(th, NULL);
	SAY("handler ran %d\n", hits);
	catch_usr1(SA_RESTART);
	th = later(&la, 60, 3, p[1]);
	R("recv restarted", recv(p[0], buf, 8, 0));
	pthread_join(th, NULL);
	SAY("handler ran %d\n", hits);
	set_timeo(p[0], SO_RCVTIMEO, 2000);
	th = later(&la, 60, 0, -1);
	hits = 0;
	R("recv with timeout is not restarted", recv(p[0], buf, 8, 0));
	pthread_join(th, NULL);
	SAY("handler ran %d\n", hits);
	hits = 0;
	th = later(&la, 60, 0, -1);
	pf = (struct pollfd){ .fd = p[0], .events = POLLIN };
	R("poll is never restarted", poll(&pf, 1, 2000));
	pthread_join(th, NULL);
	SAY("handler ran %d\n", hits);
	l = t_listener(4, &port);
	catch_usr1(0);
	th = later(&la, 60, 0, -1);
	R("accept", accept(l, NULL, NULL));
	pthread_join(th, NULL);
	SAY("handler ran %d\n", hits);
	close(l);
	/* a full send buffer */
	{
		static char big[1 << 16];
		ssize_t n;

		int fixed = 65536;

		setsockopt(p[1], SOL_SOCKET, SO_SNDBUF, &fixed, sizeof(fixed)); /* no growth meanwhile */
		setsockopt(p[0], SOL_SOCKET, SO_RCVBUF, &fixed, sizeof(fixed));
		t_nonblock(p[1], true);
		/* full, and still full when everything that was under way has arrived; a window probe (200 ms) may find room for one more segment */
		for (int quiet = 0; quiet < 12; quiet++) {
			while ((n = send(p[1], big, quiet ? 1 : sizeof(big), 0)) > 0)
				quiet = 0;
			t_ms(50);
		}
		SAY("full: %s\n", t_err(errno));
		t_nonblock(p[1], false);
		th = later(&la, 60, 0, -1);
		hits = 0;
		r = (int)send(p[1], big, 1, 0);
		/* Linux may have found room in the meantime for one byte: it did not on a full buffer */
		SAY("send %d %s\n", r, r < 0 ? t_err(errno) : "");
		pthread_join(th, NULL);
		SAY("handler ran %d\n", hits);
	}
	close(p[0]);
	close(p[1]);
}

static void woken(void)
{
	struct later la;
	pthread_t th;
	char buf[8];
	int p[2], port, l;

	SECTION("woken by shutdown");
	t_pair(p);
	th = later(&la, 60, 1, p[0]);
	R("recv", recv(p[0], buf, 8, 0));
	pthread_join(th, NULL);
	close(p[0]);
	close(p[1]);
	l = t_listener(4, &port);
	th = later(&la, 60, 4, l);
	R("accept", accept(l, NULL, NULL));
	pthread_join(th, NULL);
	close(l);
	t_pair(p);
	th = later(&la, 60, 2, p[1]);
	R("recv", recv(p[0], buf, 8, 0));
	pthread_join(th, NULL);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	t_watchdog(60);
	nonblocking();
	timeouts();
	interrupted();
	woken();
	return 0;
}

/* clients_killed.c - a program whose forked children (clients of its stack, runtime.md "Home and clients") are killed at random points of their
 * work with sockets. Run by tests/interop, which counts before and after what the stack has in use.
 *
 * usage: clients_killed ADDRESS PORT     serves echo on PORT; commands on standard input, answered by a line each:
 *   kill N SEED   forks and kills N children, a few at a time            -> "killed N"
 *   end           ends
 */
#include "t.h"

#include <sys/prctl.h>

#define AT_ONCE 6
#define PORT_KIDS (port + 1) /* children accept here */
#define PORT_UDP (port + 2)

static int port, echo_listener, kid_listener, pair[2];
static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 20) % n);
}

/* A reset leaves once; one that is lost is noticed by keepalive alone. */
static void probe(int fd)
{
	int on = 1, idle = 2, intvl = 1, cnt = 4;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &intvl, sizeof(intvl));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &cnt, sizeof(cnt));
}

static void *echo(void *arg)
{
	int ep = epoll_create1(0), n;
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = echo_listener }, got[64];
	static char buf[65536];

	(void)arg;
	epoll_ctl(ep, EPOLL_CTL_ADD, echo_listener, &ev);
	for (;;) {
		n = epoll_wait(ep, got, 64, -1);
		for (int i = 0; i < n; i++) {
			int fd = got[i].data.fd;
			ssize_t r;

			if (fd == echo_listener) {
				fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (fd < 0)
					continue;
				probe(fd);
				ev = (struct epoll_event){ .events = EPOLLIN, .data.fd = fd };
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
				continue;
			}
			r = recv(fd, buf, sizeof(buf), 0);
			if (r > 0)
				r = send(fd, buf, (size_t)r, MSG_NOSIGNAL); /* what does not fit is lost: nobody here counts bytes */
			if (r == 0 || (r < 0 && errno != EAGAIN))
				close(fd);
		}
	}
	return NULL;
}

/* --- what children do until they are killed --- */

static int dial(int to)
{
	struct sockaddr_in sa = t_sa(t_addr(), to);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void *talk(void *arg)
{
	static __thread char buf[200000];

	(void)arg;
	for (;;) {
		int fd = dial(port);

		for (uint32_t k = rnd(8); fd >= 0 && k > 0; k--) {
			size_t n = rnd(3) ? 1 + rnd(2000) : 1 + rnd(sizeof(buf) - 1);

			if (send(fd, buf, n, MSG_NOSIGNAL) < 0)
				break;
			(void)!recv(fd, buf, sizeof(buf), 0);
		}
		close(fd);
	}
	return NULL;
}

static void take(void)
{
	char buf[4096];

	for (;;) {
		int fd = accept(kid_listener, NULL, NULL);
		ssize_t n = fd >= 0 ? recv(fd, buf, sizeof(buf), 0) : -1;

		if (n > 0)
			(void)!send(fd, buf, (size_t)n, MSG_NOSIGNAL);
		close(fd);
	}
}

static void call_kids(void)
{
	struct timeval tv = { .tv_usec = 5000 };
	char buf[256];

	for (;;) {
		int fd = dial(PORT_KIDS); /* somebody accepts, or it stays in the queue */

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		(void)!send(fd, buf, sizeof(buf), MSG_NOSIGNAL);
		(void)!recv(fd, buf, sizeof(buf), 0);
		close(fd);
	}
}

static void in_epoll(void)
{
	char buf[20000];
	struct epoll_event ev = { .events = EPOLLIN };

	for (;;) {
		int ep = epoll_create1(0), fd[4];

		for (int i = 0; i < 4; i++) {
			fd[i] = dial(port);
			ev.data.fd = fd[i];
			if (fd[i] >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd[i], &ev) == 0)
				(void)!send(fd[i], buf, 1 + rnd(sizeof(buf) - 1), MSG_NOSIGNAL);
		}
		for (int k = 0; k < 6; k++) {
			struct epoll_event got[4];
			int n = epoll_wait(ep, got, 4, 2);

			for (int i = 0; i < n; i++)
				(void)!recv(got[i].data.fd, buf, sizeof(buf), MSG_DONTWAIT);
		}
		for (int i = 0; i < 4; i++)
			if (fd[i] >= 0)
				close(fd[i]);
		close(ep);
	}
}

static void shared(void)
{
	char buf[3000];

	for (;;) {
		int end = (int)rnd(2);

		if (rnd(2))
			(void)!send(pair[end], buf, 1 + rnd(sizeof(buf) - 1), MSG_NOSIGNAL | MSG_DONTWAIT);
		else
			(void)!recv(pair[end], buf, sizeof(buf), rnd(4) ? MSG_DONTWAIT : 0);
	}
}

static void datagrams(void)
{
	struct sockaddr_in sa = t_sa(t_addr(), PORT_UDP);
	char buf[1400];

	for (;;) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		for (uint32_t k = rnd(10); fd >= 0 && k > 0; k--)
			(void)!sendto(fd, buf, rnd(sizeof(buf)), MSG_NOSIGNAL, (struct sockaddr *)&sa, sizeof(sa));
		close(fd);
	}
}

static void forks(void)
{
	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(close(pair[0]));
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
}

static void several(void)
{
	pthread_t th[3];

	for (int i = 0; i < 3; i++)
		pthread_create(&th[i], NULL, talk, NULL);
	call_kids();
}

static void child(void)
{
	void (*what[])(void) = { take, take, call_kids, in_epoll, shared, datagrams, forks, several, (void (*)(void))talk };

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* none outlives a parent that fails */
	what[rnd(sizeof(what) / sizeof(what[0]))]();
}

/* --- the parent --- */

static void drain(int fd)
{
	char buf[65536];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static void kill_many(int n)
{
	pid_t pid[AT_ONCE] = { 0 };

	t_pair(pair);
	kid_listener = socket(AF_INET, SOCK_STREAM, 0);
	{
		struct sockaddr_in sa = t_sa(t_addr(), PORT_KIDS);
		int one = 1;

		setsockopt(kid_listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		MUST(bind(kid_listener, (struct sockaddr *)&sa, sizeof(sa)));
		MUST(listen(kid_listener, 32));
	}
	for (int i = 0; i < n + AT_ONCE; i++) {
		pid_t *p = &pid[i % AT_ONCE];

		if (*p) {
			usleep(rnd(3000));
			kill(*p, SIGKILL);
			waitpid(*p, NULL, 0);
			*p = 0;
		}
		if (i < n) {
			seed += (uint64_t)i;
			*p = (pid_t)MUST(fork());
			if (!*p)
				child();
		}
		drain(pair[0]);
		drain(pair[1]);
	}
	close(pair[0]);
	close(pair[1]);
	close(kid_listener);
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa;
	char line[128];
	pthread_t th;
	int one = 1;

	if (argc < 3)
		return 2;
	setenv("GZT_ADDR", argv[1], 1);
	port = atoi(argv[2]);
	signal(SIGPIPE, SIG_IGN);
	echo_listener = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	setsockopt(echo_listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	sa = t_sa(argv[1], port);
	MUST(bind(echo_listener, (struct sockaddr *)&sa, sizeof(sa)));
	MUST(listen(echo_listener, 512));
	pthread_create(&th, NULL, echo, NULL);
	SAY("listening\n");
	while (fgets(line, sizeof(line), stdin)) {
		int n;
		unsigned long s;

		if (sscanf(line, "kill %d %lu", &n, &s) == 2) {
			seed = s * 0x9e3779b97f4a7c15u + 1;
			kill_many(n);
			SAY("killed %d\n", n);
		} else {
			break;
		}
	}
	return 0;
}

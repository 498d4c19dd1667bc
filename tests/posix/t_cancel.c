/* t_cancel.c - leaving blocking calls by other ways than their return: siglongjmp, pthread_cancel, in every call that blocks; SIGTERM
 * blocked or handled while waiting; vfork and close; closefrom and close_range. */
#include "t.h"

#include <linux/close_range.h>
#include <setjmp.h>
#include <sys/select.h>
#include <sys/signalfd.h>

static int pair[2], full[2], lst, ep;

/* --- every call that blocks, on sockets where nothing happens --- */

static long in_recv(void) { char b[4]; return recv(pair[0], b, 4, 0); }
static long in_read(void) { char b[4]; return read(pair[0], b, 4); }
static long in_recvmsg(void)
{
	char b[4];
	struct iovec v = { b, 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return recvmsg(pair[0], &m, 0);
}
static long in_send(void)
{
	static char b[1 << 20];

	for (;;)
		if (send(full[0], b, sizeof(b), MSG_NOSIGNAL) < 0)
			return -1;
}
static long in_accept(void) { return accept(lst, NULL, NULL); }
static long in_poll(void)
{
	struct pollfd p = { .fd = pair[0], .events = POLLIN };

	return poll(&p, 1, -1);
}
static long in_select(void)
{
	fd_set r;

	FD_ZERO(&r);
	FD_SET(pair[0], &r);
	return select(pair[0] + 1, &r, NULL, NULL, NULL);
}
static long in_epoll(void)
{
	struct epoll_event ev;

	return epoll_wait(ep, &ev, 1, -1);
}

static const struct {
	const char *name;
	long (*fn)(void);
} calls[] = {
	{ "recv", in_recv }, { "read", in_read }, { "recvmsg", in_recvmsg }, { "send", in_send },
	{ "accept", in_accept }, { "poll", in_poll }, { "select", in_select }, { "epoll_wait", in_epoll },
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

static sigjmp_buf jump;
static volatile sig_atomic_t hits;

static void on_jump(int sig)
{
	(void)sig;
	siglongjmp(jump, 1);
}

static void on_hit(int sig)
{
	(void)sig;
	hits++;
}

static void set(int sig, void (*h)(int), int flags)
{
	struct sigaction sa = { .sa_handler = h, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
	hits = 0;
}

static void *kick(void *arg)
{
	t_ms(40);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

static void jumps(void)
{
	pthread_t self = pthread_self(), th;

	SECTION("siglongjmp out of");
	set(SIGUSR1, on_jump, 0);
	for (volatile size_t i = 0; i < CALLS; i++) {
		pthread_create(&th, NULL, kick, &self);
		if (!sigsetjmp(jump, 1))
			R(calls[i].name, calls[i].fn());
		else
			SAY("%s: jumped\n", calls[i].name);
		pthread_join(th, NULL);
	}
	set(SIGUSR1, SIG_DFL, 0);
}

static volatile size_t which;
static volatile sig_atomic_t cleaned;

static void clean(void *arg)
{
	(void)arg;
	cleaned++;
}

static void *blocked(void *arg)
{
	pthread_cleanup_push(clean, NULL);
	calls[(size_t)arg].fn();
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancels(void)
{
	pthread_t th;
	void *r;

	SECTION("pthread_cancel in");
	for (size_t i = 0; i < CALLS; i++) {
		cleaned = 0;
		pthread_create(&th, NULL, blocked, (void *)i);
		t_ms(40);
		pthread_cancel(th);
		pthread_join(th, &r);
		SAY("%s: cancelled %d cleaned %d\n", calls[i].name, r == PTHREAD_CANCELED, (int)cleaned);
	}
}

/* Two threads race: one is cancelled at any point of its work; nothing is left locked. */
static void *echoes(void *arg)
{
	char b[64];

	for (;;) {
		if (send(*(int *)arg, "ping", 4, MSG_NOSIGNAL) < 0)
			return NULL;
		if (recv(*(int *)arg, b, sizeof(b), MSG_DONTWAIT) == 0)
			return NULL;
	}
}

static void cancel_anywhere(void)
{
	char b[4096];
	pthread_t th;
	int p[2];

	SECTION("pthread_cancel anywhere");
	t_pair(p);
	for (int i = 0; i < 60; i++) {
		pthread_create(&th, NULL, echoes, &p[0]);
		usleep((useconds_t)(i * 53 % 700));
		pthread_cancel(th);
		while (recv(p[1], b, sizeof(b), MSG_DONTWAIT) > 0)
			;
		pthread_join(th, NULL);
	}
	while (t_ms(60), recv(p[1], b, sizeof(b), MSG_DONTWAIT) > 0)
		;
	R("send", send(p[0], "done", 4, 0));
	R("recv", recv(p[1], b, sizeof(b), 0));
	close(p[0]);
	close(p[1]);
}

static void still_works(void)
{
	char b[8];
	int c[2];

	SECTION("and everything works");
	R("send", send(pair[1], "abc", 3, 0));
	R("recv", recv(pair[0], b, 8, 0));
	R("back", send(pair[0], "abcd", 4, 0));
	R("recv", recv(pair[1], b, 8, 0));
	t_pair(c);
	close(c[0]);
	R("eof", recv(c[1], b, 8, 0));
	close(c[1]);
}

/* --- SIGTERM --- */

static void *terminate(void *arg)
{
	t_ms(40);
	kill(getpid(), *(int *)arg);
	return NULL;
}

static void sigterm(void)
{
	struct pollfd p = { .fd = pair[0], .events = POLLIN };
	struct timespec sec = { 5, 0 };
	struct signalfd_siginfo si;
	int sig = SIGTERM, fd;
	sigset_t term, old, none;
	pthread_t th;
	char b[8];

	SECTION("SIGTERM handled while waiting");
	set(SIGTERM, on_hit, 0);
	for (size_t i = 0; i < CALLS; i++) {
		if (calls[i].fn == in_send)
			continue; /* on the kernel what was sent before decides between -1 and a count */
		pthread_create(&th, NULL, kick, &(pthread_t){ pthread_self() });
		set(SIGUSR1, on_hit, 0);
		R(calls[i].name, calls[i].fn());
		pthread_join(th, NULL);
	}
	SECTION("SIGTERM blocked while waiting");
	sigemptyset(&none);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, &old);
	set(SIGTERM, on_hit, 0);
	pthread_create(&th, NULL, terminate, &sig);
	R("poll sleeps on", poll(&p, 1, 120));
	pthread_join(th, NULL);
	SAY("hits %d\n", (int)hits);
	R("ppoll that lets it in", ppoll(&p, 1, &sec, &none));
	SAY("hits %d\n", (int)hits);
	pthread_create(&th, NULL, terminate, &sig);
	R("sigwait", sigwait(&term, &sig));
	pthread_join(th, NULL);
	SAY("is SIGTERM %d\n", sig == SIGTERM);
	fd = signalfd(-1, &term, SFD_CLOEXEC);
	pthread_create(&th, NULL, terminate, &sig);
	{
		struct pollfd two[2] = { { .fd = pair[0], .events = POLLIN }, { .fd = fd, .events = POLLIN } };

		R("poll of a socket and a signalfd", poll(two, 2, 5000));
		SAY("%d %d\n", two[0].revents, two[1].revents);
	}
	pthread_join(th, NULL);
	R("signalfd", read(fd, &si, sizeof(si)));
	SAY("hits %d\n", (int)hits);
	close(fd);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	R("send", send(pair[1], "x", 1, 0));
	R("recv", recv(pair[0], b, 8, 0));
	SECTION("SIGTERM's default ends a child that waits");
	{
		pid_t pid = fork();
		int st;

		if (!pid) {
			signal(SIGTERM, SIG_DFL);
			in_recv();
			_exit(1);
		}
		t_ms(60);
		kill(pid, SIGTERM);
		waitpid(pid, &st, 0);
		SAY("signalled %d\n", WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
	}
}

/* --- descriptors --- */

static void vforks(void)
{
	char b[8];
	int p[2], st;
	pid_t pid;

	SECTION("vfork and close in the child");
	t_pair(p);
	for (int i = 0; i < 3; i++) {
		pid = vfork();
		if (!pid) {
			close(p[0]);
			if (i == 1)
				close_range((unsigned)p[1], ~0u, 0);
			if (i == 2)
				closefrom(3);
			_exit(10 + i);
		}
		waitpid(pid, &st, 0);
		SAY("child %d\n", WEXITSTATUS(st));
		R("send", send(p[0], "v", 1, 0));
		R("recv", recv(p[1], b, 8, 0));
	}
	close(p[0]);
	close(p[1]);
}

static void ranges(void)
{
	char b[8];
	int a[2], c[2], low;

	SECTION("close_range");
	t_pair(a);
	t_pair(c);
	low = c[0] < c[1] ? c[0] : c[1];
	R("cloexec", close_range((unsigned)low, ~0u, CLOSE_RANGE_CLOEXEC));
	SAY("flag %d\n", fcntl(c[0], F_GETFD));
	R("still open", send(c[0], "1", 1, 0));
	R("recv", recv(c[1], b, 8, 0));
	R("bad range", close_range(9, 3, 0));
	R("bad flags", close_range(3, 9, 1 << 20));
	R("one", close_range((unsigned)c[0], (unsigned)c[0], 0));
	R("closed", send(c[0], "1", 1, MSG_NOSIGNAL));
	R("its peer sees the end", recv(c[1], b, 8, 0));
	R("the others are open", send(a[0], "1", 1, 0));
	R("recv", recv(a[1], b, 8, 0));
	SECTION("closefrom");
	closefrom(3);
	R("closed", send(a[0], "1", 1, MSG_NOSIGNAL));
	R("and this", fcntl(pair[0], F_GETFD));
	low = socket(AF_INET, SOCK_STREAM, 0);
	SAY("the next socket is %d\n", low);
	close(low);
	t_pair(a);
	R("a new pair", send(a[0], "12", 2, 0));
	R("recv", recv(a[1], b, 8, 0));
}

int main(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int port;

	t_watchdog(90);
	closefrom(3); /* at the start, as daemons do */
	t_pair(pair);
	t_pair(full);
	lst = t_listener(4, &port);
	ep = epoll_create1(0);
	epoll_ctl(ep, EPOLL_CTL_ADD, pair[0], &ev);
	jumps();
	cancels();
	cancel_anywhere();
	still_works();
	sigterm();
	vforks();
	ranges();
	return 0;
}

/* t_signals.c - handlers that use sockets, leave by siglongjmp, truthful old actions, masks, cancellation. */
#include "t.h"

#include <setjmp.h>
#include <sys/signalfd.h>

static int sp[2];
static sigjmp_buf jump;
static volatile sig_atomic_t got, hits;

static void on_recv(int sig)
{
	char c;

	(void)sig;
	hits++;
	got = (int)recv(sp[0], &c, 1, MSG_DONTWAIT);
}

static void on_jump(int sig)
{
	(void)sig;
	siglongjmp(jump, 1);
}

static void on_info(int sig, siginfo_t *si, void *ctx)
{
	(void)ctx;
	hits = sig;
	got = si->si_value.sival_int;
}

static void set(int sig, void *h, int flags)
{
	struct sigaction sa = { .sa_flags = flags };

	sa.sa_handler = (void (*)(int))h;
	sigaction(sig, &sa, NULL);
	hits = got = 0;
}

static void *kick(void *arg)
{
	t_ms(60);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

static void *storm(void *arg)
{
	for (int i = 0; i < 400; i++) {
		pthread_kill(*(pthread_t *)arg, SIGUSR1);
		usleep(200);
	}
	return NULL;
}

static void handlers(void)
{
	struct sigaction sa, old;
	union sigval v = { .sival_int = 42 };
	pthread_t self = pthread_self(), th;
	char buf[8];
	long total = 0, eintr = 0;
	struct pollfd pf;
	sigset_t set1, old1;

	SECTION("a handler that receives while recv sleeps");
	t_pair(sp);
	set(SIGUSR1, on_recv, 0);
	pthread_create(&th, NULL, kick, &self);
	R("recv", recv(sp[0], buf, 8, 0));
	pthread_join(th, NULL);
	SAY("hits %d got %d\n", hits, got);

	SECTION("a handler that leaves by siglongjmp");
	set(SIGUSR1, on_jump, 0);
	for (int i = 0; i < 3; i++) {
		pthread_create(&th, NULL, kick, &self);
		if (!sigsetjmp(jump, 1))
			R("recv", recv(sp[0], buf, 8, 0));
		else
			SAY("jumped\n");
		pthread_join(th, NULL);
	}
	MUST(write(sp[1], "ok", 2));
	R("and all is well", recv(sp[0], buf, 8, 0));

	SECTION("truthful");
	set(SIGUSR2, on_recv, SA_RESTART | SA_NODEFER);
	R("sigaction", sigaction(SIGUSR2, NULL, &old));
	SAY("handler %d flags %x\n", old.sa_handler == on_recv, (unsigned)old.sa_flags & 0xfffffff);
	SAY("signal returns it %d\n", signal(SIGUSR2, SIG_IGN) == on_recv);
	SAY("ignored %d\n", signal(SIGUSR2, SIG_DFL) == SIG_IGN);
	R("bad signal", sigaction(999, NULL, &old));
	R("kill", sigaction(SIGKILL, &old, NULL));
	SAY("signal kill %d\n", signal(SIGKILL, SIG_IGN) == SIG_ERR);
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_info;
	sa.sa_flags = SA_SIGINFO;
	sigaction(SIGUSR2, &sa, NULL);
	sigqueue(getpid(), SIGUSR2, v);
	SAY("info %d %d\n", hits == SIGUSR2, got);
	sa.sa_flags = (int)(SA_SIGINFO | SA_RESETHAND);
	sigaction(SIGUSR2, &sa, NULL);
	raise(SIGUSR2);
	sigaction(SIGUSR2, NULL, &old);
	SAY("one shot %d\n", old.sa_handler == SIG_DFL);

	SECTION("a storm of signals while data flows");
	{
		static char big[1 << 20];
		pid_t pid;
		int p[2];

		t_pair(p);
		pid = fork();
		if (!pid) {
			size_t left = 64 << 20;

			close(p[0]);
			while (left) {
				ssize_t n = write(p[1], big, left < sizeof(big) ? left : sizeof(big));

				if (n > 0)
					left -= (size_t)n;
			}
			_exit(0);
		}
		close(p[1]);
		set(SIGUSR1, on_recv, 0);
		pthread_create(&th, NULL, storm, &self);
		for (;;) {
			ssize_t n = recv(p[0], big, sizeof(big), 0);

			if (n < 0 && errno == EINTR) {
				eintr++;
				continue;
			}
			if (n <= 0)
				break;
			total += n;
		}
		pthread_join(th, NULL);
		waitpid(pid, NULL, 0);
		SAY("received %ld, handlers ran %s\n", total, hits > 3 ? "often" : "rarely");
		close(p[0]);
	}

	SECTION("masks");
	set(SIGUSR1, on_recv, 0);
	sigemptyset(&set1);
	sigaddset(&set1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set1, &old1);
	raise(SIGUSR1);
	pf = (struct pollfd){ .fd = sp[0], .events = POLLIN };
	R("poll with it blocked", poll(&pf, 1, 30));
	SAY("hits %d\n", hits);
	R("ppoll lets it in", ppoll(&pf, 1, &(struct timespec){ 1, 0 }, &old1));
	SAY("hits %d\n", hits);
	raise(SIGUSR1);
	R("blocked again", poll(&pf, 1, 30));
	SAY("hits %d\n", hits);
	{
		struct signalfd_siginfo si;
		int sfd = signalfd(-1, &set1, 0);

		R("signalfd", read(sfd, &si, sizeof(si)));
		SAY("%d\n", si.ssi_signo == SIGUSR1);
		close(sfd);
	}
	sigprocmask(SIG_SETMASK, &old1, NULL);
	SAY("hits %d\n", hits);
	close(sp[0]);
	close(sp[1]);
}

static void *blocked(void *arg)
{
	char buf[8];

	recv(*(int *)arg, buf, 8, 0);
	return NULL;
}

static void *in_poll(void *arg)
{
	struct pollfd pf = { .fd = *(int *)arg, .events = POLLIN };

	poll(&pf, 1, -1);
	return NULL;
}

static void *disabled(void *arg)
{
	char buf[8];

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return (void *)(long)recv(*(int *)arg, buf, 8, 0);
}

static void cancel(void)
{
	pthread_t th;
	char buf[8];
	void *r;
	int p[2];

	SECTION("cancellation");
	t_pair(p);
	for (int i = 0; i < 3; i++) {
		pthread_create(&th, NULL, i == 1 ? in_poll : blocked, &p[0]);
		t_ms(50);
		pthread_cancel(th);
		pthread_join(th, &r);
		SAY("cancelled %d\n", r == PTHREAD_CANCELED);
	}
	pthread_create(&th, NULL, disabled, &p[0]);
	t_ms(50);
	pthread_cancel(th);
	t_ms(50);
	MUST(write(p[1], "abc", 3));
	pthread_join(th, &r);
	SAY("not while disabled: %ld\n", (long)r);
	MUST(write(p[1], "abcd", 4));
	R("the socket works", recv(p[0], buf, 8, 0));
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	t_watchdog(60);
	handlers();
	cancel();
	return 0;
}

/* t_exhaust.c - descriptors used up on both sides of a fork: a clear errno from every call that makes one, nothing lost, and everything works
 * when some are given back. (Slabs and packet buffers: tests/interop, memory_used_up_on_both_sides.) */
#include "t.h"

#include <sys/resource.h>

#define MOST 120

static int fill(int *fds)
{
	int n = 0;

	while (n < MOST && (fds[n] = socket(AF_INET, SOCK_STREAM, 0)) >= 0)
		n++;
	return n;
}

static void side(const char *name)
{
	int fds[MOST], n, port, l = t_listener(8, &port), c = t_connect(port);
	char b[8];

	SAY("-- %s\n", name);
	n = fill(fds);
	SAY("some %d\n", n > 20 && n < MOST);
	R("socket", socket(AF_INET, SOCK_STREAM, 0));
	R("datagram", socket(AF_INET, SOCK_DGRAM, 0));
	R("accept", accept(l, NULL, NULL));
	R("dup", dup(c));
	R("epoll", epoll_create1(0));
	R("fork is no descriptor's business", ({
		pid_t pid = fork();
		int st;

		if (!pid)
			_exit(9);
		waitpid(pid, &st, 0);
		WEXITSTATUS(st);
	}));
	close(fds[--n]);
	/* the connection waited in the queue */
	fds[n] = accept(l, NULL, NULL);
	SAY("accepted %d\n", fds[n] >= 0);
	R("send", send(c, "abc", 3, 0));
	R("recv", recv(fds[n], b, 8, 0));
	for (n++; n > 0; n--)
		close(fds[n - 1]);
	n = fill(fds);
	SAY("again %d\n", n > 20 && n < MOST);
	while (n > 0)
		close(fds[--n]);
	close(c);
	close(l);
}

int main(void)
{
	struct rlimit rl = { 64, 64 };
	int p[2], st;
	pid_t pid;

	t_watchdog(60);
	t_pair(p); /* the stack has started */
	MUST(setrlimit(RLIMIT_NOFILE, &rl));
	side("parent");
	pid = fork();
	if (!pid) {
		side("child");
		_exit(0);
	}
	waitpid(pid, &st, 0);
	side("parent again");
	R("send", send(p[0], "abc", 3, 0));
	R("recv", recv(p[1], (char[8]){ 0 }, 8, 0));
	return 0;
}

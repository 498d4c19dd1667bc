/* t_fork.c - fork: a child that goes on with a connection, a prefork server, a child that closes or is killed, vfork, spawn, daemon-like. */
#include "t.h"

#include <spawn.h>

extern char **environ;

static void child_shares(void)
{
	char buf[16];
	int p[2], st;
	pid_t pid;

	SECTION("child uses the parent's connection");
	t_pair(p);
	pid = fork();
	if (!pid) {
		_exit(write(p[0], "from child", 10) == 10 ? 7 : 1);
	}
	waitpid(pid, &st, 0);
	SAY("child %d\n", WEXITSTATUS(st));
	R("read", read(p[1], buf, 16));
	R("the parent's goes on", write(p[0], "parent", 6));
	R("read", read(p[1], buf, 16));

	SECTION("child closes: no harm");
	pid = fork();
	if (!pid) {
		close(p[0]);
		close(p[1]);
		_exit(0);
	}
	waitpid(pid, &st, 0);
	R("write", write(p[0], "still", 5));
	R("read", read(p[1], buf, 16));

	SECTION("child reads what the parent writes");
	pid = fork();
	if (!pid) {
		char b[8];
		ssize_t n = read(p[1], b, 8);

		_exit(n == 4 && !memcmp(b, "ping", 4) && write(p[1], "pong", 4) == 4 ? 5 : 1);
	}
	R("ping", write(p[0], "ping", 4));
	R("pong", read(p[0], buf, 16));
	waitpid(pid, &st, 0);
	SAY("child %d\n", WEXITSTATUS(st));

	SECTION("killed child");
	pid = fork();
	if (!pid) {
		for (;;)
			pause();
	}
	t_ms(30);
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	R("write", write(p[0], "alive", 5));
	R("read", read(p[1], buf, 16));

	SECTION("the last reference is the child's");
	pid = fork();
	if (!pid) {
		close(p[1]);
		t_ms(150);
		_exit(0);
	}
	close(p[0]);
	t_poll("open while the child lives", p[1], POLLIN, 30);
	R("eof when it ends", read(p[1], buf, 16));
	waitpid(pid, &st, 0);
	close(p[1]);

	SECTION("the last reference is a killed child's");
	t_pair(p);
	pid = fork();
	if (!pid) {
		close(p[1]);
		for (;;)
			pause();
	}
	close(p[0]);
	t_ms(30);
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	R("eof", read(p[1], buf, 16));
	close(p[1]);
}

static void prefork(void)
{
	char buf[16];
	int port, l = t_listener(16, &port), got = 0, st;
	pid_t pid[3];

	SECTION("prefork server");
	for (int i = 0; i < 3; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			for (;;) {
				int s = accept(l, NULL, NULL);
				char b[16];
				ssize_t n = read(s, b, sizeof(b));

				if (n > 0)
					(void)!write(s, b, (size_t)n);
				close(s);
			}
		}
	}
	for (int i = 0; i < 12; i++) {
		int c = t_connect(port);

		MUST(write(c, "echo", 4));
		got += read(c, buf, 16) == 4;
		SAY("%s", read(c, buf, 16) == 0 ? "" : "no eof ");
		close(c);
	}
	SAY("echoed %d\n", got);
	for (int i = 0; i < 3; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], &st, 0);
	}
	close(l);
}

static void child_connects(void)
{
	int port, l = t_listener(4, &port), s, st;
	char buf[8];
	pid_t pid;

	SECTION("child connects");
	pid = fork();
	if (!pid) {
		int c = t_connect(port);

		close(l);
		(void)!write(c, "kid", 3);
		_exit(0);
	}
	s = accept(l, NULL, NULL);
	R("read", read(s, buf, 8));
	R("eof", read(s, buf, 8));
	waitpid(pid, &st, 0);
	close(s);
	close(l);
}

static void others(void)
{
	char *argv[] = { "true", NULL };
	char buf[8];
	int p[2], st, fds[2];
	pid_t pid;

	SECTION("vfork and close");
	t_pair(p);
	pid = vfork();
	if (!pid) {
		close(p[0]);
		close(p[1]);
		_exit(3);
	}
	waitpid(pid, &st, 0);
	SAY("child %d\n", WEXITSTATUS(st));
	R("write", write(p[0], "x", 1));
	R("read", read(p[1], buf, 8));
	SECTION("vfork and exec");
	pid = vfork();
	if (!pid) {
		closefrom(3);
		execlp("true", "true", (char *)NULL);
		_exit(1);
	}
	waitpid(pid, &st, 0);
	SAY("child %d\n", WEXITSTATUS(st));
	SECTION("spawn");
	R("posix_spawnp", posix_spawnp(&pid, "true", NULL, NULL, argv, environ));
	waitpid(pid, &st, 0);
	SAY("child %d\n", WEXITSTATUS(st));
	R("system", system("true"));
	MUST(pipe(fds));
	pid = fork();
	if (!pid) {
		dup2(fds[1], 1);
		execl("/bin/echo", "echo", "from", "exec", (char *)NULL);
		_exit(1);
	}
	close(fds[1]);
	R("read", read(fds[0], buf, 8));
	waitpid(pid, &st, 0);
	R("write", write(p[0], "x", 1));
	R("read", read(p[1], buf, 8));
	close(p[0]);
	R("eof", read(p[1], buf, 8));
	close(p[1]);
	close(fds[0]);
}

int main(void)
{
	t_watchdog(60);
	child_shares();
	prefork();
	child_connects();
	others();
	return 0;
}

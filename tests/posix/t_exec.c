/* t_exec.c - a program that is started with sockets: those that are close-on-exec end at the exec, whatever the new program does and
 * however long it runs. (What an inherited stack socket is in the new program differs from the kernel: tests/interop.) */
#include "t.h"

static void gone_at_exec(bool vforked)
{
	char b[8];
	int p[2], st;
	pid_t pid;

	SECTION(vforked ? "vfork, exec of a long-running program" : "fork, exec of a long-running program");
	t_pair(p);
	fcntl(p[0], F_SETFD, FD_CLOEXEC);
	fcntl(p[1], F_SETFD, FD_CLOEXEC);
	pid = vforked ? vfork() : fork();
	if (!pid) {
		execlp("sleep", "sleep", "20", (char *)NULL);
		_exit(1);
	}
	t_ms(50);
	close(p[0]);
	/* Linux: at once; the stack: within a few seconds, when it finds the process gone */
	SAY("the peer sees the end: %d\n", t_wait(p[1], POLLIN) >= 0);
	R("recv", recv(p[1], b, 8, MSG_DONTWAIT));
	SAY("it still runs: %d\n", waitpid(pid, &st, WNOHANG) == 0);
	kill(pid, SIGKILL);
	waitpid(pid, &st, 0);
	close(p[1]);
}

static void failed_exec(void)
{
	char *argv[] = { "nothing", NULL };
	char b[8];
	int p[2], st;
	pid_t pid;

	SECTION("an exec that fails leaves the sockets alone");
	t_pair(p);
	pid = fork();
	if (!pid) {
		execv("/does/not/exist", argv);
		_exit(send(p[0], "after", 5, 0) == 5 ? 4 : 1);
	}
	waitpid(pid, &st, 0);
	SAY("child %d\n", WEXITSTATUS(st));
	R("recv", recv(p[1], b, 8, 0));
	close(p[0]);
	R("eof", recv(p[1], b, 8, 0));
	close(p[1]);
}

int main(void)
{
	t_watchdog(60);
	gone_at_exec(false);
	gone_at_exec(true);
	failed_exec();
	return 0;
}

/* t_fcntl.c - numbers: dup, fcntl, ioctl, close_range, lowest-first, what descriptors look like from outside. */
#include "t.h"

#include <linux/close_range.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/stat.h>

static void dups(void)
{
	char buf[16];
	int p[2], d, e;

	SECTION("dup");
	t_pair(p);
	d = dup(p[0]);
	SAY("distinct %d\n", d != p[0] && d >= 0);
	close(p[0]);
	R("write by the duplicate", write(d, "abc", 3));
	R("read", read(p[1], buf, 16));
	e = (int)MUST(dup2(d, 77));
	SAY("dup2 %d\n", e);
	R("dup2 same", dup2(77, 77));
	R("dup3 same", dup3(77, 77, 0));
	R("dup3 cloexec", dup3(77, 78, O_CLOEXEC));
	SAY("cloexec %d %d\n", fcntl(77, F_GETFD), fcntl(78, F_GETFD));
	R("dup3 bad", dup3(77, 79, 0x1234));
	t_nonblock(77, true);
	SAY("status flags are shared: %d\n", !!(fcntl(d, F_GETFL) & O_NONBLOCK));
	R("eagain by the other", read(d, buf, 1));
	close(d);
	close(78);
	R("still open", write(77, "x", 1));
	R("read", read(p[1], buf, 16));
	/* something else over a socket, and a socket over something else */
	d = open("/dev/null", O_WRONLY);
	R("dup2 over the last", dup2(d, 77));
	R("eof at the peer", read(p[1], buf, 16));
	R("write to null", write(77, "x", 1));
	R("socket over null", dup2(p[1], 77));
	R("eof there too", read(77, buf, 16));
	close(77);
	close(d);
	R("F_DUPFD 50", fcntl(p[1], F_DUPFD, 50));
	R("F_DUPFD_CLOEXEC 50", fcntl(p[1], F_DUPFD_CLOEXEC, 50));
	SAY("cloexec %d %d\n", fcntl(50, F_GETFD), fcntl(51, F_GETFD));
	R("F_DUPFD bad", fcntl(p[1], F_DUPFD, -1));
	close(p[1]);
	R("eof", read(51, buf, 1));
	close(50);
	close(51);
	R("dup closed", dup(p[1]));
	R("dup2 closed", dup2(p[1], 77));
	R("dup2 bad target", dup2(1, -1));
}

static void flags(void)
{
	int p[2], v = 1, fd;

	SECTION("fcntl");
	t_pair(p);
	SAY("getfl %o\n", fcntl(p[0], F_GETFL));
	R("setfl", fcntl(p[0], F_SETFL, O_NONBLOCK | O_APPEND));
	SAY("getfl %o\n", fcntl(p[0], F_GETFL));
	R("setfl 0", fcntl(p[0], F_SETFL, 0));
	SAY("getfl %o\n", fcntl(p[0], F_GETFL));
	R("fionbio", ioctl(p[0], FIONBIO, &v));
	SAY("getfl %o\n", fcntl(p[0], F_GETFL));
	v = 0;
	R("fionbio off", ioctl(p[0], FIONBIO, &v));
	SAY("getfl %o\n", fcntl(p[0], F_GETFL));
	R("getfd", fcntl(p[0], F_GETFD));
	R("setfd", fcntl(p[0], F_SETFD, FD_CLOEXEC));
	R("getfd", fcntl(p[0], F_GETFD));
	R("fionclex", ioctl(p[0], FIONCLEX));
	R("getfd", fcntl(p[0], F_GETFD));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	SAY("flags %o fd %d\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	close(fd);
	R("bad cmd", fcntl(p[0], 9999));
	R("setown", fcntl(p[0], F_SETOWN, getpid()));
	SAY("getown right %d\n", fcntl(p[0], F_GETOWN) == getpid());
	close(p[0]);
	close(p[1]);
}

static void ioctls(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	struct stat st;
	int p[2], v = -1;
	char buf[16];

	SECTION("ioctl");
	t_pair(p);
	R("fionread", ioctl(p[1], FIONREAD, &v));
	SAY("%d\n", v);
	MUST(write(p[0], "12345", 5));
	t_wait(p[1], POLLIN);
	R("fionread", ioctl(p[1], FIONREAD, &v));
	SAY("%d\n", v);
	read(p[1], buf, 2);
	ioctl(p[1], FIONREAD, &v);
	SAY("%d\n", v);
	t_ms(60);
	R("outq", ioctl(p[0], SIOCOUTQ, &v));
	SAY("%d\n", v);
	R("atmark", ioctl(p[1], SIOCATMARK, &v));
	SAY("%d\n", v);
	R("interface flags", ioctl(p[0], SIOCGIFFLAGS, &ifr));
	R("tty", isatty(p[0]));
	R("unknown", ioctl(p[0], 0x5499, &v));
	R("fstat", fstat(p[0], &st));
	SAY("socket %d\n", S_ISSOCK(st.st_mode));
	close(p[0]);
	close(p[1]);
}

static void numbers(void)
{
	int p[2], a, b, c;

	SECTION("numbers");
	a = socket(AF_INET, SOCK_STREAM, 0);
	b = socket(AF_INET, SOCK_STREAM, 0);
	c = socket(AF_INET, SOCK_STREAM, 0);
	SAY("first %d then %d %d\n", a, b - a, c - a);
	close(b);
	SAY("lowest free again %d\n", socket(AF_INET, SOCK_STREAM, 0) == b);
	close(a);
	close(b);
	close(c);
	t_pair(p);
	SECTION("ranges");
	MUST(dup2(p[0], 100));
	MUST(dup2(p[0], 101));
	MUST(dup2(p[0], 103));
	R("close_range", close_range(100, 102, 0));
	R("100", fcntl(100, F_GETFD));
	R("103", fcntl(103, F_GETFD));
	R("cloexec range", close_range(103, 200, CLOSE_RANGE_CLOEXEC));
	R("103", fcntl(103, F_GETFD));
	R("bad range", close_range(5, 4, 0));
	closefrom(3);
	R("after closefrom", fcntl(p[0], F_GETFD));
	/* everything goes on afterwards */
	t_pair(p);
	R("write", write(p[0], "x", 1));
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	t_watchdog(60);
	closefrom(3);
	numbers();
	dups();
	flags();
	ioctls();
	return 0;
}

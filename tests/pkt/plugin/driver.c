/* driver.c - uses libgazelle_packetdrill.so as the public tool does: loaded with RTLD_DEEPBIND, packets through the table, events awaited by
 * sleeping and then spinning on its clock, blocking calls in a second thread, TCP_INFO asked of libc.
 * usage: driver [-f FLAGS] LIBRARY. Prints what failed; exit status 0: nothing. */
#include "frame.h"
#include "interface.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct packetdrill_interface pd;
static void *u;
static unsigned checks, failures;

#define CHECK(cond)                                                           \
	do {                                                                  \
		checks++;                                                     \
		if (!(cond)) {                                                \
			failures++;                                           \
			printf("driver.c:%d: not so: %s\n", __LINE__, #cond); \
		}                                                             \
	} while (0)

static uint32_t local_isn;
static uint16_t local_port = 8080, remote_port = 50000;

static long long now(void)
{
	struct timeval tv;

	pd.gettimeofday(u, &tv, NULL);
	return tv.tv_sec * 1000000LL + tv.tv_usec;
}

/* As the tool: sleep to a millisecond before, then look at the clock. */
static void wait_until(long long t)
{
	long long left = t - now();
	unsigned reads = 0;

	if (left > 1000)
		pd.usleep(u, (useconds_t)(left - 1000));
	while (now() < t && ++reads < 100000)
		;
	CHECK(reads < 100000); /* the clock advances while it is read */
}

static void in(uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len, bool syn_opts)
{
	static uint8_t data[2000];
	struct seg s = { .kind = SEG_TCP, .saddr = htonl(0xc0000201), .daddr = htonl(0xc0a80001), .sport = remote_port, .dport = local_port,
			 .seq = 1000 + seq, .ack = flags & TH_ACK ? local_isn + ack : 0, .flags = flags, .win = 500, .data = data, .len = len };
	struct frame *f;
	uint32_t n;

	if (syn_opts) {
		s.win = 32792;
		s.opt.has_mss = s.opt.has_sackok = s.opt.has_ws = true;
		s.opt.mss = 1000;
		s.opt.ws = 7;
	}
	f = seg_build(&s);
	n = (uint32_t)(f->data[SEG_ETH_BYTES + 2] << 8 | f->data[SEG_ETH_BYTES + 3]);
	CHECK(pd.netdev_send(u, f->data + SEG_ETH_BYTES, n) == 0);
	free(f);
}

/* The next packet; its bytes stay valid until the next call. */
static struct seg out(long long *when)
{
	static struct frame *f;
	struct seg s = { .len = 0 };
	size_t n = 70000;
	long long t;

	if (!f)
		f = frame_alloc(SEG_ETH_BYTES + 70000);
	CHECK(pd.netdev_receive(u, f->data + SEG_ETH_BYTES, &n, &t) == 0);
	f->data[12] = 8;
	f->len = SEG_ETH_BYTES + (uint32_t)n;
	f->gso_size = n > 1500;
	seg_parse(f, &s, NULL);
	if (when)
		*when = t;
	return s;
}

/* --- blocking calls, in the second thread --- */

static struct job {
	int kind, fd, result, err;
	char buf[4000];
	long long done;
	_Atomic int tid, over;
} job;

static void *job_main(void *arg)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(0xc0000201) };

	atomic_store(&job.tid, gettid());
	switch (job.kind) {
	case 'a':
		job.result = pd.accept(u, job.fd, NULL, NULL);
		break;
	case 'r':
		job.result = (int)pd.read(u, job.fd, job.buf, sizeof(job.buf));
		break;
	default:
		job.result = pd.connect(u, job.fd, (struct sockaddr *)&sa, sizeof(sa));
		break;
	}
	job.err = errno;
	job.done = now();
	atomic_store(&job.over, 1);
	return NULL;
}

static pthread_t start_job(int kind, int fd)
{
	char path[64], line[256], *p;
	pthread_t t;
	bool asleep = false;

	memset(&job, 0, sizeof(job));
	job.kind = kind;
	job.fd = fd;
	pthread_create(&t, NULL, job_main, NULL);
	while (!atomic_load(&job.tid))
		usleep(100);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&job.tid));
	for (unsigned i = 0; i < 20000 && !asleep && !atomic_load(&job.over); i++) { /* the tool goes on when the thread sleeps */
		FILE *f = fopen(path, "r");

		if (f && fgets(line, sizeof(line), f) && (p = strrchr(line, ')')))
			asleep = p[2] == 'S';
		if (f)
			fclose(f);
		usleep(100);
	}
	CHECK(asleep);
	return t;
}

int main(int argc, char **argv)
{
	void (*init)(const char *flags, struct packetdrill_interface *ifc);
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(0xc0a80001) };
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 77 };
	struct pollfd pfd;
	struct tcp_info info;
	socklen_t len = sizeof(info);
	struct seg s;
	pthread_t t;
	long long t0, when;
	void *lib;
	int l, c, fd, ep, pipefd[2], one = 1;
	const char *flags = "";
	char buf[4000] = "";
	uint32_t each;

	/* as in the tool, optarg is the program's own: DPDK's parser has to find that one */
	while ((fd = getopt(argc, argv, "f:")) == 'f')
		flags = optarg;
	if (fd != -1 || optind != argc - 1)
		return 2;
	lib = dlopen(argv[optind], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | DEEPBIND);
	if (!lib) {
		printf("%s\n", dlerror());
		return 1;
	}
	*(void **)&init = dlsym(lib, "packetdrill_interface_init");
	CHECK(init != NULL);
	if (!init)
		return 1;
	init(flags, &pd);
	u = pd.userdata;

	/* the clock */
	t0 = now();
	CHECK(now() > t0);
	pd.usleep(u, 250000);
	CHECK(now() >= t0 + 250000 && now() < t0 + 251000);

	/* a listener, a blocking accept */
	l = pd.socket(u, AF_INET, SOCK_STREAM, IPPROTO_TCP);
	CHECK(l > 2);
	CHECK(pd.setsockopt(u, l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	CHECK(pd.bind(u, l, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	CHECK(pd.bind(u, l, (struct sockaddr *)&sa, sizeof(sa)) == -1 && errno == EINVAL);
	CHECK(pd.listen(u, l, 1) == 0);
	t0 = now();
	t = start_job('a', l);
	wait_until(t0 + 10000);
	in(TH_SYN, 0, 0, 0, true);
	s = out(&when);
	CHECK(s.kind == SEG_TCP && s.flags == (TH_SYN | TH_ACK) && s.ack == 1001 && s.ip_csum_ok && s.l4_csum_ok);
	CHECK(when >= t0 + 9000 && when <= t0 + 12000);
	local_isn = s.seq;
	wait_until(t0 + 100000);
	CHECK(!atomic_load(&job.over));
	in(TH_ACK, 1, 1, 0, false);
	pd.usleep(u, 50000);
	pthread_join(t, NULL);
	CHECK(job.result > 2);
	CHECK(job.done >= t0 + 99000 && job.done <= t0 + 104000); /* its time of return is not the sleeper's */
	c = job.result;

	/* data both ways: two frames as a kernel sends them, with PSH; cut, it is on the last segment of each */
	CHECK(pd.write(u, c, buf, 4000) == 4000);
	each = *flags ? 1000 : 2000;
	for (uint32_t at = 0; at < 4000; at += each) {
		s = out(&when);
		CHECK(s.len == each && s.seq == local_isn + 1 + at);
		CHECK(!!(s.flags & TH_PSH) == ((at + each) % 2000 == 0));
	}
	in(TH_ACK, 1, 4001, 0, false);
	t0 = now();
	t = start_job('r', c);
	wait_until(t0 + 20000);
	in(TH_ACK | TH_PSH, 1, 4001, 500, false);
	pd.usleep(u, 1000);
	pthread_join(t, NULL);
	CHECK(job.result == 500 && job.done >= t0 + 19000 && job.done <= t0 + 24000);
	s = out(NULL);
	CHECK(s.len == 0 && s.ack == 1501);

	/* tcp_info by libc, as the tool's code blocks ask for it */
	memset(&info, 0, sizeof(info));
	CHECK(getsockopt(c, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
	CHECK(info.tcpi_state == 1 && info.tcpi_snd_mss == 1000 && info.tcpi_unacked == 0);
	CHECK(info.tcpi_snd_cwnd >= 10);

	/* options, ioctl, fcntl */
	len = sizeof(one);
	CHECK(pd.getsockopt(u, c, IPPROTO_TCP, TCP_NODELAY, &one, &len) == 0 && one == 0);
	CHECK(pd.fcntl(u, c, F_SETFL, O_RDWR | O_NONBLOCK) == 0);
	CHECK((pd.fcntl(u, c, F_GETFL, 0) & O_NONBLOCK) != 0);
	CHECK(pd.read(u, c, buf, 10) == -1 && errno == EAGAIN);

	/* poll, epoll, their time-outs */
	pfd = (struct pollfd){ .fd = c, .events = POLLIN | POLLOUT };
	CHECK(pd.poll(u, &pfd, 1, 0) == 1 && pfd.revents == POLLOUT);
	ep = pd.epoll_create(u, 1);
	CHECK(ep > 2 && pd.epoll_ctl(u, ep, EPOLL_CTL_ADD, c, &ev) == 0);
	CHECK(pd.epoll_wait(u, ep, &ev, 1, 0) == 0);
	in(TH_ACK | TH_PSH, 501, 4001, 300, false);
	CHECK(pd.epoll_wait(u, ep, &ev, 1, 0) == 1 && ev.events == EPOLLIN && ev.data.u64 == 77);

	/* a pipe */
	CHECK(pd.pipe(u, pipefd) == 0);
	CHECK(pd.splice(u, c, NULL, pipefd[1], NULL, 1000, 0) == 300);
	CHECK(pd.read(u, pipefd[0], buf, 1000) == 300);
	CHECK(pd.close(u, pipefd[0]) == 0 && pd.close(u, pipefd[1]) == 0);
	s = out(NULL);
	CHECK(s.ack == 1801);

	/* a retransmission comes when it is due, without anybody sleeping */
	t0 = now();
	CHECK(pd.write(u, c, buf, 100) == 100);
	s = out(NULL);
	CHECK(s.len == 100);
	s = out(&when);
	CHECK(s.len == 100 && when - t0 >= 150000 && when - t0 <= 700000);
	in(TH_ACK, 801, 4101, 0, false);

	/* close */
	CHECK(pd.close(u, c) == 0 && pd.close(u, c) == -1 && errno == EBADF);
	s = out(NULL);
	CHECK(s.flags & TH_FIN);
	in(TH_RST | TH_ACK, 801, 4102, 0, false);

	/* a blocking connect that is refused */
	fd = pd.socket(u, AF_INET, SOCK_STREAM, IPPROTO_TCP);
	t0 = now();
	t = start_job('c', fd);
	s = out(NULL);
	CHECK(s.flags == TH_SYN && s.dport == 8080);
	remote_port = 8080;
	local_port = s.sport;
	local_isn = s.seq;
	wait_until(t0 + 30000);
	in(TH_RST | TH_ACK, 0, 1, 0, false);
	pd.usleep(u, 1000);
	pthread_join(t, NULL);
	CHECK(job.result == -1 && job.err == ECONNREFUSED);
	CHECK(job.done >= t0 + 29000 && job.done <= t0 + 34000);
	CHECK(pd.close(u, fd) == 0 && pd.close(u, l) == 0 && pd.close(u, ep) == 0);

	/* a packet that never comes ends the waiting with something that is no packet */
	{
		size_t n = sizeof(buf);

		CHECK(pd.netdev_receive(u, buf, &n, &when) == 0 && (buf[0] & 0xf) == 0xf);
	}
	pd.free(u);
	dlclose(lib);
	printf("%u checks, %u failed\n", checks, failures);
	return failures != 0;
}

/* sut_kernel.c - the kernel of this machine as system under test: a tun device in a network namespace of its own, real sockets, real time. What a
 * script says about Linux is checked here, so that scripts are ground truth for the stack.
 *
 * Packets that leave are taken by a packet socket, which has the kernel's time of sending; the tun device offers segmentation offload, so
 * chunks arrive whole, as packetdrill sees them. A call that the script lets block runs in a second thread. Called by run.c, in a child
 * process per script (main.c): namespaces, sysctls and sockets end with it. Needs root.
 */
#include "info.h"
#include "sut.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SPIN_US 200 /* sleep until so long before a moment, then look at the clock */

static struct {
	int tun, sniff;
	uint32_t mss;
	struct frame *head, **tail;
	pthread_t thread;
	bool thread_runs;
	_Atomic bool thread_done;
} k;

#define ROUTE "192.0.2.0/24 via 192.168.0.2 dev tun0"

static uint64_t kernel_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts); /* what packet sockets stamp with */
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static bool write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return ok;
}

static int run(const char *cmd, char *why, size_t n)
{
	int rc = system(cmd);

	if (rc)
		snprintf(why, n, "status %d of: %s", rc, cmd);
	return rc ? -1 : 0;
}

static bool kernel_sysctl(void *arg, const char *name, const char *value, char *why, size_t n)
{
	char path[200];

	/* the machine may not allow all of them in a namespace; for a route it does */
	if (!strcmp(name, "tcp_congestion_control")) {
		snprintf(path, sizeof(path), "ip route change " ROUTE " congctl %.16s", value);
		return !run(path, why, n);
	}
	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	if (write_file(path, value))
		return true;
	snprintf(why, n, "cannot set %s to %s: %s", name, value, strerror(errno));
	return false;
}

static int open_tun(char *why, size_t n)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int one = 1, vnet = sizeof(struct virtio_net_hdr);

	snprintf(ifr.ifr_name, IFNAMSIZ, "tun0");
	k.tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (k.tun < 0 || ioctl(k.tun, TUNSETIFF, &ifr) || ioctl(k.tun, TUNSETVNETHDRSZ, &vnet) ||
	    ioctl(k.tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)) {
		snprintf(why, n, "/dev/net/tun: %s", strerror(errno));
		return -1;
	}
	k.sniff = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
	ll.sll_ifindex = (int)if_nametoindex("tun0");
	if (k.sniff < 0 || bind(k.sniff, (struct sockaddr *)&ll, sizeof(ll)) ||
	    setsockopt(k.sniff, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one))) {
		snprintf(why, n, "packet socket: %s", strerror(errno));
		return -1;
	}
	return 0;
}

static int kernel_open(const struct script *sc, char *why, size_t n)
{
	struct sched_param rt = { .sched_priority = 1 };
	char cmd[400];

	memset(&k, 0, sizeof(k));
	k.tail = &k.head;
	k.mss = (uint32_t)sc->mss;
	if (unshare(CLONE_NEWNET)) {
		snprintf(why, n, "a network namespace needs root: %s", strerror(errno));
		return -1;
	}
	if (open_tun(why, n))
		return -1;
	write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	snprintf(cmd, sizeof(cmd),
		 "ip link set lo up && ip link set tun0 mtu %d && ip addr add 192.168.0.1/16 dev tun0 && ip link set tun0 up && "
		 "ip route add " ROUTE " congctl cubic",
		 (int)(sc->mtu ? sc->mtu : 1500));
	if (run(cmd, why, n))
		return -1;
	/* what a script does not say is Linux's default, not this machine's */
	write_file("/proc/sys/net/ipv4/tcp_congestion_control", "cubic");
	write_file("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 6291456");
	write_file("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 4194304");
	write_file("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
	sched_setscheduler(0, SCHED_FIFO, &rt); /* a busy machine makes packets late */
	return 0;
}

static int kernel_close(bool failed, char *why, size_t n)
{
	for (struct frame *f; (f = k.head); free(f))
		k.head = f->next;
	close(k.tun);
	close(k.sniff);
	return 0;
}

/* --- packets --- */

/* What has left goes onto the list; what lies in the device is thrown away: the packet socket had it. */
static void take_frames(void)
{
	static uint8_t buf[70000];
	union {
		uint64_t align;
		char bytes[128];
	} control;

	for (;;) {
		struct sockaddr_ll from;
		struct iovec iov = { buf, sizeof(buf) };
		struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
				      .msg_control = &control, .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(k.sniff, &msg, 0);
		struct frame *f;
		struct timespec ts = { 0, 0 };

		if (n < 0)
			break;
		if (from.sll_pkttype != PACKET_OUTGOING || ntohs(from.sll_protocol) != ETH_P_IP || n < 20 || (buf[9] != IPPROTO_TCP && buf[9] != IPPROTO_UDP && buf[9] != IPPROTO_ICMP))
			continue;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS)
				memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		f = frame_alloc(SEG_ETH_BYTES + (uint32_t)n);
		f->data[12] = 8;
		memcpy(f->data + SEG_ETH_BYTES, buf, (size_t)n);
		f->len = SEG_ETH_BYTES + (uint32_t)n;
		f->gso_size = n > 1500 ? 1 : 0; /* longer than the IP length field may say */
		f->time_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
		*k.tail = f;
		k.tail = &f->next;
	}
	while (read(k.tun, buf, sizeof(buf)) > 0)
		;
}

static void kernel_pass(uint64_t until, bool wake_on_frame, void (*tick)(void *arg), void *arg)
{
	for (;;) {
		uint64_t now = kernel_now(), left = until > now ? until - now : 0;
		struct pollfd p[2] = { { .fd = k.sniff, .events = POLLIN }, { .fd = k.tun, .events = POLLIN } };
		struct timespec ts = { 0, 0 };

		take_frames();
		tick(arg);
		if (!left || (wake_on_frame && k.head))
			return;
		if (left > SPIN_US) {
			left = MIN(left - SPIN_US, 50000); /* the other thread's end is looked at now and then */
			ts = (struct timespec){ (time_t)(left / 1000000), (long)(left % 1000000) * 1000 };
			ppoll(p, 2, &ts, NULL);
		}
	}
}

static struct frame *kernel_pop(void)
{
	struct frame *f;

	take_frames();
	f = k.head;
	if (f) {
		k.head = f->next;
		if (!k.head)
			k.tail = &k.head;
	}
	return f;
}

static void kernel_push(struct frame *f, bool more)
{
	struct virtio_net_hdr h = { 0 };
	/* the frame may be padded to Ethernet's minimum */
	uint32_t n = (uint32_t)(f->data[SEG_ETH_BYTES + 2] << 8 | f->data[SEG_ETH_BYTES + 3]);
	struct iovec iov[2] = { { &h, sizeof(h) }, { f->data + SEG_ETH_BYTES, n } };

	if (k.mss && n > k.mss + 60 && f->data[SEG_ETH_BYTES + 9] == IPPROTO_TCP) {
		h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		h.gso_size = (uint16_t)k.mss;
	}
	if (writev(k.tun, iov, 2) < 0)
		fprintf(stderr, "tun: %s\n", strerror(errno));
	free(f);
}

/* --- calls --- */

static int64_t do_io(struct call *c)
{
	switch (c->nr) {
	case CALL_READ:
		return read(c->fd, c->buf, c->buf_bytes);
	case CALL_READV:
		return readv(c->fd, c->iov, (int)c->msg.msg_iovlen);
	case CALL_RECV:
		return recv(c->fd, c->buf, c->buf_bytes, c->a);
	case CALL_RECVFROM:
		return recvfrom(c->fd, c->buf, c->buf_bytes, c->a, (struct sockaddr *)&c->sa, &c->sa_len);
	case CALL_RECVMSG:
		return recvmsg(c->fd, &c->msg, c->a);
	case CALL_WRITE:
		return write(c->fd, c->buf, c->buf_bytes);
	case CALL_WRITEV:
		return writev(c->fd, c->iov, (int)c->msg.msg_iovlen);
	case CALL_SEND:
		return send(c->fd, c->buf, c->buf_bytes, c->a);
	case CALL_SENDTO:
		return sendto(c->fd, c->buf, c->buf_bytes, c->a, c->msg.msg_name, c->msg.msg_namelen);
	default:
		return sendmsg(c->fd, &c->msg, c->a);
	}
}

static int64_t do_call(struct call *c)
{
	switch (c->nr) {
	case CALL_SOCKET:
		return socket(c->fd, c->a | SOCK_CLOEXEC, c->b);
	case CALL_BIND:
		return bind(c->fd, (struct sockaddr *)&c->sa, c->sa_len);
	case CALL_LISTEN:
		return listen(c->fd, c->a);
	case CALL_ACCEPT:
	case CALL_ACCEPT4:
		return accept4(c->fd, (struct sockaddr *)&c->sa, &c->sa_len, c->a);
	case CALL_CONNECT:
		return connect(c->fd, (struct sockaddr *)&c->sa, c->sa_len);
	case CALL_FCNTL:
		return fcntl(c->fd, c->a, c->b);
	case CALL_IOCTL:
		return ioctl(c->fd, c->req, c->val.bytes);
	case CALL_CLOSE:
		return close(c->fd);
	case CALL_SHUTDOWN:
		return shutdown(c->fd, c->a);
	case CALL_GETSOCKOPT:
		return getsockopt(c->fd, c->a, c->b, c->val.bytes, &c->val_len);
	case CALL_SETSOCKOPT:
		return setsockopt(c->fd, c->a, c->b, c->val.bytes, c->val_len);
	case CALL_POLL:
		return poll(c->pfd, c->npfd, c->a);
	case CALL_EPOLL_CREATE:
	case CALL_EPOLL_CREATE1:
		return epoll_create1(EPOLL_CLOEXEC);
	case CALL_EPOLL_CTL:
		return epoll_ctl(c->fd, c->a, c->fd2, c->ev);
	case CALL_EPOLL_WAIT:
		return epoll_wait(c->fd, c->ev, c->a, c->b);
	case CALL_PIPE:
	case CALL_PIPE2:
		return pipe2(c->pipefd, c->a);
	case CALL_SPLICE:
		return splice(c->fd, NULL, c->fd2, NULL, c->count, c->flags);
	case CALL_GETSOCKNAME:
		return getsockname(c->fd, (struct sockaddr *)&c->sa, &c->sa_len);
	case CALL_GETPEERNAME:
		return getpeername(c->fd, (struct sockaddr *)&c->sa, &c->sa_len);
	default:
		return do_io(c);
	}
}

static void one_call(struct call *c)
{
	errno = 0;
	c->result = do_call(c);
	if (c->result < 0)
		c->result = -errno;
	c->done_us = kernel_now();
}

static void *thread_main(void *arg)
{
	one_call(arg);
	atomic_store_explicit(&k.thread_done, true, memory_order_release);
	return NULL;
}

static bool kernel_poll(struct call *c)
{
	if (!atomic_load_explicit(&k.thread_done, memory_order_acquire))
		return false;
	pthread_join(k.thread, NULL);
	k.thread_runs = false;
	return true;
}

static bool kernel_start(struct call *c, bool blocking)
{
	struct timespec ts = { 0, 300000 };

	if (!blocking) {
		one_call(c);
		return true;
	}
	atomic_store(&k.thread_done, false);
	if (pthread_create(&k.thread, NULL, thread_main, c))
		abort();
	k.thread_runs = true;
	nanosleep(&ts, NULL); /* it gets to the kernel before the next packet does */
	return false;
}

static void kernel_info(int fd, void *out)
{
	socklen_t len = INFO_BYTES;

	getsockopt(fd, IPPROTO_TCP, INFO_OPTION, out, &len);
}

const struct sut sut_kernel = { .name = "kernel", .open = kernel_open, .close = kernel_close, .now_us = kernel_now, .pass = kernel_pass,
				.pop = kernel_pop, .push = kernel_push, .start = kernel_start, .poll = kernel_poll,
				.sysctl = kernel_sysctl, .info = kernel_info };

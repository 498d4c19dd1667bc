/* t_udp.c - datagram sockets: boundaries, truncation, connected and not, control data, zero length, errors. */
#include "t.h"

#include <sys/select.h>

static int udp(int *port)
{
	struct sockaddr_in sa = t_sa(t_addr(), 0);
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	*port = t_port(fd);
	return fd;
}

static void basics(void)
{
	struct sockaddr_in sa, from;
	socklen_t len = sizeof(from);
	char buf[100];
	int pa, pb, a = udp(&pa), b = udp(&pb), v;

	SECTION("sendto and recvfrom");
	sa = t_sa(t_addr(), pb);
	R("sendto", sendto(a, "hello", 5, 0, (struct sockaddr *)&sa, sizeof(sa)));
	R("sendto", sendto(a, "wide world", 10, 0, (struct sockaddr *)&sa, sizeof(sa)));
	R("empty", sendto(a, "", 0, 0, (struct sockaddr *)&sa, sizeof(sa)));
	t_wait(b, POLLIN);
	R("fionread", ioctl(b, FIONREAD, &v));
	SAY("%d\n", v);
	R("recvfrom", recvfrom(b, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len));
	SAY("from %s right port %d len %u\n", inet_ntoa(from.sin_addr), ntohs(from.sin_port) == pa, len);
	R("truncated", recv(b, buf, 4, 0));
	R("empty one", recv(b, buf, 4, 0));
	R("nothing", recv(b, buf, 4, MSG_DONTWAIT));
	R("sendto", sendto(a, "0123456789", 10, 0, (struct sockaddr *)&sa, sizeof(sa)));
	t_wait(b, POLLIN);
	R("peek trunc", recv(b, buf, 3, MSG_PEEK | MSG_TRUNC));
	{
		struct iovec iov = { buf, 4 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof(from) };

		R("recvmsg", recvmsg(b, &m, 0));
		SAY("flags %x namelen %u\n", (unsigned)m.msg_flags, m.msg_namelen);
	}
	R("no address", send(a, "x", 1, 0));
	R("port 0", sendto(a, "x", 1, 0, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = sa.sin_addr }, sizeof(sa)));
	R("short address", sendto(a, "x", 1, 0, (struct sockaddr *)&sa, 4));
	R("listen", listen(a, 1));
	R("accept", accept(a, NULL, NULL));
	t_poll("poll", a, POLLIN | POLLOUT, 0);
	R("too big", sendto(a, malloc(70000), 70000, 0, (struct sockaddr *)&sa, sizeof(sa)));

	SECTION("connected");
	R("connect", connect(a, (struct sockaddr *)&sa, sizeof(sa)));
	R("send", send(a, "abc", 3, 0));
	R("write", write(a, "de", 2));
	R("recv", recv(b, buf, sizeof(buf), 0));
	R("read", read(b, buf, sizeof(buf)));
	len = sizeof(from);
	R("getpeername", getpeername(a, (struct sockaddr *)&from, &len));
	SAY("%d\n", ntohs(from.sin_port) == pb);
	{
		int pc, c = udp(&pc);
		struct sockaddr_in to = t_sa(t_addr(), pa);

		R("from a stranger", sendto(c, "no", 2, 0, (struct sockaddr *)&to, sizeof(to)));
		R("not delivered", recv(a, buf, 8, MSG_DONTWAIT));
		R("from the peer", sendto(b, "yes", 3, 0, (struct sockaddr *)&to, sizeof(to)));
		R("delivered", recv(a, buf, 8, 0));
		close(c);
	}
	R("shutdown rd", shutdown(a, SHUT_RD));
	R("recv", recv(a, buf, 8, 0));
	memset(&from, 0, sizeof(from));
	from.sin_family = AF_UNSPEC;
	R("dissolve", connect(a, (struct sockaddr *)&from, sizeof(from)));
	R("getpeername", getpeername(a, (struct sockaddr *)&from, &len));
	close(a);
	close(b);
}

static void refused(void)
{
	struct sockaddr_in sa;
	char buf[8];
	int pa, pb, a = udp(&pa), b = udp(&pb);

	SECTION("nobody there");
	sa = t_sa(t_addr(), pb);
	MUST(connect(a, (struct sockaddr *)&sa, sizeof(sa)));
	close(b);
	R("send", send(a, "x", 1, 0));
	t_wait(a, POLLERR);
	t_poll("poll", a, POLLIN | POLLOUT, 0);
	R("recv", recv(a, buf, 8, 0));
	R("send", send(a, "x", 1, 0));
	t_wait(a, POLLERR);
	SAY("so_error %s\n", t_err(t_so_error(a)));
	close(a);
}

static void control(void)
{
	struct sockaddr_in sa;
	char buf[64], ctl[256];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl) };
	int pa, pb, a = udp(&pa), b = udp(&pb), one = 1, tos = 0x10, ttl = 33;

	SECTION("control data");
	R("pktinfo", setsockopt(b, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)));
	R("recvttl", setsockopt(b, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one)));
	R("recvtos", setsockopt(b, IPPROTO_IP, IP_RECVTOS, &one, sizeof(one)));
	R("timestamp", setsockopt(b, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof(one)));
	R("tos", setsockopt(a, IPPROTO_IP, IP_TOS, &tos, sizeof(tos)));
	R("ttl", setsockopt(a, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)));
	sa = t_sa(t_addr(), pb);
	R("sendto", sendto(a, "ctl", 3, 0, (struct sockaddr *)&sa, sizeof(sa)));
	R("recvmsg", recvmsg(b, &m, 0));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *pi = (void *)CMSG_DATA(c);

			SAY("pktinfo %s\n", inet_ntoa(pi->ipi_addr));
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
			SAY("ttl %d\n", *(int *)CMSG_DATA(c));
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			SAY("tos %x\n", *CMSG_DATA(c));
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP) {
			struct timeval *tv = (void *)CMSG_DATA(c);

			SAY("timestamp %s\n", time(NULL) - tv->tv_sec < 5 ? "now" : "wrong");
		} else {
			SAY("%d %d\n", c->cmsg_level, c->cmsg_type);
		}
	}
	close(a);
	close(b);
}

static void multi(void)
{
	struct mmsghdr out[4] = { 0 }, in[6] = { 0 };
	struct iovec io[4], ii[6];
	char text[4][8] = { "a", "bb", "ccc", "dddd" }, buf[6][8];
	struct sockaddr_in sa;
	int pa, pb, a = udp(&pa), b = udp(&pb), n;

	SECTION("sendmmsg and recvmmsg");
	sa = t_sa(t_addr(), pb);
	for (int i = 0; i < 4; i++) {
		io[i] = (struct iovec){ text[i], (size_t)i + 1 };
		out[i].msg_hdr = (struct msghdr){ .msg_iov = &io[i], .msg_iovlen = 1, .msg_name = &sa, .msg_namelen = sizeof(sa) };
	}
	R("sendmmsg", sendmmsg(a, out, 4, 0));
	SAY("%u %u %u %u\n", out[0].msg_len, out[1].msg_len, out[2].msg_len, out[3].msg_len);
	for (int i = 0; i < 6; i++) {
		ii[i] = (struct iovec){ buf[i], 8 };
		in[i].msg_hdr = (struct msghdr){ .msg_iov = &ii[i], .msg_iovlen = 1 };
	}
	t_ms(20);
	n = (int)R("recvmmsg", recvmmsg(b, in, 6, MSG_WAITFORONE, NULL));
	for (int i = 0; i < n; i++)
		SAY("%u %.*s\n", in[i].msg_len, (int)in[i].msg_len, buf[i]);
	R("recvmmsg empty", recvmmsg(b, in, 6, MSG_DONTWAIT, NULL));
	R("sendmmsg 0", sendmmsg(a, out, 0, 0));
	close(a);
	close(b);
}

/* A socket bound to nothing that sends here and there; one bound to ANY that hears from both. */
static void both_sides(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET }, sa, lo, from;
	socklen_t len;
	char buf[16];
	int port, a, b, r, ep;

	SECTION("both sides");
	b = socket(AF_INET, SOCK_DGRAM, 0);
	MUST(bind(b, (struct sockaddr *)&any, sizeof(any)));
	port = t_port(b);
	a = socket(AF_INET, SOCK_DGRAM, 0);
	sa = t_sa(t_addr(), port);
	lo = t_sa("127.0.0.1", port);
	for (int i = 0; i < 2; i++) {
		R("to the address", sendto(a, "one", 3, 0, (struct sockaddr *)&sa, sizeof(sa)));
		len = sizeof(from);
		R("recv", recvfrom(b, buf, 16, 0, (struct sockaddr *)&from, &len));
		SAY("from %s\n", inet_ntoa(from.sin_addr));
		R("answer", sendto(b, "back", 4, 0, (struct sockaddr *)&from, len));
		R("got", recv(a, buf, 16, 0));
		R("to loopback", sendto(a, "loop", 4, 0, (struct sockaddr *)&lo, sizeof(lo)));
		len = sizeof(from);
		R("recv", recvfrom(b, buf, 16, 0, (struct sockaddr *)&from, &len));
		SAY("from %s\n", inet_ntoa(from.sin_addr));
		R("answer", sendto(b, "back", 4, 0, (struct sockaddr *)&from, len));
		R("got", recv(a, buf, 16, 0));
	}
	ep = epoll_create1(0);
	R("add", epoll_ctl(ep, EPOLL_CTL_ADD, b, &(struct epoll_event){ .events = EPOLLIN }));
	for (int i = 0; i < 2; i++) {
		struct epoll_event e;

		r = (int)sendto(a, "x", 1, 0, (struct sockaddr *)(i ? &lo : &sa), sizeof(sa));
		R("wait", epoll_wait(ep, &e, 1, 1000));
		t_poll("poll", b, POLLIN, 1000);
		R("recv", recv(b, buf, 16, 0));
		R("wait", epoll_wait(ep, &e, 1, 0));
	}
	close(a);
	close(b);
	close(ep);
	(void)r;
}

int main(void)
{
	t_watchdog(60);
	basics();
	refused();
	control();
	multi();
	both_sides();
	return 0;
}

/* t_udp_err.c - the error queue of datagram sockets: IP_RECVERR and MSG_ERRQUEUE after "port unreachable". */
#include "t.h"

#include <linux/errqueue.h>

static int udp(int *port)
{
	struct sockaddr_in sa = t_sa(t_addr(), 0);
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	*port = t_port(fd);
	return fd;
}

static void queue(int fd, int want_port, size_t room, size_t control_room)
{
	char buf[200] = { 0 }, control[512];
	struct sockaddr_in to = { 0 };
	struct iovec v = { buf, room };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = control_room, .msg_name = &to,
			    .msg_namelen = sizeof(to) };

	if (R("recvmsg", recvmsg(fd, &m, MSG_ERRQUEUE)) < 0)
		return;
	SAY("flags %x name %u %s right port %d data '%s'\n", (unsigned)m.msg_flags, m.msg_namelen,
	    to.sin_addr.s_addr == t_sa(t_addr(), 0).sin_addr.s_addr ? "right address" : "wrong address", ntohs(to.sin_port) == want_port, buf);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		struct {
			struct sock_extended_err ee;
			struct sockaddr_in offender;
		} e = { 0 };
		size_t n = c->cmsg_len - CMSG_LEN(0);

		SAY("level %d type %d bytes %zu\n", c->cmsg_level, c->cmsg_type, n);
		if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR)
			continue;
		memcpy(&e, CMSG_DATA(c), n < sizeof(e) ? n : sizeof(e));
		SAY("%s origin %d type %d code %d info %u data %u offender family %d %s\n", t_err((int)e.ee.ee_errno), e.ee.ee_origin, e.ee.ee_type,
		    e.ee.ee_code, e.ee.ee_info, e.ee.ee_data, e.offender.sin_family,
		    e.offender.sin_addr.s_addr == t_sa(t_addr(), 0).sin_addr.s_addr ? "right" : "wrong");
	}
}

int main(void)
{
	int closed, port, fd = udp(&port), one = 1, gone = udp(&closed), err;
	struct sockaddr_in to = t_sa(t_addr(), closed);
	socklen_t len = sizeof(err);
	char buf[100];

	close(gone);
	SECTION("nobody asked");
	queue(fd, closed, 100, 512);
	R("sendto", sendto(fd, "unheard", 7, 0, (struct sockaddr *)&to, sizeof(to)));
	usleep(50000);
	t_poll("poll", fd, POLLIN | POLLOUT | POLLERR, 0);
	queue(fd, closed, 100, 512);

	SECTION("asked");
	R("IP_RECVERR", setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one)));
	R("sendto", sendto(fd, "first", 5, 0, (struct sockaddr *)&to, sizeof(to)));
	t_wait(fd, POLLERR);
	usleep(50000);
	t_poll("poll", fd, POLLIN | POLLOUT, 0);
	R("recv tells the error", recv(fd, buf, sizeof(buf), MSG_DONTWAIT));
	R("once", recv(fd, buf, sizeof(buf), MSG_DONTWAIT));
	t_poll("poll: the entry waits", fd, POLLIN | POLLOUT, 0);
	queue(fd, closed, 100, 512);
	queue(fd, closed, 100, 512);
	t_poll("poll", fd, POLLIN | POLLOUT, 0);

	SECTION("two, with little room");
	R("sendto", sendto(fd, "second", 6, 0, (struct sockaddr *)&to, sizeof(to)));
	t_wait(fd, POLLERR);
	usleep(50000);
	R("SO_ERROR", getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len));
	SAY("%s\n", t_err(err));
	R("sendto", sendto(fd, "third", 5, 0, (struct sockaddr *)&to, sizeof(to)));
	usleep(50000);
	queue(fd, closed, 3, 512);
	R("SO_ERROR: of the next entry", getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len));
	SAY("%s\n", t_err(err));
	queue(fd, closed, 100, 20);
	R("SO_ERROR: none", getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len));
	SAY("%s\n", err ? t_err(err) : "0");
	queue(fd, closed, 100, 512);

	SECTION("left behind");
	R("sendto", sendto(fd, "fourth", 6, 0, (struct sockaddr *)&to, sizeof(to)));
	t_wait(fd, POLLERR);
	R("close", close(fd));
	return 0;
}

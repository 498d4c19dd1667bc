/* t_udp_gso.c - several datagrams in one call: UDP_SEGMENT by option and by control data, UDP_GRO, their limits and errors. */
#include "t.h"

#include <netinet/udp.h>

static int udp(int *port)
{
	struct sockaddr_in sa = t_sa(t_addr(), 0);
	int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	*port = t_port(fd);
	return fd;
}

static void set(int fd, int name, int v, const char *what)
{
	R(what, setsockopt(fd, IPPROTO_UDP, name, &v, sizeof(v)));
}

static void get(int fd, int name, const char *what)
{
	int v = -1;
	socklen_t len = sizeof(v);

	R(what, getsockopt(fd, IPPROTO_UDP, name, &v, &len));
	SAY("%d, %u bytes\n", v, len);
}

static char out[65536], in[65536];

/* recvmsg with room for control data; says how much came, the segment size told, and whether the bytes are right from `at` on */
static ssize_t take(int fd, size_t room, size_t at)
{
	char control[256];
	struct iovec v = { in, room };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
	int size = 0;

	if (n < 0) {
		SAY("recvmsg: %s\n", t_err(errno));
		return n;
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&size, CMSG_DATA(c), sizeof(size));
	}
	SAY("recvmsg: %zd flags %x size %d %s\n", n, (unsigned)m.msg_flags, size, memcmp(in, out + at, (size_t)n) ? "WRONG" : "right");
	return n;
}

static ssize_t send_cmsg(int fd, const struct sockaddr_in *to, size_t n, uint16_t size, size_t cmsg_bytes)
{
	char control[CMSG_SPACE(8)] = { 0 };
	struct iovec v = { out, n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(cmsg_bytes),
			    .msg_name = (void *)to, .msg_namelen = sizeof(*to) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = IPPROTO_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(cmsg_bytes);
	memcpy(CMSG_DATA(c), &size, sizeof(size));
	return sendmsg(fd, &m, 0);
}

int main(void)
{
	int pa, pb, a = udp(&pa), b = udp(&pb), s;
	struct sockaddr_in to = t_sa(t_addr(), pb);
	size_t at;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 31 + i / 251);

	SECTION("options");
	get(a, UDP_SEGMENT, "segment");
	get(a, UDP_GRO, "gro");
	set(a, UDP_SEGMENT, -1, "negative");
	set(a, UDP_SEGMENT, 65536, "too large");
	set(a, UDP_SEGMENT, 1000, "segment 1000");
	get(a, UDP_SEGMENT, "segment");
	s = MUST(socket(AF_INET, SOCK_STREAM, 0));
	set(s, UDP_SEGMENT, 1000, "on a stream");
	close(s);

	SECTION("segments arrive one by one");
	R("send", sendto(a, out, 3500, 0, (struct sockaddr *)&to, sizeof(to)));
	for (at = 0; at < 3500; at += 1000) {
		t_wait(b, POLLIN);
		take(b, sizeof(in), at);
	}
	take(b, sizeof(in), 0);
	R("smaller than a segment", sendto(a, out, 10, 0, (struct sockaddr *)&to, sizeof(to)));
	t_wait(b, POLLIN);
	take(b, sizeof(in), 0);
	R("nothing at all", sendto(a, out, 0, 0, (struct sockaddr *)&to, sizeof(to)));
	t_wait(b, POLLIN);
	take(b, sizeof(in), 0);

	SECTION("control data");
	R("700", send_cmsg(a, &to, 1400, 700, 2));
	t_wait(b, POLLIN);
	take(b, sizeof(in), 0);
	t_wait(b, POLLIN);
	take(b, sizeof(in), 700);
	R("0 turns it off", send_cmsg(a, &to, 1400, 0, 2));
	t_wait(b, POLLIN);
	take(b, sizeof(in), 0);
	R("wrong length", send_cmsg(a, &to, 1400, 700, 4));
	take(b, sizeof(in), 0);

	SECTION("limits");
	R("too many", send_cmsg(a, &to, 1000, 2, 2));
	R("many", send_cmsg(a, &to, 100, 2, 2));
	t_wait(b, POLLIN);
	for (at = 0; at < 100; at += 2)
		MUST(recv(b, in, sizeof(in), 0));
	R("too long", sendto(a, out, 65508, 0, (struct sockaddr *)&to, sizeof(to)));

	SECTION("several in one receive");
	set(b, UDP_GRO, 1, "gro");
	get(b, UDP_GRO, "gro");
	R("send", sendto(a, out, 3500, 0, (struct sockaddr *)&to, sizeof(to)));
	t_wait(b, POLLIN);
	take(b, sizeof(in), 0);
	take(b, sizeof(in), 0);
	set(a, UDP_SEGMENT, 0, "off");
	R("one alone", sendto(a, out, 500, 0, (struct sockaddr *)&to, sizeof(to)));
	t_wait(b, POLLIN);
	take(b, sizeof(in), 0);
	set(b, UDP_GRO, 0, "off");
	return 0;
}

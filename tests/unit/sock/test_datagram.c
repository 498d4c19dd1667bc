/* test_datagram.c - datagram sockets over two hosts in virtual time: addresses, truncation, bounds, errors, control data. Expectations: udp(7),
 * ip(7). */
#include "sock_test.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/ioctl.h>

static int setup(void **state)
{
	two_hosts();
	return 0;
}

static int teardown(void **state)
{
	int bad = testenv_close();

	assert_int_equal(bad, 0);
	return bad;
}

static struct sockaddr_in addr(unsigned host, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = testenv_ip(host) };
}

static ssize_t sendto_(struct sock *s, const void *p, size_t n, struct sockaddr_in to)
{
	struct iovec iov = { (void *)(uintptr_t)p, n };
	struct msghdr m = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1 };

	return sock_sendmsg(s, &m, 0, tenv.self);
}

static ssize_t recvfrom_(struct sock *s, void *p, size_t n, int flags, struct sockaddr_in *from, int *msg_flags)
{
	struct iovec iov = { p, n };
	struct msghdr m = { .msg_name = from, .msg_namelen = from ? sizeof(*from) : 0, .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r = sock_recvmsg(s, &m, flags, -1, tenv.self);

	if (msg_flags)
		*msg_flags = m.msg_flags;
	return r;
}

static struct sock *bound(unsigned host, uint16_t port)
{
	struct sock *s = testenv_socket(host, SOCK_DGRAM);

	assert_int_equal(testenv_bind_addr(s, testenv_ip(host), port), 0);
	return s;
}

static void there_and_back(void **state)
{
	struct sock *a = bound(0, 1000), *b = bound(1, 2000);
	struct sockaddr_in from;
	char buf[64];
	int fl, n;

	assert_int_equal(sendto_(a, "hello", 5, addr(1, 2000)), 5);
	assert_int_equal(sendto_(a, "", 0, addr(1, 2000)), 0);
	assert_int_equal(sendto_(a, "longer one", 10, addr(1, 2000)), 10);
	testenv_run_for(10000);
	assert_int_equal(sock_readiness(b) & EPOLLIN, EPOLLIN);
	assert_int_equal(sock_ioctl(b, FIONREAD, &n, tenv.self), 0);
	assert_int_equal(n, 5);
	assert_int_equal(recvfrom_(b, buf, 64, MSG_PEEK, &from, &fl), 5);
	assert_int_equal(recvfrom_(b, buf, 64, 0, &from, &fl), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(from.sin_port, htons(1000));
	assert_int_equal(from.sin_addr.s_addr, testenv_ip(0));
	assert_int_equal(fl, 0);
	assert_int_equal(recvfrom_(b, buf, 64, 0, &from, &fl), 0); /* an empty datagram is one */
	assert_int_equal(recvfrom_(b, buf, 4, MSG_TRUNC, &from, &fl), 10);
	assert_int_equal(fl, MSG_TRUNC);
	assert_memory_equal(buf, "long", 4);
	assert_int_equal(recvfrom_(b, buf, 64, 0, &from, &fl), -EAGAIN);
	assert_int_equal(sock_readiness(b) & EPOLLIN, 0);
	testenv_close_sock(a);
	testenv_close_sock(b);
	testenv_run_for(1000);
}

static void any_legal_size(void **state)
{
	struct sock *a = bound(0, 1000), *b = bound(1, 2000);
	static char out[65508], in[65536];
	const size_t sizes[] = { 0, 1, 1471, 1472, 1473, 2047, 2048, 2049, 4096, 30000, 65507 };

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 31 + (i >> 7));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(sendto_(a, out, sizes[i], addr(1, 2000)), (ssize_t)sizes[i]);
		testenv_run_for(10000);
		memset(in, 0, sizeof(in));
		assert_int_equal(recvfrom_(b, in, sizeof(in), 0, NULL, NULL), (ssize_t)sizes[i]);
		assert_memory_equal(in, out, sizes[i]);
	}
	assert_int_equal(sendto_(a, out, 65508, addr(1, 2000)), -EMSGSIZE);
	testenv_close_sock(a);
	testenv_close_sock(b);
	testenv_run_for(1000);
}

static void connected_sockets_filter_and_learn_errors(void **state)
{
	struct sock *a = testenv_socket(0, SOCK_DGRAM), *b = bound(1, 2000), *c = bound(1, 3000);
	struct sockaddr_in to = addr(1, 2000), me;
	socklen_t len = sizeof(me);
	struct sockaddr un = { .sa_family = AF_UNSPEC };
	char buf[8];

	assert_int_equal(sock_connect(a, (struct sockaddr *)&to, sizeof(to), tenv.self), 0);
	assert_int_equal(sock_getname(a, (struct sockaddr *)&me, &len, false), 0);
	assert_int_equal(me.sin_addr.s_addr, testenv_ip(0));
	assert_true(me.sin_port != 0);
	assert_int_equal(sock_send(a, "x", 1, 0, tenv.self), 1);
	testenv_run_for(10000);
	assert_int_equal(recvfrom_(b, buf, 8, 0, &me, NULL), 1);
	assert_int_equal(sendto_(b, "from b", 6, me), 6);
	assert_int_equal(sendto_(c, "from c", 6, me), 6);
	testenv_run_for(10000);
	assert_int_equal(recvfrom_(a, buf, 8, 0, NULL, NULL), 6);
	assert_memory_equal(buf, "from b", 6);
	assert_int_equal(recvfrom_(a, buf, 8, 0, NULL, NULL), -EAGAIN);
	/* nobody listens any more: the ICMP error comes with the next call */
	testenv_close_sock(b);
	testenv_run_for(1000);
	assert_int_equal(sock_send(a, "x", 1, 0, tenv.self), 1);
	testenv_run_for(10000);
	assert_int_equal(sock_readiness(a) & EPOLLERR, EPOLLERR);
	assert_int_equal(sock_send(a, "x", 1, 0, tenv.self), -ECONNREFUSED);
	testenv_run_for(2000000);
	assert_int_equal(sock_connect(a, &un, sizeof(un), tenv.self), 0);
	(void)sock_recv(a, buf, 8, 0, tenv.self);
	assert_int_equal(sock_send(a, "x", 1, 0, tenv.self), -EDESTADDRREQ);
	testenv_close_sock(a);
	testenv_close_sock(c);
	testenv_run_for(1000);
}

static void full_receive_buffer_drops_and_counts(void **state)
{
	struct sock *a = bound(0, 1000), *b = bound(1, 2000);
	static char big[1400];
	int size = 8192, n = 0;
	char buf[2000];

	assert_int_equal(sock_setopt(b, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size), tenv.self), 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(sendto_(a, big, sizeof(big), addr(1, 2000)), sizeof(big));
		testenv_run_for(1000);
	}
	assert_true(tenv.host[1].st->drops[DROP_UDP_RCVBUF] > 50);
	while (recvfrom_(b, buf, sizeof(buf), 0, NULL, NULL) > 0)
		n++;
	assert_true(n > 3 && n < 20);
	assert_int_equal(n + (int)tenv.host[1].st->drops[DROP_UDP_RCVBUF], 100);
	testenv_close_sock(a);
	testenv_close_sock(b);
	testenv_run_for(1000);
}

static void control_data(void **state)
{
	struct sock *a = bound(0, 1000), *b = bound(1, 2000);
	char buf[64], cbuf[256];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = cbuf, .msg_controllen = sizeof(cbuf) };
	int one = 1, ttl = 33, tos = 0x10, seen = 0;
	char out[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct cmsghdr *oh = (struct cmsghdr *)(void *)out;
	const int out_ttl = 44;

	*oh = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL };
	memcpy(CMSG_DATA(oh), &out_ttl, sizeof(out_ttl));
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_PKTINFO, &one, 4, tenv.self), 0);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_RECVTTL, &one, 4, tenv.self), 0);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_RECVTOS, &one, 4, tenv.self), 0);
	assert_int_equal(sock_setopt(b, SOL_SOCKET, SO_TIMESTAMP, &one, 4, tenv.self), 0);
	assert_int_equal(sock_setopt(a, IPPROTO_IP, IP_TTL, &ttl, 4, tenv.self), 0);
	assert_int_equal(sock_setopt(a, IPPROTO_IP, IP_TOS, &tos, 4, tenv.self), 0);
	assert_int_equal(sendto_(a, "x", 1, addr(1, 2000)), 1);
	testenv_run_for(10000);
	assert_int_equal(sock_recvmsg(b, &m, 0, -1, tenv.self), 1);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *pi = (void *)CMSG_DATA(c);

			assert_int_equal(pi->ipi_addr.s_addr, testenv_ip(1));
			seen |= 1;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) {
			assert_int_equal(*(int *)(void *)CMSG_DATA(c), 33);
			seen |= 2;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			assert_int_equal(*CMSG_DATA(c), 0x10);
			seen |= 4;
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP) {
			assert_true(((struct timeval *)(void *)CMSG_DATA(c))->tv_sec > 1000000000);
			seen |= 8;
		}
	}
	assert_int_equal(seen, 15);
	/* TTL by control data; too little room for what comes back */
	{
		struct sockaddr_in to = addr(1, 2000);
		struct iovec o = { (void *)"y", 1 };
		struct msghdr om = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &o, .msg_iovlen = 1,
				     .msg_control = out, .msg_controllen = CMSG_SPACE(sizeof(int)) };

		assert_int_equal(sock_sendmsg(a, &om, 0, tenv.self), 1);
	}
	testenv_run_for(10000);
	m.msg_controllen = CMSG_SPACE(sizeof(struct timeval));
	assert_int_equal(sock_recvmsg(b, &m, 0, -1, tenv.self), 1);
	assert_int_equal(m.msg_flags & MSG_CTRUNC, MSG_CTRUNC);
	testenv_close_sock(a);
	testenv_close_sock(b);
	testenv_run_for(1000);
}

static void broadcast_needs_permission(void **state)
{
	struct sock *a = bound(0, 1000), *b = testenv_socket(1, SOCK_DGRAM);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(2000), .sin_addr.s_addr = htonl(0x0a0000ff) };
	int one = 1;
	char buf[8];

	assert_int_equal(testenv_bind_addr(b, INADDR_ANY, 2000), 0);
	assert_int_equal(sendto_(a, "x", 1, to), -EACCES);
	assert_int_equal(sock_setopt(a, SOL_SOCKET, SO_BROADCAST, &one, 4, tenv.self), 0);
	assert_int_equal(sendto_(a, "x", 1, to), 1);
	testenv_run_for(10000);
	assert_int_equal(recvfrom_(b, buf, 8, 0, NULL, NULL), 1);
	testenv_close_sock(a);
	testenv_close_sock(b);
	testenv_run_for(1000);
}

static void groups_and_their_sources(void **state)
{
	struct sock *a = bound(0, 1000), *b = testenv_socket(1, SOCK_DGRAM);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(2000), .sin_addr.s_addr = htonl(0xe8010203) };
	struct ip_mreq mr = { .imr_multiaddr = to.sin_addr, .imr_interface.s_addr = testenv_ip(1) };
	struct ip_mreq_source ms = { .imr_multiaddr = to.sin_addr, .imr_interface.s_addr = testenv_ip(1),
				     .imr_sourceaddr.s_addr = testenv_ip(0) };
	char buf[8];

	assert_int_equal(testenv_bind_addr(b, INADDR_ANY, 2000), 0);
	assert_int_equal(sendto_(a, "x", 1, to), 1);
	testenv_run_for(10000);
	assert_int_equal(recvfrom_(b, buf, 8, 0, NULL, NULL), -EAGAIN); /* not joined */
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &mr, sizeof(mr), tenv.self), -EADDRNOTAVAIL);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &mr, sizeof(mr), tenv.self), 0);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &mr, sizeof(mr), tenv.self), -EADDRINUSE);
	assert_int_equal(sendto_(a, "y", 1, to), 1);
	testenv_run_for(10000);
	assert_int_equal(recvfrom_(b, buf, 8, 0, NULL, NULL), 1);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_BLOCK_SOURCE, &ms, sizeof(ms), tenv.self), 0);
	assert_int_equal(sendto_(a, "z", 1, to), 1);
	testenv_run_for(10000);
	assert_int_equal(recvfrom_(b, buf, 8, 0, NULL, NULL), -EAGAIN);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_UNBLOCK_SOURCE, &ms, sizeof(ms), tenv.self), 0);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &mr, sizeof(mr), tenv.self), 0);
	assert_int_equal(sock_setopt(b, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &ms, sizeof(ms), tenv.self), 0);
	assert_int_equal(sendto_(a, "w", 1, to), 1);
	testenv_run_for(10000);
	assert_int_equal(recvfrom_(b, buf, 8, 0, NULL, NULL), 1);
	testenv_close_sock(a);
	testenv_close_sock(b); /* drops the membership */
	testenv_run_for(1000);
}

static void shutdown_wakes_and_refuses(void **state)
{
	struct sock *a = bound(0, 1000);
	char b;

	assert_int_equal(sock_shutdown(a, SHUT_RDWR, tenv.self), -ENOTCONN);
	assert_int_equal(sock_readiness(a) & (EPOLLHUP | EPOLLRDHUP | EPOLLIN), EPOLLHUP | EPOLLRDHUP | EPOLLIN);
	assert_int_equal(sendto_(a, "x", 1, addr(1, 2)), -EPIPE);
	assert_int_equal(sock_recv(a, &b, 1, 0, tenv.self), -EAGAIN);
	testenv_close_sock(a);
	testenv_run_for(1000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(there_and_back),
		T(any_legal_size),
		T(connected_sockets_filter_and_learn_errors),
		T(full_receive_buffer_drops_and_counts),
		T(control_data),
		T(broadcast_needs_permission),
		T(groups_and_their_sources),
		T(shutdown_wakes_and_refuses),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

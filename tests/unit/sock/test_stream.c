/* test_stream.c - stream sockets over two hosts in virtual time: data, order of end of stream and errors, options, half-close, linger, limits.
 * The expectations are what Linux does (tcp(7), socket(7), and its source where the pages are silent). */
#include "sock_test.h"

#include "sock/sock_int.h"

#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>

#define IN (EPOLLIN | EPOLLRDNORM)
#define OUT (EPOLLOUT | EPOLLWRNORM)

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

static void set_int(struct sock *s, int level, int name, int v)
{
	assert_int_equal(sock_setopt(s, level, name, &v, sizeof(v), tenv.self), 0);
}

static int get_int(struct sock *s, int level, int name)
{
	int v = -12345;
	socklen_t len = sizeof(v);

	assert_int_equal(sock_getopt(s, level, name, &v, &len, tenv.self), 0);
	assert_int_equal(len, sizeof(v));
	return v;
}

static void fresh_socket_hangs_up_and_is_writable(void **state)
{
	struct sock *s = testenv_socket(0, SOCK_STREAM), *d = testenv_socket(0, SOCK_DGRAM);
	char b;

	assert_ready(s, EPOLLHUP | OUT);
	assert_ready(d, OUT | EPOLLWRBAND);
	assert_int_equal(sock_recv(s, &b, 1, 0, tenv.self), -ENOTCONN);
	assert_int_equal(sock_send(s, "x", 1, 0, tenv.self), -EPIPE);
	assert_int_equal(sock_recv(d, &b, 1, 0, tenv.self), -EAGAIN);
	assert_int_equal(sock_send(d, "x", 1, 0, tenv.self), -EDESTADDRREQ);
	assert_int_equal(sock_shutdown(s, SHUT_WR, tenv.self), -ENOTCONN);
	assert_int_equal(sock_listen(d, 5, tenv.self), -EOPNOTSUPP);
	testenv_close_sock(s);
	testenv_close_sock(d);
}

static void request_and_response(void **state)
{
	struct pair p = pair_open(80);

	assert_ready(p.c, OUT);
	assert_ready(p.s, OUT);
	assert_int_equal(sends(p.c, "hello"), 5);
	testenv_run_for(1000);
	assert_ready(p.s, IN | OUT);
	assert_recv(p.s, "hello");
	assert_ready(p.s, OUT);
	assert_int_equal(sends(p.s, "world"), 5);
	testenv_run_for(1000);
	assert_recv(p.c, "world");
	assert_int_equal(sock_recv(p.c, (char[1]){ 0 }, 1, 0, tenv.self), -EAGAIN);
	pair_close(&p);
}

static void end_of_stream_comes_after_unread_data(void **state)
{
	struct pair p = pair_open(80);
	char b[8];

	assert_int_equal(sends(p.c, "last words"), 10);
	assert_int_equal(sock_shutdown(p.c, SHUT_WR, tenv.self), 0);
	testenv_run_for(100000);
	assert_ready(p.s, IN | OUT | EPOLLRDHUP);
	assert_int_equal(sock_recv(p.s, b, 5, 0, tenv.self), 5);
	assert_int_equal(sock_recv(p.s, b, 8, 0, tenv.self), 5);
	assert_int_equal(sock_recv(p.s, b, 8, 0, tenv.self), 0);
	assert_int_equal(sock_recv(p.s, b, 8, 0, tenv.self), 0);
	assert_ready(p.s, IN | OUT | EPOLLRDHUP);
	/* half-closed: the other direction goes on */
	assert_int_equal(sends(p.s, "still here"), 10);
	testenv_run_for(1000);
	assert_recv(p.c, "still here");
	assert_int_equal(sock_send(p.c, "x", 1, 0, tenv.self), -EPIPE);
	assert_int_equal(sock_shutdown(p.s, SHUT_WR, tenv.self), 0);
	testenv_run_for(100000);
	assert_ready(p.c, IN | OUT | EPOLLRDHUP | EPOLLHUP);
	assert_int_equal(sock_recv(p.c, b, 8, 0, tenv.self), 0);
	pair_close(&p);
}

static void reset_is_reported_once_after_the_data(void **state)
{
	struct pair p = pair_open(80);
	struct linger l = { 1, 0 };
	char b[8];

	assert_int_equal(sends(p.c, "abc"), 3);
	testenv_run_for(1000);
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_LINGER, &l, sizeof(l), tenv.self), 0);
	testenv_close_sock(p.c);
	p.c = NULL;
	testenv_run_for(100000);
	assert_ready(p.s, IN | OUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_int_equal(sock_recv(p.s, b, 8, 0, tenv.self), 3);
	assert_int_equal(sock_recv(p.s, b, 8, 0, tenv.self), -ECONNRESET);
	assert_int_equal(sock_recv(p.s, b, 8, 0, tenv.self), 0);
	assert_int_equal(sock_send(p.s, "x", 1, 0, tenv.self), -EPIPE);
	assert_int_equal(get_int(p.s, SOL_SOCKET, SO_ERROR), 0);
	assert_ready(p.s, IN | OUT | EPOLLRDHUP | EPOLLHUP);
	assert_int_equal(sock_getname(p.s, (struct sockaddr *)&(struct sockaddr_in){ 0 }, &(socklen_t){ 16 }, true), -ENOTCONN);
	pair_close(&p);
}

static void close_with_unread_data_resets_the_peer(void **state)
{
	struct pair p = pair_open(80);
	char b[8];

	assert_int_equal(sends(p.c, "unread"), 6);
	testenv_run_for(1000);
	testenv_close_sock(p.s);
	p.s = NULL;
	testenv_run_for(10000);
	assert_int_equal(sock_recv(p.c, b, 8, 0, tenv.self), -ECONNRESET);
	pair_close(&p);
}

static void so_error_reads_and_clears(void **state)
{
	struct sock *s = testenv_connect(0, 1, 999); /* nobody listens */

	testenv_run_for(10000);
	assert_ready(s, IN | OUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	assert_int_equal(get_int(s, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	assert_int_equal(get_int(s, SOL_SOCKET, SO_ERROR), 0);
	/* the error was taken: the next connect() tells ECONNABORTED, the one after starts anew */
	assert_int_equal(testenv_connect_addr(s, testenv_ip(1), 999), -ECONNABORTED);
	assert_int_equal(testenv_connect_addr(s, testenv_ip(1), 999), -EINPROGRESS);
	assert_int_equal(testenv_connect_addr(s, testenv_ip(1), 999), -EALREADY);
	testenv_run_for(10000);
	assert_int_equal(testenv_connect_addr(s, testenv_ip(1), 999), -ECONNREFUSED);
	testenv_close_sock(s);
	testenv_run_for(1000);
}

static void connect_says_how_far_it_is(void **state)
{
	struct sock *l = testenv_listener(1, 80, 4), *c = testenv_connect(0, 1, 80), *a;
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	assert_int_equal(testenv_connect_addr(c, testenv_ip(1), 80), -EALREADY);
	assert_ready(c, 0);
	assert_int_equal(sock_send(c, "x", 1, 0, tenv.self), -EAGAIN);
	assert_int_equal(sock_getname(c, (struct sockaddr *)&sa, &len, true), -ENOTCONN);
	testenv_run_for(10000);
	assert_int_equal(get_int(c, SOL_SOCKET, SO_ERROR), 0);
	assert_int_equal(testenv_connect_addr(c, testenv_ip(1), 80), 0);
	assert_int_equal(testenv_connect_addr(c, testenv_ip(1), 80), -EISCONN);
	assert_ready(c, OUT);
	assert_ready(l, IN);
	assert_int_equal(get_int(l, SOL_SOCKET, SO_ACCEPTCONN), 1);
	len = sizeof(sa);
	assert_int_equal(sock_getname(c, (struct sockaddr *)&sa, &len, true), 0);
	assert_int_equal(sa.sin_port, htons(80));
	assert_int_equal(sa.sin_addr.s_addr, testenv_ip(1));
	assert_int_equal(sock_accept(l, &a, true, -1, tenv.self), 0);
	assert_ready(l, 0);
	assert_int_equal(sock_accept(l, &(struct sock *){ NULL }, true, -1, tenv.self), -EAGAIN);
	assert_int_equal(sock_recv(l, &sa, 1, 0, tenv.self), -ENOTCONN);
	testenv_close_sock(c);
	testenv_close_sock(a);
	testenv_close_sock(l);
	testenv_run_for(200ull * 1000000);
}

static void closing_a_listener_resets_what_waits(void **state)
{
	struct sock *l = testenv_listener(1, 80, 8), *c[3];
	char b;

	for (int i = 0; i < 3; i++)
		c[i] = testenv_connect(0, 1, 80);
	testenv_run_for(20000);
	assert_int_equal(vcount_get(&l->acc_len, memory_order_relaxed), 3);
	testenv_close_sock(l);
	testenv_run_for(10000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sock_recv(c[i], &b, 1, 0, tenv.self), -ECONNRESET);
		testenv_close_sock(c[i]);
	}
	testenv_run_for(100000);
	/* the port is free again */
	l = testenv_listener(1, 80, 8);
	testenv_close_sock(l);
	testenv_run_for(1000);
}

static void peek_waitall_trunc(void **state)
{
	struct pair p = pair_open(80);
	char b[16] = { 0 };

	sends(p.c, "0123");
	testenv_run_for(1000);
	sends(p.c, "4567");
	testenv_run_for(1000);
	assert_int_equal(sock_recv(p.s, b, 2, MSG_PEEK, tenv.self), 2);
	assert_memory_equal(b, "01", 2);
	assert_int_equal(sock_recv(p.s, b, 16, MSG_PEEK, tenv.self), 8);
	assert_memory_equal(b, "01234567", 8);
	assert_int_equal(sock_recv(p.s, b, 3, 0, tenv.self), 3);
	assert_int_equal(sock_recv(p.s, b, 16, MSG_PEEK, tenv.self), 5);
	assert_memory_equal(b, "34567", 5);
	assert_int_equal(sock_recv(p.s, NULL, 2, MSG_TRUNC, tenv.self), 2); /* thrown away, not copied */
	assert_int_equal(sock_recv(p.s, b, 16, MSG_WAITALL | MSG_DONTWAIT, tenv.self), 3);
	assert_memory_equal(b, "567", 3);
	pair_close(&p);
}

static void vectors_go_in_and_out(void **state)
{
	struct pair p = pair_open(80);
	char a[3], b[1], c[8];
	struct iovec out[4] = { { (void *)"ab", 2 }, { NULL, 0 }, { (void *)"cde", 3 }, { (void *)"f", 1 } };
	struct iovec in[4] = { { a, 3 }, { NULL, 0 }, { b, 1 }, { c, 8 } };
	struct msghdr m = { .msg_iov = out, .msg_iovlen = 4 };

	assert_int_equal(sock_sendmsg(p.c, &m, 0, tenv.self), 6);
	testenv_run_for(1000);
	m.msg_iov = in;
	assert_int_equal(sock_recvmsg(p.s, &m, 0, -1, tenv.self), 6);
	assert_memory_equal(a, "abc", 3);
	assert_memory_equal(b, "d", 1);
	assert_memory_equal(c, "ef", 2);
	pair_close(&p);
}

static void full_buffer_writes_short_then_again(void **state)
{
	struct pair p = pair_open(80);
	char *big = malloc(1 << 20), *got = malloc(1 << 20);
	ssize_t n, sent = 0, read = 0;
	unsigned spins = 0;

	for (int i = 0; i < 1 << 20; i++)
		big[i] = (char)(i * 7 + (i >> 8));
	set_int(p.c, SOL_SOCKET, SO_SNDBUF, 20000);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_SNDBUF), 40000);
	n = sock_send(p.c, big, 1 << 20, 0, tenv.self);
	assert_true(n > 0 && n <= 40000);
	sent += n;
	assert_int_equal(sock_send(p.c, big, 100, 0, tenv.self), -EAGAIN);
	assert_int_equal(sock_readiness(p.c) & OUT, 0);
	while (read < 1 << 20 && spins++ < 100000) {
		testenv_run_for(200);
		n = sock_recv(p.s, got + read, (size_t)((1 << 20) - read), 0, tenv.self);
		if (n > 0)
			read += n;
		if (sent < 1 << 20 && (sock_readiness(p.c) & EPOLLOUT)) {
			n = sock_send(p.c, big + sent, (size_t)((1 << 20) - sent), 0, tenv.self);
			assert_true(n > 0);
			sent += n;
		}
	}
	assert_int_equal(read, 1 << 20);
	assert_memory_equal(big, got, 1 << 20);
	free(big);
	free(got);
	pair_close(&p);
}

/* An application that stops reading: the window closes, memory stays bounded, and reading opens it again. */
static void reader_that_stops_closes_the_window(void **state)
{
	struct pair p = pair_open(80);
	char *big = calloc(1, 4 << 20), buf[65536];
	size_t sent = 0, read = 0;
	uint64_t queued, start = vclock_us;
	ssize_t n;

	for (int i = 0; i < 2000 && sent < 4 << 20; i++) {
		n = sock_send(p.c, big, (4 << 20) - sent, 0, tenv.self);
		if (n > 0)
			sent += (size_t)n;
		testenv_run_for(1000);
	}
	queued = sock_rx_bytes(p.s);
	assert_true(queued > 30000);
	assert_true(atomic_load(&p.s->rx_true_in) - atomic_load(&p.s->rx_true_out) <=
		    (uint64_t)atomic_load(&p.s->rcvbuf) + 65536);
	while (read < sent) {
		n = sock_recv(p.s, buf, sizeof(buf), 0, tenv.self);
		if (n > 0)
			read += (size_t)n;
		else
			testenv_run_for(1000);
		if (sent < 4 << 20) {
			n = sock_send(p.c, big, (4 << 20) - sent, 0, tenv.self);
			if (n > 0)
				sent += (size_t)n;
		}
		assert_true(vclock_us - start < 1000ull * 1000000);
	}
	assert_int_equal(read, 4 << 20);
	free(big);
	pair_close(&p);
}

/* One byte at a time into a reader that sleeps: bytes are copied together, not one buffer each. */
static void single_bytes_do_not_pin_a_buffer_each(void **state)
{
	struct pair p = pair_open(80);
	static char buf[65536];
	unsigned before, sent = 0;

	set_int(p.c, IPPROTO_TCP, TCP_NODELAY, 1);
	before = testenv_mbufs_used();
	for (unsigned i = 0; i < 4000; i++) {
		char b = (char)i;

		if (sock_send(p.c, &b, 1, 0, tenv.self) == 1)
			sent++;
		testenv_run_for(100);
	}
	testenv_run_for(1000000);
	assert_int_equal(sent, 4000);
	assert_int_equal(sock_rx_bytes(p.s), 4000);
	assert_true(testenv_mbufs_used() - before < 200);
	assert_int_equal(sock_recv(p.s, buf, sizeof(buf), 0, tenv.self), 4000);
	for (unsigned i = 0; i < 4000; i++)
		assert_int_equal((unsigned char)buf[i], i & 255);
	pair_close(&p);
}

static void rcvlowat_delays_readability(void **state)
{
	struct pair p = pair_open(80);

	set_int(p.s, SOL_SOCKET, SO_RCVLOWAT, 10);
	sends(p.c, "12345");
	testenv_run_for(1000);
	assert_ready(p.s, OUT);
	sends(p.c, "67890");
	testenv_run_for(1000);
	assert_ready(p.s, IN | OUT);
	assert_recv(p.s, "1234567890");
	pair_close(&p);
}

static void urgent_data_out_of_band(void **state)
{
	struct pair p = pair_open(80);
	char b[8];
	int at;

	assert_int_equal(sock_recv(p.s, b, 1, MSG_OOB, tenv.self), -EINVAL);
	assert_int_equal(sock_send(p.c, "abcX", 4, MSG_OOB, tenv.self), 4);
	testenv_run_for(1000);
	assert_int_equal(sends(p.c, "def"), 3);
	testenv_run_for(1000);
	assert_int_equal(sock_readiness(p.s) & EPOLLPRI, EPOLLPRI);
	assert_recv(p.s, "abc"); /* stops at the mark */
	assert_int_equal(sock_ioctl(p.s, SIOCATMARK, &at, tenv.self), 0);
	assert_int_equal(at, 1);
	assert_int_equal(sock_recv(p.s, b, 1, MSG_OOB, tenv.self), 1);
	assert_int_equal(b[0], 'X');
	assert_int_equal(sock_readiness(p.s) & EPOLLPRI, 0);
	assert_int_equal(sock_recv(p.s, b, 1, MSG_OOB, tenv.self), -EINVAL);
	assert_recv(p.s, "def");
	assert_int_equal(sock_ioctl(p.s, SIOCATMARK, &at, tenv.self), 0);
	assert_int_equal(at, 0);

	set_int(p.s, SOL_SOCKET, SO_OOBINLINE, 1);
	assert_int_equal(sock_send(p.c, "Y", 1, MSG_OOB, tenv.self), 1);
	testenv_run_for(1000);
	assert_int_equal(sock_recv(p.s, b, 1, MSG_OOB, tenv.self), -EINVAL);
	assert_recv(p.s, "Y");
	pair_close(&p);
}

static void connection_to_the_own_address(void **state)
{
	struct sock *l = testenv_listener(0, 80, 4), *c = testenv_socket(0, SOCK_STREAM), *a = NULL;

	assert_int_equal(testenv_connect_addr(c, testenv_ip(0), 80) == 0 || get_int(c, SOL_SOCKET, SO_ERROR) == 0, 1);
	testenv_run_for(1000);
	assert_int_equal(sock_accept(l, &a, true, -1, tenv.self), 0);
	assert_int_equal(sends(c, "inside"), 6);
	testenv_run_for(1000);
	assert_recv(a, "inside");
	testenv_close_sock(c);
	testenv_close_sock(a);
	testenv_close_sock(l);
	testenv_run_for(200ull * 1000000);
}

static void bind_rules(void **state)
{
	struct sock *a = testenv_socket(0, SOCK_STREAM), *b = testenv_socket(0, SOCK_STREAM);
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(70), .sin_addr.s_addr = htonl(0x01020304) };
	struct sockaddr_in got;
	socklen_t len = sizeof(got);

	assert_int_equal(sock_bind(a, (struct sockaddr *)&sa, 8, NULL, NULL, tenv.self), -EINVAL);
	assert_int_equal(sock_bind(a, (struct sockaddr *)&sa, sizeof(sa), NULL, NULL, tenv.self), -EADDRNOTAVAIL);
	sa.sin_family = AF_UNIX;
	assert_int_equal(sock_bind(a, (struct sockaddr *)&sa, sizeof(sa), NULL, NULL, tenv.self), -EAFNOSUPPORT);
	assert_int_equal(testenv_bind_addr(a, testenv_ip(0), 70), 0);
	assert_int_equal(testenv_bind_addr(a, testenv_ip(0), 71), -EINVAL);
	assert_int_equal(testenv_bind_addr(b, testenv_ip(0), 70), -EADDRINUSE);
	assert_int_equal(testenv_bind_addr(b, INADDR_ANY, 70), -EADDRINUSE);
	assert_int_equal(testenv_bind_addr(b, testenv_ip(0), 0), 0);
	assert_int_equal(sock_getname(b, (struct sockaddr *)&got, &len, false), 0);
	assert_true(ntohs(got.sin_port) >= 1024);
	assert_int_equal(got.sin_addr.s_addr, testenv_ip(0));
	testenv_close_sock(a);
	assert_int_equal(testenv_bind_addr(b, testenv_ip(0), 70), -EINVAL);
	testenv_close_sock(b);
	a = testenv_socket(0, SOCK_STREAM);
	assert_int_equal(testenv_bind_addr(a, testenv_ip(0), 70), 0); /* free since close() */
	testenv_close_sock(a);
}

static void options_read_back_as_on_linux(void **state)
{
	struct pair p = pair_open(80);
	struct tcp_info ti;
	struct timeval tv = { 2, 500000 };
	struct linger l = { 1, 7 };
	char name[32];
	socklen_t len;
	unsigned char byte;

	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_DOMAIN), AF_INET);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_ACCEPTCONN), 0);
	set_int(p.c, SOL_SOCKET, SO_KEEPALIVE, 7);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_KEEPALIVE), 1);
	set_int(p.c, SOL_SOCKET, SO_RCVBUF, 1);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_RCVBUF), 2304);
	set_int(p.c, SOL_SOCKET, SO_RCVBUF, 50000);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_RCVBUF), 100000);
	set_int(p.c, SOL_SOCKET, SO_SNDBUF, 1);
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_SNDBUF), 4608);
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_KEEPALIVE, name, 3, tenv.self), -EINVAL);
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_TYPE, &(int){ 1 }, 4, tenv.self), -ENOPROTOOPT);
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, 12345, &(int){ 1 }, 4, tenv.self), -ENOPROTOOPT);
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv), tenv.self), 0);
	memset(&tv, 0, sizeof(tv));
	len = sizeof(tv);
	assert_int_equal(sock_getopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &tv, &len, tenv.self), 0);
	assert_int_equal(tv.tv_sec, 2);
	assert_int_equal(tv.tv_usec, 500000);
	tv.tv_usec = 1000000;
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv), tenv.self), -EDOM);
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_LINGER, &l, sizeof(l), tenv.self), 0);
	memset(&l, 0, sizeof(l));
	len = sizeof(l);
	assert_int_equal(sock_getopt(p.c, SOL_SOCKET, SO_LINGER, &l, &len, tenv.self), 0);
	assert_int_equal(l.l_linger, 7);
	l.l_onoff = 0;
	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_LINGER, &l, sizeof(l), tenv.self), 0);
	set_int(p.c, IPPROTO_TCP, TCP_NODELAY, 1);
	assert_int_equal(get_int(p.c, IPPROTO_TCP, TCP_NODELAY), 1);
	set_int(p.c, IPPROTO_TCP, TCP_KEEPIDLE, 100);
	assert_int_equal(get_int(p.c, IPPROTO_TCP, TCP_KEEPIDLE), 100);
	assert_int_equal(sock_setopt(p.c, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 0 }, 4, tenv.self), -EINVAL);
	assert_int_equal(sock_setopt(p.c, IPPROTO_TCP, TCP_KEEPCNT, &(int){ 128 }, 4, tenv.self), -EINVAL);
	assert_int_equal(get_int(p.c, IPPROTO_TCP, TCP_SYNCNT), 6);
	assert_int_equal(get_int(p.c, IPPROTO_TCP, TCP_LINGER2), 60);
	set_int(p.c, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5);
	assert_int_equal(get_int(p.c, IPPROTO_TCP, TCP_DEFER_ACCEPT), 7);
	assert_true(get_int(p.c, IPPROTO_TCP, TCP_MAXSEG) > 500);
	len = sizeof(name);
	assert_int_equal(sock_getopt(p.c, IPPROTO_TCP, TCP_CONGESTION, name, &len, tenv.self), 0);
	assert_string_equal(name, "cubic");
	assert_int_equal(len, 16);
	assert_int_equal(sock_setopt(p.c, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6, tenv.self), -ENOENT);
	assert_int_equal(sock_setopt(p.c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4, tenv.self), 0);
	len = sizeof(ti);
	assert_int_equal(sock_getopt(p.c, IPPROTO_TCP, TCP_INFO, &ti, &len, tenv.self), 0);
	assert_int_equal(ti.tcpi_state, 1);
	len = 1;
	assert_int_equal(sock_getopt(p.c, IPPROTO_TCP, TCP_INFO, &ti, &len, tenv.self), 0);
	assert_int_equal(len, 1);
	set_int(p.c, IPPROTO_IP, IP_TTL, 17);
	assert_int_equal(get_int(p.c, IPPROTO_IP, IP_TTL), 17);
	len = 1;
	assert_int_equal(sock_getopt(p.c, IPPROTO_IP, IP_TTL, &byte, &len, tenv.self), 0);
	assert_int_equal(byte, 17);
	assert_int_equal(len, 1);
	assert_int_equal(sock_setopt(p.c, IPPROTO_IP, IP_TTL, &(int){ 0 }, 4, tenv.self), -EINVAL);
	assert_int_equal(sock_setopt(p.c, IPPROTO_IP, IP_TTL, &(unsigned char){ 9 }, 1, tenv.self), 0);
	assert_int_equal(get_int(p.c, IPPROTO_IP, IP_TTL), 9);
	assert_int_equal(sock_setopt(p.c, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, 4, tenv.self), -ENOPROTOOPT);
	len = (socklen_t)-1;
	assert_int_equal(sock_getopt(p.c, SOL_SOCKET, SO_TYPE, &ti, &len, tenv.self), -EINVAL);
	set_int(p.c, IPPROTO_TCP, TCP_USER_TIMEOUT, 3000);
	assert_int_equal(get_int(p.c, IPPROTO_TCP, TCP_USER_TIMEOUT), 3000);
	pair_close(&p);
}

static void children_inherit_options(void **state)
{
	struct sock *l = testenv_listener(1, 80, 4), *c, *a;

	set_int(l, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(l, SOL_SOCKET, SO_RCVBUF, 30000);
	set_int(l, IPPROTO_TCP, TCP_NODELAY, 1);
	c = testenv_connect(0, 1, 80);
	testenv_run_for(10000);
	assert_int_equal(sock_accept(l, &a, true, -1, tenv.self), 0);
	assert_int_equal(get_int(a, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get_int(a, SOL_SOCKET, SO_RCVBUF), 60000);
	assert_int_equal(get_int(a, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(atomic_load(&a->fl_flags), 0); /* blocking mode is not inherited */
	testenv_close_sock(c);
	testenv_close_sock(a);
	testenv_close_sock(l);
	testenv_run_for(200ull * 1000000);
}

static void ioctls_count_bytes(void **state)
{
	struct pair p = pair_open(80);
	int v;

	tenv.wire.link[0].conf.delay_us = 5000;
	assert_int_equal(sends(p.c, "12345"), 5);
	assert_int_equal(sock_ioctl(p.c, SIOCOUTQ, &v, tenv.self), 0);
	assert_int_equal(v, 5);
	testenv_run_for(100000);
	assert_int_equal(sock_ioctl(p.c, SIOCOUTQ, &v, tenv.self), 0);
	assert_int_equal(v, 0);
	assert_int_equal(sock_ioctl(p.s, FIONREAD, &v, tenv.self), 0);
	assert_int_equal(v, 5);
	assert_int_equal(sock_ioctl(p.l, FIONREAD, &v, tenv.self), -EINVAL);
	assert_int_equal(sock_ioctl(p.s, 0x1234, &v, tenv.self), -ENOTTY);
	tenv.wire.link[0].conf.delay_us = 0;
	assert_recv(p.s, "12345");
	pair_close(&p);
}

static void shutdown_of_a_listener_ends_listening(void **state)
{
	struct sock *l = testenv_listener(1, 80, 4), *c, *a;

	assert_int_equal(sock_shutdown(l, SHUT_WR, tenv.self), 0);
	assert_int_equal(get_int(l, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_int_equal(sock_shutdown(l, SHUT_RD, tenv.self), 0);
	assert_int_equal(sock_accept(l, &a, true, -1, tenv.self), -EINVAL);
	assert_int_equal(get_int(l, SOL_SOCKET, SO_ACCEPTCONN), 0);
	c = testenv_connect(0, 1, 80);
	testenv_run_for(10000);
	assert_int_equal(get_int(c, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
	assert_int_equal(sock_listen(l, 4, tenv.self), 0); /* and again */
	testenv_close_sock(c);
	testenv_close_sock(l);
	testenv_run_for(1000);
}

static void connect_unspec_dissolves(void **state)
{
	struct pair p = pair_open(80);
	struct sockaddr un = { .sa_family = AF_UNSPEC };
	char b;

	assert_int_equal(sock_connect(p.c, &un, sizeof(un), tenv.self), 0);
	assert_ready(p.c, EPOLLHUP | EPOLLERR | OUT); /* tcp_disconnect() leaves ECONNRESET */
	assert_int_equal(get_int(p.c, SOL_SOCKET, SO_ERROR), ECONNRESET);
	assert_ready(p.c, EPOLLHUP | OUT);
	testenv_run_for(10000);
	assert_int_equal(sock_recv(p.s, &b, 1, 0, tenv.self), -ECONNRESET);
	assert_int_equal(testenv_connect_addr(p.c, testenv_ip(1), 80), -EINPROGRESS);
	testenv_run_for(10000);
	assert_int_equal(testenv_connect_addr(p.c, testenv_ip(1), 80), 0);
	pair_close(&p);
}

static void msg_more_holds_back(void **state)
{
	struct pair p = pair_open(80);

	set_int(p.c, IPPROTO_TCP, TCP_NODELAY, 1);
	assert_int_equal(sock_send(p.c, "head", 4, MSG_MORE, tenv.self), 4);
	testenv_run_for(10000);
	assert_int_equal(sock_rx_bytes(p.s), 0);
	assert_int_equal(sock_send(p.c, "tail", 4, 0, tenv.self), 4);
	testenv_run_for(10000);
	assert_recv(p.s, "headtail");
	pair_close(&p);
}

/* A process was killed with a lock in hand (its thread id is nobody's): the next one repairs and goes on. */
static void lock_of_a_killed_reader_is_taken_over(void **state)
{
	struct pair p = pair_open(80);

	sends(p.c, "abc");
	testenv_run_for(1000);
	atomic_store(&p.s->rlock.word, 0x3ffffff0);
	assert_recv(p.s, "abc");
	atomic_store(&p.c->wlock.word, 0x3ffffff0);
	atomic_fetch_add(&p.c->tx_written, 1000); /* counted, never handed over */
	assert_int_equal(sends(p.c, "def"), 3);
	testenv_run_for(1000);
	assert_recv(p.s, "def");
	assert_int_equal(sock_tx_used(p.c), 0);
	/* killed between linking to the private list and taking off the inbox: it is on both, and is read once */
	sends(p.c, "ghi");
	testenv_run_for(1000);
	assert_null(p.s->rx_head);
	p.s->rx_head = atomic_load(&p.s->rx_in.head);
	assert_non_null(p.s->rx_head);
	atomic_store(&p.s->rlock.word, 0x3ffffff0);
	sends(p.c, "jkl");
	testenv_run_for(1000);
	assert_recv(p.s, "ghijkl");
	pair_close(&p);
}

/* What a client does to a receive queue, step by step, gives the same order as the home's exchange; killed after any step, nothing is lost and
 * nothing comes twice. */
static void queue_of_a_killed_client_is_whole(void **state)
{
	struct pair p = pair_open(80);
	uint32_t home = gz->home_pid;

	for (unsigned n = 1; n < 80; n += 13) {
		char want[80], got[80];

		for (unsigned i = 0; i < n; i++) {
			want[i] = (char)('0' + i);
			assert_int_equal(sock_send(p.c, &want[i], 1, 0, tenv.self), 1);
			testenv_run_for(100000); /* Nagle's algorithm and a delayed ACK between two */
		}
		gz->home_pid = home + 1; /* as a client */
		rx_pull_client(p.s);
		gz->home_pid = home;
		assert_null(atomic_load(&p.s->rx_in.head));
		assert_int_equal(sock_recv(p.s, got, sizeof(got), 0, tenv.self), n);
		assert_memory_equal(got, want, n);
	}
	/* closed while a node is on both lists: freed once */
	sends(p.c, "x");
	testenv_run_for(1000);
	p.s->rx_head = atomic_load(&p.s->rx_in.head);
	pair_close(&p);
}

static void thousand_connections_leave_nothing(void **state)
{
	struct sock *l = testenv_listener(1, 80, 1000), *c[200], *a[200];

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 200; i++)
			c[i] = testenv_connect(0, 1, 80);
		testenv_run_for(5000000); /* bounded queues may have dropped a SYN */
		for (int i = 0; i < 200; i++) {
			assert_int_equal(sock_accept(l, &a[i], true, -1, tenv.self), 0);
			assert_int_equal(sends(c[i], "q"), 1);
		}
		testenv_run_for(50000);
		for (int i = 0; i < 200; i++) {
			assert_recv(a[i], "q");
			testenv_close_sock(round & 1 ? c[i] : a[i]);
		}
		testenv_run_for(50000);
		for (int i = 0; i < 200; i++)
			testenv_close_sock(round & 1 ? a[i] : c[i]);
		testenv_run_for(100000);
	}
	testenv_close_sock(l);
	testenv_run_for(200ull * 1000000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(fresh_socket_hangs_up_and_is_writable),
		T(request_and_response),
		T(end_of_stream_comes_after_unread_data),
		T(reset_is_reported_once_after_the_data),
		T(close_with_unread_data_resets_the_peer),
		T(so_error_reads_and_clears),
		T(connect_says_how_far_it_is),
		T(closing_a_listener_resets_what_waits),
		T(peek_waitall_trunc),
		T(vectors_go_in_and_out),
		T(full_buffer_writes_short_then_again),
		T(reader_that_stops_closes_the_window),
		T(single_bytes_do_not_pin_a_buffer_each),
		T(rcvlowat_delays_readability),
		T(urgent_data_out_of_band),
		T(connection_to_the_own_address),
		T(bind_rules),
		T(options_read_back_as_on_linux),
		T(children_inherit_options),
		T(ioctls_count_bytes),
		T(shutdown_of_a_listener_ends_listening),
		T(connect_unspec_dissolves),
		T(msg_more_holds_back),
		T(lock_of_a_killed_reader_is_taken_over),
		T(queue_of_a_killed_client_is_whole),
		T(thousand_connections_leave_nothing),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

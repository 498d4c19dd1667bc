/* The rules of sharing a port: every case is run on the kernel's sockets (loopback) and on ports.c, and must end alike. Then what
 * look-ups return, and ephemeral ports. */
#include "nethost.h"
#include "sock/ports.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* --- the same steps on both sides --- */

enum addr { V4_ANY, V4_LO, V4_LO2, V6_ANY, V6_ANY_ONLY, V6_LO, V6_MAPPED_LO, V6_MAPPED_ANY };

struct step {
	enum addr addr;
	bool reuseaddr, reuseport, listens; /* listens after the bind */
};

static int kernel_fd[4];
static uint16_t kernel_port;

static void fill_sockaddr(enum addr a, uint16_t port_be, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (a <= V4_LO2) {
		in->sin_family = AF_INET;
		in->sin_port = port_be;
		in->sin_addr.s_addr = a == V4_ANY ? 0 : a == V4_LO ? IP(127, 0, 0, 1) : IP(127, 0, 0, 2);
		*len = sizeof(*in);
		return;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = port_be;
	if (a == V6_LO)
		in6->sin6_addr = in6addr_loopback;
	else if (a == V6_MAPPED_LO)
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &in6->sin6_addr);
	else if (a == V6_MAPPED_ANY)
		inet_pton(AF_INET6, "::ffff:0.0.0.0", &in6->sin6_addr);
	*len = sizeof(*in6);
}

static int kernel_step(int type, const struct step *s, int i)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int one = 1, fd = socket(s->addr <= V4_LO2 ? AF_INET : AF_INET6, type, 0), only = s->addr == V6_ANY_ONLY;

	kernel_fd[i] = fd;
	if (fd < 0)
		return -errno;
	if (s->reuseaddr)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (s->reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (s->addr > V4_LO2)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	fill_sockaddr(s->addr, kernel_port, &ss, &len);
	if (bind(fd, (struct sockaddr *)&ss, len) < 0)
		return -errno;
	if (!kernel_port) {
		getsockname(fd, (struct sockaddr *)&ss, &len);
		kernel_port = ((struct sockaddr_in *)&ss)->sin_port;
	}
	if (s->listens && listen(fd, 1) < 0)
		return -errno;
	return 0;
}

static struct sock *our_sock[4];

static int our_step(int type, const struct step *s, int i)
{
	struct sock *so = nethost_sock(s->addr <= V4_LO2 ? AF_INET : AF_INET6, type);
	uint16_t port = htons(7777);
	struct ip_addr a = ip_addr_any();
	int err;

	our_sock[i] = so;
	so->opt.reuseaddr = s->reuseaddr;
	so->opt.reuseport = s->reuseport;
	so->opt.v6only = s->addr == V6_ANY_ONLY;
	switch (s->addr) {
	case V4_LO:
	case V6_MAPPED_LO:
		a = ip_addr_v4(IP(127, 0, 0, 1));
		break;
	case V4_LO2:
		a = ip_addr_v4(IP(127, 0, 0, 2));
		break;
	case V6_LO:
		a.b[15] = 1;
		break;
	case V6_MAPPED_ANY:
		a = ip_addr_v4(0);
		break;
	default:
		break;
	}
	err = ports_bind(type == SOCK_STREAM ? PORT_TCP : PORT_UDP, so, &a, &port, NULL, NULL);
	if (!err && s->listens)
		err = ports_listen(so, true);
	return err;
}

static bool have_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_in6 lo = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&lo, sizeof(lo)) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static unsigned cases;

/* Two or three binds in a row: each step's result must be the kernel's. */
static void compare(int type, const struct step *steps, int n)
{
	enum port_proto proto = type == SOCK_STREAM ? PORT_TCP : PORT_UDP;
	static const char *const name[] = { "0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::(v6only)", "::1", "::ffff:127.0.0.1",
					    "::ffff:0.0.0.0" };

	kernel_port = 0;
	for (int i = 0; i < n; i++) {
		int theirs = kernel_step(type, &steps[i], i), ours = our_step(type, &steps[i], i);

		if (theirs != ours) {
			for (int k = 0; k <= i; k++)
				fprintf(stderr, "  %s %s%s%s%s\n", type == SOCK_STREAM ? "tcp" : "udp", name[steps[k].addr],
					steps[k].reuseaddr ? " reuseaddr" : "", steps[k].reuseport ? " reuseport" : "",
					steps[k].listens ? " listens" : "");
			fail_msg("step %d: the kernel says %d, we %d", i, theirs, ours);
		}
	}
	cases++;
	for (int i = 0; i < n; i++) {
		close(kernel_fd[i]);
		ports_unbind(proto, our_sock[i]);
	}
}

static void sharing_is_linuxs(void **state)
{
	enum addr last = have_ipv6() ? V6_MAPPED_ANY : V4_LO2;

	(void)state;
	for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
		unsigned options = type == SOCK_STREAM ? 8 : 4;

		for (enum addr a = 0; a <= last; a++)
			for (enum addr b = 0; b <= last; b++) {
				nethost_open(1, false);
				for (unsigned x = 0; x < options; x++)
					for (unsigned y = 0; y < options; y++) {
						struct step s[2] = { { a, x & 1, x & 2, x & 4 }, { b, y & 1, y & 2, y & 4 } };

						compare(type, s, 2);
					}
				assert_int_equal(nethost_close(), 0);
			}
	}
	print_message("%u pairs alike\n", cases);
}

/* Bound together under SO_REUSEADDR: the first to listen wins. */
static void second_listener_is_refused(void **state)
{
	(void)state;
	nethost_open(1, false);
	for (unsigned rp = 0; rp < 2; rp++) {
		struct step s[3] = { { V4_ANY, true, rp, false }, { V4_ANY, true, rp, false }, { V4_LO, true, rp, true } };
		int theirs[2], ours[2];

		kernel_port = 0;
		for (int i = 0; i < 2; i++) {
			assert_int_equal(kernel_step(SOCK_STREAM, &s[i], i), 0);
			assert_int_equal(our_step(SOCK_STREAM, &s[i], i), 0);
		}
		for (int i = 0; i < 2; i++) {
			theirs[i] = listen(kernel_fd[i], 1) < 0 ? -errno : 0;
			ours[i] = ports_listen(our_sock[i], true);
			assert_int_equal(ours[i], theirs[i]);
		}
		assert_int_equal(kernel_step(SOCK_STREAM, &s[2], 2), our_step(SOCK_STREAM, &s[2], 2));
		/* the winner closes: now the other may */
		close(kernel_fd[0]);
		ports_unbind(PORT_TCP, our_sock[0]);
		if (!rp) {
			assert_int_equal(listen(kernel_fd[1], 1), 0);
			assert_int_equal(ports_listen(our_sock[1], true), 0);
		}
		for (int i = 1; i < 3; i++) {
			close(kernel_fd[i]);
			ports_unbind(PORT_TCP, our_sock[i]);
		}
	}
	assert_int_equal(nethost_close(), 0);
}

/* A port with a connection that its server closed (TIME_WAIT) or that is alive: who may bind it again? */
static void connections_keep_their_port(void **state)
{
	(void)state;
	for (unsigned alive = 0; alive < 2; alive++)
		for (unsigned old = 0; old < 4; old++)
			for (unsigned now = 0; now < 4; now++)
				for (enum addr a = V4_ANY; a <= V4_LO; a++) {
					struct step first = { V4_LO, old & 1, old & 2, true }, again = { a, now & 1, now & 2, false };
					struct sockaddr_storage ss;
					socklen_t len;
					int client, conn, theirs, ours;
					uint8_t held;
					char c;

					nethost_open(1, false);
					kernel_port = 0;
					assert_int_equal(kernel_step(SOCK_STREAM, &first, 0), 0);
					fill_sockaddr(V4_LO, kernel_port, &ss, &len);
					client = socket(AF_INET, SOCK_STREAM, 0);
					assert_int_equal(connect(client, (struct sockaddr *)&ss, len), 0);
					conn = accept(kernel_fd[0], NULL, NULL);
					assert_true(conn >= 0);
					if (!alive) {
						close(conn);
						assert_int_equal(read(client, &c, 1), 0);
						close(client);
					}
					close(kernel_fd[0]);
					theirs = kernel_step(SOCK_STREAM, &again, 1);

					assert_int_equal(our_step(SOCK_STREAM, &first, 0), 0);
					held = ports_conn_hold(our_sock[0], htons(7777));
					ports_unbind(PORT_TCP, our_sock[0]);
					ours = our_step(SOCK_STREAM, &again, 1);
					if (theirs != ours)
						fail_msg("%s, old %u new %u addr %u: the kernel says %d, we %d",
							 alive ? "alive" : "TIME_WAIT", old, now, a, theirs, ours);
					ports_conn_release(htons(7777), held);
					ports_unbind(PORT_TCP, our_sock[1]);
					again.reuseaddr = again.reuseport = false;
					assert_int_equal(our_step(SOCK_STREAM, &again, 1), 0);
					close(kernel_fd[1]);
					if (alive) {
						close(conn);
						close(client);
					}
					assert_int_equal(nethost_close(), 0);
				}
}

/* --- look-ups --- */

static struct sock *tcp_bound(int family, uint32_t addr, bool reuseport)
{
	struct sock *s = nethost_sock(family, SOCK_STREAM);
	struct ip_addr a = addr ? ip_addr_v4(addr) : ip_addr_any();
	uint16_t port = htons(80);

	s->opt.reuseport = reuseport;
	s->opt.reuseaddr = 1;
	assert_int_equal(ports_bind(PORT_TCP, s, &a, &port, NULL, NULL), 0);
	return s;
}

static void listeners_are_found_exact_first(void **state)
{
	struct ip_addr own = ip_addr_v4(IP(10, 0, 0, 1)), other = ip_addr_v4(IP(10, 0, 0, 2));
	struct sock *any, *exact, *six;

	(void)state;
	nethost_open(1, false);
	assert_null(ports_listener(&own, htons(80), 0));
	any = tcp_bound(AF_INET, 0, false);
	assert_null(ports_listener(&own, htons(80), 0)); /* bound, not listening */
	exact = tcp_bound(AF_INET, IP(10, 0, 0, 1), false);
	assert_int_equal(ports_listen(exact, true), 0);
	assert_ptr_equal(ports_listener(&own, htons(80), 0), exact);
	assert_null(ports_listener(&other, htons(80), 0));
	assert_null(ports_listener(&own, htons(81), 0));
	assert_int_equal(ports_listen(exact, false), 0);
	assert_int_equal(ports_listen(any, true), 0);
	assert_ptr_equal(ports_listener(&own, htons(80), 0), any);
	assert_ptr_equal(ports_listener(&other, htons(80), 0), any);
	ports_unbind(PORT_TCP, any);
	assert_null(ports_listener(&own, htons(80), 0));
	ports_unbind(PORT_TCP, exact);
	six = tcp_bound(AF_INET6, 0, false);
	assert_int_equal(ports_listen(six, true), 0);
	assert_ptr_equal(ports_listener(&own, htons(80), 0), six);
	ports_unbind(PORT_TCP, six);
	ports_unbind(PORT_TCP, six); /* harmless */
	assert_int_equal(ports_listen(six, false), 0);
	assert_int_equal(ports_listen(six, true), -EINVAL);
	assert_int_equal(nethost_close(), 0);
}

static void reuseport_groups_share_by_hash(void **state)
{
	struct ip_addr own = ip_addr_v4(IP(10, 0, 0, 1));
	struct sock *s[4];
	unsigned got[4] = { 0 };

	(void)state;
	nethost_open(1, false);
	for (int i = 0; i < 4; i++) {
		s[i] = tcp_bound(AF_INET, 0, true);
		assert_int_equal(ports_listen(s[i], true), 0);
	}
	for (uint32_t i = 0; i < 4000; i++) {
		uint32_t hash = i * 2654435761u;
		struct sock *l = ports_listener(&own, htons(80), hash);

		assert_ptr_equal(l, ports_listener(&own, htons(80), hash));
		for (int k = 0; k < 4; k++)
			got[k] += l == s[k];
	}
	for (int k = 0; k < 4; k++)
		assert_in_range(got[k], 900, 1100);
	assert_int_equal(nethost_close(), 0);
}

/* --- ephemeral ports --- */

static bool taken[65536];

static bool port_ok(uint16_t port_be, void *arg)
{
	(void)arg;
	return !taken[ntohs(port_be)];
}

static bool avoid_odd(uint16_t port_be, void *arg)
{
	(void)arg;
	return ntohs(port_be) & 1;
}

static void every_ephemeral_port_is_used_once(void **state)
{
	struct ip_addr l = ip_addr_v4(IP(10, 0, 0, 1)), r = ip_addr_v4(IP(10, 0, 0, 2));
	unsigned in_sequence = 0;
	uint16_t last = 0;

	(void)state;
	nethost_open(1, false);
	memset(taken, 0, sizeof(taken));
	for (unsigned i = 0; i < 28232; i++) {
		uint16_t p = ntohs(ports_ephemeral(&l, &r, htons(80), port_ok, NULL));

		assert_in_range(p, 32768, 60999);
		assert_false(taken[p]);
		taken[p] = true;
		in_sequence += p == last + 1;
		last = p;
	}
	assert_int_equal(ports_ephemeral(&l, &r, htons(80), port_ok, NULL), 0);
	(void)in_sequence;
	assert_int_equal(nethost_close(), 0);
}

static void ephemeral_ports_avoid_bound_ones_and_differ_between_peers(void **state)
{
	struct ip_addr l = ip_addr_v4(IP(10, 0, 0, 1)), any = ip_addr_any();
	unsigned near = 0;
	struct sock *s;
	uint16_t port = htons(40000), prev = 0;

	(void)state;
	nethost_open(1, false);
	memset(taken, 1, sizeof(taken));
	taken[40000] = taken[40001] = false;
	s = nethost_sock(AF_INET, SOCK_STREAM);
	assert_int_equal(ports_bind(PORT_TCP, s, &any, &port, NULL, NULL), 0);
	assert_int_equal(ports_ephemeral(&l, &l, 1, port_ok, NULL), htons(40001));
	/* who sees our ports to one peer cannot tell those to another */
	memset(taken, 0, sizeof(taken));
	for (uint32_t i = 0; i < 1000; i++) {
		struct ip_addr r = ip_addr_v4(IP(10, 1, i / 256, i));
		uint16_t p = ntohs(ports_ephemeral(&l, &r, htons(80), port_ok, NULL));

		near += p - prev + 100u < 200u;
		prev = p;
	}
	assert_true(near < 30);
	assert_int_equal(nethost_close(), 0);
}

static void bind_to_port_zero_picks_a_free_one(void **state)
{
	struct ip_addr any = ip_addr_any(), own = ip_addr_v4(IP(10, 0, 0, 1));
	static bool seen[65536];

	(void)state;
	nethost_open(1, false);
	for (int i = 0; i < 3000; i++) {
		struct sock *s = nethost_sock(AF_INET, SOCK_STREAM);
		uint16_t port = 0;

		s->opt.reuseaddr = 1; /* does not make it share */
		assert_int_equal(ports_bind(PORT_TCP, s, i % 2 ? &any : &own, &port, avoid_odd, NULL), 0);
		assert_in_range(ntohs(port), 32768, 60999);
		assert_int_equal(ntohs(port) & 1, 0);
		assert_false(seen[ntohs(port)]);
		seen[ntohs(port)] = true;
		assert_int_equal(s->bound_port_be, port);
		assert_int_equal(ports_bind(PORT_TCP, s, &any, &port, NULL, NULL), -EINVAL); /* already */
	}
	assert_int_equal(nethost_close(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sharing_is_linuxs),
		cmocka_unit_test(second_listener_is_refused),
		cmocka_unit_test(connections_keep_their_port),
		cmocka_unit_test(listeners_are_found_exact_first),
		cmocka_unit_test(reuseport_groups_share_by_hash),
		cmocka_unit_test(every_ephemeral_port_is_used_once),
		cmocka_unit_test(ephemeral_ports_avoid_bound_ones_and_differ_between_peers),
		cmocka_unit_test(bind_to_port_zero_picks_a_free_one),
	};

	nethost_eal(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

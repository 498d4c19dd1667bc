/* test_epoll.c - epoll instances over stack sockets in virtual time: level, edge, one-shot, exclusive, registration errors, closing what is
 * registered, several instances, exposure. One thread; test_threads.c has the rest. Expectations: epoll(7), epoll_ctl(2). */
#include "sock_test.h"

#include "sock/sock_int.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct epoll *ep;

static int setup(void **state)
{
	two_hosts();
	ep = epoll_instance_create(tenv.self);
	assert_non_null(ep);
	return 0;
}

static int teardown(void **state)
{
	int bad;

	if (ep)
		epoll_instance_unref(ep, tenv.self);
	testenv_run_for(200ull * 1000000);
	testenv_run_for(1000);
	bad = testenv_close();
	assert_int_equal(bad, 0);
	return bad;
}

static int ctl(struct epoll *e, int op, int fd, struct sock *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = (uint64_t)fd };

	return epoll_instance_ctl(e, op, fd, s, &ev, tenv.self);
}

/* Events now; ev must hold n. */
static int wait_now(struct epoll *e, struct epoll_event *ev, int n)
{
	return epoll_instance_wait(e, ev, n, 0, -1, tenv.self);
}

#define assert_event(e_, fd_, bits)                            \
	do {                                                   \
		struct epoll_event ev_[4];                     \
		assert_int_equal(wait_now(e_, ev_, 4), 1);     \
		assert_int_equal(ev_[0].events, bits);         \
		assert_int_equal(ev_[0].data.u64, fd_);        \
	} while (0)
#define assert_quiet(e_) assert_int_equal(wait_now(e_, (struct epoll_event[4]){ 0 }, 4), 0)

static void registration_errors(void **state)
{
	struct pair p = pair_open(80);
	struct epoll_event ev;

	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.c, EPOLLIN), -ENOENT);
	assert_int_equal(ctl(ep, EPOLL_CTL_DEL, 5, p.c, 0), -ENOENT);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.c, EPOLLIN), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.c, EPOLLIN), -EEXIST);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 6, p.c, EPOLLIN), 0); /* a dup: another number */
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0); /* another socket under a number that was reused */
	assert_int_equal(ctl(ep, 77, 5, p.c, 0), -EINVAL);
	assert_int_equal(ctl(ep, EPOLL_CTL_DEL, 6, p.c, 0), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_DEL, 6, p.c, 0), -ENOENT);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 6, p.c, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), -EINVAL);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 6, p.c, EPOLLIN | EPOLLEXCLUSIVE), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 6, p.c, EPOLLIN), -EINVAL);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.c, EPOLLIN | EPOLLEXCLUSIVE), -EINVAL);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3000000, p.c, EPOLLIN), 0); /* beyond the table */
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3000000, p.c, EPOLLIN), -EEXIST);
	assert_int_equal(ctl(ep, EPOLL_CTL_DEL, 3000000, p.c, EPOLLIN), 0);
	assert_int_equal(epoll_instance_wait(ep, &ev, 0, 0, -1, tenv.self), -EINVAL);
	pair_close(&p);
}

static void level_triggered_tells_until_it_is_read(void **state)
{
	struct pair p = pair_open(80);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0);
	assert_quiet(ep);
	sends(p.c, "abc");
	testenv_run_for(1000);
	assert_event(ep, 5, EPOLLIN);
	assert_event(ep, 5, EPOLLIN);
	assert_recv(p.s, "abc");
	assert_quiet(ep);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.s, EPOLLIN | EPOLLOUT), 0);
	assert_event(ep, 5, EPOLLOUT);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.s, 0), 0);
	assert_quiet(ep);
	testenv_close_sock(p.c); /* HUP and ERR are told without being asked for, RDHUP only when asked for */
	p.c = NULL;
	testenv_run_for(1000);
	assert_quiet(ep);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.s, EPOLLRDHUP), 0);
	assert_event(ep, 5, EPOLLRDHUP);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.s, 0), 0);
	assert_int_equal(sock_shutdown(p.s, SHUT_WR, tenv.self), 0);
	testenv_run_for(1000);
	assert_event(ep, 5, EPOLLHUP);
	pair_close(&p);
}

static void edge_triggered_tells_once_per_event(void **state)
{
	struct pair p = pair_open(80);
	char b;

	sends(p.c, "x");
	testenv_run_for(1000);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN | EPOLLOUT | EPOLLET), 0);
	assert_event(ep, 5, EPOLLIN | EPOLLOUT);
	assert_quiet(ep);
	sends(p.c, "yz"); /* more data is a new event though the old was not read */
	testenv_run_for(1000);
	assert_event(ep, 5, EPOLLIN | EPOLLOUT);
	assert_int_equal(sock_recv(p.s, &b, 1, 0, tenv.self), 1);
	assert_quiet(ep); /* reading a part is none */
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.s, EPOLLIN | EPOLLET), 0); /* MOD arms again */
	assert_event(ep, 5, EPOLLIN);
	assert_quiet(ep);
	pair_close(&p);
}

static void edge_triggered_out_only_after_the_buffer_was_full(void **state)
{
	struct pair p = pair_open(80);
	char *big = calloc(1, 1 << 20), buf[65536];
	int size = 10000, outs = 0;
	struct epoll_event ev[2];

	assert_int_equal(sock_setopt(p.c, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size), tenv.self), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.c, EPOLLOUT | EPOLLET), 0);
	assert_event(ep, 5, EPOLLOUT);
	assert_int_equal(sock_send(p.c, big, 3000, 0, tenv.self), 3000);
	testenv_run_for(300000);
	assert_quiet(ep); /* never was full */
	assert_true(sock_send(p.c, big, 1 << 20, 0, tenv.self) < 1 << 20);
	assert_int_equal(sock_send(p.c, big, 1, 0, tenv.self), -EAGAIN);
	for (int i = 0; i < 300; i++) {
		testenv_run_for(1000);
		outs += wait_now(ep, ev, 2);
		sock_recv(p.s, buf, sizeof(buf), 0, tenv.self);
	}
	assert_int_equal(outs, 1);
	free(big);
	pair_close(&p);
}

static void one_shot_is_spent_until_modified(void **state)
{
	struct pair p = pair_open(80);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN | EPOLLONESHOT), 0);
	sends(p.c, "a");
	testenv_run_for(1000);
	assert_event(ep, 5, EPOLLIN);
	sends(p.c, "b");
	testenv_run_for(1000);
	assert_quiet(ep);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.s, EPOLLIN | EPOLLONESHOT), 0);
	assert_event(ep, 5, EPOLLIN);
	assert_quiet(ep);
	pair_close(&p);
}

static void data_and_end_of_stream_are_one_event(void **state)
{
	struct pair p = pair_open(80);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN | EPOLLRDHUP | EPOLLET), 0);
	sends(p.c, "bye");
	testenv_close_sock(p.c);
	p.c = NULL;
	testenv_run_for(1000);
	assert_event(ep, 5, EPOLLIN | EPOLLRDHUP);
	assert_quiet(ep);
	assert_recv(p.s, "bye");
	assert_int_equal(sock_recv(p.s, (char[1]){ 0 }, 1, 0, tenv.self), 0);
	pair_close(&p);
}

static void ready_sockets_take_turns(void **state)
{
	struct sock *l = testenv_listener(1, 80, 16), *c[4], *a[4];
	unsigned seen[4] = { 0 };
	struct epoll_event ev;

	for (int i = 0; i < 4; i++)
		c[i] = testenv_connect(0, 1, 80);
	testenv_run_for(20000);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(sock_accept(l, &a[i], true, -1, tenv.self), 0);
		assert_int_equal(ctl(ep, EPOLL_CTL_ADD, i, a[i], EPOLLIN), 0);
		sends(c[i], "x");
	}
	testenv_run_for(1000);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(wait_now(ep, &ev, 1), 1);
		seen[ev.data.u64]++;
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(seen[i], 10);
	for (int i = 0; i < 4; i++) {
		testenv_close_sock(a[i]);
		testenv_close_sock(c[i]);
	}
	testenv_close_sock(l);
	assert_quiet(ep);
}

static void one_socket_in_two_instances(void **state)
{
	struct pair p = pair_open(80);
	struct epoll *two = epoll_instance_create(tenv.self);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0);
	assert_int_equal(ctl(two, EPOLL_CTL_ADD, 9, p.s, EPOLLIN | EPOLLET), 0);
	sends(p.c, "a");
	testenv_run_for(1000);
	assert_event(ep, 5, EPOLLIN);
	assert_event(two, 9, EPOLLIN);
	assert_event(ep, 5, EPOLLIN);
	assert_quiet(two);
	epoll_instance_unref(two, tenv.self);
	testenv_run_for(1000);
	assert_int_equal(slab_in_use(&gz->epolls), 1);
	assert_int_equal(slab_in_use(&gz->items), 1);
	assert_event(ep, 5, EPOLLIN);
	pair_close(&p);
}

static void closing_a_registered_socket_unregisters_it(void **state)
{
	struct pair p = pair_open(80);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0);
	sends(p.c, "a");
	testenv_run_for(1000);
	assert_event(ep, 5, EPOLLIN);
	testenv_close_sock(p.s); /* with the event still in the list */
	assert_quiet(ep);
	/* the number is used again */
	p.s = NULL;
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.c, EPOLLOUT), 0);
	testenv_run_for(100000);
	assert_event(ep, 5, EPOLLOUT | EPOLLHUP | EPOLLERR);
	testenv_close_sock(p.c);
	p.c = NULL;
	testenv_run_for(1000);
	assert_quiet(ep);
	assert_int_equal(slab_in_use(&gz->items), 0);
	pair_close(&p);
}

static void closing_an_instance_with_ready_items(void **state)
{
	struct pair p = pair_open(80);
	struct epoll *e[8];

	for (int i = 0; i < 8; i++) {
		e[i] = epoll_instance_create(tenv.self);
		assert_int_equal(ctl(e[i], EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0);
		assert_int_equal(ctl(e[i], EPOLL_CTL_ADD, 2000, p.c, EPOLLOUT), 0);
	}
	sends(p.c, "a");
	testenv_run_for(1000);
	for (int i = 0; i < 8; i++)
		epoll_instance_unref(e[i], tenv.self);
	testenv_run_for(1000);
	assert_int_equal(slab_in_use(&gz->epolls), 1);
	assert_int_equal(slab_in_use(&gz->items), 0);
	assert_int_equal(slab_in_use(&gz->epoll_chunks), 0);
	pair_close(&p);
}

static void listener_and_connect_events(void **state)
{
	struct sock *l = testenv_listener(1, 80, 4), *c, *a;

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 3, l, EPOLLIN), 0);
	assert_quiet(ep);
	c = testenv_connect(0, 1, 80);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 4, c, EPOLLOUT | EPOLLET), 0);
	assert_quiet(ep);
	testenv_run_for(10000);
	{
		struct epoll_event ev[4];

		assert_int_equal(wait_now(ep, ev, 4), 2);
		assert_int_equal(ev[0].events | ev[1].events, EPOLLIN | EPOLLOUT);
	}
	assert_event(ep, 3, EPOLLIN);
	assert_int_equal(sock_accept(l, &a, true, -1, tenv.self), 0);
	assert_quiet(ep);
	testenv_close_sock(a);
	testenv_close_sock(c);
	testenv_close_sock(l);
}

static void failed_connect_is_told(void **state)
{
	struct sock *c = testenv_connect(0, 1, 81);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 4, c, EPOLLOUT), 0);
	testenv_run_for(10000);
	assert_event(ep, 4, EPOLLOUT | EPOLLERR | EPOLLHUP);
	testenv_close_sock(c);
}

static bool fd_readable(int fd)
{
	struct pollfd pf = { .fd = fd, .events = POLLIN };

	return poll(&pf, 1, 0) == 1;
}

static void exposed_descriptor_equals_readiness(void **state)
{
	struct pair p = pair_open(80);
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0);
	epoll_instance_expose(ep, fd);
	assert_false(fd_readable(fd));
	assert_false(epoll_instance_ready(ep, tenv.self));
	sends(p.c, "a");
	testenv_run_for(1000);
	assert_true(fd_readable(fd));
	assert_true(epoll_instance_ready(ep, tenv.self));
	assert_event(ep, 5, EPOLLIN);
	assert_true(fd_readable(fd));
	assert_recv(p.s, "a");
	assert_false(epoll_instance_ready(ep, tenv.self));
	assert_false(fd_readable(fd));
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, 5, p.s, EPOLLOUT), 0);
	assert_true(fd_readable(fd));
	epoll_instance_expose(ep, -1);
	close(fd);
	pair_close(&p);
}

/* Kernel descriptors in the same instance: neither side starves the other, however small the array. */
static void kernel_and_stack_events_take_turns(void **state)
{
	struct pair p = pair_open(80);
	int kep = epoll_create1(0), fd = eventfd(1, 0), kernel = 0, stack = 0;
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 77 };

	assert_int_equal(epoll_ctl(kep, EPOLL_CTL_ADD, fd, &ev), 0);
	assert_int_equal(epoll_instance_wait(ep, &ev, 1, 0, kep, tenv.self), 1);
	assert_int_equal(ev.data.u64, 77);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0);
	sends(p.c, "a");
	testenv_run_for(1000);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(epoll_instance_wait(ep, &ev, 1, 0, kep, tenv.self), 1);
		if (ev.data.u64 == 77)
			kernel++;
		else
			stack++;
		vclock_us += 20;
	}
	assert_true(kernel > 100);
	assert_true(stack > 100);
	close(fd);
	close(kep);
	pair_close(&p);
}

static void lock_of_a_killed_waiter_is_taken_over(void **state)
{
	struct pair p = pair_open(80);

	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 5, p.s, EPOLLIN), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, 6, p.c, EPOLLIN), 0);
	sends(p.c, "a");
	testenv_run_for(1000);
	/* a holder that does not exist */
	atomic_store(&ep->lock.word, 0x3ffffff0);
	assert_event(ep, 5, EPOLLIN);
	assert_recv(p.s, "a");
	assert_quiet(ep);
	sends(p.s, "b");
	testenv_run_for(1000);
	assert_event(ep, 6, EPOLLIN);
	pair_close(&p);
}

/* Ten thousand registrations, events on all, closed in any order: everything comes back. */
static void many_items_come_and_go(void **state)
{
	struct sock *s[300];
	struct epoll_event ev[64];
	unsigned rnd = 12345, got = 0;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 300; i++) {
			s[i] = testenv_socket(0, SOCK_STREAM);
			assert_int_equal(ctl(ep, EPOLL_CTL_ADD, i * 7, s[i], EPOLLIN | (i & 1 ? EPOLLET : 0)), 0);
		}
		for (int n; (n = wait_now(ep, ev, 64)) > 0 && got < 100000;) {
			got += (unsigned)n;
			for (int k = 0; k < n; k++)
				assert_int_equal(ev[k].events, EPOLLHUP);
			if (got > 1000u * (unsigned)(round + 1))
				break;
		}
		for (int i = 0; i < 300; i++) {
			rnd = rnd * 1103515245 + 12345;
			if (rnd >> 30 == 0)
				assert_int_equal(ctl(ep, EPOLL_CTL_DEL, i * 7, s[i], 0), 0);
			if (rnd >> 30 == 1)
				(void)wait_now(ep, ev, 64);
			testenv_close_sock(s[i]);
		}
		assert_quiet(ep);
		testenv_run_for(10);
		assert_int_equal(slab_in_use(&gz->items), 0);
		assert_int_equal(slab_in_use(&gz->socks), 0);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(registration_errors),
		T(level_triggered_tells_until_it_is_read),
		T(edge_triggered_tells_once_per_event),
		T(edge_triggered_out_only_after_the_buffer_was_full),
		T(one_shot_is_spent_until_modified),
		T(data_and_end_of_stream_are_one_event),
		T(ready_sockets_take_turns),
		T(one_socket_in_two_instances),
		T(closing_a_registered_socket_unregisters_it),
		T(closing_an_instance_with_ready_items),
		T(listener_and_connect_events),
		T(failed_connect_is_told),
		T(exposed_descriptor_equals_readiness),
		T(kernel_and_stack_events_take_turns),
		T(lock_of_a_killed_waiter_is_taken_over),
		T(many_items_come_and_go),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* sock_test.h - what the tests of src/sock share: a pair of connected sockets on two hosts, short forms. */
#ifndef GZ_SOCK_TEST_H
#define GZ_SOCK_TEST_H

#include "testenv.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct pair {
	struct sock *l, *c, *s; /* listener on host 1, client on host 0, the accepted one */
};

static inline void two_hosts(void)
{
	testenv_open(&(struct testenv_conf){ .nb_hosts = 2, .wired = true, .seed = 1 });
}

static inline struct pair pair_open(uint16_t port)
{
	struct pair p = { .l = testenv_listener(1, port, 16) };
	int r;

	p.c = testenv_connect(0, 1, port);
	testenv_run_for(20000);
	r = sock_accept(p.l, &p.s, true, -1, tenv.self);
	assert_int_equal(r, 0);
	assert_non_null(p.s);
	atomic_store(&p.s->fl_flags, O_NONBLOCK); /* not inherited from the listener */
	return p;
}

static inline void pair_close(struct pair *p)
{
	if (p->c)
		testenv_close_sock(p->c);
	if (p->s)
		testenv_close_sock(p->s);
	testenv_close_sock(p->l);
	testenv_run_for(200ull * 1000000); /* TIME_WAIT too */
}

static inline ssize_t sends(struct sock *s, const char *text)
{
	return sock_send(s, text, strlen(text), 0, tenv.self);
}

/* Reads and compares. */
#define assert_recv(s, text)                                                                \
	do {                                                                                \
		char buf_[4096];                                                            \
		ssize_t n_ = sock_recv(s, buf_, sizeof(buf_), MSG_DONTWAIT, tenv.self);     \
		assert_int_equal(n_, (ssize_t)strlen(text));                                \
		assert_memory_equal(buf_, text, (size_t)n_);                                \
	} while (0)

#define assert_ready(s, bits) assert_int_equal(sock_readiness(s), bits)

#endif

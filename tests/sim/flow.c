/* flow.c - see flow.h. Called by world.c; calls sock/. One thread, virtual time. */
#include "flow.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>

#define PATTERN_BYTES 65521u /* prime: a shift by any usual size shows */
#define BUF_BYTES 65536u
#define UNSEEN_US (300 * US_PER_S) /* longer than a handshake is retried */

const char *const close_plan_names[CLOSE_PLANS] = { "when-sent", "shutdown-first", "after-peer", "at-once", "reset",
						      "abort",	"cut" };

static uint8_t pattern[PATTERN_BYTES + BUF_BYTES];

void flow_problem(struct flow *f, const char *fmt, ...)
{
	va_list ap;

	if (f->problem[0])
		return;
	va_start(ap, fmt);
	vsnprintf(f->problem, sizeof(f->problem), fmt, ap);
	va_end(ap);
}

static void pattern_init(void)
{
	struct prng p;

	if (pattern[0] | pattern[1] | pattern[2])
		return;
	prng_seed(&p, 12345);
	for (uint32_t i = 0; i < PATTERN_BYTES; i++)
		pattern[i] = (uint8_t)prng_u64(&p);
	for (uint32_t i = 0; i < BUF_BYTES; i++)
		pattern[PATTERN_BYTES + i] = pattern[i % PATTERN_BYTES];
}

/* Bytes of the stream of end `who` at off. */
static const uint8_t *stream_at(unsigned who, uint64_t off)
{
	return &pattern[(off + who * 7919u) % PATTERN_BYTES];
}

void flow_init(struct flow *f, struct sock *listener, unsigned from, unsigned to, uint16_t port, uint64_t bytes0, uint64_t bytes1,
	       uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	pattern_init();
	f->listener = listener;
	f->from = from;
	f->to = to;
	f->port = port;
	f->start_us = vclock_us;
	f->end[0].to_send = f->end[1].expect = bytes0;
	f->end[1].to_send = f->end[0].expect = bytes1;
	for (unsigned e = 0; e < 2; e++) {
		f->end[e].chunk_max = 16384;
		prng_seed(&f->end[e].prng, seed * 2 + e);
	}
}

static void set(struct flow *f, struct sock *s, int level, int name, int value)
{
	int r = sock_setopt(s, level, name, &value, sizeof(value), tenv.self);

	if (r)
		flow_problem(f, "option %d/%d = %d: %s", level, name, value, strerror(-r));
}

static void end_options(struct flow *f, struct flow_end *e)
{
	if (e->cc) {
		int r = sock_setopt(e->s, IPPROTO_TCP, TCP_CONGESTION, e->cc, (socklen_t)strlen(e->cc), tenv.self);

		if (r)
			flow_problem(f, "TCP_CONGESTION %s: %s", e->cc, strerror(-r));
	}
	if (e->maxseg)
		set(f, e->s, IPPROTO_TCP, TCP_MAXSEG, (int)e->maxseg);
	if (e->nodelay)
		set(f, e->s, IPPROTO_TCP, TCP_NODELAY, 1);
	if (e->rcvbuf)
		set(f, e->s, SOL_SOCKET, SO_RCVBUF, (int)e->rcvbuf);
	if (e->sndbuf)
		set(f, e->s, SOL_SOCKET, SO_SNDBUF, (int)e->sndbuf);
	if (e->keepalive) {
		set(f, e->s, SOL_SOCKET, SO_KEEPALIVE, 1);
		set(f, e->s, IPPROTO_TCP, TCP_KEEPIDLE, 20);
		set(f, e->s, IPPROTO_TCP, TCP_KEEPINTVL, 4);
		set(f, e->s, IPPROTO_TCP, TCP_KEEPCNT, 12);
	}
}

static void flow_connect(struct flow *f)
{
	struct sockaddr_in local;
	socklen_t len = sizeof(local);
	struct sock *s = testenv_socket(f->from, SOCK_STREAM);
	int r;

	if (!s)
		abort();
	f->end[0].s = s;
	end_options(f, &f->end[0]);
	r = testenv_connect_addr(s, testenv_ip(f->to), f->port);
	if (r && r != -EINPROGRESS)
		flow_problem(f, "connect: %s", strerror(-r));
	sock_getname(s, (struct sockaddr *)&local, &len, false);
	f->port_be = local.sin_port;
}

/* From now on the stream of end 0 is as long as it is. */
static void flow_stop(struct flow *f)
{
	f->end[0].to_send = f->end[1].expect = f->end[0].sent;
	f->stop_us = 0;
}

void flows_accept(struct flow *f, unsigned n, struct sock *listener)
{
	struct sockaddr_in peer;
	socklen_t len;
	struct sock *s;

	while (sock_accept(listener, &s, true, -1, tenv.self) == 0) {
		unsigned i;

		len = sizeof(peer);
		sock_accepted_name(s, (struct sockaddr *)&peer, &len); /* the connection may have been reset already */
		for (i = 0; i < n; i++) {
			if (!f[i].accepted && f[i].listener == listener && f[i].port_be == peer.sin_port &&
			    testenv_ip(f[i].from) == peer.sin_addr.s_addr)
				break;
		}
		if (i == n) { /* not of these flows */
			testenv_close_sock(s);
			continue;
		}
		atomic_fetch_or(&s->fl_flags, O_NONBLOCK);
		f[i].end[1].s = s;
		f[i].accepted = true;
		end_options(&f[i], &f[i].end[1]);
	}
}

static void end_close(struct flow_end *e)
{
	testenv_close_sock(e->s);
	e->s = NULL;
	e->closed = true;
}

static void end_failed(struct flow_end *e, int err)
{
	e->failed = true;
	e->error = err;
	end_close(e);
}

static bool end_write(struct flow *f, unsigned who)
{
	struct flow_end *e = &f->end[who];
	bool moved = false;

	if (e->plan == CLOSE_AFTER_PEER && !e->eof)
		return false;
	while (e->s && e->sent < (e->plan >= CLOSE_ABORT ? e->cut_at : e->to_send)) {
		uint64_t n = 1 + prng_below(&e->prng, e->chunk_max);
		ssize_t r;

		n = MIN(n, (e->plan >= CLOSE_ABORT ? e->cut_at : e->to_send) - e->sent);
		n = MIN(n, BUF_BYTES);
		r = sock_send(e->s, stream_at(who, e->sent), n, MSG_NOSIGNAL | (prng_ppm(&e->prng, e->more_ppm) ? MSG_MORE : 0),
			      tenv.self);
		if (r == -EAGAIN)
			break;
		if (r < 0) {
			end_failed(e, (int)-r);
			return true;
		}
		e->sent += (uint64_t)r;
		moved = true;
	}
	return moved;
}

static bool end_read(struct flow *f, unsigned who)
{
	static uint8_t buf[BUF_BYTES];
	struct flow_end *e = &f->end[who];
	bool moved = false;

	if (vclock_us < e->next_read_us)
		return false;
	while (e->s && !e->eof) {
		uint64_t n = 1 + prng_below(&e->prng, e->chunk_max);
		ssize_t r = sock_recv(e->s, buf, MIN(n, BUF_BYTES), 0, tenv.self);

		if (r == -EAGAIN)
			break;
		moved = true;
		if (r < 0) {
			end_failed(e, (int)-r);
			return true;
		}
		if (r == 0) {
			e->eof = true;
			if (plan_resets(f->end[!who].plan))
				flow_problem(f, "end %u read end of file although the peer resets", who);
			if (e->received != e->expect && f->end[!who].plan != CLOSE_CUT)
				flow_problem(f, "end %u read end of file after %llu of %llu bytes", who,
					 (unsigned long long)e->received, (unsigned long long)e->expect);
			break;
		}
		if (e->received + (uint64_t)r > e->expect)
			flow_problem(f, "end %u read more than was sent", who);
		else if (memcmp(buf, stream_at(!who, e->received), (size_t)r))
			flow_problem(f, "end %u read wrong bytes within %zd at %llu", who, r,
				 (unsigned long long)e->received);
		e->received += (uint64_t)r;
		if (e->received == e->expect)
			e->done_us = vclock_us;
		if (e->pause_us && e->received >= e->pause_at) {
			e->next_read_us = vclock_us + e->pause_us;
			e->pause_us = 0;
			break;
		}
		if (e->read_every_us) {
			e->next_read_us = vclock_us + e->read_every_us;
			break;
		}
	}
	return moved;
}

static bool end_finish(struct flow *f, unsigned who)
{
	struct flow_end *e = &f->end[who];
	struct linger lg = { 1, 0 };

	if (!e->s)
		return false;
	if (e->plan >= CLOSE_ABORT && e->sent >= e->cut_at) {
		if (e->plan == CLOSE_ABORT)
			sock_setopt(e->s, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg), tenv.self);
		end_close(e);
		return true;
	}
	if (e->sent < e->to_send)
		return false;
	switch (e->plan) {
	case CLOSE_AT_ONCE:
		end_close(e);
		return true;
	case CLOSE_RESET:
		if (e->received < e->expect && !e->eof)
			return false;
		sock_setopt(e->s, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg), tenv.self);
		end_close(e);
		return true;
	case CLOSE_SHUTDOWN_FIRST:
		if (!e->shut) {
			e->shut = true;
			sock_shutdown(e->s, SHUT_WR, tenv.self);
			return true;
		}
		break;
	case CLOSE_WHEN_SENT:
		/* closes without waiting for the peer's FIN once it has all that it expects */
		if (e->received == e->expect || e->eof) {
			end_close(e);
			return true;
		}
		return false;
	default:
		break;
	}
	if (e->eof) {
		end_close(e);
		return true;
	}
	return false;
}

bool flow_step(struct flow *f)
{
	bool moved;

	if (!f->end[0].s && !f->end[0].closed) {
		if (vclock_us < f->start_us)
			return false;
		flow_connect(f);
	}
	if (f->stop_us && vclock_us >= f->stop_us)
		flow_stop(f);
	if (!f->connected && f->end[0].s) {
		uint32_t ready = sock_readiness(f->end[0].s);

		if (ready & (EPOLLERR | EPOLLHUP)) {
			int err = 0;
			socklen_t len = sizeof(err);

			sock_getopt(f->end[0].s, SOL_SOCKET, SO_ERROR, &err, &len, tenv.self);
			end_failed(&f->end[0], err);
		} else if (ready & EPOLLOUT) {
			f->connected = true;
		}
	}
	do {
		moved = false;
		for (unsigned who = 0; who < 2; who++) {
			if (!f->end[who].s || (who == 0 && !f->connected))
				continue;
			moved |= end_write(f, who);
			moved |= end_read(f, who);
			moved |= end_finish(f, who);
		}
	} while (moved);
	if (f->end[0].closed && !f->ended_us)
		f->ended_us = vclock_us;
	/* who resets right behind the handshake may be nobody that the listener ever saw */
	f->done = f->end[0].closed && (f->end[1].closed || (!f->accepted && (f->end[0].failed || vclock_us >= f->ended_us + UNSEEN_US)));
	return f->done;
}

uint64_t flow_next_us(const struct flow *f)
{
	uint64_t next = f->stop_us ? f->stop_us : UINT64_MAX;

	if (f->done)
		return UINT64_MAX;
	if (!f->end[0].s && !f->end[0].closed)
		return f->start_us;
	if (f->end[0].closed && !f->accepted)
		next = MIN(next, f->ended_us + UNSEEN_US);
	for (unsigned e = 0; e < 2; e++)
		/* a time that has passed was used by flow_step() already */
		if (f->end[e].s && !f->end[e].eof && f->end[e].next_read_us > vclock_us)
			next = MIN(next, f->end[e].next_read_us);
	return next;
}

bool flow_complete(const struct flow *f)
{
	return f->end[0].received == f->end[0].expect && f->end[1].received == f->end[1].expect && !f->problem[0];
}

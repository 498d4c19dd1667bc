/* sock_connect.c - bind, listen, connect, shutdown, names. Called by posix/ after its kernel-or-stack decision; any thread of any process.
 * The state machine is that of Linux's inet_stream_connect(), inet_bind(), inet_listen(), inet_shutdown(). */
#include "base/clock.h"
#include "sock/ports.h"
#include "sock/sock_int.h"
#include "stack/idle.h"
#include "stack/steer.h"
#include "tcp/tcp.h"

static enum port_proto proto_of(const struct sock *s)
{
	return s->type == SOCK_STREAM ? PORT_TCP : PORT_UDP;
}

static bool is_multicast(uint32_t addr_be) { return (ntohl(addr_be) & 0xf0000000u) == 0xe0000000u; }

static bool addr_is_ours(const struct sock *s, const struct ip_addr *a)
{
	return ip_addr_is_v4(a) && ip_addr_get_v4(a) == sock_stack(s)->ip4.addr_be;
}

int sock_bind(struct sock *s, const struct sockaddr *sa, socklen_t len, bool (*avoid)(uint16_t port_be, void *arg), void *arg,
	      struct thread_rec *self)
{
	struct ip_addr addr;
	uint16_t port_be;
	int err;

	(void)self;
	if (s->family == AF_INET6 && len >= sizeof(sa->sa_family) && sa->sa_family != AF_INET6)
		return len < 24 ? -EINVAL : -EAFNOSUPPORT;
	if (s->family == AF_INET && len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_UNSPEC) {
		const struct sockaddr_in *in = (const void *)sa;

		/* Linux takes AF_UNSPEC with the wildcard address for AF_INET */
		if (in->sin_addr.s_addr != INADDR_ANY)
			return -EAFNOSUPPORT;
		addr = ip_addr_v4(INADDR_ANY);
		port_be = in->sin_port;
	} else {
		err = sockaddr_get(s, sa, len, &addr, &port_be);
		if (err)
			return err;
	}
	if (s->family == AF_INET6 && s->opt.v6only && ip_addr_is_v4(&addr))
		return -EINVAL;
	if (!ip_addr_is_any(&addr) && !addr_is_ours(s, &addr) && !s->opt.freebind && !s->opt.transparent &&
	    !(is_multicast(ip_addr_get_v4(&addr)) && s->type == SOCK_DGRAM))
		return -EADDRNOTAVAIL;
	if (s->bound_port_be || sock_status(s) & (SOCK_CONNECTED | SOCK_CONNECTING | SOCK_LISTENING | SOCK_BOUND))
		return -EINVAL;
	if (ip_addr_is_any(&addr))
		addr = ip_addr_any();
	if (port_be == 0 && s->opt.bind_no_port && s->type == SOCK_STREAM) { /* IP_BIND_ADDRESS_NO_PORT: connect() picks it */
		s->bound_addr = addr;
		status_set(s, SOCK_BOUND);
		return 0;
	}
	err = ports_bind(proto_of(s), s, &addr, &port_be, avoid, arg);
	if (err)
		return err;
	s->bound_addr = addr;
	s->bound_port_be = port_be;
	status_set(s, SOCK_BOUND);
	return 0;
}

int sock_listen(struct sock *s, int backlog, struct thread_rec *self)
{
	uint32_t status = sock_status(s);
	int64_t err;

	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (atomic_load_explicit(&s->ss_state, memory_order_relaxed) != SS_FREE || status & (SOCK_CONNECTED | SOCK_CONNECTING))
		return -EINVAL;
	atomic_store_explicit(&s->backlog, (uint32_t)backlog > SOCK_SOMAXCONN ? SOCK_SOMAXCONN : (uint32_t)backlog,
			      memory_order_relaxed);
	if (status & SOCK_LISTENING)
		return 0;
	if (!s->bound_port_be) {
		struct ip_addr any = s->bound_addr;
		uint16_t port_be = 0;

		err = ports_bind(PORT_TCP, s, &any, &port_be, NULL, NULL);
		if (err)
			return (int)err;
		s->bound_addr = any;
		s->bound_port_be = port_be;
		status_set(s, SOCK_BOUND);
	}
	return (int)stack_call(sock_stack(s), SOCK_OP_LISTEN, s, self);
}

static bool connect_changed(struct sock *s, void *arg)
{
	(void)arg;
	return !(sock_status(s) & SOCK_CONNECTING);
}

/* A connection attempt is on: wait for it. `pending`: what a non-blocking caller is told. */
static int connect_wait(struct sock *s, int pending, bool nonblock, struct thread_rec *self)
{
	uint64_t deadline = 0;
	int err, r;

	if (sock_status(s) & SOCK_CONNECTING) {
		if (nonblock) {
			if (!idle_run_stacks(self) || sock_status(s) & SOCK_CONNECTING)
				return pending;
		}
		while (sock_status(s) & SOCK_CONNECTING) {
			if (!deadline)
				deadline = sock_deadline(atomic_load_explicit(&s->sndtimeo_us, memory_order_relaxed));
			r = sock_wait_one(s, EPOLLOUT, connect_changed, NULL, deadline, self);
			if (r < 0)
				return r == -ETIMEDOUT ? pending : r;
		}
	}
	if (sock_status(s) & SOCK_DEAD) {
		err = sock_take_error(s);
		if (!err)
			err = ECONNABORTED;
		/* As tcp_disconnect(): it may be connected again. */
		(void)stack_call(sock_stack(s), SOCK_OP_DISCONNECT, s, self);
		return -err;
	}
	atomic_store_explicit(&s->ss_state, SS_DONE, memory_order_relaxed);
	return 0;
}

/* Which stack must own the connection (hash of the 4-tuple); a socket without a fixed port stays where it is and picks a port that
 * hashes there. The socket moves before the engine knows it. */
static void connect_move(struct sock *s, const struct connect_args *a)
{
	struct ip_addr laddr;
	uint32_t want;

	if (likely(gz->nb_stacks == 1) || !s->bound_port_be || s->type != SOCK_STREAM)
		return;
	laddr = ip_addr_is_any(&s->bound_addr) ? ip_addr_v4(sock_stack(s)->ip4.addr_be) : s->bound_addr;
	want = steer_stack(&laddr, s->bound_port_be, &a->raddr, a->rport_be);
	/* Items hang on the old owner's list: such a socket stays, and its frames are re-steered by tuple in vain; so only without. */
	if (want != s->stack_id && vcount_get(&s->item_count, memory_order_acquire) == 0 &&
	    atomic_load_explicit(&s->cmd_bits, memory_order_acquire) == 0)
		s->stack_id = (uint8_t)want;
}

static int connect_datagram(struct sock *s, const struct connect_args *a, struct thread_rec *self)
{
	uint32_t dst = ip_addr_get_v4(&a->raddr), net = sock_stack(s)->ip4.addr_be & sock_stack(s)->ip4.mask_be;
	int64_t r;

	if (!s->opt.broadcast &&
	    (dst == INADDR_BROADCAST || dst == (net | ~sock_stack(s)->ip4.mask_be)))
		return -EACCES;
	r = stack_call(sock_stack(s), SOCK_OP_CONNECT, s, self);
	if (r == 0)
		atomic_store_explicit(&s->ss_state, SS_DONE, memory_order_relaxed);
	return (int)r;
}

bool sock_may_fastopen(const struct sock *s)
{
	return tcp_conf_of(sock_stack(s))->fastopen & TCP_FO_CLIENT;
}

int sock_opened(struct sock *s, struct thread_rec *self)
{
	return connect_wait(s, -EINPROGRESS, false, self);
}

int sock_open(struct sock *s, const struct sockaddr *sa, socklen_t len, bool fastopen, bool nonblock, struct thread_rec *self)
{
	struct connect_args *args = (void *)self->call.buf;
	int64_t err;

	if (s->type == SOCK_STREAM) {
		switch ((enum sock_ss)atomic_load_explicit(&s->ss_state, memory_order_relaxed)) {
		case SS_DONE:
			return -EISCONN;
		case SS_PENDING:
			return sock_status(s) & SOCK_EARLY ? -EISCONN : connect_wait(s, -EALREADY, nonblock, self);
		case SS_FREE:
			break;
		}
		if (sock_status(s) & SOCK_LISTENING)
			return -EISCONN;
	}
	err = sockaddr_get(s, sa, len, &args->raddr, &args->rport_be);
	if (err)
		return err == -EADDRNOTAVAIL ? -ENETUNREACH : (int)err;
	if (ip_addr_is_any(&args->raddr)) /* "this host" */
		args->raddr = ip_addr_v4(sock_stack(s)->ip4.addr_be);
	if (s->type != SOCK_STREAM)
		return connect_datagram(s, args, self);
	/* RFC 9293 §3.9.1.1 (MUST-46) */
	if (is_multicast(ip_addr_get_v4(&args->raddr)) || ip4_is_broadcast(sock_stack(s), ip_addr_get_v4(&args->raddr)))
		return -ENETUNREACH;
	args->fastopen = fastopen;
	connect_move(s, args);
	atomic_store_explicit(&s->so_error, 0, memory_order_relaxed);
	err = stack_call(sock_stack(s), SOCK_OP_CONNECT, s, self);
	if (err)
		return (int)err;
	atomic_store_explicit(&s->ss_state, SS_PENDING, memory_order_relaxed);
	if (unlikely(sock_status(s) & SOCK_EARLY))
		return 0; /* it begins with the first write */
	/* A non-blocking caller is told so however fast the answer was: the outcome comes by SO_ERROR or the next connect. */
	if (nonblock) {
		idle_run_stacks(self);
		return -EINPROGRESS;
	}
	return sock_opened(s, self);
}

int sock_connect(struct sock *s, const struct sockaddr *sa, socklen_t len, struct thread_rec *self)
{
	if (len < sizeof(sa->sa_family))
		return -EINVAL;
	if (sa->sa_family == AF_UNSPEC) {
		(void)stack_call(sock_stack(s), SOCK_OP_DISCONNECT, s, self);
		atomic_store_explicit(&s->ss_state, SS_FREE, memory_order_relaxed);
		return 0;
	}
	return sock_open(s, sa, len, s->opt.fastopen_connect, sock_nonblock(s), self);
}

int sock_shutdown(struct sock *s, int how, struct thread_rec *self)
{
	uint32_t status = sock_status(s), bits;

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	bits = (how != SHUT_WR ? SOCK_SHUT_RD : 0) | (how != SHUT_RD ? SOCK_SHUT_WR : 0);
	if (s->type != SOCK_STREAM) {
		/* Linux tells ENOTCONN and still marks the socket, so that sleepers wake. */
		status_set(s, bits);
		sock_post(s, SOCK_CMD_NOTIFY, self);
		return status & SOCK_CONNECTED ? 0 : -ENOTCONN;
	}
	if (status & SOCK_LISTENING) {
		if (how == SHUT_WR)
			return 0;
		return (int)stack_call(sock_stack(s), SOCK_OP_UNLISTEN, s, self);
	}
	if (status & SOCK_CONNECTING) { /* as a disconnect: the attempt ends */
		(void)stack_call(sock_stack(s), SOCK_OP_DISCONNECT, s, self);
		return 0;
	}
	if (!(status & SOCK_CONNECTED) || status & SOCK_DEAD) {
		if (!(status & SOCK_DEAD)) {
			status_set(s, bits);
			sock_post(s, SOCK_CMD_NOTIFY, self);
		}
		return -ENOTCONN;
	}
	status_set(s, bits);
	sock_post(s, SOCK_CMD_NOTIFY | (bits & SOCK_SHUT_WR && !(status & SOCK_SHUT_WR) ? SOCK_CMD_SHUT_WR : 0), self);
	return 0;
}

int sock_accepted_name(struct sock *s, struct sockaddr *sa, socklen_t *len)
{
	if ((int)*len < 0)
		return -EINVAL;
	sockaddr_put(s, &s->tcb.raddr, s->tcb.rport_be, sa, len);
	return 0;
}

int sock_getname(struct sock *s, struct sockaddr *sa, socklen_t *len, bool peer)
{
	uint32_t status = sock_status(s);
	struct ip_addr addr;
	uint16_t port_be;

	if ((int)*len < 0)
		return -EINVAL;
	if (peer) {
		if (!(status & SOCK_CONNECTED) || status & SOCK_DEAD)
			return -ENOTCONN;
		return sock_accepted_name(s, sa, len);
	}
	if (status & (SOCK_CONNECTED | SOCK_CONNECTING)) {
		addr = s->tcb.laddr;
		port_be = s->tcb.lport_be;
	} else {
		addr = s->bound_addr;
		port_be = s->bound_port_be;
	}
	sockaddr_put(s, &addr, port_be, sa, len);
	return 0;
}

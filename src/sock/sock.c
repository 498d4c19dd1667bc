/* sock.c - life of a socket object: creation, references, posting to its owner, release; addresses in and out. Called by posix/ (any
 * thread of any process) and by the owner's side (sock_cmd.c, sock_up.c).
 *
 * An object goes back to the slab when all of these hold: no reference, the protocol is done with it, no item refers to it, its
 * command is not on an inbox, and no thread pins it. Only the owner of its stack decides. References reach 0 in an application
 * thread, which leaves SOCK_CMD_CLOSE; every later event that removes a reason not to free looks again. */
#include "sock/sock_int.h"
#include "base/clock.h"
#include "sock/ports.h"
#include "stack/idle.h"
#include "tcp/tcp.h"

#include <fcntl.h>

static void opts_defaults(struct sock_opts *o)
{
	memset(o, 0, sizeof(*o));
	o->ttl = 64;
	o->mc_ttl = 1;
	o->mc_loop = 1;
	o->mtu_discover = 1; /* IP_PMTUDISC_WANT */
	o->keep_cnt = 9;
	o->keep_idle_s = 7200;
	o->keep_intvl_s = 75;
	o->linger2_s = 60;
	o->notsent_lowat = gz->notsent_lowat;
	o->rcvlowat = LOWAT_DEFAULT;
	o->max_pacing_rate = UINT64_MAX;
}

/* Fields that every new life needs; port_next and listen_next stay: a look-up without a lock may stand on the object. */
void sock_init(struct sock *s, int family, int type, uint8_t stack_id)
{
	s->family = (uint8_t)family;
	s->type = (uint8_t)type;
	s->stack_id = stack_id;
	atomic_store_explicit(&s->engine_done, 1, memory_order_relaxed);
	atomic_store_explicit(&s->status, 0, memory_order_relaxed);
	atomic_store_explicit(&s->so_error, 0, memory_order_relaxed);
	atomic_store_explicit(&s->fl_flags, 0, memory_order_relaxed);
	atomic_store_explicit(&s->cmd_bits, 0, memory_order_relaxed);
	s->cmd.kind = CMD_SOCK;
	inbox_init(&s->rx_in);
	atomic_store_explicit(&s->rx_written, 0, memory_order_relaxed);
	atomic_store_explicit(&s->rx_true_in, 0, memory_order_relaxed);
	atomic_store_explicit(&s->rx_true_out, 0, memory_order_relaxed);
	rlock_init(&s->rlock);
	s->rx_off = 0;
	s->rx_head = s->rx_tail = NULL;
	atomic_store_explicit(&s->rx_urg_read, 0, memory_order_relaxed);
	atomic_store_explicit(&s->rx_urg_at, 0, memory_order_relaxed);
	atomic_store_explicit(&s->rx_read, 0, memory_order_relaxed);
	atomic_store_explicit(&s->rx_acked, 0, memory_order_relaxed);
	atomic_store_explicit(&s->rcvbuf, type == SOCK_STREAM ? SOCK_RCVBUF_DEFAULT : SOCK_UDPBUF_DEFAULT, memory_order_relaxed);
	atomic_store_explicit(&s->sndbuf, type == SOCK_STREAM ? SOCK_SNDBUF_DEFAULT : SOCK_UDPBUF_DEFAULT, memory_order_relaxed);
	atomic_store_explicit(&s->rcvlowat, LOWAT_DEFAULT, memory_order_relaxed);
	rlock_init(&s->wlock);
	atomic_store_explicit(&s->tx_mss, 0, memory_order_relaxed);
	atomic_store_explicit(&s->tx_tso, 0, memory_order_relaxed);
	atomic_store_explicit(&s->tx_large, 0, memory_order_relaxed);
	atomic_store_explicit(&s->tx_more, 0, memory_order_relaxed);
	atomic_store_explicit(&s->tx_nospace, 0, memory_order_relaxed);
	atomic_store_explicit(&s->ss_state, SS_FREE, memory_order_relaxed);
	inbox_init(&s->tx_in);
	atomic_store_explicit(&s->tx_written, 0, memory_order_relaxed);
	atomic_store_explicit(&s->tx_inline, 0, memory_order_relaxed);
	atomic_store_explicit(&s->tx_acked, 0, memory_order_relaxed);
	inbox_init(&s->acc_in);
	s->acc_head = NULL;
	vcount_set(&s->acc_len, 0, memory_order_relaxed);
	atomic_store_explicit(&s->backlog, 0, memory_order_relaxed);
	s->listener = NULL;
	list_init(&s->items);
	vcount_set(&s->item_count, 0, memory_order_relaxed);
	s->bound_addr = ip_addr_any();
	s->bound_port_be = 0;
	list_init(&s->zombie_node);
	atomic_store_explicit(&s->rcvtimeo_us, 0, memory_order_relaxed);
	atomic_store_explicit(&s->sndtimeo_us, 0, memory_order_relaxed);
	atomic_store_explicit(&s->bound_ifindex, 0, memory_order_relaxed);
	s->last_pktinfo = 0;
	s->mcast = NULL;
	opts_defaults(&s->opt);
	memset(&s->tcb, 0, sizeof(s->tcb));
	/* Last: from here on a stale pointer sees a live socket again. */
	vcount_set(&s->refs, 1, memory_order_release);
}

struct sock *sock_create(int family, int type, bool nonblock, struct thread_rec *self)
{
	struct sock *s;
	uint32_t stack_id = 0;

	crit_enter();
	s = slab_alloc(&gz->socks);
	if (!s) {
		crit_exit();
		return NULL;
	}
	if (gz->nb_stacks > 1)
		stack_id = slab_index(&gz->threads, self) % gz->nb_stacks;
	sock_init(s, family, type, (uint8_t)stack_id);
	if (nonblock)
		atomic_store_explicit(&s->fl_flags, O_NONBLOCK, memory_order_relaxed);
	atomic_store_explicit(&self->taken, s, memory_order_relaxed);
	crit_exit();
	return s;
}

void sock_post(struct sock *s, uint32_t bits, struct thread_rec *self)
{
	uint32_t old;

	crit_enter();
	old = atomic_fetch_or_explicit(&s->cmd_bits, bits | SOCK_CMD_QUEUED, memory_order_acq_rel);
	if (!(old & SOCK_CMD_QUEUED))
		stack_post_marked(sock_stack(s), &s->cmd, self);
	else
		crit_exit();
}

/* SO_LINGER with a time: the call waits until the peer has acknowledged everything, our FIN included (Linux waits whether or not the
 * socket blocks). The caller pins s, so that its generation tells when it is gone. */
static void linger_wait(struct sock *s, uint32_t gen, uint64_t timeo_us, struct thread_rec *self);

static bool linger_done(struct sock *s, uint32_t gen)
{
	if (atomic_load_explicit(&s->slab.gen, memory_order_acquire) != gen ||
	    atomic_load_explicit(&s->engine_done, memory_order_acquire))
		return true;
	/* Linux: sk_stream_wait_close() waits while our FIN is not acknowledged. A byte that only the owner writes, read as a hint. */
	switch (__atomic_load_n(&s->tcb.state, __ATOMIC_ACQUIRE)) {
	case TCPS_FIN_WAIT_2:
	case TCPS_TIME_WAIT:
		return true;
	default:
		return sock_status(s) & SOCK_DEAD;
	}
}

struct linger_look {
	struct sock *s;
	uint32_t gen;
};

static bool linger_ready(void *arg)
{
	struct linger_look *l = arg;

	return linger_done(l->s, l->gen);
}

static void linger_wait(struct sock *s, uint32_t gen, uint64_t timeo_us, struct thread_rec *self)
{
	uint64_t deadline = clock_now_us() + timeo_us;
	struct linger_look look = { s, gen };

	while (!linger_done(s, gen)) {
		uint64_t now;

		idle_run_stacks(self);
		now = clock_now_us();
		if (now >= deadline || linger_done(s, gen))
			break;
		/* Nobody wakes a closer: it looks again every few milliseconds, a rare call. */
		if (idle_sleep(self, NULL, 0, MIN(deadline, now + 5 * US_PER_MS), linger_ready, &look) == -EINTR)
			break;
	}
	idle_leave(self);
}

/* The last reference has gone: port, state, and the owner is told. Inside a critical section, which ends here. From the return on s may be another
 * socket, unless the caller pins it. */
static void sock_last_unref(struct sock *s, struct thread_rec *self)
{
	uint32_t old;

	/* A port that no connection uses is free when close() returns, not when the owner gets round to it: servers that restart in place
	 * bind it again at once. */
	if (!(sock_status(s) & (SOCK_CONNECTED | SOCK_CONNECTING | SOCK_EVER_CONNECTED))) {
		enum port_proto proto = s->type == SOCK_STREAM ? PORT_TCP : PORT_UDP;

		if (sock_status(s) & SOCK_LISTENING)
			ports_listen(s, false);
		ports_unbind(proto, s);
	}
	/* The command first: an orphan without one may be freed by its owner at any event, and would be told of its end afterwards. When somebody
	 * else pushes the command the owner may run it at once, and marks the orphan himself. */
	old = atomic_fetch_or_explicit(&s->cmd_bits, SOCK_CMD_CLOSE | SOCK_CMD_QUEUED, memory_order_acq_rel);
	if (old & SOCK_CMD_QUEUED) {
		crit_exit();
		return;
	}
	status_set(s, SOCK_ORPHAN);
	stack_post_marked(sock_stack(s), &s->cmd, self);
}

/* Inside a critical section, which ends here. */
static void sock_unref_entered(struct sock *s, struct thread_rec *self)
{
	uint64_t linger_us = 0;
	uint32_t gen;

	if (unlikely(atomic_load_explicit(&self->taken, memory_order_relaxed) == s))
		atomic_store_explicit(&self->taken, NULL, memory_order_relaxed);
	/* acq_rel: what other holders did with the socket is seen by whoever closes it */
	if (vcount_dec(&s->refs, memory_order_acq_rel) != 1) {
		crit_exit();
		return;
	}
	if (s->type == SOCK_STREAM && s->opt.linger_on && s->opt.linger_s && !self->owned)
		linger_us = (uint64_t)s->opt.linger_s * US_PER_S;
	gen = atomic_load_explicit(&s->slab.gen, memory_order_relaxed);
	sock_last_unref(s, self);
	if (unlikely(linger_us))
		linger_wait(s, gen, linger_us, self);
}

void sock_unref(struct sock *s, struct thread_rec *self)
{
	crit_enter();
	sock_unref_entered(s, self);
}

/* --- references for the time of a call --- */

/* Those beyond THREAD_HELD: chunks of their own, chained, with indices of sockets. */
static _Atomic uint32_t *hold_slot(unsigned i, bool make, struct thread_rec *self)
{
	_Atomic uint32_t *link = &self->held_more;
	struct hold_chunk *c;
	uint32_t at;

	for (i -= THREAD_HELD;; i -= HOLD_CHUNK) {
		at = atomic_load_explicit(link, memory_order_relaxed);
		if (!at) {
			c = make ? slab_alloc(&gz->epoll_chunks) : NULL;
			if (!c)
				return NULL;
			atomic_store_explicit(&c->next, 0, memory_order_relaxed);
			for (unsigned k = 0; k < HOLD_CHUNK; k++)
				atomic_store_explicit(&c->sock[k], 0, memory_order_relaxed);
			at = slab_index(&gz->epoll_chunks, c) + 1;
			atomic_store_explicit(link, at, memory_order_release);
		}
		c = slab_at(&gz->epoll_chunks, at - 1);
		if (i < HOLD_CHUNK)
			return &c->sock[i];
		link = &c->next;
	}
}

int sock_hold(struct sock *s, unsigned i, struct thread_rec *self)
{
	_Atomic uint32_t *slot = NULL;
	int err = 0;

	crit_enter();
	if (unlikely(i >= THREAD_HELD)) {
		slot = hold_slot(i, true, self);
		err = slot ? 0 : -ENOMEM;
	}
	if (likely(!err) && !vcount_inc_live(&s->refs))
		err = -EBADF;
	if (err)
		;
	else if (slot)
		atomic_store_explicit(slot, slab_index(&gz->socks, s) + 1, memory_order_relaxed);
	else
		atomic_store_explicit(&self->held[i], s, memory_order_relaxed);
	crit_exit();
	return err;
}

void sock_unhold(struct sock *s, unsigned i, struct thread_rec *self)
{
	crit_enter();
	if (unlikely(i >= THREAD_HELD))
		atomic_store_explicit(hold_slot(i, false, self), 0, memory_order_relaxed);
	else
		atomic_store_explicit(&self->held[i], NULL, memory_order_relaxed);
	sock_unref_entered(s, self);
}

void sock_hold_end(struct thread_rec *self)
{
	while (unlikely(self->held_more)) {
		struct hold_chunk *c = slab_at(&gz->epoll_chunks, self->held_more - 1);

		crit_enter();
		atomic_store_explicit(&self->held_more, atomic_load_explicit(&c->next, memory_order_relaxed), memory_order_relaxed);
		slab_free(&gz->epoll_chunks, c);
		crit_exit();
	}
}

bool pinned_by_any(const void *p)
{
	uint32_t n;

	/* seq_cst: pairs with the store of a pin followed by the check that the object is still referred to. */
	full_fence();
	n = atomic_load_explicit(&gz->threads.fresh, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++) {
		struct thread_rec *t = slab_at(&gz->threads, i);

		for (unsigned k = 0; k < THREAD_PINS; k++)
			if (unlikely(atomic_load_explicit(&t->pins[k], memory_order_relaxed) == p))
				return true;
	}
	return false;
}

static void rx_purge(struct sock *s)
{
	rx_settle(s);
	buf_free_list(s->rx_head);
	buf_free_list(inbox_take(&s->rx_in));
	if (s->type == SOCK_DGRAM) {
		buf_free_list(inbox_take(&s->err_in));
		buf_free_list(s->err_head);
		s->err_head = NULL;
	}
	s->rx_head = s->rx_tail = NULL;
	tx_drop(s);
}

void sock_maybe_free(struct stack *st, struct sock *s)
{
	if (vcount_get(&s->refs, memory_order_acquire) != 0 ||
	    !atomic_load_explicit(&s->engine_done, memory_order_relaxed) ||
	    !(sock_status(s) & SOCK_ORPHAN))
		return;
	if (unlikely(pinned_by_any(s))) {
		if (!list_linked(&s->zombie_node))
			list_push_back(&st->zombies, &s->zombie_node);
		return;
	}
	/* After the pins: a thread that was registering an item counted it before it unpinned. */
	if (vcount_get(&s->item_count, memory_order_acquire) != 0 ||
	    atomic_load_explicit(&s->cmd_bits, memory_order_acquire) != 0)
		return; /* the item's, or the command's, end looks again */
	if (s->mcast)
		sock_mcast_drop(s);
	ports_unbind(s->type == SOCK_STREAM ? PORT_TCP : PORT_UDP, s);
	list_del(&s->zombie_node);
	rx_purge(s);
	crit_enter();
	atomic_store_explicit(&s->status, 0, memory_order_release);
	slab_free(&gz->socks, s);
	crit_exit();
}

void sock_reap_zombies(struct stack *st)
{
	struct list *pos;
	uint32_t n = 0;

	/* One round: who is still pinned goes to the back again, and two such would follow each other for ever. */
	list_for_each(pos, &st->zombies)
		n++;
	for (; n > 0 && !list_empty(&st->zombies); n--) {
		const char *p = (const char *)(pos = st->zombies.next);

		if (p >= gz->epolls.base && p < gz->epolls.base + (size_t)gz->epolls.capacity * gz->epolls.obj_bytes) {
			struct item *reap = container_of(pos, struct item, sock_node);

			list_del(pos);
			epoll_reap(st, container_of(reap, struct epoll, reap));
		} else {
			struct sock *s = container_of(pos, struct sock, zombie_node);

			list_del(pos);
			if (sock_status(s) & SOCK_LISTENING && !sock_accept_purge(st, s)) {
				list_push_back(&st->zombies, pos);
				continue;
			}
			sock_maybe_free(st, s);
		}
	}
}

/* --- addresses --- */

static const struct in6_addr v4mapped_prefix = { .s6_addr = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } };

/* An address that the application passed, in the stack's form. -EINVAL too short, -EAFNOSUPPORT, -EADDRNOTAVAIL: IPv6 proper, which this
 * host has no address for. */
int sockaddr_get(const struct sock *s, const struct sockaddr *sa, socklen_t len, struct ip_addr *addr, uint16_t *port_be)
{
	if (len < sizeof(sa->sa_family))
		return -EINVAL;
	if (s->family == AF_INET || sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		if (s->family == AF_INET6) {
			/* Linux takes sockaddr_in on an IPv6 socket for connect and send only; bind checks by itself. */
			if (s->opt.v6only)
				return -ENETUNREACH;
		}
		if (len < sizeof(*in))
			return -EINVAL;
		if (in->sin_family != AF_INET)
			return -EAFNOSUPPORT;
		*addr = ip_addr_v4(in->sin_addr.s_addr);
		*port_be = in->sin_port;
		return 0;
	} else {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		if (len < 24) /* SIN6_LEN_RFC2133 */
			return -EINVAL;
		if (in6->sin6_family != AF_INET6)
			return -EAFNOSUPPORT;
		*port_be = in6->sin6_port;
		memcpy(addr->b, in6->sin6_addr.s6_addr, 16);
		if (ip_addr_is_any(addr))
			return 0;
		if (memcmp(in6->sin6_addr.s6_addr, v4mapped_prefix.s6_addr, 12) != 0)
			return -EADDRNOTAVAIL;
		return 0;
	}
}

/* Writes an address as the socket's family has it, truncated to *len like the kernel; *len becomes the full size. */
void sockaddr_put(const struct sock *s, const struct ip_addr *addr, uint16_t port_be, struct sockaddr *sa, socklen_t *len)
{
	union {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u;
	socklen_t full;

	memset(&u, 0, sizeof(u));
	if (s->family == AF_INET) {
		u.in.sin_family = AF_INET;
		u.in.sin_port = port_be;
		u.in.sin_addr.s_addr = ip_addr_get_v4(addr);
		full = sizeof(u.in);
	} else {
		u.in6.sin6_family = AF_INET6;
		u.in6.sin6_port = port_be;
		if (!ip_addr_is_any(addr)) /* the kernel shows an unbound end as :: */
			memcpy(u.in6.sin6_addr.s6_addr, addr->b, 16);
		full = sizeof(u.in6);
	}
	memcpy(sa, &u, MIN(*len, full));
	*len = full;
}

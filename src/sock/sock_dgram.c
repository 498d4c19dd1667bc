/* sock_dgram.c - datagrams: one mbuf chain each, with control data. Called by sock_send.c and sock_recv.c; any thread of any process.
 * As Linux's udp_sendmsg() and udp_recvmsg(). */
#include "sock/sock_dgram.h"
#include "base/clock.h"
#include "sock/ports.h"
#include "sock/sock_int.h"
#include "stack/idle.h"
#include "udp/udp.h"

#include <netinet/ip.h>
#include <netinet/udp.h>

#define DGRAM_MAX 65507u
#define SEGMENTS_MAX 128u /* datagrams of one send, one receive (Linux's UDP_MAX_SEGMENTS) */

/* --- sending --- */

struct dgram_to {
	struct ip_addr addr;
	uint16_t port_be;
	uint8_t tos, ttl;
	uint16_t segment; /* UDP_SEGMENT; 0: one datagram */
};

static int send_cmsgs(const struct msghdr *msg, struct dgram_to *to)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		size_t bytes;
		int v = 0;

		if (c->cmsg_len < sizeof(*c) ||
		    c->cmsg_len > msg->msg_controllen - (size_t)((char *)c - (char *)msg->msg_control))
			return -EINVAL;
		bytes = c->cmsg_len - CMSG_LEN(0);
		if (c->cmsg_level == SOL_SOCKET)
			continue; /* SCM_TIMESTAMPING and the like have no effect here */
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			continue; /* one address: nothing to choose */
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT) {
			if (bytes != sizeof(to->segment))
				return -EINVAL;
			memcpy(&to->segment, CMSG_DATA(c), sizeof(to->segment));
			continue;
		}
		if (c->cmsg_level != IPPROTO_IP)
			return -EINVAL;
		switch (c->cmsg_type) {
		case IP_PKTINFO:
			if (bytes != sizeof(struct in_pktinfo))
				return -EINVAL;
			break;
		case IP_TTL:
			if (bytes != sizeof(int))
				return -EINVAL;
			memcpy(&v, CMSG_DATA(c), sizeof(v));
			if (v < 1 || v > 255)
				return -EINVAL;
			to->ttl = (uint8_t)v;
			break;
		case IP_TOS:
			if (bytes == sizeof(int))
				memcpy(&v, CMSG_DATA(c), sizeof(v));
			else if (bytes == 1)
				v = *CMSG_DATA(c);
			else
				return -EINVAL;
			if (v < 0 || v > 255)
				return -EINVAL;
			to->tos = (uint8_t)v;
			break;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

static int send_where(const struct sock *s, const struct msghdr *msg, struct dgram_to *to)
{
	const struct stack *st = sock_stack(s);
	uint32_t dst, err;
	int r;

	if (msg->msg_name) {
		r = sockaddr_get(s, msg->msg_name, msg->msg_namelen, &to->addr, &to->port_be);
		if (r)
			return r == -EADDRNOTAVAIL ? -ENETUNREACH : r;
		if (to->port_be == 0)
			return -EINVAL;
		if (ip_addr_is_any(&to->addr))
			to->addr = ip_addr_v4(st->ip4.addr_be);
	} else {
		if (!(sock_status(s) & SOCK_CONNECTED))
			return -EDESTADDRREQ;
		to->addr = s->tcb.raddr;
		to->port_be = s->tcb.rport_be;
	}
	dst = ip_addr_get_v4(&to->addr);
	to->segment = s->opt.udp_segment;
	to->tos = s->opt.tos;
	to->ttl = ip4_is_multicast(dst) ? s->opt.mc_ttl : s->opt.ttl;
	err = !s->opt.broadcast && (dst == INADDR_BROADCAST || dst == (st->ip4.addr_be | ~st->ip4.mask_be));
	return err ? -EACCES : 0;
}

/* Where the next byte comes from. */
struct dgram_cur {
	size_t iov, off;
};

/* One datagram of n bytes from cur on; behind `before`, if there is one, by pkt_meta(before)->q. */
static struct rte_mbuf *dgram_fill(struct stack *st, const struct msghdr *msg, struct dgram_cur *cur, size_t n, struct rte_mbuf *before,
				   struct thread_rec *self)
{
	struct rte_mbuf *head = NULL, *last = NULL;
	size_t done = 0, iov = cur->iov, off = cur->off;

	do {
		struct rte_mbuf *m = buf_get(st, self);
		uint32_t room, len = 0;

		if (unlikely(!m)) {
			if (before)
				pkt_meta(before)->q.next = NULL;
			buf_put(head, self);
			return NULL;
		}
		rte_pktmbuf_reset(m);
		if (last) {
			last->next = m;
			head->nb_segs++;
		} else {
			head = m;
			pkt_meta(m)->q.next = NULL;
			if (before)
				pkt_meta(before)->q.next = &pkt_meta(m)->q;
		}
		last = m;
		m->data_off = PKT_HEADROOM;
		room = (uint32_t)m->buf_len - PKT_HEADROOM;
		while (len < room && done < n) {
			const struct iovec *v = &msg->msg_iov[iov];
			size_t part = MIN(MIN(v->iov_len - off, n - done), (size_t)(room - len));

			if (part)
				memcpy((char *)m->buf_addr + PKT_HEADROOM + len, (const char *)v->iov_base + off, part);
			len += (uint32_t)part;
			done += part;
			off += part;
			if (off == v->iov_len) {
				iov++;
				off = 0;
			}
		}
		m->data_len = (uint16_t)len;
	} while (done < n);
	head->pkt_len = (uint32_t)n;
	cur->iov = iov;
	cur->off = off;
	return head;
}

/* All datagrams of a send, linked by pkt_meta()->q, oldest first; NULL: buffers are short, none is held. */
static struct rte_mbuf *dgram_fill_all(struct stack *st, const struct msghdr *msg, size_t n, const struct dgram_to *to, struct thread_rec *self)
{
	size_t step = to->segment ? to->segment : n, done = 0;
	struct rte_mbuf *first = NULL, *last = NULL;
	struct dgram_cur cur = { 0, 0 };

	do {
		struct rte_mbuf *m = dgram_fill(st, msg, &cur, MIN(step, n - done), last, self);
		struct pkt_tx *info;

		if (unlikely(!m)) {
			for (; first; first = last) {
				last = pkt_meta(first)->q.next ? pkt_of_node(pkt_meta(first)->q.next) : NULL;
				buf_put(first, self);
			}
			return NULL;
		}
		info = pkt_tx(m);
		memcpy(info->addr, &to->addr, sizeof(info->addr));
		info->port_be = to->port_be;
		info->tos = to->tos;
		info->ttl = to->ttl;
		first = first ? first : m;
		last = m;
		done += MIN(step, n - done);
	} while (done < n);
	return first;
}

/* As Linux's udp_send_skb(): a segment must fit the path, there is a bound on their number, and they have checksums. */
static int segment_check(const struct sock *s, const struct dgram_to *to, size_t n)
{
	const struct stack *st = sock_stack(s);
	uint32_t dst_be = ip_addr_get_v4(&to->addr), mtu = ip4_is_local(st, dst_be) ? 65535 : ip4_dst_mtu(st, dst_be);

	if (IP4_HDR_BYTES + 8 + MIN(n, (size_t)to->segment) > mtu)
		return -EMSGSIZE;
	if (n > (size_t)to->segment * SEGMENTS_MAX || s->opt.no_check)
		return -EINVAL;
	return 0;
}

static bool dgram_room(struct sock *s, void *arg)
{
	(void)arg;
	return sock_writable_or_note(s) || sock_status(s) & SOCK_SHUT_WR || atomic_load_explicit(&s->so_error, memory_order_relaxed);
}

/* Waits for buffer space. 1: look again; else the call's result. */
cold_path static int dgram_full(struct sock *s, bool nobufs, int flags, uint64_t *deadline, struct thread_rec *self)
{
	int r;

	if (idle_run_stacks(self) && (nobufs || sock_writable(s)))
		return 1;
	if (atomic_exchange_explicit(&s->tx_nospace, 1, memory_order_seq_cst) == 0)
		sock_post(s, SOCK_CMD_SPACE, self);
	if (!nobufs && sock_writable(s))
		return 1;
	if (flags & MSG_DONTWAIT || sock_nonblock(s))
		return nobufs && sock_tx_used(s) == 0 ? -ENOBUFS : -EAGAIN;
	if (!*deadline)
		*deadline = sock_deadline(atomic_load_explicit(&s->sndtimeo_us, memory_order_relaxed));
	if (nobufs) {
		uint64_t soon = clock_now_us() + US_PER_MS;

		r = sock_wait_one(s, EPOLLOUT, NULL, NULL, MIN(soon, *deadline), self);
		if (r == -ETIMEDOUT && clock_now_us() < *deadline)
			r = 0;
	} else {
		r = sock_wait_one(s, EPOLLOUT, dgram_room, NULL, *deadline, self);
	}
	if (r < 0)
		return r == -ETIMEDOUT ? -EAGAIN : r;
	return 1;
}

static int dgram_autobind(struct sock *s, struct thread_rec *self)
{
	struct ip_addr any = s->bound_addr;
	uint16_t port_be = 0;
	int err = 0;

	(void)rlock_lock(&s->wlock, self->tid);
	if (!s->bound_port_be) {
		err = ports_bind(PORT_UDP, s, &any, &port_be, NULL, NULL);
		if (!err) {
			s->bound_port_be = port_be;
			status_set(s, SOCK_BOUND);
		}
	}
	rlock_unlock(&s->wlock);
	return err == -EADDRINUSE ? -EAGAIN : err;
}

ssize_t dgram_send(struct sock *s, const struct msghdr *msg, size_t n, int flags, struct thread_rec *self)
{
	struct stack *st = sock_stack(s);
	struct dgram_to to;
	uint64_t deadline = 0;
	struct rte_mbuf *m;
	int err;

	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (n > DGRAM_MAX)
		return -EMSGSIZE;
	err = send_where(s, msg, &to);
	if (!err && msg->msg_controllen)
		err = send_cmsgs(msg, &to);
	if (!err && unlikely(to.segment))
		err = segment_check(s, &to, n);
	if (!err && unlikely(!s->bound_port_be))
		err = dgram_autobind(s, self);
	if (err)
		return err;
	for (;;) {
		if (unlikely(sock_status(s) & SOCK_SHUT_WR))
			return -EPIPE;
		err = sock_take_error(s);
		if (unlikely(err))
			return -err;
		m = NULL;
		if (likely(sock_writable(s))) {
			thread_buffers_out(self, true); /* until it is pushed */
			m = dgram_fill_all(st, msg, n, &to, self);
			if (likely(m != NULL))
				break;
			thread_buffers_out(self, false);
		}
		err = dgram_full(s, sock_writable(s), flags, &deadline, self);
		if (err < 0)
			return err;
	}
	if (gz->mode == RUN_TO_COMPLETION && stack_is_home() && stack_try_own(st, self)) {
		stack_look_at_clock(st);
		if (!inbox_maybe_empty(&s->tx_in))
			sock_tx_run(st, s);
		while (m) {
			struct inbox_node *next = pkt_meta(m)->q.next;
			int e = udp_output(st, s, m);

			err = err ? err : e;
			m = next ? pkt_of_node(next) : NULL;
		}
		st->stats.app_write++;
		stack_leave(st, self);
		return err ? err : (ssize_t)n;
	}
	while (m) {
		struct inbox_node *next = pkt_meta(m)->q.next;

		/* Counted with one byte more, so that empty datagrams count too. */
		atomic_fetch_add_explicit(&s->tx_written, m->pkt_len + 1, memory_order_relaxed);
		inbox_push(&s->tx_in, &pkt_meta(m)->q);
		m = next ? pkt_of_node(next) : NULL;
	}
	thread_buffers_out(self, false);
	sock_post(s, SOCK_CMD_SEND, self);
	return (ssize_t)n;
}

/* --- receiving --- */

void sock_put_cmsg(struct msghdr *msg, size_t room, int level, int type, const void *data, size_t bytes)
{
	char *at = (char *)msg->msg_control + msg->msg_controllen;
	size_t left = room - msg->msg_controllen, len = CMSG_LEN(bytes);
	struct cmsghdr c = { .cmsg_level = level, .cmsg_type = type };

	if (!msg->msg_control || left < sizeof(c)) {
		msg->msg_flags |= MSG_CTRUNC;
		return;
	}
	if (left < len) {
		msg->msg_flags |= MSG_CTRUNC;
		len = left;
	}
	c.cmsg_len = len;
	memcpy(at, &c, sizeof(c));
	memcpy(at + CMSG_LEN(0), data, len - CMSG_LEN(0));
	msg->msg_controllen += MIN(CMSG_SPACE(bytes), left);
}

static void recv_cmsgs(const struct sock *s, struct msghdr *msg, struct rte_mbuf *m, int gro)
{
	const struct pkt_tx *info = pkt_tx(m);
	size_t room = msg->msg_controllen;

	msg->msg_controllen = 0;
	if (s->opt.timestamp) {
		struct timespec now;
		uint64_t ns, age_us = pkt_meta(m)->time_us ? clock_now_us() - pkt_meta(m)->time_us : 0;

		SYS(clock_gettime, CLOCK_REALTIME, &now);
		ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - age_us * 1000;
		if (s->opt.timestamp == 2) {
			struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };

			sock_put_cmsg(msg, room, SOL_SOCKET, SCM_TIMESTAMPNS, &ts, sizeof(ts));
		} else {
			struct timeval tv = { .tv_sec = (time_t)(ns / 1000000000u), .tv_usec = (long)(ns % 1000000000u / 1000) };

			sock_put_cmsg(msg, room, SOL_SOCKET, SCM_TIMESTAMP, &tv, sizeof(tv));
		}
	}
	if (s->opt.pktinfo && s->family == AF_INET) {
		struct in_pktinfo pi = { .ipi_ifindex = (int)info->ifindex,
					 .ipi_spec_dst.s_addr = sock_stack(s)->ip4.addr_be,
					 .ipi_addr.s_addr = info->local_be };

		sock_put_cmsg(msg, room, IPPROTO_IP, IP_PKTINFO, &pi, sizeof(pi));
	} else if (s->opt.pktinfo) {
		struct ip_addr a = ip_addr_v4(info->local_be);
		struct in6_pktinfo pi = { .ipi6_ifindex = info->ifindex };

		memcpy(&pi.ipi6_addr, a.b, 16);
		sock_put_cmsg(msg, room, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	}
	if (s->opt.recvttl) {
		int ttl = info->ttl;

		sock_put_cmsg(msg, room, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	}
	if (s->opt.recvtos) {
		uint8_t tos = info->tos;

		sock_put_cmsg(msg, room, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	}
	if (gro)
		sock_put_cmsg(msg, room, IPPROTO_UDP, UDP_GRO, &gro, sizeof(gro));
}

static void dgram_copy(const struct msghdr *msg, struct rte_mbuf *m, size_t n)
{
	size_t iov = 0, off = 0;

	for (; m && n; m = m->next) {
		const char *p = rte_pktmbuf_mtod(m, const char *);
		size_t left = MIN(n, (size_t)m->data_len);

		n -= left;
		while (left) {
			const struct iovec *v = &msg->msg_iov[iov];
			size_t part = MIN(v->iov_len - off, left);

			if (part)
				memcpy((char *)v->iov_base + off, p, part);
			p += part;
			left -= part;
			off += part;
			if (off == v->iov_len) {
				iov++;
				off = 0;
			}
		}
	}
}

/* The first datagram, out of the queue unless peek (then it is only valid under rlock, which the caller holds). */
static struct rte_mbuf *dgram_take(struct sock *s, bool peek, const struct thread_rec *self)
{
	struct inbox_node *n;
	struct rte_mbuf *m;

	rx_pull(s);
	n = s->rx_head;
	if (!n)
		return NULL;
	m = pkt_of_node(n);
	if (peek)
		return m;
	if (unlikely(thread_is_client(self)))
		buf_tag(m, self);
	s->rx_head = n->next;
	if (!s->rx_head)
		s->rx_tail = NULL;
	atomic_store_explicit(&s->rx_true_out, atomic_load_explicit(&s->rx_true_out, memory_order_relaxed) + buf_true_bytes(m),
			      memory_order_relaxed);
	atomic_fetch_add_explicit(&s->rx_read, 1, memory_order_release);
	return m;
}

/* UDP_GRO: datagrams behind m that came from the same place with the same marks and have its size, the last may be shorter, follow it
 * in one receive of at most n bytes. Returns their size, 0 when m stays alone. Under rlock. */
cold_path static int dgram_join(struct sock *s, struct rte_mbuf *m, size_t n, struct thread_rec *self)
{
	const struct pkt_tx *a = pkt_tx(m);
	uint32_t size = m->pkt_len, count = 1;

	while (size && count < SEGMENTS_MAX && s->rx_head) {
		struct rte_mbuf *next = pkt_of_node(s->rx_head);
		const struct pkt_tx *b = pkt_tx(next);
		uint32_t len = next->pkt_len;

		if (!len || len > size || m->pkt_len + len > MIN(n, (size_t)65535) || memcmp(a->addr, b->addr, sizeof(a->addr)) ||
		    a->port_be != b->port_be || a->tos != b->tos || a->ttl != b->ttl || a->local_be != b->local_be)
			break;
		next = dgram_take(s, false, self);
		if (rte_pktmbuf_chain(m, next)) {
			rte_pktmbuf_free(next); /* cannot be: 65,535 bytes are fewer segments than a chain may have */
			break;
		}
		count++;
		if (len < size)
			break;
	}
	return count > 1 ? (int)size : 0;
}

/* Hands m's content to the caller; the result of the call. gro: see dgram_join(). */
static ssize_t dgram_give(struct sock *s, struct msghdr *msg, struct rte_mbuf *m, size_t n, int flags, int gro)
{
	const struct pkt_tx *info = pkt_tx(m);
	size_t len = m->pkt_len, copy = MIN(len, n);

	msg->msg_flags = len > n ? MSG_TRUNC : 0;
	dgram_copy(msg, m, copy);
	if (msg->msg_name) {
		struct ip_addr from;
		socklen_t name_len = msg->msg_namelen;

		memcpy(&from, info->addr, sizeof(from));
		sockaddr_put(s, &from, info->port_be, msg->msg_name, &name_len);
		msg->msg_namelen = name_len;
	}
	if (unlikely(msg->msg_control))
		recv_cmsgs(s, msg, m, gro);
	else
		msg->msg_controllen = 0;
	return (ssize_t)(flags & MSG_TRUNC ? len : copy);
}

static bool dgram_changed(struct sock *s, void *arg)
{
	(void)arg;
	return sock_rx_bytes(s) || sock_status(s) & SOCK_SHUT_RD || atomic_load_explicit(&s->so_error, memory_order_relaxed);
}

static bool kernel_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct timespec zero = { 0, 0 };

	return SYS(ppoll, &p, 1, &zero, NULL, 0) > 0;
}

ssize_t dgram_recv(struct sock *s, struct msghdr *msg, size_t n, int flags, int kernel_fd, struct thread_rec *self)
{
	bool nonblock = flags & MSG_DONTWAIT || sock_nonblock(s), polled = false;
	uint64_t deadline = 0;
	int r;

	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	for (;;) {
		struct rte_mbuf *m;
		ssize_t got;
		int gro = 0;

		r = sock_take_error(s);
		if (unlikely(r))
			return -r;
		if (likely(sock_rx_bytes(s))) {
			sock_rlock(s, self);
			thread_buffers_out(self, true);
			m = dgram_take(s, flags & MSG_PEEK, self);
			if (unlikely(flags & MSG_PEEK && m)) {
				got = dgram_give(s, msg, m, n, flags, 0);
				thread_buffers_out(self, false);
				rlock_unlock(&s->rlock);
				return got;
			}
			if (unlikely(s->opt.udp_gro) && m)
				gro = dgram_join(s, m, n, self);
			rlock_unlock(&s->rlock);
			if (likely(m != NULL)) {
				got = dgram_give(s, msg, m, n, flags, gro);
				buf_put(m, self);
				thread_buffers_out(self, false);
				return got;
			}
			thread_buffers_out(self, false);
			continue; /* another reader was faster */
		}
		if (nonblock && !polled) {
			polled = true;
			if (idle_run_stacks(self))
				continue;
		}
		if (kernel_fd >= 0 && kernel_readable(kernel_fd))
			return -EREMOTE;
		if (nonblock)
			return -EAGAIN;
		if (sock_status(s) & SOCK_SHUT_RD)
			return 0;
		if (!deadline)
			deadline = sock_deadline(atomic_load_explicit(&s->rcvtimeo_us, memory_order_relaxed));
		if (kernel_fd >= 0) {
			struct wait_sock w = { .s = s, .events = EPOLLIN };
			struct pollfd pfd = { .fd = kernel_fd, .events = POLLIN };

			r = sock_wait(&w, 1, &pfd, 1, deadline, self);
			r = r == 0 ? -ETIMEDOUT : r;
		} else {
			r = sock_wait_one(s, EPOLLIN, dgram_changed, NULL, deadline, self);
		}
		if (r < 0)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	}
}

/* The oldest entry; *next: errno of the one behind it that an ICMP message made, 0: none. */
static struct rte_mbuf *error_take(struct sock *s, struct thread_rec *self, int *next)
{
	struct inbox_node *n, **last = &s->err_head;
	struct rte_mbuf *m = NULL;

	*next = 0;
	sock_rlock(s, self);
	while (*last)
		last = &(*last)->next;
	*last = inbox_take(&s->err_in);
	n = s->err_head;
	if (n) {
		m = pkt_of_node(n);
		__atomic_store_n(&s->err_head, n->next, __ATOMIC_RELAXED);
		atomic_store_explicit(&s->rx_true_out,
				      atomic_load_explicit(&s->rx_true_out, memory_order_relaxed) + buf_true_bytes(m),
				      memory_order_relaxed);
		if (s->err_head) {
			const struct udp_error *e = rte_pktmbuf_mtod(pkt_of_node(s->err_head), const struct udp_error *);

			*next = e->ee.ee_origin == SO_EE_ORIGIN_ICMP ? (int)e->ee.ee_errno : 0;
		}
	}
	rlock_unlock(&s->rlock);
	return m;
}

/* As Linux's ip_recv_error(). */
ssize_t dgram_recv_error(struct sock *s, struct msghdr *msg, size_t n, struct thread_rec *self)
{
	struct {
		struct sock_extended_err ee;
		struct sockaddr_in offender;
	} told;
	size_t room = msg->msg_controllen, len;
	struct udp_error e;
	struct rte_mbuf *m;
	int next;

	m = error_take(s, self, &next);
	if (!m)
		return -EAGAIN;
	memcpy(&e, rte_pktmbuf_mtod(m, const char *), sizeof(e));
	if (e.ee.ee_origin == SO_EE_ORIGIN_ICMP)
		atomic_store_explicit(&s->so_error, next, memory_order_release);
	rte_pktmbuf_adj(m, sizeof(e));
	len = m->pkt_len;
	msg->msg_flags = MSG_ERRQUEUE | (len > n ? MSG_TRUNC : 0);
	dgram_copy(msg, m, MIN(len, n));
	if (msg->msg_name) {
		socklen_t name_len = msg->msg_namelen;
		struct ip_addr to;

		memcpy(&to, pkt_tx(m)->addr, sizeof(to));
		sockaddr_put(s, &to, pkt_tx(m)->port_be, msg->msg_name, &name_len);
		msg->msg_namelen = name_len;
	}
	memset(&told, 0, sizeof(told));
	told.ee = e.ee;
	if (e.ee.ee_origin == SO_EE_ORIGIN_ICMP) {
		told.offender.sin_family = AF_INET;
		told.offender.sin_addr.s_addr = e.offender_be;
	}
	msg->msg_controllen = 0;
	sock_put_cmsg(msg, room, IPPROTO_IP, IP_RECVERR, &told, sizeof(told));
	buf_put(m, self);
	return (ssize_t)MIN(len, n);
}

size_t dgram_first_bytes(struct sock *s, struct thread_rec *self)
{
	struct rte_mbuf *m;
	size_t n;

	if (!sock_rx_bytes(s))
		return 0;
	sock_rlock(s, self);
	m = dgram_take(s, true, self);
	n = m ? m->pkt_len : 0;
	rlock_unlock(&s->rlock);
	return n;
}

/* sock_recv.c - reading from a stream socket: mbufs that the stack left on s->rx_in are taken under s->rlock, copied out and freed through
 * the thread's magazine; the stack hears of it when the receive window can open by something worth telling (walk in, step 7). Called by
 * posix/, any thread of any process; datagrams are in sock_dgram.c. The order of data, end of stream and errors is that of Linux's
 * tcp_recvmsg_locked(). */
#include "base/clock.h"
#include "sock/sock_dgram.h"
#include "sock/sock_int.h"
#include "stack/idle.h"

#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>

/* The window is reopened when this much was read since the stack last looked, at most. */
#define READ_CREDIT_MAX 65536u

/* Where the next byte goes. */
struct out_cur {
	const struct iovec *iov;
	size_t off;
	bool discard; /* MSG_TRUNC on a stream: count, do not copy (tcp(7)) */
};

static void out_bytes(struct out_cur *c, const char *p, size_t n)
{
	if (c->discard)
		return;
	while (n) {
		size_t room = c->iov->iov_len - c->off, part = MIN(room, n);

		if (part)
			memcpy((char *)c->iov->iov_base + c->off, p, part);
		c->off += part;
		p += part;
		n -= part;
		if (c->off == c->iov->iov_len && n) {
			c->iov++;
			c->off = 0;
		}
	}
}

/* The node of rx_in that was pushed first, and the one before it on the inbox; NULL. */
static struct inbox_node *rx_in_oldest(struct sock *s, struct inbox_node **prev)
{
	struct inbox_node *n = atomic_load_explicit(&s->rx_in.head, memory_order_acquire);

	*prev = NULL;
	while (n && n->next) {
		*prev = n;
		n = n->next;
	}
	return n;
}

/* Takes the oldest node, which is linked to the private list already, off the inbox: one store. prev as far as known. */
static void rx_in_unlink(struct sock *s, struct inbox_node *oldest, struct inbox_node *prev)
{
	struct inbox_node *head = oldest;

	if (!prev && atomic_compare_exchange_strong_explicit(&s->rx_in.head, &head, NULL, memory_order_acq_rel, memory_order_acquire))
		return;
	if (!prev) /* pushed meanwhile */
		(void)rx_in_oldest(s, &prev);
	prev->next = NULL;
}

/* Steps between which a process may be killed: the oldest node is appended to the private list, then taken off the inbox. In between it is on both, as
 * the last of both: see rx_settle(). */
void rx_pull_client(struct sock *s)
{
	struct inbox_node *last[33], *n;
	size_t total;

	for (;;) {
		total = 0;
		for (n = atomic_load_explicit(&s->rx_in.head, memory_order_acquire); n; n = n->next)
			last[total++ % ARRAY_SIZE(last)] = n;
		if (!total)
			return;
		for (unsigned k = 0; k < ARRAY_SIZE(last) - 1 && total; k++, total--) {
			n = last[(total - 1) % ARRAY_SIZE(last)];
			if (s->rx_tail)
				s->rx_tail->next = n;
			else
				s->rx_head = n;
			s->rx_tail = n;
			atomic_signal_fence(memory_order_seq_cst);
			rx_in_unlink(s, n, total > 1 ? last[(total - 2) % ARRAY_SIZE(last)] : NULL);
		}
	}
}

cold_path void rx_settle(struct sock *s)
{
	struct inbox_node *n, *prev, *last = NULL;

	for (n = s->rx_head; n; n = n->next)
		last = n;
	s->rx_tail = last;
	n = rx_in_oldest(s, &prev);
	if (n && n == last)
		rx_in_unlink(s, n, prev);
	/* Said to be in the hands of a reader who did not come to take it. */
	if (s->rx_head)
		buf_untag(pkt_of_node(s->rx_head));
}

/* The holder of rlock was killed: what it was doing to the list is found out from the list. */
cold_path static void rx_repair(struct sock *s)
{
	uint64_t have = 0, read;

	rx_settle(s);
	rx_pull(s);
	for (struct inbox_node *n = s->rx_head; n; n = n->next)
		have += s->type == SOCK_STREAM ? pkt_of_node(n)->pkt_len : 1;
	if (s->type == SOCK_STREAM) {
		/* pkt_len of the head counts from its first remaining segment */
		have -= MIN(have, s->rx_off);
	}
	/* It copied out and unlinked before it counted: count for it. Bytes pushed but not yet counted only make `have` larger. */
	read = atomic_load_explicit(&s->rx_written, memory_order_acquire) - have;
	if ((int64_t)(read - atomic_load_explicit(&s->rx_read, memory_order_relaxed)) > 0)
		atomic_store_explicit(&s->rx_read, read, memory_order_release);
}

void sock_rlock_inherit(struct sock *s)
{
	rx_repair(s);
	rlock_unlock(&s->rlock);
}

void sock_rlock(struct sock *s, struct thread_rec *self)
{
	if (unlikely(rlock_lock(&s->rlock, self->tid) == RLOCK_TAKEN_OVER))
		rx_repair(s);
}

/* Takes the first segment off the list; the rest of its packet becomes the head. Under rlock. */
static force_inline void rx_drop_seg(struct sock *s, struct thread_rec *self)
{
	struct inbox_node *node = s->rx_head, *after = node->next;
	struct rte_mbuf *m = pkt_of_node(node), *seg = m->next;

	if (unlikely(thread_is_client(self)))
		buf_tag_seg(m, self);
	s->rx_off = 0;
	if (unlikely(seg != NULL)) {
		struct inbox_node *sn = &pkt_meta(seg)->q;

		seg->pkt_len = m->pkt_len - m->data_len;
		seg->nb_segs = (uint16_t)(m->nb_segs - 1);
		sn->next = after;
		s->rx_head = sn;
		if (s->rx_tail == node)
			s->rx_tail = sn;
		m->next = NULL;
		m->nb_segs = 1;
	} else {
		s->rx_head = after;
		if (!after)
			s->rx_tail = NULL;
	}
	atomic_store_explicit(&s->rx_true_out,
			      atomic_load_explicit(&s->rx_true_out, memory_order_relaxed) + sizeof(*m) + PKT_PRIV_BYTES + m->buf_len,
			      memory_order_relaxed);
	buf_put_seg(m, self);
}

static size_t rx_consume(struct sock *s, struct out_cur *out, size_t want, struct thread_rec *self)
{
	size_t left = want;

	while (left) {
		struct rte_mbuf *m = pkt_of_node(s->rx_head);
		uint32_t have = m->data_len - s->rx_off;
		uint32_t part = (uint32_t)MIN(left, have);

		out_bytes(out, rte_pktmbuf_mtod_offset(m, const char *, s->rx_off), part);
		left -= part;
		if (part == have)
			rx_drop_seg(s, self);
		else
			s->rx_off += part;
	}
	return want;
}

static size_t rx_peek(struct sock *s, struct out_cur *out, uint64_t skip, size_t want)
{
	struct inbox_node *n = s->rx_head;
	size_t left = want;
	uint64_t off = s->rx_off + skip;

	while (left) {
		for (struct rte_mbuf *m = pkt_of_node(n); m && left; m = m->next) {
			if (off >= m->data_len) {
				off -= m->data_len;
				continue;
			}
			uint32_t part = (uint32_t)MIN(left, m->data_len - off);

			out_bytes(out, rte_pktmbuf_mtod_offset(m, const char *, off), part);
			left -= part;
			off = 0;
		}
		n = n->next;
	}
	return want;
}

static bool urgent_marked(const struct sock *s)
{
	return sock_status(s) & SOCK_URGENT || atomic_load_explicit(&s->rx_urg_read, memory_order_relaxed);
}

/* Reading may not run over the urgent mark (tcp(7)); at the mark the byte is left out unless SO_OOBINLINE. Returns what may be read
 * in this step. Under rlock. */
cold_path static size_t urgent_bound(struct sock *s, size_t want, bool peek, struct thread_rec *self)
{
	uint64_t pos = atomic_load_explicit(&s->rx_read, memory_order_relaxed);
	uint64_t at = atomic_load_explicit(&s->rx_urg_at, memory_order_relaxed);
	struct out_cur nowhere = { .discard = true };

	if (pos > at || at - pos >= want)
		return want;
	if (at > pos)
		return (size_t)(at - pos);
	if (!peek) {
		/* At the mark: from here on there is no urgent data. */
		status_clear(s, SOCK_URGENT);
		atomic_store_explicit(&s->rx_urg_read, 0, memory_order_relaxed);
		if (!s->opt.oobinline) {
			rx_consume(s, &nowhere, 1, self);
			atomic_store_explicit(&s->rx_read, pos + 1, memory_order_release);
			return want - 1;
		}
	}
	return want;
}

/* Copies out what is there, at most want bytes; 0: nothing. */
static force_inline size_t rx_copy(struct sock *s, struct out_cur *out, size_t want, bool peek, uint64_t peek_off,
				   struct thread_rec *self)
{
	uint64_t avail, read;
	size_t n = 0;

	sock_rlock(s, self);
	thread_buffers_out(self, true);
	read = atomic_load_explicit(&s->rx_read, memory_order_relaxed);
	avail = atomic_load_explicit(&s->rx_written, memory_order_acquire) - read - (peek ? peek_off : 0);
	if (likely((int64_t)avail > 0)) {
		rx_pull(s);
		want = MIN(want, avail);
		if (unlikely(urgent_marked(s))) {
			want = urgent_bound(s, want, peek, self);
			read = atomic_load_explicit(&s->rx_read, memory_order_relaxed);
		}
		if (unlikely(peek)) {
			n = rx_peek(s, out, peek_off, want);
		} else {
			n = rx_consume(s, out, want, self);
			atomic_store_explicit(&s->rx_read, read + n, memory_order_release);
		}
	}
	thread_buffers_out(self, false);
	rlock_unlock(&s->rlock);
	return n;
}

/* Does the stack want to know that the buffer was emptied by this much? */
static force_inline void rx_credit(struct sock *s, struct thread_rec *self)
{
	uint64_t since = atomic_load_explicit(&s->rx_read, memory_order_relaxed) -
			 atomic_load_explicit(&s->rx_acked, memory_order_relaxed);
	uint32_t step = atomic_load_explicit(&s->rcvbuf, memory_order_relaxed) / 8;

	if (unlikely(since >= MIN(step, READ_CREDIT_MAX)))
		sock_post(s, SOCK_CMD_READ, self);
}

static bool rx_changed(struct sock *s, void *arg)
{
	const uint64_t *beyond = arg;
	uint32_t status = sock_status(s);

	return sock_rx_bytes(s) > *beyond || status & (SOCK_RCV_EOF | SOCK_SHUT_RD | SOCK_DEAD | SOCK_URGENT) ||
	       !(status & (SOCK_CONNECTED | SOCK_CONNECTING)) ||
	       atomic_load_explicit(&s->so_error, memory_order_relaxed);
}

/* What a read that found nothing returns: > 0 means "wait". Status was loaded before the byte count. */
cold_path static int rx_nothing(struct sock *s, uint32_t status)
{
	int err;

	if (status & SOCK_RCV_EOF)
		return 0;
	err = sock_take_error(s);
	if (err)
		return -err;
	if (status & (SOCK_SHUT_RD | SOCK_DEAD))
		return 0;
	if (!(status & (SOCK_CONNECTED | SOCK_CONNECTING)))
		return -ENOTCONN;
	return 1;
}

cold_path static ssize_t recv_oob(struct sock *s, const struct iovec *iov, size_t n, int flags, struct thread_rec *self)
{
	uint64_t at, read;
	struct out_cur out = { .iov = iov };
	ssize_t r = 1;

	if (s->opt.oobinline || !(sock_status(s) & SOCK_URGENT)) {
		uint32_t status = sock_status(s);

		return !(status & (SOCK_CONNECTED | SOCK_CONNECTING)) ? -ENOTCONN : -EINVAL;
	}
	sock_rlock(s, self);
	at = atomic_load_explicit(&s->rx_urg_at, memory_order_relaxed);
	read = atomic_load_explicit(&s->rx_read, memory_order_relaxed);
	if (atomic_load_explicit(&s->rx_written, memory_order_acquire) <= at) {
		r = -EAGAIN; /* announced, not here yet */
	} else {
		rx_pull(s);
		if (n)
			rx_peek(s, &out, at - read, 1);
		else
			r = 0;
		if (!(flags & MSG_PEEK)) {
			atomic_store_explicit(&s->rx_urg_read, 1, memory_order_relaxed);
			status_clear(s, SOCK_URGENT);
		}
	}
	rlock_unlock(&s->rlock);
	return r;
}

uint64_t sock_deadline(uint64_t timeo_us)
{
	return timeo_us ? clock_now_us() + timeo_us : UINT64_MAX;
}

static ssize_t stream_recv(struct sock *s, const struct iovec *iov, size_t n, int flags, struct thread_rec *self)
{
	struct out_cur out = { .iov = iov, .discard = flags & MSG_TRUNC };
	bool peek = flags & MSG_PEEK, polled = false;
	uint32_t lowat = atomic_load_explicit(&s->rcvlowat, memory_order_relaxed);
	size_t target = flags & MSG_WAITALL ? n : MIN(lowat, n), copied = 0;
	uint64_t deadline = 0, seen;
	int r;

	target = MAX(target, 1);
	if (unlikely(flags & MSG_OOB))
		return recv_oob(s, iov, n, flags, self);
	if (unlikely(n == 0))
		return sock_status(s) & SOCK_LISTENING ? -ENOTCONN : 0; /* tcp_recvmsg_locked(): nothing asked is enough */
	for (;;) {
		uint32_t status = sock_status(s); /* before the byte count: see rx_nothing() */

		if (likely(sock_rx_bytes(s) > (peek ? copied : 0))) {
			if (unlikely(!iov->iov_base && iov->iov_len && !out.discard))
				return -EFAULT;
			copied += rx_copy(s, &out, n - copied, peek, copied, self);
			if (likely(copied >= target || copied == n))
				break;
			if (copied && urgent_marked(s))
				break; /* Linux stops at the mark */
			continue;
		}
		if (copied && (status & (SOCK_RCV_EOF | SOCK_SHUT_RD | SOCK_DEAD) ||
			       atomic_load_explicit(&s->so_error, memory_order_relaxed)))
			break;
		if (!copied) {
			r = rx_nothing(s, status);
			if (r <= 0)
				return r;
		}
		if (flags & MSG_DONTWAIT || sock_nonblock(s)) {
			/* A program that asks again and again polls the device by asking. */
			if (!polled && !copied) {
				polled = true;
				if (idle_run_stacks(self))
					continue;
			}
			if (copied)
				break;
			return -EAGAIN;
		}
		if (!deadline)
			deadline = sock_deadline(atomic_load_explicit(&s->rcvtimeo_us, memory_order_relaxed));
		seen = peek ? copied : 0;
		r = sock_wait_one(s, EPOLLIN | EPOLLRDHUP | EPOLLPRI, rx_changed, &seen, deadline, self);
		if (r < 0) {
			if (copied)
				break;
			return r == -ETIMEDOUT ? -EAGAIN : r;
		}
	}
	if (likely(!peek))
		rx_credit(s, self);
	return (ssize_t)copied;
}

ssize_t sock_recv(struct sock *s, void *buf, size_t n, int flags, struct thread_rec *self)
{
	struct iovec iov = { .iov_base = buf, .iov_len = n };

	if (unlikely(s->type != SOCK_STREAM || flags & MSG_ERRQUEUE)) {
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

		return sock_recvmsg(s, &msg, flags, -1, self);
	}
	return stream_recv(s, &iov, n, flags, self);
}

/* tcp(7), TCP_INQ: what can be read without waiting; 1 at the end of the stream, so that 0 means to wait. */
static cold_path void put_inq(const struct sock *s, struct msghdr *msg, size_t room)
{
	int left = (int)MIN(sock_rx_bytes(s), (uint64_t)INT_MAX);

	if (!left && sock_status(s) & SOCK_RCV_EOF)
		left = 1;
	sock_put_cmsg(msg, room, IPPROTO_TCP, TCP_CM_INQ, &left, sizeof(left));
}

ssize_t sock_recvmsg(struct sock *s, struct msghdr *msg, int flags, int kernel_fd, struct thread_rec *self)
{
	size_t n = 0;
	ssize_t r;

	if (unlikely(flags & MSG_ERRQUEUE) && s->type == SOCK_STREAM)
		return -EAGAIN; /* a stream's is always empty */
	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		if (msg->msg_iov[i].iov_len > SSIZE_MAX - n)
			return -EINVAL;
		n += msg->msg_iov[i].iov_len;
	}
	if (unlikely(flags & MSG_ERRQUEUE))
		return dgram_recv_error(s, msg, n, self);
	if (s->type != SOCK_STREAM)
		return dgram_recv(s, msg, n, flags, kernel_fd, self);
	r = stream_recv(s, msg->msg_iov, n, flags, self);
	if (r >= 0) {
		size_t room = msg->msg_controllen;

		msg->msg_namelen = 0;
		msg->msg_controllen = 0;
		msg->msg_flags = flags & MSG_OOB ? MSG_OOB : 0;
		if (unlikely(s->opt.inq))
			put_inq(s, msg, room);
	}
	return r;
}

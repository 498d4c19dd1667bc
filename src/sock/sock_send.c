/* sock_send.c - writing to a stream socket: the one copy of the bytes into mbufs, payload behind room for every header (walk out,
 * step 2), then into the protocol at once when the stack can be had, else onto s->tx_in with a command. Called by posix/, any
 * thread of any process; datagrams are in sock_dgram.c. Errors in the order of Linux's tcp_sendmsg_locked(). */
#include "base/clock.h"
#include "sock/sock_dgram.h"
#include "sock/sock_int.h"
#include "stack/idle.h"
#include "tcp/tcp.h"

#include <limits.h>

/* Used before the engine has said what a segment holds. */
#define TX_MSS_GUESS 1448u
/* One step of a large write: bounded, so that the stack starts sending while the rest is copied. */
#define TX_STEP_BYTES 262144u
/* A write up to this goes without the writers' lock when the stack is free. */
#define TX_INLINE_BYTES 65536u
/* From here on a write looks for ACKs as it goes: a writer that does nothing else would fill its send buffer with mbufs that are free already, and use
 * cold ones, until a wait or the keeper's tick. */
#define TX_POLL_BYTES 8192u
/* The least write that large buffers are thought of for. */
#define TX_LARGE_LEAST 8192u
/* What one frame for a device that segments carries at most; what a writer beyond TCP_NOTSENT_LOWAT fills */
#define TX_CHUNK_MAX 65535u
/* Buffers are short: how long a blocking writer lets the stack work before it asks again. */
#define TX_NOBUF_US 1000

/* Where the next byte comes from. */
struct in_cur {
	const struct iovec *iov;
	size_t off;
};

static void in_bytes(struct in_cur *c, char *p, size_t n)
{
	while (n) {
		size_t have = c->iov->iov_len - c->off, part = MIN(have, n);

		if (part)
			memcpy(p, (const char *)c->iov->iov_base + c->off, part);
		c->off += part;
		p += part;
		n -= part;
		if (c->off == c->iov->iov_len && n) {
			c->iov++;
			c->off = 0;
		}
	}
}

struct tx_chain {
	struct inbox_node *first, *last; /* oldest to newest */
	size_t bytes;
};

/* Accepted from the application; counted before it can be acknowledged. Under wlock. */
static force_inline void tx_count(struct sock *s, size_t bytes)
{
	atomic_store_explicit(&s->tx_written, atomic_load_explicit(&s->tx_written, memory_order_relaxed) + bytes, memory_order_relaxed);
}

/* What to put into each large buffer, whole segments, and into the first; 0: none of them. Threads of other processes take theirs from the home,
 * usual ones alone. */
cold_path static uint32_t tx_large(struct sock *s, const struct thread_rec *self, uint32_t *first)
{
	uint32_t bytes = atomic_load_explicit(&s->tx_large, memory_order_relaxed);
	uint32_t mss = atomic_load_explicit(&s->tx_mss, memory_order_relaxed);

	if (!bytes || !mss || thread_is_client(self))
		return 0;
	*first = bytes;
	return PKT_LARGE_DATA / mss * mss;
}

/* Copies at most n bytes into mbufs; fewer when buffers run out. What does not fill a large buffer goes into usual ones; the first makes up for a piece of a
 * segment that waits already, so that the others end where segments do. */
static force_inline void tx_fill(struct sock *s, struct stack *st, struct in_cur *in, size_t n, struct tx_chain *chain,
				 struct thread_rec *self)
{
	uint32_t seg_max = UINT32_MAX, large = 0;

	if (!atomic_load_explicit(&s->tx_tso, memory_order_relaxed)) {
		seg_max = atomic_load_explicit(&s->tx_mss, memory_order_relaxed);
		seg_max = seg_max ? seg_max : TX_MSS_GUESS;
	} else if (unlikely(n >= TX_LARGE_LEAST)) {
		large = tx_large(s, self, &seg_max);
	}
	chain->first = chain->last = NULL;
	chain->bytes = 0;
	do {
		struct rte_mbuf *m = unlikely(large) && n - chain->bytes >= seg_max ? buf_get_large(st) : NULL;
		struct pkt_meta *meta;
		uint32_t len;

		if (likely(!m)) {
			m = buf_get(st, self);
			if (unlikely(!m))
				break;
		}
		len = (uint32_t)m->buf_len - PKT_HEADROOM;
		len = MIN(len, seg_max);
		len = (uint32_t)MIN(len, n - chain->bytes);
		rte_pktmbuf_reset(m);
		meta = pkt_meta(m);
		meta->q.next = NULL;
		if (chain->last)
			chain->last->next = &meta->q;
		else
			chain->first = &meta->q;
		chain->last = &meta->q;
		in_bytes(in, (char *)m->buf_addr + PKT_HEADROOM, len);
		m->data_off = PKT_HEADROOM;
		m->data_len = (uint16_t)len;
		m->pkt_len = len;
		meta->off = PKT_HEADROOM;
		meta->len = (uint16_t)len;
		pkt_tx(m)->push = 0;
		chain->bytes += len;
		seg_max = unlikely(large) ? large : seg_max;
	} while (chain->bytes < n);
}

/* MSG_EOR: what comes after this chain is in another segment. */
static force_inline void tx_end_of_record(const struct tx_chain *chain, int flags)
{
	if (unlikely(flags & MSG_EOR) && chain->last)
		pkt_tx(pkt_of_node(chain->last))->push = PKT_PUSH_EOR;
}

/* The stack is ours for a write of so many bytes. */
static force_inline void tx_own(struct stack *st, size_t bytes)
{
	if (unlikely(bytes >= TX_POLL_BYTES))
		stack_take_in(st, clock_now_us());
	else
		stack_look_at_clock(st);
}

/* A write that fits, when the stack is free: no lock but the ownership word. Writers who take turns on wlock, or have left data in tx_in, go
 * first: then the chain goes their way. false: nothing was done with the chain. Bytes were copied before owning, so that a fault
 * in the application's buffer happens outside. */
static force_inline bool tx_inline(struct sock *s, struct stack *st, const struct tx_chain *chain, struct thread_rec *self)
{
	if (unlikely(gz->mode != RUN_TO_COMPLETION || !stack_is_home() || !stack_try_own(st, self)))
		return false;
	tx_own(st, chain->bytes);
	if (unlikely(!inbox_maybe_empty(&s->tx_in) || atomic_load_explicit(&s->wlock.word, memory_order_relaxed) ||
		     sock_status(s) & SOCK_DEAD)) {
		stack_leave(st, self);
		return false;
	}
	atomic_store_explicit(&s->tx_inline, atomic_load_explicit(&s->tx_inline, memory_order_relaxed) + chain->bytes,
			      memory_order_relaxed);
	s->tcb.more = 0;
	tcp_send(st, &s->tcb, chain->first);
	st->stats.app_write++;
	if (self->defer_sends) { /* more replies are likely before this thread polls again */
		self->defer_sends--;
		self->hold_tx = true;
	}
	stack_leave(st, self);
	return true;
}

/* Hands the chain to the protocol: here and now when the stack is free, else by command. Under wlock, which keeps writers in order. */
static force_inline void tx_submit(struct sock *s, struct stack *st, struct tx_chain *chain, struct thread_rec *self)
{
	struct inbox_node *n, *rev = NULL;

	if (likely(gz->mode == RUN_TO_COMPLETION && stack_is_home() && stack_try_own(st, self))) {
		tx_own(st, chain->bytes);
		if (unlikely(!inbox_maybe_empty(&s->tx_in)))
			sock_tx_run(st, s);
		if (likely(!(sock_status(s) & SOCK_DEAD))) {
			s->tcb.more = atomic_load_explicit(&s->tx_more, memory_order_relaxed);
			tcp_send(st, &s->tcb, chain->first);
		} else {
			buf_free_list(chain->first);
		}
		st->stats.app_write++;
		stack_leave(st, self);
		return;
	}
	/* newest first, as the inbox keeps them: one step for the whole chain */
	for (n = chain->first; n;) {
		struct inbox_node *next = n->next;

		n->next = rev;
		rev = n;
		n = next;
	}
	inbox_push_chain(&s->tx_in, rev, chain->first);
	sock_post(s, SOCK_CMD_SEND, self);
}

static void sock_wlock(struct sock *s, struct thread_rec *self)
{
	/* A writer killed under the lock may have counted bytes that it did not hand over: they would hold buffer space for ever. */
	if (unlikely(rlock_lock(&s->wlock, self->tid) == RLOCK_TAKEN_OVER))
		(void)stack_call(sock_stack(s), SOCK_OP_TX_REPAIR, s, self);
}

static bool tx_changed(struct sock *s, void *arg)
{
	(void)arg;
	return sock_status(s) & (SOCK_SHUT_WR | SOCK_DEAD) || atomic_load_explicit(&s->so_error, memory_order_relaxed) ||
	       (!(sock_status(s) & SOCK_CONNECTING) && sock_writable(s));
}

/* May the stream be written to? 0, or the error; waits for a connection in progress. */
cold_path static int tx_check(struct sock *s, bool nonblock, struct thread_rec *self)
{
	uint64_t deadline = 0;

	for (;;) {
		uint32_t status = sock_status(s);
		int err = sock_take_error(s), r;

		if (err)
			return -err;
		if (status & (SOCK_SHUT_WR | SOCK_DEAD))
			return -EPIPE;
		if (status & SOCK_CONNECTED)
			return 0;
		if (!(status & SOCK_CONNECTING))
			return -EPIPE;
		if (nonblock) {
			if (idle_run_stacks(self))
				continue;
			return -EAGAIN;
		}
		if (!deadline)
			deadline = sock_deadline(atomic_load_explicit(&s->sndtimeo_us, memory_order_relaxed));
		r = sock_wait_one(s, EPOLLOUT, tx_changed, NULL, deadline, self);
		if (r < 0)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	}
}

/* As Linux, where a writer that finds less than the limit waiting fills a chunk, which is half of the peer's largest window at most. */
cold_path static uint64_t tx_space_notsent(const struct sock *s, uint32_t lowat)
{
	uint64_t unsent = sock_tx_unsent(s), mss = MAX(atomic_load_explicit(&s->tx_mss, memory_order_relaxed), 1u);
	uint64_t chunk = MIN(tcp_max_snd_wnd(&s->tcb) / 2, TX_CHUNK_MAX) / mss * mss, most = MAX(MAX(chunk, mss), lowat);

	return unsent < most ? most - unsent : 0;
}

static force_inline uint64_t tx_space(const struct sock *s)
{
	uint64_t used = sock_tx_used(s), sndbuf = atomic_load_explicit(&s->sndbuf, memory_order_relaxed);
	uint32_t lowat = s->opt.notsent_lowat;

	if (unlikely(used >= sndbuf))
		return 0;
	return likely(lowat == 0) ? sndbuf - used : MIN(sndbuf - used, tx_space_notsent(s, lowat));
}

static bool tx_room(struct sock *s, void *arg)
{
	(void)arg;
	/* Noted at every look: the owner may have told of room that another writer has filled since. */
	return sock_writable_or_note(s) && tx_space(s) > 0;
}

static bool tx_wait_done(struct sock *s, void *arg)
{
	return tx_room(s, arg) || sock_status(s) & (SOCK_SHUT_WR | SOCK_DEAD) ||
	       atomic_load_explicit(&s->so_error, memory_order_relaxed);
}

/* The buffer is full (or buffers are short). 1: look again; else what to return when nothing was written. */
cold_path static int tx_full(struct sock *s, bool nobufs, bool nonblock, uint64_t *deadline, struct thread_rec *self)
{
	int r;

	/* Acknowledgements may be waiting on the device. */
	if (idle_run_stacks(self) && (nobufs || tx_space(s)))
		return 1;
	/* Noted, then looked at again; the owner looks, too, when this was the first note: see sock_up_acked(). */
	if (atomic_exchange_explicit(&s->tx_nospace, 1, memory_order_seq_cst) == 0 && nonblock)
		sock_post(s, SOCK_CMD_SPACE, self);
	if (!nobufs && tx_space(s))
		return 1;
	if (nonblock) /* with nothing under way no acknowledgement would ever say that there is room again */
		return nobufs && sock_tx_used(s) == 0 ? -ENOBUFS : -EAGAIN;
	if (!*deadline)
		*deadline = sock_deadline(atomic_load_explicit(&s->sndtimeo_us, memory_order_relaxed));
	if (nobufs) {
		uint64_t until = clock_now_us() + TX_NOBUF_US;

		r = sock_wait_one(s, EPOLLOUT, NULL, NULL, MIN(until, *deadline), self);
		if (r == -ETIMEDOUT && clock_now_us() < *deadline)
			r = 0;
	} else {
		r = sock_wait_one(s, EPOLLOUT, tx_wait_done, NULL, *deadline, self);
	}
	if (r < 0)
		return r == -ETIMEDOUT ? -EAGAIN : r;
	return 1;
}

/* Writes n bytes from in, and moves it by what was written. */
static ssize_t stream_send(struct sock *s, struct in_cur *in, size_t n, int flags, struct thread_rec *self);

/* MSG_OOB: the last byte is urgent. It goes by itself, with the urgent pointer set in the same stay with the stack. */
cold_path static ssize_t send_urgent(struct sock *s, struct in_cur *in, size_t n, int flags, struct thread_rec *self)
{
	struct stack *st = sock_stack(s);
	struct tx_chain chain;
	ssize_t sent = 0;

	if (n == 0)
		return 0;
	if (n > 1) {
		sent = stream_send(s, in, n - 1, (flags & ~MSG_OOB) | MSG_MORE, self);
		if (sent < (ssize_t)(n - 1))
			return sent;
	}
	sock_wlock(s, self);
	thread_buffers_out(self, true);
	tx_fill(s, st, in, 1, &chain, self);
	if (!chain.bytes) {
		thread_buffers_out(self, false);
		rlock_unlock(&s->wlock);
		return sent ? sent : -ENOBUFS;
	}
	atomic_store_explicit(&s->tx_more, 0, memory_order_relaxed);
	tx_count(s, 1);
	self->call.arg[0] = (uint64_t)(uintptr_t)chain.first;
	(void)stack_call(st, SOCK_OP_SEND_OOB, s, self);
	thread_buffers_out(self, false);
	rlock_unlock(&s->wlock);
	return sent + 1;
}

/* The first write of a connection whose SYN waits for it: as much as fits goes along. One that may wait then waits for the handshake, and the rest follows, as
 * Linux's tcp_sendmsg_fastopen() has it. */
cold_path static ssize_t send_early(struct sock *s, struct in_cur *in, size_t n, int flags, struct thread_rec *self)
{
	bool nonblock = flags & MSG_DONTWAIT || sock_nonblock(s);
	struct tx_chain chain = { .bytes = 0 };
	struct stack *st = sock_stack(s);
	size_t early;
	ssize_t r;

	if (!in->iov->iov_base && in->iov->iov_len)
		return -EFAULT;
	sock_wlock(s, self);
	if (!(sock_status(s) & SOCK_EARLY)) { /* another thread's write was first */
		rlock_unlock(&s->wlock);
		return stream_send(s, in, n, flags, self);
	}
	thread_buffers_out(self, true);
	early = MIN(n, s->tcb.fo_bytes);
	if (early)
		tx_fill(s, st, in, early, &chain, self);
	if (early && !chain.bytes) {
		thread_buffers_out(self, false);
		rlock_unlock(&s->wlock);
		return -ENOBUFS;
	}
	early = chain.bytes;
	tx_count(s, early);
	self->call.arg[0] = (uint64_t)(uintptr_t)chain.first;
	self->call.arg[1] = !nonblock && early < n;
	r = stack_call(st, SOCK_OP_SEND_EARLY, s, self);
	thread_buffers_out(self, false);
	rlock_unlock(&s->wlock);
	if (r < 0)
		return r;
	if (nonblock) {
		idle_run_stacks(self);
		r = -EINPROGRESS;
	} else {
		r = sock_opened(s, self);
	}
	/* what has left is told, whatever ended the wait: a call that is made again must not send it twice */
	if ((r == -EINPROGRESS || r == -EINTR) && early)
		return (ssize_t)early;
	if (r < 0)
		return r;
	if (early < n)
		r = stream_send(s, in, n - early, flags, self);
	return (ssize_t)early + MAX(r, 0);
}

/* MSG_FASTOPEN: connect() and the first write in one call (RFC 7413 Appendix A). sa: NULL without an address. */
cold_path static ssize_t send_fastopen(struct sock *s, const struct sockaddr *sa, socklen_t len, struct in_cur *in, size_t n, int flags,
				       struct thread_rec *self)
{
	int r;

	if (!sock_may_fastopen(s) || (sa && len >= sizeof(sa->sa_family) && sa->sa_family == AF_UNSPEC))
		return -EOPNOTSUPP;
	if (!(sock_status(s) & SOCK_EARLY)) {
		if (sa && len < sizeof(sa->sa_family))
			return -EINVAL;
		r = sock_open(s, sa, sa ? len : 0, true, flags & MSG_DONTWAIT || sock_nonblock(s), self);
		if (r)
			return r;
	}
	return stream_send(s, in, n, flags & ~MSG_FASTOPEN, self);
}

static ssize_t stream_send(struct sock *s, struct in_cur *in, size_t n, int flags, struct thread_rec *self)
{
	struct stack *st = sock_stack(s);
	bool nonblock = flags & MSG_DONTWAIT || sock_nonblock(s);
	struct tx_chain filled = { .bytes = 0 };
	uint64_t deadline = 0;
	size_t sent = 0;
	int r;

	if (unlikely((sock_status(s) & (SOCK_CONNECTED | SOCK_SHUT_WR | SOCK_DEAD)) != SOCK_CONNECTED) ||
	    unlikely(atomic_load_explicit(&s->so_error, memory_order_relaxed))) {
		if (sock_status(s) & SOCK_EARLY)
			return send_early(s, in, n, flags, self);
		r = tx_check(s, nonblock, self);
		if (r)
			return r;
		st = sock_stack(s);
	}
	if (unlikely(flags & MSG_OOB))
		return send_urgent(s, in, n, flags, self); /* the urgent pointer is at the end of what this call writes */
	if (unlikely(n == 0))
		return 0;
	if (unlikely(!in->iov->iov_base && in->iov->iov_len))
		return -EFAULT;
	if (likely(n <= TX_INLINE_BYTES && n <= tx_space(s) && !(flags & (MSG_MORE | MSG_EOR)) && !thread_is_client(self) &&
		   !atomic_load_explicit(&s->tx_more, memory_order_relaxed))) {
		tx_fill(s, st, in, n, &filled, self);
		if (likely(filled.bytes == n && tx_inline(s, st, &filled, self)))
			return (ssize_t)n;
	}
	sock_wlock(s, self);
	for (;;) {
		uint64_t space = tx_space(s);
		struct tx_chain chain;
		size_t step = MIN(MIN(n - sent, space), TX_STEP_BYTES);
		bool nobufs = false;

		if (unlikely(filled.bytes)) { /* copied above; space was there then and may be overdrawn by a few writers */
			chain = filled;
			filled.bytes = 0;
			step = MAX(step, chain.bytes);
		} else if (likely(step)) {
			thread_buffers_out(self, true);
			tx_fill(s, st, in, step, &chain, self);
		}
		if (likely(step)) {
			nobufs = chain.bytes < step && chain.bytes < n - sent;
			if (likely(chain.bytes)) {
				sent += chain.bytes;
				if (sent == n)
					tx_end_of_record(&chain, flags);
				if (unlikely((flags & MSG_MORE || atomic_load_explicit(&s->tx_more, memory_order_relaxed))))
					atomic_store_explicit(&s->tx_more, sent < n || flags & MSG_MORE ? 1 : 0,
							      memory_order_relaxed);
				tx_count(s, chain.bytes);
				tx_submit(s, st, &chain, self);
			}
			thread_buffers_out(self, false);
			if (likely(sent == n))
				break;
			if (!nobufs)
				continue;
		}
		rlock_unlock(&s->wlock);
		r = tx_full(s, nobufs, nonblock, &deadline, self);
		if (r < 0)
			return sent ? (ssize_t)sent : r;
		if (sock_status(s) & (SOCK_SHUT_WR | SOCK_DEAD) || atomic_load_explicit(&s->so_error, memory_order_relaxed)) {
			if (sent)
				return (ssize_t)sent;
			r = sock_take_error(s);
			return r ? -r : -EPIPE;
		}
		sock_wlock(s, self);
	}
	rlock_unlock(&s->wlock);
	return (ssize_t)sent;
}

ssize_t sock_send(struct sock *s, const void *buf, size_t n, int flags, struct thread_rec *self)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = n };
	struct in_cur in = { .iov = &iov };

	if (unlikely(s->type != SOCK_STREAM)) {
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

		return dgram_send(s, &msg, n, flags, self);
	}
	if (unlikely(flags & MSG_FASTOPEN))
		return send_fastopen(s, NULL, 0, &in, n, flags, self);
	return stream_send(s, &in, n, flags, self);
}

ssize_t sock_sendmsg(struct sock *s, const struct msghdr *msg, int flags, struct thread_rec *self)
{
	struct in_cur in = { .iov = msg->msg_iov };
	size_t n = 0;

	for (size_t i = 0; i < msg->msg_iovlen; i++) {
		if (msg->msg_iov[i].iov_len > SSIZE_MAX - n)
			return -EINVAL;
		n += msg->msg_iov[i].iov_len;
	}
	if (s->type != SOCK_STREAM)
		return dgram_send(s, msg, n, flags, self);
	if (unlikely(flags & MSG_FASTOPEN))
		return send_fastopen(s, msg->msg_name, msg->msg_namelen, &in, n, flags, self);
	/* A destination is ignored on a connected stream, as Linux does (it returns EISCONN only without a connection: EPIPE here). */
	return stream_send(s, &in, n, flags, self);
}

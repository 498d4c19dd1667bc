/* readiness.c - what poll() would say about a socket now, derived from its queues at the time of the call and never stored
 * (runtime.md). Called by epoll.c, wait.c, posix; any thread. The reference is Linux's tcp_poll() and datagram_poll(). */
#include "sock/sock_int.h"

/* Linux's __sk_stream_is_writeable(sk, 1): at least a third of the buffer is free, and less than half of TCP_NOTSENT_LOWAT waits to be sent. */
static force_inline bool stream_has_room(const struct sock *s)
{
	uint64_t used = sock_tx_used(s);
	uint32_t lowat = s->opt.notsent_lowat;

	if (used + (used >> 1) > atomic_load_explicit(&s->sndbuf, memory_order_relaxed))
		return false;
	return likely(lowat == 0) || sock_tx_unsent(s) * 2 < lowat;
}

bool sock_writable(const struct sock *s)
{
	if (s->type == SOCK_STREAM)
		return stream_has_room(s);
	return sock_tx_used(s) < atomic_load_explicit(&s->sndbuf, memory_order_relaxed);
}

cold_path static bool note_full(const struct sock *s)
{
	struct sock *note = (struct sock *)(uintptr_t)s;
	struct thread_rec *self = thread_self_tls;

	/* The first to note it asks the owner to look once more: acknowledgements are counted without a fence (sock_up_acked()), so that
	 * both sides may just have missed each other. */
	if (atomic_exchange_explicit(&note->tx_nospace, 1, memory_order_seq_cst) == 0 && self &&
	    self->owned != sock_stack(s))
		sock_post(note, SOCK_CMD_SPACE, self);
	return sock_writable(s);
}

/* Writable, or it is noted that somebody waits: sock_up_acked() then tells. */
static force_inline bool writable_or_note(const struct sock *s)
{
	return likely(sock_writable(s)) || note_full(s);
}

bool sock_writable_or_note(const struct sock *s)
{
	return writable_or_note(s);
}

static uint32_t datagram_readiness(const struct sock *s, uint32_t status, uint32_t want)
{
	uint32_t ev = 0;

	if (status & SOCK_SHUT_RD)
		ev |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
	if ((status & (SOCK_SHUT_RD | SOCK_SHUT_WR)) == (SOCK_SHUT_RD | SOCK_SHUT_WR))
		ev |= EPOLLHUP;
	if (sock_rx_bytes(s))
		ev |= EPOLLIN | EPOLLRDNORM;
	if (want & (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND) && writable_or_note(s))
		ev |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
	if (unlikely(atomic_load_explicit(&s->so_error, memory_order_relaxed) || !inbox_maybe_empty(&s->err_in) ||
		     __atomic_load_n(&s->err_head, __ATOMIC_RELAXED)))
		ev |= EPOLLERR;
	return ev;
}

/* Not a plain established connection: listening, connecting, shut down, dead or never used. */
static cold_path uint32_t stream_readiness_slow(const struct sock *s, uint32_t status, uint32_t want)
{
	uint32_t ev = 0;
	bool rcv_shut = status & (SOCK_RCV_EOF | SOCK_SHUT_RD | SOCK_DEAD);
	bool snd_shut = status & (SOCK_SHUT_WR | SOCK_DEAD);
	bool closed = status & SOCK_DEAD || !(status & (SOCK_CONNECTED | SOCK_CONNECTING));

	if (status & SOCK_LISTENING)
		return vcount_get(&s->acc_len, memory_order_acquire) ? EPOLLIN | EPOLLRDNORM : 0;
	if (closed || (rcv_shut && snd_shut))
		ev |= EPOLLHUP;
	if (rcv_shut)
		ev |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (!(status & SOCK_CONNECTING)) {
		uint64_t bytes = sock_rx_bytes(s);

		if (bytes && bytes >= atomic_load_explicit(&s->rcvlowat, memory_order_relaxed))
			ev |= EPOLLIN | EPOLLRDNORM;
		if (snd_shut || (want & (EPOLLOUT | EPOLLWRNORM) && writable_or_note(s)))
			ev |= EPOLLOUT | EPOLLWRNORM;
		if (status & SOCK_URGENT)
			ev |= EPOLLPRI;
	} else if (status & SOCK_EARLY) {
		ev |= EPOLLOUT | EPOLLWRNORM;
	}
	if (atomic_load_explicit(&s->so_error, memory_order_relaxed))
		ev |= EPOLLERR;
	return ev;
}

uint32_t sock_ready_events(const struct sock *s, uint32_t want)
{
	/* The end-of-stream bit is looked at before the byte count: it was set after the last byte was counted. */
	uint32_t status = sock_status(s);
	uint32_t ev = 0;
	uint64_t bytes;

	if (s->type != SOCK_STREAM)
		return datagram_readiness(s, status, want);
	if (unlikely((status & (SOCK_CONNECTED | SOCK_CONNECTING | SOCK_LISTENING | SOCK_RCV_EOF | SOCK_SHUT_RD | SOCK_SHUT_WR |
				SOCK_DEAD | SOCK_URGENT)) != SOCK_CONNECTED) ||
	    unlikely(atomic_load_explicit(&s->so_error, memory_order_relaxed)))
		return stream_readiness_slow(s, status, want);
	bytes = sock_rx_bytes(s);
	if (bytes && bytes >= atomic_load_explicit(&s->rcvlowat, memory_order_relaxed))
		ev |= EPOLLIN | EPOLLRDNORM;
	if (want & (EPOLLOUT | EPOLLWRNORM) && writable_or_note(s))
		ev |= EPOLLOUT | EPOLLWRNORM;
	return ev;
}

uint32_t sock_readiness(const struct sock *s)
{
	return sock_ready_events(s, UINT32_MAX);
}

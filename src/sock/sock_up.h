/* sock_up.h - upcalls: what the engine tells the socket layer. Owner of the stack only; never transmit, never sleep.
 * They set state, then note the socket's waiters; wake-ups leave at the end of the round (sock_up_flush()). */
#ifndef GZ_SOCK_SOCK_UP_H
#define GZ_SOCK_SOCK_UP_H

#include "sock/sock.h"

/* A handshake for listener is complete (or about to be): a fresh socket whose tcb the engine fills, inheriting options; NULL: no memory. */
struct sock *sock_up_new_child(struct stack *st, struct sock *listener);
/* May the listener take one more? (backlog; Linux: full when acc_len > backlog) */
static force_inline bool sock_up_backlog_full(const struct sock *l)
{
	return vcount_get(&l->acc_len, memory_order_relaxed) >
	       atomic_load_explicit(&l->backlog, memory_order_relaxed);
}
/* child is ESTABLISHED: into the listener's accept queue. false: the listener is gone, the engine resets the child. */
bool sock_up_accept(struct stack *st, struct sock *listener, struct sock *child);
/* Active open done. */
void sock_up_connected(struct stack *st, struct sock *s);
/* In-order payload: m's data (all segments) is stream payload only. Takes m. */
void sock_up_data(struct stack *st, struct sock *s, struct rte_mbuf *m);
/* FIN received in order. */
void sock_up_eof(struct stack *st, struct sock *s);
/* bytes were acknowledged: send buffer space. */
void sock_up_acked(struct stack *st, struct sock *s, uint32_t bytes);
/* Somebody found the send buffer full and waits for room. */
static force_inline bool sock_waits_for_room(const struct sock *s)
{
	return atomic_load_explicit(&s->tx_nospace, memory_order_relaxed);
}
/* The connection failed or was reset: err is ECONNRESET, ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH ... State is CLOSED now, unless soft. */
void sock_up_error(struct stack *st, struct sock *s, int err, bool soft);
/* The engine is done with s->tcb (closed, TIME_WAIT record made, reset): the object may be freed when unreferenced. */
void sock_up_closed(struct stack *st, struct sock *s);
/* Urgent pointer advanced. */
void sock_up_urgent(struct stack *st, struct sock *s);
/* A datagram for s; pkt_tx(m) holds source and tos/ttl; m's data is payload. Takes m. May be called by any stack's owner. */
void sock_up_datagram(struct stack *st, struct sock *s, struct rte_mbuf *m);
/* An entry for the error queue of a datagram socket (udp.h, struct udp_error). Takes m. */
void sock_up_dgram_error(struct stack *st, struct sock *s, struct rte_mbuf *m);
/* Receive window that may be offered now, in bytes: buffer minus what is queued by true size. */
uint32_t sock_up_rcv_space(const struct sock *s);
/* Hints: data for s comes next. First the lines of s, then, when those are there, what they point to. */
void sock_up_prefetch(const struct sock *s);
void sock_up_prefetch_waiters(const struct sock *s);
/* Readiness of s may have changed: queue its waiters. */
void sock_up_notify(struct stack *st, struct sock *s);
/* End of round: wake what was noted. */
void sock_up_flush(struct stack *st);

#endif

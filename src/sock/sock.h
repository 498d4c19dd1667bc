/* sock.h - the socket object (open description): what application threads and the stack share about one socket.
 *
 * One slab object holds the description and the TCB, so that a connection costs one allocation and one TLB page. It
 * lives from creation (or the end of a handshake) until no descriptor refers to it AND its protocol is done AND no call pins it.
 *
 * Who writes what is tagged per field: [stack] the owner of s->stack_id; [app] application threads, under the lock named;
 * [any] atomics. Byte counts only grow, so that fill levels are differences and need no read-modify-write.
 * Readiness is computed from these fields when asked (sock_readiness()), never stored.
 *
 * The functions below are called by posix/ (any application thread, any process; `self` = thread_self(); the socket pinned by the
 * caller). They return >= 0 or -errno, sleep only where said, and know nothing of descriptors except as opaque numbers.
 */
#ifndef GZ_SOCK_SOCK_H
#define GZ_SOCK_SOCK_H

#include "base/inbox.h"
#include "base/rlock.h"
#include "base/vcount.h"
#include "stack/own.h"
#include "tcp/tcb.h"

#include <sys/socket.h>
#include <sys/time.h>

/* s->status */
#define SOCK_CONNECTED 0x0001u	/* handshake done, or datagram peer set */
#define SOCK_CONNECTING 0x0002u
#define SOCK_LISTENING 0x0004u
#define SOCK_BOUND 0x0008u
#define SOCK_RCV_EOF 0x0010u	/* FIN received: end of stream after rx_written bytes */
#define SOCK_SHUT_RD 0x0020u	/* shutdown(SHUT_RD) by the application */
#define SOCK_SHUT_WR 0x0040u	/* shutdown(SHUT_WR), or the connection cannot send any more */
#define SOCK_DEAD 0x0080u	/* connection gone (reset, timed out, closed both ways): state CLOSED */
#define SOCK_ORPHAN 0x0100u	/* last descriptor gone; the protocol finishes alone */
#define SOCK_URGENT 0x0200u	/* urgent data pending */
#define SOCK_HAS_KERNEL 0x0400u /* posix has a real kernel socket under the same number (ANY bind) */
#define SOCK_EVER_CONNECTED 0x0800u
#define SOCK_ABORT 0x1000u	/* close by RST whatever the options say (a child nobody accepted) */
#define SOCK_CLOSED 0x2000u	/* the owner has run the close that the last reference left [stack] */
#define SOCK_EARLY 0x4000u	/* with SOCK_CONNECTING: the SYN waits for the first write (Fast Open) */

/* s->cmd_bits: what the owner shall do; set by any thread, taken by the owner in one exchange */
#define SOCK_CMD_SEND 0x01u	/* tx_in has data */
#define SOCK_CMD_READ 0x02u	/* the application consumed enough for a window update */
#define SOCK_CMD_SHUT_WR 0x04u
#define SOCK_CMD_CLOSE 0x08u	/* last reference gone */
#define SOCK_CMD_NOTIFY 0x10u	/* readiness changed by somebody who is not the owner */
#define SOCK_CMD_SPACE 0x20u	/* somebody noted tx_nospace: is there room by now? */
#define SOCK_CMD_QUEUED 0x80000000u /* s->cmd is on the inbox */

/* Options that the engine reads. [stack] after boot of the socket: changed by SOCK_OP_SETOPT calls only. */
struct sock_opts {
	uint64_t max_pacing_rate; /* bytes per second; UINT64_MAX: none */
	/* looked at by every write and every segment: in one cache line of struct sock */
	uint32_t notsent_lowat;
	uint8_t nodelay, cork, quickack, keepalive;
	uint8_t reuseaddr, reuseport, v6only, broadcast;
	uint8_t linger_on, oobinline, ttl, tos;
	uint8_t mc_ttl, mc_loop, pktinfo, recvttl;
	uint8_t recvtos, recverr, timestamp /* 0,1 us,2 ns */, freebind;
	uint8_t mtu_discover, defer_accept, syncnt, no_check;
	/* rcvbuf, sndbuf, notsent_lowat are the application's, not ours or the configuration's */
	uint8_t rcvbuf_fixed : 1, sndbuf_fixed : 1, notsent_set : 1;
	uint8_t bind_no_port, transparent;
	uint16_t maxseg; /* TCP_MAXSEG, 0: unset */
	uint16_t keep_cnt;
	uint16_t udp_segment; /* UDP_SEGMENT: a send is cut into datagrams of so many bytes; 0: not */
	uint8_t udp_gro;      /* UDP_GRO: a receive may return several datagrams of one size */
	uint8_t inq;	      /* TCP_INQ: recvmsg() says what is left */
	uint8_t fastopen_connect, fastopen_no_cookie;
	uint16_t fastopen_qlen; /* TCP_FASTOPEN: connections made of SYNs that may wait for their ACK, 0: none */
	uint32_t keep_idle_s, keep_intvl_s;
	uint32_t linger_s;
	uint32_t user_timeout_ms;
	uint32_t window_clamp;
	int32_t linger2_s;
	uint32_t rcvlowat;
	uint32_t mark, priority;
	uint32_t mc_if_be;
	uint32_t busy_poll;
	char congestion[16]; /* "": the configuration's */
};

/* Linux's socket->state, which decides what a repeated connect() says. */
enum sock_ss { SS_FREE, SS_PENDING, SS_DONE };

struct sock {
	/* --- line 0: identity, state, what a reader and readiness need --- */
	struct slab_hdr slab;
	vcount refs;	       /* descriptor table entries of all processes, calls that hold it, + 1 while in an accept queue */
	uint8_t family;	       /* AF_INET | AF_INET6 as the application made it [const] */
	uint8_t type;	       /* SOCK_STREAM | SOCK_DGRAM [const] */
	uint8_t stack_id;      /* owner; set at creation, may change only before connect/listen */
	_Atomic uint8_t engine_done; /* [stack] protocol has no further use for this object */
	_Atomic uint32_t status;   /* SOCK_* ; bits set by their writer with release [any] */
	_Atomic int32_t so_error;  /* positive errno, read-and-clear by exchange [any] */
	_Atomic uint32_t fl_flags; /* O_NONBLOCK | O_ASYNC ...: open file status flags [any] */
	_Atomic uint32_t rcvlowat;
	struct inbox rx_in;		/* mbufs (stream: payload only; datagram: one each), pushed by stacks */
	_Atomic uint64_t rx_written;	/* bytes pushed [stack]; datagram sockets count datagrams, fetch_add by any stack */
	_Atomic uint64_t rx_read;	/* bytes consumed [app, rlock] */
	struct rlock rlock;		/* guards rx_head .. rx_off, rx_read, rx_true_out, acc_head */
	_Atomic uint32_t rcvbuf;
	/* --- line 1: the rest of receiving, and who waits --- */
	struct inbox_node *rx_head;	/* [app, rlock] taken from rx_in, in order */
	struct inbox_node *rx_tail;
	uint32_t rx_off;		/* bytes already taken of rx_head's first segment */
	_Atomic uint8_t rx_urg_read;	/* the byte at rx_urg_at was read by MSG_OOB and is to be skipped [app, rlock] */
	_Atomic uint8_t tx_nospace;	/* somebody found the buffer full and wants EPOLLOUT [any] */
	_Atomic uint8_t ss_state;	/* enum sock_ss: how far the application's connect() got [app] */
	_Atomic uint64_t rx_true_in;	/* true size of what was pushed [stack; datagram: any stack] */
	_Atomic uint64_t rx_true_out;	/* true size of what was freed [app, rlock] */
	_Atomic uint64_t rx_acked;	/* rx_read as last seen by the stack [stack] */
	struct list items;		/* struct item by sock_node [stack] */
	/* --- line 2: sending, commands --- */
	struct inbox tx_in;
	_Atomic uint64_t tx_written;	/* bytes accepted from the application and left in tx_in [app, wlock] */
	_Atomic uint64_t tx_inline;	/* bytes accepted by a writer that owned the stack, no lock needed [stack] */
	_Atomic uint64_t tx_acked;	/* bytes acknowledged by the peer [stack] */
	_Atomic uint32_t sndbuf;
	struct rlock wlock;
	_Atomic uint16_t tx_mss;	/* payload bytes worth putting into one mbuf [stack] */
	_Atomic uint16_t tx_large;	/* bytes for the first large mbuf of a write; 0: none of them, see tcp/sendq.c [stack] */
	_Atomic uint8_t tx_tso;		/* the device cuts segments: fill whole mbufs [stack] */
	_Atomic uint8_t tx_more;	/* MSG_MORE on the last send: hold a partial segment back [app, wlock] */
	uint8_t bound_proto, bound_flags; /* ports.c */
	struct cmd cmd;
	/* --- cold --- */
	_Atomic uint32_t cmd_bits;
	vcount item_count;		/* items that refer to this socket, linked or about to be; keeps it from being freed [any] */
	_Atomic uint64_t rx_urg_at;	/* position (as rx_read) of the urgent byte [stack] */
	/* accept queue of a listener, error queue of a datagram socket */
	union {
		struct inbox acc_in;		/* struct sock by acc_node */
		struct inbox err_in;		/* mbufs with struct udp_error, pushed by stacks */
	};
	union {
		struct inbox_node *acc_head;	/* [app, rlock] */
		struct inbox_node *err_head;	/* [app, rlock] */
	};
	struct inbox_node acc_node;	/* in the listener's queue */
	vcount acc_len;			/* established, not yet accepted */
	_Atomic uint32_t backlog;
	struct sock *listener;		/* [stack] until accepted */
	/* name space (ports.c, its lock) */
	struct ip_addr bound_addr;
	uint16_t bound_port_be;
	_Atomic int32_t bound_ifindex;
	struct sock *port_next;		/* chain of the port's bucket, followed lock-free */
	struct sock *listen_next;
	struct list zombie_node;	/* [stack] */
	_Atomic uint64_t rcvtimeo_us, sndtimeo_us; /* 0: none */
	uint32_t last_pktinfo;
	struct mcast *mcast; /* [stack] group memberships or NULL */
	struct sock_opts opt;
	struct tcb tcb;
};

_Static_assert(offsetof(struct sock, rx_head) == 64, "line 0: what readiness and a reader look at first");
_Static_assert(offsetof(struct sock, tx_in) == 128, "line 1: receiving");
_Static_assert(offsetof(struct sock, cmd_bits) == 192, "line 2: sending");
_Static_assert(offsetof(struct sock, opt.notsent_lowat) / 64 == offsetof(struct sock, opt.tos) / 64, "options that sending asks");
_Static_assert(sizeof(struct sock) <= 1344, "an idle connection costs about a kilobyte all told");

static force_inline struct sock *sock_of_tcb(const struct tcb *t)
{
	return container_of((struct tcb *)(uintptr_t)t, struct sock, tcb);
}
static force_inline struct stack *sock_stack(const struct sock *s) { return &gz->stacks[s->stack_id]; }
static force_inline uint32_t sock_status(const struct sock *s)
{
	return atomic_load_explicit(&s->status, memory_order_acquire);
}
/* Bytes a reader could take now. */
static force_inline uint64_t sock_rx_bytes(const struct sock *s)
{
	return atomic_load_explicit(&s->rx_written, memory_order_acquire) -
	       atomic_load_explicit(&s->rx_read, memory_order_relaxed);
}
/* Bytes accepted from the application and not yet acknowledged. */
static force_inline uint64_t sock_tx_used(const struct sock *s)
{
	/* acked before written: a difference of counters that grow meanwhile must not come out negative */
	uint64_t acked = atomic_load_explicit(&s->tx_acked, memory_order_acquire);

	return atomic_load_explicit(&s->tx_written, memory_order_relaxed) +
	       atomic_load_explicit(&s->tx_inline, memory_order_relaxed) - acked;
}

/* Bytes accepted from the application that have not left yet. A racing look unless the caller owns the stack. */
static force_inline uint64_t sock_tx_unsent(const struct sock *s)
{
	uint32_t flight = s->tcb.snd_nxt - s->tcb.fin_sent - s->tcb.snd_una;
	uint64_t used = sock_tx_used(s);

	return (int32_t)flight > 0 && used > flight ? used - flight : (int32_t)flight > 0 ? 0 : used;
}

/* The same, but bits that are not in `want` may be missing: cheaper. Any thread. */
uint32_t sock_ready_events(const struct sock *s, uint32_t want);
/* EPOLLIN OUT PRI ERR HUP RDHUP RDNORM WRNORM of s now, exactly as Linux's poll would say. Any thread. */
uint32_t sock_readiness(const struct sock *s);

extern const uint32_t mcast_obj_bytes;

/* --- life --- */
/* A new socket with one reference; NULL when out of memory. nonblock: O_NONBLOCK. */
struct sock *sock_create(int family, int type, bool nonblock, struct thread_rec *self);
static force_inline uint32_t sock_refs(const struct sock *s) { return vcount_get(&s->refs, memory_order_relaxed); }
static force_inline void sock_ref(struct sock *s) { vcount_inc(&s->refs, memory_order_relaxed); }
/* A reference for the time of a call, to a pinned socket, noted as number i of this thread. -EBADF: the last one is gone already; -ENOMEM. */
int sock_hold(struct sock *s, unsigned i, struct thread_rec *self);
/* Lets go; may sleep as sock_unref(). After the last: sock_hold_end(). */
void sock_unhold(struct sock *s, unsigned i, struct thread_rec *self);
void sock_hold_end(struct thread_rec *self);
/* Drops a reference; with the last one the connection is closed. may sleep: SO_LINGER on a blocking socket. */
void sock_unref(struct sock *s, struct thread_rec *self);

/* --- calls: addresses are sockaddr_in or sockaddr_in6, checked here --- */
int sock_bind(struct sock *s, const struct sockaddr *sa, socklen_t len, bool (*avoid)(uint16_t port_be, void *arg), void *arg,
	      struct thread_rec *self);
int sock_listen(struct sock *s, int backlog, struct thread_rec *self);
/* Next connection (one reference, the caller's); -EAGAIN; sleeps unless nonblock. kernel_fd >= 0: a kernel listening socket of the same
 * program; when it becomes acceptable first, returns 0 with *out NULL. */
int sock_accept(struct sock *s, struct sock **out, bool nonblock, int kernel_fd, struct thread_rec *self);
int sock_connect(struct sock *s, const struct sockaddr *sa, socklen_t len, struct thread_rec *self);
/* May connections send data in their SYN (tcp_fastopen's TCP_FO_CLIENT)? */
bool sock_may_fastopen(const struct sock *s);
/* kernel_fd: as for accept, for datagram sockets bound to ANY; -EREMOTE: look at the kernel's side. */
ssize_t sock_sendmsg(struct sock *s, const struct msghdr *msg, int flags, struct thread_rec *self);
ssize_t sock_recvmsg(struct sock *s, struct msghdr *msg, int flags, int kernel_fd, struct thread_rec *self);
/* Straight paths of send/write and recv/read on a stream. */
ssize_t sock_send(struct sock *s, const void *buf, size_t n, int flags, struct thread_rec *self);
ssize_t sock_recv(struct sock *s, void *buf, size_t n, int flags, struct thread_rec *self);
int sock_shutdown(struct sock *s, int how, struct thread_rec *self);
int sock_getname(struct sock *s, struct sockaddr *sa, socklen_t *len, bool peer);
/* What accept() tells of a connection: the peer's address, whatever has become of it since. */
int sock_accepted_name(struct sock *s, struct sockaddr *sa, socklen_t *len);
int sock_setopt(struct sock *s, int level, int name, const void *val, socklen_t len, struct thread_rec *self);
int sock_getopt(struct sock *s, int level, int name, void *val, socklen_t *len, struct thread_rec *self);
/* FIONREAD, SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK, FIONBIO; -ENOTTY others. */
int sock_ioctl(struct sock *s, unsigned long req, void *arg, struct thread_rec *self);

/* --- the owner's side (stack/loop.c) --- */
void sock_on_command(struct stack *st, struct sock *s); /* CMD_SOCK */
/* stack_calls[]: operations that stack_call() runs */
enum sock_op { SOCK_OP_CONNECT, SOCK_OP_LISTEN, SOCK_OP_SETOPT, SOCK_OP_GETOPT, SOCK_OP_DISCONNECT, SOCK_OP_SEND_DGRAM,
	       SOCK_OP_CTL_CONNS, SOCK_OP_CTL_NEIGH, SOCK_OP_CTL_LATENCY, SOCK_OP_NOP, SOCK_OP_UNLISTEN, SOCK_OP_SEND_OOB,
	       SOCK_OP_SEND_EARLY, SOCK_OP_TX_REPAIR, SOCK_OP_MEMBERSHIP, SOCK_OP_RECLAIM, SOCK_OP_BUFFERS, SOCK_OP_COUNT };
int64_t sock_on_call(struct stack *st, struct stack_call *call);
/* Frees zombies whose pins are gone; called once per some rounds. */
void sock_reap_zombies(struct stack *st);
/* SOCK_OP_CTL_*: set by ctl/ before the stacks run; NULL: -ENOSYS. */
extern int64_t (*sock_ctl_hook)(struct stack *st, struct stack_call *call);
/* What killed processes left (reclaim.c); the home. The references that a thread of one held; may run the stack. */
void sock_reclaim_thread(struct thread_rec *t, struct thread_rec *self);
/* The locks that it held are taken over and what they guard is put in order. */
void sock_reclaim_locks(bool (*dead)(const struct thread_rec *t), struct thread_rec *self);
/* What a process was in the middle of when it was killed (sweep.c). 0: everything is in order again; else another look is due: > 0 something was
 * put in order and more may be, -EAGAIN a living thread (of a stopped process, or dead and not known to be) is in the middle of something. */
int sock_sweep(bool (*dead)(const struct thread_rec *t), struct thread_rec *self);
/* Their places among the waiters: waiting items, bits in epoll instances; wake-ups that they took with them go to others. */
void sock_reclaim_waits(bool (*dead)(const struct thread_rec *t), struct thread_rec *self);
/* Gives the buffers of the thread's magazine back. */
void sock_magazine_flush(struct thread_rec *self);
/* Sets bits for the owner and posts s->cmd if it is not queued. Any thread. */
void sock_post(struct sock *s, uint32_t bits, struct thread_rec *self);

#endif

/* tcp.h - what ip, sock and the loop call of TCP. Owner of the stack only.
 *
 * Down-calls come from sock/ (commands already turned into calls); up-calls go to sock/sock_up.h. tcp_input() and the down-calls
 * never transmit: they set tcb->out_flags and put the TCB on st->tcp_out (tcp_mark_output()); tcp_output_all() runs once a round.
 */
#ifndef GZ_TCP_TCP_H
#define GZ_TCP_TCP_H

#include "tcp/tcb.h"

struct sock;
struct gz_tcp_info; /* tcp/info.h */

/* Object sizes for the slabs that boot lays out. */
extern const uint32_t tcp_syn_rec_bytes, tcp_tw_rec_bytes;

/* What the engine may be told by configuration; tcp_state_create() fills in the defaults; boot and tests change them before traffic. */
/* As Linux's sysctl: connections may send data in SYNs, listeners take it; both without cookies; every listener has TCP_FASTOPEN. */
#define TCP_FO_CLIENT 0x1u
#define TCP_FO_SERVER 0x2u
#define TCP_FO_CLIENT_BARE 0x4u
#define TCP_FO_SERVER_BARE 0x200u
#define TCP_FO_EVERY_LISTENER 0x400u
#define TCP_FO_BITS (TCP_FO_CLIENT | TCP_FO_SERVER | TCP_FO_CLIENT_BARE | TCP_FO_SERVER_BARE | TCP_FO_EVERY_LISTENER)

struct tcp_conf {
	struct tcp_fo_keys fo_keys; /* n 0: made up, and changed every hour */
	uint32_t rto_min_us, rto_init_us, delack_us;
	uint32_t time_wait_us, fin_timeout_us;
	uint32_t rcvbuf_max, sndbuf_max;
	uint8_t syn_retries, synack_retries;
	uint8_t mtu_probing;	   /* 0 off, 1 when a black hole was found, 2 always (RFC 4821) */
	uint16_t base_mss;	   /* where the search begins */
	uint16_t fastopen;	   /* TCP_FO_* */
	uint8_t ecn;		   /* 0 no, 1 asked for and agreed to, 2 agreed to */
	uint8_t syncookies;	   /* 0 never, 1 when a listener's SYN queue is full, 2 always */
	uint8_t slow_start_after_idle; /* 1: the window says nothing after a pause (RFC 5681 §4.1) */
	bool timestamps, sack, wscale;
	bool pacing;		   /* whatever the algorithm */
	uint16_t iw_segs;	   /* initial window, segments */
	uint8_t min_tso_segs;	   /* segments that a frame for the device to cut may always have */
	const struct tcp_cc_ops *cc; /* of sockets that do not say */
};

/* For tests. */
struct tcp_conf *tcp_conf_of(struct stack *st);

struct tcp_state *tcp_state_create(struct stack *st);
void tcp_state_destroy(struct stack *st);
/* What the configuration says; defaults without. Before the stack runs. */
struct tcp_settings {
	uint8_t ecn, syncookies, mtu_probing, slow_start_after_idle; /* as Linux's sysctls */
	uint16_t fastopen;
	uint16_t base_mss;
	struct tcp_fo_keys fo_keys;
	uint32_t rcvbuf_max, sndbuf_max;
};
void tcp_configure(struct stack *st, const struct tcp_settings *c);

/* Defaults of connections that start from now on: congestion control by name (unknown: as it was), initial window, pacing of all. Boot. */
void tcp_configure_cc(struct stack *st, const char *congestion, uint32_t iw_segs, bool pacing);

/* m->data at the TCP header; the IP payload is pkt_len bytes. src/dst of the packet. Takes m. */
void tcp_input(struct stack *st, struct rte_mbuf *m, const struct ip_addr *src, const struct ip_addr *dst, uint8_t tos);
/* Hint: these frames, as the device delivered them, come next. */
void tcp_prefetch_burst(struct stack *st, struct rte_mbuf *const *m, uint16_t n);
/* Start of a round: what came in with the last one and was not answered meanwhile gets a timer for its acknowledgement. */
void tcp_settle_acks(struct stack *st);
/* Buffers are short (st->mem_level): gives back what can be given back. */
void tcp_on_pressure(struct stack *st);
/* Runs output for every TCB on st->tcp_out. */
void tcp_output_all(struct stack *st);
/* A timer of kind TIMER_TCP / _SYN / _TW fired. */
void tcp_on_timer(struct stack *st, struct wheel_timer *t);
void tcp_syn_on_timer(struct stack *st, struct wheel_timer *t);
void tcp_tw_on_timer(struct stack *st, struct wheel_timer *t);
/* A validated ICMP error about one of our segments. mtu: for "fragmentation needed". hard: RFC 1122 §4.2.3.9 */
void tcp_on_icmp_error(struct stack *st, const struct ip_addr *local, const struct ip_addr *remote, uint16_t lport_be,
		       uint16_t rport_be, uint32_t seq, int err, bool hard, uint32_t mtu);

/* --- down-calls; the TCB is &s->tcb --- */

/* Prepares a fresh TCB (options from s). */
void tcp_tcb_init(struct stack *st, struct tcb *t);
/* Active open; laddr/lport/raddr/rport are set in t. fastopen: with data, if the configuration allows and a cookie is known; then tcb.fo_waits is set and
 * nothing is sent before tcp_fastopen_send(). The result comes by sock_up_connected() or sock_up_error(). 0, -EADDRNOTAVAIL, -ENOBUFS. */
int tcp_connect(struct stack *st, struct tcb *t, bool fastopen);
/* tcb.fo_waits: first (as tcp_send(), NULL: nothing) goes with the SYN, as far as it fits; tcb.fo_bytes does. more: will be written as soon as the connection
 * stands. */
void tcp_fastopen_send(struct stack *st, struct tcb *t, struct inbox_node *first, bool more);
/* Appends data (list of mbufs linked through pkt_meta(m)->q, each with payload off/len) to the send queue; takes them. */
void tcp_send(struct stack *st, struct tcb *t, struct inbox_node *first);
/* The last byte queued is urgent (MSG_OOB): the urgent pointer points behind it (RFC 9293 §3.8.5, RFC 6093). */
void tcp_send_urgent(struct stack *st, struct tcb *t);
/* The application consumed data: receive window may have opened. */
void tcp_on_read(struct stack *st, struct tcb *t);
/* No more data will come from the application: FIN after what is queued. */
void tcp_shutdown_send(struct stack *st, struct tcb *t);
/* The last descriptor is gone. unread: data was not read -> RST (RFC 1122 §4.2.2.13). linger_us: UINT64_MAX none; 0 abort. The
 * TCB lives on until the peer agrees; then sock_up_closed(). */
void tcp_close(struct stack *st, struct tcb *t, bool unread, uint64_t linger_us);
/* RST now; sock_up_closed() follows in this call. */
void tcp_abort(struct stack *st, struct tcb *t);
/* The application that waited for room in the send buffer has some. */
void tcp_on_room(struct stack *st, struct tcb *t);
/* TCP_FASTOPEN_KEY of a listener, or one to be: bytes is 16 or 32, else -EINVAL. */
int tcp_fastopen_set_keys(struct tcb *t, const void *keys, size_t bytes);
/* The keys that count for it, to out (32 bytes); how many bytes. */
size_t tcp_fastopen_get_keys(const struct stack *st, const struct tcb *t, void *out);
/* Options changed: TCP_NODELAY, TCP_CORK off, keep-alive, ... act on it. */
void tcp_on_option(struct stack *st, struct tcb *t, int optname);
/* As Linux fills it. The owner of the stack: numbers of segments are exact. Anybody else (queue false), from a copy or from memory that changes
 * meanwhile: they are made from bytes. */
void tcp_get_info(const struct stack *st, const struct tcb *t, const struct sock *s, bool queue, struct gz_tcp_info *out);
/* TCP_CC_INFO: bytes written to out, TCP_CC_INFO_MAX at most; 0 for algorithms that tell nothing. */
#define TCP_CC_INFO_MAX 20u
size_t tcp_get_cc_info(const struct tcb *t, void *out);
/* True if the 4-tuple is neither a connection nor a TIME_WAIT that must be respected. */
bool tcp_tuple_is_free(struct stack *st, const struct ip_addr *laddr, uint16_t lport_be, const struct ip_addr *raddr, uint16_t rport_be);
/* Listener closed: drop its SYN records. */
void tcp_listen_stop(struct stack *st, struct sock *listener);

const char *tcp_state_name(uint8_t state); /* as gazellectl prints it */

#endif

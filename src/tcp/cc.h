/* cc.h - congestion control as a table of operations. A new algorithm is a file with one table, named in cc.c.
 *
 * Everything is in bytes. The engine keeps cwnd, ssthresh and recovery; an algorithm says how cwnd grows and where it falls to. Its state
 * lives in tcb->cc_priv. Owner of the stack only.
 */
#ifndef GZ_TCP_CC_H
#define GZ_TCP_CC_H

#include "tcp/tcb.h"

#define TCP_IW_SEGS 10u /* RFC 6928 */
#define TCP_CWND_MIN_SEGS 2u
#define TCP_SSTHRESH_INF 0x7fffffffu
#define TCP_CWND_MAX 0x3fffffffu

/* One delivery-rate sample (draft-cheng-iccrg-delivery-rate-estimation), from the newest segment that an ACK delivered. */
struct tcp_rate_sample {
	uint64_t delivered;	 /* bytes delivered over interval_us; 0: no sample */
	uint64_t interval_us;
	uint64_t prior_delivered; /* tcb->delivered when that segment left */
	uint64_t rtt_us;	 /* 0: none */
	uint32_t acked, sacked;	 /* bytes newly acknowledged, newly SACKed */
	uint32_t lost;		 /* bytes newly marked lost */
	uint32_t prior_pipe;	 /* bytes in flight before this ACK */
};

struct tcp_cc_ops {
	const char *name;
	bool needs_ecn;	  /* negotiate ECN whatever the configuration says (RFC 8257) */
	void (*init)(struct stack *st, struct tcb *t);
	/* acked bytes left the network in order, outside fast recovery, and the sender was limited by cwnd. */
	void (*on_ack)(struct stack *st, struct tcb *t, uint32_t acked, const struct tcp_rate_sample *rs);
	/* Slow-start threshold after a loss now; called once per episode, before cwnd is reduced. */
	uint32_t (*on_loss)(struct stack *st, struct tcb *t);
	/* The loss was none: cwnd and ssthresh are back to what they were. NULL: nothing to do. */
	void (*on_undo)(struct stack *st, struct tcb *t);
	/* The application was idle, cwnd starts again. NULL: nothing to do. */
	void (*on_idle)(struct stack *st, struct tcb *t, uint64_t idle_us);
	/* Every ACK, in every state, for algorithms that model the path; it may set cwnd. NULL: not wanted. */
	void (*on_rate)(struct stack *st, struct tcb *t, const struct tcp_rate_sample *rs);
};

extern const struct tcp_cc_ops tcp_cc_cubic, tcp_cc_newreno;

/* By name ("reno" is newreno); NULL: unknown. "" is the default. */
const struct tcp_cc_ops *tcp_cc_find(const char *name);
/* Names of what is built in, for TCP_CONGESTION and documents; NULL past the end. */
const char *tcp_cc_name(unsigned i);

/* Slow start (RFC 5681 §3.1 with L = 2, RFC 3465 for ACKs that cover more); returns the acked bytes left for congestion avoidance. */
static force_inline uint32_t tcp_cc_slow_start(struct tcb *t, uint32_t acked)
{
	uint32_t room = t->ssthresh > t->cwnd ? t->ssthresh - t->cwnd : 0;
	uint32_t grow = MIN(acked, room);

	t->cwnd = MIN(t->cwnd + grow, TCP_CWND_MAX);
	return acked - grow;
}

#endif

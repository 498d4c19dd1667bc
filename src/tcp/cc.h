/* cc.h - congestion control as a table of operations. A new algorithm is a file with one table, named in cc.c.
 *
 * Everything is in bytes. The engine keeps cwnd, ssthresh and recovery; an algorithm says how cwnd grows and where it falls to, or, with
 * owns_cwnd, sets cwnd itself at every ACK. Its state lives in tcb->cc_priv. Owner of the stack only.
 *
 *   who calls            what                  when
 *   conn.c               init                  handshake done; TCP_CONGESTION on a live connection
 *   ack.c                on_rate               every ACK, after the marks of this ACK (lost, recovery state) were set
 *   ack.c                on_ack                after on_rate, when data was acknowledged in order, outside recovery, and cwnd limits the sender
 *   recovery.c           ssthresh, on_state    a loss episode begins or ends
 *   recovery.c           on_undo               the loss was none
 *   output.c             on_tx_start           sending begins with nothing in flight
 *   pace.c, output.c     sets_pacing, ...      flags
 */
#ifndef GZ_TCP_CC_H
#define GZ_TCP_CC_H

#include "tcp/tcb.h"

#define TCP_IW_SEGS 10u /* RFC 6928; configuration: tcp_initial_window */
#define TCP_CWND_MIN_SEGS 2u
#define TCP_SSTHRESH_INF 0x7fffffffu
#define TCP_CWND_MAX 0x3fffffffu

/* What one ACK says about the path. The delivery-rate sample (rate.h) comes from the segment sent last among those it delivered. */
struct tcp_rate_sample {
	uint64_t prior_delivered; /* tcb->delivered when that segment left */
	uint64_t interval_us;	  /* 0: no sample */
	uint32_t delivered;	  /* bytes delivered over interval_us */
	uint32_t snd_interval_us; /* what of it was sending */
	uint32_t prior_delivered_ce;
	uint32_t rtt_us;	  /* of the newest segment delivered that was sent once; 0: none */
	uint32_t acked, sacked;	  /* bytes newly acknowledged, newly SACKed */
	uint32_t acked_sacked;	  /* bytes newly delivered: acked without what had been SACKed before, and sacked */
	uint32_t lost;		  /* bytes newly marked lost */
	uint32_t prior_pipe;	  /* bytes in flight before this ACK */
	uint32_t delivered_ce;	  /* bytes newly reported as having met CE (ecn.c) */
	bool ece;		  /* this ACK carried ECN-Echo */
	bool is_app_limited;	  /* the sender ran out of data in the interval */
	bool is_retrans;	  /* that segment had been sent more than once */
	bool is_ack_delayed;	  /* a lone small segment: the receiver may have held its ACK back */
};

struct tcp_cc_ops {
	const char *name;
	bool owns_cwnd;	  /* on_rate sets cwnd in every state; recovery leaves it alone, but for the single segment after an RTO */
	bool sets_pacing; /* the connection is paced, and on_rate sets the rate */
	bool needs_ecn;	  /* negotiate ECN whatever the configuration says (RFC 8257) */
	/* Starts from the connection as it is: also called in mid-flight by TCP_CONGESTION; cc_priv is zero. NULL: nothing to do. */
	void (*init)(struct stack *st, struct tcb *t);
	/* acked bytes left the network in order, outside fast recovery, and the sender was limited by cwnd. NULL with owns_cwnd. */
	void (*on_ack)(struct stack *st, struct tcb *t, uint32_t acked, const struct tcp_rate_sample *rs);
	/* Slow-start threshold after congestion was seen now; called once per episode, before cwnd is reduced and before t->ca_state changes. */
	uint32_t (*ssthresh)(struct stack *st, struct tcb *t);
	/* t->ca_state is about to become state (enum tcp_recovery_state). NULL: not wanted. */
	void (*on_state)(struct stack *st, struct tcb *t, uint8_t state);
	/* The loss was none: cwnd and ssthresh are back to what they were. NULL: nothing to do. */
	void (*on_undo)(struct stack *st, struct tcb *t);
	/* Sending begins, nothing is in flight: idle_us since data was last sent. Called when that is longer than the RTO, and for algorithms with on_rate
	 * always. NULL: nothing to do. */
	void (*on_tx_start)(struct stack *st, struct tcb *t, uint64_t idle_us);
	/* Every ACK, in every state. NULL: not wanted. */
	void (*on_rate)(struct stack *st, struct tcb *t, const struct tcp_rate_sample *rs);
	/* Fills union tcp_cc_info of linux/inet_diag.h for TCP_CC_INFO; returns its bytes. NULL: there is nothing to tell. */
	size_t (*get_info)(const struct tcb *t, void *out);
};

extern const struct tcp_cc_ops tcp_cc_cubic, tcp_cc_newreno, tcp_cc_bbr, tcp_cc_dctcp;

/* By name ("reno" is newreno); NULL: unknown. */
const struct tcp_cc_ops *tcp_cc_find(const char *name);
/* Names of what is built in, for TCP_CONGESTION and documents; NULL past the end. The first is the default. */
const char *tcp_cc_name(unsigned i);
/* Of sockets that do not say. */
const char *tcp_cc_default_name(const struct stack *st);

/* Slow start (RFC 5681 §3.1 with L = 2, RFC 3465 for ACKs that cover more); returns the acked bytes left for congestion avoidance. */
static force_inline uint32_t tcp_cc_slow_start(struct tcb *t, uint32_t acked)
{
	uint32_t room = t->ssthresh > t->cwnd ? t->ssthresh - t->cwnd : 0;
	uint32_t grow = MIN(acked, room);

	t->cwnd = MIN(t->cwnd + grow, TCP_CWND_MAX);
	return acked - grow;
}

#endif

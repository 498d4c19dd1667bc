/* pace.h - pacing: frames of a paced connection leave at pacing_rate, by the connection's own wheel timer; see pace.c. Called by output.c before and
 * after each frame, by timer.c, by ack.c and the congestion controls for the rate, by conn.c. Costs an unpaced connection a test of tcb->paced.
 * Owner of the stack. */
#ifndef GZ_TCP_PACE_H
#define GZ_TCP_PACE_H

#include "tcp/tcp_int.h"

#define TCP_PACE_UNLIMITED UINT64_MAX

/* Is this connection to be paced, and how fast at most: at its start, and when option or algorithm change. Once paced, for good. */
void tcp_pace_init(struct stack *st, struct tcb *t);
/* The rate for algorithms that do not set it themselves: twice the window per round trip in slow start, 1.2 times in congestion avoidance. */
void tcp_pace_update(struct tcb *t);
/* Bytes per second, within SO_MAX_PACING_RATE. */
void tcp_pace_set_rate(struct tcb *t, uint64_t bytes_per_s);
/* What TCP_INFO shows, for unpaced connections as well. */
uint64_t tcp_pacing_rate(const struct tcb *t);
/* Payload of one burst: about a millisecond of the rate, two segments at least. */
uint32_t tcp_pace_burst(const struct stack *st, const struct tcb *t);
/* Payload of one frame that the device segments, paced or not: the same of the rate that the window makes (Linux's tcp_tso_autosize()), so that a slow path
 * does not get 64 KB at once. Where min_rtt_us is below 1 << TCP_BURST_RTT_SHIFT it is no limit. */
#define TCP_BURST_RTT_SHIFT 9 /* Linux's tcp_tso_rtt_log: on short paths bursts may be longer, a queue there drains at once */
uint32_t tcp_pace_frame(const struct stack *st, const struct tcb *t);

bool tcp_pace_due(struct stack *st, struct tcb *t);
void tcp_pace_charge(struct stack *st, struct tcb *t, uint32_t bytes);

/* May a frame leave now? false: the timer is set, output comes again then. */
static force_inline bool tcp_pace_may_send(struct stack *st, struct tcb *t)
{
	return likely(!t->paced) || tcp_pace_due(st, t);
}
/* A frame with so many bytes of payload has left. */
static force_inline void tcp_pace_sent(struct stack *st, struct tcb *t, uint32_t bytes)
{
	if (unlikely(t->paced))
		tcp_pace_charge(st, t, bytes);
}
static force_inline uint64_t tcp_pace_at_us(const struct tcb *t) { return (t->pace_next_ns + 999) / 1000; }

#endif

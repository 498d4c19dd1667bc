/* cc_newreno.c - NewReno: RFC 5681 §3.1 growth with byte counting (RFC 3465), half of the flight at a loss. The recovery itself (RFC 6582,
 * RFC 6675) is recovery.c's. Named "reno" as Linux names it. */
#include "tcp/hystart.h"
#include "tcp/tcp_int.h"

struct newreno {
	uint32_t credit; /* bytes acknowledged towards the next segment of growth */
	struct hystart hystart;
};
_Static_assert(sizeof(struct newreno) <= TCP_CC_PRIV_BYTES, "fits the TCB");

static struct newreno *priv(struct tcb *t)
{
	return (struct newreno *)t->cc_priv;
}

static void newreno_init(struct stack *st, struct tcb *t)
{
	(void)st;
	priv(t)->credit = 0;
	hystart_init(t, &priv(t)->hystart);
}

static void newreno_on_ack(struct stack *st, struct tcb *t, uint32_t acked, const struct tcp_rate_sample *rs)
{
	struct newreno *p = priv(t);

	(void)st;
	if (t->cwnd < t->ssthresh) {
		acked = hystart_on_ack(t, &p->hystart, acked, rs);
		if (!acked)
			return;
	}
	/* one segment per window of acknowledged bytes (RFC 3465 §2.1) */
	p->credit += acked;
	if (p->credit >= t->cwnd) {
		p->credit -= t->cwnd;
		t->cwnd = MIN(t->cwnd + t->mss, TCP_CWND_MAX);
	}
}

/* RFC 5681 §3.1 equation (4): half of what is in flight, two segments at least */
static uint32_t newreno_ssthresh(struct stack *st, struct tcb *t)
{
	uint32_t flight = t->snd_nxt - t->snd_una;

	(void)st;
	priv(t)->credit = 0;
	priv(t)->hystart.off = true;
	return MAX(flight / 2, TCP_CWND_MIN_SEGS * t->mss);
}

const struct tcp_cc_ops tcp_cc_newreno = {
	.name = "reno",
	.init = newreno_init,
	.on_ack = newreno_on_ack,
	.ssthresh = newreno_ssthresh,
};

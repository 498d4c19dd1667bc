/* cc_cubic.c - CUBIC (RFC 9438), the default. Windows in bytes, time in seconds, in double: the arithmetic runs only when cwnd limits the sender in congestion
 * avoidance, and its rounding is then below a byte. Names of the variables as in the RFC.
 *
 *   W_cubic(t) = C (t - K)^3 + W_max        K = cbrt((W_max - cwnd_epoch) / C)        (all in segments)
 */
#include "tcp/hystart.h"
#include "tcp/tcp_int.h"

#define CUBIC_C 0.4
#define CUBIC_BETA 0.7
/* §4.3: 3 (1 - beta) / (1 + beta) */
#define CUBIC_ALPHA (3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA))

struct cubic {
	double w_max;	/* bytes: window before the last reduction */
	double w_est;	/* bytes: what Reno would have by now */
	double k;	/* seconds until w_max is reached again */
	double frac;	/* part of a byte that cwnd could not take yet */
	uint64_t epoch_us; /* start of this congestion avoidance stage; 0: none */
	uint32_t cwnd_prior; /* cwnd before the last reduction */
	uint32_t w_max_undo;
	struct hystart hystart;
};
_Static_assert(sizeof(struct cubic) <= TCP_CC_PRIV_BYTES, "fits the TCB");

static struct cubic *priv(struct tcb *t)
{
	return (struct cubic *)(void *)t->cc_priv;
}

/* Newton from above; some twenty steps, once per epoch. */
static double cube_root(double x)
{
	double r = x > 1.0 ? x : 1.0, next;

	if (x <= 0.0)
		return 0.0;
	for (int i = 0; i < 200; i++) {
		next = (2.0 * r + x / (r * r)) / 3.0;
		if (r - next < 1e-9 * r && next - r < 1e-9 * r)
			break;
		r = next;
	}
	return r;
}

static void cubic_init(struct stack *st, struct tcb *t)
{
	(void)st;
	memset(priv(t), 0, sizeof(struct cubic));
	hystart_init(t, &priv(t)->hystart);
}

/* §4.2, §4.8: a stage begins at the first ACK in congestion avoidance. */
static void start_epoch(struct tcb *t, struct cubic *p, uint64_t now_us)
{
	double mss = t->mss;

	p->epoch_us = now_us;
	p->frac = 0.0;
	p->w_est = t->cwnd;
	if (p->w_max > t->cwnd) {
		p->k = cube_root((p->w_max - t->cwnd) / mss / CUBIC_C);
	} else {
		/* after slow start without a loss W_max is unknown */
		p->k = 0.0;
		p->w_max = t->cwnd;
	}
}

static void cubic_on_ack(struct stack *st, struct tcb *t, uint32_t acked, const struct tcp_rate_sample *rs)
{
	struct cubic *p = priv(t);
	double mss = t->mss, cwnd, time, d, target, w_cubic, alpha;

	if (t->cwnd < t->ssthresh) {
		acked = hystart_on_ack(t, &p->hystart, acked, rs);
		if (!acked)
			return;
	}
	if (!p->epoch_us)
		start_epoch(t, p, st->now_us);
	cwnd = t->cwnd;
	time = (double)(st->now_us - p->epoch_us) * 1e-6;

	/* §4.3 Reno-friendly region: W_est grows by alpha segments per window, by one once it has reached the window before the loss */
	alpha = p->w_est >= p->cwnd_prior ? 1.0 : CUBIC_ALPHA;
	p->w_est += alpha * mss * acked / cwnd;
	d = time - p->k;
	w_cubic = p->w_max + CUBIC_C * mss * d * d * d;
	if (w_cubic < p->w_est) {
		if (p->w_est > cwnd)
			t->cwnd = (uint32_t)MIN(p->w_est, (double)TCP_CWND_MAX);
		return;
	}
	/* §4.4, §4.5: towards where the curve will be one round trip from now, at most half as much again */
	d += (double)t->srtt_us * 1e-6;
	target = p->w_max + CUBIC_C * mss * d * d * d;
	target = target < cwnd ? cwnd : target > 1.5 * cwnd ? 1.5 * cwnd : target;
	p->frac += (target - cwnd) * acked / cwnd;
	if (p->frac >= 1.0) {
		uint32_t whole = (uint32_t)MIN(p->frac, (double)acked + 1.0);

		p->frac -= whole;
		t->cwnd = MIN(t->cwnd + whole, TCP_CWND_MAX);
	}
}

static uint32_t cubic_ssthresh(struct stack *st, struct tcb *t)
{
	struct cubic *p = priv(t);
	double cwnd = t->cwnd;

	(void)st;
	p->epoch_us = 0;
	p->hystart.off = true; /* RFC 9406 §4.2: a loss ends it */
	p->w_max_undo = (uint32_t)p->w_max;
	p->cwnd_prior = t->cwnd;
	/* §4.7 fast convergence: a window that shrinks from loss to loss leaves room for newcomers */
	p->w_max = cwnd < p->w_max ? cwnd * (1.0 + CUBIC_BETA) / 2.0 : cwnd;
	/* §4.6 allows cwnd in place of the data in flight if it does not grow unless it is what limits the sender (ack.c), as Linux: of what is in flight the ACK
	 * that tells has taken its part already, all of it behind a loss probe */
	return (uint32_t)MAX(cwnd * CUBIC_BETA, (double)TCP_CWND_MIN_SEGS * t->mss);
}

static void cubic_on_undo(struct stack *st, struct tcb *t)
{
	struct cubic *p = priv(t);

	(void)st;
	/* §4.9 */
	p->w_max = p->w_max_undo;
	p->epoch_us = 0;
}

static void cubic_on_tx_start(struct stack *st, struct tcb *t, uint64_t idle_us)
{
	struct cubic *p = priv(t);

	(void)st;
	/* §5.8: time during which nothing was sent does not count */
	if (p->epoch_us)
		p->epoch_us += idle_us;
}

const struct tcp_cc_ops tcp_cc_cubic = {
	.name = "cubic",
	.init = cubic_init,
	.on_ack = cubic_on_ack,
	.ssthresh = cubic_ssthresh,
	.on_undo = cubic_on_undo,
	.on_tx_start = cubic_on_tx_start,
};

/* cc_dctcp.c - DCTCP (RFC 8257): where switches mark every packet above a short queue, the window is cut by how much was marked, not by half.
 *
 *   alpha = alpha (1 - g) + g F       F: marked part of the bytes delivered in the last window; g = 1/16
 *   cwnd  = cwnd (1 - alpha / 2)      once per window in which something was marked
 *
 * Growth, and the answer to losses, are NewReno's. The receiver's half (an ACK at once when marks begin or end, §3.2) and the calls at ECN-Echo
 * (ssthresh() once per window) are ecn.c's. Named "dctcp"; asks for ECN on every connection. Owner of the stack.
 */
#include "tcp/hystart.h"
#include "tcp/tcp_int.h"

#include <linux/inet_diag.h>

#define ALPHA_SHIFT 10
#define ALPHA_ONE (1u << ALPHA_SHIFT)
#define G_SHIFT 4 /* §4.2: g SHOULD be 1/16 */

struct dctcp {
	uint32_t window_end; /* one round trip of observation ends when this is acknowledged (§3.3 step 2) */
	uint32_t old_delivered, old_ce; /* at its beginning, low halves */
	uint32_t alpha;
	uint32_t credit; /* bytes acknowledged towards the next segment of growth */
	struct hystart hystart;
};
_Static_assert(sizeof(struct dctcp) <= TCP_CC_PRIV_BYTES, "fits the TCB");

static struct dctcp *priv(struct tcb *t)
{
	return (struct dctcp *)(void *)t->cc_priv;
}

static void next_window(struct tcb *t, struct dctcp *p)
{
	p->window_end = t->snd_nxt;
	p->old_delivered = (uint32_t)t->delivered;
	p->old_ce = t->delivered_ce;
}

static void dctcp_init(struct stack *st, struct tcb *t)
{
	struct dctcp *p = priv(t);

	(void)st;
	memset(p, 0, sizeof(*p));
	/* §4.2: 1, so that the first marks halve the window as long as nothing is known */
	p->alpha = ALPHA_ONE;
	next_window(t, p);
	hystart_init(t, &p->hystart);
}

static void dctcp_on_rate(struct stack *st, struct tcb *t, const struct tcp_rate_sample *rs)
{
	struct dctcp *p = priv(t);
	uint32_t delivered, ce, decay;

	(void)st;
	(void)rs;
	if (seq_lt(t->snd_una, p->window_end))
		return;
	delivered = (uint32_t)t->delivered - p->old_delivered;
	ce = t->delivered_ce - p->old_ce;
	/* at the bottom in steps of one, so that alpha reaches 0 */
	decay = p->alpha >> G_SHIFT;
	p->alpha -= MIN(decay ? decay : 1, p->alpha);
	if (ce)
		p->alpha = MIN(p->alpha + (uint32_t)(((uint64_t)ce << (ALPHA_SHIFT - G_SHIFT)) / MAX(delivered, 1u)), ALPHA_ONE);
	next_window(t, p);
}

static void dctcp_on_ack(struct stack *st, struct tcb *t, uint32_t acked, const struct tcp_rate_sample *rs)
{
	struct dctcp *p = priv(t);

	(void)st;
	if (t->cwnd < t->ssthresh) {
		acked = hystart_on_ack(t, &p->hystart, acked, rs);
		if (!acked)
			return;
	}
	p->credit += acked;
	if (p->credit >= t->cwnd) {
		p->credit -= t->cwnd;
		t->cwnd = MIN(t->cwnd + t->mss, TCP_CWND_MAX);
	}
}

/* ECN-Echo (§3.3 step 7) by alpha; a loss, which recovery.c tells by on_state() right after, by half (§3.4). */
static uint32_t dctcp_ssthresh(struct stack *st, struct tcb *t)
{
	struct dctcp *p = priv(t);
	uint64_t cut = (uint64_t)t->cwnd * p->alpha >> (ALPHA_SHIFT + 1);

	(void)st;
	p->credit = 0;
	p->hystart.off = true;
	return MAX(t->cwnd - (uint32_t)cut, TCP_CWND_MIN_SEGS * (uint32_t)t->mss);
}

static void dctcp_on_state(struct stack *st, struct tcb *t, uint8_t state)
{
	(void)st;
	if (state == TCP_CA_RECOVERY || state == TCP_CA_LOSS)
		t->ssthresh = MAX(t->cwnd / 2, TCP_CWND_MIN_SEGS * (uint32_t)t->mss);
}

static size_t dctcp_get_info(const struct tcb *t, void *out)
{
	const struct dctcp *p = (const void *)t->cc_priv;
	struct tcp_dctcp_info info = { .dctcp_enabled = 0 };

	_Static_assert(sizeof(info) <= TCP_CC_INFO_MAX, "fits");
	/* a peer without ECN: it is Reno */
	if (t->marks & TCP_MARK_ECN) {
		info.dctcp_enabled = 1;
		info.dctcp_ce_state = !!(t->marks & TCP_MARK_CE);
		info.dctcp_alpha = p->alpha;
		info.dctcp_ab_ecn = t->delivered_ce - p->old_ce;
		info.dctcp_ab_tot = (uint32_t)t->delivered - p->old_delivered;
	}
	memcpy(out, &info, sizeof(info));
	return sizeof(info);
}

const struct tcp_cc_ops tcp_cc_dctcp = {
	.name = "dctcp",
	.needs_ecn = true,
	.init = dctcp_init,
	.on_ack = dctcp_on_ack,
	.ssthresh = dctcp_ssthresh,
	.on_state = dctcp_on_state,
	.on_rate = dctcp_on_rate,
	.get_info = dctcp_get_info,
};

/* hystart.c - HyStart++ (RFC 9406 §4.2). Called by cc_cubic.c, cc_newreno.c and cc_dctcp.c while cwnd < ssthresh; owner of the stack.
 *
 * Slow start doubles the window each round until something is lost, by then up to as much again as the path holds: a queue's worth of
 * segments at once. When the lowest round trip of a round is an eighth above that of the round before (within 4 to 16 ms), a queue is building:
 * conservative slow start grows by a quarter of the speed for five rounds more, and goes back if the round trip does, because it was only jitter.
 *
 * Not Linux's first HyStart: its "ACK train" takes ACKs that come in one clump for a full pipe, and a single late round ends slow
 * start for good. On paths with jitter, and with receivers that join segments, it leaves slow start far too early.
 *
 * DEVIATION(RFC 9406 §4.2): L, the most that one ACK may grow the window by, is not 8 segments but all that it acknowledges, as in Linux: receivers that
 * join segments, ours among them, acknowledge a whole burst with one ACK.
 */
#include "tcp/hystart.h"
#include "tcp/tcp_int.h"

/* §4.3 */
#define MIN_RTT_THRESH_US 4000u
#define MAX_RTT_THRESH_US 16000u
#define MIN_RTT_DIVISOR 8u
#define N_RTT_SAMPLE 8u
#define CSS_GROWTH_DIVISOR 4u
#define CSS_ROUNDS 5u

void hystart_init(const struct tcb *t, struct hystart *h)
{
	memset(h, 0, sizeof(*h));
	h->window_end = t->snd_nxt;
	/* §4.3: only in the first slow start, when nothing is known of the path */
	h->off = t->ssthresh < TCP_SSTHRESH_INF;
}

static void next_round(struct tcb *t, struct hystart *h)
{
	h->last_min_us = h->this_min_us;
	h->this_min_us = 0;
	h->samples = 0;
	h->window_end = t->snd_nxt;
	if (h->baseline_us && ++h->css_rounds > CSS_ROUNDS) {
		/* congestion avoidance from here */
		t->ssthresh = t->cwnd;
		h->off = true;
	}
}

static void judge(struct hystart *h)
{
	uint32_t thresh;

	if (h->samples < N_RTT_SAMPLE || !h->this_min_us)
		return;
	if (h->baseline_us) {
		if (h->this_min_us < h->baseline_us)
			h->baseline_us = 0; /* the round trip had risen for another reason */
		return;
	}
	if (!h->last_min_us)
		return;
	thresh = MAX(MIN_RTT_THRESH_US, MIN(h->last_min_us / MIN_RTT_DIVISOR, MAX_RTT_THRESH_US));
	if (h->this_min_us >= h->last_min_us + thresh) {
		h->baseline_us = h->this_min_us;
		h->css_rounds = 1;
	}
}

uint32_t hystart_on_ack(struct tcb *t, struct hystart *h, uint32_t acked, const struct tcp_rate_sample *rs)
{
	uint32_t grow = acked;

	if (h->off)
		return tcp_cc_slow_start(t, acked);
	if (rs->rtt_us) {
		h->this_min_us = h->this_min_us ? MIN(h->this_min_us, rs->rtt_us) : rs->rtt_us;
		h->samples = (uint8_t)MIN(h->samples + 1u, N_RTT_SAMPLE);
	}
	judge(h);
	if (h->baseline_us) {
		grow = (acked + h->frac) / CSS_GROWTH_DIVISOR;
		h->frac = (uint8_t)((acked + h->frac) % CSS_GROWTH_DIVISOR);
	}
	t->cwnd = MIN(t->cwnd + grow, TCP_CWND_MAX);
	/* the ACK that covers window_end ends the round; what it measured belonged to it */
	if (seq_ge(t->snd_una, h->window_end))
		next_round(t, h);
	return 0;
}

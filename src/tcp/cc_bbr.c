/* cc_bbr.c - BBR version 1, as Linux's tcp_bbr behaves: a model of the path, made of the highest delivery rate of ten round trips and the lowest
 * round-trip time of ten seconds, paces the sender and bounds what is in flight. draft-cardwell-iccrg-bbr-congestion-control-00 and
 * Linux's additions: the long-term estimate behind a policer, and room for acknowledgements that come in clumps.
 *
 *   STARTUP   gain 2.89 until the rate has not grown by a quarter in three rounds
 *   DRAIN     gain 1/2.89 until what is in flight fits the path
 *   PROBE_BW  eight phases of a round trip: 1.25, 0.75, then six of 1
 *   PROBE_RTT every ten seconds without a new lowest round trip: four segments for 200 ms
 *
 * on_rate, at every ACK: the model, the state, then pacing rate and cwnd. Loss changes the model only where it stands for a policer; in the
 * first round of a recovery as much is sent as is delivered. Called by ack.c, recovery.c, output.c through the table; sets the rate of pace.c.
 *
 * Rates are kept in units of 16 bytes per second in 32 bits: 550 Gbit/s at most, a step of 0.1 % at 128 kbit/s. Gains are in 1/256.
 * Windows are in bytes, so that Linux's rounding to whole, and to even, numbers of segments has no counterpart.
 */
#include "tcp/pace.h"

#include <linux/inet_diag.h>

enum bbr_mode { STARTUP, DRAIN, PROBE_BW, PROBE_RTT };

#define US_IN_MS 1000u
#define BW_SHIFT 4
#define UNIT 256u
#define HIGH_GAIN (UNIT * 2885 / 1000 + 1) /* 2 / ln 2: the least that doubles the rate each round */
#define DRAIN_GAIN (UNIT * 1000 / 2885)
#define CWND_GAIN (UNIT * 2)
#define CYCLE_LEN 8u
#define BW_ROUNDS (CYCLE_LEN + 2)
#define MIN_RTT_WIN_MS 10000u
#define PROBE_RTT_MS 200u
#define PACING_PERCENT 99u /* a little less than the estimate, so that queues drain */
#define CWND_MIN_SEGS 4u
#define FULL_BW_ROUNDS 3u
#define NO_RTT UINT32_MAX
/* long-term (policer) sampling: intervals of 4 to 16 rounds with 20 % lost, two of them within 1/8 or 4 kbit/s; used for 48 rounds */
#define LT_MIN_ROUNDS 4u
#define LT_LOSS_THRESH 50u /* of 256 */
#define LT_BW_DIFF 500u	   /* bytes per second */
#define LT_MAX_ROUNDS 48u
/* aggregation of ACKs */
#define EXTRA_WIN_ROUNDS 5u
#define EXTRA_MAX_US 100000u
#define EPOCH_MAX_BYTES 0x40000000u

struct bbr {
	struct {
		uint32_t round, bw;
	} max[3]; /* windowed maximum of the delivery rate: best, second and third best, each later than the one before */
	uint32_t min_rtt_us, min_rtt_ms; /* value and when it was measured */
	uint32_t probe_rtt_done_ms;	 /* valid with probe_rtt_timed */
	uint32_t rounds, next_round;	 /* a round ends when what was delivered passes next_round (low half) */
	uint32_t prior_cwnd;
	uint32_t full_bw;
	uint32_t epoch_acked; /* aggregation: so many bytes came since epoch_us */
	uint64_t cycle_us;
	uint64_t epoch_us;
	uint32_t extra_acked[2];
	uint32_t lt_bw, lt_delivered, lt_ms, lt_lost;
	uint8_t mode : 2, cycle : 3, extra_idx : 1, full_bw_reached : 1, round_start : 1;
	uint8_t conserve : 1, seen_rtt : 1, idle_restart : 1, probe_rtt_timed : 1, probe_rtt_round_done : 1, lt_sampling : 1;
	uint8_t full_bw_count : 2, extra_rounds : 5, lt_use : 1;
	uint8_t lt_rounds;
	uint8_t prev_ca_state;
};
_Static_assert(sizeof(struct bbr) <= TCP_CC_PRIV_BYTES, "fits the TCB");

static const uint16_t cycle_gain[CYCLE_LEN] = { UNIT * 5 / 4, UNIT * 3 / 4, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT };

static struct bbr *priv(struct tcb *t)
{
	return (struct bbr *)(void *)t->cc_priv;
}

/* --- the model, read --- */

static uint32_t max_bw(const struct bbr *b) { return b->max[0].bw; }
static uint32_t bw(const struct bbr *b) { return b->lt_use ? b->lt_bw : max_bw(b); }
static uint64_t bytes_per_s(uint32_t bw16) { return (uint64_t)bw16 << BW_SHIFT; }
static uint64_t bytes_in(uint32_t bw16, uint64_t us) { return bytes_per_s(bw16) * us / US_PER_S; }

static uint32_t bw_of(uint64_t bytes, uint64_t us)
{
	return (uint32_t)MIN((bytes * US_PER_S / us) >> BW_SHIFT, UINT32_MAX);
}

static unsigned pacing_gain(const struct bbr *b)
{
	switch ((enum bbr_mode)b->mode) {
	case STARTUP:
		return HIGH_GAIN;
	case DRAIN:
		return DRAIN_GAIN;
	case PROBE_BW:
		return b->lt_use ? UNIT : cycle_gain[b->cycle];
	case PROBE_RTT:
		break;
	}
	return UNIT;
}

static unsigned cwnd_gain(const struct bbr *b)
{
	return b->mode == PROBE_BW ? CWND_GAIN : b->mode == PROBE_RTT ? UNIT : HIGH_GAIN;
}

static uint64_t bdp(const struct stack *st, const struct tcb *t, const struct bbr *b, uint32_t rate, unsigned gain)
{
	if (b->min_rtt_us == NO_RTT)
		return tcp_initial_cwnd(st, t);
	return bytes_in(rate, b->min_rtt_us) * gain / UNIT;
}

/* Room for the bursts that are under way in sender, path and receiver at once. */
static uint64_t with_bursts(const struct stack *st, const struct tcb *t, const struct bbr *b, uint64_t cwnd)
{
	cwnd += 3 * tcp_pace_burst(st, t);
	/* on the smallest paths a gain of 1.25 must be at least one segment more */
	if (b->mode == PROBE_BW && b->cycle == 0)
		cwnd += 2 * (uint32_t)t->mss;
	return cwnd;
}

static uint64_t inflight_for(const struct stack *st, const struct tcb *t, const struct bbr *b, uint32_t rate, unsigned gain)
{
	return with_bursts(st, t, b, bdp(st, t, b, rate, gain));
}

/* What will be in the network when the next burst leaves. */
static uint64_t in_net_at_next(const struct stack *st, const struct tcb *t, const struct bbr *b, uint32_t inflight_now)
{
	uint64_t now_ns = st->now_us * 1000, wait_us = t->pace_next_ns > now_ns ? (t->pace_next_ns - now_ns) / 1000 : 0;
	uint64_t leaves = bytes_in(bw(b), wait_us), then = inflight_now;

	if (pacing_gain(b) > UNIT)
		then += tcp_pace_burst(st, t);
	return leaves >= then ? 0 : then - leaves;
}

/* --- pacing and window --- */

static uint64_t rate_with_gain(uint32_t rate, unsigned gain)
{
	return bytes_per_s(rate) * gain / UNIT * PACING_PERCENT / 100;
}

/* Before the first sample: the initial window in a round trip, or in a millisecond. */
static void pacing_from_rtt(struct tcb *t, struct bbr *b)
{
	uint32_t rtt_us = 1000;

	if (t->srtt_us) {
		rtt_us = t->srtt_us;
		b->seen_rtt = 1;
	}
	tcp_pace_set_rate(t, rate_with_gain(bw_of(t->cwnd, rtt_us), HIGH_GAIN));
}

static void set_pacing(struct tcb *t, struct bbr *b)
{
	uint64_t rate = rate_with_gain(bw(b), pacing_gain(b));

	if (unlikely(!b->seen_rtt && t->srtt_us))
		pacing_from_rtt(t, b);
	/* STARTUP does not slow down for samples that are still growing */
	if (b->full_bw_reached || rate > t->pacing_rate)
		tcp_pace_set_rate(t, rate);
}

static void save_cwnd(struct tcb *t, struct bbr *b)
{
	if (b->prev_ca_state < TCP_CA_RECOVERY && b->mode != PROBE_RTT)
		b->prior_cwnd = t->cwnd;
	else
		b->prior_cwnd = MAX(b->prior_cwnd, t->cwnd);
}

/* In the first round of a recovery as much leaves as was delivered, afterwards twice that at most; then the old window is right again. */
static bool window_of_recovery(struct tcb *t, struct bbr *b, const struct tcp_rate_sample *rs, uint64_t *cwnd)
{
	uint32_t pipe = tcp_pipe(t);
	uint8_t was = b->prev_ca_state, is = t->ca_state;

	if (rs->lost)
		*cwnd = *cwnd > rs->lost + t->mss ? *cwnd - rs->lost : t->mss;
	if (is == TCP_CA_RECOVERY && was != TCP_CA_RECOVERY) {
		b->conserve = 1;
		b->next_round = (uint32_t)t->delivered;
		*cwnd = pipe + rs->acked_sacked;
	} else if (was >= TCP_CA_RECOVERY && is < TCP_CA_RECOVERY) {
		*cwnd = MAX(*cwnd, b->prior_cwnd);
		b->conserve = 0;
	}
	b->prev_ca_state = is;
	if (!b->conserve)
		return false;
	*cwnd = MAX(*cwnd, (uint64_t)pipe + rs->acked_sacked);
	return true;
}

static void set_cwnd(struct stack *st, struct tcb *t, struct bbr *b, const struct tcp_rate_sample *rs)
{
	uint64_t cwnd = t->cwnd, target;

	if (rs->acked_sacked && !window_of_recovery(t, b, rs, &cwnd)) {
		target = bdp(st, t, b, bw(b), cwnd_gain(b));
		if (b->full_bw_reached)
			target += MIN(MAX(b->extra_acked[0], b->extra_acked[1]), bytes_in(bw(b), EXTRA_MAX_US));
		target = with_bursts(st, t, b, target);
		if (b->full_bw_reached)
			cwnd = MIN(cwnd + rs->acked_sacked, target);
		else if (cwnd < target || t->delivered < tcp_initial_cwnd(st, t))
			cwnd += rs->acked_sacked;
		cwnd = MAX(cwnd, CWND_MIN_SEGS * t->mss);
	}
	if (b->mode == PROBE_RTT)
		cwnd = MIN(cwnd, CWND_MIN_SEGS * t->mss);
	t->cwnd = (uint32_t)MIN(cwnd, TCP_CWND_MAX);
}

/* --- the long-term estimate: a token bucket lets everything through for a while and then drops what exceeds its rate --- */

static void lt_interval(struct tcb *t, struct bbr *b)
{
	b->lt_ms = (uint32_t)(t->delivered_us / US_IN_MS);
	b->lt_delivered = (uint32_t)t->delivered;
	b->lt_lost = t->lost_bytes;
	b->lt_rounds = 0;
}

static void lt_reset(struct tcb *t, struct bbr *b)
{
	b->lt_bw = 0;
	b->lt_use = 0;
	b->lt_sampling = 0;
	lt_interval(t, b);
}

static void enter_probe_bw(struct stack *st, struct tcb *t, struct bbr *b);

static void lt_sample(struct stack *st, struct tcb *t, struct bbr *b, uint32_t lost_now, bool app_limited)
{
	uint32_t lost, delivered, ms, rate, diff;

	if (b->lt_use) {
		/* policers come and go */
		if (b->mode == PROBE_BW && b->round_start && ++b->lt_rounds >= LT_MAX_ROUNDS) {
			lt_reset(t, b);
			enter_probe_bw(st, t, b);
		}
		return;
	}
	if (!b->lt_sampling) {
		/* begins at a loss: then the bucket is empty */
		if (!lost_now)
			return;
		lt_interval(t, b);
		b->lt_sampling = 1;
	}
	if (app_limited) {
		lt_reset(t, b);
		return;
	}
	if (b->round_start)
		b->lt_rounds++;
	if (b->lt_rounds < LT_MIN_ROUNDS)
		return;
	if (b->lt_rounds > 4 * LT_MIN_ROUNDS) {
		lt_reset(t, b);
		return;
	}
	/* ends at one as well */
	if (!lost_now)
		return;
	lost = t->lost_bytes - b->lt_lost;
	delivered = (uint32_t)t->delivered - b->lt_delivered;
	if (!delivered || (uint64_t)lost * UNIT < (uint64_t)LT_LOSS_THRESH * delivered)
		return;
	ms = (uint32_t)(t->delivered_us / US_IN_MS) - b->lt_ms;
	if ((int32_t)ms < 1)
		return;
	rate = bw_of(delivered, (uint64_t)ms * US_IN_MS);
	if (b->lt_bw) {
		diff = rate > b->lt_bw ? rate - b->lt_bw : b->lt_bw - rate;
		if (diff <= b->lt_bw / 8 || bytes_per_s(diff) <= LT_BW_DIFF) {
			b->lt_bw = (uint32_t)(((uint64_t)rate + b->lt_bw) / 2);
			b->lt_use = 1;
			b->lt_rounds = 0;
			return;
		}
	}
	b->lt_bw = rate;
	lt_interval(t, b);
}

/* --- the model, updated --- */

/* Windowed maximum in constant space: the best of the window, the best since then, the best since that. */
static void max_update(struct bbr *b, uint32_t rate)
{
	uint32_t now = b->rounds, age;

	if (rate >= b->max[0].bw || now - b->max[2].round > BW_ROUNDS) {
		for (unsigned i = 0; i < 3; i++) {
			b->max[i].round = now;
			b->max[i].bw = rate;
		}
		return;
	}
	for (unsigned i = 1; i < 3; i++) {
		if (rate >= b->max[i].bw) {
			for (unsigned j = i; j < 3; j++) {
				b->max[j].round = now;
				b->max[j].bw = rate;
			}
			break;
		}
	}
	age = now - b->max[0].round;
	if (age > BW_ROUNDS) {
		/* the best left the window; the second takes over, which may be too old as well */
		for (unsigned n = 0; n < 2 && now - b->max[0].round > BW_ROUNDS; n++) {
			b->max[0] = b->max[1];
			b->max[1] = b->max[2];
			b->max[2].round = now;
			b->max[2].bw = rate;
		}
	} else if (b->max[1].round == b->max[0].round && age > BW_ROUNDS / 4) {
		/* a quarter of the window without a second: keep one of this time, lest the maximum fall to nothing later */
		b->max[1].round = b->max[2].round = now;
		b->max[1].bw = b->max[2].bw = rate;
	} else if (b->max[2].round == b->max[1].round && age > BW_ROUNDS / 2) {
		b->max[2].round = now;
		b->max[2].bw = rate;
	}
}

static void update_bw(struct stack *st, struct tcb *t, struct bbr *b, const struct tcp_rate_sample *rs)
{
	uint32_t rate;

	b->round_start = 0;
	if (!rs->interval_us)
		return;
	if ((int32_t)((uint32_t)rs->prior_delivered - b->next_round) >= 0) {
		b->next_round = (uint32_t)t->delivered;
		b->rounds++;
		b->round_start = 1;
		b->conserve = 0;
	}
	lt_sample(st, t, b, rs->lost, rs->is_app_limited);
	rate = bw_of(rs->delivered, rs->interval_us);
	/* what the application did not send says nothing against the path */
	if (!rs->is_app_limited || rate >= max_bw(b))
		max_update(b, rate);
}

/* How much more than the rate explains came in one stretch: without room for it the sender would stall between clumps of ACKs. */
static void update_aggregation(struct tcb *t, struct bbr *b, const struct tcp_rate_sample *rs)
{
	uint64_t expected;
	uint32_t extra;

	if (!rs->acked_sacked || !rs->interval_us)
		return;
	if (b->round_start) {
		b->extra_rounds = (uint8_t)MIN(b->extra_rounds + 1u, 31u) & 31;
		if (b->extra_rounds >= EXTRA_WIN_ROUNDS) {
			b->extra_rounds = 0;
			b->extra_idx ^= 1;
			b->extra_acked[b->extra_idx] = 0;
		}
	}
	expected = bytes_in(bw(b), t->delivered_us - b->epoch_us);
	if (b->epoch_acked <= expected || b->epoch_acked + rs->acked_sacked >= EPOCH_MAX_BYTES) {
		b->epoch_acked = 0;
		b->epoch_us = t->delivered_us;
		expected = 0;
	}
	b->epoch_acked += rs->acked_sacked;
	extra = (uint32_t)MIN(b->epoch_acked - expected, t->cwnd);
	b->extra_acked[b->extra_idx] = MAX(b->extra_acked[b->extra_idx], extra);
}

static void next_phase(struct tcb *t, struct bbr *b)
{
	b->cycle = (b->cycle + 1) & (CYCLE_LEN - 1);
	b->cycle_us = t->delivered_us;
}

/* Any phase but 0.75 may be the first, lest flows that start together probe together. */
static void enter_probe_bw(struct stack *st, struct tcb *t, struct bbr *b)
{
	uint32_t r = (t->hash ^ (uint32_t)st->now_us) * 0x9e3779b1u;

	b->mode = PROBE_BW;
	b->cycle = (CYCLE_LEN - 1 - (uint32_t)(((uint64_t)r * (CYCLE_LEN - 1)) >> 32)) & (CYCLE_LEN - 1);
	next_phase(t, b);
}

static void update_cycle(struct stack *st, struct tcb *t, struct bbr *b, const struct tcp_rate_sample *rs)
{
	bool over = t->delivered_us - b->cycle_us > b->min_rtt_us;
	unsigned gain = pacing_gain(b);

	if (b->mode != PROBE_BW)
		return;
	if (gain > UNIT) /* until the queue, if there is one, shows it */
		over = over && (rs->lost || in_net_at_next(st, t, b, rs->prior_pipe) >= inflight_for(st, t, b, max_bw(b), gain));
	else if (gain < UNIT) /* until the queue of the phase before is gone */
		over = over || in_net_at_next(st, t, b, rs->prior_pipe) <= inflight_for(st, t, b, max_bw(b), UNIT);
	if (over)
		next_phase(t, b);
}

static void check_full_bw(struct bbr *b, const struct tcp_rate_sample *rs)
{
	if (b->full_bw_reached || !b->round_start || rs->is_app_limited)
		return;
	if ((uint64_t)max_bw(b) * 4 >= (uint64_t)b->full_bw * 5) {
		b->full_bw = max_bw(b);
		b->full_bw_count = 0;
		return;
	}
	b->full_bw_reached = ++b->full_bw_count >= FULL_BW_ROUNDS;
}

static void check_drain(struct stack *st, struct tcb *t, struct bbr *b)
{
	if (b->mode == STARTUP && b->full_bw_reached) {
		b->mode = DRAIN;
		t->ssthresh = (uint32_t)MIN(inflight_for(st, t, b, max_bw(b), UNIT), TCP_SSTHRESH_INF);
	}
	if (b->mode == DRAIN && in_net_at_next(st, t, b, tcp_pipe(t)) <= inflight_for(st, t, b, max_bw(b), UNIT))
		enter_probe_bw(st, t, b);
}

static void probe_rtt_done(struct stack *st, struct tcb *t, struct bbr *b)
{
	if (!b->probe_rtt_timed || (int32_t)(tcp_now_ms(st) - b->probe_rtt_done_ms) <= 0)
		return;
	b->min_rtt_ms = tcp_now_ms(st);
	t->cwnd = MAX(t->cwnd, b->prior_cwnd);
	if (b->full_bw_reached)
		enter_probe_bw(st, t, b);
	else
		b->mode = STARTUP;
}

static void update_min_rtt(struct stack *st, struct tcb *t, struct bbr *b, const struct tcp_rate_sample *rs)
{
	uint32_t now = tcp_now_ms(st), pipe = tcp_pipe(t);
	bool expired = (int32_t)(now - b->min_rtt_ms - MIN_RTT_WIN_MS) > 0;

	if (rs->rtt_us && (rs->rtt_us < b->min_rtt_us || (expired && !rs->is_ack_delayed))) {
		b->min_rtt_us = rs->rtt_us;
		b->min_rtt_ms = now;
	}
	if (expired && !b->idle_restart && b->mode != PROBE_RTT) {
		save_cwnd(t, b);
		b->mode = PROBE_RTT;
		b->probe_rtt_timed = 0;
	}
	if (b->mode == PROBE_RTT) {
		uint32_t until = (uint32_t)t->delivered + pipe;

		/* samples of this time are below what the path can do */
		t->app_limited = until ? until : 1;
		if (!b->probe_rtt_timed && pipe <= CWND_MIN_SEGS * t->mss) {
			b->probe_rtt_done_ms = now + PROBE_RTT_MS;
			b->probe_rtt_timed = 1;
			b->probe_rtt_round_done = 0;
			b->next_round = (uint32_t)t->delivered;
		} else if (b->probe_rtt_timed) {
			if (b->round_start)
				b->probe_rtt_round_done = 1;
			if (b->probe_rtt_round_done)
				probe_rtt_done(st, t, b);
		}
	}
	if (rs->interval_us && rs->delivered)
		b->idle_restart = 0;
}

/* --- the table --- */

static void bbr_on_rate(struct stack *st, struct tcb *t, const struct tcp_rate_sample *rs)
{
	struct bbr *b = priv(t);

	update_bw(st, t, b, rs);
	update_aggregation(t, b, rs);
	update_cycle(st, t, b, rs);
	check_full_bw(b, rs);
	check_drain(st, t, b);
	update_min_rtt(st, t, b, rs);
	set_pacing(t, b);
	set_cwnd(st, t, b, rs);
}

static void bbr_init(struct stack *st, struct tcb *t)
{
	struct bbr *b = priv(t);

	memset(b, 0, sizeof(*b));
	t->ssthresh = TCP_SSTHRESH_INF;
	b->next_round = (uint32_t)t->delivered;
	b->prev_ca_state = t->ca_state;
	b->min_rtt_us = t->min_rtt_us ? t->min_rtt_us : NO_RTT;
	b->min_rtt_ms = tcp_now_ms(st);
	b->epoch_us = st->now_us;
	pacing_from_rtt(t, b);
	lt_reset(t, b);
	b->mode = STARTUP;
}

/* Loss does not say what the path can carry: the threshold stays. */
static uint32_t bbr_ssthresh(struct stack *st, struct tcb *t)
{
	(void)st;
	save_cwnd(t, priv(t));
	return t->ssthresh;
}

static void bbr_on_state(struct stack *st, struct tcb *t, uint8_t state)
{
	struct bbr *b = priv(t);

	if (state != TCP_CA_LOSS)
		return;
	/* a timeout ends the round; what the path carries is to be found again */
	b->prev_ca_state = TCP_CA_LOSS;
	b->full_bw = 0;
	b->round_start = 1;
	lt_sample(st, t, b, 1, false);
}

static void bbr_on_undo(struct stack *st, struct tcb *t)
{
	struct bbr *b = priv(t);

	(void)st;
	b->full_bw = 0;
	b->full_bw_count = 0;
	lt_reset(t, b);
}

static void bbr_on_tx_start(struct stack *st, struct tcb *t, uint64_t idle_us)
{
	struct bbr *b = priv(t);

	(void)idle_us;
	if (!t->app_limited)
		return;
	b->idle_restart = 1;
	b->epoch_us = st->now_us;
	b->epoch_acked = 0;
	/* at the path's rate, not at that of the phase that was interrupted */
	if (b->mode == PROBE_BW)
		tcp_pace_set_rate(t, rate_with_gain(bw(b), UNIT));
	else if (b->mode == PROBE_RTT)
		probe_rtt_done(st, t, b);
}

static size_t bbr_get_info(const struct tcb *t, void *out)
{
	const struct bbr *b = (const void *)t->cc_priv;
	uint64_t rate = bytes_per_s(bw(b));
	struct tcp_bbr_info info = {
		.bbr_bw_lo = (uint32_t)rate,
		.bbr_bw_hi = (uint32_t)(rate >> 32),
		.bbr_min_rtt = b->min_rtt_us,
		.bbr_pacing_gain = pacing_gain(b),
		.bbr_cwnd_gain = cwnd_gain(b),
	};

	_Static_assert(sizeof(info) <= TCP_CC_INFO_MAX, "fits");
	memcpy(out, &info, sizeof(info));
	return sizeof(info);
}

const struct tcp_cc_ops tcp_cc_bbr = {
	.name = "bbr",
	.owns_cwnd = true,
	.sets_pacing = true,
	.init = bbr_init,
	.ssthresh = bbr_ssthresh,
	.on_state = bbr_on_state,
	.on_undo = bbr_on_undo,
	.on_tx_start = bbr_on_tx_start,
	.on_rate = bbr_on_rate,
	.get_info = bbr_get_info,
};

/* pace.c - see pace.h. Linux's internal pacing (the rules of its fq without fq): BBR always, others once SO_MAX_PACING_RATE was set or when
 * `tcp_pacing` says so.
 *
 * A burst of about a millisecond leaves at once, and each byte of it moves pace_next_ns by what it takes at pacing_rate; the next burst
 * waits for that time. Time is kept in nanoseconds: a segment takes 120 of them at 100 Gbit/s. A round that comes late sends a little sooner
 * afterwards (half a frame at most), so that the wheel's and the scheduler's lateness does not lower the rate; time in which there
 * was nothing to send is no credit. The first ten segments are not paced, a retransmission by time-out never waits.
 *
 * The division is paid by paced connections alone, once a frame.
 */
#include "tcp/pace.h"

#define FREE_SEGS 10u	      /* Linux: the initial window leaves in one burst */
#define BURST_SHIFT 10	      /* 1/1024 s */
#define MIN_SEGS 2u
#define SLOW_RATE 150000u     /* bytes per second: below 1.2 Mbit/s one segment is a burst */
#define SS_PERCENT 200u	      /* tcp_pacing_ss_ratio, tcp_pacing_ca_ratio */
#define CA_PERCENT 120u

static uint64_t max_rate(const struct tcb *t)
{
	return sock_of_tcb(t)->opt.max_pacing_rate;
}

void tcp_pace_init(struct stack *st, struct tcb *t)
{
	if (t->cc->sets_pacing || st->tcp->conf.pacing || max_rate(t) != TCP_PACE_UNLIMITED)
		t->paced = 1;
	if (!t->paced)
		return;
	if (t->cc->sets_pacing)
		t->pacing_rate = MIN(t->pacing_rate, max_rate(t));
	else
		tcp_pace_update(t);
}

static uint64_t window_rate(const struct tcb *t)
{
	uint64_t window = MAX(t->cwnd, t->snd_nxt - t->snd_una);

	if (!t->srtt_us)
		return TCP_PACE_UNLIMITED;
	/* Linux: the lower ratio from half of ssthresh on, so that the last doubling does not overshoot */
	return window * (t->cwnd < t->ssthresh / 2 ? SS_PERCENT : CA_PERCENT) * (US_PER_S / 100) / t->srtt_us;
}

void tcp_pace_update(struct tcb *t)
{
	if (!t->cc->sets_pacing)
		tcp_pace_set_rate(t, window_rate(t));
}

void tcp_pace_set_rate(struct tcb *t, uint64_t bytes_per_s)
{
	t->pacing_rate = MIN(bytes_per_s, max_rate(t));
}

uint64_t tcp_pacing_rate(const struct tcb *t)
{
	return t->paced ? t->pacing_rate : t->srtt_us ? window_rate(t) : 0;
}

/* About a millisecond of `rate`, more where the round trip is short. */
static uint32_t burst_of(const struct stack *st, const struct tcb *t, uint64_t rate, uint32_t min_segs)
{
	uint64_t bytes = rate >> BURST_SHIFT;
	uint32_t most = st->nd->tso_max_bytes ? MIN(st->nd->tso_max_bytes, NETDEV_TSO_MAX) : NETDEV_TSO_MAX;
	uint32_t r = t->min_rtt_us >> TCP_BURST_RTT_SHIFT;

	if (t->min_rtt_us && r < 32)
		bytes += NETDEV_TSO_MAX >> r;
	return MAX((uint32_t)MIN(bytes, most), t->mss * min_segs);
}

uint32_t tcp_pace_burst(const struct stack *st, const struct tcb *t)
{
	return burst_of(st, t, t->pacing_rate, t->pacing_rate < SLOW_RATE ? 1 : MIN_SEGS);
}

cold_path uint32_t tcp_pace_frame(const struct stack *st, const struct tcb *t)
{
	uint64_t rate = tcp_pacing_rate(t);

	return burst_of(st, t, rate ? rate : TCP_PACE_UNLIMITED, st->tcp->conf.min_tso_segs);
}

bool tcp_pace_due(struct stack *st, struct tcb *t)
{
	uint64_t at_us = tcp_pace_at_us(t);

	if (at_us <= st->now_us) {
		t->pace_wait = 0;
		t->pace_left = tcp_pace_burst(st, t);
		return true;
	}
	if (t->pace_left)
		return true;
	t->pace_wait = 1;
	if (!wheel_is_armed(&t->timer) || at_us < t->timer.expires_us)
		wheel_arm(&st->wheel, &t->timer, at_us);
	return false;
}

void tcp_pace_charge(struct stack *st, struct tcb *t, uint32_t bytes)
{
	uint64_t now_ns = st->now_us * 1000, at = MAX(t->pace_next_ns, now_ns), late = at - t->pace_next_ns, takes;

	t->pace_left -= MIN(bytes, t->pace_left);
	t->pace_next_ns = at;
	if (t->bytes_sent <= FREE_SEGS * (uint64_t)t->mss || !t->pacing_rate || t->pacing_rate == TCP_PACE_UNLIMITED)
		return;
	takes = (uint64_t)bytes * NS_PER_S / t->pacing_rate;
	t->pace_next_ns += takes - MIN(takes / 2, late);
}

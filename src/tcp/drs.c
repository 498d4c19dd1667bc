/* drs.c - the receive window: what is offered (RFC 9293 §3.8.6.2.2), and buffers that follow the path's bandwidth-delay product as Linux's
 * dynamic right-sizing does; the send buffer follows cwnd. Called by output (window), input (tuning), ack; owner of the stack.
 */
#include "tcp/tcp_int.h"

uint8_t tcp_choose_wscale(const struct stack *st, const struct sock *s)
{
	uint32_t space = atomic_load_explicit(&s->rcvbuf, memory_order_relaxed);
	uint8_t scale = 0;

	/* a scale cannot change later: room for what tuning may reach */
	if (!s->opt.rcvbuf_fixed)
		space = MAX(space, st->tcp->conf.rcvbuf_max);
	if (s->opt.window_clamp)
		space = MIN(space, s->opt.window_clamp);
	while (scale < TCP_WSCALE_MAX && space > 65535u << scale)
		scale++;
	return scale;
}

static force_inline uint32_t space_of(const struct stack *st, const struct sock *s)
{
	uint32_t space = sock_up_rcv_space(s);

	/* Linux's tcp_adjust_rcv_ssthresh() under pressure: four segments, whatever the buffer is */
	if (unlikely(st->mem_level))
		space = MIN(space, 4u * s->tcb.mss_offered);
	return unlikely(s->opt.window_clamp) ? MIN(space, s->opt.window_clamp) : space;
}

uint32_t tcp_initial_window(const struct sock *s, uint32_t mss)
{
	uint32_t space = sock_up_rcv_space(s);

	if (unlikely(s->opt.window_clamp))
		space = MIN(space, s->opt.window_clamp);
	/* whole segments, as Linux */
	return MIN(space > mss ? space - space % mss : space, 65535u);
}

uint16_t tcp_window_to_send(struct stack *st, struct tcb *t)
{
	const struct sock *s = sock_of_tcb(t);
	uint32_t space = space_of(st, s), cur = tcp_rcv_wnd(t), unit = 1u << t->rcv_wscale, field;

	/* the right edge moves by a segment or half the buffer at least, never by crumbs, and never left */
	if (space > cur && space - cur >= MIN((uint32_t)t->mss_offered,
					      atomic_load_explicit(&s->rcvbuf, memory_order_relaxed) / 2))
		cur = MAX(space & ~(unit - 1), cur);
	/* rounding up covers what was offered before; down would take it back */
	field = MIN((cur + unit - 1) >> t->rcv_wscale, 0xffffu);
	t->rcv_adv = seq_max(t->rcv_adv, t->rcv_nxt + (field << t->rcv_wscale));
	return (uint16_t)field;
}

void tcp_on_read(struct stack *st, struct tcb *t)
{
	uint32_t cur = tcp_rcv_wnd(t), space;

	if (t->state != TCPS_ESTABLISHED && t->state != TCPS_FIN_WAIT_1 && t->state != TCPS_FIN_WAIT_2)
		return; /* no data will come */
	space = space_of(st, sock_of_tcb(t));
	/* Linux's rule: an ACK of its own only when the window doubles; otherwise the next one tells */
	if (space >= 2 * cur && space - cur >= MIN((uint32_t)t->mss_offered, space / 2))
		tcp_mark_output(st, t, TCP_OUT_ACK_NOW);
}

void tcp_drs_init(struct stack *st, struct tcb *t)
{
	const struct sock *s = sock_of_tcb(t);

	t->drs_at_us = t->drs_rtt_at_us = st->now_us;
	t->drs_rtt_seq = t->rcv_nxt + tcp_rcv_wnd(t);
	t->drs_rtt_us = 0;
	t->drs_read = atomic_load_explicit(&s->rx_read, memory_order_relaxed);
	t->drs_space = MAX(tcp_rcv_wnd(t), TCP_IW_SEGS * (uint32_t)t->mss_offered);
}

/* One window's worth of data took one round trip at least: the receiver's own estimate. */
static void measure_rtt(struct stack *st, struct tcb *t)
{
	uint64_t took;

	if (seq_lt(t->rcv_nxt, t->drs_rtt_seq))
		return;
	took = MIN(MAX(st->now_us - t->drs_rtt_at_us, 1u), UINT32_MAX / 2);
	/* a lower sample is nearer to the truth: the sender may have paused */
	t->drs_rtt_us = t->drs_rtt_us && took > t->drs_rtt_us ? (uint32_t)(t->drs_rtt_us - t->drs_rtt_us / 8 + took / 8)
							     : (uint32_t)took;
	t->drs_rtt_at_us = st->now_us;
	t->drs_rtt_seq = t->rcv_nxt + tcp_rcv_wnd(t);
}

/* More was read in the last round trip than ever before. */
static cold_path void grow(struct stack *st, struct tcb *t, uint64_t copied)
{
	struct sock *s = sock_of_tcb(t);
	/* twice what was read per round trip, since slow start doubles, and the growth seen once more; the buffer counts true
	 * sizes, about twice the payload */
	uint64_t want = 2 * copied + 16 * (uint64_t)t->mss_offered;

	want += want * MIN(copied - t->drs_space, (uint64_t)t->drs_space) / t->drs_space * 2;
	want = MIN(2 * want, st->tcp->conf.rcvbuf_max);
	if (!s->opt.rcvbuf_fixed && !st->mem_level && want > atomic_load_explicit(&s->rcvbuf, memory_order_relaxed))
		atomic_store_explicit(&s->rcvbuf, (uint32_t)want, memory_order_relaxed);
	t->drs_space = (uint32_t)MIN(copied, UINT32_MAX);
}

void tcp_drs_on_data(struct stack *st, struct tcb *t)
{
	uint64_t read;
	uint32_t rtt;

	measure_rtt(st, t);
	rtt = t->srtt_us ? t->srtt_us : t->drs_rtt_us;
	if (likely(rtt == 0 || st->now_us - t->drs_at_us < rtt))
		return;
	read = atomic_load_explicit(&sock_of_tcb(t)->rx_read, memory_order_relaxed);
	if (unlikely(read - t->drs_read > t->drs_space))
		grow(st, t, read - t->drs_read);
	t->drs_read = read;
	t->drs_at_us = st->now_us;
}

void tcp_sndbuf_tune(struct stack *st, struct tcb *t)
{
	struct sock *s = sock_of_tcb(t);
	uint32_t want = MIN((t->cc->owns_cwnd ? 3 : 2) * t->cwnd, st->tcp->conf.sndbuf_max);

	/* one window in flight and one ready behind it; Linux: a third for BBR, whose window may double in recovery */
	if (unlikely(want > atomic_load_explicit(&s->sndbuf, memory_order_relaxed)) && !s->opt.sndbuf_fixed &&
	    !st->mem_level)
		atomic_store_explicit(&s->sndbuf, want, memory_order_relaxed);
}

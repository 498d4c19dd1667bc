/* rate.c - the part of rate.h that is no inline code: what TCP_INFO shows. Called by ack.c; owner of the stack. */
#include "tcp/rate.h"

void tcp_rate_keep(struct tcb *t, const struct tcp_rate_sample *rs)
{
	uint32_t interval = (uint32_t)MIN(rs->interval_us, UINT32_MAX);

	/* Linux's rule: the last sample that was limited by the network, or a faster one that the application limited */
	if (rs->is_app_limited &&
	    (uint64_t)rs->delivered * t->rate_interval_us < (uint64_t)t->rate_delivered * interval)
		return;
	t->rate_delivered = rs->delivered;
	t->rate_interval_us = interval;
	t->rate_app_limited = rs->is_app_limited;
}

uint64_t tcp_delivery_rate(const struct tcb *t)
{
	return t->rate_interval_us ? (uint64_t)t->rate_delivered * US_PER_S / t->rate_interval_us : 0;
}

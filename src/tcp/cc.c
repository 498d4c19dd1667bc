/* cc.c - the list of congestion controls. Called when a connection starts and by TCP_CONGESTION. */
#include "tcp/cc.h"
#include "tcp/tcp_int.h"

static const struct tcp_cc_ops *const all[] = { &tcp_cc_cubic, &tcp_cc_newreno, &tcp_cc_bbr, &tcp_cc_dctcp };

const struct tcp_cc_ops *tcp_cc_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	}
	return NULL;
}

const char *tcp_cc_name(unsigned i)
{
	return i < ARRAY_SIZE(all) ? all[i]->name : NULL;
}

const char *tcp_cc_default_name(const struct stack *st)
{
	return (st->tcp ? st->tcp->conf.cc : all[0])->name;
}

size_t tcp_get_cc_info(const struct tcb *t, void *out)
{
	return t->cc && t->cc->get_info ? t->cc->get_info(t, out) : 0;
}

void tcp_configure_cc(struct stack *st, const char *congestion, uint32_t iw_segs, bool pacing)
{
	const struct tcp_cc_ops *cc = tcp_cc_find(congestion);

	if (cc)
		st->tcp->conf.cc = cc;
	st->tcp->conf.iw_segs = (uint16_t)iw_segs;
	st->tcp->conf.pacing = pacing;
}

/* cc.c - the list of congestion controls. Called when a connection starts and by TCP_CONGESTION. */
#include "tcp/cc.h"

static const struct tcp_cc_ops *const all[] = { &tcp_cc_cubic, &tcp_cc_newreno };

const struct tcp_cc_ops *tcp_cc_find(const char *name)
{
	if (!name[0])
		return all[0];
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

/* port_link.c - link state, events and counters of a DPDK port.
 *
 * Events come in DPDK's interrupt thread, housekeeping in the keeper (home process), port_xstat() in the ctl thread.
 */
#include "base/log.h"
#include "netdev/ifinfo.h"
#include "netdev/port.h"

#include <stdlib.h>

static void set_link(struct netdev *nd, bool up)
{
	if (atomic_exchange_explicit(&nd->link_up, up, memory_order_acq_rel) == up)
		return;
	atomic_fetch_add_explicit(&nd->link_changes, 1, memory_order_relaxed);
	log_info("device %s: link is %s", nd->name, up ? "up" : "down");
}

static bool port_link(struct netdev *nd)
{
	struct rte_eth_link link;

	return rte_eth_link_get_nowait(nd->port_id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

/* af_packet and af_xdp report "up" for ever: the interface behind a port is asked as well. */
static bool behind_link(struct netdev *nd, bool dpdk_up)
{
	struct if_info i;
	int r;

	if (!nd->kernel_ifindex)
		return dpdk_up;
	r = ifinfo_by_index(nd->kernel_ifindex, &i);
	if (r == -ENODEV)
		return false;
	return dpdk_up && (r != 0 || ifinfo_link_up(&i));
}

static int on_event(uint16_t port_id, enum rte_eth_event_type ev, void *arg, void *ret)
{
	struct netdev *nd = arg;
	struct port *p = nd->priv;

	switch (ev) {
	case RTE_ETH_EVENT_INTR_LSC:
		set_link(nd, behind_link(nd, port_link(nd)));
		break;
	case RTE_ETH_EVENT_INTR_RMV:
		if (atomic_fetch_add_explicit(&p->removals, 1, memory_order_relaxed) == 0)
			log_error("device %s was removed: its connections have no link: restart the program", nd->name);
		set_link(nd, false);
		break;
	case RTE_ETH_EVENT_INTR_RESET:
		if (atomic_fetch_add_explicit(&p->resets, 1, memory_order_relaxed) == 0)
			log_error("device %s asks to be reset (its physical function changed): restart the program",
				  nd->name);
		break;
	default:
		break;
	}
	return 0;
}

static const enum rte_eth_event_type events[] = {
	RTE_ETH_EVENT_INTR_LSC,
	RTE_ETH_EVENT_INTR_RMV,
	RTE_ETH_EVENT_INTR_RESET,
};

void port_link_start(struct netdev *nd)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		rte_eth_dev_callback_register(nd->port_id, events[i], on_event, nd);
	atomic_store_explicit(&nd->link_up, behind_link(nd, port_link(nd)), memory_order_release);
}

void port_link_stop(struct netdev *nd)
{
	/* -EAGAIN: the callback runs just now */
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		for (int tries = 0; tries < 1000; tries++)
			if (rte_eth_dev_callback_unregister(nd->port_id, events[i], on_event, nd) != -EAGAIN)
				break;
}

void port_housekeeping(struct netdev *nd)
{
	struct port *p = nd->priv;
	uint16_t mtu;

	if (atomic_load_explicit(&p->removals, memory_order_relaxed))
		return;
	set_link(nd, behind_link(nd, port_link(nd)));
	if (nd->kernel_ifindex && rte_eth_dev_get_mtu(nd->port_id, &mtu) == 0 && mtu >= 68 &&
	    mtu < atomic_load_explicit(&nd->mtu, memory_order_relaxed))
		atomic_store_explicit(&nd->mtu, mtu, memory_order_relaxed);
}

/* Counter 0 begins a round: all are read then. */
bool port_xstat(struct netdev *nd, unsigned i, const char **name, uint64_t *value)
{
	struct port *p = nd->priv;

	if (i == 0) {
		int n = rte_eth_xstats_get_names(nd->port_id, NULL, 0);

		if (n <= 0)
			return false;
		if (n != p->nb_xstats) {
			free(p->xnames);
			free(p->xvalues);
			p->nb_xstats = 0;
			p->xnames = calloc((size_t)n, sizeof(*p->xnames));
			p->xvalues = calloc((size_t)n, sizeof(*p->xvalues));
			if (!p->xnames || !p->xvalues ||
			    rte_eth_xstats_get_names(nd->port_id, p->xnames, (unsigned)n) != n)
				return false;
			p->nb_xstats = n;
		}
		if (rte_eth_xstats_get(nd->port_id, p->xvalues, (unsigned)n) != n)
			return false;
	}
	if (i >= (unsigned)p->nb_xstats)
		return false;
	*name = p->xnames[p->xvalues[i].id].name;
	*value = p->xvalues[i].value;
	return true;
}

/* port_link.c - link state, events and counters of a DPDK port.
 *
 * Events come in DPDK's interrupt thread, housekeeping in the keeper (home process), port_xstat() in the ctl thread.
 */
#include "base/log.h"
#include "base/ownfd.h"
#include "base/sys.h"
#include "netdev/ifinfo.h"
#include "netdev/port.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define PEER_NAPS 5000 /* of 20 us: a tenth of a second */

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

bool port_enter_slow(struct port *p)
{
	/* seq_cst: either we see that the peer is gone, or who says so sees us */
	atomic_fetch_add_explicit(&p->peer.calls, 1, memory_order_seq_cst);
	if (likely(!atomic_load_explicit(&p->peer.gone, memory_order_seq_cst)))
		return true;
	port_leave(p);
	return false;
}

/* The driver tells of a peer that left before it takes down what belonged to it, and of one that came when all is there. Waits for those
 * who are in a call, which is a matter of instructions; not for ever, since a call may itself wait for a lock of the driver's thread. */
static void follow_peer(struct netdev *nd)
{
	struct port *p = nd->priv;
	const struct timespec nap = { 0, 20 * 1000 };
	uint64_t one = 1;
	bool gone;

	if (!p->peer.needed)
		return;
	rte_spinlock_lock(&p->peer.lock);
	gone = !port_link(nd);
	if (atomic_exchange_explicit(&p->peer.gone, gone, memory_order_seq_cst) != gone && p->peer.here_fd >= 0)
		(void)(gone ? sys_read(p->peer.here_fd, &one, sizeof(one)) : sys_write(p->peer.here_fd, &one, sizeof(one)));
	rte_spinlock_unlock(&p->peer.lock);
	for (unsigned i = 0; gone && i < PEER_NAPS && atomic_load_explicit(&p->peer.calls, memory_order_seq_cst); i++)
		SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
}

static int on_event(uint16_t port_id, enum rte_eth_event_type ev, void *arg, void *ret)
{
	struct netdev *nd = arg;
	struct port *p = nd->priv;

	switch (ev) {
	case RTE_ETH_EVENT_INTR_LSC:
		follow_peer(nd);
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
	struct port *p = nd->priv;

	p->peer.needed = !strcmp(p->driver, "net_vhost");
	p->peer.here_fd = -1;
	if (p->peer.needed) {
		int fd = (int)SYS(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);

		p->peer.here_fd = own_fd_adopt(fd);
		if (p->peer.here_fd < 0 && fd >= 0)
			sys_close(fd);
	}
	rte_spinlock_init(&p->peer.lock);
	atomic_store(&p->peer.gone, true);
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		rte_eth_dev_callback_register(nd->port_id, events[i], on_event, nd);
	follow_peer(nd);
	atomic_store_explicit(&nd->link_up, behind_link(nd, port_link(nd)), memory_order_release);
}

void port_link_stop(struct netdev *nd)
{
	struct port *p = nd->priv;

	/* -EAGAIN: the callback runs just now */
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		for (int tries = 0; tries < 1000; tries++)
			if (rte_eth_dev_callback_unregister(nd->port_id, events[i], on_event, nd) != -EAGAIN)
				break;
	if (p->peer.here_fd >= 0)
		own_fd_close(p->peer.here_fd);
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

static bool xstats_read(struct netdev *nd, struct port *p)
{
	int n;

	if (!port_enter(p))
		return p->nb_xstats > 0; /* as they were */
	n = rte_eth_xstats_get_names(nd->port_id, NULL, 0);
	if (n > 0 && n != p->nb_xstats) {
		free(p->xnames);
		free(p->xvalues);
		p->nb_xstats = 0;
		p->xnames = calloc((size_t)n, sizeof(*p->xnames));
		p->xvalues = calloc((size_t)n, sizeof(*p->xvalues));
		if (p->xnames && p->xvalues && rte_eth_xstats_get_names(nd->port_id, p->xnames, (unsigned)n) == n)
			p->nb_xstats = n;
	}
	if (n <= 0 || n != p->nb_xstats || rte_eth_xstats_get(nd->port_id, p->xvalues, (unsigned)n) != n)
		n = 0;
	port_leave(p);
	return n > 0;
}

/* Counter 0 begins a round: all are read then. */
bool port_xstat(struct netdev *nd, unsigned i, const char **name, uint64_t *value)
{
	struct port *p = nd->priv;

	if (i == 0 && !xstats_read(nd, p))
		return false;
	if (i >= (unsigned)p->nb_xstats)
		return false;
	*name = p->xnames[p->xvalues[i].id].name;
	*value = p->xvalues[i].value;
	return true;
}

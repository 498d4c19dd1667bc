/* port.h - private to the DPDK backend (port_open.c, port_rxtx.c, port_link.c, port_xdp.c). */
#ifndef GZ_NETDEV_PORT_H
#define GZ_NETDEV_PORT_H

#include "netdev/backend.h"

#include <rte_ethdev.h>
#include <rte_spinlock.h>

struct port {
	uint16_t id;
	bool irq;	  /* receive interrupts configured */
	bool started;
	bool lsc;	  /* link changes are reported by event */
	bool tx_prepare;  /* some frame may need rte_eth_tx_prepare(): offloads are on */
	char vdev[64];	  /* device made by us, to be removed at close; "" otherwise */
	struct rte_mempool *xdp_pool; /* made for AF_XDP, freed at close unless frames are still held */
	char driver[48];
	struct netdev_rss rss;
	/* A driver whose rings belong to a peer that comes and goes: see port_enter(). */
	struct {
		bool needed;
		rte_spinlock_t lock; /* [DPDK's threads, start] orders what is read of the link and what is stored */
		_Atomic bool gone;
		_Atomic uint32_t calls; /* threads inside */
		int here_fd; /* eventfd that is readable while the peer is here: who waits for frames without one waits for it. -1: none */
	} peer;
	/* [keeper, or DPDK's interrupt thread] */
	_Atomic uint64_t resets, removals;
	/* per queue [stack or sleeper]: descriptor whose kind is known */
	struct {
		int fd;
		bool is_eventfd;
		uint64_t prepare_errors;
	} q[NETDEV_MAX_QUEUES];
	/* xstats read once per round of port_xstat() [ctl] */
	struct rte_eth_xstat_name *xnames;
	struct rte_eth_xstat *xvalues;
	int nb_xstats;
};

/* port_rxtx.c */
uint16_t port_rx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n);
uint16_t port_tx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n);
bool port_rx_pending(struct netdev *nd, uint16_t queue);
int port_wait_fd(struct netdev *nd, uint16_t queue);
int port_irq_enable(struct netdev *nd, uint16_t queue, bool on);
void port_irq_ack(struct netdev *nd, uint16_t queue);
/* port_link.c */
/* net_vhost frees a peer's rings and interrupt handle in its control thread, between two instructions of whoever is in a call about them; its
 * bursts alone are guarded. So other calls are made between these two; false: the peer is gone, and so is what the call is about. */
bool port_enter_slow(struct port *p);
static force_inline bool port_enter(struct port *p) { return likely(!p->peer.needed) || port_enter_slow(p); }
static force_inline void port_leave(struct port *p)
{
	if (unlikely(p->peer.needed))
		atomic_fetch_sub_explicit(&p->peer.calls, 1, memory_order_release);
}
void port_link_start(struct netdev *nd);
void port_link_stop(struct netdev *nd);
void port_housekeeping(struct netdev *nd);
bool port_xstat(struct netdev *nd, unsigned i, const char **name, uint64_t *value);

#endif

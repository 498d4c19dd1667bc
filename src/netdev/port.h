/* port.h - private to the DPDK backend (port_open.c, port_rxtx.c, port_link.c, port_xdp.c). */
#ifndef GZ_NETDEV_PORT_H
#define GZ_NETDEV_PORT_H

#include "netdev/backend.h"

#include <rte_ethdev.h>


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
void port_link_start(struct netdev *nd);
void port_link_stop(struct netdev *nd);
void port_housekeeping(struct netdev *nd);
bool port_xstat(struct netdev *nd, unsigned i, const char **name, uint64_t *value);

#endif

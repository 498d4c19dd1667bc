/* backend.h - private to src/netdev: what netdev.c calls of the backends. */
#ifndef GZ_NETDEV_BACKEND_H
#define GZ_NETDEV_BACKEND_H

#include "netdev/netdev.h"

struct if_info;

/* Each fills nd (zeroed by the caller; nd->queues[].pool are set) and takes nothing on failure. 0 or -errno with err written. */
int kif_open(struct netdev *nd, const struct netdev_request *req, const struct if_info *info, char *err,
	     size_t err_bytes);
int port_open(struct netdev *nd, const struct netdev_request *req, uint16_t port_id, char *err, size_t err_bytes);
/* AF_XDP: makes DPDK's device for the interface, then port_open(). */
int xdp_open(struct netdev *nd, const struct netdev_request *req, const struct if_info *info, char *err,
	     size_t err_bytes);

void xdp_remove(const char *vdev);

/* txfix.c: makes m fit for nd: what the device lacks is done here. Returns the frame to queue (m or a replacement), or NULL when it had to
 * be dropped (freed). */
struct rte_mbuf *tx_fixup(struct netdev *nd, uint16_t queue, struct rte_mbuf *m);
/* The flags that need software on nd, precomputed by netdev_open(). */
uint64_t tx_fixup_mask(const struct netdev *nd);
/* gro.c: joins consecutive TCP segments of a burst in place; returns how many frames are left. What was joined says RTE_MBUF_F_RX_LRO
 * and tso_segsz, as if the device had done it. Takes no buffer and keeps none. */
uint16_t gro_merge(struct rte_mbuf **m, uint16_t n);
/* Puts a stripped VLAN tag back into a received frame; false: no room (the frame is then to be dropped). */
bool rx_vlan_reinsert(struct rte_mbuf *m);

#endif

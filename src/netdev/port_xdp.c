/* port_xdp.c - a kernel interface through AF_XDP: makes DPDK's net_af_xdp device for it.
 *
 * Called by netdev_open() when kernel_interface is "xdp". Needs CAP_NET_ADMIN and CAP_BPF besides CAP_NET_RAW, and loads an
 * XDP program on the interface (removed at close; after a kill: ip link set IF xdp off).
 */
#include "base/log.h"
#include "netdev/ifinfo.h"
#include "netdev/port.h"

#include <rte_bus_vdev.h>
#include <rte_errno.h>
#include <stdio.h>
#include <string.h>

void xdp_remove(const char *vdev)
{
	rte_vdev_uninit(vdev);
}

int xdp_open(struct netdev *nd, const struct netdev_request *req, const struct if_info *info, char *err,
	     size_t err_bytes)
{
	char name[32], args[128];
	uint16_t port_id;
	int r;

	snprintf(name, sizeof(name), "net_af_xdp_%d", info->ifindex);
	/* Busy polling of the socket by the driver costs more than it gains in copy mode (measured, doc/netdev.md). */
	snprintf(args, sizeof(args), "iface=%s,start_queue=0,queue_count=1,busy_budget=0", info->name);
	r = rte_vdev_init(name, args);
	if (r) {
		snprintf(err, err_bytes, "interface %s: no AF_XDP socket: %s: needs root (CAP_NET_ADMIN, CAP_BPF, CAP_NET_RAW), "
			 "DPDK's net_af_xdp driver, and no other XDP program (ip link set %s xdp off); or set "
			 "kernel_interface = \"packet\"", info->name, rte_strerror(-r), info->name);
		return r;
	}
	r = rte_eth_dev_get_port_by_name(name, &port_id);
	if (r == 0)
		r = port_open(nd, req, port_id, err, err_bytes);
	else
		snprintf(err, err_bytes, "interface %s: AF_XDP device has no port", info->name);
	if (r) {
		rte_vdev_uninit(name);
		return r;
	}
	snprintf(((struct port *)nd->priv)->vdev, sizeof(((struct port *)nd->priv)->vdev), "%s", name);
	return 0;
}

/* netdev.c - finds and opens the device that the configuration names; receive and transmit of a burst.
 *
 * netdev_open/close: boot. netdev_rx/tx/flush: the owner of the stack that the queue belongs to.
 */
#include "base/log.h"
#include "netdev/backend.h"
#include "netdev/ifinfo.h"

#include <rte_ethdev.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The results that need a second look: settled otherwise than by one clear bit, or a tag taken out. */
static force_inline bool rx_flags_odd(uint64_t flags)
{
	return (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE ||
	       (flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_NONE ||
	       (flags & RTE_MBUF_F_RX_VLAN_STRIPPED);
}

/* NONE says: the field is not filled in but the data is good (a virtual device whose peer left the sum to us). */
static cold_path bool rx_normalise(struct rte_mbuf *m)
{
	if ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE)
		m->ol_flags = (m->ol_flags & ~RTE_MBUF_F_RX_L4_CKSUM_MASK) | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	if ((m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_NONE)
		m->ol_flags = (m->ol_flags & ~RTE_MBUF_F_RX_IP_CKSUM_MASK) | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	if (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED)
		return rx_vlan_reinsert(m);
	return true;
}

uint16_t netdev_rx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct netdev_queue *q = &nd->queues[queue];
	uint16_t got = nd->ops->rx_burst(nd, queue, m, n), out = 0;
	uint64_t bytes = 0;

	if (got == 0)
		return 0;
	for (uint16_t i = 0; i < got; i++) {
		struct rte_mbuf *p = m[i];

		bytes += p->pkt_len;
		if (unlikely(rx_flags_odd(p->ol_flags)) && unlikely(!rx_normalise(p))) {
			rte_pktmbuf_free(p);
			q->stats.rx_drop++;
			continue;
		}
		m[out++] = p;
	}
	q->stats.rx_pkts += out;
	q->stats.rx_bytes += bytes;
	if (out > 1 && nd->rx_merge) {
		uint16_t left = gro_merge(m, out);

		q->stats.rx_merged += (uint64_t)(out - left);
		out = left;
	}
	return out;
}

uint16_t netdev_flush(struct netdev *nd, uint16_t queue)
{
	struct netdev_queue *q = &nd->queues[queue];
	uint16_t n = q->txq_len, sent;

	if (n == 0)
		return 0;
	sent = nd->ops->tx_burst(nd, queue, q->txq, n);
	q->stats.tx_pkts += sent;
	if (unlikely(sent < n)) {
		q->stats.tx_full++;
		memmove(q->txq, q->txq + sent, (size_t)(n - sent) * sizeof(q->txq[0]));
	}
	q->txq_len = (uint16_t)(n - sent);
	return q->txq_len;
}

/* Queue full: one attempt to make room. */
static cold_path bool tx_make_room(struct netdev *nd, uint16_t queue)
{
	return netdev_flush(nd, queue) < ARRAY_SIZE(nd->queues[queue].txq);
}

void netdev_tx(struct netdev *nd, uint16_t queue, struct rte_mbuf *m)
{
	struct netdev_queue *q = &nd->queues[queue];

	if ((m->ol_flags & nd->tx_fix) || unlikely(m->nb_segs > nd->tx_max_segs)) {
		m = tx_fixup(nd, queue, m);
		if (unlikely(!m))
			return;
	}
	if (unlikely(q->txq_len == ARRAY_SIZE(q->txq)) && unlikely(!tx_make_room(nd, queue))) {
		rte_pktmbuf_free(m);
		q->stats.tx_drop++;
		return;
	}
	q->stats.tx_bytes += m->pkt_len;
	q->txq[q->txq_len++] = m;
}

/* --- looking devices up --- */

static uint16_t count_ports(uint16_t *only)
{
	uint16_t id, n = 0;

	RTE_ETH_FOREACH_DEV(id) {
		if (n++ == 0)
			*only = id;
	}
	return n;
}

static int port_by_mac(const uint8_t mac[6], uint16_t *port_id)
{
	uint16_t id;

	RTE_ETH_FOREACH_DEV(id) {
		struct rte_ether_addr a;

		if (rte_eth_macaddr_get(id, &a) == 0 && memcmp(a.addr_bytes, mac, 6) == 0) {
			*port_id = id;
			return 0;
		}
	}
	return -ENODEV;
}

/* Finds the device: a DPDK port (port_id) or a kernel interface (info.ifindex != 0). */
static int find_device(const char *device, uint16_t *port_id, struct if_info *info, char *err, size_t err_bytes)
{
	uint8_t mac[6];
	char pci[13], driver[64];
	int r;

	info->ifindex = 0;
	if (!device || !*device) {
		uint16_t n = count_ports(port_id);

		if (n == 1)
			return 0;
		snprintf(err, err_bytes, "no device chosen: \"devices\" is not set (%u DPDK ports seen, exactly 1 needed): set "
			 "devices = \"<MAC, PCI address, interface or --vdev name>\"", n);
		return -ENODEV;
	}
	if (ifinfo_parse_mac(device, mac)) {
		/* a port made by --vdev over a kernel interface has that interface's address: the explicit one wins */
		if (port_by_mac(mac, port_id) == 0)
			return 0;
		r = ifinfo_by_mac(mac, info);
		if (r == 0)
			return 0;
		snprintf(err, err_bytes, "device %s not found: %s: compare with `ip link`, or check that the NIC is bound "
			 "to vfio-pci (dpdk-devbind.py --status)", device,
			 r == -ENOTUNIQ ? "several interfaces have this address: give the name instead" :
			 r == -ENODEV	? "no DPDK port and no kernel interface has this address" : strerror(-r));
		return r;
	}
	if (rte_eth_dev_get_port_by_name(device, port_id) == 0)
		return 0;
	if (ifinfo_parse_pci(device, pci)) {
		if (rte_eth_dev_get_port_by_name(pci, port_id) == 0)
			return 0;
		r = ifinfo_by_pci(pci, info);
		if (r == 0)
			return 0;
		r = ifinfo_pci_driver(pci, driver, sizeof(driver));
		if (r == -ENODEV)
			snprintf(err, err_bytes, "device %s not found: no PCI function has this address: see lspci", pci);
		else if (!strcmp(driver, "vfio-pci") || !strcmp(driver, "igb_uio") || !strcmp(driver, "uio_pci_generic"))
			snprintf(err, err_bytes, "device %s: bound to %s, but DPDK made no port of it: a driver plug-in is "
				 "missing, the device node is not accessible (/dev/vfio), or \"dpdk_args\" excludes it", pci,
				 driver);
		else
			snprintf(err, err_bytes, "device %s: driver is \"%s\" (vfio-pci, igb_uio or a kernel network driver "
				 "needed): dpdk-devbind.py --bind=vfio-pci %s; without an IOMMU: echo 1 > "
				 "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode first", pci,
				 driver[0] ? driver : "none", pci);
		return -ENODEV;
	}
	r = ifinfo_by_name(device, info);
	if (r == 0)
		return 0;
	snprintf(err, err_bytes, "device \"%s\" not found: %s: give a MAC or PCI address, a kernel interface of this network "
		 "namespace (see `ip link`), or the name in --vdev", device,
		 r == -ENODEV ? "neither a DPDK port nor a kernel interface" : strerror(-r));
	return r;
}

bool netdev_is_kernel_interface(const char *device, char *ifname, size_t ifname_bytes)
{
	struct if_info info;
	uint8_t mac[6];
	char pci[13];
	int r;

	if (!device || !*device)
		return false;
	if (ifinfo_parse_mac(device, mac))
		r = ifinfo_by_mac(mac, &info);
	else if (ifinfo_parse_pci(device, pci))
		r = ifinfo_by_pci(pci, &info);
	else
		r = ifinfo_by_name(device, &info);
	if (r)
		return false;
	snprintf(ifname, ifname_bytes, "%s", info.name);
	return true;
}

int netdev_open(struct netdev **out, const struct netdev_request *req, char *err, size_t err_bytes)
{
	struct netdev *nd;
	struct if_info info;
	uint16_t port_id = UINT16_MAX;
	int r;

	*out = NULL;
	if (req->nb_queues == 0 || req->nb_queues > NETDEV_MAX_QUEUES) {
		snprintf(err, err_bytes, "device cannot be opened: %u queues wanted (1 to %u possible): shorten num_cpus",
			 req->nb_queues, NETDEV_MAX_QUEUES);
		return -EINVAL;
	}
	r = find_device(req->device, &port_id, &info, err, err_bytes);
	if (r)
		return r;
	nd = aligned_alloc(CACHE_LINE, ROUND_UP(sizeof(*nd), (size_t)CACHE_LINE));
	if (!nd) {
		snprintf(err, err_bytes, "device cannot be opened: out of memory");
		return -ENOMEM;
	}
	memset(nd, 0, sizeof(*nd));
	for (uint16_t q = 0; q < req->nb_queues; q++)
		nd->queues[q].pool = req->pools[q];
	if (!info.ifindex)
		r = port_open(nd, req, port_id, err, err_bytes);
	else if (req->kernel_interface && !strcmp(req->kernel_interface, "xdp"))
		r = xdp_open(nd, req, &info, err, err_bytes);
	else
		r = kif_open(nd, req, &info, err, err_bytes);
	if (r) {
		free(nd);
		return r;
	}
	nd->tx_fix = tx_fixup_mask(nd);
	nd->rx_merge = true;
	*out = nd;
	return 0;
}

void netdev_close(struct netdev *nd)
{
	if (!nd)
		return;
	for (uint16_t q = 0; q < nd->nb_queues; q++) {
		netdev_flush(nd, q);
		rte_pktmbuf_free_bulk(nd->queues[q].txq, nd->queues[q].txq_len);
		nd->queues[q].txq_len = 0;
	}
	nd->ops->close(nd);
	free(nd);
}

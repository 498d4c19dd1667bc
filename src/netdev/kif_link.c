/* kif_link.c - state of a kernel interface while it is in use: link, MTU, address, deletion and return.
 *
 * kif_housekeeping() runs once a second in the keeper; kif_irq_ack() in the thread that slept on the device. Packet-path
 * fields are changed by atomics only.
 */
#include "base/log.h"
#include "base/ownfd.h"
#include "base/sys.h"
#include "netdev/ifinfo.h"
#include "netdev/kif.h"

#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <arpa/inet.h>
#include <string.h>

static void set_link(struct netdev *nd, bool up)
{
	if (atomic_load_explicit(&nd->link_up, memory_order_relaxed) == up)
		return;
	atomic_store_explicit(&nd->link_up, up, memory_order_release);
	atomic_fetch_add_explicit(&nd->link_changes, 1, memory_order_relaxed);
	log_info("interface %s: link is %s", nd->name, up ? "up" : "down");
}

/* An interface of the same name came back: the sockets follow it, rings and all. */
static void rebind(struct netdev *nd, const struct if_info *i)
{
	struct kif *k = nd->priv;
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = i->ifindex };

	for (uint16_t q = 0; q < nd->nb_queues; q++) {
		/* members of a fanout group are refused: EINVAL */
		long r = SYS(bind, k->q[q]->fd, &sa, sizeof(sa));

		if (r < 0) {
			log_error("interface %s came back but cannot be used again: bind of queue %u: %s: restart "
				  "the program", nd->name, q, strerror((int)-r));
			return;
		}
	}
	nd->kernel_ifindex = i->ifindex;
	atomic_store_explicit(&k->gone, false, memory_order_relaxed);
	atomic_fetch_add_explicit(&k->rebinds, 1, memory_order_relaxed);
	log_info("interface %s is back (index %d)", nd->name, i->ifindex);
}

static void on_link(struct netdev *nd, const struct if_info *i, bool deleted)
{
	struct kif *k = nd->priv;

	if (i->ifindex != nd->kernel_ifindex) {
		if (!deleted && atomic_load_explicit(&k->gone, memory_order_relaxed) &&
		    strcmp(i->name, k->ifname) == 0 && i->ethernet)
			rebind(nd, i);
		else
			return;
	}
	if (deleted) {
		if (!atomic_exchange_explicit(&k->gone, true, memory_order_relaxed))
			log_error("interface %s was removed: its connections have no link until one of that name "
				  "is back", nd->name);
		set_link(nd, false);
		return;
	}
	if (i->mtu && i->mtu != atomic_load_explicit(&nd->mtu, memory_order_relaxed)) {
		log_info("interface %s: MTU is %u now", nd->name, i->mtu);
		atomic_store_explicit(&nd->mtu, i->mtu, memory_order_relaxed);
	}
	if (i->has_mac && memcmp(i->mac, nd->mac, 6)) {
		log_info("interface %s: address is %02x:%02x:%02x:%02x:%02x:%02x now", nd->name, i->mac[0],
			 i->mac[1], i->mac[2], i->mac[3], i->mac[4], i->mac[5]);
		memcpy(nd->mac, i->mac, 6);
	}
	set_link(nd, ifinfo_link_up(i));
}

static void ring_statistics(struct kif *k, struct netdev *nd)
{
	for (uint16_t q = 0; q < nd->nb_queues; q++) {
		struct tpacket_stats st;
		socklen_t n = sizeof(st);

		/* reading resets the kernel's counters */
		if (SYS(getsockopt, k->q[q]->fd, SOL_PACKET, PACKET_STATISTICS, &st, &n) < 0)
			continue;
		atomic_fetch_add_explicit(&k->q[q]->ring_frames, st.tp_packets, memory_order_relaxed);
		atomic_fetch_add_explicit(&k->q[q]->ring_drops, st.tp_drops, memory_order_relaxed);
	}
}

static void resync(struct netdev *nd)
{
	struct kif *k = nd->priv;
	struct if_info i;

	if (ifinfo_by_name(k->ifname, &i) == 0)
		on_link(nd, &i, false);
	else if (ifinfo_by_index(nd->kernel_ifindex, &i) == -ENODEV)
		on_link(nd, &(struct if_info){ .ifindex = nd->kernel_ifindex }, true);
}

void kif_housekeeping(struct netdev *nd)
{
	struct kif *k = nd->priv;
	_Alignas(NLMSG_ALIGNTO) char buf[16384];

	ring_statistics(k, nd);
	for (int rounds = 0; rounds < 64; rounds++) {
		long got = SYS(recvfrom, k->nl_fd, buf, sizeof(buf), MSG_DONTWAIT, NULL, NULL);
		long left = got; /* signed: the padding of the last message may lie beyond the end, and NLMSG_NEXT() counts it */

		if (got == -ENOBUFS) { /* the kernel dropped events: ask for the state itself */
			resync(nd);
			continue;
		}
		if (got <= 0)
			break;
		for (struct nlmsghdr *nh = (struct nlmsghdr *)(void *)buf; NLMSG_OK(nh, left);
		     nh = NLMSG_NEXT(nh, left)) {
			struct if_info i;

			if (ifinfo_parse(nh, (size_t)left, &i))
				on_link(nd, &i, nh->nlmsg_type == RTM_DELLINK);
		}
	}
}

/* Poll reports POLLERR (and goes on reporting it) after the interface went down, until the error is read. */
void kif_irq_ack(struct netdev *nd, uint16_t queue)
{
	struct kif_queue *kq = nd->queues[queue].priv;
	socklen_t n = sizeof(int);
	int err;

	if (likely(kif_rx_pending(nd, queue)))
		return;
	SYS(getsockopt, kq->fd, SOL_SOCKET, SO_ERROR, &err, &n);
}

int kif_link_open(struct netdev *nd, char *err, size_t err_bytes)
{
	struct kif *k = nd->priv;
	int fd = ifinfo_netlink_open(true);

	if (fd < 0) {
		snprintf(err, err_bytes, "interface %s: cannot watch its link: netlink socket: %s", nd->name,
			 strerror(-fd));
		return fd;
	}
	k->nl_fd = own_fd_adopt(fd);
	if (k->nl_fd < 0) {
		int r = k->nl_fd;

		sys_close(fd);
		k->nl_fd = -1;
		snprintf(err, err_bytes, "interface %s: no descriptor for its link watch: %s", nd->name, strerror(-r));
		return r;
	}
	return 0;
}

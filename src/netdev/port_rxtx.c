/* port_rxtx.c - bursts of a DPDK port, and sleeping on its receive interrupt.
 *
 * Called through netdev_ops by the owner of the queue's stack; irq_* also by the thread that sleeps for it.
 */
#include "base/sys.h"
#include "netdev/port.h"

#include <poll.h>
#include <string.h>

uint16_t port_rx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	uint16_t got = rte_eth_rx_burst(nd->port_id, queue, m, n);

	for (uint16_t i = 0; i < got; i++)
		rte_prefetch0(rte_pktmbuf_mtod(m[i], void *));
	return got;
}

/* The driver refused m[0]: a frame that does not fit its rules (counted, dropped, so that it does not block the queue). */
static cold_path void prepare_failed(struct netdev *nd, uint16_t queue, struct rte_mbuf *m)
{
	struct port *p = nd->priv;

	p->q[queue].prepare_errors++;
	nd->queues[queue].stats.tx_drop++;
	nd->queues[queue].stats.tx_pkts--; /* netdev_flush() counts it as taken */
	rte_pktmbuf_free(m);
}

/* Nobody is there to take frames (a peer that is gone): they are lost as on an unplugged cable, not kept for later. */
static cold_path void drop_unplugged(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	nd->queues[queue].stats.tx_drop += n;
	nd->queues[queue].stats.tx_pkts -= n;
	rte_pktmbuf_free_bulk(m, n);
}

uint16_t port_tx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct port *p = nd->priv;
	uint16_t done = 0;

	while (done < n) {
		uint16_t ready = (uint16_t)(n - done), sent;

		if (p->tx_prepare)
			ready = rte_eth_tx_prepare(nd->port_id, queue, m + done, ready);
		sent = ready ? rte_eth_tx_burst(nd->port_id, queue, m + done, ready) : 0;
		done = (uint16_t)(done + sent);
		if (unlikely(sent < ready))
			break;
		if (unlikely(done < n)) {
			prepare_failed(nd, queue, m[done]);
			done++;
		}
	}
	if (unlikely(done < n) && unlikely(!atomic_load_explicit(&nd->link_up, memory_order_relaxed))) {
		drop_unplugged(nd, queue, m + done, (uint16_t)(n - done));
		done = n;
	}
	return done;
}

bool port_rx_pending(struct netdev *nd, uint16_t queue)
{
	struct port *p = nd->priv;
	bool some;

	if (!port_enter(p))
		return false;
	some = rte_eth_rx_queue_count(nd->port_id, queue) != 0;
	port_leave(p);
	return some;
}

int port_wait_fd(struct netdev *nd, uint16_t queue)
{
	struct port *p = nd->priv;
	int fd;

	if (!p->irq)
		return -1;
	if (!port_enter(p))
		return p->peer.here_fd;
	/* asked each time: vhost and virtio-user change it when the peer connects anew */
	fd = rte_eth_dev_rx_intr_ctl_q_get_fd(nd->port_id, queue);
	port_leave(p);
	return fd;
}

int port_irq_enable(struct netdev *nd, uint16_t queue, bool on)
{
	struct port *p = nd->priv;
	int r;

	if (!port_enter(p))
		return -ENODEV;
	r = on ? rte_eth_dev_rx_intr_enable(nd->port_id, queue) : rte_eth_dev_rx_intr_disable(nd->port_id, queue);
	port_leave(p);
	return r;
}

/* Most drivers signal by an eventfd, which is to be emptied; net_tap gives its packet descriptor, which must not be read. */
static cold_path void learn_fd(struct port *p, uint16_t queue, int fd)
{
	char path[48], target[64];
	long n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = SYS(readlink, path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	p->q[queue].fd = fd;
	p->q[queue].is_eventfd = strstr(target, "eventfd") != NULL;
}

static void empty(struct port *p, uint16_t queue, int fd)
{
	struct pollfd pf = { .fd = fd, .events = POLLIN };
	struct timespec now = { 0 };
	uint64_t count;

	if (unlikely(fd != p->q[queue].fd))
		learn_fd(p, queue, fd);
	/* the descriptor may be a blocking one: read only what is there */
	if (p->q[queue].is_eventfd && SYS(ppoll, &pf, 1, &now, NULL, 0) == 1 && (pf.revents & POLLIN))
		sys_read(fd, &count, sizeof(count));
}

void port_irq_ack(struct netdev *nd, uint16_t queue)
{
	struct port *p = nd->priv;
	int fd;

	/* inside: behind it the number may be closed, and be another file's */
	if (!p->irq || !port_enter(p))
		return;
	fd = rte_eth_dev_rx_intr_ctl_q_get_fd(nd->port_id, queue);
	if (fd >= 0)
		empty(p, queue, fd);
	port_leave(p);
}

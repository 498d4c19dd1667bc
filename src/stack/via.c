/* via.c - see via.h. One ring per stack without a queue: single producer (its owner), single consumer (the carrier's owner). */
#include "stack/via.h"
#include "stack/own.h"
#include "stack/steer.h"

#include <rte_malloc.h>
#include <rte_ring.h>
#include <stdio.h>

#define VIA_RING_SIZE 1024

struct via {
	struct netdev nd;
	struct stack *carrier;
	struct rte_ring *ring;
	uint16_t id;
};

static uint16_t via_rx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	(void)nd, (void)queue, (void)m, (void)n;
	return 0;
}

static uint16_t via_tx(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct via *v = nd->priv;
	struct thread_rec *self = thread_self();
	uint16_t sent = (uint16_t)rte_ring_sp_enqueue_burst(v->ring, (void *const *)m, n, NULL);

	(void)queue;
	if (sent && self) {
		if (gz->mode == RUN_TO_COMPLETION)
			self->kick_mask |= 1ULL << v->carrier->id; /* run it after leaving this one */
		atomic_thread_fence(memory_order_seq_cst);
		stack_ring(v->carrier);
	}
	return sent;
}

static bool via_pending(struct netdev *nd, uint16_t queue)
{
	const struct via *v = nd->priv;

	(void)queue;
	return steer_waits(&gz->stacks[v->id]);
}

/* What wakes such a stack is its doorbell, which every sleeper listens to anyway. */
static int via_fd(struct netdev *nd, uint16_t queue)
{
	const struct via *v = nd->priv;

	(void)queue;
	return gz->stacks[v->id].doorbell_fd;
}

/* MTU and link state are the real device's. Keeper. */
static void via_housekeeping(struct netdev *nd)
{
	const struct via *v = nd->priv;
	const struct netdev *real = v->carrier->nd;

	atomic_store_explicit(&nd->mtu, atomic_load_explicit(&real->mtu, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&nd->link_up, atomic_load_explicit(&real->link_up, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&nd->link_changes, atomic_load_explicit(&real->link_changes, memory_order_relaxed),
			      memory_order_relaxed);
}

static const struct netdev_ops via_ops = {
	.kind = "via",
	.rx_burst = via_rx,
	.tx_burst = via_tx,
	.rx_pending = via_pending,
	.wait_fd = via_fd,
	.housekeeping = via_housekeeping,
};

struct netdev *via_create(const struct netdev *nd, struct stack *carrier, uint16_t id)
{
	struct via *v = rte_zmalloc("gz_via", sizeof(*v), CACHE_LINE);
	char name[32];

	if (!v)
		return NULL;
	v->nd = *nd; /* address, MTU, offloads: what the engine asks about */
	v->nd.ops = &via_ops;
	v->nd.priv = v;
	v->nd.nb_queues = 1;
	v->nd.tx_fix = 0; /* the carrier's device puts right what it cannot do */
	v->nd.queues[0] = (struct netdev_queue){ .pool = nd->queues[0].pool };
	v->carrier = carrier;
	v->id = id;
	snprintf(name, sizeof(name), "gz_via_%u", id);
	v->ring = rte_ring_create(name, VIA_RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (!v->ring) {
		rte_free(v);
		return NULL;
	}
	carrier->via[id] = v->ring;
	return &v->nd;
}

unsigned via_carry(struct stack *st)
{
	struct rte_mbuf *m[NETDEV_BURST];
	unsigned total = 0;

	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		unsigned n;

		if (!st->via[i])
			continue;
		n = rte_ring_sc_dequeue_burst(st->via[i], (void **)m, MIN(netdev_tx_room(st->nd, st->queue), NETDEV_BURST), NULL);
		for (unsigned k = 0; k < n; k++)
			netdev_tx(st->nd, st->queue, m[k]);
		total += n;
	}
	return total;
}

/* pressure.c - what TCP gives back when buffers are short: data out of order of the connections that hold most of it (RFC 2018 §8, Linux's
 * tcp_prune_ofo_queue()). Called by loop.c every few rounds while st->mem_level is not MEM_OK; the other consequences stand where they apply:
 * drs.c (windows and send buffers stop growing), sock_up.c (small segments share buffers), listen.c (no new connections), slow.c (data that
 * cannot be kept), reass.c of ip (no fragments). Owner of the stack.
 */
#include "tcp/tcp_int.h"

#define LOOK_MAX 256u /* connections looked at for the greediest */
#define SMALL_BYTES 16384u /* not worth a time-out of its sender */

static struct tcb *greediest(struct tcp_state *ts)
{
	struct tcb *most = NULL;
	unsigned looks = 0;
	struct list *n;

	list_for_each(n, &ts->ooo_list) {
		struct tcb *t = container_of(n, struct tcb, ooo_node);

		if (!most || t->ooo_true_bytes > most->ooo_true_bytes)
			most = t;
		if (++looks == LOOK_MAX)
			break;
	}
	return most;
}

void tcp_on_pressure(struct stack *st)
{
	unsigned most = st->mem_level == MEM_LOW ? 1 : 8;

	while (most--) {
		struct tcb *t = greediest(st->tcp);

		if (!t || (t->ooo_true_bytes <= SMALL_BYTES && st->mem_level < MEM_CRITICAL))
			return;
		tcp_reass_prune(st, t);
		/* the others are looked at first next time */
		if (list_linked(&t->ooo_node)) {
			list_del(&t->ooo_node);
			list_push_back(&st->tcp->ooo_list, &t->ooo_node);
		}
	}
}

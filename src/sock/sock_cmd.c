/* sock_cmd.c - the owner's side of a socket: what application threads left as commands (bits in s->cmd_bits) and calls, turned into the
 * protocol's down-calls. Called by stack/own.c while draining; owner of the stack only. */
#include "base/clock.h"
#include "sock/ports.h"
#include "sock/sock_int.h"
#include "sock/sock_up.h"
#include "stack/steer.h"
#include "tcp/tcp.h"
#include "udp/udp.h"

int64_t (*sock_ctl_hook)(struct stack *st, struct stack_call *call);

/* No client's any more. */
static void untag_list(struct inbox_node *n)
{
	for (; n; n = n->next)
		buf_untag(pkt_of_node(n));
}

void sock_tx_run(struct stack *st, struct sock *s)
{
	struct inbox_node *n = inbox_take(&s->tx_in);

	if (!n)
		return;
	untag_list(n);
	if (s->type != SOCK_STREAM) {
		while (n) {
			struct inbox_node *next = n->next;
			struct rte_mbuf *m = pkt_of_node(n);
			uint32_t bytes = m->pkt_len + 1; /* as counted by dgram_send() */
			int err = udp_output(st, s, m);

			if (err)
				sock_up_error(st, s, -err, true);
			sock_up_acked(st, s, bytes);
			n = next;
		}
		return;
	}
	if (unlikely(sock_status(s) & SOCK_DEAD || atomic_load_explicit(&s->engine_done, memory_order_relaxed))) {
		buf_free_list(n); /* reset meanwhile */
		return;
	}
	s->tcb.more = atomic_load_explicit(&s->tx_more, memory_order_relaxed);
	tcp_send(st, &s->tcb, n);
	st->stats.app_write++;
}

void tx_drop(struct sock *s)
{
	struct inbox_node *n = inbox_take(&s->tx_in);

	untag_list(n);
	buf_free_list(n);
}

bool sock_accept_purge(struct stack *st, struct sock *l)
{
	struct thread_rec *self = thread_self_tls;
	struct inbox_node *lists[2];

	(void)st;
	/* The lock is only tried: an application thread may be in accept(). */
	if (!self || !rlock_trylock(&l->rlock, self->tid))
		return false;
	crit_enter(); /* they are in nobody's list meanwhile */
	lists[0] = l->acc_head;
	lists[1] = inbox_take(&l->acc_in);
	l->acc_head = NULL;
	rlock_unlock(&l->rlock);
	for (unsigned i = 0; i < 2; i++)
		while (lists[i]) {
			struct sock *child = container_of(lists[i], struct sock, acc_node);

			lists[i] = lists[i]->next;
			vcount_dec(&l->acc_len, memory_order_acq_rel);
			status_set(child, SOCK_ABORT);
			sock_unref(child, self);
		}
	crit_exit();
	return true;
}

static void item_drop_locked(struct stack *st, struct sock *s, struct item *it)
{
	struct epoll *ep = it->ep;
	uint64_t w = atomic_load_explicit(&it->word, memory_order_relaxed), want;
	bool queue;

	list_del(&it->sock_node);
	crit_enter();
	do {
		want = (w | ITEM_DEAD) & ~ITEM_LINKED;
		/* An instance that still lists it must look at it to forget it. */
		queue = w & ITEM_TABLE && !(w & ITEM_QUEUED);
		if (queue)
			want |= ITEM_QUEUED;
	} while (!atomic_compare_exchange_weak_explicit(&it->word, &w, want, memory_order_acq_rel, memory_order_relaxed));
	vcount_dec(&s->item_count, memory_order_acq_rel);
	if (queue && it->kind == ITEM_THREAD) {
		list_push_back(&st->wake_threads, &it->wake_node);
		crit_exit();
	} else if (queue) {
		inbox_push(&ep->ready_in, &it->ready_node);
		crit_exit();
		if (unlikely(atomic_load_explicit(&ep->dead, memory_order_seq_cst)))
			epoll_drain_dead(ep);
	} else if (!(want & ITEM_HOLDS)) {
		item_free(it);
	} else {
		crit_exit();
	}
}

void sock_items_drop(struct stack *st, struct sock *s)
{
	while (!list_empty(&s->items))
		item_drop_locked(st, s, container_of(s->items.next, struct item, sock_node));
}

void item_on_command(struct stack *st, struct item *it)
{
	uint64_t w = atomic_load_explicit(&it->word, memory_order_acquire);
	struct sock *s = it->s;

	if (unlikely(it->kind == ITEM_REAP)) {
		epoll_reap(st, it->ep);
		return;
	}
	if (unlikely(w & ITEM_LINKED && s->stack_id != st->id)) { /* the socket moved to another stack */
		stack_post(sock_stack(s), &it->cmd, thread_self_tls);
		return;
	}
	crit_enter();
	w = atomic_fetch_and_explicit(&it->word, ~ITEM_CMD, memory_order_acq_rel) & ~ITEM_CMD;
	if (!(w & ITEM_HOLDS)) {
		item_free(it);
		return;
	}
	crit_exit();
	if (!(w & ITEM_LINKED))
		return;
	if (w & ITEM_DEAD) {
		uint64_t holds = ITEM_LINKED;

		list_del(&it->sock_node);
		if (it->kind == ITEM_THREAD) {
			if (w & ITEM_QUEUED) { /* only the owner queues waiting threads, and it is here */
				list_del(&it->wake_node);
				holds |= ITEM_QUEUED;
			}
		} else if (w & ITEM_QUEUED && atomic_load_explicit(&it->ep->dead, memory_order_acquire)) {
			epoll_drain_dead(it->ep);
		}
		crit_enter();
		vcount_dec(&s->item_count, memory_order_acq_rel);
		item_release(it, holds);
		crit_exit();
		sock_maybe_free(st, s);
		return;
	}
	if (!list_linked(&it->sock_node)) {
		uint32_t ready;

		list_push_back(&s->items, &it->sock_node);
		if (unlikely(sock_status(s) & SOCK_ORPHAN)) { /* closed before it was linked */
			item_drop_locked(st, s, it);
			sock_maybe_free(st, s);
			return;
		}
		/* What happened between the linker's own look and now had nobody to tell. */
		ready = sock_ready_events(s, ITEM_EVENTS(w)) & (ITEM_EVENTS(w) | EPOLLERR | EPOLLHUP);
		if (!ready)
			return;
		if (it->kind == ITEM_THREAD) {
			if (!(w & ITEM_QUEUED)) {
				atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_acq_rel);
				list_push_back(&st->wake_threads, &it->wake_node);
			}
		} else if (!(ITEM_EVENTS(w) & EPOLLET) || ready & ~it->add_seen ||
			   atomic_load_explicit(&s->rx_written, memory_order_relaxed) != it->add_written) {
			sock_note_item(st, it);
		}
	}
}

/* Last reference gone. May free s: nothing is touched after. */
void sock_close(struct stack *st, struct sock *s)
{
	uint32_t status = sock_status(s);
	uint64_t linger_us = UINT64_MAX;

	status_set(s, SOCK_ORPHAN | SOCK_CLOSED);
	sock_items_drop(st, s);
	if (status & SOCK_LISTENING) {
		ports_listen(s, false);
		ports_unbind(PORT_TCP, s);
		tcp_listen_stop(st, s);
		if (!sock_accept_purge(st, s)) {
			if (!list_linked(&s->zombie_node))
				list_push_back(&st->zombies, &s->zombie_node);
			return;
		}
		sock_maybe_free(st, s);
		return;
	}
	if (s->type != SOCK_STREAM) {
		sock_tx_run(st, s);
		ports_unbind(PORT_UDP, s);
		sock_maybe_free(st, s);
		return;
	}
	if (atomic_load_explicit(&s->engine_done, memory_order_relaxed)) {
		ports_unbind(PORT_TCP, s);
		sock_maybe_free(st, s);
		return;
	}
	sock_tx_run(st, s);
	if (status & SOCK_ABORT)
		linger_us = 0;
	else if (s->opt.linger_on)
		linger_us = (uint64_t)s->opt.linger_s * (uint64_t)US_PER_S;
	tcp_close(st, &s->tcb, sock_rx_bytes(s) > 0, linger_us);
}

void sock_on_command(struct stack *st, struct sock *s)
{
	uint32_t bits = atomic_exchange_explicit(&s->cmd_bits, 0, memory_order_acq_rel);
	bool orphan;

	if (unlikely(s->stack_id != st->id)) { /* moved to another stack after the command was left */
		sock_post(s, bits & ~SOCK_CMD_QUEUED, thread_self_tls);
		return;
	}
	if (bits & SOCK_CMD_SEND)
		sock_tx_run(st, s);
	if (bits & SOCK_CMD_READ) {
		atomic_store_explicit(&s->rx_acked, atomic_load_explicit(&s->rx_read, memory_order_relaxed), memory_order_relaxed);
		if (!atomic_load_explicit(&s->engine_done, memory_order_relaxed) && !(sock_status(s) & SOCK_DEAD))
			tcp_on_read(st, &s->tcb);
		st->stats.app_read++;
	}
	if (bits & SOCK_CMD_SHUT_WR) {
		sock_tx_run(st, s);
		if (!atomic_load_explicit(&s->engine_done, memory_order_relaxed))
			tcp_shutdown_send(st, &s->tcb);
	}
	if (bits & SOCK_CMD_CLOSE) {
		sock_close(st, s);
		return;
	}
	orphan = sock_status(s) & SOCK_ORPHAN;
	if (bits & SOCK_CMD_SPACE)
		sock_up_acked(st, s, 0);
	if (bits & SOCK_CMD_NOTIFY) {
		if (unlikely(orphan && sock_status(s) & SOCK_LISTENING)) {
			if (!sock_accept_purge(st, s) && !list_linked(&s->zombie_node))
				list_push_back(&st->zombies, &s->zombie_node);
		}
		sock_note(st, s, NOTE_ALL);
	}
	if (unlikely(orphan))
		sock_maybe_free(st, s);
}

/* --- calls --- */

struct pick {
	struct stack *st;
	struct sock *s;
	struct ip_addr laddr, raddr;
	uint16_t rport_be;
};

static bool tuple_ok(uint16_t lport_be, void *arg)
{
	struct pick *p = arg;

	/* The answers must come home. */
	if (gz->nb_stacks > 1 && steer_stack(&p->laddr, lport_be, &p->raddr, p->rport_be) != p->st->id)
		return false;
	return tcp_tuple_is_free(p->st, &p->laddr, lport_be, &p->raddr, p->rport_be);
}

static int64_t op_connect_stream(struct stack *st, struct sock *s, const struct connect_args *a)
{
	struct pick p = { .st = st, .s = s, .raddr = a->raddr, .rport_be = a->rport_be };
	struct tcb *t = &s->tcb;
	uint16_t lport_be = s->bound_port_be;
	int err;

	p.laddr = ip_addr_is_any(&s->bound_addr) ? ip_addr_v4(st->ip4.addr_be) : s->bound_addr;
	if (lport_be) {
		if (!tcp_tuple_is_free(st, &p.laddr, lport_be, &p.raddr, p.rport_be))
			return -EADDRNOTAVAIL;
	} else {
		lport_be = ports_ephemeral(&p.laddr, &p.raddr, p.rport_be, tuple_ok, &p);
		if (!lport_be)
			return -EADDRNOTAVAIL;
	}
	tcp_tcb_init(st, t);
	t->laddr = p.laddr;
	t->raddr = p.raddr;
	t->lport_be = lport_be;
	t->rport_be = p.rport_be;
	/* Before tcp_connect(): its upcalls may come in this very call (own address). */
	status_clear(s, SOCK_DEAD | SOCK_RCV_EOF | SOCK_SHUT_RD | SOCK_SHUT_WR | SOCK_CONNECTED | SOCK_EARLY);
	status_set(s, SOCK_CONNECTING);
	atomic_store_explicit(&s->engine_done, 0, memory_order_relaxed);
	err = tcp_connect(st, t, a->fastopen);
	if (err) {
		status_clear(s, SOCK_CONNECTING);
		atomic_store_explicit(&s->engine_done, 1, memory_order_relaxed);
	} else if (t->fo_waits) {
		status_set(s, SOCK_EARLY);
		sock_note(st, s, NOTE_OUT);
	}
	return err;
}

static int64_t op_connect_datagram(struct stack *st, struct sock *s, const struct connect_args *a)
{
	struct tcb *t = &s->tcb;
	struct ip_addr any = ip_addr_any();
	int err;

	if (!s->bound_port_be) {
		uint16_t port_be = 0;

		err = ports_bind(PORT_UDP, s, &any, &port_be, NULL, NULL);
		if (err)
			return err == -EADDRINUSE ? -EAGAIN : err;
	}
	t->laddr = ip_addr_is_any(&s->bound_addr) ? ip_addr_v4(st->ip4.addr_be) : s->bound_addr;
	t->lport_be = s->bound_port_be;
	t->raddr = a->raddr;
	t->rport_be = a->rport_be;
	memset(&t->route, 0, sizeof(t->route));
	status_set(s, SOCK_CONNECTED);
	return 0;
}

static int64_t op_listen(struct stack *st, struct sock *s)
{
	int err;

	tcp_tcb_init(st, &s->tcb);
	s->tcb.laddr = s->bound_addr;
	s->tcb.lport_be = s->bound_port_be;
	s->tcb.raddr = ip_addr_any();
	s->tcb.rport_be = 0;
	s->tcb.state = TCPS_LISTEN;
	status_clear(s, SOCK_DEAD | SOCK_SHUT_RD | SOCK_SHUT_WR);
	status_set(s, SOCK_LISTENING);
	err = ports_listen(s, true);
	if (err) {
		status_clear(s, SOCK_LISTENING);
		s->tcb.state = TCPS_CLOSED;
	}
	return err;
}

/* shutdown(SHUT_RD) or connect(AF_UNSPEC) on a listener: it stops listening and is an unconnected socket again. */
static int64_t op_unlisten(struct stack *st, struct sock *s)
{
	if (!(sock_status(s) & SOCK_LISTENING))
		return 0;
	ports_listen(s, false);
	tcp_listen_stop(st, s);
	s->tcb.state = TCPS_CLOSED;
	(void)sock_accept_purge(st, s);
	status_clear(s, SOCK_LISTENING);
	sock_note(st, s, NOTE_ALL);
	return 0;
}

static int64_t op_disconnect(struct stack *st, struct sock *s)
{
	uint32_t status = sock_status(s);
	int err = 0;

	if (s->type != SOCK_STREAM) {
		s->tcb.raddr = ip_addr_any();
		s->tcb.rport_be = 0;
		s->tcb.laddr = s->bound_addr;
		status_clear(s, SOCK_CONNECTED);
		return 0;
	}
	if (status & SOCK_LISTENING)
		return op_unlisten(st, s);
	if (!atomic_load_explicit(&s->engine_done, memory_order_relaxed)) {
		/* as tcp_disconnect(): whoever comes next learns what became of the connection */
		if (s->tcb.state < TCPS_CLOSING)
			err = ECONNRESET;
		tcp_abort(st, &s->tcb);
	}
	tx_drop(s);
	atomic_store_explicit(&s->so_error, err, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->tx_acked, sock_tx_used(s), memory_order_relaxed);
	atomic_store_explicit(&s->ss_state, SS_FREE, memory_order_relaxed);
	status_clear(s, SOCK_CONNECTED | SOCK_CONNECTING | SOCK_EARLY | SOCK_RCV_EOF | SOCK_SHUT_RD | SOCK_SHUT_WR | SOCK_DEAD | SOCK_URGENT |
			    SOCK_EVER_CONNECTED);
	sock_note(st, s, NOTE_ALL);
	return 0;
}

static int64_t op_send_oob(struct stack *st, struct sock *s, struct inbox_node *first)
{
	sock_tx_run(st, s);
	buf_untag(pkt_of_node(first));
	if (sock_status(s) & SOCK_DEAD) {
		buf_free_list(first);
		return -EPIPE;
	}
	s->tcb.more = 0;
	tcp_send(st, &s->tcb, first);
	tcp_send_urgent(st, &s->tcb);
	return 0;
}

/* The first write of a connection whose SYN waited for it. */
static int64_t op_send_early(struct stack *st, struct sock *s, struct inbox_node *first, bool more)
{
	untag_list(first);
	if (!(sock_status(s) & SOCK_EARLY)) {
		buf_free_list(first);
		return -EPIPE;
	}
	status_clear(s, SOCK_EARLY);
	tcp_fastopen_send(st, &s->tcb, first, more);
	return 0;
}

/* A writer was killed between counting and handing over: count what there is. */
static int64_t op_tx_repair(struct stack *st, struct sock *s)
{
	uint64_t queued = 0;

	sock_tx_run(st, s);
	if (s->type == SOCK_STREAM && !atomic_load_explicit(&s->engine_done, memory_order_relaxed) &&
	    s->tcb.state > TCPS_LISTEN)
		queued = s->tcb.snd_end - (s->tcb.state < TCPS_ESTABLISHED ? s->tcb.iss + 1 : s->tcb.snd_una);
	atomic_store_explicit(&s->tx_written,
			      atomic_load_explicit(&s->tx_acked, memory_order_relaxed) + queued -
				      atomic_load_explicit(&s->tx_inline, memory_order_relaxed),
			      memory_order_relaxed);
	return 0;
}

int64_t sock_on_call(struct stack *st, struct stack_call *call)
{
	struct sock *s = call->s;

	switch ((enum sock_op)call->op) {
	case SOCK_OP_CONNECT:
		return s->type == SOCK_STREAM ? op_connect_stream(st, s, (const void *)call->buf) :
						op_connect_datagram(st, s, (const void *)call->buf);
	case SOCK_OP_LISTEN:
		return op_listen(st, s);
	case SOCK_OP_UNLISTEN:
		return op_unlisten(st, s);
	case SOCK_OP_SETOPT:
	case SOCK_OP_GETOPT:
	case SOCK_OP_MEMBERSHIP:
		return sock_opt_call(st, call);
	case SOCK_OP_DISCONNECT:
		return op_disconnect(st, s);
	case SOCK_OP_SEND_OOB:
		return op_send_oob(st, s, (struct inbox_node *)(uintptr_t)call->arg[0]);
	case SOCK_OP_SEND_EARLY:
		return op_send_early(st, s, (struct inbox_node *)(uintptr_t)call->arg[0], call->arg[1] != 0);
	case SOCK_OP_TX_REPAIR:
		return op_tx_repair(st, s);
	case SOCK_OP_SEND_DGRAM: {
		struct rte_mbuf *m = (struct rte_mbuf *)(uintptr_t)call->arg[0];

		return udp_output(st, s, m);
	}
	case SOCK_OP_RECLAIM:
		return sock_op_reclaim(st, call);
	case SOCK_OP_BUFFERS:
		return sock_op_buffers(st, call);
	case SOCK_OP_CTL_CONNS:
	case SOCK_OP_CTL_NEIGH:
	case SOCK_OP_CTL_LATENCY:
		return sock_ctl_hook ? sock_ctl_hook(st, call) : -ENOSYS;
	case SOCK_OP_NOP:
	case SOCK_OP_COUNT:
		break;
	}
	return 0;
}

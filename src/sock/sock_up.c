/* sock_up.c - upcalls of the engine: received data, acknowledgements, state changes onto the socket, and the noting of waiters, who are
 * woken at the end of the round (sock_up_flush()). Called by tcp/, udp/ and stack/loop.c; owner of the stack only; nothing here transmits,
 * sleeps, or waits for an application thread. */
#include "sock/sock_up.h"
#include "sock/sock_int.h"
#include "tcp/tcp.h"

/* A segment this small is copied behind the last one instead of pinning a buffer of two kilobytes, once a quarter of the receive
 * buffer is taken (runtime.md, "Memory"). */
#define RX_SMALL_BYTES 512u

/* --- waiters --- */

static force_inline void note_epoll(struct stack *st, struct epoll *ep)
{
	uint32_t mine = st->id + 1u, none = 0;
	uint32_t seen = atomic_load_explicit(&ep->noted_by, memory_order_relaxed);

	if (seen == mine)
		return;
	/* One stack, one owner at a time: nobody else notes. */
	if (likely(gz->nb_stacks == 1 && seen == 0)) {
		atomic_store_explicit(&ep->noted_by, mine, memory_order_relaxed);
		list_push_back(&st->wake_eps, &ep->wake_node);
		return;
	}
	if (seen == 0 && atomic_compare_exchange_strong_explicit(&ep->noted_by, &none, mine, memory_order_acq_rel,
								 memory_order_relaxed)) {
		list_push_back(&st->wake_eps, &ep->wake_node);
		return;
	}
	/* Another stack has it on its list and may be past looking: wake here and now. */
	epoll_wake_one(ep);
	epoll_event_raise(ep);
}

/* The item's events match key? Asked for ERR and HUP always. */
static force_inline bool item_wants(uint64_t word, uint32_t key)
{
	return (ITEM_EVENTS(word) | EPOLLERR | EPOLLHUP) & key;
}

void sock_note_item(struct stack *st, struct item *it)
{
	uint64_t w = atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_acq_rel);

	if (!(w & ITEM_QUEUED))
		inbox_push(&it->ep->ready_in, &it->ready_node);
	note_epoll(st, it->ep);
}

cold_path static void note_items(struct stack *st, struct sock *s, uint32_t key)
{
	struct list *pos, *tmp;
	bool exclusive_done = false;

	list_for_each_safe(pos, tmp, &s->items) {
		struct item *it = container_of(pos, struct item, sock_node);
		uint64_t w = atomic_load_explicit(&it->word, memory_order_relaxed);

		if (it->kind == ITEM_THREAD) {
			/* key 0: data below SO_RCVLOWAT; a blocking call may want less */
			if ((key == 0 || item_wants(w, key)) && !(w & ITEM_QUEUED)) {
				atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_acq_rel);
				list_push_back(&st->wake_threads, &it->wake_node);
			}
			continue;
		}
		if (!item_wants(w, key)) {
			/* epoll_ctl(MOD) may be widening the events just now: it changes the word, then evaluates; we
			 * changed the socket, now look at the word again. One of us sees the other. */
			full_fence();
			w = atomic_load_explicit(&it->word, memory_order_relaxed);
			if (!item_wants(w, key))
				continue;
		}
		if (w & ITEM_DEAD)
			continue;
		if (ITEM_EVENTS(w) & EPOLLEXCLUSIVE && exclusive_done)
			continue;
		/* acq_rel on the word: a waiter that clears QUEUED before this sees what made the socket ready; one that
		 * clears it later finds the item pushed. */
		w = atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_acq_rel);
		if (!(w & ITEM_QUEUED))
			inbox_push(&it->ep->ready_in, &it->ready_node);
		if (ITEM_EVENTS(w) & EPOLLEXCLUSIVE &&
		    atomic_load_explicit(&it->ep->wait_top, memory_order_seq_cst) != 0) {
			/* One instance with a sleeping waiter is enough; the next event goes to another. */
			exclusive_done = true;
			list_del(pos);
			list_push_back(&s->items, pos);
		}
		note_epoll(st, it->ep);
	}
}

void sock_note(struct stack *st, struct sock *s, uint32_t key)
{
	struct list *first = s->items.next;

	if (first == &s->items)
		return;
	/* The one item of one instance, level- or edge-triggered: nearly every connection. */
	if (likely(first->next == &s->items)) {
		struct item *it = container_of(first, struct item, sock_node);
		uint64_t w = atomic_load_explicit(&it->word, memory_order_relaxed);

		if (likely(it->kind == ITEM_EPOLL && item_wants(w, key) && !(w & ITEM_DEAD))) {
			/* seq_cst: before the look at the sleepers in sock_up_flush() */
			w = atomic_fetch_or_explicit(&it->word, ITEM_QUEUED, memory_order_seq_cst);
			if (!(w & ITEM_QUEUED))
				inbox_push(&it->ep->ready_in, &it->ready_node);
			note_epoll(st, it->ep);
			return;
		}
	}
	note_items(st, s, key);
}

void sock_up_prefetch(const struct sock *s)
{
	prefetch(s);
	prefetch(&s->rx_head);
	prefetch(&s->tx_in);
	prefetch(&s->opt);
}

void sock_up_prefetch_waiters(const struct sock *s)
{
	const char *it = (const char *)container_of(s->items.next, struct item, sock_node);

	if (list_empty(&s->items))
		return;
	prefetch(it);
	prefetch(it + CACHE_LINE);
}

void sock_up_notify(struct stack *st, struct sock *s)
{
	sock_note(st, s, NOTE_ALL);
}

cold_path static void flush_threads(struct stack *st)
{
	struct list *n;

	while ((n = list_pop_front(&st->wake_threads))) {
		struct item *it = container_of(n, struct item, wake_node);
		struct thread_rec *t = slab_at(&gz->threads, it->thread);

		item_release(it, ITEM_QUEUED);
		thread_wake(t);
		st->stats.wakeup_events++;
	}
}

void sock_up_flush(struct stack *st)
{
	struct list *n;

	while ((n = list_pop_front(&st->wake_eps))) {
		struct epoll *ep = container_of(n, struct epoll, wake_node);

		/* Before looking for sleepers: who notes it from now on links it again. */
		if (likely(gz->nb_stacks == 1))
			atomic_store_explicit(&ep->noted_by, 0, memory_order_release);
		else
			atomic_exchange_explicit(&ep->noted_by, 0, memory_order_seq_cst);
		epoll_wake_one(ep);
		epoll_event_raise(ep);
		st->stats.wakeup_events++;
	}
	if (unlikely(!list_empty(&st->wake_threads)))
		flush_threads(st);
}

/* --- receiving --- */

/* Many small segments in a queue that nobody reads: the bytes move behind those of the last mbuf. The receive lock is only tried, so
 * the packet path never waits. true: m was used up. */
cold_path static bool rx_merge(struct sock *s, struct rte_mbuf *m)
{
	struct thread_rec *self = thread_self_tls;
	struct rte_mbuf *last;
	struct inbox_node *n;
	bool done = false;

	if (!self || m->nb_segs != 1 || !rlock_trylock(&s->rlock, self->tid))
		return false;
	n = inbox_take(&s->rx_in);
	if (n) {
		if (s->rx_tail)
			s->rx_tail->next = n;
		else
			s->rx_head = n;
		while (n->next)
			n = n->next;
		s->rx_tail = n;
	}
	if (s->rx_tail) {
		last = rte_pktmbuf_lastseg(pkt_of_node(s->rx_tail));
		if (RTE_MBUF_DIRECT(last) && rte_mbuf_refcnt_read(last) == 1 && rte_pktmbuf_tailroom(last) >= m->data_len) {
			memcpy(rte_pktmbuf_mtod_offset(last, char *, last->data_len), rte_pktmbuf_mtod(m, char *), m->data_len);
			last->data_len = (uint16_t)(last->data_len + m->data_len);
			pkt_of_node(s->rx_tail)->pkt_len += m->data_len;
			done = true;
		}
	}
	rlock_unlock(&s->rlock);
	return done;
}

/* Only the owner pushes on a stream, so that an empty inbox stays empty until it does: a store is enough then. */
static force_inline void rx_push(struct sock *s, struct inbox_node *n)
{
	if (likely(inbox_maybe_empty(&s->rx_in))) {
		n->next = NULL;
		atomic_store_explicit(&s->rx_in.head, n, memory_order_release);
		return;
	}
	inbox_push(&s->rx_in, n);
}

void sock_up_data(struct stack *st, struct sock *s, struct rte_mbuf *m)
{
	uint32_t bytes = m->pkt_len;
	uint64_t written = atomic_load_explicit(&s->rx_written, memory_order_relaxed);
	uint64_t true_in = atomic_load_explicit(&s->rx_true_in, memory_order_relaxed);

	if (unlikely(sock_refs(s) == 0)) {
		drop(st, m, DROP_TCP_AFTER_CLOSE); /* nobody will read it */
		return;
	}
	if (unlikely(bytes < RX_SMALL_BYTES) &&
	    unlikely((true_in - atomic_load_explicit(&s->rx_true_out, memory_order_relaxed) >
		      atomic_load_explicit(&s->rcvbuf, memory_order_relaxed) / 4) |
		     (st->mem_level != MEM_OK)) &&
	    rx_merge(s, m)) {
		atomic_store_explicit(&s->rx_written, written + bytes, memory_order_release);
		st->stats.sock_tx_merge++;
		rte_pktmbuf_free(m);
	} else {
		atomic_store_explicit(&s->rx_true_in, true_in + buf_true_bytes(m), memory_order_relaxed);
		rx_push(s, &pkt_meta(m)->q);
		/* release: who sees the count finds the mbuf */
		atomic_store_explicit(&s->rx_written, written + bytes, memory_order_release);
	}
	if (unlikely(atomic_load_explicit(&s->rcvlowat, memory_order_relaxed) > 1) &&
	    written + bytes - atomic_load_explicit(&s->rx_read, memory_order_relaxed) <
		    atomic_load_explicit(&s->rcvlowat, memory_order_relaxed)) {
		sock_note(st, s, 0);
		return;
	}
	sock_note(st, s, NOTE_IN);
}

void sock_up_eof(struct stack *st, struct sock *s)
{
	status_set(s, SOCK_RCV_EOF);
	sock_note(st, s, NOTE_ALL);
}

void sock_up_urgent(struct stack *st, struct sock *s)
{
	/* rx_written is the position of RCV.NXT: everything in order was delivered before this call. */
	atomic_store_explicit(&s->rx_urg_at,
			      atomic_load_explicit(&s->rx_written, memory_order_relaxed) +
				      (uint64_t)(int64_t)(int32_t)(s->tcb.rcv_up - s->tcb.rcv_nxt),
			      memory_order_relaxed);
	status_set(s, SOCK_URGENT);
	sock_note(st, s, EPOLLPRI);
}

uint32_t sock_up_rcv_space(const struct sock *s)
{
	uint32_t rcvbuf = atomic_load_explicit(&s->rcvbuf, memory_order_relaxed);
	uint64_t used = atomic_load_explicit(&s->rx_true_in, memory_order_relaxed) -
			atomic_load_explicit(&s->rx_true_out, memory_order_relaxed);

	/* Half of what is free, as Linux with tcp_adv_win_scale = 1: the other half is for what buffers cost beyond their payload. */
	return used >= rcvbuf ? 0 : (uint32_t)(rcvbuf - used) / 2;
}

/* --- sending --- */

void sock_up_acked(struct stack *st, struct sock *s, uint32_t bytes)
{
	/* No fence between the count and the look at tx_nospace: who notes tx_nospace first also leaves SOCK_CMD_SPACE or an item to link,
	 * which this owner or the next runs after it. One writer: the owner. */
	atomic_store_explicit(&s->tx_acked, atomic_load_explicit(&s->tx_acked, memory_order_relaxed) + bytes, memory_order_release);
	if (unlikely(atomic_load_explicit(&s->tx_nospace, memory_order_relaxed)) && sock_writable(s)) {
		atomic_store_explicit(&s->tx_nospace, 0, memory_order_relaxed);
		tcp_on_room(st, &s->tcb);
		sock_note(st, s, NOTE_OUT);
	}
}

/* --- state --- */

static void set_segment_size(const struct stack *st, struct sock *s)
{
	atomic_store_explicit(&s->tx_tso, st->nd && netdev_chains_segments(st->nd), memory_order_relaxed);
}

struct sock *sock_up_new_child(struct stack *st, struct sock *listener)
{
	struct sock *s;

	crit_enter();
	s = slab_alloc(&gz->socks);
	if (unlikely(!s)) {
		crit_exit();
		st->stats.accept_fail++;
		return NULL;
	}
	sock_init(s, listener->family, SOCK_STREAM, (uint8_t)st->id);
	/* No reference yet: unless it comes into the accept queue, the end of the connection frees it. */
	s->listener = listener;
	vcount_set(&s->refs, 0, memory_order_relaxed);
	atomic_store_explicit(&s->status, SOCK_ORPHAN, memory_order_relaxed);
	crit_exit();
	atomic_store_explicit(&s->engine_done, 0, memory_order_relaxed);
	s->opt = listener->opt;
	s->opt.defer_accept = 0;
	s->opt.fastopen_qlen = 0;
	atomic_store_explicit(&s->rcvbuf, atomic_load_explicit(&listener->rcvbuf, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&s->sndbuf, atomic_load_explicit(&listener->sndbuf, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&s->rcvlowat, atomic_load_explicit(&listener->rcvlowat, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&s->rcvtimeo_us, atomic_load_explicit(&listener->rcvtimeo_us, memory_order_relaxed),
			      memory_order_relaxed);
	atomic_store_explicit(&s->sndtimeo_us, atomic_load_explicit(&listener->sndtimeo_us, memory_order_relaxed),
			      memory_order_relaxed);
	set_segment_size(st, s);
	return s;
}

bool sock_up_accept(struct stack *st, struct sock *listener, struct sock *child)
{
	struct thread_rec *self = thread_self_tls;
	bool foreign = listener->stack_id != st->id, ok;

	if (foreign && self) {
		/* Found by a look-up without a lock: pinned, then checked. */
		atomic_store_explicit(&self->pins[PIN_STACK], listener, memory_order_seq_cst);
		full_fence();
	}
	ok = (sock_status(listener) & (SOCK_LISTENING | SOCK_ORPHAN)) == SOCK_LISTENING;
	if (likely(ok)) {
		crit_enter();
		atomic_store_explicit(&child->ss_state, SS_DONE, memory_order_relaxed);
		atomic_store_explicit(&child->status, SOCK_CONNECTED | SOCK_EVER_CONNECTED |
				      (sock_status(child) & (SOCK_RCV_EOF | SOCK_DEAD | SOCK_URGENT)), memory_order_relaxed);
		child->bound_addr = child->tcb.laddr;
		child->bound_port_be = 0; /* the listener holds the port in the name space */
		child->listener = NULL;
		vcount_set(&child->refs, 1, memory_order_relaxed);
		vcount_inc(&listener->acc_len, memory_order_acq_rel);
		inbox_push(&listener->acc_in, &child->acc_node);
		crit_exit();
		if (likely(!foreign))
			sock_note(st, listener, NOTE_IN);
		else /* also when it was closed meanwhile: its owner then purges the queue once more */
			sock_post(listener, SOCK_CMD_NOTIFY, self);
	}
	if (foreign && self)
		atomic_store_explicit(&self->pins[PIN_STACK], NULL, memory_order_release);
	return ok;
}

void sock_up_connected(struct stack *st, struct sock *s)
{
	set_segment_size(st, s);
	status_set(s, SOCK_CONNECTED | SOCK_EVER_CONNECTED);
	status_clear(s, SOCK_CONNECTING);
	sock_note(st, s, NOTE_ALL);
}

void sock_up_error(struct stack *st, struct sock *s, int err, bool soft)
{
	if (soft) {
		/* Of a connection it is reported only to those who asked (IP_RECVERR); TCP itself remembers it for the time-out (RFC 1122
		 * §4.2.3.9). For datagram sockets the caller has decided. */
		if (s->type == SOCK_STREAM && !s->opt.recverr)
			return;
		atomic_store_explicit(&s->so_error, err, memory_order_release);
		if (s->stack_id == st->id)
			sock_note(st, s, EPOLLERR);
		else if (thread_self_tls)
			sock_post(s, SOCK_CMD_NOTIFY, thread_self_tls);
		return;
	}
	/* As Linux's tcp_reset(): after the peer's FIN only writing can still fail. */
	if (err == ECONNRESET && sock_status(s) & SOCK_RCV_EOF)
		err = EPIPE;
	atomic_store_explicit(&s->so_error, err, memory_order_release);
	status_set(s, SOCK_DEAD);
	status_clear(s, SOCK_CONNECTING | SOCK_EARLY);
	sock_note(st, s, NOTE_ALL);
}

void sock_up_closed(struct stack *st, struct sock *s)
{
	atomic_store_explicit(&s->engine_done, 1, memory_order_release);
	if (!(sock_status(s) & SOCK_DEAD)) {
		status_set(s, SOCK_DEAD);
		sock_note(st, s, NOTE_ALL);
	}
	sock_maybe_free(st, s);
}

/* --- datagrams --- */

cold_path static bool group_wanted(const struct sock *s, struct rte_mbuf *m)
{
	const struct pkt_tx *info = pkt_tx(m);
	struct ip_addr from;

	if (!ip4_is_multicast(info->local_be))
		return true;
	memcpy(&from, info->addr, sizeof(from));
	return sock_mcast_wants(s, info->local_be, ip_addr_get_v4(&from));
}

void sock_up_datagram(struct stack *st, struct sock *s, struct rte_mbuf *m)
{
	struct thread_rec *self = thread_self_tls;
	bool foreign = s->stack_id != st->id;
	uint64_t used;

	if (foreign && self) {
		atomic_store_explicit(&self->pins[PIN_STACK], s, memory_order_seq_cst);
		full_fence();
	}
	used = atomic_load_explicit(&s->rx_true_in, memory_order_relaxed) -
	       atomic_load_explicit(&s->rx_true_out, memory_order_relaxed);
	if (unlikely(used > atomic_load_explicit(&s->rcvbuf, memory_order_relaxed) || (used && st->mem_level == MEM_CRITICAL))) {
		st->stats.sock_rx_drop++;
		drop(st, m, DROP_UDP_RCVBUF);
	} else if (unlikely(s->type != SOCK_DGRAM || sock_status(s) & SOCK_ORPHAN ||
			    sock_refs(s) == 0)) {
		drop(st, m, DROP_UDP_NO_PORT);
	} else if (unlikely(s->mcast && !group_wanted(s, m))) {
		drop(st, m, DROP_UDP_NO_PORT);
	} else {
		atomic_fetch_add_explicit(&s->rx_true_in, buf_true_bytes(m), memory_order_relaxed);
		inbox_push(&s->rx_in, &pkt_meta(m)->q);
		atomic_fetch_add_explicit(&s->rx_written, 1, memory_order_acq_rel);
		if (likely(!foreign))
			sock_note(st, s, NOTE_IN);
		else
			sock_post(s, SOCK_CMD_NOTIFY, self);
	}
	if (foreign && self)
		atomic_store_explicit(&self->pins[PIN_STACK], NULL, memory_order_release);
}

void sock_up_dgram_error(struct stack *st, struct sock *s, struct rte_mbuf *m)
{
	uint64_t used = atomic_load_explicit(&s->rx_true_in, memory_order_relaxed) -
			atomic_load_explicit(&s->rx_true_out, memory_order_relaxed);

	/* bounded by the receive buffer, as on Linux */
	if (used > atomic_load_explicit(&s->rcvbuf, memory_order_relaxed) || atomic_load_explicit(&s->refs, memory_order_relaxed) == 0) {
		drop(st, m, DROP_UDP_RCVBUF);
		return;
	}
	atomic_fetch_add_explicit(&s->rx_true_in, buf_true_bytes(m), memory_order_relaxed);
	inbox_push(&s->err_in, &pkt_meta(m)->q);
	if (s->stack_id == st->id)
		sock_note(st, s, EPOLLERR);
	else if (thread_self_tls)
		sock_post(s, SOCK_CMD_NOTIFY, thread_self_tls);
}

/* view_conns.c - the table of connections, read without the stacks' help.
 *
 * The slabs of sockets, SYN records and TIME_WAIT records are type-stable (base/region.h): the control thread walks them by index, copies what it
 * shows, and drops a row whose generation changed meanwhile. A million connections are read in bounded steps: a request carries a cursor, an
 * answer at most ROWS rows and the next cursor. The stacks do nothing for it. Values of a row may be from slightly different moments.
 */
#include "ctl/views.h"

#include "base/clock.h"
#include "sock/sock.h"
#include "stack/proc.h"
#include "stack/steer.h"
#include "tcp/cc.h"
#include "tcp/info.h"
#include "tcp/records.h"
#include "tcp/tcp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 1000
#define ROWS_WITH_INFO 250 /* their rows are four times as long */
#define SLOTS 65536 /* looked at per request */

/* The cursor runs through three slabs; the top bits say which. */
#define CURSOR_SHIFT 32
enum part { PART_SOCKS, PART_SYN, PART_TW, PART_END };

/* --- which number the program knows a socket by --- */

/* Numbers by socket index, of the home process; made when a walk begins. [control thread] */
static struct {
	int32_t *fd; /* number + 1; 0: none */
	uint32_t n;
} numbers;

static void numbers_read(void)
{
	uint32_t fresh = atomic_load_explicit(&gz->socks.fresh, memory_order_acquire);
	struct proc_rec *home = NULL;

	free(numbers.fd);
	numbers.fd = calloc(fresh ? fresh : 1, sizeof(*numbers.fd));
	numbers.n = numbers.fd ? fresh : 0;
	for (uint32_t i = 0; i < atomic_load_explicit(&gz->procs.fresh, memory_order_acquire); i++) {
		struct proc_rec *p = slab_at(&gz->procs, i);

		if ((atomic_load_explicit(&p->slab.gen, memory_order_acquire) & 1) && atomic_load(&p->pid) == gz->home_pid)
			home = p;
	}
	for (unsigned c = 0; home && c < FD_DIR_LEN; c++) {
		uint32_t chunk = atomic_load_explicit(&home->chunk[c], memory_order_acquire);
		const struct fd_chunk *e;

		if (!chunk || chunk > gz->fdchunks.capacity)
			continue;
		e = slab_at(&gz->fdchunks, chunk - 1);
		for (unsigned i = 0; i < FD_CHUNK_LEN; i++) {
			uintptr_t desc = atomic_load_explicit(&e->e[i].desc, memory_order_relaxed) & ~(uintptr_t)(CACHE_LINE - 1);

			/* epoll instances and foreign descriptions are not in this slab */
			if (desc >= (uintptr_t)gz->socks.base && desc < (uintptr_t)gz->socks.base + (size_t)numbers.n * gz->socks.obj_bytes)
				numbers.fd[slab_index(&gz->socks, (void *)desc)] = (int32_t)(c * FD_CHUNK_LEN + i) + 1;
		}
	}
}

static int number_of(uint32_t index)
{
	return index < numbers.n ? numbers.fd[index] - 1 : -1;
}

/* --- rows --- */

static void put_end(struct json_object *o, const char *addr_key, const char *port_key, const struct ip_addr *a, uint16_t port_be)
{
	char text[INET6_ADDRSTRLEN];

	if (ip_addr_is_v4(a) || ip_addr_is_any(a)) {
		uint32_t v4 = ip_addr_is_any(a) ? 0 : ip_addr_get_v4(a);

		inet_ntop(AF_INET, &v4, text, sizeof(text));
	} else {
		inet_ntop(AF_INET6, a->b, text, sizeof(text));
	}
	put_str(o, addr_key, text);
	put_u64(o, port_key, ntohs(port_be));
}

static uint64_t in_units(uint64_t bytes, uint32_t unit)
{
	return unit ? (bytes + unit - 1) / unit : bytes != 0;
}

/* Every field of tcp_info by the name of the kernel's, in its units; from memory that may change meanwhile. */
static void put_info(struct json_object *o, const struct sock *s)
{
	struct gz_tcp_info i;

	tcp_get_info(&gz->stacks[s->stack_id], &s->tcb, s, false, &i);
#define F(f) put_u64(o, "tcpi_" #f, i.tcpi_##f)
	F(state), F(ca_state), F(retransmits), F(probes), F(backoff), F(options), F(snd_wscale), F(rcv_wscale), F(delivery_rate_app_limited);
	F(fastopen_client_fail), F(rto), F(ato), F(snd_mss), F(rcv_mss), F(unacked), F(sacked), F(lost), F(retrans), F(fackets);
	F(last_data_sent), F(last_ack_sent), F(last_data_recv), F(last_ack_recv), F(pmtu), F(rcv_ssthresh), F(rtt), F(rttvar);
	F(snd_ssthresh), F(snd_cwnd), F(advmss), F(reordering), F(rcv_rtt), F(rcv_space), F(total_retrans), F(pacing_rate);
	F(max_pacing_rate), F(bytes_acked), F(bytes_received), F(segs_out), F(segs_in), F(notsent_bytes), F(min_rtt), F(data_segs_in);
	F(data_segs_out), F(delivery_rate), F(busy_time), F(rwnd_limited), F(sndbuf_limited), F(delivered), F(delivered_ce), F(bytes_sent);
	F(bytes_retrans), F(dsack_dups), F(reord_seen), F(rcv_ooopack), F(snd_wnd), F(rcv_wnd), F(rehash), F(total_rto);
	F(total_rto_recoveries), F(total_rto_time);
#undef F
}

/* false: no row (unbound, or it changed while it was read). */
static bool put_sock(struct json_object *rows, uint32_t index, int want_stack, bool udp, bool info)
{
	const struct sock *s = slab_at(&gz->socks, index);
	uint32_t gen = atomic_load_explicit(&s->slab.gen, memory_order_acquire);
	uint32_t status = sock_status(s);
	const struct tcb *t = &s->tcb;
	struct json_object *o;
	uint64_t unread, unsent, used;

	if (!(gen & 1) || s->stack_id >= gz->nb_stacks || (want_stack >= 0 && s->stack_id != want_stack))
		return false;
	if (s->type != SOCK_STREAM && !(udp && s->type == SOCK_DGRAM))
		return false;
	/* before bind or connect there is nothing to tell */
	if (t->state == TCPS_CLOSED && !(status & (SOCK_LISTENING | SOCK_BOUND | SOCK_CONNECTED)))
		return false;
	o = json_object_new_object();
	put_str(o, "proto", s->type == SOCK_STREAM ? "tcp" : "udp");
	put_u64(o, "stack", s->stack_id);
	put_i64(o, "fd", number_of(index));
	put_u64(o, "family", s->family);
	if (s->type == SOCK_DGRAM) {
		put_str(o, "state", status & SOCK_CONNECTED ? "ESTABLISHED" : "UNCONN");
		put_end(o, "laddr", "lport", &s->bound_addr, s->bound_port_be);
		put_end(o, "raddr", "rport", &t->raddr, t->rport_be);
		put_u64(o, "recvmbox", sock_rx_bytes(s));
		goto add;
	}
	if (status & SOCK_LISTENING) {
		put_str(o, "state", "LISTEN");
		put_end(o, "laddr", "lport", &s->bound_addr, s->bound_port_be);
		put_u64(o, "accept_queue", vcount_get(&s->acc_len, memory_order_relaxed));
		put_u64(o, "backlog", atomic_load_explicit(&s->backlog, memory_order_relaxed));
		goto add;
	}
	unread = sock_rx_bytes(s);
	used = sock_tx_used(s);
	unsent = used - MIN(used, (uint64_t)(t->snd_nxt - t->snd_una));
	put_str(o, "state", tcp_state_name(t->state));
	put_end(o, "laddr", "lport", &t->laddr, t->lport_be);
	put_end(o, "raddr", "rport", &t->raddr, t->rport_be);
	put_u64(o, "recvmbox", in_units(unread, t->rcv_mss));
	put_u64(o, "sendmbox", in_units(unsent, t->mss));
	put_u64(o, "in_send", (atomic_load_explicit(&s->cmd_bits, memory_order_relaxed) & SOCK_CMD_SEND) != 0);
	put_u64(o, "cwnd", t->cwnd);
	put_u64(o, "rcv_wnd", t->rcv_adv - t->rcv_nxt);
	put_u64(o, "snd_wnd", t->snd_wnd);
	{
		uint32_t sndbuf = atomic_load_explicit(&s->sndbuf, memory_order_relaxed);

		put_u64(o, "snd_buf", used < sndbuf ? sndbuf - used : 0);
	}
	put_u64(o, "snd_nxt", t->snd_nxt);
	put_u64(o, "lastack", t->snd_una);
	put_u64(o, "rcv_nxt", t->rcv_nxt);
	put_u64(o, "events", sock_readiness(s));
	put_u64(o, "items", vcount_get(&s->item_count, memory_order_relaxed));
	put_u64(o, "keepalive", s->opt.keepalive);
	put_u64(o, "keep_idle", s->opt.keep_idle_s);
	put_u64(o, "keep_intvl", s->opt.keep_intvl_s);
	put_u64(o, "keep_cnt", s->opt.keep_cnt);
	put_u64(o, "pingpong", t->pingpong);
	/* ours */
	put_u64(o, "unread_bytes", unread);
	put_u64(o, "unsent_bytes", unsent);
	put_u64(o, "srtt_us", t->srtt_us);
	put_u64(o, "rttvar_us", t->rttvar_us);
	put_u64(o, "rto_us", t->rto_us);
	put_u64(o, "mss", t->mss);
	put_u64(o, "ssthresh", t->ssthresh);
	put_u64(o, "retrans", t->total_rexmit);
	put_u64(o, "bytes_retrans", t->bytes_rexmit);
	put_u64(o, "bytes_sent", t->bytes_sent);
	if (info) {
		const struct tcp_cc_ops *cc = t->cc;

		put_str(o, "congestion", cc ? cc->name : "");
		put_info(put_object(o, "info"), s);
	}
add:
	if (atomic_load_explicit(&s->slab.gen, memory_order_acquire) != gen) {
		json_object_put(o);
		return false;
	}
	json_object_array_add(rows, o);
	return true;
}

static bool put_key(struct json_object *rows, const struct slab_hdr *h, const struct tcp_key *k, const char *state, int want_stack)
{
	uint32_t gen = atomic_load_explicit(&h->gen, memory_order_acquire);
	struct tcp_key copy = *k;
	uint32_t stack;
	struct json_object *o;

	if (!(gen & 1))
		return false;
	stack = gz->nb_stacks > 1 ? steer_stack(&copy.laddr, copy.lport_be, &copy.raddr, copy.rport_be) : 0;
	if (want_stack >= 0 && stack != (uint32_t)want_stack)
		return false;
	if (atomic_load_explicit(&h->gen, memory_order_acquire) != gen)
		return false;
	o = append_object(rows);
	put_str(o, "proto", "tcp");
	put_u64(o, "stack", stack);
	put_i64(o, "fd", -1);
	put_u64(o, "family", ip_addr_is_v4(&copy.laddr) ? AF_INET : AF_INET6);
	put_str(o, "state", state);
	put_end(o, "laddr", "lport", &copy.laddr, copy.lport_be);
	put_end(o, "raddr", "rport", &copy.raddr, copy.rport_be);
	return true;
}

const char *view_conns(const struct ctl_request *rq, struct json_object *out)
{
	uint64_t cursor = (uint64_t)get_i64(rq, "cursor", 0);
	int64_t want = get_i64(rq, "stack", -1);
	bool udp = get_i64(rq, "udp", 0) != 0, info = get_i64(rq, "info", 0) != 0;
	unsigned most = info ? ROWS_WITH_INFO : ROWS;
	struct json_object *rows;
	unsigned taken = 0, looked = 0;
	uint32_t part = (uint32_t)(cursor >> CURSOR_SHIFT), i = (uint32_t)cursor;
	const struct slab *slabs[PART_END];

	if (!gz || !atomic_load_explicit(&gz->running, memory_order_acquire))
		return "the stack has not started yet: it does at the program's first bind, listen, connect or send";
	if (want < -1 || want >= (int64_t)gz->nb_stacks)
		return "conns: there is no such stack";
	slabs[PART_SOCKS] = &gz->socks;
	slabs[PART_SYN] = &gz->syn_recs;
	slabs[PART_TW] = &gz->tw_recs;
	if (cursor == 0)
		numbers_read();
	rows = put_array(out, "conns");
	for (; part < PART_END; part++, i = 0) {
		uint32_t fresh = MIN(atomic_load_explicit(&slabs[part]->fresh, memory_order_acquire), slabs[part]->capacity);

		for (; i < fresh && taken < most && looked < SLOTS; i++, looked++) {
			void *obj = slab_at(slabs[part], i);

			switch ((enum part)part) {
			case PART_SOCKS:
				taken += put_sock(rows, i, (int)want, udp, info);
				break;
			case PART_SYN:
				taken += put_key(rows, obj, &((struct tcp_syn *)obj)->key, "SYN_RECVD", (int)want);
				break;
			case PART_TW:
				taken += put_key(rows, obj, &((struct tcp_tw *)obj)->key, "TIME_WAIT", (int)want);
				break;
			case PART_END:
				break;
			}
		}
		if (i < fresh) {
			put_u64(out, "next", (uint64_t)part << CURSOR_SHIFT | i);
			return NULL;
		}
	}
	return NULL;
}

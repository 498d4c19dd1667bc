/* fastopen_client.c - TCP Fast Open, the client's side (RFC 7413 §4.1.3, §4.2.1): data leaves with the SYN. Called by conn.c when a connection is to be opened so,
 * output.c for the SYN, slow.c for its answer, sock for the data; owner of the stack. Off unless the configuration says so.
 *
 * Cookies are kept by destination in a table that forgets what its slot is needed for: losing one costs a round trip. With a cookie the SYN waits for the data
 * (tcb.fo_waits); without, it leaves at once and asks for one. The data is in the send queue, unsent as far as the queue knows; the SYN carries a copy of its
 * beginning. What the answer does not acknowledge is sent as if it had never left, and a SYN that is repeated carries neither option nor data (§4.2.1, §4.1.3.1).
 *
 * A middlebox that drops SYNs with data costs an RTO each time: after FO_LOSSES in a row a destination gets plain SYNs for a while (§4.1.3.1).
 */
#include "tcp/tcp_int.h"

#include "base/siphash.h"

#define FO_DESTS 256u
#define FO_LOSSES 2u
#define FO_AVOID_US (120ull * US_PER_S) /* doubled with every further loss ... */
#define FO_AVOID_SHIFT 6u		/* ... so often at most */
/* Room for every option; the SYN's data must fit beside them. */
#define OPTIONS_MAX 40u

/* A peer that grants no cookie may be older than the option's kind: it is asked once by the experimental one (Linux). */
enum { EXP_UNTRIED, EXP_NEXT, EXP_TRIED };

struct tcp_fo_dest {
	struct ip_addr raddr;
	uint64_t lost_us; /* the last SYN with data that got lost */
	uint16_t mss;	  /* the peer's option; 0: unknown */
	uint8_t len;	  /* of the cookie; 0: none */
	uint8_t losses;	  /* in a row */
	bool exp;	  /* the cookie came in the experimental option, and goes in it */
	uint8_t try_exp;  /* EXP_*, never back */
	uint8_t cookie[TCP_FO_MAX];
};

static struct tcp_fo_dest *slot_of(struct stack *st, const struct ip_addr *raddr)
{
	return &st->tcp->fo_dests[siphash24(st->secret, raddr, sizeof(*raddr)) % FO_DESTS];
}

static struct tcp_fo_dest *dest_of(struct stack *st, const struct ip_addr *raddr)
{
	struct tcp_fo_dest *d;

	if (!st->tcp->fo_dests)
		return NULL;
	d = slot_of(st, raddr);
	return ip_addr_eq(&d->raddr, raddr) ? d : NULL;
}

static struct tcp_fo_dest *dest_make(struct stack *st, const struct ip_addr *raddr)
{
	struct tcp_fo_dest *d;

	if (!st->tcp->fo_dests)
		st->tcp->fo_dests = calloc(FO_DESTS, sizeof(*st->tcp->fo_dests));
	if (!st->tcp->fo_dests)
		return NULL;
	d = slot_of(st, raddr);
	if (!ip_addr_eq(&d->raddr, raddr))
		*d = (struct tcp_fo_dest){ .raddr = *raddr };
	return d;
}

static bool avoided(const struct stack *st, const struct tcp_fo_dest *d)
{
	return d && d->losses >= FO_LOSSES &&
	       st->now_us - d->lost_us < FO_AVOID_US << MIN(d->losses - FO_LOSSES, FO_AVOID_SHIFT);
}

static bool asks_exp(const struct tcp_fo_dest *d) { return d && !d->len && d->try_exp == EXP_NEXT; }

void tcp_fastopen_connect(struct stack *st, struct tcb *t)
{
	const struct tcp_fo_dest *d = dest_of(st, &t->raddr);
	const struct sock_opts *o = &sock_of_tcb(t)->opt;
	uint32_t mss;

	if (!(st->tcp->conf.fastopen & TCP_FO_CLIENT))
		return;
	if (avoided(st, d)) {
		t->fo_fail = TCP_FO_FAIL_NO_COOKIE;
		return;
	}
	t->fo_syn = 1;
	t->fo_bare = o->fastopen_no_cookie || st->tcp->conf.fastopen & TCP_FO_CLIENT_BARE;
	if (!t->fo_bare && (!d || !d->len)) {
		t->fo_fail = TCP_FO_FAIL_NO_COOKIE;
		return;
	}
	/* what the peer's option said the last time; without (fo_bare), what the path is known to carry, as Linux */
	mss = d && d->mss ? MIN(d->mss, t->mss_offered) : t->mss_offered;
	t->fo_bytes = (uint16_t)(mss > OPTIONS_MAX ? mss - OPTIONS_MAX : 0);
	t->fo_waits = 1;
}

void tcp_fastopen_send(struct stack *st, struct tcb *t, struct inbox_node *first, bool more)
{
	tcp_send(st, t, first);
	if (!t->fo_waits)
		return;
	t->fo_waits = 0;
	t->fo_more = more;
	t->fo_bytes = (uint16_t)MIN(t->fo_bytes, t->snd_end - (t->iss + 1));
	t->rexmit_since_us = st->now_us;
	tcp_mark_output(st, t, TCP_OUT_SYN);
}

void tcp_fastopen_syn_opts(struct stack *st, const struct tcb *t, struct tcp_syn_opts *o)
{
	static const uint8_t none;
	const struct tcp_fo_dest *d = dest_of(st, &t->raddr);

	if (t->fo_bare)
		return;
	o->fo = d ? d->cookie : &none;
	o->fo_len = d ? d->len : 0;
	o->fo_exp = asks_exp(d) || (d && d->len && d->exp);
}

uint32_t tcp_fastopen_syn_data(struct tcb *t, struct rte_mbuf *m)
{
	uint32_t room = rte_pktmbuf_tailroom(m), n = 0, part;

	/* what does not fit the buffer leaves later */
	t->fo_bytes = (uint16_t)MIN(t->fo_bytes, room);
	for (struct rte_mbuf *q = t->sq_head; q && n < t->fo_bytes; q = tcp_sendq_next(q)) {
		part = MIN(pkt_meta(q)->len, t->fo_bytes - n);
		memcpy(rte_pktmbuf_append(m, (uint16_t)part), (char *)q->buf_addr + pkt_meta(q)->off, part);
		n += part;
	}
	t->fo_bytes = (uint16_t)n;
	t->data_segs_out += n != 0;
	return n;
}

/* What the SYN brought there leaves the queue. */
static void arrived(struct stack *st, struct tcb *t, uint32_t bytes)
{
	while (bytes) {
		struct rte_mbuf *m = t->sq_head;
		uint32_t part = MIN(pkt_meta(m)->len, bytes);

		bytes -= part;
		if (part < pkt_meta(m)->len) {
			tcp_mbuf_trim(m, part);
			break;
		}
		t->sq_head = t->sq_next = tcp_sendq_next(m);
		rte_pktmbuf_free_seg(m);
	}
	if (!t->sq_head)
		tcp_busy_ends(st, t);
}

/* What it brought in vain is data like any other now. */
static void refused(struct tcb *t, uint32_t bytes)
{
	for (struct rte_mbuf *m = t->sq_head; m && bytes; m = tcp_sendq_next(m)) {
		pkt_tx(m)->push |= PKT_PUSH_SYN;
		bytes -= MIN(bytes, pkt_meta(m)->len);
	}
}

/* "Fragmentation needed" for a SYN with data: it goes again at once, without (Linux). */
void tcp_fastopen_too_large(struct stack *st, struct tcb *t, uint32_t mtu)
{
	if (t->state != TCPS_SYN_SENT || !t->fo_bytes || t->syn_retrans || mtu < IP4_HDR_BYTES + TCP_HDR_MIN + TCP_MSS_FLOOR)
		return;
	t->mss_offered = (uint16_t)MIN(t->mss_offered, mtu - IP4_HDR_BYTES - TCP_HDR_MIN);
	t->syn_retrans++;
	st->mib.tcp_syn_retrans++;
	tcp_mark_output(st, t, TCP_OUT_SYN);
}

uint32_t tcp_fastopen_answered(struct stack *st, struct tcb *t, const struct tcp_seg *g)
{
	bool granted = (g->o.has & TCP_OPT_FO) && g->o.fo_len >= TCP_FO_MIN && !t->fo_bare;
	uint32_t bytes = g->ack - (t->iss + 1);
	/* only what was sent again was heard: the SYN with data, or its answer, got lost */
	bool lost = t->syn_retrans && !granted && t->fo_bytes > bytes;
	struct tcp_fo_dest *d = dest_of(st, &t->raddr);
	bool in_vain = !granted && !t->fo_bare && !t->syn_retrans && !(d && d->len); /* asked for a cookie */

	if (granted || lost || in_vain)
		d = dest_make(st, &t->raddr);
	if (d) {
		if (in_vain)
			d->try_exp = MIN(d->try_exp + 1, EXP_TRIED);
		d->mss = g->o.mss;
		if (granted) {
			d->len = g->o.fo_len;
			d->exp = g->o.fo_exp;
			memcpy(d->cookie, g->o.fo, g->o.fo_len);
		}
		if (lost) {
			d->losses += d->losses < UINT8_MAX;
			d->lost_us = st->now_us;
		} else {
			d->losses = 0;
		}
	}
	if (bytes) {
		arrived(st, t, bytes);
		t->snd_nxt = g->ack;
		t->delivered += bytes;
		t->opts |= TCP_OPT_FO;
		st->mib.tcp_fastopen_active++;
	}
	if (t->fo_bytes > bytes) {
		refused(t, t->fo_bytes - bytes);
		t->fo_fail = t->syn_retrans ? TCP_FO_FAIL_REPEATED : TCP_FO_FAIL_NOT_ACKED;
		t->total_rexmit++;
		t->bytes_rexmit += t->fo_bytes - bytes;
		st->mib.tcp_fastopen_active_fail++;
	}
	t->fo_bytes = 0;
	return bytes;
}

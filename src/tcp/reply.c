/* reply.c - packets that leave without a connection: RST, SYN-ACK, ACKs of TIME_WAIT. Complete IPv4 packets on the stack's bounded reply list, checksummed
 * in software: they are small and rare. Called by listen, timewait, slow, conn; owner of the stack. RFC 9293 §3.5.2, §3.10.7.1.
 */
#include "tcp/tcp_int.h"

struct ip4_hdr {
	uint8_t ver_len, tos;
	uint16_t total_be, id_be, frag_be;
	uint8_t ttl, proto;
	uint16_t csum;
	uint32_t src_be, dst_be;
} gz_packed;

#define IP4_DF 0x4000u

void tcp_reply(struct stack *st, const struct tcp_reply *r)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(st->pool);
	uint16_t hlen = (uint16_t)(TCP_HDR_MIN + r->opt_len), total = (uint16_t)(sizeof(struct ip4_hdr) + hlen);
	struct ip4_hdr *ip;
	struct tcp_hdr *h;

	if (!m) {
		st->drops[DROP_NO_MBUF]++;
		return;
	}
	ip = (struct ip4_hdr *)rte_pktmbuf_append(m, total);
	h = (struct tcp_hdr *)(ip + 1);
	*ip = (struct ip4_hdr){
		.ver_len = 0x45,
		.tos = r->tos & 0xfc,
		.total_be = htons(total),
		.frag_be = htons(IP4_DF), /* RFC 6864 §4: an atomic datagram, its id means nothing */
		.ttl = 64,
		.proto = TCP_PROTO,
		.src_be = ip_addr_get_v4(r->laddr),
		.dst_be = ip_addr_get_v4(r->raddr),
	};
	ip->csum = csum_ip4_20(ip);
	*h = (struct tcp_hdr){
		.sport_be = r->lport_be,
		.dport_be = r->rport_be,
		.seq_be = htonl(r->seq),
		.ack_be = htonl(r->ack),
		.off = (uint8_t)(hlen / 4 << 4),
		.flags = r->flags,
		.wnd_be = htons(r->wnd),
	};
	memcpy(h + 1, r->opt, r->opt_len);
	h->csum = (uint16_t)~csum_fold(csum_bytes(h, hlen, tcp_pseudo_sum(r->laddr, r->raddr, hlen)));
	m->l2_len = 0;
	m->l3_len = sizeof(*ip);
	m->l4_len = hlen;
	st->mib.tcp_out_seg++;
	st->mib.tcp_out_rst += !!(r->flags & TCP_RST);
	stack_reply(st, m);
}

void tcp_reply_rst(struct stack *st, const struct tcp_seg *g)
{
	struct tcp_reply r = {
		.laddr = g->dst,
		.raddr = g->src,
		.lport_be = g->dport_be,
		.rport_be = g->sport_be,
		.flags = TCP_RST,
	};

	if (g->flags & TCP_RST)
		return;
	if (g->flags & TCP_ACK) {
		r.seq = g->ack;
	} else {
		r.flags |= TCP_ACK;
		r.ack = tcp_seg_end(g);
	}
	tcp_reply(st, &r);
}

void tcp_reply_rst_conn(struct stack *st, const struct tcb *t, uint32_t seq)
{
	struct tcp_reply r = {
		.laddr = &t->laddr,
		.raddr = &t->raddr,
		.lport_be = t->lport_be,
		.rport_be = t->rport_be,
		.seq = seq,
		.ack = t->rcv_nxt,
		.flags = TCP_RST | TCP_ACK,
		.tos = sock_of_tcb(t)->opt.tos,
	};

	if (t->opts & TCP_OPT_TS) {
		/* RFC 7323 §3.2 allows it, and PAWS of some peers wants it */
		r.opt_len = TCP_TS_BYTES;
		tcp_opts_write_ts(r.opt, tcp_ts_now(st, t), t->ts_recent);
	}
	tcp_reply(st, &r);
}

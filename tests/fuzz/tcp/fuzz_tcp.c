/* fuzz_tcp.c - segments into connections in every state. The input is a list of actions: segments
 * whose numbers are relative to what the connection, the half-open record or the quarantined one
 * expects, steps of time, calls of the application. So the fuzzer reaches deep states without
 * guessing sequence numbers. Properties: no crash, no undefined behaviour, bounded work, every
 * frame sent is well formed, the scoreboard's counters are what its marks say, states follow one
 * another as RFC 9293 §3.3.2 has them, no connection has an option that its SYN did not ask for,
 * and after everything was reset no socket, record or mbuf is left.
 */
#include "fuzz_common.h"

#include "base/seq.h"
#include "tcp/tcp.h"
#include "tcp/tcp_int.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#define ACTIONS_MAX 200
#define OPENED_MAX  24

/* What the peer knows of a connection, also when the stack has only a record of it, or nothing. */
struct end {
	uint16_t rport, lport;
	uint32_t seq, ack; /* next of the peer's, next of ours */
	uint32_t echo;	   /* the last timestamp that came */
};

#define HALF_PORT  30000 /* the first of those that half-open connections come from */
#define HALF_PORTS 4

/* What the SYNs from one of these ports asked for, all of them together. */
static struct asked {
	bool sackok, ws, ts, fo;
	bool early; /* a cookie was shown, so that data in the SYN may have been taken */
	uint32_t echo; /* the timestamp of the last SYN-ACK */
} asked[HALF_PORTS];

struct live {
	struct sock *listener, *s;
	uint16_t rport, lport;
	uint32_t last_seq, last_ack; /* when there is no connection to ask */
	unsigned opened, flooded;
	struct end half, old; /* a SYN that was answered; the connection before this one */
	uint8_t cookie[16], cookie_len; /* of Fast Open, the last that was granted */
	uint8_t state;
};

static uint8_t payload[2048];

/* A number near what counts: the base, or base + a small or large distance. */
static uint32_t near(struct bytes *b, uint32_t base)
{
	uint8_t how = take8(b);

	switch (how & 7) {
	case 0:
	case 1:
	case 2:
		return base;
	case 3:
		return base + take8(b);
	case 4:
		return base - take8(b);
	case 5:
		return base + take16(b);
	case 6:
		return base - take16(b);
	default:
		return base + take32(b);
	}
}

static void options(struct bytes *b, struct seg_opts *o, const struct tcb *t)
{
	uint8_t how = take8(b);

	if (how & 0x80) { /* any bytes */
		o->raw_len = (uint8_t)((how & 0x7f) % 11 * 4);
		for (unsigned i = 0; i < o->raw_len; i++)
			o->raw[i] = take8(b);
		return;
	}
	if (how & 1) {
		o->has_mss = true;
		o->mss = take16(b);
	}
	if (how & 2) {
		o->has_ws = true;
		o->ws = take8(b);
	}
	o->has_sackok = how & 4;
	if (how & 8) {
		o->has_ts = true;
		o->tsval = near(b, t ? t->ts_recent : 1000);
		o->tsecr = near(b, t ? (uint32_t)(vclock_us / 1000) + t->ts_off : 0);
	}
	if ((how & 0x30) && !(how & 7)) {
		o->nsack = (uint8_t)(how >> 4 & 3);
		for (unsigned i = 0; i < o->nsack; i++) {
			o->sack[i].left = near(b, t ? t->snd_una : 0);
			o->sack[i].right = o->sack[i].left + take16(b);
		}
	}
}

/* A segment reaches the stack; what it asks for as a SYN is noted. */
static void arrive(const struct seg *s)
{
	unsigned port = s->sport - HALF_PORT;

	if (s->flags & TH_SYN && port < HALF_PORTS) {
		struct asked *a = &asked[port];

		a->sackok |= s->opt.has_sackok || s->opt.raw_len;
		a->ws |= s->opt.has_ws || s->opt.raw_len;
		a->ts |= s->opt.has_ts || s->opt.raw_len;
		a->fo |= s->opt.has_fo || s->opt.raw_len;
		a->early |= s->opt.raw_len != 0; /* any bytes may be a cookie */
	} else if (port < HALF_PORTS && (s->opt.raw_len || (s->opt.has_ts && (!asked[port].ts || s->opt.tsecr != asked[port].echo)))) {
		/* where only a SYN cookie remembers the options, they are what the echo says */
		asked[port].sackok = asked[port].ws = asked[port].ts = true;
	}
	memdev_push(&tenv.host[0].dev, seg_build(s));
	testenv_settle();
}

static void segment(struct live *l, struct bytes *b)
{
	const struct tcb *t = l->s && !atomic_load(&l->s->engine_done) ? &l->s->tcb : NULL;
	struct seg s = { .kind = SEG_TCP,
			 .saddr = testenv_ip(1),
			 .daddr = testenv_ip(0),
			 .sport = l->rport,
			 .dport = l->lport };
	uint8_t flags = take8(b);

	memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
	/* half of the segments are plain data or ACKs */
	s.flags = flags & 0x80 ? TH_ACK | (flags & TH_PSH) : flags & 0x3f;
	s.seq = near(b, t ? t->rcv_nxt : l->last_seq);
	s.ack = s.flags & TH_ACK
			? near(b, t ? (take8(b) & 1 ? t->snd_nxt : t->snd_una) : l->last_ack)
			: 0;
	s.win = take16(b);
	s.urg = s.flags & TH_URG ? take16(b) : 0;
	options(b, &s.opt, t);
	s.data = payload;
	s.len = flags & 0x40 ? take16(b) % 1461 : take8(b) & 0x0f;
	arrive(&s);
}

/* The timestamp option as an honest peer writes it. */
static void stamp(struct seg *s, const struct tcb *t)
{
	if (t && (t->opts & TCP_OPT_TS)) {
		s->opt.has_ts = true;
		s->opt.tsval = t->ts_recent;
		s->opt.tsecr = (uint32_t)(vclock_us / 1000) + t->ts_off;
	}
}

static void push(struct seg *s, const struct end *e)
{
	s->kind = SEG_TCP;
	s->saddr = testenv_ip(1);
	s->daddr = testenv_ip(0);
	s->sport = e->rport;
	s->dport = e->lport;
	s->data = payload;
	memcpy(s->dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s->smac, tenv.host[0].dev.peer_mac, 6);
	arrive(s);
}

static struct end end_of(const struct live *l)
{
	const struct tcb *t = l->s && !atomic_load(&l->s->engine_done) ? &l->s->tcb : NULL;

	return (struct end){ l->rport, l->lport, t ? t->rcv_nxt : l->last_seq,
			     t ? t->snd_nxt : l->last_ack };
}

/* The application lets go of the connection; the peer remembers it. */
static void let_go(struct live *l)
{
	if (l->s) {
		l->old = end_of(l);
		sock_unref(l->s, tenv.self);
		testenv_settle();
		l->s = NULL;
	}
}

/* An honest peer: what, of the things that real ones do all the time. how: bits; 1: it echoes an
 * older timestamp, by 2^n ms, 2: it reports what arrived twice (D-SACK), 4: it saw congestion. */
static void honest(struct live *l, struct bytes *b, unsigned what, unsigned how)
{
	const struct tcb *t = l->s && !atomic_load(&l->s->engine_done) ? &l->s->tcb : NULL;
	struct end e = end_of(l);
	struct seg s = { .flags = TH_ACK, .seq = e.seq, .ack = e.ack, .win = 60000 };
	unsigned n = take8(b), unit = t && t->mss ? t->mss : 536;

	stamp(&s, t);
	switch (what) {
	case 0: /* data in order */
		s.len = (n + 1) * 5;
		break;
	case 1: /* beyond a hole, or onto one */
		s.seq += (n & 15) * 256 + 1;
		s.len = (n >> 4) * 64 + 1;
		break;
	case 2: /* a report: up to four blocks in units of half segments */
		s.ack = t ? t->snd_una + (n >> 6) * unit : e.ack;
		s.opt.nsack = (uint8_t)(1 + n % (s.opt.has_ts ? 3 : 4));
		for (unsigned i = 0; i < s.opt.nsack; i++) {
			uint8_t at = take8(b);

			s.opt.sack[i].left = s.ack + (at & 31) * unit / 2;
			s.opt.sack[i].right = s.opt.sack[i].left + (at >> 5) * unit;
		}
		break;
	case 3: /* a part acknowledged */
		s.ack = t ? t->snd_una + n * unit / 4 : e.ack;
		break;
	case 4: /* duplicates */
		s.ack = t ? t->snd_una : e.ack;
		for (unsigned i = 0; i < n % 5; i++)
			push(&s, &e);
		break;
	case 5: /* the end */
		s.flags |= TH_FIN;
		s.len = n & 15;
		break;
	case 6: /* reset */
		s.flags = n & 1 ? TH_RST : TH_RST | TH_ACK;
		s.seq += n >> 4;
		break;
	default: /* the window shuts or opens */
		s.win = (uint16_t)(n * n);
		s.ack = t ? (n & 1 ? t->snd_una : t->snd_nxt) : e.ack;
		break;
	}
	if (how & 1)
		s.opt.tsecr -= 1u << take8(b) % 16;
	if (how & 2) {
		uint8_t at = take8(b);

		/* RFC 2883 §4: the first block; three fit beside timestamps */
		s.opt.nsack = (uint8_t)MIN(s.opt.nsack + 1, s.opt.has_ts ? 3 : 4);
		memmove(s.opt.sack + 1, s.opt.sack, (s.opt.nsack - 1u) * sizeof(s.opt.sack[0]));
		s.opt.sack[0].left = s.ack - (at & 31) * unit / 2;
		s.opt.sack[0].right = s.opt.sack[0].left + (1u + (at >> 5)) * unit;
	}
	if (how & 4)
		s.flags |= TH_ECE;
	push(&s, &e);
}

/* A SYN-ACK, be it of a record, a cookie or a connection that was made at once, agrees to nothing
 * that was not asked for, and takes data for a Fast Open cookie alone (RFC 7413 §4.2.2). */
static void check_synack(const struct seg *r, const struct asked *a, uint32_t seq)
{
	if (!(r->flags & TH_ACK) || (!a->early && r->ack != seq + 1) || !r->opt.has_mss ||
	    (r->opt.has_sackok && !a->sackok) || (r->opt.has_ws && !a->ws) ||
	    (r->opt.has_ts && !a->ts) || (r->opt.has_fo && (!a->fo || !r->opt.fo_len)))
		abort();
}

/* A SYN, and what it got remembered. fast: with a Fast Open option: 1 asks for a cookie, 2 shows
 * the one that came last, 3 shows it damaged; and with data. */
static void half_open(struct live *l, struct bytes *b, unsigned fast)
{
	unsigned port = take8(b) % HALF_PORTS;
	struct asked *a = &asked[port];
	struct end e = { .rport = (uint16_t)(HALF_PORT + port),
			 .lport = 8080,
			 .seq = 0x10000u * take8(b) };
	struct seg s = { .flags = TH_SYN, .seq = e.seq, .win = 4000 }, r;
	uint8_t how = take8(b);
	struct frame *f;

	s.opt.has_sackok = how & 1;
	s.opt.has_ws = how & 2;
	s.opt.ws = how >> 4;
	s.opt.has_ts = how & 4;
	s.opt.tsval = how;
	s.flags |= how & 8 ? TH_FIN : 0;
	if (fast) {
		s.opt.has_fo = true;
		s.opt.fo_len = fast == 1 ? 0 : l->cookie_len;
		memcpy(s.opt.fo, l->cookie, sizeof(l->cookie));
		s.opt.fo[0] ^= fast == 3;
		s.len = take8(b) * 4u;
	}
	a->early |= fast == 2 && l->cookie_len;
	push(&s, &e);
	f = memdev_pop(&tenv.host[0].dev);
	if (f && seg_parse(f, &r, NULL) && r.kind == SEG_TCP && r.dport == e.rport) {
		if (r.flags & TH_SYN) {
			check_synack(&r, a, e.seq);
			a->echo = r.opt.tsval;
			e.seq = r.ack;
		} else {
			e.seq++;
		}
		e.ack = r.seq + 1;
		e.echo = r.opt.tsval;
		l->half = e;
		if (r.opt.has_fo) {
			l->cookie_len = r.opt.fo_len;
			memcpy(l->cookie, r.opt.fo, sizeof(l->cookie));
		}
	}
	free(f);
}

/* Something for a half-open or an old connection. */
static void to_record(const struct end *e, struct bytes *b)
{
	uint8_t how = take8(b);
	struct seg s = { .flags = TH_ACK, .seq = e->seq, .ack = e->ack, .win = 5000 };

	if (how & 0x80) { /* what an honest peer says next */
		s.len = how & 0x3f;
	} else {
		s.flags = how & 0x3f;
		s.seq = near(b, e->seq);
		s.ack = s.flags & TH_ACK ? near(b, e->ack) : 0;
		s.len = take8(b);
	}
	s.opt.has_ts = how & 0x40;
	s.opt.tsval = near(b, 1000);
	s.opt.tsecr = e->echo;
	push(&s, e);
}

/* A frame that no honest peer sends: damaged, cut, with a header that lies. */
static void damaged(struct live *l, struct bytes *b)
{
	struct end e = end_of(l);
	struct seg s = { .kind = SEG_TCP,
			 .flags = TH_ACK,
			 .seq = e.seq,
			 .ack = e.ack,
			 .win = 1000,
			 .saddr = testenv_ip(1),
			 .daddr = testenv_ip(0),
			 .sport = e.rport,
			 .dport = e.lport,
			 .data = payload,
			 .len = take8(b) };
	uint8_t how = take8(b), with = take8(b);
	struct frame *f;

	memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
	f = seg_build(&s);
	if (how & 1)
		f->data[SEG_ETH_BYTES + 20 + (how >> 2) % 20] ^= with;
	if (how & 2 && f->len > SEG_ETH_BYTES + 20u) {
		/* so short that not even the header is whole */
		f->len = SEG_ETH_BYTES + 20u + with % 24;
		f->data[SEG_ETH_BYTES + 3] = (uint8_t)(f->len - SEG_ETH_BYTES);
		f->data[SEG_ETH_BYTES + 2] = 0;
	}
	if (how & 0x80)
		frame_fix_csums(f->data, f->len);
	memdev_push(&tenv.host[0].dev, f);
	testenv_settle();
}

/* The application takes the next connection; from now on it is the one that segments come for. */
static void accept_next(struct live *l)
{
	struct sock *c = NULL;
	unsigned port;

	if (sock_accept(l->listener, &c, true, -1, tenv.self))
		return;
	let_go(l);
	l->s = c;
	l->rport = ntohs(c->tcb.rport_be);
	l->lport = ntohs(c->tcb.lport_be);
	l->last_seq = c->tcb.rcv_nxt;
	l->last_ack = c->tcb.snd_nxt;
	l->state = c->tcb.state;
	atomic_fetch_or(&c->fl_flags, O_NONBLOCK);
	port = l->rport - HALF_PORT;
	/* what was agreed to is what was asked for, also where only a cookie remembered it */
	if (port < HALF_PORTS && ((c->tcb.opts & TCP_OPT_SACK && !asked[port].sackok) ||
				  (c->tcb.opts & TCP_OPT_WS && !asked[port].ws) ||
				  (c->tcb.opts & TCP_OPT_TS && !asked[port].ts) ||
				  (c->tcb.opts & TCP_OPT_FO && !asked[port].early)))
		abort();
}

/* A whole handshake by the book, so that most inputs get past it. */
static void handshake(struct live *l, uint8_t how)
{
	struct seg s = { .kind = SEG_TCP,
			 .saddr = testenv_ip(1),
			 .daddr = testenv_ip(0),
			 .win = 60000,
			 .flags = TH_SYN },
		   r;
	struct frame *f;

	if (l->opened >= OPENED_MAX)
		return;
	let_go(l);
	l->rport = (uint16_t)(40000 + l->opened++);
	l->lport = 8080;
	fuzz_drop_sent();
	memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
	s.sport = l->rport;
	s.dport = l->lport;
	s.seq = how & 1 ? 0xfffffff0u : 1000;
	s.opt.has_mss = true;
	s.opt.mss = how & 2 ? 536 : 1460;
	s.opt.has_sackok = how & 4;
	s.opt.has_ts = how & 8;
	s.opt.tsval = 1000;
	s.opt.has_ws = how & 16;
	s.opt.ws = 7;
	s.flags |= how & 32 ? TH_ECE | TH_CWR : 0;
	memdev_push(&tenv.host[0].dev, seg_build(&s));
	testenv_settle();
	f = memdev_pop(&tenv.host[0].dev);
	if (!f)
		return;
	if (seg_parse(f, &r, NULL) && r.kind == SEG_TCP && (r.flags & TH_SYN)) {
		struct seg_opts o = { .has_ts = r.opt.has_ts, .tsval = 1001, .tsecr = r.opt.tsval };

		s.flags = TH_ACK;
		s.seq++;
		s.ack = r.seq + 1;
		s.opt = o;
		l->last_seq = s.seq;
		l->last_ack = s.ack;
		memdev_push(&tenv.host[0].dev, seg_build(&s));
		testenv_settle();
	}
	free(f);
	accept_next(l);
}

static void set_option(struct live *l, struct bytes *b)
{
	static const struct {
		int level, name;
	} opts[] = { { IPPROTO_TCP, TCP_NODELAY },	{ IPPROTO_TCP, TCP_CORK },
		     { IPPROTO_TCP, TCP_QUICKACK },	{ SOL_SOCKET, SO_KEEPALIVE },
		     { IPPROTO_TCP, TCP_KEEPIDLE },	{ IPPROTO_TCP, TCP_USER_TIMEOUT },
		     { SOL_SOCKET, SO_RCVBUF },		{ SOL_SOCKET, SO_SNDBUF },
		     { SOL_SOCKET, SO_OOBINLINE },	{ IPPROTO_TCP, TCP_MAXSEG },
		     { IPPROTO_TCP, TCP_WINDOW_CLAMP }, { IPPROTO_TCP, TCP_NOTSENT_LOWAT } };
	unsigned i = take8(b) % ARRAY_SIZE(opts);
	int v = take16(b);
	struct linger lg = { v & 1, 0 }; /* a linger time would sleep, and nobody passes the time */

	if (v & 0x8000)
		sock_setopt(l->s, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg), tenv.self);
	else
		sock_setopt(l->s, opts[i].level, opts[i].name, &v, sizeof(v), tenv.self);
}

static void icmp_error(struct live *l, struct bytes *b)
{
	uint8_t how = take8(b);
	struct end e = how & 0x40 ? l->half : end_of(l);
	const struct tcb *t = l->s && !(how & 0x40) ? &l->s->tcb : NULL;
	struct seg q = { .kind = SEG_TCP,
			 .saddr = testenv_ip(0),
			 .daddr = testenv_ip(1),
			 .sport = e.lport,
			 .dport = e.rport,
			 .flags = TH_ACK,
			 .data = payload,
			 .len = t && t->mss ? MIN(t->mss, 1460u) : 0 },
		   s = { .kind = SEG_ICMP, .saddr = testenv_ip(1), .daddr = testenv_ip(0) };
	struct frame *in;

	memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
	s.icmp_type = how & 0x80 ? 11 : 3;
	s.icmp_code = how & 15;
	s.icmp_rest = how & 0x10 ? take16(b) : 40 + 8u * take8(b);
	q.seq = how & 0x20 ? near(b, e.ack) : t ? t->snd_una : e.ack - 1;
	in = seg_build(&q);
	s.data = in->data + SEG_ETH_BYTES;
	s.len = 28; /* the header, and what every router quotes of the segment */
	memdev_push(&tenv.host[0].dev, seg_build(&s));
	free(in);
	testenv_settle();
}

/* RFC 9293 §3.3.2, figure 5: what may follow within one action. */
static bool may_follow(uint8_t from, uint8_t to)
{
#define S(x) (1u << TCPS_##x)
	static const uint16_t then[] = {
		[TCPS_CLOSED] = 0,
		[TCPS_SYN_SENT] = S(SYN_RECEIVED) | S(ESTABLISHED) | S(FIN_WAIT_1) | S(FIN_WAIT_2) |
				  S(CLOSE_WAIT) | S(CLOSING) | S(LAST_ACK) | S(CLOSED),
		[TCPS_SYN_RECEIVED] = S(ESTABLISHED) | S(FIN_WAIT_1) | S(FIN_WAIT_2) |
				      S(CLOSE_WAIT) | S(CLOSING) | S(LAST_ACK) | S(CLOSED),
		[TCPS_ESTABLISHED] = S(FIN_WAIT_1) | S(FIN_WAIT_2) | S(CLOSE_WAIT) | S(CLOSING) |
				     S(LAST_ACK) | S(CLOSED),
		[TCPS_FIN_WAIT_1] = S(FIN_WAIT_2) | S(CLOSING) | S(CLOSED),
		[TCPS_FIN_WAIT_2] = S(CLOSED),
		[TCPS_CLOSE_WAIT] = S(LAST_ACK) | S(CLOSED),
		[TCPS_CLOSING] = S(CLOSED),
		[TCPS_LAST_ACK] = S(CLOSED),
	};
#undef S
	return from == to || (from < ARRAY_SIZE(then) && (then[from] >> to & 1));
}

static void check(struct live *l)
{
	struct tcb *t = &l->s->tcb;
	uint32_t sacked = 0, lost = 0, rexmit = 0, again = 0, relost = 0, at;
	struct list *n;

	if (!may_follow(l->state, t->state))
		abort();
	l->state = t->state;
	if (atomic_load(&l->s->engine_done) || t->state <= TCPS_SYN_RECEIVED)
		return;
	if (!seq_le(t->snd_una, t->snd_nxt) || !seq_le(t->last_ack_sent, t->rcv_nxt) ||
	    t->ooo_runs > TCP_OOO_RUNS_MAX || !t->ooo_head != !t->ooo_runs ||
	    !t->ooo_head != !t->ooo_true_bytes || t->rcv_sack_n > ARRAY_SIZE(t->rcv_sack))
		abort();
	/* the queue holds every byte from snd_una to snd_end once */
	at = t->sq_head ? tcp_mbuf_seq(t->sq_head) : t->snd_una;
	for (struct rte_mbuf *m = t->sq_head; m; m = tcp_sendq_next(m)) {
		uint32_t len = pkt_meta(m)->len;
		uint8_t f = pkt_tx(m)->flags;

		if (tcp_mbuf_seq(m) != at || !len)
			abort();
		at += len;
		if ((f & PKT_TX_SACKED && f & PKT_TX_LOST) ||
		    (f & PKT_TX_REXMIT && !(f & PKT_TX_LOST)) ||
		    (f & PKT_TX_RELOST && (f & (PKT_TX_LOST | PKT_TX_REXMIT)) != PKT_TX_LOST))
			abort();
		again += !!(f & PKT_TX_REXMIT);
		relost += !!(f & PKT_TX_RELOST);
		sacked += f & PKT_TX_SACKED ? len : 0;
		lost += f & PKT_TX_LOST ? len : 0;
		rexmit += f & PKT_TX_REXMIT ? len : 0;
	}
	if (t->sq_head && at != t->snd_end)
		abort();
	/* what the application was told of its buffer */
	if (t->state == TCPS_ESTABLISHED && sock_tx_used(l->s) != (uint32_t)(t->snd_end - t->snd_una))
		abort();
	if (((t->opts & TCP_OPT_SACK) && sacked != t->sacked_out) || lost != t->lost_out ||
	    rexmit != t->rexmit_out)
		abort();
	/* the lists hold what is marked, no more */
	ring_for_each(n, t->rexq)
		if (!(container_of(n, struct pkt_tx, node)->flags & PKT_TX_REXMIT) || !again--)
			abort();
	ring_for_each(n, t->relost)
		if (!(container_of(n, struct pkt_tx, node)->flags & PKT_TX_RELOST) || !relost--)
			abort();
	if (again || relost)
		abort();
	/* the predicted path looks at none of this, so it must not be taken while there is any */
	if (!(t->slow & TCP_SLOW_LOSS) && (((t->opts & TCP_OPT_SACK) && sacked) || lost || rexmit || t->tlp_out ||
					   t->reo_armed || t->ca_state != TCP_CA_OPEN))
		abort();
	if (t->ca_state > TCP_CA_LOSS || (t->cwnd < t->mss && t->ca_state != TCP_CA_LOSS && t->ca_state != TCP_CA_RECOVERY && t->ca_state != TCP_CA_REDUCED) ||
	    (t->ca_state == TCP_CA_LOSS && !t->cwnd))
		abort();
	/* something is in flight: some timer watches it */
	if (tcp_in_flight(t) && t->deadline[TCP_AT_REXMIT] == TCP_NEVER)
		abort();
}

/* More half-open connections than the listener keeps: cookies answer what comes after them. */
static void flood(void)
{
	for (unsigned i = 0; i < 20; i++) {
		struct seg s = { .flags = TH_SYN, .seq = i, .win = 4000 };

		push(&s, &(struct end){ .rport = (uint16_t)(1000 + i), .lport = 8080 });
		fuzz_drop_sent();
	}
}

/* The administrator's settings. */
static void setting(struct bytes *b)
{
	static const uint8_t fastopen[] = { 0, TCP_FO_SERVER, TCP_FO_CLIENT, TCP_FO_CLIENT | TCP_FO_SERVER };
	struct tcp_conf *c = tcp_conf_of(tenv.host[0].st);
	uint8_t v = take8(b);

	c->syncookies = (v & 3) % 3;
	c->mtu_probing = (v >> 2 & 3) % 3;
	c->ecn = (v >> 4 & 3) % 3;
	c->fastopen = fastopen[v >> 6];
}

static void listener_option(struct live *l, struct bytes *b, uint8_t what)
{
	int v = take8(b);

	if (v == 0xff && !l->flooded++)
		flood();
	else if (what & 0x40)
		sock_setopt(l->listener, IPPROTO_TCP, TCP_FASTOPEN, &v, sizeof(v), tenv.self);
	else if (v & 1)
		sock_listen(l->listener, v >> 1 & 3, tenv.self);
	else
		sock_setopt(l->listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &v, sizeof(v), tenv.self);
}

/* The answer comes as a segment. how: bits; 0x20: with Fast Open where that is on, 0x40: without a
 * cookie, 0x80: the data is written later. */
static void active_open(struct live *l, struct bytes *b, uint8_t how)
{
	static uint8_t early[4096];
	bool fast = how & 0x20 && tcp_conf_of(tenv.host[0].st)->fastopen & TCP_FO_CLIENT;
	int one = 1;

	let_go(l);
	l->s = testenv_socket(0, SOCK_STREAM);
	l->rport = (uint16_t)(9000 + l->opened++);
	if (fast && how & 0x40)
		sock_setopt(l->s, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, &one, sizeof(one), tenv.self);
	if (fast && how & 0x80)
		sock_setopt(l->s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one), tenv.self);
	if (fast && !(how & 0x80)) {
		struct sockaddr_in sa = { .sin_family = AF_INET,
					  .sin_port = htons(l->rport),
					  .sin_addr.s_addr = testenv_ip(1) };
		struct iovec iov = { early, take16(b) % sizeof(early) };
		struct msghdr msg = { .msg_name = &sa,
				      .msg_namelen = sizeof(sa),
				      .msg_iov = &iov,
				      .msg_iovlen = 1 };

		sock_sendmsg(l->s, &msg, MSG_FASTOPEN, tenv.self);
	} else {
		testenv_connect_addr(l->s, testenv_ip(1), l->rport);
	}
	testenv_settle();
	l->lport = ntohs(l->s->tcb.lport_be);
	l->last_seq = 5000;
	l->state = l->s->tcb.state;
}

static void act(struct live *l, struct bytes *b)
{
	static uint8_t buf[65536];
	uint8_t what = take8(b);

	switch (what & 31) {
	case 8:
		testenv_run_for(1ULL << (take8(b) % 28)); /* up to two minutes */
		break;
	case 9:
		if (l->s)
			sock_send(l->s, buf, take16(b),
				  MSG_NOSIGNAL | (what & 0x40 ? MSG_MORE : 0) |
					  (what & 0x80 ? MSG_OOB : 0),
				  tenv.self);
		break;
	case 10:
		if (l->s)
			sock_recv(l->s, buf, take16(b),
				  (what & 0x40 ? MSG_OOB : 0) | (what & 0x80 ? MSG_PEEK : 0),
				  tenv.self);
		break;
	case 11:
		if (l->s)
			sock_shutdown(l->s, what & 0x40 ? SHUT_RD : SHUT_WR, tenv.self);
		break;
	case 12:
		if (what & 0x40)
			let_go(l);
		else if (what & 0x80)
			accept_next(l);
		else
			handshake(l, take8(b));
		break;
	case 13:
		if (l->s)
			set_option(l, b);
		break;
	case 14:
		icmp_error(l, b);
		break;
	case 15:
		if (l->opened < OPENED_MAX)
			active_open(l, b, what);
		break;
	case 16 ... 23:
		honest(l, b, what & 7, what >> 5);
		break;
	case 24:
		half_open(l, b, what >> 5 & 3);
		break;
	case 25:
		to_record(&l->half, b);
		break;
	case 26:
		to_record(&l->old, b);
		break;
	case 27:
		if (what & 0x20)
			setting(b);
		else
			listener_option(l, b, what);
		break;
	case 28: /* until something happens by itself */
		if (testenv_next_us() != UINT64_MAX)
			testenv_run_until(testenv_next_us());
		break;
	case 29:
		damaged(l, b);
		break;
	case 30:
		for (unsigned i = 0; l->s && i < 4; i++)
			sock_send(l->s, buf, sizeof(buf) >> (what >> 6), MSG_NOSIGNAL, tenv.self);
		break;
	case 31:
		while (l->s && sock_recv(l->s, buf, sizeof(buf), 0, tenv.self) > 0)
			;
		break;
	default:
		segment(l, b);
		break;
	}
	testenv_settle();
	fuzz_drop_sent();
	if (l->s)
		check(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct linger reset = { 1, 0 };
	struct bytes b = { data, size };
	struct live l = { 0 };
	struct sock *c;

	memset(asked, 0, sizeof(asked));
	fuzz_open(take8(&b));
	l.listener = testenv_listener(0, 8080, 4);
	handshake(&l, take8(&b));
	for (unsigned i = 0; b.left && i < ACTIONS_MAX; i++)
		act(&l, &b);
	/* everything is reset; what was closed before may still be on its way out */
	while (sock_accept(l.listener, &c, true, -1, tenv.self) == 0) {
		sock_setopt(c, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset), tenv.self);
		sock_unref(c, tenv.self);
	}
	if (l.s) {
		sock_setopt(l.s, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset), tenv.self);
		sock_unref(l.s, tenv.self);
	}
	sock_unref(l.listener, tenv.self);
	fuzz_reset_all();
	fuzz_close();
	return 0;
}

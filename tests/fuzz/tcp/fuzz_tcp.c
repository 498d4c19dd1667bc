/* fuzz_tcp.c - segments into a live connection. The input is a list of actions: segments whose numbers are relative to what the
 * connection expects, steps of time, calls of the application. So the fuzzer reaches deep states without guessing
 * sequence numbers. Properties: no crash, no undefined behaviour, bounded work, every frame sent is well formed, no mbuf
 * leaks, SND.UNA <= SND.NXT. */
#include "fuzz_common.h"

#include "base/seq.h"
#include "tcp/tcp.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#define ACTIONS_MAX 200
#define SOCKS 4

struct live {
	struct sock *listener, *s;
	uint16_t rport, lport;
	uint32_t last_seq, last_ack; /* when there is no connection to ask */
	unsigned opened;
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

static void segment(struct live *l, struct bytes *b)
{
	const struct tcb *t = l->s && !atomic_load(&l->s->engine_done) ? &l->s->tcb : NULL;
	struct seg s = { .kind = SEG_TCP, .saddr = testenv_ip(1), .daddr = testenv_ip(0), .sport = l->rport, .dport = l->lport };
	uint8_t flags = take8(b);

	memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
	/* half of the segments are plain data or ACKs */
	s.flags = flags & 0x80 ? TH_ACK | (flags & TH_PSH) : flags & 0x3f;
	s.seq = near(b, t ? t->rcv_nxt : l->last_seq);
	s.ack = s.flags & TH_ACK ? near(b, t ? (take8(b) & 1 ? t->snd_nxt : t->snd_una) : l->last_ack) : 0;
	s.win = take16(b);
	s.urg = s.flags & TH_URG ? take16(b) : 0;
	options(b, &s.opt, t);
	s.data = payload;
	s.len = flags & 0x40 ? take16(b) % 1461 : take8(b) & 0x0f;
	memdev_push(&tenv.host[0].dev, seg_build(&s));
	testenv_settle();
}

/* A whole handshake by the book, so that most inputs get past it. */
static void handshake(struct live *l, uint8_t how)
{
	struct seg s = { .kind = SEG_TCP, .saddr = testenv_ip(1), .daddr = testenv_ip(0), .win = 60000, .flags = TH_SYN }, r;
	struct sock *c = NULL;
	struct frame *f;

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
	if (sock_accept(l->listener, &c, true, -1, tenv.self) == 0) {
		if (l->s)
			sock_unref(l->s, tenv.self);
		l->s = c;
		atomic_fetch_or(&c->fl_flags, O_NONBLOCK);
	}
}

static void set_option(struct live *l, struct bytes *b)
{
	static const struct {
		int level, name;
	} opts[] = { { IPPROTO_TCP, TCP_NODELAY }, { IPPROTO_TCP, TCP_CORK },	      { IPPROTO_TCP, TCP_QUICKACK },
		     { SOL_SOCKET, SO_KEEPALIVE }, { IPPROTO_TCP, TCP_KEEPIDLE },     { IPPROTO_TCP, TCP_USER_TIMEOUT },
		     { SOL_SOCKET, SO_RCVBUF },	   { SOL_SOCKET, SO_SNDBUF },	      { SOL_SOCKET, SO_OOBINLINE },
		     { IPPROTO_TCP, TCP_MAXSEG },  { IPPROTO_TCP, TCP_WINDOW_CLAMP }, { IPPROTO_TCP, TCP_NOTSENT_LOWAT } };
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
	struct seg q = { .kind = SEG_TCP, .saddr = testenv_ip(0), .daddr = testenv_ip(1), .sport = l->lport, .dport = l->rport },
		   s = { .kind = SEG_ICMP, .saddr = testenv_ip(1), .daddr = testenv_ip(0) };
	struct frame *in;

	memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
	s.icmp_type = take8(b) & 1 ? 3 : 11;
	s.icmp_code = take8(b) & 15;
	s.icmp_rest = take16(b);
	q.seq = near(b, l->s ? l->s->tcb.snd_una : l->last_ack);
	q.flags = TH_ACK;
	in = seg_build(&q);
	s.data = in->data + SEG_ETH_BYTES;
	s.len = 28;
	memdev_push(&tenv.host[0].dev, seg_build(&s));
	free(in);
	testenv_settle();
}

static void act(struct live *l, struct bytes *b)
{
	static uint8_t buf[65536];
	uint8_t what = take8(b);

	switch (what & 15) {
	case 8:
		testenv_run_for(1ULL << (take8(b) % 28)); /* up to two minutes */
		break;
	case 9:
		if (l->s)
			sock_send(l->s, buf, take16(b), MSG_NOSIGNAL | (what & 0x10 ? MSG_MORE : 0) | (what & 0x20 ? MSG_OOB : 0),
				  tenv.self);
		break;
	case 10:
		if (l->s)
			sock_recv(l->s, buf, take16(b), (what & 0x10 ? MSG_OOB : 0) | (what & 0x20 ? MSG_PEEK : 0), tenv.self);
		break;
	case 11:
		if (l->s)
			sock_shutdown(l->s, what >> 4 & 3 ? SHUT_WR : SHUT_RD, tenv.self);
		break;
	case 12:
		if (l->s && (what & 0x30) == 0x30) {
			sock_unref(l->s, tenv.self);
			l->s = NULL;
		} else {
			handshake(l, take8(b));
		}
		break;
	case 13:
		if (l->s)
			set_option(l, b);
		break;
	case 14:
		icmp_error(l, b);
		break;
	case 15: /* an active open; the answer comes as a segment */
		if (l->opened < 16) {
			if (l->s)
				sock_unref(l->s, tenv.self);
			l->s = testenv_socket(0, SOCK_STREAM);
			l->rport = (uint16_t)(9000 + l->opened++);
			testenv_connect_addr(l->s, testenv_ip(1), l->rport);
			testenv_settle();
			l->lport = ntohs(l->s->tcb.lport_be);
			l->last_seq = 5000;
		}
		break;
	default:
		segment(l, b);
		break;
	}
	testenv_settle();
	fuzz_drop_sent();
	if (l->s && l->s->tcb.state > TCPS_SYN_RECEIVED && !seq_le(l->s->tcb.snd_una, l->s->tcb.snd_nxt))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct live l = { 0 };

	fuzz_open(take8(&b));
	l.listener = testenv_listener(0, 8080, 4);
	handshake(&l, take8(&b));
	for (unsigned i = 0; b.left && i < ACTIONS_MAX; i++)
		act(&l, &b);
	if (l.s)
		sock_unref(l.s, tenv.self);
	sock_unref(l.listener, tenv.self);
	testenv_settle();
	fuzz_close();
	return 0;
}

/* run.c - runs a packet script against the real engine and socket layer, in process and in virtual time.
 *
 * The stack under test is host 0 (10.0.0.1); the script plays its peers at 10.0.0.2: peer N has port 40000+N towards a
 * listener (local port 8080), or 8080+N when the script connects to it. Numbers in scripts are relative to initial sequence
 * numbers that are learned from the first SYN of each side. Payload bytes follow a pattern by stream offset; what the
 * stack sends and what read() returns is compared with it.
 * Sockets are non-blocking inside; a call with a duration ("0...0.2") is retried after every event until it has a result.
 */
#include "run.h"
#include "expr.h"
#include "info.h"
#include "testenv.h"

#include "tcp/tcp_int.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define FD_FIRST 3
#define FDS 64
#define LOCAL_PORT 8080
#define REMOTE_PORT 40000
#define TS_MEMORY 32

const char *const run_mode_names[RUN_MODES] = { "plain", "offload" };

struct peer {
	bool used, local_known, syn_sent;
	uint16_t lport, rport;
	uint32_t remote_base, remote_isn; /* live = script + base; isn is live */
	uint32_t syn_script;		  /* script number of the SYN that was sent */
	uint32_t local_base, local_isn;
	uint32_t ts_base; /* live = script + base */
	bool ts_known;
	struct {
		uint32_t script, live;
	} ts[TS_MEMORY];
	unsigned ts_n;
};

struct fd {
	struct sock *s;
	struct epoll *ep;
	bool nonblock, listener, stream;
	uint64_t rx_next, tx_next; /* stream offset, 1 = first byte */
	uint32_t rcvtimeo_us;
};

struct run {
	const struct script *sc;
	bool verbose;
	uint64_t start_us;
	int64_t last_us; /* script time of the last event */
	struct peer peer[SCRIPT_PEERS];
	unsigned cur; /* peer of the last packet */
	struct fd fd[FDS];
	int info_fd;
	struct {
		uint8_t script[16], live[16];
	} cookie[8]; /* Fast Open */
	unsigned cookies;
	/* a blocking call that has no result yet */
	const struct event *pending;
	int64_t pending_since, pending_done_at, pending_result;
	uint64_t pending_bytes;
	bool pending_done;
	uint64_t info[INFO_BYTES / 8]; /* struct tcp_info */
	char *why;
	size_t why_bytes;
	bool failed;
};

static int bad(struct run *r, int line, const char *fmt, ...) printf_like(3, 4);
static int bad(struct run *r, int line, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (r->failed)
		return -1;
	r->failed = true;
	n = snprintf(r->why, r->why_bytes, "%s:%d: ", r->sc->name, line);
	va_start(ap, fmt);
	vsnprintf(r->why + n, r->why_bytes - (size_t)n, fmt, ap);
	va_end(ap);
	return -1;
}

static int64_t script_now(const struct run *r)
{
	return (int64_t)(vclock_us - r->start_us);
}

static uint8_t pattern(uint64_t off)
{
	return (uint8_t)(off * 31 + (off >> 8) * 7 + 1);
}

static void fill(uint8_t *p, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(off + i);
}

/* First index at which p differs from the pattern, or -1. */
static long differs(const uint8_t *p, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != pattern(off + i))
			return (long)i;
	return -1;
}

/* --- time --- */

static void try_pending(struct run *r);

/* Passes time to script time `until`; stops early when the stack has sent something and wake_on_frame. */
static void pass_time(struct run *r, int64_t until, bool wake_on_frame)
{
	uint64_t end = r->start_us + (uint64_t)MAX(until, 0);

	for (;;) {
		uint64_t next;

		testenv_settle();
		try_pending(r);
		if ((wake_on_frame && tenv.host[0].dev.sent.head) || vclock_us >= end)
			return;
		next = MAX(testenv_next_us(), vclock_us + 1);
		vclock_us = MIN(next, end);
	}
}

/* --- packets --- */

static struct peer *peer_of(struct run *r, unsigned n)
{
	struct peer *p = &r->peer[n];

	if (!p->used) {
		p->used = true;
		p->lport = LOCAL_PORT;
		p->rport = (uint16_t)(REMOTE_PORT + n);
		/* close to the wrap, so that every longer script crosses it */
		p->remote_base = (uint32_t)(r->sc->remote_isn >= 0 ? r->sc->remote_isn : 0xfffff000 + 16 * n);
		p->remote_isn = p->remote_base;
	}
	return p;
}

static uint32_t ts_to_live(const struct peer *p, uint32_t script)
{
	for (unsigned i = 0; i < MIN(p->ts_n, TS_MEMORY); i++) {
		unsigned at = (p->ts_n - 1 - i) % TS_MEMORY;

		if (p->ts[at].script == script)
			return p->ts[at].live;
	}
	return p->ts_known ? script + p->ts_base : script;
}

static void ts_learn(struct peer *p, uint32_t script, uint32_t live)
{
	if (!p->ts_known)
		p->ts_base = live - script;
	p->ts_known = true;
	p->ts[p->ts_n % TS_MEMORY].script = script;
	p->ts[p->ts_n++ % TS_MEMORY].live = live;
}

static struct seg addressed(const struct run *r, const struct peer *p, enum seg_kind kind)
{
	struct seg s = { .kind = kind, .saddr = testenv_ip(1), .daddr = testenv_ip(0), .sport = p->rport, .dport = p->lport };

	memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
	memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
	return s;
}

/* An ICMP error that quotes a packet of ours. */
static struct frame *build_icmp(struct run *r, const struct event *e, struct peer *p)
{
	struct seg q = addressed(r, p, e->quoted.kind), s = addressed(r, p, SEG_ICMP);
	struct frame *inner, *f;

	s.icmp_type = e->seg.icmp_type;
	s.icmp_code = e->seg.icmp_code;
	s.icmp_rest = e->seg.icmp_rest;
	if (e->seg.icmp_type == 8 || e->seg.icmp_type == 0) {
		uint8_t data[1500];

		fill(data, e->seg.len, 1);
		s.icmp_rest = 0x12340001;
		s.data = data;
		s.len = e->seg.len;
		return seg_build(&s);
	}
	q.saddr = s.daddr, q.daddr = s.saddr;
	q.sport = p->lport, q.dport = p->rport;
	q.seq = e->quoted.seq + p->local_base;
	q.flags = e->quoted.flags ? e->quoted.flags : TH_ACK;
	inner = seg_build(&q);
	/* the length of the quoted packet is the original's although only 8 bytes of it follow */
	inner->data[SEG_ETH_BYTES + 2] = (uint8_t)((e->quoted.len + (q.kind == SEG_UDP ? 28 : 40)) >> 8);
	inner->data[SEG_ETH_BYTES + 3] = (uint8_t)(e->quoted.len + (q.kind == SEG_UDP ? 28 : 40));
	inner->data[SEG_ETH_BYTES + 10] = inner->data[SEG_ETH_BYTES + 11] = 0;
	{
		uint16_t c = (uint16_t)~frame_sum(inner->data + SEG_ETH_BYTES, 20, 0);

		inner->data[SEG_ETH_BYTES + 10] = (uint8_t)(c >> 8);
		inner->data[SEG_ETH_BYTES + 11] = (uint8_t)c;
	}
	s.data = inner->data + SEG_ETH_BYTES;
	s.len = 28;
	f = seg_build(&s);
	free(inner);
	return f;
}

/* Cookies that the stack gave are not known when the script is written: the script's stands for the stack's from the first time
 * on that both are seen together. */
static bool cookie_matches(struct run *r, const struct seg_opts *want, const struct seg_opts *got)
{
	if (want->fo_len != got->fo_len)
		return false;
	for (unsigned i = 0; i < r->cookies; i++)
		if (!memcmp(r->cookie[i].script, want->fo, want->fo_len))
			return !memcmp(r->cookie[i].live, got->fo, got->fo_len);
	if (want->fo_len && memcmp(want->fo, got->fo, want->fo_len) && r->cookies < ARRAY_SIZE(r->cookie)) {
		memcpy(r->cookie[r->cookies].script, want->fo, sizeof(want->fo));
		memcpy(r->cookie[r->cookies++].live, got->fo, sizeof(got->fo));
	}
	return true;
}

static void cookie_to_live(const struct run *r, struct seg_opts *o)
{
	for (unsigned i = 0; i < r->cookies; i++)
		if (o->fo_len && !memcmp(r->cookie[i].script, o->fo, o->fo_len)) {
			memcpy(o->fo, r->cookie[i].live, sizeof(o->fo));
			return;
		}
}

/* Packets at one time, in a script that says so, are one burst of the device. */
static bool joins_burst(const struct run *r, const struct event *e)
{
	return r->sc->burst && e && e->kind == EVENT_IN && e->when == TIME_RELATIVE && e->us == 0;
}

static int do_inbound(struct run *r, const struct event *e)
{
	unsigned n = e->peer >= 0 ? (unsigned)e->peer : r->cur;
	struct peer *p = peer_of(r, n);
	struct seg s = addressed(r, p, e->seg.kind);
	uint8_t data[65536];
	struct frame *f;

	r->cur = n;
	if (e->seg.kind == SEG_ICMP) {
		f = build_icmp(r, e, p);
	} else {
		if (e->seg.kind == SEG_TCP) {
			if ((e->seg.flags & TH_SYN) && !(e->seg.flags & TH_ACK) &&
			    (!p->syn_sent || e->seg.seq != p->syn_script)) {
				/* a new connection: our side's number is learned again */
				if (p->syn_sent)
					p->local_known = p->ts_known = false;
				p->ts_n = 0;
			}
			if (e->seg.flags & TH_SYN) {
				p->syn_sent = true;
				p->syn_script = e->seg.seq;
				p->remote_isn = e->seg.seq + p->remote_base;
			}
			s.frag = 0x4000; /* path MTU discovery, as everybody's TCP does it */
			s.seq = e->seg.seq + p->remote_base;
			s.ack = e->seg.flags & TH_ACK ? e->seg.ack + p->local_base : 0;
			s.flags = e->seg.flags;
			s.win = e->has_win ? e->seg.win : 32792;
			s.urg = e->seg.urg;
			s.opt = e->seg.opt;
			cookie_to_live(r, &s.opt);
			s.opt.tsecr = e->seg.opt.tsecr ? ts_to_live(p, e->seg.opt.tsecr) : 0;
			for (unsigned i = 0; i < s.opt.nsack; i++) {
				s.opt.sack[i].left += p->local_base;
				s.opt.sack[i].right += p->local_base;
			}
		}
		if (e->seg.len > 1460 && e->seg.kind == SEG_TCP && e->seg.len > sizeof(data) - 120)
			return bad(r, e->line, "inbound segment too long");
		fill(data, e->seg.len, e->seg.kind == SEG_TCP ? s.seq - p->remote_isn : 1);
		s.data = data;
		s.len = e->seg.len;
		s.tos = e->seg.tos;
		s.ttl = e->seg.ttl;
		s.bad_l4_csum = e->bad_sum;
		f = seg_build(&s);
	}
	memdev_push(&tenv.host[0].dev, f);
	if (joins_burst(r, e->next))
		return 0;
	testenv_settle();
	try_pending(r);
	return 0;
}

/* What was sent, in the script's numbers. */
static char *print_live(const struct run *r, const struct seg *s, char *buf, size_t n)
{
	struct seg v = *s;
	char text[400], *arrow;
	const struct peer *p = NULL;
	int k;

	for (unsigned i = 0; i < SCRIPT_PEERS; i++)
		if (r->peer[i].used && r->peer[i].rport == s->dport)
			p = &r->peer[i];
	if (p)
		for (unsigned i = 0; i < v.opt.nsack; i++) {
			v.opt.sack[i].left -= p->remote_base;
			v.opt.sack[i].right -= p->remote_base;
		}
	if (p && p->ts_known)
		v.opt.tsval -= p->ts_base;
	seg_print(&v, p ? p->local_base : 0, 0, text, sizeof(text));
	if (p && v.kind == SEG_TCP) {
		v.ack -= p->remote_base;
		seg_print(&v, p->local_base, 0, text, sizeof(text));
	}
	arrow = strstr(text, " > ");
	if (arrow && v.kind == SEG_TCP)
		arrow = strchr(arrow + 3, ' ');
	k = p ? snprintf(buf, n, "@%u", (unsigned)(p - r->peer)) : 0;
	snprintf(buf + k, n - (size_t)k, "%s", arrow && v.kind == SEG_TCP ? arrow : text);
	return buf;
}

static char *print_wanted(const struct event *e, char *buf, size_t n)
{
	struct seg v = e->seg;

	v.l4_csum_ok = true;
	seg_print(&v, 0, 0, buf, n);
	if (v.kind == SEG_TCP) {
		char *arrow = strstr(buf, " > "), *text = arrow ? strchr(arrow + 3, ' ') : NULL;

		if (text)
			memmove(buf, text, strlen(text) + 1);
	}
	if (e->any_opts)
		snprintf(buf + strlen(buf), n - strlen(buf), " <...>");
	return buf;
}

static const char *compare_options(struct run *r, const struct event *e, const struct seg *s, struct peer *p)
{
	const struct seg_opts *want = &e->seg.opt, *got = &s->opt;

	if (e->any_opts)
		return NULL;
	if (want->raw_len)
		return want->raw_len != got->raw_len || memcmp(want->raw, got->raw, got->raw_len) ? "options" : NULL;
	if (want->nkinds != got->nkinds || memcmp(want->kinds, got->kinds, want->nkinds))
		return "options present or their order";
	if (want->has_mss && want->mss != got->mss)
		return "MSS";
	if (want->has_ws && want->ws != got->ws)
		return "window scale";
	if (want->nsack != got->nsack)
		return "number of SACK blocks";
	for (unsigned i = 0; i < want->nsack; i++)
		if (want->sack[i].left + p->remote_base != got->sack[i].left ||
		    want->sack[i].right + p->remote_base != got->sack[i].right)
			return "SACK block";
	if (want->has_ts && want->tsecr != got->tsecr)
		return "timestamp echo";
	if (want->has_fo && (want->fo_exp != got->fo_exp || !cookie_matches(r, want, got)))
		return "Fast Open cookie";
	return NULL;
}

static const char *compare(struct run *r, const struct event *e, const struct seg *s, struct peer *p)
{
	const struct seg *want = &e->seg;
	uint8_t mask = r->sc->check_psh ? 0xff : (uint8_t)~TH_PSH;
	const char *diff;

	if (want->kind != s->kind)
		return "protocol";
	if (want->kind == SEG_UDP || want->kind == SEG_ICMP) {
		if (want->kind == SEG_ICMP && (want->icmp_type != s->icmp_type || want->icmp_code != s->icmp_code))
			return "ICMP type or code";
		return want->kind == SEG_UDP && want->len != s->len ? "length" : NULL;
	}
	if ((want->flags & mask) != (s->flags & mask))
		return "flags";
	if (want->seq + p->local_base != s->seq)
		return "sequence number";
	if (want->len != s->len)
		return "length";
	if ((want->flags & TH_ACK) && want->ack + p->remote_base != s->ack)
		return "acknowledgement";
	if (e->has_win && want->win != s->win)
		return "window";
	if ((want->flags & TH_URG) && want->urg != s->urg)
		return "urgent pointer";
	if (e->any_ect ? (s->tos & 3) != 1 && (s->tos & 3) != 2 : (s->tos & e->tos_mask) != (want->tos & e->tos_mask))
		return e->tos_mask == 3 ? "ECN field" : "type of service";
	diff = compare_options(r, e, s, p);
	if (diff)
		return diff;
	if (s->len && !r->sc->no_data_check && differs(s->data, s->len, s->seq - p->local_isn) >= 0)
		return "payload bytes";
	return NULL;
}

static int do_outbound(struct run *r, const struct event *e, int64_t at, int64_t until)
{
	int64_t tol = r->sc->tolerance_us, seen_at;
	char got[512], want[512];
	const char *diff, *why;
	struct peer *p = NULL;
	struct frame *f;
	struct seg s;

	pass_time(r, e->when == TIME_ANY ? script_now(r) + 1000000000 : until + tol, true);
	f = memdev_pop(&tenv.host[0].dev);
	if (!f)
		return bad(r, e->line, "no packet came by %.6f\n\texpected: %s", (double)(until + tol) / 1e6,
			   print_wanted(e, want, sizeof(want)));
	seen_at = (int64_t)(f->time_us - r->start_us);
	if (!seg_parse(f, &s, &why)) {
		free(f);
		return bad(r, e->line, "the stack sent a malformed frame: %s", why);
	}
	for (unsigned i = 0; i < SCRIPT_PEERS && (s.kind == SEG_TCP || s.kind == SEG_UDP); i++)
		if (r->peer[i].used && r->peer[i].rport == s.dport)
			p = &r->peer[i];
	if (!p)
		p = peer_of(r, r->cur);
	if (s.kind == SEG_TCP && (s.flags & TH_SYN) && !p->local_known) {
		p->local_known = true;
		p->local_isn = s.seq;
		p->local_base = s.seq - e->seg.seq;
		p->lport = s.sport;
	}
	if (s.kind == SEG_TCP && s.opt.has_ts && e->seg.opt.has_ts)
		ts_learn(p, e->seg.opt.tsval, s.opt.tsval);
	print_live(r, &s, got, sizeof(got));
	if (r->verbose)
		printf("%9.6f > %s\n", (double)seen_at / 1e6, got);
	diff = compare(r, e, &s, p);
	if (!diff && e->peer >= 0 && p != &r->peer[e->peer])
		diff = "peer";
	if (s.kind == SEG_TCP || s.kind == SEG_UDP)
		r->cur = (unsigned)(p - r->peer);
	free(f);
	if (diff)
		return bad(r, e->line, "%s of the packet sent at %.6f is not as expected\n\texpected: %s\n\tseen:     %s",
			   diff, (double)seen_at / 1e6, print_wanted(e, want, sizeof(want)), got);
	if (e->when != TIME_ANY && (seen_at < at - tol || seen_at > until + tol))
		return bad(r, e->line, "packet sent at %.6f, expected at %.6f%s\n\tpacket: %s", (double)seen_at / 1e6,
			   (double)at / 1e6, until != at ? " or within its range" : "", got);
	if (e->when == TIME_ANY)
		r->last_us = seen_at;
	return 0;
}

/* --- calls --- */

static int fd_new(struct run *r)
{
	for (int i = FD_FIRST; i < FDS; i++)
		if (!r->fd[i].s && !r->fd[i].ep)
			return i;
	return -1;
}

static int64_t arg_int(const struct event *e, unsigned i)
{
	return i < e->nargs && e->arg[i]->kind == VALUE_INT ? e->arg[i]->n : 0;
}

static struct fd *arg_fd(struct run *r, const struct event *e, unsigned i)
{
	int64_t n = arg_int(e, i);

	return n >= FD_FIRST && n < FDS && (r->fd[n].s || r->fd[n].ep) ? &r->fd[n] : NULL;
}

static const struct value *field(const struct value *v, const char *name)
{
	for (unsigned i = 0; v && i < v->count; i++)
		if (!strcmp(v->name[i], name))
			return v->item[i];
	return NULL;
}

static int64_t field_int(const struct value *v, const char *name, const char *other)
{
	const struct value *f = field(v, name);

	if (!f && other)
		f = field(v, other);
	return f && f->kind == VALUE_INT ? f->n : 0;
}

static int64_t call_socket(struct run *r, const struct event *e)
{
	int type = (int)arg_int(e, 1), fd = fd_new(r);
	struct sock *s;

	if (fd < 0)
		return -EMFILE;
	s = sock_create(AF_INET, type & 0xf, true, tenv.self);
	if (!s)
		return -ENOMEM;
	r->fd[fd] = (struct fd){ .s = s, .nonblock = type & SOCK_NONBLOCK, .stream = (type & 0xf) == SOCK_STREAM,
				 .rx_next = 1, .tx_next = 1 };
	if (r->fd[fd].stream)
		r->info_fd = fd;
	return fd;
}

/* The peer that the next connect() is about; NULL: no more are left. */
static struct peer *new_remote(struct run *r)
{
	for (unsigned i = 0; i < SCRIPT_PEERS; i++)
		if (!r->peer[i].used) {
			struct peer *p = peer_of(r, i);

			p->rport = (uint16_t)(LOCAL_PORT + i);
			r->cur = i;
			return p;
		}
	return NULL;
}

static int64_t call_connect(struct run *r, struct fd *f, bool again)
{
	struct peer *p = NULL;
	int err = 0;
	socklen_t len = sizeof(err);
	int64_t res;

	if (!again) {
		p = new_remote(r);
		if (!p)
			return -EMFILE;
		res = testenv_connect_addr(f->s, testenv_ip(1), p->rport);
		/* a second connect() on the socket asks about the first one: that peer stays */
		if (res == -EALREADY || res == -EISCONN || (res == 0 && f->stream))
			p->used = false;
		return res;
	}
	if (!(sock_readiness(f->s) & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return -EINPROGRESS;
	sock_getopt(f->s, SOL_SOCKET, SO_ERROR, &err, &len, tenv.self);
	return -err;
}

static int64_t call_accept(struct run *r, struct fd *f, int flags)
{
	struct sock *s = NULL;
	int fd = fd_new(r), res;

	if (fd < 0)
		return -EMFILE;
	res = sock_accept(f->s, &s, true, -1, tenv.self);
	if (res < 0)
		return res;
	/* a child does not inherit O_NONBLOCK (as Linux); nothing may sleep in virtual time */
	atomic_fetch_or_explicit(&s->fl_flags, O_NONBLOCK, memory_order_relaxed);
	r->fd[fd] = (struct fd){ .s = s, .nonblock = flags & SOCK_NONBLOCK, .stream = true, .rx_next = 1, .tx_next = 1 };
	r->info_fd = fd;
	return fd;
}

static int64_t call_write(struct run *r, struct fd *f, uint64_t n, int flags)
{
	static uint8_t buf[1 << 20];
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(r->peer[0].used ? r->peer[0].rport : REMOTE_PORT),
				  .sin_addr.s_addr = testenv_ip(1) };
	struct iovec iov = { buf, n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_name = &sa, .msg_namelen = sizeof(sa) };
	int64_t res;

	if (n > sizeof(buf))
		return -EINVAL;
	if (f->stream && (flags & MSG_FASTOPEN)) { /* sendto() that connects: a peer of its own, as for connect() */
		struct peer *p = new_remote(r);

		if (!p)
			return -EMFILE;
		fill(buf, n, f->tx_next);
		sa.sin_port = htons(p->rport);
		res = sock_sendmsg(f->s, &msg, flags | MSG_NOSIGNAL, tenv.self);
		if (res > 0)
			f->tx_next += (uint64_t)res;
		return res;
	}
	fill(buf, n, f->stream ? f->tx_next : 1);
	if (!f->stream && !(sock_status(f->s) & SOCK_CONNECTED)) {
		peer_of(r, 0);
		return sock_sendmsg(f->s, &msg, flags, tenv.self);
	}
	res = sock_send(f->s, buf, n, flags | MSG_NOSIGNAL, tenv.self);
	if (res > 0)
		f->tx_next += (uint64_t)res;
	return res;
}

static int64_t call_read(struct run *r, const struct event *e, struct fd *f, uint64_t n, int flags)
{
	static uint8_t buf[1 << 20];
	int64_t res;
	long at;

	n = MIN(n, sizeof(buf));
	res = sock_recv(f->s, buf, n, flags, tenv.self);
	if (res <= 0)
		return res;
	at = f->stream && (flags & MSG_OOB) ? -1 : differs(buf, (size_t)MIN(res, (int64_t)n), f->stream ? f->rx_next : 1);
	if (at >= 0 && !r->sc->no_data_check)
		bad(r, e->line, "read() returned a wrong byte at offset %lld of the stream: 0x%02x, sent was 0x%02x",
		    (long long)f->rx_next - 1 + at, buf[at], pattern(f->rx_next + (uint64_t)at));
	if (f->stream && !(flags & (MSG_PEEK | MSG_OOB)))
		f->rx_next += (uint64_t)res;
	return res;
}

static int64_t call_setsockopt(struct run *r, const struct event *e, struct fd *f)
{
	const struct value *v = e->nargs > 3 ? e->arg[3] : NULL;
	int level = (int)arg_int(e, 1), name = (int)arg_int(e, 2), n;
	struct linger lg;
	struct timeval tv;

	if (v && v->kind == VALUE_STRUCT && name == SO_LINGER) {
		lg.l_onoff = (int)field_int(v, "onoff", "l_onoff");
		lg.l_linger = (int)field_int(v, "linger", "l_linger");
		return sock_setopt(f->s, level, name, &lg, sizeof(lg), tenv.self);
	}
	if (v && v->kind == VALUE_STRUCT) {
		tv.tv_sec = field_int(v, "tv_sec", NULL);
		tv.tv_usec = field_int(v, "tv_usec", NULL);
		return sock_setopt(f->s, level, name, &tv, sizeof(tv), tenv.self);
	}
	n = (int)(v && v->kind == VALUE_LIST && v->count ? v->item[0]->n : v ? v->n : 0);
	return sock_setopt(f->s, level, name, &n, sizeof(n), tenv.self);
}

static int64_t call_getsockopt(struct run *r, const struct event *e, struct fd *f)
{
	const struct value *v = e->nargs > 3 ? e->arg[3] : NULL;
	int64_t n = 0;
	socklen_t len = sizeof(int);
	int res = sock_getopt(f->s, (int)arg_int(e, 1), (int)arg_int(e, 2), &n, &len, tenv.self);

	if (res == 0 && v && v->kind == VALUE_LIST && v->count && v->item[0]->kind == VALUE_INT &&
	    (int)v->item[0]->n != (int)n)
		bad(r, e->line, "getsockopt() gave %d (%s), expected %lld", (int)n, script_errno_name((int)n),
		    (long long)v->item[0]->n);
	return res;
}

static int64_t call_ioctl(struct run *r, const struct event *e, struct fd *f)
{
	const struct value *v = e->nargs > 2 ? e->arg[2] : NULL;
	int n = (int)(v && v->kind == VALUE_LIST && v->count ? v->item[0]->n : 0), want = n;
	int res = sock_ioctl(f->s, (unsigned long)arg_int(e, 1), &n, tenv.self);

	if (res == 0 && v && v->kind == VALUE_LIST && n != want)
		bad(r, e->line, "ioctl() gave %d, expected %d", n, want);
	return res;
}

static int64_t call_poll(struct run *r, const struct event *e)
{
	const struct value *v = e->arg[0];
	int64_t ready = 0;

	if (!v || v->kind != VALUE_LIST)
		return -EINVAL;
	for (unsigned i = 0; i < v->count; i++) {
		const struct value *p = v->item[i];
		int64_t fd = field_int(p, "fd", NULL), events = field_int(p, "events", NULL), want, got;

		if (fd < FD_FIRST || fd >= FDS || !r->fd[fd].s)
			return -EBADF;
		got = (int64_t)sock_readiness(r->fd[fd].s) & (events | POLLERR | POLLHUP);
		want = field_int(p, "revents", NULL);
		ready += got != 0;
		if (got != want && (got || e->done_us < 0 || script_now(r) >= r->last_us + arg_int(e, 2) * 1000)) {
			bad(r, e->line, "poll() says 0x%x for descriptor %d, expected 0x%x", (unsigned)got, (int)fd,
			    (unsigned)want);
			return ready;
		}
	}
	return ready;
}

static int64_t call_epoll_ctl(struct run *r, const struct event *e, struct fd *ep)
{
	struct fd *f = arg_fd(r, e, 2);
	struct epoll_event ev = { .events = (uint32_t)(e->nargs > 3 ? field_int(e->arg[3], "events", NULL) : 0),
				  .data.fd = (int)arg_int(e, 2) };

	if (!ep->ep || !f || !f->s)
		return -EBADF;
	return epoll_instance_ctl(ep->ep, (int)arg_int(e, 1), (int)arg_int(e, 2), f->s, &ev, tenv.self);
}

static int64_t call_epoll_wait(struct run *r, const struct event *e, struct fd *ep)
{
	struct epoll_event ev[16];
	const struct value *v = e->nargs > 1 ? e->arg[1] : NULL;
	int n;

	if (!ep->ep)
		return -EINVAL;
	n = epoll_instance_wait(ep->ep, ev, (int)MIN(MAX(arg_int(e, 2), 1), 16), 0, -1, tenv.self);
	if (n > 0 && v && v->kind == VALUE_STRUCT) {
		if (ev[0].events != (uint32_t)field_int(v, "events", NULL) || ev[0].data.fd != field_int(v, "fd", NULL))
			bad(r, e->line, "epoll_wait() gave events 0x%x for descriptor %d, expected 0x%x for %d",
			    ev[0].events, ev[0].data.fd, (unsigned)field_int(v, "events", NULL),
			    (int)field_int(v, "fd", NULL));
	}
	return n;
}

/* One attempt of the call; -EAGAIN or -EINPROGRESS may be retried. */
static int64_t attempt(struct run *r, const struct event *e, bool again)
{
	struct fd *f;
	const char *c = e->call;
	int64_t res;

	if (!strcmp(c, "socket"))
		return call_socket(r, e);
	if (!strcmp(c, "poll"))
		return call_poll(r, e);
	if (!strcmp(c, "epoll_create") || !strcmp(c, "epoll_create1")) {
		int fd = fd_new(r);

		if (fd < 0)
			return -EMFILE;
		r->fd[fd].ep = epoll_instance_create(tenv.self);
		return r->fd[fd].ep ? fd : -ENOMEM;
	}
	f = arg_fd(r, e, 0);
	if (!f)
		return -EBADF;
	if (!strcmp(c, "epoll_ctl"))
		return call_epoll_ctl(r, e, f);
	if (!strcmp(c, "epoll_wait"))
		return call_epoll_wait(r, e, f);
	if (f->ep) {
		if (strcmp(c, "close"))
			return -EINVAL;
		epoll_instance_unref(f->ep, tenv.self);
		f->ep = NULL;
		return 0;
	}
	if (f->stream && !f->listener && strcmp(c, "close"))
		r->info_fd = (int)(f - r->fd);
	if (!strcmp(c, "bind"))
		return testenv_bind_addr(f->s, testenv_ip(0), LOCAL_PORT);
	if (!strcmp(c, "listen")) {
		f->listener = true;
		return sock_listen(f->s, (int)arg_int(e, 1), tenv.self);
	}
	if (!strcmp(c, "accept"))
		return call_accept(r, f, 0);
	if (!strcmp(c, "accept4"))
		return call_accept(r, f, (int)arg_int(e, 3));
	if (!strcmp(c, "connect"))
		return call_connect(r, f, again);
	if (!strcmp(c, "write") || !strcmp(c, "send") || !strcmp(c, "sendto"))
		return call_write(r, f, (uint64_t)arg_int(e, 2) - r->pending_bytes, (int)arg_int(e, 3));
	if (!strcmp(c, "read") || !strcmp(c, "recv") || !strcmp(c, "recvfrom"))
		return call_read(r, e, f, (uint64_t)arg_int(e, 2), (int)arg_int(e, 3));
	if (!strcmp(c, "shutdown"))
		return sock_shutdown(f->s, (int)arg_int(e, 1), tenv.self);
	if (!strcmp(c, "setsockopt"))
		return call_setsockopt(r, e, f);
	if (!strcmp(c, "getsockopt"))
		return call_getsockopt(r, e, f);
	if (!strcmp(c, "ioctl"))
		return call_ioctl(r, e, f);
	if (!strcmp(c, "fcntl")) {
		if (arg_int(e, 1) == F_GETFL)
			return O_RDWR | (f->nonblock ? O_NONBLOCK : 0);
		f->nonblock = arg_int(e, 2) & O_NONBLOCK;
		return 0;
	}
	if (!strcmp(c, "close")) {
		sock_unref(f->s, tenv.self);
		f->s = NULL;
		return 0;
	}
	res = -ENOSYS;
	bad(r, e->line, "the runner does not know the call %s()", c);
	return res;
}

static int check_result(struct run *r, const struct event *e, int64_t res)
{
	if (r->failed)
		return -1;
	if (r->verbose)
		printf("%9.6f   %s() = %lld %s\n", (double)script_now(r) / 1e6, e->call, (long long)res,
		       res < 0 ? script_errno_name((int)-res) : "");
	if (e->any_result)
		return 0;
	if (res >= 0 ? res != e->result : (e->result != -1 || (e->err && e->err != -res)))
		return bad(r, e->line, "%s() returned %lld%s%s, expected %lld%s%s", e->call,
			   (long long)(res < 0 ? -1 : res), res < 0 ? " " : "", res < 0 ? script_errno_name((int)-res) : "",
			   (long long)e->result, e->err ? " " : "", e->err ? script_errno_name(e->err) : "");
	return 0;
}

static bool would_block(const struct run *r, const struct event *e, int64_t res)
{
	int64_t fd = arg_int(e, 0);

	if (!strcmp(e->call, "poll") || !strcmp(e->call, "epoll_wait")) {
		int64_t ms = arg_int(e, !strcmp(e->call, "poll") ? 2 : 3);

		return res == 0 && ms && (ms < 0 || script_now(r) < r->pending_since + ms * 1000);
	}
	if (res != -EAGAIN && res != -EINPROGRESS)
		return false;
	return fd >= FD_FIRST && fd < FDS && !r->fd[fd].nonblock && !(arg_int(e, 3) & MSG_DONTWAIT);
}

static bool is_write(const struct event *e)
{
	return !strcmp(e->call, "write") || !strcmp(e->call, "send");
}

/* Another try of the call that blocks; its end is noted, not yet judged. */
static void try_pending(struct run *r)
{
	const struct event *e = r->pending;
	int64_t res;

	if (!e || r->pending_done || r->failed)
		return;
	r->pending = NULL; /* calls settle the stack: no recursion */
	res = attempt(r, e, true);
	r->pending = e;
	if (is_write(e) && res > 0) {
		r->pending_bytes += (uint64_t)res;
		res = r->pending_bytes == (uint64_t)arg_int(e, 2) ? (int64_t)r->pending_bytes : -EAGAIN;
	}
	if (would_block(r, e, res))
		return;
	r->pending_done = true;
	r->pending_result = res;
	r->pending_done_at = script_now(r);
	testenv_settle();
}

/* The blocking call must have come to its end by now (or comes within its time). */
static int finish_pending(struct run *r)
{
	const struct event *e = r->pending;
	int64_t want;

	if (!e)
		return 0;
	want = r->pending_since + (e->when == TIME_RELATIVE ? e->done_us : e->done_us - e->us);
	if (!r->pending_done)
		pass_time(r, want + r->sc->tolerance_us, false);
	r->pending = NULL;
	r->pending_bytes = 0;
	if (!r->pending_done)
		return bad(r, e->line, "%s() still blocks at %.6f, should have returned at %.6f", e->call,
			   (double)script_now(r) / 1e6, (double)want / 1e6);
	if (r->pending_done_at < want - r->sc->tolerance_us || r->pending_done_at > want + r->sc->tolerance_us)
		return bad(r, e->line, "%s() returned at %.6f, expected at %.6f", e->call,
			   (double)r->pending_done_at / 1e6, (double)want / 1e6);
	return check_result(r, e, r->pending_result);
}

static int do_call(struct run *r, const struct event *e)
{
	int64_t res;

	if (finish_pending(r))
		return -1;
	r->pending_since = script_now(r);
	r->pending_bytes = 0;
	res = attempt(r, e, false);
	if (r->failed)
		return -1;
	if (is_write(e) && res > 0 && res < arg_int(e, 2) && e->done_us >= 0) {
		r->pending_bytes = (uint64_t)res;
		res = -EAGAIN;
	}
	if (would_block(r, e, res)) {
		testenv_settle();
		if (e->done_us < 0)
			return bad(r, e->line, "%s() blocks, expected to return at once", e->call);
		r->pending = e;
		r->pending_done = false;
		return 0;
	}
	testenv_settle();
	return check_result(r, e, res);
}

/* --- assertions --- */

static int do_code(struct run *r, const struct event *e)
{
	socklen_t len = sizeof(r->info);
	char why[400];

	memset(r->info, 0, sizeof(r->info));
	if (r->info_fd >= FD_FIRST && r->fd[r->info_fd].s)
		sock_getopt(r->fd[r->info_fd].s, IPPROTO_TCP, INFO_OPTION, r->info, &len, tenv.self);
	if (expr_run(e->code, info_name, r->info, why, sizeof(why)))
		return bad(r, e->line, "%s", why);
	return 0;
}

/* A sysctl that the engine knows; the rest is for the kernel's side. */
static void do_shell(const struct event *e)
{
	struct tcp_conf *c = &tenv.host[0].st->tcp->conf;
	const struct {
		const char *name;
		uint8_t *to;
	} known[] = { { "net.ipv4.tcp_syncookies=", &c->syncookies } };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		const char *at = strstr(e->code, known[i].name);

		if (at)
			*known[i].to = (uint8_t)atoi(at + strlen(known[i].name));
	}
}

/* --- the whole --- */

static int run_events(struct run *r)
{
	for (const struct event *e = r->sc->first; e && !r->failed; e = e->next) {
		int64_t base = e->when == TIME_RELATIVE ? r->last_us : 0, at = base + e->us;
		int64_t until = e->until_us >= 0 ? base + e->until_us : at;

		if (e->when != TIME_ANY && at < r->last_us)
			return bad(r, e->line, "time goes backwards");
		if (e->kind != EVENT_OUT && e->when != TIME_ANY && !joins_burst(r, e))
			pass_time(r, at, false);
		if (e->when != TIME_ANY)
			r->last_us = e->kind == EVENT_OUT && e->until_us >= 0 ? r->last_us : at;
		if (r->failed)
			break;
		switch (e->kind) {
		case EVENT_IN:
			do_inbound(r, e);
			break;
		case EVENT_OUT:
			do_outbound(r, e, at, until);
			if (e->until_us >= 0)
				r->last_us = script_now(r);
			break;
		case EVENT_CALL:
			do_call(r, e);
			break;
		case EVENT_SHELL:
			do_shell(e);
			break;
		case EVENT_CODE:
			if (!finish_pending(r))
				do_code(r, e);
			break;
		}
	}
	return r->failed ? -1 : finish_pending(r);
}

static void check_end(struct run *r)
{
	struct frame *f = r->failed ? NULL : memdev_pop(&tenv.host[0].dev);
	char got[512];
	struct seg s;

	if (f && !r->sc->allow_extra && seg_parse(f, &s, NULL))
		bad(r, 0, "the script is over, but a packet was sent at %.6f that it does not mention:\n\tseen:     %s",
		    (double)(f->time_us - r->start_us) / 1e6, print_live(r, &s, got, sizeof(got)));
	free(f);
	if (tenv.host[0].dev.bad_frames)
		bad(r, 0, "the stack sent %u frames that break a rule (messages above)", tenv.host[0].dev.bad_frames);
}

int script_run(const struct script *sc, enum run_mode mode, bool verbose, char *why, size_t why_bytes)
{
	struct memdev_conf plain = { .mtu = (uint32_t)sc->mtu },
			   offload = { .mtu = (uint32_t)sc->mtu, .tx_csum = true, .tso_max_bytes = 61440, .rx_csum = true,
				       .rx_merge = true, .rx_seg_bytes = 200, .tx_hold = 3 };
	struct run *r = calloc(1, sizeof(*r));
	int failed;

	if (!r)
		abort();
	*r = (struct run){ .sc = sc, .verbose = verbose, .why = why, .why_bytes = why_bytes, .info_fd = -1 };
	testenv_open(&(struct testenv_conf){ .dev = mode == RUN_OFFLOAD ? offload : plain });
	r->start_us = vclock_us;
	run_events(r);
	check_end(r);
	for (int i = FD_FIRST; i < FDS; i++) {
		if (r->fd[i].s)
			sock_unref(r->fd[i].s, tenv.self);
		if (r->fd[i].ep)
			epoll_instance_unref(r->fd[i].ep, tenv.self);
	}
	testenv_settle();
	testenv_abandon();
	if (rte_mempool_in_use_count(testenv_pool(0, 0)))
		bad(r, 0, "%u mbufs leaked", rte_mempool_in_use_count(testenv_pool(0, 0)));
	failed = r->failed ? -1 : 0;
	free(r);
	return failed;
}

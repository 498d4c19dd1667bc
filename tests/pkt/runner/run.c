/* run.c - plays a packet script against a system under test (sut.h): the stack in process and in virtual time, or the kernel.
 *
 * The system under test is 192.168.0.1; the script plays its peers at 192.0.2.1, as packetdrill does: peer N has port 40000+N towards a
 * listener (local port 8080), or 8080+N when the script connects to it. Numbers in scripts are relative to initial sequence
 * numbers that are learned from the first SYN of each side. Payload bytes follow a pattern by stream offset; what the
 * system sends and what read() returns is compared with it.
 * A call with a duration ("0...0.2") blocks: it runs beside the script, and its end is judged when the next call comes, or the end.
 *
 * Segments and chunks: a kernel with segmentation offload hands its device chunks of several segments, and scripts written for it say so. One
 * segment of a script matches consecutive ones of equal size (the last may be shorter) that add up to it, and one chunk matches
 * consecutive segments of a script. PSH is compared only where --check_psh or pktrun's -e says so, for the same reason.
 */
#include "run.h"
#include "expr.h"
#include "info.h"
#include "shell.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL_PORT 8080
#define REMOTE_PORT 40000
#define TS_MEMORY 32
#define FOREVER_US 1000000000 /* how long "*" waits for a packet */

struct peer {
	bool used, local_known, syn_sent;
	uint16_t lport, rport;
	uint32_t remote_base, remote_isn; /* live = script + base; isn is live. After a SYN-ACK with a number other than 0 a script counts from it. */
	uint32_t syn_script;		  /* script number of the SYN that was sent */
	uint32_t local_base, local_isn;
	uint32_t ts_base; /* live = script + base */
	bool ts_known;
	struct {
		uint32_t script, live;
	} ts[TS_MEMORY];
	unsigned ts_n;
};

struct run {
	const struct script *sc;
	const struct sut *sut;
	struct run_opts opts;
	uint64_t start_us;
	int64_t last_us; /* script time of the last event */
	int64_t prev_us; /* ... of the one before */
	struct peer peer[SCRIPT_PEERS];
	unsigned cur; /* peer of the last packet */
	uint16_t bound_port;
	struct calls calls;
	struct {
		uint8_t script[16], live[16];
	} cookie[8]; /* Fast Open */
	unsigned cookies;
	struct call call; /* the last one */
	bool call_runs, call_over;
	int64_t call_since;
	struct frame *rest; /* a chunk of which the script has named the first bytes only */
	uint32_t rest_off, used_off; /* payload bytes of rest, of the segment at hand, that are behind us */
	uint64_t info[INFO_BYTES / 8]; /* struct tcp_info */
	int64_t recorded_us; /* time of the last line recorded */
	char *why;
	size_t why_bytes;
	bool failed, skipped;
};

static struct run *the_run;

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
	return (int64_t)(r->sut->now_us() - r->start_us);
}

/* --- time --- */

static void call_tick(void *arg)
{
	struct run *r = arg;

	if (r->call_runs && !r->call_over)
		r->call_over = r->sut->poll(&r->call);
}

/* Passes time to script time `until`; stops early when the system has sent something and wake_on_frame. */
static void pass_time(struct run *r, int64_t until, bool wake_on_frame)
{
	r->sut->pass(r->start_us + (uint64_t)MAX(until, 0), wake_on_frame, call_tick, r);
}

/* Packets may be late by this; of a long wait, by one part in a hundred. */
static int64_t tolerance(const struct run *r, int64_t wait_us)
{
	return MAX(r->sc->tolerance_us + r->opts.slack_us, wait_us / 100);
}

/* --- packets --- */

static struct peer *peer_of(struct run *r, unsigned n)
{
	struct peer *p = &r->peer[n];

	if (!p->used) {
		p->used = true;
		p->lport = r->bound_port;
		p->rport = (uint16_t)(REMOTE_PORT + n);
		/* close to the wrap, so that every longer script crosses it */
		p->remote_base = (uint32_t)(r->sc->remote_isn >= 0 ? r->sc->remote_isn : 0xfffff000 + 16 * n);
		p->remote_isn = p->remote_base;
	}
	return p;
}

/* The peer with this port, a new one if there is none. */
static unsigned peer_at(struct run *r, uint16_t rport)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SCRIPT_PEERS; i++)
		if (r->peer[i].used && r->peer[i].rport == rport)
			return i;
	while (n < SCRIPT_PEERS - 1 && r->peer[n].used)
		n++;
	peer_of(r, n)->rport = rport;
	return n;
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

static struct seg addressed(const struct peer *p, enum seg_kind kind)
{
	return (struct seg){ .kind = kind, .saddr = htonl(SUT_REMOTE_IP), .daddr = htonl(SUT_LOCAL_IP), .sport = p->rport, .dport = p->lport };
}

/* An ICMP error that quotes a packet of ours. */
static struct frame *build_icmp(const struct event *e, struct peer *p)
{
	struct seg q = addressed(p, e->quoted.kind), s = addressed(p, SEG_ICMP);
	struct frame *inner, *f;

	s.icmp_type = e->seg.icmp_type;
	s.icmp_code = e->seg.icmp_code;
	s.icmp_rest = e->seg.icmp_rest;
	if (e->seg.icmp_type == 8 || e->seg.icmp_type == 0) {
		uint8_t data[1500];

		pattern_fill(data, e->seg.len, 1);
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
	unsigned n = e->peer >= 0 ? (unsigned)e->peer : e->src_port ? peer_at(r, e->src_port) : r->cur;
	struct peer *p = peer_of(r, n);
	struct seg s = addressed(p, e->seg.kind);
	uint8_t data[65536];
	struct frame *f;

	if (e->dst_port) {
		p->lport = e->dst_port;
		s.dport = e->dst_port;
	}
	r->cur = n;
	if (e->seg.kind == SEG_ICMP) {
		f = build_icmp(e, p);
	} else {
		if (e->seg.kind == SEG_TCP) {
			s.seq = e->seg.seq + p->remote_base;
			if ((e->seg.flags & TH_SYN) && !(e->seg.flags & TH_ACK) &&
			    (!p->syn_sent || e->seg.seq != p->syn_script)) {
				/* a new connection: our side's number is learned again */
				if (p->syn_sent)
					p->local_known = p->ts_known = false;
				p->ts_n = 0;
			}
			if (e->seg.flags & TH_SYN) {
				bool answer = e->seg.flags & TH_ACK && !p->syn_sent;

				p->syn_sent = true;
				p->syn_script = e->seg.seq;
				p->remote_isn = s.seq;
				if (answer)
					p->remote_base = p->remote_isn;
			}
			s.frag = 0x4000; /* path MTU discovery, as everybody's TCP does it */
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
		pattern_fill(data, e->seg.len, e->seg.kind == SEG_TCP ? s.seq + !!(s.flags & TH_SYN) - p->remote_isn : 1);
		s.data = data;
		s.len = e->seg.len;
		s.tos = e->seg.tos;
		s.ttl = e->seg.ttl;
		s.bad_l4_csum = e->bad_sum;
		f = seg_build(&s);
	}
	if (r->opts.verbose)
		printf("%9.6f <\n", (double)script_now(r) / 1e6);
	r->sut->push(f, joins_burst(r, e->next));
	call_tick(r);
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

/* at: how much of the script's segment earlier ones have brought; len: how much of s counts; whole: nothing of either is left. */
static const char *compare(struct run *r, const struct event *e, const struct seg *s, struct peer *p, uint32_t at, uint32_t len, bool ends)
{
	const struct seg *want = &e->seg;
	uint8_t mask = (r->sc->check_psh || r->opts.public) && ends ? 0xff : (uint8_t)~TH_PSH;
	const char *diff;

	if (want->kind != s->kind)
		return "protocol";
	if (e->any_ect ? (s->tos & 3) != 1 && (s->tos & 3) != 2 : (s->tos & e->tos_mask) != (want->tos & e->tos_mask))
		return e->tos_mask == 3 ? "ECN field" : "type of service";
	if (want->kind == SEG_UDP || want->kind == SEG_ICMP) {
		if (want->kind == SEG_ICMP && (want->icmp_type != s->icmp_type || want->icmp_code != s->icmp_code))
			return "ICMP type or code";
		return want->kind == SEG_UDP && want->len != s->len ? "length" : NULL;
	}
	if (!ends) /* a FIN belongs to the last part, CWR to the first */
		mask &= (uint8_t)~TH_FIN;
	if (at)
		mask &= (uint8_t)~TH_CWR;
	if ((want->flags & mask) != (s->flags & mask))
		return "flags";
	if (want->seq + p->local_base + at != s->seq)
		return "sequence number";
	if (at + len > want->len || (ends && at + len != want->len))
		return "length";
	if ((want->flags & TH_ACK) && want->ack + p->remote_base != s->ack)
		return "acknowledgement";
	if (e->has_win && want->win != s->win)
		return "window";
	if ((want->flags & TH_URG) && want->urg != s->urg)
		return "urgent pointer";
	diff = compare_options(r, e, s, p);
	if (diff)
		return diff;
	if (len && !r->sc->no_data_check && pattern_differs(s->data, len, s->seq + !!(s->flags & TH_SYN) - p->local_isn) >= 0)
		return "payload bytes";
	return NULL;
}

/* The next segment that the system sent, or what is left of a chunk; waits for it until `until`. NULL: none came. *f owns its bytes. */
static struct frame *next_segment(struct run *r, int64_t until, struct seg *s, const char **why)
{
	struct frame *f = r->rest;
	uint32_t off = r->rest_off;

	r->rest = NULL;
	r->rest_off = 0;
	r->used_off = off;
	while (!f) {
		pass_time(r, until, true);
		f = r->sut->pop();
		if (!f)
			return NULL;
	}
	*why = "";
	if (!seg_parse(f, s, why))
		return f;
	s->data += off;
	s->len -= off;
	s->seq += off;
	if (off)
		s->flags &= (uint8_t)~TH_CWR;
	return f;
}

static struct peer *peer_of_segment(struct run *r, const struct event *e, const struct seg *s)
{
	struct peer *p = NULL;

	for (unsigned i = 0; i < SCRIPT_PEERS && (s->kind == SEG_TCP || s->kind == SEG_UDP); i++)
		if (r->peer[i].used && r->peer[i].rport == s->dport)
			p = &r->peer[i];
	if (!p)
		p = peer_of(r, r->cur);
	/* a socket that connects anew from another port is another connection to the same peer */
	if (s->kind == SEG_TCP && (s->flags & (TH_SYN | TH_ACK)) == TH_SYN && p->local_known && p->lport != s->sport)
		p->local_known = p->ts_known = p->syn_sent = false;
	if (s->kind == SEG_TCP && (s->flags & TH_SYN) && !p->local_known) {
		p->local_known = true;
		p->local_isn = s->seq;
		p->local_base = s->seq - e->seg.seq;
		p->lport = s->sport;
	}
	if (s->kind == SEG_TCP && s->opt.has_ts && e->seg.opt.has_ts)
		ts_learn(p, e->seg.opt.tsval, s->opt.tsval);
	if (s->kind == SEG_TCP || s->kind == SEG_UDP)
		r->cur = (unsigned)(p - r->peer);
	return p;
}

/* One segment of the system for the script's from byte *at on. first: bytes of the first part, 0: this is it. */
static int one_outbound(struct run *r, const struct event *e, int64_t from, int64_t until, uint32_t *at, uint32_t *first)
{
	uint32_t left = e->seg.len - *at, len;
	char got[512], want[512];
	const char *diff, *why;
	struct peer *p;
	struct frame *f;
	struct seg s;
	int64_t seen_at;
	bool ends;

	f = next_segment(r, until, &s, &why);
	if (!f)
		return bad(r, e->line, "no packet came by %.6f\n\texpected: %s", (double)until / 1e6, print_wanted(e, want, sizeof(want)));
	seen_at = (int64_t)(f->time_us - r->start_us);
	if (*why) {
		free(f);
		return bad(r, e->line, "the system sent a malformed frame: %s", why);
	}
	if (!r->sut->vouches_sums)
		s.l4_csum_ok = true;
	p = peer_of_segment(r, e, &s);
	print_live(r, &s, got, sizeof(got));
	if (r->opts.verbose)
		printf("%9.6f > %s\n", (double)seen_at / 1e6, got);
	len = s.len;
	ends = true;
	if (s.kind == SEG_TCP && e->seg.kind == SEG_TCP && len && left && !((s.flags | e->seg.flags) & (TH_SYN | TH_RST))) {
		if (len > left) {
			len = left;
			ends = false;
		} else if (len < left && !(s.flags & TH_FIN)) {
			ends = false;
		}
		/* parts are of one size, only the last may be shorter: else it is Nagle's algorithm or the window that is seen, no offload */
		if (!*first)
			*first = len;
		else if (len > *first || (len < *first && len != left))
			ends = true;
	}
	diff = compare(r, e, &s, p, *at, len, ends);
	if (!diff && e->peer >= 0 && p != &r->peer[e->peer])
		diff = "peer";
	if (!diff && s.len > len) {
		r->rest = f;
		r->rest_off = r->used_off + len;
	}
	if (diff)
		bad(r, e->line, "%s of the packet sent at %.6f is not as expected\n\texpected: %s\n\tseen:     %s", diff,
		    (double)seen_at / 1e6, print_wanted(e, want, sizeof(want)), got);
	else if (e->when != TIME_ANY && (seen_at < from || seen_at > until))
		bad(r, e->line, "packet sent at %.6f, expected from %.6f to %.6f\n\tpacket: %s", (double)seen_at / 1e6, (double)from / 1e6,
		    (double)until / 1e6, got);
	if (e->when == TIME_ANY)
		r->last_us = seen_at;
	if (f != r->rest)
		free(f);
	*at += len;
	return r->failed ? -1 : 0;
}

static int do_outbound(struct run *r, const struct event *e, int64_t at, int64_t until)
{
	int64_t tol = tolerance(r, until - r->prev_us);
	uint32_t done = 0, first = 0;

	do {
		if (one_outbound(r, e, at - tol, e->when == TIME_ANY ? script_now(r) + FOREVER_US : until + tol, &done, &first))
			return -1;
	} while (done < e->seg.len && e->seg.kind == SEG_TCP);
	return 0;
}

/* --- calls --- */

/* The port of the peer that the next connect() is about. */
static uint16_t connect_port(void *arg)
{
	struct run *r = arg;

	if (!r) /* a datagram: whoever wrote last */
		return the_run->peer[the_run->cur].used ? the_run->peer[the_run->cur].rport : REMOTE_PORT;
	for (unsigned i = 0; i < SCRIPT_PEERS; i++)
		if (!r->peer[i].used) {
			struct peer *p = peer_of(r, i);

			p->rport = (uint16_t)(LOCAL_PORT + i);
			r->cur = i;
			return p->rport;
		}
	return LOCAL_PORT;
}

static int finish_call(struct run *r)
{
	const struct event *e = r->call.e;
	struct call *c = &r->call;
	char why[512];
	int64_t want, done_at, tol;

	if (!r->call_runs)
		return 0;
	want = r->call_since + e->done_us - e->us; /* both from the same moment */
	tol = tolerance(r, want - r->call_since);
	if (!r->call_over)
		pass_time(r, want + tol, false);
	r->call_runs = false;
	if (!r->call_over)
		return bad(r, e->line, "%s() still blocks at %.6f, should have returned at %.6f", e->call, (double)script_now(r) / 1e6,
			   (double)want / 1e6);
	done_at = (int64_t)(c->done_us - r->start_us);
	if (done_at < want - tol || done_at > want + tol)
		return bad(r, e->line, "%s() returned at %.6f, expected at %.6f", e->call, (double)done_at / 1e6, (double)want / 1e6);
	if (call_check(&r->calls, c, why, sizeof(why)))
		bad(r, e->line, "%s", why);
	call_free(c);
	return r->failed ? -1 : 0;
}

static int do_call(struct run *r, const struct event *e)
{
	struct call *c = &r->call;
	char why[512];

	if (finish_call(r))
		return -1;
	if (call_prepare(&r->calls, c, e, why, sizeof(why)))
		return bad(r, e->line, "%s", why);
	r->call_since = script_now(r);
	r->call_over = r->sut->start(c, e->done_us >= 0);
	if (!r->call_over && e->done_us < 0) {
		call_free(c);
		return bad(r, e->line, "%s() blocks, expected to return at once", e->call);
	}
	if (!r->call_over || e->done_us >= 0) { /* one that was to last is judged by when it ended */
		r->call_runs = true;
		return 0;
	}
	if (r->opts.verbose)
		printf("%9.6f   %s() = %lld %s\n", (double)script_now(r) / 1e6, e->call, (long long)c->result,
		       c->result < 0 ? script_errno_name((int)-c->result) : "");
	if (call_check(&r->calls, c, why, sizeof(why)))
		bad(r, e->line, "%s", why);
	if (c->nr == CALL_BIND && c->result == 0)
		r->bound_port = ntohs(c->sa.sin_port);
	call_free(c);
	return r->failed ? -1 : 0;
}

/* --- assertions, settings --- */

static int do_code(struct run *r, const struct event *e)
{
	char why[400];

	memset(r->info, 0, sizeof(r->info));
	if (r->calls.info_fd >= 0 && r->calls.fd[r->calls.info_fd].live >= 0)
		r->sut->info(r->calls.fd[r->calls.info_fd].live, r->info);
	if (expr_run(e->code, info_name, r->info, why, sizeof(why)))
		return bad(r, e->line, "%s", why);
	return 0;
}

static int do_shell(struct run *r, const struct event *e)
{
	char why[400];

	if (!shell_run(r->sc->name, e->code, r->sut->sysctl, NULL, why, sizeof(why))) {
		if (e == r->sc->first) /* what prepares takes no time of the script */
			r->start_us = r->sut->now_us();
		return 0;
	}
	r->skipped = true;
	return bad(r, e->line, "%s", why);
}

/* --- recording --- */

/* A script without ">" lines, and with "= ..." for results, is a stimulus; recorded against the kernel it becomes a script that says what the
 * kernel does. In code blocks "record a b" becomes assertions about a and b. Times are rounded to milliseconds; packets that a timer sent get
 * a range, because the kernel's timers are up to an eighth late. */

static void record_ms(int64_t ms)
{
	printf(ms % 1000 ? "+%lld.%03lld" : "+%lld", (long long)(ms / 1000), (long long)(ms % 1000));
}

static void record_time(struct run *r, int64_t at, bool packet)
{
	int64_t dt = MAX(at - r->recorded_us, 0), ms = (dt + 500) / 1000;

	if (dt < (packet ? 5500 : 2500)) {
		printf("+0");
	} else if (packet) {
		record_ms(ms - MAX(ms / 8, 4));
		printf("~");
		record_ms(ms + MAX(ms / 16, 4));
		r->recorded_us = at; /* what follows a range counts from when it happened */
	} else {
		record_ms(ms);
		r->recorded_us += ms * 1000;
	}
}

static void record_packet(struct run *r, const struct seg *s, struct peer *p, int64_t at)
{
	char text[512], *win, *opts;

	print_live(r, s, text, sizeof(text));
	win = strstr(text, " win ");
	opts = strstr(text, " <");
	record_time(r, at, true);
	if (s->kind == SEG_ICMP) {
		printf(" > icmp type %u code %u\n", s->icmp_type, s->icmp_code);
	} else if (s->kind == SEG_UDP) {
		printf(" > udp (%u)\n", s->len);
	} else {
		unsigned ecn = s->tos & 3;

		printf(" >%s", ecn == 1 ? " [ect1]" : ecn == 2 ? " [ect0]" : ecn == 3 ? " [ce]" : "");
		printf("%.*s%s\n", (int)(win ? win - strchr(text, ' ') : (long)strlen(text)), strchr(text, ' '), opts ? opts : "");
	}
}

/* Everything that has left so far. */
static void record_frames(struct run *r)
{
	struct event like = { .seg = { .opt = { .has_ts = true } } };
	struct frame *f;
	struct seg s;

	while ((f = r->sut->pop())) {
		if (seg_parse(f, &s, NULL)) {
			struct peer *p;
			bool learn;

			s.l4_csum_ok = true;
			p = &r->peer[r->cur];
			learn = !p->ts_known;
			like.seg.kind = s.kind;
			like.seg.opt.has_ts = learn;
			like.seg.opt.tsval = 100;
			p = peer_of_segment(r, &like, &s);
			record_packet(r, &s, p, (int64_t)(f->time_us - r->start_us));
		}
		free(f);
	}
}

static void record_call_end(struct run *r)
{
	struct call *c = &r->call;

	if (r->call_runs && r->call_over) {
		printf("// %s() of line %d returned %lld %s at %.3f\n", c->e->call, c->e->line, (long long)c->result,
		       c->result < 0 ? script_errno_name((int)-c->result) : "", (double)(c->done_us - r->start_us) / 1e6);
		r->call_runs = false;
	}
}

static void record_call(struct run *r, const struct event *e)
{
	struct call *c = &r->call;
	char why[512];
	const char *eq = e->text + e->text_len;

	if (call_prepare(&r->calls, c, e, why, sizeof(why))) {
		bad(r, e->line, "%s", why);
		return;
	}
	r->call_since = script_now(r);
	r->call_over = r->sut->start(c, e->done_us >= 0);
	if (e->done_us >= 0) {
		printf("...%.3f %.*s\n", (double)e->done_us / 1e6, (int)e->text_len, e->text);
		r->call_runs = true;
		return;
	}
	(void)call_check(&r->calls, c, why, sizeof(why));
	if (c->nr == CALL_BIND && c->result == 0)
		r->bound_port = ntohs(c->sa.sin_port);
	while (eq > e->text && *eq != '=')
		eq--;
	if (!e->any_result)
		eq = e->text + e->text_len;
	printf(" %.*s", (int)(eq - e->text), e->text);
	if (e->any_result && c->result < 0)
		printf("= -1 %s (%s)", script_errno_name((int)-c->result), strerror((int)-c->result));
	else if (e->any_result)
		printf("= %lld", (long long)c->result);
	printf("\n");
	if (c->nr == CALL_GETSOCKOPT || c->nr == CALL_IOCTL)
		printf("// it said %d\n", *(int *)(void *)c->val.bytes);
	for (nfds_t i = 0; i < c->npfd; i++)
		printf("// revents 0x%x\n", (unsigned)(uint16_t)c->pfd[i].revents);
	for (int64_t i = 0; c->nr == CALL_EPOLL_WAIT && i < c->result; i++)
		printf("// events 0x%x\n", c->ev[i].events);
	call_free(c);
}

static void record_code(struct run *r, const struct event *e)
{
	char code[400], *word, *save;
	int64_t v;

	memset(r->info, 0, sizeof(r->info));
	if (r->calls.info_fd >= 0 && r->calls.fd[r->calls.info_fd].live >= 0)
		r->sut->info(r->calls.fd[r->calls.info_fd].live, r->info);
	snprintf(code, sizeof(code), "%s", e->code);
	word = strtok_r(code, " \n\t", &save);
	if (!word || strcmp(word, "record")) {
		printf(" %.*s\n", (int)e->text_len, e->text);
		return;
	}
	printf(" %%{ ");
	for (const char *sep = ""; (word = strtok_r(NULL, " \n\t", &save)); sep = "\n")
		if (info_name(r->info, word, strlen(word), &v))
			printf("%sassert %s == %lld", sep, word, (long long)v);
	printf(" }%%\n");
}

static void record_events(struct run *r)
{
	int64_t at = 0, upto;

	for (const struct event *e = r->sc->first; e && !r->failed; e = e->next) {
		char why[400];

		at = e->when == TIME_RELATIVE ? at + e->us : e->us;
		pass_time(r, at, false);
		upto = script_now(r);
		record_frames(r);
		record_call_end(r);
		record_time(r, at, false);
		switch (e->kind) {
		case EVENT_IN:
			printf(" %.*s\n", (int)e->text_len, e->text);
			do_inbound(r, e);
			break;
		case EVENT_CALL:
			record_call(r, e);
			break;
		case EVENT_CODE:
			record_code(r, e);
			break;
		case EVENT_SHELL:
			printf(" %.*s\n", (int)e->text_len, e->text);
			if (shell_run(r->sc->name, e->code, r->sut->sysctl, NULL, why, sizeof(why)))
				bad(r, e->line, "%s", why);
			break;
		default:
			bad(r, e->line, "a stimulus has no packets of the system");
			break;
		}
		pass_time(r, MAX(upto, script_now(r)) + 400, false); /* answers stand behind what they answer */
		record_frames(r);
	}
	record_call_end(r);
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
		r->prev_us = r->last_us;
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
			do_shell(r, e);
			break;
		case EVENT_CODE:
			if (!r->call_over || !finish_call(r))
				do_code(r, e);
			break;
		}
	}
	return r->failed ? -1 : finish_call(r);
}

static void check_end(struct run *r)
{
	struct frame *f = r->failed ? NULL : r->sut->pop();
	char got[512];
	struct seg s;

	if (f && !r->sc->allow_extra && !r->opts.public && seg_parse(f, &s, NULL))
		bad(r, 0, "the script is over, but a packet was sent at %.6f that it does not mention:\n\tseen:     %s",
		    (double)(f->time_us - r->start_us) / 1e6, print_live(r, &s, got, sizeof(got)));
	else if (!r->failed && r->rest && !r->sc->allow_extra && !r->opts.public)
		bad(r, 0, "the script is over in the middle of a chunk");
	free(f);
	free(r->rest);
}

enum run_result script_run(const struct script *sc, const struct sut *sut, const struct run_opts *opts, char *why, size_t why_bytes)
{
	struct run *r = calloc(1, sizeof(*r));
	enum run_result res;
	char end[400];

	if (!r)
		abort();
	*r = (struct run){ .sc = sc, .sut = sut, .opts = *opts, .why = why, .why_bytes = why_bytes, .bound_port = LOCAL_PORT };
	the_run = r;
	calls_init(&r->calls, sc);
	r->calls.local_be = htonl(SUT_LOCAL_IP);
	r->calls.remote_be = htonl(SUT_REMOTE_IP);
	r->calls.local_port = LOCAL_PORT;
	r->calls.connect_port = connect_port;
	r->calls.arg = r;
	if (sut->open(sc, end, sizeof(end))) {
		bad(r, 0, "%s", end);
	} else {
		r->start_us = sut->now_us();
		if (opts->record)
			record_events(r);
		else
			run_events(r);
		if (!opts->record)
			check_end(r);
		if (sut->close(r->failed, end, sizeof(end)))
			bad(r, 0, "%s", end);
	}
	call_free(&r->call);
	res = r->skipped ? RUN_SKIPPED : r->failed ? RUN_FAILED : RUN_PASSED;
	the_run = NULL;
	free(r);
	return res;
}

/* frame.c - frames of tests: build, parse, print. RFC 826, 791, 9293, 768, 792. Pure functions; called by tests and memdev. */
#include "frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16); put16(p + 2, v); }
static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

struct frame *frame_alloc(uint32_t cap)
{
	struct frame *f = calloc(1, sizeof(*f) + cap);

	if (!f)
		abort();
	f->cap = cap;
	return f;
}

/* Frames of the usual size are kept when they are freed: a simulation makes and frees one per packet. Not where a sanitizer watches. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define KEEPS false
#else
#define KEEPS true
#endif
#define KEPT_MAX 4096u
#define KEPT_CAP 1600u
static struct frame *kept;
static unsigned nb_kept;

struct frame *frame_new(uint32_t cap)
{
	struct frame *f = kept;

	if (f && cap <= KEPT_CAP) {
		kept = f->next;
		nb_kept--;
	} else {
		cap = MAX(cap, KEPT_CAP);
		f = malloc(sizeof(*f) + cap);
		if (!f)
			abort();
		f->cap = cap;
	}
	cap = f->cap;
	memset(f, 0, sizeof(*f));
	f->cap = cap;
	return f;
}

void frame_free(struct frame *f)
{
	if (!f)
		return;
	if (f->cap != KEPT_CAP || nb_kept >= KEPT_MAX || !KEEPS) {
		free(f);
		return;
	}
	f->next = kept;
	kept = f;
	nb_kept++;
}

struct frame *frame_dup(const struct frame *f)
{
	struct frame *n = frame_new(f->len);
	uint32_t cap = n->cap;

	memcpy(n, f, sizeof(*f) + f->len);
	n->cap = cap;
	n->next = NULL;
	return n;
}

uint16_t frame_sum(const void *ptr, size_t n, uint32_t sum32)
{
	const uint8_t *p = ptr;
	uint64_t sum = sum32, wide = 0;

	/* RFC 1071 §2: the sum of words in the machine's order, turned round at the end; eight bytes a step, the carries apart */
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t x;

		memcpy(&x, p, 8);
		wide += (x & 0xffffffff) + (x >> 32);
	}
	while (wide >> 16)
		wide = (wide & 0xffff) + (wide >> 16);
	sum += ntohs((uint16_t)wide);
	for (; n >= 2; n -= 2, p += 2)
		sum += get16(p);
	if (n)
		sum += (uint32_t)p[0] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint32_t frame_pseudo_sum(const uint8_t *ip, uint8_t proto, uint16_t l4_len)
{
	return frame_sum(ip + 12, 8, 0) + (uint32_t)proto + l4_len;
}

void frame_fix_csums(uint8_t *eth, uint32_t len)
{
	uint8_t *ip = eth + SEG_ETH_BYTES, *l4;
	uint32_t ihl, l4_len;

	if (len < SEG_ETH_BYTES + 20 || get16(eth + 12) != 0x0800)
		return;
	ihl = (ip[0] & 15u) * 4;
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~frame_sum(ip, ihl, 0));
	if (get16(ip + 6) & 0x3fff)
		return;
	l4 = ip + ihl;
	l4_len = get16(ip + 2) - ihl;
	if (ip[9] == IPPROTO_TCP && l4_len >= 20) {
		put16(l4 + 16, 0);
		put16(l4 + 16, (uint16_t)~frame_sum(l4, l4_len, frame_pseudo_sum(ip, ip[9], (uint16_t)l4_len)));
	} else if (ip[9] == IPPROTO_UDP && l4_len >= 8) {
		uint16_t c;

		put16(l4 + 6, 0);
		c = (uint16_t)~frame_sum(l4, l4_len, frame_pseudo_sum(ip, ip[9], (uint16_t)l4_len));
		put16(l4 + 6, c ? c : 0xffff);
	}
}

static uint32_t put_option(uint8_t *o, uint8_t kind, const struct seg_opts *opt)
{
	uint32_t n;

	switch (kind) {
	case 2:
		o[0] = 2, o[1] = 4;
		put16(o + 2, opt->mss);
		return 4;
	case 3:
		o[0] = 3, o[1] = 3, o[2] = opt->ws;
		return 3;
	case 4:
		o[0] = 4, o[1] = 2;
		return 2;
	case 5:
		n = 2u + 8u * opt->nsack;
		o[0] = 5, o[1] = (uint8_t)n;
		for (uint32_t i = 0; i < opt->nsack; i++) {
			put32(o + 2 + 8 * i, opt->sack[i].left);
			put32(o + 6 + 8 * i, opt->sack[i].right);
		}
		return n;
	case 8:
		o[0] = 8, o[1] = 10;
		put32(o + 2, opt->tsval);
		put32(o + 6, opt->tsecr);
		return 10;
	case 34:
		o[0] = 34, o[1] = (uint8_t)(2 + opt->fo_len);
		memcpy(o + 2, opt->fo, opt->fo_len);
		return 2u + opt->fo_len;
	case 254:
		o[0] = 254, o[1] = (uint8_t)(4 + opt->fo_len);
		put16(o + 2, 0xf989);
		memcpy(o + 4, opt->fo, opt->fo_len);
		return 4u + opt->fo_len;
	default:
		o[0] = kind;
		return 1;
	}
}

static uint32_t put_options(uint8_t *o, const struct seg_opts *opt)
{
	uint8_t kinds[40];
	uint32_t n = 0, len = 0;

	if (opt->raw_len) {
		memcpy(o, opt->raw, opt->raw_len);
		len = opt->raw_len;
	} else if (opt->nkinds) {
		for (; n < opt->nkinds && len + 34 <= 74; n++)
			len += put_option(o + len, opt->kinds[n], opt);
	} else {
		if (opt->has_mss)
			kinds[n++] = 2;
		if (opt->has_sackok)
			kinds[n++] = 4;
		if (opt->has_ts) {
			if (!opt->has_sackok)
				kinds[n++] = 1, kinds[n++] = 1;
			kinds[n++] = 8;
		}
		if (opt->has_ws)
			kinds[n++] = 1, kinds[n++] = 3;
		if (opt->nsack)
			kinds[n++] = 1, kinds[n++] = 1, kinds[n++] = 5;
		if (opt->has_fo)
			kinds[n++] = opt->fo_exp ? 254 : 34;
		for (uint32_t i = 0; i < n; i++)
			len += put_option(o + len, kinds[i], opt);
	}
	while (len % 4)
		o[len++] = opt->raw_len || !opt->nkinds ? 1 : 0; /* a script's list is padded with end-of-list */
	if (len > 40)
		abort();
	return len;
}

struct frame *seg_build(const struct seg *s)
{
	struct frame *f = frame_alloc(SEG_ETH_BYTES + 20 + 120 + s->len);
	uint8_t *e = f->data, *ip = e + SEG_ETH_BYTES, *l4 = ip + 20;
	uint32_t hdr = 0, l4_len;

	memcpy(e, s->dmac, 6);
	memcpy(e + 6, s->smac, 6);
	if (s->kind == SEG_ARP) {
		put16(e + 12, 0x0806);
		put16(ip, 1);
		put16(ip + 2, 0x0800);
		ip[4] = 6, ip[5] = 4;
		put16(ip + 6, s->arp_op);
		memcpy(ip + 8, s->arp_sha, 6);
		memcpy(ip + 14, &s->arp_spa, 4);
		memcpy(ip + 18, s->arp_tha, 6);
		memcpy(ip + 24, &s->arp_tpa, 4);
		f->len = 60; /* padded to Ethernet's minimum */
		return f;
	}
	put16(e + 12, s->ethertype ? s->ethertype : 0x0800);
	switch (s->kind) {
	case SEG_TCP:
		put16(l4, s->sport);
		put16(l4 + 2, s->dport);
		put32(l4 + 4, s->seq);
		put32(l4 + 8, s->ack);
		hdr = 20 + put_options(l4 + 20, &s->opt);
		l4[12] = (uint8_t)(hdr / 4 << 4);
		l4[13] = s->flags;
		put16(l4 + 14, s->win);
		put16(l4 + 18, s->urg);
		break;
	case SEG_UDP:
		hdr = 8;
		put16(l4, s->sport);
		put16(l4 + 2, s->dport);
		put16(l4 + 4, 8 + s->len);
		break;
	case SEG_ICMP:
		hdr = 8;
		l4[0] = s->icmp_type;
		l4[1] = s->icmp_code;
		put32(l4 + 4, s->icmp_rest);
		break;
	default:
		break;
	}
	if (s->len)
		memcpy(l4 + hdr, s->data, s->len);
	l4_len = hdr + s->len;
	if (s->kind == SEG_ICMP)
		put16(l4 + 2, (uint16_t)~frame_sum(l4, l4_len, 0));
	ip[0] = 0x45;
	ip[1] = s->tos;
	put16(ip + 2, 20 + l4_len);
	put16(ip + 4, s->ip_id);
	put16(ip + 6, s->frag);
	ip[8] = s->ttl ? s->ttl : 64;
	ip[9] = s->proto ? s->proto :
		s->kind == SEG_TCP ? IPPROTO_TCP : s->kind == SEG_UDP ? IPPROTO_UDP : IPPROTO_ICMP;
	memcpy(ip + 12, &s->saddr, 4);
	memcpy(ip + 16, &s->daddr, 4);
	f->len = SEG_ETH_BYTES + 20 + l4_len;
	frame_fix_csums(e, f->len);
	if (s->bad_ip_csum)
		ip[10] ^= 0x55;
	if (s->bad_l4_csum)
		l4[s->kind == SEG_TCP ? 16 : s->kind == SEG_UDP ? 6 : 2] ^= 0x55;
	if (f->len < 60)
		f->len = 60;
	return f;
}

static void parse_options(const uint8_t *o, uint32_t n, struct seg_opts *opt)
{
	memcpy(opt->raw, o, n);
	opt->raw_len = (uint8_t)n;
	for (uint32_t i = 0; i < n;) {
		uint8_t kind = o[i], len;

		opt->kinds[opt->nkinds++] = kind;
		if (kind == 0)
			return;
		if (kind == 1) {
			i++;
			continue;
		}
		if (i + 2 > n || o[i + 1] < 2 || i + o[i + 1] > n) {
			opt->malformed = true;
			return;
		}
		len = o[i + 1];
		switch (kind) {
		case 2:
			opt->malformed |= opt->has_mss || len != 4;
			opt->has_mss = true;
			if (len == 4)
				opt->mss = get16(o + i + 2);
			break;
		case 3:
			opt->malformed |= opt->has_ws || len != 3;
			opt->has_ws = true;
			if (len == 3)
				opt->ws = o[i + 2];
			break;
		case 4:
			opt->malformed |= opt->has_sackok || len != 2;
			opt->has_sackok = true;
			break;
		case 5:
			opt->malformed |= (len - 2) % 8 != 0 || len < 10 || len > 34;
			for (uint32_t b = 0; b < 4 && 2 + 8 * (b + 1) <= len; b++) {
				opt->sack[b].left = get32(o + i + 2 + 8 * b);
				opt->sack[b].right = get32(o + i + 6 + 8 * b);
				opt->nsack++;
			}
			break;
		case 8:
			opt->malformed |= opt->has_ts || len != 10;
			opt->has_ts = true;
			if (len == 10) {
				opt->tsval = get32(o + i + 2);
				opt->tsecr = get32(o + i + 6);
			}
			break;
		case 254:
			if (len < 4 || get16(o + i + 2) != 0xf989)
				break;
			/* fallthrough */
		case 34: {
			uint8_t skip = kind == 34 ? 2 : 4;

			opt->malformed |= opt->has_fo || len - skip > (int)sizeof(opt->fo);
			opt->has_fo = true;
			opt->fo_exp = kind == 254;
			opt->fo_len = MIN((uint8_t)(len - skip), (uint8_t)sizeof(opt->fo));
			memcpy(opt->fo, o + i + skip, opt->fo_len);
			break;
		}
		default:
			break;
		}
		i += len;
	}
}

#define BAD(text)              \
	do {                   \
		*why = (text); \
		return false;  \
	} while (0)

static bool parse_l4(struct seg *s, const uint8_t *ip, const uint8_t *l4, uint32_t n, const char **why)
{
	uint32_t hdr;

	switch (ip[9]) {
	case IPPROTO_TCP:
		if (n < 20)
			BAD("TCP header cut");
		hdr = (uint32_t)(l4[12] >> 4) * 4;
		if (hdr < 20 || hdr > n)
			BAD("TCP data offset");
		s->kind = SEG_TCP;
		s->sport = get16(l4), s->dport = get16(l4 + 2);
		s->seq = get32(l4 + 4), s->ack = get32(l4 + 8);
		s->flags = l4[13];
		s->win = get16(l4 + 14), s->urg = get16(l4 + 18);
		parse_options(l4 + 20, hdr - 20, &s->opt);
		s->l4_csum_ok = frame_sum(l4, n, frame_pseudo_sum(ip, ip[9], (uint16_t)n)) == 0xffff;
		break;
	case IPPROTO_UDP:
		if (n < 8 || get16(l4 + 4) != n)
			BAD("UDP length");
		hdr = 8;
		s->kind = SEG_UDP;
		s->sport = get16(l4), s->dport = get16(l4 + 2);
		s->l4_csum_ok = get16(l4 + 6) == 0 ||
				frame_sum(l4, n, frame_pseudo_sum(ip, ip[9], (uint16_t)n)) == 0xffff;
		break;
	case IPPROTO_ICMP:
		if (n < 8)
			BAD("ICMP cut");
		hdr = 8;
		s->kind = SEG_ICMP;
		s->icmp_type = l4[0], s->icmp_code = l4[1];
		s->icmp_rest = get32(l4 + 4);
		s->l4_csum_ok = frame_sum(l4, n, 0) == 0xffff;
		break;
	default:
		hdr = 0;
		s->kind = SEG_IP;
		s->l4_csum_ok = true;
		break;
	}
	s->data = l4 + hdr;
	s->len = n - hdr;
	return true;
}

bool seg_parse(const struct frame *f, struct seg *s, const char **why)
{
	const uint8_t *e = f->data, *ip = e + SEG_ETH_BYTES;
	const char *dummy;
	uint32_t ihl, total;

	if (!why)
		why = &dummy;
	*why = "";
	memset(s, 0, sizeof(*s));
	if (f->len < SEG_ETH_BYTES)
		BAD("shorter than Ethernet");
	memcpy(s->dmac, e, 6);
	memcpy(s->smac, e + 6, 6);
	s->ethertype = get16(e + 12);
	s->data = ip;
	s->len = f->len - SEG_ETH_BYTES;
	if (s->ethertype == 0x0806) {
		if (s->len < 28 || get16(ip) != 1 || get16(ip + 2) != 0x0800 || ip[4] != 6 || ip[5] != 4)
			BAD("ARP header");
		s->kind = SEG_ARP;
		s->arp_op = get16(ip + 6);
		memcpy(s->arp_sha, ip + 8, 6);
		memcpy(&s->arp_spa, ip + 14, 4);
		memcpy(s->arp_tha, ip + 18, 6);
		memcpy(&s->arp_tpa, ip + 24, 4);
		return true;
	}
	if (s->ethertype != 0x0800)
		return true;
	if (s->len < 20)
		BAD("IPv4 header cut");
	ihl = (ip[0] & 15u) * 4;
	total = get16(ip + 2);
	if (f->gso_size)
		total = s->len; /* a carried super-frame may exceed the field */
	if (ip[0] >> 4 != 4 || ihl < 20 || ihl > s->len || total < ihl || total > s->len)
		BAD("IPv4 header");
	s->tos = ip[1];
	s->ip_id = get16(ip + 4);
	s->frag = get16(ip + 6);
	s->ttl = ip[8];
	s->proto = ip[9];
	memcpy(&s->saddr, ip + 12, 4);
	memcpy(&s->daddr, ip + 16, 4);
	s->ip_csum_ok = frame_sum(ip, ihl, 0) == 0xffff;
	if (s->frag & 0x3fff) {
		s->kind = SEG_FRAG;
		s->data = ip + ihl;
		s->len = total - ihl;
		s->l4_csum_ok = true;
		return true;
	}
	return parse_l4(s, ip, ip + ihl, total - ihl, why);
}

static int print_options(const struct seg_opts *o, uint32_t ack_base, char *p, size_t n)
{
	int len = 0;
	const char *sep = " <";
#define OUT(...) (len += snprintf(p + len, (size_t)len < n ? n - (size_t)len : 0, __VA_ARGS__))
	for (uint32_t i = 0; i < o->nkinds; i++, sep = ",") {
		switch (o->kinds[i]) {
		case 0:
			OUT("%seol", sep);
			break;
		case 1:
			OUT("%snop", sep);
			break;
		case 2:
			OUT("%smss %u", sep, o->mss);
			break;
		case 3:
			OUT("%swscale %u", sep, o->ws);
			break;
		case 4:
			OUT("%ssackOK", sep);
			break;
		case 5:
			OUT("%ssack", sep);
			for (uint32_t b = 0; b < o->nsack; b++)
				OUT(" %u:%u", o->sack[b].left - ack_base, o->sack[b].right - ack_base);
			break;
		case 8:
			OUT("%sTS val %u ecr %u", sep, o->tsval, o->tsecr);
			break;
		case 34:
		case 254:
			OUT("%sFO%s ", sep, o->kinds[i] == 254 ? "EXP" : "");
			for (uint32_t b = 0; b < o->fo_len; b++)
				OUT("%02x", o->fo[b]);
			break;
		default:
			OUT("%soption %u", sep, o->kinds[i]);
			break;
		}
	}
	if (o->nkinds)
		OUT(">");
	if (o->malformed)
		OUT(" MALFORMED-OPTIONS");
#undef OUT
	return len;
}

char *seg_print(const struct seg *s, uint32_t seq_base, uint32_t ack_base, char *buf, size_t n)
{
	char src[INET_ADDRSTRLEN], dst[INET_ADDRSTRLEN], fl[12];
	int k = 0, len;

	inet_ntop(AF_INET, &s->saddr, src, sizeof(src));
	inet_ntop(AF_INET, &s->daddr, dst, sizeof(dst));
	switch (s->kind) {
	case SEG_TCP:
		for (int i = 0; i < 8; i++)
			if (s->flags & "\x02\x01\x04\x08\x10\x20\x40\x80"[i])
				fl[k++] = "SFRP.UEW"[i];
		fl[k] = 0;
		len = snprintf(buf, n, "%s:%u > %s:%u %s %u:%u(%u)", src, s->sport, dst, s->dport, k ? fl : "-",
			       s->seq - seq_base, s->seq - seq_base + s->len, s->len);
		if (s->flags & TH_ACK)
			len += snprintf(buf + len, n - (size_t)len, " ack %u", s->ack - ack_base);
		len += snprintf(buf + len, n - (size_t)len, " win %u", s->win);
		if (s->flags & TH_URG)
			len += snprintf(buf + len, n - (size_t)len, " urg %u", s->urg);
		len += print_options(&s->opt, ack_base, buf + len, n - (size_t)len);
		if (!s->l4_csum_ok)
			snprintf(buf + len, n - (size_t)len, " BAD-CHECKSUM");
		break;
	case SEG_UDP:
		snprintf(buf, n, "%s:%u > %s:%u udp (%u)", src, s->sport, dst, s->dport, s->len);
		break;
	case SEG_ICMP:
		snprintf(buf, n, "%s > %s icmp type %u code %u rest 0x%08x (%u)", src, dst, s->icmp_type,
			 s->icmp_code, s->icmp_rest, s->len);
		break;
	case SEG_ARP:
		inet_ntop(AF_INET, &s->arp_spa, src, sizeof(src));
		inet_ntop(AF_INET, &s->arp_tpa, dst, sizeof(dst));
		snprintf(buf, n, "arp %s %s -> %s", s->arp_op == 1 ? "who-has" : s->arp_op == 2 ? "is-at" : "?", src,
			 dst);
		break;
	case SEG_FRAG:
		snprintf(buf, n, "%s > %s proto %u fragment id %u offset %u%s (%u)", src, dst, s->proto, s->ip_id,
			 (s->frag & 0x1fffu) * 8, s->frag & 0x2000 ? "+" : "", s->len);
		break;
	default:
		snprintf(buf, n, "%s > %s proto %u ethertype 0x%04x (%u)", src, dst, s->proto, s->ethertype, s->len);
		break;
	}
	return buf;
}

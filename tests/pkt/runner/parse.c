/* parse.c - text of a packet script to events: see script.h. Pure; called by the runner and by a fuzz target. */
#include "script.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 6

struct parser {
	const char *p, *end;
	int line;
	unsigned values; /* bounds memory */
	unsigned nested; /* parentheses */
	bool in_call;	 /* between a call's parentheses, which may be on several lines */
	struct script *sc;
	bool failed;
};

static bool fail(struct parser *ps, const char *fmt, ...) printf_like(2, 3);
static bool fail(struct parser *ps, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (ps->failed)
		return false;
	ps->failed = true;
	n = snprintf(ps->sc->error, sizeof(ps->sc->error), "%s:%d: ", ps->sc->name, ps->line);
	va_start(ap, fmt);
	vsnprintf(ps->sc->error + n, sizeof(ps->sc->error) - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

/* Skips blanks and comments; with newlines too when nl or in a call. */
static void blanks(struct parser *ps, bool nl)
{
	while (ps->p < ps->end) {
		char c = *ps->p;

		if (c == '\n' && !nl && !ps->in_call)
			return;
		if (c == '\n') {
			ps->line++;
			ps->p++;
		} else if (isspace((unsigned char)c)) {
			ps->p++;
		} else if (c == '#' || (c == '/' && ps->end - ps->p > 1 && ps->p[1] == '/')) {
			while (ps->p < ps->end && *ps->p != '\n')
				ps->p++;
		} else if (c == '/' && ps->end - ps->p > 1 && ps->p[1] == '*') {
			ps->p += 2;
			while (ps->p < ps->end && !(*ps->p == '*' && ps->end - ps->p > 1 && ps->p[1] == '/')) {
				ps->line += *ps->p == '\n';
				ps->p++;
			}
			ps->p = ps->end - ps->p >= 2 ? ps->p + 2 : ps->end;
		} else {
			return;
		}
	}
}

static bool looking_at(struct parser *ps, const char *text)
{
	size_t n = strlen(text);

	blanks(ps, false);
	return (size_t)(ps->end - ps->p) >= n && !memcmp(ps->p, text, n);
}

static bool take(struct parser *ps, const char *text)
{
	if (!looking_at(ps, text))
		return false;
	ps->p += strlen(text);
	return true;
}

static bool expect(struct parser *ps, const char *text)
{
	return take(ps, text) || fail(ps, "expected \"%s\"", text);
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* A word at p, not taken; its length. */
static size_t word(struct parser *ps)
{
	size_t n = 0;

	blanks(ps, false);
	while (ps->p + n < ps->end && is_word(ps->p[n]))
		n++;
	return n;
}

static bool take_word(struct parser *ps, const char *text)
{
	size_t n = word(ps);

	if (n != strlen(text) || memcmp(ps->p, text, n))
		return false;
	ps->p += n;
	return true;
}

static bool number(struct parser *ps, int64_t *out)
{
	uint64_t v = 0;
	unsigned digits = 0, base = 10;

	blanks(ps, false);
	if (ps->end - ps->p > 2 && ps->p[0] == '0' && ps->p[1] == 'x') {
		base = 16;
		ps->p += 2;
	}
	for (; ps->p < ps->end; ps->p++, digits++) {
		int c = tolower((unsigned char)*ps->p), d;

		if (isdigit(c))
			d = c - '0';
		else if (base == 16 && c >= 'a' && c <= 'f')
			d = c - 'a' + 10;
		else
			break;
		if (v > (UINT64_MAX >> 8) / base)
			return fail(ps, "number too large");
		v = v * base + (unsigned)d;
	}
	*out = (int64_t)v;
	return digits ? true : fail(ps, "expected a number");
}

static bool number_max(struct parser *ps, int64_t *out, int64_t max)
{
	return number(ps, out) && (*out <= max || fail(ps, "number too large"));
}

/* Seconds with up to six decimals, to microseconds. */
static bool seconds(struct parser *ps, int64_t *us)
{
	int64_t whole = 0, part = 0, scale = 100000;
	bool any = false;

	blanks(ps, false);
	for (; ps->p < ps->end && isdigit((unsigned char)*ps->p); ps->p++, any = true) {
		whole = whole * 10 + (*ps->p - '0');
		if (whole > 100000000)
			return fail(ps, "time too large");
	}
	/* "0...0.2": three dots are no decimal point */
	if (ps->p < ps->end && *ps->p == '.' && !(ps->end - ps->p > 2 && ps->p[1] == '.' && ps->p[2] == '.')) {
		for (ps->p++; ps->p < ps->end && isdigit((unsigned char)*ps->p); ps->p++, any = true) {
			part += (*ps->p - '0') * scale;
			scale /= 10;
		}
	}
	*us = whole * 1000000 + part;
	return any ? true : fail(ps, "expected a time");
}

static bool event_time(struct parser *ps, struct event *e)
{
	e->until_us = e->done_us = -1;
	if (take(ps, "*")) {
		e->when = TIME_ANY;
		return true;
	}
	e->when = take(ps, "+") ? TIME_RELATIVE : TIME_ABSOLUTE;
	if (!seconds(ps, &e->us))
		return false;
	if (take(ps, "~")) {
		if (take(ps, "+") != (e->when == TIME_RELATIVE))
			return fail(ps, "both ends of a range must be absolute or relative");
		return seconds(ps, &e->until_us);
	}
	if (take(ps, "...")) {
		if (take(ps, "+") && e->when != TIME_RELATIVE)
			return fail(ps, "end is relative, start is not");
		return seconds(ps, &e->done_us);
	}
	return true;
}

/* --- packets --- */

static bool flags(struct parser *ps, uint8_t *out)
{
	static const char names[] = "FSRP.UEW";

	*out = 0;
	blanks(ps, false);
	if (take(ps, "-"))
		return true;
	if (ps->p >= ps->end || *ps->p == '\n' || !strchr(names, *ps->p))
		return fail(ps, "expected TCP flags");
	for (; ps->p < ps->end && *ps->p && !isspace((unsigned char)*ps->p); ps->p++) {
		const char *n = strchr(names, *ps->p);

		if (!n)
			return fail(ps, "unknown TCP flag '%c'", *ps->p);
		*out |= (uint8_t)(1u << (n - names));
	}
	return true;
}

static bool seq_range(struct parser *ps, struct seg *s)
{
	int64_t a, b, n;

	if (!number_max(ps, &a, UINT32_MAX) || !expect(ps, ":") || !number_max(ps, &b, UINT32_MAX) || !expect(ps, "(") ||
	    !number_max(ps, &n, 65535) || !expect(ps, ")"))
		return false;
	s->seq = (uint32_t)a;
	s->len = (uint32_t)n;
	return (uint32_t)b == (uint32_t)(a + n) || fail(ps, "sequence range and length disagree");
}

static unsigned option_bytes(const struct seg_opts *o, uint8_t kind)
{
	static const uint8_t bytes[] = { [0] = 1, [1] = 1, [2] = 4, [3] = 3, [4] = 2, [8] = 10 };

	return kind == 5 ? 2 + 8u * o->nsack : kind == 34 ? 2u + o->fo_len : kind == 254 ? 4u + o->fo_len : bytes[kind];
}

static bool add_kind(struct parser *ps, struct seg_opts *o, uint8_t kind)
{
	unsigned n = option_bytes(o, kind);

	for (unsigned i = 0; i < o->nkinds; i++)
		n += option_bytes(o, o->kinds[i]);
	if (n > 40 || o->nkinds == sizeof(o->kinds))
		return fail(ps, "options exceed 40 bytes");
	o->kinds[o->nkinds++] = kind;
	return true;
}

/* Hexadecimal digits in pairs; how many bytes, or -1. */
static int hex_bytes(struct parser *ps, uint8_t *out, size_t room)
{
	size_t n = 0;

	blanks(ps, false);
	for (; ps->end - ps->p >= 2 && isxdigit((unsigned char)ps->p[0]) && isxdigit((unsigned char)ps->p[1]); ps->p += 2) {
		char b[3] = { ps->p[0], ps->p[1], 0 };

		if (n == room)
			return -1;
		out[n++] = (uint8_t)strtoul(b, NULL, 16);
	}
	return ps->p < ps->end && isxdigit((unsigned char)*ps->p) ? -1 : (int)n;
}

static bool hex_options(struct parser *ps, struct seg_opts *o)
{
	int n = hex_bytes(ps, o->raw, sizeof(o->raw));

	if (n < 0)
		return fail(ps, "options exceed 40 bytes, or half a byte is missing");
	o->raw_len = (uint8_t)n;
	return (o->raw_len && o->raw_len % 4 == 0) || fail(ps, "hex options must be a multiple of 4 bytes");
}

static bool fast_open_option(struct parser *ps, struct seg_opts *o, uint8_t kind)
{
	/* what the kernel's own suite has them stand for: the cookies of two keys for the tool's addresses */
	static const uint8_t known[2][8] = { { 0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb }, { 0xb7, 0xc1, 0x23, 0x50, 0xa9, 0x0d, 0xc8, 0xf5 } };
	int n = take_word(ps, "TFO_COOKIE") ? 0 : take_word(ps, "TFO_COOKIE_ZERO") ? 1 : -1;

	if (n >= 0) {
		memcpy(o->fo, known[n], 8);
		n = 8;
	} else {
		n = hex_bytes(ps, o->fo, sizeof(o->fo));
	}

	if (n < 0 || o->has_fo)
		return fail(ps, "a cookie has at most 16 bytes, two digits each, and stands once");
	o->has_fo = true;
	o->fo_exp = kind == 254;
	o->fo_len = (uint8_t)n;
	return add_kind(ps, o, kind);
}

static bool option(struct parser *ps, struct seg_opts *o)
{
	int64_t a, b;

	if (take_word(ps, "FO"))
		return fast_open_option(ps, o, 34);
	if (take_word(ps, "FOEXP"))
		return fast_open_option(ps, o, 254);
	if (take_word(ps, "md5"))
		return fail(ps, "TCP MD5 signatures are not known here");
	if (take_word(ps, "nop"))
		return add_kind(ps, o, 1);
	if (take_word(ps, "eol"))
		return add_kind(ps, o, 0);
	if (take_word(ps, "mss")) {
		if (!number_max(ps, &a, 65535))
			return false;
		o->has_mss = true;
		o->mss = (uint16_t)a;
		return add_kind(ps, o, 2);
	}
	if (take_word(ps, "wscale")) {
		if (!number_max(ps, &a, 255))
			return false;
		o->has_ws = true;
		o->ws = (uint8_t)a;
		return add_kind(ps, o, 3);
	}
	if (take_word(ps, "sackOK")) {
		o->has_sackok = true;
		return add_kind(ps, o, 4);
	}
	if (take_word(ps, "sack")) {
		do {
			if (o->nsack == 4)
				return fail(ps, "more than four SACK blocks");
			if (!number_max(ps, &a, UINT32_MAX) || !expect(ps, ":") || !number_max(ps, &b, UINT32_MAX))
				return false;
			o->sack[o->nsack].left = (uint32_t)a;
			o->sack[o->nsack++].right = (uint32_t)b;
			blanks(ps, false);
		} while (ps->p < ps->end && isdigit((unsigned char)*ps->p));
		return add_kind(ps, o, 5);
	}
	if (take_word(ps, "TS")) {
		if (!take_word(ps, "val") || !number_max(ps, &a, UINT32_MAX) || !take_word(ps, "ecr") ||
		    !number_max(ps, &b, UINT32_MAX))
			return fail(ps, "expected \"TS val N ecr N\"");
		o->has_ts = true;
		o->tsval = (uint32_t)a;
		o->tsecr = (uint32_t)b;
		return add_kind(ps, o, 8);
	}
	return fail(ps, "unknown TCP option");
}

static bool options(struct parser *ps, struct event *e)
{
	if (take(ps, "...")) {
		e->any_opts = true;
		return expect(ps, ">");
	}
	if (take(ps, ">")) /* "<>": none */
		return true;
	if (take_word(ps, "hex"))
		return hex_options(ps, &e->seg.opt) && expect(ps, ">");
	do {
		if (!option(ps, &e->seg.opt))
			return false;
	} while (take(ps, ","));
	return expect(ps, ">");
}

static bool tcp_packet(struct parser *ps, struct event *e)
{
	struct seg *s = &e->seg;
	int64_t n;

	s->kind = SEG_TCP;
	if (!flags(ps, &s->flags) || !seq_range(ps, s))
		return false;
	if (take_word(ps, "ack")) {
		if (!number_max(ps, &n, UINT32_MAX))
			return false;
		s->ack = (uint32_t)n;
	}
	if (take_word(ps, "win")) {
		if (!number_max(ps, &n, 65535))
			return false;
		s->win = (uint16_t)n;
		e->has_win = true;
	}
	if (take_word(ps, "urg")) {
		if (!number_max(ps, &n, 65535))
			return false;
		s->urg = (uint16_t)n;
	}
	if (take(ps, "<") && !options(ps, e))
		return false;
	e->bad_sum = take_word(ps, "badsum");
	return true;
}

static bool icmp_packet(struct parser *ps, struct event *e)
{
	static const struct {
		const char *word;
		uint8_t code;
	} codes[] = { { "net_unreachable", 0 },	 { "host_unreachable", 1 }, { "protocol_unreachable", 2 },
		      { "port_unreachable", 3 }, { "frag_needed", 4 },	    { "source_route_failed", 5 },
		      { "admin_prohibited", 13 },    { "net_unknown", 6 },
		      { "host_unknown", 7 },	 { "source_host_isolated", 8 }, { "net_prohibited", 9 },
		      { "host_prohibited", 10 }, { "net_unreachable_for_tos", 11 }, { "host_unreachable_for_tos", 12 },
		      { "packet_filtered", 13 }, { "precedence_violation", 14 }, { "precedence_cutoff", 15 } };
	struct seg *s = &e->seg;
	int64_t n;

	s->kind = SEG_ICMP;
	if (take_word(ps, "unreachable")) {
		unsigned i = 0;

		s->icmp_type = 3;
		while (i < ARRAY_SIZE(codes) && !take_word(ps, codes[i].word))
			i++;
		if (i == ARRAY_SIZE(codes)) {
			if (!number_max(ps, &n, 255))
				return fail(ps, "unknown ICMP unreachable code");
			s->icmp_code = (uint8_t)n;
		} else {
			s->icmp_code = codes[i].code;
		}
		if (take_word(ps, "mtu")) {
			if (!number_max(ps, &n, 65535))
				return false;
			s->icmp_rest = (uint32_t)n;
		}
	} else if (take_word(ps, "time_exceeded")) {
		s->icmp_type = 11;
		if (take_word(ps, "fragment_reassembly"))
			s->icmp_code = 1;
		else
			take_word(ps, "ttl_exceeded");
	} else if (take_word(ps, "source_quench")) {
		s->icmp_type = 4;
	} else if (take_word(ps, "parameter_problem")) {
		s->icmp_type = 12;
	} else if (take_word(ps, "redirect")) {
		s->icmp_type = 5;
		s->icmp_code = 1;
		if (!take_word(ps, "host") && take_word(ps, "net"))
			s->icmp_code = 0;
	} else if (take_word(ps, "echo_request") || take_word(ps, "echo_reply")) {
		s->icmp_type = ps->p[-1] == 't' ? 8 : 0;
		if (!expect(ps, "(") || !number_max(ps, &n, 1400) || !expect(ps, ")"))
			return false;
		s->len = (uint32_t)n;
		return true;
	} else {
		return fail(ps, "unknown ICMP message");
	}
	e->quoted.kind = SEG_TCP;
	if (!expect(ps, "["))
		return false;
	if (take_word(ps, "udp")) {
		e->quoted.kind = SEG_UDP;
		if (!expect(ps, "(") || !number_max(ps, &n, 65507) || !expect(ps, ")"))
			return false;
		e->quoted.len = (uint32_t)n;
	} else {
		blanks(ps, false);
		if (ps->p < ps->end && !isdigit((unsigned char)*ps->p) && !flags(ps, &e->quoted.flags))
			return false;
		if (!seq_range(ps, &e->quoted))
			return false;
	}
	return expect(ps, "]");
}

/* "[ect0]", "[tos 0x12]", "[ect1, ttl 3]" after its "[". */
static bool ip_annotations(struct parser *ps, struct event *e)
{
	static const struct {
		const char *word;
		uint8_t tos;
	} ecn[] = { { "noecn", 0 }, { "ect0", 2 }, { "ect1", 1 }, { "ce", 3 }, { "ect01", 2 } };
	int64_t n;

	do {
		unsigned i = 0;

		if (take_word(ps, "tos")) {
			if (!number_max(ps, &n, 255))
				return false;
			e->seg.tos = (uint8_t)n;
			e->tos_mask = 0xff;
			continue;
		}
		if (take_word(ps, "ttl")) {
			if (!number_max(ps, &n, 255))
				return false;
			e->seg.ttl = (uint8_t)n;
			continue;
		}
		while (i < ARRAY_SIZE(ecn) && !take_word(ps, ecn[i].word))
			i++;
		if (i == ARRAY_SIZE(ecn))
			return fail(ps, "expected noecn, ect0, ect1, ect01, ce, tos N or ttl N");
		e->seg.tos = (uint8_t)((e->seg.tos & 0xfc) | ecn[i].tos);
		e->tos_mask |= 3;
		e->any_ect = i == 4;
	} while (take(ps, ","));
	return expect(ps, "]");
}

/* "1111 > 2222", "1111 > 2222:" */
static bool ports(struct parser *ps, struct event *e)
{
	int64_t src, dst;

	blanks(ps, false);
	if (ps->p >= ps->end || !isdigit((unsigned char)*ps->p))
		return true;
	if (!number_max(ps, &src, 65535) || !expect(ps, ">") || !number_max(ps, &dst, 65535))
		return false;
	take(ps, ":");
	e->src_port = (uint16_t)src;
	e->dst_port = (uint16_t)dst;
	return (src && dst) || fail(ps, "a port is not 0");
}

static bool packet(struct parser *ps, struct event *e)
{
	int64_t n;

	e->peer = -1;
	if (take(ps, "@")) {
		if (!number_max(ps, &n, SCRIPT_PEERS - 1))
			return false;
		e->peer = (int)n;
	}
	if (take(ps, "[") && !ip_annotations(ps, e))
		return false;
	if (!ports(ps, e))
		return false;
	if (take_word(ps, "udp")) {
		e->seg.kind = SEG_UDP;
		if (!expect(ps, "(") || !number_max(ps, &n, 1472) || !expect(ps, ")"))
			return false;
		e->seg.len = (uint32_t)n;
		e->bad_sum = take_word(ps, "badsum");
		return true;
	}
	if (take_word(ps, "icmp"))
		return icmp_packet(ps, e);
	return tcp_packet(ps, e);
}

/* --- calls --- */

static void value_free(struct value *v)
{
	if (!v)
		return;
	for (unsigned i = 0; i < v->count; i++)
		value_free(v->item[i]);
	free(v);
}

static struct value *value(struct parser *ps, unsigned depth);
static bool int_value(struct parser *ps, int64_t *out);

/* "name =" or "name(anything) =" before a structure's field; a field may have none. */
static bool field_name(struct parser *ps, char *name, size_t room)
{
	const char *start;
	size_t n = word(ps);

	name[0] = 0;
	if (n == 0 || isdigit((unsigned char)*ps->p))
		return true;
	start = ps->p;
	ps->p += n;
	if (take(ps, "(")) {
		while (ps->p < ps->end && *ps->p != ')' && *ps->p != '\n')
			ps->p++;
		if (!expect(ps, ")"))
			return false;
	}
	if (!take(ps, "=")) { /* a constant, or a function: the value itself */
		ps->p = start;
		return true;
	}
	if (n >= room)
		return fail(ps, "field name too long");
	memcpy(name, start, n);
	name[n] = 0;
	return true;
}

static bool value_items(struct parser *ps, struct value *v, const char *close, unsigned depth)
{
	if (take(ps, close))
		return true;
	do {
		if (v->count == SCRIPT_FIELDS)
			return fail(ps, "too many items");
		if (v->kind == VALUE_STRUCT && !field_name(ps, v->name[v->count], sizeof(v->name[0])))
			return false;
		v->item[v->count] = value(ps, depth + 1);
		if (!v->item[v->count])
			return false;
		v->count++;
	} while (take(ps, ","));
	return expect(ps, close);
}

/* The text of "..." with its escapes; p behind the opening quote. */
static bool string(struct parser *ps, struct value *v)
{
	v->kind = VALUE_STRING;
	while (ps->p < ps->end && *ps->p != '"' && *ps->p != '\n') {
		char c = *ps->p++;

		if (c == '\\' && ps->p < ps->end) {
			c = *ps->p++;
			if (c == 'x' && ps->end - ps->p >= 2 && isxdigit((unsigned char)ps->p[0]) &&
			    isxdigit((unsigned char)ps->p[1])) {
				c = (char)strtol((char[3]){ ps->p[0], ps->p[1], 0 }, NULL, 16);
				ps->p += 2;
			} else {
				c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == '0' ? 0 : c;
			}
		}
		if (v->n < SCRIPT_STRING - 1)
			v->text[v->n] = c;
		v->n++;
	}
	return expect(ps, "\"");
}

/* htons(8080), inet_addr("192.0.2.1") and the like, in network order as C has them. */
static bool function(struct parser *ps, int64_t *out)
{
	bool half = take_word(ps, "htons"), full = !half && take_word(ps, "htonl");
	char text[INET_ADDRSTRLEN];
	struct in_addr a;
	size_t n = 0;

	if (half || full) {
		if (!expect(ps, "(") || !number_max(ps, out, half ? 65535 : UINT32_MAX) || !expect(ps, ")"))
			return false;
		*out = half ? htons((uint16_t)*out) : htonl((uint32_t)*out);
		return true;
	}
	if (!take_word(ps, "inet_addr") && !take_word(ps, "inet_aton"))
		return fail(ps, "unknown function");
	if (!expect(ps, "(") || !expect(ps, "\""))
		return false;
	while (ps->p < ps->end && *ps->p != '"' && *ps->p != '\n' && n < sizeof(text) - 1)
		text[n++] = *ps->p++;
	text[n] = 0;
	if (!expect(ps, "\"") || !expect(ps, ")"))
		return false;
	if (!inet_aton(text, &a))
		return fail(ps, "not an IPv4 address");
	*out = a.s_addr;
	return true;
}

static bool int_term(struct parser *ps, int64_t *out)
{
	bool minus = take(ps, "-"), invert = !minus && take(ps, "~");
	size_t n = word(ps);

	if (take(ps, "(")) {
		if (!int_value(ps, out) || !expect(ps, ")"))
			return false;
	} else if (n && isdigit((unsigned char)*ps->p)) {
		if (!number(ps, out))
			return false;
	} else if (n && ps->p + n < ps->end && ps->p[n] == '(') {
		if (!function(ps, out))
			return false;
	} else if (n && script_constant(ps->p, n, out)) {
		ps->p += n;
	} else {
		return fail(ps, "expected a number or a known name, not \"%.*s\"", (int)MIN(n ? n : 1, 30u),
			    ps->p < ps->end ? ps->p : "");
	}
	if (minus)
		*out = (int64_t)(0 - (uint64_t)*out);
	if (invert)
		*out = ~*out;
	return true;
}

/* Terms joined by "|", "+", "-" or "*", from left to right. */
static bool int_value(struct parser *ps, int64_t *out)
{
	int64_t n;

	if (++ps->nested > 64 || !int_term(ps, out))
		return fail(ps, "nested too deeply");
	ps->nested--;
	for (;;) {
		char op = take(ps, "|") ? '|' : take(ps, "+") ? '+' : take(ps, "*") ? '*' : 0;

		if (!op)
			return true;
		if (!int_term(ps, &n))
			return false;
		*out = op == '|' ? *out | n : (int64_t)(op == '+' ? (uint64_t)*out + (uint64_t)n : (uint64_t)*out * (uint64_t)n);
	}
}

static struct value *value(struct parser *ps, unsigned depth)
{
	struct value *v;

	if (depth > DEPTH_MAX || ++ps->values > 65536) {
		fail(ps, "nested too deeply");
		return NULL;
	}
	v = calloc(1, sizeof(*v));
	if (!v)
		abort();
	if (take(ps, "...")) {
		v->kind = VALUE_ELLIPSIS;
	} else if (take(ps, "[")) {
		v->kind = VALUE_LIST;
		value_items(ps, v, "]", depth);
	} else if (take(ps, "{")) {
		v->kind = VALUE_STRUCT;
		value_items(ps, v, "}", depth);
	} else if (take(ps, "\"")) {
		string(ps, v);
		while (!ps->failed && take(ps, "\"")) /* adjacent literals are one, as in C */
			string(ps, v);
	} else {
		v->kind = VALUE_INT;
		int_value(ps, &v->n);
	}
	if (ps->failed) {
		value_free(v);
		return NULL;
	}
	return v;
}

static bool call(struct parser *ps, struct event *e)
{
	size_t n = word(ps);
	int64_t err;

	e->kind = EVENT_CALL;
	if (n == 0 || n >= sizeof(e->call))
		return fail(ps, "expected <, >, %%{ or a system call");
	memcpy(e->call, ps->p, n);
	ps->p += n;
	if (!expect(ps, "("))
		return false;
	ps->in_call = true;
	if (!take(ps, ")")) {
		do {
			if (e->nargs == SCRIPT_ARGS)
				return fail(ps, "too many arguments");
			e->arg[e->nargs] = value(ps, 0);
			if (!e->arg[e->nargs])
				return false;
			e->nargs++;
		} while (take(ps, ","));
		if (!expect(ps, ")"))
			return false;
	}
	ps->in_call = false;
	if (!expect(ps, "="))
		return false;
	if (take(ps, "..."))
		e->any_result = true;
	else if (!int_term(ps, &e->result))
		return false;
	n = word(ps);
	if (n) {
		if (!script_constant(ps->p, n, &err))
			return fail(ps, "unknown errno \"%.*s\"", (int)MIN(n, 30u), ps->p);
		e->err = (int)err;
		ps->p += n;
	}
	if (take(ps, "(")) /* the kernel's words for it */
		while (ps->p < ps->end && *ps->p != '\n' && *ps->p++ != ')')
			;
	take(ps, ";");
	return true;
}

static bool code(struct parser *ps, struct event *e)
{
	const char *start = ps->p;

	e->kind = EVENT_CODE;
	while (ps->end - ps->p >= 2 && !(ps->p[0] == '}' && ps->p[1] == '%')) {
		ps->line += *ps->p == '\n';
		ps->p++;
	}
	if (ps->end - ps->p < 2)
		return fail(ps, "%%{ without }%%");
	e->code = strndup(start, (size_t)(ps->p - start));
	ps->p += 2;
	return true;
}

/* `text`: commands for a shell, which sysctl.c understands as far as they set what the engine can be told. */
static bool shell(struct parser *ps, struct event *e)
{
	const char *start = ps->p;

	e->kind = EVENT_SHELL;
	while (ps->p < ps->end && *ps->p != '`')
		ps->line += *ps->p++ == '\n';
	e->code = strndup(start, (size_t)(ps->p - start));
	if (!e->code)
		abort();
	return expect(ps, "`");
}

static bool setting(struct parser *ps)
{
	struct script *sc = ps->sc;
	static const char *const kernel_only[] = { "ip_version", "bind_port", "local_ip", "remote_ip", "gateway_ip",
						   "netmask_ip", "non_fatal", "connect_port", "speed", "init_scripts",
						   "code_command", "code_format", "code_sockopt", "send_omit_free",
						   "wire_client", "wire_server", "verbose", "dry_run", "strict_segments",
						   "define", "D", "udp_encaps", "tolerance_percent", "tcp_ts_tick_usecs", "tcp_ts_ecr_scaled", "no_cleanup",
						   "wire_client_dev", "wire_server_dev", "wire_server_ip", "wire_server_port" };
	struct {
		const char *name;
		int64_t *n;
		bool *b;
	} known[] = { { "tolerance_usecs", &sc->tolerance_us, NULL }, { "mtu", &sc->mtu, NULL }, { "mss", &sc->mss, NULL },
		      { "remote_isn", &sc->remote_isn, NULL },	    { "check_psh", NULL, &sc->check_psh },
		      { "burst", NULL, &sc->burst },
		      { "plain_only", NULL, &sc->plain_only },	    { "offload_only", NULL, &sc->offload_only },
		      { "no_data_check", NULL, &sc->no_data_check }, { "allow_extra", NULL, &sc->allow_extra } };
	int64_t v = 1;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!take_word(ps, known[i].name))
			continue;
		if (take(ps, "=") && !number_max(ps, &v, UINT32_MAX))
			return false;
		if (known[i].n)
			*known[i].n = v;
		else
			*known[i].b = v != 0;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kernel_only); i++)
		if (take_word(ps, kernel_only[i])) {
			while (ps->p < ps->end && *ps->p != '\n')
				ps->p++;
			return true;
		}
	return fail(ps, "unknown option");
}

static bool event_text(struct parser *ps, struct event *e);

static bool event(struct parser *ps, struct event *e)
{
	e->line = ps->line;
	if (take(ps, "`")) { /* without a time: at once */
		e->when = TIME_RELATIVE;
		e->until_us = e->done_us = -1;
		return shell(ps, e);
	}
	return event_time(ps, e) && event_text(ps, e);
}

static bool event_text(struct parser *ps, struct event *e)
{
	blanks(ps, false);
	e->text = ps->p;
	if (take(ps, "<")) {
		e->kind = EVENT_IN;
		if (!packet(ps, e))
			return false;
	} else if (take(ps, ">")) {
		e->kind = EVENT_OUT;
		if (!packet(ps, e))
			return false;
	} else if (take(ps, "%{")) {
		if (!code(ps, e))
			return false;
	} else if (take(ps, "`")) {
		if (!shell(ps, e))
			return false;
	} else if (!call(ps, e)) {
		return false;
	}
	if (e->done_us >= 0 && e->kind != EVENT_CALL)
		return fail(ps, "only a system call lasts from ... to");
	e->text_len = (uint32_t)(ps->p - e->text);
	blanks(ps, false);
	return ps->p >= ps->end || *ps->p == '\n' || fail(ps, "unexpected text after the event");
}

int script_parse(struct script *sc, const char *name, const char *bytes, size_t n)
{
	struct parser ps = { .p = bytes, .end = bytes + n, .line = 1, .sc = sc };

	memset(sc, 0, sizeof(*sc));
	snprintf(sc->name, sizeof(sc->name), "%s", name);
	sc->last = &sc->first;
	sc->tolerance_us = 4000;
	sc->remote_isn = -1;
	for (;;) {
		struct event *e;

		blanks(&ps, true);
		if (ps.p >= ps.end || ps.failed)
			break;
		if (take(&ps, "--")) {
			if (!setting(&ps))
				break;
			continue;
		}
		if (++sc->nb_events > SCRIPT_EVENTS) {
			fail(&ps, "more than %d events", SCRIPT_EVENTS);
			break;
		}
		e = calloc(1, sizeof(*e));
		if (!e)
			abort();
		*sc->last = e;
		sc->last = &e->next;
		if (!event(&ps, e))
			break;
	}
	return ps.failed ? -1 : 0;
}

void script_free(struct script *sc)
{
	while (sc->first) {
		struct event *e = sc->first;

		sc->first = e->next;
		for (unsigned i = 0; i < e->nargs; i++)
			value_free(e->arg[i]);
		free(e->code);
		free(e);
	}
	sc->last = &sc->first;
}

/* opts.c - see opts.h. Called by input, listen (SYN) and output; any thread, no state. */
#include "tcp/opts.h"
#include "tcp/hdr.h"

/* RFC 7413 §4.1.1; what is no cookie's length is no cookie. */
static void take_cookie(struct tcp_opts *o, const uint8_t *p, unsigned n, bool exp)
{
	if (n && (n < TCP_FO_MIN || n > TCP_FO_MAX || n % 2))
		return;
	o->fo_len = (uint8_t)n;
	o->fo_exp = exp;
	memcpy(o->fo, p, n);
	o->has |= TCP_OPT_FO;
}

void tcp_opts_parse(const uint8_t *p, unsigned len, bool syn, struct tcp_opts *o)
{
	memset(o, 0, sizeof(*o));
	while (len) {
		unsigned kind = p[0], n;

		if (kind == TCP_KIND_EOL)
			return;
		if (kind == TCP_KIND_NOP) {
			p++;
			len--;
			continue;
		}
		if (len < 2)
			return;
		n = p[1];
		if (n < 2 || n > len)
			return;
		switch (kind) {
		case TCP_KIND_MSS:
			if (n == 4 && syn)
				o->mss = (uint16_t)(p[2] << 8 | p[3]);
			break;
		case TCP_KIND_WS:
			if (n == 3 && syn) {
				/* RFC 7323 §2.3: larger than 14 counts as 14 */
				o->wscale = MIN(p[2], TCP_WSCALE_MAX);
				o->has |= TCP_OPT_WS;
			}
			break;
		case TCP_KIND_SACK_OK:
			if (n == 2 && syn)
				o->has |= TCP_OPT_SACK;
			break;
		case TCP_KIND_SACK:
			if (n >= 10 && (n - 2) % 8 == 0 && !syn) {
				o->nsack = (uint8_t)MIN((n - 2) / 8, 4u);
				for (unsigned i = 0; i < o->nsack; i++) {
					o->sack[i].start = get_be32(p + 2 + 8 * i);
					o->sack[i].end = get_be32(p + 6 + 8 * i);
				}
			}
			break;
		case TCP_KIND_TS:
			if (n == 10) {
				o->tsval = get_be32(p + 2);
				o->tsecr = get_be32(p + 6);
				o->has |= TCP_OPT_TS;
			}
			break;
		case TCP_KIND_FO:
			if (syn)
				take_cookie(o, p + 2, n - 2, false);
			break;
		case TCP_KIND_EXP:
			if (syn && n >= 4 && (p[2] << 8 | p[3]) == TCP_EXID_FO)
				take_cookie(o, p + 4, n - 4, true);
			break;
		default:
			break;
		}
		p += n;
		len -= n;
	}
}

unsigned tcp_opts_write_syn(uint8_t *p, const struct tcp_syn_opts *o)
{
	uint8_t *at = p;

	*at++ = TCP_KIND_MSS;
	*at++ = 4;
	*at++ = (uint8_t)(o->mss >> 8);
	*at++ = (uint8_t)o->mss;
	if (o->has & TCP_OPT_TS) {
		/* SACK-permitted takes the place of the two NOPs when both are there */
		*at++ = o->has & TCP_OPT_SACK ? TCP_KIND_SACK_OK : TCP_KIND_NOP;
		*at++ = o->has & TCP_OPT_SACK ? 2 : TCP_KIND_NOP;
		*at++ = TCP_KIND_TS;
		*at++ = 10;
		put_be32(at, o->tsval);
		put_be32(at + 4, o->tsecr);
		at += 8;
	} else if (o->has & TCP_OPT_SACK) {
		*at++ = TCP_KIND_NOP;
		*at++ = TCP_KIND_NOP;
		*at++ = TCP_KIND_SACK_OK;
		*at++ = 2;
	}
	if (o->has & TCP_OPT_WS) {
		*at++ = TCP_KIND_NOP;
		*at++ = TCP_KIND_WS;
		*at++ = 3;
		*at++ = o->wscale;
	}
	if (o->fo) {
		*at++ = o->fo_exp ? TCP_KIND_EXP : TCP_KIND_FO;
		*at++ = (uint8_t)((o->fo_exp ? 4 : 2) + o->fo_len);
		if (o->fo_exp) {
			*at++ = TCP_EXID_FO >> 8;
			*at++ = TCP_EXID_FO & 0xff;
		}
		memcpy(at, o->fo, o->fo_len);
		at += o->fo_len;
		while ((at - p) % 4)
			*at++ = TCP_KIND_NOP;
	}
	return (unsigned)(at - p);
}

unsigned tcp_opts_write_sack(uint8_t *p, const struct tcp_sack_block *b, unsigned n)
{
	p[0] = TCP_KIND_NOP;
	p[1] = TCP_KIND_NOP;
	p[2] = TCP_KIND_SACK;
	p[3] = (uint8_t)(2 + 8 * n);
	for (unsigned i = 0; i < n; i++) {
		put_be32(p + 4 + 8 * i, b[i].start);
		put_be32(p + 8 + 8 * i, b[i].end);
	}
	return 4 + 8 * n;
}

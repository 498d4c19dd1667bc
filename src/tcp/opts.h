/* opts.h - TCP options: parsing what comes, writing what goes (RFC 9293 §3.2, RFC 7323, RFC 2018, RFC 6691). Pure functions. */
#ifndef GZ_TCP_OPTS_H
#define GZ_TCP_OPTS_H

#include "tcp/tcb.h"

#define TCP_KIND_EOL 0u
#define TCP_KIND_NOP 1u
#define TCP_KIND_MSS 2u
#define TCP_KIND_WS 3u
#define TCP_KIND_SACK_OK 4u
#define TCP_KIND_SACK 5u
#define TCP_KIND_TS 8u
#define TCP_KIND_FO 34u
#define TCP_KIND_EXP 254u /* RFC 6994: told apart by the number that follows */
#define TCP_EXID_FO 0xf989 /* Fast Open before it had a kind of its own, RFC 7413 §7 */

#define TCP_WSCALE_MAX 14u	     /* RFC 7323 §2.3 */
#define TCP_TS_BYTES 12u	     /* timestamps with two NOPs in front */
#define TCP_FO_COOKIE 8u	     /* bytes of ours; RFC 7413 §4.1.1 allows 4 to 16, even */
#define TCP_FO_MIN 4u
#define TCP_FO_MAX 16u
#define TCP_TS_WORD 0x0101080au /* NOP NOP kind length */

/* What a segment's options say; absent fields are 0. */
struct tcp_opts {
	uint8_t has; /* TCP_OPT_* seen */
	uint8_t wscale; /* clamped to 14 */
	uint16_t mss;	/* 0: absent */
	uint32_t tsval, tsecr;
	uint8_t nsack;
	uint8_t fo_len; /* Fast Open cookie, on a SYN; 0 with TCP_OPT_FO in has: one is asked for */
	bool fo_exp;	/* ... in the experimental option */
	struct tcp_sack_block sack[4]; /* host order, as on the wire, not yet validated */
	uint8_t fo[TCP_FO_MAX];
};

/* Parses len bytes at p. MSS, window scale and SACK-permitted count on a SYN only. Unknown options are skipped by their length;
 * at a malformed one parsing ends and what came before counts (RFC 9293 MUST-6, MUST-7). Always terminates. */
void tcp_opts_parse(const uint8_t *p, unsigned len, bool syn, struct tcp_opts *o);

/* What a SYN or SYN-ACK offers. */
struct tcp_syn_opts {
	uint16_t mss;
	uint8_t has; /* TCP_OPT_* to be written */
	uint8_t wscale;
	uint32_t tsval, tsecr;
	const uint8_t *fo; /* Fast Open: fo_len bytes, 0 asks for a cookie; NULL: no option */
	uint8_t fo_len;
	bool fo_exp; /* in the experimental option */
};
/* Writes them to p (40 bytes room); returns the length, a multiple of 4. */
unsigned tcp_opts_write_syn(uint8_t *p, const struct tcp_syn_opts *o);

/* Timestamps of a non-SYN segment: 12 bytes. */
static force_inline void tcp_opts_write_ts(uint8_t *p, uint32_t tsval, uint32_t tsecr)
{
	uint32_t w[3] = { htonl(TCP_TS_WORD), htonl(tsval), htonl(tsecr) };

	memcpy(p, w, sizeof(w));
}
/* SACK blocks (n >= 1) with two NOPs in front: 4 + 8n bytes; returns the length. */
unsigned tcp_opts_write_sack(uint8_t *p, const struct tcp_sack_block *b, unsigned n);

#endif

/* csum.h - the internet checksum (RFC 1071) over flat memory and mbuf chains, its incremental update
 * (RFC 1624) and the IPv4 pseudo-header. Pure functions, any thread.
 *
 * Sums are kept in host order of 16-bit words as they lie in memory, so that no byte is swapped: the
 * ones' complement sum does not care (RFC 1071 §2(B)), and the result is stored as it is. */
#ifndef GZ_BASE_CSUM_H
#define GZ_BASE_CSUM_H

#include "base/compiler.h"

#include <arpa/inet.h>
#include <rte_mbuf.h>
#include <string.h>

/* 64 -> 16 bits with end-around carry; not inverted. */
static force_inline uint16_t csum_fold(uint64_t sum)
{
	uint32_t half;

	/* a number plus itself with its halves exchanged: the upper half is the sum of both, the lower half's carry included */
	sum += sum >> 32 | sum << 32;
	half = (uint32_t)(sum >> 32);
	half += half >> 16 | half << 16;
	return (uint16_t)(half >> 16);
}

/* Is a sum over data that includes its checksum field right? */
static force_inline bool csum_ok(uint64_t sum)
{
	return csum_fold(sum) == 0xffff;
}

/* a + b with end-around carry. */
static force_inline uint64_t csum_add(uint64_t a, uint64_t b)
{
	uint64_t s;

	return __builtin_add_overflow(a, b, &s) ? s + 1 : s;
}

/* Longer than this, lanes win over carries (which wait for each other); shorter, setting the lanes up costs more than it saves. */
#define CSUM_SHORT_BYTES 256u

/* Adds n bytes to a running sum; the first byte is taken as even. Short: words of eight with their carries. Long: 32-bit words are summed in
 * 64-bit lanes, which no legal packet overflows: no carries to wait for, and every machine's vector unit does two or four at once. */
static force_inline uint64_t csum_bytes(const void *data, size_t n, uint64_t sum)
{
	typedef uint64_t lanes __attribute__((vector_size(16)));
	const lanes low_half = { 0xffffffffu, 0xffffffffu };
	const uint8_t *p = data;
	uint64_t tail = 0;

	if (likely(n < CSUM_SHORT_BYTES)) {
		for (; n >= 32; n -= 32, p += 32)
			sum = add_carry_32bytes(sum, p);
		for (; n >= 8; n -= 8, p += 8) {
			uint64_t w;

			memcpy(&w, p, 8);
			sum = csum_add(sum, w);
		}
	} else {
		lanes lo_a = { 0 }, hi_a = { 0 }, lo_b = { 0 }, hi_b = { 0 };

		do {
			lanes a, b;

			memcpy(&a, p, 16);
			memcpy(&b, p + 16, 16);
			lo_a += a & low_half;
			hi_a += a >> 32;
			lo_b += b & low_half;
			hi_b += b >> 32;
			p += 32;
			n -= 32;
		} while (n >= 32);
		lo_a += hi_a;
		lo_b += hi_b;
		lo_a += lo_b;
		tail = lo_a[0] + lo_a[1];
	}
	while (n >= 4) {
		uint32_t w;

		memcpy(&w, p, 4);
		tail += w;
		p += 4;
		n -= 4;
	}
	if (n) {
		uint32_t w = 0;

		/* the missing bytes count as zero: in memory order, so this is right on either endianness */
		if (n & 2)
			memcpy(&w, p, 2);
		if (n & 1)
			memcpy((uint8_t *)&w + (n & 2), p + (n & 2), 1);
		tail += w;
	}
	return csum_add(sum, tail);
}

/* The value for a checksum field over n bytes (field zeroed), or 0 when the field is right. */
static force_inline uint16_t csum_flat(const void *data, size_t n)
{
	return (uint16_t)~csum_fold(csum_bytes(data, n, 0));
}

/* Sum of a header of n bytes, a multiple of four, that was written in words of eight. */
static force_inline uint64_t csum_words(const void *hdr, size_t n)
{
	const char *p = hdr;
	uint64_t sum = 0, w;
	uint32_t t;

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&w, p, 8);
		sum = csum_add(sum, w);
	}
	if (n) {
		memcpy(&t, p, 4);
		sum = csum_add(sum, t);
	}
	return sum;
}

/* As csum_flat() for a header of 20 bytes. */
static force_inline uint16_t csum_ip4_20(const void *hdr)
{
	return (uint16_t)~csum_fold(csum_words(hdr, 20));
}

/* What belongs into the checksum field of a header of 20 bytes, whatever is there now. */
static force_inline uint16_t csum_ip4_fill(const void *hdr)
{
	uint64_t w[2], s;
	uint32_t t;

	memcpy(w, hdr, 16);
	memcpy(&t, (const char *)hdr + 16, 4);
	s = csum_add(w[0], w[1] & mem_pair32(mem_pair16(0xffff, 0), 0xffffffffu));
	return (uint16_t)~csum_fold(csum_add(s, t));
}

/* Adds len bytes at offset off of a chain (within pkt_len) to sum. A segment that begins at an odd place of
 * the datagram has its bytes swapped against the words of the sum (RFC 1071 §2(B)). */
static inline uint64_t csum_mbuf(const struct rte_mbuf *m, uint32_t off, uint32_t len, uint64_t sum)
{
	bool odd = false;

	while (m && off >= m->data_len) {
		off -= m->data_len;
		m = m->next;
	}
	for (; m && len; m = m->next) {
		uint32_t n = MIN(len, m->data_len - off);
		uint64_t part = csum_bytes(rte_pktmbuf_mtod_offset(m, const uint8_t *, off), n, 0);

		if (odd)
			part = __builtin_bswap16(csum_fold(part));
		sum = csum_add(sum, part);
		odd ^= n & 1;
		len -= n;
		off = 0;
	}
	return sum;
}

/* Sum of the pseudo-header of TCP and UDP over IPv4 (RFC 9293 §3.1, RFC 768). */
static force_inline uint64_t csum_pseudo4(uint32_t src_be, uint32_t dst_be, uint8_t proto, uint16_t l4_len)
{
	return (uint64_t)src_be + dst_be + htons(proto) + htons(l4_len);
}

/* Replaces the 16-bit word old by new under checksum field `csum`: HC' = ~(~HC + ~m + m') (RFC 1624 §3 eqn. 3). Where the
 * new data may be all zero, a result of 0 must be computed anew (it would be 0xffff). */
static force_inline uint16_t csum_update16(uint16_t csum, uint16_t old_word, uint16_t new_word)
{
	return (uint16_t)~csum_fold((uint64_t)(uint16_t)~csum + (uint16_t)~old_word + new_word);
}

static force_inline uint16_t csum_update32(uint16_t csum, uint32_t old_word, uint32_t new_word)
{
	return (uint16_t)~csum_fold((uint64_t)(uint16_t)~csum + (uint32_t)~old_word + new_word);
}

#endif

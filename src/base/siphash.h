/* siphash.h - SipHash-2-4 (Aumasson, Bernstein), the keyed hash behind ports, identifications and tables that
 * an outsider could otherwise aim at. Pure, any thread. Words are read little-endian as the paper says. */
#ifndef GZ_BASE_SIPHASH_H
#define GZ_BASE_SIPHASH_H

#include "base/compiler.h"

#include <endian.h>
#include <string.h>

static force_inline uint64_t siphash_rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

#define SIPHASH_ROUND(v0, v1, v2, v3)       \
	do {                                \
		v0 += v1;                   \
		v1 = siphash_rotl(v1, 13);  \
		v1 ^= v0;                   \
		v0 = siphash_rotl(v0, 32);  \
		v2 += v3;                   \
		v3 = siphash_rotl(v3, 16);  \
		v3 ^= v2;                   \
		v0 += v3;                   \
		v3 = siphash_rotl(v3, 21);  \
		v3 ^= v0;                   \
		v2 += v1;                   \
		v1 = siphash_rotl(v1, 17);  \
		v1 ^= v2;                   \
		v2 = siphash_rotl(v2, 32);  \
	} while (0)

static inline uint64_t siphash24(const uint64_t key[2], const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t v0 = key[0] ^ 0x736f6d6570736575ULL, v1 = key[1] ^ 0x646f72616e646f6dULL;
	uint64_t v2 = key[0] ^ 0x6c7967656e657261ULL, v3 = key[1] ^ 0x7465646279746573ULL;
	uint64_t last = (uint64_t)n << 56, w;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&w, p, 8);
		w = le64toh(w);
		v3 ^= w;
		SIPHASH_ROUND(v0, v1, v2, v3);
		SIPHASH_ROUND(v0, v1, v2, v3);
		v0 ^= w;
	}
	for (size_t i = 0; i < n; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v3 ^= last;
	SIPHASH_ROUND(v0, v1, v2, v3);
	SIPHASH_ROUND(v0, v1, v2, v3);
	v0 ^= last;
	v2 ^= 0xff;
	SIPHASH_ROUND(v0, v1, v2, v3);
	SIPHASH_ROUND(v0, v1, v2, v3);
	SIPHASH_ROUND(v0, v1, v2, v3);
	SIPHASH_ROUND(v0, v1, v2, v3);
	return v0 ^ v1 ^ v2 ^ v3;
}

#endif

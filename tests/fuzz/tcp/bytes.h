/* bytes.h - a fuzzer's input as a supply of decisions: reading past the end gives zeros. */
#ifndef GZ_FUZZ_BYTES_H
#define GZ_FUZZ_BYTES_H

#include "base/compiler.h"

struct bytes {
	const uint8_t *p;
	size_t left;
};

static inline uint8_t take8(struct bytes *b)
{
	if (!b->left)
		return 0;
	b->left--;
	return *b->p++;
}

static inline uint16_t take16(struct bytes *b)
{
	uint16_t hi = take8(b);

	return (uint16_t)(hi << 8 | take8(b));
}

static inline uint32_t take32(struct bytes *b)
{
	uint32_t hi = take16(b);

	return hi << 16 | take16(b);
}

#endif

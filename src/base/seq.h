/* seq.h - arithmetic on 32-bit sequence numbers modulo 2^32 (RFC 9293 §3.4). Sequence numbers are
 * compared by these functions and by nothing else. */
#ifndef GZ_BASE_SEQ_H
#define GZ_BASE_SEQ_H

#include "base/compiler.h"

static force_inline int32_t seq_diff(uint32_t a, uint32_t b) { return (int32_t)(a - b); }
static force_inline bool seq_lt(uint32_t a, uint32_t b) { return seq_diff(a, b) < 0; }
static force_inline bool seq_le(uint32_t a, uint32_t b) { return seq_diff(a, b) <= 0; }
static force_inline bool seq_gt(uint32_t a, uint32_t b) { return seq_diff(a, b) > 0; }
static force_inline bool seq_ge(uint32_t a, uint32_t b) { return seq_diff(a, b) >= 0; }
static force_inline uint32_t seq_max(uint32_t a, uint32_t b) { return seq_gt(a, b) ? a : b; }
static force_inline uint32_t seq_min(uint32_t a, uint32_t b) { return seq_lt(a, b) ? a : b; }
/* lo <= x < hi in sequence space; empty when lo == hi */
static force_inline bool seq_in(uint32_t x, uint32_t lo, uint32_t hi) { return x - lo < hi - lo; }

#endif

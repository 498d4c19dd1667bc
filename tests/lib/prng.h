/* prng.h - the one source of chance in tests: seeded, the same sequence everywhere (splitmix64). */
#ifndef GZ_TEST_PRNG_H
#define GZ_TEST_PRNG_H

#include "base/compiler.h"

struct prng {
	uint64_t state;
};

static inline uint64_t prng_u64(struct prng *p)
{
	uint64_t z = (p->state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* Neighbouring seeds give unrelated sequences. */
static inline void prng_seed(struct prng *p, uint64_t seed)
{
	p->state = seed ^ 0x5851f42d4c957f2dULL;
	p->state = prng_u64(p) + seed * 0xd1342543de82ef95ULL;
}

/* 0 .. n-1; 0 when n is 0 */
static inline uint64_t prng_below(struct prng *p, uint64_t n) { return n ? prng_u64(p) % n : 0; }
static inline bool prng_ppm(struct prng *p, uint32_t ppm) { return ppm && prng_below(p, 1000000) < ppm; }

#endif

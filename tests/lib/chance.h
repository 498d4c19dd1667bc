/* chance.h - what becomes of packet number n of a link: the one decision that the simulated wire and the relay between two kernels share.
 *
 * The fate of a packet depends on (seed, n) and the shares configured, on nothing else: not on time, size, or on what was drawn for
 * other reasons. So two runs with the same seed lose the same packet numbers, and so do the simulator and the relay.
 * Bursts are the two-state chain of Gilbert and Elliott: their state is that of packet n - 1.
 */
#ifndef GZ_TEST_CHANCE_H
#define GZ_TEST_CHANCE_H

#include "prng.h"

struct chance_conf {
	uint32_t loss_ppm;
	uint32_t burst_enter_ppm, burst_leave_ppm; /* between the good state and the bad one */
	uint32_t burst_loss_ppm;		   /* in the bad state; 0: everything */
	uint32_t reorder_ppm, dup_ppm, corrupt_ppm;
};

struct fate {
	bool lost, reordered, duplicated, corrupted;
	uint64_t jitter, dup_jitter, bit; /* numbers to be reduced to what is wanted */
};

static inline struct fate chance_fate(uint64_t seed, uint64_t n, const struct chance_conf *c, bool *bad_state)
{
	struct prng p;
	struct fate f;
	bool burst, moves;

	prng_seed(&p, seed ^ n * 0x9fb21c651e98df25ULL);
	f.lost = prng_below(&p, 1000000) < c->loss_ppm;
	moves = prng_below(&p, 1000000) < (*bad_state ? c->burst_leave_ppm : c->burst_enter_ppm);
	*bad_state ^= moves;
	burst = prng_below(&p, 1000000) < (c->burst_loss_ppm ? c->burst_loss_ppm : 1000000);
	f.lost |= *bad_state && burst;
	f.reordered = prng_below(&p, 1000000) < c->reorder_ppm;
	f.duplicated = prng_below(&p, 1000000) < c->dup_ppm;
	f.corrupted = prng_below(&p, 1000000) < c->corrupt_ppm;
	f.jitter = prng_u64(&p);
	f.dup_jitter = prng_u64(&p);
	f.bit = prng_u64(&p);
	return f;
}

static inline bool chance_any(const struct chance_conf *c)
{
	return c->loss_ppm | c->burst_enter_ppm | c->reorder_ppm | c->dup_ppm | c->corrupt_ppm;
}

#endif

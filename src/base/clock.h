/* clock.h - monotonic time in microseconds from the TSC, which follows CLOCK_MONOTONIC.
 * The engine never calls this: the loop sets st->now_us from it once per round. Any thread; nobody ever waits for another. */
#ifndef GZ_BASE_CLOCK_H
#define GZ_BASE_CLOCK_H

#include "base/compiler.h"

#include <time.h>

/* Calibrates; called once by stack boot, idempotent. */
void clock_init(void);
/* Microseconds of CLOCK_MONOTONIC, to within some microseconds. Does not step back within a thread; between threads, the counters of two
 * CPUs and when each reads its own may differ by fractions of a microsecond: compare signed, or keep the larger. */
uint64_t clock_now_us(void);
/* In a forked child: nobody lays the clock anew there yet. */
void clock_after_fork_child(void);

static inline struct timespec clock_us_to_timespec(uint64_t us)
{
	return (struct timespec){ .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };
}

#define US_PER_MS 1000ULL
#define US_PER_S 1000000 /* token for token as in rte_cycles.h, which defines it too */

#endif

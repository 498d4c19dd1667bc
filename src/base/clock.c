/* clock.c - microseconds from the TSC; see clock.h. Any thread. */
#include "base/clock.h"

#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

/* us = base_us + (tsc - base_tsc) * mult >> 32; re-based once a second by whoever notices, under a sequence lock. */
static struct {
	_Atomic uint32_t seq;
	_Atomic uint64_t base_tsc, base_us, mult;
	_Atomic uint64_t hz;
	bool usable;
} clk;

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts); /* vDSO: no system call, not interposed */
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static bool tsc_is_invariant(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1u << 8));
}

void clock_init(void)
{
	uint64_t t0, n0, t1, n1;

	if (atomic_load_explicit(&clk.hz, memory_order_acquire) || !tsc_is_invariant())
		return;
	n0 = monotonic_ns();
	t0 = __rdtsc();
	do {
		n1 = monotonic_ns();
	} while (n1 - n0 < 2000000); /* 2 ms: good to about 20 ppm, corrected by re-basing */
	t1 = __rdtsc();
	atomic_store(&clk.base_tsc, t1);
	atomic_store(&clk.base_us, n1 / 1000);
	atomic_store(&clk.mult, (uint64_t)(((__uint128_t)(n1 - n0) << 32) / (t1 - t0) / 1000));
	atomic_store_explicit(&clk.hz, (t1 - t0) * 1000000000ULL / (n1 - n0), memory_order_release);
	clk.usable = true;
}

/* Once a second the line is laid anew through the kernel's clock. A small step back is hidden by the slope: the new
 * line starts at the larger of both readings. */
static cold_path uint64_t clock_rebase(uint64_t seen_us)
{
	uint32_t seq = atomic_load_explicit(&clk.seq, memory_order_relaxed);
	uint64_t us, tsc;

	if ((seq & 1) ||
	    !atomic_compare_exchange_strong_explicit(&clk.seq, &seq, seq + 1, memory_order_acquire, memory_order_relaxed))
		return seen_us; /* somebody else is at it */
	tsc = __rdtsc();
	us = monotonic_ns() / 1000;
	if (us < seen_us)
		us = seen_us;
	atomic_store_explicit(&clk.base_tsc, tsc, memory_order_relaxed);
	atomic_store_explicit(&clk.base_us, us, memory_order_relaxed);
	atomic_store_explicit(&clk.seq, seq + 2, memory_order_release);
	return us;
}

uint64_t clock_now_us(void)
{
	uint64_t base_tsc, base_us, dt, us;
	uint32_t seq;

	if (unlikely(!clk.usable))
		return monotonic_ns() / 1000;
	do {
		seq = atomic_load_explicit(&clk.seq, memory_order_acquire);
		base_tsc = atomic_load_explicit(&clk.base_tsc, memory_order_relaxed);
		base_us = atomic_load_explicit(&clk.base_us, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
	} while (unlikely((seq & 1) || seq != atomic_load_explicit(&clk.seq, memory_order_relaxed)));
	dt = __rdtsc() - base_tsc;
	if (unlikely((int64_t)dt < 0))
		dt = 0; /* another CPU's counter, a few cycles behind */
	us = base_us + (uint64_t)(((__uint128_t)dt * atomic_load_explicit(&clk.mult, memory_order_relaxed)) >> 32);
	if (unlikely(us - base_us > US_PER_S))
		return clock_rebase(us);
	return us;
}

#else

void clock_init(void) {}

uint64_t clock_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * US_PER_S + (uint64_t)ts.tv_nsec / 1000;
}

#endif

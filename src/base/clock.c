/* clock.c - microseconds from the TSC; see clock.h. Any thread. */
#include "base/clock.h"

#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>

/* Time is a line over the counter: fine = line.fine + (tsc - line.tsc) * mult >> 20, in 4096ths of a microsecond. Once a second the next
 * line is laid by whoever notices: it begins where the one before it is at that moment, and its slope meets the kernel's clock a second later.
 * So time neither steps back nor drifts. The line in use is never written to, and nobody waits for who lays the next: he may be
 * stopped, or not exist in a child that was forked meanwhile. */
#define FINE_BITS 12
#define FINE_PER_S ((int64_t)US_PER_S << FINE_BITS)
#define STEP_FINE ((int64_t)1000 << FINE_BITS) /* behind by more, time steps forward: the machine was suspended */
#define LEAST_NS 50000000ULL /* between two lines, or the slope is noise: two may have noticed that it was time */
#define SAMPLES 4
#define TRIES 8
#define SAMPLE_TICKS 20000 /* between two looks at the counter; more: the thread was interrupted between them */

struct clock_line {
	_Atomic uint64_t tsc, fine, mult;
};

static struct {
	struct clock_line line[2];
	_Atomic uint32_t seq; /* line[seq & 1] is in use */
	_Atomic bool laying;
	_Atomic bool usable;
	/* of who lays: the kernel's clock when the line in use was laid */
	uint64_t last_tsc, last_ns;
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

/* Both clocks at one moment. False: the thread was interrupted each time. */
static bool clock_sample(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = SAMPLE_TICKS;

	for (unsigned i = 0; i < SAMPLES; i++) {
		uint64_t t0 = __rdtsc(), n = monotonic_ns(), gap = __rdtsc() - t0;

		if (gap < best) {
			best = gap;
			*tsc = t0 + gap / 2;
			*ns = n;
		}
	}
	return best < SAMPLE_TICKS;
}

static uint64_t slope(uint64_t ns, uint64_t ticks)
{
	return (uint64_t)(((__uint128_t)ns << 32) / ticks / 1000);
}

static uint64_t fine_of_ns(uint64_t ns)
{
	return (uint64_t)(((__uint128_t)ns << FINE_BITS) / 1000);
}

/* Release, and acquire where they are read: who still reads what was here sees no later that seq has changed since. */
static void put_line(struct clock_line *l, uint64_t tsc, uint64_t fine, uint64_t mult)
{
	atomic_store_explicit(&l->tsc, tsc, memory_order_release);
	atomic_store_explicit(&l->fine, fine, memory_order_release);
	atomic_store_explicit(&l->mult, mult, memory_order_release);
}

/* Where a line is at tsc. A counter of another CPU may be a few cycles behind. */
static force_inline uint64_t on_line(uint64_t line_tsc, uint64_t fine, uint64_t mult, uint64_t tsc)
{
	uint64_t dt = tsc - line_tsc;

	if (unlikely((int64_t)dt < 0))
		dt = 0;
	return fine + (uint64_t)(((__uint128_t)dt * mult) >> (32 - FINE_BITS));
}

void clock_init(void)
{
	uint64_t t0, n0, t1, n1;

	if (clk.usable || !tsc_is_invariant())
		return;
	for (unsigned i = 0; !clock_sample(&t0, &n0); i++)
		if (i == TRIES)
			return;
	while (monotonic_ns() - n0 < 2000000)
		; /* 2 ms: good to about 20 ppm, until the second line */
	for (unsigned i = 0; !clock_sample(&t1, &n1); i++)
		if (i == TRIES)
			return;
	if (t1 <= t0)
		return;
	put_line(&clk.line[0], t1, fine_of_ns(n1), slope(n1 - n0, t1 - t0));
	clk.last_tsc = t1;
	clk.last_ns = n1;
	atomic_store_explicit(&clk.usable, true, memory_order_release);
}

static cold_path void clock_lay(void)
{
	uint64_t tsc, ns, fine, mult;
	struct clock_line *l;
	int64_t ahead;
	uint32_t seq;

	if (atomic_exchange_explicit(&clk.laying, true, memory_order_acquire))
		return;
	if (clock_sample(&tsc, &ns) && tsc > clk.last_tsc && ns > clk.last_ns + LEAST_NS) {
		seq = atomic_load_explicit(&clk.seq, memory_order_relaxed);
		l = &clk.line[seq & 1];
		fine = on_line(l->tsc, l->fine, l->mult, tsc);
		ahead = (int64_t)(fine - fine_of_ns(ns));
		if (ahead < -STEP_FINE) {
			fine = fine_of_ns(ns);
			ahead = 0;
		}
		ahead = MIN(ahead, FINE_PER_S / 2);
		mult = slope(ns - clk.last_ns, tsc - clk.last_tsc);
		mult -= (uint64_t)((__int128)mult * ahead / FINE_PER_S);
		clk.last_tsc = tsc;
		clk.last_ns = ns;
		put_line(&clk.line[(seq + 1) & 1], tsc, fine, mult);
		atomic_store_explicit(&clk.seq, seq + 1, memory_order_release);
	}
	atomic_store_explicit(&clk.laying, false, memory_order_release);
}

uint64_t clock_now_us(void)
{
	uint64_t tsc, fine, mult, now;
	const struct clock_line *l;
	uint32_t seq;

	if (unlikely(!atomic_load_explicit(&clk.usable, memory_order_acquire)))
		return monotonic_ns() / 1000;
	do {
		seq = atomic_load_explicit(&clk.seq, memory_order_acquire);
		l = &clk.line[seq & 1];
		tsc = atomic_load_explicit(&l->tsc, memory_order_acquire);
		fine = atomic_load_explicit(&l->fine, memory_order_acquire);
		mult = atomic_load_explicit(&l->mult, memory_order_acquire);
	} while (unlikely(seq != atomic_load_explicit(&clk.seq, memory_order_relaxed)));
	now = on_line(tsc, fine, mult, __rdtsc());
	if (unlikely(now - fine > (uint64_t)FINE_PER_S))
		clock_lay();
	return now >> FINE_BITS;
}

void clock_after_fork_child(void)
{
	atomic_store_explicit(&clk.laying, false, memory_order_relaxed);
}

#else

void clock_init(void) {}

uint64_t clock_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * US_PER_S + (uint64_t)ts.tv_nsec / 1000;
}

void clock_after_fork_child(void) {}

#endif

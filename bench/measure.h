/* measure.h - TSC cycles of short sections: mean, percentiles, the cost of reading the counter taken off. */
#ifndef GZ_BENCH_MEASURE_H
#define GZ_BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

struct measure {
	uint64_t sum, n;
	uint32_t *sample; /* cycles of each section */
	uint32_t cap;
};

static inline uint64_t cycles_now(void)
{
#ifdef __x86_64__
	uint64_t t;

	/* not rdtscp, which valgrind does not know: callgrind counts the instructions of these programs */
	_mm_lfence();
	t = __rdtsc();
	_mm_lfence();
	return t;
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
#endif
}

static inline uint32_t cycles_overhead(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t t = cycles_now();

		t = cycles_now() - t;
		if (t < best)
			best = t;
	}
	return (uint32_t)best;
}

static inline void measure_init(struct measure *m, uint32_t cap)
{
	memset(m, 0, sizeof(*m));
	m->sample = malloc(cap * sizeof(uint32_t));
	if (!m->sample)
		abort();
	memset(m->sample, 0, cap * sizeof(uint32_t));
	m->cap = cap;
}

/* `units` things were done in `cycles`. */
static inline void measure_add(struct measure *m, uint64_t cycles, uint32_t overhead, uint32_t units)
{
	cycles = cycles > overhead ? cycles - overhead : 0;
	if (m->n < m->cap)
		m->sample[m->n] = (uint32_t)(cycles / units);
	m->n++;
	m->sum += cycles;
}

static inline int measure_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static inline void measure_sort(struct measure *m)
{
	qsort(m->sample, m->n < m->cap ? m->n : m->cap, sizeof(uint32_t), measure_order);
}

static inline uint32_t measure_percentile(const struct measure *m, double p)
{
	uint64_t n = m->n < m->cap ? m->n : m->cap;

	return n ? m->sample[(uint64_t)((double)(n - 1) * p)] : 0;
}

/* Mean without the 0.1 % longest sections: those were interrupted by the machine (timer ticks, a stolen virtual CPU). After sorting. */
static inline double measure_trimmed_mean(const struct measure *m)
{
	uint64_t n = m->n < m->cap ? m->n : m->cap, keep = n - n / 1000, s = 0;

	for (uint64_t i = 0; i < keep; i++)
		s += m->sample[i];
	return keep ? (double)s / (double)keep : 0;
}

/* Cycles of an access to memory that nothing predicts and that the next one waits for: what the machine, not the program, is good for. Over 128 MB in
 * normal pages, so that address translation misses as well. */
static inline double measure_memory(void)
{
	enum { LINES = 1 << 21, STEPS = 1 << 20 };
	struct line {
		_Alignas(64) uint32_t next;
	} *lines = aligned_alloc(4096, LINES * sizeof(struct line));
	volatile uint32_t end;
	uint32_t at = 1;
	uint64_t t;

	if (!lines)
		abort();
	/* a full cycle through all lines (Hull and Dobell) */
	for (uint32_t i = 0; i < LINES; i++)
		lines[i].next = (i * 1664525u + 1013904223u) % LINES;
	t = cycles_now();
	for (uint32_t i = 0; i < STEPS; i++)
		at = lines[at].next;
	t = cycles_now() - t;
	end = at;
	(void)end;
	free(lines);
	return (double)t / STEPS;
}

static inline uint64_t resident_bytes(void)
{
	unsigned long size = 0, res = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f)
		return 0;
	if (fscanf(f, "%lu %lu", &size, &res) != 2)
		res = 0;
	fclose(f);
	return (uint64_t)res * (uint64_t)sysconf(_SC_PAGESIZE);
}

#endif

/* compiler.h - GNU builtins under short names, so that the rest of the tree stays plain C17. */
#ifndef GZ_BASE_COMPILER_H
#define GZ_BASE_COMPILER_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define cold_path __attribute__((cold, noinline))
#define force_inline inline __attribute__((always_inline))
#define gz_must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define gz_packed __attribute__((packed))
#define gz_unused __attribute__((unused))
/* leaves the shared library; everything else is hidden (-fvisibility=hidden) */
#define gz_export __attribute__((visibility("default")))

#define CACHE_LINE 64
#define cache_aligned __attribute__((aligned(CACHE_LINE)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ROUND_UP(x, to) ((((x) + (to)-1) / (to)) * (to))

/* A guarantee of ours: checked in debug builds, tests and fuzzing (NDEBUG unset); never for input
 * from the wire, the application or a file. */
#define gz_assert(x) assert(x)

static force_inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/* Headers are written in words of eight bytes and summed in such words: a load that needs several earlier stores waits until they have left
 * the store buffer. The value that lies in memory as `first`, then `second`. */
static force_inline uint32_t mem_pair16(uint16_t first, uint16_t second)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? (uint32_t)second << 16 | first : (uint32_t)first << 16 | second;
}
static force_inline uint64_t mem_pair32(uint32_t first, uint32_t second)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? (uint64_t)second << 32 | first : (uint64_t)first << 32 | second;
}
static force_inline uint16_t mem_pair8(uint8_t first, uint8_t second)
{
	return (uint16_t)(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? second << 8 | first : first << 8 | second);
}

/* sum plus four words of eight bytes at p, in memory order, each carry added at the low end: the ones' complement sum of csum.h. */
static force_inline uint64_t add_carry_32bytes(uint64_t sum, const void *p)
{
#if defined(__x86_64__)
	const struct {
		uint64_t w[4];
	} *block = p;

	/* no compiler at hand keeps the carry in its flag from one addition to the next */
	__asm__("addq 0(%1), %0\n\tadcq 8(%1), %0\n\tadcq 16(%1), %0\n\tadcq 24(%1), %0\n\tadcq $0, %0"
		: "+r"(sum)
		: "r"(p), "m"(*block)
		: "cc");
	return sum;
#else
	for (unsigned i = 0; i < 4; i++) {
		uint64_t w, s;

		memcpy(&w, (const char *)p + 8 * i, 8);
		sum = __builtin_add_overflow(sum, w, &s) ? s + 1 : s;
	}
	return sum;
#endif
}

static force_inline void prefetch(const void *p)
{
	__builtin_prefetch(p);
}

#endif

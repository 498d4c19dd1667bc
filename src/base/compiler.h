/* compiler.h - GNU builtins under short names, so that the rest of the tree stays plain C17. */
#ifndef GZ_BASE_COMPILER_H
#define GZ_BASE_COMPILER_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

static force_inline void prefetch(const void *p)
{
	__builtin_prefetch(p);
}

#endif

/* ownfd.c - the library's own descriptors; see ownfd.h. Any thread. */
#include "base/ownfd.h"
#include "base/sys.h"

#include <fcntl.h>
#include <sys/resource.h>

/* One bit a number; numbers beyond stay unregistered (and are as far away from a program's as can be). */
#define OWN_FD_MAX (1u << 20)
static _Atomic uint64_t own_bits[OWN_FD_MAX / 64];
static _Atomic int own_floor;
/* Since the last snapshot: numbers that the kernel gave to the program, and those that own_fd_register_new() made close-on-exec. */
static _Atomic uint64_t program_bits[OWN_FD_MAX / 64], cloexec_bits[OWN_FD_MAX / 64];
static _Atomic bool registering;

/* Above what most programs use, below the soft limit, and low enough that own_fd_fill_below() stays cheap. */
#define OWN_FD_FLOOR_MAX 16384

int own_fd_floor(void)
{
	int f = atomic_load_explicit(&own_floor, memory_order_relaxed);
	struct rlimit rl = { .rlim_cur = 1024 };
	rlim_t lim;

	if (f)
		return f;
	SYS(prlimit64, 0, RLIMIT_NOFILE, NULL, &rl);
	lim = MIN(rl.rlim_cur, (rlim_t)OWN_FD_MAX);
	f = (int)MIN(lim > 3072 ? lim - 768 : lim - lim / 4, OWN_FD_FLOOR_MAX);
	atomic_store_explicit(&own_floor, f, memory_order_relaxed);
	return f;
}

static void own_fd_set(int fd, bool on)
{
	uint64_t bit;

	if (fd < 0 || (unsigned)fd >= OWN_FD_MAX)
		return;
	bit = 1ULL << (fd % 64);
	if (on)
		atomic_fetch_or(&own_bits[fd / 64], bit);
	else
		atomic_fetch_and(&own_bits[fd / 64], ~bit);
}

int own_fd_adopt(int fd)
{
	int high = (int)SYS(fcntl, fd, F_DUPFD_CLOEXEC, own_fd_floor());

	if (high < 0)
		return high;
	own_fd_set(high, true);
	sys_close(fd);
	return high;
}

void own_fd_register(int fd)
{
	own_fd_set(fd, true);
	SYS(fcntl, fd, F_SETFD, FD_CLOEXEC);
}

void own_fd_close(int fd)
{
	if (fd < 0)
		return;
	own_fd_set(fd, false);
	sys_close(fd);
}

bool own_fd_is(int fd)
{
	if (fd < 0 || (unsigned)fd >= OWN_FD_MAX)
		return false;
	return atomic_load_explicit(&own_bits[fd / 64], memory_order_relaxed) >> (fd % 64) & 1;
}

void own_fd_disown(int fd)
{
	uint64_t bit;

	if (fd < 0 || (unsigned)fd >= OWN_FD_MAX)
		return;
	bit = 1ULL << (fd % 64);
	if (unlikely(atomic_load_explicit(&registering, memory_order_relaxed)))
		atomic_fetch_or(&program_bits[fd / 64], bit);
	/* Set before it is looked for: own_fd_register_new() sets the own bit first and looks for this one after it. */
	if (likely(!own_fd_is(fd)))
		return;
	own_fd_set(fd, false);
	if (atomic_fetch_and(&cloexec_bits[fd / 64], ~bit) & bit)
		SYS(fcntl, fd, F_SETFD, 0);
}

void own_fd_snapshot(uint64_t *bitmap, unsigned words)
{
	for (unsigned w = 0; w < words; w++) {
		atomic_store_explicit(&program_bits[w], 0, memory_order_relaxed);
		atomic_store_explicit(&cloexec_bits[w], 0, memory_order_relaxed);
	}
	atomic_store(&registering, true);
	for (unsigned w = 0; w < words; w++) {
		bitmap[w] = 0;
		for (unsigned b = 0; b < 64; b++)
			if (SYS(fcntl, w * 64 + b, F_GETFD) >= 0)
				bitmap[w] |= 1ULL << b;
	}
}

void own_fd_register_new(const uint64_t *before, unsigned words)
{
	for (unsigned w = 0; w < words; w++) {
		for (unsigned b = 0; b < 64; b++) {
			int fd = (int)(w * 64 + b);
			uint64_t bit = 1ULL << b;
			long flags;

			if (before[w] & bit || atomic_load(&program_bits[w]) & bit)
				continue;
			flags = SYS(fcntl, fd, F_GETFD);
			if (flags < 0)
				continue;
			if (!(flags & FD_CLOEXEC))
				atomic_fetch_or(&cloexec_bits[w], bit);
			own_fd_register(fd);
			if (unlikely(atomic_load(&program_bits[w]) & bit))
				own_fd_disown(fd);
		}
	}
	atomic_store(&registering, false);
}

/* Every number below the floor that is free is taken by a duplicate for a moment, so that descriptors which a library opens
 * for itself and that cannot be moved land above. Returns the filled numbers in `bitmap`. */
void own_fd_fill_below(uint64_t *bitmap, unsigned words)
{
	int filler = (int)SYS(eventfd2, 0, 0);
	int fd = filler;

	for (unsigned w = 0; w < words; w++)
		bitmap[w] = 0;
	while (fd >= 0 && fd < own_fd_floor() && (unsigned)fd < words * 64) {
		bitmap[fd / 64] |= 1ULL << (fd % 64);
		fd = (int)SYS(dup, filler);
	}
	if (fd >= 0)
		sys_close(fd); /* the first one past the end */
}

void own_fd_unfill(const uint64_t *bitmap, unsigned words)
{
	for (unsigned w = 0; w < words; w++)
		for (unsigned b = 0; b < 64; b++)
			if (bitmap[w] >> b & 1)
				sys_close((int)(w * 64 + b));
}

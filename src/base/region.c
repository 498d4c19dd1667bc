/* region.c - the shared region and its slabs; see region.h. Called by boot (create, carve) and by every
 * thread of every process that holds sockets (alloc, free). */
#include "base/region.h"
#include "base/crit.h"
#include "base/sys.h"

#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

#define HUGE_2MB (2UL << 20)
/* How long an allocation that finds nothing waits for a free list that is being looked through. */
#define SWEEP_SPINS 200000

__thread struct crit *crit_self;

static struct {
	char *base;
	size_t bytes;
	size_t used;
} region;

static int region_map(size_t bytes, unsigned memfd_flags, int map_flags)
{
	char *p;
	int err;
	int fd = (int)SYS(memfd_create, "gazelle", memfd_flags);

	if (fd < 0)
		return fd;
	/* Sparse: pages of a memfd are accounted when touched, not here. */
	err = (int)SYS(ftruncate, fd, bytes);
	if (err == 0) {
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | map_flags, fd, 0);
		if (p == MAP_FAILED) {
			err = -errno;
		} else {
			region.base = p;
			region.bytes = bytes;
		}
	}
	sys_close(fd); /* the mapping keeps the file */
	return err;
}

int region_create(size_t reserve_bytes, bool huge)
{
	int err = -ENOMEM;

	gz_assert(!region.base);
	reserve_bytes = ROUND_UP(reserve_bytes, HUGE_2MB);
	region.used = 0;
	if (huge)
		err = region_map(reserve_bytes, MFD_CLOEXEC | MFD_HUGETLB, MAP_HUGE_2MB);
	if (err)
		err = region_map(reserve_bytes, MFD_CLOEXEC, 0);
	if (err)
		return err;
	/* Helps where the kernel allows transparent huge pages for shared memory; harmless elsewhere. */
	madvise(region.base, reserve_bytes, MADV_HUGEPAGE);
	return 0;
}

void region_destroy(void)
{
	if (region.base)
		munmap(region.base, region.bytes);
	region.base = NULL;
	region.bytes = region.used = 0;
}

bool region_exists(void)
{
	return region.base != NULL;
}

bool region_contains(const void *p)
{
	return (const char *)p >= region.base && (const char *)p < region.base + region.bytes;
}

void *region_carve(size_t bytes, size_t align)
{
	size_t at;

	if (align < CACHE_LINE)
		align = CACHE_LINE;
	at = ROUND_UP(region.used, align);
	if (!region.base || at > region.bytes || bytes > region.bytes - at)
		return NULL;
	region.used = at + bytes;
	return region.base + at;
}

int slab_init(struct slab *s, const char *name, uint32_t obj_bytes, uint32_t capacity)
{
	obj_bytes = ROUND_UP(obj_bytes, CACHE_LINE);
	s->base = region_carve((size_t)obj_bytes * capacity, 4096);
	if (!s->base)
		return -ENOMEM;
	s->name = name;
	s->obj_bytes = obj_bytes;
	s->capacity = capacity;
	atomic_init(&s->free_head, 0);
	atomic_init(&s->fresh, 0);
	atomic_init(&s->sweeping, 0);
	return 0;
}

static struct slab_hdr *slab_pop(struct slab *s)
{
	uint64_t head = atomic_load_explicit(&s->free_head, memory_order_acquire);

	while ((uint32_t)head) {
		struct slab_hdr *h = slab_at(s, (uint32_t)head - 1);
		/* May be stale when another thread popped h meanwhile: the tag makes the exchange fail then. */
		uint32_t next = atomic_load_explicit(&h->next_free, memory_order_relaxed);
		uint64_t want = ((head >> 32) + 1) << 32 | next;

		if (atomic_compare_exchange_weak_explicit(&s->free_head, &head, want, memory_order_acquire,
							  memory_order_acquire))
			return h;
	}
	return NULL;
}

static cold_path struct slab_hdr *slab_wait_sweep(struct slab *s)
{
	struct slab_hdr *h = NULL;

	for (unsigned i = 0; !h && i < SWEEP_SPINS && atomic_load_explicit(&s->sweeping, memory_order_acquire); i++) {
		cpu_relax();
		h = slab_pop(s);
	}
	return h ? h : slab_pop(s);
}

void *slab_alloc(struct slab *s)
{
	struct slab_hdr *h;

	crit_enter();
	h = slab_pop(s);
	if (!h) {
		uint32_t i = atomic_load_explicit(&s->fresh, memory_order_relaxed);

		do {
			if (unlikely(i >= s->capacity))
				break;
		} while (!atomic_compare_exchange_weak_explicit(&s->fresh, &i, i + 1, memory_order_relaxed,
								memory_order_relaxed));
		h = i < s->capacity ? slab_at(s, i) : slab_wait_sweep(s);
	}
	if (likely(h != NULL)) {
		atomic_store_explicit(&h->next_free, 0, memory_order_relaxed);
		atomic_fetch_add_explicit(&h->gen, 1, memory_order_release);
	}
	crit_exit();
	return h;
}

/* Puts a chain of free objects, linked by next_free, back on the list. */
static void slab_push_chain(struct slab *s, uint32_t first1, struct slab_hdr *last)
{
	uint64_t head = atomic_load_explicit(&s->free_head, memory_order_relaxed), want;

	do {
		atomic_store_explicit(&last->next_free, (uint32_t)head, memory_order_relaxed);
		want = ((head >> 32) + 1) << 32 | first1;
	} while (!atomic_compare_exchange_weak_explicit(&s->free_head, &head, want, memory_order_release,
							memory_order_relaxed));
}

void slab_free(struct slab *s, void *obj)
{
	struct slab_hdr *h = obj;
	uint32_t index = slab_index(s, obj);

	gz_assert(index < s->capacity && slab_at(s, index) == obj);
	gz_assert(atomic_load_explicit(&h->gen, memory_order_relaxed) & 1); /* in use: no double release */
	crit_enter();
	atomic_fetch_add_explicit(&h->gen, 1, memory_order_release);
	slab_push_chain(s, index + 1, h);
	crit_exit();
}

uint32_t slab_in_use(const struct slab *s)
{
	uint32_t n = atomic_load_explicit(&s->fresh, memory_order_acquire), used = 0;

	for (uint32_t i = 0; i < n; i++)
		used += atomic_load_explicit(&((const struct slab_hdr *)slab_at(s, i))->gen, memory_order_relaxed) & 1;
	return used;
}

/* --- lost objects ---
 * An object that is free (its generation even) and was lost is on no list, and nobody changes it. Free and on no list is also, for some
 * instructions, what a living thread has just taken or is about to return. So the list is taken as a whole, what is free and not on it is noted
 * with its generation, and everybody who is inside an operation is waited for: whoever had one of those in hand has raised its generation by
 * then, or put it on the (new) list. That list is taken too; and after another wait those who took something off it meanwhile have raised its
 * generation. What is left was never touched: lost. */

struct chain {
	uint32_t first1;
	struct slab_hdr *last;
};

static struct chain chain_take(struct slab *s, uint8_t *on_list, uint32_t n)
{
	uint64_t head = atomic_load_explicit(&s->free_head, memory_order_acquire);
	struct chain c = { 0 };

	while ((uint32_t)head && !atomic_compare_exchange_weak_explicit(&s->free_head, &head, ((head >> 32) + 1) << 32,
									 memory_order_acq_rel, memory_order_acquire))
		;
	c.first1 = (uint32_t)head;
	for (uint32_t i = c.first1; i; i = atomic_load_explicit(&c.last->next_free, memory_order_relaxed)) {
		c.last = slab_at(s, i - 1);
		if (i - 1 < n)
			on_list[i - 1] = 1;
	}
	return c;
}

static void chain_give(struct slab *s, const struct chain *c)
{
	if (c->first1)
		slab_push_chain(s, c->first1, c->last);
}

int slab_reclaim_lost(struct slab *s, bool (*rest)(void))
{
	uint32_t n = atomic_load_explicit(&s->fresh, memory_order_acquire), suspects = 0;
	uint8_t *on_list = calloc(n + 1, 1);
	uint32_t *gen = calloc(n + 1, sizeof(*gen));
	struct chain old, new = { 0 };
	int lost = 0;

	if (!on_list || !gen) {
		free(on_list);
		free(gen);
		return -ENOMEM;
	}
	atomic_store_explicit(&s->sweeping, 1, memory_order_seq_cst);
	old = chain_take(s, on_list, n);
	for (uint32_t i = 0; i < n; i++) {
		gen[i] = on_list[i] ? 1 : atomic_load_explicit(&((struct slab_hdr *)slab_at(s, i))->gen, memory_order_acquire);
		suspects += !(gen[i] & 1);
	}
	if (suspects) {
		lost = rest() ? 0 : -EAGAIN;
		if (!lost) {
			new = chain_take(s, on_list, n);
			lost = rest() ? 0 : -EAGAIN;
		}
	}
	for (uint32_t i = 0; i < n && suspects && lost >= 0; i++) {
		struct slab_hdr *h = slab_at(s, i);

		if (gen[i] & 1 || on_list[i] || atomic_load_explicit(&h->gen, memory_order_acquire) != gen[i])
			continue;
		slab_push_chain(s, i + 1, h);
		lost++;
	}
	chain_give(s, &new);
	chain_give(s, &old);
	atomic_store_explicit(&s->sweeping, 0, memory_order_release);
	free(on_list);
	free(gen);
	return lost;
}

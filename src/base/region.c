/* region.c - the shared region and its slabs; see region.h. Called by boot (create, carve) and by every
 * thread of every process that holds sockets (alloc, free). */
#include "base/region.h"
#include "base/sys.h"

#include <linux/memfd.h>
#include <sys/mman.h>

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

#define HUGE_2MB (2UL << 20)

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
	atomic_init(&s->in_use, 0);
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

void *slab_alloc(struct slab *s)
{
	struct slab_hdr *h = slab_pop(s);

	if (!h) {
		uint32_t i = atomic_load_explicit(&s->fresh, memory_order_relaxed);

		do {
			if (i >= s->capacity)
				return NULL;
		} while (!atomic_compare_exchange_weak_explicit(&s->fresh, &i, i + 1, memory_order_relaxed,
								memory_order_relaxed));
		h = slab_at(s, i);
	}
	atomic_store_explicit(&h->next_free, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->gen, 1, memory_order_release);
	atomic_fetch_add_explicit(&s->in_use, 1, memory_order_relaxed);
	return h;
}

void slab_free(struct slab *s, void *obj)
{
	struct slab_hdr *h = obj;
	uint32_t index = slab_index(s, obj);
	uint64_t head, want;

	gz_assert(index < s->capacity && slab_at(s, index) == obj);
	gz_assert(atomic_load_explicit(&h->gen, memory_order_relaxed) & 1); /* in use: no double release */
	atomic_fetch_add_explicit(&h->gen, 1, memory_order_release);
	head = atomic_load_explicit(&s->free_head, memory_order_relaxed);
	do {
		atomic_store_explicit(&h->next_free, (uint32_t)head, memory_order_relaxed);
		want = ((head >> 32) + 1) << 32 | (index + 1);
	} while (!atomic_compare_exchange_weak_explicit(&s->free_head, &head, want, memory_order_release,
							memory_order_relaxed));
	atomic_fetch_sub_explicit(&s->in_use, 1, memory_order_relaxed);
}

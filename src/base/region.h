/* region.h - the one shared region and the slabs inside it (runtime.md, "Memory").
 *
 * The region is a memfd (huge pages when asked for and available), reserved large, mapped MAP_SHARED
 * before any fork, at one address in every process that holds sockets; pages are committed on first touch.
 * Slabs hand out fixed-size objects from it. Memory of a slab is type-stable: an object that was freed
 * stays readable as the same type for ever, so a stale pointer may be dereferenced and then validated
 * (by refs, generation or key), never faults.
 *
 * Every slab object begins with struct slab_hdr. Allocation and release are one compare-and-swap on a
 * tagged head, inside a critical section (crit.h): what a killed participant was just handling is found by slab_reclaim_lost().
 */
#ifndef GZ_BASE_REGION_H
#define GZ_BASE_REGION_H

#include "base/compiler.h"

struct slab_hdr {
	_Atomic uint32_t next_free; /* index + 1 of the next free object; 0 = none or in use */
	_Atomic uint32_t gen;	    /* +1 at every allocation and release: odd while in use */
};

struct slab {
	char *base; /* [const] */
	const char *name;
	uint32_t obj_bytes;
	uint32_t capacity;
	_Atomic uint64_t free_head cache_aligned; /* tag << 32 | index + 1 */
	_Atomic uint32_t fresh;			  /* first index never handed out */
	_Atomic uint32_t sweeping;		  /* the free list is out for a moment: exhausted may not mean exhausted */
};

/* Creates the region with room for reserve_bytes (sparse). huge: try huge pages first.
 * 0 or -errno. Once per home process; home thread, before threads and forks. */
int region_create(size_t reserve_bytes, bool huge);
/* Unmaps it (tests; process exit of the home). */
void region_destroy(void);
bool region_exists(void);
/* Carves bytes (zeroed, aligned to align, at least a cache line) out of the region; NULL when full. Never freed. Boot only. */
void *region_carve(size_t bytes, size_t align);
/* True if p points into the region. */
bool region_contains(const void *p);

/* Lays out a slab for capacity objects of obj_bytes (rounded up to a cache line) in the region. 0 or -ENOMEM. */
int slab_init(struct slab *s, const char *name, uint32_t obj_bytes, uint32_t capacity);
/* One object, content as the last user left it (zero when fresh) but for the header; NULL when exhausted. Any thread, any process. */
void *slab_alloc(struct slab *s);
/* Gives it back. Any thread, any process. */
void slab_free(struct slab *s, void *obj);

static force_inline void *slab_at(const struct slab *s, uint32_t index)
{
	return s->base + (size_t)index * s->obj_bytes;
}

static force_inline uint32_t slab_index(const struct slab *s, const void *obj)
{
	return (uint32_t)((size_t)((const char *)obj - s->base) / s->obj_bytes);
}

/* Objects in use: looks at each. */
uint32_t slab_in_use(const struct slab *s);

/* Objects that are neither in use nor on the free list, because the process that was taking or returning them was killed: returned to the list. How
 * many; -EAGAIN when rest() failed, -ENOMEM. rest() waits until every thread that is in a critical section has left it, or is known to be
 * dead; false: not now. One caller at a time. */
int slab_reclaim_lost(struct slab *s, bool (*rest)(void));

#endif

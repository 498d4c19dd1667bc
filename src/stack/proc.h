/* proc.h - the record of one process that holds sockets, in the shared region: its pid and its descriptor table.
 *
 * The table itself is private to the process in meaning (posix/fdtable.c), but lies in the region so that the home can drop the
 * references of a process that was killed. Written by the process itself (and by its parent before the fork that makes it); read by
 * the home only after the process is dead. */
#ifndef GZ_STACK_PROC_H
#define GZ_STACK_PROC_H

#include "base/crit.h"
#include "base/region.h"

#define FD_CHUNK_SHIFT 9
#define FD_CHUNK_LEN (1u << FD_CHUNK_SHIFT)
#define FD_DIR_LEN 2048u
#define FD_LIMIT ((int)(FD_DIR_LEN * FD_CHUNK_LEN)) /* the kernel's default fs.nr_open */

/* One number: what it refers to and how often the number changed hands. */
struct fd_entry {
	_Atomic uintptr_t desc; /* description | enum fd_kind; 0: the kernel's */
	_Atomic uint32_t gen;	/* +1 at every change of desc */
	_Atomic uint32_t flags; /* FDF_* */
};

/* Low bits of desc, as enum fd_kind has them. */
#define FD_DESC_SOCK 1u
#define FD_DESC_EPOLL 2u
#define FD_DESC_KIND ((uintptr_t)7)

struct fd_chunk {
	struct slab_hdr slab;
	char pad[CACHE_LINE - sizeof(struct slab_hdr)];
	struct fd_entry e[FD_CHUNK_LEN];
};

struct proc_rec {
	struct slab_hdr slab;
	_Atomic uint32_t pid;	    /* 0: prepared for a child that has not run yet */
	_Atomic uint32_t parent;    /* pid of the process that prepared it */
	_Atomic uint32_t locked;    /* the process holds the life lock (boot.h): this, not its pid, tells whether it lives */
	_Atomic uint32_t making;    /* threads that are making a record: thread.h */
	uint32_t looks;		    /* how often the home has found it dead [home] */
	_Atomic uint32_t chunk[FD_DIR_LEN]; /* index + 1 in gz->fdchunks; 0: none */
};

/* The record of a process that is gone, references dropped. */
static inline void proc_free(struct slab *procs, struct proc_rec *p)
{
	crit_enter();
	/* A record on its way to the next owner must not look like the old one's. */
	atomic_store_explicit(&p->parent, 0, memory_order_relaxed);
	atomic_store_explicit(&p->pid, 0, memory_order_relaxed);
	atomic_store_explicit(&p->locked, 0, memory_order_relaxed);
	p->looks = 0;
	slab_free(procs, p);
	crit_exit();
}

/* Drops every reference of a dead process; the record stays. Set by posix at activation; NULL in tests without it. Home. */
extern void (*proc_reap_hook)(uint32_t proc);

#endif

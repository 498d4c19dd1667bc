/* fdtable.h - which numbers are stack sockets or epoll instances with stack sockets in them (runtime.md, "Descriptors").
 *
 * An entry is {generation, description}. The table belongs to one process; its memory lies in the shared region so that the home can
 * drop the references of a process that was killed. Look-up is two loads and works in any thread and in signal handlers; before the
 * stack starts the directory is empty, so a kernel descriptor costs one load.
 *
 * Use after close: a user stores the description into its thread's pins[] (seq_cst) and looks at the entry again; whoever closes
 * takes the entry (exchange) before dropping the reference. So either the closer's reference is dropped after the pin is visible, and
 * the object is not reused while pinned, or the user sees that the entry changed.
 */
#ifndef GZ_POSIX_FDTABLE_H
#define GZ_POSIX_FDTABLE_H

#include "sock/sock.h"
#include "stack/proc.h"
#include "stack/thread.h"

struct epoll;

enum fd_kind {
	FD_KERNEL = 0,
	FD_SOCK = 1,	/* struct sock */
	FD_EPOLL = 2,	/* struct epoll; the number is a kernel epoll too */
	FD_PARKED = 3,	/* closed for the program, kept open for the next socket; no description */
	FD_KIND_MASK = 7,
};

#define FDF_CLOEXEC 1u	  /* FD_CLOEXEC as the program sees it */
#define FDF_KERN_OPEN 2u  /* the kernel's own close-on-exec flag was cleared before an exec */

extern _Atomic(struct fd_chunk *) fd_dir[FD_DIR_LEN];

static force_inline struct fd_entry *fd_entry(int fd)
{
	struct fd_chunk *c;

	if (unlikely((unsigned)fd >= (unsigned)FD_LIMIT))
		return NULL;
	c = atomic_load_explicit(&fd_dir[(unsigned)fd >> FD_CHUNK_SHIFT], memory_order_acquire);
	return c ? &c->e[(unsigned)fd & (FD_CHUNK_LEN - 1)] : NULL;
}

/* description | kind; 0 for the kernel's. Any context. */
static force_inline uintptr_t fd_peek(int fd)
{
	struct fd_entry *e = fd_entry(fd);

	return likely(e == NULL) ? 0 : atomic_load_explicit(&e->desc, memory_order_acquire);
}

static force_inline enum fd_kind fd_kind(uintptr_t d) { return (enum fd_kind)(d & FD_KIND_MASK); }
static force_inline void *fd_ptr(uintptr_t d) { return (void *)(d & ~(uintptr_t)FD_KIND_MASK); }
/* A stack socket, or a number that must look closed: not for libc. */
static force_inline bool fd_is_ours(uintptr_t d) { return unlikely(d & 1); }
_Static_assert(FD_SOCK == FD_DESC_SOCK && FD_EPOLL == FD_DESC_EPOLL && FD_KIND_MASK == FD_DESC_KIND, "the home reads it, too");
_Static_assert((FD_SOCK & 1) && (FD_PARKED & 1) && !(FD_EPOLL & 1), "fd_is_ours() is one bit");

/* Pins what fd refers to if it is of that kind; NULL if not. slot: 0 .. THREAD_PINS - 1. */
static force_inline void *fd_pin(struct thread_rec *self, int fd, enum fd_kind kind, unsigned slot)
{
	uintptr_t again, d = fd_peek(fd);

	for (;;) {
		if (fd_kind(d) != kind) {
			atomic_store_explicit(&self->pins[slot], NULL, memory_order_release);
			return NULL;
		}
		/* pairs with the exchange in fd_take() */
		atomic_store_explicit(&self->pins[slot], fd_ptr(d), memory_order_seq_cst);
		again = fd_peek(fd);
		if (likely(again == d))
			return fd_ptr(d);
		d = again;
	}
}

static force_inline struct sock *fd_pin_sock(struct thread_rec *self, int fd, unsigned slot)
{
	return fd_pin(self, fd, FD_SOCK, slot);
}

static force_inline void fd_unpin(struct thread_rec *self, unsigned slot)
{
	atomic_store_explicit(&self->pins[slot], NULL, memory_order_release);
}

/* --- fdtable.c --- */
/* After boot: a record for this process. 0 or -ENOMEM. Idempotent. */
int fdtable_start(void);
/* Makes fd refer to desc (the table takes over one reference). What was there before is dropped. 0; -ENOMEM, -EMFILE: the caller keeps
 * its reference. */
int fd_install(int fd, void *desc, enum fd_kind kind, bool cloexec, struct thread_rec *self);
/* Removes and returns the entry; its reference is the caller's now. 0 when there was none. */
uintptr_t fd_take(int fd);
/* The same; until the reference is dropped (or moved by fd_install()) the thread's record tells of it, should this process be killed. */
uintptr_t fd_take_noted(int fd, struct thread_rec *self);
/* Drops the reference of a taken entry. May sleep (SO_LINGER). */
void fd_drop(uintptr_t d, struct thread_rec *self);
/* A new reference to a pinned description for another number, noted until fd_install() or fd_drop(). */
void fd_ref(uintptr_t d, struct thread_rec *self);
uint32_t fd_gen(int fd);
void fd_set_flag(int fd, uint32_t flag, bool on);
bool fd_get_flag(int fd, uint32_t flag);
/* The kernel gave this number to somebody: an entry left from a close behind our back is dropped. */
void fd_forget_stale(int fd);

/* A number for a new stack socket: the lowest parked one, else from the kernel (a close-on-exec duplicate of the inert socket).
 * >= 0 or -errno (EMFILE). */
int fd_number_get(struct thread_rec *self);
/* Gives a number back that was never installed, or whose entry was taken: parks or closes it. */
void fd_number_put(int fd, struct thread_rec *self);
/* All parked numbers are closed: before fork, exec, dup*, close_range, and when the kernel is out of numbers. */
void fd_parked_release(void);
/* The inert socket's own number, -1 before it exists. */
int fd_inert(void);
/* Puts the inert socket over fd. 0 or -errno. */
int fd_place_inert(int fd);
/* The limit on numbers was lowered: no more parking. */
void fd_parked_disable(void);
extern bool fd_fast_close;

/* Calls fn for every installed number in [first, last]. */
void fd_for_each(int first, int last, void (*fn)(int fd, uintptr_t d, void *arg), void *arg);

/* fork: see fork.c. Memory for the child's table, before the fork: 0, -EAGAIN. fdtable_fork_result() ends what this begins. */
int fdtable_fork_reserve(void);
/* Index + 1 of this process's record, 0 in the home. */
uint32_t fdtable_proc(void);
int fdtable_fork_prepare(void);
void fdtable_fork_child(void);
/* Drops all references of this process: exit of a client (no-op in the home), exit of the home. */
void fdtable_exit(void);
void fdtable_close_all(void);
/* The home: a process died without fdtable_exit(). */
void fdtable_reap(uint32_t proc);

#endif

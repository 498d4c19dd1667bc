/* fdtable.c - the descriptor table, numbers, parking, and what fork does to them; see fdtable.h. Any application thread.
 * Changes of one entry are single atomic operations; the lists of parked numbers have a lock of the process. */
#include "posix/posix.h"

#include "base/ownfd.h"
#include "posix/activate.h"
#include "posix/epollfd.h"
#include "sock/epoll.h"
#include "stack/boot.h"

#include <fcntl.h>
#include <sys/resource.h>

_Atomic(struct fd_chunk *) fd_dir[FD_DIR_LEN];
bool fd_fast_close = true;
void (*proc_reap_hook)(uint32_t proc);

static struct proc_rec *proc_self;
static __thread struct proc_rec *proc_child; /* of the fork that this thread is in */
static struct rlock chunk_lock, park_lock;
static _Atomic int inert_fd = -1;

/* Ascending order is kept by insertion; at most PARK_MAX small moves. */
#define PARK_MAX 256
static int parked[PARK_MAX];
static _Atomic uint32_t parked_count;
static _Atomic uint32_t park_limit = UINT32_MAX; /* UINT32_MAX: not computed */

static struct proc_rec *proc_alloc(uint32_t pid)
{
	struct proc_rec *p;

	crit_enter();
	p = slab_alloc(&gz->procs);
	if (!p) {
		crit_exit();
		return NULL;
	}
	for (unsigned i = 0; i < FD_DIR_LEN; i++)
		atomic_store_explicit(&p->chunk[i], 0, memory_order_relaxed);
	atomic_store_explicit(&p->locked, 0, memory_order_relaxed);
	atomic_store_explicit(&p->making, 0, memory_order_relaxed);
	p->looks = 0;
	atomic_store_explicit(&p->parent, stack_my_pid, memory_order_relaxed);
	atomic_store_explicit(&p->pid, pid, memory_order_release);
	crit_exit();
	return p;
}

int fdtable_start(void)
{
	int err = 0;

	if (likely(proc_self != NULL))
		return 0;
	rlock_lock(&chunk_lock, (uint32_t)sys_gettid());
	if (!proc_self) {
		proc_self = proc_alloc((uint32_t)sys_getpid());
		err = proc_self ? 0 : -ENOMEM;
		proc_reap_hook = fdtable_reap;
		thread_proc_hook = fdtable_proc;
	}
	rlock_unlock(&chunk_lock);
	return err;
}

static struct fd_chunk *chunk_alloc(void)
{
	struct fd_chunk *c = slab_alloc(&gz->fdchunks);

	if (!c)
		return NULL;
	for (unsigned i = 0; i < FD_CHUNK_LEN; i++) {
		atomic_store_explicit(&c->e[i].desc, 0, memory_order_relaxed);
		atomic_store_explicit(&c->e[i].flags, 0, memory_order_relaxed);
	}
	return c;
}

static struct fd_entry *fd_entry_make(int fd, struct thread_rec *self)
{
	struct fd_entry *e = fd_entry(fd);
	unsigned i = (unsigned)fd >> FD_CHUNK_SHIFT;
	struct fd_chunk *c;

	if (likely(e != NULL) || (unsigned)fd >= (unsigned)FD_LIMIT || !proc_self)
		return e;
	rlock_lock(&chunk_lock, self->tid);
	if (!atomic_load_explicit(&fd_dir[i], memory_order_relaxed)) {
		crit_enter();
		c = chunk_alloc();
		if (c) {
			atomic_store_explicit(&proc_self->chunk[i], slab_index(&gz->fdchunks, c) + 1, memory_order_release);
			atomic_store_explicit(&fd_dir[i], c, memory_order_release);
		}
		crit_exit();
	}
	rlock_unlock(&chunk_lock);
	return fd_entry(fd);
}

/* The reference of d is this thread's, in no table. Inside a critical section. */
static void desc_note(uintptr_t d, struct thread_rec *self)
{
	if (fd_kind(d) == FD_SOCK)
		atomic_store_explicit(&self->taken, fd_ptr(d), memory_order_relaxed);
	else if (fd_kind(d) == FD_EPOLL)
		atomic_store_explicit(&self->taken_ep, fd_ptr(d), memory_order_relaxed);
}

void fd_ref(uintptr_t d, struct thread_rec *self)
{
	crit_enter();
	if (fd_kind(d) == FD_SOCK)
		sock_ref(fd_ptr(d));
	else if (fd_kind(d) == FD_EPOLL)
		epoll_instance_ref(fd_ptr(d));
	desc_note(d, self);
	crit_exit();
	if (fd_kind(d) == FD_EPOLL)
		epollfd_view_ref(fd_ptr(d));
}

static void desc_unref(uintptr_t d, struct thread_rec *self)
{
	if (fd_kind(d) == FD_SOCK)
		sock_unref(fd_ptr(d), self);
	else if (fd_kind(d) == FD_EPOLL)
		epoll_instance_unref(fd_ptr(d), self);
}

void fd_drop(uintptr_t d, struct thread_rec *self)
{
	if (fd_kind(d) == FD_EPOLL)
		epollfd_view_unref(fd_ptr(d));
	desc_unref(d, self);
}

int fd_install(int fd, void *desc, enum fd_kind kind, bool cloexec, struct thread_rec *self)
{
	struct fd_entry *e = fd_entry_make(fd, self);
	uintptr_t old;

	if (unlikely(!e))
		return (unsigned)fd >= (unsigned)FD_LIMIT ? -EMFILE : -ENOMEM;
	atomic_store_explicit(&e->flags, cloexec ? FDF_CLOEXEC : 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&e->gen, 1, memory_order_relaxed);
	crit_enter();
	/* the notes before the entry: never given back twice */
	if (atomic_load_explicit(&self->taken, memory_order_relaxed) == desc)
		atomic_store_explicit(&self->taken, NULL, memory_order_relaxed);
	if (atomic_load_explicit(&self->taken_ep, memory_order_relaxed) == desc)
		atomic_store_explicit(&self->taken_ep, NULL, memory_order_relaxed);
	old = atomic_exchange_explicit(&e->desc, (uintptr_t)desc | kind, memory_order_seq_cst);
	if (unlikely(old))
		desc_note(old, self);
	crit_exit();
	if (unlikely(old))
		fd_drop(old, self);
	return 0;
}

uintptr_t fd_take(int fd)
{
	struct fd_entry *e = fd_entry(fd);
	uintptr_t d;

	if (!e || !atomic_load_explicit(&e->desc, memory_order_relaxed))
		return 0;
	/* seq_cst: pairs with the store of the pin in fd_pin() */
	d = atomic_exchange_explicit(&e->desc, 0, memory_order_seq_cst);
	if (d)
		atomic_fetch_add_explicit(&e->gen, 1, memory_order_relaxed);
	return d;
}

uintptr_t fd_take_noted(int fd, struct thread_rec *self)
{
	uintptr_t d;

	crit_enter();
	d = fd_take(fd);
	desc_note(d, self);
	crit_exit();
	return d;
}

uint32_t fd_gen(int fd)
{
	struct fd_entry *e = fd_entry(fd);

	return e ? atomic_load_explicit(&e->gen, memory_order_relaxed) : 0;
}

void fd_set_flag(int fd, uint32_t flag, bool on)
{
	struct fd_entry *e = fd_entry(fd);

	if (!e)
		return;
	if (on)
		atomic_fetch_or_explicit(&e->flags, flag, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&e->flags, ~flag, memory_order_relaxed);
}

bool fd_get_flag(int fd, uint32_t flag)
{
	struct fd_entry *e = fd_entry(fd);

	return e && (atomic_load_explicit(&e->flags, memory_order_relaxed) & flag);
}

void fd_forget_stale(int fd)
{
	uintptr_t d;
	struct thread_rec *self;

	own_fd_disown(fd);
	if (likely(!fd_peek(fd)))
		return;
	gz_enter();
	self = posix_self();
	d = self ? fd_take_noted(fd, self) : 0;
	if (d)
		fd_drop(d, self);
	gz_leave();
}

/* --- numbers --- */

static int inert_get(void)
{
	int fd = atomic_load_explicit(&inert_fd, memory_order_acquire), high, expect = -1;

	if (likely(fd >= 0))
		return fd;
	/* A datagram socket: never bound, so it holds no memory and interface ioctls on a duplicate work. */
	fd = (int)SYS(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	high = own_fd_adopt(fd);
	if (high < 0) {
		sys_close(fd);
		return high;
	}
	if (!atomic_compare_exchange_strong(&inert_fd, &expect, high)) {
		own_fd_close(high);
		return expect;
	}
	return high;
}

int fd_inert(void)
{
	return inert_get();
}

int fd_place_inert(int fd)
{
	int inert = inert_get();
	long r;

	if (inert < 0)
		return inert;
	r = SYS(dup3, inert, fd, O_CLOEXEC);
	return r < 0 ? (int)r : 0;
}

static cold_path uint32_t park_limit_compute(void)
{
	struct rlimit rl = { .rlim_cur = 1024 };
	uint32_t lim;

	SYS(prlimit64, 0, RLIMIT_NOFILE, NULL, &rl);
	lim = (uint32_t)MIN(rl.rlim_cur / 16, (rlim_t)PARK_MAX);
	atomic_store_explicit(&park_limit, lim, memory_order_relaxed);
	return lim;
}

void fd_parked_disable(void)
{
	atomic_store_explicit(&park_limit, 0, memory_order_relaxed);
	fd_parked_release();
}

void fd_parked_release(void)
{
	int n, list[PARK_MAX];

	if (!atomic_load_explicit(&parked_count, memory_order_relaxed))
		return;
	gz_enter();
	rlock_lock(&park_lock, (uint32_t)sys_gettid());
	n = (int)atomic_load_explicit(&parked_count, memory_order_relaxed);
	for (int i = 0; i < n; i++) {
		list[i] = parked[i];
		/* The entry first: the number must not be handed out by the kernel while it still looks parked. */
		fd_take(parked[i]);
		sys_close(list[i]);
	}
	atomic_store_explicit(&parked_count, 0, memory_order_relaxed);
	rlock_unlock(&park_lock);
	gz_leave();
}

int fd_number_get(struct thread_rec *self)
{
	int inert, fd = -1;
	uint32_t n;

	if (atomic_load_explicit(&parked_count, memory_order_relaxed)) {
		rlock_lock(&park_lock, self->tid);
		n = atomic_load_explicit(&parked_count, memory_order_relaxed);
		if (n) {
			fd = parked[0];
			for (uint32_t i = 1; i < n; i++)
				parked[i - 1] = parked[i];
			atomic_store_explicit(&parked_count, n - 1, memory_order_relaxed);
			/* still FD_PARKED in the table: looks closed until fd_install() */
		}
		rlock_unlock(&park_lock);
		if (fd >= 0)
			return fd;
	}
	inert = inert_get();
	if (unlikely(inert < 0))
		return inert;
	fd = (int)SYS(fcntl, inert, F_DUPFD_CLOEXEC, 0);
	return fd;
}

/* -EMFILE of a call that goes to the kernel may be the fault of parked numbers; posix/socket.c retries once. */

void fd_number_put(int fd, struct thread_rec *self)
{
	uint32_t lim = atomic_load_explicit(&park_limit, memory_order_relaxed);
	struct fd_entry *e = fd_entry_make(fd, self);
	uint32_t n, i;

	if (unlikely(lim == UINT32_MAX))
		lim = park_limit_compute();
	if (fd > 2 && fd_fast_close && e && atomic_load_explicit(&parked_count, memory_order_relaxed) < lim) {
		rlock_lock(&park_lock, self->tid);
		n = atomic_load_explicit(&parked_count, memory_order_relaxed);
		if (n < lim) {
			for (i = n; i > 0 && parked[i - 1] > fd; i--)
				parked[i] = parked[i - 1];
			parked[i] = fd;
			atomic_store_explicit(&e->desc, FD_PARKED, memory_order_release);
			atomic_store_explicit(&parked_count, n + 1, memory_order_relaxed);
			rlock_unlock(&park_lock);
			return;
		}
		rlock_unlock(&park_lock);
	}
	fd_take(fd);
	sys_close(fd);
}

void fd_for_each(int first, int last, void (*fn)(int fd, uintptr_t d, void *arg), void *arg)
{
	if (first < 0)
		first = 0;
	if (last >= FD_LIMIT)
		last = FD_LIMIT - 1;
	for (int fd = first; fd <= last; fd++) {
		uintptr_t d;

		if (!atomic_load_explicit(&fd_dir[(unsigned)fd >> FD_CHUNK_SHIFT], memory_order_acquire)) {
			fd |= (int)FD_CHUNK_LEN - 1; /* next chunk */
			continue;
		}
		d = fd_peek(fd);
		if (d)
			fn(fd, d, arg);
	}
}

/* --- fork ---
 * Before the fork the parent makes the child's record: copies of its chunks, one more reference for each entry. If the fork fails
 * they are dropped again; if the child dies before it runs, the home finds a record whose pid is dead. */

static void chunk_drop(struct fd_chunk *c, struct thread_rec *self)
{
	for (unsigned i = 0; i < FD_CHUNK_LEN; i++) {
		uintptr_t d;

		if (!atomic_load_explicit(&c->e[i].desc, memory_order_relaxed))
			continue;
		crit_enter();
		d = atomic_exchange_explicit(&c->e[i].desc, 0, memory_order_seq_cst);
		desc_note(d, self);
		crit_exit();
		desc_unref(d, self);
	}
}

static void proc_drop_refs(struct proc_rec *p, struct thread_rec *self)
{
	for (unsigned i = 0; i < FD_DIR_LEN; i++) {
		uint32_t idx = atomic_load_explicit(&p->chunk[i], memory_order_acquire);

		if (!idx)
			continue;
		chunk_drop(slab_at(&gz->fdchunks, idx - 1), self);
		crit_enter();
		atomic_store_explicit(&p->chunk[i], 0, memory_order_release);
		slab_free(&gz->fdchunks, slab_at(&gz->fdchunks, idx - 1));
		crit_exit();
	}
}

int fdtable_fork_reserve(void)
{
	bool all = true;

	if (!proc_self)
		return 0;
	gz_enter();
	proc_child = posix_self() ? proc_alloc(0) : NULL;
	for (unsigned i = 0; proc_child && i < FD_DIR_LEN; i++) {
		struct fd_chunk *c;

		if (!atomic_load_explicit(&fd_dir[i], memory_order_acquire))
			continue;
		crit_enter();
		c = chunk_alloc();
		all &= c != NULL;
		if (c)
			atomic_store_explicit(&proc_child->chunk[i], slab_index(&gz->fdchunks, c) + 1, memory_order_release);
		crit_exit();
	}
	gz_leave();
	if (proc_child && all)
		return 0;
	fdtable_fork_result(0);
	return -EAGAIN;
}

int fdtable_fork_prepare(void)
{
	struct thread_rec *self;

	fd_parked_release();
	rlock_lock(&chunk_lock, (uint32_t)sys_gettid());
	rlock_lock(&park_lock, (uint32_t)sys_gettid());
	if (!proc_self)
		return 0;
	self = posix_self();
	if (self && !proc_child) /* a fork inside libc: nothing was reserved */
		proc_child = proc_alloc(0);
	if (!self || !proc_child)
		return -ENOMEM;
	for (unsigned i = 0; i < FD_DIR_LEN; i++) {
		struct fd_chunk *from = atomic_load_explicit(&fd_dir[i], memory_order_acquire), *to;
		uint32_t idx = atomic_load_explicit(&proc_child->chunk[i], memory_order_relaxed);

		if (!from)
			continue;
		crit_enter();
		to = idx ? slab_at(&gz->fdchunks, idx - 1) : chunk_alloc();
		/* In the record before it is filled: this process may be killed while it is. */
		if (to)
			atomic_store_explicit(&proc_child->chunk[i], slab_index(&gz->fdchunks, to) + 1, memory_order_release);
		crit_exit();
		if (!to)
			return -ENOMEM;
		for (unsigned k = 0; k < FD_CHUNK_LEN; k++) {
			uintptr_t d = fd_pin(self, (int)(i * FD_CHUNK_LEN + k), FD_SOCK, 0) ? fd_peek((int)(i * FD_CHUNK_LEN + k)) : 0;

			if (!d && fd_pin(self, (int)(i * FD_CHUNK_LEN + k), FD_EPOLL, 0))
				d = fd_peek((int)(i * FD_CHUNK_LEN + k));
			if (!d)
				continue;
			/* A close in another thread may have taken the entry between the two looks: then it is pinned, and its object
			 * is what pins[0] says. */
			d = (uintptr_t)atomic_load_explicit(&self->pins[0], memory_order_relaxed) | fd_kind(d);
			crit_enter(); /* until it is written down */
			if (fd_kind(d) == FD_SOCK && !vcount_inc_live(&((struct sock *)fd_ptr(d))->refs)) {
				crit_exit();
				continue;
			}
			if (fd_kind(d) == FD_EPOLL)
				epoll_instance_ref(fd_ptr(d));
			atomic_store_explicit(&to->e[k].flags, atomic_load_explicit(&from->e[k].flags, memory_order_relaxed),
					      memory_order_relaxed);
			atomic_store_explicit(&to->e[k].gen, atomic_load_explicit(&from->e[k].gen, memory_order_relaxed),
					      memory_order_relaxed);
			atomic_store_explicit(&to->e[k].desc, d, memory_order_relaxed);
			crit_exit();
		}
		fd_unpin(self, 0);
	}
	return 0;
}

void fdtable_fork_parent_unlock(void)
{
	rlock_unlock(&park_lock);
	rlock_unlock(&chunk_lock);
}

/* The child notes its pid itself too; the parent's note is for a child that is killed before. A fork inside libc (system's own, daemon) leaves
 * the prepared record to the child alone. */
void fdtable_fork_result(uint32_t child_pid)
{
	struct proc_rec *p = proc_child;
	uint32_t expect = 0;

	if (!p)
		return;
	proc_child = NULL;
	if (child_pid) {
		atomic_compare_exchange_strong(&p->pid, &expect, child_pid);
		return;
	}
	gz_enter();
	if (posix_self()) {
		proc_drop_refs(p, posix_self());
		proc_free(&gz->procs, p);
	}
	gz_leave();
}

void fdtable_fork_child(void)
{
	rlock_init(&park_lock);
	rlock_init(&chunk_lock);
	if (!proc_self)
		return;
	for (unsigned i = 0; i < FD_DIR_LEN; i++) {
		uint32_t idx = proc_child ? atomic_load_explicit(&proc_child->chunk[i], memory_order_relaxed) : 0;

		atomic_store_explicit(&fd_dir[i], idx ? slab_at(&gz->fdchunks, idx - 1) : NULL, memory_order_relaxed);
	}
	proc_self = proc_child;
	proc_child = NULL;
	if (proc_self) {
		thread_making = &proc_self->making;
		atomic_store_explicit(&proc_self->pid, (uint32_t)sys_getpid(), memory_order_release);
		boot_client_alive(proc_self);
	}
}

uint32_t fdtable_proc(void)
{
	return proc_self && !stack_is_home() ? slab_index(&gz->procs, proc_self) + 1 : 0;
}

void fdtable_close_all(void)
{
	struct proc_rec *p = proc_self;
	struct thread_rec *self;

	if (!p || !gz)
		return;
	gz_enter();
	self = posix_self();
	if (self) {
		for (unsigned i = 0; i < FD_DIR_LEN; i++)
			atomic_store_explicit(&fd_dir[i], NULL, memory_order_relaxed);
		proc_self = NULL;
		/* The record stays until the home finds the process gone: its threads' are found by it. */
		proc_drop_refs(p, self);
	}
	gz_leave();
}

void fdtable_exit(void)
{
	if (gz && !stack_is_home())
		fdtable_close_all();
}

void fdtable_reap(uint32_t proc)
{
	struct thread_rec *self = posix_self();

	if (self)
		proc_drop_refs(slab_at(&gz->procs, proc), self);
}

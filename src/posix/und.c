/* und.c - records of undecided sockets; see und.h. Application threads, under one lock of the process. */
#include "posix/posix.h"

#include "posix/und.h"

#include <string.h>
#include <sys/mman.h>

struct und *und_table[FD_LIMIT];

/* Blocks of one size, from pages of our own. */
union block {
	union block *next;
	struct und u;
	struct und_opt o;
	struct und_reg r;
};

static union block *free_blocks;
static struct rlock lock;

void und_lock(void)
{
	rlock_lock(&lock, (uint32_t)sys_gettid());
}

void und_unlock(void)
{
	rlock_unlock(&lock);
}

void und_after_fork_child(void)
{
	rlock_init(&lock);
}

static void *block_get(void)
{
	const size_t bytes = 64 << 10;
	union block *b = free_blocks;

	if (!b) {
		long p = SYS(mmap, NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);

		if (p < 0)
			return NULL;
		b = (union block *)p;
		for (size_t i = 1; i < bytes / sizeof(*b); i++) {
			b[i].next = free_blocks;
			free_blocks = &b[i];
		}
	} else {
		free_blocks = b->next;
	}
	memset(b, 0, sizeof(*b));
	return b;
}

static void block_put(void *p)
{
	union block *b = p;

	b->next = free_blocks;
	free_blocks = b;
}

static int highest = -1;

static void set(int fd, struct und *u)
{
	if (fd > highest)
		__atomic_store_n(&highest, fd, __ATOMIC_RELAXED);
	__atomic_store_n(&und_table[fd], u, __ATOMIC_RELEASE);
}

struct und *und_create(int fd, int family, int type)
{
	struct und *u;

	if ((unsigned)fd >= (unsigned)FD_LIMIT)
		return NULL;
	if (und_table[fd])
		und_forget(fd); /* left from a close behind our back */
	u = block_get();
	if (!u)
		return NULL;
	u->family = family;
	u->type = type;
	u->nb_fds = 1;
	u->fds[0] = fd;
	u->opts_tail = &u->opts;
	set(fd, u);
	return u;
}

static void und_free(struct und *u)
{
	struct und_opt *o, *on;
	struct und_reg *r, *rn;

	for (o = u->opts; o; o = on) {
		on = o->next;
		block_put(o);
	}
	for (r = u->regs; r; r = rn) {
		rn = r->next;
		block_put(r);
	}
	block_put(u);
}

void und_decided(struct und *u)
{
	for (unsigned i = 0; i < u->nb_fds; i++)
		set(u->fds[i], NULL);
	und_free(u);
}

bool und_dup(int fd, int to)
{
	struct und *u = und_of(fd);

	if (!u || (unsigned)to >= (unsigned)FD_LIMIT)
		return true;
	if (und_table[to])
		und_forget(to);
	if (u->nb_fds == UND_FDS) {
		und_decided(u);
		return false;
	}
	u->fds[u->nb_fds++] = to;
	set(to, u);
	return true;
}

void und_forget(int fd)
{
	struct und *u = und_of(fd);

	if (!u)
		return;
	set(fd, NULL);
	for (unsigned i = 0; i < u->nb_fds; i++)
		if (u->fds[i] == fd) {
			u->fds[i] = u->fds[--u->nb_fds];
			break;
		}
	if (!u->nb_fds)
		und_free(u);
}

void und_on_close(int fd)
{
	if (likely(!und_of(fd)))
		return;
	gz_enter();
	und_lock();
	und_forget(fd);
	und_unlock();
	gz_leave();
}

void und_close_range(int first, int last)
{
	/* Records are few and their numbers low: nothing lies above the highest ever used. */
	last = MIN(last, __atomic_load_n(&highest, __ATOMIC_RELAXED));
	for (int fd = first; fd <= last; fd++)
		und_on_close(fd);
}

void und_log_opt(struct und *u, int level, int name, const void *val, socklen_t len)
{
	struct und_opt *o;

	if (len > UND_VAL_BYTES)
		return;
	/* The last value counts, but groups are joined one by one. */
	if (level != IPPROTO_IP && level != IPPROTO_IPV6)
		for (o = u->opts; o; o = o->next)
			if (o->level == level && o->name == name) {
				o->len = len;
				memcpy(o->val, val, len);
				return;
			}
	o = block_get();
	if (!o)
		return;
	o->level = level;
	o->name = name;
	o->len = len;
	if (len)
		memcpy(o->val, val, len);
	*u->opts_tail = o;
	u->opts_tail = &o->next;
}

void und_log_reg(struct und *u, int op, int epfd, int fd, const struct epoll_event *ev)
{
	struct und_reg **at = &u->regs, *r;

	while (*at && !((*at)->epfd == epfd && (*at)->fd == fd))
		at = &(*at)->next;
	r = *at;
	if (op == EPOLL_CTL_DEL) {
		if (r) {
			*at = r->next;
			block_put(r);
		}
		return;
	}
	if (!r) {
		r = block_get();
		if (!r)
			return;
		r->next = u->regs;
		u->regs = r;
		r->epfd = epfd;
		r->fd = fd;
	}
	r->ev = *ev;
}

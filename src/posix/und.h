/* und.h - sockets whose side is not decided yet.
 *
 * A socket that the program made but neither bound nor connected may still go to the kernel or to the stack. Until then it is a
 * *candidate*: before the stack starts a plain kernel socket, afterwards a stack socket over the inert number. What the program did to it in
 * the meantime (options, epoll registrations) is kept here, literally, and done again on the other side when the decision makes one
 * necessary. Bound to ANY it has both sides, and stays here until listen or connect. Datagram sockets stay for life: each connect
 * or datagram decides anew.
 *
 * Private to the process; memory of its own, since socket() may be called from a signal handler that interrupted malloc.
 */
#ifndef GZ_POSIX_UND_H
#define GZ_POSIX_UND_H

#include "posix/fdtable.h"

#include <sys/epoll.h>

#define UND_FDS 6
#define UND_VAL_BYTES 72

struct und_opt {
	struct und_opt *next;
	int level, name;
	socklen_t len;
	unsigned char val[UND_VAL_BYTES];
};

struct und_reg {
	struct und_reg *next;
	int epfd, fd;
	struct epoll_event ev;
};

struct und {
	int family, type; /* type without flags */
	bool v6only;
	bool bound_both;  /* bound to ANY on both sides */
	bool kern_bound;
	unsigned nb_fds;
	int fds[UND_FDS];  /* numbers that refer to the socket */
	struct und_opt *opts, **opts_tail;
	struct und_reg *regs;
};

extern struct und *und_table[FD_LIMIT];

/* The record of fd, or NULL: decided, or none of ours. A hint outside the lock. */
static force_inline struct und *und_of(int fd)
{
	return (unsigned)fd < (unsigned)FD_LIMIT ? __atomic_load_n(&und_table[fd], __ATOMIC_ACQUIRE) : NULL;
}

/* Guards all records; long enough for a decision (which may start the stack). Inside gz_enter(). */
void und_lock(void);
void und_unlock(void);
void und_after_fork_child(void);

/* All below: under the lock. */
struct und *und_create(int fd, int family, int type); /* NULL: no memory */
/* Another number for the same socket; false when there are too many (the record is dropped: the socket stays where it is). */
bool und_dup(int fd, int to);
/* The number no longer refers to the socket; with the last one the record goes. */
void und_forget(int fd);
/* Decided: the record goes, for all numbers. */
void und_decided(struct und *u);
void und_log_opt(struct und *u, int level, int name, const void *val, socklen_t len);
/* Notes epoll_ctl(epfd, op, fd, ev) that succeeded. */
void und_log_reg(struct und *u, int op, int epfd, int fd, const struct epoll_event *ev);

/* close() and friends of a number: cheap when there is no record. Outside the lock. */
void und_on_close(int fd);
void und_close_range(int first, int last);

#endif

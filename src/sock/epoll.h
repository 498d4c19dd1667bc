/* epoll.h - epoll instances, and the one mechanism by which anything waits for sockets.
 *
 * An `item` links a socket to a waiter: an epoll instance, or a thread in poll/select or a blocking call. The list of items on a socket
 * is walked and changed by the owner of the socket's stack only; everybody else leaves the item itself as a command (it is its own
 * node). Who adds an item evaluates readiness itself afterwards, so the asynchronous linking loses nothing: the linker
 * evaluates again.
 * An instance's ready list is: an inbox that stacks push items on (item->queued flips 0 -> 1 once), and a FIFO under ep->lock that
 * waiters drain. Readiness is recomputed when an item is looked at: a queued item is a hint, never a fact.
 */
#ifndef GZ_SOCK_EPOLL_H
#define GZ_SOCK_EPOLL_H

#include "sock/sock.h"

#include <sys/epoll.h>

struct epoll; /* an instance; in the shared region */
struct item;

/* Object sizes for the slabs that boot lays out. */
extern const uint32_t epoll_obj_bytes, epoll_chunk_bytes, item_obj_bytes;

/* --- for posix/epoll.c; ep pinned by the caller --- */
/* A new instance with one reference; NULL: out of memory. */
struct epoll *epoll_instance_create(struct thread_rec *self);
void epoll_instance_ref(struct epoll *ep);
void epoll_instance_unref(struct epoll *ep, struct thread_rec *self);
/* Stack sockets only; op EPOLL_CTL_*. 0, -EEXIST, -ENOENT, -EINVAL (EPOLLEXCLUSIVE rules), -ENOMEM, -ENOSPC. */
int epoll_instance_ctl(struct epoll *ep, int op, int fd, struct sock *s, const struct epoll_event *ev, struct thread_rec *self);
/* Kernel descriptors are kept by posix in a kernel epoll; kernel_epfd < 0: none registered (then no system call is made). Waits up
 * to timeout_us (UINT64_MAX: for ever; 0: poll). Returns events or -EINTR. */
int epoll_instance_wait(struct epoll *ep, struct epoll_event *out, int maxevents, uint64_t timeout_us, int kernel_epfd,
			struct thread_rec *self);
/* Anything ready now? (nested epoll, exposure) */
bool epoll_instance_ready(struct epoll *ep, struct thread_rec *self);
/* From now on keep event_fd (an eventfd) readable exactly while something is ready: the instance is seen by the kernel. */
void epoll_instance_expose(struct epoll *ep, int event_fd);

/* --- poll/select and blocking calls --- */
struct wait_sock {
	struct sock *s;
	uint32_t events;	/* wanted, EPOLL* bits */
	uint32_t revents;	/* out */
	struct item *item;	/* in use while waiting */
};
/* Waits until one of n sockets has a wanted event, a kernel descriptor in kernel_pfds is ready, deadline_us (clock_now_us; UINT64_MAX none)
 * passes, a signal was recorded for this thread, or (extra) `done(arg)`. Runs the stacks inline in run-to-completion, spins, then sleeps as watcher or
 * plain sleeper. > 0: something ready; 0: time over; -EINTR. */
struct pollfd;
int sock_wait(struct wait_sock *w, unsigned n, struct pollfd *kernel_pfds, unsigned nk, uint64_t deadline_us,
	      struct thread_rec *self);

/* --- the owner's side --- */
struct item *item_of_cmd(struct cmd *cmd);
void item_on_command(struct stack *st, struct item *it); /* CMD_ITEM: link, unlink, free */

#endif

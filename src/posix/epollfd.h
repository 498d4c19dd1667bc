/* epollfd.h - what socket.c and poll.c need of epoll.c. */
#ifndef GZ_POSIX_EPOLLFD_H
#define GZ_POSIX_EPOLLFD_H

#include "posix/fdtable.h"

#include <sys/epoll.h>

/* Registers, changes or removes a stack socket in the epoll descriptor epfd, which becomes an instance of ours if it was not.
 * 0 or -errno as epoll_ctl. Inside the library. */
int epollfd_ctl_stack(int epfd, int op, int fd, const struct epoll_event *ev, struct thread_rec *self);
/* A kernel descriptor was registered in epfd. */
void epollfd_note_kernel(int epfd);
/* The instance behind epfd is about to be watched by the kernel (poll, select, another epoll, a child): from now on the
 * descriptor itself is readable when a stack socket is ready. Harmless for others. Inside the library. */
void epollfd_expose(int epfd);
/* A number of an instance was closed or made elsewhere. */
void epollfd_on_close(int epfd);
/* The number is one that epoll_create() has just returned. */
void epollfd_on_create(int epfd);
void epollfd_on_dup(int epfd, int to);
/* Was it made by epoll_create()? */
bool epollfd_is(int epfd);
/* One more, one less number of this process refers to the instance. */
void epollfd_view_ref(struct epoll *ep);
void epollfd_view_unref(struct epoll *ep);
/* The program read, wrote or accepted: the exposed instances' descriptors are brought up to date. Pins slot 1. */
extern _Atomic uint32_t epollfd_exposed;
void epollfd_refresh_slow(struct thread_rec *self);
static force_inline void epollfd_refresh(struct thread_rec *self)
{
	if (unlikely(atomic_load_explicit(&epollfd_exposed, memory_order_relaxed)))
		epollfd_refresh_slow(self);
}
void epoll_after_fork_child(void);

#endif

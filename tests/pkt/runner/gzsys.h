/* gzsys.h - system calls on the stack in process, for the runner of packet scripts and for packetdrill's plug-in.
 *
 * A small descriptor table of its own over sock/: stream and datagram sockets, epoll instances, pipes. Every call is one attempt that never
 * sleeps: -EAGAIN, -EINPROGRESS or -EALREADY where a blocking call would wait; who calls decides whether to try again
 * (gzsys_blocks()). Results are >= 0 or -errno, otherwise as libc's. testenv must be open; one thread at a time.
 */
#ifndef GZ_PKT_GZSYS_H
#define GZ_PKT_GZSYS_H

#include "base/compiler.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define GZSYS_FDS 1024

/* first_fd: lowest number to give; alloc: where numbers come from (NULL: the lowest free one), given back by release. */
void gzsys_open(int first_fd, int (*alloc)(void), void (*release)(int fd));
/* Closes what is open. */
void gzsys_close_all(void);
bool gzsys_is_open(int fd);
struct sock *gzsys_sock(int fd);

int gzsys_socket(int domain, int type, int protocol);
int gzsys_bind(int fd, const struct sockaddr *sa, socklen_t len);
int gzsys_listen(int fd, int backlog);
int gzsys_accept(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int gzsys_connect(int fd, const struct sockaddr *sa, socklen_t len);
ssize_t gzsys_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t gzsys_sendmsg(int fd, const struct msghdr *msg, int flags);
int gzsys_fcntl(int fd, int cmd, long arg);
int gzsys_ioctl(int fd, unsigned long req, void *arg);
int gzsys_close(int fd);
int gzsys_shutdown(int fd, int how);
int gzsys_getsockopt(int fd, int level, int name, void *val, socklen_t *len);
int gzsys_setsockopt(int fd, int level, int name, const void *val, socklen_t len);
/* One look: how many are ready. */
int gzsys_poll(struct pollfd *p, nfds_t n);
int gzsys_epoll_create(int flags);
int gzsys_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
int gzsys_epoll_wait(int ep, struct epoll_event *ev, int max);
int gzsys_pipe(int fds[2], int flags);
ssize_t gzsys_splice(int in, int64_t *in_off, int out, int64_t *out_off, size_t n, unsigned flags);

/* May a call on fd that found nothing to do wait? deadline_us: out, when SO_RCVTIMEO or SO_SNDTIMEO ends it (UINT64_MAX: never), counted from
 * now_us. */
bool gzsys_blocks(int fd, bool sending, int flags, uint64_t now_us, uint64_t *deadline_us);

/* A blocking send that Fast Open sent along with the SYN waits for the handshake: is it still under way? more: the call has data
 * left for then. */
bool gzsys_is_opening(int fd, bool more);

/* So many bytes a blocking receive of n waits for: all with MSG_WAITALL, else SO_RCVLOWAT's. */
size_t gzsys_recv_target(int fd, int flags, size_t n);

/* --- what the kernel's sysctls are to the engine --- */
/* Sets name ("tcp_sack", without "net.ipv4.") to value. False: why says that there is no equivalent. A value that is what the
 * engine does anyway is no mistake even where it cannot be changed. */
bool gzsys_sysctl(const char *name, const char *value, char *why, size_t why_bytes);
/* The engine's own values again, for the next script. */
void gzsys_sysctls_reset(void);
/* Sets everything known from /proc/sys/net/ipv4 of this network namespace, what has no equivalent is left alone. */
void gzsys_sysctls_of_kernel(void);

#endif

/* sock_dgram.h - datagram halves of send and receive; called by sock_send.c and sock_recv.c only. */
#ifndef GZ_SOCK_SOCK_DGRAM_H
#define GZ_SOCK_SOCK_DGRAM_H

#include "sock/sock.h"

/* n: sum of the iov lengths. */
ssize_t dgram_recv(struct sock *s, struct msghdr *msg, size_t n, int flags, int kernel_fd, struct thread_rec *self);
ssize_t dgram_send(struct sock *s, const struct msghdr *msg, size_t n, int flags, struct thread_rec *self);
/* recvmsg(MSG_ERRQUEUE): the oldest entry of the error queue, or -EAGAIN. */
ssize_t dgram_recv_error(struct sock *s, struct msghdr *msg, size_t n, struct thread_rec *self);
/* Bytes of the first datagram that waits (FIONREAD). */
size_t dgram_first_bytes(struct sock *s, struct thread_rec *self);
/* Appends a control message to what msg has; room: of msg_control. MSG_CTRUNC if it does not fit. */
void sock_put_cmsg(struct msghdr *msg, size_t room, int level, int type, const void *data, size_t bytes);
/* Under rlock of s, with repair when its holder was killed. */
void sock_rlock(struct sock *s, struct thread_rec *self);

#endif

/* socket.h - what io.c and activate.c need of socket.c. */
#ifndef GZ_POSIX_SOCKET_H
#define GZ_POSIX_SOCKET_H

#include "posix/policy.h"

/* A datagram with an address (sa may be NULL: none) on fd, which is undecided: which side sends it, with that side made ready.
 * *err: -errno of making it ready. */
enum side socket_dgram_side(int fd, const struct sockaddr *sa, socklen_t len, int *err);

/* connect() in two parts, for undecided sockets: which side connects to the address, made ready (true: the kernel's); and it did, err as connect() returned. */
bool socket_connect_decide(int fd, const struct sockaddr *sa, socklen_t len, int *err);
void socket_connect_decided(int fd, int err);

/* Does the code address lie in DPDK or in this library? Their sockets are the kernel's. activate.c */
bool socket_caller_is_dpdk(const void *code);

#endif

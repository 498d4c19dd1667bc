/* policy.h - kernel or stack: the one function that decides (contract: "Which stack: one function, one table"). */
#ifndef GZ_POSIX_POLICY_H
#define GZ_POSIX_POLICY_H

#include "base/compiler.h"

#include <sys/socket.h>

enum side { SIDE_KERNEL, SIDE_STACK, SIDE_BOTH };

enum policy_event {
	POLICY_BIND,
	POLICY_CONNECT, /* and each datagram of an unconnected socket */
};

/* Which side serves the address. Malformed addresses: the kernel, which says what is wrong with them. v6only: IPV6_V6ONLY of the socket.
 * Any thread; no system call unless the kernel's addresses were not looked at for a millisecond. */
enum side policy_side(enum policy_event ev, int family, const struct sockaddr *sa, socklen_t len, bool v6only);

/* Is it an address of this host that no wire carries: 127.0.0.0/8, also as a mapped one, ::1? */
bool policy_is_loopback(const struct sockaddr *sa, socklen_t len);

/* May sockets made by the calling thread be stack sockets (GAZELLE_THREAD_NAME)? A system call only when that variable is set. */
bool policy_thread_selected(void);
/* NULL: all threads. Borrowed for ever. */
void policy_set_thread_name(const char *name);

/* For tests: the table alone. */
struct policy_net {
	uint32_t addr_be, mask_be;
};
struct policy_tables {
	uint32_t stack_addr_be, stack_mask_be, stack_gateway_be;
	const struct policy_net *kernel; /* addresses of the kernel's interfaces with their masks */
	unsigned nb_kernel;
};
enum side policy_side_ip4(enum policy_event ev, uint32_t addr_be, const struct policy_tables *t);

#endif

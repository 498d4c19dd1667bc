/* ports.h - the bind name space of all stacks: which socket holds which (protocol, address, port), and who listens.
 *
 * Lies in the shared region. Changes (bind, listen, close: rare) are made under one robust lock by any thread; look-ups by
 * stacks are lock-free: chains of type-stable sockets that are validated after the walk (runtime.md, "Memory").
 */
#ifndef GZ_SOCK_PORTS_H
#define GZ_SOCK_PORTS_H

#include "base/rlock.h"
#include "ip/addr.h"

struct sock;
struct ports;

enum port_proto { PORT_TCP, PORT_UDP };

struct ports *ports_create(void);

/* Binds s to (addr, port_be); port 0 picks a free ephemeral one (RFC 6056 §3.3.3, keyed) and writes it to *port_be.
 * Rules of SO_REUSEADDR and SO_REUSEPORT as Linux. avoid: called for a candidate port 0 pick, returns true if the port is
 * taken elsewhere (the kernel's side); may be NULL. 0, -EADDRINUSE, -EINVAL. */
int ports_bind(enum port_proto proto, struct sock *s, const struct ip_addr *addr, uint16_t *port_be,
	       bool (*avoid)(uint16_t port_be, void *arg), void *arg);
/* Releases s's binding. Harmless when unbound. */
void ports_unbind(enum port_proto proto, struct sock *s);
/* Makes a bound TCP socket visible to ports_listener(), or hides it again. -EADDRINUSE. */
int ports_listen(struct sock *s, bool on);
/* The listening socket for a connection to (dst, dport): an exact address before ANY; among SO_REUSEPORT ones by hash. NULL: none. Lock-free. */
struct sock *ports_listener(const struct ip_addr *dst, uint16_t dport_be, uint32_t hash);
/* The datagram socket for (src, sport) -> (dst, dport): connected before exact before ANY. Lock-free. NULL: none. */
struct sock *ports_udp(const struct ip_addr *dst, uint16_t dport_be, const struct ip_addr *src, uint16_t sport_be, uint32_t hash);
/* Every datagram socket on the port that wants a group or broadcast datagram, one per call; *iter starts NULL. */
struct sock *ports_udp_next(struct sock *iter, const struct ip_addr *dst, uint16_t dport_be, const struct ip_addr *src, uint16_t sport_be);
/* Picks a free ephemeral port for an outgoing connection to (raddr, rport): `ok` says whether the 4-tuple may be used (not
 * in use, lands at the wanted stack). Network order; 0: none free. */
uint16_t ports_ephemeral(const struct ip_addr *laddr, const struct ip_addr *raddr, uint16_t rport_be,
			 bool (*ok)(uint16_t lport_be, void *arg), void *arg);

/* A connection of s (its TIME_WAIT included) occupies lport_be: bind() to the port then needs SO_REUSEADDR or SO_REUSEPORT on both
 * sides, as on Linux. Returns what ports_conn_release() wants, never 0. Any stack's owner. */
uint8_t ports_conn_hold(const struct sock *s, uint16_t lport_be);
void ports_conn_release(uint16_t lport_be, uint8_t held);

#endif

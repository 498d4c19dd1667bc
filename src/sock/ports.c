/* ports.c - the bind name space: who holds which (protocol, address, port), who listens, which port a connection leaves from.
 * Called by sock/ (bind, listen, connect, close: any thread, any process) and by tcp and udp input (look-ups: owner of a stack).
 *
 * Each protocol has an array of 65,536 chain heads in the shared region (sparse: touched pages only). Chains are changed
 * under one robust lock by single pointer stores: a holder that dies leaves them whole, and at most a socket without an entry.
 * Look-ups take no lock. Sockets are type-stable, so a stale pointer can be followed; a walker reads a socket's key, its
 * link, and the key again: while the key is that of the chain the link is too (unbinding clears the key before the link
 * can change), else the walker starts again. What it returns may be closed in the same instant, as any socket may.
 *
 * Rules of sharing a port: Linux's (net/ipv4/inet_connection_sock.c, udp.c), by observation; tests/unit/sock_ports runs one table
 * on both.
 */
#include "sock/ports.h"
#include "base/siphash.h"
#include "sock/sock.h"

#define EPHEMERAL_FIRST 32768u /* Linux's default net.ipv4.ip_local_port_range */
#define EPHEMERAL_LAST 60999u
#define EPHEMERAL_COUNT (EPHEMERAL_LAST - EPHEMERAL_FIRST + 1)
#define EPHEMERAL_CLASSES 1024u
#define WALK_RETRIES 64

#define SHARE_KINDS 4u

/* s->bound_flags */
#define PORT_BOUND 0x01u
#define PORT_LISTENS 0x02u

struct ports {
	struct rlock lock;
	_Atomic uint32_t picks;				/* binds to port 0 so far */
	_Atomic uint32_t next[EPHEMERAL_CLASSES];	/* RFC 6056 §3.3.4: counter per class of destinations */
	struct sock *head[2][65536];			/* by port in host order; atomic access */
	/* connections by local port and by how their socket shared: bit 0 SO_REUSEADDR, bit 1 SO_REUSEPORT */
	_Atomic uint32_t conns[SHARE_KINDS][65536];
};

struct ports *ports_create(void)
{
	struct ports *p = region_carve(sizeof(struct ports), CACHE_LINE);

	if (p)
		rlock_init(&p->lock);
	return p;
}

static void ports_lock(struct ports *p)
{
	/* Taken over from a dead holder: nothing to repair, see the head. */
	(void)rlock_lock(&p->lock, (uint32_t)sys_gettid());
}

/* --- fields read by others while the lock holder writes --- */

static force_inline struct sock *link_load(struct sock *const *link)
{
	return __atomic_load_n(link, __ATOMIC_ACQUIRE);
}

static force_inline void link_store(struct sock **link, struct sock *s)
{
	__atomic_store_n(link, s, __ATOMIC_RELEASE);
}

static force_inline struct ip_addr addr_load(const struct ip_addr *a)
{
	return (struct ip_addr){ .d = { __atomic_load_n(&a->d[0], __ATOMIC_RELAXED),
					__atomic_load_n(&a->d[1], __ATOMIC_RELAXED) } };
}

static force_inline void addr_store(struct ip_addr *a, const struct ip_addr *v)
{
	__atomic_store_n(&a->d[0], v->d[0], __ATOMIC_RELAXED);
	__atomic_store_n(&a->d[1], v->d[1], __ATOMIC_RELAXED);
}

static force_inline bool key_is(const struct sock *s, enum port_proto proto, uint16_t port_be)
{
	return (__atomic_load_n(&s->bound_flags, __ATOMIC_ACQUIRE) & PORT_BOUND) &&
	       __atomic_load_n(&s->bound_port_be, __ATOMIC_RELAXED) == port_be &&
	       __atomic_load_n(&s->bound_proto, __ATOMIC_RELAXED) == (uint8_t)proto;
}

/* One step of a lock-free walk: the next socket in *next; false when s is no longer in the chain of (proto, port). */
static force_inline bool walk_step(struct sock *s, enum port_proto proto, uint16_t port_be, struct sock **next)
{
	if (unlikely(!key_is(s, proto, port_be)))
		return false;
	*next = link_load(&s->port_next);
	return likely(key_is(s, proto, port_be));
}

/* --- which addresses a socket stands for --- */

static bool covers_v4(const struct sock *s, const struct ip_addr *bound)
{
	/* :: without IPV6_V6ONLY serves IPv4 too (RFC 3493 §5.3) */
	return s->family == AF_INET || ip_addr_is_v4(bound) || (ip_addr_is_any(bound) && !s->opt.v6only);
}

static bool covers_v6(const struct sock *s, const struct ip_addr *bound)
{
	return s->family == AF_INET6 && !ip_addr_is_v4(bound);
}

static bool covers(const struct sock *s, const struct ip_addr *bound, const struct ip_addr *dst)
{
	if (ip_addr_is_any(bound))
		return ip_addr_is_v4(dst) ? covers_v4(s, bound) : covers_v6(s, bound);
	return ip_addr_eq(bound, dst);
}

/* Could one packet be for both? */
static bool overlap(const struct sock *x, const struct ip_addr *xa, const struct sock *y, const struct ip_addr *ya)
{
	bool any = ip_addr_is_any(xa) || ip_addr_is_any(ya);

	if (covers_v4(x, xa) && covers_v4(y, ya) && (any || ip_addr_eq(xa, ya)))
		return true;
	return covers_v6(x, xa) && covers_v6(y, ya) && (any || ip_addr_eq(xa, ya));
}

/* Linux's rule: both allow reuse (TCP: and the other does not listen), or both are of a SO_REUSEPORT group. */
static bool may_share(enum port_proto proto, const struct sock *s, const struct sock *other)
{
	if (s->opt.reuseaddr && other->opt.reuseaddr && (proto == PORT_UDP || !(other->bound_flags & PORT_LISTENS)))
		return true;
	return s->opt.reuseport && other->opt.reuseport;
}

static uint8_t share_kind(const struct sock *s)
{
	return (uint8_t)((s->opt.reuseaddr ? 1 : 0) | (s->opt.reuseport ? 2 : 0));
}

/* Do connections, alive or in TIME_WAIT, keep s from the port? */
static bool conns_conflict(const struct ports *p, const struct sock *s, const struct ip_addr *addr, uint16_t port_be, bool share)
{
	uint8_t mine = share ? share_kind(s) : 0;

	for (uint8_t kind = 0; kind < SHARE_KINDS; kind++) {
		if (!(kind & mine) && atomic_load_explicit(&p->conns[kind][ntohs(port_be)], memory_order_relaxed))
			return covers_v4(s, addr);
	}
	return false;
}

uint8_t ports_conn_hold(const struct sock *s, uint16_t lport_be)
{
	uint8_t kind = share_kind(s);

	atomic_fetch_add_explicit(&gz->ports->conns[kind][ntohs(lport_be)], 1, memory_order_relaxed);
	return (uint8_t)(kind + 1);
}

void ports_conn_release(uint16_t lport_be, uint8_t held)
{
	gz_assert(held && held <= SHARE_KINDS);
	atomic_fetch_sub_explicit(&gz->ports->conns[held - 1][ntohs(lport_be)], 1, memory_order_relaxed);
}

/* Lock held. share: sharing by option is considered. */
static bool conflicts(struct ports *p, enum port_proto proto, const struct sock *s, const struct ip_addr *addr, uint16_t port_be,
		      bool share)
{
	int32_t ifindex = atomic_load_explicit(&s->bound_ifindex, memory_order_relaxed);

	for (struct sock *o = p->head[proto][ntohs(port_be)]; o; o = o->port_next) {
		int32_t other_if = atomic_load_explicit(&o->bound_ifindex, memory_order_relaxed);

		if (o == s || (ifindex && other_if && ifindex != other_if))
			continue;
		if (overlap(s, addr, o, &o->bound_addr) && !(share && may_share(proto, s, o)))
			return true;
	}
	return false;
}

static void chain_insert(struct ports *p, enum port_proto proto, struct sock *s, const struct ip_addr *addr, uint16_t port_be)
{
	struct sock **head = &p->head[proto][ntohs(port_be)];

	addr_store(&s->bound_addr, addr);
	__atomic_store_n(&s->bound_port_be, port_be, __ATOMIC_RELAXED);
	__atomic_store_n(&s->bound_proto, (uint8_t)proto, __ATOMIC_RELAXED);
	/* newest first: of equals the last bound one gets unicast datagrams, as in Linux */
	link_store(&s->port_next, *head);
	__atomic_store_n(&s->bound_flags, PORT_BOUND, __ATOMIC_RELEASE);
	link_store(head, s);
}

int ports_bind(enum port_proto proto, struct sock *s, const struct ip_addr *addr, uint16_t *port_be,
	       bool (*avoid)(uint16_t port_be, void *arg), void *arg)
{
	struct ports *p = gz->ports;
	int err = -EADDRINUSE;

	ports_lock(p);
	if (s->bound_flags & PORT_BOUND) {
		err = -EINVAL;
	} else if (*port_be) {
		if (!conflicts(p, proto, s, addr, *port_be, true) &&
		    !(proto == PORT_TCP && conns_conflict(p, s, addr, *port_be, true))) {
			chain_insert(p, proto, s, addr, *port_be);
			err = 0;
		}
	} else {
		/* RFC 6056 §3.3.1 with a keyed start: the next number tells nothing about the last */
		uint32_t n = atomic_fetch_add_explicit(&p->picks, 1, memory_order_relaxed);
		uint32_t start = (uint32_t)(siphash24(gz->stacks[0].secret, &n, sizeof(n)) % EPHEMERAL_COUNT);

		for (uint32_t i = 0; i < EPHEMERAL_COUNT; i++) {
			uint16_t pick = htons((uint16_t)(EPHEMERAL_FIRST + (start + i) % EPHEMERAL_COUNT));

			if (conflicts(p, proto, s, addr, pick, false) ||
			    (proto == PORT_TCP && conns_conflict(p, s, addr, pick, false)) || (avoid && avoid(pick, arg)))
				continue;
			chain_insert(p, proto, s, addr, pick);
			*port_be = pick;
			err = 0;
			break;
		}
	}
	rlock_unlock(&p->lock);
	return err;
}

void ports_unbind(enum port_proto proto, struct sock *s)
{
	struct ports *p = gz->ports;
	struct sock **link;

	if (!(__atomic_load_n(&s->bound_flags, __ATOMIC_RELAXED) & PORT_BOUND))
		return;
	ports_lock(p);
	if (s->bound_flags & PORT_BOUND && s->bound_proto == (uint8_t)proto) {
		link = &p->head[proto][ntohs(s->bound_port_be)];
		while (*link && *link != s)
			link = &(*link)->port_next;
		if (*link)
			link_store(link, s->port_next);
		/* the key dies before the link may be reused; s->port_next itself stays for walkers that stand on s */
		__atomic_store_n(&s->bound_flags, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&s->bound_port_be, 0, __ATOMIC_RELEASE);
	}
	rlock_unlock(&p->lock);
}

int ports_listen(struct sock *s, bool on)
{
	struct ports *p = gz->ports;
	int err = 0;

	ports_lock(p);
	if (!(s->bound_flags & PORT_BOUND) || s->bound_proto != PORT_TCP) {
		err = on ? -EINVAL : 0;
	} else if (!on) {
		__atomic_store_n(&s->bound_flags, PORT_BOUND, __ATOMIC_RELEASE);
	} else if (conflicts(p, PORT_TCP, s, &s->bound_addr, s->bound_port_be, true)) {
		/* two bound with SO_REUSEADDR: the first to listen wins */
		err = -EADDRINUSE;
	} else {
		__atomic_store_n(&s->bound_flags, PORT_BOUND | PORT_LISTENS, __ATOMIC_RELEASE);
	}
	rlock_unlock(&p->lock);
	return err;
}

/* --- look-ups --- */

/* How well a socket fits, 0: not at all. Higher is more special. */
static force_inline unsigned fit(const struct sock *s, const struct ip_addr *dst)
{
	struct ip_addr bound = addr_load(&s->bound_addr);

	if (!covers(s, &bound, dst))
		return 0;
	return (ip_addr_is_any(&bound) ? 0 : 8) + (s->family == AF_INET ? 2 : 1);
}

static force_inline unsigned fit_udp(const struct sock *s, const struct ip_addr *dst, const struct ip_addr *src, uint16_t sport_be)
{
	unsigned f = fit(s, dst);

	if (f && (sock_status(s) & SOCK_CONNECTED)) {
		struct ip_addr peer = addr_load(&s->tcb.raddr);

		if (__atomic_load_n(&s->tcb.rport_be, __ATOMIC_RELAXED) != sport_be || !ip_addr_eq(&peer, src))
			return 0;
		f += 16;
	}
	return f;
}

/* The best fit of the chain; among equals of a SO_REUSEPORT group the hash decides (the same one for the same flow while the
 * group is the same). src NULL: listeners. */
static struct sock *ports_find(enum port_proto proto, const struct ip_addr *dst, uint16_t dport_be, const struct ip_addr *src,
			       uint16_t sport_be, uint32_t hash)
{
	struct sock *const *head = &gz->ports->head[proto][ntohs(dport_be)];

	for (unsigned tries = 0; tries < WALK_RETRIES; tries++) {
		struct sock *best = NULL, *s, *next;
		unsigned best_fit = 0, equals = 0, pick;
		bool whole = true;

		for (s = link_load(head); s; s = next) {
			unsigned f;

			if (!walk_step(s, proto, dport_be, &next)) {
				whole = false;
				break;
			}
			if (proto == PORT_TCP && !(__atomic_load_n(&s->bound_flags, __ATOMIC_RELAXED) & PORT_LISTENS))
				continue;
			f = src ? fit_udp(s, dst, src, sport_be) : fit(s, dst);
			if (f > best_fit) {
				best = s;
				best_fit = f;
				equals = 1;
			} else if (f && f == best_fit) {
				equals++;
			}
		}
		if (unlikely(!whole))
			continue;
		if (likely(equals <= 1 || !best->opt.reuseport || best_fit >= 16))
			return best;
		/* a multiply instead of a division: index in [0, equals) */
		pick = (unsigned)((uint64_t)hash * equals >> 32);
		for (s = link_load(head); s; s = next) {
			unsigned f;

			if (!walk_step(s, proto, dport_be, &next))
				break;
			if (proto == PORT_TCP && !(__atomic_load_n(&s->bound_flags, __ATOMIC_RELAXED) & PORT_LISTENS))
				continue;
			f = src ? fit_udp(s, dst, src, sport_be) : fit(s, dst);
			if (f == best_fit && pick-- == 0)
				return s;
		}
	}
	return NULL;
}

struct sock *ports_listener(const struct ip_addr *dst, uint16_t dport_be, uint32_t hash)
{
	return ports_find(PORT_TCP, dst, dport_be, NULL, 0, hash);
}

struct sock *ports_udp(const struct ip_addr *dst, uint16_t dport_be, const struct ip_addr *src, uint16_t sport_be, uint32_t hash)
{
	return ports_find(PORT_UDP, dst, dport_be, src, sport_be, hash);
}

struct sock *ports_udp_next(struct sock *iter, const struct ip_addr *dst, uint16_t dport_be, const struct ip_addr *src, uint16_t sport_be)
{
	struct sock *s, *next;

	if (!iter)
		s = link_load(&gz->ports->head[PORT_UDP][ntohs(dport_be)]);
	else if (!walk_step(iter, PORT_UDP, dport_be, &s))
		return NULL; /* the last one was unbound meanwhile: what is behind it is lost, as datagrams are */
	for (; s; s = next) {
		if (!walk_step(s, PORT_UDP, dport_be, &next))
			return NULL;
		if (fit_udp(s, dst, src, sport_be))
			return s;
	}
	return NULL;
}

/* RFC 6056 §3.3.4 (double hash): the offset is keyed by the two addresses and the remote port, the counter belongs to a class of
 * destinations, so that ports to one peer do not repeat soon and say nothing about those to another. */
uint16_t ports_ephemeral(const struct ip_addr *laddr, const struct ip_addr *raddr, uint16_t rport_be,
			 bool (*ok)(uint16_t lport_be, void *arg), void *arg)
{
	struct ports *p = gz->ports;
	struct {
		struct ip_addr laddr, raddr;
		uint64_t rport;
	} key = { *laddr, *raddr, rport_be };
	uint64_t h = siphash24(gz->stacks[0].secret, &key, sizeof(key));
	_Atomic uint32_t *counter = &p->next[h % EPHEMERAL_CLASSES];
	uint32_t offset = (uint32_t)(h >> 32);

	for (uint32_t i = 0; i < EPHEMERAL_COUNT; i++) {
		uint32_t n = atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
		uint16_t port = (uint16_t)(EPHEMERAL_FIRST + (offset + n) % EPHEMERAL_COUNT);

		/* a port that somebody bound on purpose is his */
		if (link_load(&p->head[PORT_TCP][port]))
			continue;
		if (ok(htons(port), arg))
			return htons(port);
	}
	return 0;
}

/* sock_opts.c - socket options as a table: level, name, where the value lives, its range, and functions for those that do more than
 * store. Called by posix/ (any thread) and, for what the engine reads, run on the owner (SOCK_OP_SETOPT, SOCK_OP_GETOPT). An option
 * that is not in the table returns ENOPROTOOPT. Lengths, ranges and results are Linux's. */
#include "base/clock.h"
#include "ip/ip4.h"
#include "sock/ports.h"
#include "sock/sock_dgram.h"
#include "sock/sock_int.h"
#include "tcp/cc.h"
#include "tcp/info.h"
#include "tcp/tcp.h"

#include <limits.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef SO_TIMESTAMPNS_NEW
#define SO_TIMESTAMPNS_NEW 64
#endif
#ifndef SO_TIMESTAMP_NEW
#define SO_TIMESTAMP_NEW 63
#endif
#ifndef SO_RCVTIMEO_NEW
#define SO_RCVTIMEO_NEW 66
#endif
#ifndef SO_SNDTIMEO_NEW
#define SO_SNDTIMEO_NEW 67
#endif

/* tcpi_state as the kernel numbers it */
#define LINUX_TCP_LISTEN 10
#define VALUE_MAX 256 /* longest value kept: a source list or an interface name */
#define TCP_FIN_TIMEOUT_MAX_S 120
#define MAX_MSS_WINDOW 32767
#define IF_NAME_BYTES 16
/* Linux's igmp_max_memberships and igmp_max_msf */
#define MEMBERSHIPS_MAX 20
#define SOURCES_MAX 10

enum opt_flags {
	OPT_STREAM = 1,	 /* only on stream sockets, else ENOPROTOOPT; those of level UDP on datagram sockets only */
	OPT_DGRAM = 2,	 /* only on datagram sockets, else `wrong` below: EINVAL */
	OPT_ENGINE = 4,	 /* the engine acts on it: tcp_on_option() after a change */
	OPT_BOOL = 8,	 /* any non-zero int is 1 */
	OPT_BYTE_OK = 16, /* a value of one byte is accepted (level IP) */
	OPT_READONLY = 32,
	OPT_ANYTIME = 64, /* set by the calling thread: an atomic field, or nothing the engine reads */
};

struct value {
	const void *p;
	socklen_t len;
	int i; /* the int in it, when len allows */
};

struct option {
	uint8_t level_index;
	uint8_t width; /* of the field in struct sock_opts: 0 none, 1, 2, 4 */
	uint16_t offset;
	int name;
	uint32_t flags;
	int64_t min, max;
	int (*set)(struct stack *st, struct sock *s, const struct value *v);
	/* Writes the value to out (VALUE_MAX bytes), returns its length or -errno. */
	int (*get)(struct stack *st, struct sock *s, char *out);
};

enum { L_SOCKET, L_IP, L_TCP, L_IPV6, L_UDP, L_COUNT };
static const int level_of[L_COUNT] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP, IPPROTO_IPV6, IPPROTO_UDP };

static int put_int(char *out, int v)
{
	memcpy(out, &v, sizeof(v));
	return sizeof(v);
}

/* --- SOL_SOCKET --- */

static int get_type(struct stack *st, struct sock *s, char *out) { return put_int(out, s->type); }
static int get_domain(struct stack *st, struct sock *s, char *out) { return put_int(out, s->family); }
static int get_protocol(struct stack *st, struct sock *s, char *out)
{
	return put_int(out, s->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
}
static int get_error(struct stack *st, struct sock *s, char *out) { return put_int(out, sock_take_error(s)); }
static int get_acceptconn(struct stack *st, struct sock *s, char *out)
{
	return put_int(out, (sock_status(s) & SOCK_LISTENING) != 0);
}
static int get_zero(struct stack *st, struct sock *s, char *out) { return put_int(out, 0); }
static int get_one(struct stack *st, struct sock *s, char *out) { return put_int(out, 1); }

/* SO_RCVBUF, SO_SNDBUF: bounded, then doubled, because the application means payload and the kernel counts buffers. */
static int set_rcvbuf(struct stack *st, struct sock *s, const struct value *v)
{
	uint32_t want = MIN((uint32_t)v->i, SOCK_RCVBUF_MAX / 2);

	atomic_store_explicit(&s->rcvbuf, MAX(want * 2, SOCK_RCVBUF_MIN), memory_order_relaxed);
	s->opt.rcvbuf_fixed = 1;
	return 0;
}
static int get_rcvbuf(struct stack *st, struct sock *s, char *out)
{
	return put_int(out, (int)atomic_load_explicit(&s->rcvbuf, memory_order_relaxed));
}
static int set_sndbuf(struct stack *st, struct sock *s, const struct value *v)
{
	uint32_t want = MIN((uint32_t)v->i, SOCK_SNDBUF_MAX / 2);

	atomic_store_explicit(&s->sndbuf, MAX(want * 2, SOCK_SNDBUF_MIN), memory_order_relaxed);
	s->opt.sndbuf_fixed = 1;
	/* More room now may be what a writer waits for. */
	if (atomic_load_explicit(&s->tx_nospace, memory_order_relaxed) && thread_self_tls)
		sock_post(s, SOCK_CMD_NOTIFY, thread_self_tls);
	return 0;
}
static int get_sndbuf(struct stack *st, struct sock *s, char *out)
{
	return put_int(out, (int)atomic_load_explicit(&s->sndbuf, memory_order_relaxed));
}

static int set_rcvlowat(struct stack *st, struct sock *s, const struct value *v)
{
	int want = v->i < 0 ? INT_MAX : v->i;

	want = want ? want : 1;
	if (s->type == SOCK_STREAM) { /* never more than the buffer can hold, else the socket would never be readable */
		uint32_t cap = atomic_load_explicit(&s->rcvbuf, memory_order_relaxed) / 2;

		if (s->opt.rcvbuf_fixed)
			want = (int)MIN((uint32_t)want, cap);
		else if ((uint32_t)want > cap)
			atomic_store_explicit(&s->rcvbuf, MIN((uint32_t)want, 3u << 20) * 2, memory_order_relaxed);
	}
	atomic_store_explicit(&s->rcvlowat, (uint32_t)want, memory_order_relaxed);
	if (thread_self_tls)
		sock_post(s, SOCK_CMD_NOTIFY, thread_self_tls);
	return 0;
}
static int get_rcvlowat(struct stack *st, struct sock *s, char *out)
{
	return put_int(out, (int)atomic_load_explicit(&s->rcvlowat, memory_order_relaxed));
}

static int set_linger(struct stack *st, struct sock *s, const struct value *v)
{
	struct linger l;

	if (v->len < sizeof(l))
		return -EINVAL;
	memcpy(&l, v->p, sizeof(l));
	s->opt.linger_on = l.l_onoff != 0;
	if (l.l_onoff)
		s->opt.linger_s = l.l_linger < 0 ? INT_MAX / 1000 : (uint32_t)l.l_linger;
	return 0;
}
static int get_linger(struct stack *st, struct sock *s, char *out)
{
	struct linger l = { .l_onoff = s->opt.linger_on, .l_linger = (int)s->opt.linger_s };

	memcpy(out, &l, sizeof(l));
	return sizeof(l);
}

static int set_timeo(_Atomic uint64_t *field, const struct value *v)
{
	struct timeval tv;
	uint64_t us;

	if (v->len < sizeof(tv))
		return -EINVAL;
	memcpy(&tv, v->p, sizeof(tv));
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	if (tv.tv_sec < 0)
		us = 1; /* Linux: a negative time has passed already */
	else if (tv.tv_sec > 100000000)
		us = 0;
	else
		us = (uint64_t)tv.tv_sec * 1000000u + (uint64_t)tv.tv_usec;
	atomic_store_explicit(field, us, memory_order_relaxed);
	return 0;
}
static int get_timeo(_Atomic uint64_t *field, char *out)
{
	uint64_t us = atomic_load_explicit(field, memory_order_relaxed);
	struct timeval tv = { .tv_sec = (time_t)(us / 1000000u), .tv_usec = (suseconds_t)(us % 1000000u) };

	memcpy(out, &tv, sizeof(tv));
	return sizeof(tv);
}
static int set_rcvtimeo(struct stack *st, struct sock *s, const struct value *v) { return set_timeo(&s->rcvtimeo_us, v); }
static int get_rcvtimeo(struct stack *st, struct sock *s, char *out) { return get_timeo(&s->rcvtimeo_us, out); }
static int set_sndtimeo(struct stack *st, struct sock *s, const struct value *v) { return set_timeo(&s->sndtimeo_us, v); }
static int get_sndtimeo(struct stack *st, struct sock *s, char *out) { return get_timeo(&s->sndtimeo_us, out); }

static int set_timestamp(struct stack *st, struct sock *s, const struct value *v)
{
	s->opt.timestamp = v->i ? 1 : 0;
	return 0;
}
static int get_timestamp(struct stack *st, struct sock *s, char *out) { return put_int(out, s->opt.timestamp == 1); }
static int set_timestampns(struct stack *st, struct sock *s, const struct value *v)
{
	s->opt.timestamp = v->i ? 2 : 0;
	return 0;
}
static int get_timestampns(struct stack *st, struct sock *s, char *out) { return put_int(out, s->opt.timestamp == 2); }

/* An interface's number or name by the kernel, on a socket of our own. -errno. */
static int kernel_ifreq(unsigned long req, struct ifreq *ifr)
{
	int fd = (int)SYS(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return fd;
	r = (int)SYS(ioctl, fd, req, ifr);
	sys_close(fd);
	return r;
}

static int set_bindtodevice(struct stack *st, struct sock *s, const struct value *v)
{
	struct ifreq ifr;
	size_t n = MIN((size_t)v->len, (size_t)IF_NAME_BYTES - 1);
	int err;

	memset(&ifr, 0, sizeof(ifr));
	if (n)
		memcpy(ifr.ifr_name, v->p, strnlen(v->p, n));
	if (!ifr.ifr_name[0]) {
		atomic_store_explicit(&s->bound_ifindex, 0, memory_order_relaxed);
		return 0;
	}
	err = kernel_ifreq(SIOCGIFINDEX, &ifr);
	if (err < 0)
		return -ENODEV;
	atomic_store_explicit(&s->bound_ifindex, ifr.ifr_ifindex, memory_order_relaxed);
	return 0;
}
static int get_bindtodevice(struct stack *st, struct sock *s, char *out)
{
	struct ifreq ifr = { .ifr_ifindex = atomic_load_explicit(&s->bound_ifindex, memory_order_relaxed) };

	if (!ifr.ifr_ifindex)
		return 0;
	if (kernel_ifreq(SIOCGIFNAME, &ifr) < 0)
		return -ENODEV;
	memcpy(out, ifr.ifr_name, IF_NAME_BYTES);
	return (int)strnlen(out, IF_NAME_BYTES - 1) + 1;
}

static int get_incoming_cpu(struct stack *st, struct sock *s, char *out) { return put_int(out, st->cpu); }

/* Linux's sk_meminfo, in bytes: what the buffers hold and may hold. What it keeps in hand, its backlog and its option memory have no counterpart. */
static int get_meminfo(struct stack *st, struct sock *s, char *out)
{
	uint32_t m[SK_MEMINFO_VARS] = { 0 };

	m[SK_MEMINFO_RMEM_ALLOC] = (uint32_t)MIN(sock_rx_bytes(s), UINT32_MAX);
	m[SK_MEMINFO_RCVBUF] = atomic_load_explicit(&s->rcvbuf, memory_order_relaxed);
	m[SK_MEMINFO_SNDBUF] = atomic_load_explicit(&s->sndbuf, memory_order_relaxed);
	m[SK_MEMINFO_WMEM_QUEUED] = (uint32_t)MIN(sock_tx_used(s), UINT32_MAX);
	memcpy(out, m, sizeof(m));
	return sizeof(m);
}

/* SO_MARK, SO_PRIORITY above 6, the larger buffers, IP_TRANSPARENT: privileged, judged by the effective user as a stand-in for CAP_NET_ADMIN. */
static bool privileged(void) { return SYS(geteuid) == 0; }

static int set_mark(struct stack *st, struct sock *s, const struct value *v)
{
	if (!privileged())
		return -EPERM;
	s->opt.mark = (uint32_t)v->i;
	return 0;
}
static int set_priority(struct stack *st, struct sock *s, const struct value *v)
{
	if ((v->i < 0 || v->i > 6) && !privileged())
		return -EPERM;
	s->opt.priority = (uint32_t)v->i;
	return 0;
}
static int set_rcvbufforce(struct stack *st, struct sock *s, const struct value *v)
{
	if (!privileged())
		return -EPERM;
	atomic_store_explicit(&s->rcvbuf, MAX((uint32_t)MIN(MAX(v->i, 0), INT_MAX / 2) * 2, SOCK_RCVBUF_MIN), memory_order_relaxed);
	s->opt.rcvbuf_fixed = 1;
	return 0;
}
static int set_sndbufforce(struct stack *st, struct sock *s, const struct value *v)
{
	if (!privileged())
		return -EPERM;
	atomic_store_explicit(&s->sndbuf, MAX((uint32_t)MIN(MAX(v->i, 0), INT_MAX / 2) * 2, SOCK_SNDBUF_MIN), memory_order_relaxed);
	s->opt.sndbuf_fixed = 1;
	return 0;
}

/* --- IPPROTO_IP --- */

static int set_tos(struct stack *st, struct sock *s, const struct value *v)
{
	uint8_t tos = (uint8_t)v->i;

	if (s->type == SOCK_STREAM) /* ECN's two bits belong to TCP */
		tos = (uint8_t)((tos & ~3u) | (s->opt.tos & 3u));
	s->opt.tos = tos;
	return 0;
}
static int set_ttl(struct stack *st, struct sock *s, const struct value *v)
{
	if (v->i != -1 && (v->i < 1 || v->i > 255))
		return -EINVAL;
	s->opt.ttl = v->i == -1 ? 64 : (uint8_t)v->i;
	return 0;
}
static int get_mtu(struct stack *st, struct sock *s, char *out)
{
	if (!(sock_status(s) & SOCK_CONNECTED))
		return -ENOTCONN;
	return put_int(out, (int)MIN(ip4_mtu(st, &s->tcb.route), ip4_dst_mtu(st, ip_addr_get_v4(&s->tcb.raddr))));
}
static int set_mc_ttl(struct stack *st, struct sock *s, const struct value *v)
{
	if (s->type == SOCK_STREAM || v->i < -1 || v->i > 255)
		return -EINVAL;
	s->opt.mc_ttl = v->i == -1 ? 1 : (uint8_t)v->i;
	return 0;
}
static int set_mc_if(struct stack *st, struct sock *s, const struct value *v)
{
	struct ip_mreqn m;

	if (s->type == SOCK_STREAM)
		return -EINVAL;
	memset(&m, 0, sizeof(m));
	if (v->len >= sizeof(struct ip_mreqn))
		memcpy(&m, v->p, sizeof(m));
	else if (v->len >= sizeof(struct ip_mreq))
		memcpy(&m, v->p, sizeof(struct ip_mreq));
	else if (v->len >= sizeof(struct in_addr))
		memcpy(&m.imr_address, v->p, sizeof(struct in_addr));
	else
		return -EINVAL;
	if (m.imr_ifindex && m.imr_ifindex != st->nd->kernel_ifindex)
		return -EADDRNOTAVAIL;
	if (m.imr_address.s_addr && m.imr_address.s_addr != st->ip4.addr_be)
		return -EADDRNOTAVAIL;
	s->opt.mc_if_be = m.imr_address.s_addr;
	return 0;
}
static int get_mc_if(struct stack *st, struct sock *s, char *out)
{
	memcpy(out, &s->opt.mc_if_be, sizeof(s->opt.mc_if_be));
	return sizeof(s->opt.mc_if_be);
}
static int set_transparent(struct stack *st, struct sock *s, const struct value *v)
{
	if (v->i && !privileged())
		return -EPERM;
	s->opt.transparent = v->i != 0;
	return 0;
}
/* IP_OPTIONS: none are ever sent. */
static int get_empty(struct stack *st, struct sock *s, char *out) { return 0; }

/* Group memberships of a socket: a list of small records. [stack] */
struct mcast {
	struct slab_hdr slab;
	struct mcast *next;
	uint32_t group_be;
	uint8_t exclude; /* sources are those not wanted; else those wanted */
	uint8_t nsrc;
	uint32_t src_be[SOURCES_MAX];
};
const uint32_t mcast_obj_bytes = sizeof(struct mcast);

static struct mcast **mcast_find(struct sock *s, uint32_t group_be)
{
	struct mcast **link = &s->mcast;

	while (*link && (*link)->group_be != group_be)
		link = &(*link)->next;
	return link;
}

static void mcast_remove(struct stack *st, struct sock *s, struct mcast **link)
{
	struct mcast *m = *link;

	(void)s;
	*link = m->next;
	(void)ip4_group_leave(st, m->group_be);
	slab_free(&gz->mcasts, m);
}

void sock_mcast_drop(struct sock *s)
{
	while (s->mcast)
		mcast_remove(sock_stack(s), s, &s->mcast);
}

bool sock_mcast_wants(const struct sock *s, uint32_t group_be, uint32_t src_be)
{
	const struct mcast *m = s->mcast;

	while (m && m->group_be != group_be)
		m = m->next;
	if (!m)
		return true; /* IP_MULTICAST_ALL, Linux's default: what the host joined */
	for (unsigned i = 0; i < m->nsrc; i++)
		if (m->src_be[i] == src_be)
			return !m->exclude;
	return m->exclude;
}

static int mcast_join(struct stack *st, struct sock *s, uint32_t group_be, bool exclude, struct mcast **out)
{
	struct mcast **link = mcast_find(s, group_be), *m;
	unsigned n = 0;
	int err;

	if (*link)
		return -EADDRINUSE;
	for (m = s->mcast; m; m = m->next)
		n++;
	if (n >= MEMBERSHIPS_MAX)
		return -ENOBUFS;
	m = slab_alloc(&gz->mcasts);
	if (!m)
		return -ENOBUFS;
	err = ip4_group_join(st, group_be);
	if (err) {
		slab_free(&gz->mcasts, m);
		return err;
	}
	m->group_be = group_be;
	m->exclude = exclude;
	m->nsrc = 0;
	m->next = NULL;
	*link = m;
	if (out)
		*out = m;
	return 0;
}

/* Adds or removes one source. `want_exclude`: the mode that the request belongs to (RFC 3678). */
static int mcast_source(struct stack *st, struct sock *s, uint32_t group_be, uint32_t src_be, bool add, bool want_exclude)
{
	struct mcast **link = mcast_find(s, group_be), *m = *link;
	unsigned i;
	int err;

	if (!m) {
		if (want_exclude || !add)
			return -EINVAL; /* all but the first wanted source need a membership */
		err = mcast_join(st, s, group_be, false, &m);
		if (err)
			return err;
	} else if (m->exclude != want_exclude) {
		if (m->nsrc)
			return -EINVAL;
		m->exclude = want_exclude;
	}
	for (i = 0; i < m->nsrc && m->src_be[i] != src_be; i++)
		;
	if (add) {
		if (i < m->nsrc)
			return -EADDRNOTAVAIL;
		if (m->nsrc == SOURCES_MAX)
			return -ENOBUFS;
		m->src_be[m->nsrc++] = src_be;
		return 0;
	}
	if (i == m->nsrc)
		return -EADDRNOTAVAIL;
	m->src_be[i] = m->src_be[--m->nsrc];
	if (!m->exclude && m->nsrc == 0)
		mcast_remove(st, s, mcast_find(s, group_be));
	return 0;
}

static int mcast_check_if(const struct stack *st, uint32_t if_be, int ifindex)
{
	if (ifindex && ifindex != st->nd->kernel_ifindex)
		return -ENODEV;
	if (if_be && if_be != st->ip4.addr_be)
		return -ENODEV;
	return 0;
}

static int set_membership(struct stack *st, struct sock *s, const struct value *v, bool join)
{
	struct ip_mreqn m;
	struct mcast **link;
	int err;

	if (s->type == SOCK_STREAM)
		return -EPROTO;
	if (v->len < sizeof(struct ip_mreq))
		return -EINVAL;
	memset(&m, 0, sizeof(m));
	memcpy(&m, v->p, MIN((size_t)v->len, sizeof(m)));
	if (!ip4_is_multicast(m.imr_multiaddr.s_addr))
		return -EINVAL;
	err = mcast_check_if(st, m.imr_address.s_addr, m.imr_ifindex);
	if (err)
		return err;
	if (join)
		return mcast_join(st, s, m.imr_multiaddr.s_addr, true, NULL);
	link = mcast_find(s, m.imr_multiaddr.s_addr);
	if (!*link)
		return -EADDRNOTAVAIL;
	mcast_remove(st, s, link);
	return 0;
}
static int set_add_membership(struct stack *st, struct sock *s, const struct value *v) { return set_membership(st, s, v, true); }
static int set_drop_membership(struct stack *st, struct sock *s, const struct value *v) { return set_membership(st, s, v, false); }

static int set_source(struct stack *st, struct sock *s, const struct value *v, bool add, bool exclude)
{
	struct ip_mreq_source m;
	int err;

	if (s->type == SOCK_STREAM)
		return -EPROTO;
	if (v->len < sizeof(m))
		return -EINVAL;
	memcpy(&m, v->p, sizeof(m));
	if (!ip4_is_multicast(m.imr_multiaddr.s_addr))
		return -EINVAL;
	err = mcast_check_if(st, m.imr_interface.s_addr, 0);
	return err ? err : mcast_source(st, s, m.imr_multiaddr.s_addr, m.imr_sourceaddr.s_addr, add, exclude);
}
static int set_add_source(struct stack *st, struct sock *s, const struct value *v) { return set_source(st, s, v, true, false); }
static int set_drop_source(struct stack *st, struct sock *s, const struct value *v) { return set_source(st, s, v, false, false); }
static int set_block_source(struct stack *st, struct sock *s, const struct value *v) { return set_source(st, s, v, true, true); }
static int set_unblock_source(struct stack *st, struct sock *s, const struct value *v) { return set_source(st, s, v, false, true); }

/* MCAST_JOIN_GROUP and kin: the same by sockaddr. */
static int group_addr(const struct sockaddr_storage *ss, uint32_t *addr_be)
{
	const struct sockaddr_in *in = (const void *)ss;

	if (ss->ss_family != AF_INET)
		return -EADDRNOTAVAIL;
	*addr_be = in->sin_addr.s_addr;
	return 0;
}
static int set_group(struct stack *st, struct sock *s, const struct value *v, bool join)
{
	struct group_req g;
	uint32_t group;
	int err;

	if (s->type == SOCK_STREAM)
		return -EPROTO;
	if (v->len < sizeof(g))
		return -EINVAL;
	memcpy(&g, v->p, sizeof(g));
	err = group_addr(&g.gr_group, &group);
	if (!err && !ip4_is_multicast(group))
		err = -EINVAL;
	if (!err)
		err = mcast_check_if(st, 0, (int)g.gr_interface);
	if (err)
		return err;
	if (join)
		return mcast_join(st, s, group, true, NULL);
	if (!*mcast_find(s, group))
		return -EADDRNOTAVAIL;
	mcast_remove(st, s, mcast_find(s, group));
	return 0;
}
static int set_join_group(struct stack *st, struct sock *s, const struct value *v) { return set_group(st, s, v, true); }
static int set_leave_group(struct stack *st, struct sock *s, const struct value *v) { return set_group(st, s, v, false); }

/* --- IPPROTO_TCP --- */

static int set_maxseg(struct stack *st, struct sock *s, const struct value *v)
{
	if (v->i && (v->i < 88 || v->i > MAX_MSS_WINDOW))
		return -EINVAL;
	s->opt.maxseg = (uint16_t)v->i;
	return 0;
}
static int get_maxseg(struct stack *st, struct sock *s, char *out)
{
	uint32_t status = sock_status(s);

	if (status & SOCK_CONNECTED && !(status & SOCK_DEAD))
		return put_int(out, s->tcb.mss);
	return put_int(out, s->opt.maxseg ? s->opt.maxseg : 536);
}
static int set_syncnt(struct stack *st, struct sock *s, const struct value *v)
{
	s->opt.syncnt = (uint8_t)v->i;
	return 0;
}
static int get_syncnt(struct stack *st, struct sock *s, char *out) { return put_int(out, s->opt.syncnt ? s->opt.syncnt : 6); }

static int set_linger2(struct stack *st, struct sock *s, const struct value *v)
{
	s->opt.linger2_s = v->i < 0 ? -1 : MIN(v->i, TCP_FIN_TIMEOUT_MAX_S);
	return 0;
}
static int get_linger2(struct stack *st, struct sock *s, char *out)
{
	return put_int(out, s->opt.linger2_s ? s->opt.linger2_s : 60);
}

/* Kept in seconds; Linux rounds up to the retransmission in which they end: 1, 3, 7, 15 ... */
/* The queue's length; before listen() or after, not on a connection. */
static int set_fastopen(struct stack *st, struct sock *s, const struct value *v)
{
	(void)st;
	if (v->i < 0 || sock_status(s) & (SOCK_CONNECTED | SOCK_CONNECTING | SOCK_DEAD))
		return -EINVAL;
	s->opt.fastopen_qlen = (uint16_t)MIN((uint32_t)v->i, SOCK_SOMAXCONN);
	return 0;
}
static int set_fastopen_key(struct stack *st, struct sock *s, const struct value *v) { return tcp_fastopen_set_keys(&s->tcb, v->p, v->len); }
static int get_fastopen_key(struct stack *st, struct sock *s, char *out) { return (int)tcp_fastopen_get_keys(st, &s->tcb, out); }
static int set_fastopen_connect(struct stack *st, struct sock *s, const struct value *v)
{
	(void)st;
	if (v->i < 0 || v->i > 1)
		return -EINVAL;
	if (!sock_may_fastopen(s))
		return -EOPNOTSUPP;
	if (sock_status(s) & (SOCK_CONNECTED | SOCK_CONNECTING | SOCK_LISTENING))
		return -EINVAL;
	s->opt.fastopen_connect = (uint8_t)v->i;
	return 0;
}
static int set_fastopen_no_cookie(struct stack *st, struct sock *s, const struct value *v)
{
	(void)st;
	if (v->i < 0 || v->i > 1 || sock_status(s) & (SOCK_CONNECTED | SOCK_CONNECTING))
		return -EINVAL;
	s->opt.fastopen_no_cookie = (uint8_t)v->i;
	return 0;
}
static int set_defer_accept(struct stack *st, struct sock *s, const struct value *v)
{
	int period = 1, step = 1;

	if (v->i <= 0) {
		s->opt.defer_accept = 0;
		return 0;
	}
	while (v->i > period && period < 255) {
		step *= 2;
		step = MIN(step, 120);
		period += step;
	}
	s->opt.defer_accept = (uint8_t)MIN(period, 255);
	return 0;
}
static int set_window_clamp(struct stack *st, struct sock *s, const struct value *v)
{
	if (v->i == 0) {
		if (sock_status(s) & (SOCK_CONNECTED | SOCK_CONNECTING | SOCK_LISTENING))
			return -EINVAL;
		s->opt.window_clamp = 0;
		return 0;
	}
	s->opt.window_clamp = (uint32_t)MAX(v->i, (int)SOCK_RCVBUF_MIN / 2);
	return 0;
}
/* 0: what the configuration says, as Linux takes its sysctl then; it is not shown */
static int set_notsent_lowat(struct stack *st, struct sock *s, const struct value *v)
{
	s->opt.notsent_set = v->i != 0;
	s->opt.notsent_lowat = v->i ? (uint32_t)v->i : gz->notsent_lowat;
	return 0;
}
static int get_notsent_lowat(struct stack *st, struct sock *s, char *out) { return put_int(out, s->opt.notsent_set ? (int)s->opt.notsent_lowat : 0); }
static int get_info(struct stack *st, struct sock *s, char *out)
{
	struct gz_tcp_info info;

	_Static_assert(sizeof(info) <= VALUE_MAX, "tcp_info fits");
	if (sock_status(s) & SOCK_LISTENING) {
		memset(&info, 0, sizeof(info));
		info.tcpi_state = LINUX_TCP_LISTEN;
		info.tcpi_pacing_rate = info.tcpi_max_pacing_rate = UINT64_MAX;
		info.tcpi_reordering = 3;
		info.tcpi_snd_cwnd = 10;
		info.tcpi_unacked = vcount_get(&s->acc_len, memory_order_relaxed);
		info.tcpi_sacked = atomic_load_explicit(&s->backlog, memory_order_relaxed);
	} else {
		tcp_get_info(st, &s->tcb, s, true, &info);
	}
	memcpy(out, &info, sizeof(info));
	return sizeof(info);
}
static int get_cc_info(struct stack *st, struct sock *s, char *out)
{
	_Static_assert(TCP_CC_INFO_MAX <= VALUE_MAX, "tcp_cc_info fits");
	return sock_status(s) & SOCK_LISTENING ? 0 : (int)tcp_get_cc_info(&s->tcb, out);
}
static int set_quickack(struct stack *st, struct sock *s, const struct value *v)
{
	/* Only bit 0 says on or off; even values above are "on, once" on Linux. */
	s->opt.quickack = v->i != 0;
	return 0;
}
static int get_quickack(struct stack *st, struct sock *s, char *out) { return put_int(out, s->opt.quickack || !s->tcb.pingpong); }

static int set_congestion(struct stack *st, struct sock *s, const struct value *v)
{
	char name[16];
	size_t n;

	if (v->len < 1)
		return -EINVAL;
	n = strnlen(v->p, MIN((size_t)v->len, sizeof(name) - 1));
	memset(name, 0, sizeof(name));
	memcpy(name, v->p, n);
	if (!name[0] || !tcp_cc_find(name))
		return -ENOENT;
	memcpy(s->opt.congestion, name, sizeof(name));
	return 0;
}
static int get_congestion(struct stack *st, struct sock *s, char *out)
{
	memset(out, 0, sizeof(s->opt.congestion));
	snprintf(out, sizeof(s->opt.congestion), "%s", s->opt.congestion[0] ? s->opt.congestion : tcp_cc_default_name(st));
	return sizeof(s->opt.congestion);
}

/* --- IPPROTO_IPV6 --- */

static int set_v6only(struct stack *st, struct sock *s, const struct value *v)
{
	if (s->bound_port_be)
		return -EINVAL;
	s->opt.v6only = v->i != 0;
	return 0;
}
static int set_hops(struct stack *st, struct sock *s, const struct value *v)
{
	if (v->i < -1 || v->i > 255)
		return -EINVAL;
	s->opt.ttl = v->i == -1 ? 64 : (uint8_t)MAX(v->i, 1);
	return 0;
}
static int set_tclass(struct stack *st, struct sock *s, const struct value *v)
{
	struct value w = *v;

	if (v->i < -1 || v->i > 255)
		return -EINVAL;
	w.i = v->i == -1 ? 0 : v->i;
	return set_tos(st, s, &w);
}
/* Without an IPv6 address there is no interface to join a group on. */
static int set_join6(struct stack *st, struct sock *s, const struct value *v)
{
	if (v->len < sizeof(struct ipv6_mreq))
		return -EINVAL;
	return s->type == SOCK_STREAM ? -EPROTO : -ENODEV;
}

/* Bytes per second; all ones in either width: no limit. As Linux, an int or a 64-bit value by the length given. */
static int set_max_pacing_rate(struct stack *st, struct sock *s, const struct value *v)
{
	uint64_t rate;

	if (v->len >= sizeof(rate))
		memcpy(&rate, v->p, sizeof(rate));
	else
		rate = v->i == -1 ? UINT64_MAX : (uint32_t)v->i;
	s->opt.max_pacing_rate = rate;
	return 0;
}
static int get_max_pacing_rate(struct stack *st, struct sock *s, char *out)
{
	memcpy(out, &s->opt.max_pacing_rate, sizeof(s->opt.max_pacing_rate));
	return sizeof(s->opt.max_pacing_rate);
}

/* --- the table --- */

#define FIELD(f) .offset = offsetof(struct sock_opts, f), .width = sizeof(((struct sock_opts *)0)->f)
#define FLAG(lvl, nm, f, fl) { .level_index = lvl, .name = nm, FIELD(f), .flags = OPT_BOOL | (fl), .min = INT_MIN, .max = INT_MAX }
#define RANGE(lvl, nm, f, lo, hi, fl) { .level_index = lvl, .name = nm, FIELD(f), .flags = (fl), .min = (lo), .max = (hi) }
#define FN(lvl, nm, st_, gt, fl) { .level_index = lvl, .name = nm, .set = st_, .get = gt, .flags = (fl), .min = INT_MIN, .max = INT_MAX }
#define FN_FIELD(lvl, nm, f, st_, fl) \
	{ .level_index = lvl, .name = nm, FIELD(f), .set = st_, .flags = (fl), .min = INT_MIN, .max = INT_MAX }
#define RO(lvl, nm, gt, fl) { .level_index = lvl, .name = nm, .get = gt, .flags = OPT_READONLY | OPT_ANYTIME | (fl) }

static const struct option options[] = {
	FLAG(L_SOCKET, SO_REUSEADDR, reuseaddr, OPT_ANYTIME),
	FLAG(L_SOCKET, SO_REUSEPORT, reuseport, OPT_ANYTIME),
	FN(L_SOCKET, SO_MAX_PACING_RATE, set_max_pacing_rate, get_max_pacing_rate, OPT_ENGINE),
	RO(L_SOCKET, SO_TYPE, get_type, 0),
	RO(L_SOCKET, SO_DOMAIN, get_domain, 0),
	RO(L_SOCKET, SO_PROTOCOL, get_protocol, 0),
	RO(L_SOCKET, SO_ERROR, get_error, 0),
	RO(L_SOCKET, SO_ACCEPTCONN, get_acceptconn, 0),
	RO(L_SOCKET, SO_SNDLOWAT, get_one, 0),
	FLAG(L_SOCKET, SO_BROADCAST, broadcast, OPT_ANYTIME),
	FLAG(L_SOCKET, SO_KEEPALIVE, keepalive, OPT_ENGINE),
	FLAG(L_SOCKET, SO_OOBINLINE, oobinline, OPT_ANYTIME),
	FLAG(L_SOCKET, SO_NO_CHECK, no_check, OPT_ANYTIME),
	FN(L_SOCKET, SO_LINGER, set_linger, get_linger, OPT_ANYTIME),
	FN(L_SOCKET, SO_RCVBUF, set_rcvbuf, get_rcvbuf, OPT_ANYTIME),
	FN(L_SOCKET, SO_SNDBUF, set_sndbuf, get_sndbuf, OPT_ANYTIME),
	FN(L_SOCKET, SO_RCVBUFFORCE, set_rcvbufforce, get_rcvbuf, OPT_ANYTIME),
	FN(L_SOCKET, SO_SNDBUFFORCE, set_sndbufforce, get_sndbuf, OPT_ANYTIME),
	FN(L_SOCKET, SO_RCVLOWAT, set_rcvlowat, get_rcvlowat, OPT_ANYTIME),
	FN(L_SOCKET, SO_RCVTIMEO, set_rcvtimeo, get_rcvtimeo, OPT_ANYTIME),
	FN(L_SOCKET, SO_SNDTIMEO, set_sndtimeo, get_sndtimeo, OPT_ANYTIME),
	FN(L_SOCKET, SO_RCVTIMEO_NEW, set_rcvtimeo, get_rcvtimeo, OPT_ANYTIME),
	FN(L_SOCKET, SO_SNDTIMEO_NEW, set_sndtimeo, get_sndtimeo, OPT_ANYTIME),
	FN(L_SOCKET, SO_BINDTODEVICE, set_bindtodevice, get_bindtodevice, OPT_ANYTIME),
	FN(L_SOCKET, SO_TIMESTAMP, set_timestamp, get_timestamp, OPT_ANYTIME),
	FN(L_SOCKET, SO_TIMESTAMPNS, set_timestampns, get_timestampns, OPT_ANYTIME),
	FN(L_SOCKET, SO_TIMESTAMP_NEW, set_timestamp, get_timestamp, OPT_ANYTIME),
	FN(L_SOCKET, SO_TIMESTAMPNS_NEW, set_timestampns, get_timestampns, OPT_ANYTIME),
	RO(L_SOCKET, SO_INCOMING_CPU, get_incoming_cpu, 0),
	RO(L_SOCKET, SO_INCOMING_NAPI_ID, get_zero, 0),
	RO(L_SOCKET, SO_MEMINFO, get_meminfo, 0),
	RANGE(L_SOCKET, SO_BUSY_POLL, busy_poll, 0, INT_MAX, OPT_ANYTIME),
	FN_FIELD(L_SOCKET, SO_PRIORITY, priority, set_priority, OPT_ANYTIME),
	FN_FIELD(L_SOCKET, SO_MARK, mark, set_mark, OPT_ANYTIME),

	FN_FIELD(L_IP, IP_TOS, tos, set_tos, OPT_BYTE_OK),
	FN_FIELD(L_IP, IP_TTL, ttl, set_ttl, OPT_BYTE_OK),
	FLAG(L_IP, IP_PKTINFO, pktinfo, OPT_BYTE_OK | OPT_ANYTIME),
	FLAG(L_IP, IP_RECVTTL, recvttl, OPT_BYTE_OK | OPT_ANYTIME),
	FLAG(L_IP, IP_RECVTOS, recvtos, OPT_BYTE_OK | OPT_ANYTIME),
	RO(L_IP, IP_MTU, get_mtu, 0),
	RANGE(L_IP, IP_MTU_DISCOVER, mtu_discover, IP_PMTUDISC_DONT, IP_PMTUDISC_OMIT, OPT_BYTE_OK | OPT_ENGINE),
	FLAG(L_IP, IP_RECVERR, recverr, OPT_BYTE_OK | OPT_ANYTIME),
	FN_FIELD(L_IP, IP_MULTICAST_TTL, mc_ttl, set_mc_ttl, OPT_BYTE_OK),
	FLAG(L_IP, IP_MULTICAST_LOOP, mc_loop, OPT_BYTE_OK),
	FN(L_IP, IP_MULTICAST_IF, set_mc_if, get_mc_if, 0),
	FN(L_IP, IP_ADD_MEMBERSHIP, set_add_membership, NULL, 0),
	FN(L_IP, IP_DROP_MEMBERSHIP, set_drop_membership, NULL, 0),
	FN(L_IP, IP_ADD_SOURCE_MEMBERSHIP, set_add_source, NULL, 0),
	FN(L_IP, IP_DROP_SOURCE_MEMBERSHIP, set_drop_source, NULL, 0),
	FN(L_IP, IP_BLOCK_SOURCE, set_block_source, NULL, 0),
	FN(L_IP, IP_UNBLOCK_SOURCE, set_unblock_source, NULL, 0),
	FN(L_IP, MCAST_JOIN_GROUP, set_join_group, NULL, 0),
	FN(L_IP, MCAST_LEAVE_GROUP, set_leave_group, NULL, 0),
	FLAG(L_IP, IP_FREEBIND, freebind, OPT_BYTE_OK | OPT_ANYTIME),
	FN_FIELD(L_IP, IP_TRANSPARENT, transparent, set_transparent, OPT_BYTE_OK | OPT_ANYTIME),
	FLAG(L_IP, IP_BIND_ADDRESS_NO_PORT, bind_no_port, OPT_BYTE_OK | OPT_ANYTIME),
	RO(L_IP, IP_OPTIONS, get_empty, 0),

	FLAG(L_TCP, TCP_NODELAY, nodelay, OPT_STREAM | OPT_ENGINE),
	FLAG(L_TCP, TCP_CORK, cork, OPT_STREAM | OPT_ENGINE),
	FN(L_TCP, TCP_MAXSEG, set_maxseg, get_maxseg, OPT_STREAM | OPT_ENGINE),
	RANGE(L_TCP, TCP_KEEPIDLE, keep_idle_s, 1, 32767, OPT_STREAM | OPT_ENGINE),
	RANGE(L_TCP, TCP_KEEPINTVL, keep_intvl_s, 1, 32767, OPT_STREAM | OPT_ENGINE),
	RANGE(L_TCP, TCP_KEEPCNT, keep_cnt, 1, 127, OPT_STREAM | OPT_ENGINE),
	{ .level_index = L_TCP, .name = TCP_SYNCNT, .set = set_syncnt, .get = get_syncnt, .flags = OPT_STREAM | OPT_ENGINE, .min = 1,
	  .max = 127 },
	FN(L_TCP, TCP_LINGER2, set_linger2, get_linger2, OPT_STREAM | OPT_ENGINE),
	FN_FIELD(L_TCP, TCP_FASTOPEN, fastopen_qlen, set_fastopen, OPT_STREAM),
	FN(L_TCP, TCP_FASTOPEN_KEY, set_fastopen_key, get_fastopen_key, OPT_STREAM),
	FN_FIELD(L_TCP, TCP_FASTOPEN_CONNECT, fastopen_connect, set_fastopen_connect, OPT_STREAM),
	FN_FIELD(L_TCP, TCP_FASTOPEN_NO_COOKIE, fastopen_no_cookie, set_fastopen_no_cookie, OPT_STREAM),
	FN_FIELD(L_TCP, TCP_DEFER_ACCEPT, defer_accept, set_defer_accept, OPT_STREAM),
	FN_FIELD(L_TCP, TCP_WINDOW_CLAMP, window_clamp, set_window_clamp, OPT_STREAM | OPT_ENGINE),
	{ .level_index = L_TCP, .name = TCP_INFO, .get = get_info, .flags = OPT_STREAM | OPT_READONLY },
	{ .level_index = L_TCP, .name = TCP_CC_INFO, .get = get_cc_info, .flags = OPT_STREAM | OPT_READONLY },
	FN(L_TCP, TCP_QUICKACK, set_quickack, get_quickack, OPT_STREAM | OPT_ENGINE),
	FN(L_TCP, TCP_CONGESTION, set_congestion, get_congestion, OPT_STREAM | OPT_ENGINE),
	RANGE(L_TCP, TCP_USER_TIMEOUT, user_timeout_ms, 0, INT_MAX, OPT_STREAM | OPT_ENGINE),
	{ .level_index = L_TCP, .name = TCP_INQ, FIELD(inq), .flags = OPT_STREAM, .min = 0, .max = 1 },
	FN(L_TCP, TCP_NOTSENT_LOWAT, set_notsent_lowat, get_notsent_lowat, OPT_STREAM | OPT_ENGINE),

	RANGE(L_UDP, UDP_SEGMENT, udp_segment, 0, UINT16_MAX, OPT_ANYTIME),
	FLAG(L_UDP, UDP_GRO, udp_gro, OPT_ANYTIME),

	FN_FIELD(L_IPV6, IPV6_V6ONLY, v6only, set_v6only, OPT_ANYTIME),
	FN_FIELD(L_IPV6, IPV6_UNICAST_HOPS, ttl, set_hops, 0),
	FN_FIELD(L_IPV6, IPV6_MULTICAST_HOPS, mc_ttl, set_mc_ttl, 0),
	FLAG(L_IPV6, IPV6_MULTICAST_LOOP, mc_loop, 0),
	FN(L_IPV6, IPV6_JOIN_GROUP, set_join6, NULL, 0),
	FN(L_IPV6, IPV6_LEAVE_GROUP, set_join6, NULL, 0),
	FLAG(L_IPV6, IPV6_RECVPKTINFO, pktinfo, OPT_ANYTIME),
	FN_FIELD(L_IPV6, IPV6_TCLASS, tos, set_tclass, 0),
	RANGE(L_IPV6, IPV6_MTU_DISCOVER, mtu_discover, IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_OMIT, OPT_ENGINE),
	FLAG(L_IPV6, IPV6_RECVERR, recverr, OPT_ANYTIME),
};

static const struct option *option_find(const struct sock *s, int level, int name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];

		if (o->name != name || level_of[o->level_index] != level)
			continue;
		if (o->flags & OPT_STREAM && s->type != SOCK_STREAM)
			return NULL;
		if (o->level_index == L_IPV6 && s->family != AF_INET6)
			return NULL;
		if (o->level_index == L_UDP && s->type != SOCK_DGRAM)
			return NULL;
		return o;
	}
	return NULL;
}

static void field_store(struct sock *s, const struct option *o, int64_t v)
{
	char *p = (char *)&s->opt + o->offset;

	if (o->width == 1)
		*(uint8_t *)p = (uint8_t)v;
	else if (o->width == 2)
		*(uint16_t *)(void *)p = (uint16_t)v;
	else
		*(uint32_t *)(void *)p = (uint32_t)v;
}

static int field_load(const struct sock *s, const struct option *o)
{
	const char *p = (const char *)&s->opt + o->offset;

	if (o->width == 1)
		return *(const uint8_t *)p;
	if (o->width == 2)
		return *(const uint16_t *)(const void *)p;
	return (int)*(const uint32_t *)(const void *)p;
}

static bool takes_int(const struct option *o)
{
	/* those whose value is a structure or a string look at the bytes themselves */
	return o->width != 0 || (o->min != INT_MIN && o->set) || o->set == set_rcvbuf || o->set == set_sndbuf ||
	       o->set == set_rcvbufforce || o->set == set_sndbufforce || o->set == set_rcvlowat || o->set == set_timestamp ||
	       o->set == set_timestampns || o->set == set_maxseg || o->set == set_linger2 || o->set == set_quickack ||
	       o->set == set_max_pacing_rate || o->set == set_notsent_lowat;
}

/* On the owner, or by the calling thread while the engine does not know the socket. */
static int option_set(struct stack *st, struct sock *s, const struct option *o, const struct value *v)
{
	int err = 0;

	if (o->set)
		err = o->set(st, s, v);
	else
		field_store(s, o, o->flags & OPT_BOOL ? v->i != 0 : v->i);
	if (!err && o->flags & OPT_ENGINE && s->type == SOCK_STREAM &&
	    !atomic_load_explicit(&s->engine_done, memory_order_relaxed))
		tcp_on_option(st, &s->tcb, o->name);
	return err;
}

struct setopt_args { /* in stack_call.buf */
	uint32_t index;
	socklen_t len;
	int i;
	char value[VALUE_MAX];
};

static int setopt(struct sock *s, int level, int name, const void *val, socklen_t len, struct thread_rec *self)
{
	const struct option *o = option_find(s, level, name);
	struct value v = { .p = val, .len = len };
	struct setopt_args *a = (void *)self->call.buf;

	_Static_assert(sizeof(struct setopt_args) <= sizeof(((struct stack_call *)0)->buf), "arguments fit the call");
	if ((int)len < 0)
		return -EINVAL;
	if (!o || (o->flags & OPT_READONLY) || (!o->set && !o->width))
		return -ENOPROTOOPT;
	if (!val && len)
		return -EFAULT;
	if (takes_int(o)) {
		if (len >= sizeof(int))
			memcpy(&v.i, val, sizeof(int));
		else if (o->flags & OPT_BYTE_OK && len >= 1)
			v.i = *(const unsigned char *)val;
		else
			return -EINVAL;
		if (v.i < o->min || v.i > o->max)
			return -EINVAL;
	} else if (len > VALUE_MAX) {
		v.len = VALUE_MAX;
	}
	if (o->flags & OPT_ANYTIME || (s->type == SOCK_STREAM && atomic_load_explicit(&s->engine_done, memory_order_acquire) &&
				       !(sock_status(s) & SOCK_LISTENING)))
		return option_set(sock_stack(s), s, o, &v);
	a->index = (uint32_t)(o - options);
	a->len = v.len;
	a->i = v.i;
	memcpy(a->value, val, MIN((size_t)v.len, sizeof(a->value)));
	return (int)stack_call(sock_stack(s), SOCK_OP_SETOPT, s, self);
}

/* MCAST_JOIN_SOURCE_GROUP and kin carry the same by sockaddr, in more bytes than a call has room for: into the form of their older
 * brothers. 0 or -errno. */
cold_path static int source_req(const struct sock *s, int *name, const void *val, socklen_t len, struct ip_mreq_source *m)
{
	static const struct {
		int from, to;
	} as[] = { { MCAST_JOIN_SOURCE_GROUP, IP_ADD_SOURCE_MEMBERSHIP }, { MCAST_LEAVE_SOURCE_GROUP, IP_DROP_SOURCE_MEMBERSHIP },
		   { MCAST_BLOCK_SOURCE, IP_BLOCK_SOURCE },		  { MCAST_UNBLOCK_SOURCE, IP_UNBLOCK_SOURCE } };
	struct group_source_req g;
	int err;

	if (len < sizeof(g))
		return -EINVAL;
	memcpy(&g, val, sizeof(g));
	memset(m, 0, sizeof(*m));
	err = group_addr(&g.gsr_group, &m->imr_multiaddr.s_addr);
	if (!err)
		err = group_addr(&g.gsr_source, &m->imr_sourceaddr.s_addr);
	if (!err)
		err = mcast_check_if(sock_stack(s), 0, (int)g.gsr_interface);
	for (unsigned i = 0; !err && i < ARRAY_SIZE(as); i++) {
		if (*name == as[i].from) {
			*name = as[i].to;
			break;
		}
	}
	return err;
}

int sock_setopt(struct sock *s, int level, int name, const void *val, socklen_t len, struct thread_rec *self)
{
	struct ip_mreq_source by_addr;

	if (unlikely(level == IPPROTO_IP && name >= MCAST_BLOCK_SOURCE && name <= MCAST_LEAVE_SOURCE_GROUP && name != MCAST_LEAVE_GROUP)) {
		int err = s->type == SOCK_STREAM ? -EPROTO : val ? source_req(s, &name, val, len, &by_addr) : -EFAULT;

		return err ? err : sock_setopt(s, level, name, &by_addr, sizeof(by_addr), self);
	}
	return setopt(s, level, name, val, len, self);
}

struct getopt_args { /* in stack_call.buf */
	uint32_t index;
	char value[VALUE_MAX];
};

int64_t sock_opt_call(struct stack *st, struct stack_call *call)
{
	if (call->op == SOCK_OP_SETOPT) {
		const struct setopt_args *a = (const void *)call->buf;
		struct value v = { .p = a->value, .len = a->len, .i = a->i };

		return option_set(st, call->s, &options[a->index], &v);
	} else {
		struct getopt_args *a = (void *)call->buf;

		return options[a->index].get(st, call->s, a->value);
	}
}

int sock_getopt(struct sock *s, int level, int name, void *val, socklen_t *len, struct thread_rec *self)
{
	const struct option *o = option_find(s, level, name);
	struct getopt_args *a = (void *)self->call.buf;
	char local[VALUE_MAX], *value = local;
	int n;

	if ((int)*len < 0)
		return -EINVAL;
	if (!o || (!o->get && !o->width))
		return -ENOPROTOOPT;
	if (!o->get) {
		n = put_int(value, field_load(s, o));
	} else if ((o->get == get_info || o->get == get_cc_info) && !(sock_status(s) & SOCK_LISTENING)) {
		a->index = (uint32_t)(o - options);
		value = a->value;
		n = (int)stack_call(sock_stack(s), SOCK_OP_GETOPT, s, self);
	} else {
		n = o->get(sock_stack(s), s, value);
	}
	if (n < 0)
		return n;
	/* level IP: an int that fits one byte may be read as one */
	if (level == IPPROTO_IP && n == sizeof(int) && *len > 0 && *len < sizeof(int)) {
		int i;

		memcpy(&i, value, sizeof(i));
		if (i >= 0 && i <= 255) {
			*(unsigned char *)val = (unsigned char)i;
			*len = 1;
			return 0;
		}
	}
	if (o->get == get_max_pacing_rate && *len < sizeof(uint64_t)) {
		uint64_t rate;

		memcpy(&rate, value, sizeof(rate));
		n = put_int(value, (int)(uint32_t)MIN(rate, UINT32_MAX));
	}
	if (o->get == get_bindtodevice && n && *len < (socklen_t)n)
		return -EINVAL;
	*len = MIN(*len, (socklen_t)n);
	memcpy(val, value, *len);
	return 0;
}

int sock_ioctl(struct sock *s, unsigned long req, void *arg, struct thread_rec *self)
{
	int v;

	switch (req) {
	case FIONREAD: /* SIOCINQ */
		if (s->type != SOCK_STREAM) {
			v = (int)dgram_first_bytes(s, self);
			break;
		}
		if (sock_status(s) & SOCK_LISTENING)
			return -EINVAL;
		v = (int)MIN(sock_rx_bytes(s), (uint64_t)INT_MAX);
		break;
	case SIOCOUTQ:
		if (sock_status(s) & SOCK_LISTENING)
			return -EINVAL;
		v = (int)sock_tx_used(s);
		break;
	case SIOCOUTQNSD: {
		uint32_t unsent;

		if (s->type != SOCK_STREAM)
			return -ENOTTY;
		if (sock_status(s) & SOCK_LISTENING)
			return -EINVAL;
		unsent = s->tcb.snd_end - s->tcb.snd_nxt; /* a racing look: the engine may be sending */
		v = (int)MIN((uint64_t)unsent, sock_tx_used(s));
		break;
	}
	case SIOCATMARK: {
		uint64_t at = atomic_load_explicit(&s->rx_urg_at, memory_order_relaxed);

		if (s->type != SOCK_STREAM)
			return -ENOTTY;
		v = (sock_status(s) & SOCK_URGENT || atomic_load_explicit(&s->rx_urg_read, memory_order_relaxed)) &&
		    at == atomic_load_explicit(&s->rx_read, memory_order_relaxed);
		break;
	}
	case FIONBIO:
		memcpy(&v, arg, sizeof(v));
		if (v)
			atomic_fetch_or_explicit(&s->fl_flags, 00004000u, memory_order_relaxed);
		else
			atomic_fetch_and_explicit(&s->fl_flags, ~00004000u, memory_order_relaxed);
		return 0;
	default:
		return -ENOTTY;
	}
	memcpy(arg, &v, sizeof(v));
	return 0;
}

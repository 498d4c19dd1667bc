/* policy.c - kernel or stack; see policy.h. Called by socket.c for bind, connect and datagrams with an address, any thread.
 *
 * The kernel's addresses come from a netlink dump; a subscribed netlink socket says when they changed. It is asked at most once a
 * millisecond, so a connect costs no system call and a new address counts a millisecond later at the latest. */
#include "posix/policy.h"

#include "base/clock.h"
#include "base/ownfd.h"
#include "base/rlock.h"
#include "stack/boot.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/prctl.h>

#define KERNEL_NETS_MAX 256
#define RECHECK_US 1000

/* Two copies: readers use the current one; the writer fills the other and turns the index. A reader that is overtaken twice within its
 * few loads would see a mixture of two states of the host's addresses; the sequence number makes it look again. */
static struct {
	struct policy_net net[2][KERNEL_NETS_MAX];
	unsigned count[2];
	_Atomic uint32_t seq;
	_Atomic uint64_t checked_us;
	_Atomic int fd;
	struct rlock lock;
} snap = { .fd = -1 };

static const char *thread_name;

static bool is_loopback(uint32_t a_be) { return (ntohl(a_be) >> 24) == 127; }
static bool is_multicast(uint32_t a_be) { return (ntohl(a_be) >> 28) == 14; }

enum side policy_side_ip4(enum policy_event ev, uint32_t a, const struct policy_tables *t)
{
	if (ev == POLICY_BIND) {
		if (a == t->stack_addr_be || is_multicast(a))
			return SIDE_STACK;
		return a == htonl(INADDR_ANY) ? SIDE_BOTH : SIDE_KERNEL;
	}
	if (a == htonl(INADDR_ANY) || is_loopback(a))
		return SIDE_KERNEL; /* Linux: 0.0.0.0 as a destination is this host, by loopback */
	for (unsigned i = 0; i < t->nb_kernel; i++)
		if (t->kernel[i].addr_be == a && a != t->stack_addr_be)
			return SIDE_KERNEL;
	if (a == t->stack_addr_be)
		return SIDE_STACK;
	if (t->stack_mask_be && (a & t->stack_mask_be) == (t->stack_addr_be & t->stack_mask_be))
		return SIDE_STACK;
	for (unsigned i = 0; i < t->nb_kernel; i++)
		if (t->kernel[i].mask_be && (a & t->kernel[i].mask_be) == (t->kernel[i].addr_be & t->kernel[i].mask_be))
			return SIDE_KERNEL;
	return t->stack_gateway_be ? SIDE_STACK : SIDE_KERNEL;
}

/* --- the kernel's addresses --- */

static void parse_addr(const struct nlmsghdr *h, struct policy_net *net, unsigned *n)
{
	const struct ifaddrmsg *ifa = NLMSG_DATA(h);
	struct rtattr *a = IFA_RTA(ifa);
	int left = (int)IFA_PAYLOAD(h);
	uint32_t local = 0, addr = 0;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*ifa)) || ifa->ifa_family != AF_INET || ifa->ifa_prefixlen > 32)
		return;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (RTA_PAYLOAD(a) != 4)
			continue;
		if (a->rta_type == IFA_LOCAL)
			memcpy(&local, RTA_DATA(a), 4);
		else if (a->rta_type == IFA_ADDRESS)
			memcpy(&addr, RTA_DATA(a), 4);
	}
	if (!local)
		local = addr;
	if (local && *n < KERNEL_NETS_MAX)
		net[(*n)++] = (struct policy_net){
			.addr_be = local,
			.mask_be = ifa->ifa_prefixlen ? htonl(~0u << (32 - ifa->ifa_prefixlen)) : 0,
		};
}

/* Fills net; returns how many, or -errno. */
static int dump_addrs(struct policy_net *net)
{
	struct {
		struct nlmsghdr h;
		struct ifaddrmsg ifa;
	} req = { .h = { .nlmsg_len = sizeof(req), .nlmsg_type = RTM_GETADDR, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		  .ifa = { .ifa_family = AF_INET } };
	static char buf[16384]; /* under snap.lock */
	unsigned n = 0;
	long got;
	int fd = (int)SYS(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return fd;
	got = SYS(sendto, fd, &req, sizeof(req), 0, NULL, 0);
	while (got >= 0) {
		got = SYS(recvfrom, fd, buf, sizeof(buf), 0, NULL, NULL);
		if (got < 0)
			break;
		for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
				sys_close(fd);
				return (int)n;
			}
			if (h->nlmsg_type == RTM_NEWADDR)
				parse_addr(h, net, &n);
		}
	}
	sys_close(fd);
	return (int)got;
}

static int subscribe(void)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR };
	int high, fd = (int)SYS(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return fd;
	if (SYS(bind, fd, &sa, sizeof(sa)) < 0) {
		sys_close(fd);
		return -1;
	}
	high = own_fd_adopt(fd);
	if (high < 0)
		sys_close(fd);
	return high;
}

static cold_path void refresh(uint64_t now)
{
	bool changed = false;
	char buf[4096];
	int fd, n;

	if (!rlock_trylock(&snap.lock, (uint32_t)sys_gettid()))
		return; /* somebody is at it */
	fd = atomic_load_explicit(&snap.fd, memory_order_relaxed);
	if (fd < 0) {
		/* Subscribe before the dump: a change in between is seen. */
		fd = subscribe();
		atomic_store_explicit(&snap.fd, fd, memory_order_relaxed);
		changed = true;
	}
	while (fd >= 0) {
		long got = SYS(recvfrom, fd, buf, sizeof(buf), MSG_DONTWAIT, NULL, NULL);

		if (got == -EAGAIN || (got < 0 && got != -ENOBUFS))
			break;
		changed = true; /* ENOBUFS: messages were lost, so look */
	}
	if (changed || fd < 0) {
		uint32_t seq = atomic_load_explicit(&snap.seq, memory_order_relaxed);

		n = dump_addrs(snap.net[(seq + 1) & 1]);
		if (n >= 0) {
			snap.count[(seq + 1) & 1] = (unsigned)n;
			atomic_store_explicit(&snap.seq, seq + 1, memory_order_release);
		}
	}
	atomic_store_explicit(&snap.checked_us, now, memory_order_release);
	rlock_unlock(&snap.lock);
}

static enum side side_ip4(enum policy_event ev, uint32_t addr_be)
{
	const struct ip4_conf *ip4 = boot_ip4();
	uint64_t now = clock_now_us();
	enum side side;
	uint32_t seq;

	if (!ip4)
		return SIDE_KERNEL;
	if (ev == POLICY_CONNECT && now - atomic_load_explicit(&snap.checked_us, memory_order_acquire) >= RECHECK_US)
		refresh(now);
	do {
		seq = atomic_load_explicit(&snap.seq, memory_order_acquire);
		side = policy_side_ip4(ev, addr_be, &(struct policy_tables){
			.stack_addr_be = ip4->addr_be, .stack_mask_be = ip4->mask_be, .stack_gateway_be = ip4->gateway_be,
			.kernel = snap.net[seq & 1], .nb_kernel = snap.count[seq & 1] });
	} while (atomic_load_explicit(&snap.seq, memory_order_acquire) != seq);
	return side;
}

enum side policy_side(enum policy_event ev, int family, const struct sockaddr *sa, socklen_t len, bool v6only)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	uint32_t v4;

	if (!sa || len < sizeof(*in))
		return SIDE_KERNEL;
	/* Linux binds an AF_INET socket to an AF_UNSPEC address if that is ANY. */
	if (family == AF_INET) {
		if (sa->sa_family != AF_INET && !(ev == POLICY_BIND && sa->sa_family == AF_UNSPEC))
			return SIDE_KERNEL;
		return side_ip4(ev, in->sin_addr.s_addr);
	}
	if (sa->sa_family == AF_INET && ev == POLICY_CONNECT)
		return SIDE_KERNEL;
	if (sa->sa_family != AF_INET6 || len < 24 /* SIN6_LEN_RFC2133 */)
		return SIDE_KERNEL;
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && !v6only) {
		memcpy(&v4, &in6->sin6_addr.s6_addr[12], 4);
		return side_ip4(ev, v4);
	}
	if (ev == POLICY_BIND && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) && !v6only && boot_ip4())
		return SIDE_BOTH;
	return SIDE_KERNEL; /* native IPv6: the kernel's, until the stack has addresses */
}

bool policy_is_loopback(const struct sockaddr *sa, socklen_t len)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	uint32_t v4;

	if (!sa || len < sizeof(*in))
		return false;
	if (sa->sa_family == AF_INET)
		return is_loopback(in->sin_addr.s_addr);
	if (sa->sa_family != AF_INET6 || len < 24 /* SIN6_LEN_RFC2133 */)
		return false;
	memcpy(&v4, &in6->sin6_addr.s6_addr[12], 4);
	return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && is_loopback(v4));
}

void policy_set_thread_name(const char *name)
{
	thread_name = name && *name ? name : NULL;
}

bool policy_thread_selected(void)
{
	char comm[17] = "";

	if (likely(!thread_name))
		return true;
	/* Asked each time: a thread may be renamed. */
	SYS(prctl, PR_GET_NAME, comm, 0, 0, 0);
	return strstr(comm, thread_name) != NULL;
}

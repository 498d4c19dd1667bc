/* t_options.c - socket options: defaults, what set then get returns, errors of what is not supported or malformed. */
#include "t.h"

#include <linux/sock_diag.h>

struct opt {
	const char *name;
	int level, opt;
	int set; /* -1000: only get */
	bool show_default;
};

#define O(level, name, set, show) { #name, level, name, set, show }

/* RCVBUF and the like have defaults that depend on the machine: only what was set is compared. */
static const struct opt tcp_opts[] = {
	O(SOL_SOCKET, SO_TYPE, -1000, true), O(SOL_SOCKET, SO_DOMAIN, -1000, true), O(SOL_SOCKET, SO_PROTOCOL, -1000, true),
	O(SOL_SOCKET, SO_ERROR, -1000, true), O(SOL_SOCKET, SO_ACCEPTCONN, -1000, true), O(SOL_SOCKET, SO_REUSEADDR, 1, true),
	O(SOL_SOCKET, SO_REUSEPORT, 1, true), O(SOL_SOCKET, SO_KEEPALIVE, 1, true), O(SOL_SOCKET, SO_RCVBUF, 50000, false),
	O(SOL_SOCKET, SO_SNDBUF, 60000, false), O(SOL_SOCKET, SO_RCVLOWAT, 17, true), O(SOL_SOCKET, SO_SNDLOWAT, -1000, true),
	O(SOL_SOCKET, SO_BROADCAST, 1, true), O(SOL_SOCKET, SO_OOBINLINE, 1, true), O(SOL_SOCKET, SO_PRIORITY, 3, true),
	O(SOL_SOCKET, SO_TIMESTAMP, 1, true), O(SOL_SOCKET, SO_BUSY_POLL, 0, false),
	O(SOL_SOCKET, SO_INCOMING_CPU, -1000, false),
	O(IPPROTO_IP, IP_TOS, 0x10, true), O(IPPROTO_IP, IP_TTL, 77, true), O(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, true),
	O(IPPROTO_IP, IP_RECVERR, 1, true), O(IPPROTO_IP, IP_FREEBIND, 1, true), O(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, true),
	O(IPPROTO_TCP, TCP_NODELAY, 1, true), O(IPPROTO_TCP, TCP_CORK, 1, true), O(IPPROTO_TCP, TCP_MAXSEG, 1000, false),
	O(IPPROTO_TCP, TCP_KEEPIDLE, 33, true), O(IPPROTO_TCP, TCP_KEEPINTVL, 11, true), O(IPPROTO_TCP, TCP_KEEPCNT, 5, true),
	O(IPPROTO_TCP, TCP_SYNCNT, 3, true), O(IPPROTO_TCP, TCP_LINGER2, 20, true), O(IPPROTO_TCP, TCP_DEFER_ACCEPT, 3, true),
	O(IPPROTO_TCP, TCP_WINDOW_CLAMP, 30000, false), O(IPPROTO_TCP, TCP_QUICKACK, 1, true),
	O(IPPROTO_TCP, TCP_USER_TIMEOUT, 12345, true), O(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384, false),
};
static const struct opt udp_opts[] = {
	O(SOL_SOCKET, SO_TYPE, -1000, true), O(SOL_SOCKET, SO_PROTOCOL, -1000, true), O(SOL_SOCKET, SO_BROADCAST, 1, true),
	O(SOL_SOCKET, SO_RCVBUF, 40000, false), O(IPPROTO_IP, IP_TTL, 5, true), O(IPPROTO_IP, IP_PKTINFO, 1, true),
	O(IPPROTO_IP, IP_RECVTTL, 1, true), O(IPPROTO_IP, IP_RECVTOS, 1, true), O(IPPROTO_IP, IP_MULTICAST_TTL, 9, true),
	O(IPPROTO_IP, IP_MULTICAST_LOOP, 0, true),
};

/* Connected: the segment size is the path's. */
static bool t_peer(int fd)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	return getpeername(fd, (struct sockaddr *)&sa, &len) == 0;
}

static void table(const char *title, const struct opt *o, size_t n, int fd)
{
	SECTION(title);
	for (size_t i = 0; i < n; i++) {
		int v = -77, r;
		socklen_t len = sizeof(v);

		r = getsockopt(fd, o[i].level, o[i].opt, &v, &len);
		if (r < 0)
			SAY("%s: %s\n", o[i].name, t_err(errno));
		else if (o[i].show_default)
			SAY("%s: %d len %u\n", o[i].name, v, len);
		if (o[i].set == -1000 || (o[i].opt == TCP_MAXSEG && o[i].level == IPPROTO_TCP && t_peer(fd)))
			continue;
		r = setsockopt(fd, o[i].level, o[i].opt, &o[i].set, sizeof(int));
		if (r < 0)
			SAY("  set: %s\n", t_err(errno));
		v = -77;
		len = sizeof(v);
		r = getsockopt(fd, o[i].level, o[i].opt, &v, &len);
		SAY("  after: %d %s\n", r < 0 ? -1 : v, r < 0 ? t_err(errno) : "");
		if (o[i].level == IPPROTO_IP)
			continue; /* Linux takes a length of nothing for a 0 there */
		r = setsockopt(fd, o[i].level, o[i].opt, &o[i].set, 0);
		SAY("  short: %s\n", r < 0 ? t_err(errno) : "ok");
	}
}

static void special(int fd)
{
	struct linger l = { 1, 7 };
	struct tcp_info ti;
	socklen_t len = sizeof(l), len_v;
	unsigned mem[SK_MEMINFO_VARS];
	char name[16] = "";
	int v = 1;

	SECTION("special");
	R("linger", setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	memset(&l, 0, sizeof(l));
	R("get", getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len));
	SAY("%d %d len %u\n", l.l_onoff, l.l_linger, len);
	l.l_onoff = 0;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	R("congestion", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5));
	len = sizeof(name);
	R("get", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
	SAY("%s len %u\n", name, len);
	R("no such", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
	len = sizeof(ti);
	R("info", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	SAY("state %d len %u\n", ti.tcpi_state, len);
	R("unknown", setsockopt(fd, SOL_SOCKET, 9999, &v, sizeof(v)));
	R("unknown tcp", setsockopt(fd, IPPROTO_TCP, 9999, &v, sizeof(v)));
	R("unknown level", setsockopt(fd, 9999, 1, &v, sizeof(v)));
	R("read only", setsockopt(fd, SOL_SOCKET, SO_TYPE, &v, sizeof(v)));
	R("bad ttl", setsockopt(fd, IPPROTO_IP, IP_TTL, &(int){ 300 }, sizeof(int)));
	R("bad keepcnt", setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){ 0 }, sizeof(int)));
	R("bad keepidle", setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){ 40000 }, sizeof(int)));
	R("ipv6 on ipv4", setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, sizeof(v)));
	len = sizeof(mem);
	R("meminfo", getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len));
	len_v = sizeof(v);
	R("rcvbuf", getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, &len_v));
	SAY("len %u, rcvbuf %d, nothing read or written: %d\n", len, mem[SK_MEMINFO_RCVBUF] == (unsigned)v,
	    !mem[SK_MEMINFO_RMEM_ALLOC] && !mem[SK_MEMINFO_WMEM_QUEUED]);
	R("set meminfo", setsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, sizeof(mem)));
	len = 1;
	v = 0;
	R("one byte get", getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &v, &len));
	SAY("%d len %u\n", v, len);
	len = (socklen_t)-1;
	R("negative len", getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &v, &len));
}

int main(void)
{
	int p[2], fd, port, l, v;
	socklen_t len;

	t_watchdog(60);
	/* the stack runs already: a socket is a stack socket from the start */
	l = t_listener(4, &port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	table("fresh", tcp_opts, sizeof(tcp_opts) / sizeof(tcp_opts[0]), fd);
	special(fd);
	close(fd);
	t_pair(p);
	table("connected", tcp_opts, sizeof(tcp_opts) / sizeof(tcp_opts[0]), p[0]);
	special(p[0]);
	close(p[0]);
	close(p[1]);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	table("datagram", udp_opts, sizeof(udp_opts) / sizeof(udp_opts[0]), fd);
	close(fd);
	SECTION("inherited by accepted ones");
	v = 1;
	setsockopt(l, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v));
	setsockopt(l, SOL_SOCKET, SO_KEEPALIVE, &v, sizeof(v));
	p[0] = t_connect(port);
	p[1] = accept(l, NULL, NULL);
	len = sizeof(v);
	getsockopt(p[1], IPPROTO_TCP, TCP_NODELAY, &v, &len);
	SAY("nodelay %d\n", v);
	getsockopt(p[1], SOL_SOCKET, SO_KEEPALIVE, &v, &len);
	SAY("keepalive %d\n", v);
	SECTION("moved to the kernel with what was set");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	v = 44;
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &v, sizeof(v));
	v = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &v, sizeof(v));
	{
		struct sockaddr_in sa = t_sa("127.0.0.1", 0);

		R("bind", bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
		getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &v, &len);
		SAY("keepidle %d\n", v);
		getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &v, &len);
		SAY("reuseaddr %d\n", v);
		R("listen", listen(fd, 2));
	}
	return 0;
}

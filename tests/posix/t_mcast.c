/* t_mcast.c - memberships and source filters of a socket: what each call returns (RFC 3678). */
#include "t.h"

static int fd;

static struct ip_mreq_source by_addr(const char *group, const char *source)
{
	struct ip_mreq_source m = { 0 };

	inet_pton(AF_INET, group, &m.imr_multiaddr);
	inet_pton(AF_INET, t_addr(), &m.imr_interface);
	inet_pton(AF_INET, source, &m.imr_sourceaddr);
	return m;
}

static void source(const char *what, int name, const char *group, const char *from)
{
	struct ip_mreq_source m = by_addr(group, from);

	R(what, setsockopt(fd, IPPROTO_IP, name, &m, sizeof(m)));
}

static void member(const char *what, int name, const char *group)
{
	struct ip_mreq m = { 0 };

	inet_pton(AF_INET, group, &m.imr_multiaddr);
	inet_pton(AF_INET, t_addr(), &m.imr_interface);
	R(what, setsockopt(fd, IPPROTO_IP, name, &m, sizeof(m)));
}

static void by_sockaddr(const char *what, int name, int family, socklen_t len)
{
	struct group_source_req g = { 0 };
	struct sockaddr_in group = t_sa("239.1.1.1", 0), from = t_sa("10.9.9.9", 0);

	group.sin_family = (sa_family_t)family;
	memcpy(&g.gsr_group, &group, sizeof(group));
	memcpy(&g.gsr_source, &from, sizeof(from));
	R(what, setsockopt(fd, IPPROTO_IP, name, &g, len));
}

int main(void)
{
	struct sockaddr_in sa = t_sa(t_addr(), 0);
	struct ip_mreq_source m = by_addr("239.1.1.1", "10.9.9.9");

	fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
	SECTION("sources that are wanted");
	source("no group", IP_ADD_SOURCE_MEMBERSHIP, "10.1.1.1", "10.9.9.9");
	R("short", setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &m, 8));
	source("drop without", IP_DROP_SOURCE_MEMBERSHIP, "239.1.1.1", "10.9.9.9");
	source("add", IP_ADD_SOURCE_MEMBERSHIP, "239.1.1.1", "10.9.9.9");
	source("add again", IP_ADD_SOURCE_MEMBERSHIP, "239.1.1.1", "10.9.9.9");
	source("add another", IP_ADD_SOURCE_MEMBERSHIP, "239.1.1.1", "10.9.9.8");
	source("block of those wanted", IP_BLOCK_SOURCE, "239.1.1.1", "10.9.9.7");
	source("drop one", IP_DROP_SOURCE_MEMBERSHIP, "239.1.1.1", "10.9.9.9");
	source("drop it again", IP_DROP_SOURCE_MEMBERSHIP, "239.1.1.1", "10.9.9.9");
	source("drop the last", IP_DROP_SOURCE_MEMBERSHIP, "239.1.1.1", "10.9.9.8");
	member("so the membership is gone", IP_DROP_MEMBERSHIP, "239.1.1.1");
	SECTION("sources that are not wanted");
	source("block without", IP_BLOCK_SOURCE, "239.1.1.2", "10.9.9.9");
	member("join", IP_ADD_MEMBERSHIP, "239.1.1.2");
	member("join again", IP_ADD_MEMBERSHIP, "239.1.1.2");
	source("block", IP_BLOCK_SOURCE, "239.1.1.2", "10.9.9.9");
	source("block again", IP_BLOCK_SOURCE, "239.1.1.2", "10.9.9.9");
	source("unblock another", IP_UNBLOCK_SOURCE, "239.1.1.2", "10.9.9.8");
	source("unblock", IP_UNBLOCK_SOURCE, "239.1.1.2", "10.9.9.9");
	member("leave", IP_DROP_MEMBERSHIP, "239.1.1.2");
	SECTION("by sockaddr");
	by_sockaddr("short", MCAST_JOIN_SOURCE_GROUP, AF_INET, 100);
	by_sockaddr("other family", MCAST_JOIN_SOURCE_GROUP, AF_UNIX, sizeof(struct group_source_req));
	by_sockaddr("other family", MCAST_BLOCK_SOURCE, AF_UNIX, sizeof(struct group_source_req));
	return 0;
}

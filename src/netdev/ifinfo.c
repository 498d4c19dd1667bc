/* ifinfo.c - looks kernel interfaces up by name, address or PCI function (rtnetlink(7)).
 *
 * Called by netdev.c and kif_link.c. /sys is not asked about names: it may show another network namespace than the
 * thread's (it belongs to the mount, not to the thread); for PCI functions it is the only source, and the answer is
 * checked by netlink.
 */
#include "netdev/ifinfo.h"
#include "base/sys.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NL_BUF 32768
#ifndef IFF_LOWER_UP
#define IFF_LOWER_UP 0x10000
#endif

bool ifinfo_link_up(const struct if_info *i)
{
	return (i->flags & IFF_UP) && (i->flags & IFF_LOWER_UP);
}

bool ifinfo_parse(const struct nlmsghdr *nh, size_t len, struct if_info *out)
{
	const struct ifinfomsg *ifi;
	const char *p, *end;

	if (len < NLMSG_LENGTH(sizeof(*ifi)) || nh->nlmsg_len < NLMSG_LENGTH(sizeof(*ifi)) ||
	    nh->nlmsg_len > len)
		return false;
	if (nh->nlmsg_type != RTM_NEWLINK && nh->nlmsg_type != RTM_DELLINK)
		return false;
	ifi = NLMSG_DATA(nh);
	memset(out, 0, sizeof(*out));
	out->ifindex = ifi->ifi_index;
	out->flags = ifi->ifi_flags;
	out->loopback = ifi->ifi_flags & IFF_LOOPBACK;
	out->ethernet = ifi->ifi_type == ARPHRD_ETHER;
	p = (const char *)ifi + NLMSG_ALIGN(sizeof(*ifi));
	end = (const char *)nh + nh->nlmsg_len;
	while ((size_t)(end - p) >= sizeof(struct rtattr) && p < end) {
		const struct rtattr *a = (const struct rtattr *)(const void *)p;
		const char *data = p + RTA_LENGTH(0);
		size_t n;

		if (a->rta_len < RTA_LENGTH(0) || a->rta_len > (size_t)(end - p))
			return false;
		n = a->rta_len - RTA_LENGTH(0);
		switch (a->rta_type & NLA_TYPE_MASK) {
		case IFLA_IFNAME:
			n = MIN(n, sizeof(out->name) - 1);
			memcpy(out->name, data, n);
			break;
		case IFLA_ADDRESS:
			out->has_mac = n == 6;
			if (n == 6)
				memcpy(out->mac, data, 6);
			break;
		case IFLA_MTU:
			if (n == 4)
				memcpy(&out->mtu, data, 4);
			break;
		case IFLA_MASTER:
			out->enslaved = true;
			break;
		default:
			break;
		}
		if (RTA_ALIGN(a->rta_len) >= (size_t)(end - p))
			break;
		p += RTA_ALIGN(a->rta_len);
	}
	return true;
}

int ifinfo_netlink_open(bool watch)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = watch ? RTMGRP_LINK : 0 };
	int fd = (int)SYS(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int r;

	if (fd < 0)
		return fd;
	r = (int)SYS(bind, fd, &sa, sizeof(sa));
	if (r < 0) {
		sys_close(fd);
		return r;
	}
	return fd;
}

/* Asks for all links (ifindex 0, name NULL) or one, and shows each to see(); stops when it returns false. */
static int query(int ifindex, const char *name, bool (*see)(const struct if_info *i, void *arg), void *arg)
{
	struct {
		struct nlmsghdr nh;
		struct ifinfomsg ifi;
		struct rtattr a;
		char name[IF_NAMESIZE];
	} req = { .nh = { .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 1 },
		  .ifi = { .ifi_family = AF_UNSPEC, .ifi_index = ifindex } };
	bool dump = !ifindex && !name, more = true;
	struct timeval limit = { .tv_sec = 2 };
	char *buf;
	int fd, r = 0;

	req.nh.nlmsg_len = NLMSG_LENGTH(sizeof(req.ifi));
	if (dump)
		req.nh.nlmsg_flags |= NLM_F_DUMP;
	if (name) {
		size_t n = strlen(name) + 1;

		if (n > IF_NAMESIZE || n < 2)
			return -ENODEV;
		req.a.rta_type = IFLA_IFNAME;
		req.a.rta_len = (unsigned short)RTA_LENGTH(n);
		memcpy(req.name, name, n);
		req.nh.nlmsg_len += (uint32_t)RTA_SPACE(n);
	}
	buf = malloc(NL_BUF);
	if (!buf)
		return -ENOMEM;
	fd = ifinfo_netlink_open(false);
	if (fd < 0) {
		r = fd;
		goto out_free;
	}
	SYS(setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	r = (int)SYS(sendto, fd, &req, req.nh.nlmsg_len, 0, NULL, 0);
	if (r < 0)
		goto out_close;
	r = 0;
	while (more) {
		long got = SYS(recvfrom, fd, buf, NL_BUF, 0, NULL, NULL);
		long left = got; /* signed: NLMSG_NEXT() also counts the padding, which may be missing */

		if (got == -EINTR)
			continue;
		if (got < 0) {
			r = (int)got;
			break;
		}
		more = dump;
		for (struct nlmsghdr *nh = (struct nlmsghdr *)(void *)buf; NLMSG_OK(nh, left);
		     nh = NLMSG_NEXT(nh, left)) {
			struct if_info info;

			if (nh->nlmsg_type == NLMSG_DONE) {
				more = false;
				break;
			}
			if (nh->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *e = NLMSG_DATA(nh);

				if (nh->nlmsg_len >= NLMSG_LENGTH(sizeof(*e)))
					r = e->error;
				more = false;
				break;
			}
			if (ifinfo_parse(nh, (size_t)left, &info) && !see(&info, arg)) {
				more = false;
				break;
			}
		}
	}
out_close:
	sys_close(fd);
out_free:
	free(buf);
	return r;
}

struct search {
	const uint8_t *mac;
	struct if_info *out;
	unsigned found;
	int best; /* rank of *out */
};

static bool see_one(const struct if_info *i, void *arg)
{
	struct search *s = arg;

	*s->out = *i;
	s->found = 1;
	return false;
}

/* A bond and its members, a bridge and its port have one address: the one on top is meant, then one that is up. */
static bool see_mac(const struct if_info *i, void *arg)
{
	struct search *s = arg;
	int rank = (i->enslaved ? 0 : 2) + (i->flags & IFF_UP ? 1 : 0);

	if (!i->has_mac || !i->ethernet || memcmp(i->mac, s->mac, 6))
		return true;
	if (!s->found || rank > s->best) {
		*s->out = *i;
		s->best = rank;
		s->found = 1;
	} else if (rank == s->best) {
		s->found++;
	}
	return true;
}

int ifinfo_by_name(const char *name, struct if_info *out)
{
	struct search s = { .out = out };
	int r = query(0, name, see_one, &s);

	return s.found ? 0 : r ? r : -ENODEV;
}

int ifinfo_by_index(int ifindex, struct if_info *out)
{
	struct search s = { .out = out };
	int r = query(ifindex, NULL, see_one, &s);

	return s.found ? 0 : r ? r : -ENODEV;
}

int ifinfo_by_mac(const uint8_t mac[6], struct if_info *out)
{
	struct search s = { .mac = mac, .out = out };
	int r = query(0, NULL, see_mac, &s);

	if (r)
		return r;
	return s.found == 1 ? 0 : s.found ? -ENOTUNIQ : -ENODEV;
}

int ifinfo_pci_driver(const char *pci, char *driver, size_t bytes)
{
	char path[128], target[PATH_MAX];
	const char *base;
	long n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", pci);
	n = SYS(readlink, path, target, sizeof(target) - 1);
	driver[0] = '\0';
	if (n < 0) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", pci);
		return SYS(access, path, F_OK) < 0 ? -ENODEV : 0;
	}
	target[n] = '\0';
	base = strrchr(target, '/');
	snprintf(driver, bytes, "%s", base ? base + 1 : target);
	return 0;
}

int ifinfo_by_pci(const char *pci, struct if_info *out)
{
	char path[128];
	struct dirent *e;
	int r = -ENODEV;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/net", pci);
	d = opendir(path);
	if (!d) {
		/* virtio: the network device hangs below its virtio device */
		DIR *up;

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", pci);
		up = opendir(path);
		while (up && (e = readdir(up))) {
			if (strncmp(e->d_name, "virtio", 6))
				continue;
			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.20s/%.40s/net", pci, e->d_name);
			d = opendir(path);
			break;
		}
		if (up)
			closedir(up);
	}
	if (!d)
		return -ENODEV;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		r = ifinfo_by_name(e->d_name, out);
		if (r == 0)
			break;
	}
	closedir(d);
	return r;
}

bool ifinfo_parse_mac(const char *text, uint8_t mac[6])
{
	for (int i = 0; i < 6; i++) {
		char *end;
		unsigned long v;

		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]))
			return false;
		v = strtoul((char[3]){ text[0], text[1], '\0' }, &end, 16);
		mac[i] = (uint8_t)v;
		text += 2;
		if (i < 5) {
			if (*text != ':' && *text != '-')
				return false;
			text++;
		}
	}
	return *text == '\0';
}

bool ifinfo_parse_pci(const char *text, char out[13])
{
	unsigned dom, bus, dev, fn;
	int used = 0;

	if (sscanf(text, "%4x:%2x:%2x.%1x%n", &dom, &bus, &dev, &fn, &used) == 4 && text[used] == '\0')
		goto ok;
	used = 0;
	dom = 0;
	if (sscanf(text, "%2x:%2x.%1x%n", &bus, &dev, &fn, &used) == 3 && text[used] == '\0')
		goto ok;
	return false;
ok:
	if (dom > 0xffff || bus > 0xff || dev > 0x1f || fn > 7)
		return false;
	snprintf(out, 13, "%04x:%02x:%02x.%x", dom & 0xffff, bus & 0xff, dev & 0x1f, fn & 7);
	return true;
}

/* machine.c - facts about the machine that configuration checks need, gathered once. Called by boot before EAL; descriptors used here are
 * closed before return. Everything that cannot be read is "unknown", never an error.
 */
#include "config/config.h"
#include "base/sys.h"

#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>

static bool read_text(char *buf, size_t bytes, const char *fmt, ...) printf_like(3, 4);
static bool read_text(char *buf, size_t bytes, const char *fmt, ...)
{
	char path[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (sys_read_file(path, buf, bytes) < 0)
		return false;
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

static uint64_t read_number(const char *dir, const char *file, uint64_t otherwise)
{
	char buf[64];

	return read_text(buf, sizeof(buf), "%s/%s", dir, file) ? strtoull(buf, NULL, 10) : otherwise;
}

static void read_cpus(struct conf_machine *m)
{
	cpu_set_t now, all;
	char err[64], buf[1024];

	CPU_ZERO(&now);
	if (SYS(sched_getaffinity, 0, sizeof(now), &now) > 0)
		for (unsigned i = 0; i < CPU_SETSIZE && i < CONF_CPU_MAX; i++)
			if (CPU_ISSET(i, &now))
				conf_cpus_add(&m->affinity, i);
	/* The cpuset is what remains of "every CPU": asking the kernel needs no knowledge of cgroup versions and mounts. The affinity
	 * is put back in the next line. */
	memset(&all, 0xff, sizeof(all));
	m->cpuset = m->affinity;
	if (SYS(sched_setaffinity, 0, sizeof(all), &all) >= 0) {
		CPU_ZERO(&all);
		if (SYS(sched_getaffinity, 0, sizeof(all), &all) > 0) {
			memset(&m->cpuset, 0, sizeof(m->cpuset));
			for (unsigned i = 0; i < CPU_SETSIZE && i < CONF_CPU_MAX; i++)
				if (CPU_ISSET(i, &all))
					conf_cpus_add(&m->cpuset, i);
		}
		SYS(sched_setaffinity, 0, sizeof(now), &now);
	}
	m->nb_nodes = 1;
	for (unsigned n = 0; n < CONF_NODE_MAX; n++) {
		struct conf_cpus on_node;

		if (!read_text(buf, sizeof(buf), "/sys/devices/system/node/node%u/cpulist", n))
			continue;
		m->nb_nodes = n + 1;
		if (conf_cpus_parse(buf, &on_node, err, sizeof(err)) < 0)
			continue; /* memory only */
		for (unsigned i = 0; i < CONF_CPU_MAX; i++)
			if (conf_cpus_has(&on_node, i))
				m->cpu_node[i] = (uint8_t)n;
	}
}

static void read_pages(struct conf_machine *m)
{
	DIR *d = opendir("/sys/kernel/mm/hugepages");
	struct dirent *e;
	char buf[4096], *at;

	while (d && (e = readdir(d)) && m->nb_page_sizes < CONF_PAGE_SIZES) {
		struct conf_hugepages *p = &m->pages[m->nb_page_sizes];
		unsigned long kb;

		if (sscanf(e->d_name, "hugepages-%lukB", &kb) != 1)
			continue;
		p->page_bytes = (uint64_t)kb << 10;
		for (unsigned n = 0; n < m->nb_nodes; n++) {
			char dir[256];

			snprintf(dir, sizeof(dir), "/sys/devices/system/node/node%u/hugepages/hugepages-%lukB", n, kb);
			p->node[n].total = read_number(dir, "nr_hugepages", 0);
			p->node[n].free = read_number(dir, "free_hugepages", 0);
		}
		if (m->nb_nodes == 1 && !p->node[0].total) {
			char dir[256];

			snprintf(dir, sizeof(dir), "/sys/kernel/mm/hugepages/hugepages-%lukB", kb);
			p->node[0].total = read_number(dir, "nr_hugepages", 0);
			p->node[0].free = read_number(dir, "free_hugepages", 0);
		}
		m->nb_page_sizes++;
	}
	if (d)
		closedir(d);
	(void)sys_read_file("/proc/meminfo", buf, sizeof(buf));
	at = strstr(buf, "MemAvailable:");
	m->mem_available = at ? strtoull(at + 13, NULL, 10) << 10 : UINT64_MAX;
}

static void read_links(struct conf_machine *m)
{
	struct ifaddrs *all, *a;

	if (getifaddrs(&all) < 0)
		return;
	for (a = all; a; a = a->ifa_next) {
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && m->nb_addrs < ARRAY_SIZE(m->addrs)) {
			struct conf_kernel_addr *k = &m->addrs[m->nb_addrs++];

			k->addr_be = ((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr.s_addr;
			k->mask_be = a->ifa_netmask ? ((struct sockaddr_in *)(void *)a->ifa_netmask)->sin_addr.s_addr : 0xffffffffu;
			snprintf(k->ifname, sizeof(k->ifname), "%s", a->ifa_name);
		}
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_PACKET && m->nb_links < ARRAY_SIZE(m->links)) {
			struct conf_kernel_link *l = &m->links[m->nb_links++];
			const struct sockaddr_ll *ll = (const struct sockaddr_ll *)(const void *)a->ifa_addr;
			char target[512], path[128], node[32];
			long n;

			snprintf(l->ifname, sizeof(l->ifname), "%s", a->ifa_name);
			if (ll->sll_halen == 6)
				memcpy(l->mac, ll->sll_addr, 6);
			l->numa_node = read_text(node, sizeof(node), "/sys/class/net/%s/device/numa_node", l->ifname) ? atoi(node) : -1;
			snprintf(path, sizeof(path), "/sys/class/net/%s/device", l->ifname);
			n = SYS(readlinkat, AT_FDCWD, path, target, sizeof(target) - 1);
			if (n > 0) {
				const char *base;

				target[n] = '\0';
				base = strrchr(target, '/');
				base = base ? base + 1 : target;
				if (strlen(base) == 12 && base[4] == ':' && base[7] == ':')
					memcpy(l->pci, base, 13);
			}
		}
	}
	freeifaddrs(all);
}

static void read_pci(struct conf_machine *m)
{
	DIR *d = opendir("/sys/bus/pci/devices");
	struct dirent *e;
	char buf[64];

	while (d && (e = readdir(d)) && m->nb_pci < ARRAY_SIZE(m->pci)) {
		struct conf_pci_port *p = &m->pci[m->nb_pci];
		char target[512], path[300];
		long n;

		/* class 0x02....: network controller */
		if (strlen(e->d_name) >= sizeof(p->addr) || !read_text(buf, sizeof(buf), "/sys/bus/pci/devices/%s/class", e->d_name) ||
		    strncmp(buf, "0x02", 4))
			continue;
		memset(p, 0, sizeof(*p));
		snprintf(p->addr, sizeof(p->addr), "%.15s", e->d_name);
		p->numa_node = read_text(buf, sizeof(buf), "/sys/bus/pci/devices/%s/numa_node", e->d_name) ? atoi(buf) : -1;
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", e->d_name);
		n = SYS(readlinkat, AT_FDCWD, path, target, sizeof(target) - 1);
		if (n > 0) {
			const char *base;

			target[n] = '\0';
			base = strrchr(target, '/');
			snprintf(p->driver, sizeof(p->driver), "%.23s", base ? base + 1 : target);
		}
		m->nb_pci++;
	}
	if (d)
		closedir(d);
	d = opendir("/sys/class/iommu");
	while (d && (e = readdir(d)))
		m->iommu |= e->d_name[0] != '.';
	if (d)
		closedir(d);
}

void conf_machine_read(struct conf_machine *m)
{
	struct rlimit lim = { 0 };

	memset(m, 0, sizeof(*m));
	m->is_root = SYS(geteuid) == 0;
	m->nofile = SYS(prlimit64, 0, RLIMIT_NOFILE, NULL, &lim) < 0 ? 1024 : lim.rlim_cur;
	read_cpus(m);
	read_pages(m);
	read_links(m);
	read_pci(m);
}

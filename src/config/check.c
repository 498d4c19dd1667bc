/* check.c - the configuration against the machine: CPUs, addresses, device, memory. Fills the derived fields that boot uses.
 * Pure function of its arguments except for statfs() of --huge-dir. Called by boot before EAL.
 */
#include "config/config.h"
#include "base/sys.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define MB (1u << 20)
/* One packet buffer in its pool: mbuf 128, private area 64, headroom 128, data 2,048, pool header 64, alignment; and its share of the
 * pool's own bookkeeping. */
#define MBUF_BYTES (2560u + LARGE_MBUF_BYTES / 64)
/* One for large writes, of which there is one for 64 others: 13,140 bytes of data. */
#define LARGE_MBUF_BYTES 13632u
/* Rings of the device, tables, EAL's own. */
#define BASE_BYTES (64ull * MB)
/* Default pools per stack when neither tcp_conn_count nor mbuf_count_per_conn is set: the whole pool is touched at start, and normal pages
 * are shared with everything else on the machine. */
#define DEFAULT_MBUFS_HUGE 131072u
#define DEFAULT_MBUFS_NORMAL 32768u
#define HUGETLBFS_MAGIC_NR 0x958458f6

#define ERR LOG_LEVEL_ERROR
#define NOTE LOG_LEVEL_INFO

static const char *at(const struct config *c, const char *key, char *buf, size_t bytes)
{
	int i = conf_key_find(key);

	if (c->line[i])
		snprintf(buf, bytes, "%s:%u", c->path, c->line[i]);
	else
		snprintf(buf, bytes, "%s", c->path);
	return buf;
}

static bool key_set(const struct config *c, const char *key)
{
	return c->origin[conf_key_find(key)] == CONF_FROM_FILE;
}

/* --- CPUs --- */

static void check_cpus(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	char where[256], allowed[256], bad[256];
	struct conf_cpus outside = { 0 };

	for (unsigned i = 0; i < CONF_CPU_MAX; i++)
		if (conf_cpus_has(&c->cpus, i) && !conf_cpus_has(&m->cpuset, i))
			conf_cpus_add(&outside, i);
	if (outside.count)
		conf_report_add(rep, ERR, "%s: `num_cpus=\"%.60s\"`: CPU %s is outside this process's cpuset: allowed are %s",
				at(c, "num_cpus", where, sizeof(where)), c->num_cpus_text, conf_cpus_text(&outside, bad, sizeof(bad)),
				conf_cpus_text(&m->cpuset, allowed, sizeof(allowed)));
	for (unsigned n = 0; n < CONF_NODE_MAX; n++) {
		memset(&c->app_cpus[n], 0, sizeof(c->app_cpus[n]));
		for (unsigned i = 0; i < CONF_CPU_MAX; i++)
			if (m->cpu_node[i] == n && conf_cpus_has(&m->cpuset, i) && !conf_cpus_has(&c->app_exclude_cpus, i) &&
			    !(c->pin_stacks && conf_cpus_has(&c->cpus, i)))
				conf_cpus_add(&c->app_cpus[n], i);
	}
}

/* --- addresses --- */

static void check_kernel_addresses(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	char where[256], ip[INET_ADDRSTRLEN];

	for (unsigned i = 0; i < m->nb_addrs; i++) {
		if (m->addrs[i].addr_be != c->host_addr_be || !c->host_addr_be || c->flow_bifurcation)
			continue;
		inet_ntop(AF_INET, &c->host_addr_be, ip, sizeof(ip));
		conf_report_add(rep, ERR,
				"%s: `host_addr=\"%s\"`: this host's kernel has the address on %s, and would answer ARP and reset connections beside the "
				"stack: needs an address of the stack's own: use a free one, or take it from the kernel: ip addr del %s/%d dev %s",
				at(c, "host_addr", where, sizeof(where)), ip, m->addrs[i].ifname, ip, __builtin_popcount(m->addrs[i].mask_be),
				m->addrs[i].ifname);
		return;
	}
}

/* --- device --- */

static const struct conf_kernel_link *link_by_name(const struct conf_machine *m, const char *name)
{
	for (unsigned i = 0; i < m->nb_links; i++)
		if (!strcmp(m->links[i].ifname, name))
			return &m->links[i];
	return NULL;
}

static const struct conf_kernel_link *link_by_mac(const struct conf_machine *m, const uint8_t mac[6])
{
	for (unsigned i = 0; i < m->nb_links; i++)
		if (!memcmp(m->links[i].mac, mac, 6))
			return &m->links[i];
	return NULL;
}

/* Is `name` the device of a --vdev argument ("net_tap0,iface=t0")? */
static bool vdev_given(const struct config *c, const char *name)
{
	size_t n = strlen(name);

	for (unsigned i = 0; i < c->dpdk_args.n; i++) {
		const char *arg = c->dpdk_args.v[i];

		if (!strncmp(arg, "--vdev=", 7))
			arg += 7;
		else if (!strcmp(arg, "--vdev") && i + 1 < c->dpdk_args.n)
			arg = c->dpdk_args.v[++i];
		else
			continue;
		if (!strncmp(arg, name, n) && (arg[n] == '\0' || arg[n] == ','))
			return true;
	}
	return false;
}

static bool user_driver(const char *d)
{
	return !strcmp(d, "vfio-pci") || !strcmp(d, "igb_uio") || !strcmp(d, "uio_pci_generic") ||
	       /* drivers whose user-mode half works beside the kernel's */
	       !strcmp(d, "mlx4_core") || !strcmp(d, "mlx5_core") || !strcmp(d, "mana");
}

static void check_pci_port(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	const struct conf_kernel_link *kernel = NULL;
	char where[256], full[20];

	snprintf(full, sizeof(full), "%s%.12s", strlen(c->devices) == 7 ? "0000:" : "", c->devices);
	at(c, "devices", where, sizeof(where));
	for (unsigned i = 0; i < m->nb_links; i++)
		if (!strcasecmp(m->links[i].pci, full))
			kernel = &m->links[i];
	for (unsigned i = 0; i < m->nb_pci; i++) {
		const struct conf_pci_port *p = &m->pci[i];

		if (strcasecmp(p->addr, full))
			continue;
		c->device_node = p->numa_node;
		if (user_driver(p->driver))
			return;
		conf_report_add(rep, ERR,
				"%s: `devices=\"%s\"`: bound to %s%s, not to a user-mode driver: %s: modprobe vfio-pci && dpdk-devbind.py -b vfio-pci %s%s; "
				"or igb_uio (dpdk-kmods): dpdk-devbind.py -b igb_uio %s%s%s%s",
				where, c->devices, p->driver[0] ? "driver " : "no driver", p->driver,
				m->iommu ? "this machine has an IOMMU" : "no IOMMU is active (intel_iommu=on or amd_iommu=on on the kernel command line "
									 "enables one)",
				full, m->iommu ? "" : " after echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode", full,
				kernel ? "; or use it through the kernel: devices=\"" : "", kernel ? kernel->ifname : "", kernel ? "\"" : "");
		return;
	}
	conf_report_add(rep, ERR, "%s: `devices=\"%s\"`: there is no such PCI network device: see dpdk-devbind.py --status or lspci", where, c->devices);
}

static void check_device(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	const struct conf_kernel_link *l = NULL;
	char where[256], names[256];
	size_t used = 0;

	c->device_ifname[0] = '\0';
	c->device_node = -1;
	switch (c->device_kind) {
	case CONF_DEV_NONE:
		return;
	case CONF_DEV_PCI:
		check_pci_port(c, m, rep);
		return;
	case CONF_DEV_MAC:
		l = link_by_mac(m, c->device_mac);
		break;
	case CONF_DEV_NAME:
		/* a vdev may carry the name of its kernel side (net_tap): the argument given for DPDK wins */
		if (vdev_given(c, c->devices))
			return;
		l = link_by_name(m, c->devices);
		if (l)
			break;
		names[0] = '\0';
		for (unsigned i = 0; i < m->nb_links && used < sizeof(names); i++)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", m->links[i].ifname);
		conf_report_add(rep, ERR, "%s: `devices=\"%s\"`: neither a kernel interface of this network namespace (%s) nor a --vdev of dpdk_args",
				at(c, "devices", where, sizeof(where)), c->devices, names);
		return;
	}
	if (l) {
		memcpy(c->device_ifname, l->ifname, sizeof(c->device_ifname));
		c->device_node = l->numa_node;
	}
}

static void check_numa(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	char where[256];

	for (unsigned i = 0; i < c->nb_stacks; i++)
		c->stack_node[i] = i < c->cpus.count && m->nb_nodes > 1 ? m->cpu_node[c->cpus.list[i]] : m->nb_nodes > 1 ? c->device_node : -1;
	for (unsigned i = 0; i < c->nb_stacks && c->device_node >= 0 && m->nb_nodes > 1; i++) {
		if (c->stack_node[i] != c->device_node && i < c->cpus.count) {
			conf_report_add(rep, NOTE, "%s: `num_cpus=\"%.60s\"`: CPU %u is on NUMA node %d, the device on node %d: packets cross the interconnect: "
					"use CPUs of node %d", at(c, "num_cpus", where, sizeof(where)), c->num_cpus_text, c->cpus.list[i], c->stack_node[i],
					c->device_node, c->device_node);
			return;
		}
	}
}

/* --- memory --- */

struct dpdk_memory_args {
	bool no_huge, wants_huge, file_mode, legacy;
	const char *huge_dir, *socket_mem;
	unsigned m_mb;
};

static const char *arg_value(const struct config *c, unsigned *i, const char *name)
{
	const char *arg = c->dpdk_args.v[*i];
	size_t n = strlen(name);

	if (strncmp(arg, name, n))
		return NULL;
	if (arg[n] == '=')
		return arg + n + 1;
	if (arg[n] == '\0' && *i + 1 < c->dpdk_args.n)
		return c->dpdk_args.v[++*i];
	return NULL;
}

static void read_memory_args(const struct config *c, struct dpdk_memory_args *a)
{
	memset(a, 0, sizeof(*a));
	for (unsigned i = 0; i < c->dpdk_args.n; i++) {
		const char *arg = c->dpdk_args.v[i], *v;

		a->no_huge |= !strcmp(arg, "--no-huge");
		a->legacy |= !strcmp(arg, "--legacy-mem");
		if ((v = arg_value(c, &i, "--huge-dir")))
			a->huge_dir = v;
		else if ((v = arg_value(c, &i, "--socket-mem")))
			a->socket_mem = v;
		else if ((v = arg_value(c, &i, "-m")))
			a->m_mb = (unsigned)strtoul(v, NULL, 10);
	}
	a->file_mode = a->huge_dir || a->legacy;
	a->wants_huge = a->huge_dir || a->socket_mem || a->legacy;
}

/* Free huge-page bytes on a node (-1: all nodes), and the same in words. */
static uint64_t huge_free(const struct conf_machine *m, int node, uint64_t *total, char *words, size_t bytes)
{
	uint64_t sum = 0;
	size_t used = 0;

	*total = 0;
	if (words)
		words[0] = '\0';
	for (unsigned s = 0; s < m->nb_page_sizes; s++) {
		uint64_t n = 0, page = m->pages[s].page_bytes;

		for (unsigned i = 0; i < m->nb_nodes; i++) {
			if (node >= 0 && (unsigned)node != i)
				continue;
			n += m->pages[s].node[i].free;
			*total += m->pages[s].node[i].total * page;
		}
		sum += n * page;
		if (words && used < bytes && (n || page == 2 * MB))
			used += (size_t)snprintf(words + used, bytes - used, "%s%llu × %llu %s", used ? ", " : "", (unsigned long long)n,
						 (unsigned long long)(page >= 1024ull * MB ? page >> 30 : page >> 20), page >= 1024ull * MB ? "GB" : "MB");
	}
	return sum;
}

/* Page size that "raise nr_hugepages" is about: the configured one with most pages, else 2 MB or what there is. */
static uint64_t usual_page(const struct conf_machine *m)
{
	uint64_t page = 0, most = 0;

	for (unsigned s = 0; s < m->nb_page_sizes; s++) {
		uint64_t n = 0;

		for (unsigned i = 0; i < m->nb_nodes; i++)
			n += m->pages[s].node[i].total;
		if (n > most) {
			most = n;
			page = m->pages[s].page_bytes;
		}
	}
	return page ? page : 2 * MB;
}

static bool node_has_stacks(const struct config *c, unsigned node)
{
	for (unsigned i = 0; i < c->nb_stacks; i++)
		if (c->stack_node[i] == (int)node || (c->stack_node[i] < 0 && node == 0))
			return true;
	return false;
}

static unsigned stacks_on(const struct config *c, unsigned node)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nb_stacks; i++)
		n += c->stack_node[i] == (int)node || (c->stack_node[i] < 0 && node == 0);
	return n;
}

/* Is the node's need covered? Writes the contract's message. */
static bool check_node(const struct config *c, const struct conf_machine *m, unsigned node, uint64_t need, const char *lower, enum log_level level,
		       const char *instead, struct conf_report *rep)
{
	uint64_t total, page = usual_page(m), have;
	char words[128];

	have = huge_free(m, c->stack_node[0] < 0 && m->nb_nodes == 1 ? -1 : (int)node, &total, words, sizeof(words));
	if (have >= need)
		return true;
	conf_report_add(rep, level, "need %llu MB on node %u, have %llu MB free (%s): %sraise nr_hugepages by %llu (echo %llu > "
			"/sys/devices/system/node/node%u/hugepages/hugepages-%llukB/nr_hugepages), or %s",
			(unsigned long long)((need + MB - 1) / MB), node, (unsigned long long)(have / MB), words, instead,
			(unsigned long long)((need - have + page - 1) / page), (unsigned long long)((total + need - have + page - 1) / page), node,
			(unsigned long long)(page >> 10), lower);
	return false;
}

static void check_huge_dir(const struct config *c, const struct conf_machine *m, const char *dir, struct conf_report *rep)
{
	char where[256], parent[512];
	struct statfs fs;
	struct stat self, up;
	uint64_t n = 0, others = 0;

	at(c, "dpdk_args", where, sizeof(where));
	if (statfs(dir, &fs) < 0 || (unsigned long)fs.f_type != HUGETLBFS_MAGIC_NR) {
		conf_report_add(rep, ERR, "%s: --huge-dir %.200s: no hugetlbfs is mounted there: mkdir -p %.200s && mount -t hugetlbfs -o mode=0700 nodev "
				"%.200s, or leave --huge-dir out", where, dir, dir, dir);
		return;
	}
	for (unsigned s = 0; s < m->nb_page_sizes; s++)
		for (unsigned i = 0; i < m->nb_nodes; i++)
			*(m->pages[s].page_bytes == (uint64_t)fs.f_bsize ? &n : &others) += m->pages[s].node[i].total;
	if (!n && others)
		conf_report_add(rep, ERR, "%s: --huge-dir %.200s: mounted with pages of %llu MB, of which none are configured: mount it with "
				"pagesize= of those that are, or configure pages of that size", where, dir, (unsigned long long)fs.f_bsize / MB);
	snprintf(parent, sizeof(parent), "%.500s/..", dir);
	if (stat(dir, &self) == 0 && stat(parent, &up) == 0 && self.st_dev == up.st_dev)
		conf_report_add(rep, NOTE, "%s: --huge-dir %.200s is a directory inside a hugetlbfs mount, which DPDK before 22.03 does not find: name the "
				"mount itself there", where, dir);
}

/* --socket-mem "1024,0,512": what EAL will take at once, per node. */
static bool check_socket_mem(const struct config *c, const struct conf_machine *m, const char *text, struct conf_report *rep)
{
	bool ok = true;

	for (unsigned node = 0; *text && node < m->nb_nodes; node++) {
		uint64_t need = strtoull(text, NULL, 10) * MB;

		if (need)
			ok &= check_node(c, m, node, need, "lower --socket-mem in dpdk_args", ERR, "", rep);
		text += strcspn(text, ",");
		text += *text == ',';
	}
	return ok;
}

static uint64_t socket_mem_of(const char *text, unsigned node)
{
	while (node-- && *text) {
		text += strcspn(text, ",");
		text += *text == ',';
	}
	return strtoull(text, NULL, 10) * MB;
}

static void check_memory(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	/* rings full, a burst under way in each direction, the pool's cache, and what applications and retransmission hold meanwhile */
	unsigned minimum = (unsigned)(c->nic_rxqueue_size + c->nic_txqueue_size) + 2 * 64 + 512 + 1024;
	bool sized = key_set(c, "tcp_conn_count") || key_set(c, "mbuf_count_per_conn");
	uint64_t asked = (uint64_t)c->tcp_conn_count * (uint64_t)c->mbuf_count_per_conn;
	uint64_t per_stack = (asked + c->nb_stacks - 1) / c->nb_stacks, total;
	struct dpdk_memory_args a;

	read_memory_args(c, &a);
	(void)huge_free(m, -1, &total, NULL, 0);
	if (per_stack > UINT32_MAX / 2) {
		conf_report_add(rep, ERR, "%s: tcp_conn_count × mbuf_count_per_conn = %llu packet buffers (%llu GB): more than any pool: lower tcp_conn_count",
				c->path, (unsigned long long)asked, (unsigned long long)(asked * MBUF_BYTES >> 30));
		return;
	}
	c->hugepages = !a.no_huge && total > 0;
	if (c->hugepages && a.huge_dir)
		check_huge_dir(c, m, a.huge_dir, rep);
	if (c->hugepages && a.socket_mem && !check_socket_mem(c, m, a.socket_mem, rep))
		return;
	if (!sized) {
		uint64_t room = UINT64_MAX;

		for (unsigned n = 0; n < m->nb_nodes && c->hugepages; n++) {
			uint64_t t, here = huge_free(m, m->nb_nodes == 1 ? -1 : (int)n, &t, NULL, 0);

			if (!node_has_stacks(c, n))
				continue;
			if (a.legacy && a.socket_mem)
				here = socket_mem_of(a.socket_mem, n);
			here = here > BASE_BYTES ? here - BASE_BYTES : 0;
			room = MIN(room, here / stacks_on(c, n) / MBUF_BYTES);
		}
		/* normal pages: an eighth of what is available */
		if (!c->hugepages)
			room = m->mem_available / 8 / MBUF_BYTES / c->nb_stacks;
		per_stack = MIN(room, c->hugepages ? DEFAULT_MBUFS_HUGE : DEFAULT_MBUFS_NORMAL);
	}
	per_stack = MAX(per_stack, (uint64_t)minimum);
	for (unsigned n = 0; n < m->nb_nodes && c->hugepages; n++) {
		uint64_t need = per_stack * stacks_on(c, n) * MBUF_BYTES + BASE_BYTES;

		if (!node_has_stacks(c, n))
			continue;
		if (a.legacy && a.socket_mem) {
			if (socket_mem_of(a.socket_mem, n) < need)
				conf_report_add(rep, ERR, "need %llu MB on node %u, --socket-mem gives %llu MB: raise --socket-mem in dpdk_args, or lower "
						"tcp_conn_count", (unsigned long long)((need + MB - 1) / MB), n,
						(unsigned long long)(socket_mem_of(a.socket_mem, n) / MB));
			continue;
		}
		/* Nobody asked for huge pages or a size: the few that happen to be there are left alone. */
		if (!check_node(c, m, n, need, sized ? "lower tcp_conn_count" : "lower nic_rxqueue_size", sized || a.wants_huge ? ERR : NOTE,
				sized || a.wants_huge ? "" : "running on normal pages: ", rep) && !sized && !a.wants_huge) {
			c->hugepages = false;
			per_stack = MAX((uint64_t)minimum, (uint64_t)DEFAULT_MBUFS_NORMAL);
		}
	}
	c->mbufs_per_stack = (unsigned)per_stack;
	if (c->hugepages && a.file_mode) {
		uint64_t bytes = a.socket_mem ? 0 : per_stack * c->nb_stacks * MBUF_BYTES + BASE_BYTES, pages;

		for (unsigned n = 0; n < m->nb_nodes && a.socket_mem; n++)
			bytes += socket_mem_of(a.socket_mem, n);
		pages = bytes / usual_page(m);
		if (pages + 256 > m->nofile)
			conf_report_add(rep, ERR, "huge pages: %llu files of %llu MB are needed, the descriptor limit is %llu: use 1 GB pages, or "
					"--single-file-segments instead of --legacy-mem in dpdk_args, or raise the limit (ulimit -n %llu)",
					(unsigned long long)pages, (unsigned long long)(usual_page(m) / MB), (unsigned long long)m->nofile,
					(unsigned long long)(pages + 1024));
	}
	if (!c->hugepages) {
		uint64_t need = per_stack * c->nb_stacks * MBUF_BYTES + BASE_BYTES;

		if (need > m->mem_available / 4 * 3)
			conf_report_add(rep, ERR, "need %llu MB of normal pages, have %llu MB available: lower tcp_conn_count, or configure huge pages",
					(unsigned long long)(need / MB), (unsigned long long)(m->mem_available / MB));
		/* reserved, not touched: half as much again for what is allocated later */
		c->no_huge_mb = (unsigned)(need / MB * 3 / 2 + 64);
		if (!a.no_huge && !total)
			conf_report_add(rep, NOTE, "no huge pages are configured: running on normal pages, which costs address translation misses on large "
					"buffer pools: sysctl vm.nr_hugepages=%llu%s", (unsigned long long)((need + 2 * MB - 1) / (2 * MB)),
					m->is_root ? "" : " (as root)");
	}
}

int conf_check_machine(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	unsigned errors = rep->errors;

	check_cpus(c, m, rep);
	check_kernel_addresses(c, m, rep);
	check_device(c, m, rep);
	check_numa(c, m, rep);
	check_memory(c, m, rep);
	return rep->errors == errors ? 0 : -EINVAL;
}

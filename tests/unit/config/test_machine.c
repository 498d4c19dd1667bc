/* test_machine.c - the configuration against machines that are made up here: cpusets, addresses, devices, NUMA nodes, huge pages. */
#include "util.h"

#include <arpa/inet.h>

static struct conf_machine machine;

/* Two CPUs, one node, 4 GB, no huge pages, eth0 with 192.168.1.5/24. */
static struct conf_machine *plain(void)
{
	struct conf_machine *m = &machine;

	memset(m, 0, sizeof(*m));
	m->is_root = true;
	m->nb_nodes = 1;
	conf_cpus_add(&m->cpuset, 0);
	conf_cpus_add(&m->cpuset, 1);
	m->affinity = m->cpuset;
	m->nofile = 1024;
	m->mem_available = 4096ull << 20;
	m->nb_page_sizes = 1;
	m->pages[0].page_bytes = 2 << 20;
	m->nb_addrs = 1;
	m->addrs[0] = (struct conf_kernel_addr){ .addr_be = inet_addr("192.168.1.5"), .mask_be = inet_addr("255.255.255.0"), .ifname = "eth0" };
	m->nb_links = 1;
	m->links[0] = (struct conf_kernel_link){ .ifname = "eth0", .mac = { 2, 0, 0, 0, 0, 5 }, .numa_node = -1, .pci = "0000:01:00.0" };
	m->nb_pci = 2;
	m->pci[0] = (struct conf_pci_port){ .addr = "0000:01:00.0", .driver = "e1000e", .numa_node = -1 };
	m->pci[1] = (struct conf_pci_port){ .addr = "0000:02:00.0", .driver = "vfio-pci", .numa_node = 1 };
	return m;
}

static struct loaded *check(const char *text, const struct conf_machine *m)
{
	char all[2048];
	struct loaded *l;

	snprintf(all, sizeof(all), "%s%s", strstr(text, "host_addr") ? "" : BASE, text);
	l = load(all);
	if (l->rc)
		show(&l->rep);
	assert_int_equal(l->rc, 0);
	l->rc = conf_check_machine(&l->c, m, &l->rep);
	assert_int_equal(l->rc == 0, l->rep.errors == 0);
	return l;
}

static void check_refused(const char *text, const struct conf_machine *m, const char *a, const char *b)
{
	struct loaded *l = check(text, m);

	assert_int_not_equal(l->rc, 0);
	assert_line(&l->rep, LOG_LEVEL_ERROR, a, b);
	unload(l);
}

static void cpus_outside_the_cpuset_are_named_with_those_allowed(void **state)
{
	struct conf_machine *m = plain();
	struct loaded *l;

	check_refused("num_cpus = \"1,3-5\"\n", m, "CPU 3-5 is outside", "allowed are 0,1");
	/* taskset narrows the affinity, not the cpuset */
	memset(&m->affinity, 0, sizeof(m->affinity));
	conf_cpus_add(&m->affinity, 0);
	l = check("num_cpus = \"1\"\n", m);
	assert_int_equal(l->rc, 0);
	unload(l);
}

static void an_address_of_the_kernel_is_refused_with_the_remedy(void **state)
{
	check_refused("host_addr=\"192.168.1.5\"\nmask_addr=\"255.255.255.0\"\n", plain(), "this host's kernel has the address on eth0",
		      "ip addr del 192.168.1.5/24 dev eth0");
}

static void kernel_interfaces_are_found_by_name_and_mac(void **state)
{
	struct loaded *l = check("devices = \"eth0\"\n", plain());

	assert_string_equal(l->c.device_ifname, "eth0");
	unload(l);
	l = check("devices = \"02:00:00:00:00:05\"\n", plain());
	assert_string_equal(l->c.device_ifname, "eth0");
	unload(l);
	/* perhaps a port that is bound to a user-mode driver */
	l = check("devices = \"02:00:00:00:00:06\"\n", plain());
	assert_int_equal(l->rc, 0);
	assert_string_equal(l->c.device_ifname, "");
	unload(l);
	check_refused("devices = \"eth7\"\n", plain(), "neither a kernel interface of this network namespace (eth0)", "--vdev");
	l = check("devices = \"net_tap0\"\ndpdk_args = [\"--vdev\", \"net_tap0,iface=t0\"]\n", plain());
	assert_int_equal(l->rc, 0);
	unload(l);
	l = check("devices = \"net_tap0\"\ndpdk_args = [\"--vdev=net_tap0\"]\n", plain());
	assert_int_equal(l->rc, 0);
	unload(l);
	check_refused("devices = \"net_tap\"\ndpdk_args = [\"--vdev=net_tap0\"]\n", plain(), "neither a kernel interface", "");
}

static void pci_ports_must_be_bound_and_the_remedy_knows_the_machine(void **state)
{
	struct conf_machine *m = plain();
	struct loaded *l = check("devices = \"02:00.0\"\n", m);

	assert_int_equal(l->rc, 0);
	unload(l);
	check_refused("devices = \"0000:01:00.0\"\n", m, "bound to driver e1000e", "enable_unsafe_noiommu_mode");
	check_refused("devices = \"0000:01:00.0\"\n", m, "dpdk-devbind.py -b vfio-pci 0000:01:00.0", "devices=\"eth0\"");
	m->iommu = true;
	check_refused("devices = \"01:00.0\"\n", m, "has an IOMMU", "igb_uio");
	check_refused("devices = \"0000:09:00.0\"\n", m, "no such PCI network device", "");
}

static void a_machine_without_huge_pages_runs_on_normal_ones_and_says_so_once(void **state)
{
	struct conf_machine *m = plain();
	struct loaded *l = check("", m);

	assert_int_equal(l->rc, 0);
	assert_false(l->c.hugepages);
	assert_true(l->c.no_huge_mb > 0);
	/* rings of the device full and something to work with */
	assert_true(l->c.mbufs_per_stack > 4096 + 2048);
	assert_true((uint64_t)l->c.mbufs_per_stack * 2500 < (uint64_t)l->c.no_huge_mb << 20);
	assert_int_equal(lines_with(&l->rep, -1, "no huge pages are configured", "vm.nr_hugepages="), 1);
	assert_int_equal(l->rep.count, 1);
	unload(l);
	/* asked for: nothing to say */
	l = check("dpdk_args = [\"--no-huge\"]\n", m);
	assert_int_equal(l->rep.count, 0);
	unload(l);
	check_refused("tcp_conn_count = 100000\n", m, "need 4", "MB available");
	check_refused("tcp_conn_count = 16777216\nmbuf_count_per_conn = 2147483647\n", m, "tcp_conn_count × mbuf_count_per_conn", "lower tcp_conn_count");
}

static void too_few_huge_pages_are_counted_out(void **state)
{
	struct conf_machine *m = plain();
	struct loaded *l;

	m->pages[0].node[0].total = 300;
	m->pages[0].node[0].free = 256;
	/* 1500 x 200 = 300,000 buffers of 2,560 bytes, one of 13,632 for 64 of them, and 64 MB: 857.4 MB; 173 pages of 2 MB are missing */
	l = check("tcp_conn_count = 1500\nmbuf_count_per_conn = 200\n", m);
	assert_int_not_equal(l->rc, 0);
	assert_line(&l->rep, LOG_LEVEL_ERROR, "need 858 MB on node 0, have 512 MB free (256 × 2 MB): raise nr_hugepages by 173", "or lower tcp_conn_count");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "echo 473 >", "node0/hugepages/hugepages-2048kB/nr_hugepages");
	unload(l);
	/* the default fits itself into what is there */
	l = check("", m);
	assert_int_equal(l->rc, 0);
	assert_true(l->c.hugepages);
	assert_true((uint64_t)l->c.mbufs_per_stack * (2560 + 13632 / 64) + (64 << 20) <= 512u << 20);
	assert_true(l->c.mbufs_per_stack > 100000);
	assert_int_equal(l->rep.count, 0);
	unload(l);
	/* a few pages that happen to be there are not worth a refusal when nobody asked for them */
	m->pages[0].node[0].free = 3;
	l = check("", m);
	assert_int_equal(l->rc, 0);
	assert_false(l->c.hugepages);
	assert_line(&l->rep, LOG_LEVEL_INFO, "running on normal pages", "raise nr_hugepages");
	unload(l);
}

static void socket_mem_is_compared_per_node(void **state)
{
	struct conf_machine *m = plain();
	struct loaded *l;

	m->nb_nodes = 2;
	m->cpu_node[1] = 1;
	m->pages[0].node[0] = (typeof(m->pages[0].node[0])){ 1024, 1024 };
	m->pages[0].node[1] = (typeof(m->pages[0].node[0])){ 512, 512 };
	check_refused("dpdk_args = [\"--socket-mem\", \"1024,2048\"]\nnum_cpus = \"0\"\n", m, "need 2048 MB on node 1, have 1024 MB free (512 × 2 MB)",
		      "lower --socket-mem");
	l = check("dpdk_args = [\"--socket-mem\", \"1024,1024\"]\nnum_cpus = \"0\"\n", m);
	assert_int_equal(l->rc, 0);
	unload(l);
	/* legacy memory does not grow: the buffers must fit into it */
	check_refused("dpdk_args = [\"--socket-mem\", \"256,0\", \"--legacy-mem\"]\nnum_cpus = \"0\"\ntcp_conn_count = 1500\n", m, "--socket-mem gives 256 MB",
		      "raise --socket-mem");
	l = check("dpdk_args = [\"--socket-mem\", \"256,0\", \"--legacy-mem\"]\nnum_cpus = \"0\"\n", m);
	assert_int_equal(l->rc, 0);
	assert_true((uint64_t)l->c.mbufs_per_stack * (2560 + 13632 / 64) < 256u << 20);
	unload(l);
	/* each stack's buffers on its own node */
	l = check("num_cpus = \"0,1\"\ntcp_conn_count = 1000\nmbuf_count_per_conn = 100\n", m);
	assert_int_equal(l->rc, 0);
	assert_int_equal(l->c.stack_node[0], 0);
	assert_int_equal(l->c.stack_node[1], 1);
	assert_int_equal(l->c.mbufs_per_stack, 50000);
	unload(l);
}

static void pages_as_files_need_descriptors(void **state)
{
	struct conf_machine *m = plain();

	m->pages[0].node[0] = (typeof(m->pages[0].node[0])){ 4096, 4096 };
	check_refused("dpdk_args = [\"--socket-mem\", \"4096\", \"--legacy-mem\"]\n", m, "2048 files of 2 MB are needed, the descriptor limit is 1024", "1 GB pages");
	m->nofile = 65536;
	{
		struct loaded *l = check("dpdk_args = [\"--socket-mem\", \"4096\", \"--legacy-mem\"]\n", m);

		assert_int_equal(l->rc, 0);
		unload(l);
	}
}

static void a_huge_dir_that_is_no_hugetlbfs_is_explained(void **state)
{
	struct conf_machine *m = plain();

	m->pages[0].node[0] = (typeof(m->pages[0].node[0])){ 1024, 1024 };
	check_refused("dpdk_args = [\"--huge-dir\", \"/proc\"]\n", m, "no hugetlbfs is mounted there", "mount -t hugetlbfs");
	check_refused("dpdk_args = [\"--huge-dir=/nonexistent\"]\n", m, "no hugetlbfs is mounted there", "mkdir -p /nonexistent");
}

static void a_device_on_another_node_is_mentioned(void **state)
{
	struct conf_machine *m = plain();
	struct loaded *l;

	m->nb_nodes = 2;
	m->cpu_node[1] = 1;
	l = check("devices = \"0000:02:00.0\"\nnum_cpus = \"0\"\n", m);
	assert_int_equal(l->rc, 0);
	assert_line(&l->rep, LOG_LEVEL_INFO, "CPU 0 is on NUMA node 0, the device on node 1", "use CPUs of node 1");
	unload(l);
	l = check("devices = \"0000:02:00.0\"\nnum_cpus = \"1\"\n", m);
	assert_int_equal(lines_with(&l->rep, -1, "NUMA node", NULL), 0);
	unload(l);
	/* not pinned: where the device is */
	l = check("devices = \"0000:02:00.0\"\n", m);
	assert_int_equal(l->c.stack_node[0], 1);
	unload(l);
}

static void waiting_threads_get_the_nodes_cpus_but_the_stacks(void **state)
{
	struct conf_machine *m = plain();
	struct loaded *l;
	char buf[64];

	for (unsigned i = 2; i < 8; i++)
		conf_cpus_add(&m->cpuset, i);
	m->nb_nodes = 2;
	for (unsigned i = 4; i < 8; i++)
		m->cpu_node[i] = 1;
	l = check("num_cpus = \"1,5\"\napp_exclude_cpus = \"0,7\"\n", m);
	assert_int_equal(l->rc, 0);
	assert_string_equal(conf_cpus_text(&l->c.app_cpus[0], buf, sizeof(buf)), "2,3");
	assert_string_equal(conf_cpus_text(&l->c.app_cpus[1], buf, sizeof(buf)), "4,6");
	unload(l);
	/* nobody is pinned there */
	l = check("num_cpus = \"1,5\"\nstack_thread_mode = \"run-to-completion\"\n", m);
	assert_string_equal(conf_cpus_text(&l->c.app_cpus[0], buf, sizeof(buf)), "0-3");
	unload(l);
}

static void this_machine_can_be_read(void **state)
{
	static struct conf_machine m;

	conf_machine_read(&m);
	assert_true(m.cpuset.count >= 1);
	assert_true(m.affinity.count >= 1);
	for (unsigned i = 0; i < CONF_CPU_MAX; i++)
		if (conf_cpus_has(&m.affinity, i))
			assert_true(conf_cpus_has(&m.cpuset, i));
	assert_true(m.nb_nodes >= 1);
	assert_true(m.nofile > 0);
	assert_true(m.mem_available > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpus_outside_the_cpuset_are_named_with_those_allowed),
		cmocka_unit_test(an_address_of_the_kernel_is_refused_with_the_remedy),
		cmocka_unit_test(kernel_interfaces_are_found_by_name_and_mac),
		cmocka_unit_test(pci_ports_must_be_bound_and_the_remedy_knows_the_machine),
		cmocka_unit_test(a_machine_without_huge_pages_runs_on_normal_ones_and_says_so_once),
		cmocka_unit_test(too_few_huge_pages_are_counted_out),
		cmocka_unit_test(socket_mem_is_compared_per_node),
		cmocka_unit_test(pages_as_files_need_descriptors),
		cmocka_unit_test(a_huge_dir_that_is_no_hugetlbfs_is_explained),
		cmocka_unit_test(a_device_on_another_node_is_mentioned),
		cmocka_unit_test(waiting_threads_get_the_nodes_cpus_but_the_stacks),
		cmocka_unit_test(this_machine_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

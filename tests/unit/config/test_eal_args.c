/* test_eal_args.c - the argument vector for EAL: what is refused, dropped, passed through and added. */
#include "util.h"

static struct conf_machine machine;
static char text[2048];

/* Arguments built for dpdk_args (and more configuration) on a machine with or without huge pages. NULL: refused. */
static const char *args_for(const char *conf, bool huge, const char *refused_word)
{
	struct conf_machine *m = &machine;
	struct eal_args a = { 0 };
	char all[2048];
	struct loaded *l;
	int rc;

	memset(m, 0, sizeof(*m));
	m->nb_nodes = 1;
	for (unsigned i = 0; i < 4; i++)
		conf_cpus_add(&m->cpuset, i);
	conf_cpus_add(&m->affinity, 0);
	conf_cpus_add(&m->affinity, 2);
	conf_cpus_add(&m->affinity, 3);
	m->nofile = 65536;
	m->mem_available = 8192ull << 20;
	m->nb_page_sizes = 1;
	m->pages[0].page_bytes = 2 << 20;
	if (huge)
		m->pages[0].node[0] = (typeof(m->pages[0].node[0])){ 1024, 1024 };
	m->nb_links = 1;
	m->links[0] = (struct conf_kernel_link){ .ifname = "eth0", .mac = { 2, 0, 0, 0, 0, 5 }, .numa_node = -1 };
	m->nb_pci = 2;
	m->pci[0] = (struct conf_pci_port){ .addr = "0000:02:00.0", .driver = "vfio-pci", .numa_node = -1 };
	m->pci[1] = (struct conf_pci_port){ .addr = "0000:03:00.0", .driver = "ixgbe", .numa_node = -1 };
	snprintf(all, sizeof(all), BASE "%s\n", conf);
	l = load(all);
	if (refused_word) {
		assert_int_not_equal(l->rc, 0);
		assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:3: `dpdk_args`", refused_word);
		unload(l);
		return NULL;
	}
	if (l->rc)
		show(&l->rep);
	assert_int_equal(l->rc, 0);
	rc = conf_check_machine(&l->c, m, &l->rep);
	if (rc)
		show(&l->rep);
	assert_int_equal(rc, 0);
	assert_int_equal(conf_eal_args(&l->c, m, &a, &l->rep), 0);
	assert_string_equal(a.argv[0], "lstack");
	assert_null(a.argv[a.argc]);
	snprintf(text, sizeof(text), " %s ", "");
	eal_args_text(&a, text + 1, sizeof(text) - 3);
	strcat(text, " ");
	eal_args_free(&a);
	unload(l);
	return text;
}

static bool has(const char *words)
{
	char padded[256];

	snprintf(padded, sizeof(padded), " %s ", words);
	return strstr(text, padded) != NULL;
}

#define assert_has(words)                                           \
	do {                                                        \
		if (!has(words))                                    \
			fail_msg("no \"%s\" in%s", words, text);    \
	} while (0)
#define assert_has_not(words)                                       \
	do {                                                        \
		if (has(words))                                     \
			fail_msg("\"%s\" in%s", words, text);       \
	} while (0)

static void what_would_end_or_join_a_process_is_refused(void **state)
{
	args_for("dpdk_args = [\"-h\"]", true, "\"-h\": refused");
	args_for("dpdk_args = [\"--help\"]", true, "refused");
	args_for("dpdk_args = [\"-v\"]", true, "refused");
	args_for("dpdk_args = [\"--version\"]", true, "refused");
	args_for("dpdk_args = [\"--proc-type\", \"secondary\"]", true, "refused");
	args_for("dpdk_args = [\"--proc-type=secondary\"]", true, "refused");
	args_for("dpdk_args = [\"--proc-type\"]", true, "refused");
	args_for("dpdk_args = [\"--socket-mem\"]", true, "its value is missing");
	args_for("dpdk_args = [\"stray\"]", true, "not an option");
	/* the value of another option is not looked at */
	args_for("dpdk_args = [\"--file-prefix\", \"-h\"]", true, NULL);
	assert_has("--file-prefix -h");
}

static void what_does_not_apply_is_dropped(void **state)
{
	args_for("dpdk_args = [\"--map-perfect\", \"-l\", \"1-3\", \"-c0xff\", \"--lcores=1\", \"--main-lcore\", \"2\", \"--proc-type=auto\", \"-n\", \"4\"]", true, NULL);
	assert_has_not("--map-perfect");
	assert_has_not("-l 1-3");
	assert_has_not("-c0xff");
	assert_has_not("--lcores=1");
	assert_has_not("--main-lcore 2");
	assert_has_not("--proc-type=auto");
	assert_has("-n 4");
}

static void everything_else_passes_through(void **state)
{
	args_for("dpdk_args = [\"--socket-mem\", \"512\", \"--log-level=lib.eal:8\", \"-d\", \"librte_x.so\", \"--vdev\", \"net_tap0,iface=t0\", "
		 "\"--base-virtaddr\", \"0x100000000\", \"--some-future-option\"]",
		 true, NULL);
	assert_has("--socket-mem 512");
	assert_has("--log-level=lib.eal:8");
	assert_has("-d librte_x.so");
	assert_has("--vdev net_tap0,iface=t0");
	assert_has("--base-virtaddr 0x100000000");
	assert_has("--some-future-option");
}

static void one_lcore_on_all_cpus_of_the_process(void **state)
{
	args_for("num_cpus = \"2,3\"", true, NULL);
	assert_has("--lcores '0@(0,2,3)'");
}

static void huge_pages_leave_no_files_behind(void **state)
{
	args_for("", true, NULL);
	assert_has("--in-memory");
	assert_has("--single-file-segments");
	assert_has_not("--no-huge");
	assert_has_not("--no-shconf");
	assert_has("--no-telemetry");
	/* files were asked for: a prefix of this process's own */
	args_for("dpdk_args = [\"--legacy-mem\", \"--socket-mem\", \"256\"]", true, NULL);
	assert_has_not("--in-memory");
	assert_has_not("--single-file-segments");
	assert_non_null(strstr(text, " --file-prefix gazelle"));
	args_for("dpdk_args = [\"--file-prefix\", \"mine\"]", true, NULL);
	assert_has("--file-prefix mine");
	assert_has_not("--in-memory");
	args_for("dpdk_args = [\"--telemetry\"]", true, NULL);
	assert_has_not("--no-telemetry");
}

static void no_huge_pages_means_normal_ones(void **state)
{
	args_for("", false, NULL);
	assert_has("--no-huge");
	assert_has("--no-shconf");
	assert_has_not("--in-memory"); /* not together (DPDK) */
	assert_non_null(strstr(text, " -m "));
	args_for("dpdk_args = [\"--socket-mem\", \"2400,0\", \"--huge-dir\", \"/mnt/x\", \"--legacy-mem\", \"--single-file-segments\", \"--in-memory\"]", false, NULL);
	assert_has_not("--socket-mem 2400,0");
	assert_has_not("2400,0");
	assert_has_not("/mnt/x");
	assert_has_not("--legacy-mem");
	assert_has_not("--in-memory");
	assert_has("--no-huge");
	/* the user's word counts */
	args_for("dpdk_args = [\"--no-huge\", \"-m\", \"300\"]", true, NULL);
	assert_has("--no-huge -m 300");
	assert_has("--no-shconf");
	assert_null(strstr(strstr(text, "-m 300") + 1, " -m "));
}

static void no_pci_unless_a_port_is_configured(void **state)
{
	args_for("devices = \"eth0\"", true, NULL);
	assert_has("--no-pci");
	assert_has("--iova-mode va");
	args_for("devices = \"02:00:00:00:00:05\"", true, NULL);
	assert_has("--no-pci");
	/* that port, and no other */
	args_for("devices = \"0000:02:00.0\"", true, NULL);
	assert_has("-a 0000:02:00.0");
	assert_has_not("--no-pci");
	assert_has_not("0000:03:00.0");
	/* a MAC address that no kernel interface has: what is bound to a user-mode driver */
	args_for("devices = \"02:00:00:00:00:09\"", true, NULL);
	assert_has("-a 0000:02:00.0");
	assert_has_not("0000:03:00.0");
	args_for("dpdk_args = [\"-a\", \"0000:05:00.0\"]", true, NULL);
	assert_has("-a 0000:05:00.0");
	assert_has_not("--no-pci");
	args_for("dpdk_args = [\"--no-pci\"]", true, NULL);
	assert_has("--no-pci");
	assert_null(strstr(strstr(text, "--no-pci") + 1, "--no-pci"));
	args_for("dpdk_args = [\"--iova-mode=pa\"]\ndevices = \"eth0\"", true, NULL);
	assert_has_not("--iova-mode va");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_would_end_or_join_a_process_is_refused),
		cmocka_unit_test(what_does_not_apply_is_dropped),
		cmocka_unit_test(everything_else_passes_through),
		cmocka_unit_test(one_lcore_on_all_cpus_of_the_process),
		cmocka_unit_test(huge_pages_leave_no_files_behind),
		cmocka_unit_test(no_huge_pages_means_normal_ones),
		cmocka_unit_test(no_pci_unless_a_port_is_configured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

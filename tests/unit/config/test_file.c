/* test_file.c - the configuration file: every key good, out of range and of the wrong type; all errors at once; names; documents. */
#include "util.h"

#include <sys/prctl.h>
#include <unistd.h>

/* Walks the schema, so that a new key is tested without a new line here. */
static void every_integer_key_keeps_its_range_and_type(void **state)
{
	char text[256];

	for (unsigned i = 0; i < conf_key_count; i++) {
		const struct conf_key *k = &conf_keys[i];
		bool refused_unless_default = k->status == CONF_NOT_BUILT;

		if (k->type != CONF_INT)
			continue;
		snprintf(text, sizeof(text), "%s = %d", k->name, k->def);
		takes(text);
		if (!refused_unless_default) {
			long long good[] = { k->min, k->max };

			for (unsigned g = 0; g < 2; g++) {
				/* sizes that are powers of two, products that no pool could hold: tested by themselves */
				snprintf(text, sizeof(text), "%s = %lld", k->name, good[g]);
				takes(text);
			}
		}
		snprintf(text, sizeof(text), "%s = %lldL", k->name, (long long)k->min - 1);
		refuses(text, k->name);
		snprintf(text, sizeof(text), "%s = %lldL", k->name, (long long)k->max + 1);
		refuses(text, k->name);
		snprintf(text, sizeof(text), "%s = \"%d\"", k->name, k->def);
		refuses(text, "wrong type");
		snprintf(text, sizeof(text), "%s = true", k->name);
		refuses(text, "wrong type");
		snprintf(text, sizeof(text), "%s = 1.5", k->name);
		refuses(text, "wrong type");
		snprintf(text, sizeof(text), "%s = [1]", k->name);
		refuses(text, "wrong type");
	}
}

static void every_string_key_refuses_other_types(void **state)
{
	char text[256];

	for (unsigned i = 0; i < conf_key_count; i++) {
		const struct conf_key *k = &conf_keys[i];

		if (k->type != CONF_STRING && k->type != CONF_STRINGS)
			continue;
		/* two of them stand in BASE already */
		if (!strcmp(k->name, "host_addr") || !strcmp(k->name, "mask_addr"))
			continue;
		snprintf(text, sizeof(text), "%s = 5", k->name);
		refuses(text, "wrong type");
		snprintf(text, sizeof(text), "%s = { a = 1; }", k->name);
		refuses(text, "wrong type");
	}
}

static void every_retired_key_is_taken_with_a_note(void **state)
{
	static const char *const values[] = { "1", "\"x\"", "true", "[1, 2]", "1.5" };
	char text[256];

	for (unsigned i = 0; i < conf_key_count; i++) {
		if (conf_keys[i].status != CONF_RETIRED)
			continue;
		for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
			struct loaded *l;

			snprintf(text, sizeof(text), BASE "%s = %s\n", conf_keys[i].name, values[v]);
			l = load(text);
			assert_int_equal(l->rc, 0);
			assert_line(&l->rep, LOG_LEVEL_INFO, conf_keys[i].name, "has no effect any more");
			assert_int_equal(l->rep.count, 1);
			unload(l);
		}
	}
}

static void what_is_not_built_is_refused_not_ignored(void **state)
{
	static const char *const lines[] = {
		"bond_mode = 1",   "bond_mode = 4",	"bond_mode = 6", "bond_slave_mac = \"aa:bb:cc:dd:ee:ff;ab:bb:cc:dd:ee:ff\"", "bond_miimon = 100",
		"flow_bifurcation = 1", "host_addr6 = \"fd00::1\"", "tuple_filter = 1", "num_process = 2", "process_numa = \"0,1\"", "process_idx = 1",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		refuses(lines[i], "not built in this version");
}

static void what_is_warned_about_is_taken_as_its_default(void **state)
{
	struct loaded *l = load(BASE "use_ltran = 1\nuse_sockmap = 1\n");

	assert_int_equal(l->rc, 0);
	assert_int_equal(l->c.use_ltran, 0);
	assert_int_equal(l->c.use_sockmap, 0);
	assert_line(&l->rep, LOG_LEVEL_INFO, "test.conf:3: `use_ltran=1`", "not supported");
	assert_line(&l->rep, LOG_LEVEL_INFO, "test.conf:4: `use_sockmap=1`", "not built");
	unload(l);
}

static void keys_of_fast_open_are_linuxs_text(void **state)
{
	static const char *const bad[] = { "1-2-3", "1-2-3-4-5", "1-2-3-4,", "1-2-3-4,5-6-7", "123456789-2-3-4", "x-2-3-4", "1-2-3-4 ", "1-2-3-4,1-2-3-4,1-2-3-4", "-1-2-3" };
	struct loaded *l = load(BASE "tcp_fastopen_key = \"01234567-89abcdef-0-D4d4D4d4,1-2-3-4\"\n");
	uint32_t words[8];

	(void)state;
	assert_int_equal(l->rc, 0);
	assert_int_equal(conf_fastopen_keys(l->c.tcp_fastopen_key, words), 2);
	assert_int_equal(words[1], 0x89abcdef);
	assert_int_equal(words[3], 0xd4d4d4d4);
	assert_int_equal(words[7], 4);
	unload(l);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(conf_fastopen_keys(bad[i], words), 0);
	l = load(BASE "tcp_fastopen_key = \"secret\"\n");
	assert_int_not_equal(l->rc, 0);
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:3: `tcp_fastopen_key`", "8 hexadecimal digits");
	unload(l);
}

static void defaults_are_those_of_the_contract(void **state)
{
	struct loaded *l = load(BASE);
	struct config *c = &l->c;

	assert_int_equal(l->rc, 0);
	assert_int_equal(l->rep.count, 0);
	assert_int_equal(c->nb_stacks, 1);
	assert_false(c->pin_stacks);
	assert_false(c->run_to_completion);
	assert_int_equal(c->app_bind_numa, 1);
	assert_int_equal(c->rpc_number, 4);
	assert_int_equal(c->nic_read_number, 128);
	assert_int_equal(c->nic_rxqueue_size, 4096);
	assert_int_equal(c->nic_txqueue_size, 2048);
	assert_int_equal(c->bond_mode, -1);
	assert_int_equal(c->udp_enable, 1);
	assert_int_equal(c->vlan_id, -1);
	assert_int_equal(c->tcp_conn_count, 1500);
	assert_int_equal(c->mbuf_count_per_conn, 170);
	assert_int_equal(c->mem_cache_num, 32);
	assert_int_equal(c->socket_fast_close, 1);
	assert_int_equal(c->main_thread_affinity, 0);
	assert_string_equal(c->kernel_interface, "auto");
	assert_int_equal(c->gateway_addr_be, 0);
	assert_int_equal(c->device_kind, CONF_DEV_NONE);
	unload(l);
}

static void all_errors_of_a_file_are_reported_in_one_go(void **state)
{
	struct loaded *l = load("gatway_addr = \"192.168.1.1\"\n"
				"num_cpus = \"x\"\n"
				"host_addr = \"224.168.1.10\"\n"
				"mask_addr = \"255.0.255.0\"\n"
				"udp_enable = \"1\"\n"
				"bond_mode = 1\n"
				"tcp_conn_count = 0\n"
				"nic_rxqueue_size = 1000\n"
				"dpdk_args = [\"-h\", \"--proc-type=secondary\"]\n"
				"devices = \"/dev/x\"\n"
				"unix_prefix = \"a;b\"\n"
				"log_file = \"relative\"\n"
				"stack_thread_mode = \"fast\"\n");

	assert_int_not_equal(l->rc, 0);
	assert_line(&l->rep, LOG_LEVEL_INFO, "test.conf:1: `gatway_addr`", "did you mean `gateway_addr`?");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:2: `num_cpus=", "");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:3: `host_addr=", "multicast");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:4: `mask_addr=", "not contiguous");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:5: `udp_enable=\"1\"`", "needs the integer 0 or 1");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:6: `bond_mode=1`", "not built in this version");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:7: `tcp_conn_count=0`", "needs an integer, 1..16777216");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:8: `nic_rxqueue_size=1000`", "needs 512 or 1024");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:9: `dpdk_args` \"-h\"", "refused");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:9: `dpdk_args` \"--proc-type=secondary\"", "refused");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:10: `devices=", "needs a MAC address");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:11: `unix_prefix=", "shell");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:12: `log_file=", "absolute");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:13: `stack_thread_mode=", "run-to-completion");
	assert_int_equal(l->rep.errors, 13);
	unload(l);
}

static void a_syntax_error_names_its_line(void **state)
{
	struct loaded *l = load(BASE "num_cpus = \"2\nudp_enable = 1\n");

	assert_int_equal(l->rc, -EINVAL);
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:", "syntax");
	unload(l);
	l = load(BASE "udp_enable = 1\nudp_enable = 0\n");
	assert_int_equal(l->rc, -EINVAL);
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:4: ", "");
	unload(l);
}

static void nearest_key_is_found_and_far_ones_are_not(void **state)
{
	assert_string_equal(conf_key_nearest("gatway_addr"), "gateway_addr");
	assert_string_equal(conf_key_nearest("host_adrr"), "host_addr");
	assert_string_equal(conf_key_nearest("numcpus"), "num_cpus");
	assert_string_equal(conf_key_nearest("tcp_con_count"), "tcp_conn_count");
	assert_string_equal(conf_key_nearest("udp_enabled"), "udp_enable");
	assert_null(conf_key_nearest("completely_different_thing"));
	assert_null(conf_key_nearest("zzz"));
	assert_null(conf_key_nearest("this_name_is_much_longer_than_any_key_in_the_table_could_ever_be"));
}

static void strict_makes_an_unknown_key_an_error_wherever_it_stands(void **state)
{
	struct loaded *l = load(BASE "nonsense = 1\n");

	assert_int_equal(l->rc, 0);
	assert_line(&l->rep, LOG_LEVEL_INFO, "test.conf:3: `nonsense`", "unknown");
	unload(l);
	refuses("nonsense = 1\nstrict = 1", "unknown");
}

static void addresses_are_checked(void **state)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"192.168.1.256\"", "not an IPv4 address" },
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"fd00::1\"", "not an IPv4 address" },
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"239.1.1.1\"", "multicast" },
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"127.0.0.1\"", "loopback" },
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"0.0.0.0\"", "reserved" },
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"255.255.255.255\"", "reserved" },
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"10.0.0.255\"", "broadcast address of its own network" },
		{ "mask_addr=\"255.255.255.0\"\n\nhost_addr=\"10.0.0.0\"", "network address of its own network" },
		{ "host_addr=\"10.0.0.1\"\n\nmask_addr=\"255.255.0.255\"", "not contiguous" },
		{ "host_addr=\"10.0.0.1\"\n\nmask_addr=\"0.0.0.0\"", "empty" },
		{ "host_addr=\"10.0.0.1\"\n\nmask_addr=\"/24\"", "not an IPv4 mask" },
	};
	struct loaded *l;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		l = load(bad[i].text);
		assert_int_not_equal(l->rc, 0);
		assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:3: ", bad[i].word);
		unload(l);
	}
	refuses("gateway_addr=\"192.168.1.10\"", "host_addr");
	refuses("gateway_addr=\"224.0.0.1\"", "not a host's address");
	l = load(BASE "gateway_addr=\"10.0.0.1\"\n");
	assert_int_equal(l->rc, 0);
	assert_line(&l->rep, LOG_LEVEL_INFO, "test.conf:3: `gateway_addr", "not on the link");
	unload(l);
	/* RFC 3021: both addresses of a /31 are hosts' */
	l = load("host_addr=\"10.0.0.0\"\nmask_addr=\"255.255.255.254\"\n");
	assert_int_equal(l->rc, 0);
	unload(l);
	l = load("mask_addr=\"255.255.255.0\"\n");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "`host_addr` is missing", NULL);
	unload(l);
	l = load("host_addr=\"10.0.0.1\"\n");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "`mask_addr` is missing", NULL);
	unload(l);
}

static void devices_are_told_apart(void **state)
{
	static const struct {
		const char *text;
		enum conf_device_kind kind;
	} good[] = {
		{ "aa:bb:cc:dd:ee:f0", CONF_DEV_MAC }, { "AE:BB:CC:DD:EE:FF", CONF_DEV_MAC }, { "0000:01:00.0", CONF_DEV_PCI },
		{ "01:00.0", CONF_DEV_PCI },	       { "eth0", CONF_DEV_NAME },	      { "enp1s0f0", CONF_DEV_NAME },
		{ "net_tap0", CONF_DEV_NAME },	       { "bond0.7", CONF_DEV_NAME },	      { "eth0:1", CONF_DEV_NAME },
	};
	static const char *const bad[] = { "ab:bb:cc:dd:ee", "ab:bb:cc:dd:ee:fg", "00:00:00:00:00:00", "01:bb:cc:dd:ee:ff", "0000:01:00.9", "a b", "/dev/x" };
	char text[256];

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		struct loaded *l;

		snprintf(text, sizeof(text), BASE "devices = \"%s\"\n", good[i].text);
		l = load(text);
		assert_int_equal(l->rc, 0);
		if (l->c.device_kind != good[i].kind)
			fail_msg("%s: kind %d", good[i].text, l->c.device_kind);
		unload(l);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "devices = \"%s\"", bad[i]);
		refuses(text, "devices");
	}
}

static void cpu_lists_are_read(void **state)
{
	static const struct {
		const char *text;
		const char *is; /* NULL: refused */
	} lists[] = {
		{ "2", "2" },	      { "0,2-4", "0,2-4" },   { "0x2,0x10", "2,16" }, { " 1 , 3 - 5 ", "1,3-5" }, { "3,1,2", "1-3" }, { "5,5", "5" },
		{ "0X1f", "31" },     { "1023", "1023" },     { "", NULL },	      { ",", NULL },		  { "1,", NULL },     { "-1", NULL },
		{ "1-", NULL },	      { "4-2", NULL },	      { "1024", NULL },	      { "0-1024", NULL },	  { "a", NULL },      { "0x", NULL },
		{ "1;2", NULL },      { "1 2", NULL },	      { "99999999999999999999", NULL }, { "1--2", NULL },
	};
	struct conf_cpus cpus;
	char buf[256], err[128];

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		int rc = conf_cpus_parse(lists[i].text, &cpus, err, sizeof(err));

		if ((rc == 0) != (lists[i].is != NULL))
			fail_msg("\"%s\": %d %s", lists[i].text, rc, err);
		if (!rc)
			assert_string_equal(conf_cpus_text(&cpus, buf, sizeof(buf)), lists[i].is);
		else
			assert_true(strlen(err) > 5);
	}
	/* the order of stacks is that of the list */
	assert_int_equal(conf_cpus_parse("7,3,5-6", &cpus, err, sizeof(err)), 0);
	assert_int_equal(cpus.count, 4);
	assert_int_equal(cpus.list[0], 7);
	assert_int_equal(cpus.list[1], 3);
	assert_int_equal(cpus.list[3], 6);
	assert_int_equal(conf_cpus_parse("0-1023", &cpus, err, sizeof(err)), 0);
	assert_int_equal(cpus.count, 1024);
}

static void stacks_follow_num_cpus_or_stack_num(void **state)
{
	struct loaded *l = load(BASE "num_cpus = \"1,2,3\"\n");

	assert_int_equal(l->c.nb_stacks, 3);
	assert_true(l->c.pin_stacks);
	unload(l);
	l = load(BASE "num_cpus = \"1,2,3\"\nstack_thread_mode = \"run-to-completion\"\n");
	assert_int_equal(l->c.nb_stacks, 3);
	assert_false(l->c.pin_stacks);
	assert_true(l->c.run_to_completion);
	unload(l);
	l = load(BASE "stack_num = 5\n");
	assert_int_equal(l->c.nb_stacks, 5);
	assert_false(l->c.pin_stacks);
	unload(l);
	takes("num_cpus = \"1,2\"\nstack_num = 2");
	l = load(BASE "num_cpus = \"1,2\"\nstack_num = 3\n");
	assert_line(&l->rep, LOG_LEVEL_ERROR, "test.conf:4: `stack_num=3`", "num_cpus");
	unload(l);
	refuses("num_cpus = \"0-64\"", "at most 64");
	refuses("num_cpus = \"\"", "empty");
}

static void reserved_vlan_ids_mean_untagged(void **state)
{
	struct loaded *l = load(BASE "nic_vlan_mode = 4095\n");

	assert_int_equal(l->rc, 0);
	assert_int_equal(l->c.vlan_id, -1);
	assert_line(&l->rep, LOG_LEVEL_INFO, "nic_vlan_mode=4095", "untagged");
	unload(l);
	l = load(BASE "nic_vlan_mode = 0\n");
	assert_int_equal(l->c.vlan_id, -1);
	assert_line(&l->rep, LOG_LEVEL_INFO, "nic_vlan_mode=0", "untagged");
	unload(l);
	l = load(BASE "nic_vlan_mode = 7\n");
	assert_int_equal(l->c.vlan_id, 7);
	assert_int_equal(l->rep.count, 0);
	unload(l);
}

static void nic_read_has_two_names(void **state)
{
	struct loaded *l = load(BASE "nic_read_num = 64\n");

	assert_int_equal(l->c.nic_read_number, 64);
	unload(l);
	takes("nic_read_num = 64\nnic_read_number = 64");
	refuses("nic_read_num = 64\nnic_read_number = 65", "two names of one key");
}

static void prefixes_that_a_shell_would_take_are_refused(void **state)
{
	static const char *const bad[] = { "a|b", "a;b", "a&b", "a$b", "a>b", "a<b", "a`b", "a\\\\b", "a!b", "a\\nb", "a/b", "../x" };
	char text[512], longest[130];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "unix_prefix = \"%s\"", bad[i]);
		refuses(text, "unix_prefix");
	}
	memset(longest, 'x', sizeof(longest));
	longest[128] = '\0';
	snprintf(text, sizeof(text), "unix_prefix = \"%s\"", longest);
	takes(text);
	longest[128] = 'x';
	longest[129] = '\0';
	snprintf(text, sizeof(text), "unix_prefix = \"%s\"", longest);
	refuses(text, "at most 128");
}

static void the_environment_wins_over_the_file(void **state)
{
	struct conf_env env;
	struct loaded *l;

	unsetenv("GAZELLE_ON_START_FAILURE");
	l = load(BASE "on_start_failure = \"exit\"\n");
	conf_env_read(&env);
	assert_true(conf_exit_on_failure(&l->c, &env));
	unload(l);
	setenv("GAZELLE_ON_START_FAILURE", "kernel", 1);
	l = load(BASE "on_start_failure = \"exit\"\n");
	conf_env_read(&env);
	assert_false(conf_exit_on_failure(&l->c, &env));
	assert_int_equal(l->c.origin[conf_key_find("on_start_failure")], CONF_FROM_ENVIRONMENT);
	unload(l);
	setenv("GAZELLE_ON_START_FAILURE", "exit", 1);
	conf_env_read(&env);
	assert_true(conf_exit_on_failure(NULL, &env)); /* no file could be read at all */
	/* a broken file knows its on_start_failure all the same */
	unsetenv("GAZELLE_ON_START_FAILURE");
	conf_env_read(&env);
	l = load(BASE "on_start_failure = \"exit\"\nbond_mode = 1\n");
	assert_int_not_equal(l->rc, 0);
	assert_true(conf_exit_on_failure(&l->c, &env));
	unload(l);
	refuses("on_start_failure = \"die\"", "needs \"kernel\" or \"exit\"");
	setenv("GAZELLE_ON_START_FAILURE", "nonsense", 1);
	l = load(BASE);
	assert_line(&l->rep, LOG_LEVEL_ERROR, "GAZELLE_ON_START_FAILURE=nonsense", "");
	unload(l);
	unsetenv("GAZELLE_ON_START_FAILURE");
}

static void a_process_is_named_by_file_argument_or_comm(void **state)
{
	char exe[4096], list[8192];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	assert_true(n > 0);
	exe[n] = '\0';
	assert_true(conf_names_this_process(strrchr(exe, '/') + 1));
	snprintf(list, sizeof(list), "redis-server, %s ,nginx", strrchr(exe, '/') + 1);
	assert_true(conf_names_this_process(list));
	assert_false(conf_names_this_process("redis-server,nginx"));
	assert_false(conf_names_this_process(NULL));
	assert_false(conf_names_this_process(""));
	assert_false(conf_names_this_process(","));
	assert_false(conf_names_this_process(exe)); /* a path is not a name */
	prctl(PR_SET_NAME, "gz comm name");
	assert_true(conf_names_this_process("gz comm name"));
	snprintf(list, sizeof(list), "%.*s", (int)strlen(strrchr(exe, '/') + 1) - 1, strrchr(exe, '/') + 1);
	assert_false(conf_names_this_process(list)); /* nor is a part of it */
}

static void files_that_cannot_be_read_are_errors_not_exits(void **state)
{
	static const char *const paths[] = { "/", "/nonexistent/lstack.conf", "/dev/null/x" };
	struct conf_report rep;
	struct config c;

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		conf_init(&c);
		conf_report_init(&rep);
		assert_int_not_equal(conf_load(&c, paths[i], &rep), 0);
		assert_line(&rep, LOG_LEVEL_ERROR, paths[i], "cannot be read");
		conf_report_free(&rep);
		conf_fini(&c);
	}
	conf_init(&c);
	conf_report_init(&rep);
	assert_int_not_equal(conf_load(&c, "/dev/zero", &rep), 0); /* endless */
	conf_report_free(&rep);
	conf_fini(&c);
}

/* The user guide's example, without its bond lines. */
static void the_originals_example_starts(void **state)
{
	struct loaded *l = load("dpdk_args=[\"--socket-mem\", \"2400,0,0,0\", \"--huge-dir\", \"/mnt/hugepages-lstack\", \"--proc-type\", \"primary\", "
				"\"--legacy-mem\", \"--map-perfect\"]\n"
				"listen_shadow=1\nuse_ltran=0\nkni_switch=0\nlow_power_mode=0\n"
				"num_cpus=\"2,22\"\nnum_wakeup=\"3,23\"\n"
				"host_addr=\"192.168.1.10\"\nmask_addr=\"255.255.255.0\"\ngateway_addr=\"192.168.1.1\"\n"
				"devices=\"aa:bb:cc:dd:ee:fe\"\nudp_enable=1\nnic_vlan_mode=-1\ntcp_conn_count=1500\nmbuf_count_per_conn=170\n"
				"send_connect_number=4\nread_connect_number=4\nrpc_number=4\nnic_read_num=128\nmbuf_pool_size=1024000\n");

	show(&l->rep);
	assert_int_equal(l->rc, 0);
	assert_int_equal(l->c.nb_stacks, 2);
	assert_int_equal(l->c.dpdk_args.n, 8);
	unload(l);
}

static void values_are_shown_as_the_file_writes_them(void **state)
{
	struct loaded *l = load(BASE "dpdk_args = [\"-n\", \"4\"]\nnic_vlan_mode = 7\n");
	char buf[256];

	assert_string_equal(conf_value_text(&l->c, (unsigned)conf_key_find("dpdk_args"), buf, sizeof(buf)), "[\"-n\", \"4\"]");
	assert_string_equal(conf_value_text(&l->c, (unsigned)conf_key_find("nic_vlan_mode"), buf, sizeof(buf)), "7");
	assert_string_equal(conf_value_text(&l->c, (unsigned)conf_key_find("host_addr"), buf, sizeof(buf)), "\"192.168.1.10\"");
	assert_int_equal(l->c.origin[conf_key_find("nic_vlan_mode")], CONF_FROM_FILE);
	assert_int_equal(l->c.line[conf_key_find("nic_vlan_mode")], 4);
	assert_int_equal(l->c.origin[conf_key_find("udp_enable")], CONF_FROM_DEFAULT);
	/* as it would have to be written */
	free(l->c.unix_prefix);
	l->c.unix_prefix = strdup("a\"b\\c\n");
	assert_string_equal(conf_value_text(&l->c, (unsigned)conf_key_find("unix_prefix"), buf, sizeof(buf)), "\"a\\\"b\\\\c\\x0a\"");
	for (size_t n = 0; n < 12; n++) {
		conf_value_text(&l->c, (unsigned)conf_key_find("unix_prefix"), buf, n + 1);
		assert_true(strlen(buf) <= n);
	}
	conf_value_text(&l->c, (unsigned)conf_key_find("dpdk_args"), buf, 8);
	assert_true(strlen(buf) < 8);
	unload(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_integer_key_keeps_its_range_and_type),
		cmocka_unit_test(every_string_key_refuses_other_types),
		cmocka_unit_test(every_retired_key_is_taken_with_a_note),
		cmocka_unit_test(what_is_not_built_is_refused_not_ignored),
		cmocka_unit_test(what_is_warned_about_is_taken_as_its_default),
		cmocka_unit_test(keys_of_fast_open_are_linuxs_text),
		cmocka_unit_test(defaults_are_those_of_the_contract),
		cmocka_unit_test(all_errors_of_a_file_are_reported_in_one_go),
		cmocka_unit_test(a_syntax_error_names_its_line),
		cmocka_unit_test(nearest_key_is_found_and_far_ones_are_not),
		cmocka_unit_test(strict_makes_an_unknown_key_an_error_wherever_it_stands),
		cmocka_unit_test(addresses_are_checked),
		cmocka_unit_test(devices_are_told_apart),
		cmocka_unit_test(cpu_lists_are_read),
		cmocka_unit_test(stacks_follow_num_cpus_or_stack_num),
		cmocka_unit_test(reserved_vlan_ids_mean_untagged),
		cmocka_unit_test(nic_read_has_two_names),
		cmocka_unit_test(prefixes_that_a_shell_would_take_are_refused),
		cmocka_unit_test(the_environment_wins_over_the_file),
		cmocka_unit_test(a_process_is_named_by_file_argument_or_comm),
		cmocka_unit_test(files_that_cannot_be_read_are_errors_not_exits),
		cmocka_unit_test(the_originals_example_starts),
		cmocka_unit_test(values_are_shown_as_the_file_writes_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

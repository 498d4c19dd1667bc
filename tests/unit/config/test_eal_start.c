/* test_eal_start.c - the installed EAL takes the arguments that are built on this machine, uses one lcore, and leaves the caller's
 * affinity alone. */
#include "util.h"

#include <sched.h>

#include <rte_eal.h>
#include <rte_lcore.h>

static void eal_starts_with_the_arguments_built_here(void **state)
{
	static struct conf_machine m;
	struct loaded *l = load(BASE "nic_rxqueue_size = 512\nnic_txqueue_size = 512\n");
	cpu_set_t before, after;
	struct eal_args a;
	char text[1024];

	assert_int_equal(l->rc, 0);
	conf_machine_read(&m);
	m.nb_pci = 0; /* the machine's own ports are not touched by a test */
	assert_int_equal(conf_check_machine(&l->c, &m, &l->rep), 0);
	assert_int_equal(conf_eal_args(&l->c, &m, &a, &l->rep), 0);
	print_message("%s\n", eal_args_text(&a, text, sizeof(text)));
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_true(rte_eal_init(a.argc, a.argv) >= 0);
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_true(CPU_EQUAL(&before, &after));
	assert_int_equal(rte_lcore_count(), 1);
	rte_eal_cleanup();
	eal_args_free(&a);
	unload(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(eal_starts_with_the_arguments_built_here) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_policy.c - the table "which stack" of the socket contract, row by row. */
#include "posix/policy.h"

#include "stack/boot.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct ip4_conf conf;

const struct ip4_conf *boot_ip4(void)
{
	return &conf;
}

static uint32_t ip(const char *text)
{
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, text, &a), 1);
	return a.s_addr;
}

static const char *const kernel_addrs[][2] = { { "127.0.0.1", "255.0.0.0" }, { "10.1.0.2", "255.255.0.0" } };

static enum side ask(enum policy_event ev, const char *addr, const char *gateway)
{
	struct policy_net nets[2];
	struct policy_tables t = { .stack_addr_be = ip("192.168.1.10"), .stack_mask_be = ip("255.255.255.0"),
				   .stack_gateway_be = gateway ? ip(gateway) : 0, .kernel = nets, .nb_kernel = 2 };

	for (int i = 0; i < 2; i++)
		nets[i] = (struct policy_net){ ip(kernel_addrs[i][0]), ip(kernel_addrs[i][1]) };
	return policy_side_ip4(ev, ip(addr), &t);
}

static void bind_to_the_stacks_address_is_the_stacks(void **state)
{
	assert_int_equal(ask(POLICY_BIND, "192.168.1.10", NULL), SIDE_STACK);
	assert_int_equal(ask(POLICY_BIND, "239.1.2.3", NULL), SIDE_STACK);
}

static void bind_to_any_is_both(void **state)
{
	assert_int_equal(ask(POLICY_BIND, "0.0.0.0", NULL), SIDE_BOTH);
}

static void bind_elsewhere_is_the_kernels(void **state)
{
	assert_int_equal(ask(POLICY_BIND, "127.0.0.1", NULL), SIDE_KERNEL);
	assert_int_equal(ask(POLICY_BIND, "192.168.1.11", NULL), SIDE_KERNEL);
}

static void connect_follows_the_order_of_the_contract(void **state)
{
	/* an address that this host's kernel owns, loopback included */
	assert_int_equal(ask(POLICY_CONNECT, "10.1.0.2", "192.168.1.1"), SIDE_KERNEL);
	assert_int_equal(ask(POLICY_CONNECT, "127.5.5.5", "192.168.1.1"), SIDE_KERNEL);
	assert_int_equal(ask(POLICY_CONNECT, "0.0.0.0", "192.168.1.1"), SIDE_KERNEL);
	/* the stack's own, its subnet */
	assert_int_equal(ask(POLICY_CONNECT, "192.168.1.10", NULL), SIDE_STACK);
	assert_int_equal(ask(POLICY_CONNECT, "192.168.1.77", NULL), SIDE_STACK);
	/* another kernel interface's subnet */
	assert_int_equal(ask(POLICY_CONNECT, "10.1.99.99", "192.168.1.1"), SIDE_KERNEL);
	/* anything else: the stack if it has a gateway */
	assert_int_equal(ask(POLICY_CONNECT, "8.8.8.8", "192.168.1.1"), SIDE_STACK);
	assert_int_equal(ask(POLICY_CONNECT, "8.8.8.8", NULL), SIDE_KERNEL);
}

static enum side ask6(enum policy_event ev, const char *text, bool v6only)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };

	assert_int_equal(inet_pton(AF_INET6, text, &sa.sin6_addr), 1);
	return policy_side(ev, AF_INET6, (struct sockaddr *)&sa, sizeof(sa), v6only);
}

static void ipv6_sockets_serve_mapped_addresses(void **state)
{
	conf = (struct ip4_conf){ ip("192.0.2.10"), ip("255.255.255.0"), 0 };
	assert_int_equal(ask6(POLICY_BIND, "::", false), SIDE_BOTH);
	assert_int_equal(ask6(POLICY_BIND, "::", true), SIDE_KERNEL);
	assert_int_equal(ask6(POLICY_BIND, "::ffff:192.0.2.10", false), SIDE_STACK);
	assert_int_equal(ask6(POLICY_CONNECT, "::ffff:192.0.2.99", false), SIDE_STACK);
	assert_int_equal(ask6(POLICY_CONNECT, "::ffff:127.0.0.1", false), SIDE_KERNEL);
	assert_int_equal(ask6(POLICY_CONNECT, "::1", false), SIDE_KERNEL);
	assert_int_equal(ask6(POLICY_CONNECT, "2001:db8::1", false), SIDE_KERNEL);
}

static void malformed_addresses_are_the_kernels(void **state)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };

	assert_int_equal(policy_side(POLICY_CONNECT, AF_INET, (struct sockaddr *)&sa, 4, false), SIDE_KERNEL);
	sa.sin_family = AF_UNIX;
	assert_int_equal(policy_side(POLICY_BIND, AF_INET, (struct sockaddr *)&sa, sizeof(sa), false), SIDE_KERNEL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bind_to_the_stacks_address_is_the_stacks),
		cmocka_unit_test(bind_to_any_is_both),
		cmocka_unit_test(bind_elsewhere_is_the_kernels),
		cmocka_unit_test(connect_follows_the_order_of_the_contract),
		cmocka_unit_test(ipv6_sockets_serve_mapped_addresses),
		cmocka_unit_test(malformed_addresses_are_the_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

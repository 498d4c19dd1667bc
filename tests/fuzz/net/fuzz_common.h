/* fuzz_common.h - what both targets share: one host, inputs as records, checksums made right on request. */
#ifndef GZ_FUZZ_COMMON_H
#define GZ_FUZZ_COMMON_H

#include "nethost.h"
#include "sock/ports.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	nethost_eal(FUZZ_POOL_MBUFS);
	return 0;
}

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t take8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static uint16_t take16(struct input *in)
{
	uint16_t lo = take8(in);

	return (uint16_t)(lo | take8(in) << 8);
}

static gz_unused const uint8_t *take(struct input *in, size_t n, size_t *got)
{
	const uint8_t *p = in->p;

	*got = MIN(n, in->left);
	in->p += *got;
	in->left -= *got;
	return p;
}

static gz_unused struct sock *fuzz_bind(int family, uint32_t addr, uint16_t port)
{
	struct sock *s = nethost_sock(family, SOCK_DGRAM);
	struct ip_addr a = addr ? ip_addr_v4(addr) : ip_addr_any();
	uint16_t be = htons(port);

	s->opt.reuseaddr = 1;
	if (ports_bind(PORT_UDP, s, &a, &be, NULL, NULL) != 0)
		abort();
	return s;
}

/* Every mbuf must be back whatever came. */
static void fuzz_close(void)
{
	if (nethost_close() != 0)
		abort();
}

#endif

/* fuzz_common.c - what the targets on the whole stack share: opening it, ending it, the properties that hold after any input. */
#include "fuzz_common.h"

#include <fcntl.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	setenv("GZ_TEST_EAL_MB", "64", 0);
	testenv_pool(4096, 2048);
	return 0;
}

void fuzz_open(uint8_t how)
{
	struct memdev_conf dev = { .tx_csum = how & 1,	      .tso_max_bytes = how & 2 ? 61440 : 0,
				   .rx_csum = how & 4,	      .rx_seg_bytes = how & 8 ? 64 : 0,
				   .tx_hold = how & 16 ? 3 : 0, .linear_only = (how & 32) != 0,
				   .mtu = how & 64 ? 600 : 1500 };

	vclock_us = 1000 * (uint64_t)US_PER_S;
	testenv_open(&(struct testenv_conf){ .dev = dev, .conn_hint = 64, .mbufs = 4096 });
}

void fuzz_drop_sent(void)
{
	struct frame *f;

	while ((f = memdev_pop(&tenv.host[0].dev)))
		free(f);
}

void fuzz_close(void)
{
	if (tenv.host[0].dev.bad_frames) /* memdev said what was wrong with it */
		abort();
	testenv_abandon();
	if (rte_mempool_in_use_count(testenv_pool(0, 0)))
		abort();
}

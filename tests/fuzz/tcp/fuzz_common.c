/* fuzz_common.c - what the targets on the whole stack share: opening it, ending it, the properties
 * that hold after any input. */
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
	struct memdev_conf dev = { .tx_csum = how & 1,
				   .tso_max_bytes = how & 2 ? 61440 : 0,
				   .rx_csum = how & 4,
				   .rx_seg_bytes = how & 8 ? 64 : 0,
				   .tx_hold = how & 16 ? 3 : 0,
				   .linear_only = (how & 32) != 0,
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

void fuzz_reset_all(void)
{
	uint32_t fresh = atomic_load(&gz->socks.fresh);

	testenv_settle();
	for (uint32_t i = 0; i < fresh; i++) {
		const struct sock *k = slab_at(&gz->socks, i);
		const struct tcb *t = &k->tcb;
		struct seg s = { .kind = SEG_TCP,
				 .saddr = testenv_ip(1),
				 .daddr = testenv_ip(0),
				 .flags = TH_RST | TH_ACK };

		if (!(atomic_load(&k->slab.gen) & 1) || k->type != SOCK_STREAM ||
		    t->state < TCPS_SYN_SENT)
			continue;
		s.sport = ntohs(t->rport_be);
		s.dport = ntohs(t->lport_be);
		s.seq = t->rcv_nxt;
		s.ack = t->snd_nxt;
		memcpy(s.dmac, tenv.host[0].dev.nd.mac, 6);
		memcpy(s.smac, tenv.host[0].dev.peer_mac, 6);
		memdev_push(&tenv.host[0].dev, seg_build(&s));
		testenv_settle();
		fuzz_drop_sent();
	}
	/* half-open and quarantined ones, retransmissions to a peer that is silent */
	testenv_run_for(400 * (uint64_t)US_PER_S);
	fuzz_drop_sent();
	if (testenv_leaks(false))
		abort();
}

void fuzz_close(void)
{
	if (tenv.host[0].dev.bad_frames) /* memdev said what was wrong with it */
		abort();
	testenv_abandon();
	if (rte_mempool_in_use_count(testenv_pool(0, 0)))
		abort();
}

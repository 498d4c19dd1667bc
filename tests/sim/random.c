/* random.c - random worlds: looks for stalls, for bytes lost, added or changed, for leaks. Called by sim.c. */
#include "sim.h"

static bool ended(const struct flow *f)
{
	return (f->end[0].closed || f->end[0].failed) && (f->end[1].closed || f->end[1].failed);
}

static void describe(uint64_t seed, const struct wire_conf *w, const struct memdev_conf *d)
{
	fprintf(stderr, "  seed %llu: delay %llu us, jitter %llu, loss %u ppm, reorder %u, dup %u, corrupt %u, rate %llu\n",
		(unsigned long long)seed, (unsigned long long)w->delay_us, (unsigned long long)w->jitter_us, w->chance.loss_ppm,
		w->chance.reorder_ppm, w->chance.dup_ppm, w->chance.corrupt_ppm, (unsigned long long)w->rate_bps);
	fprintf(stderr, "  mtu %u, tx_csum %d, tso %u%s, rx_csum %d, rx_seg %u, hold %u, accept %u\n", d->mtu, d->tx_csum,
		d->tso_max_bytes, d->tso_carry ? " carried" : "", d->rx_csum, d->rx_seg_bytes, d->tx_hold, d->tx_accept);
}

static int random_run(uint64_t seed)
{
	struct memdev_conf dev = { 0 };
	struct wire_conf w = { 0 };
	struct prng p;
	unsigned hosts, n;
	int bad = 0;
	bool done;

	prng_seed(&p, seed);
	hosts = 2 + (unsigned)prng_below(&p, 3);
	w.delay_us = prng_below(&p, 4) ? prng_below(&p, 20000) : prng_below(&p, 200000);
	w.jitter_us = prng_below(&p, 3) ? 0 : prng_below(&p, 5000);
	w.chance.loss_ppm = prng_below(&p, 3) ? (uint32_t)prng_below(&p, 50000) : (uint32_t)prng_below(&p, 150000);
	w.chance.reorder_ppm = prng_below(&p, 2) ? 0 : (uint32_t)prng_below(&p, 50000);
	w.reorder_us = prng_below(&p, 10000);
	w.chance.dup_ppm = prng_below(&p, 2) ? 0 : (uint32_t)prng_below(&p, 50000);
	w.chance.corrupt_ppm = prng_below(&p, 2) ? 0 : (uint32_t)prng_below(&p, 20000);
	w.rate_bps = prng_below(&p, 2) ? 0 : 1000000 + prng_below(&p, 100000000);
	w.queue_frames = 10 + (uint32_t)prng_below(&p, 200);
	dev.mtu = prng_below(&p, 3) ? 1500 : 576 + (uint32_t)prng_below(&p, 2000);
	dev.tx_csum = prng_below(&p, 2);
	dev.tso_max_bytes = prng_below(&p, 2) ? 61440 : 0;
	dev.tso_carry = prng_below(&p, 2);
	dev.rx_csum = prng_below(&p, 2);
	dev.rx_seg_bytes = prng_below(&p, 3) ? 0 : 100 + (uint16_t)prng_below(&p, 1000);
	dev.tx_hold = prng_below(&p, 2) ? 0 : (uint16_t)prng_below(&p, 64);
	dev.tx_accept = prng_below(&p, 4) ? 0 : 1 + (uint16_t)prng_below(&p, 32);
	dev.rx_merge = seed % 2;
	world_open(hosts, &w, &dev, seed);
	world_listen();
	n = 1 + (unsigned)prng_below(&p, 6);
	for (unsigned i = 0; i < n; i++) {
		unsigned from = (unsigned)prng_below(&p, hosts), to = (from + 1 + (unsigned)prng_below(&p, hosts - 1)) % hosts;
		uint64_t b0 = prng_below(&p, 150000), b1 = prng_below(&p, 150000);
		struct flow *f = world_flow(from, to, b0, b1, 0, seed * 100 + i);

		for (unsigned e = 0; e < 2; e++) {
			f->end[e].plan = (enum close_plan)prng_below(&p, 2); /* plans that lose nothing */
			f->end[e].chunk_max = prng_below(&p, 3) ? 16384 : 1 + (uint32_t)prng_below(&p, 3000);
			f->end[e].read_every_us = prng_below(&p, 4) ? 0 : prng_below(&p, 20000);
			f->end[e].nodelay = prng_below(&p, 3) == 0;
		}
	}
	done = world_run(SECONDS(7200));
	for (unsigned i = 0; i < nb_flows; i++) {
		char what[64];
		bool ok = (done || ended(&flows[i])) && flow_complete(&flows[i]);

		/* with heavy loss a connect may give up after 127 s: that is told, not lost */
		if (flows[i].end[0].failed && flows[i].end[0].error == ETIMEDOUT && !flows[i].connected)
			ok = !flows[i].problem[0];
		/* and a closed end whose peer lives behind 10 % loss and more may give up after R2, unseen by the other */
		if (w.chance.loss_ppm >= 100000 && WORLD_MIB(tcp_free_pcb_in_maxrtx))
			ok = !flows[i].problem[0];
		snprintf(what, sizeof(what), "random seed %llu flow %u", (unsigned long long)seed, i);
		if (!ok) {
			judge(what, &flows[i], false);
			bad++;
		}
	}
	bad += world_close(true);
	if (bad)
		describe(seed, &w, &dev);
	return bad;
}

int random_runs(uint64_t seed, unsigned runs)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < runs; i++)
		failed += random_run(seed + i) != 0;
	printf("%u passed, %u failed (seeds %llu to %llu)\n", runs - failed, failed, (unsigned long long)seed,
	       (unsigned long long)(seed + runs - 1));
	return failed != 0;
}


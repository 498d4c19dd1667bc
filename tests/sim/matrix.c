/* matrix.c - one connection through a bottleneck under a matrix of conditions, and how long short ones take. Called by sim.c.
 *
 * The rows are the table `rows` below times the algorithms; a new condition is a line there, a new algorithm a name in `algorithms`.
 */
#include "oracle.h"
#include "sim.h"

/* What is committed: each landed algorithm. */
static const char *const algorithms[] = { "cubic", "reno" };

struct row {
	const char *what;
	uint32_t mbit, rtt_ms;
	double queue_bdp;
	struct wire_conf more;
};

#define CLEAN(mbit, rtt) { "", mbit, rtt, 0.25 }, { "", mbit, rtt, 1 }, { "", mbit, rtt, 4 }

static const struct row rows[] = {
	CLEAN(10, 1),
	CLEAN(10, 20),
	CLEAN(10, 100),
	CLEAN(100, 1),
	CLEAN(100, 20),
	CLEAN(100, 100),
	CLEAN(1000, 1),
	CLEAN(1000, 20),
	CLEAN(1000, 100),
	{ "loss 0.1 %", 100, 20, 1, { .chance.loss_ppm = 1000 } },
	{ "loss 1 %", 100, 20, 1, { .chance.loss_ppm = 10000 } },
	{ "loss 3 %", 100, 20, 1, { .chance.loss_ppm = 30000 } },
	{ "loss 1 %", 1000, 20, 1, { .chance.loss_ppm = 10000 } },
	{ "bursts", 100, 20, 1, { .chance.burst_enter_ppm = 300, .chance.burst_leave_ppm = 200000 } },
	{ "reordered 0.1 %", 100, 20, 1, { .chance.reorder_ppm = 1000, .reorder_us = 5000 } },
	{ "reordered 1 %", 100, 20, 1, { .chance.reorder_ppm = 10000, .reorder_us = 5000 } },
	{ "reordered 0.1 %", 1000, 20, 1, { .chance.reorder_ppm = 1000, .reorder_us = 5000 } },
	{ "doubled 1 %", 100, 20, 1, { .chance.dup_ppm = 10000 } },
	{ "jitter 2 ms", 100, 20, 1, { .jitter_us = 2000 } },
	{ "CE above 30 kB", 100, 20, 1, { .aqm = WIRE_CE_THRESHOLD, .mark_bytes = 30000 } },
	{ "RED", 100, 20, 1, { .aqm = WIRE_RED, .red_min = 50000, .red_max = 150000, .red_ppm = 100000 } },
};

/* Enough packets to say something, few enough for a test: 10 s of 10 Mbit/s, 2 s of 1 Gbit/s, but many round trips. */
static uint64_t duration_us(const struct row *r)
{
	return r->mbit == 10 ? SECONDS(20) : r->mbit == 100 ? SECONDS(10) : r->rtt_ms == 100 ? SECONDS(4) : SECONDS(2);
}

/* Returns how many segments were spuriously retransmitted in the second half. */
static uint64_t one_row(const struct row *r, const char *cc, uint64_t us, uint64_t seed)
{
	struct dumbbell_conf c = { .pairs = 1, .rate_bps = r->mbit * 1000000ULL, .rtt_us = r->rtt_ms * 1000ULL, .queue_bdp = r->queue_bdp,
				   .more = r->more, .dev = { .mtu = 1500 }, .seed = seed };
	uint64_t begin;
	struct stream half, all;
	struct wire_link *l;
	struct flow *f;

	world_dumbbell(&c);
	l = &tenv.wire.link[world_bottleneck];
	f = world_flow(0, 1, 1ULL << 40, 0, 0, seed);
	f->end[0].cc = cc;
	f->end[0].chunk_max = 65536;
	f->end[1].chunk_max = 65536;
	f->end[1].plan = CLOSE_SHUTDOWN_FIRST;
	begin = vclock_us;
	world_run(us / 2);
	half = oracle_sum();
	world_run(begin + us - vclock_us);
	all = oracle_sum();
	wire_settle_stats(l, vclock_us);
	if (f->problem[0])
		judge(r->what, f, false);
	emit("%-16s %-6s %5u %4u %5.2f | %7.1f %6.1f %6llu %6llu %6llu %6llu %4llu %6llu | %8.2f %8.2f\n", r->what, cc, r->mbit, r->rtt_ms,
	     r->queue_bdp, (double)f->end[1].received * 8 / (double)us, (double)f->end[1].received * 800 / (double)us / r->mbit,
	     (unsigned long long)all.lost, (unsigned long long)all.rexmit, (unsigned long long)all.spurious,
	     (unsigned long long)(all.spurious - half.spurious), (unsigned long long)WORLD_MIB(tcp_timeouts),
	     (unsigned long long)l->stats.marked, l->stats.queue_area / (double)us * 8e3 / (double)c.rate_bps,
	     (double)l->stats.queue_max * 8e3 / (double)c.rate_bps);
	world_close(false);
	return all.spurious - half.spurious;
}

static void heading(void)
{
	emit("# one connection through a bottleneck: goodput in Mbit/s and in percent of the rate; segments lost, retransmitted, spuriously so, and\n");
	emit("# that in the second half; timeouts; CE marks; mean and longest queue in ms\n");
	emit("# %-14s %-6s %5s %4s %5s | %7s %6s %6s %6s %6s %6s %4s %6s | %8s %8s\n", "condition", "cc", "Mbit", "rtt", "BDP", "Mbit/s", "%", "lost",
	     "rexmit", "spur.", "late", "rto", "marked", "queue", "longest");
}

void table_matrix(void)
{
	heading();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		for (unsigned a = 0; a < ARRAY_SIZE(algorithms); a++)
			one_row(&rows[i], algorithms[a], duration_us(&rows[i]), 500 + i);
}

/* A minute each of what bench/relay does to us and the kernel side by side: the same losses by packet number (seeds), the same reordering. Once a path is known
 * to reorder, nothing may be sent in vain. */
void table_long(void)
{
	static const struct row lossy = { "loss 1 %", 1000, 20, 1, { .chance.loss_ppm = 10000 } },
				reorders = { "reordered 0.1 %", 1000, 20, 1, { .chance.reorder_ppm = 1000, .reorder_us = 5000 } };

	heading();
	for (uint64_t seed = 1; seed <= 5; seed++)
		one_row(&lossy, "cubic", SECONDS(60), seed);
	if (one_row(&reorders, "cubic", SECONDS(60), 1)) {
		failures++;
		fprintf(stderr, "FAIL long: spurious retransmissions in the second half of a minute with reordering\n");
	}
}

/* Connections of a size one after the other: the median and the longest time from connect to the last byte read. */
void table_short(void)
{
	static const uint32_t sizes[] = { 10000, 100000, 1000000 }, rtts_ms[] = { 1, 20, 100 }, losses[] = { 0, 1000, 10000, 30000 };
	enum { TIMES = 21 };

	emit("# connections of 10 kB, 100 kB, 1 MB one at a time through 100 Mbit/s with one BDP of queue (15 kB at least), %u times each: median and\n",
	     TIMES);
	emit("# longest ms from connect() to the last byte\n");
	emit("# %5s %4s %6s | %9s %9s\n", "bytes", "rtt", "loss %", "median", "longest");
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
		for (unsigned r = 0; r < ARRAY_SIZE(rtts_ms); r++)
			for (unsigned l = 0; l < ARRAY_SIZE(losses); l++) {
				uint64_t sorted[TIMES];

				for (unsigned i = 0; i < TIMES; i++) {
					struct dumbbell_conf c = { .pairs = 1, .rate_bps = 100000000, .rtt_us = rtts_ms[r] * 1000,
								   .queue_bdp = rtts_ms[r] == 1 ? 1.2 : 1,
								   .more.chance.loss_ppm = losses[l], .dev = { .mtu = 1500 },
								   .seed = i + 1 };
					unsigned at = i;
					struct flow *f;
					uint64_t us;

					world_dumbbell(&c);
					f = world_flow(0, 1, sizes[s], 0, 0, i);
					f->end[0].plan = CLOSE_SHUTDOWN_FIRST;
					f->end[0].nodelay = true; /* Nagle's round trip is another matter */
					f->end[1].plan = CLOSE_SHUTDOWN_FIRST;
					judge("short", f, world_run(SECONDS(600)) && flow_complete(f));
					us = f->end[1].done_us - f->start_us;
					for (; at && sorted[at - 1] > us; at--)
						sorted[at] = sorted[at - 1];
					sorted[at] = us;
					failures += world_close(i == 0) != 0;
				}
				emit("%7u %4u %6.1f | %9.1f %9.1f\n", sizes[s], rtts_ms[r], losses[l] / 1e4, (double)sorted[TIMES / 2] / 1000,
				     (double)sorted[TIMES - 1] / 1000);
			}
}

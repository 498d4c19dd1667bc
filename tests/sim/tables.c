/* tables.c - simulations whose numbers are committed: goodput under bad conditions, orders of close, fairness. Called by sim.c. */
#include "oracle.h"
#include "sim.h"

#include <stdlib.h>

struct condition {
	const char *name;
	struct wire_conf wire; /* both directions */
};

static const struct condition conditions[] = {
	{ "clean, 50 us", { .delay_us = 50 } },
	{ "clean, 10 ms", { .delay_us = 5000 } },
	{ "clean, 100 ms", { .delay_us = 50000 } },
	{ "10 Mbit/s, 20 ms", { .delay_us = 10000, .rate_bps = 10000000, .queue_frames = 50 } },
	{ "100 Mbit/s, 20 ms", { .delay_us = 10000, .rate_bps = 100000000, .queue_frames = 200 } },
	{ "1 Gbit/s, 1 ms", { .delay_us = 500, .rate_bps = 1000000000, .queue_frames = 100 } },
	{ "loss 0.1 %, 10 ms", { .delay_us = 5000, .chance.loss_ppm = 1000 } },
	{ "loss 1 %, 10 ms", { .delay_us = 5000, .chance.loss_ppm = 10000 } },
	{ "loss 3 %, 10 ms", { .delay_us = 5000, .chance.loss_ppm = 30000 } },
	{ "loss 10 %, 10 ms", { .delay_us = 5000, .chance.loss_ppm = 100000 } },
	{ "loss 1 %, 100 ms", { .delay_us = 50000, .chance.loss_ppm = 10000 } },
	{ "bursts of loss, 10 ms", { .delay_us = 5000, .chance.burst_enter_ppm = 2000, .chance.burst_leave_ppm = 300000 } },
	{ "jitter 1 ms, 10 ms", { .delay_us = 5000, .jitter_us = 1000 } },
	{ "2 % reordered by 1 ms", { .delay_us = 5000, .chance.reorder_ppm = 20000, .reorder_us = 1000 } },
	{ "5 % duplicated", { .delay_us = 5000, .chance.dup_ppm = 50000 } }, /* without jitter: nothing is reordered, so nothing counts as lost */
	{ "5 %, jitter 50 us", { .delay_us = 5000, .chance.dup_ppm = 50000, .jitter_us = 50 } },
	{ "1 % corrupted", { .delay_us = 5000, .chance.corrupt_ppm = 10000 } },
	{ "everything", { .delay_us = 5000, .jitter_us = 300, .chance.loss_ppm = 5000, .chance.reorder_ppm = 10000, .reorder_us = 2000,
			  .chance.dup_ppm = 10000, .chance.corrupt_ppm = 2000 } },
};

static const struct {
	const char *name;
	struct memdev_conf dev;
} devices[] = {
	{ "plain", { .mtu = 1500 } },
	{ "offload", { .mtu = 1500, .tx_csum = true, .tso_max_bytes = 61440, .rx_csum = true, .tx_hold = 8 } },
};

/* One connection, 2 MB one way (and the same with 1 MB each way at once): how long, at what cost. */
void table_goodput(void)
{
	const char *only = getenv("GZ_SIM_ONLY"); /* the condition of that number alone, one way, to look into it */

	emit("# one connection, 2,000,000 bytes one way; then 1,000,000 bytes each way at once\n");
	emit("# %-22s %-8s %9s %9s %7s %5s %5s | %9s\n", "condition", "device", "ms", "Mbit/s", "rexmit", "fast", "rto",
	     "both ms");
	for (unsigned c = 0; c < ARRAY_SIZE(conditions); c++) {
		for (unsigned d = 0; d < ARRAY_SIZE(devices); d++) {
			uint64_t us, rexmit, fast, rto, both;
			bool ok;

			if (only && (strtoul(only, NULL, 0) != c || d))
				continue;
			world_open(2, &conditions[c].wire, &devices[d].dev, 7 + c);
			world_flow(0, 1, 2000000, 0, 0, c + 1);
			flows[0].end[0].plan = CLOSE_AT_ONCE;
			flows[0].end[1].plan = CLOSE_SHUTDOWN_FIRST;
			ok = world_run(SECONDS(3600));
			judge(conditions[c].name, &flows[0], ok && flow_complete(&flows[0]));
			us = flows[0].end[1].done_us - flows[0].start_us;
			rexmit = WORLD_MIB(tcp_retran_seg);
			fast = WORLD_MIB(tcp_fast_retrans);
			rto = WORLD_MIB(tcp_timeouts);
			failures += world_close(true) != 0;
			if (only) {
				emit("%s: %.1f ms, %llu retransmitted, %llu fast, %llu timeouts\n", conditions[c].name,
				     (double)us / 1000, (unsigned long long)rexmit, (unsigned long long)fast,
				     (unsigned long long)rto);
				continue;
			}
			world_open(2, &conditions[c].wire, &devices[d].dev, 107 + c);
			world_flow(0, 1, 1000000, 1000000, 0, c + 50);
			flows[0].end[0].plan = CLOSE_SHUTDOWN_FIRST;
			flows[0].end[1].plan = CLOSE_SHUTDOWN_FIRST;
			ok = world_run(SECONDS(3600));
			judge(conditions[c].name, &flows[0], ok && flow_complete(&flows[0]));
			both = MAX(flows[0].end[0].done_us, flows[0].end[1].done_us) - flows[0].start_us;
			failures += world_close(true) != 0;
			emit("%-24s %-8s %9.1f %9.1f %7llu %5llu %5llu | %9.1f\n", conditions[c].name, devices[d].name,
			     (double)us / 1000, us ? 16e6 / (double)us : 0, (unsigned long long)rexmit,
			     (unsigned long long)fast, (unsigned long long)rto, (double)both / 1000);
		}
	}
}

/* Every order of close, clean and with losses that hit handshake and close. */
void table_close(void)
{
	const char *only = getenv("GZ_SIM_ONLY"); /* "client plan,server plan,wire,seed": that case alone, to look into it */
	unsigned o[4];
	static const struct wire_conf wires[] = { { .delay_us = 5000 }, { .delay_us = 5000, .chance.loss_ppm = 150000 } };

	emit("# 20,000 bytes each way, every pair of plans, 20 seeds each: flows that both ended; whole; virtual seconds in all\n");
	emit("# %-16s %-16s %-6s %6s %6s %9s\n", "client", "server", "wire", "ended", "whole", "seconds");
	for (unsigned w = 0; w < ARRAY_SIZE(wires); w++)
		for (unsigned a = 0; a <= CLOSE_RESET; a++)
			for (unsigned b = 0; b <= CLOSE_RESET; b++) {
				unsigned ended = 0, whole = 0;
				uint64_t us = 0;

				if (a == CLOSE_AFTER_PEER && (b == CLOSE_AFTER_PEER || b == CLOSE_WHEN_SENT || b == CLOSE_RESET))
					continue; /* each would wait for the other */
				if (b == CLOSE_AFTER_PEER && (a == CLOSE_WHEN_SENT || a == CLOSE_RESET))
					continue;
				for (unsigned seed = 0; seed < 20; seed++) {
					char what[100];
					bool done, complete;

					if (only && (sscanf(only, "%u,%u,%u,%u", &o[0], &o[1], &o[2], &o[3]) != 4 || o[0] != a ||
						     o[1] != b || o[2] != w || o[3] != seed))
						continue;
					world_open(2, &wires[w], &devices[seed & 1].dev, seed + 1000 * (a * 5 + b));
					world_flow(0, 1, 20000, 20000, 0, seed + 1);
					flows[0].end[0].plan = (enum close_plan)a;
					flows[0].end[1].plan = (enum close_plan)b;
					done = world_run(SECONDS(3600));
					snprintf(what, sizeof(what), "close %s/%s wire %u seed %u", close_plan_names[a],
						 close_plan_names[b], w, seed);
					/* plans that refuse or reset may cut the other's stream: that is no problem, a stall is */
					complete = flow_complete(&flows[0]);
					if (a == CLOSE_AT_ONCE || b == CLOSE_AT_ONCE || a == CLOSE_RESET || b == CLOSE_RESET)
						flows[0].problem[0] = 0;
					/* a lost RST is not sent again: the other end may wait for ever, as it would anywhere */
					judge(what, &flows[0], done || (w && (a == CLOSE_RESET || b == CLOSE_RESET)));
					ended += done;
					whole += complete;
					us += vclock_us - flows[0].start_us;
					failures += world_close(seed < 3 && done) != 0;
				}
				emit("%-18s %-16s %-6s %6u %6u %9.3f\n", close_plan_names[a], close_plan_names[b],
				     w ? "15 %" : "clean", ended, whole, (double)us / 1e6);
			}
}

/* Flows that share a bottleneck: how evenly over the last part of the run, how full, at what cost. */
static void share(const char *name, const char *const *cc, unsigned n, uint64_t rate_bps, uint64_t rtt_us, double bdp, unsigned seconds,
		  double at_least)
{
	struct dumbbell_conf c = { .pairs = n < 8 ? n : 8, .rate_bps = rate_bps, .rtt_us = rtt_us, .queue_bdp = bdp, .dev = devices[0].dev,
				   .seed = n * 100 + seconds };
	const struct wire_link *l;
	double x[64], index, sum = 0;
	struct stream all;

	world_dumbbell(&c);
	l = &tenv.wire.link[world_bottleneck];
	for (unsigned i = 0; i < n; i++) {
		struct flow *f = world_flow(i % c.pairs, c.pairs + i % c.pairs, 1ULL << 40, 0, vclock_us + i * 3000, i + 1);

		f->end[0].cc = cc[i % 2];
		f->end[1].plan = CLOSE_SHUTDOWN_FIRST;
	}
	world_run(SECONDS(seconds));
	for (unsigned i = 0; i < n; i++) {
		x[i] = (double)flows[i].end[1].received;
		sum += x[i];
		if (flows[i].problem[0])
			judge(name, &flows[i], false);
	}
	index = jain(x, n);
	all = oracle_sum();
	wire_settle_stats(&tenv.wire.link[world_bottleneck], vclock_us);
	emit("%-20s %3u %6.0f %6.1f %5.2f %4u | %6.3f %6.1f %7llu %7llu %8.2f\n", name, n, (double)rate_bps / 1e6, (double)rtt_us / 1000, bdp,
	     seconds, index, 100 * sum * 8 / (seconds * (double)rate_bps), (unsigned long long)all.rexmit,
	     (unsigned long long)all.spurious, l->stats.queue_area / (seconds * 1e6) * 8e3 / (double)rate_bps);
	if (index < at_least) {
		failures++;
		fprintf(stderr, "FAIL fairness %s: Jain's index %.4f, at least %.2f is asked for\n", name, index, at_least);
	}
	world_close(false);
}

void table_fairness(void)
{
	static const char *const cubic[2] = { "cubic", "cubic" }, *const reno[2] = { "reno", "reno" },
			  *const bbr[2] = { "bbr", "bbr" };

	emit("# n connections share a bottleneck with a drop-tail queue: Jain's index over the run, payload in percent of the rate,\n");
	emit("# retransmissions, spurious ones, mean queue in ms\n");
	emit("# %-18s %3s %6s %6s %5s %4s | %6s %6s %7s %7s %8s\n", "algorithms", "n", "Mbit/s", "rtt ms", "BDP", "s", "jain", "used", "rexmit",
	     "spur.", "queue");
	share("cubic/cubic", cubic, 2, 100000000, 20000, 1, 60, 0.99);
	share("bbr/bbr", bbr, 2, 100000000, 20000, 1, 60, 0.99);
	share("reno/reno", reno, 2, 100000000, 20000, 1, 60, 0);
	share("cubic/cubic", cubic, 2, 20000000, 20000, 1, 60, 0);
	share("cubic/cubic", cubic, 4, 100000000, 20000, 1, 20, 0);
	share("cubic/cubic", cubic, 16, 100000000, 20000, 1, 20, 0);
	share("cubic/cubic", cubic, 4, 20000000, 20000, 1, 20, 0);
}

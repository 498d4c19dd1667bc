/* sim.c - simulations of stacks over wires in virtual time: sim TABLE [--check FILE | --update FILE], sim random [--runs N] [--seed S].
 *
 * Tables are deterministic (seeded chance, no clock) and compared with committed snapshots, so that a change of an algorithm shows
 * as a change of numbers. `random` looks for violations of properties: no stall, no byte lost, added or changed, no mbuf or
 * socket leaked; each run prints its seed when it fails.
 */
#include "flow.h"

#include "tcp/tcp.h"

#include <stdarg.h>
#include <stdlib.h>

#define PORT 80
#define FLOWS_MAX 64
#define SECONDS(n) ((uint64_t)(n)*1000000)

static FILE *out;

static void emit(const char *fmt, ...) printf_like(1, 2);
static void emit(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(out, fmt, ap);
	va_end(ap);
}

/* --- running flows --- */

static struct flow flows[FLOWS_MAX];
static unsigned nb_flows;
static struct sock *listeners[TESTENV_HOSTS];

static bool all_done(void *arg)
{
	bool done = true;

	for (unsigned h = 0; h < tenv.nb_hosts; h++)
		if (listeners[h])
			flows_accept(flows, nb_flows, listeners[h]);
	for (unsigned i = 0; i < nb_flows; i++)
		done &= flow_step(&flows[i]);
	return done;
}

/* Passes time until all flows are done or limit_us passed. */
static bool run_flows(uint64_t limit_us)
{
	uint64_t until = vclock_us + limit_us;

	testenv_settle();
	while (!all_done(NULL)) {
		uint64_t next = testenv_next_us();

		if (vclock_us >= until)
			return false;
		testenv_settle(); /* what the applications just did */
		next = MIN(next, testenv_next_us());
		for (unsigned i = 0; i < nb_flows; i++) {
			uint64_t t = flow_next_us(&flows[i]);

			next = MIN(next, t);
		}
		vclock_us = MIN(MAX(next, vclock_us + 1), until);
		testenv_settle();
	}
	return true;
}

static void listen_on(unsigned host)
{
	listeners[host] = testenv_listener(host, PORT, 1000);
}

/* Ends everything: closes listeners, lets TIME_WAIT and lost FINs pass, then counts leaks. */
static int finish(bool count_leaks)
{
	for (unsigned i = 0; i < nb_flows; i++)
		for (unsigned e = 0; e < 2; e++)
			if (flows[i].end[e].s)
				testenv_close_sock(flows[i].end[e].s);
	for (unsigned h = 0; h < TESTENV_HOSTS; h++)
		if (listeners[h]) {
			testenv_close_sock(listeners[h]);
			listeners[h] = NULL;
		}
	nb_flows = 0;
	if (!count_leaks) {
		testenv_abandon();
		return 0;
	}
	testenv_run_for(SECONDS(1000)); /* orphans give up, TIME_WAIT ends */
	return testenv_close();
}

static uint64_t mib_sum(uint64_t (*get)(const struct mib *m))
{
	uint64_t n = 0;

	for (unsigned h = 0; h < tenv.nb_hosts; h++)
		n += get(&tenv.host[h].st->mib);
	return n;
}
static uint64_t get_rexmit(const struct mib *m) { return m->tcp_retran_seg; }
static uint64_t get_timeouts(const struct mib *m) { return m->tcp_timeouts; }
static uint64_t get_fast(const struct mib *m) { return m->tcp_fast_retrans; }
static uint64_t get_gave_up(const struct mib *m) { return m->tcp_free_pcb_in_maxrtx; }

/* --- tables --- */

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
	{ "loss 0.1 %, 10 ms", { .delay_us = 5000, .loss_ppm = 1000 } },
	{ "loss 1 %, 10 ms", { .delay_us = 5000, .loss_ppm = 10000 } },
	{ "loss 3 %, 10 ms", { .delay_us = 5000, .loss_ppm = 30000 } },
	{ "loss 10 %, 10 ms", { .delay_us = 5000, .loss_ppm = 100000 } },
	{ "loss 1 %, 100 ms", { .delay_us = 50000, .loss_ppm = 10000 } },
	{ "bursts of loss, 10 ms", { .delay_us = 5000, .burst_enter_ppm = 2000, .burst_leave_ppm = 300000 } },
	{ "jitter 1 ms, 10 ms", { .delay_us = 5000, .jitter_us = 1000 } },
	{ "2 % reordered by 1 ms", { .delay_us = 5000, .reorder_ppm = 20000, .reorder_us = 1000 } },
	{ "5 % duplicated", { .delay_us = 5000, .dup_ppm = 50000 } }, /* without jitter: nothing is reordered, so nothing counts as lost */
	{ "5 %, jitter 50 us", { .delay_us = 5000, .dup_ppm = 50000, .jitter_us = 50 } },
	{ "1 % corrupted", { .delay_us = 5000, .corrupt_ppm = 10000 } },
	{ "everything", { .delay_us = 5000, .jitter_us = 300, .loss_ppm = 5000, .reorder_ppm = 10000, .reorder_us = 2000,
			  .dup_ppm = 10000, .corrupt_ppm = 2000 } },
};

static const struct {
	const char *name;
	struct memdev_conf dev;
} devices[] = {
	{ "plain", { .mtu = 1500 } },
	{ "offload", { .mtu = 1500, .tx_csum = true, .tso_max_bytes = 61440, .rx_csum = true, .tx_hold = 8 } },
};

static void open_env(unsigned hosts, const struct wire_conf *wire, const struct memdev_conf *dev, uint64_t seed)
{
	vclock_us = SECONDS(1000);
	testenv_open(&(struct testenv_conf){ .nb_hosts = hosts, .wired = true, .seed = seed, .dev = *dev });
	for (unsigned h = 0; h < hosts; h++)
		tenv.wire.conf[h] = *wire;
}

static int failures;

static bool ended(const struct flow *f)
{
	return (f->end[0].closed || f->end[0].failed) && (f->end[1].closed || f->end[1].failed);
}

static void judge(const char *what, const struct flow *f, bool finished)
{
	if (finished && !f->problem[0])
		return;
	failures++;
	fprintf(stderr, "FAIL %s: %s (sent %llu/%llu, received %llu/%llu, errors %d/%d)\n", what,
		f->problem[0] ? f->problem : "did not finish", (unsigned long long)f->end[0].sent,
		(unsigned long long)f->end[1].sent, (unsigned long long)f->end[0].received,
		(unsigned long long)f->end[1].received, f->end[0].error, f->end[1].error);
}

/* One connection, 2 MB one way (and the same with 1 MB each way at once): how long, at what cost. */
static void table_goodput(void)
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
			open_env(2, &conditions[c].wire, &devices[d].dev, 7 + c);
			listen_on(1);
			nb_flows = 1;
			flow_open(&flows[0], listeners[1], 0, 1, PORT, 2000000, 0, c + 1);
			flows[0].end[0].plan = CLOSE_AT_ONCE;
			flows[0].end[1].plan = CLOSE_SHUTDOWN_FIRST;
			ok = run_flows(SECONDS(3600));
			judge(conditions[c].name, &flows[0], ok && flow_complete(&flows[0]));
			us = flows[0].end[1].done_us - flows[0].start_us;
			rexmit = mib_sum(get_rexmit);
			fast = mib_sum(get_fast);
			rto = mib_sum(get_timeouts);
			failures += finish(true) != 0;
			if (only) {
				emit("%s: %.1f ms, %llu retransmitted, %llu fast, %llu timeouts\n", conditions[c].name,
				     (double)us / 1000, (unsigned long long)rexmit, (unsigned long long)fast,
				     (unsigned long long)rto);
				continue;
			}
			open_env(2, &conditions[c].wire, &devices[d].dev, 107 + c);
			listen_on(1);
			nb_flows = 1;
			flow_open(&flows[0], listeners[1], 0, 1, PORT, 1000000, 1000000, c + 50);
			flows[0].end[0].plan = CLOSE_SHUTDOWN_FIRST;
			flows[0].end[1].plan = CLOSE_SHUTDOWN_FIRST;
			ok = run_flows(SECONDS(3600));
			judge(conditions[c].name, &flows[0], ok && flow_complete(&flows[0]));
			both = MAX(flows[0].end[0].done_us, flows[0].end[1].done_us) - flows[0].start_us;
			failures += finish(true) != 0;
			emit("%-24s %-8s %9.1f %9.1f %7llu %5llu %5llu | %9.1f\n", conditions[c].name, devices[d].name,
			     (double)us / 1000, us ? 16e6 / (double)us : 0, (unsigned long long)rexmit,
			     (unsigned long long)fast, (unsigned long long)rto, (double)both / 1000);
		}
	}
}

/* Every order of close, clean and with losses that hit handshake and close. */
static void table_close(void)
{
	const char *only = getenv("GZ_SIM_ONLY"); /* "client plan,server plan,wire,seed": that case alone, to look into it */
	unsigned o[4];
	static const struct wire_conf wires[] = { { .delay_us = 5000 }, { .delay_us = 5000, .loss_ppm = 150000 } };

	emit("# 20,000 bytes each way, every pair of plans, 20 seeds each: flows that both ended; whole; virtual seconds in all\n");
	emit("# %-16s %-16s %-6s %6s %6s %9s\n", "client", "server", "wire", "ended", "whole", "seconds");
	for (unsigned w = 0; w < ARRAY_SIZE(wires); w++)
		for (unsigned a = 0; a < CLOSE_PLANS; a++)
			for (unsigned b = 0; b < CLOSE_PLANS; b++) {
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
					open_env(2, &wires[w], &devices[seed & 1].dev, seed + 1000 * (a * CLOSE_PLANS + b));
					listen_on(1);
					nb_flows = 1;
					flow_open(&flows[0], listeners[1], 0, 1, PORT, 20000, 20000, seed + 1);
					flows[0].end[0].plan = (enum close_plan)a;
					flows[0].end[1].plan = (enum close_plan)b;
					done = run_flows(SECONDS(3600));
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
					failures += finish(seed < 3 && done) != 0;
				}
				emit("%-18s %-16s %-6s %6u %6u %9.3f\n", close_plan_names[a], close_plan_names[b],
				     w ? "15 %" : "clean", ended, whole, (double)us / 1e6);
			}
}

/* Connections that share the sender's link: how evenly, how full. */
static void table_fairness(void)
{
	static const struct {
		unsigned n;
		uint64_t rate;
		uint32_t queue;
	} cases[] = { { 2, 100000000, 200 }, { 4, 100000000, 200 }, { 16, 100000000, 400 }, { 4, 20000000, 40 } };

	emit("# n connections share one link of 20 ms round trip for 10 s: Jain's index in percent, link used in percent\n");
	emit("# %3s %9s %7s %7s %7s\n", "n", "Mbit/s", "jain", "used", "rexmit");
	for (unsigned c = 0; c < ARRAY_SIZE(cases); c++) {
		struct wire_conf wire = { .delay_us = 10000, .rate_bps = cases[c].rate, .queue_frames = cases[c].queue };
		double sum = 0, squares = 0;

		open_env(2, &wire, &devices[0].dev, 31 + c);
		listen_on(1);
		nb_flows = cases[c].n;
		for (unsigned i = 0; i < nb_flows; i++) {
			flow_open(&flows[i], listeners[1], 0, 1, PORT, 1ULL << 40, 0, i + 1);
			flows[i].end[1].plan = CLOSE_SHUTDOWN_FIRST;
			testenv_run_for(3000);
		}
		run_flows(SECONDS(10));
		for (unsigned i = 0; i < nb_flows; i++) {
			double x = (double)flows[i].end[1].received;

			sum += x;
			squares += x * x;
			if (flows[i].problem[0])
				judge("fairness", &flows[i], false);
		}
		emit("%5u %9.0f %7.1f %7.1f %7llu\n", cases[c].n, (double)cases[c].rate / 1e6,
		     squares > 0 ? 100 * sum * sum / (cases[c].n * squares) : 0, 100 * sum * 8 / (10.0 * (double)cases[c].rate),
		     (unsigned long long)mib_sum(get_rexmit));
		finish(false);
	}
}

/* --- random runs --- */

static void describe(uint64_t seed, const struct wire_conf *w, const struct memdev_conf *d)
{
	fprintf(stderr, "  seed %llu: delay %llu us, jitter %llu, loss %u ppm, reorder %u, dup %u, corrupt %u, rate %llu\n",
		(unsigned long long)seed, (unsigned long long)w->delay_us, (unsigned long long)w->jitter_us, w->loss_ppm,
		w->reorder_ppm, w->dup_ppm, w->corrupt_ppm, (unsigned long long)w->rate_bps);
	fprintf(stderr, "  mtu %u, tx_csum %d, tso %u%s, rx_csum %d, rx_seg %u, hold %u, accept %u\n", d->mtu, d->tx_csum,
		d->tso_max_bytes, d->tso_carry ? " carried" : "", d->rx_csum, d->rx_seg_bytes, d->tx_hold, d->tx_accept);
}

static int random_run(uint64_t seed)
{
	struct memdev_conf dev = { 0 };
	struct wire_conf w = { 0 };
	struct prng p;
	unsigned hosts;
	int bad = 0;
	bool done;

	prng_seed(&p, seed);
	hosts = 2 + (unsigned)prng_below(&p, 3);
	w.delay_us = prng_below(&p, 4) ? prng_below(&p, 20000) : prng_below(&p, 200000);
	w.jitter_us = prng_below(&p, 3) ? 0 : prng_below(&p, 5000);
	w.loss_ppm = prng_below(&p, 3) ? (uint32_t)prng_below(&p, 50000) : (uint32_t)prng_below(&p, 150000);
	w.reorder_ppm = prng_below(&p, 2) ? 0 : (uint32_t)prng_below(&p, 50000);
	w.reorder_us = prng_below(&p, 10000);
	w.dup_ppm = prng_below(&p, 2) ? 0 : (uint32_t)prng_below(&p, 50000);
	w.corrupt_ppm = prng_below(&p, 2) ? 0 : (uint32_t)prng_below(&p, 20000);
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
	open_env(hosts, &w, &dev, seed);
	for (unsigned h = 0; h < hosts; h++)
		listen_on(h);
	nb_flows = 1 + (unsigned)prng_below(&p, 6);
	for (unsigned i = 0; i < nb_flows; i++) {
		unsigned from = (unsigned)prng_below(&p, hosts), to = (from + 1 + (unsigned)prng_below(&p, hosts - 1)) % hosts;
		struct flow *f = &flows[i];

		flow_open(f, listeners[to], from, to, PORT, prng_below(&p, 150000), prng_below(&p, 150000), seed * 100 + i);
		for (unsigned e = 0; e < 2; e++) {
			f->end[e].plan = (enum close_plan)prng_below(&p, 2); /* plans that lose nothing */
			f->end[e].chunk_max = prng_below(&p, 3) ? 16384 : 1 + (uint32_t)prng_below(&p, 3000);
			f->end[e].read_every_us = prng_below(&p, 4) ? 0 : prng_below(&p, 20000);
			if (prng_below(&p, 3) == 0) {
				int one = 1;

				if (e == 0)
					sock_setopt(f->end[0].s, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one), tenv.self);
			}
		}
	}
	done = run_flows(SECONDS(7200));
	for (unsigned i = 0; i < nb_flows; i++) {
		char what[64];
		bool ok = (done || ended(&flows[i])) && flow_complete(&flows[i]);

		/* with heavy loss a connect may give up after 127 s: that is told, not lost */
		if (flows[i].end[0].failed && flows[i].end[0].error == ETIMEDOUT && !flows[i].connected)
			ok = !flows[i].problem[0];
		/* and a closed end whose peer lives behind 10 % loss and more may give up after R2, unseen by the other */
		if (w.loss_ppm >= 100000 && mib_sum(get_gave_up))
			ok = !flows[i].problem[0];
		snprintf(what, sizeof(what), "random seed %llu flow %u", (unsigned long long)seed, i);
		if (!ok) {
			judge(what, &flows[i], false);
			bad++;
		}
	}
	bad += finish(true);
	if (bad)
		describe(seed, &w, &dev);
	return bad;
}

static int random_runs(uint64_t seed, unsigned runs)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < runs; i++)
		failed += random_run(seed + i) != 0;
	printf("%u passed, %u failed (seeds %llu to %llu)\n", runs - failed, failed, (unsigned long long)seed,
	       (unsigned long long)(seed + runs - 1));
	return failed != 0;
}

/* --- comparing --- */

static int compare(const char *seen, const char *path)
{
	FILE *f = fopen(path, "r");
	char want[512];
	const char *p = seen;
	int line = 0, diffs = 0;

	if (!f) {
		fprintf(stderr, "sim: cannot read %s\n", path);
		return 1;
	}
	while (fgets(want, sizeof(want), f)) {
		size_t n = strcspn(p, "\n"), w = strcspn(want, "\n");

		line++;
		if (n != w || memcmp(p, want, n)) {
			fprintf(stderr, "%s:%d:\n  expected: %.*s\n  seen:     %.*s\n", path, line, (int)w, want, (int)n, p);
			diffs++;
		}
		p += n + (p[n] == '\n');
	}
	fclose(f);
	if (*p) {
		fprintf(stderr, "%s: lines are missing there: %s\n", path, p);
		diffs++;
	}
	if (diffs)
		fprintf(stderr, "%d lines differ; if that is meant: sim TABLE --update %s\n", diffs, path);
	return diffs != 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tables[] = { { "goodput", table_goodput }, { "close", table_close }, { "fairness", table_fairness } };
	const char *check = NULL, *update = NULL;
	uint64_t seed = 1;
	unsigned runs = 100, t = 0;
	char *text = NULL;
	size_t bytes = 0;

	for (int i = 2; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--check"))
			check = argv[i + 1];
		else if (!strcmp(argv[i], "--update"))
			update = argv[i + 1];
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--runs"))
			runs = (unsigned)strtoul(argv[i + 1], NULL, 0);
	}
	if (argc > 1 && !strcmp(argv[1], "random"))
		return random_runs(seed, runs);
	while (t < ARRAY_SIZE(tables) && (argc < 2 || strcmp(argv[1], tables[t].name)))
		t++;
	if (t == ARRAY_SIZE(tables)) {
		fprintf(stderr, "usage: sim goodput|close|fairness [--check FILE | --update FILE]\n"
				"       (GZ_SIM_ONLY=plan,plan,wire,seed: one case of close; GZ_SIM_ONLY=n: the nth condition of goodput)\n"
				"       sim random [--runs N] [--seed S]\n");
		return 2;
	}
	out = open_memstream(&text, &bytes);
	if (!out)
		return 2;
	tables[t].run();
	fclose(out);
	if (update) {
		FILE *f = fopen(update, "w");

		if (!f || fwrite(text, 1, bytes, f) != bytes || fclose(f))
			return fprintf(stderr, "sim: cannot write %s\n", update), 2;
	} else if (!check) {
		fputs(text, stdout);
	}
	t = check ? (unsigned)compare(text, check) : 0;
	free(text);
	if (failures)
		fprintf(stderr, "%d failures\n", failures);
	return failures || t;
}

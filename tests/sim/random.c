/* random.c - random worlds: looks for stalls, for bytes lost, added or changed, for wrong ends and leaks. Called by sim.c.
 *
 * A world is a few hosts under random conditions with a few connections of random size, shape, buffers and ways to close. Everything about it
 * follows from its seed, so a failure is repeated by `sim random --seed N --connections 1`. What must hold of each connection:
 *  - it ends within HOURS of virtual time, whatever was lost;
 *  - what an end reads is a prefix of what the other wrote, and all of it when both ends close politely;
 *  - end of file is seen where the peer closed, never where it reset; an error only where somebody reset, or where nobody answered a SYN;
 * and of each world: no socket, record or mbuf is left, no timer is armed that nobody needs, and the number of rounds and of timers is
 * bounded by the frames that moved and the connections there were.
 */
#include "sim.h"
#include "tcp/cc.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#define HOURS SECONDS(3 * 3600)
#define SHORT_MAX 24

struct random_conf {
	unsigned hosts, flows;
	struct wire_conf w;
	struct memdev_conf dev;
	bool arp_is_lost, uneven;
};

static unsigned nb_ccs;
static uint64_t total_gave_up, total_refused;
static uint64_t total_bytes, total_connections, total_frames;

/* least .. most, evenly in the exponent */
static uint64_t log_uniform(struct prng *p, uint64_t least, uint64_t most)
{
	double lo = log2((double)least), hi = log2((double)most + 1);
	double x = exp2(lo + (hi - lo) * (double)(prng_u64(p) >> 11) * 0x1p-53);

	return MIN((uint64_t)x, most);
}

static bool one_in(struct prng *p, unsigned n)
{
	return prng_below(p, n) == 0;
}

static void pick_conditions(struct prng *p, struct random_conf *c)
{
	struct wire_conf *w = &c->w;
	struct memdev_conf *d = &c->dev;

	c->hosts = 2 + (unsigned)prng_below(p, 3);
	c->flows = (unsigned)log_uniform(p, 1, SHORT_MAX);
	w->delay_us = one_in(p, 4) ? prng_below(p, 200000) : prng_below(p, 20000);
	w->jitter_us = one_in(p, 3) ? prng_below(p, 5000) : 0;
	w->in_order = one_in(p, 2);
	if (!one_in(p, 4))
		w->chance.loss_ppm = (uint32_t)(one_in(p, 2) ? prng_below(p, 100001) : log_uniform(p, 10, 100000));
	if (one_in(p, 6)) {
		w->chance.burst_enter_ppm = (uint32_t)log_uniform(p, 10, 10000);
		w->chance.burst_leave_ppm = 400000 + (uint32_t)prng_below(p, 600000); /* per packet: a sparse flow is long in there */
		w->chance.burst_loss_ppm = one_in(p, 2) ? 0 : 500000;
	}
	w->chance.reorder_ppm = one_in(p, 2) ? 0 : (uint32_t)log_uniform(p, 100, 50000);
	w->reorder_us = prng_below(p, 10000);
	w->chance.dup_ppm = one_in(p, 2) ? 0 : (uint32_t)log_uniform(p, 100, 50000);
	w->chance.corrupt_ppm = one_in(p, 2) ? 0 : (uint32_t)log_uniform(p, 100, 20000);
	if (one_in(p, 2)) {
		w->rate_bps = log_uniform(p, 2000000, 1000000000);
		w->queue_frames = 5 + (uint32_t)prng_below(p, 300);
		if (one_in(p, 4)) {
			w->aqm = WIRE_CE_THRESHOLD;
			w->mark_bytes = 1500 * (1 + prng_below(p, 50));
		} else if (one_in(p, 4)) {
			w->aqm = WIRE_RED;
			w->red_min = 10000;
			w->red_max = 100000;
			w->red_ppm = 100000;
		}
	}
	c->arp_is_lost = one_in(p, 8);
	c->uneven = one_in(p, 4);
	d->mtu = one_in(p, 2) ? 1500 : one_in(p, 2) ? 9000 : 576 + (uint32_t)prng_below(p, 2000);
	d->tx_csum = !one_in(p, 3);
	d->tso_max_bytes = one_in(p, 3) ? 0 : 61440;
	d->tso_carry = one_in(p, 2);
	d->rx_csum = !one_in(p, 3);
	d->rx_seg_bytes = one_in(p, 6) ? 100 + (uint16_t)prng_below(p, 1000) : 0;
	d->tx_hold = one_in(p, 2) ? 0 : (uint16_t)prng_below(p, 64);
	d->tx_accept = one_in(p, 6) ? 1 + (uint16_t)prng_below(p, 32) : 0;
	d->rx_merge = one_in(p, 2);
}

/* Two plans that do not wait for each other for ever. */
static bool plans_fit(enum close_plan a, enum close_plan b)
{
	return a != CLOSE_AFTER_PEER || !(b == CLOSE_AFTER_PEER || b == CLOSE_WHEN_SENT || b == CLOSE_RESET);
}

static void pick_plans(struct prng *p, struct flow *f)
{
	bool polite = one_in(p, 2); /* half of all: then every byte must arrive */

	do {
		for (unsigned e = 0; e < 2; e++)
			f->end[e].plan = (enum close_plan)prng_below(p, polite ? CLOSE_AT_ONCE : CLOSE_PLANS);
	} while (!plans_fit(f->end[0].plan, f->end[1].plan) || !plans_fit(f->end[1].plan, f->end[0].plan));
	for (unsigned e = 0; e < 2; e++) {
		f->end[e].cut_at = prng_below(p, f->end[e].to_send + 1);
		f->end[e].keepalive = !plan_is_polite(f->end[!e].plan) || !plan_is_polite(f->end[e].plan) || one_in(p, 8);
	}
}

static void pick_flow(struct prng *p, const struct random_conf *c, uint64_t seed)
{
	unsigned from = (unsigned)prng_below(p, c->hosts), to = (from + 1 + (unsigned)prng_below(p, c->hosts - 1)) % c->hosts;
	uint64_t bytes = one_in(p, 20) ? 0 : log_uniform(p, 1, 10000000), there;
	struct flow *f;

	there = one_in(p, 3) ? bytes : one_in(p, 2) ? 0 : prng_below(p, bytes + 1);
	f = world_flow(from, to, there, bytes - there, vclock_us + (one_in(p, 2) ? 0 : prng_below(p, 200000)), seed);
	pick_plans(p, f);
	for (unsigned e = 0; e < 2; e++) {
		struct flow_end *x = &f->end[e];
		uint64_t both = MAX(x->to_send, x->expect);

		/* small pieces where there is little: a system call per byte of ten megabytes proves nothing more */
		x->chunk_max = one_in(p, 3) ? (uint32_t)MAX(1 + prng_below(p, 3000), both / 4000) : 65536;
		if (one_in(p, 6)) /* a reader that takes a second to a minute and a half in all */
			x->read_every_us = log_uniform(p, 1000000, 90000000) / (1 + 2 * x->expect / MIN(x->chunk_max, 65536u));
		if (one_in(p, 12)) { /* a window that stays closed for a while */
			x->pause_at = prng_below(p, x->expect + 1);
			x->pause_us = log_uniform(p, 1000, 30000000);
		}
		x->nodelay = one_in(p, 3);
		x->more_ppm = one_in(p, 8) ? (uint32_t)prng_below(p, 500000) : 0;
		x->maxseg = one_in(p, 16) ? 88 + (uint32_t)prng_below(p, 2000) : 0;
		if (one_in(p, 2))
			x->cc = tcp_cc_name((unsigned)prng_below(p, nb_ccs));
		x->rcvbuf = one_in(p, 2) ? 0 : (uint32_t)log_uniform(p, 2304, 4000000);
		x->sndbuf = one_in(p, 2) ? 0 : (uint32_t)log_uniform(p, 4608, 4000000);
		/* a window of one segment, and a round trip a segment: hours for ten megabytes would only say so */
		if (x->rcvbuf && x->rcvbuf < both / 2000)
			x->rcvbuf = (uint32_t)(both / 2000);
	}
}

static void check_flow(struct flow *f, const struct random_conf *c)
{
	const struct flow_end *a = &f->end[0], *b = &f->end[1];
	/* Nine losses in a row end a closed connection as they do on Linux; the other end may never hear of it. That is told and counted,
	 * and is possible only where much is lost. */
	bool hard = c->w.chance.loss_ppm + c->w.chance.corrupt_ppm >= 40000 || c->w.chance.burst_enter_ppm;

	if (hard && WORLD_MIB(tcp_free_pcb_in_maxrtx) && (!f->done || a->error == ETIMEDOUT || b->error == ETIMEDOUT)) {
		total_gave_up++;
		return;
	}
	if (!f->done) {
		flow_problem(f, "stalled");
		return;
	}
	if (!f->connected && a->failed) {
		total_refused++;
		/* heavy loss: the kernel's six SYNs and three ARP requests may all be lost */
		if (a->error != ETIMEDOUT && !(c->arp_is_lost && a->error == EHOSTUNREACH) &&
		    !(f->accepted && !plan_is_polite(b->plan) && a->error == ECONNRESET))
			flow_problem(f, "connect failed: %s", strerror(a->error));
		return;
	}
	for (unsigned e = 0; e < 2; e++) {
		const struct flow_end *x = &f->end[e], *peer = &f->end[!e];
		bool gone = !plan_is_polite(peer->plan) || peer->failed;

		if (x->failed && !gone)
			flow_problem(f, "end %u failed although the peer is polite: %s", e, strerror(x->error));
		else if (x->failed && x->error != ECONNRESET && x->error != EPIPE && x->error != ETIMEDOUT)
			flow_problem(f, "end %u failed: %s", e, strerror(x->error));
		/* what is sent before close() arrives, unless the peer sends into it */
		if (!x->failed && x->received < x->expect && plan_is_polite(x->plan) &&
		    (plan_is_polite(peer->plan) || (peer->plan == CLOSE_AT_ONCE && !x->to_send)))
			flow_problem(f, "end %u got %llu of %llu bytes", e, (unsigned long long)x->received,
				     (unsigned long long)x->expect);
		if (peer->plan == CLOSE_AT_ONCE && !x->to_send && x->failed && plan_is_polite(x->plan))
			flow_problem(f, "end %u was reset by a close() that it had sent nothing against", e);
	}
	if (plan_is_polite(a->plan) && plan_is_polite(b->plan) && (!flow_complete(f) || !f->accepted))
		flow_problem(f, "not whole");
}

/* What is armed when no connection is left: the neighbours' timers. */
static unsigned check_timers(uint64_t seed)
{
	unsigned bad = 0;

	for (unsigned h = 0; h < tenv.nb_hosts; h++) {
		const struct wheel *w = &tenv.host[h].st->wheel;

		if (w->armed > tenv.nb_hosts) {
			fprintf(stderr, "FAIL random seed %llu: host %u has %u timers armed when everything is over\n",
				(unsigned long long)seed, h, w->armed);
			bad++;
		}
	}
	return bad;
}

static void describe(uint64_t seed, const struct random_conf *c)
{
	const struct wire_conf *w = &c->w;
	const struct memdev_conf *d = &c->dev;

	fprintf(stderr, "  seed %llu: delay %llu us, jitter %llu%s, loss %u ppm, burst %u/%u/%u, reorder %u by %llu us, dup %u, corrupt %u\n",
		(unsigned long long)seed, (unsigned long long)w->delay_us, (unsigned long long)w->jitter_us,
		w->in_order ? " in order" : "", w->chance.loss_ppm, w->chance.burst_enter_ppm, w->chance.burst_leave_ppm,
		w->chance.burst_loss_ppm, w->chance.reorder_ppm, (unsigned long long)w->reorder_us, w->chance.dup_ppm,
		w->chance.corrupt_ppm);
	fprintf(stderr, "  rate %llu, queue %u frames, aqm %d; mtu %u, tx_csum %d, tso %u%s, rx_csum %d, merge %d, rx_seg %u, hold %u, accept %u\n",
		(unsigned long long)w->rate_bps, w->queue_frames, (int)w->aqm, d->mtu, d->tx_csum, d->tso_max_bytes,
		d->tso_carry ? " carried" : "", d->rx_csum, d->rx_merge, d->rx_seg_bytes, d->tx_hold, d->tx_accept);
}

static void describe_flow(const struct flow *f, unsigned i)
{
	fprintf(stderr, "  flow %u, host %u to %u, port %u%s%s%s:\n", i, f->from, f->to, ntohs(f->port_be), f->connected ? ", connected" : "",
		f->accepted ? ", accepted" : "", f->done ? ", done" : "");
	for (unsigned e = 0; e < 2; e++) {
		const struct flow_end *x = &f->end[e];

		fprintf(stderr, "    %s: sent %llu/%llu (cut %llu), read %llu/%llu, chunk %u, every %llu us, rcvbuf %u, sndbuf %u, maxseg %u, %s%s%s%s%s%s error %d\n",
			close_plan_names[x->plan], (unsigned long long)x->sent, (unsigned long long)x->to_send,
			(unsigned long long)x->cut_at, (unsigned long long)x->received, (unsigned long long)x->expect, x->chunk_max,
			(unsigned long long)x->read_every_us, x->rcvbuf, x->sndbuf, x->maxseg, x->cc ? x->cc : "-",
			x->keepalive ? ", keepalive" : "",
			x->shut ? ", shut" : "", x->eof ? ", eof" : "", x->closed ? ", closed" : "", x->failed ? ", failed" : "",
			x->error);
	}
}

static bool random_world(uint64_t seed, bool verbose)
{
	struct random_conf c = { 0 };
	unsigned bad = 0, flows_bad = 0;
	uint64_t rounds, frames = 0, since;
	struct prng p;

	for (nb_ccs = 0; tcp_cc_name(nb_ccs); nb_ccs++)
		;
	prng_seed(&p, seed);
	pick_conditions(&p, &c);
	world_open(c.hosts, &c.w, &c.dev, seed);
	if (c.uneven) { /* a slow or a clean way back */
		struct wire_conf *w = &tenv.wire.link[1].conf;

		if (one_in(&p, 2))
			memset(&w->chance, 0, sizeof(w->chance));
		w->rate_bps = one_in(&p, 2) ? 0 : log_uniform(&p, 1000000, 100000000);
		w->delay_us = prng_below(&p, 50000);
	}
	/* ARP asks three times and gives up: a world in which it is lost may refuse to connect */
	tenv.wire.spare_arp = !c.arp_is_lost;
	for (unsigned h = 0; h < c.hosts; h++)
		if (one_in(&p, 4)) { /* what is accepted inherits it, its window scale too */
			int bytes = (int)log_uniform(&p, 10000, 4000000);

			sock_setopt(world_listener(h), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes), tenv.self);
		}
	for (unsigned i = 0; i < c.flows; i++)
		pick_flow(&p, &c, seed * 100 + i);
	since = vclock_us;
	world_run(HOURS);
	for (unsigned i = 0; i < nb_flows; i++) {
		struct flow *f = &flows[i];

		check_flow(f, &c);
		total_bytes += f->end[0].received + f->end[1].received;
		if (f->problem[0]) {
			fprintf(stderr, "FAIL random seed %llu: %s\n", (unsigned long long)seed, f->problem);
			describe_flow(f, i);
			flows_bad++;
		} else if (verbose) {
			describe_flow(f, i);
		}
	}
	total_connections += nb_flows;
	world_end_flows();
	testenv_run_for(SECONDS(1000)); /* orphans give up, TIME_WAIT ends */
	bad += check_timers(seed);
	for (unsigned h = 0; h < tenv.nb_hosts; h++)
		frames += tenv.host[h].dev.tx_frames;
	total_frames += frames;
	rounds = tenv.rounds;
	/* a frame is sent, received, answered; a timer fires, moves between slots, and something is sent: anything beyond runs in circles */
	if (rounds > 20 * frames + 100000) {
		fprintf(stderr, "FAIL random seed %llu: %llu rounds for %llu frames\n", (unsigned long long)seed,
			(unsigned long long)rounds, (unsigned long long)frames);
		bad++;
	}
	bad += (unsigned)world_close(true);
	if (bad)
		fprintf(stderr, "FAIL random seed %llu: see above\n", (unsigned long long)seed);
	if (bad || flows_bad || verbose) {
		describe(seed, &c);
		fprintf(stderr, "  %.3f virtual seconds, %llu frames, %llu rounds\n", (double)(vclock_us - since) / 1e6,
			(unsigned long long)frames, (unsigned long long)rounds);
	}
	return bad || flows_bad;
}

int random_runs(uint64_t seed, uint64_t connections, bool verbose)
{
	uint64_t worlds = 0;
	unsigned failed = 0;
	struct timespec t0, t1;
	double cpu;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
	for (; total_connections < connections && failed < 20; worlds++)
		failed += random_world(seed + worlds, verbose);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
	cpu = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	printf("%llu connections, %.1f GB, %llu frames in %llu worlds (seeds %llu to %llu), %.1f s of processor time\n",
	       (unsigned long long)total_connections, (double)total_bytes / 1e9, (unsigned long long)total_frames,
	       (unsigned long long)worlds, (unsigned long long)seed, (unsigned long long)(seed + worlds - 1), cpu);
	printf("%llu connections gave up after nine losses in a row, %llu were never made\n", (unsigned long long)total_gave_up,
	       (unsigned long long)total_refused);
	if (total_gave_up > 3 + total_connections / 5000 || total_refused > 5 + total_connections / 500) {
		printf("FAIL random: that is more than chance explains\n");
		failed++;
	}
	printf("%llu passed, %u failed\n", (unsigned long long)worlds - failed, failed);
	return failed != 0;
}

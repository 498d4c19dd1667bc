/* world.c - see world.h. Called by the tables and the random runs; calls testenv, flow, oracle. One thread. */
#include "world.h"
#include "oracle.h"

#include <stdlib.h>

struct flow flows[FLOWS_MAX];
unsigned nb_flows;
unsigned world_bottleneck;

static struct sock *listeners[TESTENV_HOSTS];
static uint64_t opened_us;

static void start(unsigned hosts, const struct memdev_conf *dev, uint64_t seed)
{
	vclock_us = SECONDS(1000);
	testenv_open(&(struct testenv_conf){ .nb_hosts = hosts, .wired = true, .seed = seed, .dev = *dev });
	oracle_open();
	nb_flows = 0;
	opened_us = vclock_us;
}

void world_open(unsigned hosts, const struct wire_conf *wire, const struct memdev_conf *dev, uint64_t seed)
{
	start(hosts, dev, seed);
	for (unsigned h = 0; h < hosts; h++)
		tenv.wire.link[h].conf = *wire;
}

void world_dumbbell(const struct dumbbell_conf *c)
{
	struct wire_conf w = c->more;
	uint64_t bdp = c->rate_bps / 8 * c->rtt_us / 1000000;

	start(2 * c->pairs, &c->dev, c->seed);
	w.rate_bps = c->rate_bps;
	w.delay_us = c->rtt_us / 2;
	w.queue_bytes = MAX((uint64_t)((double)bdp * c->queue_bdp), 3000);
	world_bottleneck = wire_dumbbell(&tenv.wire, c->pairs, &w, &w);
}

struct sock *world_listener(unsigned host)
{
	if (!listeners[host])
		listeners[host] = testenv_listener(host, SIM_PORT, 1000);
	return listeners[host];
}

void world_listen(void)
{
	for (unsigned h = 0; h < tenv.nb_hosts; h++)
		world_listener(h);
}

struct flow *world_flow(unsigned from, unsigned to, uint64_t bytes0, uint64_t bytes1, uint64_t start_us, uint64_t seed)
{
	struct flow *f = &flows[nb_flows++];

	if (nb_flows > FLOWS_MAX)
		abort();
	flow_init(f, world_listener(to), from, to, SIM_PORT, bytes0, bytes1, seed);
	f->start_us = MAX(start_us, vclock_us);
	return f;
}

/* Steps the flows that live on these hosts, and those whose own time has come. Returns whether all are done. */
static bool step(uint32_t hosts, uint64_t *next_us)
{
	bool done = true;

	for (unsigned h = 0; h < tenv.nb_hosts; h++)
		if (listeners[h] && (hosts & 1u << h) && atomic_load(&listeners[h]->acc_len))
			flows_accept(flows, nb_flows, listeners[h]);
	*next_us = UINT64_MAX;
	for (unsigned i = 0; i < nb_flows; i++) {
		struct flow *f = &flows[i];

		if (f->done)
			continue;
		if ((hosts & (1u << f->from | 1u << f->to)) || f->next_us <= vclock_us) {
			flow_step(f);
			f->next_us = flow_next_us(f);
		}
		done &= f->done;
		*next_us = MIN(*next_us, f->next_us);
	}
	return done;
}

bool world_run(uint64_t limit_us)
{
	uint64_t until = vclock_us + limit_us, apps;
	uint32_t ran = UINT32_MAX;

	for (;;) {
		uint64_t next;
		bool done;

		ran |= testenv_settle_due();
		done = step(ran, &apps);
		ran = testenv_settle_due(); /* what the applications just did */
		if (done)
			return true;
		if (ran)
			continue;
		if (vclock_us >= until)
			return false;
		next = MIN(testenv_next_us(), apps);
		vclock_us = MIN(MAX(next, vclock_us + 1), until);
	}
}

void world_end_flows(void)
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
}

int world_close(bool count_leaks)
{
	int bad = 0;

	world_end_flows();
	if (count_leaks) {
		testenv_run_for(SECONDS(1000)); /* orphans give up, TIME_WAIT ends */
		bad = testenv_close();
	} else {
		testenv_abandon();
	}
	oracle_close();
	return bad;
}

uint64_t world_mib(size_t offset)
{
	uint64_t n = 0;

	for (unsigned h = 0; h < tenv.nb_hosts; h++)
		n += *(const uint64_t *)(const void *)((const char *)&tenv.host[h].st->mib + offset);
	return n;
}

double jain(const double *x, unsigned n)
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < n; i++) {
		sum += x[i];
		squares += x[i] * x[i];
	}
	return squares > 0 ? sum * sum / (n * squares) : 0;
}

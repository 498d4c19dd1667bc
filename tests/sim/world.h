/* world.h - a simulated network with its applications: opens hosts and links, runs flows from event to event, measures.
 *
 * Time goes from one event to the next: the arrival of a frame, the next deadline of a stack's wheel, the next wish of an
 * application. A moment at which nothing happens costs nothing. One world at a time; everything follows from the seed.
 */
#ifndef GZ_SIM_WORLD_H
#define GZ_SIM_WORLD_H

#include "flow.h"

#define FLOWS_MAX 256
#define SIM_PORT 80
#define SECONDS(n) ((uint64_t)(n)*1000000)

extern struct flow flows[FLOWS_MAX];
extern unsigned nb_flows;

/* Hosts on links of their own, all with the same conditions. */
void world_open(unsigned hosts, const struct wire_conf *wire, const struct memdev_conf *dev, uint64_t seed);

struct dumbbell_conf {
	unsigned pairs;		/* hosts 0 .. pairs-1 send to hosts pairs .. 2 pairs-1 */
	uint64_t rate_bps;	/* of the bottleneck, both ways */
	uint64_t rtt_us;	/* without queues */
	double queue_bdp;	/* bytes of the bottleneck's queue in bandwidth-delay products */
	struct wire_conf more;	/* its AQM, chance, jitter ...: there; delay, rate and queue come from above */
	struct memdev_conf dev;
	uint64_t seed;
};
/* The bottleneck's two links are tenv.wire.link[world_bottleneck] (there) and the one behind it (back). */
void world_dumbbell(const struct dumbbell_conf *c);
extern unsigned world_bottleneck;

/* Everybody listens. */
void world_listen(void);
struct sock *world_listener(unsigned host);
/* A flow from host to host that starts at start_us (0: now); more may be set in what it returns before time passes. */
struct flow *world_flow(unsigned from, unsigned to, uint64_t bytes0, uint64_t bytes1, uint64_t start_us, uint64_t seed);
/* Passes time until all flows are done (true), or limit_us have passed. */
bool world_run(uint64_t limit_us);
/* Closes what is open, listeners too. */
void world_end_flows(void);
/* Ends everything. count_leaks: lets orphans give up and TIME_WAIT end first; returns how many kinds of leaks there were. */
int world_close(bool count_leaks);

uint64_t world_mib(size_t offset);
#define WORLD_MIB(name) world_mib(offsetof(struct mib, name))

/* Jain's index of n numbers, 0 .. 1. */
double jain(const double *x, unsigned n);

#endif

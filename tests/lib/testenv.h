/* testenv.h - hosts in one process for tests: EAL, shared region, stacks on memdevs, virtual time, the event loop.
 *
 * A *host* is one stack on one memdev with its own address 10.0.0.<i+1>/24 (host 0: 10.0.0.1). All hosts share one region, one
 * port name space (bind to specific addresses), one mbuf pool. The test thread owns a stack only inside testenv_poll();
 * between rounds the socket layer takes ownership by itself, as an application thread does in run-to-completion.
 * Time is vclock_us and passes only in testenv_run_*(). Use sockets that do not block.
 *
 *	testenv_open(&(struct testenv_conf){ .nb_hosts = 2, .wired = true, .seed = 1 });
 *	struct sock *l = testenv_listener(1, 80, 16), *c = testenv_connect(0, 1, 80), *a;
 *	testenv_run_for(1000);
 *	sock_accept(l, &a, true, -1, tenv.self);
 *	...
 *	testenv_close();          returns the number of leaks and bad frames it complained about
 *
 * Without .wired each device stands alone: memdev_push(&tenv.host[0].dev, seg_build(...)), memdev_pop(...); ARP is
 * answered by the device.
 */
#ifndef GZ_TEST_TESTENV_H
#define GZ_TEST_TESTENV_H

#include "memdev.h"
#include "vclock.h"

#include "sock/epoll.h"
#include "sock/sock.h"
#include "stack/own.h"
#include "stack/stack.h"

#define TESTENV_HOSTS 16

struct testenv_conf {
	unsigned nb_hosts;	/* 0: 1 */
	bool wired;		/* all devices on one wire, tenv.wire */
	uint64_t seed;		/* of the wire */
	uint32_t conn_hint;	/* 0: 1000 */
	uint32_t mbufs;		/* 0: 32768; the first use decides */
	uint16_t mbuf_bytes;	/* 0: 2048; the first use decides */
	uint32_t addr_be, mask_be, gateway_be; /* of host 0, when the usual ones will not do */
	struct memdev_conf dev; /* of every host; mac is set per host */
	struct memdev_conf *devs; /* or one each */
};

struct thost {
	struct stack *st;
	struct memdev dev;
	uint32_t ip_be;
};

struct testenv {
	unsigned nb_hosts;
	struct thost *host;
	struct wire wire;
	bool wired;
	struct rte_mempool *pool, *large;
	struct thread_rec *self;
	uint32_t mbufs_before;
	uint64_t rounds;
	FILE *pcap;
};
extern struct testenv tenv;

/* EAL, once per process; also called by testenv_open(). Aborts with a message when it fails. */
void testenv_eal(void);
/* The pool of this process. */
struct rte_mempool *testenv_pool(uint32_t mbufs, uint16_t mbuf_bytes);
void testenv_open(const struct testenv_conf *conf);
/* Ends the hosts, checks for leaks of mbufs, sockets, items and for bad frames; returns how many kinds of complaints it printed.
 * Sockets must be closed and connections gone (testenv_run_for() long enough) when leaks are to be counted. */
int testenv_close(void);
/* The same check without ending: connections that are alive count as leaks. quiet: only the number. */
int testenv_leaks(bool quiet);
/* Ends without any check (a test that aborted in the middle). */
void testenv_abandon(void);

/* One round of host i at the current time; returns what stack_poll_at() says. */
unsigned testenv_poll(unsigned i);
/* Rounds at the current time until nothing moves any more. */
void testenv_settle(void);
/* The same, but only hosts with something to do get a round; returns them, a bit each. Cheaper, for simulations. */
uint32_t testenv_settle_due(void);
/* The next moment at which anything happens by itself; UINT64_MAX: never. */
uint64_t testenv_next_us(void);
/* Passes time, event by event, to vclock_us == until. */
void testenv_run_until(uint64_t until_us);
void testenv_run_for(uint64_t us);
/* Passes time until cond(arg) or limit_us have passed; true: the condition came. cond is evaluated after every event. */
bool testenv_run_cond(bool (*cond)(void *arg), void *arg, uint64_t limit_us);

/* Sockets on host i; NULL: no memory. Non-blocking. */
struct sock *testenv_socket(unsigned i, int type);
struct sock *testenv_listener(unsigned i, uint16_t port, int backlog);
/* Starts to connect from host i to a port of host j. */
struct sock *testenv_connect(unsigned i, unsigned j, uint16_t port);
int testenv_connect_addr(struct sock *s, uint32_t addr_be, uint16_t port);
int testenv_bind_addr(struct sock *s, uint32_t addr_be, uint16_t port);
void testenv_close_sock(struct sock *s);
static inline uint32_t testenv_ip(unsigned i) { return htonl(0x0a000001u + i); }
static inline unsigned testenv_mbufs_used(void)
{
	return rte_mempool_in_use_count(tenv.pool) + rte_mempool_in_use_count(tenv.large) - tenv.self->mag.count;
}

#endif

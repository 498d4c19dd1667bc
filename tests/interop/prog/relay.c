/* relay.c - a link between two interfaces of this network namespace, with a rate, a delay and a seeded fate per packet.
 *
 * usage: relay IF1 IF2 RATE_MBIT RTT_US QUEUE_FRAMES LOSS_PPM REORDER_PPM REORDER_US SEED
 *
 * What comes in at one leaves at the other, both ways under the same conditions: lost or held back by packet number (tests/lib/chance.h, the
 * decisions of the simulator's links), queued for the rate in a bounded queue, delayed by half of RTT_US. The same seed loses the same packet
 * numbers whoever sends them. The interfaces' peers must not hand over frames larger than the MTU (ethtool -K PEER tso off gso off gro off tx off).
 * Runs until SIGTERM or SIGINT, then prints a line of counters per direction. One thread; sleeps while nothing is due.
 */
#include "chance.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_BYTES 2048u
#define BATCH 64u
#define RING 16384u /* frames under way per direction, a power of two */
#define FRAMING 24u /* preamble, check sum, gap */

struct slot {
	uint64_t due_ns;
	uint32_t len;
	uint8_t data[FRAME_BYTES];
};

struct way {
	int in, out;
	uint64_t seed, nth, busy_until_ns;
	bool bad_state;
	struct slot *ring; /* in the order of arrival, which is the order of due_ns but for those held back */
	uint32_t at, n;
	struct slot *late; /* those held back */
	uint32_t late_n, late_cap;
	uint64_t seen, lost, dropped, reordered, sent, too_large, late_ns_max;
};

static struct chance_conf chance;
static uint64_t rate_bps, delay_ns, reorder_ns, queue_frames;
static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static int open_if(const char *name)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(0x0003 /* ETH_P_ALL */), .sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), bytes = 32 << 20, one = 1;

	if (!a.sll_ifindex || fd < 0) {
		fprintf(stderr, "relay: %s: %s\n", name, strerror(errno));
		exit(2);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a))) {
		perror("relay: bind");
		exit(2);
	}
	return fd;
}

/* A frame came: what becomes of it. */
static void take(struct way *w, const uint8_t *p, uint32_t len, uint64_t now)
{
	bool tcp = len >= 54 && p[12] == 8 && p[13] == 0 && p[23] == IPPROTO_TCP;
	struct fate f = { 0 };
	uint64_t start, ns;
	struct slot *s;

	w->seen++;
	if (len > FRAME_BYTES) {
		w->too_large++;
		return;
	}
	if (tcp) /* packet numbers are those of TCP: what else two kernels say to each other comes when it likes */
		f = chance_fate(w->seed, ++w->nth, &chance, &w->bad_state);
	if (f.lost) {
		w->lost++;
		return;
	}
	ns = (len + FRAMING) * 8ULL * 1000000000ULL / rate_bps;
	start = w->busy_until_ns > now ? w->busy_until_ns : now;
	if ((start - now) / ns >= queue_frames || w->n == RING) {
		w->dropped++;
		return;
	}
	w->busy_until_ns = start + ns;
	if (f.reordered) {
		if (w->late_n == w->late_cap) {
			w->dropped++;
			return;
		}
		s = &w->late[w->late_n++];
		s->due_ns = start + ns + delay_ns + reorder_ns;
		w->reordered++;
	} else {
		s = &w->ring[(w->at + w->n++) & (RING - 1)];
		s->due_ns = start + ns + delay_ns;
	}
	s->len = len;
	memcpy(s->data, p, len);
}

static bool receive(struct way *w)
{
	static uint8_t buf[BATCH][FRAME_BYTES];
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];
	uint64_t now;
	int n;

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < BATCH; i++) {
		v[i] = (struct iovec){ buf[i], FRAME_BYTES };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(w->in, m, BATCH, MSG_TRUNC, NULL);
	now = now_ns();
	for (int i = 0; i < n; i++)
		take(w, buf[i], m[i].msg_len, now);
	return n == (int)BATCH;
}

static void put(struct way *w, struct slot **s, unsigned n, uint64_t now)
{
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];
	unsigned done = 0;

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < n; i++) {
		uint64_t late = now - s[i]->due_ns;

		w->late_ns_max = late > w->late_ns_max ? late : w->late_ns_max;
		v[i] = (struct iovec){ s[i]->data, s[i]->len };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	while (done < n && !stop) {
		int r = sendmmsg(w->out, m + done, n - done, 0);

		if (r > 0)
			done += (unsigned)r;
		else if (errno != EAGAIN && errno != ENOBUFS)
			break;
	}
	w->sent += done;
}

/* Sends what is due; returns when the next is, UINT64_MAX: nothing waits. */
static uint64_t deliver(struct way *w)
{
	uint64_t now = now_ns(), next = UINT64_MAX;
	struct slot *s[BATCH];

	for (uint32_t i = 0; i < w->late_n;) {
		if (w->late[i].due_ns > now) {
			next = w->late[i].due_ns < next ? w->late[i].due_ns : next;
			i++;
			continue;
		}
		s[0] = &w->late[i];
		put(w, s, 1, now);
		w->late[i] = w->late[--w->late_n];
	}
	for (;;) {
		unsigned n = 0;

		while (n < BATCH && n < w->n && w->ring[(w->at + n) & (RING - 1)].due_ns <= now) {
			s[n] = &w->ring[(w->at + n) & (RING - 1)];
			n++;
		}
		if (!n)
			break;
		put(w, s, n, now);
		w->at = (w->at + n) & (RING - 1);
		w->n -= n;
	}
	if (w->n && w->ring[w->at].due_ns < next)
		next = w->ring[w->at].due_ns;
	return next;
}

int main(int argc, char **argv)
{
	struct way way[2] = { 0 };
	uint64_t v[7];

	if (argc != 10) {
		fprintf(stderr, "usage: relay IF1 IF2 RATE_MBIT RTT_US QUEUE_FRAMES LOSS_PPM REORDER_PPM REORDER_US SEED\n");
		return 2;
	}
	for (int i = 0; i < 7; i++)
		v[i] = strtoull(argv[3 + i], NULL, 0);
	rate_bps = v[0] * 1000000;
	delay_ns = v[1] * 1000 / 2;
	queue_frames = v[2];
	chance.loss_ppm = (uint32_t)v[3];
	chance.reorder_ppm = (uint32_t)v[4];
	reorder_ns = v[5] * 1000;
	way[0].in = way[1].out = open_if(argv[1]);
	way[1].in = way[0].out = open_if(argv[2]);
	for (unsigned i = 0; i < 2; i++) {
		way[i].seed = v[6] * 2 + i;
		way[i].late_cap = 1024;
		way[i].ring = calloc(RING, sizeof(struct slot));
		way[i].late = calloc(way[i].late_cap, sizeof(struct slot));
		if (!rate_bps || !way[i].ring || !way[i].late)
			return 2;
	}
	/* a link does not wait for its turn; without the right to ask for that it is as late as it is, and says so at the end */
	sched_setscheduler(0, SCHED_RR, &(struct sched_param){ .sched_priority = 10 });
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	puts("relay: ready");
	fflush(stdout);
	while (!stop) {
		struct pollfd p[2] = { { .fd = way[0].in, .events = POLLIN }, { .fd = way[1].in, .events = POLLIN } };
		uint64_t next = UINT64_MAX, now;
		struct timespec wait = { 1, 0 };
		bool more = false;

		for (unsigned i = 0; i < 2; i++) {
			uint64_t t;

			more |= receive(&way[i]);
			t = deliver(&way[i]);
			next = t < next ? t : next;
		}
		now = now_ns();
		if (more || next <= now)
			continue;
		if (next != UINT64_MAX && next - now < 1000000000)
			wait = (struct timespec){ 0, (long)(next - now) };
		ppoll(p, 2, &wait, NULL);
	}
	for (unsigned i = 0; i < 2; i++)
		printf("relay: way %u: %llu seen, %llu lost, %llu dropped by the queue, %llu reordered, %llu sent, %llu too large, at most %llu us late\n", i,
		       (unsigned long long)way[i].seen, (unsigned long long)way[i].lost, (unsigned long long)way[i].dropped,
		       (unsigned long long)way[i].reordered, (unsigned long long)way[i].sent, (unsigned long long)way[i].too_large,
		       (unsigned long long)(way[i].late_ns_max / 1000));
	return 0;
}

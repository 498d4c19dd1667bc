/* wire.h - links between in-memory devices, in virtual time.
 *
 * A *link* carries frames one way: they may be lost, damaged or doubled, wait in a bounded queue for the link's rate, where a full queue or
 * its management drops or marks them (ECN), and arrive a delay later. Every attached device (an *end*) has a link of its own, by which its
 * frames reach any other end, as through a switch. wire_route() sends the frames from one end to another over more links, one after the
 * other: a bottleneck that many ends share is a link that many routes contain (a router's output queue). wire_dumbbell() builds the usual
 * one: pairs of ends left and right of one bottleneck each way.
 *
 * Everything is deterministic: time is what the caller says, chance comes from the seed (chance.h). One thread.
 */
#ifndef GZ_TEST_WIRE_H
#define GZ_TEST_WIRE_H

#include "chance.h"
#include "frame.h"

#define WIRE_ENDS 16
#define WIRE_LINKS (WIRE_ENDS + 16)
#define WIRE_HOPS 4
/* What a frame takes on Ethernet beside its bytes: preamble, check sum, gap. */
#define WIRE_FRAMING 24u

struct memdev;

enum wire_aqm {
	WIRE_TAIL,	   /* only a full queue drops */
	WIRE_CE_THRESHOLD, /* and what arrives behind more than mark_bytes is marked CE if it is ECN-capable (RFC 8257 §3.1) */
	WIRE_RED,	   /* random early detection between red_min and red_max bytes of averaged queue: marked, or dropped (RFC 2309) */
};

struct wire_conf {
	uint64_t delay_us;
	uint64_t jitter_us;	/* 0 .. jitter_us more, uniformly; frames may overtake each other ... */
	bool in_order;		/* ... unless this is set */
	struct chance_conf chance;
	uint64_t reorder_us;	/* how much longer than the others those take that chance.reorder_ppm chose */
	uint64_t rate_bps;	/* 0: no limit, no queue */
	uint32_t queue_frames;	/* waiting for the rate, the one on its way out included; 0: no limit (1000 when queue_bytes is 0 too) */
	uint64_t queue_bytes;	/* 0: no limit */
	enum wire_aqm aqm;
	uint64_t mark_bytes, red_min, red_max;
	uint32_t red_ppm;	/* at red_max */
	uint32_t drop_nth[16];	/* these frames of this link (1 = first) are lost; 0 ends the list */
	/* false: lose this frame. nth counts from 1. */
	bool (*filter)(void *arg, const struct frame *f, uint64_t nth);
	void *filter_arg;
};

struct wire_stats {
	uint64_t sent, delivered, lost, queue_drops, duplicated, corrupted, reordered, marked;
	uint64_t bytes;		/* that left the queue, framing included */
	uint64_t queue_max;	/* bytes */
	double queue_area;	/* bytes waiting, times microseconds: divided by the time it is the mean queue */
};

struct wire_waiting {
	uint64_t leaves_ns;
	uint32_t bytes;
};

struct wire_link {
	struct wire_conf conf;
	struct wire_stats stats;
	uint64_t seed, nth;
	bool bad_state;
	uint64_t busy_until_ns, last_arrival_us;
	struct wire_waiting *waiting; /* ring */
	uint32_t waiting_at, waiting_n, waiting_cap;
	uint64_t waiting_bytes, area_ns;
	double red_avg;
	uint64_t red_count, red_idle_ns;
};

struct wire_route {
	uint8_t hop[WIRE_HOPS], n;
};

struct wire_event {
	uint64_t time_us, order;
	struct frame *f;
	uint8_t from, to, hop;
};

struct wire {
	struct memdev *end[WIRE_ENDS];
	struct wire_link link[WIRE_LINKS]; /* [end]: its own; then those of wire_link() */
	struct wire_route route[WIRE_ENDS][WIRE_ENDS];
	struct wire_event *heap; /* frames under way by (time, order) */
	uint32_t heap_n, heap_cap;
	uint64_t order;
	uint64_t now_us;
	uint64_t seed;
	uint8_t nb_ends, nb_links;
	bool spare_arp; /* chance and queues do not touch it */
	/* sees each frame that will not arrive as it was sent (lost, dropped by a queue, damaged) */
	void (*on_loss)(void *arg, const struct frame *f);
	void *on_loss_arg;
};

void wire_init(struct wire *w, uint64_t seed);
void wire_fini(struct wire *w);
/* Returns the number of the end, and of its link. */
unsigned wire_attach(struct wire *w, struct memdev *d);
/* A further link; returns its number. After the ends are attached. */
unsigned wire_link(struct wire *w, const struct wire_conf *conf);
/* Frames of `from` for `to` pass these links, n <= WIRE_HOPS. */
void wire_route(struct wire *w, unsigned from, unsigned to, const uint8_t *link, unsigned n);
/* Ends 0 .. pairs-1 to the left, pairs .. 2 pairs-1 to the right; what goes across passes `there` or `back` behind the sender's own link.
 * Returns the number of the first of the two links. */
unsigned wire_dumbbell(struct wire *w, unsigned pairs, const struct wire_conf *there, const struct wire_conf *back);
/* A frame enters at end `from` at time w->now_us; takes f. */
void wire_send(struct wire *w, unsigned from, struct frame *f);
/* Delivers what is due; returns how many frames. */
unsigned wire_run(struct wire *w, uint64_t now_us);
/* When the next frame arrives somewhere; UINT64_MAX: none under way. */
uint64_t wire_next_us(const struct wire *w);
/* Brings stats.queue_area up to now_us. */
void wire_settle_stats(struct wire_link *l, uint64_t now_us);

#endif

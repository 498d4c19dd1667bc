/* wire.c - links in virtual time: see wire.h. Called by memdev.c (what a device transmits), testenv.c and simulations; delivers to memdevs.
 * One thread. */
#include "memdev.h"

#include <stdlib.h>

void wire_init(struct wire *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	for (unsigned e = 0; e < WIRE_ENDS; e++)
		for (unsigned to = 0; to < WIRE_ENDS; to++)
			w->route[e][to] = (struct wire_route){ .hop = { (uint8_t)e }, .n = 1 };
}

void wire_fini(struct wire *w)
{
	for (uint32_t i = 0; i < w->heap_n; i++)
		frame_free(w->heap[i].f);
	for (unsigned l = 0; l < WIRE_LINKS; l++)
		free(w->link[l].waiting);
	free(w->heap);
	memset(w, 0, sizeof(*w));
}

static void link_init(struct wire *w, unsigned l)
{
	struct prng p;

	memset(&w->link[l], 0, sizeof(w->link[l]));
	prng_seed(&p, w->seed * WIRE_LINKS + l);
	w->link[l].seed = prng_u64(&p);
}

unsigned wire_attach(struct wire *w, struct memdev *d)
{
	if (w->nb_ends == WIRE_ENDS || w->nb_links != w->nb_ends)
		abort();
	d->wire = w;
	d->end = w->nb_ends;
	w->end[w->nb_ends] = d;
	link_init(w, w->nb_links++);
	return w->nb_ends++;
}

unsigned wire_link(struct wire *w, const struct wire_conf *conf)
{
	if (w->nb_links == WIRE_LINKS)
		abort();
	link_init(w, w->nb_links);
	w->link[w->nb_links].conf = *conf;
	return w->nb_links++;
}

void wire_route(struct wire *w, unsigned from, unsigned to, const uint8_t *link, unsigned n)
{
	if (!n || n > WIRE_HOPS)
		abort();
	memcpy(w->route[from][to].hop, link, n);
	w->route[from][to].n = (uint8_t)n;
}

unsigned wire_dumbbell(struct wire *w, unsigned pairs, const struct wire_conf *there, const struct wire_conf *back)
{
	unsigned l = wire_link(w, there), r = wire_link(w, back);

	for (unsigned a = 0; a < pairs; a++)
		for (unsigned b = pairs; b < 2 * pairs; b++) {
			wire_route(w, a, b, (uint8_t[2]){ (uint8_t)a, (uint8_t)l }, 2);
			wire_route(w, b, a, (uint8_t[2]){ (uint8_t)b, (uint8_t)r }, 2);
		}
	return l;
}

/* --- frames under way --- */

static bool earlier(const struct wire_event *a, const struct wire_event *b)
{
	return a->time_us != b->time_us ? a->time_us < b->time_us : a->order < b->order;
}

static void heap_push(struct wire *w, const struct wire_event *e)
{
	uint32_t i = w->heap_n++;

	if (w->heap_n > w->heap_cap) {
		w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 256;
		w->heap = realloc(w->heap, w->heap_cap * sizeof(*w->heap));
		if (!w->heap)
			abort();
	}
	for (; i && earlier(e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = *e;
}

static void heap_pop(struct wire *w)
{
	uint32_t i = 0, n = --w->heap_n;

	for (;;) {
		uint32_t c = 2 * i + 1;

		if (c >= n)
			break;
		if (c + 1 < n && earlier(&w->heap[c + 1], &w->heap[c]))
			c++;
		if (!earlier(&w->heap[c], &w->heap[n]))
			break;
		w->heap[i] = w->heap[c];
		i = c;
	}
	w->heap[i] = w->heap[n];
}

/* --- one link --- */

static void gone(struct wire *w, struct frame *f)
{
	if (w->on_loss)
		w->on_loss(w->on_loss_arg, f);
	frame_free(f);
}

static bool chosen(const struct wire_link *l, const struct frame *f)
{
	const struct wire_conf *c = &l->conf;

	for (unsigned i = 0; i < ARRAY_SIZE(c->drop_nth) && c->drop_nth[i]; i++)
		if (c->drop_nth[i] == l->nth)
			return true;
	return c->filter && !c->filter(c->filter_arg, f, l->nth);
}

/* Takes what has left the queue by now out of it. Between two departures the queue is constant, so its area is a sum of rectangles. */
static void queue_drain(struct wire_link *l, uint64_t now_ns)
{
	while (l->waiting_n && l->waiting[l->waiting_at].leaves_ns <= now_ns) {
		struct wire_waiting *x = &l->waiting[l->waiting_at];

		l->stats.queue_area += (double)l->waiting_bytes * (double)(x->leaves_ns - l->area_ns) / 1000;
		l->area_ns = x->leaves_ns;
		l->waiting_bytes -= x->bytes;
		l->stats.bytes += x->bytes + WIRE_FRAMING;
		l->waiting_at = (l->waiting_at + 1) & (l->waiting_cap - 1);
		l->waiting_n--;
		if (!l->waiting_n)
			l->red_idle_ns = x->leaves_ns;
	}
	l->stats.queue_area += (double)l->waiting_bytes * (double)(now_ns - l->area_ns) / 1000;
	l->area_ns = now_ns;
}

void wire_settle_stats(struct wire_link *l, uint64_t now_us)
{
	queue_drain(l, now_us * 1000);
}

static void queue_add(struct wire_link *l, uint64_t leaves_ns, uint32_t bytes)
{
	if (l->waiting_n == l->waiting_cap) {
		uint32_t cap = l->waiting_cap ? 2 * l->waiting_cap : 64;
		struct wire_waiting *n = malloc(cap * sizeof(*n));

		if (!n)
			abort();
		for (uint32_t i = 0; i < l->waiting_n; i++)
			n[i] = l->waiting[(l->waiting_at + i) & (l->waiting_cap - 1)];
		free(l->waiting);
		l->waiting = n;
		l->waiting_at = 0;
		l->waiting_cap = cap;
	}
	l->waiting[(l->waiting_at + l->waiting_n++) & (l->waiting_cap - 1)] = (struct wire_waiting){ leaves_ns, bytes };
	l->waiting_bytes += bytes;
	l->stats.queue_max = MAX(l->stats.queue_max, l->waiting_bytes);
}

/* Sets CE in a packet that says ECT (RFC 3168 §5); false: it does not. */
static bool mark_ce(struct frame *f)
{
	uint8_t *ip = f->data + SEG_ETH_BYTES;

	if (f->len < SEG_ETH_BYTES + 20 || f->data[12] != 0x08 || f->data[13] != 0 || !(ip[1] & 3))
		return false;
	if ((ip[1] & 3) != 3) {
		uint32_t sum, old = (uint32_t)ip[0] << 8 | ip[1];

		ip[1] |= 3;
		/* RFC 1624: HC' = ~(~HC + ~m + m') */
		sum = (~((uint32_t)ip[10] << 8 | ip[11]) & 0xffff) + (~old & 0xffff) + ((uint32_t)ip[0] << 8 | ip[1]);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
		ip[10] = (uint8_t)(sum >> 8);
		ip[11] = (uint8_t)sum;
	}
	return true;
}

/* Floyd and Jacobson 1993: an average with weight 1/512 that ages while the queue is empty; the chance grows with it, evenly spread. */
static bool red_hits(struct wire_link *l, uint64_t now_ns, uint64_t chance)
{
	const struct wire_conf *c = &l->conf;
	double p;

	if (!l->waiting_n && l->red_idle_ns) {
		double slots = (double)(now_ns - l->red_idle_ns) / (1500.0 * 8e9 / (double)c->rate_bps);

		for (; slots >= 1 && l->red_avg > 1; slots--)
			l->red_avg *= 511.0 / 512;
		if (l->red_avg <= 1)
			l->red_avg = 0;
		l->red_idle_ns = now_ns; /* idle still, should this frame be dropped */
	}
	l->red_avg += ((double)l->waiting_bytes - l->red_avg) / 512;
	if (l->red_avg < (double)c->red_min) {
		l->red_count = 0;
		return false;
	}
	if (l->red_avg >= (double)c->red_max) {
		l->red_count = 0;
		return true;
	}
	p = c->red_ppm / 1e6 * (l->red_avg - (double)c->red_min) / (double)(c->red_max - c->red_min);
	l->red_count++;
	p = (double)l->red_count * p < 1 ? p / (1 - (double)l->red_count * p) : 1;
	if ((double)(chance % 1000000) >= p * 1e6)
		return false;
	l->red_count = 0;
	return true;
}

/* The frame waits for the link's rate; false: there is no room for it. *leaves_ns: when its last bit is out. */
static bool queue_enter(struct wire_link *l, struct frame *f, uint64_t now_us, uint64_t chance, uint64_t *leaves_ns)
{
	const struct wire_conf *c = &l->conf;
	uint64_t now_ns = now_us * 1000, start;
	uint32_t limit = c->queue_frames || c->queue_bytes ? c->queue_frames : 1000;
	/* a frame carried whole stands for the frames that it would be cut into */
	uint32_t framing = f->gso_size ? (f->len / f->gso_size) * (WIRE_FRAMING + 66) : WIRE_FRAMING;

	queue_drain(l, now_ns);
	if ((limit && l->waiting_n >= limit) || (c->queue_bytes && l->waiting_bytes + f->len > c->queue_bytes)) {
		l->stats.queue_drops++;
		return false;
	}
	if (c->aqm == WIRE_CE_THRESHOLD && l->waiting_bytes > c->mark_bytes) {
		l->stats.marked += mark_ce(f);
	} else if (c->aqm == WIRE_RED && red_hits(l, now_ns, chance)) {
		if (!mark_ce(f)) {
			l->stats.queue_drops++;
			return false;
		}
		l->stats.marked++;
	}
	start = MAX(l->busy_until_ns, now_ns);
	l->busy_until_ns = start + (f->len + framing) * 8ULL * 1000000000ULL / c->rate_bps;
	queue_add(l, l->busy_until_ns, f->len);
	*leaves_ns = l->busy_until_ns;
	return true;
}

static void damage(struct frame *f, uint64_t bit)
{
	bit %= (f->len - SEG_ETH_BYTES) * 8ULL;
	f->data[SEG_ETH_BYTES + bit / 8] ^= (uint8_t)(1u << bit % 8);
	f->intact = false;
}

/* f comes to hop `hop` of its way at w->now_us. */
static void link_carry(struct wire *w, unsigned from, unsigned to, unsigned hop, struct frame *f)
{
	struct wire_link *l = &w->link[w->route[from][to].hop[hop]];
	const struct wire_conf *c = &l->conf;
	struct wire_event e = { .from = (uint8_t)from, .to = (uint8_t)to, .hop = (uint8_t)(hop + 1), .f = f };
	struct fate fate = { 0 };
	uint64_t at = w->now_us, leaves_ns;

	l->stats.sent++;
	l->nth++;
	if (chance_any(&c->chance) || c->jitter_us || c->aqm == WIRE_RED)
		fate = chance_fate(l->seed, l->nth, &c->chance, &l->bad_state);
	if (w->spare_arp && f->data[12] == 0x08 && f->data[13] == 0x06) {
		e.time_us = at + c->delay_us;
		e.order = w->order++;
		heap_push(w, &e);
		return;
	}
	if (fate.lost || chosen(l, f)) {
		l->stats.lost++;
		gone(w, f);
		return;
	}
	if (c->rate_bps) {
		if (!queue_enter(l, f, at, fate.bit, &leaves_ns)) {
			gone(w, f);
			return;
		}
		at = leaves_ns / 1000;
	}
	at += c->delay_us + (c->jitter_us ? fate.jitter % (c->jitter_us + 1) : 0);
	if (fate.reordered) {
		at += c->reorder_us;
		l->stats.reordered++;
	} else if (c->in_order) {
		at = MAX(at, l->last_arrival_us);
		l->last_arrival_us = at;
	}
	if (fate.corrupted && f->len > SEG_ETH_BYTES) {
		l->stats.corrupted++;
		if (f->data[12] == 0x08 && f->data[13] == 0x06) {
			/* ARP has no sum of its own, Ethernet's protects it: a damaged frame is a lost one */
			gone(w, f);
			return;
		}
		if (w->on_loss)
			w->on_loss(w->on_loss_arg, f);
		damage(f, fate.bit);
	}
	e.time_us = at;
	e.order = w->order++;
	heap_push(w, &e);
	if (fate.duplicated) {
		l->stats.duplicated++;
		e.f = frame_dup(f);
		e.time_us = at + (c->jitter_us ? fate.dup_jitter % (c->jitter_us + 1) : 0);
		e.order = w->order++;
		heap_push(w, &e);
	}
}

void wire_send(struct wire *w, unsigned from, struct frame *f)
{
	int last = -1;

	for (unsigned e = 0; e < w->nb_ends; e++)
		if (e != from && !memcmp(w->end[e]->nd.mac, f->data, 6)) {
			link_carry(w, from, e, 0, f);
			return;
		}
	/* to all, as a switch does with what it does not know */
	for (unsigned e = 0; e < w->nb_ends; e++)
		if (e != from) {
			if (last >= 0)
				link_carry(w, from, (unsigned)last, 0, frame_dup(f));
			last = (int)e;
		}
	if (last >= 0)
		link_carry(w, from, (unsigned)last, 0, f);
	else
		frame_free(f);
}

unsigned wire_run(struct wire *w, uint64_t now_us)
{
	unsigned n = 0;

	while (w->heap_n && w->heap[0].time_us <= now_us) {
		struct wire_event e = w->heap[0];
		const struct wire_route *r = &w->route[e.from][e.to];

		heap_pop(w);
		w->now_us = e.time_us;
		w->link[r->hop[e.hop - 1]].stats.delivered++;
		if (e.hop < r->n) {
			link_carry(w, e.from, e.to, e.hop, e.f);
		} else {
			e.f->time_us = e.time_us;
			memdev_push(w->end[e.to], e.f);
			n++;
		}
	}
	w->now_us = now_us;
	return n;
}

uint64_t wire_next_us(const struct wire *w)
{
	return w->heap_n ? w->heap[0].time_us : UINT64_MAX;
}

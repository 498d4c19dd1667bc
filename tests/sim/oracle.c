/* oracle.c - see oracle.h. Called by memdev (watch) and wire (on_loss) for every frame, and by the tables. */
#include "oracle.h"

#include <stdlib.h>

#define STREAMS_MAX 4096u

static struct stream *streams;
static unsigned nb_streams;
static uint16_t index_of[2 * STREAMS_MAX]; /* open addressing: stream + 1 */

struct part { /* of a TCP segment */
	uint32_t saddr, seq, len;
	uint16_t sport_be, dport_be;
	bool syn;
};

static bool read_part(const struct frame *f, struct part *p)
{
	const uint8_t *ip = f->data + SEG_ETH_BYTES, *tcp;
	uint32_t total, hdr, be;

	if (f->len < SEG_ETH_BYTES + 40 || f->data[12] != 0x08 || f->data[13] != 0 || ip[9] != IPPROTO_TCP)
		return false;
	total = f->gso_size ? f->len - SEG_ETH_BYTES : (uint32_t)ip[2] << 8 | ip[3];
	hdr = (ip[0] & 15u) * 4;
	tcp = ip + hdr;
	hdr += (tcp[12] >> 4) * 4u;
	memcpy(&p->saddr, ip + 12, 4);
	memcpy(&p->sport_be, tcp, 2);
	memcpy(&p->dport_be, tcp + 2, 2);
	memcpy(&be, tcp + 4, 4);
	p->seq = ntohl(be);
	p->syn = tcp[13] & TH_SYN;
	p->len = total > hdr ? total - hdr : 0;
	return true;
}

static uint16_t *slot_of(uint32_t saddr, uint16_t sport_be, uint16_t dport_be)
{
	uint32_t h = (saddr ^ (uint32_t)sport_be << 16 ^ dport_be) * 0x9e3779b1u >> 7;

	for (;; h++) {
		uint16_t *i = &index_of[h % ARRAY_SIZE(index_of)];
		const struct stream *s = *i ? &streams[*i - 1] : NULL;

		if (!s || (s->saddr == saddr && s->sport_be == sport_be && s->dport_be == dport_be))
			return i;
	}
}

static struct stream *find(const struct part *p)
{
	uint16_t *i = slot_of(p->saddr, p->sport_be, p->dport_be);

	return *i ? &streams[*i - 1] : NULL;
}

/* Index of the first hole that ends behind `at`. */
static uint32_t hole_at(const struct stream *s, uint64_t at)
{
	uint32_t lo = 0, hi = s->nb_holes;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (s->hole[mid].to <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void hole_insert(struct stream *s, uint32_t at, uint64_t from, uint64_t to)
{
	if (s->nb_holes == s->cap_holes) {
		s->cap_holes = s->cap_holes ? 2 * s->cap_holes : 64;
		s->hole = realloc(s->hole, s->cap_holes * sizeof(*s->hole));
		if (!s->hole)
			abort();
	}
	memmove(&s->hole[at + 1], &s->hole[at], (s->nb_holes - at) * sizeof(*s->hole));
	s->hole[at].from = from;
	s->hole[at].to = to;
	s->nb_holes++;
}

static void hole_remove(struct stream *s, uint32_t at)
{
	s->nb_holes--;
	memmove(&s->hole[at], &s->hole[at + 1], (s->nb_holes - at) * sizeof(*s->hole));
}

/* Takes [from, to) out of the holes; returns whether any byte was in one. */
static bool fill(struct stream *s, uint64_t from, uint64_t to)
{
	bool any = false;

	for (uint32_t i = hole_at(s, from); i < s->nb_holes && s->hole[i].from < to;) {
		uint64_t a = s->hole[i].from, b = s->hole[i].to;

		any = true;
		if (a < from) {
			s->hole[i].to = from;
			i++;
			if (b > to)
				hole_insert(s, i, to, b);
			continue;
		}
		if (b > to) {
			s->hole[i].from = to;
			break;
		}
		hole_remove(s, i);
	}
	return any;
}

static void on_transmit(void *arg, const struct frame *f)
{
	struct stream *s;
	struct part p;
	uint64_t from;

	if (!read_part(f, &p))
		return;
	s = find(&p);
	if (p.syn) {
		if (!s) {
			if (nb_streams == STREAMS_MAX)
				return;
			s = &streams[nb_streams++];
			*slot_of(p.saddr, p.sport_be, p.dport_be) = (uint16_t)nb_streams;
			s->saddr = p.saddr;
			s->sport_be = p.sport_be;
			s->dport_be = p.dport_be;
		}
		s->base = p.seq + 1;
	}
	if (!s || !p.len || p.syn)
		return;
	/* the segment's place is the one nearest to the highest byte sent */
	from = s->max + (uint64_t)(int64_t)(int32_t)(p.seq - s->base - (uint32_t)s->max);
	s->segs++;
	s->bytes += p.len;
	if (from < s->max) {
		s->rexmit++;
		s->rexmit_last_us = vclock_us;
		if (!fill(s, from, from + p.len)) {
			s->spurious++;
			s->spurious_last_us = vclock_us;
		}
	}
	s->max = MAX(s->max, from + p.len);
}

static void on_loss(void *arg, const struct frame *f)
{
	struct stream *s;
	struct part p;
	uint64_t from;

	if (!read_part(f, &p) || !p.len || !(s = find(&p)))
		return;
	s->lost++;
	from = s->max + (uint64_t)(int64_t)(int32_t)(p.seq - s->base - (uint32_t)s->max);
	fill(s, from, from + p.len); /* one that was lost before is not in there twice */
	hole_insert(s, hole_at(s, from), from, from + p.len);
}

void oracle_open(void)
{
	if (!streams) {
		streams = calloc(STREAMS_MAX, sizeof(*streams));
		if (!streams)
			abort();
	}
	for (unsigned h = 0; h < tenv.nb_hosts; h++)
		tenv.host[h].dev.watch = on_transmit;
	tenv.wire.on_loss = on_loss;
}

void oracle_close(void)
{
	for (unsigned i = 0; i < nb_streams; i++)
		free(streams[i].hole);
	memset(streams, 0, nb_streams * sizeof(*streams));
	memset(index_of, 0, sizeof(index_of));
	nb_streams = 0;
}

struct stream *oracle_stream(uint32_t saddr_be, uint16_t sport_be, uint16_t dport_be)
{
	uint16_t *i = slot_of(saddr_be, sport_be, dport_be);

	return *i ? &streams[*i - 1] : NULL;
}

struct stream oracle_sum(void)
{
	struct stream sum = { 0 };

	for (unsigned i = 0; i < nb_streams; i++) {
		const struct stream *s = &streams[i];

		sum.segs += s->segs;
		sum.rexmit += s->rexmit;
		sum.spurious += s->spurious;
		sum.bytes += s->bytes;
		sum.lost += s->lost;
		sum.spurious_last_us = MAX(sum.spurious_last_us, s->spurious_last_us);
	}
	return sum;
}

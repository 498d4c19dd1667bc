/* Reassembly against a naive model: thousands of seeded runs of fragments cut, shuffled, doubled, lost and forged. */
#include "nethost.h"
#include "../../lib/prng.h"

#include <rte_mempool.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define PEER IP(10, 0, 0, 77)
#define MAX_PAYLOAD 65515u
#define MAX_FRAGS 20000

struct piece {
	uint8_t dgram; /* which datagram */
	uint32_t off, len;
	bool more;
};

/* The model: bytes and the set of accepted fragments. */
struct model {
	bool condemned;
	uint32_t total, top, received;
	bool has_total;
	uint32_t n;
	struct piece *seen;
	uint32_t hlen;
};

static struct prng rng;
static uint8_t content[4][MAX_PAYLOAD];
static struct piece pieces[MAX_FRAGS];
static unsigned nb_pieces;
static uint8_t frame[66000];

static void push_fragment(uint16_t id, const struct piece *p, const uint8_t *bytes, uint32_t seg_bytes)
{
	struct net_ip ip = { .src_be = PEER, .dst_be = nethost[0].st->ip4.addr_be, .proto = 6, .id = id,
			     .frag = (uint16_t)(p->off / 8 | (p->more ? 0x2000 : 0)) };
	uint32_t n = put_eth(frame, MAC_HOST(0), MAC_PEER(1), 0x0800);

	n += put_ip4(frame + n, &ip, p->len);
	memcpy(frame + n, bytes + p->off, p->len);
	nethost_push(0, frame, n + p->len, seg_bytes);
}

static void add_piece(uint8_t dgram, uint32_t off, uint32_t len, bool more)
{
	if (nb_pieces < MAX_FRAGS)
		pieces[nb_pieces++] = (struct piece){ dgram, off, len, more };
}

static void cut(uint8_t dgram, uint32_t total, uint32_t most)
{
	for (uint32_t off = 0; off < total;) {
		uint32_t len = (uint32_t)(prng_below(&rng, 3) ? most : 8 + prng_below(&rng, most)) & ~7u;

		len = MAX(len, 8u);
		len = MIN(len, total - off);
		add_piece(dgram, off, len, off + len < total);
		off += len;
	}
}

static void shuffle(unsigned from, unsigned window)
{
	for (unsigned i = nb_pieces; i-- > from + 1;) {
		unsigned lo = window && i > from + window ? i - window : from;
		unsigned j = lo + (unsigned)prng_below(&rng, i - lo + 1);
		struct piece t = pieces[i];

		pieces[i] = pieces[j];
		pieces[j] = t;
	}
}

/* One fragment into the model; true: the datagram is complete now. Order of the checks is the specification's. */
static bool model_add(struct model *d, const struct piece *p)
{
	if (d->condemned)
		return false;
	if (p->more ? d->has_total && p->off + p->len > d->total :
		      (d->has_total && d->total != p->off + p->len) || d->top > p->off + p->len) {
		d->condemned = true;
		return false;
	}
	for (uint32_t i = 0; i < d->n; i++) {
		if (d->seen[i].off == p->off && d->seen[i].len == p->len)
			return false; /* duplicate */
	}
	for (uint32_t i = 0; i < d->n; i++) {
		/* in blocks of 8: a last fragment of odd length fills its block */
		uint32_t a = d->seen[i].off / 8, b = (d->seen[i].off + d->seen[i].len + 7) / 8;

		if (p->off / 8 < b && a < (p->off + p->len + 7) / 8) {
			d->condemned = true;
			return false;
		}
	}
	d->seen[d->n++] = *p;
	d->received += p->len;
	d->top = MAX(d->top, p->off + p->len);
	if (!p->more) {
		d->has_total = true;
		d->total = p->off + p->len;
	}
	return d->has_total && d->received == d->total;
}

static void model_reset(struct model *d)
{
	struct piece *keep = d->seen;

	memset(d, 0, sizeof(*d));
	d->seen = keep;
}

static void run(uint64_t seed)
{
	static struct model model[4];
	unsigned nb = 1 + (unsigned)prng_below(&rng, 4), delivered = 0;
	uint32_t seg_bytes;

	nethost_open(1, false);
	prng_seed(&rng, seed);
	nb_pieces = 0;
	for (uint8_t d = 0; d < nb; d++) {
		static const uint32_t most[] = { 8, 16, 64, 552, 1480, 1480, 8952 };
		uint32_t size = (uint32_t)(prng_below(&rng, 4) ? prng_below(&rng, 6000) : prng_below(&rng, MAX_PAYLOAD)) + 1;
		uint32_t piece = most[prng_below(&rng, ARRAY_SIZE(most))];
		unsigned from = nb_pieces;

		if (seed % 97 == 0)
			size = MAX_PAYLOAD;
		if (size / piece > 4000)
			piece = 64;
		for (uint32_t i = 0; i < size; i++)
			content[d][i] = (uint8_t)prng_u64(&rng);
		cut(d, size, piece);
		switch (prng_below(&rng, 6)) { /* mischief */
		case 0: /* doubled */
			for (unsigned i = 0; i < 5; i++)
				if (nb_pieces < MAX_FRAGS) {
					pieces[nb_pieces] = pieces[from + prng_below(&rng, nb_pieces - from)];
					nb_pieces++;
				}
			break;
		case 1: { /* overlapping: any place, any flag */
			uint32_t off = (uint32_t)prng_below(&rng, size) & ~7u;

			uint32_t len = (uint32_t)prng_below(&rng, 1480) & ~7u;

			len = MAX(len, 8u);
			if (off + len <= MAX_PAYLOAD)
				add_piece(d, off, len, prng_below(&rng, 2));
			break;
		}
		case 2: /* one lost */
			nb_pieces--;
			pieces[from + prng_below(&rng, nb_pieces + 1 - from)] = pieces[nb_pieces];
			break;
		default:
			break;
		}
		if (!model[d].seen)
			model[d].seen = malloc(sizeof(struct piece) * MAX_FRAGS);
		model_reset(&model[d]);
	}
	switch (prng_below(&rng, 4)) {
	case 0:
		break; /* in order */
	case 1: /* backwards */
		for (unsigned i = 0; i < nb_pieces / 2; i++) {
			struct piece t = pieces[i];

			pieces[i] = pieces[nb_pieces - 1 - i];
			pieces[nb_pieces - 1 - i] = t;
		}
		break;
	case 2:
		shuffle(0, 3);
		break;
	default:
		shuffle(0, 0);
		break;
	}
	seg_bytes = prng_below(&rng, 3) ? 0 : 600 + (uint32_t)prng_below(&rng, 900);
	for (unsigned i = 0; i < nb_pieces; i++) {
		const struct piece *p = &pieces[i];
		/* offset 0 without "more" is no fragment but a datagram, whatever its identification */
		bool alone = p->off == 0 && !p->more, complete = alone || model_add(&model[p->dgram], p);
		uint32_t want = alone ? p->len : model[p->dgram].total;

		push_fragment((uint16_t)(100 + p->dgram), p, content[p->dgram], seg_bytes);
		if (complete) {
			delivered++;
			if (up.tcp_segs != delivered || up.tcp_len != want ||
			    memcmp(up.tcp_data, content[p->dgram], up.tcp_len) != 0)
				fail_msg("seed %lu: piece %u: complete, not delivered right", seed, i);
			if (!alone)
				model_reset(&model[p->dgram]);
		} else if (up.tcp_segs != delivered) {
			fail_msg("seed %lu: piece %u: delivered, not complete (nb %u)", seed, i, nb_pieces);
		}
	}
	/* whatever is left times out and is given back */
	nethost_run(0, 31 * 1000000);
	assert_int_equal(up.tcp_segs, delivered);
	assert_int_equal(wheel_next_us(&nethost[0].st->wheel) == UINT64_MAX || nethost[0].st->wheel.armed <= 1, true);
	if (nethost_close() != 0)
		fail_msg("seed %lu: mbufs missing", seed);
}

static void random_runs_equal_the_model(void **state)
{
	const char *one = getenv("GZ_TEST_SEED");

	(void)state;
	if (one) {
		prng_seed(&rng, 7);
		run(strtoull(one, NULL, 0));
		return;
	}
	for (uint64_t seed = 1; seed <= 3000; seed++)
		run(seed);
}

static void largest_datagram_in_eight_byte_fragments_in_any_order(void **state)
{
	(void)state;
	for (int order = 0; order < 3; order++) {
		nethost_open(1, false);
		nb_pieces = 0;
		for (uint32_t off = 0; off < MAX_PAYLOAD; off += 8)
			add_piece(0, off, MIN(8u, MAX_PAYLOAD - off), off + 8 < MAX_PAYLOAD);
		for (uint32_t i = 0; i < MAX_PAYLOAD; i++)
			content[0][i] = (uint8_t)prng_u64(&rng);
		if (order == 1)
			shuffle(0, 0);
		for (unsigned i = 0; i < nb_pieces; i++)
			push_fragment(9, &pieces[order == 2 ? nb_pieces - 1 - i : i], content[0], 0);
		assert_int_equal(up.tcp_segs, 1);
		assert_int_equal(up.tcp_len, MAX_PAYLOAD);
		assert_memory_equal(up.tcp_data, content[0], MAX_PAYLOAD);
		assert_int_equal(nethost[0].st->mib.ip_reasm_ok, 1);
		assert_int_equal(nethost_close(), 0);
	}
}

/* Many first fragments: the oldest go, a quarter of the pool is never exceeded, and a whole datagram still gets through. */
static void flood_of_fragments_is_bounded(void **state)
{
	struct piece first = { 0, 0, 1480, true }, a = { 0, 0, 1480, true }, b = { 0, 1480, 100, false };
	struct rte_mempool *pool;
	unsigned before, least;

	(void)state;
	nethost_open(1, false);
	pool = nethost[0].st->pool;
	before = least = rte_mempool_avail_count(pool);
	for (unsigned i = 0; i < 20000; i++) {
		push_fragment((uint16_t)i, &first, content[0], 700);
		least = MIN(least, rte_mempool_avail_count(pool));
	}
	assert_true(before - least <= pool->size / 4 + 8);
	assert_true(nethost[0].st->drops[DROP_REASS_MEMORY] > 0);
	push_fragment(60001, &a, content[0], 0);
	push_fragment(60001, &b, content[0], 0);
	assert_int_equal(up.tcp_segs, 1);
	assert_int_equal(nethost_close(), 0);
}

/* One datagram alone may not take it all either. */
static void flood_of_flat_datagrams_is_bounded(void **state)
{
	struct rte_mempool *pool;
	unsigned before, least;

	(void)state;
	nethost_open(1, false);
	pool = nethost[0].st->pool;
	before = least = rte_mempool_avail_count(pool);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 120; i++) {
			struct piece p = { 0, i * 544, 8, true };

			push_fragment((uint16_t)round, &p, content[0], 0);
			least = MIN(least, rte_mempool_avail_count(pool));
		}
	}
	assert_true(before - least <= pool->size / 4 + 64);
	assert_int_equal(nethost_close(), 0);
}

static void timeout_reports_time_exceeded_for_a_first_fragment(void **state)
{
	struct piece first = { 0, 0, 1480, true }, second = { 0, 1480, 1480, true };
	const struct nethost_frame *f;

	(void)state;
	nethost_open(1, false);
	nethost_know(0, PEER, MAC_PEER(1));
	push_fragment(1, &first, content[0], 0);
	push_fragment(2, &second, content[0], 0); /* no first fragment: no report (RFC 1122 §3.3.2) */
	nethost_run(0, 29 * 1000000);
	assert_null(nethost_pop(0));
	nethost_run(0, 2 * 1000000);
	do {
		f = nethost_pop(0);
	} while (f && f->data[13] == 6);
	assert_non_null(f);
	assert_int_equal(f->data[14 + 20], 11);
	assert_int_equal(f->data[14 + 21], 1);
	assert_int_equal(naive_csum(f->data + 34, f->len - 34, 0), 0);
	assert_memory_equal(f->data + 14 + 28 + 12, &(uint32_t){ PEER }, 4);
	assert_int_equal(nethost[0].st->mib.ip_reasm_fail, 2);
	assert_int_equal(nethost[0].st->mib.icmp_out_time_excds, 1);
	assert_int_equal(nethost_close(), 0);
}

static void illegal_fragments_are_dropped(void **state)
{
	struct piece odd = { 0, 0, 1479, true }, empty = { 0, 8, 0, true };

	(void)state;
	nethost_open(1, false);
	push_fragment(1, &odd, content[0], 0);
	push_fragment(2, &empty, content[0], 0);
	push_fragment(3, &(struct piece){ 0, 65504, 1400, true }, content[0], 0);
	assert_int_equal(nethost[0].st->drops[DROP_REASS_MALFORMED], 3);
	assert_int_equal(nethost_close(), 0);
}

/* RFC 3168 §5.3 */
static void congestion_mark_survives_reassembly(void **state)
{
	static const struct {
		uint8_t first, second;
		bool delivered;
		uint8_t tos;
	} t[] = { { 2, 2, true, 2 }, { 2, 3, true, 3 }, { 3, 2, true, 3 }, { 0, 0, true, 0 }, { 0, 3, false, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		nethost_open(1, false);
		for (int half = 0; half < 2; half++) {
			struct net_ip ip = { .src_be = PEER, .dst_be = nethost[0].st->ip4.addr_be, .proto = 6, .id = 5,
					     .tos = half ? t[i].second : t[i].first, .frag = half ? 100 / 8 + 1 : 0x2000 };
			uint32_t n = put_eth(frame, MAC_HOST(0), MAC_PEER(1), 0x0800);

			n += put_ip4(frame + n, &ip, 104);
			memset(frame + n, half, 104);
			nethost_push(0, frame, n + 104, 0);
		}
		assert_int_equal(up.tcp_segs, t[i].delivered);
		if (t[i].delivered)
			assert_int_equal(up.tcp_tos & 3, t[i].tos);
		assert_int_equal(nethost_close(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_runs_equal_the_model),
		cmocka_unit_test(largest_datagram_in_eight_byte_fragments_in_any_order),
		cmocka_unit_test(flood_of_fragments_is_bounded),
		cmocka_unit_test(flood_of_flat_datagrams_is_bounded),
		cmocka_unit_test(timeout_reports_time_exceeded_for_a_first_fragment),
		cmocka_unit_test(illegal_fragments_are_dropped),
		cmocka_unit_test(congestion_mark_survives_reassembly),
	};

	prng_seed(&rng, 3);
	nethost_eal(8192);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

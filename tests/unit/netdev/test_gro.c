/* test_gro.c - segments that came together are joined: which, which not, in what order, and what the result says of itself. */
#include "netdev/backend.h"
#include "frame.h"

#include <rte_eal.h>
#include <rte_ip.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SRC 0x0a000002u
#define DST 0x0a000001u
#define GOOD RTE_MBUF_F_RX_L4_CKSUM_GOOD

static struct rte_mempool *pool;
static struct netdev *nd;
static struct rte_mbuf *m[NETDEV_BURST];
static unsigned n, waiting;
static uint64_t rng = 0x2545f4914f6cdd1du;

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % below;
}

/* Byte of a flow's stream at a sequence number. */
static uint8_t stream_byte(uint16_t sport, uint32_t seq)
{
	return (uint8_t)((seq * 2654435761u + sport) >> 13);
}

static struct seg segment(uint16_t sport, uint32_t seq, uint32_t len)
{
	static uint8_t space[2][4096]; /* two segments may be under construction */
	static unsigned which;
	uint8_t *data = space[which++ % 2];
	struct seg s = { .kind = SEG_TCP, .smac = { 2, 0, 0, 0, 0, 2 }, .dmac = { 2, 0, 0, 0, 0, 1 }, .ethertype = 0x0800, .saddr = htonl(SRC),
			 .daddr = htonl(DST), .proto = IPPROTO_TCP, .frag = 0x4000, .ip_id = (uint16_t)rnd(65536), .sport = sport,
			 .dport = 80, .seq = seq, .ack = 7, .win = 500, .flags = TH_ACK, .data = data, .len = len,
			 .opt = { .has_ts = true, .tsval = 99, .tsecr = 98 } };

	for (uint32_t i = 0; i < len; i++)
		data[i] = stream_byte(sport, seq + i);
	return s;
}

/* Puts s into the burst, in pieces of at most seg_bytes (0: one piece; the first holds the headers). */
static struct rte_mbuf *add_pieces(const struct seg *s, uint32_t seg_bytes, uint32_t pad)
{
	struct frame *f = seg_build(s);
	struct rte_mbuf *head = NULL;
	uint32_t at = 0;

	while (at < f->len) {
		struct rte_mbuf *p = rte_pktmbuf_alloc(pool);
		uint32_t take = MIN(f->len - at, seg_bytes ? seg_bytes + (head ? 0 : 80u) : f->len);

		memcpy(rte_pktmbuf_append(p, (uint16_t)take), f->data + at, take);
		at += take;
		if (head)
			assert_int_equal(rte_pktmbuf_chain(head, p), 0);
		else
			head = p;
	}
	if (pad)
		memset(rte_pktmbuf_append(head, (uint16_t)pad), 0xee, pad);
	free(f);
	head->ol_flags |= GOOD;
	m[n++] = head;
	return head;
}

static struct rte_mbuf *add(const struct seg *s)
{
	return add_pieces(s, 0, 0);
}

static uint16_t fake_rx(struct netdev *d, uint16_t q, struct rte_mbuf **out, uint16_t room)
{
	uint16_t k = (uint16_t)MIN(waiting, (unsigned)room);

	waiting = 0;
	return k; /* they lie in m already */
}

static const struct netdev_ops fake_ops = { .kind = "fake", .rx_burst = fake_rx };

static unsigned receive(void)
{
	waiting = n;
	n = netdev_rx(nd, 0, m, NETDEV_BURST);
	return n;
}

static void drop_all(void)
{
	rte_pktmbuf_free_bulk(m, n);
	n = 0;
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
}

/* m[i] is a whole frame of this flow that carries seq to seq + len, and says so truly. */
static void carries(unsigned i, uint16_t sport, uint32_t seq, uint32_t len, uint8_t flags)
{
	struct frame *f = frame_alloc(70000);
	const char *why = "";
	struct seg s;

	assert_true(i < n);
	assert_int_equal(rte_mbuf_check(m[i], 1, &why), 0);
	f->len = m[i]->pkt_len;
	const void *p = rte_pktmbuf_read(m[i], 0, f->len, f->data);

	if (p != f->data)
		memcpy(f->data, p, f->len);
	assert_true(seg_parse(f, &s, &why));
	assert_true(s.ip_csum_ok);
	assert_int_equal(s.sport, sport);
	assert_int_equal(s.seq, seq);
	assert_int_equal(s.len, len);
	assert_int_equal(s.flags, flags);
	for (uint32_t k = 0; k < len; k++)
		assert_int_equal(s.data[k], stream_byte(sport, seq + k));
	free(f);
}

static void segments_in_order_become_one(void **state)
{
	uint64_t merged = nd->queues[0].stats.rx_merged, pkts = nd->queues[0].stats.rx_pkts;
	struct seg s;

	for (uint32_t i = 0; i < 40; i++) {
		s = segment(1000, 0xfffff000u + i * 1448, i == 39 ? 100 : 1448); /* across the wrap */
		if (i == 39)
			s.flags |= TH_PSH;
		add(&s);
	}
	assert_int_equal(receive(), 1);
	carries(0, 1000, 0xfffff000u, 39 * 1448 + 100, TH_ACK | TH_PSH);
	assert_int_equal(m[0]->tso_segsz, 1448);
	assert_true(m[0]->ol_flags & RTE_MBUF_F_RX_LRO);
	assert_true((m[0]->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == GOOD);
	assert_true((m[0]->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD);
	assert_int_equal(nd->queues[0].stats.rx_merged - merged, 39);
	assert_int_equal(nd->queues[0].stats.rx_pkts - pkts, 40);
	drop_all();
}

static void no_packet_exceeds_the_length_field(void **state)
{
	struct seg s;

	for (uint32_t i = 0; i < 60; i++) {
		s = segment(1000, i * 1448, 1448);
		add(&s);
	}
	assert_int_equal(receive(), 2);
	carries(0, 1000, 0, 45 * 1448, TH_ACK); /* the most that fits beside 52 bytes of headers */
	carries(1, 1000, 45 * 1448, 15 * 1448, TH_ACK);
	drop_all();
}

static void split(struct seg *s) { s->seq++; }
static void acks(struct seg *s) { s->ack++; }
static void window(struct seg *s) { s->win++; }
static void stamp(struct seg *s) { s->opt.tsval++; }
static void echo(struct seg *s) { s->opt.tsecr++; }
static void no_stamp(struct seg *s) { s->opt.has_ts = false; }
static void other_options(struct seg *s) { s->opt = (struct seg_opts){ .raw = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0 }, .raw_len = 12 }; }
static void congestion(struct seg *s) { s->tos = 3; }
static void hops(struct seg *s) { s->ttl = 63; }
static void may_fragment(struct seg *s) { s->frag = 0; }
static void fragment(struct seg *s) { s->frag = 0x2000; }
static void fin(struct seg *s) { s->flags |= TH_FIN; }
static void syn(struct seg *s) { s->flags |= TH_SYN; }
static void reset(struct seg *s) { s->flags |= TH_RST; }
static void ece(struct seg *s) { s->flags |= TH_ECE; }
static void cwr(struct seg *s) { s->flags |= TH_CWR; }
static void urgent(struct seg *s) { s->flags |= TH_URG; s->urg = 5; }
static void urgent_pointer(struct seg *s) { s->urg = 5; }
static void no_ack(struct seg *s) { s->flags = TH_PSH; }
static void other_port(struct seg *s) { s->dport++; }
static void other_source(struct seg *s) { s->saddr += htonl(1); }
static void other_target(struct seg *s) { s->daddr += htonl(1); }
static void other_sender(struct seg *s) { s->smac[2] ^= 1; }
static void other_station(struct seg *s) { s->dmac[0] ^= 4; }
static void longer(struct seg *s) { s->len++; }
static void empty(struct seg *s) { s->len = 0; }

static void a_difference_keeps_segments_apart(void **state)
{
	static void (*const change[])(struct seg *) = { split, acks, window, stamp, echo, no_stamp, other_options, congestion, hops,
							may_fragment, fragment, fin, syn, reset, ece, cwr, urgent,
							urgent_pointer, no_ack, other_port, other_source, other_target,
							other_sender, other_station, longer, empty };

	for (unsigned i = 0; i < ARRAY_SIZE(change); i++) {
		struct seg a = segment(1000, 5000, 800), b = segment(1000, 5800, 800);

		add(&a);
		change[i](&b);
		add(&b);
		if (receive() != 2)
			fail_msg("change %u was joined", i);
		assert_false((m[0]->ol_flags | m[1]->ol_flags) & RTE_MBUF_F_RX_LRO);
		carries(0, 1000, 5000, 800, TH_ACK);
		drop_all();
	}
	/* and without one they are joined */
	struct seg a = segment(1000, 5000, 800), b = segment(1000, 5800, 800);

	add(&a);
	add(&b);
	assert_int_equal(receive(), 1);
	drop_all();
}

static void push_and_a_short_segment_end_what_is_joined(void **state)
{
	uint32_t len[] = { 500, 500, 500, 300, 300, 500 }, seq = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
		struct seg s = segment(1000, seq, len[i]);

		if (i == 1)
			s.flags |= TH_PSH;
		seq += len[i];
		add(&s);
	}
	assert_int_equal(receive(), 4);
	carries(0, 1000, 0, 1000, TH_ACK | TH_PSH);
	carries(1, 1000, 1000, 800, TH_ACK);
	carries(2, 1000, 1800, 300, TH_ACK);
	carries(3, 1000, 2100, 500, TH_ACK);
	drop_all();
}

static void only_what_is_verified_is_joined(void **state)
{
	static const uint64_t flags[] = { 0, RTE_MBUF_F_RX_L4_CKSUM_BAD, GOOD | RTE_MBUF_F_RX_IP_CKSUM_BAD, GOOD | RTE_MBUF_F_RX_LRO };

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(flags) + 2; i++) {
		struct seg a = segment(1000, 5000, 800), b = segment(1000, 5800, 800);
		struct rte_mbuf *p[2];

		if (i >= 2 * ARRAY_SIZE(flags)) /* the IP header is damaged, and the device has not looked */
			*(i & 1 ? &a.bad_ip_csum : &b.bad_ip_csum) = true;
		p[0] = add(&a);
		p[1] = add(&b);
		if (i < 2 * ARRAY_SIZE(flags))
			p[i & 1]->ol_flags = flags[i / 2];
		if (receive() != 2)
			fail_msg("case %u was joined", i);
		if (i < 2 * ARRAY_SIZE(flags))
			assert_true((p[i & 1]->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) ==
				    (flags[i / 2] & RTE_MBUF_F_RX_L4_CKSUM_MASK));
		else
			assert_true((p[!(i & 1)]->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_BAD);
		drop_all();
	}
}

static void padding_is_no_data(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct seg a = segment(1000, 0, 4), b = segment(1000, 4, 4);

		add_pieces(&a, 0, i == 0 ? 6 : 0);
		add_pieces(&b, 0, i == 1 ? 6 : 0);
		assert_int_equal(receive(), 2);
		drop_all();
	}
}

static void tagged_frames_are_joined_within_their_vlan(void **state)
{
	for (unsigned other = 0; other < 2; other++) {
		for (unsigned i = 0; i < 2; i++) {
			struct seg s = segment(1000, i * 800, 800);
			struct rte_mbuf *p = add(&s);
			uint8_t macs[12], *at = rte_pktmbuf_mtod(p, uint8_t *);

			memcpy(macs, at, 12);
			at -= 4;
			p->data_off = (uint16_t)(p->data_off - 4);
			p->data_len = (uint16_t)(p->data_len + 4);
			p->pkt_len += 4;
			memcpy(at, macs, 12);
			memcpy(at + 12, (uint8_t[4]){ 0x81, 0, 0, (uint8_t)(7 + (other & i)) }, 4);
		}
		assert_int_equal(receive(), 1 + other);
		if (!other) {
			const uint8_t *at = rte_pktmbuf_mtod(m[0], const uint8_t *);

			assert_int_equal(m[0]->pkt_len, 18 + 52 + 1600);
			assert_int_equal(at[20] << 8 | at[21], 52 + 1600);
		}
		drop_all();
	}
}

/* Bursts of several flows, with gaps, pure ACKs, fragments and other protocols in between, in chains of any shape: per flow, what comes out
 * is what went in, in order. */
static void random_bursts_keep_every_flow_in_order(void **state)
{
	uint64_t merged = nd->queues[0].stats.rx_merged;

	for (int round = 0; round < 3000; round++) {
		struct {
			uint16_t sport;
			uint32_t seq, len;
		} in[NETDEV_BURST];
		uint32_t seq[12], flows = 1 + rnd(12), k = 2 + rnd(NETDEV_BURST - 2), size = 1 + rnd(1400), at[12] = { 0 };
		unsigned seen = 0;

		for (uint32_t i = 0; i < flows; i++)
			seq[i] = rnd(1u << 31) * 2;
		for (uint32_t i = 0; i < k; i++) {
			uint32_t fl = rnd(flows);
			struct seg s;

			if (!rnd(20))
				seq[fl] += rnd(5000);
			s = segment((uint16_t)(1000 + fl), seq[fl], rnd(10) ? size : rnd(size + 1));
			if (!rnd(8))
				s.flags |= TH_PSH;
			if (!rnd(20))
				s.ack++;
			if (!rnd(30))
				s.flags |= TH_FIN;
			in[i].sport = s.sport;
			in[i].seq = s.seq;
			in[i].len = s.len;
			seq[fl] += s.len;
			add_pieces(&s, rnd(3) ? 0 : 1 + rnd(700), 0);
		}
		receive();
		for (unsigned i = 0; i < n; i++) {
			uint8_t h[80];
			const uint8_t *p = rte_pktmbuf_read(m[i], 0, 66, h);
			uint16_t sport = (uint16_t)(p[34] << 8 | p[35]);
			uint32_t len = m[i]->pkt_len - 66, from, fl = sport - 1000u;

			/* the next of this flow that went in */
			while (in[at[fl]].sport != sport)
				at[fl]++;
			from = in[at[fl]].seq;
			carries(i, sport, from, len, p[47]);
			if (m[i]->ol_flags & RTE_MBUF_F_RX_LRO)
				assert_true(m[i]->tso_segsz == in[at[fl]].len && len > m[i]->tso_segsz);
			for (uint32_t have = 0;;) {
				assert_true(at[fl] < k && in[at[fl]].sport == sport && in[at[fl]].seq == from + have);
				have += in[at[fl]].len;
				at[fl]++;
				seen++;
				if (have == len)
					break;
				while (at[fl] < k && in[at[fl]].sport != sport)
					at[fl]++;
			}
		}
		assert_int_equal(seen, k);
		drop_all();
	}
	assert_true(nd->queues[0].stats.rx_merged - merged > 3000);
}

static int start(void **state)
{
	char *argv[] = { "t", "--no-huge", "-m", "64", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=error", "-l", "0" };

	if (rte_eal_init(ARRAY_SIZE(argv), argv) < 0 || pkt_init())
		return -1;
	pool = mbuf_pool_create("gro", 8191, 2048, SOCKET_ID_ANY);
	nd = aligned_alloc(CACHE_LINE, ROUND_UP(sizeof(*nd), (size_t)CACHE_LINE));
	memset(nd, 0, sizeof(*nd));
	nd->ops = &fake_ops;
	nd->nb_queues = 1;
	nd->rx_merge = true;
	return pool ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_in_order_become_one),
		cmocka_unit_test(no_packet_exceeds_the_length_field),
		cmocka_unit_test(a_difference_keeps_segments_apart),
		cmocka_unit_test(push_and_a_short_segment_end_what_is_joined),
		cmocka_unit_test(only_what_is_verified_is_joined),
		cmocka_unit_test(padding_is_no_data),
		cmocka_unit_test(tagged_frames_are_joined_within_their_vlan),
		cmocka_unit_test(random_bursts_keep_every_flow_in_order),
	};

	return cmocka_run_group_tests_name("gro", tests, start, NULL);
}

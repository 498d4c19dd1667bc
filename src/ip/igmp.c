/* igmp.c - tells multicast routers and snooping switches which groups we want (RFC 3376; RFC 2236 and 1112 to older queriers). Called by
 * ip4_input.c (queries), ip4_output.c (joins and leaves), the wheel; reports go onto the reply list. Owner of the stack only.
 *
 * Memberships are the device's, shared by its stacks; the stack that joins, leaves or receives the query speaks for all.
 * Source filters are not offered by the socket layer, so every record is "all sources". DEVIATION(RFC 3376 §5.1): a join is
 * repeated as a current-state record of all groups, which routers treat alike for all sources (§6.4.2); a query for one group is
 * answered with all groups. DEVIATION(RFC 2236 §3): reports of others do not silence ours, as in version 3.
 */
#include "ip/igmp.h"
#include "base/csum.h"
#include "base/mbufs.h"
#include "ip/ip4_state.h"

#define IGMP_QUERY 0x11
#define IGMP_REPORT_V1 0x12
#define IGMP_REPORT_V2 0x16
#define IGMP_LEAVE_V2 0x17
#define IGMP_REPORT_V3 0x22
/* record types (RFC 3376 §4.2.12) */
#define IS_EXCLUDE 2
#define TO_INCLUDE 3
#define TO_EXCLUDE 4

#define HDR_BYTES 24u /* IP with Router Alert */
#define RECORDS_MAX 170u
#define REPEAT_US 1000000ULL		     /* Unsolicited Report Interval, §8.11 */
#define OLDER_QUERIER_US (400 * 1000000ULL)  /* §8.12 */

struct record {
	uint8_t type, aux_len;
	uint16_t nb_sources;
	uint32_t group_be;
};

void igmp_init(struct stack *st, struct igmp *g)
{
	wheel_timer_init(&g->timer, TIMER_IGMP);
	g->version = 3;
	g->random = (uint32_t)(st->secret[1] >> 32) | 1;
}

void igmp_fini(struct stack *st, struct igmp *g)
{
	wheel_cancel(&st->wheel, &g->timer);
}

static uint64_t random_us(struct igmp *g, uint64_t below_us)
{
	g->random ^= g->random << 13;
	g->random ^= g->random >> 17;
	g->random ^= g->random << 5;
	return (uint64_t)g->random * below_us >> 32;
}

static uint8_t querier_version(const struct stack *st, const struct igmp *g)
{
	return g->older_until_us > st->now_us ? g->version : 3;
}

/* One message to dst: `fixed` bytes of header, then n records. */
static void igmp_send(struct stack *st, uint32_t dst_be, uint8_t type, uint32_t word_be, const struct record *r, uint16_t n)
{
	static const uint8_t router_alert[4] = { 0x94, 4, 0, 0 }; /* RFC 2113 */
	struct ip4_tx tx = { .src_be = st->ip4.addr_be, .dst_be = dst_be, .proto = IPPROTO_IGMP, .ttl = 1, .tos = 0xc0 };
	struct rte_mbuf *m = rte_pktmbuf_alloc(st->pool);
	uint32_t len = 8 + n * (uint32_t)sizeof(*r);
	struct rte_ipv4_hdr *ip;
	uint16_t sum;
	char *p;

	if (!m) {
		st->drops[DROP_NO_MBUF]++;
		return;
	}
	if (HDR_BYTES + len > rte_pktmbuf_tailroom(m)) {
		drop(st, m, DROP_NO_MBUF);
		return;
	}
	p = rte_pktmbuf_mtod(m, char *);
	m->data_len = (uint16_t)(HDR_BYTES + len);
	m->pkt_len = m->data_len;
	ip = (struct rte_ipv4_hdr *)p;
	ip4_hdr_write(ip, &tx, (uint16_t)m->pkt_len, 0, true);
	ip->version_ihl = 0x46;
	memcpy(p + IP4_HDR_BYTES, router_alert, 4);
	ip->hdr_checksum = csum_flat(ip, HDR_BYTES);
	p += HDR_BYTES;
	memset(p, 0, 8);
	p[0] = (char)type;
	memcpy(p + 4, &word_be, 4);
	if (n)
		memcpy(p + 8, r, n * sizeof(*r));
	sum = csum_flat(p, len);
	memcpy(p + 2, &sum, 2);
	m->l3_len = HDR_BYTES;
	stack_reply(st, m);
}

static void report_v3(struct stack *st, const struct record *r, uint16_t n)
{
	/* 224.0.0.22: all IGMPv3 routers (§4.2.14); second word: reserved, number of records */
	igmp_send(st, htonl(0xe0000016), IGMP_REPORT_V3, htonl(n), r, n);
}

static void report_change(struct stack *st, uint32_t group_be, bool join)
{
	uint8_t version = querier_version(st, &st->ip->igmp);

	if (version == 3) {
		struct record r = { .type = join ? TO_EXCLUDE : TO_INCLUDE, .group_be = group_be };

		report_v3(st, &r, 1);
	} else if (join) {
		igmp_send(st, group_be, version == 2 ? IGMP_REPORT_V2 : IGMP_REPORT_V1, group_be, NULL, 0);
	} else if (version == 2) {
		igmp_send(st, htonl(INADDR_ALLRTRS_GROUP), IGMP_LEAVE_V2, group_be, NULL, 0);
	}
}

static void report_all(struct stack *st)
{
	struct ip4_groups *g = st->ip->groups;
	uint8_t version = querier_version(st, &st->ip->igmp);
	struct record r[RECORDS_MAX];
	uint16_t n = 0;

	for (uint32_t i = 0; i < GROUPS_MAX; i++) {
		uint32_t group_be = (uint32_t)(atomic_load_explicit(&g->slot[i], memory_order_relaxed) >> 32);

		if (!group_be || group_be == htonl(INADDR_ALLHOSTS_GROUP)) /* §5: never reported */
			continue;
		if (version < 3) {
			report_change(st, group_be, true);
			continue;
		}
		if (n == RECORDS_MAX) {
			report_v3(st, r, n);
			n = 0;
		}
		r[n++] = (struct record){ .type = IS_EXCLUDE, .group_be = group_be };
	}
	if (n)
		report_v3(st, r, n);
}

/* The timer fires at the earlier of what is due already and at_us. */
static void arm_by(struct stack *st, struct igmp *g, uint64_t at_us)
{
	if (!wheel_is_armed(&g->timer) || g->timer.expires_us > at_us)
		wheel_arm(&st->wheel, &g->timer, at_us);
}

void igmp_on_timer(struct stack *st, struct wheel_timer *t)
{
	struct igmp *g = container_of(t, struct igmp, timer);

	for (uint8_t i = 0; i < g->nb_left; i++) {
		if (!ip4_group_joined(st, g->left_be[i]))
			report_change(st, g->left_be[i], false);
	}
	g->nb_left = 0;
	if (g->report_all) {
		g->report_all = false;
		report_all(st);
	}
}

void igmp_on_join(struct stack *st, uint32_t group_be)
{
	struct igmp *g = &st->ip->igmp;

	if (group_be == htonl(INADDR_ALLHOSTS_GROUP))
		return;
	report_change(st, group_be, true);
	g->report_all = true; /* robustness variable 2 (§8.1): once more */
	arm_by(st, g, st->now_us + random_us(g, REPEAT_US));
}

void igmp_on_leave(struct stack *st, uint32_t group_be)
{
	struct igmp *g = &st->ip->igmp;

	if (group_be == htonl(INADDR_ALLHOSTS_GROUP))
		return;
	report_change(st, group_be, false);
	if (g->nb_left < IGMP_LEFT_MAX)
		g->left_be[g->nb_left++] = group_be;
	arm_by(st, g, st->now_us + random_us(g, REPEAT_US));
}

/* Max Resp Code in tenths of a second; above 127 a floating-point form (§4.1.1). */
static uint64_t max_response_us(uint8_t code)
{
	uint32_t tenths = code;

	if (code & 0x80)
		tenths = ((code & 15u) | 16u) << ((code >> 4 & 7) + 3);
	return tenths * 100000ULL;
}

void igmp_input(struct stack *st, struct rte_mbuf *m, uint32_t dst_be, uint8_t ttl)
{
	struct igmp *g = &st->ip->igmp;
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t group_be, len = m->pkt_len;
	uint8_t version;

	if (len < 8 || m->data_len < 8 || !csum_ok(csum_mbuf(m, 0, len, 0))) {
		drop(st, m, DROP_IGMP_MALFORMED);
		return;
	}
	memcpy(&group_be, p + 4, 4);
	/* §9.1: queries come with TTL 1, general ones to all hosts; reports of others are of no interest */
	if (p[0] != IGMP_QUERY || ttl != 1 || (len > 8 && len < 12) || (!group_be && dst_be != htonl(INADDR_ALLHOSTS_GROUP)) ||
	    (group_be && !ip4_group_joined(st, group_be))) {
		drop(st, m, DROP_IGMP_IGNORED);
		return;
	}
	/* §7.1: by length and code */
	version = len >= 12 ? 3 : p[1] ? 2 : 1;
	if (version < 3) {
		g->version = g->older_until_us > st->now_us ? MIN(g->version, version) : version;
		g->older_until_us = st->now_us + OLDER_QUERIER_US;
	}
	g->report_all = true;
	arm_by(st, g, st->now_us + random_us(g, version == 1 ? 10 * 1000000ULL : MAX(max_response_us(p[1]), 1u)));
	rte_pktmbuf_free(m);
}

/* reass.c - reassembly of IPv4 datagrams from any number of fragments in any order (RFC 791 §3.2, RFC 815's task, RFC 1122
 * §3.3.2; overlaps as RFC 5722 has it for IPv6). Called by ip4_input.c and the wheel; owner of the stack only.
 *
 * A datagram first keeps its fragments as they came, in a list by offset: 45 of them at an MTU of 1,500, so that a walk
 * is short, and nothing is copied. With more than LIST_MAX fragments (small ones: legal, or an attack) it turns *flat*: the bytes
 * are copied to their places in a row of chunk mbufs, and two bitmaps of 8-byte blocks say what is there and where fragments
 * began. So work per fragment is bounded by its length and LIST_MAX, and memory by the datagram's size, however it was cut.
 *
 * Overlapping fragments condemn the datagram: it is freed, and what else comes of it in the next second is thrown away.
 * An exact duplicate (same place, same size) is ignored, which RFC 5722's successor, RFC 8200 §4.5, permits.
 * Bounds: DATAGRAMS_MAX at a time, a quarter of the stack's pool in mbufs; the oldest make room. DEVIATION(RFC 1122
 * §3.3.2): 30 s instead of 60 s as the time limit, as other systems do, because identifications repeat sooner nowadays.
 */
#include "base/mbufs.h"
#include "base/siphash.h"
#include "ip/ip4_state.h"

#include <rte_malloc.h>

#define DATAGRAMS_MAX 256u
#define BUCKETS 512u
#define FLAT_MAX 16u /* flat datagrams at a time */
#define LIST_MAX 64u
#define CHUNKS_MAX 128u
#define BLOCKS 8192u /* of 8 bytes */
#define TIMEOUT_US (30 * 1000000ULL)
#define CONDEMNED_US 1000000ULL

struct flat {
	uint64_t have[BLOCKS / 64];  /* blocks received */
	uint64_t start[BLOCKS / 64]; /* blocks where a fragment began */
	struct rte_mbuf *chunk[CHUNKS_MAX];
	bool in_use;
};

struct datagram {
	struct list age; /* oldest first; linked while in use */
	struct wheel_timer timer;
	uint32_t src_be, dst_be;
	uint16_t id_be;
	uint8_t proto;
	uint8_t ecn_seen; /* bit per codepoint */
	bool condemned;
	uint8_t hlen;	   /* of the first fragment, 0: not here yet */
	uint8_t hdr[60];   /* its header */
	uint32_t total;	   /* payload bytes, 0: last fragment not here yet */
	uint32_t received; /* payload bytes */
	uint32_t top;	   /* highest payload byte seen, + 1 */
	uint32_t mbufs;	   /* held */
	uint16_t nb_list;
	uint32_t rx_type;
	struct rte_mbuf *first, *last; /* list by offset: pkt_meta seq = offset, len = bytes, q.next */
	struct flat *flat;	       /* NULL: list */
	uint32_t hash_next;	       /* index + 1 */
};

struct reass {
	struct list ages;
	uint32_t bucket[BUCKETS]; /* index + 1 */
	uint32_t free_head;
	uint32_t mbufs, mbufs_max;
	uint32_t chunk_bytes; /* payload per chunk mbuf, a multiple of 8; 0: buffers too small for flat ones */
	struct datagram d[DATAGRAMS_MAX];
	struct flat flat[FLAT_MAX];
};

static force_inline struct rte_mbuf *frag_next(struct rte_mbuf *m)
{
	struct inbox_node *n = pkt_meta(m)->q.next;

	return n ? pkt_of_node(n) : NULL;
}

static force_inline void frag_link(struct rte_mbuf *m, struct rte_mbuf *next)
{
	pkt_meta(m)->q.next = next ? &pkt_meta(next)->q : NULL;
}

struct reass *reass_create(struct stack *st)
{
	struct reass *r = rte_zmalloc("reass", sizeof(*r), CACHE_LINE);
	uint32_t room;

	if (!r)
		return NULL;
	list_init(&r->ages);
	for (uint32_t i = DATAGRAMS_MAX; i-- > 0;) {
		list_init(&r->d[i].age);
		wheel_timer_init(&r->d[i].timer, TIMER_REASS);
		r->d[i].hash_next = r->free_head;
		r->free_head = i + 1;
	}
	room = rte_pktmbuf_data_room_size(st->pool);
	room = room > RTE_PKTMBUF_HEADROOM ? (room - RTE_PKTMBUF_HEADROOM) & ~7u : 0;
	r->chunk_bytes = room * CHUNKS_MAX >= 65536 ? room : 0;
	r->mbufs_max = MAX(st->pool->size / 4, 1u);
	return r;
}

/* --- table --- */

static uint32_t datagram_bucket(const struct stack *st, uint32_t src_be, uint32_t dst_be, uint16_t id_be, uint8_t proto)
{
	uint32_t key[3] = { src_be, dst_be, (uint32_t)id_be << 8 | proto };

	return (uint32_t)siphash24(st->secret, key, sizeof(key)) & (BUCKETS - 1);
}

/* Frees what the datagram holds; the entry stays. */
static void datagram_drop(struct stack *st, struct datagram *d, enum drop_reason why)
{
	struct reass *r = st->ip->reass;
	struct rte_mbuf *m = d->first, *next;

	for (; m; m = next) {
		next = frag_next(m);
		drop(st, m, why);
	}
	d->first = d->last = NULL;
	if (d->flat) {
		for (uint32_t i = 0; i < CHUNKS_MAX; i++) {
			if (d->flat->chunk[i])
				drop(st, d->flat->chunk[i], why);
			d->flat->chunk[i] = NULL;
		}
		d->flat->in_use = false;
		d->flat = NULL;
	}
	r->mbufs -= d->mbufs;
	d->mbufs = 0;
	d->nb_list = 0;
}

static void datagram_free(struct stack *st, struct datagram *d)
{
	struct reass *r = st->ip->reass;
	uint32_t index = (uint32_t)(d - r->d) + 1;
	uint32_t *link = &r->bucket[datagram_bucket(st, d->src_be, d->dst_be, d->id_be, d->proto)];

	gz_assert(d->mbufs == 0 && !d->flat);
	while (*link != index)
		link = &r->d[*link - 1].hash_next;
	*link = d->hash_next;
	wheel_cancel(&st->wheel, &d->timer);
	list_del(&d->age);
	d->hash_next = r->free_head;
	r->free_head = index;
}

static void datagram_fail(struct stack *st, struct datagram *d, enum drop_reason why)
{
	st->mib.ip_reasm_fail++;
	datagram_drop(st, d, why);
	datagram_free(st, d);
}

/* The oldest datagram but `keep` goes; false when there is none. Condemned ones hold nothing: they go for an entry only. */
static bool evict_oldest(struct stack *st, const struct datagram *keep, bool for_mbufs)
{
	struct list *pos;

	list_for_each(pos, &st->ip->reass->ages) {
		struct datagram *d = container_of(pos, struct datagram, age);

		if (d == keep || (for_mbufs && d->mbufs == 0))
			continue;
		datagram_fail(st, d, DROP_REASS_MEMORY);
		return true;
	}
	return false;
}

static struct datagram *datagram_get(struct stack *st, const struct rte_ipv4_hdr *ip)
{
	struct reass *r = st->ip->reass;
	uint32_t b = datagram_bucket(st, ip->src_addr, ip->dst_addr, ip->packet_id, ip->next_proto_id);
	struct datagram *d;

	for (uint32_t i = r->bucket[b]; i; i = d->hash_next) {
		d = &r->d[i - 1];
		if (d->src_be == ip->src_addr && d->dst_be == ip->dst_addr && d->id_be == ip->packet_id &&
		    d->proto == ip->next_proto_id)
			return d;
	}
	if (!r->free_head)
		evict_oldest(st, NULL, false);
	d = &r->d[r->free_head - 1];
	r->free_head = d->hash_next;
	d->src_be = ip->src_addr;
	d->dst_be = ip->dst_addr;
	d->id_be = ip->packet_id;
	d->proto = ip->next_proto_id;
	d->ecn_seen = 0;
	d->condemned = false;
	d->hlen = 0;
	d->total = d->received = d->top = d->mbufs = 0;
	d->nb_list = 0;
	d->rx_type = 0;
	d->first = d->last = NULL;
	d->flat = NULL;
	d->hash_next = r->bucket[b];
	r->bucket[b] = (uint32_t)(d - r->d) + 1;
	list_push_back(&r->ages, &d->age);
	wheel_arm(&st->wheel, &d->timer, st->now_us + TIMEOUT_US);
	return d;
}

void reass_destroy(struct stack *st, struct reass *r)
{
	if (!r)
		return;
	while (!list_empty(&r->ages)) {
		struct datagram *d = container_of(r->ages.next, struct datagram, age);

		datagram_drop(st, d, DROP_REASS_TIMEOUT);
		datagram_free(st, d);
	}
	rte_free(r);
}

/* --- bitmaps --- */

static bool bit_get(const uint64_t *map, uint32_t i)
{
	return i < BLOCKS && map[i / 64] >> (i % 64) & 1;
}

/* Bits [from, to) of word w as a mask. */
static uint64_t word_mask(uint32_t w, uint32_t from, uint32_t to)
{
	uint32_t lo = MAX(from, w * 64) - w * 64, hi = MIN(to, w * 64 + 64) - w * 64;

	return (hi == 64 ? ~0ULL : (1ULL << hi) - 1) & ~((1ULL << lo) - 1);
}

static void bits_set(uint64_t *map, uint32_t from, uint32_t to)
{
	for (uint32_t w = from / 64; w * 64 < to; w++)
		map[w] |= word_mask(w, from, to);
}

static bool bits_any(const uint64_t *map, uint32_t from, uint32_t to)
{
	for (uint32_t w = from / 64; w * 64 < to; w++) {
		if (map[w] & word_mask(w, from, to))
			return true;
	}
	return false;
}

static bool bits_all(const uint64_t *map, uint32_t from, uint32_t to)
{
	for (uint32_t w = from / 64; w * 64 < to; w++) {
		if ((map[w] & word_mask(w, from, to)) != word_mask(w, from, to))
			return false;
	}
	return true;
}

/* --- adding a piece --- */

enum piece { PIECE_NEW, PIECE_DUPLICATE, PIECE_OVERLAP, PIECE_NO_MEMORY };

/* Copies len bytes of m (from its data) to payload offset off; chunks are made as needed. */
static bool flat_copy(struct stack *st, struct datagram *d, const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	struct reass *r = st->ip->reass;
	uint32_t from = 0;

	while (len) {
		uint32_t c = off / r->chunk_bytes, in = off % r->chunk_bytes, n = MIN(len, r->chunk_bytes - in);
		struct rte_mbuf **slot = &d->flat->chunk[c];

		if (!*slot) {
			*slot = rte_pktmbuf_alloc(st->pool);
			if (!*slot)
				return false;
			d->mbufs++;
			r->mbufs++;
		}
		mbuf_read(m, from, n, rte_pktmbuf_mtod_offset(*slot, char *, in));
		from += n;
		off += n;
		len -= n;
	}
	return true;
}

static bool flat_begin(struct stack *st, struct datagram *d)
{
	struct reass *r = st->ip->reass;
	struct flat *f = NULL;
	struct rte_mbuf *m, *next;

	if (!r->chunk_bytes)
		return false;
	for (;;) {
		struct list *pos;
		struct datagram *victim = NULL;

		for (uint32_t i = 0; i < FLAT_MAX && !f; i++) {
			if (!r->flat[i].in_use)
				f = &r->flat[i];
		}
		if (f)
			break;
		list_for_each(pos, &r->ages) {
			victim = container_of(pos, struct datagram, age);
			if (victim->flat)
				break;
		}
		gz_assert(victim && victim->flat);
		datagram_fail(st, victim, DROP_REASS_MEMORY);
	}
	memset(f, 0, sizeof(*f));
	f->in_use = true;
	d->flat = f;
	m = d->first;
	for (; m; m = next) {
		uint32_t off = pkt_meta(m)->seq, len = pkt_meta(m)->len;

		next = frag_next(m);
		if (!flat_copy(st, d, m, off, len))
			return false; /* the caller drops both what is copied and what is not: m is still first */
		bits_set(f->have, off / 8, (off + len + 7) / 8);
		bits_set(f->start, off / 8, off / 8 + 1);
		d->first = next;
		d->mbufs -= m->nb_segs;
		r->mbufs -= m->nb_segs;
		rte_pktmbuf_free(m);
	}
	d->last = NULL;
	d->nb_list = 0;
	return true;
}

/* Takes m unless it says otherwise by its result: PIECE_NEW means taken. */
static enum piece flat_add(struct stack *st, struct datagram *d, struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	struct flat *f = d->flat;
	uint32_t from = off / 8, to = (off + len + 7) / 8;

	if (bits_any(f->have, from, to)) {
		/* the very same fragment again: begins where one began, no other begins inside, and one ends where it ends */
		if (bits_all(f->have, from, to) && bit_get(f->start, from) &&
		    (to == from + 1 || !bits_any(f->start, from + 1, to)) && (!bit_get(f->have, to) || bit_get(f->start, to)))
			return PIECE_DUPLICATE;
		return PIECE_OVERLAP;
	}
	if (!flat_copy(st, d, m, off, len))
		return PIECE_NO_MEMORY;
	bits_set(f->have, from, to);
	bits_set(f->start, from, from + 1);
	rte_pktmbuf_free(m);
	return PIECE_NEW;
}

static enum piece list_add(struct stack *st, struct datagram *d, struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	struct rte_mbuf *prev = NULL, *next = d->first;

	/* in order, the common case: behind the last */
	if (d->last && off >= pkt_meta(d->last)->seq + pkt_meta(d->last)->len) {
		prev = d->last;
		next = NULL;
	}
	while (next && pkt_meta(next)->seq < off) {
		prev = next;
		next = frag_next(next);
	}
	if (next && pkt_meta(next)->seq == off && pkt_meta(next)->len == len)
		return PIECE_DUPLICATE;
	if ((prev && pkt_meta(prev)->seq + pkt_meta(prev)->len > off) || (next && off + len > pkt_meta(next)->seq))
		return PIECE_OVERLAP;
	pkt_meta(m)->seq = off;
	pkt_meta(m)->len = (uint16_t)len;
	frag_link(m, next);
	if (prev)
		frag_link(prev, m);
	else
		d->first = m;
	if (!next)
		d->last = m;
	d->nb_list++;
	d->mbufs += m->nb_segs;
	st->ip->reass->mbufs += m->nb_segs;
	return PIECE_NEW;
}

/* --- completion --- */

/* Puts the first fragment's header in front, made whole: length, no fragment fields, ECN. */
static void header_restore(struct datagram *d, struct rte_mbuf *head)
{
	struct rte_ipv4_hdr *ip;

	gz_assert(rte_pktmbuf_headroom(head) >= d->hlen);
	head->data_off = (uint16_t)(head->data_off - d->hlen);
	head->data_len = (uint16_t)(head->data_len + d->hlen);
	head->pkt_len += d->hlen;
	ip = rte_pktmbuf_mtod(head, struct rte_ipv4_hdr *);
	memcpy(ip, d->hdr, d->hlen);
	ip->total_length = htons((uint16_t)head->pkt_len);
	ip->fragment_offset = 0;
	if (d->ecn_seen & 1u << 3)
		ip->type_of_service |= 3;
	head->packet_type = d->rx_type;
	/* what the device said was about fragments; the header was right when each was accepted */
	head->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK);
	head->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
}

static struct rte_mbuf *list_join(struct datagram *d)
{
	struct rte_mbuf *head = d->first, *m = head, *tail = NULL;
	uint32_t len = 0, segs = 0;

	while (m) {
		struct rte_mbuf *next = frag_next(m);

		if (tail)
			tail->next = m;
		len += m->pkt_len;
		segs += m->nb_segs;
		tail = rte_pktmbuf_lastseg(m);
		if (m != head)
			m->nb_segs = 1;
		m = next;
	}
	head->pkt_len = len;
	head->nb_segs = (uint16_t)segs;
	return head;
}

static struct rte_mbuf *flat_join(const struct reass *r, struct datagram *d)
{
	struct rte_mbuf *head = d->flat->chunk[0], *tail = NULL;
	uint32_t left = d->total;

	head->pkt_len = d->total;
	for (uint32_t c = 0; left; c++) {
		struct rte_mbuf *m = d->flat->chunk[c];

		m->data_len = (uint16_t)MIN(left, r->chunk_bytes);
		left -= m->data_len;
		if (tail)
			tail->next = m;
		tail = m;
		head->nb_segs = (uint16_t)(c + 1);
		d->flat->chunk[c] = NULL;
	}
	d->flat->in_use = false;
	d->flat = NULL;
	return head;
}

static struct rte_mbuf *datagram_complete(struct stack *st, struct datagram *d)
{
	struct reass *r = st->ip->reass;
	struct rte_mbuf *head;

	/* RFC 3168 §5.3: congestion marked on some, not ECN-capable on others: something is wrong */
	if ((d->ecn_seen & 1u) && (d->ecn_seen & 1u << 3)) {
		datagram_fail(st, d, DROP_REASS_MALFORMED);
		return NULL;
	}
	if (d->flat) {
		head = flat_join(r, d);
	} else {
		head = list_join(d);
		d->first = d->last = NULL;
	}
	r->mbufs -= d->mbufs;
	d->mbufs = 0;
	header_restore(d, head);
	datagram_free(st, d);
	st->mib.ip_reasm_ok++;
	return head;
}

/* The datagram cannot be right: away with it, and for a moment with all that still comes. */
static cold_path void datagram_condemn(struct stack *st, struct datagram *d, struct rte_mbuf *m, enum drop_reason why)
{
	st->mib.ip_reasm_fail++;
	drop(st, m, why);
	datagram_drop(st, d, why);
	d->condemned = true;
	wheel_arm(&st->wheel, &d->timer, st->now_us + CONDEMNED_US);
}

struct rte_mbuf *reass_input(struct stack *st, struct rte_mbuf *m, uint32_t hlen)
{
	struct reass *r = st->ip->reass;
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod(m, const struct rte_ipv4_hdr *);
	uint16_t field = ntohs(ip->fragment_offset);
	uint32_t off = (field & IP4_OFFSET) * 8u, len = m->pkt_len - hlen;
	bool more = field & IP4_MF;
	enum piece result;
	struct datagram *d;

	st->mib.ip_reasm_reqd++;
	/* RFC 791 §3.2: all but the last are multiples of 8; the whole fits 16 bits */
	if (len == 0 || (more && len % 8) || off + len + hlen > 65535) {
		drop(st, m, DROP_REASS_MALFORMED);
		return NULL;
	}
	if (unlikely(st->mem_level >= MEM_SHORT)) {
		drop(st, m, DROP_REASS_MEMORY);
		return NULL;
	}
	d = datagram_get(st, ip);
	if (d->condemned) {
		drop(st, m, DROP_REASS_OVERLAP);
		return NULL;
	}
	/* two ends, or something behind the end */
	if (more ? d->total && off + len > d->total : (d->total && d->total != off + len) || d->top > off + len) {
		datagram_condemn(st, d, m, DROP_REASS_OVERLAP);
		return NULL;
	}
	while (r->mbufs + m->nb_segs > r->mbufs_max) {
		if (!evict_oldest(st, d, true)) {
			drop(st, m, DROP_REASS_MEMORY);
			datagram_fail(st, d, DROP_REASS_MEMORY);
			return NULL;
		}
	}
	if (!d->flat && d->nb_list == LIST_MAX && !flat_begin(st, d)) {
		drop(st, m, DROP_REASS_MEMORY);
		datagram_fail(st, d, DROP_REASS_MEMORY);
		return NULL;
	}
	if (off == 0 && !d->hlen) {
		memcpy(d->hdr, ip, hlen);
		d->hlen = (uint8_t)hlen;
	}
	d->ecn_seen |= (uint8_t)(1u << (ip->type_of_service & 3));
	d->rx_type |= m->packet_type;
	m->data_off = (uint16_t)(m->data_off + hlen);
	m->data_len = (uint16_t)(m->data_len - hlen);
	m->pkt_len -= hlen;
	result = d->flat ? flat_add(st, d, m, off, len) : list_add(st, d, m, off, len);
	switch (result) {
	case PIECE_NEW:
		break;
	case PIECE_DUPLICATE:
		drop(st, m, DROP_REASS_DUPLICATE);
		return NULL;
	case PIECE_OVERLAP:
		datagram_condemn(st, d, m, DROP_REASS_OVERLAP);
		return NULL;
	default:
		drop(st, m, DROP_REASS_MEMORY);
		datagram_fail(st, d, DROP_REASS_MEMORY);
		return NULL;
	}
	d->received += len;
	d->top = MAX(d->top, off + len);
	if (!more)
		d->total = off + len;
	if (!d->total || d->received != d->total)
		return NULL;
	/* the first fragment's options may make the whole longer than the field can say */
	if (d->hlen + d->total > 65535) {
		datagram_fail(st, d, DROP_REASS_MALFORMED);
		return NULL;
	}
	return datagram_complete(st, d);
}

/* RFC 1122 §3.3.2: ICMP time exceeded if fragment zero is here. */
static void report_timeout(struct stack *st, struct datagram *d)
{
	struct rte_mbuf *m = d->flat ? d->flat->chunk[0] : d->first, *q;
	uint32_t n;

	if (!d->hlen || d->received == 0 || (d->rx_type & (IP4_RX_GROUP | IP4_RX_NOT_UNICAST)))
		return;
	n = MIN(d->flat ? 8u : m->pkt_len, 512u);
	q = rte_pktmbuf_alloc(st->pool);
	if (!q)
		return;
	/* fragment 0 as it came, as far as the quote needs it */
	memcpy(rte_pktmbuf_append(q, d->hlen), d->hdr, d->hlen);
	if (d->flat) {
		memcpy(rte_pktmbuf_append(q, (uint16_t)n), rte_pktmbuf_mtod(m, char *), n);
	} else {
		mbuf_read(m, 0, n, rte_pktmbuf_append(q, (uint16_t)n));
	}
	icmp_send_error(st, q, 11, 1, 0);
	rte_pktmbuf_free(q);
}

void ip4_reass_on_timer(struct stack *st, struct wheel_timer *t)
{
	struct datagram *d = container_of(t, struct datagram, timer);

	if (d->condemned) {
		datagram_free(st, d);
		return;
	}
	report_timeout(st, d);
	datagram_fail(st, d, DROP_REASS_TIMEOUT);
}

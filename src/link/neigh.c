/* neigh.c - the neighbour cache: where on the link an IPv4 address is (RFC 826, states of RFC 4861 §7.3), and the hold
 * queues of packets that wait for an answer. Called by ip (link_output), arp.c, the wheel. Owner of the stack only.
 *
 * Each stack has a table of its own, so that the path of a packet reads no shared line and takes no lock. The
 * answer to a stack's request may arrive at another stack (the device decides), so the stacks of one device share a *board*: a
 * direct-mapped array of facts (address, MAC, time of the confirmation), each under a sequence lock; whoever learns, writes. A
 * fact that is new or changed also counts `news` and goes into a ring of the last ones; stacks compare the
 * counter once per received burst, and every millisecond while packets of theirs wait, and adopt what concerns
 * them. The board is a hint: a collision or a lost race costs an ARP request, nothing else.
 *
 * Nothing that merely arrives creates an entry; output does. Table and queues are made at start and bounded.
 */
#include "link/neigh.h"
#include "base/mbufs.h"
#include "ip/ip4.h"

#include <rte_ether.h>
#include <rte_malloc.h>

static force_inline uint64_t mac_pack(const uint8_t mac[6])
{
	uint64_t v = 0;

	memcpy(&v, mac, 6);
	return v;
}

static force_inline uint8_t *neigh_mac(struct neigh *n)
{
	return n->frame + 2;
}

static force_inline uint32_t addr_hash(const struct neigh_table *t, uint32_t addr_be)
{
	uint64_t x = ((uint64_t)addr_be ^ t->secret) * 0x9e3779b97f4a7c15ULL;

	return (uint32_t)(x >> 32);
}

/* xorshift: spreads reachable times, nothing secret */
static uint32_t neigh_random(struct neigh_table *t)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 17;
	t->random ^= t->random << 5;
	return t->random;
}

/* --- board --- */

static force_inline uint32_t board_slot(uint32_t addr_be)
{
	return (uint32_t)((addr_be * 0x9e3779b97f4a7c15ULL) >> 32) & (BOARD_SLOTS - 1);
}

static bool board_read(struct neigh_board *b, uint32_t slot, uint32_t *addr_be, uint64_t *mac, uint64_t *confirmed_us)
{
	struct neigh_fact *f = &b->fact[slot];
	uint32_t seq = atomic_load_explicit(&f->seq, memory_order_acquire);

	if (seq & 1 || seq == 0)
		return false;
	*addr_be = atomic_load_explicit(&f->addr_be, memory_order_relaxed);
	*mac = atomic_load_explicit(&f->mac, memory_order_relaxed);
	*confirmed_us = atomic_load_explicit(&f->confirmed_us, memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&f->seq, memory_order_relaxed) == seq;
}

/* Begins to write a fact; 0 when another stack writes just now: its news is as good. */
static uint32_t board_lock(struct neigh_fact *f)
{
	uint32_t seq = atomic_load_explicit(&f->seq, memory_order_relaxed);

	if (seq & 1 || !atomic_compare_exchange_strong_explicit(&f->seq, &seq, seq + 1, memory_order_acquire,
								memory_order_relaxed))
		return 0;
	atomic_thread_fence(memory_order_release);
	return seq + 1;
}

static void board_unlock(struct neigh_fact *f, uint32_t locked)
{
	atomic_store_explicit(&f->seq, locked + 1, memory_order_release);
}

static bool board_shared(const struct neigh_table *t)
{
	return atomic_load_explicit(&t->board->refs, memory_order_relaxed) > 1;
}

/* Tells the others that this stack has asked for addr: only answers to a question get onto the board. */
static void board_want(struct neigh_table *t, uint32_t addr_be, uint64_t now_us)
{
	struct neigh_fact *f = &t->board->fact[board_slot(addr_be)];
	uint32_t locked;

	if (!board_shared(t))
		return;
	locked = board_lock(f);
	if (!locked)
		return;
	if (atomic_load_explicit(&f->addr_be, memory_order_relaxed) != addr_be) {
		atomic_store_explicit(&f->addr_be, addr_be, memory_order_relaxed);
		atomic_store_explicit(&f->mac, 0, memory_order_relaxed);
		atomic_store_explicit(&f->confirmed_us, 0, memory_order_relaxed);
	}
	atomic_store_explicit(&f->wanted_us, now_us, memory_order_relaxed);
	board_unlock(f, locked);
}

static void board_publish(struct neigh_table *t, uint32_t addr_be, const uint8_t mac[6], uint64_t now_us)
{
	struct neigh_board *b = t->board;
	uint32_t slot = board_slot(addr_be), locked, n;
	struct neigh_fact *f = &b->fact[slot];
	uint64_t wanted_us;
	bool news = false;

	if (!board_shared(t))
		return;
	locked = board_lock(f);
	if (!locked)
		return;
	wanted_us = atomic_load_explicit(&f->wanted_us, memory_order_relaxed);
	if (atomic_load_explicit(&f->addr_be, memory_order_relaxed) == addr_be && wanted_us &&
	    wanted_us + NEIGH_RETRANS_US > now_us) {
		news = atomic_load_explicit(&f->confirmed_us, memory_order_relaxed) <= wanted_us ||
		       atomic_load_explicit(&f->mac, memory_order_relaxed) != mac_pack(mac);
		atomic_store_explicit(&f->mac, mac_pack(mac), memory_order_relaxed);
		atomic_store_explicit(&f->confirmed_us, now_us, memory_order_relaxed);
	}
	board_unlock(f, locked);
	if (!news)
		return;
	n = atomic_fetch_add_explicit(&b->news, 1, memory_order_acq_rel);
	atomic_store_explicit(&b->ring[n % BOARD_RING], (uint16_t)slot, memory_order_release);
}

/* The stacks of one device share a board: the first makes it. Boot, one thread. */
static struct neigh_board *board_get(struct stack *st)
{
	struct neigh_board *b;

	if (gz) {
		for (uint32_t i = 0; i < STACK_MAX; i++) {
			struct stack *other = &gz->stacks[i];

			if (other != st && other->neigh && other->nd == st->nd) {
				b = other->neigh->board;
				atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
				return b;
			}
		}
	}
	b = rte_zmalloc("neigh_board", sizeof(*b), CACHE_LINE);
	if (b)
		atomic_init(&b->refs, 1);
	return b;
}

static void board_put(struct neigh_board *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		rte_free(b);
}

/* --- table --- */

struct neigh_table *neigh_table_create(struct stack *st, uint32_t capacity)
{
	struct neigh_table *t = rte_zmalloc("neigh", sizeof(*t), CACHE_LINE);
	uint32_t buckets = 1;

	if (!t)
		return NULL;
	capacity = MIN(MAX(capacity, 1u), 0xfffeu);
	while (buckets < capacity * 2)
		buckets *= 2;
	t->e = rte_zmalloc("neigh_entries", sizeof(*t->e) * capacity, CACHE_LINE);
	t->bucket = rte_zmalloc("neigh_buckets", sizeof(*t->bucket) * buckets, CACHE_LINE);
	t->board = board_get(st);
	if (!t->e || !t->bucket || !t->board) {
		board_put(t->board);
		rte_free(t->bucket);
		rte_free(t->e);
		rte_free(t);
		return NULL;
	}
	t->capacity = capacity;
	t->bucket_mask = buckets - 1;
	t->secret = (uint32_t)st->secret[0];
	t->random = (uint32_t)st->secret[1] | 1;
	t->vlan_id = -1;
	memcpy(t->mac, st->nd->mac, 6);
	for (uint32_t i = capacity; i-- > 0;) {
		t->e[i].id = i + 1;
		t->e[i].hash_next = t->free_head;
		t->free_head = i + 1;
		wheel_timer_init(&t->e[i].timer, TIMER_NEIGH);
	}
	wheel_timer_init(&t->announce, TIMER_ARP_ANNOUNCE);
	return t;
}

static void hold_drop_all(struct stack *st, struct neigh_table *t, struct neigh *n, enum drop_reason why)
{
	struct neigh_hold *h;

	if (!n->hold)
		return;
	h = &t->hold[n->hold - 1];
	for (uint8_t i = 0; i < h->count; i++)
		drop(st, h->m[(h->first + i) % NEIGH_HOLD_MAX], why);
	h->count = h->first = 0;
	h->in_use = false;
	n->hold = 0;
}

void neigh_table_destroy(struct stack *st, struct neigh_table *t)
{
	if (!t)
		return;
	wheel_cancel(&st->wheel, &t->announce);
	for (uint32_t i = 0; i < t->capacity; i++) {
		wheel_cancel(&st->wheel, &t->e[i].timer);
		hold_drop_all(st, t, &t->e[i], DROP_NEIGH_FAILED);
	}
	board_put(t->board);
	rte_free(t->bucket);
	rte_free(t->e);
	rte_free(t);
}

void link_set_vlan(struct stack *st, int vlan_id)
{
	struct neigh_table *t = st->neigh;

	/* 0 (priority only) and 4095 are reserved: untagged (IEEE 802.1Q table 9-2) */
	if (vlan_id <= 0 || vlan_id >= 4095) {
		t->vlan_id = -1;
		t->vlan_mode = VLAN_NONE;
		return;
	}
	t->vlan_id = vlan_id;
	t->vlan_mode = netdev_inserts_vlan(st->nd) ? VLAN_HW : VLAN_SW;
}

struct neigh *neigh_find(struct neigh_table *t, uint32_t addr_be)
{
	uint32_t i = t->bucket[addr_hash(t, addr_be) & t->bucket_mask];

	while (i) {
		struct neigh *n = &t->e[i - 1];

		if (n->addr_be == addr_be)
			return n;
		i = n->hash_next;
	}
	return NULL;
}

static void neigh_free(struct stack *st, struct neigh *n)
{
	struct neigh_table *t = st->neigh;
	uint32_t index = (uint32_t)(n - t->e) + 1;
	uint32_t *link = &t->bucket[addr_hash(t, n->addr_be) & t->bucket_mask];

	wheel_cancel(&st->wheel, &n->timer);
	hold_drop_all(st, t, n, DROP_NEIGH_FAILED);
	while (*link != index)
		link = &t->e[*link - 1].hash_next;
	*link = n->hash_next;
	n->state = NEIGH_FREE;
	n->usable = false;
	n->addr_be = 0;
	n->id += 1u << 16; /* hints to the old neighbour die */
	n->hash_next = t->free_head;
	t->free_head = index;
	t->used--;
}

/* A free entry; when there is none, the least useful of the next 64 makes room: failed, then stale, then idle for more than the
 * reachable time, then unresolved without packets (a flood of answers to invented addresses must not keep real neighbours
 * out). Never one in use, nor one with packets waiting. */
static struct neigh *neigh_new(struct stack *st, uint32_t addr_be)
{
	struct neigh_table *t = st->neigh;
	struct neigh *n;
	uint32_t *bucket;

	if (unlikely(!t->free_head)) {
		struct neigh *victim = NULL;
		int best = 0;

		for (unsigned i = 0; i < 64; i++) {
			int worth = 0;

			n = &t->e[t->hand];
			if (++t->hand == t->capacity)
				t->hand = 0;
			if (n->state == NEIGH_FAILED)
				worth = 4;
			else if (n->state == NEIGH_STALE)
				worth = 3;
			else if (n->state == NEIGH_INCOMPLETE)
				worth = n->hold ? 0 : 1;
			else if (n->used_us + NEIGH_REACHABLE_US < st->now_us)
				worth = 2;
			if (worth > best) {
				best = worth;
				victim = n;
			}
		}
		if (!victim)
			return NULL;
		neigh_free(st, victim);
	}
	n = &t->e[t->free_head - 1];
	t->free_head = n->hash_next;
	t->used++;
	bucket = &t->bucket[addr_hash(t, addr_be) & t->bucket_mask];
	n->hash_next = *bucket;
	*bucket = (uint32_t)(n - t->e) + 1;
	n->addr_be = addr_be;
	n->probes = 0;
	n->confirmed_us = 0;
	n->verified_us = 0;
	n->used_us = st->now_us;
	return n;
}

/* --- sending --- */

/* The header is copied with one 16-byte store; its two bytes of padding land in the headroom before the frame. */
static force_inline void frame_put(struct rte_mbuf *m, const uint8_t frame[16])
{
	gz_assert(rte_pktmbuf_headroom(m) >= ETH_HDR_BYTES + VLAN_HDR_BYTES);
	memcpy((char *)m->buf_addr + m->data_off - 16, frame, 16);
	m->data_off = (uint16_t)(m->data_off - ETH_HDR_BYTES);
	m->data_len = (uint16_t)(m->data_len + ETH_HDR_BYTES);
	m->pkt_len += ETH_HDR_BYTES;
	mbuf_set_l2_len(m, ETH_HDR_BYTES);
}

/* 802.1Q: by the device, or the four bytes by ourselves. */
static cold_path void frame_vlan(const struct neigh_table *t, struct rte_mbuf *m)
{
	char *p;
	uint16_t tag[2] = { htons(RTE_ETHER_TYPE_VLAN), htons((uint16_t)t->vlan_id) };

	if (t->vlan_mode == VLAN_HW) {
		m->ol_flags |= RTE_MBUF_F_TX_VLAN;
		m->vlan_tci = (uint16_t)t->vlan_id;
		return;
	}
	p = rte_pktmbuf_mtod(m, char *);
	memmove(p - VLAN_HDR_BYTES, p, 12);
	memcpy(p - VLAN_HDR_BYTES + 12, tag, 4);
	m->data_off = (uint16_t)(m->data_off - VLAN_HDR_BYTES);
	m->data_len = (uint16_t)(m->data_len + VLAN_HDR_BYTES);
	m->pkt_len += VLAN_HDR_BYTES;
	m->l2_len = ETH_HDR_BYTES + VLAN_HDR_BYTES;
}

static force_inline void frame_send(struct stack *st, const struct neigh_table *t, struct rte_mbuf *m,
				    const uint8_t frame[16])
{
	frame_put(m, frame);
	if (unlikely(t->vlan_mode != VLAN_NONE))
		frame_vlan(t, m);
	netdev_tx(st->nd, st->queue, m);
}

static void frame_make(uint8_t frame[16], const uint8_t dst[6], const uint8_t src[6], uint16_t type_be)
{
	memset(frame, 0, 2);
	memcpy(frame + 2, dst, 6);
	memcpy(frame + 8, src, 6);
	memcpy(frame + 14, &type_be, 2);
}

void eth_output(struct stack *st, struct rte_mbuf *m, const uint8_t dst[6], uint16_t type_be)
{
	uint8_t frame[16];

	frame_make(frame, dst, st->neigh->mac, type_be);
	frame_send(st, st->neigh, m, frame);
}

/* --- state machine --- */

static void neigh_set_state(struct neigh *n, enum neigh_state state)
{
	n->state = (uint8_t)state;
	n->usable = state == NEIGH_REACHABLE || state == NEIGH_DELAY || state == NEIGH_PROBE;
}

/* RFC 4861 §6.3.4: 0.5 to 1.5 times the base, so that hosts do not probe in step. */
static uint64_t reachable_time_us(struct neigh_table *t)
{
	return NEIGH_REACHABLE_US / 2 + (uint64_t)neigh_random(t) * NEIGH_REACHABLE_US / UINT32_MAX;
}

static void hold_flush(struct stack *st, struct neigh_table *t, struct neigh *n)
{
	struct neigh_hold *h;

	if (!n->hold)
		return;
	h = &t->hold[n->hold - 1];
	for (uint8_t i = 0; i < h->count; i++)
		frame_send(st, t, h->m[(h->first + i) % NEIGH_HOLD_MAX], n->frame);
	h->count = h->first = 0;
	h->in_use = false;
	n->hold = 0;
}

static void neigh_set_mac(struct neigh_table *t, struct neigh *n, const uint8_t mac[6])
{
	frame_make(n->frame, mac, t->mac, htons(RTE_ETHER_TYPE_IPV4));
}

static void neigh_set_reachable(struct stack *st, struct neigh *n, uint64_t confirmed_us)
{
	struct neigh_table *t = st->neigh;

	n->confirmed_us = confirmed_us;
	n->probes = 0;
	neigh_set_state(n, NEIGH_REACHABLE);
	wheel_arm(&st->wheel, &n->timer, confirmed_us + reachable_time_us(t));
	hold_flush(st, t, n);
}

static void neigh_set_stale(struct stack *st, struct neigh *n)
{
	neigh_set_state(n, NEIGH_STALE);
	wheel_arm(&st->wheel, &n->timer, MAX(n->used_us, n->confirmed_us) + NEIGH_GC_US);
}

/* First packet to a stale neighbour: goes out at once, and if nothing confirms it within five seconds we ask. */
static void neigh_set_delay(struct stack *st, struct neigh *n)
{
	neigh_set_state(n, NEIGH_DELAY);
	wheel_arm(&st->wheel, &n->timer, st->now_us + NEIGH_DELAY_US);
}

static void neigh_set_failed(struct stack *st, struct neigh *n)
{
	struct neigh_table *t = st->neigh;
	struct neigh_hold *h = n->hold ? &t->hold[n->hold - 1] : NULL;

	neigh_set_state(n, NEIGH_FAILED);
	wheel_arm(&st->wheel, &n->timer, st->now_us + NEIGH_FAILED_US);
	if (!h)
		return;
	/* What waited learns of it: as if a router had said "host unreachable" (RFC 1122 §2.3.2.2, §3.2.2.1) */
	for (uint8_t i = 0; i < h->count; i++)
		ip4_on_unreachable(st, h->m[(h->first + i) % NEIGH_HOLD_MAX]);
	hold_drop_all(st, t, n, DROP_NEIGH_FAILED);
}

/* The timer of an unresolved neighbour: the next request, or earlier a look at the board. */
static void neigh_arm_retry(struct stack *st, struct neigh *n)
{
	uint64_t at = n->retry_us;

	if (board_shared(st->neigh) && n->state == NEIGH_INCOMPLETE)
		at = MIN(at, st->now_us + NEIGH_BOARD_POLL_US);
	wheel_arm(&st->wheel, &n->timer, at);
}

/* Another stack's knowledge, if it is newer than ours and still fresh. */
static bool neigh_adopt(struct stack *st, struct neigh *n)
{
	struct neigh_table *t = st->neigh;
	uint32_t addr_be;
	uint64_t mac, confirmed_us;

	if (!board_shared(t) || !board_read(t->board, board_slot(n->addr_be), &addr_be, &mac, &confirmed_us) ||
	    addr_be != n->addr_be || confirmed_us <= n->confirmed_us || confirmed_us + NEIGH_REACHABLE_US / 2 <= st->now_us)
		return false;
	neigh_set_mac(t, n, (const uint8_t *)&mac);
	neigh_set_reachable(st, n, MIN(confirmed_us, st->now_us));
	st->mib.neigh_resolved++;
	return true;
}

void neigh_sync(struct stack *st)
{
	struct neigh_table *t = st->neigh;
	uint32_t news = atomic_load_explicit(&t->board->news, memory_order_acquire);
	uint32_t from = t->news_seen;
	struct neigh *n;

	if (news - from > BOARD_RING / 2) {
		/* too far behind to trust the ring (it may be overwritten while we read): look at every entry */
		for (uint32_t i = 0; i < t->capacity; i++) {
			if (t->e[i].state != NEIGH_FREE)
				neigh_adopt(st, &t->e[i]);
		}
		t->news_seen = news;
		return;
	}
	for (; from != news; from++) {
		uint32_t slot = atomic_load_explicit(&t->board->ring[from % BOARD_RING], memory_order_acquire), addr_be;
		uint64_t mac, confirmed_us;

		if (board_read(t->board, slot, &addr_be, &mac, &confirmed_us)) {
			n = neigh_find(t, addr_be);
			if (n)
				neigh_adopt(st, n);
		}
	}
	t->news_seen = news;
}

static void neigh_ask(struct stack *st, struct neigh *n, bool unicast)
{
	n->probes++;
	n->retry_us = st->now_us + NEIGH_RETRANS_US;
	board_want(st->neigh, n->addr_be, st->now_us);
	arp_request(st, n->addr_be, st->ip4.addr_be, unicast ? neigh_mac(n) : NULL);
	neigh_arm_retry(st, n);
}

void neigh_on_timer(struct stack *st, struct wheel_timer *timer)
{
	struct neigh *n = container_of(timer, struct neigh, timer);
	struct neigh_table *t = st->neigh;

	switch (n->state) {
	case NEIGH_INCOMPLETE:
		if (neigh_adopt(st, n))
			return;
		if (st->now_us < n->retry_us)
			neigh_arm_retry(st, n);
		else if (n->probes >= NEIGH_MAX_PROBES)
			neigh_set_failed(st, n);
		else
			neigh_ask(st, n, false);
		return;
	case NEIGH_REACHABLE: {
		/* confirmed meanwhile by traffic: neigh_confirm() does not touch the timer */
		uint64_t until = n->confirmed_us + NEIGH_REACHABLE_US / 2;

		if (until > st->now_us)
			wheel_arm(&st->wheel, &n->timer, n->confirmed_us + reachable_time_us(t));
		else if (!neigh_adopt(st, n))
			neigh_set_stale(st, n);
		return;
	}
	case NEIGH_DELAY:
		if (neigh_adopt(st, n))
			return;
		neigh_set_state(n, NEIGH_PROBE);
		n->probes = 0;
		neigh_ask(st, n, true);
		return;
	case NEIGH_PROBE:
		if (neigh_adopt(st, n))
			return;
		if (n->probes >= NEIGH_MAX_PROBES)
			neigh_set_failed(st, n);
		else
			neigh_ask(st, n, true);
		return;
	case NEIGH_STALE:
	case NEIGH_FAILED:
		neigh_free(st, n);
		return;
	default:
		return;
	}
}

void neigh_confirm(struct stack *st, uint32_t hint)
{
	struct neigh_table *t = st->neigh;
	uint32_t index = hint & 0xffff;
	struct neigh *n;

	if (index == 0 || index > t->capacity)
		return;
	n = &t->e[index - 1];
	if (unlikely(n->id != hint))
		return;
	n->confirmed_us = st->now_us;
	if (unlikely(n->state == NEIGH_STALE || n->state == NEIGH_DELAY || n->state == NEIGH_PROBE))
		neigh_set_reachable(st, n, st->now_us);
}

bool neigh_learn(struct stack *st, uint32_t addr_be, const uint8_t mac[6], bool answer)
{
	struct neigh_table *t = st->neigh;
	struct neigh *n = neigh_find(t, addr_be);
	bool same;

	if (!n) {
		/* perhaps the answer to another stack's request: it waits for it on the board */
		if (answer)
			board_publish(t, addr_be, mac, st->now_us);
		return false;
	}
	same = n->state != NEIGH_INCOMPLETE && n->state != NEIGH_FAILED && memcmp(neigh_mac(n), mac, 6) == 0;
	if (answer && (same || n->state == NEIGH_INCOMPLETE || n->state == NEIGH_PROBE || n->state == NEIGH_FAILED))
		board_publish(t, addr_be, mac, st->now_us);

	switch (n->state) {
	case NEIGH_INCOMPLETE:
		neigh_set_mac(t, n, mac);
		st->mib.neigh_resolved++;
		if (answer) {
			neigh_set_reachable(st, n, st->now_us);
		} else {
			/* it asked or announced: we know where, not yet that it hears us (RFC 4861 §7.2.3) */
			neigh_set_delay(st, n);
			n->probes = 0;
			hold_flush(st, t, n);
		}
		return true;
	case NEIGH_PROBE:
		if (answer) {
			neigh_set_mac(t, n, mac);
			neigh_set_reachable(st, n, st->now_us);
			return true;
		}
		return same;
	case NEIGH_REACHABLE:
	case NEIGH_STALE:
	case NEIGH_DELAY:
		if (same) {
			if (answer && n->state == NEIGH_DELAY)
				neigh_set_reachable(st, n, st->now_us);
			return true;
		}
		/* Somebody claims to have moved. One forged frame must not redirect traffic, and a real fail-over must
		 * not wait for time-outs: ask everybody now and believe the answer; meanwhile the old place serves. */
		if (n->verified_us && n->verified_us + NEIGH_VERIFY_US > st->now_us)
			return false;
		n->verified_us = st->now_us;
		neigh_set_state(n, NEIGH_PROBE);
		n->probes = 0;
		neigh_ask(st, n, false);
		return true;
	default:
		return false;
	}
}

/* --- output --- */

static void hold_packet(struct stack *st, struct neigh_table *t, struct neigh *n, struct rte_mbuf *m)
{
	struct neigh_hold *h;

	if (!n->hold) {
		uint8_t i = 0;

		while (i < NEIGH_HOLD_QUEUES && t->hold[i].in_use)
			i++;
		if (i == NEIGH_HOLD_QUEUES) {
			drop(st, m, DROP_NEIGH_QUEUE_FULL);
			return;
		}
		t->hold[i].in_use = true;
		n->hold = (uint8_t)(i + 1);
	}
	h = &t->hold[n->hold - 1];
	if (h->count == NEIGH_HOLD_MAX) {
		/* the newest are kept (RFC 1122 §2.3.2.2) */
		drop(st, h->m[h->first], DROP_NEIGH_QUEUE_FULL);
		h->first = (uint8_t)((h->first + 1) % NEIGH_HOLD_MAX);
		h->count--;
	}
	h->m[(h->first + h->count++) % NEIGH_HOLD_MAX] = m;
}

static void link_output_group(struct stack *st, struct rte_mbuf *m, uint32_t addr_be)
{
	uint8_t dst[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (ip4_is_multicast(addr_be)) { /* RFC 1112 §6.4: the low 23 bits */
		uint32_t a = ntohl(addr_be);

		dst[0] = 0x01;
		dst[1] = 0x00;
		dst[2] = 0x5e;
		dst[3] = (uint8_t)(a >> 16 & 0x7f);
		dst[4] = (uint8_t)(a >> 8);
		dst[5] = (uint8_t)a;
	}
	eth_output(st, m, dst, htons(RTE_ETHER_TYPE_IPV4));
}

/* No hint, or the neighbour is not simply usable. */
static __attribute__((noinline)) void link_output_slow(struct stack *st, struct rte_mbuf *m, uint32_t next_hop_be,
						       uint32_t *hint)
{
	struct neigh_table *t = st->neigh;
	struct neigh *n = neigh_find(t, next_hop_be);

	if (unlikely(!n)) {
		if (ip4_is_multicast(next_hop_be) || ip4_is_broadcast(st, next_hop_be)) {
			link_output_group(st, m, next_hop_be);
			return;
		}
		n = neigh_new(st, next_hop_be);
		if (!n) {
			drop(st, m, DROP_NEIGH_TABLE_FULL);
			return;
		}
		neigh_set_state(n, NEIGH_FAILED); /* starts below */
	}
	if (hint)
		*hint = n->id;
	n->used_us = st->now_us;
	if (n->state == NEIGH_FAILED && !neigh_adopt(st, n)) {
		neigh_set_state(n, NEIGH_INCOMPLETE);
		n->probes = 0;
		hold_packet(st, t, n, m);
		neigh_ask(st, n, false);
		return;
	}
	if (n->state == NEIGH_STALE)
		neigh_set_delay(st, n);
	if (likely(n->usable))
		frame_send(st, t, m, n->frame);
	else
		hold_packet(st, t, n, m);
}

void link_output(struct stack *st, struct rte_mbuf *m, uint32_t next_hop_be, uint32_t *hint)
{
	struct neigh_table *t = st->neigh;

	if (likely(hint && *hint)) {
		struct neigh *n = &t->e[(*hint & 0xffff) - 1];

		if (likely(n->id == *hint && n->addr_be == next_hop_be && n->usable)) {
			n->used_us = st->now_us;
			frame_send(st, t, m, n->frame);
			return;
		}
	}
	link_output_slow(st, m, next_hop_be, hint);
}

unsigned neigh_dump(struct stack *st, struct neigh_info *out, unsigned n)
{
	struct neigh_table *t = st->neigh;
	unsigned found = 0;

	for (uint32_t i = 0; i < t->capacity && found < n; i++) {
		struct neigh *e = &t->e[i];

		if (e->state == NEIGH_FREE)
			continue;
		out[found].addr_be = e->addr_be;
		out[found].state = e->state;
		out[found].held = e->hold ? t->hold[e->hold - 1].count : 0;
		if (e->state == NEIGH_INCOMPLETE || e->state == NEIGH_FAILED)
			memset(out[found].mac, 0, 6);
		else
			memcpy(out[found].mac, neigh_mac(e), 6);
		found++;
	}
	return found;
}

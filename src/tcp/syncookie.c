/* syncookie.c - SYN cookies (RFC 4987 §3.6): when a listener's SYN queue is full, the SYN-ACK itself remembers the SYN, and the ACK that comes back
 * tells. Called by listen.c; owner of the stack. No state but the second in which a listener last sent one.
 *
 * ISN of the SYN-ACK, 32 bits:
 *	 1 slot      parity of the 64-second slot in which it was made; this one and the one before count, so a cookie lives 64 to 128 s
 *	 3 MSS       index of the largest entry of the table that is no larger than the peer's
 *	28 MAC       SipHash over 4-tuple, peer's ISN, slot, MSS index and the timestamp's low bits
 * TSval of the SYN-ACK, when the SYN carried timestamps: our clock with the low 6 bits replaced, never later than the clock:
 *	 4 scale     the peer's window scale, 15: none
 *	 1 SACK
 *	 1 ECN
 * Without timestamps there is no scale, no SACK and no ECN, as with Linux's. The MAC covers the low bits too, so an ACK with others is none of ours.
 *
 * Where each answer is dear (a kernel interface: microseconds of the kernel's), their number is bounded, so that a flood takes no more than that
 * from established connections. Then those SYNs go first that come for the second time after half a second to four: a peer repeats its SYN, most
 * floods do not; so a handshake that got no answer at its first try gets one at the next. A table of 16-bit marks remembers the SYNs.
 *
 * An ACK is looked at only for as long as a cookie of its listener can be alive: otherwise guessing at ACKs would cost a hash each, and find
 * a valid one now and then.
 */
#include "tcp/tcp_int.h"

#include "base/siphash.h"

#define SLOT_US 64000000u
#define VALID_S 128u
#define MAC_BITS 28u
#define MAC_MASK ((1u << MAC_BITS) - 1)
#define TS_BITS 6u
#define TS_MASK ((1u << TS_BITS) - 1)
#define TS_SCALE 0x0fu
#define TS_SACK 0x10u
#define TS_ECN 0x20u

/* Ethernet with and without PPPoE, tunnels, IPv6's minimum, jumbo frames. The first is for peers below RFC 9293's default. */
static const uint16_t mss_table[8] = { TCP_MSS_FLOOR, 536, 1220, 1360, 1440, 1452, 1460, 8960 };

/* A mark: 4 bits of when (1/4 s), 12 bits of which; in sets of 4. */
#define SEEN_WAYS 4u
#define SEEN_SHIFT 18u /* microseconds to 262 ms */
#define SEEN_AGE(mark, now) (((now) - ((uint32_t)(mark) >> 12)) & 15u)

static bool came_before(struct tcp_state *ts, const struct tcp_seg *g, uint64_t secret, uint64_t now_us)
{
	uint64_t h = tcp_mix(((uint64_t)g->hash << 32 | g->seq) ^ secret, 0x9e3779b97f4a7c15ULL);
	uint16_t *set = ts->syn_seen + (h & (TCP_SYN_SEEN / SEEN_WAYS - 1)) * SEEN_WAYS, *oldest = set;
	uint32_t now = (uint32_t)(now_us >> SEEN_SHIFT);

	for (unsigned i = 0; i < SEEN_WAYS; i++) {
		if (((set[i] ^ h >> 48) & 0xfff) == 0 && set[i]) {
			uint32_t age = SEEN_AGE(set[i], now);

			/* twice at once is no second try */
			return age >= 2;
		}
		if (!set[i] || SEEN_AGE(set[i], now) > SEEN_AGE(*oldest, now))
			oldest = &set[i];
		if (!*oldest)
			break;
	}
	*oldest = (uint16_t)(now << 12 | (h >> 48 & 0xfff));
	return false;
}

bool tcp_cookie_may_answer(struct stack *st, const struct tcp_seg *g)
{
	uint32_t rate = st->nd->syn_answers_per_s;
	struct tcp_state *ts = st->tcp;
	uint64_t since;

	if (!rate)
		return true;
	since = st->now_us - ts->cookie_us;
	if (since >= 4000) {
		/* a quarter is kept for second tries; what is not used does not pile up beyond 16 ms */
		ts->cookie_left = (uint32_t)MIN(ts->cookie_left + since * rate / US_PER_S, rate / 64);
		ts->cookie_us = st->now_us;
	}
	if (ts->cookie_left <= rate / 256 && !came_before(ts, g, st->secret[1], st->now_us))
		return false;
	if (!ts->cookie_left)
		return false;
	ts->cookie_left--;
	return true;
}

static uint32_t mac(const struct stack *st, const struct tcp_key *k, uint32_t irs, uint32_t slot, uint32_t mss_index, uint32_t low)
{
	struct {
		uint64_t addr[2];
		uint16_t lport_be, rport_be;
		uint32_t irs, slot, bits;
		uint64_t high[2];
	} in = { { k->laddr.d[1], k->raddr.d[1] }, k->lport_be, k->rport_be, irs, slot, mss_index << TS_BITS | low,
		 { k->laddr.d[0], k->raddr.d[0] } };
	/* the upper halves of IPv4-mapped addresses say nothing */
	size_t n = in.high[0] | in.high[1] ? sizeof(in) : offsetof(__typeof__(in), high);

	return (uint32_t)siphash24(st->secret, &in, n) & MAC_MASK;
}

static uint32_t this_second(const struct stack *st)
{
	return (uint32_t)(st->now_us / US_PER_S) + 1;
}

uint32_t tcp_cookie_make(struct stack *st, struct sock *l, struct tcp_syn *r)
{
	uint32_t slot = (uint32_t)(st->now_us / SLOT_US), low = 0, now = tcp_now_ms(st) + r->ts_off, ts, s = this_second(st);
	unsigned i = ARRAY_SIZE(mss_table) - 1;

	while (i && mss_table[i] > r->mss_peer)
		i--;
	if (r->opts & TCP_OPT_TS)
		low = (r->opts & TCP_OPT_WS ? r->snd_wscale : TS_SCALE) | (r->opts & TCP_OPT_SACK ? TS_SACK : 0) |
		      (r->opts & TCP_OPT_ECN ? TS_ECN : 0);
	else /* nowhere to remember them, so they are not agreed to */
		r->opts = 0;
	r->iss = slot << 31 | i << MAC_BITS | mac(st, &r->key, r->irs, slot, i, low);
	ts = (now & ~TS_MASK) | low;
	if (seq_gt(ts, now)) /* PAWS at the peer: what follows must not be older */
		ts -= 1u << TS_BITS;
	/* stacks share the listener: its line is written once a second */
	if (atomic_load_explicit(&l->tcb.syn_overflow_s, memory_order_relaxed) != s)
		atomic_store_explicit(&l->tcb.syn_overflow_s, s, memory_order_relaxed);
	st->mib.tcp_syncookies_sent++;
	return ts;
}

bool tcp_cookie_check(struct stack *st, struct sock *l, const struct tcp_seg *g, struct tcp_syn *r)
{
	uint32_t cookie = g->ack - 1, slot = (uint32_t)(st->now_us / SLOT_US), low = 0, i = cookie >> MAC_BITS & 7;
	uint32_t last = atomic_load_explicit(&l->tcb.syn_overflow_s, memory_order_relaxed);

	if (likely(!last) || this_second(st) - last > VALID_S)
		return false;
	r->key.laddr = *g->dst;
	r->key.raddr = *g->src;
	r->key.lport_be = g->dport_be;
	r->key.rport_be = g->sport_be;
	r->key.hash = g->hash;
	r->irs = g->seq - 1;
	r->iss = cookie;
	r->opts = g->o.has & TCP_OPT_TS;
	if (r->opts)
		low = g->o.tsecr & TS_MASK;
	/* which of the two slots that count has this parity */
	slot -= (slot ^ cookie >> 31) & 1;
	if (mac(st, &r->key, r->irs, slot, i, low) != (cookie & MAC_MASK)) {
		st->mib.tcp_syncookies_failed++;
		return false;
	}
	r->mss_peer = mss_table[i];
	r->snd_wscale = 0;
	r->ts_recent = g->o.tsval;
	if (r->opts) {
		if ((low & TS_SCALE) != TS_SCALE) {
			r->opts |= TCP_OPT_WS;
			r->snd_wscale = low & TS_SCALE;
		}
		r->opts |= (uint8_t)((low & TS_SACK ? TCP_OPT_SACK : 0) | (low & TS_ECN ? TCP_OPT_ECN : 0));
	}
	st->mib.tcp_syncookies_recv++;
	return true;
}

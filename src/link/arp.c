/* arp.c - ARP packets (RFC 826) and the defence of our address (RFC 5227). Called by eth_input.c, neigh.c, the wheel; owner of
 * the stack only. Frames made here are only queued on the device; the round transmits.
 *
 * DEVIATION(RFC 5227 §2.1): the address is announced and used at once, without the seconds of probing before: it was
 * configured by hand, and a server that starts must answer. Conflicts are detected all the time (§2.4), reported once, and
 * the address is defended at most every ten seconds (§2.4(b)); it is never given up, as a router's would not be (§2.4(c)).
 */
#include "base/log.h"
#include "base/mbufs.h"
#include "ip/ip4.h"
#include "link/neigh.h"

#include <rte_ether.h>

#define ARP_REQUEST 1
#define ARP_REPLY 2
#define ARP_BYTES 28u
/* RFC 5227 §1.1 */
#define ANNOUNCE_NUM 2
#define ANNOUNCE_INTERVAL_US (2 * 1000 * 1000ULL)
#define DEFEND_INTERVAL_US (10 * 1000 * 1000ULL)

struct arp_pkt {
	uint16_t hrd_be, pro_be;
	uint8_t hln, pln;
	uint16_t op_be;
	uint8_t sha[6];
	uint32_t spa_be;
	uint8_t tha[6];
	uint32_t tpa_be;
} gz_packed;
_Static_assert(sizeof(struct arp_pkt) == ARP_BYTES, "RFC 826");

static const uint8_t eth_broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void arp_fill(struct stack *st, struct arp_pkt *a, uint16_t op, uint32_t spa_be, const uint8_t tha[6], uint32_t tpa_be)
{
	a->hrd_be = htons(1);
	a->pro_be = htons(RTE_ETHER_TYPE_IPV4);
	a->hln = 6;
	a->pln = 4;
	a->op_be = htons(op);
	memcpy(a->sha, st->neigh->mac, 6);
	a->spa_be = spa_be;
	memcpy(a->tha, tha, 6);
	a->tpa_be = tpa_be;
}

static void arp_send(struct stack *st, uint16_t op, uint32_t spa_be, const uint8_t tha[6], uint32_t tpa_be, const uint8_t to[6])
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(st->pool);
	struct arp_pkt a;

	if (!m) {
		st->drops[DROP_NO_MBUF]++;
		return;
	}
	arp_fill(st, &a, op, spa_be, tha, tpa_be);
	memcpy(rte_pktmbuf_append(m, ARP_BYTES), &a, ARP_BYTES);
	st->mib.arp_out++;
	eth_output(st, m, to, htons(RTE_ETHER_TYPE_ARP));
}

void arp_request(struct stack *st, uint32_t target_be, uint32_t sender_be, const uint8_t *to)
{
	static const uint8_t unknown[6];

	arp_send(st, ARP_REQUEST, sender_be, unknown, target_be, to ? to : eth_broadcast);
}

static void arp_reply(struct stack *st, const uint8_t to_mac[6], uint32_t to_be)
{
	arp_send(st, ARP_REPLY, st->ip4.addr_be, to_mac, to_be, to_mac);
}

/* RFC 5227 §2.3: a request for our own address from our own address. */
static void arp_announcement(struct stack *st)
{
	arp_request(st, st->ip4.addr_be, st->ip4.addr_be, NULL);
}

void arp_announce(struct stack *st)
{
	struct neigh_table *t = st->neigh;

	if (!st->ip4.addr_be)
		return;
	arp_announcement(st);
	t->announces_left = ANNOUNCE_NUM - 1;
	wheel_arm(&st->wheel, &t->announce, st->now_us + ANNOUNCE_INTERVAL_US);
}

void arp_on_announce_timer(struct stack *st, struct wheel_timer *timer)
{
	struct neigh_table *t = container_of(timer, struct neigh_table, announce);

	if (t->conflict) {
		const uint8_t *a = (const uint8_t *)&st->ip4.addr_be, *c = t->conflict_mac;

		t->conflict = false;
		if (!t->conflict_logged) {
			t->conflict_logged = true;
			log_error("address %u.%u.%u.%u: also used by %02x:%02x:%02x:%02x:%02x:%02x on this network: "
				  "give one of the two another host_addr", a[0], a[1], a[2], a[3], c[0], c[1], c[2], c[3],
				  c[4], c[5]);
		}
		/* RFC 5227 §2.4(b) */
		if (t->defended_us == 0 || t->defended_us + DEFEND_INTERVAL_US <= st->now_us) {
			t->defended_us = st->now_us;
			arp_announcement(st);
		}
	}
	if (t->announces_left) {
		t->announces_left--;
		arp_announcement(st);
		if (t->announces_left)
			wheel_arm(&st->wheel, &t->announce, st->now_us + ANNOUNCE_INTERVAL_US);
	}
}

/* Reporting and defending are the timer's: input neither logs nor transmits. */
static cold_path void arp_conflict(struct stack *st, const uint8_t mac[6])
{
	struct neigh_table *t = st->neigh;

	t->conflict = true;
	memcpy(t->conflict_mac, mac, 6);
	if (!wheel_is_armed(&t->announce) || t->announces_left == 0)
		wheel_arm(&st->wheel, &t->announce, st->now_us);
}

/* Could addr be a station's? */
static bool arp_sender_ok(const struct stack *st, uint32_t addr_be)
{
	return !ip4_is_multicast(addr_be) && !ip4_is_loopback_net(addr_be) && !ip4_is_broadcast(st, addr_be);
}

void arp_input(struct stack *st, struct rte_mbuf *m, const uint8_t src_mac[6])
{
	struct arp_pkt a;
	bool request;

	st->mib.arp_in++;
	if (unlikely(m->pkt_len < ARP_BYTES)) {
		drop(st, m, DROP_ARP_MALFORMED);
		return;
	}
	mbuf_read(m, 0, ARP_BYTES, &a);
	request = a.op_be == htons(ARP_REQUEST);
	if (a.hrd_be != htons(1) || a.pro_be != htons(RTE_ETHER_TYPE_IPV4) || a.hln != 6 || a.pln != 4 ||
	    (!request && a.op_be != htons(ARP_REPLY)) || (a.sha[0] & 1) || !arp_sender_ok(st, a.spa_be)) {
		drop(st, m, DROP_ARP_MALFORMED);
		return;
	}
	(void)src_mac; /* the frame's source may be a bridge's; RFC 826 speaks of the packet's */

	if (memcmp(a.sha, st->neigh->mac, 6) == 0) { /* our own, come back */
		drop(st, m, DROP_ARP_UNSOLICITED);
		return;
	}
	/* RFC 5227 §2.4: any ARP packet whose sender address is ours and whose hardware address is not */
	if (unlikely(a.spa_be == st->ip4.addr_be)) {
		arp_conflict(st, a.sha);
		drop(st, m, DROP_ARP_UNSOLICITED);
		return;
	}
	if (request && a.tpa_be == st->ip4.addr_be) {
		/* a.spa 0 is a probe: answered, so that the other side finds the conflict (RFC 5227 §2.1.1) */
		if (a.spa_be)
			neigh_learn(st, a.spa_be, a.sha, false);
		arp_reply(st, a.sha, a.spa_be);
		rte_pktmbuf_free(m);
		return;
	}
	/* Gratuitous ones have sender = target; they and others' requests are no answers to us. */
	if (a.spa_be == 0 || !neigh_learn(st, a.spa_be, a.sha, !request && a.tpa_be == st->ip4.addr_be)) {
		drop(st, m, DROP_ARP_UNSOLICITED);
		return;
	}
	rte_pktmbuf_free(m);
}

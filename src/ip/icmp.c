/* icmp.c - ICMP (RFC 792, RFC 1122 §3.2.2): echo, errors received and made. Called by ip4_input.c, udp, reass.c, link (unreachable
 * neighbours); answers go onto the reply list. Owner of the stack only.
 *
 * Timestamp and address mask requests are not answered (RFC 1122 §3.2.2.8 MAY, RFC 6918). */
#include "base/csum.h"
#include "base/mbufs.h"
#include "ip/ip4_state.h"
#include "tcp/tcp.h"
#include "udp/udp.h"

#include <rte_icmp.h>

#define ICMP_ECHO_REPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAM_PROBLEM 12
#define ICMP_TIMESTAMP 13
#define ICMP_TIMESTAMP_REPLY 14
#define ICMP_ADDR_MASK 17
#define ICMP_ADDR_MASK_REPLY 18
#define ICMP_FRAG_NEEDED 4 /* code of DEST_UNREACH */

#define ICMP_HDR_BYTES 8u
#define QUOTE_MAX_BYTES 548u /* what such a message can quote; kept for IP_RECVERR */
#define ERROR_MAX_BYTES 576u /* RFC 1812 §4.3.2.3 */

/* Tokens: one per message, filled one per interval up to the burst. */
#define ALL_INTERVAL_US 1000ULL
#define ALL_BURST 50u
#define TARGET_INTERVAL_US 100000ULL
#define TARGET_BURST 6u

static bool bucket_take(struct icmp_bucket *b, uint64_t now_us, uint64_t interval_us, uint32_t burst)
{
	uint64_t gained = (now_us - b->last_us) / interval_us;

	if (b->last_us == 0 || gained >= burst) {
		b->tokens = burst;
		b->last_us = now_us;
	} else {
		b->tokens = MIN(b->tokens + (uint32_t)gained, burst);
		b->last_us += gained * interval_us;
	}
	if (b->tokens == 0)
		return false;
	b->tokens--;
	return true;
}

/* RFC 1122 §3.2.2: the packets about which no error may be sent. */
static bool error_allowed(const struct stack *st, struct rte_mbuf *m, const struct rte_ipv4_hdr *ip, uint32_t hlen)
{
	uint32_t s = ntohl(ip->src_addr);

	if (m->packet_type & (IP4_RX_GROUP | IP4_RX_NOT_UNICAST))
		return false;
	if (ntohs(ip->fragment_offset) & IP4_OFFSET)
		return false;
	if (s >> 24 == 0 || s >> 24 == 127 || s >> 28 >= 0xe || ip4_is_broadcast(st, ip->src_addr))
		return false;
	if (ip->next_proto_id == IPPROTO_ICMP) {
		uint8_t type;

		if (m->pkt_len <= hlen)
			return false;
		mbuf_read(m, hlen, 1, &type);
		if (type != ICMP_ECHO && type != ICMP_ECHO_REPLY && type != ICMP_TIMESTAMP && type != ICMP_TIMESTAMP_REPLY &&
		    type != ICMP_ADDR_MASK && type != ICMP_ADDR_MASK_REPLY)
			return false;
	}
	return true;
}

static void reply_header(struct stack *st, struct rte_mbuf *m, const struct ip4_tx *tx)
{
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)rte_pktmbuf_prepend(m, IP4_HDR_BYTES);

	ip4_hdr_write(ip, tx, (uint16_t)m->pkt_len, htons(ip4_ident(st, tx->src_be, tx->dst_be, IPPROTO_ICMP)), false);
	m->ol_flags = mbuf_kept_flags(m) | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
	m->tx_offload = 0;
	m->l3_len = IP4_HDR_BYTES;
	m->packet_type = 0;
	st->mib.icmp_out_msgs++;
	stack_reply(st, m);
}

void icmp_send_error(struct stack *st, struct rte_mbuf *m, uint8_t type, uint8_t code, uint32_t info_be)
{
	const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod(m, const struct rte_ipv4_hdr *);
	uint32_t hlen = (ip->version_ihl & 15u) * 4, quote;
	struct ip4_tx tx = { .src_be = st->ip4.addr_be, .dst_be = ip->src_addr, .proto = IPPROTO_ICMP,
			     .ttl = IP4_TTL_DEFAULT, .tos = 0xc0 /* internetwork control: RFC 1812 §4.3.2.5 */ };
	struct icmp_bucket *target;
	struct rte_mbuf *e;
	uint16_t sum;
	char *p;

	if (!error_allowed(st, m, ip, hlen))
		return;
	target = &st->ip->icmp_target[(uint32_t)((ip->src_addr * 0x9e3779b97f4a7c15ULL) >> 40) % ICMP_TARGETS];
	if (!bucket_take(target, st->now_us, TARGET_INTERVAL_US, TARGET_BURST) ||
	    !bucket_take(&st->ip->icmp_all, st->now_us, ALL_INTERVAL_US, ALL_BURST)) {
		st->drops[DROP_ICMP_RATE]++;
		return;
	}
	e = rte_pktmbuf_alloc(st->pool);
	if (!e) {
		st->drops[DROP_NO_MBUF]++;
		return;
	}
	quote = MIN(MIN(m->pkt_len, ERROR_MAX_BYTES - IP4_HDR_BYTES - ICMP_HDR_BYTES),
		    (uint32_t)rte_pktmbuf_tailroom(e) - ICMP_HDR_BYTES);
	p = rte_pktmbuf_mtod(e, char *);
	e->data_len = (uint16_t)(ICMP_HDR_BYTES + quote);
	e->pkt_len = e->data_len;
	memset(p, 0, ICMP_HDR_BYTES);
	p[0] = (char)type;
	p[1] = (char)code;
	memcpy(p + 4, &info_be, 4);
	mbuf_read(m, 0, quote, p + ICMP_HDR_BYTES);
	sum = csum_flat(p, ICMP_HDR_BYTES + quote);
	memcpy(p + 2, &sum, 2);
	st->mib.icmp_out_errors++;
	if (type == ICMP_DEST_UNREACH)
		st->mib.icmp_out_dest_unreachs++;
	else if (type == ICMP_TIME_EXCEEDED)
		st->mib.icmp_out_time_excds++;
	reply_header(st, e, &tx);
}

/* --- errors received --- */

struct unreach {
	int err;
	bool hard; /* RFC 1122 §4.2.3.9 */
};

/* By code of "destination unreachable", as Linux reports them. */
static const struct unreach unreach_errno[] = {
	{ ENETUNREACH, false }, { EHOSTUNREACH, false }, { ENOPROTOOPT, true }, { ECONNREFUSED, true },
	{ EMSGSIZE, false },	{ EOPNOTSUPP, false },	 { ENETUNREACH, true }, { EHOSTDOWN, true },
	{ ENONET, true },	{ ENETUNREACH, true },	 { EHOSTUNREACH, true }, { ENETUNREACH, false },
	{ EHOSTUNREACH, false }, { EHOSTUNREACH, true }, { EHOSTUNREACH, true }, { EHOSTUNREACH, true },
};

/* RFC 1191 §7.1: routers of old name no MTU; the next plateau below the packet's length. */
static uint32_t plateau_below(uint32_t len)
{
	static const uint16_t plateau[] = { 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68 };

	for (size_t i = 0; i < ARRAY_SIZE(plateau); i++) {
		if (plateau[i] < len)
			return plateau[i];
	}
	return 68;
}

void icmp_report(struct stack *st, const uint8_t *q, uint32_t n, int err, bool hard, struct icmp_what *w)
{
	uint32_t hlen, seq, mtu = 0;
	struct rte_ipv4_hdr ip;
	uint16_t sport, dport;

	if (n < IP4_HDR_BYTES)
		return;
	memcpy(&ip, q, sizeof(ip));
	hlen = (ip.version_ihl & 15u) * 4;
	/* It must be about what we could have sent: from our address, first fragment, with ports (RFC 5927 §4) */
	if (ip.version_ihl >> 4 != 4 || hlen < IP4_HDR_BYTES || n < hlen + 8 || ip.src_addr != st->ip4.addr_be ||
	    (ntohs(ip.fragment_offset) & IP4_OFFSET))
		return;
	memcpy(&sport, q + hlen, 2);
	memcpy(&dport, q + hlen + 2, 2);
	if (err == EMSGSIZE) {
		uint32_t total = ntohs(ip.total_length);

		mtu = w->info ? w->info : plateau_below(total);
		/* RFC 5927 §7.2: a packet that fits was not refused for its size; RFC 791: every link takes 68 bytes */
		if (mtu >= total || mtu < 68)
			return;
		w->info = mtu;
	}
	w->rest = q + hlen + 8;
	w->rest_len = MIN(n, (uint32_t)ntohs(ip.total_length)) > hlen + 8 ? MIN(n, (uint32_t)ntohs(ip.total_length)) - hlen - 8 : 0;
	if (ip.next_proto_id == IPPROTO_TCP) {
		struct ip_addr local = ip_addr_v4(ip.src_addr), remote = ip_addr_v4(ip.dst_addr);

		memcpy(&seq, q + hlen + 4, 4);
		tcp_on_icmp_error(st, &local, &remote, sport, dport, ntohl(seq), err, hard, mtu);
	} else if (ip.next_proto_id == IPPROTO_UDP) {
		/* an MTU is believed only when one of our sockets talks to that address and port */
		if (udp_on_icmp_error(st, ip.src_addr, ip.dst_addr, sport, dport, err, hard, w) && err == EMSGSIZE)
			ip4_learn_pmtu(st, ip.dst_addr, mtu);
	}
}

void ip4_on_unreachable(struct stack *st, struct rte_mbuf *m)
{
	struct icmp_what w = { .type = ICMP_DEST_UNREACH, .code = 1, .offender_be = st->ip4.addr_be };
	uint8_t q[QUOTE_MAX_BYTES];
	uint32_t n = MIN(m->pkt_len, (uint32_t)sizeof(q));

	mbuf_read(m, 0, n, q);
	icmp_report(st, q, n, EHOSTUNREACH, false, &w);
}

static void icmp_error_input(struct stack *st, struct rte_mbuf *m, const struct rte_icmp_hdr *h, uint32_t src_be)
{
	struct icmp_what w = { .type = h->icmp_type, .code = h->icmp_code, .offender_be = src_be };
	uint8_t q[QUOTE_MAX_BYTES];
	uint32_t n = MIN(m->pkt_len - ICMP_HDR_BYTES, (uint32_t)sizeof(q));
	int err = EHOSTUNREACH;
	bool hard = false;

	switch (h->icmp_type) {
	case ICMP_DEST_UNREACH:
		st->mib.icmp_in_dest_unreachs++;
		if (h->icmp_code >= ARRAY_SIZE(unreach_errno))
			break;
		err = unreach_errno[h->icmp_code].err;
		hard = unreach_errno[h->icmp_code].hard;
		if (h->icmp_code == ICMP_FRAG_NEEDED)
			w.info = ntohs(h->icmp_seq_nb); /* RFC 1191 §4 */
		break;
	case ICMP_TIME_EXCEEDED:
		st->mib.icmp_in_time_excds++;
		break;
	default:
		st->mib.icmp_in_parm_probs++;
		err = EPROTO;
		hard = true;
		break;
	}
	if (n) {
		mbuf_read(m, ICMP_HDR_BYTES, n, q);
		icmp_report(st, q, n, err, hard, &w);
	}
	rte_pktmbuf_free(m);
}

/* --- echo --- */

static void icmp_echo(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint8_t tos)
{
	struct ip4_tx tx = { .src_be = st->ip4.addr_be, .dst_be = src_be, .proto = IPPROTO_ICMP, .ttl = IP4_TTL_DEFAULT,
			     .tos = tos };
	struct rte_icmp_hdr *h;

	st->mib.icmp_in_echos++;
	/* RFC 1122 §3.2.2.6: echo to a group MAY be discarded; it makes amplifiers */
	if (m->packet_type & (IP4_RX_GROUP | IP4_RX_NOT_UNICAST)) {
		drop(st, m, DROP_ICMP_GROUP);
		return;
	}
	/* The request itself becomes the answer, all its segments with it; unless it is somebody's still. */
	if (unlikely(!mbuf_chain_writable(m) || rte_pktmbuf_headroom(m) < IP4_HDR_BYTES + 18)) {
		struct rte_mbuf *copy = rte_pktmbuf_copy(m, st->pool, 0, UINT32_MAX);

		if (!copy) {
			drop(st, m, DROP_NO_MBUF);
			return;
		}
		rte_pktmbuf_free(m);
		m = copy;
	}
	h = rte_pktmbuf_mtod(m, struct rte_icmp_hdr *);
	h->icmp_cksum = csum_update16(h->icmp_cksum, htons(ICMP_ECHO << 8), htons(ICMP_ECHO_REPLY << 8));
	h->icmp_type = ICMP_ECHO_REPLY;
	/* the update cannot tell +0 from -0, and it matters for a message of zeros only (RFC 1624 §3): sum it again */
	if (unlikely(h->icmp_cksum == 0))
		h->icmp_cksum = (uint16_t)~csum_fold(csum_mbuf(m, 0, m->pkt_len, 0));
	st->mib.icmp_out_echo_reps++;
	reply_header(st, m, &tx);
}

void icmp_input(struct stack *st, struct rte_mbuf *m, uint32_t src_be, uint32_t dst_be, uint8_t ttl)
{
	const struct rte_icmp_hdr *h;
	const struct rte_ipv4_hdr *ip;

	(void)dst_be;
	(void)ttl;
	st->mib.icmp_in_msgs++;
	if (unlikely(m->data_len < ICMP_HDR_BYTES)) {
		st->mib.icmp_in_errors++;
		drop(st, m, DROP_ICMP_SHORT);
		return;
	}
	/* devices check TCP and UDP only */
	if (unlikely(!csum_ok(csum_mbuf(m, 0, m->pkt_len, 0)))) {
		st->mib.icmp_in_errors++;
		drop(st, m, DROP_ICMP_CHECKSUM);
		return;
	}
	h = rte_pktmbuf_mtod(m, const struct rte_icmp_hdr *);
	switch (h->icmp_type) {
	case ICMP_ECHO:
		ip = rte_pktmbuf_mtod_offset(m, const struct rte_ipv4_hdr *, -(int)m->l3_len);
		icmp_echo(st, m, src_be, ip->type_of_service);
		return;
	case ICMP_DEST_UNREACH:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAM_PROBLEM:
		icmp_error_input(st, m, h, src_be);
		return;
	case ICMP_ECHO_REPLY:
		st->mib.icmp_in_echo_reps++;
		break;
	case ICMP_SOURCE_QUENCH: /* RFC 6633: ignored */
		st->mib.icmp_in_src_quenchs++;
		break;
	case ICMP_REDIRECT: /* RFC 1122 §3.2.2.2 lets a host with one gateway ignore them; they are a way to be led astray */
		st->mib.icmp_in_redirects++;
		break;
	case ICMP_TIMESTAMP:
		st->mib.icmp_in_time_stamps++;
		break;
	case ICMP_TIMESTAMP_REPLY:
		st->mib.icmp_in_time_stampreps++;
		break;
	case ICMP_ADDR_MASK:
		st->mib.icmp_in_addr_masks++;
		break;
	case ICMP_ADDR_MASK_REPLY:
		st->mib.icmp_in_addr_maskreps++;
		break;
	default:
		break;
	}
	drop(st, m, DROP_ICMP_TYPE);
}

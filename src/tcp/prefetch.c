/* prefetch.c - asks the memory for what the frames of a burst will need, for all of them at once. Called by the loop before the burst goes up;
 * changes nothing, so a frame that turns out to be something else costs a prefetch. Owner of the stack.
 *
 * With tens of thousands of connections nearly every line of the one that a segment belongs to is a cache miss, and each miss costs as
 * much as half of the processing. Three steps, so that no frame waits for what another one could wait for at the same time: the bucket of the
 * hash table; the lines of the connection; what those point to.
 */
#include "sock/sock_up.h"
#include "tcp/tcp_int.h"

#include <rte_ether.h>
#include <rte_ip.h>

/* So many connections fit the second-level cache: looking ahead would cost more than it brings. */
#define PREFETCH_MIN_CONNS 256u
/* Lines of a TCB that a request and its reply touch: all up to the cold part, and the congestion control's. */
#define PREFETCH_TCB_LINES 7u

/* The hash of a TCP segment's key in a plain Ethernet frame; false: anything else. */
static force_inline bool frame_hash(const struct stack *st, const struct rte_mbuf *m, uint32_t *hash)
{
	const struct rte_ether_hdr *eh = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const struct rte_ipv4_hdr *ip = (const struct rte_ipv4_hdr *)(eh + 1);
	const struct tcp_hdr *h = (const struct tcp_hdr *)(ip + 1);
	struct ip_addr src, dst;

	if (unlikely(m->data_len < sizeof(*eh) + sizeof(*ip) + TCP_HDR_MIN || eh->ether_type != htons(RTE_ETHER_TYPE_IPV4) ||
		     ip->version_ihl != 0x45 || ip->next_proto_id != IPPROTO_TCP))
		return false;
	src = ip_addr_v4(ip->src_addr);
	dst = ip_addr_v4(ip->dst_addr);
	*hash = tcp_key_hash(st->secret, &dst, &src, h->dport_be, h->sport_be);
	return true;
}

static force_inline struct tcb *tcb_prefetch(const struct tcp_table *c, uint32_t index1)
{
	struct tcb *t = container_of(tcp_table_at(c, index1 - 1), struct tcb, key);

	for (unsigned line = 0; line < PREFETCH_TCB_LINES; line++)
		prefetch((const char *)t + line * CACHE_LINE);
	sock_up_prefetch(sock_of_tcb(t));
	return t;
}

void tcp_prefetch_burst(struct stack *st, struct rte_mbuf *const *m, uint16_t n)
{
	const struct tcp_table *c = &st->tcp->conns;
	const uint32_t *head[NETDEV_BURST];
	uint32_t hash[NETDEV_BURST];
	struct tcb *t[NETDEV_BURST];

	if (likely(c->count < PREFETCH_MIN_CONNS))
		return;
	for (uint16_t i = 0; i < n; i++) {
		head[i] = NULL;
		if (frame_hash(st, m[i], &hash[i])) {
			head[i] = &c->heads[tcp_table_bucket(c, hash[i])];
			prefetch(head[i]);
		}
	}
	for (uint16_t i = 0; i < n; i++)
		t[i] = head[i] && *head[i] ? tcb_prefetch(c, *head[i]) : NULL;
	for (uint16_t i = 0; i < n; i++) {
		if (!t[i])
			continue;
		if (unlikely(t[i]->hash != hash[i] && t[i]->hash_next)) /* the second of the bucket, then */
			t[i] = tcb_prefetch(c, t[i]->hash_next);
		if (t[i]->sq_head) { /* acknowledged by the segment, most likely */
			prefetch(t[i]->sq_head);
			prefetch(pkt_meta(t[i]->sq_head));
			prefetch(pkt_tx(t[i]->sq_head));
		}
		sock_up_prefetch_waiters(sock_of_tcb(t[i]));
	}
}

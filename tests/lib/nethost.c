/* nethost.c - hosts made of link, ip, udp and ports alone; see nethost.h. Called by their unit tests and fuzz targets. */
#include "nethost.h"
#include "base/log.h"
#include "sock/ports.h"
#include "sock/sock_up.h"
#include "tcp/tcp.h"

#include <rte_eal.h>
#include <rte_ip.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct nethost nethost[NETHOST_MAX];
struct nethost_up up;
struct shared *gz;
uint32_t stack_my_pid;

static struct rte_mempool *pool;
static unsigned pool_before;
static struct nethost_frame popped;

static void die(const char *what)
{
	fprintf(stderr, "nethost: %s\n", what);
	abort();
}

/* --- what the neighbouring rooms would do --- */

static uint32_t flatten(const struct rte_mbuf *m, uint8_t *to)
{
	uint32_t at = 0, segs = 0;

	rte_mbuf_sanity_check(m, 1);
	for (; m; m = m->next, segs++) {
		memcpy(to + at, rte_pktmbuf_mtod(m, void *), m->data_len);
		at += m->data_len;
	}
	return at;
}

void tcp_input(struct stack *st, struct rte_mbuf *m, const struct ip_addr *src, const struct ip_addr *dst, uint8_t tos)
{
	(void)st;
	(void)src;
	(void)dst;
	if (m->data_len < MIN(m->pkt_len, 60u))
		die("TCP header is not contiguous");
	up.tcp_segs++;
	up.tcp_tos = tos;
	free(up.tcp_data);
	up.tcp_len = m->pkt_len;
	up.tcp_data = malloc(m->pkt_len + 1);
	if (flatten(m, up.tcp_data) != m->pkt_len)
		die("segments do not add up to the packet's length");
	rte_pktmbuf_free(m);
}

void tcp_on_icmp_error(struct stack *st, const struct ip_addr *local, const struct ip_addr *remote, uint16_t lport_be,
		       uint16_t rport_be, uint32_t seq, int err, bool hard, uint32_t mtu)
{
	(void)st;
	(void)local;
	(void)remote;
	(void)rport_be;
	up.tcp_errors++;
	up.tcp_lport_be = lport_be;
	up.tcp_err = err;
	up.tcp_hard = hard;
	up.tcp_mtu = mtu;
	up.tcp_seq = seq;
}

void sock_up_datagram(struct stack *st, struct sock *s, struct rte_mbuf *m)
{
	struct nethost_dgram *d = &up.dgram[up.dgrams % NETHOST_DGRAMS];

	(void)st;
	free(d->data);
	d->s = s;
	d->len = m->pkt_len;
	d->data = malloc(m->pkt_len + 1);
	d->info = *pkt_tx(m);
	if (flatten(m, d->data) != m->pkt_len)
		die("segments do not add up to the packet's length");
	up.dgrams++;
	rte_pktmbuf_free(m);
}

void sock_up_error(struct stack *st, struct sock *s, int err, bool soft)
{
	(void)st;
	(void)soft;
	up.sock_errors++;
	up.sock_err = err;
	up.sock_err_on = s;
}

void sock_up_dgram_error(struct stack *st, struct sock *s, struct rte_mbuf *m)
{
	(void)st;
	(void)s;
	up.sock_err_entries++;
	memcpy(&up.sock_err_entry, rte_pktmbuf_mtod(m, const char *), sizeof(up.sock_err_entry));
	up.sock_err_rest = m->pkt_len - (uint32_t)sizeof(up.sock_err_entry);
	rte_pktmbuf_free(m);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
	up.logs++;
}

/* --- device --- */

void netdev_tx(struct netdev *nd, uint16_t queue, struct rte_mbuf *m)
{
	struct nethost *h = container_of(nd, struct nethost, nd);
	struct nethost_frame *f;
	uint8_t *l3, *l4;
	uint32_t l4_len;
	uint16_t sum;

	(void)queue;
	if (nd->queues[0].txq_len >= 2 * NETDEV_BURST || h->out_len == NETHOST_OUT) {
		nd->queues[0].stats.tx_drop++;
		rte_pktmbuf_free(m);
		return;
	}
	nd->queues[0].txq_len++;
	f = &h->out[(h->out_first + h->out_len++) % NETHOST_OUT];
	f->len = m->pkt_len;
	f->data = malloc(m->pkt_len);
	if (flatten(m, f->data) != m->pkt_len)
		die("sent: segments do not add up");
	if (m->ol_flags & RTE_MBUF_F_TX_VLAN)
		f->len |= (uint32_t)m->vlan_tci << 20; /* the device would insert it */
	l3 = f->data + m->l2_len;
	l4 = l3 + m->l3_len;
	l4_len = m->pkt_len - m->l2_len - m->l3_len;
	if (m->ol_flags & RTE_MBUF_F_TX_IP_CKSUM) {
		sum = naive_csum(l3, m->l3_len, 0);
		memcpy(l3 + 10, &sum, 2);
	}
	if ((m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM) {
		sum = naive_csum(l4, l4_len, 0);
		if (!sum)
			sum = 0xffff;
		memcpy(l4 + 6, &sum, 2);
	}
	rte_pktmbuf_free(m);
}

uint16_t netdev_flush(struct netdev *nd, uint16_t queue)
{
	struct nethost *h = container_of(nd, struct nethost, nd);

	(void)queue;
	if (!h->tx_stuck)
		nd->queues[0].txq_len = 0;
	return nd->queues[0].txq_len;
}

/* --- life --- */

void nethost_eal(uint32_t pool_mbufs)
{
	char *argv[] = { "test", "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "-l", "0",
			 "--log-level=4", NULL };

	if (pool)
		return;
	if (rte_eal_init(10, argv) < 0 || pkt_init() < 0)
		die("EAL");
	pool = mbuf_pool_create("nethost", pool_mbufs ? pool_mbufs : 4096, 2048, 0);
	if (!pool)
		die("pool");
}

void nethost_up_clear(void)
{
	for (unsigned i = 0; i < NETHOST_DGRAMS; i++)
		free(up.dgram[i].data);
	free(up.tcp_data);
	memset(&up, 0, sizeof(up));
}

void nethost_open(unsigned n, bool one_device)
{
	if (gz) /* the last test failed in the middle */
		nethost_close();
	pool_before = rte_mempool_avail_count(pool);
	if (region_create(64UL << 20, false) < 0)
		die("region");
	gz = region_carve(sizeof(*gz), 4096);
	gz->nb_stacks = 1;
	gz->ports = ports_create();
	nethost_up_clear();
	for (unsigned i = 0; i < n; i++) {
		struct nethost *h = &nethost[i];
		struct stack *st = &gz->stacks[i];

		memset(h, 0, sizeof(*h));
		h->st = st;
		memcpy(h->nd.mac, MAC_HOST(i), 6);
		atomic_store(&h->nd.mtu, 1500);
		h->nd.tx_max_segs = 64;
		st->nd = one_device ? &nethost[0].nd : &h->nd;
		st->id = (uint16_t)i;
		st->pool = pool;
		st->now_us = 1000000;
		st->ip4.addr_be = IP(10, 0, 0, one_device ? 1 : 1 + i);
		st->ip4.mask_be = IP(255, 255, 255, 0);
		st->ip4.gateway_be = IP(10, 0, 0, 254);
		st->secret[0] = 0x0123456789abcdefULL;
		st->secret[1] = 0xfedcba9876543210ULL;
		wheel_init(&st->wheel, st->now_us);
		st->neigh = neigh_table_create(st, 512);
		st->ip = ip4_state_create(st);
		if (!st->neigh || !st->ip)
			die("state");
	}
}

unsigned nethost_close(void)
{
	unsigned missing;

	for (unsigned i = 0; i < NETHOST_MAX; i++) {
		struct stack *st = &gz->stacks[i];

		if (!st->neigh)
			continue;
		for (unsigned r = 0; r < st->reply_len; r++)
			rte_pktmbuf_free(st->reply[r]);
		ip4_state_destroy(st);
		st->ip = NULL;
		neigh_table_destroy(st, st->neigh);
		st->neigh = NULL;
		nethost_discard(i);
	}
	free(popped.data);
	popped.data = NULL;
	nethost_up_clear();
	missing = pool_before - rte_mempool_avail_count(pool);
	gz = NULL;
	region_destroy();
	return missing;
}

struct rte_mbuf *nethost_chain(const void *data, uint32_t len, uint32_t seg_bytes)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(pool), *seg = head;
	const uint8_t *p = data;

	if (!head)
		return NULL;
	while (len) {
		uint32_t n = MIN(len, seg_bytes ? seg_bytes : 2048u);

		if (p != data) {
			seg->next = rte_pktmbuf_alloc(pool);
			if (!seg->next) {
				rte_pktmbuf_free(head);
				return NULL;
			}
			seg = seg->next;
			head->nb_segs++;
		}
		n = MIN(n, (uint32_t)rte_pktmbuf_tailroom(seg));
		memcpy(rte_pktmbuf_mtod(seg, void *), p, n);
		seg->data_len = (uint16_t)n;
		head->pkt_len += n;
		p += n;
		len -= n;
	}
	return head;
}

void nethost_push(unsigned h, const void *data, uint32_t len, uint32_t seg_bytes)
{
	struct rte_mbuf *m = nethost_chain(data, len, seg_bytes);

	if (!m)
		return;
	/* as a driver leaves it: rubbish in what describes the packet on its way out */
	m->tx_offload = 0x5a5a5a5a5a5a5a5aULL;
	m->packet_type = 0xffffffff;
	eth_input_burst(nethost[h].st, &m, 1);
}

static void no_timer(struct stack *st, struct wheel_timer *t)
{
	(void)st;
	(void)t;
	die("a timer of another room");
}

void nethost_run(unsigned h, uint64_t pass_us)
{
	static const wheel_fire_fn fire[TIMER_KIND_COUNT] = {
		[TIMER_TCP] = no_timer, [TIMER_TCP_SYN] = no_timer, [TIMER_TCP_TW] = no_timer,
		[TIMER_NEIGH] = neigh_on_timer, [TIMER_REASS] = ip4_reass_on_timer,
		[TIMER_ARP_ANNOUNCE] = arp_on_announce_timer, [TIMER_IGMP] = igmp_on_timer, [TIMER_HOUSEKEEPING] = no_timer, [TIMER_TEST] = no_timer,
	};
	struct stack *st = nethost[h].st;
	uint64_t end = st->now_us + pass_us;

	for (;;) {
		uint64_t next = wheel_next_us(&st->wheel);

		st->now_us = MAX(st->now_us, MIN(next, end));
		wheel_advance(&st->wheel, st, st->now_us, 256, fire);
		do {
			for (unsigned i = 0; i < st->reply_len; i++)
				ip4_output_reply(st, st->reply[i]);
			st->reply_len = 0;
		} while (ip4_loopback_run(st));
		netdev_flush(st->nd, 0);
		if (st->now_us >= end)
			break;
	}
}

const struct nethost_frame *nethost_pop(unsigned h)
{
	struct nethost *n = &nethost[h];

	if (!n->out_len)
		return NULL;
	free(popped.data);
	popped = n->out[n->out_first];
	n->out_first = (n->out_first + 1) % NETHOST_OUT;
	n->out_len--;
	return &popped;
}

void nethost_discard(unsigned h)
{
	while (nethost_pop(h))
		;
}

struct sock *nethost_sock(int family, int type)
{
	struct sock *s = region_carve(sizeof(*s), CACHE_LINE);

	s->family = (uint8_t)family;
	s->type = (uint8_t)type;
	s->opt.mtu_discover = IP_PMTUDISC_WANT;
	s->opt.mc_loop = 1;
	return s;
}

/* --- builders --- */

uint16_t naive_csum(const uint8_t *p, size_t n, uint32_t start)
{
	uint32_t sum = start;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (n & 1)
		sum += (uint32_t)p[n - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

uint32_t put_eth(uint8_t *p, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
	memcpy(p, dst, 6);
	memcpy(p + 6, src, 6);
	p[12] = (uint8_t)(type >> 8);
	p[13] = (uint8_t)type;
	return 14;
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

uint32_t put_ip4(uint8_t *p, const struct net_ip *ip, uint32_t payload_len)
{
	uint32_t hlen = 20u + ip->opts_len;
	uint16_t sum;

	memset(p, 0, hlen);
	p[0] = (uint8_t)(0x40 | hlen / 4);
	p[1] = ip->tos;
	put16(p + 2, (uint16_t)(hlen + payload_len));
	put16(p + 4, ip->id);
	put16(p + 6, ip->frag);
	p[8] = ip->ttl ? ip->ttl : 64;
	p[9] = ip->proto;
	memcpy(p + 12, &ip->src_be, 4);
	memcpy(p + 16, &ip->dst_be, 4);
	memcpy(p + 20, ip->opts, ip->opts_len);
	sum = naive_csum(p, hlen, 0);
	memcpy(p + 10, &sum, 2);
	return hlen;
}

uint32_t put_udp(uint8_t *p, uint32_t src_be, uint32_t dst_be, uint16_t sport, uint16_t dport, const void *data, uint32_t len)
{
	uint32_t pseudo = 0;
	uint16_t sum;

	put16(p, sport);
	put16(p + 2, dport);
	put16(p + 4, (uint16_t)(8 + len));
	put16(p + 6, 0);
	memcpy(p + 8, data, len);
	pseudo += (ntohl(src_be) >> 16) + (ntohl(src_be) & 0xffff) + (ntohl(dst_be) >> 16) + (ntohl(dst_be) & 0xffff);
	pseudo += 17 + 8 + len;
	sum = naive_csum(p, 8 + len, pseudo);
	if (!sum)
		sum = 0xffff;
	memcpy(p + 6, &sum, 2);
	return 8 + len;
}

uint32_t put_icmp(uint8_t *p, uint8_t type, uint8_t code, uint32_t rest, const void *data, uint32_t len)
{
	uint16_t sum;

	p[0] = type;
	p[1] = code;
	put16(p + 2, 0);
	put16(p + 4, (uint16_t)(rest >> 16));
	put16(p + 6, (uint16_t)rest);
	memcpy(p + 8, data, len);
	sum = naive_csum(p, 8 + len, 0);
	memcpy(p + 2, &sum, 2);
	return 8 + len;
}

uint32_t put_arp(uint8_t *p, uint16_t op, const uint8_t *sha, uint32_t spa_be, const uint8_t *tha, uint32_t tpa_be)
{
	put16(p, 1);
	put16(p + 2, 0x0800);
	p[4] = 6;
	p[5] = 4;
	put16(p + 6, op);
	memcpy(p + 8, sha, 6);
	memcpy(p + 14, &spa_be, 4);
	memcpy(p + 18, tha, 6);
	memcpy(p + 24, &tpa_be, 4);
	return 28;
}

void nethost_know(unsigned h, uint32_t addr_be, const uint8_t *mac)
{
	uint8_t f[64];
	uint32_t n;
	struct rte_mbuf *m = nethost_chain("", 1, 0);

	/* any packet makes it ask */
	link_output(nethost[h].st, m, addr_be, NULL);
	n = put_eth(f, nethost[h].st->nd->mac, mac, 0x0806);
	n += put_arp(f + n, 2, mac, addr_be, nethost[h].st->nd->mac, nethost[h].st->ip4.addr_be);
	nethost_push(h, f, n, 0);
	netdev_flush(nethost[h].st->nd, 0);
	nethost_discard(h);
}

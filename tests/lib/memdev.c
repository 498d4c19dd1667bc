/* memdev.c - in-memory device: see memdev.h. Called by tests and by the stack under test (netdev ops). One thread. */
#include "memdev.h"
#include "vclock.h"

#include "netdev/backend.h"

#include <rte_ethdev.h>
#include <stdlib.h>

static void put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static void fifo_init(struct frame_fifo *q)
{
	q->head = NULL;
	q->tail = &q->head;
	q->n = 0;
}

static void fifo_push(struct frame_fifo *q, struct frame *f)
{
	f->next = NULL;
	*q->tail = f;
	q->tail = &f->next;
	q->n++;
}

static struct frame *fifo_pop(struct frame_fifo *q)
{
	struct frame *f = q->head;

	if (!f)
		return NULL;
	q->head = f->next;
	if (!q->head)
		q->tail = &q->head;
	q->n--;
	f->next = NULL;
	return f;
}

static void fifo_clear(struct frame_fifo *q)
{
	struct frame *f;

	while ((f = fifo_pop(q)))
		frame_free(f);
}

/* --- receive --- */

static struct rte_mbuf *to_mbuf(struct memdev *d, const struct frame *f, struct rte_mempool *pool)
{
	struct rte_mbuf *head = NULL, **link = &head, *m;
	struct seg s;
	uint32_t at = 0;

	do {
		uint32_t room, n;

		m = rte_pktmbuf_alloc(pool);
		if (!m) {
			rte_pktmbuf_free(head);
			return NULL;
		}
		room = rte_pktmbuf_tailroom(m);
		if (d->conf.rx_seg_bytes && d->conf.rx_seg_bytes < room)
			room = d->conf.rx_seg_bytes;
		n = MIN(room, f->len - at);
		memcpy(rte_pktmbuf_append(m, (uint16_t)n), f->data + at, n);
		at += n;
		*link = m;
		link = &m->next;
		if (m != head) {
			head->nb_segs++;
			head->pkt_len += n;
		}
	} while (at < f->len);
	head->packet_type = RTE_PTYPE_UNKNOWN;
	if (d->conf.rx_csum && f->intact && !f->gso_size) { /* looked at when it was sent, and not damaged since */
		if (f->data[12] == 0x08 && f->data[13] == 0)
			head->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	} else if (d->conf.rx_csum && seg_parse(f, &s, NULL) && s.ethertype == 0x0800) {
		head->ol_flags |= s.ip_csum_ok ? RTE_MBUF_F_RX_IP_CKSUM_GOOD : RTE_MBUF_F_RX_IP_CKSUM_BAD;
		if (s.kind == SEG_TCP || s.kind == SEG_UDP)
			head->ol_flags |= s.l4_csum_ok ? RTE_MBUF_F_RX_L4_CKSUM_GOOD : RTE_MBUF_F_RX_L4_CKSUM_BAD;
	}
	if (f->gso_size) { /* the peer vouches for its sum, as virtio's does; a frame damaged on the way is the wire's doing */
		bool good = f->intact || (seg_parse(f, &s, NULL) && s.ip_csum_ok && s.l4_csum_ok);

		head->tso_segsz = f->gso_size;
		head->ol_flags &= ~(RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK);
		head->ol_flags |= RTE_MBUF_F_RX_LRO;
		head->ol_flags |= good ? RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD :
					 RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_BAD;
	}
	return head;
}

static uint16_t mem_rx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct memdev *d = memdev_of(nd);
	uint16_t got = 0;

	while (got < n && d->rx.head) {
		struct frame *f = fifo_pop(&d->rx);
		bool starved = d->rx_starve && d->rx_starve(d->rx_starve_arg);

		if (d->tap)
			d->tap(d->tap_arg, d, false, f);
		m[got] = starved ? NULL : to_mbuf(d, f, nd->queues[queue].pool);
		if (m[got])
			got++;
		else
			nd->queues[queue].stats.rx_allocmbuf_fail++;
		frame_free(f);
	}
	d->rx_frames += got;
	return got;
}

static bool mem_rx_pending(struct netdev *nd, uint16_t queue)
{
	return memdev_of(nd)->rx.head != NULL;
}

/* --- transmit --- */

static void bad_frame(struct memdev *d, const struct frame *f, const char *why)
{
	struct seg s;
	char text[512] = "";

	d->bad_frames++;
	seg_parse(f, &s, NULL);
	fprintf(stderr, "memdev %s: transmitted a bad frame: %s: %u bytes: %s\n", d->nd.name, why, f->len,
		seg_print(&s, 0, 0, text, sizeof(text)));
}

static void answer_arp(struct memdev *d, const struct seg *ask)
{
	struct seg s = { .kind = SEG_ARP, .arp_op = 2, .arp_spa = ask->arp_tpa, .arp_tpa = ask->arp_spa };

	memcpy(s.dmac, ask->smac, 6);
	memcpy(s.smac, d->peer_mac, 6);
	memcpy(s.arp_sha, d->peer_mac, 6);
	memcpy(s.arp_tha, ask->arp_sha, 6);
	memdev_push(d, seg_build(&s));
}

/* A finished frame leaves the device: takes f. */
static void leave(struct memdev *d, struct frame *f)
{
	struct seg s;
	const char *why;

	if (!seg_parse(f, &s, &why))
		bad_frame(d, f, why);
	else if (s.ethertype == 0x0800 && !f->gso_size && (!s.ip_csum_ok || !s.l4_csum_ok))
		bad_frame(d, f, s.ip_csum_ok ? "L4 checksum" : "IPv4 header checksum");
	else if (memcmp(s.smac, d->nd.mac, 6) != 0)
		bad_frame(d, f, "source address is not the device's");
	else if (f->len > atomic_load(&d->nd.mtu) + SEG_ETH_BYTES && !f->gso_size)
		bad_frame(d, f, "larger than the MTU");
	else if (s.kind == SEG_TCP && s.opt.malformed)
		bad_frame(d, f, "TCP options");
	else
		f->intact = s.kind == SEG_TCP || s.kind == SEG_UDP;
	f->time_us = vclock_us;
	d->tx_frames++;
	d->tx_bytes += f->len;
	if (d->tap)
		d->tap(d->tap_arg, d, true, f);
	if (d->watch)
		d->watch(d->watch_arg, f);
	if (d->wire) {
		d->wire->now_us = vclock_us;
		wire_send(d->wire, d->end, f);
		return;
	}
	if (d->auto_arp && s.kind == SEG_ARP) {
		if (s.arp_op == 1 && s.arp_tpa != d->own_ip_be && s.arp_spa != 0 && s.arp_tpa != s.arp_spa)
			answer_arp(d, &s);
		frame_free(f);
		return;
	}
	fifo_push(&d->sent, f);
}

/* Cuts a TSO frame into segments of segsz payload bytes, as a NIC does (f is taken). */
static void cut_tso(struct memdev *d, struct frame *f, uint32_t hdr, uint32_t l3_at, uint32_t l4_at, uint32_t segsz)
{
	uint32_t payload = f->len - hdr, seq = get32(f->data + l4_at + 4);
	uint16_t id = get16(f->data + l3_at + 4);
	uint8_t flags = f->data[l4_at + 13];

	for (uint32_t at = 0; at < payload; at += segsz) {
		uint32_t n = MIN(segsz, payload - at);
		struct frame *p = frame_new(hdr + n);
		bool last = at + n == payload;
		uint8_t fl = flags;

		memcpy(p->data, f->data, hdr);
		memcpy(p->data + hdr, f->data + hdr + at, n);
		p->len = hdr + n;
		put16(p->data + l3_at + 2, p->len - l3_at);
		put16(p->data + l3_at + 4, id++);
		put16(p->data + l4_at + 4, (seq + at) >> 16);
		put16(p->data + l4_at + 6, (seq + at) & 0xffff);
		if (!last)
			fl &= (uint8_t)~(TH_FIN | TH_PSH);
		if (at)
			fl &= (uint8_t)~TH_CWR;
		p->data[l4_at + 13] = fl;
		frame_fix_csums(p->data, p->len);
		leave(d, p);
	}
	frame_free(f);
}

/* What the engine must have written into a checksum field that it asks the device to complete. */
static bool pseudo_ok(const struct frame *f, uint32_t l3_at, uint32_t l4_at, bool tcp, bool tso)
{
	const uint8_t *ip = f->data + l3_at;
	uint16_t l4_len = tso ? 0 : (uint16_t)(get16(ip + 2) - (l4_at - l3_at));
	uint16_t have = get16(f->data + l4_at + (tcp ? 16 : 6));
	uint16_t want = frame_sum(NULL, 0, frame_pseudo_sum(ip, tcp ? IPPROTO_TCP : IPPROTO_UDP, l4_len));

	/* 0 and 0xffff are the same number */
	return have == want || (have == 0 && want == 0xffff) || (have == 0xffff && want == 0);
}

static void transmit(struct memdev *d, struct rte_mbuf *m)
{
	struct frame *f = frame_new(m->pkt_len);
	uint64_t ol = m->ol_flags;
	uint32_t l3_at = m->l2_len ? m->l2_len : SEG_ETH_BYTES, l4_at = l3_at + m->l3_len, segs = 0, at = 0;
	bool l4 = (ol & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM || (ol & RTE_MBUF_F_TX_TCP_SEG);
	bool udp = (ol & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM;
	bool tso = ol & RTE_MBUF_F_TX_TCP_SEG;

	for (struct rte_mbuf *x = m; x; x = x->next, segs++) {
		if (at + x->data_len > m->pkt_len)
			break;
		memcpy(f->data + at, rte_pktmbuf_mtod(x, void *), x->data_len);
		at += x->data_len;
	}
	f->len = at;
	if (at != m->pkt_len || segs != m->nb_segs)
		bad_frame(d, f, "mbuf chain and pkt_len/nb_segs disagree");
	if (segs > 1 && d->conf.linear_only)
		bad_frame(d, f, "chained mbufs on a device for linear frames");
	if ((l4 || udp || (ol & RTE_MBUF_F_TX_IP_CKSUM)) && !d->conf.tx_csum) {
		bad_frame(d, f, "checksum asked of a device that has no checksum offload");
	} else if (l4 || udp || (ol & RTE_MBUF_F_TX_IP_CKSUM)) {
		if (m->l2_len != SEG_ETH_BYTES || m->l3_len < 20 || l4_at >= f->len)
			bad_frame(d, f, "offload flags without header lengths");
		else if ((l4 || udp) && !pseudo_ok(f, l3_at, l4_at, l4, tso))
			bad_frame(d, f, "pseudo-header sum missing");
		if ((ol & RTE_MBUF_F_TX_IP_CKSUM) && !(ol & RTE_MBUF_F_TX_IPV4))
			bad_frame(d, f, "IP checksum offload without RTE_MBUF_F_TX_IPV4");
		if (!tso)
			frame_fix_csums(f->data, f->len);
	}
	if (tso) {
		uint32_t hdr = l4_at + m->l4_len;

		if (!d->conf.tso_max_bytes || !m->tso_segsz || hdr > f->len || m->l4_len < 20 ||
		    f->len - hdr > d->conf.tso_max_bytes) {
			bad_frame(d, f, "TSO request not allowed or incomplete");
			frame_free(f);
		} else if (f->len - hdr <= m->tso_segsz || !d->conf.tso_carry) {
			cut_tso(d, f, hdr, l3_at, l4_at, m->tso_segsz);
		} else {
			f->gso_size = m->tso_segsz;
			frame_fix_csums(f->data, f->len);
			leave(d, f);
		}
		return;
	}
	leave(d, f);
}

static void hold(struct memdev *d, struct rte_mbuf *m)
{
	uint32_t keep = MIN(d->conf.tx_hold, MEMDEV_HOLD_MAX);

	if (!keep) {
		rte_pktmbuf_free(m);
		return;
	}
	if (d->hold_n == keep) {
		rte_pktmbuf_free(d->hold[d->hold_at]);
		d->hold_n--;
	}
	d->hold[d->hold_at] = m;
	d->hold_at = (d->hold_at + 1) % keep;
	d->hold_n++;
}

static uint16_t mem_tx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	struct memdev *d = memdev_of(nd);
	uint16_t k = d->conf.tx_accept ? MIN(n, d->conf.tx_accept) : n;

	for (uint16_t i = 0; i < k; i++) {
		transmit(d, m[i]);
		hold(d, m[i]);
	}
	return k;
}

static void mem_close(struct netdev *nd)
{
	memdev_fini(memdev_of(nd));
}

static int mem_wait_fd(struct netdev *nd, uint16_t queue)
{
	return -1;
}

static const struct netdev_ops mem_ops = {
	.kind = "mem",
	.rx_burst = mem_rx_burst,
	.tx_burst = mem_tx_burst,
	.rx_pending = mem_rx_pending,
	.wait_fd = mem_wait_fd,
	.close = mem_close,
};

void memdev_apply(struct memdev *d)
{
	struct netdev *nd = &d->nd;

	nd->tx_offloads = d->conf.linear_only ? 0 : RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (d->conf.tx_csum)
		nd->tx_offloads |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
				   RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
	nd->tso_max_bytes = d->conf.tx_csum ? d->conf.tso_max_bytes : 0;
	if (nd->tso_max_bytes)
		nd->tx_offloads |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
	nd->rx_offloads = d->conf.rx_csum ? RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM |
						    RTE_ETH_RX_OFFLOAD_UDP_CKSUM :
					    0;
	nd->rx_merge = d->conf.rx_merge;
	nd->tx_max_segs = d->conf.linear_only ? 1 : 40;
	nd->syn_answers_per_s = d->conf.syn_answers_per_s;
	nd->tx_fix = tx_fixup_mask(nd);
	atomic_store(&nd->mtu, d->conf.mtu ? d->conf.mtu : 1500);
}

void memdev_init(struct memdev *d, const struct memdev_conf *conf, struct rte_mempool *pool)
{
	static uint8_t number;
	static const uint8_t none[6];

	memset(d, 0, sizeof(*d));
	d->conf = *conf;
	fifo_init(&d->rx);
	fifo_init(&d->sent);
	d->nd.ops = &mem_ops;
	d->nd.priv = d;
	d->nd.nb_queues = 1;
	d->nd.port_id = UINT16_MAX;
	d->nd.numa_node = -1;
	number++;
	snprintf(d->nd.name, sizeof(d->nd.name), "mem%u", number);
	memcpy(d->nd.mac, conf->mac, 6);
	if (!memcmp(conf->mac, none, 6))
		memcpy(d->nd.mac, (uint8_t[6]){ 2, 0, 0, 0, 0, number }, 6);
	memcpy(d->peer_mac, (uint8_t[6]){ 2, 0, 0, 0, 1, number }, 6);
	d->nd.queues[0].pool = pool;
	atomic_store(&d->nd.link_up, true);
	memdev_apply(d);
}

void memdev_release_held(struct memdev *d)
{
	uint32_t keep = MIN(d->conf.tx_hold, MEMDEV_HOLD_MAX);

	for (; d->hold_n; d->hold_n--) {
		d->hold_at = (d->hold_at + keep - 1) % keep;
		rte_pktmbuf_free(d->hold[d->hold_at]);
	}
	d->hold_at = 0;
}

void memdev_fini(struct memdev *d)
{
	struct netdev_queue *q = &d->nd.queues[0];

	memdev_release_held(d);
	for (uint16_t i = 0; i < q->txq_len; i++)
		rte_pktmbuf_free(q->txq[i]);
	q->txq_len = 0;
	fifo_clear(&d->rx);
	fifo_clear(&d->sent);
}

struct frame *memdev_pop(struct memdev *d)
{
	return fifo_pop(&d->sent);
}

void memdev_push(struct memdev *d, struct frame *f)
{
	fifo_push(&d->rx, f);
}

/* --- capture for people --- */

static void pcap_tap(void *arg, struct memdev *d, bool out, const struct frame *f)
{
	FILE *file = arg;
	uint32_t h[4] = { (uint32_t)(vclock_us / 1000000), (uint32_t)(vclock_us % 1000000), f->len, f->len };

	fwrite(h, sizeof(h), 1, file);
	fwrite(f->data, f->len, 1, file);
}

void memdev_pcap(struct memdev *d, FILE *file)
{
	struct {
		uint32_t magic;
		uint16_t major, minor;
		uint32_t zone, sigfigs, snaplen, link;
	} h = { 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1 };

	if (ftell(file) == 0)
		fwrite(&h, sizeof(h), 1, file);
	d->tap = pcap_tap;
	d->tap_arg = file;
}

/* fuzz_gro.c - a burst of segments, most of one flow and in order, some damaged, into the joining of netdev_rx().
 * Record: flags (8 bits), payload length, then by flags: where a header byte is changed and to what, how many bytes are cut off.
 * Properties: chains are sound, no mbuf leaks; as long as headers are whole, the bytes of the flow come out once and in order.
 */
#include "fuzz_common.h"

#include "netdev/backend.h"

#include <rte_mbuf.h>
#include <stdlib.h>

#define HLEN 54u

static struct rte_mbuf *burst[NETDEV_BURST];
static uint16_t burst_n;

static uint16_t rx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	memcpy(m, burst, burst_n * sizeof(*m));
	return burst_n;
}

static struct rte_mbuf *build(struct bytes *b, uint32_t *seq, struct rte_mempool *pool, bool *odd)
{
	uint8_t how = take8(b), len = take8(b), fill = take8(b);
	struct seg s = { .kind = SEG_TCP, .saddr = testenv_ip(1), .daddr = testenv_ip(0), .sport = (uint16_t)(7 + (how & 1 ? fill & 15 : 0)),
			 .dport = 8, .flags = how & 2 ? TH_ACK | TH_PSH : TH_ACK, .seq = *seq, .ack = 1, .win = 9 };
	uint8_t data[256];
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	struct frame *f;

	memset(data, fill, sizeof(data));
	s.data = data;
	s.len = how & 4 ? len : 100;
	*seq += s.len;
	*odd |= how & 1;
	f = seg_build(&s);
	f->len = MIN(f->len, HLEN + s.len); /* no padding of short frames */
	if (how & 8) {
		f->data[take8(b) % HLEN] = take8(b);
		*odd = true;
	}
	if (how & 16) {
		uint32_t cut = take8(b);

		f->len -= MIN(cut, f->len - 14);
		*odd = true;
	}
	memcpy(rte_pktmbuf_append(m, (uint16_t)f->len), f->data, f->len);
	m->ol_flags |= (how & 32 ? 0 : RTE_MBUF_F_RX_L4_CKSUM_GOOD) | (how & 64 ? RTE_MBUF_F_RX_IP_CKSUM_GOOD : 0);
	free(f);
	return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct netdev_ops ops = { .kind = "mem", .rx_burst = rx_burst };
	static struct netdev nd = { .ops = &ops, .nb_queues = 1, .rx_merge = true };
	static uint8_t in[65536], out[65536], flat[65536];
	struct rte_mempool *pool = testenv_pool(0, 0);
	struct rte_mbuf *m[NETDEV_BURST];
	struct bytes b = { data, size };
	uint32_t seq = 0xffffff00u, sent = 0, got = 0, n;
	bool odd = false;

	for (burst_n = 0; b.left && burst_n < NETDEV_BURST; burst_n++) {
		burst[burst_n] = build(&b, &seq, pool, &odd);
		n = burst[burst_n]->pkt_len;
		if (n > HLEN) {
			memcpy(in + sent, rte_pktmbuf_mtod_offset(burst[burst_n], void *, HLEN), n - HLEN);
			sent += n - HLEN;
		}
	}
	n = netdev_rx(&nd, 0, m, NETDEV_BURST);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t len = m[i]->pkt_len, have = 0, segs = 0;

		for (const struct rte_mbuf *s = m[i]; s; have += s->data_len, s = s->next, segs++)
			if (have + s->data_len > sizeof(flat))
				abort();
			else
				memcpy(flat + have, rte_pktmbuf_mtod(s, void *), s->data_len);
		if (have != len || segs != m[i]->nb_segs)
			abort();
		if (!odd) {
			memcpy(out + got, flat + HLEN, len - HLEN);
			got += len - HLEN;
		}
		rte_pktmbuf_free(m[i]);
	}
	if ((!odd && (got != sent || memcmp(in, out, sent))) || rte_mempool_in_use_count(pool))
		abort();
	return 0;
}

/* fuzz_kif.c - frames in the ring slots of a kernel interface, with any virtio-net header and
 * status: what kif_rx_burst() and netdev_rx() make of them, and where steer.c would send it.
 * Record: status (8 bits, see below), flags and type of the virtio-net header, its sizes, VLAN tag,
 * length, frame. Properties: no byte outside the slot's frame is read, a frame arrives whole and
 * unchanged, the datagrams of a UDP_SEGMENT frame carry its bytes once and in order, chains are
 * sound, no mbuf leaks.
 */
#include "fuzz_common.h"

#include "netdev/kif.h"
#include "stack/steer.h"

/* the function that reads frames is static */
#include "../../../src/stack/steer.c"

#include <rte_mbuf.h>
#include <stdlib.h>

#define SLOTS	   4
#define GSO_UDP_L4 5
#define HEAD	   (sizeof(struct tpacket2_hdr) + sizeof(struct virtio_net_hdr))

static struct kif_queue kq;
static uint64_t marks; /* what another device would have said on top */
static bool no_headroom;

static uint16_t rx_burst(struct netdev *nd, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
	uint16_t got = kif_rx_burst(nd, queue, m, n);

	for (uint16_t i = 0; i < got; i++) {
		m[i]->ol_flags |= marks;
		if (no_headroom) { /* no room for a tag to be put back */
			m[i]->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
			m[i]->data_len = (uint16_t)(m[i]->data_len + m[i]->data_off);
			m[i]->pkt_len += m[i]->data_off;
			m[i]->data_off = 0;
		}
	}
	return got;
}

static const struct netdev_ops ops = { .kind = "packet", .rx_burst = rx_burst };
static struct netdev nd = { .ops = &ops, .nb_queues = 1 };
static uint8_t flat[70000], want[70000];

static uint32_t flatten(const struct rte_mbuf *m)
{
	uint32_t n = 0;
	unsigned segs = 0;

	for (const struct rte_mbuf *s = m; s; s = s->next, segs++) {
		if (s->data_off + s->data_len > s->buf_len || n + s->data_len > sizeof(flat))
			abort();
		memcpy(flat + n, rte_pktmbuf_mtod(s, void *), s->data_len);
		n += s->data_len;
	}
	if (n != m->pkt_len || segs != m->nb_segs)
		abort();
	return n;
}

/* A slot on the heap that ends where the frame ends, so that reading on shows. */
static uint8_t *fill_slot(struct bytes *b, uint32_t *frame_len, struct virtio_net_hdr *vh,
			  uint32_t *status, uint32_t *tag)
{
	uint8_t how = take8(b), more = take8(b);
	uint32_t len, given;
	struct tpacket2_hdr *h;
	uint8_t *slot;

	marks = (more & 0x80 ? RTE_MBUF_F_RX_L4_CKSUM_NONE : 0) |
		(more & 0x40 ? RTE_MBUF_F_RX_IP_CKSUM_NONE : 0);
	no_headroom = more & 0x20;
	vh->flags = more & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID);
	vh->gso_type = how & 1	 ? GSO_UDP_L4
		       : how & 2 ? VIRTIO_NET_HDR_GSO_TCPV4
				 : VIRTIO_NET_HDR_GSO_NONE;
	vh->hdr_len = 0;
	vh->gso_size = take16(b);
	vh->csum_start = how & 4 ? take16(b) : 34;
	vh->csum_offset = 6;
	*tag = take16(b);
	*status = TP_STATUS_USER | (how & 8 ? TP_STATUS_VLAN_VALID : 0) |
		  (how & 16 ? TP_STATUS_VLAN_TPID_VALID : 0) |
		  (how & 32 ? TP_STATUS_CSUM_VALID : 0);
	len = take16(b);
	given = (uint32_t)MIN((size_t)len, b->left);
	if (!(how & 64)) /* else the rest is a pattern: large frames from short inputs */
		len = given;
	slot = malloc(HEAD + len);
	h = (void *)slot;
	memset(h, 0, sizeof(*h));
	h->tp_status = *status;
	h->tp_mac = (uint16_t)HEAD;
	h->tp_snaplen = len;
	h->tp_len = how & 128 ? len + 1 : len;
	h->tp_vlan_tci = (uint16_t)*tag;
	h->tp_vlan_tpid = 0x88a8;
	memcpy(slot + sizeof(*h), vh, sizeof(*vh));
	for (uint32_t i = 0; i < len; i++)
		slot[HEAD + i] = i < given ? b->p[i] : (uint8_t)(i * 7 + (i >> 8));
	b->p += given;
	b->left -= given;
	*frame_len = h->tp_len == len ? len : 0;
	return slot;
}

/* The frame as it was on the wire: with the tag that the kernel took out. */
static uint32_t wire_form(const uint8_t *frame, uint32_t len, uint32_t status, uint32_t tag)
{
	uint32_t tpid = status & TP_STATUS_VLAN_TPID_VALID ? 0x88a8 : 0x8100;

	if (!(status & TP_STATUS_VLAN_VALID)) {
		memcpy(want, frame, len);
		return len;
	}
	memcpy(want, frame, 12);
	want[12] = (uint8_t)(tpid >> 8);
	want[13] = (uint8_t)tpid;
	want[14] = (uint8_t)(tag >> 8);
	want[15] = (uint8_t)tag;
	memcpy(want + 16, frame + 12, len - 12);
	return len + 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	uint8_t *ring[SLOTS];
	struct rte_mbuf *held[16];
	struct rte_mempool *pool = testenv_pool(0, 0);
	unsigned nb_held;

	if (!gz) {
		static struct shared two;

		gz = &two; /* all that steering asks */
		gz->nb_stacks = 2;
	}
	memset(&kq, 0, sizeof(kq));
	kq.slots = ring;
	kq.nb_slots = SLOTS;
	memset(nd.queues, 0, sizeof(nd.queues[0]));
	nd.queues[0].priv = &kq;
	nd.queues[0].pool = pool;
	nb_held = take8(&b) & 15;
	for (unsigned records = 0; b.left && records < 64; records++) {
		struct virtio_net_hdr vh;
		uint32_t len, status, tag, used = 0, sent = 0, hdr, slots = kq.head;
		uint64_t bad;
		bool done = false;

		ring[kq.head] = fill_slot(&b, &len, &vh, &status, &tag);
		for (unsigned i = 1; i < SLOTS; i++) { /* the others are the kernel's */
			ring[(slots + i) % SLOTS] = calloc(1, HEAD);
			((struct tpacket2_hdr *)(void *)ring[(slots + i) % SLOTS])->tp_status =
				TP_STATUS_KERNEL;
		}
		/* some buffers are elsewhere, sometimes all but a few */
		for (unsigned i = 0; i < nb_held; i++)
			held[i] = rte_pktmbuf_alloc(pool);
		bad = kq.rx_truncated;
		hdr = vh.csum_start + 8u;
		for (unsigned turns = 0; !done && turns < 70000; turns++) {
			struct rte_mbuf *m[2] = { NULL };
			uint16_t n = netdev_rx(&nd, 0, m, 2);

			if (n && !kif_rx_pending(&nd, 0) && kq.split_at)
				abort();
			for (uint16_t i = 0; i < n; i++) {
				uint32_t got = flatten(m[i]);

				if (no_headroom)
					abort();
				if (marks && (m[i]->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) ==
						     RTE_MBUF_F_RX_L4_CKSUM_NONE)
					abort();

				if (steer_target(m[i], 0) >= gz->nb_stacks)
					abort();
				if (vh.gso_type != GSO_UDP_L4) {
					if (got != wire_form(ring[slots] + HEAD, len, status,
							     tag) ||
					    memcmp(flat, want, got))
						abort();
				} else {
					uint32_t tagged = status & TP_STATUS_VLAN_VALID ? 4 : 0,
						 take = got - hdr - tagged;

					if (got <= hdr + tagged || take > vh.gso_size ||
					    hdr + used + take > len ||
					    memcmp(flat + tagged + hdr,
						   ring[slots] + HEAD + hdr + used, take))
						abort();
					used += take;
				}
				rte_pktmbuf_free(m[i]);
				sent++;
			}
			done = kq.head != slots;
		}
		if (!done) /* a slot that is never given back stops reception */
			abort();
		if (vh.gso_type == GSO_UDP_L4 ? sent && hdr + used != len
					      : !no_headroom && sent != (kq.rx_truncated == bad))
			abort();
		for (unsigned i = 0; i < nb_held; i++)
			rte_pktmbuf_free(held[i]);
		for (unsigned i = 0; i < SLOTS; i++)
			free(ring[i]);
		if (rte_mempool_in_use_count(pool))
			abort();
	}
	return 0;
}

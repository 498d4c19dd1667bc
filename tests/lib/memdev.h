/* memdev.h - an in-memory network device for stacks in virtual time.
 *
 * A memdev is a struct netdev with ops of its own. What the stack transmits is checked (lengths, checksums, offload
 * requests), brought into the form it would have on a wire (checksums filled in, TSO frames cut or marked) and then either
 * kept for the test (memdev_pop()) or handed to the wire (wire.h) that the device is attached to. What the test pushes, or the
 * wire delivers, is received by the stack as mbufs of the configured size. One thread.
 */
#ifndef GZ_TEST_MEMDEV_H
#define GZ_TEST_MEMDEV_H

#include "frame.h"
#include "prng.h"
#include "wire.h"

#include "netdev/netdev.h"

#include <stdio.h>

struct frame_fifo {
	struct frame *head, **tail;
	uint32_t n;
};

struct memdev_conf {
	uint8_t mac[6];	       /* all zero: 02:00:00:00:00:<number> */
	uint32_t mtu;	       /* 0: 1500 */
	bool tx_csum;	       /* the device fills in checksums; else the stack must */
	uint32_t tso_max_bytes; /* 0: no TSO; needs tx_csum */
	bool tso_carry;	       /* TSO frames cross the wire whole, as between virtio peers; else they are cut here */
	bool rx_csum;	       /* received checksums are verified by the device (GOOD or BAD); else UNKNOWN */
	bool rx_merge;	       /* netdev_rx() joins segments that arrive together (needs rx_csum to find any) */
	uint32_t syn_answers_per_s; /* as in struct netdev */
	bool linear_only;      /* one mbuf per transmitted frame (no RTE_ETH_TX_OFFLOAD_MULTI_SEGS) */
	uint16_t rx_seg_bytes; /* received frames come in mbufs of at most this many bytes; 0: the mbuf's room */
	uint16_t tx_hold;      /* transmitted mbufs are freed only when this many more were sent (a slow NIC ring), <= 64 */
	uint16_t tx_accept;    /* frames accepted per burst, 0: all */
};

#define MEMDEV_HOLD_MAX 64

struct memdev {
	struct netdev nd;
	struct memdev_conf conf;
	struct frame_fifo rx;	/* to be received by the stack */
	struct frame_fifo sent; /* transmitted, when there is no wire */
	struct wire *wire;
	uint8_t end; /* of wire */
	bool auto_arp; /* without a wire: answers who-has for every address but own_ip_be with peer_mac; not in sent */
	uint32_t own_ip_be;
	uint8_t peer_mac[6];
	struct rte_mbuf *hold[MEMDEV_HOLD_MAX];
	uint32_t hold_n, hold_at;
	uint64_t tx_frames, tx_bytes, rx_frames;
	uint32_t bad_frames;	/* transmitted frames that broke a rule: a bug of the stack. Messages on stderr */
	bool (*rx_starve)(void *arg); /* true: this receive finds no buffer; NULL never */
	void *rx_starve_arg;
	/* sees every frame: out = transmitted by this device */
	void (*tap)(void *arg, struct memdev *d, bool out, const struct frame *f);
	void *tap_arg;
	void (*watch)(void *arg, const struct frame *f); /* sees every transmitted frame, beside the tap */
	void *watch_arg;
};

/* Makes a device. pool: where received frames get their mbufs. */
void memdev_init(struct memdev *d, const struct memdev_conf *conf, struct rte_mempool *pool);
/* Frees frames and held mbufs. */
void memdev_fini(struct memdev *d);
/* The device's switches of offloads, applied to nd (may be called between rounds). */
void memdev_apply(struct memdev *d);
static inline struct memdev *memdev_of(struct netdev *nd) { return container_of(nd, struct memdev, nd); }
/* The next frame that was transmitted, or NULL; the caller frees it. */
struct frame *memdev_pop(struct memdev *d);
/* The stack will receive f (taken). */
void memdev_push(struct memdev *d, struct frame *f);
/* Releases mbufs that tx_hold keeps. */
void memdev_release_held(struct memdev *d);

/* Writes every frame that d sees to a pcap file (for people; a test that sets GZ_TEST_PCAP gets it from testenv). */
void memdev_pcap(struct memdev *d, FILE *f);

#endif

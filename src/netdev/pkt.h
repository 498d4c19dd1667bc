/* pkt.h - what this stack keeps about a packet beside DPDK's own fields: the mbuf is the packet type.
 *
 * struct pkt_meta is a dynamic field in the mbuf's second cache line; struct pkt_tx lies in the mbuf's private area,
 * used only while sent data waits to be acknowledged. Pools are made by mbuf_pool_create() alone, which reserves both.
 */
#ifndef GZ_NETDEV_PKT_H
#define GZ_NETDEV_PKT_H

#include "base/compiler.h"
#include "base/inbox.h"
#include "base/list.h"

#include <rte_mbuf.h>

/* Frames leave with Ethernet (14) + VLAN (4) + IPv6 (40) + TCP (60) = 118 bytes in front. */
#define PKT_HEADROOM RTE_PKTMBUF_HEADROOM
_Static_assert(PKT_HEADROOM >= 118 + 10, "headers and a virtio-net header fit in front of data");

struct pkt_meta {
	struct inbox_node q; /* link in an inbox, a receive queue, or a send queue */
	uint32_t seq;	     /* TCP: sequence number of the first payload byte */
	uint16_t off;	     /* sent data: offset of the payload from buf_addr */
	uint16_t len;	     /* sent data: payload bytes in this mbuf */
	uint64_t time_us;    /* received: when it came from the NIC; sent: when last transmitted */
};

extern int pkt_meta_offset; /* set once by pkt_init() */
extern unsigned pkt_pool_fallbacks; /* pools made without "lf_stack" because the plug-in is missing */

static force_inline struct pkt_meta *pkt_meta(struct rte_mbuf *m)
{
	return (struct pkt_meta *)(void *)((char *)m + pkt_meta_offset);
}

static force_inline struct rte_mbuf *pkt_of_node(struct inbox_node *n)
{
	return (struct rte_mbuf *)(void *)((char *)n - pkt_meta_offset);
}

/* Private area of every mbuf: bookkeeping of a sent segment, for the retransmission queue. */
struct pkt_tx {
	/* delivery-rate sample (tcp/rate.h), as the connection stood when this was last sent */
	uint64_t delivered;	 /* bytes delivered */
	uint64_t delivered_us;	 /* when they were; 0: this was sampled already */
	uint32_t delivered_ce;	 /* of them, reported as CE-marked */
	uint32_t first_tx_us;	 /* low half of the time when the flight began that its sample will span */
	uint8_t flags;		 /* PKT_TX_* , see tcp/tcp_int.h */
	uint8_t push;		 /* TCP, PKT_PUSH_*: it leaves with PSH */
	uint16_t holder;	 /* index + 1 of a client thread's record that has this buffer in its hands: see sock/sweep.c; else 0 */
	union {
		/* datagrams: address the application gave to sendto(), or the source of one received */
		uint8_t addr[16];
		struct list node; /* TCP: retransmissions in flight, in the order in which they left */
	};
	uint16_t port_be;
	uint8_t tos, ttl;
	uint32_t ifindex;
	uint32_t local_be; /* received: IPv4 destination (IP_PKTINFO) */
};
_Static_assert(sizeof(struct pkt_tx) <= 64, "one cache line");

#define PKT_PUSH_END 1u /* a write ended in it, or a timer lets it go */
#define PKT_PUSH_EOR 4u /* MSG_EOR: what follows begins another segment; set by the writer */
#define PKT_PUSH_SYN 2u /* a SYN brought it, in vain: no small segment to Nagle */

#define PKT_PRIV_BYTES 64

/* Data room of the buffers that large writes go into where the device cuts segments: nine segments of a usual MTU, five of them a frame, so that
 * frames are made of whole buffers; and less than the 16 KB that many NICs take by one descriptor. */
#define PKT_LARGE_DATA 13140u
/* One of them for so many usual ones. */
#define PKT_LARGE_SHARE 64u

static force_inline bool pkt_is_large(const struct rte_mbuf *m)
{
	return m->buf_len > PKT_LARGE_DATA;
}

static force_inline struct pkt_tx *pkt_tx(struct rte_mbuf *m)
{
	return (struct pkt_tx *)(void *)(m + 1);
}

static force_inline struct rte_mbuf *pkt_of_tx(struct pkt_tx *x)
{
	return (struct rte_mbuf *)(void *)x - 1;
}

/* Registers the dynamic field. 0 or -errno. After EAL, before any pool. */
int pkt_init(void);
/* A pool of count mbufs of data_bytes data room (headroom extra), lock-free common pool ("lf_stack"), caches
 * per stack. NULL + rte_errno. Home, boot only. */
struct rte_mempool *mbuf_pool_create(const char *name, uint32_t count, uint16_t data_bytes, int socket_id);
/* A pool of large buffers, without caches: few are in use at a time, and the one that was freed last is the warmest. NULL + rte_errno. Home, boot
 * only. */
struct rte_mempool *mbuf_large_pool_create(const char *name, uint32_t count, int socket_id);

#endif

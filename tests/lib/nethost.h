/* nethost.h - hosts that consist of link, ip, udp and ports alone: what the rooms above and below would do is recorded here. For unit
 * tests and fuzz targets of these rooms; no device, no run time, virtual time in st->now_us. One thread.
 *
 * Frames that a host sends are kept flat, with the checksums that the device would have filled in. Every mbuf must be back when
 * nethost_close() is called.
 */
#ifndef GZ_TEST_NETHOST_H
#define GZ_TEST_NETHOST_H

#include "ip/ip4.h"
#include "link/link.h"
#include "sock/sock.h"
#include "udp/udp.h"

#define NETHOST_MAX 4
#define NETHOST_OUT 8192
#define NETHOST_DGRAMS 256

struct nethost_frame {
	uint32_t len;
	uint8_t *data;
};

/* What sock_up_datagram() was given. */
struct nethost_dgram {
	struct sock *s;
	uint32_t len;
	uint8_t *data;
	struct pkt_tx info;
};

struct nethost {
	struct stack *st;
	struct netdev nd;
	struct nethost_frame out[NETHOST_OUT];
	unsigned out_first, out_len;
	bool tx_stuck; /* the device takes nothing */
};

struct nethost_up {
	struct nethost_dgram dgram[NETHOST_DGRAMS];
	unsigned dgrams;
	unsigned tcp_segs;
	uint8_t *tcp_data; /* the last segment */
	uint32_t tcp_len;
	uint8_t tcp_tos;
	unsigned tcp_errors, sock_errors;
	int tcp_err, sock_err;
	bool tcp_hard;
	uint32_t tcp_mtu, tcp_seq;
	uint16_t tcp_lport_be;
	struct sock *sock_err_on;
	unsigned sock_err_entries; /* of error queues */
	struct udp_error sock_err_entry; /* the last, and how much was quoted behind it */
	uint32_t sock_err_rest;
	unsigned logs;
};

extern struct nethost nethost[NETHOST_MAX];
extern struct nethost_up up;

/* EAL and the pool, once per program. pool_mbufs 0: 4,096. */
void nethost_eal(uint32_t pool_mbufs);
/* n hosts with addresses 10.0.0.1 ..., mask /24, gateway 10.0.0.254, MTU 1500, MAC 02:00:00:00:00:(1+i). one_device: all are stacks of
 * host 0's device and address. */
void nethost_open(unsigned n, bool one_device);
/* Frees everything; returns the number of mbufs that are missing. */
unsigned nethost_close(void);
/* Passes a flat frame to host h, in segments of at most seg_bytes (0: one where it fits). */
void nethost_push(unsigned h, const void *data, uint32_t len, uint32_t seg_bytes);
/* The rest of a round: timers due at now_us + pass_us (in order of time), replies, loop back. */
void nethost_run(unsigned h, uint64_t pass_us);
/* The next frame sent by h; NULL when there is none. Valid until the next call. */
const struct nethost_frame *nethost_pop(unsigned h);
/* Throws away what was sent. */
void nethost_discard(unsigned h);
/* A chain of len bytes in mbufs of seg_bytes with full headroom in the first. */
struct rte_mbuf *nethost_chain(const void *data, uint32_t len, uint32_t seg_bytes);
/* A fresh socket object (not in any table). */
struct sock *nethost_sock(int family, int type);
void nethost_up_clear(void);

/* Independent reference: the internet checksum, byte by byte. */
uint16_t naive_csum(const uint8_t *p, size_t n, uint32_t start);

/* Builders: flat bytes, checksums right; return the length. */
struct net_ip {
	uint32_t src_be, dst_be;
	uint8_t proto, ttl, tos;
	uint16_t id, frag; /* host order, as in the header */
	uint8_t opts[40];
	uint8_t opts_len; /* a multiple of 4 */
};
#define MAC_HOST(i) ((const uint8_t[6]){ 2, 0, 0, 0, 0, (uint8_t)(1 + (i)) })
#define MAC_PEER(i) ((const uint8_t[6]){ 2, 0, 0, 0, 1, (uint8_t)(i) })
uint32_t put_eth(uint8_t *p, const uint8_t *dst, const uint8_t *src, uint16_t type);
uint32_t put_ip4(uint8_t *p, const struct net_ip *ip, uint32_t payload_len);
uint32_t put_udp(uint8_t *p, uint32_t src_be, uint32_t dst_be, uint16_t sport, uint16_t dport, const void *data, uint32_t len);
uint32_t put_icmp(uint8_t *p, uint8_t type, uint8_t code, uint32_t rest, const void *data, uint32_t len);
uint32_t put_arp(uint8_t *p, uint16_t op, const uint8_t *sha, uint32_t spa_be, const uint8_t *tha, uint32_t tpa_be);
/* network order, usable in initialisers (little-endian machines) */
#define IP(a, b, c, d) ((uint32_t)(d) << 24 | (uint32_t)(c) << 16 | (uint32_t)(b) << 8 | (uint32_t)(a))
/* Makes host h know where addr is, as if it had asked and been answered. */
void nethost_know(unsigned h, uint32_t addr_be, const uint8_t *mac);

#endif

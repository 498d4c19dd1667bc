/* frame.h - frames as tests see them: flat bytes; builders and parsers for Ethernet, ARP, IPv4, TCP, UDP, ICMP.
 *
 * The code is independent of the stack's own parsers on purpose: the two check each other.
 * Addresses in struct seg are network order, ports and numbers host order. One thread.
 */
#ifndef GZ_TEST_FRAME_H
#define GZ_TEST_FRAME_H

#include "base/compiler.h"

#include <arpa/inet.h>
#include <netinet/in.h>

struct frame {
	struct frame *next;
	uint64_t time_us; /* when it was sent, or is due */
	uint64_t order;
	uint32_t len;
	uint32_t cap;
	uint16_t gso_size; /* > 0: carried whole although larger than the MTU (virtio style) */
	bool intact;	   /* its sums were found right when it was sent, and nothing has touched it since */
	uint8_t data[];
};

#define TH_FIN 0x01u
#define TH_SYN 0x02u
#define TH_RST 0x04u
#define TH_PSH 0x08u
#define TH_ACK 0x10u
#define TH_URG 0x20u
#define TH_ECE 0x40u
#define TH_CWR 0x80u

#define SEG_ETH_BYTES 14u

enum seg_kind { SEG_OTHER, SEG_ARP, SEG_TCP, SEG_UDP, SEG_ICMP, SEG_IP, SEG_FRAG };

struct seg_opts {
	bool has_mss, has_ws, has_sackok, has_ts, has_fo;
	uint8_t ws;
	uint16_t mss;
	uint32_t tsval, tsecr;
	bool fo_exp;	/* the experimental form of the Fast Open option (RFC 7413 Appendix A) */
	uint8_t fo_len; /* cookie bytes, 0: a request for one */
	uint8_t fo[16];
	uint8_t nsack;
	struct {
		uint32_t left, right;
	} sack[4];
	uint8_t kinds[40]; /* parse: kinds in the order seen, NOPs included; build: order wanted, empty: usual order */
	uint8_t nkinds;
	uint8_t raw[40]; /* build: raw_len > 0 replaces all of the above; parse: the bytes */
	uint8_t raw_len;
	bool malformed; /* parse */
};

struct seg {
	enum seg_kind kind;
	uint8_t smac[6], dmac[6];
	uint16_t ethertype;
	/* IPv4 */
	uint32_t saddr, daddr;
	uint8_t proto, ttl, tos;
	uint16_t ip_id, frag; /* frag: flags and offset as in the header, host order */
	/* TCP, UDP */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint16_t win, urg;
	uint8_t flags;
	struct seg_opts opt;
	/* ICMP */
	uint8_t icmp_type, icmp_code;
	uint32_t icmp_rest; /* host order */
	/* ARP */
	uint16_t arp_op;
	uint8_t arp_sha[6], arp_tha[6];
	uint32_t arp_spa, arp_tpa;
	/* payload: borrowed */
	const uint8_t *data;
	uint32_t len;
	/* parse */
	bool ip_csum_ok, l4_csum_ok;
	/* build: leave checksums wrong */
	bool bad_ip_csum, bad_l4_csum;
};

/* An empty frame with room for cap bytes, all zero. free() it, or give it to a memdev. */
struct frame *frame_alloc(uint32_t cap);
/* The same, its bytes not set. */
struct frame *frame_new(uint32_t cap);
/* As free(), and quicker for what comes from frame_new() and frame_dup(). */
void frame_free(struct frame *f);
struct frame *frame_dup(const struct frame *f);
/* Builds a complete frame, checksums included. Zero fields get defaults: ttl 64, kind by proto. */
struct frame *seg_build(const struct seg *s);
/* Parses a frame; false when it is too short or inconsistent (then *why says what). s->data points into f. */
bool seg_parse(const struct frame *f, struct seg *s, const char **why);
/* Like tcpdump, numbers relative to the bases given. Returns buf. */
char *seg_print(const struct seg *s, uint32_t seq_base, uint32_t ack_base, char *buf, size_t bytes);

/* RFC 1071 sum over bytes, folded, not inverted. */
uint16_t frame_sum(const void *p, size_t n, uint32_t sum);
/* Pseudo-header sum of the L4 part starting at ip header `ip` (host-order fold). */
uint32_t frame_pseudo_sum(const uint8_t *ip, uint8_t proto, uint16_t l4_len);
/* Recomputes IPv4 and L4 checksums of a flat frame in place. */
void frame_fix_csums(uint8_t *eth, uint32_t len);

#endif

/* hdr.h - the TCP header on the wire (RFC 9293 §3.1) and writing its checksum for the offload convention of netdev.h. */
#ifndef GZ_TCP_HDR_H
#define GZ_TCP_HDR_H

#include "base/csum.h"
#include "ip/addr.h"

#define TCP_FIN 0x01u
#define TCP_SYN 0x02u
#define TCP_RST 0x04u
#define TCP_PSH 0x08u
#define TCP_ACK 0x10u
#define TCP_URG 0x20u
#define TCP_ECE 0x40u
#define TCP_CWR 0x80u

#define TCP_HDR_MIN 20u
#define TCP_HDR_MAX 60u
#define TCP_PROTO 6u

struct tcp_hdr {
	uint16_t sport_be, dport_be;
	uint32_t seq_be, ack_be;
	uint8_t off; /* data offset in words << 4 */
	uint8_t flags;
	uint16_t wnd_be, csum, urg_be;
} gz_packed;
_Static_assert(sizeof(struct tcp_hdr) == TCP_HDR_MIN, "wire format");

static force_inline uint32_t get_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return ntohl(v);
}

static force_inline void put_be32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, 4);
}

/* Pseudo-header sum for a segment of l4_len bytes between a and b, either family, not inverted (RFC 9293 §3.1, RFC 8200 §8.1).
 * The IPv4-mapped prefix must not be summed. */
static force_inline uint64_t tcp_pseudo_sum(const struct ip_addr *a, const struct ip_addr *b, uint32_t l4_len)
{
	if (likely(ip_addr_is_v4(a)))
		return csum_pseudo4(ip_addr_get_v4(a), ip_addr_get_v4(b), TCP_PROTO, 0) +
		       (l4_len > 0xffff ? (uint64_t)htonl(l4_len) : htons((uint16_t)l4_len));
	return csum_add(csum_add(csum_add(a->d[0], a->d[1]), csum_add(b->d[0], b->d[1])),
			(uint64_t)htonl(l4_len) + htonl(TCP_PROTO));
}

#endif

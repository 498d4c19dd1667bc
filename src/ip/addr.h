/* addr.h - an IP address of either family in one form: IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2), so that keys and
 * comparisons need no family. Network byte order throughout. */
#ifndef GZ_IP_ADDR_H
#define GZ_IP_ADDR_H

#include "base/compiler.h"

#include <arpa/inet.h>
#include <string.h>

struct ip_addr {
	union {
		uint8_t b[16];
		uint32_t w[4];
		uint64_t d[2];
	};
};
_Static_assert(sizeof(struct ip_addr) == 16, "key material");

static force_inline struct ip_addr ip_addr_v4(uint32_t addr_be)
{
	struct ip_addr a = { .d = { 0, 0 } };

	a.w[2] = htonl(0xffff);
	a.w[3] = addr_be;
	return a;
}

static force_inline struct ip_addr ip_addr_any(void) { return (struct ip_addr){ .d = { 0, 0 } }; }
static force_inline bool ip_addr_eq(const struct ip_addr *x, const struct ip_addr *y)
{
	return x->d[0] == y->d[0] && x->d[1] == y->d[1];
}
static force_inline bool ip_addr_is_v4(const struct ip_addr *a)
{
	return a->d[0] == 0 && a->w[2] == htonl(0xffff);
}
/* :: or ::ffff:0.0.0.0 */
static force_inline bool ip_addr_is_any(const struct ip_addr *a)
{
	return a->d[0] == 0 && a->w[3] == 0 && (a->w[2] == 0 || a->w[2] == htonl(0xffff));
}
static force_inline uint32_t ip_addr_get_v4(const struct ip_addr *a) { return a->w[3]; }

static force_inline bool ip4_is_multicast(uint32_t addr_be)
{
	return (addr_be & htonl(0xf0000000)) == htonl(0xe0000000);
}

static force_inline bool ip4_is_loopback_net(uint32_t addr_be)
{
	return (addr_be & htonl(0xff000000)) == htonl(0x7f000000);
}

#endif

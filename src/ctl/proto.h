/* proto.h - what goes over the control socket, shared by library and tools.
 *
 * AF_UNIX stream; each message is a length (4 bytes, network order) and that many bytes of JSON. The client asks, the server answers, any
 * number of times. A request is an object with "cmd"; an answer has "ok": true and the view's members, or "ok": false and "error": "what
 * failed: why: what to do". Both sides refuse longer messages than these.
 */
#ifndef GZ_CTL_PROTO_H
#define GZ_CTL_PROTO_H

#include "base/compiler.h"

#define CTL_REQUEST_MAX (64u << 10)
#define CTL_REPLY_MAX (16u << 20)
#define CTL_HEAD 4u

static force_inline uint32_t ctl_get_length(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static force_inline void ctl_put_length(uint8_t *p, uint32_t n)
{
	p[0] = (uint8_t)(n >> 24);
	p[1] = (uint8_t)(n >> 16);
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
}

#endif

/* isn.c - numbers that an outsider must not guess: initial sequence numbers (RFC 6528 §3) and timestamp offsets (RFC 7323 §5.4,
 * §7). Both are keyed hashes of the 4-tuple, so that a later connection with the same 4-tuple continues above the earlier
 * one (RFC 6191 relies on it). Called when a connection starts; owner of the stack. */
#include "tcp/tcp_int.h"

#include "base/siphash.h"

static uint64_t keyed(const struct stack *st, const struct tcp_key *k, uint32_t what)
{
	struct {
		struct ip_addr laddr, raddr;
		uint16_t lport_be, rport_be;
		uint32_t what;
	} in = { k->laddr, k->raddr, k->lport_be, k->rport_be, what };

	return siphash24(st->secret, &in, sizeof(in));
}

/* ISN = M + F(4-tuple, secret), M a clock of 4 us ticks */
uint32_t tcp_isn(const struct stack *st, const struct tcp_key *k)
{
	return (uint32_t)keyed(st, k, 1) + (uint32_t)(st->now_us / 4);
}

uint32_t tcp_ts_offset(const struct stack *st, const struct tcp_key *k)
{
	return (uint32_t)keyed(st, k, 2);
}

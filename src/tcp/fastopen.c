/* fastopen.c - TCP Fast Open, the server's side (RFC 7413 §4.1.1, §4.2.2): data in a SYN reaches the application before the handshake ends. Called by listen.c for
 * SYNs, slow.c and conn.c for the connections made of them; owner of the stack. Off unless the configuration and the listener (TCP_FASTOPEN) say so.
 *
 * A cookie is a keyed hash of the addresses (§4.1.2), so no state is kept. Its key is the listener's, the configuration's, or one that changes with each period;
 * the key before counts as well. A SYN with a valid cookie makes the connection at once. Its SYN record lives on beside it as the owner of the SYN-ACK: the
 * record's timer repeats it, until an ACK of ours comes (tcp_fastopen_acked()) or the connection is gone. TCP_SLOW_TFO marks such a connection.
 *
 * DEVIATION(RFC 7413 §5.1): connections that are reset before they are acknowledged leave the count of pending ones at once, not after a
 * while; what they can cost stays bounded by TCP_FASTOPEN's queue length.
 */
#include "tcp/tcp_int.h"

#include "base/siphash.h"

#define KEY_PERIOD_US (3600ull * US_PER_S)

_Static_assert(TCP_FO_COOKIE >= 4 && TCP_FO_COOKIE <= 16, "RFC 7413 §4.1.1");

/* Linux's: of the two IPv4 addresses as they stand in the packet. */
static void cookie_of(const uint64_t key[2], const struct tcp_seg *g, uint8_t cookie[TCP_FO_COOKIE])
{
	uint32_t in[2] = { ip_addr_get_v4(g->src), ip_addr_get_v4(g->dst) };
	uint64_t h = htole64(siphash24(key, in, sizeof(in)));

	memcpy(cookie, &h, TCP_FO_COOKIE);
}

/* Without keys of the application's or the configuration's: of the hour, and of the one before. */
static void keys_of(const struct stack *st, const struct tcb *l, struct tcp_fo_keys *k)
{
	uint64_t period = st->now_us / KEY_PERIOD_US;

	*k = l->fo_keys.n ? l->fo_keys : st->tcp->conf.fo_keys;
	if (k->n)
		return;
	k->n = TCP_FO_KEYS;
	for (unsigned i = 0; i < TCP_FO_KEYS; i++)
		for (unsigned w = 0; w < 2; w++) {
			uint64_t in[2] = { period - i, 0x7f0 + w };

			k->key[i][w] = siphash24(st->secret, in, sizeof(in));
		}
}

int tcp_fastopen_set_keys(struct tcb *t, const void *keys, size_t bytes)
{
	if (t->state != TCPS_CLOSED && t->state != TCPS_LISTEN)
		return -EINVAL;
	if (bytes != TCP_FO_KEY_BYTES && bytes != TCP_FO_KEYS * TCP_FO_KEY_BYTES)
		return -EINVAL;
	for (unsigned i = 0; i < bytes / 8; i++) {
		uint64_t w;

		memcpy(&w, (const char *)keys + 8 * i, 8);
		t->fo_keys.key[i / 2][i % 2] = le64toh(w);
	}
	t->fo_keys.n = bytes / TCP_FO_KEY_BYTES;
	return 0;
}

size_t tcp_fastopen_get_keys(const struct stack *st, const struct tcb *t, void *out)
{
	static const struct tcb no_listener;
	struct tcp_fo_keys k;

	keys_of(st, t->state == TCPS_CLOSED || t->state == TCPS_LISTEN ? t : &no_listener, &k);
	for (unsigned i = 0; i < 2 * k.n; i++) {
		uint64_t w = htole64(k.key[i / 2][i % 2]);

		memcpy((char *)out + 8 * i, &w, 8);
	}
	return k.n * TCP_FO_KEY_BYTES;
}

enum tcp_fo tcp_fastopen_syn(struct stack *st, const struct sock *l, const struct tcp_seg *g, uint8_t fresh[TCP_FO_COOKIE])
{
	uint8_t old[TCP_FO_COOKIE];
	struct tcp_fo_keys k;
	unsigned conf = st->tcp->conf.fastopen;
	uint32_t room = l->opt.fastopen_qlen;

	if (!(conf & TCP_FO_SERVER))
		return TCP_FO_NONE;
	if (!room && conf & TCP_FO_EVERY_LISTENER)
		room = atomic_load_explicit(&l->backlog, memory_order_relaxed);
	if (atomic_load_explicit(&l->tcb.tfo_qlen, memory_order_relaxed) >= room)
		return TCP_FO_NONE;
	/* RFC 7413 §2: for networks where nobody forges addresses, and applications that bear a repeated SYN */
	if ((conf & TCP_FO_SERVER_BARE || l->opt.fastopen_no_cookie) && (g->len || g->o.has & TCP_OPT_FO))
		return TCP_FO_VALID;
	if (!(g->o.has & TCP_OPT_FO))
		return TCP_FO_NONE;
	keys_of(st, &l->tcb, &k);
	cookie_of(k.key[0], g, fresh);
	if (g->o.fo_len == TCP_FO_COOKIE) {
		if (!memcmp(g->o.fo, fresh, TCP_FO_COOKIE))
			return TCP_FO_VALID;
		if (k.n > 1) {
			cookie_of(k.key[1], g, old);
			if (!memcmp(g->o.fo, old, TCP_FO_COOKIE))
				return TCP_FO_VALID_OLD;
		}
	}
	return TCP_FO_GRANT;
}

static struct tcp_syn *record_of(struct stack *st, const struct tcb *t)
{
	struct tcp_key *k = tcp_table_find(&st->tcp->syns, t->hash, &t->laddr, &t->raddr, t->lport_be, t->rport_be);

	return k ? container_of(k, struct tcp_syn, key) : NULL;
}

void tcp_fastopen_acked(struct stack *st, struct tcb *t)
{
	struct tcp_syn *r = record_of(st, t);

	t->slow &= ~TCP_SLOW_TFO;
	if (!r)
		return;
	if (r->retries == 0)
		tcp_rtt_sample(st, t, MAX(st->now_us - r->sent_us, 1u));
	tcp_syn_free(st, r);
}

void tcp_fastopen_gone(struct stack *st, struct tcb *t)
{
	struct tcp_syn *r = record_of(st, t);

	t->slow &= ~TCP_SLOW_TFO;
	if (r)
		tcp_syn_free(st, r);
}

void tcp_fastopen_syn_again(struct stack *st, struct tcb *t)
{
	struct tcp_syn *r = record_of(st, t);

	if (r)
		tcp_synack_again(st, r);
}

/* frto.c - was the timeout spurious? (RFC 5682 §2.1, and §3.1 for connections with SACK.) Called by recovery.c while LOSS lasts. Owner of the stack.
 *
 * After the timeout the first segment goes again. If the next ACK moves SND.UNA, but not past all that was out, up to two new segments go instead of
 * more old ones: only if the originals were late will the ACK after that cover or SACK something that was never repeated.
 * Without new data, or without room in the peer's window, recovery goes on as usual.
 */
#include "tcp/tcp_int.h"

/* §2.1 step 1: not when another recovery is under way, but again when the same segment times out again. */
void tcp_frto_start(struct tcb *t, bool first)
{
	t->frto = first;
}

enum tcp_frto_verdict tcp_frto_on_ack(struct tcb *t, const struct tcp_ack *a, bool recovered)
{
	/* step 3.b: something arrived that was never repeated */
	if (a->orig_arrived)
		return TCP_FRTO_SPURIOUS;
	if (seq_gt(t->snd_nxt, t->recover)) {
		/* step 3.a: the new data arrived and the old did not */
		if (a->sacked || a->dup)
			t->frto = 0;
	} else if (a->acked && !recovered) {
		t->recover = t->snd_nxt;
		/* step 2.b */
		if (t->sq_next && seq_gt(t->snd_una + t->snd_wnd, t->snd_nxt))
			return TCP_FRTO_TRY_NEW;
		t->frto = 0;
	}
	return TCP_FRTO_GO_ON;
}

/* prr.c - proportional rate reduction (RFC 6937, RFC 9937): in Recovery and CWR the window falls to ssthresh in step with what arrives at the peer, and
 * never by standing still or in a burst. Called by recovery.c (begins, ends), ack.c (every ACK between), output.c (counts what
 * leaves), ecn. Algorithms that own cwnd set it themselves. Owner of the stack.
 *
 *   above ssthresh   sent so far = delivered so far * ssthresh / window at the beginning
 *   below            one segment more per good ACK than is delivered (slow start) while the ACK moves SND.UNA and shows no new loss, else as
 *                    many as are delivered, until ssthresh is reached
 */
#include "tcp/tcp_int.h"

/* A reduction begins: ssthresh by the algorithm, cwnd follows in steps. */
void tcp_prr_begin(struct stack *st, struct tcb *t)
{
	t->recover = t->snd_nxt;
	t->tlp_out = 0;
	t->prior_cwnd = MAX(t->cwnd, 1u);
	t->prr_delivered = t->prr_out = 0;
	t->ssthresh = MAX(t->cc->ssthresh(st, t), TCP_CWND_MIN_SEGS * t->mss);
	tcp_ecn_reduced(t);
}

void tcp_prr_on_ack(struct tcb *t, uint32_t delivered, uint32_t lost, bool una_moved)
{
	uint32_t pipe = tcp_pipe(t), mss = t->mss;
	int64_t send, room = (int64_t)t->ssthresh - pipe;

	if (!delivered || !t->prior_cwnd)
		return;
	t->prr_delivered += delivered;
	if (room < 0) {
		/* rounded up to whole segments, as if counted in them */
		uint64_t due = ((uint64_t)t->ssthresh * t->prr_delivered + t->prior_cwnd - 1) / t->prior_cwnd;

		send = (int64_t)((due + mss - 1) / mss * mss) - t->prr_out;
	} else {
		send = MAX((int64_t)t->prr_delivered - t->prr_out, (int64_t)delivered);
		if (una_moved && !lost)
			send += mss;
		send = MIN(send, room);
	}
	/* the first retransmission leaves whatever the window says (RFC 5681 §3.2 step 3) */
	send = MAX(send, t->prr_out ? 0 : (int64_t)mss);
	t->cwnd = (uint32_t)MIN(pipe + send, (int64_t)TCP_CWND_MAX);
}

void tcp_prr_end(struct tcb *t)
{
	if (t->cc->owns_cwnd)
		return;
	if (t->ssthresh < TCP_SSTHRESH_INF && (t->ca_state == TCP_CA_REDUCED || t->undo_ok))
		t->cwnd = t->ssthresh;
}

/* The network says that it is congested (RFC 3168 §6.1.2): once per window, nothing is retransmitted, nothing undone. */
void tcp_cwr_enter(struct stack *st, struct tcb *t)
{
	t->prior_ssthresh = 0;
	if (t->ca_state >= TCP_CA_REDUCED)
		return;
	t->undo_ok = 0;
	tcp_prr_begin(st, t);
	tcp_ca_set_state(st, t, TCP_CA_REDUCED);
	tcp_slow_loss_update(t);
}

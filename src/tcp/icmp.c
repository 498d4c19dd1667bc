/* icmp.c - ICMP errors about our segments (RFC 1122 §4.2.3.9, RFC 5927 §4, RFC 5461). Called by ip after it validated the message and found the quoted
 * header; owner of the stack. Packet-too-big is noted for the path; adapting to it is a file of its own. */
#include "tcp/tcp_int.h"

void tcp_on_icmp_error(struct stack *st, const struct ip_addr *local, const struct ip_addr *remote, uint16_t lport_be,
		       uint16_t rport_be, uint32_t seq, int err, bool hard, uint32_t mtu)
{
	uint32_t hash = tcp_key_hash(st->secret, local, remote, lport_be, rport_be);
	struct tcb *t = tcp_find(st, local, remote, lport_be, rport_be, hash);
	struct tcp_key *k;

	if (!t) {
		k = tcp_table_find(&st->tcp->syns, hash, local, remote, lport_be, rport_be);
		/* nobody is at the other end of a half-open connection; the quoted number shows that it saw our SYN-ACK */
		if (k && hard && container_of(k, struct tcp_syn, key)->iss == seq) {
			st->mib.tcp_attempt_fail++;
			tcp_syn_free(st, container_of(k, struct tcp_syn, key));
		}
		return;
	}
	/* RFC 5927 §4.1: only about data in flight, which an outsider can hardly guess */
	if (!seq_in(seq, t->snd_una, t->snd_nxt) && !(seq == t->snd_una && t->state == TCPS_SYN_SENT))
		return;
	if (mtu) {
		/* RFC 1191 §3: never below 68 */
		if (mtu >= 68 && mtu < ip4_mtu(st, &t->route)) {
			t->route.pmtu_bytes = mtu;
			if (t->state >= TCPS_ESTABLISHED) {
				tcp_set_mss(st, t);
				/* what was too big goes again in smaller pieces (send_lost splits) without a loss of cwnd */
				tcp_scoreboard_all_lost(t);
				if (t->ca_state == TCP_CA_OPEN) {
					t->ca_state = TCP_CA_RECOVERY;
					t->recover = t->snd_nxt;
					t->prior_cwnd = 0;
					t->ssthresh = MAX(t->cwnd, TCP_CWND_MIN_SEGS * t->mss);
				}
				tcp_slow_loss_update(t);
				tcp_mark_output(st, t, TCP_OUT_REXMIT);
			}
		}
		return;
	}
	if (t->state == TCPS_SYN_SENT) {
		/* DEVIATION(RFC 9293 §3.9.2.2): soft errors too, as Linux: who connects wants to try the next address now */
		st->mib.tcp_attempt_fail++;
		tcp_conn_gone(st, t, err);
		return;
	}
	/* RFC 5461 §4: a synchronised connection survives; the error explains a later timeout, unless something is acknowledged before */
	t->soft_err = (uint8_t)err;
	t->soft_err_una = t->snd_una;
	sock_up_error(st, sock_of_tcb(t), err, true);
}

/* icmp.c - ICMP errors about our segments (RFC 1122 §4.2.3.9, RFC 5927 §4, RFC 5461). Called by ip after it validated the message and found the quoted
 * header; owner of the stack. "Fragmentation needed" is pmtu.c's. */
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
		if (k && mtu == 0 && hard && container_of(k, struct tcp_syn, key)->iss == seq) {
			st->mib.tcp_attempt_fail++;
			tcp_syn_free(st, container_of(k, struct tcp_syn, key));
		}
		return;
	}
	/* RFC 5927 §4.1: only about data in flight, which an outsider can hardly guess */
	if (!seq_in(seq, t->snd_una, t->snd_nxt) && !(seq == t->snd_una && t->state == TCPS_SYN_SENT)) {
		st->mib.tcp_icmp_ignored++;
		return;
	}
	if (mtu) {
		tcp_pmtu_told(st, t, mtu);
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

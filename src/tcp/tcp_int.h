/* tcp_int.h - what the files of src/tcp share. One file per mechanism:
 *
 *   input.c   predicted path, parsing, lookup         slow.c    RFC 9293 §3.10.7 in its order
 *   ack.c     acknowledgements, window, RTT samples   sack.c    scoreboard of the sender (RFC 2018)
 *   recovery.c  states of loss recovery, undo         reass.c   out-of-order queue, SACK blocks to send
 *   rack.c    what is lost (RFC 8985 §6)              tlp.c     loss probes (RFC 8985 §7)
 *   prr.c     the window while it falls (RFC 6937)    frto.c    spurious timeouts (RFC 5682)
 *   sendq.c   the send queue                          output.c  what may go, building segments
 *   timer.c   deadlines                               rtt.c     RFC 6298
 *   listen.c  SYN records                             timewait.c  TIME_WAIT records
 *   reply.c   packets without a connection            isn.c     initial sequence numbers, timestamp offsets
 *   syncookie.c  what a full SYN queue answers         ecn.c     congestion marks      fastopen.c, fastopen_client.c  data in SYNs
 *   rate.c    delivery-rate samples                   pace.c    pacing
 *   cc*.c     congestion control                      drs.c     receive window and its tuning
 *   conn.c    life of a connection, down-calls        info.c    tcp_info, names      icmp.c  ICMP errors
 *   pmtu.c    path MTU, probing                       pressure.c  what goes when buffers are short
 *
 * All of it runs in the owner of the stack.
 */
#ifndef GZ_TCP_TCP_INT_H
#define GZ_TCP_TCP_INT_H

#include "base/mbufs.h"
#include "base/seq.h"
#include "sock/sock_up.h"
#include "tcp/cc.h"
#include "tcp/hdr.h"
#include "tcp/opts.h"
#include "tcp/records.h"
#include "tcp/table.h"
#include "tcp/tcp.h"

/* pkt_tx(m)->flags of a queued mbuf */
#define PKT_TX_SENT 0x01u    /* has left at least once */
#define PKT_TX_SACKED 0x02u
#define PKT_TX_LOST 0x04u    /* deemed lost, not yet acknowledged */
#define PKT_TX_REXMIT 0x08u  /* a retransmission is in flight */
#define PKT_TX_EVER_REXMIT 0x10u /* Karn: no RTT sample from it */
#define PKT_TX_APP_LIMITED 0x20u /* sent while the application was what limited the sender */
#define PKT_TX_RELOST 0x40u  /* the retransmission was lost too: it is on tcb.relost */
#define PKT_TX_HEAD 0x80u    /* first of a segment (or frame of segments) as last sent */

#define TCP_RTO_MIN_US 200000u
#define TCP_RTO_INIT_US 1000000u /* RFC 6298 §2.1 */
#define TCP_RTO_MAX_US 120000000u
#define TCP_RTO_FALLBACK_US 3000000u /* RFC 6298 §5.7: the SYN was retransmitted */
#define TCP_PTO_SLACK_US 2000u /* timers of a peer, as Linux's two jiffies */
#define TCP_RENEGE_WAIT_US 10000u
#define TCP_DELACK_US 40000u
#define TCP_MSS_DEFAULT 536u /* RFC 9293 §3.7.1, MUST-15 */
#define TCP_MSS_FLOOR 48u    /* a smaller announcement is an attack on us */
#define TCP_SYN_RETRIES 6u   /* 1+2+...+64 s: 127 s, RFC 1122 §4.2.3.5 asks for 180 in R2; Linux's */
#define TCP_SYNACK_RETRIES 5u
#define TCP_R1_REXMITS 3u
#define TCP_R2_US 924600000u /* RFC 1122 §4.2.3.5: at least 100 s; what Linux's 15 retries come to */
#define TCP_ORPHAN_R2_US 102200000u /* orphans: Linux's 8 retries */
#define TCP_ORPHAN_PROBES 8u
#define TCP_KEEP_IDLE_S 7200u
#define TCP_KEEP_INTVL_S 75u
#define TCP_KEEP_CNT 9u
#define TCP_FIN_TIMEOUT_US 60000000u
#define TCP_TIME_WAIT_US 60000000u
#define TCP_CHALLENGE_PER_S 1000u /* RFC 5961 §7; a hundred left connections half open when a client with hundreds died */
#define TCP_OOW_ACK_US 500000u	 /* per connection */
#define TCP_RCVBUF_MAX (6u << 20)
#define TCP_SNDBUF_MAX (4u << 20)
#define TCP_PAWS_IDLE_US (24ULL * 86400 * 1000000) /* RFC 7323 §5.5 */
#define TCP_QUICK_MAX 16u
#define TCP_OOO_RUNS_MAX 64u
#define TCP_UNACKED_MAX 128u
#define TCP_BASE_MSS 1024u /* Linux's tcp_base_mss: RFC 4821 §7.2 */

struct tcp_state {
	struct tcp_table conns; /* struct sock by tcb.key */
	struct tcp_table syns;	/* struct tcp_syn */
	struct tcp_table tws;	/* struct tcp_tw */
	struct list syn_list;	/* all SYN records of this stack, oldest first */
	struct list tw_list;	/* by expiry */
	struct list ooo_list;	/* TCBs with data out of order */
	struct wheel_timer tw_timer; /* at the expiry of the first of tw_list */
	struct tcp_conf conf;
	struct tcb *unacked[TCP_UNACKED_MAX]; /* received data in the last round, see tcp_settle_acks(); NULL: that one is gone */
	unsigned nb_unacked;
	uint64_t challenge_from_us;
	uint32_t challenge_left;
	struct tcp_fo_dest *fo_dests; /* where Fast Open's cookies are for (fastopen_client.c); NULL: none was learned */
	uint16_t *syn_seen; /* [TCP_SYN_SEEN] SYNs that were not answered (syncookie.c) */
	uint64_t cookie_us; /* when cookie_left was last filled up */
	uint32_t cookie_left;
};

/* A segment on the slow path, header in host order. */
struct tcp_seg {
	struct rte_mbuf *m; /* data at the payload; NULL once taken */
	const struct ip_addr *src, *dst;
	uint16_t sport_be, dport_be;
	uint32_t hash;
	uint32_t seq, ack;
	uint32_t len; /* payload bytes */
	uint16_t wnd; /* as in the header */
	uint16_t urg;
	uint8_t flags;
	uint8_t tos;
	struct tcp_opts o;
};

/* What one ACK brought, filled by ack.c and sack.c, read by recovery.c and the congestion control. */
struct tcp_ack {
	uint32_t acked;	     /* bytes of sequence space, FIN included */
	uint32_t acked_data; /* bytes of data */
	uint32_t sacked;     /* bytes newly SACKed ... */
	uint32_t sacked_segs; /* ... and segments, as sent */
	uint32_t prior_una, prior_pipe;
	uint64_t prior_delivered;
	uint32_t prior_lost; /* tcb->lost_bytes */
	uint64_t rate_prior_us; /* rate.h: when what had been delivered by then was; 0: no sample */
	uint64_t rate_sent_us;
	uint64_t sent_us;    /* send time of the first segment that this ACK newly covers and that was never retransmitted; 0: none */
	uint64_t last_sent_us; /* of the last such */
	uint64_t sack_sent_us, sack_last_us; /* the same among newly SACKed ones */
	uint32_t tsecr;	     /* timestamp echoed; 0: none, or that of an older segment (D-SACK) */
	bool rexmit_acked;   /* a segment that had been retransmitted was covered ... */
	bool head_repeated;  /* ... and it was the first */
	bool orig_arrived;   /* one that was never retransmitted, sent before tcb.recover, was covered or SACKed */
	bool rexmit_lost;    /* a retransmission turned out to be lost */
	bool ece;	     /* the network is congested (RFC 3168); filled in by whoever negotiated ECN */
	bool wnd_update;
	bool dup;	     /* counts as a duplicate ACK without SACK (RFC 5681 §2) */
	bool dsack;
	uint32_t dsack_start, dsack_end;
	bool reordered;	     /* a never retransmitted segment below the highest SACK arrived ... */
	uint32_t reorder_seq; /* ... the lowest one's sequence number */
	uint32_t prior_high; /* highest SACKed before this ACK */
	struct tcp_rate_sample rs;
};

static force_inline void tcp_ack_saw_reordering(struct tcp_ack *a, uint32_t seq)
{
	if (!a->reordered || seq_lt(seq, a->reorder_seq))
		a->reorder_seq = seq;
	a->reordered = true;
}

static force_inline uint32_t tcp_seg_end(const struct tcp_seg *g)
{
	return g->seq + g->len + !!(g->flags & TCP_SYN) + !!(g->flags & TCP_FIN);
}

static force_inline uint32_t tcp_now_ms(const struct stack *st) { return (uint32_t)(st->now_us / 1000); }
/* Our timestamp clock: milliseconds plus the connection's random offset (RFC 7323 §5.4). */
static force_inline uint32_t tcp_ts_now(const struct stack *st, const struct tcb *t)
{
	return tcp_now_ms(st) + t->ts_off;
}
static force_inline uint32_t tcp_segs(uint32_t bytes, uint32_t mss) { return (bytes + mss - 1) / mss; }
/* Bytes in the network: RFC 6675 §4 SetPipe(), kept by counters. */
static force_inline uint32_t tcp_pipe(const struct tcb *t)
{
	/* a FIN under way is no data */
	uint32_t flight = t->snd_nxt - t->snd_una - (t->fin_sent && t->snd_una != t->snd_nxt) + t->rexmit_out;
	uint32_t out = t->sacked_out + t->lost_out;

	return flight > out ? flight - out : 0;
}
static force_inline bool tcp_fin_acked(const struct tcb *t)
{
	return t->fin_sent && t->snd_una == t->snd_end + 1;
}
/* Data or FIN not acknowledged yet. */
static force_inline bool tcp_in_flight(const struct tcb *t) { return t->snd_una != t->snd_nxt; }
static force_inline uint32_t tcp_snd_data_nxt(const struct tcb *t) { return t->snd_nxt - t->fin_sent; }
/* Window we offer now, right of rcv_nxt. */
static force_inline uint32_t tcp_rcv_wnd(const struct tcb *t)
{
	return seq_gt(t->rcv_adv, t->rcv_nxt) ? t->rcv_adv - t->rcv_nxt : 0;
}

static force_inline void tcp_mark_output(struct stack *st, struct tcb *t, uint8_t flags)
{
	t->out_flags |= flags;
	if (!list_linked(&t->out_node))
		list_push_back(&st->tcp_out, &t->out_node);
}

/* timer.c */
static force_inline void tcp_deadline_set(struct stack *st, struct tcb *t, enum tcp_deadline which, uint64_t at_us)
{
	t->deadline[which] = at_us;
	/* Lazy: a later deadline than the wheel's does not touch the wheel; the timer looks at the real ones when it fires. */
	if (!wheel_is_armed(&t->timer) || at_us < t->timer.expires_us)
		wheel_arm(&st->wheel, &t->timer, at_us);
}
static force_inline void tcp_deadline_clear(struct tcb *t, enum tcp_deadline which) { t->deadline[which] = TCP_NEVER; }
/* (Re)starts the retransmission timer for what is in flight (RFC 6298 §5.1, §5.3). */
static force_inline void tcp_rexmit_timer_restart(struct stack *st, struct tcb *t, uint64_t rto_us)
{
	t->persist = 0;
	tcp_deadline_set(st, t, TCP_AT_REXMIT, st->now_us + rto_us);
}
uint64_t tcp_xmit_timer_slow_us(const struct tcb *t);
/* Until a loss probe is due, or where none may be sent the timeout. */
static force_inline uint64_t tcp_xmit_timer_us(const struct tcb *t)
{
	if (unlikely(t->slow & TCP_SLOW_LOSS))
		return tcp_xmit_timer_slow_us(t);
	if (t->snd_nxt - t->snd_una > t->mss && (t->opts & TCP_OPT_SACK))
		return t->srtt_us ? MIN((uint64_t)t->pto_us, 2 * (uint64_t)t->srtt_us + TCP_PTO_SLACK_US) : t->pto_us;
	return t->pto_us;
}
void tcp_keepalive_restart(struct stack *st, struct tcb *t);
/* Idle time before the first keep-alive probe. */
uint64_t tcp_keep_idle_us(const struct sock_opts *o);

/* rtt.c */
void tcp_rtt_sample(struct stack *st, struct tcb *t, uint64_t rtt_us);
uint32_t tcp_rto_backed_off(const struct tcb *t);
void tcp_pto_update(struct tcb *t);

/* rate.c */
/* As TCP_INFO shows it, bytes per second. */
uint64_t tcp_delivery_rate(const struct tcb *t);

/* input.c, slow.c */
void tcp_slow_input(struct stack *st, struct tcb *t, struct tcp_seg *g);
void tcp_data_arrived(struct stack *st, struct tcb *t, uint32_t len);
/* t ends; its memory may be another stack's connection before the next round. */
void tcp_forget_unacked(struct stack *st, const struct tcb *t);
/* Segments beyond the first in what the device or gro.c joined. */
static force_inline uint32_t tcp_joined_more(const struct rte_mbuf *m, uint32_t len)
{
	return m->ol_flags & RTE_MBUF_F_RX_LRO && m->tso_segsz && len ? (len - 1) / m->tso_segsz : 0;
}
void tcp_count_joined(struct stack *st, struct tcb *t, const struct rte_mbuf *m, uint32_t len);
void tcp_fin_arrived(struct stack *st, struct tcb *t);
/* Challenge ACK within the rate limits (RFC 5961 §7). */
void tcp_challenge_ack(struct stack *st, struct tcb *t);
bool tcp_challenge_allowed(struct stack *st);

/* ack.c */
/* RFC 9293 §3.10.7.4 "fifth, check the ACK field", for synchronised states. false: the segment must be dropped (a challenge ACK is
 * marked where one is due). */
bool tcp_ack_input(struct stack *st, struct tcb *t, const struct tcp_seg *g);
/* Predicted: snd_una < ack <= snd_nxt, no loss state. tsecr: 0 when there is none. */
void tcp_ack_fast(struct stack *st, struct tcb *t, uint32_t ack, uint32_t tsecr);
/* RFC 9293 §3.10.7.4: SND.WND from a segment that is not older than the last that updated it. */
void tcp_wnd_update(struct stack *st, struct tcb *t, uint32_t seq, uint32_t ack, uint32_t wnd);

/* sack.c */
/* RFC 2883 §4: does the first block report a duplicate? */
bool tcp_is_dsack(const struct tcp_opts *o, uint32_t ack);
void tcp_sack_input(struct stack *st, struct tcb *t, const struct tcp_opts *o, uint32_t ack, struct tcp_ack *a);
/* An mbuf of the queue leaves it or changes: counters and hints follow. */
void tcp_scoreboard_forget(struct tcb *t, struct rte_mbuf *m);
void tcp_scoreboard_trim(struct tcb *t, struct rte_mbuf *m, uint32_t bytes);
void tcp_scoreboard_split(struct rte_mbuf *m, struct rte_mbuf *n);
uint32_t tcp_scoreboard_mark_lost(struct tcb *t, struct rte_mbuf *m);
uint32_t tcp_scoreboard_head_lost(struct stack *st, struct tcb *t);
/* m, which is marked lost, is on its way again. */
void tcp_scoreboard_sent_again(struct tcb *t, struct rte_mbuf *m);
/* After a timeout: what is not SACKed and left at since_us or before is lost, and the first segment. */
void tcp_scoreboard_lost_since(struct tcb *t, uint64_t since_us);
void tcp_scoreboard_none_lost(struct tcb *t);
void tcp_scoreboard_clear_sacks(struct tcb *t);
void tcp_scoreboard_reset_hints(struct tcb *t);
/* First segment that is lost and not under way again, NULL: none. */
struct rte_mbuf *tcp_scoreboard_next_rexmit(struct tcb *t);

/* recovery.c */
void tcp_recovery_on_ack(struct stack *st, struct tcb *t, struct tcp_ack *a);
void tcp_recovery_on_rto(struct stack *st, struct tcb *t);
void tcp_recovery_on_reo_timeout(struct stack *st, struct tcb *t, uint32_t lost);
bool tcp_recovery_reneged(struct stack *st, struct tcb *t);
/* The path's MTU fell: repeats what is out without calling it congestion. */
void tcp_recovery_too_big(struct stack *st, struct tcb *t);
/* OPEN, or DISORDER if something is missing. */
void tcp_recovery_keep_open(struct stack *st, struct tcb *t);
void tcp_ca_set_state(struct stack *st, struct tcb *t, uint8_t state);
void tcp_slow_loss_update(struct tcb *t);

/* rack.c */
void tcp_rack_delivered(struct stack *st, struct tcb *t, struct rte_mbuf *m);
void tcp_rack_adapt(struct tcb *t, const struct tcp_ack *a);
uint32_t tcp_rack_mark_lost(struct stack *st, struct tcb *t);
void tcp_rack_on_timeout(struct stack *st, struct tcb *t);
uint64_t tcp_rack_lost_since(const struct stack *st, const struct tcb *t);

/* tlp.c */
bool tcp_tlp_allowed(const struct tcb *t);
void tcp_tlp_on_new_data(struct stack *st, struct tcb *t);
void tcp_tlp_on_timeout(struct stack *st, struct tcb *t);
void tcp_tlp_on_ack(struct stack *st, struct tcb *t, uint32_t ack, const struct tcp_ack *a);
void tcp_rexmit_timer_rearm(struct stack *st, struct tcb *t);

/* prr.c */
void tcp_prr_begin(struct stack *st, struct tcb *t);
void tcp_prr_on_ack(struct tcb *t, uint32_t delivered, uint32_t lost, bool una_moved);
void tcp_prr_end(struct tcb *t);
void tcp_cwr_enter(struct stack *st, struct tcb *t);

/* frto.c */
enum tcp_frto_verdict { TCP_FRTO_GO_ON, TCP_FRTO_TRY_NEW, TCP_FRTO_SPURIOUS };
void tcp_frto_start(struct tcb *t, bool first);
enum tcp_frto_verdict tcp_frto_on_ack(struct tcb *t, const struct tcp_ack *a, bool recovered);

/* sendq.c */
static force_inline struct rte_mbuf *tcp_sendq_next(struct rte_mbuf *m)
{
	struct inbox_node *n = pkt_meta(m)->q.next;

	return n ? pkt_of_node(n) : NULL;
}
static force_inline uint32_t tcp_mbuf_seq(struct rte_mbuf *m) { return pkt_meta(m)->seq; }
static force_inline uint32_t tcp_mbuf_end(struct rte_mbuf *m) { return pkt_meta(m)->seq + pkt_meta(m)->len; }
/* m's first `bytes`, not all of them, have arrived. */
static force_inline void tcp_mbuf_trim(struct rte_mbuf *m, uint32_t bytes)
{
	struct pkt_meta *p = pkt_meta(m);

	p->seq += bytes;
	p->off = (uint16_t)(p->off + bytes);
	p->len = (uint16_t)(p->len - bytes);
}
void tcp_sendq_append(struct stack *st, struct tcb *t, struct inbox_node *first);
/* m keeps its first `bytes`, a new mbuf behind it gets the rest with the same marks. 0 or -ENOBUFS. */
int tcp_sendq_split(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint32_t bytes);
/* A frame of several segments left, total of avail bytes that waited: does the writer do well to use large buffers? */
void tcp_large_buffers_note(struct stack *st, struct tcb *t, uint32_t total, uint32_t avail);
/* New data was sent while large buffers are in use. */
void tcp_large_buffers_align(struct tcb *t);
/* Their size was right no longer. */
void tcp_large_buffers_off(struct tcb *t);
void tcp_sendq_purge(struct tcb *t);

/* reass.c */
/* Payload beyond rcv_nxt, inside the window; takes m. */
void tcp_reass_insert(struct stack *st, struct tcb *t, struct rte_mbuf *m, uint32_t seq, uint32_t len);
/* rcv_nxt moved: hands up what is in order now. */
void tcp_reass_drain(struct stack *st, struct tcb *t);
void tcp_reass_purge(struct tcb *t);
/* Half of what waits, the far end first. */
void tcp_reass_prune(struct stack *st, struct tcb *t);
void tcp_reass_fin(struct tcb *t);
void tcp_rcv_sack_new(struct tcb *t, uint32_t start, uint32_t end);
void tcp_rcv_sack_trim(struct tcb *t);

/* info.c */
/* The first data after none: m. */
static force_inline void tcp_busy_begins(struct stack *st, struct tcb *t, struct rte_mbuf *m)
{
	t->sq_head = m;
	t->busy_us -= st->now_us;
}
/* The last of it has arrived; sq_head is NULL. */
static force_inline void tcp_busy_ends(struct stack *st, struct tcb *t)
{
	t->sq_tail = NULL;
	t->busy_us += st->now_us;
}
/* t->cwnd_limited became `to` (enum tcp_limited): the clocks of tcpi_rwnd_limited and tcpi_sndbuf_limited start and stop. */
void tcp_limited_changed(struct stack *st, struct tcb *t, uint8_t from, uint8_t to);
/* The connection ends. */
void tcp_clocks_stop(struct stack *st, struct tcb *t);
/* The retransmission timer fired; and something was acknowledged, after it had or not. */
void tcp_rto_counted(struct tcb *t);
void tcp_rto_run_over(struct stack *st, struct tcb *t);

/* output.c */
void tcp_output(struct stack *st, struct tcb *t);
/* The next `bytes` of new data as one segment, whatever the MSS; false: it could not be made. */
bool tcp_output_probe(struct stack *st, struct tcb *t, uint32_t bytes);

/* drs.c */
/* Updates rcv_adv for a segment that leaves now; returns the header field. */
uint16_t tcp_window_to_send(struct stack *st, struct tcb *t);
void tcp_drs_on_data(struct stack *st, struct tcb *t);
void tcp_drs_init(struct stack *st, struct tcb *t);
uint8_t tcp_choose_wscale(const struct stack *st, const struct sock *s);
/* mss: what we offer. */
uint32_t tcp_initial_window(const struct sock *s, uint32_t mss);
void tcp_sndbuf_tune(struct stack *st, struct tcb *t);

/* pmtu.c */
void tcp_set_mss(struct stack *st, struct tcb *t);
void tcp_pmtu_df(struct stack *st, struct tcb *t);
/* The connection begins: what is known about the path, and the search if it is always on. */
void tcp_pmtu_init(struct stack *st, struct tcb *t);
/* "fragmentation needed" about a segment of t in flight. */
void tcp_pmtu_told(struct stack *st, struct tcb *t, uint32_t mtu);
/* Once a round trip while route.pmtu_watch is set. */
void tcp_pmtu_watch(struct stack *st, struct tcb *t);
/* New data may leave and TCP_SLOW_MTU is set: sends a probe if it is time; true: new data waits for one. */
bool tcp_mtu_probe(struct stack *st, struct tcb *t);
/* t->mtu_probe is under way: snd_una moved; the segment at snd_una was found lost (true: it was the probe, that is all). */
void tcp_mtu_probe_acked(struct stack *st, struct tcb *t);
bool tcp_mtu_probe_lost(struct stack *st, struct tcb *t);
/* The retransmission timer fired, before anything is marked. */
void tcp_pmtu_on_rto(struct stack *st, struct tcb *t);

/* isn.c */
uint32_t tcp_isn(const struct stack *st, const struct tcp_key *k);
uint32_t tcp_ts_offset(const struct stack *st, const struct tcp_key *k);

/* reply.c: ready IP packets on the reply list */
/* RST as answer to g (RFC 9293 §3.10.7.1); never to a RST. Does not take g->m. */
void tcp_reply_rst(struct stack *st, const struct tcp_seg *g);
/* A reset of a connection that is going away: seq snd_nxt. */
void tcp_reply_rst_conn(struct stack *st, const struct tcb *t, uint32_t seq);
struct tcp_reply {
	const struct ip_addr *laddr, *raddr;
	uint16_t lport_be, rport_be;
	uint32_t seq, ack;
	uint16_t wnd;
	uint8_t flags, tos;
	uint8_t opt_len; /* multiple of 4 */
	uint8_t opt[40];
};
void tcp_reply(struct stack *st, const struct tcp_reply *r);

/* listen.c */
/* No connection matches: SYN record, listener or nothing. Takes g->m. */
void tcp_listen_input(struct stack *st, struct tcp_seg *g);
void tcp_syn_free(struct stack *st, struct tcp_syn *r);

/* ecn.c */
/* An active open asks for it. */
bool tcp_ecn_wanted(const struct stack *st, const struct tcb *t);
/* Listener l agrees to what SYN g asks. */
bool tcp_ecn_accepts(const struct stack *st, const struct sock *l, const struct tcp_seg *g);
/* SYN_SENT, and SYN or SYN-ACK g came: TCP_OPT_ECN stays if it agrees. */
void tcp_ecn_answered(struct tcb *t, const struct tcp_seg *g);
void tcp_ecn_established(struct tcb *t);
/* An acceptable segment off the predicted path. */
void tcp_ecn_segment(struct stack *st, struct tcb *t, const struct tcp_seg *g);
/* What a segment that leaves now carries: header flags, and the IP header's two bits << 8. fresh: never sent before. */
uint32_t tcp_ecn_mark(struct tcb *t, uint32_t len, bool fresh);
/* The window fell: the peer learns that it was heard. */
static force_inline void tcp_ecn_reduced(struct tcb *t)
{
	if (unlikely(t->marks & TCP_MARK_ECN))
		t->marks |= TCP_MARK_CWR;
}

/* fastopen.c */
enum tcp_fo { TCP_FO_NONE, TCP_FO_GRANT, TCP_FO_VALID, TCP_FO_VALID_OLD };
/* What SYN g at listener l gets: nothing; a cookie; a connection; a connection and a new cookie. fresh: the cookie, unless it is NONE. */
enum tcp_fo tcp_fastopen_syn(struct stack *st, const struct sock *l, const struct tcp_seg *g, uint8_t fresh[TCP_FO_COOKIE]);
/* TCP_SLOW_TFO is set: the SYN-ACK was acknowledged; the connection ends; the SYN came again. */
void tcp_fastopen_acked(struct stack *st, struct tcb *t);
void tcp_fastopen_gone(struct stack *st, struct tcb *t);
void tcp_fastopen_syn_again(struct stack *st, struct tcb *t);

/* fastopen_client.c */
/* tcpi_fastopen_client_fail, as Linux's enum */
enum { TCP_FO_FAIL_NONE, TCP_FO_FAIL_NO_COOKIE, TCP_FO_FAIL_NOT_ACKED, TCP_FO_FAIL_REPEATED };
/* A connection is to be opened with data: fo_waits if its SYN can carry some. */
void tcp_fastopen_connect(struct stack *st, struct tcb *t);
/* The first SYN of a connection with fo_syn: its option; its data, appended to m. */
void tcp_fastopen_syn_opts(struct stack *st, const struct tcb *t, struct tcp_syn_opts *o);
uint32_t tcp_fastopen_syn_data(struct tcb *t, struct rte_mbuf *m);
/* An acceptable SYN-ACK for such a SYN. Returns the bytes of data that it acknowledges, which have left the queue. */
uint32_t tcp_fastopen_answered(struct stack *st, struct tcb *t, const struct tcp_seg *g);
/* ICMP says that the SYN with its data is larger than the path's MTU. */
void tcp_fastopen_too_large(struct stack *st, struct tcb *t, uint32_t mtu);
/* listen.c */
void tcp_synack_again(struct stack *st, struct tcp_syn *r);

/* syncookie.c */
#define TCP_SYN_SEEN (1u << 18)
/* May g be answered now? Always, where the device takes answers at the rate of a flood. */
bool tcp_cookie_may_answer(struct stack *st, const struct tcp_seg *g);
/* r is no record but stands for one, on the caller's C stack */
/* Makes r's ISN a cookie; returns the TSval of the SYN-ACK, which carries what the cookie does not. */
uint32_t tcp_cookie_make(struct stack *st, struct sock *l, struct tcp_syn *r);
/* An ACK without a record at listener l: true: it answers a cookie of ours, and r is as it was then, but for what listen.c fills in from the listener. */
bool tcp_cookie_check(struct stack *st, struct sock *l, const struct tcp_seg *g, struct tcp_syn *r);

/* timewait.c */
/* A segment for a TIME_WAIT record; true: a new connection may be made of it (RFC 6191), the record is gone and *isn_floor holds what the new
 * ISN must exceed. Does not take g->m. */
bool tcp_tw_input(struct stack *st, struct tcp_tw *w, const struct tcp_seg *g, uint32_t *isn_floor);
/* Moves t into a record. */
void tcp_tw_enter(struct stack *st, struct tcb *t);
void tcp_tw_free(struct stack *st, struct tcp_tw *w);

/* conn.c */
/* RFC 6928, or as configured. */
static force_inline uint32_t tcp_initial_cwnd(const struct stack *st, const struct tcb *t)
{
	return MIN(st->tcp->conf.iw_segs * (uint32_t)t->mss, TCP_CWND_MAX);
}
void tcp_tcb_insert(struct stack *st, struct tcb *t); /* key set; hash is computed here */
/* Handshake done, either side: window scale, MSS, congestion control; state becomes ESTABLISHED. */
void tcp_established(struct stack *st, struct tcb *t);
uint16_t tcp_mss_to_offer(struct stack *st, const struct sock *s, struct ip_route *route);
/* Leaves the table, frees queues and timers, tells the socket: error (0: none), closed. t is no longer TCP's after this. */
void tcp_conn_gone(struct stack *st, struct tcb *t, int err);
void tcp_set_state(struct tcb *t, uint8_t state);
/* FIN_WAIT_2 entered or the last descriptor closed in it: no orphan stays for ever. */
void tcp_fin_wait_2_entered(struct stack *st, struct tcb *t);
struct tcb *tcp_find(struct stack *st, const struct ip_addr *laddr, const struct ip_addr *raddr, uint16_t lport_be,
		     uint16_t rport_be, uint32_t hash);

#endif

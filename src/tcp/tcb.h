/* tcb.h - the transmission control block: everything TCP knows about one connection.
 *
 * Embedded in struct sock (one slab object, one TLB page); touched by the owner of its stack only. Lines 0 and 1 hold what a
 * predicted segment needs in both directions. Names are those of RFC 9293 §3.3.1. Offsets in the send queue are sequence numbers.
 */
#ifndef GZ_TCP_TCB_H
#define GZ_TCP_TCB_H

#include "base/list.h"
#include "ip/ip4.h"
#include "stack/wheel.h"

struct rte_mbuf;
struct tcp_cc_ops;

/* RFC 9293 §3.3.2; the order is that of Linux's TCP_* states minus TIME_WAIT, which lives in a small record of its own. */
enum tcp_conn_state {
	TCPS_CLOSED,
	TCPS_LISTEN,
	TCPS_SYN_SENT,
	TCPS_SYN_RECEIVED,
	TCPS_ESTABLISHED,
	TCPS_FIN_WAIT_1,
	TCPS_FIN_WAIT_2,
	TCPS_CLOSE_WAIT,
	TCPS_CLOSING,
	TCPS_LAST_ACK,
	TCPS_TIME_WAIT,
};

/* what output must do; set by input, timers and commands, acted on by tcp_output() (rule 2: input marks, output sends) */
#define TCP_OUT_ACK_NOW 0x01u	/* an ACK must leave in this round */
#define TCP_OUT_DATA 0x02u	/* data may be sendable */
#define TCP_OUT_SYN 0x04u	/* (re)send SYN or SYN-ACK */
#define TCP_OUT_TLP 0x08u	/* a loss probe is due (tlp.c) */
#define TCP_OUT_REXMIT 0x10u	/* one lost segment goes out whatever cwnd says */
#define TCP_OUT_PROBE 0x20u	/* zero-window or keep-alive probe */
#define TCP_OUT_FIN 0x40u	/* retransmit the FIN */
#define TCP_OUT_PUSH 0x80u	/* what Nagle, cork or SWS avoidance held back goes now */

/* Why a segment may not take the predicted path; 0: it may. */
#define TCP_SLOW_STATE 0x01u	/* not ESTABLISHED */
#define TCP_SLOW_OOO 0x02u	/* out-of-order data waits, or a FIN beyond a hole */
#define TCP_SLOW_LOSS 0x04u	/* duplicate ACKs, SACKed or lost segments, recovery */
#define TCP_SLOW_URG 0x08u	/* urgent data pending */
#define TCP_SLOW_MTU 0x80u	/* a larger path MTU is searched for (pmtu.c) */
#define TCP_SLOW_CLOSED 0x10u	/* the application closed: data must be answered by RST */
#define TCP_SLOW_TFO 0x40u	/* Fast Open: our SYN-ACK is not acknowledged yet (fastopen.c) */
#define TCP_SLOW_ECN 0x20u	/* the segment's ECN field matters, marked or not (ecn.c) */

/* tcb->opts: agreed in the handshake */
#define TCP_OPT_TS 0x01u
#define TCP_OPT_WS 0x02u
#define TCP_OPT_SACK 0x04u
#define TCP_OPT_FO 0x10u  /* seen: Fast Open's; agreed to: data in a SYN was taken */
#define TCP_OPT_ECN 0x08u /* no option: ECN, agreed by the SYNs' flags (ecn.c) */

/* tcb->marks: what emit() does besides; 0 for most */
#define TCP_MARK_URG 0x01u  /* snd_up is ahead of snd_una */
#define TCP_MARK_ECN 0x02u  /* ECN was agreed */
#define TCP_MARK_ECE 0x04u  /* segments carry ECE */
#define TCP_MARK_CWR 0x08u  /* the next new segment carries CWR */
#define TCP_MARK_CE 0x10u   /* the last data received was marked (DCTCP) */
#define TCP_MARK_SEEN 0x20u /* the peer sent ECT */

/* tcb->ca_state: recovery.c tells what each means. The numbers are those of Linux's TCP_CA_Open .. TCP_CA_Loss (tcpi_ca_state); REDUCED is its CWR. */
enum tcp_recovery_state { TCP_CA_OPEN, TCP_CA_DISORDER, TCP_CA_REDUCED, TCP_CA_RECOVERY, TCP_CA_LOSS };

#define TCP_USE_FULL UINT32_MAX /* tcb->use_max */

/* In these prr.c leads cwnd down. */
static force_inline bool tcp_reduces(uint8_t ca_state) { return ca_state == TCP_CA_REDUCED || ca_state == TCP_CA_RECOVERY; }

/* tcb->hold: what output leaves out until the next ACK */
#define TCP_HOLD_TRY_NEW 1u /* no retransmission if new data can leave instead: F-RTO */
#define TCP_HOLD_OLD 2u	    /* no retransmission */

/* tcb->tlp_out: a loss probe has not been judged yet */
#define TCP_TLP_NEW 1u	  /* it was new data */
#define TCP_TLP_REPEAT 2u /* it repeated the last segment */

/* tcb->cwnd_limited */
enum tcp_limited {
	TCP_LIMITED_NOT,
	TCP_LIMITED_CWND,
	TCP_LIMITED_RWND,   /* the peer's window: its time is measured (tcpi_rwnd_limited) */
	TCP_LIMITED_SNDBUF, /* all was sent and the application waits for room (tcpi_sndbuf_limited) */
};

/* Deadlines of one connection; one wheel timer stands for all (timer.c). */
enum tcp_deadline {
	TCP_AT_REXMIT, /* retransmission or persist (tcb->persist) */
	TCP_AT_DELACK,
	TCP_AT_KEEP,
	TCP_AT_MISC, /* FIN_WAIT_2 of an orphan */
	TCP_AT_COUNT,
};
#define TCP_NEVER UINT64_MAX
#define TCP_UNSETTLED (UINT64_MAX - 1) /* TCP_AT_DELACK: on tcp_state.unacked, no timer yet */

struct tcp_sack_block {
	uint32_t start, end;
};

#define TCP_SACK_SEEN 3 /* beside timestamps an ACK has no more */
/* A block of the last ACK, and the last mbuf that was looked at for it: if that lies inside, all of the block before it is marked. */
struct tcp_sack_seen {
	uint32_t start, end;
	struct rte_mbuf *at;
};

/* The 4-tuple and its place in a table of tcp/table.h; first in TCBs, SYN records and TIME_WAIT records. */
#define TCP_KEY_FIELDS                                                                                       \
	struct ip_addr laddr, raddr;                                                                         \
	uint16_t lport_be, rport_be;                                                                         \
	uint32_t hash;                                                                                       \
	uint32_t hash_next /* index + 1 of the next in the bucket */

struct tcp_key {
	TCP_KEY_FIELDS;
};

/* Keys of Fast Open's cookies: the first makes them, both are good. Made of keys that all servers behind one address have, cookies are Linux's. */
#define TCP_FO_KEY_BYTES 16u
#define TCP_FO_KEYS 2u
struct tcp_fo_keys {
	uint64_t key[TCP_FO_KEYS][2]; /* 16 bytes as they stand */
	uint64_t n;
};

#define TCP_CC_PRIV_BYTES 104 /* BBR; nothing of it is touched while cwnd does not limit the sender */

struct tcb {
	/* --- line 0: key, state, the sequence numbers of prediction --- */
	union {
		struct tcp_key key;
		struct {
			TCP_KEY_FIELDS;
			/* in what would be the key's padding */
			uint8_t state;	   /* enum tcp_conn_state */
			uint8_t out_flags; /* TCP_OUT_* */
			uint8_t stack_id;
			uint8_t opts; /* TCP_OPT_* */
		};
	};
	uint32_t slow; /* TCP_SLOW_* */
	uint32_t rcv_nxt;
	uint32_t snd_una;
	uint32_t snd_nxt; /* next byte never sent; retransmission does not pull it back */

	/* --- line 1: both directions --- */
	uint32_t rcv_adv;      /* right edge of the window that was offered; never moves left */
	uint32_t last_ack_sent; /* RCV.NXT as last told (RFC 7323 §4.3); left edge for acceptance */
	uint32_t snd_wnd;      /* peer's window in bytes */
	uint32_t snd_wl1;      /* SEG.SEQ of the last window update */
	uint32_t snd_end;      /* after the last queued byte */
	uint32_t ts_recent;
	uint32_t cwnd;	  /* bytes */
	uint32_t last_rcv_ms; /* when the peer was last heard, milliseconds */
	struct rte_mbuf *sq_head; /* first unacknowledged mbuf */
	struct rte_mbuf *sq_next; /* first never sent */
	struct rte_mbuf *sq_tail;
	uint16_t mss;	  /* payload of a full segment, timestamps taken off */
	uint16_t rcv_mss; /* what the peer seems to use */
	uint8_t snd_wscale, rcv_wscale;
	uint8_t ca_state; /* enum tcp_recovery_state */
	uint8_t quick;	  /* ACKs still to be sent at once */

	/* --- line 2: output and timing --- */
	struct list out_node; /* on st->tcp_out */
	uint64_t deadline[TCP_AT_COUNT];
	uint32_t ts_off;
	uint32_t pto_us; /* with one segment in flight: until the loss probe where there is one, else the timeout (rtt.c) */
	uint32_t rtt_seq; /* the next RTT sample is taken when this is acknowledged */
	uint32_t last_data_ms; /* when data was last received */

	/* --- line 3: timer, estimators, what output asks --- */
	struct wheel_timer timer;
	uint32_t srtt_us, min_rtt_us;
	_Atomic uint32_t max_snd_wnd; /* the largest that the peer offered; a writer with TCP_NOTSENT_LOWAT reads it */
	uint32_t snd_sml;   /* end of the last small segment sent (Minshall) */
	uint8_t backoff;    /* doublings of the RTO, until an RTT sample; or of the persist interval */
	uint8_t persist;    /* deadline[TCP_AT_REXMIT] is the persist timer */
	uint8_t fin_queued; /* FIN follows snd_end */
	uint8_t fin_sent;
	uint8_t cwnd_limited; /* enum tcp_limited: what stopped output since the last ACK */
	uint8_t probes;	   /* unanswered keep-alive or zero-window probes */
	uint8_t pingpong;  /* request-response traffic: ACKs ride on data */
	uint8_t more;	   /* MSG_MORE on the last append: hold a partial segment */
	uint8_t marks;	   /* TCP_MARK_* */
	uint8_t rcv_sack_n;
	uint8_t dsack_pending;
	uint8_t paced;	 /* pace.c has a say before each frame */
	uint16_t mss_offered; /* our MSS option */
	uint16_t dupacks; /* since SND.UNA moved; with SACK segments */

	/* --- line 4: congestion control and rate samples --- */
	const struct tcp_cc_ops *cc;
	uint32_t ssthresh;
	uint32_t sacked_out; /* bytes; without SACK: duplicate ACKs in bytes */
	uint32_t lost_out, rexmit_out;
	uint64_t delivered; /* bytes ever acknowledged or SACKed */
	uint64_t delivered_us;
	uint64_t last_snd_us;	  /* last data transmission */
	uint32_t first_tx_us; /* rate.h: send time of the segment delivered last, low half */
	uint32_t app_limited; /* samples are the application's until so much is delivered (low half); 0: they are not */
	uint32_t segs_in, segs_out;

	/* --- line 5: way out, buffer tuning --- */
	struct ip_route route;
	uint32_t rttvar_us;
	uint64_t ts_recent_us; /* when ts_recent was set (RFC 7323 §5.5) */
	uint32_t drs_rtt_us, drs_rtt_seq; /* receive buffer tuning (drs.c) */
	uint64_t drs_rtt_at_us, drs_at_us;
	uint64_t bytes_sent;
	uint32_t data_segs_in, data_segs_out;

	/* --- cold from here, but for the congestion control's own. Without a hole: it ends with a line. --- */
	union {
		uint64_t cc_priv[TCP_CC_PRIV_BYTES / 8];
		struct tcp_fo_keys fo_keys; /* CLOSED and LISTEN: TCP_FASTOPEN_KEY */
	};
	/* what the path delivered (rate.c), pacing (pace.c) */
	uint32_t rate_delivered, rate_interval_us; /* the sample that TCP_INFO shows */
	uint32_t lost_bytes;	/* ever marked lost */
	uint32_t delivered_ce;	/* bytes ever reported as CE-marked */
	uint32_t pace_left;	/* of the burst that may leave at once */
	uint8_t rate_app_limited : 1, large_score : 7; /* large_score: how much large buffers suit, see sendq.c */
	uint8_t pace_wait;	/* output stopped for pacing: due at pace_next_ns */
	uint16_t mss_peer;	/* peer's MSS option */
	uint64_t pacing_rate;	/* bytes per second; 0: unknown yet */
	uint64_t pace_next_ns;	/* the next frame leaves no earlier */
	uint64_t rexmit_since_us; /* first timeout of the present run, only while rexmits > 0, or probes of the window; 0: none */

	uint64_t drs_read;
	uint64_t busy_us; /* time with data queued or in flight; while there is, less the time when it began (info.c) */
	uint32_t drs_space;
	uint32_t rto_us, rto_min_us;
	uint32_t rcv_fin_seq;
	uint32_t iss, irs;
	uint32_t snd_up;    /* one past the urgent byte */
	uint32_t rcv_up;    /* sequence number of the urgent byte */
	uint8_t rcv_fin;    /* FIN seen at rcv_fin_seq, maybe beyond a hole */
	uint8_t urg_in;	    /* rcv_up is valid and not yet passed */
	uint8_t fin_lost;
	uint8_t app_closed; /* the last descriptor is gone */
	uint8_t port_held;  /* ports_conn_hold() */
	uint8_t active;	    /* opened by connect() */

	/* path MTU (pmtu.c) */
	union {
		uint16_t mtu_probe; /* the probe under way carries so many bytes; 0: none */
		uint16_t fo_bytes;  /* SYN_SENT: data that the SYN may carry; once it has left, that it carried (fastopen_client.c) */
	};
	uint64_t oow_ack_us;	/* last ACK for an unacceptable segment */
	uint32_t mtu_probe_seq; /* it begins here */
	uint16_t mtu_low, mtu_high; /* the search's bounds, bytes of IP packets; mtu_low 0: off */
	uint32_t mtu_probe_ms;	/* when the search began or came to rest */

	/* scoreboard (sack.c) */
	uint32_t recover;    /* recovery point: SND.NXT when the present state began */
	uint32_t sack_high;  /* highest sequence number SACKed */
	uint16_t sack_cuts;  /* mbufs cut at the edges of SACK blocks in this episode */
	uint16_t reordering; /* degree in segments, RFC 5681's DupThresh: 3 */
	struct rte_mbuf *lost_hint;   /* everything before it is SACKed or lost, see sack.c */
	struct rte_mbuf *rexmit_hint; /* nothing before it waits for its first retransmission */
	struct tcp_sack_seen sack_seen[TCP_SACK_SEEN];
	struct list *rexq;   /* first of the ring of pkt_tx.node of retransmissions in flight, oldest first; NULL: none */
	struct list *relost; /* the same of those that were lost again */

	/* reordering, recovery, undo (recovery.c, frto.c) */
	uint32_t prior_cwnd, prior_ssthresh; /* before the last reduction; prior_ssthresh 0: it shall not be undone */
	uint32_t undo_seq;   /* snd_una at that reduction */
	int32_t undo_rexmit; /* retransmitted segments not yet reported as duplicates; -1: nothing was retransmitted */
	uint32_t rexmit_ts;  /* timestamp of the first retransmission (RFC 3522); 0: none */
	uint16_t reord_seen; /* times that a segment was late, not lost */
	uint16_t undo_ok : 1; /* a reduction that may be undone */
	uint16_t frto : 1;    /* F-RTO decides whether the timeout was spurious */
	uint16_t hold : 2;    /* TCP_HOLD_* */
	uint16_t fin_alone : 1; /* our FIN left without data */

	/* RACK, TLP (rack.c, tlp.c) */
	uint16_t reo_armed : 1; /* deadline[TCP_AT_REXMIT] is the reordering timer */
	uint16_t rack_advanced : 1; /* something was delivered since losses were looked for */
	uint16_t reo_dsack : 1;	/* a D-SACK came since it was adapted */
	uint16_t reo_persist : 5; /* recoveries before it falls back to one */
	uint16_t tlp_out : 2;	/* TCP_TLP_* */
	uint8_t reo_steps;	/* the reordering window is so many quarters of min_rtt_us */
	uint8_t soft_err;	/* the last soft ICMP error, valid while snd_una is soft_err_una (icmp.c, timer.c) */
	uint16_t ooo_runs;	/* out-of-order queue, see below */
	uint32_t rack_end;	/* of the segment sent last among those delivered: its end, ... */
	uint64_t rack_us;	/* ... when it left, ... */
	uint32_t rack_rtt_us;	/* ... and the round trip of the one delivered last; 0: none since losses were of interest */
	uint32_t reo_delivered; /* tcb.delivered (low half) when the window was adapted */
	uint32_t tlp_end;	/* SND.NXT behind the probe */

	union {
		struct { /* proportional rate reduction (prr.c), in RECOVERY and REDUCED: bytes since it began */
			uint32_t prr_delivered, prr_out;
		};
		struct { /* else: what was in flight at most since use_seq was SND.NXT, until that is acknowledged (ack.c); TCP_USE_FULL: as much as cwnd allowed */
			uint32_t use_max, use_seq;
		};
	};

	/* out-of-order queue (reass.c) */
	uint32_t ooo_true_bytes;
	struct rte_mbuf *ooo_head; /* first mbuf of the first run */
	struct list ooo_node;	   /* on tcp_state.ooo_list while there is one */
	struct tcp_sack_block rcv_sack[4]; /* most recent first (RFC 2018 §4) */
	struct tcp_sack_block dsack;

	uint32_t soft_err_una;
	/* counters for tcp_info */
	uint32_t total_rexmit, ooo_in, dsack_in;
	uint16_t syn_retrans;
	uint8_t rexmits; /* timeouts since SND.UNA last moved */
	uint8_t fo_syn : 1;	/* Fast Open (fastopen_client.c): our first SYN asks for a cookie or shows one; ... */
	uint8_t fo_bare : 1;	/* ... or neither, and still carries data; */
	uint8_t fo_waits : 1;	/* it waits for data */
	uint8_t fo_more : 1;	/* a writer has more for the moment the answer comes, whose ACK it takes along */
	uint8_t fo_fail : 2;	/* TCP_FO_FAIL_* */
	uint32_t rto_ms;	/* time spent in runs of timeouts that are over */
	uint64_t bytes_rexmit;
	uint64_t limited_us[2]; /* by the peer's window, by our buffer: as busy_us (TCP_LIMITED_RWND, _SNDBUF) */
	uint16_t total_rto, total_rto_runs; /* timeouts, and runs of them without progress */
	/* listener [any stack] */
	_Atomic uint32_t syn_qlen; /* SYN records that lead here */
	_Atomic uint32_t tfo_qlen; /* of them with a connection (fastopen.c) */
	_Atomic uint32_t syn_overflow_s; /* second, from 1, in which a cookie was last sent (syncookie.c); 0: never */
} cache_aligned;

static force_inline uint32_t tcp_max_snd_wnd(const struct tcb *t) { return atomic_load_explicit(&t->max_snd_wnd, memory_order_relaxed); }

/* The peer's first window. */
static force_inline void tcp_snd_wnd_first(struct tcb *t, uint32_t wnd)
{
	t->snd_wnd = wnd;
	atomic_store_explicit(&t->max_snd_wnd, wnd, memory_order_relaxed);
}

_Static_assert(offsetof(struct tcb, rcv_adv) == 64, "key and prediction fill line 0");
_Static_assert(offsetof(struct tcb, out_node) == 128, "line 1 holds what a predicted segment needs");
_Static_assert(offsetof(struct tcb, timer) == 192 && offsetof(struct tcb, cc) == 256 &&
		       offsetof(struct tcb, route) == 320 && offsetof(struct tcb, cc_priv) == 384,
	       "lines 2 to 5: all that a request and its reply touch");
_Static_assert(sizeof(struct tcb) <= 896, "a connection costs about a kilobyte all told");

#endif

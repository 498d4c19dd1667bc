/* records.h - small slab records that stand for a connection before its handshake ends and after it has closed.
 *
 * struct tcp_syn: a SYN was answered, no TCB yet (RFC 4987 §3.4). Lives until the final ACK, a RST, or the last SYN-ACK timed out.
 * struct tcp_tw: TIME_WAIT (RFC 9293 §3.6.1). Lives 2 MSL, or shorter under pressure: the oldest is recycled when the slab is full.
 * Both are owned by the stack that made them; boot makes the slabs gz->syn_recs and gz->tw_recs of these sizes.
 */
#ifndef GZ_TCP_RECORDS_H
#define GZ_TCP_RECORDS_H

#include "base/region.h"
#include "tcp/tcb.h"

struct sock;

struct tcp_syn {
	struct slab_hdr slab;
	struct tcp_key key;
	uint8_t opts; /* TCP_OPT_* that the SYN-ACK agrees to */
	uint8_t snd_wscale, rcv_wscale;
	uint8_t retries;
	struct list node;     /* tcp_state.syn_list */
	struct sock *listener; /* type-stable memory: valid while listener_gen matches */
	uint32_t listener_gen;
	uint32_t iss, irs;
	uint32_t ts_recent, ts_off;
	uint16_t mss_peer, mss_offered;
	uint16_t snd_wnd;  /* of the SYN, unscaled */
	uint16_t rcv_wnd;  /* offered in the SYN-ACK, unscaled */
	uint8_t tos;
	uint8_t tfo; /* the connection exists already (fastopen.c) */
	uint8_t acked;	   /* final ACK seen, waiting for data (TCP_DEFER_ACCEPT) or for room in the accept queue */
	uint32_t syn_len; /* bytes of data in the SYN that were taken */
	uint32_t oow_ms;   /* last ACK for a segment that fits nowhere; 0: none */
	uint64_t sent_us;  /* first SYN-ACK: RTT sample */
	struct wheel_timer timer;
};

struct tcp_tw {
	struct slab_hdr slab;
	struct tcp_key key;
	uint8_t opts;
	uint8_t rcv_wscale;
	uint16_t wnd; /* as last offered, scaled */
	uint8_t port_held; /* ports_conn_hold() */
	struct list node; /* tcp_state.tw_list */
	uint64_t expires_us;
	uint32_t rcv_nxt, snd_nxt;
	uint32_t ts_recent, ts_off;
	uint64_t ts_recent_us;
	uint64_t ack_us; /* last ACK sent from here: rate limit */
};
_Static_assert(sizeof(struct tcp_tw) <= 128, "a closed connection costs two cache lines");
_Static_assert(sizeof(struct tcp_syn) <= 192, "a half-open connection costs three cache lines");

#endif

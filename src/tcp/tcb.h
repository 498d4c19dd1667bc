/* tcb.h - the transmission control block: everything TCP knows about one connection.
 *
 * Embedded in struct sock (one slab object, one TLB page); touched by the owner of its stack only. The fields that a
 * predicted segment needs come first. Names are those of RFC 9293 §3.3.1.
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
#define TCP_OUT_SYN 0x04u
#define TCP_OUT_RST 0x08u
#define TCP_OUT_REXMIT 0x10u
#define TCP_OUT_PROBE 0x20u	/* zero-window or keep-alive probe */
#define TCP_OUT_FIN 0x40u

struct tcb;
/* The rest of this file belongs to the TCP engine: see the grouping by cache line below. */
struct tcb {
	/* line 0: key and chain */
	struct ip_addr laddr, raddr;
	uint16_t lport_be, rport_be;
	uint32_t hash;
	uint32_t hash_next; /* index + 1 of the next connection in the bucket */
	uint8_t state;	    /* enum tcp_conn_state */
	uint8_t out_flags;  /* TCP_OUT_* */
	uint8_t stack_id;
	uint8_t spare;
	/* the TCP engine adds its fields here */
};

#endif

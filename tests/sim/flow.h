/* flow.h - applications of the simulation: a connection between two hosts with a script for each end.
 *
 * Each end writes a known byte stream in chunks of random size, reads what comes in chunks of random size and compares every byte, and
 * closes as its plan says. flow_step() does whatever is possible now without blocking; it is called after every event.
 */
#ifndef GZ_SIM_FLOW_H
#define GZ_SIM_FLOW_H

#include "testenv.h"

enum close_plan {
	CLOSE_WHEN_SENT,	  /* close() once everything is written and the peer's end of file was read */
	CLOSE_SHUTDOWN_FIRST,	  /* shutdown(SHUT_WR) once everything is written, close() after the peer's end of file */
	CLOSE_AFTER_PEER,	  /* reads to the end of file first, then writes its stream, then close() */
	CLOSE_AT_ONCE,		  /* close() right behind the last write; what the peer still sends is refused */
	CLOSE_RESET,		  /* SO_LINGER 0 when everything is written and read */
	CLOSE_ABORT,		  /* SO_LINGER 0 in the middle, when cut_at bytes are written */
	CLOSE_CUT,		  /* close() in the middle, when cut_at bytes are written */
	CLOSE_PLANS,
};
extern const char *const close_plan_names[CLOSE_PLANS];

struct flow_end {
	struct sock *s;
	enum close_plan plan;
	uint64_t to_send, sent, received, expect; /* expect: what the other end will send */
	uint32_t chunk_max;			  /* of writes and reads */
	uint64_t read_every_us, next_read_us;	  /* a reader that is slow; 0: reads at once */
	uint64_t pause_at, pause_us;		  /* reads nothing for pause_us once pause_at bytes were read; 0 us: does not */
	uint64_t cut_at;
	uint32_t rcvbuf, sndbuf;		  /* SO_RCVBUF, SO_SNDBUF; 0: as it comes */
	const char *cc;				  /* TCP_CONGESTION; NULL: as it comes */
	uint32_t maxseg;			  /* TCP_MAXSEG; 0: as it comes */
	uint32_t more_ppm;			  /* share of writes that say MSG_MORE */
	bool keepalive;				  /* notices within a minute that its peer is gone */
	bool nodelay, shut, eof, closed, failed;
	int error;
	struct prng prng;
	uint64_t done_us; /* when its last byte was read */
};

struct flow {
	struct flow_end end[2]; /* 0 connects */
	struct sock *listener;	/* not its own */
	uint64_t start_us, stop_us; /* stop_us: writes no more from then on; 0: never stops before its bytes are written */
	uint64_t ended_us;	    /* when end 0 closed */
	uint64_t next_us;	    /* when it wants to be stepped although nothing happened */
	unsigned from, to;
	uint16_t port;
	bool done;
	uint16_t port_be; /* of the connecting end */
	bool accepted, connected;
	char problem[200]; /* a byte that was wrong, lost or invented */
};

/* A flow from host `from` to `port` of host `to`, which connects at f->start_us. Bytes: what each end will send. */
void flow_init(struct flow *f, struct sock *listener, unsigned from, unsigned to, uint16_t port, uint64_t bytes0, uint64_t bytes1,
	       uint64_t seed);
/* Does what is possible; returns true, and sets f->done, when both ends are closed or failed. */
bool flow_step(struct flow *f);
/* When it wants to start, stop or read slowly next; UINT64_MAX. */
uint64_t flow_next_us(const struct flow *f);
/* Both streams arrived whole. */
bool flow_complete(const struct flow *f);
/* A close that must not lose anything of what was sent, whatever the peer does. */
static inline bool plan_is_polite(enum close_plan p) { return p <= CLOSE_AFTER_PEER; }
static inline bool plan_resets(enum close_plan p) { return p == CLOSE_RESET || p == CLOSE_ABORT; }
/* Notes the first thing that went wrong. */
void flow_problem(struct flow *f, const char *fmt, ...) printf_like(2, 3);
/* Accepts for one of n flows (matched by the peer's port). */
void flows_accept(struct flow *f, unsigned n, struct sock *listener);

#endif

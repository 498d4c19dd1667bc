/* script.h - a packet script in memory, and the parser that makes it.
 *
 * The language is packetdrill's as far as IPv4, TCP, UDP and ICMP go (doc/testing.md has the list), so that a file can be replayed against
 * the kernel.
 * Ours alone: "@N" before a packet selects the N-th peer (its own port), "badsum" and "<hex 0102..>" make broken
 * input. The parser takes any bytes: it never reads past the end, bounds its recursion and its memory, and reports
 * file:line of the first mistake.
 */
#ifndef GZ_PKT_SCRIPT_H
#define GZ_PKT_SCRIPT_H

#include "frame.h"

#include <stdio.h>

#define SCRIPT_ARGS 8
#define SCRIPT_FIELDS 12
#define SCRIPT_EVENTS 4096
#define SCRIPT_PEERS 64
#define SCRIPT_STRING 48

enum value_kind { VALUE_NONE, VALUE_ELLIPSIS, VALUE_INT, VALUE_STRING, VALUE_LIST, VALUE_STRUCT };

/* An argument of a system call: number (htons(8080) and inet_addr("10.0.0.1") are numbers, in network order), "...", "text",
 * [value, ...] or {name = value, ...}, in which names may be missing. */
struct value {
	enum value_kind kind;
	int64_t n; /* VALUE_STRING: its length */
	uint8_t count;
	struct value *item[SCRIPT_FIELDS];
	char name[SCRIPT_FIELDS][20]; /* "": none was given */
	char text[SCRIPT_STRING];     /* VALUE_STRING; longer ones are cut, n counts on */
};

enum event_kind { EVENT_IN, EVENT_OUT, EVENT_CALL, EVENT_CODE, EVENT_SHELL };
enum time_kind { TIME_ABSOLUTE, TIME_RELATIVE, TIME_ANY };

struct event {
	struct event *next;
	int line;
	const char *text; /* as it stands in the file, from behind its time; borrowed from the caller's bytes */
	uint32_t text_len;
	enum event_kind kind;
	enum time_kind when;
	int64_t us, until_us; /* until_us >= 0: a packet's range "a~b" */
	int64_t done_us;      /* >= 0: a blocking call's end "a...b"; same base as us */
	/* packets */
	struct seg seg; /* numbers as written; data is NULL */
	int peer;	/* -1: not given */
	uint16_t src_port, dst_port; /* "1111 > 2222": 0 not given */
	bool has_win, any_opts, bad_sum;
	uint8_t tos_mask; /* bits of seg.tos that the script gives; outbound: compared */
	bool any_ect;	  /* "[ect01]": either of the two */
	struct seg quoted; /* inside an ICMP error */
	/* calls */
	char call[24];
	struct value *arg[SCRIPT_ARGS];
	uint8_t nargs;
	int64_t result;
	int err;	     /* errno expected when result is -1, 0: not said */
	bool any_result;
	/* code, shell */
	char *code;
};

struct script {
	char name[256];
	struct event *first, **last;
	unsigned nb_events;
	/* --name=value lines */
	int64_t tolerance_us, mtu, remote_isn;
	int64_t mss; /* of inbound packets that are longer: as if a device had joined segments; 0: they are taken for one */
	bool check_psh, burst, plain_only, offload_only, no_data_check, allow_extra;
	char error[512]; /* "file:line: what" */
};

/* Parses bytes[0..n), which must outlive sc. Returns 0, or -1 with sc->error set; script_free() in both cases. */
int script_parse(struct script *sc, const char *name, const char *bytes, size_t n);
void script_free(struct script *sc);

/* Value of a name (SOL_SOCKET, EAGAIN, ...); false: unknown. */
bool script_constant(const char *name, size_t len, int64_t *out);
const char *script_errno_name(int err);

#endif

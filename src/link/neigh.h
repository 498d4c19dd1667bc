/* neigh.h - inside of the link room: the neighbour table, shared by neigh.c, arp.c and eth_input.c. */
#ifndef GZ_LINK_NEIGH_H
#define GZ_LINK_NEIGH_H

#include "link/link.h"

#define ETH_HDR_BYTES 14u
#define VLAN_HDR_BYTES 4u

/* Life of an entry (RFC 4861 §7.3.2; FREE and FAILED are ours):
 *
 *	FREE --output--> INCOMPLETE --answer--> REACHABLE --30 s--> STALE --output--> DELAY --5 s--> PROBE
 *	                     |3 requests            ^------------- answer or progress above ---------|3 probes
 *	                     v                                                                       v
 *	                   FAILED <-------------------------------------------------------------- FAILED
 *
 * FAILED starts again at INCOMPLETE with the next packet. The values are shown by `gazellectl`. */
enum neigh_state {
	NEIGH_FREE,
	NEIGH_INCOMPLETE,
	NEIGH_REACHABLE,
	NEIGH_STALE,
	NEIGH_DELAY,
	NEIGH_PROBE,
	NEIGH_FAILED,
};

/* RFC 4861 §10, and our bounds */
#define NEIGH_RETRANS_US (1000 * 1000ULL)
#define NEIGH_MAX_PROBES 3
#define NEIGH_REACHABLE_US (30 * 1000 * 1000ULL)
#define NEIGH_DELAY_US (5 * 1000 * 1000ULL)
#define NEIGH_GC_US (600 * 1000 * 1000ULL)  /* a stale entry that nobody used is forgotten */
#define NEIGH_FAILED_US (60 * 1000 * 1000ULL) /* so is a failed one */
#define NEIGH_VERIFY_US (1000 * 1000ULL)    /* a changed address is verified at most this often */
#define NEIGH_HOLD_MAX 64 /* packets per unresolved neighbour (the fragments of one datagram fit); the oldest is dropped */
#define NEIGH_HOLD_QUEUES 32		    /* unresolved neighbours with packets: bounds the total */
#define NEIGH_BOARD_POLL_US 1000	    /* look at the board while packets wait */

struct neigh_hold {
	struct rte_mbuf *m[NEIGH_HOLD_MAX];
	uint8_t first, count;
	bool in_use;
};

struct neigh {
	/* the fast path: one cache line */
	uint32_t id; /* generation << 16 | index + 1; what a hint holds. Generation changes when the entry is reused. */
	uint32_t addr_be;
	bool usable; /* REACHABLE, DELAY, PROBE: send without another look */
	uint8_t state;
	uint8_t probes;	   /* requests sent in this state */
	uint8_t hold;	   /* index + 1 of the hold queue, 0 none */
	uint32_t hash_next; /* index + 1 */
	uint8_t frame[16]; /* two bytes of padding, destination, source, EtherType: copied in front of a packet */
	uint64_t confirmed_us;
	uint64_t used_us;
	uint64_t retry_us; /* when the next request is due */
	/* --- */
	uint64_t verified_us; /* when a claimed new address was last looked into */
	struct wheel_timer timer;
} cache_aligned;

/* What stacks on the same device tell each other; see the head of neigh.c. */
#define BOARD_SLOTS 1024u
#define BOARD_RING 64u

struct neigh_fact {
	_Atomic uint32_t seq; /* odd while written */
	_Atomic uint32_t addr_be;
	_Atomic uint64_t mac;
	_Atomic uint64_t confirmed_us;
	_Atomic uint64_t wanted_us; /* when a stack last asked */
};

struct neigh_board {
	_Atomic uint32_t refs;
	_Atomic uint32_t news; /* facts that are new or changed, ever */
	_Atomic uint16_t ring[BOARD_RING]; /* their slots, the last ones */
	struct neigh_fact fact[BOARD_SLOTS];
};

enum vlan_mode { VLAN_NONE, VLAN_HW, VLAN_SW };

struct neigh_table {
	struct neigh *e;
	uint32_t capacity;
	uint32_t used;
	uint32_t *bucket; /* index + 1 */
	uint32_t bucket_mask;
	uint32_t free_head; /* index + 1, chained by hash_next */
	uint32_t hand;	    /* where the next search for a victim starts */
	uint32_t secret;
	uint32_t random;
	uint8_t mac[6]; /* ours */
	uint8_t vlan_mode; /* enum vlan_mode */
	int vlan_id;	   /* 1..4094, or -1 */
	struct neigh_board *board;
	uint32_t news_seen;
	struct neigh_hold hold[NEIGH_HOLD_QUEUES];
	/* RFC 5227 */
	struct wheel_timer announce;
	uint8_t announces_left;
	bool conflict;	      /* seen, not yet reported */
	bool conflict_logged;
	uint8_t conflict_mac[6];
	uint64_t defended_us; /* when we last defended the address, 0 never */
};

/* The entry for addr, or NULL. */
struct neigh *neigh_find(struct neigh_table *t, uint32_t addr_be);
/* ARP said that addr is at mac. answer: it replied to a request of ours (or may have); else it only asked or announced. Returns false
 * when nobody here talks to addr. */
bool neigh_learn(struct stack *st, uint32_t addr_be, const uint8_t mac[6], bool answer);
/* Looks at what other stacks learned since the last call. */
void neigh_sync(struct stack *st);

/* Puts the Ethernet header in front of m and queues the frame. Takes m. */
void eth_output(struct stack *st, struct rte_mbuf *m, const uint8_t dst[6], uint16_t type_be);
/* Asks for target: broadcast, or unicast to `to` (a probe). sender 0: an RFC 5227 probe. */
void arp_request(struct stack *st, uint32_t target_be, uint32_t sender_be, const uint8_t *to);

#endif

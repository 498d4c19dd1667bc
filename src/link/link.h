/* link.h - Ethernet and neighbours: what loop.c and ip call. Owner of the stack only. */
#ifndef GZ_LINK_LINK_H
#define GZ_LINK_LINK_H

#include "stack/stack.h"

/* A received burst: address filter, VLAN, EtherType; on to arp or ip4_input. Takes all mbufs. */
void eth_input_burst(struct stack *st, struct rte_mbuf **m, uint16_t n);

/* Sends an IP packet (m->data at the IP header, l2_len 0) to next_hop_be on the link: resolved -> Ethernet header and
 * netdev_tx(); else onto the neighbour's bounded hold queue and ARP. Broadcast and multicast are mapped. Takes m.
 * hint: in/out cache of the neighbour's index + 1 (0: none), so that a connection looks up once; may be NULL. */
void link_output(struct stack *st, struct rte_mbuf *m, uint32_t next_hop_be, uint32_t *hint);

/* Tags frames with this VLAN id and accepts no others; <= 0 or 4095: untagged. After neigh_table_create(), at boot. */
void link_set_vlan(struct stack *st, int vlan_id);

/* neigh.c: cache with the states of RFC 4861; capacity at most 65,534 */
struct neigh_table *neigh_table_create(struct stack *st, uint32_t capacity);
void neigh_table_destroy(struct stack *st, struct neigh_table *t);
/* Forward progress of the protocol above (TCP ACK of new data): the neighbour is reachable (RFC 4861 §7.3.1). */
void neigh_confirm(struct stack *st, uint32_t hint);
void neigh_on_timer(struct stack *st, struct wheel_timer *t);
/* Gratuitous ARP / probe at start and on link change (RFC 5227). */
void arp_announce(struct stack *st);
void arp_on_announce_timer(struct stack *st, struct wheel_timer *t);
/* ARP frame received: m->data at the ARP header. Takes m. */
void arp_input(struct stack *st, struct rte_mbuf *m, const uint8_t src_mac[6]);

/* For ctl: copies up to n entries; returns how many. Owner (by call). */
struct neigh_info { uint32_t addr_be; uint8_t mac[6]; uint8_t state; uint8_t held; };
unsigned neigh_dump(struct stack *st, struct neigh_info *out, unsigned n);

#endif

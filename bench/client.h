/* client.h - the scripted client of the in-process benchmarks: many TCP connections to one server, as flat frames.
 *
 * It knows just enough TCP: opens, sends requests, takes every reply as in order, acknowledges with the next request,
 * closes. It is never part of what is timed. The server's name for the link is 10.0.0.1; clients are 192.168.x.y behind
 * the gateway 10.0.0.254. One thread.
 */
#ifndef GZ_BENCH_CLIENT_H
#define GZ_BENCH_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#define CLIENT_FRAME_MAX 1600
#define CLIENT_SERVER_IP 0x0a000001u
#define CLIENT_GATEWAY_IP 0x0a0000feu
#define CLIENT_SERVER_PORT 8080

struct client_conn {
	uint32_t seq, ack; /* next to send, next expected */
	uint32_t ts_recent;
	uint8_t established, ts, fin_seen, wscale;
};

struct client {
	uint32_t n;
	struct client_conn *conn;
	uint8_t server_mac[6], mac[6];
	bool offer_ts;
	uint32_t now_ms; /* timestamp clock */
	uint64_t replies, reply_bytes, syn_acks, fins, resets, pure_acks, others, arps;
	uint8_t payload[1460];
};

void client_init(struct client *c, uint32_t n, const uint8_t server_mac[6], bool offer_ts);
void client_fini(struct client *c);
/* Each writes one frame and returns its length. */
uint32_t client_syn(struct client *c, uint32_t i, uint8_t *f);
uint32_t client_ack(struct client *c, uint32_t i, uint8_t *f);
uint32_t client_data(struct client *c, uint32_t i, uint32_t bytes, uint8_t *f);
uint32_t client_fin(struct client *c, uint32_t i, uint8_t *f);
/* A frame from the server. Returns the connection, or -1. *answer > 0: the ARP answer's length, written to reply. */
int64_t client_on_frame(struct client *c, const uint8_t *f, uint32_t len, uint8_t *reply, uint32_t *answer);

#endif

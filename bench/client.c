/* client.c - see client.h. Called by the two servers' benchmarks, inproc.c and lwip.c. */
#include "client.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define PORTS_PER_IP 20000u
#define FIRST_IP 0xc0a80001u
#define FIRST_PORT 10000u
#define HDR (14 + 20)

static void put16(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16); put16(p + 2, v); }
static uint32_t get16(const uint8_t *p) { return (uint32_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return get16(p) << 16 | get16(p + 2); }

static uint32_t sum(const uint8_t *p, uint32_t n, uint32_t s)
{
	for (; n > 1; n -= 2, p += 2)
		s += get16(p);
	if (n)
		s += (uint32_t)p[0] << 8;
	return s;
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

void client_init(struct client *c, uint32_t n, const uint8_t server_mac[6], bool offer_ts)
{
	memset(c, 0, sizeof(*c));
	c->n = n;
	c->conn = calloc(n, sizeof(*c->conn));
	if (!c->conn)
		abort();
	memcpy(c->server_mac, server_mac, 6);
	memcpy(c->mac, (uint8_t[6]){ 2, 0, 0, 0, 0, 0xfe }, 6);
	c->offer_ts = offer_ts;
	for (uint32_t i = 0; i < n; i++)
		c->conn[i].seq = i * 2654435761u; /* touches the pages too */
	memset(c->payload, 'x', sizeof(c->payload));
}

void client_fini(struct client *c)
{
	free(c->conn);
}

static uint32_t build(struct client *c, uint32_t i, uint8_t flags, const uint8_t *opt, uint32_t opt_len, uint32_t bytes,
		      uint8_t *f)
{
	struct client_conn *k = &c->conn[i];
	uint8_t *ip = f + 14, *tcp = ip + 20;
	uint32_t tcp_len = 20 + opt_len + bytes;

	memcpy(f, c->server_mac, 6);
	memcpy(f + 6, c->mac, 6);
	put16(f + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + tcp_len);
	put16(ip + 6, 0x4000);
	ip[8] = 64;
	ip[9] = 6;
	put32(ip + 12, FIRST_IP + i / PORTS_PER_IP);
	put32(ip + 16, CLIENT_SERVER_IP);
	put16(ip + 10, fold(sum(ip, 20, 0)));
	put16(tcp, FIRST_PORT + i % PORTS_PER_IP);
	put16(tcp + 2, CLIENT_SERVER_PORT);
	put32(tcp + 4, k->seq);
	put32(tcp + 8, flags & 0x10 ? k->ack : 0);
	tcp[12] = (uint8_t)((20 + opt_len) / 4 << 4);
	tcp[13] = flags;
	put16(tcp + 14, 0xfff0);
	put16(tcp + 16, 0);
	put16(tcp + 18, 0);
	memcpy(tcp + 20, opt, opt_len);
	memcpy(tcp + 20 + opt_len, c->payload, bytes);
	put16(tcp + 16, fold(sum(tcp, tcp_len, sum(ip + 12, 8, 6 + tcp_len))));
	k->seq += bytes + ((flags & 3) != 0);
	return HDR + tcp_len < 60 ? (memset(f + HDR + tcp_len, 0, 60 - HDR - tcp_len), 60) : HDR + tcp_len;
}

static uint32_t ts_option(const struct client *c, const struct client_conn *k, uint8_t *o)
{
	if (!k->ts)
		return 0;
	o[0] = o[1] = 1;
	o[2] = 8, o[3] = 10;
	put32(o + 4, c->now_ms);
	put32(o + 8, k->ts_recent);
	return 12;
}

uint32_t client_syn(struct client *c, uint32_t i, uint8_t *f)
{
	uint8_t o[20] = { 2, 4, 1460 >> 8, 1460 & 255, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7 };
	uint8_t plain[12] = { 2, 4, 1460 >> 8, 1460 & 255, 1, 1, 4, 2, 1, 3, 3, 7 };

	memset(&c->conn[i].ack, 0, sizeof(struct client_conn) - sizeof(uint32_t));
	put32(o + 8, c->now_ms);
	return c->offer_ts ? build(c, i, 0x02, o, 20, 0, f) : build(c, i, 0x02, plain, 12, 0, f);
}

uint32_t client_ack(struct client *c, uint32_t i, uint8_t *f)
{
	uint8_t o[12];

	return build(c, i, 0x10, o, ts_option(c, &c->conn[i], o), 0, f);
}

uint32_t client_data(struct client *c, uint32_t i, uint32_t bytes, uint8_t *f)
{
	uint8_t o[12];
	uint32_t n = ts_option(c, &c->conn[i], o);

	return build(c, i, 0x18, o, n, bytes, f);
}

uint32_t client_fin(struct client *c, uint32_t i, uint8_t *f)
{
	uint8_t o[12];
	uint32_t n = ts_option(c, &c->conn[i], o);

	return build(c, i, 0x11, o, n, 0, f);
}

static uint32_t answer_arp(struct client *c, const uint8_t *f, uint8_t *r)
{
	c->arps++;
	if (get16(f + 20) != 1 || get32(f + 38) == CLIENT_SERVER_IP)
		return 0;
	memset(r, 0, 60);
	memcpy(r, f + 6, 6);
	memcpy(r + 6, c->mac, 6);
	memcpy(r + 12, f + 12, 8);
	put16(r + 20, 2);
	memcpy(r + 22, c->mac, 6);
	memcpy(r + 28, f + 38, 4);
	memcpy(r + 32, f + 22, 10);
	return 60;
}

static void note_options(struct client_conn *k, const uint8_t *o, uint32_t n, bool syn)
{
	for (uint32_t i = 0; i + 1 < n && o[i];) {
		if (o[i] == 1) {
			i++;
			continue;
		}
		if (o[i] == 8 && i + 10 <= n) {
			k->ts_recent = get32(o + i + 2);
			k->ts |= syn;
		}
		i += o[i + 1] ? o[i + 1] : 1u;
	}
}

int64_t client_on_frame(struct client *c, const uint8_t *f, uint32_t len, uint8_t *reply, uint32_t *answer)
{
	const uint8_t *ip = f + 14, *tcp = ip + 20;
	uint32_t i, hdr, bytes, seq;
	struct client_conn *k;

	*answer = 0;
	if (len >= 42 && get16(f + 12) == 0x0806) {
		*answer = answer_arp(c, f, reply);
		return -1;
	}
	if (len < HDR + 20 || get16(f + 12) != 0x0800 || ip[9] != 6)
		return c->others++, -1;
	i = (get32(ip + 16) - FIRST_IP) * PORTS_PER_IP + get16(tcp + 2) - FIRST_PORT;
	if (i >= c->n)
		return c->others++, -1;
	k = &c->conn[i];
	hdr = (uint32_t)(tcp[12] >> 4) * 4;
	bytes = get16(ip + 2) - 20 - hdr;
	seq = get32(tcp + 4);
	note_options(k, tcp + 20, hdr - 20, tcp[13] & 2);
	if (tcp[13] & 4) {
		c->resets++;
	} else if (tcp[13] & 2) {
		k->ack = seq + 1;
		k->established = 1;
		c->syn_acks++;
	} else if (bytes == 0 && !(tcp[13] & 1)) {
		c->pure_acks++;
	} else if (seq == k->ack) {
		k->ack += bytes;
		c->replies += bytes != 0;
		c->reply_bytes += bytes;
		if (tcp[13] & 1) {
			k->ack++;
			k->fin_seen = 1;
			c->fins++;
		}
	} else {
		c->others++; /* a retransmission: something is wrong, the caller reports it */
	}
	return i;
}

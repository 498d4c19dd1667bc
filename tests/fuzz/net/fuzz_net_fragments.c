/* fuzz_net_fragments.c - fragments of a few datagrams in any order, with time steps; a naive model says what must come out.
 * Record: kind; then for a fragment: which datagram (2 bits) and flags, offset / 8 (13 bits), length (16 bits). The bytes are a function
 * of datagram and offset, so that a datagram put together wrongly shows. */
#define FUZZ_POOL_MBUFS 640 /* so that the memory bound is reached */
#include "fuzz_common.h"

#define DATAGRAMS 4
#define MAX_SEEN 12000

struct seen {
	uint32_t off, len;
};

struct model {
	bool condemned, has_total, started;
	uint32_t total, top, received, n;
	uint64_t since_us; /* first fragment, or condemnation */
	uint8_t ecn, hlen; /* header of the first fragment */
};

static struct model model[DATAGRAMS];
static struct seen *seen[DATAGRAMS];

static uint8_t byte_at(unsigned d, uint32_t off)
{
	return (uint8_t)(off * 7 + (off >> 8) * 13 + d * 31);
}

/* 1: complete. As in tests/unit/ip/test_reassembly.c. */
static bool model_add(unsigned d, uint32_t off, uint32_t len, bool more, uint8_t ecn, uint32_t hlen)
{
	struct model *m = &model[d];
	uint64_t now = nethost[0].st->now_us;

	if (!m->started) {
		memset(m, 0, sizeof(*m));
		m->started = true;
		m->since_us = now;
	}
	if (m->condemned)
		return false;
	if (more ? m->has_total && off + len > m->total : (m->has_total && m->total != off + len) || m->top > off + len)
		goto condemn;
	m->ecn |= (uint8_t)(1u << ecn); /* also of a duplicate */
	if (off == 0 && !m->hlen)
		m->hlen = (uint8_t)hlen;
	for (uint32_t i = 0; i < m->n; i++)
		if (seen[d][i].off == off && seen[d][i].len == len)
			return false;
	for (uint32_t i = 0; i < m->n; i++)
		if (off / 8 < (seen[d][i].off + seen[d][i].len + 7) / 8 && seen[d][i].off / 8 < (off + len + 7) / 8)
			goto condemn;
	seen[d][m->n++] = (struct seen){ off, len };
	m->received += len;
	m->top = MAX(m->top, off + len);
	if (!more) {
		m->has_total = true;
		m->total = off + len;
	}
	if (m->has_total && m->received == m->total) {
		m->started = false;
		return !((m->ecn & 1) && (m->ecn & 8)) && m->hlen + m->total <= 65535;
	}
	return false;
condemn:
	m->condemned = true;
	m->since_us = now;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t f[66000];
	struct input in = { data, size };
	unsigned delivered = 0;

	for (unsigned d = 0; d < DATAGRAMS; d++) {
		if (!seen[d])
			seen[d] = malloc(sizeof(struct seen) * MAX_SEEN);
		model[d].started = false;
	}
	nethost_open(1, false);
	for (unsigned records = 0; in.left && records < 2000; records++) {
		uint8_t kind = take8(&in);

		if (kind == 255) { /* time */
			uint64_t us = (uint64_t)take8(&in) * 200000;

			nethost_run(0, us);
			nethost_discard(0);
			for (unsigned d = 0; d < DATAGRAMS; d++) {
				struct model *m = &model[d];

				if (m->started && nethost[0].st->now_us >= m->since_us + (m->condemned ? 1000000 : 30000000))
					m->started = false;
			}
		} else {
			unsigned d = kind & 3, repeat = 1;
			bool more = kind & 4;
			uint8_t ecn = (uint8_t)(kind >> 3 & 3), opts = (uint8_t)(kind & 32 ? 4 : 0);
			uint16_t off = take16(&in) & 0x1fff, len = take16(&in);

			/* many small ones in a row, so that the flat form is reached by short inputs */
			if (kind & 64)
				repeat = 1 + len / 64 % 256;
			if (kind & 64)
				len = (uint16_t)(8 + 8 * (len % 8));
			len = (uint16_t)MIN(len, 9000);
			while (repeat--) {
				struct net_ip ip = { .src_be = IP(10, 0, 0, 77), .dst_be = IP(10, 0, 0, 1), .proto = 6, .tos = ecn,
						     .id = (uint16_t)d, .frag = (uint16_t)(off | (more ? 0x2000 : 0)), .opts = { 1, 1, 1, 1 },
						     .opts_len = opts };
				uint32_t n = put_eth(f, MAC_HOST(0), MAC_PEER(1), 0x0800), hlen = 20u + opts, byte_off = off * 8u;
				bool alone = off == 0 && !more;
				bool legal = len && !(more && len % 8) && byte_off + len + hlen <= 65535;
				bool complete;

				n += put_ip4(f + n, &ip, len);
				for (uint32_t i = 0; i < len; i++)
					f[n + i] = byte_at(d, byte_off + i);
				complete = alone || (legal && model[d].n < MAX_SEEN - 1 && model_add(d, byte_off, len, more, ecn, hlen));
				nethost_push(0, f, n + len, kind & 128 ? 700 : 0);
				delivered += complete;
				if (nethost[0].st->drops[DROP_REASS_MEMORY] == 0 && up.tcp_segs != delivered)
					abort();
				if (complete && up.tcp_segs == delivered && !alone && delivered) {
					if (up.tcp_len != model[d].total)
						abort();
					for (uint32_t i = 0; i < up.tcp_len; i++)
						if (up.tcp_data[i] != byte_at(d, i))
							abort();
				}
				off = (uint16_t)((off + len / 8) & 0x1fff);
			}
		}
	}
	fuzz_close();
	return 0;
}

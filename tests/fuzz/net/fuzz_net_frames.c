/* fuzz_net_frames.c - sequences of received frames, time steps and sends: Ethernet, VLAN, ARP,
 * IPv4, ICMP, UDP. Record: kind, length (16 bits, little endian), bytes. */
#define FUZZ_POOL_MBUFS 4096
#include "fuzz_common.h"

static struct sock *sender;

/* So that what is behind the checksums is reached. */
static void fix_checksums(uint8_t *f, size_t n)
{
	uint32_t at = 14, hlen, total;
	uint16_t sum;

	if (n > 18 && f[12] == 0x81 && f[13] == 0)
		at += 4;
	if (n < at + 20 || f[at - 2] != 8 || f[at - 1] != 0)
		return;
	hlen = (f[at] & 15) * 4u;
	if (hlen < 20 || n < at + hlen)
		return;
	f[at + 10] = f[at + 11] = 0;
	sum = naive_csum(f + at, hlen, 0);
	memcpy(f + at + 10, &sum, 2);
	total = (uint32_t)f[at + 2] << 8 | f[at + 3];
	if (total < hlen + 8 || at + total > n)
		return;
	if (f[at + 9] == 1 || f[at + 9] == 2) {
		uint8_t *icmp = f + at + hlen;

		icmp[2] = icmp[3] = 0;
		sum = naive_csum(icmp, total - hlen, 0);
		memcpy(icmp + 2, &sum, 2);
	} else if (f[at + 9] == 17) {
		uint8_t *udp = f + at + hlen;
		uint32_t pseudo = 17, len = (uint32_t)udp[4] << 8 | udp[5];

		if (len < 8 || len > total - hlen)
			return;
		for (int i = 12; i < 20; i += 2)
			pseudo += (uint32_t)f[at + i] << 8 | f[at + i + 1];
		udp[6] = udp[7] = 0;
		sum = naive_csum(udp, len, pseudo + len);
		memcpy(udp + 6, &sum, 2);
	}
}

static bool mbuf_differs(const struct rte_mbuf *m, const uint8_t *p, size_t n)
{
	uint8_t copy[2048];

	return memcmp(rte_pktmbuf_read(m, 0, (uint32_t)n, copy), p, n) != 0;
}

/* shared: somebody else still reads the buffer, it must not be written to */
static void receive(const uint8_t *p, size_t n, uint32_t seg, uint64_t flags, bool fix, bool shared)
{
	uint8_t f[2048];
	struct rte_mbuf *m;

	n = MIN(n, sizeof(f));
	if (!n)
		return;
	memcpy(f, p, n);
	if (fix)
		fix_checksums(f, n);
	m = nethost_chain(f, (uint32_t)n, seg);
	m->ol_flags |= flags;
	m->vlan_tci = f[0];
	m->tx_offload = 0x5a5a5a5a5a5a5a5aULL;
	if (shared) {
		struct rte_mbuf *other = rte_pktmbuf_clone(m, nethost[0].st->pool);
		uint32_t before = other ? rte_pktmbuf_pkt_len(other) : 0;

		eth_input_burst(nethost[0].st, &m, 1);
		if (other && (rte_pktmbuf_pkt_len(other) != before || mbuf_differs(other, f, n)))
			abort();
		rte_pktmbuf_free(other);
		return;
	}
	eth_input_burst(nethost[0].st, &m, 1);
}

static void send_datagram(const uint8_t *p, size_t n, uint32_t dst)
{
	static uint8_t big[65536];
	struct rte_mbuf *m = nethost_chain(big, n >= 2 ? (uint32_t)(p[0] | p[1] << 8) : 1,
					   n >= 3 ? p[2] * 8u + 100 : 0);
	struct ip_addr a = ip_addr_v4(dst);

	if (!m)
		return;
	memcpy(pkt_tx(m)->addr, &a, 16);
	pkt_tx(m)->port_be = htons(9);
	pkt_tx(m)->ttl = 3;
	pkt_tx(m)->tos = 0;
	udp_output(nethost[0].st, sender, m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct sock *connected;
	struct stack *st;

	nethost_open(1, false);
	st = nethost[0].st;
	sender = fuzz_bind(AF_INET, 0, 1000);
	sender->opt.broadcast = 1;
	sender->opt.mtu_discover = IP_PMTUDISC_DONT;
	connected = fuzz_bind(AF_INET6, IP(10, 0, 0, 1), 1001);
	connected->tcb.raddr = ip_addr_v4(IP(10, 0, 0, 77));
	connected->tcb.rport_be = htons(5);
	connected->opt.recverr = 1;
	atomic_store(&connected->status, SOCK_CONNECTED);

	for (unsigned records = 0; in.left && records < 400; records++) {
		uint8_t kind = take8(&in);
		uint16_t len = take16(&in);
		size_t n;
		const uint8_t *p = take(&in, len, &n);

		if (kind >= 252) {
			receive(p, n, kind & 1 ? 40 : 0, 0, true, true);
			continue;
		}
		switch (kind % 12) {
		case 0:
			receive(p, n, 0, 0, false, false);
			break;
		case 1:
			receive(p, n, 0, 0, true, false);
			break;
		case 2:
			receive(p, n, kind / 12 + 1u, 0, true, false);
			break;
		case 3:
			receive(p, n, 0, RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD,
				false, false);
			break;
		case 4:
			receive(p, n, 0, RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED, true,
				false);
			break;
		case 5:
			nethost_run(0, n >= 2 ? (uint64_t)(p[0] | p[1] << 8) * 20000 : 0);
			break;
		case 6:
			send_datagram(p, n, IP(10, 0, 0, kind / 12));
			break;
		case 7:
			send_datagram(p, n,
				      kind / 12 % 2 ? IP(10, 0, 0, 77) : IP(239, 1, 1, kind / 12));
			break;
		case 8:
			ip4_group_join(st, IP(239, 1, 1, kind / 12));
			break;
		case 9:
			ip4_group_leave(st, IP(239, 1, 1, kind / 12));
			break;
		case 10:
			link_set_vlan(st, kind / 12 % 2 ? 5 : -1);
			break;
		default:
			arp_announce(st);
			break;
		}
		if (records % 16 == 15) {
			nethost_run(0, 0);
			nethost_discard(0);
		}
	}
	fuzz_close();
	return 0;
}

/* lwip.c - the server of inproc.c on Debian's lwIP, raw interface, one thread: what (d) of `make bench` compares with.
 *
 * Same client, same frames, same sections timed: frames in -> ethernet_input -> recv callback -> tcp_write + tcp_output ->
 * frame out -> timers, which lwIP's main loop looks at after each input as this stack's does. Debian builds lwIP with its system
 * layer; the raw interface is used from the only thread, which lwIP allows before tcpip_init(). Prints one line of JSON.
 */
#include "client.h"
#include "measure.h"

#include <getopt.h>
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#define BURST_MAX 64

static struct netif nif;
static struct client cl;
static struct {
	uint8_t data[CLIENT_FRAME_MAX];
	uint32_t len;
} out[4096];
static uint32_t out_n;
static uint64_t errors;

static err_t link_out(struct netif *n, struct pbuf *p)
{
	if (out_n < 4096) {
		out[out_n].len = pbuf_copy_partial(p, out[out_n].data, CLIENT_FRAME_MAX, 0);
		out_n++;
	}
	return ERR_OK;
}

static err_t nif_init(struct netif *n)
{
	n->name[0] = 'b';
	n->name[1] = 'm';
	n->output = etharp_output;
	n->linkoutput = link_out;
	n->mtu = 1500;
	n->hwaddr_len = 6;
	memcpy(n->hwaddr, (uint8_t[6]){ 2, 0, 0, 0, 0, 1 }, 6);
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
	return ERR_OK;
}

/* --- the server: echoes 64 bytes for each request --- */

static uint32_t reply_bytes = 64;
static bool sink;

static err_t on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	char buf[2048];

	if (!p) {
		tcp_arg(pcb, NULL);
		tcp_recv(pcb, NULL);
		return tcp_close(pcb);
	}
	pbuf_copy_partial(p, buf, sizeof(buf), 0); /* a read() copies, so must this */
	tcp_recved(pcb, p->tot_len);
	pbuf_free(p);
	if (!sink) {
		if (tcp_write(pcb, buf, (u16_t)reply_bytes, TCP_WRITE_FLAG_COPY) != ERR_OK)
			errors++;
		tcp_output(pcb);
	}
	return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	if (!pcb)
		return ERR_VAL;
	tcp_nagle_disable(pcb);
	tcp_recv(pcb, on_data);
	return ERR_OK;
}

static void input(const uint8_t *f, uint32_t len)
{
	/* PBUF_RAM: the elements of PBUF_POOL in Debian's build are smaller than pbuf_alloc() believes (616 against 1,514 bytes) */
	struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_RAM);

	if (!p) {
		errors++;
		return;
	}
	pbuf_take(p, f, (u16_t)len);
	if (nif.input(p, &nif) != ERR_OK)
		pbuf_free(p);
}

/* What the server sent goes to the client; ARP answers go back. */
static void drain(void)
{
	uint8_t reply[64];
	uint32_t answer;

	for (uint32_t i = 0; i < out_n; i++) {
		client_on_frame(&cl, out[i].data, out[i].len, reply, &answer);
		if (answer)
			input(reply, answer);
	}
	out_n = 0;
}

static struct {
	uint8_t data[CLIENT_FRAME_MAX];
	uint32_t len;
} in[BURST_MAX];

static uint64_t push(uint32_t n)
{
	uint64_t t = cycles_now();

	for (uint32_t i = 0; i < n; i++)
		input(in[i].data, in[i].len);
	sys_check_timeouts();
	return cycles_now() - t;
}

static void open_one(uint32_t i, struct measure *m, uint32_t overhead)
{
	uint64_t t;

	in[0].len = client_syn(&cl, i, in[0].data);
	t = push(1);
	drain();
	drain();
	in[0].len = client_ack(&cl, i, in[0].data);
	t += push(1);
	drain();
	if (m)
		measure_add(m, t, 2 * overhead, 1);
}

static uint64_t rnd_state = 88172645463325252ULL;
static uint32_t rnd(uint32_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return (uint32_t)((rnd_state >> 33) * n >> 31);
}

int main(int argc, char **argv)
{
	uint32_t conns = 1, requests = 200000, burst = 1, overhead, o;
	struct measure rr, seg, oc;
	ip4_addr_t ip, mask, gw;
	struct tcp_pcb *l;
	uint64_t base, mem;

	while ((o = (uint32_t)getopt(argc, argv, "c:n:b:")) != (uint32_t)-1) {
		if (o == 'c')
			conns = (uint32_t)atoi(optarg);
		else if (o == 'n')
			requests = (uint32_t)atoi(optarg);
		else if (o == 'b')
			burst = (uint32_t)atoi(optarg);
		else
			return 2;
	}
	if (!conns || !burst || burst > BURST_MAX || burst > conns)
		return fprintf(stderr, "usage: bench_lwip -c CONNECTIONS -n REQUESTS -b BURST\n"), 2;
	lwip_init();
	ip.addr = lwip_htonl(CLIENT_SERVER_IP);
	mask.addr = lwip_htonl(0xffffff00);
	gw.addr = lwip_htonl(CLIENT_GATEWAY_IP);
	netif_add(&nif, &ip, &mask, &gw, NULL, nif_init, ethernet_input);
	netif_set_default(&nif);
	netif_set_up(&nif);
	out_n = 0;
	client_init(&cl, conns, nif.hwaddr, true);
	l = tcp_new();
	if (!l || tcp_bind(l, IP4_ADDR_ANY, CLIENT_SERVER_PORT) != ERR_OK || !(l = tcp_listen_with_backlog(l, 255)))
		return fprintf(stderr, "bench_lwip: cannot listen\n"), 1;
	tcp_accept(l, on_accept);
	measure_init(&rr, requests);
	measure_init(&seg, requests);
	measure_init(&oc, conns);
	overhead = cycles_overhead();

	base = resident_bytes();
	for (uint32_t i = 0; i < conns; i++)
		open_one(i, &oc, overhead);
	mem = resident_bytes() - base;
	if (cl.syn_acks < conns)
		return fprintf(stderr, "bench_lwip: %llu of %u connections opened\n", (unsigned long long)cl.syn_acks, conns), 1;

	for (uint32_t done = 0, next = 0; done < requests + requests / 10; done += burst) {
		uint64_t t;

		for (uint32_t i = 0; i < burst; i++) {
			/* distinct connections within a burst */
			next = conns == 1 ? 0 : burst == 1 ? rnd(conns) : (i ? (next + 1 + rnd(conns / burst)) % conns : rnd(conns));
			in[i].len = client_data(&cl, next, 64, in[i].data);
		}
		t = push(burst);
		if (done >= requests / 10)
			measure_add(&rr, t, overhead, burst);
		drain();
		cl.now_ms++;
	}
	if (cl.replies < requests || cl.resets || errors)
		return fprintf(stderr, "bench_lwip: %llu replies, %llu resets, %llu errors\n", (unsigned long long)cl.replies,
			       (unsigned long long)cl.resets, (unsigned long long)errors), 1;

	sink = true;
	for (uint32_t done = 0; done < requests / 4; done += 16) {
		uint64_t t;

		for (uint32_t i = 0; i < 16; i++)
			in[i].len = client_data(&cl, 0, 1448, in[i].data);
		t = push(16);
		measure_add(&seg, t, overhead, 16);
		drain();
	}
	measure_sort(&rr);
	measure_sort(&seg);
	measure_sort(&oc);
	printf("{\"stack\":\"lwip\",\"connections\":%u,\"burst\":%u,\"requests\":%llu,\"rr_mean\":%.0f,\"rr_p50\":%u,\"rr_p99\":%u,"
	       "\"segment_mean\":%.0f,\"open_mean\":%.0f,\"bytes_per_connection\":%.0f,\"overhead\":%u,\"others\":%llu}\n",
	       conns, burst, (unsigned long long)rr.n * burst, measure_trimmed_mean(&rr), measure_percentile(&rr, .5),
	       measure_percentile(&rr, .99), measure_trimmed_mean(&seg), measure_trimmed_mean(&oc),
	       conns > 1 ? (double)mem / conns : 0.0, overhead, (unsigned long long)cl.others);
	return 0;
}

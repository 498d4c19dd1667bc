/* t_tcp_info.c - what TCP_INFO tells at points where every implementation must tell the same: values where they are exact, relations where
 * they are times or sizes of the machine. */
#include "t.h"

#include "../../src/tcp/info.h"

#define MSS 1000

static struct gz_tcp_info info_of(int fd)
{
	struct gz_tcp_info i;
	socklen_t len = sizeof(i);

	memset(&i, 0, sizeof(i));
	MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len));
	if (len != sizeof(i))
		SAY("length %u\n", len);
	return i;
}

#define V(f) SAY("  " #f " %lld\n", (long long)i.tcpi_##f)
#define IS(what) SAY("  %s: %s\n", #what, (what) ? "yes" : "no")

static void show(const char *who, int fd)
{
	struct gz_tcp_info i = info_of(fd);

	SAY("%s\n", who);
	V(state), V(ca_state), V(retransmits), V(probes), V(backoff), V(options);
	V(snd_mss), V(advmss), V(unacked), V(sacked), V(lost), V(retrans), V(fackets), V(last_ack_sent);
	V(snd_ssthresh), V(reordering), V(total_retrans), V(bytes_acked), V(bytes_received), V(notsent_bytes);
	V(data_segs_in), V(data_segs_out), V(delivered), V(delivered_ce), V(bytes_sent), V(bytes_retrans);
	V(dsack_dups), V(reord_seen), V(rcv_ooopack), V(rehash), V(total_rto), V(total_rto_recoveries), V(total_rto_time);
	V(fastopen_client_fail);
}

/* With TCP_MAXSEG on both ends, so that the kernel's loopback and ours cut alike. */
static void pair(int c[2])
{
	int port, l = t_listener(8, &port), mss = MSS;
	struct sockaddr_in sa = t_sa(t_addr(), port);

	MUST(setsockopt(l, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)));
	c[0] = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(setsockopt(c[0], IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)));
	MUST(setsockopt(c[0], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)));
	MUST(connect(c[0], (struct sockaddr *)&sa, sizeof(sa)));
	c[1] = (int)MUST(accept(l, NULL, NULL));
	close(l);
}

static void fresh(void)
{
	int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), port, l;
	struct gz_tcp_info i = info_of(fd);
	char all[512];
	socklen_t len = 104;

	SECTION("fresh");
	V(state), V(unacked), V(bytes_sent), V(segs_out), V(total_retrans);
	memset(all, 0x55, sizeof(all));
	R("libc's length", getsockopt(fd, IPPROTO_TCP, TCP_INFO, all, &len));
	SAY("len %u, behind it %02x\n", len, (unsigned char)all[104]);
	len = 1;
	R("one byte", getsockopt(fd, IPPROTO_TCP, TCP_INFO, all, &len));
	SAY("len %u state %d\n", len, all[0]);
	len = sizeof(all);
	R("more than there is", getsockopt(fd, IPPROTO_TCP, TCP_INFO, all, &len));
	IS(len >= sizeof(i) && len < sizeof(all));
	R("set", setsockopt(fd, IPPROTO_TCP, TCP_INFO, all, 104));
	close(fd);

	SECTION("listener");
	l = t_listener(5, &port);
	i = info_of(l);
	V(state), V(unacked), V(sacked), V(snd_cwnd), V(reordering), V(rtt), V(rto);
	fd = t_connect(port);
	t_ms(50);
	i = info_of(l);
	V(unacked);
	close(fd);
	close(l);
}

static void walk(void)
{
	char buf[4096] = { 0 };
	struct gz_tcp_info i;
	int c[2];

	SECTION("handshake");
	pair(c);
	t_ms(20);
	show("client", c[0]);
	i = info_of(c[0]);
	V(snd_cwnd), V(segs_out), V(segs_in), V(busy_time), V(rwnd_limited), V(sndbuf_limited), V(ato);
	IS(i.tcpi_rtt > 0);
	IS(i.tcpi_min_rtt <= i.tcpi_rtt * 8);
	IS(i.tcpi_rto >= 200000 && i.tcpi_rto < 1100000);
	IS(i.tcpi_max_pacing_rate == UINT64_MAX);
	IS(i.tcpi_pacing_rate > 0 && i.tcpi_pacing_rate < UINT64_MAX);
	IS(i.tcpi_snd_wnd >= 30000 && i.tcpi_rcv_wnd >= 30000 && i.tcpi_rcv_ssthresh >= 30000 && i.tcpi_rcv_space >= 1000);
	IS(i.tcpi_snd_wscale > 0 && i.tcpi_rcv_wscale > 0);
	IS(i.tcpi_pmtu >= MSS + 40);
	IS(i.tcpi_last_data_sent < 1000 && i.tcpi_last_data_recv < 1000 && i.tcpi_last_ack_recv < 1000);
	show("server", c[1]);
	i = info_of(c[1]);
	V(snd_cwnd), V(segs_in), V(busy_time), V(ato);
	IS(i.tcpi_rtt > 0);

	SECTION("ten bytes");
	R("write", write(c[0], buf, 10));
	R("read", read(c[1], buf, sizeof(buf)));
	t_ms(120);
	show("client", c[0]);
	i = info_of(c[0]);
	IS(i.tcpi_last_data_sent >= 100 && i.tcpi_last_data_sent < 2000);
	IS(i.tcpi_busy_time > 0 || i.tcpi_rtt < 4000);
	show("server", c[1]);
	i = info_of(c[1]);
	IS(i.tcpi_last_data_recv >= 100 && i.tcpi_last_data_recv < 2000);
	V(ato);

	SECTION("ten full segments, and a half");
	for (int k = 0; k < 10; k++)
		MUST(write(c[0], buf, info_of(c[0]).tcpi_snd_mss));
	MUST(write(c[0], buf, 500));
	t_ms(120);
	show("client", c[0]);
	show("server", c[1]);

	SECTION("the answer");
	MUST(write(c[1], buf, 100));
	t_ms(120);
	show("client", c[0]);
	show("server", c[1]);

	SECTION("half closed");
	shutdown(c[0], SHUT_WR);
	t_ms(120);
	show("client", c[0]);
	show("server", c[1]);

	SECTION("closed both ways");
	shutdown(c[1], SHUT_WR);
	t_ms(120);
	i = info_of(c[1]);
	V(state), V(bytes_acked), V(bytes_received), V(bytes_sent), V(data_segs_in), V(unacked);
	close(c[0]);
	close(c[1]);
}

/* Nobody reads: the window closes, and the time is told. */
static void window(void)
{
	static char buf[65536];
	struct gz_tcp_info i;
	int c[2], n = 0;

	SECTION("closed window");
	pair(c);
	MUST(setsockopt(c[1], SOL_SOCKET, SO_RCVBUF, &(int){ 30000 }, sizeof(int)));
	t_nonblock(c[0], true);
	for (int k = 0; k < 20 && n < 200; k++) {
		while (n < 200 && write(c[0], buf, sizeof(buf)) > 0)
			n++;
		t_ms(50);
	}
	t_ms(700);
	i = info_of(c[0]);
	/* a loss probe may have repeated the last segment */
	V(state), V(ca_state), V(retransmits), V(unacked), V(lost), V(retrans);
	IS(i.tcpi_snd_wnd < MSS);
	IS(i.tcpi_notsent_bytes > 0);
	IS(i.tcpi_backoff > 0);
	IS(i.tcpi_rwnd_limited > 500000 && i.tcpi_rwnd_limited <= i.tcpi_busy_time);
	IS(i.tcpi_busy_time < 10000000);
	IS(i.tcpi_bytes_acked == i.tcpi_bytes_sent - i.tcpi_bytes_retrans + 1);
	SECTION("reset");
	MUST(setsockopt(c[1], SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)));
	close(c[1]);
	t_ms(50);
	i = info_of(c[0]);
	V(state), V(unacked);
	IS(i.tcpi_bytes_acked == i.tcpi_bytes_sent - i.tcpi_bytes_retrans + 1);
	IS(i.tcpi_bytes_sent > 1000);
	close(c[0]);
}

/* A small send buffer and a reader that keeps up: the buffer is what limits. */
static void *reader(void *arg)
{
	static char buf[65536];
	int fd = *(int *)arg;

	while (read(fd, buf, sizeof(buf)) > 0)
		;
	return NULL;
}

static void order(void)
{
	char buf[3000] = { 0 };
	struct gz_tcp_info i;
	pthread_t th;
	int c[2];

	SECTION("a megabyte");
	pair(c);
	pthread_create(&th, NULL, reader, &c[1]);
	for (int k = 0; k < 350; k++)
		MUST(write(c[0], buf, sizeof(buf)));
	t_ms(200);
	i = info_of(c[0]);
	V(bytes_acked), V(unacked), V(notsent_bytes), V(retrans), V(lost);
	IS(i.tcpi_bytes_sent - i.tcpi_bytes_retrans == 1050000);
	IS(i.tcpi_data_segs_out >= 350 * 3000 / 1000 && i.tcpi_data_segs_out < 2 * 350 * 4);
	IS(i.tcpi_delivered > i.tcpi_data_segs_out - i.tcpi_total_retrans && i.tcpi_delivered <= i.tcpi_data_segs_out + 1);
	IS(i.tcpi_segs_out >= i.tcpi_data_segs_out && i.tcpi_segs_in > 0);
	i = info_of(c[1]);
	V(bytes_received);
	IS(i.tcpi_data_segs_in >= 350 * 3000 / 1000 && i.tcpi_data_segs_in < 2 * 350 * 4);
	shutdown(c[0], SHUT_WR);
	pthread_join(th, NULL);
	close(c[0]);
	close(c[1]);
}

int main(void)
{
	fresh();
	walk();
	window();
	order();
	return 0;
}

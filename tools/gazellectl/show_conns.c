/* show_conns.c - the table of connections, fetched in steps so that no buffer and no stack has to hold it whole. */
#include "gazellectl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const char header[] =
	"No.   Proto recvmbox recvtail sendmbox sendtail in_send cwn      rcv_wnd  snd_wnd   snd_buf   snd_nxt        lastack        rcv_nxt        "
	"events    epoll_ev  evlist fd     Local Address                                        Foreign Address                                      "
	"State     keep-alive keep-alive(idle,intvl,cnt) pingpong";

struct totals {
	uint64_t number, unread, unsent, seen, shown;
};

static bool wanted(struct json_object *c, const struct options *o)
{
	if (o->state && strcasecmp(o->state, str_of(c, "state")))
		return false;
	if (o->port && u64_of(c, "lport") != (uint64_t)o->port && u64_of(c, "rport") != (uint64_t)o->port)
		return false;
	if (o->address && strcmp(o->address, str_of(c, "laddr")) && strcmp(o->address, str_of(c, "raddr")))
		return false;
	return true;
}

static void row(struct json_object *c, struct totals *t)
{
	char local[80], remote[80], keep[64];
	unsigned i = (unsigned)t->number++;

	snprintf(local, sizeof(local), "%s:%" PRIu64, str_of(c, "laddr"), u64_of(c, "lport"));
	snprintf(remote, sizeof(remote), "%s:%" PRIu64, str_of(c, "raddr"), u64_of(c, "rport"));
	if (!strcmp(str_of(c, "state"), "LISTEN")) {
		bool v6 = strchr(str_of(c, "laddr"), ':') != NULL;

		printf("%-6utcp    %-147u%-7d%-52s %-52s LISTEN\n", i, (unsigned)u64_of(c, "accept_queue"), (int)i64_of(c, "fd"), local,
		       v6 ? "::0:*" : "0.0.0.0:*");
		return;
	}
	if (u64_of(c, "keepalive"))
		snprintf(keep, sizeof(keep), "(%" PRIu64 ",%" PRIu64 ",%" PRIu64 ")", u64_of(c, "keep_idle"), u64_of(c, "keep_intvl"),
			 u64_of(c, "keep_cnt"));
	else
		snprintf(keep, sizeof(keep), "(0,0,0)");
	printf("%-6utcp   %-9u%-9u%-9u%-9u%-8u%-9d%-9d%-10d%-10d%-15u%-15u%-15u%-10x%-10x%-7d%-7d%-52s %-52s %s  %-5d %s  %d\n", i,
	       (unsigned)u64_of(c, "recvmbox"), 0u, (unsigned)u64_of(c, "sendmbox"), 0u, (unsigned)u64_of(c, "in_send"), (int)u64_of(c, "cwnd"),
	       (int)u64_of(c, "rcv_wnd"), (int)u64_of(c, "snd_wnd"), (int)u64_of(c, "snd_buf"), (unsigned)u64_of(c, "snd_nxt"),
	       (unsigned)u64_of(c, "lastack"), (unsigned)u64_of(c, "rcv_nxt"), (unsigned)u64_of(c, "events"), (unsigned)u64_of(c, "epoll_ev"),
	       (int)u64_of(c, "items"), (int)i64_of(c, "fd"), local, remote, str_of(c, "state"), (int)u64_of(c, "keepalive"), keep,
	       (int)u64_of(c, "pingpong"));
}

static void put_rate(const char *name, uint64_t bytes_per_second)
{
	static const char *const unit[] = { "bps", "Kbps", "Mbps", "Gbps", "Tbps" };
	double bits = 8.0 * (double)bytes_per_second;
	unsigned u = 0;

	while (bits >= 1000 && u + 1 < ARRAY_SIZE(unit)) {
		bits /= 1000;
		u++;
	}
	printf(" %s:%.*f%s", name, u ? 2 : 0, bits, unit[u]);
}

/* The second line of a connection with -e, as `ss -ti` writes it: what is zero and says nothing is left out. */
static void info_line(struct json_object *c)
{
	static const char *const ca[] = { "open", "disorder", "cwr", "recovery", "loss" };
	struct json_object *i = object_of(c, "info");
	uint64_t state, busy = u64_of(i, "tcpi_busy_time"), options = u64_of(i, "tcpi_options");

	if (!member(c, "info"))
		return;
#define U(f) u64_of(i, "tcpi_" #f)
#define SHOW(name, f) (U(f) ? printf(" " name ":%" PRIu64, U(f)) : 0)
	printf("\t%s", str_of(c, "congestion"));
	if (options & 1)
		printf(" ts");
	if (options & 2)
		printf(" sack");
	if (options & 8)
		printf(options & 16 ? " ecnseen" : " ecn");
	if (options & 32)
		printf(" fastopen");
	if (options & 4)
		printf(" wscale:%" PRIu64 ",%" PRIu64, U(snd_wscale), U(rcv_wscale));
	state = U(ca_state);
	printf(" ca:%s rto:%.3g rtt:%.4g/%.4g", state < ARRAY_SIZE(ca) ? ca[state] : "?", (double)U(rto) / 1000, (double)U(rtt) / 1000,
	       (double)U(rttvar) / 1000);
	if (U(ato))
		printf(" ato:%.3g", (double)U(ato) / 1000);
	SHOW("mss", snd_mss), SHOW("pmtu", pmtu), SHOW("rcvmss", rcv_mss), SHOW("advmss", advmss), SHOW("cwnd", snd_cwnd);
	if (U(snd_ssthresh) < 0x7fffffff)
		SHOW("ssthresh", snd_ssthresh);
	SHOW("bytes_sent", bytes_sent), SHOW("bytes_retrans", bytes_retrans), SHOW("bytes_acked", bytes_acked);
	SHOW("bytes_received", bytes_received), SHOW("segs_out", segs_out), SHOW("segs_in", segs_in), SHOW("data_segs_out", data_segs_out);
	SHOW("data_segs_in", data_segs_in);
	printf(" lastsnd:%" PRIu64 " lastrcv:%" PRIu64 " lastack:%" PRIu64, U(last_data_sent), U(last_data_recv), U(last_ack_recv));
	if (U(pacing_rate) != UINT64_MAX)
		put_rate("pacing_rate", U(pacing_rate));
	if (U(max_pacing_rate) != UINT64_MAX)
		put_rate("max_pacing_rate", U(max_pacing_rate));
	if (U(delivery_rate))
		put_rate("delivery_rate", U(delivery_rate));
	SHOW("delivered", delivered), SHOW("delivered_ce", delivered_ce);
	if (U(delivery_rate_app_limited))
		printf(" app_limited");
	if (busy) {
		printf(" busy:%" PRIu64 "ms", busy / 1000);
		if (U(rwnd_limited))
			printf(" rwnd_limited:%" PRIu64 "ms(%.1f%%)", U(rwnd_limited) / 1000, 100.0 * (double)U(rwnd_limited) / (double)busy);
		if (U(sndbuf_limited))
			printf(" sndbuf_limited:%" PRIu64 "ms(%.1f%%)", U(sndbuf_limited) / 1000,
			       100.0 * (double)U(sndbuf_limited) / (double)busy);
	}
	SHOW("unacked", unacked), SHOW("sacked", sacked), SHOW("lost", lost);
	if (U(retrans) || U(total_retrans))
		printf(" retrans:%" PRIu64 "/%" PRIu64, U(retrans), U(total_retrans));
	SHOW("retransmits", retransmits), SHOW("backoff", backoff), SHOW("probes", probes), SHOW("rto_fired", total_rto);
	SHOW("rto_runs", total_rto_recoveries), SHOW("rto_ms", total_rto_time), SHOW("dsack_dups", dsack_dups);
	if (U(reordering) != 3)
		SHOW("reordering", reordering);
	SHOW("reord_seen", reord_seen);
	if (U(rcv_rtt))
		printf(" rcv_rtt:%.4g", (double)U(rcv_rtt) / 1000);
	SHOW("rcv_space", rcv_space), SHOW("rcv_ssthresh", rcv_ssthresh), SHOW("notsent", notsent_bytes);
	if (U(min_rtt) != UINT32_MAX)
		printf(" minrtt:%.4g", (double)U(min_rtt) / 1000);
	SHOW("rcv_ooopack", rcv_ooopack);
	printf(" snd_wnd:%" PRIu64 " rcv_wnd:%" PRIu64 "\n", U(snd_wnd), U(rcv_wnd));
#undef SHOW
#undef U
}

/* Every connection of one stack (-1: all), step by step. json: rows are moved there instead of printed. */
static int walk(struct instance *in, const struct options *o, int64_t stack, struct json_object *json, struct totals *t)
{
	uint64_t cursor = 0;
	bool more = true;

	while (more) {
		struct json_object *rq = json_object_new_object(), *a, *rows, *next;

		json_object_object_add(rq, "cmd", json_object_new_string("conns"));
		json_object_object_add(rq, "cursor", json_object_new_int64((int64_t)cursor));
		if (stack >= 0)
			json_object_object_add(rq, "stack", json_object_new_int64(stack));
		if (json)
			json_object_object_add(rq, "udp", json_object_new_int(1));
		if (json || o->extended)
			json_object_object_add(rq, "info", json_object_new_int(1));
		a = ask(in, rq);
		if (!a)
			return EXIT_FAILED;
		rows = array_of(a, "conns");
		for (size_t i = 0; i < json_object_array_length(rows); i++) {
			struct json_object *c = json_object_array_get_idx(rows, i);

			t->seen++;
			if (!wanted(c, o))
				continue;
			t->shown++;
			t->unread += u64_of(c, "recvmbox");
			t->unsent += u64_of(c, "sendmbox") + u64_of(c, "in_send");
			if (json)
				json_object_array_add(json, json_object_get(c));
			else
				row(c, t);
			if (!json && o->extended)
				info_line(c);
		}
		next = member(a, "next");
		more = next != NULL;
		cursor = json_object_get_uint64(next);
		json_object_put(a);
	}
	return EXIT_OK;
}

int show_conns(struct instance *in, const struct options *o)
{
	struct json_object *stats, *stacks;
	uint64_t seen = 0, shown = 0;
	int rc = EXIT_OK;

	if (o->json) {
		struct json_object *out = json_object_new_object(), *a = json_object_new_array();
		struct totals t = { 0 };

		json_object_object_add(out, "conns", a);
		rc = walk(in, o, -1, a, &t);
		json_object_object_add(out, "total", json_object_new_uint64(t.seen));
		if (rc != EXIT_OK) {
			json_object_put(out);
			return rc;
		}
		return print_json(out);
	}
	stats = ask_cmd(in, "stats");
	if (!stats)
		return EXIT_FAILED;
	stacks = array_of(stats, "stacks");
	printf("Active Internet connections (servers and established)\n");
	for (size_t i = 0; i < json_object_array_length(stacks) && rc == EXIT_OK; i++) {
		struct json_object *st = json_object_array_get_idx(stacks, i);
		struct totals t = { 0 };
		time_t now = time(NULL);
		struct tm tm;

		localtime_r(&now, &tm);
		printf("\n------ stack tid: %6" PRIu64 " ------time=%d-%d-%d %d:%d:%d\n", u64_of(st, "tid"), tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		       tm.tm_hour, tm.tm_min, tm.tm_sec);
		printf("%s\n", header);
		rc = walk(in, o, i64_of(st, "id"), NULL, &t);
		if (t.shown)
			printf("Total unread pkts:%" PRIu64 "  unsend pkts:%" PRIu64 "\n", t.unread, t.unsent);
		seen += t.seen;
		shown += t.shown;
	}
	printf("Total connections: %" PRIu64 ", display connections: %" PRIu64 "\n", seen, shown);
	json_object_put(stats);
	return rc;
}

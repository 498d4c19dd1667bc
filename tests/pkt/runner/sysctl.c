/* sysctl.c - what net.ipv4's settings are to the engine: one table. Called by the runner for a script's sysctl lines and by the plug-in for
 * the namespace's own values. */
#include "gzsys.h"
#include "gzsys_int.h"
#include "testenv.h"

#include "config/config.h"
#include "tcp/tcp_int.h"

#include <stdlib.h>
#include <string.h>

#define F(field) offsetof(struct tcp_conf, field), sizeof(((struct tcp_conf *)NULL)->field)
#define S(field) SOCK_BASE + offsetof(struct new_sock, field), sizeof(((struct new_sock *)NULL)->field)
#define SOCK_BASE 4096

/* Not the engine's but each new socket's. */
static struct new_sock {
	uint32_t rcvbuf, sndbuf; /* 0: the socket layer's own */
	uint32_t keep_idle_s, keep_intvl_s, keep_cnt, user_timeout_ms, notsent_lowat;
} fresh;

static const struct setting {
	const char *name;
	size_t at, bytes; /* bytes 0: not the engine's to set */
	uint32_t scale;
	uint8_t word;	   /* which number of the value */
	const char *same;  /* bytes 0: values that are what the engine does anyway, " 1 3 "; "": any */
} settings[] = {
	{ "tcp_timestamps", F(timestamps), 1, 0, NULL },
	{ "tcp_sack", F(sack), 1, 0, NULL },
	{ "tcp_window_scaling", F(wscale), 1, 0, NULL },
	{ "tcp_syn_retries", F(syn_retries), 1, 0, NULL },
	{ "tcp_synack_retries", F(synack_retries), 1, 0, NULL },
	{ "tcp_fin_timeout", F(fin_timeout_us), 1000000, 0, NULL },
	{ "tcp_rto_min_us", F(rto_min_us), 1, 0, NULL },
	{ "tcp_rmem", S(rcvbuf), 1, 1, NULL },
	{ "tcp_rmem", F(rcvbuf_max), 1, 2, NULL },
	{ "tcp_wmem", S(sndbuf), 1, 1, NULL },
	{ "tcp_wmem", F(sndbuf_max), 1, 2, NULL },
	{ "tcp_keepalive_time", S(keep_idle_s), 1, 0, NULL },
	{ "tcp_keepalive_intvl", S(keep_intvl_s), 1, 0, NULL },
	{ "tcp_keepalive_probes", S(keep_cnt), 1, 0, NULL },
	{ "tcp_notsent_lowat", S(notsent_lowat), 1, 0, NULL },
	{ "tcp_congestion_control", 0, 0, 0, 0, " cubic " },
	{ "tcp_ecn", F(ecn), 1, 0, NULL },
	{ "tcp_ecn_fallback", 0, 0, 0, 0, "" },
	{ "tcp_dsack", 0, 0, 0, 0, " 1 " },
	{ "tcp_recovery", 0, 0, 0, 0, " 1 " },
	{ "tcp_early_retrans", 0, 0, 0, 0, " 3 4 " },
	{ "tcp_frto", 0, 0, 0, 0, " 2 1 " },
	{ "tcp_retries1", 0, 0, 0, 0, " 3 " },
	{ "tcp_retries2", 0, 0, 0, 0, " 15 " },
	{ "tcp_orphan_retries", 0, 0, 0, 0, " 0 8 " },
	{ "tcp_reordering", 0, 0, 0, 0, " 3 " },
	{ "tcp_max_reordering", 0, 0, 0, 0, " 300 " },
	{ "tcp_slow_start_after_idle", F(slow_start_after_idle), 1, 0, NULL },
	{ "tcp_moderate_rcvbuf", 0, 0, 0, 0, " 1 " },
	{ "tcp_mtu_probing", F(mtu_probing), 1, 0, NULL },
	{ "tcp_base_mss", F(base_mss), 1, 0, NULL },
	{ "tcp_syncookies", F(syncookies), 1, 0, NULL },
	{ "tcp_fastopen", F(fastopen), 1, 0, NULL },
	{ "tcp_fastopen_key", 0, 0, 0, 0, "" },
	{ "tcp_abort_on_overflow", 0, 0, 0, 0, " 0 " },
	{ "tcp_stdurg", 0, 0, 0, 0, " 0 " },
	{ "tcp_rfc1337", 0, 0, 0, 0, " 0 " },
	{ "tcp_tw_reuse", 0, 0, 0, 0, "" },
	{ "tcp_tw_reuse_delay", 0, 0, 0, 0, " 1000 " },
	{ "tcp_thin_linear_timeouts", 0, 0, 0, 0, " 0 " },
	{ "tcp_shrink_window", 0, 0, 0, 0, " 0 " },
	{ "tcp_workaround_signed_windows", 0, 0, 0, 0, " 0 " },
	{ "tcp_invalid_ratelimit", 0, 0, 0, 0, " 500 " },
	{ "tcp_challenge_ack_limit", 0, 0, 0, 0, "" },
	{ "tcp_max_syn_backlog", 0, 0, 0, 0, "" },
	{ "tcp_max_tw_buckets", 0, 0, 0, 0, "" },
	{ "tcp_syn_linear_timeouts", 0, 0, 0, 0, " 4 " },
	{ "tcp_rto_max_ms", 0, 0, 0, 0, " 120000 " },
	/* about the sender's chunks, which the runner does not compare, or about the machine */
	{ "tcp_autocorking", 0, 0, 0, 0, "" },
	{ "tcp_min_tso_segs", F(min_tso_segs), 1, 0, NULL },
	{ "tcp_tso_win_divisor", 0, 0, 0, 0, "" },
	{ "tcp_tso_rtt_log", 0, 0, 0, 0, "" },
	{ "tcp_limit_output_bytes", 0, 0, 0, 0, "" },
	{ "tcp_pacing_ss_ratio", 0, 0, 0, 0, "" },
	{ "tcp_pacing_ca_ratio", 0, 0, 0, 0, "" },
	{ "tcp_no_metrics_save", 0, 0, 0, 0, "" },
	{ "tcp_no_ssthresh_metrics_save", 0, 0, 0, 0, "" },
	{ "tcp_adv_win_scale", 0, 0, 0, 0, " 1 " },
	{ "tcp_app_win", 0, 0, 0, 0, " 31 " },
	{ "tcp_early_demux", 0, 0, 0, 0, "" },
	{ "tcp_low_latency", 0, 0, 0, 0, "" },
	{ "tcp_fack", 0, 0, 0, 0, "" },
	{ "tcp_mem", 0, 0, 0, 0, "" },
	{ "tcp_min_rtt_wlen", 0, 0, 0, 0, " 300 " },
	{ "tcp_min_snd_mss", 0, 0, 0, 0, " 48 " },
	{ "tcp_probe_interval", 0, 0, 0, 0, "" },
	{ "tcp_probe_threshold", 0, 0, 0, 0, "" },
	{ "tcp_mtu_probe_floor", 0, 0, 0, 0, "" },
	{ "tcp_pingpong_thresh", 0, 0, 0, 0, " 1 " },
	{ "tcp_comp_sack_nr", 0, 0, 0, 0, " 0 44 " },
	{ "tcp_comp_sack_delay_ns", 0, 0, 0, 0, "" },
	{ "tcp_comp_sack_slack_ns", 0, 0, 0, 0, "" },
	{ "tcp_retrans_collapse", 0, 0, 0, 0, " 0 " },
	{ "ip_no_pmtu_disc", 0, 0, 0, 0, " 0 " },
	{ "ip_local_port_range", 0, 0, 0, 0, "" },
	{ "icmp_ratelimit", 0, 0, 0, 0, "" },
	{ "icmp_ratemask", 0, 0, 0, 0, "" },
};

/* The word-th number of value; false: there is none. */
static bool number_of(const char *value, unsigned word, uint64_t *out)
{
	char *end;

	for (;;) {
		while (*value == ' ' || *value == '\t')
			value++;
		*out = strtoull(value, &end, 0);
		if (end == value)
			return false;
		if (word-- == 0)
			return true;
		value = end;
	}
}

static bool one_of(const char *list, const char *value)
{
	char padded[64];

	if (!*list)
		return true;
	snprintf(padded, sizeof(padded), " %.*s ", (int)strcspn(value, "\n"), value);
	return strstr(list, padded) != NULL;
}

bool gzsys_sysctl(const char *name, const char *value, char *why, size_t why_bytes)
{
	uint8_t *conf = (uint8_t *)&tenv.host[0].st->tcp->conf;
	bool known = false;

	if (!strcmp(name, "tcp_fastopen_key")) {
		struct tcp_fo_keys *k = &((struct tcp_conf *)(void *)conf)->fo_keys;
		uint32_t words[8];

		k->n = conf_fastopen_keys(value, words);
		for (unsigned i = 0; i < 2 * k->n; i++)
			k->key[i / 2][i % 2] = words[2 * i] | (uint64_t)words[2 * i + 1] << 32;
		return k->n || !*value ? true : (snprintf(why, why_bytes, "no key: %s", value), false);
	}
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct setting *s = &settings[i];
		uint64_t n;
		uint8_t *p;

		if (strcmp(s->name, name))
			continue;
		known = true;
		if (!s->bytes) {
			if (one_of(s->same, value))
				continue;
			snprintf(why, why_bytes, "the engine cannot be told %s=%s", name, value);
			return false;
		}
		if (!number_of(value, s->word, &n)) {
			snprintf(why, why_bytes, "%s: not what it takes: %s", name, value);
			return false;
		}
		n *= s->scale;
		p = s->at >= SOCK_BASE ? (uint8_t *)&fresh + (s->at - SOCK_BASE) : conf + s->at;
		if (s->bytes == 1)
			*p = (uint8_t)MIN(n, 255u);
		else
			memcpy(p, &(uint32_t){ (uint32_t)MIN(n, UINT32_MAX) }, 4);
	}
	if (!known)
		snprintf(why, why_bytes, "no setting of the engine is like %s", name);
	return known;
}

void gzsys_sysctls_reset(void)
{
	memset(&fresh, 0, sizeof(fresh));
}

void gzsys_sysctls_of_kernel(void)
{
	char path[128], value[256], why[512];

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		FILE *f;
		size_t n;

		snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", settings[i].name);
		f = fopen(path, "r");
		if (!f)
			continue;
		n = fread(value, 1, sizeof(value) - 1, f);
		fclose(f);
		value[n] = 0;
		value[strcspn(value, "\n")] = 0;
		/* Linux starts small and grows; the socket layer starts with what Linux would grow to */
		if (!strcmp(settings[i].name, "tcp_wmem") && settings[i].word == 1 && strstr(value, "\t16384\t"))
			continue;
		(void)gzsys_sysctl(settings[i].name, value, why, sizeof(why));
	}
}

void gzsys_new_socket(struct sock *s)
{
	if (fresh.rcvbuf)
		atomic_store_explicit(&s->rcvbuf, fresh.rcvbuf, memory_order_relaxed);
	if (fresh.sndbuf)
		atomic_store_explicit(&s->sndbuf, fresh.sndbuf, memory_order_relaxed);
	if (fresh.keep_idle_s)
		s->opt.keep_idle_s = fresh.keep_idle_s;
	if (fresh.keep_intvl_s)
		s->opt.keep_intvl_s = fresh.keep_intvl_s;
	if (fresh.keep_cnt)
		s->opt.keep_cnt = (uint16_t)fresh.keep_cnt;
	if (fresh.notsent_lowat)
		s->opt.notsent_lowat = fresh.notsent_lowat;
}

/* info.c - names of struct tcp_info's fields for assertions in packet scripts. Apart from the engine's headers, because the kernel's
 * header, which has all fields, and libc's cannot be included together. */
#include "info.h"

#include "tcp/info.h"

#include <linux/tcp.h>
#include <string.h>

_Static_assert(sizeof(struct gz_tcp_info) <= INFO_BYTES && TCP_INFO == INFO_OPTION, "room for tcp_info");

bool info_name(void *arg, const char *name, size_t len, int64_t *out)
{
	const struct gz_tcp_info *i = arg;
#define F(x) { "tcpi_" #x, (int64_t)i->tcpi_##x }
	const struct {
		const char *name;
		int64_t v;
	} all[] = { F(state), F(ca_state), F(retransmits), F(probes), F(backoff), F(options), F(snd_wscale), F(rcv_wscale),
		    F(rto), F(ato), F(snd_mss), F(rcv_mss), F(unacked), F(sacked), F(lost), F(retrans), F(fackets), F(pmtu),
		    F(rcv_ssthresh), F(rtt), F(rttvar), F(snd_ssthresh), F(snd_cwnd), F(advmss), F(reordering), F(rcv_rtt),
		    F(rcv_space), F(total_retrans), F(bytes_acked), F(bytes_received), F(segs_out), F(segs_in),
		    F(notsent_bytes), F(min_rtt), F(data_segs_in), F(data_segs_out), F(delivered), F(dsack_dups),
		    F(reord_seen), F(bytes_sent), F(bytes_retrans), F(rcv_ooopack), F(snd_wnd), F(last_data_sent), F(last_ack_sent),
		    F(last_data_recv), F(last_ack_recv), F(pacing_rate), F(max_pacing_rate), F(delivery_rate), F(busy_time),
		    F(rwnd_limited), F(sndbuf_limited), F(delivered_ce), F(delivery_rate_app_limited), F(fastopen_client_fail),
		    F(rcv_wnd), F(rehash), F(total_rto), F(total_rto_recoveries), F(total_rto_time) };
#undef F
	for (size_t k = 0; k < ARRAY_SIZE(all); k++)
		if (strlen(all[k].name) == len && !memcmp(all[k].name, name, len)) {
			*out = all[k].v;
			return true;
		}
	return false;
}

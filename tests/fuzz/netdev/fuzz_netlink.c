/* fuzz_netlink.c - any bytes as the kernel's netlink messages: links (ifinfo.c, kif_link.c) and
 * addresses (policy.c). The system calls of these files are replaced: what they receive is the
 * input. Also addresses of devices as text. Record: kind (8 bits), length (16 bits), bytes.
 */
#include "base/compiler.h"
#include "base/log.h"
#include "base/ownfd.h"
#include "base/rlock.h"
#include "base/sys.h"
#include "stack/boot.h"

#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the kernel --- */

static const uint8_t *sent;
static size_t sent_bytes;
static uint8_t manner;
static unsigned receives;

static long kernel_recvfrom(int fd, void *buf, size_t n, int flags, void *from, void *from_len)
{
	size_t len, got;

	(void)fd, (void)flags, (void)from, (void)from_len;
	if (sent_bytes < 2 || receives++ > 100)
		return manner & 1 ? -EAGAIN : -ECONNRESET;
	len = (size_t)(sent[0] << 8 | sent[1]);
	sent += 2;
	sent_bytes -= 2;
	if (len == 0xffff)
		return -ENOBUFS;
	if (len == 0xfffe)
		return -EINTR;
	got = MIN(MIN(len, sent_bytes), n);
	memcpy(buf, sent, got);
	/* what stood there before is not part of the message */
	memset((char *)buf + got, 0xa5, n - got);
	sent += MIN(len, sent_bytes);
	sent_bytes -= MIN(len, sent_bytes);
	return (long)got;
}

/* Calls whose result alone counts. */
static long kernel_result(long good, ...)
{
	return manner & 2 ? -EINVAL : good;
}

#undef SYS
#define SYS(nr, ...)	       kernel_##nr(__VA_ARGS__)
#define kernel_socket(...)     kernel_result(1000000, __VA_ARGS__)
#define kernel_bind(...)       kernel_result(0, __VA_ARGS__)
#define kernel_setsockopt(...) kernel_result(0, __VA_ARGS__)
#define kernel_sendto(...)     kernel_result(0, __VA_ARGS__)
#define kernel_readlink(...)   kernel_result(-ENOENT, __VA_ARGS__)
#define kernel_access(...)     kernel_result(-ENOENT, __VA_ARGS__)
#define kernel_prctl(...)      kernel_result(0, __VA_ARGS__)
#define kernel_getsockopt(fd, level, name, value, len) \
	(memset(value, manner, sizeof(*(value))), kernel_result(0, fd, len))

#include "../../../src/netdev/ifinfo.c"
#include "../../../src/netdev/kif_link.c"
#include "../../../src/posix/policy.c"

const struct ip4_conf *boot_ip4(void)
{
	return NULL;
}

bool kif_rx_pending(struct netdev *nd, uint16_t queue)
{
	(void)nd, (void)queue;
	return false;
}

/* --- */

static void device_text(const char *s)
{
	uint8_t mac[6];
	char pci[13], again[13], printed[18];

	if (ifinfo_parse_mac(s, mac)) {
		snprintf(printed, sizeof(printed), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
			 mac[2], mac[3], mac[4], mac[5]);
		for (unsigned i = 0; i < 17; i++)
			if (printed[i] != (s[i] == '-' ? ':' : tolower(s[i])))
				abort();
	}
	if (ifinfo_parse_pci(s, pci) && (!ifinfo_parse_pci(pci, again) || strcmp(pci, again)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct policy_net nets[KERNEL_NETS_MAX];
	static struct kif_queue q;
	static struct kif k;
	static struct netdev nd;
	struct if_info info;
	uint8_t kind;
	char *s;
	int n;

	log_set_level(LOG_LEVEL_ERROR);
	log_start_done("/dev/null");
	if (size < 2)
		return 0;
	kind = data[0];
	manner = data[1];
	sent = data + 2;
	sent_bytes = size - 2;
	receives = 0;
	switch (kind & 7) {
	case 0:
		memset(&nd, 0, sizeof(nd));
		memset(&k, 0, sizeof(k));
		memcpy(k.ifname, "eth0", 5);
		k.q[0] = &q;
		k.gone = manner & 4;
		nd.priv = &k;
		nd.nb_queues = 1;
		nd.kernel_ifindex = manner >> 3 & 3;
		nd.queues[0].priv = &q;
		kif_housekeeping(&nd);
		break;
	case 1:
		(void)ifinfo_by_mac((const uint8_t[6]){ 2, 0, 0, 0, 0, 1 }, &info);
		break;
	case 2:
		if (ifinfo_by_name("eth0", &info) == 0 &&
		    strnlen(info.name, sizeof(info.name)) == sizeof(info.name))
			abort();
		break;
	case 3:
		(void)ifinfo_by_index(2, &info);
		break;
	case 4:
		n = dump_addrs(nets);
		if (n > KERNEL_NETS_MAX)
			abort();
		for (int i = 0; i < n; i++) /* a mask is ones followed by zeros */
			if (!nets[i].addr_be ||
			    (~ntohl(nets[i].mask_be) & (~ntohl(nets[i].mask_be) + 1)))
				abort();
		break;
	default:
		s = malloc(sent_bytes + 1);
		memcpy(s, sent, sent_bytes);
		s[sent_bytes] = '\0';
		device_text(s);
		free(s);
		break;
	}
	return 0;
}

/* schema.c - the one table of configuration keys.
 *
 * Parser, manual page, example file, shell completion and `gazellectl lstack config` are made from it; nothing else knows a key's name,
 * type, range or default. Order is the order of the documents.
 */
#include "config/config.h"

#include <string.h>

#define OFF(f) offsetof(struct config, f)
#define INT_KEY(n, st, field, lo, hi, d, ...) \
	{ .name = n, .type = CONF_INT, .status = st, .offset = OFF(field), .min = lo, .max = hi, .def = d, __VA_ARGS__ }
#define STR_KEY(n, st, field, d, ...) \
	{ .name = n, .type = CONF_STRING, .status = st, .offset = OFF(field), .def_str = d, __VA_ARGS__ }
#define RETIRED_KEY(n, why) { .name = n, .type = CONF_ANY, .status = CONF_RETIRED, .note = why, .help = why }

const struct conf_key conf_keys[] = {
	/* --- address and device --- */
	STR_KEY("host_addr", CONF_WORKS, host_addr_text, "", .in_example = true, .example = "192.168.1.10",
		.values = "IPv4 address, not multicast",
		.help = "The stack's address. Must not be an address of this host's kernel: both would answer for it."),
	STR_KEY("mask_addr", CONF_WORKS, mask_addr_text, "", .in_example = true, .example = "255.255.255.0",
		.values = "IPv4 mask, contiguous", .help = "Network mask. Required with host_addr."),
	STR_KEY("gateway_addr", CONF_WORKS, gateway_addr_text, "", .in_example = true, .example = "192.168.1.1",
		.values = "IPv4 address on the link", .help = "Router. Absent: only addresses on the link are reached."),
	STR_KEY("devices", CONF_WORKS, devices, "", .in_example = true, .example = "aa:bb:cc:dd:ee:ff",
		.values = "MAC address, PCI address, kernel interface name, or vdev name",
		.help = "The port. An interface that the kernel drives is used through packet rings, without binding; a PCI address or the MAC "
			"of a port bound to vfio-pci or igb_uio is driven by DPDK; a name given with --vdev in dpdk_args is that device. Absent: the "
			"only port there is."),
	STR_KEY("kernel_interface", CONF_WORKS, kernel_interface, "auto", .ours = true, .in_example = true,
		.values = "\"auto\", \"packet\" or \"xdp\"",
		.help = "How an interface that the kernel drives is used: packet rings with virtio-net headers, or AF_XDP. auto chooses and "
			"says in one line which and why."),
	STR_KEY("host_addr6", CONF_NOT_BUILT, host_addr6_text, "", .values = "IPv6 address", .note = "IPv6 comes later",
		.help = "The stack's IPv6 address."),
	INT_KEY("mask_addr6", CONF_NOT_BUILT, mask_addr6, 1, 128, 64, .ours = true, .note = "IPv6 comes later",
		.help = "Prefix length of host_addr6."),
	STR_KEY("gateway_addr6", CONF_NOT_BUILT, gateway_addr6_text, "", .ours = true, .values = "IPv6 address",
		.note = "IPv6 comes later", .help = "IPv6 router."),
	INT_KEY("nic_vlan_mode", CONF_WORKS, nic_vlan_mode, -1, 4095, -1, .in_example = true,
		.help = "VLAN id inserted into and required of every frame; -1: untagged. 0 and 4095 are reserved: accepted, warned about, "
			"untagged."),
	INT_KEY("udp_enable", CONF_WORKS, udp_enable, 0, 1, 1, .in_example = true,
		.help = "0: datagram sockets go to the kernel."),

	/* --- who runs the stacks --- */
	STR_KEY("stack_thread_mode", CONF_WORKS, stack_thread_mode, "run-to-wakeup", .in_example = true,
		.values = "\"run-to-wakeup\" or \"run-to-completion\"",
		.help = "run-to-wakeup: a thread per stack polls, applications leave commands; for many threads and spare cores. "
			"run-to-completion: the application threads poll while they are inside the library; for one core per process, the "
			"fastest request path."),
	STR_KEY("num_cpus", CONF_WORKS, num_cpus_text, "", .in_example = true, .example = "#2",
		.values = "list of CPU ids, ranges, hexadecimal ids: \"2,4-6,0x8\"",
		.help = "One stack per id; in run-to-wakeup its thread is pinned there. More stacks than device queues are fed by software "
			"steering. Absent: one stack, placed by the scheduler."),
	INT_KEY("stack_num", CONF_WORKS, stack_num, 0, CONF_STACK_MAX, 0, .in_example = true,
		.help = "Alternative to num_cpus: that many stacks, not pinned. 0: num_cpus decides."),
	INT_KEY("low_power_mode", CONF_WORKS, low_power_mode, 0, 1, 0, .in_example = true,
		.help = "1: idle stack threads sleep. Also at run time: gazellectl lstack set {ip|pid} lowpower. run-to-completion "
			"always sleeps when idle."),
	INT_KEY("stack_interrupt", CONF_WORKS, stack_interrupt, 0, 1, 0, .in_example = true,
		.help = "1: idle stack threads wait for the device's receive interrupt or descriptor and wake at once."),
	INT_KEY("spin_us", CONF_WORKS, spin_us, 0, 1000000, 50, .ours = true, .in_example = true,
		.help = "How long a thread that waits in the library polls before it sleeps, in microseconds."),
	INT_KEY("app_bind_numa", CONF_WORKS, app_bind_numa, 0, 1, 1, .in_example = true,
		.help = "1: threads that wait in epoll or poll are bound to the stack's NUMA node (only where there is more than one)."),
	STR_KEY("app_exclude_cpus", CONF_WORKS, app_exclude_cpus_text, "", .in_example = true, .values = "list of CPU ids, as num_cpus",
		.help = "CPUs taken out of that set."),
	INT_KEY("main_thread_affinity", CONF_WORKS, main_thread_affinity, 0, 1, 0, .in_example = true,
		.help = "0: the main thread keeps its affinity when the stack starts. 1: it is bound as app_bind_numa binds waiting "
			"threads."),

	/* --- TCP --- */
	STR_KEY("tcp_congestion", CONF_WORKS, tcp_congestion, "cubic", .ours = true, .in_example = true,
		.values = "\"cubic\", \"reno\", \"bbr\" or \"dctcp\"",
		.help = "Congestion control of connections that do not choose one by TCP_CONGESTION."),
	INT_KEY("tcp_initial_window", CONF_WORKS, tcp_initial_window, 1, 100, 10, .ours = true, .in_example = true,
		.help = "Segments that a new connection, or one that was idle, may send before the first acknowledgement (RFC 6928)."),
	INT_KEY("tcp_pacing", CONF_WORKS, tcp_pacing, 0, 1, 0, .ours = true, .in_example = true,
		.help = "1: every connection is paced, not only those with bbr or SO_MAX_PACING_RATE."),
	INT_KEY("tcp_ecn", CONF_WORKS, tcp_ecn, 0, 2, 2, .ours = true, .in_example = true,
		.help = "Explicit congestion notification, as Linux's sysctl: 0 never; 1 asked for and agreed to; 2 agreed to when the peer asks."),
	INT_KEY("tcp_syncookies", CONF_WORKS, tcp_syncookies, 0, 2, 1, .ours = true, .in_example = true,
		.help = "As Linux's sysctl: 0 a listener whose queue of half-open connections is full drops; 1 it answers without keeping "
			"anything; 2 always so."),

	INT_KEY("tcp_fastopen", CONF_WORKS, tcp_fastopen, 0, CONF_FASTOPEN_BITS, 0, .ours = true, .in_example = true, .values = "a sum of 1, 2, 4, 512 and 1024",
		.help = "Bits as in Linux's sysctl: 1 connections may send data in their SYN (MSG_FASTOPEN, TCP_FASTOPEN_CONNECT); 2 listeners with "
			"TCP_FASTOPEN take it; 4 and 512 the same without cookies; 1024 every listener has TCP_FASTOPEN. A SYN may arrive "
			"twice: only for requests that do no harm when they are repeated (RFC 7413 2.1)."),
	STR_KEY("tcp_fastopen_key", CONF_WORKS, tcp_fastopen_key, "", .ours = true, .in_example = true,
		.example = "01234567-89abcdef-01234567-89abcdef", .values = "one or two keys as in Linux's sysctl, of 4 times 8 hexadecimal digits, with a comma between",
		.help = "The key of Fast Open's cookies; a second one is good but makes none. Servers behind one address need the same, and Linux's "
			"with the same key give out the same cookies. Empty: made up, and changed every hour. TCP_FASTOPEN_KEY goes first."),

	/* --- sizes --- */
	INT_KEY("tcp_conn_count", CONF_WORKS, tcp_conn_count, 1, 16777216, 1500, .in_example = true,
		.help = "Connections expected: a sizing hint. No connection is refused while memory lasts."),
	INT_KEY("mbuf_count_per_conn", CONF_WORKS, mbuf_count_per_conn, 1, INT32_MAX, 170, .in_example = true,
		.help = "Times tcp_conn_count: packet buffers of the process, split over the stacks. When neither key is set the number "
			"follows the memory that is available."),
	INT_KEY("mem_cache_num", CONF_WORKS, mem_cache_num, 16, 1024, 32, .in_example = true,
		.help = "Packet buffers kept by each application thread."),
	INT_KEY("nic_rxqueue_size", CONF_WORKS, nic_rxqueue_size, 512, 8192, 4096, .in_example = true, .values = "512..8192, a power of two",
		.help = "Receive descriptors per queue. Clamped, with a note, to what the device takes."),
	INT_KEY("nic_txqueue_size", CONF_WORKS, nic_txqueue_size, 512, 8192, 2048, .in_example = true, .values = "512..8192, a power of two",
		.help = "Transmit descriptors per queue. Clamped, with a note, to what the device takes."),
	INT_KEY("nic_read_number", CONF_WORKS, nic_read_number, 1, 4096, 128, .in_example = true,
		.help = "Packets read per loop. The older name nic_read_num means the same."),
	INT_KEY("nic_read_num", CONF_WORKS, nic_read_number, 1, 4096, 128, .help = "Older name of nic_read_number."),
	INT_KEY("rpc_number", CONF_WORKS, rpc_number, 1, INT32_MAX, 4, .in_example = true,
		.help = "Commands from applications taken per loop at least; more when many wait."),

	/* --- TCP/IP --- */
	INT_KEY("tcp_mtu_probing", CONF_WORKS, tcp_mtu_probing, 0, 2, 1, .ours = true, .in_example = true,
		.help = "Path MTU probing by TCP itself (RFC 4821), as Linux's tcp_mtu_probing. 0: off. 1: when segments seem to vanish in a "
			"black hole. 2: always."),
	INT_KEY("tcp_base_mss", CONF_WORKS, tcp_base_mss, 64, 9000, 1024, .ours = true, .in_example = true,
		.help = "Segment size at which that probing begins, in bytes."),
	INT_KEY("min_pmtu", CONF_WORKS, min_pmtu, 68, 9000, 552, .ours = true, .in_example = true,
		.help = "Smallest path MTU that an ICMP message can make the stack use; where one says less, packets of this size leave without "
			"DF, so that routers may cut them."),
	INT_KEY("mtu_expires", CONF_WORKS, mtu_expires, 1, 86400, 600, .ours = true, .in_example = true,
		.help = "How long a path MTU that was learned is believed, in seconds; then larger packets are tried again."),
	INT_KEY("tcp_slow_start_after_idle", CONF_WORKS, tcp_slow_start_after_idle, 0, 1, 1, .ours = true, .in_example = true,
		.help = "1: the congestion window is halved for every RTO that a connection did not send, down to the initial window. 0: it stays."),
	INT_KEY("tcp_rmem_max", CONF_WORKS, tcp_rmem_max, 65536, 1 << 30, 6291456, .ours = true, .in_example = true,
		.help = "How far a connection's receive buffer may grow by itself, in bytes. SO_RCVBUF ends the growth."),
	INT_KEY("tcp_wmem_max", CONF_WORKS, tcp_wmem_max, 65536, 1 << 30, 4194304, .ours = true, .in_example = true,
		.help = "How far a connection's send buffer may grow by itself, in bytes. SO_SNDBUF ends the growth."),
	INT_KEY("tcp_notsent_lowat", CONF_WORKS, tcp_notsent_lowat, 0, INT32_MAX, 0, .ours = true, .in_example = true,
		.help = "A connection that has as many bytes waiting to be sent is not writable; 0: no limit. The default of TCP_NOTSENT_LOWAT."),

	/* --- DPDK --- */
	{ .name = "dpdk_args", .type = CONF_STRINGS, .status = CONF_WORKS, .offset = OFF(dpdk_args), .in_example = true,
	  .values = "array of at most 64 strings",
	  .help = "Arguments for DPDK's EAL, e.g. [\"--socket-mem\", \"1024\", \"--huge-dir\", \"/mnt/hugepages-lstack\"] or "
		  "[\"--vdev\", \"net_tap0\"]. Not needed on a kernel interface. CPU selection (-l, -c, --lcores) is derived from "
		  "num_cpus; -h, --help, -v, --version and a secondary process type are refused; --map-perfect is dropped." },

	/* --- this process --- */
	STR_KEY("unix_prefix", CONF_WORKS, unix_prefix, "", .in_example = true, .values = "at most 128 characters, none of |;&$><`\\! and newline",
		.help = "Prefix of the control socket's name; give the same to gazellectl with -u."),
	STR_KEY("log_file", CONF_WORKS, log_file, "", .ours = true, .in_example = true, .values = "absolute path",
		.help = "Where messages go after start instead of syslog."),
	STR_KEY("on_start_failure", CONF_WORKS, on_start_failure, "kernel", .ours = true, .in_example = true, .values = "\"kernel\" or \"exit\"",
		.help = "When the stack cannot start: run on the kernel's stack, or exit. The environment variable GAZELLE_ON_START_FAILURE "
			"wins."),
	INT_KEY("strict", CONF_WORKS, strict, 0, 1, 0, .ours = true, .in_example = true,
		.help = "1: an unknown key is an error instead of a warning."),
	INT_KEY("socket_fast_close", CONF_WORKS, socket_fast_close, 0, 1, 1, .ours = true, .in_example = true,
		.help = "1: closed descriptor numbers may be kept for the next socket, which saves system calls; a new socket may then not get "
			"the lowest free number. 0: exactly the kernel's numbering."),

	/* --- always on --- */
	INT_KEY("listen_shadow", CONF_ALWAYS_ON, listen_shadow, 0, 1, 0,
		.help = "Listening on every stack. Always on: the listener exists once, its accept queues per stack."),
	INT_KEY("send_cache_mode", CONF_ALWAYS_ON, send_cache_mode, 0, 1, 0, .help = "Batched transmission. Always on."),

	/* --- of the original, not in this version --- */
	INT_KEY("use_ltran", CONF_WARNED, use_ltran, 0, 1, 0, .note = "ltran is not supported; treated as 0",
		.help = "The original's separate forwarding process."),
	INT_KEY("flow_bifurcation", CONF_NOT_BUILT, flow_bifurcation, 0, 1, 0,
		.note = "use a second interface or a kernel interface as `devices` (its kernel side goes on working)",
		.help = "Packets that are not the stack's go to the kernel and back (ssh, tcpdump on the same port)."),
	INT_KEY("bond_mode", CONF_NOT_BUILT, bond_mode, -1, 6, -1, .values = "-1, 1, 4, 6",
		.note = "bond the interfaces in the kernel and name the bond in `devices`",
		.help = "Bonding mode."),
	INT_KEY("bond_miimon", CONF_NOT_BUILT, bond_miimon, 0, INT32_MAX, 10, .note = "bonding comes later",
		.help = "Link monitoring interval in milliseconds."),
	STR_KEY("bond_slave_mac", CONF_NOT_BUILT, bond_slave_mac, "", .values = "MAC;MAC", .note = "bonding comes later",
		.help = "Members of the bond."),
	INT_KEY("use_sockmap", CONF_WARNED, use_sockmap, 0, 1, 0,
		.note = "shared-memory traffic between two processes of one host is not built in this version: such traffic takes the device",
		.help = "Same-host traffic between two processes by shared memory."),
	INT_KEY("tuple_filter", CONF_NOT_BUILT, tuple_filter, 0, 1, 0,
		.note = "the original's multi-process mode is not built: give each process its own device queue owner (a virtual function, or a "
			"kernel interface) and address",
		.help = "The original's multi-process mode."),
	INT_KEY("num_process", CONF_NOT_BUILT, num_process, 1, 64, 1,
		.note = "the original's multi-process mode is not built: one process per device and address",
		.help = "The original's multi-process mode."),
	STR_KEY("process_numa", CONF_NOT_BUILT, process_numa, "", .values = "list of NUMA nodes",
		.note = "the original's multi-process mode is not built: num_cpus decides the NUMA node",
		.help = "The original's multi-process mode."),
	INT_KEY("process_idx", CONF_NOT_BUILT, process_idx, 0, 63, 0,
		.note = "the original's multi-process mode is not built: one process per device and address",
		.help = "The original's multi-process mode."),

	/* --- retired --- */
	RETIRED_KEY("kni_switch", "use `flow_bifurcation` (not built in this version)"),
	RETIRED_KEY("kni_swith", "use `flow_bifurcation` (not built in this version)"),
	RETIRED_KEY("num_wakeup", "wake-ups need no thread of their own"),
	RETIRED_KEY("num_weakup", "wake-ups need no thread of their own"),
	RETIRED_KEY("send_connect_number", "sending adapts to the load"),
	RETIRED_KEY("read_connect_number", "receiving adapts to the load"),
	RETIRED_KEY("nonblock_mode", "blocking and non-blocking sockets both work"),
	RETIRED_KEY("rpc_msg_max", "commands need no pool"),
	RETIRED_KEY("recv_ring_size", "receive queues are sized by SO_RCVBUF"),
	RETIRED_KEY("send_ring_size", "send queues are sized by SO_SNDBUF"),
	RETIRED_KEY("mbuf_pool_size", "use `tcp_conn_count` and `mbuf_count_per_conn`"),
	RETIRED_KEY("xdp_eth_name", "name the interface in `devices`"),
	RETIRED_KEY("expand_send_ring", "send queues are sized by SO_SNDBUF"),
	RETIRED_KEY("seperate_send_recv", "stacks both send and receive"),
	RETIRED_KEY("numa_bind", "use `app_bind_numa`"),
	RETIRED_KEY("use_bond4", "use `bond_mode` (not built in this version)"),
	RETIRED_KEY("bond4_slave_mac", "use `bond_slave_mac` (not built in this version)"),
	RETIRED_KEY("ipv6_enable", "an IPv6 address enables IPv6"),
	RETIRED_KEY("mem_async_mode", "buffers return to their pool without a thread"),
};
const unsigned conf_key_count = ARRAY_SIZE(conf_keys);
_Static_assert(ARRAY_SIZE(conf_keys) <= CONF_KEY_MAX, "origin table");

const struct conf_env_var conf_env_vars[] = {
	{ "LD_PRELOAD", "Path of liblstack.so: loads the library into a program that is not linked with it." },
	{ "GAZELLE_BIND_PROCNAME", "Needed with LD_PRELOAD: the library is active only when this (or one of a comma-separated list) is the base "
				   "name of /proc/self/exe or of argv[0], or the process's comm. Unset: passive." },
	{ "GAZELLE_THREAD_NAME", "Only threads whose name contains this use the stack; others use the kernel. Unset: all threads." },
	{ "LSTACK_CONF_PATH", "Configuration file instead of " CONF_DEFAULT_PATH "." },
	{ "XDG_RUNTIME_DIR", "Run directory's parent when not root (control socket, DPDK's files)." },
	{ "GAZELLE_ON_START_FAILURE", "\"kernel\" or \"exit\": overrides on_start_failure; needed when the file itself is broken." },
	{ "GAZELLE_RUN_DIR", "Run directory instead of the usual one, for library and tools." },
	{ "GAZELLE_LOG", "\"error\", \"info\" or \"debug\": level of messages from the very start." },
};
const unsigned conf_env_var_count = ARRAY_SIZE(conf_env_vars);

int conf_key_find(const char *name)
{
	for (unsigned i = 0; i < conf_key_count; i++)
		if (!strcmp(conf_keys[i].name, name))
			return (int)i;
	return -1;
}

#define NAME_MAX_DIST 40

/* Edit distance with adjacent transpositions ("gatway", "host_adrr"); names longer than the table are far from everything. */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned d[NAME_MAX_DIST + 1][NAME_MAX_DIST + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > NAME_MAX_DIST || m > NAME_MAX_DIST)
		return NAME_MAX_DIST;
	for (unsigned i = 0; i <= n; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= m; j++)
		d[0][j] = j;
	for (unsigned i = 1; i <= n; i++) {
		for (unsigned j = 1; j <= m; j++) {
			unsigned cost = a[i - 1] != b[j - 1];

			d[i][j] = MIN(MIN(d[i - 1][j] + 1, d[i][j - 1] + 1), d[i - 1][j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[n][m];
}

const char *conf_key_nearest(const char *name)
{
	const char *best = NULL;
	unsigned best_dist = MAX(2u, (unsigned)strlen(name) / 3) + 1;

	for (unsigned i = 0; i < conf_key_count; i++) {
		unsigned dist = edit_distance(name, conf_keys[i].name);

		if (dist < best_dist) {
			best_dist = dist;
			best = conf_keys[i].name;
		}
	}
	return best;
}

const char *conf_origin_name(uint8_t origin)
{
	static const char *const names[] = { "default", "file", "environment", "runtime" };

	return origin < ARRAY_SIZE(names) ? names[origin] : "?";
}

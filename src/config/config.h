/* config.h - the configuration: file, environment, what the machine offers, EAL arguments.
 *
 * Called by stack boot and by posix (activation) in the home process before EAL, one thread. Specification: the table in
 * schema.c, from which parser, manual page, example file and `gazellectl lstack config` come.
 *
 *	conf_init(&c); conf_report_init(&rep);
 *	rc = conf_load(&c, conf_path(&env), &rep);			file only
 *	if (!rc) { conf_machine_read(&m); rc = conf_check_machine(&c, &m, &rep); }	addresses, CPUs, memory
 *	if (!rc) rc = conf_eal_args(&c, &m, &args, &rep);
 *	conf_report_print(&rep);
 *
 * All lines of a report are complete messages; the caller prints them and decides by config_on_start_failure().
 */
#ifndef GZ_CONFIG_CONFIG_H
#define GZ_CONFIG_CONFIG_H

#include "base/compiler.h"
#include "base/log.h"

#include <net/if.h>
#include <netinet/in.h>

#define CONF_DEFAULT_PATH "/etc/gazelle/lstack.conf"
#define CONF_CPU_MAX 1024
#define CONF_STACK_MAX 64
#define CONF_NODE_MAX 8
#define CONF_PAGE_SIZES 4
#define CONF_ARGS_MAX 64  /* dpdk_args */
#define CONF_FASTOPEN_BITS 0x607 /* of Linux's sysctl, that tcp_fastopen takes */
#define CONF_KEY_MAX 96   /* upper bound on keys, for the origin table */

/* --- report --- */

struct conf_report {
	struct conf_line {
		enum log_level level;
		char *text;
	} *lines;
	unsigned count, capacity;
	unsigned errors;
};

void conf_report_init(struct conf_report *rep);
void conf_report_free(struct conf_report *rep);
void conf_report_add(struct conf_report *rep, enum log_level level, const char *fmt, ...) printf_like(3, 4);
/* Hands every line to the log, errors as errors. */
void conf_report_print(const struct conf_report *rep);

/* --- CPU lists --- */

struct conf_cpus {
	uint16_t list[CONF_STACK_MAX]; /* in the order written; at most CONF_STACK_MAX are kept */
	uint16_t count;		       /* all distinct ids, also those beyond the list */
	uint64_t bits[CONF_CPU_MAX / 64];
};

static force_inline bool conf_cpus_has(const struct conf_cpus *s, unsigned cpu)
{
	return cpu < CONF_CPU_MAX && (s->bits[cpu / 64] >> (cpu % 64) & 1);
}
void conf_cpus_add(struct conf_cpus *s, unsigned cpu);
/* "2,4-6,0x8": ids in decimal or hexadecimal, ranges. On failure writes why to err. 0 or -EINVAL. */
int conf_cpus_parse(const char *text, struct conf_cpus *out, char *err, size_t err_bytes);
/* "2,4-6"; result buf. */
const char *conf_cpus_text(const struct conf_cpus *s, char *buf, size_t bytes);

/* --- the configuration --- */

enum conf_device_kind { CONF_DEV_NONE, CONF_DEV_MAC, CONF_DEV_PCI, CONF_DEV_NAME };

struct conf_strings {
	char **v;
	unsigned n;
};

enum conf_origin { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_ENVIRONMENT, CONF_FROM_RUNTIME };

/* Strings are owned by the structure; "" when unset, never NULL after conf_init(). */
struct config {
	char *path; /* of the file, "" before conf_load() */
	uint8_t origin[CONF_KEY_MAX]; /* enum conf_origin, by index in the schema table */
	uint16_t line[CONF_KEY_MAX];  /* where it stands in the file */

	/* as written in the file */
	struct conf_strings dpdk_args;
	char *num_cpus_text, *app_exclude_cpus_text, *unix_prefix, *host_addr_text, *mask_addr_text, *gateway_addr_text,
		*host_addr6_text, *gateway_addr6_text, *devices, *kernel_interface, *bond_slave_mac, *stack_thread_mode, *log_file,
		*on_start_failure, *process_numa, *tcp_congestion, *tcp_fastopen_key;
	int listen_shadow, use_ltran, app_bind_numa, main_thread_affinity, low_power_mode, stack_interrupt, flow_bifurcation,
		rpc_number, nic_read_number, nic_rxqueue_size, nic_txqueue_size, bond_mode, bond_miimon, udp_enable, nic_vlan_mode,
		tcp_conn_count, mbuf_count_per_conn, mem_cache_num, stack_num, send_cache_mode, socket_fast_close, use_sockmap,
		tuple_filter, num_process, process_idx, mask_addr6, strict, spin_us,
		tcp_ecn, tcp_syncookies, tcp_fastopen, tcp_initial_window, tcp_pacing;
	int tcp_mtu_probing, tcp_base_mss, min_pmtu, mtu_expires, tcp_rmem_max, tcp_wmem_max, tcp_notsent_lowat,
		tcp_slow_start_after_idle;

	/* derived by conf_load() */
	bool run_to_completion;
	bool pin_stacks;	   /* a pinned thread per id of cpus.list (run-to-wakeup with num_cpus) */
	unsigned nb_stacks;	   /* 1..CONF_STACK_MAX */
	struct conf_cpus cpus;	   /* num_cpus */
	struct conf_cpus app_exclude_cpus;
	uint32_t host_addr_be, mask_addr_be, gateway_addr_be; /* gateway 0: on-link only */
	enum conf_device_kind device_kind;
	uint8_t device_mac[6];	   /* CONF_DEV_MAC */
	int vlan_id;		   /* 1..4094, or -1: untagged */
	bool exit_on_failure;	   /* on_start_failure, the environment considered */

	/* derived by conf_check_machine() */
	char device_ifname[IF_NAMESIZE]; /* kernel interface that `devices` names; "" when it names none */
	int device_node;	   /* NUMA node of the device, -1 unknown */
	int stack_node[CONF_STACK_MAX]; /* NUMA node to allocate on, -1 any */
	unsigned mbufs_per_stack;
	bool hugepages;		   /* false: EAL runs with --no-huge */
	unsigned no_huge_mb;	   /* -m for it */
	struct conf_cpus app_cpus[CONF_NODE_MAX]; /* per node: CPUs for waiting threads (app_bind_numa), exclusions and stack CPUs taken out */
};

/* Defaults. 0 or -ENOMEM. */
int conf_init(struct config *c);
void conf_fini(struct config *c);
/* Reads the file; every error of the file is reported. 0; -ENOENT and other errnos: cannot be read; -EINVAL: errors in it (c then holds
 * what was right, so on_start_failure is known if it was readable). */
int conf_load(struct config *c, const char *path, struct conf_report *rep);
/* The same for text in memory; name stands for the file in messages. Tests, fuzzing. */
int conf_load_text(struct config *c, const char *name, const char *text, struct conf_report *rep);

/* --- environment --- */

struct conf_env {
	const char *conf_path;	   /* LSTACK_CONF_PATH, or NULL */
	const char *bind_procname; /* GAZELLE_BIND_PROCNAME, or NULL */
	const char *thread_name;   /* GAZELLE_THREAD_NAME, or NULL */
	const char *on_start_failure; /* GAZELLE_ON_START_FAILURE, or NULL */
};

struct conf_env_var {
	const char *name, *help;
};
extern const struct conf_env_var conf_env_vars[];
extern const unsigned conf_env_var_count;

/* Pointers into the environment. Works before any constructor has run. */
void conf_env_read(struct conf_env *env);
static inline const char *conf_path(const struct conf_env *env)
{
	return env->conf_path && env->conf_path[0] ? env->conf_path : CONF_DEFAULT_PATH;
}
/* Is one of the comma-separated names the basename of /proc/self/exe or of argv[0], or comm? names NULL or "": false. */
bool conf_names_this_process(const char *names);
/* Should the process exit when start fails? The environment wins over the file; c may be NULL (file unreadable). */
bool conf_exit_on_failure(const struct config *c, const struct conf_env *env);

/* --- the machine --- */

struct conf_hugepages {
	uint64_t page_bytes;
	struct {
		uint64_t total, free;
	} node[CONF_NODE_MAX];
};

struct conf_kernel_addr {
	uint32_t addr_be, mask_be;
	char ifname[IF_NAMESIZE];
};

struct conf_kernel_link {
	char ifname[IF_NAMESIZE];
	uint8_t mac[6];
	int numa_node;
	char pci[16]; /* its PCI address, "" when it has none */
};

/* A PCI network function that a user-mode driver may use. */
struct conf_pci_port {
	char addr[16];	 /* 0000:01:00.0 */
	char driver[24]; /* bound driver, "" when none */
	int numa_node;
};

/* Facts about the machine, gathered once so that the checks are pure functions of it. */
struct conf_machine {
	bool is_root;
	unsigned nb_nodes;
	uint8_t cpu_node[CONF_CPU_MAX];
	struct conf_cpus cpuset;   /* where the process may run at all */
	struct conf_cpus affinity; /* where it runs now */
	unsigned nb_page_sizes;
	struct conf_hugepages pages[CONF_PAGE_SIZES];
	uint64_t nofile;	   /* RLIMIT_NOFILE, soft */
	uint64_t mem_available;	   /* bytes */
	unsigned nb_addrs, nb_links, nb_pci;
	struct conf_kernel_addr addrs[64];
	struct conf_kernel_link links[64];
	struct conf_pci_port pci[64];
	bool iommu;		   /* an IOMMU is active */
};

void conf_machine_read(struct conf_machine *m);
/* CPU set against cpuset, addresses against the kernel's, device against what is there, memory against free huge pages. Fills the second
 * group of derived fields. 0 or -EINVAL with errors in rep. */
int conf_check_machine(struct config *c, const struct conf_machine *m, struct conf_report *rep);

/* --- EAL --- */

struct eal_args {
	char **argv; /* argv[0] is a program name; argv[argc] NULL. EAL moves and overwrites elements. */
	char **owned; /* the same strings, for eal_args_free() */
	int argc;
	int capacity;
};

/* Builds the argument vector. 0 or -EINVAL with errors in rep (refused arguments). */
int conf_eal_args(const struct config *c, const struct conf_machine *m, struct eal_args *out, struct conf_report *rep);
void eal_args_free(struct eal_args *a);
/* One line, shell-quoted, for messages. */
const char *eal_args_text(const struct eal_args *a, char *buf, size_t bytes);

/* --- the schema, for tools and documents --- */

enum conf_type { CONF_INT, CONF_STRING, CONF_STRINGS, CONF_ANY };
enum conf_status {
	CONF_WORKS,	/* does what its help says */
	CONF_ALWAYS_ON, /* accepted; what it asks for is always so */
	CONF_RETIRED,	/* accepted with a note; no effect */
	CONF_WARNED,	/* a non-default value is accepted with a warning and has no effect */
	CONF_NOT_BUILT, /* a non-default value is refused in this version */
};

struct conf_key {
	const char *name;
	enum conf_type type;
	enum conf_status status;
	bool ours;	     /* not in the original */
	bool in_example;     /* stands in the example file (commented out unless example_value) */
	size_t offset;	     /* in struct config, of int, char * or struct conf_strings */
	int64_t min, max;    /* CONF_INT */
	int def;
	const char *def_str;
	const char *values;  /* what may be written, for people */
	const char *example; /* value in the example file, commented out if it begins with #; NULL: commented out with the default */
	const char *note;    /* RETIRED, WARNED, NOT_BUILT: what to say */
	const char *help;
};

extern const struct conf_key conf_keys[];
extern const unsigned conf_key_count;

/* Index of the key, or -1. */
int conf_key_find(const char *name);
/* tcp_fastopen_key's text, as Linux's sysctl has it, to numbers: how many keys of four; 0: it is none. */
unsigned conf_fastopen_keys(const char *text, uint32_t words[8]);
/* Nearest known key by edit distance, or NULL when none is near. */
const char *conf_key_nearest(const char *name);
/* The effective value as it would be written in the file. Returns buf. */
const char *conf_value_text(const struct config *c, unsigned key, char *buf, size_t bytes);
/* "default" | "file" | "environment" | "runtime" */
const char *conf_origin_name(uint8_t origin);

#endif

/* eal_args.c - the argument vector for rte_eal_init(), from dpdk_args and what the machine offers. Pure function of both.
 *
 * EAL calls exit() for -h, prints for -v, probes every PCI device of the machine unless told otherwise, starts a thread per lcore, and a
 * secondary process maps somebody else's memory: none of that may happen inside a host program (runtime.md, "EAL inside somebody else's process").
 */
#include "config/config.h"
#include "base/sys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void eal_args_free(struct eal_args *a)
{
	for (int i = 0; i < a->argc; i++)
		free(a->owned[i]);
	free(a->owned);
	free(a->argv);
	memset(a, 0, sizeof(*a));
}

/* Appends one argument. A failed allocation leaves argc as it was; the builder notices by argc < wanted. */
static void push(struct eal_args *a, const char *fmt, ...) printf_like(2, 3);
static void push(struct eal_args *a, const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	if (a->argc + 2 > a->capacity) {
		int want = a->capacity ? a->capacity * 2 : 32;
		char **argv = realloc(a->argv, (size_t)want * sizeof(*argv)), **owned;

		if (!argv)
			return;
		a->argv = argv;
		owned = realloc(a->owned, (size_t)want * sizeof(*owned));
		if (!owned)
			return;
		a->owned = owned;
		a->capacity = want;
	}
	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	if (!s)
		return;
	a->owned[a->argc] = s;
	a->argv[a->argc++] = s;
	a->argv[a->argc] = NULL;
}

/* Options of the user's that matter here. */
struct user_args {
	bool in_memory, no_huge, no_pci, allow, huge_dir, socket_mem, mem_m, legacy, file_prefix, iova, telemetry, no_telemetry, no_shconf,
		single_file, vdev_virtio_user, pci_vdev;
};

/* Splits "--name=value"; returns true if the argument is the option `name`, *value its inline value or NULL. */
static bool is_option(const char *arg, const char *name, const char **value)
{
	size_t n = strlen(name);

	*value = NULL;
	if (strncmp(arg, name, n))
		return false;
	if (arg[n] == '=' && !strncmp(name, "--", 2)) {
		*value = arg + n + 1;
		return true;
	}
	return arg[n] == '\0';
}

static bool is_any_option(const char *arg, const char *const *names, const char **value)
{
	for (; *names; names++)
		if (is_option(arg, *names, value))
			return true;
	return false;
}

/* A short option that takes a value, written together: "-l0-3". */
static bool is_short(const char *arg, char letter)
{
	return arg[0] == '-' && arg[1] == letter;
}

static const char *where(const struct config *c, char *buf, size_t bytes)
{
	int key = conf_key_find("dpdk_args");

	snprintf(buf, bytes, "%s:%u", c->path, c->line[key]);
	return buf;
}

/* What the walk over dpdk_args decides about one argument. */
enum verdict { TAKE, TAKE_WITH_VALUE, DROP_ONE, DROP_WITH_VALUE, REFUSE };

static enum verdict judge(const char *arg, const char *next, struct user_args *u, const char **why)
{
	static const char *const exits[] = { "-h", "--help", "-v", "--version", NULL };
	static const char *const cpus[] = { "-l", "-c", "--lcores", "--main-lcore", "--master-lcore", "-s", "-S", NULL };
	static const char *const with_value[] = {
		"-a", "--allow", "-w", "--pci-whitelist", "-b", "--block", "--pci-blacklist", "-d", "-m", "-n", "-r", "--vdev", "--socket-mem", "--socket-limit",
		"--huge-dir", "--file-prefix", "--iova-mode", "--proc-type", "--log-level", "--syslog", "--base-virtaddr", "--vfio-intr",
		"--vfio-vf-token", "--mbuf-pool-ops-name", "--trace", "--trace-dir", "--trace-bufsz", "--trace-mode", "--force-max-simd-bitwidth",
		"--huge-worker-stack", NULL
	};
	static const char *const optional_value[] = { "--huge-unlink", "--trace", "--syslog", "--huge-worker-stack", NULL };
	const char *inl;

	if (is_any_option(arg, exits, &inl)) {
		*why = "prints and ends the process";
		return REFUSE;
	}
	if (is_option(arg, "--proc-type", &inl)) {
		const char *type = inl ? inl : next;

		if (!type || (strcmp(type, "primary") && strcmp(type, "auto"))) {
			*why = "a process with a stack is a primary one";
			return REFUSE;
		}
		/* auto may find somebody's primary process and join it */
		*why = strcmp(type, "auto") ? NULL : "is always primary here";
		if (*why)
			return inl ? DROP_ONE : DROP_WITH_VALUE;
		return inl ? TAKE : TAKE_WITH_VALUE;
	}
	if (is_option(arg, "--map-perfect", &inl)) {
		*why = "an option of openEuler's DPDK alone; memory is mapped as needed";
		return DROP_ONE;
	}
	if (is_any_option(arg, cpus, &inl) || (is_short(arg, 'l') && arg[2]) || (is_short(arg, 'c') && arg[2])) {
		*why = "CPUs come from num_cpus";
		return inl || (arg[1] != '-' && arg[2]) ? DROP_ONE : DROP_WITH_VALUE;
	}
	if (arg[0] != '-') {
		*why = "not an option: does the argument before it take no value?";
		return REFUSE;
	}
	u->in_memory |= is_option(arg, "--in-memory", &inl);
	u->no_huge |= is_option(arg, "--no-huge", &inl);
	u->no_pci |= is_option(arg, "--no-pci", &inl);
	u->allow |= is_short(arg, 'a') || is_option(arg, "--allow", &inl) || is_short(arg, 'w') || is_short(arg, 'b') || is_option(arg, "--block", &inl);
	u->huge_dir |= is_option(arg, "--huge-dir", &inl);
	u->socket_mem |= is_option(arg, "--socket-mem", &inl);
	u->mem_m |= is_short(arg, 'm');
	u->legacy |= is_option(arg, "--legacy-mem", &inl);
	u->file_prefix |= is_option(arg, "--file-prefix", &inl);
	u->iova |= is_option(arg, "--iova-mode", &inl);
	u->telemetry |= is_option(arg, "--telemetry", &inl);
	u->no_telemetry |= is_option(arg, "--no-telemetry", &inl);
	u->no_shconf |= is_option(arg, "--no-shconf", &inl);
	u->single_file |= is_option(arg, "--single-file-segments", &inl);
	if (is_any_option(arg, with_value, &inl) && !inl) {
		if (is_any_option(arg, optional_value, &inl))
			return next && next[0] != '-' ? TAKE_WITH_VALUE : TAKE;
		if (!next) {
			*why = "its value is missing";
			return REFUSE;
		}
		return TAKE_WITH_VALUE;
	}
	return TAKE;
}

/* Options that only make sense with huge pages, dropped when there are none. */
static bool needs_huge(const char *arg)
{
	static const char *const names[] = { "--socket-mem", "--socket-limit", "--huge-dir", "--legacy-mem", "--huge-unlink", "--single-file-segments",
					     "--in-memory", NULL };
	const char *inl;

	return is_any_option(arg, names, &inl);
}

static void push_user(const struct config *c, const struct conf_machine *m, struct eal_args *out, struct user_args *u, struct conf_report *rep)
{
	char at[256];

	where(c, at, sizeof(at));
	for (unsigned i = 0; i < c->dpdk_args.n; i++) {
		const char *arg = c->dpdk_args.v[i], *next = i + 1 < c->dpdk_args.n ? c->dpdk_args.v[i + 1] : NULL, *why = NULL;
		enum verdict v = judge(arg, next, u, &why);
		bool drop_huge = m && !c->hugepages && !u->no_huge && needs_huge(arg);

		if (v == REFUSE) {
			conf_report_add(rep, LOG_LEVEL_ERROR, "%s: `dpdk_args` \"%.60s\": refused: %s: take it out", at, arg, why);
			continue;
		}
		if (v == DROP_ONE || v == DROP_WITH_VALUE) {
			/* said once: the check before the machine is known passes NULL */
			if (!m)
				conf_report_add(rep, LOG_LEVEL_INFO, "%s: `dpdk_args` \"%.60s\": dropped: %s", at, arg, why);
			i += v == DROP_WITH_VALUE && next;
			continue;
		}
		if (drop_huge) {
			conf_report_add(rep, LOG_LEVEL_INFO, "%s: `dpdk_args` \"%.60s\": dropped: this machine has no huge pages", at, arg);
			i += v == TAKE_WITH_VALUE;
			continue;
		}
		push(out, "%s", arg);
		if (v == TAKE_WITH_VALUE)
			push(out, "%s", c->dpdk_args.v[++i]);
	}
}

/* Which PCI functions EAL may touch: the configured one, or those already bound to a user-mode driver when the device is given by
 * a MAC address that no kernel interface has; else none. */
static void push_pci(const struct config *c, const struct conf_machine *m, const struct user_args *u, struct eal_args *out, bool *any)
{
	bool kernel_driven = c->device_ifname[0] != '\0';

	*any = false;
	if (u->no_pci)
		return;
	if (u->allow) {
		*any = true;
		return;
	}
	if (c->device_kind == CONF_DEV_PCI && !kernel_driven) {
		push(out, "-a");
		push(out, "%s", c->devices);
		*any = true;
		return;
	}
	if ((c->device_kind == CONF_DEV_MAC || c->device_kind == CONF_DEV_NONE) && !kernel_driven) {
		for (unsigned i = 0; i < m->nb_pci; i++) {
			const char *d = m->pci[i].driver;

			if (strcmp(d, "vfio-pci") && strcmp(d, "igb_uio") && strcmp(d, "uio_pci_generic"))
				continue;
			push(out, "-a");
			push(out, "%s", m->pci[i].addr);
			*any = true;
		}
	}
	if (!*any)
		push(out, "--no-pci");
}

/* The one lcore, on every CPU where the process may run now: EAL then does not cut the calling thread's affinity to one CPU, and
 * starts no worker threads. */
static void push_lcore(const struct conf_machine *m, struct eal_args *out)
{
	char cpus[512];

	if (!m->affinity.count)
		return;
	push(out, "--lcores");
	push(out, "0@(%s)", conf_cpus_text(&m->affinity, cpus, sizeof(cpus)));
}

int conf_eal_args(const struct config *c, const struct conf_machine *m, struct eal_args *out, struct conf_report *rep)
{
	struct user_args u = { 0 };
	unsigned errors = rep->errors;
	bool pci;

	memset(out, 0, sizeof(*out));
	push(out, "lstack");
	push_user(c, m, out, &u, rep);
	if (!m) /* only the refusals were asked for */
		return rep->errors == errors ? 0 : -EINVAL;
	push_lcore(m, out);
	push_pci(c, m, &u, out, &pci);
	if (!c->hugepages) {
		if (!u.no_huge)
			push(out, "--no-huge");
		if (!u.mem_m && c->no_huge_mb) {
			push(out, "-m");
			push(out, "%u", c->no_huge_mb);
		}
		if (!u.no_shconf && !u.in_memory)
			push(out, "--no-shconf");
	} else if (!u.in_memory && !u.huge_dir && !u.legacy && !u.file_prefix && !u.no_shconf) {
		/* nothing on a file system: nothing is left behind by a crash. One file per list of pages: few descriptors, and
		 * virtio-user can share it. */
		push(out, "--in-memory");
		if (!u.single_file)
			push(out, "--single-file-segments");
	} else if (!u.in_memory && !u.file_prefix) {
		push(out, "--file-prefix");
		push(out, "gazelle%d", sys_getpid());
	}
	if (!u.iova && !pci) {
		push(out, "--iova-mode");
		push(out, "va");
	}
	if (!u.telemetry && !u.no_telemetry)
		push(out, "--no-telemetry");
	return rep->errors == errors ? 0 : -EINVAL;
}

const char *eal_args_text(const struct eal_args *a, char *buf, size_t bytes)
{
	size_t used = 0;

	if (bytes)
		buf[0] = '\0';
	for (int i = 0; i < a->argc; i++) {
		bool plain = a->argv[i][0] && strcspn(a->argv[i], " \t\"'()$&;|<>*?`\\!") == strlen(a->argv[i]);
		int n = snprintf(buf + used, bytes - used, "%s%s%s%s", i ? " " : "", plain ? "" : "'", a->argv[i], plain ? "" : "'");

		if (n < 0 || (size_t)n >= bytes - used)
			break;
		used += (size_t)n;
	}
	return buf;
}

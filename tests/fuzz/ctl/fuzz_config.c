/* fuzz_config.c - any text as lstack.conf: parser, checks against a machine, EAL arguments. The
 * first byte, if it is a control character, chooses machine and environment; the rest is the file.
 * Properties: refused with a message, or complete; what is printed reads back as the same
 * configuration; no exit, no leak.
 */
#include "config/config.h"

#include "base/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets the text of a string that the file does not end; once per start, not ours
 * to free. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

/* Without huge pages, with a port bound to a user-mode driver, with a second node. */
static void make_machine(struct conf_machine *m, uint8_t how)
{
	memset(m, 0, sizeof(*m));
	m->nb_nodes = 2;
	for (unsigned i = 0; i < 8; i++) {
		conf_cpus_add(&m->cpuset, i);
		m->cpu_node[i] = i / 4;
	}
	m->nofile = 1024;
	m->mem_available = 4ull << 30;
	if (!(how & 1)) {
		m->affinity = m->cpuset;
		m->nb_page_sizes = 1;
		m->pages[0].page_bytes = 2 << 20;
		m->pages[0].node[0].total = m->pages[0].node[0].free = 2048;
	}
	m->nb_links = 1;
	memcpy(m->links[0].ifname, "eth0", 5);
	memcpy(m->links[0].mac, (uint8_t[6]){ 2, 0xbb, 0xcc, 0xdd, 0xee, 0xff }, 6);
	m->nb_pci = 1;
	memcpy(m->pci[0].addr, "0000:01:00.0", 13);
	if (how & 2)
		memcpy(m->pci[0].driver, "vfio-pci", 9);
}

static void set_environment(uint8_t how)
{
	static const char *const values[] = { NULL, "exit", "kernel", "perhaps" };
	const char *v = values[how >> 2 & 3];

	if (v)
		setenv("GAZELLE_ON_START_FAILURE", v, 1);
	else
		unsetenv("GAZELLE_ON_START_FAILURE");
}

/* The effective values, as `gazellectl lstack config` shows them, in a file of their own. */
static void read_back(const struct config *c)
{
	static char text[1 << 20], value[1 << 18], again[1 << 18];
	struct conf_report rep;
	struct config d;
	size_t used = 0;

	for (unsigned i = 0; i < conf_key_count; i++) {
		if (conf_keys[i].type == CONF_ANY || c->origin[i] != CONF_FROM_FILE)
			continue;
		conf_value_text(c, i, value, sizeof(value));
		if (strlen(value) == sizeof(value) - 1)
			return;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s = %s;\n",
					 conf_keys[i].name, value);
		if (used >= sizeof(text))
			return;
	}
	conf_report_init(&rep);
	if (conf_init(&d) || conf_load_text(&d, "again", text, &rep))
		abort();
	for (unsigned i = 0; i < conf_key_count; i++) {
		conf_value_text(c, i, value, sizeof(value));
		conf_value_text(&d, i, again, sizeof(again));
		if (c->origin[i] == CONF_FROM_FILE && strcmp(value, again))
			abort();
	}
	if (c->host_addr_be != d.host_addr_be || c->mask_addr_be != d.mask_addr_be ||
	    c->gateway_addr_be != d.gateway_addr_be || c->nb_stacks != d.nb_stacks ||
	    c->vlan_id != d.vlan_id || c->device_kind != d.device_kind ||
	    c->pin_stacks != d.pin_stacks || c->run_to_completion != d.run_to_completion ||
	    memcmp(&c->cpus, &d.cpus, sizeof(c->cpus)))
		abort();
	conf_report_free(&rep);
	conf_fini(&d);
}

static void check_args(struct config *c, const struct conf_machine *m, struct conf_report *rep)
{
	struct eal_args args = { 0 };
	char line[4096];

	if (conf_check_machine(c, m, rep) == 0 && conf_eal_args(c, m, &args, rep) == 0)
		for (int i = 0; i < args.argc; i++)
			if (!strcmp(args.argv[i], "--map-perfect") || !strcmp(args.argv[i], "-h"))
				abort();
	if (args.argc && (args.argv[args.argc] ||
			  strlen(eal_args_text(&args, line, sizeof(line))) >= sizeof(line)))
		abort();
	eal_args_free(&args);
}

static void cpu_list(const struct config *c)
{
	struct conf_cpus again;
	char text[8192], err[96];

	if (c->cpus.count && (conf_cpus_parse(conf_cpus_text(&c->cpus, text, sizeof(text)), &again,
					      err, sizeof(err)) ||
			      memcmp(again.bits, c->cpus.bits, sizeof(again.bits))))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[32];
	struct conf_machine m;
	struct conf_report rep;
	struct config c;
	uint8_t how = 0;

	/* including other files is the file system's matter, not the parser's */
	if (size > 8192 || memmem(data, size, "@include", 8))
		return 0;
	if (fd < 0) {
		fd = memfd_create("conf", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (size && data[0] && data[0] < '\t') { /* a file has no such byte */
		how = *data++;
		size--;
	}
	if (ftruncate(fd, how == 8 ? 1 << 20 : 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	make_machine(&m, how);
	set_environment(how);
	conf_report_init(&rep);
	if (conf_init(&c))
		abort();
	if (conf_load(&c, how == 7 ? "/proc/self" : size ? path : "/nonexistent", &rep) == 0) {
		if (rep.errors || c.nb_stacks < 1 || c.nb_stacks > CONF_STACK_MAX ||
		    !c.host_addr_be || !c.mask_addr_be)
			abort();
		read_back(&c);
		cpu_list(&c);
		check_args(&c, &m, &rep);
	} else if (!rep.errors) {
		abort();
	}
	conf_report_free(&rep);
	conf_fini(&c);
	return 0;
}

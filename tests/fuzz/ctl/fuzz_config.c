/* fuzz_config.c - any text as lstack.conf: parser, checks, EAL arguments. No exit, no leak; refused or complete. */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets the text of a string that the file does not end; once per start, not ours to free. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf_machine m;
	struct conf_report rep;
	struct eal_args args = { 0 };
	struct config c;
	char value[256];
	char *text;

	/* including other files is the file system's matter, not the parser's */
	if (size > 8192 || memmem(data, size, "@include", 8))
		return 0;
	if (!m.nb_nodes) {
		m.nb_nodes = 2;
		for (unsigned i = 0; i < 8; i++)
			conf_cpus_add(&m.cpuset, i);
		m.affinity = m.cpuset;
		m.nofile = 1024;
		m.mem_available = 4ull << 30;
		m.nb_page_sizes = 1;
		m.pages[0].page_bytes = 2 << 20;
		m.pages[0].node[0].total = m.pages[0].node[0].free = 512;
		m.nb_links = 1;
		memcpy(m.links[0].ifname, "eth0", 5);
		m.nb_pci = 1;
		memcpy(m.pci[0].addr, "0000:01:00.0", 13);
	}
	text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = '\0';
	conf_report_init(&rep);
	if (conf_init(&c))
		abort();
	if (conf_load_text(&c, "f", text, &rep) == 0) {
		if (rep.errors || c.nb_stacks < 1 || c.nb_stacks > CONF_STACK_MAX || !c.host_addr_be || !c.mask_addr_be)
			abort();
		if (conf_check_machine(&c, &m, &rep) == 0 && conf_eal_args(&c, &m, &args, &rep) == 0)
			for (int i = 0; i < args.argc; i++)
				if (!strcmp(args.argv[i], "--map-perfect"))
					abort();
		eal_args_free(&args);
	} else if (!rep.errors) {
		abort();
	}
	for (unsigned i = 0; i < conf_key_count; i++)
		conf_value_text(&c, i, value, sizeof(value));
	conf_report_free(&rep);
	conf_fini(&c);
	free(text);
	return 0;
}

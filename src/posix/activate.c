/* activate.c - the constructor: is the library active in this process, and for which threads.
 *
 * Preloaded, it is active only in programs that GAZELLE_BIND_PROCNAME names (a shell that starts the program stays on the kernel);
 * linked (the program itself needs it: DT_NEEDED), always. Active means: the configuration was read and is good. EAL starts
 * later, at the first use of a stack address. */
#include "posix/posix.h"

#include "posix/activate.h"
#include "posix/policy.h"
#include "posix/socket.h"
#include "stack/boot.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>

bool posix_active;

/* --- whose code is it --- */

#define RANGES_MAX 512
static struct {
	uintptr_t lo, hi;
} ranges[RANGES_MAX];
static _Atomic uint32_t nb_ranges;
static _Atomic uint32_t ranges_seen; /* loads when the list was made */

static int add_object(struct dl_phdr_info *info, size_t bytes, void *arg)
{
	const char *name = strrchr(info->dlpi_name, '/');
	uint32_t *n = arg;

	(void)bytes;
	name = name ? name + 1 : info->dlpi_name;
	if (strncmp(name, "librte_", 7) != 0 && strncmp(name, "liblstack", 9) != 0)
		return 0;
	for (int i = 0; i < info->dlpi_phnum && *n < RANGES_MAX; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_X))
			continue;
		ranges[*n].lo = info->dlpi_addr + ph->p_vaddr;
		ranges[*n].hi = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;
		(*n)++;
	}
	return 0;
}

static void ranges_load(void)
{
	uint32_t n = 0;

	(void)dl_iterate_phdr(add_object, &n);
	atomic_store_explicit(&nb_ranges, n, memory_order_release);
}

bool socket_caller_is_dpdk(const void *code)
{
	uintptr_t at = (uintptr_t)code;
	uint32_t n;

	/* EAL has loaded its drivers by the time it runs: look once more then. */
	if (unlikely(boot_started() && !atomic_exchange_explicit(&ranges_seen, 1, memory_order_relaxed)))
		ranges_load();
	n = atomic_load_explicit(&nb_ranges, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++)
		if (at - ranges[i].lo < ranges[i].hi - ranges[i].lo)
			return true;
	return false;
}

/* --- linked or preloaded --- */

static int first_object_needs_us(struct dl_phdr_info *info, size_t bytes, void *arg)
{
	const char *strtab = NULL;
	const ElfW(Dyn) *dyn = NULL;
	bool *linked = arg;

	(void)bytes;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (const ElfW(Dyn) *d = dyn; d && d->d_tag != DT_NULL; d++)
		if (d->d_tag == DT_STRTAB)
			strtab = (const char *)d->d_un.d_ptr; /* relocated by glibc */
	if ((uintptr_t)strtab < info->dlpi_addr && strtab)
		strtab += info->dlpi_addr; /* ... or not (read-only dynamic sections) */
	for (const ElfW(Dyn) *d = dyn; strtab && d && d->d_tag != DT_NULL; d++)
		if (d->d_tag == DT_NEEDED && strncmp(strtab + d->d_un.d_val, "liblstack.so", 12) == 0)
			*linked = true;
	return 1; /* the program itself is the first object; no further one */
}

static bool is_linked(void)
{
	bool linked = false;

	(void)dl_iterate_phdr(first_object_needs_us, &linked);
	return linked;
}

__attribute__((constructor)) static void activate(void)
{
	struct conf_env env;
	bool linked, named;

	real_resolve_all();
	conf_env_read(&env);
	linked = is_linked();
	named = env.bind_procname && env.bind_procname[0] && conf_names_this_process(env.bind_procname);
	if (!linked && !named) {
		/* A configuration without a matching name is most often a mistake; a shell that starts the program is not. */
		if (env.conf_path && !(env.bind_procname && env.bind_procname[0]))
			log_info("inactive: GAZELLE_BIND_PROCNAME is not set: set it to the program's name");
		else if (env.conf_path)
			log_debug("inactive: GAZELLE_BIND_PROCNAME=%s does not name this program", env.bind_procname);
		return;
	}
	gz_enter();
	if (boot_configure() == 0) {
		policy_set_thread_name(env.thread_name);
		fd_fast_close = boot_config()->socket_fast_close;
		ranges_load();
		sig_init();
		fork_init();
		if (!linked)
			log_info("LD_PRELOAD ok");
		posix_active = true;
	}
	gz_leave();
}

__attribute__((destructor)) static void deactivate(void)
{
	if (!posix_active)
		return;
	fdtable_exit();
	boot_stop(fdtable_close_all);
}

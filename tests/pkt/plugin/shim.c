/* shim.c - libgazelle_packetdrill.so itself: loads the stack (libgazelle_packetdrill_stack.so beside it) and passes the call on.
 *
 * DPDK and the stack keep some kilobytes in thread-local storage of the kind that must have room from the program's start on. A program that
 * loads them later has about one kilobyte of it, unless glibc was told to leave more: then this starts the program anew, once, with
 * that setting. The tool calls here before it has run anything of its script.
 */
#include "interface.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN "GAZELLE_PACKETDRILL_AGAIN"
#define TUNABLE "glibc.rtld.optional_static_tls=16384"

static void start_anew(void)
{
	static char args[1 << 16], *argv[4096];
	const char *old = getenv("GLIBC_TUNABLES");
	char tunables[4096];
	FILE *f = fopen("/proc/self/cmdline", "r");
	size_t n = f ? fread(args, 1, sizeof(args) - 1, f) : 0;
	size_t k = 0;

	if (!n)
		return;
	fclose(f);
	for (size_t at = 0; at < n && k < sizeof(argv) / sizeof(argv[0]) - 1; at += strlen(args + at) + 1)
		argv[k++] = args + at;
	snprintf(tunables, sizeof(tunables), "%s%s%s", old ? old : "", old ? ":" : "", TUNABLE);
	setenv("GLIBC_TUNABLES", tunables, 1);
	setenv(AGAIN, "1", 1);
	fflush(NULL);
	execv("/proc/self/exe", argv);
	fprintf(stderr, "libgazelle_packetdrill: cannot start the program anew: %s\n", strerror(errno));
}

__attribute__((visibility("default"))) void packetdrill_interface_init(const char *flags, struct packetdrill_interface *ifc)
{
	void (*init)(const char *flags, struct packetdrill_interface *ifc) = NULL;
	char path[PATH_MAX + 40];
	const char *why, *slash;
	Dl_info me;
	void *lib;

	if (!dladdr((void *)(uintptr_t)packetdrill_interface_init, &me) || !(slash = strrchr(me.dli_fname, '/')))
		snprintf(path, sizeof(path), "libgazelle_packetdrill_stack.so");
	else
		snprintf(path, sizeof(path), "%.*slibgazelle_packetdrill_stack.so", (int)(slash + 1 - me.dli_fname), me.dli_fname);
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (lib)
		*(void **)&init = dlsym(lib, "packetdrill_interface_init");
	if (init) {
		init(flags, ifc);
		return;
	}
	why = dlerror();
	if (why && strstr(why, "static TLS") && !getenv(AGAIN))
		start_anew();
	fprintf(stderr, "libgazelle_packetdrill: %s\n", why ? why : "no packetdrill_interface_init");
	exit(1);
}

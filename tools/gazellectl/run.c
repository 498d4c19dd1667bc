/* run.c - gazellectl run: the environment and, unless one is given, a configuration; then the program, in this process (its pid and signals are
 * what the caller expects).
 */
#include "gazellectl.h"

#include "ctl/paths.h"

#include <arpa/inet.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct run {
	const char *iface, *conf, *mode;
	char *addr; /* ADDR/LEN */
	const char *gateway;
	char gateway_buf[INET_ADDRSTRLEN];
	char **program;
};

static int misused_run(const char *why)
{
	fprintf(stderr, "gazellectl: run: %s: see gazellectl help\n", why);
	return EXIT_USAGE;
}

/* --- what can go wrong before the loader can say so --- */

/* Finds the file as execvp() would. */
static bool find_program(const char *name, char *out, size_t bytes)
{
	const char *path = getenv("PATH");

	if (strchr(name, '/')) {
		snprintf(out, bytes, "%s", name);
		return access(out, F_OK) == 0;
	}
	for (path = path ? path : "/usr/local/bin:/usr/bin:/bin"; *path;) {
		size_t n = strcspn(path, ":");

		snprintf(out, bytes, "%.*s/%s", (int)n, n ? path : ".", name);
		if (access(out, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

/* Preloading has no effect on these; NULL: fine. */
static const char *why_not_preloadable(const char *file)
{
	union {
		Elf64_Ehdr h;
		char bytes[4096];
	} e = { .bytes = { 0 } };
	struct stat st;
	char cap[64];
	int fd;
	ssize_t n;

	if (stat(file, &st) == 0 && st.st_mode & (S_ISUID | S_ISGID) && geteuid() != st.st_uid)
		return "it is setuid or setgid, and the loader preloads no library then: run it as its owner";
	if (getxattr(file, "security.capability", cap, sizeof(cap)) > 0 && geteuid() != 0)
		return "it has file capabilities, and the loader preloads no library then: use ambient capabilities instead (setpriv --ambient-caps, or "
		       "systemd's AmbientCapabilities=)";
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL; /* exec will say */
	n = read(fd, e.bytes, sizeof(e.bytes));
	close(fd);
	if (n < (ssize_t)sizeof(e.h) || memcmp(e.h.e_ident, ELFMAG, SELFMAG))
		return NULL; /* a script: its interpreter is what counts */
	if (e.h.e_ident[EI_CLASS] != ELFCLASS64)
		return "it is a 32-bit program: the library is a 64-bit one";
	for (size_t i = 0; i < e.h.e_phnum && e.h.e_phoff <= (size_t)n && (i + 1) * sizeof(Elf64_Phdr) <= (size_t)n - e.h.e_phoff; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, e.bytes + e.h.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_INTERP)
			return NULL;
	}
	return "it is statically linked: there is no loader that could preload a library";
}

/* The library: $GAZELLE_LIBRARY, beside this tool in a build tree, or where it was installed. */
static bool find_library(char *out, size_t bytes)
{
	static const char *const beside[] = { "%s/../src/liblstack.so", "%s/../../src/liblstack.so", "%s/../" LIBRARY_BESIDE "/liblstack.so",
					      "%s/../lib64/liblstack.so", "%s/../lib/liblstack.so" };
	const char *given = getenv("GAZELLE_LIBRARY");
	char self[PATH_MAX], try[PATH_MAX + 64];
	ssize_t n;

	if (given) {
		snprintf(out, bytes, "%s", given);
		return access(out, R_OK) == 0;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	for (unsigned i = 0; n > 0 && i < ARRAY_SIZE(beside); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(try, sizeof(try), beside[i], self);
#pragma GCC diagnostic pop
		if (realpath(try, self) && access(self, R_OK) == 0) {
			snprintf(out, bytes, "%s", self);
			return true;
		}
		/* realpath() wrote into self on failure as well */
		n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		self[n > 0 ? n : 0] = '\0';
		if (strrchr(self, '/'))
			*strrchr(self, '/') = '\0';
	}
	snprintf(out, bytes, "%s", LIBRARY_PATH);
	return access(out, R_OK) == 0;
}

/* --- configuration --- */

/* The kernel's default gateway on the interface, if it is on the link of addr/len. */
static const char *kernel_gateway(const char *iface, uint32_t addr_be, uint32_t mask_be, char *buf, size_t bytes)
{
	FILE *f = fopen("/proc/net/route", "re");
	char line[256], name[IF_NAMESIZE + 1];
	unsigned dest, gw;

	buf[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%16s %x %x", name, &dest, &gw) == 3 && !strcmp(name, iface) && dest == 0 && gw != 0 && ((gw ^ addr_be) & mask_be) == 0)
			inet_ntop(AF_INET, &gw, buf, (socklen_t)bytes);
	if (f)
		fclose(f);
	return buf[0] ? buf : NULL;
}

/* Configurations of earlier runs whose process is gone. */
static void remove_old(const char *dir)
{
	char pattern[CTL_PATH_MAX + 32];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/run.*.conf", dir);
	if (glob(pattern, GLOB_NOSORT, NULL, &g) == 0) {
		for (size_t i = 0; i < g.gl_pathc; i++) {
			const char *at = strrchr(g.gl_pathv[i], '/');
			int pid = at ? atoi(at + 5) : 0;

			if (pid > 0 && kill(pid, 0) < 0 && errno == ESRCH)
				unlink(g.gl_pathv[i]);
		}
	}
	globfree(&g);
}

/* Writes the configuration for -i -a -g; path to out. 0 or an exit code. */
static int write_conf(struct run *r, char *out, size_t bytes)
{
	char dir[CTL_PATH_MAX], *slash = strchr(r->addr, '/'), mask[INET_ADDRSTRLEN];
	uint32_t mask_be;
	struct in_addr addr, gw;
	long len = strtol(slash + 1, NULL, 10);
	int err;
	FILE *f;

	/* parse() has seen to its form */
	*slash = '\0';
	inet_pton(AF_INET, r->addr, &addr);
	mask_be = htonl(0xffffffffu << (32 - len));
	inet_ntop(AF_INET, &mask_be, mask, sizeof(mask));
	if (r->gateway && inet_pton(AF_INET, r->gateway, &gw) != 1)
		return misused_run("-g needs an IPv4 address");
	if (!r->gateway) {
		r->gateway = kernel_gateway(r->iface, addr.s_addr, mask_be, r->gateway_buf, sizeof(r->gateway_buf));
		if (r->gateway)
			fprintf(stderr, "gazellectl: gateway %s, the kernel's on %s (-g names another)\n", r->gateway, r->iface);
	}
	err = ctl_run_dir_get(dir, sizeof(dir));
	if (err)
		return failed("run directory %s: %s: set XDG_RUNTIME_DIR to a directory of yours", dir, strerror(-err));
	remove_old(dir);
	snprintf(out, bytes, "%s/run.%d.conf", dir, (int)getpid());
	f = fopen(out, "we");
	if (!f)
		return failed("%s: cannot be written: %s", out, strerror(errno));
	fprintf(f,
		"# made by gazellectl run\n"
		"devices = \"%s\"\n"
		"host_addr = \"%s\"\n"
		"mask_addr = \"%s\"\n"
		"%s%s%s"
		"stack_thread_mode = \"run-to-%s\"\n"
		"on_start_failure = \"exit\"\n",
		r->iface, r->addr, mask, r->gateway ? "gateway_addr = \"" : "", r->gateway ? r->gateway : "", r->gateway ? "\"\n" : "", r->mode);
	if (fclose(f) != 0)
		return failed("%s: cannot be written: %s", out, strerror(errno));
	return EXIT_OK;
}

/* --- the command --- */

static bool is_addr_with_length(const char *text)
{
	char addr[INET_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	struct in_addr a;
	char *end;
	long len;

	if (!slash || (size_t)(slash - text) >= sizeof(addr))
		return false;
	snprintf(addr, sizeof(addr), "%.*s", (int)(slash - text), text);
	len = strtol(slash + 1, &end, 10);
	return inet_pton(AF_INET, addr, &a) == 1 && end != slash + 1 && !*end && len >= 1 && len <= 32;
}

static int parse(int argc, char **argv, struct run *r)
{
	int c;

	*r = (struct run){ .mode = "completion" };
	optind = 1;
	opterr = 0;
	while ((c = getopt(argc, argv, "+i:c:a:g:m:")) != -1) {
		switch (c) {
		case 'i':
			r->iface = optarg;
			break;
		case 'c':
			r->conf = optarg;
			break;
		case 'a':
			r->addr = optarg;
			break;
		case 'g':
			r->gateway = optarg;
			break;
		case 'm':
			r->mode = optarg;
			break;
		default:
			return misused_run("unknown option, or its value is missing");
		}
	}
	r->program = argv + optind;
	if (!r->program[0])
		return misused_run("which program? write it after --");
	if (r->conf && (r->iface || r->addr || r->gateway))
		return misused_run("-c and -i exclude one another: a configuration has its own device and address");
	if (strcmp(r->mode, "completion") && strcmp(r->mode, "wakeup"))
		return misused_run("-m is wakeup or completion");
	if (!r->conf && (!r->iface || !r->addr))
		return misused_run("needs -i INTERFACE and -a ADDRESS/LENGTH, or -c CONFIGURATION");
	if (r->addr && !is_addr_with_length(r->addr))
		return misused_run("-a needs an IPv4 address and its network's length, as 192.168.1.10/24");
	/* a quote would end the string in the file */
	if (r->iface && (strpbrk(r->iface, "\"\\\n") || strlen(r->iface) > 63))
		return misused_run("-i needs the name of an interface");
	return EXIT_OK;
}

/* Joins a and b by sep; b may be NULL. */
static char *joined(const char *a, char sep, const char *b)
{
	char *out = NULL;

	if (!b || !b[0])
		return strdup(a);
	return asprintf(&out, "%s%c%s", a, sep, b) < 0 ? NULL : out;
}

int run_command(int argc, char **argv)
{
	char file[PATH_MAX], real[PATH_MAX], library[PATH_MAX], conf[CTL_PATH_MAX + 64], *preload, *names;
	const char *why, *base, *real_base;
	struct run r;
	int rc = parse(argc, argv, &r);

	if (rc)
		return rc;
	if (!find_program(r.program[0], file, sizeof(file)))
		return failed("%s: cannot be run: there is no such program", r.program[0]);
	why = why_not_preloadable(file);
	if (why)
		return failed("%s: cannot use the stack: %s", file, why);
	if (!find_library(library, sizeof(library)))
		return failed("%s: the library is not there: install it, or set GAZELLE_LIBRARY to its path", library);
	if (r.conf) {
		if (!realpath(r.conf, conf))
			return failed("%s: cannot be read: %s", r.conf, strerror(errno));
	} else {
		rc = write_conf(&r, conf, sizeof(conf));
		if (rc)
			return rc;
	}
	base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	if (!realpath(file, real))
		snprintf(real, sizeof(real), "%s", file);
	real_base = strrchr(real, '/') ? strrchr(real, '/') + 1 : real;
	/* by the name typed, or by the file that a link leads to */
	names = joined(base, ',', strcmp(base, real_base) ? real_base : NULL);
	preload = joined(library, ':', getenv("LD_PRELOAD"));
	if (!names || !preload) {
		free(names);
		free(preload);
		return failed("out of memory");
	}
	setenv("LD_PRELOAD", preload, 1);
	setenv("LSTACK_CONF_PATH", conf, 1);
	setenv("GAZELLE_BIND_PROCNAME", names, 1);
	execvp(r.program[0], r.program);
	rc = failed("%s: cannot be run: %s", r.program[0], strerror(errno));
	if (!r.conf)
		unlink(conf);
	free(names);
	free(preload);
	return rc;
}

/* env.c - the environment variables, and whether this process is meant by them. Works before constructors have run. */
#include "config/config.h"
#include "base/sys.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

void conf_env_read(struct conf_env *env)
{
	env->conf_path = getenv("LSTACK_CONF_PATH");
	env->bind_procname = getenv("GAZELLE_BIND_PROCNAME");
	env->thread_name = getenv("GAZELLE_THREAD_NAME");
	env->on_start_failure = getenv("GAZELLE_ON_START_FAILURE");
}

/* Reads at most bytes - 1 of a small file; the text ends at the first NUL or newline. false: unreadable. */
static bool read_word(const char *path, char *buf, size_t bytes)
{
	if (sys_read_file(path, buf, bytes) <= 0)
		return false;
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool list_has(const char *names, const char *one)
{
	size_t len = strlen(one);

	while (len && *names) {
		const char *from = names + strspn(names, " \t,");
		size_t n = strcspn(from, ",");

		names = from + n;
		while (n && (from[n - 1] == ' ' || from[n - 1] == '\t'))
			n--;
		if (n == len && !memcmp(from, one, n))
			return true;
	}
	return false;
}

bool conf_names_this_process(const char *names)
{
	char buf[4096];
	long n;

	if (!names || !names[0])
		return false;
	n = SYS(readlinkat, AT_FDCWD, "/proc/self/exe", buf, sizeof(buf) - 1);
	if (n > 0) {
		static const char deleted[] = " (deleted)";

		buf[n] = '\0';
		/* replaced by an upgrade while running */
		if ((size_t)n > sizeof(deleted) && !strcmp(buf + n - (sizeof(deleted) - 1), deleted))
			buf[(size_t)n - (sizeof(deleted) - 1)] = '\0';
		if (list_has(names, base_name(buf)))
			return true;
	}
	if (read_word("/proc/self/cmdline", buf, sizeof(buf)) && list_has(names, base_name(buf)))
		return true;
	return read_word("/proc/self/comm", buf, sizeof(buf)) && list_has(names, buf);
}

bool conf_exit_on_failure(const struct config *c, const struct conf_env *env)
{
	if (env->on_start_failure) {
		if (!strcmp(env->on_start_failure, "exit"))
			return true;
		if (!strcmp(env->on_start_failure, "kernel"))
			return false;
		/* anything else was reported by conf_load(); the file decides */
	}
	return c && c->exit_on_failure;
}

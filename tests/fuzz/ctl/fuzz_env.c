/* fuzz_env.c - any text in the environment variables that the library reads: names of programs, run
 * directories, words. Input: a byte whose bits say which variables are set, a byte for the process'
 * name, then their values, each ended by a NUL.
 */
#include "config/config.h"

#include "base/log.h"
#include "ctl/paths.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = { "LSTACK_CONF_PATH",
				     "GAZELLE_BIND_PROCNAME",
				     "GAZELLE_THREAD_NAME",
				     "GAZELLE_ON_START_FAILURE",
				     "GAZELLE_RUN_DIR",
				     "XDG_RUNTIME_DIR",
				     "TMPDIR",
				     "GAZELLE_LOG" };

/* Slow and obvious: is one of the comma-separated words, blanks at its ends aside, equal to name?
 */
static bool listed(const char *list, const char *name)
{
	char *copy = strdup(list), *rest = copy, *word;
	bool found = false;

	while ((word = strsep(&rest, ","))) {
		word += strspn(word, " \t");
		for (size_t n = strlen(word); n && strchr(" \t", word[n - 1]); n--)
			word[n - 1] = '\0';
		found |= *name && !strcmp(word, name);
	}
	free(copy);
	return found;
}

static void run_dirs(void)
{
	char dir[CTL_PATH_MAX], path[CTL_PATH_MAX + 256];
	unsigned n = 0;

	for (unsigned uid = 0; uid < 2000; uid += 1000) {
		for (n = 0; ctl_run_dir_nth(n, uid, dir, sizeof(dir)); n++) {
			if (n > 5)
				break;
			for (unsigned pid = 0; pid < 2; pid++)
				if (ctl_socket_name(dir, getenv("TMPDIR") ?: "", (int)pid * 4194304,
						    path, sizeof(path)) == 0 &&
				    (strlen(path) >= CTL_SOCK_MAX || !ctl_is_socket_name(path)))
					abort();
		}
		if (n == 0 || n > 5)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const comms[] = { "redis-server", "a", "", "a b,c" };
	static struct config c;
	struct conf_env env;
	enum log_level level;
	uint8_t set, how;
	const char *comm;
	char *text, *at;

	if (size < 2 || size > 20000)
		return 0;
	set = data[0];
	how = data[1];
	text = malloc(size + ARRAY_SIZE(names));
	memset(text, 0, size + ARRAY_SIZE(names));
	memcpy(text, data + 2, size - 2);
	at = text;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!(set >> i & 1)) {
			unsetenv(names[i]);
			continue;
		}
		setenv(names[i], at, 1);
		at += MIN(strlen(at) + 1, (size_t)(text + size - at));
	}
	comm = comms[how & 3];
	prctl(PR_SET_NAME, comm, 0, 0, 0);
	conf_env_read(&env);
	if (!conf_path(&env)[0] || (env.conf_path != getenv("LSTACK_CONF_PATH")))
		abort();
	if (conf_names_this_process(env.bind_procname) !=
	    (env.bind_procname &&
	     (listed(env.bind_procname, comm) || listed(env.bind_procname, "fuzz_env"))))
		abort();
	c.exit_on_failure = how & 4;
	if (conf_exit_on_failure(how & 8 ? NULL : &c, &env) && !(how & 4 && !(how & 8)) &&
	    (!env.on_start_failure || strcmp(env.on_start_failure, "exit")))
		abort();
	run_dirs();
	log_set_level((enum log_level)0xff); /* as at start: the variable is asked */
	level = log_get_level();
	if (!getenv("GAZELLE_LOG") || strcmp(getenv("GAZELLE_LOG"), log_level_name(level))
		    ? level != LOG_LEVEL_INFO
		    : false)
		abort();
	free(text);
	return 0;
}

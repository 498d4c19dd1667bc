/* shell.c - the shell commands of packet scripts as far as they mean something to a stack that is no kernel: settings of
 * net.ipv4 by sysctl(8), by echo into /proc/sys and by the set_sysctls.py of public suites. Commands that prepare or restore the
 * machine (ethtool, ip link, tcp_metrics flush) mean nothing here and are passed over; anything else is reported, so that a
 * script never runs under conditions other than it asks for. A suite's defaults.sh is evaluated by bash without a command to call: what it would call is
 * read as if the script had said it. Called by run.c. */
#include "shell.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_MAX 1024
#define TEXT_MAX 65536

/* First words, or ends of first words, of commands that are passed over. */
static const char *const no_ops[] = { "ethtool", "true", ":", "sync", "nstat", "modprobe", "tc", "rm", "cat", "set", "export", "cd", "date" };

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && !strcmp(s + n - k, end);
}

/* net.ipv4.x, /proc/sys/net/ipv4/x, net/ipv4/x -> x; NULL: another tree. */
static const char *ipv4_name(const char *name)
{
	static const char *const roots[] = { "net.ipv4.", "/proc/sys/net/ipv4/", "net/ipv4/" };

	for (size_t i = 0; i < ARRAY_SIZE(roots); i++)
		if (!strncmp(name, roots[i], strlen(roots[i])))
			return name + strlen(roots[i]);
	return NULL;
}

/* "4096 $((32*1024*1024))" -> "4096 33554432": products are what suites write. */
static void products(const char *in, char *out, size_t n)
{
	size_t at = 0;

	while (*in && at < n - 1) {
		char *end;
		uint64_t v;

		if (strncmp(in, "$((", 3)) {
			out[at++] = *in++;
			continue;
		}
		v = strtoull(in + 3, &end, 0);
		while (*end == '*')
			v *= strtoull(end + 1, &end, 0);
		in = strncmp(end, "))", 2) ? end : end + 2;
		at += (size_t)snprintf(out + at, n - at, "%" PRIu64, v);
		at = MIN(at, n - 1);
	}
	out[at] = 0;
}

struct words {
	char text[COMMAND_MAX];
	char *w[64];
	unsigned n;
};

/* Splits at blanks; quotes keep blanks together, also inside a word. */
static bool split(const char *s, size_t len, struct words *out)
{
	size_t k = 0;
	char quote = 0;
	bool in = false;

	out->n = 0;
	for (size_t i = 0; i < len && k < sizeof(out->text) - 2; i++) {
		char c = s[i];

		if (c == '\\' && i + 1 < len && s[i + 1] == '\n')
			c = s[++i];
		if (quote ? c == quote : c == '"' || c == '\'') {
			quote = quote ? 0 : c;
			if (in)
				continue;
			c = 0;
		} else if (!quote && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
			if (in)
				out->text[k++] = 0;
			in = false;
			continue;
		}
		if (!in) {
			if (out->n == ARRAY_SIZE(out->w))
				return false;
			out->w[out->n++] = out->text + k;
			in = true;
		}
		if (c)
			out->text[k++] = c;
	}
	out->text[k] = 0;
	return !quote;
}

/* The commands of a shell file beside the script, their arguments evaluated; NULL: no such file, or no bash. Caller frees. */
static char *commands_of(const char *script, const char *file)
{
	static const char eval[] = "PATH=/nonexistent; command_not_found_handle() { printf \"'%s' \" \"$@\"; printf '\\n'; }; . \"$1\"";
	const char *slash = strrchr(script, '/');
	char path[1024];
	char *text;
	size_t got = 0;
	int fd[2], status;
	pid_t pid;

	snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash + 1 - script) : 2, slash ? script : "./", file);
	if (access(path, R_OK) || pipe2(fd, O_CLOEXEC))
		return NULL;
	text = calloc(1, TEXT_MAX);
	pid = text ? fork() : -1;
	if (!pid) {
		dup2(fd[1], STDOUT_FILENO);
		execl("/bin/bash", "bash", "--norc", "-c", eval, "bash", path, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	for (ssize_t n; pid > 0 && got < TEXT_MAX - 1 && (n = read(fd[0], text + got, TEXT_MAX - 1 - got)) > 0;)
		got += (size_t)n;
	close(fd[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) == 127) {
		free(text);
		return NULL;
	}
	return text;
}

static int one(const char *script, const struct words *w, bool (*sysctl)(void *, const char *, const char *, char *, size_t), void *arg, char *why, size_t n)
{
	const char *cmd = w->w[0];
	unsigned at = 1;

	if (ends_with(cmd, "defaults.sh")) {
		char *text = script ? commands_of(script, cmd) : NULL;
		int err = text ? shell_run(NULL, text, sysctl, arg, why, n) : 0;

		free(text);
		return err;
	}
	for (size_t i = 0; i < ARRAY_SIZE(no_ops); i++)
		if (!strcmp(cmd, no_ops[i]) || (ends_with(cmd, no_ops[i]) && strchr(cmd, '/')))
			return 0;
	if (strstr(cmd, "sysctl_restore"))
		return 0;
	if (!strcmp(cmd, "ip") && w->n > 1 && (!strcmp(w->w[1], "tcp_metrics") || !strcmp(w->w[1], "link")))
		return 0;
	if (!strcmp(cmd, "sysctl") || ends_with(cmd, "set_sysctls.py")) {
		for (; at < w->n; at++) {
			char name[128], plain[256], *eq = strchr(w->w[at], '=');
			const char *x;

			if (w->w[at][0] == '-')
				continue;
			if (!eq) {
				snprintf(why, n, "not an assignment: %s", w->w[at]);
				return -1;
			}
			snprintf(name, sizeof(name), "%.*s", (int)(eq - w->w[at]), w->w[at]);
			x = ipv4_name(name);
			/* net.core and the like: the machine, not TCP */
			products(eq + 1, plain, sizeof(plain));
			if (x && !sysctl(arg, x, plain, why, n))
				return -1;
		}
		return 0;
	}
	if (!strcmp(cmd, "echo") && w->n >= 4 && !strcmp(w->w[w->n - 2], ">")) {
		const char *x = ipv4_name(w->w[w->n - 1]);
		char value[256] = "";

		for (unsigned i = 1; i + 2 < w->n; i++)
			snprintf(value + strlen(value), sizeof(value) - strlen(value), "%s%s", i > 1 ? " " : "", w->w[i]);
		return !x || sysctl(arg, x, value, why, n) ? 0 : -1;
	}
	snprintf(why, n, "shell command not known here: %s%s%s", cmd, w->n > 1 ? " " : "", w->n > 1 ? w->w[1] : "");
	return -1;
}

int shell_run(const char *script, const char *text, bool (*sysctl)(void *arg, const char *name, const char *value, char *why, size_t why_bytes), void *arg,
	      char *why, size_t why_bytes)
{
	while (*text) {
		struct words w;
		size_t len = 0;
		char quote = 0;

		/* up to a newline, ';', '&&' or '||' outside quotes */
		for (; text[len]; len++) {
			char c = text[len];

			if (quote) {
				quote = c == quote ? 0 : quote;
				continue;
			}
			if (c == '"' || c == '\'')
				quote = c;
			else if (c == '\\' && text[len + 1] == '\n')
				len++;
			else if (c == '\n' || c == ';' || c == '#' || ((c == '&' || c == '|') && text[len + 1] == c))
				break;
		}
		if (!split(text, len, &w)) {
			snprintf(why, why_bytes, "shell text with an open quote or too many words");
			return -1;
		}
		if (w.n && one(script, &w, sysctl, arg, why, why_bytes))
			return -1;
		text += len;
		if (*text == '#')
			text += strcspn(text, "\n");
		while (*text == '\n' || *text == ';' || *text == '&' || *text == '|')
			text++;
	}
	return 0;
}

/* shell.c - the shell commands of packet scripts as far as they mean something to a stack that is no kernel: settings of
 * net.ipv4 by sysctl(8), by echo into /proc/sys and by the set_sysctls.py of public suites. Commands that prepare or restore the
 * machine (defaults.sh, ethtool, ip link, tcp_metrics flush) mean nothing here and are passed over; anything else is reported, so that a
 * script never runs under conditions other than it asks for. Pure; called by run.c. */
#include "shell.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_MAX 1024

/* First words, or ends of first words, of commands that are passed over. */
static const char *const no_ops[] = { "defaults.sh", "ethtool", "true", ":", "sync", "nstat", "modprobe", "tc", "rm", "cat", "set", "export", "cd", "date" };

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

static int one(const struct words *w, bool (*sysctl)(void *, const char *, const char *, char *, size_t), void *arg, char *why, size_t n)
{
	const char *cmd = w->w[0];
	unsigned at = 1;

	for (size_t i = 0; i < ARRAY_SIZE(no_ops); i++)
		if (!strcmp(cmd, no_ops[i]) || (ends_with(cmd, no_ops[i]) && strchr(cmd, '/')))
			return 0;
	if (strstr(cmd, "sysctl_restore"))
		return 0;
	if (!strcmp(cmd, "ip") && w->n > 1 && (!strcmp(w->w[1], "tcp_metrics") || !strcmp(w->w[1], "link")))
		return 0;
	if (!strcmp(cmd, "sysctl") || ends_with(cmd, "set_sysctls.py")) {
		for (; at < w->n; at++) {
			char name[128], *eq = strchr(w->w[at], '=');
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
			if (x && !sysctl(arg, x, eq + 1, why, n))
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

int shell_run(const char *text, bool (*sysctl)(void *arg, const char *name, const char *value, char *why, size_t why_bytes), void *arg,
	      char *why, size_t why_bytes)
{
	while (*text) {
		static struct words w;
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
		if (w.n && one(&w, sysctl, arg, why, why_bytes))
			return -1;
		text += len;
		if (*text == '#')
			text += strcspn(text, "\n");
		while (*text == '\n' || *text == ';' || *text == '&' || *text == '|')
			text++;
	}
	return 0;
}

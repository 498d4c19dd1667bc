/* parse.c - lstack.conf into struct config: libconfig's syntax, types and ranges of the schema table, then what one key says about
 * another. Nothing here looks at the machine. Called once by config owners before EAL.
 *
 * Messages: "<file>:<line>: `key=seen`: why (needed): what to do". All errors of the file are found in one go; a syntax error ends it, because
 * libconfig has no tree then.
 */
#include "config/config.h"
#include "base/sys.h"

#include <libconfig.h>

#include <fcntl.h>
#include <limits.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (1u << 20)
#define UNIX_PREFIX_MAX 128

static int *field_int(struct config *c, const struct conf_key *k) { return (int *)(void *)((char *)c + k->offset); }
static char **field_str(struct config *c, const struct conf_key *k) { return (char **)(void *)((char *)c + k->offset); }
static struct conf_strings *field_strs(struct config *c, const struct conf_key *k)
{
	return (struct conf_strings *)(void *)((char *)c + k->offset);
}

int conf_init(struct config *c)
{
	memset(c, 0, sizeof(*c));
	c->path = strdup("");
	c->nb_stacks = 1;
	c->vlan_id = -1;
	c->device_node = -1;
	for (unsigned i = 0; i < CONF_STACK_MAX; i++)
		c->stack_node[i] = -1;
	for (unsigned i = 0; i < conf_key_count; i++) {
		const struct conf_key *k = &conf_keys[i];

		if (k->type == CONF_INT)
			*field_int(c, k) = k->def;
		if (k->type == CONF_STRING) {
			*field_str(c, k) = strdup(k->def_str);
			if (!*field_str(c, k))
				return -ENOMEM;
		}
	}
	return c->path ? 0 : -ENOMEM;
}

static void strings_free(struct conf_strings *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->v[i]);
	free(s->v);
	s->v = NULL;
	s->n = 0;
}

void conf_fini(struct config *c)
{
	for (unsigned i = 0; i < conf_key_count; i++) {
		const struct conf_key *k = &conf_keys[i];

		if (k->type == CONF_STRING) {
			free(*field_str(c, k));
			*field_str(c, k) = NULL;
		}
		if (k->type == CONF_STRINGS)
			strings_free(field_strs(c, k));
	}
	free(c->path);
	c->path = NULL;
}

/* --- one setting --- */

struct load {
	struct config *c;
	struct conf_report *rep;
	const char *file;
};

/* The seen value in the file's own notation, for messages. */
static const char *seen_text(const config_setting_t *s, char *buf, size_t bytes)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_INT:
		snprintf(buf, bytes, "%d", config_setting_get_int(s));
		break;
	case CONFIG_TYPE_INT64:
		snprintf(buf, bytes, "%lld", config_setting_get_int64(s));
		break;
	case CONFIG_TYPE_FLOAT:
		snprintf(buf, bytes, "%g", config_setting_get_float(s));
		break;
	case CONFIG_TYPE_BOOL:
		snprintf(buf, bytes, "%s", config_setting_get_bool(s) ? "true" : "false");
		break;
	case CONFIG_TYPE_STRING: {
		const char *str = config_setting_get_string(s);

		snprintf(buf, bytes, "\"%.80s%s\"", str, strlen(str) > 80 ? "..." : "");
		break;
	}
	case CONFIG_TYPE_ARRAY:
		snprintf(buf, bytes, "[...]");
		break;
	case CONFIG_TYPE_LIST:
		snprintf(buf, bytes, "(...)");
		break;
	default:
		snprintf(buf, bytes, "{...}");
		break;
	}
	return buf;
}

static void needs(const struct conf_key *k, char *buf, size_t bytes)
{
	if (k->type == CONF_INT) {
		if (k->values)
			snprintf(buf, bytes, "an integer, %s", k->values);
		else if (k->min == 0 && k->max == 1)
			snprintf(buf, bytes, "the integer 0 or 1");
		else if (k->max == INT32_MAX)
			snprintf(buf, bytes, "an integer, at least %lld", (long long)k->min);
		else
			snprintf(buf, bytes, "an integer, %lld..%lld", (long long)k->min, (long long)k->max);
	} else if (k->type == CONF_STRING) {
		snprintf(buf, bytes, "a string%s%s", k->values ? ": " : "", k->values ? k->values : "");
	} else {
		snprintf(buf, bytes, "an array of at most %d strings", CONF_ARGS_MAX);
	}
}

/* A value that cannot be taken: key, value seen, reason, value needed. */
static void bad_value(struct load *ld, const config_setting_t *s, const struct conf_key *k, const char *why)
{
	char seen[128], need[160];

	seen_text(s, seen, sizeof(seen));
	needs(k, need, sizeof(need));
	conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `%s=%s`: %s: needs %s", ld->file, config_setting_source_line(s), k->name, seen,
			  why, need);
}

static void take_int(struct load *ld, const config_setting_t *s, const struct conf_key *k)
{
	int type = config_setting_type(s);
	long long v;

	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) {
		bad_value(ld, s, k, "wrong type");
		return;
	}
	v = type == CONFIG_TYPE_INT ? config_setting_get_int(s) : config_setting_get_int64(s);
	if (v < k->min || v > k->max) {
		bad_value(ld, s, k, "out of range");
		return;
	}
	*field_int(ld->c, k) = (int)v;
}

static void take_string(struct load *ld, const config_setting_t *s, const struct conf_key *k)
{
	char **field = field_str(ld->c, k), *copy;

	if (config_setting_type(s) != CONFIG_TYPE_STRING) {
		bad_value(ld, s, k, "wrong type");
		return;
	}
	copy = strdup(config_setting_get_string(s));
	if (!copy) {
		bad_value(ld, s, k, "out of memory");
		return;
	}
	free(*field);
	*field = copy;
}

static void take_strings(struct load *ld, const config_setting_t *s, const struct conf_key *k)
{
	struct conf_strings *field = field_strs(ld->c, k);
	int n;

	if (config_setting_type(s) != CONFIG_TYPE_ARRAY && config_setting_type(s) != CONFIG_TYPE_LIST) {
		bad_value(ld, s, k, "wrong type");
		return;
	}
	n = config_setting_length(s);
	if (n > CONF_ARGS_MAX) {
		bad_value(ld, s, k, "too many");
		return;
	}
	strings_free(field);
	field->v = calloc((size_t)n + 1, sizeof(*field->v));
	for (int i = 0; field->v && i < n; i++) {
		const char *str = config_setting_get_string_elem(s, i);

		if (!str) {
			bad_value(ld, s, k, "an element is not a string");
			return;
		}
		field->v[field->n] = strdup(str);
		if (field->v[field->n])
			field->n++;
	}
}

static bool is_default(struct config *c, const struct conf_key *k)
{
	if (k->type == CONF_INT)
		return *field_int(c, k) == k->def;
	return k->type != CONF_STRING || !strcmp(*field_str(c, k), k->def_str);
}

static void take_setting(struct load *ld, const config_setting_t *s)
{
	const char *name = config_setting_name(s);
	int index = conf_key_find(name);
	unsigned line = config_setting_source_line(s);
	const struct conf_key *k;
	unsigned errors = ld->rep->errors;
	char seen[128];

	if (index < 0) {
		const char *near = conf_key_nearest(name);

		/* the level is decided when `strict` is known: the caller reads it first */
		conf_report_add(ld->rep, ld->c->strict ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "%s:%u: `%.64s`: unknown%s%s%s%s", ld->file, line,
				  name, near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "", ld->c->strict ? " (strict = 1)" : "");
		return;
	}
	k = &conf_keys[index];
	ld->c->origin[index] = CONF_FROM_FILE;
	ld->c->line[index] = (uint16_t)MIN(line, UINT16_MAX);
	switch (k->type) {
	case CONF_INT:
		take_int(ld, s, k);
		break;
	case CONF_STRING:
		take_string(ld, s, k);
		break;
	case CONF_STRINGS:
		take_strings(ld, s, k);
		break;
	case CONF_ANY:
		break;
	}
	if (ld->rep->errors != errors)
		return;
	switch (k->status) {
	case CONF_RETIRED:
		conf_report_add(ld->rep, LOG_LEVEL_INFO, "%s:%u: `%s` has no effect any more: %s", ld->file, line, name, k->note);
		break;
	case CONF_WARNED:
		if (!is_default(ld->c, k)) {
			conf_report_add(ld->rep, LOG_LEVEL_INFO, "%s:%u: `%s=%s`: %s", ld->file, line, name,
					  seen_text(s, seen, sizeof(seen)), k->note);
			*field_int(ld->c, k) = k->def;
		}
		break;
	case CONF_NOT_BUILT:
		if (!is_default(ld->c, k))
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `%s=%s`: not built in this version: %s", ld->file, line, name,
					  seen_text(s, seen, sizeof(seen)), k->note);
		break;
	case CONF_WORKS:
	case CONF_ALWAYS_ON:
		break;
	}
}

/* --- what the values mean --- */

/* Where a field stands, for the messages of the second pass. */
#define AT(ld, key) (ld)->file, (ld)->c->line[conf_key_find(key)]

static bool from_file(const struct load *ld, const char *key)
{
	return ld->c->origin[conf_key_find(key)] == CONF_FROM_FILE;
}

static bool parse_ipv4(struct load *ld, const char *key, const char *text, const char *what, uint32_t *out)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1) {
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `%s=\"%.60s\"`: not an IPv4 %s: needs four numbers 0..255, as 192.168.1.10",
				  AT(ld, key), key, text, what);
		return false;
	}
	*out = a.s_addr;
	return true;
}

static void check_addresses(struct load *ld)
{
	struct config *c = ld->c;
	bool have_host = c->host_addr_text[0] != '\0', have_mask = c->mask_addr_text[0] != '\0';
	bool host_ok = false, mask_ok = false;

	if (!have_host) {
		/* an address that is not built yet has its own message */
		if (!from_file(ld, "host_addr6"))
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s: `host_addr` is missing: needs the stack's IPv4 address: add host_addr=\"...\"",
					  ld->file);
	} else if (parse_ipv4(ld, "host_addr", c->host_addr_text, "address", &c->host_addr_be)) {
		uint32_t h = ntohl(c->host_addr_be);

		host_ok = true;
		if (IN_MULTICAST(h) || h == INADDR_BROADCAST || h == INADDR_ANY || h >> 24 == 127 || h >> 24 == 0) {
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `host_addr=\"%s\"`: %s address: needs a unicast address of the link",
					  AT(ld, "host_addr"), c->host_addr_text,
					  IN_MULTICAST(h) ? "a multicast" : h >> 24 == 127 ? "a loopback" : "a reserved");
			host_ok = false;
		}
	}
	if (have_host && !have_mask)
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s: `mask_addr` is missing: needs the mask of `host_addr`: add mask_addr=\"255.255.255.0\" or "
				  "the like", ld->file);
	if (have_mask && parse_ipv4(ld, "mask_addr", c->mask_addr_text, "mask", &c->mask_addr_be)) {
		uint32_t m = ntohl(c->mask_addr_be);

		mask_ok = m != 0 && (~m & (~m + 1)) == 0;
		if (!mask_ok)
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `mask_addr=\"%s\"`: %s: needs ones followed by zeros, as 255.255.255.0",
					  AT(ld, "mask_addr"), c->mask_addr_text, m ? "not contiguous" : "empty");
	}
	if (host_ok && mask_ok && ntohl(c->mask_addr_be) < 0xfffffffeu) {
		uint32_t host = ntohl(c->host_addr_be & ~c->mask_addr_be);

		if (host == 0 || host == ntohl(~c->mask_addr_be))
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `host_addr=\"%s\"`: the %s address of its own network (mask %s): needs a host's "
					  "address", AT(ld, "host_addr"), c->host_addr_text, host ? "broadcast" : "network", c->mask_addr_text);
	}
	if (c->gateway_addr_text[0] && parse_ipv4(ld, "gateway_addr", c->gateway_addr_text, "address", &c->gateway_addr_be)) {
		uint32_t g = ntohl(c->gateway_addr_be);

		if (IN_MULTICAST(g) || g == INADDR_BROADCAST) {
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `gateway_addr=\"%s\"`: not a host's address: needs the router's address",
					  AT(ld, "gateway_addr"), c->gateway_addr_text);
		} else if (host_ok && c->gateway_addr_be == c->host_addr_be) {
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `gateway_addr=\"%s\"`: is `host_addr` itself: needs the router's address, or "
					  "leave it out", AT(ld, "gateway_addr"), c->gateway_addr_text);
		} else if (host_ok && mask_ok && g && ((c->gateway_addr_be ^ c->host_addr_be) & c->mask_addr_be)) {
			conf_report_add(ld->rep, LOG_LEVEL_INFO, "%s:%u: `gateway_addr=\"%s\"`: not on the link of %s mask %s: reachable only if the link "
					  "answers ARP for it", AT(ld, "gateway_addr"), c->gateway_addr_text, c->host_addr_text, c->mask_addr_text);
		}
	}
}

static bool is_hex_run(const char *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!strchr("0123456789abcdefABCDEF", p[i]) || !p[i])
			return false;
	return true;
}

/* aa:bb:cc:dd:ee:ff */
static bool parse_mac(const char *p, uint8_t mac[6])
{
	if (strlen(p) != 17)
		return false;
	for (unsigned i = 0; i < 6; i++) {
		if (!is_hex_run(p + 3 * i, 2) || (i < 5 && p[3 * i + 2] != ':'))
			return false;
		mac[i] = (uint8_t)strtoul((char[]){ p[3 * i], p[3 * i + 1], 0 }, NULL, 16);
	}
	return true;
}

/* 0000:01:00.0 or 01:00.0 */
static bool is_pci(const char *p)
{
	if (strlen(p) == 12 && is_hex_run(p, 4) && p[4] == ':')
		p += 5;
	return strlen(p) == 7 && is_hex_run(p, 2) && p[2] == ':' && is_hex_run(p + 3, 2) && p[5] == '.' && p[6] >= '0' && p[6] <= '7';
}

static void check_device(struct load *ld)
{
	struct config *c = ld->c;
	const char *d = c->devices;

	c->device_kind = CONF_DEV_NONE;
	if (!d[0])
		return;
	if (parse_mac(d, c->device_mac)) {
		static const uint8_t zero[6];

		c->device_kind = CONF_DEV_MAC;
		if (c->device_mac[0] & 1 || !memcmp(c->device_mac, zero, 6))
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `devices=\"%s\"`: a group or zero address: needs the MAC address of an interface",
					  AT(ld, "devices"), d);
	} else if (is_pci(d)) {
		c->device_kind = CONF_DEV_PCI;
	} else if (strlen(d) < 64 && strspn(d, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@:-") == strlen(d) &&
		   /* a mistyped MAC or PCI address is no name */
		   !(strchr(d, ':') && (strchr(d, ':') != strrchr(d, ':') || strspn(d, "0123456789abcdefABCDEF:.") == strlen(d)))) {
		c->device_kind = CONF_DEV_NAME;
	} else {
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `devices=\"%.64s\"`: neither address nor name: needs a MAC address (aa:bb:cc:dd:ee:ff), a "
				  "PCI address (0000:01:00.0), a kernel interface or a vdev name", AT(ld, "devices"), d);
	}
}

static void check_word(struct load *ld, const char *key, const char *value, const char *a, const char *b, const char *more)
{
	if (strcmp(value, a) && strcmp(value, b) && (!more || strcmp(value, more)))
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `%s=\"%.60s\"`: unknown word: needs %s", AT(ld, key), key, value,
				  conf_keys[conf_key_find(key)].values);
}

static void check_power_of_two(struct load *ld, const char *key, int v)
{
	unsigned below = 512;

	if (v < 512 || (v & (v - 1)) == 0)
		return;
	while (below * 2 < (unsigned)v)
		below *= 2;
	conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `%s=%d`: not a power of two: needs %u or %u", AT(ld, key), key, v, below, below * 2);
}

static void check_stacks(struct load *ld)
{
	struct config *c = ld->c;
	char err[96];

	c->run_to_completion = !strcmp(c->stack_thread_mode, "run-to-completion");
	c->nb_stacks = 1;
	memset(&c->cpus, 0, sizeof(c->cpus));
	if (c->num_cpus_text[0]) {
		if (conf_cpus_parse(c->num_cpus_text, &c->cpus, err, sizeof(err)) < 0)
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `num_cpus=\"%.60s\"`: %s: needs a list as \"2,4-6\" or \"0x2\"",
					  AT(ld, "num_cpus"), c->num_cpus_text, err);
		else if (c->cpus.count > CONF_STACK_MAX)
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `num_cpus=\"%.60s\"`: %u ids: needs at most %d", AT(ld, "num_cpus"),
					  c->num_cpus_text, c->cpus.count, CONF_STACK_MAX);
		else
			c->nb_stacks = c->cpus.count;
	} else if (from_file(ld, "num_cpus")) {
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `num_cpus=\"\"`: empty list: needs a list as \"2,4-6\", or leave the key out",
				  AT(ld, "num_cpus"));
	}
	if (c->stack_num > 0) {
		if (c->cpus.count && c->cpus.count != (unsigned)c->stack_num)
			conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `stack_num=%d`: num_cpus names %u: needs one of the two keys, or the same number",
					  AT(ld, "stack_num"), c->stack_num, c->cpus.count);
		else
			c->nb_stacks = (unsigned)c->stack_num;
	}
	c->pin_stacks = !c->run_to_completion && c->cpus.count > 0;
	memset(&c->app_exclude_cpus, 0, sizeof(c->app_exclude_cpus));
	if (c->app_exclude_cpus_text[0] && conf_cpus_parse(c->app_exclude_cpus_text, &c->app_exclude_cpus, err, sizeof(err)) < 0)
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `app_exclude_cpus=\"%.60s\"`: %s: needs a list as \"2,4-6\"",
				  AT(ld, "app_exclude_cpus"), c->app_exclude_cpus_text, err);
}

static void check_unix_prefix(struct load *ld)
{
	const char *p = ld->c->unix_prefix;

	if (strlen(p) > UNIX_PREFIX_MAX)
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `unix_prefix`: %zu characters: needs at most %d", AT(ld, "unix_prefix"),
				  strlen(p), UNIX_PREFIX_MAX);
	if (strpbrk(p, "|;&$><`\\!\n"))
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `unix_prefix=\"%.60s\"`: a character that a shell would take: needs none of "
				  "|;&$><`\\! and newline", AT(ld, "unix_prefix"), p);
	if (strchr(p, '/'))
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `unix_prefix=\"%.60s\"`: contains a slash: needs a prefix of a file name",
				  AT(ld, "unix_prefix"), p);
}

static void check_dpdk_args(struct load *ld)
{
	/* refused here and not only when EAL is started, so that they are reported together with everything else */
	struct eal_args args;

	(void)conf_eal_args(ld->c, NULL, &args, ld->rep);
	eal_args_free(&args);
}

static void check_vlan(struct load *ld)
{
	struct config *c = ld->c;

	c->vlan_id = c->nic_vlan_mode > 0 && c->nic_vlan_mode < 4095 ? c->nic_vlan_mode : -1;
	if (c->nic_vlan_mode == 0 || c->nic_vlan_mode == 4095)
		conf_report_add(ld->rep, LOG_LEVEL_INFO, "%s:%u: `nic_vlan_mode=%d`: reserved id: frames are untagged, as with -1",
				  AT(ld, "nic_vlan_mode"), c->nic_vlan_mode);
}

static void check_congestion(struct load *ld)
{
	static const char *const names[] = { "cubic", "reno", "bbr", "dctcp" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(ld->c->tcp_congestion, names[i]))
			return;
	conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `tcp_congestion=\"%.60s\"`: unknown: needs \"cubic\", \"reno\", \"bbr\" or \"dctcp\"",
			  AT(ld, "tcp_congestion"), ld->c->tcp_congestion);
}

/* "00000000-00000000-00000000-00000000[,...]" as Linux's tcp_fastopen_key. How many keys; 0: not that. */
unsigned conf_fastopen_keys(const char *text, uint32_t words[8])
{
	unsigned n = 0;

	do {
		for (unsigned i = 0; i < 4; i++, text += *text == '-') {
			size_t digits = strspn(text, "0123456789abcdefABCDEF");

			if (!digits || digits > 8 || text[digits] != (i < 3 ? '-' : text[digits] == ',' ? ',' : 0))
				return 0;
			words[4 * n + i] = (uint32_t)strtoul(text, NULL, 16);
			text += digits;
		}
		n++;
	} while (n < 2 && *text++ == ',');
	return n == 2 && *text ? 0 : n;
}

static void check_fastopen_key(struct load *ld)
{
	uint32_t words[8];

	if (*ld->c->tcp_fastopen_key && !conf_fastopen_keys(ld->c->tcp_fastopen_key, words))
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `tcp_fastopen_key`: not one or two keys of 4 times 8 hexadecimal digits: "
				"needs \"01234567-89abcdef-01234567-89abcdef\", with a comma before a second", AT(ld, "tcp_fastopen_key"));
}

static void check_fastopen(const struct load *ld)
{
	if (ld->c->tcp_fastopen & ~CONF_FASTOPEN_BITS)
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `tcp_fastopen=%d`: unknown bits: needs %s", AT(ld, "tcp_fastopen"), ld->c->tcp_fastopen,
				  conf_keys[conf_key_find("tcp_fastopen")].values);
}

static void check_values(struct load *ld)
{
	struct config *c = ld->c;

	check_addresses(ld);
	check_device(ld);
	check_word(ld, "kernel_interface", c->kernel_interface, "auto", "packet", "xdp");
	check_word(ld, "stack_thread_mode", c->stack_thread_mode, "run-to-wakeup", "run-to-completion", NULL);
	check_word(ld, "on_start_failure", c->on_start_failure, "kernel", "exit", NULL);
	check_congestion(ld);
	check_fastopen_key(ld);
	check_fastopen(ld);
	check_stacks(ld);
	check_power_of_two(ld, "nic_rxqueue_size", c->nic_rxqueue_size);
	check_power_of_two(ld, "nic_txqueue_size", c->nic_txqueue_size);
	check_vlan(ld);
	check_unix_prefix(ld);
	if (c->log_file[0] && c->log_file[0] != '/')
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `log_file=\"%.80s\"`: relative: needs an absolute path (the program may change its "
				  "directory)", AT(ld, "log_file"), c->log_file);
	check_dpdk_args(ld);
}

/* The environment's part: values that override the file. */
static void take_environment(struct load *ld)
{
	struct conf_env env;
	struct config *c = ld->c;
	int key = conf_key_find("on_start_failure");

	conf_env_read(&env);
	c->exit_on_failure = !strcmp(c->on_start_failure, "exit");
	if (!env.on_start_failure)
		return;
	if (!strcmp(env.on_start_failure, "exit") || !strcmp(env.on_start_failure, "kernel")) {
		char *copy = strdup(env.on_start_failure);

		c->exit_on_failure = !strcmp(env.on_start_failure, "exit");
		if (copy) {
			free(c->on_start_failure);
			c->on_start_failure = copy;
		}
		c->origin[key] = CONF_FROM_ENVIRONMENT;
	} else {
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "environment: `GAZELLE_ON_START_FAILURE=%.40s`: unknown word: needs kernel or exit",
				  env.on_start_failure);
	}
}

static void take_nic_read(struct load *ld, const config_setting_t *root)
{
	const config_setting_t *a = config_setting_get_member(root, "nic_read_num");
	const config_setting_t *b = config_setting_get_member(root, "nic_read_number");

	if (a && b && config_setting_get_int(a) != config_setting_get_int(b))
		conf_report_add(ld->rep, LOG_LEVEL_ERROR, "%s:%u: `nic_read_num=%d`: `nic_read_number=%d` stands in line %u: two names of one key: "
				  "leave one out", ld->file, config_setting_source_line(a), config_setting_get_int(a), config_setting_get_int(b),
				  config_setting_source_line(b));
}

int conf_load_text(struct config *c, const char *name, const char *text, struct conf_report *rep)
{
	struct load ld = { .c = c, .rep = rep, .file = name };
	unsigned errors = rep->errors;
	const config_setting_t *root, *strict;
	config_t cf;
	char *copy = strdup(name);

	if (!copy)
		return -ENOMEM;
	free(c->path);
	c->path = copy;
	config_init(&cf);
	if (config_read_string(&cf, text) != CONFIG_TRUE) {
		conf_report_add(rep, LOG_LEVEL_ERROR, "%s:%d: %s: not libconfig syntax: look at this line and the one before (missing quote, "
				"comma or semicolon; a key twice)", config_error_file(&cf) ? config_error_file(&cf) : name, config_error_line(&cf),
				config_error_text(&cf) ? config_error_text(&cf) : "error");
		take_environment(&ld);
		config_destroy(&cf);
		return -EINVAL;
	}
	root = config_root_setting(&cf);
	/* decides what an unknown key is, wherever it stands */
	strict = config_setting_get_member(root, "strict");
	if (strict && config_setting_type(strict) == CONFIG_TYPE_INT)
		c->strict = config_setting_get_int(strict) == 1;
	for (int i = 0; i < config_setting_length(root); i++)
		take_setting(&ld, config_setting_get_elem(root, (unsigned)i));
	take_nic_read(&ld, root);
	check_values(&ld);
	take_environment(&ld);
	config_destroy(&cf);
	return rep->errors == errors ? 0 : -EINVAL;
}

int conf_load(struct config *c, const char *path, struct conf_report *rep)
{
	char *text;
	size_t used = 0;
	long n = 0;
	int rc, fd = (int)SYS(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		conf_report_add(rep, LOG_LEVEL_ERROR, "%s: cannot be read: %s: %s", path, strerror(-fd),
				fd == -ENOENT ? "create it, or set LSTACK_CONF_PATH to your file" : "check its permissions");
		return fd;
	}
	text = malloc(FILE_MAX_BYTES + 1);
	if (!text) {
		sys_close(fd);
		return -ENOMEM;
	}
	/* read here, not by libconfig: its scanner calls exit() on a read error (a directory, say) */
	while (used < FILE_MAX_BYTES && (n = sys_read(fd, text + used, FILE_MAX_BYTES - used)) > 0)
		used += (size_t)n;
	sys_close(fd);
	if (n < 0 || used == FILE_MAX_BYTES || memchr(text, 0, used)) {
		conf_report_add(rep, LOG_LEVEL_ERROR, "%s: cannot be read: %s", path,
				n < 0 ? strerror((int)-n) : used == FILE_MAX_BYTES ? "larger than 1 MB" : "contains a NUL byte: not a text file");
		free(text);
		return n < 0 ? (int)n : -EINVAL;
	}
	text[used] = '\0';
	rc = conf_load_text(c, path, text, rep);
	free(text);
	return rc;
}

/* --- effective values --- */

/* text as libconfig would read it back; returns the length that it needs, like snprintf(). */
static size_t put_quoted(char *buf, size_t bytes, const char *text)
{
	size_t used = (size_t)snprintf(buf, bytes, "\"");

	for (; *text; text++) {
		unsigned char ch = (unsigned char)*text;
		char *at = used < bytes ? buf + used : NULL;
		size_t left = at ? bytes - used : 0;

		if (ch == '"' || ch == '\\')
			used += (size_t)snprintf(at, left, "\\%c", ch);
		else if (ch < ' ' || ch == 0x7f)
			used += (size_t)snprintf(at, left, "\\x%02x", ch);
		else
			used += (size_t)snprintf(at, left, "%c", ch);
	}
	return used + (size_t)snprintf(used < bytes ? buf + used : NULL, used < bytes ? bytes - used : 0, "\"");
}

const char *conf_value_text(const struct config *c, unsigned key, char *buf, size_t bytes)
{
	const struct conf_key *k = &conf_keys[key];
	struct config *mc = (struct config *)(uintptr_t)c;
	size_t used;

	switch (k->type) {
	case CONF_INT:
		snprintf(buf, bytes, "%d", *field_int(mc, k));
		break;
	case CONF_STRING:
		put_quoted(buf, bytes, *field_str(mc, k));
		break;
	case CONF_STRINGS: {
		const struct conf_strings *s = field_strs(mc, k);

		used = (size_t)snprintf(buf, bytes, "[");
		for (unsigned i = 0; i < s->n && used < bytes; i++) {
			used += (size_t)snprintf(buf + used, bytes - used, "%s", i ? ", " : "");
			if (used < bytes)
				used += put_quoted(buf + used, bytes - used, s->v[i]);
		}
		if (used < bytes)
			snprintf(buf + used, bytes - used, "]");
		break;
	}
	case CONF_ANY:
		snprintf(buf, bytes, "-");
		break;
	}
	return buf;
}

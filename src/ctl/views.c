/* views.c - the answers of the control socket. Control thread of the home. */
#include "ctl/views.h"
#include "ctl/version.h"

#include "base/log.h"
#include "base/sys.h"
#include "link/link.h"
#include "sock/sock.h"
#include "stack/own.h"
#include "stack/stack.h"
#include "tcp/tcp_int.h"

#include <rte_ethdev.h>
#include <rte_mempool.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* What the original reports of its low-power detector; this stack sleeps on an event instead, so they are constants. */
#define LOW_POWER_RX_PKTS 20
#define LOW_POWER_DETECT_MS 1000
#define LOW_POWER_PKTS_IN_DETECT 1000

/* --- JSON helpers --- */

void put_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

void put_i64(struct json_object *o, const char *key, int64_t v)
{
	json_object_object_add(o, key, json_object_new_int64(v));
}

void put_str(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

static void put_bool(struct json_object *o, const char *key, bool v)
{
	json_object_object_add(o, key, json_object_new_boolean(v));
}

struct json_object *put_array(struct json_object *o, const char *key)
{
	struct json_object *a = json_object_new_array();

	json_object_object_add(o, key, a);
	return a;
}

struct json_object *put_object(struct json_object *o, const char *key)
{
	struct json_object *a = json_object_new_object();

	json_object_object_add(o, key, a);
	return a;
}

struct json_object *append_object(struct json_object *array)
{
	struct json_object *o = json_object_new_object();

	json_object_array_add(array, o);
	return o;
}

int64_t get_i64(const struct ctl_request *rq, const char *key, int64_t otherwise)
{
	struct json_object *v;

	if (!json_object_object_get_ex(rq->args, key, &v) || !json_object_is_type(v, json_type_int))
		return otherwise;
	return json_object_get_int64(v);
}

const char *get_str(const struct ctl_request *rq, const char *key)
{
	struct json_object *v;

	if (!json_object_is_type(rq->args, json_type_object) || !json_object_object_get_ex(rq->args, key, &v) ||
	    !json_object_is_type(v, json_type_string))
		return NULL;
	return json_object_get_string(v);
}

/* --- common --- */

static const char *const not_started = "the stack has not started yet: it does at the program's first bind, listen, connect or send";

static bool running(void)
{
	return gz && atomic_load_explicit(&gz->running, memory_order_acquire);
}

static uint32_t stack_tid(const struct stack *st)
{
	/* run-to-completion has no thread of the stack's: the process stands for it */
	return st->tid ? st->tid : gz->home_pid;
}

static struct json_object *append_stack(struct json_object *array, const struct stack *st)
{
	struct json_object *o = append_object(array);

	put_u64(o, "id", st->id);
	put_u64(o, "tid", stack_tid(st));
	return o;
}

static const struct netdev_queue *stack_queue(const struct stack *st)
{
	return &st->nd->queues[st->queue];
}

/* --- hello --- */

static void put_ip(struct json_object *o, const char *key, uint32_t addr_be)
{
	char ip[INET_ADDRSTRLEN];

	put_str(o, key, inet_ntop(AF_INET, &addr_be, ip, sizeof(ip)));
}

static void put_file_word(struct json_object *o, const char *key, const char *path)
{
	char buf[64];

	(void)sys_read_file(path, buf, sizeof(buf));
	buf[strcspn(buf, "\n")] = '\0';
	put_str(o, key, buf);
}

static int get_len(struct json_object *o, const char *key)
{
	return json_object_get_string_len(json_object_object_get(o, key));
}

static const char *view_hello(const struct ctl_request *rq, struct json_object *out)
{
	const struct config *c = rq->conf;

	put_u64(out, "pid", (uint64_t)sys_getpid());
	put_file_word(out, "comm", "/proc/self/comm");
	if (!get_len(out, "comm")) /* no descriptor left to read it with */
		put_str(out, "comm", program_invocation_short_name);
	put_str(out, "version", GAZELLE_VERSION);
	put_str(out, "unix_prefix", c->unix_prefix);
	put_str(out, "conf", c->path);
	put_str(out, "mode", c->run_to_completion ? "run-to-completion" : "run-to-wakeup");
	put_ip(out, "addr", c->host_addr_be);
	put_u64(out, "addr_len", (uint64_t)__builtin_popcount(c->mask_addr_be));
	put_bool(out, "running", running());
	if (running()) {
		const struct netdev *nd = gz->stacks[0].nd;

		put_u64(out, "stacks", gz->nb_stacks);
		put_str(out, "device", nd->name);
		put_str(out, "device_kind", nd->ops->kind);
		put_bool(out, "link_up", atomic_load_explicit(&nd->link_up, memory_order_relaxed));
	}
	return NULL;
}

/* --- stats --- */

/* Free buffers of the stack's pool: the pool's own and its caches', and those that application threads keep in their magazines. A magazine is
 * counted for the pool of its first buffer (a thread mostly uses one stack); read while it changes, like every other counter. */
static uint64_t free_mbufs(const struct stack *st)
{
	uint64_t n = rte_mempool_avail_count(st->pool);
	uint32_t fresh = MIN(atomic_load_explicit(&gz->threads.fresh, memory_order_acquire), gz->threads.capacity);

	for (uint32_t i = 0; i < fresh; i++) {
		const struct thread_rec *t = slab_at(&gz->threads, i);
		uint16_t count = MIN(t->mag.count, MAGAZINE_MAX);

		if (count && (atomic_load_explicit(&t->slab.gen, memory_order_acquire) & 1) && t->mag.m[0]->pool == st->pool)
			n += count;
	}
	return n;
}

static void put_stats(struct json_object *o, const struct stack *st)
{
	const struct netdev_queue_stats *q = &stack_queue(st)->stats;
	const struct stack_stats *s = &st->stats;

	put_u64(o, "rx_pkts", q->rx_pkts);
	put_u64(o, "rx_drop", q->rx_drop);
	put_u64(o, "rx_allocmbuf_fail", q->rx_allocmbuf_fail);
	put_u64(o, "tx_pkts", q->tx_pkts);
	put_u64(o, "tx_drop", q->tx_drop);
	put_u64(o, "tx_allocmbuf_fail", st->drops[DROP_NO_MBUF]);
	put_u64(o, "mbuf_pool_freecnt", free_mbufs(st));
	put_u64(o, "conn_num", st->tcp->conns.count);
	put_u64(o, "wakeup_events", s->wakeup_events);
	put_u64(o, "rpc_pool_cnt", 0); /* commands need no pool */
	put_u64(o, "call_alloc_fail", s->call_alloc_fail);
	put_u64(o, "call_msg", s->call_msg);
	put_u64(o, "kernel_events", s->kernel_events);
	put_u64(o, "app_events", s->app_events);
	put_u64(o, "app_read", s->app_read);
	put_u64(o, "app_write", s->app_write);
	put_u64(o, "read_null", s->read_null);
	put_u64(o, "sock_rx_drop", s->sock_rx_drop);
	put_u64(o, "sock_tx_merge", s->sock_tx_merge);
	put_u64(o, "accpet_fail", s->accept_fail);
	/* ours */
	put_u64(o, "rx_merged", q->rx_merged);
	put_u64(o, "rx_bytes", q->rx_bytes);
	put_u64(o, "tx_bytes", q->tx_bytes);
	put_u64(o, "tx_full", q->tx_full);
	put_u64(o, "polls", s->polls);
	put_u64(o, "polls_empty", s->polls_empty);
	put_u64(o, "sleeps", s->sleeps);
	put_u64(o, "nic_event_cnt", s->nic_event_cnt);
	put_u64(o, "local_event_cnt", s->local_event_cnt);
	put_u64(o, "remote_event_cnt", s->remote_event_cnt);
	put_u64(o, "timeout_event_cnt", s->timeout_event_cnt);
	put_u64(o, "mbuf_pool_size", st->pool->size);
	put_u64(o, "large_mbufs", st->large ? st->large->size : 0);
	put_u64(o, "large_mbufs_free", st->large ? rte_mempool_avail_count(st->large) : 0);
	put_u64(o, "timers", st->wheel.armed);
	put_u64(o, "time_wait", st->tcp->tws.count);
	put_u64(o, "syn_recv", st->tcp->syns.count);
}

static void put_slab(struct json_object *o, const struct slab *s)
{
	struct json_object *e = put_object(o, s->name);

	put_u64(e, "in_use", slab_in_use(s));
	put_u64(e, "capacity", s->capacity);
	put_u64(e, "obj_bytes", s->obj_bytes);
}

static const char *view_stats(const struct ctl_request *rq, struct json_object *out)
{
	struct json_object *stacks, *o;

	if (!running())
		return not_started;
	o = put_object(out, "low_power");
	put_u64(o, "on", atomic_load_explicit(&gz->low_power, memory_order_relaxed));
	put_u64(o, "rx_pkts", LOW_POWER_RX_PKTS);
	put_u64(o, "detect_ms", LOW_POWER_DETECT_MS);
	put_u64(o, "pkts_in_detect", LOW_POWER_PKTS_IN_DETECT);
	put_str(out, "loglevel", log_level_name(log_get_level()));
	stacks = put_array(out, "stacks");
	for (uint32_t i = 0; i < gz->nb_stacks; i++)
		put_stats(append_stack(stacks, &gz->stacks[i]), &gz->stacks[i]);
	o = put_object(out, "memory");
	put_slab(o, &gz->socks);
	put_slab(o, &gz->items);
	put_slab(o, &gz->epolls);
	put_slab(o, &gz->threads);
	put_slab(o, &gz->procs);
	put_slab(o, &gz->syn_recs);
	put_slab(o, &gz->tw_recs);
	return NULL;
}

/* --- snmp, drops --- */

static const char *view_snmp(const struct ctl_request *rq, struct json_object *out)
{
	struct json_object *stacks;

	if (!running())
		return not_started;
	stacks = put_array(out, "stacks");
	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		const struct stack *st = &gz->stacks[i];
		struct json_object *o = append_stack(stacks, st), *mib = put_object(o, "mib"), *drops = put_object(o, "drops");

#define MIB(name) put_u64(mib, #name, st->mib.name);
#include "stack/counters.def"
#undef MIB
		put_u64(mib, "rx_merged", stack_queue(st)->stats.rx_merged);
		for (unsigned d = 0; d < DROP_REASON_COUNT; d++)
			put_u64(drops, drop_reason_names[d], st->drops[d]);
	}
	return NULL;
}

/* --- device --- */

static const char *view_xstats(const struct ctl_request *rq, struct json_object *out)
{
	struct netdev *nd;
	struct json_object *a;
	const char *name;
	uint64_t value;

	if (!running())
		return not_started;
	nd = gz->stacks[0].nd;
	put_u64(out, "port", nd->port_id == UINT16_MAX ? 0 : nd->port_id);
	put_str(out, "device", nd->name);
	put_str(out, "device_kind", nd->ops->kind);
	put_bool(out, "link_up", atomic_load_explicit(&nd->link_up, memory_order_relaxed));
	put_u64(out, "link_changes", atomic_load_explicit(&nd->link_changes, memory_order_relaxed));
	put_u64(out, "mtu", atomic_load_explicit(&nd->mtu, memory_order_relaxed));
	a = put_array(out, "xstats");
	for (unsigned i = 0; nd->ops->xstat && i < 4096 && nd->ops->xstat(nd, i, &name, &value); i++) {
		struct json_object *o = append_object(a);

		put_str(o, "name", name);
		put_u64(o, "value", value);
	}
	return NULL;
}

static const char *view_features(const struct ctl_request *rq, struct json_object *out)
{
	const struct netdev *nd;
	struct json_object *f;

	if (!running())
		return not_started;
	nd = gz->stacks[0].nd;
	put_u64(out, "port", nd->port_id == UINT16_MAX ? 0 : nd->port_id);
	put_str(out, "device", nd->name);
	f = put_object(out, "features");
	put_bool(f, "tx-ipv4-checksum", nd->tx_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
	put_bool(f, "tx-tcp-checksum", nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM);
	put_bool(f, "tx-tcp-tso", nd->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO);
	put_bool(f, "tx-udp-checksum", nd->tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
	put_bool(f, "tx-vlan-insert", nd->tx_offloads & RTE_ETH_TX_OFFLOAD_VLAN_INSERT);
	put_bool(f, "rx-ipv4-checksum", nd->rx_offloads & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM);
	put_bool(f, "rx-tcp-checksum", nd->rx_offloads & RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
	put_bool(f, "rx-udp-checksum", nd->rx_offloads & RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
	put_bool(f, "rx-vlan-strip", nd->rx_offloads & RTE_ETH_RX_OFFLOAD_VLAN_STRIP);
	put_u64(out, "queues", nd->nb_queues);
	put_u64(out, "tso_max_bytes", nd->tso_max_bytes);
	return NULL;
}

/* --- neighbours: the table belongs to the stack's owner, so the owner copies it --- */

#define NEIGH_MAX 1024
static struct neigh_info neigh_copy[NEIGH_MAX]; /* [control thread, or the owner while it runs the call for it] */

static int64_t on_call(struct stack *st, struct stack_call *call)
{
	if (call->op != SOCK_OP_CTL_NEIGH)
		return -ENOSYS;
	return (int64_t)neigh_dump(st, neigh_copy, NEIGH_MAX);
}

static const char *view_neigh(const struct ctl_request *rq, struct json_object *out)
{
	struct thread_rec *self;
	struct json_object *stacks;

	if (!running())
		return not_started;
	sock_ctl_hook = on_call;
	self = thread_self();
	if (!self)
		return "neighbours: no thread record is free: the program has too many threads in the library";
	stacks = put_array(out, "stacks");
	for (uint32_t i = 0; i < gz->nb_stacks; i++) {
		struct json_object *a = put_array(append_stack(stacks, &gz->stacks[i]), "neighbours");
		int64_t n = stack_call(&gz->stacks[i], SOCK_OP_CTL_NEIGH, NULL, self);

		for (int64_t k = 0; k < n; k++) {
			struct json_object *o = append_object(a);
			const struct neigh_info *e = &neigh_copy[k];
			char mac[18];

			snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", e->mac[0], e->mac[1], e->mac[2], e->mac[3], e->mac[4],
				 e->mac[5]);
			put_ip(o, "addr", e->addr_be);
			put_str(o, "mac", mac);
			put_u64(o, "state", e->state);
			put_u64(o, "held", e->held);
		}
	}
	return NULL;
}

/* --- configuration --- */

static const char *view_config(const struct ctl_request *rq, struct json_object *out)
{
	static char text[16 << 10]; /* dpdk_args may be long; control thread only */
	struct json_object *a;

	put_str(out, "file", rq->conf->path);
	a = put_array(out, "keys");
	for (unsigned i = 0; i < conf_key_count; i++) {
		const struct conf_key *k = &conf_keys[i];
		struct json_object *o;
		uint8_t origin = rq->conf->origin[i];

		if (k->type == CONF_ANY && origin == CONF_FROM_DEFAULT)
			continue;
		o = append_object(a);
		put_str(o, "key", k->name);
		put_str(o, "value", conf_value_text(rq->conf, i, text, sizeof(text)));
		if (!strcmp(k->name, "low_power_mode") && gz && atomic_load(&gz->low_power) != (uint32_t)rq->conf->low_power_mode) {
			put_str(o, "value", atomic_load(&gz->low_power) ? "1" : "0");
			origin = CONF_FROM_RUNTIME;
		}
		put_str(o, "origin", conf_origin_name(origin));
		if (origin == CONF_FROM_FILE)
			put_u64(o, "line", rq->conf->line[i]);
		if (k->status == CONF_RETIRED)
			put_str(o, "note", "no effect any more");
		else if (k->status == CONF_ALWAYS_ON)
			put_str(o, "note", "always on");
	}
	a = put_object(out, "derived");
	put_u64(a, "stacks", rq->conf->nb_stacks);
	put_u64(a, "mbufs_per_stack", rq->conf->mbufs_per_stack);
	put_bool(a, "huge_pages", rq->conf->hugepages);
	put_str(a, "kernel_interface", rq->conf->device_ifname);
	put_str(a, "loglevel", log_level_name(log_get_level()));
	return NULL;
}

/* --- changes --- */

static const char *view_set(const struct ctl_request *rq, struct json_object *out)
{
	const char *level = get_str(rq, "loglevel");
	int64_t low = get_i64(rq, "lowpower", -1);
	enum log_level parsed;

	if (level) {
		if (log_level_parse(level, &parsed) < 0)
			return "loglevel: unknown word: needs error, info or debug";
		log_set_level(parsed);
	}
	if (low >= 0) {
		if (low > 1)
			return "lowpower: out of range: needs 0 or 1";
		if (!running())
			return not_started;
		atomic_store(&gz->low_power, (uint32_t)low);
		/* a thread that sleeps must look at it */
		for (uint32_t i = 0; i < gz->nb_stacks; i++)
			stack_ring(&gz->stacks[i]);
		put_i64(out, "lowpower", low);
	}
	if (!level && low < 0)
		return "set: nothing to set: needs loglevel or lowpower";
	put_u64(out, "rx_pkts", LOW_POWER_RX_PKTS);
	put_u64(out, "detect_ms", LOW_POWER_DETECT_MS);
	put_u64(out, "pkts_in_detect", LOW_POWER_PKTS_IN_DETECT);
	return NULL;
}

const struct ctl_view ctl_views[] = {
	{ "hello", view_hello },     { "stats", view_stats },  { "snmp", view_snmp },	  { "conns", view_conns }, { "xstats", view_xstats },
	{ "features", view_features }, { "neigh", view_neigh }, { "config", view_config }, { "set", view_set },
};
const unsigned ctl_view_count = ARRAY_SIZE(ctl_views);

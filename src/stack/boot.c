/* boot.c - boot order: configuration -> EAL -> pools -> device -> stacks -> threads; see boot.h.
 *
 * EAL starts inside somebody else's process (runtime.md, "EAL inside..."): everything runs in a thread of our own, with all signals
 * blocked, so that neither the caller's affinity, nor its signal mask, nor its DPDK lcore id is touched; descriptors that EAL opens are kept
 * away from low numbers; what EAL prints is caught and quoted when it fails.
 */
#include "stack/boot.h"
#include "base/clock.h"
#include "base/ownfd.h"
#include "ctl/ctl.h"
#include "link/link.h"
#include "netdev/netdev.h"
#include "posix/sigdefer.h"
#include "sock/sock.h"
#include "stack/idle.h"
#include "stack/proc.h"
#include "stack/steer.h"
#include "stack/via.h"
#include "tcp/tcp.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#define MBUF_DATA_BYTES 2048
/* Fewer large buffers than two frames take are none. */
#define LARGE_LEAST 10u
#define MIN_SOCKS (1u << 20)
/* Waiting at exit for data that the program wrote to be acknowledged: Linux would go on in the background. */
#define EXIT_LINGER_US (2 * US_PER_S)
#define EXIT_OWN_TRIES 1000
#define FD_WORDS (16384 / 64 + 1)

enum boot_state { BOOT_OFF, BOOT_CONFIGURED, BOOT_STARTING, BOOT_RUNNING, BOOT_FAILED };

static struct {
	_Atomic uint32_t state; /* futex */
	struct config conf;
	struct ip4_conf ip4;
	struct netdev *nd;
	struct rte_mempool *pool, *large;
	bool eal_up;
	unsigned nb_nodes;
	int result;
} boot;

/* --- what EAL says --- */

/* The last lines of EAL's log, for the error message. Boot thread only while starting. */
static struct {
	char text[2048];
	size_t len;
} eal_said;

static ssize_t eal_log_write(void *cookie, const char *buf, size_t n)
{
	(void)cookie;
	if (n < sizeof(eal_said.text) / 2) {
		if (eal_said.len + n >= sizeof(eal_said.text)) {
			size_t keep = sizeof(eal_said.text) / 2;

			memmove(eal_said.text, eal_said.text + eal_said.len - keep, keep);
			eal_said.len = keep;
		}
		memcpy(eal_said.text + eal_said.len, buf, n);
		eal_said.len += n;
		eal_said.text[eal_said.len] = '\0';
	}
	log_debug("%.*s", (int)n, buf);
	return (ssize_t)n;
}

static void eal_catch_log(void)
{
	FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = eal_log_write });

	if (!f)
		return;
	setvbuf(f, NULL, _IOLBF, 512);
	rte_openlog_stream(f);
}

/* --- configuration --- */

static void boot_give_up(bool exit_process)
{
	atomic_store(&boot.state, BOOT_FAILED);
	if (!exit_process) {
		log_error("start failed: the program runs on the kernel's stack");
		return;
	}
	log_error("start failed: the process ends, as on_start_failure = \"exit\" asks");
	_exit(EXIT_FAILURE);
}

int boot_configure(void)
{
	struct conf_env env;
	struct conf_report rep;
	int err;

	conf_env_read(&env);
	conf_report_init(&rep);
	err = conf_init(&boot.conf);
	if (!err)
		err = conf_load(&boot.conf, conf_path(&env), &rep);
	conf_report_print(&rep);
	conf_report_free(&rep);
	if (err) {
		boot_give_up(conf_exit_on_failure(&boot.conf, &env));
		return err;
	}
	boot.ip4 = (struct ip4_conf){
		.addr_be = boot.conf.host_addr_be,
		.mask_be = boot.conf.mask_addr_be,
		.gateway_be = boot.conf.gateway_addr_be,
		.min_pmtu = (uint16_t)boot.conf.min_pmtu,
		.pmtu_life_s = (uint32_t)boot.conf.mtu_expires,
	};
	atomic_store(&boot.state, BOOT_CONFIGURED);
	log_info("cfg_init success");
	return 0;
}

bool boot_configured(void)
{
	uint32_t s = atomic_load_explicit(&boot.state, memory_order_acquire);

	return s != BOOT_OFF && s != BOOT_FAILED;
}

const struct config *boot_config(void)
{
	return boot_configured() ? &boot.conf : NULL;
}

const struct ip4_conf *boot_ip4(void)
{
	return boot_configured() ? &boot.ip4 : NULL;
}

/* --- start --- */

/* One process per device and address. */
static int boot_lock_device(struct conf_report *rep)
{
	char addr[INET_ADDRSTRLEN];
	int pid = 0, err = ctl_device_lock(&boot.conf, &pid);

	if (err == -EBUSY) {
		inet_ntop(AF_INET, &boot.ip4.addr_be, addr, sizeof(addr));
		conf_report_add(rep, LOG_LEVEL_ERROR,
				"device %s with address %s is used by process %d: stop it, or give this one another device or host_addr",
				boot.conf.devices[0] ? boot.conf.devices : "(the only port)", addr, pid);
		return err;
	}
	if (err)
		conf_report_add(rep, LOG_LEVEL_INFO, "run directory: %s: a second process on this device would not be noticed", strerror(-err));
	return 0;
}

static int boot_eal(struct conf_report *rep)
{
	static struct conf_machine machine; /* large */
	uint64_t filled[FD_WORDS], before[FD_WORDS * 2];
	struct eal_args args = { 0 };
	int err;

	conf_machine_read(&machine);
	boot.nb_nodes = machine.nb_nodes;
	err = conf_check_machine(&boot.conf, &machine, rep);
	if (!err)
		err = conf_eal_args(&boot.conf, &machine, &args, rep);
	if (!err)
		err = boot_lock_device(rep);
	if (err) {
		eal_args_free(&args);
		return err;
	}
	eal_catch_log();
	own_fd_fill_below(filled, FD_WORDS);
	own_fd_snapshot(before, ARRAY_SIZE(before));
	err = rte_eal_init(args.argc, args.argv);
	if (err < 0) {
		char text[1024];

		err = rte_errno ? -rte_errno : -EIO;
		conf_report_add(rep, LOG_LEVEL_ERROR,
				  "EAL did not start: %s (arguments: %s): it said: %s", strerror(-err),
				  eal_args_text(&args, text, sizeof(text)), eal_said.len ? eal_said.text : "nothing");
	} else {
		err = 0;
		boot.eal_up = true;
	}
	own_fd_register_new(before, ARRAY_SIZE(before));
	own_fd_unfill(filled, FD_WORDS);
	eal_args_free(&args);
	return err;
}

/* Where the device cuts segments. Without them large writes go into usual buffers: slower, nothing else. */
static void boot_large_buffers(const struct config *c)
{
	uint32_t count = (uint32_t)(c->mbufs_per_stack * c->nb_stacks / PKT_LARGE_SHARE);

	if (!netdev_chains_segments(boot.nd) || count < LARGE_LEAST)
		return;
	boot.large = mbuf_large_pool_create("gz_large", count, c->stack_node[0]);
	if (!boot.large)
		log_info("%u buffers of %u bytes for large writes could not be allocated (%s): large writes cost more without", count,
			 PKT_LARGE_DATA, rte_strerror(rte_errno));
}

static int boot_device(struct conf_report *rep)
{
	const struct config *c = &boot.conf;
	uint32_t nb = c->nb_stacks;
	uint64_t filled[FD_WORDS], before[FD_WORDS * 2];
	struct netdev_request req = {
		.device = c->devices[0] ? c->devices : NULL,
		.kernel_interface = c->kernel_interface,
		.nb_queues = (uint16_t)MIN(nb, NETDEV_MAX_QUEUES),
		.rx_desc = (uint16_t)c->nic_rxqueue_size,
		.tx_desc = (uint16_t)c->nic_txqueue_size,
		.host_be = c->host_addr_be,
		.want_irq = c->run_to_completion || c->low_power_mode || c->stack_interrupt,
	};
	char why[512] = "";
	int err;

	err = pkt_init();
	if (err) {
		conf_report_add(rep, LOG_LEVEL_ERROR, "packet metadata: no room in the mbuf (%s): another DPDK library uses the dynamic fields",
				  strerror(-err));
		return err;
	}
	boot.pool = mbuf_pool_create("gz_mbufs", c->mbufs_per_stack * nb, MBUF_DATA_BYTES, c->stack_node[0]);
	if (!boot.pool) {
		conf_report_add(rep, LOG_LEVEL_ERROR,
				  "packet buffers: %u of %u bytes could not be allocated (%s): lower tcp_conn_count or mbuf_count_per_conn, or give more memory",
				  c->mbufs_per_stack * nb, MBUF_DATA_BYTES, rte_strerror(rte_errno));
		return -ENOMEM;
	}
	for (unsigned i = 0; i < NETDEV_MAX_QUEUES; i++)
		req.pools[i] = boot.pool;
	own_fd_fill_below(filled, FD_WORDS);
	own_fd_snapshot(before, ARRAY_SIZE(before));
	err = netdev_open(&boot.nd, &req, why, sizeof(why));
	own_fd_register_new(before, ARRAY_SIZE(before));
	own_fd_unfill(filled, FD_WORDS);
	if (err)
		conf_report_add(rep, LOG_LEVEL_ERROR, "%s", why);
	else
		boot_large_buffers(c);
	return err;
}

static int boot_eventfd(void)
{
	int fd = (int)SYS(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK), high;

	if (fd < 0)
		return fd;
	high = own_fd_adopt(fd);
	if (high < 0)
		sys_close(fd);
	return high;
}

_Static_assert(CONF_FASTOPEN_BITS == TCP_FO_BITS, "what tcp_fastopen takes is what TCP knows");

/* Linux's sysctl shows a key as little-endian words. */
static struct tcp_fo_keys fastopen_keys(const char *text)
{
	struct tcp_fo_keys k = { .n = 0 };
	uint32_t words[8];

	k.n = conf_fastopen_keys(text, words);
	for (unsigned i = 0; i < 2 * k.n; i++)
		k.key[i / 2][i % 2] = words[2 * i] | (uint64_t)words[2 * i + 1] << 32;
	return k;
}

static void boot_tcp(struct stack *st)
{
	const struct config *c = &boot.conf;

	tcp_configure(st, &(struct tcp_settings){
				  .ecn = (uint8_t)c->tcp_ecn,
				  .syncookies = (uint8_t)c->tcp_syncookies,
				  .fastopen = (uint16_t)c->tcp_fastopen,
				  .fo_keys = fastopen_keys(c->tcp_fastopen_key),
				  .mtu_probing = (uint8_t)c->tcp_mtu_probing,
				  .base_mss = (uint16_t)c->tcp_base_mss,
				  .slow_start_after_idle = (uint8_t)c->tcp_slow_start_after_idle,
				  .rcvbuf_max = (uint32_t)c->tcp_rmem_max,
				  .sndbuf_max = (uint32_t)c->tcp_wmem_max,
			  });
	tcp_configure_cc(st, c->tcp_congestion, (uint32_t)c->tcp_initial_window, c->tcp_pacing);
}

static int boot_stacks(struct conf_report *rep)
{
	const struct config *c = &boot.conf;
	uint32_t max_socks = MAX((uint32_t)c->tcp_conn_count, MIN_SOCKS);
	int err;

	/* Normal pages: a sparse mapping of huge pages would end in SIGBUS where they run out. */
	err = shared_create(c->nb_stacks, max_socks, false);
	if (err) {
		conf_report_add(rep, LOG_LEVEL_ERROR, "shared memory for %u sockets: %s: raise the limit of address space (ulimit -v), or lower tcp_conn_count",
				  max_socks, strerror(-err));
		return err;
	}
	gz->mode = c->run_to_completion ? RUN_TO_COMPLETION : RUN_TO_WAKEUP;
	gz->spin_us = (uint32_t)c->spin_us;
	gz->mem_cache_num = (uint32_t)c->mem_cache_num;
	gz->notsent_lowat = (uint32_t)c->tcp_notsent_lowat;
	gz->stack_sleeps = c->stack_interrupt;
	atomic_store(&gz->low_power, (uint32_t)c->low_power_mode);
	gz->ip4 = boot.ip4;
	gz->keeper_fd = boot_eventfd();
	if (gz->keeper_fd < 0)
		return gz->keeper_fd;
	if (c->nb_stacks > 1) {
		err = steer_create();
		if (err)
			return err;
	}
	for (uint32_t i = 0; i < c->nb_stacks; i++) {
		struct stack *st = &gz->stacks[i];
		struct netdev *nd = boot.nd;
		uint16_t queue = (uint16_t)i;

		st->lcore_id = RTE_MAX_LCORE - 1 - i;
		st->cpu = c->pin_stacks ? c->cpus.list[i] : -1;
		st->nic_read = (uint16_t)c->nic_read_number;
		st->cmd_budget = (uint16_t)MIN(MAX(c->rpc_number, 256), UINT16_MAX);
		st->pool = boot.pool;
		st->large = boot.large;
		st->doorbell_fd = boot_eventfd();
		if (st->doorbell_fd < 0)
			return st->doorbell_fd;
		if (i >= boot.nd->nb_queues) { /* more stacks than queues: fed and served by the others */
			nd = via_create(boot.nd, &gz->stacks[i % boot.nd->nb_queues], (uint16_t)i);
			queue = 0;
			if (!nd)
				return -ENOMEM;
		}
		err = stack_engine_init(st, (uint16_t)i, nd, queue, &boot.ip4, clock_now_us());
		if (err) {
			conf_report_add(rep, LOG_LEVEL_ERROR, "stack %u: %s", i, strerror(-err));
			return err;
		}
		link_set_vlan(st, c->vlan_id);
		boot_tcp(st);
	}
	return 0;
}

/* Ended, also when its parent has not collected it yet. */
static bool client_is_dead(uint32_t pid)
{
	struct pollfd p = { .events = POLLIN };
	const struct timespec now = { 0 };
	long n;

	p.fd = (int)SYS(pidfd_open, (int)pid, 0);
	if (p.fd < 0)
		return p.fd == -ESRCH;
	n = SYS(ppoll, &p, 1, &now, NULL, 0);
	sys_close(p.fd);
	return n == 1;
}

/* --- clients: processes that hold sockets and are not the home --- */

/* An empty file; byte i is locked by the client with record i. Record locks are not inherited by fork, and end with the process or with the
 * close that exec does. */
static int life_fd = -1;

static void life_file_make(void)
{
	int fd = (int)SYS(memfd_create, "gazelle-life", MFD_CLOEXEC), high;

	if (fd < 0)
		return; /* pids tell, then: exec goes unnoticed */
	high = own_fd_adopt(fd);
	if (high < 0)
		sys_close(fd);
	life_fd = high;
}

static struct flock life_lock(const struct proc_rec *p, short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = slab_index(&gz->procs, p), .l_len = 1 };
}

void boot_client_alive(struct proc_rec *p)
{
	struct flock l = life_lock(p, F_WRLCK);

	if (life_fd >= 0 && SYS(fcntl, life_fd, F_SETLK, &l) >= 0)
		atomic_store_explicit(&p->locked, 1, memory_order_release);
}

static bool client_is_gone(const struct proc_rec *p, uint32_t pid)
{
	struct flock l = life_lock(p, F_WRLCK);

	if (atomic_load_explicit(&p->locked, memory_order_acquire) && SYS(fcntl, life_fd, F_GETLK, &l) >= 0)
		return l.l_type == F_UNLCK;
	return client_is_dead(pid);
}

/* Nothing that a dead process pushed is still on its way. */
static bool stacks_have_caught_up(void)
{
	bool empty = true;

	for (uint32_t i = 0; i < gz->nb_stacks; i++)
		empty &= inbox_empty(&gz->stacks[i].cmds) && !gz->stacks[i].cmd_backlog;
	return empty;
}

static struct proc_rec *thread_client(const struct thread_rec *t)
{
	if (!(atomic_load_explicit(&t->slab.gen, memory_order_acquire) & 1) || !t->proc)
		return NULL;
	return slab_at(&gz->procs, t->proc - 1);
}

static bool thread_is_dead(const struct thread_rec *t)
{
	const struct proc_rec *p = thread_client(t);

	return p && p->looks > 1;
}

static void client_free(uint32_t index)
{
	struct proc_rec *p = slab_at(&gz->procs, index);

	for (uint32_t i = 0; i < atomic_load(&gz->threads.fresh); i++) {
		struct thread_rec *t = slab_at(&gz->threads, i);

		if (thread_client(t) != p)
			continue;
		thread_release(t);
	}
	proc_free(&gz->procs, p);
}

/* A sweep came to its end? Tells when it does not for long. */
static bool in_order(int swept)
{
	static unsigned fails;

	if (swept == 0) {
		fails = 0;
		return true;
	}
	if (++fails % 10 == 0)
		log_info("what killed processes left behind is not put in order yet: %s",
			 swept > 0 ? "there is always more" : swept == -EAGAIN ? "another process stopped in the middle of a call" : strerror(-swept));
	return false;
}

/* The look after: what they were in the middle of is put in order and their records, with the buffers in them, are given back. No command of theirs
 * can be under way any more. Before anybody else is found dead: what that one holds is not given back yet. */
static void bury_clients(struct thread_rec *self)
{
	bool quiet = stacks_have_caught_up(), swept = false;

	for (uint32_t i = 0; i < atomic_load(&gz->procs.fresh); i++) {
		struct proc_rec *p = slab_at(&gz->procs, i);

		if (!(atomic_load_explicit(&p->slab.gen, memory_order_acquire) & 1) || p->looks < 2)
			continue;
		if (!swept)
			quiet = quiet && in_order(sock_sweep(thread_is_dead, self));
		swept = true;
		if (quiet)
			client_free(i);
	}
}

/* Those that have died since the last look; their descriptors are closed. True: there are some. */
static bool find_dead_clients(void)
{
	bool news = false;

	for (uint32_t i = 0; i < atomic_load(&gz->procs.fresh); i++) {
		struct proc_rec *p = slab_at(&gz->procs, i);
		uint32_t pid = atomic_load_explicit(&p->pid, memory_order_acquire);
		uint32_t parent = atomic_load_explicit(&p->parent, memory_order_acquire);

		if (!(atomic_load_explicit(&p->slab.gen, memory_order_acquire) & 1) || parent == 0 || pid == gz->home_pid || p->looks > 1)
			continue;
		/* A record that was prepared and then belonged to nobody: its maker was killed before the fork. */
		if (pid == 0 ? !client_is_dead(parent) : !client_is_gone(p, pid))
			continue;
		p->looks++;
		if (pid == 0 && p->looks == 1)
			continue; /* the child may not have run yet: it has until the next look */
		p->looks = 2;
		news = true;
		proc_reap_hook(i);
	}
	return news;
}

/* Once a second: what dead clients held is given back. First the references, the locks and the places among waiters; a look later the rest. Keeper. */
static void boot_housekeeping(void)
{
	struct thread_rec *self = thread_self();

	if (!proc_reap_hook || !self)
		return;
	bury_clients(self);
	if (!find_dead_clients())
		return;
	for (uint32_t i = 0; i < atomic_load(&gz->threads.fresh); i++) {
		struct thread_rec *t = slab_at(&gz->threads, i);

		if (thread_is_dead(t))
			sock_reclaim_thread(t, self);
	}
	sock_reclaim_locks(thread_is_dead, self);
	sock_reclaim_waits(thread_is_dead, self);
}

/* app_bind_numa concerns machines with several nodes, and those where app_exclude_cpus takes CPUs away. */
static void boot_app_cpus(void)
{
	const struct config *c = &boot.conf;
	const struct conf_cpus *near = &c->app_cpus[MAX(c->stack_node[0], 0)];
	cpu_set_t set;

	CPU_ZERO(&set);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (conf_cpus_has(near, cpu))
			CPU_SET(cpu, &set);
	if (c->app_bind_numa && (boot.nb_nodes > 1 || c->app_exclude_cpus.count))
		idle_set_app_cpus(&set);
}

/* main_thread_affinity = 1: the main thread goes where EAL's main thread would be, on the first stack's CPU. */
static void boot_main_thread(void)
{
	const struct config *c = &boot.conf;
	cpu_set_t set;

	if (!c->main_thread_affinity || !c->cpus.count)
		return;
	CPU_ZERO(&set);
	CPU_SET(c->cpus.list[0], &set);
	SYS(sched_setaffinity, sys_getpid(), sizeof(set), &set);
}

static int boot_threads(struct conf_report *rep)
{
	int err;

	boot_app_cpus();
	boot_main_thread();
	life_file_make();
	idle_housekeeping_hook = boot_housekeeping;
	err = keeper_start();
	for (uint32_t i = 0; !err && gz->mode == RUN_TO_WAKEUP && i < gz->nb_stacks; i++)
		err = stack_thread_start(&gz->stacks[i]);
	if (err) {
		conf_report_add(rep, LOG_LEVEL_ERROR, "threads of the stack: %s: raise the limit of processes (ulimit -u)", strerror(-err));
		return err;
	}
	err = ctl_start(&boot.conf);
	if (err) /* said why; the stack works without */
		conf_report_add(rep, LOG_LEVEL_INFO, "control socket: %s: gazellectl will not find this process", strerror(-err));
	return 0;
}

static void *boot_thread(void *arg)
{
	struct conf_report rep;
	struct thread_rec *self;
	int err;

	(void)arg;
	gz_depth++;
	pthread_setname_np(pthread_self(), "gz-boot");
	conf_report_init(&rep);
	err = boot_eal(&rep);
	if (!err)
		err = boot_device(&rep);
	if (!err)
		err = boot_stacks(&rep);
	if (!err) {
		self = thread_self();
		RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
		for (uint32_t i = 0; self && i < gz->nb_stacks; i++)
			if (stack_try_own(&gz->stacks[i], self)) {
				gz->stacks[i].now_us = clock_now_us();
				if (i == 0)
					arp_announce(&gz->stacks[i]);
				stack_leave(&gz->stacks[i], self);
			}
		err = boot_threads(&rep);
	}
	conf_report_print(&rep);
	conf_report_free(&rep);
	boot.result = err;
	return NULL;
}

/* Runs fn in a thread of our own with all signals blocked and cancellation off, and waits for it. */
static int run_apart(void *(*fn)(void *))
{
	sigset_t all, old;
	pthread_t th;
	int err, cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&th, NULL, fn, NULL);
	if (!err)
		err = pthread_join(th, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_setcancelstate(cancel, NULL);
	return -err;
}

int boot_start(void)
{
	uint32_t state = BOOT_CONFIGURED;
	struct conf_env env;
	int err;

	if (likely(boot_started()))
		return 0;
	gz_enter();
	if (!atomic_compare_exchange_strong(&boot.state, &state, BOOT_STARTING)) {
		while (state == BOOT_STARTING) {
			sys_futex_wait(&boot.state, BOOT_STARTING, NULL);
			state = atomic_load(&boot.state);
		}
		gz_leave();
		return state == BOOT_RUNNING ? 0 : -ENETDOWN;
	}
	conf_env_read(&env);
	err = run_apart(boot_thread);
	if (!err)
		err = boot.result;
	if (err) {
		boot_give_up(conf_exit_on_failure(&boot.conf, &env));
	} else {
		atomic_store_explicit(&gz->running, 1, memory_order_release);
		atomic_store(&boot.state, BOOT_RUNNING);
		log_info("gazelle_network_init success");
		log_start_done(boot.conf.log_file[0] ? boot.conf.log_file : NULL);
	}
	sys_futex_wake(&boot.state, INT32_MAX);
	gz_leave();
	return err;
}

/* --- stop --- */

/* Something that was written has not been acknowledged yet, or a FIN has not left. */
static bool exit_pending(void)
{
	uint32_t top = atomic_load(&gz->socks.fresh);

	for (uint32_t i = 0; i < top; i++) {
		const struct sock *s = slab_at(&gz->socks, i);

		if (!(atomic_load_explicit(&s->slab.gen, memory_order_acquire) & 1) || s->type != SOCK_STREAM)
			continue;
		switch (s->tcb.state) {
		case TCPS_ESTABLISHED:
		case TCPS_CLOSE_WAIT:
		case TCPS_FIN_WAIT_1:
		case TCPS_CLOSING:
		case TCPS_LAST_ACK:
			return true;
		default:
			break;
		}
	}
	return false;
}

void boot_stop(void (*close_all)(void))
{
	bool cleanup;
	struct thread_rec *self;
	uint64_t until_us;

	if (!boot_started() || !stack_is_home())
		return;
	gz_depth++;
	self = thread_self();
	ctl_stop(); /* its views wait for the stacks */
	if (close_all)
		close_all();
	until_us = clock_now_us() + EXIT_LINGER_US;
	while (self && exit_pending() && clock_now_us() < until_us) {
		const struct timespec nap = { .tv_nsec = 50000 };

		if (!idle_run_stacks(self))
			SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
	}
	keeper_stop();
	for (uint32_t i = 0; gz->mode == RUN_TO_WAKEUP && i < gz->nb_stacks; i++)
		stack_thread_stop(&gz->stacks[i]);
	/* Owned for ever: whoever still calls finds the stack taken. */
	for (uint32_t i = 0; self && i < gz->nb_stacks; i++) {
		for (unsigned n = 0; n < EXIT_OWN_TRIES && !stack_try_own(&gz->stacks[i], self); n++)
			SYS(sched_yield);
		if (self->owned != &gz->stacks[i])
			return; /* a thread is stuck inside: leave everything as it is */
		self->owned = NULL;
	}
	if (slab_in_use(&gz->threads) > 1) {
		/* Whoever was about to sleep has seen `stopping` or is asleep by now. */
		const struct timespec nap = { .tv_nsec = 2000000 };

		SYS(clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
	}
	/* EAL unmaps its memory: only when no other thread can be reading a packet. It closes devices as well: see port_open.c on virtio_user. */
	cleanup = slab_in_use(&gz->threads) <= 1 && strncmp(boot.nd->name, "net_virtio_user", 15) != 0;
	netdev_close(boot.nd);
	if (cleanup)
		rte_eal_cleanup();
}

void boot_after_fork_child(void)
{
	stack_my_pid = (uint32_t)sys_getpid();
	clock_after_fork_child();
	thread_after_fork_child();
	RTE_PER_LCORE(_lcore_id) = LCORE_ID_ANY;
}

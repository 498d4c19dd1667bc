/* boot.h - starting and stopping the stacks of this process.
 *
 * boot_configure() reads the configuration (constructor of the library, cheap); boot_start() starts EAL, device, stacks and threads, lazily, at
 * the first bind, listen, connect or send that concerns a stack address. Any thread; the first one starts, others wait.
 */
#ifndef GZ_STACK_BOOT_H
#define GZ_STACK_BOOT_H

#include "config/config.h"
#include "stack/stack.h"

/* Reads and checks the configuration file named by the environment and reports what is wrong with it. 0: the library is active from now on;
 * else -errno and the process stays on the kernel - or has ended, if on_start_failure says so. Once, in the constructor. */
int boot_configure(void);
bool boot_configured(void);
/* The configuration, NULL unless boot_configured(). */
const struct config *boot_config(void);
/* The stack's IPv4 address etc., known before start. NULL unless boot_configured(). */
const struct ip4_conf *boot_ip4(void);

/* Starts the stacks unless they run. 0; -errno: start failed, now and for ever (the reason was logged; the process runs on the kernel). Sleeps. */
int boot_start(void);
static inline bool boot_started(void) { return gz != NULL && atomic_load_explicit(&gz->running, memory_order_acquire); }

/* The home process ends: closes every connection as the kernel would (FIN, or RST where data was not read), waits boundedly for queued data to be
 * acknowledged, stops threads, cleans EAL up. close_all drops the process's references. No-op in other processes. */
void boot_stop(void (*close_all)(void));
/* In a forked child: this process is no home. */
void boot_after_fork_child(void);
struct proc_rec;
/* A client takes the life lock of its record: the kernel lets go of it when the process dies, by whatever way, or becomes another program
 * by exec. Then the home gives back what the process held. */
void boot_client_alive(struct proc_rec *p);

#endif

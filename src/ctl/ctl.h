/* ctl.h - the control socket: one thread of the home process that answers gazellectl. Called by boot; nothing on the packet path knows it. */
#ifndef GZ_CTL_CTL_H
#define GZ_CTL_CTL_H

#include "config/config.h"

/* Starts the thread "gz-ctl" (all signals blocked) and makes the socket of paths.h. conf is borrowed until ctl_stop(). 0 or -errno:
 * the stack works without it. Home process, after the stacks run. */
int ctl_start(const struct config *conf);
/* Ends the thread and removes the socket. Harmless when it was never started, and in a forked child. */
void ctl_stop(void);

/* Takes the lock of "one process per device and address" in the run directory, held until the process ends. 0; -EBUSY: *owner_pid has it (0:
 * unknown); other -errno: the run directory cannot be used, nothing is locked. */
int ctl_device_lock(const struct config *conf, int *owner_pid);

/* --- for tests and fuzzing --- */
/* The same with a run directory given. */
int ctl_start_in(const struct config *conf, const char *run_dir);
/* Answers one request (JSON text of n bytes, need not be terminated): a reply in malloc'ed memory, *len bytes; NULL: no memory. */
char *ctl_answer(const struct config *conf, const char *request, size_t n, size_t *len);
/* Path of the socket in use, "" when there is none. */
const char *ctl_socket_path(void);

#endif

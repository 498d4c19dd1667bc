/* paths.h - where control sockets are: one set of functions for the library and the tools. */
#ifndef GZ_CTL_PATHS_H
#define GZ_CTL_PATHS_H

#include "base/compiler.h"

#include <sys/types.h>
#include <sys/un.h>

#define CTL_PATH_MAX 512
#define CTL_SOCK_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

/* Run directories in the order in which they are tried: $GAZELLE_RUN_DIR alone when set; else /var/run/gazelle (root),
 * $XDG_RUNTIME_DIR/gazelle, <temporary directory>/gazelle-<uid>. false past the end. */
bool ctl_run_dir_nth(unsigned i, uid_t uid, char *buf, size_t bytes);
/* Makes or checks dir: a directory of ours with mode 0700. 0 or -errno (-EPERM: it is somebody else's). */
int ctl_run_dir_prepare(const char *dir);
/* The first usable run directory, made if need be. 0 or -errno. */
int ctl_run_dir_get(char *buf, size_t bytes);
/* Path of the socket in dir; pid 0: the one that has no pid in its name. A prefix that would make it too long for a socket address is replaced by
 * its hash. Always shorter than CTL_SOCK_MAX, if dir is shorter than 60 bytes; -ENAMETOOLONG otherwise. */
int ctl_socket_name(const char *dir, const char *prefix, int pid, char *buf, size_t bytes);
/* Does a file name in a run directory look like a control socket? */
bool ctl_is_socket_name(const char *file);

#endif

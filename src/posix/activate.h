/* activate.h - hooks between the constructor and the other files of posix/. */
#ifndef GZ_POSIX_ACTIVATE_H
#define GZ_POSIX_ACTIVATE_H

#include "stack/thread.h"

void fork_init(void);			       /* fork.c */
void sig_after_fork_child(void);	       /* signals.c */
void stdio_after_fork_child(void);	       /* stdio.c */
void fdtable_fork_parent_unlock(void);	       /* fdtable.c */
void fdtable_fork_result(uint32_t child_pid);  /* 0: the fork failed */

#endif

/* ownfd.h - the library's own descriptors: moved high, close-on-exec, and invisible to the program (runtime.md, "Descriptors").
 * posix/ asks own_fd_is() so that close, dup2, close_range on them behave as on closed numbers. Any thread. */
#ifndef GZ_BASE_OWNFD_H
#define GZ_BASE_OWNFD_H

#include "base/compiler.h"

/* Moves fd to a high number (close-on-exec), registers it, closes the old number. New number or -errno (then fd is unchanged). */
int own_fd_adopt(int fd);
/* Registers fd where it is (descriptors that a library holds and that cannot be moved). */
void own_fd_register(int fd);
/* Unregisters and closes. */
void own_fd_close(int fd);
bool own_fd_is(int fd);
/* Lowest number used for own descriptors. */
int own_fd_floor(void);
/* Registers every descriptor that is open now and was not in `before` (a bitmap made by own_fd_snapshot): around EAL start. */
void own_fd_snapshot(uint64_t *bitmap, unsigned words);
void own_fd_register_new(const uint64_t *before, unsigned words);
/* The kernel has just given fd to the program. Another thread of the program may do so between the snapshot and the registration, and
 * its descriptor would be taken for one of EAL's: closed to the program for good. Called by every wrapper that makes descriptors; what is not wrapped (open(), pipe(),
 * eventfd(), timerfd_create()) in another thread at that moment is still mistaken. */
void own_fd_disown(int fd);
/* Takes every free number below own_fd_floor() for a moment (bitmap out), so that what a library opens lands above; and lets go. */
void own_fd_fill_below(uint64_t *bitmap, unsigned words);
void own_fd_unfill(const uint64_t *bitmap, unsigned words);

#endif

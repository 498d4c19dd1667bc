/* vclock.h - virtual time: replaces base/clock.c in test programs. clock_now_us() returns what the test set. */
#ifndef GZ_TEST_VCLOCK_H
#define GZ_TEST_VCLOCK_H

#include "base/clock.h"

extern uint64_t vclock_us;

#endif

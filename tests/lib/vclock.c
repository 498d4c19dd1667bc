/* vclock.c - virtual clock of test programs. Compiled into each of them as an object, so that the archive member
 * base/clock.o is never pulled in. One thread. */
#include "vclock.h"

uint64_t vclock_us = 1000 * US_PER_S;

void clock_init(void) {}

uint64_t clock_now_us(void)
{
	return vclock_us;
}

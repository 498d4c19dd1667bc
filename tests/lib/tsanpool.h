/* tsanpool.h - shows TSan the hand-over of buffers through DPDK's pools, whose lock-free rings it cannot see into. */
#ifndef GZ_TEST_TSANPOOL_H
#define GZ_TEST_TSANPOOL_H

#ifdef __SANITIZE_THREAD__
/* Call once, after rte_eal_init() and before any pool is used. Without TSan: nothing. */
void tsan_pools(void);
#else
static inline void tsan_pools(void) { }
#endif

#endif

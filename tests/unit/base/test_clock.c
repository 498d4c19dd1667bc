/* test_clock.c - the microsecond clock: it follows the kernel's, never steps back, and waits for nobody. */
#include "../../../src/base/clock.c"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NEAR_US 200 /* a machine that is busy takes the thread away between two looks */

static uint64_t kernel_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * US_PER_S + (uint64_t)t.tv_nsec / 1000;
}

/* How far the clock is from the kernel's; the least of some looks. */
static int64_t distance(void)
{
	int64_t best = INT64_MAX;

	for (unsigned i = 0; i < 50; i++) {
		uint64_t k0 = kernel_us(), now = clock_now_us(), k1 = kernel_us();
		int64_t d = now < k0 ? (int64_t)(now - k0) : now > k1 ? (int64_t)(now - k1) : 0;

		if (llabs(d) < llabs(best))
			best = d;
	}
	return best;
}

static void it_follows_the_kernels(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 25; i++) {
		assert_in_range(llabs(distance()), 0, NEAR_US);
		usleep(100000);
	}
#if defined(__x86_64__)
	if (clk.usable)
		assert_true(clk.seq >= 2); /* it has been laid anew meanwhile */
#endif
}

#if defined(__x86_64__)

static _Atomic uint64_t latest;
static _Atomic bool stop;

/* What one thread has read, no other reads less of later: the threads' looks are ordered by latest. */
static void *reader(void *arg)
{
	uint64_t *back = arg;

	while (!stop) {
		uint64_t seen = atomic_load(&latest), now;

		__builtin_ia32_lfence(); /* the counter is read after it */
		now = clock_now_us();
		__builtin_ia32_lfence();
		if (now < seen)
			*back = MAX(*back, seen - now);
		while (seen < now && !atomic_compare_exchange_weak(&latest, &seen, now))
			;
	}
	return NULL;
}

static void it_never_steps_back(void **state)
{
	pthread_t t[2];
	uint64_t back[2] = { 0, 0 };
	uint32_t seq = clk.seq;

	(void)state;
	if (!clk.usable)
		skip();
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, reader, &back[i]), 0);
	for (unsigned i = 0; i < 25; i++) {
		usleep(100000);
		/* a line that is laid far more often than once a second */
		clock_lay();
	}
	stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_true(clk.seq - seq > 10);
	/* the counters of two CPUs may be a hair apart */
	assert_in_range(MAX(back[0], back[1]), 0, 1);
}

/* A child that was forked while the clock was laid goes on, and lays it anew. */
static void nobody_waits_for_who_lays_it(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (!clk.usable)
		skip();
	atomic_store(&clk.laying, true);
	pid = fork();
	if (pid == 0) {
		uint64_t a = clock_now_us();
		uint32_t seq = clk.seq;

		alarm(10);
		usleep(1200000);
		if (clock_now_us() - a < 1200000 || clk.seq != seq)
			_exit(1); /* it stands, or was laid by two */
		clock_after_fork_child();
		clock_now_us();
		_exit(clk.seq == seq + 1 ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	atomic_store(&clk.laying, false);
	assert_int_equal(status, 0);
}

/* A slope that is wrong by 200 ppm, and a suspended machine: no step back, no jump but forward. */
static void errors_are_made_up_for(void **state)
{
	struct clock_line *l;
	uint64_t before;

	(void)state;
	if (!clk.usable)
		skip();
	l = &clk.line[clk.seq & 1];
	l->fine += 150ull << FINE_BITS; /* ahead by 150 us */
	before = clock_now_us();
	usleep(1100000);
	assert_in_range(clock_now_us() - before, 1100000 - NEAR_US, 3000000);
	clock_lay(); /* has been laid by the line above: nothing must come of it */
	usleep(1100000);
	clock_now_us();
	assert_in_range(llabs(distance()), 0, 100);
	usleep(100000);
	l = &clk.line[clk.seq & 1];
	l->fine -= 5000000ull << FINE_BITS; /* behind by five seconds */
	clock_lay();
	assert_in_range(llabs(distance()), 0, NEAR_US);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_follows_the_kernels),
#if defined(__x86_64__)
		cmocka_unit_test(it_never_steps_back),
		cmocka_unit_test(nobody_waits_for_who_lays_it),
		cmocka_unit_test(errors_are_made_up_for),
#endif
	};

	clock_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The timer wheel against a naive list: random arms, cancels and jumps of time, seeded. */
#include "stack/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define TIMERS 500

static struct wheel wheel;
static struct {
	struct wheel_timer t;
	uint64_t due; /* 0: not armed */
	bool fired;
} timers[TIMERS];
static uint64_t fire_now, rnd_state;
static unsigned rearm_every;

static uint64_t rnd(void)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state;
}

static void on_fire(struct stack *st, struct wheel_timer *t)
{
	size_t i = (size_t)((char *)t - (char *)timers) / sizeof(timers[0]);

	(void)st;
	assert_true(timers[i].due != 0);
	assert_true(timers[i].due <= fire_now); /* never before its time */
	timers[i].due = 0;
	timers[i].fired = true;
	if (rearm_every && rnd() % rearm_every == 0) {
		timers[i].due = fire_now + 1 + rnd() % 1000;
		wheel_arm(&wheel, t, timers[i].due);
	}
}

static const wheel_fire_fn fire[256] = { on_fire };

static uint64_t naive_next(void)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < TIMERS; i++)
		if (timers[i].due)
			next = MIN(next, timers[i].due);
	return next;
}

static void run_random(uint64_t seed, uint64_t start, uint64_t max_delay, uint64_t max_jump)
{
	uint64_t now = start;

	rnd_state = seed * 0x9e3779b97f4a7c15ULL + 1;
	wheel_init(&wheel, now);
	for (unsigned i = 0; i < TIMERS; i++) {
		wheel_timer_init(&timers[i].t, 0);
		timers[i].due = 0;
	}
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)(rnd() % TIMERS);

		switch (rnd() % 4) {
		case 0:
		case 1:
			timers[i].due = now + 1 + rnd() % max_delay;
			wheel_arm(&wheel, &timers[i].t, timers[i].due);
			break;
		case 2:
			timers[i].due = 0;
			wheel_cancel(&wheel, &timers[i].t);
			break;
		default:
			now += rnd() % max_jump;
			fire_now = now;
			wheel_advance(&wheel, NULL, now, UINT32_MAX, fire);
			for (unsigned k = 0; k < TIMERS; k++)
				if (timers[k].due)
					assert_true(timers[k].due > now); /* nothing late */
			assert_true(wheel_next_us(&wheel) <= naive_next()); /* a lower bound */
			break;
		}
	}
}

static void fires_exactly_as_a_naive_list_does(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		rearm_every = seed % 3 ? 0 : 4;
		run_random(seed, rnd_state, 100, 50);
		run_random(seed, 1ULL << 42, 1000000, 200000);
		run_random(seed, (1ULL << 42) - 5000, 5000000000ULL, 700000000ULL);
	}
}

static void deadline_across_every_level_fires(void **state)
{
	(void)state;
	rearm_every = 0;
	for (unsigned bit = 0; bit < 62; bit++) {
		uint64_t now = (1ULL << 48) - 3;

		wheel_init(&wheel, now);
		wheel_timer_init(&timers[0].t, 0);
		timers[0].due = now + (1ULL << bit);
		timers[0].fired = false;
		wheel_arm(&wheel, &timers[0].t, timers[0].due);
		fire_now = timers[0].due - 1;
		if (fire_now > now)
			assert_int_equal(wheel_advance(&wheel, NULL, fire_now, 10, fire), 0);
		fire_now = timers[0].due;
		assert_int_equal(wheel_advance(&wheel, NULL, fire_now, 10, fire), 1);
		assert_true(timers[0].fired);
	}
}

static void budget_bounds_one_call_and_loses_nothing(void **state)
{
	(void)state;
	rearm_every = 0;
	wheel_init(&wheel, 0);
	for (unsigned i = 0; i < TIMERS; i++) {
		wheel_timer_init(&timers[i].t, 0);
		timers[i].due = 10;
		wheel_arm(&wheel, &timers[i].t, 10);
	}
	fire_now = 20;
	assert_int_equal(wheel_advance(&wheel, NULL, 20, 100, fire), 100);
	assert_true(wheel_next_us(&wheel) <= 20);
	assert_int_equal(wheel_advance(&wheel, NULL, 20, 1000, fire), TIMERS - 100);
	assert_int_equal(wheel.armed, 0);
}

static void past_deadline_fires_at_the_next_advance(void **state)
{
	(void)state;
	wheel_init(&wheel, 1000);
	wheel_timer_init(&timers[0].t, 0);
	timers[0].due = 5;
	wheel_arm(&wheel, &timers[0].t, 5);
	fire_now = 1001;
	assert_int_equal(wheel_advance(&wheel, NULL, 1001, 10, fire), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fires_exactly_as_a_naive_list_does),
		cmocka_unit_test(deadline_across_every_level_fires),
		cmocka_unit_test(budget_bounds_one_call_and_loses_nothing),
		cmocka_unit_test(past_deadline_fires_at_the_next_advance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Slabs, inboxes and robust locks under several threads, and under the death of a holder. Also run under TSan. */
#include "base/inbox.h"
#include "base/region.h"
#include "base/rlock.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <cmocka.h>

#define THREADS 4
#define ROUNDS 20000

struct object {
	struct slab_hdr slab;
	_Atomic uint32_t user; /* who holds it; 0 nobody */
};

static struct slab slab;

static int with_region(void **state)
{
	(void)state;
	return region_create(64 << 20, false);
}

static int without_region(void **state)
{
	(void)state;
	region_destroy();
	return 0;
}

static void *churn(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	struct object *held[16] = { NULL };
	uintptr_t bad = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned k = (i * 7 + me) % 16;

		if (held[k]) {
			bad += atomic_exchange(&held[k]->user, 0) != me;
			slab_free(&slab, held[k]);
			held[k] = NULL;
		} else {
			held[k] = slab_alloc(&slab);
			if (held[k])
				bad += atomic_exchange(&held[k]->user, me) != 0; /* nobody else has it */
		}
	}
	for (unsigned k = 0; k < 16; k++)
		if (held[k]) {
			bad += atomic_exchange(&held[k]->user, 0) != me;
			slab_free(&slab, held[k]);
		}
	return (void *)bad;
}

static void slab_object_has_one_holder(void **state)
{
	pthread_t th[THREADS];

	(void)state;
	assert_int_equal(slab_init(&slab, "t", sizeof(struct object), 50), 0); /* scarce on purpose */
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&th[i], NULL, churn, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *bad;

		pthread_join(th[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(slab_in_use(&slab), 0);
	for (unsigned i = 0; i < 50; i++)
		assert_non_null(slab_alloc(&slab));
	assert_null(slab_alloc(&slab)); /* exactly the capacity */
}

static bool rests_a_while(void)
{
	usleep(2000);
	return true;
}

static bool never_rests(void)
{
	return false;
}

static void slab_survives_killed_users(void **state)
{
	struct slab *s;
	unsigned got = 0;

	(void)state;
	s = region_carve(sizeof(*s), 64);
	assert_non_null(s);
	assert_int_equal(slab_init(s, "k", sizeof(struct object), 4096), 0);
	for (unsigned round = 0; round < 50; round++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (;;) {
				void *o = slab_alloc(s);

				if (o)
					slab_free(s, o);
			}
		}
		usleep(200 + round * 37 % 500);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	/* What each was handling comes back, also while somebody goes on allocating and freeing. */
	{
		pid_t pid = fork();

		if (pid == 0)
			for (;;) {
				void *o = slab_alloc(s);

				if (o)
					slab_free(s, o);
			}
		for (unsigned i = 0; i < 20; i++)
			assert_true(slab_reclaim_lost(s, rests_a_while) >= 0);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		assert_true(slab_reclaim_lost(s, rests_a_while) >= 0);
	}
	got = slab_in_use(s); /* those that were in their hands, in use */
	assert_true(got <= 51);
	while (slab_alloc(s))
		got++;
	assert_int_equal(got, 4096);
	assert_int_equal(slab_reclaim_lost(s, rests_a_while), 0);
}

/* Taken off the list and raised by nobody, raised back and not returned: by hand, each is found, and found once. */
static void slab_finds_what_is_on_no_list(void **state)
{
	struct slab *s = region_carve(sizeof(*s), 64);
	struct slab_hdr *o[10];
	uint64_t head;

	(void)state;
	assert_int_equal(slab_init(s, "l", sizeof(struct object), 16), 0);
	for (unsigned i = 0; i < 10; i++)
		o[i] = slab_alloc(s);
	for (unsigned i = 0; i < 5; i++)
		slab_free(s, o[i]);
	/* killed after the compare-and-swap of slab_pop(): o[4] is off the list */
	head = atomic_load(&s->free_head);
	assert_ptr_equal(slab_at(s, (uint32_t)head - 1), o[4]);
	atomic_store(&s->free_head, ((head >> 32) + 1) << 32 | atomic_load(&o[4]->next_free));
	atomic_fetch_add(&o[7]->gen, 1); /* killed in slab_free() before the push */
	atomic_fetch_add(&s->fresh, 1);	 /* killed after taking a fresh one */
	assert_int_equal(slab_in_use(s), 4);
	assert_int_equal(slab_reclaim_lost(s, never_rests), -EAGAIN);
	assert_int_equal(slab_reclaim_lost(s, rests_a_while), 3);
	assert_int_equal(slab_reclaim_lost(s, rests_a_while), 0);
	for (unsigned i = 0; i < 12; i++)
		assert_non_null(slab_alloc(s));
	assert_null(slab_alloc(s));
}

/* Everything that there is goes out once, to one side or the other; then NULL on both; what comes back is there for both. */
static void slab_is_used_up_from_both_sides_of_a_fork(void **state)
{
	struct slab *s = region_carve(sizeof(*s), 64);
	void *mine[2000];
	unsigned n = 0;
	int st, out[2];
	char c;
	pid_t pid;

	(void)state;
	assert_non_null(s);
	assert_int_equal(slab_init(s, "f", sizeof(struct object), ARRAY_SIZE(mine)), 0);
	for (unsigned round = 0; round < 20; round++) {
		assert_int_equal(pipe(out), 0);
		pid = fork();
		for (n = 0; n < ARRAY_SIZE(mine) && (mine[n] = slab_alloc(s)); n++)
			;
		if (pid == 0) {
			(void)!write(out[1], "x", 1);
			while (n)
				slab_free(s, mine[--n]);
			_exit(0);
		}
		assert_int_equal(read(out[0], &c, 1), 1); /* both have all that they got */
		while (n)
			slab_free(s, mine[--n]);
		waitpid(pid, &st, 0);
		close(out[0]);
		close(out[1]);
		assert_int_equal(st, 0);
		assert_int_equal(slab_in_use(s), 0);
	}
	for (n = 0; n < ARRAY_SIZE(mine) && (mine[n] = slab_alloc(s)); n++)
		;
	assert_int_equal(n, ARRAY_SIZE(mine));
	assert_null(slab_alloc(s));
}

static struct inbox box;
static struct node {
	struct inbox_node n;
	unsigned producer, seq;
} nodes[THREADS][ROUNDS];

static void *produce(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		nodes[me][i].producer = me;
		nodes[me][i].seq = i;
		inbox_push(&box, &nodes[me][i].n);
	}
	return NULL;
}

static void inbox_keeps_each_producers_order(void **state)
{
	pthread_t th[THREADS];
	unsigned next[THREADS] = { 0 }, total = 0;

	(void)state;
	inbox_init(&box);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&th[i], NULL, produce, (void *)i), 0);
	while (total < THREADS * ROUNDS)
		for (struct inbox_node *n = inbox_take(&box); n; n = n->next, total++) {
			struct node *d = container_of(n, struct node, n);

			assert_int_equal(d->seq, next[d->producer]);
			next[d->producer]++;
		}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(th[i], NULL);
	assert_true(inbox_empty(&box));
}

static struct rlock lock;
static unsigned long guarded;

static void *locker(void *arg)
{
	uint32_t tid = (uint32_t)sys_gettid();

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (rlock_lock(&lock, tid) != RLOCK_OK)
			abort();
		guarded++;
		rlock_unlock(&lock);
	}
	return NULL;
}

static void rlock_excludes(void **state)
{
	pthread_t th[THREADS];

	(void)state;
	rlock_init(&lock);
	guarded = 0;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&th[i], NULL, locker, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(th[i], NULL);
	assert_int_equal(guarded, THREADS * ROUNDS);
	assert_int_equal(atomic_load(&lock.word), 0);
}

static void rlock_of_a_dead_holder_is_taken_over(void **state)
{
	struct rlock *l = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	(void)state;
	assert_true(l != MAP_FAILED);
	rlock_init(l);
	pid = fork();
	if (pid == 0) {
		rlock_lock(l, (uint32_t)sys_gettid());
		pause();
	}
	while (atomic_load(&l->word) == 0)
		usleep(100);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(rlock_lock(l, (uint32_t)sys_gettid()), RLOCK_TAKEN_OVER);
	rlock_unlock(l);
	assert_int_equal(rlock_lock(l, (uint32_t)sys_gettid()), RLOCK_OK);
	munmap(l, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(slab_object_has_one_holder, with_region, without_region),
		cmocka_unit_test_setup_teardown(slab_survives_killed_users, with_region, without_region),
		cmocka_unit_test_setup_teardown(slab_finds_what_is_on_no_list, with_region, without_region),
		cmocka_unit_test_setup_teardown(slab_is_used_up_from_both_sides_of_a_fork, with_region, without_region),
		cmocka_unit_test(inbox_keeps_each_producers_order),
		cmocka_unit_test(rlock_excludes),
		cmocka_unit_test(rlock_of_a_dead_holder_is_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

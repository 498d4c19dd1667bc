/* test_sweep.c - what a client leaves that was killed between two steps: every such state is made by hand, and sock_sweep() has to put it in order,
 * and nothing else. A thread record stands for the dead client; a process record of the test's own for the home's descriptor table. */
#include "sock/sock_int.h"
#include "stack/proc.h"
#include "testenv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct thread_rec *corpse;
static struct proc_rec *proc;
static struct fd_chunk *chunk;
static uint32_t items_before;

static bool is_corpse(const struct thread_rec *t) { return t == corpse; }

static int setup(void **state)
{
	(void)state;
	testenv_open(&(struct testenv_conf){ .nb_hosts = 2, .wired = true, .seed = 1 });
	proc = slab_alloc(&gz->procs);
	memset((char *)proc + sizeof(proc->slab), 0, sizeof(*proc) - sizeof(proc->slab));
	proc->parent = proc->pid = (uint32_t)sys_getpid();
	chunk = slab_alloc(&gz->fdchunks);
	memset(chunk->e, 0, sizeof(chunk->e));
	proc->chunk[0] = slab_index(&gz->fdchunks, chunk) + 1;
	corpse = slab_alloc(&gz->threads);
	corpse->pid = corpse->tid = 0x3ffffff0;
	corpse->proc = slab_index(&gz->procs, proc) + 1;
	corpse->mag.count = 0;
	atomic_store(&corpse->crit.seq, 7);
	items_before = slab_in_use(&gz->items);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return testenv_close();
}

static void number(unsigned fd, void *desc, uintptr_t kind)
{
	atomic_store(&chunk->e[fd].desc, (uintptr_t)desc | kind);
	atomic_store(&tenv.self->taken, NULL);
	atomic_store(&tenv.self->taken_ep, NULL);
}

static struct sock *numbered(unsigned fd)
{
	struct sock *s = testenv_socket(0, SOCK_STREAM);

	number(fd, s, FD_DESC_SOCK);
	return s;
}

static struct epoll *numbered_epoll(unsigned fd)
{
	struct epoll *ep = epoll_instance_create(tenv.self);

	number(fd, ep, FD_DESC_EPOLL);
	return ep;
}

/* It ends with everything in order; `gone`: the object is free afterwards. */
static void sweep(const struct slab *slab, void *obj, bool gone)
{
	bool ok = false;

	for (unsigned i = 0; i < 5 && !ok; i++) {
		ok = sock_sweep(is_corpse, tenv.self) == 0;
		testenv_run_for(1000);
	}
	assert_true(ok);
	assert_int_equal(atomic_load(&((struct slab_hdr *)obj)->gen) & 1, !gone);
	assert_true(slab_index(slab, obj) < slab->capacity);
}

static void close_number(unsigned fd)
{
	struct sock *s = (struct sock *)(atomic_exchange(&chunk->e[fd].desc, 0) & ~FD_DESC_KIND);

	testenv_close_sock(s);
	testenv_run_for(1000);
}

static void what_is_in_order_stays(void **state)
{
	struct sock *s = numbered(3), *held = numbered(4), *many[40];
	struct epoll *ep = numbered_epoll(5);
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 9 };

	assert_int_equal(epoll_instance_ctl(ep, EPOLL_CTL_ADD, 3, s, &ev, tenv.self), 0);
	for (unsigned i = 0; i < 40; i++) {
		many[i] = i & 1 ? s : held;
		assert_int_equal(sock_hold(many[i], i, tenv.self), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(sock_sweep(is_corpse, tenv.self), 0);
	assert_int_equal(sock_refs(s), 21);
	assert_int_equal(sock_refs(held), 21);
	assert_int_equal(vcount_get(&s->item_count, memory_order_relaxed), 1);
	assert_int_equal(vcount_get(&ep->refs, memory_order_relaxed), 1);
	for (unsigned i = 0; i < 40; i++)
		sock_unhold(many[i], i, tenv.self);
	sock_hold_end(tenv.self);
	assert_int_equal(slab_in_use(&gz->epoll_chunks), 1);
	atomic_store(&chunk->e[5].desc, 0);
	epoll_instance_unref(ep, tenv.self);
	close_number(3);
	close_number(4);
}

static void a_thread_inside_makes_it_wait(void **state)
{
	struct thread_rec *living = slab_alloc(&gz->threads);
	struct sock *s = numbered(3);

	living->pid = living->tid = (uint32_t)sys_getpid();
	atomic_store(&living->crit.seq, 3);
	sock_ref(s); /* the living one's, about to be written down */
	vclock_us += 0;
	assert_int_equal(sock_sweep(is_corpse, tenv.self), -EAGAIN);
	assert_int_equal(sock_refs(s), 2);
	atomic_store(&living->held[0], s);
	atomic_store(&living->crit.seq, 4);
	assert_int_equal(sock_sweep(is_corpse, tenv.self), 0);
	assert_int_equal(sock_refs(s), 2);
	atomic_store(&living->held[0], NULL);
	sock_unref(s, tenv.self);
	living->pid = living->tid = 0;
	slab_free(&gz->threads, living);
	close_number(3);
}

/* Found dead after reclaim.c went round: its notes count until they have been given back, which is once. */
static void what_the_dead_noted_is_given_back_once(void **state)
{
	struct sock *s = numbered(3);

	(void)state;
	assert_int_equal(sock_hold(s, 0, corpse), 0);
	sweep(&gz->socks, s, false);
	assert_int_equal(sock_refs(s), 2);
	sock_reclaim_thread(corpse, tenv.self);
	assert_int_equal(sock_refs(s), 1);
	sweep(&gz->socks, s, false);
	assert_int_equal(sock_refs(s), 1);
	close_number(3);
}

static void reference_counted_and_not_written_down(void **state)
{
	struct sock *s = numbered(3);

	sock_ref(s);
	sweep(&gz->socks, s, false);
	assert_int_equal(sock_refs(s), 1);
	close_number(3);
}

static void entry_crossed_out_and_reference_kept(void **state)
{
	struct sock *s = numbered(3);

	atomic_store(&chunk->e[3].desc, 0);
	sweep(&gz->socks, s, true);
}

static void last_reference_dropped_and_nobody_told(void **state)
{
	struct sock *s = numbered(3);

	atomic_store(&chunk->e[3].desc, 0);
	vcount_dec(&s->refs, memory_order_relaxed);
	sweep(&gz->socks, s, true);
}

static void orphan_without_a_close(void **state)
{
	struct sock *s = numbered(3);

	atomic_store(&chunk->e[3].desc, 0);
	vcount_dec(&s->refs, memory_order_relaxed);
	atomic_fetch_or(&s->status, SOCK_ORPHAN);
	sweep(&gz->socks, s, true);
}

static void command_marked_and_not_pushed(void **state)
{
	struct sock *s = numbered(3);

	atomic_store(&chunk->e[3].desc, 0);
	vcount_dec(&s->refs, memory_order_relaxed);
	atomic_fetch_or(&s->status, SOCK_ORPHAN);
	atomic_fetch_or(&s->cmd_bits, SOCK_CMD_CLOSE | SOCK_CMD_QUEUED);
	sweep(&gz->socks, s, true);
}

static void item_taken_and_not_used(void **state)
{
	struct sock *s = numbered(3);
	struct item *it = slab_alloc(&gz->items);

	(void)s;
	sweep(&gz->items, it, true);
	close_number(3);
}

static void item_counted_and_not_made(void **state)
{
	struct sock *s = numbered(3);
	struct epoll *ep = numbered_epoll(4);

	vcount_inc(&s->item_count, memory_order_relaxed);
	atomic_fetch_add(&ep->lives, (1ULL << 32) + 1);
	sweep(&gz->epolls, ep, false);
	assert_int_equal(vcount_get(&s->item_count, memory_order_relaxed), 0);
	assert_int_equal((uint32_t)ep->lives, 1);
	close_number(3);
	atomic_store(&chunk->e[4].desc, 0);
	epoll_instance_unref(ep, tenv.self);
}

static void item_marked_and_not_pushed(void **state)
{
	struct sock *s = numbered(3);
	struct epoll *ep = numbered_epoll(4);
	struct epoll_event ev = { .events = EPOLLIN };
	struct item *it;

	assert_int_equal(epoll_instance_ctl(ep, EPOLL_CTL_ADD, 3, s, &ev, tenv.self), 0);
	it = slab_at(&gz->items, ((struct epoll_chunk *)slab_at(&gz->epoll_chunks, ep->chunk[0] - 1))->first[3] - 1);
	/* as EPOLL_CTL_DEL, killed before the push */
	((struct epoll_chunk *)slab_at(&gz->epoll_chunks, ep->chunk[0] - 1))->first[3] = 0;
	atomic_fetch_and(&it->word, ~ITEM_TABLE);
	atomic_fetch_or(&it->word, ITEM_DEAD | ITEM_CMD);
	sweep(&gz->items, it, false);
	(void)epoll_instance_ready(ep, tenv.self); /* a fresh socket is hung up: it was in the ready list, too */
	sweep(&gz->items, it, true);
	assert_int_equal(vcount_get(&s->item_count, memory_order_relaxed), 0);
	/* and before that: out of the table, and still thinking it is in it */
	assert_int_equal(epoll_instance_ctl(ep, EPOLL_CTL_ADD, 3, s, &ev, tenv.self), 0);
	it = slab_at(&gz->items, ((struct epoll_chunk *)slab_at(&gz->epoll_chunks, ep->chunk[0] - 1))->first[3] - 1);
	((struct epoll_chunk *)slab_at(&gz->epoll_chunks, ep->chunk[0] - 1))->first[3] = 0;
	sweep(&gz->items, it, false);
	(void)epoll_instance_ready(ep, tenv.self);
	sweep(&gz->items, it, true);
	atomic_store(&chunk->e[4].desc, 0);
	epoll_instance_unref(ep, tenv.self);
	close_number(3);
}

static void instance_dropped_and_not_destroyed(void **state)
{
	struct sock *s = numbered(3);
	struct epoll *ep = numbered_epoll(4);
	struct epoll_event ev = { .events = EPOLLIN };

	assert_int_equal(epoll_instance_ctl(ep, EPOLL_CTL_ADD, 3, s, &ev, tenv.self), 0);
	atomic_store(&chunk->e[4].desc, 0);
	vcount_dec(&ep->refs, memory_order_relaxed);
	sweep(&gz->epolls, ep, true);
	assert_int_equal(slab_in_use(&gz->items), items_before);
	/* destroyed, and its own life kept */
	ep = numbered_epoll(4);
	atomic_store(&chunk->e[4].desc, 0);
	vcount_dec(&ep->refs, memory_order_relaxed);
	atomic_store(&ep->dead, 1);
	atomic_store(&ep->ended, 1);
	sweep(&gz->epolls, ep, true);
	/* no life left, and the reaper not told */
	ep = numbered_epoll(4);
	atomic_store(&chunk->e[4].desc, 0);
	vcount_dec(&ep->refs, memory_order_relaxed);
	atomic_store(&ep->dead, 1);
	atomic_store(&ep->ended, 1);
	atomic_fetch_sub(&ep->lives, 1);
	sweep(&gz->epolls, ep, true);
	close_number(3);
}

static void connection_out_of_the_queue_and_not_noted(void **state)
{
	struct sock *l = testenv_listener(1, 80, 16), *c, *child;
	struct inbox_node *n;

	number(3, l, FD_DESC_SOCK);
	c = testenv_connect(0, 1, 80);
	number(4, c, FD_DESC_SOCK);
	testenv_run_for(10000);
	assert_int_equal(vcount_get(&l->acc_len, memory_order_relaxed), 1);
	assert_int_equal(sock_sweep(is_corpse, tenv.self), 0); /* in the queue it is in order */
	assert_int_equal(vcount_get(&l->acc_len, memory_order_relaxed), 1);
	n = inbox_take(&l->acc_in);
	child = container_of(n, struct sock, acc_node);
	for (unsigned i = 0; i < 5 && sock_sweep(is_corpse, tenv.self); i++)
		testenv_run_for(1000);
	assert_int_equal(sock_refs(child), 0);
	assert_int_equal(vcount_get(&l->acc_len, memory_order_relaxed), 0); /* else the listener looks readable for ever */
	close_number(4);
	close_number(3);
	testenv_run_for(200ull * 1000000);
}

static void objects_that_nobody_refers_to(void **state)
{
	struct proc_rec *p = slab_alloc(&gz->procs);
	struct fd_chunk *c = slab_alloc(&gz->fdchunks);
	struct epoll_chunk *e = slab_alloc(&gz->epoll_chunks);
	struct thread_rec *t = slab_alloc(&gz->threads);

	p->parent = 0;
	t->pid = 0;
	memset(c->e, 0, sizeof(c->e));
	sweep(&gz->procs, p, true);
	assert_int_equal(atomic_load(&c->slab.gen) & 1, 0);
	assert_int_equal(atomic_load(&e->slab.gen) & 1, 0);
	assert_int_equal(atomic_load(&t->slab.gen) & 1, 0);
	assert_int_equal(atomic_load(&chunk->slab.gen) & 1, 1);
	assert_int_equal(atomic_load(&tenv.self->slab.gen) & 1, 1);
}

static void buffers_that_the_dead_had_in_hand(void **state)
{
	struct sock *s = numbered(3);
	unsigned before = testenv_mbufs_used();
	struct rte_mbuf *m[4];

	for (unsigned i = 0; i < 4; i++) {
		m[i] = rte_pktmbuf_alloc(tenv.pool);
		buf_tag_seg(m[i], corpse);
		pkt_meta(m[i])->q.next = NULL;
	}
	corpse->mag.m[0] = m[0];
	corpse->mag.count = 1;
	inbox_push(&s->tx_in, &pkt_meta(m[3])->q); /* handed over, the command not yet left */
	assert_int_equal(sock_sweep(is_corpse, tenv.self), 0); /* says that nothing is out: not looked at */
	assert_int_equal(testenv_mbufs_used(), before + 4);
	atomic_store(&corpse->buffers_out, 1);
	assert_int_equal(sock_sweep(is_corpse, tenv.self), 0);
	assert_int_equal(corpse->mag.count, 0);
	assert_int_equal(testenv_mbufs_used(), before + 1);
	close_number(3);
	testenv_run_for(1000);
	assert_int_equal(testenv_mbufs_used(), before);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(what_is_in_order_stays),
		T(a_thread_inside_makes_it_wait),
		T(what_the_dead_noted_is_given_back_once),
		T(reference_counted_and_not_written_down),
		T(entry_crossed_out_and_reference_kept),
		T(last_reference_dropped_and_nobody_told),
		T(orphan_without_a_close),
		T(command_marked_and_not_pushed),
		T(item_taken_and_not_used),
		T(item_counted_and_not_made),
		T(item_marked_and_not_pushed),
		T(instance_dropped_and_not_destroyed),
		T(connection_out_of_the_queue_and_not_noted),
		T(objects_that_nobody_refers_to),
		T(buffers_that_the_dead_had_in_hand),
	};

	(void)argc;
	(void)argv;
	return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}

/* shared.c - the root of the shared region: slabs for everything that application threads and stacks share (runtime.md,
 * "Memory"). Called by boot and by tests, once per home process. */
#include "base/clock.h"
#include "sock/epoll.h"
#include "sock/ports.h"
#include "sock/sock.h"
#include "stack/proc.h"
#include "stack/stack.h"
#include "tcp/tcp.h"

#include <string.h>
#include <sys/random.h>

#define MAX_THREADS 16384
#define MAX_PROCS 4096
#define MAX_FD_CHUNKS 8192
#define MAX_MCASTS 65536
#define MAX_EPOLLS 16384
#define MAX_EPOLL_CHUNKS 65536
#define MAX_SYN_RECS 262144
#define MAX_TW_RECS 1048576
/* Tables that rooms carve for themselves (connection tables, ports, neighbours), sparse. */
#define ROOM_FOR_TABLES(max_socks, stacks) ((512UL << 20) + (size_t)(stacks) * ((size_t)(max_socks) * 16 + (64UL << 20)))

struct shared *gz;

int shared_create(uint32_t nb_stacks, uint32_t max_socks, bool huge)
{
	const struct {
		size_t at;
		const char *name;
		uint32_t bytes, count;
	} slabs[] = {
#define SLAB(field, size, n) { offsetof(struct shared, field), #field, (uint32_t)(size), (n) }
		SLAB(socks, sizeof(struct sock), max_socks),
		SLAB(items, item_obj_bytes, max_socks * 2),
		SLAB(epolls, epoll_obj_bytes, MAX_EPOLLS),
		SLAB(epoll_chunks, epoll_chunk_bytes, MAX_EPOLL_CHUNKS),
		SLAB(threads, sizeof(struct thread_rec), MAX_THREADS),
		SLAB(procs, sizeof(struct proc_rec), MAX_PROCS),
		SLAB(fdchunks, sizeof(struct fd_chunk), MAX_FD_CHUNKS),
		SLAB(mcasts, mcast_obj_bytes, MAX_MCASTS),
		SLAB(syn_recs, tcp_syn_rec_bytes, MAX_SYN_RECS),
		SLAB(tw_recs, tcp_tw_rec_bytes, MAX_TW_RECS),
#undef SLAB
	};
	size_t need = sizeof(struct shared) + ROOM_FOR_TABLES(max_socks, nb_stacks);
	struct shared *root;
	int err;

	gz_assert(!gz && nb_stacks > 0 && nb_stacks <= STACK_MAX);
	for (unsigned i = 0; i < ARRAY_SIZE(slabs); i++)
		need += (size_t)ROUND_UP(slabs[i].bytes, CACHE_LINE) * slabs[i].count + 8192;
	err = region_create(need, huge);
	if (err)
		return err;
	root = region_carve(sizeof(*root), 4096);
	if (!root) {
		err = -ENOMEM;
		goto fail;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(slabs); i++) {
		err = slab_init((struct slab *)(void *)((char *)root + slabs[i].at), slabs[i].name, slabs[i].bytes,
				slabs[i].count);
		if (err)
			goto fail;
	}
	clock_init();
	thread_flush_hook = sock_magazine_flush;
	stack_my_pid = (uint32_t)sys_getpid();
	root->home_pid = stack_my_pid;
	root->nb_stacks = nb_stacks;
	root->mode = RUN_TO_COMPLETION;
	root->keeper_fd = -1;
	for (unsigned i = 0; i < STACK_MAX; i++) {
		root->stacks[i].id = (uint16_t)i;
		root->stacks[i].doorbell_fd = -1;
		root->stacks[i].cpu = -1;
	}
	gz = root;
	if (getrandom(gz->stacks[0].secret, sizeof(gz->stacks[0].secret), 0) != sizeof(gz->stacks[0].secret)) {
		err = -EIO;
		goto fail;
	}
	for (uint32_t i = 1; i < nb_stacks; i++)
		memcpy(gz->stacks[i].secret, gz->stacks[0].secret, sizeof(gz->stacks[0].secret));
	gz->ports = ports_create();
	if (!gz->ports) {
		err = -ENOMEM;
		goto fail;
	}
	return 0;
fail:
	gz = NULL;
	region_destroy();
	return err;
}

void shared_destroy(void)
{
	gz = NULL;
	thread_self_tls = NULL;
	crit_self = NULL;
	region_destroy();
}

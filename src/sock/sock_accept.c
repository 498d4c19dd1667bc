/* sock_accept.c - taking connections from a listener's queue. Called by posix/, any thread of any process. As Linux's inet_csk_accept(). */
#include "sock/sock_int.h"
#include "base/clock.h"
#include "stack/idle.h"

/* First of the queue, or NULL. */
static struct sock *accept_take(struct sock *l, struct thread_rec *self)
{
	struct sock *child = NULL;
	struct inbox_node *n;

	sock_rlock(l, self);
	/* After the last reference is gone the queue belongs to the owner, who resets what is in it. */
	if (likely(!(sock_status(l) & SOCK_ORPHAN))) {
		crit_enter();
		if (!l->acc_head)
			l->acc_head = inbox_take(&l->acc_in);
		n = l->acc_head;
		if (n) {
			child = container_of(n, struct sock, acc_node);
			l->acc_head = n->next;
			atomic_store_explicit(&self->taken, child, memory_order_relaxed);
			vcount_dec(&l->acc_len, memory_order_acq_rel);
		}
		crit_exit();
	}
	rlock_unlock(&l->rlock);
	return child;
}

static bool kernel_acceptable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct timespec zero = { 0, 0 };

	return fd >= 0 && SYS(ppoll, &p, 1, &zero, NULL, 0) > 0;
}

int sock_accept(struct sock *s, struct sock **out, bool nonblock, int kernel_fd, struct thread_rec *self)
{
	uint64_t deadline = 0;
	bool polled = false;

	*out = NULL;
	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	for (;;) {
		struct wait_sock w = { .s = s, .events = EPOLLIN };
		struct pollfd pfd = { .fd = kernel_fd, .events = POLLIN };
		int r;

		if (!(sock_status(s) & SOCK_LISTENING))
			return -EINVAL;
		if (vcount_get(&s->acc_len, memory_order_acquire)) {
			*out = accept_take(s, self);
			if (*out)
				return 0;
		}
		if (nonblock && !polled) {
			polled = true;
			if (idle_run_stacks(self))
				continue;
		}
		if (kernel_acceptable(kernel_fd))
			return 0;
		if (nonblock)
			return -EAGAIN;
		if (!deadline)
			deadline = sock_deadline(atomic_load_explicit(&s->rcvtimeo_us, memory_order_relaxed));
		r = sock_wait(&w, 1, &pfd, kernel_fd >= 0, deadline, self);
		if (r < 0)
			return r;
		if (r == 0)
			return -EAGAIN;
	}
}

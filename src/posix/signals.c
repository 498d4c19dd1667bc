/* signals.c - application signal handlers are deferred while a thread is inside the library (runtime.md, sigdefer.h).
 *
 * Every handler that the program installs is replaced by one function of ours; the program's view of its actions is kept here and reported
 * truthfully. Outside the library that function calls the program's handler at once. Inside, a handler could call recv or leave by
 * siglongjmp while this thread owns a stack; so the signal is blocked in the interrupted context, queued again to this thread, and
 * unblocked when the outermost call leaves the library. The kernel then delivers it as if it had arrived there: same mask, same
 * alternate stack, same siginfo. A sleeper in the library is woken and returns -EINTR; its wrapper decides between EINTR and SA_RESTART.
 * Synchronous faults go to the program's handler at once: waiting is no answer to them.
 *
 * Cancellation: pthread_cancel() wakes a sleeper in the same way; the thread acts on the request when everything is released.
 */
#include "posix/posix.h"

#include "posix/activate.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

__thread uint32_t gz_depth;
__thread _Atomic uint32_t gz_sig_pending;

/* bits of gz_sig_pending */
#define PEND_SIGNAL 1u
#define PEND_NO_RESTART 2u /* a handler without SA_RESTART is among them */
#define PEND_CANCEL 4u

static __thread uint64_t pend_mask; /* signals blocked by us, bit signo - 1 */
static __thread uint32_t last_pend; /* what the last gz_leave() ran */

/* The program's view of its actions. flags and mask are read by the program only; handler is read by ours. */
static struct {
	_Atomic uintptr_t handler; /* SIG_DFL, SIG_IGN or a function */
	_Atomic int flags;
	sigset_t mask;
	bool wrapped; /* ours is installed in the kernel */
} act[_NSIG];
static struct rlock act_lock;

typedef void (*handler3)(int, siginfo_t *, void *);

static bool is_sync_fault(int sig, const siginfo_t *si)
{
	switch (sig) {
	case SIGSEGV:
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
	case SIGTRAP:
	case SIGSYS:
		return si->si_code > 0; /* from the kernel, about an instruction of this thread */
	default:
		return false;
	}
}

/* Signals the context: blocked from its return on. */
static void block_in(void *ctx, int sig)
{
	ucontext_t *uc = ctx;
	uint64_t mask;

	memcpy(&mask, &uc->uc_sigmask, sizeof(mask)); /* the kernel's part of sigset_t */
	mask |= 1ULL << (sig - 1);
	memcpy(&uc->uc_sigmask, &mask, sizeof(mask));
}

static void sig_entry(int sig, siginfo_t *si, void *ctx)
{
	uintptr_t h = atomic_load_explicit(&act[sig].handler, memory_order_acquire);
	int flags = atomic_load_explicit(&act[sig].flags, memory_order_relaxed);
	int saved = errno;

	if (gz_depth && !is_sync_fault(sig, si)) {
		block_in(ctx, sig);
		pend_mask |= 1ULL << (sig - 1);
		(void)SYS(rt_tgsigqueueinfo, sys_getpid(), sys_gettid(), sig, si);
		atomic_fetch_or_explicit(&gz_sig_pending, PEND_SIGNAL | (flags & SA_RESTART ? 0 : PEND_NO_RESTART),
					 memory_order_seq_cst);
		if (thread_self_tls)
			thread_wake(thread_self_tls);
		errno = saved;
		return;
	}
	if (flags & (int)SA_RESETHAND) {
		/* The kernel's own flag is not used: the handler may have been entered only to defer. */
		struct { uintptr_t handler; unsigned long flags; uintptr_t restorer; uint64_t mask; } dfl = { 0 };

		atomic_store_explicit(&act[sig].handler, (uintptr_t)SIG_DFL, memory_order_release);
		(void)SYS(rt_sigaction, sig, &dfl, NULL, sizeof(uint64_t));
	}
	if (likely(h > (uintptr_t)SIG_IGN))
		((handler3)h)(sig, si, ctx); /* a one-argument handler ignores the rest (both ABIs that we run on) */
}

cold_path void gz_leave_slow(void)
{
	uint64_t mask = pend_mask;

	last_pend = atomic_exchange_explicit(&gz_sig_pending, 0, memory_order_seq_cst);
	pend_mask = 0;
	/* They are pending in the kernel: unblocking delivers them before this call returns. */
	if (mask)
		(void)SYS(rt_sigprocmask, SIG_UNBLOCK, &mask, NULL, sizeof(mask));
}

bool sig_only_cancel(void)
{
	uint32_t p = last_pend;

	last_pend = 0;
	if (p & PEND_CANCEL)
		pthread_testcancel();
	return p && !(p & PEND_SIGNAL);
}

bool sig_restart(void)
{
	uint32_t p = last_pend;

	last_pend = 0;
	if (p & PEND_CANCEL)
		pthread_testcancel();
	return p && !(p & PEND_NO_RESTART);
}

/* --- sigaction and its older forms --- */

static bool sig_is_valid(int sig)
{
	return sig > 0 && sig < _NSIG;
}

static int action(int sig, const struct sigaction *sa, struct sigaction *old)
{
	struct sigaction mine, prev;
	uintptr_t h_old;
	int r, f_old;
	sigset_t m_old;
	bool was_wrapped;

	if (!sig_is_valid(sig))
		return REAL(sigaction)(sig, sa, old);
	gz_enter();
	rlock_lock(&act_lock, (uint32_t)sys_gettid());
	h_old = atomic_load(&act[sig].handler);
	f_old = atomic_load(&act[sig].flags);
	m_old = act[sig].mask;
	was_wrapped = act[sig].wrapped;
	if (sa) {
		mine = *sa;
		if (sa->sa_handler != SIG_DFL && sa->sa_handler != SIG_IGN) {
			mine.sa_sigaction = sig_entry;
			mine.sa_flags = (sa->sa_flags | SA_SIGINFO) & ~(int)SA_RESETHAND;
			/* before the kernel knows: the first signal must find it */
			atomic_store_explicit(&act[sig].flags, sa->sa_flags, memory_order_relaxed);
			atomic_store_explicit(&act[sig].handler, (uintptr_t)sa->sa_handler, memory_order_release);
		}
	}
	r = REAL(sigaction)(sig, sa ? &mine : NULL, &prev);
	if (r == 0 && sa) {
		act[sig].mask = sa->sa_mask;
		act[sig].wrapped = mine.sa_handler != SIG_DFL && mine.sa_handler != SIG_IGN;
		if (!act[sig].wrapped)
			atomic_store_explicit(&act[sig].handler, (uintptr_t)sa->sa_handler, memory_order_release);
	} else if (r != 0 && sa) {
		atomic_store(&act[sig].handler, h_old);
		atomic_store(&act[sig].flags, f_old);
	}
	rlock_unlock(&act_lock);
	gz_leave();
	if (r == 0 && old) {
		*old = prev;
		if (was_wrapped && prev.sa_sigaction == sig_entry) {
			old->sa_handler = (__sighandler_t)h_old;
			/* libc lets its own SA_RESTORER show */
			old->sa_flags = f_old | (prev.sa_flags & 0x04000000);
			old->sa_mask = m_old;
		}
	}
	return r;
}

gz_export int sigaction(int sig, const struct sigaction *sa, struct sigaction *old)
{
	if (!posix_active || gz_depth)
		return REAL(sigaction)(sig, sa, old);
	return action(sig, sa, old);
}
TWIN(sigaction)
ALIAS_OF(__sigaction, sigaction)

/* siginterrupt() decides what signal() asks for, now and later. */
static _Atomic uint64_t interrupting;

static __sighandler_t signal_with(int sig, __sighandler_t h, int flags)
{
	struct sigaction sa = { .sa_handler = h, .sa_flags = flags }, old;

	if (h == SIG_ERR || !sig_is_valid(sig)) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&sa.sa_mask);
	if (!(flags & (int)SA_RESETHAND))
		sigaddset(&sa.sa_mask, sig);
	return action(sig, &sa, &old) < 0 ? SIG_ERR : old.sa_handler;
}

gz_export __sighandler_t signal(int sig, __sighandler_t h)
{
	if (!posix_active || gz_depth)
		return REAL(signal)(sig, h);
	return signal_with(sig, h,
			   sig_is_valid(sig) && (atomic_load(&interrupting) >> (sig - 1) & 1) ? 0 : SA_RESTART);
}
TWIN(signal)
__sighandler_t bsd_signal(int sig, __sighandler_t h);
ALIAS_OF(bsd_signal, signal)
ALIAS_OF(ssignal, signal)

__sighandler_t __sysv_signal(int sig, __sighandler_t h);
__sighandler_t sysv_signal(int sig, __sighandler_t h);
/* System V: one shot, not masked, interrupting. */
gz_export __sighandler_t __sysv_signal(int sig, __sighandler_t h)
{
	if (!posix_active || gz_depth) {
		struct sigaction sa = { .sa_handler = h, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER | 0x20000000 /* SA_INTERRUPT */) }, old;

		return REAL(sigaction)(sig, &sa, &old) < 0 ? SIG_ERR : old.sa_handler;
	}
	return signal_with(sig, h, (int)(SA_RESETHAND | SA_NODEFER));
}
ALIAS_OF(sysv_signal, __sysv_signal)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
gz_export int siginterrupt(int sig, int on)
{
	struct sigaction sa;

	if (!posix_active || gz_depth)
		return REAL(siginterrupt)(sig, on);
	if (action(sig, NULL, &sa) < 0)
		return -1;
	if (on) {
		atomic_fetch_or(&interrupting, 1ULL << (sig - 1));
		sa.sa_flags &= ~SA_RESTART;
	} else {
		atomic_fetch_and(&interrupting, ~(1ULL << (sig - 1)));
		sa.sa_flags |= SA_RESTART;
	}
	return action(sig, &sa, NULL);
}
TWIN(siginterrupt)
#pragma GCC diagnostic pop

/* --- cancellation --- */

_Atomic bool sig_cancel_used;

/* Threads that were ever inside the library, so that pthread_cancel() can wake them. By thread record; a record names the thread while
 * its pid and tid do. */
static struct {
	pthread_t self;
	_Atomic(_Atomic uint32_t *) pending;
} cancellable[16384];

void sig_testcancel(void)
{
	pthread_testcancel();
}

cold_path struct thread_rec *posix_self_slow(void)
{
	struct thread_rec *t = thread_self_slow();
	uint32_t i;

	if (!t)
		return NULL;
	t->proc = fdtable_proc();
	i = slab_index(&gz->threads, t);
	if (i >= ARRAY_SIZE(cancellable))
		return t;
	cancellable[i].self = pthread_self();
	atomic_store_explicit(&cancellable[i].pending, &gz_sig_pending, memory_order_release);
	return t;
}

gz_export int pthread_cancel(pthread_t th)
{
	int r;

	if (!posix_active)
		return REAL(pthread_cancel)(th);
	atomic_store(&sig_cancel_used, true);
	r = REAL(pthread_cancel)(th);
	if (r || !gz)
		return r;
	gz_enter();
	for (uint32_t i = 0; i < ARRAY_SIZE(cancellable) && i < gz->threads.capacity; i++) {
		_Atomic uint32_t *p = atomic_load_explicit(&cancellable[i].pending, memory_order_acquire);
		struct thread_rec *t;

		if (!p || !pthread_equal(cancellable[i].self, th))
			continue;
		t = slab_at(&gz->threads, i);
		/* The record may have passed to another thread since; a wake-up for nothing harms nobody. */
		if (t->pid != stack_my_pid || !t->tid)
			continue;
		atomic_fetch_or(p, PEND_CANCEL);
		thread_wake(t);
	}
	gz_leave();
	return r;
}
TWIN(pthread_cancel)

void sig_after_fork_child(void)
{
	rlock_init(&act_lock);
}

void sig_init(void)
{
	/* What was installed before us stays as it is: the kernel's view is the truth until the program changes it. */
}

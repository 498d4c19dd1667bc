/* plugin.c - libgazelle_packetdrill_stack.so, which shim.c loads: the stack for the public packetdrill tool (--so_filename, see doc/packetdrill.md).
 *
 * The tool calls the stack through the table of interface.h; the stack runs in the tool's process on an in-memory device, in virtual time.
 * Time passes when the tool sleeps, when it waits for a packet, and a little each time it reads the clock, because it spins on the clock
 * before each event. Calls that block come from a second thread of the tool: whoever lets time pass tries them again at each event, and lets
 * the thread take its time of return before more time passes. One lock around everything; thread_self_tls is lent to whoever holds it.
 *
 * Settings: the sysctls of the tool's network namespace (net.ipv4.tcp_*), read whenever a socket is made, so that a script's own sysctl
 * commands work as they do for the kernel. TCP_INFO in a script is asked of libc, not of the table: descriptors are real ones (of
 * /dev/null), and the program's pointer to getsockopt() is bent to ours.
 */
#include "interface.h"
#include "../runner/gzsys.h"
#include "../runner/sut.h"
#include "testenv.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define READ_COSTS_US 1		/* reading the clock takes this long */
#define NO_PACKET_US 400000000u /* a packet that has not come by then never does */
#define RETURN_WAIT_MS 200	/* real time for a blocked thread to come back */
#define WAITERS 8

struct waiter {
	bool (*try)(struct waiter *w); /* true: over, result set */
	pthread_t thread;
	bool used, over;
	int64_t result;
	uint64_t since_us;
	/* of the call */
	int fd, fd2, flags, ms;
	void *p;
	size_t n;
	unsigned uflags;
	const struct sockaddr *sa;
	socklen_t sa_len;
	struct msghdr *msg;
	uint64_t progress, total;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t woken;	 /* a waiter is over */
	pthread_cond_t returned; /* ... and has read the clock */
	struct waiter *waiter[WAITERS];
	pthread_t coming;	 /* a thread whose call is over and that has not read the clock yet */
	bool is_coming, open, cut;
	bool back; /* a blocked call's thread has read the clock and is about to tell the tool, under the tool's own lock */
} pl = { .lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER, .returned = PTHREAD_COND_INITIALIZER };

static void enter(void)
{
	pthread_mutex_lock(&pl.lock);
	thread_self_tls = tenv.self;
}

static void leave(void)
{
	thread_self_tls = NULL;
	pthread_mutex_unlock(&pl.lock);
}

static int64_t ret(int64_t r)
{
	if (r >= 0)
		return r;
	errno = (int)-r;
	return -1;
}

/* --- time --- */

/* Lets the thread of a call that has just ended take its time of return. */
static void let_return(struct waiter *w)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += RETURN_WAIT_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pl.coming = w->thread;
	pl.is_coming = true;
	pthread_cond_broadcast(&pl.woken);
	thread_self_tls = NULL;
	while (pl.is_coming && pthread_cond_timedwait(&pl.returned, &pl.lock, &until) == 0)
		;
	pl.is_coming = false;
	thread_self_tls = tenv.self;
}

/* After anything has happened: does a blocked call end? */
static void try_waiters(void)
{
	for (unsigned i = 0; i < WAITERS; i++) {
		struct waiter *w = pl.waiter[i];

		if (!w || w->over || !w->try(w))
			continue;
		w->over = true;
		testenv_settle();
		let_return(w);
	}
}

static void advance(uint64_t until)
{
	for (;;) {
		uint64_t next;

		testenv_settle();
		try_waiters();
		if (vclock_us >= until)
			return;
		next = MAX(testenv_next_us(), vclock_us + 1);
		for (unsigned i = 0; i < WAITERS; i++) { /* time limits of poll and the like */
			struct waiter *w = pl.waiter[i];

			if (w && !w->over && w->ms > 0 && w->since_us + (uint64_t)w->ms * 1000 > vclock_us)
				next = MIN(next, w->since_us + (uint64_t)w->ms * 1000);
		}
		vclock_us = MIN(next, until);
	}
}

/* --- calls that may block --- */

/* Runs w until it is over; lock held. may_block: else the first try counts. */
static int64_t block_on(struct waiter *w)
{
	unsigned at = 0;

	w->thread = pthread_self();
	w->since_us = vclock_us;
	if (w->try(w) || (testenv_settle(), w->try(w))) {
		testenv_settle();
		return w->result;
	}
	while (at < WAITERS && pl.waiter[at])
		at++;
	if (at == WAITERS)
		return -ENOMEM;
	pl.waiter[at] = w;
	while (!w->over) {
		thread_self_tls = NULL;
		pthread_cond_wait(&pl.woken, &pl.lock);
		thread_self_tls = tenv.self;
	}
	pl.waiter[at] = NULL;
	return w->result;
}

static bool waits(struct waiter *w, int64_t r, bool sending)
{
	uint64_t deadline;

	if (r != -EAGAIN)
		return false;
	if (!gzsys_blocks(w->fd, sending, w->flags, w->since_us, &deadline))
		return false;
	if (deadline != UINT64_MAX)
		w->ms = (int)((deadline - w->since_us) / 1000);
	return vclock_us < deadline;
}

static bool over(struct waiter *w, int64_t r)
{
	w->result = r;
	return true;
}

static bool try_accept(struct waiter *w)
{
	int64_t r = gzsys_accept(w->fd, w->p, (socklen_t *)(uintptr_t)w->sa, 0);

	return waits(w, r, false) ? false : over(w, r);
}

static bool try_connect(struct waiter *w)
{
	int64_t r = gzsys_connect(w->fd, w->sa, w->sa_len);
	bool pending = r == -EINPROGRESS || r == -EALREADY;

	if (pending && waits(w, -EAGAIN, true))
		return false;
	return over(w, r == -EALREADY && vclock_us > w->since_us ? -EINPROGRESS : r);
}

/* What of the vectors lies behind the first `skip` bytes; how many pieces. */
static size_t iov_behind(const struct msghdr *msg, uint64_t skip, struct iovec *out, size_t room)
{
	size_t k = 0;

	for (size_t i = 0; i < msg->msg_iovlen && k < room; i++) {
		const struct iovec *v = &msg->msg_iov[i];

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		out[k++] = (struct iovec){ (char *)v->iov_base + skip, v->iov_len - skip };
		skip = 0;
	}
	return k;
}

static bool try_recv(struct waiter *w)
{
	struct msghdr *msg = w->msg, rest = *w->msg;
	struct iovec iov[16];
	uint64_t deadline;
	int64_t r;

	if (w->progress) {
		rest.msg_iovlen = iov_behind(w->msg, w->progress, iov, ARRAY_SIZE(iov));
		rest.msg_iov = iov;
		msg = &rest;
	}
	r = gzsys_recvmsg(w->fd, msg, w->flags);
	/* a blocking receive that wants more than there was */
	if (r > 0 && w->progress + (uint64_t)r < gzsys_recv_target(w->fd, w->flags, (size_t)w->total) &&
	    gzsys_blocks(w->fd, false, w->flags, 0, &deadline)) {
		w->progress += (uint64_t)r;
		return false;
	}
	if (waits(w, r, false))
		return false;
	if (w->progress)
		r = r > 0 ? (int64_t)w->progress + r : (int64_t)w->progress;
	return over(w, r);
}

static bool try_send(struct waiter *w)
{
	struct msghdr msg = *w->msg;
	struct iovec iov[16];
	uint64_t deadline;
	int64_t r;

	if (w->progress) {
		msg.msg_iovlen = iov_behind(w->msg, w->progress, iov, ARRAY_SIZE(iov));
		msg.msg_iov = iov;
		msg.msg_name = NULL;
		msg.msg_namelen = 0;
	}
	r = gzsys_sendmsg(w->fd, &msg, w->progress ? w->flags & ~MSG_FASTOPEN : w->flags);
	if (r > 0 && gzsys_blocks(w->fd, true, w->flags, 0, &deadline) &&
	    (gzsys_is_opening(w->fd, w->progress + (uint64_t)r < w->total) || w->progress + (uint64_t)r < w->total)) {
		w->progress += (uint64_t)r;
		return false;
	}
	if (r == 0 && w->progress && gzsys_is_opening(w->fd, false) && gzsys_blocks(w->fd, true, w->flags, w->since_us, &deadline) && vclock_us < deadline)
		return false;
	if (w->progress && r == -ECONNREFUSED) /* of the handshake that it waited for */
		w->progress = 0;
	if (waits(w, r, true))
		return false;
	if (w->progress)
		r = r > 0 ? (int64_t)w->progress + r : (int64_t)w->progress;
	return over(w, r);
}

static bool timed_out(const struct waiter *w)
{
	return w->ms >= 0 && vclock_us >= w->since_us + (uint64_t)w->ms * 1000;
}

static bool try_poll(struct waiter *w)
{
	int64_t r = gzsys_poll(w->p, w->n);

	return r || timed_out(w) ? over(w, r) : false;
}

static bool try_epoll(struct waiter *w)
{
	int64_t r = gzsys_epoll_wait(w->fd, w->p, (int)w->n);

	return r || timed_out(w) ? over(w, r) : false;
}

static bool try_splice(struct waiter *w)
{
	int64_t r = gzsys_splice(w->fd, NULL, w->fd2, NULL, w->n, w->uflags);

	return r == -EAGAIN && !(w->uflags & 2) && waits(w, r, false) ? false : over(w, r);
}

static int64_t run(struct waiter *w)
{
	int64_t r;

	enter();
	r = block_on(w);
	leave();
	return ret(r);
}

/* --- the table's functions --- */

static int pd_socket(void *u, int domain, int type, int protocol)
{
	int64_t r;

	enter();
	gzsys_sysctls_of_kernel(); /* a script may have changed them */
	r = gzsys_socket(domain, type, protocol);
	leave();
	return (int)ret(r);
}

#define SIMPLE(call)                 \
	int64_t r;                   \
	enter();                     \
	r = (call);                  \
	testenv_settle();            \
	try_waiters();               \
	leave();                     \
	return (int)ret(r)

static int pd_bind(void *u, int fd, const struct sockaddr *sa, socklen_t len) { SIMPLE(gzsys_bind(fd, sa, len)); }
static int pd_listen(void *u, int fd, int backlog) { SIMPLE(gzsys_listen(fd, backlog)); }
static int pd_shutdown(void *u, int fd, int how) { SIMPLE(gzsys_shutdown(fd, how)); }
static int pd_close(void *u, int fd) { SIMPLE(gzsys_close(fd)); }
static int pd_setsockopt(void *u, int fd, int level, int name, const void *val, socklen_t len)
{
	SIMPLE(gzsys_setsockopt(fd, level, name, val, len));
}
static int pd_getsockopt(void *u, int fd, int level, int name, void *val, socklen_t *len)
{
	SIMPLE(gzsys_getsockopt(fd, level, name, val, len));
}
static int pd_epoll_create(void *u, int size) { SIMPLE(size > 0 ? gzsys_epoll_create(0) : -EINVAL); }
static int pd_epoll_ctl(void *u, int ep, int op, int fd, struct epoll_event *ev) { SIMPLE(gzsys_epoll_ctl(ep, op, fd, ev)); }
static int pd_pipe(void *u, int fds[2]) { SIMPLE(gzsys_pipe(fds, 0)); }

static int pd_accept(void *u, int fd, struct sockaddr *sa, socklen_t *len)
{
	struct waiter w = { .try = try_accept, .fd = fd, .p = sa, .sa = (const struct sockaddr *)len, .ms = -1 };

	return (int)run(&w);
}

static int pd_connect(void *u, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct waiter w = { .try = try_connect, .fd = fd, .sa = sa, .sa_len = len, .ms = -1 };

	return (int)run(&w);
}

static ssize_t pd_recvmsg(void *u, int fd, struct msghdr *msg, int flags)
{
	struct waiter w = { .try = try_recv, .fd = fd, .msg = msg, .flags = flags, .ms = -1 };

	for (size_t i = 0; i < msg->msg_iovlen; i++)
		w.total += msg->msg_iov[i].iov_len;
	return run(&w);
}

static ssize_t pd_recvfrom(void *u, int fd, void *buf, size_t n, int flags, struct sockaddr *sa, socklen_t *len)
{
	struct iovec iov = { buf, n };
	struct msghdr msg = { .msg_name = sa, .msg_namelen = sa && len ? *len : 0, .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r = pd_recvmsg(u, fd, &msg, flags);

	if (r >= 0 && len)
		*len = msg.msg_namelen;
	return r;
}

static ssize_t pd_readv(void *u, int fd, const struct iovec *iov, int count)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };

	return pd_recvmsg(u, fd, &msg, 0);
}

static ssize_t pd_read(void *u, int fd, void *buf, size_t n) { return pd_recvfrom(u, fd, buf, n, 0, NULL, NULL); }
static ssize_t pd_recv(void *u, int fd, void *buf, size_t n, int flags) { return pd_recvfrom(u, fd, buf, n, flags, NULL, NULL); }

static ssize_t pd_sendmsg(void *u, int fd, const struct msghdr *msg, int flags)
{
	struct waiter w = { .try = try_send, .fd = fd, .msg = (struct msghdr *)(uintptr_t)msg, .flags = flags, .ms = -1 };

	for (size_t i = 0; i < msg->msg_iovlen; i++)
		w.total += msg->msg_iov[i].iov_len;
	return run(&w);
}

static ssize_t pd_sendto(void *u, int fd, const void *buf, size_t n, int flags, const struct sockaddr *sa, socklen_t len)
{
	struct iovec iov = { (void *)(uintptr_t)buf, n };
	struct msghdr msg = { .msg_name = (void *)(uintptr_t)sa, .msg_namelen = sa ? len : 0, .msg_iov = &iov, .msg_iovlen = 1 };

	return pd_sendmsg(u, fd, &msg, flags);
}

static ssize_t pd_writev(void *u, int fd, const struct iovec *iov, int count)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };

	return pd_sendmsg(u, fd, &msg, 0);
}

static ssize_t pd_write(void *u, int fd, const void *buf, size_t n) { return pd_sendto(u, fd, buf, n, 0, NULL, 0); }
static ssize_t pd_send(void *u, int fd, const void *buf, size_t n, int flags) { return pd_sendto(u, fd, buf, n, flags, NULL, 0); }

static int pd_fcntl(void *u, int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	SIMPLE(gzsys_fcntl(fd, cmd, (int)arg));
}

static int pd_ioctl(void *u, int fd, unsigned long req, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	SIMPLE(gzsys_ioctl(fd, req, arg));
}

static int pd_poll(void *u, struct pollfd *fds, nfds_t n, int timeout_ms)
{
	struct waiter w = { .try = try_poll, .p = fds, .n = n, .ms = timeout_ms };

	return (int)run(&w);
}

static int pd_epoll_wait(void *u, int ep, struct epoll_event *ev, int max, int timeout_ms)
{
	struct waiter w = { .try = try_epoll, .fd = ep, .p = ev, .n = (size_t)max, .ms = timeout_ms };

	return (int)run(&w);
}

static int pd_splice(void *u, int in, loff_t *in_off, int out, loff_t *out_off, size_t n, unsigned flags)
{
	struct waiter w = { .try = try_splice, .fd = in, .fd2 = out, .n = n, .uflags = flags, .ms = -1 };

	/* the tool passes the address of the number in its script; NULL there is 0 */
	if ((in_off && *in_off) || (out_off && *out_off))
		return (int)ret(-ESPIPE);
	return (int)run(&w);
}

/* --- packets --- */

static int pd_netdev_send(void *u, const void *buf, size_t count)
{
	struct frame *f;

	if (count < 20 || count > 65535)
		return -1;
	enter();
	f = frame_alloc(SEG_ETH_BYTES + (uint32_t)count);
	memcpy(f->data, tenv.host[0].dev.nd.mac, 6);
	memcpy(f->data + 6, tenv.host[0].dev.peer_mac, 6);
	f->data[12] = 8;
	memcpy(f->data + SEG_ETH_BYTES, buf, count);
	f->len = SEG_ETH_BYTES + (uint32_t)count;
	memdev_push(&tenv.host[0].dev, f);
	testenv_settle();
	try_waiters();
	leave();
	return 0;
}

/* Adds n to a number of so many bytes in network order. */
static void add_be(uint8_t *p, unsigned bytes, uint32_t n)
{
	for (uint64_t sum = n; bytes--; sum >>= 8) {
		sum += p[bytes];
		p[bytes] = (uint8_t)sum;
	}
}

/* The next packet: the frame as it left the stack, which is how a kernel's leave for the tool's tun device; cut on request. NULL: there is none. */
static struct frame *next_segment(void)
{
	static struct frame *whole;
	static uint32_t done; /* payload bytes of it that have gone */
	struct frame *f;
	uint32_t hdr, len, n;
	uint8_t *ip, *tcp;

	if (!whole) {
		whole = memdev_pop(&tenv.host[0].dev);
		done = 0;
	}
	if (!whole)
		return NULL;
	ip = whole->data + SEG_ETH_BYTES;
	hdr = (ip[0] & 15u) * 4 + (ip[9] == IPPROTO_TCP ? (ip[(ip[0] & 15u) * 4 + 12] >> 4) * 4u : 0);
	len = whole->len - SEG_ETH_BYTES - hdr;
	if (!pl.cut || !whole->gso_size || len <= whole->gso_size) {
		f = whole;
		whole = NULL;
		return f;
	}
	n = MIN(len - done, (uint32_t)whole->gso_size);
	f = frame_alloc(SEG_ETH_BYTES + hdr + n);
	f->len = SEG_ETH_BYTES + hdr + n;
	f->time_us = whole->time_us;
	memcpy(f->data, whole->data, SEG_ETH_BYTES + hdr);
	memcpy(f->data + SEG_ETH_BYTES + hdr, ip + hdr + done, n);
	ip = f->data + SEG_ETH_BYTES;
	tcp = ip + (ip[0] & 15u) * 4;
	ip[2] = (uint8_t)((hdr + n) >> 8);
	ip[3] = (uint8_t)(hdr + n);
	add_be(ip + 4, 2, done / whole->gso_size);
	add_be(tcp + 4, 4, done);
	if (done)
		tcp[13] &= (uint8_t)~TH_CWR;
	done += n;
	if (done < len) {
		tcp[13] &= (uint8_t)~(TH_FIN | TH_PSH);
	} else {
		free(whole);
		whole = NULL;
	}
	frame_fix_csums(f->data, f->len);
	return f;
}

static int pd_netdev_receive(void *u, void *buf, size_t *count, long long *time_us)
{
	static const uint8_t nonsense[20] = { 0x4f };
	uint64_t give_up;
	struct frame *f;
	size_t n;

	enter();
	give_up = vclock_us + NO_PACKET_US;
	for (;;) {
		uint64_t next;

		testenv_settle();
		try_waiters();
		f = next_segment();
		if (f)
			break;
		next = testenv_next_us();
		if (next > give_up) {
			/* The tool would ask for ever. What it cannot parse ends the script, which is what should happen. */
			fprintf(stderr, "libgazelle_packetdrill: the stack has nothing to send\n");
			n = MIN(*count, sizeof(nonsense));
			memcpy(buf, nonsense, n);
			*count = n;
			*time_us = (long long)vclock_us;
			leave();
			return 0;
		}
		advance(MAX(next, vclock_us + 1));
	}
	n = MIN(*count, (size_t)(f->len - SEG_ETH_BYTES));
	memcpy(buf, f->data + SEG_ETH_BYTES, n);
	*count = n;
	*time_us = (long long)f->time_us;
	free(f);
	leave();
	return 0;
}

/* --- the clock --- */

static int pd_usleep(void *u, useconds_t us)
{
	bool back;

	enter();
	back = pl.back && !pthread_equal(pl.coming, pthread_self());
	if (back)
		pl.back = false;
	advance(vclock_us + us);
	leave();
	/* The tool sleeps without its lock, but no time passes here: the other thread would not get it before the script goes on. */
	if (back)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	return 0;
}

static int pd_gettimeofday(void *u, struct timeval *tv, struct timezone *tz)
{
	enter();
	if (pl.is_coming && pthread_equal(pl.coming, pthread_self())) {
		/* back from a call: the time at which it ended */
		pl.is_coming = false;
		pl.back = true;
		pthread_cond_broadcast(&pl.returned);
	} else if (!pl.is_coming) {
		advance(vclock_us + READ_COSTS_US);
	}
	tv->tv_sec = (time_t)(vclock_us / 1000000);
	tv->tv_usec = (suseconds_t)(vclock_us % 1000000);
	leave();
	return 0;
}

/* --- TCP_INFO by libc --- */

static int info_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	bool ours;

	if (pl.open) {
		enter();
		ours = gzsys_is_open(fd);
		leave();
		if (ours)
			return pd_getsockopt(NULL, fd, level, name, val, len);
	}
	return (int)syscall(SYS_getsockopt, fd, level, name, val, len);
}

/* Writes our address over the main program's pointer to getsockopt(): its jump slot, or its GOT entry. */
static void bend_slot(uintptr_t base, const ElfW(Rela) *rela, size_t n, const ElfW(Sym) *sym, const char *str)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < n; i++) {
		const char *name = str + sym[ELF64_R_SYM(rela[i].r_info)].st_name;
		uintptr_t slot = base + rela[i].r_offset;

		if (strcmp(name, "getsockopt"))
			continue;
		if (mprotect((void *)(slot & ~(page - 1)), page, PROT_READ | PROT_WRITE) == 0)
			*(void **)slot = (void *)(uintptr_t)info_getsockopt;
	}
}

static int bend_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	const ElfW(Dyn) *dyn = NULL;
	const ElfW(Sym) *sym = NULL;
	const ElfW(Rela) *plt = NULL, *rela = NULL;
	const char *str = NULL;
	size_t plt_bytes = 0, rela_bytes = 0;

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dyn = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
		switch (dyn->d_tag) {
		case DT_SYMTAB:
			sym = (const void *)dyn->d_un.d_ptr;
			break;
		case DT_STRTAB:
			str = (const void *)dyn->d_un.d_ptr;
			break;
		case DT_JMPREL:
			plt = (const void *)dyn->d_un.d_ptr;
			break;
		case DT_PLTRELSZ:
			plt_bytes = dyn->d_un.d_val;
			break;
		case DT_RELA:
			rela = (const void *)dyn->d_un.d_ptr;
			break;
		case DT_RELASZ:
			rela_bytes = dyn->d_un.d_val;
			break;
		default:
			break;
		}
	}
	if (sym && str) {
		if (plt)
			bend_slot(info->dlpi_addr, plt, plt_bytes / sizeof(*plt), sym, str);
		if (rela)
			bend_slot(info->dlpi_addr, rela, rela_bytes / sizeof(*rela), sym, str);
	}
	return 1; /* the first object is the program */
}

/* --- start and end --- */

static int fd_alloc(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void fd_release(int fd)
{
	close(fd);
}

static void pd_free(void *u)
{
	enter();
	gzsys_close_all();
	testenv_settle();
	pl.open = false;
	testenv_abandon();
	leave();
}

/* flags: "mtu=1400", "plain" (the stack knows no segmentation offload), "cut" (frames are cut on their way to the tool), separated by commas. */
EXPORT void packetdrill_interface_init(const char *flags, struct packetdrill_interface *ifc)
{
	struct memdev_conf conf = { .tx_csum = true, .tso_max_bytes = 65160, .tso_carry = true, .rx_csum = true };
	const char *mtu = flags ? strstr(flags, "mtu=") : NULL;
	struct timespec now;

	pl.cut = flags && strstr(flags, "cut");
	if (flags && strstr(flags, "plain"))
		conf.tso_max_bytes = 0;
	if (mtu)
		conf.mtu = (uint32_t)strtoul(mtu + 4, NULL, 10);
	clock_gettime(CLOCK_REALTIME, &now);
	vclock_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	pthread_mutex_lock(&pl.lock);
	testenv_open(&(struct testenv_conf){ .dev = conf, .addr_be = htonl(SUT_LOCAL_IP), .mask_be = htonl(0xffff0000u),
					     .gateway_be = htonl(0xc0a80002u) });
	gzsys_open(3, fd_alloc, fd_release);
	gzsys_sysctls_reset();
	gzsys_sysctls_of_kernel();
	pl.open = true;
	pthread_mutex_unlock(&pl.lock);
	dl_iterate_phdr(bend_program, NULL);
	*ifc = (struct packetdrill_interface){
		NULL, pd_free, pd_socket, pd_bind, pd_listen, pd_accept, pd_connect, pd_read, pd_readv, pd_recv, pd_recvfrom, pd_recvmsg, pd_write,
		pd_writev, pd_send, pd_sendto, pd_sendmsg, pd_fcntl, pd_ioctl, pd_close, pd_shutdown, pd_getsockopt, pd_setsockopt, pd_poll,
		pd_netdev_send, pd_netdev_receive, pd_usleep, pd_gettimeofday, pd_epoll_create, pd_epoll_ctl, pd_epoll_wait, pd_pipe, pd_splice
	};
}

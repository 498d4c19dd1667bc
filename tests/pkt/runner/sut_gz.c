/* sut_gz.c - the stack as system under test: in process, in virtual time, on an in-memory device without offloads or with all of them. */
#include "gzsys.h"
#include "info.h"
#include "sut.h"
#include "testenv.h"

#include <stdlib.h>
#include <sys/ioctl.h>

static struct {
	uint64_t deadline; /* of the blocking call, by its socket's SO_RCVTIMEO or SO_SNDTIMEO */
	uint64_t since_us;
} wait;

static int open_with(const struct memdev_conf *conf)
{
	testenv_open(&(struct testenv_conf){ .dev = *conf, .addr_be = htonl(SUT_LOCAL_IP), .mask_be = htonl(0xffff0000u),
					     .gateway_be = htonl(0xc0a80002u) });
	gzsys_open(3, NULL, NULL);
	gzsys_sysctls_reset();
	return 0;
}

static int plain_open(const struct script *sc, char *why, size_t n)
{
	return open_with(&(struct memdev_conf){ .mtu = (uint32_t)sc->mtu });
}

static int offload_open(const struct script *sc, char *why, size_t n)
{
	return open_with(&(struct memdev_conf){ .mtu = (uint32_t)sc->mtu, .tx_csum = true, .tso_max_bytes = 61440, .rx_csum = true,
						.rx_merge = true, .rx_seg_bytes = 200, .tx_hold = 3 });
}

static int gz_close(bool failed, char *why, size_t n)
{
	unsigned bad = tenv.host[0].dev.bad_frames;

	gzsys_close_all();
	testenv_settle();
	testenv_abandon();
	if (bad) {
		snprintf(why, n, "the stack sent %u frames that break a rule (messages above)", bad);
		return -1;
	}
	if (rte_mempool_in_use_count(testenv_pool(0, 0))) {
		snprintf(why, n, "%u mbufs leaked", rte_mempool_in_use_count(testenv_pool(0, 0)));
		return -1;
	}
	return 0;
}

static uint64_t gz_now(void)
{
	return vclock_us;
}

static void gz_pass(uint64_t until, bool wake_on_frame, void (*tick)(void *arg), void *arg)
{
	for (;;) {
		uint64_t next;

		testenv_settle();
		tick(arg);
		if ((wake_on_frame && tenv.host[0].dev.sent.head) || vclock_us >= until)
			return;
		next = MAX(testenv_next_us(), vclock_us + 1);
		vclock_us = MIN(next, until);
	}
}

static struct frame *gz_pop(void)
{
	return memdev_pop(&tenv.host[0].dev);
}

static void gz_push(struct frame *f, bool more)
{
	memcpy(f->data, tenv.host[0].dev.nd.mac, 6);
	memcpy(f->data + 6, tenv.host[0].dev.peer_mac, 6);
	memdev_push(&tenv.host[0].dev, f);
	if (!more)
		testenv_settle();
}

/* --- calls --- */

static int64_t attempt(struct call *c)
{
	struct msghdr msg = c->msg;
	struct iovec iov[SCRIPT_FIELDS];
	int64_t r;

	switch (c->nr) {
	case CALL_SOCKET:
		return gzsys_socket(c->fd, c->a, c->b);
	case CALL_BIND:
		return gzsys_bind(c->fd, (const struct sockaddr *)&c->sa, c->sa_len);
	case CALL_LISTEN:
		return gzsys_listen(c->fd, c->a);
	case CALL_ACCEPT:
	case CALL_ACCEPT4:
		return gzsys_accept(c->fd, (struct sockaddr *)&c->sa, &c->sa_len, c->a);
	case CALL_CONNECT:
		return gzsys_connect(c->fd, (const struct sockaddr *)&c->sa, c->sa_len);
	case CALL_READ:
	case CALL_READV:
	case CALL_RECV:
	case CALL_RECVFROM:
	case CALL_RECVMSG:
		if (!c->progress)
			return gzsys_recvmsg(c->fd, &c->msg, c->a);
		iov[0] = (struct iovec){ c->buf + c->progress, c->buf_bytes - c->progress };
		msg.msg_iov = iov;
		msg.msg_iovlen = 1;
		return gzsys_recvmsg(c->fd, &msg, c->a);
	case CALL_WRITE:
	case CALL_WRITEV:
	case CALL_SEND:
	case CALL_SENDTO:
	case CALL_SENDMSG:
		if (!c->progress)
			return gzsys_sendmsg(c->fd, &c->msg, c->a);
		iov[0] = (struct iovec){ c->buf + c->progress, c->buf_bytes - c->progress };
		msg.msg_iov = iov;
		msg.msg_iovlen = 1;
		return gzsys_sendmsg(c->fd, &msg, c->a & ~MSG_FASTOPEN);
	case CALL_FCNTL:
		return gzsys_fcntl(c->fd, c->a, c->b);
	case CALL_IOCTL:
		return gzsys_ioctl(c->fd, c->req, c->val.bytes);
	case CALL_CLOSE:
		return gzsys_close(c->fd);
	case CALL_SHUTDOWN:
		return gzsys_shutdown(c->fd, c->a);
	case CALL_GETSOCKOPT:
		return gzsys_getsockopt(c->fd, c->a, c->b, c->val.bytes, &c->val_len);
	case CALL_SETSOCKOPT:
		return gzsys_setsockopt(c->fd, c->a, c->b, c->val.bytes, c->val_len);
	case CALL_POLL:
		return gzsys_poll(c->pfd, c->npfd);
	case CALL_EPOLL_CREATE:
	case CALL_EPOLL_CREATE1:
		return gzsys_epoll_create(0);
	case CALL_EPOLL_CTL:
		return gzsys_epoll_ctl(c->fd, c->a, c->fd2, c->ev);
	case CALL_EPOLL_WAIT:
		return gzsys_epoll_wait(c->fd, c->ev, c->a);
	case CALL_PIPE:
	case CALL_PIPE2:
		return gzsys_pipe(c->pipefd, c->a);
	case CALL_SPLICE:
		return gzsys_splice(c->fd, NULL, c->fd2, NULL, c->count, c->flags);
	case CALL_GETSOCKNAME:
	case CALL_GETPEERNAME:
		r = gzsys_sock(c->fd) ? 0 : -EBADF;
		return r ? r : sock_getname(gzsys_sock(c->fd), (struct sockaddr *)&c->sa, &c->sa_len, c->nr == CALL_GETPEERNAME);
	default:
		return -ENOSYS;
	}
}

/* Would libc's call wait here? `wait` says since when it has. */
static bool waits(const struct call *c, int64_t r)
{
	uint64_t deadline;

	if (c->nr == CALL_POLL || c->nr == CALL_EPOLL_WAIT) {
		int ms = c->nr == CALL_POLL ? c->a : c->b;

		return r == 0 && ms && (ms < 0 || vclock_us < wait.since_us + (uint64_t)ms * 1000);
	}
	if (r != -EAGAIN && !(c->nr == CALL_CONNECT && (r == -EINPROGRESS || r == -EALREADY)))
		return false;
	if (!gzsys_blocks(c->fd, call_sends(c) || c->nr == CALL_CONNECT, c->a, wait.since_us, &deadline))
		return false;
	if (c->nr == CALL_SPLICE && c->flags & 2)
		return false;
	return vclock_us < deadline;
}

/* One try. true: over, with c->result. */
static bool try(struct call *c)
{
	int64_t r = attempt(c);
	uint64_t deadline;

	/* a blocking receive that wants more than there was */
	if (c->nr >= CALL_READ && c->nr <= CALL_RECVMSG && r > 0 &&
	    c->progress + (uint64_t)r < gzsys_recv_target(c->fd, c->a, c->buf_bytes) && gzsys_blocks(c->fd, false, c->a, 0, &deadline)) {
		c->progress += (uint64_t)r;
		return false;
	}
	if (call_sends(c) && r > 0 && gzsys_blocks(c->fd, true, c->a, 0, &deadline) &&
	    (gzsys_is_opening(c->fd, c->progress + (uint64_t)r < c->buf_bytes) || c->progress + (uint64_t)r < c->buf_bytes)) {
		c->progress += (uint64_t)r;
		return false;
	}
	if (call_sends(c) && r == 0 && c->progress && gzsys_is_opening(c->fd, false) && gzsys_blocks(c->fd, true, c->a, wait.since_us, &deadline) &&
	    vclock_us < deadline)
		return false;
	if (c->progress && r == -ECONNREFUSED) /* of the handshake that it waited for */
		c->progress = 0;
	if (waits(c, r))
		return false;
	if (c->progress)
		r = r > 0 ? (int64_t)c->progress + r : (int64_t)c->progress;
	/* a blocking connect() that timed out says what one does that does not block */
	if (c->nr == CALL_CONNECT && r == -EALREADY && vclock_us > wait.since_us)
		r = -EINPROGRESS;
	c->result = r;
	c->done_us = vclock_us;
	return true;
}

static bool gz_start(struct call *c, bool blocking)
{
	bool over;

	(void)blocking;
	wait.since_us = vclock_us;
	over = try(c);
	testenv_settle();
	if (!over)
		over = try(c); /* run-to-completion: the call's own round may have brought what it waits for */
	return over;
}

static bool gz_poll(struct call *c)
{
	if (!try(c))
		return false;
	testenv_settle();
	return true;
}

static bool gz_sysctl(void *arg, const char *name, const char *value, char *why, size_t n)
{
	return gzsys_sysctl(name, value, why, n);
}

static void gz_info(int fd, void *out)
{
	socklen_t len = INFO_BYTES;

	gzsys_getsockopt(fd, IPPROTO_TCP, INFO_OPTION, out, &len);
}

#define COMMON .vouches_sums = true, .close = gz_close, .now_us = gz_now, .pass = gz_pass, .pop = gz_pop, .push = gz_push, \
	.start = gz_start, .poll = gz_poll, .sysctl = gz_sysctl, .info = gz_info
const struct sut sut_plain = { .name = "plain", .open = plain_open, COMMON };
const struct sut sut_offload = { .name = "offload", .open = offload_open, COMMON };

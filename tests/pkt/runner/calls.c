/* calls.c - system calls of scripts: see calls.h. Pure but for memory; called by run.c. */
#include "calls.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define BUF_MAX (64u << 20)

static const char *const names[CALL_COUNT] = {
	"socket", "bind", "listen", "accept", "accept4", "connect", "read", "readv", "recv", "recvfrom", "recvmsg", "write", "writev", "send",
	"sendto", "sendmsg", "fcntl", "ioctl", "close", "shutdown", "getsockopt", "setsockopt", "poll", "epoll_create", "epoll_create1",
	"epoll_ctl", "epoll_wait", "pipe", "pipe2", "splice", "getsockname", "getpeername"
};

static uint8_t pattern(uint64_t off)
{
	return (uint8_t)(off * 31 + (off >> 8) * 7 + 1);
}

void pattern_fill(uint8_t *p, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(off + i);
}

long pattern_differs(const uint8_t *p, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != pattern(off + i))
			return (long)i;
	return -1;
}

static int say(char *why, size_t n, const char *fmt, ...) printf_like(3, 4);
static int say(char *why, size_t n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, n, fmt, ap);
	va_end(ap);
	return -1;
}

void calls_init(struct calls *cs, const struct script *sc)
{
	memset(cs, 0, sizeof(*cs));
	cs->sc = sc;
	cs->info_fd = -1;
	for (int i = 0; i < SCRIPT_FDS; i++)
		cs->fd[i].live = -1;
}

/* --- arguments --- */

static const struct value *arg(const struct event *e, unsigned i)
{
	return i < e->nargs ? e->arg[i] : NULL;
}

static int64_t arg_int(const struct event *e, unsigned i)
{
	const struct value *v = arg(e, i);

	return v && v->kind == VALUE_INT ? v->n : v && v->kind == VALUE_LIST && v->count && v->item[0]->kind == VALUE_INT ? v->item[0]->n : 0;
}

static const struct value *field(const struct value *v, const char *name)
{
	for (unsigned i = 0; v && i < v->count; i++)
		if (!strcmp(v->name[i], name))
			return v->item[i];
	return NULL;
}

/* A number, or [number]. */
static int64_t int_of(const struct value *v, int64_t otherwise)
{
	if (v && v->kind == VALUE_LIST && v->count)
		v = v->item[0];
	return v && v->kind == VALUE_INT ? v->n : otherwise;
}

static int64_t field_int(const struct value *v, const char *name, const char *other)
{
	const struct value *f = field(v, name);

	return int_of(f || !other ? f : field(v, other), 0);
}

/* The word that an epoll event carries, under whichever of its names. */
static uint64_t epoll_data(const struct value *v, int64_t otherwise)
{
	static const char *const members[] = { "fd", "ptr", "u64", "u32" };

	for (unsigned i = 0; i < ARRAY_SIZE(members); i++)
		if (field(v, members[i]))
			return (uint64_t)field_int(v, members[i], NULL);
	return (uint64_t)otherwise;
}

static struct script_fd *fd_of(struct calls *cs, int64_t n)
{
	return n >= 0 && n < SCRIPT_FDS && cs->fd[n].live >= 0 ? &cs->fd[n] : NULL;
}

/* The system's number of a script's descriptor; one that is not open stays a number that is not open there either. */
static int live_fd(struct calls *cs, int64_t n)
{
	struct script_fd *f = fd_of(cs, n);

	return f ? f->live : n < 0 ? (int)n : 1000000;
}

static void address(const struct value *v, struct call *c, uint32_t addr_be, uint16_t port)
{
	c->sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = addr_be };
	c->sa_len = sizeof(c->sa);
	if (v && v->kind == VALUE_STRUCT) {
		const struct value *f = field(v, "sa_family");

		c->sa.sin_family = (sa_family_t)int_of(f ? f : field(v, "sin_family"), AF_INET);
		c->sa.sin_port = (uint16_t)field_int(v, "sin_port", NULL);
		c->sa.sin_addr.s_addr = (uint32_t)field_int(v, "sin_addr", NULL);
	}
}

static void need(struct call *c, size_t n)
{
	c->buf = calloc(1, n ? n : 1);
	if (!c->buf)
		abort();
	c->buf_bytes = n;
}

/* Bytes of one iovec {..., 100} or {"abc", 3}. */
static int64_t iov_len(const struct value *v)
{
	const struct value *len = field(v, "iov_len");

	return len ? int_of(len, 0) : v && v->count ? int_of(v->item[v->count - 1], 0) : 0;
}

/* iovs: a list of iovecs; NULL: one of len bytes. */
static int vectors(struct call *c, const struct value *iovs, int64_t len, char *why, size_t n)
{
	int64_t total = 0, at = 0;
	unsigned count = iovs ? iovs->count : 1;

	for (unsigned i = 0; i < count; i++) {
		int64_t k = iovs ? iov_len(iovs->item[i]) : len;

		if (k < 0 || k > BUF_MAX)
			return say(why, n, "a buffer of %lld bytes", (long long)k);
		c->iov[i].iov_len = (size_t)k;
		total += k;
	}
	need(c, (size_t)total);
	for (unsigned i = 0; i < count; at += (int64_t)c->iov[i++].iov_len)
		c->iov[i].iov_base = c->buf + at;
	c->msg.msg_iov = c->iov;
	c->msg.msg_iovlen = count;
	return 0;
}

static void name_of_msg(struct call *c)
{
	c->msg.msg_name = &c->sa;
	c->msg.msg_namelen = c->sa_len;
}

/* Where connect(fd, ..., ...) goes: the same place each time. */
static uint16_t remote_port(struct calls *cs, struct script_fd *f, const struct value *v)
{
	if (f && f->rport)
		return f->rport;
	if ((v && v->kind == VALUE_STRUCT) || !f)
		return 0;
	if (!f->stream)
		return cs->connect_port(NULL);
	f->rport = cs->connect_port(cs->arg);
	return f->rport;
}

static int prepare_io(struct calls *cs, struct call *c, struct script_fd *f, char *why, size_t n)
{
	const struct event *e = c->e;
	const struct value *m = arg(e, 1), *x;

	switch (c->nr) {
	case CALL_READ:
	case CALL_RECV:
	case CALL_RECVFROM:
	case CALL_WRITE:
	case CALL_SEND:
	case CALL_SENDTO:
		c->a = (int)(c->nr == CALL_READ || c->nr == CALL_WRITE ? 0 : arg_int(e, 3));
		if (vectors(c, NULL, arg_int(e, 2), why, n))
			return -1;
		if (m && m->kind == VALUE_INT && !m->n) { /* read(4, NULL, 1000) */
			free(c->buf);
			c->buf = NULL;
			c->iov[0].iov_base = NULL;
		}
		break;
	case CALL_READV:
	case CALL_WRITEV:
		if (!m || m->kind != VALUE_LIST)
			return say(why, n, "expected [{..., bytes}, ...]");
		if (vectors(c, m, 0, why, n))
			return -1;
		break;
	default:
		x = field(m, "msg_iov");
		if (!m || m->kind != VALUE_STRUCT || !x || x->kind != VALUE_LIST)
			return say(why, n, "expected {..., msg_iov(n)=[{..., bytes}], ...}");
		c->a = (int)arg_int(e, 2);
		if (vectors(c, x, 0, why, n))
			return -1;
		break;
	}
	if (c->nr == CALL_SENDTO || (c->nr == CALL_SENDMSG && field(m, "msg_name"))) {
		x = c->nr == CALL_SENDTO ? arg(e, 4) : field(m, "msg_name");
		/* "..." names the peer where one is needed: a datagram, or a connection that opens with data */
		if ((x && x->kind == VALUE_STRUCT) || c->a & MSG_FASTOPEN || (f && !f->stream)) {
			address(x, c, cs->remote_be, remote_port(cs, f, x));
			name_of_msg(c);
		}
	}
	if (c->nr == CALL_RECVMSG && field(m, "msg_control")) {
		c->msg.msg_control = c->control;
		c->msg.msg_controllen = sizeof(c->control);
	}
	if ((c->nr == CALL_RECVMSG && field(m, "msg_name")) || c->nr == CALL_RECVFROM) {
		c->sa_len = sizeof(c->sa);
		name_of_msg(c);
	}
	if (call_sends(c) && c->buf)
		pattern_fill(c->buf, c->buf_bytes, f && (f->stream || f->pipe) ? f->tx_next : 1);
	return 0;
}

static void prepare_option(struct call *c, const struct value *v, int64_t len)
{
	int32_t n32;

	if (v && v->kind == VALUE_STRUCT && (field(v, "onoff") || field(v, "l_onoff"))) {
		struct linger lg = { .l_onoff = (int)field_int(v, "onoff", "l_onoff"), .l_linger = (int)field_int(v, "linger", "l_linger") };

		memcpy(c->val.bytes, &lg, sizeof(lg));
		c->val_len = sizeof(lg);
	} else if (v && v->kind == VALUE_STRUCT && field(v, "tv_sec")) {
		struct timeval tv = { .tv_sec = field_int(v, "tv_sec", NULL), .tv_usec = field_int(v, "tv_usec", NULL) };

		memcpy(c->val.bytes, &tv, sizeof(tv));
		c->val_len = sizeof(tv);
	} else if (v && (v->kind == VALUE_STRING || (v->kind == VALUE_LIST && v->count && v->item[0]->kind == VALUE_STRING))) {
		const struct value *t = v->kind == VALUE_STRING ? v : v->item[0];

		memcpy(c->val.bytes, t->text, sizeof(t->text));
		c->val_len = (socklen_t)(len > 0 ? MIN(len, (int64_t)sizeof(t->text)) : t->n);
	} else {
		n32 = (int32_t)int_of(v, 0);
		memcpy(c->val.bytes, &n32, sizeof(n32));
		c->val_len = (socklen_t)(len >= 0 && len <= (int64_t)sizeof(c->val) ? len : (int64_t)sizeof(n32));
	}
}

static int prepare_poll(struct calls *cs, struct call *c, char *why, size_t n)
{
	const struct value *v = arg(c->e, 0);

	if (!v || v->kind != VALUE_LIST)
		return say(why, n, "poll() wants [{fd=..., events=..., revents=...}, ...]");
	for (unsigned i = 0; i < v->count; i++) {
		c->pfd[i].fd = live_fd(cs, field_int(v->item[i], "fd", NULL));
		c->pfd[i].events = (short)field_int(v->item[i], "events", NULL);
	}
	c->npfd = v->count;
	c->a = (int)arg_int(c->e, 2);
	return 0;
}

int call_prepare(struct calls *cs, struct call *c, const struct event *e, char *why, size_t n)
{
	struct script_fd *f = fd_of(cs, arg_int(e, 0));
	const struct value *v;

	memset(c, 0, sizeof(*c));
	c->e = e;
	while (c->nr < CALL_COUNT && strcmp(e->call, names[c->nr]))
		c->nr++;
	if (c->nr == CALL_COUNT)
		return say(why, n, "the runner does not know the call %s()", e->call);
	c->fd = live_fd(cs, arg_int(e, 0));
	if (f && f->stream && !f->listener && c->nr != CALL_CLOSE)
		cs->info_fd = (int)(f - cs->fd);
	switch (c->nr) {
	case CALL_SOCKET:
		v = arg(e, 0);
		c->fd = v && v->kind == VALUE_INT ? (int)v->n : AF_INET;
		c->a = (int)arg_int(e, 1);
		c->b = (int)arg_int(e, 2);
		return 0;
	case CALL_BIND:
		address(arg(e, 1), c, cs->local_be, cs->local_port);
		return 0;
	case CALL_CONNECT:
		v = arg(e, 1);
		address(v, c, cs->remote_be, remote_port(cs, f, v));
		return 0;
	case CALL_ACCEPT4:
		c->a = (int)arg_int(e, 3);
		c->sa_len = sizeof(c->sa);
		return 0;
	case CALL_ACCEPT:
	case CALL_GETSOCKNAME:
	case CALL_GETPEERNAME:
		c->sa_len = sizeof(c->sa);
		return 0;
	case CALL_LISTEN:
	case CALL_SHUTDOWN:
		c->a = (int)arg_int(e, 1);
		return 0;
	case CALL_FCNTL:
		c->a = (int)arg_int(e, 1);
		c->b = (int)arg_int(e, 2);
		return 0;
	case CALL_IOCTL:
		c->req = (unsigned long)arg_int(e, 1);
		*(int *)(void *)c->val.bytes = (int)arg_int(e, 2);
		return 0;
	case CALL_SETSOCKOPT:
		c->a = (int)arg_int(e, 1);
		c->b = (int)arg_int(e, 2);
		prepare_option(c, arg(e, 3), arg(e, 4) ? arg_int(e, 4) : -1);
		return 0;
	case CALL_GETSOCKOPT:
		c->a = (int)arg_int(e, 1);
		c->b = (int)arg_int(e, 2);
		v = arg(e, 4);
		c->val_len = (socklen_t)(v && v->kind != VALUE_ELLIPSIS ? int_of(v, sizeof(int)) : (int64_t)sizeof(int));
		c->val_len = MIN(c->val_len, (socklen_t)sizeof(c->val));
		return 0;
	case CALL_POLL:
		return prepare_poll(cs, c, why, n);
	case CALL_EPOLL_CTL:
		c->a = (int)arg_int(e, 1);
		c->fd2 = live_fd(cs, arg_int(e, 2));
		v = arg(e, 3);
		c->ev[0].events = (uint32_t)field_int(v, "events", NULL);
		c->ev[0].data.u64 = epoll_data(v, arg_int(e, 2));
		return 0;
	case CALL_EPOLL_WAIT:
		c->a = (int)MIN(arg_int(e, 2), (int64_t)ARRAY_SIZE(c->ev));
		c->b = (int)arg_int(e, 3);
		return 0;
	case CALL_PIPE2:
		c->a = (int)arg_int(e, 1);
		return 0;
	case CALL_SPLICE:
		c->fd2 = live_fd(cs, arg_int(e, 2));
		c->count = (size_t)arg_int(e, 4);
		c->flags = (unsigned)arg_int(e, 5);
		return 0;
	default:
		return c->nr >= CALL_READ && c->nr <= CALL_SENDMSG ? prepare_io(cs, c, f, why, n) : 0;
	}
}

void call_free(struct call *c)
{
	free(c->buf);
	c->buf = NULL;
}

/* --- what came out --- */

static int check_data(struct calls *cs, struct call *c, struct script_fd *f, char *why, size_t n)
{
	bool stream = f && (f->stream || f->pipe);
	size_t got = MIN((size_t)c->result, c->buf_bytes);
	long at = (stream && (c->a & MSG_OOB)) || (c->a & (MSG_ERRQUEUE | MSG_TRUNC)) ? -1 :
									pattern_differs(c->buf, got, stream ? f->rx_next : 1);

	if (at >= 0 && !cs->sc->no_data_check)
		return say(why, n, "%s() returned a wrong byte at offset %lld of the stream: 0x%02x, sent was 0x%02x", c->e->call,
			   (long long)(stream ? f->rx_next - 1 : 0) + at, c->buf[at], pattern((stream ? f->rx_next : 1) + (uint64_t)at));
	if (stream && !(c->a & (MSG_PEEK | MSG_OOB)))
		f->rx_next += (uint64_t)c->result;
	return 0;
}

/* {cmsg_level=..., cmsg_type=..., cmsg_data=...} in the order given. */
static int check_control(struct call *c, const struct value *want, char *why, size_t n)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(&c->msg);

	if (!want || want->kind != VALUE_LIST)
		return 0;
	for (unsigned i = 0; i < want->count; i++, h = h ? CMSG_NXTHDR(&c->msg, h) : NULL) {
		const struct value *w = want->item[i], *data = field(w, "cmsg_data");
		int got;

		if (!h)
			return say(why, n, "control message %u is missing", i + 1);
		if (h->cmsg_level != field_int(w, "cmsg_level", NULL) || h->cmsg_type != field_int(w, "cmsg_type", NULL))
			return say(why, n, "control message %u is of level %d type %d", i + 1, h->cmsg_level, h->cmsg_type);
		memcpy(&got, CMSG_DATA(h), sizeof(got));
		if (data && (data->kind == VALUE_INT || data->kind == VALUE_LIST) && got != (int)int_of(data, 0))
			return say(why, n, "control message %u says %d", i + 1, got);
	}
	return h ? say(why, n, "one control message more, of type %d", h->cmsg_type) : 0;
}

static int check_address(const struct call *c, const struct value *v, char *why, size_t n)
{
	char text[INET_ADDRSTRLEN];

	if (!v || v->kind != VALUE_STRUCT)
		return 0;
	if ((field(v, "sin_port") && (uint16_t)field_int(v, "sin_port", NULL) != c->sa.sin_port) ||
	    (field(v, "sin_addr") && (uint32_t)field_int(v, "sin_addr", NULL) != c->sa.sin_addr.s_addr))
		return say(why, n, "%s() gave the address %s:%u", c->e->call, inet_ntop(AF_INET, &c->sa.sin_addr, text, sizeof(text)),
			   ntohs(c->sa.sin_port));
	return 0;
}

static int check_option(const struct call *c, char *why, size_t n)
{
	const struct value *v = arg(c->e, 3), *len = arg(c->e, 4), *first;
	int32_t got;

	memcpy(&got, c->val.bytes, sizeof(got));
	if (v && v->kind == VALUE_STRUCT && (field(v, "onoff") || field(v, "l_onoff"))) {
		struct linger lg;

		memcpy(&lg, c->val.bytes, sizeof(lg));
		if (lg.l_onoff != field_int(v, "onoff", "l_onoff") || lg.l_linger != field_int(v, "linger", "l_linger"))
			return say(why, n, "getsockopt() gave {onoff=%d, linger=%d}", lg.l_onoff, lg.l_linger);
		return 0;
	}
	if (v && v->kind == VALUE_STRUCT && field(v, "tv_sec")) {
		struct timeval tv;

		memcpy(&tv, c->val.bytes, sizeof(tv));
		if (tv.tv_sec != field_int(v, "tv_sec", NULL) || tv.tv_usec != field_int(v, "tv_usec", NULL))
			return say(why, n, "getsockopt() gave {tv_sec=%ld, tv_usec=%ld}", (long)tv.tv_sec, (long)tv.tv_usec);
		return 0;
	}
	first = v && v->kind == VALUE_LIST && v->count ? v->item[0] : v;
	if (first && first->kind == VALUE_STRING && (strncmp((const char *)c->val.bytes, first->text, sizeof(first->text) - 1)))
		return say(why, n, "getsockopt() gave \"%.40s\", expected \"%s\"", (const char *)c->val.bytes, first->text);
	if (first && first->kind == VALUE_INT && v->kind == VALUE_LIST && (c->val_len == 1 ? (uint8_t)got : got) != (int32_t)first->n)
		return say(why, n, "getsockopt() gave %d (%s), expected %lld", got, script_errno_name(got), (long long)first->n);
	if (len && len->kind == VALUE_LIST && len->count && int_of(len, 0) < (int64_t)c->val_len)
		return say(why, n, "getsockopt() gave %u bytes, expected %lld", c->val_len, (long long)int_of(len, 0));
	return 0;
}

static int check_events(struct calls *cs, const struct call *c, char *why, size_t n)
{
	const struct value *v = arg(c->e, c->nr == CALL_POLL ? 0 : 1);

	if (c->nr == CALL_POLL) {
		for (unsigned i = 0; v && i < v->count; i++)
			if (field(v->item[i], "revents") && (uint16_t)c->pfd[i].revents != (uint16_t)field_int(v->item[i], "revents", NULL))
				return say(why, n, "poll() says 0x%x for descriptor %lld, expected 0x%x", (unsigned)(uint16_t)c->pfd[i].revents,
					   (long long)field_int(v->item[i], "fd", NULL), (unsigned)field_int(v->item[i], "revents", NULL));
		return 0;
	}
	for (int64_t i = 0; v && i < c->result; i++) {
		const struct value *w = v->kind == VALUE_LIST ? (i < v->count ? v->item[i] : NULL) : i == 0 ? v : NULL;
		uint64_t data = epoll_data(w, 0);

		if (!w || w->kind != VALUE_STRUCT)
			continue;
		if (c->ev[i].events != (uint32_t)field_int(w, "events", NULL) || c->ev[i].data.u64 != data)
			return say(why, n, "epoll_wait() gave events 0x%x for descriptor %llu, expected 0x%x for %llu", c->ev[i].events,
				   (unsigned long long)c->ev[i].data.u64, (unsigned)field_int(w, "events", NULL), (unsigned long long)data);
	}
	return 0;
}

static int check_result(const struct call *c, char *why, size_t n)
{
	const struct event *e = c->e;
	int64_t res = c->result;
	bool new_fd = c->nr == CALL_SOCKET || c->nr == CALL_ACCEPT || c->nr == CALL_ACCEPT4 || c->nr == CALL_EPOLL_CREATE ||
		      c->nr == CALL_EPOLL_CREATE1;

	if (e->any_result)
		return 0;
	/* the number of a new descriptor is the system's; the script's stands for it */
	if (res >= 0 ? (new_fd ? e->result < 0 : res != e->result) : (e->result != -1 || (e->err && e->err != -res)))
		return say(why, n, "%s() returned %lld%s%s, expected %lld%s%s", e->call, (long long)(res < 0 ? -1 : res), res < 0 ? " " : "",
			   res < 0 ? script_errno_name((int)-res) : "", (long long)e->result, e->err ? " " : "",
			   e->err ? script_errno_name(e->err) : "");
	return 0;
}

static void new_fd(struct calls *cs, const struct call *c, int64_t n, struct script_fd f)
{
	if (n >= 0 && n < SCRIPT_FDS) {
		f.rx_next = f.tx_next = 1;
		f.live = (int)c->result;
		cs->fd[n] = f;
		if (f.stream)
			cs->info_fd = (int)n;
	}
}

int call_check(struct calls *cs, struct call *c, char *why, size_t n)
{
	const struct event *e = c->e;
	struct script_fd *f = fd_of(cs, arg_int(e, 0));
	const struct value *v;

	/* descriptors first: they exist whatever the script thinks of the result */
	if (c->result >= 0) {
		int64_t number = e->any_result ? c->result : e->result;

		switch (c->nr) {
		case CALL_SOCKET:
			new_fd(cs, c, number, (struct script_fd){ .stream = (c->a & 0xf) == SOCK_STREAM });
			break;
		case CALL_ACCEPT:
		case CALL_ACCEPT4:
			new_fd(cs, c, number, (struct script_fd){ .stream = true });
			break;
		case CALL_EPOLL_CREATE:
		case CALL_EPOLL_CREATE1:
			new_fd(cs, c, number, (struct script_fd){ .epoll = true });
			break;
		case CALL_PIPE:
		case CALL_PIPE2:
			v = arg(e, 0);
			for (unsigned i = 0; i < 2 && v && v->kind == VALUE_LIST && v->count == 2; i++) {
				int64_t k = int_of(v->item[i], -1);

				if (k >= 0 && k < SCRIPT_FDS)
					cs->fd[k] = (struct script_fd){ .live = c->pipefd[i], .pipe = true, .rx_next = 1, .tx_next = 1 };
			}
			break;
		case CALL_LISTEN:
			if (f)
				f->listener = true;
			break;
		case CALL_CLOSE:
			if (f)
				f->live = -1;
			break;
		default:
			break;
		}
		if (c->nr == CALL_SPLICE) {
			struct script_fd *out = fd_of(cs, arg_int(e, 2));

			if (f)
				f->rx_next += (uint64_t)c->result;
			if (out)
				out->tx_next += (uint64_t)c->result;
		}
		if (call_sends(c) && f && (f->stream || f->pipe) && !(c->a & MSG_OOB && c->result == 0))
			f->tx_next += (uint64_t)c->result;
	}
	if (check_result(c, why, n))
		return -1;
	if (c->result < 0)
		return 0;
	switch (c->nr) {
	case CALL_READ:
	case CALL_READV:
	case CALL_RECV:
	case CALL_RECVFROM:
	case CALL_RECVMSG:
		if (check_data(cs, c, f, why, n))
			return -1;
		if (c->nr != CALL_RECVMSG)
			return c->nr == CALL_RECVFROM ? check_address(c, arg(e, 4), why, n) : 0;
		v = arg(e, 1);
		if (field(v, "msg_flags") && field(v, "msg_flags")->kind == VALUE_INT && c->msg.msg_flags != field_int(v, "msg_flags", NULL))
			return say(why, n, "recvmsg() gave msg_flags 0x%x, expected 0x%llx", (unsigned)c->msg.msg_flags,
				   (unsigned long long)field_int(v, "msg_flags", NULL));
		return check_control(c, field(v, "msg_control"), why, n) || check_address(c, field(v, "msg_name"), why, n) ? -1 : 0;
	case CALL_ACCEPT:
	case CALL_ACCEPT4:
	case CALL_GETSOCKNAME:
	case CALL_GETPEERNAME:
		return check_address(c, arg(e, 1), why, n);
	case CALL_GETSOCKOPT:
		return check_option(c, why, n);
	case CALL_IOCTL:
		v = arg(e, 2);
		if (v && v->kind == VALUE_LIST && c->req != FIONBIO && *(int *)(void *)c->val.bytes != (int)int_of(v, 0))
			return say(why, n, "ioctl() gave %d, expected %lld", *(int *)(void *)c->val.bytes, (long long)int_of(v, 0));
		return 0;
	case CALL_POLL:
	case CALL_EPOLL_WAIT:
		return check_events(cs, c, why, n);
	default:
		return 0;
	}
}

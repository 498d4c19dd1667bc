/* calls.h - a script's system calls: from text to C arguments, and the judgement of what came out. The system under test makes the call. */
#ifndef GZ_PKT_CALLS_H
#define GZ_PKT_CALLS_H

#include "script.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum call_nr {
	CALL_SOCKET, CALL_BIND, CALL_LISTEN, CALL_ACCEPT, CALL_ACCEPT4, CALL_CONNECT, CALL_READ, CALL_READV, CALL_RECV, CALL_RECVFROM,
	CALL_RECVMSG, CALL_WRITE, CALL_WRITEV, CALL_SEND, CALL_SENDTO, CALL_SENDMSG, CALL_FCNTL, CALL_IOCTL, CALL_CLOSE, CALL_SHUTDOWN,
	CALL_GETSOCKOPT, CALL_SETSOCKOPT, CALL_POLL, CALL_EPOLL_CREATE, CALL_EPOLL_CREATE1, CALL_EPOLL_CTL, CALL_EPOLL_WAIT, CALL_PIPE,
	CALL_PIPE2, CALL_SPLICE, CALL_GETSOCKNAME, CALL_GETPEERNAME, CALL_COUNT
};

/* A call with its arguments as the system takes them, descriptors already the system's own. */
struct call {
	const struct event *e;
	enum call_nr nr;
	int fd, fd2; /* fd2: epoll_ctl's, splice's output */
	int a, b, c; /* plain numbers in the order of the C call */
	struct sockaddr_in sa;
	socklen_t sa_len; /* 0: NULL */
	struct msghdr msg;
	struct iovec iov[SCRIPT_FIELDS];
	unsigned long req; /* ioctl */
	uint8_t *buf;
	size_t buf_bytes;
	uint64_t control[64];
	union {
		uint64_t align;
		uint8_t bytes[1024];
	} val; /* socket option, ioctl argument */
	socklen_t val_len;
	struct pollfd pfd[SCRIPT_FIELDS];
	nfds_t npfd;
	struct epoll_event ev[16];
	int pipefd[2];
	size_t count; /* splice */
	unsigned flags;
	uint64_t progress; /* bytes that a blocking send has got rid of so far */
	/* out */
	int64_t result;	   /* >= 0 or -errno */
	uint64_t done_us;  /* the system's clock when it came back */
};

static inline bool call_sends(const struct call *c)
{
	return c->nr >= CALL_WRITE && c->nr <= CALL_SENDMSG;
}

/* A script's descriptor. */
struct script_fd {
	int live; /* the system's number, -1: not open */
	bool stream, listener, epoll, pipe;
	uint16_t rport; /* connect()s to, 0: has not yet; host order */
	uint64_t rx_next, tx_next; /* stream offset, 1 = first byte */
};

#define SCRIPT_FDS 256

struct calls {
	const struct script *sc;
	struct script_fd fd[SCRIPT_FDS]; /* by the script's number */
	uint32_t local_be, remote_be;
	uint16_t local_port;	/* what bind(3, ..., ...) gets */
	int info_fd;		/* script number of the stream that was used last, for tcp_info; -1 */
	/* the port at remote_be that the next connect() without an address goes to */
	uint16_t (*connect_port)(void *arg);
	void *arg;
};

void calls_init(struct calls *cs, const struct script *sc);
/* Fills c; c->buf is allocated. 0; -1: why says what is wrong with the script. */
int call_prepare(struct calls *cs, struct call *c, const struct event *e, char *why, size_t why_bytes);
/* Judges result and what the call wrote, keeps the descriptors. 0; -1 with why. */
int call_check(struct calls *cs, struct call *c, char *why, size_t why_bytes);
void call_free(struct call *c);

/* The bytes of every stream and datagram: by offset, 1 = first. */
void pattern_fill(uint8_t *p, size_t n, uint64_t off);
/* First index at which p differs from the pattern, or -1. */
long pattern_differs(const uint8_t *p, size_t n, uint64_t off);

#endif

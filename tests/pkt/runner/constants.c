/* constants.c - names that packet scripts may use for numbers. */
#include "script.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define C(x) { #x, x }
static const struct {
	const char *name;
	int64_t value;
} constants[] = {
	C(AF_INET), C(PF_INET), C(SOCK_STREAM), C(SOCK_DGRAM), C(SOCK_NONBLOCK), C(SOCK_CLOEXEC), C(IPPROTO_TCP),
	C(IPPROTO_UDP), C(IPPROTO_IP), C(SOL_SOCKET), { "SOL_TCP", IPPROTO_TCP }, C(SOL_IP), C(SO_REUSEADDR), C(SO_REUSEPORT), C(SO_ERROR),
	C(SO_KEEPALIVE), C(SO_LINGER), C(SO_RCVBUF), C(SO_SNDBUF), C(SO_OOBINLINE), C(SO_RCVLOWAT), C(SO_RCVTIMEO),
	C(SO_SNDTIMEO), C(SO_ACCEPTCONN), C(SO_TYPE), C(SO_BROADCAST), C(TCP_NODELAY), C(TCP_CORK), C(TCP_MAXSEG), C(TCP_KEEPIDLE),
	C(TCP_KEEPINTVL), C(TCP_KEEPCNT), C(TCP_SYNCNT), C(TCP_LINGER2), C(TCP_DEFER_ACCEPT), C(TCP_WINDOW_CLAMP),
	C(TCP_QUICKACK), C(TCP_INFO), C(TCP_USER_TIMEOUT), C(TCP_CONGESTION), C(TCP_NOTSENT_LOWAT), C(IP_TOS), C(IP_TTL),
	C(IP_MTU_DISCOVER), C(SHUT_RD), C(SHUT_WR), C(SHUT_RDWR), C(MSG_OOB), C(MSG_PEEK), C(MSG_DONTWAIT), C(MSG_MORE),
	C(MSG_NOSIGNAL), C(MSG_WAITALL), C(MSG_TRUNC), C(MSG_EOR), C(F_GETFL), C(F_SETFL), C(O_RDWR), C(O_NONBLOCK), C(POLLIN), C(POLLOUT),
	C(POLLERR), C(POLLHUP), C(POLLRDHUP), C(POLLPRI), C(POLLRDNORM), C(POLLWRNORM), C(EPOLLIN), C(EPOLLOUT), C(EPOLLERR),
	C(EPOLLHUP), C(EPOLLRDHUP), C(EPOLLPRI), C(EPOLLET), C(EPOLLONESHOT), C(EPOLL_CTL_ADD), C(EPOLL_CTL_MOD),
	C(EPOLL_CTL_DEL), C(SIOCINQ), C(SIOCOUTQ), C(SIOCOUTQNSD), C(SIOCATMARK), C(FIONREAD), C(FIONBIO),
	C(TCPI_OPT_TIMESTAMPS), C(TCPI_OPT_SACK), C(TCPI_OPT_WSCALE), C(TCPI_OPT_ECN), C(TCP_CA_Open), C(TCP_CA_Disorder),
	C(TCP_CA_CWR), C(TCP_CA_Recovery), C(TCP_CA_Loss),
	{ "TCP_ESTABLISHED", 1 }, { "TCP_SYN_SENT", 2 }, { "TCP_SYN_RECV", 3 }, { "TCP_FIN_WAIT1", 4 },
	{ "TCP_FIN_WAIT2", 5 }, { "TCP_TIME_WAIT", 6 }, { "TCP_CLOSE", 7 }, { "TCP_CLOSE_WAIT", 8 },
	{ "TCP_LAST_ACK", 9 }, { "TCP_LISTEN", 10 }, { "TCP_CLOSING", 11 },
};
static const struct {
	const char *name;
	int value;
} errnos[] = {
	C(EPERM), C(EINTR), C(EIO), C(EBADF), C(EAGAIN), C(EWOULDBLOCK), C(ENOMEM), C(EACCES), C(EFAULT), C(EINVAL), C(EMFILE),
	C(EPIPE), C(ENOTSOCK), C(EDESTADDRREQ), C(EMSGSIZE), C(EPROTOTYPE), C(ENOPROTOOPT), C(EPROTONOSUPPORT), C(EOPNOTSUPP),
	C(EAFNOSUPPORT), C(EADDRINUSE), C(EADDRNOTAVAIL), C(ENETDOWN), C(ENETUNREACH), C(ECONNABORTED), C(ECONNRESET),
	C(ENOBUFS), C(EISCONN), C(ENOTCONN), C(ETIMEDOUT), C(ECONNREFUSED), C(EHOSTUNREACH), C(EALREADY), C(EINPROGRESS), C(EPROTO),
	C(EDOM), C(ERANGE), C(ENOSPC),
};
#undef C

bool script_constant(const char *name, size_t len, int64_t *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(constants); i++)
		if (strlen(constants[i].name) == len && !memcmp(constants[i].name, name, len)) {
			*out = constants[i].value;
			return true;
		}
	for (size_t i = 0; i < ARRAY_SIZE(errnos); i++)
		if (strlen(errnos[i].name) == len && !memcmp(errnos[i].name, name, len)) {
			*out = errnos[i].value;
			return true;
		}
	return false;
}

const char *script_errno_name(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(errnos); i++)
		if (errnos[i].value == err)
			return errnos[i].name;
	return "an unnamed errno";
}

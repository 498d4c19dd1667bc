/* t_flags.c - MSG_* flags, control data, out-of-band data. */
#include "t.h"

#include <linux/errqueue.h>

int main(void)
{
	struct iovec iov;
	struct msghdr m;
	char buf[256], ctl[256];
	int p[2], one = 1, v;
	pid_t pid;

	t_watchdog(60);
	SECTION("peek");
	t_pair(p);
	MUST(write(p[0], "abcdef", 6));
	t_wait(p[1], POLLIN);
	R("peek", recv(p[1], buf, 3, MSG_PEEK));
	R("peek more", recv(p[1], buf, 100, MSG_PEEK));
	R("take 2", recv(p[1], buf, 2, 0));
	SAY("%.2s\n", buf);
	R("peek rest", recv(p[1], buf, 100, MSG_PEEK));
	SAY("%.4s\n", buf);
	R("take rest", recv(p[1], buf, 100, 0));

	SECTION("waitall");
	pid = fork();
	if (!pid) {
		for (int i = 0; i < 4; i++) {
			t_ms(30);
			(void)!write(p[0], "12345", 5);
		}
		_exit(0);
	}
	R("20 bytes", recv(p[1], buf, 20, MSG_WAITALL));
	waitpid(pid, NULL, 0);
	MUST(write(p[0], "xyz", 3));
	shutdown(p[0], SHUT_WR);
	R("cut by eof", recv(p[1], buf, 20, MSG_WAITALL));
	R("then", recv(p[1], buf, 20, MSG_WAITALL));
	close(p[0]);
	close(p[1]);

	SECTION("trunc on a stream discards");
	t_pair(p);
	MUST(write(p[0], "0123456789", 10));
	t_wait(p[1], POLLIN);
	memset(buf, '-', 16);
	R("trunc 4", recv(p[1], buf, 4, MSG_TRUNC));
	SAY("%.4s\n", buf);
	R("rest", recv(p[1], buf, 16, 0));
	SAY("%.6s\n", buf);

	SECTION("recvmsg");
	MUST(write(p[0], "hello", 5));
	t_wait(p[1], POLLIN);
	iov = (struct iovec){ buf, sizeof(buf) };
	m = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl), .msg_flags = 0x7777 };
	R("recvmsg", recvmsg(p[1], &m, 0));
	SAY("flags %x controllen %zu namelen %u\n", (unsigned)m.msg_flags, (size_t)m.msg_controllen, m.msg_namelen);
	{
		struct sockaddr_in sa;
		socklen_t len = sizeof(sa);

		MUST(write(p[0], "hello", 5));
		R("recvfrom on a stream", recvfrom(p[1], buf, sizeof(buf), 0, (struct sockaddr *)&sa, &len));
		SAY("len %u\n", len);
	}
	iov = (struct iovec){ buf, sizeof(buf) };
	m = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl) };
	R("errqueue empty", recvmsg(p[1], &m, MSG_ERRQUEUE | MSG_DONTWAIT));
	R("recv oob none", recv(p[1], buf, 1, MSG_OOB));
	R("sendto with address on a stream", sendto(p[0], "x", 1, 0, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }, 16));
	t_wait(p[1], POLLIN);
	R("take", recv(p[1], buf, 16, 0));

	SECTION("more");
	R("more", send(p[0], "ab", 2, MSG_MORE));
	R("nothing yet", recv(p[1], buf, 16, MSG_DONTWAIT));
	R("push", send(p[0], "cd", 2, 0));
	t_ms(30);
	R("all", recv(p[1], buf, 16, 0));
	R("cork", setsockopt(p[0], IPPROTO_TCP, TCP_CORK, &one, sizeof(one)));
	R("corked", write(p[0], "ef", 2));
	R("nothing yet", recv(p[1], buf, 16, MSG_DONTWAIT));
	v = 0;
	R("uncork", setsockopt(p[0], IPPROTO_TCP, TCP_CORK, &v, sizeof(v)));
	t_ms(30);
	R("all", recv(p[1], buf, 16, 0));
	close(p[0]);
	close(p[1]);

	SECTION("nosignal");
	t_pair(p);
	close(p[1]);
	t_wait(p[0], POLLRDHUP);
	R("first", send(p[0], "x", 1, MSG_NOSIGNAL));
	t_wait(p[0], POLLERR);
	t_ms(20);
	R("second", send(p[0], "x", 1, MSG_NOSIGNAL));
	R("third", send(p[0], "x", 1, MSG_NOSIGNAL));
	close(p[0]);

	SECTION("oob inline");
	t_pair(p);
	R("oobinline", setsockopt(p[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)));
	MUST(write(p[0], "ab", 2));
	R("send oob", send(p[0], "!", 1, MSG_OOB));
	t_ms(50);
	R("recv oob when inline", recv(p[1], buf, 1, MSG_OOB));
	R("first part", recv(p[1], buf, 16, 0));
	R("atmark ioctl", ioctl(p[1], SIOCATMARK, &v));
	SAY("atmark %d\n", v);
	R("urgent byte", recv(p[1], buf, 16, 0));
	SAY("%c\n", buf[0]);
	close(p[0]);
	close(p[1]);
	return 0;
}

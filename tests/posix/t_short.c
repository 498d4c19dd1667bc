/* t_short.c - full send buffers, short writes and reads, data integrity through them. */
#include "t.h"

#define TOTAL (8 << 20)

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void *reader(void *arg)
{
	int fd = *(int *)arg;
	static uint8_t buf[70000];
	size_t at = 0, bad = 0;
	ssize_t n;

	while ((n = recv(fd, buf, 1 + at % sizeof(buf), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			bad += buf[i] != pattern(at++);
	SAY("read %zu bad %zu end %zd\n", at, bad, n);
	return NULL;
}

int main(void)
{
	static uint8_t data[TOTAL];
	struct iovec iov[64];
	size_t at, spins, full;
	uint64_t t0;
	pthread_t th;
	ssize_t n;
	int p[2];

	t_watchdog(100);
	for (size_t i = 0; i < TOTAL; i++)
		data[i] = pattern(i);

	SECTION("nonblocking writev with short writes");
	t_pair(p);
	t_nonblock(p[0], true);
	at = spins = full = 0;
	while (at < TOTAL) {
		size_t k = 0, off = at;

		/* uneven pieces, an empty one among them */
		for (; k < 64 && off < TOTAL; k++) {
			size_t len = k == 5 ? 0 : 1 + (off * 13) % 9000;

			if (len > TOTAL - off)
				len = TOTAL - off;
			iov[k] = (struct iovec){ data + off, len };
			off += len;
		}
		n = writev(p[0], iov, (int)k);
		if (n < 0 && errno == EAGAIN) {
			struct pollfd pf = { .fd = p[0], .events = POLLOUT };

			/* nobody reads before the buffer is full, so that it is on any machine */
			if (full++ == 0)
				pthread_create(&th, NULL, reader, &p[1]);
			if (poll(&pf, 1, 10000) != 1)
				break;
			continue;
		}
		if (n < 0)
			break;
		at += (size_t)n;
		spins++;
	}
	SAY("wrote %zu, buffer was %s full\n", at, full ? "sometimes" : "never");
	if (!full)
		pthread_create(&th, NULL, reader, &p[1]);
	shutdown(p[0], SHUT_WR);
	pthread_join(th, NULL);
	close(p[0]);
	close(p[1]);

	SECTION("blocking write of everything at once");
	t_pair(p);
	pthread_create(&th, NULL, reader, &p[1]);
	R("write", write(p[0], data, TOTAL));
	shutdown(p[0], SHUT_WR);
	pthread_join(th, NULL);
	close(p[0]);
	close(p[1]);

	SECTION("nobody reads");
	t_pair(p);
	t_nonblock(p[0], true);
	for (at = 0; (n = write(p[0], data, 65536)) > 0; at += (size_t)n)
		;
	SAY("stopped with %s after %s\n", t_err(errno), at > 65536 ? "some" : "little");
	t_ms(100);
	while ((n = write(p[0], data, 65536)) > 0)
		;
	R("still", write(p[0], data, 1) > 0 ? 1 : -1);
	t_poll("not writable", p[0], POLLOUT, 0);
	t0 = t_now_ms();
	t_poll("waits", p[0], POLLOUT, 150);
	SAY("waited %s\n", t_now_ms() - t0 >= 140 ? "yes" : "no");
	close(p[0]);
	close(p[1]);
	return 0;
}

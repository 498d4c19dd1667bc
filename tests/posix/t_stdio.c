/* t_stdio.c - stdio over sockets: fdopen, fprintf, fgets, fclose, fileno, dprintf; sendfile and splice. */
#include "t.h"

#include <sys/sendfile.h>

static void streams(void)
{
	char line[64];
	FILE *a, *b;
	int p[2], fd;

	SECTION("fdopen");
	t_pair(p);
	a = fdopen(p[0], "r+");
	b = fdopen(p[1], "r+");
	SAY("streams %d %d\n", a != NULL, b != NULL);
	SAY("fileno %d %d\n", fileno(a) == p[0], fileno(b) == p[1]);
	R("fprintf", fprintf(a, "line %d\nsecond\n", 1));
	R("fflush", fflush(a));
	SAY("got %s", fgets(line, sizeof(line), b));
	SAY("got %s", fgets(line, sizeof(line), b));
	R("fputs", fputs("reply\n", b) >= 0 ? 0 : -1);
	R("fflush", fflush(b));
	SAY("got %s", fgets(line, sizeof(line), a));
	fd = p[0];
	R("fclose", fclose(a));
	R("number closed", fcntl(fd, F_GETFD));
	SAY("eof %d\n", fgets(line, sizeof(line), b) == NULL);
	SAY("feof %d ferror %d\n", !!feof(b), !!ferror(b));
	R("fclose", fclose(b));
	SAY("closed fd: %d %s\n", fdopen(fd, "r") == NULL, t_err(errno));
	SECTION("dprintf");
	t_pair(p);
	R("dprintf", dprintf(p[0], "%s-%d", "text", 5));
	R("read", read(p[1], line, sizeof(line)));
	SAY("bad mode: %d %s\n", fdopen(p[0], "q") == NULL, t_err(errno));
	close(p[0]);
	close(p[1]);
}

static void files(void)
{
	char path[256], buf[4096], *data;
	size_t total = 0, bad = 0;
	int p[2], pp[2], fd;
	off_t off = 1000;
	ssize_t n;

	SECTION("sendfile");
	snprintf(path, sizeof(path), "%s/sendfile-%d", getenv("GZT_TMP") ? getenv("GZT_TMP") : "/tmp", getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	data = malloc(100000);
	for (int i = 0; i < 100000; i++)
		data[i] = (char)(i * 7);
	MUST(write(fd, data, 100000));
	unlink(path);
	t_pair(p);
	R("with offset", sendfile(p[0], fd, &off, 2000));
	SAY("offset %ld position %ld\n", (long)off, (long)lseek(fd, 0, SEEK_CUR));
	lseek(fd, 5000, SEEK_SET);
	R("from the position", sendfile(p[0], fd, NULL, 3000));
	SAY("position %ld\n", (long)lseek(fd, 0, SEEK_CUR));
	while (total < 5000 && (n = read(p[1], buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++, total++)
			bad += buf[i] != (char)((total < 2000 ? 1000 + total : 3000 + total) * 7);
	SAY("total %zu bad %zu\n", total, bad);
	lseek(fd, 0, SEEK_END);
	R("at the end", sendfile(p[0], fd, NULL, 10));
	R("from a socket", sendfile(p[0], p[1], NULL, 10));
	R("closed", sendfile(p[0], 900, NULL, 10));
	R("to a closed one", sendfile(900, fd, NULL, 10));
	SECTION("splice");
	MUST(pipe(pp));
	MUST(write(pp[1], "through a pipe", 14));
	R("pipe to socket", splice(pp[0], NULL, p[0], NULL, 100, 0));
	R("read", read(p[1], buf, 100));
	MUST(write(p[0], "into the pipe", 13));
	t_wait(p[1], POLLIN);
	R("socket to pipe", splice(p[1], NULL, pp[1], NULL, 100, 0));
	R("read", read(pp[0], buf, 100));
	t_nonblock(p[1], true);
	R("nonblock", splice(p[1], NULL, pp[1], NULL, 100, SPLICE_F_NONBLOCK));
	R("socket to socket", splice(p[1], NULL, p[0], NULL, 10, 0));
	off = 0;
	R("offset", splice(pp[0], NULL, p[0], &off, 10, 0));
	R("zero", splice(pp[0], NULL, p[0], NULL, 0, 0));
	close(p[0]);
	t_wait(p[1], POLLIN);
	R("eof", splice(p[1], NULL, pp[1], NULL, 100, 0));
	close(p[1]);
	close(fd);
}

int main(void)
{
	t_watchdog(60);
	streams();
	files();
	return 0;
}

/* paths.c - run directories and socket names, the same for library and tools. Raw system calls: the library interposes the libc names. */
#include "ctl/paths.h"
#include "base/sys.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX "lstack_cmd"

bool ctl_run_dir_nth(unsigned i, uid_t uid, char *buf, size_t bytes)
{
	const char *given = getenv("GAZELLE_RUN_DIR"), *xdg = getenv("XDG_RUNTIME_DIR"), *tmp = getenv("TMPDIR");

	if (given && given[0]) {
		snprintf(buf, bytes, "%s", given);
		return i == 0;
	}
	if (uid == 0 && i-- == 0) {
		snprintf(buf, bytes, "/var/run/gazelle");
		return true;
	}
	if (xdg && xdg[0] == '/' && i-- == 0) {
		snprintf(buf, bytes, "%s/gazelle", xdg);
		return true;
	}
	if (tmp && tmp[0] == '/' && strcmp(tmp, "/tmp") && i-- == 0) {
		snprintf(buf, bytes, "%s/gazelle-%u", tmp, (unsigned)uid);
		return true;
	}
	snprintf(buf, bytes, "/tmp/gazelle-%u", (unsigned)uid);
	return i == 0;
}

int ctl_run_dir_prepare(const char *dir)
{
	struct stat st;
	long r = SYS(mkdirat, AT_FDCWD, dir, 0700);

	if (r < 0 && r != -EEXIST)
		return (int)r;
	/* not through a symbolic link: in a directory that everybody may write to, somebody else may have made it */
	if (lstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_uid != (uid_t)SYS(geteuid))
		return -EPERM;
	if ((st.st_mode & 0777) != 0700) {
		r = SYS(fchmodat, AT_FDCWD, dir, 0700);
		if (r < 0)
			return (int)r;
	}
	r = SYS(faccessat, AT_FDCWD, dir, W_OK);
	return r < 0 ? (int)r : 0;
}

int ctl_run_dir_get(char *buf, size_t bytes)
{
	int err = -ENOENT;

	for (unsigned i = 0; ctl_run_dir_nth(i, (uid_t)SYS(geteuid), buf, bytes); i++) {
		err = ctl_run_dir_prepare(buf);
		if (!err)
			return 0;
	}
	return err;
}

/* FNV-1a: stable between builds, which SipHash with a key of the boot would not be. */
static uint64_t name_hash(const char *s)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3ULL;
	return h;
}

int ctl_socket_name(const char *dir, const char *prefix, int pid, char *buf, size_t bytes)
{
	char tail[64];
	int n;

	if (pid)
		snprintf(tail, sizeof(tail), SUFFIX ".%d.sock", pid);
	else
		snprintf(tail, sizeof(tail), SUFFIX ".sock");
	/* room for the longest pid, so that both names of a process hash or both do not */
	if (strlen(dir) + 1 + strlen(prefix) + sizeof(SUFFIX ".4194304.sock") > CTL_SOCK_MAX)
		n = snprintf(buf, bytes, "%s/h%016llx%s", dir, (unsigned long long)name_hash(prefix), tail);
	else
		n = snprintf(buf, bytes, "%s/%s%s", dir, prefix, tail);
	return n < 0 || (size_t)n >= bytes || (size_t)n >= CTL_SOCK_MAX ? -ENAMETOOLONG : 0;
}

bool ctl_is_socket_name(const char *file)
{
	const char *at = strstr(file, SUFFIX), *last = NULL;
	size_t n;

	for (; at; at = strstr(at + 1, SUFFIX))
		last = at;
	if (!last)
		return false;
	last += sizeof(SUFFIX) - 1;
	if (!strcmp(last, ".sock"))
		return true;
	n = *last == '.' ? strspn(last + 1, "0123456789") : 0;
	return n && !strcmp(last + 1 + n, ".sock");
}

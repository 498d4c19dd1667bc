#!/bin/bash
# What `make install` puts where, and that it works from there: files, modes, exported names, an existing configuration kept, and a
# program on the installed library in a network namespace of its own.
#
#   tests/install/run.sh        BUILD=build directory whose name is the stem of the one that make uses (default: build)
#
# Last line: "N passed, N failed".
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
stem=${BUILD:-$top/build}
tmp=$(mktemp -d)
ns=gz-install-$$
passed=0 failed=0

cleanup() {
	ip netns del "$ns" 2>/dev/null
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

ok() { passed=$((passed + 1)); }
bad() {
	echo "FAIL $*"
	failed=$((failed + 1))
}
# check NAME COMMAND...
check() {
	local name=$1
	shift
	if "$@" >"$tmp/out" 2>&1; then ok; else bad "$name"; sed 's/^/    /' "$tmp/out"; fi
}
install_to() {
	make -C "$top" install BUILD="$stem" DESTDIR="$1" prefix=/opt/gz sysconfdir=/etc libdir=lib >"$tmp/log" 2>&1
}

root=$tmp/root
if ! install_to "$root"; then
	bad 'make install'
	tail -20 "$tmp/log"
	echo "$passed passed, $failed failed"
	exit 1
fi
ok
lib=$root/opt/gz/lib/liblstack.so
for f in "$lib" "$root/opt/gz/bin/gazellectl" "$root/opt/gz/share/man/man1/gazellectl.1" "$root/opt/gz/share/man/man5/lstack.conf.5" \
	"$root/etc/gazelle/lstack.conf"; do
	check "missing: ${f#"$root"}" test -s "$f"
done
# nothing lands outside DESTDIR's prefix and sysconfdir
check 'files outside of prefix and sysconfdir' test -z "$(find "$root" -type f ! -path "$root/opt/gz/*" ! -path "$root/etc/gazelle/*")"
check 'group or others may write to it' test -z "$(find "$root" -type f -perm /022)"
check 'the library names no build directory' bash -c "! readelf -d '$lib' | grep -Eq 'RPATH|RUNPATH'"
check 'gazellectl names no build directory' bash -c "! readelf -d '$root/opt/gz/bin/gazellectl' | grep -Eq 'RPATH|RUNPATH'"
check 'gazellectl runs' "$root/opt/gz/bin/gazellectl" --help

# a configuration that is there is the operator's
echo '# mine' >>"$root/etc/gazelle/lstack.conf"
check 'second make install' install_to "$root"
check 'the second install overwrote the configuration' grep -q '^# mine$' "$root/etc/gazelle/lstack.conf"

# --- programs on the installed library ---

net() {
	ip netns add "$ns" && ip -n "$ns" link add v0 type veth peer name v1 && ip -n "$ns" link set v0 up && ip -n "$ns" link set v1 up
}
cat >"$tmp/lstack.conf" <<'CONF'
dpdk_args=["--no-huge", "-m", "256"]
use_ltran=0
low_power_mode=0
num_cpus="0"
host_addr="198.18.0.1"
mask_addr="255.255.255.0"
gateway_addr="198.18.0.254"
devices="v0"
CONF
mkdir -p "$tmp/run"
# inside NAME [VAR=VALUE...] PROGRAM...: what it says goes to $tmp/said; NAME is the program that the library is to serve
inside() {
	local name=$1
	shift
	if ! ip netns exec "$ns" env XDG_RUNTIME_DIR="$tmp/run" GAZELLE_BIND_PROCNAME="$name" LSTACK_CONF_PATH="$tmp/lstack.conf" \
		timeout 30 env "$@" >"$tmp/said" 2>"$tmp/err"; then
		cat "$tmp/said" "$tmp/err"
		return 1
	fi
	cat "$tmp/said" "$tmp/err"
}
check 'a namespace with a link' net

# preloaded, and what the installed gazellectl sees of it
cat >"$tmp/echo.py" <<'PY'
import os, socket, subprocess, sys
addr, ctl = sys.argv[1], sys.argv[2]
l = socket.create_server((addr, 7000))
c = socket.create_connection((addr, 7000))
s, _ = l.accept()
c.sendall(b'over the installed stack')
got = b''
while len(got) < 24:
    got += s.recv(100)
env = dict(os.environ)
env.pop('LD_PRELOAD')
shown = subprocess.run([ctl, 'lstack', 'show', str(os.getpid()), '-c'], env=env, capture_output=True, text=True)
print(got.decode())
print('shown' if '7000' in shown.stdout else shown)
PY
preloaded() {
	local py
	py=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
	inside "${py##*/}" LD_PRELOAD="$lib" "$py" "$tmp/echo.py" 198.18.0.1 "$root/opt/gz/bin/gazellectl" &&
		grep -q '^over the installed stack$' "$tmp/said" && grep -q '^shown$' "$tmp/said"
}
check 'preloaded' preloaded

# linked, as a stranger does it: by pkg-config (the library is needed by name), by lstack.Makefile, and by its --wrap list
cat >"$tmp/linked.c" <<'C'
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7001), .sin_addr.s_addr = inet_addr("198.18.0.1") };
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s;
	char buf[32] = "";

	/* the kernel has no such address: a call that strays there fails */
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 5) || connect(c, (struct sockaddr *)&a, sizeof(a)))
		return perror("bind, listen, connect"), 1;
	s = accept(l, NULL, NULL);
	if (write(c, "linked", 6) != 6 || read(s, buf, sizeof(buf)) != 6)
		return perror("write, read"), 1;
	puts(buf);
	return close(s) || close(c) || close(l);
}
C
pc=$(find "$root" -name gazelle.pc)
mk=$root/etc/gazelle/lstack.Makefile
cat >"$tmp/Makefile" <<MK
include $mk
linked-mk: linked.c
	cc linked.c -o \$@ \$(LSTACK_LIBS)
linked-wrap: linked.c
	cc linked.c -o \$@ \$(LSTACK_LIBS)
MK
by_pkg_config() {
	# shellcheck disable=SC2046
	cc "$tmp/linked.c" -o "$tmp/linked-pc" $(PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$root pkg-config --libs gazelle)
}
by_makefile() { make -C "$tmp" linked-mk LSTACK_DIR="${lib%/*}"; }
by_wrap() { make -C "$tmp" linked-wrap LSTACK_DIR="${lib%/*}" USE_GAZELLE=1; }
runs_linked() { inside "$1" LD_LIBRARY_PATH="${lib%/*}" "$tmp/$1" && grep -q '^linked$' "$tmp/said"; }
check 'link by pkg-config' by_pkg_config
check 'link by lstack.Makefile' by_makefile
check 'link with the --wrap list' by_wrap
check 'the program does not need the library by name' bash -c "readelf -d '$tmp/linked-pc' | grep -q 'NEEDED.*liblstack'"
check 'the calls were not renamed' bash -c "nm -u '$tmp/linked-wrap' | grep -q ' __wrap_connect'"
for p in linked-pc linked-mk linked-wrap; do
	check "$p" runs_linked "$p"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

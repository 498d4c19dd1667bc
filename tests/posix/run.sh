#!/bin/bash
# Runs each socket program on the kernel and under the library in both stack modes; the output must be equal byte for byte.
#
#   tests/posix/run.sh [-v] [name ...]        BUILD=build directory (default: build)
#
# Each side has a network namespace of its own. The kernel's has the address under test on its loopback; the library's has no such
# address, so a socket call that strays to the kernel fails instead of passing by accident (and the start must succeed: exit on failure).
# Last line: "N passed, N failed".
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
build=${BUILD:-$top/build}
lib=$build/src/liblstack.so
bin=$build/tests/posix
addr=198.18.0.1
verbose=0
[ "${1:-}" = -v ] && { verbose=1; shift; }
ns=gz-posix-$$
tmp=$(mktemp -d)
passed=0 failed=0

cleanup() {
	ip netns del "$ns-k" 2>/dev/null
	ip netns del "$ns-s" 2>/dev/null
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

for f in "$lib" "$bin/t_basic"; do
	[ -e "$f" ] || { echo "FAIL build: $f is missing"; echo "0 passed, 1 failed"; exit 1; }
done
ip netns add "$ns-k" && ip netns add "$ns-s" || { echo "FAIL namespaces: needs root"; echo "0 passed, 1 failed"; exit 1; }
ip -n "$ns-k" link set lo up
ip netns exec "$ns-k" sysctl -qw net.ipv4.tcp_fastopen=3
ip -n "$ns-k" addr add "$addr/24" dev lo
ip -n "$ns-s" link set lo up

for mode in run-to-completion run-to-wakeup; do
	cat > "$tmp/$mode.conf" <<EOF
dpdk_args = ["--no-huge", "-m", "384", "--no-pci", "--no-shconf", "--no-telemetry", "--vdev=net_null0,no-rx=1"]
devices = "net_null0"
host_addr = "$addr"
mask_addr = "255.255.255.0"
stack_thread_mode = "$mode"
tcp_conn_count = 500
tcp_fastopen = 3
unix_prefix = "posix$$"
EOF
done

# on_kernel NAME COMMAND...
on_kernel() {
	local name=$1
	shift
	GZT_ADDR=$addr GZT_TMP=$tmp timeout -k 5 120 ip netns exec "$ns-k" "$@" > "$tmp/$name.kernel" 2> "$tmp/$name.kernel.err" < /dev/null
}

# on_stack NAME MODE PROCNAME COMMAND...
on_stack() {
	local name=$1 mode=$2 proc=$3
	shift 3
	GZT_ADDR=$addr GZT_TMP=$tmp timeout -k 5 120 ip netns exec "$ns-s" env LSTACK_CONF_PATH="$tmp/$mode.conf" \
		GAZELLE_BIND_PROCNAME="$proc" GAZELLE_ON_START_FAILURE=exit LD_PRELOAD="$lib" \
		"$@" > "$tmp/$name.$mode" 2> "$tmp/$name.$mode.err" < /dev/null
}

verdict() { # NAME LABEL STATUS
	local name=$1 label=$2 status=$3
	if [ "$status" -eq 0 ] && cmp -s "$tmp/$name.kernel" "$tmp/$name.$label"; then
		echo "ok   $name $label"
		passed=$((passed + 1))
	else
		echo "FAIL $name $label (status $status)"
		failed=$((failed + 1))
		diff "$tmp/$name.kernel" "$tmp/$name.$label" | head -$((verbose ? 200 : 12))
		[ "$verbose" = 1 ] && tail -5 "$tmp/$name.$label.err"
	fi
}

run_pair() { # NAME PROCNAME COMMAND...
	local name=$1 proc=$2 st
	shift 2
	on_kernel "$name" "$@"
	st=$?
	if [ $st -ne 0 ] || [ ! -s "$tmp/$name.kernel" ]; then
		echo "FAIL $name kernel (status $st)"
		tail -3 "$tmp/$name.kernel" "$tmp/$name.kernel.err"
		failed=$((failed + 1))
		return
	fi
	for mode in run-to-completion run-to-wakeup; do
		on_stack "$name" $mode "$proc" "$@"
		rc=$?
		if [ $rc -ne 0 ] || ! cmp -s "$tmp/$name.kernel" "$tmp/$name.$mode"; then # timings on a busy machine: only a second failure counts
			echo "AGAIN $name $mode"
			on_stack "$name" $mode "$proc" "$@"
			rc=$?
		fi
		verdict "$name" $mode $rc
	done
}

wanted() { # NAME of the list
	[ ${#only[@]} -eq 0 ] && return 0
	for o in "${only[@]}"; do [ "$o" = "$1" ] && return 0; done
	return 1
}

only=("$@")
for p in "$bin"/t_*; do
	[ -x "$p" ] && [ -f "$p" ] || continue
	name=$(basename "$p")
	wanted "$name" && run_pair "$name" "$name" "$p"
done
for p in "$here"/py_*.py; do
	[ -f "$p" ] || continue
	name=$(basename "$p" .py)
	wanted "$name" && run_pair "$name" "$(basename "$(readlink -f "$(command -v python3)")")" python3 "$p"
done

# what leaves the library is what the list says, no more and no less
if wanted symbols; then
	nm -D --defined-only "$lib" | awk '{print $3}' | grep -v '^gz_' | sort > "$tmp/symbols.have"
	python3 "$top/src/posix/gen_map.py" --list "$top/src/posix/symbols.def" | sort > "$tmp/symbols.want"
	if diff "$tmp/symbols.want" "$tmp/symbols.have" > "$tmp/symbols.diff"; then
		echo "ok   symbols"
		passed=$((passed + 1))
	else
		echo "FAIL symbols"
		head -20 "$tmp/symbols.diff"
		failed=$((failed + 1))
	fi
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

#!/bin/sh
# run.sh SECONDS [--coverage] [TARGET...] - each fuzz target for so long; last line "N passed, N failed".
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [--coverage] [TARGET...]}
shift
exec "$(dirname "$0")/../../devtools/fuzz" --seconds "$seconds" "$@"

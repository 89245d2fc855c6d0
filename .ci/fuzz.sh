#!/bin/sh
# Every fuzz target of the module, found by its name, for FUZZTIME, as many at a time as
# there are processors. For each it prints how often it ran and how many of its inputs
# were new, in what they reach, to those that are kept (go env GOCACHE).
set -eu

# build PACKAGE compiles its tests for fuzzing, once for all of their targets.
build() {
	go test -c -fuzz . -o "$TESTS/$(echo "$1" | tr / _)" "$1"
}

# fuzz PACKAGE TARGET fuzzes it, without losing much time on what makes an input that is
# new a little smaller, and prints the runner's last line. A run that fails without an
# input that fails is the runner's own (go.dev/issue/75804: its deadline ends a
# worker), and is tried once more.
fuzz() {
	cd "$1"
	for try in 1 2; do
		if text=$("$TESTS/$(echo "$1" | tr / _)" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$FUZZTIME" -test.parallel 1 \
			-test.fuzzminimizetime 1s -test.fuzzcachedir "$CACHE/${1#./}" 2>&1); then
			line=$(printf '%s\n' "$text" | grep '^fuzz: ' | tail -1)
			printf '%s %s: %s\n' "$1" "$2" "$(echo "$line" | sed -E 's/^fuzz: elapsed: (.*)s, execs: ([0-9]+).*, new interesting: ([0-9]+).*/\2 runs in \1 s, \3 new inputs/')"
			return 0
		fi
		case $text in
		*'Failing input'*) break ;;
		*'context deadline exceeded'*) [ $try = 2 ] || echo "$1 $2: the runner's deadline, not an input; again" ;;
		*) break ;;
		esac
	done
	printf '%s %s FAILED:\n%s\n' "$1" "$2" "$text"
	return 1
}

case ${1-} in
build) build "$2"; exit ;;
fuzz) fuzz "$2" "$3"; exit ;;
esac

cd "$(dirname "$0")/.."
export FUZZTIME="${FUZZTIME:-5m}" CACHE="$(go env GOCACHE)/fuzz/relaymux"
TESTS=$(mktemp -d) && export TESTS
trap 'rm -rf "$TESTS"' EXIT
jobs=$(getconf _NPROCESSORS_ONLN)
targets=$(grep -roE --include='*_test.go' '^func Fuzz\w+' . | sed -E 's|/[^/]*:func | |' | sort)
echo "$targets" | cut -d' ' -f1 | uniq | xargs -P "$jobs" -n 1 sh .ci/fuzz.sh build
failed=0
echo "$targets" | xargs -P "$jobs" -n 2 sh .ci/fuzz.sh fuzz || failed=1
echo "fuzz: $(echo "$targets" | wc -l) targets$([ $failed = 0 ] || echo ', not all passed')"
[ $failed = 0 ]

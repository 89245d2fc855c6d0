#!/bin/sh
# Every fuzz target of the module, found by its name: those that read what
# strangers send for FUZZTIME, the others for FUZZTIME_OTHERS. go test fuzzes one
# target at a time.
set -eu
cd "$(dirname "$0")/.."
long='FuzzParseOps FuzzParseAnswer FuzzSOCKSHandshake FuzzDatagram FuzzUDPGW FuzzDNS FuzzConfig FuzzAccept FuzzRecords FuzzLink'
FUZZTIME=${FUZZTIME:-30s}
FUZZTIME_OTHERS=${FUZZTIME_OTHERS:-$FUZZTIME}

# fuzz PACKAGE TARGET TIME prints the runner's last lines. A run that fails
# without an input that fails is the runner's own (go.dev/issue/75804: its
# deadline ends a worker), and is tried once more.
fuzz() {
	for try in 1 2; do
		if text=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 10s "$1" 2>&1); then
			printf '%s %s: %s\n' "$1" "$2" "$(printf '%s\n' "$text" | grep '^fuzz: ' | tail -1)"
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

passed=0 failed=0
for hit in $(grep -rhoE --include='*_test.go' '^func Fuzz\w+' . | awk '{print $2}' | sort); do
	file=$(grep -rlE --include='*_test.go' "^func $hit\\(" .)
	time=$FUZZTIME_OTHERS
	case " $long " in
	*" $hit "*) time=$FUZZTIME long=$(echo " $long " | sed "s/ $hit / /") ;;
	esac
	if fuzz "$(dirname "$file")" "$hit" "$time"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done
if [ -n "$(echo "$long" | tr -d ' ')" ]; then
	echo "no such fuzz targets any more:$long"
	failed=$((failed + 1))
fi
echo "fuzz: $passed passed, $failed failed"
[ $failed -eq 0 ]

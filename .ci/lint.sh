#!/bin/sh
# What the compiler lets pass and this project does not. Every complaint names
# what to do instead. Exit code 1 if there is any.
set -eu
cd "$(dirname "$0")/.."
STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2
bad=0

# complain WHAT LINES prints LINES, if there are any, below WHAT.
complain() {
	if [ -n "$2" ]; then
		printf '%s:\n%s\n' "$1" "$2"
		bad=1
	fi
}

# ours PATTERN FILES... greps and finds nothing without failing.
ours() {
	pattern=$1
	shift
	grep -nE "$pattern" "$@" || test $? -eq 1
}

sources=$(find . -name '*.go' ! -name '*_test.go')
tests=$(find . -name '*_test.go')

complain 'gofmt -w these' "$(gofmt -l .)"
go vet ./... || bad=1
go run "$STATICCHECK" ./... || bad=1

# Where the program is put together must show all of it.
complain 'no init functions: a call that main makes (as age cmd/age/age.go)' "$(ours '^func init\(' $sources $tests)"
# Errors, pools and tables that nobody writes to have no state.
complain 'no global state: a field, handed in (as age cmd/age/age.go: flags are locals of main)' "$(awk '
	FNR == 1 { block = 0 }
	/^var \($/ { block = 1 }
	/^\)/ { block = 0 }
	(block || /^var /) && !/^(var|	)[ ]*[eE]rr/ &&
		/= *(map\[|make\(|new\(|&|func\()|[ =](sync\.(Mutex|RWMutex|Once|Map|WaitGroup)|atomic\.)/ {
			print FILENAME ":" FNR ":" $0
	}' $sources)"
# Time is virtual where a package's tests run in bubbles.
complain 'time.Sleep in real time: wait for what is meant, or testing/synctest (as quic-go send_queue_test.go)' "$(
	for file in $tests; do
		grep -qs testing/synctest "$(dirname "$file")"/*_test.go || ours 'time\.Sleep' /dev/null "$file"
	done)"
complain 'errors by their text: errors.Is or errors.As (as cloudflared quic/v3/session.go)' "$(
	ours 'strings\.\w+\(\w*[eE]rr\w*\.Error\(\)|\.Error\(\) *[!=]= *"' $sources)"
complain 'a line that says nothing: say why, or delete it' "$(ours '//[^"]*(TODO|FIXME|XXX)' $sources $tests)"

# The scripts themselves.
bash -n .ci/run || bad=1
for file in .ci/*.sh; do
	sh -n "$file" || bad=1
done
for file in .ci/*.py .ci/e2e/*.py; do
	/usr/bin/python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$file" || bad=1
done

[ $bad -eq 0 ] && echo "lint: no complaints"
exit $bad

#!/bin/sh
# All tests under the race detector. One processor for each of two lanes: between two of
# them the detector's memory costs more time than they save. The longest package,
# relay/relaytest, is as long as all others, so a part of its tests goes with those.
set -eu

flags="-race -cpu 1 -p 1 -shuffle=on -timeout 30m"
longest=relaymux/relay/relaytest
part='^Test[S-Z]'

go build -race ./... # once, for both
go test $flags -skip "$part" $longest &
beside=$!
failed=0
go test $flags -run "$part" $longest || failed=1
go test $flags $(go list ./... | grep -vx $longest) || failed=1
wait $beside || failed=1
exit $failed

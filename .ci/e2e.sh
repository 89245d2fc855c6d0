#!/bin/sh
# Real clients against ./relaymux (make build). Arguments choose checks by a
# part of their names. Needs the packages that .ci/run installs.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
go build -o "$tools/relayemu" ./relay/relaytest/cmd/relayemu
# Debian's python3: python3-selenium is installed for no other.
/usr/bin/python3 -B .ci/e2e ./relaymux "$tools/relayemu" "$@"

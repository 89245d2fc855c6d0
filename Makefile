# The one entry for people and for CI. `make run` and `make test` need nothing
# but Go; the rest says what it needs.
.POSIX:
SHELL = /bin/sh

VERSION != git describe --tags --always --dirty 2>/dev/null || echo dev
LDFLAGS = -s -w -X main.version=$(VERSION)
BUILD   = CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'
PLATFORMS = linux/amd64 linux/arm64 linux/arm linux/386 linux/mipsle darwin/arm64 windows/amd64 freebsd/amd64
RELEASES  = linux/amd64 linux/arm64 linux/armv7 linux/mipsle linux/386 darwin/arm64 darwin/amd64 windows/amd64
FUZZTIME = 5m
SOAK     = 1h
SMALL = ./mux ./mux/link ./mux/wire ./mux/buf ./mux/rule ./mux/fd ./socks/dns ./relay/account ./config
LONG  = long_active long_disk long_idle long_inject long_memory long_procs long_slow long_storm long_suspend

build:
	$(BUILD) -o relaymux .

# A proxy with an exit node of its own in the same process, to try it out.
run: build
	./relaymux run

test:
	go test -shuffle=on ./...

race:
	sh .ci/race.sh

# Every fuzz target for FUZZTIME, as many at a time as there are processors. What is
# found stands in testdata/fuzz beside the target, for `make test`.
fuzz:
	FUZZTIME=$(FUZZTIME) sh .ci/fuzz.sh

# Real clients against the real binary: curl, git, ncat, Chromium; for UDP OpenVPN,
# PySocks, libtorrent, redsocks; and others' testers as judges (JUDGES=whole runs all of
# testssl, which is slow). Needs root and the packages that .ci/run installs.
e2e: build
	sh .ci/e2e.sh

# The parts in one process; then the whole program as processes, compared with a
# stored run by what its figures are to plain loopback.
bench:
	go test -run '^$$' -bench . -benchtime 1s ./...
	go run ./relay/relaytest/cmd/relaybench -baseline testdata/bench/baseline.json

# Tests of what runs on 32 bits too, by the processor itself.
test-386:
	CGO_ENABLED=0 GOARCH=386 go test -vet=off -short $(SMALL)

# The same for routers, and the whole program for both. Needs qemu-user-static, by which the
# system runs their programs too (binfmt_misc), and root.
# qemu does not tell of datagrams that a socket had no room for.
emulated: test-386 build
	CGO_ENABLED=0 GOARCH=mipsle GOMIPS=softfloat go test -vet=off -short -timeout 30m -skip 'TestReadOverflow' \
		-exec qemu-mipsel-static $(SMALL) ./mux/gso ./socks
	sh .ci/e2e.sh long_emulated

# Long runs under faults: of the link alone; every fault on every wire, by every
# carriage, under every traffic; the program as processes, in real time, for SOAK
# (make soak SOAK=24h); load and failing system calls, which need what make e2e needs.
# Each says its seed, with which it is run again.
soak: build
	RELAYMUX_SOAK=10m go test -run 'TestEveryByteOnce$$' -timeout 30m ./mux/link
	RELAYMUX_MATRIX=all go test -count=1 -run 'TestHostile88_Matrix$$' -timeout 60m -v ./relay/relaytest
	go run ./relay/relaytest/cmd/soak -time $(SOAK)
	sh .ci/e2e.sh $(LONG)

# Takes guards out of the program, one by one, and sees that the test of each fails
# then (testdata/hostile.md). About ten minutes.
guards:
	/usr/bin/python3 -B .ci/guards.py

lint:
	sh .ci/lint.sh

# Builds for every platform; vets, tests included, where the code differs.
cross:
	for p in $(PLATFORMS); do \
		echo "build $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null . || exit 1; \
	done
	CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go vet ./...
	CGO_ENABLED=0 GOOS=linux GOARCH=mipsle go vet ./...

# What there is to download, in dist, with checksums and the licences of all that is in
# it. The same commit and the same Go make the same bytes, wherever they are built.
# Routers' mipsle has no floating point.
dist:
	rm -rf dist && mkdir dist
	for p in $(RELEASES); do \
		os=$${p%/*} arch=$${p#*/}; \
		name=dist/relaymux_$(VERSION)_$${os}_$$arch; \
		test $$os != windows || name=$$name.exe; \
		echo "$$name"; \
		GOOS=$$os GOARCH=$${arch%v7} GOARM=7 GOMIPS=softfloat $(BUILD) -buildvcs=false -o $$name . || exit 1; \
	done
	{ cat LICENSE && sh .ci/notices.sh $(PLATFORMS); } >dist/LICENSES.txt
	cd dist && { sha256sum relaymux_* || shasum -a 256 relaymux_*; } >SHA256SUMS

clean:
	rm -rf relaymux dist

.PHONY: build run test test-386 emulated race fuzz e2e bench soak guards lint cross dist clean

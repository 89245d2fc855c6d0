# The one entry for people and for CI. `make run` and `make test` need nothing
# but Go; the rest says what it needs.
.POSIX:
SHELL = /bin/sh

VERSION != git describe --tags --always --dirty 2>/dev/null || echo dev
LDFLAGS = -s -w -X main.version=$(VERSION)
BUILD   = CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'
PLATFORMS = linux/amd64 linux/arm64 linux/arm linux/386 linux/mipsle darwin/arm64 windows/amd64 freebsd/amd64
RELEASES  = linux/amd64 linux/arm64 linux/armv7 linux/mipsle linux/386 darwin/arm64 darwin/amd64 windows/amd64
FUZZTIME = 30s
SOAK     = 1h

build:
	$(BUILD) -o relaymux .

# A proxy with an exit node of its own in the same process, to try it out.
run: build
	./relaymux run

test:
	go test -shuffle=on ./...

# One processor for each package: between two of them the detector's memory costs
# more time than they save. The longest goes first.
race:
	go test -race -cpu 1 -shuffle=on -timeout 30m ./relay/relaytest ./...

# Every fuzz target for FUZZTIME; with FUZZTIME_OTHERS in the environment, those
# that read nothing from strangers for that long.
fuzz:
	FUZZTIME=$(FUZZTIME) sh .ci/fuzz.sh

# Real clients against the real binary: curl, git, ncat, Chromium; for UDP OpenVPN,
# PySocks, libtorrent, redsocks. Needs root and the packages that .ci/run installs.
e2e: build
	sh .ci/e2e.sh

# The parts in one process; then the whole program as processes, compared with a
# stored run by what its figures are to plain loopback.
bench:
	go test -run '^$$' -bench . -benchtime 1s ./...
	go run ./relay/relaytest/cmd/relaybench -baseline testdata/bench/baseline.json

# Long runs under faults: of the link alone; every fault on every wire, by every
# carriage, under every traffic; then the program as processes, in real time, for SOAK
# (make soak SOAK=24h). Each says its seed, with which it is run again.
soak:
	RELAYMUX_SOAK=10m go test -run 'TestEveryByteOnce$$' -timeout 30m ./mux/link
	RELAYMUX_MATRIX=all go test -count=1 -run 'TestMatrix$$' -timeout 60m -v ./relay/relaytest
	go run ./relay/relaytest/cmd/soak -time $(SOAK)

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

# What there is to download, in dist, with checksums. The same commit and the same Go
# make the same bytes, wherever they are built. Routers' mipsle has no floating point.
dist:
	rm -rf dist && mkdir dist
	for p in $(RELEASES); do \
		os=$${p%/*} arch=$${p#*/}; \
		name=dist/relaymux_$(VERSION)_$${os}_$$arch; \
		test $$os != windows || name=$$name.exe; \
		echo "$$name"; \
		GOOS=$$os GOARCH=$${arch%v7} GOARM=7 GOMIPS=softfloat $(BUILD) -buildvcs=false -o $$name . || exit 1; \
	done
	cd dist && { sha256sum relaymux_* || shasum -a 256 relaymux_*; } >SHA256SUMS

clean:
	rm -rf relaymux dist

.PHONY: build run test race fuzz e2e bench soak lint cross dist clean

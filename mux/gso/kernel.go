package gso

import (
	"strconv"
	"strings"
)

// A kernel is what a Linux release can do with trains.
type kernel struct {
	gso      bool
	segments int
	corrupts bool // trains of equal segments, on their way to a device
}

// kernelOf reads a release such as "6.18.44-generic". What cannot be read is
// taken for the least: the first answers of sendmsg tell the rest.
//
// UDP_SEGMENT came with 4.18, but works everywhere since 5.0. Linux 7.0
// (commit b10b446) to 7.1.4 writes wrong UDP headers into trains whose segments
// are all equal, where the device or its driver splits them; that is for no
// errno to say.
func kernelOf(release string) kernel {
	v := version(release)
	k := kernel{
		gso:      !before(v, 5, 0, 0),
		segments: maxSegments,
		corrupts: !before(v, 7, 0, 0) && before(v, 7, 1, 5),
	}
	if before(v, 6, 9, 0) {
		k.segments = oldSegments
	}
	return k
}

func version(release string) (v [3]int) {
	for i := range v {
		digits := strings.IndexFunc(release, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(release)
		}
		v[i], _ = strconv.Atoi(release[:digits])
		if digits == len(release) || release[digits] != '.' {
			break
		}
		release = release[digits+1:]
	}
	return v
}

func before(v [3]int, major, minor, patch int) bool {
	switch {
	case v[0] != major:
		return v[0] < major
	case v[1] != minor:
		return v[1] < minor
	}
	return v[2] < patch
}

package socks

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

// toIPv4 and so on are datagrams without a payload.
const (
	toIPv4 = "\x00\x00\x00\x01\xcb\x00\x71\x05\x00\x35"                                                 // 203.0.113.5:53
	toIPv6 = "\x00\x00\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x1f\x90" // [2001:db8::1]:8080
	toName = "\x00\x00\x00\x03\x07a.Test.\x1f\x90"                                                      // a.test:8080
)

// toHost is the header of a datagram to a name.
func toHost(host string, port uint16) string {
	b := append([]byte{0, 0, 0, atypName, byte(len(host))}, host...)
	return string(binary.BigEndian.AppendUint16(b, port))
}

// badHeaders are datagrams that end within their header, or have none.
func badHeaders() []string {
	bad := []string{"\x00\x00\x00\x00" + toIPv4[4:], "\x00\x00\x00\x02" + toIPv4[4:], "\x00\x00\x00\x05" + toIPv4[4:], "\x00\x00\x00\xff" + toIPv4[4:],
		"\x00\x00\x00\x03\xff" + strings.Repeat("a", 256), "GET / HTTP/1.1\r\n\r\n"}
	for _, whole := range []string{toIPv4, toIPv6, toName, toHost(strings.Repeat("a", 255), 1)} {
		for n := range len(whole) {
			bad = append(bad, whole[:n])
		}
	}
	return bad
}

func TestParseDatagram(t *testing.T) {
	for _, bad := range badHeaders() {
		if _, _, _, ok := parseDatagram([]byte(bad)); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	for in, want := range map[string]struct {
		host string
		port uint16
	}{
		toIPv4: {"203.0.113.5", 53}, toIPv6: {"2001:db8::1", 8080}, toName: {"a.Test.", 8080},
		toHost("", 1): {"", 1}, toHost(strings.Repeat("a", 255), 65535): {strings.Repeat("a", 255), 65535},
	} {
		for _, payload := range []string{"", "x", strings.Repeat("y", 65000)} {
			frag, to, p, ok := parseDatagram([]byte(in + payload))
			if !ok || frag != 0 || to.host() != want.host || to.port() != want.port || string(p) != payload {
				t.Errorf("%q: %v %d %q %d, %d bytes", in, ok, frag, to.host(), to.port(), len(p))
			}
		}
	}
	if frag, _, _, ok := parseDatagram([]byte("\x01\x02\x83" + toIPv4[3:])); !ok || frag != 0x83 {
		t.Errorf("FRAG %#x, %v", frag, ok)
	}
}

func TestAppendIP(t *testing.T) {
	for ip, want := range map[string]string{
		"203.0.113.5":        toIPv4[3:8] + "\x1f\x90",
		"::ffff:203.0.113.5": toIPv4[3:8] + "\x1f\x90",
		"2001:db8::1":        toIPv6[3:],
	} {
		if got := appendIP(nil, netip.MustParseAddr(ip), 8080); string(got) != want {
			t.Errorf("%s: %q", ip, got)
		}
	}
}

// FuzzDatagram: what is taken is all there, piece by piece; the canonical form
// of where it goes to is a header that means the same.
func FuzzDatagram(f *testing.F) {
	for _, seed := range append(badHeaders()[:20], toIPv4+"hi", toIPv6+"hi", toName+"hi", toHost("1.2.3.4", 1), toHost("0x7f.1", 1),
		"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\x01\xbb") {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		frag, to, payload, ok := parseDatagram(in)
		if !ok {
			return
		}
		again := append(append(append(bytes.Clone(in[:2]), frag), to...), payload...)
		if !bytes.Equal(again, in) {
			t.Fatalf("%q became %q", in, again)
		}
		same := appendHost([]byte{0, 0, 0}, to.host(), to.port())
		if to[0] == atypIPv4 && !bytes.Equal(same[3:], to) {
			t.Fatalf("%q became %q", to, same)
		}
		host, err := canonicalHost(to.host())
		if err != nil {
			return
		}
		canonical := append(appendHost([]byte{0, 0, 0}, host, to.port()), payload...)
		_, back, rest, ok := parseDatagram(canonical)
		if !ok || back.host() != host || back.port() != to.port() || !bytes.Equal(rest, payload) {
			t.Fatalf("%q: %q became %q", in, host, canonical)
		}
		if again := appendHost(nil, back.host(), back.port()); !bytes.Equal(again, back) {
			t.Fatalf("%q became %q", back, again)
		}
	})
}

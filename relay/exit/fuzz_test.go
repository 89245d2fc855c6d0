package exit

import (
	"bufio"
	"bytes"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"relaymux/mux/link"
	"relaymux/mux/rule"
	"relaymux/mux/wire"
)

// FuzzProbe: whoever does not know the key or a secret is told one and the same thing,
// whatever is asked.
func FuzzProbe(f *testing.F) {
	post := func(path string, body []byte, more string) []byte {
		return append([]byte("POST "+path+" HTTP/1.1\r\nHost: node\r\n"+more+"Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
	}
	_, stranger, _ := link.Hello(secretOf("nobody"), nil)
	unknown := link.AppendRequestHead(nil, link.LinkID{1}, 1)
	for _, seed := range [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: node\r\n\r\n"), []byte("GET /health HTTP/1.1\r\nHost: localhost\r\nForwarded: for=127.0.0.1\r\n\r\n"), []byte("PRI * HTTP/2.0\r\n\r\n"),
		post(pathBatch, wire.AppendBatch(nil, "another key", false, []wire.Op{connectOp("a")}), ""), post(pathSingle, []byte(`{"k":1,"op":"connect"}`), ""),
		post(pathLink, stranger, ""), post(pathLink, unknown, ""), post(pathLink, []byte{link.KindPipe}, "Content-Type: application/octet-stream\r\n"),
		post(pathBatch, zip([]byte(`{"k":"","ops":[]}`)), "Content-Encoding: gzip\r\n"), post(pathBatch+"/", nil, ""), post("//tunnel/link", nil, "Expect: 100-continue\r\n"),
		append([]byte("POST "+pathLink+" HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n19\r\n"), append(link.AppendPipeHead(nil, link.LinkID{}, 0), "\r\n0\r\n\r\n"...)...),
	} {
		f.Add(seed)
	}
	r := newRig(f, Config{Dialer: dialFunc(dialNowhere), Clients: clients("ann")})
	serve := func(req *http.Request) *httptest.ResponseRecorder {
		req.RemoteAddr = "198.51.100.1:2"
		w := httptest.NewRecorder()
		r.node.ServeHTTP(w, req)
		return w
	}
	want := serve(httptest.NewRequest(http.MethodGet, "/", nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil || bytes.Contains(text, []byte(testKey)) {
			return
		}
		got := serve(req.WithContext(t.Context()))
		if got.Code != want.Code || !bytes.Equal(got.Body.Bytes(), want.Body.Bytes()) || !reflect.DeepEqual(got.Header(), want.Header()) {
			t.Errorf("%d %v %q\nnot %d %v %q", got.Code, got.Header(), got.Body, want.Code, want.Header(), want.Body)
		}
	})
}

// FuzzEgress: whatever a target is called, and whatever that leads to, what is dialled is
// of the public Internet, unless the policy says otherwise, and never what it denies.
func FuzzEgress(f *testing.F) {
	for _, a := range []string{
		"1.1.1.1", "127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "::", "fd00:ec2::254", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1",
		"::ffff:0:10.0.0.1", "2606:4700::1111", "224.0.0.1", "2001::1", "255.255.255.255", "192.88.99.1",
	} {
		f.Add("example.org", netip.MustParseAddr(a).AsSlice(), uint16(443), "example.com:443", false)
		f.Add(a, netip.MustParseAddr(a).AsSlice(), uint16(25), "1.1.1.0/24", true)
	}
	f.Add("Metadata.Google.Internal.", []byte{8, 8, 8, 8}, uint16(80), "8.8.8.8", true)
	f.Add("a b%", []byte{8, 8, 8, 8}, uint16(8443), "", false)
	f.Fuzz(func(t *testing.T, host string, ip []byte, port uint16, deny string, private bool) {
		addr, ok := netip.AddrFromSlice(ip)
		p := Policy{AllowPrivate: private, Listen: []netip.AddrPort{netip.MustParseAddrPort("[::]:8443")}}
		if _, err := rule.Parse(deny); err == nil {
			p.Deny = []string{deny}
		}
		checked := mustPolicy(t, p)
		name, to, err := splitTarget(net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil || !ok || checked.checkName(name, to) != nil {
			return
		}
		at := netip.AddrPortFrom(addr, to)
		if checked.checkAddress(name, at.String()) != nil {
			return
		}
		addr = addr.Unmap()
		all := []netip.Addr{addr}
		if inner, wraps := rule.Embedded(addr); wraps {
			all = append(all, inner)
		}
		for _, a := range all {
			shared := netip.MustParsePrefix("100.64.0.0/10").Contains(a)
			if a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || !private && (a.IsPrivate() || a.IsLoopback() || shared) {
				t.Errorf("%q is dialled at %v", host, at)
			}
			if to == 8443 && a.IsLoopback() || to == portSMTP {
				t.Errorf("%q is dialled at %v", host, at)
			}
			for _, d := range p.Deny {
				if r, _ := rule.Parse(d); r.Matches(name, a, to) {
					t.Errorf("%q is dialled at %v, which %s denies", host, at, d)
				}
			}
		}
	})
}

// FuzzYardstick: however its requests are cut, as much is owed, and nothing of them kept.
func FuzzYardstick(f *testing.F) {
	f.Add(append(wire.AppendYardstick(wire.AppendYardstick(nil, 0, 3), 2, 1<<63), "hi"...), uint16(0))
	f.Add(append(wire.AppendYardstick(wire.AppendYardstick(nil, 0, 1<<63), 0, 1<<63), 1, 2, 3), uint16(15))
	f.Fuzz(func(t *testing.T, stream []byte, step uint16) {
		var owed uint64
		rest := stream
		for len(rest) >= wire.YardstickHead {
			up, down := wire.ParseYardstick(rest)
			if rest = rest[wire.YardstickHead:]; up > uint64(len(rest)) {
				rest = nil
				break
			}
			rest = rest[up:]
			if owed += down; owed < down {
				owed = math.MaxUint64
			}
		}
		y := newYardstick()
		for piece := range slices.Chunk(stream, int(step)+1) {
			if n, err := y.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if y.owed != owed || !bytes.Equal(y.head, rest) {
			t.Errorf("%d are owed and %x is kept, not %d and %x", y.owed, y.head, owed, rest)
		}
		_ = y.CloseWrite()
		if n, err := y.Read(make([]byte, 100)); uint64(n) != min(owed, 100) || (err != nil) != (owed == 0) {
			t.Errorf("%d bytes come of %d: %v", n, owed, err)
		}
	})
}

// FuzzStored: what a node finds in its state directory is of use, or an error that names
// the file and quotes nothing of it.
func FuzzStored(f *testing.F) {
	dir := f.TempDir()
	if _, err := loadAccount(dir, "https://ca.example/dir"); err != nil {
		f.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(acmeDir(dir, "https://ca.example/dir"), "account.pem"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem, "https://ca.example/dir")
	f.Add(pem[:len(pem)/2], "https://ca.example:14000/../..")
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), "https://../")
	f.Add(bytes.Repeat([]byte{1}, identitySize), "%")
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, content []byte, directory string) {
		dir := t.TempDir()
		path := filepath.Join(acmeDir(dir, directory), "account.pem")
		if rel, err := filepath.Rel(dir, ACMEFile(dir, directory)); err != nil || strings.Count(rel, string(filepath.Separator)) != 2 || strings.HasPrefix(rel, "..") {
			t.Fatalf("%q is kept at %q", directory, rel)
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
		key, err := loadAccount(dir, directory)
		checkStored(t, path, content, key != nil, err)
		if cert := loadCertificate(path, nil); cert != nil && len(cert.Certificate) == 0 {
			t.Error("a certificate without one")
		}
		path = filepath.Join(dir, "node-id")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := LoadIdentity(dir)
		checkStored(t, path, content, len(id.Reveal()) == identitySize && id.Reveal() == string(content), err)
	})
}

func checkStored(t *testing.T, path string, content []byte, ok bool, err error) {
	if ok != (err == nil) {
		t.Errorf("%q: %v, %v", content, ok, err)
	}
	if err == nil {
		return
	}
	for _, line := range bytes.Fields(content) {
		if len(line) > 16 && strings.Contains(err.Error(), string(line[:16])) {
			t.Errorf("%q: %v", content, err)
		}
	}
	if !strings.Contains(err.Error(), path) {
		t.Errorf("%q: %v", content, err)
	}
}

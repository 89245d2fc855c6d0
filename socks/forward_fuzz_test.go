package socks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An originConn is one connection to an origin: where it went, and what came.
type originConn struct {
	host string
	port uint16
	got  bytes.Buffer
}

// FuzzForward: whatever a client asks for and an origin answers, the origin gets whole
// requests in one form, for the host that was dialled, without what is the proxy's alone;
// and the client gets no more answers than it has asked for, in one form too.
func FuzzForward(f *testing.F) {
	for _, in := range []string{
		"GET http://a.example/x?y HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST http://a.example:81/ HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\nGET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://u:p@[::1]:8080/ HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nTE: gzip, trailers\r\nKeep-Alive: 5\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAA\r\n\r\n",
		"OPTIONS http://a HTTP/1.0\r\nHost: a\r\nX: 1\n\tfolded\n\n",
		"PUT http://a/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
	} {
		f.Add([]byte(in), []byte(ok))
	}
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 evil\r\n\r\n", "SSH-2.0-x\r\n", "",
	} {
		f.Add([]byte("GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), []byte(answer))
	}
	f.Fuzz(func(t *testing.T, in, answer []byte) {
		if len(in) == 0 || in[0] < ' ' || in[0] > '~' {
			return // SOCKS, or nothing that is known
		}
		var mu sync.Mutex
		var origins []*originConn
		var working sync.WaitGroup
		cfg := Config{HandshakeTimeout: time.Second, Dial: func(_ context.Context, host string, port uint16) (net.Conn, error) {
			here, there := net.Pipe()
			o := &originConn{host: host, port: port}
			mu.Lock()
			origins = append(origins, o)
			mu.Unlock()
			working.Go(func() {
				var once sync.Once
				b := make([]byte, 4096)
				for {
					n, err := there.Read(b)
					o.got.Write(b[:n])
					once.Do(func() {
						working.Go(func() {
							_, _ = there.Write(answer)
							time.Sleep(time.Second)
							there.Close()
						})
					})
					if err != nil {
						return
					}
				}
			})
			return here, nil
		}}
		inBubble(t, cfg, func(t *testing.T, s *Server, ln *memListener) {
			conn := ln.connect("192.0.2.7:1")
			go conn.Write(in)
			conn.SetReadDeadline(time.Now().Add(time.Hour))
			out, err := io.ReadAll(conn)
			if err != nil && err != io.ErrClosedPipe && !bytes.HasPrefix(out, []byte("HTTP/1.1 101 ")) { // that waits for the client
				t.Errorf("%q and %q: never closed: %v", in, answer, err)
			}
			conn.Close()
			s.front.origins.close()
			working.Wait()
			for _, o := range origins {
				checkRequests(t, in, o)
			}
			if n, most := checkAnswers(t, in, answer, out), requestsIn(in); n > most {
				t.Errorf("%q and %q:\n%d answers to %d requests: %q", in, answer, n, most, out)
			}
		})
	})
}

// requestsIn is how many requests in has, with what is none and ends the connection.
func requestsIn(in []byte) (n int) {
	for br := bufio.NewReader(bytes.NewReader(in)); ; n++ {
		req, err := http.ReadRequest(br)
		switch {
		case err == io.EOF:
			return n
		case err != nil:
			return n + 1
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return n + 2 // it may be answered before
		}
	}
}

// proxyFields are between a client and its proxy (RFC 9110, sections 7.6.1 and 11.7). No
// other that begins with Proxy- is.
var proxyFields = []string{"proxy-authenticate", "proxy-authentication-info", "proxy-authorization", "proxy-connection"}

// checkRequests holds all that o has got to be requests in one form.
func checkRequests(t *testing.T, in []byte, o *originConn) {
	br := bufio.NewReader(bytes.NewReader(o.got.Bytes()))
	for {
		head := readHead(br)
		if !strings.HasSuffix(head, "\r\n\r\n") {
			return
		}
		fields := fieldsOf(t, head)
		host, port, err := splitAuthority(strings.Join(fields["host"], ", "), 80)
		if err == nil {
			host, err = canonicalHost(host)
		}
		if err != nil || host != o.host || port != o.port {
			t.Errorf("%q\nat %s:%d: %q", in, o.host, o.port, head)
		}
		for name, values := range fields {
			switch {
			case slices.Contains(proxyFields, name), name == "keep-alive", name == "trailers",
				name == "http2-settings", name == "upgrade" && strings.EqualFold(strings.Join(values, ","), "h2c"),
				name == "te" && strings.Join(values, ",") != "trailers",
				name == "connection" && !strings.EqualFold(strings.Join(values, ","), "upgrade") && strings.Join(values, ",") != "close":
				t.Errorf("%q\nbecame %q", in, head)
			}
		}
		if len(fields["upgrade"]) > 0 { // what follows may be anything
			return
		}
		body := framed(t, in, head, fields, br)
		if body == nil {
			body = http.NoBody
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Errorf("%q\nbecame %q and then %q", in, head, rest)
			}
			return
		}
	}
}

// fieldsOf are the fields of a head, in lower case, each line in the one form that there is.
func fieldsOf(t *testing.T, head string) map[string][]string {
	fields := make(map[string][]string)
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	for i, line := range lines {
		name, value, ok := strings.Cut(line, ": ")
		if strings.ContainsAny(line, "\r\n\x00") || i > 0 && (!ok || name == "" || strings.ContainsAny(name, " \t:") || strings.Trim(value, " \t") != value) {
			if i == 0 || !strings.HasSuffix(line, ":") { // an empty value
				t.Errorf("line %d of %q", i, head)
			}
		}
		if i > 0 {
			name = strings.ToLower(strings.TrimSuffix(name, ":"))
			fields[name] = append(fields[name], value)
		}
	}
	return fields
}

// framed is the body that a head announces, in one way alone; nil if in none.
func framed(t *testing.T, in []byte, head string, fields map[string][]string, br *bufio.Reader) io.Reader {
	length, coding := fields["content-length"], fields["transfer-encoding"]
	switch {
	case len(length)+len(coding) > 1 || len(coding) == 1 && coding[0] != "chunked":
		t.Errorf("%q\nbecame %q", in, head)
	case len(coding) == 1:
		return chunked{br}
	case len(length) == 1:
		n, err := strconv.ParseUint(length[0], 10, 62)
		if err != nil {
			t.Errorf("%q\nbecame %q", in, head)
		}
		return whole{br, int64(n)}
	}
	return nil
}

// whole reads n bytes, and fails if there are less.
type whole struct {
	r io.Reader
	n int64
}

func (w whole) Read([]byte) (int, error) {
	n, err := io.CopyN(io.Discard, w.r, w.n)
	if n < w.n {
		return 0, cmpErr(err, io.ErrUnexpectedEOF)
	}
	return 0, io.EOF
}

func cmpErr(err, or error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return or
	}
	return err
}

// chunked reads a chunked body in the one form in which it is written, with its trailer.
type chunked struct{ r *bufio.Reader }

func (c chunked) Read([]byte) (int, error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 62)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			for line != "\r\n" {
				if line, err = c.r.ReadString('\n'); err != nil {
					return 0, io.ErrUnexpectedEOF
				}
			}
			return 0, io.EOF
		}
		if _, err := io.CopyN(io.Discard, c.r, int64(n)+2); err != nil {
			return 0, io.ErrUnexpectedEOF
		}
	}
}

// checkAnswers holds what a client gets to the same, and returns how many answers that is.
func checkAnswers(t *testing.T, in, answer, out []byte) (n int) {
	br := bufio.NewReader(bytes.NewReader(out))
	for first := true; ; first = false {
		head := readHead(br)
		if !strings.HasSuffix(head, "\r\n\r\n") {
			if head != "" && first && len(out) > 0 {
				t.Errorf("%q and %q:\nanswered %q", in, answer, out)
			}
			return n
		}
		fields := fieldsOf(t, head)
		for _, name := range append([]string{"keep-alive", "te"}, proxyFields...) {
			if len(fields[name]) > 0 {
				t.Errorf("%q and %q:\nanswered %q", in, answer, head)
			}
		}
		version, rest, _ := strings.Cut(head, " ")
		code, _, _ := strings.Cut(rest, " ")
		switch status, err := strconv.Atoi(code); {
		case err != nil || status < 100 || status > 999 || version != "HTTP/1.1" && version != "HTTP/1.0":
			t.Errorf("%q and %q:\nanswered %q", in, answer, head)
			return n
		case status == 101:
			return n + 1
		case status < 200:
			continue
		}
		n++
		body := framed(t, in, head, fields, br)
		if body == nil || bytes.Contains(in, []byte("HEAD")) { // to the end, or to HEAD
			return n
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return n
		}
	}
}

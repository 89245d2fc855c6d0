package socks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Both directions stream: the origin answers while the body still comes, and
// each piece arrives as it is sent.
func TestHostile42_StreamsBothWays(t *testing.T) {
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
		buf := make([]byte, 100)
		for {
			n, err := req.Body.Read(buf)
			if n > 0 {
				fmt.Fprintf(conn, "%x\r\n%s\r\n", n, buf[:n])
			}
			if err != nil {
				break
			}
		}
		fmt.Fprintf(conn, "0\r\nX-Sum: %s\r\n\r\n", req.Trailer.Get("X-Up"))
	})
	p := forwarding(t, origin, nil)
	conn := p.dial(t)
	mustWrite(t, conn, "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Up\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustWrite(t, conn, "4\r\nping\r\n")
		mustRead(t, resp.Body, "ping")
	}
	mustWrite(t, conn, "0\r\nX-Up: 12\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if sum := resp.Trailer.Get("X-Sum"); sum != "12" {
		t.Errorf("trailer %q", sum)
	}
	conn.Close()
}

// An answer that comes before the body has been sent reaches the client, and ends the
// upload: what is left of the body is nobody's next request.
func TestHostile42_EarlyAnswer(t *testing.T) {
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		readHead(br)
		io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		conn.CloseWrite()
		io.Copy(io.Discard, br) // a reset might overtake the answer
	})
	for _, length := range []string{"Content-Length: 100000000", "Transfer-Encoding: chunked"} {
		p := forwarding(t, origin, nil)
		conn := p.dial(t)
		mustWrite(t, conn, "POST http://a/ HTTP/1.1\r\nHost: a\r\n"+length+"\r\n\r\n")
		var upload sync.WaitGroup
		upload.Go(func() {
			piece := "1000\r\n" + strings.Repeat("x", 0x1000) + "\r\n"
			for range 100000000 / len(piece) {
				if _, err := io.WriteString(conn, piece); err != nil {
					return
				}
			}
		})
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 413 {
			t.Errorf("%s: %+v, %v", length, resp, err)
		}
		conn.Close()
		upload.Wait()
	}
}

func TestHostile42_Continue(t *testing.T) {
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		if head := readHead(br); !strings.Contains(head, "Expect: 100-continue") {
			return
		}
		io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		body := make([]byte, 4)
		io.ReadFull(br, body)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%s", body)
	})
	p := forwarding(t, origin, nil)
	conn := p.dial(t)
	mustWrite(t, conn, "PUT http://a/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
	mustRead(t, conn, "HTTP/1.1 100 Continue\r\n\r\n")
	mustWrite(t, conn, "body")
	want := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
	if out, err := io.ReadAll(conn); err != nil || string(out) != want {
		t.Errorf("%q, %v", out, err)
	}
}

// A body that is not whole never looks whole to the origin.
func TestHostile35_BrokenChunks(t *testing.T) {
	for _, body := range []string{
		"fffffffffffffffff\r\nx\r\n0\r\n\r\n", // overflow
		"4\r\nabcdX\r\n0\r\n\r\n",
		"g\r\n\r\n",
		"-1\r\nx\r\n0\r\n\r\n",
		"0x1\r\nx\r\n0\r\n\r\n",
		"1\nx\r\n0\r\n\r\n",
		"1;a=b\nx\r\n0\r\n\r\n",
		"1\r\nx\r\n0\n\r\n",
		"4\r\nab", // and then the end, as of the others
		"1\r\nx\r\n",
		"1\r\nx\r\n0\r\n",
		"1\r\nx\r\n0\r\nX-Trailer: cut off\r\n",
	} {
		ended := make(chan error, 1)
		origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
			req, err := http.ReadRequest(br)
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			ended <- err
		})
		p := forwarding(t, origin, nil)
		conn := p.dial(t)
		mustWrite(t, conn, "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%q: the origin has got a whole body", body)
			}
		default: // it never reached the origin
		}
	}
}

// The same of an answer: it ends by a reset, and never as if it were whole.
func TestHostile35_BrokenAnswers(t *testing.T) {
	for _, answer := range []string{
		"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n4\r\nabcdX\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1\nx\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
		"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n",
		"Content-Length: 5\r\n\r\nabcd",
	} {
		origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
			readHead(br)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+answer)
		})
		p := forwarding(t, origin, nil)
		conn := p.dial(t)
		mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if out, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) || strings.HasSuffix(string(out), "\r\n0\r\n\r\n") {
			t.Errorf("%q: got %q, %v", answer, out, err)
		}
	}
}

// What chunks may have beside data goes no further, but for trailers that mean nothing to
// the message itself (RFC 9110, section 6.5.1). None of them is announced here: who did
// announce such a one is refused.
func TestHostile35_ExtensionsAndTrailers(t *testing.T) {
	const body = "2;a=b\r\nok\r\n0;c\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: b\r\nAuthorization: x\r\nTrailer: x\r\nX-Sum: 1\r\n\r\n"
	const same = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
	heads := make(chan string, 10)
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		var whole strings.Builder
		for !strings.HasSuffix(whole.String(), "X-Sum: 1\r\n\r\n") {
			part := readHead(br)
			if whole.WriteString(part); part == "" {
				break
			}
		}
		heads <- whole.String()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"+body)
	})
	p := forwarding(t, origin, nil)
	out := p.talkToEnd(t, "POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
	if got, want := soon(t, heads), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTe: trailers\r\n\r\n"+same[strings.Index(same, "2\r\n"):]; got != want {
		t.Errorf("origin got  %q\nwant        %q", got, want)
	}
	if want := "HTTP/1.1 200 OK\r\nConnection: close\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + same[strings.Index(same, "2\r\n"):]; out != want {
		t.Errorf("client got  %q\nwant        %q", out, want)
	}
}

// An answer that breaks off is a reset, also where the end of the connection
// is what ends it.
func TestHostile35_BrokenAnswerIsReset(t *testing.T) {
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		readHead(br)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	})
	p := forwarding(t, origin, nil)
	conn := p.dial(t)
	mustWrite(t, conn, "GET http://a/ HTTP/1.0\r\n\r\n")
	out, err := io.ReadAll(conn)
	if err == nil {
		t.Errorf("%q ends without an error", out)
	}
}

// A body may take for ever, as long as it goes on; and one that stops does not.
func TestHostile32_SlowBody(t *testing.T) {
	received := make(chan string, 1)
	cfg := Config{Dial: func(context.Context, string, uint16) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			req, err := http.ReadRequest(bufio.NewReader(far))
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			received <- string(body)
			io.WriteString(far, ok)
		}()
		return near, nil
	}}
	inBubble(t, cfg, func(t *testing.T, _ *Server, ln *memListener) {
		conn := ln.connect("192.0.2.7:1")
		mustWrite(t, conn, "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nConnection: close\r\n\r\n")
		for range 9 {
			time.Sleep(bodyTimeout - time.Second)
			mustWrite(t, conn, "x")
		}
		if got := <-received; got != "xxxxxxxxx" {
			t.Errorf("origin got %q", got)
		}
		out, _ := io.ReadAll(conn)
		if status(string(out)) != "200" {
			t.Errorf("got %q", out)
		}

		conn = ln.connect("192.0.2.7:1")
		mustWrite(t, conn, "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
		begin := time.Now()
		io.Copy(io.Discard, conn)
		if took := time.Since(begin); took > bodyTimeout+10*time.Second {
			t.Errorf("a stalled body was dropped after %v", took)
		}
	})
}

// Long after every timeout the answer may still come.
func TestLateAnswer(t *testing.T) {
	cfg := Config{Dial: func(context.Context, string, uint16) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			readHead(bufio.NewReader(far))
			time.Sleep(time.Hour)
			io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
			for range 3 {
				time.Sleep(time.Hour)
				io.WriteString(far, "data: x\n\n")
			}
		}()
		return near, nil
	}}
	inBubble(t, cfg, func(t *testing.T, _ *Server, ln *memListener) {
		conn := ln.connect("192.0.2.7:1")
		mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != strings.Repeat("data: x\n\n", 3) {
			t.Errorf("%q, %v", body, err)
		}
		conn.Close()
	})
}

// A client that does not read stops the origin: what is taken from it fits into
// the kernel's buffers, at most 10 MiB for each of the two connections.
func TestHostile32_SlowReader(t *testing.T) {
	const most, whole = 32 << 20, 256 << 20
	taken := make(chan int, 1)
	origin := rawOrigin(t, func(conn *net.TCPConn, br *bufio.Reader) {
		readHead(br)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", whole)
		sum, piece := 0, make([]byte, 64<<10)
		for sum < whole {
			conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			n, err := conn.Write(piece)
			if sum += n; err != nil {
				break
			}
		}
		taken <- sum
	})
	p := forwarding(t, origin, nil)
	conn := p.dial(t)
	mustWrite(t, conn, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
	if n := <-taken; n > most {
		t.Errorf("%d bytes taken from the origin", n)
	}
	conn.Close()
}

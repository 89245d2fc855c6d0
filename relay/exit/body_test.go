package exit

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux/wire"
)

// silence is a body that says nothing until it is told to end.
type silence <-chan struct{}

func (s silence) Read([]byte) (int, error) {
	<-s
	return 0, io.EOF
}

// TestHostile73_StrangersLeaveBodies: requests of strangers that send no body, or a part of
// it, cost little each, and all of them leave half of the memory for requests to those who
// have shown to be clients. What they hold comes back.
func TestHostile73_StrangersLeaveBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Memory: 64 << 20})
		defer r.node.Close()
		stranger, client := new(guest), new(guest) // any number of strangers' connections, for all that counts
		client.known.Store(true)
		post := func(by *guest, path string, body io.Reader) int {
			w := httptest.NewRecorder()
			ctx := context.WithValue(t.Context(), guestKey{}, by)
			r.node.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, path, body))
			return w.Code
		}
		end := make(chan struct{})
		var all sync.WaitGroup
		hang := func(n int, path string, begin []byte) {
			for range n {
				all.Go(func() { post(stranger, path, io.MultiReader(bytes.NewReader(begin), silence(end))) })
			}
			synctest.Wait()
		}
		batch := func(n int) io.Reader { return bytes.NewReader(padded(n)) }
		hang(1024, "/", nil)
		if got := r.node.bodies.Used(); got != 1024*growLeast {
			t.Errorf("%d bytes charged for nothing", got)
		}
		if status := post(new(guest), pathBatch, batch(1<<20)); status != http.StatusOK {
			t.Errorf("a client on a new connection gets %d", status)
		}
		hang(1024, pathBatch, bytes.Repeat([]byte("x"), 32<<10))
		half := r.node.bodies.Limit() / 2
		if got := r.node.bodies.Used(); got > half || got < half/2 {
			t.Errorf("%d bytes of %d held", got, 2*half)
		}
		hang(1024, "/", nil)
		for _, path := range []string{"/", pathBatch} {
			if status := post(stranger, path, batch(1<<20)); status != http.StatusServiceUnavailable {
				t.Errorf("one stranger too many gets %d at %s", status, path)
			}
		}
		if status := post(client, pathBatch, batch(4<<20)); status != http.StatusOK {
			t.Errorf("a client gets %d", status)
		}
		if status := post(nil, pathBatch, batch(4<<20)); status != http.StatusOK {
			t.Errorf("who comes by a proxy on this machine gets %d", status)
		}
		close(end)
		all.Wait()
		if a, b := r.node.bodies.Used(), r.node.strange.Used(); a != 0 || b != 0 {
			t.Errorf("%d bytes and %d are not given back", a, b)
		}
	})
}

// TestStrangersSmallMemory: where there is room for one full request a stranger may send it.
func TestStrangersSmallMemory(t *testing.T) {
	r := newRig(t, Config{Memory: 16 << 20})
	ctx := context.WithValue(t.Context(), guestKey{}, new(guest))
	for _, body := range [][]byte{padded(4 << 20), zip(padded(1 << 20))} {
		if w := r.post(ctx, pathBatch, body); w.Code != http.StatusOK {
			t.Errorf("%d bytes: %d", len(body), w.Code)
		}
	}
}

// TestQUICStrangers: by HTTP/3 too a connection is a stranger's until it has shown the key.
func TestQUICStrangers(t *testing.T) {
	r := newRig(t, Config{})
	address, _ := serveQUIC(t, r, TLS{SelfSigned: true}, QUIC{})
	taken := int(r.node.strange.Limit())
	r.node.strange.Force(taken)
	c := client(t, "3")
	ask := func() int {
		t.Helper()
		resp, err := c.Post("https://"+address+pathBatch, "", bytes.NewReader(wire.AppendBatch(nil, testKey, false, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	if status := ask(); status != http.StatusServiceUnavailable {
		t.Errorf("a stranger gets %d", status)
	}
	r.node.strange.Return(taken)
	if status := ask(); status != http.StatusOK {
		t.Errorf("a client gets %d", status)
	}
	r.node.strange.Force(taken)
	if status := ask(); status != http.StatusOK {
		t.Errorf("a known client gets %d", status)
	}
}

// TestRequestsOfConn: by one connection so many requests are looked at at a time, by h2 as
// by HTTP/3, whose settings say so.
func TestRequestsOfConn(t *testing.T) {
	r := newRig(t, Config{})
	address, s := serveQUIC(t, r, TLS{SelfSigned: true}, QUIC{})
	if got := s.quic.config().MaxIncomingStreams; got != requestsOfConn {
		t.Errorf("HTTP/3: %d", got)
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	if _, err := io.WriteString(conn, preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil { // and empty SETTINGS
		t.Fatal(err)
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(conn, head); err != nil || head[3] != 4 { // RFC 9113 section 6.5
		t.Fatal(head, err)
	}
	settings := make([]byte, int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(conn, settings); err != nil {
		t.Fatal(err)
	}
	got := uint32(0)
	for ; len(settings) >= 6; settings = settings[6:] {
		if binary.BigEndian.Uint16(settings) == 3 { // SETTINGS_MAX_CONCURRENT_STREAMS
			got = binary.BigEndian.Uint32(settings[2:])
		}
	}
	if got != requestsOfConn {
		t.Errorf("h2: %d", got)
	}
}

package relaytest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"relaymux/relay/exit"
)

// wrapped is a node of ours whose answers change.
type wrapped struct {
	node   *exit.Node
	change atomic.Pointer[func([]byte) []byte]
}

func (f *wrapped) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	f.node.ServeHTTP(rec, r)
	text := rec.Body.Bytes()
	if change := f.change.Load(); change != nil {
		text = (*change)(text)
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(text)
}

// TestHostile68_BrokenAnswers: each of them fails one exchange at most, and what
// reaches the application is right or a reset.
func TestHostile68_BrokenAnswers(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(68, 1))
	for name, change := range map[string]func(p []byte) []byte{
		"truncated": func(p []byte) []byte { return p[:rnd.IntN(len(p))] },
		"a flipped bit": func(p []byte) []byte {
			p = bytes.Clone(p)
			p[rnd.IntN(min(len(p), 40))] ^= 0x80 // never base64, never JSON's own
			return p
		},
		"two documents":        func(p []byte) []byte { return append(bytes.Clone(p), p...) },
		"a mark in front":      func(p []byte) []byte { return append([]byte("\xef\xbb\xbf"), p...) },
		"words around":         func(p []byte) []byte { return []byte("says: " + string(p) + " over") },
		"invalid UTF-8 behind": func(p []byte) []byte { return append(bytes.Clone(p), 0xff, 0xfe) },
		"nothing":              func([]byte) []byte { return nil },
		"another's JSON":       func([]byte) []byte { return []byte(`{"r":[{"sid":"x","d":"QUFB","eof":false,"off":0}]}`) },
		"too many results":     func([]byte) []byte { return []byte(`{"r":[` + strings.Repeat(`{},`, 2000) + `{}]}`) },
		"an absurd offset":     func(p []byte) []byte { return bytes.ReplaceAll(p, []byte(`"off":`), []byte(`"off":99999999999999`)) },
		"deeply nested":        func([]byte) []byte { return []byte(`{"r":` + strings.Repeat("[", 100_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			var foreign *wrapped
			c := StackConfig{Foreign: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { foreign.ServeHTTP(w, r) })}
			virtual(t, c, func(t *testing.T, s *Stack) {
				foreign = &wrapped{node: newNode(s.config.Memory)}
				defer foreign.node.Close()
				const size = 1 << 20
				addr := s.serve(t, func(c net.Conn) { trickle(c, 3, size) })
				for range 4 {
					foreign.change.Store(nil)
					c := open(t, s.Connect, addr)
					within(t, c, 5*time.Minute)
					_, err := io.ReadFull(c, make([]byte, 0))
					check(t, err)
					time.AfterFunc(3*time.Second, func() { foreign.change.Store(&change) })
					time.AfterFunc(4*time.Second, func() { foreign.change.Store(nil) })
					arrive(c).wantPart(t, "the app", 3, size)
				}
				time.Sleep(2 * time.Minute) // whatever rest it earned
				ask(t, open(t, s.Connect, s.serve(t, Echo)), "still there")
			})
		})
	}
}

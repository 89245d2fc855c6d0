package h3

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"relaymux/mux/gso"
	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/mux/stats"
	"relaymux/relay"
	"relaymux/relay/exit"
)

// newNode runs a node on loopback, whose listener has both, and returns a transport
// to it that knows it by its fingerprint.
func newNode(t testing.TB, client, server *stats.UDP) *Transport {
	t.Helper()
	n, err := exit.New(exit.Config{Key: secret.New(testKey), Clients: []link.Client{{Name: "ann", Secret: link.NewSecret(testSecret)}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := exit.NewServer(n, exit.TLS{SelfSigned: true})
	if err != nil {
		t.Fatal(err)
	}
	var ln net.Listener
	for range 20 { // the number may be somebody else's in UDP
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if err = s.ListenQUIC(ln.Addr(), exit.QUIC{UDP: gso.Options{GSO: true, GRO: true, Stats: server}}); err == nil {
			break
		}
		ln.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	c := Config{UDP: gso.Options{GSO: true, GRO: true, Stats: client}, Early: !raceEnabled}
	c.Name, c.URL = "node", &url.URL{Scheme: "https", Host: ln.Addr().String()}
	if c.PinSHA256, err = hex.DecodeString(s.Fingerprint()); err != nil {
		t.Fatal(err)
	}
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tr.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return tr
}

const (
	testKey    = "correct horse battery staple 32+"
	testSecret = "ann has a secret of 32 characters"
)

// shakeHands makes a link by way of tr.
func shakeHands(t *testing.T, tr *Transport) link.Keys {
	t.Helper()
	p := link.HelloParams{Credit: 1 << 30}
	h, body, err := link.Hello(link.NewSecret(testSecret), p.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	x := relay.Exchange{Body: body, Binary: true}
	if err := tr.Exchange(t.Context(), &x); err != nil {
		t.Fatal(err)
	}
	keys, _, err := h.Finish(x.Answer)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Handshakes and exchanges of a link with a node, in first flights and later.
func TestNode(t *testing.T) {
	tr := newNode(t, new(stats.UDP), new(stats.UDP))
	for range 3 {
		keys := shakeHands(t, tr)
		// A message without records is a client's that only asks.
		x := relay.Exchange{Body: link.AppendRequestHead(nil, keys.ID(), 1), Binary: true}
		if err := tr.Exchange(t.Context(), &x); err != nil {
			if f := err.(*relay.Failure); f.Kind != relay.Refused {
				t.Error(err)
			}
		}
		x = relay.Exchange{Body: []byte(`{"k":"` + testKey + `","t":"batch","ops":[]}`)}
		if err := tr.Exchange(t.Context(), &x); err != nil || !bytes.Contains(x.Answer, []byte(`"r":[]`)) {
			t.Errorf("%s, %v", x.Answer, err)
		}
		x = relay.Exchange{Body: []byte(`{"k":"another key","t":"batch","ops":[]}`)}
		if f, ok := tr.Exchange(t.Context(), &x).(*relay.Failure); !ok || f.Kind != relay.Refused {
			t.Error(f)
		}
		x = relay.Exchange{Body: []byte("\x01a hello of nobody" + strings.Repeat(" ", 100)), Binary: true}
		if f, ok := tr.Exchange(t.Context(), &x).(*relay.Failure); !ok || f.Kind != relay.Refused {
			t.Error(f)
		}
		tr.Close()
	}
}

// What an exchange of a few MiB costs each way.
func BenchmarkExchange(b *testing.B) {
	const size = 4 << 20
	answer := make([]byte, size)
	s := newRig(b, func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Type", "application/octet-stream")
		if n > 1000 {
			_, _ = w.Write(answer[:10])
			return
		}
		_, _ = w.Write(answer)
	}).transportOf(nil)
	for name, body := range map[string][]byte{"up": make([]byte, size), "down": make([]byte, 10)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			room := make([]byte, 0, size+1)
			for b.Loop() {
				x := relay.Exchange{Body: body, Answer: room, Binary: true}
				if err := s.Exchange(b.Context(), &x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A pipe to a node, which answers at once what it does not have to think about.
func TestNodePipe(t *testing.T) {
	tr := newNode(t, new(stats.UDP), new(stats.UDP))
	keys := shakeHands(t, tr)
	c := link.NewConn(link.Config{Client: true, Peer: 1 << 30}, nil)
	say := func(m *link.Message, head []byte) []byte {
		body, err := m.AppendSealed(head, keys.Sealer(link.Up))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	p, err := tr.Pipe(t.Context(), say(c.Plan(time.Now(), 1, &link.Ask{Room: 1 << 20}, link.Limits{}), link.AppendPipeHead(nil, keys.ID(), 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, o := link.NewReader(p, nil), keys.Opener(link.Down)
	if kind, err := r.Kind(); kind != link.KindPiped || err != nil {
		t.Fatalf("%#x, %v", kind, err)
	}
	for i := range uint32(3) {
		record, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := o.Open(nil, record, 1, i); err != nil {
			t.Fatal(err)
		}
		m := c.Plan(time.Now(), 1, &link.Ask{Room: 1 << 20}, link.Limits{})
		m.First = i + 1
		if _, err := p.Write(say(m, nil)); err != nil {
			t.Fatal(err)
		}
	}
}

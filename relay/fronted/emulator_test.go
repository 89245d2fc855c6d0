package fronted_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/relay"
	"relaymux/relay/fronted"
	"relaymux/relay/relaytest"
)

const nodeAnswer = `{"r":[{"sid":"a"}]}`

// emulator runs a Relay at server, which a Transport of script reaches, or one of
// a binary relay with the bearer.
func (r *rig) emulator(held time.Duration) *relaytest.Relay {
	r.serve("10.0.0.9:80", nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header()["Content-Type"] = req.Header["Content-Type"]
		slow(held, 0, nodeAnswer)(w, req)
	}))
	e := relaytest.NewRelay(relaytest.RelayConfig{
		Deployments: []string{"DEPLOYMENT"}, Workers: []string{"WORKER"},
		AuthKey: bearer, TunnelKey: "node",
		Node:      &url.URL{Scheme: "http", Host: "10.0.0.9"},
		Transport: &http.Transport{DialContext: r.net.Dial},
		Echo:      &url.URL{Scheme: "http", Host: "script.googleusercontent.com"},
	})
	r.Cleanup(e.Close)
	r.serve(server, nil, e)
	return e
}

// TestFaultsOfTheEmulator holds which failure each fault comes to.
func TestFaultsOfTheEmulator(t *testing.T) {
	for _, tt := range []struct {
		name      string
		knobs     relaytest.Knobs
		kind      relay.Kind // 0: an answer
		untouched bool
	}{
		{"none", relaytest.Knobs{RTT: 1500 * time.Millisecond}, 0, false},
		{"decoy", relaytest.Knobs{Decoy: true}, relay.Decoy, false},
		{"quota", relaytest.Knobs{QuotaPage: true}, relay.Quota, true},
		{"429", relaytest.Knobs{Status: 429, RetryAfter: "9"}, relay.RetryAfter, true},
		{"503", relaytest.Knobs{Status: 503, RetryAfter: "9"}, relay.RetryAfter, false},
		{"500", relaytest.Knobs{Status: 500}, relay.ServerError, false},
		{"lost before", relaytest.Knobs{LoseBefore: 1}, relay.Broken, false},
		{"lost after", relaytest.Knobs{LoseAfter: 1}, relay.Broken, false},
		{"late", relaytest.Knobs{Late: 1, LateBy: time.Hour}, relay.Timeout, false},
		{"script's limit", relaytest.Knobs{ExchangeLimit: time.Second}, relay.Timeout, false},
		{"twice", relaytest.Knobs{Duplicate: 1}, 0, false},
		{"truncated", relaytest.Knobs{Truncate: 5}, 0, false}, // the parser's business
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.emulator(2 * time.Second).Set(func(k *relaytest.Knobs) { *k = tt.knobs })
				got, f := r.exchange(r.transport(script, nil))
				switch {
				case tt.kind == 0 && (f != nil || !strings.HasPrefix(nodeAnswer, got) || got == ""):
					t.Errorf("%q, %v", got, f)
				case tt.kind != 0 && (f == nil || f.Kind != tt.kind || f.Untouched != tt.untouched):
					t.Errorf("%v, %+v", f, f)
				}
			})
		})
	}
}

func TestEmulatorOutOfSlots(t *testing.T) {
	inTime(t, 2*time.Second, func(r *rig) {
		e := r.emulator(2 * time.Second)
		e.Set(func(k *relaytest.Knobs) { k.Slots = 1 })
		tr := r.transport(script, nil)
		first := make(chan struct{})
		go func() {
			defer close(first)
			if _, f := r.exchange(tr); f != nil {
				r.Error(f)
			}
		}()
		synctest.Wait()
		r.expect(tr, relay.RetryAfter, true, "at once")
		<-first
	})
}

// TestWrongKeyIsADecoyWithAHint: the page says nothing of a key, the hint does.
func TestWrongKeyIsADecoyWithAHint(t *testing.T) {
	r := newRig(t)
	r.emulator(0)
	_, err := carry(t.Context(), r.transport(script, nil), []byte(`{"k":"wrong","t":"batch","ops":[]}`), nil)
	if f := r.failure(err); f == nil || f.Kind != relay.Decoy || !strings.Contains(f.Hint, "AUTH_KEY") {
		t.Errorf("%v", f)
	}
}

// BenchmarkExchange is 4 MiB each way on loopback, straight to a node.
func BenchmarkExchange(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	big := `{"r":["` + strings.Repeat("x", 4<<20) + `"]}`
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Length", strconv.Itoa(len(big)))
		_, _ = io.WriteString(w, big)
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	tr, err := fronted.New(fronted.Config{URL: &url.URL{Scheme: "http", Host: l.Addr().String()}})
	if err != nil {
		b.Fatal(err)
	}
	defer tr.Close()
	body, room := make([]byte, 4<<20), make([]byte, 0, 5<<20)
	b.SetBytes(int64(len(body) + len(big)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := carry(context.Background(), tr, body, room); err != nil {
			b.Fatal(err)
		}
	}
}

package main

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relaymux/relay/relaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRelay(t *testing.T) *relaytest.Relay {
	node := &url.URL{Scheme: "http", Host: "node.test"}
	r := relaytest.NewRelay(relaytest.RelayConfig{
		Deployments: []string{"d1", "d2"}, Workers: []string{"w1"}, AuthKey: "key", Node: node})
	t.Cleanup(r.Close)
	return r
}

// exchange sends an empty batch to a relay at path.
func exchange(r *relaytest.Relay, path string) {
	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", path, strings.NewReader(`{"k":"key","t":"batch","ops":[]}`)))
}

func TestControl(t *testing.T) {
	r := newRelay(t)
	r.Set(func(k *relaytest.Knobs) { k.Slots, k.Status = 7, 500 })
	control := controller(r)
	w := httptest.NewRecorder()
	control.ServeHTTP(w, httptest.NewRequest("POST", "/knobs?id=d2", strings.NewReader(`{"Decoy":true,"Status":0}`)))
	if w.Code != 200 {
		t.Fatalf("POST /knobs: %d %s", w.Code, w.Body)
	}
	r.Set(func(k *relaytest.Knobs) {
		if k.Slots != 7 || !k.Decoy || k.Status != 0 {
			t.Errorf("d2 has %+v, want its slots, the decoy and no status", *k)
		}
	}, "d2")
	exchange(r, "/macros/s/d1/exec")
	exchange(r, "/macros/s/d2/exec")
	exchange(r, "/macros/s/d2/exec")
	exchange(r, "/w/w1/tunnel/batch")

	for query, want := range map[string]map[relaytest.Outcome]int{
		"":              {relaytest.Status: 2, relaytest.Decoyed: 2},
		"?id=w1":        {relaytest.Status: 1},
		"?id=d1":        {relaytest.Status: 1},
		"?id=d1&id=d2":  {relaytest.Status: 1, relaytest.Decoyed: 2},
		"?id=elsewhere": {},
	} {
		w = httptest.NewRecorder()
		control.ServeHTTP(w, httptest.NewRequest("GET", "/stats"+query, nil))
		var got relaytest.Stats
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got.Exchanges, want) {
			t.Errorf("GET /stats%s: %v, want %v", query, got.Exchanges, want)
		}
	}
}

func TestControlRefuses(t *testing.T) {
	control := controller(newRelay(t))
	for _, body := range []string{"", "[]", `{"RTT":"fast"}`} {
		w := httptest.NewRecorder()
		control.ServeHTTP(w, httptest.NewRequest("POST", "/knobs", strings.NewReader(body)))
		if w.Code != 400 {
			t.Errorf("POST /knobs with %q: %d, want 400", body, w.Code)
		}
	}
}

func TestParse(t *testing.T) {
	t.Setenv("RELAYEMU_AUTH_KEY", "of the clients")
	t.Setenv("RELAYEMU_TUNNEL_KEY", "of the node")
	o, err := parse([]string{"-node", "http://127.0.0.1:8", "-deployments", "a,b", "-workers", "c", "-rtt", "1.5s",
		"-echo", "https://echo.test"})
	if err != nil {
		t.Fatal(err)
	}
	c := o.relay
	if c.AuthKey != "of the clients" || c.TunnelKey != "of the node" || len(c.Deployments) != 2 ||
		!slices.Equal(c.Workers, []string{"c"}) ||
		c.Node.Host != "127.0.0.1:8" || c.Echo.Host != "echo.test" || o.knobs.RTT != 1500*time.Millisecond {
		t.Errorf("parsed %+v", o)
	}
	if o, err = parse([]string{"-node", "http://127.0.0.1:8", "-deployments", ""}); err != nil || o.relay.Deployments != nil || o.relay.Workers != nil {
		t.Errorf("neither scripts nor workers: parsed %+v, %v", o, err)
	}
	if _, err := parse(nil); err == nil {
		t.Error("no -node: want an error")
	}
}

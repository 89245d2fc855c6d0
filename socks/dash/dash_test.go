package dash

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relaymux/mux"
	"relaymux/mux/secret"
	"relaymux/mux/stats"
	"relaymux/relay"
	"relaymux/relay/account"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a Server over a mux that never was.
type rig struct {
	*Server
	snap  mux.Snapshot
	looks atomic.Int32
	ended atomic.Uint64 // the flow that was ended last
}

const evilHost = `<img src=x onerror=alert(1)>"'&</script><script>alert(2)</script>`

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{snap: someSnapshot(time.Now())}
	c := Config{
		Look: func(flows int) mux.Snapshot {
			r.looks.Add(1)
			s := r.snap
			if len(s.Flows) > flows {
				s.MoreFlows += len(s.Flows) - flows
				s.Flows = s.Flows[:flows]
			}
			return s
		},
		EndFlow: func(id uint64) bool { r.ended.Store(id); return id == 7 },
		Clients: func() Clients { return Clients{Open: 3, Refused: 4, Short: 8, Garbage: 5, BadLogins: 6, Panics: 7} },
		Stats:   new(stats.Mux), UDP: new(stats.UDP), QUIC: new(stats.UDP),
		Route:   func(string) (string, string, error) { return "tunnel", "", nil },
		Version: "v1",
	}
	c.Stats.Up.Store(1000)
	c.Stats.UpUDP.Store(300)
	c.QUIC.Sent.Add(20, 24000)
	c.QUIC.Sent.Add(10, 12000)
	c.UDP.Drop(stats.DropQUIC, 3)
	if change != nil {
		change(&c)
	}
	var err error
	if r.Server, err = New(c, Proxy{Listen: addrPorts("127.0.0.1:1080")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func addrPorts(list ...string) (all []netip.AddrPort) {
	for _, a := range list {
		all = append(all, netip.MustParseAddrPort(a))
	}
	return all
}

func someSnapshot(now time.Time) mux.Snapshot {
	good := mux.DeploymentSnapshot{
		Name: "d1", Account: "mine", Link: true, Script: true, HTTP: "1.1", InFlight: 2,
		Measured: 64, P50: 400 * time.Millisecond, P95: 700 * time.Millisecond, Hold: 15 * time.Second,
	}
	good.Outcome[0], good.Outcome[relay.Timeout] = 100, 2
	bad := mux.DeploymentSnapshot{
		Name: "d2", Account: "mine", Link: true, Until: now.Add(30 * time.Second), Why: relay.Decoy,
		Said: "d2: decoy: a page", Last: now.Add(-time.Second),
	}
	return mux.Snapshot{
		At: now,
		Exchanges: []mux.ExchangeSnapshot{
			{Deployment: "d1", Link: true, Ops: 3, Up: 100, Down: 2000, Queued: 20 * time.Millisecond, Began: now.Add(-5 * time.Second),
				Wrote: 10 * time.Millisecond, First: 2 * time.Second, Took: 2100 * time.Millisecond, Held: 900 * time.Millisecond, Dial: 600 * time.Millisecond, Reached: 1},
			{Deployment: evilHost, Kind: relay.Timeout, Poll: true, Began: now.Add(-time.Minute), Took: 30 * time.Second},
			{Deployment: "d1", Link: true, Hello: true, Began: now.Add(-time.Hour), Took: time.Second},
		},
		Flows: []mux.FlowSnapshot{
			{ID: 8, Host: evilHost, Port: 443, Link: true, Since: now.Add(-time.Minute), Up: 5, Down: 6},
			{ID: 7, Host: "2001:db8::1", Port: 53, UDP: true, Connected: true, Since: now.Add(-time.Hour), Up: 1 << 20, Down: 5 << 30, Exchanges: 9},
		},
		Deployments: []mux.DeploymentSnapshot{good, bad},
		Accounts: []mux.AccountSnapshot{{InFlight: 2, Snapshot: account.Snapshot{
			Name: "mine", Slots: 30, MostSlots: 30, Quota: 20000, Used: 5000, Left: 15000,
			Resets: now.Add(time.Hour), PerHour: 100, Lasts: 24 * time.Hour}}},
		Link: mux.LinkSnapshot{Wanted: true, Made: now.Add(-time.Hour), Streams: 2},
	}
}

// requestAt is a request that has reached that address.
func requestAt(method, path, reached string) *http.Request {
	req := httptest.NewRequest(method, "http://"+reached+path, nil)
	at := net.Addr(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(reached)))
	return req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, at))
}

// do is a browser's request to the page, with headers and their values in turn.
func (r *rig) do(method, path string, headers ...string) *httptest.ResponseRecorder {
	req := requestAt(method, path, "127.0.0.1:1081")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.http.Handler.ServeHTTP(w, req)
	return w
}

// pageToken is the token that the page has in it.
func (r *rig) pageToken(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(r.do("GET", "/").Body.String(), `id="boot">`)
	data, _, _ := strings.Cut(rest, "</script>")
	var b boot
	if err := json.Unmarshal([]byte(data), &b); err != nil {
		t.Fatal(err)
	}
	return b.Token
}

func TestStatusJSON(t *testing.T) {
	r := newRig(t, nil)
	w := r.do("GET", "/api/status")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	st, err := Parse(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if st.Totals.Up != 1000 || st.Link.State != LinkUp || st.QUIC.Sent.Mean != 15 || st.UDP.Dropped["quic"] != 3 || st.Version != "v1" {
		t.Errorf("%+v", st)
	}
	if d := st.Deployments[0]; d.Exchanges["ok"] != 100 || d.Exchanges["timeout"] != 2 || d.Latency.P50 != 400 || d.Wire != "link" || d.Rest != nil {
		t.Errorf("%+v", d)
	}
	if d := st.Deployments[1]; d.Rest == nil || d.Rest.Why != "decoy" || d.Latency != nil {
		t.Errorf("%+v", d)
	}
	if f := st.Flows[0]; f.Host != evilHost || f.Network != "tcp" || f.Connected || f.Age != 60 {
		t.Errorf("%+v", f)
	}
	want := Exchange{Deployment: "d1", Wire: "link", Kind: "data", Outcome: "ok", Began: st.Exchanges[0].Began, Took: 2100,
		Queued: 20, Send: 10, Relay: 1090, Dial: 600, Node: 300, Answer: 100, Reached: 1, Ops: 3, Up: 100, Down: 2000}
	if x := st.Exchanges[0]; x != want {
		t.Errorf("got %+v\nwant %+v", x, want)
	}
	if x := st.Exchanges[1]; x.Kind != "poll" || x.Outcome != "timeout" || x.Wire != "json" || x.Relay != 30000 || st.Exchanges[2].Kind != "hello" {
		t.Errorf("%+v", st.Exchanges[1:])
	}
	var one Status
	if err := json.Unmarshal(r.do("GET", "/api/status?recent=2").Body.Bytes(), &one); err != nil || len(one.Exchanges) != 2 {
		t.Errorf("%d exchanges, %v", len(one.Exchanges), err)
	}
	if err := json.Unmarshal(r.do("GET", "/api/status?flows=1").Body.Bytes(), &one); err != nil || len(one.Flows) != 1 || one.FlowsMore != 1 {
		t.Errorf("%d flows and %d more, %v", len(one.Flows), one.FlowsMore, err)
	}
}

// An empty state has lists, not nulls, and no advice.
func TestStatusOfNothing(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Look = func(int) mux.Snapshot { return mux.Snapshot{} }; c.UDP = new(stats.UDP) })
	body := r.do("GET", "/api/status").Body.String()
	for _, field := range []string{"flows", "deployments", "accounts", "recent", "advice"} {
		if !strings.Contains(body, `"`+field+`":[]`) {
			t.Errorf("%s is no empty list in %s", field, body)
		}
	}
	for _, field := range []string{"since", "resets", "last_failure_at", "latency", "rest"} {
		if strings.Contains(body, `"`+field+`"`) {
			t.Errorf("%s is told although it is not known: %s", field, body)
		}
	}
}

func TestHealth(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Token = secret.New("0123456789abcdef") })
	if w := r.do("GET", "/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestCloseFlow(t *testing.T) {
	r := newRig(t, nil)
	token := "Bearer " + r.pageToken(t)
	for _, c := range []struct {
		path string
		want int
	}{
		{"/api/flows/7/close", http.StatusNoContent},
		{"/api/flows/8/close", http.StatusNotFound},
		{"/api/flows/-1/close", http.StatusNotFound},
		{"/api/flows/18446744073709551616/close", http.StatusNotFound},
	} {
		if w := r.do("POST", c.path, "Authorization", token); w.Code != c.want {
			t.Errorf("%s: %d", c.path, w.Code)
		}
	}
}

func TestLinkStates(t *testing.T) {
	now := time.Now()
	for want, l := range map[string]mux.LinkSnapshot{
		LinkNone:    {},
		LinkMaking:  {Wanted: true, Failing: now},
		LinkUp:      {Wanted: true, Made: now},
		LinkFailing: {Wanted: true, Made: now, Failing: now},
	} {
		if got := linkOf(&mux.Snapshot{Link: l}).State; got != want {
			t.Errorf("%+v is %s, not %s", l, got, want)
		}
	}
}

// A deployment that nobody has tried does not work, nor does one that has only failed of
// late; and a table says so, in so many letters.
func TestDeploymentStates(t *testing.T) {
	now := time.Now()
	early := now.Add(-time.Minute)
	for _, c := range []struct {
		of          mux.DeploymentSnapshot
		state, text string
	}{
		{mux.DeploymentSnapshot{}, DeploymentUntried, "not tried yet"},
		{mux.DeploymentSnapshot{Last: now, Said: "d: unreachable: connection refused"}, DeploymentFailing, "failing: unreachable: connection refused"},
		{mux.DeploymentSnapshot{Good: early, Last: now, Said: "d: " + strings.Repeat("é", 60)}, DeploymentFailing, "failing: " + strings.Repeat("é", 30) + "…"},
		{mux.DeploymentSnapshot{Good: early, Last: now, Said: "d: " + strings.Repeat("é", 31)}, DeploymentFailing, "failing: " + strings.Repeat("é", 31)},
		{mux.DeploymentSnapshot{Good: now, Last: early, Said: "d: timeout"}, DeploymentWorks, "works"},
		{mux.DeploymentSnapshot{Good: now}, DeploymentWorks, "works"},
		{mux.DeploymentSnapshot{Name: "piped"}, DeploymentStreams, "streams"},
		{mux.DeploymentSnapshot{Last: now, Until: now.Add(90 * time.Second), Why: relay.Decoy}, DeploymentRests, "rests 1 min: decoy"},
	} {
		if c.of.Name == "" {
			c.of.Name = "d"
		}
		d := deploymentOf(&c.of, "piped")
		if got := d.Text(now, 40); d.State != c.state || got != c.text {
			t.Errorf("%+v is %s, %q", c.of, d.State, got)
		}
	}
}

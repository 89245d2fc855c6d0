package relaytest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// benchWays are the ways that BenchmarkNumbers measures, plain loopback first.
var benchWays = []struct {
	name     string
	config   *StackConfig // nil: without the program
	emulator string       // what it goes by, of emulators
}{
	{"loopback", nil, ""},
	{"script", &StackConfig{Link: true, Scripts: 1}, "script"},
	{"plain", &StackConfig{Link: true, Workers: 1}, "worker"},
	{"tls", &StackConfig{Link: true, Workers: 1, TLS: true}, "worker"},
	{"direct h1", &StackConfig{Link: true}, ""},
	{"direct h2", &StackConfig{Link: true, TLS: true, HTTP: "2"}, ""},
	{"direct h3", &StackConfig{Link: true, TLS: true, HTTP: "3"}, ""},
}

// emulators are the kinds of relay, each by what a client posts to it.
var emulators = []struct{ name, path, before, after string }{
	{"script", "/macros/s/d0/exec", `{"k":"auth","t":"batch","ops":["`, `"]}`},
	{"worker", "/w/w0/" + linkPath, "", ""},
}

// A benchRow is a figure of the program's own cost, over a relay that takes no
// time.
type benchRow struct {
	name    string
	unit    string
	run     func(b *testing.B, config *StackConfig) float64
	ceiling exchangeLoad
	bound   map[string]float64 // by way
}

// An exchangeLoad is what the emulator would have to carry for a row, by a
// client and a node that do nothing.
type exchangeLoad struct {
	up, down int     // bytes of the bodies
	atOnce   int     // 1: the median of one after another, in ms
	worth    float64 // of an exchange, in the row's unit without its "per second"
}

const benchAtOnce = 64

var benchRows = []benchRow{
	{"new connection", "p50-ms", tcpRow(askInTurn, Answer),
		exchangeLoad{2 * kilobyte, 2 * kilobyte, 1, 1},
		map[string]float64{"script": 1.5, "plain": 1.5, "tls": 1.5}},
	{"64 new connections", "conn/s", tcpRow(askTogether(benchAtOnce), Answer),
		exchangeLoad{2 * kilobyte, 2 * kilobyte, benchAtOnce, 1},
		map[string]float64{"script": 4000, "plain": 4000, "tls": 4000}},
	{"download", "MB/s", tcpRow(pull, Pour),
		exchangeLoad{kilobyte, 4 << 20, 8, (4 << 20) / 1e6},
		map[string]float64{"plain": 500, "tls": 350}},
	{"upload", "MB/s", tcpRow(pushBulk, Count),
		exchangeLoad{4 << 20, kilobyte, 8, (4 << 20) / 1e6},
		map[string]float64{"plain": 350, "tls": 300}},
	{"UDP echo", "echoes/s", udpRow,
		exchangeLoad{benchAtOnce * 1600, benchAtOnce * 1600, 2, benchAtOnce}, // in base64
		map[string]float64{"script": 10_000, "plain": 10_000, "tls": 10_000}},
}

// BenchmarkNumbers prints each figure beside its bound, and how many times that
// of plain loopback and of the emulator alone it is, measured in the same run.
func BenchmarkNumbers(b *testing.B) {
	for _, r := range benchRows {
		b.Run(r.name, func(b *testing.B) {
			plain, ceilings := 0.0, make(map[string]float64)
			for _, e := range emulators {
				b.Run("emulated "+e.name, func(b *testing.B) {
					c := r.ceiling.measure(b, e.path, e.before+strings.Repeat("x", r.ceiling.up)+e.after)
					b.ReportMetric(c, r.unit)
					b.ReportMetric(0, "ns/op") // says nothing more
					ceilings[e.name] = c
				})
			}
			for _, w := range benchWays {
				b.Run(w.name, func(b *testing.B) {
					got := r.run(b, w.config)
					b.ReportMetric(got, r.unit)
					b.ReportMetric(0, "ns/op")
					if w.config == nil {
						plain = got
						return
					}
					if bound := r.bound[w.name]; bound > 0 {
						b.ReportMetric(bound, "bound")
					}
					if plain > 0 {
						b.ReportMetric(got/plain, "of-loopback")
					}
					if c := ceilings[w.emulator]; c > 0 {
						b.ReportMetric(got/c, "of-emulator")
					}
				})
			}
		})
	}
}

// tcpRow is run, with an origin that handle serves.
func tcpRow(run func(b *testing.B, dial Dialer, origin string) float64, handle func(net.Conn)) func(*testing.B, *StackConfig) float64 {
	return func(b *testing.B, config *StackConfig) float64 {
		s, dial := &Stack{}, Dialer(DialPlain)
		if config != nil {
			s = NewStack(b, *config)
			dial = s.Connect
		}
		got := run(b, dial, s.serve(b, handle))
		s.reportExchanges(b)
		return got
	}
}

func udpRow(b *testing.B, config *StackConfig) (got float64) {
	udpLoad(b, config, func(s *Stack, socket func() net.PacketConn, echo func() string) {
		e := echoes{c: socket(), to: packetAddr(echo()), outstanding: benchAtOnce, size: 1200}
		b.ResetTimer()
		came := e.run(b, func(sent int) bool { return sent < b.N })
		b.StopTimer()
		got = float64(len(came.took)) / b.Elapsed().Seconds()
		b.ReportMetric(float64(b.N-len(came.seen)), "lost")
		s.reportExchanges(b)
	})
	return got
}

func (s *Stack) reportExchanges(b *testing.B) {
	if s.Stats != nil {
		b.ReportMetric(float64(s.Stats.Exchanges.Load())/float64(b.N), "exchanges/op")
	}
}

// measure is the emulator's ceiling, on one relay that is posted up.
func (l exchangeLoad) measure(b *testing.B, path, up string) float64 {
	to := "http://" + l.serve(b) + path
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchAtOnce}}
	b.Cleanup(client.CloseIdleConnections)
	do := func() error { return l.post(client, to, up) }
	if l.atOnce == 1 {
		return p50(b, do)
	}
	return together(b, l.atOnce, do) * l.worth
}

func (l exchangeLoad) post(c *http.Client, to, up string) error {
	req, err := http.NewRequest(http.MethodPost, to, strings.NewReader(up))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer auth")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < int64(l.down) {
		return fmt.Errorf("%s with %d bytes, %w", resp.Status, n, err)
	}
	return nil
}

// serve returns the address of relays whose node answers at once.
func (l exchangeLoad) serve(b *testing.B) string {
	var s Stack
	answer := `{"r":["` + strings.Repeat("x", l.down) + `"]}`
	node := s.origin(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = io.WriteString(w, answer)
	}))
	relay := NewRelay(RelayConfig{
		Deployments: []string{"d0"}, Workers: []string{"w0"}, AuthKey: "auth",
		Node: &url.URL{Scheme: "http", Host: node},
	})
	b.Cleanup(relay.Close)
	return s.origin(b, relay)
}

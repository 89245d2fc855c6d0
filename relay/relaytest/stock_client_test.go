package relaytest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"relaymux/relay/exit"
)

// stockClient is another program's client, as far as the wire goes: plain JSON,
// none of our fields, one op of a session at a time.
type stockClient struct {
	t    *testing.T
	http *http.Client
	url  *url.URL
}

type stockOp struct {
	Op   string  `json:"op"`
	Host string  `json:"host,omitempty"`
	Port int     `json:"port,omitempty"`
	SID  string  `json:"sid,omitempty"`
	D    *string `json:"d,omitempty"`
}

type stockResult struct {
	SID  string   `json:"sid"`
	D    []byte   `json:"d"`
	Pkts [][]byte `json:"pkts"`
	EOF  bool     `json:"eof"`
	E    string   `json:"e"`
	Code string   `json:"code"`
}

func newStockClient(t *testing.T, s *Stack) *stockClient {
	c := &stockClient{t, &http.Client{Transport: s.config.Memory.Transport()}, s.Exit}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

func encoded(p []byte) *string {
	d := base64.StdEncoding.EncodeToString(p)
	return &d
}

// post sends a body to a path of the node, and decodes the answer into v.
func (c *stockClient) post(path string, body, v any) {
	c.t.Helper()
	text, err := json.Marshal(body)
	check(c.t, err)
	r, err := c.http.Post(c.url.JoinPath(path).String(), "application/json", bytes.NewReader(text))
	check(c.t, err)
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s", path, r.Status)
	}
	check(c.t, json.NewDecoder(r.Body).Decode(v))
}

// batch has ops carried out, and checks that there is a RESULT of each.
func (c *stockClient) batch(ops ...stockOp) []stockResult {
	c.t.Helper()
	var answer struct{ R []stockResult }
	c.post("tunnel/batch", map[string]any{"k": TunnelKey, "ops": ops}, &answer)
	if len(answer.R) != len(ops) {
		c.t.Fatalf("%d results of %d ops", len(answer.R), len(ops))
	}
	return answer.R
}

// converse opens n sessions to addr, uploads, and reads to the end.
func (c *stockClient) converse(addr string, n int, up []byte) [][]byte {
	c.t.Helper()
	host, portText, _ := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(portText)
	ops := make([]stockOp, n)
	for i := range ops {
		ops[i] = stockOp{Op: "connect_data", Host: host, Port: port, D: encoded(nil)}
	}
	down := make([][]byte, n)
	results := c.batch(ops...)
	for len(ops) > 0 {
		var next []stockOp
		for i, r := range results {
			if r.E != "" || r.SID == "" {
				c.t.Fatalf("session %d: %+v", i, r)
			}
			down[i] = append(down[i], r.D...)
		}
		part := up[:min(len(up), 64<<10)]
		up = up[len(part):]
		ended := 0
		for _, r := range results {
			op := stockOp{Op: "data", SID: r.SID}
			if len(part) > 0 {
				op.D = encoded(part)
			}
			if r.EOF {
				ended++
			}
			next = append(next, op)
		}
		if ended == n {
			return down
		}
		ops = next
		results = c.batch(ops...)
	}
	return down
}

// readsThenSends is a target that takes so many bytes, answers with their sum in
// 64 bytes of hex, sends as many of its own, and ends.
func readsThenSends(seed uint64, size int64) func(net.Conn) {
	return func(c net.Conn) {
		got := sum(io.LimitReader(c, size))
		_, _ = io.WriteString(c, got.SHA256)
		_ = send(c, seed, size)
	}
}

// TestStockClient: whole transfers in both directions, eight sessions abreast.
func TestStockClient(t *testing.T) {
	const size = 600_000
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		c := newStockClient(t, s)
		up, _ := io.ReadAll(noise(1, size))
		want := sum(noise(1, size)).SHA256
		for i, down := range c.converse(s.serve(t, readsThenSends(2, size)), 8, up) {
			if len(down) != len(want)+size || string(down[:len(want)]) != want || hexSum(down[len(want):]) != sum(noise(2, size)).SHA256 {
				t.Errorf("session %d got %d bytes, or others than those sent", i, len(down))
			}
		}
	})
}

// TestStockClientPolls: an empty poll is held, and ends by itself before such a
// client gives up; a close ends a session; what is unknown is said to be.
func TestStockClientPolls(t *testing.T) {
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		c := newStockClient(t, s)
		host, portText, _ := net.SplitHostPort(s.serve(t, Echo))
		port, _ := strconv.Atoi(portText)
		r := c.batch(stockOp{Op: "connect", Host: host, Port: port})[0]
		if r.SID == "" || r.EOF || len(r.D) > 0 {
			t.Fatalf("connect: %+v", r)
		}
		took := elapsed(func() {
			if p := c.batch(stockOp{Op: "data", SID: r.SID})[0]; p.SID != r.SID || p.EOF || len(p.D) > 0 {
				t.Errorf("an empty poll: %+v", p)
			}
		})
		if took < 4*time.Second || took > 25*time.Second {
			t.Errorf("an empty poll took %v", took)
		}
		if p := c.batch(stockOp{Op: "data", SID: r.SID, D: encoded([]byte("hi"))})[0]; string(p.D) != "hi" {
			t.Errorf("an echo: %+v", p)
		}
		for range 2 {
			if p := c.batch(stockOp{Op: "close", SID: r.SID})[0]; p.SID != r.SID || !p.EOF {
				t.Errorf("close: %+v", p)
			}
		}
		if p := c.batch(stockOp{Op: "data", SID: r.SID})[0]; p.SID != r.SID || !p.EOF || p.E != "" {
			t.Errorf("a poll of a closed session: %+v", p)
		}
		if p := c.batch(stockOp{Op: "teleport"})[0]; p.Code != "UNSUPPORTED_OP" || p.E != "unknown op: teleport" {
			t.Errorf("an unknown op: %+v", p)
		}
		if p := c.batch(stockOp{Op: "connect", Host: host, Port: 1})[0]; !strings.HasPrefix(p.E, "connect failed: ") {
			t.Errorf("a refused dial: %+v", p)
		}
	})
}

// TestStockClientSingleOps: one op a request, with the payload under its other
// name.
func TestStockClientSingleOps(t *testing.T) {
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		c := newStockClient(t, s)
		host, portText, _ := net.SplitHostPort(s.serve(t, Echo))
		port, _ := strconv.Atoi(portText)
		single := func(op map[string]any) (r stockResult) {
			op["k"] = TunnelKey
			c.post("tunnel", op, &r)
			return r
		}
		r := single(map[string]any{"op": "connect_data", "host": host, "port": port, "data": *encoded([]byte("hi"))})
		if string(r.D) != "hi" || r.SID == "" {
			t.Fatalf("connect_data: %+v", r)
		}
		if p := single(map[string]any{"op": "data", "sid": r.SID, "data": *encoded([]byte("ho"))}); string(p.D) != "ho" {
			t.Errorf("data: %+v", p)
		}
		if p := single(map[string]any{"op": "close", "sid": r.SID}); !p.EOF {
			t.Errorf("close: %+v", p)
		}
		if p := single(map[string]any{"op": "data", "sid": "nobody"}); p.E != "unknown session" {
			t.Errorf("data of nobody: %+v", p)
		}
	})
}

// openUDP opens a UDP session with a first datagram, and returns its sid and what
// came back at once.
func (c *stockClient) openUDP(addr string, first []byte) stockResult {
	c.t.Helper()
	host, portText, _ := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(portText)
	op := stockOp{Op: "udp_open", Host: host, Port: port}
	if first != nil {
		op.D = encoded(first)
	}
	r := c.batch(op)[0]
	if r.SID == "" || r.EOF || r.E != "" {
		c.t.Fatalf("udp_open: %+v", r)
	}
	return r
}

// TestStockClientUDP: datagrams with the session's beginning, later, many in a
// batch, and none, which is a poll.
func TestStockClientUDP(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		c := newStockClient(t, s)
		r := c.openUDP(s.servePackets(t, EchoPacket), []byte("first"))
		if len(r.Pkts) != 1 || string(r.Pkts[0]) != "first" {
			t.Fatalf("udp_open: %+v", r)
		}
		var ops []stockOp
		for i := range 50 {
			ops = append(ops, stockOp{Op: "udp_data", SID: r.SID, D: encoded(nth(i, 1200))})
		}
		seen := newSeen()
		results := c.batch(ops...)
		results = append(results, c.batch(stockOp{Op: "udp_data", SID: r.SID})...)
		for _, p := range results {
			if p.SID != r.SID || p.EOF || p.E != "" {
				t.Errorf("udp_data: %+v", p)
			}
			for _, d := range p.Pkts {
				seen.note(numberOf(d))
			}
		}
		if len(seen.times) != 50 || seen.twice() > 0 {
			t.Errorf("%d of 50 came back, %d more than once", len(seen.times), seen.twice())
		}
		took := elapsed(func() {
			if p := c.batch(stockOp{Op: "udp_data", SID: r.SID})[0]; p.SID != r.SID || p.EOF || len(p.Pkts) > 0 {
				t.Errorf("an empty poll: %+v", p)
			}
		})
		if took < 4*time.Second || took > 25*time.Second {
			t.Errorf("an empty poll took %v", took)
		}
		for range 2 {
			if p := c.batch(stockOp{Op: "close", SID: r.SID})[0]; p.SID != r.SID || !p.EOF {
				t.Errorf("close: %+v", p)
			}
		}
		if p := c.batch(stockOp{Op: "udp_data", SID: r.SID, D: encoded([]byte("x"))})[0]; p.SID != r.SID || !p.EOF || p.E != "" {
			t.Errorf("a datagram to a closed session: %+v", p)
		}
		s.wantQuiet(t)
	})
}

// TestStockClientUDPBurst: what a target sends meanwhile comes with the next poll,
// whole and in order.
func TestStockClientUDPBurst(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		c := newStockClient(t, s)
		ask := BurstRequest{Count: 200, Size: 1200, Last: 1}
		r := c.openUDP(s.servePackets(t, Burst), ask.bytes())
		got := r.Pkts
		for len(got) < int(ask.Count) {
			p := c.batch(stockOp{Op: "udp_data", SID: r.SID})[0]
			if len(p.Pkts) == 0 {
				t.Fatalf("after %d datagrams: %+v", len(got), p)
			}
			got = append(got, p.Pkts...)
		}
		for i, p := range got {
			if !bytes.Equal(p, ask.Packet(uint32(i))) {
				t.Errorf("the %d. is %d bytes", i, len(p))
			}
		}
	})
}

// TestStockClientUDPReaped: polls alone do not keep a session, datagrams do.
func TestStockClientUDPReaped(t *testing.T) {
	t.Parallel()
	virtual(t, StackConfig{}, func(t *testing.T, s *Stack) {
		c := newStockClient(t, s)
		addr := s.servePackets(t, EchoPacket)
		idle, used := c.openUDP(addr, []byte("hello")), c.openUDP(addr, []byte("hello"))
		ended := time.Duration(0)
		began := time.Now()
		for time.Since(began) < 4*time.Minute {
			for _, p := range c.batch(stockOp{Op: "udp_data", SID: idle.SID}, stockOp{Op: "udp_data", SID: used.SID}) {
				if p.EOF && p.SID == idle.SID && ended == 0 {
					ended = time.Since(began)
				}
				if p.EOF && p.SID == used.SID {
					t.Fatalf("a session in use ended after %v", time.Since(began))
				}
			}
			_ = c.batch(stockOp{Op: "udp_data", SID: used.SID, D: encoded([]byte("still here"))})
			time.Sleep(time.Second)
		}
		t.Logf("a session that was only polled ended after %v", ended)
		if ended < 2*time.Minute || ended > 3*time.Minute {
			t.Errorf("a session that was only polled ended after %v", ended)
		}
	})
}

// TestStockClientUDPSingleOps: one op a request, with the payload under its other
// name; and what cannot be dialed.
func TestStockClientUDPSingleOps(t *testing.T) {
	t.Parallel()
	c := StackConfig{Node: func(c *exit.Config) {
		near := c.Dialer
		c.Dialer = dialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "nowhere.test:") {
				return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
			}
			return near.DialContext(ctx, network, addr)
		})
	}}
	virtual(t, c, func(t *testing.T, s *Stack) {
		c := newStockClient(t, s)
		host, portText, _ := net.SplitHostPort(s.servePackets(t, EchoPacket))
		port, _ := strconv.Atoi(portText)
		single := func(op map[string]any) (r stockResult) {
			op["k"] = TunnelKey
			c.post("tunnel", op, &r)
			return r
		}
		r := single(map[string]any{"op": "udp_open", "host": host, "port": port, "data": *encoded([]byte("hi"))})
		if len(r.Pkts) != 1 || string(r.Pkts[0]) != "hi" || r.SID == "" {
			t.Fatalf("udp_open: %+v", r)
		}
		if p := single(map[string]any{"op": "udp_data", "sid": r.SID, "data": *encoded([]byte("ho"))}); len(p.Pkts) != 1 || string(p.Pkts[0]) != "ho" {
			t.Errorf("udp_data: %+v", p)
		}
		if p := single(map[string]any{"op": "close", "sid": r.SID}); !p.EOF {
			t.Errorf("close: %+v", p)
		}
		if p := single(map[string]any{"op": "udp_data", "sid": "nobody"}); p.E != "unknown session" {
			t.Errorf("udp_data of nobody: %+v", p)
		}
		if p := c.batch(stockOp{Op: "udp_open", Host: "nowhere.test", Port: 53, D: encoded([]byte("x"))})[0]; !strings.HasPrefix(p.E, "udp connect failed: ") {
			t.Errorf("a name that is not: %+v", p)
		}
		for _, p := range c.batch(stockOp{Op: "udp_open", Port: 53}, stockOp{Op: "udp_open", Host: host}) {
			if p.E == "" || p.SID != "" {
				t.Errorf("udp_open without a host or a port: %+v", p)
			}
		}
		if p := c.batch(stockOp{Op: "udp_data", SID: "nobody"})[0]; p.SID != "nobody" || !p.EOF || p.E != "" {
			t.Errorf("udp_data of nobody in a batch: %+v", p)
		}
	})
}

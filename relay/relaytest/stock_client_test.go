package relaytest

import (
	"bytes"
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
	SID  string `json:"sid"`
	D    []byte `json:"d"`
	EOF  bool   `json:"eof"`
	E    string `json:"e"`
	Code string `json:"code"`
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

package relaytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// stockNode is another program's node, as far as the wire goes: it knows none of
// our fields, dials and writes inline, and waits for all of a batch.
type stockNode struct {
	t             *testing.T
	dial          func(ctx context.Context, network, addr string) (net.Conn, error)
	noConnectData bool // as older ones

	mu       sync.Mutex
	sessions map[string]*stockSession
	largest  int // body, in bytes
	batches  int
}

type stockSession struct {
	conn net.Conn
	udp  bool
	mu   sync.Mutex
	buf  []byte
	pkts [][]byte
	eof  bool
	busy bool // an op of it is being carried out
	news chan struct{}
}

const (
	stockMaxBody  = 2_097_152
	stockLongPoll = 15 * time.Second
)

func (n *stockNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, stockMaxBody))
	if err != nil {
		http.Error(w, "length limit exceeded", http.StatusRequestEntityTooLarge)
		return
	}
	var batch struct {
		K   string
		Ops []stockOp
	}
	if json.Unmarshal(body, &batch) != nil || batch.K != TunnelKey || r.URL.Path != "/tunnel/batch" {
		http.NotFound(w, r)
		return
	}
	n.mu.Lock()
	n.largest = max(n.largest, len(body))
	n.batches++
	n.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"r": n.serve(r.Context(), batch.Ops)})
}

func (n *stockNode) serve(ctx context.Context, ops []stockOp) []map[string]any {
	results := make([]map[string]any, len(ops))
	drained := make(map[int]*stockSession)
	var names = make(map[int]string)
	limit := stockLongPoll
	for i, op := range ops {
		s, sid, failed := n.run(ctx, op)
		if op.D != nil || op.Op == "connect" || op.Op == "udp_open" {
			limit = writeHold
		}
		switch {
		case failed != nil:
			results[i] = failed
		case s != nil:
			drained[i], names[i] = s, sid
		}
	}
	await(ctx, drained, limit)
	for i, s := range drained {
		results[i] = s.drain(names[i])
	}
	return results
}

// run carries out an op at once. The result is what it fails with, or ends with.
func (n *stockNode) run(ctx context.Context, op stockOp) (s *stockSession, sid string, result map[string]any) {
	var data []byte
	if op.D != nil {
		data, _ = base64.StdEncoding.DecodeString(*op.D)
	}
	switch {
	case op.Op == "connect" || op.Op == "connect_data" && !n.noConnectData:
		conn, err := n.dial(ctx, "tcp", net.JoinHostPort(op.Host, strconv.Itoa(op.Port)))
		if err != nil {
			return nil, "", map[string]any{"e": "connect failed: Connection refused (os error 111)"}
		}
		s, sid = n.enter(conn, false)
		if op.Op == "connect" {
			return nil, "", map[string]any{"sid": sid, "eof": false}
		}
	case op.Op == "udp_open":
		conn, err := n.dial(ctx, "udp", net.JoinHostPort(op.Host, strconv.Itoa(op.Port)))
		if err != nil {
			return nil, "", map[string]any{"e": "udp connect failed: no address"}
		}
		s, sid = n.enter(conn, true)
	case op.Op == "data", op.Op == "udp_data":
		if s = n.find(op.SID); s == nil {
			return nil, "", map[string]any{"sid": op.SID, "eof": true}
		}
		sid = op.SID
	case op.Op == "close":
		n.remove(op.SID)
		return nil, "", map[string]any{"sid": op.SID, "eof": true}
	default:
		return nil, "", map[string]any{"e": "unknown op: " + op.Op, "code": "UNSUPPORTED_OP"}
	}
	s.begin(n.t)
	if op.D != nil {
		_, _ = s.conn.Write(data)
	}
	return s, sid, nil
}

func (n *stockNode) enter(conn net.Conn, udp bool) (*stockSession, string) {
	s := &stockSession{conn: conn, udp: udp, news: make(chan struct{}, 1)}
	sid := rand.Text()
	n.mu.Lock()
	n.sessions[sid] = s
	n.mu.Unlock()
	go s.read()
	return s, sid
}

func (n *stockNode) find(sid string) *stockSession {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sessions[sid]
}

func (n *stockNode) remove(sid string) {
	if s := n.find(sid); s != nil {
		s.conn.Close()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sessions, sid)
}

// close ends all sessions.
func (n *stockNode) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sessions {
		s.conn.Close()
	}
}

// begin checks that no other op of the session is under way: its answers could
// overtake each other, for nothing in them tells their order. Datagrams need none.
func (s *stockSession) begin(t *testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy && !s.udp {
		t.Error("two ops of a session at once")
	}
	s.busy = true
}

func (s *stockSession) read() {
	p := make([]byte, 64<<10)
	for {
		k, err := s.conn.Read(p)
		s.mu.Lock()
		if !s.udp {
			s.buf = append(s.buf, p[:k]...)
		} else if err == nil {
			s.pkts = append(s.pkts, bytes.Clone(p[:k]))
		}
		s.eof = err != nil
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *stockSession) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.buf)+len(s.pkts) > 0 || s.eof
}

// await returns when a session has something, after a moment for more.
func await(ctx context.Context, sessions map[int]*stockSession, limit time.Duration) {
	const step = 10 * time.Millisecond
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(step) {
		for _, s := range sessions {
			if s.ready() {
				time.Sleep(step)
				return
			}
		}
		if ctx.Err() != nil || len(sessions) == 0 {
			return
		}
	}
}

func (s *stockSession) drain(sid string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	r := map[string]any{"sid": sid, "eof": s.eof}
	if len(s.buf) > 0 {
		r["d"] = s.buf
		s.buf = nil
	}
	if len(s.pkts) > 0 {
		r["pkts"] = s.pkts
		s.pkts = nil
	}
	return r
}

// TestStockNode: whole transfers both ways, by scripts and straight, some of them
// longer than what such a node accepts in one body.
func TestStockNode(t *testing.T) {
	t.Parallel()
	const size = 2 << 20
	for _, old := range []bool{false, true} {
		for _, scripts := range []int{0, 2} {
			t.Run(fmt.Sprintf("without connect_data %v, %d scripts", old, scripts), func(t *testing.T) {
				node := &stockNode{t: t, noConnectData: old, sessions: make(map[string]*stockSession)}
				virtual(t, StackConfig{Scripts: scripts, Foreign: node}, func(t *testing.T, s *Stack) {
					node.dial = s.Dial
					defer node.close()
					addr := s.serve(t, readsThenSends(2, size))
					var all sync.WaitGroup
					for range 4 {
						all.Go(func() { exchangeWhole(t, open(t, s.Connect, addr), size) })
					}
					took := elapsed(all.Wait)
					t.Logf("%v, %d batches, the largest of %d bytes", took, node.batches, node.largest)
					c := open(t, s.Connect, s.serve(t, SpeakFirst))
					got := make([]byte, len(Banner))
					if _, err := io.ReadFull(c, got); err != nil || string(got) != Banner {
						t.Errorf("a server that speaks first: %q, %v", got, err)
					}
					ask(t, c, "a line\n")
				})
			})
		}
	}
}

// exchangeWhole uploads to readsThenSends(2, size), and checks both directions.
func exchangeWhole(t *testing.T, c net.Conn, size int64) {
	if _, err := io.Copy(c, noise(1, size)); err != nil {
		t.Error(err)
		return
	}
	want := sum(noise(1, size)).SHA256
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("the target's sum is %q, %v", got, err)
	}
	arrive(c).want(t, "the app", 2, size)
}

// TestStockNodeLosesAnswers: nothing tells what was in a lost answer, so that its
// flows end by RST; and only they.
func TestStockNodeLosesAnswers(t *testing.T) {
	node := &stockNode{t: t, sessions: make(map[string]*stockSession)}
	virtual(t, StackConfig{Scripts: 2, Foreign: node}, func(t *testing.T, s *Stack) {
		node.dial = s.Dial
		defer node.close()
		addr := s.serve(t, func(c net.Conn) { trickle(c, 4, 1<<20) })
		s.Relay.Set(func(k *Knobs) { k.LoseAfter = 20 })
		whole := 0
		for range 10 {
			c := open(t, s.Connect, addr)
			within(t, c, 5*time.Minute)
			a := arrive(c)
			a.wantPart(t, "the app", 4, 1<<20)
			if a.err == nil {
				whole++
			}
		}
		t.Logf("%d of 10 downloads whole", whole)
	})
}

// foreignNode runs test with a Stack whose node is another program's.
func foreignNode(t *testing.T, scripts int, test func(t *testing.T, s *Stack, node *stockNode)) {
	t.Helper()
	node := &stockNode{t: t, sessions: make(map[string]*stockSession)}
	virtual(t, StackConfig{Scripts: scripts, Foreign: node}, func(t *testing.T, s *Stack) {
		node.dial = s.Dial
		defer node.close()
		test(t, s, node)
	})
}

// TestStockNodeUDP: echoes by address and by name, which such a node does not tell
// the address of; a call; a train; and a TCP connection beside them.
func TestStockNodeUDP(t *testing.T) {
	t.Parallel()
	for _, scripts := range []int{0, 2} {
		foreignNode(t, scripts, func(t *testing.T, s *Stack, node *stockNode) {
			s.servePacketsAt(t, at(target4, 7), EchoPacket)
			s.config.Memory.SetName(targetName, target4)
			tcp := open(t, s.Connect, s.serve(t, Echo))
			ask(t, tcp, "hello")
			a := associate(t, s)
			for _, size := range []int{1, 1200, 9001, s.most()} {
				wantEcho(t, a, at(target4, 7), nth(1, max(size, 8)))
			}
			wantEcho(t, a, targetName+":7", []byte("by name"))
			burst := BurstRequest{Count: 100, Size: 1200, Last: 1}
			put(t, a, s.servePackets(t, Burst), burst.bytes())
			for i := range burst.Count {
				if p, _, err := get(a, soon); err != nil || !bytes.Equal(p, burst.Packet(i)) {
					t.Fatalf("the %d. of a burst is %d bytes, %v", i, len(p), err)
				}
			}
			count := s.exchanges()
			up, down := s.call(t, a, at(target4, 4000), 20)
			up.want(t, "the target", 1000, false)
			down.want(t, "the app", 1000, false)
			t.Logf("%d scripts: a call of 20 s: p50 %v, p99 %v up, p50 %v, p99 %v down, %d exchanges", scripts,
				up.quantile(0.5), up.quantile(0.99), down.quantile(0.5), down.quantile(0.99), count())
			ask(t, tcp, "still there")
			s.wantNoDrops(t)
		})
	}
}

// TestStockNodeUDPEnds: its polls end as those of ours, and its session is closed.
func TestStockNodeUDPEnds(t *testing.T) {
	t.Parallel()
	foreignNode(t, 1, func(t *testing.T, s *Stack, node *stockNode) {
		a := associate(t, s)
		_, _ = s.call(t, a, at(target4, 4000), 3)
		time.Sleep(10 * time.Minute)
		count := s.exchanges()
		time.Sleep(10 * time.Minute)
		if n := count(); n != 0 {
			t.Errorf("%d exchanges for nobody", n)
		}
		node.mu.Lock()
		defer node.mu.Unlock()
		if n := len(node.sessions); n != 0 {
			t.Errorf("%d sessions left", n)
		}
		s.wantNoUDP(t)
	})
}

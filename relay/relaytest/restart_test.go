package relaytest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"relaymux/mux/secret"
	"relaymux/relay/exit"
)

// newNode is a node of ours without a server.
func newNode(m *Network) *exit.Node {
	n, err := exit.New(exit.Config{Key: secret.New(TunnelKey), Dialer: dialFunc(m.Dial)})
	if err != nil {
		panic(err) // the config is right
	}
	return n
}

// mortal serves a node that may crash: what it was answering breaks off, and
// another takes its place that knows nothing.
type mortal struct {
	mu   sync.Mutex
	node *exit.Node // nil between two lives
	life context.Context
	kill context.CancelFunc
}

func (m *mortal) start(n *exit.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node = n
	m.life, m.kill = context.WithCancel(context.Background())
}

// crash returns the node, whose sockets a system would close now.
func (m *mortal) crash() *exit.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node
	m.node = nil
	m.kill()
	return n
}

func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	n, life := m.node, m.life
	m.mu.Unlock()
	if n == nil {
		panic(http.ErrAbortHandler)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	n.ServeHTTP(w, r.WithContext(ctx))
	if life.Err() != nil {
		panic(http.ErrAbortHandler)
	}
}

// TestHostile77_NodeRestarts: in the middle of transfers and beside an idle
// connection. All of them end by RST, soon, and new ones work.
func TestHostile77_NodeRestarts(t *testing.T) {
	t.Parallel()
	for _, scripts := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d scripts", scripts), func(t *testing.T) {
			var node *mortal
			c := StackConfig{Scripts: scripts, Foreign: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { node.ServeHTTP(w, r) })}
			virtual(t, c, func(t *testing.T, s *Stack) {
				node = new(mortal)
				node.start(newNode(s.config.Memory))
				defer func() { node.crash().Close() }()
				addr := s.serve(t, func(c net.Conn) {
					go func() { _, _ = io.Copy(io.Discard, c) }()
					trickle(c, 1, 64<<20)
				})
				idle := open(t, s.Connect, s.serve(t, Echo))
				ask(t, idle, "hello")
				down, up := open(t, s.Connect, addr), open(t, s.Connect, addr)
				go trickle(up, 2, 64<<20)
				time.Sleep(5 * time.Second)

				node.crash().Close()
				time.Sleep(100 * time.Millisecond)
				node.start(newNode(s.config.Memory))
				for name, c := range map[string]net.Conn{"idle": idle, "down": down, "up": up} {
					took := elapsed(func() { arrive(c).wantPart(t, name, 1, 64<<20) })
					t.Logf("%s ended after %v", name, took)
					if took > 10*time.Second {
						t.Errorf("%s ended after %v", name, took)
					}
				}
				ask(t, open(t, s.Connect, s.serve(t, Echo)), "again")
			})
		})
	}
}

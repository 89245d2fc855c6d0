package relaytest

import (
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux"
	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/mux/stats"
	"relaymux/relay/exit"
)

// everyCarriage runs test once for each of carriages, with the beginning of a
// config for it.
func everyCarriage(t *testing.T, test func(t *testing.T, c StackConfig)) {
	t.Helper()
	for _, by := range raced(t.Name(), carriages) {
		t.Run(by.name, func(t *testing.T) {
			t.Parallel()
			c := StackConfig{Link: true}
			by.set(&c)
			test(t, c)
		})
	}
}

// bulkSize is how many bytes a test of long transfers carries.
func bulkSize() int64 {
	if os.Getenv(numbersEnv) == "all" {
		return 100e6
	}
	return 20e6
}

// wantNoStreams is wantQuiet of a link. Whether the last answer has come the node
// hears by the next request, or it is the reaper's.
func (s *Stack) wantNoStreams(t *testing.T) {
	t.Helper()
	const reap = 300 * time.Second // the node's default
	settle(reap + reap/10 + holdMost)
	s.wantQuiet(t)
	wantFree(t, s.Node)
}

// holdMost is the longest hold that a client of these tests may ask for: the limit
// of 30 s, less 5.
const holdMost = 25 * time.Second

// wantNoStreamsBut checks that the client and the node have n idle streams, and no
// memory but for what is held of the latest requests.
func (s *Stack) wantNoStreamsBut(t *testing.T, n int) {
	t.Helper()
	settle(time.Minute)
	if got := s.Stats.FlowsOpen.Load(); got != int64(n) {
		t.Errorf("the client has %d flows", got)
	}
	if got := s.Node.Stats(); got.LinkStreams != n || got.Memory > 4<<10 {
		t.Errorf("the node has %d streams and %d bytes", got.LinkStreams, got.Memory)
	}
}

// wantFree checks that a node's links hold nothing.
func wantFree(t *testing.T, n *exit.Node) {
	t.Helper()
	if got := n.Stats(); got.LinkStreams != 0 || got.Sessions != 0 || got.UDPSockets != 0 || got.Memory != 0 {
		t.Errorf("the node has %d streams, %d sessions, %d UDP sockets and %d bytes left",
			got.LinkStreams, got.Sessions, got.UDPSockets, got.Memory)
	}
}

// wantNoneBroken checks that no link has ended for a breach of the protocol, of
// which a relay cannot be the cause.
func (s *Stack) wantNoneBroken(t *testing.T, book *logbook) {
	t.Helper()
	if s.Node != nil {
		if n := s.Node.Stats().LinkBroken; n != 0 {
			t.Errorf("%d links broke the protocol at the node", n)
		}
	}
	if book != nil && book.has("does not keep to the protocol") {
		t.Error("the link broke the protocol at the client")
	}
}

// linkNode is a node of ours without a server, for StackConfig.Foreign.
func linkNode(m *Network, change func(*exit.Config)) *exit.Node {
	c := exit.Config{Key: secret.New(TunnelKey), Clients: []link.Client{{Name: "stack", Secret: link.NewSecret(LinkSecret)}}, Dialer: dialFunc(m.Dial)}
	if change != nil {
		change(&c)
	}
	n, err := exit.New(c)
	if err != nil {
		panic(err) // the config is right
	}
	return n
}

// A line of lives: a node that crashes and comes back, with the same key and
// without a memory.
type lives struct {
	mortal
	network *Network
	config  func(*exit.Config)
}

// restart crashes the node, which is away for a while.
func (l *lives) restart(away time.Duration) {
	old := l.crash()
	time.Sleep(away / 2) // what it was answering has broken off: it gets no last words out
	old.Close()
	time.Sleep(away - away/2)
	l.start(linkNode(l.network, l.config))
}

// mortally is virtual with a node that test may restart.
func mortally(t *testing.T, c StackConfig, test func(t *testing.T, s *Stack, n *lives)) {
	t.Helper()
	n := &lives{config: c.Node}
	c.Foreign = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.ServeHTTP(w, r) })
	virtual(t, c, func(t *testing.T, s *Stack) {
		n.network = s.config.Memory
		n.start(linkNode(n.network, n.config))
		defer func() { n.crash().Close() }()
		test(t, s, n)
	})
}

// beside starts another client of the same node, by the same relays.
func (s *Stack) beside(t *testing.T, change func(*StackConfig)) *Stack {
	t.Helper()
	o := &Stack{
		config: s.config, Node: s.Node, Relay: s.Relay, Exit: s.Exit,
		Stats: new(stats.Mux), UDP: new(stats.UDP), NodeUDP: s.NodeUDP, ctx: s.ctx, stop: func() {},
	}
	if change != nil {
		change(&o.config)
	}
	t.Cleanup(func() {
		s.stop() // its relay's second listener goes with the first
		if err := o.close(); err != nil {
			t.Errorf("stopping the other client: %v", err)
		}
	})
	for _, start := range []func() error{o.startRelay, o.startMux, o.startProxy} {
		check(t, start())
	}
	return o
}

// A load is a download and an upload that run at once.
type load struct {
	t        *testing.T
	all      sync.WaitGroup
	down, up arrival // at the application, at the target
}

const loadSeed = 1000

// begin opens both, of size bytes each, and a connection for each.
func (l *load) begin(t *testing.T, s *Stack, size int64, patience time.Duration) {
	t.Helper()
	l.t = t
	from := s.serve(t, func(c net.Conn) { _ = send(c, loadSeed, size) })
	came := make(chan arrival, 1)
	to := s.serve(t, func(c net.Conn) { came <- arrive(c) })
	down, up := open(t, s.Connect, from), open(t, s.Connect, to)
	within(t, down, patience)
	within(t, up, patience)
	l.all.Go(func() {
		defer down.Close()
		l.down = arrive(down)
	})
	l.all.Go(func() {
		defer up.Close()
		if err := send(up, loadSeed+1, size); err != nil {
			t.Errorf("the upload: %v", err)
			up.Close()
		}
		select {
		case l.up = <-came:
		case <-time.After(patience):
			t.Error("the upload never ended at the target")
		}
	})
}

// want waits for both, and checks that they are whole.
func (l *load) want(size int64) {
	l.t.Helper()
	l.all.Wait()
	l.down.want(l.t, "the app", loadSeed, size)
	l.up.want(l.t, "the target", loadSeed+1, size)
}

// settle lets what is under way come to rest.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// synctestVirtual runs test in virtual time with a Network, for more than one
// Stack.
func synctestVirtual(t *testing.T, test func(t *testing.T, m *Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) }) // as in virtual
		test(t, new(Network))
	})
}

// otherNode makes it another node, of the same clients. The key of its JSON wire is
// the same, for a script sends it.
func otherNode(c *exit.Config) { c.Identity = secret.New("another node") }

// joinDeployment adds the first deployment of another Stack, as "another".
func joinDeployment(far *Stack) func(*mux.Config) {
	return func(c *mux.Config) {
		d := far.ds[0]
		d.Name, d.Account = "another", mux.NewAccount(30, "another")
		c.Deployments = append(c.Deployments, d)
	}
}

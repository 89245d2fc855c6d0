package relaytest

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"relaymux/mux"
)

// hello opens a flow and has it echo a word.
func hello(t *testing.T, s *Stack) *mux.Stream {
	t.Helper()
	at := netip.MustParseAddrPort(s.serve(t, Echo))
	f := s.Mux.Open(at.Addr().String(), at.Port())
	if _, err := io.WriteString(f, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(f, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return f
}

// By a script the link is made of exchanges, and a question costs one.
func TestSnapshotOfLink(t *testing.T) {
	virtual(t, StackConfig{Link: true, Scripts: 2, RTT: 1500 * time.Millisecond}, func(t *testing.T, s *Stack) {
		f := hello(t, s)
		defer f.Close()
		got := s.Mux.Snapshot(10)
		if l := got.Link; !l.Wanted || l.Made.IsZero() || l.Streams != 1 || !l.Pipe.IsZero() || !l.Failing.IsZero() || l.Resting {
			t.Errorf("link: %+v", l)
		}
		if len(got.Flows) != 1 || !got.Flows[0].Link || !got.Flows[0].Connected || got.Flows[0].Up != 5 || got.Flows[0].Down != 5 ||
			got.Flows[0].Exchanges < 1 || got.Flows[0].Exchanges > 2 {
			t.Errorf("flows: %+v", got.Flows)
		}
		measured := 0
		for _, d := range got.Deployments {
			measured += d.Measured
			if !d.Link || !d.Script || d.HTTP != "1.1" && d.Measured > 0 || d.Measured > 0 && (d.P50 < time.Second || d.P95 > 2*time.Second) {
				t.Errorf("deployment: %+v", d)
			}
		}
		if measured == 0 || len(got.Accounts) != 2 {
			t.Errorf("%d measured, accounts %+v", measured, got.Accounts)
		}
	})
}

// Straight to a node a pipe stands, whose parts are no exchanges.
func TestSnapshotOfPipe(t *testing.T) {
	virtual(t, StackConfig{Link: true}, func(t *testing.T, s *Stack) {
		f := hello(t, s)
		defer f.Close()
		time.Sleep(time.Second)
		before := s.Mux.Snapshot(10)
		if l := before.Link; l.Pipe.IsZero() || l.PipeBy != before.Deployments[0].Name {
			t.Fatalf("no pipe: %+v", l)
		}
		for range 10 {
			if _, err := io.WriteString(f, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(f, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
		}
		after := s.Mux.Snapshot(10).Flows[0]
		if after.Down != 55 || after.Exchanges != before.Flows[0].Exchanges {
			t.Errorf("%+v, then %+v", before.Flows[0], after)
		}
	})
}

// It is told where the time of an exchange went: at the relay, at the node, and there
// for a target that is slow.
func TestSnapshotOfExchanges(t *testing.T) {
	const way, slow = 1500 * time.Millisecond, 600 * time.Millisecond
	virtual(t, StackConfig{Link: true, Scripts: 1, RTT: way}, func(t *testing.T, s *Stack) {
		at := netip.MustParseAddrPort(s.serve(t, func(c net.Conn) {
			time.Sleep(slow)
			Echo(c)
		}))
		f := s.Mux.Open(at.Addr().String(), at.Port())
		defer f.Close()
		if _, err := io.WriteString(f, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(f, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := s.Mux.Snapshot(10)
		list := got.Exchanges
		if len(list) < 2 || !list[len(list)-1].Hello || !list[len(list)-1].Link {
			t.Fatalf("no handshake in %+v", list)
		}
		reached := 0
		for _, x := range list {
			if x.Kind != 0 || x.Up == 0 || x.Down == 0 || x.First < way || x.First > x.Took || x.Wrote > x.First || x.Held > x.First || x.Dial > x.Held {
				t.Errorf("%+v", x)
			}
			if reached += x.Reached; x.Reached > 0 && (x.Dial < slow*9/10 || x.Dial > slow*11/10 || x.Took < way+slow || x.Took > way+slow+way/4) {
				t.Errorf("the target was reached within %v by %+v", x.Dial, x)
			}
		}
		if reached != 1 {
			t.Errorf("%d targets in %+v", reached, list)
		}
		if dial := got.Flows[0].Dial; dial < way+slow {
			t.Errorf("the flow was connected within %v", dial)
		}
	})
}

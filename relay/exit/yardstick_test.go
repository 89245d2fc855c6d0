package exit

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"relaymux/mux/wire"
)

// TestYardstickDestination: it has one address.
func TestYardstickDestination(t *testing.T) {
	for _, c := range []struct {
		host string
		port uint16
		want bool
	}{
		{"192.0.2.1", 7301, true},
		{"192.0.2.1", 7300, false}, {"192.0.2.2", 7301, false}, {"198.18.0.1", 7301, false}, {"::ffff:192.0.2.1", 7301, false},
	} {
		if got := isYardstick(c.host, c.port); got != c.want {
			t.Errorf("%s:%d: %v", c.host, c.port, got)
		}
	}
}

// TestYardstick: what is asked for comes, once what goes with it has come, however it
// is cut.
func TestYardstick(t *testing.T) {
	for _, piece := range []int{1, 7, 16, 17, 1000} {
		y := newYardstick()
		requests := wire.AppendYardstick(nil, 0, 3)
		requests = append(wire.AppendYardstick(requests, 100, 2000), make([]byte, 100)...)
		requests = append(wire.AppendYardstick(requests, 5, 0), make([]byte, 5)...)
		for len(requests) > 0 {
			n := min(piece, len(requests))
			if k, err := y.Write(requests[:n]); k != n || err != nil {
				t.Fatalf("pieces of %d: wrote %d, %v", piece, k, err)
			}
			requests = requests[n:]
		}
		_ = y.CloseWrite()
		got, err := io.ReadAll(y)
		if len(got) != 2003 || err != nil {
			t.Errorf("pieces of %d: %d bytes came, %v", piece, len(got), err)
		}
		if n := bytes.Count(got, []byte{0}); n > 100 {
			t.Errorf("%d of the bytes are zero", n)
		}
		if _, err := y.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing after the end: %v", err)
		}
	}
}

// TestYardstick_NoEnd: who asks for more than there can be gets what he reads.
func TestYardstick_NoEnd(t *testing.T) {
	y := newYardstick()
	for range 2 {
		_, _ = y.Write(wire.AppendYardstick(nil, 0, math.MaxUint64))
	}
	if n, err := y.Read(make([]byte, 1000)); n != 1000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	y.Close()
	if _, err := y.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestYardstick_Carried: it is reached by either carriage of the link, and by the JSON
// wire.
func TestYardstick_Carried(t *testing.T) {
	for _, text := range []bool{false, true} {
		linked(t, Config{}, func(t *testing.T, r *rig) {
			c, _ := r.tryLink("ann", text)
			a := c.openStream(wire.YardstickHost, wire.YardstickPort, false, clientWindow)
			c.write(a, string(append(wire.AppendYardstick(nil, 1000, 300_000), make([]byte, 1000)...)))
			c.with(a.s.CloseWrite)
			c.until("the answer", func() bool { return a.over })
			if len(a.got) != 300_000 || !a.ended || a.rst || a.reset {
				t.Errorf("%d bytes, %+v", len(a.got), a.detail)
			}
			c.must()
			r.empty()
			if n := r.node.Stats().Dials; n != 0 {
				t.Errorf("%d dials", n)
			}
		})
	}
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		o := connectOp(wire.YardstickHost)
		o.Port = wire.YardstickPort
		o.Kind, o.Data = wire.ConnectData, [][]byte{wire.AppendYardstick(nil, 0, 5000)}
		res := r.batch(o)[0]
		sid, got := bytes.Clone(res.SID), res.Len()
		for range 10 {
			time.Sleep(time.Second)
			res := r.batch(wire.Op{Kind: wire.Data, SID: sid})[0]
			got += res.Len()
			if got >= 5000 {
				break
			}
		}
		if got != 5000 {
			t.Errorf("%d bytes came", got)
		}
	})
}

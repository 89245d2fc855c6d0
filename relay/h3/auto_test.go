package h3

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"relaymux/relay"
)

// A both is a rig whose port is open for TCP too, which counts what comes by each.
type both struct {
	*rig
	road     *road
	auto     *Auto
	udp, tcp atomic.Int32
	stop     func() // of TCP
}

func newBoth(t *testing.T, overUDP, overTCP http.HandlerFunc) *both {
	b := new(both)
	b.rig = newRig(t, func(w http.ResponseWriter, req *http.Request) {
		b.udp.Add(1)
		overUDP(w, req)
	})
	ln := b.listen()
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: b.tls.Certificates}, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b.tcp.Add(1)
		overTCP(w, req)
	})}
	go func() { _ = server.ServeTLS(ln, "", "") }()
	b.stop = func() { server.Close() }
	t.Cleanup(b.stop)
	c := b.config()
	c.ConnectTo = ln.Addr().String()
	var err error
	b.auto, err = NewAuto(c)
	b.check(err)
	t.Cleanup(b.auto.Close)
	return b
}

// listen opens a port for TCP, and the road's for UDP with the same number.
func (b *both) listen() net.Listener {
	for try := 1; ; try++ {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		b.check(err)
		at := ln.Addr().(*net.TCPAddr)
		near, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port})
		if err == nil {
			b.road = newRoadFrom(b.rig, near)
			return ln
		}
		ln.Close()
		if try == 20 { // the number may be somebody else's in UDP
			b.Fatal(err)
		}
	}
}

// came wants so many requests by each way since the last time.
func (b *both) came(udp, tcp int32) {
	b.Helper()
	if u, t := b.udp.Swap(0), b.tcp.Swap(0); u != udp || t != tcp {
		b.Errorf("%d requests by UDP, %d by TCP; want %d, %d", u, t, udp, tcp)
	}
}

func (b *both) say(binary bool) error {
	x := relay.Exchange{Body: []byte("{}"), Answer: []byte("before"), Binary: binary}
	err := b.auto.Exchange(b.Context(), &x)
	if err == nil && string(x.Answer) != "before{}" {
		b.Errorf("the answer is %q", x.Answer)
	}
	return err
}

func (b *both) must(binary bool) {
	b.Helper()
	if err := b.say(binary); err != nil {
		b.Error(err)
	}
}

// goes wants this version of HTTP to be told, and so many losses.
func (b *both) goes(version string, losses uint64) {
	b.Helper()
	if v, n := b.auto.HTTP(), b.auto.Losses(); v != version || n != losses {
		b.Errorf("it goes by HTTP %q after %d losses; want %q, %d", v, n, version, losses)
	}
}

// Where UDP gets through, nothing goes by TCP; and where it does not, everything does.
func TestAuto(t *testing.T) {
	b := newBoth(t, echo, echo)
	for range 3 {
		b.must(true)
		b.must(false)
	}
	b.came(6, 0)
	b.auto.Close()
	b.road.block()
	start := time.Now()
	b.must(false)
	if took := time.Since(start); took < headStart {
		t.Errorf("TCP was used after %v", took)
	}
	b.must(true)
	b.came(0, 2)
}

// Who answers by UDP is not the relay, or does not want to be: a message of the link
// goes by TCP then, and so does all that follows.
func TestAutoRefused(t *testing.T) {
	b := newBoth(t, http.NotFound, echo)
	b.must(true)
	b.came(1, 1)
	b.must(false)
	b.came(0, 1)
	if b.auto.OverUDP() {
		t.Error("it is still trusted")
	}
}

// A batch that somebody has seen is not sent again: it may have been carried out.
func TestAutoBatchOnce(t *testing.T) {
	b := newBoth(t, http.NotFound, echo)
	if f, ok := b.say(false).(*relay.Failure); !ok || f.Kind != relay.Refused {
		t.Error(f)
	}
	b.came(1, 0)
	b.must(false)
	b.came(0, 1)
}

// UDP is blocked while a connection stands: a message of the link goes once more, by
// TCP.
func TestAutoCut(t *testing.T) {
	b := newBoth(t, echo, echo)
	b.goes("", 0)
	b.must(true)
	b.goes("3", 0)
	b.road.block()
	b.must(true)
	b.must(false)
	b.came(1, 2)
	b.goes("2", 1)
}

// Somebody lets pipes through by TCP alone.
func TestAutoPipes(t *testing.T) {
	b := newBoth(t, func(w http.ResponseWriter, req *http.Request) {
		if req.ContentLength < 0 {
			w.WriteHeader(http.StatusLengthRequired)
			return
		}
		echo(w, req)
	}, func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "application/octet-stream")
		p := make([]byte, 5)
		for {
			if _, err := io.ReadFull(req.Body, p); err != nil {
				return
			}
			_, _ = w.Write(p)
			_ = http.NewResponseController(w).Flush()
		}
	})
	b.must(true)
	if _, err := b.auto.Pipe(t.Context(), []byte("hello")); err == nil {
		t.Fatal("a pipe by UDP")
	}
	p, err := b.auto.Pipe(t.Context(), []byte("hello"))
	b.check(err)
	defer p.Close()
	b.must(true)
	b.auto.mu.Lock()
	b.auto.takeOver() // as after a try
	b.auto.mu.Unlock()
	for range 3 {
		got := make([]byte, 5)
		if _, err := io.ReadFull(p, got); err != nil || string(got) != "hello" {
			t.Fatal(string(got), err)
		}
		_, err := io.WriteString(p, "hello")
		b.check(err)
	}
	b.came(3, 1)
}

// TCP is better as long as it is there.
func TestAutoLossy(t *testing.T) {
	b := newBoth(t, echo, echo)
	b.must(true)
	b.auto.lost(errLossy)
	b.must(true)
	b.came(1, 1)
	b.stop()
	b.auto.Transport.Close()
	b.must(true)
	b.must(false)
	b.came(2, 0)
}

// UDP loses packets, and before that is told a request has begun the next connection.
func TestAutoLossyLate(t *testing.T) {
	b := newBoth(t, echo, echo)
	b.must(true)
	pool := b.auto.udp.pool
	pool.CloseIdleConnections()
	b.road.held.Lock()
	connected := make(chan error, 1)
	go func() { connected <- pool.connect(b.Context()) }()
	for !pool.connecting() {
		runtime.Gosched()
	}
	b.auto.lost(errLossy)
	b.road.held.Unlock()
	<-connected
	b.must(true)
	b.came(1, 1)
	if b.auto.OverUDP() {
		t.Error("it is tried again at once")
	}
}

// A failure of both is TCP's.
func TestAutoNobody(t *testing.T) {
	r := newRig(t, echo)
	deaf, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	r.check(err)
	defer deaf.Close()
	c := r.config()
	c.ConnectTo = deaf.LocalAddr().String()
	auto, err := NewAuto(c)
	r.check(err)
	defer auto.Close()
	f, ok := auto.Exchange(t.Context(), &relay.Exchange{Body: []byte("x"), Binary: true}).(*relay.Failure)
	if !ok || f.Kind != relay.Unreachable || !strings.Contains(f.Detail, "refused") {
		t.Error(f)
	}
}

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var came atomic.Uint64
		var silent atomic.Bool
		p := newPulse(func() quic.ConnectionStats {
			return quic.ConnectionStats{SmoothedRTT: 200 * time.Millisecond, PacketsReceived: came.Load()}
		}, nil, func(why error) { silent.Store(why == errSilent) })
		const limit = pulseTrips*200*time.Millisecond + pulseMore
		for range 5 { // what is answered in time is not silence
			p.sent()
			time.Sleep(limit - time.Millisecond)
			came.Add(1)
		}
		time.Sleep(time.Hour) // nor is it if nothing was sent
		p.sent()
		time.Sleep(limit / 2)
		p.sent() // is not the first that waits
		time.Sleep(limit/2 - time.Millisecond)
		if silent.Load() {
			t.Error("too early")
		}
		time.Sleep(2 * time.Millisecond)
		if !silent.Load() {
			t.Error("too late")
		}
		p.sent()
		p.stop()
		var none *pulse
		none.sent()
		none.stop()
	})
}

// A faultySocket is one of which the system sends nothing any more, once it is faulty.
type faultySocket struct {
	*net.UDPConn
	faulty *atomic.Bool
}

func (s faultySocket) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (int, int, error) {
	if s.faulty.Load() {
		return 0, 0, &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendmsg", syscall.ECONNREFUSED)}
	}
	return s.UDPConn.WriteMsgUDP(b, oob, to)
}

// TestHostile76_SocketFails: what the system says of the socket of a connection that has
// been made ends it, and the way over UDP, lest the next one be made that ends like it.
func TestHostile76_SocketFails(t *testing.T) {
	b := newBoth(t, echo, echo)
	var faulty atomic.Bool
	b.auto.udp.pool.dialer.config.Listen = func(context.Context) (net.PacketConn, error) {
		socket, err := net.ListenUDP("udp", nil)
		return faultySocket{socket, &faulty}, err
	}
	b.must(true)
	b.came(1, 0)
	faulty.Store(true)
	_ = b.say(true) // it may be lost with its connection
	faulty.Store(false)
	for b.auto.OverUDP() { // the end of a connection is told a moment later
		runtime.Gosched()
	}
	b.must(true)
	if b.goes("2", 1); b.auto.OverUDP() {
		t.Error("UDP is trusted at once")
	}
}

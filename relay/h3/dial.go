package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"relaymux/mux/gso"
	"relaymux/relay/fronted"
)

const (
	// keepAlive is below the 30 s after which the strictest NATs forget a UDP
	// mapping (RFC 4787 section 4.3 asks for 120 s, measurements find 30).
	keepAlive = 15 * time.Second
	// silence ends a connection: two keep-alives were lost in a row.
	silence = 30 * time.Second

	// The windows let a whole answer of 16 MiB come within one round trip of
	// 1.5 s, on a stream of its own, and four of them side by side.
	streamWindow    = 16<<20 + 64<<10
	firstConnWindow = 32 << 20
	lastConnWindow  = 64 << 20

	maxHeader = 64 << 10 // of an answer, as in fronted

	silentHint = `UDP may be blocked here, or the server has no HTTP/3: http = "2" goes over TCP`
)

// A conn is a connection and what it stands on. Its counters belong to the pool.
type conn struct {
	socket    net.PacketConn
	transport *quic.Transport
	quic      *quic.Conn
	http      *http3.ClientConn
	early     bool   // it began before the server had answered
	to        string // for errors
	limit     time.Duration
	closing   sync.Once
	pulse     *pulse // nil if there is no other way

	uses    int  // requests under way,
	once    int  // of which so many may not go twice
	retired bool // takes no more of them
	idle    *time.Timer
}

// A dialer makes the connections of one deployment.
type dialer struct {
	config Config
	tls    *tls.Config
	quic   *quic.Config
	http   *http3.Transport
}

func newDialer(c Config) *dialer {
	d := &dialer{config: c, tls: c.TLS(http3.NextProtoH3)}
	d.tls.MinVersion = tls.VersionTLS13 // QUIC has no other (RFC 9001 section 4.2)
	if d.tls.ServerName == "" {
		d.tls.ServerName = c.URL.Hostname()
	}
	d.quic = &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           c.StepLimit(),
		MaxIdleTimeout:                 silence,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: firstConnWindow,
		MaxConnectionReceiveWindow:     lastConnWindow,
		MaxIncomingStreams:             -1, // a server opens none in HTTP/3
		MaxIncomingUniStreams:          8,  // control, and two of QPACK
		TokenStore:                     quic.NewLRUTokenStore(1, 4),
	}
	d.http = &http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxHeader}
	return d
}

// dial connects to the first address that answers. If early, a connection that
// resumes another comes back at once, before the server has answered.
func (d *dialer) dial(ctx context.Context, early bool) (*conn, error) {
	to, limit := d.config.DialAddr(), d.config.StepLimit()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addrs, err := lookup(ctx, to)
	for i, addr := range addrs {
		var c *conn
		if c, err = d.dialAddr(ctx, addr, len(addrs)-i, early); err == nil {
			c.to, c.limit = to, limit
			return c, nil
		}
	}
	return nil, dialError(to, limit, err)
}

// most is how many addresses are tried: of a name with both families, one more of
// either.
const most = 3

func lookup(ctx context.Context, hostPort string) ([]netip.AddrPort, error) {
	host, number, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips[:min(len(ips), most)] {
		addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return addrs, nil
}

// dialAddr connects to addr within its share of the time, of which left addresses
// want some.
func (d *dialer) dialAddr(ctx context.Context, addr netip.AddrPort, left int, early bool) (*conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	socket, err := d.listen(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{socket: socket, transport: &quic.Transport{Conn: socket}}
	connect := c.transport.Dial
	if early {
		connect = c.transport.DialEarly
	}
	c.quic, err = connect(ctx, net.UDPAddrFromAddrPort(addr), d.tls, d.quic)
	if err != nil {
		c.close()
		return nil, err
	}
	select {
	case <-c.quic.HandshakeComplete():
	default:
		c.early = true
	}
	c.http = d.http.NewClientConn(c.quic)
	return c, nil
}

// forgotten reports whether the server did not resume what the connection began
// with, as after a restart. quic-go could go on with it, but not its http3, whose
// resets of the first streams would hit the next ones of the same numbers.
func (c *conn) forgotten() bool { return c.early && !c.quic.ConnectionState().Used0RTT }

func (d *dialer) listen(ctx context.Context) (net.PacketConn, error) {
	if d.config.Listen != nil {
		return d.config.Listen(ctx)
	}
	u, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	return gso.NewQUIC(u, d.config.UDP), nil
}

// close ends the connection, and what is under way on it.
func (c *conn) close() {
	c.closing.Do(func() {
		if c.quic != nil {
			_ = c.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		}
		c.transport.Close()
		c.socket.Close()
	})
}

// watch has lost told when nothing comes on the connection any more or, if yield, when
// too many packets get lost.
func (c *conn) watch(yield bool, lost func(why error)) {
	var loss *gso.Loss
	if yield {
		loss = new(gso.Loss)
	}
	c.pulse = newPulse(c.quic.ConnectionStats, loss, lost)
}

// dialError is the failure of a handshake, of which QUIC's timeouts are made what
// other code knows as one.
func dialError(to string, limit time.Duration, err error) error {
	_, idle := errors.AsType[*quic.IdleTimeoutError](err)
	_, slow := errors.AsType[*quic.HandshakeTimeoutError](err)
	if idle || slow {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return &fronted.DialError{Doing: "connecting by UDP to " + to, Limit: limit, Silent: silentHint, Err: err}
}

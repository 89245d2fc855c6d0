package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"relaymux/config"
	"relaymux/mux/fd"
	"relaymux/mux/gso"
)

// The legs of a node.
const (
	LegCertificate = "certificate"
	LegPort        = "port"
	LegPort80      = "port 80" // of a CA that asks by HTTP
	LegKeys        = "keys"
	LegClock       = "clock"
	LegEgress      = "egress"
	LegFiles       = "files"
	LegTrains      = "gso/gro"
	LegCongestion  = "congestion"
)

// Node looks at the config of a node, which has passed its checks, on the machine
// that is to run it. acmeFile is where a node with tls = "acme" keeps its certificate,
// "" if it has no place for it.
func Node(ctx context.Context, cfg *config.Config, acmeFile string) *Report {
	n := &cfg.Node
	f := Finding{Name: "node " + n.Listen}
	cert, leg := certificateLeg(n, acmeFile)
	f.add(leg)
	f.add(portLeg(ctx, n, cert))
	if n.TLS == config.TLSACME && n.ByHTTP() {
		f.add(port80Leg(n))
	}
	f.add(keysLeg(n))
	f.add(clockLeg(n, time.Now()))
	f.add(egressLeg(&n.Egress))
	f.add(filesLeg(n.Limits.Streams))
	f.add(trainsLeg())
	f.add(congestionLeg())
	return &Report{Findings: []Finding{f}}
}

// certificateLeg is also the certificate, nil if there is none.
func certificateLeg(n *config.ExitNode, acmeFile string) (*x509.Certificate, Leg) {
	l := Leg{Name: LegCertificate, Status: OK}
	switch {
	case n.Plain:
		l.Detail = "none: plain, behind a TLS proxy"
		return nil, l
	case n.SelfSigned:
		l.Status, l.Detail = Warning, "self_signed: another one at each start"
		l.Remedy = "for a pin that lasts: tls_cert and tls_key, which relaymux init makes"
		return nil, l
	}
	certFile, keyFile, renew := n.TLSCert, n.TLSKey, "renew it soon; the node reads new files by itself"
	if n.TLS == config.TLSACME {
		certFile, keyFile, renew = acmeFile, acmeFile, "the node should have renewed it: its log has the CA's reasons (journalctl -u relaymux-node)"
		if l, missing := acmeLeg(n, acmeFile); missing {
			return nil, l
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		l.Status, l.Detail, l.Remedy = Broken, plain(err.Error()), "tls_cert and tls_key under [node] must be the PEM files of one pair"
		return nil, l
	}
	c := pair.Leaf
	l.Detail = describe(c)
	switch now := time.Now(); {
	case now.Before(c.NotBefore):
		l.Status, l.Remedy = Broken, "set this machine's clock (timedatectl set-ntp true); if it is right, make a new certificate"
	case now.After(c.NotAfter):
		l.Status, l.Remedy = Broken, "renew it: clients that do not pin it refuse it"
	case c.NotAfter.Sub(now) < soon:
		l.Status, l.Remedy = Warning, renew
	}
	return c, l
}

// portLeg is whether the port is free, or the node's own.
func portLeg(ctx context.Context, n *config.ExitNode, cert *x509.Certificate) Leg {
	l := Leg{Name: LegPort, Status: OK}
	ln, err := net.Listen("tcp", n.Listen)
	switch {
	case err == nil:
		ln.Close()
		l.Detail = "TCP " + n.Listen + " is free: the node does not run"
	case errors.Is(err, syscall.EADDRINUSE):
		return takenLeg(ctx, n, cert)
	case errors.Is(err, syscall.EACCES):
		l.Status, l.Detail = Broken, "TCP "+n.Listen+": not permitted"
		l.Remedy = "ports below 1024 want CAP_NET_BIND_SERVICE (relaymux init writes a unit that has it), or take 8443"
	default:
		l.Status, l.Detail, l.Remedy = Broken, plain(err.Error()), "listen under [node] must be an address of this machine"
	}
	if l.Status == OK && !n.Plain {
		if u, err := net.ListenPacket("udp", n.Listen); err == nil {
			u.Close()
			l.Detail += "; UDP too"
		} else {
			l.Status, l.Detail = Warning, l.Detail+"; UDP is not, so there will be no HTTP/3"
			l.Remedy = "see what has it: ss -lunp"
		}
	}
	return l
}

// takenLeg asks who has the port.
func takenLeg(ctx context.Context, n *config.ExitNode, cert *x509.Certificate) Leg {
	l := Leg{Name: LegPort, Status: OK, Detail: "TCP " + n.Listen + " is in use"}
	if cert == nil {
		l.Status, l.Detail, l.Remedy = Warning, l.Detail+", by the node if that runs", "see who has it: ss -ltnp"
		return l
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	host, port, _ := net.SplitHostPort(n.Listen) // it could be listened on
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	// Who shows the certificate has its key: that is all that is asked.
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err == nil {
		defer conn.Close()
		shown := conn.(*tls.Conn).ConnectionState().PeerCertificates
		if len(shown) > 0 && shown[0].Equal(cert) {
			l.Detail += " by this node"
			return l
		}
	}
	l.Status, l.Detail = Broken, l.Detail+" by another program"
	l.Remedy = "see who has it (ss -ltnp) and stop that, or take another port: listen under [node]"
	return l
}

// Lengths of secrets in characters that are worth a word. What is too short was
// refused by the config's checks.
const longEnough = 24

func keysLeg(n *config.ExitNode) Leg {
	l := Leg{Name: LegKeys, Status: OK, Detail: fmt.Sprintf("%d clients", len(n.Clients))}
	if len(n.Clients) == 1 {
		l.Detail = "1 client"
	}
	switch size := len(n.Key.Reveal()); {
	case size == 0:
		l.Detail += ", no key: the JSON wire and scripts are off"
	case size < longEnough:
		l.Status, l.Detail = Warning, l.Detail+fmt.Sprintf(", a key of %d characters", size)
		l.Remedy = "make a longer one: head -c 24 /dev/urandom | base64"
	default:
		l.Detail += ", a key of " + fmt.Sprint(size) + " characters"
	}
	if len(n.Clients) == 0 {
		l.Status, l.Remedy = Warning, "write [[node.client]] with a secret: without one relays read what programs do not encrypt"
	}
	return l
}

// clockLeg compares the clock with what it cannot be behind.
func clockLeg(n *config.ExitNode, now time.Time) Leg {
	l := Leg{Name: LegClock, Status: OK, Detail: now.UTC().Format(time.RFC3339)}
	for _, path := range []string{n.TLSCert, n.TLSKey} {
		info, err := os.Stat(path)
		if err == nil && info.ModTime().After(now.Add(24*time.Hour)) {
			l.Status, l.Detail = Broken, l.Detail+": before "+path+" was written, "+day(info.ModTime())
			l.Remedy = "timedatectl set-ntp true"
			return l
		}
	}
	return l
}

// egressLeg is the rule: nothing is connected to.
func egressLeg(e *config.Egress) Leg {
	l := Leg{Name: LegEgress, Status: OK, Detail: "rule, not tried: clients may reach the public Internet, without port 25"}
	if e.AllowPrivate {
		l.Status, l.Detail = Warning, l.Detail+"; private addresses and this machine's own too"
		l.Remedy = "whoever has a secret reaches all that this machine can: unless that is meant, remove allow_private"
	}
	if len(e.Allow) > 0 {
		l.Detail += "; allowed: " + plain(strings.Join(e.Allow, ", "))
	}
	if len(e.Deny) > 0 {
		l.Detail += "; denied: " + plain(strings.Join(e.Deny, ", "))
	}
	return l
}

// filesLeg compares the descriptors that a process may have with what the streams
// take: one each, and some for clients and files.
func filesLeg(streams int) Leg {
	const others = 256
	l := Leg{Name: LegFiles, Status: OK, Detail: "no limit is known here"}
	limit, ok := fd.Limit()
	if !ok {
		return l
	}
	l.Detail = fmt.Sprintf("%d descriptors for %d streams", limit, streams)
	if limit < uint64(streams)+others {
		l.Status, l.Remedy = Warning, "LimitNOFILE=65536 in the unit, ulimit -n 65536 in a shell, or lower streams under [node.limits]"
	}
	return l
}

func trainsLeg() Leg {
	send, receive := gso.Able()
	word := map[bool]string{true: "yes", false: "no"}
	l := Leg{Name: LegTrains, Status: OK, Detail: "UDP in trains: sending " + word[send] + ", receiving " + word[receive]}
	if !send || !receive {
		l.Status, l.Remedy = Warning, "it works, at more CPU for HTTP/3 and UDP; Linux 5.0 and newer have both"
	}
	return l
}

func congestionLeg() Leg {
	l := Leg{Name: LegCongestion, Status: OK, Detail: "TCP sends by BBR"}
	if !gso.BBR() {
		l.Status, l.Detail = Warning, "TCP does not send by BBR, which is much faster where packets get lost"
		l.Remedy = "sysctl net.ipv4.tcp_congestion_control=bbr (and into /etc/sysctl.d to stay)"
	}
	return l
}

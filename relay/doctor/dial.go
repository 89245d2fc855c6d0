package doctor

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"relaymux/mux"
	"relaymux/mux/wire"
)

// dialLimit is what a node gives a target, and an exchange or two.
const dialLimit = 40 * time.Second

// IsTarget reports whether s may be a Client's Target.
func IsTarget(s string) bool {
	_, _, ok := splitTarget(s)
	return ok
}

func splitTarget(s string) (host string, port uint16, ok bool) {
	host, text, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(text, 10, 16)
	return host, uint16(n), err == nil && portErr == nil && host != "" && n > 0
}

// dial has the node connect to the target, through the program's own mux.
func (e *exam) dial(ctx context.Context) {
	if e.Target == "" {
		e.skip("no --target", LegDial)
		return
	}
	l := Leg{Name: LegDial, Status: OK}
	host, port, ok := splitTarget(e.Target)
	if !ok {
		l.Status, l.Detail, l.Remedy = Broken, "--target is not host:port", "write it as example.com:443"
		e.add(l)
		return
	}
	t, err := e.transport()
	if err != nil {
		l.Status, l.Detail = Broken, plain(err.Error())
		e.add(l)
		return
	}
	defer t.Close()
	c := mux.Config{
		Deployments: []mux.Deployment{{Name: e.d.Name, Key: e.d.Key, Script: t.Script(), Link: e.d.Link, Limit: e.d.ExchangeLimit,
			Transport: t, Account: mux.NewAccount(4, e.d.Name)}},
		MaxOps: 50, MaxBytes: 1 << 20, Memory: 16 << 20,
	}
	if e.d.Link {
		c.Link = &mux.Link{Secret: e.Secret, Grace: dialLimit}
	}
	m := mux.New(c)
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	began := time.Now()
	s := m.Open(host, port)
	err = s.Wait(ctx)
	l.Millis = since(began)
	s.Close()
	over, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer stop()
	_ = m.Close(over) // what is said of the end no leg tells
	l.Detail = "the node connected to " + e.Target
	if err != nil {
		l.Status = Broken
		l.Detail = plain("the node, to " + e.Target + ": " + err.Error())
		l.Remedy = dialRemedy(err)
	}
	e.add(l)
}

func dialRemedy(err error) string {
	d, ok := errors.AsType[*wire.DialError](err)
	switch {
	case !ok:
		return "the log of the node says more (journalctl -u relaymux-node)"
	case d.Reason == wire.Denied:
		return "the node's egress policy refuses it: private and own addresses and port 25, unless allow_private or allow under [node.egress] lets them through"
	case d.Reason == wire.NameNotFound:
		return "the node finds no such name: check --target, and the node's /etc/resolv.conf"
	case d.Reason == wire.RelayDown:
		return "no exchange got through in time"
	}
	return "the target, or the node's own way out of its network: try curl on the node's machine"
}

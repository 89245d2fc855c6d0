package setup

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The kinds of relays.
const (
	Direct     = "direct"      // no relay: straight to the node
	AppsScript = "apps-script" // a Google Apps Script web app
	Worker     = "worker"      // a Cloudflare Worker
	Proxy      = "proxy"       // a reverse proxy that forwards to the node
)

// How the node is reached.
const (
	SelfSigned = "self-signed" // by TLS of its own, with a certificate that is made here
	Behind     = "proxy"       // through a TLS proxy on the same machine
)

// A relayAnswer is one relay that somebody has, or will have.
type relayAnswer struct{ kind, url string }

// answers are what has to be known.
type answers struct {
	host, port string // of the node
	nodeTLS    string
	relays     []relayAnswer
	client     string
	old        takeover
}

// answers takes o, and asks for what it leaves out.
func (s *Setup) answers(o Options) (a answers, err error) {
	if a.old, err = takeOver(o.From); err != nil {
		return a, err
	}
	if a.host, a.port, err = s.nodeAnswer(o, &a.old); err != nil {
		return a, err
	}
	if a.relays, err = s.relayAnswers(o, &a.old); err != nil {
		return a, err
	}
	if a.nodeTLS, err = s.tlsAnswer(o, &a); err != nil {
		return a, err
	}
	a.client = o.Client
	if a.client == "" {
		a.client = "laptop"
	}
	return a, nil
}

func (s *Setup) nodeAnswer(o Options, old *takeover) (host, port string, err error) {
	text := o.Node
	if text == "" {
		text = old.node
	}
	for {
		if text == "" {
			if s.In == nil || o.Yes {
				return "", "", &UsageError{"node", "is missing: HOST:PORT at which the node is reached, such as node.example:8443"}
			}
			if text, err = s.ask("Address of the node, as relays and clients reach it (host or host:port)", ""); err != nil {
				return "", "", err
			}
		}
		if host, port, err = splitNode(text); err == nil || s.In == nil || o.Node != "" {
			return host, port, err
		}
		s.say("%v", err)
		text = ""
	}
}

// defaultPort is the node's; a Worker reaches it too, which not every port is.
const defaultPort = "8443"

// splitNode takes host, host:port or an https URL apart.
func splitNode(text string) (host, port string, err error) {
	if u, err := url.Parse(text); err == nil && u.Scheme == "https" && u.Host != "" {
		if text = u.Host; u.Port() == "" {
			text = net.JoinHostPort(u.Hostname(), "443")
		}
	}
	host, port, err = net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), defaultPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || !isHost(host) {
		return "", "", &UsageError{"node", fmt.Sprintf("%q is not HOST:PORT, such as node.example:8443", text)}
	}
	return host, port, nil
}

// isHost is a first look; the config's own checks have the last word.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == ""
}

const kinds = "direct, apps-script, worker or proxy"

func (s *Setup) relayAnswers(o Options, old *takeover) ([]relayAnswer, error) {
	list := o.Relays
	if len(list) == 0 && len(old.scripts) == 0 {
		if s.In == nil && !o.Yes {
			return nil, &UsageError{"relay", "is missing: " + kinds + ", once for each relay"}
		}
		text := Direct
		if !o.Yes {
			s.say("Ways to the node: direct (where the network lets it through), apps-script (Google),")
			s.say("worker (Cloudflare), proxy (a reverse proxy of yours). Several: separate them by spaces.")
			var err error
			if text, err = s.ask("Ways", Direct); err != nil {
				return nil, err
			}
		}
		list = strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
	}
	var relays []relayAnswer
	for _, script := range old.scripts {
		relays = append(relays, relayAnswer{AppsScript, script})
	}
	for _, text := range list {
		kind, at, _ := strings.Cut(text, "=")
		if !slices.Contains([]string{Direct, AppsScript, Worker, Proxy}, kind) {
			return nil, &UsageError{"relay", fmt.Sprintf("%q is none of %s", kind, kinds)}
		}
		if at != "" && !strings.HasPrefix(at, "https://") {
			return nil, &UsageError{"relay", fmt.Sprintf("%s has an address that does not begin with https://", kind)}
		}
		relays = append(relays, relayAnswer{kind, at})
	}
	return relays, nil
}

// tlsAnswer is how the node is to be reached, given what the relays accept.
func (s *Setup) tlsAnswer(o Options, a *answers) (string, error) {
	worker := a.has(Worker)
	how := o.NodeTLS
	switch {
	case how == "" && (worker || strings.HasPrefix(a.old.node, "https://")): // Google would have refused another
		how = Behind
	case how == "" && a.has(AppsScript) && s.In != nil && !o.Yes:
		s.say("A script of Google's refuses a node with a certificate of its own making, unless it is told otherwise")
		s.say("(validateHttpsCertificates: false: then somebody between Google and the node could read the node's key,")
		s.say("though not your traffic, which is sealed). Or a TLS proxy with a real certificate stands before the node.")
		var err error
		if how, err = s.ask("Certificate of the node: self-signed or proxy", SelfSigned); err != nil {
			return "", err
		}
	case how == "":
		how = SelfSigned
	}
	switch {
	case how != SelfSigned && how != Behind:
		return "", &UsageError{"node-tls", fmt.Sprintf("%q is neither self-signed nor proxy", how)}
	case how == SelfSigned && worker:
		return "", &UsageError{"node-tls", "self-signed does not go with a Worker, which always verifies the node's certificate: " +
			"use --node-tls proxy, with a TLS proxy such as Caddy before the node"}
	}
	if _, err := netip.ParseAddr(a.host); err == nil && worker {
		return "", &UsageError{"node", "must be a name for a Worker, which connects to no bare address"}
	}
	return how, nil
}

func (a *answers) has(kind string) bool {
	return slices.ContainsFunc(a.relays, func(r relayAnswer) bool { return r.kind == kind })
}

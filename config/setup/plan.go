package setup

import (
	"crypto/rand"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"relaymux/config"
	"relaymux/relay/script"
)

// Names of the files.
const (
	clientFile = "relaymux.toml"
	nodeFile   = "node.toml"
	keyFile    = "key.pem"
	certFile   = "cert.pem"
)

// A plan is what the files say.
type plan struct {
	answers
	secret    string       // of the link
	nodeKey   string       // of scripts; empty: none has to show one
	authKey   string       // of scripts, which have one text
	workerKey string       // of Workers, likewise: who runs one relay is not to know the key of another
	cert      *certificate // of the node's own making
	standIn   *certificate // for the checks, of one that is elsewhere
	ways      []way

	warnings []string
}

// A way is a [[deployment]].
type way struct {
	kind, name  string
	url, key    string
	connectTo   string
	serverName  string
	pin         string
	placeholder string // what of the url its user has to fill in
}

// What stands in a url until its relay is there.
const (
	scriptID   = config.ScriptHere
	workerHost = config.WorkerHere
	proxyHost  = config.ProxyHere
)

func newPlan(a answers) (*plan, error) {
	p := &plan{answers: a, secret: newSecret(), authKey: a.old.authKey, workerKey: newSecret()}
	if p.authKey == "" {
		p.authKey = newSecret()
	}
	if a.has(script.AppsScript) {
		p.nodeKey = newSecret()
		p.keepNodeKey()
	}
	if a.nodeTLS == SelfSigned || a.nodeTLS == Files {
		c, err := newCertificate(a.host)
		if err != nil {
			return nil, err
		}
		if p.cert = c; a.nodeTLS == Files {
			p.cert, p.standIn = nil, c
		}
	}
	for _, r := range a.relays {
		w := p.way(r)
		w.name = p.nameFor(r.kind)
		p.ways = append(p.ways, w)
	}
	p.warn()
	return p, nil
}

// newSecret has 256 bits, which are 52 characters.
func newSecret() string { return rand.Text() + rand.Text() }

// keepNodeKey keeps the node's key of an earlier setup, so that its scripts go on
// without a change, if it is one that the node takes.
func (p *plan) keepNodeKey() {
	switch why := config.KeyWeakness(p.old.nodeKey); {
	case p.old.nodeKey == "":
	case why != "":
		p.warnings = append(p.warnings, "the node's key of the earlier setup "+why+"; a new one stands in node.toml, and must go into the script.")
	default:
		p.nodeKey = p.old.nodeKey
	}
}

// nameFor is the name of the next deployment of that kind: the second and those after
// it have a number.
func (p *plan) nameFor(kind string) string {
	n := 1
	for _, w := range p.ways {
		if w.kind == kind {
			n++
		}
	}
	if n == 1 {
		return kind
	}
	return kind + "-" + strconv.Itoa(n)
}

// way is the deployment of a relay.
func (p *plan) way(r relayAnswer) way {
	w := way{kind: r.kind, url: r.url}
	switch r.kind {
	case Direct:
		if w.url == "" {
			w.url = p.nodeURL()
		}
		if p.cert != nil {
			w.pin = p.cert.fingerprint
		}
	case script.AppsScript:
		w.key, w.connectTo, w.serverName = p.authKey, p.old.connectTo(), p.old.serverName()
		if w.url == "" {
			w.url, w.placeholder = scriptURL(scriptID), scriptID
		}
	case script.Worker:
		w.key = p.workerKey
		if w.url == "" {
			w.url, w.placeholder = "https://"+workerHost, workerHost
		}
	case Proxy:
		if w.url == "" {
			w.url, w.placeholder = "https://"+proxyHost+"/hidden", proxyHost
		}
	}
	return w
}

// nodeURL is where relays reach the node.
func (p *plan) nodeURL() string {
	scheme, usual := "https://", "443"
	if p.nodeTLS == Plain {
		scheme, usual = "http://", "80"
	}
	if p.port != usual {
		return scheme + net.JoinHostPort(p.host, p.port)
	}
	if addr, err := netip.ParseAddr(p.host); err == nil && addr.Is6() {
		return scheme + "[" + p.host + "]"
	}
	return scheme + p.host
}

// forCheck are files that the configs name and that are not here.
func (p *plan) forCheck() []file {
	if p.standIn == nil {
		return nil
	}
	return p.standIn.files()
}

// warn says where a key could be read.
func (p *plan) warn() {
	switch {
	case p.nodeTLS == Plain:
		p.warnings = append(p.warnings,
			"The node speaks HTTP without TLS, so node.toml has no key: it takes nothing but links, which are sealed. Write none "+
				"into it: the key of the JSON wire would travel in clear.")
	case p.nodeKey == "":
	case p.nodeTLS == SelfSigned:
		p.warnings = append(p.warnings,
			"Google's UrlFetchApp refuses the node's certificate, which is of its own making, unless it is told not to verify it, as "+
				"Code.gs does (VERIFY_CERTIFICATE = false). Whoever can pose as the node to Google then reads the node's key: "+
				"not your traffic, which is sealed, but that of clients without a secret. --node-tls acme or proxy avoids it.")
	case p.nodeTLS == Behind:
		p.warnings = append(p.warnings,
			"The node speaks HTTP without TLS, on 127.0.0.1 only. Let nothing but the TLS proxy reach it: over a network "+
				"the key of scripts would travel in clear.")
	}
	if p.nodeTLS == Behind && p.has(Direct) {
		p.warnings = append(p.warnings, "Behind a TLS proxy the node has no HTTP/3; all goes by TCP.")
	}
	if p.old.authKey != "" && config.KeyWeakness(p.old.authKey) != "" {
		p.warnings = append(p.warnings, "the script's AUTH_KEY "+config.KeyWeakness(p.old.authKey)+"; it is kept, but change it.")
	}
	p.warnings = append(p.warnings, p.old.notes...)
}

// A scriptFile is a relay's text, with everything filled in.
type scriptFile struct {
	kind, name string // of the file
	values     script.Values
}

// scripts are the texts of all relays, one of a kind.
func (p *plan) scripts() (list []scriptFile) {
	for _, w := range p.ways {
		v := script.Values{Node: p.nodeURL(), Key: config.NewSecret(w.key)}
		if u, err := url.Parse(w.url); err == nil {
			v.Path = u.Path
		}
		switch {
		case slices.ContainsFunc(list, func(f scriptFile) bool { return f.kind == w.kind || w.kind == Proxy && f.kind == script.Nginx }):
		case w.kind == script.AppsScript:
			v.NodeKey, v.SkipVerify = config.NewSecret(p.nodeKey), p.cert != nil
			list = append(list, scriptFile{w.kind, "Code.gs", v})
		case w.kind == script.Worker:
			list = append(list, scriptFile{w.kind, "worker.js", v})
		case w.kind == Proxy:
			if p.cert != nil {
				v.Trusted = script.NodeCertificate
			}
			list = append(list, scriptFile{script.Nginx, "nginx.conf", v}, scriptFile{script.Caddy, "Caddyfile", v})
		}
	}
	return list
}

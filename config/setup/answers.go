package setup

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"relaymux/config"
	"relaymux/relay/script"
)

// The kinds of relays, besides script.AppsScript and script.Worker.
const (
	Direct = "direct" // no relay: straight to the node
	Proxy  = "proxy"  // a reverse proxy, nginx or Caddy, that forwards to the node
)

// A relayAnswer is one relay that somebody has, or will have.
type relayAnswer struct{ kind, url string }

// answers are what has to be known.
type answers struct {
	host, port string // of the node
	nodeTLS    string
	tlsWhy     string // of one that nobody has chosen
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
		a.client = DefaultClient
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

// Kinds are those of relays.
func Kinds() []string { return []string{Direct, script.AppsScript, script.Worker, Proxy} }

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
	for _, id := range old.scripts {
		relays = append(relays, relayAnswer{script.AppsScript, id})
	}
	more, err := parseRelays(list)
	return append(relays, more...), err
}

// parseRelays takes kind or kind=url of each apart.
func parseRelays(list []string) (relays []relayAnswer, err error) {
	for _, text := range list {
		kind, at, _ := strings.Cut(text, "=")
		if !slices.Contains(Kinds(), kind) {
			return nil, &UsageError{"relay", fmt.Sprintf("%q is none of %s", kind, kinds)}
		}
		if kind == script.AppsScript && at != "" {
			if at, err = scriptAt(at); err != nil {
				return nil, err
			}
		}
		if at != "" && !strings.HasPrefix(at, "https://") {
			return nil, &UsageError{"relay", fmt.Sprintf("%s has an address that does not begin with https://", kind)}
		}
		relays = append(relays, relayAnswer{kind, at})
	}
	return relays, nil
}

// scriptAt is the url of a script, of which text is that or the deployment id alone. An
// account of Google Workspace has its domain in the path.
func scriptAt(text string) (string, error) {
	at := text
	if !strings.ContainsAny(text, "/:.") {
		at = scriptURL(text)
	}
	d := config.Deployment{URL: at}
	if !strings.HasPrefix(at, "https://script.google.com/") || !d.Script() {
		return "", &UsageError{"relay", fmt.Sprintf("apps-script has the address %q: a script's is https://script.google.com/macros/s/ID/exec, or the ID alone", text)}
	}
	return at, nil
}

func (a *answers) has(kind string) bool {
	return slices.ContainsFunc(a.relays, func(r relayAnswer) bool { return r.kind == kind })
}

package setup

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"relaymux/relay/script"
)

// How the node is reached.
const (
	SelfSigned = "self-signed" // by TLS, with a certificate that is made here
	ACME       = "acme"        // by TLS, with one that the node gets from a CA
	Behind     = "proxy"       // through a TLS proxy on the same machine
	Files      = "files"       // by TLS, with one that somebody has already
	Plain      = "plain"       // without TLS
)

// NodeTLSWays are all of them, in the order in which they are offered.
func NodeTLSWays() []string { return []string{SelfSigned, ACME, Behind, Files, Plain} }

// tlsAnswer is how the node is to be reached, given what the relays accept.
func (s *Setup) tlsAnswer(o Options, a *answers) (string, error) {
	if a.isAddress() && a.has(script.Worker) {
		return "", &UsageError{"node", "must be a name for a Worker, which connects to no bare address"}
	}
	how, preset := o.NodeTLS, a.usualTLS()
	asks := how == "" && s.In != nil && !o.Yes && (a.has(script.AppsScript) || a.has(script.Worker) || a.has(Proxy))
	if how == "" && !asks {
		how, a.tlsWhy = preset, a.whyUsualTLS(preset)
	}
	if asks {
		s.offerTLS(a)
	}
	for {
		if asks {
			var err error
			if how, err = s.ask("Certificate", preset); err != nil {
				return "", err
			}
		}
		why := a.objection(how)
		if why == "" {
			return how, nil
		}
		if !asks {
			return "", &UsageError{"node-tls", why}
		}
		s.say("%s", why)
	}
}

// usualTLS is what to do if nobody says. A node that Google reached by HTTPS has a
// certificate that Google trusts already.
func (a *answers) usualTLS() string {
	switch {
	case strings.HasPrefix(a.old.node, "https://"):
		return Behind
	case a.has(script.Worker):
		return ACME
	}
	return SelfSigned
}

// whyUsualTLS is the reason of usualTLS.
func (a *answers) whyUsualTLS(how string) string {
	switch {
	case how == Behind:
		return "as the script of the earlier setup reached the node by HTTPS"
	case how == ACME:
		return "as a Worker takes only a certificate of a public CA: Let's Encrypt asks at port " + a.acmePort() + " of " + a.host
	case a.has(script.AppsScript) || a.has(Proxy):
		return "which is made here and goes with all of these relays"
	}
	return "" // goes without saying
}

func notAWay(how string) string {
	return fmt.Sprintf("%q is none of %s", how, strings.Join(NodeTLSWays(), ", "))
}

// objection is why the node cannot be reached in that way, "" if it can.
func (a *answers) objection(how string) string {
	switch {
	case how == SelfSigned && a.has(script.Worker):
		return "self-signed does not go with a Worker, which always verifies the node's certificate: acme, proxy and files do"
	case how == ACME && a.isAddress():
		return "acme does not go with a bare address, for which CAs give nothing: it wants a name that leads to the node"
	case how == Plain && a.has(script.AppsScript):
		return "plain does not go with a script of Google's: it shows the node its key, which would travel in clear. " +
			"self-signed does, and the script made here takes that certificate"
	case how == Plain && a.has(Direct):
		return "plain does not go with direct: the proxy itself speaks to the node by TLS only"
	case !slices.Contains(NodeTLSWays(), how):
		return notAWay(how)
	}
	return ""
}

// offerTLS says what there is to choose from, and why.
func (s *Setup) offerTLS(a *answers) {
	reasons := map[string]string{
		SelfSigned: "made here; your own proxy trusts this one and no other",
		ACME:       "from Let's Encrypt, by the node itself: port " + a.acmePort() + " of " + a.host + " must lead to it",
		Behind:     "of a TLS proxy on the node's machine, such as Caddy; no HTTP/3 then",
		Files:      "that you have, with its key, for this name",
		Plain: "none, for want of open ports: what a Worker or a reverse proxy carries is sealed without it, and no key goes with it; " +
			"but anybody on its way sees that it is this program",
	}
	if a.has(script.AppsScript) {
		reasons[SelfSigned] += ". The script is told to take it: who can pose as the node to Google then reads the node's key, " +
			"but not your traffic, which is sealed"
	}
	s.say("The node's certificate:")
	for _, how := range NodeTLSWays() {
		if why := a.objection(how); why != "" {
			s.say("  (%s)", why)
		} else {
			s.say("  %-12s %s", how, reasons[how])
		}
	}
}

// acmePort is where the CA asks (config.ExitNode.ByHTTP).
func (a *answers) acmePort() string {
	if a.port == "443" {
		return "443"
	}
	return "80"
}

func (a *answers) isAddress() bool {
	_, err := netip.ParseAddr(a.host)
	return err == nil
}

package doctor

import (
	"cmp"
	"strings"
	"unicode"

	"relaymux/mux/secret"
	"relaymux/mux/wire"
	"relaymux/relay"
)

// A fault is a leg that is broken.
type fault struct {
	leg, detail, remedy string
	unreached           bool // there was no connection
}

// Remedies that several causes have.
const (
	secretRemedy  = "secret under [link] must be, to the letter, that of one [[node.client]] at the node; after a change there: systemctl reload relaymux-node"
	nodeKeyRemedy = "the node does not take the relay's key: the one in the script (NODE_KEY; in another one TUNNEL_AUTH_KEY) must be key under [node]; " +
		"then deploy the script as a new version"
	nodeRemedy = "is the node running, its port open to the internet, and its address in the relay the right one?"
)

// blame adds the leg of f as broken, those before it as well as they are known, and
// those behind it as not reached.
func (e *exam) blame(f fault, took float64) {
	legs := []string{LegRelay, LegNode, LegSecret}
	at := -1
	for i, name := range legs {
		if name == f.leg {
			at = i
		}
	}
	for i, name := range legs {
		switch {
		case i == at:
			e.add(Leg{Name: name, Status: Broken, Millis: took, Detail: plain(f.detail), Remedy: f.remedy})
		case i > at:
			e.skip("not reached", name)
		case name == LegRelay && e.d.direct():
			e.add(Leg{Name: name, Status: OK, Detail: "none: straight to the node"})
		default:
			e.add(Leg{Name: name, Status: OK, Detail: "answered"})
		}
	}
}

// meaning says whose fault a failed exchange is.
func (e *exam) meaning(f *relay.Failure) fault {
	out := fault{leg: LegRelay, detail: f.Kind.String() + ": " + f.Detail, remedy: f.Hint}
	out.unreached = f.Kind == relay.Unreachable || f.Kind == relay.Timeout && e.d.direct()
	direct := e.d.direct()
	switch f.Kind {
	case relay.Refused:
		if said := e.nodeSaid(f.Detail); said != "" {
			out.leg, out.detail, out.remedy = LegSecret, said, secretRemedy
			if !e.d.Link {
				out.remedy = "key of the [[deployment]] must be key under [node] at the node"
			}
			if path := e.d.URL.Path; path != "" && path != "/" && said == asStranger { // it may not have got as far as the secret
				out.remedy = "what stands before the node must take " + path + " away (nginx: proxy_pass with a / at its end; Caddy: handle_path), " +
					"and a url straight to the node has no path; else " + out.remedy
			}
		} else if direct {
			out.leg, out.remedy = LegNode, "something else than a node answers there: check host and port of the url, and what is before the node"
		} else if e.d.Script() && strings.HasPrefix(f.Detail, "the node answers the script") {
			out.leg, out.detail, out.remedy = LegNode, f.Detail, nodeKeyRemedy
		} else if !e.d.Script() {
			out.remedy = cmp.Or(keyRemedy(e.d.Key), out.remedy)
		}
	case relay.ServerError:
		out.leg, out.remedy = LegNode, cmp.Or(out.remedy, nodeRemedy)
	case relay.Timeout, relay.Broken, relay.Malformed:
		if direct {
			out.leg = LegNode
		}
		if f.Kind == relay.Timeout {
			out.remedy = cmp.Or(out.remedy, "the relay takes longer than exchange_limit: raise it, or use another deployment")
		}
	}
	out.remedy = cmp.Or(out.remedy, "check url, key and who may use the deployment")
	return out
}

// asStranger is what nodeSaid makes of the answer to everybody without a secret, and at every
// path that no link is at.
const asStranger = "the node answers as to a stranger (404)"

// nodeSaid is what the node says to strangers, if detail has that, of an answer that may
// have come through a relay: one and the same 404, or with diagnostics why, in JSON. A
// relay has words of its own, none of them about a link.
func (e *exam) nodeSaid(detail string) string {
	if strings.Contains(detail, "404 page not found") {
		return asStranger
	}
	var a wire.Answer
	at := strings.IndexByte(detail, '{')
	if at < 0 || e.d.Script() || wire.ParseAnswer([]byte(detail[at:]), &a, 1) != nil || !a.HasErr {
		return ""
	}
	if why := string(a.Err); e.d.direct() || strings.HasPrefix(why, "link") {
		return "the node says: " + why
	}
	return ""
}

func keyRemedy(key secret.Text) string {
	if !key.IsSet() {
		return "check the url; or the Worker asks for a key, which the [[deployment]] lacks"
	}
	return "key of the [[deployment]] must be the one that the Worker was given; else check the url"
}

// saidBy is what an error in words means, which a script passed on or made up: the
// wire has no codes for them.
func saidBy(text string) fault {
	lower := strings.ToLower(text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(lower, w) {
				return true
			}
		}
		return false
	}
	f := fault{leg: LegNode, detail: "the relay says: " + text}
	switch {
	case has("no such secret", "link refused"):
		f = fault{leg: LegSecret, detail: "the node says: " + text, remedy: secretRemedy}
	case has("http 401", "http 403", "http 404", "unauthorized"):
		f.remedy = nodeKeyRemedy
	case has("ssl", "certificate", "tls"):
		f.remedy = "the relay does not trust the node's certificate: VERIFY_CERTIFICATE = false in the script (in another one validateHttpsCertificates: false), " +
			`or one that it trusts: tls = "acme" under [node], or a TLS proxy before it`
	default:
		f.remedy = nodeRemedy
	}
	return f
}

// plain makes a text of others fit for a terminal.
func plain(s string) string {
	const most = 400
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return s
}

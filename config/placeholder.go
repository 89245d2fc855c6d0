package config

import "strings"

// What stands in a url as relaymux init writes it, until its relay is there; and in the
// commands that replace that.
const (
	IDHere     = "THE-ID-YOU-WERE-SHOWN"
	ScriptHere = "DEPLOYMENT_ID"
	WorkerHere = "YOUR-WORKER.workers.dev"
	ProxyHere  = "YOUR-PROXY.example"
)

// dots stand in documents for what is left out.
const dots = "..."

// Placeholder is the part of a url that its user has not filled in, "" if there is
// none.
func Placeholder(url string) string {
	for _, part := range []string{ScriptHere, IDHere, WorkerHere, ProxyHere, dots} {
		if strings.Contains(url, part) {
			return part
		}
	}
	return ""
}

// warnPlaceholder names what to fill in. It is no mistake: the other deployments work.
func (l *loader) warnPlaceholder(d *Deployment, at string) {
	switch part := Placeholder(d.URL); {
	case part == "":
	case d.Script():
		l.warn(join(at, "url"), "has still %s in it; fill in the script's deployment id, which begins with AKfy", part)
	default:
		l.warn(join(at, "url"), "has still %s in it; fill in the relay's address", part)
	}
}

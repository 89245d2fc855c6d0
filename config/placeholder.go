package config

import "strings"

// What stands in a url as relaymux init writes it, until its relay is there.
const (
	ScriptHere = "DEPLOYMENT_ID"
	WorkerHere = "YOUR-WORKER.workers.dev"
	ProxyHere  = "YOUR-PROXY.example"
)

// Placeholder is the part of a url that its user has not filled in, "" if there is
// none.
func Placeholder(url string) string {
	for _, part := range []string{ScriptHere, WorkerHere, ProxyHere} {
		if strings.Contains(url, part) {
			return part
		}
	}
	return ""
}

// warnPlaceholder names what to fill in. It is no mistake: the other deployments work.
func (l *loader) warnPlaceholder(d *Deployment, at string) {
	switch part := Placeholder(d.URL); part {
	case "":
	case ScriptHere:
		l.warn(join(at, "url"), "has still %s in it; fill in the script's deployment id (AKfy...)", part)
	default:
		l.warn(join(at, "url"), "has still %s in it; fill in the relay's address", part)
	}
}

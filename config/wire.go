package config

import (
	"net/url"
	"strings"
)

// Links reports whether d speaks the link, else it speaks the JSON wire. A
// secret alone decides: if anything on the way could, a relay would choose the
// wire that it can read.
func (c *Config) Links(d *Deployment) bool {
	return d.Wire == WireLink || d.Wire == Auto && c.Link.isOn()
}

// isOn reports whether a secret is given, also one that could not be read.
func (k *Link) isOn() bool { return k.Secret.IsSet() || k.SecretFile != "" }

// Script reports whether d's url is a script's: it ends in /macros/s/<id>/exec,
// or in /a/macros/<domain>/s/<id>/exec for an account of Google Workspace.
func (d *Deployment) Script() bool {
	u, err := url.Parse(d.URL)
	if err != nil {
		return false
	}
	s := strings.Split(u.Path, "/")
	n := len(s)
	if n < 5 || s[n-1] != "exec" || s[n-2] == "" || s[n-3] != "s" {
		return false
	}
	workspace := n >= 7 && s[n-5] == "macros" && s[n-6] == "a"
	return s[n-4] == "macros" || workspace
}

// checkWire refuses a link without a secret.
func (l *loader) checkWire(d *Deployment, at string) {
	if d.Wire == WireLink && !l.cfg.Link.isOn() {
		l.fail(join(at, "wire"), `needs a secret that the node knows too; write secret or secret_file under [link], `+
			`or wire = "json", which lets the relay read what your programs do not encrypt`)
	}
}

// checkHTTP refuses HTTP/3 where there cannot be any.
func (l *loader) checkHTTP(d *Deployment, at string) {
	switch {
	case d.HTTP != "3":
	case d.Script():
		l.fail(join(at, "http"), `is not for scripts, which are reached over TCP; write http = "auto"`)
	case strings.HasPrefix(strings.ToLower(d.URL), "http:"):
		l.fail(join(at, "http"), `"3" needs https in url`)
	}
}

// checkLink needs no secret: without one there is no link. It says what that
// means to whoever did not ask for it.
func (l *loader) checkLink() {
	k := &l.cfg.Link
	at := l.readSecret("link", "secret", &k.Secret, k.SecretFile)
	switch {
	case isExample(k.Secret.Reveal()) && k.Secret.IsSet():
		l.fail(at, "is an example; copy the secret that the node's config has for this client under [[node.client]]")
	case k.Secret.IsSet():
		l.checkStrength(at, k.Secret, minSecret)
	}
	wires := make(map[string]int)
	for _, d := range l.cfg.Deployments {
		wires[d.Wire]++
	}
	switch all := len(l.cfg.Deployments); {
	case !k.isOn() && wires[Auto] > 0:
		l.warn(at, "is missing, so relays can read what your programs do not encrypt; write the secret of a [[node.client]], "+
			`or wire = "json" under each [[deployment]] to accept that`)
	case k.isOn() && all > 0 && wires[WireJSON] == all:
		l.warn(at, `seals nothing, as every [[deployment]] has wire = "json"; remove that, or the secret`)
	}
}

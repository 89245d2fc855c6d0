package fronted

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"relaymux/relay"
)

// maxRedirects ends loops. A script needs one; Google's login chain is longer.
const maxRedirects = 5

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow is where resp, the answer of req, may lead. Whatever its status says
// about methods, the next request is a GET without a body: the body holds
// the key, and the script has run already.
func (x *exchange) follow(resp *http.Response, req *http.Request, hop int) (*url.URL, *relay.Failure) {
	from := *req.URL
	from.Host = req.Host
	to, err := from.Parse(resp.Header.Get("Location"))
	switch {
	case err != nil || resp.Header.Get("Location") == "" || to.Hostname() == "":
		return nil, redirected("without a usable Location", "")
	case isLogin(to):
		return nil, signIn(hop == 1)
	case hop > maxRedirects:
		return nil, redirected(fmt.Sprintf("more than %d times", maxRedirects), "")
	case to.Scheme != x.target.Scheme:
		return nil, redirected("from https to "+to.Scheme, "")
	case to.User != nil || !x.mayFollow(to):
		return nil, redirected("to the host "+to.Hostname(),
			"a captive portal, or a url that has moved: open it in a browser")
	case x.binary: // a GET would drop the message, a second POST be another exchange
		return nil, redirected("to the path "+to.Path, "set url to where it leads, without tunnel/link")
	}
	return to, nil
}

// mayFollow reports whether to is on a host that the config names or, for a
// script, on one where Google serves a script's output.
func (x *exchange) mayFollow(to *url.URL) bool {
	switch {
	case sameHost(to, x.target):
		return true
	case x.config.loopback() && isLoopback(to.Hostname()):
		return true
	}
	return x.script && port(to) == port(x.target) && isGoogle(to.Hostname())
}

func isGoogle(host string) bool {
	host = strings.ToLower(host)
	return strings.HasSuffix(host, ".googleusercontent.com") || strings.HasSuffix(host, ".google.com")
}

// isLogin knows Google's answer to whom a deployment is not open for.
func isLogin(u *url.URL) bool { return strings.EqualFold(u.Hostname(), "accounts.google.com") }

func sameHost(a, b *url.URL) bool {
	return strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func redirected(how, hint string) *relay.Failure {
	return &relay.Failure{Kind: relay.Redirected, Detail: clean("redirected " + how), Hint: hint}
}

package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"relaymux/mux/rule"
)

// maxCredential is the longest user name and password in bytes: RFC 1929,
// section 2, has one byte for the length of each.
const maxCredential = 255

// minPassword is the shortest password in bytes where others can try one: the proxy
// lets a source try 10, and then one in 5 s.
const minPassword = 8

func (l *loader) checkProxy() {
	p := &l.cfg.Proxy
	if len(p.Listen) == 0 {
		l.fail("proxy.listen", `is empty; write an address, such as "127.0.0.1:1080"`)
	}
	least := 1
	for _, address := range p.Listen {
		if !l.checkProxyListen(address, len(p.Users) > 0) {
			least = minPassword
		}
	}
	l.checkUsers(p.Users, least)
}

// checkListeners refuses two listeners at one port. Without its page the proxy goes on.
func (l *loader) checkListeners() {
	type listener struct{ key, address string }
	var all []listener
	for _, address := range l.cfg.Proxy.Listen {
		all = append(all, listener{"proxy.listen", address})
	}
	all = append(all, listener{"dns.listen", l.cfg.DNS.Listen}, listener{"admin.listen", l.cfg.Admin.Listen})
	for i, b := range all {
		for _, a := range all[:i] {
			if !samePort(a.address, b.address) {
				continue
			}
			tell := l.fail
			if b.key == "admin.listen" {
				tell = l.warn
			}
			tell(b.key, "%q takes the port that %q under %s has; give it another one, or leave one of them out", b.address, a.address, a.key)
		}
	}
}

// samePort reports whether only one of two addresses can be listened on: their port is
// the same, and so is the host, or that of one has the other's. What is no address has none.
func samePort(a, b string) bool {
	hostA, portA, err := net.SplitHostPort(a)
	hostB, portB, bad := net.SplitHostPort(b)
	if err != nil || bad != nil || portA != portB || portA == "0" {
		return false
	}
	has := func(all, host string) bool {
		ip, err := netip.ParseAddr(host)
		return all == host || all == "" || all == "::" || all == "0.0.0.0" && (err != nil || ip.Is4())
	}
	return has(hostA, hostB) || has(hostB, hostA)
}

// checkProxyListen refuses to make an open proxy. It reports whether only this machine
// can reach address.
func (l *loader) checkProxyListen(address string, hasUsers bool) (isLoopback bool) {
	isLoopback, err := parseListen(address)
	switch {
	case err != nil:
		l.fail("proxy.listen", "%v", err)
	case !isLoopback && !hasUsers:
		l.fail("proxy.listen", "%q would let everyone in the network use this proxy; "+
			`add users = [{name = "...", password = "..."}] under [proxy], or listen on "127.0.0.1:1080"`, address)
	}
	return isLoopback || err != nil
}

// checkUsers wants passwords of at least so many bytes.
func (l *loader) checkUsers(users []User, least int) {
	seen := make(map[string]bool)
	for i, u := range users {
		at := entry("proxy.users", i)
		if m := userNameMistake(u.Name); m != "" {
			l.fail(join(at, "name"), "%s", m)
		}
		if m := passwordMistake(u.Password.Reveal(), least); m != "" {
			l.fail(join(at, "password"), "of user %q %s", u.Name, m)
		}
		if seen[u.Name] {
			l.fail(join(at, "name"), "%q is there twice; remove one", u.Name)
		}
		seen[u.Name] = true
	}
}

// userNameMistake says what is wrong with a user's name, "" if nothing is.
func userNameMistake(name string) string {
	switch {
	case len(name) < 1 || len(name) > maxCredential:
		return "must have 1 to 255 bytes"
	case strings.Contains(name, ":"):
		return "must have no colon: HTTP proxy authentication cannot carry it (RFC 7617)"
	}
	return ""
}

// passwordMistake says what is wrong with a user's password, "" if nothing is.
func passwordMistake(password string, least int) string {
	const another = "; write one of your own making"
	switch n := len(password); {
	case n < 1 || n > maxCredential:
		return "must have 1 to 255 bytes"
	case isExample(password):
		return "is an example, which everybody knows" + another
	case isRepetition(password):
		return "only repeats itself" + another
	case n < least:
		return fmt.Sprintf(`has %d bytes, but needs at least %d where others can reach the proxy; make it longer, or listen on "127.0.0.1:1080"`, n, least)
	}
	return ""
}

func (l *loader) checkAdmin() {
	a := &l.cfg.Admin
	if a.Token.IsSet() {
		l.checkStrength("admin.token", a.Token, minKey)
	}
	if a.Listen == "" {
		return
	}
	isLoopback, err := parseListen(a.Listen)
	switch {
	case err != nil:
		l.fail("admin.listen", "%v", err)
	case !isLoopback && !a.Token.IsSet():
		l.fail("admin.listen", "%q would show the admin page to everyone in the network; "+
			`set token, or listen on "127.0.0.1:1081"`, a.Listen)
	}
}

func (l *loader) checkBatch() {
	b := &l.cfg.Batch
	if b.CoalesceMax < b.CoalesceStep {
		l.fail("batch.coalesce_max", "is %v, but must be at least coalesce_step, which is %v", b.CoalesceMax, b.CoalesceStep)
	}
}

func (l *loader) checkRoute() {
	r := &l.cfg.Route
	for name, rules := range map[string][]string{"direct": r.Direct, "block": r.Block, "tunnel": r.Tunnel} {
		if len(rules) == 0 {
			continue
		}
		l.checkRules("route."+name, rules)
		if r.At == nil {
			r.At = make(map[string]string)
		}
		r.At[name] = l.problem("route."+name, "").at()
	}
}

func (l *loader) checkDNS() {
	d := &l.cfg.DNS
	if d.Listen == "" {
		return
	}
	isLoopback, err := parseListen(d.Listen)
	switch {
	case err != nil:
		l.fail("dns.listen", "%v", err)
	case !isLoopback && !d.LAN:
		l.fail("dns.listen", "%q would answer everyone in the network; "+
			`write lan = true under [dns] if that is meant, or listen on "127.0.0.1:5300"`, d.Listen)
	}
	if host, port, err := net.SplitHostPort(d.Server); err != nil || !isHost(host) || !isPort(port) {
		l.fail("dns.server", `%q must be host:port, such as "1.1.1.1:53"`, d.Server)
	}
}

func (l *loader) checkRules(path string, rules []string) {
	for _, text := range rules {
		if _, err := rule.Parse(text); err != nil {
			l.fail(path, "%v", err)
		}
	}
}

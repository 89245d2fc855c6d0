// Package environ is how programs are told of the proxy by the variables that most of
// them know: http_proxy, https_proxy, all_proxy and no_proxy.
package environ

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"relaymux/config"
)

// A Proxy is what the variables lead to.
type Proxy struct {
	Address  string // host:port, as a program on this machine reaches it
	User     string // "" where none is asked for
	Password config.Secret
	Direct   string // what else is reached without it, as no_proxy has it; "" for nothing
}

// Of is the proxy that cfg describes, with the password of that user, of the first if
// the name is empty. What the environment has of no_proxy stays.
func Of(cfg *config.Config, user string, environ []string) (p Proxy, err error) {
	p.Direct = directOf(environ)
	if p.Address, err = Reach(cfg.Proxy.Listen[0]); err != nil {
		return p, err
	}
	for _, u := range cfg.Proxy.Users {
		if user == "" || user == u.Name {
			p.User, p.Password = u.Name, u.Password
			return p, nil
		}
	}
	if user != "" {
		return p, fmt.Errorf("the config has no user %q under proxy.users", user)
	}
	return p, nil
}

// directOf is what no_proxy has in environ. "*" is all: who wants that asks for no proxy.
func directOf(environ []string) (list string) {
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); strings.EqualFold(name, "no_proxy") && value != "" && value != "*" {
			list = value
		}
	}
	return list
}

// Reach is how a program on this machine reaches what listens at that address, as a
// config has it: one of all interfaces is reached by loopback.
func Reach(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("the address of the proxy: %w", err)
	}
	if port == "0" {
		return "", fmt.Errorf("%s is another port each time: name the one that the proxy has said by --proxy", listen)
	}
	switch at, err := netip.ParseAddr(host); {
	case host == "", err == nil && at.IsUnspecified() && at.Is4():
		host = "127.0.0.1"
	case err == nil && at.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// A Variable is one of the environment.
type Variable struct{ Name, Value string }

// direct is what is reached without the proxy: this machine, by the names and addresses
// that all programs understand.
const direct = "localhost,127.0.0.1,::1"

// Variables are those that lead to p, in both cases: programs look for one or the other.
func (p Proxy) Variables() (list []Variable) {
	at := func(scheme string) string {
		u := url.URL{Scheme: scheme, Host: p.Address}
		if p.User != "" {
			u.User = url.UserPassword(p.User, p.Password.Reveal())
		}
		return u.String()
	}
	near := direct
	if p.Direct != "" && p.Direct != direct {
		near += "," + strings.TrimPrefix(p.Direct, direct+",")
	}
	for _, v := range []Variable{
		{"http_proxy", at("http")}, {"https_proxy", at("http")}, {"all_proxy", at("socks5h")}, {"no_proxy", near},
	} {
		list = append(list, v, Variable{strings.ToUpper(v.Name), v.Value})
	}
	return list
}

// Over is environ with the variables of p in the place of those that it has, and
// without the secrets of this program's own, which are none of other programs'.
func (p Proxy) Over(environ []string) (list []string) {
	vars := p.Variables()
	for _, kv := range config.WithoutSecrets(environ) {
		name, _, _ := strings.Cut(kv, "=")
		if !slices.ContainsFunc(vars, func(v Variable) bool { return v.Name == name }) {
			list = append(list, kv)
		}
	}
	for _, v := range vars {
		list = append(list, v.Name+"="+v.Value)
	}
	return list
}

// Shells are those that Write knows.
func Shells() []string { return []string{"sh", "fish", "powershell"} }

// ShellOf is the one of Shells that a user most likely has, by the value of SHELL and
// the system.
func ShellOf(shell, system string) string {
	switch {
	case strings.HasSuffix(shell, "fish"):
		return "fish"
	case shell == "" && system == "windows":
		return "powershell"
	}
	return "sh"
}

// Write writes what the shell, one of Shells, is to carry out.
func (p Proxy) Write(w io.Writer, shell string) error {
	var b strings.Builder
	for _, v := range p.Variables() {
		switch shell {
		case "fish":
			fmt.Fprintf(&b, "set -gx %s '%s'\n", v.Name, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v.Value))
		case "powershell":
			fmt.Fprintf(&b, "$env:%s = '%s'\n", v.Name, strings.ReplaceAll(v.Value, `'`, `''`))
		default:
			fmt.Fprintf(&b, "export %s='%s'\n", v.Name, strings.ReplaceAll(v.Value, `'`, `'\''`))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

package setup

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"relaymux/config"
	"relaymux/relay/script"
)

// backPort is where a node behind a TLS proxy listens.
const backPort = "8080"

// stateDir is the StateDirectory of the node's unit.
const stateDir = "/var/lib/relaymux"

// client is the text of relaymux.toml.
func (p *plan) client() string {
	var b strings.Builder
	b.WriteString(`# The proxy's config, for ~/.config/relaymux/config.toml. It holds secrets: chmod 600.

[proxy]
listen = ` + p.proxyListen() + `    # SOCKS5 and HTTP

[link]
secret = ` + tomlString(p.secret) + "    # only this client and the node know it\n")
	for _, w := range p.ways {
		b.WriteString("\n[[deployment]]    # " + wayComment(w.kind) + "\n")
		setting(&b, "name", w.name, false)
		setting(&b, "url", w.url, w.placeholder != "")
		setting(&b, "key", w.key, false)
		setting(&b, "connect_to", w.connectTo, false)
		setting(&b, "server_name", w.serverName, false)
		setting(&b, "pin_sha256", w.pin, false)
	}
	return b.String()
}

func wayComment(kind string) string {
	return map[string]string{
		Direct:            "straight to the node",
		script.AppsScript: "Google Apps Script; key is its AUTH_KEY",
		script.Worker:     "Cloudflare Worker; it asks for the key",
		Proxy:             `reverse proxy in front of the node; if it is Caddy, add http = "2"`,
	}[kind]
}

func setting(b *strings.Builder, name, value string, replace bool) {
	if value == "" {
		return
	}
	fmt.Fprintf(b, "%-11s = %s", name, tomlString(value))
	if replace {
		b.WriteString("    # replace what is in capitals")
	}
	b.WriteByte('\n')
}

// node is the text of node.toml.
func (p *plan) node() string {
	var b strings.Builder
	b.WriteString("# The exit node's config, for /etc/relaymux/node.toml. It holds secrets: chmod 600.\n\n[node]\n")
	setting(&b, "listen", p.listen(), false)
	switch p.nodeTLS {
	case SelfSigned, Files:
		setting(&b, "tls_cert", certFile, false)
		setting(&b, "tls_key", keyFile, false)
	case ACME:
		setting(&b, "tls", config.TLSACME, false)
	case Behind:
		b.WriteString("plain       = true    # a TLS proxy on this machine stands before it\n")
	case Plain:
		b.WriteString("plain       = true    # all that comes is sealed; without TLS there must be no key here\n")
	}
	if p.nodeKey != "" {
		b.WriteString("key         = " + tomlString(p.nodeKey) + "    # of relay scripts\n")
	}
	b.WriteString("\n[[node.client]]    # one for each person or device, each with a secret of its own\n")
	setting(&b, "name", p.answers.client, false)
	setting(&b, "secret", p.secret, false)
	if p.nodeTLS == ACME {
		b.WriteString("\n[node.acme]    # the certificate comes from Let's Encrypt, which asks at port " + p.acmePort() + "\n")
		b.WriteString("domains     = [" + tomlString(p.host) + "]\n# email     = \"me@example.com\"    # where it may write to\n")
		b.WriteString("\n[state]\n")
		setting(&b, "dir", stateDir, false)
	}
	return b.String()
}

// usualListen is where the proxy listens; proxy.pac leads there.
const usualListen = "127.0.0.1:1080"

// proxyListen has the ports of an earlier proxy too, so that programs find this one.
func (p *plan) proxyListen() string {
	list := []string{tomlString(usualListen)}
	for _, address := range p.old.listen {
		if address != usualListen {
			list = append(list, tomlString(address))
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// listen is the node's own address. The wildcard of IPv6 takes IPv4 too.
func (p *plan) listen() string {
	host := "0.0.0.0"
	switch {
	case p.nodeTLS == Behind:
		host = "127.0.0.1"
	case strings.Contains(p.host, ":"):
		host = "::"
	}
	return net.JoinHostPort(host, p.listenPort())
}

func (p *plan) listenPort() string {
	if p.nodeTLS == Behind {
		return backPort
	}
	return p.port
}

// low reports whether the node has a port that takes a capability.
func (p *plan) low() bool {
	n, _ := strconv.Atoi(p.listenPort())
	return n < 1024 || p.nodeTLS == ACME
}

// tomlString is s as a basic string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

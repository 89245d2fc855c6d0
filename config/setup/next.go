package setup

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// next prints the steps that are the user's, in order, each command as it can be
// copied.
func (s *Setup) next(dir string, p *plan) {
	steps := []func(dir string, p *plan) step{s.nodeStep, s.tlsStep, s.relayStep, s.clientStep, s.programStep, cleanStep}
	n := 0
	for _, build := range steps {
		st := build(dir, p)
		if st.title == "" {
			continue
		}
		n++
		s.say("%d. %s", n, st.title)
		for _, line := range st.lines {
			s.say("   %s", line)
		}
	}
}

// A step is what to do; of no title, nothing.
type step struct {
	title string
	lines []string
}

func (s *Setup) nodeStep(dir string, p *plan) step {
	at := func(names ...string) string {
		for i, n := range names {
			names[i] = quote(filepath.Join(dir, n))
		}
		return strings.Join(names, " ")
	}
	host := p.host
	remote := "root@" + host
	to := remote
	if strings.Contains(host, ":") {
		to = "root@[" + host + "]"
	}
	secrets := at(nodeFile)
	if p.cert != nil {
		secrets = at(nodeFile, keyFile, certFile)
	}
	lines := []string{
		fmt.Sprintf("ssh %s 'useradd --system --home-dir /var/lib/relaymux --shell /usr/sbin/nologin relaymux; install -d -g relaymux -m 750 /etc/relaymux'", remote),
		fmt.Sprintf("scp \"$(command -v relaymux)\" %s:%s", to, s.Binary),
		fmt.Sprintf("scp %s %s:/etc/relaymux/", secrets, to),
		fmt.Sprintf("scp %s %s:/etc/systemd/system/", at("relaymux-node.service"), to),
		fmt.Sprintf("ssh %s 'chown relaymux: /etc/relaymux/* && chmod 600 /etc/relaymux/* && systemctl daemon-reload && systemctl enable --now relaymux-node'", remote),
	}
	if p.cert != nil {
		lines = append(lines, fmt.Sprintf("ssh %s 'ufw allow %s'    # or whatever its firewall is: TCP, and UDP for HTTP/3", remote, p.port))
	}
	lines = append(lines, fmt.Sprintf("ssh %s 'relaymux doctor --config /etc/relaymux/node.toml'", remote))
	return step{"The node, on " + host + ":", lines}
}

// tlsStep is the proxy in front of a node without TLS.
func (s *Setup) tlsStep(_ string, p *plan) step {
	if p.nodeTLS != Behind {
		return step{}
	}
	return step{"The TLS proxy on the same machine, for instance Caddy, which gets itself a certificate:", []string{
		fmt.Sprintf("ssh root@%s 'caddy reverse-proxy --from %s --to 127.0.0.1:%s'", p.host, net.JoinHostPort(p.host, p.port), backPort),
	}}
}

// relayStep is what the relays have to be told.
func (s *Setup) relayStep(dir string, p *plan) step {
	var lines []string
	for _, script := range p.scripts() {
		lines = append(lines, s.scriptLines(dir, script)...)
	}
	if p.has(Proxy) {
		verify := ""
		if p.cert != nil {
			verify = " (nginx does not verify the node's certificate unless told to)"
		}
		lines = append(lines, "The reverse proxy: forward a path to the node and strip its prefix"+verify+", in nginx:",
			"  location /hidden/ { proxy_pass "+p.nodeURL()+"/; proxy_set_header X-Forwarded-For $remote_addr; }")
	}
	config := quote(filepath.Join(dir, clientFile))
	for _, w := range p.ways {
		if w.placeholder != "" {
			what := "address"
			if w.kind == AppsScript {
				what = "deployment id (AKfy...)"
			}
			lines = append(lines, fmt.Sprintf("Then its %s, in the place of %s:", what, w.placeholder),
				fmt.Sprintf("  sed -i 's|%s|the real one|' %s", w.placeholder, config))
		}
	}
	if len(lines) == 0 {
		return step{}
	}
	return step{"The relay:", lines}
}

// scriptLines say where a script is, or what to fill in. Keys are named by where they
// stand, and not printed.
func (s *Setup) scriptLines(dir string, script Script) []string {
	place, deploy := "AUTH_KEY", "deploy it as a web app (Deploy > New deployment > Web app; execute as: Me; access: Anyone)"
	if script.Kind == Worker {
		place, deploy = "the key that it asks for", "deploy it (Workers & Pages > Create)"
	}
	if s.Script != nil {
		if name, _, err := s.Script(script); err == nil {
			return []string{fmt.Sprintf("%s: paste %s, and %s.", script.Kind, quote(filepath.Join(dir, name)), deploy)}
		}
	}
	lines := []string{
		fmt.Sprintf("%s: take the relay's script, and fill in", script.Kind),
		fmt.Sprintf("  %s: the key of its [[deployment]] in %s", place, clientFile),
		"  the node's address: " + script.NodeURL,
	}
	if script.NodeKey != "" {
		lines = append(lines, fmt.Sprintf("  the node's key (TUNNEL_AUTH_KEY): key in %s", nodeFile))
	}
	if !script.CheckCert {
		lines = append(lines, "  in each UrlFetchApp.fetch's options: validateHttpsCertificates: false")
	}
	return append(lines, "and "+deploy+".")
}

func (s *Setup) clientStep(dir string, _ *plan) step {
	return step{"This machine:", []string{
		"install -D -m 600 " + quote(filepath.Join(dir, clientFile)) + " ~/.config/relaymux/config.toml",
		"relaymux doctor",
		"install -D -m 644 " + quote(filepath.Join(dir, "relaymux.service")) + " ~/.config/systemd/user/relaymux.service",
		"systemctl --user daemon-reload && systemctl --user enable --now relaymux    # or without systemd: relaymux",
	}}
}

func (s *Setup) programStep(dir string, _ *plan) step {
	return step{"Your programs:", []string{
		"curl -x socks5h://127.0.0.1:1080 https://example.com/",
		"install -D -m 644 " + quote(filepath.Join(dir, "proxy.pac")) + " ~/.config/relaymux/proxy.pac",
		`echo "file://$HOME/.config/relaymux/proxy.pac"    # for Firefox's automatic proxy configuration`,
		"chromium --proxy-server=socks5://127.0.0.1:1080    # which ignores a PAC file of file://, and goes without a proxy then",
	}}
}

// cleanStep leaves no second copy of secrets.
func cleanStep(dir string, _ *plan) step {
	return step{"When all works: keep a copy of these files in a safe place, and remove them here:", []string{
		"rm -r " + quote(dir),
	}}
}

// quote is s for a shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

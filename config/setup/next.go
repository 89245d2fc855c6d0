package setup

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"relaymux/config"
	"relaymux/relay/script"
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
	remote := "root@" + p.host
	to := remote
	if strings.Contains(p.host, ":") {
		to = "root@[" + p.host + "]"
	}
	secrets := at(nodeFile)
	if p.cert != nil {
		secrets = at(nodeFile, keyFile, certFile)
	}
	lines := []string{
		fmt.Sprintf("ssh %s 'useradd --system --home-dir /var/lib/relaymux --shell /usr/sbin/nologin relaymux; install -d -g relaymux -m 750 /etc/relaymux'", remote),
		fmt.Sprintf("scp %s %s:%s", quote(s.Self), to, s.Binary),
		fmt.Sprintf("scp %s %s:/etc/relaymux/", secrets, to),
		fmt.Sprintf("scp %s %s:/etc/systemd/system/", at("relaymux-node.service"), to),
	}
	if p.nodeTLS == Files {
		const live = "/etc/letsencrypt/live/"
		lines = append(lines, "# the certificate with its chain, and its key; as certbot has them, for instance. Again after each renewal (certbot --deploy-hook):",
			fmt.Sprintf("ssh %s 'cd %s%s && install -m 600 fullchain.pem /etc/relaymux/%s && install -m 600 privkey.pem /etc/relaymux/%s && chown relaymux: /etc/relaymux/*'",
				remote, live, p.host, certFile, keyFile))
	}
	switch p.nodeTLS {
	case Behind:
	case Plain:
		lines = append(lines, fmt.Sprintf("ssh %s 'ufw allow %s/tcp'    # or whatever its firewall is", remote, p.port))
	default:
		lines = append(lines, fmt.Sprintf("ssh %s 'ufw allow %s'    # or whatever its firewall is: TCP, and UDP for HTTP/3", remote, p.port))
	}
	if p.nodeTLS == ACME && p.acmePort() != p.port {
		lines = append(lines, fmt.Sprintf("ssh %s 'ufw allow %s/tcp'    # where Let's Encrypt asks", remote, p.acmePort()))
	}
	lines = append(lines,
		fmt.Sprintf("ssh %s 'chown relaymux: /etc/relaymux/* && chmod 600 /etc/relaymux/* && systemctl daemon-reload && systemctl enable --now relaymux-node'", remote),
		fmt.Sprintf("ssh %s 'relaymux doctor --config /etc/relaymux/node.toml'", remote))
	return step{"The node, on " + p.host + ":", lines}
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

// relayStep is how the relays are put up. Their keys are in the files, and not printed.
func (s *Setup) relayStep(dir string, p *plan) step {
	var lines []string
	for _, f := range p.scripts() {
		file := quote(filepath.Join(dir, f.name))
		switch f.kind {
		case script.AppsScript:
			if p.isThere(f.kind) {
				lines = append(lines, "apps-script: paste "+file+" in the place of the script's Code.gs; then Deploy > Manage deployments > Edit > New version.")
				continue
			}
			lines = append(lines, "apps-script: a new project at script.google.com; paste "+file+" in the place of its Code.gs,",
				"  run doGet once, and grant what it asks for; then Deploy > New deployment > Web app, execute as: Me, access: Anyone.")
		case script.Worker:
			lines = append(lines, "npx wrangler deploy "+file+" --name NAME --compatibility-date "+workerDate+"    # or paste it into a new Worker")
		case script.Nginx:
			lines = append(lines, "nginx: "+file+" belongs into a server { } that speaks TLS, best with http2; or")
		case script.Caddy:
			lines = append(lines, "Caddy: "+file+" belongs into a site.")
		}
		if f.kind == script.Caddy && p.cert != nil {
			lines = append(lines, "Either of them verifies the node's certificate, so it has to be there:",
				"  ssh root@"+strings.Trim(p.proxyHost(), "[]")+" 'install -d "+path.Dir(script.NodeCertificate)+"'",
				"  scp "+quote(filepath.Join(dir, certFile))+" root@"+p.proxyHost()+":"+script.NodeCertificate)
		}
	}
	client := quote(filepath.Join(dir, clientFile))
	told := make(map[string]bool)
	for _, w := range p.ways {
		if w.placeholder != "" && !told[w.placeholder] {
			told[w.placeholder] = true
			what, real := "address", "the real one"
			if w.kind == script.AppsScript {
				what, real = "deployment id, which begins with AKfy", config.IDHere
			}
			lines = append(lines, fmt.Sprintf("Then its %s, in the place of %s:", what, w.placeholder),
				fmt.Sprintf("  sed -i 's|%s|%s|' %s", w.placeholder, real, client))
		}
	}
	if len(lines) == 0 {
		return step{}
	}
	return step{"The relay:", lines}
}

// proxyHost is where the first reverse proxy is, as scp has it.
func (p *plan) proxyHost() string {
	for _, w := range p.ways {
		u, err := url.Parse(w.url)
		switch {
		case w.kind != Proxy || err != nil:
		case strings.Contains(u.Hostname(), ":"):
			return "[" + u.Hostname() + "]"
		default:
			return u.Hostname()
		}
	}
	return proxyHost
}

// isThere reports whether all relays of that kind have an address.
func (p *plan) isThere(kind string) bool {
	return !slices.ContainsFunc(p.ways, func(w way) bool { return w.kind == kind && w.placeholder != "" })
}

// workerDate is the day whose behaviour of the runtime the Worker is tested with.
const workerDate = "2026-11-01"

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
		"# a browser's automatic proxy configuration: http://127.0.0.1:1081/proxy.pac, which the proxy serves",
		"# the same as a file is for Firefox or a web server: Chromium ignores one of file://, and goes without a proxy then",
		"install -D -m 644 " + quote(filepath.Join(dir, "proxy.pac")) + " ~/.config/relaymux/proxy.pac",
		"chromium --proxy-server=socks5://127.0.0.1:1080    # which never goes without it",
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

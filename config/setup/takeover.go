package setup

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// A takeover is what an mhrv-rs setup knew: its client's config, in TOML or JSON,
// and the constants of its script, in which the node's address and key stand.
type takeover struct {
	scripts  []string // urls
	authKey  string
	googleIP string
	front    string
	node     string // host:port or URL
	nodeKey  string
	listen   []string // of its proxy, on loopback
	notes    []string // what else is to be said of it
}

// maxOld bounds a file of the old setup in bytes; a script has 50 KB.
const maxOld = 1 << 20

// takeOver reads the files. Errors quote nothing of them: they hold keys.
func takeOver(paths []string) (t takeover, err error) {
	for _, path := range paths {
		text, err := readOld(path)
		if err != nil {
			return t, err
		}
		before := t
		if strings.Contains(text, "AUTH_KEY") && !strings.Contains(text, "auth_key") {
			t.addScript(text)
		} else if err := t.addConfig(path, text); err != nil {
			return t, err
		}
		if t.same(&before) {
			return t, &UsageError{"from", path + " has nothing that could be taken over: neither script_id, auth_key nor a script's constants"}
		}
	}
	return t, nil
}

func readOld(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &UsageError{"from", err.Error()}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxOld+1))
	if err != nil || len(text) > maxOld {
		return "", &UsageError{"from", path + " cannot be read, or is too large"}
	}
	return string(text), nil
}

func (t *takeover) same(o *takeover) bool {
	return len(t.scripts) == len(o.scripts) && t.authKey == o.authKey && t.node == o.node && t.nodeKey == o.nodeKey
}

// addConfig takes over a client's config, as mhrv-rs 1.9 has it: in TOML the keys stand
// in [relay] and [network], in JSON on their own.
func (t *takeover) addConfig(path, text string) error {
	all := make(map[string]any)
	var err error
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		err = json.Unmarshal([]byte(text), &all)
	} else {
		_, err = toml.Decode(text, &all)
	}
	if err != nil {
		return &UsageError{"from", path + " is neither TOML nor JSON that could be read"}
	}
	for _, section := range []string{"relay", "network"} {
		if m, ok := all[section].(map[string]any); ok {
			maps.Copy(all, m)
		}
	}
	ids := stringsOf(all["script_ids"]) // which wins over the other
	if len(ids) == 0 {
		ids = stringsOf(all["script_id"])
	}
	for _, id := range ids {
		if at := scriptURL(id); !slices.Contains(t.scripts, at) {
			t.scripts = append(t.scripts, at)
		}
	}
	for key, to := range map[string]*string{"auth_key": &t.authKey, "google_ip": &t.googleIP, "front_domain": &t.front} {
		if list := stringsOf(all[key]); len(list) > 0 {
			*to = list[0]
		}
	}
	if mode, _ := all["mode"].(string); mode == "apps_script" && len(ids) > 0 {
		t.notes = append(t.notes, `its mode is "apps_script", whose script carries no connections: Code.gs has to take its place `+
			"(Manage deployments > Edit > New version keeps the id).")
	}
	t.addListen(all)
	return nil
}

// addListen takes over the ports of the earlier proxy. Who else may use it is to be
// decided anew.
func (t *takeover) addListen(all map[string]any) {
	for _, key := range []string{"socks5_port", "listen_port"} {
		port, ok := all[key].(int64) // in TOML
		if n, isJSON := all[key].(float64); isJSON {
			port, ok = int64(n), float64(int64(n)) == n
		}
		address := net.JoinHostPort("127.0.0.1", strconv.FormatInt(port, 10))
		if ok && port > 0 && port < 1<<16 && !slices.Contains(t.listen, address) {
			t.listen = append(t.listen, address)
		}
	}
	host, _ := all["listen_host"].(string)
	if addr, err := netip.ParseAddr(host); host != "" && host != "localhost" && (err != nil || !addr.IsLoopback()) {
		t.notes = append(t.notes, "the earlier proxy was open to its network; this one is for this machine only. "+
			"For others: listen and users under [proxy] in relaymux.toml.")
	}
}

// stringsOf is one string or a list of them, without placeholders.
func stringsOf(v any) (list []string) {
	switch v := v.(type) {
	case string:
		if v = strings.TrimSpace(v); v != "" && !isPlaceholder(v) {
			return []string{v}
		}
	case []any:
		for _, each := range v {
			list = append(list, stringsOf(each)...)
		}
	}
	return list
}

// isPlaceholder reports whether v stands in the examples of mhrv-rs.
func isPlaceholder(v string) bool {
	return strings.HasPrefix(v, "YOUR_") || strings.HasPrefix(v, "https://YOUR_") || strings.HasPrefix(v, "CHANGE_ME")
}

// scriptURL is the web app of a deployment, of which some write the whole URL.
func scriptURL(id string) string {
	if strings.HasPrefix(id, "https://") {
		return id
	}
	return "https://script.google.com/macros/s/" + url.PathEscape(id) + "/exec"
}

// addScript takes over what a script's constants say.
func (t *takeover) addScript(text string) {
	for name, to := range map[string]*string{
		"AUTH_KEY": &t.authKey, "TUNNEL_SERVER_URL": &t.node, "TUNNEL_AUTH_KEY": &t.nodeKey,
	} {
		constant := regexp.MustCompile(`(?m)^\s*(?:const|var|let)\s+` + name + `\s*=\s*["']([^"'\\]+)["']`)
		if m := constant.FindStringSubmatch(text); m != nil && !isPlaceholder(m[1]) {
			*to = m[1]
		}
	}
	if u, err := url.Parse(t.node); err == nil && u.Scheme == "http" && u.Host != "" { // the node has TLS from now on
		t.node = net.JoinHostPort(u.Hostname(), defaultPort)
	}
}

// connectTo is the front's address as the client's config has it.
func (t *takeover) connectTo() string {
	if t.googleIP == "" {
		return "216.239.38.120:443"
	}
	return net.JoinHostPort(t.googleIP, "443")
}

func (t *takeover) serverName() string {
	if t.front == "" {
		return "www.google.com"
	}
	return t.front
}

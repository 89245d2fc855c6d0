package setup

import (
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
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

// addConfig takes over a client's config. In TOML the keys stand in [relay] and
// [network], in JSON on their own.
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
			for k, v := range m {
				all[k] = v
			}
		}
	}
	for _, key := range []string{"script_id", "script_ids"} {
		for _, id := range stringsOf(all[key]) {
			t.scripts = append(t.scripts, scriptURL(id))
		}
	}
	for key, to := range map[string]*string{
		"auth_key": &t.authKey, "google_ip": &t.googleIP, "front_domain": &t.front,
		"tunnel_server_url": &t.node, "tunnel_node": &t.node, "tunnel_auth_key": &t.nodeKey,
	} {
		if text, ok := all[key].(string); ok && text != "" {
			*to = text
		}
	}
	return nil
}

// stringsOf is one string or a list of them, without placeholders.
func stringsOf(v any) (list []string) {
	switch v := v.(type) {
	case string:
		if v != "" && !strings.HasPrefix(v, "YOUR_") {
			return []string{v}
		}
	case []any:
		for _, each := range v {
			list = append(list, stringsOf(each)...)
		}
	}
	return list
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
		if m := constant.FindStringSubmatch(text); m != nil {
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

package setup

import (
	"net"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// FuzzTakeover: whatever an earlier setup's file holds, taking it over ends, errors quote
// nothing of it, and what is taken over has the form that it is to have.
func FuzzTakeover(f *testing.F) {
	for _, text := range []string{oldTOML, oldJSON, exampleTOML, exampleScript, oldScript,
		"{\"script_id\": [[\"a\", 1], \"https://x/\u2028\"], \"socks5_port\": 1e300, \"listen_port\": -1, \"listen_host\": \"::\"}",
		"AUTH_KEY\nlet TUNNEL_SERVER_URL = 'http://[::1]:80/%zz'", "script_id = \"a\\u0000\\\"b\"\nauth_key = \"x\\ny\"\ngoogle_ip = \"a:b\"", "[relay]\nrelay = 1\n[network]\nrelay = 2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const secret = "S3cr3tThatNobodyMaySee"
		text = strings.ReplaceAll(text, "the key of the old", secret)
		got, err := takeOver([]string{old(t, "old", text)})
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, at := range got.scripts {
			if !strings.HasPrefix(at, "https://") {
				t.Errorf("%q: the script %q", text, at)
			}
		}
		for _, at := range got.listen {
			if host, port, err := net.SplitHostPort(at); err != nil || host != "127.0.0.1" || port == "0" {
				t.Errorf("%q: listens at %q", text, at)
			}
		}
		for _, note := range got.notes {
			if strings.Contains(note, secret) {
				t.Errorf("%q: %s", text, note)
			}
		}
		for _, value := range []string{strings.Join(got.scripts, ""), got.authKey, got.nodeKey, got.serverName(), got.connectTo(), text} {
			var back struct{ V string }
			if _, err := toml.Decode("v = "+tomlString(value)+"\n", &back); err != nil || back.V != string([]rune(value)) {
				t.Errorf("%q is written %s, which is %q (%v)", value, tomlString(value), back.V, err)
			}
		}
	})
}

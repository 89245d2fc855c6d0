package script

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"relaymux/mux/secret"
)

var values = Values{
	Node: "https://node.example.com:8443/", Key: secret.New("the deployment's \"key\"\\"), NodeKey: secret.New("the node's key"), Path: "hidden/",
}

// TestGolden compares what Fill makes of each kind, with all values and with none, with
// testdata. UPDATE_GOLDEN=1 writes it.
func TestGolden(t *testing.T) {
	for _, kind := range Kinds() {
		for name, v := range map[string]Values{"filled": values, "bare": {}} {
			got, err := Fill(kind, v)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", kind+"."+name)
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%s is another one (%v): UPDATE_GOLDEN=1 go test ./relay/script", file, err)
			}
		}
	}
}

// TestBare: without values a relay is the file as it is, but for a Worker's path.
func TestBare(t *testing.T) {
	for kind, file := range map[string]string{AppsScript: "Code.gs", Nginx: "nginx.conf", Caddy: "Caddyfile"} {
		got, err := Fill(kind, Values{})
		want, _ := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v\n%s", kind, err, got)
		}
	}
}

func TestMissing(t *testing.T) {
	for kind, want := range map[string][]string{
		AppsScript: {keyHere, nodeHere, nodeKeyHere}, Worker: {keyHere, nodeHere},
		Nginx: {nodeHere, pathHere}, Caddy: {nodeHere, pathHere},
	} {
		text, err := Fill(kind, Values{})
		if got := Missing(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s lacks %q, want %q", kind, got, want)
		}
		text, err = Fill(kind, values)
		if got := Missing(text); err != nil || len(got) > 0 {
			t.Errorf("%s, filled, lacks %q", kind, got)
		}
	}
}

// TestCertificates: what is told a relay of a node's certificate changes one line of it.
func TestCertificates(t *testing.T) {
	for kind, want := range map[string]string{
		AppsScript: "\nconst VERIFY_CERTIFICATE = false;\n", Worker: "",
		Nginx: "\n    proxy_ssl_trusted_certificate /etc/node.pem;\n", Caddy: "\n\t\t\ttls_trusted_ca_certs /etc/node.pem\n",
	} {
		usual, err := Fill(kind, values)
		if err != nil {
			t.Fatal(err)
		}
		v := values
		v.SkipVerify, v.Trusted = true, "/etc/node.pem"
		got, err := Fill(kind, v)
		if err != nil || strings.Count(got, want) < 1 || (got == usual) != (want == "") {
			t.Errorf("%s: %v\n%s", kind, err, got)
		}
		were, are := strings.Split(usual, "\n"), strings.Split(got, "\n")
		changed := 0
		for i := range are {
			if were[i] != are[i] {
				changed++
			}
		}
		if changed > 1 {
			t.Errorf("%s: %d lines have changed", kind, changed)
		}
	}
}

func TestQuoting(t *testing.T) {
	for in, want := range map[string]string{
		"":                            `""`,
		"aZ09+/=-_ ~":                 `"aZ09+/=-_ ~"`,
		`";alert(1);"`:                `"\u0022;alert(1);\u0022"`,
		`\`:                           `"\u005c"`,
		"${x}`'":                      `"\u0024{x}\u0060\u0027"`,
		"</script><!--":               `"\u003c/script\u003e\u003c!--"`,
		"a\n\r\x00\u2028\u2029\x7f":   `"a\u000a\u000d\u0000\u2028\u2029\u007f"`,
		"é\U0001F600":                 `"\u00e9\ud83d\ude00"`,
		"PUT-THE-NODE-KEY-HERE":       `"PUT-THE-NODE-KEY-HERE"`,
		"*/ // \"PUT-THE-PATH-HERE\"": `"*/ // \u0022PUT-THE-PATH-HERE\u0022"`,
	} {
		if got := js(in); got != want {
			t.Errorf("js(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestValuesStayValues: one that looks like a placeholder is not filled in again.
func TestValuesStayValues(t *testing.T) {
	text, err := Fill(AppsScript, Values{Key: secret.New(nodeKeyHere), NodeKey: secret.New("secret")})
	if err != nil || !strings.Contains(text, "AUTH_KEY = "+js(nodeKeyHere)) || strings.Count(text, "secret\"") != 1 {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		kind string
		v    Values
		part string // of the error; "" is none
	}{
		{"", Values{}, "no relay"},
		{"Worker", Values{}, "apps-script, worker, nginx, caddy"},
		{Nginx, Values{Node: "http://127.0.0.1:8443"}, ""},
		{Nginx, Values{Node: "https://[2001:db8::1]:8443/below"}, ""},
		{Caddy, Values{Node: "https://node.test/below"}, "to no path"},
		{Nginx, Values{Node: "node.test:8443"}, "address"},
		{Nginx, Values{Node: "//node.test"}, "https://"},
		{Nginx, Values{Node: "ftp://node.test"}, "https://"},
		{Nginx, Values{Node: "https://"}, "must be one"},
		{Nginx, Values{Node: "https://a:b@node.test"}, "user name"},
		{Nginx, Values{Node: "https://node.test/?a"}, "?"},
		{Nginx, Values{Node: "https://node.test/#"}, "#"},
		{Nginx, Values{Node: "https://node.test/$host"}, "character"},
		{Nginx, Values{Node: "https://node.test/;return 200"}, "character"},
		{Caddy, Values{Node: "https://{env.HOME}"}, "must be one"},
		{AppsScript, Values{Node: "https://node.test/\""}, "character"},
		{Worker, Values{Node: "https://node.test/\n"}, "must be one"},
		{Nginx, Values{Trusted: "/etc/a b;"}, "the certificate's file"},
		{Nginx, Values{Path: "/a-b_c.d~e/f/"}, ""},
		{Nginx, Values{Path: "/a { return 200; } location /b"}, "the path"},
		{Nginx, Values{Path: "/a%20b"}, "the path"},
		{Caddy, Values{Path: "/a*"}, "the path"},
		{Worker, Values{Path: "/a//b"}, "the path"},
		{Worker, Values{Path: "/a/../b"}, "the path"},
		{Worker, Values{Path: "/é"}, "the path"},
		{Worker, Values{Key: secret.New("key\r\nX: y")}, "the deployment's key: has the character U+000D"},
		{Worker, Values{Key: secret.New("schlüssel")}, "U+00FC"},
		{AppsScript, Values{Key: secret.New("schlüssel")}, ""},
		{AppsScript, Values{Key: secret.New("a\xff")}, "UTF-8"},
		{AppsScript, Values{NodeKey: secret.New("a\x00")}, "the node's key: has the character U+0000"},
	} {
		_, err := Fill(tt.kind, tt.v)
		if tt.part == "" && err != nil || tt.part != "" && (err == nil || !strings.Contains(err.Error(), tt.part)) {
			t.Errorf("%s %+v: %v, want %q", tt.kind, tt.v, err, tt.part)
		}
		if err != nil && tt.v.Key.IsSet() && strings.Contains(err.Error(), tt.v.Key.Reveal()) {
			t.Errorf("the error holds the key: %v", err)
		}
	}
}

// FuzzQuoting: whatever a value is, it stays one string of its line, and is that value.
func FuzzQuoting(f *testing.F) {
	for _, s := range []string{"", `"`, `\`, "\u2028", "\xff", "${`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := js(s)
		inner := got[1 : len(got)-1]
		for i := range len(inner) {
			c := inner[i]
			if c < ' ' || c > '~' || c == '"' || c == '\\' && !strings.HasPrefix(inner[i+1:], "u") {
				t.Fatalf("js(%q) = %s", s, got)
			}
		}
		var back string
		if err := json.Unmarshal([]byte(got), &back); err != nil || back != string([]rune(s)) {
			t.Errorf("js(%q) = %s, which is %q (%v)", s, got, back, err)
		}
	})
}

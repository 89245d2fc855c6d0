package config

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzValues: what a value is read as can be written, and is read as the same. What is
// said to be for this machine alone is.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"10ms", "1h2m3.5s", "-1ns", "4MiB", "1GB", "0B", "9223372036854775807B", "8589934592GiB", "", "KiB", "+1B", strings.Repeat("ab", 32),
		"sha256 Fingerprint=" + strings.Repeat("AB:", 31) + "AB", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "127.0.0.1:1080", "[::1]:0", "localhost:65535", ":1080", "0.0.0.0:01", "[fe80::1%lo]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d, d2 Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			if out, _ := d.MarshalText(); d2.UnmarshalText(out) != nil || d2 != d {
				t.Errorf("%q is %v, and then %v", text, d, d2)
			}
		}
		var s, s2 Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			if out, _ := s.MarshalText(); s2.UnmarshalText(out) != nil || s2 != s || s < 0 {
				t.Errorf("%q is %v, and then %v", text, s, s2)
			}
		}
		var p, p2 Pin
		if err := p.UnmarshalText([]byte(text)); err == nil {
			if out, _ := p.MarshalText(); p2.UnmarshalText(out) != nil || string(p2) != string(p) || len(p) != 0 && len(p) != pinSize {
				t.Errorf("%q is %v, and then %v", text, p, p2)
			}
		}
		near, err := parseListen(text)
		if at, bad := netip.ParseAddrPort(text); err == nil && bad == nil && near != at.Addr().Unmap().IsLoopback() {
			t.Errorf("%q is loopback: %v", text, near)
		}
	})
}

// FuzzSecret: wherever a secret stands, and in whatever is wrong with it, no problem and
// no warning repeats it.
func FuzzSecret(f *testing.F) {
	for _, s := range []string{`"%"`, `"%`, `'%'`, `%`, `"""%"""`, `["%"]`, `{a = "%"}`, `"\x%"`, `"" %`, `"" # %`, `12%`, `"short`, "\"\\u00e9%\"", `2000-01-01%`, `"a", b = "%"`, `"%" x`, `{%=`, `{% = 1, % = 2}`, `{%`, `{"%" = 1`} {
		for kind := range byte(8) {
			f.Add(s, kind)
		}
	}
	f.Fuzz(func(t *testing.T, value string, kind byte) {
		const secret = "S3cr3tThatNobodyMaySee-0123456789abcdef"
		if strings.ContainsAny(value, "\r\n") || strings.Count(value, "%") == 0 {
			return
		}
		var keys []string
		for _, k := range Keys() {
			if k.Type == "secret" {
				keys = append(keys, k.Name)
			}
		}
		key := keys[int(kind)%len(keys)]
		at, name := key[:strings.LastIndex(key, ".")], key[strings.LastIndex(key, ".")+1:]
		header := "[" + at + "]\n"
		for _, list := range []string{"proxy.users", "deployment", "node.client"} {
			if at == list {
				header = "[[" + at + "]]\n"
			}
		}
		hidden := strings.ReplaceAll(value, "%", secret)
		for _, role := range []Role{Run, Node, Any} {
			for _, said := range report(Source{Role: role, Path: write(t, "c.toml", header+name+" = "+hidden+"\n")}) {
				if strings.Contains(said, secret) {
					t.Errorf("%s = %s: %s", key, value, said)
				}
			}
			variable := envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
			for _, said := range report(Source{Role: role, Environ: []string{variable + "=" + hidden}}) {
				if strings.Contains(said, secret) {
					t.Errorf("%s=%s: %s", variable, value, said)
				}
			}
		}
	})
}

// FuzzOverrides: whatever a variable or a flag holds, what is wrong with it is said of
// it by its name.
func FuzzOverrides(f *testing.F) {
	for i, s := range []string{"1s", "2MiB", "true", "127.0.0.1:1", "a,b", "", "\x00", "30", "-1", "[1]"} {
		f.Add(s, byte(i*7))
	}
	var names, flags []string
	for _, l := range leaves(new(Config)) {
		if name := l.env(); name != "" {
			names = append(names, name)
		}
	}
	for _, k := range Keys() {
		if k.Flag != "" {
			flags = append(flags, k.Flag)
		}
	}
	f.Fuzz(func(t *testing.T, text string, which byte) {
		name, flag := names[int(which)%len(names)], flags[int(which)%len(flags)]
		for _, src := range []Source{{Role: Run, Environ: []string{name + "=" + text}}, {Role: Run, Flags: Flags{flag: text}}} {
			cfg, _, err := Load(src)
			if (cfg == nil) != (err != nil) {
				t.Fatalf("config %v with error %v", cfg, err)
			}
			if err != nil && len(src.Flags) > 0 && !strings.Contains(err.Error(), "--"+flag) {
				t.Errorf("--%s=%q: %v", flag, text, err)
			}
			if err != nil && len(src.Environ) > 0 && !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%q: %v", name, text, err)
			}
		}
	})
}

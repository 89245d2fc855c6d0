package config

import (
	"flag"
	"io"
	"reflect"
	"regexp"
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	want := map[string]Key{
		"proxy.listen": {
			Name: "proxy.listen", Env: "RELAYMUX_PROXY_LISTEN", Flag: "proxy", Type: "list", Default: "127.0.0.1:1080",
			Doc: "addresses of the SOCKS5 and HTTP proxy, one or a list; 0.0.0.0 is all of IPv4",
		},
		"batch.max_ops": {
			Name: "batch.max_ops", Env: "RELAYMUX_BATCH_MAX_OPS", Flag: "batch-max-ops", Type: "int", Default: "50",
			Doc: "ops in one batch (2 to 500)",
		},
		"node.limits.memory": {
			Name: "node.limits.memory", Env: "RELAYMUX_NODE_LIMITS_MEMORY", Type: "size", Default: "256MiB",
			Doc: "bytes of buffers (at least 16MiB)",
		},
		"deployment.wire": {
			Name: "deployment.wire", Type: "string", Default: "auto", Doc: "protocol towards the node; auto is link if [link] has a secret, else json, and never changes by itself (auto, link or json)",
		},
	}
	for _, k := range Keys() {
		if w, ok := want[k.Name]; ok && k != w {
			t.Errorf("got  %+v\nwant %+v", k, w)
		}
		delete(want, k.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// Each key has a name that TOML needs not quote, a type, a line for the table
// and a variable that no other key has.
func TestDeclarations(t *testing.T) {
	types := []string{"string", "list", "bool", "int", "duration", "size", "secret", "sha256"}
	bare := regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)+$`)
	seen := make(map[string]bool)
	for _, k := range Keys() {
		if !bare.MatchString(k.Name) || k.Doc == "" || !slices.Contains(types, k.Type) {
			t.Errorf("bad declaration: %+v", k)
		}
		if k.Env != "" && seen[k.Env] {
			t.Errorf("%s stands for two keys", k.Env)
		}
		seen[k.Env] = true
	}
}

func TestFlags(t *testing.T) {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	given := Flags{}
	given.Register(fs)
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	want := []string{"admin", "batch-max-bytes", "batch-max-ops", "coalesce-max", "coalesce-step", "proxy", "slots"}
	if !slices.Equal(names, want) {
		t.Errorf("flags %v, want %v", names, want)
	}
	if err := fs.Parse([]string{"--batch-max-ops", "7", "-proxy=127.0.0.1:1,[::1]:2"}); err != nil {
		t.Fatal(err)
	}
	if want := (Flags{"batch-max-ops": "7", "proxy": "127.0.0.1:1,[::1]:2"}); !reflect.DeepEqual(given, want) {
		t.Errorf("got %v", given)
	}
}

// Every range holds at both of its ends and not one step further. A new one
// must be entered here.
func TestLimits(t *testing.T) {
	limits := map[string]struct{ below, least, most, above string }{
		"limits.memory":                       {"16777215B", "16MiB", "", ""},
		"limits.connections":                  {"0", "1", "1000000", "1000001"},
		"batch.max_ops":                       {"1", "2", "500", "501"},
		"batch.max_bytes":                     {"65535B", "64KiB", "16MiB", "16777217B"},
		"batch.coalesce_step":                 {"-1ns", "0s", "1s", "1.000000001s"},
		"batch.coalesce_max":                  {"-1ns", "0s", "10s", "10.000000001s"},
		"link.hedge_percent":                  {"-1", "0", "100", "101"},
		"link.grace":                          {"999ms", "1s", "1h", "3601s"},
		"udp.stale":                           {"-1ns", "0s", "1m", "60001ms"},
		"deployment.exchange_limit":           {"4999ms", "5s", "10m", "600001ms"},
		"account.slots":                       {"0", "1", "1000", "1001"},
		"account.daily_quota":                 {"-1", "0", "1000000000", "1000000001"},
		"node.limits.memory":                  {"16777215B", "16MiB", "", ""},
		"node.limits.streams":                 {"0", "1", "1000000", "1000001"},
		"node.limits.dials_per_second":        {"-1", "0", "100000", "100001"},
		"node.limits.client_streams":          {"-1", "0", "1000000", "1000001"},
		"node.limits.client_dials_per_second": {"-1", "0", "100000", "100001"},
		"node.limits.reap":                    {"9999ms", "10s", "60m", "3601s"},
		"node.udp.stale":                      {"-1ns", "0s", "60s", "61s"},
	}
	for _, f := range declared() {
		key := keyOf(f.path)
		l, ok := limits[key]
		if hasLimit := f.tag.Get("min") != "" || f.tag.Get("max") != ""; hasLimit != ok {
			t.Errorf("%s: has a range: %v, is in this table: %v", key, hasLimit, ok)
		}
		for _, good := range []string{l.least, l.most} {
			if err := f.setText(good); good != "" && err != nil {
				t.Errorf("%s = %s: %v", key, good, err)
			}
		}
		for _, bad := range []string{l.below, l.above} {
			if bad != "" && f.setText(bad) == nil {
				t.Errorf("%s = %s is accepted", key, bad)
			}
		}
	}
}

func TestWords(t *testing.T) {
	for _, f := range declared() {
		if f.tag.Get("oneof") == "" {
			continue
		}
		for _, bad := range []string{"", "x", "auto|off", "AUTO"} {
			if f.setText(bad) == nil {
				t.Errorf("%s = %q is accepted", f.path, bad)
			}
		}
	}
}

func TestSuggestions(t *testing.T) {
	batch, root := reflect.TypeFor[Batch](), reflect.TypeFor[Config]()
	for _, c := range []struct {
		name string
		in   reflect.Type
		want string
	}{
		{"max_op", batch, "max_ops"}, {"Max_Ops", batch, "max_ops"}, {"maxbytes", batch, "max_bytes"},
		{"slots", batch, "account.slots"}, {"deployments", root, "deployment"}, {"max_ops", root, "batch.max_ops"},
		{"zzz", batch, ""}, {"", root, ""}, {"-", root, ""}, {"a", root, ""},
	} {
		if got := suggestion(c.name, c.in); got != c.want {
			t.Errorf("%q in %v: got %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"listen", "lisen", 1}, {"ab", "ba", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestLines(t *testing.T) {
	text := strings.Join([]string{
		`# comment with " and [`,           // 1
		`top = 1`,                          // 2
		`text = """`,                       // 3
		`[fake]`,                           // 4
		`url = "no key" \"""`,              // 5
		`"""""`,                            // 6: two quotes belong to the string
		`raw = '''`,                        // 7
		`[[deployment]] \`,                 // 8
		`'''  # ends here`,                 // 9
		``,                                 // 10
		`[[deployment]]`,                   // 11
		`  url = "https://x/#a" # comment`, // 12
		`[ [ not, a, header ]`,             // 13 is replaced below
		`list = [ # [`,                     // 14
		`  "]", ']',`,                      // 15
		`]`,                                // 16
		`[[ deployment ]] # second`,        // 17
		`"url" = 'x'`,                      // 18
		`[deployment.tls]`,                 // 19
		`ca.file = "x"`,                    // 20
		`pin = { a = 1, b = [`,             // 21
		`] }`,                              // 22
		`[node . limits]`,                  // 23
		`memory = "1"`,                     // 24
		`[["node".client]]`,                // 25
		`name = "x"`,                       // 26
		`"a.b" = 1`,                        // 27
	}, "\n")
	text = strings.Replace(text, `[ [ not, a, header ]`, `empty = ""`, 1)
	for _, nl := range []string{"\n", "\r\n"} {
		l := linesOf("\ufeff" + strings.ReplaceAll(text, "\n", nl))
		for path, want := range map[string]int{
			"top": 2, "text": 3, "fake": 0, "fake.url": 0, "raw": 7,
			"deployment": 11, "deployment[0]": 11, "deployment[0].url": 12, "deployment[0].empty": 13, "deployment[0].list": 14,
			"deployment[0].missing": 11, "deployment[1]": 17, "deployment[1].url": 18, "deployment[1].key": 17, "deployment[2].url": 11,
			"deployment[1].tls": 19, "deployment[1].tls.ca": 20, "deployment[1].tls.ca.file": 20,
			"deployment[1].tls.pin": 21, "deployment[1].tls.pin.b": 21,
			"node": 23, "node.limits": 23, "node.limits.memory": 24, "node.key": 23,
			"node.client[0].name": 26, `node.client[0]."a.b"`: 27,
		} {
			if got := l.of(path); got != want {
				t.Errorf("%q: %s is on line %d, want %d", nl, path, got, want)
			}
		}
	}
}

// keysByStatement is what toml.MetaData.Keys says of the whole text, put
// together from its statements.
func keysByStatement(text string) []string {
	var all []string
	var table toml.Key
	for _, s := range statements(text) {
		keys := keysIn(s)
		if len(keys) == 1 && strings.HasPrefix(strings.TrimLeft(s, " \t"), "[") {
			table = keys[0]
			all = append(all, table.String())
			continue
		}
		for _, k := range keys {
			all = append(all, slices.Concat(table, k).String())
		}
	}
	return all
}

// The statements of any text that the decoder accepts hold the keys that the
// decoder finds in the whole.
func FuzzLines(f *testing.F) {
	f.Add("a = 1\n[b]\nc = '''\n[d]'''\n[[e.f]]\ng.h = [\n{i = \"]\"}, # [\n]\n")
	f.Add("a = \"\"\"\"\"\"\nb = \"\"\"x\\\"\"\"\"\"\nc = ''''''''\n")
	f.Add("a = \"\\\"[\" # \"\nb=[[],[\"#\"]]\r\n")
	f.Add(testdata(f, "full.toml"))
	f.Fuzz(func(t *testing.T, text string) {
		var values map[string]any
		md, err := toml.Decode(text, &values)
		if err != nil || strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
			return // the decoder drops these two bytes, which no statement can hold
		}
		var want []string
		for _, k := range md.Keys() {
			want = append(want, k.String())
		}
		if got := keysByStatement(text); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

package relaytest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport is the shape of the program: what a package may import of the
// others. Imports run down only: main -> config, socks -> mux -> relay. The
// node (relay/exit) and the mux meet in the leaves below mux, each of which
// may import only leaves that stand further down in this list.
var mayImport = map[string][]string{
	"":                               {"config/command"},
	"config/command":                 {"config", "config/daemon", "config/environ", "config/setup", "socks/dash", "socks/dash/top", "mux/stats", "relay/script", "relay/tune"},
	"config/daemon":                  {"config", "socks", "socks/dash", "socks/dns", "socks/route", "mux", "mux/gso", "mux/link", "mux/stats", "relay", "relay/account", "relay/doctor", "relay/exit", "relay/fronted", "relay/h3", "relay/tune"}, // puts the rest together
	"config":                         {"mux/rule", "mux/secret"},
	"config/environ":                 {"config"},
	"config/setup":                   {"config", "relay/script", "socks/pac"}, // leaves: the texts that it fills in
	"socks":                          {"mux", "mux/wire", "mux/gso", "mux/buf", "mux/fd", "mux/rule", "mux/stats"},
	"socks/dns":                      {"mux/fd", "mux/rule"},
	"socks/route":                    {"socks", "mux/fd", "mux/gso", "mux/rule", "mux/wire", "mux/buf", "mux/stats"},
	"socks/dash":                     {"mux", "mux/fd", "mux/secret", "mux/stats", "relay", "socks/pac"},
	"socks/pac":                      {},
	"socks/dash/top":                 {"socks/dash"},
	"mux":                            {"mux/link", "mux/secret", "mux/wire", "mux/buf", "mux/stats", "relay", "relay/account"},
	"relay/exit":                     {"mux/link", "mux/rule", "mux/secret", "mux/wire", "mux/gso", "mux/buf", "mux/fd", "mux/stats"},
	"relay/account":                  {},
	"relay/doctor":                   {"config", "mux", "mux/fd", "mux/gso", "mux/link", "mux/secret", "mux/wire", "relay", "relay/fronted", "relay/h3"}, // a command: nothing but config/daemon imports it
	"relay/tune":                     {"config", "mux", "mux/link", "mux/secret", "mux/stats", "mux/wire", "relay", "relay/account"},                     // likewise
	"relay/fronted":                  {"mux/buf", "mux/secret", "relay"},
	"relay/h3":                       {"mux/buf", "mux/gso", "relay", "relay/fronted"},
	"relay/script":                   {"mux/secret"},
	"relay/relaytest":                {"socks", "mux", "mux/gso", "mux/link", "mux/secret", "mux/stats", "mux/wire", "relay", "relay/exit", "relay/fronted", "relay/h3"},
	"relay/relaytest/testca":         {},
	"relay/relaytest/proc":           {},
	"relay/relaytest/cmd/relayemu":   {"relay/relaytest"},
	"relay/relaytest/cmd/relaybench": {"relay/relaytest", "relay/relaytest/proc"},
	"relay/relaytest/cmd/soak":       {"relay/relaytest", "relay/relaytest/proc"},
	"relay":                          {},
	"mux/link":                       {"mux/wire", "mux/buf"},
	"mux/rule":                       {},
	"mux/secret":                     {},
	"mux/wire":                       {},
	"mux/gso":                        {"mux/buf", "mux/stats"},
	"mux/buf":                        {},
	"mux/fd":                         {},
	"mux/fd/fdtest":                  {},
	"mux/stats":                      {},
}

// home is where an outside package may be imported, and nowhere else, so that
// what it does can be done otherwise by changing one package.
var home = map[string][]string{
	"github.com/BurntSushi/toml":              {"config", "config/setup"}, // setup reads what others wrote
	"github.com/armon/go-socks5":              {"socks"},
	"github.com/valyala/bytebufferpool":       {"mux/buf"},
	"github.com/coreos/go-systemd/v22/daemon": {"config/daemon"},
	"github.com/emmansun/base64":              {"mux/wire"},
	"github.com/gofrs/flock":                  {"relay/account"},
	"github.com/flynn/noise":                  {"mux/link"},
	"github.com/klauspost/compress/gzip":      {"relay/exit"},
	"github.com/klauspost/compress/zstd":      {"relay/exit"},
	"github.com/letsencrypt/pebble/v2/ca":     {"relay/relaytest/testca"},
	"github.com/letsencrypt/pebble/v2/db":     {"relay/relaytest/testca"},
	"github.com/letsencrypt/pebble/v2/va":     {"relay/relaytest/testca"},
	"github.com/letsencrypt/pebble/v2/wfe":    {"relay/relaytest/testca"},
	"github.com/miekg/dns":                    {"relay/relaytest/testca"},
	"github.com/lmittmann/tint":               {"config/command"},
	"github.com/schollz/progressbar/v3":       {"config/command"},
	"github.com/spf13/cobra":                  {"config/command"},
	"github.com/spf13/pflag":                  {"config/command"},
	"github.com/quic-go/quic-go":              {"relay/h3", "relay/exit"},
	"github.com/quic-go/quic-go/http3":        {"relay/h3", "relay/exit"},
	"golang.org/x/net/ipv4":                   {"mux/gso"}, // the message that quic-go has filled
	"golang.org/x/net/dns/dnsmessage":         {"socks/dns"},
	"golang.org/x/net/http/httpguts":          {"socks"},
	"golang.org/x/sync/singleflight":          {"socks/dns"},
	"golang.org/x/sync/semaphore":             {"mux"},
	"golang.org/x/sync/errgroup":              {"config/daemon"},
	"golang.org/x/crypto/acme":                {"relay/exit"},
	"golang.org/x/crypto/chacha20poly1305":    {"mux/link"},
	"rsc.io/qr":                               {"socks/dash"},
	"charm.land/bubbletea/v2":                 {"socks/dash/top"},
	"charm.land/lipgloss/v2":                  {"socks/dash/top"},
	"golang.org/x/sys/cpu":                    {"mux/link"},
	"golang.org/x/term":                       {"config/command"},
	"golang.org/x/time/rate":                  {"mux/fd", "socks", "socks/dns", "socks/route", "relay/exit"},
	"golang.org/x/sys/unix":                   {"mux/gso"},
	"golang.org/x/sys/windows":                {"mux/wire"},
	"net/http":                                {"socks", "socks/dash", "relay/fronted", "relay/h3", "relay/exit"},
	"os/exec":                                 {"config/environ", "mux/fd/fdtest"}, // which runs what it is told to
	"unsafe":                                  {"mux/gso"},                         // recvmsg and sendmmsg without allocation
	"math/rand":                               {},                                  // math/rand/v2 or crypto/rand
	"log":                                     {"socks", "config/command"},         // only as http.Server.ErrorLog, and to silence it; else log/slog, handed in
	"io/ioutil":                               {},
	"encoding/json":                           {"config/setup", "relay/doctor", "relay/tune", "socks/dash", "socks/pac"}, // what others wrote, or are to read; the wire has mux/wire
	"golang.org/x/net/context":                {},
}

func TestImports(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata") {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		checkFile(t, file, strings.TrimPrefix(filepath.ToSlash(rel), "."))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, file, pkg string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	allowed, known := mayImport[pkg]
	if !known {
		t.Errorf("%s: package %q is not in mayImport: where does it belong?", file, pkg)
	}
	forTests := pkg == "relay/relaytest" || strings.HasPrefix(pkg, "relay/relaytest/")
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if own, ok := strings.CutPrefix(name, "relaymux/"); ok {
			if !slices.Contains(allowed, own) {
				t.Errorf("%s: %q may not import %q: imports run down only", file, pkg, own)
			}
			continue
		}
		where, fenced := home[name]
		if fenced && !forTests && !slices.Contains(where, pkg) {
			t.Errorf("%s: %s belongs in %q", file, name, where)
		}
		if first, _, _ := strings.Cut(name, "/"); !fenced && strings.Contains(first, ".") {
			t.Errorf("%s: %s is an outside package without a home", file, name)
		}
	}
}

// What is declared by init or kept in a package variable is invisible where
// the program is put together.
func TestNoInit(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	_ = fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(file) != ".go" {
			return err
		}
		text, err := fs.ReadFile(root, file)
		if err == nil && strings.Contains(string(text), "\nfunc init()") {
			t.Errorf("%s has an init function; make it a call that main can be read to make", file)
		}
		return err
	})
}

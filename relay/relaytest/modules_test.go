package relaytest

import (
	"go/build"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A linked module is one whose code is in the program: who wrote it can do there whatever
// the program may. A new one is a decision. The licence is as in its own file; all of these
// go with MIT.
type linkedModule struct{ licence, of string }

var linkedModules = map[string]linkedModule{
	"charm.land/bubbletea/v2":               {"MIT", "relaymux top"},
	"charm.land/lipgloss/v2":                {"MIT", "likewise"},
	"github.com/BurntSushi/toml":            {"MIT", "config files"},
	"github.com/armon/go-socks5":            {"MIT", "parses SOCKS5 handshakes"},
	"github.com/charmbracelet/colorprofile": {"MIT", "of bubbletea"},
	"github.com/charmbracelet/ultraviolet":  {"MIT", "of bubbletea"},
	"github.com/charmbracelet/x/ansi":       {"MIT", "widths of text in relaymux top"},
	"github.com/charmbracelet/x/term":       {"MIT", "of bubbletea"},
	"github.com/charmbracelet/x/termios":    {"MIT", "of bubbletea"},
	"github.com/charmbracelet/x/windows":    {"MIT", "of bubbletea"},
	"github.com/clipperhouse/displaywidth":  {"MIT", "of bubbletea"},
	"github.com/clipperhouse/uax29/v2":      {"MIT", "of bubbletea"},
	"github.com/coreos/go-systemd/v22":      {"Apache-2.0", "tells systemd"},
	"github.com/emmansun/base64":            {"BSD-3-Clause", "base64 with SIMD"},
	"github.com/flynn/noise":                {"BSD-3-Clause", "the link's handshake"},
	"github.com/gofrs/flock":                {"BSD-3-Clause", "the ledger's lock"},
	"github.com/inconshreveable/mousetrap":  {"Apache-2.0", "of cobra, on Windows"},
	"github.com/klauspost/compress":         {"MIT, Apache-2.0, BSD-3-Clause", "gzip and zstd at the node"},
	"github.com/lmittmann/tint":             {"MIT", "the log on a terminal"},
	"github.com/lucasb-eyer/go-colorful":    {"MIT", "of bubbletea"},
	"github.com/mattn/go-runewidth":         {"MIT", "of bubbletea"},
	"github.com/mitchellh/colorstring":      {"MIT", "of progressbar"},
	"github.com/muesli/cancelreader":        {"MIT", "of bubbletea"},
	"github.com/quic-go/qpack":              {"MIT", "of quic-go"},
	"github.com/quic-go/quic-go":            {"MIT", "HTTP/3"},
	"github.com/rivo/uniseg":                {"MIT", "of progressbar and bubbletea"},
	"github.com/schollz/progressbar/v3":     {"MIT", "relaymux tune"},
	"github.com/spf13/cobra":                {"Apache-2.0", "commands"},
	"github.com/spf13/pflag":                {"BSD-3-Clause", "flags"},
	"github.com/valyala/bytebufferpool":     {"MIT", "buffers"},
	"github.com/xo/terminfo":                {"MIT", "of bubbletea"},
	"golang.org/x/crypto":                   {"BSD-3-Clause", "ChaCha20-Poly1305, ACME"},
	"golang.org/x/net":                      {"BSD-3-Clause", "DNS messages"},
	"golang.org/x/sync":                     {"BSD-3-Clause", "semaphores"},
	"golang.org/x/sys":                      {"BSD-3-Clause", "system calls"},
	"golang.org/x/term":                     {"BSD-3-Clause", "is it a terminal?"},
	"golang.org/x/text":                     {"BSD-3-Clause", "of quic-go and x/net"},
	"golang.org/x/time":                     {"BSD-3-Clause", "limits of rates"},
	"rsc.io/qr":                             {"BSD-3-Clause", "the page's QR code"},
}

// onlyOn are those that are linked on some systems.
var onlyOn = map[string][]string{
	"github.com/charmbracelet/x/termios":   {"linux", "darwin", "freebsd"},
	"github.com/inconshreveable/mousetrap": {"windows"},
}

// TestLinkedModules holds which modules are linked into the program, and that each is
// under a licence that says what is written here.
func TestLinkedModules(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	for _, system := range []string{"linux", "windows", "darwin", "freebsd"} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(build.Default.GOROOT, "bin", "go"),
			"list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", ".")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOPROXY=off")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		dirs := make(map[string]string)
		for line := range strings.Lines(string(out)) {
			if module, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				dirs[module] = dir
			}
		}
		for _, module := range slices.Sorted(maps.Keys(dirs)) {
			m, known := linkedModules[module]
			if !known {
				t.Errorf("%s: %s is linked into the program: is it needed, who keeps it, what is its licence?", system, module)
			} else if got := licenceIn(dirs[module]); got != m.licence {
				t.Errorf("%s is under %q, not %s", module, got, m.licence)
			}
		}
		for module := range linkedModules {
			if on := onlyOn[module]; dirs[module] == "" && (on == nil || slices.Contains(on, system)) {
				t.Errorf("%s: %s is not linked any more: take it out of the list", system, module)
			}
		}
	}
}

// licenceIn is what the licence's files in a directory are, "" if none that is known.
func licenceIn(dir string) string {
	var found []string
	files, _ := filepath.Glob(filepath.Join(dir, "[LC][IO][CP][EY]*")) // LICENSE, LICENSE.md, COPYING
	for _, file := range files {
		text, err := os.ReadFile(file)
		words := strings.Join(strings.Fields(string(text)), " ")
		if err != nil {
			continue
		}
		for _, l := range []struct{ name, text string }{
			{"MIT", "Permission is hereby granted, free of charge"}, {"Apache-2.0", "Apache License Version 2.0"},
			{"BSD-3-Clause", "Neither the name of"},
		} {
			if strings.Contains(words, l.text) && !slices.Contains(found, l.name) {
				found = append(found, l.name)
			}
		}
	}
	return strings.Join(found, ", ")
}

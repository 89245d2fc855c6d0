package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPrecedence(t *testing.T) {
	const inFile = "[batch]\nmax_ops = 2\n" + minimal
	environ := []string{"RELAYMUX_BATCH_MAX_OPS=3", "OTHER=1", "novalue"}
	flags := Flags{"batch-max-ops": "4"}
	for _, c := range []struct {
		src  Source
		want int
	}{
		{Source{}, 50},
		{Source{Path: write(t, "c.toml", inFile)}, 2},
		{Source{Path: write(t, "c.toml", inFile), Environ: environ}, 3},
		{Source{Path: write(t, "c.toml", inFile), Environ: environ, Flags: flags}, 4},
		{Source{Path: write(t, "c.toml", inFile), Flags: flags}, 4},
		{Source{Environ: []string{"RELAYMUX_BATCH_MAX_OPS=3", "RELAYMUX_BATCH_MAX_OPS=5"}}, 5},
	} {
		c.src.Role = Run
		cfg, warnings, err := Load(c.src)
		if err != nil || len(warnings) > 0 || cfg.Batch.MaxOps != c.want {
			t.Errorf("%+v: got %+v, %v, %v", c.src, cfg, warnings, err)
		}
	}
}

// Each key outside of arrays of tables can be set by its variable.
func TestEveryVariable(t *testing.T) {
	full := newLoader(Source{})
	full.decode(testdata(t, "full.toml"))
	texts := make(map[string]string)
	for _, f := range leaves(full.cfg) {
		if name := f.env(); name != "" {
			texts[name] = textOf(f)
		}
	}
	l := newLoader(Source{})
	for name, text := range texts {
		l.src.Environ = append(l.src.Environ, name+"="+text)
	}
	l.readEnviron()
	if len(l.problems)+len(l.warnings) > 0 {
		t.Fatal(l.problems, l.warnings)
	}
	for _, f := range leaves(l.cfg) {
		if name := f.env(); name != "" && textOf(f) != texts[name] {
			t.Errorf("%s=%s sets %s", name, texts[name], textOf(f))
		}
	}
}

func TestMistakesOfVariablesAndFlags(t *testing.T) {
	src := Source{
		Role: Run,
		Path: write(t, "c.toml", strings.Repeat(minimal, 2)),
		Environ: []string{
			"RELAYMUX_CONFIG=x", "RELAYMUX_BATCH_MAX_OP=1", "RELAYMUX_PORT=tcp://10.0.0.1:80",
			"RELAYMUX_BATCH_COALESCE_STEP=", "RELAYMUX_LIMITS_CONNECTIONS=many", "RELAYMUX_UDP_BLOCK_STUN=",
			"RELAYMUX_PROXY_LISTEN= 127.0.0.1:1 , ,127.0.0.1:70000",
		},
		Flags: Flags{"slots": "0", "batch-max-bytes": "1MB!"},
	}
	want := []string{
		`RELAYMUX_LIMITS_CONNECTIONS: must be a whole number, not "many"`,
		`RELAYMUX_BATCH_COALESCE_STEP: "" is not a duration; write it with a unit, such as "10ms" or "30s"`,
		`RELAYMUX_UDP_BLOCK_STUN: is empty; it must be true or false`,
		`--batch-max-bytes: "1MB!" is not a size; write a whole number with its unit, such as "64KiB" or "4MiB"`,
		`--slots: must be 1 to 1000, not 0`,
		`RELAYMUX_PROXY_LISTEN: "127.0.0.1:70000" has no port of 0 to 65535`,
		`warning: RELAYMUX_BATCH_MAX_OP: no key has this name, so it is ignored; did you mean RELAYMUX_BATCH_MAX_OPS?`,
		`warning: RELAYMUX_PORT: no key has this name, so it is ignored`,
	}
	if got := report(src); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSlotsFlagAppliesToEveryAccount(t *testing.T) {
	text := "[[account]]\nname = 'me'\nslots = 5\n" + minimal
	cfg, _, err := Load(Source{Role: Run, Path: write(t, "c.toml", text), Flags: Flags{"slots": "9"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range cfg.Accounts {
		if a.Slots != 9 {
			t.Errorf("account %s has %d slots", a.Name, a.Slots)
		}
	}
}

func TestFind(t *testing.T) {
	home, xdg := t.TempDir(), t.TempDir()
	inHome := filepath.Join(home, ".config", "relaymux", "config.toml")
	inXDG := filepath.Join(xdg, "relaymux", "config.toml")
	for _, path := range []string{inHome, inXDG} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		named   string
		environ []string
		want    string
	}{
		{"a.toml", []string{"RELAYMUX_CONFIG=b.toml", "HOME=" + home}, "a.toml"},
		{"", []string{"RELAYMUX_CONFIG=b.toml", "HOME=" + home}, "b.toml"},
		{"", []string{"RELAYMUX_CONFIG=", "XDG_CONFIG_HOME=" + xdg, "HOME=" + home}, inXDG},
		{"", []string{"XDG_CONFIG_HOME=relative", "HOME=" + home}, inHome},
		{"", []string{"HOME=" + home}, inHome},
	} {
		if got := Find(c.named, c.environ); got != c.want {
			t.Errorf("%q, %v: got %q, want %q", c.named, c.environ, got, c.want)
		}
	}
	if got := usualFiles(nil); !slices.Equal(got, []string{systemFile}) {
		t.Errorf("without a home: %v", got)
	}
	if got := usualFiles([]string{"HOME=" + home}); !slices.Equal(got, []string{inHome, systemFile}) {
		t.Errorf("with a home: %v", got)
	}
}

// textOf is the value of f as the environment writes it.
func textOf(f leaf) string {
	switch v := f.value.Interface().(type) {
	case Secret:
		return v.Reveal()
	case []string:
		return strings.Join(v, ",")
	case interface{ String() string }:
		return v.String()
	}
	return fmt.Sprint(f.value)
}

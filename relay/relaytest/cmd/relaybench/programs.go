package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// programs are the binaries of a run, and a directory that goes with it.
type programs struct {
	dir      string // configs, state, and what was built
	relaymux string
	relayemu string
	bench    string   // this program, for an origin of its own
	env      []string // of all processes
	version  string   // of relaymux
}

// build makes the programs below dir; relaymux only if there is no path to one.
func build(ctx context.Context, dir, relaymux string) (p programs, err error) {
	p = programs{dir: dir, relaymux: relaymux, relayemu: filepath.Join(dir, "relayemu.exe"), env: environ(dir)}
	if p.bench, err = os.Executable(); err != nil {
		return p, err
	}
	if relaymux == "" {
		p.relaymux = filepath.Join(dir, "relaymux.exe")
		if err = goBuild(ctx, p.relaymux, "relaymux"); err != nil {
			return p, err
		}
	}
	if err = goBuild(ctx, p.relayemu, "relaymux/relay/relaytest/cmd/relayemu"); err != nil {
		return p, err
	}
	p.version, err = run(ctx, p.env, p.relaymux, "version")
	return p, err
}

// goBuild builds as the Makefile does.
func goBuild(ctx context.Context, out, pkg string) error {
	version, err := run(ctx, os.Environ(), "git", "describe", "--tags", "--always", "--dirty")
	if err != nil {
		version = "dev"
	}
	_, err = run(ctx, append(os.Environ(), "CGO_ENABLED=0"), "go", "build", "-trimpath",
		"-ldflags", "-s -w -X main.version="+version, "-o", out, pkg)
	return err
}

// environ is the environment without what would change the configs, with a home that
// is gone after the run, and without an admin page, whose port may be in use. GOGC, GOMAXPROCS and the like stay.
func environ(home string) []string {
	env := slices.DeleteFunc(os.Environ(), func(each string) bool {
		return strings.HasPrefix(each, "RELAYMUX_") || strings.HasPrefix(each, "XDG_")
	})
	return append(env, "HOME="+home, "RELAYMUX_ADMIN_LISTEN=", "RELAYEMU_AUTH_KEY="+authKey, "RELAYEMU_TUNNEL_KEY="+tunnelKey)
}

func (p *programs) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	return cmd
}

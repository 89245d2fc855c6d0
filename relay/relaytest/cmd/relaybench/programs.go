package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"relaymux/relay/relaytest/proc"
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
	p = programs{dir: dir, relaymux: relaymux, relayemu: filepath.Join(dir, "relayemu.exe"), env: append(proc.Environ(dir), "RELAYMUX_ADMIN_LISTEN=", "RELAYEMU_AUTH_KEY="+authKey, "RELAYEMU_TUNNEL_KEY="+tunnelKey)}
	if p.bench, err = os.Executable(); err != nil {
		return p, err
	}
	if relaymux == "" {
		p.relaymux = filepath.Join(dir, "relaymux.exe")
		if err = proc.Build(ctx, p.relaymux, "relaymux"); err != nil {
			return p, err
		}
	}
	if err = proc.Build(ctx, p.relayemu, "relaymux/relay/relaytest/cmd/relayemu"); err != nil {
		return p, err
	}
	p.version, err = proc.Run(ctx, p.env, p.relaymux, "version")
	return p, err
}

func (p *programs) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = p.env, p.dir
	return cmd
}

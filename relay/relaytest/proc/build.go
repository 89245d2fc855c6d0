package proc

import (
	"context"
	"os"
	"slices"
	"strings"
)

// Build builds as the Makefile does.
func Build(ctx context.Context, out, pkg string) error {
	version, err := Run(ctx, os.Environ(), "git", "describe", "--tags", "--always", "--dirty")
	if err != nil {
		version = "dev"
	}
	_, err = Run(ctx, append(os.Environ(), "CGO_ENABLED=0"), "go", "build", "-trimpath",
		"-ldflags", "-s -w -X main.version="+version, "-o", out, pkg)
	return err
}

// Environ is the environment without what would change the configs, with a home that
// is gone after the run. GOGC, GOMAXPROCS and the like stay.
func Environ(home string) []string {
	env := slices.DeleteFunc(os.Environ(), func(each string) bool {
		return strings.HasPrefix(each, "RELAYMUX_") || strings.HasPrefix(each, "XDG_")
	})
	return append(env, "HOME="+home)
}

package config

import (
	"cmp"
	"path/filepath"
	"runtime"
	"strings"
)

// StateDir returns the directory for what the program learns and keeps: that of
// [state], else the $STATE_DIRECTORY of systemd, else relaymux in the user's
// directory for such things. It returns "" when there is none of them, as for a
// daemon without a home; then nothing is kept.
func StateDir(cfg *Config, environ []string) string {
	if cfg.State.Dir != "" {
		return cfg.State.Dir
	}
	return usualState(runtime.GOOS, environ)
}

// AdminSocket returns the path of the Unix socket: that of [admin], else relaymux.sock
// in the user's directory for such things (XDG Base Directory Specification), "" when
// there is none.
func AdminSocket(cfg *Config, environ []string) string {
	if cfg.Admin.Socket != "" {
		return cfg.Admin.Socket
	}
	dir := variable(environ, "XDG_RUNTIME_DIR")
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "relaymux.sock")
}

// usualState is where state is kept on a system, as os.UserConfigDir has it for
// Windows and macOS, and the XDG Base Directory Specification for the others. A
// relative directory is to be ignored, says the latter.
func usualState(system string, environ []string) string {
	own, _, _ := strings.Cut(variable(environ, "STATE_DIRECTORY"), ":") // systemd.exec(5): of several the first
	if filepath.IsAbs(own) {
		return own
	}
	home := variable(environ, "HOME")
	dir := variable(environ, "XDG_STATE_HOME")
	switch {
	case system == "windows":
		dir = cmp.Or(variable(environ, "APPDATA"), variable(environ, "AppData")) // one variable: case does not count
	case system == "darwin" && home != "":
		dir = filepath.Join(home, "Library", "Application Support")
	case !filepath.IsAbs(dir) && home != "":
		dir = filepath.Join(home, ".local", "state")
	}
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "relaymux")
}

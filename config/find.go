package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// systemFile is where a packaged daemon has its file.
const systemFile = "/etc/relaymux/config.toml"

// Find returns the file to load: the one of --config, else that of
// $RELAYMUX_CONFIG, else the first that there is of
// $XDG_CONFIG_HOME/relaymux/config.toml (without that variable,
// ~/.config/relaymux/config.toml) and /etc/relaymux/config.toml. It returns ""
// when there is none.
//
// A file that was named need not exist here: Load will say so. One that exists
// but cannot be looked at is returned too, for running without it would
// surprise.
func Find(named string, environ []string) string {
	if named != "" {
		return named
	}
	if path := variable(environ, envConfig); path != "" {
		return path
	}
	for _, path := range usualFiles(environ) {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
	return ""
}

// usualFiles are the places that are searched, best first. A relative
// $XDG_CONFIG_HOME is to be ignored (XDG Base Directory Specification).
func usualFiles(environ []string) []string {
	dir := variable(environ, "XDG_CONFIG_HOME")
	if home := variable(environ, "HOME"); !filepath.IsAbs(dir) && home != "" {
		dir = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(dir) {
		return []string{systemFile}
	}
	return []string{filepath.Join(dir, "relaymux", "config.toml"), systemFile}
}

// variable returns the value of the last variable of that name, "" when there
// is none.
func variable(environ []string, name string) string {
	for _, kv := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

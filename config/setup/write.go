package setup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"relaymux/config"
)

// A file is one to be written.
type file struct {
	name, text string
	mode       os.FileMode
	needed     bool // of those whose secrets belong together
}

// write puts the files into dir, each at once or not at all, once the configs
// among them have passed the checks that the program makes at its start. It leaves
// those that are there, unless force, and returns their names. What is in forCheck is
// there for the checks only.
func write(dir string, files, forCheck []file, force bool) (left []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	if err := config.CheckDir(dir); err != nil {
		return nil, err
	}
	stage, err := os.MkdirTemp(dir, ".init-*")
	if err != nil {
		return nil, fmt.Errorf("making a place for the files: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	for _, f := range slices.Concat(files, forCheck) {
		if err := put(filepath.Join(stage, f.name), f); err != nil {
			return nil, err
		}
	}
	if err := check(stage); err != nil {
		return nil, err
	}
	for _, f := range files {
		from, to := filepath.Join(stage, f.name), filepath.Join(dir, f.name)
		_, err := os.Lstat(to)
		switch {
		case err == nil && !force:
			left = append(left, f.name)
			continue
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("looking for %s: %w", f.name, err)
		}
		if err := os.Rename(from, to); err != nil {
			return nil, fmt.Errorf("putting %s in its place: %w", f.name, err)
		}
	}
	return left, nil
}

// put writes f to path, and has it on the disk before it gets its name.
func put(path string, f file) error {
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.name, err)
	}
	_, err = to.WriteString(f.text)
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", f.name, err)
	}
	return nil
}

// check is `relaymux check` of both configs.
func check(dir string) error {
	for name, role := range map[string]config.Role{clientFile: config.Run, nodeFile: config.Node} {
		if _, _, err := config.Load(config.Source{Role: role, Path: filepath.Join(dir, name)}); err != nil {
			return fmt.Errorf("these answers make no config: %w", err)
		}
	}
	return nil
}

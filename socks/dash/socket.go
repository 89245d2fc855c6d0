package dash

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// errTaken says that another program answers at the socket.
var errTaken = errors.New("another relaymux listens there")

// A socket is a listener on a Unix socket that goes away with it.
type socket struct {
	net.Listener
	path string
	made fs.FileInfo
}

// ListenSocket listens on a Unix socket at path, which only its owner can open. One
// that a program left behind, which nobody answers at, is replaced; anything else that
// stands there stays.
//
// The socket is made in a directory that only its owner can enter and moved to its
// place with its mode set: at no moment can anybody else open it. Nobody else may
// replace it either, so that its directory must be this user's or the system's: the
// mode then says who it is that comes, and no credentials need be asked for.
func ListenSocket(path string) (net.Listener, error) {
	err := safe(filepath.Dir(path))
	if err == nil {
		err = free(path)
	}
	if err != nil {
		return nil, fmt.Errorf("unix socket %s: %w", path, err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".relaymux")
	if err != nil {
		return nil, fmt.Errorf("unix socket %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	hidden := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("unix socket %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	s := &socket{Listener: ln, path: path}
	if err = os.Chmod(hidden, 0o600); err == nil {
		err = os.Rename(hidden, path)
	}
	if err == nil {
		s.made, err = os.Lstat(path)
	}
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("unix socket %s: %w", path, err)
	}
	return s, nil
}

// safe reports why others could put a socket of their own in the place of one in that
// directory, nil if they cannot. In a directory like /tmp what is there stays its
// owner's.
func safe(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case ofOthers(info, os.Geteuid()):
		return fmt.Errorf("the directory %s is another user's, who could replace it", dir)
	case openToOthers(info):
		return fmt.Errorf("others may write to the directory %s, and replace it: chmod go-w %[1]s, or another one", dir)
	}
	return nil
}

// free reports why path cannot be taken, nil if it can.
func free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is no socket stands there")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return errTaken
	}
	return nil
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close implements net.Listener. What has taken the socket's place meanwhile stays.
func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.made) {
		os.Remove(s.path)
	}
	return s.Listener.Close()
}

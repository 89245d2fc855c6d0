package dash

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostile51_SocketOfOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.sock")
	ln, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := ListenSocket(path); err == nil || !strings.Contains(err.Error(), "another relaymux") {
		t.Errorf("it was taken twice: %v", err)
	}
	ln.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it stays: %v", err)
	}
}

// Where others could replace the socket it is not made.
func TestHostile51_SocketDirectory(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o777 | os.ModeSticky: true, 0o777: false, 0o775: false, 0o722: false} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		ln, err := ListenSocket(filepath.Join(dir, "s"))
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("%v: %v", mode, err)
		}
		if err == nil {
			ln.Close()
		}
	}
}

// A socket, and a directory, of another user are none of ours.
func TestHostile51_SocketOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of others")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[int]bool{0: false, 12345: false, 12346: true} {
		if got := strange(info, user); got != want {
			t.Errorf("for the user %d it is strange: %v", user, got)
		}
	}
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if ln, err := ListenSocket(filepath.Join(dir, "t")); err == nil {
		ln.Close()
		t.Error("it was made in another user's directory")
	}
}

// What a killed program left is replaced; a file of the user's, and a symbolic link to
// one, are not.
func TestHostile51_SocketPlace(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "left.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	ln, err := ListenSocket(left)
	if err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	file, alias := filepath.Join(dir, "file"), filepath.Join(dir, "alias")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, alias); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, alias, filepath.Join(dir, "no", "where")} {
		if got, err := ListenSocket(path); err == nil {
			got.Close()
			t.Errorf("%s was taken", path)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if err := os.Rename(file, left); err != nil { // over the socket
		t.Fatal(err)
	}
	ln.Close()
	if _, err := os.ReadFile(left); err != nil {
		t.Errorf("closing took what stood in the socket's place: %v", err)
	}
}

package exit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"relaymux/mux/secret"
)

// identitySize is enough that nobody has the same by chance.
const identitySize = 32

// LoadIdentity returns what a node without a key is known by, for Config.Identity:
// the content of a file in dir, which it makes if it is not there, readable by its
// owner only. Clients take a node with another identity for another node.
func LoadIdentity(dir string) (secret.Text, error) {
	path := filepath.Join(dir, "node-id")
	id, err := os.ReadFile(path)
	switch {
	case err == nil && len(id) == identitySize:
		return secret.New(string(id)), nil
	case err == nil:
		return secret.Text{}, fmt.Errorf("reading the node's identity: %s has %d bytes, not %d; remove it, and start the clients anew", path, len(id), identitySize)
	case !errors.Is(err, fs.ErrNotExist):
		return secret.Text{}, fmt.Errorf("reading the node's identity: %w", err)
	}
	id = make([]byte, identitySize)
	_, _ = rand.Read(id) // never fails
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return secret.Text{}, fmt.Errorf("keeping the node's identity: %w", err)
	}
	f, err := os.CreateTemp(dir, "node-id-*")
	if err != nil {
		return secret.Text{}, fmt.Errorf("keeping the node's identity: %w", err)
	}
	defer os.Remove(f.Name()) // it has another name by then
	_, err = f.Write(id)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("keeping the node's identity: %w", err)
	}
	return secret.New(string(id)), nil
}

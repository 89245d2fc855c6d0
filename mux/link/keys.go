package link

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/cpu"
)

// What seals records, as the answer names it. Both take the 32 bytes of one
// Noise key, a nonce of 12 bytes, and add a tag of 16.
const (
	cipherAES    byte = 1 // AES-256-GCM, NIST SP 800-38D
	cipherChaCha byte = 2 // ChaCha20-Poly1305, RFC 8439
)

// offersAES is the bit of a hello that says that the client's processor has
// instructions for AES-GCM. Without them it is slow, and its tables tell the
// key to whoever shares the cache; both ends speak ChaCha20 then.
const offersAES byte = 1

// hasAES asks for what crypto/aes needs in order not to fall back to tables.
func hasAES() bool {
	return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3 ||
		cpu.ARM64.HasAES && cpu.ARM64.HasPMULL
}

// chosen is the node's choice.
func chosen(both bool) byte {
	if both {
		return cipherAES
	}
	return cipherChaCha
}

// Keys are what a handshake ends with: the keys of both directions and the
// name of the link. They are safe for concurrent use, and cannot be printed.
type Keys struct {
	veil
	id       LinkID
	up, down *cipher.AEAD
}

// ID is the name of the link.
func (k *Keys) ID() LinkID { return k.id }

func (k *Keys) aead(d Direction) *cipher.AEAD {
	if d == Up {
		return k.up
	}
	return k.down
}

func newKeys(c byte, id LinkID, up, down [32]byte) (k Keys, err error) {
	k.id = id
	if k.up, err = newAEAD(c, up[:]); err == nil {
		k.down, err = newAEAD(c, down[:])
	}
	return k, err
}

func newAEAD(c byte, key []byte) (*cipher.AEAD, error) {
	a, err := aeadOf(c, key)
	return &a, err
}

func aeadOf(c byte, key []byte) (cipher.AEAD, error) {
	switch c {
	case cipherAES:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("link: AES-256: %w", err)
		}
		return cipher.NewGCM(block)
	case cipherChaCha:
		return chacha20poly1305.New(key)
	}
	return nil, fmt.Errorf("link: cipher %d: %w", c, ErrVersion)
}

package link

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/flynn/noise"
)

const (
	// Version is what follows the handshake: frames and what they mean. It
	// goes inside the seal, where no relay can lower it.
	Version = 1

	// prologue names the handshake itself. Both ends mix it in; whoever has
	// another one cannot read a byte.
	prologue = "relaymux link v1"

	// payloadBlock is what payloads are padded to a multiple of, in bytes, so
	// that the length of a handshake tells nothing of the client.
	payloadBlock = 128
	// payloadMost bounds a padded payload in bytes: a node tries every secret
	// on whatever a stranger sends it.
	payloadMost = 4096

	helloPrefix   = 2                 // version, ciphers
	answerPrefix  = 2 + len(LinkID{}) // version, cipher, link id
	ephemeralSize = 32                // a key of X25519
	noiseSize     = ephemeralSize + RecordTag

	// MaxPayload is the most that a hello or its answer carries for the
	// caller, in bytes.
	MaxPayload = payloadMost - answerPrefix - 2
)

// A Handshake is a client's half of a handshake that waits for its answer. It
// holds what the keys can be computed from: drop it once Finish has succeeded.
type Handshake struct {
	veil
	// begin plays the handshake up to the first message, the same one each time.
	begin func() (*noise.HandshakeState, []byte, error)
}

// Hello starts a handshake. body is the message for the node. The payload is
// sealed with the secret alone: who learns the secret later can read it, so
// it carries nothing but capabilities. It fails with ErrTooLarge.
func Hello(s Secret, payload []byte) (h *Handshake, body []byte, err error) {
	return hello(s, payload, hasAES(), rand.Reader)
}

func hello(s Secret, payload []byte, aes bool, random io.Reader) (*Handshake, []byte, error) {
	if len(payload) > MaxPayload {
		return nil, nil, ErrTooLarge
	}
	prefix := [helloPrefix]byte{0: Version}
	if aes {
		prefix[1] |= offersAES
	}
	ephemeral := make([]byte, ephemeralSize)
	if _, err := io.ReadFull(random, ephemeral); err != nil {
		return nil, nil, fmt.Errorf("link: ephemeral key: %w", err)
	}
	h := newHandshake(s, ephemeral, padded(prefix[:], payload))
	_, body, err := h.begin()
	if err != nil {
		return nil, nil, err
	}
	return h, body, nil
}

func newHandshake(s Secret, ephemeral, payload []byte) *Handshake {
	return &Handshake{begin: func() (*noise.HandshakeState, []byte, error) {
		state, err := newState(s, true, bytes.NewReader(ephemeral))
		if err != nil {
			return nil, nil, err
		}
		body, _, _, err := state.WriteMessage([]byte{KindHello}, payload)
		if err != nil {
			return nil, nil, fmt.Errorf("link: hello: %w", err)
		}
		return state, body, nil
	}}
}

// Finish reads the node's answer. It may be called again and from several
// goroutines, whatever it returned: a relay can forge an answer before the
// true one comes. That is why each call plays the handshake anew; the
// library's state is spoilt by a message that is not the other end's.
//
// It fails with ErrKind or ErrForged for what the node did not send, with
// ErrVersion or ErrTruncated for what it did and we do not understand.
func (h *Handshake) Finish(answer []byte) (k Keys, payload []byte, err error) {
	if KindOf(answer) != KindHelloAnswer {
		return Keys{}, nil, ErrKind
	}
	if !isHandshake(answer) {
		return Keys{}, nil, ErrForged
	}
	state, _, err := h.begin()
	if err != nil {
		return Keys{}, nil, err
	}
	p, up, down, err := state.ReadMessage(nil, answer[1:])
	if err != nil {
		return Keys{}, nil, ErrForged
	}
	if p[0] != Version {
		return Keys{}, nil, fmt.Errorf("link: answer of version %d: %w", p[0], ErrVersion)
	}
	if payload, err = unpadded(p[answerPrefix:]); err != nil {
		return Keys{}, nil, err
	}
	k, err = newKeys(p[1], LinkID(p[2:]), up.UnsafeKey(), down.UnsafeKey())
	return k, payload, err
}

// newState is Noise_NNpsk0_25519_ChaChaPoly_SHA256 at its start.
func newState(s Secret, initiator bool, random io.Reader) (*noise.HandshakeState, error) {
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:  noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256),
		Pattern:      noise.HandshakeNN,
		Prologue:     []byte(prologue),
		PresharedKey: s.key(),
		Initiator:    initiator,
		Random:       random,
	})
	if err != nil {
		return nil, fmt.Errorf("link: start of a handshake: %w", err)
	}
	return state, nil
}

// isHandshake tells from the length what cannot be a handshake's message.
func isHandshake(body []byte) bool {
	n := len(body) - 1 - noiseSize
	return n > 0 && n <= payloadMost && n%payloadBlock == 0
}

// padded is prefix, the payload's length, the payload, and zeros.
func padded(prefix, payload []byte) []byte {
	n := len(prefix) + 2 + len(payload)
	p := make([]byte, 0, (n+payloadBlock-1)/payloadBlock*payloadBlock)
	p = append(p, prefix...)
	p = binary.BigEndian.AppendUint16(p, uint16(len(payload)))
	return append(p, payload...)[:cap(p)]
}

// unpadded takes the payload out of what follows a prefix.
func unpadded(p []byte) ([]byte, error) {
	n := int(binary.BigEndian.Uint16(p))
	if n > len(p)-2 {
		return nil, ErrTruncated
	}
	return p[2 : 2+n], nil
}

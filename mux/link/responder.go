package link

import (
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/flynn/noise"
)

// A Client is one of those whom a node serves.
type Client struct {
	Name   string // for the log
	Secret Secret
}

// A Responder is the node's half of handshakes. It is safe for concurrent use.
type Responder struct {
	clients atomic.Pointer[[]Client]
	aes     bool
	random  io.Reader
}

// NewResponder returns a Responder that knows nobody.
func NewResponder() *Responder { return &Responder{aes: hasAES(), random: rand.Reader} }

// SetClients replaces the clients. Of two with the same secret the first one
// counts. It ends no link: those of a client who is gone are the caller's.
func (r *Responder) SetClients(clients []Client) {
	clients = slices.Clone(clients)
	r.clients.Store(&clients)
}

// Accept reads a hello. Nothing in it says whose it is, so each client's
// secret is tried, about 6 µs each. It fails with ErrKind; with ErrStranger,
// which a relay can bring about too; and with ErrVersion or ErrTruncated when
// a known client says what we do not understand.
func (r *Responder) Accept(body []byte) (*Accepted, error) {
	if KindOf(body) != KindHello {
		return nil, ErrKind
	}
	clients := r.clients.Load()
	if clients == nil || !isHandshake(body) {
		return nil, ErrStranger
	}
	for i := range *clients {
		c := &(*clients)[i]
		state, err := newState(c.Secret, false, r.random)
		if err != nil {
			return nil, err
		}
		if p, _, _, err := state.ReadMessage(nil, body[1:]); err == nil {
			return r.accepted(c.Name, state, p)
		}
	}
	return nil, ErrStranger
}

func (r *Responder) accepted(client string, state *noise.HandshakeState, p []byte) (*Accepted, error) {
	if p[0] != Version {
		return nil, fmt.Errorf("link: hello of version %d from client %q: %w", p[0], client, ErrVersion)
	}
	payload, err := unpadded(p[helloPrefix:])
	if err != nil {
		return nil, fmt.Errorf("link: hello from client %q: %w", client, err)
	}
	return &Accepted{
		Client: client, Payload: payload,
		cipher: chosen(r.aes && p[1]&offersAES != 0),
		write:  state.WriteMessage, random: r.random,
	}, nil
}

// An Accepted is a hello that a known client sealed. Whether it is new or was
// recorded by a relay and sent again shows only when a record of the link
// opens: only then has the client proved that it is there.
type Accepted struct {
	veil
	Client  string
	Payload []byte

	cipher byte
	write  func(out, payload []byte) ([]byte, *noise.CipherState, *noise.CipherState, error)
	random io.Reader
}

// Answer makes the answer, and the link that goes with it. It is called once.
// It fails with ErrTooLarge, or with ErrForged when the client's key is none
// that leads to a secret.
func (a *Accepted) Answer(payload []byte) (body []byte, k Keys, err error) {
	if len(payload) > MaxPayload {
		return nil, Keys{}, ErrTooLarge
	}
	prefix := [answerPrefix]byte{Version, a.cipher}
	id := prefix[2:]
	if _, err := io.ReadFull(a.random, id); err != nil {
		return nil, Keys{}, fmt.Errorf("link: link id: %w", err)
	}
	body, up, down, err := a.write([]byte{KindHelloAnswer}, padded(prefix[:], payload))
	if err != nil {
		return nil, Keys{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	k, err = newKeys(a.cipher, LinkID(id), up.UnsafeKey(), down.UnsafeKey())
	return body, k, err
}

package link

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const testText = "correct horse battery staple, and then some"

var testID = LinkID{'t', 'h', 'e', ' ', 'l', 'i', 'n', 'k', 1, 2, 3, 4, 5, 6, 7, 8}

// talks reports whether what one end seals the other one opens, both ways.
func talks(client, node *Keys) bool {
	for _, c := range []struct {
		d        Direction
		from, to *Keys
	}{{Up, client, node}, {Down, node, client}} {
		body, err := c.from.Sealer(c.d).Seal([]byte("0123456789hello"), 0, 7, 1, 42)
		if err != nil {
			return false
		}
		record, rest, err := NextRecord(body)
		if err != nil || len(rest) > 0 {
			return false
		}
		number, plain, err := c.to.Opener(c.d).Open(nil, record, 7, 1)
		if err != nil || number != 42 || string(plain) != "hello" {
			return false
		}
	}
	return client.ID() == node.ID()
}

func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		client, node bool
		want         byte
	}{{true, true, cipherAES}, {true, false, cipherChaCha}, {false, true, cipherChaCha}, {false, false, cipherChaCha}} {
		s := NewSecret(testText)
		r := NewResponder()
		r.aes = c.node
		r.SetClients([]Client{{"laptop", s}})
		h, body, err := hello(s, []byte("capabilities"), c.client, r.random)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Accept(body)
		if err != nil {
			t.Fatal(err)
		}
		if a.Client != "laptop" || string(a.Payload) != "capabilities" || a.cipher != c.want {
			t.Errorf("%v: accepted %q, %q, cipher %d", c, a.Client, a.Payload, a.cipher)
		}
		answer, node, err := a.Answer([]byte("boot epoch"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.Answer(nil); err == nil {
			t.Error("answered twice")
		}
		for range 2 { // again, and the same
			client, payload, err := h.Finish(answer)
			if err != nil {
				t.Fatal(err)
			}
			if string(payload) != "boot epoch" || !talks(&client, &node) {
				t.Errorf("%v: finished with %q", c, payload)
			}
		}
	}
}

// Each link has its own keys and its own name, also for the same hello.
func TestHandshakeFresh(t *testing.T) {
	s := NewSecret(testText)
	r := NewResponder()
	r.SetClients([]Client{{"laptop", s}})
	h, body, _ := Hello(s, nil)
	_, other, _ := Hello(s, nil)
	if bytes.Equal(body[1:33], other[1:33]) {
		t.Error("two hellos with one key")
	}
	var client, node [2]Keys
	for i := range node {
		a, err := r.Accept(body)
		if err != nil {
			t.Fatal(err)
		}
		var answer []byte
		if answer, node[i], err = a.Answer(nil); err != nil {
			t.Fatal(err)
		}
		if client[i], _, err = h.Finish(answer); err != nil {
			t.Fatal(err)
		}
	}
	if node[0].ID() == node[1].ID() {
		t.Error("two links with one name")
	}
	node[1].id = node[0].id
	client[1].id = node[0].id
	if talks(&client[0], &node[1]) || !talks(&client[0], &node[0]) || !talks(&client[1], &node[1]) {
		t.Error("two links with one key")
	}
}

func TestHandshakeLength(t *testing.T) {
	s := NewSecret(testText)
	r := NewResponder()
	r.SetClients([]Client{{"laptop", s}})
	for _, c := range []struct{ payload, up, down int }{
		{0, 1, 1}, {108, 1, 1}, {109, 1, 2}, {124, 1, 2}, {125, 2, 2}, {MaxPayload, 32, 32},
	} {
		payload := bytes.Repeat([]byte{7}, c.payload)
		h, body, err := Hello(s, payload)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Accept(body)
		if err != nil {
			t.Fatal(err)
		}
		answer, _, err := a.Answer(payload)
		if err != nil {
			t.Fatal(err)
		}
		if len(body) != 49+128*c.up || len(answer) != 49+128*c.down {
			t.Errorf("%d bytes of payload: %d up, %d down", c.payload, len(body), len(answer))
		}
		if _, got, err := h.Finish(answer); err != nil || !bytes.Equal(got, payload) || !bytes.Equal(a.Payload, payload) {
			t.Errorf("%d bytes of payload came as another: %v", c.payload, err)
		}
	}
	over := make([]byte, MaxPayload+1)
	if _, _, err := Hello(s, over); err != ErrTooLarge {
		t.Error(err)
	}
	_, body, _ := Hello(s, nil)
	a, _ := r.Accept(body)
	if _, _, err := a.Answer(over); err != ErrTooLarge {
		t.Error(err)
	}
}

// Whatever a relay does to a handshake, it fails there; and a true answer that
// comes after all the forged ones still counts.
func TestHandshakeForged(t *testing.T) {
	s := NewSecret(testText)
	r := NewResponder()
	r.SetClients([]Client{{"laptop", s}})
	h, body, _ := Hello(s, nil)
	a, err := r.Accept(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, node, err := a.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		bad := bytes.Clone(body)
		bad[i] ^= 1 << (i % 8)
		if a, err := r.Accept(bad); err != ErrStranger && !(i == 0 && err == ErrKind) {
			t.Errorf("byte %d of hello: %v, %v", i, a, err)
		}
		if _, err := r.Accept(body[:i]); err != ErrStranger && !(i == 0 && err == ErrKind) {
			t.Errorf("hello cut at %d: %v", i, err)
		}
	}
	for i := range answer {
		bad := bytes.Clone(answer)
		bad[i] ^= 1 << (i % 8)
		if _, _, err := h.Finish(bad); err != ErrForged && !(i == 0 && err == ErrKind) {
			t.Errorf("byte %d of the answer: %v", i, err)
		}
		if _, _, err := h.Finish(answer[:i]); err != ErrForged && !(i == 0 && err == ErrKind) {
			t.Errorf("answer cut at %d: %v", i, err)
		}
	}
	longer := append(bytes.Clone(answer), make([]byte, payloadBlock)...)
	if _, _, err := h.Finish(longer); err != ErrForged {
		t.Error("a longer answer:", err)
	}
	for _, point := range lowOrder {
		bad := bytes.Clone(answer)
		hex.Decode(bad[1:33], []byte(point))
		if _, _, err := h.Finish(bad); err != ErrForged {
			t.Errorf("an answer with the key %s: %v", point, err)
		}
	}
	bounced := bytes.Clone(body) // the client's own message, turned round
	bounced[0] = KindHelloAnswer
	if _, _, err := h.Finish(bounced); err != ErrForged {
		t.Error("its own hello as the answer:", err)
	}
	client, _, err := h.Finish(answer)
	if err != nil || !talks(&client, &node) {
		t.Error("the true answer after the forged ones:", err)
	}
}

// Points that every private key leads to the same secret with, zero (RFC 7748
// section 6.1).
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// A client that sends such a point knows the secret, so its hello is accepted;
// it gets no link.
func TestHandshakeLowOrder(t *testing.T) {
	s := NewSecret(testText)
	r := NewResponder()
	r.SetClients([]Client{{"laptop", s}})
	_, body, _ := Hello(s, nil)
	state, err := newState(s, false, r.random)
	if err != nil {
		t.Fatal(err)
	}
	p, _, _, err := state.ReadMessage(nil, body[1:])
	if err != nil {
		t.Fatal(err)
	}
	clear(state.PeerEphemeral())
	a, err := r.accepted("laptop", state, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Answer(nil); !errors.Is(err, ErrForged) {
		t.Error(err)
	}
}

func TestAcceptClients(t *testing.T) {
	r := NewResponder()
	var clients []Client
	for i := range 50 {
		clients = append(clients, Client{fmt.Sprint("client ", i), NewSecret(fmt.Sprint(testText, i))})
	}
	accept := func(s Secret) (string, error) {
		_, body, err := Hello(s, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.Accept(body)
		if err != nil {
			return "", err
		}
		return a.Client, nil
	}
	if _, err := accept(clients[0].Secret); err != ErrStranger {
		t.Error("nobody is known:", err)
	}
	r.SetClients(clients)
	for _, c := range clients {
		if name, err := accept(c.Secret); name != c.Name || err != nil {
			t.Errorf("%s is taken for %q, %v", c.Name, name, err)
		}
	}
	if _, err := accept(NewSecret(testText)); err != ErrStranger {
		t.Error("a secret that nobody has:", err)
	}
	revoked := clients[7].Secret
	clients[7] = Client{"new", NewSecret(testText + "new")} // the caller's slice, not the Responder's
	if name, err := accept(revoked); name != "client 7" || err != nil {
		t.Error("before SetClients:", name, err)
	}
	r.SetClients(clients)
	if _, err := accept(revoked); err != ErrStranger {
		t.Error("a client that is gone:", err)
	}
	if name, err := accept(clients[7].Secret); name != "new" || err != nil {
		t.Error("a client that is new:", name, err)
	}
}

// The node takes another secret's answer for what it is, whoever sent it.
func TestFinishOtherSecret(t *testing.T) {
	h, _, _ := Hello(NewSecret(testText), nil)
	other := NewSecret(testText + "!")
	_, body, _ := Hello(other, nil)
	r := NewResponder()
	r.SetClients([]Client{{"phone", other}})
	a, err := r.Accept(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, _, err := a.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Finish(answer); err != ErrForged {
		t.Error(err)
	}
}

// What the other end says inside the seal, and we do not understand.
func TestHandshakeVersion(t *testing.T) {
	s := NewSecret(testText)
	r := NewResponder()
	r.SetClients([]Client{{"laptop", s}})
	h, body, _ := Hello(s, nil)

	for what, c := range map[string]struct {
		at   int
		with []byte
		want error
	}{
		"version 0": {0, []byte{0}, ErrVersion}, "version 2": {0, []byte{Version + 1}, ErrVersion},
		"length": {helloPrefix, []byte{0, 125}, ErrTruncated}, "new bits": {1, []byte{0xff}, nil},
	} {
		p := padded([]byte{Version, 0}, nil)
		copy(p[c.at:], c.with)
		_, body, err := newHandshake(s, []byte(testText[:ephemeralSize]), p).begin()
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Accept(body)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), `"laptop"`) {
			t.Errorf("hello with another %s: %v", what, err)
		}
	}
	for what, c := range map[string]struct {
		at   int
		with []byte
		want error
	}{
		"version 0": {0, []byte{0}, ErrVersion}, "version 2": {0, []byte{Version + 1}, ErrVersion},
		"cipher 0": {1, []byte{0}, ErrVersion}, "cipher 3": {1, []byte{3}, ErrVersion},
		"length": {answerPrefix, []byte{0, 109}, ErrTruncated},
	} {
		a, err := r.Accept(body)
		if err != nil {
			t.Fatal(err)
		}
		p := padded(append([]byte{Version, cipherChaCha}, testID[:]...), nil)
		copy(p[c.at:], c.with)
		answer, _, _, err := a.write([]byte{KindHelloAnswer}, p)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.Finish(answer); !errors.Is(err, c.want) {
			t.Errorf("answer with another %s: %v", what, err)
		}
	}
}

// None of them shows what it holds, however it is printed and whatever it is
// put into.
func TestSecretsHide(t *testing.T) {
	s := NewSecret(testText)
	ephemeral := randomBytes(ephemeralSize)
	h := newHandshake(s, ephemeral, padded([]byte{Version, 0}, nil))
	r := NewResponder()
	r.SetClients([]Client{{"laptop", s}})
	_, body, _ := h.begin()
	a, err := r.Accept(body)
	if err != nil {
		t.Fatal(err)
	}
	k := keysOf(t, cipherAES)
	type around struct{ inside any }
	var leaks []string
	for _, secret := range [][]byte{s.psk(), ephemeral, []byte(testText), {1, 0, 0, 0, 0, 0}} { // the last is a key of k
		leaks = append(leaks, fmt.Sprintf("%x", secret[:6]), strings.Trim(fmt.Sprint(secret[:6]), "[]"))
	}
	for _, v := range []any{s, h, *h, a, *a, *k, k, k.Sealer(Up), k.Opener(Up), Client{"laptop", s}, r} {
		for _, v := range []any{v, &v, around{v}, []any{v}} {
			var logged bytes.Buffer
			slog.New(slog.NewJSONHandler(&logged, nil)).Info("", "v", v)
			text, _ := json.Marshal(v)
			out := fmt.Sprintf("%v %+v %#v %s %d %x %q", v, v, v, v, v, v, v) + logged.String() + string(text)
			for _, leak := range leaks {
				if strings.Contains(out, leak) {
					t.Errorf("%T prints as %s", v, out)
				}
			}
		}
	}
	if got := fmt.Sprint(s, h, k, k.Sealer(Up)); got != strings.Repeat(" "+hidden, 4)[1:] {
		t.Error(got)
	}
}

// No secret must never become a handshake without one.
func TestSecretUnmade(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a handshake without a secret")
		}
	}()
	_, _, _ = Hello(Secret{}, nil)
}

func FuzzAccept(f *testing.F) {
	s := NewSecret(testText)
	r := NewResponder()
	r.SetClients([]Client{{"laptop", s}, {"phone", NewSecret(testText + "!")}})
	// Not random: the workers are processes of their own.
	h := newHandshake(s, []byte(testText[:ephemeralSize]), padded([]byte{Version, 0}, nil))
	_, body, err := h.begin()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte{KindHello})
	f.Add([]byte{KindHelloAnswer, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		if a, err := r.Accept(in); err == nil && !bytes.Equal(in, body) {
			t.Errorf("accepted as %s: %x", a.Client, in)
		}
		if _, _, err := h.Finish(in); err == nil {
			t.Errorf("an answer: %x", in)
		}
	})
}

// A stranger costs the node this much, with 100 clients.
func BenchmarkAcceptStranger(b *testing.B) {
	r := NewResponder()
	var clients []Client
	for i := range 100 {
		clients = append(clients, Client{Secret: NewSecret(fmt.Sprint(testText, i))})
	}
	r.SetClients(clients)
	_, body, _ := Hello(NewSecret(testText), nil)
	for b.Loop() {
		if _, err := r.Accept(body); err != ErrStranger {
			b.Fatal(err)
		}
	}
}

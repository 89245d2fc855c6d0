package dash

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"relaymux/mux/secret"
)

// How relaymux status and top show that they know the token, where anybody may listen
// while no relaymux does. On one connection:
//
//	GET /api/proof?nonce=C                 C: the client's nonce
//	{"proof": MAC("server", C), "nonce": S}     S: the server's
//	GET /api/status, Authorization: Proof MAC("client", S)
//
// Nonces are 32 bytes of crypto/rand, and they and MACs are written in hex. MAC(role, N)
// is HMAC-SHA256, by the token, of the role, a zero byte and N as it is written. The
// client goes on only if the server's proof is right. S is good for one request, the next
// on its connection, which must not change anything. Whoever passes all of this on to the
// real server sees one answer of it, and never the token. A proof lets the token be
// guessed without asking again; the config wants one that is too long for that.
const (
	proofScheme = "Proof"
	nonceLen    = 32
	proofMost   = 1 << 10 // of an answer to /api/proof
)

// A proof is what GET /api/proof answers with.
type proof struct {
	Proof string `json:"proof"`
	Nonce string `json:"nonce"`
}

// nonceKey is where a request's context has the *string that is the server's nonce of
// its connection, "" for none. A connection has one request at a time (HTTP/1.1).
type nonceKey struct{}

func newNonce() string {
	b := make([]byte, nonceLen)
	_, _ = rand.Read(b) // it does not fail
	return hex.EncodeToString(b)
}

func mac(token secret.Text, role, nonce string) string {
	h := hmac.New(sha256.New, []byte(token.Reveal()))
	h.Write([]byte(role + "\x00" + nonce))
	return hex.EncodeToString(h.Sum(nil))
}

// serveProof proves that this server knows the token, and asks for the same.
func (s *Server) serveProof(w http.ResponseWriter, r *http.Request) {
	theirs, err := hex.DecodeString(r.FormValue("nonce"))
	mine, _ := r.Context().Value(nonceKey{}).(*string)
	switch {
	case !s.Token.IsSet():
		http.Error(w, "there is no token", http.StatusNotFound)
	case err != nil || len(theirs) != nonceLen || mine == nil:
		http.Error(w, "the nonce must be 32 bytes in hex", http.StatusBadRequest)
	default:
		*mine = newNonce()
		answer(w, proof{mac(s.Token, "server", hex.EncodeToString(theirs)), *mine})
	}
}

// proved reports whether r comes with the proof that its connection's nonce asks for.
// Whatever it comes with, the nonce is used up.
func (s *Server) proved(r *http.Request) bool {
	mine, _ := r.Context().Value(nonceKey{}).(*string)
	if mine == nil || *mine == "" {
		return false
	}
	nonce := *mine
	*mine = ""
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, proofScheme) && hmac.Equal([]byte(shown), []byte(mac(s.Token, "client", nonce)))
}

// prove has the server at host, over t's one connection, prove that it knows the token,
// and returns what to show it.
func (c *Client) prove(ctx context.Context, t http.RoundTripper, host string) (authorization string, err error) {
	nonce := newNonce()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/api/proof?nonce="+nonce, nil)
	if err != nil {
		return "", err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, proofMost))
	if err != nil {
		return "", fmt.Errorf("reading the proof from %s: %w", host, err)
	}
	var p proof
	if json.Unmarshal(body, &p) != nil || !hmac.Equal([]byte(p.Proof), []byte(mac(c.Token, "server", nonce))) {
		return "", fmt.Errorf("what listens at %s does not know the token of [admin] in this config, and was not shown it: "+
			"it is another program, or a relaymux with another config or version", host)
	}
	return proofScheme + " " + mac(c.Token, "client", p.Nonce), nil
}

package dash

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"relaymux/mux/secret"
)

const proofToken = "0123456789abcdefghijklmn"

// asker asks over one connection.
type asker struct {
	t    *testing.T
	http *http.Transport
	base string
}

func newAsker(t *testing.T, address string) *asker {
	a := &asker{t, &http.Transport{MaxConnsPerHost: 1}, "http://" + address}
	t.Cleanup(a.http.CloseIdleConnections)
	return a
}

func (a *asker) ask(method, path, authorization string, answer any) (status int) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.base+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := a.http.RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	defer io.Copy(io.Discard, resp.Body) // else the next request has a connection of its own
	if answer != nil {
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
			a.t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// nonce is the server's, which has proved that it knows the token.
func (a *asker) nonce() string {
	a.t.Helper()
	var p proof
	mine := newNonce()
	if status := a.ask("GET", "/api/proof?nonce="+mine, "", &p); status != 200 || p.Proof != mac(secret.New(proofToken), "server", mine) || len(p.Nonce) != 2*nonceLen {
		a.t.Fatalf("%d %+v", status, p)
	}
	return p.Nonce
}

// A proof is good once, on its connection, for reading.
func TestHostile48_Proof(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Token = secret.New(proofToken) })
	address := r.serve(t, "")
	const path, closing = "/api/status?flows=0", "/api/flows/7/close"
	shown := func(nonce string) string { return "Proof " + mac(secret.New(proofToken), "client", nonce) }
	a, other := newAsker(t, address), newAsker(t, address)
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	first := a.nonce()
	check("the proof", a.ask("GET", path, shown(first), nil), 200)
	check("once more", a.ask("GET", path, shown(first), nil), 401)
	check("for no nonce", a.ask("GET", path, shown(""), nil), 401)
	second := a.nonce()
	if first == second {
		t.Error("a nonce comes twice")
	}
	check("on another connection", other.ask("GET", path, shown(second), nil), 401)
	check("to change something", a.ask("POST", closing, shown(second), nil), 401)
	if r.ended.Load() != 0 {
		t.Error("a flow was ended")
	}
	third := a.nonce()
	check("the server's own proof", a.ask("GET", path, "Proof "+mac(secret.New(proofToken), "server", third), nil), 401)
	check("after another that was wrong", a.ask("GET", path, shown(third), nil), 401)
	check("of another token", a.ask("GET", path, "Proof "+mac(secret.New("another"), "client", a.nonce()), nil), 401)
	check("the token itself", a.ask("GET", path, "Bearer "+proofToken, nil), 200)
	for _, nonce := range []string{"", "00", "zz", newNonce() + "00"} {
		check("the nonce "+nonce, a.ask("GET", "/api/proof?nonce="+nonce, "", nil), 400)
	}
	open := newAsker(t, newRig(t, nil).serve(t, ""))
	check("without a token", open.ask("GET", "/api/proof?nonce="+newNonce(), "", nil), 404)
}

// Who has taken the port learns nothing, whatever it answers.
func TestHostile48_ClientShowsNoToken(t *testing.T) {
	other := newRig(t, func(c *Config) { c.Token = secret.New("another-token-than-the-client's") })
	for name, answer := range map[string]http.HandlerFunc{
		"nothing is found": http.NotFound,
		"it asks":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"a proof of nothing": func(w http.ResponseWriter, r *http.Request) {
			answer(w, proof{mac(secret.Text{}, "server", r.FormValue("nonce")), newNonce()})
		},
		"the client's nonce back": func(w http.ResponseWriter, r *http.Request) {
			answer(w, proof{r.FormValue("nonce"), r.FormValue("nonce")})
		},
		"a state": func(w http.ResponseWriter, _ *http.Request) { answer(w, Status{Version: "v1"}) },
		"another token": func(w http.ResponseWriter, r *http.Request) {
			other.serveProof(w, r.WithContext(context.WithValue(r.Context(), nonceKey{}, new(string))))
		},
	} {
		var mu sync.Mutex
		var seen []string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			seen = append(seen, r.Header.Get("Authorization")+" "+r.URL.Path)
			mu.Unlock()
			answer(w, r)
		}))
		_, err := (&Client{Listen: s.Listener.Addr().String(), Token: secret.New(proofToken)}).Status(t.Context())
		s.Close()
		if err == nil || !strings.Contains(err.Error(), "does not know the token") || len(seen) != 1 || seen[0] != " /api/proof" {
			t.Errorf("%s: %v, and it saw %q", name, err, seen)
		}
	}
}

// A connection that is lost after the server's proof is not made again: another might answer.
func TestHostile48_ClientKeepsTheConnection(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		w.Header().Set("Connection", "close")
		answer(w, proof{mac(secret.New(proofToken), "server", r.FormValue("nonce")), newNonce()})
	}))
	_, err := (&Client{Listen: s.Listener.Addr().String(), Token: secret.New(proofToken)}).Status(t.Context())
	s.Close()
	if err == nil || !strings.Contains(err.Error(), errLost.Error()) || len(asked) != 1 {
		t.Errorf("%v, after %q", err, asked)
	}
}

// The token is for the config's own address.
func TestClientAt(t *testing.T) {
	c := Client{Socket: "s", Listen: "0.0.0.0:1081", Token: secret.New(proofToken)}
	for address, want := range map[string]string{"127.0.0.1:1081": proofToken, "0.0.0.0:1081": proofToken, "127.0.0.1:1082": "", "192.0.2.1:1081": ""} {
		if got := c.At(address); got.Token.Reveal() != want || got.Listen != address || got.Socket != "" {
			t.Errorf("%s: %+v", address, got)
		}
	}
}

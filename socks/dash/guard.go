package dash

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ownKey is where a request's context says that it came by the Unix socket, which
// nobody but its owner can open.
type ownKey struct{}

func own(r *http.Request) bool { is, _ := r.Context().Value(ownKey{}).(bool); return is }

// guard lets in who means this server. A page of the web has three ways to it, all
// through the user's own browser: a name of its own that leads to 127.0.0.1 (DNS
// rebinding), which the Host header tells; a request from its own origin, which Origin
// and Sec-Fetch-Site tell; and a frame around ours, which the headers forbid. No answer
// ever carries Access-Control-Allow-Origin.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", s.page.policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case !own(r) && !s.knows(r):
			http.Error(w, "this is not the host that you mean", http.StatusMisdirectedRequest)
		case foreign(r):
			http.Error(w, "this is for its own page only", http.StatusForbidden)
		default:
			r.Body = http.MaxBytesReader(w, r.Body, 1<<10) // nothing here reads one
			next.ServeHTTP(w, r)
		}
	})
}

// knows reports whether r's Host is one of ours: an address or a name of loopback, the
// address that the connection has reached, or a name that the user has given. The port
// may be another, of an ssh -L say.
func (s *Server) knows(r *http.Request) bool {
	name := hostOf(r.Host)
	if name == "localhost" || slices.ContainsFunc(s.Hosts, func(h string) bool { return strings.EqualFold(h, name) }) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return ip.IsLoopback() || ip == reached(r)
}

// HostsOf are the names by which a page that listens there may be called: that of the
// address, if it is a name.
func HostsOf(address string) []string {
	host, _, err := net.SplitHostPort(address)
	if _, isIP := netip.ParseAddr(host); err != nil || host == "" || isIP == nil {
		return nil
	}
	return []string{host}
}

// hostOf is the name or the address of a Host header, "" if it is none.
func hostOf(host string) string {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// reached is the address at which r's connection came in.
func reached(r *http.Request) netip.Addr {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return netip.Addr{}
	}
	at, _ := netip.ParseAddrPort(local.String())
	return at.Addr().Unmap().WithZone("")
}

// foreign reports whether a browser says that another origin's page sent r. A link to
// the page itself may be followed from anywhere. Who is no browser says nothing.
func foreign(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if r.URL.Path == "/" && r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		return false
	}
	return site != "" && site != "same-origin" && site != "none" ||
		origin != "" && origin != "http://"+r.Host && origin != "https://"+r.Host
}

// private lets in who shows the token, or proves to know it, if one is asked for.
func (s *Server) private(next http.HandlerFunc) http.Handler {
	if !s.Token.IsSet() {
		return next
	}
	shown := s.writing(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.proved(r) {
			next(w, r)
			return
		}
		shown.ServeHTTP(w, r)
	})
}

// writing lets in who shows the token. It is compared by its digest, in a time that
// says nothing about it.
func (s *Server) writing(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		digest := sha256.Sum256([]byte(token))
		shown := strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(digest[:], s.write[:]) == 1
		if !shown && !own(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="relaymux"`)
			http.Error(w, "the token is missing or wrong: send Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		next(w, r)
	})
}

package dash

import (
	"encoding/json"
	"io"
	"net/http"
)

// RouteAnswer is what GET /api/route?to=HOST:PORT answers with.
type RouteAnswer struct {
	To      string `json:"to"`
	Verdict string `json:"verdict"` // tunnel, direct or block
	Rule    string `json:"rule"`    // what decides
}

// serveRoute says what becomes of a connection. It opens none, and looks up no name.
func (s *Server) serveRoute(w http.ResponseWriter, r *http.Request) {
	to := r.FormValue("to")
	if s.Route == nil {
		http.NotFound(w, r)
		return
	}
	verdict, rule, err := s.Route(to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = RouteAnswer{To: to, Verdict: verdict, Rule: rule}.Write(w)
}

// Write writes r as JSON, on one line.
func (r RouteAnswer) Write(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

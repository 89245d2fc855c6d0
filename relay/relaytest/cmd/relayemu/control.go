package main

import (
	"encoding/json"
	"net/http"

	"relaymux/relay/relaytest"
)

// controller lets a test change the weather while it runs:
//
//	GET  /stats?id=d1   relaytest.Stats as JSON, of all deployments without id
//	POST /knobs?id=d1   fields of relaytest.Knobs as JSON; others stay as they are
func controller(r *relaytest.Relay) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.Stats(req.URL.Query()["id"]...))
	})
	mux.HandleFunc("POST /knobs", func(w http.ResponseWriter, req *http.Request) {
		var text json.RawMessage
		if err := json.NewDecoder(req.Body).Decode(&text); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := json.Unmarshal(text, new(relaytest.Knobs)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Set(func(k *relaytest.Knobs) { _ = json.Unmarshal(text, k) }, req.URL.Query()["id"]...)
	})
	return mux
}

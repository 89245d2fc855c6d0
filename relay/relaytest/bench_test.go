package relaytest

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkRelay is the emulator's own ceiling on loopback, by bytes up plus
// down: 4 MiB each way, one exchange after another.
func BenchmarkRelay(b *testing.B) {
	big := `{"r":["` + strings.Repeat("x", 4<<20) + `"]}`
	serve := func(h http.Handler) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Handler: h}
		go func() { _ = s.Serve(l) }()
		b.Cleanup(func() { s.Close() })
		return l.Addr().String()
	}
	node := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", strconv.Itoa(len(big)))
		_, _ = io.WriteString(w, big)
	}))
	relay := NewRelay(RelayConfig{
		Deployments: []string{"one"}, AuthKey: "auth",
		Node: &url.URL{Scheme: "http", Host: node},
	})
	b.Cleanup(relay.Close)
	to := "http://" + serve(relay) + "/macros/s/one/exec"
	up := `{"k":"auth","t":"batch","ops":["` + strings.Repeat("x", 4<<20) + `"]}`
	client := &http.Client{Transport: &http.Transport{}}
	b.Cleanup(client.CloseIdleConnections)
	b.SetBytes(int64(len(up) + len(big)))
	for b.Loop() {
		resp, err := client.Post(to, "application/json", strings.NewReader(up))
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != int64(len(big)) {
			b.Fatal(n, err)
		}
		resp.Body.Close()
	}
}

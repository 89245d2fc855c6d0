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

// BenchmarkRelay is the emulator's own ceiling on loopback, of exchanges one
// after another, by bytes up plus down: as much each way.
func BenchmarkRelay(b *testing.B) {
	for _, kind := range []struct{ name, path string }{
		{"script", "/macros/s/one/exec"}, {"worker", "/w/two/tunnel/link"},
	} {
		for name, size := range map[string]int{"1KiB": 1 << 10, "4MiB": 4 << 20} {
			b.Run(kind.name+"/"+name, func(b *testing.B) { benchRelay(b, kind.path, size) })
		}
	}
}

func benchRelay(b *testing.B, path string, size int) {
	big := `{"r":["` + strings.Repeat("x", size) + `"]}`
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
		Deployments: []string{"one"}, Workers: []string{"two"}, AuthKey: "auth",
		Node: &url.URL{Scheme: "http", Host: node},
	})
	b.Cleanup(relay.Close)
	to := "http://" + serve(relay) + path
	up := `{"k":"auth","t":"batch","ops":["` + strings.Repeat("x", size) + `"]}`
	client := &http.Client{Transport: &http.Transport{}}
	b.Cleanup(client.CloseIdleConnections)
	b.SetBytes(int64(len(up) + len(big)))
	for b.Loop() {
		req, err := http.NewRequest(http.MethodPost, to, strings.NewReader(up))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer auth")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != int64(len(big)) {
			b.Fatal(n, err)
		}
		resp.Body.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
}

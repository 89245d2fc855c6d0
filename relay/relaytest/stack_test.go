package relaytest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// origin serves Origin on the Stack's network.
func (s *Stack) origin(t testing.TB, h http.Handler) string {
	t.Helper()
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: h}}
	srv.Start()
	t.Cleanup(srv.Close)
	return ln.Addr().String()
}

func fetch(t testing.TB, c *http.Client, url string) []byte {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer r.Body.Close()
	p, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 {
		t.Errorf("%s: %s, %v", url, r.Status, err)
	}
	return p
}

func hexSum(p []byte) string {
	h := sha256.Sum256(p)
	return hex.EncodeToString(h[:])
}

// The whole program, every way in and both ways across.
func TestStack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cfg  StackConfig
	}{
		{"straight", StackConfig{}},
		{"straight over TLS", StackConfig{TLS: true}},
		{"confirmed", StackConfig{Confirmed: true}},
		{"by scripts", StackConfig{Scripts: 2}},
	} {
		for _, overSOCKS := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, SOCKS %v", c.name, overSOCKS), func(t *testing.T) {
				s := NewStack(t, c.cfg)
				addr := s.origin(t, Origin())
				client := s.Client(overSOCKS)
				defer client.CloseIdleConnections()
				const size = 8 << 20
				if got := hexSum(fetch(t, client, fmt.Sprintf("http://%s/download/%d", addr, size))); got != DownloadSum(size) {
					t.Error("the download is not what was sent")
				}
				up := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
				r, err := client.Post("http://"+addr+"/upload", "application/octet-stream", bytes.NewReader(up))
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(r.Body)
				r.Body.Close()
				if !bytes.Contains(text, []byte(hexSum(up))) {
					t.Errorf("the upload is not what was sent: %s", text)
				}
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() { fetch(t, client, "http://"+addr+"/object/1/1000") })
				}
				wg.Wait()
			})
		}
	}
}

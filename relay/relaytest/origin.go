package relaytest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Origin is an HTTP server to send applications to:
//
//	GET  /page/{n}/{size}      a page that names n objects of size bytes
//	GET  /object/{i}/{size}    one of them, after ?delay= (a Go duration)
//	GET  /download/{size}      bytes whose sum is DownloadSum(size)
//	POST /upload               -> Received as JSON
//	GET  /upgrade              101, then echoes, as a WebSocket server would
func Origin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{n}/{size}", servePage)
	mux.HandleFunc("GET /object/{i}/{size}", serveObject)
	mux.HandleFunc("GET /download/{size}", serveDownload)
	mux.HandleFunc("POST /upload", serveUpload)
	mux.HandleFunc("GET /upgrade", serveUpgrade)
	return mux
}

func servePage(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, "n")
	if !ok {
		return
	}
	for i := range n {
		fmt.Fprintf(w, "<img src=\"/object/%d/%s\">\n", i, r.PathValue("size"))
	}
}

func serveObject(w http.ResponseWriter, r *http.Request) {
	i, ok := number(w, r, "i")
	if !ok {
		return
	}
	size, ok := number(w, r, "size")
	if !ok {
		return
	}
	delay, _ := time.ParseDuration(r.FormValue("delay")) // none or a wrong one is no delay
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	_, _ = io.Copy(w, noise(uint64(i), size))
}

func serveDownload(w http.ResponseWriter, r *http.Request) {
	size, ok := number(w, r, "size")
	if !ok {
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	_, _ = io.Copy(w, noise(0, size))
}

// ObjectSum and DownloadSum are the SHA-256, in hex, of what /object/{i}/{size}
// and /download/{size} answer.
func ObjectSum(i, size int64) string { return sum(noise(uint64(i), size)).SHA256 }
func DownloadSum(size int64) string  { return ObjectSum(0, size) }

// Received is what an upload came to.
type Received struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // in hex
}

func serveUpload(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(sum(r.Body))
}

// sum reads r to its end.
func sum(r io.Reader) Received {
	h := sha256.New()
	n, _ := io.Copy(h, r) // what was cut off shows in the count
	return Received{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}
}

// noise is size bytes that no two seeds share and that do not repeat, so that a
// piece in the wrong place changes the sum.
func noise(seed uint64, size int64) io.Reader {
	key := [32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}
	return io.LimitReader(rand.NewChaCha8(key), size)
}

func serveUpgrade(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "upgrade: HTTP/1.1 only", http.StatusHTTPVersionNotSupported)
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(conn, rw)
}

func number(w http.ResponseWriter, r *http.Request, name string) (int64, bool) {
	n, err := strconv.ParseInt(r.PathValue(name), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, name+": not a count", http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

// ServeTCP runs handle for every connection that ln accepts, closes the
// connection after it, and returns when ln is closed and all have ended.
func ServeTCP(ln net.Listener, handle func(net.Conn)) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer c.Close()
			handle(c)
		})
	}
}

// Echo sends back what comes, and the end after the end.
func Echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	closeWrite(c)
}

// AnswerAtEOF reads until the peer has closed its half, then answers with what
// it Received as a line of JSON.
func AnswerAtEOF(c net.Conn) {
	_ = json.NewEncoder(c).Encode(sum(c))
	closeWrite(c)
}

// Banner is what SpeakFirst begins with.
const Banner = "220 origin.test ready\r\n"

// SpeakFirst greets before it has read anything, as SMTP and SSH servers do,
// then echoes lines.
func SpeakFirst(c net.Conn) {
	if _, err := io.WriteString(c, Banner); err != nil {
		return
	}
	lines := bufio.NewReader(c)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, line); err != nil {
			return
		}
	}
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

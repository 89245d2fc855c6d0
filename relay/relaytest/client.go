package relaytest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
)

// Transport returns an http.Transport on the network.
func (n *Network) Transport() *http.Transport {
	return &http.Transport{DialContext: n.Dial, DisableCompression: true, MaxIdleConnsPerHost: 256}
}

// Connect opens a connection to host and port through the proxy's SOCKS5 side,
// names as names.
func (s *Stack) Connect(ctx context.Context, address string) (net.Conn, error) {
	conn, err := s.Dial(ctx, "tcp", s.Proxy)
	if err != nil {
		return nil, err
	}
	if err := socks5(conn, address); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// socks5 is the client's side of RFC 1928, without authentication.
func socks5(conn net.Conn, address string) error {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return err
	}
	request := []byte{5, 1, 0, 5, 1, 0}
	if ip, err := netip.ParseAddr(host); err != nil {
		request = append(request, 3, byte(len(host)))
		request = append(request, host...)
	} else if ip.Is4() {
		request = append(append(request, 1), ip.AsSlice()...)
	} else {
		request = append(append(request, 4), ip.AsSlice()...)
	}
	return socks5Ask(conn, append(request, byte(port>>8), byte(port)))
}

// socks5Ask sends a greeting and a request in one, and reads the replies.
func socks5Ask(conn net.Conn, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var reply [2 + 10]byte
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return fmt.Errorf("reading the SOCKS reply: %w", err)
	}
	if code := reply[3]; code != 0 {
		return SOCKSError(code)
	}
	return nil
}

// ConnectHTTP opens a connection to host and port through the proxy's HTTP side,
// by CONNECT.
func (s *Stack) ConnectHTTP(ctx context.Context, address string) (net.Conn, error) {
	conn, err := s.Dial(ctx, "tcp", s.Proxy)
	if err != nil {
		return nil, err
	}
	if err := connectHTTP(conn, address); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connectHTTP is the client's side of RFC 9110 section 9.3.6. It reads byte by
// byte, for what follows the answer's head belongs to the caller.
func connectHTTP(conn net.Conn, address string) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", address); err != nil {
		return err
	}
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return fmt.Errorf("reading the answer to CONNECT: %w", err)
		}
		head = append(head, b[0])
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("parsing the answer to CONNECT: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return StatusError(resp.StatusCode)
	}
	return nil
}

// A StatusError is an HTTP status other than 200 in answer to CONNECT.
type StatusError int

func (e StatusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// A SOCKSError is a reply code other than success.
type SOCKSError byte

func (e SOCKSError) Error() string { return fmt.Sprintf("SOCKS reply %d", byte(e)) }

// Client returns an HTTP client that uses the proxy, over SOCKS5 or as an HTTP
// proxy.
func (s *Stack) Client(overSOCKS bool) *http.Client {
	t := &http.Transport{DialContext: s.Dial, DisableCompression: true, MaxIdleConnsPerHost: 256}
	if overSOCKS {
		t.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) { return s.Connect(ctx, addr) }
	} else {
		t.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: s.Proxy})
	}
	return &http.Client{Transport: t}
}

package socks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/armon/go-socks5"
)

// The SOCKS5 numbers of RFC 1928, sections 3 to 5, and RFC 1929, section 2,
// that the library keeps to itself.
const (
	socks5Version = 5
	noMethod      = 0xff
	loginVersion  = 1
	loginFailed   = 1

	atypIPv4 = 1
	atypName = 3
	atypIPv6 = 4
)

// socks5 reads a SOCKS5 handshake. The library is the codec: it parses the
// login and the request. What it does not check or does not tell apart is
// looked at before it sees it.
func (s *Server) socks5(c *client, br *bufio.Reader) (*Request, error) {
	user, err := s.socks5Login(c, br)
	if err != nil {
		return nil, err
	}
	head, err := br.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("reading the SOCKS5 request: %w", err)
	}
	if err := checkSOCKS5(head); err != nil {
		return nil, err
	}
	req, err := socks5.NewRequest(br)
	if err != nil {
		return nil, fmt.Errorf("reading the SOCKS5 request: %w", err)
	}
	switch {
	case user == "" && s.guard.needed(): // since the login
		return nil, &refusal{socks5Reply(socks5Denied), errors.New("users are configured since the client connected")}
	case req.Command == socks5.ConnectCommand:
		return s.socks5Connect(c, user, req.DestAddr)
	case req.Command == socks5.AssociateCommand:
		return nil, s.socks5Associate(c, user)
	default:
		return nil, &refusal{socks5Reply(socks5NoCommand), fmt.Errorf("SOCKS5 command %d", req.Command)}
	}
}

// socks5Login agrees on the one method that the configuration asks for, and
// returns who has logged in.
func (s *Server) socks5Login(c *client, br *bufio.Reader) (user string, err error) {
	methods, err := readMethods(br)
	if err != nil {
		return "", fmt.Errorf("reading the SOCKS5 methods: %w", err)
	}
	method := s.authenticator(c)
	if !bytes.Contains(methods, []byte{method.GetCode()}) {
		return "", &refusal{[]byte{socks5Version, noMethod}, fmt.Errorf("SOCKS5 methods %v without %d", methods, method.GetCode())}
	}
	login, err := method.Authenticate(br, c.Conn)
	switch {
	case errors.Is(err, socks5.UserAuthFailed):
		return "", &refusal{nil, errWrongLogin} // the library has told the client
	case err != nil:
		return "", &refusal{[]byte{loginVersion, loginFailed}, fmt.Errorf("reading the SOCKS5 login: %w", err)}
	}
	return login.Payload["Username"], nil
}

// authenticator returns the one method on offer: with users there is no way in
// without a password, whatever the client would like better.
func (s *Server) authenticator(c *client) socks5.Authenticator {
	if !s.guard.neededOf(c) {
		return socks5.NoAuthAuthenticator{}
	}
	return socks5.UserPassAuthenticator{Credentials: door{s.guard, c.source.Addr()}}
}

// readMethods reads a greeting, version included.
func readMethods(br *bufio.Reader) ([]byte, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(br, head); err != nil {
		return nil, err
	}
	methods := make([]byte, head[1])
	_, err := io.ReadFull(br, methods)
	return methods, err
}

// checkSOCKS5 refuses a request by its first four bytes, VER CMD RSV ATYP, of
// which the library reports VER and ATYP by errors that nobody can tell apart.
func checkSOCKS5(head []byte) error {
	ver, atyp := head[0], head[3]
	switch {
	case ver != socks5Version:
		return &refusal{socks5Reply(socks5Failure), fmt.Errorf("SOCKS5 request of version %d", ver)}
	case atyp != atypIPv4 && atyp != atypName && atyp != atypIPv6:
		return &refusal{socks5Reply(socks5NoAddress), fmt.Errorf("SOCKS5 address type %d", atyp)}
	}
	return nil
}

// socks5Connect is the CONNECT command.
func (s *Server) socks5Connect(c *client, user string, dest *socks5.AddrSpec) (*Request, error) {
	host, port := dest.FQDN, uint16(dest.Port)
	if dest.IP != nil {
		host = dest.IP.String()
	}
	host, err := s.destination(host, port, c.local)
	if err != nil {
		return nil, &refusal{refused(SOCKS5, reasonOf(err), ""), err}
	}
	return &Request{Host: host, Port: port, Source: c.source, User: user, Protocol: SOCKS5, client: c}, nil
}

// socks5Associate is the UDP ASSOCIATE command. From where the application will
// send, which is what the request's address is about, most of them do not know
// and fill in anything (RFC 1928, section 6, lets them): it is not looked at.
// What they send behind the request has no meaning. The association gets a
// goroutine of its own, whose stack has not grown by the handshake.
func (s *Server) socks5Associate(c *client, user string) error {
	if s.cfg.UDP == nil {
		return &refusal{socks5Reply(socks5NoCommand), errors.New("UDP ASSOCIATE is not offered")}
	}
	if !c.gate.grant(c) {
		c.Close()
		return nil
	}
	go s.associate(c, user)
	return nil
}

package dash

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"rsc.io/qr"
)

// Setup is what GET /api/setup answers with: how programs find the proxy. There is no
// name and no password in it, not even where the proxy asks for one: what is copied
// ends up in histories, and a QR code on a photograph.
type Setup struct {
	Password bool    `json:"password"` // the proxy asks for one
	Near     []Hint  `json:"near"`     // for this machine, or wherever the page is seen from
	Far      []Hint  `json:"far"`      // for others in the network; empty: the proxy listens on this machine only
	Link     *QRCode `json:"link,omitempty"`
}

// Hint is one way to set up something.
type Hint struct {
	Code string `json:"code"`          // its title is the text "setup." and this
	Host string `json:"host"`          // of the proxy,
	Port string `json:"port"`          // of the proxy
	Text string `json:"text"`          // to be copied; empty: the text "setup.CODE.text" says how, with host and port
	Open string `json:"open,omitzero"` // a link that sets it up, tg: and no other
}

// QRCode is a link for a telephone.
type QRCode struct {
	Text string   `json:"text"`
	Rows []string `json:"rows"` // 1 is dark; a margin of 4 is to be left around them (ISO/IEC 18004)
}

// serveSetup answers with what a program needs to know.
func (s *Server) serveSetup(w http.ResponseWriter, r *http.Request) {
	answer(w, s.setup(reached(r), "http://"+r.Host, interfaceAddrs()))
}

// setup is that for who has reached the page at here, as origin, on a machine with
// these addresses.
func (s *Server) setup(here netip.Addr, origin string, own []netip.Addr) Setup {
	proxy := s.proxy.Load()
	out := Setup{Password: proxy.Password, Near: []Hint{}, Far: []Hint{}}
	if len(proxy.Listen) == 0 {
		return out
	}
	at := near(proxy.Listen, here, own)[0]
	address, host, port := at.String(), at.Addr().String(), strconv.Itoa(int(at.Port()))
	say := func(code, text string) Hint { return Hint{Code: code, Host: host, Port: port, Text: text} }
	scheme, firefox := "socks5", "firefox"
	if proxy.Password { // browsers know none of SOCKS
		scheme, firefox = "http", "firefox_password"
	}
	out.Near = append(out.Near,
		say("curl", "curl -x socks5h://"+address+" https://example.com/"),
		say("git", "git config --global http.proxy socks5h://"+address),
		say("shell", "export ALL_PROXY=socks5h://"+address+" http_proxy=http://"+address+" https_proxy=http://"+address),
		say("chromium", "chromium --proxy-server="+scheme+"://"+address),
		say(firefox, ""),
		say("pac", origin+"/proxy.pac"),
		telegram(at))
	if far, ok := beyond(proxy.Listen, here, own); ok {
		link := telegram(far)
		out.Far = append(out.Far, Hint{Code: "phone", Host: far.Addr().String(), Port: strconv.Itoa(int(far.Port()))}, link)
		out.Link = qrCode(link.Open)
	}
	return out
}

// beyond is where other machines find one of proxies, if it listens for them: where the page
// was reached if that is such an address, else at the machine's first that is private,
// for a proxy that faces the internet is not to be spread by a picture.
func beyond(proxies []netip.AddrPort, here netip.Addr, own []netip.Addr) (netip.AddrPort, bool) {
	for _, p := range proxies {
		switch at := p.Addr(); {
		case at.IsLoopback():
		case !at.IsUnspecified():
			return p, true
		case here.IsValid() && !here.IsLoopback() && (here.Is4() || at.Is6()):
			return netip.AddrPortFrom(here, p.Port()), true
		default:
			i := slices.IndexFunc(own, func(a netip.Addr) bool { return a.IsPrivate() && (a.Is4() || at.Is6()) })
			if i >= 0 {
				return netip.AddrPortFrom(own[i], p.Port()), true
			}
		}
	}
	return netip.AddrPort{}, false
}

// interfaceAddrs are the addresses of this machine, those of IPv4 first.
func interfaceAddrs() (list []netip.Addr) {
	all, _ := net.InterfaceAddrs() // without them no picture is drawn
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p.Addr().Unmap())
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// telegram is the link by which Telegram takes over a proxy (core.telegram.org/api/links#proxy-links).
func telegram(at netip.AddrPort) Hint {
	host, port := at.Addr().String(), strconv.Itoa(int(at.Port()))
	link := "tg://socks?" + url.Values{"server": {host}, "port": {port}}.Encode()
	return Hint{Code: "telegram", Host: host, Port: port, Text: link, Open: link}
}

// qrCode is the picture of a link, nil if it is too long for one.
func qrCode(text string) *QRCode {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil
	}
	out := &QRCode{Text: text}
	for y := range code.Size {
		row := make([]byte, code.Size)
		for x := range row {
			row[x] = '0'
			if code.Black(x, y) {
				row[x] = '1'
			}
		}
		out.Rows = append(out.Rows, string(row))
	}
	return out
}

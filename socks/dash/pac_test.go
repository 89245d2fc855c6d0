package dash

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dop251/goja"

	"relaymux/mux/secret"
)

func TestPAC(t *testing.T) {
	for _, c := range []struct {
		proxies  []netip.AddrPort
		password bool
		want     []string
	}{
		{addrPorts("127.0.0.1:1080"), false, []string{"return \"SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080\";"}},
		{addrPorts("[::1]:1080"), false, []string{"SOCKS5 [::1]:1080; PROXY [::1]:1080"}},
		{addrPorts("0.0.0.0:1080"), false, []string{"SOCKS5 127.0.0.1:1080;"}}, // where the browser has found the page
		{addrPorts("127.0.0.1:1080"), true, []string{"return \"PROXY 127.0.0.1:1080\";"}},
		{addrPorts("127.0.0.1:1080", "127.0.0.1:1090"), false, []string{
			`["SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080", "SOCKS5 127.0.0.1:1090; PROXY 127.0.0.1:1090"]`, "host.charCodeAt", "concat"}},
		{addrPorts("127.0.0.1:1080", "192.0.2.1:1080"), false, []string{"return \"SOCKS5 127.0.0.1:1080; PROXY 127.0.0.1:1080\";"}}, // the other is for the network
		{addrPorts("192.0.2.1:1080"), false, []string{"return \"SOCKS5 192.0.2.1:1080;"}},
	} {
		r := newRig(t, func(g *Config) { g.Token = secret.New("0123456789abcdef") })
		r.SetProxy(c.proxies, c.password)
		w := r.do("GET", "/proxy.pac")
		if kind := w.Header().Get("Content-Type"); kind != "application/x-ns-proxy-autoconfig" {
			t.Errorf("it is of type %q", kind)
		}
		if h := w.Header().Get("Cache-Control"); h != "no-cache" {
			t.Errorf("Cache-Control: %s", h)
		}
		text := w.Body.String()
		if strings.Contains(strings.ToUpper(text), "DIRECT") || !strings.HasPrefix(text, "function FindProxyForURL(url, host) {") {
			t.Errorf("%v: %s", c.proxies, text)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%v: no %s in %s", c.proxies, want, text)
			}
		}
	}
}

// A browser is a PAC file as browsers see it: an interpreter with the functions that
// Firefox gives such files, of which those that look up names fail the test.
type browser struct {
	t   *testing.T
	run *goja.Runtime
	fn  goja.Callable
}

func newBrowser(t *testing.T, text string) *browser {
	t.Helper()
	b := &browser{t: t, run: goja.New()}
	for _, name := range []string{"dnsResolve", "isResolvable", "isInNet", "myIpAddress", "alert"} {
		b.run.Set(name, func(goja.FunctionCall) goja.Value {
			t.Errorf("the PAC file calls %s", name)
			return goja.Undefined()
		})
	}
	for _, name := range []string{"isPlainHostName", "dnsDomainIs", "localHostOrDomainIs", "dnsDomainLevels", "shExpMatch", "weekdayRange", "dateRange", "timeRange"} {
		b.run.Set(name, func(goja.FunctionCall) goja.Value { return b.run.ToValue(false) })
	}
	if _, err := b.run.RunScript("proxy.pac", text); err != nil {
		t.Fatal(err)
	}
	var ok bool
	if b.fn, ok = goja.AssertFunction(b.run.Get("FindProxyForURL")); !ok {
		t.Fatal("there is no FindProxyForURL")
	}
	return b
}

// find is what a browser makes of the answer for a URL on host: the proxies in their
// order, each with its kind. A part that no browser understands is a failure.
func (b *browser) find(host string) (ways []string) {
	b.t.Helper()
	v, err := b.fn(goja.Undefined(), b.run.ToValue("https://"+host+"/"), b.run.ToValue(host))
	if err != nil {
		b.t.Fatal(err)
	}
	for part := range strings.SplitSeq(v.String(), ";") {
		kind, at, _ := strings.Cut(strings.TrimSpace(part), " ")
		if _, err := netip.ParseAddrPort(at); err != nil || !slices.Contains([]string{"PROXY", "SOCKS5"}, kind) {
			b.t.Fatalf("%s: %q has the part %q", host, v, part)
		}
		ways = append(ways, kind+" "+at)
	}
	return ways
}

// TestPACEvaluated: of several ports a host has one of its own, and the others when that
// is not there; hosts spread over all of them.
func TestPACEvaluated(t *testing.T) {
	const hosts = 4000
	for _, ports := range []int{1, 2, 4, 7} {
		var list []netip.AddrPort
		for i := range ports {
			list = append(list, netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", 1080+i)))
		}
		r := newRig(t, nil)
		r.SetProxy(list, false)
		b := newBrowser(t, r.do("GET", "/proxy.pac").Body.String())
		first := map[string]int{}
		for i := range hosts {
			host := fmt.Sprintf("cdn%d.site-%d.example", i%50, i)
			ways := b.find(host)
			if again := b.find(host); !slices.Equal(ways, again) || len(ways) != 2*ports {
				t.Fatalf("%s: %v, then %v", host, ways, again)
			}
			first[ways[0]]++
			if slices.Sort(ways); len(slices.Compact(ways)) != 2*ports {
				t.Fatalf("%s: a way is there twice: %v", host, ways)
			}
		}
		for way, n := range first {
			if fair := hosts / ports; len(first) != ports || n < fair*8/10 || n > fair*12/10 {
				t.Errorf("%d ports: %d of %d hosts go first by %s, which is one of %d", ports, n, hosts, way, len(first))
			}
		}
		for _, odd := range []string{"", "a", "::1", "xn--nxasmq6b", "münchen.example", strings.Repeat("x", 5000)} {
			if ways := b.find(odd); len(ways) != 2*ports {
				t.Errorf("host %.20q: %v", odd, ways)
			}
		}
	}
}

package relaytest

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"relaymux/socks/dash"
)

// The admin page shows what the whole program does, and ends a flow of it.
func TestDash(t *testing.T) {
	virtual(t, StackConfig{Link: true, Scripts: 1, RTT: time.Second}, func(t *testing.T, s *Stack) {
		d, err := dash.New(dash.Config{
			Look: s.Mux.Snapshot, EndFlow: s.Mux.EndFlow, Stats: s.Stats, UDP: s.UDP, QUIC: s.QUIC, Version: "v1"}, dash.Proxy{})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := s.Listen()
		if err != nil {
			t.Fatal(err)
		}
		go d.Serve(ln)
		defer d.Close()
		c := &http.Client{Transport: &http.Transport{DialContext: s.Dial}}
		defer c.CloseIdleConnections()
		url := "http://" + ln.Addr().String()

		f := hello(t, s)
		st, err := dash.Parse(fetch(t, c, url+"/api/status"))
		if err != nil || len(st.Flows) != 1 || st.Flows[0].Down != 5 || st.Link.State != dash.LinkUp || st.Totals.FlowsOpen != 1 {
			t.Fatalf("%v, %+v", err, st)
		}
		name := st.Deployments[0].Name
		if text := string(fetch(t, c, url+"/metrics")); !strings.Contains(text, fmt.Sprintf(`relaymux_exchanges_total{deployment=%q,outcome="ok"} `, name)) {
			t.Errorf("no exchanges of %s in\n%s", name, text)
		}
		token := regexp.MustCompile(`"token":"(\w+)"`).FindSubmatch(fetch(t, c, url+"/"))
		req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("%s/api/flows/%d/close", url, st.Flows[0].ID), nil)
		if err != nil || token == nil {
			t.Fatal(err, token)
		}
		req.Header.Set("Authorization", "Bearer "+string(token[1]))
		resp, err := c.Do(req)
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		if _, err := f.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("the ended flow reads %v", err)
		}
		settle(time.Minute)
		s.wantNoStreams(t)
		if left := s.Mux.Snapshot(10); len(left.Flows) != 0 {
			t.Errorf("left: %+v", left.Flows)
		}
	})
}

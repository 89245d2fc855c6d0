package dash

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(metrics(s.status())))
}

// An exposition is text in the exposition format of Prometheus, version 0.0.4.
type exposition struct{ strings.Builder }

// family begins a metric.
func (e *exposition) family(name, kind, help string) {
	e.WriteString("# HELP relaymux_" + name + " " + help + "\n# TYPE relaymux_" + name + " " + kind + "\n")
}

// add appends a sample of the metric; of is names of labels and their values, in turn.
func (e *exposition) add(name string, value float64, of ...string) {
	e.WriteString("relaymux_" + name)
	var pairs []string
	for pair := range slices.Chunk(of, 2) {
		pairs = append(pairs, pair[0]+`="`+escape(pair[1])+`"`)
	}
	if len(pairs) > 0 {
		e.WriteString("{" + strings.Join(pairs, ",") + "}")
	}
	e.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

// one is a metric of a single sample.
func (e *exposition) one(name, kind, help string, value float64) {
	e.family(name, kind, help)
	e.add(name, value)
}

// escape makes s fit for a label's value.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

const (
	counter = "counter"
	gauge   = "gauge"
)

// metrics is st for Prometheus.
func metrics(st Status) string {
	var e exposition
	e.family("info", gauge, "The program; always 1.")
	e.add("info", 1, "version", st.Version)
	e.one("uptime_seconds", gauge, "Time since the start.", st.Uptime)
	e.totals(st)
	e.clients(st.Clients)
	e.deployments(st.Deployments)
	e.accounts(st.Accounts)
	e.one("link_up", gauge, "Whether the native link is made and works.", number(st.Link.State == LinkUp))
	e.one("link_pipe_up", gauge, "Whether one exchange that streams carries it.", number(st.Link.Pipe != ""))
	e.datagrams(st)
	return e.String()
}

func (e *exposition) totals(st Status) {
	t := st.Totals
	e.family("bytes_total", counter, "Payload from (up) and to (down) applications.")
	e.add("bytes_total", float64(t.Up-t.UpUDP), "direction", "up", "network", "tcp")
	e.add("bytes_total", float64(t.Down-t.DownUDP), "direction", "down", "network", "tcp")
	e.add("bytes_total", float64(t.UpUDP), "direction", "up", "network", "udp")
	e.add("bytes_total", float64(t.DownUDP), "direction", "down", "network", "udp")
	e.family("flows_total", counter, "Flows since the start.")
	e.add("flows_total", float64(t.Flows), "network", "tcp")
	e.add("flows_total", float64(t.UDPFlows), "network", "udp")
	e.family("flows_open", gauge, "Flows that are open.")
	e.add("flows_open", float64(t.FlowsOpen), "network", "tcp")
	e.add("flows_open", float64(t.UDPFlowsOpen), "network", "udp")
	e.one("flows_direct_total", counter, "Flows connected from this machine, by the rules of [route].", float64(t.Direct))
	e.one("flows_direct_open", gauge, "Of these, those that are open.", float64(t.DirectOpen))
	e.one("flows_blocked_total", counter, "Flows refused by the rules of [route].", float64(t.Blocked))
	e.one("requests_total", counter, "Exchanges begun.", float64(t.Exchanges))
	e.one("polls_total", counter, "Of these, those that only asked for data.", float64(t.Polls))
	e.one("ops_total", counter, "Ops sent in exchanges.", float64(t.Ops))
	e.one("resent_total", counter, "Ops, by the link bytes, sent again.", float64(t.Resent))
	e.one("hedged_total", counter, "Exchanges whose content went another way too.", float64(t.Hedged))
	e.one("suspected_total", counter, "Exchanges given up for being silent.", float64(t.Suspected))
	e.one("forged_records_total", counter, "Records that were not the node's.", float64(t.Forged))
}

func (e *exposition) clients(c Clients) {
	e.one("clients_open", gauge, "Connections to the proxy's ports that count against limits.connections.", float64(c.Open))
	e.family("clients_refused_total", counter, "Connections turned away, and logins.")
	e.add("clients_refused_total", float64(c.Garbage), "reason", "garbage")
	e.add("clients_refused_total", float64(c.Refused), "reason", "limit")
	e.add("clients_refused_total", float64(c.Short), "reason", "descriptors")
	e.add("clients_refused_total", float64(c.BadLogins), "reason", "login")
	e.one("panics_total", counter, "Faults of the program that ended one connection.", float64(c.Panics))
}

func (e *exposition) deployments(list []Deployment) {
	e.family("exchanges_total", counter, "Exchanges that ended, by outcome.")
	for _, d := range list {
		for _, outcome := range sortedKeys(d.Exchanges) {
			e.add("exchanges_total", float64(d.Exchanges[outcome]), "deployment", d.Name, "outcome", outcome)
		}
	}
	e.family("exchange_bytes_total", counter, "Bytes of bodies.")
	for _, d := range list {
		e.add("exchange_bytes_total", float64(d.Up), "deployment", d.Name, "direction", "up")
		e.add("exchange_bytes_total", float64(d.Down), "deployment", d.Name, "direction", "down")
	}
	e.family("exchanges_in_flight", gauge, "Exchanges under way.")
	for _, d := range list {
		e.add("exchanges_in_flight", float64(d.InFlight), "deployment", d.Name)
	}
	e.family("exchange_recent_seconds", gauge, "What exchanges took of late.")
	for _, d := range list {
		if d.Latency != nil {
			e.add("exchange_recent_seconds", d.Latency.P50/1000, "deployment", d.Name, "quantile", "0.5")
			e.add("exchange_recent_seconds", d.Latency.P95/1000, "deployment", d.Name, "quantile", "0.95")
		}
	}
	e.family("http3_losses_total", counter, "Times that TCP has taken over from HTTP/3.")
	for _, d := range list {
		e.add("http3_losses_total", float64(d.Losses), "deployment", d.Name)
	}
	e.family("deployment_resting", gauge, "Whether the deployment rests after failures.")
	for _, d := range list {
		e.add("deployment_resting", number(d.Rest != nil), "deployment", d.Name)
	}
}

func (e *exposition) accounts(list []Account) {
	for _, m := range []struct {
		name, help string
		value      func(Account) (float64, bool)
	}{
		{"slots", "Exchanges that may be in flight now.", func(a Account) (float64, bool) { return float64(a.Slots), true }},
		{"slots_in_use", "Exchanges in flight.", func(a Account) (float64, bool) { return float64(a.InFlight), true }},
		{"quota_used", "Exchanges of this window.", func(a Account) (float64, bool) { return float64(a.Used), true }},
		{"quota_limit", "Exchanges that a window has.", func(a Account) (float64, bool) { return float64(a.Quota), a.Quota > 0 }},
		{"quota_left", "Exchanges that are left.", func(a Account) (float64, bool) { return float64(a.Left), a.Quota > 0 }},
		{"quota_reset_timestamp_seconds", "When the window ends.", func(a Account) (float64, bool) { return unix(a.Resets), !a.Resets.IsZero() }},
	} {
		e.family(m.name, gauge, m.help)
		for _, a := range list {
			if v, ok := m.value(a); ok {
				e.add(m.name, v, "account", a.Name)
			}
		}
	}
}

func (e *exposition) datagrams(st Status) {
	sockets := []struct {
		name string
		Datagrams
	}{{"proxy", st.UDP}, {"quic", st.QUIC}}
	e.family("datagrams_total", counter, "Datagrams that sockets carried.")
	for _, s := range sockets {
		e.add("datagrams_total", float64(s.Sent.Datagrams), "direction", "sent", "socket", s.name)
		e.add("datagrams_total", float64(s.Received.Datagrams), "direction", "received", "socket", s.name)
	}
	e.family("datagram_trains_total", counter, "System calls' worth that they went in.")
	for _, s := range sockets {
		e.add("datagram_trains_total", float64(s.Sent.Trains), "direction", "sent", "socket", s.name)
		e.add("datagram_trains_total", float64(s.Received.Trains), "direction", "received", "socket", s.name)
	}
	e.family("datagram_fallbacks_total", counter, "Trains that went out as single datagrams.")
	for _, s := range sockets {
		for _, why := range sortedKeys(s.Fallbacks) {
			e.add("datagram_fallbacks_total", float64(s.Fallbacks[why]), "reason", why, "socket", s.name)
		}
	}
	e.family("datagrams_dropped_total", counter, "Datagrams that were not carried.")
	for _, s := range sockets {
		for _, why := range sortedKeys(s.Dropped) {
			e.add("datagrams_dropped_total", float64(s.Dropped[why]), "reason", why, "socket", s.name)
		}
	}
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func sortedKeys(m map[string]uint64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

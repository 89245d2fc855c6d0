package dash

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// codes are all that advise can say.
func codes() []string {
	return []string{"all_rest", "no_relay", "no_node", "no_entry", "no_quota", "silent", "queued", "slow_target", "slow_pipe", "no_udp", "no_link", "link_failing", "rests", "slow_relay", "uneven_relay", "losses", "over_tcp", "quota_exhausted", "quota_fast",
		"quota_low", "slots_shared", "slots_full", "dropped_queue", "dropped_stale", "dropped_overflow", "dropped_relay", "dropped_quic", "forged",
		"config_refused", "state_unkept"}
}

func TestAdvice(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rest := &Rest{Until: now.Add(90 * time.Second), Why: "quota"}
	table, err := newTexts(english)
	if err != nil {
		t.Fatal(err)
	}
	rests := func(why string) Deployment {
		return Deployment{Name: "d1", Rest: &Rest{Until: now.Add(90 * time.Second), Why: why}}
	}
	exchanges := func(n int, x Exchange) []Exchange { return slices.Repeat([]Exchange{x}, n) }
	said := map[string]bool{}
	for _, c := range []struct {
		name string
		st   Status
		want string // the codes, in order
		text string // of the first
	}{
		{"nothing wrong", Status{
			Deployments: []Deployment{{Latency: &Latency{64, 400, 700}, Exchanges: map[string]uint64{"ok": 1000, "timeout": 10}}},
			Accounts:    []Account{{Slots: 30, MostSlots: 30, InFlight: 5, Quota: 20000, Used: 100, Left: 19900, Lasts: 86400, Resets: now.Add(time.Hour)}},
		}, "", ""},
		{"a config with a mistake", Status{Refused: "relaymux.toml:3: batch.max_ops: must be at least 1"}, "config_refused",
			"The config was read again, and what was in effect before still is: relaymux.toml:3: batch.max_ops: must be at least 1"},
		{"a full disk", Status{Unkept: "no space left on device"}, "state_unkept", "The counts of exchanges are not written: no space left on device"},
		{"one of two rests", Status{Deployments: []Deployment{{Name: "d1", Rest: rest, Said: "a page"}, {}}}, "rests",
			"d1 rests for another 1 min after a failure (quota used up): a page"},
		{"all rest, each for something else", Status{Deployments: []Deployment{rests("timeout"), rests("decoy")}}, "all_rest rests rests", "No deployment works."},
		{"no relay answers", Status{Deployments: []Deployment{rests("unreachable"), rests("timeout")}}, "no_relay rests rests", "No relay answers:"},
		{"the node is away", Status{Deployments: []Deployment{rests("server_error"), rests("rejected")}}, "no_node rests rests", "The relays answer, but the node"},
		{"pages", Status{Deployments: []Deployment{rests("decoy"), rests("sign_in")}}, "no_entry rests rests", "The relays send pages"},
		{"no quota at all", Status{Deployments: []Deployment{rests("quota")}}, "no_quota rests", "The quota of every relay is used up."},
		{"silence", Status{Totals: Totals{Exchanges: 100, Suspected: 5}}, "silent", "5 of 100 exchanges stayed silent (5 in all)"},
		{"hardly any silence", Status{Totals: Totals{Exchanges: 100, Suspected: 4}}, "", ""},
		{"little, and silence", Status{Totals: Totals{Exchanges: 19, Suspected: 19}}, "", ""},
		{"a queue", Status{Exchanges: exchanges(5, Exchange{Kind: "data", Queued: 500})}, "queued", "Half of what programs say waits 500 ms here"},
		{"a short queue", Status{Exchanges: exchanges(5, Exchange{Kind: "data", Queued: 499})}, "", ""},
		{"a queue of few", Status{Exchanges: exchanges(4, Exchange{Kind: "data", Queued: 5000})}, "", ""},
		{"a queue of polls", Status{Exchanges: exchanges(5, Exchange{Kind: "poll", Queued: 5000})}, "", ""},
		{"slow targets", Status{Exchanges: exchanges(5, Exchange{Wire: "link", Reached: 1, Dial: 1000})}, "slow_target", "Half of the sites take 1000 ms to answer the node."},
		{"one of them slow", Status{Exchanges: append(exchanges(5, Exchange{Wire: "link", Reached: 1, Dial: 999}), Exchange{Wire: "link", Reached: 1, Dial: 9999})}, "", ""},
		{"a slow stream", Status{Link: Link{Pipe: "d1", Lag: 1000}}, "slow_pipe", "The stream by d1 lags: only after 1000 ms"},
		{"a stream", Status{Link: Link{Pipe: "d1", Lag: 999}}, "", ""},
		{"UDP is blocked", Status{Deployments: []Deployment{{Name: "d1", HTTP: "2", NoUDP: true, State: DeploymentWorks}}}, "no_udp", "UDP does not get through to d1"},
		{"UDP is blocked of the stream", Status{Link: Link{Pipe: "d1"}, Deployments: []Deployment{{Name: "d1", NoUDP: true, Pipe: true, State: DeploymentStreams}, {Name: "d2", NoUDP: true, State: DeploymentWorks}}},
			"no_udp", "UDP does not get through to d1"},
		{"UDP is blocked where nothing goes", Status{Link: Link{Pipe: "d1"}, Deployments: []Deployment{{Name: "d1", Pipe: true, State: DeploymentStreams}, {Name: "d2", NoUDP: true, State: DeploymentWorks}}}, "", ""},
		{"UDP is blocked of what fails", Status{Deployments: []Deployment{{Name: "d1", NoUDP: true, State: DeploymentFailing, Exchanges: map[string]uint64{"ok": 1}}, {NoUDP: true, State: DeploymentUntried}}}, "", ""},
		{"no link", Status{Link: Link{State: LinkMaking}}, "no_link", "The link to the node is not made yet."},
		{"link fails", Status{Link: Link{State: LinkFailing, Since: now.Add(-75 * time.Second)}}, "link_failing", "No exchange has worked for 1 min."},
		{"slow", Status{Deployments: []Deployment{{Name: "d1", Latency: &Latency{64, 1500, 1600}}}}, "slow_relay", "d1 takes 1500 ms"},
		{"slow, but it streams", Status{Deployments: []Deployment{{Latency: &Latency{64, 1500, 9600}, Pipe: true}}}, "", ""},
		{"uneven", Status{Deployments: []Deployment{{Name: "d1", Latency: &Latency{64, 300, 900}}}}, "uneven_relay", "d1 is uneven: half of its exchanges take 300 ms"},
		{"uneven, but fast", Status{Deployments: []Deployment{{Latency: &Latency{64, 10, 400}}}}, "", ""},
		{"losses", Status{Deployments: []Deployment{{Name: "d1", Exchanges: map[string]uint64{"ok": 90, "timeout": 4, "broken": 6, "cancelled": 900}}}},
			"losses", "d1 has failed 10 of 100 exchanges, most of them: answer cut off."},
		{"too few to say", Status{Deployments: []Deployment{{Exchanges: map[string]uint64{"ok": 10, "timeout": 9}}}}, "", ""},
		{"by TCP again", Status{Deployments: []Deployment{{Name: "d1", HTTP: "2", Losses: 3}, {HTTP: "3", Losses: 1}}}, "over_tcp", "TCP carries d1 for now"},
		{"quota is used up", Status{Accounts: []Account{{Name: "a", Exhausted: true, Quota: 1, Resets: now.Add(2 * time.Hour)}}}, "quota_exhausted",
			"The quota of a is used up; it is back in 2 h 0 min."},
		{"quota goes fast", Status{Accounts: []Account{{Name: "a", Quota: 20000, Used: 19000, Left: 1000, Lasts: 600, Resets: now.Add(time.Hour)}}}, "quota_fast",
			"At this rate the quota of a lasts 10 min (1000 exchanges are left)"},
		{"quota is low", Status{Accounts: []Account{{Name: "a", Quota: 20000, Used: 19000, Left: 1000, Lasts: 7200, Resets: now.Add(time.Hour)}}}, "quota_low", "1000 exchanges are left"},
		{"others use the account", Status{Accounts: []Account{{Name: "a", Slots: 12, MostSlots: 30}}}, "slots_shared", "a has 12 of 30 slots"},
		{"slots", Status{Accounts: []Account{{Name: "a", Slots: 30, MostSlots: 30, InFlight: 30}}}, "slots_full", "All 30 slots of a"},
		{"one slot", Status{Accounts: []Account{{Name: "a", Slots: 1, MostSlots: 1, InFlight: 1}}}, "", ""},
		{"datagrams", Status{UDP: Datagrams{Dropped: map[string]uint64{"queue": 20, "stale": 20, "overflow": 20, "relay": 20, "quic": 1, "denied": 99}},
			Totals: Totals{Forged: 2}}, "dropped_queue dropped_stale dropped_overflow dropped_relay dropped_quic forged", "20 datagrams were dropped because"},
	} {
		c.st.Time = now
		var got []string
		for _, a := range advise(&c.st) {
			got = append(got, a.Code)
			said[a.Code] = true
			if text := table.fill("advice."+a.Code, a.Args); strings.ContainsAny(text, "{}") {
				t.Errorf("%s: a place is not filled: %s", c.name, text)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, not %s", c.name, got, c.want)
		}
		if list := advise(&c.st); len(list) > 0 && !strings.HasPrefix(table.fill("advice."+list[0].Code, list[0].Args), c.text) {
			t.Errorf("%s: %s", c.name, table.fill("advice."+list[0].Code, list[0].Args))
		}
	}
	for code := range said {
		if !slices.Contains(codes(), code) {
			t.Errorf("%s is not in the list", code)
		}
	}
	if len(said) != len(codes()) {
		t.Errorf("%d of %d are tested", len(said), len(codes()))
	}
}

package daemon

import (
	"log/slog"
	"reflect"
	"time"

	"relaymux/config"
	"relaymux/mux"
	"relaymux/mux/stats"
	"relaymux/relay/account"
	"relaymux/relay/fronted"
)

// A fleet is the deployments of a config, ready for the mux.
type fleet struct {
	cfg      *config.Config
	ds       []mux.Deployment // in the order of cfg's
	fronts   []fronted.Config // of each
	accounts map[string]*mux.Account
}

// newFleet makes the deployments of cfg. Those that old, which may be nil, has alike,
// and their accounts, are the same ones.
func newFleet(cfg *config.Config, old *fleet, log *slog.Logger, quic *stats.UDP) (*fleet, error) {
	f := &fleet{cfg: cfg, accounts: map[string]*mux.Account{}}
	for _, acc := range cfg.Accounts {
		if f.accounts[acc.Name] = old.account(cfg, acc); f.accounts[acc.Name] == nil {
			f.accounts[acc.Name] = mux.NewAccount(acc.Slots, accountLabel(cfg, acc.Name))
		}
	}
	for i := range cfg.Deployments {
		d := &cfg.Deployments[i]
		reached, err := front(d)
		if err != nil {
			f.close(old)
			return nil, err
		}
		f.fronts = append(f.fronts, reached)
		if same, ok := old.deployment(f, d, reached); ok {
			f.ds = append(f.ds, same)
			continue
		}
		t, err := transport(d, reached, &cfg.UDP, log, quic)
		if err != nil {
			f.close(old)
			return nil, err
		}
		f.ds = append(f.ds, mux.Deployment{
			Name: d.Name, Key: d.Key, Script: t.Script(), Link: cfg.Links(d), Limit: time.Duration(d.ExchangeLimit),
			Transport: t, Account: f.accounts[d.Account], Stats: old.counters(d.Name),
		})
	}
	return f, nil
}

// account is the one that f has for what cfg calls acc, nil if there is none like it.
func (f *fleet) account(cfg *config.Config, acc config.Account) *mux.Account {
	if f == nil {
		return nil
	}
	for _, own := range f.cfg.Accounts {
		if own.Name == acc.Name && own.Slots == acc.Slots && accountLabel(f.cfg, own.Name) == accountLabel(cfg, acc.Name) {
			return f.accounts[own.Name]
		}
	}
	return nil
}

// deployment is the one that f has for d, if what it is made of is the same in next.
func (f *fleet) deployment(next *fleet, d *config.Deployment, reached fronted.Config) (same mux.Deployment, ok bool) {
	if f == nil {
		return same, false
	}
	for i := range f.cfg.Deployments {
		own := &f.cfg.Deployments[i]
		if reflect.DeepEqual(own, d) && f.fronts[i].RootCAs.Equal(reached.RootCAs) && f.ds[i].Account == next.accounts[d.Account] {
			return f.ds[i], true
		}
	}
	return same, false
}

// counters are those of the deployment of that name, which go on counting whatever
// becomes of its address; new ones if there is none.
func (f *fleet) counters(name string) *stats.Deployment {
	if f != nil {
		for i := range f.ds {
			if f.ds[i].Name == name {
				return f.ds[i].Stats
			}
		}
	}
	return new(stats.Deployment)
}

// close ends the transports that are not old's too.
func (f *fleet) close(old *fleet) {
	for _, d := range f.ds {
		if old == nil || !old.has(d) {
			d.Transport.Close()
		}
	}
}

func (f *fleet) has(d mux.Deployment) bool {
	for i := range f.ds {
		if f.ds[i].Transport == d.Transport {
			return true
		}
	}
	return false
}

// count has the accounts count what they use of their quotas.
func (f *fleet) count(l *account.Ledger) {
	for _, acc := range f.cfg.Accounts {
		quota := l.Account(acc.Name, acc.Slots, acc.DailyQuota) // the same one again, with new numbers
		if a := f.accounts[acc.Name]; a.Quota == nil {
			a.Quota = quota
		}
	}
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"relaymux/config"
	"relaymux/mux"
	"relaymux/mux/stats"
	"relaymux/relay/account"
	"relaymux/relay/tune"
)

// A Tuner measures the deployments of a config.
type Tuner struct {
	config tune.Config
	ledger *account.Ledger
}

// NewTuner prepares to measure what cfg describes by so many exchanges at most. They
// count in the same ledger as the proxy's, which must not run meanwhile.
func NewTuner(cfg *config.Config, in Process, budget int) (*Tuner, error) {
	if len(cfg.Deployments) == 0 {
		return nil, errors.New("the config has no [[deployment]]: there is nothing to measure")
	}
	dir := config.StateDir(cfg, in.Environ)
	if err := config.CheckStateDir(dir); err != nil {
		return nil, err
	}
	ds, err := Deployments(cfg, in.Log, new(stats.UDP))
	if err != nil {
		return nil, err
	}
	t := &Tuner{ledger: account.Open(dir, slog.New(notTaken{in.Log.Handler()}))}
	if err := t.ledger.Kept(); errors.Is(err, account.ErrTaken) {
		t.Close()
		return nil, fmt.Errorf("the proxy is running: stop it first, for it would not count these exchanges, and both would have to share the relays (its state is in %s)", dir)
	}
	c := muxConfig(cfg)
	c.Log = slog.New(slog.DiscardHandler) // what goes wrong is measured, not told
	t.config = tune.Config{Mux: c, Budget: budget}
	for i := range ds {
		t.config.Deployments = append(t.config.Deployments, tune.Deployment{Deployment: ds[i], Account: cfg.Deployments[i].Account})
	}
	for _, acc := range cfg.Accounts {
		t.config.Accounts = append(t.config.Accounts, tune.Account{
			Name: acc.Name, Slots: acc.Slots, Daily: acc.DailyQuota, Label: accountLabel(cfg, acc.Name),
			Quota: t.ledger.Account(acc.Name, acc.Slots, acc.DailyQuota),
		})
	}
	if err := t.afford(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// notTaken leaves out that another program has the ledger, which NewTuner tells.
type notTaken struct{ slog.Handler }

func (h notTaken) Handle(ctx context.Context, r slog.Record) error {
	taken := false
	r.Attrs(func(a slog.Attr) bool {
		err, _ := a.Value.Any().(error)
		taken = errors.Is(err, account.ErrTaken)
		return !taken
	})
	if taken {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// afford reports whether the accounts have the budget left.
func (t *Tuner) afford() error {
	for _, a := range t.config.Accounts {
		left := a.Quota.Left(time.Now())
		if left >= t.config.Budget {
			continue
		}
		until := ""
		if resets := a.Quota.Resets(time.Now()); !resets.IsZero() {
			until = " until " + resets.Format(time.DateTime)
		}
		return fmt.Errorf("account %q has %d exchanges left%s: a --budget of %d is too much", a.Name, left, until, t.config.Budget)
	}
	return nil
}

// Statement is what is going to happen, for the user to know before.
func (t *Tuner) Statement() string { return t.config.Statement() }

// Run measures until all is known, or ctx ends. progress hears of each exchange.
func (t *Tuner) Run(ctx context.Context, progress func(used int)) (*tune.Report, error) {
	t.config.Progress = progress
	return tune.Run(ctx, t.config)
}

// Close keeps the counts.
func (t *Tuner) Close() {
	for _, d := range t.config.Deployments {
		d.Transport.Close()
	}
	t.ledger.Close()
}

// muxConfig is what the config says of a mux.
func muxConfig(cfg *config.Config) mux.Config {
	return mux.Config{
		MaxOps: cfg.Batch.MaxOps, MaxBytes: int(cfg.Batch.MaxBytes),
		CoalesceStep: time.Duration(cfg.Batch.CoalesceStep), CoalesceMax: time.Duration(cfg.Batch.CoalesceMax),
		Memory: int64(cfg.Limits.Memory), Stale: time.Duration(cfg.UDP.Stale), Link: linkOf(cfg),
	}
}

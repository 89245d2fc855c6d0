package daemon

import (
	"context"

	"relaymux/config"
	"relaymux/mux/link"
	"relaymux/mux/stats"
	"relaymux/relay/doctor"
	"relaymux/relay/exit"
	"relaymux/relay/h3"
)

// Examine tries each leg of a client's deployments, and what a node stands on; of a
// config that has only one of them, that. environ is as os.Environ returns it; target,
// unless it is empty, is the host:port that the node is to connect to.
func Examine(ctx context.Context, cfg *config.Config, environ []string, target string) (*doctor.Report, error) {
	report := new(doctor.Report)
	if len(cfg.Deployments) > 0 {
		c := doctor.Client{Target: target, QUIC: h3.Config{UDP: trains(&cfg.UDP, new(stats.UDP))}}
		if cfg.Link.Secret.IsSet() {
			c.Secret = link.NewSecret(cfg.Link.Secret.Reveal())
		}
		for i := range cfg.Deployments {
			d := &cfg.Deployments[i]
			f, err := front(d)
			if err != nil {
				return nil, err
			}
			c.Deployments = append(c.Deployments, doctor.Deployment{Config: f, Link: cfg.Links(d)})
		}
		report = c.Examine(ctx)
	}
	if len(cfg.Node.Clients) > 0 || cfg.Node.Key.IsSet() {
		acmeFile := ""
		if dir := config.StateDir(cfg, environ); dir != "" {
			acmeFile = exit.ACMEFile(dir, cfg.Node.ACME.Directory)
		}
		report.Findings = append(report.Findings, doctor.Node(ctx, cfg, acmeFile).Findings...)
	}
	return report, nil
}

// IsTarget reports whether s is a target that Examine takes: host:port.
func IsTarget(s string) bool { return doctor.IsTarget(s) }

package daemon

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/bits"
	"net/url"
	"os"
	"time"

	"relaymux/config"
	"relaymux/mux"
	"relaymux/mux/gso"
	"relaymux/mux/link"
	"relaymux/mux/stats"
	"relaymux/relay"
	"relaymux/relay/fronted"
	"relaymux/relay/h3"
)

// Deployments turns the config's deployments into what the mux uses. quic counts the
// datagrams of HTTP/3. What is wrong with one is an error that names its key.
func Deployments(cfg *config.Config, log *slog.Logger, quic *stats.UDP) ([]mux.Deployment, error) {
	f, err := newFleet(cfg, nil, log, quic)
	if err != nil {
		return nil, err
	}
	return f.ds, nil
}

// accountLabel is what an account is called at the node: what other programs that
// share it will call it too. That is its name if the user gave it one, else the
// url of its only deployment.
func accountLabel(cfg *config.Config, name string) string {
	for i := range cfg.Deployments {
		if d := &cfg.Deployments[i]; d.Account == name && d.Name == name {
			return d.URL
		}
	}
	return name
}

// linkOf is what the link is made with; nil if there is no secret.
func linkOf(cfg *config.Config) *mux.Link {
	if !cfg.Link.Secret.IsSet() {
		return nil
	}
	return &mux.Link{
		Secret:       link.NewSecret(cfg.Link.Secret.Reveal()),
		HedgePercent: cfg.Link.HedgePercent,
		Grace:        time.Duration(cfg.Link.Grace),
	}
}

// A carrier is a transport of any kind: over TCP, over QUIC, or over what gets through.
type carrier interface {
	relay.Transport
	Script() bool
}

// front is how a deployment is reached.
func front(d *config.Deployment) (fronted.Config, error) {
	u, err := url.Parse(d.URL)
	if err != nil {
		return fronted.Config{}, fmt.Errorf("deployment %q: %w", d.Name, err)
	}
	var roots *x509.CertPool
	if d.CAFile != "" {
		pem, err := os.ReadFile(d.CAFile)
		if err != nil {
			return fronted.Config{}, fmt.Errorf("deployment %q: reading ca_file: %w", d.Name, err)
		}
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
	}
	return fronted.Config{
		Name: d.Name, URL: u, Key: d.Key, ConnectTo: d.ConnectTo, ServerName: d.ServerName, RootCAs: roots,
		PinSHA256: d.PinSHA256, InsecureSkipVerify: d.InsecureSkipVerify, HTTP: d.HTTP,
		ExchangeLimit: time.Duration(d.ExchangeLimit),
	}, nil
}

func transport(d *config.Deployment, c fronted.Config, udp *config.UDP, log *slog.Logger, quic *stats.UDP) (carrier, error) {
	q := h3.Config{Config: c, UDP: trains(udp, quic), Early: bits.UintSize == 64, Yield: gso.BBR(), Log: log}
	switch {
	case d.HTTP == "3":
		return h3.New(q)
	case d.HTTP == "auto" && c.URL.Scheme == "https" && !c.Script():
		return h3.NewAuto(q)
	}
	return fronted.New(c)
}

// trains is how sockets take and send datagrams.
func trains(c *config.UDP, s *stats.UDP) gso.Options {
	return gso.Options{GSO: c.GSO != config.Off, GRO: c.GRO != config.Off, Stats: s}
}

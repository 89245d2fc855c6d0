package config

import (
	"crypto/rand"
	"fmt"
	"net/url"
)

// completeClient gives every deployment a name and an account, and each account
// its quota. Without a file, there is one deployment, which leads to an embedded
// node.
func (l *loader) completeClient() {
	if l.src.Role == Run && l.src.Path == "" {
		d := Deployment{Name: "embedded", Key: NewSecret(rand.Text())}
		setDefaults(&d)
		l.cfg.Embedded = true
		l.cfg.Deployments = []Deployment{d}
	}
	l.cfg.nameDeployments()
	l.addAccounts()
	l.dropQuotas()
}

// embedNode puts the embedded node on loopback, with the key and the secret of
// its only client. What the environment says of [node] and of secrets is meant
// for another one, but for limits and egress.
func (c *Config) embedNode() {
	n := &c.Node
	c.Link.Secret, c.Link.SecretFile = NewSecret(rand.Text()+rand.Text()), "" // 26 characters each, and minSecret is 32
	n.Clients = []Client{{Name: "embedded", Secret: c.Link.Secret}}
	n.Listen, n.SelfSigned = "127.0.0.1:0", true
	n.TLSCert, n.TLSKey, n.Plain, n.TLS = "", "", false, Auto
	n.Key, n.KeyFile = c.Deployments[0].Key, ""
	n.Egress.AllowPrivate = true // it is the user's own machine
}

// nameDeployments names those that have no name: for the host of their url,
// or, where that name is taken, d1, d2, ... for their place.
func (c *Config) nameDeployments() {
	taken := make(map[string]bool)
	for _, d := range c.Deployments {
		taken[d.Name] = true
	}
	for i := range c.Deployments {
		d := &c.Deployments[i]
		if d.Name != "" {
			continue
		}
		d.Name = hostOf(d.URL)
		for n := i + 1; d.Name == "" || taken[d.Name]; n++ {
			d.Name = fmt.Sprintf("d%d", n)
		}
		taken[d.Name] = true
	}
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// addAccounts gives an account of its own to each deployment that names none.
func (l *loader) addAccounts() {
	l.ownAccounts = len(l.cfg.Accounts)
	declared := accountNames(l.cfg.Accounts)
	for i := range l.cfg.Deployments {
		d := &l.cfg.Deployments[i]
		if d.Account != "" {
			continue
		}
		if declared[d.Name] {
			l.fail(join(entry("deployment", i), "account"),
				"deployment %q has an account of its own, but [[account]] %q exists too; write account = %q, or rename one",
				d.Name, d.Name, d.Name)
		}
		a := Account{Name: d.Name}
		setDefaults(&a)
		d.Account = a.Name
		l.cfg.Accounts = append(l.cfg.Accounts, a)
	}
}

// dropQuotas leaves no quota to accounts without a script, unless the file sets
// one: the default is that of scripts.
func (l *loader) dropQuotas() {
	hasScript := make(map[string]bool)
	for i := range l.cfg.Deployments {
		d := &l.cfg.Deployments[i]
		hasScript[d.Account] = hasScript[d.Account] || d.Script()
	}
	for i := range l.cfg.Accounts {
		a := &l.cfg.Accounts[i]
		if !hasScript[a.Name] && !l.isSet(join(entry("account", i), "daily_quota")) {
			a.DailyQuota = 0
		}
	}
}

func accountNames(accounts []Account) map[string]bool {
	names := make(map[string]bool)
	for _, a := range accounts {
		names[a.Name] = true
	}
	return names
}

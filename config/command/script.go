package command

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"relaymux/config"
	"relaymux/relay/script"
)

// scriptCommand prints a relay for its user to put up.
func (a *app) scriptCommand() *cobra.Command {
	var configs []string
	var v script.Values
	var deployment string
	c := &cobra.Command{Use: "script KIND", Short: "print a relay with addresses and keys filled in: " + strings.Join(script.Kinds(), ", "),
		Long: "Prints the text of a relay, with what the config has for it: keys and paths the proxy's, the node's its key and what\n" +
			"kind of certificate it has. What is left to fill in is told on stderr.",
		Example: "  relaymux script apps-script --node https://node.example:8443\n" +
			"  relaymux script nginx --node https://node.example:8443 --path /hidden\n" +
			"  relaymux script worker --node https://node.example --config relaymux.toml --config node.toml",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return script.Kinds(), cobra.ShellCompDirectiveNoFileComp
		},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(script.Kinds(), args[0]) {
				return usage("script: name one of %s", strings.Join(script.Kinds(), ", "))
			}
			return nil
		}}
	c.Flags().StringArrayVar(&configs, "config", nil, "the config `file` of the proxy or the node, or both, each after a --config; default as of other commands")
	c.Flags().StringVar(&v.Node, "node", "", "the node's `URL`, as the relay reaches it")
	c.Flags().StringVar(&deployment, "deployment", "", "`name` of the [[deployment]] that the relay is for; default the first that fits")
	c.Flags().Func("key-file", "`file` that holds the deployment's key; default the config's key", secretFile(&v.Key))
	c.Flags().Func("node-key-file", "`file` that holds the node's key; default the config's key", secretFile(&v.NodeKey))
	c.Flags().StringVar(&v.Path, "path", "", "the `path` that a Worker, nginx or Caddy is below; default that of the deployment's url")
	c.RunE = func(_ *cobra.Command, args []string) error {
		a.runs = true
		kind := args[0]
		notes, err := a.fromConfigs(kind, deployment, configs, &v)
		if err != nil {
			return err
		}
		text, err := script.Fill(kind, v)
		if err != nil {
			return usage("script: %w", err)
		}
		for _, note := range append(notes, nameNotes(kind, v.Node)...) {
			fmt.Fprintln(a.err, note)
		}
		for _, left := range script.Missing(text) {
			fmt.Fprintf(a.err, "left for you to fill in: %s\n", left)
		}
		fmt.Fprint(a.out, text)
		return nil
	}
	return c
}

// secretFile is a flag that names a secret's file: argv is everybody's to read.
func secretFile(to *config.Secret) func(string) error {
	return func(file string) error {
		s, err := config.ReadSecret(file)
		*to = s
		return err
	}
}

// fromConfigs takes what v lacks from the configs, if there are any: each may be the
// node's, the proxy's or both. The notes are for the user.
func (a *app) fromConfigs(kind, deployment string, paths []string, v *script.Values) (notes []string, err error) {
	if len(paths) == 0 {
		paths = []string{""} // where it usually is
	}
	var ds []config.Deployment
	some, hasNode := false, false
	for _, path := range paths {
		if path = config.Find(path, a.environ); path == "" {
			continue
		}
		cfg, err := a.read(config.Source{Role: config.Any, Path: path, Environ: a.environ, Elsewhere: true})
		if err != nil {
			return nil, err
		}
		some = true
		ds = append(ds, cfg.Deployments...)
		v.NodeKey = cmp.Or(v.NodeKey, cfg.Node.Key)
		if cfg.Node.Key.IsSet() || len(cfg.Node.Clients) > 0 { // one of both every node has
			hasNode = true
			notes = append(notes, trust(kind, path, &cfg.Node, v)...)
		}
	}
	if some && !hasNode && kind != script.Worker {
		notes = append(notes, "check: the node's config says whether its certificate is self-signed, which the relay has to know; add --config node.toml")
	}
	d := choose(kind, deployment, ds)
	switch {
	case d != nil:
		v.Key = cmp.Or(v.Key, d.Key)
		v.Path = cmp.Or(v.Path, pathOf(d))
	case deployment != "" && some:
		return nil, usage("the config has no [[deployment]] with the name %q", deployment)
	}
	return notes, nil
}

// choose is the deployment of that name or, without one, the first for a relay of that
// kind; nil if there is none. nginx and Caddy are below a path, a node is not.
func choose(kind, name string, ds []config.Deployment) *config.Deployment {
	fits := func(d config.Deployment) bool {
		if name != "" {
			return d.Name == name
		}
		return d.Script() == (kind == script.AppsScript) && (kind != script.Worker || d.Key.IsSet())
	}
	i := slices.IndexFunc(ds, func(d config.Deployment) bool { return fits(d) && pathOf(&d) != "" })
	if i < 0 {
		i = slices.IndexFunc(ds, fits)
	}
	if i < 0 {
		return nil
	}
	return &ds[i]
}

// pathOf is the path of d's url, "" if it has none.
func pathOf(d *config.Deployment) string {
	u, err := url.Parse(d.URL)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}

// trust has the relay take the certificate of the node n, whose config is at path, and
// says what its user has to do for that.
func trust(kind, path string, n *config.ExitNode, v *script.Values) []string {
	own, err := n.OwnCertificate()
	switch {
	case err != nil:
		return []string{fmt.Sprintf("check: %s: node.tls_cert cannot be looked at here (%v); if it is self-signed, %s", path, err, remedies()[kind])}
	case !own:
		return nil
	}
	switch kind {
	case script.AppsScript:
		v.SkipVerify = true
		return []string{"the node's certificate is self-signed, so the script has VERIFY_CERTIFICATE = false"}
	case script.Worker:
		return []string{"check: the node's certificate is self-signed; " + remedies()[kind]}
	}
	if n.SelfSigned {
		return []string{fmt.Sprintf("check: %s: node.self_signed makes a new certificate at each start, which %s cannot verify; write tls_cert and tls_key", path, kind)}
	}
	v.Trusted = script.NodeCertificate
	return []string{fmt.Sprintf("the node's certificate is self-signed; copy %s to %s of the machine of %s", n.TLSCert, script.NodeCertificate, kind)}
}

// nameNotes say which name the certificate of the node at that URL must have, before a
// relay that goes by it.
func nameNotes(kind, node string) []string {
	u, err := url.Parse(node)
	if err != nil || u.Scheme != "https" || kind != script.Nginx && kind != script.Caddy {
		return nil
	}
	return []string{fmt.Sprintf("check: %s verifies the node's certificate, which must be for %s, the host of --node", kind, u.Hostname())}
}

// remedies are what each kind of relay needs before a node with a self-signed certificate.
func remedies() map[string]string {
	return map[string]string{
		script.AppsScript: "write VERIFY_CERTIFICATE = false in the script",
		script.Worker:     "a Worker refuses that, and the node needs one of a public CA: tls = \"acme\"",
		script.Nginx:      "copy it to nginx's machine and name it under proxy_ssl_trusted_certificate",
		script.Caddy:      "copy it to Caddy's machine and name it under tls_trusted_ca_certs",
	}
}

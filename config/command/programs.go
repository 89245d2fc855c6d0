package command

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"relaymux/config"
	"relaymux/config/environ"
)

// registerProxy declares the flags of which proxy a command is about.
func (o *options) registerProxy(fs *pflag.FlagSet, user *string) {
	o.registerConfig(fs)
	fs.StringVar(user, "user", "", "the `name` of the user in the config whose password is shown to the proxy; default the first")
	fs.Func("proxy", "the `address` of the proxy, instead of that in the config", func(address string) error {
		o.flags["proxy"] = address
		return nil
	})
}

// proxyOf is the proxy that the config describes, with the password of user.
func (a *app) proxyOf(o options, user string) (environ.Proxy, error) {
	cfg, err := a.load(config.Run, o)
	if err != nil {
		return environ.Proxy{}, err
	}
	p, err := environ.Of(cfg, user, a.environ)
	if err != nil {
		return p, usage("%w", err)
	}
	return p, nil
}

func (a *app) envCommand() *cobra.Command {
	var o options
	var user string
	var withPassword bool
	shell := environ.ShellOf(os.Getenv("SHELL"), runtime.GOOS)
	c := &cobra.Command{Use: "env", Short: "print what has a shell's programs use the proxy", Args: noOperands,
		Example: "  eval \"$(relaymux env)\"\n  relaymux env --shell fish | source\n  relaymux env --shell powershell | Out-String | Invoke-Expression"}
	o.registerProxy(c.Flags(), &user)
	c.Flags().StringVar(&shell, "shell", shell, "sh, fish or powershell")
	c.Flags().BoolVar(&withPassword, "with-password", false, "print the password of proxy.users as well, which the shell and all its programs then know")
	_ = c.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions(environ.Shells(), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	c.RunE = a.does(func() error {
		if !slices.Contains(environ.Shells(), shell) {
			return usage("--shell must be one of %s", strings.Join(environ.Shells(), ", "))
		}
		p, err := a.proxyOf(o, user)
		if err != nil {
			return err
		}
		if p.User != "" && !withPassword {
			return usage("the proxy asks for a password, which all programs of the shell would know: --with-password prints it, " +
				"and relaymux exec tells it to one program only")
		}
		return p.Write(a.out, shell)
	})
	return c
}

func (a *app) execCommand() *cobra.Command {
	var o options
	var user string
	c := &cobra.Command{Use: "exec [flags] [--] COMMAND [ARGUMENT]...", Short: "run a program that uses the proxy",
		Long: "Runs a program with http_proxy, https_proxy, all_proxy and no_proxy, in both cases, in its environment. The password\n" +
			"of proxy.users, if there is one, is in them. The exit code is the program's; 1 if the proxy does not answer.",
		Example: "  relaymux exec curl https://example.com/\n  relaymux exec -- git clone https://example.com/project",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("exec: name a program, as in relaymux exec curl https://example.com/")
			}
			return nil
		}}
	o.registerProxy(c.Flags(), &user)
	c.Flags().SetInterspersed(false) // the flags after the program are the program's
	c.RunE = func(_ *cobra.Command, args []string) error {
		a.runs = true
		p, err := a.proxyOf(o, user)
		if err != nil {
			return err
		}
		if err := p.Answers(); err != nil {
			return err
		}
		code, err := environ.Run(args, p.Over(a.environ))
		if err != nil {
			fmt.Fprintln(a.err, "relaymux:", err)
		}
		if code == 0 {
			return nil
		}
		return &exitOf{code}
	}
	return c
}

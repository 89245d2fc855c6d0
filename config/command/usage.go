package command

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"relaymux/config"
)

// What is said to who mistypes, and what a shell completes.

// guide has root and its commands tell what was probably meant, and complete what their
// flags may be.
func guide(root *cobra.Command) {
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		return nil
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if word := c.Flags().Arg(0); c == root && word != "" { // its flags are not root's
			return unknownCommand(c, word)
		}
		return unknownFlag(c.Flags(), err)
	})
	for _, c := range append(root.Commands(), root) {
		if c.Use == c.Name() && c != root { // it takes no operand
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		if c.Flags().Lookup("config") != nil {
			_ = c.MarkFlagFilename("config", "toml") // the flag is there
		}
		if c.Flags().Lookup("log-level") != nil {
			levels := cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp)
			_ = c.RegisterFlagCompletionFunc("log-level", levels) // likewise
		}
	}
}

// guideHelp has no help shown for a command that there is not. cobra shows that of the one
// above it, also where nothing but a command below it does anything.
func (a *app) guideHelp(root *cobra.Command) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if word := c.Flags().Arg(0); word != "" && c.HasSubCommands() {
			a.unknown = unknownCommand(c, word)
			return
		}
		help(c, args)
	})
}

// unknownCommand says which command of c was probably meant by name.
func unknownCommand(c *cobra.Command, name string) error {
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(name); len(s) > 0 {
		return usage("there is no command %q; did you mean %s?", name, strings.Join(s, " or "))
	}
	return usage("there is no command %q; %s --help lists them", name, c.CommandPath())
}

// unknownFlag says which of flags was probably meant. Of other errors it changes nothing.
func unknownFlag(flags *pflag.FlagSet, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	name := unknown.GetSpecifiedName()
	if letters := unknown.GetSpecifiedShortnames(); letters != "" { // -config
		name = letters
	}
	var names []string
	flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if s := config.Nearest(name, names); s != "" {
		return usage("%w; did you mean --%s?", err, s)
	}
	return err
}

// noOperands refuses words after a command. Who names a file like that means the config.
func noOperands(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case c.Flags().Lookup("config") != nil:
		return usage("%s takes no operand; a config file is named by --config %s", c.Name(), args[0])
	}
	return usage("%s takes no operand such as %q", c.Name(), args[0])
}

// helpCommand is cobra's, but for what it says of a command that there is not.
func helpCommand() *cobra.Command {
	return &cobra.Command{Use: "help [COMMAND]", Short: "what a command does, and its flags",
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			if at, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				for _, each := range at.Commands() {
					if !each.IsAvailableCommand() {
						continue
					}
					names = append(names, cobra.CompletionWithDesc(each.Name(), each.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 && of.HasSubCommands() {
				return unknownCommand(of, rest[0])
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		}}
}

package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// asUsageErrors makes wrong arguments of a command's subcommands wrong usage,
// in words that say what the command takes.
func asUsageErrors(parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if check := c.Args; check != nil {
			c.Args = func(cmd *cobra.Command, args []string) error {
				if check(cmd, args) == nil {
					return nil
				}
				none := check(cmd, nil) == nil && check(cmd, args[:1]) != nil
				return usageError{argumentsError(cmd, args, none)}
			}
		}
		asUsageErrors(c)
	}
}

// argumentsError says what a command takes in place of the arguments that it
// was given; none tells that it takes no arguments.
func argumentsError(cmd *cobra.Command, args []string, none bool) error {
	switch {
	case cmd.HasSubCommands():
		return unknownCommand(cmd, args[0])
	case none && cmd.Flags().Lookup("config") != nil:
		return fmt.Errorf("`%s` takes flags alone, and %q is none; a configuration file is named by -c FILE", cmd.CommandPath(), args[0])
	case none:
		return fmt.Errorf("`%s` takes flags alone, and %q is none", cmd.CommandPath(), args[0])
	case len(args) == 0:
		return fmt.Errorf("an argument is missing; it is called as `%s`", cmd.UseLine())
	}
	return fmt.Errorf("too few or too many arguments (%d); it is called as `%s`", len(args), cmd.UseLine())
}

// unknownCommand says that a command has no subcommand of a name, and which it has instead.
func unknownCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("unknown command %q", name)
	if cmd.HasParent() {
		text += fmt.Sprintf(" for %q", cmd.CommandPath())
	}
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		text += fmt.Sprintf(" (did you mean %q?)", near[0])
	}
	return errors.New(text)
}

// flagError says what is wrong with a flag. A command that is not there has
// none of its flags either: then that is what is told.
func flagError(cmd *cobra.Command, err error) error {
	if before := cmd.Flags().Args(); cmd.HasSubCommands() && len(before) > 0 {
		return usageError{unknownCommand(cmd, before[0])}
	}
	bad := (*pflag.InvalidValueError)(nil)
	if !errors.As(err, &bad) {
		return usageError{err}
	}
	flag := bad.GetFlag()
	if number := (*strconv.NumError)(nil); errors.As(err, &number) {
		return usageError{fmt.Errorf("the flag --%s: %q is no number that it takes", flag.Name, bad.GetValue())}
	}
	if flag.Value.Type() == "duration" {
		return usageError{fmt.Errorf("the flag --%s: %q is no duration such as 30s", flag.Name, bad.GetValue())}
	}
	return usageError{err}
}

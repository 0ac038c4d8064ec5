package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// refuseUnknown has every command that only groups others, at any depth, refuse a word that is none of them, and say which
// may have been meant. By itself a group shows its help.
func refuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
	switch {
	case cmd.HasSubCommands():
		group(cmd)
	case cmd.Name() == "help":
		cmd.Run, cmd.RunE = nil, help
	}
}

func group(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(cmd, args[0])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// help is 'help [command]', which cobra ends well also where there is no such command.
func help(cmd *cobra.Command, words []string) error {
	found, rest, err := cmd.Root().Find(words)
	if err == nil && len(rest) == 0 {
		return found.Help()
	}
	if found == nil || len(rest) == 0 {
		found, rest = cmd.Root(), words
	}
	return unknownCommand(found, rest[0])
}

func unknownCommand(group *cobra.Command, word string) error {
	const near = 2 // letters that may be wrong, as cobra has it
	group.SuggestionsMinimumDistance = near
	remedy := fmt.Sprintf("see '%s --help'", group.CommandPath())
	if like := group.SuggestionsFor(word); len(like) > 0 {
		remedy = fmt.Sprintf("did you mean '%s %s'?", group.CommandPath(), strings.Join(like, "', or '"+group.CommandPath()+" "))
	}
	return refuse(fmt.Errorf("%s is no command of '%s': %s", session.Quote(word), group.CommandPath(), remedy))
}

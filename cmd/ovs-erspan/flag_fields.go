package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// flagField is a flag of `session add` or `session set`, and the field of a session that it sets.
type flagField struct{ flag, field string }

// flagFields is the table of all of them. Where several flags set a field, the first that was given is the one to name.
var flagFields = []flagField{
	{"type", "type"},
	{"description", "description"},
	{"bridge", "bridge"},
	{"source", "sources.ports"}, {"add-source", "sources.ports"}, {"remove-source", "sources.ports"},
	{"all-ports", "sources.all"},
	{"vlan", "vlans"}, {"add-vlan", "vlans"}, {"remove-vlan", "vlans"},
	{"output-port", "outputPort"},
	{"from", "from"},
	{"direction", "direction"},
	{"collector", "collectors"}, {"add-collector", "collectors"}, {"remove-collector", "collectors"},
	{"session-id", "erspan.sessionID"},
	{"erspan-version", "erspan.version"},
	{"index", "erspan.index"},
	{"hwid", "erspan.hardwareID"},
	{"match", "match.permit"}, {"add-match", "match.permit"}, {"remove-match", "match.permit"},
	{"match-both-ways", "match.permitBothWays"},
	{"deny", "match.deny"}, {"add-deny", "match.deny"}, {"remove-deny", "match.deny"},
	{"snaplen", "snaplen"},
	{"max-rate", "maxRate"},
	{"max-packets", "maxPackets"},
	{"max-bytes", "maxBytes"},
	{"origin", "origin"},
	{"dscp", "dscp"},
	{"ttl", "ttl"},
	{"expires-in", "expiresAt"},
	{"allow-missing", "allowMissing"},
	{"allow-hw-offload", "allowHWOffload"},
}

// fieldOf is the field that a flag sets; "" where it sets none.
func fieldOf(flag string) string {
	for _, f := range flagFields {
		if f.flag == flag {
			return f.field
		}
	}
	return ""
}

// flagFault is what is wrong with a flag's value, as an error about a field.
func flagFault(flag string, err error) error {
	e := session.FieldError{Reason: err.Error()}
	var fault *session.FieldError
	if errors.As(err, &fault) {
		e = *fault
	}
	e.Flag, e.Field = "--"+flag, fieldOf(flag)
	if e.Field == "" {
		e.Flag, e.Field = "", "--"+flag
	}
	return &e
}

// element is the number of a list's element in a field's path, as in "sources.ports[1]".
var element = regexp.MustCompile(`\[\d+\]`)

// nameFlags puts the flag that was typed for the session of this name beside each field that err tells of.
func nameFlags(flags *pflag.FlagSet, name string, err error) error {
	for _, fault := range faultsOf(err) {
		var e *session.FieldError
		if !errors.As(fault, &e) || e.Flag != "" {
			continue
		}
		field := element.ReplaceAllString(e.Field, "")
		for _, f := range flagFields {
			if flags.Changed(f.flag) && (f.field == field || strings.HasPrefix(f.field, field+".")) {
				e.Flag = "--" + f.flag
				if e.Session != "" && e.Session != name { // two sessions that do not go together
					e.Reason = fmt.Sprintf("session %s: %s", session.Quote(e.Session), e.Reason)
				}
				break
			}
		}
	}
	return err
}

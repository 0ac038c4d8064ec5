package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestFlagsAreNamed: what is wrong with a field that a flag set names the flag as it was typed beside the field; none of the
// flags is left out.
func TestFlagsAreNamed(t *testing.T) {
	// What every session needs, and then a flag that makes a fault.
	source := "--bridge=br0 --source=p1 --collector=192.0.2.9"
	for flag, args := range map[string]string{
		"type": "--type=x", "description": source + " --description=\x01", "bridge": "--source=p1 --collector=192.0.2.9 --bridge=" + strings.Repeat("x", 300),
		"source": "--bridge=br0 --collector=192.0.2.9 --source=iface-id=", "vlan": source + " --vlan=4095",
		"output-port": "--type=destination --from=any --session-id=1 --output-port=iface-id=x", "from": "--from=x", "direction": source + " --direction=up",
		"collector": "--bridge=br0 --source=p1 --collector=224.0.0.1", "session-id": source + " --session-id=1024", "erspan-version": source + " --erspan-version=3",
		"index": source + " --index=1048576", "hwid": source + " --erspan-version=2 --hwid=64", "match": source + " --match=",
		"match-both-ways": source + " --match-both-ways=", "deny": source + " --deny=", "snaplen": source + " --snaplen=1",
		"max-rate": source + " --max-rate=0", "max-packets": source + " --max-packets=x", "max-bytes": source + " --max-bytes=x", "origin": source + " --origin=224.0.0.1",
		"dscp": source + " --dscp=64", "ttl": source + " --ttl=0", "expires-in": source + " --expires-in=x",
	} {
		var f sessionFlags
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.register(flags)
		if err := flags.Parse(strings.Split(args, " ")); err != nil {
			t.Fatalf("%s: %v", flag, err)
		}
		s := session.Session{Name: "web"}
		err := f.apply(flags, &s)
		if err == nil {
			err = nameFlags(flags, s.Name, refuse(s.Defaulted().Validate()))
		}
		if err == nil {
			t.Errorf("%s: no fault", args)
			continue
		}
		named := false
		for _, fault := range faultsOf(err) {
			var e *session.FieldError
			if errors.As(fault, &e) && e.Flag == "--"+flag {
				named = true
				if text := fault.Error(); !strings.HasPrefix(text, "--"+flag) || !strings.Contains(text, "("+e.Field) {
					t.Errorf("%s: %s", args, text)
				}
			}
		}
		if !named {
			t.Errorf("%s: --%s is not named: %v", args, flag, err)
		}
	}

	var f sessionFlags
	add := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.register(add)
	add.VisitAll(func(flag *pflag.Flag) {
		if fieldOf(flag.Name) == "" {
			t.Errorf("--%s stands in no row of flagFields", flag.Name)
		}
	})
	set := newSessionSetCommand(&app{}).Flags()
	for _, row := range flagFields {
		if set.Lookup(row.flag) == nil {
			t.Errorf("there is no flag --%s", row.flag)
		}
	}
	set.VisitAll(func(flag *pflag.Flag) {
		list := strings.HasPrefix(flag.Name, "add-") || strings.HasPrefix(flag.Name, "remove-")
		if list && fieldOf(flag.Name) == "" {
			t.Errorf("--%s stands in no row of flagFields", flag.Name)
		}
	})
}

// TestSetNeedsAField: `set` that would change nothing is a slip.
func TestSetNeedsAField(t *testing.T) {
	for _, args := range [][]string{{"session", "set", "web"}, {"session", "set", "web", "--no-wait"}, {"session", "set", "web", "--dry-run", "-o", "json"}} {
		if code, _, said := runCLI(t, args...); code != exitRefused || !strings.Contains(said, "no field is given") {
			t.Errorf("%q: exit %d, %s", args, code, said)
		}
	}
}

package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/capture"
)

// anyValue is the choice that leaves an option out.
const anyValue = "any"

// choice is an option that is a text. They are named as those of `ovs-erspan capture` are.
type choice struct {
	name, display, tooltip, fallback string
	validation                       string      // a regular expression of Wireshark's, where the option is free text
	values                           [][2]string // value and display, where the option is chosen from a list; the first is the default
	value                            func(*options) *string
}

var choices = []choice{
	{
		name: "device", display: "Device", tooltip: "Ethernet device on which ERSPAN arrives", fallback: anyValue,
		values: [][2]string{{anyValue, "all Ethernet devices"}}, // and those that there are
		value:  func(o *options) *string { return &o.device },
	},
	{
		name: "from", display: "Senders", tooltip: "Only what these addresses sent, separated by commas; empty is all",
		validation: `^[0-9a-fA-F:., ]*$`,
		value:      func(o *options) *string { return &o.from },
	},
	{
		name: "session-id", display: "Session ids", tooltip: "Only these sessions, 0 to 1023, separated by commas; empty is all",
		validation: `^[0-9a-fA-FxX, ]*$`,
		value:      func(o *options) *string { return &o.sessionIDs },
	},
	{
		name: "erspan-version", display: "Version", tooltip: "Only this version of ERSPAN", fallback: anyValue,
		values: [][2]string{{anyValue, "all"}, {"0", "0 (Type I)"}, {"1", "1 (Type II)"}, {"2", "2 (Type III)"}},
		value:  func(o *options) *string { return &o.versions },
	},
	{
		name: "direction", display: "Direction", tooltip: "Only frames of this direction, which only version 2 tells", fallback: anyValue,
		values: [][2]string{{anyValue, "both, and unknown"}, {"ingress", "ingress: from the port to the switch"}, {"egress", "egress: from the switch to the port"}},
		value:  func(o *options) *string { return &o.direction },
	},
	{
		name: "time", display: "Time", tooltip: "The time of a frame", fallback: "sender",
		values: [][2]string{{"sender", "the sender's, where the header tells it"}, {"receive", "when it was received"}},
		value:  func(o *options) *string { return &o.time },
	},
}

// printConfig tells which options there are.
func printConfig(out io.Writer) error {
	devices, err := ethernetDevices()
	if err != nil {
		return err
	}
	for i, c := range choices {
		kind, more := "string", ""
		if c.values != nil {
			kind = "selector"
		}
		if c.validation != "" {
			more = "{validation=" + c.validation + "}"
		}
		fmt.Fprintf(out, "arg {number=%d}{call=--%s}{display=%s}{tooltip=%s}{type=%s}%s\n", i, c.name, c.display, c.tooltip, kind, more)
		values := c.values
		if c.name == "device" {
			for _, d := range devices {
				values = append(values[:len(values):len(values)], [2]string{d, d})
			}
		}
		for n, v := range values {
			fmt.Fprintf(out, "value {arg=%d}{value=%s}{display=%s}{default=%t}\n", i, v[0], v[1], n == 0)
		}
	}
	fmt.Fprintf(out, "arg {number=%d}{call=--buffer}{display=Buffer (MiB)}{tooltip=Memory for packets that wait to be read}{type=integer}{range=2,1024}{default=%d}\n",
		len(choices), capture.DefaultBuffer>>20)
	return nil
}

// ethernetDevices are the devices that can be captured from. One whose name would break the protocol is left out.
func ethernetDevices() ([]string, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var names []string
	for _, d := range devices {
		if (len(d.HardwareAddr) == 6 || d.Flags&net.FlagLoopback != 0) && !strings.ContainsAny(d.Name, "{}=") {
			names = append(names, d.Name)
		}
	}
	return names, nil
}

// Command ovs-erspan-extcap lets Wireshark and tshark receive ERSPAN: they show an interface "ERSPAN", and capture the
// mirrored frames from it. It speaks Wireshark's extcap protocol
// (https://www.wireshark.org/docs/wsdg_html_chunked/ChCaptureExtcap.html), knows nothing of Open vSwitch, and needs no
// more than the capability cap_net_raw, so that Wireshark itself needs nothing.
//
// Wireshark shows what is written to standard error as an error message, so that nothing is written there but errors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/ovs-erspan/ovs-erspan/capture"
)

// version is set by the linker in releases.
var version = "development"

// interfaceName is the one interface, by which Wireshark names its preferences too (extcap.erspan.device, …).
const interfaceName = "erspan"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "ovs-erspan-extcap: %v\n", err)
		os.Exit(1)
	}
}

// request is what Wireshark asks for.
type request struct {
	interfaces, dlts, config, capture bool
	netif, fifo, captureFilter        string
	options                           options
}

// options are those that the user sets in Wireshark.
type options struct {
	device, from, sessionIDs, versions, direction, time string
	buffer                                              int
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var r request
	flags := flag.NewFlagSet("ovs-erspan-extcap", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says what is wrong
	flags.BoolVar(&r.interfaces, "extcap-interfaces", false, "list the interfaces")
	flags.BoolVar(&r.dlts, "extcap-dlts", false, "list the link types of --extcap-interface")
	flags.BoolVar(&r.config, "extcap-config", false, "list the options of --extcap-interface")
	flags.BoolVar(&r.capture, "capture", false, "capture from --extcap-interface to --fifo")
	flags.StringVar(&r.netif, "extcap-interface", "", "the interface")
	flags.StringVar(&r.fifo, "fifo", "", "where to write pcapng")
	flags.StringVar(&r.captureFilter, "extcap-capture-filter", "", "not supported")
	flags.String("extcap-version", "", "Wireshark's version")
	for _, o := range choices {
		flags.StringVar(o.value(&r.options), o.name, o.fallback, o.tooltip)
	}
	flags.IntVar(&r.options.buffer, "buffer", capture.DefaultBuffer>>20, "MiB of memory for packets that wait to be read")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, help)
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q: want options only", flags.Arg(0))
	}
	if r.interfaces {
		printInterfaces(out)
		return nil
	}
	switch r.netif {
	case interfaceName:
	case "":
		if len(args) == 0 {
			fmt.Fprint(out, help)
			return nil
		}
		return fmt.Errorf("--extcap-interface is missing: want %q", interfaceName)
	default:
		return fmt.Errorf("--extcap-interface %q: want %q", r.netif, interfaceName)
	}
	switch {
	case r.capture:
		return r.receive(ctx)
	case r.dlts:
		fmt.Fprintln(out, "dlt {number=1}{name=EN10MB}{display=Ethernet}")
	case r.config:
		return printConfig(out)
	case r.captureFilter != "":
		fmt.Fprintln(out, noCaptureFilter) // what is printed here is what is wrong with the filter
	default:
		return errors.New("nothing to do: want one of --extcap-dlts, --extcap-config, --capture")
	}
	return nil
}

const noCaptureFilter = "ERSPAN takes no capture filter: choose senders and sessions in the interface's options, or use a display filter"

const help = `ovs-erspan-extcap lets Wireshark receive ERSPAN. Wireshark starts it: put it (or a link to it) into one of the folders
that Help > About > Folders shows as "Extcap path", and allow it to receive:

  setcap cap_net_raw+ep ovs-erspan-extcap

Wireshark then lists the interface "ERSPAN", and tshark -i erspan captures from it.
`

// printInterfaces tells which interfaces there are.
func printInterfaces(out io.Writer) {
	fmt.Fprintf(out, "extcap {version=%s}{help=https://github.com/ovs-erspan/ovs-erspan/blob/main/docs/receiver.md}{display=ERSPAN receiver}\n", programVersion())
	fmt.Fprintf(out, "interface {value=%s}{display=ERSPAN}\n", interfaceName)
}

func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "development" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return version
}

// list splits what a user wrote as a list, with commas or blanks.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// capture reads the options.
func (o *options) capture() (capture.Options, error) {
	var c capture.Options
	if o.buffer < 2 || o.buffer > 1024 {
		return c, fmt.Errorf("--buffer %d: want 2 to 1024 MiB", o.buffer)
	}
	direction, versions := o.direction, list(o.versions)
	// "any" is what a selector needs for nothing chosen.
	if direction == anyValue {
		direction = ""
	}
	if o.versions == anyValue {
		versions = nil
	}
	var err error
	if c.Filter, err = capture.ParseFilter(list(o.from), list(o.sessionIDs), versions, direction); err != nil {
		return c, err
	}
	c.ReceiveTime, err = capture.ParseTime(o.time)
	return c, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/capture"
)

// receiveFlags are what decode and capture have in common.
type receiveFlags struct {
	from       []string
	sessionIDs []string
	versions   []string
	direction  string
	write      string
	ring       []string
	count      uint64
	time       string
	allSeen    bool
	stats      bool
}

func (f *receiveFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var((*commaList)(&f.from), "from", "only what this sender sent (repeatable)")
	flags.Var((*commaList)(&f.sessionIDs), "session-id", "only this session, 0 to 1023, decimal or 0x (repeatable)")
	flags.Var((*commaList)(&f.versions), "erspan-version", "only version 0 (Type I), 1 (Type II) or 2 (Type III) (repeatable)")
	flags.StringVar(&f.direction, "direction", "", "only ingress or egress (version 2 alone tells)")
	flags.StringVarP(&f.write, "write", "w", "", "write the mirrored frames as pcapng to this file, or to standard output for -")
	flags.StringArrayVarP(&f.ring, "ring", "b", nil, "begin a new file after filesize:KB, duration:SECONDS or packets:N, keep files:N (repeatable)")
	flags.Uint64VarP(&f.count, "count", "c", 0, "stop after this many ERSPAN packets")
	flags.StringVar(&f.time, "time", "sender", "the time of a frame: sender (from the ERSPAN header where that is absolute) or receive")
	flags.BoolVar(&f.allSeen, "all-seen", false, "the senders send to this place only: missing sequence numbers are losses")
	flags.BoolVar(&f.stats, "stats", false, "show what was counted at the end, on standard error")
	must(cmd.RegisterFlagCompletionFunc("direction", cobra.FixedCompletions([]string{"ingress", "egress"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("erspan-version", cobra.FixedCompletions([]string{"0", "1", "2"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("time", cobra.FixedCompletions([]string{"sender", "receive"}, cobra.ShellCompDirectiveNoFileComp)))
}

// options checks the flags.
func (f *receiveFlags) options() (capture.Options, error) {
	o := capture.Options{SendersComplete: f.allSeen}
	var err error
	if o.Filter, err = capture.ParseFilter(f.from, f.sessionIDs, f.versions, f.direction); err != nil {
		return o, err
	}
	o.ReceiveTime, err = capture.ParseTime(f.time)
	return o, err
}

// sinks is where records go: text or JSON, or a file. output is nil without -w.
func (f *receiveFlags) sinks(a *app) (sink capture.Sink, output *capture.Output, err error) {
	ring, err := capture.ParseRing(f.ring)
	if err != nil {
		return nil, nil, refuse(err)
	}
	if f.write != "" {
		if a.output == "json" {
			return nil, nil, refuse(errors.New("-w writes pcapng and -o json writes text: choose one"))
		}
		if f.write == "-" && isTerminal(a.out) {
			return nil, nil, refuse(errors.New("-w - would write pcapng to the terminal: give it a file, or a pipe such as | wireshark -k -i -"))
		}
		output, err = capture.NewOutput(f.write, capture.OutputOptions{Ring: ring})
		return output, output, err
	}
	if ring != nil {
		return nil, nil, refuse(errors.New("-b needs -w FILE"))
	}
	switch a.output {
	case "json":
		return capture.NewJSONSink(a.out), nil, nil
	case "yaml":
		return nil, nil, refuse(errors.New("--output yaml: want table (text) or json, or -w FILE for pcapng"))
	}
	return capture.NewTextSink(a.out, capture.TextOptions{Verbose: a.verbose || a.output == "wide"}), nil, nil
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0 && f.Name() != os.DevNull
}

// finish closes the output and turns a reader that went away (| head) into success.
func finish(err error, output *capture.Output, received, dropped uint64) error {
	if output != nil {
		if closeErr := output.Close(received, dropped); err == nil { // a full disk is told once
			err = closeErr
		}
	}
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

func newDecodeCommand(a *app) *cobra.Command {
	f := &receiveFlags{}
	cmd := &cobra.Command{
		Use:   "decode FILE|-",
		Short: "Show the ERSPAN in a capture file, or write the frames that it mirrors",
		Long: `decode reads a capture file (pcap or pcapng; Ethernet, Linux cooked or raw IP) and shows each ERSPAN packet in it:
Types I, II and III, over IPv4 and IPv6, with outer fragments made whole. Other traffic in the file is passed over.

One line is shown for each packet; -v (or -o wide) adds the whole header, -o json writes a line of JSON for each, -w
writes the mirrored frames as pcapng, one interface for each sender, session and direction. What could not be decoded
is named on standard error and does not end the run.`,
		Example: `  # what is in the file
  ovs-erspan decode collector.pcap

  # the mirrored frames of session 100, for Wireshark
  ovs-erspan decode --session-id 100 -w inner.pcapng collector.pcap

  # filter on mirrored frames
  ovs-erspan decode -w - collector.pcap | tcpdump -n -r - port 443`,
		Args: exactArgs(1, "one FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDecode(cmd.Context(), a, f, args[0])
		},
	}
	f.register(cmd)
	return cmd
}

func runDecode(_ context.Context, a *app, f *receiveFlags, path string) error {
	options, err := f.options()
	if err != nil {
		return refuse(err)
	}
	in := a.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return refuse(err)
		}
		defer file.Close()
		in = file
	}
	reader, err := capture.NewFileReader(in)
	if err != nil {
		return refuse(fmt.Errorf("%s: %w", path, err))
	}
	sink, output, err := f.sinks(a)
	if err != nil {
		return err
	}
	decoder := capture.NewDecoder(options)
	err = capture.DecodeFile(reader, decoder, sink, f.count, func(err error) {
		fmt.Fprintf(a.err, "ovs-erspan: %s: %v\n", path, err)
	})
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		err = fmt.Errorf("%s: %w", path, err)
	}
	stats := decoder.Stats()
	err = finish(err, output, stats.Frames, 0)
	if f.stats {
		stats.Write(a.err)
	} else if n := stats.Fragments.Abandoned + uint64(stats.Incomplete); n > 0 {
		fmt.Fprintf(a.err, "ovs-erspan: %s: %d fragmented outer packets could not be made whole\n", path, n)
	}
	return err
}

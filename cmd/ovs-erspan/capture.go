package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/capture"
)

// captureFlags are those of capture alone.
type captureFlags struct {
	receiveFlags
	device   string
	duration time.Duration
	to       string
	buffer   int
	answer   bool
}

func newCaptureCommand(a *app) *cobra.Command {
	f := &captureFlags{}
	cmd := &cobra.Command{
		Use:   "capture [-i DEV]",
		Short: "Receive ERSPAN: show it, write the mirrored frames, or hand them to another program",
		Long: `capture receives ERSPAN of Types I, II and III from the wire and shows it as decode does: one line for each packet,
-v for the whole header, -o json for a line of JSON each. -w writes the mirrored frames as pcapng, --to sends them out
through a device on which a program listens that cannot decode ERSPAN.

It ends after -c packets, after --duration, or with Ctrl-C, and then says on standard error what was received, what the
kernel dropped and which sequence numbers are missing; so it does while it runs on SIGUSR1. It needs cap_net_raw.

--answer-probes answers the probes of 'ovs-erspan session verify', which so learns that they arrived, with which header and
after which time: a UDP packet of 58 bytes to the address that the ERSPAN came from, at a port of 49152 and above, at most
100 a second to one sender, and for probes only that were sent to an address of this host. At the end it says how many were
not answered, and why. Without it nothing is ever sent.`,
		Example: `  # what comes in on eth1
  ovs-erspan capture -i eth1

  # the mirrored frames of session 100, live in Wireshark
  ovs-erspan capture -i eth1 --session-id 100 -w - | wireshark -k -i -

  # filter on mirrored frames
  ovs-erspan capture -i eth1 -w - | tcpdump -n -r - port 443

  # the last ten files of 100 MB
  ovs-erspan capture -i eth1 -w inner.pcapng -b filesize:100000 -b files:10

  # the other end of 'ovs-erspan session verify web'
  ovs-erspan capture -i eth1 --answer-probes

  # for a program that knows no ERSPAN, which listens on sensor
  ip link add mirror type veth peer name sensor
  for d in mirror sensor; do ip link set $d up arp off multicast off; done
  ovs-erspan capture -i eth1 --to mirror`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCapture(cmd.Context(), a, f)
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.device, "interface", "i", "any", "Ethernet device to receive from; any is all of them")
	flags.DurationVar(&f.duration, "duration", 0, "stop after this long, such as 30s")
	flags.StringVar(&f.to, "to", "", "send the mirrored frames out through this device (a veth or TAP)")
	flags.BoolVar(&f.answer, "answer-probes", false, "tell 'session verify' that its probes have arrived: a UDP packet to the sender of each")
	flags.IntVar(&f.buffer, "buffer", capture.DefaultBuffer>>20, "MiB of memory for packets that wait to be read, 2 to 1024")
	return cmd
}

func runCapture(ctx context.Context, a *app, f *captureFlags) error {
	options, err := f.options()
	if err != nil {
		return refuse(err)
	}
	if f.buffer < 2 || f.buffer > 1024 {
		return refuse(fmt.Errorf("--buffer %d: want 2 to 1024 MiB", f.buffer))
	}
	if f.duration < 0 {
		return refuse(fmt.Errorf("--duration %s: want more than nothing, such as 30s", f.duration))
	}
	if f.to != "" && f.to == f.device {
		return refuse(fmt.Errorf("--to %s: the frames would be sent where they are received", f.to))
	}
	live, err := capture.OpenLive(capture.LiveOptions{Device: f.device, Buffer: f.buffer << 20})
	if err != nil {
		return refuse(err)
	}
	defer live.Close()
	var (
		sink   capture.Sink
		output *capture.Output
		inject *capture.Injector
	)
	if f.to != "" {
		if inject, err = capture.NewInjector(f.to); err != nil {
			return refuse(fmt.Errorf("--to: %w", err))
		}
		defer inject.Close()
		sink = inject
	}
	if f.to == "" || f.write != "" {
		var shown capture.Sink
		if shown, output, err = f.sinks(a); err != nil {
			return err
		}
		sink = shown
		if inject != nil {
			sink = capture.MultiSink{inject, shown}
		}
	}
	var answerer *capture.Answerer
	if f.answer {
		answerer = capture.NewAnswerer()
		sink = capture.MultiSink{answerer, sink}
	}
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	var report atomic.Bool // SIGUSR1 asked for the counters
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	defer signal.Stop(usr1)
	go func() {
		for {
			select {
			case <-usr1:
				report.Store(true)
			case <-ctx.Done():
				return
			}
		}
	}()

	decoder, shown := capture.NewDecoder(options), uint64(0)
	fmt.Fprintf(a.err, "ovs-erspan: receiving on %s\n", f.device)
	err = live.Run(ctx, func(frame *capture.Frame) error {
		r := decoder.Decode(frame)
		if r == nil {
			return nil
		}
		if err := sink.Write(r); err != nil {
			return err
		}
		if shown++; shown == f.count {
			return capture.ErrDone
		}
		return nil
	}, func() error {
		if report.CompareAndSwap(true, false) {
			a.printReceived(live, decoder, inject, false)
		}
		return sink.Flush()
	})
	if output == nil {
		err = errors.Join(err, sink.Flush())
	}
	kernel, statsErr := live.Stats()
	err = finish(errors.Join(err, statsErr), output, kernel.Received, kernel.Dropped)
	a.printReceived(live, decoder, inject, true)
	if answerer != nil {
		fmt.Fprintln(a.err, answerer.Summary())
	}
	return err
}

// printReceived shows the counters on standard error, and at the end what they hint at.
func (a *app) printReceived(live *capture.Live, decoder *capture.Decoder, inject *capture.Injector, end bool) {
	kernel, err := live.Stats()
	if err != nil {
		fmt.Fprintf(a.err, "ovs-erspan: %v\n", err)
		return
	}
	stats := decoder.Stats()
	fmt.Fprintf(a.err, "%d packets received by the filter, %d dropped by the kernel\n", kernel.Received, kernel.Dropped)
	stats.Write(a.err)
	if inject != nil {
		fmt.Fprintf(a.err, "%d frames sent on, %d too long for the device, %d dropped because its queue was full\n", inject.Sent, inject.TooLong, inject.Dropped)
	}
	if !end {
		return
	}
	for _, hint := range kernel.Hints(stats.ERSPAN, stats.Filtered) {
		fmt.Fprintf(a.err, "hint: %s\n", hint)
	}
}

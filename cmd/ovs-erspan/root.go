package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// app is what all commands share: the global flags and where to read and write.
type app struct {
	rundir  string
	db      ovsdb.Options // but for the run directory
	control string        // the control socket of ovs-vswitchd, "": it is looked for
	output  string
	timeout time.Duration
	verbose bool

	in       io.Reader
	out, err io.Writer
}

const defaultRundir = "/var/run/openvswitch"

var outputFormats = []string{"table", "wide", "json", "yaml"}

// execute runs the program and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitInForce
	}
	if !errors.Is(err, errTold) {
		a.printError(err)
	}
	return exitCode(err)
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "ovs-erspan",
		Short: "Mirror Open vSwitch ports to ERSPAN collectors, without harm to the traffic",
		Long: `ovs-erspan turns an Open vSwitch host into an ERSPAN source: it copies chosen traffic of a bridge's ports and
sends the copies to collectors, as ERSPAN Type II (version 1) or Type III (version 2).

It writes OVSDB rows and OpenFlow flows of its own and touches nobody else's. What is wished is kept in the host's
OVSDB, so it survives restarts.`,
		Example: `  # copy all that vnet0 sends and receives on br0 to a collector
  ovs-erspan session add web --bridge br0 --source vnet0 --collector 192.0.2.9

  # see what it does
  ovs-erspan session list
  ovs-erspan session show web

  # take it away again
  ovs-erspan session remove web`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(outputFormats, a.output) {
				return refuse(fmt.Errorf("--output %q: want one of table, wide, json, yaml", a.output))
			}
			if err := a.database().Check(); err != nil {
				return refuse(err)
			}
			if a.timeout <= 0 {
				return refuse(fmt.Errorf("--timeout %s: want more than nothing, such as 10s", a.timeout))
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var wrong *pflag.InvalidValueError
		if errors.As(err, &wrong) {
			return refuse(flagFault(wrong.GetFlag().Name, valueFault(wrong)))
		}
		return refuse(fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath()))
	})
	rundir := os.Getenv("OVS_RUNDIR")
	if rundir == "" {
		rundir = defaultRundir
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.rundir, "ovs-rundir", rundir, "where Open vSwitch has its sockets (db.sock, BRIDGE.mgmt); $OVS_RUNDIR sets the default")
	flags.StringVar(&a.db.Remote, "db", "", "Open vSwitch's `database`: unix:PATH, tcp:IP:PORT or ssl:IP:PORT (default: db.sock in --ovs-rundir)")
	flags.StringVar(&a.db.PrivateKey, "private-key", "", "`file` with the private key, for --db ssl:…")
	flags.StringVar(&a.db.Certificate, "certificate", "", "`file` with the certificate of the private key, for --db ssl:…")
	flags.StringVar(&a.db.CACert, "ca-cert", "", "`file` with the CA's certificate that the database's is checked with, for --db ssl:…")
	flags.StringVar(&a.control, "vswitchd-ctl", "", "`path` of ovs-vswitchd's control socket (default: the socket in --ovs-rundir of the process that serves the bridges)")
	flags.StringVarP(&a.output, "output", "o", "table", "table, wide, json or yaml")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long a command may take")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say on standard error what is done")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputFormats, cobra.ShellCompDirectiveNoFileComp)))
	root.AddCommand(
		newSessionCommand(a),
		newHostCommand(a),
		newApplyCommand(a),
		newExportCommand(a),
		newPlanCommand(a),
		newDoctorCommand(a),
		newRunCommand(a),
		newUninstallCommand(a),
		newDecodeCommand(a),
		newCaptureCommand(a),
		newDemoCommand(a),
		newVersionCommand(a),
		newManCommand(a),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	refuseUnknown(root)
	return root
}

// database is the one that the flags name.
func (a *app) database() ovsdb.Options {
	o := a.db
	o.RunDir = a.rundir
	return o
}

// asks tells whether somebody sits at the other end who can be asked.
func (a *app) asks() bool {
	in, ok := a.in.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

// valueFault is what is wrong with the value of a flag that pflag reads.
func valueFault(wrong *pflag.InvalidValueError) error {
	want, ok := map[string]string{
		"bool": "true or false", "duration": "a time, such as 90s or 5m", "int": "a whole number", "uint64": "a whole number, not negative",
	}[wrong.GetFlag().Value.Type()]
	if !ok {
		return wrong.Unwrap()
	}
	return fmt.Errorf("%s: want %s", session.Quote(wrong.GetValue()), want)
}

// must is for mistakes of ours that show the first time the program starts, such as a flag that does not exist.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// logger writes what is done to standard error, with -v.
func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	if a.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// noArgs and friends name what is missing or too much, as refusals.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return refuse(fmt.Errorf("%s: want %s, got %d arguments (see '%s --help')", cmd.CommandPath(), what, len(args), cmd.CommandPath()))
		}
		return nil
	}
}

func noArgs(cmd *cobra.Command, args []string) error { return exactArgs(0, "no arguments")(cmd, args) }

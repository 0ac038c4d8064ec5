package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/controller"
	"github.com/ovs-erspan/ovs-erspan/doctor"
	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/vswitchd"
)

// errUnwell ends `doctor` with an exit code; the findings are printed already.
var errUnwell = errors.New("not all is well: see what the checks found")

func newDoctorCommand(a *app) *cobra.Command {
	var all bool
	var sample time.Duration
	cmd := &cobra.Command{
		Use:   "doctor [NAME...]",
		Short: "Check whether this host is fit for its sessions, and whether they will work",
		Long: `Check whether this host is fit for its sessions, and whether they will work: Open vSwitch itself, the datapath, what
others have set up, the way to each collector, and what copies and production could do to each other. With names only these
sessions are looked at. With --sample it also listens for a while for ERSPAN that no destination session can strip (Type I,
and Type III with a platform subheader), and tells who sends it. Nothing is changed.

Exit code: 0 all is well, 3 there are warnings, 1 something has failed.`,
		Example: `  ovs-erspan doctor
  ovs-erspan doctor web
  ovs-erspan doctor --sample 5s
  ovs-erspan doctor -o json`,
		ValidArgsFunction: a.completeSessions(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if sample < 0 || sample > maxSample {
				return refuse(fmt.Errorf("--sample %s: want at most %s", sample, maxSample))
			}
			snapshot, err := a.snapshot(cmd.Context(), args)
			if err != nil {
				return err
			}
			if sample > 0 {
				snapshot.Sampled = sample
				if snapshot.Samples, err = sampleUnreadable(cmd.Context(), sample); err != nil {
					return fmt.Errorf("--sample: %w", err)
				}
			}
			results := doctor.Examine(snapshot)
			if err := a.print(results, doctorText(results, all)); err != nil {
				return err
			}
			switch doctor.Worst(results) {
			case doctor.Failure:
				return withCode(exitFailed, errUnwell)
			case doctor.Warning:
				return withCode(exitNotInForce, errUnwell)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&sample, "sample", 0, "listen so long for ERSPAN that Open vSwitch cannot strip")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show also the checks that were skipped, and why")
	return cmd
}

// maxSample bounds how long doctor listens.
const maxSample = time.Minute

// snapshot gathers what the checks look at. What cannot be had is itself a finding.
func (a *app) snapshot(ctx context.Context, names []string) (doctor.Snapshot, error) {
	s := a.hostSnapshot()
	err := a.withHost(ctx, func(ctx context.Context, h *host) error { return h.gather(ctx, &s, names) })
	var coded *codedError
	if errors.As(err, &coded) {
		return s, err // a name that is not there
	}
	if err != nil {
		s.DBError = err.Error()
	}
	if s.VswitchdError == "" && s.Control == "" { // the database failed before it was its turn
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		s.VswitchdError = errorText(a.askVswitchd(ctx, a.vswitchd(func() *ovsdb.DB { return nil }), &s))
	}
	return s, nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// hostSnapshot has what can be seen without Open vSwitch.
func (a *app) hostSnapshot() doctor.Snapshot {
	s := doctor.Snapshot{Rundir: a.rundir, Broken: map[string]string{}, Contested: map[string]string{}, Datapath: map[string]doctor.Megaflows{}, Features: map[string]string{},
		Narrowing: map[string]string{}, Daemon: a.daemonSign(), PacketFilters: packetFilters()}
	var tx unix.Timex
	if _, err := unix.Adjtimex(&tx); err != nil {
		s.ClockError = err.Error()
	}
	const staUnsync = 0x40 // STA_UNSYNC of adjtimex(2)
	s.Unsynchronized = tx.Status&staUnsync != 0
	return s
}

func (a *app) daemonSign() doctor.Daemon {
	sign, ok := readSign(a.rundir)
	if !ok {
		return doctor.Daemon{}
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", sign.PID)); sign.hung() && err != nil {
		return doctor.Daemon{} // it died without taking its sign away
	}
	return doctor.Daemon{PID: sign.PID, Hung: sign.hung(), Last: sign.At, Trouble: sign.Trouble}
}

// packetFilters are the tables of iptables that the kernel has, in this network namespace.
func packetFilters() (tables []string) {
	for _, file := range []string{"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"} {
		text, err := os.ReadFile(file)
		if err == nil {
			tables = append(tables, strings.Fields(string(text))...)
		}
	}
	return tables
}

// vswitchdKeepsMemory tells whether ovs-vswitchd was started with a setting of glibc's that has it keep memory that it freed.
func vswitchdKeepsMemory(pid int) bool {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && strings.Contains(string(environment), "glibc.malloc.trim_threshold=")
}

func (h *host) gather(ctx context.Context, s *doctor.Snapshot, names []string) error {
	wish, err := h.db.Wish()
	if err != nil {
		return err
	}
	s.Wished, s.Restored = len(wish.Sessions)+len(wish.Broken), wish.Restored
	asked := func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	for _, name := range names {
		if _, broken := wish.Broken[name]; !broken {
			if _, err := find(&wish, name); err != nil {
				return err
			}
		}
	}
	for name, err := range wish.Broken {
		if asked(name) {
			s.Broken[name] = err.Error()
		}
	}
	if err := h.gatherSessions(ctx, s, wish.Sessions, asked); err != nil {
		return err
	}
	for _, st := range s.Sessions {
		if was := wish.Status[st.Name]; h.contested(was) {
			s.Contested[st.Name] = was.Message
		}
	}
	if s.VswitchdError != "" {
		s.PlanError = s.VswitchdError // it would be waited for once more
		return nil
	}
	h.gatherPlan(ctx, s, wish)
	return nil
}

// gatherSessions gathers those that are asked for, and what Open vSwitch has.
func (h *host) gatherSessions(ctx context.Context, s *doctor.Snapshot, sessions []session.Stored, asked func(name string) bool) (err error) {
	for _, st := range sessions {
		if asked(st.Name) {
			s.Sessions = append(s.Sessions, st)
			s.Narrowing[st.Name] = narrowing(st.Session)
		}
	}
	if s.State, err = h.db.State(); err != nil {
		return err
	}
	facts, err := h.db.Facts(ctx)
	if err != nil {
		return err
	}
	s.Facts = doctorFacts(facts)
	s.VswitchdError = errorText(h.app.askVswitchd(ctx, h.ctl, s))
	return nil
}

// planChecks are the findings of doctor, other than that all is well, that concern the sessions which a plan changes: about
// these, and about the host.
func (h *host) planChecks(ctx context.Context, sessions []session.Stored, plan controller.Plan, changes map[string]flows.FlowChanges) ([]doctor.Result, error) {
	concerned := flows.NotInForce(plan.Program, plan.Rows, changes)
	found := []doctor.Result{}
	if len(concerned) == 0 {
		return found, nil
	}
	s := h.app.hostSnapshot()
	s.Wished = len(sessions)
	if err := h.gatherSessions(ctx, &s, sessions, func(name string) bool { return concerned[name] }); err != nil {
		return nil, err
	}
	s.Outcomes = plan.Program.Outcomes
	for _, r := range doctor.Examine(s) {
		if r.Level != doctor.Warning && r.Level != doctor.Failure {
			continue
		}
		out := plan.Program.Outcomes[r.Session]
		switch {
		case r.ID == "in-force": // what the plan shows
		case r.ID == "neighbor" && out != nil && s.State.Bridges[out.TapBridge] == nil: // nobody has asked it yet
		default:
			found = append(found, r)
		}
	}
	return found, nil
}

func doctorFacts(f ovsdb.Facts) doctor.Facts {
	out := doctor.Facts{IfaceTypes: f.IfaceTypes, Bridges: map[string]doctor.Export{}, Bonds: map[string]doctor.Bond{}}
	for name, b := range f.Bridges {
		out.Bridges[name] = doctor.Export{NetFlow: b.NetFlow, SFlow: b.SFlow, IPFIX: b.IPFIX, Controllers: b.Controllers}
	}
	for name, b := range f.Bonds {
		out.Bonds[name] = doctor.Bond{Mode: b.Mode, LACP: b.LACP}
	}
	return out
}

// megaflowLine is of `ovs-appctl upcall/show`: "  flows         : (current 5) (avg 4) (max 10) (limit 200000)".
var megaflowLine = regexp.MustCompile(`flows\s*: \(current (\d+)\).*\(limit (\d+)\)`)

// askVswitchd asks for what ovs-vswitchd alone knows, of the bridges that the snapshot has.
func (a *app) askVswitchd(ctx context.Context, ctl *vswitchd.Client, s *doctor.Snapshot) (err error) {
	if s.Version, err = a.versionOf(ctx, ctl); err != nil {
		return err
	}
	text, err := ctl.Call(ctx, "upcall/show")
	if err != nil {
		return err
	}
	s.Control = ctl.Instance()
	s.KeepsMemory = vswitchdKeepsMemory(ctl.Process())
	datapath := ""
	for line := range strings.Lines(text) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(line, " ") {
			datapath = name
		}
		if m := megaflowLine.FindStringSubmatch(line); m != nil {
			current, _ := strconv.Atoi(m[1])
			limit, _ := strconv.Atoi(m[2])
			s.Datapath[datapath] = doctor.Megaflows{Current: current, Limit: limit}
		}
	}
	for name := range s.State.Bridges {
		if text, err := ctl.Call(ctx, "dpif/show-dp-features", name); err == nil {
			s.Features[name] = text
		}
	}
	return nil
}

func (h *host) gatherPlan(ctx context.Context, s *doctor.Snapshot, wish session.Wish) {
	plan, err := h.controller.Plan(ctx, wish.Sessions)
	if err != nil {
		s.PlanError = err.Error()
		return
	}
	h.controller.JudgeLeaving(ctx, plan)
	s.Outcomes = plan.Program.Outcomes
	s.KernelWays, err = kernelWays(plan.Input.Paths)
	s.KernelWaysError = errorText(err)
	s.Isolation = plan.Isolation.Changes
	if plan.Isolation.Err != nil {
		s.IsolationError = plan.Isolation.Err.Error()
	}
	s.PendingRows = len(plan.Rows.Before) + len(plan.Rows.After) + len(plan.Rows.Last)
	changes, _, err := h.controller.Pending(ctx, plan)
	if err != nil {
		s.PendingError = err.Error()
	}
	for _, c := range changes {
		s.PendingFlows += c.Count()
	}
}

// kernelWays are the kernel's paths to the collectors that copies reach by Open vSwitch's routes.
func kernelWays(paths map[flows.PathKey]flows.Path) (map[netip.Addr]flows.Path, error) {
	var keys []flows.PathKey
	for key := range paths {
		if key.Datapath == "netdev" {
			keys = append(keys, flows.PathKey{Collector: key.Collector, Datapath: "system"})
		}
	}
	found, err := kernel{}.Paths(keys)
	ways := make(map[netip.Addr]flows.Path, len(found))
	for key, p := range found {
		ways[key.Collector] = p
	}
	return ways, err
}

// doctorText is a line for each finding, the worst marked, with what to do below it.
func doctorText(results []doctor.Result, all bool) string {
	marks := map[doctor.Level]string{doctor.OK: "ok", doctor.Warning: "WARNING", doctor.Failure: "FAILURE", doctor.Skipped: "skipped"}
	var buf bytes.Buffer
	w := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	count := map[doctor.Level]int{}
	for i, r := range results {
		count[r.Level]++
		if r.Level == doctor.Skipped && !all {
			continue
		}
		what := r.Title
		if r.Session != "" {
			// What is the same of many sessions is said once.
			if len(sameOf(results[:i], r)) > 0 {
				continue
			}
			what += " (" + few(sameOf(results, r)) + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", marks[r.Level], session.Safe(what), session.Safe(r.Saw))
		if r.Do != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", session.Safe(r.Do))
		}
	}
	w.Flush()
	fmt.Fprintf(&buf, "\n%d ok, %s, %s, %d skipped: they concern nothing here, or could not be made (--all shows which)\n",
		count[doctor.OK], counted(count[doctor.Warning], "warning"), counted(count[doctor.Failure], "failure"), count[doctor.Skipped])
	return buf.String()
}

// sameOf are the sessions of which the same was found.
func sameOf(results []doctor.Result, as doctor.Result) (sessions []string) {
	for _, r := range results {
		if r.Session != "" && r.ID == as.ID && r.Level == as.Level && r.Saw == as.Saw && r.Do == as.Do {
			sessions = append(sessions, r.Session)
		}
	}
	return sessions
}

// counted is a number of things: "1 warning", "2 warnings".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

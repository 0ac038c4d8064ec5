package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// edit is a change of the wish that a command makes.
type edit struct {
	// change alters the wish and names the sessions that it added or altered, which are then checked.
	change func(w *session.Wish) (touched []string, err error)
	// about are, once it is made, the sessions whose statuses the command tells: reading a thousand takes its time. Where it
	// is nil, all are.
	about func() []string
	// acceptMissing takes sources that are not there as Pending, without asking each session.
	acceptMissing bool
	// renewIdentities notes anew who is behind the sources, as the user named them again.
	renewIdentities bool
	// ofHost tells that it changes what is wished for all sessions together.
	ofHost bool
	// noWait returns when the wish is stored.
	noWait bool
	// dryRun shows what would change, and changes nothing.
	dryRun bool
}

// dryRunFlag is --dry-run, of every command that changes something.
func dryRunFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "dry-run", false, "check and show what would change, and change nothing")
}

// makeAndTell makes the edit and tells of it, or with dryRun shows what it would change.
func (h *host) makeAndTell(ctx context.Context, e edit, tell func(status map[string]session.Status, err error) error) error {
	if e.dryRun {
		return h.dryRun(ctx, e)
	}
	return tell(h.make(ctx, e))
}

// make checks the edit, stores it, and sees to it that it is in force. It returns the statuses by name, at least of the
// sessions that it is about; nil with noWait.
func (h *host) make(ctx context.Context, e edit) (map[string]session.Status, error) {
	stops := true // it only takes away
	var stopped []session.Stored
	change := e.change
	e.change = func(w *session.Wish) ([]string, error) {
		was := slices.Clone(w.Sessions)
		touched, err := change(w)
		stops = len(touched) == 0 && !e.ofHost
		stopped = noLonger(was, w.Sessions)
		if err == nil && !stops && !e.noWait {
			// What cannot be put in force then is not stored. What stops is: a daemon may see to it.
			err = refuse(checkLock(h.app.rundir))
		}
		return touched, err
	}
	generation, err := h.store(ctx, e)
	if err != nil || e.noWait {
		return nil, err
	}
	h.reached("stored")
	status, failed, err := h.enforce(ctx, generation, stops, e.about)
	if err == nil && stops {
		// What is added tells by its state whether it is in force; what is gone cannot.
		err = h.notStopped(stopped, failed)
	}
	if err != nil {
		var faults []error // each on a line of its own
		for _, fault := range session.Flatten(err) {
			faults = append(faults, fmt.Errorf("stored (generation %d), but not in force: %w", generation, fault))
		}
		return nil, withCode(exitNotInForce, errors.Join(faults...))
	}
	return status, nil
}

// noLonger are the sessions that ran and do so no more.
func noLonger(was, is []session.Stored) (stopped []session.Stored) {
	runs := map[string]bool{}
	for _, s := range is {
		runs[s.Name] = !s.Stopped()
	}
	for _, s := range was {
		if !s.Stopped() && !runs[s.Name] {
			stopped = append(stopped, s)
		}
	}
	return stopped
}

// notStopped says which bridges in trouble the stopped sessions had a part in; those of others do not concern them.
func (h *host) notStopped(stopped []session.Stored, failed map[string]string) error {
	if len(failed) == 0 {
		return nil
	}
	state, err := h.db.State()
	if err != nil {
		return err
	}
	concerned := map[string]bool{}
	for _, s := range stopped {
		concerned[s.Bridge] = true
		for _, tapBridge := range flows.TapBridgeNames() {
			b, tb := state.Bridges[s.Bridge], state.Bridges[tapBridge]
			// Of a bridge that is gone, or of none, it cannot be told.
			concerned[tapBridge] = concerned[tapBridge] || b == nil || tb == nil || b.NormalDatapathType() == tb.NormalDatapathType()
		}
	}
	return joined(failed, func(bridge string) bool { return concerned[bridge] })
}

// joined are the things that are wrong with bridges, nil where nothing is.
func joined(failed map[string]string, with func(bridge string) bool) error {
	var faults []error
	for _, bridge := range slices.Sorted(maps.Keys(failed)) {
		if with(bridge) {
			faults = append(faults, errors.New(failed[bridge]))
		}
	}
	return errors.Join(faults...)
}

// store checks the edit against everything that can be known beforehand, and writes it.
func (h *host) store(ctx context.Context, e edit) (uint64, error) {
	generation, err := h.db.Update(ctx, func(w *session.Wish) error {
		was, broken := slices.Clone(w.Sessions), setOf(slices.Collect(maps.Keys(w.Broken)))
		touched, err := e.change(w)
		if err != nil {
			return err
		}
		if err := h.check(ctx, w, was, touched, e); err != nil {
			return judged(err)
		}
		h.altered = named(w.Sessions, touched)
		maps.DeleteFunc(broken, func(name string, _ bool) bool { _, still := w.Broken[name]; return still })
		h.changes = func(names []string) []session.Change { return session.Changes(was, w.Sessions, broken, names) }
		return nil
	})
	if err != nil {
		h.changes = nil // nothing was changed
	}
	return generation, err
}

// check judges the wish as it would be: each touched session by itself and against the host, all sessions together, and
// the plan that they make.
func (h *host) check(ctx context.Context, w *session.Wish, was []session.Stored, touched []string, e edit) error {
	if err := completeWish(w); err != nil {
		return err
	}
	if e.ofHost {
		if err := h.checkHostRate(ctx, w, was, e.dryRun); err != nil {
			return err
		}
	}
	if len(touched) == 0 {
		return nil // nothing is added or altered: stopping is never refused
	}
	view, err := h.view(named(w.Sessions, touched))
	if err != nil {
		return err
	}
	var faults []error
	var owners []string // of the expressions
	var rules []session.Expression
	isTouched := setOf(touched)
	for i := range w.Sessions {
		s := &w.Sessions[i]
		if !isTouched[s.Name] {
			continue
		}
		if err := s.Validate(); err != nil {
			faults = append(faults, err)
			continue
		}
		if err := h.checkExpiry(s.Session); err != nil {
			faults = append(faults, err)
			continue
		}
		if err := h.checkOnHost(view, s, e.acceptMissing); err != nil {
			faults = append(faults, err)
		}
		for _, r := range s.Expressions() {
			rules, owners = append(rules, r), append(owners, s.Name)
		}
		if e.renewIdentities {
			s.Identities = nil
		}
		rememberIdentities(view.State, s)
		renewRound(s, was)
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if err := session.CheckSet(specs(w.Sessions)); err != nil {
		return err
	}
	if err := h.checkMatches(ctx, rules, owners); err != nil {
		return err
	}
	if err := h.checkLimits(ctx, w, touched, e.dryRun); err != nil {
		return err
	}
	return h.checkPlan(ctx, w, was, touched)
}

// checkMatches asks Open vSwitch about the expressions, and names the one that it refuses.
func (h *host) checkMatches(ctx context.Context, rules []session.Expression, owners []string) error {
	exprs := make([]string, len(rules))
	for i, r := range rules {
		exprs[i] = r.Expr
	}
	err := h.ofctl.CheckMatches(ctx, exprs)
	var bad *flows.BadMatchError
	if !errors.As(err, &bad) {
		return err
	}
	i := slices.Index(exprs, bad.Expr)
	if i < 0 {
		return err
	}
	return &session.FieldError{Session: owners[i], Field: rules[i].Field, Value: bad.Expr, Reason: bad.Reason, Remedy: "see ovs-fields(7)"}
}

// checkHostRate refuses a rate for all sessions together that cannot be bounded without harm, or that would push a session
// out: its meter costs part of the per-packet budget.
func (h *host) checkHostRate(ctx context.Context, w *session.Wish, was []session.Stored, dryRun bool) error {
	if w.Host.MaxRate.IsZero() {
		return nil
	}
	all := make([]string, len(w.Sessions))
	for i, s := range w.Sessions {
		all[i] = s.Name
	}
	if err := h.checkLimits(ctx, w, all, dryRun); err != nil {
		return err
	}
	plan, err := h.controller.Plan(ctx, withSlots(w.Sessions))
	if err != nil {
		return err
	}
	return h.checkOthers(ctx, was, nil, plan.Program)
}

func unsafeRate(s session.Stored, datapath, harm string) error {
	e := session.FieldError{Session: s.Name, Field: "maxRate", Value: s.MaxRate.String(), Reason: fmt.Sprintf("datapath %s: %s", datapath, harm),
		Remedy: "leave it out, and narrow the session with a match or a snaplen instead"}
	if s.MaxRate.IsZero() {
		e.Session, e.Field, e.Value = "", "host.maxRate", s.HostRate.String()
	}
	return &e
}

// renewRound has a session that gets its first limit of packets or bytes count from now on.
func renewRound(s *session.Stored, was []session.Stored) {
	if !s.Bounded() {
		return
	}
	i := slices.IndexFunc(was, func(o session.Stored) bool { return o.Name == s.Name })
	if i >= 0 && !was[i].Bounded() {
		s.Round++
		s.Used = session.Used{}
	}
}

// checkLimits refuses rates that this Open vSwitch cannot bound without harm to production, which is tested on it. A dry run
// makes no test.
func (h *host) checkLimits(ctx context.Context, w *session.Wish, touched []string, dryRun bool) error {
	limited := slices.DeleteFunc(named(w.Sessions, touched), func(s session.Stored) bool { return !s.Limited() })
	if dryRun || len(limited) == 0 {
		return nil
	}
	unsafe, err := h.controller.ProveLimits(ctx, limited, false)
	if err != nil {
		return err
	}
	for datapath, harm := range unsafe {
		err = errors.Join(err, unsafeRate(limited[0], datapath, harm))
	}
	return err
}

// checkExpiry refuses an end that is over, and one that nobody would see to.
func (h *host) checkExpiry(s session.Session) error {
	if s.ExpiresAt == nil {
		return nil
	}
	left := time.Until(*s.ExpiresAt)
	if left <= 0 {
		return &session.FieldError{Session: s.Name, Field: "expiresAt", Value: s.ExpiresAt.Format(time.RFC3339), Reason: "is over", Allowed: "a time to come"}
	}
	if d, ok := readSign(h.app.rundir); (!ok || d.hung()) && left > flows.MaxHardTimeout {
		return &session.FieldError{Session: s.Name, Field: "expiresAt", Value: s.ExpiresAt.Format(time.RFC3339),
			Reason:  fmt.Sprintf("is in %s, but no daemon is running to remove it", left.Round(time.Second)),
			Allowed: fmt.Sprintf("%s at most, after which a flow of Open vSwitch can end by itself", flows.MaxHardTimeout),
			Remedy:  "choose a shorter time (--expires-in), or start the daemon ('ovs-erspan run')"}
	}
	return nil
}

// checkOnHost checks a session against the host; what is only missing may be accepted.
func (h *host) checkOnHost(view flows.Host, s *session.Stored, acceptMissing bool) error {
	err := flows.CheckHost(s.Session, view)
	if err == nil || !acceptMissing && !s.AllowMissing {
		return err
	}
	// What is only missing may come.
	rest := slices.DeleteFunc(session.Flatten(err), func(err error) bool {
		var missing *flows.MissingError
		return errors.As(err, &missing)
	})
	return errors.Join(rest...)
}

// checkPlan refuses what would not fit beside the other sessions: mirrors, the per-packet budget, tunnel ports.
func (h *host) checkPlan(ctx context.Context, w *session.Wish, was []session.Stored, touched []string) error {
	// New sessions have no slot yet; any that is free will do for a plan.
	sessions := withSlots(w.Sessions)
	plan, err := h.controller.Plan(ctx, sessions)
	if err != nil {
		return err
	}
	var faults []error
	for _, name := range touched {
		out := plan.Program.Outcomes[name]
		if out == nil {
			continue
		}
		if out.State == session.Failed {
			faults = append(faults, fmt.Errorf("session %q: %s", name, out.Message))
		}
		for _, co := range out.Collectors {
			if co.Cut != "" {
				faults = append(faults, fmt.Errorf("session %q: collector %s: %s: choose a smaller --snaplen, or auto", name, co.Address, co.Cut))
			}
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return h.checkOthers(ctx, was, touched, plan.Program)
}

// checkOthers refuses a change that would push another session out.
func (h *host) checkOthers(ctx context.Context, was []session.Stored, touched []string, after flows.Program) error {
	var suspects []string
	isTouched := setOf(touched)
	for _, s := range was {
		out := after.Outcomes[s.Name]
		if out != nil && out.State == session.Failed && !isTouched[s.Name] {
			suspects = append(suspects, s.Name)
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	before, err := h.controller.Plan(ctx, was)
	if err != nil {
		return err
	}
	for _, name := range suspects {
		if before.Program.Outcomes[name].State != session.Failed {
			return fmt.Errorf("session %q would no longer fit: %s", name, after.Outcomes[name].Message)
		}
	}
	return nil
}

// completeWish fills in defaults and gives session ids to those who have none.
func completeWish(w *session.Wish) error {
	w.ShareHost()
	all := specs(w.Sessions)
	for i := range all {
		all[i] = all[i].Defaulted()
	}
	all, err := session.AssignSessionIDs(all)
	if err != nil {
		return err
	}
	for i := range all {
		w.Sessions[i].Session = all[i]
	}
	return nil
}

// named are those of the sessions that have one of the names.
func named(sessions []session.Stored, names []string) []session.Stored {
	is := setOf(names)
	return slices.DeleteFunc(slices.Clone(sessions), func(s session.Stored) bool { return !is[s.Name] })
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func specs(stored []session.Stored) []session.Session {
	all := make([]session.Session, len(stored))
	for i, s := range stored {
		all[i] = s.Session
	}
	return all
}

// withSlots gives those that have none the slots that the store will give them: the lowest that are free.
func withSlots(stored []session.Stored) []session.Stored {
	all := slices.Clone(stored)
	taken := map[uint32]bool{0: true}
	for _, s := range all {
		taken[s.Slot] = true
	}
	next := uint32(1)
	for i := range all {
		if all[i].Slot != 0 {
			continue
		}
		for taken[next] {
			next++
		}
		all[i].Slot, taken[next] = next, true
	}
	return all
}

// rememberIdentities notes who is behind each source of the session now. What was noted before stays.
func rememberIdentities(state flows.State, s *session.Stored) {
	if s.Type == session.Destination {
		return
	}
	ids := map[string]session.Identity{}
	for _, source := range s.Sources.Ports {
		if id, ok := s.Identities[source]; ok {
			ids[source] = id
			continue
		}
		one := session.Session{Bridge: s.Bridge, Sources: session.Sources{Ports: []string{source}}}
		if ports, _ := flows.ResolveSources(one, state.Bridges[s.Bridge]); len(ports) == 1 {
			ids[source] = flows.IdentityOf(ports[0])
		}
	}
	s.Identities = ids
}

// inForce turns statuses that are not Active into an error for the exit code.
func inForce(status map[string]session.Status, names []string) error {
	var faults []error
	for _, name := range names {
		st, ok := status[name]
		if !ok || st.State == session.Active || st.State == session.Disabled {
			continue
		}
		faults = append(faults, &notInForceError{name, st})
	}
	return withCode(exitNotInForce, errors.Join(faults...))
}

// notInForceError says that a session was stored, and why it is not, or not wholly, in force.
type notInForceError struct {
	session string
	status  session.Status
}

func (e *notInForceError) Error() string {
	_, fault := e.About()
	return fmt.Sprintf("session %q is %s", e.session, fault)
}

// About is for faults that many sessions have.
func (e *notInForceError) About() (session, fault string) {
	return e.session, fmt.Sprintf("stored and not wholly in force: %s, %s: %s", e.status.State, e.status.Reason, e.status.Message)
}

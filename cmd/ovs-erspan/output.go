package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ovs-erspan/ovs-erspan/flows"
	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/underlay"
)

// print writes the object for programs, or the text for people.
func (a *app) print(object any, text string) error {
	switch a.output {
	case "json":
		data, err := asJSON(object)
		if err == nil {
			_, err = a.out.Write(data)
		}
		return err
	case "yaml":
		data, err := yaml.Marshal(object)
		if err != nil || !bytes.Equal(session.SafeJSON(data), data) {
			data, err = asJSON(object) // which is YAML too, and can hold everything, escaped
		}
		if err == nil {
			_, err = a.out.Write(data)
		}
		return err
	}
	// What others have written into OVSDB, such as names of ports, is shown as it is, but does nothing to the terminal.
	for line := range strings.Lines(text) {
		rest, end := strings.CutSuffix(line, "\n")
		columns := strings.Split(rest, "\t")
		for i, c := range columns {
			columns[i] = session.Safe(c)
		}
		line = strings.Join(columns, "\t")
		if end {
			line += "\n"
		}
		if _, err := io.WriteString(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

// asJSON is an object as it may be shown on a terminal.
func asJSON(object any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(object)
	return session.SafeJSON(b.Bytes()), err
}

// changedSession is what a command says of a session that it was asked to change.
type changedSession struct {
	Result        session.ChangeKind `json:"result"`
	ChangedFields []string           `json:"changedFields,omitempty"`
	session.Status
}

// report says what became of the sessions that a command changed; its error carries the exit code of what is not in
// force. It is said with the word done where there is one, else as what was changed.
func (h *host) report(status map[string]session.Status, done string, noWait bool, names ...string) error {
	if h.changes == nil || status == nil && !noWait {
		return nil // the change failed: its error says so
	}
	text := ""
	object := map[string]changedSession{}
	for _, c := range h.changes(names) {
		name, st := c.Name, status[c.Name]
		object[name] = changedSession{c.Kind, c.Fields, st}
		text += fmt.Sprintf("session %q %s", name, changeText(c, done))
		switch {
		case noWait:
			text += h.app.storedNote(true) + "\n"
			continue
		case st.State == session.Active && st.Effective != nil:
			text += fmt.Sprintf(": Active, session id %d\n", st.Effective.SessionID)
			for _, c := range st.Collectors {
				text += fmt.Sprintf("  to %s from %s through %s, up to %d bytes of each frame (%s)\n", c.Address, c.Origin, c.Device, c.Snaplen, c.SnaplenReason)
			}
		default:
			text += fmt.Sprintf(": %s\n", st.State)
		}
	}
	if err := h.app.print(object, text); err != nil {
		return err
	}
	if noWait {
		return nil
	}
	h.noteCosts()
	return inForce(status, names)
}

// storedNote says of a change that nobody waits for what it is.
func (a *app) storedNote(noWait bool) string {
	if !noWait {
		return ""
	}
	return ": stored, not in force yet (" + a.whoReconciles() + " puts it in force)"
}

// changeText is what became of a session, in words: "changed (snaplen)".
func changeText(c session.Change, done string) string {
	switch {
	case c.Kind == session.Unchanged && done != "":
		return fmt.Sprintf("%s already", done)
	case done != "":
		return done
	case len(c.Fields) > 0:
		return fmt.Sprintf("%s (%s)", c.Kind, strings.Join(c.Fields, ", "))
	}
	return string(c.Kind)
}

// quietNotes tells whether notes for people are out of place.
func (a *app) quietNotes() bool { return a.output == "json" || a.output == "yaml" }

// noteUnattended tells people, on standard error, that nobody keeps in force what they have just put in force; not where that
// failed. It returns the failure.
func (h *host) noteUnattended(failure error) error {
	if failure == nil && h.unattended && !h.app.quietNotes() {
		fmt.Fprintln(h.app.err, "note: no daemon is running to keep this in force when ports, routes or Open vSwitch come and go: 'ovs-erspan run' is one")
	}
	return failure
}

// noteCosts tells people, on standard error, what they may not expect of the sessions that were altered, such as what a match
// costs production.
func (h *host) noteCosts() {
	if h.app.quietNotes() {
		return
	}
	for _, s := range h.altered {
		if s.Type == session.Destination && s.Bridge == "" {
			h.noteHostStack(s.OutputPort)
		}
		if h.unattended && s.Bounded() {
			fmt.Fprintf(h.app.err, "note: session %q ends after so many packets or bytes only where somebody looks at its counters: that is the daemon; without it each command that changes something does, and 'ovs-erspan run --once'\n", s.Name)
		}
		if s.CopiesTwice() {
			fmt.Fprintf(h.app.err, "note: session %q copies a frame from one of its sources to another twice, as it comes in and as it goes out; version 1 does not tell which is which: --erspan-version 2 does, and --direction ingress copies it once\n", s.Name)
		}
		if fields := narrowing(s.Session); fields != "" {
			fmt.Fprintf(h.app.err, "note: matching %s puts it into production's megaflows too: more of them, and more upcalls (docs/cost.md)\n", fields)
		}
	}
}

// noteHostStack tells where the host's own stack cannot be kept from a device that was attached.
func (h *host) noteHostStack(device string) {
	state, err := h.db.State()
	if err != nil || !slices.Contains(flows.IsolatedBefore(state, flows.Program{}), device) {
		return
	}
	if left, err := underlay.Isolation(state.UUID, []string{device}); err != nil || slices.ContainsFunc(left, func(s string) bool { return strings.HasPrefix(s, "+") }) {
		fmt.Fprintf(h.app.err, "note: the host's own stack also gets what arrives at device %s, and answers ARP requests there: nftables' family netdev cannot be used (see 'ovs-erspan doctor')\n", device)
	}
}

// noteRestored tells people of an accident of the store that is not long ago.
func (h *host) noteRestored() {
	if h.app.quietNotes() {
		return
	}
	wish, err := h.db.Wish() // where it cannot be read, who asks next says so
	if err == nil && wish.Restored != nil {
		fmt.Fprintf(h.app.err, "note: somebody deleted the session store; at %s it was restored from %s ('ovs-erspan doctor' says more)\n",
			wish.Restored.At.Format(time.RFC3339), wish.Restored.From)
	}
}

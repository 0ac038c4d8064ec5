package flows

import "slices"

// Needs tells whether a session needs the row of ours with that name: a mirror, or a port.
func (o *Outcome) Needs(row string) bool {
	for _, t := range o.Taps {
		if row == t.MirrorName() || row == t.ProductionPort || row == t.TapPort || t.Segmented && (row == t.Devices.In || row == t.Devices.Out) {
			return true
		}
	}
	return slices.Contains(o.receives, row) || slices.ContainsFunc(o.Collectors, func(co CollectorOutcome) bool { return co.tunnel == row })
}

// Contested tells whether a reason says that somebody else keeps undoing what is ours.
func Contested(reason string) bool {
	return reason == ReasonFlowContested || reason == ReasonMirrorContested
}

// Narrows tells whether the mirror copies nothing that another does not, to the same port: to set it only stops copies.
func (m *Mirror) Narrows(is *Mirror) bool {
	if is == nil || m.OutputPort != is.OutputPort || !slices.Equal(m.SelectVLAN, is.SelectVLAN) && (len(is.SelectVLAN) > 0 || len(m.SelectVLAN) == 0) {
		return false
	}
	within := func(these, those []string) bool {
		return !slices.ContainsFunc(these, func(p string) bool { return !slices.Contains(those, p) })
	}
	return is.SelectAll || within(m.SelectSrcPort, is.SelectSrcPort) && within(m.SelectDstPort, is.SelectDstPort)
}

package flows

import "fmt"

// RowOp is one change of OVSDB rows. A plan is a short list of transactions, each a list of RowOps that OVSDB commits
// as one. Exactly one of the fields that say what is to be done is set.
type RowOp struct {
	// Bridge is the name of the bridge that is created, changed or removed, or that has the port or mirror.
	Bridge string

	AddBridge *Bridge // without ports: its local port of the same name is made with it
	SetBridge *Bridge // FailMode, Protocols, ExternalIDs, OtherConfig, MTURequest become these
	DelBridge bool

	AddPort *Port  // with its interfaces
	SetPort *Port  // an existing port of that name: Tag, Trunks, VLANMode, ExternalIDs, OtherConfig, and each interface's Type, Options, ExternalIDs, OFPortRequest become these
	DelPort string // by name, with its interfaces

	AddMirror *Mirror
	SetMirror *Mirror // the mirror with that UUID: every column becomes this
	DelMirror string  // by UUID
}

// String says in a line what the op does, as `plan` shows it.
func (op RowOp) String() string {
	switch {
	case op.AddBridge != nil:
		return fmt.Sprintf("+ bridge %s (datapath %s, fail mode %s)", op.Bridge, op.AddBridge.NormalDatapathType(), op.AddBridge.FailMode)
	case op.SetBridge != nil:
		return fmt.Sprintf("~ bridge %s", op.Bridge)
	case op.DelBridge:
		return fmt.Sprintf("- bridge %s", op.Bridge)
	case op.AddPort != nil:
		return fmt.Sprintf("+ port %s on %s%s", op.AddPort.Name, op.Bridge, describeInterfaces(op.AddPort))
	case op.SetPort != nil:
		return fmt.Sprintf("~ port %s on %s%s", op.SetPort.Name, op.Bridge, describeInterfaces(op.SetPort))
	case op.DelPort != "":
		return fmt.Sprintf("- port %s on %s", op.DelPort, op.Bridge)
	case op.AddMirror != nil:
		return fmt.Sprintf("+ mirror %s on %s%s", op.AddMirror.Name, op.Bridge, describeMirror(op.AddMirror))
	case op.SetMirror != nil:
		return fmt.Sprintf("~ mirror %s on %s%s", op.SetMirror.Name, op.Bridge, describeMirror(op.SetMirror))
	case op.DelMirror != "":
		return fmt.Sprintf("- mirror %s on %s", op.DelMirror, op.Bridge)
	}
	return "nothing"
}

func describeInterfaces(p *Port) string {
	text := ""
	for _, i := range p.Interfaces {
		text += fmt.Sprintf(" (%s %v)", i.Type, i.Options)
	}
	return text
}

func describeMirror(m *Mirror) string {
	text := ""
	if len(m.SelectSrcPort) > 0 {
		text += fmt.Sprintf(" from %v", m.SelectSrcPort)
	}
	if len(m.SelectDstPort) > 0 {
		text += fmt.Sprintf(" to %v", m.SelectDstPort)
	}
	if len(m.SelectVLAN) > 0 {
		text += fmt.Sprintf(" in VLAN %v", m.SelectVLAN)
	}
	return text + " out " + m.OutputPort
}

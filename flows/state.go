package flows

import "strings"

// State is what was observed of one Open vSwitch, as far as planning needs it: rows as they are in OVSDB, without the
// columns that change all the time.
type State struct {
	// UUID is that of the row of the table Open_vSwitch: which Open vSwitch this is.
	UUID string
	// Bridges by name.
	Bridges map[string]*Bridge
	// OVSVersion is Open_vSwitch.ovs_version, such as "3.1.0".
	OVSVersion string
	// OtherConfig is Open_vSwitch.other_config (hw-offload, vlan-limit, userspace-tso-enable…).
	OtherConfig map[string]string
	// Delivered are the production bridges that may have flows of ours, as the store has noted.
	Delivered []string
}

// HWOffload tells whether Open vSwitch may hand flows to network cards (vswitchd.conf.db(5), other_config:hw-offload; read
// as lib/smap.c reads a boolean). It takes effect when ovs-vswitchd starts.
func (s State) HWOffload() bool { return strings.EqualFold(s.OtherConfig["hw-offload"], "true") }

// UserspaceTSO tells whether ports of the userspace datapath hand on TCP segments that are still to be cut, checksums that are
// still to be made (vswitchd.conf.db(5), other_config:userspace-tso-enable). It takes effect when ovs-vswitchd starts.
func (s State) UserspaceTSO() bool {
	return strings.EqualFold(s.OtherConfig["userspace-tso-enable"], "true")
}

// Bridge is a row of the table Bridge with its ports and mirrors (vswitchd.conf.db(5)).
type Bridge struct {
	UUID         string
	Name         string
	DatapathType string // as in the row: "" is "system"
	FailMode     string // "", "secure" or "standalone"
	Protocols    []string
	ExternalIDs  map[string]string
	OtherConfig  map[string]string
	Ports        map[string]*Port
	Mirrors      map[string]*Mirror // by UUID: Mirror names need not be unique
	// MTURequest is what the row of its local port's interface requests; 0: nothing, and it is the smallest of the others'.
	MTURequest int
}

// Port is a row of the table Port.
type Port struct {
	UUID        string
	Name        string
	Tag         *int
	Trunks      []int  // sorted
	VLANMode    string // "" where the row has none
	ExternalIDs map[string]string
	OtherConfig map[string]string
	Interfaces  []*Interface // sorted by name; more than one is a bond
}

// Interface is a row of the table Interface.
type Interface struct {
	UUID          string
	Name          string
	Type          string
	Options       map[string]string
	ExternalIDs   map[string]string
	OFPort        int // 0: not known yet; -1: could not be opened
	OFPortRequest int // 0: none
	MTU           int // 0: not known
	Error         string
}

// Mirror is a row of the table Mirror. Ports are named, not numbered: a port that is gone is gone from the lists.
type Mirror struct {
	UUID          string
	Name          string
	SelectAll     bool
	SelectSrcPort []string // names, sorted
	SelectDstPort []string // names, sorted
	SelectVLAN    []int    // sorted
	OutputPort    string   // name, "" where there is none
	OutputVLAN    *int
	Snaplen       *int
	ExternalIDs   map[string]string
}

// OwnerKey is the key in external_ids by which our rows are known; the value says what the row is.
const OwnerKey = "ovs-erspan"

// Ours reports whether a row's external_ids carry our mark.
func Ours(externalIDs map[string]string) bool {
	_, ok := externalIDs[OwnerKey]
	return ok
}

// NormalDatapathType is the datapath type of a bridge with the default spelled out: "system" or "netdev" (or, in OVS's
// own tests, "dummy").
func (b *Bridge) NormalDatapathType() string {
	if b.DatapathType == "" {
		return "system"
	}
	return b.DatapathType
}

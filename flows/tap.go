package flows

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Tap is one mirrored set of sources: one Mirror on the production bridge and one patch pair to the tap bridge. Sessions
// with the same tap share it. The copies of a segmented tap pass a pair of devices on the tap bridge (see Veth).
type Tap struct {
	Key       string // what makes it this tap, see tapKey
	Bridge    string // the production bridge
	Ports     []string
	VLANs     []int
	Direction session.Direction
	// Strip is the VLAN that the bridge pushed and the source's wire does not have; 0 for none.
	Strip int
	// ProductionPort and TapPort are the two ends of the patch.
	ProductionPort, TapPort string
	Segmented               bool
	Devices                 Veth // of a segmented tap
	// OFPort is the number of EntryPort on the tap bridge.
	OFPort  int
	patch   portNumber // of TapPort
	in, out portNumber // of the devices
	Slots   []uint32
}

// portNumber is a port's number on the tap bridge, and the one that its row requests; OVS may have given another.
type portNumber struct{ ofport, request int }

// EntryPort is the port of the tap bridge through which single copies come: where they are counted, guarded and handed out.
func (t *Tap) EntryPort() string {
	if t.Segmented {
		return t.Devices.Out
	}
	return t.TapPort
}

// number gives the tap's ports on the tap bridge their numbers.
func (t *Tap) number(numbers *portNumbers) {
	of := func(port string) (n portNumber) {
		n.ofport, n.request = numbers.of(port)
		return n
	}
	t.patch = of(t.TapPort)
	t.OFPort = t.patch.ofport
	if t.Segmented {
		t.in, t.out = of(t.Devices.In), of(t.Devices.Out)
		t.OFPort = t.out.ofport
	}
}

// tapWish is a tap that a session asks for, before sessions are joined on taps.
type tapWish struct {
	bridge    string
	selector  string   // the sources as wished: "all", or the sorted list
	was       []former // see retire
	ports     []string
	vlans     []int
	direction session.Direction
	strip     int
	segmented bool
	key       string // see tapKey
}

// former is a tap that earlier releases made of a wish.
type former struct {
	key       string
	direction session.Direction
}

// tapKey identifies a tap by what was wished, not by the ports that happen to be there: a port that goes and comes back
// finds the same tap.
func tapKey(w tapWish) string {
	key := w.bridge + "|" + w.selector + "|" + fmt.Sprint(w.vlans) + "|" + string(w.direction) + "|" + strconv.Itoa(w.strip)
	if w.segmented {
		key += segmentedKey
	}
	return key
}

// The ends of a segmented tap's key: now, and in releases that had the devices in the place of the patch pair.
const (
	segmentedKey = "|devices"
	formerKey    = "|segmented"
)

// keys are all that the tap of a wish may have: whether it is segmented depends on the way to the collectors, and what an
// earlier release made stays until its successor is there.
func (w tapWish) keys() []string {
	w.segmented = false
	plain := tapKey(w)
	keys := []string{plain, plain + segmentedKey, plain + formerKey}
	for _, was := range w.was {
		keys = append(keys, was.key, was.key+formerKey)
	}
	return keys
}

// segment has the session's taps take super-frames apart. It fails the session where others have what it needs the names
// of: devices, by their kind, or ports, by their bridge.
func (pl *planned) segment(devices, taken map[string]string) bool {
	var names, ports []string
	for i := range pl.wishes {
		w := &pl.wishes[i]
		for n := range w.was {
			w.was[n].key += formerKey
		}
		w.was = append(w.was, former{w.key + formerKey, w.direction})
		w.segmented = true
		w.key = tapKey(*w)
		pair := deviceNames(w.key)
		names = append(names, pair.In, pair.Out)
		production, tap := patchNames(w.key)
		ports = append(ports, production, tap)
	}
	for _, name := range names {
		if kind := devices[name]; kind != "" {
			fail(pl.out, ReasonNameTaken, fmt.Sprintf("network device %q has a name of ours and is not ours (%s): remove or rename it", name, kind))
			return false
		}
	}
	return pl.namesFree(taken, append(ports, names...))
}

// tapWishes are the taps of one session over the ports that are there. `both` is a tap for each direction in either version:
// one Mirror of both copies nothing of what production's pipeline turns around (a router's replies, ARP and DHCP answers),
// because it has copied that packet already. So a frame from one source to another is copied twice.
func tapWishes(s session.Session, ports []*Port) []tapWish {
	selector := "all"
	if !s.Sources.All {
		selector = strings.Join(slices.Sorted(slices.Values(s.Sources.Ports)), ",")
	}
	directions := []session.Direction{s.Direction}
	if s.Direction == session.Both {
		directions = []session.Direction{session.Ingress, session.Egress}
	}
	byStrip := map[int][]string{}
	for _, p := range ports {
		vid := pushedVLAN(p)
		byStrip[vid] = append(byStrip[vid], p.Name)
	}
	var wishes []tapWish
	vlans := slices.Sorted(slices.Values(s.VLANs))
	for _, strip := range slices.Sorted(maps.Keys(byStrip)) {
		names := byStrip[strip]
		slices.Sort(names)
		for _, d := range directions {
			w := tapWish{bridge: s.Bridge, selector: selector, ports: names, vlans: vlans, direction: d, strip: strip}
			w.key = tapKey(w)
			if s.Direction == session.Both && d == session.Ingress && s.ERSPAN.Version == 1 {
				key := tapKey(tapWish{bridge: s.Bridge, selector: selector, vlans: vlans, direction: session.Both, strip: strip})
				w.was = []former{{key, session.Both}} // of this and its twin
			}
			wishes = append(wishes, w)
		}
	}
	return wishes
}

// pushedVLAN is the VLAN that a copy of the port's frames shows although the port's wire does not carry it
// (vswitchd.conf.db(5), Port, "VLAN Configuration"): an access port's, a native-untagged port's native VLAN, and a
// dot1q-tunnel port's service VLAN.
func pushedVLAN(p *Port) int {
	if p.Tag == nil {
		return 0
	}
	switch p.VLANMode {
	case "", "access", "native-untagged", "dot1q-tunnel":
		return *p.Tag
	}
	return 0
}

// patchNames are the names of a tap's two patch ports. They come from the key, so that planning needs no memory; 15
// characters is what a device name may have.
func patchNames(key string) (production, tap string) {
	id := portID(key)
	return "es-" + id + "-p", "es-" + id + "-t"
}

func portID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:5])
}

// joinTaps makes the taps of all sessions of one tap bridge, sessions with the same wish on one.
func joinTaps(bySlot map[uint32]*planned) []*Tap {
	byKey := map[string]*Tap{}
	for _, slot := range slices.Sorted(maps.Keys(bySlot)) {
		for _, w := range bySlot[slot].wishes {
			tap := byKey[w.key]
			if tap == nil {
				tap = &Tap{Key: w.key, Bridge: w.bridge, Ports: w.ports, VLANs: w.vlans, Direction: w.direction, Strip: w.strip, Segmented: w.segmented}
				tap.ProductionPort, tap.TapPort = patchNames(w.key)
				if w.segmented {
					tap.Devices = deviceNames(w.key)
				}
				byKey[w.key] = tap
			}
			tap.Slots = append(tap.Slots, slot)
		}
	}
	taps := slices.Collect(maps.Values(byKey))
	slices.SortFunc(taps, func(a, b *Tap) int { return cmp.Compare(a.Key, b.Key) })
	return taps
}

// mirror is the tap's row on the production bridge.
func (t *Tap) mirror() *Mirror {
	m := &Mirror{
		Name:        t.MirrorName(),
		SelectVLAN:  t.VLANs,
		OutputPort:  t.ProductionPort,
		ExternalIDs: map[string]string{OwnerKey: "tap", tapIDKey: t.Key},
	}
	if t.Direction != session.Egress {
		m.SelectSrcPort = t.Ports
	}
	if t.Direction != session.Ingress {
		m.SelectDstPort = t.Ports
	}
	return m
}

// MirrorName is the name of the tap's Mirror on the production bridge.
func (t *Tap) MirrorName() string {
	return "ovs-erspan-" + strings.TrimSuffix(strings.TrimPrefix(t.ProductionPort, "es-"), "-p")
}

// tapIDKey is the key in external_ids under which a tap's rows carry its key, for whoever reads the rows.
const tapIDKey = "ovs-erspan-tap"

// productionPort is the patch's end on the production bridge.
func (t *Tap) productionPort() *Port {
	p := closedPatch(t.ProductionPort, t.TapPort, map[string]string{OwnerKey: "tap"})
	p.ExternalIDs = map[string]string{OwnerKey: "tap", tapIDKey: t.Key}
	return p
}

// closedPatch is a patch port on a production bridge that is closed to all but what we use it for: a patch port is a port,
// into which NORMAL floods, and on which STP runs. trunks=4095 stops flooding and learning both ways, while Mirror output
// and a flow's output ignore it; priority-tags=always keeps a tag with VLAN 0.
func closedPatch(name, peer string, ids map[string]string) *Port {
	return &Port{
		Name:        name,
		Trunks:      []int{4095},
		ExternalIDs: ids,
		OtherConfig: map[string]string{"rstp-enable": "false", "stp-enable": "false", "priority-tags": "always"},
		Interfaces:  []*Interface{{Name: name, Type: "patch", Options: map[string]string{"peer": peer}, ExternalIDs: ids}},
	}
}

// tapPorts are the patch's end on the tap bridge, and the devices.
func (t *Tap) tapPorts() []*Port {
	port := func(name string, n portNumber, kind string, options map[string]string) *Port {
		return &Port{Name: name, ExternalIDs: map[string]string{OwnerKey: "tap", tapIDKey: t.Key}, Interfaces: []*Interface{{
			Name: name, Type: kind, Options: options, ExternalIDs: map[string]string{OwnerKey: "tap"}, OFPortRequest: n.request,
		}}}
	}
	ports := []*Port{port(t.TapPort, t.patch, "patch", map[string]string{"peer": t.ProductionPort})}
	if t.Segmented {
		ports = append(ports, port(t.Devices.In, t.in, "", nil), port(t.Devices.Out, t.out, "", nil))
	}
	return ports
}

// letGo ends a tap's copies on the kernel's datapath, so that none of them is the last thing that becomes of a packet.
//
// All outputs of a packet but the last get a clone of it, which belongs to nobody; the last gets the packet itself, which
// belongs to the socket that sent it, and counts against that socket's buffer until it is gone. A copy for a collector that
// does not answer waits for up to three seconds. Where that is a packet of this host's (a container's, behind a veth),
// its sender would stand still meanwhile: 6 of 20 pings went out, and TCP does no better. What is output last here is the
// first 14 bytes, to our bridge's own device, which is down (and which could make nothing of them were it up). The clone is
// as in sendTo.
const letGo Action = "clone(output(port=LOCAL,max_len=14))"

// flows are the tap's flows in tables 0 and 5.
func (t *Tap) flows(datapath string, into func(slot uint32) Action) []Flow {
	direction := uint64(0)
	if t.Direction == session.Egress {
		direction = 1
	}
	var fan []Action
	if direction == 1 {
		fan = append(fan, setField("1", "tun_erspan_dir"))
	}
	for _, slot := range t.Slots {
		fan = append(fan, into(slot))
	}
	if datapath == "system" {
		fan = append(fan, letGo)
	}
	id := uint32(t.OFPort)
	first := Flow{TableClassify, priorityNormal, NewCookie(StageArrived, id), Match{Fields: []string{inPort(t.OFPort)}}, []Action{gotoTable(TableGuard)}}
	all := []Flow{{TableGuard, priorityNormal, NewCookie(StageTapped, id), Match{Fields: []string{inPort(t.OFPort)}}, fan}}
	if t.Segmented {
		// What comes out of the devices is counted: single frames, as they are sent. That this is the last output does no
		// harm: nothing waits in a device, and what comes out ends with letGo.
		all = append(all, first)
		first = Flow{TableClassify, priorityNormal, NewCookie(StageSegmented, id), Match{Fields: []string{inPort(t.patch.ofport)}}, []Action{outputTo(t.in.ofport)}}
	}
	if t.Direction == session.Ingress {
		// Open vSwitch copies a packet again after each recirculation, in forms that were on no wire (docs/traps.md, 38). Only
		// here it can be told: what comes out of a device is a new packet.
		repeated := first
		repeated.Priority, repeated.Cookie, repeated.Actions = priorityOther, NewCookie(StageRepeated, id), drop()
		first.Match.Fields = append([]string{"recirc_id=0"}, first.Match.Fields...)
		all = append(all, repeated)
	}
	all = append(all, first)
	if t.Strip != 0 {
		all = append(all, Flow{
			TableGuard, priorityStrip, NewCookie(StageTappedStrip, id),
			Match{Fields: []string{inPort(t.OFPort), fmt.Sprintf("dl_vlan=%d", t.Strip)}},
			append([]Action{"pop_vlan"}, fan...),
		})
	}
	return all
}

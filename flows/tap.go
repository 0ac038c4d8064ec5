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
// with the same tap share it. A segmented tap has a pair of devices in the patch's place (see Veth).
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
	OFPort                  int // of TapPort on the tap bridge
	request                 int // the number that TapPort's row requests; OVS may have given another
	Slots                   []uint32
}

// tapWish is a tap that a session asks for, before sessions are joined on taps.
type tapWish struct {
	bridge    string
	selector  string // the sources as wished: "all", or the sorted list
	was       string // the key of the one tap that earlier releases made of this and its twin, see retire; "" where none
	ports     []string
	vlans     []int
	direction session.Direction
	strip     int
	segmented bool
	key       string // see tapKey
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

// segmentedKey ends the key of a segmented tap.
const segmentedKey = "|segmented"

// segment has the session's taps take super-frames apart. It fails the session where others have what it needs the names
// of: devices, by their kind, or ports, by their bridge.
func (pl *planned) segment(devices, taken map[string]string) bool {
	var names []string
	for i := range pl.wishes {
		w := &pl.wishes[i]
		w.segmented = true
		w.key = tapKey(*w)
		if w.was != "" {
			w.was += segmentedKey
		}
		production, tap := patchNames(w.key)
		names = append(names, production, tap)
	}
	for _, name := range names {
		if kind := devices[name]; kind != "" {
			fail(pl.out, ReasonNameTaken, fmt.Sprintf("network device %q has a name of ours and is not ours (%s): remove or rename it", name, kind))
			return false
		}
	}
	return pl.namesFree(taken, names)
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
				w.was = tapKey(tapWish{bridge: s.Bridge, selector: selector, vlans: vlans, direction: session.Both, strip: strip})
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
	if t.Segmented {
		p.Interfaces[0].Type, p.Interfaces[0].Options = "", nil
	}
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

// tapPort is the patch's end on the tap bridge.
func (t *Tap) tapPort() *Port {
	i := &Interface{
		Name: t.TapPort, Type: "patch", Options: map[string]string{"peer": t.ProductionPort},
		ExternalIDs: map[string]string{OwnerKey: "tap"}, OFPortRequest: t.request,
	}
	if t.Segmented {
		i.Type, i.Options = "", nil
	}
	return &Port{Name: t.TapPort, ExternalIDs: map[string]string{OwnerKey: "tap", tapIDKey: t.Key}, Interfaces: []*Interface{i}}
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
	arrived := Flow{TableClassify, priorityNormal, NewCookie(StageArrived, id), Match{Fields: []string{inPort(t.OFPort)}}, []Action{gotoTable(TableGuard)}}
	all := []Flow{{TableGuard, priorityNormal, NewCookie(StageTapped, id), Match{Fields: []string{inPort(t.OFPort)}}, fan}}
	if t.Direction == session.Ingress {
		// Open vSwitch copies a packet again after each recirculation, in forms that were on no wire (docs/traps.md, 38).
		arrived.Match.Fields = []string{"recirc_id=0", inPort(t.OFPort)}
		all = append(all, Flow{TableClassify, priorityOther, NewCookie(StageRepeated, id), Match{Fields: []string{inPort(t.OFPort)}}, drop()})
	}
	all = append(all, arrived)
	if t.Strip != 0 {
		all = append(all, Flow{
			TableGuard, priorityStrip, NewCookie(StageTappedStrip, id),
			Match{Fields: []string{inPort(t.OFPort), fmt.Sprintf("dl_vlan=%d", t.Strip)}},
			append([]Action{"pop_vlan"}, fan...),
		})
	}
	return all
}

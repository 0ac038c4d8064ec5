package flows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// tunnelFor is the tunnel port that a session's copies to a collector leave through. One flow-mode port serves every
// session of a datapath (on the kernel's, one a family). A session with its own DSCP, TTL or origin has ports of its own:
// no OpenFlow field sets those (vswitchd.conf.db(5), Interface, "Tunnel Options").
func tunnelFor(s *session.Session, collector netip.Addr, datapath string) *Port {
	kind := "erspan"
	if datapath == "system" && collector.Is6() {
		kind = "ip6erspan"
	}
	name := tunnelName(s, collector, datapath)
	options := tunnelOptions(s, collector)
	if datapath == "system" && collector.Is4() {
		// A copy that is larger than the path leaves in fragments; with DF it would vanish, uncounted.
		options["df_default"] = "false"
	}
	return &Port{
		Name:        name,
		ExternalIDs: map[string]string{OwnerKey: "tunnel"},
		Interfaces:  []*Interface{{Name: name, Type: kind, Options: options, ExternalIDs: map[string]string{OwnerKey: "tunnel"}}},
	}
}

// tunnelName is the name of tunnelFor's port.
func tunnelName(s *session.Session, collector netip.Addr, datapath string) string {
	switch {
	case ownTunnel(s):
		sum := sha256.Sum256([]byte(datapath + "|" + fmt.Sprint(tunnelOptions(s, collector))))
		return "es-" + hex.EncodeToString(sum[:5]) + "-u"
	case datapath == "netdev":
		return "es-tun-nd"
	case collector.Is6():
		return "es-tun6"
	}
	return "es-tun"
}

// AlwaysCuts tells whether every output to a tunnel of this tap bridge cuts: on the kernel's datapath only those do that
// have to.
func AlwaysCuts(tapBridge string) bool { return tapBridge == tapBridgeNames["netdev"] }

func tunnelOptions(s *session.Session, collector netip.Addr) map[string]string {
	options := map[string]string{"remote_ip": "flow", "key": "flow", "erspan_ver": "flow"}
	if !ownTunnel(s) {
		return options
	}
	options["remote_ip"] = collector.String()
	options["key"] = strconv.Itoa(*s.ERSPAN.SessionID)
	if s.Origin.IsValid() {
		options["local_ip"] = s.Origin.String()
	}
	if s.DSCP != nil && *s.DSCP != 0 {
		options["tos"] = fmt.Sprintf("%#x", *s.DSCP<<2) // the option is the whole TOS byte
	}
	if s.TTL != nil {
		options["ttl"] = strconv.Itoa(*s.TTL)
	}
	return options
}

// ownTunnel tells whether a session needs tunnel ports of its own. The defaults of DSCP and TTL, 0 and 64, are those of
// the shared port.
func ownTunnel(s *session.Session) bool {
	return s.Origin.IsValid() || s.DSCP != nil && *s.DSCP != 0 || s.TTL != nil && *s.TTL != 64
}

// tunnelOwners are tunnel ports that are not ours, by what a datapath tells them apart by: of two with the same identity it
// opens only the first.
type tunnelOwners map[string]string

// sameAs is the port that has the identity of the session's tunnel port to the collector, "" where none has.
func (o tunnelOwners) sameAs(s *session.Session, collector netip.Addr, datapath string) string {
	if len(o) == 0 {
		return ""
	}
	return o[tunnelIdentity(datapath, tunnelFor(s, collector, datapath).Interfaces[0])]
}

func foreignTunnels(state State) tunnelOwners {
	found := tunnelOwners{}
	for _, bridge := range slices.Sorted(maps.Keys(state.Bridges)) {
		b := state.Bridges[bridge]
		for _, name := range slices.Sorted(maps.Keys(b.Ports)) {
			if Ours(b.Ports[name].ExternalIDs) {
				continue
			}
			for _, i := range b.Ports[name].Interfaces {
				if i.Options["remote_ip"] == "" || i.Options["packet_type"] == "ptap" {
					continue
				}
				if id := tunnelIdentity(b.NormalDatapathType(), i); found[id] == "" {
					found[id] = fmt.Sprintf("%q (%s, on bridge %q)", name, i.Type, bridge)
				}
			}
		}
	}
	return found
}

// InPlaceOfOurs tells whether a tunnel port of somebody else has the identity of the port that sessions share: a datapath
// opens only one of the two.
func InPlaceOfOurs(datapath string, i *Interface) bool {
	ours := &Interface{Type: i.Type, Options: tunnelOptions(&session.Session{}, netip.Addr{})}
	isShared := i.Type == "erspan" || i.Type == "ip6erspan" && datapath == "system"
	return isShared && i.Options["packet_type"] != "ptap" && tunnelIdentity(datapath, i) == tunnelIdentity(datapath, ours)
}

// tunnelIdentity is (datapath, type, remote_ip, local_ip, in_key); erspan_ver is not a part of it.
func tunnelIdentity(datapath string, i *Interface) string {
	return datapath + "|" + i.Type + "|" + tunnelAddress(i.Options["remote_ip"]) + "|" + tunnelAddress(i.Options["local_ip"]) + "|" + tunnelKey(i)
}

// tunnelAddress is an address in the one way in which it is compared, since IPv6 is written in many: Open vSwitch holds both
// families as IPv6, IPv4 mapped into it (struct tnl_match in ofproto/tunnel.c). Other words, such as "flow", are themselves.
func tunnelAddress(text string) string {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap().String()
	}
	return text
}

// tunnelKey is the key that a tunnel port receives, a number's value where it is one ("0x64" and "100" are the same).
func tunnelKey(i *Interface) string {
	key := i.Options["key"]
	if in, ok := i.Options["in_key"]; ok {
		key = in
	}
	if n, err := strconv.ParseUint(key, 0, 64); err == nil {
		return strconv.FormatUint(n, 10)
	}
	if key == "" {
		return "0"
	}
	return key
}

// tunnelError is what ovs-vswitchd says against our tunnel port, "" where all is well or it is not there yet.
func tunnelError(state State, bridge, port string) string {
	b := state.Bridges[bridge]
	if b == nil {
		return ""
	}
	p := b.Ports[port]
	if p == nil {
		return ""
	}
	for _, i := range p.Interfaces {
		if i.Error != "" {
			return i.Error
		}
	}
	return ""
}

// portNumbers hands out OpenFlow port numbers of a tap bridge, so that flows can be rendered before the ports exist: a
// port that has a number keeps it, a new one requests the lowest that is free.
type portNumbers struct {
	bridge *Bridge
	taken  map[int]bool
	first  int // the lowest that is given
}

func newPortNumbers(bridge *Bridge) *portNumbers {
	n := &portNumbers{bridge: bridge, taken: map[int]bool{}, first: 1}
	if bridge == nil {
		return n
	}
	for _, p := range bridge.Ports {
		for _, i := range p.Interfaces {
			n.taken[i.OFPort] = true
			n.taken[i.OFPortRequest] = true
		}
	}
	return n
}

// of is the number of the port, and the number that its row is to request.
func (n *portNumbers) of(port string) (number, request int) {
	if n.bridge != nil {
		if p := n.bridge.Ports[port]; p != nil && len(p.Interfaces) == 1 {
			i := p.Interfaces[0]
			if i.OFPort > 0 {
				return i.OFPort, i.OFPortRequest
			}
			if i.OFPortRequest > 0 {
				return i.OFPortRequest, i.OFPortRequest
			}
		}
	}
	free := n.first
	for n.taken[free] {
		free++
	}
	n.taken[free] = true
	return free, free
}

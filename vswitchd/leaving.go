package vswitchd

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// Leaving has Open vSwitch tell, for each of the ways, through which ports copies leave (`ofproto/trace-packet-out`), as a flow
// of ours sends them: into the tunnel, and on through the pipeline of the bridge that its packets come to. No packet is sent;
// a next hop that is not known is asked for, as a copy would have it.
func (c *Client) Leaving(ctx context.Context, ways []flows.WayOut) (map[flows.WayOut]flows.Leaving, error) {
	if len(ways) == 0 {
		return nil, nil
	}
	shown, err := c.Call(ctx, "dpif/show")
	if err != nil {
		return nil, err
	}
	ports := datapathPorts(shown)
	leaving := map[flows.WayOut]flows.Leaving{}
	for _, w := range ways {
		field := "tun_dst"
		if w.Collector.Is6() {
			field = "tun_ipv6_dst"
		}
		actions := fmt.Sprintf("set_field:%s->%s,set_field:1->tun_id,set_field:1->tun_erspan_ver,output:%d", w.Collector, field, w.OFPort)
		printed, err := c.Call(ctx, "ofproto/trace-packet-out", w.TapBridge, "in_port=LOCAL,ip", actions)
		if err != nil {
			return leaving, err
		}
		leaving[w] = parseLeaving(printed, ports[w.TapBridge])
	}
	return leaving, nil
}

// datapathPorts are the names of a datapath's ports by number, for each bridge that is on it, as `dpif/show` prints them.
func datapathPorts(shown string) map[string]map[int]string {
	// netdev@ovs-netdev: hit:7 missed:10
	//   br-ul:
	//     uplink 1/5: (system)
	byBridge := map[string]map[int]string{}
	var names map[int]string
	for line := range strings.Lines(shown) {
		text := strings.TrimSpace(line)
		switch indent := len(line) - len(strings.TrimLeft(line, " ")); {
		case indent == 0:
			names = map[int]string{}
		case indent == 2:
			byBridge[strings.TrimSuffix(text, ":")] = names
		default:
			fields := strings.Fields(text)
			if len(fields) < 2 || names == nil {
				continue
			}
			_, number, _ := strings.Cut(strings.TrimSuffix(fields[1], ":"), "/")
			if n, err := strconv.Atoi(number); err == nil {
				names[n] = fields[0]
			}
		}
	}
	return byBridge
}

var bridgePart = regexp.MustCompile(`^bridge\("(.*)"\)$`)

// parseLeaving reads what ofproto/trace-packet-out printed.
func parseLeaving(printed string, names map[int]string) flows.Leaving {
	var (
		l            flows.Leaving
		bridge, last string
		found, vague bool
	)
	for line := range strings.Lines(printed) {
		text := strings.TrimSpace(line)
		if m := bridgePart.FindStringSubmatch(text); m != nil {
			bridge, last = m[1], ""
			continue
		}
		if actions, ok := strings.CutPrefix(text, "Datapath actions: "); ok {
			found = true
			out := outputs(actions)
			vague = vague || out.vague
			for _, n := range out.ports {
				name := names[n]
				if name == "" {
					vague = true
				} else if !slices.Contains(l.Ports, name) {
					l.Ports = append(l.Ports, name)
				}
			}
			continue
		}
		if bridge == "" || text == "" || strings.Trim(text, "-=") == "" || slices.ContainsFunc([]string{"Flow: ", "Final flow: ", "Megaflow: "}, func(p string) bool { return strings.HasPrefix(text, p) }) {
			continue
		}
		last = strings.TrimSpace(strings.TrimLeft(text, "->"))
	}
	switch {
	case !found || vague:
		return flows.Leaving{} // nothing that could be said for sure
	case len(l.Ports) == 0:
		l.Ends = fmt.Sprintf("bridge %s: %s", bridge, last)
	}
	slices.Sort(l.Ports)
	return l
}

// output is what datapath actions send out.
type output struct {
	ports []int
	vague bool // what follows is decided elsewhere: in another round of the datapath, or by a controller
}

// outputs reads datapath actions, which are separated by commas and may hold others in brackets. A number is an output.
func outputs(actions string) (out output) {
	for _, action := range splitActions(actions) {
		if n, err := strconv.Atoi(action); err == nil {
			out.ports = append(out.ports, n)
			continue
		}
		name, inside, _ := strings.Cut(action, "(")
		switch name {
		case "recirc", "lb_output", "userspace", "sample", "check_pkt_len":
			out.vague = true
		case "clone":
			inner := outputs(strings.TrimSuffix(inside, ")"))
			out.ports, out.vague = append(out.ports, inner.ports...), out.vague || inner.vague
		}
	}
	return out
}

func splitActions(text string) (actions []string) {
	depth, from := 0, 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				actions = append(actions, text[from:i])
				from = i + 1
			}
		}
	}
	return append(actions, text[from:])
}

package flows

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// hostDevices are the interface types whose device is one of the host's, and has an MTU while it is there. An internal port
// may be in another network namespace: the userspace datapath carries its packets there, and does not see its MTU.
var hostDevices = []string{"", "system"}

// AbsentDevice is why nothing can pass a port, or "": Open vSwitch has no device for it, and a Mirror copies nothing of it.
// A bond passes packets while one of its members has a device. A port that has no number and no error yet is being added.
func AbsentDevice(p *Port) string {
	var why []string
	for _, i := range p.Interfaces {
		text := absentDevice(i)
		if text == "" {
			return ""
		}
		why = append(why, text)
	}
	return strings.Join(why, "; ")
}

// PresentInterface is the first interface of a port through which packets can pass, nil where there is none.
func PresentInterface(p *Port) *Interface {
	for _, i := range p.Interfaces {
		if absentDevice(i) == "" {
			return i
		}
	}
	return nil
}

func absentDevice(i *Interface) string {
	switch {
	case i.OFPort <= 0 && i.Error != "":
		return i.Error
	case i.OFPort < 0:
		return "Open vSwitch cannot open device " + i.Name
	case i.OFPort > 0 && i.MTU == 0 && slices.Contains(hostDevices, i.Type):
		// It was deleted under a running ovs-vswitchd, which keeps the number and knows no MTU any more.
		return fmt.Sprintf("device %s is gone", i.Name)
	}
	return ""
}

// judgeDevices notes which sources have no device. They stay in the Mirror: copies come as soon as the device does. Of all
// ports of a bridge those that have none are left out: one that is forgotten on a bridge would else be told of for ever.
func (pl *planned) judgeDevices(ports []*Port, missing []string) (present []*Port) {
	var absent []string
	for _, p := range ports {
		if why := AbsentDevice(p); why != "" {
			absent = append(absent, p.Name+": "+why)
		} else {
			present = append(present, p)
		}
	}
	out := pl.out
	switch {
	case len(absent) == 0:
	case len(present) == 0:
		out.State, out.Reason, out.Message = session.Pending, ReasonSourceMissing, "no source is there: "+few(append(inQuotes(missing), absent...))
	case pl.wish.Sources.All:
		if out.Message == "" {
			out.Message = fmt.Sprintf("left out, for want of a device: %s", few(absent))
		}
	case out.Reason == ReasonSourceMissing:
		out.Message = "not there: " + few(append(inQuotes(missing), absent...))
	default:
		out.degrade(ReasonSourceMissing, "not there: "+few(absent))
	}
	return present
}

func inQuotes(names []string) []string {
	var texts []string
	for _, n := range names {
		texts = append(texts, fmt.Sprintf("%q", n))
	}
	return texts
}

// few is the first of the texts, and how many more there are.
func few(texts []string) string {
	const most = 4
	if len(texts) <= most {
		return strings.Join(texts, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(texts[:most], "; "), len(texts)-most)
}

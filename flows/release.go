package flows

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// Release is a release of Open vSwitch.
type Release struct{ Major, Minor, Patch int }

// oldest is the oldest release that the scenarios pass on (docs/compatibility.md).
var oldest = Release{Major: 2, Minor: 17}

// Before tells whether r is older.
func (r Release) Before(o Release) bool {
	if r.Major != o.Major {
		return r.Major < o.Major
	}
	if r.Minor != o.Minor {
		return r.Minor < o.Minor
	}
	return r.Patch < o.Patch
}

var releaseText = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?`)

// ParseRelease reads "3.1.0" or "3.1.0-2+deb12u1"; known is false where that says nothing.
func ParseRelease(text string) (r Release, known bool) {
	m := releaseText.FindStringSubmatch(text)
	if m == nil {
		return Release{}, false
	}
	for i, to := range []*int{&r.Major, &r.Minor, &r.Patch} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return Release{}, false
		}
		*to = n
	}
	return r, true
}

// Release reads OVSVersion.
func (s State) Release() (r Release, known bool) { return ParseRelease(s.OVSVersion) }

// TooOld says so of an Open vSwitch on which sessions do not do what they say; it is empty where that is not known.
func (s State) TooOld() string {
	if r, known := s.Release(); !known || !r.Before(oldest) {
		return ""
	}
	return fmt.Sprintf("Open vSwitch %s is older than %d.%d: 2.15 was seen to lose copies and deliveries without a word", s.OVSVersion, oldest.Major, oldest.Minor)
}

// checkRelease refuses a session on an Open vSwitch that is too old for it.
func checkRelease(s session.Session, state State) []error {
	if old := state.TooOld(); old != "" {
		return []error{fmt.Errorf("session %q: %s; update Open vSwitch", s.Name, old)}
	}
	return nil
}

// judgeRelease tells of it where sessions were accepted before, as on a host whose Open vSwitch was taken back.
func judgeRelease(in Input, p Program) {
	if old := in.State.TooOld(); old != "" {
		for _, s := range in.Sessions {
			p.Outcomes[s.Name].degrade(ReasonUnsupported, old+"; update Open vSwitch")
		}
	}
}

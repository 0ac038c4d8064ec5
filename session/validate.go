package session

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// Longest lists. They are far beyond what a session is for, and keep a mistake from becoming work for Open vSwitch.
const (
	MaxSources    = 4096 // ports that are listed; sources.all has no limit
	MaxCollectors = 256  // as many copies of a packet as flows.MaxCopiesPerPacket allows
	MaxRules      = 1024 // rules of a match: a flow or two each
)

// Ranges of numbers that no other package has.
const (
	MinVLAN = 1 // IEEE 802.1Q: 0 is "no VLAN", 4095 is reserved
	MaxVLAN = 4094
	MaxDSCP = 63 // RFC 2474: 6 bits
	MinTTL  = 1
	MaxTTL  = 255
)

// Validate reports everything that is wrong with s and can be seen without the host and the other sessions: each
// fault a [FieldError], joined (see [Flatten]). It is the same for a session and for s.Defaulted().
func (s Session) Validate() error {
	s = s.Defaulted()
	f := &faults{session: s.Name}
	if err := CheckName(s.Name); err != nil {
		f.addErr(err)
	}
	f.checkCommon(s)
	switch s.Type {
	case Source:
		f.checkSource(s)
	case Destination:
		f.checkDestination(s)
	default:
		// Which fields belong to it cannot be said: the rest waits until the type is right.
		f.add(FieldError{Field: "type", Value: string(s.Type), Allowed: allowedTypes})
	}
	return f.err()
}

// ValidateStored is Validate for a session as the store has it: with an id, since choosing one needs the other sessions,
// and what is chosen has to stay.
func (s Session) ValidateStored() error {
	if err := s.Validate(); err != nil || s.ERSPAN.SessionID != nil {
		return err
	}
	return &FieldError{Session: s.Name, Field: "erspan.sessionID", Reason: "is required in the store",
		Allowed: fmt.Sprintf("0..%d", erspan.MaxSessionID), Remedy: "write the session with 'ovs-erspan apply', which chooses one"}
}

// addErr adds a FieldError that was made without knowing the session.
func (f *faults) addErr(err error) {
	var e *FieldError
	if errors.As(err, &e) {
		f.add(*e)
		return
	}
	f.list = append(f.list, err)
}

func (f *faults) checkCommon(s Session) {
	f.checkDescription(s.Description)
	f.checkHeader(s)
	f.checkAmount("maxPackets", s.MaxPackets)
	f.checkAmount("maxBytes", s.MaxBytes)
	if s.ExpiresAt != nil && (s.ExpiresAt.IsZero() || s.ExpiresAt.UTC().Year() > 9999 || s.ExpiresAt.UTC().Year() < 1) {
		f.add(FieldError{Field: "expiresAt", Value: s.ExpiresAt.Format(time.RFC3339), Allowed: "a time in RFC 3339, such as 2030-01-31T18:00:00Z"})
	}
}

func (f *faults) checkAmount(field string, n Amount) {
	if n > MaxAmount {
		f.add(FieldError{Field: field, Value: n.String(), Allowed: allowedAmount})
	}
}

func (f *faults) checkDescription(text string) {
	const field, allowed = "description", "one line of text, at most 256 characters"
	switch {
	case !utf8.ValidString(text):
		f.add(FieldError{Field: field, Value: text, Reason: "is not UTF-8", Allowed: allowed})
	case slices.ContainsFunc([]rune(text), unprintable):
		f.add(FieldError{Field: field, Value: text, Reason: "has a control character or line break in it", Allowed: allowed})
	case utf8.RuneCountInString(text) > MaxDescriptionLen:
		f.add(FieldError{Field: field, Value: text, Reason: fmt.Sprintf("has %d characters", utf8.RuneCountInString(text)), Allowed: allowed})
	}
}

// checkHeader checks the ERSPAN header's fields, which both types of session have.
func (f *faults) checkHeader(s Session) {
	h := s.ERSPAN
	version := erspan.Version(h.Version)
	switch h.Version {
	case int(erspan.Version1), int(erspan.Version2):
	case 0:
		// Only in a destination session, where it takes either.
		if h.Index != nil {
			f.add(FieldError{Field: "erspan.index", Value: strconv.Itoa(*h.Index), Reason: "only version 1 has it", Remedy: "set erspan.version to 1"})
		}
		if h.HardwareID != nil {
			f.add(FieldError{Field: "erspan.hardwareID", Value: strconv.Itoa(*h.HardwareID), Reason: "only version 2 has it", Remedy: "set erspan.version to 2"})
		}
	default:
		f.add(versionFault(strconv.Itoa(h.Version)))
	}
	if version == erspan.Version2 && h.Index != nil {
		f.add(FieldError{Field: "erspan.index", Value: strconv.Itoa(*h.Index), Reason: "version 2 (Type III) has no index",
			Remedy: "leave it out, or set erspan.version to 1"})
	}
	if version == erspan.Version1 && h.HardwareID != nil {
		f.add(FieldError{Field: "erspan.hardwareID", Value: strconv.Itoa(*h.HardwareID), Reason: "version 1 (Type II) has no hardware id",
			Remedy: "leave it out, or set erspan.version to 2"})
	}
	f.checkRange("erspan.sessionID", h.SessionID, 0, erspan.MaxSessionID)
	f.checkRange("erspan.index", h.Index, 0, erspan.MaxIndex)
	f.checkRange("erspan.hardwareID", h.HardwareID, 0, erspan.MaxHardwareID)
}

// allowedTypes and allowedVersions are what [ParseType] and [ParseVersion] allow, for errors.
const (
	allowedTypes    = "source or destination"
	allowedVersions = "1 (Type II) or 2 (Type III)"
)

// ParseType reads the type of a session.
func ParseType(text string) (Type, error) {
	if t := Type(text); t == Source || t == Destination {
		return t, nil
	}
	return "", fmt.Errorf("type %s: want %s", Quote(text), allowedTypes)
}

// ParseVersion reads the ERSPAN version of a session as [erspan.ParseVersion] does. Type I is refused. The error is a
// [FieldError].
func ParseVersion(text string) (int, error) {
	v, err := erspan.ParseVersion(text)
	if err != nil || v == erspan.Version0 {
		if err == nil {
			text = "0"
		}
		e := versionFault(text)
		return 0, &e
	}
	return int(v), nil
}

// versionFault answers the two mistakes that people make: counting types instead of versions, and asking for Type I.
func versionFault(value string) FieldError {
	e := FieldError{Field: "erspan.version", Value: value, Allowed: allowedVersions}
	switch value {
	case "3":
		e.Remedy = "ERSPAN Type III is version 2"
	case "0":
		e.Remedy = "Open vSwitch does not speak Type I, which has no header to tell sessions apart"
	}
	return e
}

func (f *faults) checkRange(field string, n *int, low, high int) {
	if n != nil && (*n < low || *n > high) {
		f.add(rangeFault(field, *n, low, high))
	}
}

// checkLength tells whether a list is short enough to look at each of its elements.
func (f *faults) checkLength(field string, n, most int, remedy string) bool {
	if n > most {
		f.add(FieldError{Field: field, Reason: fmt.Sprintf("has %d elements", n), Allowed: fmt.Sprintf("at most %d", most), Remedy: remedy})
	}
	return n <= most
}

func rangeFault(field string, n, low, high int) FieldError {
	return FieldError{Field: field, Value: strconv.Itoa(n), Allowed: fmt.Sprintf("%d..%d", low, high)}
}

// checkPort checks the name of a bridge or a port.
func (f *faults) checkPort(field, name string) {
	if reason := portNameFault(name); reason != "" {
		f.add(FieldError{Field: field, Value: name, Reason: reason, Remedy: "give the name as in ovs-vsctl show"})
	}
}

// address shows an address in an error; the zero Addr, which prints as "invalid IP", as nothing.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

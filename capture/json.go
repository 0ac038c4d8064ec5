package capture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// jsonRecord is a record as one line of JSON. What a type of ERSPAN does not have is absent.
type jsonRecord struct {
	Number   uint64     `json:"number"`
	Time     time.Time  `json:"time"`
	Received time.Time  `json:"received"`
	Sent     *time.Time `json:"sent,omitempty"`
	SentKind string     `json:"sentKind,omitempty"` // absolute or relative

	Outer  *jsonOuter  `json:"outer,omitempty"`
	GRE    *jsonGRE    `json:"gre,omitempty"`
	ERSPAN *jsonHeader `json:"erspan,omitempty"`
	Inner  *jsonInner  `json:"inner,omitempty"`

	Reassembled bool     `json:"reassembled,omitempty"`
	Notes       []string `json:"notes,omitempty"`
	Error       string   `json:"error,omitempty"`
}

type jsonOuter struct {
	Src string `json:"src"`
	Dst string `json:"dst"`
	TOS uint8  `json:"tos"`
	TTL uint8  `json:"ttl"`
}

type jsonGRE struct {
	Protocol   string  `json:"protocol"` // 0x88be or 0x22eb
	Flags      string  `json:"flags"`
	Sequence   *uint32 `json:"sequence,omitempty"`
	Key        *uint32 `json:"key,omitempty"`
	Checksum   string  `json:"checksum,omitempty"`
	ChecksumOK *bool   `json:"checksumOK,omitempty"`
}

type jsonHeader struct {
	Type    string         `json:"type,omitempty"` // I, II or III; absent for an unknown version
	Version erspan.Version `json:"version"`

	// Types II and III
	VLAN      *uint16 `json:"vlan,omitempty"`
	COS       *uint8  `json:"cos,omitempty"`
	Truncated *bool   `json:"truncated,omitempty"`
	SessionID *uint16 `json:"sessionID,omitempty"`

	// Type II
	Encap    *erspan.Encap `json:"encap,omitempty"`
	Reserved *uint16       `json:"reserved,omitempty"`
	Index    *uint32       `json:"index,omitempty"`

	// Type III
	BSO         *erspan.BSO         `json:"bso,omitempty"`
	Timestamp   *uint32             `json:"timestamp,omitempty"`
	SGT         *uint16             `json:"sgt,omitempty"`
	P           *bool               `json:"p,omitempty"`
	FrameType   *erspan.FrameType   `json:"frameType,omitempty"`
	HardwareID  *uint8              `json:"hardwareID,omitempty"`
	Direction   string              `json:"direction,omitempty"` // ingress or egress
	Granularity *erspan.Granularity `json:"granularity,omitempty"`
	O           *bool               `json:"o,omitempty"`
	Subheader   *jsonSubheader      `json:"subheader,omitempty"`
}

type jsonSubheader struct {
	PlatformID     uint8   `json:"platformID"`
	VSMDomain      *uint16 `json:"vsmDomain,omitempty"`
	SwitchID       *uint16 `json:"switchID,omitempty"`
	Port           *uint32 `json:"port,omitempty"`
	SourceIndex    *uint32 `json:"sourceIndex,omitempty"`
	UpperTimestamp *uint32 `json:"upperTimestamp,omitempty"`
	Seconds        *uint32 `json:"seconds,omitempty"`
	Raw            string  `json:"raw"` // all 64 bits
}

type jsonInner struct {
	Length   int    `json:"length"`             // on the wire
	Captured *int   `json:"captured,omitempty"` // where that is less
	IP       bool   `json:"ip,omitempty"`       // an IP packet without an Ethernet header
	Summary  string `json:"summary"`
}

// AppendJSON appends a record as one line of JSON.
func AppendJSON(b []byte, r *Record) ([]byte, error) {
	p := &r.Packet
	j := jsonRecord{
		Number: r.Number, Time: r.Time.UTC(), Received: r.Received.UTC(), Reassembled: r.Reassembled,
	}
	if r.SentKind != erspan.TimeReceived {
		sent := r.Sent.UTC()
		j.Sent, j.SentKind = &sent, r.SentKind.String()
	}
	if r.Err != nil {
		j.Error = r.Err.Error()
	} else {
		j.Notes = p.Notes().Strings()
	}
	if p.Outer.Src.IsValid() {
		j.Outer = &jsonOuter{p.Outer.Src.String(), p.Outer.Dst.String(), p.Outer.TOS, p.Outer.TTL}
	}
	if p.GRE.Protocol != 0 {
		j.GRE = newJSONGRE(r)
	}
	// A header that was cut short, or never reached, has no fields to tell.
	if r.headerRead() {
		j.ERSPAN = newJSONHeader(p)
		j.Inner = &jsonInner{Length: p.InnerLen, IP: p.InnerIsIP(), Summary: string(appendSummary(nil, p))}
		if n := len(p.Inner); n != p.InnerLen {
			j.Inner.Captured = &n
		}
	}
	out := bytes.NewBuffer(b)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)               // a > in a summary is for people
	if err := encoder.Encode(&j); err != nil { // only a time beyond the year 9999
		return b, fmt.Errorf("frame %d: %w", r.Number, err)
	}
	return out.Bytes(), nil
}

func newJSONGRE(r *Record) *jsonGRE {
	g := &r.Packet.GRE
	j := &jsonGRE{Protocol: fmt.Sprintf("0x%04x", g.Protocol), Flags: fmt.Sprintf("0x%04x", g.Flags)}
	if g.HasSequence() {
		j.Sequence = &g.Sequence
	}
	if g.HasKey() {
		j.Key = &g.Key
	}
	if g.HasChecksum() {
		ok := !r.BadChecksum
		j.Checksum, j.ChecksumOK = fmt.Sprintf("0x%04x", g.Checksum), &ok
	}
	return j
}

func newJSONHeader(p *erspan.Packet) *jsonHeader {
	h, layout := &p.Header, p.Layout()
	j := &jsonHeader{Version: h.Version}
	if layout == h.Version {
		j.Type = layout.Type()
	}
	if layout == erspan.TypeI {
		return j
	}
	j.VLAN, j.COS, j.Truncated, j.SessionID = &h.VLAN, &h.COS, &h.Truncated, &h.SessionID
	if layout == erspan.TypeII {
		j.Encap, j.Reserved, j.Index = &h.Encap, &h.Reserved, &h.Index
		return j
	}
	j.BSO, j.Timestamp, j.SGT, j.P, j.FrameType = &h.BSO, &h.Timestamp, &h.SGT, &h.P, &h.FrameType
	j.HardwareID, j.Direction, j.Granularity, j.O = &h.HardwareID, h.Direction.String(), &h.Granularity, &h.O
	if !h.HasSubheader {
		return j
	}
	s := h.Subheader
	j.Subheader = &jsonSubheader{PlatformID: s.PlatformID(), Raw: fmt.Sprintf("0x%016x", uint64(s))}
	j.Subheader.VSMDomain = pointer(s.VSMDomain())
	j.Subheader.SwitchID = pointer(s.SwitchID())
	j.Subheader.Port = pointer(s.Port())
	j.Subheader.SourceIndex = pointer(s.SourceIndex())
	j.Subheader.UpperTimestamp = pointer(s.UpperTimestamp())
	j.Subheader.Seconds = pointer(s.Seconds())
	return j
}

// pointer is v where there is one.
func pointer[T any](v T, ok bool) *T {
	if !ok {
		return nil
	}
	return &v
}

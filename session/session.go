package session

import (
	"net/netip"
	"time"
)

// Type tells which half of ERSPAN a session is.
type Type string

const (
	// Source sessions mirror: frames of a bridge's ports are copied to collectors.
	Source Type = "source"
	// Destination sessions terminate: ERSPAN that arrives is decapsulated and delivered to a port.
	Destination Type = "destination"
)

// Direction is seen from the bridge, as in Open vSwitch's Mirror and in ERSPAN Type III's D bit.
type Direction string

const (
	// Ingress: arriving at the bridge from the port (rx of the switch port). ERSPAN D=0.
	Ingress Direction = "ingress"
	// Egress: leaving the bridge towards the port (tx of the switch port). ERSPAN D=1.
	Egress Direction = "egress"
	// Both is ingress and egress.
	Both Direction = "both"
)

// Session is one SPAN session as a user wishes it. Its JSON and YAML form is the user's interface (see the design's
// YAML); fields that are nil or empty mean "the default", which Defaulted fills in.
type Session struct {
	Name        string `json:"name"`
	Type        Type   `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
	// Disabled sessions stay in the store, with their slot and session id, and are not programmed.
	Disabled bool `json:"disabled,omitempty"`

	// Bridge is the production bridge: the one the sources are on, or, for a destination session, the one that has
	// OutputPort (empty: OutputPort is a device that is on no bridge).
	Bridge string `json:"bridge,omitempty"`

	// Of source sessions.

	Sources Sources `json:"sources,omitzero"`
	// VLANs, 1..4094, narrow the sources to these VLANs; empty means all.
	VLANs []int `json:"vlans,omitempty"`
	// Direction of a source session is Ingress, Egress or Both. In a destination session of version 2 it is the D bit
	// that is taken (Ingress or Egress); empty takes either.
	Direction  Direction    `json:"direction,omitempty"`
	Collectors []netip.Addr `json:"collectors,omitempty"`
	Match      []Rule       `json:"match,omitempty"`
	Snaplen    Snaplen      `json:"snaplen,omitzero"`
	// Origin is the local address the copies come from; the zero Addr means "by route".
	Origin netip.Addr `json:"origin,omitzero"`
	// DSCP, 0..63, of the outer header.
	DSCP *int `json:"dscp,omitempty"`
	// TTL, 1..255, of the outer header.
	TTL *int `json:"ttl,omitempty"`

	// MaxRate bounds the copies to each collector: what comes faster is dropped and counted. Bits are those of the
	// mirrored frames, before any cut and without the outer headers.
	MaxRate Rate `json:"maxRate,omitzero"`

	// Of both types.

	// MaxPackets and MaxBytes end the session when so much was sent to each collector, or delivered: it is Disabled then,
	// until it is enabled again. Bytes are those of the frames, before any cut.
	MaxPackets Amount `json:"maxPackets,omitempty"`
	MaxBytes   Amount `json:"maxBytes,omitempty"`

	ERSPAN ERSPAN `json:"erspan,omitzero"`

	// Of destination sessions.

	OutputPort string `json:"outputPort,omitempty"`
	// From is the sender whose ERSPAN is taken: an address, or AnySender.
	From string `json:"from,omitempty"`

	// ExpiresAt is when the session is removed by itself; nil means never.
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	// AllowMissing accepts sources that do not exist yet.
	AllowMissing bool `json:"allowMissing,omitempty"`
	// AllowHWOffload accepts a host whose Open vSwitch may hand flows to a network card (other_config:hw-offload=true),
	// which can forward packets past mirrors, or segments that are still to be cut to its tunnels (userspace-tso-enable=true),
	// which drop them.
	AllowHWOffload bool `json:"allowHWOffload,omitempty"`
}

// AnySender is the value of Session.From that takes ERSPAN from any sender.
const AnySender = "any"

// Sources says which ports of the bridge a source session mirrors: either listed ports or all of them.
type Sources struct {
	// Ports are port names, or "iface-id=ID" for the port whose Interface.external_ids says so.
	Ports []string `json:"ports,omitempty"`
	// All means every port of the bridge, also those that come later.
	All bool `json:"all,omitempty"`
}

// ERSPAN holds the header fields of a session.
type ERSPAN struct {
	// Version is 1 (Type II) or 2 (Type III), as OVS counts (vswitchd.conf.db(5), options:erspan_ver). 0 in a
	// destination session means either.
	Version int `json:"version,omitempty"`
	// SessionID is 0..1023; nil in a new source session means "the lowest that is free, from 1".
	SessionID *int `json:"sessionID,omitempty"`
	// Index is 0..1048575, version 1 only.
	Index *int `json:"index,omitempty"`
	// HardwareID is 0..63, version 2 only.
	HardwareID *int `json:"hardwareID,omitempty"`
}

// Rule is one filter rule; exactly one field is set, a match in ovs-fields(7) syntax. Deny wins over permit; without
// any permit rule everything that is not denied is permitted.
type Rule struct {
	Permit string `json:"permit,omitempty"`
	// PermitBothWays permits the match and the match with source and destination fields exchanged.
	PermitBothWays string `json:"permitBothWays,omitempty"`
	Deny           string `json:"deny,omitempty"`
}

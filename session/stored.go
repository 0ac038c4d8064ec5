package session

import "time"

// Stored is a session as the store keeps it: the wish, and what belongs to it on this host.
type Stored struct {
	Session
	// Slot is the session's small number on one host, from 1. It names the session's flows (register and cookie) and
	// stays the same for as long as the session exists.
	Slot uint32 `json:"-"`
	// Identities holds, for each source port, who was behind it when the session was added. Ports are not
	// identities: when these no longer agree, the copies stop.
	Identities map[string]Identity `json:"-"`
	// Round is counted up when MaxPackets and MaxBytes are to be counted anew.
	Round uint64 `json:"-"`
	// Used is what of them is used up, as far as it was last looked at.
	Used Used `json:"-"`
	// Accepted tells that it was last reported as other than Failed: one that comes later, or that somebody wrote into the
	// store by hand, pushes no such session out.
	Accepted bool `json:"-"`
	// HostRate bounds the copies of all sessions together: Wish.Host's.
	HostRate Rate `json:"-"`
}

// Host is what is wished for all sessions of a host together.
type Host struct {
	// MaxRate bounds the copies that all source sessions send, to all collectors. What comes faster is dropped and counted.
	MaxRate Rate `json:"maxRate,omitzero"`
}

// Identity is what Interface.external_ids say of who is behind a port. Empty fields were not there.
type Identity struct {
	IfaceID     string `json:"ifaceID,omitempty"`
	AttachedMAC string `json:"attachedMAC,omitempty"`
}

// State is what a session is doing.
type State string

// The states of a session (design, "Commands").
const (
	Active   State = "Active"
	Pending  State = "Pending"
	Degraded State = "Degraded"
	Failed   State = "Failed"
	Disabled State = "Disabled"
)

// Status is a session's state and why, as whoever reconciles last saw it.
type Status struct {
	State   State     `json:"state"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"`
	// Collectors has one entry a collector, in the order of the wish.
	Collectors []CollectorStatus `json:"collectors,omitempty"`
	// Effective is what was chosen for the wish's defaults.
	Effective *Effective `json:"effective,omitempty"`
	// Used is what of MaxPackets and MaxBytes is used up, of sessions that have them.
	Used *Used `json:"used,omitempty"`
	// Counted is what a stopped session had counted; nil while it runs, and where that is not known.
	Counted *Counted `json:"counted,omitempty"`
}

// Counted is what a session had counted when it was stopped.
type Counted struct {
	Until  time.Time         `json:"until"`
	Stages map[string]Counts `json:"stages"` // by the stages' names, such as "sent"
}

// Counts are packets, and the bytes of their frames before any cut.
type Counts struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// CollectorStatus is the state of the copies to one collector.
type CollectorStatus struct {
	Address string `json:"address"`
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Snaplen is the number of bytes of each frame that are sent to it; SnaplenReason says why.
	Snaplen       int    `json:"snaplen,omitempty"`
	SnaplenReason string `json:"snaplenReason,omitempty"`
	// Origin and Device are where the copies leave from.
	Origin string `json:"origin,omitempty"`
	Device string `json:"device,omitempty"`
	// Lost is what of the copies that were sent to it is known to be lost; nil where nothing is.
	Lost *Loss `json:"lost,omitempty"`
}

// Loss is copies that were sent and are known to be lost, as the daemon counted them.
type Loss struct {
	Packets uint64    `json:"packets"`
	Bytes   uint64    `json:"bytes"`
	Since   time.Time `json:"since"`
	// Counting tells that copies are being lost: what is sent beyond SentPackets and SentBytes is lost too, and not counted yet.
	Counting    bool   `json:"counting,omitempty"`
	SentPackets uint64 `json:"sentPackets,omitempty"`
	SentBytes   uint64 `json:"sentBytes,omitempty"`
}

// Effective is what a session's defaults turned into.
type Effective struct {
	SessionID     int      `json:"sessionID"`
	Snaplen       int      `json:"snaplen,omitempty"`
	SnaplenReason string   `json:"snaplenReason,omitempty"`
	Origin        string   `json:"origin,omitempty"`
	Device        string   `json:"device,omitempty"`
	Ports         []string `json:"ports,omitempty"`
}

// Restored tells of an accident of the store: somebody deleted it, and it was restored.
type Restored struct {
	At   time.Time `json:"at"`
	From string    `json:"from"` // where the wish was still
}

// Wish is all that the store of one host holds.
type Wish struct {
	// Generation is bumped by every writer, in the transaction that writes. 0: nothing was ever written.
	Generation uint64
	// InForce is the generation that was last reconciled.
	InForce uint64
	// Host is what is wished for all sessions together.
	Host Host
	// Sessions, sorted by name.
	Sessions []Stored
	// Broken holds, by name, the entries that cannot be read, with the reason. They are reported and left alone.
	Broken map[string]error
	// Status by session name, as of InForce.
	Status map[string]Status
	// Restored is the last accident of the store that was mended, until the wish is changed; nil for none.
	Restored *Restored
}

// ShareHost has every session know what is wished for all of them.
func (w *Wish) ShareHost() {
	for i := range w.Sessions {
		w.Sessions[i].HostRate = w.Host.MaxRate
	}
}

// Limited tells whether a meter bounds the session's copies.
func (s Stored) Limited() bool { return s.isSource() && (!s.MaxRate.IsZero() || !s.HostRate.IsZero()) }

// HostName is the name under which what is wished for all sessions together is told of where it cannot be read. No session
// can have it.
const HostName = "(host)"

// SetHost changes what is wished for all sessions together.
func (w *Wish) SetHost(h Host) {
	w.Host = h
	delete(w.Broken, HostName)
	w.ShareHost()
}

// Package session holds what a user wishes: SPAN sessions, with their defaults, their checks, and their YAML and JSON
// form. It knows nothing of the host: no clock, no network, no Open vSwitch. What needs to see the host's bridges and
// addresses is checked by package flows; what only Open vSwitch's own parser can judge, by package openflow.
//
// A session goes through three steps before anything else looks at it:
//
//	sessions, err := session.Parse(data)  // or the flags of a command
//	s := sessions[0].Defaulted()          // fields that were left out
//	err = s.Validate()                    // every fault at once
//
// and a set of them through two more: [AssignSessionIDs] and [CheckSet].
package session

// Package flows turns what users wish (sessions) and what was observed (OVSDB rows, paths to collectors) into what is to
// be: taps, tunnel ports, mirrors and OpenFlow flows; and says what has to change to get there.
//
// It is pure: no clock, no I/O, no map order. The same input gives the same plan, and a plan made from a state in which
// everything is as wished is empty. It knows neither OVSDB nor ovs-ofctl; packages ovsdb and openflow carry out what it
// says.
//
//	program := flows.Build(flows.Input{State: state, Sessions: wish.Sessions, Paths: paths})
//	steps := flows.Steps(state, program) // rows that open the way, then rows that complete it
package flows

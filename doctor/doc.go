// Package doctor judges whether a host is fit for its sessions, and whether they will work: a table of small checks over
// a [Snapshot] of what was gathered beforehand. It asks nobody and changes nothing, so each check can be provoked in a
// test with a snapshot that has the fault.
//
//	results := doctor.Examine(snapshot)
//	level := doctor.Worst(results)
package doctor

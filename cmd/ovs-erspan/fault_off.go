//go:build !faults

package main

// reached is told of each step of a change before it is taken. Only builds with the tag "faults", which tests make, do
// anything with it.
var reached func(step string)

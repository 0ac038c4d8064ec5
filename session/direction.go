package session

import (
	"fmt"
	"strings"
)

// directions is what [ParseDirection] allows, for errors.
const directions = "ingress (rx), egress (tx) or both"

// ParseDirection reads a direction in either vocabulary: ingress or rx (from the port into the bridge), egress or tx
// (from the bridge to the port), both.
func ParseDirection(text string) (Direction, error) {
	switch strings.ToLower(text) {
	case "ingress", "rx":
		return Ingress, nil
	case "egress", "tx":
		return Egress, nil
	case "both":
		return Both, nil
	}
	return "", fmt.Errorf("direction %s: want %s", Quote(text), directions)
}

// CopiesTwice tells whether frames between its own sources are copied in both directions, and nothing tells which copy is which.
func (s Session) CopiesTwice() bool {
	return s.Type != Destination && s.Direction == Both && s.ERSPAN.Version == 1 && (s.Sources.All || len(s.Sources.Ports) > 1)
}

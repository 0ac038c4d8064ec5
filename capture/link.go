package capture

import (
	"encoding/binary"
	"fmt"

	"github.com/ovs-erspan/ovs-erspan/erspan"
)

// LinkError is a link type that cannot be read.
type LinkError LinkType

// Error names the link type.
func (e LinkError) Error() string {
	return fmt.Sprintf("link type %d: ERSPAN can be read from Ethernet, Linux cooked and raw IP captures", uint16(e))
}

// ipOf is the IP packet in a frame.
func ipOf(link LinkType, b []byte) ([]byte, error) {
	var at, header int // of the EtherType, and of the whole link header
	switch link {
	case LinkEthernet:
		at, header = 12, 14
	case LinkLinuxSLL:
		at, header = 14, 16
	case LinkLinuxSLL2:
		at, header = 0, 20
	case LinkNull, LinkLoop: // the address family's number differs between systems, the IP version does not
		if len(b) < 4 {
			return nil, erspan.ErrShortEthernet
		}
		return rawIP(b[4:])
	case LinkRaw, LinkRawBSD, LinkRawOther, LinkIPv4, LinkIPv6:
		return rawIP(b)
	default:
		return nil, LinkError(link)
	}
	if len(b) < header {
		return nil, erspan.ErrShortEthernet
	}
	return erspan.NetworkLayer(binary.BigEndian.Uint16(b[at:]), b[header:])
}

// rawIP is b if it begins with an IP header.
func rawIP(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, erspan.ErrShortIP
	}
	if v := b[0] >> 4; v != 4 && v != 6 {
		return nil, erspan.ErrNotIP
	}
	return b, nil
}

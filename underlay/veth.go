package underlay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

// vethMTU is the largest that a device takes, so that no frame is too large for it.
const vethMTU = 65535

// Veths are those of the pairs that are there. The Out of one that does not work is empty. Others holds, by name, the kind
// of each device that has a name of the pairs and is none.
func Veths(known []flows.Veth) (veths []flows.Veth, others map[string]string, err error) {
	handle, err := newHandle()
	if err != nil {
		return nil, nil, fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	others = map[string]string{}
	for _, v := range known {
		in, err := linkOf(handle, v.In)
		if err != nil {
			return nil, nil, fmt.Errorf("device %s: %w", v.In, err)
		}
		out, err := linkOf(handle, v.Out)
		if err != nil {
			return nil, nil, fmt.Errorf("device %s: %w", v.Out, err)
		}
		for _, l := range []netlink.Link{in, out} {
			if l != nil && l.Type() != "veth" {
				others[l.Attrs().Name] = l.Type()
			}
		}
		if in == nil || in.Type() != "veth" {
			continue
		}
		// Both ends are up, and the other end is there. (The operational state says so too, but up to a second later.)
		flags := in.Attrs().RawFlags
		works := flags&unix.IFF_UP != 0 && flags&unix.IFF_LOWER_UP != 0
		if works {
			if works, err = isPlain(v.In); err != nil {
				return nil, nil, err
			}
		}
		if !works {
			v.Out = ""
		}
		veths = append(veths, v)
	}
	return veths, others, nil
}

// AddVeth makes a pair of devices that hand each other frames one by one, with checksums: no segmentation or checksum is
// left to whoever receives. What is left of an earlier pair is removed first. They have no addresses, not even IPv6's own,
// so that the host itself sends nothing there.
func AddVeth(v flows.Veth) error {
	if err := addVeth(v); err != nil {
		return fmt.Errorf("make the devices %s and %s: %w", v.In, v.Out, err)
	}
	return nil
}

func addVeth(v flows.Veth) error {
	handle, err := newHandle()
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := deleteVeth(handle, v.In); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = v.In, vethMTU
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: v.Out, PeerMTU: vethMTU}
	if err := handle.LinkAdd(pair); err != nil {
		return err
	}
	for _, name := range []string{v.In, v.Out} {
		l, err := handle.LinkByName(name)
		if err == nil {
			err = plain(name)
		}
		if err == nil {
			err = handle.LinkSetIP6AddrGenMode(l, addrGenModeNone)
			if errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without IPv6
				err = nil
			}
		}
		if err == nil {
			err = handle.LinkSetUp(l)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("device %s: %w", name, err), handle.LinkDel(pair))
		}
	}
	return nil
}

// addrGenModeNone: the device gets no IPv6 address by itself (linux/if_link.h, IN6_ADDR_GEN_MODE_NONE).
const addrGenModeNone = 1

// offload tells whether a feature (ethtool(8), -K) would let a device take more than one frame at once, or a frame
// without its checksum.
func offload(feature string) bool {
	return strings.HasSuffix(feature, "-segmentation") || strings.HasPrefix(feature, "tx-checksum-") || feature == "tx-gso-list" || feature == "rx-gro"
}

func plain(device string) error {
	return withFeatures(device, func(e *ethtool.Ethtool, is map[string]bool) error {
		off := map[string]bool{}
		for name, on := range is {
			if on && offload(name) {
				off[name] = false
			}
		}
		if err := e.Change(device, off); err != nil {
			return fmt.Errorf("turn off its offloads: %w", err)
		}
		return nil
	})
}

// isPlain tells whether the offloads that matter are off: those of a device that sends.
func isPlain(device string) (plain bool, err error) {
	err = withFeatures(device, func(_ *ethtool.Ethtool, is map[string]bool) error {
		plain = true
		for name, on := range is {
			plain = plain && !(on && strings.HasPrefix(name, "tx-") && strings.HasSuffix(name, "-segmentation"))
		}
		return nil
	})
	return plain, err
}

func withFeatures(device string, do func(e *ethtool.Ethtool, is map[string]bool) error) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("ethtool: %w", err)
	}
	defer e.Close()
	is, err := e.Features(device)
	if err != nil {
		return fmt.Errorf("read the offloads of device %s: %w", device, err)
	}
	return do(e, is)
}

// DeleteVeth removes a pair of devices of ours. One that is gone is well.
func DeleteVeth(v flows.Veth) error {
	handle, err := newHandle()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	if err := deleteVeth(handle, v.In); err != nil {
		return fmt.Errorf("remove device %s: %w", v.In, err)
	}
	return nil
}

// deleteVeth removes a device, and with it the other end. A device of the name that is no veth is not ours.
func deleteVeth(handle *netlink.Handle, name string) error {
	l, err := linkOf(handle, name)
	switch {
	case err != nil || l == nil:
		return err
	case l.Type() != "veth":
		return fmt.Errorf("there is a device of that name which is not ours (%s): remove or rename it", l.Type())
	}
	return handle.LinkDel(l)
}

// linkOf is the device of a name, nil where there is none.
func linkOf(handle *netlink.Handle, name string) (netlink.Link, error) {
	l, err := handle.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, nil
	}
	return l, err
}

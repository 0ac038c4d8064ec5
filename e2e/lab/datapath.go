//go:build linux

package lab

import "os"

// What a bridge's datapath_type is called (vswitchd.conf.db(5)).
const (
	Userspace = "netdev"
	Kernel    = "system"
)

// Datapath is the datapath that labs of this process use: in userspace, unless LAB_DATAPATH says "system". The kernel's
// needs the module openvswitch, and modules that it asks for by itself: the virtual machine of e2e/vm has them.
func Datapath() string {
	if os.Getenv("LAB_DATAPATH") == Kernel {
		return Kernel
	}
	return Userspace
}

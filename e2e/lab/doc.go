// Package lab builds small networks on one Linux machine, for end-to-end tests and for demonstrations: hosts, each with
// an Open vSwitch of its own, plain machines attached to their bridges, underlays, routers, captures and traffic.
//
//	l, err := lab.New(ctx, "")
//	defer l.Close()
//	h, err := l.Host(ctx, "h1")                      // a private ovsdb-server and ovs-vswitchd
//	err = h.AddBridge(ctx, "br0")
//	a, err := l.Guest(ctx, "a")
//	err = h.Attach(ctx, a, "br0", "vnet0", lab.GuestIf{Addrs: []string{"10.0.0.1/24"}})
//	c, err := a.Capture(ctx, "eth0", "icmp")
//	res, err := lab.Ping(ctx, a, netip.MustParseAddr("10.0.0.2"), lab.PingOptions{Count: 3})
//	err = c.Stop(ctx)
//	rows, err := c.Fields(ctx, "icmp", "ip.src", "icmp.seq")
//
// # What it leaves behind: nothing
//
// Each machine is a network namespace without a name, kept alive only by a descriptor of this process and by the
// processes inside. Every process dies with this one (PR_SET_PDEATHSIG), however this one dies; temporary files are
// removed by a small watcher that sees this process go. So even SIGKILL of the owner leaves nothing. Two limits: a
// process that changes its credentials, and a child of a shell that outlives the shell, are not caught by that signal:
// start programs directly (or with exec). [Lab.Close] does the same in order, and is to be called nevertheless.
//
// # What it touches: nothing else
//
// OVS runs with run, log and database directories under the lab's own directory, in userspace (the netdev datapath,
// with --disable-system) unless asked otherwise, and no interface is ever made in the namespace of the caller.
//
// # What it must not know
//
// No product package and no testing package: it is linked into the binary for the demo, and its judges (tcpdump,
// tshark) must not share code with what they judge.
//
// # Backend
//
// Machines are namespaces, always; the datapath is Open vSwitch's own in userspace, or the kernel's where LAB_DATAPATH says
// so (see [Datapath]), inside the virtual machine of e2e/vm. Scenarios are the same on both.
package lab

// Package systemd holds the tests of the packages on a machine where systemd is process 1 and Open vSwitch is the
// distribution's: the unit with its whole sandbox in force, from installation to purge.
//
//	make test-systemd            in a container, on the userspace datapath
//	make test-systemd-kernel     in a virtual machine, on the kernel's datapath
//
// scripts/test-systemd.sh builds the test program (tag systemd), puts it with the packages into a file system of its own,
// and boots that. The tests change the machine that they run on, so they run nowhere else.
package systemd

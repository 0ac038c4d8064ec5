//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
)

// DPDK says whether the guests' and the links' ports are DPDK's, by LAB_PORTS=dpdk; ovs-vswitchd must then be a build for it
// (scripts/ovs-root.sh SUITE dpdk). They read and write veth devices through DPDK's driver af_packet, as a network card's driver
// reads and writes a card: no huge pages and no hardware are needed, and all that Open vSwitch does with such ports is real.
func DPDK() bool { return os.Getenv("LAB_PORTS") == "dpdk" }

// dpdkDir has DPDK's files of one ovs-vswitchd while it runs; DPDK would put them into /var/run otherwise.
func dpdkDir(runDir string) string { return filepath.Join(runDir, "dpdk") }

// dpdkConfig is the other_config of a host whose ports are DPDK's: one thread for packets, on the machine's last CPU, which sleeps
// where it has nothing to do (as it may in operation), for the machine is shared.
func dpdkConfig() (config []any, err error) {
	program, err := tool("ovs-vswitchd")
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(program), "../usr/lib/*/dpdk/pmds-*"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%s has no drivers of DPDK beside it: take the directory that scripts/ovs-root.sh SUITE dpdk prints as LAB_OVS_BIN", program)
	}
	mask := strconv.FormatUint(1<<min(runtime.NumCPU()-1, 63), 16)
	return []any{
		[]any{"dpdk-init", "true"},
		[]any{"dpdk-extra", "--no-huge --legacy-mem --no-pci -m 400 --no-telemetry -d " + found[0]},
		[]any{"pmd-cpu-mask", mask},
		[]any{"pmd-maxsleep", "100"},  // until 3.1
		[]any{"pmd-sleep-max", "100"}, // since 3.2
	}, nil
}

// Device is the device of the host that is behind a port that Attach or Link made: of its name, but where it is DPDK's.
func (h *Host) Device(port string) string {
	if DPDK() {
		return port + "-hw"
	}
	return port
}

// interfaceOf is what a port's Interface row has to say about its device, as ovs-vsctl takes it.
func (h *Host) interfaceOf(port string, mtu int) []string {
	if !DPDK() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dpdkPorts++
	settings := []string{"type=dpdk", fmt.Sprintf("options:dpdk-devargs=net_af_packet%d,iface=%s", h.dpdkPorts, h.Device(port))}
	if mtu != 0 {
		settings = append(settings, fmt.Sprintf("mtu_request=%d", mtu))
	}
	return settings
}

// errNoDPDK is a port's error where ovs-vswitchd was not built for DPDK.
var errNoDPDK = errors.New("ovs-vswitchd runs without DPDK; its log says why")

// checkDPDK tells whether ovs-vswitchd began to use DPDK.
func (h *Host) checkDPDK(ctx context.Context) error {
	if out, err := h.Vsctl(ctx, "get", "open", ".", "dpdk_initialized"); err != nil || out != "true\n" {
		return errors.Join(errNoDPDK, err)
	}
	return nil
}

# The commands of a newcomer are `make demo`, `make check` (two minutes) and `make test` (all of it, a quarter of an hour);
# each installs what is missing first (scripts/setup.sh). docs/testing.md has the tiers of the tests.

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
GO ?= go
# Tests that make network namespaces need root; -exec runs only the test programs as root, not the compiler.
ifneq ($(SUDO),)
EXEC := -exec "sudo --preserve-env=PATH,CI,HOME,DOCKER_HOST,BASE,SUITE,LAB_OVS_BIN,LAB_PORTS,OVS_ERSPAN_SEED,OVS_ERSPAN_SOAK"
endif

.PHONY: all build demo check test test-unit test-e2e test-other-ovs test-ovn test-dpdk test-kernel test-alerts test-containers test-systemd test-systemd-kernel soak fuzz \
	lint vulncheck docs bench packages setup setup-containers setup-roots try try-down clean

all: build

# Without cgo: static binaries for any distribution, and a quicker start.
build:
	CGO_ENABLED=0 $(GO) build -o bin/ ./cmd/...

setup:
	@scripts/setup.sh

# Where this fails, test-containers says what is not to be had, and is a failure in CI.
setup-containers:
	-@scripts/setup.sh --containers

demo: setup build
	@$(SUDO) bin/ovs-erspan demo

# What is downloaded and unpacked once, so that no part of the tests counts it as its own time. Where this fails, the part that
# wants it says so.
setup-roots: setup setup-containers
	-@scripts/kernel.sh >/dev/null
	-@scripts/debian-root.sh >/dev/null
	-@scripts/ovs-root.sh $(OTHER_SUITE) >/dev/null
	-@scripts/ovs-root.sh $(OVN_SUITE) ovn >/dev/null

# The parts of `make test`: a part NAME is the target test-NAME (but lint). Those of PARTS run one after another, since each
# takes all processors, or measures rates on an emulated one (kernel); those of PARTS_BESIDE then run side by side. A new tier is
# added to one of the two lists.
PARTS := lint unit e2e other-ovs ovn kernel
PARTS_BESIDE := alerts containers systemd

check: setup
	@MAKE="$(MAKE)" scripts/test.sh lint unit

test: setup-roots build
	@MAKE="$(MAKE)" scripts/test.sh $(PARTS) -- $(PARTS_BESIDE)

# Everything but the end-to-end scenarios. Some of these tests start a private ovsdb-server, and those of the lab make
# network namespaces. What measures memory is slow and tells nothing under the race detector.
test-unit:
	$(GO) test -race $(EXEC) -timeout 20m $$($(GO) list ./... | grep -v '/e2e$$')
	$(GO) test -run '^TestMemoryIsBounded$$' ./session

# Scenarios side by side: each waits most of its time. More than this gains nothing on two processors.
PARALLEL ?= 4

# -count=1: go does not see that these tests depend on the binary. SUITE=trixie runs them with the Open vSwitch of another
# Debian or Ubuntu release. The limit is for a machine a quarter as fast as two quiet cores.
test-e2e:
	$(if $(SUITE),LAB_OVS_BIN=$$(scripts/ovs-root.sh $(SUITE)) )$(GO) test -race -count=1 -parallel $(PARALLEL) $(EXEC) -timeout 45m ./e2e

# What differs between releases of Open vSwitch, with another one than this machine's.
OTHER_SUITE ?= trixie
OTHER_TESTS ?= ^(TestCopiesOfAPipeline|TestFragments)$$
test-other-ovs: setup-containers
	@if bin=$$(scripts/ovs-root.sh $(OTHER_SUITE)); then \
	  LAB_OVS_BIN=$$bin $(GO) test -race -count=1 -parallel $(PARALLEL) $(EXEC) -timeout 20m -run '$(OTHER_TESTS)' ./e2e; \
	else echo "test-other-ovs: left out"; test -z "$$CI"; fi

# With a real OVN: the central part, and two hosts with ovn-controller in userspace (e2e/ovn_*_test.go). Of this machine's
# release, or of that which SUITE names; unpacked, not installed.
OVN_SUITE = $(or $(SUITE),$(shell . /etc/os-release && echo $$VERSION_CODENAME))
test-ovn: setup setup-containers
	@if bin=$$(scripts/ovs-root.sh $(OVN_SUITE) ovn); then \
	  LAB_OVS_BIN=$$bin $(GO) test -race -count=1 -parallel $(PARALLEL) $(EXEC) -timeout 30m -tags ovn -run '^TestOVN' ./e2e; \
	else echo "test-ovn: left out"; test -z "$$CI"; fi

# Scenarios on ports of DPDK: an Open vSwitch built for it, without huge pages, with its driver af_packet on veth devices
# (e2e/lab/dpdk.go). One scenario at a time: each has a thread that takes a processor. DPDK_SUITE=trixie takes that release's.
DPDK_SUITE ?= $(shell . /etc/os-release && echo $$VERSION_CODENAME)
DPDK_TESTS ?= ^(TestDPDK.*|TestCopiesOfAPipeline|TestRunningFlowIsCopiedFromTheFirstPacket|TestFramesAreAsOnTheSourcesWire|TestHeaderFieldsOnTheWire|TestCollectorsOfBothFamilies|TestBothFamiliesArriveAtOnce|TestUnmatched|TestMaxRate|TestHostRate|TestUnsafeMeterBites|TestVerify|TestVerifyFilters|TestVerifyFaults|TestTrace|TestTraceDestination|TestDoctor|TestSourceWithoutDevice|TestDaemonSurvivesOpenvSwitch|TestForeignStateIsUntouched)$$
test-dpdk: setup setup-containers
	bin=$$(scripts/ovs-root.sh $(DPDK_SUITE) dpdk) && \
	  LAB_PORTS=dpdk LAB_OVS_BIN=$$bin $(GO) test -race -count=1 -parallel 1 $(EXEC) -timeout 30m -run '$(DPDK_TESTS)' ./e2e

# Scenarios on the kernel's datapath, in a virtual machine (e2e/vm): those that are about it, and of the others those that
# show that a session does there what it does in userspace. KERNEL_TESTS=. runs all; SUITE=trixie with that Open vSwitch.
KERNEL_TESTS ?= ^(TestSuperFrames|TestStreamIsReassembled|TestLinux.*|TestHeaderOfTheKernel|TestBPF.*|TestFlowRestoreWait|TestSegmentedTap|TestDevicesTakeOver|TestCopiesOfAPipeline|TestHeaderFieldsOnTheWire|TestCollectorsOfBothFamilies|TestDelivered|TestDeadCollectorHoldsNoSender|TestVerify|TestTrace|TestMaxRate|TestUnsafeMeterBites|TestSessionsThatDifferInOneField)$$
test-kernel: setup
	$(if $(SUITE),LAB_OVS_BIN=$$(scripts/ovs-root.sh $(SUITE)) )$(GO) run ./e2e/vm -run '$(KERNEL_TESTS)'

# The alert rules, judged by Prometheus' own engine over labs with faults. A module of its own (e2e/alerts): the engine's
# build takes minutes the first time.
test-alerts: setup
	cd e2e/alerts && $(GO) test -count=1 $(EXEC) -timeout 10m .

# On Docker or Podman, whichever runs; else on a Podman that the tests start. A module of its own (e2e/containers).
test-containers: setup-containers build
	cd e2e/containers && $(GO) test -count=1 $(EXEC) -timeout 20m .

# The packages under a real systemd: in a container, in userspace; and (two to six minutes where KVM does not work) in a virtual
# machine, on the kernel's datapath.
test-systemd: setup-containers
	scripts/test-systemd.sh container

test-systemd-kernel: setup setup-containers
	scripts/test-systemd.sh vm

# Every fuzz target, for FUZZTIME each.
FUZZTIME ?= 1m
fuzz:
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

# The model-based test with ever other random sequences, for SOAK long.
SOAK ?= 30m
soak: setup
	OVS_ERSPAN_SOAK=$(SOAK) $(GO) test -race -count=1 $(EXEC) -timeout 0 -run '^TestModel$$' ./e2e

# scripts/check-imports.sh holds the import table of docs/architecture.md; scripts/check-scenarios.sh that scenarios run side
# by side.
lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags faults ./cmd/ovs-erspan
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) vet -tags ovn ./e2e
	$(GO) tool -modfile=tools/go.mod staticcheck -tags ovn ./e2e
	$(GO) vet -tags systemd ./e2e/systemd
	$(GO) tool -modfile=tools/go.mod staticcheck -tags systemd ./e2e/systemd
	cd e2e/containers && $(GO) vet ./... && $(GO) tool -modfile=../../tools/go.mod staticcheck ./...
	cd e2e/alerts && $(GO) vet ./... && $(GO) tool -modfile=../../tools/go.mod staticcheck ./...
	scripts/check-imports.sh
	scripts/check-scenarios.sh

# Known vulnerabilities in what the programs call. Not part of `make test`: it needs the network.
vulncheck:
	scripts/vulncheck.sh

# The CLI reference is generated from the commands themselves.
docs:
	rm -rf docs/cli
	$(GO) run ./cmd/ovs-erspan man docs/cli --markdown

bench:
	$(GO) test $(EXEC) -run '^$$' -bench . -benchtime 1x -timeout 30m ./e2e

# Two Open vSwitch hosts, a guest and a collector in containers, to play with (docs/try-it.md).
try:
	@scripts/try.sh up

try-down:
	@scripts/try.sh down

# Debian and RPM packages, in dist/.
packages:
	scripts/package.sh

clean:
	rm -rf bin dist

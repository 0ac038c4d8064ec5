package capture

import "golang.org/x/net/bpf"

// maxTags is how many VLAN tags the kernel filter looks behind. The kernel itself takes the outermost tag off a frame
// that it received, so that QinQ has one left.
const maxTags = 2

// step is an instruction of a kernel filter whose jumps name their targets.
type step struct {
	label    string // where it can be jumped to
	load     bpf.Instruction
	is       uint32 // jump to then if the loaded value is this, otherwise go on
	then     string
	ret      uint32
	isReturn bool
}

// kernelFilter lets pass, of Ethernet frames, what may be GRE over IPv4 or IPv6, its fragments, and the ICMP errors by
// which a host says that it knows no GRE: so that a receiver can tell. Each path through it reads a few fields.
func kernelFilter() ([]bpf.RawInstruction, error) {
	var steps []step
	for depth := range maxTags + 1 {
		at, name := uint32(4*depth), string(rune('0'+depth))
		steps = append(steps,
			step{label: "type" + name, load: bpf.LoadAbsolute{Off: 12 + at, Size: 2}},
			step{is: 0x0800, then: "four" + name},
			step{is: 0x86dd, then: "six" + name},
		)
		if depth < maxTags {
			next := "type" + string(rune('1'+depth))
			steps = append(steps, step{is: 0x8100, then: next}, step{is: 0x88a8, then: next}, step{is: 0x9100, then: next})
		}
		steps = append(steps,
			step{isReturn: true},
			step{label: "four" + name, load: bpf.LoadAbsolute{Off: 14 + 9 + at, Size: 1}}, // protocol
			step{is: 47, then: "take"},
			step{is: 1, then: "icmp" + name},
			step{isReturn: true},
			step{label: "icmp" + name, load: bpf.LoadMemShift{Off: 14 + at}}, // header length
			step{load: bpf.LoadIndirect{Off: 14 + at, Size: 2}},              // type and code
			step{is: 0x0302, then: "quoted" + name},                          // protocol unreachable (RFC 792)
			step{is: 0x0303, then: "quoted" + name},                          // port unreachable, of a kernel with GRE but no tunnel
			step{isReturn: true},
			step{label: "quoted" + name, load: bpf.LoadIndirect{Off: 14 + 8 + 9 + at, Size: 1}}, // protocol
			step{is: 47, then: "take"},
			step{isReturn: true},
			step{label: "six" + name, load: bpf.LoadAbsolute{Off: 14 + 6 + at, Size: 1}}, // next header
			step{is: 47, then: "take"},
			step{is: 60, then: "take"}, // destination options, as Linux's ip6erspan sends them
			step{is: 44, then: "take"}, // fragments
			step{is: 0, then: "take"},
			step{is: 43, then: "take"},
			step{is: 58, then: "icmpsix" + name},
			step{isReturn: true},
			step{label: "icmpsix" + name, load: bpf.LoadAbsolute{Off: 14 + 40 + at, Size: 2}},
			step{is: 0x0401, then: "quotedsix" + name}, // unrecognized next header (RFC 4443)
			step{is: 0x0104, then: "quotedsix" + name}, // port unreachable
			step{isReturn: true},
			step{label: "quotedsix" + name, load: bpf.LoadAbsolute{Off: 14 + 40 + 8 + 6 + at, Size: 1}}, // next header
			step{is: 47, then: "take"},
			step{is: 60, then: "take"},
			step{isReturn: true},
		)
	}
	steps = append(steps, step{label: "take", isReturn: true, ret: maxFrame})

	labels := make(map[string]int)
	for i, s := range steps {
		if s.label != "" {
			labels[s.label] = i
		}
	}
	program := make([]bpf.Instruction, len(steps))
	for i, s := range steps {
		switch {
		case s.isReturn:
			program[i] = bpf.RetConstant{Val: s.ret}
		case s.load != nil:
			program[i] = s.load
		default:
			program[i] = bpf.JumpIf{Cond: bpf.JumpEqual, Val: s.is, SkipTrue: uint8(labels[s.then] - i - 1)}
		}
	}
	return bpf.Assemble(program)
}

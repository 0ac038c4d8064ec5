package erspan

import "testing"

func TestVersionString(t *testing.T) {
	for v, want := range map[Version]string{
		TypeI: "0 (Type I)", TypeII: "1 (Type II)", TypeIII: "2 (Type III)", 3: "3 (unknown)", 15: "15 (unknown)",
	} {
		if got := v.String(); got != want {
			t.Errorf("Version(%d).String() = %q, want %q", uint8(v), got, want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]Version{
		"0": 0, "1": 1, "2": 2, "I": 0, "II": 1, "III": 2, "i": 0, "ii": 1, "iii": 2, " 2 ": 2,
		"Type III": 2, "type ii": 1, "2 (Type III)": 2, "1 (Type II)": 1,
	} {
		got, err := ParseVersion(s)
		if err != nil || got != want {
			t.Errorf("ParseVersion(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", " ", "3", "-1", "IV", "IIII", "Type 2", "Type", "02", "0x1", "1 (Type III)", "2.0"} {
		if got, err := ParseVersion(s); err == nil {
			t.Errorf("ParseVersion(%q) = %v, want an error", s, got)
		}
	}
}

// The numbers were measured on the wire of an Open vSwitch sender; Overhead derives them from header lengths.
func TestOverhead(t *testing.T) {
	for _, c := range []struct {
		version Version
		ipv6    bool
		want    int
	}{
		{TypeI, false, 38}, {TypeII, false, 50}, {TypeIII, false, 54},
		{TypeI, true, 58}, {TypeII, true, 70}, {TypeIII, true, 74}, {9, false, 54},
	} {
		if got := Overhead(c.version, c.ipv6); got != c.want {
			t.Errorf("Overhead(%v, ipv6=%v) = %d, want %d", c.version, c.ipv6, got, c.want)
		}
	}
}

package session

import (
	"strings"
	"testing"
)

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "10": 10, "0x10": 16, "0X1f": 31, "0x0010": 16, "1023": 1023, "-1": -1, "-0x2": -2, "-9223372036854775808": -1 << 63, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := ParseNumber(text); err != nil || got != want {
			t.Errorf("ParseNumber(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"010":                  "write 10 for decimal or 0x10 for hexadecimal",
		"-010":                 "leading zero",
		"00":                   "write 0 for decimal",
		"9223372036854775808":  "out of every range",
		"0xffffffffffffffffff": "out of every range",
		"":                     "not a number",
		"-":                    "not a number",
		"0x":                   "not a number",
		"1e3":                  "not a number",
		"1_000":                "not a number",
		"0x1_0":                "not a number",
		"+1":                   "not a number",
		"--1":                  "not a number",
		"0o17":                 "not a number",
		"0b1":                  "not a number",
		" 1":                   "not a number",
		"1.0":                  "not a number",
		"٣":                    "not a number",
	} {
		if got, err := ParseNumber(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseNumber(%q) = %d, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestParseDirection(t *testing.T) {
	for text, want := range map[string]Direction{
		"ingress": Ingress, "rx": Ingress, "egress": Egress, "tx": Egress, "both": Both, "RX": Ingress, "Both": Both,
	} {
		if got, err := ParseDirection(text); err != nil || got != want {
			t.Errorf("ParseDirection(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "in", "up", " rx"} {
		if got, err := ParseDirection(text); err == nil || !strings.Contains(err.Error(), "ingress (rx)") {
			t.Errorf("ParseDirection(%q) = %q, %v, want an error", text, got, err)
		}
	}
}

func TestParseSnaplen(t *testing.T) {
	for text, want := range map[string]Snaplen{
		"auto": SnaplenAuto, "off": SnaplenOff, "14": SnaplenBytes(14), "0x40": SnaplenBytes(64), "65535": SnaplenBytes(65535),
	} {
		if got, err := ParseSnaplen(text); err != nil || got != want {
			t.Errorf("ParseSnaplen(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "13", "65536", "-1", "0", "Auto", "full", "064", "1500B"} {
		if got, err := ParseSnaplen(text); err == nil || !strings.Contains(err.Error(), "want auto, off, or a number of bytes in 14..65535") {
			t.Errorf("ParseSnaplen(%q) = %v, %v, want an error", text, got, err)
		}
	}
}

func TestParseSender(t *testing.T) {
	for text, want := range map[string]string{
		"any": "any", "192.0.2.1": "192.0.2.1", "2001:DB8:0:0::1": "2001:db8::1",
	} {
		if got, err := ParseSender(text); err != nil || got != want {
			t.Errorf("ParseSender(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Any", "rack7", "192.0.2.0/24"} {
		if got, err := ParseSender(text); err == nil {
			t.Errorf("ParseSender(%q) = %q, want an error", text, got)
		}
	}
}

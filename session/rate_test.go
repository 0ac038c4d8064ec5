package session

import (
	"strings"
	"testing"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]struct {
		rate Rate
		says string
	}{
		"1pps":           {PacketsPerSecond(1), "1pps"},
		"1000pps":        {PacketsPerSecond(1000), "1kpps"},
		"1500pps":        {PacketsPerSecond(1500), "1500pps"},
		"4294967295pps":  {PacketsPerSecond(MaxPacketRate), "4294967295pps"},
		"1kbps":          {BitsPerSecond(1000), "1kbps"},
		"50Mbps":         {BitsPerSecond(50_000_000), "50Mbps"},
		"1000bps":        {BitsPerSecond(1000), "1kbps"},
		"100Gbps":        {BitsPerSecond(100_000_000_000), "100Gbps"},
		"4294967295kbps": {BitsPerSecond(MaxBitRate), "4294967295kbps"},
	} {
		got, err := ParseRate(text)
		if err != nil || got != want.rate || got.String() != want.says {
			t.Errorf("ParseRate(%q) = %s, %v, want %s", text, got, err, want.says)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%q is read back as %s, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "pps", "bps", "0pps", "0bps", "1", "1000", "-1pps", "+1pps", "01pps", "1.5kpps", "1Kpps", " 1pps", "1 pps", "1pps ", "0x10pps",
		"4294967296pps", "999bps", "1bps", "1500bps", "4294967296kbps", "1Tbps0", "5Tbps", "18446744073709551616pps", "18446744073709552kbps", "1MBps", "1Mbit", "unlimited", "1kkpps"} {
		if got, err := ParseRate(text); err == nil || !strings.Contains(err.Error(), "50Mbps") {
			t.Errorf("ParseRate(%q) = %s, %v", text, got, err)
		}
	}
}

func TestParseAmount(t *testing.T) {
	for text, want := range map[string]Amount{"1": 1, "1000": 1000, "10k": 10_000, "3M": 3_000_000, "10G": 10_000_000_000, "9T": 9_000_000_000_000, "9007199254740991": MaxAmount} {
		if got, err := ParseAmount(text); err != nil || got != want {
			t.Errorf("ParseAmount(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "+1", "01", "1.5", "1e3", "0x10", "k", "1K", "1kB", "1 k", " 1", "9007199254740992", "10000T", "18446744073709551617", "all"} {
		if got, err := ParseAmount(text); err == nil || !strings.Contains(err.Error(), "9007199254740991") {
			t.Errorf("ParseAmount(%q) = %d, %v", text, got, err)
		}
	}
}

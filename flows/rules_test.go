package flows

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestRuleOf: each flow of the filter is told as the rule that it stands for.
func TestRuleOf(t *testing.T) {
	s := session.Stored{Slot: 1, Session: session.Session{Match: []session.Rule{
		{Deny: "icmp"}, {PermitBothWays: "tcp,tp_dst=443"}, {Permit: "udp"}, {Deny: "arp"}, {PermitBothWays: "ip,nw_src=10.0.0.1"},
	}}}
	want := map[string]string{
		"icmp": "deny icmp", "arp": "deny arp", "udp": "permit udp", "tcp,tp_dst=443,nw_frag=not_later": "permit both ways tcp,tp_dst=443",
		"tcp,tp_src=443,nw_frag=not_later": "permit both ways tcp,tp_dst=443 (backwards: tcp,tp_src=443)",
		"tcp,nw_frag=later":                "later fragments, which may belong to: permit both ways tcp,tp_dst=443 (backwards: tcp,tp_src=443)",
		"ip,nw_src=10.0.0.1":               "permit both ways ip,nw_src=10.0.0.1",
		"ip,nw_dst=10.0.0.1":               "permit both ways ip,nw_src=10.0.0.1 (backwards: ip,nw_dst=10.0.0.1)",
		"":                                 "no rule permits it",
	}
	got := map[string]string{}
	for _, f := range filterFlows(s, TableEncapsulate) {
		got[f.Match.Part.of(f.Match.Expr)] = RuleOf(s.Session, f.Cookie.Stage())
		filters, drops := f.Cookie.Stage().Filters()
		if !filters || drops != (f.Actions[0] == "drop") {
			t.Errorf("%s: filters %v, drops %v: %v", f.Match.Expr, filters, drops, f.Actions)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.Match = []session.Rule{{Deny: "icmp"}}
	if got := RuleOf(s.Session, StageRestPermit); got != "no rule denies it" {
		t.Errorf("%q", got)
	}
	if got := RuleOf(s.Session, StageSent); got != "" {
		t.Errorf("another table's: %q", got)
	}
}

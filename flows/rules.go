package flows

import (
	"github.com/ovs-erspan/ovs-erspan/session"
)

// RuleOf is the filter rule of a session that a flow with this stage stands for, in words; "" for a stage of another
// table. It counts as filterFlows does.
func RuleOf(s session.Session, stage Stage) string {
	switch stage {
	case StageRestPermit:
		if hasRules(s) {
			return "no rule denies it"
		}
		return "there are no rules"
	case StageRestDrop:
		return "no rule permits it"
	}
	if stage >= StageLater && stage < StageLater+MaxRules {
		return "later fragments, which may belong to: " + RuleOf(s, stage-StageLater+StagePermit)
	}
	permits, denies := StagePermit, StageDeny
	for _, rule := range s.Match {
		switch {
		case rule.Deny != "":
			if stage == denies {
				return "deny " + rule.Deny
			}
			denies++
			continue
		case rule.PermitBothWays != "":
			if stage == permits {
				return "permit both ways " + rule.PermitBothWays
			}
			if back, err := session.ExchangeDirections(rule.PermitBothWays); err == nil {
				permits++
				if stage == permits {
					return "permit both ways " + rule.PermitBothWays + " (backwards: " + back + ")"
				}
			}
		case stage == permits:
			return "permit " + rule.Permit
		}
		permits++
	}
	return ""
}

func hasRules(s session.Session) bool { return len(s.Match) > 0 }

// Filters tells whether the stage is one of table 10, and whether its flows drop.
func (s Stage) Filters() (filters, drops bool) {
	switch {
	case s >= StageDeny && s < StageLater || s == StageRestDrop:
		return true, true
	case s >= StagePermit || s == StageRestPermit:
		return true, false
	}
	return false, false
}

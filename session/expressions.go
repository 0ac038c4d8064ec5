package session

import "fmt"

// Expression is a match expression of a session as Open vSwitch gets it, and where it stands.
type Expression struct {
	Field string // such as "match[1].deny"
	Expr  string
}

// Expressions are the match expressions of a session's rules, those of both ways in both.
func (s Session) Expressions() []Expression {
	var all []Expression
	for i, r := range s.Match {
		add := func(kind, expr string) {
			if expr != "" {
				all = append(all, Expression{fmt.Sprintf("match[%d].%s", i, kind), expr})
			}
		}
		add("permit", r.Permit)
		add("deny", r.Deny)
		add("permitBothWays", r.PermitBothWays)
		if back, err := ExchangeDirections(r.PermitBothWays); err == nil {
			add("permitBothWays", back)
		}
	}
	return all
}

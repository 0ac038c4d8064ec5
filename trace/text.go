package trace

import (
	"fmt"
	"strings"
)

// maxMegaflows is how many megaflows are shown to people; there can be thousands.
const maxMegaflows = 5

// Text is the way as a picture: a stage each, what it stands on below it, and what is lost there beside it. Wide shows
// actions too.
func (p Path) Text(wide bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "session %s: %s", p.Session, p.State)
	if p.Reason != "" {
		fmt.Fprintf(&b, ", %s", p.Reason)
	}
	b.WriteString("\n")
	if p.Message != "" {
		fmt.Fprintf(&b, "  %s\n", p.Message)
	}
	b.WriteString("\n")
	writeStages(&b, p.Stages, wide)
	if n := len(p.Megaflows); n > 0 {
		fmt.Fprintf(&b, "\n%s of the datapath for it:\n", count(n, "megaflow"))
		for _, f := range p.Megaflows[:min(n, maxMegaflows)] {
			used := "last " + f.Used + " ago"
			if f.Used == "never" {
				used = "by the packet that made it only"
			}
			fmt.Fprintf(&b, "  %s, used %s: %s\n", count(int(f.Packets), "packet"), used, f.Match)
			if wide {
				fmt.Fprintf(&b, "      → %s\n", f.Actions)
			}
		}
		if n > maxMegaflows {
			fmt.Fprintf(&b, "  and %d more (-o json shows them)\n", n-maxMegaflows)
		}
	} else if p.MegaflowsLeftOut != "" {
		fmt.Fprintf(&b, "\nmegaflows: %s\n", p.MegaflowsLeftOut)
	} else if p.State == "Active" {
		b.WriteString("\nno megaflow of the datapath for it now\n")
	}
	b.WriteString("\n")
	b.WriteString(p.summary())
	return b.String()
}

// summary says where packets are lost, in a line each.
func (p Path) summary() string {
	var b strings.Builder
	for _, s := range p.Lost() {
		for _, l := range s.Lost {
			if l.Count != nil && l.Count.Packets == 0 {
				continue
			}
			where := s.Name
			if s.Collector != "" && s.Name != "collector" {
				where += " of " + s.Collector
			} else if s.Collector != "" {
				where += " " + s.Collector
			}
			fmt.Fprintf(&b, "lost at %s: %s\n", where, lossText(l))
		}
	}
	switch {
	case b.Len() > 0:
		return b.String()
	case p.Whole:
		return "nothing is lost on the way\n"
	}
	return ""
}

func lossText(l Loss) string {
	text := l.Why
	if l.Reason != "" {
		text = l.Reason + ": " + text
	}
	if l.Count != nil {
		text = fmt.Sprintf("%s, %s", count(int(l.Count.Packets), "packet"), text)
	}
	if l.Meant {
		text += " (as is meant)"
	}
	return text
}

func writeStages(b *strings.Builder, stages []Stage, wide bool) {
	collector := ""
	for i, s := range stages {
		if s.Collector != "" && s.Collector != collector {
			collector = s.Collector
			fmt.Fprintf(b, "   ├─ to %s\n", collector)
		}
		mark, bar := "▼", "│"
		if i == 0 {
			mark = "●"
		}
		if i == len(stages)-1 {
			bar = " "
		}
		fmt.Fprintf(b, "   %s %-12s %s", mark, s.Name, s.Says)
		if s.Count != nil {
			fmt.Fprintf(b, "  [%s, %d bytes]", count(int(s.Count.Packets), "packet"), s.Count.Bytes)
		}
		b.WriteString("\n")
		for _, r := range s.Rows {
			fmt.Fprintf(b, "   %s      %s\n", bar, r)
		}
		for _, f := range s.Flows {
			fmt.Fprintf(b, "   %s      %s\n", bar, flowText(f, wide))
		}
		for _, l := range s.Lost {
			mark = "✗"
			if l.Count != nil && l.Count.Packets == 0 {
				mark = " "
			}
			fmt.Fprintf(b, "   ├──%s  %s\n", mark, lossText(l))
		}
	}
}

func flowText(f FlowCount, wide bool) string {
	match := f.Match
	if match == "" {
		match = "everything"
	}
	counted := count(int(f.Packets), "packet")
	if f.Missing {
		counted = "MISSING"
	}
	text := fmt.Sprintf("flow of %s, table %s: %s", f.Bridge, f.Table, match)
	if wide {
		text += " → " + f.Actions
	}
	text += "  [" + counted + "]"
	if f.Rule != "" {
		text += "  (" + f.Rule + ")"
	}
	return text
}

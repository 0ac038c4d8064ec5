package session

import (
	"cmp"
	"slices"
	"strings"
)

// maxNearest is how many names [Nearest] gives: more are a list to read, not a hint.
const maxNearest = 3

// Nearest is the names, at most three and the nearest first, that word could have been meant to be: those that it
// becomes with few letters added, left out, changed or exchanged with their neighbour, case and punctuation aside, or
// that begin with it.
func Nearest(word string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	plain := plainWord(word)
	for _, name := range names {
		other := plainWord(name)
		d := distance(plain, other)
		begins := len(plain) >= 3 && strings.HasPrefix(other, plain)
		if d <= max(1, (min(len(plain), len(other))+1)/3) || begins {
			near = append(near, candidate{name, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range near[:min(len(near), maxNearest)] {
		out = append(out, c.name)
	}
	return out
}

// plainWord leaves out what people spell differently: session_id, session-id, sessionID.
func plainWord(s string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(s))
}

// distance counts the letters to add, leave out, change or exchange with their neighbour on the way from a to b
// (optimal string alignment).
func distance(a, b string) int {
	// Names in Open vSwitch are short; a long word is near to nothing and must not cost its square.
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return max(len(a), len(b))
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

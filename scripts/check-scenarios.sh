#!/usr/bin/env bash
# Each scenario of e2e/ begins with t.Parallel(), or with alone(t, "why"); once.
set -euo pipefail
cd "$(dirname "$0")/../e2e"

forgotten=$(awk '
  after && /^\tt\.Parallel\(\)/ { print name " (twice)" }
  { after = waiting }
  waiting { if ($0 !~ /^\t(t\.Parallel\(\)|alone\(t, )/) print name; waiting = 0 }
  /^func Test[^(]*\(t \*testing\.T\) \{/ { name = FILENAME ": " $2; sub(/\(.*/, "", name); waiting = 1 }
' ./*_test.go)
if [ -n "$forgotten" ]; then
  echo "these scenarios do not begin with one t.Parallel() or, where they measure, with alone(t, \"why\"):" >&2
  echo "$forgotten" >&2
  exit 1
fi

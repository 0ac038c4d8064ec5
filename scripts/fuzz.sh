#!/usr/bin/env bash
# Runs every fuzz target for a while, or names them:
#
#   scripts/fuzz.sh           each for $FUZZTIME (1m), and ends with the first that fails; what failed is then in the
#                             package's testdata, where every run of the tests meets it from then on
#   scripts/fuzz.sh --list    a line each: folder and name
set -euo pipefail
cd "$(dirname "$0")/.."

list() {
  grep -rn --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . |
    sed -E 's|^\./(.*)/[^/]*:[0-9]+:func (Fuzz.*)$|\1 \2|' | sort
}

case ${1-} in
  --list) list; exit ;;
  '') ;;
  *) echo "fuzz: \"$1\": want --list or nothing" >&2; exit 2 ;;
esac
while read -r folder name; do
  echo "fuzz: $name of $folder"
  go test "./$folder" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-1m}"
done < <(list)

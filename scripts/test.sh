#!/usr/bin/env bash
# Runs parts of the tests and says at the end what became of each and how long it took:
#
#   scripts/test.sh PART... [-- PART...]
#
# A part is the Makefile's target of that name, or else test-PART. Parts before "--" run one after another and print as they
# go. Those after it run side by side, because they wait more than they work; what each prints is shown when it has ended.
# All parts run, also after one that failed; the exit status is 1 then. An interrupt, or SIGTERM, ends what runs.
set -uo pipefail
cd "$(dirname "$0")/.."
make=${MAKE:-make}

parts=() # in the order of the table
declare -A result took
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

table() {
  printf '\n%-14s %-12s %7s\n' part result 'min:s'
  for part in "${parts[@]}"; do
    printf '%-14s %-12s %7s\n' "$part" "${result[$part]:-not run}" "${took[$part]:-}"
  done
  printf '%-14s %-12s %7s\n' all "$1" "$(clock $SECONDS)"
}

descendants() {
  local child
  for child in $(ps -o pid= --ppid "$1"); do
    echo "$child"
    descendants "$child"
  done
}

# Everything that was started gets the signal, not only make: go does not hand SIGTERM on to its tests.
interrupted() {
  trap '' INT TERM HUP
  # shellcheck disable=SC2046
  kill -INT $(descendants $$) 2>/dev/null
  wait
  table interrupted >&2
  exit 130
}
trap interrupted INT TERM HUP

# start PART runs a part in the background, where a signal finds this script waiting. Bash has such jobs ignore interrupts.
start() {
  local target=test-$1
  [ "$1" != lint ] || target=lint
  result[$1]=interrupted # until it has ended
  (
    trap - INT QUIT
    exec "$make" --no-print-directory "$target"
  ) </dev/null &
}

finish() { # PART EXIT-STATUS SECONDS
  result[$1]=ok
  [ "$2" = 0 ] || result[$1]="FAILED ($2)"
  took[$1]=$(clock "$3")
}

beside=()
while [ $# -gt 0 ]; do
  [ "$1" = -- ] && { shift && beside=("$@"); break; }
  parts+=("$1")
  shift
done
alone=("${parts[@]}")
parts+=("${beside[@]}")

for part in "${alone[@]}"; do
  echo "== $part"
  begin=$SECONDS
  start "$part"
  wait $!
  finish "$part" $? $((SECONDS - begin))
done

if [ ${#beside[@]} -gt 0 ]; then
  echo "== side by side: ${beside[*]}"
  begin=$SECONDS
  declare -A name
  for part in "${beside[@]}"; do
    start "$part" >"$logs/$part" 2>&1
    name[$!]=$part
  done
  while [ ${#name[@]} -gt 0 ]; do
    wait -n -p pid "${!name[@]}"
    status=$?
    part=${name[$pid]}
    unset "name[$pid]"
    finish "$part" $status $((SECONDS - begin))
    echo "== $part: ${result[$part]}"
    cat "$logs/$part"
  done
fi

whole=ok
[[ ${result[*]} != *FAILED* ]] || whole=FAILED
table $whole
[ $whole = ok ]

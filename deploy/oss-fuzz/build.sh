#!/bin/bash -eu
# Builds every fuzz target of the project (OSS-Fuzz, "Integrating a Go project").
module=$(go list -m)
targets=$(scripts/fuzz.sh --list | grep -v '^capture ')
go get github.com/AdamKorcz/go-118-fuzz-build/testing
# Targets are built without the other test files of their package. Those of session share what makes sessions; that of capture
# shares too much with tests that OSS-Fuzz cannot build, and runs in 'make fuzz' alone.
for file in session/*_test.go; do
  mv "$file" "${file%_test.go}_test_fuzz.go"
done
while read -r folder name; do
  compile_native_go_fuzzer "$module/$folder" "$name" "${folder//\//_}_$name"
done <<<"$targets"

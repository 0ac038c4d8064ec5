#!/bin/bash -eu
# Builds every fuzz target of the project (OSS-Fuzz, "Integrating a Go project").
module=$(go list -m)
go get github.com/AdamKorcz/go-118-fuzz-build/testing
scripts/fuzz.sh --list | while read -r folder name; do
  compile_native_go_fuzzer "$module/$folder" "$name" "${folder//\//_}_$name"
done

#!/usr/bin/env bash
# Starts three servers on this machine with the zoo.cfg files beside this script. Their data is in ./ensemble-data.
# Ctrl-C ends them. BINARY names the program (default target/release/wasmkeeper).
set -eu
here=$(dirname "$0") binary=${BINARY:-target/release/wasmkeeper}
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
for n in 1 2 3; do
  mkdir -p "ensemble-data/$n"
  echo "$n" > "ensemble-data/$n/myid"
  "$binary" serve --config "$here/zoo$n.cfg" &
done
wait

#!/usr/bin/env bash
# Three servers on this machine, from the zoo.cfg files beside this script. Data goes to ./ensemble-data; Ctrl-C ends them.
set -eu
here=$(dirname "$0") binary=${BINARY:-target/release/wasmkeeper}
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
for n in 1 2 3; do
  mkdir -p "ensemble-data/$n"
  echo "$n" > "ensemble-data/$n/myid"
  "$binary" serve --config "$here/zoo$n.cfg" &
done
wait
